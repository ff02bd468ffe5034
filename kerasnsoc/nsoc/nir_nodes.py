"""Nodes of a NIR graph as layers that Keras can build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.errors import InvalidGraphError, UnsupportedLayerError
from kerasnsoc.nsoc.nir_graph import NirNode

Floats: TypeAlias = npt.NDArray[np.float64]

_REMEDIES = {
    "Conv1d": "Chips compute images; write it as a Conv2d of height 1.",
    "Delay": "Chips have no delays; put the delay into the data.",
    "CubaLI": "Chips have no synaptic filters; use IF neurons.",
    "CubaLIF": "Chips have no synaptic filters; use IF neurons.",
    "LI": "Chips have no neurons without a threshold; use IF neurons.",
    "I": "Chips have no neurons without a threshold; use IF neurons.",
    "LIF": "Chips have no leak per step; use IF neurons, or pass allow_lif=True for a model that "
    "runs in Keras only.",
    "Threshold": "A threshold needs a potential; use IF neurons.",
}


@dataclass(frozen=True)
class Tensor:
    """What an edge carries.

    NIR puts channels first, Keras puts them last. A flattened image stays an image here until a
    dense layer takes it, since the two orders of flattening differ.
    """

    value: Any
    shape: tuple[int, ...]  # (C, H, W) or (N,)
    is_flat: bool = False  # an image that NIR calls a vector
    gain: float = 1.0  # a scale that has still to be multiplied in


@dataclass(frozen=True)
class Weights:
    """A weight layer that waits for its consumer, whose factors it will take in."""

    node: NirNode
    source: Tensor
    kind: Literal["conv", "dense"]
    kernel: Floats  # as Keras has it: (Ky, Kx, C / groups, F) or (N, F)
    bias: Floats  # (F,)
    has_bias: bool
    shape: tuple[int, ...]  # of the output, as NIR has it
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] | Literal["same"] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def geometry(self) -> tuple[Any, ...]:
        """What must agree in layers that can be computed as one."""
        return (
            self.kind,
            self.shape,
            self.kernel.shape[:-2],
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.source.shape[1:],
            self.source.is_flat,
        )

    def times(self, factor: float) -> Weights:
        """With all weights and biases multiplied."""
        return replace(self, kernel=self.kernel * factor, bias=self.bias * factor)


@dataclass(frozen=True, slots=True)
class NeuronOptions:
    """What a NIR graph leaves open about its neurons, as of `kerasnsoc.nsoc.from_nir`."""

    reset: str
    min_v: float | str | None
    dt: float | None
    collapse: str
    allow_lif: bool
    use_metadata: bool


def convolution(node: NirNode, source: Tensor, use_metadata: bool) -> Weights:
    """A Conv2d as a layer of Keras will have it."""
    weight = np.asarray(node.node.weight, np.float64)
    bias = np.asarray(node.node.bias, np.float64).ravel()
    groups = int(node.node.groups)
    if weight.ndim != 4 or len(source.shape) != 3 or source.is_flat:
        raise InvalidGraphError(
            f"NIR node {node.name!r} (Conv2d) has weights of shape {weight.shape} and gets a "
            f"signal of shape {nir_shape(source)}, but it needs four axes and an image "
            "(channels, height, width)"
        )
    if groups < 1 or weight.shape[1] * groups != source.shape[0] or weight.shape[0] % groups:
        raise InvalidGraphError(
            f"NIR node {node.name!r} (Conv2d) has weights of shape {weight.shape} in {groups} "
            f"groups, which do not fit the {source.shape[0]} channels that it gets"
        )
    if bias.size != weight.shape[0]:
        raise InvalidGraphError(
            f"NIR node {node.name!r} (Conv2d) has {bias.size} biases for {weight.shape[0]} features"
        )
    stride, dilation = node.pair("stride"), node.pair("dilation")
    padding = _padding(node, stride)
    sides = []
    for n, k, p, s, d in zip(
        source.shape[1:],
        weight.shape[2:],
        (0, 0) if padding == "same" else padding,
        stride,
        dilation,
        strict=True,
    ):
        # computed here: the library takes one side of the kernel for both axes
        sides.append(n if padding == "same" else (n + 2 * p - d * (k - 1) - 1) // s + 1)
    if min(sides) < 1:
        raise InvalidGraphError(
            f"the kernel {weight.shape[2:]} of NIR node {node.name!r} (Conv2d) does not fit "
            f"into its input {source.shape[1:]}"
        )
    return Weights(
        node,
        source,
        "conv",
        weight.transpose(2, 3, 1, 0),
        bias,
        _has_bias(node, bias, use_metadata),
        (weight.shape[0], *sides),
        stride,
        padding,
        dilation,
        groups,
    )


def _padding(node: NirNode, stride: tuple[int, int]) -> tuple[int, int] | Literal["same"]:
    padding = node.node.padding
    if isinstance(padding, bytes):
        padding = padding.decode()
    if not isinstance(padding, str):
        return node.pair("padding")
    if padding == "valid":
        return 0, 0
    if padding == "same" and stride == (1, 1):
        return "same"
    raise UnsupportedLayerError(
        f"padding of NIR node {node.name!r} (Conv2d) is {padding!r} with stride {stride}, "
        "which frameworks read differently. Give the padding in numbers."
    )


def _has_bias(node: NirNode, bias: Floats, use_metadata: bool) -> bool:
    """NIR cannot leave out a bias; one of zeros would cost memory on a chip."""
    noted = node.notes.get("has_bias") if use_metadata else None
    return bool(bias.any()) or bool(noted)


def dense(node: NirNode, source: Tensor, use_metadata: bool) -> Weights:
    """An Affine or Linear node as a dense layer of Keras will have it."""
    weight = np.asarray(node.node.weight, np.float64)
    size = prod(source.shape)
    if len(source.shape) == 3 and not source.is_flat:
        raise InvalidGraphError(
            f"NIR node {node.name!r} ({node.kind}) gets an image {source.shape}. Put a Flatten "
            "before it."
        )
    if weight.ndim != 2 or weight.shape[1] != size:
        raise InvalidGraphError(
            f"NIR node {node.name!r} ({node.kind}) has weights of shape {weight.shape}, but "
            f"its input needs (features, {size})"
        )
    kernel = weight.T
    if source.is_flat:  # rows from (C, H, W) to (H, W, C), the order of Keras
        in_order = kernel.reshape(*source.shape, -1).transpose(1, 2, 0, 3)
        kernel = in_order.reshape(size, -1)
    bias = np.zeros(weight.shape[0])
    if node.kind == "Affine":
        bias = np.asarray(node.node.bias, np.float64).ravel()
    if bias.size != weight.shape[0]:
        raise InvalidGraphError(
            f"NIR node {node.name!r} ({node.kind}) has {bias.size} biases for "
            f"{weight.shape[0]} features"
        )
    has_bias = _has_bias(node, bias, use_metadata)
    return Weights(node, source, "dense", kernel, bias, has_bias, (weight.shape[0],))


def neuron_arguments(node: NirNode, options: NeuronOptions) -> dict[str, Any]:
    """Threshold, lowest potential, reset and rule of firing of an IF or LIF node."""
    noted = node.notes if options.use_metadata else {}
    if "threshold" in noted:
        threshold = float(noted["threshold"])
    else:
        threshold = node.constant("v_threshold", options.collapse)
    if not threshold > 0:
        raise UnsupportedLayerError(
            f"v_threshold of NIR node {node.name!r} ({node.kind}) is {threshold:g}, but it "
            "must be above 0, where potentials start"
        )
    min_v = -threshold if options.min_v == "-threshold" else options.min_v
    if "min_v" in noted:
        min_v = float(noted["min_v"]) if np.isfinite(noted["min_v"]) else None
    spike_fn: Any = _text(noted.get("spike_fn", "multi"))
    if spike_fn.startswith("max "):
        spike_fn = ("max", int(spike_fn.removeprefix("max ")))
    reset = _text(noted.get("reset", options.reset))
    return {"threshold": threshold, "min_v": min_v, "reset": reset, "spike_fn": spike_fn}


def concatenated(weights: Sequence[Weights]) -> Weights:
    """One weight layer over the channels of all sources."""
    first = weights[0]
    channels = sum(w.source.shape[0] for w in weights)
    return replace(
        first,
        source=replace(first.source, shape=(channels, *first.source.shape[1:]), gain=1.0),
        kernel=np.concatenate([w.kernel * w.source.gain for w in weights], axis=-2),
        bias=np.sum([w.bias for w in weights], axis=0),
        has_bias=any(w.has_bias for w in weights),
    )


def flattened(node: NirNode, source: Tensor) -> Tensor:
    """The tensor behind a Flatten node."""
    start, end = int(node.node.start_dim), int(node.node.end_dim)
    rank = 1 if source.is_flat else len(source.shape)
    if rank == 1 or (start == 0 and end in (-1, rank - 1)):
        return replace(source, is_flat=len(source.shape) == 3)
    raise UnsupportedLayerError(
        f"NIR node {node.name!r} (Flatten) merges the axes {start} to {end} of {source.shape}, but "
        "only all axes together can be flattened: start_dim=0, end_dim=-1 (NIR counts no batch "
        "axis)"
    )


def unsupported(node: NirNode) -> UnsupportedLayerError:
    """The refusal of a node, with a remedy."""
    remedy = _REMEDIES.get(node.kind, "Replace it by nodes of a supported type.")
    return UnsupportedLayerError(
        f"NIR node {node.name!r} of type {node.kind} has no counterpart here. {remedy}"
    )


def nir_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape that NIR gives it."""
    return (prod(tensor.shape),) if tensor.is_flat else tensor.shape


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
