"""Detectors on folders of annotated images."""

import json

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from kerasnsoc import calibrate, cli, convert, quantize
from kerasnsoc.zoo.detection import synthetic_shapes, voc_labels
from kerasnsoc.zoo.recipes.annotated import (
    check_anchors,
    load_annotated,
    output_of,
    with_generated_anchors,
)

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.keras

SIDE = 64


def command(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


def save_image(path, annotation):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(annotation["image"]).save(path)


@pytest.fixture
def voc(tmp_path):
    """Six images to train on and three to measure with."""
    folder = tmp_path / "shapes"
    (folder / "Annotations").mkdir(parents=True)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    names = [f"{index:06}" for index in range(9)]
    for name, annotation in zip(names, synthetic_shapes(9, SIDE, seed=2), strict=True):
        save_image(folder / "JPEGImages" / f"{name}.png", annotation)
        objects = "".join(
            f"<object><name>{box['label']}</name><bndbox><xmin>{box['x1']}</xmin>"
            f"<ymin>{box['y1']}</ymin><xmax>{box['x2']}</xmax><ymax>{box['y2']}</ymax></bndbox>"
            "</object>"
            for box in annotation["boxes"]
        )
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.png</filename><size><width>{SIDE}</width><height>{SIDE}"
            f"</height><depth>3</depth></size>{objects}</annotation>"
        )
    for part, some in (("train", names[:4]), ("val", names[4:6]), ("test", names[6:])):
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(some) + "\n")
    (folder / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(names[:6]))
    return folder


def detector(channels):
    image = keras.Input((SIDE, SIDE, 3))
    return keras.Model(image, keras.layers.Conv2D(channels, 32, 32)(image))


def test_parts_and_labels_of_a_voc_folder(voc):
    data = load_annotated(voc)
    assert data.classes == ("disc", "square", "triangle")
    assert (len(data.detection["train"]), len(data.detection["test"])) == (6, 3)
    assert data.split.startswith("3 images of test.txt")
    assert all("image" not in one for one in data.detection["train"])
    lists = voc / "ImageSets" / "Main"
    assert voc_labels(voc / "Annotations", lists / "trainval.txt") == list(data.classes)
    some = load_annotated(voc, ("triangle", "disc"))
    assert some.classes == ("triangle", "disc")
    found = {box["label"] for one in some.detection["train"] for box in one["boxes"]}
    assert found == {"triangle", "disc"}
    (lists / "test.txt").unlink()
    assert len(load_annotated(voc).detection["train"]) == 4
    for labels in (("disc", "cow"), ("disc", "disc")):
        with pytest.raises(ValueError, match="must be some of disc, square, triangle, each once"):
            load_annotated(voc, labels)


def test_damaged_folders(voc, tmp_path):
    with pytest.raises(FileNotFoundError, match="neither the folder"):
        load_annotated(tmp_path)
    lists = voc / "ImageSets" / "Main"
    (voc / "JPEGImages" / "000001.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 annotated images do not exist, such as .*1\.png"
    ):
        load_annotated(voc)
    (lists / "test.txt").write_text("")
    with pytest.raises(ValueError, match=r"no image with an object of .* to test"):
        load_annotated(voc)
    for name in ("test", "val"):
        (lists / f"{name}.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold trainval\.txt or train\.txt"):
        load_annotated(voc)


def test_wider_face_folders(tmp_path):
    (tmp_path / "wider_face_split").mkdir()
    for part in ("train", "val"):
        (annotation,) = synthetic_shapes(1, SIDE)
        save_image(tmp_path / f"WIDER_{part}" / "images" / "0--Parade" / "a.png", annotation)
        text = "0--Parade/a.png\n1\n5 6 30 40 0 0 0 0 0 0\n"
        (tmp_path / "wider_face_split" / f"wider_face_{part}_bbx_gt.txt").write_text(text)
    data = load_annotated(tmp_path)
    assert data.classes == ("face",)
    assert data.detection["test"][0]["boxes"][0]["x2"] == 35
    assert data.detection["train"] != data.detection["test"]
    with pytest.raises(ValueError, match="must be some of face"):
        load_annotated(tmp_path, ("person",))


def test_networks_and_labels_fit(voc, tmp_path):
    data = load_annotated(voc)
    lines = []
    found = with_generated_anchors(data, (2, 2, 16), 1, lines.append)
    assert len(found.detection["anchors"]) == 2
    assert json.loads(lines[0].split("-ap: ")[1]) == found.detection["anchors"]
    again = with_generated_anchors(data, (2, 2, 16), 1, lines.append)
    assert again.detection["anchors"] == found.detection["anchors"]
    check_anchors(16, found)
    with pytest.raises(ValueError, match=r"has 12 outputs in each cell, but 2 anchors .* need 16"):
        check_anchors(12, found)
    with pytest.raises(ValueError, match="has 12 outputs in each cell, which is no multiple of 8"):
        with_generated_anchors(data, (2, 2, 12), 1, lines.append)
    path, artifact = tmp_path / "net.keras", tmp_path / "net.h5"
    image = keras.Input((32, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same")(image)
    x = keras.layers.Conv2D(16, 3, strides=8, padding="same")(keras.layers.ReLU(6.0)(x))
    model = quantize(keras.Model(image, x), 4, 4, 8)
    calibrate(model, np.ones((2, 32, SIDE, 3), np.float32))
    model.save(path)
    convert(model, artifact, input_scaling=(128, 128))
    assert output_of(path) == output_of(artifact) == (2, 1, 16)
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    with pytest.raises(ValueError, match="but a detector has a grid"):
        output_of(path)


def test_training_on_a_folder_by_command(voc, tmp_path):
    path, anchors = tmp_path / "net.keras", tmp_path / "anchors.json"
    detector(14).save(path)
    data = ("-d", voc, "--labels", "square, disc")
    done = command("train", "yolo", "train", "-m", path, "-e", 1, *data, "-b", 4, "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["classes"] == ["square", "disc"]
    assert len(result["anchors"]) == 2
    assert "anchors from 5 training images" in done.stderr
    anchors.write_text(json.dumps(result["anchors"]))
    # by the same seed, the same anchors
    for more in (("-ap", anchors), ()):
        done = command("train", "yolo", "eval", "-m", path, *data, *more, "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["value"] == result["value"]
    done = command("train", "yolo", "tune", "-m", path, "-e", 1, "-d", voc, "-ap", anchors)
    assert done.exit_code == 1
    assert "has 14 outputs in each cell, but 2 anchors with 5 + 3 values need 16" in done.output
    done = command("train", "yolo", "run", "-o", tmp_path / "run", "-d", voc)
    assert done.exit_code == 1
    assert "run and prune generate their data" in done.output
