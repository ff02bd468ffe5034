"""Laws that the integer kernels keep, each measured and judged.

    python -m benchmarks.laws                      # all kernel rows that this CPU has
    python -m benchmarks.laws --kernels avx2 --laws 1 2 --json laws.json

1. The event form's time grows in proportion to events, and fast enough.
2. The automatic form takes at most 1.05 times as long as the better of both forms.
3. A fully connected layer takes a microsecond and the time that reading its rows takes.
4. An empty input takes at most 5 % of a full one's time, 30 % for up to 64 channels.
6. A call costs at most 2 microseconds beside its layers, and a second thread never more than 5 %.
7. Every kernel, form and number of threads gives the same integers.

Times are least times of the calling thread's processor time, taken in turns; those of law 6 with
threads are by the clock, and mean nothing on a busy machine. Laws 3 and 4 are about a layer: what
the same call takes without the layer is subtracted. Law 5, the dense kernels' share of the
machine's peak, needs a measurement of that peak and is not among these.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.networks import ARCHITECTURES, integer_network, random_inputs
from kerasnsoc.runtime import Model
from kerasnsoc.runtime.plan import CompiledNetwork
from kerasnsoc.runtime.tuning import crossover
from kerasnsoc_ext import Network, Plan, available_kernels, run_together

ROUNDS = 25
ROUND_SECONDS = 0.002
SAMPLES = 4  # different ones in turns: one alone would leave its rows in the cache
DENSITIES = (0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
SLOPES = {"avx512vnni": 100, "avx2": 75}
"""Giga synaptic operations per second at least."""

Run = Callable[[], object]


@dataclass(frozen=True)
class Finding:
    """One measured claim."""

    law: int
    kernel: str
    what: str
    found: str
    wanted: str
    kept: bool


class Layer:
    """One layer and inputs of a given density.

    Parameters
    ----------
    kernel : str
    side, channels, neurons, size : int
        Of a convolution with borders; a fully connected layer has side 1 and size 0.
    bits, largest_weight : int
    """

    def __init__(
        self,
        kernel: str,
        side: int,
        channels: int,
        neurons: int,
        size: int,
        bits: int = 4,
        largest_weight: int = 7,
    ) -> None:
        rng = np.random.default_rng(0)
        self.network = Network(kernel, crossover(kernel))
        self.largest = 2**bits - 1
        self.inputs = side * side * channels
        self.neurons = neurons
        levels = np.broadcast_to(np.arange(self.largest)[:, None] * 9, (self.largest, neurons))
        table = np.ascontiguousarray(levels, np.int32)
        self.network.add_input("in", side, side, channels, self.largest)
        shape = (size, size, channels, neurons) if size else (channels, neurons)
        weights = rng.integers(-largest_weight, largest_weight + 1, shape, dtype=np.int8)
        if size:
            window = (side, size, 1, (size - 1) // 2, side)
            self.network.add_convolution("c", 0, window, window, weights, None, None, table)
        else:
            self.network.add_fully_connected("f", 0, weights, table)
        self.plan = Plan(self.network)
        bare = Network(kernel)
        bare.add_input("in", side, side, channels, self.largest)
        self.bare = Plan(bare)
        self.outputs = np.empty((1, side * side * neurons), np.uint8)
        self.counters = np.empty((1, 2, 3), np.int64)

    def samples(self, density: float) -> np.ndarray:
        rng = np.random.default_rng(1)
        shape = (SAMPLES, 1, self.inputs)
        values = rng.integers(1, self.largest + 1, shape) * (rng.random(shape) < density)
        return values.astype(np.uint8)

    def runs(self, density: float, form: str) -> list[Run]:
        """Runs of several samples, to be taken in turns."""
        outputs = [None, self.outputs]

        def one(sample: np.ndarray) -> Run:
            return lambda: self.plan.run(sample, outputs, self.counters, form)

        return [one(sample) for sample in self.samples(density)]

    def bare_runs(self, density: float) -> list[Run]:
        """The same calls of a network that has the input and not the layer."""
        counters = np.empty((1, 1, 3), np.int64)

        def one(sample: np.ndarray) -> Run:
            return lambda: self.bare.run(sample, [None], counters)

        return [one(sample) for sample in self.samples(density)]

    def synaptic_ops(self, density: float) -> float:
        found = []
        for run in self.runs(density, "dense"):
            run()
            found.append(int(self.counters[0, 1, 1]))
        return float(np.mean(found))


def least_times(
    cases: dict[str, list[Run]], clock: Callable[[], float] = time.thread_time
) -> dict[str, float]:
    """Seconds of one run, a low quantile over rounds in which every case has its turn."""
    calls: dict[str, int] = {}
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, runs in cases.items():
            for run in runs:
                run()
            if name not in calls:
                start = time.perf_counter()
                for run in runs:
                    run()
                once = time.perf_counter() - start
                calls[name] = max(1, int(ROUND_SECONDS / max(once, 1e-7)))
            start = clock()
            for _ in range(calls[name]):
                for run in runs:
                    run()
            taken[name].append((clock() - start) / (calls[name] * len(runs)))
    return {name: sorted(values)[ROUNDS // 8] for name, values in taken.items()}


LAYERS = {
    "3x3, 128 to 128, 4 bits": (14, 128, 128, 3),
    "3x3, 256 to 256, 4 bits": (8, 256, 256, 3),
    "3x3, 32 to 64, 4 bits": (14, 32, 64, 3),
    "1x1, 256 to 128, 4 bits": (14, 256, 128, 1),
    "5x5, 32 to 64, 1 bit": (14, 32, 64, 5, 1, 1),
    "fully, 1024 to 512, 4 bits": (1, 1024, 512, 0),
    "fully, 3136 to 512, 1 bit": (1, 3136, 512, 0, 1, 1),
    "fully, 784 to 512, 8 bits": (1, 784, 512, 0, 8, 7),
}


def law_1(kernel: str) -> list[Finding]:
    findings = []
    for what in list(LAYERS)[:2]:
        layer = Layer(kernel, *LAYERS[what])
        shares = [d for d in DENSITIES if 0.1 <= d <= 0.7]
        times = least_times({str(d): layer.runs(d, "events") for d in shares})
        work = np.array([layer.synaptic_ops(d) for d in shares])
        taken = np.array([times[str(d)] for d in shares])
        slope, offset = np.polyfit(work, taken, 1)
        rest = float(np.sum((taken - slope * work - offset) ** 2))
        fit = 1 - rest / float(np.sum((taken - taken.mean()) ** 2))
        rate, wanted = 1e-9 / slope, SLOPES.get(kernel, 0)
        found = f"R^2 {fit:.4f}, {rate:.0f} G/s"
        wish = f"R^2 > 0.99, {wanted} G/s"
        findings.append(Finding(1, kernel, what, found, wish, bool(fit > 0.99 and rate >= wanted)))
    return findings


def law_2(kernel: str) -> list[Finding]:
    findings = []
    for what, arguments in LAYERS.items():
        layer = Layer(kernel, *arguments)
        forms = ("dense", "events", "auto")
        cases = {f"{form} {d}": layer.runs(d, form) for d in DENSITIES for form in forms}
        times = least_times(cases)
        ratios = {
            d: times[f"auto {d}"] / min(times[f"dense {d}"], times[f"events {d}"])
            for d in DENSITIES
        }
        worst = max(ratios, key=lambda d: ratios[d])
        found = f"{ratios[worst]:.2f} at a density of {worst}"
        findings.append(Finding(2, kernel, what, found, "1.05", ratios[worst] <= 1.05))
    return findings


def law_3(kernel: str) -> list[Finding]:
    findings = []
    shapes = {
        "8192 to 1024, 4 bits": (1, 8192, 1024, 0),
        "3136 to 512, 1 bit": (1, 3136, 512, 0, 1, 1),
        "512 to 512, 4 bits": (1, 512, 512, 0),
    }
    for what, arguments in shapes.items():
        layer = Layer(kernel, *arguments)
        matrix = layer.inputs * layer.neurons / 2  # two weights in a byte
        rate = 20e9 if matrix > 2**20 else 40e9
        for density in (0.1, 0.2):
            times = least_times(
                {"events": layer.runs(density, "events"), "bare": layer.bare_runs(density)}
            )
            seconds = times["events"] - times["bare"]
            events = layer.synaptic_ops(density) / layer.neurons
            wanted = 1e-6 + events * layer.neurons / 2 / rate
            findings.append(
                Finding(
                    3,
                    kernel,
                    f"{what}, density {density}",
                    f"{seconds * 1e6:.1f} us",
                    f"{wanted * 1e6:.1f} us",
                    bool(seconds <= wanted),
                )
            )
    return findings


def law_4(kernel: str) -> list[Finding]:
    findings = []
    for what, arguments in LAYERS.items():
        layer = Layer(kernel, *arguments)
        times = least_times(
            {
                "empty": layer.runs(0, "auto"),
                "full": layer.runs(1, "auto"),
                "bare": layer.bare_runs(1),
            }
        )
        share = (times["empty"] - times["bare"]) / (times["full"] - times["bare"])
        wanted = 0.3 if arguments[1] <= 64 else 0.05
        findings.append(Finding(4, kernel, what, f"{share:.1%}", f"{wanted:.0%}", share <= wanted))
    return findings


def law_6(kernel: str) -> list[Finding]:
    findings = []
    tiny = Layer(kernel, 1, 1, 1, 0)
    spec = integer_network(ARCHITECTURES["mlp"]())
    model, compiled = Model.from_spec(spec), CompiledNetwork(spec, kernel=kernel)
    images = random_inputs(ARCHITECTURES["mlp"](), 1, np.random.default_rng(0))
    rows = images.reshape(1, -1)
    plan = Plan(compiled._network)
    _, outputs_so = compiled.new_outputs(1)
    last = [None] * (len(compiled.names) - 1) + [outputs_so]
    counters = np.empty((1, len(compiled.names), 3), np.int64)
    if model._prepared().kernel == kernel:
        times = least_times(
            {
                "call": [lambda: model.forward(images)],
                "plan": [lambda: plan.run(rows, last, counters)],
                "nothing": tiny.runs(1, "dense"),
            }
        )
        cost = times["call"] - times["plan"] + times["nothing"]
        findings.append(
            Finding(6, kernel, "a call, mlp", f"{cost * 1e6:.1f} us", "2 us", cost <= 2e-6)
        )
    for name, batch, wanted in (("vgg", 1, 1.6), ("vgg", 8, 1.6), ("ds_cnn", 32, 0.95)):
        architecture = ARCHITECTURES[name]()
        compiled = CompiledNetwork(integer_network(architecture), kernel=kernel)
        images = random_inputs(architecture, batch, np.random.default_rng(0)).reshape(batch, -1)
        _, outputs_so = compiled.new_outputs(batch)
        totals = np.zeros((len(compiled.names), 3), np.int64)

        def together(count: int, network: CompiledNetwork = compiled) -> Run:
            plans = [Plan(network._network) for _ in range(count)]
            return lambda: run_together(plans, images, outputs_so, totals)  # noqa: B023

        times = least_times({"1": [together(1)], "2": [together(2)]}, time.perf_counter)
        gain = times["1"] / times["2"]
        what = f"a second thread, {name}, batch {batch}"
        findings.append(Finding(6, kernel, what, f"{gain:.2f}", f"{wanted}", gain >= wanted))
    return findings


def law_7(kernels: list[str]) -> list[Finding]:
    findings = []
    for name in ("gxnor", "mlp", "ds_cnn"):
        architecture = ARCHITECTURES[name]()
        images = random_inputs(architecture, 5, np.random.default_rng(0)).reshape(5, -1)
        images[0] = 0
        found = {}
        for kernel in ("scalar", *kernels):
            compiled = CompiledNetwork(integer_network(architecture), kernel=kernel)
            for form in ("auto", "dense", "events"):
                for threads in (1, 2, 3):
                    outputs, outputs_so = compiled.new_outputs(len(images))
                    totals = compiled.run_team(images, outputs_so, form, threads)
                    found[kernel, form, threads] = outputs.tobytes() + totals.tobytes()
        different = len(set(found.values()))
        what = f"{name}, {len(found)} ways"
        text = f"{different} result" + "s" * (different > 1)
        findings.append(Finding(7, "all", what, text, "1 result", different == 1))
    return findings


LAWS = {1: law_1, 2: law_2, 3: law_3, 4: law_4, 6: law_6}


def table(findings: list[Finding]) -> str:
    lines = ["| law | kernel | what | found | wanted | kept |", "|---" * 6 + "|"]
    for f in findings:
        kept = "yes" if f.kept else "**no**"
        lines.append(f"| {f.law} | {f.kernel} | {f.what} | {f.found} | {f.wanted} | {kept} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.laws", description=__doc__.split("\n")[0]
    )
    vectors = [k for k in available_kernels() if k != "scalar"]
    parser.add_argument("--kernels", nargs="+", choices=available_kernels(), default=vectors)
    parser.add_argument("--laws", nargs="+", type=int, choices=[*LAWS, 7], default=[*LAWS, 7])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    findings: list[Finding] = []
    print("\n".join(table([]).split("\n")), flush=True)
    for number in arguments.laws:
        if number == 7:
            new = law_7(arguments.kernels)
        else:
            new = [f for kernel in arguments.kernels for f in LAWS[number](kernel)]
        print("\n".join(table(new).split("\n")[2:]), flush=True)
        findings += new
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(f) for f in findings], indent=1) + "\n")
    return 0 if all(f.kept for f in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
