"""Layers as JSON and back; names that a file mentions are matched against closed lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, NoReturn

from kerasnsoc.artifact.errors import ArtifactError, Reason
from kerasnsoc.artifact.learning import LEARNING_SHARES
from kerasnsoc.artifact.schema import (
    LEARNING_RULES,
    PARAMETERS,
    RESETS,
    SPIKE_RULES,
    SPIKE_UNITS,
    VARIABLE_DTYPES,
    ConvolutionMode,
    LayerParameters,
    LayerSpec,
    LayerType,
    LearningSpec,
    NetworkSpec,
    NeuronSpec,
    PoolingType,
)

_ENUMS: Mapping[str, type[ConvolutionMode | PoolingType]] = {
    "convolution_mode": ConvolutionMode,
    "pooling_type": PoolingType,
}
_KINDS: Mapping[str, LayerType] = {kind.value: kind for kind in PARAMETERS}
_LAYER_MEMBERS = ("inbounds", "name", "parameters", "type", "variables")
_LEARNING_MEMBERS = tuple(sorted(entry.name for entry in fields(LearningSpec)))
_NEURON_MEMBERS = tuple(sorted(entry.name for entry in fields(NeuronSpec)))
_NEURON_CHOICES: Mapping[str, tuple[str, ...]] = {
    "rule": SPIKE_RULES,
    "reset": RESETS,
    "unit": SPIKE_UNITS,
}


def array_name(index: int, variable: str) -> str:
    """Name of the dataset that holds a variable of the layer at `index`."""
    return f"l{index}_{variable}"


def layers_to_json(layers: Iterable[LayerSpec]) -> list[dict[str, Any]]:
    """Layers without their arrays, as plain JSON."""
    return [
        {
            "inbounds": list(layer.inbounds),
            "name": layer.name,
            "parameters": _parameters_to_json(layer.parameters),
            "type": layer.layer_type.value,
            "variables": sorted(layer.variables),
            **_learning_to_json(layer.learning),
            **_neuron_to_json(layer.neuron),
        }
        for layer in layers
    ]


def describe(spec: NetworkSpec) -> dict[str, Any]:
    """A whole network without its arrays, as plain JSON."""
    return {
        "input_scale": float(spec.input_scale),
        "input_shift": spec.input_shift,
        "layers": layers_to_json(spec.layers),
        "metadata": dict(spec.metadata),
        # only there in networks over time, so that others are described as ever
        **({} if spec.time_step is None else {"time_step": float(spec.time_step)}),
    }


def _parameters_to_json(parameters: LayerParameters) -> dict[str, Any]:
    result = {}
    for entry in fields(parameters):
        value = getattr(parameters, entry.name)
        if isinstance(value, Enum):
            value = value.value
        elif entry.name == "threshold_fire_step":
            value = float(value)
        result[entry.name] = value
    return result


def _learning_to_json(learning: LearningSpec | None) -> dict[str, Any]:
    """The member ``learning``, which only a layer that learns has."""
    if learning is None:
        return {}
    record: dict[str, Any] = {}
    for name in _LEARNING_MEMBERS:
        value = getattr(learning, name)
        if name == "seed":
            value = f"{value:016x}"  # JSON integers stop at 63 bits and a sign
        elif name == "learning_ratio":
            value = list(value)
        elif name in LEARNING_SHARES:
            value = float(value)
        record[name] = value
    return {"learning": record}


def _neuron_to_json(neuron: NeuronSpec | None) -> dict[str, Any]:
    """The member ``neuron``, which only a layer that integrates and fires has."""
    if neuron is None:
        return {}
    return {"neuron": {name: getattr(neuron, name) for name in _NEURON_MEMBERS}}


def _refuse(message: str) -> NoReturn:
    raise ArtifactError(Reason.MEMBER, message)


def members(value: object, names: tuple[str, ...], where: str) -> list[Any]:
    """Values of a JSON object that has exactly these members.

    Raises
    ------
    ArtifactError
        With `Reason.MEMBER`, naming the first member that is missing or unknown.
    """
    if type(value) is not dict:
        _refuse(f"{where} is a {json_type(value)}, but must be an object")
    for name in names:
        if name not in value:
            _refuse(f"{where} has no member {name!r}")
    for name in value:
        if name not in names:
            _refuse(f"{where} has the unknown member {name[:80]!r}; known are {', '.join(names)}")
    return [value[name] for name in names]


def json_type(value: object) -> str:
    """What JSON calls the type of a value."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def strings(value: object, where: str) -> list[str]:
    """A JSON list of strings, or an `ArtifactError`."""
    if type(value) is not list or any(type(item) is not str for item in value):
        _refuse(f"{where} must be a list of strings")
    return value


def layer_from_json(
    value: object, index: int
) -> tuple[
    str, LayerParameters, tuple[str, ...], list[str], LearningSpec | None, NeuronSpec | None
]:
    """Name, arguments, inbound layers, variable names, learning and neurons of one layer.

    Types and members are settled here, ranges by `kerasnsoc.artifact.validate`.

    Raises
    ------
    ArtifactError
        With `Reason.MEMBER` or `Reason.NAME`.
    """
    where = f"layer {index}"
    extra: tuple[str, ...] = ()
    if type(value) is dict:
        extra = tuple(member for member in ("learning", "neuron") if member in value)
    found = members(value, (*_LAYER_MEMBERS, *extra), where)
    inbounds, name, parameters, kind, variables = found[: len(_LAYER_MEMBERS)]
    rest = dict(zip(extra, found[len(_LAYER_MEMBERS) :], strict=True))
    if type(name) is not str:
        raise ArtifactError(
            Reason.NAME, f"the name of {where} is a {json_type(name)}, not a string"
        )
    if type(kind) is not str or kind not in _KINDS:
        shown = repr(kind[:80]) if type(kind) is str else f"a {json_type(kind)}"
        _refuse(f"{where} has the type {shown}; known are {', '.join(_KINDS)}")
    names = strings(variables, f"variables of {where}")
    for variable in names:
        if variable not in VARIABLE_DTYPES:
            _refuse(f"{where} has the unknown variable {variable[:80]!r}")
    if names != sorted(set(names)):
        _refuse(f"variables of {where} must be sorted and different from each other")
    return (
        name,
        _parameters_from_json(parameters, PARAMETERS[_KINDS[kind]], f"parameters of {where}"),
        tuple(strings(inbounds, f"inbounds of {where}")),
        names,
        _learning_from_json(rest["learning"], f"learning of {where}")
        if "learning" in rest
        else None,
        _neuron_from_json(rest["neuron"], f"neuron of {where}") if "neuron" in rest else None,
    )


def _learning_from_json(value: object, where: str) -> LearningSpec:
    arguments = dict(zip(_LEARNING_MEMBERS, members(value, _LEARNING_MEMBERS, where), strict=True))
    for name, argument in arguments.items():
        found = json_type(argument)
        if name == "seed":
            if type(argument) is not str or not re.fullmatch("[0-9a-f]{16}", argument):
                _refuse(f"{name} in {where} must be a string of 16 hexadecimal digits, lower case")
            arguments[name] = int(argument, 16)
        elif name == "rule":
            if type(argument) is not str or argument not in LEARNING_RULES:
                shown = repr(argument[:80]) if type(argument) is str else f"a {found}"
                _refuse(f"{name} in {where} is {shown}; known are {', '.join(LEARNING_RULES)}")
        elif name == "learning_ratio":
            if (
                type(argument) is not list
                or len(argument) != 2
                or any(type(item) is not int for item in argument)
            ):
                _refuse(f"{name} in {where} must be a list of two integers")
            arguments[name] = (argument[0], argument[1])
        elif name in LEARNING_SHARES:
            if type(argument) is not float:
                _refuse(f"{name} in {where} must be a number with a point or an exponent")
        elif type(argument) is not int:
            _refuse(f"{name} in {where} is a {found}, but must be an integer")
    return LearningSpec(**arguments)


def _neuron_from_json(value: object, where: str) -> NeuronSpec:
    arguments = dict(zip(_NEURON_MEMBERS, members(value, _NEURON_MEMBERS, where), strict=True))
    for name, argument in arguments.items():
        found = json_type(argument)
        if name in _NEURON_CHOICES:
            if type(argument) is not str or argument not in _NEURON_CHOICES[name]:
                shown = repr(argument[:80]) if type(argument) is str else f"a {found}"
                _refuse(
                    f"{name} in {where} is {shown}; known are {', '.join(_NEURON_CHOICES[name])}"
                )
        elif name == "rectify":
            if type(argument) is not bool:
                _refuse(f"{name} in {where} is a {found}, but must be a boolean")
        elif type(argument) is not int:
            _refuse(f"{name} in {where} is a {found}, but must be an integer")
    return NeuronSpec(**arguments)


def _parameters_from_json(value: object, cls: type[LayerParameters], where: str) -> LayerParameters:
    names = tuple(sorted(entry.name for entry in fields(cls)))
    arguments = dict(zip(names, members(value, names, where), strict=True))
    for name, argument in arguments.items():
        if name in _ENUMS:
            allowed = {member.value: member for member in _ENUMS[name]}
            if type(argument) is not str or argument not in allowed:
                shown = repr(argument[:80]) if type(argument) is str else json_type(argument)
                _refuse(f"{name} in {where} is {shown}; known are {', '.join(allowed)}")
            arguments[name] = allowed[argument]
        elif name == "threshold_fire_step":
            if type(argument) is not float:
                _refuse(f"{name} in {where} must be a number with a point or an exponent")
        elif name == "activations_enabled":
            if type(argument) is not bool:
                _refuse(f"{name} in {where} is a {json_type(argument)}, but must be a boolean")
        elif type(argument) is not int:
            _refuse(f"{name} in {where} is a {json_type(argument)}, but must be an integer")
    return cls(**arguments)
