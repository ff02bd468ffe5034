"""Which data a training saw, so that another one does not go on where it stopped."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from kerasnsoc.zoo.recipes.task import Data


def described(data: Data) -> dict[str, Any]:
    """What the plan of a training keeps of its data; JSON gives back the same.

    Parameters
    ----------
    data : Data

    Returns
    -------
    dict
        ``data``, a digest of the samples, labels and names of classes (of ImageNet: of the names,
        sizes and times of its files; of detectors whose images are files: of their paths and
        boxes), and of detectors ``classes``, ``anchors`` and ``thresholds``.
    """
    digest = hashlib.sha256()
    for array in (data.train_x, data.train_y, data.test_x, data.test_y):
        content = np.ascontiguousarray(array)
        digest.update(f"{content.dtype} {content.shape}".encode())
        digest.update(content.data)
    digest.update(repr(data.classes).encode())
    if data.records is not None:
        digest.update(repr(data.records.identity()).encode())
    for part in ("train", "test"):
        for annotation in data.detection.get(part, ()):
            known = {key: value for key, value in annotation.items() if key != "image"}
            digest.update(repr(sorted(known.items())).encode())
            if "image" in annotation:
                digest.update(annotation["image"].tobytes())
    plan: dict[str, Any] = {"data": digest.hexdigest()}
    if data.detection:
        plan["classes"] = list(data.classes)
        plan["anchors"] = np.asarray(data.detection["anchors"], np.float64).tolist()
        plan["thresholds"] = list(data.detection.get("thresholds", (0.5, 0.5)))
    return plan
