"""Drive firing rates into 5 to 10 Hz, and run the network in steps of a millisecond.

Trains the same network without and with a regularizer of its rates, and ends with accuracy, spikes
per image and energy of both on a CPU and on three spiking chips.
"""

import keras
import numpy as np

from kerasnsoc import convert
from kerasnsoc.demo import load_digits
from kerasnsoc.energy import compare_devices
from kerasnsoc.quantization import MaxPerAxisQuantizer, QuantizedDense
from kerasnsoc.spiking import SpikingActivation
from kerasnsoc.spiking.regularizers import Percentile

digits = load_digits()
SCALE, DT, STEPS = 240.0, 0.001, 500  # each image is shown for half a second


def frames(images, steps):
    flat = images.reshape(len(images), 1, -1)
    return np.repeat(flat, steps, axis=1)


def trained(regularizer):
    keras.utils.set_random_seed(1)
    # rates while it trains, so that one step is enough and the regularizer sees no single spikes
    spiking = SpikingActivation(
        "relu",
        dt=DT,
        seed=2,
        spiking_aware_training=False,
        activity_regularizer=regularizer,
    )
    model = keras.Sequential(
        [
            keras.Input((None, 64)),
            QuantizedDense(48, quantizer=MaxPerAxisQuantizer(4)),
            spiking,
            QuantizedDense(10, quantizer=MaxPerAxisQuantizer(4)),
        ]
    )
    model.layers[0].kernel.assign(model.layers[0].kernel * 24)  # lively: rates begin at tens of Hz
    model.compile(
        keras.optimizers.Adam(2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(
        frames(digits.train_images, 1).astype("float32") / SCALE,
        digits.train_labels[:, np.newaxis],
        epochs=30,
        batch_size=64,
        verbose=0,
    )
    return model


for name, regularizer in (
    ("free", None),
    # over the batch: the 99th percentile of each unit should lie in 5 to 10 Hz
    ("5-10 Hz", Percentile(99, target=(5, 10), l2=0.5)),
):
    model = trained(regularizer)
    rates = np.maximum(model.layers[0](frames(digits.test_images, 1) / SCALE), 0)[:, 0]
    top = np.percentile(rates, 99, axis=0)
    inside = np.mean((top >= 4) & (top <= 11))
    network = convert(model, input_scaling=(SCALE, 0))
    classes = network.predict(frames(digits.test_images, STEPS))
    hidden = list(network.get_statistics().values())[1]
    costs = compare_devices(network, ["cpu", "loihi", "spinnaker", "spinnaker2"])
    energies = ", ".join(f"{c.device.name} {c.energy_per_inference.value:.1e} J" for c in costs)
    print(
        f"{name}: 99th percentile of the units {top.mean():.1f} Hz on average, {inside:.0%} within "
        f"4 to 11 Hz; accuracy {np.mean(classes == digits.test_labels):.2%}, "
        f"{hidden.nb_spikes / len(classes):.0f} spikes per image; {energies}"
    )
