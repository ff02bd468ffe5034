"""From an artifact whose neurons integrate and fire over time to the cores of a spiking chip.

A core has one threshold, one lowest potential, 8-bit weights and biases and 16-bit potentials. An
artifact has a threshold per neuron, 32 bits, and a shift. What one can say of the other exactly is
decided here, in whole numbers; nothing is rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.geometry import (
    Dims,
    Window,
    output_dims,
    pooling_windows,
    spatial_geometry,
)
from kerasnsoc.artifact.neurons import POTENTIAL_LIMIT
from kerasnsoc.artifact.schema import (
    FilterParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    NeuronSpec,
    PoolingParameters,
    PoolingType,
    SpatialParameters,
)
from kerasnsoc.nsoc.core_graph import (
    CoreGraph,
    CoreLayer,
    Destination,
    Source,
    SpikeFunction,
    neuron_map,
)
from kerasnsoc.nsoc.discretize import BIAS_BITS, STATE_MAX, STATE_MIN, check_range
from kerasnsoc.nsoc.errors import (
    AsymmetricPaddingError,
    DiscretizationError,
    InvalidGraphError,
    UnsupportedLayerError,
)

Integers = npt.NDArray[np.int64]

_WEIGHT_BITS = 8


@dataclass(frozen=True, slots=True)
class _Kernel:
    """A layer's weights as one convolution."""

    weights_fcyx: Integers
    stride: tuple[int, int]
    padding: tuple[int, int]


def spiking_graph(spec: NetworkSpec, name: str = "") -> CoreGraph:
    """The core layers of an artifact that runs over time.

    Parameters
    ----------
    spec : NetworkSpec
        With a time step: a chain of layers with integrate-and-fire neurons and sums of spikes.
    name : str

    Returns
    -------
    CoreGraph
        Of `CoreLayer`, already integers (`quant_scale` is 1). One step of the artifact is one
        packet, and as long as no potential leaves 16 bits a packet gives the spikes that
        ``Model.forward`` gives.

    Raises
    ------
    UnsupportedLayerError
        If a layer, a rule of its neurons or a pooling has no counterpart on a core.
    AsymmetricPaddingError
        If a convolution would need more padding behind than in front.
    DiscretizationError
        If its integers need more bits than a core has.
    InvalidGraphError
        If there is nothing to place.

    Notes
    -----
    A neuron stays the same if weights, bias, threshold and potentials are divided by a common
    divisor; initial and lowest potentials, of which only whole multiples count, may be rounded
    down. Several thresholds of a layer become one by multiplying each neuron. Neurons that are
    set to 0 and fire once per step only ask whether a threshold is reached, so that theirs may be
    rounded up to a multiple.
    """
    dims: dict[str, Dims] = {}
    source: Source = "input"
    pooling = (1, 1)
    layers: list[CoreLayer] = []
    entries: tuple[Destination, ...] = ()

    def connect(target: int | None) -> None:
        nonlocal entries
        destinations = (Destination(target, pooling),)
        if layers:
            layers[-1] = replace(layers[-1], destinations=destinations)
        else:
            entries = destinations

    for layer in spec.layers:
        p = layer.parameters
        incoming = [dims[n] for n in layer.inbounds]
        dims[layer.name] = output_dims(p, incoming)
        if isinstance(p, InputDataParameters):
            continue
        if isinstance(p, PoolingParameters):
            y, x = _pooling(layer.name, p, incoming[0])
            pooling = pooling[0] * y, pooling[1] * x
            continue
        connect(len(layers))
        if isinstance(p, InputConvolutionalParameters):
            incoming = [(p.input_width, p.input_height, p.input_channels)]
        width, height, channels = incoming[0]
        layers.append(_core_layer(layer, len(layers), (channels, height, width), source))
        source, pooling = len(layers) - 1, (1, 1)
    if not layers:
        raise InvalidGraphError("the network has no layer with neurons; there is nothing to place")
    connect(None)
    height, width, channels = spec.input.shape_hwc
    return CoreGraph(
        layers=tuple(layers),
        input_shape=(channels, height, width),
        input_destinations=entries,
        name=name,
    )


def _core_layer(
    layer: LayerSpec, index: int, in_shape: tuple[int, int, int], source: Source
) -> CoreLayer:
    neuron = layer.neuron
    if neuron is None:
        _refuse_without_neurons(layer)
    kernel = _kernel(layer, in_shape)
    _check_rule(layer.name, neuron, kernel.weights_fcyx, layer.variables["bias"])
    features = len(kernel.weights_fcyx)
    # arithmetic on Python's integers: products of a least common multiple may be huge
    rows = kernel.weights_fcyx.reshape(features, -1).astype(object) * 2**neuron.shift
    bias = layer.variables["bias"].astype(object) * 2**neuron.shift
    threshold = layer.variables["spike_threshold"].astype(object)
    lowest = layer.variables["lowest_potential"].astype(object)
    start = layer.variables["initial_potential"].transpose(2, 1, 0).astype(object)

    only_asks = neuron.rule == "single" and neuron.reset == "zero"
    for f in range(features):
        step = math.gcd(*rows[f], bias[f])
        bounded = lowest[f] != -POTENTIAL_LIMIT
        divisor = math.gcd(step, threshold[f])
        if only_asks:  # potentials that are multiples from the start stay multiples
            held = [*start[f].flat, lowest[f]] if bounded else start[f].flat
            divisor = max(divisor, math.gcd(step, *held))
        rows[f] //= divisor
        bias[f] //= divisor
        threshold[f] = -(-threshold[f] // divisor)
        if bounded:
            lowest[f] //= divisor
        start[f] //= divisor
    common = math.lcm(*threshold)
    if common > STATE_MAX:
        shown = sorted({int(t) for t in layer.variables["spike_threshold"]})
        raise DiscretizationError(
            f"{layer.name}: its thresholds are {_some(shown)} with a shift of {neuron.shift}; a "
            f"core has one threshold of at most {STATE_MAX} and no shift, and the smallest one "
            f"that means exactly the same is {common}. Quantize the weights per layer (not per "
            "axis) and convert with state_bits=16; or put the Keras model itself on the chip, "
            "which rounds."
        )
    factor = common // threshold
    weights = (rows * factor[:, None]).reshape(kernel.weights_fcyx.shape)
    bias = bias * factor
    start = start * factor[:, None, None]
    _check_range(layer.name, "weights", weights, _WEIGHT_BITS)
    _check_range(layer.name, "biases", bias, BIAS_BITS)
    _check_range(layer.name, "initial potentials", start, 16)
    _, height, width = in_shape
    (ky, kx), (sy, sx), (py, px) = weights.shape[2:], kernel.stride, kernel.padding
    spike_fn: SpikeFunction = "single" if neuron.rule == "single" else "multi"
    return CoreLayer(
        index=index,
        name=layer.name,
        weights=weights.astype(np.int8),
        bias=bias.astype(np.int16) if bias.any() else None,
        stride=kernel.stride,
        padding=kernel.padding,
        in_shape=in_shape,
        neuron_shape=(features, neuron_map(height, ky, sy, py), neuron_map(width, kx, sx, px)),
        threshold=common,
        min_v=_lowest(layer.name, lowest, factor),
        reset="zero" if neuron.reset == "zero" else "subtract",
        spike_fn=("max", neuron.max_spikes) if neuron.rule == "max" else spike_fn,
        initial_state=start.astype(np.int16) if start.any() else None,
        sources=(source,),
        quant_scale=1.0,
        neuron_name=layer.name,
    )


def _refuse_without_neurons(layer: LayerSpec) -> NoReturn:
    p = layer.parameters
    if isinstance(p, FilterParameters):
        what = "it filters spikes in real numbers"
        remedy = "Leave the filter out of the model and apply it to the spikes of the chip"
    elif getattr(p, "activations_enabled", False):
        what = "its neurons answer each step with a graded value"
        remedy = "Use IAF neurons in every layer, or a network without a time step on 'akd1000'"
    else:
        what = "it has no neurons, and what leaves a core are spikes"
        remedy = "Put IAF neurons behind it"
    raise UnsupportedLayerError(
        f"{layer.name}: a {layer.layer_type.name} layer of a network over time does not fit a "
        f"spiking core: {what}. {remedy}."
    )


def _check_rule(
    name: str, neuron: NeuronSpec, weights: Integers, bias: npt.NDArray[np.integer]
) -> None:
    if neuron.rule == "signed":
        raise UnsupportedLayerError(
            f"{name}: the rule of its neurons is 'signed', but a core sends no negative spikes. "
            "Train with IAF, or with SpikingActivation('relu') behind weights that are not "
            "negative."
        )
    # without negative numbers there is nothing to cut off
    if neuron.rectify and min(int(weights.min()), int(bias.min())) < 0:
        raise UnsupportedLayerError(
            f"{name}: its neurons rectify the sum of a step (rectify is True), but a core adds "
            "each weight as it comes, negative ones too. Train with IAF neurons, which do not "
            "rectify."
        )


def _kernel(layer: LayerSpec, in_shape: tuple[int, int, int]) -> _Kernel:
    p, weights = layer.parameters, layer.variables["weights"].astype(np.int64)
    channels, height, width = in_shape
    if isinstance(p, FullyConnectedParameters):
        rows = weights.reshape(channels, height, width, -1).transpose(3, 0, 1, 2)
        if (height - width) % 2:  # no square kernel can be centred on it
            return _Kernel(rows, (1, 1), (0, 0))
        side = max(height, width)
        y, x = (side - height) // 2, (side - width) // 2
        return _Kernel(np.pad(rows, ((0, 0), (0, 0), (y, y), (x, x))), (1, 1), (y, x))
    assert isinstance(p, SpatialParameters)
    if p.pooling_type is not PoolingType.NoPooling:
        raise UnsupportedLayerError(
            f"{layer.name}: it pools potentials before its neurons ({p.pooling_type.name}), but a "
            "core pools spikes behind them. Put SumPooling2D behind the neurons."
        )
    if isinstance(p, InputConvolutionalParameters) and p.padding_value:
        raise UnsupportedLayerError(
            f"{layer.name}: its padding_value is {p.padding_value}, but a chip pads with 0. Use "
            "an input shift of 0, or padding='valid'."
        )
    if not isinstance(p, InputConvolutionalParameters):
        weights = weights[::-1, ::-1]  # stored as an event scatters it
    if "weights_pw" in layer.variables:  # two linear steps are one
        weights = weights * layer.variables["weights_pw"].astype(np.int64)
    geometry = spatial_geometry(p, (width, height))
    padding = []
    for axis, w in (("y", geometry.conv_y), ("x", geometry.conv_x)):
        if neuron_map(w.length, w.size, w.stride, w.lead) != w.output:
            raise AsymmetricPaddingError(
                f"{layer.name}: convolution_mode {p.convolution_mode.name} with a kernel of "
                f"{w.size}, stride {w.stride} and {w.length} positions along {axis} needs more "
                "zeros behind than in front, but a chip pads both sides alike. Use "
                "padding='valid', or another kernel or stride."
            )
        padding.append(w.lead)
    return _Kernel(
        weights.transpose(3, 2, 1, 0), (p.stride_y, p.stride_x), (padding[0], padding[1])
    )


def _pooling(name: str, p: PoolingParameters, dims: Dims) -> tuple[int, int]:
    """(y, x)"""
    if p.pooling_type is not PoolingType.Average:
        raise UnsupportedLayerError(
            f"{name}: it takes the maximum of a window, but a chip adds the spikes of a window. "
            "Use SumPooling2D or AveragePooling2D."
        )
    windows = pooling_windows(p, dims[:2])
    for w in windows:
        if not _is_division(w):
            raise UnsupportedLayerError(
                f"{name}: windows of {w.size} with stride {w.stride} over {w.length} positions "
                f"({p.convolution_mode.name}) overlap, leave gaps or reach over the border, but a "
                "chip divides coordinates. Use equal pool size and strides and padding='valid'."
            )
    return windows[1].size, windows[0].size


def _is_division(w: Window) -> bool:
    """Whether position x falls into window ``x // size``."""
    return (w.stride == w.size or w.output == 1) and w.lead == 0 and w.output == w.length // w.size


def _lowest(name: str, lowest: npt.NDArray[np.object_], factor: npt.NDArray[np.object_]) -> int:
    unbounded = lowest == -POTENTIAL_LIMIT
    if unbounded.all():
        return STATE_MIN
    scaled = lowest * factor
    values = sorted(set(scaled))
    # potentials count in whole multiples of the factor: what lies in between means the same
    found = values[-1]
    if unbounded.any() or found < STATE_MIN or (found >= scaled + factor).any():
        raise DiscretizationError(
            f"{name}: the lowest potentials of its neurons are {_some(values)} with the threshold "
            f"of the core, but a core has one from {STATE_MIN} to 0. Use the same min_v and weight "
            "scale for all neurons, or min_v=None."
        )
    return int(found)


def _check_range(name: str, what: str, values: npt.NDArray[np.object_], bits: int) -> None:
    claim = "must be {} to mean exactly the same with the one threshold of a core"
    remedy = (
        ". Quantize with fewer bits, per layer, with a scale that is a power of two; or put the "
        "Keras model itself on the chip, which rounds."
    )
    check_range(name, what, values, bits, claim, remedy)


def _some(values: list[int]) -> str:
    shown = ", ".join(str(v) for v in values[:4])
    return f"{shown}, … ({len(values)} different ones)" if len(values) > 4 else shown
