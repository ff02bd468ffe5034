"""The rules for one layer: what its arguments may be, which variables it has and what they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.errors import Reason
from kerasnsoc.artifact.geometry import Dims, output_dims
from kerasnsoc.artifact.learning import learning_fault, learning_shapes
from kerasnsoc.artifact.limits import (
    INT32_MAX,
    INT32_MIN,
    MAX_FEATURES,
    MAX_FILE_BYTES,
    MAX_SIDE,
)
from kerasnsoc.artifact.neurons import NEURON_VARIABLES, neuron_range, neuron_shapes
from kerasnsoc.artifact.schema import (
    PARAMETERS,
    VARIABLE_DTYPES,
    ActivationParameters,
    ConvolutionMode,
    FilterParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerParameters,
    LayerType,
    LearningSpec,
    NeuronSpec,
    PoolingParameters,
    PoolingType,
    SeparableConvolutionalParameters,
    SpatialParameters,
)

_FIRING = ("threshold_fire", "threshold_fire_step")
_EXTRAS = ("thresholds", "output_scale", "output_shift")
_FILTERING = ("tau", "initial_level", "output_scale", "output_shift")

REQUIRED: Mapping[LayerType, tuple[str, ...]] = MappingProxyType(
    {
        LayerType.InputData: (),
        LayerType.InputConvolutional: ("weights", *_FIRING),
        LayerType.FullyConnected: ("weights", *_FIRING),
        LayerType.Convolutional: ("weights", *_FIRING),
        LayerType.SeparableConvolutional: ("weights", "weights_pw", *_FIRING),
        LayerType.Concat: _FIRING,
        LayerType.Pooling: (),
        LayerType.Filter: _FILTERING,
    }
)
"""Variables that every layer of a kind has, unless it integrates and fires."""


def required_variables(kind: LayerType, neuron: NeuronSpec | None) -> tuple[str, ...]:
    """Variables that a layer must have, those of learning aside."""
    if neuron is None:
        return REQUIRED[kind]
    return (*(name for name in REQUIRED[kind] if name not in _FIRING), *NEURON_VARIABLES)


OPTIONAL: Mapping[LayerType, tuple[str, ...]] = MappingProxyType(
    {kind: _EXTRAS if "threshold_fire" in names else () for kind, names in REQUIRED.items()}
)
"""Variables that a layer of a kind may have: a threshold table if it has an activation, an output
scale and shift if it has none."""

ACTIVATION_BITS = (1, 2, 3, 4, 8)

_FLOAT32_MAX = float(np.finfo(np.float32).max)

_INTEGERS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "input_width": (1, MAX_SIDE),
        "input_height": (1, MAX_SIDE),
        "input_channels": (1, MAX_FEATURES),
        "input_bits": (1, 8),
        "padding_value": (0, 255),
        "kernel_width": (1, MAX_SIDE),
        "kernel_height": (1, MAX_SIDE),
        "stride_x": (1, MAX_SIDE),
        "stride_y": (1, MAX_SIDE),
        "num_neurons": (1, MAX_FEATURES),
        "weights_bits": (1, 8),
        "threshold_fire": (INT32_MIN, INT32_MAX),
        "order": (1, 2),
    }
)
_POOLING = ("pooling_width", "pooling_height", "pooling_stride_x", "pooling_stride_y")
_ENUMS: Mapping[str, type[ConvolutionMode | PoolingType]] = MappingProxyType(
    {"convolution_mode": ConvolutionMode, "pooling_type": PoolingType}
)


def check_parameters(parameters: LayerParameters) -> None:
    """Refuse arguments that no layer of this kind takes.

    Whether a window fits into the map it slides over depends on the network and is left to
    `kerasnsoc.artifact.geometry.output_dims`.

    Parameters
    ----------
    parameters : LayerParameters
        One of the dataclasses of `kerasnsoc.artifact.schema.PARAMETERS`.

    Raises
    ------
    ValueError
        If an argument has the wrong type (a bool is no integer here) or is out of its range; the
        message names it, its value and what is allowed.
    TypeError
        If `parameters` is not one of the known records.

    Examples
    --------
    >>> check_parameters(FullyConnectedParameters(num_neurons=0))
    Traceback (most recent call last):
        ...
    ValueError: num_neurons is 0, but FullyConnected takes an integer from 1 to 1048576.
    """
    if type(parameters) not in PARAMETERS.values():
        raise TypeError(
            f"parameters is a {type(parameters).__name__}, but only "
            f"{', '.join(cls.__name__ for cls in PARAMETERS.values())} describe a layer."
        )
    for entry in fields(parameters):
        _check_field(parameters, entry.name, getattr(parameters, entry.name))
    if isinstance(parameters, PoolingParameters):
        if parameters.pooling_type is PoolingType.NoPooling:
            _refuse(parameters, "pooling_type", parameters.pooling_type, "Max or Average")
        if parameters.convolution_mode is ConvolutionMode.Full:
            _refuse(parameters, "convolution_mode", parameters.convolution_mode, "Valid or Same")
    if isinstance(parameters, SpatialParameters | PoolingParameters):
        _check_pooling(parameters)


def _check_field(parameters: LayerParameters, name: str, value: Any) -> None:
    if name in _INTEGERS:
        low, high = _INTEGERS[name]
        if name == "weights_bits" and isinstance(parameters, SeparableConvolutionalParameters):
            low = 2
        if name == "input_channels" and isinstance(parameters, InputConvolutionalParameters):
            if type(value) is not int or value not in (1, 3):
                _refuse(parameters, name, value, "1 (grey) or 3 (colour)")
        elif type(value) is not int or not low <= value <= high:
            _refuse(parameters, name, value, f"an integer from {low} to {high}")
    elif name in _POOLING:
        if type(value) is not int or not (value == -1 or 1 <= value <= MAX_SIDE):
            default = "the window's size" if "stride" in name else "the whole axis"
            _refuse(parameters, name, value, f"-1 ({default}) or an integer from 1 to {MAX_SIDE}")
    elif name in _ENUMS:
        if type(value) is not _ENUMS[name]:
            members = ", ".join(f"{_ENUMS[name].__name__}.{m.name}" for m in _ENUMS[name])
            _refuse(parameters, name, value, f"one of {members}")
    elif name == "threshold_fire_bits":
        if type(value) is not int or value not in ACTIVATION_BITS:
            _refuse(parameters, name, value, "1, 2, 3, 4 or 8 bits")
    elif name == "activations_enabled":
        if type(value) is not bool:
            _refuse(parameters, name, value, "True or False")
    elif name == "threshold_fire_step":
        if not is_finite(value) or not 0 <= value <= _FLOAT32_MAX:
            _refuse(parameters, name, value, "a finite number from 0 to the largest float32")
    else:  # a new field without a rule must not pass unseen
        raise NotImplementedError(f"no rule for {type(parameters).__name__}.{name}")


def _refuse(parameters: LayerParameters, name: str, value: object, allowed: str) -> NoReturn:
    raise ValueError(f"{name} is {shown(value)}, but {parameters.layer_type.name} takes {allowed}.")


def is_finite(value: object) -> bool:
    """Whether a value is an int or a float (a bool is neither) that float64 can hold."""
    if type(value) is int:
        return value.bit_length() <= 1000
    return isinstance(value, float) and math.isfinite(value)


def shown(value: object) -> str:
    """A value as messages print it, cut to a readable length."""
    # Python refuses to print an integer of thousands of digits
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _check_pooling(p: SpatialParameters | PoolingParameters) -> None:
    if p.pooling_type is PoolingType.NoPooling:
        for name in _POOLING:
            if getattr(p, name) != -1:
                raise ValueError(
                    f"{name} is {getattr(p, name)}, but without pooling it must be -1. "
                    f"Set pooling_type to Max or Average, or leave {name} out."
                )
        return
    for size, stride in (
        ("pooling_width", "pooling_stride_x"),
        ("pooling_height", "pooling_stride_y"),
    ):
        if getattr(p, size) == -1 and getattr(p, stride) != -1:
            raise ValueError(
                f"{stride} is {getattr(p, stride)}, but {size} is -1: the window covers the whole "
                f"axis and has nowhere to go. Leave {stride} at -1, or give {size}."
            )


def neurons_of(parameters: LayerParameters, input_dims: Dims | None) -> int:
    """Output features of a layer; a concatenation's `input_dims` are the joined ones."""
    if isinstance(parameters, InputDataParameters):
        return parameters.input_channels
    if isinstance(parameters, SpatialParameters | FullyConnectedParameters):
        return parameters.num_neurons
    return _needed(input_dims)[2]


def variable_shapes(
    parameters: LayerParameters,
    input_dims: Dims | None = None,
    learning: LearningSpec | None = None,
    neuron: NeuronSpec | None = None,
) -> dict[str, tuple[int, ...]]:
    """Shapes of all variables that a layer has or may have.

    Parameters
    ----------
    parameters : LayerParameters
        Arguments that `check_parameters` accepts.
    input_dims : tuple of int, (width, height, features), optional
        What arrives at the layer; for a Concat the joined map. An input layer knows it itself.
    learning : LearningSpec, optional
        Of a layer that learns; it has further variables, all of which are required.
    neuron : NeuronSpec, optional
        Of a layer that integrates and fires.

    Returns
    -------
    shapes : dict of str to tuple of int
        Required variables first. ``thresholds`` only with an activation; ``output_scale`` and
        ``output_shift`` only without one.

    Raises
    ------
    ValueError
        If a variable would be larger than a file may be.
    """
    if isinstance(parameters, InputDataParameters | PoolingParameters):
        return {}
    shapes: dict[str, tuple[int, ...]] = {}
    neurons = neurons_of(parameters, input_dims)
    if isinstance(parameters, FullyConnectedParameters):
        shapes["weights"] = (1, 1, math.prod(_needed(input_dims)), neurons)
    elif isinstance(parameters, SpatialParameters):
        if isinstance(parameters, InputConvolutionalParameters):
            channels = parameters.input_channels
        else:
            channels = _needed(input_dims)[2]
        kernel = (parameters.kernel_width, parameters.kernel_height, channels)
        if isinstance(parameters, SeparableConvolutionalParameters):
            shapes["weights"] = (*kernel, 1)
            shapes["weights_pw"] = (1, 1, channels, neurons)
        else:
            shapes["weights"] = (*kernel, neurons)
    if isinstance(parameters, FilterParameters):
        map_shape = _needed(input_dims)
        shapes = {"tau": map_shape, "initial_level": map_shape}
        shapes |= {"output_scale": (neurons,), "output_shift": (neurons,)}
    elif neuron is not None:
        sources = [] if input_dims is None else [input_dims]
        shapes |= neuron_shapes(neurons, output_dims(parameters, sources))
    else:
        shapes["threshold_fire"] = (neurons,)
        shapes["threshold_fire_step"] = (neurons,)
        assert isinstance(parameters, ActivationParameters)
        if parameters.activations_enabled:
            shapes["thresholds"] = (neurons, 2**parameters.threshold_fire_bits - 1)
        else:
            shapes["output_scale"] = (neurons,)
            shapes["output_shift"] = (neurons,)
    if learning is not None:
        shapes |= learning_shapes(learning, shapes["weights"])
    for name, shape in shapes.items():
        if math.prod(shape) * np.dtype(VARIABLE_DTYPES[name]).itemsize > MAX_FILE_BYTES:
            raise ValueError(
                f"{name} of a {parameters.layer_type.name} layer would have the shape {shape}, "
                f"which is more than the {MAX_FILE_BYTES} bytes that a whole file may have."
            )
    return shapes


def _needed(input_dims: Dims | None) -> Dims:
    if input_dims is None:
        raise TypeError("input_dims is needed: only an input layer knows its own dims")
    return input_dims


def weights_range(bits: int) -> tuple[int, int]:
    """Smallest and largest weight: {0, 1} for one bit, else symmetric around zero."""
    return (0, 1) if bits == 1 else (-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a variable."""

    reason: Reason
    message: str


def variable_fault(
    parameters: LayerParameters,
    shapes: Mapping[str, tuple[int, ...]],
    name: str,
    values: object,
    learning: LearningSpec | None = None,
) -> Fault | None:
    """First thing wrong with a variable, or None; `shapes` comes from `variable_shapes`."""
    kind = parameters.layer_type.name
    if name not in shapes:
        known = ", ".join(shapes) or "none"
        return Fault(
            Reason.MEMBER, f"a {kind} layer with these arguments has no {name!r}; it has: {known}"
        )
    dtype = np.dtype(VARIABLE_DTYPES[name])
    if not isinstance(values, np.ndarray):
        found = type(values).__name__
        return Fault(Reason.DTYPE, f"{name} must be an ndarray of {dtype}, got a {found}")
    if values.dtype != dtype:
        return Fault(Reason.DTYPE, f"{name} has the dtype {values.dtype}, but must be {dtype}")
    if values.shape != shapes[name]:
        return Fault(
            Reason.SHAPE, f"{name} has the shape {values.shape}, but must be {shapes[name]}"
        )
    if name in ("weights", "weights_pw"):
        bits: int = parameters.weights_bits  # type: ignore[attr-defined]
        low, high = weights_range(bits)
        allowed = "0 or 1" if bits == 1 else f"{low} to {high}"
        fault = _outside(name, values, low, high, f"{allowed} with {bits} bits")
        if fault is not None or learning is None:
            return fault
    if name == "threshold_fire_step":
        return _not_finite(name, values) or _outside(name, values, 0, math.inf, "at least 0")
    if name == "thresholds":
        return _decreasing(values)
    if name in _FILTERING:
        return _not_finite(name, values)
    if name in NEURON_VARIABLES:
        low, high = neuron_range(name)
        return _outside(name, values, low, high, f"{low} to {high}")
    if learning is not None:
        message = learning_fault(learning, name, values)
        return None if message is None else Fault(Reason.VALUE, message)
    return None


def check_variable(
    parameters: LayerParameters,
    input_dims: Dims | None,
    name: str,
    values: object,
    learning: LearningSpec | None = None,
    neuron: NeuronSpec | None = None,
) -> None:
    """Refuse a variable that does not belong to the layer, or does not fit.

    Parameters
    ----------
    parameters : LayerParameters
    input_dims : tuple of int, (width, height, features)
        As for `variable_shapes`.
    name : str
    values : ndarray
        dtype exactly as in `kerasnsoc.artifact.schema.VARIABLE_DTYPES`.
    learning, neuron : LearningSpec, NeuronSpec, optional
        As for `variable_shapes`.

    Raises
    ------
    KeyError
        If such a layer has no variable of this name.
    TypeError
        If the dtype is wrong.
    ValueError
        If the shape is wrong or a value is out of range; the first one is named with its index.
    """
    shapes = variable_shapes(parameters, input_dims, learning, neuron)
    fault = variable_fault(parameters, shapes, name, values, learning)
    if fault is None:
        return
    if fault.reason is Reason.MEMBER:
        raise KeyError(fault.message)
    if fault.reason is Reason.DTYPE:
        raise TypeError(fault.message)
    raise ValueError(fault.message)


def _outside(
    name: str, values: npt.NDArray[Any], low: float, high: float, allowed: str
) -> Fault | None:
    # min and max need no temporary array; the mask is built only for the message
    if values.min() >= low and values.max() <= high:
        return None
    return _at(name, values, (values < low) | (values > high), f"must be {allowed}")


def _not_finite(name: str, values: npt.NDArray[Any]) -> Fault | None:
    finite = np.isfinite(values)
    return None if finite.all() else _at(name, values, ~finite, "must be finite")


def _decreasing(thresholds_nm: npt.NDArray[Any]) -> Fault | None:
    falling = thresholds_nm[:, 1:] < thresholds_nm[:, :-1]
    if not falling.any():
        return None
    n, m = (int(i) for i in np.unravel_index(int(falling.argmax()), falling.shape))
    return Fault(
        Reason.VALUE,
        f"thresholds[{n}, {m + 1}] is {thresholds_nm[n, m + 1]}, below its left neighbour "
        f"{thresholds_nm[n, m]}; the thresholds of a neuron must not decrease",
    )


def _at(name: str, values: npt.NDArray[Any], wrong: npt.NDArray[np.bool_], rule: str) -> Fault:
    index = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
    where = ", ".join(map(str, index))
    return Fault(Reason.VALUE, f"{name}[{where}] is {values[index]}, but {rule}")
