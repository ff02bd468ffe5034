"""A chip network as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kerasnsoc._tables import render
from kerasnsoc.nsoc.core_graph import CoreLayer, Destination, GradedLayer
from kerasnsoc.nsoc.memory import processor_bytes, words_of

if TYPE_CHECKING:
    from kerasnsoc.nsoc.network import NSoCNetwork


def network_table(network: NSoCNetwork) -> str:
    """Layers with their place, shapes, memory, thresholds and destinations."""
    rows = []
    placement = network.placement
    for layer in network.graph.layers:
        core = "-" if placement is None else str(placement.core_of[layer.index])
        if isinstance(layer, CoreLayer):
            words = words_of(layer)
            low = "-" if layer.min_v is None else f"{layer.min_v:g}"
            cells = [
                f"{words.kernel}/{words.neuron}/{words.bias}",
                f"{layer.threshold:g}",
                low,
                "-" if layer.quant_scale is None else f"{layer.quant_scale:.6g}",
            ]
        else:
            cells = [f"{processor_bytes(layer)} B", "-", "-", "-"]
            if placement is not None and placement.processors_of:
                core = _span(placement.processors_of[layer.index])
        rows.append(
            [
                str(layer.index),
                layer.name,
                core,
                _by(layer.in_shape),
                _by(layer.neuron_shape),
                _by(_out_shape(layer)),
                *cells,
                ", ".join(map(_destination_text, layer.destinations)),
            ]
        )
    columns = [
        "#", "layer", "core", "in (c x h x w)", "neurons", "out", "kernel/neuron/bias words",
        "threshold", "low", "scale", "to",
    ]  # fmt: skip
    title = f"{network.name or 'network'} on {network.device}"
    return render(columns, rows, title=title)


def _out_shape(layer: CoreLayer | GradedLayer) -> tuple[int, int, int]:
    if isinstance(layer, GradedLayer):
        return layer.out_shape
    py, px = layer.destinations[0].pooling if layer.destinations else (1, 1)
    features, height, width = layer.neuron_shape
    return features, height // py, width // px


def _by(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))


def _span(ids: Sequence[int]) -> str:
    if not ids:
        return "port"
    return str(ids[0]) if len(ids) == 1 else f"{ids[0]}-{ids[-1]}"


def _destination_text(destination: Destination) -> str:
    target = "out" if destination.target is None else str(destination.target)
    py, px = destination.pooling
    pool = f" /{py}" if py == px != 1 else "" if py == px else f" /{py}x{px}"
    shift = f" +{destination.feature_shift}" if destination.feature_shift else ""
    return f"{target}{pool}{shift}"
