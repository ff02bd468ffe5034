"""Train real networks, quantize them in steps, compare float, quantized and integer accuracy.

    python -m benchmarks.accuracy gxnor --data mnist.npz
    python -m benchmarks.accuracy speech --data free_spoken_digits.zip

`gxnor` is the convolutional network of GXNOR-Net [1]_ on MNIST in 4/4/4 and 2/2/1 bits; `speech` a
depthwise-separable network for keyword spotting [2]_ on the Free Spoken Digit Dataset (official
split: recordings 0 to 4 of each speaker and digit are held out) in 8/4/4 bits. Prints a Markdown
table and writes the artifacts and the figures as JSON into the folder `--output`.

.. [1] L. Deng et al., "GXNOR-Net", Neural Networks 100, 2018.
.. [2] Y. Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", arXiv 1711.07128, 2017.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import wave
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasnsoc as ns
from kerasnsoc.conversion import compare, freeze

layers = keras.layers
SCALING = (255.0, 0)


@dataclass(frozen=True)
class Data:
    """Images of 8 bits and labels."""

    train_x: Any
    train_y: Any
    test_x: Any
    test_y: Any


@dataclass(frozen=True)
class Stage:
    """Bits of the first layer's weights, other weights and activations, and how to fine-tune."""

    input_bits: int
    weight_bits: int
    activation_bits: int
    epochs: int
    rate: float

    @property
    def name(self) -> str:
        return f"{self.input_bits}/{self.weight_bits}/{self.activation_bits}"


def mnist(path: Path) -> Data:
    with np.load(path, allow_pickle=False) as file:
        x = [file[name][..., np.newaxis] for name in ("x_train", "x_test")]
        return Data(x[0], file["y_train"], x[1], file["y_test"])


def spoken_digits(path: Path) -> Data:
    """MFCC of one second at 8 kHz, 49 frames of 10 coefficients, scaled to 8 bits."""
    features: dict[bool, list[Any]] = {False: [], True: []}
    labels: dict[bool, list[int]] = {False: [], True: []}
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".wav"))
        for name in names:
            digit, _, index = Path(name).stem.split("_")
            held_out = int(index) < 5
            features[held_out].append(_mfcc(archive.read(name)))
            labels[held_out].append(int(digit))
    train, test = (np.stack(features[part])[..., np.newaxis] for part in (False, True))
    low, high = train.min(axis=(0, 1)), train.max(axis=(0, 1))
    return Data(
        _to_8_bits(train, low, high),
        np.array(labels[False]),
        _to_8_bits(test, low, high),
        np.array(labels[True]),
    )


def _mfcc(data: bytes) -> Any:
    import tensorflow as tf

    with wave.open(io.BytesIO(data)) as sound:
        rate = sound.getframerate()
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / np.float32(32768)
    clip = np.zeros((rate, 1), np.float32)
    clip[: min(rate, len(samples)), 0] = samples[:rate]
    spectrogram = tf.raw_ops.AudioSpectrogram(
        input=clip, window_size=rate // 25, stride=rate // 50, magnitude_squared=True
    )
    mfcc = tf.raw_ops.Mfcc(spectrogram=spectrogram, sample_rate=rate, dct_coefficient_count=10)
    return mfcc.numpy()[0]


def _to_8_bits(x: Any, low: Any, high: Any) -> Any:
    return np.clip(np.rint((x - low) / (high - low) * 255), 0, 255).astype(np.uint8)


def gxnor() -> keras.Model:
    """32C5-MP2-64C5-MP2-512FC-10."""
    block = [keras.Input((28, 28, 1))]
    for filters in (32, 64):
        block += [
            layers.Conv2D(filters, 5, padding="same"),
            layers.MaxPooling2D(2, padding="same"),
            layers.BatchNormalization(momentum=0.9, gamma_constraint=ns.MinValueConstraint(1e-2)),
            layers.ReLU(6.0),
        ]
    return keras.Sequential(
        [
            *block,
            layers.Flatten(),
            layers.Dense(512),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(6.0),
            layers.Dense(10),
            layers.BatchNormalization(momentum=0.9),
        ],
        name="gxnor_mnist",
    )


def ds_cnn() -> keras.Model:
    """Depthwise-separable network for 49×10 MFCC features."""

    def norm_relu() -> list[Any]:
        return [layers.BatchNormalization(momentum=0.9), layers.ReLU(6.0)]

    stack = [
        keras.Input((49, 10, 1)),
        layers.Conv2D(32, 5, strides=2, padding="same", use_bias=False),
        *norm_relu(),
    ]
    for _ in range(4):
        stack += [layers.SeparableConv2D(64, 3, padding="same", use_bias=False), *norm_relu()]
    stack += [
        layers.SeparableConv2D(64, 3, padding="same", use_bias=False),
        layers.GlobalAveragePooling2D(),
        *norm_relu(),
        layers.Reshape((1, 1, 64)),
        layers.SeparableConv2D(256, 3, padding="same", use_bias=False),
        *norm_relu(),
        layers.Flatten(),
        layers.Dense(10),
    ]
    return keras.Sequential(stack, name="ds_cnn_kws")


RECIPES: dict[str, Any] = {
    "gxnor": {
        "load": mnist,
        "build": gxnor,
        "epochs": 6,
        "rate": 2e-3,
        "batch": 128,
        "stages": [Stage(4, 4, 4, 2, 5e-4), Stage(2, 2, 2, 3, 1e-3), Stage(2, 2, 1, 6, 1e-3)],
    },
    "speech": {
        "load": spoken_digits,
        "build": ds_cnn,
        "epochs": 24,
        "rate": 3e-3,
        "batch": 64,
        "stages": [Stage(8, 4, 4, 24, 2e-3)],
    },
}


def train(model: keras.Model, data: Data, epochs: int, rate: float, batch: int) -> float:
    """Fit with a cosine schedule; returns the accuracy on the held-out part."""
    steps = epochs * -(-len(data.train_x) // batch)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    inputs = data.train_x.astype(np.float32) / 255
    model.fit(inputs, data.train_y, batch_size=batch, epochs=epochs, verbose=0)
    return model.evaluate(
        data.test_x.astype(np.float32) / 255, data.test_y, batch_size=250, verbose=0
    )[1]


def evaluate(model: keras.Model, stage: Stage, data: Data, output: Path) -> dict[str, Any]:
    """Convert, run on integers, and compare with the exact Keras forward."""
    path = output / f"{model.name}_{stage.name.replace('/', '-')}.h5"
    network = ns.convert(model, path, input_scaling=SCALING)
    predicted = network.predict(data.test_x)
    statistics = network.get_statistics()
    samples = len(data.test_x)
    frozen = freeze(model, input_scaling=SCALING)
    logits = frozen.predict(data.test_x.astype(np.float32) / 255, batch_size=250, verbose=0)
    report = compare(frozen, network, data.test_x[:500])
    return {
        "integer_accuracy": float(np.mean(predicted == data.test_y)),
        "frozen_accuracy": float(np.mean(logits.argmax(-1) == data.test_y)),
        "predictions_that_differ": int(np.count_nonzero(logits.argmax(-1) != predicted)),
        "activations_compared": report.compared,
        "activations_that_differ": report.differing,
        "artifact_bytes": path.stat().st_size,
        "sparsity": {n: round(s.output_sparsity, 4) for n, s in statistics.items()},
        "synaptic_ops": sum(s.synaptic_ops for s in statistics.values()) / samples,
        "dense_ops": sum(s.connections for s in statistics.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("accuracy"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    recipe = RECIPES[options.recipe]
    options.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    data = recipe["load"](options.data)
    started = time.monotonic()
    model = recipe["build"]()
    rows = [
        {
            "bits": "float",
            "keras_accuracy": train(model, data, recipe["epochs"], recipe["rate"], recipe["batch"]),
        }
    ]
    print(f"float: {rows[0]['keras_accuracy']:.2%}", flush=True)
    for stage in recipe["stages"]:
        model = ns.quantize(model, stage.weight_bits, stage.activation_bits, stage.input_bits)
        accuracy = train(model, data, stage.epochs, stage.rate, recipe["batch"])
        rows.append(
            {
                "bits": stage.name,
                "keras_accuracy": accuracy,
                **evaluate(model, stage, data, options.output),
            }
        )
        print(f"{stage.name}: {accuracy:.2%}", flush=True)
    result = {
        "recipe": options.recipe,
        "seed": options.seed,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "rows": rows,
    }
    (options.output / f"{options.recipe}.json").write_text(json.dumps(result, indent=2))
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| bits | Keras | frozen Keras | integer | activations that differ | artifact "
        "| synaptic ops |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| float | {rows[0]['keras_accuracy']:.2%} | | | | | |",
    ]
    for row in rows[1:]:
        lines.append(
            f"| {row['bits']} | {row['keras_accuracy']:.2%} | {row['frozen_accuracy']:.2%} "
            f"| {row['integer_accuracy']:.2%} | {row['activations_that_differ']:,} of "
            f"{row['activations_compared']:,} | {row['artifact_bytes']:,} bytes "
            f"| {row['synaptic_ops'] / row['dense_ops']:.1%} of {row['dense_ops']:,} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
