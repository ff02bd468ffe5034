"""What share of the machine's integer peak the dense kernels reach.

    python -m benchmarks.peak [--kernel avx512vnni] [--json peak.json]

A convolution with a sum over at least 1152 products is timed beside a loop of nothing but the
instructions that multiply and add bytes, in turns, in one process. Both are timed by the processor
time of the thread. Needs a C compiler (``cc``); x86-64 only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.timing import measure
from kerasnsoc_ext import Network, Plan, available_kernels

GOALS = {"avx512vnni": 0.80, "avx2": 0.85}
"""Share of the peak that is to be reached, per kernel row."""

SHAPES = ((14, 128, 128), (14, 256, 256), (8, 512, 512))
"""Side of the map, channels, neurons; kernels of 3 x 3, so that 9 * channels products are added."""

PRODUCTS = {"avx512vnni": 64, "avx2": 32}
"""Products of bytes in one step of the loop: one instruction, or two where data has few bits."""

STEPS = 16

SOURCE = """
void run(long rounds)
{{
    for (long i = 0; i < rounds; i++)
        __asm__ volatile({steps} ::: {registers});
}}
"""


def peak_loop(kernel: str, folder: Path) -> ctypes.CDLL:
    """Independent sums in registers, without a load or a store."""
    lines = []
    for step in range(STEPS):
        place = step % 12
        if kernel == "avx512vnni":
            lines.append(f'"vpdpbusd %%zmm15, %%zmm14, %%zmm{place}\\n"')
        else:
            lines.append(f'"vpmaddubsw %%ymm15, %%ymm14, %%ymm{12 + step % 2}\\n"')
            lines.append(f'"vpaddw %%ymm{12 + step % 2}, %%ymm{place}, %%ymm{place}\\n"')
    registers = ", ".join(f'"xmm{i}"' for i in range(16))
    source = folder / "peak.c"
    source.write_text(SOURCE.format(steps=" ".join(lines), registers=registers))
    library = folder / "peak.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    loop = ctypes.CDLL(str(library))
    loop.run.argtypes = [ctypes.c_long]
    return loop


def convolution(kernel: str, side: int, channels: int, neurons: int):
    """A call of a 3 x 3 layer with 4-bit weights and inputs, all of which are visited."""
    rng = np.random.default_rng(0)
    network = Network(kernel)
    network.add_input("in", side, side, channels, largest=15)
    window = (side, 3, 1, 1, side)
    weights = rng.integers(-7, 8, (3, 3, channels, neurons), np.int8)
    thresholds = (np.arange(15, dtype=np.int32)[:, None] * 200 + np.zeros(neurons)).astype(np.int32)
    network.add_convolution("conv", 0, window, window, weights, thresholds_mn=thresholds)
    plan = Plan(network)
    inputs = rng.integers(0, 16, (1, side * side * channels), np.uint8)
    outputs = [None, np.empty((1, side * side * neurons), np.uint8)]
    counters = np.empty((1, 2, 3), np.int64)
    return lambda: plan.run(inputs, outputs, counters, "dense")


def shares(kernel: str, rounds: int = 9) -> list[dict[str, object]]:
    """One record per shape: products per second of both, and the share of the peak.

    The loop and the layer take turns, so that a change of the clock meets both; the share is the
    ratio of their median times.
    """
    records = []
    with tempfile.TemporaryDirectory() as folder:
        loop = peak_loop(kernel, Path(folder))
        for side, channels, neurons in SHAPES:
            products = side * side * 9 * channels * neurons
            steps = max(1, products // (PRODUCTS[kernel] * STEPS))
            times = measure(
                {
                    "peak": lambda steps=steps: loop.run(steps),
                    "layer": convolution(kernel, side, channels, neurons),
                },
                rounds,
                clock=time.thread_time,
            )
            records.append(
                {
                    "kernel": kernel,
                    "products per sum": 9 * channels,
                    "shape": [side, side, channels, neurons],
                    "peak, 10**9/s": products / times["peak"].median / 1e9,
                    "layer, 10**9/s": products / times["layer"].median / 1e9,
                    "share": times["peak"].median / times["layer"].median,
                    "share of least times": times["peak"].least / times["layer"].least,
                    "goal": GOALS[kernel],
                }
            )
    return records


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peak", description=__doc__.split("\n")[0]
    )
    known = [kernel for kernel in available_kernels() if kernel in GOALS]
    parser.add_argument("--kernel", choices=known, help="all of this CPU by default")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    kernels = [arguments.kernel] if arguments.kernel else known
    records = [record for kernel in kernels for record in shares(kernel, arguments.rounds)]
    for record in records:
        print(
            f"{record['kernel']:11} {record['products per sum']:5} products a sum: "
            f"{record['layer, 10**9/s']:6.1f} of {record['peak, 10**9/s']:6.1f} 10**9/s, "
            f"{record['share']:.2f} (least times {record['share of least times']:.2f}), "
            f"goal {record['goal']:.2f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(records, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
