"""How well spoken digits of a speaker are told whom the network never heard.

    python -m benchmarks.spoken_speakers --data free_spoken_digits.zip --output speakers

The recipe `kws` of the zoo, six times: each speaker of the Free Spoken Digit Dataset is left out
once, and all 500 recordings are for testing then. The varied copies of the recordings are made once
for all six; `--copies` and `--epochs` take fewer of them, and of the epochs of each step. Prints a
Markdown table and writes the figures as JSON; speakers that are in the file already are not trained
again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np

import kerasnsoc as ns
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
from kerasnsoc.zoo.recipes.sounds import COPIES, KWS
from kerasnsoc.zoo.recipes.task import Data, Schedule


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
    )


def train(data: Data, seed: int, most_epochs: int | None) -> dict[str, float]:
    """Accuracies on the held-out speaker."""
    started = time.monotonic()
    keras.utils.set_random_seed(seed)
    model = KWS.build()
    result: dict[str, float] = {}
    for step in KWS.steps:
        if step.bits is not None:
            inputs, weights, activations = step.bits
            model = ns.quantize(model, weights, activations, inputs)
        schedule = Schedule("cosine", step.rate)
        epochs = step.epochs if most_epochs is None else min(step.epochs, most_epochs)
        fit(model, KWS, data, epochs, schedule, batch=KWS.batch, seed=seed)
        result[step.name] = measure(model, KWS, data)
    network = ns.convert(model, input_scaling=KWS.scaling)
    result["integer"] = measure_integer(network, KWS, data)
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("speakers"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--copies", type=int, default=COPIES)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "spoken_speakers.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    digits = load_spoken_digits(options.data)
    copies = varied_features(digits.sounds, options.copies, options.seed).reshape(
        options.copies, len(digits.sounds), FRAMES, -1
    )
    for speaker in sorted(set(digits.speakers.tolist())):
        if speaker not in found:
            data = split(digits, copies, speaker)
            found[speaker] = train(data, options.seed, options.epochs)
            path.write_text(json.dumps(found, indent=2))
    print("| left out | float | 8/4/4 | integer |\n|---|--:|--:|--:|")
    rows = [*found.items()]
    names = ("float", "8-4-4", "integer")
    rows.append(("mean", {n: float(np.mean([r[n] for r in found.values()])) for n in names}))
    for speaker, row in rows:
        print(f"| {speaker} | " + " | ".join(f"{row[n]:.1%}" for n in names) + " |")


if __name__ == "__main__":
    main()
