"""Checks of what a command of the zoo is given, before anything large is imported or read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_ENDINGS = (".keras", ".h5")

_BY_MODEL = ("train", "tune")
_DETECTORS = ("yolo train", "yolo tune", "yolo eval")
TAKEN_BY: dict[str, tuple[str, ...]] = {
    "output": ("run", "imagenet extract"),
    "model": (*_BY_MODEL, "eval", "rescale", "yolo extract"),
    "savemodel": (*_BY_MODEL, "rescale", "yolo extract"),
    "data": ("run", *_BY_MODEL, "eval", "imagenet extract"),
    "epochs": ("run", *_BY_MODEL),
    "initial_epoch": ("imagenet train", "imagenet tune"),
    "batch_size": (*_BY_MODEL, "imagenet extract"),
    "learning_rate": _BY_MODEL,
    "freeze_before": _BY_MODEL,
    "teacher": _BY_MODEL,
    "last_bits": _BY_MODEL,
    "anchors": _DETECTORS,
    "objects": _DETECTORS,
    "overlaps": _DETECTORS,
    "labels": _DETECTORS,
    "image_size": ("rescale", "imagenet extract"),
    "num_samples": ("imagenet extract",),
    "runtime": ("eval",),
    "seed": ("run", *_BY_MODEL, "eval"),
}
"""Options of `kerasnsoc train`, and the actions, or those of one recipe, that heed them."""


def check_options(name: str, action: str, given: Mapping[str, str]) -> None:
    """Refuse options that an action would not heed.

    Parameters
    ----------
    name, action : str
        The recipe and what it does.
    given : mapping of str to str
        The parameters on the command line that are in `TAKEN_BY`, with the option of each.

    Raises
    ------
    ValueError
    """
    for parameter, option in given.items():
        takers = TAKEN_BY[parameter]
        if action not in takers and f"{name} {action}" not in takers:
            raise ValueError(f"{option} is for {', '.join(takers)}; {name} {action} takes none")


def checked_save_path(path: Path) -> Path:
    """Where a model will be saved; ``.keras`` is appended to a name without an ending.

    Raises
    ------
    ValueError
        If the name has another ending than ``.keras`` or ``.h5``, or no file can be written there.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, but a model is saved as a file")
    if path.suffix not in _ENDINGS:
        # what follows the last point of mobilenet_0.50_96_10 is no ending
        if path.suffix[1:2].isalpha():
            raise ValueError(
                f"{path} ends in {path.suffix!r}, but models are saved as .keras or .h5"
            )
        path = path.with_name(f"{path.name}.keras")
    if not path.parent.is_dir():
        raise ValueError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise ValueError(f"{path} cannot be written: permission denied")
    return path


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made or written.

    Raises
    ------
    ValueError
    """
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"{path} cannot be a folder of results: {existing} is none, or read-only")
