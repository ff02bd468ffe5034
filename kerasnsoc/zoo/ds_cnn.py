"""Depthwise-separable networks for small images and keywords [1]_.

.. [1] Y. Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", arXiv 1711.07128, 2017.
"""

from __future__ import annotations

from typing import Any

import keras

from kerasnsoc.quantization import quantize_layer
from kerasnsoc.zoo import _common
from kerasnsoc.zoo.layer_blocks import conv_block, dense_block, separable_conv_block

_SAME: dict[str, Any] = {"padding": "same", "use_bias": False}


def ds_cnn_cifar10(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    weight_quantization: int = 0,
    activ_quantization: int = 0,
    input_weight_quantization: int | None = None,
    *,
    alpha: float = 1.0,
    input_scaling: tuple[float, float] | None = None,
) -> keras.Model:
    """Build a depthwise-separable network of eleven layers for CIFAR-10 with random weights.

    Parameters
    ----------
    input_shape : (rows, columns, channels)
    classes : int
    weight_quantization, activ_quantization : int
        Bits, as for `kerasnsoc.quantize`; 0 keeps floats.
    input_weight_quantization : int, optional
        Bits of the first layer's weights; default: as `weight_quantization`.
    alpha : float
        Width multiplier, ours; filters are rounded down. 0.5 gives a network whose 4-bit artifact
        stays below 0.5 MB. Other values than 1 appear in the name of the model.
    input_scaling : (scale, offset), optional
        As for `mobilenet_imagenet`; ``(255, 0)`` takes raw pixels.

    Returns
    -------
    keras.Model
        Not compiled; returns logits, shape (batch, classes).

    Raises
    ------
    ValueError
        If an argument is out of range; nothing is built then.
    """
    bits = _common.check_bits(weight_quantization, activ_quantization, input_weight_quantization)
    _common.check_positive("classes", classes)
    _common.check_alpha(alpha)
    image, x = _common.image_input(_common.check_shape(input_shape), input_scaling)
    x = conv_block(
        x, _common.scaled(128, alpha), (3, 3), add_batchnorm=True, name="conv_0", **_SAME
    )
    filters = (128, 256, 256, 512, 512, 512, 512, 1024, 1024)
    for index, base in enumerate(filters, 1):
        x = separable_conv_block(
            x,
            _common.scaled(base, alpha),
            (3, 3),
            pooling="max" if index in (3, 5, 7) else None,
            add_batchnorm=True,
            name=f"separable_{index}",
            **_SAME,
        )
    x = separable_conv_block(
        x, classes, (3, 3), pooling="global_avg", add_activation=False, name="separable_10", **_SAME
    )
    name = "ds_cnn_cifar10" if alpha == 1 else f"ds_cnn_cifar10_{alpha:g}"
    return _common.quantized(keras.Model(image, x, name=name), bits)


def ds_cnn_kws(
    input_shape: tuple[int, int, int] = (49, 10, 1),
    classes: int = 33,
    include_top: bool = True,
    weight_quantization: int = 0,
    activ_quantization: int = 0,
    input_weight_quantization: int | None = None,
    last_layer_activ_quantization: int | None = None,
    *,
    input_scaling: tuple[float, float] | None = None,
) -> keras.Model:
    """Build a depthwise-separable network for keyword spotting with random weights.

    Parameters
    ----------
    input_shape : (frames, coefficients, 1)
        Of the MFCC features.
    classes : int
        Words, silence and unknown included; ignored without a top.
    include_top : bool
        False ends the model with `separable_6_relu`, shape (batch, 1, 1, 256).
    weight_quantization, activ_quantization : int
        Bits, as for `kerasnsoc.quantize`; 0 keeps floats.
    input_weight_quantization : int, optional
        Bits of the first layer's weights; default: as `weight_quantization`.
    last_layer_activ_quantization : int, optional
        Bits of the features behind `separable_6`; 1 makes them binary for on-device learning.
        Default: as `activ_quantization`.
    input_scaling : (scale, offset), optional
        As for `mobilenet_imagenet`; ``(255, 0)`` takes features of 8 bits.

    Returns
    -------
    keras.Model
        Not compiled; returns probabilities, shape (batch, classes).

    Raises
    ------
    ValueError
        If an argument is out of range, or the last activation should be float while the others are
        quantized; nothing is built then.
    """
    bits = _common.check_bits(weight_quantization, activ_quantization, input_weight_quantization)
    last_bits = activ_quantization
    if last_layer_activ_quantization is not None:
        last_bits = last_layer_activ_quantization
        _common.check_activation_bits("last_layer_activ_quantization", last_bits)
    if activ_quantization and not last_bits:
        raise ValueError(
            f"last_layer_activ_quantization is 0, but activ_quantization is {activ_quantization}: "
            f"a quantized activation cannot go back to float. Give 1 to 8 bits, or None for "
            f"{activ_quantization}."
        )
    if include_top:
        _common.check_positive("classes", classes)
    image, x = _common.image_input(_common.check_shape(input_shape), input_scaling)
    x = conv_block(x, 32, (5, 5), strides=2, add_batchnorm=True, name="conv_0", **_SAME)
    for index in range(1, 6):
        x = separable_conv_block(
            x,
            64,
            (3, 3),
            pooling="global_avg" if index == 5 else None,
            add_batchnorm=True,
            name=f"separable_{index}",
            **_SAME,
        )
    x = keras.layers.Reshape((1, 1, 64), name="reshape_1")(x)
    x = separable_conv_block(x, 256, (3, 3), add_batchnorm=True, name="separable_6", **_SAME)
    if include_top:
        x = keras.layers.Flatten(name="flatten")(x)
        x = dense_block(x, classes, add_activation=False, name="dense_7")
        x = _common.classifier(x, classes)
    model = _common.quantized(keras.Model(image, x, name="ds_cnn_kws"), bits)
    if last_bits != activ_quantization:
        model = quantize_layer(model, "separable_6_relu", last_bits)
    return model
