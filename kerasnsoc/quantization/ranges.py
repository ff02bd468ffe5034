"""Ranges with the least squared error: of kernels, and of activations over example data."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.quantization.activations import initial_step
from kerasnsoc.quantization.quantizers import MaxQuantizer, Quantizer, ScaleFactorQuantizer
from kerasnsoc.quantization.scoring import ratio_db

WeightRanges = Literal["mse", "max"]
"""Where integers end: at the least squared error of a filter, or at its largest weight."""

_BINS = 2**15
_SMALLEST_STEP = 1e-6
"""What training keeps the variable of a `QuantizedReLU` above."""


def check_weight_ranges(weight_ranges: str) -> None:
    """Refuse an unknown way to choose ranges."""
    if weight_ranges not in ("mse", "max"):
        raise ValueError(f"weight_ranges is {weight_ranges!r}, but must be 'mse' or 'max'.")


def kernel_quantizer(
    layer: keras.layers.Layer, default: Quantizer, weight_ranges: WeightRanges
) -> Quantizer:
    """A quantizer for a kernel of a float layer, for the ``quantizer_function`` of `quantize`.

    Parameters
    ----------
    layer : keras.layers.Layer
        With its trained weights.
    default : Quantizer
        `MaxQuantizer` for a depthwise kernel, `MaxPerAxisQuantizer` for any other one.
    weight_ranges : {"mse", "max"}

    Returns
    -------
    Quantizer
        The default, or one whose fixed scale factors minimize the squared error: one per
        filter, and a single one for a depthwise kernel.
    """
    if weight_ranges == "max" or not default.bitwidth:
        return default
    is_depthwise = isinstance(default, MaxQuantizer)
    names = ("depthwise_kernel", "kernel") if is_depthwise else ("pointwise_kernel", "kernel")
    variable = next(getattr(layer, name) for name in names if hasattr(layer, name))
    kernel = np.asarray(keras.ops.convert_to_numpy(keras.ops.copy(variable)), np.float64)
    rows_wn = kernel.reshape(-1, 1 if is_depthwise else kernel.shape[-1])
    factors_n = _scale_factors(rows_wn, 2 ** (default.bitwidth - 1) - 1)
    return ScaleFactorQuantizer(default.bitwidth, factors_n[0] if is_depthwise else factors_n)


def _scale_factors(weights_wn: npt.NDArray[np.float64], kmax: int) -> npt.NDArray[np.float64]:
    """Per column, the scale factor with the least squared error."""
    top_n = np.abs(weights_wn).max(axis=0)
    # Scale factors are normal float32 numbers; what is smaller stays an empty filter.
    usable_n = top_n >= kmax * 2.0**-126
    best_n, least_n = np.ones_like(top_n), np.full_like(top_n, np.inf)
    for part in np.linspace(1.0, 0.2, 81):
        factor_n = np.where(usable_n, kmax / np.where(usable_n, part * top_n, 1.0), 1.0)
        factor_n = np.minimum(factor_n, 2.0**126)
        q_wn = np.clip(np.rint(weights_wn * factor_n), -kmax, kmax)
        error_n = np.square(weights_wn - q_wn / factor_n).sum(axis=0)
        better_n = error_n < least_n
        best_n, least_n = np.where(better_n, factor_n, best_n), np.minimum(error_n, least_n)
    return best_n


class ActivationHistogram:
    """How often an activation takes which value.

    Each bin keeps the count, the sum and the sum of squares of its values, so that errors are
    exact wherever no edge between two levels cuts a bin.

    Parameters
    ----------
    top : float
        Largest value; the smallest is 0.
    """

    def __init__(self, top: float) -> None:
        self.top = top
        self.largest = 0.0
        self._counts = np.zeros(_BINS)
        self._sums = np.zeros(_BINS)
        self._squares = np.zeros(_BINS)

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count values of 0 to `top`."""
        values = np.clip(values.astype(np.float64).ravel(), 0.0, self.top)
        self.largest = max(self.largest, float(values.max(initial=0.0)))
        position = values * (_BINS / self.top) if self.top > 0 else values
        bins = np.minimum(position.astype(np.int64), _BINS - 1)
        self._counts += np.bincount(bins, minlength=_BINS)
        self._sums += np.bincount(bins, values, minlength=_BINS)
        self._squares += np.bincount(bins, np.square(values), minlength=_BINS)

    @classmethod
    def merged(cls, parts: list[ActivationHistogram]) -> ActivationHistogram:
        """All values of several histograms of the same `top`."""
        whole = cls(parts[0].top)
        for part in parts:
            whole._counts += part._counts
            whole._sums += part._sums
            whole._squares += part._squares
            whole.largest = max(whole.largest, part.largest)
        return whole

    def best_step(self, bits: int) -> float:
        """The step with the least squared error, as float32.

        For values that are 0 everywhere it is the step of `ActivationDiscreteRelu`.
        """
        levels = 2**bits - 1
        if self.top <= 0:
            return initial_step(bits)
        full = self.top / levels
        # From the range of the largest value down to a thousandth, then around the best.
        coarse = full * np.geomspace(1.0, 1e-3, 200)
        near = coarse[self._index_of_best(coarse, levels)]
        fine = np.minimum(near * np.linspace(1.04, 0.96, 41), full)
        step = fine[self._index_of_best(fine, levels)]
        return float(np.float32(max(step, _SMALLEST_STEP * 16 / 2**bits)))

    def _index_of_best(self, steps: npt.NDArray[np.float64], levels: int) -> int:
        return int(np.argmin([self.error(float(step), levels) for step in steps]))

    def error(self, step: float, levels: int) -> float:
        """Sum of squared differences to ``step * clip(ceil(y / step - 1/2), 0, levels)``."""
        used = self._counts > 0
        counts, sums = self._counts[used], self._sums[used]
        output = step * np.clip(np.ceil(sums / counts / step - 0.5), 0, levels)
        errors = self._squares[used] - 2 * output * sums + np.square(output) * counts
        return max(float(errors.sum()), 0.0)

    def sqnr_db(self, step: float, levels: int) -> float:
        return ratio_db(float(self._squares.sum()), self.error(step, levels))

    def clipped(self, step: float, levels: int) -> float:
        """Share of values more than half a step above the highest level."""
        above = self._sums > self._counts * (levels + 0.5) * step
        return float(self._counts[above].sum() / max(self._counts.sum(), 1.0))
