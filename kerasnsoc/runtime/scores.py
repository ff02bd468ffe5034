"""From the last layer's output to real values and to classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.schema import LayerSpec, LayerType


def scaled(
    potentials_bwhn: npt.NDArray[Any], variables: Mapping[str, npt.NDArray[Any]]
) -> npt.NDArray[np.float64]:
    """Potentials in the units of the trained model.

    ``potential * output_scale + output_shift`` if the layer has these, otherwise
    ``(potential - threshold_fire) / threshold_fire_step``, where a step of 0 counts as 1.
    """
    if "output_scale" in variables:
        scale_n, shift_n = variables["output_scale"], variables["output_shift"]
        return np.asarray(potentials_bwhn * scale_n + shift_n, np.float64)
    step_n = variables["threshold_fire_step"].astype(np.float64)
    step_n[step_n == 0] = 1
    threshold_n = variables["threshold_fire"].astype(np.float64)
    return np.asarray((potentials_bwhn - threshold_n) / step_n, np.float64)


def over_time(
    outputs: npt.NDArray[Any], last: LayerSpec, time_step: float
) -> npt.NDArray[np.float32]:
    """What the last layer of a network over time sent on, in the units of the trained model.

    Parameters
    ----------
    outputs : ndarray, shape (samples, steps, ..., neurons)
    last : LayerSpec
    time_step : float

    Raises
    ------
    RuntimeError
        If the layer has a quantized activation or pools, so that no unit is known.
    """
    if last.layer_type is LayerType.Filter:
        return np.asarray(outputs, np.float32)
    if last.neuron is not None:
        spikes = outputs.astype(np.float32)
        # a spike of a rate is as high as SpikingActivation makes it, in its precision
        return spikes if last.neuron.unit == "count" else spikes / np.float32(time_step)
    if "output_scale" in last.variables or "threshold_fire" in last.variables:
        if getattr(last.parameters, "activations_enabled", True):
            raise RuntimeError(
                f"the last layer {last.name!r} has an activation, its potentials do not leave it. "
                f"Use forward or predict."
            )
        return scaled(outputs, last.variables).astype(np.float32)
    raise RuntimeError(f"the last layer {last.name!r} pools what it gets; use forward")


def mean_over_time(
    outputs: npt.NDArray[Any], *, only_last: bool = False
) -> npt.NDArray[np.float64]:
    """Mean over the steps, or the last one, of outputs (samples, steps, ...).

    Raises
    ------
    ValueError
        If there are no steps.
    """
    if not outputs.shape[1]:
        raise ValueError("the sequences have no steps, and so no result over time")
    if only_last:
        return np.asarray(outputs[:, -1], np.float64)
    return np.asarray(outputs.mean(axis=1, dtype=np.float64))


def group_size(layer_name: str, neurons: int, num_classes: int | None) -> int:
    """Neurons per class.

    Raises
    ------
    TypeError
        If `num_classes` is no integer.
    ValueError
        If it does not divide the number of neurons.
    """
    if num_classes is None:
        return 1
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer):
        raise TypeError(f"num_classes is {num_classes!r}, but must be an integer")
    if num_classes < 1 or neurons % num_classes:
        raise ValueError(
            f"num_classes is {num_classes}, but must divide the {neurons} neurons of layer "
            f"{layer_name!r}"
        )
    return neurons // int(num_classes)


def classes(
    values_bwhn: npt.NDArray[Any], group: int, silent: int | None = None
) -> npt.NDArray[np.int64]:
    """Group of the neuron with the largest value anywhere, of equal ones the first.

    Parameters
    ----------
    values_bwhn : ndarray, shape (samples, width, height, neurons)
        float64 rather than float32 for potentials, which keeps the order of large ones.
    group : int
        Neurons per class.
    silent : int, optional
        What stands for a sample whose values are all zero.
    """
    if len(values_bwhn) == 0:
        return np.zeros(0, np.int64)
    values_bn = values_bwhn.max(axis=(1, 2))
    winners_b: npt.NDArray[np.int64] = values_bn.argmax(axis=1).astype(np.int64) // group
    if silent is not None:
        winners_b[~values_bn.any(axis=1)] = silent
    return winners_b
