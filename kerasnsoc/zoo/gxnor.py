"""GXNOR-Net for handwritten digits [1]_.

.. [1] L. Deng et al., "GXNOR-Net: Training deep neural networks with ternary weights and
   activations without full-precision memory under a unified discretization framework", Neural
   Networks 100, 2018.
"""

from __future__ import annotations

import keras

from kerasnsoc.zoo import _common
from kerasnsoc.zoo.layer_blocks import conv_block, dense_block


def gxnor_mnist(
    weight_quantization: int = 0,
    activ_quantization: int = 0,
    input_weight_quantization: int | None = None,
    *,
    input_scaling: tuple[float, float] | None = None,
) -> keras.Model:
    """Build 32C5-MP2-64C5-MP2-512FC-10FC for MNIST with random weights.

    Parameters
    ----------
    weight_quantization, activ_quantization : int
        Bits, as for `kerasnsoc.quantize`; 0 keeps floats.
    input_weight_quantization : int, optional
        Bits of the first layer's weights; default: as `weight_quantization`.
    input_scaling : (scale, offset), optional
        As for `mobilenet_imagenet`; ``(255, 0)`` takes raw pixels.

    Returns
    -------
    keras.Model
        Not compiled; takes (batch, 28, 28, 1) and returns logits, shape (batch, 10), behind a
        batch normalization.

    Raises
    ------
    ValueError
        If a bit width or the scaling is out of range; nothing is built then.
    """
    bits = _common.check_bits(weight_quantization, activ_quantization, input_weight_quantization)
    image, x = _common.image_input((28, 28, 1), input_scaling)
    for block, filters in ((1, 32), (2, 64)):
        x = conv_block(
            x,
            filters,
            (5, 5),
            pooling="max",
            add_batchnorm=True,
            padding="same",
            name=f"block{block}_conv1",
        )
    x = keras.layers.Flatten(name="flatten")(x)
    x = dense_block(x, 512, add_batchnorm=True, name="fc1")
    x = dense_block(x, 10, add_batchnorm=True, add_activation=False, name="predictions")
    return _common.quantized(keras.Model(image, x, name="gxnor_mnist"), bits)
