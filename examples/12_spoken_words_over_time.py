"""Hear spoken digits frame by frame with a spiking network: each step brings 40 ms of sound.

Trains on the recordings that ship, or on all of the Free Spoken Digit Dataset with ``--data
free_spoken_digits.zip``. Prints accuracy, spikes and energy per word, how early the word is told,
and ends with "0 of N spikes differ" between the integers and the frozen Keras model.
"""

import argparse

import keras
import numpy as np

from kerasnsoc import convert
from kerasnsoc.conversion import compare
from kerasnsoc.demo.words import load_spoken_words
from kerasnsoc.energy import compare_devices
from kerasnsoc.quantization import MaxPerAxisQuantizer, QuantizedDense
from kerasnsoc.spiking import IAF
from kerasnsoc.zoo.kws.spoken_digits import features_of, load_spoken_digits

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", help="free_spoken_digits.zip; by default what ships")
parser.add_argument("--epochs", type=int, default=20)
options = parser.parse_args()
keras.utils.set_random_seed(0)
SEEN, HOP = 10, 2  # frames of 20 ms that a step sees, and by which the next one moves on


def words():
    """Coefficients of 8 bits (n, 49, 10) and labels, to learn from and to test."""
    if options.data is None:
        train, train_labels, test, test_labels = load_spoken_words()
        return train[..., 0], train_labels, test[..., 0], test_labels
    digits = load_spoken_digits(options.data)
    features, held_out = features_of(digits.sounds), digits.is_test
    low, high = np.percentile(features[~held_out], (1, 99), axis=(0, 1))
    pixels = np.clip(np.rint((features - low) / (high - low) * 255), 0, 255).astype(np.uint8)
    return pixels[~held_out], digits.labels[~held_out], pixels[held_out], digits.labels[held_out]


def steps(pixels):
    """What each step sees: (n, 20, 100)."""
    seen = np.lib.stride_tricks.sliding_window_view(pixels, SEEN, axis=1)[:, ::HOP]
    return seen.reshape(*seen.shape[:2], -1)


def hidden(units, bits, name):
    yield QuantizedDense(units, quantizer=MaxPerAxisQuantizer(bits), name=name)
    yield keras.layers.BatchNormalization(momentum=0.9)
    yield IAF(dt=0.02 * HOP, min_v=-1.0)


train, train_labels, test, test_labels = words()
train, test = steps(train), steps(test)
model = keras.Sequential(
    [
        keras.Input((None, train.shape[2])),
        *hidden(96, 8, "first"),
        *hidden(64, 4, "second"),
        QuantizedDense(10, quantizer=MaxPerAxisQuantizer(4), name="words"),
        keras.layers.GlobalAveragePooling1D(),  # the mean over time, also of the artifact
    ]
)
schedule = keras.optimizers.schedules.CosineDecay(3e-3, options.epochs * -(-len(train) // 32))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"])
model.fit(train / np.float32(255), train_labels, epochs=options.epochs, verbose=0)
accuracy = model.evaluate(test / np.float32(255), test_labels, verbose=0)[1]
print(f"Keras: {accuracy:.2%} of {len(test)} words")

chain = keras.Model(model.inputs, model.get_layer("words").output)
network = convert(chain, input_scaling=(255, 0), input_is_sparse=True, input_bits=8)
found = network.predict(test)
layers = network.get_statistics()
spikes = (layers["first"].nb_spikes + layers["second"].nb_spikes) / len(test)
print(f"integers: {np.mean(found == test_labels):.2%}, {spikes:.0f} spikes per word")
print(compare_devices(network, ["cpu", "loihi", "spinnaker", "spinnaker2"]))
for heard in (5, 10, 15):
    early = np.mean(network.predict(test[:, :heard]) == test_labels)
    print(f"after {heard} of {test.shape[1]} steps: {early:.2%}")
report = compare(chain, network, test[:50])
print(f"{report.differing} of {report.compared} spikes differ")
