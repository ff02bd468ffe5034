"""How well spoken digits of a speaker are told whom the network never heard.

    python -m benchmarks.spoken_speakers --data free_spoken_digits.zip --output speakers

The recipe `kws-voices` of the zoo, six times: each speaker of the Free Spoken Digit Dataset is left
out once, and all 500 recordings are for testing then. The varied copies of the recordings are made
once for all six and kept in the output folder; `--copies` and `--epochs` take fewer of them, and of
the epochs of each step. Each speaker has a folder there, as `kerasnsoc train kws-voices run` makes
it: the same command goes on after an interruption, and `--speaker` trains only some, so that
several processes can share the work. The integer network must answer as the frozen Keras model
does. Prints a Markdown table of all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.spoken_digits import (
    FRAMES,
    WORDS,
    Samples,
    SpokenDigits,
    load_spoken_digits,
    varied_features,
)
from kerasnsoc.zoo.recipes.runs import run_recipe
from kerasnsoc.zoo.recipes.sounds import COPIES, KWS_VOICES
from kerasnsoc.zoo.recipes.task import Data
from kerasnsoc.zoo.recipes.variations import between_voices, other_channels


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
        if (options.output / speaker / "result.json").exists():
            continue
        result = run_recipe(
            KWS_VOICES,
            split(digits, copies, speaker),
            options.output / speaker,
            command=f"python -m benchmarks.spoken_speakers --speaker {speaker}",
            seed=options.seed,
            most_epochs=options.epochs,
            echo=lambda line, speaker=speaker: print(f"{speaker}: {line}", flush=True),
        )
        if result["activations_that_differ"] or result["integer"] != result["frozen"]:
            raise RuntimeError(f"{speaker}: the integers are not those of the frozen model")
    paths = [options.output / speaker / "result.json" for speaker in speakers]
    rows = {path.parent.name: json.loads(path.read_text()) for path in paths if path.exists()}
    print("| left out | float | 8/4/4 | integer |\n|---|--:|--:|--:|")
    names = ("float", "quantized", "integer")
    rows["mean"] = {name: float(np.mean([row[name] for row in rows.values()])) for name in names}
    for speaker, row in rows.items():
        print(f"| {speaker} | " + " | ".join(f"{row[name]:.1%}" for name in names) + " |")


if __name__ == "__main__":
    main()
