"""The staircase of a quantized activation, moved into integer potentials without rounding.

Per output filter, a block's real pre-activation follows from its integer potential ``P``:

    y = (P / G - beta * W0) / (alpha * s) + bias

The activation has level ``m`` or more where ``y > t + (m - 1) * h``, which is ``P > Theta_m`` and,
since ``P`` is an integer, ``P > floor(Theta_m)``. All parameters are stored binary fractions, so
that the floor is taken in Python integers and is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True)
class Staircase:
    """Parameters of a quantized activation, as exact fractions.

    Attributes
    ----------
    threshold, step_width, step_height : Fraction
        Lower edge, input interval and output step; ``step_width`` is positive.
    bits : int
        The activation has levels ``0 .. 2**bits - 1``.
    """

    threshold: Fraction
    step_width: Fraction
    step_height: Fraction
    bits: int


@dataclass(frozen=True, slots=True)
class Affine:
    """What turns an integer potential into the real pre-activation, per filter.

    Attributes
    ----------
    alpha : Fraction
        Integers per unit of the block's real input.
    beta : int
        Integer that stands for a real 0 at the input (images only).
    scales : sequence of Fraction, one per filter
        Weight integers per unit of the real weights; positive.
    biases : sequence of Fraction, one per filter
    weight_sums : sequence of int, one per filter
        Sum of the filter's weight integers; only used where ``beta`` is not 0.
    positions : int
        How many positions a global average pooling sums; 1 without it.
    """

    alpha: Fraction
    beta: int
    scales: Sequence[Fraction]
    biases: Sequence[Fraction]
    weight_sums: Sequence[int]
    positions: int

    def offsets(self) -> list[int]:
        """Share of the potential that a real input of 0 leaves behind, per filter."""
        return [self.positions * self.beta * w for w in self.weight_sums]


def exact_thresholds(affine: Affine, stairs: Staircase) -> npt.NDArray[np.int32]:
    """Integer edges: the level is the number of ``m`` with ``P > T[n, m - 1]``.

    Returns
    -------
    thresholds : ndarray of int32, shape (filters, 2**bits - 1)
        Saturated to int32; a potential never reaches the saturated values.
    """
    levels = 2**stairs.bits - 1
    table = np.empty((len(affine.scales), levels), np.int32)
    t, h = stairs.threshold, stairs.step_width
    for n, (scale, bias, offset) in enumerate(
        zip(affine.scales, affine.biases, affine.offsets(), strict=True)
    ):
        # one common denominator for the whole row leaves integer arithmetic only
        common = max(t.denominator, h.denominator, bias.denominator)
        first = int((t - bias) * common)
        step = int(h * common)
        gain = affine.positions * affine.alpha * scale / common
        numerator, denominator = gain.numerator, gain.denominator
        table[n] = [
            saturate(numerator * (first + m * step) // denominator + offset) for m in range(levels)
        ]
    return table


def real_thresholds(affine: Affine, stairs: Staircase) -> list[list[Fraction]]:
    """The edges before their floor is taken, one row per filter."""
    rows = []
    for scale, bias, offset in zip(affine.scales, affine.biases, affine.offsets(), strict=True):
        gain = affine.positions * affine.alpha * scale
        first = stairs.threshold - bias
        rows.append(
            [gain * (first + m * stairs.step_width) + offset for m in range(2**stairs.bits - 1)]
        )
    return rows


def base_thresholds(affine: Affine, threshold: Fraction) -> npt.NDArray[np.int32]:
    """``floor`` of the first edge of every filter, saturated to int32."""
    return np.array(
        [
            saturate(_floor(affine.positions * affine.alpha * s * (threshold - b)) + offset)
            for s, b, offset in zip(affine.scales, affine.biases, affine.offsets(), strict=True)
        ],
        np.int32,
    )


def threshold_steps(affine: Affine, step_width: Fraction, bits: int) -> npt.NDArray[np.float32]:
    """Potential interval between two levels, in the runtime's 4-bit-equivalent convention."""
    factor = affine.positions * affine.alpha * step_width * Fraction(2**bits, 16)
    return np.array([nearest_float32(factor * s) for s in affine.scales], np.float32)


def output_mapping(affine: Affine) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scale and shift that turn potentials of an output layer into the Keras model's values."""
    scale, shift = [], []
    for s, b, w in zip(affine.scales, affine.biases, affine.weight_sums, strict=True):
        scale.append(float(1 / (affine.positions * affine.alpha * s)))
        shift.append(float(b - affine.beta * w / (affine.alpha * s)))
    return np.array(scale, np.float64), np.array(shift, np.float64)


def saturate(value: int) -> int:
    return min(max(value, INT32_MIN), INT32_MAX)


def nearest_float32(value: Fraction) -> np.float32:
    """Round to binary32, ties to even.

    Going through binary64 would round twice and can miss the nearest value.
    """
    guess = np.float32(float(value))
    candidates = (
        np.nextafter(guess, np.float32(-np.inf)),
        guess,
        np.nextafter(guess, np.float32(np.inf)),
    )
    finite = [c for c in candidates if np.isfinite(c)]
    return min(finite, key=lambda c: (abs(Fraction(float(c)) - value), int(c.view(np.uint32)) & 1))


def _floor(value: Fraction) -> int:
    return value.numerator // value.denominator
