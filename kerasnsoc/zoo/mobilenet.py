"""MobileNet v1 with poolings in place of strides [1]_, and its form for on-device learning.

.. [1] A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
   Applications", arXiv 1704.04861, 2017.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import keras

from kerasnsoc.quantization import (
    QuantizedSeparableConv2D,
    fold_batchnorms,
    load_quantized_model,
    quantize_layer,
)
from kerasnsoc.quantization.graph import read
from kerasnsoc.zoo import _common
from kerasnsoc.zoo.layer_blocks import conv_block, dense_block, separable_conv_block

_FILTERS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Of `separable_1` to `separable_13`."""

_DOWNSAMPLING = (2, 4, 6, 12)
_SPIKE_FILTERS = 2048


def mobilenet_imagenet(
    input_shape: tuple[int | None, int | None, int | None] | None = None,
    alpha: float = 1.0,
    dropout: float = 1e-3,
    include_top: bool = True,
    pooling: str | None = None,
    classes: int = 1000,
    use_stride2: bool = False,
    weight_quantization: int = 0,
    activ_quantization: int = 0,
    input_weight_quantization: int | None = None,
    *,
    input_scaling: tuple[float, float] | None = None,
) -> keras.Model:
    """Build MobileNet v1 with random weights.

    The downsampling layers 2, 4, 6 and 12 have stride 1 and a max pooling, and the classifier is a
    separable convolution on a map of one pixel.

    Parameters
    ----------
    input_shape : (rows, columns, channels), optional
        Rows and columns of at least 32. Default: (224, 224, 3) with a top, (None, None, 3) without.
    alpha : float
        Width multiplier; filters are rounded down.
    dropout : float
        Rate of the dropout before the classifier.
    include_top : bool
        False ends the model with `separable_13_relu`.
    pooling : {None, "avg"}
        Without a top: a feature map, or its mean.
    classes : int
        Outputs of the top; 1 gives a sigmoid, more a softmax.
    use_stride2 : bool
        Downsample with strides of 2 in place of max poolings, as the paper does.
    weight_quantization, activ_quantization : int
        Bits, as for `kerasnsoc.quantize`; 0 keeps floats.
    input_weight_quantization : int, optional
        Bits of the first layer's weights; default: as `weight_quantization`.
    input_scaling : (scale, offset), optional
        Put a layer before the network that computes ``x / scale + offset`` of raw pixels, such as
        ``(128, -1)``. By default the model takes scaled floats.

    Returns
    -------
    keras.Model
        Not compiled, named ``mobilenet_<alpha>_<rows>_<classes>``.

    Raises
    ------
    ValueError
        If an argument is out of range; nothing is built then.

    Warns
    -----
    UserWarning
        If the input has neither 1 nor 3 channels.
    """
    bits = _common.check_bits(weight_quantization, activ_quantization, input_weight_quantization)
    _common.check_alpha(alpha)
    _common.check_pooling(pooling)
    if input_shape is None:
        input_shape = (224, 224, 3) if include_top else (None, None, 3)
    shape = _check_shape(input_shape, include_top)
    if include_top:
        _common.check_positive("classes", classes)

    regularizer = keras.regularizers.L2(_common.L2_RATE)
    options: dict[str, Any] = {"padding": "same", "use_bias": False, "add_batchnorm": True}
    image, x = _common.image_input(shape, input_scaling)
    x = conv_block(
        x,
        _common.scaled(32, alpha),
        (3, 3),
        strides=2,
        kernel_regularizer=regularizer,
        name="conv_0",
        **options,
    )
    for index, base in enumerate(_FILTERS, 1):
        is_down = index in _DOWNSAMPLING
        reduction = None
        if is_down and not use_stride2:
            reduction = "max"
        elif index == len(_FILTERS) and (include_top or pooling == "avg"):
            reduction = "global_avg"
        x = separable_conv_block(
            x,
            _common.scaled(base, alpha),
            (3, 3),
            pooling=reduction,
            strides=2 if is_down and use_stride2 else 1,
            pointwise_regularizer=regularizer,
            name=f"separable_{index}",
            **options,
        )
    if include_top:
        x = keras.layers.Reshape((1, 1, _common.scaled(_FILTERS[-1], alpha)), name="reshape_1")(x)
        x = keras.layers.Dropout(dropout, name="dropout")(x)
        x = separable_conv_block(
            x,
            classes,
            (3, 3),
            add_activation=False,
            padding="same",
            use_bias=False,
            pointwise_regularizer=regularizer,
            name="separable_14",
        )
        x = _common.classifier(x, classes)
        x = keras.layers.Reshape((classes,), name="reshape_2")(x)
    model = keras.Model(image, x, name=f"mobilenet_{alpha:.2f}_{shape[0]}_{classes}")
    return _common.quantized(model, bits)


def mobilenet_edge_imagenet(
    base_model: keras.Model | str | os.PathLike[str], classes: int
) -> keras.Model:
    """Make a feature extractor for on-device learning from a quantized MobileNet.

    The classifier is replaced by `spike_generator`, a separable convolution with 2048 filters and
    activations of 1 bit, and `classification_layer`, a dense layer with weights of 2 bits. Once
    trained, the classification layer gives way to a `FullyConnected` layer that learns on the chip.

    Parameters
    ----------
    base_model : keras.Model or path
        A quantized `mobilenet_imagenet` with its top. Never modified; the weights in front of
        `separable_14` are kept.
    classes : int

    Returns
    -------
    keras.Model
        Quantized, not compiled, named after the base model with the suffix ``_edge``. The batch
        normalization of the new convolution is folded.

    Raises
    ------
    ValueError
        If the model has no quantized layer `separable_14`, or ``classes`` is below 1.
    """
    _common.check_positive("classes", classes)
    base = base_model
    if isinstance(base, str | os.PathLike):
        base = load_quantized_model(base, compile=False)
    if not isinstance(base, keras.Model):
        raise ValueError(
            f"base_model is {base_model!r}, but a quantized mobilenet_imagenet with its top, or "
            "the path of one, is expected"
        )
    top = next((layer for layer in base.layers if layer.name == "separable_14"), None)
    bits = top.quantizer.bitwidth if isinstance(top, QuantizedSeparableConv2D) else 0
    if not bits:
        found = "none" if top is None else f"a {type(top).__name__} with float weights"
        raise ValueError(
            f"model {base.name!r} has no quantized layer 'separable_14' ({found}): a quantized "
            f"mobilenet_imagenet with its top is expected. Quantize it with quantize(model, 4, 4) "
            f"or pass weight_quantization to mobilenet_imagenet."
        )
    copy = read(base).build()  # fresh layers: the base model's stay out of the new graph
    x = separable_conv_block(
        copy.get_layer("separable_14").input,
        _SPIKE_FILTERS,
        (3, 3),
        add_batchnorm=True,
        padding="same",
        use_bias=False,
        name="spike_generator",
    )
    x = dense_block(x, classes, add_activation=False, use_bias=False, name="classification_layer")
    x = _common.classifier(x, classes)
    x = keras.layers.Reshape((classes,), name="reshape_2")(x)
    model = fold_batchnorms(keras.Model(copy.input, x, name=f"{base.name}_edge"))
    model = quantize_layer(model, "spike_generator", bits)
    model = quantize_layer(model, "spike_generator_relu", 1)
    return quantize_layer(model, "classification_layer", 2)


def _check_shape(input_shape: Any, include_top: bool) -> _common.Shape:
    shape = _common.check_shape(input_shape)
    if any(value is not None and value < 32 for value in shape[:2]):
        raise ValueError(
            f"input_shape is {input_shape!r}, but rows and columns must be at least 32: the "
            f"network halves them five times"
        )
    if None in shape and (include_top or shape[2] is None):
        raise ValueError(
            f"input_shape is {input_shape!r}, but a model with a top needs all its dimensions, and "
            f"any model its channels"
        )
    if shape[2] not in (1, 3):
        warnings.warn(
            f"input_shape is {input_shape!r} with {shape[2]} channels; images have 1 or 3, and "
            f"conversion as an image input takes no other number.",
            UserWarning,
            stacklevel=3,
        )
    return shape
