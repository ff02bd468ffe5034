"""The Free Spoken Digit Dataset: recordings, their official split, and varied copies of them.

The data set (Z. Jackson et al., CC BY-SA 4.0) is a zip or a folder with files named
``<digit>_<speaker>_<take>.wav``, 8 kHz, 50 takes of each digit by each of six speakers. Takes 0 to
4 are for testing.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo.kws.mfcc import mfcc
from kerasnsoc.zoo.kws.settings import prepare_model_settings
from kerasnsoc.zoo.kws.wav import read_wav

RATE = 8000
SETTINGS = prepare_model_settings(RATE, 1000, 40, 20, 10)
"""One second of sound, 49 windows of 40 ms, 10 coefficients."""

FRAMES = SETTINGS["spectrogram_length"]
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_TAKES = 5
NOISE_LEVEL = 0.01
QUIETEST_PEAK = 1e-3
"""A clip quieter than this is not made louder than the noise."""

_NAME = re.compile(r"(?:.*/)?(\d)_([A-Za-z]+)_(\d+)\.wav")
_BATCH = 64  # to stay small
_LONG = RATE * 14 // 10  # enough frames for the fastest tempo
_LARGEST_FILE = 1 << 20  # the longest recording has 40 kB

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SpokenDigits:
    """Recordings in the order of their file names.

    Attributes
    ----------
    sounds : tuple of ndarray of float32
        Of different lengths, at 8 kHz.
    labels : ndarray of int64
        0 to 9.
    speakers : ndarray of str
    is_test : ndarray of bool
        The official split.
    """

    sounds: tuple[Samples, ...]
    labels: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.str_]
    is_test: npt.NDArray[np.bool_]


def load_spoken_digits(path: str | os.PathLike[str]) -> SpokenDigits:
    """Read the data set.

    Parameters
    ----------
    path : path
        Of the zip, or of a folder with the recordings (at any depth).

    Raises
    ------
    FileNotFoundError
        If there is nothing, or no recording inside.
    ValueError
        If a recording is damaged, too large or not at 8 kHz.
    """
    sounds, labels, speakers, takes = [], [], [], []
    for name, content in _recordings(Path(path)):
        found = _NAME.fullmatch(name)
        assert found is not None
        try:
            sounds.append(read_wav(content, RATE)[0])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        labels.append(int(found[1]))
        speakers.append(found[2])
        takes.append(int(found[3]))
    if not sounds:
        raise FileNotFoundError(
            f"{os.fspath(path)!r} holds no recordings named <digit>_<speaker>_<take>.wav. Get the "
            "Free Spoken Digit Dataset and give its zip or folder."
        )
    return SpokenDigits(
        tuple(sounds), np.array(labels, np.int64), np.array(speakers), np.array(takes) < TEST_TAKES
    )


def _recordings(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*.wav")):
            if _NAME.fullmatch(file.name):
                yield file.name, file.read_bytes()
        return
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if not _NAME.fullmatch(info.filename):
                continue
            if info.file_size > _LARGEST_FILE:
                raise ValueError(
                    f"{info.filename} states {info.file_size} bytes, at most {_LARGEST_FILE} are "
                    "read"
                )
            yield info.filename, archive.read(info)


def prepared(sound: npt.ArrayLike, samples: int = SETTINGS["desired_samples"]) -> Samples:
    """The clip that features are computed of: cut or padded, equally loud, in a little noise.

    The peak becomes 1 and noise of a hundredth is added, always the same. It hides what differs
    between rooms and microphones, and the digital silence of padding.

    Parameters
    ----------
    sound : array of float, shape (any,)
    samples : int
        Of the result, by default those of one second.

    Returns
    -------
    ndarray of float32, shape (samples,)
    """
    clip = np.zeros(samples)
    given = np.asarray(sound, np.float64)[:samples]
    clip[: len(given)] = given
    peak = np.abs(clip).max(initial=0)
    clip /= max(peak, QUIETEST_PEAK)
    return (clip + NOISE_LEVEL * _white_noise(samples)).astype(np.float32)


@lru_cache(maxsize=4)
def _white_noise(samples: int) -> npt.NDArray[np.float64]:
    """Uniform values of variance 1; a hash of the position, the same on every machine [1]_.

    .. [1] G. Steele et al., "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    """
    state = np.arange(1, samples + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    noise: npt.NDArray[np.float64] = (state / 2.0**63 - 1) * np.sqrt(3)
    return noise


def features_of(sounds: Sequence[npt.ArrayLike]) -> Samples:
    """Features of the first second of each sound, float32, shape (sounds, 49, 10)."""
    features = np.empty((len(sounds), FRAMES, SETTINGS["fingerprint_width"]), np.float32)
    for start in range(0, len(sounds), _BATCH):
        clips = np.stack([prepared(sound) for sound in sounds[start : start + _BATCH]])
        features[start : start + _BATCH] = mfcc(clips, SETTINGS)
    return features


def varied(sound: Samples, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The sound by another voice and microphone, a little later, in noise.

    Another speed moves pitch and formants, a random smooth filter stands for another microphone.
    Noise comes in 60 % of the cases.
    """
    speed = rng.uniform(0.75, 1.35)
    samples = np.interp(np.arange(0, len(sound) - 1, speed), np.arange(len(sound)), sound)
    size = 1 << max(1, len(samples) - 1).bit_length()
    spectrum = np.fft.rfft(samples, size)
    place = np.linspace(0, np.pi, len(spectrum))
    decibels = sum(rng.normal(0, 4 / np.sqrt(k)) * np.cos(k * place) for k in range(1, 6))
    samples = np.fft.irfft(spectrum * 10 ** (decibels / 20), size)[: len(samples)]
    peak = max(np.abs(samples).max(initial=0), QUIETEST_PEAK)
    samples = np.concatenate([np.zeros(rng.integers(0, RATE * 15 // 100)), samples / peak])
    samples = np.pad(samples, (0, max(0, _LONG - len(samples))))[:_LONG]
    if rng.random() < 0.6:
        hiss = rng.normal(size=len(samples))
        hiss[1:] += rng.uniform(-0.5, 0.95) * hiss[:-1]
        samples = samples + 0.3 * 10 ** (-rng.uniform(12, 40) / 20) * hiss
    return samples


def invented_words(
    digits: SpokenDigits, chosen: npt.NDArray[np.integer], seed: int = 0
) -> tuple[list[Samples], npt.NDArray[np.int64], tuple[str, ...]]:
    """Recordings and as many more of words that nobody says, to train features on.

    Each word backwards, and the beginnings of words with the ends of others, spoken by one speaker:
    a network that tells these apart as well has features for words that it does not know.

    Parameters
    ----------
    digits : SpokenDigits
    chosen : ndarray of int
        Recordings to begin with, all those of the words 0 to some number.
    seed : int
        Of the choice which recordings are joined.

    Returns
    -------
    sounds : list of ndarray of float32
        The chosen ones, then the invented ones.
    labels : ndarray of int64
        The chosen ones keep theirs.
    names : tuple of str
        Of all labels.
    """
    rng = np.random.default_rng(seed)
    count = int(digits.labels[chosen].max()) + 1
    sounds = [digits.sounds[i] for i in chosen]
    labels = digits.labels[chosen].tolist()
    names = list(WORDS[:count])
    sounds += [sound[::-1] for sound in sounds]
    labels += [count + label for label in labels]
    names += [f"{word} backwards" for word in names]
    for first in range(count):
        for second in ((first + 1) % count, (first + 3) % count):
            for index in chosen[digits.labels[chosen] == first]:
                mate = (digits.labels[chosen] == second) & (
                    digits.speakers[chosen] == digits.speakers[index]
                )
                if not mate.any():
                    continue
                ending = digits.sounds[rng.choice(chosen[mate])]
                beginning = digits.sounds[index]
                sounds.append(
                    np.concatenate([beginning[: len(beginning) // 2], ending[len(ending) // 2 :]])
                )
                labels.append(len(names))
            names.append(f"{WORDS[first]}-{WORDS[second]}")
    return sounds, np.array(labels, np.int64), tuple(names)


def varied_features(sounds: Sequence[Samples], copies: int, seed: int = 0) -> Samples:
    """Features of several copies of each sound for training.

    The first copy is the sound itself; the others are varied and spoken faster or slower.

    Parameters
    ----------
    sounds : sequence of ndarray of float32
    copies : int
    seed : int
        The same arguments give the same features.

    Returns
    -------
    ndarray of float32, shape (copies * sounds, 49, 10)
        Copy by copy, in the order of the sounds.
    """
    rng = np.random.default_rng(seed)
    parts = [features_of(sounds)]
    parts += [_varied_copy(sounds, rng) for _ in range(copies - 1)]
    return np.concatenate(parts)


def _varied_copy(sounds: Sequence[Samples], rng: np.random.Generator) -> Samples:
    features = np.empty((len(sounds), FRAMES, SETTINGS["fingerprint_width"]), np.float32)
    for start in range(0, len(sounds), _BATCH):
        part = sounds[start : start + _BATCH]
        long = mfcc(np.stack([prepared(varied(sound, rng), _LONG) for sound in part]), SETTINGS)
        for index, whole in enumerate(long):
            # another tempo with the same pitch: between frames rather than between samples
            place = np.arange(FRAMES) * rng.uniform(0.75, 1.3)
            below = np.floor(place).astype(np.int64)
            share = (place - below)[:, np.newaxis].astype(np.float32)
            features[start + index] = whole[below] * (1 - share) + whole[below + 1] * share
    return features
