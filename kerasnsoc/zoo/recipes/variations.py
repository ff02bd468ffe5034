"""Random variations of batches of images or of features of sounds, in NumPy alone."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

_CHANNEL_SPREAD = 0.6
_MIXED, _MOST_OF_OTHER = 0.5, 0.5


def flip_shift_cut(x: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Mirror half of the images, move each by up to 4 pixels and blank a square of 8 pixels.

    The border is filled by reflection, the square with the mean of the batch.
    """
    n, height, width, _ = x.shape
    moved = shift(mirror(x, rng), 4, rng, mode="reflect")
    y0, x0 = rng.integers(-4, height - 3, n), rng.integers(-4, width - 3, n)
    in_rows = np.abs(np.arange(height) - y0[:, None] - 3.5) < 4
    in_columns = np.abs(np.arange(width) - x0[:, None] - 3.5) < 4
    blank = np.logical_and(in_rows[:, :, None], in_columns[:, None, :])
    moved[blank] = x.mean(axis=(0, 1, 2)).astype(x.dtype)
    return moved


def mirror(x: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Half of the images with left and right exchanged."""
    return np.where((rng.random(len(x)) < 0.5)[:, None, None, None], x[:, :, ::-1], x)


def shift(
    x: npt.NDArray[Any],
    most: int,
    rng: np.random.Generator,
    *,
    mode: Literal["reflect", "constant"],
) -> npt.NDArray[Any]:
    """Each image moved by up to `most` pixels along both axes; `mode` is that of `numpy.pad`."""
    n, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (most, most), (most, most), (0, 0)), mode=mode)
    top, left = rng.integers(0, 2 * most, (2, n), endpoint=True)
    return parts(padded, top, left, height, width)


def random_squares(x: npt.NDArray[Any], side: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    """A square part of each image, shape (n, side, side, channels)."""
    n, height, width, _ = x.shape
    top = rng.integers(height - side, size=n, endpoint=True)
    left = rng.integers(width - side, size=n, endpoint=True)
    return parts(x, top, left, side, side)


def parts(
    x: npt.NDArray[Any],
    top: npt.NDArray[np.integer],
    left: npt.NDArray[np.integer],
    height: int,
    width: int,
) -> npt.NDArray[Any]:
    """A part of each image, which begins at its own row `top` and column `left`."""
    rows = top[:, None] + np.arange(height)
    columns = left[:, None] + np.arange(width)
    return x[np.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]


def other_channels(x: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Clips of cepstral coefficients as if spoken by other voices into other microphones.

    A microphone, a room and the average shape of a vocal tract multiply the spectrum of a sound by
    the same factors at all times, which adds a constant to each cepstral coefficient [1]_. Each
    clip gets its own constants, of normal distribution; their spread is 0.6 times that of the
    coefficient in the batch. A network learns to ignore what subtracting the mean of each
    coefficient would remove, and the features stay what they are.

    Parameters
    ----------
    x : ndarray of uint8, shape (n, frames, coefficients, 1)
    rng : Generator

    Returns
    -------
    ndarray of uint8
        Of the same shape; what leaves the range of 8 bits is clipped.

    References
    ----------
    .. [1] B. S. Atal, "Effectiveness of linear prediction characteristics of the speech wave for
       automatic speaker identification and verification", J. Acoust. Soc. Am. 55, 1974.
    """
    spread = x.std(axis=(0, 1), dtype=np.float64)
    constants = rng.normal(0, _CHANNEL_SPREAD, (len(x), 1, *spread.shape)) * spread
    moved: npt.NDArray[Any] = np.clip(np.rint(x + constants), 0, 255).astype(x.dtype)
    return moved


def between_voices(
    x: npt.NDArray[Any], others: npt.NDArray[Any], rng: np.random.Generator
) -> npt.NDArray[Any]:
    """Features of half of the clips, each moved towards those of another clip of the same word.

    Up to half of the way, at random: what lies between two voices is taken for a third one.

    Parameters
    ----------
    x, others : ndarray of uint8, shape (n, frames, coefficients, 1)
    rng : Generator

    Returns
    -------
    ndarray of uint8
        Of the same shape.
    """
    is_mixed = rng.random(len(x)) < _MIXED
    share = np.where(is_mixed, rng.uniform(0, _MOST_OF_OTHER, len(x)), 0)
    share = share.reshape(-1, *[1] * (x.ndim - 1))
    mixed: npt.NDArray[Any] = np.rint(x * (1 - share) + others * share).astype(x.dtype)
    return mixed
