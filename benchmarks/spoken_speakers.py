"""How well spoken digits of a speaker are told whom the network never heard.

    python -m benchmarks.spoken_speakers --data free_spoken_digits.zip --output speakers

The recipe `kws-voices` of the zoo, six times: each speaker of the Free Spoken Digit Dataset is left
out once, and all 500 recordings are for testing then. The varied copies of the recordings are made
once for all six and kept in the output folder; `--copies` and `--epochs` take fewer of them, and of
the epochs of each step. Each speaker's figures are a JSON file there; who has one is not trained
again, and `--speaker` trains only some, so that several processes can share the work. The converted
network must answer as the frozen Keras model does, in every activation of every recording. Prints a
Markdown table of all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import keras
import numpy as np

import kerasnsoc as ns
from kerasnsoc.conversion import compare, freeze
from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.spoken_digits import (
    FRAMES,
    WORDS,
    Samples,
    SpokenDigits,
    load_spoken_digits,
    varied_features,
)
from kerasnsoc.zoo.recipes.fitting import fit, measure, measure_integer
from kerasnsoc.zoo.recipes.sounds import COPIES, KWS_VOICES
from kerasnsoc.zoo.recipes.task import Data, Schedule
from kerasnsoc.zoo.recipes.variations import between_voices, other_channels

TASK = KWS_VOICES


def varied_copies(digits: SpokenDigits, count: int, seed: int, folder: Path) -> Samples:
    """Features, shape (copies, recordings, frames, coefficients)."""
    path = folder / f"features_{count}_{seed}.npy"
    if not path.exists():
        features = varied_features(digits.sounds, count, seed)
        own = folder / f"{os.getpid()}.npy"  # another process may make the same
        np.save(own, features.reshape(count, len(digits.sounds), FRAMES, -1))
        own.replace(path)
    copies: Samples = np.load(path)
    return copies


def split(digits: SpokenDigits, copies: Samples, speaker: str) -> Data:
    """All copies of the other speakers, and one speaker's recordings as they are."""
    is_test = digits.speakers == speaker
    train = np.concatenate([copy[~is_test] for copy in copies])
    scaler = FeatureScaler.fit(train)
    return Data(
        scaler.transform(train)[..., np.newaxis],
        np.tile(digits.labels[~is_test], len(copies)),
        scaler.transform(copies[0][is_test])[..., np.newaxis],
        digits.labels[is_test],
        WORDS,
        "Free Spoken Digit Dataset",
        f"all takes of {speaker}",
        augment=other_channels,
        mix=between_voices,
    )


def train(data: Data, seed: int, most_epochs: int | None) -> dict[str, float]:
    """Accuracies on the held-out speaker."""
    started = time.monotonic()
    keras.utils.set_random_seed(seed)
    model = TASK.build()
    result: dict[str, float] = {}
    for step in TASK.steps:
        if step.bits is not None:
            inputs, weights, activations = step.bits
            model = ns.quantize(model, weights, activations, inputs)
        schedule = Schedule("cosine", step.rate, average=step.average)
        epochs = step.epochs if most_epochs is None else min(step.epochs, most_epochs)
        fit(model, TASK, data, epochs, schedule, batch=TASK.batch, seed=seed)
        result[step.name] = measure(model, TASK, data)
        print(f"{data.split}: {step.name} {result[step.name]:.1%}", flush=True)
    network = ns.convert(model, input_scaling=TASK.scaling)
    frozen = freeze(model, input_scaling=TASK.scaling)
    result["integer"] = measure_integer(network, TASK, data)
    result["frozen"] = measure(frozen, TASK, data)
    parity = compare(frozen, network, data.test_x)
    if parity.differing:
        raise RuntimeError(
            f"{data.split}: {parity.differing} of {parity.compared} activations differ"
        )
    result["activations_compared"] = parity.compared
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("speakers"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--copies", type=int, default=COPIES)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--speaker", nargs="+", help="default: all")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    digits = load_spoken_digits(options.data)
    copies = varied_copies(digits, options.copies, options.seed, options.output)
    speakers = sorted(set(digits.speakers.tolist()))
    for speaker in options.speaker or speakers:
        path = options.output / f"{speaker}.json"
        if not path.exists():
            data = split(digits, copies, speaker)
            found = train(data, options.seed, options.epochs)
            path.write_text(json.dumps(found, indent=2))
    paths = [options.output / f"{speaker}.json" for speaker in speakers]
    rows = {path.stem: json.loads(path.read_text()) for path in paths if path.exists()}
    print("| left out | float | 8/4/4 | integer |\n|---|--:|--:|--:|")
    names = ("float", "8-4-4", "integer")
    rows["mean"] = {name: float(np.mean([row[name] for row in rows.values()])) for name in names}
    for speaker, row in rows.items():
        print(f"| {speaker} | " + " | ".join(f"{row[name]:.1%}" for name in names) + " |")


if __name__ == "__main__":
    main()
