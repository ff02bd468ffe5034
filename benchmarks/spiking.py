"""Training speed of spiking layers against a plain recurrent one: ``python -m benchmarks.spiking``.

One layer of the same size between two dense layers, 100 steps, one epoch of `fit` after a warm-up.
"""

from __future__ import annotations

import argparse
import time

import keras
import numpy as np

from kerasnsoc.spiking import IAF, Lowpass, SpikingActivation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    samples = options.batch * options.batches
    x = rng.normal(size=(samples, options.steps, 32)).astype("float32")
    y = rng.integers(0, 10, samples)
    candidates = {
        "keras SimpleRNN": lambda: keras.layers.SimpleRNN(options.units, return_sequences=True),
        "SpikingActivation": lambda: SpikingActivation("relu", dt=0.01, seed=0),
        "SpikingActivation, rates": lambda: SpikingActivation(
            "relu", dt=0.01, seed=0, spiking_aware_training=False
        ),
        "IAF": lambda: IAF(),
        "Lowpass": lambda: Lowpass(0.05, dt=0.01),
    }
    models = {}
    for name, make in candidates.items():
        keras.utils.set_random_seed(0)
        models[name] = keras.Sequential(
            [
                keras.Input((options.steps, 32)),
                keras.layers.Dense(options.units),
                make(),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(10),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        models[name].compile("adam", loss)
        models[name].fit(x, y, batch_size=options.batch, verbose=0)
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(options.rounds):  # in turns, so that all meet the same machine
        for name, model in models.items():
            start = time.perf_counter()
            model.fit(x, y, batch_size=options.batch, verbose=0)
            taken[name].append((time.perf_counter() - start) / options.batches)
    reference = float(np.median(taken["keras SimpleRNN"]))
    for name, seconds in taken.items():
        median = float(np.median(seconds))
        print(f"{name:26} {median * 1e3:7.1f} ms per batch, {median / reference:.2f} of SimpleRNN")


if __name__ == "__main__":
    main()
