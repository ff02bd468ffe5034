"""Load before a run: how many updates an event makes, and what a rate of events asks of a core."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.config import CoreConfig


def synops_map(core: CoreConfig, skip_zero: bool = False) -> npt.NDArray[np.int64]:
    """Synaptic updates that one event makes, for each place that it may come from.

    Parameters
    ----------
    core : CoreConfig
    skip_zero : bool
        Whether weights of 0 make no update.

    Returns
    -------
    updates : ndarray of int64, shape (C, H, W)
        Border positions touch fewer neurons. Its sum is the number of connections.
    """
    channels, in_height, in_width = core.in_shape
    features, height, width = core.out_shape
    shape = core.dimensions
    if skip_zero:
        taps_cyx = np.count_nonzero(core.weights, axis=0)
    else:
        taps_cyx = np.full((channels, shape.kernel_size.y, shape.kernel_size.x), features)
    rows = _reach(in_height, height, shape.kernel_size.y, shape.stride.y, shape.padding.y)
    columns = _reach(in_width, width, shape.kernel_size.x, shape.stride.x, shape.padding.x)
    counts: npt.NDArray[np.int64] = np.einsum("ik,jl,ckl->cij", rows, columns, taps_cyx)
    return counts


def synops_rate(core: CoreConfig, events_per_second: float) -> float:
    """Updates per second of a core that receives so many events, away from the border.

    ``rate * F * Kx * Ky / (sx * sy)``; `synops_map` counts exactly.
    """
    shape = core.dimensions
    kernel = shape.kernel_size.x * shape.kernel_size.y
    return events_per_second * core.out_shape[0] * kernel / (shape.stride.x * shape.stride.y)


def _reach(
    inputs: int, outputs: int, size: int, stride: int, padding: int
) -> npt.NDArray[np.int64]:
    """Whether input position i sees an output through tap k, shape (inputs, size)."""
    at = np.arange(inputs)[:, None] + padding - np.arange(size)
    reaches: npt.NDArray[np.bool_] = (at >= 0) & (at % stride == 0) & (at // stride < outputs)
    return reaches.astype(np.int64)
