"""Lets the k-th allocation of our C fail, for every k: ``python -m tests.stress.nomem``.

Networks are built and run, learn and are emulated. After each failure: a MemoryError, everything
that can be seen is as before, the same call then gives the right result, and once the object is
gone, so is all memory that it took. The allocations of the interpreter and of NumPy do not fail:
both crash by themselves when they do. ``--quick`` takes one scenario of each kind. Needs Linux with
glibc and a C compiler. Prints one line of JSON and exits with 1 if the bar is missed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasnsoc.runtime import Model
from tests.networks import every_kind, learning_networks, time_networks
from tests.stress.mutate import remember_lines

MOST = 2000
"""Allocations of one call; more would mean that they never stop."""

SAMPLES = 6


@dataclass(frozen=True)
class Scenario:
    """A call whose allocations fail one after the other.

    Attributes
    ----------
    name : str
    make : callable
        A fresh object, made without a fault.
    act : callable
        Takes the object; its result as bytes.
    state : callable
        What can be seen of the object, as bytes.
    """

    name: str
    make: Callable[[], Any]
    act: Callable[[Any], bytes]
    state: Callable[[Any], bytes]


class Allocator:
    """The functions of `nomem.c`, which is preloaded."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        library.nomem_watch.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        library.nomem_fail.argtypes = [ctypes.c_long]
        for name in ("nomem_asked", "nomem_alive", "nomem_overflows"):
            getattr(library, name).restype = ctypes.c_long
        self._library = library

    def watch(self) -> int:
        """Aim at the compiled modules of ours that are loaded."""
        from kerasnsoc_ext import _emulator, _learning, _neurons, _plan

        folder = str(Path(_plan.__file__).resolve().parent)
        modules = {Path(m.__file__).resolve() for m in (_emulator, _learning, _neurons, _plan)}
        count = 0
        for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
            place, rights, *_, path = line.split(maxsplit=5)
            if "x" in rights and path.startswith(folder) and Path(path) in modules:
                low, high = (int(part, 16) for part in place.split("-"))
                count += self._library.nomem_watch(low, high)
        return count

    def fail(self, k: int) -> None:
        """The k-th allocation from now on fails; none if k is 0."""
        self._library.nomem_fail(k)

    @property
    def asked(self) -> int:
        """Allocations since the last `fail`."""
        return int(self._library.nomem_asked())

    @property
    def alive(self) -> int:
        """Blocks that were taken and not given back."""
        if self._library.nomem_overflows():
            raise RuntimeError("more blocks are alive than nomem.c can list")
        return int(self._library.nomem_alive())


def inputs_for(model: Model) -> np.ndarray:
    spec = model.to_spec()
    height, width, channels = spec.input.shape_hwc
    shape: tuple[int, ...] = (SAMPLES, height, width, channels)
    if spec.time_step is not None:
        shape = (SAMPLES, 3, height, width, channels)
    elif spec.input.kind == "events":
        shape = (SAMPLES, width, height, channels)
    return np.random.default_rng(5).integers(0, 2**spec.input.bits, shape, np.uint8)


def running() -> Iterator[Scenario]:
    """Build the plans of a network and run them, in one thread and in several."""
    for name, spec in {**every_kind(), **time_networks()}.items():
        values = inputs_for(Model.from_spec(spec))
        for threads in (1, 3):
            yield Scenario(
                f"{name}, {threads} threads",
                lambda spec=spec: Model.from_spec(spec),
                lambda m, v=values, t=threads: bytes(np.ascontiguousarray(m.forward(v, threads=t))),
                lambda m: m.to_buffer() + repr(m.statistics).encode(),
            )


def going_on() -> Iterator[Scenario]:
    """Networks over time that keep their potentials from one call to the next.

    They go on in more threads than before, whose plans are made on the way.
    """
    for name, spec in time_networks().items():
        values = inputs_for(Model.from_spec(spec))

        def begun(spec: Any = spec, values: np.ndarray = values) -> Model:
            model = Model.from_spec(spec)
            model.forward(values, stateful=True, threads=1)
            return model

        yield Scenario(
            f"{name}, stateful",
            begun,
            lambda m, v=values: bytes(np.ascontiguousarray(m.forward(v, stateful=True, threads=3))),
            lambda m: repr(m.statistics).encode(),
        )


def learning() -> Iterator[Scenario]:
    """Learn from samples, from the first and after others."""
    for name, spec in learning_networks().items():
        values = inputs_for(Model.from_spec(spec))

        def begun(spec: Any = spec, values: np.ndarray = values) -> Model:
            model = Model.from_spec(spec)
            model.fit(values)
            return model

        for kind, make in (("first", lambda spec=spec: Model.from_spec(spec)), ("later", begun)):
            yield Scenario(
                f"{name}, {kind}",
                make,
                lambda m, v=values: bytes(np.ascontiguousarray(m.fit(v))) + m.to_buffer(),
                lambda m: m.to_buffer() + repr(m.statistics).encode(),
            )


def emulating() -> Iterator[Scenario]:
    """Build a chip, and run one with every engine."""
    from kerasnsoc.nsoc.emulator import NSoCEmulator
    from kerasnsoc.nsoc.emulator_input import packets_from_frames
    from tests.chips import random_events
    from tests.unit.nsoc.test_emulator import busy_chip, packet_chip

    chip = busy_chip()
    events = random_events(chip, 0, 100, 200)
    arrival = {"merge_policy": "arrival"}
    trace = NSoCEmulator(chip, **arrival).run(events).merge_trace
    frames = packets_from_frames(np.random.default_rng(1).integers(0, 4, (4, 1, 2, 1)))
    records = {"record": ("spikes", "latency", "load", "links")}
    kinds: dict[str, tuple[Any, np.ndarray, dict[str, Any]]] = {
        "timing": (chip, events, {**arrival, **records}),
        "functional": (chip, events, {"engine": "functional"}),
        "replay": (chip, events, {"engine": "functional", "merge_trace": trace}),
        "packets": (packet_chip(layer_delay=1), frames, records),
    }
    for name, (config, given, options) in kinds.items():

        def built(config: Any = config, options: dict[str, Any] = options) -> NSoCEmulator:
            return NSoCEmulator(config, **options)

        def run(emulator: NSoCEmulator, given: np.ndarray = given) -> bytes:
            result = emulator.run(given)
            return result.spikes.tobytes() + repr(result.per_core).encode()

        yield Scenario(
            f"{name}, built", lambda: None, lambda _, b=built, r=run: r(b()), lambda _: b""
        )
        yield Scenario(f"{name}, run", built, run, seen)


def seen(emulator: Any) -> bytes:
    """What an emulator would begin its next run with."""
    arrays, *counts = emulator._snapshot()
    return b"".join(array.tobytes() for array in arrays) + repr(counts).encode()


def judge(scenario: Scenario, allocator: Allocator) -> tuple[int, list[str]]:
    """Number of failures of a scenario, and what was wrong after them."""
    expected = scenario.act(scenario.make())
    gc.collect()
    alive = allocator.alive
    wrong = []
    for k in range(1, MOST):
        thing = scenario.make()
        before = scenario.state(thing)
        allocator.fail(k)
        raised = result = None
        try:
            result = scenario.act(thing)
        except MemoryError as error:
            raised = str(error)
        except Exception as error:
            wrong.append(f"{scenario.name}, {k}: {error!r}")
        is_over = allocator.asked < k
        allocator.fail(0)
        if is_over:
            if result != expected:
                wrong.append(f"{scenario.name}: another result without a failure")
            return k - 1, wrong
        if not raised:
            wrong.append(f"{scenario.name}, {k}: no MemoryError with a message, but {raised!r}")
        if scenario.state(thing) != before:
            wrong.append(f"{scenario.name}, {k}: the state has changed")
        if scenario.act(thing) != expected:
            wrong.append(f"{scenario.name}, {k}: another result afterwards")
        del thing
        gc.collect()
        if allocator.alive != alive:
            wrong.append(f"{scenario.name}, {k}: {allocator.alive - alive} blocks are left")
            alive = allocator.alive
    return MOST, [*wrong, f"{scenario.name}: allocations without end"]


QUICK = {
    "image, 3 threads",
    "time_events, 1 threads",
    "time_spikes, stateful",
    "learning_majority, first",
    "learning_swap, later",
    "replay, run",
    "packets, built",
}


def child(quick: bool) -> int:
    """All scenarios, in a process with `nomem.c`."""
    warnings.simplefilter("ignore")  # of busy cores, which is no matter here
    remember_lines()
    allocator = Allocator()
    modules = allocator.watch()
    failures_of: dict[str, int] = {}
    wrong: list[str] = []
    for scenarios in (running(), going_on(), learning(), emulating()):
        for scenario in scenarios:
            if quick and scenario.name not in QUICK:
                continue
            failures_of[scenario.name], found = judge(scenario, allocator)
            wrong += found
    report = {
        "modules": modules,
        "scenarios": len(failures_of),
        "failures": sum(failures_of.values()),
        "without": [name for name, count in failures_of.items() if not count],
    }
    print(json.dumps({**report, "wrong": wrong[:20]}))
    return 1 if wrong or modules < 4 else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one scenario of each kind")
    options = parser.parse_args(arguments)
    if options.child:
        return child(options.quick)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "nomem.so"
        source = Path(__file__).with_suffix(".c")
        compiler = os.environ.get("CC", "cc").split()
        flags = ["-O1", "-fPIC", "-shared", "-pthread", "-o", str(library), str(source)]
        subprocess.run([*compiler, *flags], check=True)
        return subprocess.run(
            [sys.executable, "-m", "tests.stress.nomem", "--child", *["--quick"] * options.quick],
            env={**os.environ, "LD_PRELOAD": str(library)},
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
