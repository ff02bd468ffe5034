"""Bytes or a path into a `NetworkSpec`, or one `ArtifactError`: the only door.

Nothing but the standard library and numpy touches the bytes. The order is the defence: is it a
regular file, is it of a sane size, does the digest match, is the index small and flat, does it name
known things only, do the arrays lie where they should, is the network one that a runtime may run
unchecked. Each step relies on those before it.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import stat
from itertools import pairwise
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.description import array_name, json_type, layer_from_json, members
from kerasnsoc.artifact.errors import ArtifactError, Reason
from kerasnsoc.artifact.jsontext import parse
from kerasnsoc.artifact.layout import ALIGNMENT, HEADER_BYTES, Frame, check_seal, frame
from kerasnsoc.artifact.limits import MAX_FILE_BYTES, MAX_LAYERS
from kerasnsoc.artifact.schema import VARIABLE_DTYPES, LayerSpec, NetworkSpec
from kerasnsoc.artifact.validation import validate

Source = str | os.PathLike[str] | bytes | bytearray | memoryview
"""A path, or the content itself."""

ArrayEntry = tuple[str, tuple[int, ...], int]
"""dtype, shape and offset inside the HDF5 part, as the index lists them."""

INDEX_MEMBERS: Final = ("arrays", "input_scale", "input_shift", "layers", "metadata")

STORED_DTYPES: Final = {
    name: np.dtype(dtype).newbyteorder("<").str for name, dtype in VARIABLE_DTYPES.items()
}
"""dtype text of every variable; files are little-endian everywhere."""


def load(source: Source, *, expected_sha256: str | None = None) -> NetworkSpec:
    """Read a network.

    Parameters
    ----------
    source : str, path-like or bytes-like
        Path of a file, or its content. A text is always a path, bytes are always content.
    expected_sha256 : str, optional
        Hex digest of the whole file, as ``sha256sum`` prints it, from a place you trust. The digest
        inside a file finds damage; only this one tells whose file it is.

    Returns
    -------
    spec : NetworkSpec
        A valid network. Its arrays are read-only views of one buffer: of `source` itself if that is
        bytes, else of a private copy that nobody else can change.

    Raises
    ------
    ArtifactError
        With a `Reason`, for any content that is no valid artifact, and for a path that leads to
        anything but a readable regular file (a folder, a pipe, a device, a loop of links, a file of
        more than 2 GiB).
    FileNotFoundError, PermissionError
        If the system says so about the path.
    ValueError
        If `expected_sha256` is no SHA-256 in hexadecimal digits.
    TypeError
        If `source` is none of the above.
    """
    if expected_sha256 is not None:
        _check_digest_text(expected_sha256)
    data = read(source)
    if expected_sha256 is not None:
        found = hashlib.sha256(data).hexdigest()
        if not hmac.compare_digest(found, expected_sha256.lower()):
            _refuse(
                Reason.DIGEST,
                f"the file has the SHA-256 {found}, expected was {expected_sha256.lower()}; it is "
                f"not the file that you wanted",
            )
    try:
        return parse_network(data)
    except ArtifactError as error:
        if isinstance(source, str | os.PathLike):
            raise ArtifactError(error.reason, f"{os.fspath(source)!r}: {error}") from None
        raise


def read(source: Source) -> memoryview:
    """Content of a source, read once and safe from later changes.

    Raises
    ------
    ArtifactError, FileNotFoundError, PermissionError, TypeError
        As `load`.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if not isinstance(path, str):
            raise TypeError(f"source is a path of {type(path).__name__}, but must be one of str")
        return _read_file(path)
    if not isinstance(source, bytes | bytearray | memoryview):
        raise TypeError(
            f"source is a {type(source).__name__}, but must be a path or a bytes-like object"
        )
    view = memoryview(source)
    if view.nbytes > MAX_FILE_BYTES:
        _refuse(
            Reason.UNREADABLE, f"{view.nbytes} bytes, but an artifact has at most {MAX_FILE_BYTES}"
        )
    if not view.nbytes:
        return memoryview(b"")
    # only bytes never change; and the arrays need an aligned start
    if isinstance(source, bytes) and np.frombuffer(source, np.uint8).ctypes.data % 16 == 0:
        return view
    target = _aligned(view.nbytes)
    target[:] = np.frombuffer(view if view.c_contiguous else view.tobytes(), np.uint8)
    return _sealed_view(target)


def _refuse(reason: Reason, message: str) -> NoReturn:
    raise ArtifactError(reason, message)


def _check_digest_text(text: object) -> None:
    if not isinstance(text, str) or not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError(f"expected_sha256 is {text!r}, but must be 64 hexadecimal digits")


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    block = np.empty(size + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + size]


def _sealed_view(array: npt.NDArray[np.uint8]) -> memoryview:
    array.flags.writeable = False
    return array.data


def _read_file(path: str) -> memoryview:
    flags = os.O_RDONLY
    # without O_NONBLOCK a pipe without a writer would wait for ever
    for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, ValueError) as error:
        _refuse(Reason.UNREADABLE, f"{path!r} cannot be opened: {error}")
    try:
        return _read_descriptor(descriptor, path)
    except OSError as error:
        _refuse(Reason.UNREADABLE, f"{path!r} cannot be read: {error}")
    finally:
        os.close(descriptor)


def _read_descriptor(descriptor: int, path: str) -> memoryview:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        _refuse(Reason.UNREADABLE, f"{path!r} is a {_file_kind(status.st_mode)}, no regular file")
    size = status.st_size
    if size > MAX_FILE_BYTES:
        _refuse(
            Reason.UNREADABLE,
            f"{path!r} has {size} bytes, but an artifact has at most {MAX_FILE_BYTES}",
        )
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        head = file.read(HEADER_BYTES) or b""
        # a large file that is nothing of ours is refused before memory is taken for it
        _checked_frame(head, size, path)
        buffer = _aligned(size)
        buffer[: len(head)] = np.frombuffer(head, np.uint8)
        view, filled = buffer.data, len(head)
        while filled < size and (count := file.readinto(view[filled:])):
            filled += count
        view.release()
    if filled < size:
        _refuse(Reason.TRUNCATED, f"{path!r} ended after {filled} of {size} bytes")
    return _sealed_view(buffer)


def _checked_frame(head: bytes, size: int, path: str) -> None:
    try:
        frame(head, size)
    except ArtifactError as error:
        raise ArtifactError(error.reason, f"{path!r}: {error}") from None


def _file_kind(mode: int) -> str:
    for test, kind in (
        (stat.S_ISDIR, "folder"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
        (stat.S_ISSOCK, "socket"),
    ):
        if test(mode):
            return kind
    return "special file"


def parse_network(data: memoryview) -> NetworkSpec:
    """A valid network from the bytes of a whole file.

    Raises
    ------
    ArtifactError
    """
    parts = frame(bytes(data[:HEADER_BYTES]), data.nbytes)
    check_seal(data, parts)
    spec = _network(data, parts)
    validate(spec)
    return spec


def _network(data: memoryview, parts: Frame) -> NetworkSpec:
    index = parse(bytes(data[parts.index]))
    over_time = type(index) is dict and "time_step" in index
    expected = (*INDEX_MEMBERS, "time_step") if over_time else INDEX_MEMBERS
    arrays, scale, shift, layers, metadata, *rest = members(index, expected, "the index")
    time_step = rest[0] if rest else None
    if rest and type(time_step) is not float:
        _refuse(Reason.MEMBER, "time_step must be a number with a point or an exponent")
    if type(scale) is not float:
        _refuse(Reason.MEMBER, "input_scale must be a number with a point or an exponent")
    if type(shift) is not int:
        _refuse(Reason.MEMBER, f"input_shift is a {json_type(shift)}, but must be an integer")
    if type(metadata) is not dict:
        _refuse(Reason.MEMBER, f"metadata is a {json_type(metadata)}, but must be an object")
    if type(layers) is not list:
        _refuse(Reason.MEMBER, f"layers is a {json_type(layers)}, but must be a list")
    if len(layers) > MAX_LAYERS:
        _refuse(Reason.GRAPH, f"the index lists {len(layers)} layers, allowed are {MAX_LAYERS}")
    if type(arrays) is not dict:
        _refuse(Reason.MEMBER, f"arrays is a {json_type(arrays)}, but must be an object")
    records = [layer_from_json(layer, number) for number, layer in enumerate(layers)]
    variables = {
        array_name(number, variable): variable
        for number, record in enumerate(records)
        for variable in record[3]
    }
    for name in variables:
        if name not in arrays:
            _refuse(Reason.MEMBER, f"a layer has the array {name!r}, which the index does not list")
    for name in arrays:
        if name not in variables:
            _refuse(Reason.LAYOUT, f"the index lists the array {name[:80]!r}, which no layer has")
    entries = {
        name: _entry(name, arrays[name], variable, parts.body_length)
        for name, variable in variables.items()
    }
    _check_overlap(entries)
    specs = []
    for number, (name, parameters, inbounds, names, learning, neuron) in enumerate(records):
        values = {v: _view(data, parts, entries[array_name(number, v)]) for v in names}
        specs.append(LayerSpec(name, parameters, inbounds, values, learning, neuron))
    return NetworkSpec(tuple(specs), scale, shift, metadata, time_step)


def _entry(name: str, value: Any, variable: str, body_length: int) -> ArrayEntry:
    if type(value) is not list or len(value) != 3:
        _refuse(Reason.MEMBER, f"array {name!r} must be listed as [dtype, shape, offset]")
    dtype, shape, offset = value
    if dtype != STORED_DTYPES[variable]:
        found = repr(dtype[:20]) if type(dtype) is str else f"a {json_type(dtype)}"
        _refuse(
            Reason.DTYPE,
            f"array {name!r} has the dtype {found}, but must have {STORED_DTYPES[variable]!r}",
        )
    if (
        type(shape) is not list
        or not 1 <= len(shape) <= 4
        or any(type(side) is not int or not 1 <= side <= MAX_FILE_BYTES for side in shape)
    ):
        _refuse(
            Reason.SHAPE,
            f"the shape of array {name!r} must be a list of 1 to 4 integers of at least 1",
        )
    if type(offset) is not int:
        _refuse(Reason.MEMBER, f"the offset of array {name!r} must be an integer")
    if offset % ALIGNMENT:
        _refuse(
            Reason.LAYOUT,
            f"array {name!r} starts at {offset}, which is no multiple of {ALIGNMENT}",
        )
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if offset < 0 or offset + size > body_length:
        _refuse(
            Reason.LAYOUT,
            f"array {name!r} takes the bytes {offset} to {offset + size} of an HDF5 part that has "
            f"{body_length}",
        )
    return dtype, tuple(shape), offset


def _check_overlap(entries: dict[str, ArrayEntry]) -> None:
    spans = sorted(
        (offset, offset + math.prod(shape) * np.dtype(dtype).itemsize, name)
        for name, (dtype, shape, offset) in entries.items()
    )
    for (_, end, before), (start, _, after) in pairwise(spans):
        if start < end:
            _refuse(Reason.LAYOUT, f"arrays {before!r} and {after!r} overlap")


def _view(data: memoryview, parts: Frame, entry: ArrayEntry) -> npt.NDArray[Any]:
    dtype, shape, offset = entry
    view = np.frombuffer(data, dtype, math.prod(shape), parts.body_start + offset)
    # a copy only where the machine is big-endian
    array = view.reshape(shape).astype(np.dtype(dtype).newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


def array_entries(data: memoryview) -> dict[str, ArrayEntry]:
    """Where the arrays of a valid file lie, by name."""
    parts = frame(bytes(data[:HEADER_BYTES]), data.nbytes)
    arrays = parse(bytes(data[parts.index]))["arrays"]
    return {name: (dtype, tuple(shape), offset) for name, (dtype, shape, offset) in arrays.items()}
