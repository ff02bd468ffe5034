"""Constraints on weights of filters."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasnsoc")
class Mean(keras.constraints.Constraint):
    """Ties weights together: all of an axis take their mean after each update.

    The initial value is not constrained. Weights of `Lowpass` have shape (1, \\*size), those of
    `Alpha` (prod(size),): ``axis=-1`` ties all units of a one-dimensional layer in both.

    Parameters
    ----------
    axis : int or tuple of int

    Examples
    --------
    >>> Mean()(keras.ops.array([[1.0, 2.0, 3.0], [5.0, 6.0, 10.0]])).numpy()
    array([[2., 2., 2.],
           [7., 7., 7.]], dtype=float32)
    """

    def __init__(self, axis: Any = -1) -> None:
        self.axis = tuple(axis) if isinstance(axis, list | tuple) else axis

    def __call__(self, w: Any) -> Any:
        w = ops.convert_to_tensor(w)
        return ops.broadcast_to(ops.mean(w, axis=self.axis, keepdims=True), ops.shape(w))

    def get_config(self) -> dict[str, Any]:
        return {"axis": list(self.axis) if isinstance(self.axis, tuple) else self.axis}
