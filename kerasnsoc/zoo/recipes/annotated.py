"""Folders of annotated images for detectors: Pascal VOC and WIDER FACE."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasnsoc.zoo.detection.anchors import generate_anchors
from kerasnsoc.zoo.detection.data import (
    Annotation,
    parse_voc_annotations,
    parse_widerface_annotations,
    voc_labels,
)
from kerasnsoc.zoo.recipes.task import Data

_VOC = Path("ImageSets/Main")
_VOC_PAIRS = (("trainval", "test"), ("train", "test"), ("train", "val"))
_FACES = Path("wider_face_split")


def load_annotated(path: Path, labels: Sequence[str] = ()) -> Data:
    """Annotations of a folder; images are read when a batch needs them.

    Parameters
    ----------
    path : Path
        In the layout of Pascal VOC, with the folders ``Annotations`` and ``JPEGImages`` and the
        lists ``trainval.txt`` or ``train.txt``, and ``test.txt`` or ``val.txt``, in
        ``ImageSets/Main``; or in that of WIDER FACE, with ``wider_face_split``, ``WIDER_train`` and
        ``WIDER_val``.
    labels : sequence of str
        Classes in their order; objects of others are left out. Default: all that occur, sorted.

    Returns
    -------
    Data
        Without anchors.

    Raises
    ------
    FileNotFoundError
        If the folder has another layout, or images are missing.
    ValueError
        If a file is damaged, a label does not occur or is given twice, or nothing is left to train
        on or to measure with.
    """
    if (path / _VOC).is_dir():
        name = "Pascal VOC"
        parts, names, split = _voc(path, labels)
    elif (path / _FACES).is_dir():
        name = "WIDER FACE"
        parts, names, split = _faces(path)
    else:
        raise FileNotFoundError(
            f"{path} has neither the folder {_VOC} of Pascal VOC nor {_FACES} of WIDER FACE"
        )
    chosen = tuple(labels) or tuple(names)
    if len(set(chosen)) < len(chosen) or not set(chosen) <= set(names):
        raise ValueError(
            f"the labels are {', '.join(chosen)}, but must be some of {', '.join(names)}, each once"
        )
    empty = [part for part, images in parts.items() if not images]
    if empty:
        raise ValueError(f"{path} has no image with an object of {', '.join(chosen)} to {empty[0]}")
    paths = [Path(one["image_path"]) for images in parts.values() for one in images]
    missing = [image for image in paths if not image.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} annotated images do not exist, such as {missing[0]}"
        )
    nothing = np.zeros(0)
    return Data(
        *(nothing, nothing, nothing, nothing),
        chosen,
        f"{path.name}, in the layout of {name}",
        f"{len(parts['test'])} images of {split}, intersection over union 0.5",
        detection=parts,
    )


def with_generated_anchors(
    data: Data, output: tuple[int, int, int], seed: int, echo: Callable[[str], None]
) -> Data:
    """The data with as many anchors as a network has, found in the training annotations.

    Parameters
    ----------
    data : Data
        Of `load_annotated`.
    output : (columns, rows, channels)
        Of the network.
    seed : int
        The same seed finds the same anchors.
    echo : callable
        Receives a line with the anchors.

    Raises
    ------
    ValueError
        If the channels are none of a detector for so many classes.
    """
    *grid, channels = output
    values = 5 + len(data.classes)
    count, rest = divmod(channels, values)
    if rest or not count:
        raise ValueError(
            f"the model has {channels} outputs in each cell, which is no multiple of {values}: 5 + "
            f"{len(data.classes)} for the classes {', '.join(data.classes)}. Create the model with "
            f"-c {len(data.classes)}, or choose others with --labels."
        )
    train = data.detection["train"]
    anchors = generate_anchors(train, count, (grid[0], grid[1]), seed=seed)
    echo(f"anchors from {len(train)} training images, for a file of -ap: {json.dumps(anchors)}")
    return replace(data, detection={**data.detection, "anchors": anchors})


def check_anchors(channels: int, data: Data) -> None:
    """Refuse a detector that was made for another number of anchors or classes.

    Raises
    ------
    ValueError
    """
    anchors, classes = len(data.detection["anchors"]), len(data.classes)
    if channels != anchors * (5 + classes):
        raise ValueError(
            f"the model has {channels} outputs in each cell, but {anchors} anchors with 5 + "
            f"{classes} values need {anchors * (5 + classes)}. Create the model with -c {classes} "
            f"-na {anchors}, or give other anchors or classes."
        )


def output_of(path: Path) -> tuple[int, int, int]:
    """Columns, rows and channels of the output of a model file or an artifact."""
    with open(path, "rb") as file:
        is_artifact = file.read(5) == b"KNSOC"
    if is_artifact:
        from kerasnsoc.runtime import Model

        columns, rows, channels = Model(path).output_dims
        return columns, rows, channels
    from kerasnsoc.quantization import load_quantized_model

    model: Any = load_quantized_model(path, compile=False)
    shape = model.output_shape
    if len(shape) != 4 or None in shape[1:]:
        raise ValueError(f"{path} has an output of shape {shape}, but a detector has a grid")
    return shape[2], shape[1], shape[3]


def _voc(path: Path, labels: Sequence[str]) -> tuple[dict[str, list[Annotation]], list[str], str]:
    lists = path / _VOC
    for train, test in _VOC_PAIRS:
        if (lists / f"{train}.txt").is_file() and (lists / f"{test}.txt").is_file():
            break
    else:
        raise FileNotFoundError(
            f"{lists} must hold trainval.txt or train.txt, and test.txt; or train.txt and val.txt"
        )
    files = {"train": lists / f"{train}.txt", "test": lists / f"{test}.txt"}
    folder = path / "Annotations"
    names = sorted({name for file in files.values() for name in voc_labels(folder, file)})
    parts = {
        part: parse_voc_annotations(folder, path / "JPEGImages", file, labels or names)
        for part, file in files.items()
    }
    return parts, names, files["test"].name


def _faces(path: Path) -> tuple[dict[str, list[Annotation]], list[str], str]:
    parts = {
        part: parse_widerface_annotations(
            path / _FACES / f"wider_face_{name}_bbx_gt.txt", path / f"WIDER_{name}" / "images"
        )
        for part, name in (("train", "train"), ("test", "val"))
    }
    return parts, ["face"], "WIDER_val"
