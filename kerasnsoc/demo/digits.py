"""The handwritten digits that ship with the package; origin and licence in DIGITS.md."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

PIXEL_SCALE = 15
"""8-bit image value per unit of the original 0 to 16."""


class Digits(NamedTuple):
    """A split of the digits: images of 0 to 240, shape (n, 8, 8, 1), and labels of 0 to 9."""

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.uint8]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.uint8]


def load_digits(test_share: float = 0.2, seed: int = 0) -> Digits:
    """Handwritten digits, shuffled and split.

    Parameters
    ----------
    test_share : float
        Share of the 1,797 images that is held out, above 0 and below 1.
    seed : int
        Of the shuffle.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share is {test_share}, but it must lie between 0 and 1")
    with (files("kerasnsoc.demo") / "digits.npz").open("rb") as file:
        data = np.load(file, allow_pickle=False)
        images, labels = data["images"], data["labels"]
    order = np.random.default_rng(seed).permutation(len(images))
    images = (images[order] * np.uint8(PIXEL_SCALE))[..., np.newaxis]
    labels = labels[order]
    held_out = round(len(images) * test_share)
    return Digits(images[held_out:], labels[held_out:], images[:held_out], labels[:held_out])
