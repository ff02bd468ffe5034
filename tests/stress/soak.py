"""Runs and learns for a long time: ``python -m tests.stress.soak --minutes 30``.

A network that learns is trained, run, saved and loaded over and over, beside one that only runs.
The bar: resident memory grows by less than 1 MiB an hour after the warm-up (fitted over the second
half), as many open files as at the start, and the last outputs are the first ones. Prints one line
of JSON and exits with 1 if the bar is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time

import numpy as np

from kerasnsoc.runtime import Model
from tests.networks import every_kind, learning_networks

PAGE = os.sysconf("SC_PAGE_SIZE")
SLOPE_BYTES_AN_HOUR = 1 << 20


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE


def batch(model: Model, samples: int) -> np.ndarray:
    spec = model.to_spec().input
    height, width, channels = spec.shape_hwc
    shape = (height, width) if spec.kind == "image" else (width, height)
    rng = np.random.default_rng(5)
    return rng.integers(0, 2**spec.bits, (samples, *shape, channels), np.uint8)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    options = parser.parse_args()
    plain = {name: Model.from_spec(spec) for name, spec in every_kind().items()}
    inputs = {name: batch(model, 8) for name, model in plain.items()}
    first = {name: model.forward(inputs[name]) for name, model in plain.items()}
    start = {n: Model.from_spec(s).to_buffer() for n, s in learning_networks().items()}
    learned: dict[str, bytes] = {}
    files = len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    times, sizes, rounds, inferences, problems = [], [], 0, 0, []
    while (elapsed := time.monotonic() - began) < 60 * options.minutes:
        for name, model in plain.items():
            if not np.array_equal(model.forward(inputs[name]), first[name]):
                problems.append(f"{name}: outputs changed in round {rounds}")
            inferences += len(inputs[name])
        for name, buffer in start.items():
            model = Model(serialized_buffer=buffer)
            learning = model.to_spec().layers[-1].learning
            assert learning is not None
            x = batch(model, 32)
            labels = np.arange(32) % learning.num_classes
            model.fit(x, labels if learning.num_classes > 1 else None)
            inferences += len(x)
            if learned.setdefault(name, model.to_buffer()) != model.to_buffer():
                problems.append(f"{name}: learned something else in round {rounds}")
        rounds += 1
        if rounds % 50 == 0:
            gc.collect()
            times.append(elapsed / 3600)
            sizes.append(resident())
    half = len(times) // 2
    slope = float(np.polyfit(times[half:], sizes[half:], 1)[0]) if len(times) - half > 2 else 0.0
    opened = len(os.listdir("/proc/self/fd")) - files
    if slope > SLOPE_BYTES_AN_HOUR and options.minutes >= 10:
        problems.append(f"memory grows by {slope:,.0f} bytes an hour")
    if opened:
        problems.append(f"{opened} descriptors stay open")
    print(
        json.dumps(
            {
                "minutes": options.minutes,
                "rounds": rounds,
                "inferences": inferences,
                "bytes_an_hour": round(slope),
                "resident": resident(),
                "problems": problems[:10],
            }
        )
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
