"""The table of the networks that ship: accuracy, sparsity, size, energy with its interval.

    python -m benchmarks.shipped --mnist mnist.npz --cifar10 cifar10.tar.xz --spoken digits.zip

Each network (or each of those whose keys are given) runs on the held-out part of its data; without
a path of its data it is left out, generated data need none. Float and quantized accuracy are those
of the training run in the record; the one on integers is measured again and must be the recorded
one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from kerasnsoc._quantities import format_interval
from kerasnsoc.energy import energy_of_run
from kerasnsoc.runtime import Model
from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.spoken_digits import WORDS, features_of, load_spoken_digits
from kerasnsoc.zoo.recipes.catalog import get_task
from kerasnsoc.zoo.recipes.fitting import as_input, measure_integer
from kerasnsoc.zoo.recipes.sounds import EDGE_WORDS, KWS_EDGE
from kerasnsoc.zoo.recipes.task import Data, Task
from kerasnsoc.zoo.registry import Record, list_pretrained, load_pretrained

DEVICES = ("loihi", "cmos45-snn")
_COUNTED = 1000
"""Samples that sparsity and energy are means of; accuracy is of all."""


def row(record: Record, network: Model, task: Task, data: Data) -> list[str]:
    """Cells of one network."""
    metric = task.metric.replace(" ", "_")
    measured = measure_integer(network, task, data)
    known = record.metrics[f"integer_{metric}"]
    if measured != known:
        raise RuntimeError(f"{record.key}: {measured} on integers, but {known} is recorded")
    if task.kind == "boxes":
        samples = np.stack([one["image"] for one in data.detection["test"]])
    else:
        samples = as_input(data.test_x, task)
    chosen = np.random.default_rng(0).permutation(len(samples))[:_COUNTED]
    fresh = Model.from_spec(network.to_spec())
    fresh.forward(samples[chosen])
    statistics = fresh.get_statistics()
    hidden = [s.output_sparsity for s in statistics.values()][:-1]
    operations = sum(s.synaptic_ops for s in statistics.values())
    dense = sum(s.connections for s in statistics.values()) * len(chosen)
    figures = [record.metrics[f"{kind}_{metric}"] for kind in ("float", "quantized")]
    return [
        f"`{record.key}`",
        *(f"{value:.2%}" if task.kind == "classes" else f"{value:.3f}" for value in figures),
        f"{measured:.2%}" if task.kind == "classes" else f"{measured:.3f}",
        f"{min(hidden):.0%} to {max(hidden):.0%}",
        f"{operations / dense:.1%} of {dense // len(chosen):,}",
        f"{record.extra['artifact_bytes']:,}",
        f"{record.bytes:,}",
        *(format_interval(energy_of_run(fresh, d).energy_per_inference) for d in DEVICES),
    ]


def held_out(record: Record, task: Task, path: Path | None) -> Data:
    """The data to test on; for sounds with the ranges of features that the record keeps."""
    if "feature_scaler" not in record.extra:
        return task.load(path, 1)
    assert path is not None
    digits = load_spoken_digits(path)
    known = EDGE_WORDS if task is KWS_EDGE else len(WORDS)
    chosen = np.flatnonzero(digits.is_test & (digits.labels < known))
    features = features_of([digits.sounds[i] for i in chosen])
    x = FeatureScaler.from_json(record.extra["feature_scaler"]).transform(features)[..., None]
    return Data(x[:0], chosen[:0], x, digits.labels[chosen], record.classes, "", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("keys", nargs="*", metavar="KEY")
    for name in ("mnist", "cifar10", "spoken"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    paths = {
        "mnist": options.mnist,
        "cifar10-small": options.cifar10,
        "kws": options.spoken,
        "kws-edge": options.spoken,
        "kws-voices": options.spoken,
    }
    titles = ("network", "float", "quantized", "integer", "zeros in the hidden layers")
    titles += ("synaptic operations", "artifact, bytes", "compressed", *DEVICES)
    print(f"| {' | '.join(titles)} |\n|{'---|' + '--:|' * (len(titles) - 1)}", flush=True)
    for record in list_pretrained():
        if not record.is_bundled or (options.keys and record.key not in options.keys):
            continue
        # such as "kerasnsoc train kws run --data …"
        task = get_task(record.recipe.split()[2])
        if task.name in paths and paths[task.name] is None:
            continue
        data = held_out(record, task, paths.get(task.name))
        print(f"| {' | '.join(row(record, load_pretrained(record.key), task, data))} |", flush=True)


if __name__ == "__main__":
    main()
