"""Random variations of annotated images; boxes follow the geometry step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo.detection.data import Box
from kerasnsoc.zoo.detection.processing import preprocess_image

Image = npt.NDArray[np.float32]
MOST_EFFECTS = 5


def augment_detection(
    image: npt.NDArray[np.uint8], boxes: Sequence[Box], rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], list[Box]]:
    """An image and its boxes, enlarged, shifted, mirrored and disturbed at random.

    The scale is 1 to 1.1 and what is shown a random part of the size of the image; it is mirrored
    in half of the cases. Then up to five of these follow in random order: blur, mean and median
    filter, sharpening, noise, missing pixels, another brightness, exposure or contrast.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, channels)
    boxes : list of Box
        In pixels.
    rng : numpy.random.Generator

    Returns
    -------
    image : ndarray of uint8
        Of the same shape.
    boxes : list of Box
        Cut at the border; without those that left the image.
    """
    height, width = image.shape[:2]
    scale = rng.uniform(1, 1.1)
    large = preprocess_image(image, (round(height * scale), round(width * scale)), normalize=False)
    down = int(rng.integers(large.shape[0] - height, endpoint=True))
    right = int(rng.integers(large.shape[1] - width, endpoint=True))
    pixels = large[down : down + height, right : right + width]
    is_mirrored = rng.random() < 0.5
    if is_mirrored:
        pixels = pixels[:, ::-1]
    kept: list[Box] = []
    for box in boxes:
        x = [box[name] * large.shape[1] / width - right for name in ("x1", "x2")]
        y = [box[name] * large.shape[0] / height - down for name in ("y1", "y2")]
        if is_mirrored:
            x = [width - x[1], width - x[0]]
        x1, x2 = (round(min(max(value, 0), width)) for value in x)
        y1, y2 = (round(min(max(value, 0), height)) for value in y)
        if x2 > x1 and y2 > y1:
            kept.append({"label": box["label"], "x1": x1, "y1": y1, "x2": x2, "y2": y2})
    chosen = rng.permutation(len(EFFECTS))[: rng.integers(MOST_EFFECTS, endpoint=True)]
    for index in chosen:
        pixels = EFFECTS[index](pixels, rng)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8), kept


def _convolve(image: Image, weights: npt.NDArray[np.float64]) -> Image:
    """Along both axes; the border repeats."""
    reach = len(weights) // 2
    for axis in (0, 1):
        pad = [(0, 0)] * image.ndim
        pad[axis] = (reach, reach)
        wide = np.pad(image, pad, mode="edge")
        places = np.arange(image.shape[axis])
        image = np.zeros_like(image)
        for shift, weight in enumerate(weights):
            image += np.float32(weight) * np.take(wide, places + shift, axis)
    return image


def _gaussian_blur(image: Image, rng: np.random.Generator) -> Image:
    sigma = max(rng.uniform(0, 3), 1e-3)
    reach = int(np.ceil(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return _convolve(image, weights / weights.sum())


def _mean_filter(image: Image, rng: np.random.Generator) -> Image:
    size = 2 * int(rng.integers(1, 4)) + 1
    return _convolve(image, np.full(size, 1 / size))


def _median_filter(image: Image, rng: np.random.Generator) -> Image:
    reach = int(rng.integers(1, 3))
    pad = [(reach, reach), (reach, reach), (0, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(image, pad, mode="edge"), (2 * reach + 1,) * 2, axis=(0, 1)
    )
    result: Image = np.median(windows, axis=(-2, -1)).astype(np.float32)
    return result


def _sharpen(image: Image, rng: np.random.Generator) -> Image:
    return image + np.float32(rng.uniform(0.5, 1.5)) * (image - _convolve(image, np.ones(3) / 3))


def _noise(image: Image, rng: np.random.Generator) -> Image:
    noise = rng.normal(0, rng.uniform(0, 0.05) * 255, image.shape)
    return image + noise.astype(np.float32)


def _dropout(image: Image, rng: np.random.Generator) -> Image:
    missing = rng.random(image.shape[:2]) < rng.uniform(0.01, 0.1)
    return np.where(missing[..., None], np.float32(0), image)


def _brightness(image: Image, rng: np.random.Generator) -> Image:
    return image + np.float32(rng.uniform(-10, 10))


def _exposure(image: Image, rng: np.random.Generator) -> Image:
    return image * np.float32(rng.uniform(0.5, 1.5))


def _contrast(image: Image, rng: np.random.Generator) -> Image:
    return (image - np.float32(128)) * np.float32(rng.uniform(0.5, 2)) + np.float32(128)


EFFECTS: tuple[Callable[[Image, np.random.Generator], Image], ...] = (
    _gaussian_blur,
    _mean_filter,
    _median_filter,
    _sharpen,
    _noise,
    _dropout,
    _brightness,
    _exposure,
    _contrast,
)
