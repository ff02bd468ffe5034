"""From what the compiled emulator counted and recorded to an `EmulationResult`."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.config import NSoCConfig
from kerasnsoc.nsoc.devices import DeviceSpec
from kerasnsoc.nsoc.emulator_input import EVENT, NOWHERE, TOKEN, Items
from kerasnsoc.nsoc.emulator_program import CoreProgram
from kerasnsoc.nsoc.emulator_readout import classes_over_time
from kerasnsoc.nsoc.emulator_result import (
    DROP_DTYPE,
    LINK_DTYPE,
    MERGE_DTYPE,
    SERVICE_DTYPE,
    SPIKE_DTYPE,
    EmulationResult,
    dense_outputs,
    latency_of,
)
from kerasnsoc.nsoc.emulator_warnings import BandwidthWarning, SaturationWarning, saturation_text
from kerasnsoc.nsoc.errors import ConfigValidationError
from kerasnsoc_ext import _emulator

Array = npt.NDArray[Any]

OVERLOAD = 0.9
"""Share of the makespan above which a core is said to have no time to spare."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a result says about the run besides what was counted.

    Attributes
    ----------
    config : NSoCConfig
    device : DeviceSpec
    cores : list of CoreProgram
        In the order of the tables.
    exits : list of int
        Indices of the cores whose spikes leave the chip for good, and are recorded.
    times_ps : mapping of str to int
    engine : str
    seed : int
    config_sha256 : str
    record : collection of str
    has_barriers : bool
    passes : list of dict
    """

    config: NSoCConfig
    device: DeviceSpec
    cores: list[CoreProgram]
    exits: list[int]
    times_ps: Mapping[str, int]
    engine: str
    seed: int
    config_sha256: str
    record: Collection[str]
    has_barriers: bool
    passes: list[dict[str, Any]]

    @property
    def is_packet(self) -> bool:
        """Whether the chip runs packets."""
        return self.config.numeric.mode == "packet"


def potentials_of(cores: Sequence[CoreProgram]) -> dict[int, npt.NDArray[np.int16]]:
    """Copies of the potentials: layer -> (F, H, W)."""
    return {
        core.layer: core.record["state"].transpose(2, 0, 1).copy()
        for core in cores
        if core.record.get("state") is not None
    }


def collect(
    run: Finished, items: Items, tables: dict[str, Any], t_end: float | None
) -> EmulationResult:
    """The result of a run; warns of what a user should know."""
    cores = run.cores
    order = sorted(range(len(cores)), key=lambda i: cores[i].layer)
    ids = np.array([core.config.core for core in cores])
    per_core = []
    for i in order:
        record = {"layer": cores[i].layer, "core": cores[i].config.core}
        counts = dict(zip(_emulator.COUNTERS, tables["counters"][i].tolist(), strict=True))
        per_core.append({**record, "name": cores[i].config.name, **counts})
    makespan = int(tables["makespan"])
    window = 0 if t_end is None else round(t_end * 1e6)
    spikes, out = _spikes(run, items, tables["spikes"])
    token_roots = np.flatnonzero(items.kind == TOKEN)
    result = EmulationResult(
        spikes=spikes,
        t_out_ps=out,
        per_core=per_core,
        drops=_renamed(tables["drops"], DROP_DTYPE, _DROP_FIELDS),
        noc=_noc(run, tables),
        makespan_ps=makespan,
        duration_ps=max(makespan + _restoring_ps(run), window),
        utilization=[r["busy_ps"] / makespan if makespan else 0.0 for r in per_core],
        latency=latency_of(tables, items.t_ps, items.kind, TOKEN),
        final_state=potentials_of(cores),
        outputs=_outputs(run, tables, token_roots),
        root_t_ps=items.t_ps,
        root_kind=items.kind,
        input_events=len(items.raw),
        sensor_events=len(items.raw) if run.config.dvs is not None else 0,
        barriers=len(token_roots) * len(run.passes) if run.has_barriers else 0,
        passes=run.passes,
        merge_trace=_renamed(tables["trace"], MERGE_DTYPE, _MERGE_FIELDS),
        links=_links(run, tables["links"]),
        services=_renamed(tables["services"], SERVICE_DTYPE, _SERVICE_FIELDS),
        readout=_readout(run, items, tables["spikes"], t_end),
        device=run.device.name,
        config_sha256=run.config_sha256,
        engine=run.engine,
        seed=run.seed,
        config=run.config,
    )
    for rows, name in ((result.drops, "drops"), (result.merge_trace, "trace")):
        rows["core"] = ids[tables[name]["core"]]
    result.services["core"] = ids[tables["services"]["core"]]
    _warn(run, result)
    return result


_DROP_FIELDS = {"t_ps": "time", "x": "x", "y": "y", "c": "c", "root": "root"}
_MERGE_FIELDS = {"source": "source", "root": "root", "key": "number"}
_SERVICE_FIELDS = {"start_ps": "start", "end_ps": "end", "kind": "kind"}


def _restoring_ps(run: Finished) -> int:
    """Behind the last pass the chip is given the first one again, for the next run."""
    if len(run.passes) == 1 or run.engine == "functional":
        return 0
    writing: int = run.passes[0]["configuration_ps"]
    return run.times_ps["t_io_out"] + writing


def _spikes(run: Finished, items: Items, log: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    if "spikes" not in run.record:
        return np.zeros(0, SPIKE_DTYPE), np.zeros(0, np.int64)
    spikes = np.zeros(len(log), SPIKE_DTYPE)
    spikes["t_ps"], spikes["root"], spikes["n"] = log["time"], log["root"], log["count"]
    for i, core in enumerate(run.cores):
        chosen = log["core"] == i
        if not chosen.any():
            continue
        features, _, width = core.output_fhw
        position, feature = np.divmod(log["neuron"][chosen], features)
        spikes["c"][chosen] = feature
        spikes["y"][chosen], spikes["x"][chosen] = np.divmod(position, width)
        spikes["layer"][chosen] = core.layer
        spikes["core"][chosen] = core.config.core
    out = log["out"].astype(np.int64)
    if run.config.dvs is not None and run.config.dvs.monitor_enable:
        sensor = _sensor_spikes(run, items)
        spikes = np.concatenate([sensor, spikes])
        out = np.concatenate([np.full(len(sensor), -1, np.int64), out])
    # stable: rows of one layer already stand in the order of emission
    order = np.lexsort((spikes["layer"], spikes["t_ps"]))
    return spikes[order], out[order]


def _sensor_spikes(run: Finished, items: Items) -> Array:
    """Events of the sensor layer, before pooling, as layer -1 of core -1."""
    spikes = np.zeros(len(items.raw), SPIKE_DTYPE)
    delay = 0 if run.engine == "functional" else run.times_ps["t_io_in"]
    spikes["t_ps"] = items.raw["t_ps"] + delay
    spikes["layer"] = spikes["core"] = -1
    for name in ("x", "y", "c"):
        spikes[name] = items.raw[name]
    spikes["n"] = 1
    spikes["root"] = np.flatnonzero((items.kind == EVENT) | (items.kind == NOWHERE))
    return spikes


def _outputs(
    run: Finished, tables: dict[str, Any], token_roots: npt.NDArray[np.int64]
) -> dict[int, npt.NDArray[np.int64]]:
    outputs: dict[int, npt.NDArray[np.int64]] = {}
    if not run.is_packet:
        return outputs
    is_read_out = False
    for i in run.exits:
        core = run.cores[i]
        if core.record["rule"] != "potentials":
            log = tables["spikes"][tables["spikes"]["core"] == i]
            outputs[core.layer] = dense_outputs(log, core.output_fhw, token_roots)
        elif not is_read_out:
            outputs[core.layer], is_read_out = tables["potentials"], True
    return outputs


_STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))
"""(x, y) of the directions in which links lead away from a node."""


def _noc(run: Finished, tables: dict[str, Any]) -> dict[str, Any]:
    width = run.device.noc.width
    busy = {}
    for node, direction in zip(*np.nonzero(tables["link_busy"]), strict=True):
        x, y = int(node) % width, int(node) // width
        dx, dy = _STEPS[direction]
        busy[f"{(x, y)}->{(x + dx, y + dy)}"] = int(tables["link_busy"][node, direction])
    return {**tables["noc"], "link_busy_ps": busy}


def _links(run: Finished, rows: Array) -> Array:
    links = np.zeros(len(rows), LINK_DTYPE)
    links["depart_ps"], links["root"] = rows["depart"], rows["root"]
    links["from_node"] = rows["link"] // 4
    steps = np.array([dx + dy * run.device.noc.width for dx, dy in _STEPS])
    links["to_node"] = links["from_node"] + steps[rows["link"] % 4]
    return links


def _readout(
    run: Finished, items: Items, log: Array, t_end: float | None
) -> npt.NDArray[np.int64] | None:
    readout = run.config.readout
    if readout is None or not readout.enable:
        return None
    source = [i for i, core in enumerate(run.cores) if core.config.core == readout.source_core]
    if run.config.slow_clock_hz is None or run.device.readout is None or not source:
        raise ConfigValidationError(
            f"the read-out takes spikes of core {readout.source_core} in cycles of the slow "
            f"clock; give slow_clock_hz, a configured core, and a device with a read-out"
        )
    core = run.cores[source[0]]
    if not core.record["is_monitored"]:
        raise ConfigValidationError(
            f"core {readout.source_core} feeds the read-out, so it must be monitored; add its "
            f"layer to monitor_layers"
        )
    rows = log[log["core"] == source[0]]
    last = int(items.t_ps[-1]) if len(items) else 0
    end = last if t_end is None else round(t_end * 1e6)
    return classes_over_time(
        readout,
        run.device,
        rows["neuron"] % core.output_fhw[0],
        rows["time"],
        run.config.slow_clock_hz,
        end,
    )


def _warn(run: Finished, result: EmulationResult) -> None:
    if len(result.drops):
        result.warnings.append(
            f"{len(result.drops):,} events were dropped at "
            f"{len(np.unique(result.drops['core']))} cores: the spikes differ from those of "
            f"the network. Lower the event rate or raise queue_capacity"
        )
    waited = result.noc["input_wait_ps"]
    if waited:
        result.warnings.append(
            f"the input waited {waited / 1e6:,.3f} us for full queues: events enter later than "
            f"they came. Lower the event rate or raise queue_capacity"
        )
    busiest = []
    if not run.is_packet and run.engine != "functional":
        # overlapping packets keep a chip busy by design; a core that waits for another has time
        busiest = [
            f"{record['name']!r} (core {record['core']}): {working / result.makespan_ps:.0%}"
            for record in result.per_core
            if (working := record["busy_ps"] - record["blocked_ps"])
            and working / result.makespan_ps >= OVERLOAD
        ]
    if busiest:
        result.warnings.append(f"cores without time to spare: {', '.join(busiest)}")
    if result.warnings:
        warnings.warn("; ".join(result.warnings), BandwidthWarning, stacklevel=4)
    text = saturation_text({record["name"]: record["saturated"] for record in result.per_core})
    if text:
        result.warnings.append(text)
        warnings.warn(text, SaturationWarning, stacklevel=4)


def _renamed(rows: Array, dtype: np.dtype[Any], names: Mapping[str, str]) -> Array:
    result = np.zeros(len(rows), dtype)
    for name, source in names.items():
        result[name] = rows[source]
    return result
