"""A cloud of points as an image of groups, in NumPy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LARGEST = 127
"""Coordinates have 7 bits."""

FOLDINGS = {4: 2, 8: 2, 16: 4, 32: 4, 64: 8, 128: 8, 256: 16, 512: 16}


def folding(knn_points: int) -> int:
    """Rows of the image that a group takes.

    Raises
    ------
    ValueError
        If there is no such group size.
    """
    if knn_points not in FOLDINGS:
        raise ValueError(f"knn_points is {knn_points}, allowed are {', '.join(map(str, FOLDINGS))}")
    return FOLDINGS[knn_points]


def group_points(
    points_bpf: npt.ArrayLike, selected: npt.ArrayLike, knn_points: int = 64
) -> npt.NDArray[np.float32]:
    """Groups of neighbours around selected points, laid out as an image.

    Coordinates become integers of 7 bits. A group's first row is the point itself, the others are
    the differences of its nearest neighbours among the selected points, by rising distance.

    Parameters
    ----------
    points_bpf : array of float, shape (clouds, points, features)
        Of -1 to 1; the first three features are the place.
    selected : array of int, shape (groups,)
        Points that are used; the same for all clouds.
    knn_points : int
        Size of a group, see `folding`.

    Returns
    -------
    ndarray of float32, shape (clouds, groups * r, knn_points / r, features)
        Of -1 to 1, in steps of 1 / 127; `r` is what `folding` gives.

    Raises
    ------
    ValueError
        If a shape or size does not fit.
    """
    rows = folding(knn_points)
    points = np.asarray(points_bpf)
    chosen = np.asarray(selected)
    if points.ndim != 3 or points.shape[2] < 1:
        raise ValueError(f"points have shape {points.shape}, not (clouds, points, features)")
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise ValueError(f"selected is {chosen.dtype} of shape {chosen.shape}, not a list of ints")
    if len(chosen) > points.shape[1]:
        raise ValueError(
            f"{len(chosen)} points are selected, but the clouds have {points.shape[1]}"
        )
    if knn_points > len(chosen):
        raise ValueError(
            f"knn_points is {knn_points}, but only {len(chosen)} points are selected; neighbours "
            "are looked for among those"
        )
    integers = np.clip(np.rint((points.astype(np.float64) + 1) * 63.5), 0, LARGEST)
    centres = integers[:, chosen].astype(np.int32)
    place = centres[..., :3]
    clouds, groups, features = centres.shape
    grouped = np.empty((clouds, groups, knn_points, features), np.int32)
    for cloud in range(clouds):
        squares = ((place[cloud, :, None] - place[cloud, None]) ** 2).sum(axis=-1)
        nearest = np.argsort(squares, axis=1, kind="stable")[:, :knn_points]
        grouped[cloud] = centres[cloud, nearest]
    grouped[:, :, 1:, :3] -= place[:, :, None]
    # a point with a twin in front of it is not its own nearest neighbour, but has its coordinates
    scaled = grouped.astype(np.float32) / np.float32(LARGEST)
    return scaled.reshape(clouds, groups * rows, knn_points // rows, features)


def to_integers(groups: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """What a converted network takes (input scaling ``(127, 127)``) for the groups, 0 to 254."""
    return np.rint(np.asarray(groups, np.float64) * LARGEST + LARGEST).astype(np.uint8)
