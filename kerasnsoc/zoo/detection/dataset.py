"""Batches of images and targets for training a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo.detection.augmentation import augment_detection
from kerasnsoc.zoo.detection.data import Annotation, annotation_targets
from kerasnsoc.zoo.detection.processing import (
    _check_anchors,
    _check_scaling,
    load_image,
    scaled_image,
)


class DetectionData(keras.utils.PyDataset):
    """Images and targets, batch by batch; the last batch may be smaller.

    Parameters
    ----------
    annotations : list of Annotation
    labels : sequence of str
        Names of the classes.
    anchors : array of float, shape (anchors, 2)
    image_size : (height, width)
        Of the network's input.
    grid_size : (columns, rows)
        Of its output.
    batch_size : int
    is_training : bool
        Whether images are varied and shuffled, anew in each epoch.
    normalize : bool
        Whether pixels are of -1 to 1 rather than 0 to 255.
    scaling : (float, float), optional
        ``(a, b)``: in place of `normalize`, pixels ``u`` become ``(u - b) / a``, as `convert` takes
        ``input_scaling=(a, b)``.
    seed : int
        The same arguments give the same batches.
    **kwargs
        ``workers``, ``use_multiprocessing`` and ``max_queue_size`` of `keras.utils.PyDataset`.
    """

    def __init__(
        self,
        annotations: Sequence[Annotation],
        labels: Sequence[str],
        anchors: npt.ArrayLike,
        image_size: tuple[int, int],
        grid_size: tuple[int, int],
        batch_size: int = 32,
        is_training: bool = True,
        normalize: bool = True,
        *,
        scaling: tuple[float, float] | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, but must be at least 1")
        self._annotations = list(annotations)
        self._labels = list(labels)
        self._anchors = _check_anchors(anchors)
        self._image_size = image_size
        self._grid_size = grid_size
        self._batch_size = batch_size
        self._is_training = is_training
        self._normalize = normalize
        self._scaling = _check_scaling(scaling)
        self._seed = seed
        self._epoch = 0
        self._order = np.arange(len(self._annotations))
        self._shuffle()

    def __len__(self) -> int:
        return -(-len(self._annotations) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Images (batch, height, width, channels) and targets, see `annotation_targets`."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        # of the batch alone, so that the workers of a data set may come in any order
        rng = np.random.default_rng([self._seed, self._epoch, index])
        images, targets = [], []
        start = index * self._batch_size
        for place in self._order[start : start + self._batch_size]:
            annotation = self._annotations[place]
            given = annotation.get("image")
            pixels = load_image(annotation["image_path"]) if given is None else given
            boxes = list(annotation["boxes"])
            if self._is_training:
                pixels, boxes = augment_detection(pixels, boxes, rng)
            images.append(scaled_image(pixels, self._image_size, self._normalize, self._scaling))
            targets.append(
                annotation_targets(
                    boxes,
                    annotation["image_shape"],
                    self._labels,
                    self._anchors,
                    self._grid_size,
                )
            )
        return np.stack(images), np.stack(targets)

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        if self._is_training:
            rng = np.random.default_rng([self._seed, self._epoch])
            self._order = rng.permutation(len(self._annotations))
