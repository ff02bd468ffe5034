"""Thread sanitizer over whatever several threads may do: ``python -m tests.stress.tsan``.

The compiled modules must have been built with ``-fsanitize=thread`` (``.ci/tsan`` does so). Runs
``tests.stress.threads``, shared and mixed, then every kind of network, learning and chips side by
side in eight threads. A library with a race on purpose must be reported first, since a sanitizer
that sees nothing would prove nothing. Nothing is suppressed: the interpreter and NumPy are not
instrumented, and their locks are seen. Prints one line of JSON and exits with 1 if the bar, no
report, is missed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

THREADS = 8
FOUND = 66
"""Exit status of a process with reports."""


def compiler() -> list[str]:
    return os.environ.get("CC", "gcc").split()


def watched(arguments: list[str], folder: Path) -> tuple[int, str, list[str]]:
    """Run Python with the sanitizer: exit status, output, and reports."""
    runtime = subprocess.run(
        [*compiler(), "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    # the sanitizer's shadow memory needs addresses at fixed places
    fixed = ["setarch", platform.machine(), "-R"] if shutil.which("setarch") else []
    log = folder / "report"
    result = subprocess.run(
        [*fixed, sys.executable, *arguments],
        env={
            **os.environ,
            "LD_PRELOAD": runtime,
            "OPENBLAS_NUM_THREADS": "1",
            "TSAN_OPTIONS": f"exitcode={FOUND}:log_path={log}:history_size=4",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    reports = []
    for path in sorted(folder.glob("report.*")):
        reports += [
            line for line in path.read_text(errors="replace").splitlines() if "SUMMARY" in line
        ]
        path.unlink()
    return result.returncode, result.stdout, reports


def race(folder: Path) -> bool:
    """Whether the sanitizer reports a race that is there."""
    library, source = folder / "race.so", Path(__file__).with_name("race.c")
    options = ["-O1", "-g", "-fPIC", "-shared", "-fsanitize=thread"]
    subprocess.run([*compiler(), *options, "-o", str(library), str(source)], check=True)
    command = ["-m", "tests.stress.tsan", "--child", "race", "--library", str(library)]
    status, _, reports = watched(command, folder)
    return status == FOUND and any("data race" in report for report in reports)


def at_once(step: Callable[[int, int], None], calls: int) -> list[str]:
    """Let threads call `step` with their number and the number of the call."""
    problems: list[str] = []

    def work(number: int) -> None:
        try:
            for call in range(calls):
                step(number, call)
        except Exception as error:
            problems.append(f"thread {number}: {error!r}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems


def race_child(library: str) -> int:
    add = ctypes.CDLL(library).race_add
    add.argtypes = [ctypes.c_long]
    return len(at_once(lambda number, call: add(1_000_000), 5))


def kinds_child(calls: int) -> int:
    """All networks, learning and chips, each shared by all threads where that is allowed."""
    # here, since the compiled modules load only where the sanitizer's runtime does
    import numpy as np

    from kerasnsoc.nsoc.emulator import NSoCEmulator
    from kerasnsoc.runtime import Model
    from tests.chips import random_events
    from tests.networks import every_kind, learning_networks, time_networks
    from tests.stress.nomem import inputs_for
    from tests.unit.nsoc.test_emulator import busy_chip

    warnings.simplefilter("ignore")  # of busy cores, which is no matter here
    models = []
    for spec in {**every_kind(), **time_networks()}.values():
        model = Model.from_spec(spec)
        values = inputs_for(model)
        expected = Model.from_spec(spec).forward(values, threads=1)
        models.append((model, values, expected))
    learners = [Model.from_spec(spec) for spec in learning_networks().values()]
    samples = [inputs_for(model) for model in learners]
    chip = busy_chip()
    events = random_events(chip, 0, 100, 200)
    emulator_of = [NSoCEmulator(chip) for _ in range(THREADS)]  # one thread at a time may use it
    spikes = NSoCEmulator(chip).run(events).spikes

    def step(number: int, call: int) -> None:
        for model, values, expected in models:
            found = model.forward(values, threads=(1, 3)[(number + call) % 2])
            if not np.array_equal(found, expected):
                raise AssertionError("another result")
        for learner, values in zip(learners, samples, strict=True):
            learner.fit(values)
            learner.forward(values)
            learner.to_buffer()
        emulator_of[number].reset()
        if not np.array_equal(emulator_of[number].run(events).spikes, spikes):
            raise AssertionError("other spikes")

    problems = at_once(step, calls)
    print(json.dumps(problems[:5]))
    return 1 if problems else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--calls", type=int, default=2000, help="of each thread, shared model")
    parser.add_argument("--child", choices=("race", "kinds"), help=argparse.SUPPRESS)
    parser.add_argument("--library", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child == "race":
        return race_child(options.library)
    if options.child == "kinds":
        return kinds_child(options.calls)
    start = time.perf_counter()
    calls = options.calls
    stress = ["-m", "tests.stress.threads", "--threads", str(THREADS), "--calls"]
    runs = {
        "shared": [*stress, str(calls)],
        "mixed": [*stress, str(max(1, calls // 20)), "--mixed"],
        "kinds": [
            "-m",
            "tests.stress.tsan",
            "--child",
            "kinds",
            "--calls",
            str(max(1, calls // 100)),
        ],
    }
    found: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        is_seen = race(folder)
        for kind, command in runs.items():
            status, output, reports = watched(command, folder)
            found += [f"{kind}: {report}" for report in reports]
            if status:
                found.append(f"{kind}: exit status {status} {output.strip()}")
    report = {
        "threads": THREADS,
        "calls": calls,
        "race_on_purpose_seen": is_seen,
        "reports": len(found),
        "found": found[:20],
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(report))
    return 1 if found or not is_seen else 0


if __name__ == "__main__":
    sys.exit(main())
