"""Threshold tables as straight lines, where that is proved to be the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXACT_IN_FLOAT32 = 2**24
SEARCH_STEPS = 64
FRACTIONS = tuple((k + 0.5) / 24 for k in (12, 5, 18, *range(24)))
LIKELY = 3
"""Fractions at the start that leave few neurons without a line."""

TRIED_THRESHOLDS = 2**12
"""Thresholds that are held against lines at a time, so that a fit needs little memory."""

ROUNDING = 2.0**-24 * (1 + 2.0**-10)
"""Of a float32, as a share of it, with room for what follows in float64."""

LEAST_SLOPE, MOST_SLOPE = 2.0**-24, 2.0**9


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
    # a condition that does not bind lies infinitely far on the right side
    below = np.where(table >= low, np.minimum(table, high), -np.inf)
    above = np.where(table < high, np.maximum(table + 1, low), np.inf)

    # Most tables have regular steps, rounded down, and need no search: the last threshold tells
    # the step but for a fraction.
    levels = len(table)
    span = np.maximum(table[-1] - table[0], 0.0)
    slope, offset = np.ones(low.shape, np.float32), np.zeros(low.shape, np.float32)
    bent = np.arange(len(low))
    tried_f = 0
    while len(bent) and tried_f < len(FRACTIONS):
        # the first few do for most neurons; the fewer are left, the more are tried at a time
        together = max(1, TRIED_THRESHOLDS // (levels * len(bent))) if tried_f >= LIKELY else 1
        fraction_f1 = np.array(FRACTIONS[tried_f : tried_f + together])[:, None]
        tried_f += len(fraction_f1)
        slope_fn = np.clip((levels - 1) / (span[bent] + fraction_f1), LEAST_SLOPE, MOST_SLOPE)
        slope_fn = np.where(span[bent] > 0, slope_fn, 1.0).astype(np.float32)
        tried = np.tile(bent, len(fraction_f1))
        moved, fits = _offset(level_m1, below[:, tried], above[:, tried], slope_fn.ravel())
        moved_fn, fits_fn = moved.reshape(slope_fn.shape), fits.reshape(slope_fn.shape)
        first_n, place_n = fits_fn.argmax(axis=0), np.arange(len(bent))
        slope[bent], offset[bent] = slope_fn[first_n, place_n], moved_fn[first_n, place_n]
        bent = bent[~fits_fn.any(axis=0)]
    if len(bent):
        sides = below[:, bent], above[:, bent]
        slope[bent] = _widest(level_m1, *sides)
        offset[bent], fits = _offset(level_m1, *sides, slope[bent])
        bent = bent[~fits]
    if len(bent):
        return None
    line = Line(np.zeros(size, np.float32), np.zeros(size, np.float32))
    line.slope_n[: len(slope)] = slope
    line.offset_n[: len(offset)] = offset
    return line


def _room(
    level_m1: Floats, below_mn: Floats, above_mn: Floats, slope_n: Floats
) -> tuple[Floats, Floats]:
    """Largest offset that the one, smallest that the other kind of condition allows."""
    most = (level_m1 - slope_n * below_mn).min(axis=0)
    least = (level_m1 - slope_n * above_mn).max(axis=0)
    # without a condition on one side any offset on the other side of a bound will do
    most = np.where(np.isinf(most), np.where(np.isinf(least), 1.0, least + 2), most)
    return most, np.where(np.isinf(least), most - 2, least)


def _offset(
    level_m1: Floats,
    below_mn: Floats,
    above_mn: Floats,
    slope_n: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The offset in the middle of its room, and the proof, with the numbers that kernels get."""
    slope = slope_n.astype(np.float64)
    most, least = _room(level_m1, below_mn, above_mn, slope)
    offset_n = ((most + least) / 2).astype(np.float32)

    def margin(potentials_mn: Floats) -> Floats:
        """Two roundings of float32, each at most 2**-24 of its result, and those of this check.

        A result beyond all levels is on its side of them by far more than its rounding.
        """
        reach = np.where(np.isinf(potentials_mn), 0, np.abs(potentials_mn))
        return ROUNDING * (reach * slope + len(level_m1))

    at = slope * below_mn + offset_n
    beyond = slope * above_mn + offset_n
    fits = (at + margin(below_mn) < level_m1) & (beyond - margin(above_mn) >= level_m1)
    return offset_n, np.asarray(fits.all(axis=0))


def _widest(level_m1: Floats, below_mn: Floats, above_mn: Floats) -> npt.NDArray[np.float32]:
    """Slopes that leave the most room for the offset.

    The room is concave in the slope; its peak is searched on a logarithmic scale.
    """
    left = np.full(below_mn.shape[1], np.log(LEAST_SLOPE))
    right = np.full(below_mn.shape[1], np.log(MOST_SLOPE))
    for _ in range(SEARCH_STEPS):
        third = (right - left) / 3
        a, b = left + third, right - third
        most_a, least_a = _room(level_m1, below_mn, above_mn, np.exp(a))
        most_b, least_b = _room(level_m1, below_mn, above_mn, np.exp(b))
        first_is_wider = most_a - least_a > most_b - least_b
        right = np.where(first_is_wider, b, right)
        left = np.where(first_is_wider, left, a)
    return np.exp((left + right) / 2).astype(np.float32)
