"""What the rewrites know about neural layers: their classes, arrays and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.quantization import quantizers
from kerasnsoc.quantization.graph import Node
from kerasnsoc.quantization.layers import (
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedLayer,
    QuantizedSeparableConv2D,
)

QUANTIZED_CLASS: Mapping[type, type[QuantizedLayer]] = MappingProxyType(
    {
        keras.layers.Conv2D: QuantizedConv2D,
        keras.layers.DepthwiseConv2D: QuantizedDepthwiseConv2D,
        keras.layers.SeparableConv2D: QuantizedSeparableConv2D,
        keras.layers.Dense: QuantizedDense,
    }
)
"""Float layers and what they become. Subclasses may behave otherwise, so they do not count."""

_ONLY_VALUES = {
    "data_format": "channels_last",
    "dilation_rate": (1, 1),
    "groups": 1,
    "depth_multiplier": 1,
    "activation": "linear",
    "lora_rank": None,
    "quantization_config": None,
}
"""Arguments that a quantized layer cannot have, and the value that means nothing is lost."""


def is_quantized(node: Node) -> bool:
    """Whether it is a layer class with quantizers, float ones included."""
    return node.is_a(QuantizedLayer)


def is_neural(node: Node) -> bool:
    return node.cls in QUANTIZED_CLASS or is_quantized(node)


def check_supported(node: Node) -> None:
    """Refuse a neural layer that cannot become a quantized one without changing its function.

    Raises
    ------
    RuntimeError
        Naming the layer, the argument and its value.
    """
    if is_quantized(node):
        return
    for argument, only in _ONLY_VALUES.items():
        value = node.config.get(argument, only)
        value = tuple(value) if isinstance(value, list) else value
        if value != only:
            remedy = f"Use {argument}={only!r}"
            if argument == "activation":
                layer = "ReLU()" if value == "relu" else f"Activation({value!r})"
                remedy = f"Leave it out and put a layer of its own behind, keras.layers.{layer}"
            raise RuntimeError(
                f"Layer {node.name!r} ({node.cls.__name__}) has {argument}={value!r}, which "
                f"quantized layers do not support. {remedy}."
            )


@dataclass(slots=True)
class Parameters:
    """Arrays of a neural layer by role.

    Attributes
    ----------
    kernels : dict of str to ndarray
        By the name of the attribute that quantizes it; the last one makes the output filters.
    bias : ndarray or None
    learned : dict of str to list of ndarray
        Variables of each quantizer.
    """

    kernels: dict[str, npt.NDArray[Any]]
    bias: npt.NDArray[Any] | None
    learned: dict[str, list[npt.NDArray[Any]]]

    def arrays(self) -> list[npt.NDArray[Any]]:
        """In the order of the layer's weights."""
        bias = [] if self.bias is None else [self.bias]
        return [*self.kernels.values(), *bias, *(a for v in self.learned.values() for a in v)]


def quantizer_names(node: Node) -> tuple[str, ...]:
    """Attributes that quantize a kernel, in the order of the kernels."""
    return tuple(QUANTIZED_CLASS.get(node.cls, node.cls).KERNELS)


def parameters(node: Node) -> Parameters:
    """Sort the arrays of a neural layer."""
    names = quantizer_names(node)
    arrays = list(node.weights)
    kernels = {name: arrays.pop(0) for name in names}
    bias = arrays.pop(0) if node.config["use_bias"] else None
    learned: dict[str, list[npt.NDArray[Any]]] = {}
    if is_quantized(node):
        for name, kernel in kernels.items():
            holder = quantizers.get(node.config[name]).build(kernel.shape, name=name)
            count = 0 if holder is None else len(holder.weights)
            learned[name], arrays = arrays[:count], arrays[count:]
    assert not arrays
    return Parameters(kernels, bias, learned)


def quantizer_of(node: Node, name: str) -> quantizers.Quantizer:
    """A quantizer of a quantized layer, with what it has learned."""
    arrays = parameters(node)
    quantizer = quantizers.get(node.config[name])
    holder = quantizer.build(arrays.kernels[name].shape, name=name)
    if holder is not None:
        holder.set_weights(arrays.learned[name])
    return quantizer


def channel_axes(node: Node, kernel: npt.NDArray[Any]) -> tuple[int, ...]:
    """Shape that broadcasts a vector of output filters over the filtering kernel."""
    depthwise = node.is_a(keras.layers.DepthwiseConv2D)
    return kernel.shape[2:] if depthwise else kernel.shape[-1:]


def scale_filters(
    node: Node, scale_n: npt.NDArray[np.float64], shift_n: npt.NDArray[np.float64]
) -> bool:
    """Make a neural layer compute ``scale * (what it computed) + shift`` per output filter.

    Everything is computed in float64 and rounded once. If the kernel is already quantized, its
    scale factors are frozen and divided by the magnitudes of the scales: the integers stay the
    same up to the sign, for every kind of quantizer.

    Returns
    -------
    bool
        Whether scale factors were frozen.

    Raises
    ------
    RuntimeError
        If the layer has arguments that are not supported, or scale factors leave float32.
    """
    check_supported(node)
    arrays = parameters(node)
    name = quantizer_names(node)[-1]
    kernel = arrays.kernels[name]
    scale = scale_n.reshape(channel_axes(node, kernel))
    scaled = (kernel.astype(np.float64) * scale).astype(kernel.dtype)
    frozen = False
    if is_quantized(node):
        quantizer = quantizer_of(node, name)
        if quantizer.bitwidth:
            frozen = True
            q, factor = quantizers.integers_as_float(quantizer, kernel)
            fixed = _frozen(node, quantizer.bitwidth, factor / np.abs(scale))
            scaled = _keep_integers(scaled, fixed, np.sign(scale) * q)
            node.config[name] = quantizers.serialize(fixed)
            arrays.learned[name] = []
    bias_n = 0.0 if arrays.bias is None else arrays.bias.astype(np.float64)
    arrays.kernels[name] = scaled
    arrays.bias = (shift_n + bias_n * scale_n).astype(kernel.dtype)
    node.config["use_bias"] = True
    node.weights = arrays.arrays()
    return frozen


def _frozen(
    node: Node, bitwidth: int, factors: npt.NDArray[np.float64]
) -> quantizers.ScaleFactorQuantizer:
    try:
        return quantizers.ScaleFactorQuantizer(bitwidth, factors)
    except ValueError as error:
        raise RuntimeError(
            f"Layer {node.name!r} cannot take the scales of its batch normalization: {error} "
            "Train with add_gamma_constraint(model)."
        ) from error


def _keep_integers(
    kernel: npt.NDArray[Any], quantizer: quantizers.ScaleFactorQuantizer, q: npt.NDArray[np.float64]
) -> npt.NDArray[Any]:
    """Move back the few weights whose rounding fell to the other side of a half."""
    found, factor = quantizers.integers_as_float(quantizer, kernel)
    moved = found != q
    if moved.any():
        position = kernel.astype(np.float64) * factor
        back = np.clip(position, q - 0.499, q + 0.499) / factor
        kernel = np.where(moved, back, kernel).astype(kernel.dtype)
    return kernel
