"""What a recipe consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from kerasnsoc.zoo.recipes.records import Records

Augmentation = Callable[[npt.NDArray[Any], np.random.Generator], npt.NDArray[Any]]
Mixture = Callable[[npt.NDArray[Any], npt.NDArray[Any], np.random.Generator], npt.NDArray[Any]]


@dataclass(frozen=True)
class Data:
    """A data set in the integers that a converted network takes.

    Attributes
    ----------
    train_x, test_x : ndarray of uint8, shape (n, height, width, channels)
    train_y, test_y : ndarray
        Labels, numbers to estimate, or what a detector is trained on.
    classes : tuple of str
        Names of the labels.
    name, split : str
        What was loaded and what `test_x` is of it.
    augment : callable, optional
        ``(batch, generator) -> batch``, applied while training.
    mix : callable, optional
        ``(batch, others, generator) -> batch``, applied before; the others have the same labels.
    invented : int
        So many of the last classes only help training: no measure knows them, and a run leaves
        them out of the network that it converts.
    extra : dict
        What the record of a trained network keeps beside, such as the ranges of features.
    detection : dict
        For detectors: ``train`` and ``test`` annotations, ``anchors``; if given, ``thresholds`` of
        objects and of overlaps, see `decode_output`.
    records : Records, optional
        Files that are read batch by batch instead of arrays.
    is_for_run : bool
        Whether the network and the registry key of the task are made for these data.
    """

    train_x: npt.NDArray[Any]
    train_y: npt.NDArray[Any]
    test_x: npt.NDArray[Any]
    test_y: npt.NDArray[Any]
    classes: tuple[str, ...]
    name: str
    split: str
    augment: Augmentation | None = None
    mix: Mixture | None = None
    invented: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    detection: dict[str, Any] = field(default_factory=dict)
    records: Records | None = None
    is_for_run: bool = True

    @property
    def real_classes(self) -> tuple[str, ...]:
        """Names of the classes that are not invented."""
        return self.classes[: len(self.classes) - self.invented]


@dataclass(frozen=True)
class Schedule:
    """A learning rate over a training.

    Attributes
    ----------
    kind : {"constant", "cosine", "cyclic", "exponential"}
        Cosine decay to 0; triangles from `low` to `rate`; `rate` for some epochs, then
        exponentially to `low`.
    rate, low : float
    epochs : int
        Half a triangle, or the constant part of the exponential.
    mode : str
        Of the triangles, see `CyclicLR`.
    momentum : float
        0 takes Adam, otherwise gradient descent with this momentum.
    batch : int, optional
        Default: that of the task.
    average : float
        With Adam: the training ends with a mean of the weights, in which those of each step before
        count this many times as much as those of the next. 0 keeps the last ones.
    """

    kind: Literal["constant", "cosine", "cyclic", "exponential"]
    rate: float
    low: float = 0.0
    epochs: int = 0
    mode: str = "triangular"
    momentum: float = 0.0
    batch: int | None = None
    average: float = 0.0


@dataclass(frozen=True)
class Step:
    """One training of a run: in float, or with the bits of the network changed before.

    Attributes
    ----------
    epochs : int
    rate : float
        Of a cosine decay.
    bits : (int, int, int), optional
        Of the first layer's weights, the other weights, and the activations; None for float.
    last : (str, int), optional
        An activation with another number of bits.
    crop : int, optional
        Side of random squares that are cut out of the images to train on; default: whole images.
        A network of convolutions with a global pooling learns from them as well, and faster.
    average : float
        See `Schedule`.
    teachers : int
        Float networks whose mean answer is learnt beside the labels: that of the first step, and
        others that are trained as it was, from the seeds that follow. 0: labels alone.
    temperature : float
        Softens the answers of the teachers, see `KLDistillationLoss`.
    """

    epochs: int
    rate: float
    bits: tuple[int, int, int] | None = None
    last: tuple[str, int] | None = None
    crop: int | None = None
    average: float = 0.0
    teachers: int = 0
    temperature: float = 2.0

    @property
    def name(self) -> str:
        """Such as ``float``, ``8-4-4`` or ``8-4-4-1``."""
        if self.bits is None:
            return "float"
        return "-".join(map(str, (*self.bits, *(() if self.last is None else self.last[1:]))))


@dataclass(frozen=True)
class Task:
    """A data set and how networks are trained on it.

    Attributes
    ----------
    name : str
        Of the command.
    key : str
        Start of the registry key; the bits follow.
    helper : str
        The function of the zoo that loads the result.
    load : callable
        ``(path or None, seed) -> Data``; without a path, from the data-set folder.
    build : callable
        The float network of a run.
    steps : tuple of Step
        Of a run; without any there are single trainings only.
    batch : int
        Of a run.
    scaling : (float, int)
        ``(a, b)``: integers are ``a * x + b`` of the network's real input.
    train, tune : Schedule
        Of single trainings.
    data_license : str
    is_events : bool
        Whether the input is a map of event counts.
    last_activation : str
        Name of the activation that may get bits of its own, if any.
    kind : {"classes", "number", "boxes"}
        What the network finds, and the metric: accuracy, mean absolute error, or mAP.
    """

    name: str
    key: str
    helper: str
    load: Callable[[Path | None, int], Data]
    build: Callable[[], Any]
    steps: tuple[Step, ...]
    batch: int
    scaling: tuple[float, int]
    train: Schedule
    tune: Schedule
    data_license: str
    is_events: bool = False
    last_activation: str = ""
    kind: Literal["classes", "number", "boxes"] = "classes"

    @property
    def metric(self) -> str:
        return {"classes": "accuracy", "number": "mean absolute error", "boxes": "mAP"}[self.kind]

    @property
    def finds(self) -> str:
        """What the network finds, in words."""
        return {"classes": "a class", "number": "a number", "boxes": "boxes"}[self.kind]
