"""From raw potentials to what a layer sends on: pooling, then thresholds, in NumPy.

The plans do this in C for inference. Learning needs the potentials of every position anyway, and
what it sends on is made of them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.geometry import Dims, Window, spatial_geometry
from kerasnsoc.artifact.schema import (
    ActivationParameters,
    FullyConnectedParameters,
    PoolingType,
    SpatialParameters,
)
from kerasnsoc.runtime.plan import threshold_table


def emitted(
    parameters: ActivationParameters,
    variables: Mapping[str, npt.NDArray[Any]],
    input_dims: Dims,
    potentials_bxyn: npt.NDArray[np.int32],
) -> npt.NDArray[Any]:
    """Outputs of a fully connected or convolutional layer.

    Parameters
    ----------
    parameters : ActivationParameters
    variables : mapping of str to ndarray
    input_dims : tuple of int, (width, height, features)
    potentials_bxyn : ndarray of int32
        Before pooling.

    Returns
    -------
    outputs : ndarray, shape (samples, width, height, neurons)
        uint8 activations, or the int32 potentials without activation.
    """
    if isinstance(parameters, SpatialParameters):
        potentials_bxyn = _pooled(parameters, input_dims, potentials_bxyn)
    if not parameters.activations_enabled:
        return potentials_bxyn
    activations_bxyn = np.zeros(potentials_bxyn.shape, np.uint8)
    for level_n in threshold_table(parameters, variables).T:
        activations_bxyn += potentials_bxyn > level_n
    return activations_bxyn


def _pooled(
    p: SpatialParameters, input_dims: Dims, potentials_bxyn: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    geometry = spatial_geometry(p, input_dims[:2])
    for axis, window in ((1, geometry.pool_x), (2, geometry.pool_y)):
        if window is not None:
            reduce = np.maximum if p.pooling_type is PoolingType.Max else np.add
            potentials_bxyn = pooled_along(potentials_bxyn, axis, window, reduce)
    return potentials_bxyn


def pooled_along(
    values: npt.NDArray[np.int32], axis: int, window: Window, reduce: np.ufunc
) -> npt.NDArray[np.int32]:
    """Maxima or sums of the windows along one axis.

    One axis at a time: both a maximum and a sum may be taken first along x, then along y.
    """
    moved = np.moveaxis(values, axis, 0)
    pooled = np.empty((window.output, *moved.shape[1:]), np.int32)
    for output in range(window.output):
        origin = output * window.stride - window.lead
        cells = moved[max(origin, 0) : origin + window.size]
        pooled[output] = reduce.reduce(cells, axis=0, dtype=np.int32)
    return np.ascontiguousarray(np.moveaxis(pooled, 0, axis))


def synaptic_operations(
    parameters: ActivationParameters, input_dims: Dims, inputs_bxyc: npt.NDArray[np.uint8]
) -> int:
    """Weights that were added to a potential because an event of these inputs arrived."""
    if isinstance(parameters, FullyConnectedParameters):
        return int(np.count_nonzero(inputs_bxyc)) * parameters.num_neurons
    assert isinstance(parameters, SpatialParameters)
    geometry = spatial_geometry(parameters, input_dims[:2])
    events_xy = np.count_nonzero(inputs_bxyc, axis=(0, 3))
    pairs = _fan_out(geometry.conv_x) @ events_xy @ _fan_out(geometry.conv_y)
    return int(pairs) * parameters.num_neurons


def _fan_out(window: Window) -> npt.NDArray[np.int64]:
    """Number of windows that look at each input position of an axis."""
    fan_out = np.zeros(window.length, np.int64)
    for output in range(window.output):
        origin = output * window.stride - window.lead
        fan_out[max(origin, 0) : origin + window.size] += 1
    return fan_out
