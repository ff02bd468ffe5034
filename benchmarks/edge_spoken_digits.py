"""Learning new words on the device: seven spoken digits offline, three more from a few examples.

    python -m benchmarks.edge_spoken_digits --data free_spoken_digits.zip

A small Keras network is trained on the digits 0 to 6, with 1-bit activations before its last layer,
and frozen. Its last layer is then replaced by one that learns natively: first the seven digits in
one pass, then 7, 8 and 9 from 1, 5, 20 and all recordings each. Recordings 0 to 4 of every speaker
and digit are for testing, as the data set suggests. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import time
import wave
import zipfile

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FRAMES, BANDS = 32, 24
WINDOW, HOP, RATE = 256, 80, 8000
FEATURES = 512
OLD, NEW = 7, 3
TEST_TAKES = 5
NEURONS_PER_CLASS = 20
WEIGHTS_PER_EVENT = 0.8
SHOTS = (1, 5, 20, None)
SEED = 1


def mel_filters() -> npt.NDArray[np.float64]:
    """Triangles on the mel scale, (bands, frequencies)."""
    mel = np.linspace(*(2595 * np.log10(1 + np.array([60, RATE / 2]) / 700)), BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))


def spectrogram(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """A recording as an image of (FRAMES, BANDS, 1): log energies, stretched to one length."""
    signal = samples / 32768
    signal = np.pad(signal, (0, max(0, WINDOW + HOP - len(signal))))
    starts = np.arange(0, len(signal) - WINDOW + 1, HOP)
    frames = np.stack([signal[s : s + WINDOW] for s in starts]) * np.hanning(WINDOW)
    energies = np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters().T
    decibels = 10 * np.log10(energies + 1e-9)
    places = np.linspace(0, len(decibels) - 1, FRAMES)
    columns = [np.interp(places, np.arange(len(decibels)), band) for band in decibels.T]
    image = np.stack(columns, axis=1)
    image = (image - image.max() + 60) / 60  # the loudest 60 dB
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)[..., None]


def load(path: str) -> dict[str, npt.NDArray[np.integer]]:
    """Images, labels and whether a recording is for testing, in the order of the file names."""
    images, labels, testing = [], [], []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            found = re.fullmatch(r".*/(\d)_(\w+)_(\d+)\.wav", name)
            if not found:
                continue
            with wave.open(io.BytesIO(archive.read(name))) as recording:
                samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
            images.append(spectrogram(samples))
            labels.append(int(found[1]))
            testing.append(int(found[3]) < TEST_TAKES)
    return {
        "images": np.stack(images),
        "labels": np.array(labels),
        "testing": np.array(testing),
    }


def varied(images: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Each image a little earlier or later, higher or lower, louder or softer."""
    result = np.empty_like(images)
    for index, image in enumerate(images):
        frames, bands = rng.integers(-2, 3), rng.integers(-1, 2)
        moved = np.roll(image, (frames, bands), axis=(0, 1)).astype(np.int64)
        moved += rng.integers(-20, 21)
        result[index] = np.clip(moved, 0, 255)
    return result


def extractor(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer], epochs: int):
    """A quantized Keras network of the old digits, its last activation of 1 bit."""
    import keras
    import tensorflow as tf

    from kerasnsoc import quantize, quantize_layer

    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    layers = keras.layers
    blocks = []
    for filters, strides in ((16, 1), (32, 2), (32, 2), (64, 2)):
        blocks += [
            layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
        ]
    model = keras.Sequential(
        [
            keras.Input((FRAMES, BANDS, 1)),
            *blocks,
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(FEATURES, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0, name="features"),
            layers.Dropout(0.3),
            layers.Dense(OLD),
        ]
    )
    rng = np.random.default_rng(SEED)

    def train(network: keras.Model, epochs: int, rate: float) -> None:
        steps = epochs * -(-len(images) // 64)
        network.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        for _ in range(epochs):
            batch = varied(images, rng).astype("float32") / 255
            network.fit(batch, labels, batch_size=64, verbose=0)

    train(model, epochs, 3e-3)
    quantized = quantize(model, 4, 4, 8)
    quantized = quantize_layer(quantized, "features", 1)
    train(quantized, epochs, 1e-3)
    return quantized


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="path of free_spoken_digits.zip")
    parser.add_argument("--epochs", type=int, default=20, help="float, and again quantized")
    parser.add_argument(
        "--extractor", help="artifact to read the extractor from, or to write it to"
    )
    parser.add_argument("--rule", default="majority", choices=("majority", "swap"))
    options = parser.parse_args()
    from kerasnsoc import convert
    from kerasnsoc.runtime import FullyConnected, Model

    data = load(options.data)
    images, labels, testing = data["images"], data["labels"], data["testing"]
    is_old = labels < OLD
    start = time.perf_counter()
    if options.extractor and os.path.exists(options.extractor):
        model = Model(options.extractor)
    else:
        quantized = extractor(images[is_old & ~testing], labels[is_old & ~testing], options.epochs)
        model = convert(quantized, input_scaling=(255, 0))
        if options.extractor:
            model.save(options.extractor)
    old_test = images[is_old & testing], labels[is_old & testing]
    new_test = images[~is_old & testing], labels[~is_old & testing]
    offline = np.mean(model.predict(old_test[0]) == old_test[1])
    print(f"extractor trained in {time.perf_counter() - start:.0f} s; its own last layer, of 4-bit")
    print(f"weights: {offline:.2%} of the {len(old_test[0])} test recordings of 7 digits\n")

    model.pop_layer()
    model.add(FullyConnected(OLD * NEURONS_PER_CLASS, "words", activations_enabled=False))
    rng = np.random.default_rng(SEED)
    chosen = rng.permutation(np.nonzero(is_old & ~testing)[0])
    features = Model(layers=model.layers[:-1]).forward(images[chosen])
    events = np.count_nonzero(features, axis=(1, 2, 3))
    num_weights = round(WEIGHTS_PER_EVENT * float(np.median(events)))
    model.compile(num_weights, OLD, rule=options.rule, seed=SEED)
    model.fit(images[chosen], labels[chosen])
    alone = np.mean(model.predict(old_test[0], OLD) == old_test[1])
    active = f"{np.median(events):.0f} active (median)"
    print(f"{FEATURES} binary features, {active}, {num_weights} weights per neuron,")
    print(f"{NEURONS_PER_CLASS} neurons per digit, rule {options.rule}: {alone:.2%}\n")

    trained = model.to_buffer()
    print("| recordings of each new digit | old digits | change | new digits |")
    print("|--:|--:|--:|--:|")
    for shots in SHOTS:
        found = []
        for draw in range(1 if shots is None else 5):
            grown = Model(serialized_buffer=trained)
            grown.add_classes(NEW)
            rng = np.random.default_rng([SEED, draw])
            picked = [
                rng.permutation(np.nonzero((labels == digit) & ~testing)[0])[:shots]
                for digit in range(OLD, OLD + NEW)
            ]
            order = rng.permutation(np.concatenate(picked))
            grown.fit(images[order], labels[order])
            found.append(
                [np.mean(grown.predict(x, OLD + NEW) == y) for x, y in (old_test, new_test)]
            )
        old, new = np.mean(found, axis=0)
        print(f"| {shots or 'all'} | {old:.2%} | {100 * (old - alone):+.2f} | {new:.2%} |")


if __name__ == "__main__":
    main()
