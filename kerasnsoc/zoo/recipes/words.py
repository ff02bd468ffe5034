"""Folders of recorded words in the layout of Speech Commands [1]_, as data of a recipe.

.. [1] P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition",
   arXiv 1804.03209, 2018.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc._progress import with_progress
from kerasnsoc.zoo.kws.preprocessing import AudioProcessor, Part
from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.settings import BACKGROUND_NOISE_DIR_NAME, SILENCE_LABEL
from kerasnsoc.zoo.recipes.task import Data

RATE = 16000
TESTING_PERCENTAGE = 10
NOISY, LOUDEST_NOISE, SHIFT = 0.8, 0.1, RATE // 10
"""Of training clips: the share with noise, its largest volume, samples earlier or later at most."""

KEPT_WORDS = frozenset(
    (
        *("bed", "bird", "cat", "dog", "down", "eight", "five", "four", "go", "happy", "house"),
        *("learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila"),
        *("six", "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero"),
    )
)
LEFT_OUT = frozenset({"backward", "follow", "forward"})
"""Of the 35 words of Speech Commands version 2; the other 32 and silence make 33 classes."""

_TEST_SEED = 2**31
_BATCH = 1000  # clips from one step of the progress bar to the next


def words_of(folder: Path) -> tuple[str, ...]:
    """The words that a folder of Speech Commands' layout teaches, in alphabetical order.

    Those are its folders with recordings. Only of the whole Speech Commands version 2 three are
    left out, see `LEFT_OUT`.
    """
    found = {file.parent.name.lower() for file in folder.glob("*/*.wav")}
    found.discard(BACKGROUND_NOISE_DIR_NAME)
    return tuple(sorted(KEPT_WORDS if found == KEPT_WORDS | LEFT_OUT else found))


def load_words(folder: Path, seed: int) -> Data:
    """Features of recorded words and of silence, for `ds_cnn_kws`.

    Parameters
    ----------
    folder : Path
        One folder of .wav files (16 kHz, 16 bits, one channel) for each word; recordings of noise
        in ``_background_noise_``, without which silence is digital silence.
    seed : int
        Of noise and shifts of the training part, and of its silence.

    Returns
    -------
    Data
        Clips of one second as 49 x 10 coefficients of 8 bits. Label 0 is silence, which is as
        frequent as the average word; the words follow in alphabetical order. `which_set` holds a
        tenth of the speakers out.

    Raises
    ------
    OSError
        If a recording cannot be read, or there is none.
    ValueError
        If a recording has another format, or the training or held-out part is empty.
    """
    words = words_of(folder)
    train, train_y, settings = _features(folder, words, "training", seed)
    # the range is found here as `FeatureScaler.fit` would make a copy in double precision
    scaler = FeatureScaler(train.min(axis=(0, 1)), train.max(axis=(0, 1)))
    train_x = _as_images(scaler, train)
    del train
    test, test_y, _ = _features(folder, words, "testing", _TEST_SEED)
    return Data(
        train_x,
        train_y,
        _as_images(scaler, test),
        test_y,
        (SILENCE_LABEL, *words),
        f"recordings of {len(words)} words in the folder {folder.resolve().name}",
        f"which_set, {TESTING_PERCENTAGE} % for testing, {len(test)} clips",
        extra={"feature_scaler": scaler.to_json(), "feature_settings": settings},
        is_for_run=False,
    )


def _features(
    folder: Path, words: tuple[str, ...], part: Part, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], dict[str, Any]]:
    processor = AudioProcessor(
        *(RATE, 1000, 40, 20, 10),
        data_dir=folder,
        silence_percentage=100 / max(1, len(words)),
        wanted_words=words,
        testing_percentage=TESTING_PERCENTAGE,
        seed=seed,
    )
    settings = processor.model_settings
    entries = processor.data_index[part]
    if not entries:
        raise ValueError(
            f"none of the recordings in {str(folder)!r} is for {part}: `which_set` chooses about "
            f"{TESTING_PERCENTAGE} % of the speakers for testing by the names of the files. Add "
            "recordings of more speakers."
        )
    features = np.empty(
        (len(entries), settings["spectrogram_length"], settings["fingerprint_width"]), np.float32
    )
    labels = np.empty(len(entries), np.int64)
    variation = (NOISY, LOUDEST_NOISE, SHIFT) if part == "training" else (0.0, 0.0, 0)
    starts = range(0, len(entries), _BATCH)
    for start in with_progress(starts, f"features for {part}", None):
        chosen = slice(start, start + _BATCH)
        processor.data_index[part] = entries[chosen]  # all of these, in order, each once
        some, labels[chosen] = processor.get_data(-1, 0, *variation, part)
        features[chosen] = some.reshape(-1, *features.shape[1:])
    # nothing has the label 1, that of unknown words
    return features, labels - (labels > 0), dict(settings)


def _as_images(scaler: FeatureScaler, features: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    images = np.empty((*features.shape, 1), np.uint8)
    for start in range(0, len(features), _BATCH):  # doubles of a part at a time
        chosen = slice(start, start + _BATCH)
        images[chosen] = scaler.transform(features[chosen])[..., np.newaxis]
    return images
