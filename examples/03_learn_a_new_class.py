"""Teach a network new spoken words where it runs: a few recordings, no gradient, no Keras.

The shipped network was trained on the words zero to six, and on invented ones. Its last layer is
replaced by one that learns on the device: first those seven words, then seven, eight and nine from
1, 5 and 20 recordings each, of six speakers. Ends by printing "N of M old weights changed".
"""

import numpy as np

from kerasnsoc import FullyConnected, Model
from kerasnsoc.demo.words import load_spoken_words
from kerasnsoc.zoo.registry import load_pretrained

OLD, ADDED, NEURONS_PER_CLASS = 7, 3, 20
words = load_spoken_words()
is_old = words.train_labels < OLD
is_old_test = words.test_labels < OLD


def accuracy(model, some):
    classes = model.predict(words.test_images[some], model.output_dims[2] // NEURONS_PER_CLASS)
    return np.mean(classes == words.test_labels[some])


model = load_pretrained("ds_cnn_kws/fsdd7/8-4-4-1")
trained = np.mean(model.predict(words.test_images[is_old_test]) == words.test_labels[is_old_test])
print(f"{OLD} words, last layer trained by gradients: {trained:.1%}")

model.pop_layer()
features = model.forward(words.train_images[is_old])
active = np.median(np.count_nonzero(features, axis=(1, 2, 3)))
model.add(FullyConnected(OLD * NEURONS_PER_CLASS, "words", activations_enabled=False))
model.compile(num_weights=round(0.8 * active), num_classes=OLD)
model.fit(words.train_images[is_old], words.train_labels[is_old])
print(f"{OLD} words, last layer learned on the device: {accuracy(model, is_old_test):.1%}")

saved = model.to_buffer()
before = model.get_layer("words").get_variable("weights")
for shots in (1, 5, 20):
    model = Model(serialized_buffer=saved)
    model.add_classes(ADDED)
    for digit in range(OLD, OLD + ADDED):
        some = np.nonzero(words.train_labels == digit)[0][:shots]
        model.fit(words.train_images[some], digit)
    old, new = accuracy(model, is_old_test), accuracy(model, ~is_old_test)
    print(f"{shots:2} recordings of each new word: old ones {old:.1%}, new ones {new:.1%}")

after = model.get_layer("words").get_variable("weights")[..., : before.shape[3]]
print(f"{np.count_nonzero(after != before)} of {before.size} old weights changed")
