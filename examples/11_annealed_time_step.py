"""Anneal the time step from 1 s to 1 ms while a spiking network trains.

With steps of a second, spikes tell rates finely and gradients are accurate; at the end the network
sees the single spikes that it will run with. Prints accuracy, spikes and energy of the artifact
with 1 ms for a network that was trained on rates alone, one that always saw steps of 1 ms, and the
annealed one.
"""

import keras
import numpy as np

from kerasnsoc import convert
from kerasnsoc.demo import load_digits
from kerasnsoc.energy import compare_devices
from kerasnsoc.quantization import MaxPerAxisQuantizer, QuantizedDense
from kerasnsoc.spiking import SpikingActivation
from kerasnsoc.spiking.callbacks import DtScheduler

SCALE, STEPS, EPOCHS, LAST = 240.0, 20, 15, 0.001
digits = load_digits()


def frames(images):
    return np.repeat(images.reshape(len(images), 1, -1), STEPS, axis=1)


train, test = frames(digits.train_images), frames(digits.test_images)
batches = EPOCHS * -(-len(train) // 64)
# the second half of the training keeps 1 ms
annealed = keras.optimizers.schedules.ExponentialDecay(1.0, 0.5 * batches, LAST)


def trained(schedule, *, on_spikes=True):
    """A network, with the time step that `schedule` gives for each batch."""
    keras.utils.set_random_seed(2)
    dt = keras.Variable(LAST, trainable=False)
    spiking = SpikingActivation("relu", dt=dt, seed=2, spiking_aware_training=on_spikes)
    model = keras.Sequential(
        [
            keras.Input((None, 64)),
            QuantizedDense(64, quantizer=MaxPerAxisQuantizer(8), name="hidden"),
            spiking,
            QuantizedDense(10, quantizer=MaxPerAxisQuantizer(4), name="digits"),
            keras.layers.GlobalAveragePooling1D(),
        ]
    )
    kernel = model.get_layer("hidden").kernel
    kernel.assign(kernel * 100)  # rates of about 100 Hz: a few spikes in 20 ms
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    x = train / np.float32(SCALE)
    callbacks = [DtScheduler(dt, schedule)]
    model.fit(x, digits.train_labels, 64, epochs=EPOCHS, callbacks=callbacks, verbose=0)
    dt.assign(LAST)
    return keras.Model(model.inputs, model.get_layer("digits").output)


print(f"{STEPS} steps of 1 ms per image")
for name, schedule, on_spikes in (
    ("rates", lambda step: 1.0, False),
    ("always 1 ms", lambda step: LAST, True),
    ("annealed", lambda step: max(LAST, float(annealed(step))), True),
):
    network = convert(trained(schedule, on_spikes=on_spikes), input_scaling=(SCALE, 0))
    accuracy = np.mean(network.predict(test) == digits.test_labels)
    spikes = network.get_statistics()["hidden"].nb_spikes / len(test)
    costs = compare_devices(network, ["cpu", "loihi", "spinnaker", "spinnaker2"])
    energies = ", ".join(f"{c.device.name} {c.energy_per_inference.value:.1e} J" for c in costs)
    print(f"{name}: accuracy {accuracy:.2%}, {spikes:.0f} spikes per image, {energies}")
