"""Time of kerasnsoc beside LiteRT, ONNX Runtime, OpenVINO and Keras, taken in turns.

    python -m benchmarks.run --quick                        # batch 1, one thread, five networks
    python -m benchmarks.run --json all.json --markdown all.md --plot density.png

Prints one row per network, batch and number of threads: the median time of a batch per engine, the
spread between the quartiles, and how many times as long as kerasnsoc the other engines take. Needs
what the extra ``kerasnsoc[bench]`` installs; engines that are missing are left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.networks import ARCHITECTURES, integer_network, keras_model, random_inputs
from benchmarks.peers import PEERS, installed, prepare
from benchmarks.report import markdown, plot
from benchmarks.timing import Times, measure
from kerasnsoc.runtime import Model
from kerasnsoc_ext import available_kernels

QUICK = ("mobilenet_0.25", "ds_cnn", "vgg", "gxnor", "mlp")
DENSITIES = (0.03, 0.06, 0.12, 0.25, 0.35, 0.5, 0.8)
KERAS_BATCH = 256  # predict() alone takes some 40 ms a call: only a large batch says anything
ROTATED = 8  # one repeated input would find its rows of weights in the cache


def kerasnsoc(
    name: str, kernel: str, batch: int, threads: int, density: float | None = None
) -> Callable[[], object]:
    """A run on the next of several inputs."""
    architecture = ARCHITECTURES[name]()
    os.environ["KERASNSOC_KERNEL"] = kernel
    try:
        model = Model.from_spec(integer_network(architecture, density))
        inputs = [
            random_inputs(architecture, batch, np.random.default_rng(seed))
            for seed in range(ROTATED)
        ]
        model.forward(inputs[0], threads=threads)
    finally:
        del os.environ["KERASNSOC_KERNEL"]
    turn = 0

    def run() -> object:
        nonlocal turn
        turn += 1
        return model.forward(inputs[turn % len(inputs)], threads=threads)

    return run


def keras_predict(name: str) -> Callable[[], object]:
    model = keras_model(ARCHITECTURES[name]())
    rng = np.random.default_rng(0)
    inputs = rng.random((KERAS_BATCH, *ARCHITECTURES[name]().shape_hwc), dtype=np.float32)
    return lambda: model.predict(inputs, batch_size=KERAS_BATCH, verbose=0)


def compare(
    name: str,
    folder: Path,
    batch: int,
    threads: int,
    kernels: list[str],
    rounds: int,
    clock: Callable[[], float],
) -> dict[str, Times]:
    shape = ARCHITECTURES[name]().shape_hwc
    engines = {f"kerasnsoc {k}": kerasnsoc(name, k, batch, threads) for k in kernels}
    for peer, make in PEERS.items():
        if installed(peer):
            engines[peer] = make(folder / name, shape, batch, threads)
    return measure(engines, rounds, clock=clock)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("kerasnsoc", "ai-edge-litert", "onnxruntime", "openvino", "keras"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--networks", nargs="+", choices=list(ARCHITECTURES), metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--threads", nargs="+", type=int)
    parser.add_argument("--kernels", nargs="+", choices=available_kernels())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a subset in under three minutes")
    parser.add_argument(
        "--cpu-time", action="store_true", help="of the calling thread; for one thread only"
    )
    parser.add_argument("--keras", action="store_true", help="also keras.Model.predict, batch 256")
    parser.add_argument("--models", type=Path, help="folder that keeps the peers' models")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--plot", type=Path, help="picture of time against event density")
    arguments = parser.parse_args()
    names = list(arguments.networks or (QUICK if arguments.quick else ARCHITECTURES))
    batches = arguments.batches or ([1] if arguments.quick else [1, 32])
    threads = arguments.threads or ([1] if arguments.quick else [1, 2])
    if arguments.cpu_time and threads != [1]:
        parser.error(f"--cpu-time counts one thread, but threads is {threads}; add --threads 1")
    clock = time.thread_time if arguments.cpu_time else time.perf_counter
    kernels = list(arguments.kernels or [k for k in available_kernels() if k != "scalar"])
    kernels = kernels or ["scalar"]

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.models or Path(temporary)
        if all(installed(peer) for peer in PEERS):
            prepare(names, folder)
        else:
            missing = [peer for peer in PEERS if not installed(peer)]
            print(f'without {", ".join(missing)}: pip install "kerasnsoc[bench]"', file=sys.stderr)
        rows: list[dict[str, Any]] = []
        for name in names:
            for batch in batches:
                for count in threads:
                    times = compare(name, folder, batch, count, kernels, arguments.rounds, clock)
                    row = {"network": name, "batch": batch, "threads": count}
                    rows.append(row | {"times": {k: vars(t) for k, t in times.items()}})
                    print(markdown(rows[-1:], header=len(rows) == 1), flush=True)
    result: dict[str, Any] = {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "versions": versions(),
        "command": " ".join(["python -m benchmarks.run", *sys.argv[1:]]),
        "rows": rows,
    }
    if arguments.keras:
        result["keras"] = {
            name: vars(times)
            for name, times in measure({n: keras_predict(n) for n in names}, 3).items()
        }
        print({name: f"{t['median'] * 1e3:.1f} ms" for name, t in result["keras"].items()})
    if arguments.plot:
        engines = {d: kerasnsoc("vgg", kernels[0], 1, 1, d) for d in DENSITIES}
        runs = {str(d): run for d, run in engines.items()}
        curve = measure(runs, arguments.rounds, clock=clock)
        result["density"] = {d: vars(t) for d, t in curve.items()}
        plot(result["density"], arguments.plot)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
