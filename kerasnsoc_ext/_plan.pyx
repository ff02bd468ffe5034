"""A network as a list of integer ops, and the plans that run it: checks here, loops in C."""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uintptr_t
from libc.stdlib cimport calloc, free, getenv, malloc, realloc
from libc.string cimport memset, strcmp

cimport numpy as cnp

from time import perf_counter

import numpy as np

from kerasnsoc_ext.packing import Layout, Packed, pack

cnp.import_array()


cdef extern from "kernels.h" nogil:
    ctypedef struct knsoc_window:
        int32_t length, size, stride, lead, output

    ctypedef struct knsoc_conv:
        knsoc_window x, y
        int32_t channels, neurons
        const int8_t *weights
        const int32_t *padding

    ctypedef struct knsoc_events:
        int64_t count
        uint32_t *first
        uint32_t *index
        uint8_t *value

    ctypedef struct knsoc_vector_kernels:
        int32_t vector_bytes
        int32_t dense_block
        double conv_crossover, fully_crossover
        void *separable
        void *look_up

    ctypedef struct knsoc_row:
        const char *name
        int (*available)()
        int32_t events_below_16ths, depthwise_events_below_16ths
        const knsoc_vector_kernels *vector
        const char *(*missing)()

    const knsoc_row *const *knsoc_rows


cdef extern from "packed.h" nogil:
    enum:
        KNSOC_SLACK
        KNSOC_EVENT_BLOCK
        KNSOC_EVENT_TILE
        KNSOC_PACKED_NOT
        KNSOC_PACKED_CONV
        KNSOC_PACKED_FULLY
        KNSOC_PACKED_SEPARABLE
        KNSOC_FIRE_NOT
        KNSOC_FIRE_LINE
        KNSOC_FIRE_TABLE

    ctypedef struct knsoc_fire:
        int32_t form, levels
        const float *slope_n
        const float *offset_n
        const int32_t *thresholds_mn

    ctypedef struct knsoc_bits:
        int32_t rows_fit
        const int8_t *tables
        int32_t piece, chunk

    ctypedef struct knsoc_nibbles:
        const uint8_t *rows
        int32_t pitch, bias, group, groups, flush

    ctypedef struct knsoc_packed:
        int32_t kind
        int32_t columns, cells, channels
        const int32_t *fan_out_columns
        const uint8_t *fan_out_bytes
        int32_t framed, lead_columns, lead_cells, framed_columns, framed_cells, fill, largest
        int32_t size_columns, size_cells, stride_columns, stride_cells
        int32_t output_columns, output_cells
        int64_t column_step, cell_step
        int32_t neurons, padded_neurons
        const int8_t *dense
        int32_t segments, quads, joined
        const int8_t *rows
        int32_t narrow, flush
        int64_t events_up_to, group_events_up_to
        int32_t single_dots, dots_in_s16
        knsoc_bits bits
        knsoc_nibbles nibbles
        const int16_t *depthwise
        int32_t period, flat
        int32_t sums_form, window_pairs
        const int8_t *window_weights
        const int16_t *base
        const int32_t *start_n
        knsoc_fire fire

    int64_t knsoc_strip_bytes(const knsoc_packed *p)
    int64_t knsoc_framed_bytes(const knsoc_packed *p)


cdef extern from "events.h" nogil:
    void knsoc_fan_out(const knsoc_window *window, int32_t *fan_out)
    int knsoc_u8_largest(const uint8_t *values, int64_t size)


cdef extern from "guard.h" nogil:
    void knsoc_forbid(void *start, size_t size)
    void knsoc_allow(void *start, size_t size)


cdef extern from "plan.h" nogil:
    enum:
        KNSOC_INPUT
        KNSOC_CONV
        KNSOC_FULLY
        KNSOC_SEPARABLE
        KNSOC_CONCAT
        KNSOC_FORM_AUTO
        KNSOC_FORM_DENSE
        KNSOC_FORM_EVENTS
        KNSOC_POOL_NONE
        KNSOC_POOL_MAX
        KNSOC_POOL_SUM
        KNSOC_COUNTERS
        KNSOC_SHARE
        KNSOC_TEAM

    ctypedef struct knsoc_op:
        int32_t kind, image, wide, pooling
        knsoc_conv conv
        const int8_t *pointwise_cn
        knsoc_packed packed
        knsoc_window pool_x, pool_y
        const int32_t *fan_out_x
        const int32_t *fan_out_y
        int32_t levels
        const int32_t *thresholds_mn
        int32_t emits_potentials, source_count
        const int32_t *sources
        int32_t width, height, features

    ctypedef struct knsoc_plan:
        const knsoc_row *row
        const knsoc_op *ops
        int32_t op_count
        void **maps
        const knsoc_op **framed_for
        uint8_t *image
        void *sums
        void *potentials
        void *pooled
        int32_t *narrow
        knsoc_events events
        uint8_t *frame
        int32_t *tile
        int32_t tail, group
        void **outputs
        int64_t *counters

    ctypedef struct knsoc_overflow:
        int64_t sample
        int32_t op
        int64_t index
        int64_t value

    int64_t knsoc_op_inputs(const knsoc_op *op)
    int64_t knsoc_op_outputs(const knsoc_op *op)
    int knsoc_run(const knsoc_plan *const *team, int threads, const uint8_t *inputs,
                  int64_t samples, int form, void *const *outputs, int64_t *counters,
                  knsoc_overflow *overflow)
    int64_t knsoc_run_batch(const knsoc_plan *const *team, int threads, const uint8_t *inputs,
                            int64_t samples, int form, void *outputs, int64_t *totals)


# Window fields and maps stay far below the 32-bit integers that the kernels index them with.
cdef int64_t MAX_SIDE = 1 << 20
cdef int64_t MAX_VALUES = 1 << 30

cdef int32_t INT32_MAX = 2**31 - 1

# Guard bytes lie behind every buffer of a plan, and in front of the first.
cdef int64_t GUARD = 64
cdef int GUARD_BYTE = 0xA5

COUNTERS = ("events_in", "synaptic_ops", "events_out")
FORMS = ("auto", "dense", "events")
_FORM_CODES = {"auto": KNSOC_FORM_AUTO, "dense": KNSOC_FORM_DENSE, "events": KNSOC_FORM_EVENTS}

# Samples of one `Caller` call at most; a plan keeps counters for so many.
CALL_SAMPLES = KNSOC_SHARE

# What a call may allow; more are refused where all arguments are checked.
MOST_THREADS = 1024

# Fully connected layers run so many samples at once at most, whose values take so many bytes.
GROUP_SAMPLES = 16
GROUP_BYTES = 1 << 20

# Crossovers are timed for a convolution of 3 x 3 x 128 inputs to 128 neurons. Others pay more, or
# less, for each run of events that a window takes from a column, and for listing events that reach
# few neurons; both in events, and fitted to times of ten layers with either vector row.
cdef double TIMED_RUN = 3 * 128, TIMED_REACH = 3 * 3 * 128
cdef double RUN_COST = 10, LIST_COST = 30
cdef int64_t LONGEST_RUN = 512
# Rows that other layers have driven out of the second cache come one by one, dense weights in a
# stream; the timed layer's stay there. Found on a network whose layers take 0.3 to 2.4 megabytes
# of rows.
cdef int64_t WARM_BYTES = 1 << 18
cdef double COLD_ROWS = 0.7
# Of 1-bit inputs whose sums are looked up, and of rows that take a byte per weight, by the same
# times.
cdef double LOOKUP_CROSSOVER = 0.23, WIDE_ROWS = 0.75

_POOLINGS = {"max": KNSOC_POOL_MAX, "sum": KNSOC_POOL_SUM}


def kernel_names():
    """Names of all kernel rows of this build, from the fastest to the plainest."""
    names = []
    cdef Py_ssize_t i = 0
    while knsoc_rows[i] != NULL:
        names.append(knsoc_rows[i].name.decode())
        i += 1
    return tuple(names)


def available_kernels():
    """Names of the kernel rows that this CPU can run, from the fastest to the plainest."""
    names = []
    cdef Py_ssize_t i = 0
    while knsoc_rows[i] != NULL:
        if knsoc_rows[i].available():
            names.append(knsoc_rows[i].name.decode())
        i += 1
    return tuple(names)


def missing_kernels():
    """Why the other kernel rows of this build do not run here, by name."""
    reasons = {}
    cdef const char *reason
    cdef Py_ssize_t i = 0
    while knsoc_rows[i] != NULL:
        if not knsoc_rows[i].available():
            reason = NULL
            if knsoc_rows[i].missing != NULL:
                reason = knsoc_rows[i].missing()
            reasons[knsoc_rows[i].name.decode()] = (
                "this CPU lacks its instructions" if reason == NULL else reason.decode()
            )
        i += 1
    return reasons


cdef const knsoc_row *_find_row(kernel) except NULL:
    cdef Py_ssize_t i = 0
    while knsoc_rows[i] != NULL:
        if knsoc_rows[i].available():
            if kernel is None or kernel == knsoc_rows[i].name.decode():
                return knsoc_rows[i]
        i += 1
    raise ValueError(
        f"kernel is {kernel!r}, but this CPU and this build run: {', '.join(available_kernels())}"
    )


cdef int32_t _side(name, value) except -1:
    if not 1 <= value <= MAX_SIDE:
        raise ValueError(f"{name} is {value}, but must be 1 to {MAX_SIDE}")
    return value


cdef int _set_window(knsoc_window *window, name, values) except -1:
    length, size, stride, lead, output = values
    window.length = _side(f"{name} length", length)
    window.size = _side(f"{name} size", size)
    window.stride = _side(f"{name} stride", stride)
    window.output = _side(f"{name} output", output)
    # The first and the last window both cover a cell, hence all between them do.
    if not 0 <= lead < size or (output - 1) * stride - lead >= length:
        raise ValueError(
            f"{name} (length, size, stride, lead, output) is {tuple(values)}, which has a window "
            "that lies outside the input; lead must be 0 to size - 1 and "
            "(output - 1) * stride - lead below length"
        )
    window.lead = lead
    return 0


cdef int _check_values(name, int64_t width, int64_t height, int64_t features) except -1:
    # each factor is at most 2**20, so that the product of two fits
    if width * height > MAX_VALUES // features:
        raise ValueError(
            f"{name}: a map of {width} x {height} x {features} values is too large, "
            f"allowed are {MAX_VALUES}"
        )
    return 0


cdef uintptr_t _address(array) except? 0:
    """Where an array begins; 0 for None."""
    return 0 if array is None else array.ctypes.data


cdef class Network:
    """Ops in the order in which they run, with read-only weights that plans share.

    The ``add_…`` methods return the new op's index, which later ops name as their source. An op
    becomes an op only when all its arguments have passed; after an error the network is as before.

    Parameters
    ----------
    kernel : str, optional
        Kernel row, one of `available_kernels`; the fastest by default.
    crossover : tuple of two float, optional
        Up to which share of non-zero inputs the automatic form takes events: for convolutions, and
        for fully connected layers. By default what is usual for the kernel row.

    Notes
    -----
    A layer is packed for vector kernels where they are exact, see `is_packed`; otherwise the plain
    kernels run it. A window is a tuple (length, size, stride, lead, output), see
    `kerasnsoc.artifact.geometry.Window`. A pooling is a tuple (``"max"`` or ``"sum"``, window
    along x, window along y), whose windows slide over the output of the convolution.
    ``thresholds_mn`` has one row per level: an activation is the number of rows that the potential
    exceeds. Without thresholds the op emits its int32 potentials.
    """

    cdef knsoc_op *_ops
    cdef int32_t _count
    cdef const knsoc_row *_row
    cdef list _alive
    cdef list _names
    cdef list _largest  # per op what it sends on at most; 0 for potentials
    cdef double _conv_crossover
    cdef double _fully_crossover
    cdef bint _sealed

    def __cinit__(self, kernel=None, crossover=None):
        self._row = _find_row(kernel)
        self._alive = []
        self._names = []
        self._largest = []
        if crossover is not None:
            self._conv_crossover, self._fully_crossover = crossover
        elif self._row.vector != NULL:
            self._conv_crossover = self._row.vector.conv_crossover
            self._fully_crossover = self._row.vector.fully_crossover

    def __dealloc__(self):
        free(self._ops)

    def __len__(self):
        return self._count

    @property
    def kernel(self):
        """Name of the kernel row."""
        return self._row.name.decode()

    def output_dims(self, int32_t op):
        """(width, height, features) of an op's output."""
        self._check_op(op)
        return self._ops[op].width, self._ops[op].height, self._ops[op].features

    def emits_potentials(self, int32_t op):
        """Whether an op's output is int32 potentials rather than uint8 activations."""
        self._check_op(op)
        return bool(self._ops[op].emits_potentials)

    def is_packed(self, int32_t op):
        """Whether vector kernels run an op."""
        self._check_op(op)
        return self._ops[op].packed.kind != KNSOC_PACKED_NOT

    def kernel_of(self, int32_t op):
        """Name of the kernel row that runs an op: ``scalar``, plain C, where it is not packed."""
        return self.kernel if self.is_packed(op) else "scalar"

    def form_of(self, int32_t op):
        """How an op runs by itself, in words: its dense form, and up to which density events.

        ``lookup`` is the dense form of 1-bit inputs and small weights; an input and a join have no
        form, the empty text.
        """
        cdef const knsoc_packed *p
        cdef double share
        self._check_op(op)
        p = &self._ops[op].packed
        if self._ops[op].kind in (KNSOC_INPUT, KNSOC_CONCAT):
            return ""
        if p.kind == KNSOC_PACKED_NOT:
            share = self._row.events_below_16ths
            if self._ops[op].kind == KNSOC_SEPARABLE:
                share = self._row.depthwise_events_below_16ths
            return f"dense, events up to {share / 16:.0%}"
        dense = "lookup" if p.bits.tables != NULL else "dense"
        share = p.events_up_to / <double>knsoc_op_inputs(&self._ops[op])
        if p.rows == NULL and p.nibbles.rows == NULL or share < 0.005:
            return dense
        return f"{dense}, events up to {share:.0%}" if share < 1 else "events"

    def packed_nbytes(self, int32_t op):
        """Memory of an op's packed weights and tables; 0 where it is not packed."""
        self._check_op(op)
        return sum(held.nbytes for held in self._alive[op] if isinstance(held, Packed))

    def held(self):
        """What the ops read, per op: arrays as they were given, and records of packed ones."""
        return [list(held) for held in self._alive]

    @property
    def largest_input(self):
        """Largest value of the network's input."""
        if self._count == 0:
            raise ValueError("the network is empty; add an input first")
        return self._largest[0] if self._ops[0].kind == KNSOC_INPUT else 255

    def add_input(self, name, width, height, channels, largest=255):
        """The network's input: activations as they are, at most `largest`."""
        cdef knsoc_op op
        memset(&op, 0, sizeof(op))
        self._check_first(name, True)
        op.kind = KNSOC_INPUT
        op.width = op.conv.x.length = _side("width", width)
        op.height = op.conv.y.length = _side("height", height)
        op.features = op.conv.channels = _side("channels", channels)
        if not 1 <= largest <= 255:
            raise ValueError(f"{name}: largest is {largest}, but must be 1 to 255")
        return self._append(name, &op, (), (), None, largest)

    def add_convolution(
        self,
        name,
        source,
        window_x,
        window_y,
        const int8_t[:, :, :, ::1] weights_xycn,
        const int32_t[:, :, ::1] padding_xyn=None,
        pooling=None,
        const int32_t[:, ::1] thresholds_mn=None,
        wide=False,
        padding_value=0,
    ):
        """A cross-correlation; with `source` None over the network's input, an image (y, x, c).

        `padding_xyn` is what a padding cell adds to a potential through a tap. Where all padding
        cells hold one `padding_value`, telling it lets vector kernels run the op.
        """
        cdef knsoc_op op
        memset(&op, 0, sizeof(op))
        op.kind = KNSOC_CONV
        op.image = source is None
        _set_window(&op.conv.x, "window_x", window_x)
        _set_window(&op.conv.y, "window_y", window_y)
        op.conv.channels = _side("channels", weights_xycn.shape[2])
        op.conv.neurons = _side("neurons", weights_xycn.shape[3])
        self._check_kernel(&op, "weights_xycn", weights_xycn.shape[0], weights_xycn.shape[1])
        op.conv.weights = &weights_xycn[0, 0, 0, 0]
        held = [weights_xycn]
        if padding_xyn is not None:
            self._check_kernel(&op, "padding_xyn", padding_xyn.shape[0], padding_xyn.shape[1])
            if padding_xyn.shape[2] != op.conv.neurons:
                raise ValueError(
                    f"padding_xyn is for {padding_xyn.shape[2]} neurons, "
                    f"but weights_xycn for {op.conv.neurons}"
                )
            op.conv.padding = &padding_xyn[0, 0, 0]
            held.append(padding_xyn)
        self._set_pooling(&op, pooling)
        self._set_thresholds(&op, thresholds_mn)
        op.wide = bool(wide)
        if not 0 <= padding_value <= 255:
            raise ValueError(f"{name}: padding_value is {padding_value}, but must be 0 to 255")
        if padding_xyn is None or padding_value:
            self._pack(&op, source, held, weights_xycn, thresholds_mn, None, padding_value)
        return self._append(name, &op, () if source is None else (source,), held, thresholds_mn)

    def add_separable(
        self,
        name,
        source,
        window_x,
        window_y,
        const int8_t[:, :, ::1] depthwise_xyc,
        const int8_t[:, ::1] pointwise_cn,
        pooling=None,
        const int32_t[:, ::1] thresholds_mn=None,
        wide=False,
    ):
        """A depthwise cross-correlation whose exact sums a pointwise one combines."""
        cdef knsoc_op op
        memset(&op, 0, sizeof(op))
        op.kind = KNSOC_SEPARABLE
        _set_window(&op.conv.x, "window_x", window_x)
        _set_window(&op.conv.y, "window_y", window_y)
        op.conv.channels = _side("channels", depthwise_xyc.shape[2])
        op.conv.neurons = _side("neurons", pointwise_cn.shape[1])
        self._check_kernel(&op, "depthwise_xyc", depthwise_xyc.shape[0], depthwise_xyc.shape[1])
        if pointwise_cn.shape[0] != op.conv.channels:
            raise ValueError(
                f"pointwise_cn has {pointwise_cn.shape[0]} channels, "
                f"but depthwise_xyc has {op.conv.channels}"
            )
        op.conv.weights = &depthwise_xyc[0, 0, 0]
        op.pointwise_cn = &pointwise_cn[0, 0]
        self._set_pooling(&op, pooling)
        self._set_thresholds(&op, thresholds_mn)
        op.wide = bool(wide)
        held = [depthwise_xyc, pointwise_cn]
        pointwise = np.asarray(pointwise_cn)[None, None]
        self._pack(&op, source, held, pointwise, thresholds_mn, depthwise_xyc)
        return self._append(name, &op, (source,), held, thresholds_mn)

    def add_fully_connected(
        self,
        name,
        source,
        const int8_t[:, ::1] weights_en,
        const int32_t[:, ::1] thresholds_mn=None,
        wide=False,
    ):
        """Every input to every neuron; inputs in the order (x, y, feature), feature fastest."""
        cdef knsoc_op op
        memset(&op, 0, sizeof(op))
        op.kind = KNSOC_FULLY
        if not 1 <= weights_en.shape[0] <= MAX_VALUES:
            raise ValueError(
                f"weights_en has {weights_en.shape[0]} inputs, allowed are 1 to {MAX_VALUES}"
            )
        # a 1x1 map whose channels are all inputs
        _set_window(&op.conv.x, "window_x", (1, 1, 1, 0, 1))
        _set_window(&op.conv.y, "window_y", (1, 1, 1, 0, 1))
        op.conv.channels = <int32_t>weights_en.shape[0]
        op.conv.neurons = _side("neurons", weights_en.shape[1])
        op.conv.weights = &weights_en[0, 0]
        op.width = op.height = 1
        op.features = op.conv.neurons
        self._set_thresholds(&op, thresholds_mn)
        op.wide = bool(wide)
        held = [weights_en]
        self._pack(&op, source, held, np.asarray(weights_en)[None, None], thresholds_mn)
        return self._append(name, &op, (source,), held, thresholds_mn)

    def add_concat(self, name, sources, const int32_t[:, ::1] thresholds_mn=None):
        """Joins the features of two or more ops that emit the same kind of values.

        Without thresholds the values pass: activations as uint8, potentials as int32.
        """
        cdef knsoc_op op
        memset(&op, 0, sizeof(op))
        sources = tuple(sources)
        if len(sources) < 2:
            raise ValueError(f"{name}: sources is {sources}, but at least two are joined")
        for source in sources:
            self._check_op(source)
        dims = [self.output_dims(source) for source in sources]
        kinds = {self.emits_potentials(source) for source in sources}
        if len({d[:2] for d in dims}) != 1 or len(kinds) != 1:
            raise ValueError(
                f"{name}: sources have the dims {dims} and emit "
                f"{['potentials' if k else 'activations' for k in sorted(kinds)]}; they must agree "
                "in width, in height and in what they emit"
            )
        op.kind = KNSOC_CONCAT
        op.width, op.height = dims[0][:2]
        op.features = _side("features", sum(d[2] for d in dims))
        op.conv.channels = 1
        self._set_thresholds(&op, thresholds_mn)
        op.emits_potentials = thresholds_mn is None and kinds == {True}
        return self._append(name, &op, sources, [], thresholds_mn)

    cdef int _check_op(self, index) except -1:
        if not 0 <= index < self._count:
            raise IndexError(f"op {index} does not exist, the network has {self._count}")
        return 0

    cdef int _check_first(self, name, bint first) except -1:
        if self._sealed:
            raise RuntimeError(f"{name}: the network has plans already; build a new one")
        if first != (self._count == 0):
            raise ValueError(
                f"{name}: the first op, and only it, takes the network's input; "
                f"this is op {self._count}"
            )
        return 0

    cdef int _check_kernel(self, knsoc_op *op, name, width, height) except -1:
        if (width, height) != (op.conv.x.size, op.conv.y.size):
            raise ValueError(
                f"{name} has a kernel of {width} x {height}, "
                f"but the windows are {op.conv.x.size} x {op.conv.y.size}"
            )
        return 0

    cdef int _set_pooling(self, knsoc_op *op, pooling) except -1:
        op.width, op.height = op.conv.x.output, op.conv.y.output
        op.features = op.conv.neurons
        if pooling is None:
            return 0
        kind, pool_x, pool_y = pooling
        if kind not in _POOLINGS:
            raise ValueError(f"pooling is {kind!r}, but must be one of {list(_POOLINGS)}")
        op.pooling = _POOLINGS[kind]
        _set_window(&op.pool_x, "pooling along x", pool_x)
        _set_window(&op.pool_y, "pooling along y", pool_y)
        if (op.pool_x.length, op.pool_y.length) != (op.width, op.height):
            raise ValueError(
                f"pooling slides over {op.pool_x.length} x {op.pool_y.length} positions, "
                f"but the convolution makes {op.width} x {op.height}"
            )
        op.width, op.height = op.pool_x.output, op.pool_y.output
        return 0

    cdef int _set_thresholds(self, knsoc_op *op, const int32_t[:, ::1] thresholds_mn) except -1:
        op.emits_potentials = thresholds_mn is None
        if thresholds_mn is None:
            return 0
        if not 1 <= thresholds_mn.shape[0] <= 255 or thresholds_mn.shape[1] != op.features:
            raise ValueError(
                f"thresholds_mn has the shape ({thresholds_mn.shape[0]}, {thresholds_mn.shape[1]})"
                f", but must have 1 to 255 levels and {op.features} features"
            )
        op.levels = <int32_t>thresholds_mn.shape[0]
        op.thresholds_mn = &thresholds_mn[0, 0]
        return 0

    cdef int _pack(
        self, knsoc_op *op, source, list held, weights, thresholds, depthwise=None, int fill=0
    ) except -1:
        """Prepare an op for the vector kernels of the row, if there are any that can run it."""
        cdef knsoc_packed *p = &op.packed
        cdef const knsoc_window *columns = &op.conv.x
        cdef const knsoc_window *cells = &op.conv.y
        if self._row.vector == NULL or op.wide:
            return 0
        if source is None:
            largest = 255
        elif 0 <= source < self._count and self._largest[source]:
            largest = max(self._largest[source], fill)
        else:
            return 0  # refused later
        weights = np.asarray(weights)
        if depthwise is not None:
            depthwise = np.asarray(depthwise)
        if op.image:  # arrives as [y][x][channel]
            columns, cells = cells, columns
            weights = weights.transpose(1, 0, 2, 3)
        summed = 1
        if op.pooling == KNSOC_POOL_SUM:
            summed = op.pool_x.size * op.pool_y.size
        packed = pack(
            Layout(
                self._row.vector.vector_bytes,
                self._row.vector.dense_block,
                self._row.vector.separable != NULL,
                self._row.vector.look_up != NULL,
            ),
            (columns.length, columns.size, columns.stride, columns.lead, columns.output),
            (cells.length, cells.size, cells.stride, cells.lead, cells.output),
            np.ascontiguousarray(weights),
            largest,
            None if thresholds is None else np.asarray(thresholds),
            summed,
            op.kind == KNSOC_FULLY,
            depthwise,
        )
        if packed is None:
            return 0
        p.columns, p.cells, p.channels = columns.length, cells.length, op.conv.channels
        p.fan_out_columns = <const int32_t *>_address(packed.fan_out_columns)
        p.fan_out_bytes = <const uint8_t *>_address(packed.fan_out_bytes)
        p.framed, p.fill, p.largest = packed.framed, fill, largest
        p.lead_columns, p.lead_cells = columns.lead, cells.lead
        p.framed_columns, p.framed_cells = packed.framed_columns, packed.framed_cells
        p.size_columns, p.size_cells = columns.size, cells.size
        p.stride_columns, p.stride_cells = columns.stride, cells.stride
        p.output_columns, p.output_cells = columns.output, cells.output
        p.column_step, p.cell_step = cells.output, 1
        if op.image:
            p.column_step, p.cell_step = 1, columns.output
        p.neurons, p.padded_neurons = op.conv.neurons, packed.padded_neurons
        p.dense = <const int8_t *>_address(packed.dense)
        p.segments, p.quads, p.joined = packed.segments, packed.quads, packed.joined
        p.rows = <const int8_t *>_address(packed.rows)
        p.narrow, p.flush = packed.narrow, min(packed.flush, INT32_MAX)
        share = self._crossover_of(packed, op.kind == KNSOC_FULLY)
        p.events_up_to = <int64_t>(share * knsoc_op_inputs(op))
        # several samples share the weights that the dense form reads, as positions of a map do
        if packed.nibbles is None or not packed.nibbles.group:
            share = min(share, self._conv_crossover)
        p.group_events_up_to = <int64_t>(share * knsoc_op_inputs(op))
        p.single_dots, p.dots_in_s16 = packed.single_dots, packed.dots_in_s16
        if packed.bits is not None:
            p.bits.rows_fit = packed.bits.rows_fit
            p.bits.tables = <const int8_t *>_address(packed.bits.tables)
            p.bits.piece, p.bits.chunk = packed.bits.piece, packed.bits.chunk
        if packed.nibbles is not None:
            p.nibbles.rows = <const uint8_t *>_address(packed.nibbles.rows)
            p.nibbles.pitch, p.nibbles.bias = packed.nibbles.pitch, packed.nibbles.bias
            p.nibbles.group, p.nibbles.groups = packed.nibbles.group, packed.nibbles.groups
            p.nibbles.flush = packed.nibbles.flush
        p.depthwise = <const int16_t *>_address(packed.depthwise)
        p.period, p.flat = packed.period, packed.flat
        if packed.strips is not None:
            p.sums_form, p.window_pairs = packed.strips.form, packed.strips.pairs
            p.period, p.flat = packed.strips.period, packed.strips.flat
            p.window_weights = <const int8_t *>_address(packed.strips.weights)
            p.base = <const int16_t *>_address(packed.strips.base)
            p.start_n = <const int32_t *>_address(packed.strips.start_n)
        p.fire.levels = op.levels
        if packed.line is not None:
            p.fire.form = KNSOC_FIRE_LINE
            p.fire.slope_n = <const float *>_address(packed.line.slope_n)
            p.fire.offset_n = <const float *>_address(packed.line.offset_n)
        elif op.levels:
            p.fire.form = KNSOC_FIRE_TABLE
            p.fire.thresholds_mn = <const int32_t *>_address(packed.thresholds)
        if op.kind == KNSOC_SEPARABLE:
            p.kind = KNSOC_PACKED_SEPARABLE
        else:
            p.kind = KNSOC_PACKED_FULLY if op.kind == KNSOC_FULLY else KNSOC_PACKED_CONV
        held.append(packed)
        return 0

    cdef double _crossover_of(self, packed, bint fully):
        """Up to which share of events the event form of a layer is the quicker one."""
        cdef double share, run, reach
        if fully:
            if packed.nibbles is None:
                return self._fully_crossover * WIDE_ROWS
            return 1.0 if packed.nibbles.group else self._fully_crossover
        if packed.bits is not None and packed.bits.tables is not None:
            return LOOKUP_CROSSOVER
        run = packed.channels * packed.cells[1]
        if run > LONGEST_RUN:
            run = packed.channels
        reach = packed.columns[1] * packed.cells[1] * packed.neurons
        share = self._conv_crossover - RUN_COST * (1 / run - 1 / TIMED_RUN)
        if packed.rows is not None and packed.rows.nbytes > WARM_BYTES:
            share *= COLD_ROWS
        return max(0.0, share - LIST_COST * (1 / reach - 1 / TIMED_REACH))

    cdef _append(self, name, knsoc_op *op, sources, held=(), thresholds=None, largest=0):
        """Last checks, then the op is copied into the list; `held` keeps its arrays alive."""
        cdef knsoc_op *ops
        self._check_first(name, not sources)
        for source in sources:
            self._check_op(source)
        if sources and op.kind != KNSOC_CONCAT:
            self._check_source(name, op, sources[0])
        _check_values(name, op.width, op.height, op.features)
        if op.kind not in (KNSOC_CONCAT, KNSOC_FULLY):
            _check_values(name, op.conv.x.length, op.conv.y.length, op.conv.channels)
        if op.kind in (KNSOC_CONV, KNSOC_SEPARABLE):
            widest = max(op.conv.channels, op.conv.neurons)
            _check_values(name, op.conv.x.output, op.conv.y.output, widest)
        held = list(held) + [thresholds]
        if sources:
            indices = np.array(sources, np.int32)
            op.source_count = len(sources)
            op.sources = <const int32_t *><uintptr_t>indices.ctypes.data
            held.append(indices)
        if op.kind not in (KNSOC_INPUT, KNSOC_CONCAT):
            fan_out_x = np.empty(op.conv.x.length, np.int32)
            fan_out_y = np.empty(op.conv.y.length, np.int32)
            op.fan_out_x = <const int32_t *><uintptr_t>fan_out_x.ctypes.data
            op.fan_out_y = <const int32_t *><uintptr_t>fan_out_y.ctypes.data
            knsoc_fan_out(&op.conv.x, <int32_t *>op.fan_out_x)
            knsoc_fan_out(&op.conv.y, <int32_t *>op.fan_out_y)
            held += [fan_out_x, fan_out_y]
        ops = <knsoc_op *>realloc(self._ops, (self._count + 1) * sizeof(knsoc_op))
        if ops == NULL:
            raise MemoryError(f"{name}: no memory for one more op")
        self._ops = ops
        self._ops[self._count] = op[0]
        self._alive.append(held)
        self._names.append(name)
        if op.levels:
            largest = op.levels
        elif op.kind == KNSOC_CONCAT and not op.emits_potentials:
            largest = max(self._largest[source] for source in sources)
        self._largest.append(largest)
        self._count += 1
        return self._count - 1

    cdef int _check_source(self, name, knsoc_op *op, source) except -1:
        cdef knsoc_op *feeding = &self._ops[<int32_t>source]
        if feeding.emits_potentials:
            raise ValueError(f"{name}: source {source} emits potentials, which only a concat takes")
        found = (feeding.width, feeding.height, feeding.features)
        wanted = (op.conv.x.length, op.conv.y.length, op.conv.channels)
        if op.kind == KNSOC_FULLY:
            fits = knsoc_op_outputs(feeding) == op.conv.channels
            wanted = f"{op.conv.channels} inputs"
        else:
            fits = found == wanted
        if not fits:
            raise ValueError(f"{name}: source {source} has the dims {found}, not {wanted}")
        return 0


cdef class Plan:
    """All buffers that one network needs to run; one thread at a time may use it.

    Parameters
    ----------
    network : Network
        Takes no further ops from now on.

    Notes
    -----
    There is one allocation, made here; `run` makes none beside the views of its arguments.
    """

    cdef Network _network
    cdef knsoc_plan _plan
    cdef char *_memory
    cdef uint8_t *_base
    cdef int64_t _used
    cdef list _guards
    cdef list _slot_of, _slot_bytes  # [op]: the piece of memory of its map; [piece]
    cdef void **_outputs
    cdef int64_t *_counters  # [CALL_SAMPLES + 1][op][KNSOC_COUNTERS]; made when needed
    cdef bint _busy

    def __cinit__(self, Network network not None):
        if len(network) == 0:
            raise ValueError("the network is empty; add an input first")
        self._network = network
        network._sealed = True
        self._guards = []
        self._plan.row = network._row
        self._plan.ops = network._ops
        self._plan.op_count = network._count
        self._plan.maps = <void **>calloc(network._count, sizeof(void *))
        self._plan.framed_for = <const knsoc_op **>calloc(network._count, sizeof(knsoc_op *))
        self._outputs = <void **>calloc(network._count, sizeof(void *))
        if self._plan.maps == NULL or self._plan.framed_for == NULL or self._outputs == NULL:
            raise MemoryError("no memory for the plan's tables")
        self._find_tail()
        self._find_frames()
        self._share_maps()
        self._place()  # measures
        self._memory = <char *>malloc(self._used + 63)
        if self._memory == NULL:
            raise MemoryError(f"no memory for the plan's buffers, {self._used} bytes")
        self._base = <uint8_t *>((<uintptr_t>self._memory + 63) & ~<uintptr_t>63)
        self._place()

    def __dealloc__(self):
        if self._base != NULL:
            knsoc_allow(self._base, self._used)
        free(self._memory)
        free(self._plan.maps)
        free(self._plan.framed_for)
        free(self._outputs)
        free(self._counters)

    @property
    def nbytes(self):
        """Size of the buffers."""
        return self._used

    cdef void *_take(self, int64_t size):
        """The next `size` bytes, 64-byte aligned, with guard bytes behind; NULL while measuring."""
        cdef int64_t start = self._used
        self._used = (start + size + GUARD + 63) & ~<int64_t>63
        if self._base == NULL:
            return NULL
        memset(self._base + start + size, GUARD_BYTE, self._used - start - size)
        knsoc_forbid(self._base + start + size, self._used - start - size)
        self._guards.append((start + size, self._used))
        return self._base + start

    cdef void _find_tail(self):
        """The last ops that can run several samples at once, and how many."""
        cdef int32_t i = self._plan.op_count
        cdef int64_t widest = 1
        cdef const knsoc_op *op
        while i > 1:
            op = &self._plan.ops[i - 1]
            if op.packed.kind != KNSOC_PACKED_FULLY or op.sources[0] != i - 2:
                break
            widest = max(widest, max(knsoc_op_inputs(op), knsoc_op_outputs(op) * 4))
            i -= 1
        self._plan.tail = i
        self._plan.group = 1
        if i < self._plan.op_count:
            self._plan.group = <int32_t>max(1, min(GROUP_SAMPLES, GROUP_BYTES // widest))

    cdef void _find_frames(self):
        """Ops that write into the border of the next one, which then needs no copy of its input."""
        cdef int32_t i, j, s, readers
        cdef const knsoc_op *op
        cdef const knsoc_op *next_op
        for i in range(self._plan.op_count - 1):
            op, next_op = &self._plan.ops[i], &self._plan.ops[i + 1]
            if op.packed.kind not in (KNSOC_PACKED_CONV, KNSOC_PACKED_SEPARABLE):
                continue
            if op.pooling != KNSOC_POOL_NONE or op.emits_potentials:
                continue
            if next_op.packed.kind not in (KNSOC_PACKED_CONV, KNSOC_PACKED_SEPARABLE):
                continue
            if not next_op.packed.framed or next_op.sources[0] != i:
                continue
            readers = 0
            for j in range(i + 1, self._plan.op_count):
                for s in range(self._plan.ops[j].source_count):
                    readers += self._plan.ops[j].sources[s] == i
            if readers == 1:
                self._plan.framed_for[i] = next_op

    cdef int64_t _map_bytes(self, int32_t i):
        cdef const knsoc_op *op = &self._plan.ops[i]
        cdef int64_t size = knsoc_op_outputs(op) * (4 if op.emits_potentials else 1)
        if self._plan.group > 1 and i >= self._plan.tail - 1:
            return size * self._plan.group + KNSOC_SLACK
        if self._plan.framed_for[i] != NULL:
            return knsoc_framed_bytes(&self._plan.framed_for[i].packed) + KNSOC_SLACK
        return size

    cdef int _share_maps(self) except -1:
        """Which map takes which memory: that of the map that was needed last, if it is free."""
        cdef int32_t i, s, slot
        cdef int32_t count = self._plan.op_count
        last = list(range(count))  # the op after which a map is not needed
        for i in range(count):
            for s in range(self._plan.ops[i].source_count):
                last[self._plan.ops[i].sources[s]] = i
        self._slot_of = []
        self._slot_bytes = []
        ends = []
        for i in range(count):
            alone = self._plan.group > 1 and i >= self._plan.tail - 1
            ended = [slot for slot in range(len(ends)) if ends[slot] < i]
            if alone or not ended:
                slot = len(ends)
                ends.append(0)
                self._slot_bytes.append(0)
            else:
                slot = max(ended, key=ends.__getitem__)
            # maps of a group of samples are needed until its last ops have run
            ends[slot] = count if alone else last[i]
            self._slot_bytes[slot] = max(self._slot_bytes[slot], self._map_bytes(i))
            self._slot_of.append(slot)
        return 0

    cdef int _place(self) except -1:
        cdef int64_t image = 0, sums = 0, potentials = 0, pooled = 0, narrow = 0
        cdef int64_t inputs = 0, positions = 0, outputs, size
        cdef int64_t frame = 0, tile = 0, slack = 0
        cdef int32_t i, s
        cdef const knsoc_op *op
        cdef const knsoc_op *source
        self._used = 0
        self._take(0)
        starts = [None] * len(self._slot_bytes)
        for i in range(self._plan.op_count):
            op = &self._plan.ops[i]
            outputs = knsoc_op_outputs(op)
            slot = self._slot_of[i]
            if starts[slot] is None:
                starts[slot] = <uintptr_t>self._take(self._slot_bytes[slot])
            self._plan.maps[i] = <void *><uintptr_t>starts[slot]
            if op.kind == KNSOC_INPUT:
                continue
            if op.kind == KNSOC_CONCAT:
                narrow = max(narrow, outputs)
                for s in range(op.source_count):
                    source = &self._plan.ops[op.sources[s]]
                    inputs = max(inputs, knsoc_op_outputs(source))
                positions = max(positions, <int64_t>op.width * op.height)
                continue
            inputs = max(inputs, knsoc_op_inputs(op))
            positions = max(positions, <int64_t>op.conv.x.length * op.conv.y.length)
            if op.image:
                image = knsoc_op_inputs(op)
            size = 8 if op.wide else 4
            if op.wide:
                narrow = max(narrow, outputs)
            if op.pooling != KNSOC_POOL_NONE:
                pooled = max(pooled, outputs * size)
            outputs = <int64_t>op.conv.x.output * op.conv.y.output
            potentials = max(potentials, outputs * op.conv.neurons * size)
            if op.packed.sums_form:
                sums = max(sums, knsoc_strip_bytes(&op.packed))
            elif op.kind == KNSOC_SEPARABLE:
                sums = max(sums, outputs * op.conv.channels * size)
            if op.packed.kind != KNSOC_PACKED_NOT:
                slack = KNSOC_SLACK
                if i == 0 or self._plan.framed_for[i - 1] != op:
                    frame = max(frame, knsoc_framed_bytes(&op.packed))
                inputs = max(inputs, knsoc_framed_bytes(&op.packed))
                size = <int64_t>op.packed.framed_columns * op.packed.framed_cells
                positions = max(positions, size)
                tile = max(tile, KNSOC_EVENT_TILE * KNSOC_EVENT_BLOCK)
                # what a silent sample, and 16-bit sums, need at least
                potentials = max(potentials, op.conv.neurons * 4)
        self._plan.image = <uint8_t *>self._take(image)
        self._plan.sums = self._take(sums + slack)
        self._plan.potentials = self._take(potentials)
        self._plan.pooled = self._take(pooled)
        self._plan.narrow = <int32_t *>self._take(narrow * 4)
        self._plan.events.first = <uint32_t *>self._take((positions + 1) * 4)
        # one more than there can be events: the list is written before it is known to grow
        self._plan.events.index = <uint32_t *>self._take((inputs + 1 + slack) * 4)
        self._plan.events.value = <uint8_t *>self._take(inputs + 1 + slack)
        if slack:
            self._plan.frame = <uint8_t *>self._take(frame + slack)
            self._plan.tile = <int32_t *>self._take(tile * 4)
        return 0

    cdef int _prepare_call(self) except -1:
        """For calls that keep counters here; they give the plan back themselves."""
        cdef int32_t i
        if self._busy:
            raise RuntimeError("the plan is in use by another thread; take one plan per thread")
        if self._counters == NULL:
            self._counters = <int64_t *>calloc(
                (CALL_SAMPLES + 1) * self._plan.op_count, KNSOC_COUNTERS * sizeof(int64_t)
            )
            if self._counters == NULL:
                raise MemoryError("no memory for the plan's counters")
        for i in range(self._plan.op_count):
            self._outputs[i] = NULL
        self._plan.counters = self._counters
        self._plan.outputs = self._outputs
        self._busy = True
        return 0

    def broken_guards(self):
        """Byte offsets at which something was written behind a buffer; empty if all is well."""
        cdef int64_t start, stop, i
        broken = []
        for start, stop in self._guards:
            knsoc_allow(self._base + start, stop - start)
            for i in range(start, stop):
                if self._base[i] != GUARD_BYTE:
                    broken.append(i)
                    break
            knsoc_forbid(self._base + start, stop - start)
        return broken

    def run(
        self,
        const uint8_t[:, ::1] inputs_si,
        list outputs,
        int64_t[:, :, ::1] counters_sok,
        form="auto",
    ):
        """Run a batch with the lock of the interpreter released.

        Parameters
        ----------
        inputs_si : ndarray of uint8, shape (samples, inputs)
        outputs : list, one entry per op
            None, or a C-contiguous array for the op's output, shape (samples, outputs), uint8 or
            int32 as `Network.emits_potentials` says.
        counters_sok : ndarray of int64, shape (samples, ops, 3)
            Filled with `COUNTERS`.
        form : {"auto", "dense", "events"}
            Which form of each kernel; the results are the same.

        Raises
        ------
        RuntimeError
            If another thread is using the plan.
        ValueError
            If a shape is wrong, or an input larger than the network was told.
        OverflowError
            If a potential leaves 32 bits; the arrays then hold the results up to that sample.
        """
        cdef knsoc_overflow overflow
        cdef const knsoc_plan *plan
        cdef int64_t samples = inputs_si.shape[0]
        cdef const uint8_t *inputs
        cdef int64_t *counters
        cdef int32_t i
        cdef int code, failed, found_largest
        cdef uint8_t[:, ::1] activations_so
        cdef int32_t[:, ::1] potentials_so
        if form not in FORMS:
            raise ValueError(f"form is {form!r}, but must be one of {list(FORMS)}")
        code = _FORM_CODES[form]
        expected = knsoc_op_inputs(&self._plan.ops[0])
        if inputs_si.shape[1] != expected:
            raise ValueError(f"a sample has {inputs_si.shape[1]} inputs, but takes {expected}")
        wanted = (samples, self._plan.op_count, KNSOC_COUNTERS)
        found = (counters_sok.shape[0], counters_sok.shape[1], counters_sok.shape[2])
        if found != wanted:
            raise ValueError(f"counters_sok has the shape {found}, but must have {wanted}")
        if len(outputs) != self._plan.op_count:
            raise ValueError(
                f"outputs has {len(outputs)} entries for {self._plan.op_count} ops"
            )
        if self._busy:
            raise RuntimeError("the plan is in use by another thread; take one plan per thread")
        self._busy = True
        try:
            for i in range(self._plan.op_count):
                self._outputs[i] = NULL
                if outputs[i] is None:
                    continue
                wanted = (samples, knsoc_op_outputs(&self._plan.ops[i]))
                if self._plan.ops[i].emits_potentials:
                    potentials_so = outputs[i]
                    found = (potentials_so.shape[0], potentials_so.shape[1])
                    if samples and found == wanted:
                        self._outputs[i] = &potentials_so[0, 0]
                else:
                    activations_so = outputs[i]
                    found = (activations_so.shape[0], activations_so.shape[1])
                    if samples and found == wanted:
                        self._outputs[i] = &activations_so[0, 0]
                if found != wanted:
                    raise ValueError(
                        f"outputs[{i}] has the shape {found}, but must have {wanted}"
                    )
            if samples == 0:
                return
            inputs = &inputs_si[0, 0]
            largest = self._network.largest_input
            if largest < 255:
                # sums were proved for these values only
                with nogil:
                    found_largest = knsoc_u8_largest(inputs, samples * inputs_si.shape[1])
                if found_largest > largest:
                    raise ValueError(
                        f"inputs_si holds the value {found_largest}, but the network takes 0 to "
                        f"{largest}"
                    )
            counters = &counters_sok[0, 0, 0]
            plan = &self._plan
            with nogil:
                failed = knsoc_run(
                    &plan, 1, inputs, samples, code, self._outputs, counters, &overflow
                )
        finally:
            self._busy = False
        if failed:
            name = self._network._names[overflow.op]
            neuron = overflow.index % self._plan.ops[overflow.op].features
            raise OverflowError(
                f"layer {name!r}: the potential of neuron {neuron} in sample {overflow.sample} is "
                f"{overflow.value}, outside the 32 bits of a potential "
                f"({-2**31} to {2**31 - 1}). Use smaller weights, fewer bits or fewer inputs."
            )


def run_together(
    list plans,
    const uint8_t[:, ::1] inputs_si,
    outputs_so,
    int64_t[:, ::1] totals_ok,
    form="auto",
):
    """Run a batch with several plans of one network at once, in threads of the module's own.

    Samples are shared out; one sample is shared out inside its large layers.

    Parameters
    ----------
    plans : list of Plan
        One for each thread.
    inputs_si : ndarray of uint8, shape (samples, inputs)
    outputs_so : ndarray, shape (samples, outputs)
        Filled with the last op's output, uint8 or int32 as `Network.emits_potentials` says.
    totals_ok : ndarray of int64, shape (ops, 3)
        The `COUNTERS` of all samples are added.
    form : {"auto", "dense", "events"}

    Returns
    -------
    int
        0, or, if a potential left 32 bits, a number of samples from the first on, one of which has
        such a potential; `Plan.run` names it.

    Raises
    ------
    RuntimeError
        If another thread is using one of the plans.
    ValueError
        If a shape is wrong, or an input larger than the network was told.
    """
    cdef const knsoc_plan *team[KNSOC_TEAM]
    cdef Plan plan
    cdef Network network
    cdef int64_t samples = inputs_si.shape[0], failed
    cdef const uint8_t *inputs
    cdef void *outputs
    cdef int64_t *totals
    cdef int code, threads = <int>len(plans), found_largest, i
    cdef uint8_t[:, ::1] activations_so
    cdef int32_t[:, ::1] potentials_so
    if not 1 <= threads <= KNSOC_TEAM:
        raise ValueError(f"there are {threads} plans, but must be 1 to {KNSOC_TEAM}")
    if form not in FORMS:
        raise ValueError(f"form is {form!r}, but must be one of {list(FORMS)}")
    code = _FORM_CODES[form]
    network = (<Plan?>plans[0])._network
    for entry in plans:
        if (<Plan?>entry)._network is not network:
            raise ValueError("plans are of several networks, but must be of one")
    last = len(network) - 1
    expected = knsoc_op_inputs(&network._ops[0])
    if inputs_si.shape[1] != expected:
        raise ValueError(f"a sample has {inputs_si.shape[1]} inputs, but takes {expected}")
    if (totals_ok.shape[0], totals_ok.shape[1]) != (last + 1, KNSOC_COUNTERS):
        raise ValueError(
            f"totals_ok has the shape ({totals_ok.shape[0]}, {totals_ok.shape[1]}), "
            f"but must have {(last + 1, KNSOC_COUNTERS)}"
        )
    wanted = (samples, knsoc_op_outputs(&network._ops[last]))
    if network._ops[last].emits_potentials:
        potentials_so = outputs_so
        found = (potentials_so.shape[0], potentials_so.shape[1])
        outputs = &potentials_so[0, 0] if samples else NULL
    else:
        activations_so = outputs_so
        found = (activations_so.shape[0], activations_so.shape[1])
        outputs = &activations_so[0, 0] if samples else NULL
    if found != wanted:
        raise ValueError(f"outputs_so has the shape {found}, but must have {wanted}")
    if samples == 0:
        return 0
    inputs = &inputs_si[0, 0]
    totals = &totals_ok[0, 0]
    largest = network.largest_input
    if largest < 255:
        with nogil:
            found_largest = knsoc_u8_largest(inputs, samples * inputs_si.shape[1])
        if found_largest > largest:
            raise ValueError(
                f"inputs_si holds the value {found_largest}, but the network takes 0 to {largest}"
            )
    taken = []
    try:
        for i in range(threads):
            plan = plans[i]
            plan._prepare_call()
            taken.append(plan)
            team[i] = &plan._plan
        with nogil:
            failed = knsoc_run_batch(team, threads, inputs, samples, code, outputs, totals)
    finally:
        for plan in taken:
            plan._busy = False
    return failed


cdef class Tally:
    """Running totals of a model, to which a call adds without a Python object in between.

    Parameters
    ----------
    layers : sequence of ndarray of int64, shape (4,)
        Per layer: samples, events in, synaptic operations, events out.
    model : ndarray of int64, shape (4,)
        Samples, events into the first layer, synaptic operations, events out of the last layer.
    seconds : ndarray of float64, shape (1,)

    Notes
    -----
    The arrays are added to in place, under the lock of the interpreter: no call is lost, whatever
    the number of threads.
    """

    cdef list _arrays
    cdef int64_t **_layers
    cdef Py_ssize_t _count
    cdef int64_t *_model
    cdef double *_seconds

    def __cinit__(self, layers, model, seconds):
        cdef int64_t[::1] row
        cdef double[::1] time
        self._arrays = [*layers, model, seconds]
        self._count = len(self._arrays) - 2
        self._layers = <int64_t **>calloc(self._count + 1, sizeof(int64_t *))
        if self._layers == NULL:
            raise MemoryError("no memory for the totals")
        for i in range(self._count + 1):
            row = self._arrays[i]
            if row.shape[0] != 4:
                raise ValueError(f"array {i} has {row.shape[0]} totals, but must have 4")
            self._layers[i] = &row[0]
        self._model = self._layers[self._count]
        time = seconds
        if time.shape[0] != 1:
            raise ValueError(f"seconds has {time.shape[0]} values, but must have 1")
        self._seconds = &time[0]

    def __dealloc__(self):
        free(self._layers)

    def add(self, int64_t samples, const int64_t[:, ::1] totals_lk, double seconds):
        """Add a batch.

        Parameters
        ----------
        samples : int
        totals_lk : ndarray of int64, shape (layers, 3)
            `COUNTERS` of all samples.
        seconds : float
        """
        found = (totals_lk.shape[0], totals_lk.shape[1])
        if found != (self._count, KNSOC_COUNTERS):
            raise ValueError(
                f"totals_lk has the shape {found}, but must have {(self._count, KNSOC_COUNTERS)}"
            )
        if self._count:
            self._add(samples, &totals_lk[0, 0], 1, seconds)

    cdef void _add(
        self, int64_t samples, const int64_t *counters, int64_t rows, double seconds
    ) noexcept:
        """Adds `rows` sets of counters, [row][layer][KNSOC_COUNTERS]."""
        cdef int64_t _
        cdef Py_ssize_t i
        cdef int64_t *row
        for i in range(self._count):
            self._layers[i][0] += samples
        for _ in range(rows):
            self._model[1] += counters[0]
            for i in range(self._count):
                row = self._layers[i]
                row[1] += counters[0]
                row[2] += counters[1]
                row[3] += counters[2]
                self._model[2] += counters[1]
                counters += KNSOC_COUNTERS
            self._model[3] += (counters - 1)[0]
        self._model[0] += samples
        self._seconds[0] += seconds


cdef class Caller:
    """A whole call in one step, for inputs that need no conversion: the short way to run a network.

    Parameters
    ----------
    network : Network
    plans : deque of Plan
        Where a call takes its plan from, and puts it back.
    limit : int
        Samples at most; what is beyond is worth several threads. At least 1.
    splits : bool
        Whether one sample is worth several threads too, unless a call asks for one.

    Notes
    -----
    ``call(inputs, tally, form, threads)`` returns the last op's output, or None where it leaves the
    call to the long way, which then takes or refuses it: another type, shape or layout, a value
    that is too large, more than `limit` samples, a potential that leaves 32 bits, an unknown form
    or number of threads. Nothing has been counted then. Samples up to the limit run in one thread,
    however many are allowed.
    """

    cdef Network _network
    cdef object _plans
    cdef int64_t _limit, _inputs
    cdef cnp.npy_intp[3] _shape
    cdef int _largest
    cdef bint _splits

    def __cinit__(self, Network network not None, plans, int64_t limit, bint splits=False):
        cdef const knsoc_op *first
        if len(network) == 0:
            raise ValueError("the network is empty; add an input first")
        if limit < 1:
            raise ValueError(f"limit is {limit}, but must be at least 1")
        self._network = network
        self._plans = plans
        self._limit = min(limit, CALL_SAMPLES)
        self._splits = splits
        self._largest = network.largest_input
        first = &network._ops[0]
        self._inputs = knsoc_op_inputs(first)
        self._shape[0], self._shape[1] = first.conv.x.length, first.conv.y.length
        if first.image:
            self._shape[0], self._shape[1] = self._shape[1], self._shape[0]
        self._shape[2] = first.conv.channels

    def __call__(self, inputs, Tally tally not None, form=None, threads=None):
        cdef cnp.ndarray array
        cdef Plan plan
        cdef const knsoc_plan *alone
        cdef const char *asked
        cdef int code, failed
        cdef int64_t samples
        cdef double start
        cdef knsoc_overflow overflow
        cdef cnp.npy_intp[4] dims
        cdef const knsoc_op *last
        cdef const uint8_t *values
        if threads is None:
            if self._splits:
                return None
        elif type(threads) is not int or not 1 <= threads <= (1 if self._splits else MOST_THREADS):
            return None
        if form is not None:
            if form not in FORMS:
                return None
            code = _FORM_CODES[form]
        else:
            # as os.environ has it, at a tenth of the time
            asked = getenv("KERASNSOC_FORM")
            if asked == NULL or asked[0] == 0 or strcmp(asked, "auto") == 0:
                code = KNSOC_FORM_AUTO
            elif strcmp(asked, "dense") == 0:
                code = KNSOC_FORM_DENSE
            elif strcmp(asked, "events") == 0:
                code = KNSOC_FORM_EVENTS
            else:
                return None
        if type(inputs) is not cnp.ndarray:
            return None
        array = inputs
        if cnp.PyArray_TYPE(array) != cnp.NPY_UINT8 or not cnp.PyArray_IS_C_CONTIGUOUS(array):
            return None
        if cnp.PyArray_NDIM(array) == 4:
            if (
                cnp.PyArray_DIM(array, 1) != self._shape[0]
                or cnp.PyArray_DIM(array, 2) != self._shape[1]
                or cnp.PyArray_DIM(array, 3) != self._shape[2]
            ):
                return None
        elif (
            cnp.PyArray_NDIM(array) != 2
            or self._shape[0] != 1
            or self._shape[1] != 1
            or cnp.PyArray_DIM(array, 1) != self._shape[2]
        ):
            return None
        samples = cnp.PyArray_DIM(array, 0)
        if not 1 <= samples <= self._limit or tally._count != self._network._count:
            return None
        start = perf_counter()
        last = &self._network._ops[self._network._count - 1]
        dims[0], dims[1], dims[2], dims[3] = samples, last.width, last.height, last.features
        outputs = cnp.PyArray_EMPTY(
            4, dims, cnp.NPY_INT32 if last.emits_potentials else cnp.NPY_UINT8, 0
        )
        try:
            plan = self._plans.pop()
        except IndexError:
            plan = Plan(self._network)
        try:
            plan._prepare_call()
            alone = &plan._plan
            values = <const uint8_t *>cnp.PyArray_DATA(array)
            plan._outputs[self._network._count - 1] = cnp.PyArray_DATA(outputs)
            with nogil:
                failed = (
                    self._largest < 255
                    and knsoc_u8_largest(values, samples * self._inputs) > self._largest
                )
                if not failed:
                    failed = knsoc_run(
                        &alone,
                        1,
                        values,
                        samples,
                        code,
                        plan._outputs,
                        plan._counters,
                        &overflow,
                    )
            if failed:
                return None
            tally._add(samples, plan._counters, samples, perf_counter() - start)
        finally:
            plan._busy = False
            self._plans.append(plan)
        return outputs
