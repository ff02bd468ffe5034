"""Surrogates of a spike's derivative: smooth functions that stand in for the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops


def fast_sigmoid(u: Any, scale: float) -> Any:
    """Derivative ``1 / (1 + scale * |u|)**2``."""
    return ops.divide(u, 1 + scale * ops.absolute(u))


def arctan(u: Any, scale: float) -> Any:
    """Derivative ``scale / 2 / (1 + (pi / 2 * scale * u)**2)``."""
    return ops.arctan(math.pi / 2 * scale * u) / math.pi


def sigmoid(u: Any, scale: float) -> Any:
    """Derivative ``scale * s * (1 - s)`` with ``s`` the logistic function of ``scale * u``."""
    return ops.sigmoid(scale * u)


def triangle(u: Any, scale: float) -> Any:
    """Derivative ``scale * max(0, 1 - scale * |u|)``."""
    c = ops.clip(scale * u, -1.0, 1.0)
    return c - c * ops.absolute(c) / 2


def boxcar(u: Any, scale: float) -> Any:
    """Derivative ``scale / 2`` where ``scale * |u| < 1``, 0 elsewhere."""
    return ops.clip(scale * u, -1.0, 1.0) / 2


def straight_through(u: Any, scale: float) -> Any:
    """Derivative 1 everywhere; the scale has no effect."""
    return u


SURROGATES: dict[str, Callable[[Any, float], Any]] = {
    function.__name__: function
    for function in (fast_sigmoid, arctan, sigmoid, triangle, boxcar, straight_through)
}
"""Antiderivatives by name. ``u`` is the distance from the threshold, in units of the potential.

Their values are never used, only their derivatives. A greater scale makes all but the last one
narrower.
"""


def get(name: str) -> Callable[[Any, float], Any]:
    """The surrogate of that name.

    Raises
    ------
    ValueError
        If there is none; the message lists all names.
    """
    if name not in SURROGATES:
        raise ValueError(f"surrogate is {name!r}, but it must be one of {', '.join(SURROGATES)}")
    return SURROGATES[name]
