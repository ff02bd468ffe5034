"""Frozen blocks: Keras layers that compute with the artifact's integers.

A frozen block recovers the integer codes of its input, sums integer-valued tensors and compares the
sums with the integer thresholds. As long as every partial sum stays below ``2**24`` (float32) or
``2**53`` (float64) each of them is represented exactly, so any summation order gives the same
value, and the block's levels are those of the integer runtime for every input.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

FLOAT32_EXACT = 2**24
"""Largest magnitude up to which float32 holds every integer."""

TF32_EXACT = 2**11
"""Integers below this survive the 19-bit format in which some GPUs multiply float32."""


class FrozenBlock(keras.layers.Layer):
    """Integer potentials, pooling and thresholds of one block; the base of the classes below.

    Parameters
    ----------
    neurons : int
        Output filters or units.
    alpha : float
        Integers per unit of the block's input: the input scaling, or one over the step height of
        the activation in front.
    beta : int
        Integer that stands for an input of 0 (images only).
    bits : int or None
        Activation bits; 0 for an output block, whose values are ``P * scale + shift``; None for a
        block whose values are the potentials ``P``.
    step_height : float
        Output step of the activation.
    pooling : {"none", "max", "average"}
        ``"average"`` sums all positions (global average pooling; the thresholds know it).
    pool_size, pool_strides : tuple of int, (height, width)
    pool_padding : {"valid", "same"}
    accumulator : {"float32", "float64"}
        Type that holds the potentials exactly.
    """

    def __init__(
        self,
        neurons: int,
        *,
        alpha: float,
        beta: int = 0,
        bits: int | None,
        step_height: float = 1.0,
        pooling: str = "none",
        pool_size: tuple[int, int] = (1, 1),
        pool_strides: tuple[int, int] = (1, 1),
        pool_padding: str = "valid",
        accumulator: str = "float32",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("trainable", False)
        super().__init__(**kwargs)
        self.neurons = neurons
        self.alpha = alpha
        self.beta = beta
        self.bits = bits
        self.step_height = step_height
        self.pooling = pooling
        self.pool_size = tuple(pool_size)
        self.pool_strides = tuple(pool_strides)
        self.pool_padding = pool_padding
        self.accumulator = accumulator

    def add_constant(self, name: str, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype or self.accumulator,
            initializer="zeros",
            trainable=False,
            autocast=False,
        )

    def build(self, input_shape: Any) -> None:
        self.build_weights(input_shape)
        if self.beta:
            self.offset = self.add_constant("offset", (self.neurons,))
        if self.bits:
            self.thresholds = self.add_constant("thresholds", (self.neurons * (2**self.bits - 1),))
        elif self.bits is not None:
            self.scale = self.add_constant("scale", (self.neurons,), "float64")
            self.shift = self.add_constant("shift", (self.neurons,), "float64")
        self.built = True

    def build_weights(self, input_shape: Any) -> None:
        raise NotImplementedError

    def integrate(self, codes: Any) -> Any:
        """Potentials before pooling, from integer-valued codes."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        # beta is left out of the codes and added to the sums, so that a padded 0 means beta too
        codes = ops.round(ops.cast(inputs, self.accumulator) * self.alpha)
        # the sums are integers already; rounding also absorbs kernel libraries that transform
        potentials = ops.round(self.integrate(codes))
        if self.beta:
            potentials = potentials + self.offset
        potentials = self.pool(potentials)
        if self.bits is None:
            return potentials
        if not self.bits:
            values = ops.cast(potentials, "float64") * self.scale + self.shift
            return ops.cast(values, self.compute_dtype)
        return ops.cast(self.levels(potentials), self.compute_dtype) * self.step_height

    def pool(self, potentials: Any) -> Any:
        if self.pooling == "max":
            return ops.max_pool(
                potentials,
                self.pool_size,
                self.pool_strides,
                self.pool_padding,
                data_format="channels_last",
            )
        if self.pooling == "average":
            return ops.sum(potentials, axis=(1, 2))
        return potentials

    def levels(self, potentials: Any) -> Any:
        """Number of thresholds below the potential, by bisection of each neuron's sorted row."""
        assert self.bits is not None
        row = ops.arange(self.neurons, dtype="int32") * (2**self.bits - 1)
        level = ops.zeros_like(potentials, dtype="int32")
        for bit in reversed(range(self.bits)):
            candidate = level + 2**bit
            edge = ops.take(self.thresholds, row + candidate - 1)
            level = ops.where(potentials > edge, candidate, level)
        return level

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], *self.output_tail(input_shape))

    def output_tail(self, input_shape: Any) -> tuple[int, ...]:
        """Output shape without the batch."""
        height, width = self.map_size(input_shape)
        if self.pooling == "average":
            return (self.neurons,)
        if self.pooling == "max":
            height, width = (
                _length(n, k, s, self.pool_padding)
                for n, k, s in zip((height, width), self.pool_size, self.pool_strides, strict=True)
            )
        return (height, width, self.neurons)

    def map_size(self, input_shape: Any) -> tuple[int, int]:
        """Height and width before pooling."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "neurons": self.neurons,
            "alpha": self.alpha,
            "beta": self.beta,
            "bits": self.bits,
            "step_height": self.step_height,
            "pooling": self.pooling,
            "pool_size": list(self.pool_size),
            "pool_strides": list(self.pool_strides),
            "pool_padding": self.pool_padding,
            "accumulator": self.accumulator,
        }


class _FrozenSpatial(FrozenBlock):
    """Kernel geometry that both convolutions share."""

    def __init__(
        self,
        neurons: int,
        *,
        kernel_size: tuple[int, int],
        strides: tuple[int, int] = (1, 1),
        padding: str = "valid",
        **kwargs: Any,
    ) -> None:
        super().__init__(neurons, **kwargs)
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)
        self.padding = padding

    def map_size(self, input_shape: Any) -> tuple[int, int]:
        height, width = (
            _length(n, k, s, self.padding)
            for n, k, s in zip(input_shape[1:3], self.kernel_size, self.strides, strict=True)
        )
        return height, width

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
        }


@keras.saving.register_keras_serializable(package="kerasnsoc")
class FrozenConv2D(_FrozenSpatial):
    """A convolution block that computes with integers; see `FrozenBlock`.

    Input shape
        ``(batch, height, width, channels)``, real values of the Keras model.

    Output shape
        ``(batch, height, width, neurons)``, or ``(batch, neurons)`` after global pooling.
    """

    def build_weights(self, input_shape: Any) -> None:
        self.kernel = self.add_constant(
            "kernel", (*self.kernel_size, input_shape[-1], self.neurons)
        )

    def integrate(self, codes: Any) -> Any:
        if self.strides[0] == self.strides[1]:
            return ops.conv(
                codes, self.kernel, self.strides, self.padding, data_format="channels_last"
            )
        # TensorFlow 2.21 with oneDNN sums the wrong pixels for some strides such as (1, 2) where
        # the output is one pixel wide; without a stride it is right, and the rest is picking rows
        sums = ops.conv(
            ops.pad(codes, self._padding(codes.shape)),
            self.kernel,
            1,
            "valid",
            data_format="channels_last",
        )
        return sums[:, :: self.strides[0], :: self.strides[1]]

    def _padding(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Zeros that "same" puts around a map: the odd one goes behind."""
        around = [(0, 0)]
        for length, size, stride in zip(shape[1:3], self.kernel_size, self.strides, strict=True):
            output = _length(length, size, stride, self.padding)
            missing = max((output - 1) * stride + size - length, 0)
            around.append((missing // 2, missing - missing // 2))
        return [*around, (0, 0)]


@keras.saving.register_keras_serializable(package="kerasnsoc")
class FrozenSeparableConv2D(_FrozenSpatial):
    """A depthwise and a pointwise convolution that compute with integers; see `FrozenBlock`."""

    def build_weights(self, input_shape: Any) -> None:
        channels = input_shape[-1]
        self.depthwise_kernel = self.add_constant(
            "depthwise_kernel", (*self.kernel_size, channels, 1)
        )
        self.pointwise_kernel = self.add_constant("pointwise_kernel", (channels, self.neurons))

    def integrate(self, codes: Any) -> Any:
        sums = ops.depthwise_conv(
            codes, self.depthwise_kernel, self.strides, self.padding, data_format="channels_last"
        )
        return _product(ops.round(sums), self.pointwise_kernel)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class FrozenDense(FrozenBlock):
    """A dense block that computes with integers; its input is flattened as Keras does.

    Input shape
        ``(batch, …)``, real values of the Keras model.

    Output shape
        ``(batch, neurons)``.
    """

    def build_weights(self, input_shape: Any) -> None:
        self.inputs = int(np.prod(input_shape[1:]))
        self.kernel = self.add_constant("kernel", (self.inputs, self.neurons))

    def integrate(self, codes: Any) -> Any:
        return _product(ops.reshape(codes, (-1, self.inputs)), self.kernel)

    def output_tail(self, input_shape: Any) -> tuple[int, ...]:
        return (self.neurons,)


def _product(values: Any, kernel: Any) -> Any:
    """Sums over the last axis.

    Not `ops.matmul`, which on PyTorch (Keras 3.15) makes float32 of float64.
    """
    return ops.einsum("...i,ij->...j", values, kernel)


def _length(length: int, size: int, stride: int, padding: str) -> int:
    return -(-length // stride) if padding == "same" else (length - size) // stride + 1
