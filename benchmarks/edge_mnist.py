"""Learning handwritten digits on the device: one look at each of 60,000 images, no gradient.

    python -m benchmarks.edge_mnist --mnist mnist.npz

Edges of eight directions make 1,568 binary inputs; 1,000 neurons, 100 per digit, learn one sample
after the other. A second experiment learns eight digits, then adds two. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.edge_features import edge_features, load_mnist
from kerasnsoc.runtime import FullyConnected, InputData, Model

NEURONS_PER_CLASS = 100
RECIPES = (("majority", 185), ("majority", 240), ("swap", 240), ("swap", 278))
SHOTS = (1, 5, 20, 100, None)


def prepared(classes: int, num_weights: int, rule: str, competition: float) -> Model:
    model = Model()
    model.add(InputData(14, 14, 8, 1))
    model.add(FullyConnected(classes * NEURONS_PER_CLASS, activations_enabled=False))
    model.compile(num_weights, classes, learning_competition=competition, rule=rule)
    return model


def accuracy(model: Model, features: np.ndarray, labels: np.ndarray, classes: int) -> float:
    return float(np.mean(model.predict(features, classes) == labels))


def all_digits(train: tuple, test: tuple) -> None:
    print("| rule | weights per neuron | competition 0 | competition 0.1 | fit, s |")
    print("|---|--:|--:|--:|--:|")
    for rule, num_weights in RECIPES:
        found = []
        for competition in (0.0, 0.1):
            model = prepared(10, num_weights, rule, competition)
            start = time.thread_time()
            for first in range(0, len(train[0]), 1000):
                part = slice(first, first + 1000)
                model.fit(train[0][part], train[1][part])
            seconds = time.thread_time() - start
            found.append(accuracy(model, *test, 10))
        print(f"| {rule} | {num_weights} | {found[0]:.2%} | {found[1]:.2%} | {seconds:.2f} |")


def two_more(train: tuple, test: tuple, rule: str, num_weights: int) -> None:
    old, new = train[1] < 8, train[1] >= 8
    before = prepared(8, num_weights, rule, 0.1)
    before.fit(train[0][old], train[1][old])
    old_test = test[0][test[1] < 8], test[1][test[1] < 8]
    new_test = test[0][test[1] >= 8], test[1][test[1] >= 8]
    alone = accuracy(before, *old_test, 8)
    print(f"\nrule {rule}, {num_weights} weights per neuron: eight digits {alone:.2%}\n")
    print("| samples of each new digit | old digits | new digits |")
    print("|--:|--:|--:|")
    for shots in SHOTS:
        chosen = [np.nonzero(new & (train[1] == digit))[0][:shots] for digit in (8, 9)]
        order = np.sort(np.concatenate(chosen))
        model = Model(serialized_buffer=before.to_buffer())
        kept = model.layers[-1].get_variable("weights")
        model.add_classes(2)
        model.fit(train[0][order], train[1][order])
        assert np.array_equal(model.layers[-1].get_variable("weights")[..., : kept.shape[3]], kept)
        found = [accuracy(model, *some, 10) for some in (old_test, new_test)]
        print(f"| {shots or 'all'} | {found[0]:.2%} | {found[1]:.2%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mnist", required=True, help="path of mnist.npz")
    options = parser.parse_args()
    train_images, train_labels, test_images, test_labels = load_mnist(options.mnist)
    train = edge_features(train_images), train_labels
    test = edge_features(test_images), test_labels
    print(f"{np.count_nonzero(train[0]) / len(train[0]):.0f} of {train[0][0].size} inputs active\n")
    all_digits(train, test)
    for rule, num_weights in (("majority", 185), ("swap", 278)):
        two_more(train, test, rule, num_weights)


if __name__ == "__main__":
    main()
