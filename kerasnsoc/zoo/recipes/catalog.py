"""Which recipe has which name; loaded on demand, since some need optional packages."""

from __future__ import annotations

import importlib

from kerasnsoc.zoo.recipes.task import Task

_PLACES = {
    "cifar10": ("images", "CIFAR10"),
    "cifar10-small": ("images", "CIFAR10_SMALL"),
    "cwru": ("images", "CWRU"),
    "dvs": ("events", "DVS"),
    "imagenet": ("records", "IMAGENET"),
    "kws": ("sounds", "KWS"),
    "kws-edge": ("sounds", "KWS_EDGE"),
    "kws-voices": ("sounds", "KWS_VOICES"),
    "mnist": ("images", "MNIST"),
    "modelnet40": ("clouds", "CLOUDS"),
    "utk_face": ("images", "UTK_FACE"),
    "yolo": ("boxes", "YOLO"),
}

TASKS = tuple(_PLACES)


def get_task(name: str) -> Task:
    """A recipe by the name that the command line uses.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in _PLACES:
        raise ValueError(f"{name!r} is no recipe; there are {', '.join(TASKS)}")
    module, attribute = _PLACES[name]
    task: Task = getattr(importlib.import_module(f"kerasnsoc.zoo.recipes.{module}"), attribute)
    return task
