"""Binary features of grey images: which way the brightness changes, coarsely where."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DIRECTIONS = 8
LEAST_CHANGE = 60
"""Of the steepest direction, in grey values; flatter places have no feature."""

NEAR_STEEPEST = 0.9
"""Share of a place's steepest response that another direction needs to count too."""


def edge_features(images_bhw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Edges of eight directions on a grid of half the resolution.

    Central differences give a gradient, its products with eight unit vectors the responses. A bit
    is set where a response is near the largest of its pixel and that one is large enough. Bits
    spread to their eight neighbours before every other one is taken.

    Parameters
    ----------
    images_bhw : ndarray of uint8, shape (images, height, width)

    Returns
    -------
    features : ndarray of uint8, shape (images, width / 2, height / 2, 8)
        0 and 1, in the layout that `kerasnsoc.Model` takes; sides are rounded up.
    """
    count, height, width = images_bhw.shape
    halves = -(-width // 2), -(-height // 2)
    features = np.empty((count, *halves, DIRECTIONS), np.uint8)
    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    for start in range(0, count, 500):  # to stay small
        part = images_bhw[start : start + 500].astype(np.float32)
        padded = np.pad(part, ((0, 0), (1, 1), (1, 1)))
        down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
        right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
        responses = right[..., None] * np.cos(angles) + down[..., None] * np.sin(angles)
        steepest = responses.max(axis=3, keepdims=True)
        bits = (responses >= NEAR_STEEPEST * steepest) & (steepest > LEAST_CHANGE)
        wide = np.pad(bits, ((0, 0), (1, 2), (1, 2), (0, 0)))
        spread = np.zeros((len(part), halves[1], halves[0], DIRECTIONS), np.bool_)
        for dy in range(3):
            for dx in range(3):
                rows = slice(dy, dy + 2 * halves[1] - 1, 2)
                columns = slice(dx, dx + 2 * halves[0] - 1, 2)
                spread |= wide[:, rows, columns]
        features[start : start + 500] = spread.transpose(0, 2, 1, 3)
    return features


def load_mnist(path: str) -> tuple[npt.NDArray[np.uint8], ...]:
    """Training images and labels, test images and labels, from the usual ``mnist.npz``."""
    with np.load(path, allow_pickle=False) as data:
        return tuple(data[name] for name in ("x_train", "y_train", "x_test", "y_test"))
