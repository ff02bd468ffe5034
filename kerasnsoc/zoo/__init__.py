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
        "kerasnsoc.zoo.pretrained": (
            "convtiny_cwru_pretrained",
            "convtiny_gesture_pretrained",
            "convtiny_handy_samsung_pretrained",
            "ds_cnn_cifar10_pretrained",
            "ds_cnn_kws_pretrained",
            "gxnor_mnist_pretrained",
            "mobilenet_cats_vs_dogs_pretrained",
            "mobilenet_edge_imagenet_pretrained",
            "mobilenet_faceidentification_pretrained",
            "mobilenet_faceverification_pretrained",
            "mobilenet_imagenet_pretrained",
            "mobilenet_imagenette_pretrained",
            "pointnet_plus_modelnet40_pretrained",
            "vgg_cifar10_pretrained",
            "vgg_imagenet_pretrained",
            "vgg_melanoma_pretrained",
            "vgg_odir5k_pretrained",
            "vgg_utk_face_pretrained",
            "yolo_synthetic_pretrained",
            "yolo_voc_pretrained",
            "yolo_widerface_pretrained",
        ),
        "kerasnsoc.zoo.registry": (
            "PretrainedNotAvailableError",
            "Record",
            "get_record",
            "list_pretrained",
            "load_pretrained",
            "pretrained_path",
            "read_pretrained",
        ),
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
