"""Annotations, targets, anchors and variations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnsoc.zoo.detection import (
    annotation_targets,
    augment_detection,
    parse_voc_annotations,
    parse_widerface_annotations,
    synthetic_shapes,
)
from kerasnsoc.zoo.detection.anchors import generate_anchors

VOC = """<?xml version="1.0"?>
<annotation>
 <filename>a.jpg</filename>
 <size><width>100</width><height>50</height><depth>3</depth></size>
 <object><name>person</name><difficult>0</difficult>
  <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>
  </part>
  <bndbox><xmin>10.5</xmin><ymin>11.5</ymin><xmax>20</xmax><ymax>30.49</ymax></bndbox>
 </object>
 <object><name>person</name><difficult>1</difficult>
  <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>
 <object><name>head</name>
  <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>
</annotation>
"""


def voc_folder(tmp_path, **files):
    for name, content in files.items():
        (tmp_path / f"{name}.xml").write_text(content)
    (tmp_path / "names.txt").write_text("\n".join([f"  {name} " for name in files] + ["", ""]))
    return tmp_path, tmp_path / "images", tmp_path / "names.txt"


def test_voc_takes_the_boxes_of_objects_alone(tmp_path):
    other = VOC.replace("person", "dog")
    (found,) = parse_voc_annotations(*voc_folder(tmp_path, a=VOC, b=other), ["person", "car"])
    assert found["image_path"] == str(tmp_path / "images" / "a.jpg")
    assert found["image_shape"] == (100, 50, 3)
    # halves to even
    assert found["boxes"] == [{"label": "person", "x1": 10, "y1": 12, "x2": 20, "y2": 30}]


BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]>
<annotation><filename>&y;</filename></annotation>"""
EXTERNAL = """<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<annotation><filename>&x;</filename></annotation>"""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "document type or an entity"),
        (EXTERNAL, "document type or an entity"),
        ("<a>" * 60 + "</a>" * 60, "nests deeper than 50"),
        ("<a>", "no valid XML"),
        ("", "no valid XML"),
        ('<?xml version="1.0" encoding="utf-99"?><a/>', "no valid XML"),
        ("<annotation/>", "<filename> is missing"),
        (" " * (1 << 20) + "x", "larger than"),
        (VOC.replace("a.jpg", "../../secret.jpg"), "out of the folder"),
        (VOC.replace("<width>100", "<width>0"), "0 x 50 pixels"),
        (VOC.replace("10.5", "nan"), "NaN"),
        (VOC.replace("10.5", "inf"), "infinity"),
        (VOC.replace("<xmin>10.5</xmin>", ""), "bndbox/xmin> is missing"),
        (VOC.replace("<difficult>0", "<difficult>maybe"), "invalid literal"),
    ],
)
def test_damaged_and_hostile_voc_files_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        parse_voc_annotations(*voc_folder(tmp_path, a=content), ["person"])


def test_wider_face_keeps_large_faces(tmp_path):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "d").mkdir()
    image.new("RGB", (60, 40)).save(tmp_path / "d" / "one.png")
    image.new("RGB", (60, 40)).save(tmp_path / "d" / "two.png")
    text = "d/one.png\n3\n1 2 8 5 0 0 0 0 0 0\n1 2 8 4 0 0\n5 5 -9 -9\nd/two.png\n0\n0 0 0 0\n"
    (tmp_path / "gt.txt").write_text(text)
    (found,) = parse_widerface_annotations(tmp_path / "gt.txt", tmp_path)
    # 40 of 2400 pixels is exactly a 60th, 32 is less
    assert found["boxes"] == [{"label": "face", "x1": 1, "y1": 2, "x2": 9, "y2": 7}]
    assert found["image_shape"] == (60, 40, 3)
    for bad, error, message in [
        ("d/three.png\n0\n0 0 0 0\n", RuntimeError, "no such image"),
        ("d/one.png\nmany\n", ValueError, "line 2"),
        ("d/one.png\n", ValueError, "line 2"),
        ("d/one.png\n99999999999\n", ValueError, "99999999999 boxes"),
        ("d/one.png\n2\n1 2 30 30\n", ValueError, "line 4"),
        ("gt.txt\n1\n1 2 30 30\n", ValueError, "no readable image"),
    ]:
        (tmp_path / "gt.txt").write_text(bad)
        with pytest.raises(error, match=message):
            parse_widerface_annotations(tmp_path / "gt.txt", tmp_path)


def box(x1, y1, x2, y2, label="a"):
    return {"label": label, "x1": x1, "y1": y1, "x2": x2, "y2": y2}


def test_targets_on_a_grid_that_is_not_square():
    # cells of 10 x 20 pixels, 4 columns and 2 rows
    boxes = [box(11, 2, 19, 18, "b"), box(30, 10, 40, 60), box(5, 5, 5, 9), box(50, 0, 60, 10)]
    found = annotation_targets(boxes, (40, 40, 3), ["a", "b"], [(2, 0.5), (1, 1)], (4, 2))
    assert found.shape == (2, 4, 2, 7)
    np.testing.assert_allclose(found[0, 1, 1], [1.5, 0.5, 0.8, 0.8, 1, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(found[1, 3, 1], [3.5, 1.75, 1, 2.5, 1, 1, 0], rtol=1e-6)
    assert found[..., 4].sum() == 2


def test_a_later_box_takes_the_place_of_an_earlier_one():
    boxes = [box(0, 0, 10, 10, "a"), box(0, 0, 8, 8, "b"), box(0, 0, 9, 9, "unknown")]
    found = annotation_targets(boxes, (10, 10), ["a", "b"], [(1, 1)], (1, 1))
    np.testing.assert_allclose(found[0, 0, 0], [0.4, 0.4, 0.8, 0.8, 1, 0, 1], rtol=1e-6)


def annotations(sizes):
    return [
        {"image_path": "", "image_shape": (100, 50, 3), "boxes": [box(0, 0, w, h)]}
        for w, h in sizes
    ]


def test_anchors_are_the_typical_sizes_in_cells(capsys):
    rng = np.random.default_rng(0)
    centres = np.array([[10, 40], [60, 10], [80, 45]])
    sizes = np.rint(centres.repeat(30, 0) + rng.uniform(-2, 2, (90, 2))).astype(int)
    found = generate_anchors(annotations(sizes), 3, (10, 5), seed=0)
    expected = [sizes[k * 30 : k * 30 + 30].mean(0) / 10 for k in range(3)]
    expected.sort(key=lambda size: size.prod())
    np.testing.assert_allclose(found, np.round(expected, 5), rtol=0, atol=1e-9)
    assert "Average IoU of 90 boxes with 3 anchors: 0." in capsys.readouterr().out
    assert found == generate_anchors(annotations(sizes), 3, (10, 5), seed=0)


@given(seed=st.integers(0, 999), count=st.integers(1, 6))
@settings(max_examples=20)
def test_anchors_stay_within_the_sizes(seed, count):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 50, (max(count, int(rng.integers(1, 20))), 2))
    found = np.array(generate_anchors(annotations(sizes), count, (10, 5), seed=seed))
    assert found.shape == (count, 2)
    assert (found >= 0.1 - 1e-9).all()
    assert (found <= 4.9 + 1e-9).all()
    assert (np.diff(found.prod(axis=1)) >= -1e-4).all()  # rounded to 5 decimals after sorting


def test_alike_and_too_few_boxes(capsys):
    assert generate_anchors(annotations([(10, 10)] * 4), 2, (10, 5)) == [[1.0, 1.0]] * 2
    with pytest.raises(ValueError, match="1 boxes with an area cannot give 2"):
        generate_anchors(annotations([(10, 10), (0, 5)]), 2)
    with pytest.raises(ValueError, match="num_anchors is 0"):
        generate_anchors([], 0)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_boxes_follow_their_image(seed):
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 15:25] = 255
    rng = np.random.default_rng(seed)
    state = np.random.default_rng(seed).bit_generator.state
    from kerasnsoc.zoo.detection import augmentation

    effects, augmentation.EFFECTS = augmentation.EFFECTS, ()
    try:
        found, boxes = augment_detection(image, [box(15, 10, 25, 30)], rng)
    finally:
        augmentation.EFFECTS = effects
    rows, columns = np.nonzero(found[..., 0] > 127)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    (moved,) = boxes
    # edges lie between pixels after resizing
    assert np.abs(np.subtract([moved[k] for k in ("x1", "y1", "x2", "y2")], seen)).max() <= 1
    rng.bit_generator.state = state
    varied, again = augment_detection(image, [box(15, 10, 25, 30)], rng)
    assert again == boxes
    assert varied.shape == image.shape
    assert varied.dtype == np.uint8


@pytest.mark.parametrize("index", range(9))
def test_every_effect_keeps_shape_and_type(index):
    from kerasnsoc.zoo.detection.augmentation import EFFECTS

    image = np.random.default_rng(0).uniform(0, 255, (20, 30, 3)).astype(np.float32)
    kept = image.copy()
    found = EFFECTS[index](image, np.random.default_rng(1))
    assert found.shape == image.shape
    assert found.dtype == np.float32
    np.testing.assert_array_equal(image, kept)
    assert not np.array_equal(found, image)


def test_generated_shapes_are_where_their_boxes_are():
    annotations = synthetic_shapes(20, side=64, seed=3)
    assert len(annotations) == 20
    labels = {b["label"] for one in annotations for b in one["boxes"]}
    assert labels == {"disc", "square", "triangle"}
    for one in annotations:
        assert one["image"].shape == (64, 64, 3)
        for b in one["boxes"]:
            assert 0 <= b["x1"] < b["x2"] <= 64
            assert 0 <= b["y1"] < b["y2"] <= 64
    again = synthetic_shapes(20, side=64, seed=3)
    assert all(
        np.array_equal(a["image"], b["image"]) for a, b in zip(annotations, again, strict=True)
    )
    with pytest.raises(ValueError, match="side 16"):
        synthetic_shapes(1, side=16)


def test_the_package_exports_the_function_that_finds_anchors():
    from kerasnsoc.zoo import detection

    assert detection.generate_anchors is generate_anchors
    assert "generate_anchors" in detection.__all__


def test_a_list_of_images_may_begin_with_a_mark_of_its_encoding(tmp_path):
    *folders, names = voc_folder(tmp_path, a=VOC)
    names.write_text("a\n", encoding="utf-8-sig")
    assert len(parse_voc_annotations(*folders, names, ["person", "car"])) == 1
