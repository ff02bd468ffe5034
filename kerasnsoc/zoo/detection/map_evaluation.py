"""Mean average precision of a detector, on its own or after epochs of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo.detection.data import Annotation
from kerasnsoc.zoo.detection.precision import mean_average_precision
from kerasnsoc.zoo.detection.processing import (
    BoundingBox,
    _check_anchors,
    _check_scaling,
    decode_output,
    load_image,
    scaled_image,
)


class MapEvaluation(keras.callbacks.Callback):
    """Finds the objects of annotated images and says how well.

    Parameters
    ----------
    model : keras.Model or kerasnsoc.Model
        Output (rows, columns, anchors * (5 + classes)) or the same unfolded.
    val_data : list of Annotation
        With boxes in pixels.
    labels : sequence of str
        Names of the classes.
    anchors : array of float, shape (anchors, 2)
        In grid cells.
    period : int
        Evaluate after every so many epochs, counted from 0; 0 for never.
    obj_threshold, nms_threshold : float
        As for `decode_output`.
    max_box_per_image : int
        The surest boxes that are kept.
    is_keras_model : bool
        Whether `model` is a Keras model. It takes pixels of -1 to 1 (0 to 255 if it has a
        `Rescaling` layer); an integer model takes pixels of 0 to 255.
    batch_size : int
        Images that are predicted at once.
    scaling : (float, float), optional
        ``(a, b)``: a Keras model takes ``(u - b) / a`` of pixels ``u`` instead, as `convert` takes
        ``input_scaling=(a, b)``.

    See Also
    --------
    kerasnsoc.zoo.detection.precision : what is computed.
    """

    def __init__(
        self,
        model: Any,
        val_data: Sequence[Annotation],
        labels: Sequence[str],
        anchors: npt.ArrayLike,
        period: int = 1,
        obj_threshold: float = 0.5,
        nms_threshold: float = 0.5,
        max_box_per_image: int = 10,
        is_keras_model: bool = True,
        *,
        batch_size: int = 32,
        scaling: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or max_box_per_image < 1 or period < 0:
            raise ValueError(
                f"batch_size is {batch_size}, max_box_per_image {max_box_per_image} and period "
                f"{period}, but needed are at least 1, 1 and 0"
            )
        # an integer model has this attribute, a Keras model has not
        if is_keras_model == hasattr(model, "input_dims"):
            kind = "an integer model" if is_keras_model else "no integer model"
            raise ValueError(
                f"is_keras_model is {is_keras_model}, but the model, a {type(model).__name__}, is "
                f"{kind}. Pass is_keras_model={not is_keras_model}."
            )
        self._detector = model
        self._scaling = _check_scaling(scaling)
        self._val_data = list(val_data)
        self._labels = list(labels)
        self._anchors = _check_anchors(anchors)
        self._period = period
        self._obj_threshold = obj_threshold
        self._nms_threshold = nms_threshold
        self._max_box_per_image = max_box_per_image
        self._is_keras_model = is_keras_model
        self._batch_size = batch_size

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, print, and add ``val_map`` to the logs."""
        if not self._period or epoch % self._period:
            return
        mean, per_class = self.evaluate_map()
        for label, value in per_class.items():
            print(f"{self._labels[label]} {value:.4f}")
        print(f"mAP: {mean:.4f}")
        if logs is not None:
            logs["val_map"] = mean

    def evaluate_map(self) -> tuple[float, dict[int, float]]:
        """Evaluate the model.

        Returns
        -------
        mean : float
            Of the classes' average precisions.
        per_class : dict of int to float
            Average precision of each position in `labels`; 0 for a class without objects.
        """
        detections, truths = [], []
        for start in range(0, len(self._val_data), self._batch_size):
            part = self._val_data[start : start + self._batch_size]
            for annotation, boxes in zip(part, self._predict(part), strict=True):
                detections.append(self._by_class(boxes, annotation["image_shape"]))
                truths.append(self._truth(annotation))
        return mean_average_precision(detections, truths, len(self._labels))

    def _predict(self, part: Sequence[Annotation]) -> list[list[BoundingBox]]:
        normalize = self._is_keras_model and not _has_rescaling(self._detector)
        scaling = self._scaling if self._is_keras_model else None
        if self._is_keras_model:
            height, width = self._detector.input_shape[1:3]
        else:
            width, height = self._detector.input_dims[:2]
        images = np.stack(
            [scaled_image(_pixels(one), (height, width), normalize, scaling) for one in part]
        )
        if self._is_keras_model:
            outputs = self._detector.predict(images, batch_size=self._batch_size, verbose=0)
        else:
            integers = np.clip(np.rint(images), 0, 255).astype(np.uint8)
            # integer models put the width first
            outputs = self._detector.evaluate(integers).transpose(0, 2, 1, 3)
        shape = (*outputs.shape[:3], len(self._anchors), 5 + len(self._labels))
        channels = math.prod(outputs.shape[3:])
        if channels != shape[3] * shape[4]:
            raise ValueError(
                f"the model has {channels} outputs in each cell, but {shape[3]} anchors with 5 + "
                f"{len(self._labels)} values need {shape[3] * shape[4]}"
            )
        found = []
        for output in outputs.reshape(shape):
            boxes = decode_output(
                output, self._anchors, len(self._labels), self._obj_threshold, self._nms_threshold
            )
            boxes.sort(key=lambda box: -box.score)
            found.append(boxes[: self._max_box_per_image])
        return found

    def _by_class(
        self, boxes: Sequence[BoundingBox], image_shape: Sequence[int]
    ) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        scale = np.array([*image_shape[:2], *image_shape[:2]], np.float64)
        result = []
        for label in range(len(self._labels)):
            some = [box for box in boxes if box.get_label() == label]
            corners = np.array([[b.x1, b.y1, b.x2, b.y2] for b in some]).reshape(-1, 4)
            result.append((corners * scale, np.array([box.get_score() for box in some])))
        return result

    def _truth(self, annotation: Annotation) -> list[npt.NDArray[np.float64]]:
        return [
            np.array(
                [
                    [box["x1"], box["y1"], box["x2"], box["y2"]]
                    for box in annotation["boxes"]
                    if box["label"] == label
                ],
                np.float64,
            ).reshape(-1, 4)
            for label in self._labels
        ]


def _pixels(annotation: Annotation) -> npt.NDArray[np.uint8]:
    image = annotation.get("image")
    return load_image(annotation["image_path"]) if image is None else image


def _has_rescaling(model: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
