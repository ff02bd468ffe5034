"""What a run of the emulator gives: spikes, counts per core, traffic, latency, load."""

from __future__ import annotations

import base64
import importlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_JSON_ENTRIES = 100_000

SPIKE_DTYPE = np.dtype(
    [
        ("t_ps", "<i8"),
        ("layer", "<i2"),
        ("core", "<i2"),
        ("x", "<u2"),
        ("y", "<u2"),
        ("c", "<u2"),
        ("n", "<u2"),
        ("root", "<i8"),
    ]
)
"""One spike of a monitored layer; `root` is the item that caused it, `n` the payload."""

DROP_DTYPE = np.dtype(
    [("t_ps", "i8"), ("core", "i2"), ("x", "u2"), ("y", "u2"), ("c", "u2"), ("root", "i8")]
)
MERGE_DTYPE = np.dtype([("core", "i4"), ("source", "i4"), ("root", "i8"), ("key", "i8")])
"""`source` is the number of the core's incoming edge, -1 a tick; `key` counts the edge's events."""

LINK_DTYPE = np.dtype([("depart_ps", "i8"), ("from_node", "i4"), ("to_node", "i4"), ("root", "i8")])
SERVICE_DTYPE = np.dtype([("core", "i2"), ("start_ps", "i8"), ("end_ps", "i8"), ("kind", "u1")])
"""`kind` is 0 for an event, 1 for a leak sweep, 2 for the end of a packet."""

HISTOGRAM_EDGES_PS = np.array([round(10 ** (5 + k / 10)) for k in range(71)], np.int64)
"""0.1 us to 1 s, ten bins per decade."""


def nearest_rank(values: npt.ArrayLike, percent: float) -> int:
    """The smallest value that at least `percent` percent of the values do not exceed.

    Raises
    ------
    ValueError
        If there are no values, or `percent` is not 0 to 100.
    """
    ordered = np.sort(np.asarray(values))
    if not len(ordered) or not 0 <= percent <= 100:
        raise ValueError(f"{len(ordered)} values have no percentile {percent!r} (0 to 100)")
    return int(ordered[max(0, math.ceil(percent * len(ordered) / 100) - 1)])


@dataclass(frozen=True, slots=True, eq=False)
class Latency:
    """Times between a cause and its effects outside of the chip, in picoseconds.

    Attributes
    ----------
    spike_ps : ndarray of int64
        Per spike that left the chip: from the item that caused it to its way out of the pads.
    first_roots, first_output_ps : ndarray of int64
        Items with an output, and how long the first one took.
    packet_ps : ndarray of int64
        Packet mode: from the start of each packet to the last token that left the chip.
    """

    spike_ps: npt.NDArray[np.int64]
    first_roots: npt.NDArray[np.int64]
    first_output_ps: npt.NDArray[np.int64]
    packet_ps: npt.NDArray[np.int64]

    def percentile(self, percent: float, of: str = "spike_ps") -> int:
        """Nearest-rank percentile of one of the arrays; ValueError if it is empty."""
        return nearest_rank(getattr(self, of), percent)

    def histogram(self, of: str = "spike_ps") -> tuple[npt.NDArray[np.int64], int, int]:
        """Counts between `HISTOGRAM_EDGES_PS`, and how many lie below and above."""
        values = getattr(self, of)
        counts, _ = np.histogram(values, HISTOGRAM_EDGES_PS)
        below = int((values < HISTOGRAM_EDGES_PS[0]).sum())
        return counts.astype(np.int64), below, len(values) - below - int(counts.sum())

    def summary(self) -> dict[str, Any]:
        """Number, least, median, 95 %, 99 % and largest of each array that is not empty."""
        result = {}
        for name in ("spike_ps", "first_output_ps", "packet_ps"):
            values = getattr(self, name)
            if len(values):
                ranks = {"min": 0, "p50": 50, "p95": 95, "p99": 99, "max": 100}
                result[name] = {
                    "count": len(values),
                    **{key: nearest_rank(values, percent) for key, percent in ranks.items()},
                }
        return result


@dataclass(slots=True, eq=False)
class EmulationResult:
    """One run of an emulated chip.

    Attributes
    ----------
    spikes : ndarray of `SPIKE_DTYPE`
        Of the monitored layers, before any pooling; sorted by time, layer, order of emission.
        With ``engine="functional"`` the time is that of the item that caused it.
    t_out_ps : ndarray of int64
        When each of `spikes` left the chip; -1 where it stayed.
    per_core : list of dict
        In model order. Besides `layer`, `core` and `name`: events_in (with dropped ones),
        processed, synops, leak_updates, neuron_updates, neurons_fired, spikes_out, decimated,
        pool_cropped, busy_ps, wait_ps, hold_ps, stall_ps (its queue was longer than allowed),
        queue_max, drops, blocked_ps (its spikes waited for a full queue; part of busy_ps),
        saturated (updates that left 16 bits and were cut off).
    drops : ndarray of `DROP_DTYPE`
    noc : dict
        packets, hops_star, hops_x, hops_y, input_wait_ps (events waited outside for a full
        queue), and link_busy_ps: ``"(x, y)->(x, y)"`` -> time.
    makespan_ps : int
        End of the last service; the way out of the chip is not in it.
    duration_ps : int
        The longer of the window that was asked for and the makespan, after several passes with the
        time to put the first one back.
    utilization : list of float
        Busy time over makespan, per core in model order.
    latency : Latency
    final_state : dict of int to ndarray, shape (F, H, W)
        Potentials of every layer of integrate-and-fire neurons.
    outputs : dict of int to ndarray of int64, shape (packets, H, W, F)
        Packet mode: what each exit layer that is monitored sent, or its potentials.
    root_t_ps : ndarray of int64
        When each item entered; ``root`` is an index into it.
    root_kind : ndarray of uint8
        0 event, 1 tick, 2 end of a packet, 3 an event that the sensor block cropped.
    input_events, sensor_events, barriers : int
        Events that entered, those of them that passed a sensor block, and synchronizations.
    passes : list of dict
        For each pass over the chip: layers, begin_ps, end_ps; configuration_bytes and
        configuration_ps that it takes (0 where the whole network is on the chip); events_in, and
        events_stored for later passes.
    merge_trace : ndarray of `MERGE_DTYPE`
        ``merge_policy="arrival"``: the order in which cores with several sources took events.
    links : ndarray of `LINK_DTYPE`
    services : ndarray of `SERVICE_DTYPE`
        Filled where ``record`` names ``"links"`` and ``"load"``.
    readout : ndarray of int64 or None
        Class per cycle of the slow clock, 0 for idle, where the configuration has a read-out.
    warnings : list of str
        What a user should know about load and drops.
    device, config_sha256, engine : str
    seed : int
    config : NSoCConfig
        What was emulated.
    """

    spikes: Array
    t_out_ps: npt.NDArray[np.int64]
    per_core: list[dict[str, Any]]
    drops: Array
    noc: dict[str, Any]
    makespan_ps: int
    duration_ps: int
    utilization: list[float]
    latency: Latency
    final_state: dict[int, npt.NDArray[np.int16]]
    outputs: dict[int, npt.NDArray[np.int64]]
    root_t_ps: npt.NDArray[np.int64]
    root_kind: npt.NDArray[np.uint8]
    input_events: int
    sensor_events: int
    barriers: int
    passes: list[dict[str, Any]]
    merge_trace: Array
    links: Array
    services: Array
    readout: npt.NDArray[np.int64] | None
    device: str
    config_sha256: str
    engine: str
    seed: int
    warnings: list[str] = field(default_factory=list)
    config: Any = None

    @property
    def energy(self) -> Any:
        """`kerasnsoc.energy.EnergyReport` with the device's figures and no idle time."""
        # by name: the room of energy stands above this one
        emulation = importlib.import_module("kerasnsoc.energy.emulation")
        return emulation.energy_of_emulation(self)

    def to_nir_data(self) -> Any:
        """Spikes of the monitored layers as `nir.NIRGraphData`: `kerasnsoc.nsoc.to_nir_data`."""
        from kerasnsoc.nsoc.nir_data import to_nir_data

        return to_nir_data(self)

    @property
    def synops(self) -> int:
        """Synaptic updates of all cores."""
        return sum(record["synops"] for record in self.per_core)

    def spikes_of(self, layer: int) -> Array:
        """Spikes of one monitored layer, in time order."""
        chosen: Array = self.spikes[self.spikes["layer"] == layer]
        return chosen

    def load_over_time(self, bin_ps: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Busy fraction of every core in bins of time.

        Parameters
        ----------
        bin_ps : int

        Returns
        -------
        edges_ps : ndarray of int64, shape (bins + 1,)
        load : ndarray of float64, shape (cores, bins)
            In model order.

        Raises
        ------
        ValueError
            If the run did not record services, or the bins are too many.
        """
        if not len(self.services) and any(record["busy_ps"] for record in self.per_core):
            raise ValueError("services were not recorded; make the emulator with record=('load',)")
        if bin_ps < 1 or self.makespan_ps // bin_ps > 10_000_000:
            raise ValueError(f"bin_ps is {bin_ps}, but must be 1 or more and make few enough bins")
        bins = max(1, -(-self.makespan_ps // bin_ps))
        edges = np.arange(bins + 1, dtype=np.int64) * bin_ps
        load = np.zeros((len(self.per_core), bins))
        for i, record in enumerate(self.per_core):
            rows = self.services[self.services["core"] == record["core"]]
            # services of a core do not overlap: the busy time up to an edge is a sum of whole ones
            # and a part of one
            ends = np.concatenate([[0], np.cumsum(rows["end_ps"] - rows["start_ps"])])
            before = np.searchsorted(rows["end_ps"], edges, "right")
            busy = ends[before].astype(np.int64)
            cut = before < len(rows)
            busy[cut] += np.maximum(0, edges[cut] - rows["start_ps"][before[cut]])
            load[i] = np.diff(busy) / bin_ps
        return edges, load

    def to_dict(self) -> dict[str, Any]:
        """Plain values; arrays above `MAX_JSON_ENTRIES` entries are left out."""
        result: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "device",
                "engine",
                "seed",
                "config_sha256",
                "makespan_ps",
                "duration_ps",
                "utilization",
                "input_events",
                "sensor_events",
                "barriers",
                "passes",
                "per_core",
                "noc",
                "warnings",
            )
        }
        result["latency"] = self.latency.summary()
        arrays: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("spikes", "t_out_ps", "drops", "merge_trace", "links", "services")
        }
        arrays["readout"] = self.readout
        omitted = []
        for name, array in arrays.items():
            if array is not None and array.size > MAX_JSON_ENTRIES:
                omitted.append(name)
            elif array is not None:
                result[name] = _plain(array)
        for name, arrays_of in (("final_state", self.final_state), ("outputs", self.outputs)):
            result[name] = {}
            for layer, array in arrays_of.items():
                if array.size > MAX_JSON_ENTRIES:
                    omitted.append(f"{name}[{layer}]")
                else:
                    result[name][str(layer)] = _encoded(array)
        result["omitted"] = omitted
        return result

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __str__(self) -> str:
        spikes = f"{len(self.spikes):,} spikes of monitored layers"
        return (
            f"{self.device}, {self.engine}: {self.input_events:,} events in, {spikes}, "
            f"{self.synops:,} synaptic updates, {len(self.drops):,} drops, makespan "
            f"{self.makespan_ps / 1e6:,.3f} us"
        )


def _plain(array: Array) -> Any:
    if array.dtype.names is None:
        return array.tolist()
    return {name: array[name].tolist() for name in array.dtype.names}


def _encoded(array: Array) -> dict[str, Any]:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    text = base64.b64encode(little.tobytes()).decode("ascii")
    return {"dtype": array.dtype.name, "shape": list(array.shape), "b64": text}


def latency_of(
    tables: Mapping[str, Array],
    root_t_ps: npt.NDArray[np.int64],
    root_kind: npt.NDArray[np.uint8],
    token: int,
) -> Latency:
    """Latencies from the compiled module's tables."""
    log = tables["spikes"]
    gone = log[log["out"] >= 0]
    spike_ps = gone["out"] - root_t_ps[gone["root"]]
    order = np.lexsort((gone["out"], gone["root"]))
    roots, first = np.unique(gone["root"][order], return_index=True)
    first_ps = spike_ps[order][first]
    tokens = tables["tokens"]
    packet_ps = np.zeros(0, np.int64)
    if len(tokens):
        ends = np.flatnonzero(root_kind == token)
        starts = np.concatenate([[0], ends[:-1] + 1])
        last = np.zeros(len(root_t_ps), np.int64)
        np.maximum.at(last, tokens["root"], tokens["time"])
        packet_ps = last[ends] - root_t_ps[starts]
    return Latency(spike_ps, roots, first_ps, packet_ps)


def dense_outputs(
    log: Array, shape_fhw: Sequence[int], token_roots: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Sums of the spikes of one layer per packet and neuron."""
    features, height, width = shape_fhw
    outputs = np.zeros((len(token_roots), height * width * features), np.int64)
    np.add.at(outputs, (np.searchsorted(token_roots, log["root"]), log["neuron"]), log["count"])
    return outputs.reshape(len(token_roots), height, width, features)
