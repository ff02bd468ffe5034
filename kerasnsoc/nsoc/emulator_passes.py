"""A network in several passes over a chip: its parts, and what goes from one to the next.

The chip holds the layers of one pass at a time. All packets of a run take the first pass; what its
layers send to later ones is kept outside of the chip; then the chip is given the layers of the
second pass, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.config import CoreConfig, DestinationConfig, GradedCoreConfig, NSoCConfig
from kerasnsoc.nsoc.emulator_input import EVENT, PACKED_DTYPE, TOKEN, Items
from kerasnsoc.nsoc.emulator_program import (
    CoreProgram,
    Part,
    Port,
    exit_cores,
    graded_parameters,
    outside_port,
)
from kerasnsoc.nsoc.errors import ConfigValidationError, NSoCError
from kerasnsoc.nsoc.memory import graded_bytes, spiking_bytes

Array = npt.NDArray[Any]
Packets = list[Array]
"""Events in `PACKED_DTYPE`, one array per packet."""


def parts_of(config: NSoCConfig) -> list[Part]:
    """The passes of a configuration, in order; one, unless the chip is too small.

    Raises
    ------
    ConfigValidationError
        If an event would have to go to an earlier pass, or a pass has no layers.
    NSoCError
        If there are several passes and the chip knows no packets.
    """
    pass_of: dict[int | None, int] = {record.core: record.pass_index for record in config.cores}
    if len(pass_of) != len(config.cores):
        raise ConfigValidationError("the configuration uses a core twice")
    count = 1 + max(pass_of.values(), default=0)
    if count == 1:
        return [Part(config, (outside_port(config),), frozenset(), exit_cores(config), 0)]
    if config.numeric.mode != "packet":
        raise NSoCError(
            f"the network takes {count} passes over the chip, but in event mode no end of a packet "
            f"says when a pass is over; use a device in packet mode"
        )
    for record in config.cores:
        for d in record.destinations:
            if d.enable and d.layer in pass_of and pass_of[d.layer] < record.pass_index:
                raise ConfigValidationError(
                    f"{record.name!r} is in pass {record.pass_index}, but sends to core {d.layer} "
                    f"in pass {pass_of[d.layer]}, which is over by then"
                )
    return [_part(config, index, pass_of) for index in range(count)]


def _part(config: NSoCConfig, index: int, pass_of: Mapping[int | None, int]) -> Part:
    members = [record for record in config.cores if record.pass_index == index]
    if not members:
        raise ConfigValidationError(f"no layer is in pass {index} of {1 + max(pass_of.values())}")
    outside = outside_port(config)
    ports = [replace(outside, destinations=_within(outside.destinations, index, pass_of))]
    for record in config.cores:
        entering = _within(record.destinations, index, pass_of)
        if record.pass_index < index and entering:
            ports.append(Port(record.out_shape, entering, record.core))
    stored = frozenset(
        record.core
        for record in members
        if any(d.enable and pass_of.get(d.layer, index) > index for d in record.destinations)
    )
    cores = [_cut(record, index, pass_of, record.core in stored) for record in members]
    size = sum(configuration_bytes(record) for record in members)
    part = replace(config, cores=cores)
    return Part(part, tuple(ports), stored, exit_cores(config), size)


def _within(
    destinations: Sequence[DestinationConfig], index: int, pass_of: Mapping[int | None, int]
) -> tuple[DestinationConfig, ...]:
    return tuple(d for d in destinations if d.enable and pass_of.get(d.layer, -1) == index)


def _cut(
    record: CoreConfig | GradedCoreConfig,
    index: int,
    pass_of: Mapping[int | None, int],
    is_stored: bool,
) -> CoreConfig | GradedCoreConfig:
    """The record with its ways to later passes leading out of the chip."""
    destinations = []
    for d in record.destinations:
        if d.layer is None and not record.monitor_enable:
            continue  # nobody outside takes it
        if d.layer in pass_of and pass_of[d.layer] > index:
            d = replace(d, layer=None, feature_shift=0)
        destinations.append(d)
    return replace(
        record, destinations=destinations, monitor_enable=record.monitor_enable or is_stored
    )


def configuration_bytes(record: CoreConfig | GradedCoreConfig) -> int:
    """What a layer takes in the memory of processors, and has to be written for a pass."""
    if isinstance(record, CoreConfig):
        return spiking_bytes(record.weights.size, record.out_shape)
    return graded_bytes(graded_parameters(record), record.in_shape, record.neuron_shape.chw)


def stored_packets(
    log: Array, index: int, core: CoreProgram, token_roots: npt.NDArray[np.int64]
) -> Packets:
    """What one core of a pass has sent, packet by packet, as events for a later pass."""
    rows = log[log["core"] == index]
    features, _, width = core.output_fhw
    events = np.zeros(len(rows), PACKED_DTYPE)
    position, events["c"] = np.divmod(rows["neuron"], features)
    events["y"], events["x"] = np.divmod(position, width)
    events["n"] = rows["count"]
    # a core ends one packet after the other, so that its rows are in order
    cuts = np.searchsorted(rows["root"], token_roots, "right")
    return np.split(events, cuts[:-1]) if len(cuts) else []


def items_of(
    part: Part, outside: Items, packets: Mapping[int, Packets], begin_ps: int
) -> tuple[Items, npt.NDArray[np.int64]]:
    """What enters the chip in a later pass.

    Parameters
    ----------
    part : Part
    outside : Items
        What enters in the first pass.
    packets : mapping of int to list of ndarray
        Core of an earlier pass -> what it sent in each packet.
    begin_ps : int
        When the pass begins; what came before enters then.

    Returns
    -------
    items : Items
    roots : ndarray of int64
        For each item the one of `outside` that it belongs to: itself, or the end of its packet.
    """
    ends = np.flatnonzero(outside.kind == TOKEN)
    begins = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    columns: dict[str, list[Array]] = {name: [] for name in _COLUMNS}
    roots: list[Array] = []

    def add(root: Array, **values: Any) -> None:
        for name in _COLUMNS:
            columns[name].append(np.broadcast_to(values.get(name, 0), len(root)))
        roots.append(root)

    for k, (first, end) in enumerate(zip(begins, ends, strict=True)):
        if part.ports[0].destinations:
            own = np.arange(first, end)
            names = ("x", "y", "c", "payload", "kind")
            fields = {name: getattr(outside, name)[own] for name in names}
            add(own, t_ps=np.maximum(outside.t_ps[own], begin_ps), **fields)
        now = max(int(outside.t_ps[end]), begin_ps)
        if part.config.numeric.layer_delay:
            # what arrives behind the end of a packet belongs to the next one
            add(np.array([end]), t_ps=now, kind=TOKEN)
        for number, port in enumerate(part.ports[1:], 1):
            assert port.source is not None
            events = packets[port.source][k]
            fields = {name: events[name] for name in ("x", "y", "c")}
            root = np.full(len(events), end)
            add(root, t_ps=now, payload=events["n"], kind=EVENT, port=number, **fields)
        if not part.config.numeric.layer_delay:
            add(np.array([end]), t_ps=now, kind=TOKEN)
    merged: dict[str, Any] = {
        name: np.concatenate(columns[name]).astype(dtype) if roots else np.zeros(0, dtype)
        for name, dtype in _COLUMNS.items()
    }
    whole = np.concatenate(roots) if roots else np.zeros(0, np.int64)
    return Items(**merged, raw=outside.raw), whole


_COLUMNS: dict[str, type] = {
    "t_ps": np.int64,
    "x": np.int32,
    "y": np.int32,
    "c": np.int32,
    "payload": np.int32,
    "kind": np.uint8,
    "port": np.int32,
}


def merged_tables(
    tables: Sequence[dict[str, Any]],
    sizes: Sequence[int],
    roots: Sequence[npt.NDArray[np.int64]],
    hidden: Sequence[int],
    exits: Sequence[int],
) -> dict[str, Any]:
    """The tables of all passes as those of one chip that has the cores of all.

    Parameters
    ----------
    tables : sequence of dict
        As `kerasnsoc_ext._emulator.Chip.run` gives them.
    sizes : sequence of int
        Cores of each pass.
    roots : sequence of ndarray
        As of `items_of`.
    hidden : sequence of int
        Indices of cores that were recorded only because a later pass takes what they send.
    exits : sequence of int
        Indices of cores whose spikes leave the chip for good.
    """
    first = np.concatenate([[0], np.cumsum(sizes)])
    result: dict[str, Any] = {
        "counters": np.concatenate([entry["counters"] for entry in tables]),
        "makespan": max(entry["makespan"] for entry in tables),
        "link_busy": sum(entry["link_busy"] for entry in tables),
        "noc": {name: sum(e["noc"][name] for e in tables) for name in tables[0]["noc"]},
        "potentials": next((e["potentials"] for e in tables if e["potentials"] is not None), None),
    }
    for name in ("spikes", "drops", "trace", "links", "services", "tokens"):
        moved = []
        for entry, start, root in zip(tables, first, roots, strict=False):
            rows = entry[name]
            # a packet on a link names the core it goes to, -1 outside
            rows["core"] += np.where(rows["core"] >= 0, start, 0).astype(rows["core"].dtype)
            if "root" in (rows.dtype.names or ()):
                rows["root"] = root[rows["root"]]
            moved.append(rows)
        result[name] = np.concatenate(moved)
    result["tokens"] = result["tokens"][np.isin(result["tokens"]["core"], exits)]
    spikes = result["spikes"][~np.isin(result["spikes"]["core"], hidden)]
    spikes["out"][~np.isin(spikes["core"], exits)] = -1
    result["spikes"] = spikes
    return result
