"""Random damage and random malice: ``python -m tests.stress.mutate --cases 20000 --seed 7``.

Without options each case is a good file with some bytes changed, which the digest must find.
``--behind`` changes the index and repairs the digest, so that every later check is met; what is
accepted then must be a valid network whose index says what the loaded network says, and with
``--forward`` it must also run, and learn if it can. ``--over-time`` does so to networks over time,
``--every-network`` to these, networks that learn and all others. ``--hdf5-view`` changes the
metadata of the HDF5 part, with ``--repair`` also its checksums, and asks `verify`, whose child
process may die but nothing else; ``--forked`` forks that child instead of starting an interpreter.

A case depends on the seed and its number alone. ``--journal FILE`` writes down each block of 5,000
cases and begins again behind the last one, so that a long run may be cut into pieces; a case in
which the process died is counted and left out. Prints one line of JSON and exits with 1 if a case
crashed, hung, or was silently wrong.
"""

from __future__ import annotations

import argparse
import json
import marshal
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from kerasnsoc.artifact import ArtifactError, NetworkSpec, hdf5_check, load, to_bytes, verify
from kerasnsoc.artifact.description import describe
from kerasnsoc.artifact.geometry import output_dims
from kerasnsoc.artifact.jsontext import canonical
from kerasnsoc.artifact.layout import frame, seal
from kerasnsoc_ext import firing, packing
from tests.networks import events_network, every_kind, learning_networks, time_networks
from tests.stress import forked_view
from tests.stress.hdf5_checksums import Region, regions, repaired
from tests.stress.journal import Journal

HANG_SECONDS = 10
"""Of the processor, so that a busy machine hangs nothing."""
STUCK_SECONDS = 600
"""Of the clock, for a case that waits for ever."""
VIEW_SECONDS = 2.0
FORWARD_VALUES = 1 << 16
"""Networks with larger maps are not run: they would only be slow."""

MOST_LINES = 1000

STEPS = 3
"""Time steps that a network over time runs."""

TOKENS = [
    *'0123456789-+.eE{}[]",:\\ ntfu',
    *("-1", "0", "1e999", "NaN", "null", "true", "false", "[]", "{}", '""', "\\u0000", "1.0"),
    *("2147483648", "4294967296", "9223372036854775807", "9" * 40, "[" * 20, '"input"', '"x":'),
    *('"|i1"', '"<i4"', '"<f8"', '"|O"', '"same"', '"valid"', '"full"', '"max"', '"average"'),
]


class Hang(Exception):
    """A case took far too long."""


def _alarm(number: int, stack: FrameType | None) -> None:
    raise Hang


def damaged(rng: random.Random, good: bytes) -> bytes:
    """A few bytes flipped, replaced, copied, cut off or inserted."""
    data = bytearray(good)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        kind, at = rng.random(), rng.randrange(len(data))
        if kind < 0.4:
            data[at] ^= 1 << rng.randrange(8)
        elif kind < 0.6:
            data[at] = rng.choice((0, 1, 127, 128, 255))
        elif kind < 0.75:
            number = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, len(data)))
            width = rng.choice((2, 4, 8))
            data[at : at + width] = (number % 256**width).to_bytes(width, "little")
        elif kind < 0.85:
            source, length = rng.randrange(len(data)), rng.randrange(1, 64)
            data[at : at + length] = data[source : source + length]
        elif kind < 0.95:
            if rng.random() < 0.3:
                del data[max(1, at) :]
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 16))
    return bytes(data)


def places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list) and item:
            found += places(item, (*path, key))
        else:
            found.append((*path, key))
    return found


@dataclass(frozen=True)
class Good:
    """A good file, taken apart once for all cases."""

    data: bytes
    text: bytes
    body: bytes
    members: bytes
    """The index as `marshal` copies it, several times faster than the parser of JSON."""
    places: list[tuple[object, ...]]
    offsets: list[int]

    @classmethod
    def of(cls, data: bytes) -> Good:
        parts = frame(data[:64], len(data))
        text = data[parts.index]
        value = json.loads(text)
        offsets = [offset for _, _, offset in value["arrays"].values()]
        return cls(data, text, data[parts.body], marshal.dumps(value), places(value), offsets)


def malicious(rng: random.Random, good: Good) -> bytes:
    """An index with tokens or members changed, or arrays with values changed; a right digest."""
    text, body = good.text, good.body
    kind = rng.random()
    if kind < 0.3:
        index = bytearray(text)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(index))
            index[at : at + rng.randrange(3)] = rng.choice(TOKENS).encode()
        text = bytes(index)
    elif kind < 0.85:  # still canonical, so that the checks behind the parser are reached
        value = marshal.loads(good.members)
        for again in range(rng.choice((1, 1, 1, 2))):
            change(rng, value, rng.choice(places(value) if again else good.places))
        text = canonical(value)
    if kind > 0.8 and good.offsets:
        changed = bytearray(body)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.choice(good.offsets) + rng.randrange(64)
            if at < len(changed):
                changed[at] = rng.randrange(256)
        body = bytes(changed)
    return seal(text, body)


def change(rng: random.Random, value: object, path: tuple[object, ...]) -> None:
    *parents, last = path
    holder = value
    for key in parents:
        holder = holder[key]
    old, kind = holder[last], rng.random()
    if kind < 0.1:
        del holder[last]
    elif type(old) is int and kind < 0.8:
        holder[last] = rng.choice((0, 1, -1, old + 1, old - 1, old * 2, old + 64, 2**31, 2**62))
    elif type(old) is float and kind < 0.8:
        holder[last] = rng.choice((0.0, -1.0, 1e300, 0.5, 3.7))
    elif type(old) is bool and kind < 0.8:
        holder[last] = not old
    elif isinstance(holder, list) and kind < 0.9:
        holder.insert(last, rng.choice(holder))
    else:
        holder[last] = rng.choice((None, True, 0, 1.5, "", "conv", [], {}, [old], "x" * 200))


class Judge:
    """Counts outcomes of one kind of attack."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []
        self.slowest = 0.0
        self.forward = options.forward
        self.repair = options.repair
        networks = [events_network(), every_kind()["image"]]
        if options.over_time:
            networks = list(time_networks().values())
        if options.every_network:
            kinds = (every_kind(), time_networks(), learning_networks())
            networks = [network for kind in kinds for network in kind.values()]
        self.goods = [Good.of(to_bytes(network)) for network in networks]

    def run(self, case: int, name: str, attempt: Callable[[], str]) -> None:
        """One case; whatever is not in the plan is recorded with its number."""
        start = time.perf_counter()
        try:
            outcome = attempt()
        except ArtifactError:
            outcome = "refused"
        except Hang:
            outcome = "HANG"
        except BaseException as error:
            outcome = f"ERROR {type(error).__name__}"
        self.slowest = max(self.slowest, time.perf_counter() - start)
        self.counts[outcome] += 1
        if outcome.isupper() or outcome.startswith("ERROR"):
            self.examples.append(f"{name} {case}: {outcome}")

    def front(self, case: int, rng: random.Random) -> None:
        good = self.goods[case % len(self.goods)].data
        data = damaged(rng, good)

        def attempt() -> str:
            load(data)
            return "unchanged" if data == good else "SILENT"

        self.run(case, "front", attempt)

    def behind(self, case: int, rng: random.Random) -> None:
        good = self.goods[case % len(self.goods)]
        data = malicious(rng, good)

        def attempt() -> str:
            spec = load(data)
            parts = frame(data[:64], len(data))
            index = json.loads(data[parts.index])
            del index["arrays"]
            if canonical(describe(spec)) != canonical(index):
                return "SILENT"
            if self.forward:
                run_network(spec, case)
            return "valid"

        self.run(case, "behind", attempt)

    def view(self, case: int, rng: random.Random, blocks: list[list[Region]]) -> None:
        good = self.goods[case % len(self.goods)]
        body = bytearray(good.body)
        inside = [at for start, end in blocks[case % len(blocks)] for at in range(start, end)]
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.choice(inside)
            if rng.random() < 0.5:
                body[at] ^= 1 << rng.randrange(8)
            else:
                body[at] = rng.choice((0, 1, 127, 128, 255))
        fixed = repaired(bytes(body), blocks[case % len(blocks)]) if self.repair else bytes(body)
        data = seal(good.text, fixed)

        def attempt() -> str:
            try:
                verify(data)
            except ArtifactError as error:
                if "still reading" in str(error):
                    return "stopped by the clock"
                return "child died" if "exit status" in str(error) else "refused"
            return "agrees"

        self.run(case, "view", attempt)


def run_network(spec: NetworkSpec, seed: int) -> None:
    """Let the runtime run a small network once."""
    from kerasnsoc.runtime import Model

    dims: dict[str, tuple[int, int, int]] = {}
    for layer in spec.layers:
        dims[layer.name] = output_dims(layer.parameters, [dims[name] for name in layer.inbounds])
        if np.prod(dims[layer.name]) > FORWARD_VALUES:
            return
    height, width, channels = spec.input.shape_hwc
    if height * width * channels > FORWARD_VALUES:
        return
    shape: tuple[int, ...] = (1, height, width, channels)
    if spec.time_step is not None:
        shape = (1, STEPS, height, width, channels)
    elif spec.input.kind == "events":
        shape = (1, width, height, channels)
    top = 2**spec.input.bits
    values = np.random.default_rng(seed).integers(0, top, shape, dtype=np.uint8)
    model = Model.from_spec(spec)
    with suppress(OverflowError):  # a potential outside of int32 is reported, not wrapped
        model.forward(values)
    if spec.layers[-1].learning is not None:
        with suppress(OverflowError, ValueError):  # a changed layer may send on more than 0 and 1
            model.fit(values)


def remember_lines() -> None:
    """Fit each threshold table once: in most cases it is that of the good file."""
    fit = packing.fit_line
    lines: dict[tuple[bytes, ...], firing.Line | None] = {}

    def remembered(*arguments: Any) -> firing.Line | None:
        key = tuple(np.asarray(a).tobytes() for a in arguments)
        if key not in lines:
            if len(lines) == MOST_LINES:
                lines.clear()
            lines[key] = fit(*arguments)
        return lines[key]

    packing.fit_line = remembered


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--behind", action="store_true", help="change the index, repair the digest")
    parser.add_argument("--forward", action="store_true", help="run what is accepted")
    parser.add_argument("--over-time", action="store_true", help="attack networks over time")
    parser.add_argument("--every-network", action="store_true", help="attack every kind of network")
    parser.add_argument("--journal", type=Path, help="go on behind the last block in this file")
    parser.add_argument("--hdf5-view", action="store_true", help="change HDF5 metadata and verify")
    parser.add_argument("--repair", action="store_true", help="repair HDF5 checksums")
    parser.add_argument("--forked", action="store_true", help="the child of --hdf5-view is a fork")
    options = parser.parse_args(arguments)
    judge = Judge(options)
    name = "hdf5-view" if options.hdf5_view else "behind" if options.behind else "front"
    if options.hdf5_view:
        hdf5_check.BASE_SECONDS = VIEW_SECONDS
        if options.forked:
            forked_view.install()
        blocks = [regions(good.body) for good in judge.goods]
    remember_lines()
    setting = [name, options.forward, options.over_time, options.every_network, options.seed]
    journal = Journal(options.journal, setting)
    start = time.perf_counter()
    for late in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(late, _alarm)
    for case in journal.cases(options.cases, judge.counts, judge.examples):
        rng = random.Random(options.seed * 10**9 + case)
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
        signal.alarm(STUCK_SECONDS)
        if options.hdf5_view:
            judge.view(case, rng, blocks)
        elif options.behind:
            judge.behind(case, rng)
        else:
            judge.front(case, rng)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    for good in judge.goods:  # a harness whose seeds are refused would prove nothing
        load(good.data)
    report = {
        "mode": name,
        "over_time": options.over_time,
        "cases": sum(judge.counts.values()),
        "seed": options.seed,
        **dict(sorted(judge.counts.items())),
        "slowest_ms": round(judge.slowest * 1e3, 2),
        "seconds": round(time.perf_counter() - start, 1),
        "bad": judge.examples[:20],
    }
    print(json.dumps(report))
    return 1 if judge.examples else 0


if __name__ == "__main__":
    sys.exit(main())
