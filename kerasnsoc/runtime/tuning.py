"""From which share of events on the dense form is quicker: timed once, then remembered."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kerasnsoc_ext import Network, Plan

Crossover: TypeAlias = tuple[float, float]
"""Share of non-zero inputs up to which events are quicker: convolutions, fully connected layers."""

VERSION = 2
"""Of the file's meaning; another one is timed anew."""

MAX_FILE_BYTES = 1 << 16
LEAST, MOST = 0.01, 0.95
REPEATS = 25
SPARSE, MEDIUM = 0.1, 0.4

_known: dict[str, Crossover | None] = {}


def crossover(kernel: str) -> Crossover | None:
    """What was timed on this machine for a kernel row; None leaves the row's usual value.

    Times once and writes the result into the user's cache folder, if that can be written; otherwise
    nothing is timed, so that no process pays for what the next one cannot use. A wrong value costs
    time, never a result. ``KERASNSOC_TUNING=off`` neither reads nor times.

    Parameters
    ----------
    kernel : str
        One of `kerasnsoc_ext.available_kernels`.
    """
    if kernel == "scalar" or os.environ.get("KERASNSOC_TUNING") == "off":
        return None
    if kernel not in _known:
        _known[kernel] = _remembered(kernel)
    return _known[kernel]


def cache_folder() -> Path:
    """The user's folder for what can be computed again."""
    if sys.platform == "darwin":
        return Path("~/Library/Caches/kerasnsoc").expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else Path("~/.cache").expanduser(), "kerasnsoc")


def _remembered(kernel: str) -> Crossover | None:
    try:
        file = cache_folder() / f"tuning-{VERSION}.json"
        entries = _read(file)
        key = f"{kernel} {_processor()}"
        found = _valid(entries.get(key))
        if found is not None:
            return found
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(file.parent, os.W_OK):
            return None
        timed = _time(kernel)
        _write(file, entries | {key: list(timed)})
        return timed
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _read(file: Path) -> dict[str, object]:
    """Entries of the file; none if it is missing, too large or something else."""
    try:
        with open(file, "rb") as opened:
            text = opened.read(MAX_FILE_BYTES + 1)
        entries = json.loads(text) if len(text) <= MAX_FILE_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _valid(entry: object) -> Crossover | None:
    if not isinstance(entry, list) or len(entry) != 2:
        return None
    if not all(isinstance(x, float) and LEAST <= x <= MOST for x in entry):
        return None
    return entry[0], entry[1]


def _write(file: Path, entries: dict[str, object]) -> None:
    """Whole or not at all: another process may be doing the same."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    try:
        with open(handle, "w") as opened:
            json.dump(entries, opened, indent=1)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _time(kernel: str) -> Crossover:
    rng = np.random.default_rng(0)
    convolution = Network(kernel)
    convolution.add_input("in", 12, 12, 128, 15)
    weights = rng.integers(-7, 8, (3, 3, 128, 128), dtype=np.int8)
    window = (12, 3, 1, 1, 12)
    convolution.add_convolution("timed", 0, window, window, weights)
    fully = Network(kernel)
    fully.add_input("in", 1, 1, 1024, 15)
    fully.add_fully_connected("timed", 0, rng.integers(-7, 8, (1024, 512), dtype=np.int8))
    return _meeting(convolution, 12 * 12 * 128), _meeting(fully, 1024)


def _meeting(network: Network, inputs: int) -> float:
    """Where the line through two times of the event form meets the dense form's time."""
    plan = Plan(network)
    rng = np.random.default_rng(1)
    width, height, features = network.output_dims(1)
    outputs = [None, np.empty((1, width * height * features), np.int32)]
    counters = np.empty((1, 2, 3), np.int64)

    def inputs_of(share: float) -> npt.NDArray[np.uint8]:
        values = rng.integers(1, 16, (1, inputs), dtype=np.uint8)
        values *= rng.random((1, inputs)) < share
        return values

    few, many = inputs_of(SPARSE), inputs_of(MEDIUM)
    cases = {"dense": (many, "dense"), "sparse": (few, "events"), "medium": (many, "events")}
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(REPEATS):  # in turns: what disturbs one disturbs all
        for name, (values, form) in cases.items():
            start = time.perf_counter()
            plan.run(values, outputs, counters, form)
            best[name] = min(best[name], time.perf_counter() - start)
    growth = (best["medium"] - best["sparse"]) / (MEDIUM - SPARSE)
    if growth <= 0:  # disturbed all the same
        return MEDIUM if best["medium"] < best["dense"] else SPARSE
    return float(min(MOST, max(LEAST, SPARSE + (best["dense"] - best["sparse"]) / growth)))
