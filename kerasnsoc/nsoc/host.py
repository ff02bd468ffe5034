"""The network on the host: one packet per time step, the same integers as a chip in packet mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer
from kerasnsoc.nsoc.discretize import STATE_MAX, STATE_MIN
from kerasnsoc.nsoc.sensor import preprocess, sum_pool

Array = npt.NDArray[Any]

_CHUNK_VALUES = 1 << 24
"""Numbers that one layer may hold at a time; longer sequences are cut."""

_EXACT = float(2**53)
"""Integers below are exact in float64, in which BLAS multiplies them."""


@dataclass(slots=True)
class HostState:
    """Potentials of every layer, for every sample of a batch.

    Attributes
    ----------
    potentials : dict of int to ndarray, shape (batch, F, H, W)
        int64, or float32 for a network of floats.
    is_fresh : bool
        Whether nothing has run since the last reset; only then may the batch size change.
    cut_off : dict of int to int
        Layer -> potentials that left 16 bits since the last reset, and were cut off.
    """

    potentials: dict[int, Array]
    is_fresh: bool = True
    cut_off: dict[int, int] = field(default_factory=dict)

    @classmethod
    def initial(cls, graph: CoreGraph) -> HostState:
        """The potentials that the model starts with."""
        return cls({layer.index: initial_potential(layer)[None] for layer in graph.core_layers})

    def widen(self, batch: int) -> None:
        """Give each sample its own copy of the initial potentials."""
        for index, potential in self.potentials.items():
            if len(potential) == batch:
                continue
            if not self.is_fresh:
                raise ValueError(
                    f"the potentials are those of {len(potential)} samples, but {batch} arrive. "
                    "Call reset_states() before another number of samples."
                )
            self.potentials[index] = np.repeat(potential[:1], batch, axis=0)


def initial_potential(layer: CoreLayer) -> Array:
    """Potentials of one sample at the start, shape (F, H, W)."""
    dtype = np.int64 if layer.is_discretized else np.float32
    if layer.initial_state is None:
        return np.zeros(layer.neuron_shape, dtype)
    return layer.initial_state.astype(dtype)


def run_frames(graph: CoreGraph, frames: Array, state: HostState) -> dict[int, Array]:
    """Spike counts of the exits, step by step.

    Parameters
    ----------
    graph : CoreGraph
        Of integrate-and-fire layers.
    frames : ndarray of counts, shape (batch, T, C, H, W)
    state : HostState
        Continued in place.

    Returns
    -------
    dict of int to ndarray, shape (batch, T, F, H, W)
        Exit layer -> counts behind its pooling; int64, or float32 for a network of floats.
    """
    batch, steps = frames.shape[:2]
    state.widen(batch)
    largest = max(
        max(int(np.prod(layer.neuron_shape)), int(np.prod(layer.in_shape)))
        for layer in graph.core_layers
    )
    chunk = max(1, _CHUNK_VALUES // max(1, batch * largest))
    parts: dict[int, list[Array]] = {index: [] for index in graph.exits}
    for start in range(0, steps, chunk):
        outputs = _run_chunk(graph, frames[:, start : start + chunk], state)
        for index, counts in outputs.items():
            parts[index].append(counts)
    state.is_fresh = False
    dtype = np.int64 if graph.core_layers[0].is_discretized else np.float32
    result = {}
    for index, counts_list in parts.items():
        if counts_list:
            result[index] = np.concatenate(counts_list, axis=1)
        else:
            features, height, width = graph.layers[index].neuron_shape
            pool = exit_pooling(graph.core_layers[index])
            shape = (batch, 0, features, height // pool[0], width // pool[1])
            result[index] = np.zeros(shape, dtype)
    return result


def exit_pooling(layer: CoreLayer) -> tuple[int, int]:
    """(y, x) pooling behind an exit."""
    return next((d.pooling for d in layer.destinations if d.target is None), (1, 1))


def _run_chunk(graph: CoreGraph, frames: Array, state: HostState) -> dict[int, Array]:
    batch, steps = frames.shape[:2]
    flat = frames.reshape(batch * steps, *frames.shape[2:])
    if graph.dvs is not None:
        flat = preprocess(graph.dvs, flat)
    arriving: dict[int, Array] = {}

    def send(counts: Array, destinations: Any) -> None:
        for d in destinations:
            if d.target is None:
                continue
            target = graph.core_layers[d.target]
            if d.target not in arriving:
                arriving[d.target] = np.zeros((len(flat), *target.in_shape), counts.dtype)
            features = slice(d.feature_shift, d.feature_shift + counts.shape[1])
            arriving[d.target][:, features] += sum_pool(counts, d.pooling)

    entries = graph.input_destinations if graph.dvs is None else graph.dvs.destinations
    send(flat, entries)
    exits = {}
    for layer in graph.core_layers:
        sums = convolve(arriving.pop(layer.index), layer)
        sums = sums.reshape(batch, steps, *layer.neuron_shape)
        counts = _fire(layer, sums, state).reshape(batch * steps, *layer.neuron_shape)
        send(counts, layer.destinations)
        if layer.index in graph.exits:
            pooled = sum_pool(counts, exit_pooling(layer))
            exits[layer.index] = pooled.reshape(batch, steps, *pooled.shape[1:])
    return exits


def convolve(x: Array, layer: CoreLayer) -> Array:
    """What arrives at the neurons of a layer, without bias.

    Parameters
    ----------
    x : ndarray, shape (n, C, H, W)
    layer : CoreLayer

    Returns
    -------
    ndarray, shape (n, F, H, W)
        int64, or float32 for a layer of floats.

    Raises
    ------
    OverflowError
        If a sum of integers could leave float64's exact range.
    """
    weights = layer.weights
    dtype: Any = np.float32
    if layer.is_discretized:
        bound = float(abs(x).max(initial=0)) * float(
            abs(weights.astype(np.int64)).sum(axis=(1, 2, 3)).max(initial=0)
        )
        if bound >= _EXACT:
            raise OverflowError(f"{layer.name}: counts of up to {x.max()} are too large")
        dtype = np.float64
    (sy, sx), (py, px) = layer.stride, layer.padding
    features, height, width = layer.neuron_shape
    n, channels = x.shape[:2]
    padded = np.pad(x.astype(dtype), ((0, 0), (0, 0), (py, py), (px, px)))
    kernel = weights.astype(dtype)
    if (height, width) == (1, 1):
        window = padded[:, :, : kernel.shape[2], : kernel.shape[3]].reshape(n, -1)
        result = (window @ kernel.reshape(features, -1).T).reshape(n, features, 1, 1)
    else:
        result = np.zeros((n, features, height * width), dtype)
        for ky in range(kernel.shape[2]):
            for kx in range(kernel.shape[3]):
                rows = slice(ky, ky + sy * (height - 1) + 1, sy)
                columns = slice(kx, kx + sx * (width - 1) + 1, sx)
                patch = padded[:, :, rows, columns].reshape(n, channels, -1)
                result += kernel[:, :, ky, kx] @ patch
        result = result.reshape(n, features, height, width)
    sums: Array = result.astype(np.int64) if layer.is_discretized else result
    return sums


def _fire(layer: CoreLayer, sums: Array, state: HostState) -> Array:
    """Integrate each step, fire, reset, clamp; shape (batch, T, F, H, W)."""
    v = state.potentials[layer.index]
    bias = None if layer.bias is None else layer.bias.astype(v.dtype)[:, None, None]
    threshold = v.dtype.type(layer.threshold)
    low = None if layer.min_v is None else v.dtype.type(layer.min_v)
    counts, cut_off = np.empty(sums.shape, v.dtype), 0
    for t in range(sums.shape[1]):
        v = v + sums[:, t]
        if bias is not None:
            v = v + bias
        if layer.is_discretized:
            kept = np.clip(v, STATE_MIN, STATE_MAX)
            cut_off += int(np.count_nonzero(kept != v))
            v = kept
        n = np.maximum(np.floor_divide(v, threshold), 0)
        if layer.spike_fn == "single":
            n = np.minimum(n, 1)
        elif isinstance(layer.spike_fn, tuple):
            n = np.minimum(n, layer.spike_fn[1])
        v = v - n * threshold if layer.reset == "subtract" else np.where(n > 0, 0, v)
        if low is not None:
            v = np.maximum(v, low)
        v = v.astype(counts.dtype, copy=False)
        counts[:, t] = n
    state.potentials[layer.index] = v
    if cut_off:
        state.cut_off[layer.index] = state.cut_off.get(layer.index, 0) + cut_off
    return counts
