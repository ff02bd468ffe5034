"""Every reader against random changes of good files: ``python -m fuzz.run --seconds 5``.

A reader may accept a file or raise the errors that it documents; anything else, and anything that
takes ten seconds of the processor, is a fault. Prints one line of JSON and exits with 1 if there
was a fault, whose content is written to the folder of ``--findings``. ``python -m fuzz.guided``
lets coverage guide the changes instead.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import FrameType

from fuzz.mutation import mutated
from fuzz.targets import TARGETS, Target

HANG_SECONDS = 10
"""Of the processor, so that a busy machine hangs nothing."""
STUCK_SECONDS = 600
"""Of the clock, for a reader that waits for ever."""
MOST_FINDINGS = 20


class Hang(BaseException):
    """A case took far too long; no `except Exception` may hide it."""


def raise_hang(number: int, stack: FrameType | None) -> None:
    """Handler of a signal."""
    raise Hang


def start_clocks() -> None:
    """Let `Hang` be raised if it takes too long until `stop_clocks`."""
    signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
    signal.alarm(STUCK_SECONDS)


def stop_clocks() -> None:
    """Nothing takes too long any more."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)


@contextmanager
def watched() -> Iterator[None]:
    """Both clocks raise `Hang`, and warnings are errors."""
    before = {
        number: signal.signal(number, raise_hang) for number in (signal.SIGALRM, signal.SIGPROF)
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        stop_clocks()
        for number, handler in before.items():
            signal.signal(number, handler)


def check_seeds(target: Target) -> None:
    """A harness whose seeds are refused would prove nothing."""
    for seed in target.seeds:
        target.read(seed)


def attack(
    target: Target, seed: int, cases: int | None, seconds: float | None
) -> dict[str, object]:
    """Feed a reader; stops after `cases` or `seconds`, whichever is given."""
    check_seeds(target)
    accepted = refused = done = 0
    slowest = 0.0
    faults: dict[str, bytes] = {}
    start = time.monotonic()
    for case in itertools.count() if cases is None else range(cases):
        if seconds is not None and time.monotonic() - start > seconds:
            break
        content = mutated(random.Random(seed * 10**9 + case), target.seeds, target.tokens)
        begin = time.perf_counter()
        start_clocks()
        try:
            target.read(content)
            accepted += 1
        except target.refusals:
            refused += 1
        except (Exception, Hang) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
            if len(faults) < MOST_FINDINGS:
                faults.setdefault(fault, content)
        stop_clocks()
        slowest = max(slowest, time.perf_counter() - begin)
        done += 1
    return {
        "cases": done,
        "accepted": accepted,
        "refused": refused,
        "slowest_ms": round(slowest * 1e3, 1),
        "faults": faults,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=["all", *TARGETS], default="all")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--cases", type=int, help="per target")
    parser.add_argument("--seconds", type=float, help="per target")
    parser.add_argument("--findings", type=Path, help="folder for content that meets a fault")
    options = parser.parse_args(arguments)
    if options.cases is None and options.seconds is None:
        parser.error("give --cases or --seconds")
    report: dict[str, object] = {"seed": options.seed}
    is_clean = True
    for name in TARGETS if options.target == "all" else [options.target]:
        with watched():
            result = attack(TARGETS[name](), options.seed, options.cases, options.seconds)
        faults: dict[str, bytes] = result["faults"]
        if options.findings is not None and faults:
            options.findings.mkdir(parents=True, exist_ok=True)
            for content in faults.values():
                digest = sha256(content).hexdigest()[:12]
                (options.findings / f"{name}-{digest}").write_bytes(content)
        report[name] = {**result, "faults": list(faults)}
        is_clean = is_clean and not faults
    print(json.dumps(report))
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
