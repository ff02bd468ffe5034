"""Quantize a trained network without retraining it: see what breaks, calibrate, spend bits well.

Ends by printing the accuracy of the float model, of `quantize` alone and of `calibrate`, and the
number of values in which the converted artifact differs.
"""

import keras
import numpy as np

from kerasnsoc import analyze, calibrate, compare, convert, quantize, suggest_bitwidths
from kerasnsoc.demo import load_digits

keras.utils.set_random_seed(1)
digits = load_digits()
images, test_images = digits.train_images.astype("float32"), digits.test_images.astype("float32")
held_out = test_images, digits.test_labels

# The network takes raw pixels of 0 to 240: activations do not stay in the range of 0 to 6.
model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, padding="same", name="conv"),
        keras.layers.ReLU(name="conv_relu"),
        keras.layers.Conv2D(32, 3, strides=2, padding="same", name="features"),
        keras.layers.ReLU(name="features_relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10, name="classes"),
    ]
)
model.compile(
    keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
model.fit(images, digits.train_labels, epochs=6, verbose=0)


def accuracy(network):
    return np.mean(network.predict(test_images, verbose=0).argmax(axis=-1) == digits.test_labels)


plain = quantize(model, weight_quantization=4, activ_quantization=4, input_weight_quantization=8)
print(analyze(model, plain, held_out))  # the column "accuracy alone" names the culprit

# Some hundred typical inputs will do; labels are not needed.
calibrated, report = calibrate(model, images[:400], 4, 4, 8)
print(f"\n{report}\n")
print(analyze(model, calibrated, held_out))

suggestion = suggest_bitwidths(model, (images[:400], digits.train_labels[:400]), budget=5)
mixed = suggestion.apply(model, images[:400])
print(f"\n{suggestion}\nwith these bits and 4-bit activations: {accuracy(mixed):.2%}\n")

network = convert(calibrated, input_scaling=(1.0, 0))
print(compare(calibrated, network, digits.test_images).summary())
print(
    f"accuracy in float {accuracy(model):.2%}, quantized to 8/4/4 bits {accuracy(plain):.2%}, "
    f"calibrated {accuracy(calibrated):.2%}"
)
