"""A lower bound for learned scales, and how to put it on every batch normalization."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasnsoc.quantization import graph

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class MinValueConstraint(keras.constraints.Constraint):
    """Keep a weight at or above a bound: after each update ``w = clip(w, min_value, float32 max)``.

    Parameters
    ----------
    min_value : float
        The bound, finite.

    Raises
    ------
    ValueError
        If the bound is not a finite number.
    """

    def __init__(self, min_value: float = 1e-2) -> None:
        if not math.isfinite(min_value):
            raise ValueError(
                f"min_value is {min_value}, but a bound is a finite number. Pass for example 1e-2."
            )
        self.min_value = float(min_value)

    def __call__(self, w: Any) -> Any:
        return ops.clip(ops.convert_to_tensor(w), self.min_value, _FLOAT32_MAX)

    def get_config(self) -> dict[str, Any]:
        return {"min_value": self.min_value}


def add_gamma_constraint(model: keras.Model, min_value: float = 1e-2) -> keras.Model:
    """Get a copy of a model whose batch normalizations keep their gammas above a bound.

    A folded filter is scaled by its gamma, and the scale factor of its integer weights by the
    reciprocal: tiny gammas make huge thresholds, negative ones cannot pass a max pooling. The
    weights are those of the source; the constraint acts from the next training step on.

    Parameters
    ----------
    model : keras.Model
        Sequential or functional, with one input and one output; never modified.
    min_value : float
        Lower bound of every gamma.

    Returns
    -------
    keras.Model
        Not compiled.

    Warns
    -----
    UserWarning
        If a batch normalization has another constraint on gamma, which is replaced.
    """
    constraint = keras.saving.serialize_keras_object(MinValueConstraint(min_value))
    network = graph.read(model, only_concatenate=False)
    for node in network.nodes:
        if not issubclass(node.cls, keras.layers.BatchNormalization):
            continue
        if node.config["gamma_constraint"] is not None:
            warnings.warn(
                f"Layer {node.name!r} already has a constraint on gamma; it is replaced by "
                f"MinValueConstraint({min_value}).",
                UserWarning,
                stacklevel=2,
            )
        node.config["gamma_constraint"] = constraint
    return network.build()
