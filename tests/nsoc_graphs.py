"""Core graphs without Keras: chains, random DAGs, and configurations of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kerasnsoc.nsoc.config_builder import build_config
from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer, Destination, DvsLayer, neuron_map
from kerasnsoc.nsoc.devices import get_device
from kerasnsoc.nsoc.mapping import place


def core_layer(index=0, *, features=2, in_shape=(1, 4, 4), kernel=3, stride=1, padding=0, **fields):
    """An integer layer with all weights 1."""
    channels, height, width = in_shape
    sides = [neuron_map(n, kernel, stride, padding) for n in (height, width)]
    values = {
        "index": index,
        "name": f"layer{index}",
        "weights": np.ones((features, channels, kernel, kernel), np.int8),
        "bias": None,
        "stride": (stride, stride),
        "padding": (padding, padding),
        "in_shape": in_shape,
        "neuron_shape": (features, *sides),
        "threshold": 4,
        "min_v": -4,
        "destinations": (Destination(None),),
        "sources": ("input",),
        "quant_scale": 1.0,
    }
    return CoreLayer(**values | fields)


def chain(count=2, *, dvs=None, side=8, pooling=1, **fields):
    """Layers one after the other; 3x3 kernels that keep the size of the map."""
    layers = []
    shape = dvs.output_shape if dvs is not None else (1, side, side)
    for i in range(count):
        last = i == count - 1
        destination = Destination(None if last else i + 1, (pooling, pooling))
        layer = core_layer(i, in_shape=shape, padding=1, **fields)
        source = i - 1 if i else "input" if dvs is None else "dvs"
        layers.append(replace(layer, destinations=(destination,), sources=(source,)))
        features, height, width = layer.neuron_shape
        shape = (features, height // pooling, width // pooling)
    entry = (Destination(0),)
    if dvs is None:
        return CoreGraph(tuple(layers), (1, side, side), None, entry)
    shape = (2, *dvs.input_shape)
    return CoreGraph(tuple(layers), shape, replace(dvs, destinations=entry))


def config_of(graph, device="speck2f"):
    """A configuration that records the exits."""
    spec = get_device(device)
    config = build_config(graph, spec, 0, place(graph, spec))
    for record in config.cores:
        record.monitor_enable = record.layer_index in graph.exits
    return config


def random_graph(seed):
    """A random chain or diamond with random integers that fits on a Speck."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(4, 17))
    dvs = None
    if rng.random() < 0.3:
        dvs = DvsLayer(
            (2 * side, 2 * side),
            merge=bool(rng.integers(2)),
            pool=(2, 2),
            crop=((1, side), (0, side)),
            flip_x=bool(rng.integers(2)),
            swap_xy=bool(rng.integers(2)),
        )
    shape = dvs.output_shape if dvs is not None else (int(rng.integers(1, 4)), side, side)
    widths = [int(n) for n in rng.integers(1, 6, size=4)]
    is_diamond = bool(rng.integers(2))
    port = "input" if dvs is None else "dvs"
    plan = [(shape, widths[0], (port,))]
    middle = (widths[0], *shape[1:])
    if is_diamond:
        plan += [(middle, widths[1], (0,)), (middle, widths[2], (0,))]
        plan += [((widths[1] + widths[2], *shape[1:]), widths[3], (1, 2))]
    else:
        plan += [(middle, widths[1], (0,))]
    targets = (
        {0: [(1, 0), (2, 0)], 1: [(3, 0)], 2: [(3, widths[1])]} if is_diamond else {0: [(1, 0)]}
    )
    layers = []
    for i, (in_shape, features, sources) in enumerate(plan):
        destinations = [Destination(t, feature_shift=shift) for t, shift in targets.get(i, [])]
        layer = core_layer(i, features=features, in_shape=in_shape, padding=1)
        bias = rng.integers(-20, 21, features).astype(np.int16) if rng.random() < 0.5 else None
        layers.append(
            replace(
                layer,
                weights=rng.integers(-128, 128, layer.weights.shape).astype(np.int8),
                bias=bias,
                threshold=int(rng.integers(1, 500)),
                min_v=-int(rng.integers(0, 500)),
                reset="zero" if rng.random() < 0.3 else "subtract",
                initial_state=rng.integers(-9, 9, layer.neuron_shape).astype(np.int16),
                quant_scale=float(np.float32(rng.uniform(1, 300))),
                destinations=tuple(destinations) or (Destination(None, (2, 2)),),
                sources=sources,
            )
        )
    entry = (Destination(0),)
    if dvs is None:
        return CoreGraph(tuple(layers), shape, None, entry)
    channels = 1 if dvs.merge else 2
    return CoreGraph(tuple(layers), (channels, *dvs.input_shape), replace(dvs, destinations=entry))
