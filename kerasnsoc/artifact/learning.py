"""The rules for a layer that learns: its arguments, its variables and what they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.geometry import Dims
from kerasnsoc.artifact.schema import (
    LEARNING_LAYER_TYPES,
    LEARNING_RULES,
    ConvolutionalParameters,
    FullyConnectedParameters,
    LayerParameters,
    LearningSpec,
)

ONE: Final = 1 << 16
"""Plasticity and the other shares are whole multiples of 1 / ONE inside the runtime."""

MAX_RATIO: Final = 1 << 16
"""Largest denominator of a learning ratio."""

LEARNING_SHARES: Final = (
    "initial_plasticity",
    "learning_competition",
    "min_plasticity",
    "plasticity_decay",
)
"""Arguments that lie between 0 and 1."""


def learning_variables(learning: LearningSpec | None) -> tuple[str, ...]:
    """Names of the variables that learning adds to a layer; all of them are required."""
    if learning is None:
        return ()
    counters = ("learning_counters",) if learning.rule == "majority" else ()
    return ("threshold_learning", "plasticity", "learning_steps", *counters)


def learning_shapes(learning: LearningSpec, weights: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of the variables that learning adds, from the shape of the weights."""
    return {
        name: weights if name == "learning_counters" else weights[-1:]
        for name in learning_variables(learning)
    }


def connections_per_neuron(parameters: LayerParameters, input_dims: Dims) -> int:
    """Inputs that a neuron of a fully connected or convolutional layer could connect to."""
    if isinstance(parameters, ConvolutionalParameters):
        return parameters.kernel_width * parameters.kernel_height * input_dims[2]
    return math.prod(input_dims)


def check_learning(learning: LearningSpec, parameters: LayerParameters, input_dims: Dims) -> None:
    """Refuse arguments with which a layer cannot learn.

    Parameters
    ----------
    learning : LearningSpec
    parameters : LayerParameters
        Arguments of the layer.
    input_dims : tuple of int, (width, height, features)
        What arrives at the layer.

    Raises
    ------
    ValueError
        Naming the argument, its value and what is allowed.

    Examples
    --------
    >>> check_learning(
    ...     LearningSpec(num_weights=9), FullyConnectedParameters(num_neurons=2), (1, 1, 8)
    ... )
    Traceback (most recent call last):
        ...
    ValueError: num_weights is 9, but must be an integer from 1 to 8, the connections of a neuron.
    """
    if parameters.layer_type not in LEARNING_LAYER_TYPES:
        raise ValueError(
            f"the layer is a {parameters.layer_type.name}, but only a FullyConnected or a "
            f"Convolutional layer learns"
        )
    assert isinstance(parameters, FullyConnectedParameters | ConvolutionalParameters)
    if parameters.weights_bits != 1:
        raise ValueError(
            f"weights_bits is {parameters.weights_bits}, but a layer that learns has weights of "
            f"1 bit. Build it with weights_bits=1."
        )
    available = connections_per_neuron(parameters, input_dims)
    if not _is_integer(learning.num_weights, 1, available):
        _refuse(
            learning,
            "num_weights",
            f"an integer from 1 to {available}, the connections of a neuron",
        )
    neurons = parameters.num_neurons
    if not _is_integer(learning.num_classes, 1, neurons) or neurons % learning.num_classes:
        _refuse(learning, "num_classes", f"a divisor of the {neurons} neurons of the layer")
    for name in LEARNING_SHARES:
        value = getattr(learning, name)
        if type(value) not in (int, float) or not 0 <= value <= 1:
            _refuse(learning, name, "a number from 0 to 1")
    ratio = learning.learning_ratio
    if (
        type(ratio) is not tuple
        or len(ratio) != 2
        or not _is_integer(ratio[1], 1, MAX_RATIO)
        or not _is_integer(ratio[0], 0, ratio[1])
    ):
        _refuse(
            learning,
            "learning_ratio",
            f"integers (a, b) with 0 <= a <= b and 1 <= b <= {MAX_RATIO}",
        )
    if type(learning.rule) is not str or learning.rule not in LEARNING_RULES:
        _refuse(learning, "rule", f"one of {', '.join(LEARNING_RULES)}")
    if not _is_integer(learning.seed, 0, 2**64 - 1):
        _refuse(learning, "seed", "an integer from 0 to 2**64 - 1")


def _is_integer(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _refuse(learning: LearningSpec, name: str, allowed: str) -> NoReturn:
    text = repr(getattr(learning, name))
    raise ValueError(f"{name} is {text[:80]}, but must be {allowed}.")


_LARGEST: Mapping[str, float] = {
    "threshold_learning": 2**31 - 1,
    "plasticity": 1,
    # never more: each step moves a counter towards 0 or 32767, and by no more than the distance
    "learning_counters": 2**15 - 1,
}


def learning_fault(learning: LearningSpec, name: str, values: npt.NDArray[Any]) -> str | None:
    """What is wrong with the values of a variable of a layer that learns, or None.

    dtype, shape, and for weights the range are known to be right.
    """
    if name == "weights":
        ones_n = _column_sums(values.reshape(-1, values.shape[-1]))
        wrong_n = ones_n != learning.num_weights
        if not wrong_n.any():
            return None
        neuron = int(wrong_n.argmax())
        return (
            f"neuron {neuron} has {ones_n[neuron]} weights of 1, but in a layer that learns every "
            f"neuron has exactly num_weights = {learning.num_weights}"
        )
    if name not in _LARGEST:
        return None
    top = _LARGEST[name]
    # min and max need no temporary array; a NaN fails both comparisons
    if values.min() >= 0 and values.max() <= top:
        if name != "plasticity":
            return None
        scaled = values * np.float32(ONE)
        wrong, rule = scaled != np.floor(scaled), f"must be a multiple of 1/{ONE}"
        if not wrong.any():
            return None
    else:
        wrong, rule = ~((values >= 0) & (values <= top)), f"must be 0 to {top}"
    index = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
    return f"{name}[{', '.join(map(str, index))}] is {values[index]}, but {rule}"


def _column_sums(weights_in: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Ones of each neuron, a few rows at a time, so that it takes next to no memory."""
    sums_n = np.zeros(weights_in.shape[1], np.int64)
    rows = max(1, (1 << 17) // weights_in.shape[1])
    for start in range(0, weights_in.shape[0], rows):
        sums_n += weights_in[start : start + rows].sum(axis=0, dtype=np.int64)
    return sums_n
