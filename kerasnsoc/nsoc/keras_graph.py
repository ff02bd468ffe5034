"""A Keras model as plain operations. Keras is imported here, and only when a model is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from kerasnsoc._extras import require
from kerasnsoc.nsoc.core_graph import Shape
from kerasnsoc.nsoc.errors import InputConfigurationError, InvalidGraphError
from kerasnsoc.nsoc.operations import Operation, OperationGraph

_REMOVED = (
    "Identity",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
)

_LEAK = (
    "neurons of this chip do not leak. Use IAF; where a leak is needed, express it as a negative "
    "bias and set slow_clk_frequency."
)
_MAX = (
    "a chip of this kind adds the spikes of a window, it does not compare them. Use SumPooling2D "
    "or AveragePooling2D; on 'akd1000', freeze a quantized model to an artifact, which may pool "
    "maxima."
)
_SEPARABLE = (
    "two convolutions without spikes in between. Put IAF between a DepthwiseConv2D and a 1x1 "
    "Conv2D; on 'akd1000', freeze a quantized model to an artifact, which may be separable."
)
_QUANTIZED = (
    "quantized layers become an artifact (kerasnsoc.convert), which runs on 'akd1000'. For a chip "
    "with spiking neurons use the plain Keras layer; its weights are made integers here."
)

Reader = Callable[[Any], tuple[str, dict[str, Any]]]


def read_keras(model: Any, input_shape: Shape | None = None) -> OperationGraph:
    """The operations of a model, nested models flattened.

    Parameters
    ----------
    model : keras.Sequential, or functional keras.Model
        Not modified.
    input_shape : tuple of int, (C, H, W), optional
        Needed only for a Sequential that is not built.

    Returns
    -------
    OperationGraph

    Raises
    ------
    InputConfigurationError
        If the input has no fixed shape, or other axes than height, width and channels.
    InvalidGraphError
        If the model is neither sequential nor functional.
    ImportError
        If Keras is not installed, naming the extra.
    """
    require("keras", "train")
    from kerasnsoc.spiking._graph import graph_of

    model = _built(model, input_shape)
    try:
        graph = graph_of(model)
    except ValueError as error:
        raise InvalidGraphError(str(error)) from None
    reader = _GraphReader()
    inputs = [reader.add_input(tensor) for tensor in graph.inputs]
    outputs = reader.read(graph, inputs, ())
    return OperationGraph(tuple(reader.ordered()), tuple(outputs), model.name)


def load_keras(path: str | os.PathLike[str]) -> Any:
    """A saved Keras model; its code, if it holds any, is not run.

    Raises
    ------
    ValueError, OSError
        If Keras cannot load it.
    ImportError
        If Keras is not installed, naming the extra.
    """
    with open(path, "rb") as file:  # a missing file is a FileNotFoundError
        start = file.read(8)
    if not start.startswith(b"PK"):
        raise ValueError(
            f"{os.fspath(path)!r} is no .keras archive: it begins with {start!r}. Save the model "
            "with model.save('name.keras')."
        )
    keras: Any = require("keras", "train")
    import kerasnsoc.layers  # noqa: F401  (registers the layers that a file may name)

    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _built(model: Any, input_shape: Shape | None) -> Any:
    import keras

    if not isinstance(model, keras.Sequential) or model.built:
        return model
    if input_shape is None:
        raise InputConfigurationError(
            f"model {model.name!r} is not built, so that its input shape is not known. Pass "
            "input_shape=(features, height, width), or begin the model with "
            "keras.Input((height, width, channels))."
        )
    # It has no weights yet, so that a copy differs in nothing; the model itself stays as it is.
    copy = keras.models.clone_model(model)
    channels, height, width = input_shape
    copy.build((None, height, width, channels))
    return copy


class _GraphReader:
    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.paths: list[tuple[int, ...]] = []

    def add(
        self,
        name: str,
        kind: Any,
        layer_type: str,
        inputs: tuple[int, ...],
        path: tuple[int, ...],
        arguments: Mapping[str, Any] | None = None,
    ) -> int:
        position = len(self.operations)
        self.operations.append(
            Operation(name, kind, layer_type, inputs, position, dict(arguments or {}))
        )
        self.paths.append(path)
        return position

    def add_input(self, tensor: Any) -> int:
        shape = tuple(tensor.shape)
        arguments = {"shape": _input_shape(shape)}
        return self.add("input", "input", "InputLayer", (), (-1,), arguments)

    def read(self, graph: Any, inputs: list[int], prefix: tuple[int, ...]) -> list[int]:
        from kerasnsoc.spiking._graph import graph_of, is_graph, nodes_of

        position_of = {id(layer): i for i, layer in enumerate(graph.layers)}
        values = dict(zip(map(id, graph.inputs), inputs, strict=True))
        for node in nodes_of(graph):
            if node.is_input:
                continue
            taken = [values[id(tensor)] for tensor in node.graph_inputs]
            path = (*prefix, position_of.get(id(node.operation), len(position_of)))
            if is_graph(node.operation):
                given = self.read(graph_of(node.operation), taken, path)
            else:
                given = [self.read_layer(node.operation, taken, path)]
                given *= len(node.graph_outputs)
            values.update(zip(map(id, node.graph_outputs), given, strict=True))
        return [values[id(tensor)] for tensor in graph.outputs]

    def read_layer(self, layer: Any, taken: list[int], path: tuple[int, ...]) -> int:
        from kerasnsoc.spiking._graph import unwrapped

        layer = unwrapped(layer)
        name, layer_type = str(layer.name), type(layer).__name__
        kind, arguments = describe_layer(layer)
        position = self.add(name, kind, layer_type, tuple(taken), path, arguments)
        activation = getattr(layer, "activation", None)
        if kind in ("conv", "dense") and activation is not None:
            follower = _activation(activation)
            if follower is not None:
                position = self.add(name, follower[0], layer_type, (position,), path, follower[1])
        return position

    def ordered(self) -> list[Operation]:
        """Operations with their place among the layers, depth first; the input has place 0."""
        ranks = {path: rank for rank, path in enumerate(sorted(set(self.paths)))}
        return [
            replace(operation, order=ranks[path])
            for operation, path in zip(self.operations, self.paths, strict=True)
        ]


def _input_shape(shape: tuple[Any, ...]) -> Shape | None:
    """(C, H, W) of (batch, [time,] height, width, channels) or (batch, [time,] features)."""
    if len(shape) in (4, 5):
        height, width, channels = shape[-3:]
    elif len(shape) in (2, 3):
        height, width, channels = 1, 1, shape[-1]
    else:
        raise InputConfigurationError(
            f"the model takes inputs of shape {shape}, but a chip takes (batch, height, width, "
            "channels) or (batch, features), with or without a time axis behind the batch"
        )
    if None in (height, width, channels):
        return None
    return int(channels), int(height), int(width)


def describe_layer(layer: Any) -> tuple[Any, dict[str, Any]]:
    """Kind and arguments of a layer, as `Operation` lists them."""
    reader = _readers().get(type(layer))
    if reader is not None:
        return reader(layer)
    if type(layer).__name__ == "Add":  # x + y on symbolic tensors
        return "add", {}
    reason = f"layers of the type {type(layer).__name__} have no counterpart on a chip"
    if type(layer).__module__.startswith("kerasnsoc.quantization"):
        reason = _QUANTIZED
    else:
        for parent, text in _refusals():
            if isinstance(layer, parent):
                reason = text
                break
    return "unsupported", {"reason": reason}


@cache
def _readers() -> dict[type, Reader]:
    """How each layer is read, by its exact class: a subclass may compute anything."""
    from keras import layers

    from kerasnsoc.spiking import IAF, SumPooling2D
    from kerasnsoc.spiking.dvs import Crop2D, DVSInput, FlipDims, Merge

    readers: dict[type, Reader] = {
        getattr(layers, name): lambda layer: ("identity", {}) for name in _REMOVED
    }
    readers |= {
        layers.Flatten: lambda layer: ("flatten", {}),
        layers.Reshape: _read_reshape,
        layers.Conv2D: _read_conv,
        layers.DepthwiseConv2D: _read_depthwise,
        layers.Dense: _read_dense,
        layers.BatchNormalization: _read_batchnorm,
        layers.AveragePooling2D: lambda layer: _read_pool(layer, True),
        layers.GlobalAveragePooling2D: _read_global_pool,
        layers.ReLU: _read_relu,
        layers.Activation: _read_activation,
        layers.ZeroPadding2D: _read_padding,
        layers.Cropping2D: _read_cropping,
        layers.Concatenate: _read_concatenate,
        layers.Add: lambda layer: ("add", {}),
        SumPooling2D: lambda layer: _read_pool(layer, False),
        IAF: _read_iaf,
        Crop2D: lambda layer: ("crop", {"keep": layer.crop}),
        FlipDims: lambda layer: (
            "flip",
            {"flip_x": layer.flip_x, "flip_y": layer.flip_y, "swap_xy": layer.swap_xy},
        ),
        DVSInput: lambda layer: (
            "dvs",
            {
                "merge": layer.merge_polarities,
                "pool": layer.pool_size,
                "crop": layer.crop,
                "flip_x": layer.flip_x,
                "flip_y": layer.flip_y,
                "swap_xy": layer.swap_xy,
                "pixel_array": not layer.disable_pixel_array,
            },
        ),
        Merge: lambda layer: ("add", {}),
    }
    return readers


@cache
def _refusals() -> tuple[tuple[type, str], ...]:
    """Known layers without counterpart, and what to do instead."""
    from keras import layers

    from kerasnsoc.spiking import LIF, Alpha, Lowpass, SpikingActivation

    rates = "it answers with rates; use kerasnsoc.layers.IAF, which counts spikes"
    return (
        (layers.SeparableConv2D, _SEPARABLE),
        (layers.MaxPooling2D, _MAX),
        (layers.GlobalMaxPooling2D, _MAX),
        (LIF, _LEAK),
        (Alpha, _LEAK),
        (Lowpass, _LEAK),
        (SpikingActivation, rates),
    )


def _refused(reason: str) -> tuple[str, dict[str, Any]]:
    return "unsupported", {"reason": reason}


def _is_channels_first(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_first"


_FORMAT = "data_format='channels_first'; use 'channels_last'"


def _array(variable: Any) -> Any:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _bias(layer: Any) -> Any:
    return _array(layer.bias) if layer.use_bias else None


def _read_conv(layer: Any) -> tuple[str, dict[str, Any]]:
    if _is_channels_first(layer):
        return _refused(_FORMAT)
    if tuple(layer.dilation_rate) != (1, 1):
        return _refused(f"a dilation of {tuple(layer.dilation_rate)}, but kernels have no gaps")
    return "conv", {
        "weights": _array(layer.kernel).transpose(3, 2, 0, 1),
        "bias": _bias(layer),
        "stride": tuple(map(int, layer.strides)),
        "padding": layer.padding,
        "groups": int(layer.groups),
    }


def _read_depthwise(layer: Any) -> tuple[str, dict[str, Any]]:
    if _is_channels_first(layer):
        return _refused(_FORMAT)
    if tuple(layer.dilation_rate) != (1, 1):
        return _refused(f"a dilation of {tuple(layer.dilation_rate)}, but kernels have no gaps")
    kernel = _array(layer.kernel)  # (Ky, Kx, C, multiplier); feature c * multiplier + m
    ky, kx, channels, multiplier = kernel.shape
    weights = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, ky, kx)
    return "conv", {
        "weights": weights,
        "bias": _bias(layer),
        "stride": tuple(map(int, layer.strides)),
        "padding": layer.padding,
        "groups": channels,
    }


def _read_dense(layer: Any) -> tuple[str, dict[str, Any]]:
    if getattr(layer, "lora_enabled", False):
        return _refused("LoRA weights; merge them first")
    return "dense", {"weights": _array(layer.kernel), "bias": _bias(layer)}


def _read_batchnorm(layer: Any) -> tuple[str, dict[str, Any]]:
    if layer.axis not in (-1, layer.input_spec.ndim - 1):
        return _refused(f"axis {layer.axis}; batch normalization along the last axis can be folded")
    features = int(layer.moving_mean.shape[0])
    return "batchnorm", {
        "gamma": _array(layer.gamma) if layer.scale else np.ones(features, np.float32),
        "beta": _array(layer.beta) if layer.center else np.zeros(features, np.float32),
        "mean": _array(layer.moving_mean),
        "variance": _array(layer.moving_variance),
        "epsilon": float(layer.epsilon),
    }


def _read_pool(layer: Any, is_average: bool) -> tuple[str, dict[str, Any]]:
    if _is_channels_first(layer):
        return _refused(_FORMAT)
    size, strides = tuple(map(int, layer.pool_size)), tuple(map(int, layer.strides))
    if layer.padding != "valid" or strides != size:
        return _refused(
            f"pool_size {size}, strides {strides} and padding {layer.padding!r}, but windows of a "
            "chip do not overlap: use strides=None and padding='valid'"
        )
    return "pool", {"size": size, "is_average": is_average}


def _read_global_pool(layer: Any) -> tuple[str, dict[str, Any]]:
    return _refused(_FORMAT) if _is_channels_first(layer) else ("global_pool", {})


def _read_relu(layer: Any) -> tuple[str, dict[str, Any]]:
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        return _refused("max_value, negative_slope or threshold; spikify takes the plain ReLU")
    return "relu", {}


def _read_activation(layer: Any) -> tuple[str, dict[str, Any]]:
    return _activation(layer.activation) or ("identity", {})


def _activation(function: Any) -> tuple[Any, dict[str, Any]] | None:
    """What an activation function is on a chip; None for the identity."""
    name = getattr(function, "__name__", type(function).__name__)
    if name == "linear":
        return None
    if name == "relu":
        return "relu", {}
    return _refused(
        f"activation {name!r}; neurons of a chip integrate and fire. Use kerasnsoc.layers.IAF, or "
        "'relu' with spikify=True."
    )


def _read_padding(layer: Any) -> tuple[str, dict[str, Any]]:
    if _is_channels_first(layer):
        return _refused(_FORMAT)
    (top, bottom), (left, right) = layer.padding
    return "pad", {"padding": ((int(top), int(bottom)), (int(left), int(right)))}


def _read_cropping(layer: Any) -> tuple[str, dict[str, Any]]:
    if _is_channels_first(layer):
        return _refused(_FORMAT)
    (top, bottom), (left, right) = layer.cropping
    return "crop", {"remove": ((int(top), int(bottom)), (int(left), int(right)))}


def _read_reshape(layer: Any) -> tuple[str, dict[str, Any]]:
    if len(layer.target_shape) != 1:
        return _refused(
            f"a reshape to {tuple(layer.target_shape)}; only one to a single axis, before Dense, "
            "can be undone"
        )
    return "flatten", {}


def _read_concatenate(layer: Any) -> tuple[str, dict[str, Any]]:
    rank = len(layer.output.shape) if layer.axis >= 0 else 0
    if layer.axis not in (-1, rank - 1):
        return _refused(f"axis {layer.axis}; only features (the last axis) can be concatenated")
    return "concat", {}


def _read_iaf(layer: Any) -> tuple[str, dict[str, Any]]:
    state = None
    if layer.seed is not None:
        start = layer.layer.cell.get_initial_state(batch_size=1)[0]
        array = _array(start)[0]  # ([height, width,] features)
        state = np.moveaxis(array, -1, 0) if array.ndim == 3 else array.reshape(-1, 1, 1)
    return "spike", {
        "threshold": layer.threshold,
        "min_v": layer.min_v,
        "reset": layer.reset,
        "spike_fn": layer.spike_fn,
        "initial_state": state,
        "is_last": layer.time_axis and not layer.return_sequences,
    }
