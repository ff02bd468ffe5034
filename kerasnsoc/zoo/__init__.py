"""Ready networks, trained ones, and the preprocessing of their data.

Names are loaded on first use: features of sound and the registry of trained networks work without
Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

from kerasnsoc._extras import require

_PUBLIC = {
    name: module
    for module, names in {
        "kerasnsoc.zoo.convtiny": (
            "convtiny_cwru",
            "convtiny_dvs_gesture",
            "convtiny_dvs_handy",
        ),
        "kerasnsoc.zoo.ds_cnn": ("ds_cnn_cifar10", "ds_cnn_kws"),
        "kerasnsoc.zoo.gxnor": ("gxnor_mnist",),
        "kerasnsoc.zoo.layer_blocks": ("conv_block", "dense_block", "separable_conv_block"),
        "kerasnsoc.zoo.mobilenet": ("mobilenet_edge_imagenet", "mobilenet_imagenet"),
        "kerasnsoc.training": (
            "CyclicLR",
            "Distiller",
            "KLDistillationLoss",
            "MinValueConstraint",
            "add_gamma_constraint",
            "constant_then_exponential",
            "delete_filters",
            "freeze_model_before",
            "neural_layers",
            "prune_model",
            "smallest_filters",
        ),
        "kerasnsoc.zoo.pointnet": ("pointnet_plus_modelnet40",),
        "kerasnsoc.zoo.vgg": ("vgg_cifar10", "vgg_imagenet", "vgg_utk_face"),
        "kerasnsoc.zoo.yolo": ("yolo_base",),
    }.items()
    for name in names
}

_WITHOUT_KERAS = ("kerasnsoc.zoo.pretrained", "kerasnsoc.zoo.registry")

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        if _PUBLIC[name] not in _WITHOUT_KERAS:
            require("keras", "train")
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
