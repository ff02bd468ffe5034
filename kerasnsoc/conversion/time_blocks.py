"""A Keras model that runs over time, cut into blocks: weights, neurons, pooling, read-out.

`TimeDistributed` is unwrapped, so that the rewrites for frames serve here as well: what is left is
a chain of layers as one time step sees them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras

from kerasnsoc.conversion.blocks import Block
from kerasnsoc.conversion.rules import Finding
from kerasnsoc.quantization import (
    QuantizedActivation,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedSeparableConv2D,
)
from kerasnsoc.quantization import transforms as rewrite
from kerasnsoc.quantization.graph import Graph, Node, read
from kerasnsoc.spiking import IAF, LIF, Alpha, Lowpass, SpikingActivation, SumPooling2D

layers = keras.layers

NEURONS = (SpikingActivation, IAF, LIF)
FILTERS = (Lowpass, Alpha)
SPIKING = (*NEURONS, *FILTERS)
NEURAL = (QuantizedConv2D, QuantizedSeparableConv2D, QuantizedDense)
WINDOWED = (layers.MaxPooling2D, layers.AveragePooling2D, SumPooling2D)
GLOBAL = (layers.GlobalMaxPooling2D, layers.GlobalAveragePooling2D)
POOLING = (*WINDOWED, *GLOBAL)
ENDS = (layers.Softmax, layers.Activation, layers.GlobalAveragePooling1D)
_SUPPORTED = (
    "Use quantized Conv2D, SeparableConv2D and Dense layers, SpikingActivation, IAF, pooling, "
    "Flatten, BatchNormalization, Dropout, and Lowpass or Alpha at the end."
)


@dataclass(eq=False)
class Step:
    """What one layer of the artifact is made of.

    Attributes
    ----------
    kind : {"weights", "pooling", "filter"}
    name : str
    block : Block or None
        Of a layer with weights; its activation is set where it sends on graded values.
    neuron : SpikingActivation, IAF or None
    layer : keras.Layer or None
        The pooling, or the filter.
    input_shape, output_shape : tuple of int, (height, width, channels)
    is_flat : bool
        Whether the Keras layer returns vectors.
    sum_factor : int
        How many times the mean the neurons get, if sums are pooled in front of them.
    """

    kind: str
    name: str
    block: Block | None = None
    neuron: Any = None
    layer: Any = None
    input_shape: tuple[int, int, int] = (1, 1, 1)
    output_shape: tuple[int, int, int] = (1, 1, 1)
    is_flat: bool = False
    sum_factor: int = 1


@dataclass(eq=False)
class TimeModel:
    """All steps in order, and what holds for the whole model.

    Attributes
    ----------
    keras_shape : tuple of int
        Of one step of the Keras input.
    has_time_axis : bool
        False for a frame model that makes one step.
    dt : float
    rescaling : Rescaling or None
    dropped : list of str
        Trailing layers that the artifact leaves out.
    """

    name: str
    keras_shape: tuple[int, ...]
    input_shape: tuple[int, int, int]
    has_time_axis: bool
    dt: float
    rescaling: Any = None
    steps: list[Step] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


class Refusal(RuntimeError):
    """A model over time that cannot be converted, with all findings.

    Parameters
    ----------
    findings : list of Finding
    """

    def __init__(self, name: str, findings: list[Finding]) -> None:
        lines = "\n".join(f"- {finding}" for finding in findings)
        super().__init__(f"the model {name!r} cannot be converted:\n{lines}")
        self.findings = findings


def is_over_time(model: Any) -> bool:
    """Whether a model has spiking layers, filters or `TimeDistributed`."""
    found = getattr(model, "layers", ())
    return any(isinstance(layer, (*SPIKING, layers.TimeDistributed)) for layer in found)


def parse_over_time(model: keras.Model) -> TimeModel:
    """Cut a model into steps.

    Raises
    ------
    Refusal
        A `RuntimeError` that lists every finding with its remedy.
    """
    try:
        graph = read(model)
    except (RuntimeError, ValueError) as error:
        finding = Finding("graph", model.name, str(error), "Build a chain of layers.")
        raise Refusal(model.name, [finding]) from None
    return _Parser(model, graph).run()


class _Parser:
    def __init__(self, model: keras.Model, graph: Graph) -> None:
        self.model = model
        self.graph = graph
        self.findings: list[Finding] = []
        self.has_time = any(
            isinstance(n.source, layers.TimeDistributed)
            or (isinstance(n.source, SPIKING) and getattr(n.source, "time_axis", True))
            for n in graph.nodes
        )
        self.mean_taken = False

    def add(self, rule: str, name: str, message: str, remedy: str) -> None:
        self.findings.append(Finding(rule, name, message, remedy))

    def refuse_if_any(self) -> None:
        if self.findings:
            raise Refusal(self.model.name, self.findings)

    def run(self) -> TimeModel:
        for node in self.graph.nodes:
            self.check_node(node)
        self.refuse_if_any()
        shapes = {id(n): self.step_shape(n) for n in self.graph.nodes}
        self.refuse_if_any()
        for node in self.graph.nodes:
            self.unwrap(node, shapes[id(node)])
        for node in self.graph.nodes:
            self.check_reshape(node)
        try:
            rewrite.drop_dropout(self.graph)
            rewrite.merge_pairs(self.graph)
            rewrite.invert_pooling_batchnorm(self.graph)
            rewrite.fold_batchnorm(self.graph)
        except (AttributeError, RuntimeError) as error:
            self.add("rewrite", self.model.name, str(error), "Bring the layers into that order.")
        self.refuse_if_any()
        first = self.graph.nodes[0]
        found = TimeModel(
            self.model.name,
            tuple(int(n) for n in first.shape[1:]),  # type: ignore[arg-type]
            _hwc(first.shape),
            self.has_time,
            self.time_step(),
        )
        self.cut(found)
        if not any(step.kind == "weights" for step in found.steps):
            self.add("structure", self.model.name, "the model has no layer with weights.", "")
        self.refuse_if_any()
        return found

    def check_node(self, node: Node) -> None:
        layer, name = node.source, node.name
        if len(self.graph.consumers(node)) > 1 or len(node.inputs) > 1:
            self.add(
                "graph",
                name,
                "branches meet or part here, but a network over time is a chain of layers.",
                "Convert one branch, or run the branches in one pass.",
            )
        if isinstance(layer, LIF):
            self.add(
                "neuron",
                name,
                "LIF neurons leak a real share of their potential in each step, which integers "
                "cannot do exactly.",
                "Use IAF, with min_v to forget.",
            )
        if isinstance(layer, SPIKING):
            self.check_spiking(node)
        data_format = getattr(layer, "data_format", None)
        if isinstance(layer, layers.TimeDistributed):
            data_format = getattr(layer.layer, "data_format", None)
        if data_format == "channels_first":
            self.add(
                "data_format", name, "data_format is 'channels_first'.", "Build it channels last."
            )

    def check_spiking(self, node: Node) -> None:
        layer, name = node.source, node.name
        if self.has_time and not getattr(layer, "time_axis", True):
            self.add(
                "time",
                name,
                "time_axis is False, but other layers of the model have a time axis.",
                "Use time_axis=True everywhere.",
            )
        if layer.time_major:
            self.add(
                "time",
                name,
                "time_major is True, but sequences are (batch, time, ...) in the artifact.",
                "Use time_major=False.",
            )
        if layer.return_state:
            self.add("state", name, "return_state is True.", "Use return_state=False.")
        if not layer.return_sequences and self.has_time and not self.is_end(node):
            self.add(
                "time",
                name,
                "return_sequences is False in front of other layers, which would need each step.",
                "Keep sequences, and average at the end.",
            )

    def is_end(self, node: Node) -> bool:
        """Whether nothing follows but functions that are left out."""
        followers = self.graph.consumers(node)
        while followers:
            if not isinstance(followers[0].source, layers.Softmax | layers.Activation):
                return False
            followers = self.graph.consumers(followers[0])
        return True

    def step_shape(self, node: Node) -> tuple[int | None, ...]:
        """Shape of a node's output without its time axis, batch included."""
        shape = tuple(node.shape)
        if self.has_time and not self.has_lost_time(node):
            shape = (shape[0], *shape[2:])
        if len(shape) not in (2, 4) or None in shape[1:]:
            self.add(
                "shape",
                node.name,
                f"its output has the shape {tuple(node.shape)}, but must be (batch, "
                f"{'time, ' if self.has_time else ''}height, width, channels) or (batch, "
                f"{'time, ' if self.has_time else ''}features) of fixed sizes.",
                "Give keras.Input all sizes but batch and time.",
            )
        return shape

    def has_lost_time(self, node: Node) -> bool:
        """Whether the time axis is gone behind this node."""
        while node.inputs:
            layer = node.source
            if isinstance(layer, layers.GlobalAveragePooling1D):
                return True
            if isinstance(layer, SPIKING) and not layer.return_sequences:
                return True
            node = node.inputs[0]
        return False

    def unwrap(self, node: Node, shape: tuple[int | None, ...]) -> None:
        """Turn a node into what one step sees."""
        layer = node.source
        if isinstance(layer, layers.TimeDistributed):
            inner = layer.layer
            node.cls, node.source = type(inner), inner
            node.config = {**inner.get_config(), "name": layer.name}
        elif self.has_time and isinstance(layer, layers.Reshape | layers.Flatten):
            source = node.inputs[0].shape if node.inputs else ()
            if isinstance(layer, layers.Flatten) or _steps_change(tuple(source), node.shape):
                self.add(
                    "reshape",
                    node.name,
                    f"{type(layer).__name__} mixes time steps: {tuple(source)} becomes "
                    f"{tuple(node.shape)}.",
                    "Wrap it: TimeDistributed(Flatten()).",
                )
            node.cls, node.source = layers.Flatten, layers.Flatten(name=layer.name)
        node.shape, node.rank = shape, len(shape)

    def check_reshape(self, node: Node) -> None:
        """A Reshape of one step either flattens it, or writes a vector as a map of one position."""
        if not isinstance(node.source, layers.Reshape):
            return
        before, after = tuple(node.inputs[0].shape[1:]), tuple(node.shape[1:])
        if len(after) == 1:
            node.cls, node.source = layers.Flatten, layers.Flatten(name=node.name)
        elif before != after and (1, 1, *before) != after:
            self.add(
                "reshape",
                node.name,
                f"it turns {before} into {after}, but a map may only be flattened, or (N,) "
                "written as (1, 1, N).",
                "Give the network its input in the final shape.",
            )

    def time_step(self) -> float:
        found: dict[float, str] = {}
        for node in self.graph.nodes:
            if isinstance(node.source, SPIKING):
                dt = node.source.dt
                value = dt if isinstance(dt, float) else node.source.get_config()["dt"]
                found.setdefault(float(value), node.name)
        if len(found) > 1:
            (first, a), (second, b), *_ = found.items()
            self.add(
                "time step",
                b,
                f"dt is {second}, but {first} in layer {a!r}; all layers take the same steps.",
                "Give all layers the same dt.",
            )
        dt = next(iter(found), 0.0)
        if not dt > 0 and found:
            self.add("time step", found[dt], f"dt is {dt}.", "Assign the Variable before.")
        return dt if found else 1.0

    def cut(self, found: TimeModel) -> None:
        shape = found.input_shape
        is_flat = len(found.keras_shape) == 1
        for node in self.graph.nodes[1:]:
            layer = node.source
            last = found.steps[-1] if found.steps else None
            needs_neurons = last is not None and last.sum_factor > 1 and _is_open(last)
            if last is not None and needs_neurons and not isinstance(layer, NEURONS):
                self.add(
                    "pooling",
                    node.name,
                    f"sums of {last.name!r} are pooled in front of it; only neurons take them.",
                    "Use AveragePooling2D.",
                )
                return
            if self.mean_taken and isinstance(layer, (*SPIKING, *POOLING, QuantizedActivation)):
                self.add(
                    "end",
                    node.name,
                    "it follows a mean over time, behind which there are no steps any more.",
                    "Move the GlobalAveragePooling1D to the end.",
                )
            if last is not None and last.kind == "filter" and not isinstance(layer, ENDS):
                self.add(
                    "end",
                    node.name,
                    f"it follows the filter {last.name!r}, which can only end a network.",
                    "Move the filter to the end; a linear layer in front of it gives the same.",
                )
                return
            if isinstance(layer, layers.Rescaling):
                if found.steps:
                    self.add("layer", node.name, "Rescaling is only possible in front.", "Move it.")
                found.rescaling = layer
                continue
            if isinstance(layer, NEURAL):
                block = Block(node.name, _built(node), (), shape)
                step = Step("weights", node.name, block, input_shape=shape)
                if isinstance(layer, QuantizedDense) and not is_flat:
                    self.add(
                        "dense", node.name, f"its input is a map {shape}.", "Put a Flatten before."
                    )
                self.check_neural(node, last)
                found.steps.append(step)
            elif isinstance(layer, POOLING):
                self.pool(node, found, shape)
            elif isinstance(layer, NEURONS):
                self.neuron(node, last)
            elif isinstance(layer, QuantizedActivation):
                if last is None or not _is_open(last):
                    self.add("block", node.name, "it does not follow a layer with weights.", "")
                else:
                    assert last.block is not None
                    last.block.activation = layer
            elif isinstance(layer, FILTERS):
                found.steps.append(Step("filter", node.name, layer=layer, input_shape=shape))
            elif isinstance(layer, ENDS):
                self.end(node, found)
            elif not isinstance(layer, layers.Flatten | layers.Reshape):
                what = type(layer).__name__
                self.add("layer", node.name, f"{what} layers cannot run over time.", _SUPPORTED)
            shape = _hwc(node.shape) if not isinstance(layer, layers.Flatten) else shape
            is_flat = len(node.shape) == 2
            if found.steps and not isinstance(layer, ENDS):
                step = found.steps[-1]
                if not isinstance(layer, layers.Flatten | layers.Reshape):
                    step.output_shape, step.is_flat = shape, is_flat
                    if step.block is not None:
                        step.block.output_shape = shape

    def check_neural(self, node: Node, last: Step | None) -> None:
        layer = node.source
        fused = getattr(layer, "activation", None)
        if fused is not None and fused is not keras.activations.linear:
            self.add(
                "argument",
                node.name,
                f"the activation {getattr(fused, '__name__', fused)!r} is fused into the layer.",
                "Use activation=None and a SpikingActivation behind it.",
            )
        for name in ("dilation_rate", "groups", "depth_multiplier"):
            value = getattr(layer, name, 1)
            if any(v != 1 for v in (value if isinstance(value, tuple | list) else (value,))):
                self.add("argument", node.name, f"{name} is {value}, but only 1 is possible.", "")
        if last is not None and _is_open(last) and last.kind == "weights":
            self.add(
                "block",
                node.name,
                f"no neurons lie between it and {last.name!r}, the layer with weights in front.",
                "Put a SpikingActivation or an IAF between them.",
            )

    def neuron(self, node: Node, last: Step | None) -> None:
        layer = node.source
        if last is None or not _is_open(last):
            self.add(
                "block",
                node.name,
                "neurons must follow a layer with weights.",
                "Put a quantized layer in front.",
            )
            return
        if isinstance(layer, SpikingActivation) and rate_function(layer) is None:
            named = getattr(layer.activation, "__name__", type(layer.activation).__name__)
            self.add(
                "neuron",
                node.name,
                f"its rates come from {named!r}, but only 'relu' and 'linear' work on integers.",
                "Train with SpikingActivation('relu').",
            )
        last.neuron = layer

    def pool(self, node: Node, found: TimeModel, shape: tuple[int, int, int]) -> None:
        layer = node.source
        last = found.steps[-1] if found.steps else None
        if last is not None and _is_open(last):
            self.pool_potentials(node, last, shape)
            return
        averages = isinstance(layer, layers.AveragePooling2D)
        if averages and layer.padding == "same" and not _tiles(layer, shape):
            self.add(
                "pooling",
                node.name,
                "averages over windows of different sizes: padding is 'same' and the windows do "
                "not tile the map.",
                "Use padding='valid', or SumPooling2D.",
            )
        found.steps.append(Step("pooling", node.name, layer=layer, input_shape=shape))

    def pool_potentials(self, node: Node, last: Step, shape: tuple[int, int, int]) -> None:
        layer, block = node.source, last.block
        assert block is not None
        if isinstance(block.neural, QuantizedDense):
            self.add("pooling", node.name, "a Dense layer makes no map.", "Remove it.")
            return
        if block.pooling != "none":
            self.add(
                "pooling",
                node.name,
                "its block has a pooling already.",
                "Put neurons between the two.",
            )
            return
        sums = not isinstance(layer, layers.MaxPooling2D | layers.GlobalMaxPooling2D)
        block.pooling = "average" if sums else "max"
        if isinstance(layer, GLOBAL):
            block.global_pooling = True
            block.summed_positions = shape[0] * shape[1] if sums else 1
            return
        block.pool_size, block.pool_strides = tuple(layer.pool_size), tuple(layer.strides)
        if sums:
            block.summed_positions = block.pool_size[0] * block.pool_size[1]
        if isinstance(layer, SumPooling2D):
            last.sum_factor = block.summed_positions
        if _tiles(layer, shape):
            return
        if layer.padding != block.neural.padding or (
            layer.padding == "same" and not isinstance(layer, layers.MaxPooling2D)
        ):
            self.add(
                "pooling",
                node.name,
                f"its padding is {layer.padding!r} and that of {block.name!r} is "
                f"{block.neural.padding!r}; in front of neurons they must be equal, and averages "
                "and sums take whole windows only.",
                "Pool behind the neurons, or use windows that tile the map.",
            )

    def end(self, node: Node, found: TimeModel) -> None:
        layer = node.source
        is_linear = (
            isinstance(layer, layers.Activation) and layer.activation is keras.activations.linear
        )
        if isinstance(layer, layers.GlobalAveragePooling1D):
            if not self.has_time:
                self.add("layer", node.name, "there is no time axis to average.", "Remove it.")
            self.mean_taken = True
        elif not is_linear and not self.is_end(node):
            self.add(
                "end",
                node.name,
                "functions other than spiking ones may only end a model.",
                "Use SpikingActivation or IAF inside.",
            )
        if not is_linear:
            found.dropped.append(node.name)


def rate_function(layer: SpikingActivation) -> str | None:
    """Name of the function of the rates, if integers can follow it."""
    function = layer.activation
    if isinstance(function, layers.ReLU):
        plain = function.max_value is None and not function.negative_slope
        return "relu" if plain and not function.threshold else None
    for name in ("relu", "linear"):
        if function is getattr(keras.activations, name):
            return name
    return None


def _is_open(step: Step) -> bool:
    """Whether a layer with weights still lacks its neurons."""
    block = step.block
    return step.kind == "weights" and step.neuron is None and block.activation is None  # type: ignore[union-attr]


def _tiles(layer: Any, shape: tuple[int, int, int]) -> bool:
    """Whether windows cover the map without overlap and rest, so that padding does not matter."""
    return tuple(layer.pool_size) == tuple(layer.strides) and all(
        length % size == 0 for length, size in zip(shape[:2], layer.pool_size, strict=True)
    )


def _steps_change(source: tuple[int | None, ...], target: tuple[int | None, ...]) -> bool:
    """Whether a Reshape does anything else than flatten each step."""
    if len(source) < 3 or len(target) != 3 or None in source[2:]:
        return True
    size = 1
    for n in source[2:]:
        size *= int(n)  # type: ignore[arg-type]
    return source[1] != target[1] or size != target[2]


def _built(node: Node) -> Any:
    """The layer of a node as the rewrites left it."""
    layer = node.cls.from_config(node.config)
    layer.build(tuple(node.inputs[0].shape))
    layer.set_weights(node.weights)
    return layer


def _hwc(shape: tuple[int | None, ...]) -> tuple[int, int, int]:
    size = tuple(int(n) for n in shape[1:])  # type: ignore[arg-type]
    return (1, 1, size[0]) if len(size) == 1 else size  # type: ignore[return-value]
