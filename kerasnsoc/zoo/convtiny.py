"""Small convolutional networks for event cameras and for vibrations of bearings."""

from __future__ import annotations

from typing import Any

import keras

from kerasnsoc.zoo import _common
from kerasnsoc.zoo.layer_blocks import conv_block, dense_block, separable_conv_block

_SAME: dict[str, Any] = {"padding": "same", "use_bias": False, "add_batchnorm": True}


def convtiny_dvs_gesture(
    input_shape: tuple[int, int, int] = (64, 64, 10),
    classes: int = 10,
    weight_quantization: int = 0,
    activ_quantization: int = 0,
) -> keras.Model:
    """Build a network for hand gestures in front of an event camera, with random weights.

    Parameters
    ----------
    input_shape : (rows, columns, channels)
        A channel counts the events of one polarity in one time window, at most 15 of each pixel.
    classes : int
    weight_quantization, activ_quantization : int
        Bits, as for `kerasnsoc.quantize`; 0 keeps floats.

    Returns
    -------
    keras.Model
        Not compiled, named `dvs_network`; returns probabilities, shape (batch, classes). Convert it
        with ``input_is_sparse=True``.

    Raises
    ------
    ValueError
        If an argument is out of range; nothing is built then.
    """
    names = [f"conv_0{index}" for index in range(1, 6)]
    return _dvs_network(
        input_shape,
        classes,
        dict(zip(names, (16, 16, 32, 64, 128), strict=True)),
        weight_quantization,
        activ_quantization,
    )


def convtiny_dvs_handy(
    input_shape: tuple[int, int, int] = (120, 160, 2),
    classes: int = 9,
    weight_quantization: int = 0,
    activ_quantization: int = 0,
) -> keras.Model:
    """Build a larger network for hand gestures in front of an event camera, with random weights.

    Parameters
    ----------
    input_shape, classes, weight_quantization, activ_quantization
        As for `convtiny_dvs_gesture`.

    Returns
    -------
    keras.Model
        As `convtiny_dvs_gesture`.

    Raises
    ------
    ValueError
        If an argument is out of range; nothing is built then.
    """
    names = [f"conv_{index}" for index in range(6)]
    return _dvs_network(
        input_shape,
        classes,
        dict(zip(names, (16, 32, 64, 128, 256, 512), strict=True)),
        weight_quantization,
        activ_quantization,
    )


def convtiny_cwru() -> keras.Model:
    """Build a network that recognises ten conditions of a bearing, with random weights.

    Returns
    -------
    keras.Model
        Not compiled, named `convtiny_cwru`; takes vibrations as maps of 32×32 numbers, 0 to 254
        with silence at 127, and centres them itself; returns probabilities, shape (batch, 10).
    """
    image = keras.Input((32, 32, 1), name="input")
    x = keras.layers.Rescaling(1.0, -127.0, name="rescaling")(image)
    for index in (1, 2):
        x = conv_block(x, 32, (7, 7), pooling="max", padding="same", name=f"conv_{index}")
    x = separable_conv_block(x, 512, (3, 3), pooling="global_avg", name="separable_1", **_SAME)
    x = keras.layers.Reshape((1, 1, 512), name="reshape_1")(x)
    x = separable_conv_block(
        x,
        10,
        (3, 3),
        add_activation=False,
        padding="same",
        use_bias=False,
        name="predictions",
    )
    x = keras.layers.Reshape((10,), name="reshape_2")(x)
    x = keras.layers.Softmax(name="act_softmax")(x)
    return keras.Model(image, x, name="convtiny_cwru")


def _dvs_network(
    input_shape: Any, classes: int, filters: dict[str, int], weights: int, activations: int
) -> keras.Model:
    bits = _common.check_bits(weights, activations)
    _common.check_positive("classes", classes)
    last = list(filters)[-1]
    image, x = _common.image_input(_common.check_shape(input_shape), None)
    for name, count in filters.items():
        pooling = "global_avg" if name == last else "max"
        x = conv_block(x, count, (3, 3), pooling=pooling, name=name, **_SAME)
    x = keras.layers.Reshape((1, 1, filters[last]), name="reshape_1")(x)
    x = keras.layers.Dropout(1e-3, name="dropout")(x)
    x = separable_conv_block(x, 256, (3, 3), name="spiking_layer", **_SAME)
    x = dense_block(x, classes, add_activation=False, use_bias=False, name="dense")
    x = _common.classifier(x, classes)
    x = keras.layers.Reshape((classes,), name="reshape_2")(x)
    return _common.quantized(keras.Model(image, x, name="dvs_network"), bits)
