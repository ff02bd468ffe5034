"""Dataclasses as JSON and back, by their type hints; arrays keep dtype and shape."""

from __future__ import annotations

import base64
import binascii
import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint32", "float32", "float64")
"""What an array of a record may hold."""


class RecordError(ValueError):
    """A JSON value does not describe the record that it should."""


def canonical(value: object) -> bytes:
    """The one text of a JSON value: ASCII, sorted keys, no blanks, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def encode(value: Any) -> Any:
    """Plain JSON of a record, at any depth.

    Raises
    ------
    RecordError
        If a number is not finite, or something is not made of records, arrays and plain values.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: encode(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.name not in DTYPES:
            raise RecordError(f"an array holds {value.dtype}, but a record takes {DTYPES}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise RecordError("an array holds a number that is not finite")
        data = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
        return {
            "dtype": value.dtype.name,
            "shape": list(value.shape),
            "b64": base64.b64encode(data).decode("ascii"),
        }
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):
            raise RecordError(f"{value!r} is not finite")
        return float(value)
    raise RecordError(f"{value!r} of type {type(value).__name__} is no part of a record")


def decode(hint: Any, value: Any, where: str) -> Any:
    """A value of the hinted type from plain JSON.

    Parameters
    ----------
    hint : type
        A dataclass, a plain type, a Literal, a tuple, list or mapping, or a union of them.
    value : object
        As `json.loads` gives it.
    where : str
        What it is, for messages.

    Raises
    ------
    RecordError
        Naming the member, what was found and what is allowed.
    """
    if hint is Any:
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        return _decode_record(hint, value, where)
    if hint is np.ndarray or get_origin(hint) is np.ndarray:
        return _decode_array(value, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments or type(value) is not type(arguments[arguments.index(value)]):
            raise RecordError(f"{where} is {value!r}, but must be one of {arguments}")
        return value
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if origin is list:
        _check(isinstance(value, list), where, value, "a list")
        return [decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin in (dict, Mapping):
        _check(isinstance(value, dict), where, value, "an object")
        return {
            _key(arguments[0], name, where): decode(arguments[1], item, f"{where}.{name}")
            for name, item in value.items()
        }
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        try:
            is_finite = is_number and math.isfinite(value)
        except OverflowError:  # JSON allows integers beyond the largest float
            is_finite = False
        _check(is_finite, where, value, "a finite number")
        return float(value)
    if hint is int:
        _check(isinstance(value, int) and not isinstance(value, bool), where, value, "an integer")
        return value
    names = {str: "a string", bool: "true or false", type(None): "null"}
    _check(isinstance(value, hint), where, value, names[hint])
    return value


def _key(hint: Any, name: str, where: str) -> Any:
    if hint is not int:
        return name
    _check(name.isascii() and name.isdigit(), f"a key of {where}", name, "a whole number")
    return int(name)


def _decode_record(cls: type[Any], value: Any, where: str) -> Any:
    _check(isinstance(value, dict), where, value, "an object")
    hints: dict[str, Any] = _hints(cls)  # type: ignore[arg-type]
    known = {entry.name: entry for entry in fields(cls)}
    for name in value:
        if name not in known:
            raise RecordError(
                f"{where} has the unknown member {str(name)[:80]!r}; known are {', '.join(known)}"
            )
    for name, entry in known.items():
        if name not in value and entry.default is MISSING and entry.default_factory is MISSING:
            raise RecordError(f"{where} has no member {name!r}")
    arguments = {
        name: decode(hints[name], item, f"{where}.{name}" if where else name)
        for name, item in value.items()
    }
    try:
        return cls(**arguments)
    except ValueError as error:
        raise RecordError(f"{where}: {error}") from None


def _decode_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    choices: list[Any] = [choice for choice in arguments if choice is not type(None)]
    if value is None:
        _check(len(choices) < len(arguments), where, value, "given")
        return None
    if len(choices) == 1:
        return decode(choices[0], value, where)
    # Records are told apart by the member that only one of them has.
    records: list[Any] = [choice for choice in choices if is_dataclass(choice)]
    for record in records:
        if isinstance(value, dict) and record.MARK in value:
            return decode(record, value, where)
    if records:
        marks = " or ".join(repr(record.MARK) for record in records)
        raise RecordError(f"{where} is {_shown(value)}, but must have the member {marks}")
    for choice in choices:
        try:
            return decode(choice, value, where)
        except RecordError:
            continue
    raise RecordError(f"{where} is {_shown(value)}, which is of none of the types allowed here")


def _decode_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _check(isinstance(value, list), where, value, "a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    _check(len(value) == len(arguments), where, value, f"a list of {len(arguments)}")
    return tuple(
        decode(hint, item, f"{where}[{i}]")
        for i, (hint, item) in enumerate(zip(arguments, value, strict=True))
    )


def _decode_array(value: Any, where: str) -> Any:
    _check(isinstance(value, dict), where, value, "an object with dtype, shape and b64")
    if sorted(value) != ["b64", "dtype", "shape"]:
        raise RecordError(
            f"{where} has the members {sorted(map(str, value))}, but an array has dtype, shape and "
            "b64"
        )
    if value["dtype"] not in DTYPES:
        raise RecordError(f"{where} holds {value['dtype']!r}, but must hold one of {DTYPES}")
    dtype = np.dtype(value["dtype"]).newbyteorder("<")
    shape = decode(tuple[int, ...], value["shape"], f"{where}.shape")
    if any(n < 0 for n in shape):
        raise RecordError(f"{where}.shape is {shape}, but lengths are at least 0")
    text = decode(str, value["b64"], f"{where}.b64")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError(f"{where}.b64 is no base64: {error}") from None
    needed = math.prod(shape) * dtype.itemsize
    if len(data) != needed:
        raise RecordError(f"{where} holds {len(data)} bytes, but {shape} of {dtype} are {needed}")
    if dtype.kind == "b" and any(byte > 1 for byte in data):
        raise RecordError(f"{where} holds bytes other than 0 and 1, but its dtype is bool")
    try:
        array = np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    except ValueError as error:  # an empty array may state any lengths, any array many axes
        raise RecordError(f"{where}.shape is no shape of an array: {error}") from None
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise RecordError(f"{where} holds a number that is not finite")
    return array


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def _check(is_right: bool, where: str, value: object, expected: str) -> None:
    if not is_right:
        raise RecordError(f"{where} is {_shown(value)}, but must be {expected}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
