"""Penalties on values outside a target range, for instance on firing rates."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

import keras
from keras import ops

Target = float | tuple[float, float]


@keras.saving.register_keras_serializable(package="kerasnsoc")
class RangedRegularizer(keras.regularizers.Regularizer):
    """A penalty on the distance from a target value or range, summed over all elements.

    As an ``activity_regularizer``, Keras divides it by the first axis of the output and applies it
    to every output, a returned state included. It sees single steps: spikes of height ``1 / dt``
    are penalized even at the target rate, unless the output is averaged over time first.

    Parameters
    ----------
    target : float or tuple of two float
        A value, or the lowest and the highest value that cost nothing.
    regularizer : Regularizer, optional
        Applied to the signed distance from a value, or to the distance from a range (at least 0).
        Default: ``keras.regularizers.L1L2(l2=0.01)``.

    Raises
    ------
    ValueError
        If a range has not two elements or its ends are in the wrong order.
    """

    def __init__(self, target: Any = 0, regularizer: Any = None) -> None:
        if isinstance(target, list | tuple):
            if len(target) != 2:
                raise ValueError(
                    f"target is {target!r}, but it must be a number or a tuple with two elements"
                )
            self.minimum, self.maximum = target
            target = (self.minimum, self.maximum)
        else:
            self.minimum = self.maximum = target
        if not self.minimum <= self.maximum:
            raise ValueError(
                f"target is {target!r}, but `minimum` cannot exceed `maximum`: exchange them"
            )
        self.target: Target = target
        if regularizer is None:
            self.regularizer = keras.regularizers.L1L2(l2=0.01)
        else:
            self.regularizer = keras.regularizers.get(regularizer)

    def __call__(self, x: Any) -> Any:
        x = _as_float(x)
        if self.minimum == self.maximum:
            return self.regularizer(ops.subtract(x, self.maximum))
        below = ops.relu(ops.subtract(self.minimum, x))
        above = ops.relu(ops.subtract(x, self.maximum))
        return self.regularizer(ops.add(below, above))

    def get_config(self) -> dict[str, Any]:
        target = list(self.target) if isinstance(self.target, tuple) else self.target
        return {
            "target": target,
            "regularizer": keras.regularizers.serialize(self.regularizer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RangedRegularizer:
        return cls(**config)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class L1L2(RangedRegularizer):
    """``l1 * sum(|e|) + l2 * sum(e**2)`` with ``e`` the distance from the target.

    Parameters
    ----------
    l1, l2 : float
        Weights, finite and at least 0.
    target : float or tuple of two float
        As of `RangedRegularizer`.

    Raises
    ------
    ValueError
        If a weight or the target is outside its range.

    Warns
    -----
    UserWarning
        If both weights are 0.

    Examples
    --------
    >>> penalty = L1L2(l2=0.1, target=(3, 5))(keras.ops.array([1.0, 4.0, 7.0]))
    >>> round(float(penalty), 6)
    0.8
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, target: Any = 0) -> None:
        if not l1 and not l2:
            warnings.warn(
                f"The weight is zero in {type(self).__name__}, which has no effect then; pass l1 "
                "or l2",
                UserWarning,
                stacklevel=2 if type(self) is L1L2 else 3,
            )
        super().__init__(target, keras.regularizers.L1L2(l1=l1, l2=l2))
        self.l1 = float(self.regularizer.l1)
        self.l2 = float(self.regularizer.l2)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {"l1": self.l1, "l2": self.l2, "target": config["target"]}


@keras.saving.register_keras_serializable(package="kerasnsoc")
class L1(L1L2):
    """``l1 * sum(|e|)`` with ``e`` the distance from the target.

    Parameters
    ----------
    l1 : float
    target : float or tuple of two float
        As of `RangedRegularizer`.
    l2 : float
        Part of the configuration; must be 0.

    Examples
    --------
    >>> penalty = L1(l1=0.1, target=5)(keras.ops.array([4.0, 5.0, 7.0]))
    >>> round(float(penalty), 6)
    0.3
    """

    def __init__(self, l1: float = 0.01, target: Any = 0, *, l2: float = 0.0) -> None:
        _refuse(l2, "l2", "L1")
        super().__init__(l1=l1, target=target)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class L2(L1L2):
    """``l2 * sum(e**2)`` with ``e`` the distance from the target.

    Parameters
    ----------
    l2 : float
    target : float or tuple of two float
        As of `RangedRegularizer`.
    l1 : float
        Part of the configuration; must be 0.
    """

    def __init__(self, l2: float = 0.01, target: Any = 0, *, l1: float = 0.0) -> None:
        _refuse(l1, "l1", "L2")
        super().__init__(l2=l2, target=target)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class Percentile(L1L2):
    """The ranged penalty on a percentile of the values, as a rule over the batch.

    Parameters
    ----------
    percentile : float
        From 0 to 100; 100 is the maximum. Values between two elements are interpolated linearly.
    axis : int or tuple of int
        The axes over which the percentile is taken; all others are kept. The default is the batch:
        one statistic for each time step and unit.
    target, l1, l2
        As of `L1L2`.

    Raises
    ------
    ValueError
        If `percentile` is outside its range.

    Examples
    --------
    >>> penalty = Percentile(target=(3, 4), l1=0.3)(keras.ops.array([[1.0, 5.0], [2.0, 3.0]]))
    >>> round(float(penalty), 6)
    0.6
    """

    def __init__(
        self,
        percentile: float = 100,
        axis: Any = 0,
        target: Any = 0,
        l1: float = 0,
        l2: float = 0,
    ) -> None:
        if not isinstance(percentile, Real) or not 0 <= percentile <= 100:
            raise ValueError(
                f"percentile is {percentile!r}, but `percentile` must be in the range [0, 100]"
            )
        super().__init__(l1=l1, l2=l2, target=target)
        self.percentile: float = percentile
        self.axis: Any = tuple(axis) if isinstance(axis, list | tuple) else axis

    def __call__(self, x: Any) -> Any:
        x = _as_float(x)
        if self.percentile == 100:
            # Exact, and tied maxima share the gradient.
            return super().__call__(ops.max(x, axis=self.axis))
        fraction = self.percentile / 100
        return super().__call__(ops.quantile(x, fraction, axis=self.axis, method="linear"))

    def get_config(self) -> dict[str, Any]:
        axis = list(self.axis) if isinstance(self.axis, tuple) else self.axis
        return {**super().get_config(), "percentile": self.percentile, "axis": axis}


def _as_float(x: Any) -> Any:
    """At least single precision: integers would round the weights to 0, halves overflow."""
    x = ops.convert_to_tensor(x)
    dtype = keras.backend.standardize_dtype(x.dtype)
    return x if dtype in ("float32", "float64") else ops.cast(x, "float32")


def _refuse(weight: float, name: str, cls: str) -> None:
    if weight:
        raise ValueError(f"{name} is {weight!r}, but {cls} has no such weight. Use L1L2 for both.")
