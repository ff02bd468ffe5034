"""PointNet++ [1]_ on groups of points that are laid out as an image.

.. [1] C. Qi et al., "PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric
   Space", arXiv 1706.02413, 2017.
"""

from __future__ import annotations

import warnings
from typing import Any

import keras

from kerasnsoc.zoo import _common
from kerasnsoc.zoo.layer_blocks import conv_block, dense_block

FOLDS = {4: 2, 8: 2, 16: 4, 32: 4, 64: 8, 128: 8, 256: 16, 512: 16}
"""Points of a group: into how many rows of the image the group is folded."""

_INPUT_BITS = 8
_POOLED_FROM = {1: 0, 2: 8, 3: 32, 4: 128}
"""Block: the size of groups from which a max pooling ends it."""


def pointnet_plus_modelnet40(
    selected_points: int = 128,
    features: int = 3,
    knn_points: int = 64,
    classes: int = 40,
    alpha: float = 1.0,
    weight_quantization: int = 0,
    activ_quantization: int = 0,
) -> keras.Model:
    """Build a network for point clouds with random weights.

    Sampling and grouping happen outside the network. The groups enter as an image of
    ``selected_points · r`` rows and ``knn_points / r`` columns, where r grows with the groups.

    Parameters
    ----------
    selected_points : int
        Groups of each cloud.
    features : int
        Numbers of each point; 3 coordinates, or 1.
    knn_points : {4, 8, 16, 32, 64, 128, 256, 512}
        Points of each group; r is 2, 2, 4, 4, 8, 8, 16, 16.
    classes : int
    alpha : float
        Width multiplier; the 32 filters of the first block are rounded to the nearest, all other
        layers have multiples of them.
    weight_quantization, activ_quantization : int
        Bits, as for `kerasnsoc.quantize`; 0 keeps floats. Quantized models have 8 bits in the first
        layer.

    Returns
    -------
    keras.Model
        Not compiled, named `pointnet_plus`; returns probabilities, shape (batch, classes).

    Raises
    ------
    ValueError
        If an argument is out of range; nothing is built then.

    Warns
    -----
    UserWarning
        If `features` is neither 1 nor 3.
    """
    inputs = _INPUT_BITS if weight_quantization or activ_quantization else None
    bits = _common.check_bits(weight_quantization, activ_quantization, inputs)
    for name, value in (
        ("selected_points", selected_points),
        ("features", features),
        ("classes", classes),
    ):
        _common.check_positive(name, value)
    if knn_points not in FOLDS:
        raise ValueError(f"knn_points is {knn_points!r}, but it must be one of {list(FOLDS)}")
    _common.check_alpha(alpha)
    base = round(32 * alpha)
    if not base:
        raise ValueError(
            f"alpha too small: alpha={alpha} leaves no filter of the first layer with 32; it must "
            f"exceed {1 / 64}"
        )
    if features not in (1, 3):
        warnings.warn(
            f"features is {features}; images have 1 or 3 channels, and conversion as an image "
            f"input takes no other number.",
            UserWarning,
            stacklevel=2,
        )
    fold = FOLDS[knn_points]
    image, x = _common.image_input((selected_points * fold, knn_points // fold, features), None)
    for block in (1, 2, 3, 4):
        is_pooled = knn_points >= _POOLED_FROM[block]
        for index in (1, 2) if block < 4 else (1,):
            is_last = index == 2 or block == 4
            x = _sparse_block(
                x,
                base * 2 ** (block - 1),
                (3, 3) if (block, index) == (1, 1) else (1, 1),
                "max" if is_last and is_pooled else None,
                f"block{block}_conv{index}",
            )
    x = conv_block(
        x,
        16 * base,
        (1, 1),
        pooling="global_avg",
        add_batchnorm=True,
        padding="same",
        name="block5_conv1",
    )
    x = dense_block(x, 16 * base, add_batchnorm=True, name="fc1")
    x = dense_block(x, 8 * base, add_batchnorm=True, name="fc2")
    x = dense_block(x, classes, add_activation=False, name="dense")
    x = _common.classifier(x, classes)
    return _common.quantized(keras.Model(image, x, name="pointnet_plus"), bits)


def _sparse_block(x: Any, filters: int, size: tuple[int, int], pooling: str | None, name: str):
    """A convolution whose activations are pushed towards zero in training."""
    x = conv_block(
        x,
        filters,
        size,
        pooling=pooling,
        add_batchnorm=True,
        add_activation=False,
        padding="same",
        name=name,
    )
    push = keras.regularizers.L1L2(1e-7, 1e-7)
    return keras.layers.ReLU(6.0, activity_regularizer=push, name=f"{name}_relu")(x)
