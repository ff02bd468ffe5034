"""Gestures before an event camera, the recordings of DVS Gesture [1]_, as data of a recipe.

.. [1] A. Amir et al., "A Low Power, Fully Event-Based Gesture Recognition System", CVPR 2017.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc._progress import with_progress
from kerasnsoc.zoo.dvs.generator import DVS_DataGenerator
from kerasnsoc.zoo.dvs.preprocessing import generate_dataset
from kerasnsoc.zoo.recipes.task import Data

CLASSES = (
    *("hand clapping", "right hand wave", "left hand wave"),
    *("right arm clockwise", "right arm counterclockwise"),
    *("left arm clockwise", "left arm counterclockwise"),
    *("arm roll", "air drums", "air guitar"),
)
"""Labels 1 to 10 of the files; 11 stands for any other gesture and is left out."""

FIRST_TEST_SUBJECT = 24
"""As in the lists that come with the data set: 23 subjects to train on, 6 to test."""

WINDOW_MS, WINDOWS = 100, 5
CAMERA, DOWNSCALE = (128, 128, 2), 2
SAMPLES_PER_TRIAL = 5
MOST_TURN = 0.05
_TEST_SEED = 2**31


def load_gestures(folder: Path, seed: int) -> Data:
    """Event counts of gestures, for `convtiny_dvs_gesture`.

    Parameters
    ----------
    folder : Path
        With ``user<NN>_<lighting>.aedat`` and ``user<NN>_<lighting>_labels.csv``.
    seed : int
        Of the times at which samples to train on begin.

    Returns
    -------
    Data
        Samples of shape (64, 64, 10): five windows of 100 ms, two polarities. Five samples of each
        trial begin at random; subjects 24 and up are held out. Training turns each sample by up to
        0.05 of a turn.

    Raises
    ------
    OSError
        If a recording or its labels cannot be read.
    ValueError
        If a part has no recording or no trial as long as a sample, or a file is damaged.
    """
    subjects = sorted(
        {
            int(found[1])
            for file in folder.glob("user*_*.aedat*")
            if (found := re.fullmatch(r"user(\d+)_.+\.aedat4?", file.name))
        }
    )
    train = [subject for subject in subjects if subject < FIRST_TEST_SUBJECT]
    test = [subject for subject in subjects if subject >= FIRST_TEST_SUBJECT]
    if not train or not test:
        raise ValueError(
            f"{str(folder)!r} holds recordings of {len(train)} subjects to train on (below "
            f"{FIRST_TEST_SUBJECT}) and {len(test)} to test, but both are needed. DVS Gesture is "
            "read from a folder of user<NN>_<lighting>.aedat, each with its _labels.csv."
        )
    train_x, train_y = _samples(folder, train, seed, "training")
    test_x, test_y = _samples(folder, test, _TEST_SEED, "test")
    return Data(
        train_x,
        train_y,
        test_x,
        test_y,
        CLASSES,
        "DVS Gesture",
        f"{len(test_x)} samples of the subjects from {FIRST_TEST_SUBJECT} on",
        augment=turn,
        extra={
            "window_ms": WINDOW_MS,
            "windows": WINDOWS,
            "side": CAMERA[0] // DOWNSCALE,
            "synthetic": False,
        },
        is_for_run=False,
    )


def turn(x: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Images turned about their centre by up to 0.05 of a turn to either side.

    Each pixel takes the value of the nearest one, so that counts stay integers; the border goes on
    outside.
    """
    n, height, width, _ = x.shape
    angle = 2 * np.pi * rng.uniform(-MOST_TURN, MOST_TURN, (n, 1, 1))
    rows, columns = np.ogrid[:height, :width]
    down, right = rows - (height - 1) / 2, columns - (width - 1) / 2
    from_row = np.rint(np.cos(angle) * down - np.sin(angle) * right + (height - 1) / 2)
    from_column = np.rint(np.sin(angle) * down + np.cos(angle) * right + (width - 1) / 2)
    return x[
        np.arange(n)[:, None, None],
        np.clip(from_row, 0, height - 1).astype(np.int64),
        np.clip(from_column, 0, width - 1).astype(np.int64),
    ]


def _samples(
    folder: Path, subjects: Sequence[int], seed: int, part: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images, labels = [], []
    # one subject at a time: the events of all need gigabytes
    for subject in with_progress(subjects, f"samples for {part}", None):
        trials = generate_dataset("dvs_gesture", folder, [subject])
        for trial in trials:
            if not 1 <= trial["label"] <= len(CLASSES) + 1:
                raise ValueError(
                    f"a trial of subject {subject} has the class {trial['label']}, but gestures "
                    f"have 1 to {len(CLASSES) + 1}"
                )
        trials = [trial for trial in trials if trial["label"] <= len(CLASSES)]
        if not trials:
            continue
        generator = DVS_DataGenerator(
            trials,
            WINDOW_MS,
            WINDOWS,
            CAMERA,
            allow_duplicate_events=True,
            downscale=DOWNSCALE,
            seed=seed + subject,
        )
        events, found = generator.get_random_samples(
            range(len(CLASSES)), samples_per_trial=SAMPLES_PER_TRIAL
        )
        images.append(generator.samples_evs2images(events))
        # the generator numbers from the smallest label of the subject on
        labels.append(found + min(trial["label"] for trial in trials) - 1)
    if not sum(map(len, images)):
        raise ValueError(
            f"no trial of the subjects for {part} in {str(folder)!r} shows one of the "
            f"{len(CLASSES)} gestures for {WINDOWS * WINDOW_MS} ms"
        )
    return np.concatenate(images), np.concatenate(labels)
