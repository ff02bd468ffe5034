"""What passes from layer to layer: streams of events, and core layers in the making."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.core_graph import DvsLayer, Shape, neuron_map
from kerasnsoc.nsoc.errors import InvalidGraphError
from kerasnsoc.nsoc.operations import Operation


@dataclass(frozen=True, slots=True)
class Tap:
    """One source of a stream of events."""

    source: int | Literal["input"]
    pooling: tuple[int, int] = (1, 1)
    scale: float = 1.0
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """Events between two layers.

    `parts` are the shapes that were flattened, in their order; `averaged` says that the mean over
    the whole map is still due; `padding` waits for its convolution; `dvs` is what happened to the
    input so far.
    """

    taps: tuple[Tap, ...]
    shape: Shape
    parts: tuple[Shape, ...] | None = None
    averaged: bool = False
    padding: tuple[int, int] | None = None
    dvs: DvsLayer | None = None

    @property
    def is_input(self) -> bool:
        """Whether nothing but the input, perhaps preprocessed, is in it."""
        return len(self.taps) == 1 and self.taps[0].source == "input"


@dataclass(slots=True, eq=False)
class Draft:
    """A core layer in the making."""

    operation: Operation
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32] | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    in_shape: Shape
    taps: tuple[Tap, ...]
    dvs: DvsLayer | None
    rescale: float = 1.0
    neuron: Operation | None = None
    targets: list[tuple[int | None, int, Tap]] = field(default_factory=list)

    @property
    def neuron_shape(self) -> Shape:
        """(F, H, W)"""
        features, _, *kernel = self.weights.shape
        height, width = (
            neuron_map(n, k, s, p)
            for n, k, s, p in zip(self.in_shape[1:], kernel, self.stride, self.padding, strict=True)
        )
        return features, height, width


def misplaced(operation: Operation) -> InvalidGraphError:
    """The refusal of an operation that could not stand where it does."""
    return InvalidGraphError(f"{operation} has no counterpart on a chip at this place")
