"""A NIR graph, read, checked and flattened: nodes in the order in which data passes them.

NIR (Neuromorphic Intermediate Representation) is a directed graph of named nodes; several edges
into one node mean the sum of what they carry. Nothing here needs Keras.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from kerasnsoc._extras import require
from kerasnsoc.nsoc.errors import InvalidGraphError, UnsupportedLayerError

METADATA_KEY = "kerasnsoc"
"""Where the metadata of a graph hold what NIR itself has no word for.

Notes about nodes are there too, under ``"nodes"``: nir 1.0.4 refuses metadata of its own in most
types of nodes.
"""


@dataclass(frozen=True, slots=True)
class NirNode:
    """One node of a flattened graph.

    Attributes
    ----------
    name : str
        Nodes of nested graphs are called ``outer.inner``.
    kind : str
        The NIR type, such as ``"Conv2d"``.
    node : nir.NIRNode
        The parameters.
    sources, targets : tuple of str
    notes : mapping
        What `to_nir` noted about the node; empty for other writers.
    """

    name: str
    kind: str
    node: Any
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    notes: Mapping[str, Any]

    def pair(self, field: str) -> tuple[int, int]:
        """A field that is given per axis, or once for both axes (y, x)."""
        values = np.asarray(getattr(self.node, field)).ravel()
        if values.dtype.kind not in "iu" or values.size not in (1, 2):
            raise UnsupportedLayerError(
                f"{field} of NIR node {self.name!r} ({self.kind}) is "
                f"{getattr(self.node, field)!r}, but it must be one or two integers"
            )
        return int(values[0]), int(values[-1])

    def constant(self, field: str, collapse: str = "error") -> float:
        """A field that chips hold once per layer, although NIR holds it once per neuron.

        Parameters
        ----------
        field : str
        collapse : {"error", "mean"}
            What to do if the neurons differ.
        """
        values = np.asarray(getattr(self.node, field), dtype=np.float64)
        if values.size and (values == values.flat[0]).all():
            return float(values.flat[0])
        if collapse == "mean" and values.size:
            return float(values.mean())
        raise UnsupportedLayerError(
            f"{field} of NIR node {self.name!r} ({self.kind}) has {np.unique(values).size} values "
            f"between {values.min(initial=np.inf):g} and {values.max(initial=-np.inf):g}, but a "
            "layer has one for all its neurons. Make them equal"
            + (', or pass collapse_threshold="mean".' if field == "v_threshold" else ".")
        )


def read_graph(graph_or_path: Any) -> Any:
    """The NIR graph itself, read from a file if a path is given.

    Raises
    ------
    ImportError
        If the extra ``nir`` is not installed.
    TypeError
        If it is neither a path nor a graph.
    """
    nir = require("nir", "nir")
    if isinstance(graph_or_path, str | os.PathLike):
        # Types are inferred here: the library's own inference takes a kernel for square.
        graph_or_path = nir.read(os.fspath(graph_or_path), type_check=False)
    if type(graph_or_path).__name__ != "NIRGraph":
        raise TypeError(
            f"a nir.NIRGraph or the path of a NIR file is needed, got {type(graph_or_path)!r}"
        )
    return graph_or_path


def sorted_nodes(graph: Any) -> list[NirNode]:
    """The nodes of a graph and of the graphs in it, sources first.

    Raises
    ------
    InvalidGraphError
        If an edge leads nowhere or is there twice, if there is a cycle, if a node has no source,
        or if there is no input or no output.
    """
    nodes, edges = _inlined(graph, "")
    notes = _notes(graph)
    sources: dict[str, list[str]] = {name: [] for name in nodes}
    targets: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        if source in sources[target]:
            raise InvalidGraphError(
                f"the NIR graph has the edge {source!r} -> {target!r} twice. Remove one of them; "
                "to add a signal to itself, scale it."
            )
        sources[target].append(source)
        targets[source].append(target)
    for name, node in nodes.items():
        if not sources[name] and _kind(node) != "Input":
            raise InvalidGraphError(
                f"NIR node {name!r} ({_kind(node)}) has no source. Connect it to an Input node, or "
                "remove it."
            )
        if not targets[name] and _kind(node) != "Output":
            raise InvalidGraphError(
                f"nothing takes what NIR node {name!r} ({_kind(node)}) gives. Connect it to an "
                "Output node, or remove it."
            )
    if not nodes:
        raise InvalidGraphError("the NIR graph has no nodes")
    try:
        order = list(TopologicalSorter(sources).static_order())
    except CycleError as error:
        raise InvalidGraphError(
            f"the NIR graph has a cycle: {' -> '.join(error.args[1])}. Networks with feedback "
            "cannot be placed on a chip; unroll or cut the loop."
        ) from error
    return [
        NirNode(
            name,
            _kind(nodes[name]),
            nodes[name],
            tuple(sources[name]),
            tuple(targets[name]),
            notes.get(name, {}),
        )
        for name in order
    ]


def _notes(graph: Any) -> Mapping[str, Mapping[str, Any]]:
    found = getattr(graph, "metadata", None) or {}
    for key in (METADATA_KEY, "nodes"):
        found = found.get(key, {})
        if not isinstance(found, Mapping):  # somebody else's
            return {}
    return {name: notes for name, notes in found.items() if isinstance(notes, Mapping)}


def _kind(node: Any) -> str:
    return type(node).__name__


@dataclass(frozen=True, slots=True)
class Identity:
    """Stands for the inputs and outputs of a nested graph."""


def _inlined(graph: Any, prefix: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes by full name and edges between them; nested graphs are dissolved."""
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    doors: dict[str, tuple[list[str], list[str]]] = {}
    for key, node in graph.nodes.items():
        name = prefix + key
        if _kind(node) == "NIRGraph":
            inner, inner_edges = _inlined(node, f"{name}.")
            inputs, outputs = (
                [f"{name}.{k}" for k, inside in node.nodes.items() if _kind(inside) == kind]
                for kind in ("Input", "Output")
            )
            doors[name] = inputs, outputs
            for door in (*doors[name][0], *doors[name][1]):
                inner[door] = Identity()
            edges += inner_edges
        else:
            inner = {name: node}
        for twice in inner.keys() & nodes.keys():
            raise InvalidGraphError(
                f"the NIR graph has two nodes called {twice!r}, one of them in a nested graph. "
                "Rename one."
            )
        nodes |= inner
    edges += (
        (_door(doors, prefix + source, 1), _door(doors, prefix + target, 0))
        for source, target in graph.edges
    )
    for end in _ends(edges):
        if end not in nodes:
            raise InvalidGraphError(
                f"the NIR graph has an edge at {end!r}, which is no node. Its nodes are "
                f"{', '.join(nodes)}."
            )
    return nodes, edges


def _ends(edges: list[tuple[str, str]]) -> Iterator[str]:
    for edge in edges:
        yield from edge


def _door(doors: Mapping[str, tuple[list[str], list[str]]], name: str, side: int) -> str:
    """Where an edge at a nested graph really begins (side 1) or ends (side 0)."""
    if name not in doors:
        return name
    found = doors[name][side]
    if len(found) != 1:
        raise InvalidGraphError(
            f"the nested NIR graph {name!r} has {len(found)} {('inputs', 'outputs')[side]}, so "
            "that an edge to it does not say which one it means. Give it exactly one."
        )
    return found[0]
