"""`benchmark`: how many samples a second a network runs on this machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc._progress import with_progress
from kerasnsoc._tables import render
from kerasnsoc.runtime.model import Model
from kerasnsoc.runtime.plan import chosen_kernel
from kerasnsoc.runtime.random_inputs import random_inputs


@dataclass(frozen=True)
class BenchmarkRow:
    """One batch size.

    Attributes
    ----------
    batch_size : int
    samples : int
        Different ones that each round ran.
    calls : int
        Of `Model.forward` in each round.
    frames_per_second : float
        Median over the rounds.
    slowest, fastest : float
        Frames per second of the slowest and of the fastest round.
    """

    batch_size: int
    samples: int
    calls: int
    frames_per_second: float
    slowest: float
    fastest: float


@dataclass(frozen=True)
class BenchmarkReport:
    """Result of `benchmark`; prints as a table.

    Attributes
    ----------
    kernel : str
        The row of the kernel table that ran.
    threads : int or None
        As asked for; None lets the runtime decide.
    inputs : str
        Where the inputs come from.
    rounds : int
    rows : tuple of BenchmarkRow
    """

    kernel: str
    threads: int | None
    inputs: str
    rounds: int
    rows: tuple[BenchmarkRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [
            [
                str(row.batch_size),
                f"{row.samples:,}",
                f"{row.frames_per_second:,.1f}",
                f"{row.slowest:,.1f}",
                f"{row.fastest:,.1f}",
                f"{1000 * row.batch_size / row.frames_per_second:,.3f}",
            ]
            for row in self.rows
        ]
        columns = [
            "batch",
            "samples",
            "frames/s, median",
            "slowest round",
            "fastest round",
            "ms per call",
        ]
        threads = "automatic" if self.threads is None else str(self.threads)
        title = f"Kernel {self.kernel}, threads {threads}, {self.inputs}, {self.rounds} rounds"
        return render(columns, rows, title)


def benchmark(
    model: Model | str | os.PathLike[str],
    inputs: npt.NDArray[Any] | None = None,
    *,
    batch_sizes: Sequence[int] = (1, 32),
    rounds: int = 7,
    round_seconds: float = 0.1,
    most_seconds: float = 60.0,
    threads: int | None = None,
    progress: bool | None = None,
) -> BenchmarkReport:
    """Measure frames per second.

    Parameters
    ----------
    model : Model or path
        The model's statistics stay as they are: a copy runs.
    inputs : ndarray of integers, optional
        As for `Model.forward`; batches are taken from them in turn. By default random integers,
        of which 90 % are 0 for a network fed by events. Event-driven networks are as fast as
        their inputs are sparse, so that only real inputs tell what to expect.
    batch_sizes : sequence of int
    rounds : int
        Each round counts once; the median is robust against what else the machine does.
    round_seconds : float
        Least time of one round, in seconds.
    most_seconds : float
        About the longest time for a batch size: of inputs that take longer, each round runs the
        first ones only, at least one batch.
    threads : int, optional
        As for `Model.forward`.
    progress : bool, optional
        Show a bar. Default: on a terminal, if tqdm is installed.

    Returns
    -------
    BenchmarkReport

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the inputs do not fit.
    ImportError
        If ``progress=True`` and tqdm is not installed.
    """
    times = (round_seconds, most_seconds)
    if rounds < 1 or not min(times) > 0 or not batch_sizes or min(batch_sizes) < 1:
        raise ValueError(
            f"rounds is {rounds}, round_seconds {round_seconds}, most_seconds {most_seconds} and "
            f"batch_sizes {tuple(batch_sizes)}, but all must be positive"
        )
    source = model if isinstance(model, Model) else Model(os.fspath(model))
    runner = Model.from_spec(source.to_spec())
    if inputs is not None and len(inputs) == 0:
        raise ValueError("inputs holds no samples: pass at least one")
    name = "given inputs" if inputs is not None else "random inputs"
    samples = random_inputs(runner, max(batch_sizes)) if inputs is None else inputs
    rows = tuple(
        _measure(runner, samples, n, rounds, times, threads, progress) for n in batch_sizes
    )
    return BenchmarkReport(chosen_kernel(), threads, name, rounds, rows)


def _measure(
    model: Model,
    samples: npt.NDArray[Any],
    batch_size: int,
    rounds: int,
    times: tuple[float, float],
    threads: int | None,
    progress: bool | None,
) -> BenchmarkRow:
    """Rounds of one batch size; `times` are the least of a round and the most of all."""
    count = max(1, len(samples) // batch_size)
    order = np.arange(count * batch_size).reshape(count, batch_size) % len(samples)
    first = np.ascontiguousarray(samples[order[0]])
    model.forward(first, threads=threads)  # prepares plans
    start = time.perf_counter()
    model.forward(first, threads=threads)
    call_seconds = max(time.perf_counter() - start, 1e-7)
    count = max(1, min(count, int(times[1] / (rounds * call_seconds))))
    batches = [np.ascontiguousarray(samples[places]) for places in order[:count]]
    calls = max(1, round(times[0] / call_seconds))
    calls = -(-calls // count) * count  # every round sees the same batches
    rates = []
    for _ in with_progress(range(rounds), f"batches of {batch_size}", progress):
        start = time.perf_counter()
        for call in range(calls):
            model.forward(batches[call % count], threads=threads)
        rates.append(calls * batch_size / (time.perf_counter() - start))
    distinct = min(len(samples), count * batch_size)
    return BenchmarkRow(
        batch_size, distinct, calls, statistics.median(rates), min(rates), max(rates)
    )
