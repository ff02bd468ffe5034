"""Floats to integers: one factor per core, exact in float32, ties to even."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer
from kerasnsoc.nsoc.errors import DiscretizationError

STATE_MIN, STATE_MAX = -(2**15), 2**15 - 1
"""Potentials and thresholds are int16."""

BIAS_BITS, STATE_BITS = 8, 16

MinVNone = Literal["unbounded", "legacy"]

_ZERO = np.float32(0)


@dataclass(frozen=True, slots=True)
class DiscretizationRecord:
    """What became of the floats of one core.

    Attributes
    ----------
    layer : int
    name : str
    scale : float
        ``integer = round(scale * float)``
    decided_by : {"weights", "bias", "threshold", "initial_state", "none"}
        Whose largest number used up its bits; the others have some to spare.
    max_error : float
        Largest ``|weight - integer / scale|``.
    zeroed : float
        Share of the weights other than 0 that became 0.
    sqnr_db : float or None
        Power of the weights over power of their errors, in dB; None without errors.
    """

    layer: int
    name: str
    scale: float
    decided_by: str
    max_error: float
    zeroed: float
    sqnr_db: float | None


def discretization_scale(a: npt.ArrayLike, bits: int) -> float:
    """The largest factor with which numbers still fit into signed integers.

    Parameters
    ----------
    a : array of numbers
    bits : int

    Returns
    -------
    float
        A float32 number; infinite if every number is 0.

    Raises
    ------
    ValueError
        If there are no numbers, or one is not finite.

    Examples
    --------
    >>> discretization_scale([[0.5, -0.25], [0.125, 0.0625]], 8)
    254.0
    """
    array = np.asarray(a, np.float32)
    if not array.size or not np.isfinite(array).all():
        raise ValueError("a scale needs one or more finite numbers")
    low, high = np.float32(-(2 ** (bits - 1))), np.float32(2 ** (bits - 1) - 1)
    smallest, largest = array.min(), array.max()
    with np.errstate(divide="ignore", over="ignore"):
        if abs(smallest) <= abs(largest) * abs(low / high):
            return float(abs(high / largest)) if largest != _ZERO else math.inf
        return float(abs(low / smallest))


def discretize_array(a: npt.ArrayLike, s: float, to_int: bool = True) -> npt.NDArray[Any]:
    """Numbers times a factor, rounded half to even in float32.

    Parameters
    ----------
    a : array of numbers
    s : float
    to_int : bool
        Whether the result is int32; otherwise it stays float32 with whole values.

    Returns
    -------
    ndarray of int32 or float32
    """
    rounded: npt.NDArray[Any] = np.rint(np.asarray(a, np.float32) * np.float32(s))
    return rounded.astype(np.int32) if to_int else rounded


def discretize_scalar(v: float, s: float) -> int:
    """One number times a factor in float32, rounded half to even."""
    return round(float(np.float32(v) * np.float32(s)))


def discretize_core(
    layer: CoreLayer,
    *,
    weight_bits: int = 8,
    min_v_none: MinVNone = "unbounded",
    assume_integer: bool = False,
) -> tuple[CoreLayer, DiscretizationRecord]:
    """The integer form of a core layer.

    One factor for weights, bias, threshold, lowest potential and initial state keeps the dynamics
    the same but for rounding.

    Parameters
    ----------
    layer : CoreLayer
        Of floats; not modified.
    weight_bits : int, 2 to 8
    min_v_none : {"unbounded", "legacy"}
        What an absent lowest potential means: the lowest int16 after scaling, or -2**15 before it,
        as the reference does, which usually leaves nothing of the weights.
    assume_integer : bool
        Whether the floats are the integers already; the factor is 1, and anything else is refused.

    Returns
    -------
    layer : CoreLayer
        weights int8, bias and initial state int16, threshold and min_v int.
    record : DiscretizationRecord

    Raises
    ------
    DiscretizationError
        If the threshold would be rounded to 0, or a number leaves its range.
    """
    if not 2 <= weight_bits <= 8:
        raise ValueError(f"weight_bits is {weight_bits!r}, but it must be 2 to 8")
    if min_v_none not in ("unbounded", "legacy"):
        raise ValueError(f"min_v_none is {min_v_none!r}, but it must be 'unbounded' or 'legacy'")
    low = layer.min_v
    if low is None and min_v_none == "legacy":
        low = float(STATE_MIN)
    if assume_integer:
        scale, decided_by = 1.0, "none"
        _check_whole(layer, low)
    else:
        scale, decided_by = _common_scale(layer, low, weight_bits)
    weights = discretize_array(layer.weights, scale)
    bias = None if layer.bias is None else discretize_array(layer.bias, scale)
    threshold = int(discretize_array(layer.threshold, scale))
    lowest = STATE_MIN if low is None else int(discretize_array(low, scale))
    state = None if layer.initial_state is None else discretize_array(layer.initial_state, scale)

    for what, values, bits in (
        ("weights", weights, weight_bits),
        ("biases", bias, BIAS_BITS),
        ("initial potentials", state, STATE_BITS),
    ):
        if values is not None:
            check_range(layer.name, what, values, bits)
    if not 0 < threshold <= STATE_MAX:
        raise DiscretizationError(
            f"{layer.name}: the threshold {layer.threshold!r} becomes {threshold} with the scale "
            f"{scale:g}, but it must be 1 to {STATE_MAX}. The {decided_by} decided the scale; "
            "bring both to the same order of magnitude."
        )
    if not STATE_MIN <= lowest <= 0:
        raise DiscretizationError(
            f"{layer.name}: the lowest potential {low!r} becomes {lowest}, but it must be "
            f"{STATE_MIN} to 0"
        )
    result = replace(
        layer,
        weights=weights.astype(np.int8),
        bias=None if bias is None else bias.astype(np.int16),
        threshold=threshold,
        min_v=lowest,
        initial_state=None if state is None else state.astype(np.int16),
        quant_scale=scale,
    )
    return result, _record(layer, result, decided_by)


def discretize_graph(
    graph: CoreGraph,
    *,
    weight_bits: int = 8,
    min_v_none: MinVNone = "unbounded",
    assume_integer: bool = False,
) -> tuple[CoreGraph, tuple[DiscretizationRecord, ...]]:
    """The integer form of every core layer; arguments and errors as of `discretize_core`."""
    pairs = [
        discretize_core(
            layer, weight_bits=weight_bits, min_v_none=min_v_none, assume_integer=assume_integer
        )
        for layer in graph.core_layers
    ]
    return (
        replace(graph, layers=tuple(layer for layer, _ in pairs)),
        tuple(record for _, record in pairs),
    )


def dequantized(layer: CoreLayer) -> CoreLayer:
    """Floats that discretize to the same integers; a layer of floats stays as it is."""
    if layer.quant_scale is None:
        return layer
    scale = layer.quant_scale

    def floats(array: npt.NDArray[Any] | None) -> npt.NDArray[np.float32] | None:
        return None if array is None else (array / scale).astype(np.float32)

    weights = floats(layer.weights)
    assert weights is not None
    return replace(
        layer,
        weights=weights,
        bias=floats(layer.bias),
        threshold=layer.threshold / scale,
        min_v=None if layer.min_v in (None, STATE_MIN) else layer.min_v / scale,
        initial_state=floats(layer.initial_state),
        quant_scale=None,
    )


def _common_scale(layer: CoreLayer, low: float | None, weight_bits: int) -> tuple[float, str]:
    bounds = [layer.threshold] if low is None else [low, layer.threshold]
    bias = [0.0] if layer.bias is None else layer.bias
    scales = {
        "weights": discretization_scale(layer.weights, weight_bits),
        "bias": discretization_scale(bias, BIAS_BITS),
        "threshold": discretization_scale(bounds, STATE_BITS),
    }
    if layer.initial_state is not None:
        scales["initial_state"] = discretization_scale(layer.initial_state, STATE_BITS)
    decided_by = min(scales, key=lambda name: scales[name])
    return scales[decided_by], decided_by


def check_range(
    name: str,
    what: str,
    values: npt.NDArray[Any],
    bits: int,
    claim: str = "become {}",
    remedy: str = "",
) -> None:
    """Refuse integers that need more bits, naming the first; `claim` says what became of it."""
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    outside = np.argwhere((values < lowest) | (values > highest))
    if len(outside):
        where = tuple(int(i) for i in outside[0])
        raise DiscretizationError(
            f"{name}: {what} at {where} {claim.format(int(values[where]))}, but {bits} bits hold "
            f"{lowest} to {highest}{remedy}"
        )


def _check_whole(layer: CoreLayer, low: float | None) -> None:
    numbers = {
        "weights": layer.weights,
        "bias": layer.bias,
        "threshold": layer.threshold,
        "min_v": low,
        "initial potentials": layer.initial_state,
    }
    for what, values in numbers.items():
        if values is not None and (np.asarray(values) != np.rint(values)).any():
            raise DiscretizationError(
                f"{layer.name}: assume_integer=True, but its {what} are no whole numbers"
            )


def _record(floats: CoreLayer, integers: CoreLayer, decided_by: str) -> DiscretizationRecord:
    assert integers.quant_scale is not None
    exact = floats.weights.astype(np.float64)
    error = exact - integers.weights / integers.quant_scale
    used = int(np.count_nonzero(exact))
    lost = int(np.count_nonzero((exact != 0) & (integers.weights == 0)))
    signal, noise = float((exact**2).sum()), float((error**2).sum())
    ratio = 10 * math.log10(signal / noise) if noise else None
    return DiscretizationRecord(
        layer=floats.index,
        name=floats.name,
        scale=integers.quant_scale,
        decided_by=decided_by,
        max_error=float(abs(error).max(initial=0.0)),
        zeroed=lost / used if used else 0.0,
        sqnr_db=ratio,
    )
