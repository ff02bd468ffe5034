"""Mean average precision of detections, in NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo.detection.processing import iou_matrix

MATCHING_IOU = 0.5

Boxes = npt.NDArray[np.float64]
"""Shape (n, 4): x1, y1, x2, y2."""


def average_precision(is_hit: npt.ArrayLike, truths: int) -> float:
    """Area under the envelope of the precision over the recall.

    Parameters
    ----------
    is_hit : array of bool
        Of each detection, by falling score.
    truths : int
        Objects to find.

    Returns
    -------
    float
        0 to 1; 0 if there is nothing to find.

    Examples
    --------
    >>> average_precision([1, 0, 1, 1, 0], truths=4)
    0.625
    """
    if truths < 0:
        raise ValueError(f"truths is {truths}, but must not be negative")
    hits = np.cumsum(np.asarray(is_hit, np.float64))
    if truths == 0 or not len(hits):
        return 0.0
    recall = np.concatenate([[0], hits / truths, [1]])
    precision = np.concatenate([[0], hits / np.arange(1, len(hits) + 1), [0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))


def mean_average_precision(
    detections: Sequence[Sequence[tuple[Boxes, npt.NDArray[np.float64]]]],
    truths: Sequence[Sequence[Boxes]],
    num_classes: int,
) -> tuple[float, dict[int, float]]:
    """Average precision of each class at an IoU of 0.5, and their mean.

    A detection hits if the object of its class that it overlaps most does so by at least 0.5 and no
    earlier detection of the same image has hit that object; earlier means of a higher score.

    Parameters
    ----------
    detections : per image, per class
        Boxes (n, 4) and scores (n,).
    truths : per image, per class
        Boxes (m, 4).
    num_classes : int

    Returns
    -------
    mean : float
    per_class : dict of int to float
        0 for a class without any object.
    """
    per_class = {}
    for label in range(num_classes):
        scores: list[npt.NDArray[np.float64]] = []
        hits: list[npt.NDArray[np.bool_]] = []
        count = 0
        for found, true in zip(detections, truths, strict=True):
            boxes, confidence = found[label]
            order = np.argsort(-confidence, kind="stable")
            count += len(true[label])
            scores.append(confidence[order])
            hits.append(_hits(boxes[order], true[label]))
        all_scores = np.concatenate([np.empty(0), *scores])
        all_hits = np.concatenate([np.empty(0, np.bool_), *hits])
        order = np.argsort(-all_scores, kind="stable")
        per_class[label] = average_precision(all_hits[order], count)
    return (sum(per_class.values()) / num_classes if num_classes else 0.0), per_class


def _hits(boxes: Boxes, truths: Boxes) -> npt.NDArray[np.bool_]:
    hits = np.zeros(len(boxes), np.bool_)
    if not len(truths):
        return hits
    overlaps = iou_matrix(boxes, truths)
    taken = np.zeros(len(truths), np.bool_)
    for index, best in enumerate(overlaps.argmax(axis=1)):
        if overlaps[index, best] >= MATCHING_IOU and not taken[best]:
            taken[best] = hits[index] = True
    return hits
