"""What a layer costs whatever its input is: synapses and neurons, counted from its geometry."""

from __future__ import annotations

import math

from kerasnsoc.artifact.geometry import Dims, Window, spatial_geometry
from kerasnsoc.artifact.schema import (
    ConcatParameters,
    FilterParameters,
    FullyConnectedParameters,
    InputDataParameters,
    LayerParameters,
    PoolingParameters,
    SeparableConvolutionalParameters,
    SpatialParameters,
)


def connections(parameters: LayerParameters, input_dims: Dims) -> int:
    """Synapses that a sample passes when every input is an event.

    Taps that lie in the padding are none. A separable layer counts one synapse per tap of its
    depthwise stage, and one per depthwise sum and neuron of its pointwise stage.
    """
    if isinstance(parameters, FullyConnectedParameters):
        return math.prod(input_dims) * parameters.num_neurons
    if not isinstance(parameters, SpatialParameters):
        return 0
    geometry = spatial_geometry(parameters, input_dims[:2])
    taps = _taps_inside(geometry.conv_x) * _taps_inside(geometry.conv_y) * input_dims[2]
    if isinstance(parameters, SeparableConvolutionalParameters):
        positions = geometry.conv_x.output * geometry.conv_y.output
        return taps + positions * input_dims[2] * parameters.num_neurons
    return taps * parameters.num_neurons


def neuron_updates(parameters: LayerParameters, input_dims: Dims) -> int:
    """Potentials that a sample computes: one per neuron and position, before pooling.

    A concatenation computes none of its own; with an activation it compares each joined value with
    a threshold, which is counted. Pooled spikes and filtered values are no potentials.
    """
    if isinstance(parameters, InputDataParameters | PoolingParameters | FilterParameters):
        return 0
    if isinstance(parameters, FullyConnectedParameters):
        return parameters.num_neurons
    if isinstance(parameters, SpatialParameters):
        geometry = spatial_geometry(parameters, input_dims[:2])
        return geometry.conv_x.output * geometry.conv_y.output * parameters.num_neurons
    assert isinstance(parameters, ConcatParameters)
    return math.prod(input_dims) if parameters.activations_enabled else 0


def _taps_inside(w: Window) -> int:
    """(output, tap) pairs along one axis that look at an input rather than at padding."""
    total = 0
    for output in range(w.output):
        origin = output * w.stride - w.lead
        total += min(w.size, w.length - origin) - max(0, -origin)
    return total
