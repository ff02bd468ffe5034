"""Recipes on images: handwritten digits, CIFAR-10, ages of faces, vibrations as images."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc._extras import require
from kerasnsoc.zoo import _home
from kerasnsoc.zoo.recipes.task import Data, Schedule, Step, Task
from kerasnsoc.zoo.recipes.variations import flip_shift_cut, mirror

CIFAR_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CIFAR_WIDTH = 0.7
"""Width of the CIFAR-10 network for an accelerator, whose artifact stays below 1 MB."""

CIFAR_SMALL_WIDTH = 0.25
"""Of the one that is trained on two processor cores."""

_CWRU_TRAIN = 3600
_CWRU_SEED = 42


def find(path: Path | None, name: str, hint: str) -> Path:
    """The given path, or the place in the data-set folder."""
    found = _home.datasets_folder() / name if path is None else path
    if not found.exists():
        raise FileNotFoundError(
            f"{found} does not exist. {hint} Put it there, or give its path with --data."
        )
    return found


def load_mnist(path: Path | None, seed: int) -> Data:
    """MNIST from the usual ``mnist.npz`` (x_train, y_train, x_test, y_test)."""
    del seed
    hint = "MNIST is read from an archive of arrays x_train, y_train, x_test and y_test."
    x_train, y_train, x_test, y_test = _arrays(find(path, "mnist.npz", hint))
    return Data(
        x_train.reshape(-1, 28, 28, 1),
        y_train,
        x_test.reshape(-1, 28, 28, 1),
        y_test,
        tuple("0123456789"),
        "MNIST",
        "the official 10,000 test images",
    )


def load_cifar10(path: Path | None, seed: int) -> Data:
    """CIFAR-10 from an .npz, or a folder or tar of ``train/<class>/*`` and ``test/<class>/*``."""
    del seed
    hint = (
        "CIFAR-10 is read from an .npz with x_train, y_train, x_test and y_test, or a folder or "
        "tar archive with images in train/<class>/ and test/<class>/."
    )
    found = find(path, "cifar10.npz" if path is None else "", hint)
    if found.suffix == ".npz":
        x_train, y_train, x_test, y_test = _arrays(found)
    else:
        parts: dict[str, tuple[list[Any], list[int]]] = {"train": ([], []), "test": ([], [])}
        for part, label, image in _images(found):
            parts[part][0].append(image)
            parts[part][1].append(CIFAR_CLASSES.index(label))
        if not all(images for images, _ in parts.values()):
            raise ValueError(f"{found} holds no images in train/<class>/ and test/<class>/")
        (x_train, y_train), (x_test, y_test) = (
            (np.stack(parts[part][0]), np.array(parts[part][1])) for part in ("train", "test")
        )
    return Data(
        x_train,
        y_train.reshape(-1),
        x_test,
        y_test.reshape(-1),
        CIFAR_CLASSES,
        "CIFAR-10",
        "the official 10,000 test images",
        augment=flip_shift_cut,
    )


def load_cifar10_small(path: Path | None, seed: int) -> Data:
    """The same, mirrored only: a small network, trained for a short time, needs no more."""
    return replace(load_cifar10(path, seed), augment=mirror)


def load_utk_face(path: Path | None, seed: int) -> Data:
    """Ages of faces from ``train`` and ``test`` folders, see `kerasnsoc.zoo.utk_face`."""
    del seed
    from kerasnsoc.zoo.utk_face.preprocessing import load_data

    x_train, y_train, x_test, y_test = load_data() if path is None else load_data(data_dir=path)
    return Data(
        x_train.astype(np.uint8),
        y_train.astype(np.float32),
        x_test.astype(np.uint8),
        y_test.astype(np.float32),
        ("age",),
        "UTKFace",
        "the folder test",
        augment=mirror,
    )


def load_cwru(path: Path | None, seed: int) -> Data:
    """Vibrations of bearings from an .npz with data (n, 1024) and labels."""
    del seed
    hint = "The CWRU bearing data are read from an .npz with arrays data (n, 1024) and labels."
    found = find(path, "cwru.npz", hint)
    with np.load(found, allow_pickle=False) as file:
        segments, labels = file["data"].astype(np.float64), file["labels"].reshape(-1)
    largest = np.abs(segments).max(axis=1, keepdims=True)
    scaled = np.rint(segments / np.where(largest > 0, largest, 1) * 127) + 127
    x = scaled.astype(np.uint8).reshape(-1, 32, 32, 1)
    order = np.random.default_rng(_CWRU_SEED).permutation(len(x))
    train, test = order[:_CWRU_TRAIN], order[_CWRU_TRAIN:]
    return Data(
        x[train],
        labels[train],
        x[test],
        labels[test],
        tuple(map(str, range(10))),
        "CWRU bearing data",
        f"all but {_CWRU_TRAIN} segments",
    )


def _arrays(path: Path) -> list[npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        names = ("x_train", "y_train", "x_test", "y_test")
        missing = [name for name in names if name not in file]
        if missing:
            raise ValueError(f"{path} has no arrays {missing}; it holds {sorted(file)}")
        return [file[name] for name in names]


def _images(path: Path) -> Iterator[tuple[str, str, npt.NDArray[Any]]]:
    """Part, class and pixels of each image, in the order of the names."""
    image = require("PIL.Image", "images")

    def pixels(content: bytes) -> npt.NDArray[Any]:
        with image.open(io.BytesIO(content)) as opened:
            return np.asarray(opened.convert("RGB"), np.uint8)

    if path.is_dir():
        for part in ("train", "test"):
            for file in sorted((path / part).glob("*/*")):
                yield part, file.parent.name, pixels(file.read_bytes())
        return
    with tarfile.open(path) as archive:
        for member in archive:
            names = Path(member.name).parts[-3:]
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and len(names) == 3 and names[0] in ("train", "test"):
                yield names[0], names[1], pixels(content.read())


def _gxnor() -> Any:
    from kerasnsoc.zoo.gxnor import gxnor_mnist

    return gxnor_mnist()


def _cifar() -> Any:
    from kerasnsoc.zoo.ds_cnn import ds_cnn_cifar10

    return ds_cnn_cifar10(alpha=CIFAR_WIDTH)


def _small_cifar() -> Any:
    from kerasnsoc.zoo.ds_cnn import ds_cnn_cifar10

    return ds_cnn_cifar10(alpha=CIFAR_SMALL_WIDTH)


def _face() -> Any:
    from kerasnsoc.zoo.vgg import vgg_utk_face

    return vgg_utk_face()


def _bearing() -> Any:
    from kerasnsoc.zoo.convtiny import convtiny_cwru

    return convtiny_cwru()


MNIST = Task(
    name="mnist",
    key="gxnor_mnist",
    helper="gxnor_mnist_pretrained",
    load=load_mnist,
    build=_gxnor,
    steps=(
        Step(6, 2e-3),
        Step(2, 5e-4, (4, 4, 4)),
        Step(3, 1e-3, (2, 2, 2)),
        Step(6, 1e-3, (2, 2, 1)),
    ),
    batch=128,
    scaling=(255.0, 0),
    train=Schedule("constant", 1e-4, batch=32),
    tune=Schedule("constant", 5e-5, batch=32),
    data_license="CC BY-SA 3.0 (MNIST, Y. LeCun and C. Cortes)",
)

CIFAR10 = Task(
    name="cifar10",
    key=f"ds_cnn_cifar10/{CIFAR_WIDTH}",
    helper="ds_cnn_cifar10_pretrained",
    load=load_cifar10,
    build=_cifar,
    steps=(Step(100, 2e-3), Step(12, 5e-4, (8, 8, 8)), Step(40, 1e-3, (8, 4, 4))),
    batch=128,
    scaling=(255.0, 0),
    train=Schedule("cosine", 1e-3),
    tune=Schedule("cosine", 1e-3),
    data_license="none stated (CIFAR-10, A. Krizhevsky)",
)

CIFAR10_SMALL = replace(
    CIFAR10,
    name="cifar10-small",
    key=f"ds_cnn_cifar10/{CIFAR_SMALL_WIDTH}",
    load=load_cifar10_small,
    build=_small_cifar,
    steps=(Step(16, 3e-3, crop=24), Step(5, 1e-3, (8, 4, 4), crop=24)),
)

UTK_FACE = Task(
    name="utk_face",
    key="vgg_utk_face",
    helper="vgg_utk_face_pretrained",
    load=load_utk_face,
    build=_face,
    steps=(Step(300, 1e-3), Step(30, 5e-4, (8, 4, 4)), Step(30, 5e-4, (8, 2, 2))),
    batch=128,
    scaling=(127.0, 127),
    train=Schedule("exponential", 1e-3, 1e-4),
    tune=Schedule("exponential", 1e-3, 1e-4),
    data_license="non-commercial research (UTKFace)",
    kind="number",
)

CWRU = Task(
    name="cwru",
    key="convtiny_cwru",
    helper="convtiny_cwru_pretrained",
    load=load_cwru,
    build=_bearing,
    steps=(Step(30, 1e-3), Step(10, 1e-3, (8, 4, 4)), Step(10, 1e-3, (8, 2, 4))),
    batch=128,
    scaling=(1.0, 127),
    train=Schedule("constant", 1e-3),
    tune=Schedule("constant", 1e-3),
    data_license="free for research, source to be named (CWRU Bearing Data Center)",
)
