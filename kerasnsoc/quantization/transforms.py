"""Rewrites that leave a model's function as it is and bring it into the order of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.quantization import graph, neural
from kerasnsoc.quantization.activations import QuantizedActivation
from kerasnsoc.quantization.graph import Graph, Node
from kerasnsoc.quantization.layers import (
    QuantizedConv2D,
    QuantizedDepthwiseConv2D,
    QuantizedSeparableConv2D,
)


def merge_separable_conv(model: keras.Model) -> keras.Model:
    """Join each depthwise convolution with the pointwise one behind it.

    The pair becomes one `QuantizedSeparableConv2D`, named ``{depthwise}_{pointwise}``, with the
    strides and padding of the first, the bias of the second and the quantizers of both.

    Parameters
    ----------
    model : keras.Model
        Never modified.

    Returns
    -------
    keras.Model
        A new model; the same one if it has no `QuantizedDepthwiseConv2D`.

    Raises
    ------
    AttributeError
        If a depthwise convolution has a bias, or is not directly followed by a
        `QuantizedConv2D` with kernel size 1x1 and strides 1x1.
    RuntimeError
        If the model is no chain of layers with concatenations.
    """
    network = graph.read(model)
    if not any(node.is_a(QuantizedDepthwiseConv2D) for node in network.nodes):
        return model
    merge_pairs(network)
    return network.build()


def remove_dropout(model: keras.Model) -> keras.Model:
    """Get a copy of a model without its dropout layers, which do nothing in inference.

    Raises
    ------
    RuntimeError
        If a dropout is called with ``training=True``, or the model is no chain of layers with
        concatenations.
    """
    return _rewritten(model, drop_dropout)


def move_pooling_before_activation(model: keras.Model) -> keras.Model:
    """Get a copy of a model in which max poolings precede the activations they followed.

    A maximum commutes with every non-decreasing function, so nothing changes but the number of
    activations to compute.

    Raises
    ------
    RuntimeError
        If the model is no chain of layers with concatenations.
    """
    return _rewritten(model, pool_before_activation)


def invert_batchnorm_pooling(model: keras.Model) -> keras.Model:
    """Get a copy of a model in which batch normalizations precede the poolings they followed.

    Raises
    ------
    RuntimeError
        If a batch normalization behind a max pooling has a gamma of 0 or below, is not on the
        last axis, or the model is no chain of layers with concatenations.
    """
    return _rewritten(model, invert_pooling_batchnorm)


def fold_batchnorms(model: keras.Model) -> keras.Model:
    """Get a copy of a model with its batch normalizations folded into the layers before them.

    Layers that are already quantized keep their integers up to the sign: their scale factors are
    frozen and scaled.

    Raises
    ------
    RuntimeError
        If a batch normalization does not directly follow a neural layer, has a gamma of 0, is
        not on the last axis, or the model is no chain of layers with concatenations.
    """
    return _rewritten(model, fold_batchnorm)


def canonicalize(model: keras.Model, *, input_is_sparse: bool = False) -> keras.Model:
    """Bring a model into blocks: neural layer, pooling, quantized activation.

    Dropout is removed, depthwise and pointwise convolutions are merged, max poolings move before
    activations and batch normalizations before poolings, and batch normalizations are folded,
    with frozen scale factors where the layer is already quantized. What else there is (a
    leading rescaling, Flatten, Reshape, Concatenate, a trailing softmax) stays. Layers keep
    their names.

    Parameters
    ----------
    model : keras.Model
        Never modified.
    input_is_sparse : bool
        Whether the input will be events. The rewriting is the same for both.

    Returns
    -------
    keras.Model
        A new model that computes the same function in inference.

    Raises
    ------
    AttributeError
        As `merge_separable_conv`.
    RuntimeError
        As `invert_batchnorm_pooling` and `fold_batchnorms`.
    """
    del input_is_sparse

    def rewrite(network: Graph) -> None:
        drop_dropout(network)
        merge_pairs(network)
        pool_before_activation(network)
        invert_pooling_batchnorm(network)
        fold_batchnorm(network)

    return _rewritten(model, rewrite)


def _rewritten(model: keras.Model, rewrite: Callable[[Graph], Any]) -> keras.Model:
    network = graph.read(model)
    rewrite(network)
    return network.build()


def drop_dropout(network: Graph) -> None:
    """`remove_dropout` on a graph."""
    for node in [n for n in network.nodes if n.is_a(keras.layers.Dropout)]:
        if node.training:
            raise RuntimeError(
                f"Dropout layer {node.name!r} is called with training=True, so that it acts in "
                "inference too. Call it without the argument."
            )
        network.remove(node)


def merge_pairs(network: Graph) -> None:
    """`merge_separable_conv` on a graph."""
    for node in [n for n in network.nodes if n.is_a(QuantizedDepthwiseConv2D)]:
        follower = network.follower(node)
        if follower is None or not follower.is_a(QuantizedConv2D):
            found = "nothing, or several layers," if follower is None else repr(follower.name)
            raise AttributeError(
                f"QuantizedDepthwiseConv2D {node.name!r} is followed by {found} but must be "
                "followed by one QuantizedConv2D directly. Use a QuantizedSeparableConv2D."
            )
        if node.config["use_bias"]:
            raise AttributeError(
                f"QuantizedDepthwiseConv2D {node.name!r} has a bias, which a separable convolution "
                "cannot hold between its two kernels. Use use_bias=False."
            )
        for argument in ("kernel_size", "strides"):
            value = tuple(follower.config[argument])
            if value != (1, 1):
                raise AttributeError(
                    f"QuantizedConv2D {follower.name!r} follows the depthwise convolution "
                    f"{node.name!r} with {argument}={value}, but must have {argument}=(1, 1)."
                )
        _merge(network, node, follower)


def _merge(network: Graph, depthwise: Node, pointwise: Node) -> None:
    first, second = depthwise.config, pointwise.config
    own = neural.parameters(depthwise)
    arrays = neural.parameters(pointwise)
    arrays.kernels = {"quantizer_dw": own.kernels["quantizer"], **arrays.kernels}
    arrays.learned = {"quantizer_dw": own.learned["quantizer"], **arrays.learned}
    parts = ("initializer", "regularizer", "constraint")
    pointwise.config = {
        **{k: second[k] for k in ("dtype", "filters", "use_bias", "quantizer")},
        **{k: first[k] for k in ("kernel_size", "strides", "padding")},
        **{f"depthwise_{part}": first[f"depthwise_{part}"] for part in parts},
        **{f"pointwise_{part}": second[f"kernel_{part}"] for part in parts},
        **{f"bias_{part}": second[f"bias_{part}"] for part in parts},
        "activity_regularizer": second.get("activity_regularizer"),
        "trainable": first["trainable"] and second["trainable"],
        "quantizer_dw": first["quantizer"],
        "name": f"{depthwise.name}_{pointwise.name}",
    }
    pointwise.cls = QuantizedSeparableConv2D
    pointwise.weights = arrays.arrays()
    network.remove(depthwise)


def pool_before_activation(network: Graph) -> None:
    """`move_pooling_before_activation` on a graph."""

    def movable(node: Node) -> bool:
        follower = network.follower(node)
        return (
            node.is_a(QuantizedActivation, keras.layers.ReLU)
            and follower is not None
            and follower.is_a(keras.layers.MaxPooling2D)
        )

    while found := next((node for node in network.nodes if movable(node)), None):
        network.swap(found)


def invert_pooling_batchnorm(network: Graph) -> None:
    """`invert_batchnorm_pooling` on a graph."""

    def invertible(node: Node) -> bool:
        follower = network.follower(node)
        return (
            node.is_a(keras.layers.MaxPooling2D, keras.layers.GlobalAveragePooling2D)
            and follower is not None
            and follower.is_a(keras.layers.BatchNormalization)
        )

    while pool := next((node for node in network.nodes if invertible(node)), None):
        batchnorm = network.follower(pool)
        assert batchnorm is not None
        if pool.config["data_format"] != "channels_last":
            raise RuntimeError(
                f"Pooling layer {pool.name!r} has data_format={pool.config['data_format']!r}, "
                "which is not supported. Use data_format='channels_last'."
            )
        _check_last_axis(batchnorm)
        if pool.is_a(keras.layers.MaxPooling2D):
            # Only an increasing map commutes with the maximum; a mean commutes with all affine.
            gammas = _statistics(batchnorm)[0]
            count = int((gammas <= 0).sum())
            if count:
                raise RuntimeError(
                    f"BatchNormalization {batchnorm.name!r} follows the max pooling {pool.name!r}: "
                    f"negative gammas are not supported there, nor zero ones, but {count} of "
                    f"{gammas.size} are. Put it before the pooling, or train with "
                    "add_gamma_constraint(model)."
                )
        # A global pooling changes the rank, so that a positive axis would point elsewhere.
        batchnorm.config["axis"] = -1
        network.swap(pool)


def fold_batchnorm(network: Graph) -> list[str]:
    """`fold_batchnorms` on a graph; returns the names of layers that were already quantized."""
    frozen = []
    for node in [n for n in network.nodes if n.is_a(keras.layers.BatchNormalization)]:
        target = node.inputs[0]
        if not neural.is_neural(target):
            raise RuntimeError(
                f"BatchNormalization {node.name!r} follows {target.name!r} "
                f"({target.cls.__name__}), but can only be folded into a neural layer directly "
                "before it. Move it there, or remove it."
            )
        if network.follower(target) is not node:
            raise RuntimeError(
                f"BatchNormalization {node.name!r} cannot be folded into {target.name!r}, whose "
                "output is used elsewhere too."
            )
        if node.training:
            raise RuntimeError(
                f"BatchNormalization {node.name!r} is called with training=True, so that it has no "
                "fixed statistics to fold. Call it without the argument."
            )
        _check_last_axis(node)
        scale_n, shift_n = affine(node)
        if neural.scale_filters(target, scale_n, shift_n) and target.name not in frozen:
            frozen.append(target.name)
        network.remove(node)
    return frozen


def _check_last_axis(batchnorm: Node) -> None:
    axis = batchnorm.config["axis"]
    if axis % batchnorm.rank != batchnorm.rank - 1:
        raise RuntimeError(
            f"BatchNormalization {batchnorm.name!r} has axis={axis}, but only the last axis is "
            "supported. Use axis=-1 and data_format='channels_last'."
        )


def _statistics(batchnorm: Node) -> list[npt.NDArray[np.float64]]:
    """gamma, beta, mean and variance as float64."""
    arrays = [array.astype(np.float64) for array in batchnorm.weights]
    gamma = arrays.pop(0) if batchnorm.config["scale"] else None
    beta = arrays.pop(0) if batchnorm.config["center"] else None
    mean, variance = arrays[:2]
    return [
        np.ones_like(mean) if gamma is None else gamma,
        np.zeros_like(mean) if beta is None else beta,
        mean,
        variance,
    ]


def affine(batchnorm: Node) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scale and shift of a batch normalization in inference."""
    gamma, beta, mean, variance = _statistics(batchnorm)
    zeros = int((gamma == 0).sum())
    if zeros:
        raise RuntimeError(
            f"BatchNormalization {batchnorm.name!r} has {zeros} gammas equal to 0 of {gamma.size}: "
            "the folded filters would be empty. Remove these filters, or train with "
            "add_gamma_constraint(model)."
        )
    deviation = np.sqrt(np.maximum(variance + batchnorm.config["epsilon"], 0.0))
    if not (np.isfinite(deviation).all() and (deviation > 0).all()):
        raise RuntimeError(
            f"BatchNormalization {batchnorm.name!r} has a variance that is not above -epsilon "
            f"({-batchnorm.config['epsilon']}). Train it, or use a positive epsilon."
        )
    scale = gamma / deviation
    return scale, beta - mean * scale
