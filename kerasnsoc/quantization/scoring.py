"""How good an output is: accuracy where there are class labels, else its distance from float."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.quantization.samples import Samples

MetricFunction = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]


@dataclass(frozen=True, eq=False)
class Metric:
    """A number for a model's outputs; higher is better.

    Attributes
    ----------
    name : str
        ``"accuracy"``, ``"output SQNR"``, or the name of the given function.
    score : callable
        ``outputs -> float``.
    """

    name: str
    score: Callable[[npt.NDArray[Any]], float]

    @property
    def is_sqnr(self) -> bool:
        return self.name == "output SQNR"

    def text(self, value: float) -> str:
        """A value as people read it."""
        if self.is_sqnr:
            return decibels(value)
        return f"{value:.2%}" if self.name == "accuracy" else f"{value:.5g}"


def outputs_of(model: keras.Model, samples: Samples, batch_size: int) -> npt.NDArray[np.float64]:
    """Outputs of all samples in inference."""
    # Plain calls: a fresh model for each question would be compiled longer than it runs.
    parts = [
        np.asarray(keras.ops.convert_to_numpy(model(batch, training=False)), np.float64)
        for batch in samples.batches(batch_size)
    ]
    return np.concatenate(parts)


def choose_metric(
    function: MetricFunction | None, samples: Samples, reference: npt.NDArray[np.float64]
) -> Metric:
    """The given function, accuracy for class labels, or the signal-to-noise ratio of the output.

    Parameters
    ----------
    function : callable, optional
        ``(labels, outputs) -> float``, higher is better.
    samples : Samples
    reference : ndarray
        Outputs of the float model.

    Raises
    ------
    TypeError
        If the function is none.
    ValueError
        If a function is given without labels, or a label is no class of the model.
    """
    labels = samples.labels
    if function is not None:
        if not callable(function):
            raise TypeError(
                f"metric is {function!r}, but must be a function (labels, outputs) -> float."
            )
        if labels is None:
            raise ValueError("metric needs labels, but data has none. Pass (inputs, labels).")
        name = str(getattr(function, "__name__", type(function).__name__))
        return Metric(name, lambda outputs: float(function(labels, outputs)))
    classes = None if labels is None else _classes(labels, reference)
    if classes is None:
        return Metric("output SQNR", lambda outputs: sqnr_db(reference, outputs))
    return Metric("accuracy", lambda outputs: float(np.mean(outputs.argmax(axis=-1) == classes)))


def _classes(labels: npt.NDArray[Any], outputs: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Class numbers of the shape of ``outputs.argmax(-1)``; None if the labels are no classes."""
    count = outputs.shape[-1]
    if outputs.ndim < 2 or count < 2:
        return None
    if labels.shape == outputs.shape:
        one_hot = np.isin(labels, (0, 1)).all() and (labels.sum(axis=-1) == 1).all()
        return labels.argmax(axis=-1) if one_hot else None
    if labels.shape == (*outputs.shape[:-1], 1):
        labels = labels[..., 0]
    if labels.shape != outputs.shape[:-1] or (labels != np.rint(labels)).any():
        return None
    wrong = (labels < 0) | (labels >= count)
    if wrong.any():
        raise ValueError(
            f"label {labels[wrong].flat[0]} in data is no class: the model has {count} outputs, "
            f"so labels are 0 to {count - 1}. Pass metric=... if the labels mean something else."
        )
    return labels


def sqnr_db(signal: npt.NDArray[Any], approximation: npt.NDArray[Any]) -> float:
    """Signal-to-quantization-noise ratio in dB; infinite without any error."""
    signal = signal.astype(np.float64)
    return ratio_db(float(np.square(signal).sum()), float(np.square(signal - approximation).sum()))


def ratio_db(signal_power: float, noise_power: float) -> float:
    """Ratio of two powers in dB."""
    if noise_power <= 0:
        return math.inf
    return 10 * math.log10(signal_power / noise_power) if signal_power > 0 else -math.inf


def decibels(value: float | None) -> str:
    """A ratio for a table."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "exact" if value > 0 else "none"
    return f"{value:.1f} dB"


def share(value: float | None) -> str:
    """A share of 0 to 1 for a table."""
    return "-" if value is None else f"{value:.2%}"
