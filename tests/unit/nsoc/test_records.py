"""Records as JSON: what is refused, by the place where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from kerasnsoc.nsoc.config import XY, MapShape
from kerasnsoc.nsoc.records import RecordError, decode, encode

BYTES = {"dtype": "int8", "shape": [2], "b64": "AQI="}


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (int, True, "x is True, but must be an integer"),
        (int, 1.0, "x is 1.0, but must be an integer"),
        (bool, 1, "true or false"),
        (str, None, "a string"),
        (float, "1", "a finite number"),
        (float, float("nan"), "a finite number"),
        (list[int], {}, "x is {}, but must be a list"),
        (list[int], [1, "2"], r"x\[1\] is '2'"),
        (tuple[int, int], [1], "a list of 2"),
        (tuple[int, ...], [1, None], r"x\[1\] is None"),
        (Mapping[str, int], [], "an object"),
        (Mapping[int, int], {"-1": 2}, "a key of x is '-1', but must be a whole number"),
        (int | None, "a", "x is 'a'"),
        (int | str, [], "of none of the types"),
        (XY, [1, 2], "an object"),
        (XY, {"x": 1, "y": 2, "z": 3}, "unknown member 'z'; known are x, y"),
        (MapShape, {"size": {}}, "x has no member 'feature_count'"),
        (np.ndarray, [1, 2], "an object with dtype, shape and b64"),
        (np.ndarray, {"dtype": "int8"}, r"has the members \['dtype'\]"),
        (np.ndarray, {**BYTES, "dtype": "object"}, "holds 'object', but must hold one of"),
        (np.ndarray, {**BYTES, "shape": [-2]}, "lengths are at least 0"),
        (np.ndarray, {**BYTES, "shape": [3]}, r"holds 2 bytes, but \(3,\) of int8 are 3"),
        (np.ndarray, {**BYTES, "b64": "A"}, "is no base64"),
        (np.ndarray, {**BYTES, "b64": "*QI="}, "is no base64"),
        (np.ndarray, {**BYTES, "dtype": "bool"}, "bytes other than 0 and 1"),
    ],
)
def test_what_does_not_fit_is_named(hint, value, message):
    with pytest.raises(RecordError, match=message):
        decode(hint, value, "x")


def test_arrays_of_floats_are_finite():
    value = encode(np.array([1.5, 2.5], np.float32))
    np.testing.assert_array_equal(decode(np.ndarray, value, "x"), np.float32([1.5, 2.5]))
    value["b64"] = encode(np.array([0x7FC00000, 0], np.int32))["b64"]
    with pytest.raises(RecordError, match="not finite"):
        decode(np.ndarray, value, "x")


@dataclass
class Odd:
    value: object


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1 + 2j]), "an array holds complex128"),
        (np.array([np.inf]), "an array holds a number that is not finite"),
        (float("inf"), "inf is not finite"),
        (np.float32("nan"), "is not finite"),
        (b"x", "of type bytes is no part of a record"),
    ],
)
def test_what_json_cannot_hold_is_not_written(value, message):
    with pytest.raises(RecordError, match=message):
        encode(Odd([value]))


def test_numbers_of_numpy_become_plain():
    found = encode(Odd({"a": (np.int8(3), np.float64(0.5), None, True, "t")}))
    assert found == {"value": {"a": [3, 0.5, None, True, "t"]}}
    assert [type(item) for item in found["value"]["a"][:2]] == [int, float]
