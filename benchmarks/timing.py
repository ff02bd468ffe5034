"""Times of several engines, taken in turns so that all meet the same machine."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

RETRIES = 4
"""Rounds of one engine that may be repeated because the process was preempted."""


@dataclass(frozen=True)
class Times:
    """Seconds per call over all rounds."""

    median: float
    least: float
    spread: float  # between the quartiles, as a share of the median
    preempted: int  # rounds that were preempted in every attempt


def measure(
    engines: Mapping[str, Callable[[], object]],
    rounds: int = 9,
    round_seconds: float = 0.02,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Run the engines round by round.

    `time.thread_time` as the clock leaves out what other processes took of a busy machine, but also
    what an engine does in threads of its own. A round lasts at least `round_seconds` and is taken
    anew if the system took the processor away from the process meanwhile.
    """
    calls = {name: _calls_per_round(run, round_seconds) for name, run in engines.items()}
    taken: dict[str, list[float]] = {name: [] for name in engines}
    preempted = dict.fromkeys(engines, 0)
    for _ in range(rounds):
        for name, run in engines.items():
            best = None
            for _attempt in range(RETRIES):
                seconds, switches = _round(run, calls[name], clock)
                best = seconds if best is None else min(best, seconds)
                if switches == 0:
                    best = seconds
                    break
            else:
                preempted[name] += 1
            assert best is not None
            taken[name].append(best)
    return {name: _summary(values, preempted[name]) for name, values in taken.items()}


def _calls_per_round(run: Callable[[], object], seconds: float) -> int:
    run()
    start = time.perf_counter()
    run()
    once = time.perf_counter() - start
    return max(1, min(5000, round(seconds / max(once, 1e-7))))


def _round(run: Callable[[], object], calls: int, clock: Callable[[], float]) -> tuple[float, int]:
    run()  # the caches are the other engine's
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    start = clock()
    for _ in range(calls):
        run()
    seconds = (clock() - start) / calls
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches


def _summary(values: list[float], preempted: int) -> Times:
    median = statistics.median(values)
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [median] * 3
    return Times(median, min(values), (quartiles[2] - quartiles[0]) / median, preempted)
