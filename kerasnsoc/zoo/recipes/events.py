"""The recipe for event cameras: generated recordings of moving digits, or DVS Gesture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kerasnsoc.demo.digits import load_digits
from kerasnsoc.zoo.dvs.generator import DVS_DataGenerator
from kerasnsoc.zoo.dvs.synthetic import moving_digits
from kerasnsoc.zoo.recipes.gestures import load_gestures
from kerasnsoc.zoo.recipes.task import Data, Schedule, Step, Task

SIDE = 32
WINDOW_MS = 40
WINDOWS = 3
"""Of each sample; two channels, one for each polarity."""

_COPIES = 3
"""Recordings of each digit to train on, each on a path of its own."""


def load_recordings(path: Path | None, seed: int) -> Data:
    """Generated recordings; with a path, DVS Gesture for models of the default size."""
    return load_moving_digits(seed) if path is None else load_gestures(path, seed)


def load_moving_digits(seed: int) -> Data:
    """Event counts of handwritten digits that move in front of a simulated camera."""
    digits = load_digits(seed=0)  # the split does not depend on the seed of the training
    parts = [
        _samples(digits.train_images, digits.train_labels, seed * 100 + copy)
        for copy in range(_COPIES)
    ]
    # other paths than in training
    test_x, test_y = _samples(digits.test_images, digits.test_labels, 2**31)
    return Data(
        np.concatenate([x for x, _ in parts]),
        np.concatenate([y for _, y in parts]),
        test_x,
        test_y,
        tuple("0123456789"),
        "synthetic: generated events of moving UCI handwritten digits",
        f"{len(test_x)} recordings of held-out digits",
        extra={"window_ms": WINDOW_MS, "windows": WINDOWS, "side": SIDE, "synthetic": True},
    )


def _samples(images: Any, labels: Any, seed: int) -> tuple[Any, Any]:
    # a little longer than a sample, which then begins anywhere
    trials = moving_digits(images, labels, SIDE, WINDOW_MS * (WINDOWS + 1), seed=seed)
    generator = DVS_DataGenerator(
        trials,
        WINDOW_MS,
        WINDOWS,
        (SIDE, SIDE, 2),
        allow_duplicate_events=True,
        seed=seed,
    )
    events, found = generator.get_random_samples(range(10), samples_per_trial=1)
    return generator.samples_evs2images(events).astype(np.uint8), np.asarray(found)


def _network() -> Any:
    from kerasnsoc.zoo.convtiny import convtiny_dvs_gesture

    return convtiny_dvs_gesture((SIDE, SIDE, 2 * WINDOWS), 10)


DVS = Task(
    name="dvs",
    key="convtiny_dvs_gesture/synthetic",
    helper="convtiny_gesture_pretrained",
    load=load_recordings,
    build=_network,
    steps=(Step(12, 3e-3), Step(8, 1e-3, (4, 4, 4))),
    batch=64,
    scaling=(1.0, 0),
    train=Schedule("cyclic", 1e-3, 1e-5, 4, "triangular2", batch=32),
    tune=Schedule("cyclic", 1e-4, 1e-6, 4, "triangular2", batch=32),
    data_license="CC BY 4.0 (UCI optical recognition of handwritten digits, E. Alpaydin and "
    "C. Kaynak); the events are generated",
    is_events=True,
)
