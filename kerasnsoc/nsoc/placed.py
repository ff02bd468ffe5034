"""What a configuration says about the place of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kerasnsoc.nsoc.config import NSoCConfig
from kerasnsoc.nsoc.core_graph import CoreGraph
from kerasnsoc.nsoc.mapping import Placement
from kerasnsoc.nsoc.memory import words_of


def placement_of(config: NSoCConfig) -> Placement:
    """Where a configuration puts each layer."""
    records = sorted(config.cores, key=lambda record: record.layer_index)
    return Placement(
        tuple(record.core for record in records),
        tuple(tuple(record.neural_processors) for record in records),
        _passes([record.pass_index for record in records]),
    )


def _passes(indices: Sequence[int]) -> tuple[range, ...]:
    starts = [i for i, n in enumerate(indices) if i == 0 or indices[i - 1] != n]
    return tuple(
        range(start, end) for start, end in zip(starts, [*starts[1:], len(indices)], strict=True)
    )


def memory_fill(graph: CoreGraph, config: NSoCConfig) -> dict[str, Any]:
    """Core of each layer and how full it is; on a mesh the processors."""
    placement, device = placement_of(config), config.get_device()
    fill: dict[str, Any] = {"core": list(placement.core_of)}
    if device.is_mesh:
        fill["neural_processors"] = [list(ids) for ids in placement.processors_of]
        return fill
    cores = {core.id: core for core in device.cores}
    pairs = [
        (words_of(layer), cores[core])
        for layer, core in zip(graph.core_layers, placement.core_of, strict=True)
    ]
    fill["kernel_fill"] = [words.kernel / core.kernel_words for words, core in pairs]
    fill["neuron_fill"] = [words.neuron / core.neuron_words for words, core in pairs]
    return fill
