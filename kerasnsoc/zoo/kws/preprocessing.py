"""Keyword spotting data: recordings in folders of words become features and labels.

The features are those of `kerasnsoc.zoo.kws.mfcc`; where TensorFlow is installed, its operations
compute them, which is faster. Nothing here is needed to run a trained network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import random
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo._home import download
from kerasnsoc.zoo.kws.mfcc import BANDS, mfcc
from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.settings import (
    BACKGROUND_NOISE_DIR_NAME,
    MAX_NUM_WAVS_PER_CLASS,
    RANDOM_SEED,
    SILENCE_INDEX,
    SILENCE_LABEL,
    UNKNOWN_WORD_INDEX,
    UNKNOWN_WORD_LABEL,
    ModelSettings,
    prepare_model_settings,
    prepare_words_list,
    which_set,
)
from kerasnsoc.zoo.kws.wav import read_wav

__all__ = [
    "BACKGROUND_NOISE_DIR_NAME",
    "MAX_NUM_WAVS_PER_CLASS",
    "RANDOM_SEED",
    "SILENCE_INDEX",
    "SILENCE_LABEL",
    "UNKNOWN_WORD_INDEX",
    "UNKNOWN_WORD_LABEL",
    "AudioProcessor",
    "FeatureScaler",
    "prepare_model_settings",
    "prepare_words_list",
    "which_set",
]

Part = Literal["validation", "testing", "training"]
_PARTS: tuple[Part, ...] = ("validation", "testing", "training")
Samples = npt.NDArray[np.float32]


class AudioProcessor:
    """Loads recordings, varies them, and gives features.

    Parameters
    ----------
    sample_rate : int
        In hertz; every recording must have it.
    clip_duration_ms, window_size_ms, window_stride_ms : float
        In milliseconds.
    feature_bin_count : int
        Coefficients of a window, at most 40.
    data_url : str, optional
        Of a .tar.gz that is fetched into `data_dir` unless it lies there (https or file).
    data_dir : path, optional
        Folder with a folder of .wav files per word. Without it only `get_features_for_wav` and
        `get_augmented_data_for_wav` work.
    silence_percentage, unknown_percentage : float
        Samples of silence and of other words, in percent of the wanted ones.
    wanted_words : sequence of str, optional
        Labels 2, 3, ... of the samples; 0 is silence and 1 any other word.
    validation_percentage, testing_percentage : float
        Shares of the recordings, see `which_set`.
    seed : int, optional
        Of every random draw of samples; by default each object draws differently. The order of the
        index is always the same.

    Attributes
    ----------
    model_settings : dict
        What `prepare_model_settings` gives.
    data_index : dict of lists
        For "training", "validation" and "testing" a list of ``{"label": ..., "file": ...}``.
    words_list : list of str
        Names of the labels.
    word_to_index : dict
        Label of every word that was found.
    background_data : list of ndarray of float32
        Recordings of noise.
    data_dir : str or None
    """

    def __init__(
        self,
        sample_rate: int,
        clip_duration_ms: float,
        window_size_ms: float,
        window_stride_ms: float,
        feature_bin_count: int,
        data_url: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        silence_percentage: float = 0,
        unknown_percentage: float = 0,
        wanted_words: Sequence[str] | None = None,
        validation_percentage: float = 0,
        testing_percentage: float = 0,
        *,
        seed: int | None = None,
    ) -> None:
        if not 1 <= feature_bin_count <= BANDS:
            raise ValueError(
                f"feature_bin_count is {feature_bin_count}, but a window has 1 to {BANDS} "
                "coefficients"
            )
        self.model_settings: ModelSettings = prepare_model_settings(
            sample_rate, clip_duration_ms, window_size_ms, window_stride_ms, feature_bin_count
        )
        self.data_dir = None if data_dir is None else os.fspath(data_dir)
        self.data_index: dict[str, list[dict[str, str]]] = {part: [] for part in _PARTS}
        self.words_list = prepare_words_list(wanted_words or [])
        self.word_to_index: dict[str, int] = {}
        self.background_data: list[Samples] = []
        self._rng = np.random.default_rng(seed)
        self._features: Callable[[Samples], Samples] | None = None
        if self.data_dir is not None:
            self.maybe_download_and_extract_dataset(data_url, self.data_dir)
            self.prepare_data_index(
                silence_percentage,
                unknown_percentage,
                wanted_words or [],
                validation_percentage,
                testing_percentage,
            )
            self.prepare_background_data()
        self.prepare_processing_graph()

    @staticmethod
    def maybe_download_and_extract_dataset(
        data_url: str | None, dest_directory: str | os.PathLike[str], sha256: str | None = None
    ) -> None:
        """Fetch and unpack an archive, unless that was done before.

        Parameters
        ----------
        data_url : str or None
            Of a .tar.gz; nothing happens without one.
        dest_directory : path
            Made if missing. An archive that lies there already is used.
        sha256 : str, optional
            Digest that the archive must have, also one that lies there already.

        Raises
        ------
        RuntimeError
            If the archive cannot be fetched or unpacked, or is another one; the message says where
            to put it by hand.
        """
        if not data_url:
            return
        folder = Path(dest_directory)
        archive = folder / data_url.rpartition("/")[2]
        extracted = folder / f".{archive.name}.extracted"
        if extracted.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            try:
                download(data_url, archive, sha256)
            except (OSError, ValueError) as error:
                raise RuntimeError(
                    f"{data_url} could not be fetched ({error}). Put the archive by hand to "
                    f"{archive}."
                ) from error
        elif sha256 is not None:
            with archive.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256.lower():
                raise RuntimeError(
                    f"{archive} has the SHA-256 {found}, but {sha256} is expected. Delete it to "
                    "fetch it again."
                )
        try:
            with tarfile.open(archive, "r:gz") as content:
                content.extractall(folder, filter="data")
        except (OSError, EOFError, tarfile.TarError) as error:
            raise RuntimeError(
                f"{archive} could not be unpacked ({error}). Delete it to fetch it again."
            ) from error
        extracted.touch()

    def prepare_data_index(
        self,
        silence_percentage: float,
        unknown_percentage: float,
        wanted_words: Sequence[str],
        validation_percentage: float,
        testing_percentage: float,
    ) -> None:
        """List the recordings, part by part; fills `data_index` and `word_to_index`.

        Parameters are those of the class.

        Raises
        ------
        FileNotFoundError
            If there are no .wav files, or none of a wanted word.
        ValueError
            If silence is asked for and the training part is empty: silence has the length of a
            training sample.
        RuntimeError
            If the object has no `data_dir`.
        """
        folder = self._folder()
        positions = {word: index + 2 for index, word in enumerate(wanted_words)}
        index: dict[str, list[dict[str, str]]] = {part: [] for part in _PARTS}
        unknown: dict[str, list[dict[str, str]]] = {part: [] for part in _PARTS}
        found = set()
        for path in sorted(folder.glob("*/*.wav")):
            word = path.parent.name.lower()
            if word == BACKGROUND_NOISE_DIR_NAME:
                continue
            found.add(word)
            part = which_set(path, validation_percentage, testing_percentage)
            chosen = index if word in positions else unknown
            chosen[part].append({"label": word, "file": str(path)})
        if not found:
            raise FileNotFoundError(
                f"{str(folder)!r} holds no recordings: .wav files in a folder per word are needed"
            )
        missing = [word for word in wanted_words if word not in found]
        if missing:
            raise FileNotFoundError(
                f"no recordings of {', '.join(map(repr, missing))} in {str(folder)!r}; found are "
                f"{', '.join(sorted(found))}"
            )
        if silence_percentage and not index["training"]:
            raise ValueError(
                f"silence_percentage is {silence_percentage}, but no wanted word is in the "
                "training part. Name wanted_words, or lower the percentages of the other parts."
            )
        # a generator of its own: Python's global one belongs to the user
        shuffler = random.Random(RANDOM_SEED)
        for part in _PARTS:
            count = len(index[part])
            silent = math.ceil(count * silence_percentage / 100)
            if silent:
                file = index["training"][0]["file"]
                index[part] += [{"label": SILENCE_LABEL, "file": file} for _ in range(silent)]
            shuffler.shuffle(unknown[part])
            index[part] += unknown[part][: math.ceil(count * unknown_percentage / 100)]
        for part in _PARTS:
            shuffler.shuffle(index[part])
        self.data_index = index
        self.words_list = prepare_words_list(wanted_words)
        self.word_to_index = {word: positions.get(word, UNKNOWN_WORD_INDEX) for word in found}
        self.word_to_index[SILENCE_LABEL] = SILENCE_INDEX

    def prepare_background_data(self) -> list[Samples]:
        """Read the recordings of noise; fills `background_data`.

        Returns
        -------
        list of ndarray of float32
            In the order of the file names; empty if there is no folder of noise.

        Raises
        ------
        FileNotFoundError
            If that folder exists, but holds no .wav file.
        RuntimeError
            If the object has no `data_dir`.
        """
        folder = self._folder() / BACKGROUND_NOISE_DIR_NAME
        self.background_data = []
        if folder.is_dir():
            rate = self.model_settings["sample_rate"]
            files = sorted(folder.glob("*.wav"))
            if not files:
                raise FileNotFoundError(f"{str(folder)!r} holds no .wav files of noise")
            self.background_data = [read_wav(file, rate)[0] for file in files]
        return self.background_data

    def prepare_processing_graph(self) -> None:
        """Choose what computes the features: TensorFlow's operations, or NumPy without it."""
        settings = self.model_settings
        if importlib.util.find_spec("tensorflow") is None:
            self._features = lambda samples: mfcc(samples, settings)
        else:
            self._features = _tensorflow_features(settings)

    def get_data(
        self,
        how_many: int,
        offset: int,
        background_frequency: float,
        background_volume_range: float,
        time_shift: int,
        mode: Part,
    ) -> tuple[Samples, npt.NDArray[np.int64]]:
        """Features and labels of some samples.

        Parameters
        ----------
        how_many : int
            -1 takes all from `offset` on, in order. Another number is cut at the end of the part,
            and below 0 gives none; in the training part that many are drawn with replacement.
        offset : int
            First sample.
        background_frequency : float
            Share of training samples that get noise, 0 to 1.
        background_volume_range : float
            Noise has a volume of 0 to this.
        time_shift : int
            Samples begin up to this many earlier or later, in samples of sound.
        mode : {"training", "validation", "testing"}

        Returns
        -------
        features : ndarray of float32, shape (samples, fingerprint_size)
        labels : ndarray of int64, shape (samples,)

        Raises
        ------
        RuntimeError
            If the object has no `data_dir`.
        ValueError
            If the mode is unknown, an argument is out of range, or a recording has another sample
            rate or, of noise, is too short.
        """
        self._folder()
        if mode not in self.data_index:
            raise ValueError(f"mode is {mode!r}, allowed are {', '.join(map(repr, _PARTS))}")
        if offset < 0:
            raise ValueError(f"offset is {offset}, but must not be negative")
        _check_variation(background_frequency, background_volume_range, time_shift)
        entries = self.data_index[mode]
        left = max(0, len(entries) - offset)
        count = left if how_many == -1 else max(0, min(how_many, left))
        if mode == "training" and how_many != -1:
            places = self._rng.integers(max(1, len(entries)), size=count)
        else:
            places = np.arange(offset, offset + count)
        features = np.zeros((count, self.model_settings["fingerprint_size"]), np.float32)
        labels = np.zeros(count, np.int64)
        for row, place in enumerate(places):
            entry = entries[place]
            is_silence = entry["label"] == SILENCE_LABEL
            samples = self._varied(
                self._clip(entry["file"]),
                background_frequency,
                background_volume_range,
                time_shift,
                is_silence=is_silence,
                has_noise=mode == "training" or is_silence,
            )
            features[row] = self._flat_features(samples)
            labels[row] = self.word_to_index[entry["label"]]
        return features, labels

    def get_features_for_wav(self, wav_filename: str | os.PathLike[str]) -> Samples:
        """Features of a recording as it is, (frames, coefficients, 1).

        Raises
        ------
        OSError, ValueError
            See `kerasnsoc.zoo.kws.wav.read_wav`.
        """
        flat = self._flat_features(self._clip(wav_filename))
        return flat.reshape(-1, self.model_settings["fingerprint_width"], 1)

    def get_augmented_data_for_wav(
        self,
        wav_filename: str | os.PathLike[str],
        background_frequency: float,
        background_volume_range: float,
        time_shift: int,
        num_augmented_samples: int = 1,
    ) -> Samples:
        """Features of a recording, varied as in training.

        Parameters are those of `get_data`; without noise none is mixed in.

        Returns
        -------
        ndarray of float32, shape (num_augmented_samples, fingerprint_size)
        """
        if num_augmented_samples < 0:
            raise ValueError(
                f"num_augmented_samples is {num_augmented_samples}, but must not be negative"
            )
        _check_variation(background_frequency, background_volume_range, time_shift)
        clip = self._clip(wav_filename)
        features = np.zeros(
            (num_augmented_samples, self.model_settings["fingerprint_size"]), np.float32
        )
        for row in features:
            samples = self._varied(clip, background_frequency, background_volume_range, time_shift)
            row[:] = self._flat_features(samples)
        return features

    def _folder(self) -> Path:
        if self.data_dir is None:
            raise RuntimeError(
                "this AudioProcessor has no data_dir, so it knows no data set. Give the folder of "
                "the recordings when making it."
            )
        return Path(self.data_dir)

    def _clip(self, file: str | os.PathLike[str]) -> Samples:
        desired = self.model_settings["desired_samples"]
        samples, _ = read_wav(file, self.model_settings["sample_rate"], desired)
        return np.pad(samples, (0, desired - len(samples)))

    def _flat_features(self, samples: Samples) -> Samples:
        assert self._features is not None
        return self._features(samples).reshape(-1)

    def _varied(
        self,
        clip: Samples,
        background_frequency: float,
        background_volume_range: float,
        time_shift: int,
        is_silence: bool = False,
        has_noise: bool = True,
    ) -> Samples:
        samples = np.zeros_like(clip) if is_silence else clip
        if time_shift:
            length = len(samples)
            shift = int(np.clip(self._rng.integers(-time_shift, time_shift), -length, length))
            shifted = np.zeros_like(samples)
            if shift >= 0:
                shifted[shift:] = samples[: length - shift]
            else:
                shifted[:shift] = samples[-shift:]
            samples = shifted
        if has_noise and self.background_data:
            noise = self._noise(len(samples))
            volume = 0.0
            if is_silence:
                volume = self._rng.uniform(0, 1)
            elif self._rng.uniform(0, 1) < background_frequency:
                volume = self._rng.uniform(0, background_volume_range)
            samples = samples + np.float32(volume) * noise
        return np.clip(samples, -1, 1)

    def _noise(self, length: int) -> Samples:
        noise = self.background_data[self._rng.integers(len(self.background_data))]
        if len(noise) <= length:
            raise ValueError(
                f"a recording of noise has {len(noise)} samples, but must be longer than a clip of "
                f"{length}"
            )
        start = self._rng.integers(len(noise) - length)
        return noise[start : start + length]


def _check_variation(frequency: float, volume_range: float, time_shift: int) -> None:
    if not 0 <= frequency <= 1:
        raise ValueError(f"background_frequency is {frequency}, but is a share of 0 to 1")
    if not 0 <= volume_range <= 1:
        raise ValueError(f"background_volume_range is {volume_range}, but is a volume of 0 to 1")
    if time_shift < 0:
        raise ValueError(f"time_shift is {time_shift} samples, but must not be negative")


def _tensorflow_features(settings: ModelSettings) -> Callable[[Samples], Samples]:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, 1), tf.float32)])
    def features(samples: Any) -> Any:
        spectrogram = tf.raw_ops.AudioSpectrogram(
            input=samples,
            window_size=settings["window_size_samples"],
            stride=settings["window_stride_samples"],
            magnitude_squared=True,
        )
        return tf.raw_ops.Mfcc(
            spectrogram=spectrogram,
            sample_rate=settings["sample_rate"],
            dct_coefficient_count=settings["fingerprint_width"],
        )[0]

    def numpy_features(samples: Samples) -> Samples:
        result: Samples = features(samples[:, np.newaxis]).numpy()
        return result

    return numpy_features
