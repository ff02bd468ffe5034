"""Digits trained with one time step, run with 1 to 100, and on narrow potentials of a chip.

    python -m benchmarks.spiking_digits
    python -m benchmarks.spiking_digits --data mnist.npz --plot spiking_digits.png

Without data it takes the 8 x 8 digits of the package. The network is trained on rates; its artifact
then runs for more and more steps, each of which shows the image; so do the same weights behind
`IAF` neurons. The last table is about these when they are fed with random spikes, as a camera
would send them, for potentials of fewer and fewer bits. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from keras import layers

from benchmarks.edge_features import load_mnist
from kerasnsoc import convert
from kerasnsoc.conversion import compare, rounding_of
from kerasnsoc.demo import load_digits
from kerasnsoc.energy import compare_devices
from kerasnsoc.nsoc import NSoCError, NSoCNetwork
from kerasnsoc.quantization import MaxQuantizer, QuantizedConv2D, QuantizedDense
from kerasnsoc.runtime import Model
from kerasnsoc.spiking import IAF, SpikingActivation, SumPooling2D

DT = 0.02
STEPS = (1, 2, 5, 10, 20, 50, 100)
DEVICES = ("cpu", "loihi", "spinnaker", "spinnaker2")
GAINS = {"edges": 10.0, "hidden": 0.7}
"""Rates begin at about 10 Hz, a spike in every fifth step."""


class Images(NamedTuple):
    """Images of 8 bits (n, side, side, 1) with the largest value, and labels."""

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.uint8]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.uint8]
    largest: int


def load(path: str | None) -> Images:
    """MNIST from a file, or the digits of the package."""
    if path is None:
        return Images(*load_digits(), 240)
    train, train_labels, test, test_labels = load_mnist(path)
    return Images(train[..., None], train_labels, test[..., None], test_labels, 255)


def network(side: int, *, is_iaf: bool = False, for_chip: bool = False) -> keras.Model:
    """The same layers with neurons for training, with `IAF`, and with `IAF` at the end too."""
    over_time = layers.TimeDistributed
    is_large = side > 8

    def weights(cls, *arguments, name, **options):
        layer = cls(*arguments, use_bias=False, quantizer=MaxQuantizer(8), **options)
        return over_time(layer, name=name)

    def neurons(name, threshold):
        if is_iaf:  # sums of currents rather than rates; counts of spikes rather than Hz
            return IAF(threshold, dt=DT, min_v=-threshold, name=name)
        return SpikingActivation("relu", dt=DT, spiking_aware_training=False, seed=3, name=name)

    options = {"strides": 2 if is_large else 1, "padding": "valid" if is_large else "same"}
    return keras.Sequential(
        [
            keras.Input((None, side, side, 1)),
            weights(QuantizedConv2D, 16, 4 if is_large else 3, name="edges", **options),
            neurons("edges_spikes", 1 / DT),
            over_time(SumPooling2D(2), name="pool"),
            over_time(layers.Flatten(), name="flat"),
            weights(QuantizedDense, 64, name="hidden"),
            neurons("hidden_spikes", 1.0),
            weights(QuantizedDense, 10, name="digits"),
            *([neurons("digits_spikes", 1.0)] if for_chip else []),
        ]
    )


def frames(images: npt.NDArray[np.uint8], steps: int) -> npt.NDArray[np.uint8]:
    return np.repeat(images[:, np.newaxis], steps, axis=1)


def trained(data: Images, epochs: int) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = network(data.train_images.shape[1])
    for layer, gain in GAINS.items():
        kernel = model.get_layer(layer).layer.kernel
        kernel.assign(kernel * gain)
    steps = -(-len(data.train_images) // 64) * epochs
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x = frames(data.train_images, 1).astype("float32") / data.largest
    model.fit(x, data.train_labels[:, np.newaxis], epochs=epochs, batch_size=64, verbose=0)
    return model


def twin_of(model: keras.Model, **options: bool) -> keras.Model:
    """The same weights behind `IAF`."""
    twin = network(model.input_shape[2], is_iaf=True, **options)
    for layer in ("edges", "hidden", "digits"):
        twin.get_layer(layer).set_weights(model.get_layer(layer).get_weights())
    return twin


def rates(model: keras.Model, data: Images) -> float:
    """Accuracy as trained."""
    test = frames(data.test_images, 1).astype("float32") / data.largest
    logits = [np.asarray(model(part, training=True)) for part in np.array_split(test, 10)]
    return float(np.mean(np.concatenate(logits)[:, 0].argmax(axis=-1) == data.test_labels))


def over_steps(model: keras.Model, data: Images) -> list[tuple[int, float, float]]:
    """Accuracy and spikes per image against the number of steps; prints both, and energies."""
    artifact = convert(model, input_scaling=(data.largest, 0)).to_buffer()
    print("| steps | accuracy | spikes per image | " + " | ".join(DEVICES) + " |")
    print("| --: | --: | --: |" + " --: |" * len(DEVICES))
    rows = []
    for steps in STEPS:
        runtime = Model(serialized_buffer=artifact)
        parts = np.array_split(data.test_images, max(1, len(data.test_images) * steps // 10_000))
        found = np.concatenate([runtime.predict(frames(part, steps)) for part in parts])
        statistics = list(runtime.get_statistics().values())
        spikes = sum(layer.nb_spikes for layer in statistics[:-1]) / len(found)
        costs = compare_devices(runtime, DEVICES)
        accuracy = float(np.mean(found == data.test_labels))
        joules = " | ".join(f"{costs[name].energy_per_inference.value:.2e} J" for name in DEVICES)
        print(f"| {steps} | {accuracy:.2%} | {spikes:,.0f} | {joules} |", flush=True)
        rows.append((steps, accuracy, spikes))
    report = compare(model, Model(serialized_buffer=artifact), frames(data.test_images[:50], 20))
    print(f"\n{report.differing} of {report.compared:,} spikes differ from the frozen model\n")
    return rows


def on_narrow_potentials(model: keras.Model, data: Images, steps: int, count: int) -> None:
    """Accuracy of the same weights behind IAF neurons, for potentials of fewer bits."""
    twin = twin_of(model, for_chip=True)
    images, labels = data.test_images[:count], data.test_labels[:count]
    rng = np.random.default_rng(0)
    chance = images[:, np.newaxis] / data.largest
    events = (rng.random((len(images), steps, *images.shape[1:])) < chance).astype(np.uint8)
    print(f"{count} images, {steps} steps of random spikes\n")
    print("| state_bits | accuracy | largest threshold error | spikes that differ | speck2f |")
    print("| --: | --: | --: | --: | :-- |")
    for bits in (None, 16, 14, 13, 12):
        options = {"input_is_sparse": True, "input_bits": 1, "state_bits": bits}
        try:
            runtime = convert(twin, **options)
        except OverflowError as error:
            print(f"| {bits} | refused: {error} | | | |")
            continue
        found = runtime.predict(events)
        error = max(row.threshold_error for row in rounding_of(twin, **options).layers)
        report = compare(twin, runtime, events[:20])
        try:
            chip = NSoCNetwork(runtime.to_spec())
            obstacles = chip.incompatibilities("speck2f")
            chip_is_alike = np.array_equal(
                chip.forward(events[:20].astype(np.int64)).reshape(20, steps, -1),
                runtime.forward(events[:20]).reshape(20, steps, -1),
            )
            place = "fits" if not obstacles else obstacles[0].message
            place += ", spikes alike" if chip_is_alike else ", spikes differ"
        except NSoCError as refusal:
            place = f"no: {type(refusal).__name__}"
        print(
            f"| {bits or 'none'} | {np.mean(found == labels):.2%} | {error:.3%} | "
            f"{report.differing} of {report.compared:,} | {place} |",
            flush=True,
        )


def plot(curves: dict[str, list[tuple[int, float, float]]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained", sharey=True)
    for name, rows in curves.items():
        steps, accuracies, spikes = zip(*rows, strict=True)
        percent = [100 * a for a in accuracies]
        left.plot(steps, percent, "o-", markersize=4, label=name)
        right.plot(spikes, percent, "o-", markersize=4)
    left.set(xscale="log", xlabel="steps of 20 ms", ylabel="accuracy (%)")
    right.set(xscale="log", xlabel="spikes per image")
    left.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="mnist.npz; by default the digits of the package")
    parser.add_argument("--epochs", type=int, help="default: 3 with data, 30 without")
    parser.add_argument("--images", type=int, default=2000, help="to test with, at most")
    parser.add_argument("--plot", help="where to draw accuracy against steps and spikes")
    options = parser.parse_args()
    data = load(options.data)
    model = trained(data, options.epochs or (3 if options.data else 30))
    print(f"rates: {rates(model, data):.2%} of {len(data.test_images)} test images\n")
    images, labels = data.test_images[: options.images], data.test_labels[: options.images]
    data = data._replace(test_images=images, test_labels=labels)
    curves = {}
    for name, made in (("SpikingActivation", model), ("IAF", twin_of(model))):
        print(f"{name}, {len(images)} test images\n")
        curves[name] = over_steps(made, data)
    on_narrow_potentials(model, data, steps=50, count=500)
    if options.plot:
        plot(curves, options.plot)


if __name__ == "__main__":
    main()
