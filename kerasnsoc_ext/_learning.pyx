"""Learning of a layer with binary weights and binary inputs: checks here, loops in C."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np


cdef extern from "knl.h" nogil:
    enum:
        KNL_ONE

    ctypedef struct knl_kernel:
        const char *name
        int (*available)()

    ctypedef struct knl_axis:
        int32_t length, size, stride, lead, output

    ctypedef struct knl_scratch:
        uint64_t *patches_pw
        uint8_t *patch_i
        uint8_t *row_i
        int16_t *keys_i
        uint64_t *ties_w
        int32_t *unused_inputs
        int32_t *unused_weights
        int32_t *best_j
        int32_t *position_j

    ctypedef void (*knl_rule)()

    ctypedef struct knl_layer:
        const knl_kernel *kernel
        knl_rule rule
        knl_axis x, y
        int32_t channels
        int64_t inputs, words
        int32_t neurons, classes, num_weights
        int32_t initial_plasticity, min_plasticity, decay, competition
        int64_t ratio, ratio_of
        uint64_t seed
        uint64_t *weights_jw
        int16_t *counters_ji
        int32_t *thresholds_j
        int32_t *plasticities_j
        uint32_t *steps_j

    const knl_kernel *const knl_kernels[]
    knl_rule knl_majority, knl_swap
    int64_t knl_first_not_binary(const uint8_t *values, int64_t count)
    void knl_fit(const knl_layer *layer, const uint8_t *samples, int64_t count,
                 const int64_t *labels, int32_t *potentials, int32_t *learners,
                 knl_scratch *scratch)
    void knl_fresh_row(int64_t inputs, int64_t words, int32_t num_weights, uint64_t seed,
                       int64_t neuron, int32_t *list, uint64_t *row_w)


MAX_INPUTS = 2**31 - 1
RULES = ("majority", "swap")


def words_for(inputs):
    """64-bit words in the row of bits of a neuron with this many connections."""
    return -(-inputs // 512) * 8


def kernel_names():
    """Kernels of this build, from the fastest to the plainest."""
    names = []
    cdef int i = 0
    while knl_kernels[i] != NULL:
        names.append(knl_kernels[i].name.decode())
        i += 1
    return tuple(names)


def available_kernels():
    """Kernels that this CPU runs, from the fastest to the plainest."""
    names = []
    cdef int i = 0
    while knl_kernels[i] != NULL:
        if knl_kernels[i].available():
            names.append(knl_kernels[i].name.decode())
        i += 1
    return tuple(names)


def first_not_binary(const uint8_t[:, ::1] samples_si):
    """Index of the first value above 1, counted over all samples, or -1."""
    cdef int64_t found = -1
    if samples_si.shape[0] and samples_si.shape[1]:
        with nogil:
            found = knl_first_not_binary(&samples_si[0, 0],
                                         samples_si.shape[0] * samples_si.shape[1])
    return found


def fresh_rows(int64_t inputs, int32_t num_weights, uint64_t seed, int64_t first, int64_t stop):
    """Weights of neurons that have never learned.

    Parameters
    ----------
    inputs : int
        Connections of a neuron.
    num_weights : int
        Ones per neuron.
    seed : int
    first, stop : int
        Which neurons: each has a random stream of its own.

    Returns
    -------
    weights_jw : ndarray of uint64, shape (stop - first, words)
        Connection i is bit i % 64 of word i // 64.
    """
    if not 1 <= inputs <= MAX_INPUTS or not 1 <= num_weights <= inputs:
        raise ValueError(
            f"inputs is {inputs} and num_weights is {num_weights}, but they must be at least 1, "
            f"and num_weights at most inputs"
        )
    if not 0 <= first <= stop:
        raise ValueError(f"first is {first} and stop is {stop}, but 0 <= first <= stop is needed")
    cdef uint64_t[:, ::1] weights_jw = np.zeros((stop - first, words_for(inputs)), np.uint64)
    cdef int32_t[::1] indices = np.empty(inputs, np.int32)
    cdef int64_t j, words = weights_jw.shape[1]
    with nogil:
        for j in range(weights_jw.shape[0]):
            knl_fresh_row(inputs, words, num_weights, seed, first + j, &indices[0],
                          &weights_jw[j, 0])
    return weights_jw.base


cdef const knl_kernel *_kernel(name) except NULL:
    cdef int i = 0
    while knl_kernels[i] != NULL:
        if knl_kernels[i].available() and (name is None or knl_kernels[i].name == name.encode()):
            return knl_kernels[i]
        i += 1
    raise ValueError(f"kernel is {name!r}, but must be one of {', '.join(available_kernels())}")


cdef int _set_axis(knl_axis *axis, window) except -1:
    axis.length, axis.size, axis.stride, axis.lead, axis.output = window
    last = (axis.output - 1) * axis.stride - axis.lead
    if (min(axis.length, axis.size, axis.stride, axis.output) < 1
            or not 0 <= axis.lead < axis.size or last >= axis.length):
        raise ValueError(f"window {tuple(window)} has positions that see no input")
    return 0


cdef int _check(name, found, wanted) except -1:
    if found != wanted:
        raise ValueError(f"{name} has the shape {found}, but must have {wanted}")
    return 0


cdef class Learner:
    """One layer that learns: what it knows, and the buffers that a step needs.

    Parameters
    ----------
    rule : {"majority", "swap"}
    window_x, window_y : tuple of int, (length, size, stride, lead, output)
        Output o sees the inputs o * stride - lead + tap. A fully connected layer has windows of
        (1, 1, 1, 0, 1) and all its inputs as channels.
    channels, classes, num_weights : int
    initial_plasticity, min_plasticity, decay, competition : int, 0 to 65536
        In multiples of 1 / 65536.
    ratio : tuple of int, (a, b)
        The learning threshold lies a / b of the way from chance to the potential reached.
    seed : int, 0 to 2**64 - 1
    weights_jw : ndarray of uint64, shape (neurons, words)
        As `fresh_rows` makes it. Kept and changed in place, like the arrays below.
    thresholds_j : ndarray of int32, at least 0
    plasticities_j : ndarray of int32, 0 to 65536
    steps_j : ndarray of uint32
    counters_ji : ndarray of int16, 0 to 32767, shape (neurons, inputs), or None
        Of the rule "majority" only.
    kernel : str, optional
        One of `available_kernels`, by default the first. The results are the same.

    Notes
    -----
    One thread at a time may use it.
    """

    cdef knl_layer _layer
    cdef knl_scratch _scratch
    cdef bint _busy
    cdef object _held

    def __cinit__(
        self,
        *,
        rule,
        window_x,
        window_y,
        int32_t channels,
        int32_t classes,
        int32_t num_weights,
        int32_t initial_plasticity,
        int32_t min_plasticity,
        int32_t decay,
        int32_t competition,
        ratio,
        uint64_t seed,
        uint64_t[:, ::1] weights_jw not None,
        int32_t[::1] thresholds_j not None,
        int32_t[::1] plasticities_j not None,
        uint32_t[::1] steps_j not None,
        int16_t[:, ::1] counters_ji=None,
        kernel=None,
    ):
        cdef knl_layer *layer = &self._layer
        layer.kernel = _kernel(kernel)
        if rule == "majority":
            layer.rule = knl_majority
        elif rule == "swap":
            layer.rule = knl_swap
        else:
            raise ValueError(f"rule is {rule!r}, but must be one of {', '.join(RULES)}")
        _set_axis(&layer.x, window_x)
        _set_axis(&layer.y, window_y)
        if channels < 1:
            raise ValueError(f"channels is {channels}, but must be at least 1")
        inputs = int(layer.x.size) * int(layer.y.size) * int(channels)
        if inputs > MAX_INPUTS:
            raise ValueError(f"a neuron would have {inputs} connections, allowed are {MAX_INPUTS}")
        layer.channels = channels
        layer.inputs = inputs
        layer.words = words_for(inputs)
        if not 1 <= weights_jw.shape[0] <= MAX_INPUTS:
            raise ValueError("weights_jw has no rows, but a layer has at least one neuron")
        layer.neurons = <int32_t>weights_jw.shape[0]
        neurons = layer.neurons
        if not 1 <= num_weights <= inputs:
            raise ValueError(f"num_weights is {num_weights}, but must be 1 to {inputs}")
        if not 1 <= classes <= neurons or neurons % classes:
            raise ValueError(f"classes is {classes}, but must divide the {neurons} neurons")
        layer.classes = classes
        layer.num_weights = num_weights
        shares = {
            "initial_plasticity": initial_plasticity,
            "min_plasticity": min_plasticity,
            "decay": decay,
            "competition": competition,
        }
        for name, value in shares.items():
            if not 0 <= value <= KNL_ONE:
                raise ValueError(f"{name} is {value}, but must be 0 to {KNL_ONE}")
        layer.initial_plasticity = initial_plasticity
        layer.min_plasticity = min_plasticity
        layer.decay = decay
        layer.competition = competition
        layer.ratio, layer.ratio_of = ratio
        if not 0 <= layer.ratio <= layer.ratio_of <= 65536 or layer.ratio_of < 1:
            raise ValueError(f"ratio is {ratio}, but must be (a, b) with 0 <= a <= b <= 65536")
        layer.seed = seed
        _check("weights_jw", (neurons, weights_jw.shape[1]), (neurons, layer.words))
        _check("thresholds_j", thresholds_j.shape[0], neurons)
        _check("plasticities_j", plasticities_j.shape[0], neurons)
        _check("steps_j", steps_j.shape[0], neurons)
        # the arithmetic of a step is exact within these ranges only
        if np.min(thresholds_j) < 0:
            raise ValueError("thresholds_j holds a negative value")
        if np.min(plasticities_j) < 0 or np.max(plasticities_j) > KNL_ONE:
            raise ValueError(f"plasticities_j holds a value outside 0 to {KNL_ONE}")
        layer.counters_ji = NULL
        if rule == "majority":
            if counters_ji is None:
                raise ValueError("the rule 'majority' needs counters_ji")
            found = (counters_ji.shape[0], counters_ji.shape[1])
            _check("counters_ji", found, (neurons, inputs))
            if np.min(counters_ji) < 0:
                raise ValueError("counters_ji holds a negative value")
            layer.counters_ji = &counters_ji[0, 0]
        layer.weights_jw = &weights_jw[0, 0]
        layer.thresholds_j = &thresholds_j[0]
        layer.plasticities_j = &plasticities_j[0]
        layer.steps_j = &steps_j[0]
        self._held = (weights_jw, thresholds_j, plasticities_j, steps_j, counters_ji)
        self._take_scratch()

    def __dealloc__(self):
        free(self._scratch.patches_pw)
        free(self._scratch.patch_i)
        free(self._scratch.row_i)
        free(self._scratch.keys_i)
        free(self._scratch.ties_w)
        free(self._scratch.unused_inputs)
        free(self._scratch.unused_weights)
        free(self._scratch.best_j)
        free(self._scratch.position_j)

    cdef int _take_scratch(self) except -1:
        cdef knl_scratch *s = &self._scratch
        cdef size_t positions = <size_t>self._layer.x.output * <size_t>self._layer.y.output
        cdef size_t words = <size_t>self._layer.words
        cdef size_t neurons = <size_t>self._layer.neurons
        s.patches_pw = <uint64_t *>malloc(positions * words * sizeof(uint64_t))
        s.patch_i = <uint8_t *>malloc(words * 64)
        s.row_i = <uint8_t *>malloc(words * 64)
        s.keys_i = <int16_t *>malloc(words * 64 * sizeof(int16_t))
        s.ties_w = <uint64_t *>malloc(words * sizeof(uint64_t))
        s.unused_inputs = <int32_t *>malloc(words * 64 * sizeof(int32_t))
        s.unused_weights = <int32_t *>malloc(words * 64 * sizeof(int32_t))
        s.best_j = <int32_t *>malloc(neurons * sizeof(int32_t))
        s.position_j = <int32_t *>malloc(neurons * sizeof(int32_t))
        if (s.patches_pw == NULL or s.patch_i == NULL or s.row_i == NULL or s.keys_i == NULL
                or s.ties_w == NULL or s.unused_inputs == NULL or s.unused_weights == NULL
                or s.best_j == NULL or s.position_j == NULL):
            raise MemoryError("no memory for the buffers of a layer that learns")
        return 0

    @property
    def kernel(self):
        """Name of the kernel."""
        return self._layer.kernel.name.decode()

    def fit(
        self,
        const uint8_t[:, ::1] samples_si not None,
        const int64_t[::1] labels_s,
        int32_t[:, :, ::1] potentials_spj not None,
        int32_t[::1] learners_s not None,
    ):
        """Learn from samples in order, with the lock of the interpreter released.

        Parameters
        ----------
        samples_si : ndarray of uint8, shape (samples, length_x * length_y * channels)
            Maps as (x, y, channel), 0 or 1.
        labels_s : ndarray of int64, or None
            Class of each sample; outside of 0 to classes - 1 nothing is learned.
        potentials_spj : ndarray of int32, shape (samples, positions, neurons)
            Filled with the potentials before each sample's own step.
        learners_s : ndarray of int32
            Filled with the neuron that learned from each sample, or -1.

        Raises
        ------
        ValueError
            If a shape is wrong or a value is neither 0 nor 1; nothing has been learned then.
        RuntimeError
            If another thread is using it.
        """
        cdef const knl_layer *layer = &self._layer
        cdef int64_t samples = samples_si.shape[0]
        cdef const int64_t *labels = NULL
        size = int(layer.x.length) * int(layer.y.length) * int(layer.channels)
        positions = int(layer.x.output) * int(layer.y.output)
        _check("samples_si", (samples, samples_si.shape[1]), (samples, size))
        found = (potentials_spj.shape[0], potentials_spj.shape[1], potentials_spj.shape[2])
        _check("potentials_spj", found, (samples, positions, layer.neurons))
        _check("learners_s", learners_s.shape[0], samples)
        if labels_s is not None:
            _check("labels_s", labels_s.shape[0], samples)
        if samples == 0:
            return
        if labels_s is not None:
            labels = &labels_s[0]
        wrong = first_not_binary(samples_si)
        if wrong >= 0:
            raise ValueError(
                f"sample {wrong // size} holds {samples_si[wrong // size, wrong % size]} at "
                f"{wrong % size}, but a layer learns from values of 0 and 1 only"
            )
        if self._busy:
            raise RuntimeError("the layer is learning in another thread; fit one batch at a time")
        self._busy = True
        try:
            with nogil:
                knl_fit(layer, &samples_si[0, 0], samples, labels, &potentials_spj[0, 0, 0],
                        &learners_s[0], &self._scratch)
        finally:
            self._busy = False
