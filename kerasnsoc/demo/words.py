"""Features of spoken digits that ship with the package; origin and licence in SPOKEN_DIGITS.md."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class SpokenWords(NamedTuple):
    """Images of 8 bits, shape (n, 49, 10, 1), and labels of 0 to 9, to learn from and to test."""

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.uint8]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.uint8]


def load_spoken_words() -> SpokenWords:
    """Features for the network ``ds_cnn_kws/fsdd7/8-4-4-1``, which knows the words zero to six."""
    with (files("kerasnsoc.demo") / "spoken_digits.npz").open("rb") as file:
        data = np.load(file, allow_pickle=False)
        return SpokenWords(
            data["train_images"][..., np.newaxis],
            data["train_labels"],
            data["test_images"][..., np.newaxis],
            data["test_labels"],
        )
