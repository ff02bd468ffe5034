"""ModelNet40: from meshes to batches of grouped points."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kerasnsoc._extras import require
from kerasnsoc.artifact.atomic import write_atomically
from kerasnsoc.zoo._home import datasets_folder
from kerasnsoc.zoo.modelnet40.grouping import folding, group_points
from kerasnsoc.zoo.modelnet40.meshes import read_off, sample_surface

if TYPE_CHECKING:
    import tensorflow as tf

JITTER = 0.005
TEST_SEED = 0
_LARGEST_ARCHIVE = 20 << 30

Points = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def get_modelnet_from_file(
    num_points: int, filename: str | os.PathLike[str] = "ModelNet40.zip", *, seed: int = 0
) -> tuple[Points, Labels, Points, Labels, dict[int, str]]:
    """Points on the surfaces of all meshes.

    The result is kept as ``<name>_<num_points>pts.npz`` in the data-set folder (``datasets`` in
    the folder that ``KERASNSOC_HOME`` names) and read from there, or from the current folder, the
    next time, unless the seed or the source is another one then. Where the source is gone, the
    seed alone counts.

    Parameters
    ----------
    num_points : int
        Of each mesh.
    filename : path
        A folder with ``<class>/train/*.off`` and ``<class>/test/*.off``, or its zip, here or in
        the data-set folder. It is never downloaded.
    seed : int
        Of the points.

    Returns
    -------
    train_points, train_labels, test_points, test_labels : ndarray
        float32 of shape (meshes, num_points, 3), the largest coordinate of each mesh 1 in
        magnitude; int64 of shape (meshes,).
    class_map : dict of int to str

    Raises
    ------
    FileNotFoundError
        If there is no such data; the message says what to put where.
    ValueError
        If a file is damaged or a mesh has no area.
    """
    if num_points < 1:
        raise ValueError(f"num_points is {num_points}, but must be at least 1")
    source = Path(filename)
    kept = f"{source.stem}_{num_points}pts.npz"
    found = next((p for p in (source, datasets_folder() / source) if p.exists()), None)
    origin = None if found is None else _identity(found)
    for folder in (Path(), datasets_folder()):
        if (folder / kept).is_file():
            known = _read(folder / kept, num_points, seed, origin)
            if known is not None:
                return known
    if found is None or origin is None:
        raise FileNotFoundError(
            f"{str(source)!r} is neither here nor in {str(datasets_folder())!r}, nor are points "
            f"that were sampled with the seed {seed}. ModelNet40 is for academic use and is not "
            "downloaded: put its zip or its folder there."
        )
    result = _sample_all(_extracted(found), num_points, seed)
    stream = BytesIO()
    names = ("train_points", "train_labels", "test_points", "test_labels")
    arrays: dict[str, Any] = dict(zip(names, result[:4], strict=True))
    arrays |= {"class_map": json.dumps(result[4]), "seed": seed, "source": origin}
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    datasets_folder().mkdir(parents=True, exist_ok=True)
    write_atomically(str(datasets_folder() / kept), stream.getvalue())
    return result


def get_modelnet(
    train_points: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_points: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    batch_size: int,
    selected_points: int = 128,
    knn_points: int = 64,
    *,
    seed: int = 0,
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Batches of grouped points for `kerasnsoc.zoo.pointnet_plus_modelnet40`.

    Training clouds are shuffled and jittered, and each batch selects its points anew; all test
    clouds are seen through the same selection, every time.

    Parameters
    ----------
    train_points, test_points : array of float, shape (clouds, points, features)
        Of -1 to 1; `train_points` may be empty, of any shape.
    train_labels, test_labels : array of int, shape (clouds,)
    batch_size : int
    selected_points, knn_points : int
        Groups of a cloud and their size; see `group_points`.
    seed : int
        Of the training data.

    Returns
    -------
    train, test : tf.data.Dataset
        Of (groups, labels).

    Raises
    ------
    ValueError
        If a shape or size does not fit.
    ImportError
        If TensorFlow is not installed.
    """
    tf = require("tensorflow", "train")
    parts = []
    for points, labels in ((train_points, train_labels), (test_points, test_labels)):
        x, y = np.asarray(points, np.float32), np.asarray(labels)
        if points is train_points and not len(x) and not len(y):
            # no clouds have no points either: the shape is that of the others
            x = np.empty((0, *np.shape(test_points)[1:]), np.float32)
            y = np.empty(0, np.int64)
        if x.ndim != 3 or y.shape != x.shape[:1]:
            raise ValueError(
                f"points have shape {x.shape} and labels {y.shape}, but (clouds, points, features) "
                "and (clouds,) are needed"
            )
        _check_sizes(x.shape[1], selected_points, knn_points)
        parts.append((x, y))
    (x_train, y_train), (x_test, y_test) = parts
    rng = np.random.default_rng(seed)
    rows = folding(knn_points)

    def grouped(is_training: bool, x: Any, y: Any) -> Any:
        def group(clouds: Points) -> Points:
            count = clouds.shape[1]
            if not is_training:
                chosen = np.random.default_rng(TEST_SEED).permutation(count)[:selected_points]
                return group_points(clouds, chosen, knn_points)
            clouds = clouds + rng.uniform(-JITTER, JITTER, clouds.shape).astype(np.float32)
            shuffled = rng.permuted(np.tile(np.arange(count), (len(clouds), 1)), axis=1)
            clouds = np.take_along_axis(clouds, shuffled[..., None], axis=1)
            return group_points(clouds, rng.permutation(count)[:selected_points], knn_points)

        groups = tf.numpy_function(group, [x], tf.float32, stateful=is_training)
        groups.set_shape((None, selected_points * rows, knn_points // rows, x.shape[-1]))
        return groups, y

    train = tf.data.Dataset.from_tensor_slices((x_train, y_train))
    if len(x_train):
        train = train.shuffle(len(x_train), seed=seed)
    test = tf.data.Dataset.from_tensor_slices((x_test, y_test))
    batches = [
        data.batch(batch_size).map(lambda x, y, is_training=is_training: grouped(is_training, x, y))
        for data, is_training in ((train, True), (test, False))
    ]
    return batches[0].prefetch(tf.data.AUTOTUNE), batches[1].prefetch(tf.data.AUTOTUNE)


def _check_sizes(points: int, selected_points: int, knn_points: int) -> None:
    folding(knn_points)
    if selected_points > points:
        raise ValueError(
            f"selected_points is {selected_points}, but the clouds have {points} points"
        )
    if knn_points > selected_points:
        raise ValueError(
            f"knn_points is {knn_points}, but must not exceed selected_points ({selected_points})"
        )


def _identity(source: Path) -> str:
    """What tells a source from another one of its name."""
    place = str(source.resolve())
    if source.is_dir():
        return place
    state = source.stat()
    return f"{place}, {state.st_size} bytes, {state.st_mtime_ns}"


def _read(
    path: Path, num_points: int, seed: int, origin: str | None
) -> tuple[Points, Labels, Points, Labels, dict[int, str]] | None:
    """Points that were kept; None if they are of another seed or source."""
    try:
        with np.load(path, allow_pickle=False) as file:
            classes = {int(k): str(v) for k, v in json.loads(str(file["class_map"])).items()}
            train, test = file["train_points"], file["test_points"]
            labels = file["train_labels"], file["test_labels"]
            # files of before hold neither
            kept_seed = int(file["seed"]) if "seed" in file else None
            kept_origin = str(file["source"]) if "source" in file else None
    except (KeyError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{str(path)!r} holds no sampled points ({error}); delete it to make it again"
        ) from None
    if any(x.ndim != 3 or x.shape[1] != num_points for x in (train, test) if x.size):
        raise ValueError(f"{str(path)!r} holds other clouds than its name says; delete it")
    if origin is None:
        is_fitting = kept_seed in (None, seed)
    else:
        is_fitting = (kept_seed, kept_origin) == (seed, origin)
    return (train, labels[0], test, labels[1], classes) if is_fitting else None


def _extracted(source: Path) -> Path:
    folder = source
    if not source.is_dir():
        mark = hashlib.sha256(_identity(source).encode()).hexdigest()[:12]
        folder = datasets_folder() / f"{source.stem}_{mark}"
        if not folder.is_dir():
            with zipfile.ZipFile(source) as archive:
                if sum(info.file_size for info in archive.infolist()) > _LARGEST_ARCHIVE:
                    raise ValueError(
                        f"{str(source)!r} unpacks to more than {_LARGEST_ARCHIVE} bytes"
                    )
                datasets_folder().mkdir(parents=True, exist_ok=True)
                # it gets its name when it is complete
                with tempfile.TemporaryDirectory(dir=datasets_folder()) as temporary:
                    inner = Path(temporary) / source.stem
                    inner.mkdir()
                    archive.extractall(inner)  # leaves out what leads out of the folder
                    try:
                        inner.rename(folder)
                    except OSError:
                        if not folder.is_dir():  # else another process was faster
                            raise
    inside = folder / source.stem
    return inside if inside.is_dir() else folder


def _sample_all(
    folder: Path, num_points: int, seed: int
) -> tuple[Points, Labels, Points, Labels, dict[int, str]]:
    names = sorted(
        path.name
        for path in folder.iterdir()
        if (path / "train").is_dir() or (path / "test").is_dir()
    )
    if not names:
        raise FileNotFoundError(
            f"{str(folder)!r} holds no classes: folders with train/*.off and test/*.off are needed"
        )
    rng = np.random.default_rng(seed)
    parts: dict[str, tuple[list[Points], list[int]]] = {"train": ([], []), "test": ([], [])}
    for label, name in enumerate(names):
        for part, (clouds, labels) in parts.items():
            for path in sorted((folder / name / part).glob("*.off")):
                try:
                    points = sample_surface(*read_off(path), num_points, rng)
                except ValueError as error:
                    raise ValueError(f"{str(path)!r}: {error}") from None
                clouds.append((points / np.abs(points).max()).astype(np.float32))
                labels.append(label)
    arrays: list[Any] = []
    for clouds, labels in parts.values():
        arrays.append(np.array(clouds, np.float32).reshape(-1, num_points, 3))
        arrays.append(np.array(labels, np.int64))
    return arrays[0], arrays[1], arrays[2], arrays[3], dict(enumerate(names))
