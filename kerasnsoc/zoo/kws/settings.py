"""How a clip of sound becomes a picture of features: sizes, words and the split of a data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Literal, TypedDict

SILENCE_LABEL = "_silence_"
SILENCE_INDEX = 0
UNKNOWN_WORD_LABEL = "_unknown_"
UNKNOWN_WORD_INDEX = 1
BACKGROUND_NOISE_DIR_NAME = "_background_noise_"
RANDOM_SEED = 59185
MAX_NUM_WAVS_PER_CLASS = 2**27 - 1


class ModelSettings(TypedDict):
    """Sizes that `prepare_model_settings` computes; all are numbers of samples, frames or values.

    A clip of `desired_samples` samples gives `spectrogram_length` frames of `fingerprint_width`
    features each, `fingerprint_size` in total.
    """

    desired_samples: int
    window_size_samples: int
    window_stride_samples: int
    spectrogram_length: int
    fingerprint_width: int
    fingerprint_size: int
    sample_rate: int


def prepare_model_settings(
    sample_rate: int,
    clip_duration_ms: float,
    window_size_ms: float,
    window_stride_ms: float,
    feature_bin_count: int,
) -> ModelSettings:
    """Sizes of clips, windows and features.

    Parameters
    ----------
    sample_rate : int
        In hertz.
    clip_duration_ms, window_size_ms, window_stride_ms : float
        In milliseconds; parts of a sample are cut off.
    feature_bin_count : int
        Features of a frame.

    Returns
    -------
    ModelSettings
        A clip shorter than a window has no frames.

    Raises
    ------
    ValueError
        If an argument is not positive, or a window or stride is shorter than a sample.

    Examples
    --------
    >>> settings = prepare_model_settings(16000, 1000, 40, 20, 10)
    >>> settings["spectrogram_length"], settings["fingerprint_size"]
    (49, 490)
    """
    arguments = {
        "sample_rate": sample_rate,
        "clip_duration_ms": clip_duration_ms,
        "window_size_ms": window_size_ms,
        "window_stride_ms": window_stride_ms,
        "feature_bin_count": feature_bin_count,
    }
    for name, value in arguments.items():
        if not value > 0:
            raise ValueError(f"{name} is {value!r}, but it must be positive")
    desired = int(sample_rate * clip_duration_ms / 1000)
    window = int(sample_rate * window_size_ms / 1000)
    stride = int(sample_rate * window_stride_ms / 1000)
    for name, samples in (("window_size_ms", window), ("window_stride_ms", stride)):
        if samples == 0:
            raise ValueError(
                f"{name} is {arguments[name]!r}, which is shorter than a sample at {sample_rate} "
                f"Hz. Give at least {1000 / sample_rate:g} ms."
            )
    frames = 0 if desired < window else 1 + (desired - window) // stride
    return {
        "desired_samples": desired,
        "window_size_samples": window,
        "window_stride_samples": stride,
        "spectrogram_length": frames,
        "fingerprint_width": feature_bin_count,
        "fingerprint_size": feature_bin_count * frames,
        "sample_rate": sample_rate,
    }


def prepare_words_list(wanted_words: Sequence[str]) -> list[str]:
    """Labels of a model: silence and unknown words in front of the wanted ones.

    >>> prepare_words_list(["yes", "no"])
    ['_silence_', '_unknown_', 'yes', 'no']
    """
    return [SILENCE_LABEL, UNKNOWN_WORD_LABEL, *wanted_words]


def which_set(
    filename: str | os.PathLike[str], validation_percentage: float, testing_percentage: float
) -> Literal["training", "validation", "testing"]:
    """Part of the data set that a recording belongs to.

    The part depends on the name alone, so that a recording keeps its part when others are added,
    and on the name in front of ``_nohash_`` only, so that all recordings of a speaker share one
    [1]_.

    Parameters
    ----------
    filename : path
        Only the last part counts.
    validation_percentage, testing_percentage : float
        Shares of 0 to 100.

    Returns
    -------
    {"training", "validation", "testing"}

    References
    ----------
    .. [1] P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition",
       arXiv 1804.03209, 2018, section 6.

    Examples
    --------
    >>> which_set("yes/bobby_nohash_0.wav", 10, 10)
    'training'
    """
    share = _place(os.fspath(filename))
    if share < validation_percentage:
        return "validation"
    if share < validation_percentage + testing_percentage:
        return "testing"
    return "training"


def _place(filename: str) -> float:
    speaker = os.path.basename(filename).partition("_nohash_")[0]
    digest = hashlib.sha1(speaker.encode(), usedforsecurity=False).hexdigest()
    bucket = int(digest, 16) % (MAX_NUM_WAVS_PER_CLASS + 1)
    return bucket * (100.0 / MAX_NUM_WAVS_PER_CLASS)
