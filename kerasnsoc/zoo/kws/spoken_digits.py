"""The Free Spoken Digit Dataset: recordings, their official split, and varied copies of them.

The data set (Z. Jackson et al., CC BY-SA 4.0) is a zip or a folder with files named
``<digit>_<speaker>_<take>.wav``, 8 kHz, 50 takes of each digit by each of six speakers. Takes 0 to
4 are for testing.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo.kws.mfcc import mfcc
from kerasnsoc.zoo.kws.settings import prepare_model_settings
from kerasnsoc.zoo.kws.wav import read_wav

RATE = 8000
SETTINGS = prepare_model_settings(RATE, 1000, 40, 20, 10)
"""One second of sound, 49 windows of 40 ms, 10 coefficients."""

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_TAKES = 5

_NAME = re.compile(r"(?:.*/)?(\d)_([A-Za-z]+)_(\d+)\.wav")
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


def one_second(sound: npt.ArrayLike) -> Samples:
    """The first second of a sound, zeros behind a shorter one."""
    samples = np.asarray(sound, np.float32)[: SETTINGS["desired_samples"]]
    return np.pad(samples, (0, SETTINGS["desired_samples"] - len(samples)))


def features_of(sounds: tuple[Samples, ...] | list[Samples]) -> Samples:
    """Features of the first second of each sound, float32, shape (sounds, 49, 10)."""
    features = np.empty((len(sounds), SETTINGS["spectrogram_length"], 10), np.float32)
    for start in range(0, len(sounds), 64):  # to stay small
        clips = np.stack([one_second(sound) for sound in sounds[start : start + 64]])
        features[start : start + 64] = mfcc(clips, SETTINGS)
    return features


def varied(sound: Samples, rng: np.random.Generator) -> Samples:
    """The sound faster or slower, louder or softer, a little later, in noise; one second of it.

    Another speed also moves the pitch, which stands in for speakers that the data set lacks. Noise
    comes in half of the cases, so that digital silence behind a word stays familiar.
    """
    speed = rng.uniform(0.8, 1.25)
    places = np.arange(0, len(sound) - 1, speed)
    samples = np.interp(places, np.arange(len(sound)), sound)
    tilt = rng.uniform(-0.4, 0.4)  # another microphone
    samples[1:] = samples[1:] - tilt * samples[:-1]
    samples *= 10 ** rng.uniform(-0.5, 0.3)
    delay = rng.integers(0, RATE // 8)
    clip = one_second(np.concatenate([np.zeros(delay), samples]))
    if rng.random() < 0.5:
        level = 10 ** rng.uniform(-4, -2)
        colour = rng.uniform(0, 0.95)
        hiss = rng.normal(size=len(clip))
        hiss[1:] += colour * hiss[:-1]
        clip = clip + (level * hiss).astype(np.float32)
    return np.clip(clip, -1, 1).astype(np.float32)


def varied_features(
    sounds: tuple[Samples, ...] | list[Samples], copies: int, seed: int = 0
) -> Samples:
    """Features of several varied copies of each sound, shape (copies * sounds, 49, 10).

    Copy by copy, in the order of the sounds; the first copy is not varied.
    """
    rng = np.random.default_rng(seed)
    parts = [features_of(sounds)]
    for _ in range(copies - 1):
        parts.append(features_of([varied(sound, rng) for sound in sounds]))
    return np.concatenate(parts)
