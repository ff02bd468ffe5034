"""Train a spiking classifier with a single time step, then run its artifact over many.

Prints accuracy, spikes and energy against the number of steps, and ends by printing that the
integer spikes are those of the frozen Keras model: "0 of N spikes differ".
"""

import keras
import numpy as np

from kerasnsoc import convert, freeze
from kerasnsoc.demo import load_digits
from kerasnsoc.energy import compare_devices
from kerasnsoc.quantization import MaxPerAxisQuantizer, QuantizedConv2D, QuantizedDense
from kerasnsoc.runtime import Model
from kerasnsoc.spiking import SpikingActivation

keras.utils.set_random_seed(1)
digits = load_digits()
SCALE, DT = 240.0, 0.02  # a unit of 10 Hz spikes in every fifth step of 20 ms
OverTime = keras.layers.TimeDistributed


def neurons(name):
    # rates while it trains, spikes everywhere else: one time step is enough to train
    return SpikingActivation("relu", dt=DT, spiking_aware_training=False, seed=3, name=name)


model = keras.Sequential(
    [
        keras.Input((None, 8, 8, 1)),
        OverTime(
            QuantizedConv2D(16, 3, padding="same", quantizer=MaxPerAxisQuantizer(8)), name="edges"
        ),
        neurons("edges_spikes"),
        OverTime(keras.layers.AveragePooling2D(2), name="pool"),
        OverTime(keras.layers.Flatten()),
        OverTime(QuantizedDense(48, quantizer=MaxPerAxisQuantizer(4)), name="hidden"),
        neurons("hidden_spikes"),
        OverTime(QuantizedDense(10, quantizer=MaxPerAxisQuantizer(4)), name="digits"),
    ]
)
for layer, gain in (("edges", 10.0), ("hidden", 0.7)):  # so that rates begin at about 10 Hz
    kernel = model.get_layer(layer).layer.kernel
    kernel.assign(kernel * gain)


def frames(images, steps):
    return np.repeat(images[:, np.newaxis], steps, axis=1)


model.compile(
    keras.optimizers.Adam(3e-3),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
one_step = frames(digits.train_images, 1).astype("float32") / SCALE
model.fit(one_step, digits.train_labels[:, np.newaxis], epochs=20, batch_size=64, verbose=0)

test = frames(digits.test_images, 1).astype("float32") / SCALE
rates = np.asarray(model(test, training=True))[:, 0].argmax(axis=-1)
print(f"accuracy of rates {np.mean(rates == digits.test_labels):.2%}")

artifact = convert(model, input_scaling=(SCALE, 0)).to_buffer()
print("steps  accuracy  spikes per image")
for steps in (1, 2, 5, 10, 20, 50, 100):
    network = Model(serialized_buffer=artifact)
    classes = network.predict(frames(digits.test_images, steps))
    layers = network.get_statistics().values()
    spikes = sum(layer.nb_spikes for layer in list(layers)[:-1]) / len(classes)
    print(f"{steps:5}  {np.mean(classes == digits.test_labels):8.2%}  {spikes:16.0f}")
    if steps == 20:
        costs = compare_devices(network, ["cpu", "loihi", "spinnaker", "spinnaker2"])
print(costs)

shown = frames(digits.test_images[:50], 20)
frozen = freeze(model, input_scaling=(SCALE, 0))
traced = network.trace(shown)
differing = compared = 0
for name in ("edges", "hidden"):
    probe = keras.Model(frozen.input, frozen.get_layer(name).output)
    spikes = np.rint(np.asarray(probe(shown.astype("float32") / SCALE)) * DT)
    differing += int(np.count_nonzero(spikes != traced[name]))
    compared += spikes.size
print(f"{differing} of {compared} spikes differ")
