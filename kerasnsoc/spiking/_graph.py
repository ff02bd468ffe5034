"""The only module that reads private parts of Keras: graphs, nodes, nested layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras


class Node:
    """One use of a layer in a model.

    Attributes
    ----------
    layer, operation : Layer or Operation
        Two names for what was called.
    input_shapes, output_shapes : tuple, or list of tuples for several tensors
        Batch included.
    input_tensors, output_tensors : KerasTensor, or list of them
        An input layer has its own outputs as inputs.
    """

    def __init__(self, operation: Any, inputs: list[Any], outputs: list[Any]) -> None:
        self.layer = self.operation = operation
        self.flat_inputs = inputs
        self.flat_outputs = outputs
        self.input_tensors = _single(inputs)
        self.output_tensors = _single(outputs)
        self.input_shapes = _single([tuple(t.shape) for t in inputs])
        self.output_shapes = _single([tuple(t.shape) for t in outputs])

    def __repr__(self) -> str:
        return f"<Node of {self.operation.name}: {self.input_shapes} -> {self.output_shapes}>"


class GraphNode(Node):
    """A node that stands in a graph and can be run.

    `graph_inputs` and `graph_outputs` are the tensors of the graph. Where the graph is used with
    other shapes than its own, the tensors of the base class have those instead.
    """

    def __init__(self, raw: Any, specs: dict[int, Any] | None = None) -> None:
        self.raw = raw
        self.is_input = bool(raw.is_input)
        self.graph_outputs = list(raw.outputs)
        self.graph_inputs = self.graph_outputs if self.is_input else list(raw.input_tensors)
        specs = specs or {}
        super().__init__(
            raw.operation,
            [specs.get(id(t), t) for t in self.graph_inputs],
            [specs.get(id(t), t) for t in self.graph_outputs],
        )


def node_from_shapes(layer: Any, input_shapes: Any, output_shapes: Any) -> Node:
    """A node for shapes alone; the layer is not called and gets no node in its books."""

    def tensors(shapes: Any) -> list[Any]:
        several = shapes if isinstance(shapes, list) else [shapes]
        return [keras.KerasTensor(shape, dtype=layer.compute_dtype) for shape in several]

    return Node(layer, tensors(input_shapes), tensors(output_shapes))


def wrapped(node: Any) -> Node:
    """The node itself, or the wrapper of a node as Keras has it."""
    return node if isinstance(node, Node) else GraphNode(node)


def first_node(layer: Any) -> Node | None:
    """The first use of a layer anywhere, None if it was never called on symbolic inputs."""
    nodes = layer._inbound_nodes
    return GraphNode(nodes[0]) if nodes else None


def graph_of(model: Any) -> Any:
    """The functional graph of a model.

    Raises
    ------
    ValueError
        If the model has none: a Sequential that is not built, a subclassed model, or no model.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"model is {model!r}, but it must be a keras.Sequential or a functional keras.Model"
        )
    if isinstance(model, keras.Sequential):
        if getattr(model, "_functional", None) is None:
            raise ValueError(
                f"model {model.name!r} is a Sequential that is not built. Build it: begin it with "
                "keras.Input(...), or call model.build(input_shape)."
            )
        return model._functional
    if not is_graph(model):
        raise ValueError(
            f"model {model.name!r} ({type(model).__name__}) is no functional model, so that its "
            "layers and their shapes are not known. Write it as "
            "keras.Model(inputs, outputs) or keras.Sequential."
        )
    return model


def is_layer(operation: Any) -> bool:
    """Whether an operation is a layer, and not a bare function in a graph."""
    return isinstance(operation, keras.layers.Layer)


def unwrapped(layer: Any) -> Any:
    """The layer inside any number of `TimeDistributed` wrappers."""
    while isinstance(layer, keras.layers.TimeDistributed):
        layer = layer.layer
    return layer


def mask_of(tensor: Any) -> Any:
    """The mask that travels with a tensor, None without one."""
    return getattr(tensor, "_keras_mask", None)


def is_graph(layer: Any) -> bool:
    """Whether a layer is a model whose graph can be walked."""
    if isinstance(layer, keras.Sequential):
        return getattr(layer, "_functional", None) is not None
    return isinstance(layer, keras.Model) and hasattr(layer, "_nodes_by_depth")


def nodes_of(graph: Any, inputs: list[Any] | None = None) -> Iterator[GraphNode]:
    """All nodes of a functional graph and of no other, in an order in which they can be run.

    Parameters
    ----------
    graph : functional model
    inputs : list of KerasTensor, optional
        What the graph is called on, if not on its own inputs.
    """
    depths = sorted(graph._nodes_by_depth, reverse=True)
    raws = [raw for depth in depths for raw in graph._nodes_by_depth[depth]]
    specs: dict[int, Any] = {}
    if inputs is not None and any(
        tuple(ours.shape[1:]) != tuple(theirs.shape[1:])
        for ours, theirs in zip(graph.inputs, inputs, strict=True)
    ):
        specs.update(zip(map(id, graph.inputs), inputs, strict=True))
        for raw in raws:
            if raw.is_input:
                continue
            arguments, keywords = raw.arguments.fill_in(specs)
            outputs = raw.operation.compute_output_spec(*arguments, **keywords)
            specs.update(zip(map(id, raw.outputs), keras.tree.flatten(outputs), strict=True))
    for raw in raws:
        yield GraphNode(raw, specs)


Visit = Callable[[list[Any], list[Any]], None]
"""Called with the values of a node's inputs and outputs."""


def run(graph: Any, inputs: Any, visit: Visit) -> list[Any]:
    """Run a graph on tensors in the inference phase, and visit each node.

    Nodes are visited in the order of `nodes_of`, a nested model's own nodes right after it; that
    node itself is visited first, with an empty list of outputs.

    Returns
    -------
    list of tensors
    """
    values = dict(zip(map(id, graph.inputs), graph._standardize_inputs(inputs), strict=True))
    for node in nodes_of(graph):
        if node.is_input:
            given = [values[id(t)] for t in node.graph_outputs]
            visit(given, given)
            continue
        taken = [values[id(t)] for t in node.graph_inputs]
        arguments, keywords = node.raw.arguments.fill_in(values)
        operation = node.operation
        if is_layer(operation) and operation._call_has_training_arg:
            keywords["training"] = False  # as predict does, whatever the call was given
        if is_graph(operation):
            visit(taken, [])
            given = run(graph_of(operation), arguments[0], visit)
        else:
            given = keras.tree.flatten(operation(*arguments, **keywords))
            visit(taken, given)
        values.update(zip(map(id, node.graph_outputs), given, strict=True))
    return [values[id(t)] for t in graph.outputs]


def flat_layers(model: Any) -> list[Any]:
    """The model and all layers in it, at any depth, inside wrappers too; each once."""
    return list(model._flatten_layers())


def _single(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items
