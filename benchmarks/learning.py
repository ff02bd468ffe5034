"""How many samples a second one core learns, on the recipe of `benchmarks.edge_mnist`.

    python -m benchmarks.learning --mnist mnist.npz

1,568 binary inputs, 1,000 neurons in 10 classes, labelled. Without a path it makes samples with as
many events itself. Prints one line per rule and kernel: samples a second of `Model.fit` as a whole,
outputs and statistics included, by the processor time of its thread, best of several passes.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

from benchmarks.edge_features import edge_features, load_mnist
from kerasnsoc.runtime import FullyConnected, InputData, Model
from kerasnsoc_ext import _learning

RECIPES = {"majority": 185, "swap": 240}


def made_samples(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy copies of one prototype per class and ten variants, about 185 events each."""
    rng = np.random.default_rng(0)
    prototypes = rng.random((100, 1568)) < 185 / 1568
    labels = rng.integers(0, 10, count)
    features = prototypes[labels * 10 + rng.integers(0, 10, count)]
    moved = rng.random((count, 1568)) < 0.03
    return (features ^ moved).astype(np.uint8).reshape(count, 14, 14, 8), labels


def recipe(rule: str, neurons: int) -> Model:
    model = Model(
        layers=[InputData(14, 14, 8, 1), FullyConnected(neurons, activations_enabled=False)]
    )
    model.compile(RECIPES[rule], 10, rule=rule)
    return model


def samples_per_second(
    features: np.ndarray, labels: np.ndarray, rule: str, neurons: int, passes: int
) -> float:
    best = 0.0
    for _ in range(passes):
        model = recipe(rule, neurons)
        model.fit(features[:100], labels[:100])  # packs the weights
        start = time.thread_time()
        for first in range(0, len(features), 1000):
            model.fit(features[first : first + 1000], labels[first : first + 1000])
        best = max(best, len(features) / (time.thread_time() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mnist", help="path of mnist.npz; by default samples are made")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--neurons", type=int, default=1000)
    parser.add_argument("--passes", type=int, default=5)
    options = parser.parse_args()
    if options.mnist:
        images, labels, _, _ = load_mnist(options.mnist)
        features = edge_features(images[: options.samples])
        labels = labels[: options.samples]
    else:
        features, labels = made_samples(options.samples)
    events = np.count_nonzero(features) / len(features)
    print(f"{len(features)} samples of {events:.0f} events, {options.neurons} neurons")
    fastest = _learning.available_kernels()[0]
    for kernel in (fastest, "scalar"):
        os.environ["KERASNSOC_KERNEL"] = "scalar" if kernel == "scalar" else ""
        for rule in RECIPES:
            speed = samples_per_second(features, labels, rule, options.neurons, options.passes)
            print(f"{rule:9} {kernel:9} {speed:10,.0f} samples/s per core")


if __name__ == "__main__":
    main()
