"""YOLOv2 [1]_ on the body of MobileNet.

.. [1] J. Redmon and A. Farhadi, "YOLO9000: Better, Faster, Stronger", arXiv 1612.08242, 2016.
"""

from __future__ import annotations

import keras

from kerasnsoc.zoo import _common
from kerasnsoc.zoo.layer_blocks import separable_conv_block
from kerasnsoc.zoo.mobilenet import mobilenet_imagenet


def yolo_base(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 1,
    nb_box: int = 5,
    alpha: float = 1.0,
    dropout: float = 1e-3,
    weight_quantization: int = 0,
    activ_quantization: int = 0,
    input_weight_quantization: int | None = None,
    *,
    head_filters: int = 1024,
    input_scaling: tuple[float, float] | None = None,
) -> keras.Model:
    """Build a detector with random weights.

    Parameters
    ----------
    input_shape : (rows, columns, channels)
        At least 32 × 32; the grid has a 32nd of the rows and columns, rounded up.
    classes, nb_box : int
        Classes, and anchor boxes of each grid cell.
    alpha : float
        Width multiplier of the body; the head keeps its filters.
    head_filters : int
        Of the three layers behind the body, ours: small images with few classes need less.
    dropout : float
        As for `mobilenet_imagenet`, whose top is left out: it has no effect.
    weight_quantization, activ_quantization : int
        Bits, as for `kerasnsoc.quantize`; 0 keeps floats.
    input_weight_quantization : int, optional
        Bits of the first layer's weights; default: as `weight_quantization`.
    input_scaling : (scale, offset), optional
        As for `mobilenet_imagenet`; ``(128, -1)`` takes raw pixels. ``(127.5, -1)`` trains but
        does not convert, as the pixel that stands for 0 must be a whole number.

    Returns
    -------
    keras.Model
        Not compiled; returns (batch, rows / 32, columns / 32, nb_box · (5 + classes)), box by box:
        four coordinates, objectness, and a logit for each class.

    Raises
    ------
    ValueError
        If an argument is out of range; nothing is built then.
    """
    _common.check_positive("classes", classes)
    _common.check_positive("nb_box", nb_box)
    _common.check_positive("head_filters", head_filters)
    bits = _common.check_bits(weight_quantization, activ_quantization, input_weight_quantization)
    shape = _common.check_shape(input_shape)
    if None in shape:
        raise ValueError(
            f"input_shape is {input_shape!r}, but a detector needs all its dimensions: its first "
            f"weights depend on the size of the grid"
        )
    body = mobilenet_imagenet(
        shape, alpha=alpha, dropout=dropout, include_top=False, input_scaling=input_scaling
    )
    x = body.output
    for name in ("1conv", "2conv", "3conv"):
        x = separable_conv_block(
            x,
            head_filters,
            (3, 3),
            add_batchnorm=True,
            padding="same",
            use_bias=False,
            name=name,
        )
    deviation = 0.1 / (x.shape[1] * x.shape[2])
    x = separable_conv_block(
        x,
        nb_box * (4 + 1 + classes),
        (3, 3),
        add_activation=False,
        padding="same",
        depthwise_initializer=keras.initializers.RandomNormal(stddev=deviation),
        pointwise_initializer=keras.initializers.RandomNormal(stddev=deviation),
        bias_initializer=keras.initializers.RandomNormal(stddev=deviation),
        name="detection_layer",
    )
    return _common.quantized(keras.Model(body.input, x, name="yolo_base"), bits)
