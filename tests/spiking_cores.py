"""Random graphs of integrate-and-fire cores, and what they compute step by step."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer, Destination, neuron_map


@st.composite
def core_graphs(draw, max_layers: int = 3, square: bool = True) -> CoreGraph:
    """Discretized graphs: each layer takes one source, a sum of two or two concatenated ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    input_shape = (draw(st.integers(1, 2)), draw(st.integers(4, 6)), draw(st.integers(4, 6)))
    shapes = {-1: input_shape}
    outgoing: dict[int, list[Destination]] = {-1: []}
    layers: list[CoreLayer] = []
    for index in range(draw(st.integers(1, max_layers))):
        first = index - 1
        pooling = (1, 1)
        if first >= 0 and min(shapes[first][1:]) >= 2 and draw(st.booleans()):
            pooling = (2, 2)
        sources, shift = [first], 0
        channels, *sides = _pooled(shapes[first], pooling)
        outgoing[first].append(Destination(index, pooling))
        joins = [
            k
            for k in range(-1, first)
            if _pooled(shapes[k], pooling)[1:] == tuple(sides) and (k >= 0 or pooling == (1, 1))
        ]
        if joins and draw(st.booleans()):
            second = draw(st.sampled_from(joins))
            is_sum = shapes[second][0] == channels and draw(st.booleans())
            shift = 0 if is_sum else channels
            outgoing[second].append(Destination(index, pooling, shift))
            sources.append(second)
            channels += 0 if is_sum else shapes[second][0]
        if draw(st.booleans()) or max(sides) > 6:
            kernel = tuple(draw(st.integers(1, min(3, n))) for n in sides)
            kernel = (min(kernel),) * 2 if square else kernel
            stride = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
            padding = (draw(st.integers(0, 1)), draw(st.integers(0, 1)))
        elif not square or sides[0] == sides[1]:
            kernel, stride, padding = tuple(sides), (1, 1), (0, 0)
        else:
            kernel, stride, padding = (1, 1), (1, 1), (0, 0)
        features = draw(st.integers(1, 3))
        shape = (
            features,
            *(neuron_map(*axis) for axis in zip(sides, kernel, stride, padding, strict=True)),
        )
        has_bias = draw(st.booleans())
        threshold = int(rng.integers(3, 40))
        layers.append(
            CoreLayer(
                index,
                f"layer{index}",
                rng.integers(-20, 30, (features, channels, *kernel)).astype("i1"),
                rng.integers(-5, 6, features).astype("i2") if has_bias else None,
                stride,
                padding,
                (channels, *sides),
                shape,
                threshold,
                -int(rng.integers(0, 60)),
                draw(st.sampled_from(["subtract", "zero"])),
                draw(st.sampled_from(["multi", "single", ("max", 2)])),
                sources=tuple("input" if k < 0 else k for k in sources),
                quant_scale=float(rng.integers(1, 100)),
                neuron_name=f"neurons{index}",
            )
        )
        shapes[index] = shape
        outgoing[index] = []
    for layer in layers:
        outgoing[layer.index] = outgoing[layer.index] or [Destination(None)]
    return CoreGraph(
        tuple(_with_destinations(layer, tuple(outgoing[layer.index])) for layer in layers),
        input_shape,
        input_destinations=tuple(outgoing[-1]),
    )


def run_steps(graph: CoreGraph, spikes_tchw: np.ndarray) -> dict[int, np.ndarray]:
    """Spike counts (time, F, H, W) of every exit; potentials start at 0."""
    potentials = {layer.index: np.zeros(layer.neuron_shape, "i8") for layer in graph.layers}
    results: dict[int, list[np.ndarray]] = {index: [] for index in graph.exits}
    for frame in spikes_tchw.astype("i8"):
        inputs = {layer.index: np.zeros(layer.in_shape, "i8") for layer in graph.layers}
        _send(frame, graph.input_destinations, inputs)
        for layer in graph.layers:
            v = potentials[layer.index] + _convolved(layer, inputs[layer.index])
            if layer.bias is not None:
                v += layer.bias[:, None, None]
            n = np.maximum(v // layer.threshold, 0)
            if layer.spike_fn != "multi":
                n = np.minimum(n, 1 if layer.spike_fn == "single" else layer.spike_fn[1])
            v = v - n * layer.threshold if layer.reset == "subtract" else np.where(n > 0, 0, v)
            potentials[layer.index] = np.maximum(v, layer.min_v)
            _send(n, layer.destinations, inputs)
            if layer.index in results:
                results[layer.index].append(n)
    return {index: np.array(counts) for index, counts in results.items()}


def _convolved(layer: CoreLayer, x_chw: np.ndarray) -> np.ndarray:
    (ky, kx), (sy, sx), (py, px) = layer.kernel, layer.stride, layer.padding
    x = np.pad(x_chw, ((0, 0), (py, py), (px, px)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (ky, kx), (1, 2))[:, ::sy, ::sx]
    return np.einsum("chwyx,fcyx->fhw", windows, layer.weights.astype("i8"))


def _send(counts_chw, destinations, inputs) -> None:
    for destination in destinations:
        if destination.target is None:
            continue
        py, px = destination.pooling
        c, h, w = _pooled(counts_chw.shape, destination.pooling)
        kept = counts_chw[:, : h * py, : w * px].reshape(c, h, py, w, px).sum((2, 4))
        shift = destination.feature_shift
        inputs[destination.target][shift : shift + c] += kept


def _pooled(shape, pooling):
    return shape[0], shape[1] // pooling[0], shape[2] // pooling[1]


def _with_destinations(layer: CoreLayer, destinations: tuple[Destination, ...]) -> CoreLayer:
    import dataclasses

    return dataclasses.replace(layer, destinations=destinations)
