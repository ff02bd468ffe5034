"""The recipe for detectors, on generated images of shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kerasnsoc.zoo.detection.generate_anchors import generate_anchors
from kerasnsoc.zoo.detection.synthetic import SHAPES, synthetic_shapes
from kerasnsoc.zoo.recipes.task import Data, Schedule, Step, Task

SIDE = 96
ANCHORS = 3
_TRAIN, _TEST = 1500, 200
_CELLS = SIDE // 32
_PIXEL = (128.0, -1.0)


def load_shapes(path: Path | None, seed: int) -> Data:
    """Images of discs, squares and triangles."""
    if path is not None:
        raise ValueError(
            f"--data is {str(path)!r}, but this recipe generates its data. Leave it out."
        )
    train = synthetic_shapes(_TRAIN, SIDE, seed=seed)
    test = synthetic_shapes(_TEST, SIDE, seed=2**31)
    anchors = generate_anchors(train, ANCHORS, (_CELLS, _CELLS), seed=seed)
    images = np.stack([one["image"] for one in test])
    nothing = np.zeros((0, SIDE, SIDE, 3), np.uint8)
    return Data(
        nothing,
        nothing,
        images,
        np.zeros(len(images)),
        tuple(SHAPES),
        "synthetic: generated images of shapes",
        f"{_TEST} generated images, intersection over union 0.5",
        extra={"anchors": [list(map(float, pair)) for pair in anchors], "synthetic": True},
        detection={"train": train, "test": test, "anchors": anchors},
    )


def _network() -> Any:
    from kerasnsoc.zoo.yolo import yolo_base

    return yolo_base((SIDE, SIDE, 3), len(SHAPES), ANCHORS, 0.25, input_scaling=_PIXEL)


YOLO = Task(
    name="yolo",
    key="yolo_base/synthetic",
    helper="yolo_synthetic_pretrained",
    load=load_shapes,
    build=_network,
    # 2 bits: the head has 2.4 million weights whatever the width, and an artifact ships below 1 MB
    steps=(Step(40, 1e-3), Step(8, 5e-4, (8, 4, 4)), Step(20, 5e-4, (8, 2, 4))),
    batch=32,
    scaling=(128.0, 128),
    train=Schedule("constant", 1e-4),
    tune=Schedule("constant", 1e-5),
    data_license="generated",
    kind="boxes",
)
