"""A batch over threads: shares of samples, each run by whoever is free."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.runtime.plan import (
    SHARE_SAMPLES,
    WORK_PER_THREAD,
    CompiledNetwork,
    Form,
    chosen_form,
)

COUNTERS = 3
"""Per layer: events in, synaptic operations, events out."""

MAX_THREADS = 1024

SHARES_PER_THREAD = 4
"""Samples differ in their events, hence in their time; small shares even that out."""


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def chosen_threads(threads: int | None, samples: int, synapses: int) -> int:
    """Threads that run a batch.

    Parameters
    ----------
    threads : int or None
        What was asked for; None takes all cores, but fewer for a batch that is too small.
    samples : int
    synapses : int
        Of one sample.

    Raises
    ------
    TypeError, ValueError
        If `threads` is no integer from 1 to `MAX_THREADS`.
    """
    if threads is None:
        wanted = min(cores(), samples * synapses // WORK_PER_THREAD)
    elif isinstance(threads, bool) or not isinstance(threads, int | np.integer):
        raise TypeError(f"threads is {threads!r}, but must be an integer or None for all cores")
    elif not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"threads is {threads}, but must be 1 to {MAX_THREADS}")
    else:
        wanted = int(threads)
    return max(1, min(wanted, samples))


def run_batch(
    compiled: CompiledNetwork,
    inputs_si: npt.NDArray[np.uint8],
    *,
    form: Form | None = None,
    threads: int | None = None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Run a batch; result and counts do not depend on the number of threads.

    After the first run, a call allocates the outputs that it returns and nothing else of size.

    Parameters
    ----------
    compiled : CompiledNetwork
    inputs_si : ndarray of uint8, shape (samples, inputs), C-contiguous
    form : {"auto", "dense", "events"}, optional
    threads : int, optional
        See `chosen_threads`.

    Returns
    -------
    outputs : ndarray, shape (samples, width, height, features)
    totals_lk : ndarray of int64, shape (layers, 3)
        Events in, synaptic operations, events out, of all samples.

    Raises
    ------
    OverflowError
        If a potential leaves 32 bits; the first such sample of the batch is named.
    """
    form = chosen_form(form)
    samples = len(inputs_si)
    workers = chosen_threads(threads, samples, compiled.synapses)
    size = SHARE_SAMPLES
    if workers > 1:
        size = max(1, min(size, -(-samples // (workers * SHARES_PER_THREAD))))
    outputs, outputs_so = compiled.new_outputs(samples)
    # popping from a deque is atomic; shares are taken in ascending order
    starts = deque(range(0, samples, size))
    overflown: list[int] = []

    def work() -> npt.NDArray[np.int64]:
        totals_lk = np.zeros((len(compiled.names), COUNTERS), np.int64)
        while True:
            try:
                start = starts.popleft()
            except IndexError:
                return totals_lk
            share = slice(start, min(start + size, samples))
            try:
                totals_lk += compiled.run_share(inputs_si[share], outputs_so[share], form)
            except OverflowError:
                starts.clear()
                overflown.append(share.stop)
            except BaseException:
                starts.clear()
                raise

    totals_lk = work() if workers == 1 else _together(work, workers)
    if overflown:
        # Every share before the first that failed has been run, so that another run up to there
        # raises the error that names the sample by its place in the batch.
        compiled.run(inputs_si[: min(overflown)], form=form)
        raise AssertionError("an overflow did not come again")
    return outputs, totals_lk


def _together(work: Callable[[], npt.NDArray[np.int64]], workers: int) -> npt.NDArray[np.int64]:
    try:
        # Imported by those who need it, and no pool outlives the call: a child after fork would
        # have a pool without its threads.
        from concurrent.futures import ThreadPoolExecutor
    except RuntimeError:
        return work()  # the interpreter is ending, and takes no new pools

    with ThreadPoolExecutor(workers - 1, thread_name_prefix="kerasnsoc") as pool:
        futures = []
        for _ in range(workers - 1):
            try:
                futures.append(pool.submit(work))
            except RuntimeError:
                break  # no more threads from the system, or the interpreter is ending
        totals_lk = work()
        for future in futures:
            totals_lk += future.result()
    return totals_lk
