"""UTKFace: small pictures of faces and the ages of their owners.

The data set is for non-commercial research only, so it neither ships nor is it downloaded.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo._home import datasets_folder
from kerasnsoc.zoo.detection.processing import load_image, preprocess_image

SIDE = 32

Images = npt.NDArray[np.float32]
Ages = npt.NDArray[np.int16]


def load_data(
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[Images, Ages, Images, Ages]:
    """Read the pictures.

    Parameters
    ----------
    data_dir : path, optional
        Folder with the folders ``train`` and ``test`` of files ``<age>_....jpg``. By default
        ``datasets/utk_face`` in the folder that ``KERASNSOC_HOME`` names.

    Returns
    -------
    x_train, y_train, x_test, y_test : tuple of ndarray
        Images of float32, shape (n, 32, 32, 3), pixels of 0 to 255; ages of int16, shape (n, 1),
        in years. In the order of the file names.

    Raises
    ------
    FileNotFoundError
        If a folder is missing; the message says what to put where.
    ValueError
        If a picture cannot be read.
    ImportError
        If Pillow is not installed.

    Warns
    -----
    UserWarning
        Once, if names of files do not begin with an age; these files are left out.
    """
    folder = datasets_folder() / "utk_face" if data_dir is None else Path(data_dir)
    for part in ("train", "test"):
        if not (folder / part).is_dir():
            raise FileNotFoundError(
                f"{str(folder / part)!r} does not exist. UTKFace is for non-commercial research "
                "and neither ships nor is it downloaded: put its cropped faces as "
                f"<age>_<anything>.jpg into the folders train and test of {str(folder)!r}."
            )
    skipped: list[str] = []
    x_train, y_train = _part(folder / "train", skipped)
    x_test, y_test = _part(folder / "test", skipped)
    if skipped:
        warnings.warn(
            f"{len(skipped)} names do not begin with an age and are left out, such as "
            f"{skipped[0]!r}",
            stacklevel=2,
        )
    return x_train, y_train, x_test, y_test


def _part(folder: Path, skipped: list[str]) -> tuple[Images, Ages]:
    images, ages = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".jpg", ".jpeg"):
            continue
        age = re.match(r"(\d{1,3})(?!\d)", path.name)
        if age is None:
            skipped.append(path.name)
            continue
        images.append(preprocess_image(load_image(path), (SIDE, SIDE), normalize=False))
        ages.append(int(age[1]))
    pixels = np.array(images, np.float32).reshape(-1, SIDE, SIDE, 3)
    return pixels, np.array(ages, np.int16).reshape(-1, 1)
