"""Turn a network of rates into a network of spikes, keep its accuracy, and see what that costs.

Anneals the time step during training, limits firing rates, and ends with the accuracy of rates and
spikes and the energy per image on a processor and on a spiking chip.
"""

import keras
import numpy as np

from kerasnsoc.demo import load_digits
from kerasnsoc.spiking import Lowpass, ModelEnergy, SpikingActivation
from kerasnsoc.spiking.callbacks import DtScheduler, SpikeRateMonitor
from kerasnsoc.spiking.regularizers import Percentile

keras.utils.set_random_seed(1)
digits = load_digits()
STEPS, DT = 20, 0.01  # each image is shown for 20 steps of 10 ms


def shown(images):
    """Images as sequences: (batch, time, pixels), brightest pixel 1."""
    flat = images.reshape(len(images), 1, -1) / 240.0
    return np.repeat(flat, STEPS, axis=1).astype("float32")


def network(dt):
    return keras.Sequential(
        [
            keras.Input((None, 64)),
            keras.layers.Dense(32),
            keras.layers.Rescaling(40.0),  # weights are of the order of 1, firing rates are not
            SpikingActivation("relu", dt=dt, seed=2, name="hidden"),
            Lowpass(0.05, dt=DT),
            # On averages over time, as single steps hold a spike or none: the liveliest tenth of
            # the images should drive every unit at 20 to 60 Hz.
            keras.layers.GlobalAveragePooling1D(
                activity_regularizer=Percentile(90, target=(20, 60), l2=1e-3)
            ),
            keras.layers.Dense(10),
        ]
    )


# A long step makes spikes look like rates; shortening it step by step leads over to real spikes.
dt = keras.Variable(1.0, trainable=False)
model = network(dt)
model.compile(
    keras.optimizers.Adam(3e-3),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
batches = -(-len(digits.train_images) // 64)
anneal = DtScheduler(dt, lambda step: max(DT, 0.5 ** (step / (2 * batches))))
history = model.fit(
    shown(digits.train_images),
    digits.train_labels,
    batch_size=64,
    epochs=20,
    callbacks=[anneal, SpikeRateMonitor()],
    verbose=0,
).history
print(f"hidden units fire at {history['rate/hidden'][-1]:.1f} Hz, dt is {history['dt'][-1]:.3f} s")

test = shown(digits.test_images)


def accuracy(seconds):
    dt.assign(seconds)
    return np.mean(model.predict(test, verbose=0).argmax(-1) == digits.test_labels)


print(f"accuracy of rates {accuracy(1e3):.1%}, of spikes {accuracy(DT):.1%}")
energy = ModelEnergy(model, test)
energy.summary(("name", "connections", "rate", "energy cpu", "energy loihi"), STEPS, DT)
