"""Many threads on one model: every result is the one that a single thread gets.

``python -m tests.stress.threads --threads 8 --calls 2000`` shares one model; ``--mixed`` lets each
thread in turn load the artifact, save it, run a model of its own and split a batch further. The
interpreter switches threads every microsecond. After ``--seconds`` no further calls begin; the
result says how many ran.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kerasnsoc.artifact import hdf5_check
from kerasnsoc.runtime import Model
from tests.networks import every_kind

VERIFY_SECONDS = 600
"""For the child process of a save: how long it takes on a busy machine is no matter here."""


def inputs_for(model: Model, samples: int, seed: int) -> np.ndarray:
    """A batch for a model whose input is an image."""
    width, height, channels = model.input_dims
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (samples, height, width, channels), dtype=np.uint8)


def shared(model: Model, images: np.ndarray, number: int, call: int) -> tuple[slice, np.ndarray]:
    """A share of the batch on the model of all."""
    start = (7 * number + call) % len(images)
    share = slice(start, start + 1 + call % 5)
    return share, model.forward(images[share])


def mixed(folder: Path) -> Callable[[Model, np.ndarray, int, int], tuple[slice, np.ndarray]]:
    """What `shared` does, between loading, saving and splitting."""

    def step(model: Model, images: np.ndarray, number: int, call: int) -> tuple[slice, np.ndarray]:
        kind = (number + call) % 8
        everything = slice(0, len(images))
        if kind == 0:
            target = folder / f"{number}.h5"
            model.save(target)
            return everything, Model(target).forward(images)
        if kind == 1:
            return everything, Model(serialized_buffer=model.to_buffer()).forward(images)
        if kind == 2:
            return everything, model.forward(images, threads=3)
        return shared(model, images, number, call)

    return step


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--calls", type=int, default=1000, help="of each thread")
    parser.add_argument("--mixed", action="store_true", help="also load, save and split")
    parser.add_argument("--seconds", type=float, default=300.0, help="about the longest time")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    spec = every_kind(options.seed)["image"]
    model = Model.from_spec(spec)
    images = inputs_for(model, 20, options.seed)
    expected = Model.from_spec(spec).forward(images, threads=1)
    wrong: list[str] = []
    late: list[int] = []
    ran = [0] * options.threads
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        step = mixed(Path(folder)) if options.mixed else shared
        hdf5_check.BASE_SECONDS = VERIFY_SECONDS

        def work(number: int) -> None:
            try:
                for call in range(options.calls):
                    if time.perf_counter() - start > options.seconds:
                        late.append(number)
                        return
                    share, outputs = step(model, images, number, call)
                    if not np.array_equal(outputs, expected[share]):
                        wrong.append(f"thread {number}, call {call}: another result")
                    ran[number] += 1
            except Exception as error:
                wrong.append(f"thread {number}: {error!r}")

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [
                threading.Thread(target=work, args=(number,)) for number in range(options.threads)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
    report = {
        "threads": options.threads,
        "calls": sum(ran),
        "mixed": options.mixed,
        "complete": not late,
        "wrong": wrong[:10],
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(report))
    return 1 if wrong or (not late and sum(ran) != options.threads * options.calls) else 0


if __name__ == "__main__":
    sys.exit(main())
