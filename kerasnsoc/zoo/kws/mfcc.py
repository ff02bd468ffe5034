"""Mel frequency cepstral coefficients in NumPy alone, equal to those of TensorFlow's operations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

BANDS = 40
LOWEST_HZ, HIGHEST_HZ = 20.0, 4000.0
FLOOR = 1e-12


def mfcc(samples: npt.ArrayLike, settings: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """Cepstral coefficients of every complete window of a sound.

    Windows begin at sample 0 and every stride; a periodic Hann window, the amplitude spectrum, 40
    triangles on the mel scale between 20 and 4000 Hz, logarithms and a cosine transform follow.
    Agrees with TensorFlow's ``AudioSpectrogram`` (squared magnitudes) and ``Mfcc`` operations
    within 1e-5 of the largest coefficient; `kerasnsoc.zoo.kws.preprocessing` uses those.

    Parameters
    ----------
    samples : array of float, shape (..., samples)
        Of -1 to 1, of one or more sounds of the same length.
    settings : mapping
        What `prepare_model_settings` returns; `sample_rate`, `window_size_samples`,
        `window_stride_samples` and `fingerprint_width` (number of coefficients) count here.

    Returns
    -------
    coefficients : ndarray of float32, shape (..., frames, coefficients)
        Without frames if the sound is shorter than a window.

    Raises
    ------
    TypeError
        If the samples are integers; 16-bit ones must be divided by 32768 first.
    ValueError
        If a sample is not finite, the window is too short to tell frequencies apart, or more than
        40 coefficients are asked for.
    """
    samples = np.asarray(samples)
    if samples.dtype.kind != "f":
        raise TypeError(
            f"samples are {samples.dtype}, but floats of -1 to 1 are needed. Divide 16-bit "
            "integers by 32768."
        )
    if samples.ndim == 0:
        raise ValueError("samples is a single number, but an array (..., samples) is needed")
    # TensorFlow takes float32; wider input must not tell the two apart
    samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise ValueError("samples hold values that are not finite (NaN or infinity)")
    window, stride = settings["window_size_samples"], settings["window_stride_samples"]
    count = settings["fingerprint_width"]
    if not 1 <= count <= BANDS:
        raise ValueError(f"{count} coefficients are asked for, but 1 to {BANDS} exist")
    hann, size = _window(window)
    weights = _mel_weights(size // 2 + 1, settings["sample_rate"])
    if samples.shape[-1] < window:
        return np.zeros((*samples.shape[:-1], 0, count), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window, axis=-1)
    spectrum = np.fft.rfft(frames[..., ::stride, :] * hann, size)
    # the spectrogram operation hands float32 to the next one
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    bands = np.sqrt(power.astype(np.float64)) @ weights
    coefficients = np.log(np.maximum(bands, FLOOR)) @ _cosines(count)
    result: npt.NDArray[np.float32] = coefficients.astype(np.float32)
    return result


@lru_cache(maxsize=8)
def _window(length: int) -> tuple[npt.NDArray[np.float64], int]:
    """Periodic Hann window and the length of the transform."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return hann, 1 << (length - 1).bit_length()


def _mel(hertz: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


@lru_cache(maxsize=8)
def _mel_weights(bins: int, sample_rate: int) -> npt.NDArray[np.float64]:
    """Share of each frequency in each band, (bins, bands)."""
    hertz_per_bin = 0.5 * sample_rate / (bins - 1) if bins > 1 else np.inf
    first, last = int(1.5 + LOWEST_HZ / hertz_per_bin), int(HIGHEST_HZ / hertz_per_bin)
    if last >= bins or first > last:
        raise ValueError(
            f"at {sample_rate} Hz, windows of {2 * (bins - 1)} values have frequencies up to "
            f"{sample_rate / 2:g} Hz in steps of {hertz_per_bin:g} Hz, but the bands reach from "
            f"{LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz. Use a sample rate of at least "
            f"{2 * HIGHEST_HZ:g} Hz and longer windows."
        )
    low, high = _mel(LOWEST_HZ), _mel(HIGHEST_HZ)
    centres = low + (high - low) / (BANDS + 1) * np.arange(1, BANDS + 2)
    used = np.arange(first, last + 1)
    mels = _mel(used * hertz_per_bin)
    band = np.searchsorted(centres, mels, side="left") - 1  # the last centre below, or -1
    edges = np.concatenate([[low], centres])
    falling = (edges[band + 2] - mels) / (edges[band + 2] - edges[band + 1])
    weights = np.zeros((bins, BANDS))
    below, above = band >= 0, band + 1 < BANDS
    weights[used[below], band[below]] += falling[below]
    weights[used[above], band[above] + 1] += 1 - falling[above]
    return weights


@lru_cache(maxsize=8)
def _cosines(count: int) -> npt.NDArray[np.float64]:
    """Discrete cosine transform of type II, (bands, coefficients)."""
    angles = np.outer(np.arange(BANDS) + 0.5, np.arange(count)) * np.pi / BANDS
    cosines: npt.NDArray[np.float64] = np.sqrt(2.0 / BANDS) * np.cos(angles)
    return cosines
