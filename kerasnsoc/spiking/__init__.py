"""Spiking neurons and filters for Keras 3, and what trains and measures them.

``import kerasnsoc.spiking as keras_spiking`` offers the names of that package in the same
submodules.
"""
# ruff: noqa: E402

from __future__ import annotations

import importlib
from typing import Any

from kerasnsoc._extras import require

# First of all, so that a missing Keras is told of by the name of the extra.
require("keras", "train")

from kerasnsoc.spiking import callbacks, cells, config, constraints, layers, regularizers, version
from kerasnsoc.spiking.config import default
from kerasnsoc.spiking.layers import (
    IAF,
    LIF,
    Alpha,
    AlphaCell,
    Crop2D,
    DVSInput,
    FlipDims,
    IAFCell,
    LIFCell,
    Lowpass,
    LowpassCell,
    Merge,
    SpikingActivation,
    SpikingActivationCell,
    SumPooling2D,
)

__version__ = version.version

__all__ = [
    "IAF",
    "LIF",
    "Alpha",
    "AlphaCell",
    "Crop2D",
    "DVSInput",
    "FlipDims",
    "IAFCell",
    "LIFCell",
    "Lowpass",
    "LowpassCell",
    "Merge",
    "ModelEnergy",
    "SpikingActivation",
    "SpikingActivationCell",
    "SumPooling2D",
    "callbacks",
    "cells",
    "config",
    "constraints",
    "default",
    "layers",
    "model_energy",
    "regularizers",
    "version",
]


def __getattr__(name: str) -> Any:
    # Loaded on demand: the estimator imports this package for its layers.
    if name in ("ModelEnergy", "model_energy"):
        module = importlib.import_module("kerasnsoc.spiking.model_energy")
        return module if name == "model_energy" else module.ModelEnergy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
