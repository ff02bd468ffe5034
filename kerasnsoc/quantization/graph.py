"""A Keras model as a list of plain records that can be rewired, and back to a new model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
        return str(self.config["name"])

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


def read(model: keras.Model, *, only_concatenate: bool = True) -> Graph:
    """Read a model into records; the model stays as it is.

    Parameters
    ----------
    model : keras.Model
        Sequential or functional, built, with one input and one output tensor.
    only_concatenate : bool
        Refuse layers that join several tensors in another way than by concatenation.

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
    sequential = isinstance(model, keras.Sequential)
    if not sequential and not isinstance(model, keras.Function):
        raise RuntimeError(
            f"Model {model.name!r} is of the subclassed kind ({type(model).__name__}), whose "
            "layers cannot be listed. Build it with keras.Sequential or keras.Model(inputs, "
            "outputs)."
        )
    try:
        inputs, outputs = model.inputs, model.outputs
    except AttributeError:
        raise RuntimeError(
            f"Sequential model {model.name!r} has no input shape yet. Add keras.Input(shape) as "
            "its first layer, or call build()."
        ) from None
    if len(inputs) != 1 or len(outputs) != 1:
        raise RuntimeError(
            f"Model {model.name!r} has {len(inputs)} inputs and {len(outputs)} outputs; multiple "
            "inputs or outputs are not supported. Split it into models with one of each."
        )

    nodes: dict[int, Node] = {}
    call_index: dict[int, int] = {}
    order: list[Node] = []

    # Depth first, without recursion: Keras makes chains almost as long as Python's call stack.
    pending = [(outputs[0], False)]
    while pending:
        tensor, inputs_are_read = pending.pop()
        layer, index, _ = tensor._keras_history
        call = layer._inbound_nodes[index]
        if inputs_are_read:
            if id(layer) not in nodes:
                node = _read_call(model, layer, call, nodes, only_concatenate)
                nodes[id(layer)] = node
                order.append(node)
            continue
        if call_index.setdefault(id(layer), index) != index:
            raise RuntimeError(
                f"Layer {layer.name!r} is shared: model {model.name!r} calls it more than once. "
                "Use one layer for each call."
            )
        if id(layer) not in nodes:
            pending.append((tensor, True))
            pending.extend((feed, False) for feed in reversed(call.input_tensors))

    if not sequential:
        # Keep the order of model.layers where branches leave a choice.
        position = {id(layer): i for i, layer in enumerate(model.operations)}
        order.sort(key=lambda node: position[id(node.source)])
    output = nodes[id(outputs[0]._keras_history[0])]
    return Graph(model.name, sequential, output, order)


def _read_call(
    model: keras.Model, layer: Any, call: Any, nodes: dict[int, Node], only_concatenate: bool
) -> Node:
    if not isinstance(layer, keras.layers.Layer):
        raise RuntimeError(
            f"Model {model.name!r} contains the operation {layer.name!r} "
            f"({type(layer).__name__}), which is no layer. Use a layer of keras.layers for it."
        )
    if isinstance(layer, keras.Model):
        raise RuntimeError(
            f"Model {model.name!r} contains the model {layer.name!r}; nested models are not "
            "supported. Put the inner layers directly into the outer model."
        )
    if len(call.output_tensors) != 1:
        raise RuntimeError(
            f"Layer {layer.name!r} has {len(call.output_tensors)} outputs; layers with multiple "
            "outputs are not supported."
        )
    feeds = [nodes[id(tensor._keras_history[0])] for tensor in call.input_tensors]
    joins = isinstance(layer, keras.layers.Concatenate)
    if len(feeds) > 1 and only_concatenate and not joins:
        raise RuntimeError(
            f"Layer {layer.name!r} ({type(layer).__name__}) joins {len(feeds)} branches; only "
            "chains and Concatenate are supported."
        )
    options = {key: value for key, value in call.arguments.kwargs.items() if value is not None}
    training = options.pop("training", None)
    if options or len(call.arguments.args) > 1 or (feeds and not call.arguments.args):
        raise RuntimeError(
            f"Layer {layer.name!r} is called with more than its input tensor "
            f"({', '.join(options) or 'positional arguments'}), which is not supported."
        )
    return Node(
        cls=type(layer),
        config=layer.get_config(),
        weights=layer.get_weights(),
        inputs=feeds,
        rank=len(call.output_tensors[0].shape),
        source=layer,
        takes_list=isinstance(call.arguments.args[0], list | tuple) if feeds else False,
        training=training if training is None else bool(training),
        shape=tuple(call.output_tensors[0].shape),
    )
