"""A network trained on the shipped digits, for tests of what happens after training."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np

from kerasnsoc.demo import load_digits

layers = keras.layers


class Trained(NamedTuple):
    """The model takes raw pixels of 0 to 240, so that its activations leave the range of 0 to 6."""

    model: Any
    calibration: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray


@cache
def trained_digits() -> Trained:
    """Trained once for all tests, in seconds; nobody may modify it."""
    keras.utils.set_random_seed(0)
    digits = load_digits()
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", name="conv"),
            layers.ReLU(name="conv_relu"),
            layers.SeparableConv2D(32, 3, padding="same", use_bias=False, name="separable"),
            layers.ReLU(name="separable_relu"),
            layers.MaxPooling2D(2, padding="same", name="pool"),
            layers.Conv2D(32, 3, padding="same", name="features"),
            layers.ReLU(name="features_relu"),
            layers.Flatten(name="flatten"),
            layers.Dense(10, name="classes"),
        ],
        name="digits",
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss)
    images = digits.train_images.astype("float32")
    model.fit(images, digits.train_labels, batch_size=64, epochs=6, verbose=0)
    return Trained(
        model,
        images[:400],
        digits.test_images.astype("float32"),
        digits.test_labels,
        digits.test_images,
    )


def accuracy(model: Any) -> float:
    """Share of the held-out digits that are right."""
    trained = trained_digits()
    outputs = np.asarray(keras.ops.convert_to_numpy(model(trained.images, training=False)))
    return float(np.mean(outputs.argmax(axis=-1) == trained.labels))
