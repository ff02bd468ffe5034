"""A batch over threads: shares of samples, each run by whoever is free."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.runtime.plan import WORK_PER_THREAD, CompiledNetwork, Form, chosen_form

MAX_THREADS = 1024

MOST_HELPED = 256
"""Threads that work together at most."""


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def chosen_threads(
    threads: int | None, samples: int, synapses: int, splits_samples: bool = False
) -> int:
    """Threads that run a batch.

    Parameters
    ----------
    threads : int or None
        What was asked for; None takes all cores, but fewer for a batch that is too small.
    samples : int
    synapses : int
        Of one sample.
    splits_samples : bool
        Whether several threads can share one sample.

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
    return max(
        1, min(wanted, MOST_HELPED, samples if samples > 1 or not splits_samples else wanted)
    )


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
    outputs, outputs_so = compiled.new_outputs(len(inputs_si))
    workers = chosen_threads(threads, len(inputs_si), compiled.synapses, compiled.splits_samples)
    return outputs, compiled.run_team(inputs_si, outputs_so, form, workers)
