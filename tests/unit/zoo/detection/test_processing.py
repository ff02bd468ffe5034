"""From the output of a detector to boxes."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.zoo.detection import BoundingBox, decode_output, load_image, preprocess_image
from kerasnsoc.zoo.detection.processing import iou_matrix


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
        ((0, 0, 1, 1), (1, 0, 2, 1), 0),
        ((0, 0, 4, 4), (1, 1, 2, 2), 0.0625),
        ((0, 0, 4, 3), (0, 0, 4, 3), 1),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0),
        ((0, 0, 0, 5), (0, 0, 5, 5), 0),
        ((0, 0, 1e-170, 1e-170), (0, 0, 1e-170, 1e-170), 0),
    ],
)
def test_iou(first, second, expected):
    assert BoundingBox(*first).iou(BoundingBox(*second)) == pytest.approx(expected, abs=1e-12)
    assert BoundingBox(*second).iou(BoundingBox(*first)) == pytest.approx(expected, abs=1e-12)
    both = np.array([first, second], float)
    assert iou_matrix(both, both)[0, 1] == pytest.approx(expected, abs=1e-12)


def test_a_box_knows_its_best_class():
    box = BoundingBox(0, 0.5, 1, 2, classes=[0.1, 0.7, 0.7])
    assert (box.label, box.score) == (-1, -1)
    assert box.get_label() == 1
    assert box.get_score() == 0.7
    assert BoundingBox(0, 0, 1, 1, 0.25, [1.0]).get_score() == 0.25
    assert repr(box) == "<BoundingBox x1=0 y1=0.5 x2=1 y2=2 score=0.7 label=1>"
    with pytest.raises(ValueError, match="no class scores"):
        BoundingBox(0, 0, 1, 1).get_label()


def vector():
    output = np.full((2, 2, 2, 7), -8.0)
    output[0, 1, 0] = [0, 0, 0, 0, 2, 3, 0]
    output[0, 1, 1] = [0.2, -0.1, 0.1, 0, 1, 3, 0]
    output[1, 0, 1] = [0, 0, 0, 0, 3, 0, 4]
    return output


def test_the_published_output_gives_two_boxes():
    output = vector()
    kept = output.copy()
    first, second = decode_output(output, [(1, 1), (1.1, 0.9)], 2)
    np.testing.assert_array_equal(output, kept)
    corners = [[b.x1, b.y1, b.x2, b.y2] for b in (first, second)]
    np.testing.assert_allclose(
        corners, [[0.5, 0, 1, 0.5], [0, 0.525, 0.525, 0.975]], rtol=0, atol=1e-12
    )
    # stated with six decimals
    assert first.score == pytest.approx(0.880797, abs=5e-7)
    assert second.score == pytest.approx(0.952574, abs=5e-7)
    assert first.classes == pytest.approx([0.839025, 0], abs=5e-7)
    assert second.classes == pytest.approx([0, 0.935441], abs=5e-7)
    assert (first.label, second.label) == (0, 1)


def slow_decode(output, anchors, classes, obj_threshold, nms_threshold):
    """The definition, cell by cell."""
    rows, columns = output.shape[:2]
    candidates = []
    for row in range(rows):
        for column in range(columns):
            for index, (width, height) in enumerate(anchors):
                t = [float(v) for v in output[row, column, index]]
                conf = 1 / (1 + math.exp(-t[4]))
                top = max(t[5:])
                exps = [math.exp(v - top) for v in t[5:]]
                scores = [conf * e / sum(exps) for e in exps]
                scores = [0 if s <= obj_threshold else s for s in scores]
                if not any(scores):
                    continue
                cx = (column + 1 / (1 + math.exp(-t[0]))) / columns
                cy = (row + 1 / (1 + math.exp(-t[1]))) / rows
                w, h = width * math.exp(t[2]) / columns, height * math.exp(t[3]) / rows
                corners = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                corners = [min(max(v, 0), 1) for v in corners]
                candidates.append(BoundingBox(*corners, conf, scores))
    result = []
    for label in range(classes):
        kept = []
        some = [box for box in candidates if box.get_label() == label]
        for box in sorted(some, key=lambda box: -box.classes[label]):
            if all(box.iou(other) < nms_threshold for other in kept):
                kept.append(box)
        result += kept
    return result


@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(1, 4),
    obj_threshold=st.sampled_from([0.1, 0.5]),
    nms_threshold=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_any_output_gives_the_boxes_of_the_definition(seed, classes, obj_threshold, nms_threshold):
    rng = np.random.default_rng(seed)
    rows, columns, boxes = rng.integers(1, 5, 3)
    output = rng.normal(0, 2, (rows, columns, boxes, 5 + classes))
    anchors = rng.uniform(0.5, 3, (boxes, 2))
    found = decode_output(output, anchors, classes, obj_threshold, nms_threshold)
    expected = slow_decode(output, anchors, classes, obj_threshold, nms_threshold)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.label == other.label
        pairs = [(one.x1, other.x1), (one.y1, other.y1), (one.x2, other.x2), (one.y2, other.y2)]
        pairs += [(one.score, other.score), *zip(one.classes, other.classes, strict=True)]
        for a, b in pairs:  # the same formula in another order of operations
            assert a == pytest.approx(b, rel=1e-12, abs=1e-12)


def test_with_one_class_the_score_is_the_objectness():
    output = np.zeros((1, 1, 1, 6))
    output[..., 4] = 2
    (box,) = decode_output(output, [(1, 1)], 1)
    assert box.classes[0] == box.score


def test_huge_values_neither_overflow_nor_leave_the_image():
    output = np.full((1, 1, 1, 7), 1e4)
    output[..., 5:] = [1e6, -1e6]
    (box,) = decode_output(output, [(1, 1)], 2)
    assert (box.x1, box.y1, box.x2, box.y2, box.score) == (0, 0, 1, 1, 1)
    assert decode_output(-output, [(1, 1)], 2) == []


@pytest.mark.parametrize(
    ("shape", "anchors", "classes", "message"),
    [
        ((2, 2, 2, 7), [(1, 1)], 2, r"\(2, 2, 2, 7\).*1, 7\)"),
        ((2, 2, 1, 7), [(1, 1)], 3, r"1, 8\)"),
        ((2, 2, 7), [(1, 1)], 2, "rows, columns"),
        ((2, 2, 1, 7), [(1, 0)], 2, "positive"),
        ((2, 2, 1, 5), [(1, 1)], 0, "nb_classes is 0"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, anchors, classes, message):
    with pytest.raises(ValueError, match=message):
        decode_output(np.zeros(shape), anchors, classes)


def test_resizing_uses_half_pixel_centres():
    ramp = np.arange(16.0).reshape(4, 4, 1)
    found = preprocess_image(ramp, (2, 2), normalize=False)
    np.testing.assert_array_equal(found[..., 0], [[2.5, 4.5], [10.5, 12.5]])
    normal = preprocess_image(np.array([[[0], [255]]], np.uint8), (1, 2, 1))
    np.testing.assert_array_equal(normal.ravel(), [-1, 1])
    assert normal.dtype == np.float32


@pytest.mark.keras
def test_resizing_agrees_with_tensorflow():
    tf = pytest.importorskip("tensorflow")
    image = np.random.default_rng(0).integers(0, 256, (13, 29, 3)).astype(np.uint8)
    for size in [(7, 50), (26, 11), (13, 29)]:
        expected = tf.image.resize(image, size).numpy()
        found = preprocess_image(image, size, normalize=False)
        # float32 in another order of operations, values up to 255
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_bad_images_are_refused(tmp_path):
    pytest.importorskip("PIL")
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "absent.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="no readable image"):
        load_image(tmp_path / "bad.png")
    with pytest.raises(ValueError, match="3 channels"):
        preprocess_image(np.zeros((4, 4, 1)), (2, 2, 3))
    with pytest.raises(ValueError, match="height, width"):
        preprocess_image(np.zeros((4, 4)), (2, 2))
    with pytest.raises(ValueError, match="output_size"):
        preprocess_image(np.zeros((4, 4, 1)), (2,))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_images_have_three_channels(tmp_path, mode):
    image = pytest.importorskip("PIL.Image")
    image.new(mode, (5, 3)).save(tmp_path / "a.png")
    found = load_image(tmp_path / "a.png")
    assert found.shape == (3, 5, 3)
    assert found.dtype == np.uint8


def test_decoding_needs_neither_keras_nor_tensorflow():
    code = """
import sys
from kerasnsoc.zoo.detection import BoundingBox, decode_output, mean_average_precision
from kerasnsoc.zoo.detection import parse_voc_annotations, synthetic_shapes
from kerasnsoc.zoo.detection.anchors import generate_anchors
assert not {"keras", "tensorflow"} & set(sys.modules)
"""
    subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, env=os.environ.copy(), timeout=60
    )
