"""Object detection: boxes, anchors, targets, loss and evaluation for `kerasnsoc.zoo.yolo_base`.

Image shapes are (height, width, channels) everywhere except `image_shape` of parsed annotations,
which is (width, height, depth). A grid size is (columns, rows). Anchors are (width, height) in grid
cells. Decoded boxes are relative to the image, 0 to 1.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "BoundingBox": "processing",
    "DetectionData": "dataset",
    "MapEvaluation": "map_evaluation",
    "YoloLoss": "yolo_loss",
    "annotation_targets": "data",
    "augment_detection": "augmentation",
    "average_precision": "precision",
    "decode_output": "processing",
    "generate_anchors": "anchors",
    "load_image": "processing",
    "mean_average_precision": "precision",
    "parse_voc_annotations": "data",
    "parse_widerface_annotations": "data",
    "preprocess_image": "processing",
    "synthetic_shapes": "synthetic",
    "voc_labels": "data",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    # MapEvaluation and YoloLoss need Keras, decoding does not
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return __all__
