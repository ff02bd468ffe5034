"""Devices as JSON files, so that a chip of one's own needs no code.

A file holds one object with the member ``"schema": "kerasnsoc.nsoc-device"``, ``"version": 1`` and
the members of `kerasnsoc.nsoc.DeviceSpec`; those with a default may be left out. Each figure is an
object ``{"value", "low", "high", "unit", "grade", "source"}``. ``device.schema.json`` beside this
module describes it for editors and other programs.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from kerasnsoc._quantities import Quantity
from kerasnsoc.nsoc.devices import CoreLimits, DeviceSpec, EnergySpec, QueuePolicy, TimingSpec
from kerasnsoc.nsoc.errors import DeviceFileError
from kerasnsoc.nsoc.records import RecordError, decode, encode

SCHEMA = "kerasnsoc.nsoc-device"
VERSION = 1
MAX_BYTES = 16 << 20


def device_content(device: DeviceSpec) -> dict[str, Any]:
    """What a device file holds, as plain values."""
    return {"schema": SCHEMA, "version": VERSION, **encode(device)}


def device_to_json(device: DeviceSpec, indent: int | None = 1) -> str:
    """The text of a device file."""
    return json.dumps(device_content(device), indent=indent, allow_nan=False, sort_keys=True)


def load_device(path: str | os.PathLike[str]) -> DeviceSpec:
    """Read a device file.

    Raises
    ------
    DeviceFileError
        If a member is missing, unknown, of another type or out of range; the message names it.
    OSError
        If the file cannot be read.
    """
    file = Path(path)
    if file.stat().st_size > MAX_BYTES:
        raise DeviceFileError(f"{file} is larger than {MAX_BYTES} bytes; no device needs as much")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DeviceFileError(f"{file} is no JSON: {error}") from None
    return device_from_json(content, str(file))


def device_from_json(content: Any, where: str = "device") -> DeviceSpec:
    """A device from what `json.loads` made of its file; errors as of `load_device`."""
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DeviceFileError(
            f"{where} describes no device: its member 'schema' must be {SCHEMA!r}"
        )
    if type(content.get("version")) is not int or content["version"] != VERSION:
        raise DeviceFileError(
            f"{where} has version {content.get('version')!r}, this release reads {VERSION}"
        )
    body = {name: item for name, item in content.items() if name not in ("schema", "version")}
    try:
        device: DeviceSpec = decode(DeviceSpec, body, where)
    except RecordError as error:
        raise DeviceFileError(str(error)) from None
    return check_device(device)


def check_device(device: DeviceSpec) -> DeviceSpec:
    """Refuse a description that contradicts itself; otherwise give it back.

    Raises
    ------
    DeviceFileError
        Naming the member, its value and what is allowed.
    """
    name = device.name
    if (
        not name
        or name != name.strip().lower()
        or not name.isascii()
        or not name.isprintable()
        or set(name) & set(": /\\")
    ):
        _refuse(device, "name", name, "lower-case letters, digits, '-' and '_'")
    if not device.source.strip():
        _refuse(device, "source", device.source, "where the description comes from")
    if device.cores and device.limits is None:
        _refuse(device, "limits", None, "given where there are cores")
    ids = [core.id for core in device.cores]
    if len(set(ids)) != len(ids) or any(i < 0 for i in ids):
        _refuse(device, "cores[].id", ids, "different numbers of at least 0")
    noc = device.noc
    if min(noc.width, noc.height) < 1:
        _refuse(device, "noc", (noc.width, noc.height), "at least 1 x 1")
    if not (0 <= noc.port[0] < noc.width and 0 <= noc.port[1] < noc.height):
        _refuse(device, "noc.port", noc.port, f"inside {noc.width} x {noc.height}")
    for core in device.cores:
        _check_core(device, core)
    if device.is_mesh and ids != list(range(len(ids))):
        _refuse(device, "cores[].id", ids[:8], "0, 1, 2, … in the order of the path on a mesh")
    if device.layer_delay not in (0, 1):
        _refuse(device, "layer_delay", device.layer_delay, "0 or 1")
    if device.queue_policy not in get_args(QueuePolicy):
        _refuse(device, "queue_policy", device.queue_policy, str(get_args(QueuePolicy)))
    if device.graded and device.mode != "packet":
        _refuse(device, "graded", True, "false with mode 'event'")
    for limits in (device.limits, *(core.limits for core in device.cores)):
        if limits is not None:
            _check_limits(device, limits)
    _check_units(device)
    return device


def _check_core(device: DeviceSpec, core: Any) -> None:
    where = f"cores[{core.id}]"
    sizes = (core.kernel_words, core.neuron_words, core.bias_words, core.memory_bytes)
    if min(sizes) < 0 or core.max_neurons < 0:
        _refuse(device, where, sizes, "memories of at least 0")
    if device.is_mesh and core.memory_bytes < 1:
        _refuse(device, f"{where}.memory_bytes", core.memory_bytes, "above 0 on a mesh")
    if not device.is_mesh and not (core.kernel_words and core.neuron_words):
        _refuse(device, where, sizes[:2], "kernel_words and neuron_words above 0 on a star")
    if core.lanes < 1:
        _refuse(device, f"{where}.lanes", core.lanes, "at least 1")
    if not (0 <= core.xy[0] < device.noc.width and 0 <= core.xy[1] < device.noc.height):
        _refuse(device, f"{where}.xy", core.xy, f"inside {device.noc.width} x {device.noc.height}")


def _check_limits(device: DeviceSpec, limits: CoreLimits) -> None:
    for name in ("max_kernel", "max_in_xy", "max_out_xy", "max_features_in", "max_features_out"):
        if getattr(limits, name) < 1:
            _refuse(device, f"limits.{name}", getattr(limits, name), "at least 1")
    for name, low in (("strides", 1), ("paddings", 0), ("poolings", 1)):
        numbers = getattr(limits, name)
        if not numbers or min(numbers) < low:
            _refuse(device, f"limits.{name}", numbers, f"one or more numbers of at least {low}")
    for name in ("weight_bits", "bias_bits", "state_bits", "address_bits"):
        if not 1 <= getattr(limits, name) <= 64:
            _refuse(device, f"limits.{name}", getattr(limits, name), "1 to 64")


def _check_units(device: DeviceSpec) -> None:
    timings = {"timing": device.timing, **device.timings}
    for profile, timing in timings.items():
        for name, quantity in _named(timing):
            if quantity.unit != "s":
                _refuse(device, f"{profile}.{name}.unit", quantity.unit, "'s'")
            if quantity.value is None:
                _refuse(device, f"{profile}.{name}.value", None, "a number of seconds")
    energies = {"energy": device.energy, **device.energies}
    for profile, energy in energies.items():
        for name, quantity in _named(energy):
            unit = "J" if name.startswith("e_") else "W"
            if quantity.unit != unit:
                _refuse(device, f"{profile}.{name}.unit", quantity.unit, repr(unit))


def _named(spec: TimingSpec | EnergySpec | None) -> list[tuple[str, Quantity]]:
    found: list[tuple[str, Quantity]] = []
    for entry in fields(spec) if spec is not None else ():
        value = getattr(spec, entry.name)
        if isinstance(value, Quantity):
            found.append((entry.name, value))
        elif isinstance(value, dict):
            found += [(f"{entry.name}.{rail}", quantity) for rail, quantity in value.items()]
    return found


def _refuse(device: DeviceSpec, member: str, value: object, allowed: str) -> None:
    raise DeviceFileError(f"device {device.name!r}: {member} is {value!r}, but must be {allowed}")
