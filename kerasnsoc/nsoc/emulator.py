"""The emulated chip: events in; spikes, latency, load and counts out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.config import CoreConfig, NSoCConfig
from kerasnsoc.nsoc.devices import DeviceSpec, QueuePolicy, get_device
from kerasnsoc.nsoc.emulator_collect import Finished, collect, potentials_of
from kerasnsoc.nsoc.emulator_input import (
    EVENT,
    PACKED_DTYPE,
    TOKEN,
    Items,
    event_items,
    noise_events,
    packed,
    packet_items,
)
from kerasnsoc.nsoc.emulator_passes import (
    Packets,
    items_of,
    merged_tables,
    parts_of,
    stored_packets,
)
from kerasnsoc.nsoc.emulator_program import (
    ASSUMED_QUEUE_CAPACITY,
    Part,
    Policies,
    Program,
    build_program,
    times_of,
)
from kerasnsoc.nsoc.emulator_result import MERGE_DTYPE, EmulationResult
from kerasnsoc.nsoc.errors import NSoCError
from kerasnsoc_ext import _emulator

Array = npt.NDArray[Any]

RECORDS = ("spikes", "latency", "load", "links")
MEMORY_LIMIT = 2 << 30
"""Bytes for queues and records of one run, unless the caller says otherwise."""

SIGMA_LIMIT = 2.0
_DRAWS = 4096


class EmulationLimitError(NSoCError, MemoryError):
    """Queues and records of a run would take more memory than allowed."""


@dataclass(slots=True)
class _Pass:
    """The chip during one pass, and its part of the network."""

    part: Part
    program: Program
    chip: _emulator.Chip


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
    queue_policy : {"block", "stall", "drop"}, optional
        ``"block"`` lets queues grow and counts for how long they were too long. ``"stall"`` makes a
        sender wait until the queue has a place: a core keeps its spikes, the input port its events.
        ``"drop"`` discards what arrives at a busy core with a full queue; a core whose congestion
        balancer is enabled does so in any case, with its own capacity. Default: as the device says.
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
        If the device has no times, or a network in several passes is in event mode.
    ValueError
        If an argument is out of range; the message names it.

    Notes
    -----
    Every run begins at time 0 with idle cores, and with the potentials that the run before left;
    `reset` restores the configured ones. If a run fails or is interrupted, the potentials stay as
    they were before it. An emulator is used by one thread at a time; several run side by side.

    As long as nothing is dropped, ``"timing"`` and ``"functional"`` give the same spikes, whatever
    the times: always in packet mode, and in event mode with the policy ``"causal"``. For a network
    of graded layers both equal ``kerasnsoc.runtime.Model.forward`` bit for bit. That holds for
    ``"block"`` and ``"stall"``: cores wait only for cores behind them, so that a stall ends.

    A network that takes several passes runs pass after pass: all packets of a run in the first,
    then, after the time that the configuration takes (``t_config`` per byte), in the second.
    """

    def __init__(
        self,
        config: NSoCConfig | Any,
        *,
        engine: Literal["timing", "functional"] = "timing",
        merge_policy: Literal["causal", "arrival"] = "causal",
        queue_policy: QueuePolicy | None = None,
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
        config = _configuration(config)
        self.config = config
        self.device = get_device(self.config.device.name if device is None else device)
        _one_of("engine", engine, ("timing", "functional"))
        _one_of("merge_policy", merge_policy, ("causal", "arrival"))
        queue_policy = self.device.queue_policy if queue_policy is None else queue_policy
        _one_of("queue_policy", queue_policy, ("block", "stall", "drop"))
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
        self._times = times
        self._passes = [self._on_chip(part, policies, parallel_cores) for part in parts_of(config)]
        self._cores = [core for entry in self._passes for core in entry.program.cores]
        leaving = self._passes[0].part.exits
        self._exits = [i for i, c in enumerate(self._cores) if c.config.core in leaving]
        self._arrays = [
            array
            for core in self._cores
            for name in ("state", "sums", "last_fired")
            if (array := core.record.get(name)) is not None
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
        return dict(self._times)

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
            If an event was dropped, the input had to wait, or, in event mode, a core was busy for
            90 % of the makespan.
        SaturationWarning
            If a potential left its 16 bits and was cut off.
        """
        items = self._items(events, t_end, packet_ends)
        before = self._snapshot()
        try:
            tables, passes = self._run(items)
        except _emulator.OverBudgetError as error:
            self._restore(before)
            raise EmulationLimitError(
                f"the run needs more than {self._memory_limit:,} bytes for queues and records; cut "
                f"the recording, monitor fewer layers, record less, or raise memory_limit"
            ) from error
        except BaseException:
            self._restore(before)
            raise
        finished = Finished(
            self.config,
            self.device,
            self._cores,
            self._exits,
            self._times,
            self.engine,
            self.seed,
            self._config_sha256,
            self._record,
            self._barriers,
            passes,
        )
        return collect(finished, items, tables, t_end)

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

    def _on_chip(
        self, part: Part, policies: Policies, parallel_cores: Collection[int] | None
    ) -> _Pass:
        program = build_program(part, self.device, policies, self._times)
        self._widen(program, parallel_cores)
        records = [core.record for core in program.cores]
        chip = _emulator.Chip(records, program.entries, program.options, program.ports)
        return _Pass(part, program, chip)

    def _widen(self, program: Program, parallel_cores: Collection[int] | None) -> None:
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
        for core in program.cores:
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

    def _snapshot(self) -> _Snapshot:
        chips = [(entry.chip.decimators, entry.chip.packet) for entry in self._passes]
        return [array.copy() for array in self._arrays], chips

    def _restore(self, snapshot: _Snapshot) -> None:
        arrays, chips = snapshot
        for entry, (decimators, packet) in zip(self._passes, chips, strict=True):
            entry.chip.decimators, entry.chip.packet = decimators, packet
        for array, kept in zip(self._arrays, arrays, strict=True):
            array[...] = kept

    # --- the run ----------------------------------------------------------------------------------

    def _draw(self) -> npt.NDArray[np.float64]:
        """Factors of the next services, one row each."""
        rows = max(_DRAWS, len(self._cores))
        sigmas = np.array([self._sigmas[name] for name in _emulator.TIMES if name in self._sigmas])
        factors: npt.NDArray[np.float64] = np.exp(
            self._rng.standard_normal((rows, len(sigmas))) * sigmas
        )
        return factors

    def _run(self, items: Items) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Tables of the run, and what is to say about each pass."""
        tables, roots = [], []
        passes: list[dict[str, Any]] = []
        packets: dict[int, Packets] = {}
        begin = 0
        for entry in self._passes:
            entering, root, kept = items, np.arange(len(items)), 0
            if passes:
                if self.engine == "timing":
                    begin = passes[-1]["end_ps"] + self._times["t_io_out"]
                    begin += self._writing_ps(entry.part)
                entering, root = items_of(entry.part, items, packets, begin)
                kept = sum(array.nbytes for arrays in packets.values() for array in arrays)
            if kept >= self._memory_limit:
                raise _emulator.OverBudgetError("too many events wait for the next pass")
            done = self._run_pass(entry, entering, self._memory_limit - kept)
            sent = self._store(entry, entering, done, packets)
            tables.append(done)
            roots.append(root)
            passes.append(
                {
                    "layers": entry.part.layers,
                    "begin_ps": begin,
                    "end_ps": max(begin, int(done["makespan"])),
                    "configuration_bytes": entry.part.configuration_bytes,
                    "configuration_ps": self._writing_ps(entry.part),
                    "events_in": int((entering.kind == EVENT).sum()),
                    "events_stored": sent,
                }
            )
        if len(passes) == 1:
            return tables[0], passes
        stored = {core for entry in self._passes for core in entry.part.stored}
        recorded = {record.core for record in self.config.cores if record.monitor_enable}
        hidden = [
            i
            for i, core in enumerate(self._cores)
            if core.config.core in stored
            and (core.config.core not in recorded or core.record["rule"] == "potentials")
        ]
        sizes = [len(entry.program.cores) for entry in self._passes]
        return merged_tables(tables, sizes, roots, hidden, self._exits), passes

    @staticmethod
    def _store(
        entry: _Pass, items: Items, tables: dict[str, Any], packets: dict[int, Packets]
    ) -> int:
        """Keep what later passes take; gives the number of events."""
        ends = np.flatnonzero(items.kind == TOKEN)
        count = 0
        for i, core in enumerate(entry.program.cores):
            if core.config.core in entry.part.stored:
                kept = stored_packets(tables["spikes"], i, core, ends)
                packets[core.config.core] = kept
                count += sum(map(len, kept))
        return count

    def _writing_ps(self, part: Part) -> int:
        return part.configuration_bytes * self._times["t_config"]

    def _run_pass(self, entry: _Pass, items: Items, budget: int) -> dict[str, Any]:
        engine: str = self.engine
        trace = None
        if self._merge_trace is not None:
            engine, trace = "replay", self._compiled_trace(self._merge_trace)
        wanted = {"load": "services", "links": "links"}
        records = {wanted[name] for name in self._record & wanted.keys()}
        if self.merge_policy == "arrival":
            records.add("trace")
        return entry.chip.run(
            engine,
            items.t_ps,
            items.x,
            items.y,
            items.c,
            items.payload,
            items.kind,
            items.port,
            budget=budget,
            records=records,
            trace=trace,
            varied=tuple(self._sigmas),
            draw=self._draw,
        )

    def _compiled_trace(self, trace: Array) -> Array:
        if trace.dtype.names is None or not set(MERGE_DTYPE.names or ()) <= set(trace.dtype.names):
            raise ValueError("merge_trace must have the fields core, source, root and key")
        index = {core.config.core: i for i, core in enumerate(self._cores)}
        unknown = set(np.unique(trace["core"]).tolist()) - index.keys()
        if unknown:
            raise ValueError(f"merge_trace names cores {sorted(unknown)} that are not configured")
        rows = np.zeros(len(trace), _emulator.TABLES["trace"])
        rows["core"] = [index[core] for core in trace["core"].tolist()]
        rows["source"], rows["root"], rows["number"] = trace["source"], trace["root"], trace["key"]
        return rows

    def _states(self) -> dict[int, npt.NDArray[np.int16]]:
        return potentials_of(self._cores)


_ALL_TIMES = (
    *_emulator.TIMES,
    "t_io_in",
    "t_io_out",
    "t_router",
    "t_hop_x",
    "t_hop_y",
    "t_link",
    "t_sync",
    "t_config",
)


_Snapshot: TypeAlias = tuple[list[Array], list[tuple[list[int], int]]]


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
