"""All uses of all layers of a model, in the order in which they run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kerasnsoc.spiking._graph import GraphNode, Node, graph_of, is_graph, nodes_of, unwrapped
from kerasnsoc.spiking.layer_statistics import Stats, find_computer, model_stats


@dataclass(eq=False)
class Use:
    """One use of a layer.

    Attributes
    ----------
    node : Node
    owners : tuple of models
        Those inside the whole model that the layer belongs to, from the outside in.
    stats : dict
        What the rule of the layer returned; empty for a model that is looked into.
    scales : list of float
        Hz that a value of 1 stands for, for each input.
    is_model : bool
        Whether the layer is a model whose own uses follow.
    is_hidden : bool
        Whether the layer is inside a model that has a rule of its own, and counts nothing.
    rate, output_rate : float
        Mean absolute value of the inputs and of the first output in Hz; nan if not measured.
    """

    node: Node
    owners: tuple[Any, ...]
    stats: Stats
    scales: list[float]
    is_model: bool
    is_hidden: bool
    rate: float = math.nan
    output_rate: float = math.nan

    @property
    def synops_per_second(self) -> float:
        """Weights that events reach per second."""
        recurrent = self.stats.get("recurrent_connections", 0)
        forward = self.stats.get("connections", 0) - recurrent
        # No connections do nothing, whatever the rate.
        return (forward * self.rate if forward else 0.0) + (
            recurrent * self.output_rate if recurrent else 0.0
        )


def all_uses(graph: Any, statistics: Callable[[Node], Stats]) -> list[Use]:
    """The uses of all layers in a functional graph and in the models inside it.

    Parameters
    ----------
    graph : functional model
    statistics : callable
        Gives the statistics of a node.
    """
    return list(_expand(nodes_of(graph), statistics, (), {}, is_hidden=False))


def _expand(
    nodes: Iterable[GraphNode],
    statistics: Callable[[Node], Stats],
    owners: tuple[Any, ...],
    counting: dict[int, Any],
    is_hidden: bool,
) -> Iterator[Use]:
    # `counting` maps tensors to the layer whose spikes per step they hold.
    for node in nodes:
        layer = node.operation
        sources = [counting.get(id(tensor)) for tensor in node.graph_inputs]
        scales = [1.0 if s is None else 1.0 / s.seconds_per_step for s in sources]
        is_inner_graph = is_graph(layer) and not node.is_input
        is_model = is_inner_graph and find_computer(type(layer)) is model_stats
        stats = {} if is_model or is_hidden else statistics(node)
        yield Use(node, owners, stats, scales, is_model, is_hidden)
        if is_inner_graph:
            inner = graph_of(layer)
            counting.update(zip(map(id, inner.inputs), sources, strict=True))
            yield from _expand(
                nodes_of(inner, node.flat_inputs),
                statistics,
                (*owners, layer),
                counting,
                is_hidden or not is_model,
            )
            for ours, theirs in zip(node.graph_outputs, inner.outputs, strict=True):
                counting[id(ours)] = counting.get(id(theirs))
        elif not node.is_input:
            source = _count_source(layer, stats, sources)
            counting.update((id(tensor), source) for tensor in node.graph_outputs)


def _count_source(layer: Any, stats: Stats, sources: list[Any]) -> Any:
    """The layer whose spikes per step a layer's outputs hold, None if they are rates."""
    neuron = unwrapped(layer)
    if getattr(neuron, "SPIKE_UNIT", None) == "count":
        return neuron
    if stats.get("connections", 0) or stats.get("neurons", 0):
        return None
    # The layer neither weighs nor fires: what comes out is what went in.
    return next((source for source in sources if source is not None), None)
