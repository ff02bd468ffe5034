"""One hash over threads, forms, kernels, batch splits, hash seeds and processes.

``python -m tests.stress.determinism`` starts two processes for each kernel and each
``PYTHONHASHSEED``, lets each of them run all combinations of threads, forms and batch splits, and
prints the hash on which all of them agree. ``--quick`` takes a few of each, for every kernel, and
must come to the same hash.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time

import numpy as np

from kerasnsoc.artifact import content_digest
from kerasnsoc.runtime import Model
from kerasnsoc.runtime.events import TimeWindow, make_events
from kerasnsoc_ext import available_kernels
from tests.networks import every_kind

THREADS = (1, 2, 4, 8)
FORMS = ("auto", "dense", "events")
SPLITS = (1, 7, 0)  # 0: the whole batch
HASH_SEEDS = ("0", "1", "random")
SAMPLES = 15
QUICK = {"threads": (1, 4), "forms": ("auto", "events"), "splits": (7, 0), "seeds": ("0", "random")}


def combinations(quick: bool) -> list[tuple[int, str, int]]:
    """Threads, form and split of the runs of one process."""
    if quick:
        return list(itertools.product(QUICK["threads"], QUICK["forms"], QUICK["splits"]))
    return list(itertools.product(THREADS, FORMS, SPLITS))


def run_all(quick: bool) -> list[str]:
    """The hash of every combination in this process."""
    cases = []
    for name, spec in sorted(every_kind().items()):
        model = Model.from_spec(spec)
        width, height, channels = model.input_dims
        shape = (height, width) if spec.input.kind == "image" else (width, height)
        rng = np.random.default_rng(11)
        top = 2**spec.input.bits
        cases.append((name, model, rng.integers(0, top, (SAMPLES, *shape, channels), np.uint8)))
    recording = streamed()
    hashes = []
    for threads, form, split in combinations(quick):
        digest = hashlib.sha256()
        for name, model, inputs in cases:
            before = counted(model)
            step = split or len(inputs)
            outputs = [
                model.forward(inputs[start : start + step], form=form, threads=threads)
                for start in range(0, len(inputs), step)
            ]
            sealed = content_digest(model.to_spec())
            digest.update(f"{name} {sealed} {outputs[0].dtype}".encode())
            digest.update(np.concatenate(outputs).tobytes())
            digest.update(model.predict(inputs).tobytes())
            digest.update((counted(model) - before).tobytes())
        digest.update(recording)
        hashes.append(digest.hexdigest())
    return hashes


def counted(model: Model) -> np.ndarray:
    """Statistics of all layers."""
    rows = model.statistics.values()
    totals = [(r.nb_samples, r.nb_activations, r.events_in, r.synaptic_ops) for r in rows]
    return np.array(totals, np.int64)


def streamed() -> bytes:
    """Results of a recording, packet by packet."""
    rng = np.random.default_rng(12)
    columns = [rng.integers(0, top, 200) for top in (5, 4, 2)]
    events = make_events(np.sort(rng.integers(0, 5000, 200)), *columns)
    model = Model.from_spec(every_kind()["events"])
    results = model.stream(events, TimeWindow(300), duplicates="count")
    return b"".join(result.outputs.tobytes() for result in results)


def child(kernel: str, hash_seed: str, quick: bool) -> list[str]:
    """`run_all` in a process of its own."""
    environment = {**os.environ, "KERASNSOC_KERNEL": kernel, "PYTHONHASHSEED": hash_seed}
    result = subprocess.run(
        [sys.executable, "-m", "tests.stress.determinism", "--child", *["--quick"] * quick],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    hashes: list[str] = json.loads(result.stdout)
    return hashes


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2, help="per kernel and hash seed")
    parser.add_argument("--quick", action="store_true", help="a few combinations")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(run_all(options.quick)))
        return 0
    start, runs, found = time.perf_counter(), 0, set()
    seeds = QUICK["seeds"] if options.quick else HASH_SEEDS
    for kernel, hash_seed in itertools.product(available_kernels(), seeds):
        for _ in range(options.processes):
            hashes = child(kernel, hash_seed, options.quick)
            runs += len(hashes)
            found.update(hashes)
    report = {
        "hash": min(found),
        "hashes": len(found),
        "runs": runs,
        "kernels": list(available_kernels()),
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(report))
    return 1 if len(found) != 1 else 0


if __name__ == "__main__":
    sys.exit(main())
