"""The length of one time step: a number, or a Variable that may change between calls."""

from __future__ import annotations

import math
import sys
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasnsoc.spiking import config


def is_variable(value: Any) -> bool:
    """Whether the value is a ``keras.Variable`` or a ``tf.Variable``."""
    if isinstance(value, keras.Variable):
        return True
    # A tf.Variable cannot exist before TensorFlow is loaded; other backends never load it.
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(value, tensorflow.Variable)


def as_float(value: Any) -> float:
    """A number, tensor or Variable as a Python float."""
    # Not keras.ops.convert_to_numpy: NumPy warns when that copies a Variable.
    return float(np.asarray(value))


class TimeStep:
    """Seconds per step, read anew at each use.

    A plain object, so that a layer that holds it does not take a Variable in it for one of its
    weights: the Variable stays the user's, is not trained and not saved.

    Parameters
    ----------
    dt : None, number, scalar array or tensor, keras.Variable or tf.Variable
        None is the default of `kerasnsoc.spiking.config`. A Variable may hold 0 for now.
    owner : str
        Who asks, for the error message.

    Raises
    ------
    TypeError
        If `dt` is no number and no Variable.
    ValueError
        If it is no scalar, or a number that is not finite and above 0.
    """

    def __init__(self, dt: Any, owner: str) -> None:
        if dt is None:
            dt = config.default.dt
        self.source = _checked_variable(dt, owner) if is_variable(dt) else _number(dt, owner)

    def tensor(self, dtype: str) -> Any:
        """The value now, as a tensor."""
        source = self.source
        if isinstance(source, float):
            return ops.convert_to_tensor(source, dtype=dtype)
        # Some operations on a keras.Variable fail in compiled code; its value is a tensor.
        return ops.cast(source.value if isinstance(source, keras.Variable) else source, dtype)

    def __float__(self) -> float:
        return self.source if isinstance(self.source, float) else as_float(self.source)


def _checked_variable(variable: Any, owner: str) -> Any:
    if tuple(variable.shape) != ():
        raise ValueError(
            f"dt of {owner} is a Variable of shape {tuple(variable.shape)}, but it must hold one "
            "number (shape ())"
        )
    return variable


def _number(dt: Any, owner: str) -> float:
    try:
        array = np.asarray(ops.convert_to_numpy(dt) if ops.is_tensor(dt) else dt)
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise TypeError(
            f"dt of {owner} is {dt!r}, whose value is not known now. Pass a number, or a "
            "keras.Variable if it is to change later."
        ) from error
    if array.dtype.kind not in "iuf":
        raise TypeError(
            f"dt of {owner} is {dt!r}, but it must be a number of seconds, a keras.Variable or None"
        )
    if array.shape != ():
        raise ValueError(f"dt of {owner} has shape {array.shape}, but it must be one number")
    seconds = float(array)
    if not 0 < seconds < math.inf:
        raise ValueError(
            f"dt of {owner} is {seconds}, but it must be finite and greater than 0 seconds. "
            "A Variable may hold 0 until a scheduler sets it."
        )
    return seconds
