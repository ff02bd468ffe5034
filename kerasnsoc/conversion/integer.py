"""From one parsed Keras block to integers: weights, thresholds, and the runtime's layer."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact import (
    ConcatParameters,
    ConvolutionalParameters,
    ConvolutionMode,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    LayerParameters,
    LayerSpec,
    PoolingType,
    SeparableConvolutionalParameters,
)
from kerasnsoc.conversion import thresholds as exact
from kerasnsoc.conversion.blocks import Block
from kerasnsoc.conversion.thresholds import Affine, Staircase
from kerasnsoc.quantization import QuantizedDense, QuantizedSeparableConv2D, WeightFloat
from kerasnsoc.quantization.quantizers import integer_weights

WEIGHT_BITS = range(2, 9)
ACTIVATION_BITS = (1, 2, 3, 4, 8)


@dataclass(frozen=True, eq=False)
class IntegerBlock:
    """A block's integers in Keras layout, and what it needs to become a layer on either side.

    Attributes
    ----------
    block : Block
        Where it came from.
    weights : ndarray of int8
        Convolution ``(h, w, c, n)``, depthwise ``(h, w, c, 1)``, dense ``(inputs, n)`` in Keras's
        flattening order. Empty for a concatenation.
    weights_pw : ndarray of int8, shape (c, n), or None
    weights_bits : int
    affine : Affine
    stairs : Staircase or None
        None for an output block without activation.
    """

    block: Block
    weights: npt.NDArray[np.int8]
    weights_pw: npt.NDArray[np.int8] | None
    weights_bits: int
    affine: Affine
    stairs: Staircase | None

    @property
    def neurons(self) -> int:
        return len(self.affine.scales)


def integer_block(block: Block, alpha: Fraction, beta: int) -> IntegerBlock:
    """Integers of a block with weights.

    Parameters
    ----------
    block : Block
    alpha, beta : Fraction, int
        Integers that arrive are ``alpha * x + beta`` of the block's real input.

    Raises
    ------
    ValueError
        If a layer is not quantized, a bit width cannot be converted, or a parameter is not finite.
    """
    layer = block.neural
    weights_pw = None
    if isinstance(layer, QuantizedSeparableConv2D):
        weights, scale_dw, bits_dw = _quantized(layer, layer.quantizer_dw, layer.depthwise_kernel)
        pointwise, scales, bits = _quantized(layer, layer.quantizer, layer.pointwise_kernel)
        if bits != bits_dw:
            raise ValueError(
                f"layer {layer.name!r}: the depthwise kernel has {bits_dw} bits and the pointwise "
                f"kernel {bits}, but the runtime layer has one bit width. Give quantizer_dw and "
                f"quantizer the same bitwidth."
            )
        if len(scale_dw) != 1:
            raise ValueError(
                f"layer {layer.name!r}: the depthwise quantizer has {len(scale_dw)} scale factors, "
                f"but one per tensor is needed: the pointwise sum mixes the channels. Use "
                f"MaxQuantizer({bits_dw}) for quantizer_dw."
            )
        weights_pw = pointwise.reshape(pointwise.shape[-2:])
        scales = [scale_dw[0] * s for s in scales]
    else:
        weights, scales, bits = _quantized(layer, layer.quantizer, layer.kernel)
    neurons = (weights if weights_pw is None else weights_pw).shape[-1]
    if len(scales) == 1:
        scales = scales * neurons
    biases = [Fraction(0)] * neurons
    if layer.use_bias:
        biases = _fractions(layer.name, "bias", _values(layer.bias))
    sums = weights.reshape(-1, weights.shape[-1]).sum(axis=0, dtype=np.int64).tolist()
    affine = Affine(
        alpha,
        beta,
        scales,
        biases,
        sums if weights_pw is None else [0] * neurons,
        block.summed_positions,
    )
    return IntegerBlock(block, weights, weights_pw, bits, affine, staircase(block))


def staircase(block: Block) -> Staircase | None:
    """The block's activation as exact fractions; None without one."""
    layer = block.activation
    if layer is None:
        return None
    if layer.bitwidth not in ACTIVATION_BITS:
        raise ValueError(
            f"layer {layer.name!r}: activations of {layer.bitwidth} bits cannot be converted, only "
            f"of 1, 2, 3, 4 or 8. Quantize again with another activ_quantization."
        )
    values = {}
    for name in ("threshold", "step_width", "step_height"):
        value = float(_values(getattr(layer, name)))
        if not np.isfinite(value) or (name != "threshold" and value <= 0):
            raise ValueError(
                f"layer {layer.name!r}: {name} is {value!r}, but it must be finite"
                + ("" if name == "threshold" else " and greater than 0")
                + ". Train again with a smaller learning rate."
            )
        values[name] = Fraction(value)
    return Staircase(bits=layer.bitwidth, **values)


def layer_spec(integers: IntegerBlock, inbounds: tuple[str, ...], *, tables: bool) -> LayerSpec:
    """The runtime's layer of a block.

    Parameters
    ----------
    integers : IntegerBlock
    inbounds : tuple of str
        Empty if the block becomes the network's InputConvolutional layer.
    tables : bool
        Store exact threshold tables and the output mapping; otherwise only the public pair
        ``threshold_fire``, ``threshold_fire_step``, from which the runtime derives its edges.
    """
    affine, stairs = integers.affine, integers.stairs
    variables: dict[str, npt.NDArray[Any]] = {}
    if stairs is None:
        variables["threshold_fire"] = exact.base_thresholds(affine, Fraction(0))
        variables["threshold_fire_step"] = exact.threshold_steps(affine, Fraction(1), 4)
        if tables:
            scale, shift = exact.output_mapping(affine)
            variables["output_scale"], variables["output_shift"] = scale, shift
    else:
        variables["threshold_fire"] = exact.base_thresholds(affine, stairs.threshold)
        variables["threshold_fire_step"] = exact.threshold_steps(
            affine, stairs.step_width, stairs.bits
        )
        if tables:
            variables["thresholds"] = exact.exact_thresholds(affine, stairs)
    variables["weights"] = _runtime_weights(integers, is_input=not inbounds)
    if integers.weights_pw is not None:
        variables["weights_pw"] = integers.weights_pw[np.newaxis, np.newaxis]
    return LayerSpec(
        integers.block.name,
        _parameters(integers, is_input=not inbounds),
        inbounds,
        {name: np.ascontiguousarray(array) for name, array in variables.items()},
    )


def concat_spec(block: Block, stairs: Staircase) -> LayerSpec:
    """A concatenation that passes its activations unchanged: edges 0, 1, 2, …"""
    neurons = block.output_shape[-1]
    # the step is given for 4 bits: an interval of 1 is a step of 2**bits / 16
    step = 2**stairs.bits / 16
    variables = {
        "threshold_fire": np.zeros(neurons, np.int32),
        "threshold_fire_step": np.full(neurons, step, np.float32),
    }
    parameters = ConcatParameters(threshold_fire_step=step, threshold_fire_bits=stairs.bits)
    return LayerSpec(block.name, parameters, block.inbounds, variables)


def _parameters(integers: IntegerBlock, *, is_input: bool) -> LayerParameters:
    block = integers.block
    common: dict[str, Any] = {
        "num_neurons": integers.neurons,
        "weights_bits": integers.weights_bits,
        "activations_enabled": integers.stairs is not None,
    }
    if integers.stairs is not None:
        common["threshold_fire_bits"] = integers.stairs.bits
    if isinstance(block.neural, QuantizedDense):
        return FullyConnectedParameters(**common)
    layer = block.neural
    common |= {
        "kernel_width": layer.kernel_size[1],
        "kernel_height": layer.kernel_size[0],
        "convolution_mode": ConvolutionMode(layer.padding),
        "stride_x": layer.strides[1],
        "stride_y": layer.strides[0],
        "pooling_type": PoolingType(block.pooling),
    }
    if block.pooling != "none" and not block.global_pooling:
        common |= {
            "pooling_width": block.pool_size[1],
            "pooling_height": block.pool_size[0],
            "pooling_stride_x": block.pool_strides[1],
            "pooling_stride_y": block.pool_strides[0],
        }
    if integers.weights_pw is not None:
        return SeparableConvolutionalParameters(**common)
    if not is_input:
        return ConvolutionalParameters(**common)
    height, width, channels = block.input_shape
    return InputConvolutionalParameters(
        **common,
        input_width=width,
        input_height=height,
        input_channels=channels,
        padding_value=integers.affine.beta,
    )


def _runtime_weights(integers: IntegerBlock, *, is_input: bool) -> npt.NDArray[np.int8]:
    weights = integers.weights
    if weights.ndim == 2:
        # Keras flattens (y, x, c), the runtime (c, y, x)
        height, width, channels = integers.block.input_shape
        weights = weights.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
        return weights.reshape(1, 1, height * width * channels, -1)
    weights = weights.transpose(1, 0, 2, 3)
    # inner layers store the kernel as an event scatters it: reversed in space
    return weights if is_input else weights[::-1, ::-1]


def _quantized(
    layer: Any, quantizer: Any, kernel: Any
) -> tuple[npt.NDArray[np.int8], list[Fraction], int]:
    if isinstance(quantizer, WeightFloat):
        raise ValueError(
            f"layer {layer.name!r} has float weights, but the artifact holds integers. Quantize it "
            f"with 2 to 8 bits first: quantize(model, weight_quantization=4, activ_quantization=4)."
        )
    if quantizer.bitwidth not in WEIGHT_BITS:
        raise ValueError(
            f"layer {layer.name!r}: weights of {quantizer.bitwidth} bits cannot be converted, only "
            f"of 2 to 8 bits"
        )
    _check_finite(layer.name, "kernel", _values(kernel))
    integers, scale = integer_weights(quantizer, kernel)
    return integers, _fractions(layer.name, "scale factor", np.ravel(scale)), quantizer.bitwidth


def _values(variable: Any) -> npt.NDArray[Any]:
    # a copy is a tensor: NumPy warns when it converts a Keras variable itself
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.copy(variable)))


def _fractions(layer: str, what: str, values: npt.NDArray[Any]) -> list[Fraction]:
    _check_finite(layer, what, values)
    return [Fraction(value) for value in values.astype(np.float64).tolist()]


def _check_finite(layer: str, what: str, values: npt.NDArray[Any]) -> None:
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise ValueError(
            f"layer {layer!r}: {what} holds {np.ravel(values)[wrong[0]]} at flat index {wrong[0]} "
            f"({wrong.size} values are not finite). Train again from an earlier checkpoint."
        )
