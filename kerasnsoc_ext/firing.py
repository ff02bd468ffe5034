"""Threshold tables as straight lines, where that is proved to be the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXACT_IN_FLOAT32 = 2**24
SEARCH_STEPS = 64


class Line(NamedTuple):
    """Activation = ``clip(trunc(potential * slope + offset), 0, levels)``."""

    slope_n: npt.NDArray[np.float32]
    offset_n: npt.NDArray[np.float32]


def fit_line(
    thresholds_mn: npt.NDArray[np.int32],
    low_n: npt.NDArray[np.int64],
    high_n: npt.NDArray[np.int64],
    size: int,
) -> Line | None:
    """A line that gives, for every reachable potential, the number of thresholds it exceeds.

    Parameters
    ----------
    thresholds_mn : ndarray of int32, shape (levels, neurons)
    low_n, high_n : ndarray of int64, shape (neurons,)
        Smallest and largest potential.
    size : int
        Neurons including those that pad, whose line is 0.

    Returns
    -------
    line : Line or None
        None if some neuron has no such line.

    Notes
    -----
    A line grows with the potential, in floating point too, since rounding keeps order. It therefore
    agrees everywhere if it does on both sides of each threshold: with the thresholds in order, it
    has to be below m at threshold m, and at least m one above. Thresholds outside of what is
    reachable only bind at the ends of the range. Potentials below 2**24 are exact in float32; a
    fused or a separate multiply-add is off by less than the margin that is left.
    """
    if max(-low_n.min(), high_n.max(), 1) >= EXACT_IN_FLOAT32:
        return None
    level_m1 = np.arange(1.0, len(thresholds_mn) + 1)[:, None]
    # a table need not be in order; counting exceeded thresholds does not depend on it
    table = np.sort(thresholds_mn.astype(np.float64), axis=0)
    low, high = low_n.astype(np.float64), high_n.astype(np.float64)
    below = np.where(table >= low, np.minimum(table, high), np.nan)
    above = np.where(table < high, np.maximum(table + 1, low), np.nan)

    def room(slope_n: Floats) -> tuple[Floats, Floats]:
        """Largest offset that the one, smallest that the other kind of condition allows."""
        with np.errstate(invalid="ignore"):
            most = np.nan_to_num(level_m1 - slope_n * below, nan=np.inf).min(axis=0)
            least = np.nan_to_num(level_m1 - slope_n * above, nan=-np.inf).max(axis=0)
        # without a condition on one side any offset on the other side of a bound will do
        most = np.where(np.isinf(most), np.where(np.isinf(least), 1.0, least + 2), most)
        return most, np.where(np.isinf(least), most - 2, least)

    # The room for the offset is concave in the slope; search its peak on a logarithmic scale.
    left = np.full(low.shape, np.log(2.0**-24))
    right = np.full(low.shape, np.log(2.0**9))
    for _ in range(SEARCH_STEPS):
        third = (right - left) / 3
        a, b = left + third, right - third
        most_a, least_a = room(np.exp(a))
        most_b, least_b = room(np.exp(b))
        first_is_wider = most_a - least_a > most_b - least_b
        right = np.where(first_is_wider, b, right)
        left = np.where(first_is_wider, left, a)
    slope = np.exp((left + right) / 2).astype(np.float32)
    most, least = room(slope.astype(np.float64))
    offset = ((most + least) / 2).astype(np.float32)

    # the proof, with the numbers that the kernels get
    reach = np.maximum(np.abs(low), np.abs(high))
    # two roundings of float32, each at most 2**-24 of its result, and those of this check
    margin = 2.0**-22 * (reach * slope + np.abs(offset) + len(thresholds_mn))
    at = slope.astype(np.float64) * below + offset
    beyond = slope.astype(np.float64) * above + offset
    fits = (np.isnan(at) | (at + margin < level_m1)) & (
        np.isnan(beyond) | (beyond - margin >= level_m1)
    )
    if not fits.all():
        return None
    line = Line(np.zeros(size, np.float32), np.zeros(size, np.float32))
    line.slope_n[: len(slope)] = slope
    line.offset_n[: len(offset)] = offset
    return line
