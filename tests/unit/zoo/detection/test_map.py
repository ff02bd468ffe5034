"""Average precision against an independent implementation."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.zoo.detection import BoundingBox, average_precision, mean_average_precision


def test_the_published_example():
    assert average_precision([1, 0, 1, 1, 0], 4) == 0.625


@pytest.mark.parametrize(
    ("hits", "truths", "expected"), [([], 3, 0), ([0, 0], 3, 0), ([1], 0, 0), ([1, 1], 2, 1)]
)
def test_what_is_defined_at_the_ends(hits, truths, expected):
    assert average_precision(hits, truths) == expected


def test_a_negative_number_of_objects_is_refused():
    with pytest.raises(ValueError, match="truths is -1"):
        average_precision([1], -1)


def exact_map(detections, truths, classes):
    """Sum over hits of the best precision at or behind each, as fractions."""
    total = Fraction(0)
    for label in range(classes):
        ranked = []
        for image, found in enumerate(detections):
            boxes, scores = found[label]
            ranked += [
                (-s, image, k, tuple(b)) for k, (b, s) in enumerate(zip(boxes, scores, strict=True))
            ]
        ranked.sort(key=lambda row: row[:3])
        taken, hits = set(), []
        for _, image, _, corners in ranked:
            box = BoundingBox(*corners)
            overlaps = [box.iou(BoundingBox(*t)) for t in truths[image][label]]
            best = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
            hit = best is not None and overlaps[best] >= 0.5 and (image, best) not in taken
            if hit:
                taken.add((image, best))
            hits.append(hit)
        count = sum(len(t[label]) for t in truths)
        if not count:
            continue
        precisions = [Fraction(sum(hits[: k + 1]), k + 1) for k in range(len(hits))]
        total += (
            sum((max(precisions[k:]) for k, hit in enumerate(hits) if hit), Fraction(0)) / count
        )
    return float(total / classes)


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(0, 4), classes=st.integers(1, 3))
def test_any_detections_have_the_exact_value(seed, images, classes):
    rng = np.random.default_rng(seed)

    def boxes(count):
        low = rng.integers(0, 6, (count, 2))
        return np.concatenate([low, low + rng.integers(1, 6, (count, 2))], axis=1).astype(float)

    truths, detections = [], []
    for _ in range(images):
        truths.append([boxes(rng.integers(0, 4)) for _ in range(classes)])
        found = []
        for true in truths[-1]:
            near = true + rng.integers(-1, 2, true.shape)
            both = np.concatenate([near, boxes(rng.integers(0, 3))])
            both[:, 2:] = np.maximum(both[:, 2:], both[:, :2] + 1)
            found.append((both, rng.integers(1, 5, len(both)) / 4))  # with ties
        detections.append(found)
    mean, per_class = mean_average_precision(detections, truths, classes)
    assert list(per_class) == list(range(classes))
    assert mean == pytest.approx(sum(per_class.values()) / classes, abs=1e-15)
    assert mean == pytest.approx(exact_map(detections, truths, classes), abs=1e-12)
