"""Neural layers whose kernels are quantized on their way into the operation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from kerasnsoc.quantization import quantizers
from kerasnsoc.quantization.policy import check_dtype_policy
from kerasnsoc.quantization.quantizers import Quantizer, WeightFloat

_NEVER = ("lora_rank", "lora_alpha", "quantization_config")
"""Other ways to change a kernel; Keras itself passes them as None."""


class QuantizedLayer(keras.layers.Layer):
    """What the quantized neural layers share; mixed in before the Keras layer.

    Subclasses name the arguments that they take away in `UNSUPPORTED`, and in `KERNELS` the
    attributes of their quantizers with those of the kernels.
    """

    UNSUPPORTED: tuple[str, ...] = ("activation",)
    KERNELS: Mapping[str, str] = MappingProxyType({"quantizer": "kernel"})

    @classmethod
    def _check_arguments(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments for Keras's constructor, or TypeError."""
        refused = [name for name in cls.UNSUPPORTED if name in kwargs]
        refused += [name for name in _NEVER if kwargs.get(name) is not None]
        if refused:
            error = TypeError("Unsupported argument in quantized layers", refused[0])
            error.add_note(
                f"{cls.__name__} has no {refused[0]!r}. Leave the argument out; an activation is a "
                "layer of its own, such as ActivationDiscreteRelu."
            )
            raise error
        return {name: value for name, value in kwargs.items() if name not in _NEVER}

    def _set_quantizers(self, **identifiers: Any) -> None:
        check_dtype_policy(self)
        for name, identifier in identifiers.items():
            # Each layer gets its own WeightFloat: a default instance would be shared by all.
            quantizer = WeightFloat() if identifier is None else quantizers.get(identifier)
            setattr(self, f"_{name}", quantizer)

    def build(self, input_shape: Any) -> None:
        check_dtype_policy(self)
        super().build(input_shape)
        for name, kernel in self.KERNELS.items():
            holder = getattr(self, name).build(tuple(getattr(self, kernel).shape), name=name)
            if holder is not None:
                # Keras saves what hangs on an attribute; its own layers override the saving of
                # variables that are added to them, and would forget these.
                setattr(self, f"_{name}_variables", holder)

    @property
    def quantizer(self) -> Quantizer:
        """Quantizer of the kernel; of the pointwise kernel in a separable layer."""
        found: Quantizer = self._quantizer
        return found

    def _add_bias(self, outputs: Any) -> Any:
        return outputs if self.bias is None else ops.add(outputs, self.bias)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        for name in (*self.UNSUPPORTED, *_NEVER):
            config.pop(name, None)
        for name in self.KERNELS:
            config[name] = quantizers.serialize(getattr(self, name))
        return config


@keras.saving.register_keras_serializable(package="kerasnsoc")
class QuantizedConv2D(QuantizedLayer, keras.layers.Conv2D):
    """A 2D convolution with a quantized kernel.

    The bias is not quantized. Regularizers and constraints act on the float kernel.

    Parameters
    ----------
    filters, kernel_size, strides, padding, use_bias, kernel_initializer, bias_initializer, \
kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint
        As of `keras.layers.Conv2D`.
    quantizer : Quantizer or dict, optional
        Default: a new `WeightFloat`.
    **kwargs
        As of `keras.layers.Conv2D`, without ``data_format`` (channels are last), ``activation``,
        ``dilation_rate`` and ``groups``.

    Raises
    ------
    TypeError
        If an unsupported argument is passed.
    ValueError
        If the dtype policy is neither float32 nor float64, or the quantizer is none.

    Notes
    -----
    *Input shape*: (batch, height, width, channels). *Output shape*: (batch, new height, new
    width, filters).
    """

    UNSUPPORTED = ("data_format", "activation", "dilation_rate", "groups")

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        quantizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format="channels_last",
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **self._check_arguments(kwargs),
        )
        self._set_quantizers(quantizer=quantizer)

    def call(self, inputs: Any) -> Any:
        return self._add_bias(self.convolution_op(inputs, self.quantizer.quantize(self.kernel)))


@keras.saving.register_keras_serializable(package="kerasnsoc")
class QuantizedDepthwiseConv2D(QuantizedLayer, keras.layers.DepthwiseConv2D):
    """A 2D depthwise convolution with a quantized kernel.

    Parameters
    ----------
    kernel_size, strides, padding, use_bias, depthwise_initializer, bias_initializer, \
depthwise_regularizer, bias_regularizer, depthwise_constraint, bias_constraint
        As of `keras.layers.DepthwiseConv2D`.
    quantizer : Quantizer or dict, optional
        Default: a new `WeightFloat`.
    **kwargs
        As of `keras.layers.DepthwiseConv2D`, without ``data_format`` (channels are last),
        ``activation``, ``dilation_rate`` and ``depth_multiplier`` (1).

    Raises
    ------
    TypeError
        If an unsupported argument is passed.
    ValueError
        If the dtype policy is neither float32 nor float64, or the quantizer is none.

    Notes
    -----
    *Input shape*: (batch, height, width, channels). *Output shape*: (batch, new height, new
    width, channels).
    """

    UNSUPPORTED = ("data_format", "activation", "dilation_rate", "depth_multiplier")

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        quantizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format="channels_last",
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
            **self._check_arguments(kwargs),
        )
        self._set_quantizers(quantizer=quantizer)

    @property
    def depthwise_kernel(self) -> Any:
        """The kernel variable, of shape (height, width, channels, 1)."""
        return self.kernel

    def call(self, inputs: Any) -> Any:
        outputs = ops.depthwise_conv(
            inputs,
            self.quantizer.quantize(self.kernel),
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
        )
        return self._add_bias(outputs)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class QuantizedSeparableConv2D(QuantizedLayer, keras.layers.SeparableConv2D):
    """A 2D separable convolution; the depthwise and the pointwise kernel are quantized apart.

    Parameters
    ----------
    filters, kernel_size, strides, padding, use_bias, depthwise_initializer, \
pointwise_initializer, bias_initializer, depthwise_regularizer, pointwise_regularizer, \
bias_regularizer, depthwise_constraint, pointwise_constraint, bias_constraint
        As of `keras.layers.SeparableConv2D`.
    quantizer : Quantizer or dict, optional
        Of the pointwise kernel. Default: a new `WeightFloat`.
    quantizer_dw : Quantizer or dict, optional
        Of the depthwise kernel. Default: a new one of the class and arguments of `quantizer`.
    **kwargs
        As of `keras.layers.SeparableConv2D`, without ``data_format`` (channels are last),
        ``activation``, ``dilation_rate`` and ``depth_multiplier`` (1).

    Raises
    ------
    TypeError
        If an unsupported argument is passed.
    ValueError
        If the dtype policy is neither float32 nor float64, or a quantizer is none.

    Notes
    -----
    *Input shape*: (batch, height, width, channels). *Output shape*: (batch, new height, new
    width, filters).
    """

    UNSUPPORTED = ("data_format", "activation", "dilation_rate", "depth_multiplier")
    KERNELS = MappingProxyType(
        {"quantizer_dw": "depthwise_kernel", "quantizer": "pointwise_kernel"}
    )

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        quantizer: Any = None,
        quantizer_dw: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format="channels_last",
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
            **self._check_arguments(kwargs),
        )
        if quantizer_dw is None and quantizer is not None:
            pointwise = quantizers.get(quantizer)
            quantizer_dw = type(pointwise).from_config(pointwise.get_config())
        self._set_quantizers(quantizer_dw=quantizer_dw, quantizer=quantizer)

    @property
    def quantizer_dw(self) -> Quantizer:
        """Quantizer of the depthwise kernel."""
        found: Quantizer = self._quantizer_dw
        return found

    def call(self, inputs: Any) -> Any:
        outputs = ops.separable_conv(
            inputs,
            self.quantizer_dw.quantize(self.depthwise_kernel),
            self.quantizer.quantize(self.pointwise_kernel),
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
        )
        return self._add_bias(outputs)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class QuantizedDense(QuantizedLayer, keras.layers.Dense):
    """A fully connected layer with a quantized kernel.

    Parameters
    ----------
    units, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, \
bias_regularizer, kernel_constraint, bias_constraint
        As of `keras.layers.Dense`.
    quantizer : Quantizer or dict, optional
        Default: a new `WeightFloat`.
    **kwargs
        As of `keras.layers.Dense`, without ``activation``.

    Raises
    ------
    TypeError
        If an unsupported argument is passed.
    ValueError
        If the dtype policy is neither float32 nor float64, or the quantizer is none.

    Notes
    -----
    *Input shape*: (batch, …, channels). *Output shape*: (batch, …, units); the last axis is
    contracted.
    """

    def __init__(
        self,
        units: int,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        quantizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units=units,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **self._check_arguments(kwargs),
        )
        self._set_quantizers(quantizer=quantizer)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        del training
        return self._add_bias(ops.matmul(inputs, self.quantizer.quantize(self.kernel)))
