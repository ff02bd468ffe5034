"""Connections and neurons of each kind of layer, from shapes alone.

Each function takes a node (one use of a layer, see `kerasnsoc.energy.model_energy`) and returns a
dict of

``connections``
    Pairs of an input element and an output unit that a weight joins, in one time step.
``recurrent_connections``
    Those of them that are fed by the layer's own output.
``neurons``
    Nonlinear units that are updated in one time step.
``spiking``
    Whether the layer could run as it is on an event-based device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from kerasnsoc.quantization.activations import QuantizedActivation
from kerasnsoc.spiking._graph import Node, graph_of, is_graph, is_layer, node_from_shapes, nodes_of
from kerasnsoc.spiking.activation import SpikingActivation, SpikingActivationCell
from kerasnsoc.spiking.base import KerasSpikingCell
from kerasnsoc.spiking.filters import Alpha, Lowpass
from kerasnsoc.spiking.neurons import IAF, LIF, IAFCell, LIFCell
from kerasnsoc.spiking.pooling import SumPooling2D

__all__ = [
    "activation_stats",
    "bidirectional_stats",
    "conv_stats",
    "conv_transpose_stats",
    "dense_stats",
    "depthwise_conv_stats",
    "einsum_dense_stats",
    "filter_stats",
    "gru_stats",
    "lstm_stats",
    "model_stats",
    "neuron_stats",
    "nonlinear_stats",
    "rnn_stats",
    "separable_conv_stats",
    "silent_stats",
    "simple_rnn_stats",
    "spiking_activation_stats",
    "time_distributed_stats",
]

Stats = dict[str, Any]
Computer = Callable[[Node], Stats]

STATS = ("connections", "neurons", "spiking", "recurrent_connections")


class UnknownLayerError(LookupError):
    """There is no rule for a layer."""

    def __init__(self, layer: Any) -> None:
        super().__init__(type(layer).__name__)
        self.layer_class = type(layer).__name__


def find_stats(node: Node) -> Stats:
    """What the rule of the node's layer says; the nearest class in its MRO counts.

    Raises
    ------
    UnknownLayerError
        If there is no rule.
    ValueError
        If a rule returns an unknown key or a shape is not defined.
    """
    computer = find_computer(type(node.layer))
    if computer is None:
        raise UnknownLayerError(node.layer)
    stats = computer(node)
    for key in stats:
        if key not in STATS:
            raise ValueError(
                f"the rule for {type(node.layer).__name__} returned an invalid stat '{key}'; "
                f"allowed are {', '.join(STATS)}"
            )
    return stats


def find_computer(layer_class: type) -> Computer | None:
    """The rule of the nearest class in the MRO, None if there is none."""
    return next((COMPUTERS[cls] for cls in layer_class.__mro__ if cls in COMPUTERS), None)


def add_stats(several: list[Stats]) -> Stats:
    """Sums over layers or uses; spiking only if all are."""
    total: Stats = {
        "connections": sum(int(s.get("connections", 0)) for s in several),
        "neurons": sum(int(s.get("neurons", 0)) for s in several),
        "spiking": all(bool(s.get("spiking", True)) for s in several),
    }
    recurrent = sum(int(s.get("recurrent_connections", 0)) for s in several)
    return {**total, "recurrent_connections": recurrent} if recurrent else total


def dense_stats(node: Node) -> Stats:
    """Each output unit sees the last axis of the input."""
    layer = node.layer
    positions = _out_size(node) // layer.units
    return {
        "connections": positions * math.prod(layer.kernel.shape),
        **_act(layer.activation, _out_size(node)),
    }


def conv_stats(node: Node) -> Stats:
    """Each output sees one window; taps that the border cuts off are counted too."""
    layer = node.layer
    return {
        "connections": _out_size(node) * math.prod(layer.kernel.shape[:-1]),
        **_act(layer.activation, _out_size(node)),
    }


def conv_transpose_stats(node: Node) -> Stats:
    """Each input is spread over one window of each filter."""
    layer = node.layer
    size = _size(node, _first(node.input_shapes), "input")
    return {
        "connections": size * math.prod(layer.kernel_size) * layer.filters,
        **_act(layer.activation, _out_size(node)),
    }


def depthwise_conv_stats(node: Node) -> Stats:
    """Each output sees one window of one channel."""
    layer = node.layer
    return {
        "connections": _out_size(node) * math.prod(layer.kernel_size),
        **_act(layer.activation, _out_size(node)),
    }


def separable_conv_stats(node: Node) -> Stats:
    """A depthwise, then a pointwise convolution."""
    layer = node.layer
    positions = _out_size(node) // layer.filters
    middle = math.prod(layer.depthwise_kernel.shape[-2:])
    each = middle * math.prod(layer.kernel_size) + middle * layer.filters
    return {
        "connections": positions * each,
        **_act(layer.activation, _out_size(node)),
    }


def einsum_dense_stats(node: Node) -> Stats:
    """Each output sees the axes of the kernel that the equation sums over."""
    layer = node.layer
    left, output = layer.equation.split("->")
    letters = left.split(",")[1]
    shared = math.prod(
        length
        for letter, length in zip(letters, layer.kernel.shape, strict=True)
        if letter in output
    )
    return {
        "connections": math.prod(layer.kernel.shape) * _out_size(node) // shared,
        **_act(layer.activation, _out_size(node)),
    }


def activation_stats(node: Node) -> Stats:
    """Neurons, unless the activation is linear."""
    return _act(node.layer.activation, _out_size(node))


def nonlinear_stats(node: Node) -> Stats:
    """Neurons in any case."""
    return {"neurons": _out_size(node), "spiking": False}


def spiking_activation_stats(node: Node) -> Stats:
    """All units, in each time step, whatever the activation."""
    return {"neurons": math.prod(_first(node.input_shapes)[2:]), "spiking": True}


def neuron_stats(node: Node) -> Stats:
    """All units, in each time step."""
    skipped = 2 if node.layer.time_axis else 1
    return {"neurons": math.prod(_first(node.input_shapes)[skipped:]), "spiking": True}


def filter_stats(node: Node) -> Stats:
    """Nothing: filters stand for synapses, whose cost is in the connections."""
    return {"connections": 0, "neurons": 0, "spiking": True}


def silent_stats(node: Node) -> Stats:
    """Nothing: the layer moves values or is folded into others."""
    return {}


def simple_rnn_stats(node: Node) -> Stats:
    """One gate."""
    return _recurrent(node, gates=1, neurons=1)


def lstm_stats(node: Node) -> Stats:
    """Four gates and the nonlinearity of the output."""
    return _recurrent(node, gates=4, neurons=5)


def gru_stats(node: Node) -> Stats:
    """Three gates."""
    return _recurrent(node, gates=3, neurons=3)


def rnn_stats(node: Node) -> Stats:
    """One of our cells in Keras's own loop."""
    cell = node.layer.cell
    if not isinstance(cell, KerasSpikingCell):
        raise UnknownLayerError(node.layer)
    fires = isinstance(cell, SpikingActivationCell | IAFCell | LIFCell)
    return {
        "connections": 0,
        "neurons": math.prod(cell.size) if fires else 0,
        "spiking": True,
    }


def bidirectional_stats(node: Node) -> Stats:
    """Both directions."""
    shape = _first(node.input_shapes)
    both = []
    for layer in (node.layer.forward_layer, node.layer.backward_layer):
        output_shape = layer.compute_output_shape(shape)
        # With its states it is a list or tuple of shapes.
        nested = output_shape and isinstance(output_shape[0], list | tuple)
        output = tuple(output_shape[0] if nested else output_shape)
        both.append(find_stats(node_from_shapes(layer, shape, output)))
    return add_stats(both)


def time_distributed_stats(node: Node) -> Stats:
    """The wrapped layer, for one slice of time."""

    def slices(shapes: Any) -> Any:
        if isinstance(shapes, list):
            return [slices(shape) for shape in shapes]
        return (shapes[0], *shapes[2:])

    inner = node_from_shapes(
        node.layer.layer, slices(node.input_shapes), slices(node.output_shapes)
    )
    return find_stats(inner)


def model_stats(node: Node) -> Stats:
    """All nodes of a model inside the model."""
    if not is_graph(node.layer):
        raise UnknownLayerError(node.layer)
    nodes = nodes_of(graph_of(node.layer), node.flat_inputs)
    return add_stats([find_stats(inner) for inner in nodes if is_layer(inner.operation)])


def _recurrent(node: Node, gates: int, neurons: int) -> Stats:
    units, inputs = node.layer.units, _first(node.input_shapes)[-1]
    return {
        "connections": gates * (inputs * units + units * units),
        "recurrent_connections": gates * units * units,
        "neurons": neurons * units,
        "spiking": False,
    }


def _act(activation: Any, count: int) -> Stats:
    is_linear = activation is None or activation in ("linear", keras.activations.linear)
    return {"neurons": 0 if is_linear else count, "spiking": is_linear}


def _out_size(node: Node) -> int:
    return _size(node, _first(node.output_shapes), "output")


def _first(shapes: Any) -> Any:
    return shapes[0] if isinstance(shapes, list) else shapes


def _size(node: Node, shape: Any, which: str) -> int:
    """Elements of one sample in one time step; an undefined first axis is taken for time."""
    rest = shape[1:]
    if rest and rest[0] is None:
        rest = rest[1:]
    if None in rest:
        raise ValueError(
            f"layer {node.operation.name!r}: {which} shape {rest} contains undefined elements. "
            "Only the axis after the batch may be undefined, which is then taken for time; give "
            "keras.Input a complete shape."
        )
    return math.prod(rest)


def _layers(*names: str) -> list[type]:
    return [getattr(keras.layers, name) for name in names]


_SILENT = _layers(
    "Add",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "InputLayer",
    "Reshape",
    "Identity",
    "Permute",
    "RepeatVector",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
    "Concatenate",
    "Average",
    "Subtract",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
    "Masking",
    "BatchNormalization",  # in inference a factor and a shift, folded into the weights before it
    "Rescaling",
)

COMPUTERS: dict[type, Computer] = {
    **dict.fromkeys(_layers("Dense"), dense_stats),
    **dict.fromkeys(_layers("Conv1D", "Conv2D", "Conv3D"), conv_stats),
    **dict.fromkeys(
        _layers("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), conv_transpose_stats
    ),
    **dict.fromkeys(_layers("DepthwiseConv1D", "DepthwiseConv2D"), depthwise_conv_stats),
    **dict.fromkeys(_layers("SeparableConv1D", "SeparableConv2D"), separable_conv_stats),
    **dict.fromkeys(_layers("EinsumDense"), einsum_dense_stats),
    **dict.fromkeys(_layers("Activation"), activation_stats),
    **dict.fromkeys(_layers("ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax"), nonlinear_stats),
    QuantizedActivation: nonlinear_stats,
    **dict.fromkeys(_layers("SimpleRNN"), simple_rnn_stats),
    **dict.fromkeys(_layers("LSTM"), lstm_stats),
    **dict.fromkeys(_layers("GRU"), gru_stats),
    **dict.fromkeys(_layers("RNN"), rnn_stats),
    **dict.fromkeys(_layers("Bidirectional"), bidirectional_stats),
    **dict.fromkeys(_layers("TimeDistributed"), time_distributed_stats),
    **dict.fromkeys([*_SILENT, SumPooling2D], silent_stats),
    **dict.fromkeys([Lowpass, Alpha], filter_stats),
    **dict.fromkeys([IAF, LIF], neuron_stats),
    SpikingActivation: spiking_activation_stats,
    keras.Model: model_stats,
}
"""Rules by class of layer; `ModelEnergy.register_layer` adds to them."""
