"""The emulator of a chip: arrays are checked here, the simulation runs in C without the lock."""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import numpy as np


cdef extern from "kne.h" nogil:
    enum:
        KNE_EVENT, KNE_PACKET, KNE_STAIRCASE, KNE_POTENTIALS
        KNE_NO_POOLING, KNE_SUM
        KNE_DEPTH_FIRST, KNE_REPLAY, KNE_TIMING
        KNE_STAR, KNE_MESH
        KNE_ITEM_EVENT, KNE_ITEM_TOKEN, KNE_ITEM_DROPPED
        KNE_DONE, KNE_MORE, KNE_NEEDS_FACTORS, KNE_NO_MEMORY, KNE_OVER_BUDGET, KNE_BAD_TRACE
        KNE_TIMES, KNE_COUNTERS, KNE_NOC_COUNTERS, KNE_TABLES

    ctypedef struct kne_slot:
        int32_t target, edge, pool_y, pool_x, shift, height, width

    ctypedef struct kne_spike:
        int64_t order
        int32_t neuron, count

    ctypedef struct kne_core:
        int32_t rule, channels, in_height, in_width
        int32_t kernel_y, kernel_x, stride_y, stride_x, lead_y, lead_x
        int32_t height, width, per_event, sum_features, features, is_free, keep_zeros
        const int16_t *weights
        const int32_t *live
        const int16_t *pointwise
        const int32_t *pointwise_live
        const int64_t *base
        int64_t *sums
        int16_t *state
        int32_t *last_fired
        const int16_t *bias
        int32_t threshold, threshold_low, to_zero, leaks
        int32_t max_spikes, is_persistent, is_graded, decay, refractory, touched_only
        const int32_t *levels
        int32_t level_count
        int32_t pooling, pool_y, pool_x, pool_stride_y, pool_stride_x, pool_lead_y, pool_lead_x
        int32_t out_height, out_width
        int64_t *row
        int64_t *potentials
        int32_t decimation, decimator
        kne_spike *spikes
        int32_t slots, edges, is_entry
        const kne_slot *slot
        int32_t node, lanes, is_monitored, is_logged, drops_when_full
        int64_t capacity
        int64_t time[KNE_TIMES]
        int64_t counter[KNE_COUNTERS]

    ctypedef struct kne_trace_row:
        int64_t root, number
        int32_t core, source

    ctypedef struct kne_table:
        char *rows
        int64_t count

    ctypedef struct kne_roots:
        int64_t count
        const int64_t *time
        const int32_t *x
        const int32_t *y
        const int32_t *c
        const int32_t *payload
        const uint8_t *kind
        const int32_t *port

    ctypedef struct kne_chip:
        int32_t engine, is_packet, topology, cores
        kne_core *core
        int32_t entries
        const kne_slot *entry
        const int32_t *entry_port
        int32_t needs_tokens, is_causal, layer_delay, is_barrier, emits_at_end, stalls
        int32_t mesh_x, mesh_y, input_node, output_node
        int64_t t_io_in, t_io_out, t_router, t_hop_x, t_hop_y, t_link, t_sync
        int32_t records_links, records_services, records_trace
        kne_roots roots
        int64_t next_root, packet
        const kne_trace_row *trace
        int64_t trace_count
        int32_t jitters
        int32_t varied[KNE_TIMES]
        const double *factors
        int64_t factor_rows, factor_row
        int64_t budget, used, makespan, potentials_packet
        int64_t *potentials_out
        int32_t readout_core
        int64_t noc[KNE_NOC_COUNTERS]
        int64_t *link_free
        int64_t *link_busy
        kne_table table[KNE_TABLES]
        int32_t status

    int kne_functional(kne_chip *chip, int64_t steps)
    int kne_replay(kne_chip *chip)
    int kne_timing(kne_chip *chip, int64_t steps)
    int kne_timing_begin(kne_chip *chip)
    void kne_timing_end(kne_chip *chip)
    void kne_drop_tables(kne_chip *chip)


RULES = {"event": KNE_EVENT, "packet": KNE_PACKET, "staircase": KNE_STAIRCASE,
         "potentials": KNE_POTENTIALS}
ENGINES = {"functional": KNE_DEPTH_FIRST, "replay": KNE_REPLAY, "timing": KNE_TIMING}
COUNTERS = ("events_in", "processed", "synops", "leak_updates", "neuron_updates", "neurons_fired",
            "spikes_out", "decimated", "pool_cropped", "busy_ps", "wait_ps", "hold_ps", "stall_ps",
            "queue_max", "drops", "blocked_ps", "saturated")
NOC_COUNTERS = ("packets", "hops_star", "hops_x", "hops_y", "input_wait_ps")
TIMES = ("t_decode", "t_syn", "t_emit", "t_leak", "t_upd", "t_upd_active")
TABLES = {
    "spikes": np.dtype([("time", "i8"), ("root", "i8"), ("out", "i8"), ("core", "i4"),
                        ("neuron", "i4"), ("count", "i4"), ("serial", "i4")]),
    "drops": np.dtype([("time", "i8"), ("root", "i8"), ("core", "i4"), ("x", "i4"), ("y", "i4"),
                       ("c", "i4")]),
    "trace": np.dtype([("root", "i8"), ("number", "i8"), ("core", "i4"), ("source", "i4")]),
    "links": np.dtype([("depart", "i8"), ("root", "i8"), ("link", "i4"), ("core", "i4")]),
    "services": np.dtype([("start", "i8"), ("end", "i8"), ("core", "i4"), ("kind", "i4")]),
    "tokens": np.dtype([("root", "i8"), ("time", "i8"), ("core", "i4"), ("kind", "i4")]),
}
SLOT_FIELDS = ("target", "edge", "pool_y", "pool_x", "shift", "height", "width")
STEPS = 1 << 16  # between two looks at signals
LARGEST_TIME = 1 << 61  # leaves room for two more of the same before a time overflows
LARGEST_COST = 1 << 40


class OverBudgetError(MemoryError):
    """What a run has to keep would exceed its budget."""


def _refuse(name, value, allowed):
    raise ValueError(f"{name} is {value!r}, but must be {allowed}")


def _within(record, name, low, high):
    value = record[name]
    if not low <= value <= high:
        _refuse(name, value, f"{low} to {high}")
    return value


def _array(record, name, dtype, shape, optional=False):
    """An array of the record, of exactly this dtype, shape and layout."""
    array = record.get(name)
    if array is None:
        if not optional:
            _refuse(name, None, f"an array of {np.dtype(dtype)}, shape {shape}")
        return None
    if array.dtype != dtype or array.shape != shape or not array.flags.carray:
        _refuse(name, (array.dtype, array.shape),
                f"a contiguous, aligned, writable array of {np.dtype(dtype)}, shape {shape}")
    return array


cdef void *_address(array) except? NULL:
    if array is None:
        return NULL
    return <void *><size_t>array.ctypes.data


cdef class Chip:
    """Cores, network and clock of one configuration, with the states of the neurons.

    Parameters
    ----------
    cores : sequence of dict
        One record per core, in topological order; `kerasnsoc.nsoc.emulator_program` makes them.
        The arrays ``state``, ``sums`` and ``last_fired`` are kept and changed in place.
    entries : ndarray of int32, shape (n, 7)
        Slots (`SLOT_FIELDS`) of the input port.
    options : dict of int
        Network, times and policies.
    ports : ndarray of int32, shape (n,)
        The input port of each entry: an event enters where its own port is named.

    Raises
    ------
    ValueError
        If a record contradicts itself; then nothing could be run safely.

    Notes
    -----
    One thread at a time may use it.
    """

    cdef kne_chip _chip
    cdef list _held
    cdef bint _busy

    def __cinit__(self, cores, entries, options, ports):
        cdef kne_chip *chip = &self._chip
        self._held = []
        if not 1 <= len(cores) <= 65536:
            _refuse("the number of cores", len(cores), "1 to 65536")
        chip.core = <kne_core *>calloc(len(cores), sizeof(kne_core))
        if chip.core == NULL:
            raise MemoryError("no memory for the cores")
        chip.cores = <int32_t>len(cores)
        chip.is_packet = options["is_packet"]
        chip.topology = KNE_MESH if options["is_mesh"] else KNE_STAR
        chip.is_causal = options["is_causal"]
        chip.needs_tokens = options["needs_tokens"]
        chip.layer_delay = options["layer_delay"]
        chip.is_barrier = options["is_barrier"]
        chip.emits_at_end = options["emits_at_end"]
        chip.stalls = options["stalls"]
        chip.readout_core = options["readout_core"]
        if chip.is_barrier and not (chip.is_packet and chip.layer_delay):
            raise ValueError("a barrier needs packets and a layer_delay of 1")
        chip.mesh_x = _within(options, "mesh_x", 1, 4096)
        chip.mesh_y = _within(options, "mesh_y", 1, 4096)
        nodes = chip.mesh_x * chip.mesh_y
        chip.input_node = _within(options, "input_node", 0, nodes - 1)
        chip.output_node = _within(options, "output_node", 0, nodes - 1)
        chip.t_io_in = _within(options, "t_io_in", 0, LARGEST_COST)
        chip.t_io_out = _within(options, "t_io_out", 0, LARGEST_COST)
        chip.t_router = _within(options, "t_router", 0, LARGEST_COST)
        chip.t_hop_x = _within(options, "t_hop_x", 0, LARGEST_COST)
        chip.t_hop_y = _within(options, "t_hop_y", 0, LARGEST_COST)
        chip.t_link = _within(options, "t_link", 0, LARGEST_COST)
        chip.t_sync = _within(options, "t_sync", 0, LARGEST_COST)
        for i, record in enumerate(cores):
            self._fill(&chip.core[i], record, i, nodes)
        self._wire(entries, ports)

    def __dealloc__(self):
        kne_timing_end(&self._chip)
        kne_drop_tables(&self._chip)
        free(self._chip.core)

    cdef _keep(self, array):
        self._held.append(array)
        return array

    cdef int _fill(self, kne_core *core, record, int32_t index, nodes) except -1:
        cdef kne_chip *chip = &self._chip
        cdef int64_t outputs
        largest = 1 << 16
        core.rule = RULES[record["rule"]]
        if (core.rule == KNE_EVENT) == bool(chip.is_packet):
            _refuse("rule", record["rule"], "one of the chip's mode")
        is_fire = core.rule == KNE_EVENT or core.rule == KNE_PACKET
        core.channels = _within(record, "channels", 1, 1 << 24)
        core.in_height = _within(record, "in_height", 1, largest)
        core.in_width = _within(record, "in_width", 1, largest)
        core.kernel_y = _within(record, "kernel_y", 1, largest)
        core.kernel_x = _within(record, "kernel_x", 1, largest)
        core.stride_y = _within(record, "stride_y", 1, largest)
        core.stride_x = _within(record, "stride_x", 1, largest)
        core.lead_y = _within(record, "lead_y", 0, largest)
        core.lead_x = _within(record, "lead_x", 0, largest)
        core.height = _within(record, "height", 1, largest)
        core.width = _within(record, "width", 1, largest)
        core.features = _within(record, "features", 1, 1 << 24)
        core.is_free = record["is_free"]
        core.keep_zeros = record["keep_zeros"]
        is_depthwise = record["is_depthwise"]
        core.per_event = 1 if is_depthwise else core.features
        core.sum_features = core.channels if is_depthwise else core.features
        taps = (core.channels, core.kernel_y, core.kernel_x)
        core.weights = <const int16_t *>_address(self._keep(
            _array(record, "weights", np.int16, (*taps, core.per_event))))
        core.live = <const int32_t *>_address(self._keep(_array(record, "live", np.int32, taps)))
        core.pointwise = <const int16_t *>_address(self._keep(
            _array(record, "pointwise", np.int16, (core.channels, core.features), True)))
        core.pointwise_live = <const int32_t *>_address(self._keep(
            _array(record, "pointwise_live", np.int32, (core.channels,),
                   core.pointwise == NULL)))
        if is_depthwise and core.pointwise == NULL and core.features != core.channels:
            raise ValueError("a depthwise core without pointwise weights has a feature per channel")
        if is_fire and is_depthwise:
            raise ValueError("integrate-and-fire neurons need full weights")
        positions = (core.height, core.width)
        outputs = <int64_t>core.height * core.width * max(core.features, core.sum_features)
        if outputs > 2**31 - 1:
            raise ValueError(f"a map of {positions} with {core.features} features is too large")
        neurons = (*positions, core.features)
        core.base = <const int64_t *>_address(self._keep(
            _array(record, "base", np.int64, (*positions, core.sum_features), True)))
        core.sums = <int64_t *>_address(self._keep(
            _array(record, "sums", np.int64, (*positions, core.sum_features), not chip.is_packet)))
        core.state = <int16_t *>_address(self._keep(
            _array(record, "state", np.int16, neurons, not is_fire)))
        core.bias = <const int16_t *>_address(self._keep(
            _array(record, "bias", np.int16, (core.features,), not is_fire)))
        core.last_fired = <int32_t *>_address(self._keep(
            _array(record, "last_fired", np.int32, neurons, True)))
        core.leaks = record["leaks"]
        core.to_zero = record["to_zero"]
        core.is_persistent = record["is_persistent"]
        core.is_graded = record["is_graded"]
        core.touched_only = record["touched_only"]
        core.max_spikes = _within(record, "max_spikes", 1, 2**31 - 1)
        core.decay = _within(record, "decay", 0, 4096)
        core.refractory = _within(record, "refractory", 0, 2**30)
        core.decimation = _within(record, "decimation", 1, 1 << 16)
        core.decimator = 0
        if is_fire:
            core.threshold = _within(record, "threshold", 1, 2**15 - 1)
            core.threshold_low = _within(record, "threshold_low", -2**15, 0)
        core.level_count = 0
        if core.rule == KNE_STAIRCASE:
            core.level_count = _within(record, "level_count", 1, 255)
            levels = _array(record, "levels", np.int32, (core.features, core.level_count))
            core.levels = <const int32_t *>_address(self._keep(levels))
        core.pooling = _within(record, "pooling", KNE_NO_POOLING, KNE_SUM)
        core.out_height, core.out_width = core.height, core.width
        if core.pooling != KNE_NO_POOLING:
            if is_fire:
                raise ValueError("integrate-and-fire neurons are pooled at destinations only")
            core.pool_y = _within(record, "pool_y", 1, largest)
            core.pool_x = _within(record, "pool_x", 1, largest)
            core.pool_stride_y = _within(record, "pool_stride_y", 1, largest)
            core.pool_stride_x = _within(record, "pool_stride_x", 1, largest)
            core.pool_lead_y = _within(record, "pool_lead_y", 0, largest)
            core.pool_lead_x = _within(record, "pool_lead_x", 0, largest)
            core.out_height = _within(record, "out_height", 1, largest)
            core.out_width = _within(record, "out_width", 1, largest)
            core.potentials = <int64_t *>_address(self._keep(np.empty(neurons, np.int64)))
        outputs = <int64_t>core.out_height * core.out_width * core.features
        if outputs > 2**31 - 1:
            raise ValueError(f"a core with {outputs} outputs is too large")
        core.row = <int64_t *>_address(self._keep(np.empty(core.features, np.int64)))
        core.spikes = <kne_spike *>_address(self._keep(
            np.empty(2 * max(outputs, <int64_t>core.height * core.width * core.features), "i8")))
        core.node = _within(record, "node", 0, nodes - 1)
        core.lanes = _within(record, "lanes", 1, 1 << 20)
        core.is_monitored = record["is_monitored"]
        is_stored = record["is_stored"]
        core.is_logged = is_stored or (core.is_monitored and core.rule != KNE_POTENTIALS)
        core.is_entry = record["is_entry"]
        core.drops_when_full = record["drops_when_full"]
        core.capacity = _within(record, "capacity", 0, 2**62)
        for t, name in enumerate(TIMES):
            core.time[t] = _within(record, name, 0, LARGEST_COST)
        core.edges = _within(record, "edges", 1, 1 << 20)
        slots = record["slots"]
        core.slots = slots.shape[0]
        _array(record, "slots", np.int32, (core.slots, len(SLOT_FIELDS)))
        core.slot = <const kne_slot *>_address(self._keep(slots))
        return 0

    cdef int _wire(self, entries, ports) except -1:
        """Checks that what is sent lies within what is received, and each edge is used once."""
        cdef kne_chip *chip = &self._chip
        cdef kne_core *core
        cdef int32_t i, k
        _array({"entries": entries}, "entries", np.int32, (entries.shape[0], len(SLOT_FIELDS)))
        chip.entry = <const kne_slot *>_address(self._keep(entries))
        chip.entries = entries.shape[0]
        _array({"ports": ports}, "ports", np.int32, (chip.entries,))
        chip.entry_port = <const int32_t *>_address(self._keep(ports))
        used = set()
        for k in range(chip.entries):
            self._check_slot(&chip.entry[k], -1, 0, 0, 0, used)
            if chip.entry[k].target < 0:
                raise ValueError("an entry without a core")
        for i in range(chip.cores):
            core = &chip.core[i]
            for k in range(core.slots):
                self._check_slot(&core.slot[k], i, core.out_height, core.out_width, core.features,
                                 used)
        for i in range(chip.cores):
            if len([edge for target, edge in used if target == i]) != chip.core[i].edges:
                raise ValueError(f"core {i} has {chip.core[i].edges} edges, not all are wired")
        if chip.readout_core >= chip.cores:
            _refuse("readout_core", chip.readout_core, f"below {chip.cores}")
        if chip.readout_core >= 0 and chip.core[chip.readout_core].rule != KNE_POTENTIALS:
            raise ValueError("the core that reads out must have the rule 'potentials'")
        return 0

    cdef int _check_slot(self, const kne_slot *slot, int32_t source, height, width, features,
                         used) except -1:
        cdef kne_core *target
        if (slot.pool_y < 1 or slot.pool_x < 1 or slot.shift < 0 or slot.height < 1
                or slot.width < 1):
            raise ValueError(f"a slot of core {source} has a size below 1")
        if slot.target < 0:
            return 0
        if not source < slot.target < self._chip.cores:
            raise ValueError(f"core {source} sends to {slot.target}, which is not behind it")
        target = &self._chip.core[slot.target]
        if slot.height > target.in_height or slot.width > target.in_width:
            raise ValueError(f"core {source} sends a map to {slot.target} that is too large")
        if features + slot.shift > target.channels:
            raise ValueError(f"core {source} sends features to {slot.target} that it lacks")
        edge = (slot.target, slot.edge)
        if not 0 <= slot.edge < target.edges or edge in used:
            raise ValueError(f"edge {edge} is out of range or used twice")
        used.add(edge)
        return 0

    @property
    def decimators(self):
        """Spikes that each core's decimator has counted since it last let one pass."""
        return [self._chip.core[i].decimator for i in range(self._chip.cores)]

    @decimators.setter
    def decimators(self, values):
        for i, value in enumerate(values):
            self._chip.core[i].decimator = value

    @property
    def packet(self):
        """Packets that have ended since the chip was made or reset."""
        return self._chip.packet

    @packet.setter
    def packet(self, int64_t value):
        self._chip.packet = value

    cdef int _check_roots(self) except -1:
        cdef kne_roots *roots = &self._chip.roots
        cdef kne_core *target
        cdef int64_t r
        cdef int32_t e
        for r in range(roots.count):
            if not (roots.time[r - 1] if r else 0) <= roots.time[r] <= LARGEST_TIME:
                raise ValueError(f"item {r} enters at {roots.time[r]} ps: times must ascend from 0")
            if roots.kind[r] > KNE_ITEM_DROPPED:
                raise ValueError(f"item {r} is of the unknown kind {roots.kind[r]}")
            if roots.kind[r] == KNE_ITEM_TOKEN and not self._chip.is_packet:
                raise ValueError("only a chip in packet mode knows ends of packets")
            if roots.kind[r] != KNE_ITEM_EVENT:
                continue
            for e in range(self._chip.entries):
                target = &self._chip.core[self._chip.entry[e].target]
                if not target.is_entry or self._chip.entry_port[e] != roots.port[r]:
                    continue  # it receives tokens only, or events of another port
                if (roots.x[r] < 0 or roots.y[r] < 0 or roots.c[r] < 0
                        or roots.c[r] + self._chip.entry[e].shift >= target.channels):
                    raise ValueError(
                        f"item {r} is an event at x {roots.x[r]}, y {roots.y[r]}, feature "
                        f"{roots.c[r]}, which core {self._chip.entry[e].target} has no input for"
                    )
        return 0

    def run(
        self,
        engine,
        const int64_t[::1] time_r not None,
        const int32_t[::1] x_r not None,
        const int32_t[::1] y_r not None,
        const int32_t[::1] c_r not None,
        const int32_t[::1] payload_r not None,
        const uint8_t[::1] kind_r not None,
        const int32_t[::1] port_r not None,
        *,
        int64_t budget,
        records=(),
        trace=None,
        varied=(),
        draw=None,
    ):
        """Let items enter and work until nothing is left to do.

        Parameters
        ----------
        engine : {"functional", "replay", "timing"}
        time_r : ndarray of int64
            Ascending, in picoseconds.
        x_r, y_r, c_r, payload_r : ndarray of int32
        kind_r : ndarray of uint8
            0 event, 1 leak tick, 2 end of a packet, 3 an event that goes nowhere.
        port_r : ndarray of int32
            Where an event enters.
        budget : int
            Bytes for queues and records.
        records : collection of {"links", "services", "trace"}
        trace : ndarray of ``TABLES["trace"]``, optional
            The order of merging to replay.
        varied : collection of str
            Of `TIMES`: what jitter varies.
        draw : callable, optional
            Gives an array of float64, (services, len(varied)), each time it is called.

        Returns
        -------
        dict
            Tables, counters, and the time of the last item.

        Raises
        ------
        OverBudgetError
            If queues and records outgrow the budget.
        MemoryError
        ValueError
            If an item is out of range, or a trace does not belong to these items.
        RuntimeError
            If another thread is using the chip.
        """
        cdef kne_chip *chip = &self._chip
        cdef kne_core *core
        cdef int64_t count = time_r.shape[0], packets = 0, r
        cdef int32_t i, status
        cdef int32_t which = ENGINES[engine]
        if not (x_r.shape[0] == y_r.shape[0] == c_r.shape[0] == payload_r.shape[0]
                == kind_r.shape[0] == port_r.shape[0] == count):
            raise ValueError(f"there are {count} times, but not as many of each other member")
        if count and (<size_t>&time_r[0] % 8 or <size_t>&x_r[0] % 4 or <size_t>&y_r[0] % 4
                      or <size_t>&c_r[0] % 4 or <size_t>&payload_r[0] % 4
                      or <size_t>&port_r[0] % 4):
            raise ValueError("an array of items is not aligned; copy it")
        if self._busy:
            raise RuntimeError("the chip is running in another thread")
        if which == KNE_REPLAY and (chip.is_packet or trace is None):
            raise ValueError("only a trace of a chip in event mode can be replayed")
        self._busy = True
        try:
            memset(&chip.roots, 0, sizeof(kne_roots))
            if count:
                chip.roots.time, chip.roots.kind = &time_r[0], &kind_r[0]
                chip.roots.x, chip.roots.y, chip.roots.c = &x_r[0], &y_r[0], &c_r[0]
                chip.roots.payload, chip.roots.port = &payload_r[0], &port_r[0]
            chip.roots.count = count
            self._check_roots()
            for r in range(count):
                packets += kind_r[r] == KNE_ITEM_TOKEN
            chip.engine = which
            chip.next_root = chip.makespan = chip.potentials_packet = 0
            chip.used, chip.budget = 0, budget
            for i in range(chip.cores):
                memset(chip.core[i].counter, 0, sizeof(chip.core[i].counter))
            memset(chip.noc, 0, sizeof(chip.noc))
            links = np.zeros((2, chip.mesh_x * chip.mesh_y, 4), np.int64)
            chip.link_free = <int64_t *>_address(links)
            chip.link_busy = <int64_t *>_address(links[1:])
            chip.records_links = "links" in records
            chip.records_services = "services" in records
            chip.records_trace = "trace" in records
            potentials = None
            if chip.readout_core >= 0:
                core = &chip.core[chip.readout_core]
                shape = (packets, core.out_height, core.out_width, core.features)
                potentials = np.zeros(shape, np.int64)
                chip.potentials_out = <int64_t *>_address(potentials)
            if trace is not None:
                trace = np.ascontiguousarray(trace, TABLES["trace"])
                chip.trace = <const kne_trace_row *>_address(trace)
                chip.trace_count = len(trace)
                edges = np.array([chip.core[i].edges for i in range(chip.cores)])
                if len(trace) and not (
                    (trace["core"] >= 0).all() and (trace["core"] < chip.cores).all()
                    and (trace["source"] < edges[trace["core"]]).all()
                    and (trace["root"] >= 0).all() and (trace["root"] < count).all()
                ):
                    raise ValueError("the trace names cores, sources or items that do not exist")
            for i, name in enumerate(TIMES):
                chip.varied[i] = name in varied
            chip.jitters = len(varied)
            chip.factors, chip.factor_rows, chip.factor_row = NULL, 0, 0
            status = self._work(which, draw)
            if which == KNE_TIMING:
                chip.packet += packets
            self._raise(status)
            result = {name: self._table(t, dtype) for t, (name, dtype) in enumerate(TABLES.items())}
            result["potentials"] = potentials
            result["link_busy"] = links[1]
            result["makespan"] = chip.makespan
            result["noc"] = {name: chip.noc[k] for k, name in enumerate(NOC_COUNTERS)}
            counters = np.empty((chip.cores, len(COUNTERS)), np.int64)
            for i in range(chip.cores):
                for k in range(len(COUNTERS)):
                    counters[i, k] = chip.core[i].counter[k]
            result["counters"] = counters
            return result
        finally:
            kne_timing_end(chip)
            kne_drop_tables(chip)
            self._busy = False

    cdef int _work(self, int32_t which, draw) except -1:
        cdef kne_chip *chip = &self._chip
        cdef int32_t status = KNE_MORE
        cdef int64_t steps = STEPS
        if which == KNE_TIMING and kne_timing_begin(chip) != KNE_DONE:
            return chip.status
        factors = None
        while status == KNE_MORE or status == KNE_NEEDS_FACTORS:
            if status == KNE_NEEDS_FACTORS:
                rest = None if factors is None else factors[chip.factor_row:]
                drawn = np.ascontiguousarray(draw(), np.float64)
                if drawn.ndim != 2 or drawn.shape[1] != chip.jitters or len(drawn) < 1:
                    raise ValueError(f"draw gave the shape {drawn.shape}")
                factors = drawn if rest is None else np.concatenate([rest, drawn])
                chip.factors = <const double *>_address(factors)
                chip.factor_rows, chip.factor_row = len(factors), 0
            with nogil:
                if which == KNE_TIMING:
                    status = kne_timing(chip, steps)
                elif which == KNE_REPLAY:
                    status = kne_replay(chip)
                else:
                    status = kne_functional(chip, steps)
            PyErr_CheckSignals()
        return status

    cdef int _raise(self, int32_t status) except -1:
        if status == KNE_OVER_BUDGET:
            raise OverBudgetError(f"more than {self._chip.budget} bytes would be kept")
        if status == KNE_NO_MEMORY:
            raise MemoryError("no memory for the queues of the emulator")
        if status == KNE_BAD_TRACE:
            raise ValueError("the trace does not belong to these events and this configuration")
        return 0

    cdef _table(self, t, dtype):
        cdef kne_table *table = &self._chip.table[<int32_t>t]
        rows = np.empty(table.count, dtype)
        if table.count:
            memcpy(_address(rows), table.rows, <size_t>(table.count * dtype.itemsize))
        return rows
