"""Teach a network new digits where it runs: no gradient, no Keras, one look at each image.

Digits 0 to 7 are learned first, then 8 and 9 are added. Ends by printing "N of M old weights
changed": what the network knew stays as it was.
"""

import numpy as np

from kerasnsoc import FullyConnected, InputData, Model
from kerasnsoc.demo import load_digits

OLD, ADDED, NEURONS_PER_CLASS = 8, 2, 60
digits = load_digits()


def binary(images):
    """Six bits per pixel and its right and lower neighbour, in the layout (x, y, channel)."""
    images = images[..., 0].astype(int)
    right = np.diff(images, axis=2, append=0)
    down = np.diff(images, axis=1, append=0)
    maps = [images > 80, images > 160, right > 60, right < -60, down > 60, down < -60]
    return np.stack(maps, axis=3).transpose(0, 2, 1, 3).astype(np.uint8)


def accuracy(model, some):
    classes = model.predict(test[some], model.output_dims[2] // NEURONS_PER_CLASS)
    return np.mean(classes == digits.test_labels[some])


train, test = binary(digits.train_images), binary(digits.test_images)
is_old, is_old_test = digits.train_labels < OLD, digits.test_labels < OLD

model = Model()
model.add(InputData(8, 8, 6, input_bits=1))
model.add(FullyConnected(OLD * NEURONS_PER_CLASS, "digits", activations_enabled=False))
events = np.count_nonzero(train, axis=(1, 2, 3))
model.compile(num_weights=round(1.2 * np.median(events)), num_classes=OLD)
model.fit(train[is_old], digits.train_labels[is_old])
print(f"{OLD} digits: {accuracy(model, is_old_test):.1%}")

saved = model.to_buffer()  # or model.save(path): training may go on from there at any time
before = model.get_layer("digits").get_variable("weights")
for shots in (5, 20, None):
    model = Model(serialized_buffer=saved)
    model.add_classes(ADDED)
    for digit in range(OLD, OLD + ADDED):
        some = np.nonzero(digits.train_labels == digit)[0][:shots]
        model.fit(train[some], digit)
    old, new = accuracy(model, is_old_test), accuracy(model, ~is_old_test)
    print(f"{shots or 'all'} images of each new digit: old ones {old:.1%}, new ones {new:.1%}")

after = model.get_layer("digits").get_variable("weights")[..., : before.shape[3]]
print(f"{np.count_nonzero(after != before)} of {before.size} old weights changed")
