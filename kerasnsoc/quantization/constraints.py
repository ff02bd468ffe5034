"""A lower bound for learned scales, and how to put it on every batch normalization."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

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
        Sequential or functional, also with several inputs and outputs, shared layers, and models as
        layers; never modified. A batch normalization without a gamma (``scale=False``) stays as it
        is.
    min_value : float
        Lower bound of every gamma.

    Returns
    -------
    keras.Model
        With the same names; not compiled.

    Raises
    ------
    TypeError
        If it is no Keras model.
    RuntimeError
        If the model has no input shape yet, or a batch normalization lies in a subclassed model or
        layer whose configuration does not list it.

    Warns
    -----
    UserWarning
        If a batch normalization has another constraint on gamma, which is replaced.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"a Keras model was expected, got {model!r} of type {type(model).__name__}")
    copies = _Copies(MinValueConstraint(min_value))
    copy = copies.model(model)
    for name in copies.replaced:
        warnings.warn(
            f"Layer {name!r} already has a constraint on gamma; it is replaced by "
            f"MinValueConstraint({min_value}).",
            UserWarning,
            stacklevel=2,
        )
    return copy


class _Copies:
    """Layers and models with the constraint, each made once."""

    def __init__(self, constraint: MinValueConstraint) -> None:
        self.constraint: dict[str, Any] = keras.saving.serialize_keras_object(constraint)
        self.pairs: dict[int, tuple[Any, Any]] = {}
        self.replaced: list[str] = []

    def model(self, model: keras.Model) -> keras.Model:
        """The whole model, with weights."""
        copy = self._of(model)
        # a model is made after its layers: reversed, it does not undo what was set for them
        for source, target in reversed(self.pairs.values()):
            if not isinstance(source, keras.layers.Layer):
                continue  # an operation, such as a sum, holds nothing
            if target.trainable != source.trainable:
                target.trainable = source.trainable
            if not _is_graph(source):
                target.set_weights(source.get_weights())
                self._check(target)
        return copy

    def _of(self, layer: Any) -> Any:
        if id(layer) not in self.pairs:
            self.pairs[id(layer)] = layer, self._new(layer)
        return self.pairs[id(layer)][1]

    def _new(self, layer: Any) -> Any:
        if isinstance(layer, keras.Sequential):
            if not layer.built:
                raise RuntimeError(
                    f"Sequential model {layer.name!r} has no input shape yet. Add "
                    "keras.Input(shape) as its first layer, or call build()."
                )
            feed = _input_layer(layer.inputs[0])
            return keras.Sequential([feed, *map(self._of, layer.layers)], name=layer.name)
        if _is_graph(layer):
            # of a view that is not compiled: the clone would be compiled as its source is
            view = keras.Model(layer.input, layer.output, name=layer.name)
            feeds = keras.tree.map_structure(lambda x: _input_layer(x).output, view.input)
            return keras.models.clone_model(view, feeds, self._of)
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            self._constrain(config)
        else:
            self._constrain_inside(config)
        return layer.__class__.from_config(config)

    def _constrain(self, config: dict[str, Any]) -> None:
        if not config["scale"]:
            return
        if config["gamma_constraint"] not in (None, self.constraint):
            self.replaced.append(config["name"])
        config["gamma_constraint"] = self.constraint

    def _constrain_inside(self, part: Any) -> None:
        """Normalizations in the configuration of a wrapper, at any depth."""
        if isinstance(part, dict):
            if part.get("class_name") == "BatchNormalization":
                self._constrain(part["config"])
            else:
                self._constrain_inside(list(part.values()))
        elif isinstance(part, list | tuple):
            for item in part:
                self._constrain_inside(item)

    def _check(self, layer: keras.layers.Layer) -> None:
        for part in layer._flatten_layers():
            if not isinstance(part, keras.layers.BatchNormalization) or not part.scale:
                continue
            found = part.gamma_constraint
            if keras.saving.serialize_keras_object(found) != self.constraint:
                raise RuntimeError(
                    f"Layer {layer.name!r} ({type(layer).__name__}) holds the batch normalization "
                    f"{part.name!r}, but its configuration does not list it. Use keras.Sequential "
                    "or keras.Model(inputs, outputs) instead of a subclass."
                )


def _input_layer(tensor: Any) -> keras.layers.InputLayer:
    """A new one like the one that made a symbolic input."""
    source = tensor._keras_history.operation
    return keras.layers.InputLayer.from_config(source.get_config())


def _is_graph(layer: Any) -> bool:
    """Whether it is a model whose layers can be listed."""
    return isinstance(layer, keras.Sequential) or (
        isinstance(layer, keras.Model) and isinstance(layer, keras.Function)
    )
