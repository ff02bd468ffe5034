"""The same weights give the same artifact on every Keras backend; training works on each."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasnsoc as ns
from kerasnsoc.artifact import content_digest

pytestmark = pytest.mark.keras

DIGEST = "18ccc4418046b0839a436b5e988345dcb8f5606e44ca179b753ce3a5551c397b"
"""Of the artifact below, as TensorFlow made it first."""


def network():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            kl.Conv2D(6, 3, padding="same", use_bias=False, name="first"),
            kl.BatchNormalization(name="first_norm"),
            kl.ReLU(6.0, name="first_relu"),
            kl.SeparableConv2D(8, 3, padding="same", name="second"),
            kl.MaxPooling2D(2, padding="same", name="pool"),
            kl.ReLU(6.0, name="second_relu"),
            kl.Flatten(name="flatten"),
            kl.Dense(4, name="last"),
        ],
        name="backends",
    )
    rng = np.random.default_rng(11)
    for variable in model.weights:
        low = 0.2 if "norm" in variable.path else -0.5
        variable.assign(rng.uniform(low, 1.0, variable.shape).astype("float32"))
    return model


def test_the_artifact_does_not_depend_on_the_backend():
    quantized = ns.quantize(network(), 4, 4, 8)
    spec = ns.convert(quantized, input_scaling=(255, 0)).to_spec()
    assert content_digest(spec) == DIGEST


def test_a_few_steps_of_training_and_the_exact_forward():
    quantized = ns.quantize(network(), 4, 4, 8)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)
    labels = rng.integers(0, 4, 32)
    quantized.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [w.copy() for w in quantized.get_weights()]
    quantized.fit(images / np.float32(255), labels, epochs=3, verbose=0)
    assert any((a != b).any() for a, b in zip(before, quantized.get_weights(), strict=True))
    artifact = ns.convert(quantized, input_scaling=(255, 0))
    assert ns.compare(quantized, artifact, images).differing == 0
