"""A Keras model as a list of plain records that can be rewired, and back to a new model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy.typing as npt


@dataclass(eq=False, slots=True)
class Node:
    """One layer of a model: all that is needed to make it anew.

    Attributes
    ----------
    cls, config : class and arguments
        ``cls.from_config(config)`` makes the layer.
    weights : list of ndarray
        In the order of ``layer.get_weights()``.
    inputs : list of Node
    rank : int
        Dimensions of the output, batch included.
    source : keras.layers.Layer
        The layer that was read; for looking at only.
    takes_list : bool
        Whether the layer is called on a list of tensors.
    training : bool or None
        The ``training`` argument that the layer was called with, if any.
    shape : tuple
        Of the output of ``source``, batch included.
    """

    cls: type[keras.layers.Layer]
    config: dict[str, Any]
    weights: list[npt.NDArray[Any]]
    inputs: list[Node]
    rank: int
    source: keras.layers.Layer
    takes_list: bool = False
    training: bool | None = None
    shape: tuple[int | None, ...] = ()

    @property
    def name(self) -> str:
        return str(self.config.get("name", self.source.name))

    def is_a(self, *classes: type) -> bool:
        return issubclass(self.cls, classes)


@dataclass(eq=False, slots=True)
class Graph:
    """Nodes in topological order; the first is the input."""

    name: str
    sequential: bool
    output: Node
    nodes: list[Node] = field(default_factory=list)

    def consumers(self, node: Node) -> list[Node]:
        """Nodes that read this one, each as often as it does."""
        return [n for n in self.nodes for i in n.inputs if i is node]

    def follower(self, node: Node) -> Node | None:
        """The node that alone reads this one, or None."""
        readers = self.consumers(node)
        return readers[0] if len(readers) == 1 and node is not self.output else None

    def _redirect(self, old: Node, new: Node) -> None:
        for node in self.nodes:
            node.inputs = [new if i is old else i for i in node.inputs]
        if self.output is old:
            self.output = new

    def remove(self, node: Node) -> None:
        """Take a node with one input out of its chain."""
        self.nodes.remove(node)
        self._redirect(node, node.inputs[0])

    def swap(self, first: Node) -> None:
        """Exchange a node and its only follower; the follower must keep the rank of its input."""
        second = self.follower(first)
        assert second is not None
        self._redirect(second, first)
        second.inputs = list(first.inputs)
        first.inputs = [second]
        first.rank, second.rank = second.rank, second.inputs[0].rank
        self.nodes.remove(second)
        self.nodes.insert(self.nodes.index(first), second)

    def build(self) -> keras.Model:
        """Make a new model from fresh layers."""
        layers = {id(node): node.cls.from_config(node.config) for node in self.nodes}
        if self.sequential:
            model = keras.Sequential([layers[id(node)] for node in self.nodes], name=self.name)
        else:
            tensors: dict[int, Any] = {}
            for node in self.nodes:
                layer = layers[id(node)]
                if not node.inputs:
                    tensors[id(node)] = layer.output
                    continue
                feeds = [tensors[id(i)] for i in node.inputs]
                options = {} if node.training is None else {"training": node.training}
                tensors[id(node)] = layer(feeds if node.takes_list else feeds[0], **options)
            model = keras.Model(
                tensors[id(self.nodes[0])], tensors[id(self.output)], name=self.name
            )
        for node in self.nodes:
            layers[id(node)].set_weights(node.weights)
        return model


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a model is no plain graph of layers with one input and one output.

    Attributes
    ----------
    kind : {"structure", "operation", "join", "shared", "nested"}
    name : str
        Of the layer, or of the model.
    message, remedy : str
    """

    kind: Literal["structure", "operation", "join", "shared", "nested"]
    name: str
    message: str
    remedy: str


def _raise(refusal: Refusal) -> None:
    raise RuntimeError(f"{refusal.message} {refusal.remedy}".rstrip())


def read(
    model: keras.Model,
    *,
    only_concatenate: bool = True,
    refuse: Callable[[Refusal], None] = _raise,
) -> Graph:
    """Read a model into records; the model stays as it is.

    Parameters
    ----------
    model : keras.Model
        Sequential or functional, built, with one input and one output tensor.
    only_concatenate : bool
        Refuse layers that join several tensors in another way than by concatenation.
    refuse : callable
        Told of everything that is not supported. By default it raises; if it returns, reading goes
        on: a shared layer becomes one node for each call, with names of their own, and the layers
        of nested models become layers of the model. The graph has no nodes if the model is
        subclassed or not built.

    Raises
    ------
    TypeError
        If it is no Keras model.
    RuntimeError
        If the model is subclassed or not built, has several inputs or outputs, calls a layer
        more than once, contains another model, or joins tensors in an unsupported way.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"a Keras model was expected, got {model!r} of type {type(model).__name__}")
    reader = _Reader(model, only_concatenate, refuse)
    outputs = reader.read(model, None)
    if not outputs:
        return Graph(model.name, False, None, [])  # type: ignore[arg-type]
    order = reader.order
    if not reader.sequential and not reader.merged:
        # Keep the order of model.layers where branches leave a choice.
        position = {id(layer): i for i, layer in enumerate(model.operations)}
        order.sort(key=lambda node: position[id(node.source)])
    return Graph(model.name, reader.sequential, outputs[0], order)


class _Reader:
    """Collects the nodes of a model and, if that is not refused, of the models in it."""

    def __init__(
        self, model: keras.Model, only_concatenate: bool, refuse: Callable[[Refusal], None]
    ) -> None:
        self.only_concatenate = only_concatenate
        self.refuse = refuse
        self.order: list[Node] = []
        self.names: set[str] = set()
        self.sequential = isinstance(model, keras.Sequential)
        self.merged = False  # whether a layer or a model was taken apart
        self.shared: set[int] = set()

    def read(self, model: keras.Model, feed: Node | None) -> list[Node]:
        """Append the nodes of a model behind `feed`; returns its outputs, empty if unreadable."""
        if not isinstance(model, keras.Sequential) and not isinstance(model, keras.Function):
            self.refuse(
                Refusal(
                    "structure",
                    model.name,
                    f"Model {model.name!r} is of the subclassed kind ({type(model).__name__}), "
                    "whose layers cannot be listed.",
                    "Build it with keras.Sequential or keras.Model(inputs, outputs).",
                )
            )
            return []
        try:
            inputs, outputs = model.inputs, model.outputs
        except AttributeError:
            inputs, outputs = None, None
        if inputs is None:
            self.refuse(
                Refusal(
                    "structure",
                    model.name,
                    f"Sequential model {model.name!r} has no input shape yet.",
                    "Add keras.Input(shape) as its first layer, or call build().",
                )
            )
            return []
        if len(inputs) != 1 or len(outputs) != 1:
            self.refuse(
                Refusal(
                    "structure",
                    model.name,
                    f"Model {model.name!r} has {len(inputs)} inputs and {len(outputs)} outputs; "
                    "multiple inputs or outputs are not supported.",
                    "Split it into models with one of each.",
                )
            )
        nodes: dict[tuple[int, int], Node] = {}
        first_call: dict[int, int] = {}
        # Depth first, without recursion: Keras makes chains almost as long as Python's call stack.
        pending = [(output, False) for output in reversed(outputs)]
        while pending:
            tensor, inputs_are_read = pending.pop()
            layer, index, _ = tensor._keras_history
            call = layer._inbound_nodes[index]
            key = id(layer), index
            if inputs_are_read:
                if key not in nodes:
                    feeds = [nodes[_key(t)] for t in call.input_tensors]
                    nodes[key] = self.node(model, layer, call, feeds, feed)
                continue
            if first_call.setdefault(id(layer), index) != index and id(layer) not in self.shared:
                self.shared.add(id(layer))
                self.merged = True
                self.refuse(
                    Refusal(
                        "shared",
                        layer.name,
                        f"Layer {layer.name!r} is shared: model {model.name!r} calls it more than "
                        "once.",
                        "Use one layer for each call.",
                    )
                )
            if key not in nodes:
                pending.append((tensor, True))
                pending.extend((t, False) for t in reversed(call.input_tensors))
        return [nodes[_key(output)] for output in outputs]

    def node(
        self, model: keras.Model, layer: Any, call: Any, feeds: list[Node], feed: Node | None
    ) -> Node:
        if feed is not None and isinstance(layer, keras.layers.InputLayer):
            return feed
        if isinstance(layer, keras.Model):
            self.refuse(
                Refusal(
                    "nested",
                    layer.name,
                    f"Model {model.name!r} contains the model {layer.name!r}; nested models are "
                    "not supported.",
                    "Put the inner layers directly into the outer model.",
                )
            )
            self.merged = True
            self.sequential = self.sequential and isinstance(layer, keras.Sequential)
            outputs = self.read(layer, feeds[0])
            return outputs[0] if outputs else self.append(_record(layer, call, feeds))
        for refusal in _refusals(model, layer, call, self.only_concatenate):
            self.refuse(refusal)
        return self.append(_record(layer, call, feeds))

    def append(self, node: Node) -> Node:
        name, count = node.name, 0
        while node.name in self.names:
            count += 1
            node.config = {**node.config, "name": f"{name}_{count}"}
        self.names.add(node.name)
        self.order.append(node)
        return node


def _key(tensor: Any) -> tuple[int, int]:
    layer, index, _ = tensor._keras_history
    return id(layer), index


def _options(call: Any) -> dict[str, Any]:
    return {key: value for key, value in call.arguments.kwargs.items() if value is not None}


def _refusals(
    model: keras.Model, layer: Any, call: Any, only_concatenate: bool
) -> Iterator[Refusal]:
    name, kind = layer.name, type(layer).__name__
    if not isinstance(layer, keras.layers.Layer):
        yield Refusal(
            "operation",
            name,
            f"Model {model.name!r} contains the operation {name!r} ({kind}), which is no layer.",
            "Use a layer of keras.layers for it.",
        )
        return
    if len(call.output_tensors) != 1:
        yield Refusal(
            "structure",
            name,
            f"Layer {name!r} has {len(call.output_tensors)} outputs; layers with multiple "
            "outputs are not supported.",
            "",
        )
    feeds = call.input_tensors
    if len(feeds) > 1 and only_concatenate and not isinstance(layer, keras.layers.Concatenate):
        yield Refusal(
            "join",
            name,
            f"Layer {name!r} ({kind}) joins {len(feeds)} branches; only chains and Concatenate "
            "are supported.",
            "",
        )
    if _config(layer) is None:
        yield Refusal(
            "structure",
            name,
            f"Layer {name!r} ({kind}) has arguments, but no get_config() that lists them.",
            "Add one to its class.",
        )
    options = _options(call)
    options.pop("training", None)
    if options or len(call.arguments.args) > 1 or (feeds and not call.arguments.args):
        yield Refusal(
            "structure",
            name,
            f"Layer {name!r} is called with more than its input tensor "
            f"({', '.join(options) or 'positional arguments'}), which is not supported.",
            "",
        )


def _config(layer: Any) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = layer.get_config()
    except NotImplementedError:
        return None
    return config


def _record(layer: Any, call: Any, feeds: list[Node]) -> Node:
    is_layer = isinstance(layer, keras.layers.Layer)
    training = _options(call).get("training")
    arguments = call.arguments.args
    return Node(
        cls=type(layer),
        config=(_config(layer) if is_layer else None) or {"name": layer.name},
        weights=layer.get_weights() if is_layer else [],
        inputs=feeds,
        rank=len(call.output_tensors[0].shape),
        source=layer,
        takes_list=bool(feeds and arguments) and isinstance(arguments[0], list | tuple),
        training=training if training is None else bool(training),
        shape=tuple(call.output_tensors[0].shape),
    )
