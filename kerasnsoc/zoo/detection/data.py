"""Annotations of images: read from the files of two data sets, and turned into training targets."""

from __future__ import annotations

import os
import xml.etree.ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict
from xml.parsers import expat

import numpy as np
import numpy.typing as npt

from kerasnsoc._extras import require

LEAST_FACE_SHARE = 60
"""A face smaller than the image's area divided by this is left out."""

_LARGEST_XML = 1 << 20
_DEEPEST_XML = 50
_MOST_FACES = 100_000


class Box(TypedDict):
    """An object: its name and its corners in pixels."""

    label: str
    x1: int
    y1: int
    x2: int
    y2: int


class Annotation(TypedDict):
    """An image with its objects; `image_shape` is (width, height, depth).

    `image`, uint8 of shape (height, width, 3), stands in for the file where it is given.
    """

    image_path: str
    image_shape: tuple[int, int, int]
    boxes: list[Box]
    image: NotRequired[npt.NDArray[np.uint8]]


def parse_voc_annotations(
    gt_folder: str | os.PathLike[str],
    image_folder: str | os.PathLike[str],
    file_path: str | os.PathLike[str],
    labels: Sequence[str],
) -> list[Annotation]:
    """Annotations in the format of PASCAL VOC.

    Parameters
    ----------
    gt_folder : path
        With ``<name>.xml`` of each image.
    image_folder : path
    file_path : path
        A text file with one name per line.
    labels : sequence of str
        Classes to keep; objects marked as difficult are left out as well.

    Returns
    -------
    list of Annotation
        Without the images that keep no box.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If an XML file is damaged, too large, or declares entities or a document type, which
        annotations never need and attacks do.
    """
    annotations = []
    for path, root in _voc_files(gt_folder, file_path):
        try:
            annotation = _voc_annotation(root, Path(image_folder), set(labels))
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{str(path)!r} is no VOC annotation: {error}") from None
        if annotation["boxes"]:
            annotations.append(annotation)
    return annotations


def voc_labels(gt_folder: str | os.PathLike[str], file_path: str | os.PathLike[str]) -> list[str]:
    """Labels of the objects in annotations in the format of PASCAL VOC, sorted.

    Parameters
    ----------
    gt_folder, file_path : path
        As for `parse_voc_annotations`, which says what is raised; objects marked as difficult do
        not count.
    """
    found = set()
    for path, root in _voc_files(gt_folder, file_path):
        for one in root.findall("object"):
            try:
                if not _is_difficult(one):
                    found.add(_voc_text(one, "name"))
            except ValueError as error:
                raise ValueError(f"{str(path)!r} is no VOC annotation: {error}") from None
    return sorted(found)


def parse_widerface_annotations(
    gt_file: str | os.PathLike[str], image_folder: str | os.PathLike[str]
) -> list[Annotation]:
    """Annotations in the format of WIDER FACE; all boxes have the label ``"face"``.

    Parameters
    ----------
    gt_file : path
        Blocks of an image's path, a number of boxes and that many lines ``x y w h ...``.
    image_folder : path
        Only the headers of the images are read.

    Returns
    -------
    list of Annotation
        Without faces smaller than a 60th of their image, and without images that keep no box.

    Raises
    ------
    OSError
        If the text file cannot be read.
    RuntimeError
        If an image is missing.
    ValueError
        If the text or an image is damaged.
    ImportError
        If Pillow is not installed.
    """
    annotations = []
    lines = Path(gt_file).read_text(encoding="utf-8-sig").splitlines()
    place = 0
    while place < len(lines):
        name = lines[place].strip()
        place += 1
        if not name:
            continue
        count = _integers(gt_file, lines, place, 1)[0]
        if not 0 <= count <= _MOST_FACES:
            raise ValueError(
                f"{os.fspath(gt_file)!r}, line {place + 1}: {count} boxes, allowed are 0 to "
                f"{_MOST_FACES}"
            )
        place += 1
        path = Path(image_folder) / name
        width, height = _image_size(path)
        boxes: list[Box] = []
        for row in range(place, place + count):
            x, y, w, h = _integers(gt_file, lines, row, 4)
            if w > 0 and h > 0 and LEAST_FACE_SHARE * w * h >= width * height:
                boxes.append({"label": "face", "x1": x, "y1": y, "x2": x + w, "y2": y + h})
        place += max(count, 1)  # without boxes, a line of zeros follows
        if boxes:
            annotations.append(
                Annotation(image_path=str(path), image_shape=(width, height, 3), boxes=boxes)
            )
    return annotations


def annotation_targets(
    boxes: Sequence[Box],
    image_shape: Sequence[int],
    labels: Sequence[str],
    anchors: npt.ArrayLike,
    grid_size: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """What a detector should give for the boxes of an image.

    Parameters
    ----------
    boxes : list of Box
        In pixels. Boxes without area, outside or of other labels are left out; of two boxes in one
        place, the later one counts.
    image_shape : (width, height) or (width, height, depth)
    labels : sequence of str
        Names of the classes.
    anchors : array of float, shape (anchors, 2)
        In grid cells.
    grid_size : (columns, rows)

    Returns
    -------
    ndarray of float32, shape (rows, columns, anchors, 5 + classes)
        Centre x and y, width, height (all in cells from the image's corner), 1 for an object, and
        the class as one-hot, in the slot of the anchor whose shape is most alike.
    """
    from kerasnsoc.zoo.detection.anchors import corner_iou
    from kerasnsoc.zoo.detection.processing import _check_anchors

    sizes = _check_anchors(anchors)
    columns, rows = grid_size
    targets = np.zeros((rows, columns, len(sizes), 5 + len(labels)), np.float32)
    cell = np.array([image_shape[0] / columns, image_shape[1] / rows])
    for box in boxes:
        low, high = np.array([box["x1"], box["y1"]]), np.array([box["x2"], box["y2"]])
        if (high <= low).any() or box["label"] not in labels:
            continue
        centre, size = (low + high) / 2 / cell, (high - low) / cell
        column, row = np.floor(centre).astype(int)
        if not (0 <= column < columns and 0 <= row < rows):
            continue
        anchor = corner_iou(size[None], sizes)[0].argmax()
        slot = targets[row, column, anchor]
        slot[:] = 0
        slot[:5] = [*centre, *size, 1]
        slot[5 + list(labels).index(box["label"])] = 1
    return targets


def _safe_xml(path: Path) -> xml.etree.ElementTree.Element:
    with path.open("rb") as file:
        content = file.read(_LARGEST_XML + 1)
    if len(content) > _LARGEST_XML:
        raise ValueError(f"{str(path)!r} is larger than {_LARGEST_XML} bytes")
    depth = 0

    def refuse(*_: Any) -> None:
        raise ValueError(f"{str(path)!r} declares a document type or an entity, which is refused")

    def enter(*_: Any) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST_XML:
            raise ValueError(f"{str(path)!r} nests deeper than {_DEEPEST_XML} elements")

    def leave(*_: Any) -> None:
        nonlocal depth
        depth -= 1

    # The parser of the tree gives no access to declarations, so another one looks first.
    scout = expat.ParserCreate()
    scout.StartDoctypeDeclHandler = refuse
    scout.EntityDeclHandler = refuse
    scout.StartElementHandler = enter
    scout.EndElementHandler = leave
    try:
        scout.Parse(content, True)
        return xml.etree.ElementTree.fromstring(content)
    except (expat.ExpatError, xml.etree.ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"{str(path)!r} is no valid XML: {error}") from None


def _voc_files(
    gt_folder: str | os.PathLike[str], file_path: str | os.PathLike[str]
) -> Iterator[tuple[Path, xml.etree.ElementTree.Element]]:
    for name in Path(file_path).read_text(encoding="utf-8-sig").split("\n"):
        if name.strip():
            path = Path(gt_folder) / f"{name.strip()}.xml"
            yield path, _safe_xml(path)


def _voc_text(element: xml.etree.ElementTree.Element, path: str) -> str:
    found = element.find(path)
    if found is None or not (found.text or "").strip():
        raise ValueError(f"<{path}> is missing in <{element.tag}>")
    return (found.text or "").strip()


def _is_difficult(element: xml.etree.ElementTree.Element) -> bool:
    difficult = element.find("difficult")
    return difficult is not None and int(difficult.text or 0) != 0


def _voc_annotation(
    root: xml.etree.ElementTree.Element, image_folder: Path, labels: set[str]
) -> Annotation:
    filename = _voc_text(root, "filename")
    if Path(filename).name != filename:
        raise ValueError(f"the file name {filename!r} leads out of the folder")
    width, height, depth = (
        int(_voc_text(root, f"size/{name}")) for name in ("width", "height", "depth")
    )
    if min(width, height) < 1:
        raise ValueError(f"an image of {width} x {height} pixels")
    boxes: list[Box] = []
    for found in root.findall("object"):  # direct children: parts are deeper
        name = _voc_text(found, "name")
        if name not in labels or _is_difficult(found):
            continue
        x1, y1, x2, y2 = (
            round(float(_voc_text(found, f"bndbox/{corner}")))
            for corner in ("xmin", "ymin", "xmax", "ymax")
        )
        boxes.append({"label": name, "x1": x1, "y1": y1, "x2": x2, "y2": y2})
    return Annotation(
        image_path=str(image_folder / filename), image_shape=(width, height, depth), boxes=boxes
    )


def _integers(
    path: str | os.PathLike[str], lines: Sequence[str], index: int, count: int
) -> list[int]:
    line = lines[index] if index < len(lines) else ""
    try:
        numbers = [int(word) for word in line.split()[:count]]
    except ValueError:
        numbers = []
    if len(numbers) < count:
        raise ValueError(
            f"{os.fspath(path)!r}, line {index + 1}: {line[:60]!r} does not begin with {count} "
            f"integer{'' if count == 1 else 's'}"
        )
    return numbers


def _image_size(path: Path) -> tuple[int, int]:
    image = require("PIL.Image", "images")
    try:
        with image.open(path) as file:
            width, height = file.size
    except FileNotFoundError:
        raise RuntimeError(f"{str(path)!r} is annotated, but there is no such image") from None
    except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:
        raise ValueError(f"{str(path)!r} is no readable image: {error}") from None
    return int(width), int(height)
