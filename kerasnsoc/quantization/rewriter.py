"""Models with quantized layers, from float ones or from others."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasnsoc.quantization import graph, neural, quantizers
from kerasnsoc.quantization.activations import (
    ActivationDiscreteRelu,
    QuantizedActivation,
    QuantizedReLU,
)
from kerasnsoc.quantization.graph import Graph, Node
from kerasnsoc.quantization.loading import load_quantized_model
from kerasnsoc.quantization.policy import check_dtype_policy
from kerasnsoc.quantization.quantizers import (
    MaxPerAxisQuantizer,
    MaxQuantizer,
    Quantizer,
    TrainableWeightQuantizer,
    WeightFloat,
    WeightQuantizer,
)
from kerasnsoc.quantization.transforms import fold_batchnorm, invert_pooling_batchnorm

QuantizerFunction = Callable[[keras.layers.Layer, Quantizer], Quantizer]


def quantize(
    model: keras.Model,
    weight_quantization: int = 0,
    activ_quantization: int = 0,
    input_weight_quantization: int | None = None,
    *,
    fold_BN: bool = True,
    quantizer_function: QuantizerFunction | None = None,
) -> keras.Model:
    """Get a quantized copy of a model: neural layers and activations with a few bits.

    Convolutions and dense layers become quantized ones with `MaxPerAxisQuantizer` (depthwise
    kernels: `MaxQuantizer`), ReLUs (also ``Activation("relu")``) become `ActivationDiscreteRelu`
    whatever their maximum. Batch
    normalizations are moved before poolings and folded first. Layers that are already quantized
    keep the class of their quantizer or activation and change the bit width. Everything else
    is copied, the last layer like all others. Names stay.

    Parameters
    ----------
    model : keras.Model
        Sequential or functional: a chain of layers, with concatenations of branches; float or
        already quantized. Never modified.
    weight_quantization : int
        Bits of weights, 2 to 8; 0 keeps floats, in quantized layers with `WeightFloat`.
    activ_quantization : int
        Bits of activations, 1 to 8; 0 keeps ReLUs, and makes ReLUs of quantized activations.
        Conversion takes 1, 2, 3, 4 or 8.
    input_weight_quantization : int, optional
        Bits of the first neural layer's weights. Default: as `weight_quantization`.
    fold_BN : bool
        False leaves batch normalizations where they are.
    quantizer_function : callable, optional
        ``(source layer, default quantizer) -> quantizer``, asked for each kernel.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    ValueError
        If a bit width is out of range, or a layer has a dtype policy other than float32 or float64.
    RuntimeError
        If a layer or the way layers are connected is not supported; the message names the layer.

    Warns
    -----
    UserWarning
        If a batch normalization is folded into a layer that was already quantized, or stays
        behind a float layer with ``fold_BN=False``; if activations of 5 to 7 bits are asked for.

    See Also
    --------
    quantize_layer : the same for one layer.
    """
    weight_bits = _check_weight_bits("weight_quantization", weight_quantization)
    activ_bits = _check_bits("activ_quantization", activ_quantization, range(9))
    if activ_bits in (5, 6, 7):
        warnings.warn(
            f"activ_quantization is {activ_bits}: such a model trains, but convert takes "
            f"activations of 1, 2, 3, 4 or 8 bits only.",
            UserWarning,
            stacklevel=2,
        )
    input_bits = weight_bits
    if input_weight_quantization is not None:
        input_bits = _check_weight_bits("input_weight_quantization", input_weight_quantization)

    network = graph.read(model)
    for node in network.nodes:
        check_layer(node)
    if fold_BN:
        invert_pooling_batchnorm(network)
        for name in fold_batchnorm(network):
            warnings.warn(
                f"A batch normalization is folded into layer {name!r}, which was already "
                "quantized: its scale factors are frozen to keep its integers. Better quantize the "
                "float model.",
                UserWarning,
                stacklevel=2,
            )
    else:
        for name in _kept_batchnorms(network):
            warnings.warn(
                f"BatchNormalization {name!r} stays behind a float layer: the range of the new "
                "quantizer does not take its scales into account, and conversion folds it later. "
                "Use fold_BN=True.",
                UserWarning,
                stacklevel=2,
            )
    bits = input_bits
    for node in network.nodes:
        if neural.is_neural(node):
            _quantize_neural(node, bits, quantizer_function)
            bits = weight_bits
        elif _is_activation(node):
            _quantize_activation(node, activ_bits)
    return network.build()


def quantize_layer(
    model: keras.Model, target_layer: int | str | keras.layers.Layer, bitwidth: int
) -> keras.Model:
    """Get a copy of a model with one layer quantized, by the rules of `quantize`.

    Nothing is folded or moved.

    Parameters
    ----------
    model : keras.Model
        Never modified.
    target_layer : int, str or keras.layers.Layer
        Index into ``model.layers``, name, or the layer itself: a convolution, a dense layer, a
        ReLU, or the quantized version of one.
    bitwidth : int
        2 to 8 for weights, 1 to 8 for activations; 0 gives float weights, or a ReLU.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    ValueError
        If there is no such layer, it cannot be quantized, or the bit width is out of range.
    RuntimeError
        As `quantize`.
    """
    _check_bits("bitwidth", bitwidth, range(9))
    network = graph.read(model)
    layer = _find_layer(model, target_layer)
    node = next((n for n in network.nodes if n.source is layer), None)
    if node is None or not (neural.is_neural(node) or _is_activation(node)):
        raise ValueError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be quantized. Choose a Conv2D, "
            "DepthwiseConv2D, SeparableConv2D, Dense or ReLU layer, or a quantized one."
        )
    if neural.is_neural(node):
        bitwidth = _check_weight_bits("bitwidth", bitwidth)
        check_layer(node)
        _quantize_neural(node, bitwidth, None)
    else:
        check_layer(node)
        _quantize_activation(node, int(bitwidth))
    return network.build()


def create_trainable_quantizer_model(
    quantized_model: keras.Model | str | os.PathLike[str],
) -> keras.Model:
    """Get a copy of a quantized model whose quantizers learn.

    Each `WeightQuantizer` becomes a `TrainableWeightQuantizer` and each `ActivationDiscreteRelu`
    a `QuantizedReLU`, with the same arguments: at first the outputs are the same numbers. Other
    quantizers and layers stay.

    Parameters
    ----------
    quantized_model : keras.Model or path
        Never modified.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    RuntimeError
        If the model has several inputs or outputs, shared layers or nested models.
    """
    model = quantized_model
    if isinstance(model, str | os.PathLike):
        model = load_quantized_model(model, compile=False)
    network = graph.read(model, only_concatenate=False)
    for node in network.nodes:
        if neural.is_quantized(node):
            arrays = neural.parameters(node)
            for name in neural.quantizer_names(node):
                quantizer = quantizers.get(node.config[name])
                if type(quantizer) is WeightQuantizer:
                    learning = TrainableWeightQuantizer(**quantizer.get_config())
                    node.config[name] = quantizers.serialize(learning)
                    arrays.learned[name] = [np.asarray(quantizer.threshold, np.float32)]
            node.weights = arrays.arrays()
        elif node.cls is ActivationDiscreteRelu:
            _replace_activation(node, QuantizedReLU, node.config["bitwidth"])
            # Its variables start where the fixed activation is.
            initial = QuantizedReLU.from_config(node.config)
            initial.build((None,))
            node.weights = initial.get_weights()
    return network.build()


def _check_bits(name: str, bits: Any, allowed: range, also: tuple[int, ...] = ()) -> int:
    valid = isinstance(bits, int | np.integer) and not isinstance(bits, bool)
    if not valid or (bits not in allowed and bits not in also):
        choice = "".join(f"{b} or " for b in also) + f"{allowed[0]} to {allowed[-1]}"
        raise ValueError(f"{name} is {bits!r}, but must be an integer: {choice}.")
    return int(bits)


def _check_weight_bits(name: str, bits: Any) -> int:
    return _check_bits(name, bits, range(2, 9), also=(0,))


def _is_activation(node: Node) -> bool:
    named = node.cls is keras.layers.Activation and node.config["activation"] in ("relu", "relu6")
    return named or node.cls is keras.layers.ReLU or node.is_a(QuantizedActivation)


def check_layer(node: Node) -> None:
    """Refuse a layer that cannot be quantized without changing its function."""
    if neural.is_neural(node):
        neural.check_supported(node)
        check_dtype_policy(node.source)
    elif _is_activation(node):
        check_dtype_policy(node.source)
        for argument in ("negative_slope", "threshold"):
            value = float(node.config.get(argument) or 0.0)
            if node.cls is keras.layers.ReLU and value != 0:
                raise RuntimeError(
                    f"ReLU layer {node.name!r} has {argument}={value}, which quantized activations "
                    f"do not support. Use {argument}=0."
                )


def _kept_batchnorms(network: Graph) -> list[str]:
    return [
        node.name
        for node in network.nodes
        if node.is_a(keras.layers.BatchNormalization)
        and neural.is_neural(node.inputs[0])
        and not _is_integer(node.inputs[0])
    ]


def _is_integer(node: Node) -> bool:
    """Whether the layer has quantized kernels already."""
    return neural.is_quantized(node) and all(
        quantizers.get(node.config[name]).bitwidth for name in neural.quantizer_names(node)
    )


def _quantize_neural(node: Node, bits: int, function: QuantizerFunction | None) -> None:
    names = neural.quantizer_names(node)
    arrays = neural.parameters(node)
    was_quantized = neural.is_quantized(node)
    cls = node.cls if was_quantized else neural.QUANTIZED_CLASS[node.cls]
    config = {key: value for key, value in node.config.items() if key not in cls.UNSUPPORTED}
    config.pop("quantization_config", None)
    for name in names:
        old = neural.quantizer_of(node, name) if was_quantized else WeightFloat()
        depthwise = name == "quantizer_dw" or issubclass(cls, keras.layers.DepthwiseConv2D)
        new = _new_quantizer(old, bits, MaxQuantizer if depthwise else MaxPerAxisQuantizer)
        if function is not None:
            new = quantizers.get(function(node.source, new))
        config[name] = quantizers.serialize(new)
        if not (was_quantized and type(new) is type(old)):
            holder = quantizers.get(config[name]).build(arrays.kernels[name].shape, name=name)
            arrays.learned[name] = [] if holder is None else holder.get_weights()
    node.cls, node.config, node.weights = cls, config, arrays.arrays()


def _new_quantizer(old: Quantizer, bits: int, default: Callable[[int], Quantizer]) -> Quantizer:
    if bits == 0:
        return WeightFloat()
    return old.with_bitwidth(bits) if old.bitwidth else default(bits)


def _quantize_activation(node: Node, bits: int) -> None:
    quantized = node.is_a(QuantizedActivation)
    if bits:
        if quantized:
            node.config["bitwidth"] = bits
        else:
            _replace_activation(node, ActivationDiscreteRelu, bits)
    elif quantized:
        levels = 2 ** node.config["bitwidth"] - 1
        _replace_activation(node, keras.layers.ReLU, None)
        node.config["max_value"] = float(min(levels, 6))


def _replace_activation(node: Node, cls: type, bits: int | None) -> None:
    node.cls = cls
    node.config = {key: node.config[key] for key in ("name", "trainable", "dtype")}
    if bits is not None:
        node.config["bitwidth"] = bits
    node.weights = []


def _find_layer(model: keras.Model, target: Any) -> keras.layers.Layer:
    layers = model.layers
    if isinstance(target, str):
        found = [layer for layer in layers if layer.name == target]
    elif isinstance(target, int | np.integer) and not isinstance(target, bool):
        found = layers[target : target + 1 or None]
    else:
        found = [layer for layer in layers if layer is target]
    if not found:
        names = ", ".join(repr(layer.name) for layer in layers)
        raise ValueError(
            f"target_layer is {target!r}, but model {model.name!r} has no such layer. Pass an "
            f"index from 0 to {len(layers) - 1}, a layer, or one of the names {names}."
        )
    layer: keras.layers.Layer = found[0]
    return layer
