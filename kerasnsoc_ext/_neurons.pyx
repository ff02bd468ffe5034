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
        const int32_t *alone_p

    ctypedef struct knsoc_spikes:
        uint8_t *u8
        int32_t *s32

    ctypedef struct knsoc_fired:
        int64_t events, spikes
        int pending

    knsoc_fired knsoc_integrate(const knsoc_neurons *neurons, const int32_t *potentials,
                                int32_t *state, knsoc_spikes out, int64_t size)
    int64_t KNSOC_FOREVER
    int64_t knsoc_quiet(const knsoc_neurons *neurons, const int32_t *state, int64_t size)
    void knsoc_rest(const knsoc_neurons *neurons, int32_t *state, int64_t size, int64_t steps)
    int knsoc_u8_any(const uint8_t *values, int64_t size)
    int knsoc_s32_any(const int32_t *values, int64_t size)


FOREVER = KNSOC_FOREVER
"""Steps without an event in which no neuron spikes, if none ever will."""

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
        cdef const int32_t[::1] threshold_p, bias_p, lowest_p, alone_p
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
        alone_n = np.asarray(bias_n).astype(np.int64) << shift
        if rectify:
            alone_n = np.maximum(alone_n, 0)
        if np.abs(alone_n).max() >= KNSOC_POTENTIAL_LIMIT:
            raise ValueError(
                f"a bias adds up to {np.abs(alone_n).max()} in one step, but must stay below "
                f"{KNSOC_POTENTIAL_LIMIT}"
            )
        repeats = -(-_PERIOD // self._count)
        threshold_p = np.tile(threshold_n, repeats)
        bias_p = np.tile(bias_n, repeats)
        lowest_p = np.tile(lowest_n, repeats)
        alone_p = np.tile(alone_n.astype(np.int32), repeats)
        self._alive = (threshold_p, bias_p, lowest_p, alone_p)
        self._neurons.rule = _RULE_CODES[RULES.index(rule)]
        self._neurons.max_spikes = max_spikes
        self._neurons.zero_reset = zero_reset
        self._neurons.rectify = rectify
        self._neurons.shift = shift
        self._neurons.period = self._count * repeats
        self._neurons.threshold_p = &threshold_p[0]
        self._neurons.bias_p = &bias_p[0]
        self._neurons.lowest_p = &lowest_p[0]
        self._neurons.alone_p = &alone_p[0]
        self._acts_alone = bool(alone_n.any())

    @property
    def acts_alone(self):
        """Whether some neuron has a bias that moves its potential when nothing arrives."""
        return self._acts_alone

    def quiet(self, const int32_t[::1] state_o):
        """In how many steps no neuron spikes, if nothing arrives in them.

        Parameters
        ----------
        state_o : ndarray of int32, shape (outputs,)
            Potentials that are carried.

        Returns
        -------
        steps : int
            Too small by one step or one in a million at most, never too large; `FOREVER` if no
            number of steps would do.

        Raises
        ------
        ValueError
            If the outputs are no multiple of the neurons.
        """
        cdef int64_t outputs = state_o.shape[0], steps
        if outputs < 1 or outputs % self._count:
            raise ValueError(
                f"there are {outputs} potentials, but must be a multiple of the {self._count} "
                "neurons"
            )
        with nogil:
            steps = knsoc_quiet(&self._neurons, &state_o[0], outputs)
        return steps

    def integrate(
        self,
        const int32_t[:, ::1] potentials_ro,
        const int64_t[:, ::1] rows_st,
        int32_t[:, ::1] state_so,
        value_t[:, :, ::1] spikes_sto,
        int64_t[:, :, ::1] counts_stk,
        int64_t[::1] owed_s,
        int64_t[::1] quiet_s,
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
        owed_s : ndarray of int64, shape (samples,)
            Steps without an event that `state_so` does not show yet; updated.
        quiet_s : ndarray of int64, shape (samples,)
            Of the steps without an event that may come, how many surely make no spike; updated.
            Whoever finds enough of them may move steps from here to `owed_s`. `FOREVER` if nothing
            is due and there are no biases, 0 where nothing is known.

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
        cdef int64_t owed, quiet
        cdef bint is_lone
        if (
            state_so.shape[0] != samples
            or spikes_sto.shape[0] != samples
            or spikes_sto.shape[1] != steps
            or spikes_sto.shape[2] != outputs
            or counts_stk.shape[0] != samples
            or counts_stk.shape[1] != steps
            or counts_stk.shape[2] != 2
            or owed_s.shape[0] != samples
            or quiet_s.shape[0] != samples
            or (rows and potentials_ro.shape[1] != outputs)
            or outputs % self._count
        ):
            raise ValueError(
                f"shapes do not fit: {samples} samples of {steps} steps, {outputs} outputs of "
                f"{self._count} neurons, {rows} rows"
            )
        if samples == 0 or steps == 0:
            return
        if np.min(rows_st) < -1 or np.max(rows_st) >= rows:
            raise ValueError(f"rows_st must hold -1 or rows below {rows}")
        with nogil:
            for s in range(samples):
                owed, quiet = owed_s[s], quiet_s[s]
                for t in range(steps):
                    row = rows_st[s, t]
                    # a step between two with events costs less than to look ahead from it
                    is_lone = t + 1 < steps and rows_st[s, t + 1] >= 0
                    if row < 0 and quiet == 0 and not is_lone:
                        if owed:
                            knsoc_rest(&self._neurons, &state_so[s, 0], outputs, owed)
                            owed = 0
                        quiet = knsoc_quiet(&self._neurons, &state_so[s, 0], outputs)
                    if row < 0 and quiet > 0:
                        owed += 1
                        if quiet < KNSOC_FOREVER:
                            quiet -= 1
                        counts_stk[s, t, 0] = 0
                        counts_stk[s, t, 1] = 0
                        continue
                    if owed:
                        if self._acts_alone:
                            knsoc_rest(&self._neurons, &state_so[s, 0], outputs, owed)
                        owed = 0
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
                    quiet = 0 if self._acts_alone or fired.pending else KNSOC_FOREVER
                owed_s[s], quiet_s[s] = owed, quiet


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
