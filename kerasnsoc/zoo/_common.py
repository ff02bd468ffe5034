"""What all model functions of the zoo share: argument checks, classifier ending, quantization."""

from __future__ import annotations

import math
import operator
from typing import Any

import keras
import numpy as np

from kerasnsoc.quantization import quantize

L2_RATE = 4e-5
"""Regularization of the ImageNet models (MobileNet and VGG)."""

Shape = tuple[int | None, int | None, int | None]

Bits = tuple[int, int, int]
"""Of the weights, the activations, and the first layer's weights."""


def check_bits(weights: Any, activations: Any, inputs: Any = None) -> Bits:
    """Refuse bit widths before anything is built; the first layer's default to the others'."""
    _check("weight_quantization", weights, (0, *range(2, 9)), "0 (float) or 2 to 8")
    check_activation_bits("activ_quantization", activations)
    if inputs is not None:
        _check("input_weight_quantization", inputs, (0, *range(2, 9)), "None, 0 or 2 to 8")
    return weights, activations, weights if inputs is None else inputs


def check_activation_bits(name: str, bits: Any) -> None:
    """Refuse a bit width of activations."""
    _check(name, bits, tuple(range(9)), "0 (float) or 1 to 8")


def _check(name: str, bits: Any, allowed: tuple[int, ...], choice: str) -> None:
    try:
        valid = not isinstance(bits, bool) and operator.index(bits) in allowed
    except TypeError:
        valid = False
    if not valid:
        raise ValueError(f"{name} is {bits!r}, but must be {choice} bits")


def check_positive(name: str, value: Any) -> None:
    """Refuse a count that is no integer of at least 1."""
    try:
        valid = not isinstance(value, bool) and operator.index(value) >= 1
    except TypeError:
        valid = False
    if not valid:
        raise ValueError(f"{name} is {value!r}, but must be an integer of at least 1")


def check_shape(input_shape: Any) -> Shape:
    """(rows, columns, channels), each a positive integer or None."""
    try:
        shape = tuple(input_shape)
    except TypeError:
        shape = ()
    if len(shape) != 3:
        raise ValueError(
            f"input_shape is {input_shape!r}, but it must be (rows, columns, channels)"
        )
    for value in shape:
        if value is not None:
            check_positive("a dimension of input_shape", value)
    return shape


def check_whole_shape(input_shape: Any, remedy: str = "Give them.") -> Shape:
    """As `check_shape`, without a None: what stands in front of dense layers needs every size."""
    shape = check_shape(input_shape)
    if None in shape:
        raise ValueError(
            f"input_shape is {input_shape!r}, but the dense layers need all dimensions. {remedy}"
        )
    return shape


def check_pooling(pooling: str | None) -> None:
    """Refuse a final pooling other than none or the average."""
    if pooling not in (None, "avg"):
        raise ValueError(f"pooling is {pooling!r}, but it must be None or 'avg'")


def check_alpha(alpha: Any) -> None:
    """Refuse a width multiplier that is no finite number above 0."""
    valid = isinstance(alpha, int | float | np.integer | np.floating)
    if not valid or isinstance(alpha, bool) or not math.isfinite(alpha) or alpha <= 0:
        raise ValueError(f"alpha is {alpha!r}, but the width multiplier must be a number above 0")


def scaled(base: int, alpha: float) -> int:
    """Filters of a layer under a width multiplier, rounded down."""
    filters = int(base * alpha)
    if not filters:
        raise ValueError(
            f"alpha too small: alpha={alpha} leaves no filter of a layer with {base}; it must be "
            f"at least {1 / base}"
        )
    return filters


def image_input(shape: Shape, input_scaling: tuple[float, float] | None) -> tuple[Any, Any]:
    """The input and the tensor behind the optional rescaling layer."""
    image = keras.Input(shape, name="input")
    if input_scaling is None:
        return image, image
    try:
        scale, offset = map(float, input_scaling)
    except (TypeError, ValueError):
        scale = offset = math.nan
    if not (math.isfinite(scale) and math.isfinite(offset)) or scale <= 0:
        raise ValueError(
            f"input_scaling is {input_scaling!r}, but it must be None or a pair (scale, offset) of "
            f"finite numbers with scale above 0: the model then computes x / scale + offset of its "
            f"raw input"
        )
    return image, keras.layers.Rescaling(1 / scale, offset, name="rescaling")(image)


def classifier(x: Any, classes: int) -> Any:
    """Softmax over several classes, or the sigmoid of one."""
    function = "softmax" if classes > 1 else "sigmoid"
    return keras.layers.Activation(function, name=f"act_{function}")(x)


def quantized(model: keras.Model, bits: Bits) -> keras.Model:
    """The model with the bit widths that `check_bits` returned; all 0 leaves it as built."""
    return quantize(model, *bits) if any(bits) else model
