"""Recipes on sound: spoken digits, and folders of other words."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.settings import BACKGROUND_NOISE_DIR_NAME
from kerasnsoc.zoo.kws.spoken_digits import (
    SETTINGS,
    WORDS,
    Samples,
    SpokenDigits,
    features_of,
    invented_words,
    load_spoken_digits,
    varied_features,
)
from kerasnsoc.zoo.recipes.images import find
from kerasnsoc.zoo.recipes.task import Data, Schedule, Step, Task
from kerasnsoc.zoo.recipes.variations import between_voices, other_channels
from kerasnsoc.zoo.recipes.words import load_words

COPIES = 10
"""Of each recording in the training set: one as it is, the others varied."""

EDGE_COPIES = 2
EDGE_WORDS = 7
"""Words that the network for learning on the device knows; the other three are new to it."""


def load_digits(path: Path | None, seed: int) -> Data:
    """Spoken digits; takes 0 to 4 of each speaker and digit are held out.

    A folder of other words is read as `load_words` does.
    """
    if path is not None and _holds_words(path):
        return load_words(path, seed)
    digits = _digits(path)
    return split(digits, ~digits.is_test, digits.is_test, seed)


def load_digits_for_voices(path: Path | None, seed: int) -> Data:
    """The same, with another voice and microphone for each clip in each epoch."""
    return replace(load_digits(path, seed), augment=other_channels, mix=between_voices)


def load_first_digits(path: Path | None, seed: int) -> Data:
    """The words zero to six, and invented ones in training, so that features suit other words."""
    digits = _digits(path)
    is_known = digits.labels < EDGE_WORDS
    train = np.flatnonzero(is_known & ~digits.is_test)
    test = np.flatnonzero(is_known & digits.is_test)
    sounds, labels, names = invented_words(digits, train, seed)
    data = _data(
        sounds,
        labels,
        EDGE_COPIES,
        [digits.sounds[i] for i in test],
        digits.labels[test],
        names,
        f"official: takes 0 to 4 of the words zero to six, {len(test)} recordings",
        seed,
    )
    return replace(data, invented=len(names) - EDGE_WORDS)


def split(
    digits: SpokenDigits,
    is_train: npt.NDArray[np.bool_],
    is_test: npt.NDArray[np.bool_],
    seed: int,
    name: str = "official: takes 0 to 4",
) -> Data:
    """Varied features of some recordings to train on, and plain ones of others."""
    train, test = np.flatnonzero(is_train), np.flatnonzero(is_test)
    return _data(
        [digits.sounds[i] for i in train],
        digits.labels[train],
        COPIES,
        [digits.sounds[i] for i in test],
        digits.labels[test],
        WORDS,
        f"{name}, {len(test)} recordings",
        seed,
    )


def _data(
    train: list[Samples],
    train_labels: npt.NDArray[np.int64],
    copies: int,
    test: list[Samples],
    test_labels: npt.NDArray[np.int64],
    words: tuple[str, ...],
    name: str,
    seed: int,
) -> Data:
    features = varied_features(train, copies, seed)
    scaler = FeatureScaler.fit(features)
    return Data(
        _as_images(scaler, features),
        np.tile(train_labels, copies),
        _as_images(scaler, features_of(test)),
        test_labels,
        words,
        "Free Spoken Digit Dataset",
        name,
        extra={"feature_scaler": scaler.to_json(), "feature_settings": dict(SETTINGS)},
    )


def _digits(path: Path | None) -> SpokenDigits:
    hint = "The Free Spoken Digit Dataset is read from its zip or a folder of its recordings."
    found = find(path, "free_spoken_digits.zip", hint)
    if found.is_file() and not zipfile.is_zipfile(found):
        raise ValueError(
            f"{found} is no zip. {hint} Unpack other archives, such as the .tar.gz of Speech "
            "Commands, into a folder of their own and give that."
        )
    return load_spoken_digits(found)


def _holds_words(path: Path) -> bool:
    """Whether recordings lie in folders of words, and are not named as those of digits."""
    if (path / BACKGROUND_NOISE_DIR_NAME).is_dir():
        return True
    return any(path.glob("*/*.wav")) and not any(
        re.fullmatch(r"\d_[A-Za-z]+_\d+\.wav", file.name) for file in path.rglob("*.wav")
    )


def _as_images(scaler: FeatureScaler, features: Any) -> Any:
    return scaler.transform(features)[..., np.newaxis]


def _network() -> Any:
    from kerasnsoc.zoo.ds_cnn import ds_cnn_kws

    return ds_cnn_kws(classes=len(WORDS))


def _edge_network() -> Any:
    from kerasnsoc.zoo.ds_cnn import ds_cnn_kws

    return ds_cnn_kws(classes=4 * EDGE_WORDS)


KWS = Task(
    name="kws",
    key="ds_cnn_kws/fsdd10",
    helper="ds_cnn_kws_pretrained",
    load=load_digits,
    build=_network,
    steps=(Step(8, 3e-3), Step(6, 1.5e-3, (8, 4, 4))),
    batch=128,
    scaling=(255.0, 0),
    train=Schedule("cyclic", 2e-3, 5e-6, 4, batch=100),
    tune=Schedule("cyclic", 2e-3, 5e-6, 4, batch=100),
    data_license="CC BY-SA 4.0 (Free Spoken Digit Dataset, Z. Jackson et al.)",
    last_activation="separable_6_relu",
)

KWS_VOICES = replace(
    KWS,
    name="kws-voices",
    load=load_digits_for_voices,
    steps=(Step(8, 3e-3, average=0.99), Step(6, 1.5e-3, (8, 4, 4), average=0.99, teachers=3)),
)
"""For speakers who are not in the training set, see `benchmarks.spoken_speakers`."""

KWS_EDGE = replace(
    KWS,
    name="kws-edge",
    key="ds_cnn_kws/fsdd7",
    load=load_first_digits,
    build=_edge_network,
    steps=(
        Step(6, 3e-3),
        Step(5, 1.5e-3, (8, 4, 4), (KWS.last_activation, 1)),
    ),
)
