"""The recipe for detectors, on generated images of shapes; see `annotated` for other images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasnsoc.zoo.detection.anchors import generate_anchors
from kerasnsoc.zoo.detection.synthetic import SHAPES, synthetic_shapes
from kerasnsoc.zoo.recipes.task import Data, Schedule, Step, Task

SIDE = 96
ANCHORS = 3
HEAD_FILTERS = 256
_TRAIN, _TEST = 1500, 200
_CELLS = SIDE // 32
_PIXEL = (128.0, -1.0)


def load_shapes(path: Path | None, seed: int) -> Data:
    """Images of discs, squares and triangles."""
    if path is not None:
        raise ValueError(
            f"--data is {str(path)!r}, but run and prune generate their data. Leave it out, or "
            "take train, tune or eval."
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


def with_choices(
    data: Data,
    anchors: Path | None = None,
    objects: float | None = None,
    overlaps: float | None = None,
) -> Data:
    """The same data with other anchors or thresholds.

    Parameters
    ----------
    data : Data
    anchors : Path, optional
        A JSON file: a list of ``[width, height]`` in grid cells.
    objects, overlaps : float, optional
        0 to 1; as `obj_threshold` and `nms_threshold` of `decode_output`. Default: 0.5.

    Raises
    ------
    ValueError
        If the file holds something else, or a threshold is out of range.
    """
    chosen = dict(data.detection)
    if anchors is not None:
        chosen["anchors"] = _read_anchors(anchors)
    thresholds = tuple(0.5 if value is None else value for value in (objects, overlaps))
    for value in thresholds:
        if not 0 <= value <= 1:
            raise ValueError(f"a threshold is {value}, but it must be 0 to 1")
    return replace(data, detection={**chosen, "thresholds": thresholds})


def _read_anchors(path: Path) -> list[list[float]]:
    try:
        pairs = np.array(json.loads(path.read_text(encoding="utf-8")), np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no JSON list of [width, height]: {error}") from error
    if pairs.ndim != 2 or pairs.shape[1:] != (2,) or not (np.isfinite(pairs) & (pairs > 0)).all():
        raise ValueError(
            f"{path} holds an array of shape {pairs.shape}, but anchors are a list of positive "
            "[width, height] in grid cells"
        )
    content: list[list[float]] = pairs.tolist()
    return content


def _network() -> Any:
    from kerasnsoc.zoo.yolo import yolo_base

    return yolo_base(
        (SIDE, SIDE, 3),
        len(SHAPES),
        ANCHORS,
        0.25,
        head_filters=HEAD_FILTERS,
        input_scaling=_PIXEL,
    )


YOLO = Task(
    name="yolo",
    key="yolo_base/synthetic",
    helper="yolo_synthetic_pretrained",
    load=load_shapes,
    build=_network,
    steps=(Step(30, 1e-3), Step(10, 5e-4, (8, 4, 4))),
    batch=16,  # many steps: boxes are learned slowly
    scaling=(128.0, 128),
    train=Schedule("constant", 1e-4, batch=128),
    tune=Schedule("constant", 1e-5, batch=128),
    data_license="generated",
    kind="boxes",
)
