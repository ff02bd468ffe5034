"""What a user hands to the host and gets back: counts in Keras layout, new potentials."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.core_graph import CoreGraph
from kerasnsoc.nsoc.host import HostState, run_frames

Array = npt.NDArray[Any]


def forward_counts(graph: CoreGraph, x: Array, data_format: str, state: HostState) -> Any:
    """Counts of the exits; arguments and errors as of `kerasnsoc.nsoc.NSoCNetwork.forward`."""
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            f"data_format is {data_format!r}, but it must be 'channels_last' or 'channels_first'"
        )
    if x.dtype.names is not None:
        raise ValueError(
            "x holds events, but a host runs frames of spike counts; "
            "kerasnsoc.nsoc.events_to_raster makes them, or call to('speck2f') first"
        )
    is_last = data_format == "channels_last"
    channels, height, width = graph.input_shape
    expected = (height, width, channels) if is_last else (channels, height, width)
    if x.ndim not in (4, 5) or x.shape[-3:] != expected:
        raise ValueError(
            f"x has the shape {x.shape}, but it must be (T, *{expected}) or (batch, T, "
            f"*{expected}) with data_format={data_format!r}"
        )
    if x.dtype.kind not in "biuf":
        raise ValueError(f"x holds {x.dtype}, but it must hold spike counts")
    is_integer = graph.core_layers[0].is_discretized
    if is_integer and x.dtype.kind == "f" and (x != np.rint(x)).any():
        raise ValueError("x holds numbers that are no whole spike counts")
    frames = x if x.ndim == 5 else x[None]
    if is_last:
        frames = np.moveaxis(frames, -1, -3)
    counts = run_frames(graph, frames.astype(np.int64 if is_integer else np.float32), state)
    outputs = {index: _laid_out(array, x.ndim, is_last) for index, array in counts.items()}
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def _laid_out(array: Array, ndim: int, is_last: bool) -> Array:
    array = np.moveaxis(array, -3, -1) if is_last else array
    return array if ndim == 5 else array[0]


def new_potentials(graph: CoreGraph, randomize: bool, seed: int | None) -> dict[int, Array]:
    """Potentials after a reset: 0, or random ones from the lowest up to below the threshold."""
    generator = np.random.Generator(np.random.PCG64(seed)) if randomize else None
    values: dict[int, Array] = {}
    for layer in graph.core_layers:
        dtype = np.int64 if layer.is_discretized else np.float32
        if generator is None:
            values[layer.index] = np.zeros(layer.neuron_shape, dtype)
            continue
        low, high, shape = layer.min_v or 0, layer.threshold, layer.neuron_shape
        drawn: Array = (
            generator.integers(int(low), int(high), shape)
            if layer.is_discretized
            else generator.uniform(low, high, shape)
        )
        values[layer.index] = drawn.astype(dtype)
    return values
