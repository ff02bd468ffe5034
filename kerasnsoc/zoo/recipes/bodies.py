"""The layers that detectors share with classifiers: cut out, or copied by name."""

from __future__ import annotations

import re
from typing import Any

import keras

_BODY = re.compile(r"(conv_0|separable_([1-9]|1[0-3]))(_.*)?")
_LAST = re.compile(r"separable_13(_.*)?")


def body_of(model: keras.Model) -> keras.Model:
    """The layers of a MobileNet, or of a detector, up to the last one of its body.

    Parameters
    ----------
    model : keras.Model
        As `mobilenet_imagenet` or `yolo_base` build it, also quantized. Layers are shared.

    Raises
    ------
    ValueError
        If there is no layer ``separable_13``, where the body ends.
    """
    ends = [layer for layer in model.layers if _LAST.fullmatch(layer.name)]
    if not ends:
        raise ValueError(
            f"model {model.name!r} has no layer 'separable_13', where the body of MobileNet ends. "
            "Give a model of mobilenet_imagenet or yolo_base."
        )
    return keras.Model(model.input, ends[-1].output, name=f"{model.name}_body")


def copy_body(model: keras.Model, source: keras.Model) -> int:
    """Copy the weights of the body's layers from those of the same names.

    Of each layer the first arrays are copied, as many as both have: what quantization adds comes
    behind them. Nothing is copied if a layer does not fit.

    Parameters
    ----------
    model : keras.Model
        Receives the weights.
    source : keras.Model
        A detector, a MobileNet, or the body of one.

    Returns
    -------
    int
        Layers whose weights were copied.

    Raises
    ------
    ValueError
        If no layer matches, or a weight has another shape.
    """
    given = {layer.name: layer for layer in source.layers if layer.weights}
    copies: list[tuple[keras.layers.Layer, list[Any]]] = []
    for layer in model.layers:
        other = given.get(layer.name)
        if other is None or not layer.weights or not _BODY.fullmatch(layer.name):
            continue
        own, new = layer.get_weights(), other.get_weights()
        count = min(len(own), len(new))
        shapes = [[array.shape for array in arrays[:count]] for arrays in (own, new)]
        has_bias = [getattr(one, "use_bias", None) for one in (layer, other)]
        if shapes[0] != shapes[1] or has_bias[0] != has_bias[1]:
            whole = [[array.shape for array in arrays] for arrays in (own, new)]
            raise ValueError(
                f"the weights of layer {layer.name!r} have the shapes {whole[0]}, but in model "
                f"{source.name!r} {whole[1]}. Take a body of the same width (alpha) whose batch "
                "normalizations are not folded."
            )
        copies.append((layer, new[:count] + own[count:]))
    if not copies:
        raise ValueError(
            f"model {source.name!r} has no layer with weights that is named like one of the body "
            f"of {model.name!r}, such as 'conv_0'. Give a model of mobilenet_imagenet or "
            "yolo_base, or the body of one."
        )
    for layer, weights in copies:
        layer.set_weights(weights)
    return len(copies)
