"""From the output of a detector to boxes, in NumPy alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc._extras import require


class BoundingBox:
    """A rectangle with a score.

    Parameters
    ----------
    x1, y1, x2, y2 : float
        Upper left and lower right corner.
    score : float
        How sure it is that there is an object; -1 takes the score of the best class.
    classes : array of float, shape (classes,), optional
        Score of each class.

    Attributes
    ----------
    label : int
        Best class, -1 before `get_label` was called.
    """

    def __init__(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        score: float = -1,
        classes: npt.ArrayLike | None = None,
    ) -> None:
        self.x1, self.y1, self.x2, self.y2 = x1, y1, x2, y2
        self.score = score
        self.classes = None if classes is None else np.asarray(classes)
        self.label = -1

    def __repr__(self) -> str:
        return (
            f"<BoundingBox x1={self.x1:g} y1={self.y1:g} x2={self.x2:g} y2={self.y2:g} "
            f"score={self.score:g} label={self.label}>"
        )

    def get_label(self) -> int:
        """Class of the largest score; the first of equal ones.

        Raises
        ------
        ValueError
            If the box has no class scores.
        """
        if self.label == -1:
            if self.classes is None or not self.classes.size:
                raise ValueError(f"{self!r} has no class scores")
            self.label = int(np.argmax(self.classes))
        return self.label

    def get_score(self) -> float:
        """The score, or that of the best class if the score is -1."""
        if self.score == -1:
            label = self.get_label()
            assert self.classes is not None
            self.score = float(self.classes[label])
        return self.score

    def iou(self, other: BoundingBox) -> float:
        """Area that both boxes share, divided by the area that they cover together.

        0 for boxes that only touch, and where a box has no area.

        >>> round(BoundingBox(0, 0, 2, 2).iou(BoundingBox(1, 1, 3, 3)), 4)
        0.1429
        """
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        areas = [(box.x2 - box.x1) * (box.y2 - box.y1) for box in (self, other)]
        # an area below the smallest float must not divide by zero
        union = max(sum(areas) - shared, shared)
        return float(shared / union) if union > 0 else 0.0


def iou_matrix(
    first: npt.NDArray[np.floating[Any]], second: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float64]:
    """IoU of each of the boxes (n, 4) with each of the boxes (m, 4), corners x1, y1, x2, y2."""
    a, b = first[:, None].astype(np.float64), second[None].astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    union = np.prod(a[..., 2:] - a[..., :2], axis=-1) + np.prod(b[..., 2:] - b[..., :2], axis=-1)
    union = np.maximum(union - shared, shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def load_image(image_path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Pixels of a JPEG or PNG file, uint8, shape (height, width, 3).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no image that can be read.
    ImportError
        If Pillow is not installed.
    """
    image = require("PIL.Image", "images")
    try:
        with image.open(image_path) as file:
            return np.asarray(file.convert("RGB"))
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:
        raise ValueError(f"{os.fspath(image_path)!r} is no readable image: {error}") from None


def preprocess_image(
    image_buffer: npt.ArrayLike, output_size: Sequence[int], normalize: bool = True
) -> npt.NDArray[np.float32]:
    """Resize an image, bilinearly and with half-pixel centres; its aspect ratio may change.

    Parameters
    ----------
    image_buffer : array, shape (height, width, channels)
        Pixels of 0 to 255.
    output_size : (height, width) or (height, width, channels)
    normalize : bool
        Whether to map pixels to -1 ... 1, as a Keras model takes them; without it they stay in
        0 ... 255, as an integer model takes them after rounding.

    Returns
    -------
    ndarray of float32, shape (height, width, channels)

    Raises
    ------
    ValueError
        If a shape has no such axes.
    """
    pixels = np.asarray(image_buffer).astype(np.float32)
    if pixels.ndim != 3 or not pixels.size:
        raise ValueError(f"the image has shape {pixels.shape}, not (height, width, channels)")
    if len(output_size) not in (2, 3) or min(output_size) < 1:
        raise ValueError(f"output_size is {tuple(output_size)}, not (height, width[, channels])")
    if len(output_size) == 3 and output_size[2] != pixels.shape[2]:
        raise ValueError(
            f"output_size wants {output_size[2]} channels, but the image has {pixels.shape[2]}"
        )
    for axis in (0, 1):
        pixels = _resize_axis(pixels, axis, output_size[axis])
    return (pixels - np.float32(127.5)) / np.float32(127.5) if normalize else pixels


def scaled_image(
    pixels: npt.ArrayLike,
    output_size: Sequence[int],
    normalize: bool,
    scaling: tuple[float, float] | None,
) -> npt.NDArray[np.float32]:
    """As `preprocess_image`; a scaling ``(a, b)`` stands in for `normalize`: ``(u - b) / a``."""
    if scaling is None:
        return preprocess_image(pixels, output_size, normalize)
    scale, shift = scaling
    plain = preprocess_image(pixels, output_size, normalize=False)
    return (plain - np.float32(shift)) / np.float32(scale)


def _check_scaling(scaling: tuple[float, float] | None) -> tuple[float, float] | None:
    if scaling is None:
        return None
    scale, shift = scaling
    if not (np.isfinite(scale) and scale > 0 and np.isfinite(shift)):
        raise ValueError(f"scaling is {scaling}, but it must be (a, b) with a above 0")
    return scale, shift


def _resize_axis(pixels: npt.NDArray[np.float32], axis: int, size: int) -> npt.NDArray[np.float32]:
    length = pixels.shape[axis]
    if length == size:
        return pixels
    places = (np.arange(size) + 0.5) * (length / size) - 0.5
    below = np.floor(places).astype(np.int64)
    shape = [1] * pixels.ndim
    shape[axis] = size
    share = (places - below).astype(np.float32).reshape(shape)
    low, high = (np.take(pixels, np.clip(i, 0, length - 1), axis) for i in (below, below + 1))
    resized: npt.NDArray[np.float32] = low + (high - low) * share
    return resized


def decode_output(
    output: npt.ArrayLike,
    anchors: npt.ArrayLike,
    nb_classes: int,
    obj_threshold: float = 0.5,
    nms_threshold: float = 0.5,
) -> list[BoundingBox]:
    """Boxes that a detector found.

    Parameters
    ----------
    output : array of float, shape (rows, columns, boxes, 5 + classes)
        Not changed. The last axis holds x, y, width, height, objectness and class logits [1]_.
    anchors : array of float, shape (boxes, 2)
        Width and height in grid cells.
    nb_classes : int
    obj_threshold : float
        Class scores up to this count as none.
    nms_threshold : float
        A box that overlaps a better one of its class by this IoU or more is left out.

    Returns
    -------
    list of BoundingBox
        Corners relative to the image; `score` is the objectness, `classes` the class scores. By
        class, and by falling score within a class.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    References
    ----------
    .. [1] J. Redmon, A. Farhadi, "YOLO9000: Better, Faster, Stronger", arXiv 1612.08242, 2016,
       section 2.
    """
    values = np.asarray(output, np.float64)
    sizes = _check_anchors(anchors)
    if nb_classes < 1:
        raise ValueError(f"nb_classes is {nb_classes}, but must be at least 1")
    if values.ndim != 4 or values.shape[2:] != (len(sizes), 5 + nb_classes):
        raise ValueError(
            f"the output has shape {values.shape}, but (rows, columns, {len(sizes)}, "
            f"{5 + nb_classes}) is needed for {len(sizes)} anchors and {nb_classes} classes"
        )
    objectness = _sigmoid(values[..., 4])
    # a class score is at most the objectness: few cells need more than this
    row, column, box = np.nonzero(objectness > obj_threshold)
    found = values[row, column, box]
    confidence = objectness[row, column, box]
    logits = found[:, 5:]
    scores = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    scores *= (confidence / scores.sum(axis=1))[:, None]
    scores[scores <= obj_threshold] = 0
    grid = np.array([values.shape[1], values.shape[0]], np.float64)
    centres = (np.stack([column, row], axis=1) + _sigmoid(found[:, :2])) / grid
    with np.errstate(over="ignore"):  # a box of infinite size is clipped to the image
        halves = sizes[box] * np.exp(found[:, 2:4]) / grid / 2
    corners = np.clip(np.concatenate([centres - halves, centres + halves], axis=1), 0, 1)
    labels = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), labels]
    boxes = []
    for label in range(nb_classes):
        candidates = np.nonzero((labels == label) & (best > 0))[0]
        candidates = candidates[np.argsort(-best[candidates], kind="stable")]
        for index in _kept(corners[candidates], nms_threshold):
            place = candidates[index]
            x1, y1, x2, y2 = corners[place].tolist()
            found_box = BoundingBox(x1, y1, x2, y2, float(confidence[place]), scores[place])
            found_box.label = label
            boxes.append(found_box)
    return boxes


def _kept(corners: npt.NDArray[np.float64], threshold: float) -> list[int]:
    """Greedy choice among boxes that are sorted by falling score."""
    overlaps = iou_matrix(corners, corners) >= threshold
    kept: list[int] = []
    removed = np.zeros(len(corners), np.bool_)
    for index in range(len(corners)):
        if not removed[index]:
            kept.append(index)
            removed |= overlaps[index]
    return kept


def _check_anchors(anchors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    sizes = np.asarray(anchors, np.float64)
    if sizes.ndim != 2 or sizes.shape[1] != 2 or not len(sizes) or not (sizes > 0).all():
        raise ValueError(
            f"anchors are {sizes.tolist()}, but a list of positive [width, height] is needed"
        )
    return sizes


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # of the negative magnitude, so that the exponential cannot overflow
    small = np.exp(-np.abs(x))
    result: npt.NDArray[np.float64] = np.where(x >= 0, 1, small) / (1 + small)
    return result
