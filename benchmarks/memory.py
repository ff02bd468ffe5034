"""Memory and time from a file to the first result, each measured in a fresh process.

python -m benchmarks.memory --network mobilenet_1.0 --runs 7
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="mobilenet_1.0", help="one of benchmarks.networks")
    parser.add_argument("--runs", type=int, default=7, help="fresh processes")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child)))
        return
    runs = in_fresh_processes(options.network, options.runs)
    print(summary(options.network, runs))
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1))


def in_fresh_processes(network: str, runs: int) -> list[dict[str, Any]]:
    """Save a network once, then open and run it in one new interpreter after the other."""
    from benchmarks.networks import ARCHITECTURES, integer_network
    from kerasnsoc.artifact import save

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.h5")
        save(integer_network(ARCHITECTURES[network]()), path)
        command = [sys.executable, "-m", "benchmarks.memory", "--child", str(path)]
        # the first one times the kernels if this machine's cache holds no times yet
        subprocess.run(command, check=True, capture_output=True)
        return [
            json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            for _ in range(runs)
        ]


def measure(path: Path) -> dict[str, Any]:
    """One inference of the network in a file, in a process that has done nothing else."""
    start = time.perf_counter()
    from kerasnsoc.runtime import Model

    imported = time.perf_counter() - start

    import numpy as np

    from kerasnsoc.artifact.schema import LayerType

    # what a process of NumPy needs anyway is no memory of the network
    before = resident()
    start = time.perf_counter()
    model = Model(path)
    opened = time.perf_counter() - start
    width, height, channels = model.input_dims
    first = model.get_layer(0)
    is_image = first.parameters.layer_type is LayerType.InputConvolutional
    shape = (height, width, channels) if is_image else (width, height, channels)
    top = 2**first.input_bits
    image = np.random.default_rng(0).integers(0, top, (1, *shape), dtype=np.uint8)
    loaded = resident()
    start = time.perf_counter()
    model.forward(image, threads=1)
    ran = time.perf_counter() - start
    peak = peak_resident()
    start = time.perf_counter()
    model.forward(image, threads=1)
    again = time.perf_counter() - start
    compiled = model._prepared()
    variables = [v for layer in model.to_spec().layers for v in layer.variables.values()]
    return {
        "kernel": compiled.kernel,
        "file": path.stat().st_size,
        "weights": sum(values.nbytes for values in variables),
        "packed": compiled.packed_nbytes,
        "buffers": compiled.plan_nbytes,
        "loaded_growth": loaded - before,
        "kept_growth": resident() - before,
        "peak_growth": peak - before,
        "import_s": imported,
        "open_s": opened,
        "first_inference_s": ran,
        "second_inference_s": again,
    }


def resident() -> int:
    """Bytes of this process that lie in memory now (Linux)."""
    return _status("VmRSS")


def peak_resident() -> int:
    """The most bytes of this process that lay in memory at a time."""
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status does not tell {name}, which only Linux does")


def summary(network: str, runs: list[dict[str, Any]]) -> str:
    """Sizes of one run, which all have, and medians and least values of what varies."""
    one = runs[0]

    def median(name: str) -> float:
        return statistics.median(run[name] for run in runs)

    lines = [f"{network}, kernel {one['kernel']}, {len(runs)} fresh processes"]
    lines += [
        f"  {name:<16}{one[name] / MIB:8.2f} MiB"
        for name in ("file", "weights", "packed", "buffers")
    ]
    lines += [
        f"  {name:<16}{median(name) / MIB:8.2f} MiB"
        for name in ("loaded_growth", "kept_growth", "peak_growth")
    ]
    for names in (("weights", "buffers"), ("weights", "packed", "buffers")):
        ratio = median("peak_growth") / sum(one[name] for name in names)
        lines.append(f"  peak growth / ({' + '.join(names)}): {ratio:.2f}")
    for name in ("import_s", "open_s", "first_inference_s", "second_inference_s"):
        least = min(run[name] for run in runs) * 1e3
        lines.append(f"  {name[:-2]:<18}{median(name) * 1e3:8.1f} ms median, {least:.1f} least")
    first = [run["open_s"] + run["first_inference_s"] for run in runs]
    lines.append(
        f"  open + first      {statistics.median(first) * 1e3:8.1f} ms median, "
        f"{min(first) * 1e3:.1f} least"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
