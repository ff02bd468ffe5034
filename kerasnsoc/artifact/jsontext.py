"""JSON as one text per value: canonical writing, and reading that takes nothing else."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.errors import ArtifactError, Reason
from kerasnsoc.artifact.limits import MAX_INDEX_BYTES, MAX_JSON_DEPTH, MAX_JSON_VALUES

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

_DEPTH_STEP = np.zeros(256, np.int8)
_DEPTH_STEP[[ord("["), ord("{")]] = 1
_DEPTH_STEP[[ord("]"), ord("}")]] = -1


def canonical(value: object) -> bytes:
    """The one text of a JSON value: ASCII, sorted keys, no blanks.

    Parameters
    ----------
    value : object
        Plain JSON as `check_plain` accepts it. Floats are written with the fewest digits that
        read back as the same float, and always with a point or an exponent.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")


def parse(text: bytes) -> Any:
    """Read canonical JSON.

    Depth and number of values are counted before anything is built, so that a small text cannot
    exhaust the stack or the memory.

    Raises
    ------
    ArtifactError
        With `Reason.INDEX`: too long, too deep, too many values, not JSON, a key twice, a number
        that is not finite or too long, or any text other than the canonical one.
    """
    if len(text) > MAX_INDEX_BYTES:
        _refuse(f"has {len(text)} bytes, allowed are {MAX_INDEX_BYTES}")
    skeleton = _outside_strings(text)
    steps = _DEPTH_STEP[skeleton]
    if (depth := int(steps.cumsum(dtype=np.int32).max(initial=0))) > MAX_JSON_DEPTH:
        _refuse(f"nests {depth} deep, allowed are {MAX_JSON_DEPTH}")
    # every value is the whole text, follows a comma, or is the first one after a bracket
    values = 1 + int(np.count_nonzero(steps == 1)) + int(np.count_nonzero(skeleton == ord(",")))
    if values > MAX_JSON_VALUES:
        _refuse(f"holds {values} values, allowed are {MAX_JSON_VALUES}")
    try:
        value = json.loads(
            text.decode("ascii"),
            object_pairs_hook=_unique,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except ArtifactError:
        raise
    except UnicodeDecodeError as error:
        _refuse(f"holds the byte {text[error.start]:#04x} at {error.start}, allowed is ASCII")
    except ValueError as error:
        _refuse(f"is no JSON: {error}")
    if canonical(value) != text:
        _refuse("is not written canonically (sorted keys, no blanks, shortest numbers, ASCII)")
    return value


def _outside_strings(text: bytes) -> npt.NDArray[np.uint8]:
    """The characters that are not inside a string.

    Up to the first error in the text this splits it as any JSON parser does, and no parser gets
    further than that.
    """
    # from the left, so that of a run of backslashes the last one remains if their number is odd
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    characters = np.frombuffer(plain, np.uint8)
    # uint8 wraps around at 256, an even number: the parity stays right
    inside = (characters == ord('"')).cumsum(dtype=np.uint8) & 1
    outside: npt.NDArray[np.uint8] = characters[inside == 0]
    return outside


def _refuse(what: str) -> NoReturn:
    raise ArtifactError(Reason.INDEX, f"the index {what}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        _refuse(f"has the key {twice[:80]!r} twice")
    return result


def _constant(name: str) -> NoReturn:
    _refuse(f"holds {name}, which is no JSON number")


def _integer(text: str) -> int:
    # 19 digits and a sign; longer texts are refused before they are multiplied out
    if len(text) > 20 or not INT64_MIN <= (value := int(text)) <= INT64_MAX:
        _refuse(f"holds an integer of {len(text)} characters, allowed are 64 bits")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse(f"holds {text[:80]}, which is no finite float64")
    return value


def check_plain(value: object, where: str, max_depth: int, max_values: int) -> int:
    """Refuse what JSON cannot give back unchanged; count what there is.

    Parameters
    ----------
    value : object
        dict with string keys, list, str, int, float, bool or None: these very types.
    where : str
        Name of the value in messages.
    max_depth, max_values : int

    Returns
    -------
    values : int
        Values and keys seen.

    Raises
    ------
    ArtifactError
        With `Reason.MEMBER` for a type that is not plain, `Reason.VALUE` for a number or a string
        that JSON does not have and for too many or too deeply nested values.
    """
    if max_depth < 0:
        raise ArtifactError(Reason.VALUE, f"{where} is nested too deep")
    kind = type(value)
    count = 1
    if kind is dict:
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str:
                raise ArtifactError(
                    Reason.MEMBER, f"{where} has the key {key!r}, but keys must be strings"
                )
            count += check_plain(key, f"a key of {where}", 0, 1)
            inner = f"{where}[{key[:40]!r}]"
            count += check_plain(item, inner, max_depth - 1, max_values - count)
    elif kind is list:
        for index, item in enumerate(value):  # type: ignore[arg-type]
            count += check_plain(item, f"{where}[{index}]", max_depth - 1, max_values - count)
    elif kind is str:
        try:
            value.encode()  # type: ignore[attr-defined]
        except UnicodeEncodeError:
            raise ArtifactError(Reason.VALUE, f"{where} holds half a surrogate pair") from None
    elif kind is int:
        if not INT64_MIN <= value <= INT64_MAX:  # type: ignore[operator]
            raise ArtifactError(Reason.VALUE, f"{where} is an integer of more than 64 bits")
    elif kind is float:
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise ArtifactError(Reason.VALUE, f"{where} is {value}, but must be finite")
    elif kind is not bool and value is not None:
        raise ArtifactError(
            Reason.MEMBER,
            f"{where} is a {kind.__name__}, which is no plain JSON. Turn it into a dict, list, "
            f"str, int, float, bool or None first.",
        )
    if count > max_values:
        raise ArtifactError(Reason.VALUE, f"{where} holds too many values")
    return count
