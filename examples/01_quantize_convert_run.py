"""Quantize a trained Keras model, freeze it to an artifact, and see that no activation differs.

Writes `net.h5` to the current folder. Ends by printing "0 of N values differ": the exact Keras
forward and the integer runtime agree.
"""

import keras
import numpy as np

from kerasnsoc import Model, compare, convert, energy_of_run, freeze, quantize
from kerasnsoc.demo import load_digits

keras.utils.set_random_seed(1)
digits = load_digits()
scale = 240.0  # images are integers of 0 to 240, the model is trained on 0 to 1


def pixels(images):
    return images.astype("float32") / scale


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
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(pixels(digits.train_images), digits.train_labels, epochs=epochs, verbose=0)


train(model, epochs=8, rate=5e-3)
quantized = quantize(
    model, weight_quantization=4, activ_quantization=4, input_weight_quantization=8
)
train(quantized, epochs=3, rate=1e-3)

convert(quantized, "net.h5", input_scaling=(scale, 0))
network = Model("net.h5")  # from here on, neither Keras nor TensorFlow is needed

classes = network.predict(digits.test_images)
network.summary()
print(f"integer accuracy {np.mean(classes == digits.test_labels):.2%}")
energy = energy_of_run(network, "loihi").energy_per_inference
print(f"energy per image on Loihi {energy.value * 1e9:.0f} nJ, {energy.low * 1e9:.0f} at least")
print(compare(freeze(quantized, input_scaling=(scale, 0)), network, digits.test_images).summary())
