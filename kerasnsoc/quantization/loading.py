"""Quantized models from files, and weights from models that have fewer of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import keras

from kerasnsoc.quantization import activations, constraints, layers, quantizers

CUSTOM_OBJECTS: Mapping[str, type] = {
    **quantizers.QUANTIZERS,
    "QuantizedConv2D": layers.QuantizedConv2D,
    "QuantizedDepthwiseConv2D": layers.QuantizedDepthwiseConv2D,
    "QuantizedSeparableConv2D": layers.QuantizedSeparableConv2D,
    "QuantizedDense": layers.QuantizedDense,
    "ActivationDiscreteRelu": activations.ActivationDiscreteRelu,
    "QuantizedReLU": activations.QuantizedReLU,
    "MinValueConstraint": constraints.MinValueConstraint,
}
"""Classes by the bare names that the older file format knows them by."""


def load_quantized_model(
    filepath: str | os.PathLike[str],
    compile: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Load a model that may contain layers of this package.

    Parameters
    ----------
    filepath : path
        A ``.keras`` file, or a ``.h5`` file of the older format.
    compile : bool
        Whether to compile the model as it was when it was saved.
    custom_objects : mapping, optional
        Further classes and functions by name.

    Returns
    -------
    keras.Model

    Raises
    ------
    ValueError
        If the path is a folder (a TensorFlow SavedModel), an artifact, or no model file.
    FileNotFoundError
        If there is no such file.
    """
    if os.path.isdir(filepath):
        raise ValueError(
            f"{os.fspath(filepath)!r} is a folder. Keras 3 cannot reload a TensorFlow SavedModel "
            "as layers: save the model with model.save('name.keras') where it was made."
        )
    with open(filepath, "rb") as file:  # a missing file is a FileNotFoundError
        start = file.read(8)
    if start == b"KNSOC\r\n\x1a":
        raise ValueError(
            f"{os.fspath(filepath)!r} is an artifact: it holds integers and no Keras layers. Run "
            "it with kerasnsoc.Model; to train on, load the Keras model that it was made from."
        )
    if not start.startswith((b"PK", b"\x89HDF")):
        raise ValueError(
            f"{os.fspath(filepath)!r} is neither a .keras archive nor an HDF5 file: it begins with "
            f"{start!r}. Save the model with model.save('name.keras')."
        )
    return keras.models.load_model(
        filepath, custom_objects={**CUSTOM_OBJECTS, **(custom_objects or {})}, compile=compile
    )


def load_partial_weights(dest_model: keras.Model, src_model: keras.Model) -> None:
    """Copy weights between models whose layers agree in name and first weights.

    Of each layer the first arrays are copied, as many as both have: further variables, such as
    learned thresholds, come last and stay as they are in the destination. Nothing is copied
    if anything does not fit.

    Parameters
    ----------
    dest_model : keras.Model
        Receives the weights.
    src_model : keras.Model
        Each of its layers needs a layer of the same name in `dest_model`.

    Raises
    ------
    ValueError
        If a layer is missing or an array has another shape.
    """
    copies: list[tuple[keras.layers.Layer, list[Any]]] = []
    layers_by_name = {layer.name: layer for layer in dest_model.layers}
    for source in src_model.layers:
        if source.name not in layers_by_name:
            raise ValueError(
                f"Layer {source.name!r} of model {src_model.name!r} is missing in model "
                f"{dest_model.name!r}. Give the corresponding layer the same name."
            )
        dest = layers_by_name[source.name]
        given, present = source.get_weights(), dest.get_weights()
        for i, (a, b) in enumerate(zip(given, present, strict=False)):
            if a.shape != b.shape:
                raise ValueError(
                    f"Weight {i} of layer {source.name!r} has shape {a.shape} in model "
                    f"{src_model.name!r}, but {b.shape} in model {dest_model.name!r}."
                )
        count = min(len(given), len(present))
        copies.append((dest, given[:count] + present[count:]))
    for dest, weights in copies:
        dest.set_weights(weights)
