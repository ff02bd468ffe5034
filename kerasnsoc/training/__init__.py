"""Training tools: distillation, filter pruning, gamma constraint, learning-rate schedules."""

from __future__ import annotations

import importlib
from typing import Any

from kerasnsoc._extras import require

_PUBLIC = {
    name: module
    for module, names in {
        "kerasnsoc.training.distiller": ("Distiller", "KLDistillationLoss"),
        "kerasnsoc.training.filter_pruning": (
            "delete_filters",
            "neural_layers",
            "prune_model",
            "smallest_filters",
        ),
        "kerasnsoc.training.gamma_constraint": ("MinValueConstraint", "add_gamma_constraint"),
        "kerasnsoc.training.schedules": (
            "CyclicLR",
            "constant_then_exponential",
            "freeze_model_before",
        ),
    }.items()
    for name in names
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        require("keras", "train")
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
