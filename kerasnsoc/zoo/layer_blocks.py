"""One neural layer and its companions, in the order that conversion expects."""

from __future__ import annotations

from typing import Any

import keras

_POOLINGS = ("max", "avg", "global_avg", "global_max")
_NO_DILATION = (1, (1, 1), [1, 1])


def conv_block(
    inputs: Any,
    filters: int,
    kernel_size: int | tuple[int, int],
    pooling: str | None = None,
    pool_size: int | tuple[int, int] = (2, 2),
    add_batchnorm: bool = False,
    add_activation: bool = True,
    **kwargs: Any,
) -> Any:
    """Append a convolution, its pooling, batch normalization and ReLU6 to a tensor.

    Parameters
    ----------
    inputs : KerasTensor, shape (batch, height, width, channels)
    filters : int
    kernel_size : int or pair of int
    pooling : {None, "max", "avg", "global_avg", "global_max"}
        A pooling between the convolution and the batch normalization; its padding is that of the
        convolution. A global pooling leaves the shape (batch, filters).
    pool_size : int or pair of int
        Also the strides of the pooling; ignored for a global one.
    add_batchnorm, add_activation : bool
        The ReLU has the maximum 6.
    **kwargs
        Go to `keras.layers.Conv2D`; ``weight_regularizer`` is another name of
        ``kernel_regularizer``.

    Returns
    -------
    KerasTensor
        Of the last layer. Companions are named after the convolution with the suffixes
        ``_maxpool``, ``_avgpool``, ``_global_avg``, ``_global_max``, ``_BN`` and ``_relu``.

    Raises
    ------
    ValueError
        If there is an ``activation``, a ``dilation_rate`` other than 1, an unknown pooling, or a
        regularizer under both names.
    """
    _check(kwargs, "conv_block", pooling)
    _rename_regularizer(kwargs, "kernel_regularizer", "conv_block")
    layer = keras.layers.Conv2D(filters, kernel_size, **kwargs)
    return _with_companions(layer, inputs, pooling, pool_size, add_batchnorm, add_activation)


def separable_conv_block(
    inputs: Any,
    filters: int,
    kernel_size: int | tuple[int, int],
    pooling: str | None = None,
    pool_size: int | tuple[int, int] = (2, 2),
    add_batchnorm: bool = False,
    add_activation: bool = True,
    **kwargs: Any,
) -> Any:
    """Append a separable convolution, its pooling, batch normalization and ReLU6 to a tensor.

    Parameters
    ----------
    inputs, filters, kernel_size, pooling, pool_size, add_batchnorm, add_activation
        As for `conv_block`.
    **kwargs
        Go to `keras.layers.SeparableConv2D`; ``weight_regularizer`` is another name of
        ``pointwise_regularizer``.

    Returns
    -------
    KerasTensor
        As `conv_block`.

    Raises
    ------
    ValueError
        As `conv_block`, and if ``depth_multiplier`` is not 1.
    """
    _check(kwargs, "separable_conv_block", pooling)
    if kwargs.get("depth_multiplier", 1) != 1:
        raise ValueError(
            f"separable_conv_block takes no depth_multiplier other than 1, but got "
            f"{kwargs['depth_multiplier']!r}: a converted layer has one depthwise filter for each "
            f"channel. Leave it out."
        )
    _rename_regularizer(kwargs, "pointwise_regularizer", "separable_conv_block")
    layer = keras.layers.SeparableConv2D(filters, kernel_size, **kwargs)
    return _with_companions(layer, inputs, pooling, pool_size, add_batchnorm, add_activation)


def dense_block(
    inputs: Any,
    units: int,
    add_batchnorm: bool = False,
    add_activation: bool = True,
    **kwargs: Any,
) -> Any:
    """Append a dense layer, its batch normalization and ReLU6 to a tensor.

    Parameters
    ----------
    inputs : KerasTensor, shape (batch, ..., features)
    units : int
    add_batchnorm, add_activation : bool
        As for `conv_block`.
    **kwargs
        Go to `keras.layers.Dense`; ``weight_regularizer`` is another name of
        ``kernel_regularizer``.

    Returns
    -------
    KerasTensor
        Of the last layer, named as by `conv_block`.

    Raises
    ------
    ValueError
        If there is an ``activation``, or a regularizer under both names.
    """
    _refuse_activation(kwargs, "dense_block")
    _rename_regularizer(kwargs, "kernel_regularizer", "dense_block")
    layer = keras.layers.Dense(units, **kwargs)
    return _normalized(layer.name, layer(inputs), add_batchnorm, add_activation)


def _refuse_activation(kwargs: dict[str, Any], block: str) -> None:
    if kwargs.get("activation"):
        raise ValueError(
            f"{block} takes no activation, but got {kwargs['activation']!r}: the activation is a "
            f"layer of its own behind pooling and batch normalization. Use add_activation."
        )


def _check(kwargs: dict[str, Any], block: str, pooling: str | None) -> None:
    _refuse_activation(kwargs, block)
    if kwargs.get("dilation_rate", 1) not in _NO_DILATION:
        raise ValueError(
            f"{block} takes no dilation_rate other than 1, but got {kwargs['dilation_rate']!r}: "
            f"dilated kernels cannot be converted. Leave it out."
        )
    if pooling is not None and pooling not in _POOLINGS:
        raise ValueError(
            f"{block} got pooling={pooling!r}, but it must be None or one of {list(_POOLINGS)}"
        )


def _rename_regularizer(kwargs: dict[str, Any], name: str, block: str) -> None:
    if "weight_regularizer" not in kwargs:
        return
    if name in kwargs:
        raise ValueError(
            f"{block} got weight_regularizer and {name}, two names of one argument. Give one."
        )
    kwargs[name] = kwargs.pop("weight_regularizer")


def _with_companions(
    layer: Any,
    inputs: Any,
    pooling: str | None,
    pool_size: int | tuple[int, int],
    add_batchnorm: bool,
    add_activation: bool,
) -> Any:
    x = layer(inputs)
    options = {"pool_size": pool_size, "padding": layer.padding}
    if pooling == "max":
        x = keras.layers.MaxPooling2D(**options, name=f"{layer.name}_maxpool")(x)
    elif pooling == "avg":
        x = keras.layers.AveragePooling2D(**options, name=f"{layer.name}_avgpool")(x)
    elif pooling == "global_avg":
        x = keras.layers.GlobalAveragePooling2D(name=f"{layer.name}_global_avg")(x)
    elif pooling == "global_max":
        x = keras.layers.GlobalMaxPooling2D(name=f"{layer.name}_global_max")(x)
    return _normalized(layer.name, x, add_batchnorm, add_activation)


def _normalized(name: str, x: Any, add_batchnorm: bool, add_activation: bool) -> Any:
    if add_batchnorm:
        x = keras.layers.BatchNormalization(name=f"{name}_BN")(x)
    if add_activation:
        x = keras.layers.ReLU(6.0, name=f"{name}_relu")(x)
    return x
