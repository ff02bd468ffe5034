"""Keyword spotting: features of sound, with and without TensorFlow."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "AudioProcessor": "preprocessing",
    "FeatureScaler": "scaler",
    "ModelSettings": "settings",
    "prepare_model_settings": "settings",
    "prepare_words_list": "settings",
    "read_wav": "wav",
    "which_set": "settings",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return __all__
