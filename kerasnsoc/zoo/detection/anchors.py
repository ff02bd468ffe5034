"""Anchors for a data set: typical box sizes, found by clustering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from kerasnsoc.zoo.detection.data import Annotation

_MOST_ROUNDS = 1000


def generate_anchors(
    annotations_data: Sequence[Annotation],
    num_anchors: int = 5,
    grid_size: tuple[int, int] = (7, 7),
    *,
    seed: int | None = None,
) -> list[list[float]]:
    """Cluster the sizes of boxes; prints how well the result covers them.

    k-means with ``1 - IoU`` of boxes that share a corner as distance [1]_ and arithmetic means,
    until no box changes its cluster.

    Parameters
    ----------
    annotations_data : list of Annotation
        What the parsers of `kerasnsoc.zoo.detection.data` return.
    num_anchors : int
    grid_size : (columns, rows)
        Of the network's output.
    seed : int, optional
        Of the first choice; by default it differs from call to call.

    Returns
    -------
    list of [width, height]
        In grid cells, 5 decimals, by rising area.

    Raises
    ------
    ValueError
        If there are fewer boxes than anchors, or a size is not positive.

    References
    ----------
    .. [1] J. Redmon, A. Farhadi, "YOLO9000: Better, Faster, Stronger", arXiv 1612.08242, 2016,
       "Dimension Clusters".
    """
    if num_anchors < 1 or min(grid_size) < 1:
        raise ValueError(
            f"num_anchors is {num_anchors} and grid_size {grid_size}, but both must be positive"
        )
    sizes = np.array(
        [
            [
                (box["x2"] - box["x1"]) * grid_size[0] / annotation["image_shape"][0],
                (box["y2"] - box["y1"]) * grid_size[1] / annotation["image_shape"][1],
            ]
            for annotation in annotations_data
            for box in annotation["boxes"]
            if box["x2"] > box["x1"] and box["y2"] > box["y1"]
        ]
    ).reshape(-1, 2)
    if len(sizes) < num_anchors:
        raise ValueError(
            f"{len(sizes)} boxes with an area cannot give {num_anchors} anchors; give more "
            "annotations or ask for fewer anchors"
        )
    rng = np.random.default_rng(seed)
    anchors = _first_choice(sizes, num_anchors, rng)
    assigned = np.full(len(sizes), -1)
    for _ in range(_MOST_ROUNDS):
        overlaps = corner_iou(sizes, anchors)
        nearest = overlaps.argmax(axis=1)
        if np.array_equal(nearest, assigned):
            break
        assigned = nearest
        for cluster in range(num_anchors):
            members = sizes[assigned == cluster]
            if len(members):
                anchors[cluster] = members.mean(axis=0)
            else:  # it takes over the box that the others represent worst
                anchors[cluster] = sizes[overlaps.max(axis=1).argmin()]
    average = corner_iou(sizes, anchors).max(axis=1).mean()
    print(f"Average IoU of {len(sizes)} boxes with {num_anchors} anchors: {average:.4f}")
    ordered = anchors[np.argsort(anchors.prod(axis=1), kind="stable")]
    result: list[list[float]] = np.round(ordered, 5).tolist()
    return result


def corner_iou(
    sizes: npt.NDArray[np.float64], anchors: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """IoU of each size (n, 2) with each anchor (m, 2), all with one corner in common."""
    shared = np.minimum(sizes[:, None], anchors[None]).prod(axis=2)
    result: npt.NDArray[np.float64] = shared / (
        sizes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - shared
    )
    return result


def _first_choice(
    sizes: npt.NDArray[np.float64], count: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Boxes far from each other: each is drawn by its squared distance from those before."""
    chosen = [sizes[rng.integers(len(sizes))]]
    while len(chosen) < count:
        distances = (1 - corner_iou(sizes, np.array(chosen)).max(axis=1)) ** 2
        total = distances.sum()
        # all boxes alike: any will do
        weights = distances / total if total > 0 else None
        chosen.append(sizes[rng.choice(len(sizes), p=weights)])
    return np.array(chosen)
