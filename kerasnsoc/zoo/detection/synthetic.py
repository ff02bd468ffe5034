"""Generated images with discs, squares and triangles, for demonstrations and tests."""

from __future__ import annotations

import numpy as np

from kerasnsoc.zoo.detection.data import Annotation, Box

SHAPES = ("disc", "square", "triangle")


def synthetic_shapes(
    count: int, side: int = 96, most_shapes: int = 3, seed: int = 0
) -> list[Annotation]:
    """Images with one or more shapes in random colours on a cluttered background.

    Parameters
    ----------
    count : int
    side : int
        Of the square images, in pixels, at least 32.
    most_shapes : int
        Per image; shapes do not overlap by much.
    seed : int
        The same arguments give the same images.

    Returns
    -------
    list of Annotation
        Labels are those of `SHAPES`; the images are in memory.
    """
    if count < 0 or side < 32 or most_shapes < 1:
        raise ValueError(
            f"count is {count}, side {side} and most_shapes {most_shapes}, but needed are at least "
            "0, 32 and 1"
        )
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] + 0.5
    annotations = []
    for number in range(count):
        ground = rng.integers(0, 256, 3)
        slope = rng.uniform(-40, 40, (2, 3))
        image = ground + (rows[..., None] * slope[0] + columns[..., None] * slope[1]) / side
        boxes: list[Box] = []
        for _ in range(rng.integers(1, most_shapes, endpoint=True)):
            label = SHAPES[rng.integers(len(SHAPES))]
            half = rng.uniform(0.1, 0.22) * side
            x, y = rng.uniform(half, side - half, 2)
            corners = [round(v) for v in (x - half, y - half, x + half, y + half)]
            if any(_overlap(corners, box) for box in boxes):
                continue
            colour = rng.integers(0, 256, 3)
            while np.abs(colour - ground).sum() < 200:  # to be seen
                colour = rng.integers(0, 256, 3)
            if label == "disc":
                inside = np.hypot(columns - x, rows - y) < half
            elif label == "square":
                inside = np.maximum(np.abs(columns - x), np.abs(rows - y)) < half
            else:
                inside = np.abs(columns - x) < (rows - y + half) / 2
                inside &= np.abs(rows - y) < half
            image = np.where(inside[..., None], colour, image)
            x1, y1, x2, y2 = corners
            boxes.append({"label": label, "x1": x1, "y1": y1, "x2": x2, "y2": y2})
        image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        annotations.append(
            Annotation(
                image_path=f"synthetic-{number}",
                image_shape=(side, side, 3),
                boxes=boxes,
                image=image,
            )
        )
    return annotations


def _overlap(corners: list[int], box: Box) -> bool:
    x1, y1, x2, y2 = corners
    return x1 < box["x2"] and x2 > box["x1"] and y1 < box["y2"] and y2 > box["y1"]
