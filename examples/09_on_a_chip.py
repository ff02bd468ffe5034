"""Put spiking digits on a Speck chip and a keyword spotter on an AKD1000 mesh, without either chip.

For each: does it fit, where do the layers go, how long does an output take, what does it cost, and
pictures. The last line says how many values the emulated mesh computes otherwise than the runtime.
"""

import keras
import matplotlib
import numpy as np
from keras import layers

from kerasnsoc import Model, nsoc
from kerasnsoc.demo import load_digits
from kerasnsoc.demo.words import load_spoken_words
from kerasnsoc.energy import plot_energy, what_if
from kerasnsoc.layers import IAF, SumPooling2D
from kerasnsoc.zoo import ds_cnn_kws_pretrained

matplotlib.use("Agg")
keras.utils.set_random_seed(3)
digits = load_digits()


def train(model, images, epochs, rate=5e-3):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(images, digits.train_labels, 64, epochs=epochs, verbose=0)
    return model


def spikes(images, steps=10):
    """Bright pixels fire in many of the steps: (n, steps, 8, 8, 1) of 0 and 1."""
    shape = (len(images), steps, 8, 8, 1)
    return (np.random.default_rng(0).random(shape) < images[:, None] / 240).astype(int)


per_step = layers.TimeDistributed
edges = layers.Conv2D(8, 3, padding="same", use_bias=False, name="edges")
classes = layers.Dense(10, use_bias=False, name="classes")
early = [keras.Input((10, 8, 8, 1)), per_step(edges), IAF(min_v=-1.0), per_step(SumPooling2D(2))]
late = [per_step(layers.Flatten()), per_step(classes), IAF(min_v=-1.0)]
spiking = keras.Sequential(early + late)
train(keras.Sequential([spiking, layers.GlobalAveragePooling1D()]), spikes(digits.train_images), 12)

speck = nsoc.NSoCNetwork(spiking)
print("obstacles on speck2f:", speck.incompatibilities("speck2f") or "none")
speck.to("speck2f", monitor_layers="all")  # warns that the pooling comes behind the spikes
speck.summary()
right, rng = 0, np.random.default_rng(1)
for raster, label in zip(spikes(digits.test_images[:50]), digits.test_labels, strict=False):
    speck.reset_states()
    events = nsoc.raster_to_events(raster, dt=1e-3)
    events["t"] += rng.integers(0, 1000, len(events))  # a camera knows no steps
    result = speck.forward(events, return_result=True, t_end=10_000)
    right += np.bincount(result.spikes_of(1)["c"], minlength=10).argmax() == label
print(f"{right} of 50 digits told; the last one: {result}")
print(f"median latency of a spike {result.latency.percentile(50) / 1e6:.1f} us")
print(f"energy of 10 ms, mostly at rest: {result.energy.summary()}")
nsoc.plot_core_map(speck).figure.savefig("speck_map.png")
nsoc.plot_raster(result).figure.savefig("speck_spikes.png")
plot_energy(result.energy).figure.savefig("speck_energy.png")

spotter = ds_cnn_kws_pretrained(dataset="fsdd", edge=True)  # hears the words zero to six
spotter.save("words.h5")
words = load_spoken_words()
images = words.test_images[words.test_labels < 7][::14]

mesh = nsoc.NSoCNetwork("words.h5")
print("obstacle on speck2f:", mesh.incompatibilities("speck2f")[0].message)
mesh.to("akd1000")
mesh.summary()
packets = []
for number, image in enumerate(images):  # one each 50 ms; an event carries the value of its pixel
    y, x, c = np.nonzero(image)
    fields = ([50_000 * number] * len(x), x, y, c, image[y, x, c])
    packets.append(np.rec.fromarrays(fields, names="t,x,y,c,n"))
result = mesh.forward(packets, return_result=True)
print(f"median time per word {result.latency.percentile(50, 'packet_ps') / 1e6:.1f} us")
print(what_if(result.energy, ["akd1000", "loihi", "speck2f", "cpu"]))
nsoc.plot_core_map(mesh).figure.savefig("mesh_map.png")
expected = Model("words.h5").forward(images)
different = np.count_nonzero(result.outputs[len(mesh) - 1].reshape(expected.shape) != expected)
print(f"{different} of {expected.size} values differ")
