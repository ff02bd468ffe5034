"""The recipe on ImageNet, from the record files that the user has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc._extras import require
from kerasnsoc.zoo import _home
from kerasnsoc.zoo.imagenet.preprocessing import (
    NUM_CLASSES,
    NUM_TRAINING_IMAGES,
    NUM_VALIDATION_IMAGES,
    get_filenames,
    index_to_label,
    input_fn,
)
from kerasnsoc.zoo.recipes.task import Data, Schedule, Task

SCALING = (128.0, 128)
BEST_OF = 5
"""The label counts as found if it is among so many classes."""


class Records:
    """Images in the files of a folder, as batches for a network.

    Parameters
    ----------
    folder : path
        Of the files that `get_filenames` names, or some of them.

    Raises
    ------
    FileNotFoundError
        If the folder or all its files are missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = {
            is_training: [n for n in get_filenames(is_training, folder) if os.path.exists(n)]
            for is_training in (True, False)
        }
        if not any(self._names.values()):
            raise FileNotFoundError(
                f"{folder} holds no file like {get_filenames(True, '')[0]!r}. ImageNet is not "
                "downloaded: make the records from your copy and give their folder with --data."
            )

    def count(self, is_training: bool) -> int:
        """Images for training or validation; of some files alone, they are read to be counted."""
        names = self._files(is_training)
        if len(names) == len(get_filenames(is_training, self._folder)):
            return NUM_TRAINING_IMAGES if is_training else NUM_VALIDATION_IMAGES
        tf = require("tensorflow", "train")
        return sum(1 for _ in tf.data.TFRecordDataset(names))

    def identity(self) -> list[tuple[str, int, int]]:
        """Path, size and time of change in ns of each file."""
        files = [os.path.abspath(n) for names in self._names.values() for n in names]
        return [(name, os.stat(name).st_size, os.stat(name).st_mtime_ns) for name in files]

    def batches(self, model: Any, is_training: bool, batch: int, *, is_raw: bool) -> Any:
        """Images and labels for a network; those for training are varied and never end.

        Parameters
        ----------
        model : keras.Model
            Its input is a square image.
        is_raw : bool
            Whether pixels are of 0 to 255 rather than of -1 to 1.
        """
        _, rows, columns, _ = model.input_shape
        if rows is None or rows != columns:
            raise ValueError(
                f"the model takes images of {rows} x {columns}, but the images of ImageNet are cut "
                "to squares. Use a model for squares of a fixed size."
            )
        scale, shift = SCALING if is_raw else (1.0, 0)
        dataset = input_fn(
            is_training, self._folder, batch, rows, filenames=self._files(is_training)
        )
        return dataset.map(lambda images, labels: (images * scale + shift, labels))

    def integers(
        self, side: int, is_training: bool, batch: int
    ) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
        """Pixels and labels in the order of the files, each image once, as integers take them."""
        # files of training are read like the others here: cut in the middle, once
        dataset = input_fn(False, self._folder, batch, side, filenames=self._files(is_training))
        for images, labels in dataset:
            pixels = np.rint(np.asarray(images) * SCALING[0] + SCALING[1])
            yield (
                np.clip(pixels, 0, 255).astype(np.uint8),
                np.asarray(labels).reshape(-1).astype(np.int64),
            )

    def _files(self, is_training: bool) -> list[str]:
        names = self._names[is_training]
        if not names:
            raise FileNotFoundError(
                f"{self._folder} holds no file like "
                f"{os.path.basename(get_filenames(is_training, '')[0])!r}"
            )
        return names


class KeepBest(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best validation accuracy, also over interruptions.

    Parameters
    ----------
    folder : Path
        Gets the weights and their accuracy; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self._weights = folder / "best.weights.h5"
        self._note = folder / "best.txt"
        self.best = float(self._note.read_text()) if self._note.exists() else -1.0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save the weights if they are the best so far."""
        accuracy = (logs or {})["val_accuracy"]
        if accuracy > self.best:
            self.best = float(accuracy)
            self.model.save_weights(self._weights)
            self._note.write_text(repr(self.best))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Take the best weights."""
        if self._weights.exists():
            self.model.load_weights(self._weights)


def load_records(path: Path | None, seed: int) -> Data:
    """ImageNet's record files in a folder."""
    del seed
    records = Records(_home.datasets_folder() / "imagenet" if path is None else path)
    nothing = np.zeros(0)
    return Data(
        nothing,
        nothing,
        nothing,
        nothing,
        tuple(index_to_label(index) for index in range(NUM_CLASSES)),
        "ImageNet (ILSVRC 2012)",
        "the validation images",
        records=records,
    )


def ranks(outputs: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many classes come before the right one, shape (n,); of equal ones the first comes first.

    >>> ranks(np.array([[3, 5, 5], [9, 1, 2]]), np.array([2, 0])).tolist()
    [1, 0]
    """
    right = np.take_along_axis(outputs, labels[:, None], axis=1)
    is_equal_before = (outputs == right) & (np.arange(outputs.shape[1]) < labels[:, None])
    found: npt.NDArray[np.int64] = ((outputs > right) | is_equal_before).sum(axis=1)
    return found


def extract_samples(records: Records, path: Path, side: int, count: int, batch: int) -> int:
    """Save images of the training files, for calibration or to look at.

    Parameters
    ----------
    records : Records
    path : Path
        An ``.npz`` with ``samples`` (uint8, n × side × side × 3) and ``labels``.
    side, count, batch : int

    Returns
    -------
    int
        Images saved; fewer than `count` if there are no more.
    """
    pixels, labels = [], []
    missing = count
    for some, named in records.integers(side, True, batch):
        pixels.append(some[:missing])
        labels.append(named[:missing])
        missing -= len(pixels[-1])
        if not missing:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, samples=np.concatenate(pixels), labels=np.concatenate(labels))
    return count - missing


def _network() -> Any:
    from kerasnsoc.zoo.mobilenet import mobilenet_imagenet

    return mobilenet_imagenet()


IMAGENET = Task(
    name="imagenet",
    key="mobilenet_imagenet/1.0",
    helper="mobilenet_imagenet_pretrained",
    load=load_records,
    build=_network,
    steps=(),
    batch=128,
    scaling=SCALING,
    train=Schedule("exponential", 0.1, 1e-4, 10, momentum=0.9),
    tune=Schedule("exponential", 1e-4, 1e-8, 2, momentum=0.9),
    data_license="research only (ImageNet)",
)
