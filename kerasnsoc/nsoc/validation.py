"""The rules R01 to R27 that a configuration must keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.config import (
    CoreConfig,
    DestinationConfig,
    GradedCoreConfig,
    NSoCConfig,
)
from kerasnsoc.nsoc.core_graph import neuron_map
from kerasnsoc.nsoc.devices import CoreLimits, CoreSpec, DeviceSpec
from kerasnsoc.nsoc.errors import Problem
from kerasnsoc.nsoc.memory import Words, bias_words, clog2, kernel_words, neuron_words

AnyCore = CoreConfig | GradedCoreConfig
Core = TypeVar("Core", CoreConfig, AnyCore)


def validate(config: NSoCConfig, device: DeviceSpec) -> list[Problem]:
    """Every rule of a device that a configuration breaks, by rule.

    Parameters
    ----------
    config : NSoCConfig
    device : DeviceSpec

    Returns
    -------
    list of Problem
        Errors and warnings; only errors make the configuration invalid.
    """
    checker = _Checker(config, device)
    problems = list(_misshapen(config))
    if not problems:  # the other rules count on the axes
        problems = [problem for rule in _RULES for problem in rule(checker)]
    return sorted(problems, key=lambda problem: problem.code)


def _misshapen(config: NSoCConfig) -> Iterator[Problem]:
    for record in config.cores:
        if not isinstance(record, CoreConfig):
            continue
        for code, what, array, axes in (
            ("R08", "weights", record.weights, "(F, C, Ky, Kx)"),
            ("R09", "biases", record.biases, "(F,)"),
            ("R11", "initial values", record.neurons_initial_value, "(F, H, W)"),
        ):
            if array.ndim != len(axes.strip("(),").split(",")):
                yield Problem(
                    code, record.name, f"{what} have the shape {array.shape}, but must have {axes}"
                )


class _Checker:
    def __init__(self, config: NSoCConfig, device: DeviceSpec) -> None:
        self.config = config
        self.device = device
        self.cores = {core.id: core for core in device.cores}
        self.spiking = [c for c in config.cores if isinstance(c, CoreConfig)]
        self.records = {record.core: record for record in config.cores}

    def limits(self, record: AnyCore) -> CoreLimits | None:
        spec = self.spec_of(record)
        return self.device.limits if spec is None else self.device.limits_of(spec)

    def limited(self, records: Iterable[Core]) -> Iterator[tuple[Core, CoreLimits]]:
        """Those records whose limits are known, with these."""
        for record in records:
            limits = self.limits(record)
            if limits is not None:
                yield record, limits

    def spec_of(self, record: AnyCore) -> CoreSpec | None:
        return None if self.device.is_mesh else self.cores.get(record.core)


def _pair(value: Any) -> str:
    return f"{value.x}x{value.y}"


def _rule_kernel(c: _Checker) -> Iterator[Problem]:
    for record in c.spiking:
        limits, size = c.limits(record), record.dimensions.kernel_size
        if limits is None:
            continue
        if limits.square_kernel and size.x != size.y:
            yield Problem(
                "R01",
                record.name,
                f"kernel {_pair(size)} (x, y) is not square. Pad the kernel with zeros to "
                f"{max(size.x, size.y)}x{max(size.x, size.y)}.",
            )
        if not 1 <= min(size.x, size.y) <= max(size.x, size.y) <= limits.max_kernel:
            yield Problem(
                "R02",
                record.name,
                f"kernel {_pair(size)} is outside 1 to {limits.max_kernel}. Use a smaller kernel, "
                "or pool before this layer.",
            )
        shape = record.weights.shape
        if tuple(shape[2:]) != (size.y, size.x):
            yield Problem(
                "R02",
                record.name,
                f"kernel_size is {_pair(size)} (x, y), but the weights (F, C, Ky, Kx) have the "
                f"shape {shape}",
            )


def _rule_stride_padding(c: _Checker) -> Iterator[Problem]:
    for record, limits in c.limited(c.spiking):
        for code, what, value, allowed in (
            ("R03", "stride", record.dimensions.stride, limits.strides),
            ("R04", "padding", record.dimensions.padding, limits.paddings),
        ):
            if value.x not in allowed or value.y not in allowed:
                yield Problem(
                    code,
                    record.name,
                    f"{what} {_pair(value)} (x, y); each must be {_list(allowed)}",
                )


def _list(numbers: Sequence[int]) -> str:
    if len(numbers) > 8 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return f"one of {', '.join(map(str, numbers))}"


def _rule_maps(c: _Checker) -> Iterator[Problem]:
    for record, limits in c.limited(c.config.cores):
        features, height, width = _neuron_shape(record)
        channels, in_height, in_width = record.in_shape
        if not 1 <= min(in_height, in_width) <= max(in_height, in_width) <= limits.max_in_xy:
            yield Problem(
                "R05",
                record.name,
                f"the input map is {in_width}x{in_height} (x, y), allowed are 1 to "
                f"{limits.max_in_xy}. Pool or crop before this layer.",
            )
        if not 1 <= min(height, width) <= max(height, width) <= limits.max_out_xy:
            yield Problem(
                "R06",
                record.name,
                f"the map of neurons is {width}x{height} (x, y), allowed are 1 to "
                f"{limits.max_out_xy}. Use a stride, or pool before this layer.",
            )
        for what, count, most in (
            ("input", channels, limits.max_features_in),
            ("output", features, limits.max_features_out),
        ):
            if not 1 <= count <= most:
                yield Problem(
                    "R07", record.name, f"{count} {what} features, allowed are 1 to {most}"
                )


def _rule_numbers(c: _Checker) -> Iterator[Problem]:
    for record, limits in c.limited(c.spiking):
        for code, what, array, bits in (
            ("R08", "weights", record.weights, limits.weight_bits),
            ("R09", "biases", record.biases, limits.bias_bits),
            ("R11", "initial values", record.neurons_initial_value, limits.state_bits),
        ):
            if array.dtype.kind not in "iu":
                yield Problem(code, record.name, f"{what} are {array.dtype}, but must be integers")
                continue
            first = _first_outside(array, bits)
            if first is not None:
                low, high = _range(bits)
                yield Problem(
                    code,
                    record.name,
                    f"{what} at {first} are {int(array[first])}, but {bits} bits hold {low} to "
                    f"{high}",
                )
        for code, what, array, shape in (
            ("R09", "biases", record.biases, (record.out_shape[0],)),
            ("R11", "initial values", record.neurons_initial_value, record.out_shape),
            (
                "R08",
                "weights",
                record.weights,
                (record.out_shape[0], record.in_shape[0], *record.weights.shape[2:]),
            ),
        ):
            if tuple(array.shape) != tuple(shape):
                yield Problem(
                    code, record.name, f"{what} have the shape {array.shape}, but must have {shape}"
                )
        low, high = _range(limits.state_bits)
        if not low <= record.threshold_low <= 0 < record.threshold_high <= high:
            yield Problem(
                "R10",
                record.name,
                f"threshold_low {record.threshold_low} and threshold_high {record.threshold_high} "
                f"must keep {low} <= low <= 0 < high <= {high}",
            )


def _range(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _first_outside(array: npt.NDArray[Any], bits: int) -> tuple[int, ...] | None:
    low, high = _range(bits)
    # int64: an int8 array compared with a wider bound must not wrap
    outside = np.argwhere((array.astype(np.int64) < low) | (array.astype(np.int64) > high))
    return tuple(int(i) for i in outside[0]) if len(outside) else None


def _rule_destinations(c: _Checker) -> Iterator[Problem]:
    for record, limits in c.limited(c.config.cores):
        enabled = [d for d in record.destinations if d.enable]
        for d in enabled:
            size = d.pooling
            allowed = size.x in limits.poolings and size.y in limits.poolings
            if not allowed or (limits.square_pool and size.x != size.y):
                square = "equal sides, " if limits.square_pool else "sides "
                yield Problem(
                    "R12",
                    record.name,
                    f"pooling {_pair(size)} (x, y) behind it; "
                    + (
                        f"allowed are {square}each {_list(limits.poolings)}. Use a stride, or pool "
                        "in two steps with a layer in between."
                        if limits.poolings != (1,)
                        else f"{c.device.name!r} has no pooling between cores. Use a stride."
                    ),
                )
        count = sum(d.layer is not None for d in enabled)
        if count > limits.fan_out:
            yield Problem(
                "R13",
                record.name,
                f"sends to {count} cores, but a core of {c.device.name!r} addresses "
                f"{limits.fan_out}. Put a layer in between that passes its spikes on.",
            )
        yield from _targets(c, record.name, record.out_shape, enabled)
    for name, port, shape in _ports(c.config):
        enabled = [d for d in port.destinations if d.enable]
        yield from _targets(c, name, shape, enabled)
        if name == "dvs" and c.device.dvs is not None and len(enabled) > c.device.dvs.fan_out:
            yield Problem(
                "R13",
                name,
                f"sends to {len(enabled)} cores, but the sensor layer addresses "
                f"{c.device.dvs.fan_out}",
            )


def _ports(config: NSoCConfig) -> Iterator[tuple[str, Any, tuple[int, int, int]]]:
    if config.dvs is not None:
        yield "dvs", config.dvs, config.dvs.output_chw
    if config.input is not None:
        yield "input", config.input, config.input.input_shape.chw


def _targets(
    c: _Checker, name: str, shape: tuple[int, int, int], enabled: Sequence[DestinationConfig]
) -> Iterator[Problem]:
    for d in enabled:
        if d.layer is None:
            continue
        target = c.records.get(d.layer)
        if target is None:
            yield Problem(
                "R14",
                name,
                f"sends to core {d.layer}, which is not configured; configured are "
                f"{sorted(c.records)}",
            )
            continue
        if min(d.pooling.x, d.pooling.y) < 1:
            continue  # reported as R12
        pooled = (shape[1] // d.pooling.y, shape[2] // d.pooling.x)
        if pooled != target.in_shape[1:]:
            yield Problem(
                "R15",
                name,
                f"sends a map of {pooled[1]}x{pooled[0]} (x, y) after pooling to {target.name}, "
                f"which takes {target.in_shape[2]}x{target.in_shape[1]}",
            )
        if d.feature_shift < 0 or shape[0] + d.feature_shift > target.in_shape[0]:
            yield Problem(
                "R15",
                name,
                f"sends {shape[0]} features shifted by {d.feature_shift} to {target.name}, which "
                f"takes {target.in_shape[0]}",
            )


def _rule_memory(c: _Checker) -> Iterator[Problem]:
    if c.device.is_mesh:
        yield from _mesh_memory(c)
        return
    seen: dict[int, str] = {}
    for record in c.spiking:
        spec = c.cores.get(record.core)
        if spec is None:
            yield Problem(
                "R17",
                record.name,
                f"core {record.core} does not exist; {c.device.name!r} has {sorted(c.cores)}",
            )
            continue
        if record.core in seen:
            message = f"core {record.core} already holds {seen[record.core]}"
            yield Problem("R17", record.name, message)
        seen.setdefault(record.core, record.name)
        features, channels, *kernel = (max(int(n), 1) for n in record.weights.shape)
        words = Words(
            kernel_words(channels, features, kernel[0], kernel[1]),
            neuron_words(*(max(n, 1) for n in record.out_shape)),
            bias_words(features, record.has_biases),
        )
        for what, need, has in (
            ("kernel", words.kernel, spec.kernel_words),
            ("neuron", words.neuron, spec.neuron_words),
            ("bias", words.bias, spec.bias_words),
        ):
            if need > has:
                yield Problem(
                    "R16", record.name, f"needs {need} {what} words, but core {spec.id} has {has}"
                )


def _mesh_memory(c: _Checker) -> Iterator[Problem]:
    seen: dict[tuple[int, int], str] = {}
    groups: dict[int, str] = {}
    for record in c.config.cores:
        if record.core in groups:
            message = f"group {record.core} already is {groups[record.core]}"
            yield Problem("R17", record.name, message)
        groups.setdefault(record.core, record.name)
        for processor in record.neural_processors:
            key = (record.pass_index, processor)
            if processor not in c.cores:
                message = f"processor {processor} does not exist; there are {len(c.cores)}"
                yield Problem("R17", record.name, message)
            elif key in seen:
                message = f"processor {processor} already holds {seen[key]}"
                yield Problem("R17", record.name, message)
            seen.setdefault(key, record.name)


def _rule_graph(c: _Checker) -> Iterator[Problem]:
    edges = {
        core: [d.layer for d in r.destinations if d.enable and d.layer in c.records]
        for core, r in c.records.items()
    }
    remaining = dict(edges)
    while remaining:
        targets = {t for ts in remaining.values() for t in ts}
        free = [core for core in remaining if core not in targets]
        if not free:
            names = ", ".join(c.records[core].name for core in remaining)
            yield Problem("R18", "", f"events would run in a circle among {names}")
            break
        for core in free:
            del remaining[core]
    sources: dict[int, set[tuple[int, int]]] = {}
    for record in c.config.cores:
        _, height, width = record.out_shape
        for d in record.destinations:
            if d.enable and d.layer is not None and min(d.pooling.x, d.pooling.y) >= 1:
                pooled = (height // d.pooling.y, width // d.pooling.x)
                sources.setdefault(d.layer, set()).add(pooled)
    for core, maps in sources.items():
        if len(maps) > 1:
            name = c.records[core].name if core in c.records else ""
            yield Problem(
                "R19",
                name,
                f"its sources send maps of {sorted(maps)} (height, width), which must be equal",
            )
    yield from _reachable(c, edges)


def _reachable(c: _Checker, edges: dict[int, list[Any]]) -> Iterator[Problem]:
    entries = c.config.entries()
    if not entries:
        yield Problem("R26", "", "no core takes events from the input port or the sensor")
    if not c.config.exits() and not any(r.monitor_enable for r in c.config.cores):
        yield Problem("R26", "", "no core sends events out of the chip, and none is monitored")
    reached, waiting = set(), [core for core in entries if core in c.records]
    while waiting:
        core = waiting.pop()
        if core not in reached:
            reached.add(core)
            waiting += edges[core]
    for core, record in c.records.items():
        if entries and core not in reached:
            message = "no event from the input reaches it; connect it, or leave it out"
            yield Problem("R26", record.name, message)


def _rule_dvs(c: _Checker) -> Iterator[Problem]:
    dvs = c.config.dvs
    if dvs is None:
        return
    block = c.device.dvs
    if block is None:
        message = f"{c.device.name!r} has no sensor layer; send events through the input port"
        yield Problem("R20", "dvs", message)
        return
    features, height, width = dvs.input_shape.chw
    if not (1 <= width <= block.width and 1 <= height <= block.height):
        yield Problem(
            "R20",
            "dvs",
            f"its input is {width}x{height} (x, y), allowed are up to {block.width}x{block.height}",
        )
    if features not in (1, 2):
        yield Problem("R20", "dvs", f"its input has {features} features, allowed are 1 and 2")
    if dvs.pooling.x not in block.poolings or dvs.pooling.y not in block.poolings:
        yield Problem(
            "R20",
            "dvs",
            f"pooling {_pair(dvs.pooling)} (x, y); each must be {_list(block.poolings)}",
        )
        return
    for axis, size in (("x", width // dvs.pooling.x), ("y", height // dvs.pooling.y)):
        first, last = getattr(dvs.origin, axis), getattr(dvs.cut, axis)
        if not 0 <= first <= last < size:
            yield Problem(
                "R20",
                "dvs",
                f"it keeps positions {first} to {last} along {axis}, but after pooling there are "
                f"0 to {size - 1}",
            )


def _rule_address(c: _Checker) -> Iterator[Problem]:
    for record, limits in c.limited(c.config.cores):
        shape = _neuron_shape(record)
        if min(shape) < 1:
            continue
        bits = sum(clog2(n) for n in shape)
        if bits > limits.address_bits:
            features, height, width = shape
            yield Problem(
                "R21",
                record.name,
                f"{features} features of {width}x{height} need {bits} address bits, but there are "
                f"{limits.address_bits}. Use fewer features or a stride.",
            )


def _rule_shapes(c: _Checker) -> Iterator[Problem]:
    for record in c.spiking:
        d = record.dimensions
        if min(d.stride.x, d.stride.y) < 1:
            continue  # reported as R03
        _, height, width = record.in_shape
        expected = (
            neuron_map(height, d.kernel_size.y, d.stride.y, d.padding.y),
            neuron_map(width, d.kernel_size.x, d.stride.x, d.padding.x),
        )
        if expected != record.out_shape[1:]:
            yield Problem(
                "R22",
                record.name,
                f"the map of neurons is {record.out_shape[1:]} (height, width), but input, kernel, "
                f"stride and padding give {expected}",
            )


def _rule_blocks(c: _Checker) -> Iterator[Problem]:
    for record in c.spiking:
        if (
            record.leak_enable
            and c.config.numeric.mode == "event"
            and c.config.slow_clock_hz is None
        ):
            yield Problem(
                "R23",
                record.name,
                "it has biases, but without a slow clock they are never added. Pass "
                "slow_clk_frequency in Hz, or use_bias=False.",
                "warning",
            )
        decimator, balancer = record.output_decimator, record.congestion_balancer
        if decimator.enable and decimator.interval not in c.device.decimator:
            allowed = (
                _list(c.device.decimator) if c.device.decimator else "none: it has no such block"
            )
            yield Problem(
                "R24",
                record.name,
                f"decimator interval {decimator.interval}; allowed on {c.device.name!r}: {allowed}",
            )
        if balancer.enable and (not c.device.congestion_balancer or balancer.capacity < 0):
            yield Problem(
                "R24",
                record.name,
                f"congestion balancer with capacity {balancer.capacity}, but {c.device.name!r} "
                + ("needs at least 0" if c.device.congestion_balancer else "has no such block"),
            )
    if c.config.slow_clock_hz is not None and not 0 < c.config.slow_clock_hz < float("inf"):
        message = f"slow_clock_hz is {c.config.slow_clock_hz}, but must be above 0"
        yield Problem("R23", "", message)


def _rule_potentials(c: _Checker) -> Iterator[Problem]:
    numeric = c.config.numeric
    if numeric.mode == "packet" and not numeric.persistent and c.spiking:
        yield Problem(
            "R27",
            "",
            f"integrate-and-fire neurons on {c.device.name!r} forget their potentials at the end "
            "of each packet, so that each time step counts by itself. Send a whole sample as one "
            "packet, or use a device that keeps them ('loihi'); a config_modifier that sets "
            "numeric.persistent emulates one.",
            "warning",
        )


def _rule_readout(c: _Checker) -> Iterator[Problem]:
    readout = c.config.readout
    if readout is None or not readout.enable:
        return
    block = c.device.readout
    if block is None:
        yield Problem("R25", "", f"{c.device.name!r} has no readout block; read the exit's spikes")
        return
    if readout.window not in block.windows:
        yield Problem("R25", "", f"readout window {readout.window}; must be {_list(block.windows)}")
    record = c.records.get(readout.source_core)
    if record is None:
        yield Problem("R25", "", f"the readout reads core {readout.source_core}, which is unused")
        return
    features = _neuron_shape(record)[0]
    stride = block.feature_stride if "readout_x4" in c.device.errata else 1
    classes = -(-features // stride)
    if classes > block.classes:
        yield Problem(
            "R25",
            record.name,
            f"{classes} classes, but the readout of {c.device.name!r} has {block.classes}",
        )
    if stride > 1 and isinstance(record, CoreConfig):
        between = np.arange(features) % stride != 0
        if features > 1 and (record.weights[between].any() or features % stride != 1):
            yield Problem(
                "R25",
                record.name,
                f"on {c.device.name!r} only each {stride}th feature reaches the readout. Use "
                "extend_readout_layer(network).",
                "warning",
            )


def _neuron_shape(record: AnyCore) -> tuple[int, int, int]:
    return record.out_shape if isinstance(record, CoreConfig) else record.neuron_shape.chw


_RULES: tuple[Callable[[_Checker], Iterator[Problem]], ...] = (
    _rule_kernel,
    _rule_stride_padding,
    _rule_maps,
    _rule_numbers,
    _rule_destinations,
    _rule_memory,
    _rule_graph,
    _rule_dvs,
    _rule_address,
    _rule_shapes,
    _rule_blocks,
    _rule_potentials,
    _rule_readout,
)
