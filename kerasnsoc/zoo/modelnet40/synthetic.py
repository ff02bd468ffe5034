"""Generated point clouds of ten simple bodies, for demonstrations and tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CLASSES = (
    "sphere",
    "box",
    "cylinder",
    "cone",
    "torus",
    "disc",
    "cross",
    "helix",
    "pyramid",
    "two balls",
)


def synthetic_clouds(
    per_class: int, num_points: int = 256, noise: float = 0.02, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Points on simple bodies of random proportions, turned about the vertical axis.

    Parameters
    ----------
    per_class : int
        Clouds of each of the ten `CLASSES`.
    num_points : int
    noise : float
        Standard deviation of each coordinate.
    seed : int
        The same arguments give the same clouds.

    Returns
    -------
    points : ndarray of float32, shape (10 * per_class, num_points, 3)
        Of -1 to 1, shuffled.
    labels : ndarray of int64, shape (10 * per_class,)
    """
    if per_class < 0 or num_points < 1 or noise < 0:
        raise ValueError(
            f"per_class is {per_class}, num_points {num_points} and noise {noise}, but needed are "
            "at least 0, 1 and 0"
        )
    rng = np.random.default_rng(seed)
    clouds = np.empty((len(CLASSES) * per_class, num_points, 3), np.float32)
    labels = np.arange(len(CLASSES)).repeat(per_class)
    for cloud, label in zip(clouds, labels, strict=True):
        points = _body(int(label), num_points, rng) * rng.uniform(0.7, 1.3, 3)
        angle = rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        points[:, :2] = points[:, :2] @ turn
        points += rng.normal(0, noise, points.shape)
        cloud[:] = points / np.abs(points).max()
    order = rng.permutation(len(labels))
    return clouds[order], labels[order]


def _body(label: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    name = CLASSES[label]
    turn = rng.uniform(0, 2 * np.pi, count)
    height = rng.uniform(-1, 1, count)
    share = rng.random(count)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    if name in ("sphere", "two balls"):
        ball = rng.normal(size=(count, 3))
        ball /= np.linalg.norm(ball, axis=1, keepdims=True)
        if name == "two balls":
            ball = 0.5 * ball + np.where(share[:, None] < 0.5, 0.5, -0.5) * [0, 0, 1]
        return ball
    if name == "box":
        box = rng.uniform(-1, 1, (count, 3))
        axis = rng.integers(3, size=count)
        box[np.arange(count), axis] = rng.choice([-1, 1], count)
        return box
    if name == "cylinder":
        return np.column_stack([circle, height])
    if name == "cone":
        radius = np.sqrt(share)
        return np.column_stack([circle * radius[:, None], 1 - 2 * radius])
    if name == "torus":
        tube = rng.uniform(0, 2 * np.pi, count)
        radius = 0.7 + 0.3 * np.cos(tube)
        return np.column_stack([circle * radius[:, None], 0.3 * np.sin(tube)])
    if name == "disc":
        return np.column_stack([circle * np.sqrt(share)[:, None], 0.05 * height])
    if name == "cross":
        bars = 0.15 * rng.uniform(-1, 1, (count, 3))
        bars[np.arange(count), rng.integers(3, size=count)] = height
        return bars
    if name == "helix":
        winding = 3 * np.pi * height
        tube = 0.1 * rng.normal(size=(count, 3))
        return np.column_stack([np.cos(winding), np.sin(winding), height]) + tube
    # pyramid: a square that shrinks upwards
    radius = np.sqrt(share)
    edge = circle / np.abs(circle).max(axis=1, keepdims=True)
    return np.column_stack([edge * radius[:, None], 1 - 2 * radius])
