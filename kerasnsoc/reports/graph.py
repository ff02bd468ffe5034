"""The network as a picture: one box per layer, in columns by how far it is from the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kerasnsoc.reports.facts import LayerFacts

WIDTH, HEIGHT, GAP_X, GAP_Y = 190, 46, 24, 26
_LONGEST = 24


@dataclass(frozen=True)
class Box:
    """A layer's place; texts are not escaped, the template does that."""

    x: int
    y: int
    title: str
    detail: str


@dataclass(frozen=True)
class Drawing:
    """Boxes and the lines between them, in pixels."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[tuple[int, int, int, int], ...]


def draw(layers: Sequence[LayerFacts]) -> Drawing:
    """Rows follow the longest way from the input; layers of one row stand side by side."""
    row_of: dict[str, int] = {}
    column_of: dict[str, int] = {}
    used: dict[int, int] = {}
    for layer in layers:
        row = 1 + max((row_of[name] for name in layer.inbounds), default=-1)
        row_of[layer.name] = row
        column_of[layer.name] = used.get(row, 0)
        used[row] = column_of[layer.name] + 1
    columns = max(used.values())
    boxes: dict[str, Box] = {}
    for layer in layers:
        row = row_of[layer.name]
        free = (columns - used[row]) * (WIDTH + GAP_X) // 2
        w, h, f = layer.output_whf
        bits = "potentials" if layer.activation_bits is None else f"{layer.activation_bits} bits"
        boxes[layer.name] = Box(
            GAP_X + free + column_of[layer.name] * (WIDTH + GAP_X),
            GAP_Y + row * (HEIGHT + GAP_Y),
            _short(layer.name),
            f"{w} x {h} x {f}, {bits}",
        )
    lines = tuple(
        (
            boxes[source].x + WIDTH // 2,
            boxes[source].y + HEIGHT,
            boxes[layer.name].x + WIDTH // 2,
            boxes[layer.name].y,
        )
        for layer in layers
        for source in layer.inbounds
    )
    return Drawing(
        GAP_X + columns * (WIDTH + GAP_X),
        GAP_Y + (max(used) + 1) * (HEIGHT + GAP_Y),
        tuple(boxes[layer.name] for layer in layers),
        lines,
    )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
