"""From the last layer's output to real values and to classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


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
