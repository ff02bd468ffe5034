"""From a configuration to what the emulator's cores compute: arrays, shapes, routes, times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.description import layer_from_json
from kerasnsoc.artifact.geometry import Window, spatial_geometry
from kerasnsoc.artifact.schema import (
    ActivationParameters,
    ConcatParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    LayerParameters,
    PoolingType,
    SeparableConvolutionalParameters,
    SpatialParameters,
)
from kerasnsoc.nsoc.config import (
    CoreConfig,
    DestinationConfig,
    GradedCoreConfig,
    NSoCConfig,
    NumericConfig,
)
from kerasnsoc.nsoc.devices import DeviceSpec, QueuePolicy
from kerasnsoc.nsoc.errors import ConfigValidationError, NSoCError
from kerasnsoc.runtime.plan import threshold_table
from kerasnsoc_ext._emulator import TIMES

Array = npt.NDArray[Any]

SHARED_TIMES = ("t_io_in", "t_io_out", "t_router", "t_hop_x", "t_hop_y", "t_link", "t_sync")
ASSUMED_QUEUE_CAPACITY = 16
"""Events that wait at a core before its sender counts as stalled; no figure is public."""

LARGEST_TIME_PS = 2**40
"""About one second: more is no service time of a chip but a mistake in units."""

NEVER = -(2**30)
"""Packet in which a neuron last fired that has never fired."""


@dataclass(frozen=True, slots=True)
class Policies:
    """How the emulator treats what a configuration leaves open.

    Attributes
    ----------
    merge_policy : {"causal", "arrival"}
    queue_policy : {"block", "stall", "drop"}
    queue_capacity : int
    emission : {"streaming", "end"}
    sync : {None, "barrier"}
    touched_only : bool
    refractory_packets : int
    decay : int
    """

    merge_policy: Literal["causal", "arrival"] = "causal"
    queue_policy: QueuePolicy = "block"
    queue_capacity: int = ASSUMED_QUEUE_CAPACITY
    emission: Literal["streaming", "end"] = "streaming"
    sync: Literal["barrier"] | None = None
    touched_only: bool = False
    refractory_packets: int = 0
    decay: int = 0


@dataclass(frozen=True, slots=True)
class Port:
    """Where events enter the chip.

    Attributes
    ----------
    shape_chw : tuple of int
    destinations : tuple of DestinationConfig
    source : int or None
        Core of an earlier pass whose spikes enter here; None: events from outside.
    """

    shape_chw: tuple[int, int, int]
    destinations: tuple[DestinationConfig, ...]
    source: int | None = None


def outside_port(config: NSoCConfig) -> Port:
    """The port for events from outside: behind the sensor block, where there is one.

    Raises
    ------
    ConfigValidationError
        If there is neither.
    """
    if config.dvs is not None:
        shape, destinations = config.dvs.output_chw, config.dvs.destinations
    elif config.input is not None:
        shape, destinations = config.input.input_shape.chw, config.input.destinations
    else:
        raise ConfigValidationError("the configuration has neither 'input' nor 'dvs': no events")
    return Port(shape, tuple(d for d in destinations if d.enable and d.layer is not None))


@dataclass(frozen=True, slots=True)
class Part:
    """What is on the chip during one pass; usually the whole network.

    Attributes
    ----------
    config : NSoCConfig
        Of the layers of this pass; what they send to later ones leaves the chip.
    ports : tuple of Port
        Where events enter: first from outside, then one for each layer of an earlier pass.
    stored : frozenset of int
        Cores whose spikes later passes take.
    exits : frozenset of int
        Cores of all passes whose spikes leave the chip for good, and are recorded.
    configuration_bytes : int
        What the chip is told for this pass: weights, thresholds, potentials. 0 if it is the only
        one.
    """

    config: NSoCConfig
    ports: tuple[Port, ...]
    stored: frozenset[int]
    exits: frozenset[int]
    configuration_bytes: int

    @property
    def layers(self) -> list[int]:
        """Layers on the chip."""
        return [record.layer_index for record in self.config.cores]


def exit_cores(config: NSoCConfig) -> frozenset[int]:
    """Cores whose spikes leave the chip, and are recorded."""
    return frozenset(
        record.core
        for record in config.cores
        if record.monitor_enable and any(d.enable and d.layer is None for d in record.destinations)
    )


@dataclass(slots=True)
class CoreProgram:
    """One core: its record in the configuration, and what the compiled module takes.

    Attributes
    ----------
    config : CoreConfig or GradedCoreConfig
    layer : int
        Index in the model.
    output_fhw : tuple of int
        Shape of what leaves the neurons, before the pooling of destinations.
    record : dict
    """

    config: CoreConfig | GradedCoreConfig
    layer: int
    output_fhw: tuple[int, int, int]
    record: dict[str, Any]


@dataclass(slots=True)
class Program:
    """A configuration as the compiled emulator takes it.

    Attributes
    ----------
    cores : list of CoreProgram
        In topological order.
    entries : ndarray of int32, shape (n, 7)
    ports : ndarray of int32, shape (n,)
        Number of the port of each entry.
    options : dict of str to int
    is_packet : bool
    times_ps : dict of str to int
    """

    cores: list[CoreProgram]
    entries: npt.NDArray[np.int32]
    ports: npt.NDArray[np.int32]
    options: dict[str, int]
    is_packet: bool
    times_ps: dict[str, int]


def times_of(
    config: NSoCConfig, device: DeviceSpec, timing: str | Mapping[str, float] | None
) -> dict[str, int]:
    """Service times in whole picoseconds: the device's, the configuration's, the caller's.

    Raises
    ------
    ValueError
        If a profile or a time is unknown, negative, not finite or beyond a second.
    NSoCError
        If the device has no times.
    """
    spec = device.timing
    if isinstance(timing, str):
        profiles = {"default": device.timing, **device.timings}
        if timing not in profiles:
            raise ValueError(
                f"timing is {timing!r}, but device {device.name!r} has the profiles "
                f"{', '.join(sorted(profiles))}"
            )
        spec, timing = profiles[timing], None
    if spec is None:
        raise NSoCError(
            f"device {device.name!r} has no service times, so it cannot be emulated with time; "
            f"use engine='functional', or register a device with times"
        )
    times = spec.picoseconds()
    for overrides in (config.timing, timing or {}):
        for name, value in overrides.items():
            if name not in times:
                raise ValueError(
                    f"timing names {name!r}, but known times are {', '.join(sorted(times))}"
                )
            times[name] = _picoseconds(name, value)
    return times


def _picoseconds(name: str, value: float) -> int:
    try:
        exact = Decimal(repr(float(value))) if isinstance(value, float) else Decimal(int(value))
        rounded = int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
    except (ArithmeticError, ValueError, TypeError):
        rounded = -1
    if not 0 <= rounded <= LARGEST_TIME_PS:
        raise ValueError(
            f"time {name} is {value!r} ps, but must be a number from 0 to {LARGEST_TIME_PS:,}"
        )
    return rounded


def build_program(
    part: Part, device: DeviceSpec, policies: Policies, times_ps: dict[str, int]
) -> Program:
    """Wire and convert every core of a configuration, or of one pass.

    Raises
    ------
    ConfigValidationError
        If a destination is not configured, the graph has a cycle, or a shape does not fit.
    """
    config = part.config
    _check(config)
    numeric = config.numeric
    is_packet = numeric.mode == "packet"
    configs = _topological(config)
    index = {record.core: i for i, record in enumerate(configs)}
    edges = [0] * len(configs)
    outputs = [record.out_shape for record in configs]

    def slot(destination: DestinationConfig, shape: tuple[int, int, int]) -> list[int]:
        pool = destination.pooling
        size = [shape[1] // pool.y, shape[2] // pool.x]
        if destination.layer is None:
            return [-1, 0, pool.y, pool.x, 0, *size]
        target = index[destination.layer]
        edges[target] += 1
        return [target, edges[target] - 1, pool.y, pool.x, destination.feature_shift, *size]

    entries, entry_ports = [], []
    for number, port in enumerate(part.ports):
        unknown = [d.layer for d in port.destinations if d.layer not in index]
        if unknown:
            raise ConfigValidationError(
                f"events enter at the cores {unknown}, which are not configured"
            )
        incoming = sorted(
            port.destinations,
            key=lambda d: (index[d.layer], d.feature_shift),  # type: ignore[index]
        )
        entries += [slot(destination, port.shape_chw) for destination in incoming]
        entry_ports += [number] * len(incoming)
    receivers = {entry[0] for entry in entries}
    slots = []
    for record, shape in zip(configs, outputs, strict=True):
        enabled = [d for d in record.destinations if d.enable]
        # an exit that is not monitored has nobody outside to send to
        kept = [d for d in enabled if d.layer is not None or record.monitor_enable]
        slots.append([slot(destination, shape) for destination in kept])
    if numeric.layer_delay:
        # every core takes part in every packet, so the port's token goes to each of them
        for i in range(len(configs)):
            if i not in receivers:
                entries.append([i, edges[i], 1, 1, 0, 1, 1])
                entry_ports.append(0)
                edges[i] += 1
    is_multi_sourced = any(count > 1 for count in edges)
    is_causal = not is_packet and policies.merge_policy == "causal"

    cores = []
    for i, (record, shape) in enumerate(zip(configs, outputs, strict=True)):
        fields = (
            _spiking_record(record, numeric, policies)
            if isinstance(record, CoreConfig)
            else _graded_record(record, numeric)
        )
        node, lanes = _place(record, device)
        balancer = record.congestion_balancer if isinstance(record, CoreConfig) else None
        balances = balancer is not None and balancer.enable
        fields |= {
            "edges": edges[i],
            "slots": np.array(slots[i], np.int32).reshape(-1, 7),
            "is_entry": i in receivers,
            "is_monitored": record.monitor_enable,
            "is_stored": record.core in part.stored,
            "node": node,
            "lanes": lanes,
            "drops_when_full": balances or policies.queue_policy == "drop",
            "capacity": balancer.capacity if balances and balancer else policies.queue_capacity,
            **{name: times_ps[name] for name in TIMES},
        }
        cores.append(CoreProgram(record, record.layer_index, shape, fields))
    noc = device.noc
    port_node = noc.port[1] * noc.width + noc.port[0]
    readout = [i for i, core in enumerate(cores) if core.record["rule"] == "potentials"]
    final = [i for i in readout if cores[i].config.core in part.exits]
    options = {
        "is_packet": int(is_packet),
        "is_mesh": int(noc.topology == "mesh"),
        "is_causal": int(is_causal),
        "needs_tokens": int(is_causal and is_multi_sourced),
        "layer_delay": int(bool(numeric.layer_delay)),
        "is_barrier": int(policies.sync == "barrier"),
        "emits_at_end": int(policies.emission == "end"),
        "stalls": int(policies.queue_policy == "stall"),
        "readout_core": final[0] if final else -1,
        "mesh_x": noc.width,
        "mesh_y": noc.height,
        "input_node": port_node,
        "output_node": port_node,
        **{name: times_ps[name] for name in SHARED_TIMES},
    }
    entry_array = np.array(entries, np.int32).reshape(-1, 7)
    return Program(
        cores, entry_array, np.array(entry_ports, np.int32), options, is_packet, times_ps
    )


def _check(config: NSoCConfig) -> None:
    numeric = config.numeric
    if not config.cores:
        raise ConfigValidationError("the configuration has no cores, so there is nothing to run")
    if numeric.layer_delay not in (0, 1):
        raise ConfigValidationError(f"layer_delay is {numeric.layer_delay}, but must be 0 or 1")
    is_graded = isinstance(config.cores[0], GradedCoreConfig)
    if any(isinstance(record, GradedCoreConfig) != is_graded for record in config.cores):
        raise ConfigValidationError("a configuration has spiking or graded cores, not both")
    if is_graded and (numeric.mode != "packet" or numeric.layer_delay):
        raise ConfigValidationError("graded cores need mode 'packet' and layer_delay 0")


def _topological(config: NSoCConfig) -> list[CoreConfig | GradedCoreConfig]:
    """Cores so that each stands behind its sources; otherwise in the order of the configuration."""
    records = {record.core: record for record in config.cores}
    waiting = dict.fromkeys(records, 0)
    for record in config.cores:
        for destination in record.destinations:
            if destination.enable and destination.layer is not None:
                if destination.layer not in records:
                    raise ConfigValidationError(
                        f"{record.name!r} sends to core {destination.layer}, which is not "
                        f"configured; configured are {', '.join(map(str, sorted(records)))}"
                    )
                waiting[destination.layer] += 1
    ordered: list[CoreConfig | GradedCoreConfig] = []
    while waiting:
        ready = next((core for core, count in waiting.items() if count == 0), None)
        if ready is None:
            names = ", ".join(repr(records[core].name) for core in waiting)
            raise ConfigValidationError(f"events would run in a circle through {names}")
        del waiting[ready]
        ordered.append(records[ready])
        for destination in records[ready].destinations:
            if destination.enable and destination.layer is not None:
                waiting[destination.layer] -= 1
    return ordered


def _place(record: CoreConfig | GradedCoreConfig, device: DeviceSpec) -> tuple[int, int]:
    """Node and parallel units of a core; a group of processors stands for its central one."""
    if not device.is_mesh:
        by_id = {core.id: core for core in device.cores}
        return 0, by_id[record.core].lanes if record.core in by_id else 1
    width = device.noc.width
    if not record.neural_processors:
        return device.noc.port[1] * width + device.noc.port[0], 1
    by_id = {core.id: core for core in device.cores}
    unknown = [processor for processor in record.neural_processors if processor not in by_id]
    if unknown:
        raise ConfigValidationError(
            f"{record.name!r} lies on the processors {unknown}, which {device.name!r} lacks; "
            f"it has 0 to {max(by_id, default=-1)}"
        )
    places = [by_id[processor].xy for processor in record.neural_processors]
    total = len(places)
    center = (sum(x for x, _ in places), sum(y for _, y in places))
    x, y = min(
        places, key=lambda xy: abs(total * xy[0] - center[0]) + abs(total * xy[1] - center[1])
    )
    return y * width + x, total


def _live(weights: Array, keep_zeros: bool) -> npt.NDArray[np.int32]:
    """Updates of each tap: all, or those whose weight is not 0."""
    if keep_zeros:
        return np.full(weights.shape[:-1], weights.shape[-1], np.int32)
    return np.asarray(np.count_nonzero(weights, axis=-1), np.int32)


def _spiking_record(
    record: CoreConfig, numeric: NumericConfig, policies: Policies
) -> dict[str, Any]:
    is_packet = numeric.mode == "packet"
    shape = record.dimensions
    features, height, width = record.out_shape
    channels, in_height, in_width = record.in_shape
    expected = (features, channels, shape.kernel_size.y, shape.kernel_size.x)
    if record.weights.shape != expected:
        raise ConfigValidationError(
            f"{record.name!r} has weights of shape {record.weights.shape}, but its dimensions "
            f"say {expected} (F, C, Ky, Kx)"
        )
    if record.biases.shape != (features,):
        raise ConfigValidationError(
            f"{record.name!r} has biases of shape {record.biases.shape}, but {features} features"
        )
    if record.neurons_initial_value.shape != (features, height, width):
        raise ConfigValidationError(
            f"{record.name!r} has initial values of shape {record.neurons_initial_value.shape}, "
            f"but neurons of shape {(features, height, width)} (F, H, W)"
        )
    weights = record.weights.astype(np.int16)
    biases = record.biases.astype(np.int16)
    state = record.neurons_initial_value.astype(np.int16)
    if record.kill_bits is not None:
        weights = np.where(record.kill_bits.weights, 0, weights)
        biases = np.where(record.kill_bits.biases, 0, biases)
        if record.kill_bits.neurons_value.any():
            raise NSoCError(
                f"{record.name!r} kills single neurons, which the emulator does not model; "
                f"kill their weights instead"
            )
    weights_cyxf = np.ascontiguousarray(weights.transpose(1, 2, 3, 0), np.int16)
    most = {"multi": 2**31 - 1, "single": 1, "max": numeric.max_spikes or 1}[numeric.spike_fn]
    decimator = record.output_decimator
    keep_zeros = not numeric.skip_zero
    has_memory = is_packet and policies.refractory_packets > 0
    return {
        "rule": "packet" if is_packet else "event",
        "channels": channels,
        "in_height": in_height,
        "in_width": in_width,
        "kernel_y": shape.kernel_size.y,
        "kernel_x": shape.kernel_size.x,
        "stride_y": shape.stride.y,
        "stride_x": shape.stride.x,
        "lead_y": shape.padding.y,
        "lead_x": shape.padding.x,
        "height": height,
        "width": width,
        "features": features,
        "is_free": False,
        "is_depthwise": False,
        "keep_zeros": keep_zeros,
        "weights": weights_cyxf,
        "live": _live(weights_cyxf, keep_zeros),
        "bias": np.ascontiguousarray(biases, np.int16),
        "state": np.ascontiguousarray(state.transpose(1, 2, 0)),
        "sums": np.zeros((height, width, features), np.int64) if is_packet else None,
        "last_fired": np.full((height, width, features), NEVER, np.int32) if has_memory else None,
        "leaks": bool(record.leak_enable) and not is_packet,
        "to_zero": record.return_to_zero,
        "is_persistent": numeric.persistent,
        "is_graded": numeric.graded and is_packet,
        "touched_only": policies.touched_only,
        "max_spikes": most,
        "decay": policies.decay,
        "refractory": policies.refractory_packets,
        "decimation": decimator.interval if decimator.enable else 1,
        "threshold": record.threshold_high,
        "threshold_low": record.threshold_low,
        "pooling": 0,
    }


_POOLINGS = {PoolingType.NoPooling: 0, PoolingType.Max: 1, PoolingType.Average: 2}


def graded_parameters(record: GradedCoreConfig) -> LayerParameters:
    """The record's arguments as the artifact's dataclass again."""
    layer = {"inbounds": [], "name": record.name, "variables": sorted(record.variables)}
    layer |= {name: record.graded[name] for name in ("type", "parameters") if name in record.graded}
    return layer_from_json(layer, record.layer_index)[1]


def _graded_record(record: GradedCoreConfig, numeric: NumericConfig) -> dict[str, Any]:
    p = graded_parameters(record)
    assert isinstance(p, ActivationParameters)
    channels, in_height, in_width = record.in_shape
    fields: dict[str, Any] = {
        "channels": channels,
        "in_height": in_height,
        "in_width": in_width,
        "is_free": isinstance(p, ConcatParameters),
        "is_depthwise": isinstance(p, ConcatParameters | SeparableConvolutionalParameters),
        "keep_zeros": not numeric.skip_zero,
        "leaks": False,
        "to_zero": False,
        "is_persistent": False,
        "is_graded": True,
        "touched_only": False,
        "max_spikes": 1,
        "decay": 0,
        "refractory": 0,
        "decimation": 1,
        "pooling": 0,
    }
    if isinstance(p, SpatialParameters):
        fields |= _convolution(p, record)
    elif isinstance(p, FullyConnectedParameters):
        # input (x, y, c) is row (c * height + y) * width + x of the weights
        weights = record.variables["weights"][0, 0]
        fields |= _kernel(weights.reshape(channels, in_height, in_width, -1))
        fields |= _whole_map(in_height, in_width)
        fields["features"] = p.num_neurons
    elif isinstance(p, ConcatParameters):
        fields |= _kernel(np.ones((channels, 1, 1, 1), np.int16))
        fields |= {"height": in_height, "width": in_width, "features": channels}
        fields |= {"stride_y": 1, "stride_x": 1, "lead_y": 0, "lead_x": 0}
    else:
        raise ConfigValidationError(
            f"{record.name!r} is of kind {type(p).__name__}, which is no layer of a core"
        )
    fields["live"] = _live(fields["weights"], fields["keep_zeros"])
    if "pointwise" in fields:
        fields["pointwise_live"] = _live(fields["pointwise"], fields["keep_zeros"])
    base = fields.get("base")
    summed = channels if fields["is_depthwise"] else fields["features"]
    shape = (fields["height"], fields["width"], summed)
    fields["sums"] = np.zeros(shape, np.int64) if base is None else base.copy()
    fields["rule"] = "potentials"
    if p.activations_enabled:
        # counting exceeded thresholds does not depend on their order
        table = np.sort(threshold_table(p, record.variables), axis=1)
        fields |= {
            "rule": "staircase",
            "levels": np.ascontiguousarray(table, np.int32),
            "level_count": table.shape[1],
        }
    return fields


def _whole_map(height: int, width: int) -> dict[str, int]:
    return {
        "height": 1,
        "width": 1,
        "stride_y": height,
        "stride_x": width,
        "lead_y": 0,
        "lead_x": 0,
    }


def _kernel(weights_cyxf: Array) -> dict[str, Any]:
    return {
        "weights": np.ascontiguousarray(weights_cyxf, np.int16),
        "kernel_y": weights_cyxf.shape[1],
        "kernel_x": weights_cyxf.shape[2],
    }


def _convolution(p: SpatialParameters, record: GradedCoreConfig) -> dict[str, Any]:
    _, in_height, in_width = record.in_shape
    geometry = spatial_geometry(p, (in_width, in_height))
    weights_xycn = record.variables["weights"]
    is_input = isinstance(p, InputConvolutionalParameters)
    if not is_input:  # stored as an event scatters it
        weights_xycn = weights_xycn[::-1, ::-1]
    fields: dict[str, Any] = _kernel(weights_xycn.transpose(2, 1, 0, 3))
    x, y = geometry.conv_x, geometry.conv_y
    fields |= {
        "stride_y": y.stride,
        "stride_x": x.stride,
        "lead_y": y.lead,
        "lead_x": x.lead,
        "height": y.output,
        "width": x.output,
        "features": p.num_neurons,
    }
    if isinstance(p, SeparableConvolutionalParameters):
        fields["pointwise"] = np.ascontiguousarray(record.variables["weights_pw"][0, 0], np.int16)
    if isinstance(p, InputConvolutionalParameters) and p.padding_value:
        fields["base"] = p.padding_value * _outside(fields["weights"], y, x)
    if geometry.pool_x is not None and geometry.pool_y is not None:
        fields |= {
            "pooling": _POOLINGS[p.pooling_type],
            "pool_y": geometry.pool_y.size,
            "pool_x": geometry.pool_x.size,
            "pool_stride_y": geometry.pool_y.stride,
            "pool_stride_x": geometry.pool_x.stride,
            "pool_lead_y": geometry.pool_y.lead,
            "pool_lead_x": geometry.pool_x.lead,
            "out_height": geometry.pool_y.output,
            "out_width": geometry.pool_x.output,
        }
    return fields


def _outside(weights_cyxf: Array, y: Window, x: Window) -> npt.NDArray[np.int64]:
    """Sum of the weights that lie on padding, for each neuron."""
    taps_yxf = weights_cyxf.sum(axis=0, dtype=np.int64)
    inside_y, inside_x = (_inside(axis).astype(np.int64) for axis in (y, x))
    total_f = taps_yxf.sum(axis=(0, 1))
    seen = np.einsum("oy,px,yxf->opf", inside_y, inside_x, taps_yxf)
    return np.ascontiguousarray(total_f - seen)


def _inside(axis: Window) -> npt.NDArray[np.bool_]:
    """Whether tap t of output o sees the map, shape (output, size)."""
    at = np.arange(axis.output)[:, None] * axis.stride - axis.lead + np.arange(axis.size)
    return (at >= 0) & (at < axis.length)
