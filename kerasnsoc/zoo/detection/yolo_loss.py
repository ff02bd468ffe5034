"""The loss that trains a detector."""

from __future__ import annotations

from typing import Any

import keras
import numpy.typing as npt
from keras import ops

from kerasnsoc.zoo.detection.processing import _check_anchors


@keras.saving.register_keras_serializable(package="kerasnsoc")
class YoloLoss(keras.losses.Loss):
    """Squared errors of place, objectness and class [1]_, summed over the batch.

    The sum, not the mean: learning rates of the recipes go with it.

    Parameters
    ----------
    anchors : list of [width, height]
        In grid cells.
    grid_size : (columns, rows)
    lambda_coord, lambda_noobj, lambda_obj, lambda_class : float
        Weights of places, of objectness where there is none and where there is, and of classes.
    iou_filter : float
        A predicted box that overlaps any object of its image by this IoU or more is not punished
        for claiming one.
    batch_size : int, optional
        Not used; older code passes it.
    name : str

    Notes
    -----
    `y_true` is what `annotation_targets` gives, `y_pred` the output of the network with the same
    shape, (batch, rows, columns, anchors, 5 + classes).

    References
    ----------
    .. [1] J. Redmon, A. Farhadi, "YOLO9000: Better, Faster, Stronger", arXiv 1612.08242, 2016.
    """

    def __init__(
        self,
        anchors: npt.ArrayLike,
        grid_size: tuple[int, int],
        lambda_coord: float = 1,
        lambda_noobj: float = 1,
        lambda_obj: float = 5,
        lambda_class: float = 1,
        iou_filter: float = 0.6,
        *,
        batch_size: int | None = None,
        name: str = "yolo_loss",
        reduction: str = "sum",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        del batch_size
        self.anchors: list[list[float]] = _check_anchors(anchors).tolist()
        if len(grid_size) != 2 or min(grid_size) < 1:
            raise ValueError(f"grid_size is {grid_size!r}, but (columns, rows) is needed")
        self.grid_size = (int(grid_size[0]), int(grid_size[1]))
        self.lambda_coord = lambda_coord
        self.lambda_noobj = lambda_noobj
        self.lambda_obj = lambda_obj
        self.lambda_class = lambda_class
        self.iou_filter = iou_filter

    def get_config(self) -> dict[str, Any]:
        """Every argument."""
        return {
            **super().get_config(),
            "anchors": self.anchors,
            "grid_size": list(self.grid_size),
            "lambda_coord": self.lambda_coord,
            "lambda_noobj": self.lambda_noobj,
            "lambda_obj": self.lambda_obj,
            "lambda_class": self.lambda_class,
            "iou_filter": self.iou_filter,
        }

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One value per image."""
        dtype = y_pred.dtype
        centres, sizes = self._places(y_pred)
        objectness = ops.sigmoid(y_pred[..., 4])
        classes = ops.softmax(y_pred[..., 5:], axis=-1)
        is_object = y_true[..., 4]
        misplaced = ops.sum(
            ops.square(y_true[..., :2] - centres) + ops.square(y_true[..., 2:4] - sizes), axis=-1
        )
        is_free = ops.cast(self._best_iou(y_true, centres, sizes) < self.iou_filter, dtype)
        unsure = self.lambda_obj * is_object * ops.square(1 - objectness)
        unsure += self.lambda_noobj * (1 - is_object) * is_free * ops.square(objectness)
        confused = is_object * ops.sum(ops.square(y_true[..., 5:] - classes), axis=-1)
        return ops.sum(
            self.lambda_coord / 2 * is_object * misplaced
            + unsure / 2
            + self.lambda_class * confused,
            axis=(1, 2, 3),
        )

    def best_iou(self, y_true: Any, y_pred: Any) -> Any:
        """Largest IoU of each predicted box with an object of its image, 0 without objects.

        Returns
        -------
        tensor, shape (batch, rows, columns, anchors)
        """
        return self._best_iou(y_true, *self._places(y_pred))

    def _places(self, y_pred: Any) -> tuple[Any, Any]:
        """Centres and sizes in cells."""
        columns, rows = self.grid_size
        dtype = y_pred.dtype
        x = ops.reshape(ops.arange(columns, dtype=dtype), (1, 1, columns, 1))
        y = ops.reshape(ops.arange(rows, dtype=dtype), (1, rows, 1, 1))
        near = ops.sigmoid(y_pred[..., :2])
        centres = ops.stack([near[..., 0] + x, near[..., 1] + y], axis=-1)
        return centres, ops.exp(y_pred[..., 2:4]) * ops.convert_to_tensor(self.anchors, dtype)

    def _best_iou(self, y_true: Any, centres: Any, sizes: Any) -> Any:
        columns, rows = self.grid_size
        slots = rows * columns * len(self.anchors)
        found = [ops.reshape(x, (-1, slots, 1, 2)) for x in (centres, sizes)]
        true = [ops.reshape(x, (-1, 1, slots, 2)) for x in (y_true[..., :2], y_true[..., 2:4])]
        low = ops.maximum(found[0] - found[1] / 2, true[0] - true[1] / 2)
        high = ops.minimum(found[0] + found[1] / 2, true[0] + true[1] / 2)
        shared = ops.prod(ops.maximum(high - low, 0), axis=-1)
        union = ops.prod(found[1], axis=-1) + ops.prod(true[1], axis=-1) - shared
        # slots without an object have no size, so that they share nothing
        overlaps = shared / ops.maximum(union, keras.config.epsilon())
        return ops.reshape(ops.max(overlaps, axis=-1), (-1, rows, columns, len(self.anchors)))
