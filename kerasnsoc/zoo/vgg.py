"""Networks of the VGG kind [1]_: for CIFAR-10, ImageNet and ages of faces.

.. [1] K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
   Recognition", arXiv 1409.1556, 2014.
"""

from __future__ import annotations

import keras

from kerasnsoc.zoo import _common
from kerasnsoc.zoo.layer_blocks import conv_block, dense_block


def vgg_cifar10(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    weight_quantization: int = 0,
    activ_quantization: int = 0,
    input_weight_quantization: int | None = None,
    *,
    input_scaling: tuple[float, float] | None = None,
) -> keras.Model:
    """Build a network of seven convolutions and two dense layers with random weights.

    Parameters
    ----------
    input_shape : (rows, columns, channels)
    classes : int
    weight_quantization, activ_quantization : int
        Bits, as for `kerasnsoc.quantize`; 0 keeps floats.
    input_weight_quantization : int, optional
        Bits of the first layer's weights; default: as `weight_quantization`.
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
    image, x = _common.image_input(_common.check_whole_shape(input_shape), input_scaling)
    for index, filters in enumerate((128, 128, 256, 256, 512, 512, 1024)):
        x = conv_block(
            x,
            filters,
            (1, 1) if index == 6 else (3, 3),
            pooling="max" if index in (1, 3, 5) else None,
            add_batchnorm=True,
            padding="same",
            use_bias=False,
            name=f"conv_{index}",
        )
    x = keras.layers.Flatten(name="flatten")(x)
    x = dense_block(x, 1024, add_batchnorm=True, use_bias=False, name="dense_7")
    x = dense_block(x, classes, add_activation=False, use_bias=False, name="dense_8")
    return _common.quantized(keras.Model(image, x, name="vgg_cifar10"), bits)


def vgg_imagenet(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 1000,
    include_top: bool = True,
    pooling: str | None = None,
    weight_quantization: int = 0,
    activ_quantization: int = 0,
    input_weight_quantization: int | None = None,
    *,
    input_scaling: tuple[float, float] | None = None,
) -> keras.Model:
    """Build VGG-11 with a quarter of the filters and batch normalization, with random weights.

    Parameters
    ----------
    input_shape : (rows, columns, channels)
    classes : int
        Outputs of the top; 1 gives a sigmoid, more a softmax.
    include_top : bool
        False ends the model with `block5_conv2_relu`.
    pooling : {None, "avg"}
        ``"avg"`` replaces the last max pooling by the mean of each feature map, with a top too.
    weight_quantization, activ_quantization : int
        Bits, as for `kerasnsoc.quantize`; 0 keeps floats.
    input_weight_quantization : int, optional
        Bits of the first layer's weights; default: as `weight_quantization`.
    input_scaling : (scale, offset), optional
        As for `mobilenet_imagenet`; ``(128, -1)`` takes raw pixels.

    Returns
    -------
    keras.Model
        Not compiled, named ``vgg11_<rows>_<classes>``.

    Raises
    ------
    ValueError
        If an argument is out of range; nothing is built then.
    """
    bits = _common.check_bits(weight_quantization, activ_quantization, input_weight_quantization)
    _common.check_pooling(pooling)
    if include_top:
        _common.check_positive("classes", classes)
    shape = _common.check_shape(input_shape)
    if include_top and pooling is None:
        _common.check_whole_shape(shape, "Give them, or use pooling='avg'.")
    image, x = _common.image_input(shape, input_scaling)
    # block, convolution, filters, whether a pooling ends the block
    stack = (
        (1, 1, 16, True),
        (2, 1, 32, True),
        (3, 1, 64, False),
        (3, 2, 64, True),
        (4, 1, 128, False),
        (4, 2, 128, True),
        (5, 1, 128, False),
        (5, 2, 128, True),
    )
    for block, convolution, filters, is_pooled in stack:
        is_last = (block, convolution) == (5, 2)
        x = conv_block(
            x,
            filters,
            (3, 3),
            pooling="global_avg" if is_last and pooling else "max" if is_pooled else None,
            add_batchnorm=True,
            padding="same",
            kernel_regularizer=keras.regularizers.L2(_common.L2_RATE),
            name=f"block{block}_conv{convolution}",
        )
    if include_top:
        x = keras.layers.Flatten(name="flatten")(x)
        for index in (1, 2):
            x = dense_block(x, 4096, add_batchnorm=True, name=f"fc{index}")
            x = keras.layers.Dropout(0.5, name=f"dropout_{index}")(x)
        x = dense_block(x, classes, add_activation=False, name="predictions")
        x = _common.classifier(x, classes)
    return _common.quantized(keras.Model(image, x, name=f"vgg11_{shape[0]}_{classes}"), bits)


def vgg_utk_face(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    weight_quantization: int = 0,
    activ_quantization: int = 0,
    input_weight_quantization: int | None = None,
    *,
    input_scaling: tuple[float, float] | None = None,
) -> keras.Model:
    """Build a network that estimates the age of a face, with random weights.

    Parameters
    ----------
    input_shape : (rows, columns, channels)
    weight_quantization, activ_quantization : int
        Bits, as for `kerasnsoc.quantize`; 0 keeps floats.
    input_weight_quantization : int, optional
        Bits of the first layer's weights; default: as `weight_quantization`.
    input_scaling : (scale, offset), optional
        As for `mobilenet_imagenet`; ``(127, -1)`` takes raw pixels.

    Returns
    -------
    keras.Model
        Not compiled; returns years, shape (batch, 1), without activation.

    Raises
    ------
    ValueError
        If an argument is out of range; nothing is built then.
    """
    bits = _common.check_bits(weight_quantization, activ_quantization, input_weight_quantization)
    image, x = _common.image_input(_common.check_whole_shape(input_shape), input_scaling)
    for index, filters in enumerate((32, 32, 64, 64, 84)):
        x = conv_block(
            x,
            filters,
            (3, 3),
            pooling="max" if index in (1, 3) else None,
            add_batchnorm=True,
            padding="same" if index else "valid",
            use_bias=False,
            name=f"conv_{index}",
        )
        if index in (1, 3, 4):
            x = keras.layers.Dropout(0.3, name=f"dropout_{(1, 3, 4).index(index) + 1}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = dense_block(x, 64, add_batchnorm=True, use_bias=False, name="dense_1")
    x = dense_block(x, 1, add_activation=False, name="dense_2")
    return _common.quantized(keras.Model(image, x, name="vgg_utk_face"), bits)
