"""Removal of whole filters with small weights [1]_.

.. [1] H. Li et al., "Pruning Filters for Efficient ConvNets", arXiv 1608.08710, 2017.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.quantization import (
    QuantizedActivation,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedSeparableConv2D,
    graph,
    neural,
    quantizers,
)
from kerasnsoc.quantization.graph import Graph, Node
from kerasnsoc.quantization.transforms import (
    fold_batchnorm,
    invert_pooling_batchnorm,
)

Mask = npt.NDArray[np.bool_]
_RATES = tuple(k / 10 for k in range(1, 10))

_layers = keras.layers
_PRUNABLE = (
    *(_layers.Conv2D, _layers.SeparableConv2D, _layers.Dense),
    *(QuantizedConv2D, QuantizedSeparableConv2D, QuantizedDense),
)
_UNCHANGED = (
    *(_layers.InputLayer, _layers.MaxPooling2D, _layers.AveragePooling2D),
    *(_layers.GlobalAveragePooling2D, _layers.GlobalMaxPooling2D, _layers.Dropout),
    *(_layers.ReLU, _layers.Softmax, _layers.Activation, QuantizedActivation),
)


def neural_layers(model: keras.Model) -> list[str]:
    """Names of the layers with filters, from the output to the input, without the last one.

    Parameters
    ----------
    model : keras.Model

    Returns
    -------
    list of str
        Convolutions, separable convolutions and dense layers, quantized or not. The last one
        classifies: its filters are the classes.
    """
    names = [layer.name for layer in model.layers if isinstance(layer, _PRUNABLE)]
    return names[-2::-1]


def smallest_filters(layer: keras.layers.Layer, pruning_rate: float) -> npt.NDArray[np.intp]:
    """Indices of the filters with the smallest mean magnitude of weights.

    Parameters
    ----------
    layer : keras.layers.Layer
        A layer with filters; of a separable convolution, the pointwise kernel counts.
    pruning_rate : float
        Share of the filters, 0 to less than 1.

    Returns
    -------
    ndarray of int, shape (filters,)
        ``round(n · rate)`` of them, at most n - 1, smallest first; equal ones by index.

    Raises
    ------
    ValueError
        If the rate is out of range, or the layer has no filters.
    """
    if not 0 <= pruning_rate < 1:
        raise ValueError(
            f"pruning_rate is {pruning_rate!r}, but it must be at least 0 and below 1: a layer "
            f"keeps a filter"
        )
    if not isinstance(layer, _PRUNABLE):
        raise ValueError(
            f"layer {layer.name!r} ({type(layer).__name__}) has no filters. Choose a convolution, "
            f"a separable convolution or a dense layer."
        )
    is_separable = isinstance(layer, _layers.SeparableConv2D | QuantizedSeparableConv2D)
    variable = layer.pointwise_kernel if is_separable else layer.kernel
    kernel = np.abs(keras.ops.convert_to_numpy(variable).astype(np.float64))
    means = kernel.reshape(-1, kernel.shape[-1]).mean(axis=0)
    count = min(round(len(means) * pruning_rate), len(means) - 1)
    return np.argsort(means, kind="stable")[:count]


def delete_filters(
    model: keras.Model, layer_to_prune: str, filters_to_prune: Iterable[int]
) -> keras.Sequential:
    """Get a copy of a model without some filters of one layer.

    The layers behind it lose what they had for these channels. Deleting filters of a layer followed
    by batch normalization and ReLU equals multiplying their channels by 0 behind the ReLU.

    Parameters
    ----------
    model : keras.Model
        A chain of layers, sequential or functional; never modified.
    layer_to_prune : str
        A convolution, separable convolution or dense layer, quantized or not.
    filters_to_prune : iterable of int
        Indices; duplicates count once.

    Returns
    -------
    keras.Sequential
        Not compiled; names and arguments of the layers stay.

    Raises
    ------
    ValueError
        If there is no such layer, it has no filters, or an index is out of range.
    RuntimeError
        If all filters would go, the model is no chain, or a layer behind cannot be cut.

    Notes
    -----
    A quantizer that takes its scale from the largest weight takes it from what is left: then the
    integers of the next layer may change. Fixed scales (`ScaleFactorQuantizer`) are cut along.
    """
    network = _read_chain(model)
    node = next((node for node in network.nodes if node.name == layer_to_prune), None)
    if node is None:
        names = ", ".join(node.name for node in network.nodes if node.is_a(*_PRUNABLE))
        raise ValueError(
            f"model {model.name!r} has no layer {layer_to_prune!r}; layers with filters are {names}"
        )
    if not node.is_a(*_PRUNABLE):
        raise ValueError(
            f"layer {layer_to_prune!r} ({node.cls.__name__}) has no filters. Choose a "
            f"convolution, a separable convolution or a dense layer."
        )
    outbound = _kept(node, filters_to_prune)
    mask: Mask = np.ones(0, bool)
    for current in network.nodes:
        mask = _cut(current, mask, outbound if current is node else None)
    network.sequential = True
    return network.build()


def prune_model(
    model: keras.Model,
    acceptance_function: Callable[[keras.Model, keras.Model], Any],
    pruning_rates: Sequence[float] | None = None,
    prunable_layers_policy: Callable[[keras.Model], Sequence[str]] = neural_layers,
    prunable_filters_policy: Callable[[Any, float], Any] = smallest_filters,
    *,
    verbose: bool = True,
) -> tuple[keras.Sequential, dict[str, float]]:
    """Delete filters, layer by layer, as long as the result is accepted.

    Batch normalizations are folded first. Then each layer tries the rates in turn, each on the
    layer as it was when its turn began; the first one that is not accepted ends the turn.

    Parameters
    ----------
    model : keras.Model
        A chain of layers, sequential or functional; never modified.
    acceptance_function : callable
        ``(model, candidate) -> bool``; the candidate is compiled like the model, if that is.
    pruning_rates : sequence of float, optional
        Shares of filters to try, in this order. Default: 0.1, 0.2, … 0.9.
    prunable_layers_policy : callable
        ``model -> names`` in the order of their turns.
    prunable_filters_policy : callable
        ``(layer, rate) -> indices``.
    verbose : bool
        Print a line for each layer.

    Returns
    -------
    pruned_model : keras.Sequential
        Compiled like the model, if that is.
    rates : dict of str to float
        The accepted share of each layer, 0.0 where nothing was accepted.

    Raises
    ------
    RuntimeError, ValueError
        As `delete_filters`.
    """
    network = _read_chain(model)
    invert_pooling_batchnorm(network)
    fold_batchnorm(network)
    network.sequential = True
    current = network.build()
    rates = dict.fromkeys(prunable_layers_policy(current), 0.0)
    for name in rates:
        start = best = current
        tried = 0
        for rate in _RATES if pruning_rates is None else pruning_rates:
            indices = np.unique(prunable_filters_policy(_layer(start, name), rate))
            if len(indices) in (0, tried):
                continue
            tried = len(indices)
            candidate = delete_filters(start, name, indices)
            _compile_like(model, candidate)
            if not acceptance_function(model, candidate):
                break
            best, rates[name] = candidate, float(rate)
        current = best
        if verbose:
            print(
                f"{name}: {rates[name]:.0%} of the filters deleted, parameters "
                f"{start.count_params():,} → {current.count_params():,}",
                flush=True,
            )
    _compile_like(model, current)
    return current, rates


def _read_chain(model: keras.Model) -> Graph:
    try:
        network = graph.read(model, only_concatenate=False)
    except RuntimeError as error:
        raise RuntimeError(f"only linear models can be pruned: {error}") from error
    for node in network.nodes:
        readers = network.consumers(node)
        if len(node.inputs) > 1 or len(readers) > 1 or (readers and node is network.output):
            raise RuntimeError(
                f"only linear models can be pruned, but model {model.name!r} branches or joins at "
                f"layer {node.name!r}"
            )
    return network


def _layer(model: keras.Model, name: str) -> keras.layers.Layer:
    layer = next((layer for layer in model.layers if layer.name == name), None)
    if layer is None:
        raise ValueError(f"prunable_layers_policy names {name!r}, which is no layer of the model")
    return layer


def _kept(node: Node, filters_to_prune: Iterable[int]) -> Mask:
    count = node.weights[_filtering_kernel(node)].shape[-1]
    mask = np.ones(count, bool)
    for value in filters_to_prune:
        try:
            index = operator.index(value)
        except TypeError:
            index = -1
        if not 0 <= index < count:
            raise ValueError(
                f"filter {value!r} does not exist: layer {node.name!r} has filters 0 to {count - 1}"
            )
        mask[index] = False
    if not mask.any():
        raise RuntimeError(
            f"all {count} filters of layer {node.name!r} would be deleted; keep one at least"
        )
    return mask


def _filtering_kernel(node: Node) -> int:
    return len(neural.quantizer_names(node)) - 1


def _cut(node: Node, inbound: Mask, outbound: Mask | None) -> Mask:
    """Slice the arrays of a layer; returns which channels leave it."""
    if node.is_a(_layers.InputLayer):
        return np.ones(node.shape[-1] or 0, bool)
    if node.is_a(*_PRUNABLE):
        return _cut_neural(node, inbound, outbound)
    if node.is_a(_layers.BatchNormalization):
        node.weights = [array[inbound] for array in node.weights]
        return inbound
    if node.is_a(_layers.Flatten):
        # the channel index varies fastest
        return np.tile(inbound, math.prod(_known(node.inputs[0])[:-1]))
    if node.is_a(_layers.Reshape) and _moves_only_channels(node):
        target = list(node.config["target_shape"])
        node.config["target_shape"] = (*target[:-1], int(inbound.sum()))
        return inbound
    if node.is_a(_layers.Rescaling) and (inbound.all() or np.ndim(node.config["scale"]) == 0):
        return inbound
    if node.is_a(*_UNCHANGED):
        return inbound
    raise RuntimeError(
        f"layer {node.name!r} ({node.cls.__name__}) is not supported by filter pruning: it is not "
        f"known which of its weights belong to a deleted filter"
    )


def _known(node: Node) -> tuple[int, ...]:
    shape = node.shape[1:]
    if None in shape:
        raise RuntimeError(
            f"layer {node.name!r} has the open shape {shape}, so that the channels behind it "
            f"cannot be counted. Give the input all its dimensions."
        )
    return tuple(int(n) for n in shape if n is not None)


def _moves_only_channels(node: Node) -> bool:
    """Whether a reshape only adds or removes dimensions of 1 before the channels."""
    before, after = _known(node.inputs[0]), _known(node)
    return before[-1] == after[-1] and math.prod(before) == math.prod(after) == after[-1]


def _cut_neural(node: Node, inbound: Mask, outbound: Mask | None) -> Mask:
    _check_channels(node)
    arrays = neural.parameters(node)
    last = neural.quantizer_names(node)[-1]
    if outbound is None:
        outbound = np.ones(arrays.kernels[last].shape[-1], bool)
    for name, kernel in arrays.kernels.items():
        cut = kernel[..., inbound, :]
        arrays.kernels[name] = cut[..., outbound] if name == last else cut
        if neural.is_quantized(node):
            # a depthwise kernel has its channels on the axis before the last
            _cut_quantizer(node, name, kernel.shape, {-2: inbound, -1: outbound}, name == last)
    if arrays.bias is not None:
        arrays.bias = arrays.bias[outbound]
    node.config["units" if "units" in node.config else "filters"] = int(outbound.sum())
    node.weights = arrays.arrays()
    return outbound


def _check_channels(node: Node) -> None:
    for argument, only in (("groups", 1), ("data_format", "channels_last")):
        if node.config.get(argument, only) != only:
            raise RuntimeError(
                f"layer {node.name!r} has {argument}={node.config[argument]!r}, which filter "
                f"pruning does not support. Use {only!r}."
            )


def _cut_quantizer(
    node: Node, name: str, shape: tuple[int, ...], masks: dict[int, Mask], is_last: bool
) -> None:
    """Slice the scale factors that a quantizer holds for single channels."""
    quantizer = quantizers.get(node.config[name])
    if not isinstance(quantizer, quantizers.ScaleFactorQuantizer):
        return  # all others compute them from the weights, or learn one for the kernel
    own = quantizer.scale_factors
    if not own.ndim:
        return
    rank = own.ndim
    own = own.reshape((1,) * (len(shape) - rank) + own.shape)
    for axis, mask in masks.items():
        if own.shape[axis] > 1 and (axis == -2 or is_last):
            own = np.compress(mask, own, axis=axis)
    own = own.reshape(own.shape[-rank:])
    new = {**quantizer.get_config(), "scale_factors": own.tolist()}
    node.config[name] = quantizers.serialize(type(quantizer).from_config(new))


def _compile_like(model: keras.Model, candidate: keras.Model) -> None:
    if not getattr(model, "compiled", False) or candidate.compiled:
        return
    try:
        candidate.compile_from_config(model.get_compile_config())
    except (TypeError, ValueError, AttributeError) as error:
        warnings.warn(
            f"the pruned model could not be compiled like {model.name!r}: {error}. Compile it in "
            f"the acceptance function.",
            UserWarning,
            stacklevel=3,
        )
