"""Neurons over time: checks here, loops in C."""

from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np


cdef extern from "neurons.h" nogil:
    enum:
        KNSOC_POTENTIAL_LIMIT
        KNSOC_SINGLE
        KNSOC_MULTI
        KNSOC_MAX
        KNSOC_SIGNED

    ctypedef struct knsoc_neurons:
        int32_t rule, max_spikes, zero_reset, rectify, shift
        int64_t period
        const int32_t *threshold_p
        const int32_t *bias_p
        const int32_t *lowest_p

    ctypedef struct knsoc_spikes:
        uint8_t *u8
        int32_t *s32

    ctypedef struct knsoc_fired:
        int64_t events, spikes
        int pending

    knsoc_fired knsoc_integrate(const knsoc_neurons *neurons, const int32_t *potentials,
                                int32_t *state, knsoc_spikes out, int64_t size)
    int knsoc_u8_any(const uint8_t *values, int64_t size)
    int knsoc_s32_any(const int32_t *values, int64_t size)


RULES = ("single", "multi", "max", "signed")
_RULE_CODES = (KNSOC_SINGLE, KNSOC_MULTI, KNSOC_MAX, KNSOC_SIGNED)

# parameters are repeated up to this many, so that blocks are long in narrow layers too
_PERIOD = 512

ctypedef fused value_t:
    uint8_t
    int32_t


cdef class Neurons:
    """The neurons of one layer; immutable, shared by all threads.

    Parameters
    ----------
    threshold_n, bias_n, lowest_n : ndarray of int32, shape (neurons,)
        In units of the potential that is carried, `bias_n` in those of what arrives.
    rule : {"single", "multi", "max", "signed"}
    max_spikes : int
        With the rule ``max``.
    zero_reset, rectify : bool
    shift : int, 0 to 30

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """

    cdef knsoc_neurons _neurons
    cdef tuple _alive
    cdef int64_t _count
    cdef bint _acts_alone

    def __cinit__(
        self,
        const int32_t[::1] threshold_n,
        const int32_t[::1] bias_n,
        const int32_t[::1] lowest_n,
        *,
        rule,
        int32_t max_spikes=0,
        bint zero_reset=False,
        bint rectify=False,
        int32_t shift=0,
    ):
        cdef const int32_t[::1] threshold_p, bias_p, lowest_p
        if rule not in RULES:
            raise ValueError(f"rule is {rule!r}, but must be one of {RULES}")
        if not 0 <= shift <= 30:
            raise ValueError(f"shift is {shift}, but must be 0 to 30")
        if rule == "max" and max_spikes < 1:
            raise ValueError(f"max_spikes is {max_spikes}, but must be at least 1")
        self._count = threshold_n.shape[0]
        if self._count < 1 or bias_n.shape[0] != self._count or lowest_n.shape[0] != self._count:
            raise ValueError(
                f"there are {self._count} thresholds, {bias_n.shape[0]} biases and "
                f"{lowest_n.shape[0]} lowest potentials, but must be one of each per neuron"
            )
        if np.min(threshold_n) < 1 or np.max(threshold_n) > KNSOC_POTENTIAL_LIMIT:
            raise ValueError(f"thresholds must lie between 1 and {KNSOC_POTENTIAL_LIMIT}")
        if np.max(lowest_n) > 0 or np.min(lowest_n) < -KNSOC_POTENTIAL_LIMIT:
            raise ValueError(f"lowest potentials must lie between {-KNSOC_POTENTIAL_LIMIT} and 0")
        repeats = -(-_PERIOD // self._count)
        threshold_p = np.tile(threshold_n, repeats)
        bias_p = np.tile(bias_n, repeats)
        lowest_p = np.tile(lowest_n, repeats)
        self._alive = (threshold_p, bias_p, lowest_p)
        self._neurons.rule = _RULE_CODES[RULES.index(rule)]
        self._neurons.max_spikes = max_spikes
        self._neurons.zero_reset = zero_reset
        self._neurons.rectify = rectify
        self._neurons.shift = shift
        self._neurons.period = self._count * repeats
        self._neurons.threshold_p = &threshold_p[0]
        self._neurons.bias_p = &bias_p[0]
        self._neurons.lowest_p = &lowest_p[0]
        biases = np.asarray(bias_n)
        self._acts_alone = bool((biases > 0).any() if rectify else biases.any())

    @property
    def acts_alone(self):
        """Whether some neuron has a bias that moves its potential when nothing arrives."""
        return self._acts_alone

    def integrate(
        self,
        const int32_t[:, ::1] potentials_ro,
        const int64_t[:, ::1] rows_st,
        int32_t[:, ::1] state_so,
        value_t[:, :, ::1] spikes_sto,
        int64_t[:, :, ::1] counts_stk,
        bint settled,
    ):
        """Run samples over time, with the lock of the interpreter released.

        Parameters
        ----------
        potentials_ro : ndarray of int32, shape (rows, outputs)
            What arrives, for steps in which something does.
        rows_st : ndarray of int64, shape (samples, steps)
            Which row each step takes; -1 where nothing arrives.
        state_so : ndarray of int32, shape (samples, outputs)
            Potentials that are carried; updated.
        spikes_sto : ndarray of uint8 or int32, shape (samples, steps, outputs)
            Zeros; places that spike are written.
        counts_stk : ndarray of int64, shape (samples, steps, 2)
            Filled with the neurons that spiked, and with their spikes.
        settled : bool
            Whether no potential of `state_so` is at its threshold or above.

        Returns
        -------
        settled : bool
            The same for the potentials that are left.

        Raises
        ------
        ValueError
            If the shapes do not fit together, or a row does not exist.
        """
        cdef int64_t samples = rows_st.shape[0], steps = rows_st.shape[1]
        cdef int64_t outputs = state_so.shape[1], s, t, row, rows = potentials_ro.shape[0]
        cdef knsoc_spikes out
        cdef knsoc_fired fired
        cdef const int32_t *arriving
        cdef bint pending, any_pending = False
        if (
            state_so.shape[0] != samples
            or spikes_sto.shape[0] != samples
            or spikes_sto.shape[1] != steps
            or spikes_sto.shape[2] != outputs
            or counts_stk.shape[0] != samples
            or counts_stk.shape[1] != steps
            or counts_stk.shape[2] != 2
            or (rows and potentials_ro.shape[1] != outputs)
            or outputs % self._count
        ):
            raise ValueError(
                f"shapes do not fit: {samples} samples of {steps} steps, {outputs} outputs of "
                f"{self._count} neurons, {rows} rows"
            )
        if samples == 0 or steps == 0:
            return settled
        if np.min(rows_st) < -1 or np.max(rows_st) >= rows:
            raise ValueError(f"rows_st must hold -1 or rows below {rows}")
        with nogil:
            for s in range(samples):
                pending = not settled
                for t in range(steps):
                    row = rows_st[s, t]
                    if row < 0 and not self._acts_alone and not pending:
                        # nothing can change
                        counts_stk[s, t, 0] = 0
                        counts_stk[s, t, 1] = 0
                        continue
                    arriving = NULL
                    if row >= 0:
                        arriving = <const int32_t *>&potentials_ro[row, 0]
                    if value_t is uint8_t:
                        out.u8 = &spikes_sto[s, t, 0]
                        out.s32 = NULL
                    else:
                        out.u8 = NULL
                        out.s32 = &spikes_sto[s, t, 0]
                    fired = knsoc_integrate(
                        &self._neurons, arriving, &state_so[s, 0], out, outputs
                    )
                    counts_stk[s, t, 0] = fired.events
                    counts_stk[s, t, 1] = fired.spikes
                    pending = fired.pending
                any_pending |= pending
        return not any_pending


def has_events(const value_t[:, ::1] values_ri):
    """Whether each row has a value that is not zero.

    Parameters
    ----------
    values_ri : ndarray of uint8 or int32, shape (rows, values)

    Returns
    -------
    found_r : ndarray of bool, shape (rows,)
    """
    cdef int64_t rows = values_ri.shape[0], size = values_ri.shape[1], r
    found_r = np.zeros(rows, np.uint8)
    cdef uint8_t[::1] found = found_r
    if size:
        with nogil:
            for r in range(rows):
                if value_t is uint8_t:
                    found[r] = knsoc_u8_any(&values_ri[r, 0], size)
                else:
                    found[r] = knsoc_s32_any(&values_ri[r, 0], size)
    return found_r.view(np.bool_)
