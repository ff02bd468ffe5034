"""Train on two devices at once with Keras's own distribution, freeze, and check every integer.

Two processors of one machine stand in for two accelerators: each gets half of every batch, and the
gradients are averaged. What comes out is an ordinary model. Ends with "0 of N values differ".
"""

import os
import tempfile
from pathlib import Path

# Before Keras is imported: JAX is the backend that distributes, and these are its two devices.
os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
os.environ["JAX_ENABLE_X64"] = "1"  # for the exact forward that `compare` runs

import keras
import numpy as np

from kerasnsoc import Model, compare, convert, freeze, quantize
from kerasnsoc.demo import load_digits

devices = keras.distribution.list_devices("cpu")
keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
keras.utils.set_random_seed(1)
digits = load_digits()
scale = 240.0  # images are integers of 0 to 240, the model is trained on 0 to 1
whole = len(digits.train_images) // 64 * 64  # every batch is divided by the devices
pixels = digits.train_images[:whole].astype("float32") / scale

model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(6.0),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ]
)


def train(model, epochs, rate):
    model.compile(
        keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(pixels, digits.train_labels[:whole], batch_size=64, epochs=epochs, verbose=0)


train(model, epochs=8, rate=5e-3)
quantized = quantize(
    model, weight_quantization=4, activ_quantization=4, input_weight_quantization=8
)
train(quantized, epochs=3, rate=1e-3)
copies = len(quantized.weights[0].value.sharding.device_set)
print(f"trained on {len(devices)} devices; each weight has {copies} copies")

keras.distribution.set_distribution(None)  # the rest runs on one
with tempfile.TemporaryDirectory() as folder:
    artifact = Path(folder) / "digits.h5"
    convert(quantized, artifact, input_scaling=(scale, 0))
    network = Model(artifact)

classes = network.predict(digits.test_images)
print(f"integer accuracy {np.mean(classes == digits.test_labels):.2%}")
print(compare(freeze(quantized, input_scaling=(scale, 0)), network, digits.test_images).summary())
