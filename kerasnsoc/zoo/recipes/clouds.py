"""The recipe for point clouds: generated bodies, or ModelNet40."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kerasnsoc.zoo.modelnet40.grouping import group_points, to_integers
from kerasnsoc.zoo.modelnet40.synthetic import CLASSES, synthetic_clouds
from kerasnsoc.zoo.recipes.task import Data, Schedule, Step, Task

SELECTED, NEIGHBOURS = 64, 32
WIDTH = 0.5
_MODELNET = (128, 64)
_POINTS = 256
_TRAIN, _TEST = 200, 40
"""Clouds of each class."""

_COPIES = 3
"""Of each training cloud: other points of it are selected."""


def load_clouds(path: Path | None, seed: int) -> Data:
    """Ten kinds of generated bodies; with a path, ModelNet40 for models of the default size."""
    if path is None:
        train, train_y = synthetic_clouds(_TRAIN, _POINTS, seed=seed)
        test, test_y = synthetic_clouds(_TEST, _POINTS, seed=2**31)
        classes = tuple(CLASSES)
        sizes = (SELECTED, NEIGHBOURS)
        name, split = "synthetic: generated bodies", f"{len(test)} generated clouds"
    else:
        from kerasnsoc.zoo.modelnet40.preprocessing import get_modelnet_from_file

        train, train_y, test, test_y, names = get_modelnet_from_file(1024, path)
        classes = tuple(names[index] for index in sorted(names))
        sizes = _MODELNET
        name, split = "ModelNet40", "the folders test"
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(_COPIES):
        moved = train + rng.uniform(-0.005, 0.005, train.shape)
        parts.append(_images(moved, rng.permutation(train.shape[1]), *sizes))
    fixed = np.random.default_rng(0).permutation(test.shape[1])
    return Data(
        np.concatenate(parts),
        np.tile(train_y.reshape(-1), _COPIES),
        _images(test, fixed, *sizes),
        test_y.reshape(-1),
        classes,
        name,
        split,
        extra={"selected_points": sizes[0], "knn_points": sizes[1], "synthetic": path is None},
    )


def _images(points: Any, order: Any, selected: int, neighbours: int) -> Any:
    return to_integers(group_points(points, order[:selected], neighbours))


def _network() -> Any:
    from kerasnsoc.zoo.pointnet import pointnet_plus_modelnet40

    return pointnet_plus_modelnet40(SELECTED, 3, NEIGHBOURS, len(CLASSES), WIDTH)


CLOUDS = Task(
    name="modelnet40",
    key="pointnet_plus/synthetic",
    helper="pointnet_plus_modelnet40_pretrained",
    load=load_clouds,
    build=_network,
    steps=(Step(8, 2e-3), Step(5, 1e-3, (8, 4, 4))),
    batch=32,
    scaling=(127.0, 127),
    train=Schedule("exponential", 1e-3, 1e-5, batch=16),
    tune=Schedule("exponential", 1e-3, 1e-5, batch=16),
    data_license="generated",
)
