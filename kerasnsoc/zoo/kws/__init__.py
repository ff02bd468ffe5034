"""Keyword spotting: features of sound, with and without TensorFlow."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "AudioProcessor": "preprocessing",
    "FeatureScaler": "scaler",
    "ModelSettings": "settings",
    "mfcc": "mfcc",
    "prepare_model_settings": "settings",
    "prepare_words_list": "settings",
    "preprocessing": None,
    "read_wav": "wav",
    "which_set": "settings",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _PUBLIC[name]
    if module is None:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return __all__
