"""The graph of cores: what a model becomes before it is placed on a chip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy.typing as npt

from kerasnsoc.artifact.schema import LayerSpec

Shape: TypeAlias = tuple[int, int, int]
"""(features, height, width)"""

Source: TypeAlias = int | Literal["input", "dvs"]
"""Index of a core layer, the input port, or the sensor layer."""

SpikeFunction: TypeAlias = Literal["multi", "single"] | tuple[Literal["max"], int]
"""How many spikes a neuron may send per packet: any number, one, or ``("max", n)``."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the spikes of a source go, and what happens to them on the way.

    Attributes
    ----------
    target : int or None
        Index of the core layer that takes them; None leaves the chip.
    pooling : tuple of int, (y, x)
        Sum pooling: the spike of ``(x, y)`` arrives at ``(x // pooling_x, y // pooling_y)``; what
        lies outside the floor-divided map is discarded.
    feature_shift : int
        Added to the feature, so that concatenated sources keep apart.
    scale : float
        What average pooling multiplies by; it is already in the weights of the target, and at an
        exit in `CoreGraph.output_scale`.
    """

    target: int | None
    pooling: tuple[int, int] = (1, 1)
    feature_shift: int = 0
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class CoreLayer:
    """One convolution with the integrate-and-fire neurons behind it: what one core computes.

    A dense layer is a convolution too, whose map of neurons is 1 x 1. Before discretization the
    numbers are floats. After it they are integers that share one factor, `quant_scale`.

    Attributes
    ----------
    index : int
        Position in `CoreGraph.layers`.
    name : str
        Of the Keras layer, or the artifact's layer, that holds the weights.
    weights : ndarray of float32, or int8 once discretized; shape (F, C, Ky, Kx)
        Batch normalization and the scale of average pooling before this layer are in them.
    bias : ndarray of float32, or int16 once discretized, shape (F,), or None
        Added on each tick of the slow clock (event mode), or once per packet (packet mode).
    stride, padding : tuple of int, (y, x)
        Zeros are added on both sides alike.
    in_shape : tuple of int, (C, H, W)
    neuron_shape : tuple of int, (F, H, W)
        Before any pooling.
    threshold : float, or int once discretized
        A neuron fires when its potential reaches it; above 0.
    min_v : float, or int once discretized, or None
        Lowest potential, at most 0; None, only before discretization, is unbounded.
    reset : {"subtract", "zero"}
    spike_fn : {"multi", "single", ("max", n)}
        Counts in packet mode; in event mode a neuron sends at most one spike per update.
    initial_state : ndarray of float32, or int16 once discretized, shape (F, H, W), or None
        None is 0 everywhere.
    destinations : tuple of Destination
        In the order in which a spike visits them.
    sources : tuple of int, "input" or "dvs"
        Who sends to this layer.
    rescale : float
        Scale of the average pooling before this layer, already multiplied into the weights.
    quant_scale : float or None
        ``integer = round(quant_scale * float)``; None before discretization.
    neuron_name : str
        Of the layer that fires; `name` where the model has no layer of its own for it.
    """

    index: int
    name: str
    weights: npt.NDArray[Any]
    bias: npt.NDArray[Any] | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    in_shape: Shape
    neuron_shape: Shape
    threshold: float
    min_v: float | None = None
    reset: Literal["subtract", "zero"] = "subtract"
    spike_fn: SpikeFunction = "multi"
    initial_state: npt.NDArray[Any] | None = None
    destinations: tuple[Destination, ...] = ()
    sources: tuple[Source, ...] = ()
    rescale: float = 1.0
    quant_scale: float | None = None
    neuron_name: str = ""

    @property
    def kernel(self) -> tuple[int, int]:
        """(Ky, Kx)"""
        return self.weights.shape[2], self.weights.shape[3]

    @property
    def is_discretized(self) -> bool:
        return self.quant_scale is not None

    @property
    def fan_out(self) -> int:
        """Destinations on the chip."""
        return sum(d.target is not None for d in self.destinations)


@dataclass(frozen=True, eq=False)
class GradedLayer:
    """One layer of an artifact whose neurons answer once per packet with a graded event.

    Nothing is transformed: `spec` says what to compute, exactly as for `kerasnsoc.runtime`: the
    convolution mode, a pooling of potentials before the activation, the staircase of thresholds.
    So the outcome of a packet is that of ``Model.forward`` by construction.

    Attributes
    ----------
    index : int
        Position in `CoreGraph.layers`.
    name : str
    spec : LayerSpec
        Parameters and integer arrays of the artifact.
    in_shape : tuple of int, (C, H, W)
    neuron_shape : tuple of int, (F, H, W)
        Of the potentials, before pooling.
    out_shape : tuple of int, (F, H, W)
        Of the events that leave the layer, after pooling.
    destinations : tuple of Destination
        Pooling here is always (1, 1): the layer does its own.
    sources : tuple of int or "input"
        In the order of the artifact's inbound layers.
    """

    index: int
    name: str
    spec: LayerSpec
    in_shape: Shape
    neuron_shape: Shape
    out_shape: Shape
    destinations: tuple[Destination, ...] = ()
    sources: tuple[Source, ...] = ()

    @property
    def fan_out(self) -> int:
        """Destinations on the chip."""
        return sum(d.target is not None for d in self.destinations)


@dataclass(frozen=True, slots=True)
class DvsLayer:
    """What happens to the events of the sensor before the first core.

    In this order: merge polarities, sum pooling, crop, mirror, swap of x and y.

    Attributes
    ----------
    input_shape : tuple of int, (H, W)
        Of the sensor, or of the events that are sent in its place.
    merge : bool
        Both polarities become feature 0.
    pool : tuple of int, (y, x)
    crop : ((top, bottom), (left, right))
        Kept rows and columns of the pooled map, ends excluded.
    flip_x, flip_y, swap_xy : bool
        Mirror columns, mirror rows, exchange the axes, on the cropped map.
    pixel_array : bool
        Whether the sensor itself sends events.
    destinations : tuple of Destination
        Pooling here is always (1, 1): the layer does its own.
    """

    input_shape: tuple[int, int]
    merge: bool = False
    pool: tuple[int, int] = (1, 1)
    crop: tuple[tuple[int, int], tuple[int, int]] | None = None
    flip_x: bool = False
    flip_y: bool = False
    swap_xy: bool = False
    pixel_array: bool = False
    destinations: tuple[Destination, ...] = ()

    @property
    def pooled_shape(self) -> tuple[int, int]:
        """(H, W) after pooling."""
        return self.input_shape[0] // self.pool[0], self.input_shape[1] // self.pool[1]

    @property
    def window(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The crop, or the whole pooled map where there is none."""
        height, width = self.pooled_shape
        return self.crop if self.crop is not None else ((0, height), (0, width))

    @property
    def output_shape(self) -> Shape:
        """(C, H, W) that the first cores take."""
        (top, bottom), (left, right) = self.window
        height, width = bottom - top, right - left
        if self.swap_xy:
            height, width = width, height
        return (1 if self.merge else 2, height, width)


@dataclass(frozen=True, eq=False)
class CoreGraph:
    """All core layers of a model, wired.

    Attributes
    ----------
    layers : tuple of CoreLayer, or tuple of GradedLayer
        In topological order; all of one kind.
    input_shape : tuple of int, (C, H, W)
        What the network takes: of the sensor layer's input where there is one.
    dvs : DvsLayer or None
    input_destinations : tuple of Destination
        Where the events of the input port go; empty with a `dvs`, which has its own.
    output_scale : mapping of int to float
        Exit layer -> what an average pooling behind it multiplies the counts by.
    input_scale : float
        What average pooling of the sensor layer multiplies by; already in the first weights.
    name : str
    """

    layers: tuple[CoreLayer, ...] | tuple[GradedLayer, ...]
    input_shape: Shape
    dvs: DvsLayer | None = None
    input_destinations: tuple[Destination, ...] = ()
    output_scale: dict[int, float] = field(default_factory=dict)
    input_scale: float = 1.0
    name: str = ""

    @property
    def entry(self) -> tuple[int, ...]:
        """Layers that take events from outside, ascending."""
        incoming = self.dvs.destinations if self.dvs is not None else self.input_destinations
        return tuple(sorted({d.target for d in incoming if d.target is not None}))

    @property
    def exits(self) -> tuple[int, ...]:
        """Layers whose events leave the chip, ascending."""
        return tuple(
            layer.index
            for layer in self.layers
            if any(d.target is None for d in layer.destinations)
        )

    @property
    def is_graded(self) -> bool:
        """Whether this is a graph of an artifact's graded layers."""
        return bool(self.layers) and isinstance(self.layers[0], GradedLayer)

    @property
    def core_layers(self) -> tuple[CoreLayer, ...]:
        """The layers of a spiking graph; empty for a graded one."""
        return tuple(layer for layer in self.layers if isinstance(layer, CoreLayer))

    @property
    def graded_layers(self) -> tuple[GradedLayer, ...]:
        """The layers of a graded graph; empty for a spiking one."""
        return tuple(layer for layer in self.layers if isinstance(layer, GradedLayer))

    def connections(self) -> Iterator[tuple[Source, int, Destination]]:
        """Every connection on the chip: from, slot at its source, to."""
        port: Source = "input" if self.dvs is None else "dvs"
        incoming = self.input_destinations if self.dvs is None else self.dvs.destinations
        for slot, destination in enumerate(incoming):
            yield port, slot, destination
        for layer in self.layers:
            for slot, destination in enumerate(layer.destinations):
                if destination.target is not None:
                    yield layer.index, slot, destination


def neuron_map(size: int, kernel: int, stride: int, padding: int) -> int:
    """Positions of a convolution along one axis; below 1 where the kernel does not fit."""
    return (size + 2 * padding - kernel) // stride + 1


def copied(layer: CoreLayer) -> CoreLayer:
    """The same layer with arrays of its own."""
    return replace(
        layer,
        weights=layer.weights.copy(),
        bias=None if layer.bias is None else layer.bias.copy(),
        initial_state=None if layer.initial_state is None else layer.initial_state.copy(),
    )
