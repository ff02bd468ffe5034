"""Configurations of chips for tests: random spiking graphs, and artifacts, without any mapping."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import strategies as st

from kerasnsoc.artifact import ConcatParameters, InputDataParameters, NetworkSpec, SpatialParameters
from kerasnsoc.artifact.description import layers_to_json
from kerasnsoc.artifact.geometry import output_dims, spatial_geometry
from kerasnsoc.nsoc.config import (
    XY,
    CoreConfig,
    DestinationConfig,
    DeviceReference,
    Dimensions,
    GradedCoreConfig,
    InputConfig,
    MapShape,
    NSoCConfig,
    NumericConfig,
)
from kerasnsoc.nsoc.devices import NocSpec, get_device

STAR, MESH = "speck2fmodule", "loihi"


def core(
    index,
    weights,
    in_shape,
    *,
    stride=(1, 1),
    padding=(0, 0),
    bias=None,
    threshold=1,
    low=-1,
    zero=False,
    to=((None, 1, 0),),
    monitor=True,
    initial=None,
):
    """One core; `to` holds (core, pooling, shift)."""
    weights = np.asarray(weights, np.int8)
    features, _, ky, kx = weights.shape
    height = (in_shape[1] + 2 * padding[0] - ky) // stride[0] + 1
    width = (in_shape[2] + 2 * padding[1] - kx) // stride[1] + 1
    shape = (features, height, width)
    return CoreConfig(
        core=index,
        layer_index=index,
        name=f"layer{index}",
        dimensions=Dimensions(
            MapShape.of(in_shape), MapShape.of(shape), XY(kx, ky), XY(*stride[::-1]),
            XY(*padding[::-1]),
        ),
        weights=weights,
        biases=np.zeros(features, np.int16) if bias is None else np.asarray(bias, np.int16),
        has_biases=bias is not None,
        leak_enable=bias is not None,
        return_to_zero=zero,
        threshold_high=threshold,
        threshold_low=low,
        neurons_initial_value=np.zeros(shape, np.int16) if initial is None else initial,
        quant_scale=1.0,
        destinations=[DestinationConfig(t, True, XY(p, p), s) for t, p, s in to],
        monitor_enable=monitor,
        neural_processors=[(index * 29) % 128],
    )  # fmt: skip


def config(cores, in_shape, *, device=STAR, mode="event", entries=(0,), clock=None, **numeric):
    """A configuration; `entries` are cores, or (core, pooling, shift)."""
    to = [entry if isinstance(entry, tuple) else (entry, 1, 0) for entry in entries]
    return NSoCConfig(
        device=DeviceReference(device, 0, get_device(device).sha256()),
        numeric=NumericConfig(mode, **numeric),
        cores=list(cores),
        slow_clock_hz=clock,
        input=InputConfig(
            MapShape.of(in_shape),
            [DestinationConfig(t, True, XY(p, p), s) for t, p, s in to],
        ),
    )


def star_of(device):
    """The device with a star in place of its mesh."""
    return dataclasses.replace(device, noc=NocSpec())


def mesh_of(device, width=3, height=2):
    """The device as a mesh whose cores lie scattered on it."""
    cores = tuple(
        dataclasses.replace(c, xy=(c.id % width, (c.id // width + c.id) % height))
        for c in device.cores
    )
    return dataclasses.replace(device, noc=NocSpec("mesh", width, height), cores=cores)


def artifact_config(spec: NetworkSpec, device="akd1000") -> NSoCConfig:
    """The graded cores of an artifact, one processor each, every exit monitored."""
    layers = spec.layers
    has_input = isinstance(layers[0].parameters, InputDataParameters)
    first = 1 if has_input else 0
    number = {layer.name: i - first for i, layer in enumerate(layers)}
    dims = {}
    incoming = {}
    for layer in layers:
        feeding = [dims[name] for name in layer.inbounds]
        dims[layer.name] = output_dims(layer.parameters, feeding)
        if isinstance(layer.parameters, ConcatParameters):
            incoming[layer.name] = dims[layer.name]
        elif feeding:
            incoming[layer.name] = feeding[0]
        else:
            p = layer.parameters
            incoming[layer.name] = (p.input_width, p.input_height, p.input_channels)
    sends = {layer.name: [] for layer in layers}
    for layer in layers:
        shift = 0
        for name in layer.inbounds:
            sends[name].append(DestinationConfig(number[layer.name], True, XY(), shift))
            shift += dims[name][2]
    cores = []
    for layer, described in zip(layers, layers_to_json(layers), strict=True):
        if number[layer.name] < 0:
            continue
        w, h, f = dims[layer.name]
        neurons = (f, h, w)
        if isinstance(layer.parameters, SpatialParameters):
            geometry = spatial_geometry(layer.parameters, incoming[layer.name][:2])
            neurons = (f, geometry.conv_y.output, geometry.conv_x.output)
        is_exit = layer is layers[-1]
        cores.append(
            GradedCoreConfig(
                core=number[layer.name],
                layer_index=number[layer.name],
                name=layer.name,
                graded={name: described[name] for name in ("type", "parameters")},
                input_shape=MapShape.of(incoming[layer.name][::-1]),
                neuron_shape=MapShape.of(neurons),
                output_shape=MapShape.of((f, h, w)),
                variables=dict(layer.variables),
                destinations=sends[layer.name] + [DestinationConfig(None)] * is_exit,
                monitor_enable=is_exit,
                neural_processors=[(number[layer.name] * 29) % 80],
            )
        )
    port = sends[layers[0].name] if has_input else [DestinationConfig(0)]
    shape = incoming[cores[0].name] if not has_input else dims[layers[0].name]
    return NSoCConfig(
        device=DeviceReference(device, 0, get_device(device).sha256()),
        numeric=NumericConfig("packet", persistent=False, graded=True),
        cores=cores,
        input=InputConfig(MapShape.of(shape[::-1]), port),
    )


@st.composite
def spiking_configs(draw, max_cores=4, mode="event", chain=False, **numeric) -> NSoCConfig:
    """A random acyclic graph of small cores, whose sources and sinks all are wired."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, max_cores))
    ticks = mode == "event" and draw(st.booleans())
    in_shape = (int(rng.integers(1, 4)), *map(int, rng.integers(3, 8, 2)))
    sources = [[]]
    for i in range(1, count):
        if chain:
            sources.append([i - 1])
        else:
            chosen = draw(st.lists(st.integers(-1, i - 1), min_size=1, max_size=2, unique=True))
            sources.append([s for s in chosen if s >= 0])
    entries = [i for i in range(count) if not sources[i]]
    fans = [0] * count
    for i in range(1, count):  # at most two destinations on the chip
        kept = [s for s in sources[i] if fans[s] < 2]
        for s in kept:
            fans[s] += 1
        sources[i] = kept
    entries = [i for i in range(count) if not sources[i]]
    shapes, to, cores = [], [[] for _ in range(count)], []
    for i in range(count):
        # sources of unequal maps are cropped to the smallest by pooling; features lie side by side
        if sources[i]:
            pools = [int(rng.integers(1, 3)) for _ in sources[i]]
            maps = [
                (max(shapes[s][1] // p, 1), max(shapes[s][2] // p, 1))
                for s, p in zip(sources[i], pools, strict=True)
            ]
            join = bool(rng.integers(2))
            shift = channels = 0
            for s, p in zip(sources[i], pools, strict=True):
                to[s].append((i, p if min(shapes[s][1:]) >= p else 1, shift if join else 0))
                channels = max(channels, (shift if join else 0) + shapes[s][0])
                shift += shapes[s][0]
            maps = [
                (shapes[s][1] // to[s][-1][1], shapes[s][2] // to[s][-1][1]) for s in sources[i]
            ]
            shape = (channels, max(m[0] for m in maps), max(m[1] for m in maps))
        else:
            shape = in_shape
        size = int(rng.integers(1, min(4, min(shape[1:])) + 1))
        stride = tuple(int(s) for s in rng.choice([1, 1, 2], 2))
        padding = tuple(int(p) for p in rng.integers(0, size, 2))
        features = int(rng.integers(1, 5))
        weights = rng.integers(-30, 64, (features, shape[0], size, size))
        weights[rng.random(weights.shape) < 0.2] = 0
        threshold = int(rng.integers(1, 90))
        low = -int(rng.integers(0, 90))
        probe = core(i, weights, shape, stride=stride, padding=padding)
        cores.append(
            {
                "index": i,
                "weights": weights,
                "in_shape": shape,
                "stride": stride,
                "padding": padding,
                "bias": rng.integers(-20, 40, features) if ticks or mode == "packet" else None,
                "threshold": threshold,
                "low": low,
                "zero": bool(rng.integers(2)),
                "initial": rng.integers(low, threshold, probe.out_shape).astype(np.int16),
            }
        )
        shapes.append(probe.out_shape)
    for i, arguments in enumerate(cores):
        if not to[i]:
            arguments["to"] = ((None, int(rng.integers(1, 3)), 0),)
        else:
            arguments["to"] = tuple(to[i])
    made = [core(**arguments) for arguments in cores]
    for record in made:
        for destination in record.destinations:
            if destination.layer is None and destination.pooling.x > min(record.out_shape[1:]):
                destination.pooling = XY()
    return config(
        made,
        in_shape,
        mode=mode,
        entries=entries,
        clock=float(rng.choice([2e4, 1e5])) if ticks else None,
        **numeric,
    )


def random_events(chip: NSoCConfig, seed: int, count: int, end_us: int):
    """Events in the input's range, in time order, some at equal times."""
    rng = np.random.default_rng(seed)
    features, height, width = chip.input.input_shape.chw
    events = np.zeros(count, [("t", "i8"), ("x", "u2"), ("y", "u2"), ("c", "u2")])
    events["t"] = np.sort(rng.integers(0, end_us + 1, count))
    for name, size in (("x", width), ("y", height), ("c", features)):
        events[name] = rng.integers(0, size, count)
    return events
