"""The emulated chip: events in; spikes, latency, load and counts out."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.config import CoreConfig, NSoCConfig
from kerasnsoc.nsoc.devices import DeviceSpec, get_device
from kerasnsoc.nsoc.emulator_input import (
    EVENT,
    NOWHERE,
    PACKED_DTYPE,
    TOKEN,
    Items,
    event_items,
    noise_events,
    packed,
    packet_items,
)
from kerasnsoc.nsoc.emulator_program import (
    ASSUMED_QUEUE_CAPACITY,
    Policies,
    build_program,
    times_of,
)
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
from kerasnsoc.nsoc.errors import ConfigValidationError, NSoCError
from kerasnsoc_ext import _emulator

Array = npt.NDArray[Any]

RECORDS = ("spikes", "latency", "load", "links")
MEMORY_LIMIT = 2 << 30
"""Bytes for queues and records of one run, unless the caller says otherwise."""

OVERLOAD = 0.9
SIGMA_LIMIT = 2.0
_DRAWS = 4096


class BandwidthWarning(UserWarning):
    """Events were dropped, or a core was busy nearly all the time."""


class EmulationLimitError(NSoCError, MemoryError):
    """Queues and records of a run would take more memory than allowed."""


class NSoCEmulator:
    """A chip with one configuration, run event by event in integer picoseconds.

    Parameters
    ----------
    config : NSoCConfig
        Or an object with an attribute ``config``, such as a mapped `NSoCNetwork`.
    engine : {"timing", "functional"}
        ``"functional"`` finishes each event with all it causes before the next, without time.
    merge_policy : {"causal", "arrival"}
        How cores with several sources order events (event mode). ``"causal"`` gives the order of
        the functional engine, whatever the times; ``"arrival"`` takes events as they come.
    queue_policy : {"block", "drop"}
        ``"drop"`` discards what arrives at a busy core with a full queue. A core whose congestion
        balancer is enabled does so in any case, with its own capacity.
    queue_capacity : int, optional
        Events that may wait; 0 leaves no waiting room. Default 16 (an assumption).
    jitter : mapping of str to float, optional
        Time (``t_decode, t_syn, t_emit, t_leak, t_upd, t_upd_active``) -> sigma: every service
        multiplies it by a lognormal factor with median 1.
    seed : int
        Of jitter and noise: PCG64.
    record : collection of {"spikes", "latency", "load", "links"}
        ``"load"`` keeps every service, ``"links"`` every packet on every link of a mesh.
    timing : str or mapping of str to float, optional
        A profile of the device, or times in picoseconds in place of its own.
    emission : {"streaming", "end"}
        Whether spikes leave as they arise, or all at the end of the service.
    sync : {None, "barrier"}
        Packet mode with ``layer_delay=1``: all cores fire together, ``t_sync`` after the last is
        ready.
    touched_only : bool
        Packet mode: only neurons with input or bias are visited.
    refractory_packets : int
        A neuron that fired is skipped for so many packets: no input, no bias, no decay.
    decay : int, 0 to 4096
        Packet mode: ``V -= V * decay / 4096``, divided towards 0, before integration.
    merge_trace : ndarray of `MERGE_DTYPE`, optional
        ``engine="functional"`` only: merge as this trace of a timing run says.
    parallel_cores : collection of int, optional
        Cores of a star that have as many lanes as core 0.
    dvs_noise_hz : float
        Events per second that each pixel of the sensor sends by itself.
    memory_limit : int
        Bytes for queues and records of one run.
    device : DeviceSpec or str, optional
        In place of the one that the configuration names.

    Raises
    ------
    ConfigValidationError
        If the configuration is wired in a way that cannot run.
    NSoCError
        If the device has no times, or the network takes several passes over the chip.
    ValueError
        If an argument is out of range; the message names it.

    Notes
    -----
    Every run begins at time 0 with idle cores, and with the potentials that the run before left;
    `reset` restores the configured ones. If a run fails or is interrupted, the potentials stay as
    they were before it. An emulator is used by one thread at a time; several run side by side.

    As long as nothing is dropped, ``"timing"`` and ``"functional"`` give the same spikes, whatever
    the times: always in packet mode, and in event mode with the policy ``"causal"``. For a network
    of graded layers both equal ``kerasnsoc.runtime.Model.forward`` bit for bit.
    """

    def __init__(
        self,
        config: NSoCConfig | Any,
        *,
        engine: Literal["timing", "functional"] = "timing",
        merge_policy: Literal["causal", "arrival"] = "causal",
        queue_policy: Literal["block", "drop"] = "block",
        queue_capacity: int | None = None,
        jitter: Mapping[str, float] | None = None,
        seed: int = 0,
        record: Collection[str] = ("spikes", "latency"),
        timing: str | Mapping[str, float] | None = None,
        emission: Literal["streaming", "end"] = "streaming",
        sync: Literal["barrier"] | None = None,
        touched_only: bool = False,
        refractory_packets: int = 0,
        decay: int = 0,
        merge_trace: Array | None = None,
        parallel_cores: Collection[int] | None = None,
        dvs_noise_hz: float = 0.0,
        memory_limit: int = MEMORY_LIMIT,
        device: DeviceSpec | str | None = None,
    ) -> None:
        self.config = _configuration(config)
        self.device = get_device(self.config.device.name if device is None else device)
        _one_of("engine", engine, ("timing", "functional"))
        _one_of("merge_policy", merge_policy, ("causal", "arrival"))
        _one_of("queue_policy", queue_policy, ("block", "drop"))
        _one_of("emission", emission, ("streaming", "end"))
        _one_of("sync", sync, (None, "barrier"))
        unknown = sorted(set(record) - set(RECORDS))
        if unknown or isinstance(record, str):
            raise ValueError(f"record is {record!r}, but must be a collection of {RECORDS}")
        capacity = ASSUMED_QUEUE_CAPACITY if queue_capacity is None else queue_capacity
        _in_range("queue_capacity", capacity, 0, 2**62)
        _in_range("refractory_packets", refractory_packets, 0, 2**30)
        _in_range("decay", decay, 0, 4096)
        _in_range("memory_limit", memory_limit, 1, 2**62)
        self.engine, self.seed, self.merge_policy = engine, int(seed), merge_policy
        self._record = frozenset(record)
        self._memory_limit = memory_limit
        self._sigmas = _checked_jitter(jitter)
        if not 0 <= dvs_noise_hz < 1e9 or (dvs_noise_hz and self.config.dvs is None):
            raise ValueError(
                f"dvs_noise_hz is {dvs_noise_hz!r}, but must be 0 to 1e9, and above 0 only for a "
                f"configuration with a sensor"
            )
        self._noise_hz = dvs_noise_hz
        if merge_trace is not None and (engine != "functional" or self._is_packet):
            raise ValueError("merge_trace needs engine='functional' and a chip in event mode")
        self._merge_trace = merge_trace
        if engine == "functional" and self.device.timing is None:
            times = dict.fromkeys(_ALL_TIMES, 0)
        else:
            times = times_of(self.config, self.device, timing)
        self._check_modes(sync, touched_only, refractory_packets, decay)
        policies = Policies(
            merge_policy, queue_policy, capacity, emission, sync, touched_only, refractory_packets,
            decay,
        )  # fmt: skip
        self._program = build_program(self.config, self.device, policies, times)
        self._widen(parallel_cores)
        records = [core.record for core in self._program.cores]
        self._chip = _emulator.Chip(records, self._program.entries, self._program.options)
        self._arrays = [
            array
            for entry in records
            for array in (entry.get("state"), entry.get("sums"), entry.get("last_fired"))
            if array is not None
        ]
        self._initial = self._snapshot()
        self._rng = np.random.Generator(np.random.PCG64(self.seed))
        self._barriers = sync == "barrier"
        self._config_sha256 = self.config.sha256()

    @property
    def _is_packet(self) -> bool:
        return self.config.numeric.mode == "packet"

    @property
    def times_ps(self) -> dict[str, int]:
        """Every time in use, in whole picoseconds."""
        return dict(self._program.times_ps)

    def reset(self) -> None:
        """Configured potentials, empty decimators, no packets seen, the seed's random numbers."""
        self._restore(self._initial)
        self._rng = np.random.Generator(np.random.PCG64(self.seed))

    def state(self, layer: int) -> npt.NDArray[np.int16]:
        """Potentials of one layer, shape (F, H, W); a copy.

        Raises
        ------
        KeyError
            If the chip has no such layer, or it has no potentials that last (graded neurons).
        """
        states = self._states()
        if layer not in states:
            raise KeyError(
                f"layer {layer!r} has no potentials; layers that do: {sorted(states) or 'none'}"
            )
        return states[layer]

    def step(self, event: Any) -> Array:
        """Run one event to its end.

        Parameters
        ----------
        event : structured scalar, or tuple (t, x, y, c)
            `t` in microseconds.

        Returns
        -------
        spikes : ndarray of `SPIKE_DTYPE`
        """
        if self._is_packet:
            raise NSoCError("a chip in packet mode runs whole packets; use run")
        if isinstance(event, tuple):
            dtype = [("t", "f8"), ("x", "i8"), ("y", "i8"), ("c", "i8")]
            events: Array = np.array([event], dtype)
        else:
            events = np.atleast_1d(np.asarray(event))
        return self.run(events).spikes

    def run(
        self,
        events: npt.ArrayLike | Sequence[npt.ArrayLike],
        t_end: float | None = None,
        packet_ends: npt.ArrayLike | None = None,
    ) -> EmulationResult:
        """Let events enter and work until nothing is left to do.

        Parameters
        ----------
        events : structured ndarray, or sequence of them
            Fields t (microseconds) or t_ps (picoseconds), x, y, c and, where wanted, n (so many
            events, or the payload of a graded one). Event mode takes one array, in any order.
            Packet mode takes one array per packet, or one with `packet_ends`.
        t_end : float, optional
            Event mode: ticks of the slow clock continue up to here, in microseconds. It also is the
            shortest duration for static energy.
        packet_ends : array_like, optional
            Packet k holds the events before ``packet_ends[k]``, in the unit of the events' times.

        Returns
        -------
        EmulationResult

        Raises
        ------
        TypeError, ValueError
            If the events are malformed, out of range or in the wrong form for the mode.
        EmulationLimitError
            If queues and records would outgrow `memory_limit`.

        Warns
        -----
        BandwidthWarning
            If an event was dropped, or, in event mode, a core was busy for 90 % of the makespan.
        """
        items = self._items(events, t_end, packet_ends)
        before = self._snapshot()
        try:
            tables = self._run(items)
        except _emulator.OverBudgetError as error:
            self._restore(before)
            raise EmulationLimitError(
                f"the run needs more than {self._memory_limit:,} bytes for queues and records; cut "
                f"the recording, monitor fewer layers, record less, or raise memory_limit"
            ) from error
        except BaseException:
            self._restore(before)
            raise
        return self._result(items, tables, t_end)

    # --- before a run -----------------------------------------------------------------------------

    def _check_modes(
        self, sync: str | None, touched_only: bool, refractory: int, decay: int
    ) -> None:
        if self._is_packet:
            if sync == "barrier" and not self.config.numeric.layer_delay:
                raise ValueError(
                    "sync='barrier' needs layer_delay=1: without a delay a core waits for what its "
                    "sources fire in the same packet"
                )
            return
        for name, value in (
            ("sync", sync),
            ("touched_only", touched_only),
            ("refractory_packets", refractory),
            ("decay", decay),
        ):
            if value:
                raise ValueError(f"{name} is {value!r}, but event mode has no packets")

    def _widen(self, parallel_cores: Collection[int] | None) -> None:
        if parallel_cores is None:
            return
        lanes = {core.id: core.lanes for core in self.device.cores}
        unknown = sorted(set(parallel_cores) - set(lanes))
        if unknown or self.device.is_mesh:
            raise ValueError(
                f"parallel_cores is {parallel_cores!r}, but {self.device.name!r} "
                + ("is a mesh" if self.device.is_mesh else f"has no core {unknown}")
            )
        widest = max(lanes.values())
        for core in self._program.cores:
            core.record["lanes"] = widest if core.config.core in set(parallel_cores) else 1

    def _items(self, events: Any, t_end: float | None, packet_ends: npt.ArrayLike | None) -> Items:
        if self._is_packet:
            return packet_items(self.config, events, packet_ends)
        if packet_ends is not None:
            raise ValueError("packet_ends is given, but the configuration is in event mode")
        if not self._noise_hz:
            return event_items(self.config, events, t_end)
        given = packed(events)
        last = int(given["t_ps"].max()) if len(given) else 0
        end = last if t_end is None else round(t_end * 1e6)
        assert self.config.dvs is not None
        noise = noise_events(self.config.dvs, self._noise_hz, max(end, last), self._rng)
        return event_items(self.config, np.concatenate([given, noise]).astype(PACKED_DTYPE), t_end)

    def _snapshot(self) -> tuple[list[Array], list[int], int]:
        return [array.copy() for array in self._arrays], self._chip.decimators, self._chip.packet

    def _restore(self, snapshot: tuple[list[Array], list[int], int]) -> None:
        arrays, self._chip.decimators, self._chip.packet = snapshot
        for array, kept in zip(self._arrays, arrays, strict=True):
            array[...] = kept

    # --- the run ----------------------------------------------------------------------------------

    def _draw(self) -> npt.NDArray[np.float64]:
        """Factors of the next services, one row each."""
        rows = max(_DRAWS, len(self._program.cores))
        sigmas = np.array([self._sigmas[name] for name in _emulator.TIMES if name in self._sigmas])
        factors: npt.NDArray[np.float64] = np.exp(
            self._rng.standard_normal((rows, len(sigmas))) * sigmas
        )
        return factors

    def _run(self, items: Items) -> dict[str, Any]:
        engine: str = self.engine
        trace = None
        if self._merge_trace is not None:
            engine, trace = "replay", self._compiled_trace(self._merge_trace)
        wanted = {"load": "services", "links": "links"}
        records = {wanted[name] for name in self._record & wanted.keys()}
        if self.merge_policy == "arrival":
            records.add("trace")
        return self._chip.run(
            engine,
            items.t_ps,
            items.x,
            items.y,
            items.c,
            items.payload,
            items.kind,
            budget=self._memory_limit,
            records=records,
            trace=trace,
            varied=tuple(self._sigmas),
            draw=self._draw,
        )

    def _compiled_trace(self, trace: Array) -> Array:
        if trace.dtype.names is None or not set(MERGE_DTYPE.names or ()) <= set(trace.dtype.names):
            raise ValueError("merge_trace must have the fields core, source, root and key")
        index = {core.config.core: i for i, core in enumerate(self._program.cores)}
        unknown = set(np.unique(trace["core"]).tolist()) - index.keys()
        if unknown:
            raise ValueError(f"merge_trace names cores {sorted(unknown)} that are not configured")
        rows = np.zeros(len(trace), _emulator.TABLES["trace"])
        rows["core"] = [index[core] for core in trace["core"].tolist()]
        rows["source"], rows["root"], rows["number"] = trace["source"], trace["root"], trace["key"]
        return rows

    # --- after the run ----------------------------------------------------------------------------

    def _states(self) -> dict[int, npt.NDArray[np.int16]]:
        return {
            core.layer: np.ascontiguousarray(core.record["state"].transpose(2, 0, 1))
            for core in self._program.cores
            if core.record.get("state") is not None
        }

    def _result(self, items: Items, tables: dict[str, Any], t_end: float | None) -> EmulationResult:
        cores = self._program.cores
        order = sorted(range(len(cores)), key=lambda i: cores[i].layer)
        ids = np.array([core.config.core for core in cores])
        per_core = []
        for i in order:
            record = {"layer": cores[i].layer, "core": cores[i].config.core}
            counts = dict(zip(_emulator.COUNTERS, tables["counters"][i].tolist(), strict=True))
            per_core.append({**record, "name": cores[i].config.name, **counts})
        makespan = int(tables["makespan"])
        utilization = [r["busy_ps"] / makespan if makespan else 0.0 for r in per_core]
        window = 0 if t_end is None else round(t_end * 1e6)
        spikes, out = self._spikes(items, tables["spikes"])
        drops = np.zeros(len(tables["drops"]), DROP_DTYPE)
        for name, source in (
            ("t_ps", "time"),
            ("x", "x"),
            ("y", "y"),
            ("c", "c"),
            ("root", "root"),
        ):
            drops[name] = tables["drops"][source]
        drops["core"] = ids[tables["drops"]["core"]]
        token_roots = np.flatnonzero(items.kind == TOKEN)
        result = EmulationResult(
            spikes=spikes,
            t_out_ps=out,
            per_core=per_core,
            drops=drops,
            noc=self._noc(tables),
            makespan_ps=makespan,
            duration_ps=max(makespan, window),
            utilization=utilization,
            latency=latency_of(tables, items.t_ps, items.kind, TOKEN),
            final_state=self._states(),
            outputs=self._outputs(tables, token_roots),
            root_t_ps=items.t_ps,
            root_kind=items.kind,
            input_events=len(items.raw),
            sensor_events=len(items.raw) if self.config.dvs is not None else 0,
            barriers=len(token_roots) if self._barriers else 0,
            merge_trace=_renamed(
                tables["trace"], MERGE_DTYPE, {"source": "source", "root": "root", "key": "number"}
            ),
            links=self._links(tables["links"]),
            services=_renamed(
                tables["services"],
                SERVICE_DTYPE,
                {"start_ps": "start", "end_ps": "end", "kind": "kind"},
            ),
            readout=self._readout(items, tables["spikes"], t_end),
            device=self.device.name,
            config_sha256=self._config_sha256,
            engine=self.engine,
            seed=self.seed,
            config=self.config,
        )
        result.merge_trace["core"] = ids[tables["trace"]["core"]]
        result.services["core"] = ids[tables["services"]["core"]]
        self._warn(result)
        return result

    def _spikes(self, items: Items, log: Array) -> tuple[Array, npt.NDArray[np.int64]]:
        if "spikes" not in self._record:
            return np.zeros(0, SPIKE_DTYPE), np.zeros(0, np.int64)
        cores = self._program.cores
        spikes = np.zeros(len(log), SPIKE_DTYPE)
        spikes["t_ps"], spikes["root"], spikes["n"] = log["time"], log["root"], log["count"]
        for i, core in enumerate(cores):
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
        if self.config.dvs is not None and self.config.dvs.monitor_enable:
            sensor = self._sensor_spikes(items)
            spikes = np.concatenate([sensor, spikes])
            out = np.concatenate([np.full(len(sensor), -1, np.int64), out])
        # stable: rows of one layer already stand in the order of emission
        order = np.lexsort((spikes["layer"], spikes["t_ps"]))
        return spikes[order], out[order]

    def _sensor_spikes(self, items: Items) -> Array:
        """Events of the sensor layer, before pooling, as layer -1 of core -1."""
        spikes = np.zeros(len(items.raw), SPIKE_DTYPE)
        delay = 0 if self.engine == "functional" else self._program.times_ps["t_io_in"]
        spikes["t_ps"] = items.raw["t_ps"] + delay
        spikes["layer"] = spikes["core"] = -1
        for name in ("x", "y", "c"):
            spikes[name] = items.raw[name]
        spikes["n"] = 1
        spikes["root"] = np.flatnonzero((items.kind == EVENT) | (items.kind == NOWHERE))
        return spikes

    def _outputs(
        self, tables: dict[str, Any], token_roots: npt.NDArray[np.int64]
    ) -> dict[int, npt.NDArray[np.int64]]:
        outputs: dict[int, npt.NDArray[np.int64]] = {}
        if not self._is_packet:
            return outputs
        for i, core in enumerate(self._program.cores):
            if not (core.record["slots"][:, 0] < 0).any():
                continue
            if core.record["rule"] == "potentials":
                if i == self._program.options["readout_core"]:
                    outputs[core.layer] = tables["potentials"]
            else:
                log = tables["spikes"][tables["spikes"]["core"] == i]
                outputs[core.layer] = dense_outputs(log, core.output_fhw, token_roots)
        return outputs

    def _noc(self, tables: dict[str, Any]) -> dict[str, Any]:
        width = self._program.options["mesh_x"]
        busy = {}
        for node, direction in zip(*np.nonzero(tables["link_busy"]), strict=True):
            target = _neighbor(int(node), int(direction), width)
            name = f"{divmod(int(node), width)[::-1]}->{divmod(target, width)[::-1]}"
            busy[name] = int(tables["link_busy"][node, direction])
        return {**tables["noc"], "link_busy_ps": busy}

    def _links(self, rows: Array) -> Array:
        links = np.zeros(len(rows), LINK_DTYPE)
        links["depart_ps"], links["root"] = rows["depart"], rows["root"]
        links["from_node"] = rows["link"] // 4
        width = self._program.options["mesh_x"]
        links["to_node"] = links["from_node"] + np.array([1, -1, width, -width])[rows["link"] % 4]
        return links

    def _readout(
        self, items: Items, log: Array, t_end: float | None
    ) -> npt.NDArray[np.int64] | None:
        readout = self.config.readout
        if readout is None or not readout.enable:
            return None
        source = [
            i for i, core in enumerate(self._program.cores)
            if core.config.core == readout.source_core
        ]  # fmt: skip
        if self.config.slow_clock_hz is None or self.device.readout is None or not source:
            raise ConfigValidationError(
                f"the read-out takes spikes of core {readout.source_core} in cycles of the slow "
                f"clock; give slow_clock_hz, a configured core, and a device with a read-out"
            )
        if not self._program.cores[source[0]].record["is_monitored"]:
            raise ConfigValidationError(
                f"core {readout.source_core} feeds the read-out, so it must be monitored; add its "
                f"layer to monitor_layers"
            )
        rows = log[log["core"] == source[0]]
        features = self._program.cores[source[0]].output_fhw[0]
        last = int(items.t_ps[-1]) if len(items) else 0
        end = last if t_end is None else round(t_end * 1e6)
        return classes_over_time(
            readout,
            self.device,
            rows["neuron"] % features,
            rows["time"],
            self.config.slow_clock_hz,
            end,
        )

    def _warn(self, result: EmulationResult) -> None:
        if len(result.drops):
            result.warnings.append(
                f"{len(result.drops):,} events were dropped at "
                f"{len(np.unique(result.drops['core']))} cores: the spikes differ from those of "
                f"the network. Lower the event rate or raise queue_capacity"
            )
        if self._is_packet or self.engine == "functional":
            busiest = []  # overlapping packets keep a chip busy by design
        else:
            busiest = [
                f"{record['name']!r} (core {record['core']}): {load:.0%}"
                for record, load in zip(result.per_core, result.utilization, strict=True)
                if load >= OVERLOAD
            ]
        if busiest:
            result.warnings.append(f"cores without time to spare: {', '.join(busiest)}")
        if result.warnings:
            warnings.warn("; ".join(result.warnings), BandwidthWarning, stacklevel=4)


_ALL_TIMES = (
    *_emulator.TIMES,
    "t_io_in",
    "t_io_out",
    "t_router",
    "t_hop_x",
    "t_hop_y",
    "t_link",
    "t_sync",
)


def emulate(
    network: Any,
    events: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    t_end: float | None = None,
    packet_ends: npt.ArrayLike | None = None,
    **options: Any,
) -> EmulationResult:
    """Run events through a mapped network or a configuration, from its configured potentials.

    Parameters
    ----------
    network : NSoCConfig, or object with an attribute ``config``
    events, t_end, packet_ends
        As of `NSoCEmulator.run`.
    **options
        As of `NSoCEmulator`.

    Returns
    -------
    EmulationResult
    """
    return NSoCEmulator(network, **options).run(events, t_end, packet_ends)


def _configuration(config: Any) -> NSoCConfig:
    found = config if isinstance(config, NSoCConfig) else getattr(config, "config", None)
    if not isinstance(found, NSoCConfig):
        raise TypeError(
            f"{config!r} is no configuration of a chip; give an NSoCConfig, or a network after "
            f"make_config or to(device)"
        )
    for core in found.cores:
        if isinstance(core, CoreConfig) and core.weights.dtype.kind != "i":
            raise NSoCError(
                f"{core.name!r} has weights of {core.weights.dtype}; the emulator runs integers"
            )
    return found


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, but must be one of {allowed}")


def _in_range(name: str, value: int, low: int, high: int) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or not low <= value <= high
    ):
        raise ValueError(f"{name} is {value!r}, but must be a whole number, {low} to {high:,}")


def _checked_jitter(jitter: Mapping[str, float] | None) -> dict[str, float]:
    sigmas = dict(jitter or {})
    for name, sigma in sigmas.items():
        if name not in _emulator.TIMES:
            raise ValueError(f"jitter names {name!r}, but may vary {', '.join(_emulator.TIMES)}")
        if not 0 <= sigma <= SIGMA_LIMIT:
            raise ValueError(f"jitter of {name} is {sigma!r}, but must be 0 to {SIGMA_LIMIT}")
    return {name: float(sigma) for name, sigma in sigmas.items() if sigma}


def _neighbor(node: int, direction: int, width: int) -> int:
    return node + (1, -1, width, -width)[direction]


def _renamed(rows: Array, dtype: np.dtype[Any], names: Mapping[str, str]) -> Array:
    result = np.zeros(len(rows), dtype)
    for name, source in names.items():
        result[name] = rows[source]
    return result
