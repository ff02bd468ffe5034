"""Readers of event files: AEDAT 2.0, 3.1 and 4.0, N-MNIST records, structured .npy arrays."""

from __future__ import annotations

import enum
import importlib
import io
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kerasnsoc.runtime.events import BLOCK_EVENTS, EVENT_DTYPE, Events, as_events, make_events

MAX_HEADER_BYTES = 1 << 20
"""Text in front of the events of an AEDAT file."""

_AEDAT_2 = np.dtype([("address", ">u4"), ("time", ">u4")])
_AEDAT_2_SPECIAL = 0x8000  # synchronization, not a pixel
_AEDAT_3_PACKET = struct.Struct("<HHIIIIII")
_AEDAT_3_EVENT = np.dtype([("data", "<u4"), ("time", "<u4")])
_AEDAT_3_POLARITY = 1
_AEDAT_3_END = b"#!END-HEADER\r\n"
_NMNIST_BYTES = 5
_NMNIST_OVERFLOW_ROW = 240
_NMNIST_OVERFLOW_TIME = 1 << 13


class EventFormat(enum.Enum):
    """What a file of events can be."""

    AEDAT2 = "AEDAT 2.0"
    AEDAT31 = "AEDAT 3.1"
    AEDAT4 = "AEDAT 4.0"
    NMNIST = "N-MNIST .bin"
    NPY = "structured .npy"


def sniff_event_format(path: str | os.PathLike[str]) -> EventFormat:
    """Which format a file has, from its first bytes; N-MNIST records, which have none, by ``.bin``.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is none of the known formats; the message says what was found.
    """
    with _open(path) as file:
        head = file.read(64)
    if head.startswith(b"\x93NUMPY"):
        return EventFormat.NPY
    if head.startswith(b"#!AER-DAT"):
        version = head[9:].partition(b"\n")[0].strip().decode("ascii", "replace")
        known = {
            "2.0": EventFormat.AEDAT2,
            "3.1": EventFormat.AEDAT31,
            "4.0": EventFormat.AEDAT4,
        }
        if version not in known:
            raise ValueError(
                f"{os.fspath(path)!r} is AEDAT of version {version!r}, but those that are read are "
                f"{', '.join(known)}"
            )
        return known[version]
    if Path(path).suffix.lower() == ".bin":
        return EventFormat.NMNIST
    raise ValueError(
        f"{os.fspath(path)!r} begins with {head[:16]!r}, which is no known format of events. Known "
        f"are {', '.join(member.value for member in EventFormat)}; N-MNIST records need the "
        f"suffix .bin or format=EventFormat.NMNIST."
    )


def iter_events(
    path: str | os.PathLike[str],
    *,
    format: EventFormat | None = None,
    allow_truncated: bool = False,
) -> Iterator[Events]:
    """Events of a file, part by part, so that a long recording takes little memory.

    Every length that the file states is compared with its size before anything is read or
    allocated for it.

    Parameters
    ----------
    path : str or path-like
    format : EventFormat, optional
        By default what `sniff_event_format` finds.
    allow_truncated : bool
        Whether a file that ends within an event or a packet, as after a crash of the recorder,
        gives its whole events rather than an error.

    Yields
    ------
    events : ndarray of `kerasnsoc.runtime.events.EVENT_DTYPE`
        At most 65,536 (AEDAT 4.0: a packet).

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If its content is not valid; what was yielded before was.
    ImportError
        For AEDAT 4.0, if the package that reads it is not installed.

    Notes
    -----
    AEDAT 2.0 [1]_: addresses of the 128x128 sensor, ``y`` in bits 8 to 14, ``x`` in bits 1 to 7,
    polarity in bit 0; synchronization records (bit 15) are left out and the wrap of 32-bit times is
    undone. AEDAT 3.1 [1]_: valid polarity events; packets of other types are left out. N-MNIST
    [2]_: five bytes, x, y, polarity in the highest bit of 24 whose others are the time; a row of
    240 marks an overflow of the recorder's clock, which later times get back.

    References
    ----------
    .. [1] iniVation, "AEDAT file formats", documentation of the AEDAT standard.
    .. [2] G. Orchard et al., "Converting Static Image Datasets to Spiking Neuromorphic Datasets
       Using Saccades", Frontiers in Neuroscience 9:437, 2015.
    """
    if format is not None and not isinstance(format, EventFormat):
        raise TypeError(f"format is {format!r}, but must be an EventFormat")
    found = sniff_event_format(path) if format is None else format
    if found is EventFormat.AEDAT4:
        return _read_aedat_4(path)
    return _read(path, found, allow_truncated)


def read_events(
    path: str | os.PathLike[str],
    *,
    format: EventFormat | None = None,
    allow_truncated: bool = False,
) -> Events:
    """All events of a file in one array.

    Parameters and errors are those of `iter_events`.

    Returns
    -------
    events : ndarray of `kerasnsoc.runtime.events.EVENT_DTYPE`, shape (events,)
    """
    parts = list(iter_events(path, format=format, allow_truncated=allow_truncated))
    return np.concatenate([np.empty(0, EVENT_DTYPE), *parts])


class _Source:
    """An open file with a known size, which says where something is wrong."""

    def __init__(self, file: io.BufferedReader, path: str | os.PathLike[str], loose: bool) -> None:
        self.file = file
        self.path = os.fspath(path)
        self.size = os.fstat(file.fileno()).st_size
        self.loose = loose

    @property
    def left(self) -> int:
        return max(0, self.size - self.file.tell())

    def error(self, message: str) -> ValueError:
        return ValueError(f"{self.path!r}: {message}")

    def truncated(self, what: str, needed: int) -> ValueError:
        return self.error(
            f"{what} at byte {self.file.tell()} needs {needed} bytes, but the file has "
            f"{self.left} left. Pass allow_truncated=True to take its whole events."
        )

    def read(self, size: int) -> bytes:
        content = self.file.read(size)
        if len(content) < size:  # it shrank after its size was taken
            raise self.error(f"ended after {self.file.tell()} of {self.size} bytes")
        return content

    def records(self, count: int, size: int) -> Iterator[bytes]:
        """Blocks of whole records; `count` has been compared with the size of the file."""
        while count:
            block = min(count, BLOCK_EVENTS)
            yield self.read(block * size)
            count -= block

    def rest(self, what: str, size: int) -> Iterator[bytes]:
        """Records up to the end of the file."""
        count, odd = divmod(self.left, size)
        yield from self.records(count, size)
        if odd and not self.loose:
            raise self.truncated(what, size)


def _open(path: str | os.PathLike[str]) -> io.BufferedReader:
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{os.fspath(path)!r} is no regular file")
    return os.fdopen(descriptor, "rb")


def _read(path: str | os.PathLike[str], found: EventFormat, loose: bool) -> Iterator[Events]:
    reader = {
        EventFormat.AEDAT2: _read_aedat_2,
        EventFormat.AEDAT31: _read_aedat_31,
        EventFormat.NMNIST: _read_nmnist,
        EventFormat.NPY: _read_npy,
    }[found]
    with _open(path) as file:
        yield from reader(_Source(file, path, loose))


def _header_line(source: _Source) -> bytes:
    line = source.file.readline(MAX_HEADER_BYTES + 1)
    if source.file.tell() > MAX_HEADER_BYTES:
        raise source.error(f"the header is longer than {MAX_HEADER_BYTES} bytes")
    return line


def _read_aedat_2(source: _Source) -> Iterator[Events]:
    while True:
        start = source.file.tell()
        if source.file.peek(1)[:1] != b"#":
            break
        if not _header_line(source).endswith(b"\n"):
            raise source.error(f"the header line at byte {start} has no end")
    wraps, last = 0, 0
    for block in source.rest("an event", _AEDAT_2.itemsize):
        records = np.frombuffer(block, _AEDAT_2)
        time = records["time"].astype(np.int64)
        previous = np.concatenate(([last], time[:-1]))
        wrapped = wraps + np.cumsum(time < previous - (1 << 31))
        wraps, last = int(wrapped[-1]), int(time[-1])
        address = records["address"]
        events = np.empty(len(records), EVENT_DTYPE)
        events["t"] = time + (wrapped << 32)
        events["x"] = (address & 0xFE) >> 1
        events["y"] = (address & 0x7F00) >> 8
        events["p"] = address & 1
        yield events[(address & _AEDAT_2_SPECIAL) == 0]


def _read_aedat_31(source: _Source) -> Iterator[Events]:
    while (line := _header_line(source)) != _AEDAT_3_END:
        if not line.startswith(b"#"):
            raise source.error(
                f"the header ends at byte {source.file.tell() - len(line)} without the line "
                f"{_AEDAT_3_END!r}"
            )
    while source.left:
        if source.left < _AEDAT_3_PACKET.size:
            if source.loose:
                return
            raise source.truncated("a packet's header", _AEDAT_3_PACKET.size)
        start = source.file.tell()
        kind, _, size, offset, overflow, capacity, number, _ = _AEDAT_3_PACKET.unpack(
            source.read(_AEDAT_3_PACKET.size)
        )
        if number > capacity:
            raise source.error(
                f"the packet at byte {start} states {number} events, but a capacity of {capacity}"
            )
        is_polarity = kind == _AEDAT_3_POLARITY
        if is_polarity and (size, offset) != (_AEDAT_3_EVENT.itemsize, 4):
            raise source.error(
                f"the polarity packet at byte {start} states events of {size} bytes with the time "
                f"at byte {offset}, but they have {_AEDAT_3_EVENT.itemsize} with it at byte 4"
            )
        if overflow >= 1 << 31:
            raise source.error(
                f"the packet at byte {start} states {overflow} overflows of its clock, allowed are "
                f"fewer than {1 << 31}"
            )
        is_whole = number * size <= source.left
        if not is_whole:
            if not source.loose:
                raise source.truncated(
                    f"a packet of {number} events of {size} bytes", number * size
                )
            number = source.left // size
        if is_polarity:
            for block in source.records(number, size):
                yield _polarity_events(block, overflow)
        else:
            source.file.seek(number * size, os.SEEK_CUR)
        if not is_whole:
            return


def _polarity_events(block: bytes, overflow: int) -> Events:
    records = np.frombuffer(block, _AEDAT_3_EVENT)
    data = records["data"]
    events = np.empty(len(records), EVENT_DTYPE)
    events["t"] = (records["time"] & 0x7FFFFFFF) + (np.int64(overflow) << 31)
    events["x"] = data >> 17
    events["y"] = (data >> 2) & 0x7FFF
    events["p"] = (data >> 1) & 1
    kept: Events = events[(data & 1) == 1]
    return kept


def _read_nmnist(source: _Source) -> Iterator[Events]:
    overflows = 0
    for block in source.rest("an event", _NMNIST_BYTES):
        bytes_ek = np.frombuffer(block, np.uint8).reshape(-1, _NMNIST_BYTES)
        low = bytes_ek[:, 2:].astype(np.int64)
        is_overflow = bytes_ek[:, 1] == _NMNIST_OVERFLOW_ROW
        passed = overflows + np.cumsum(is_overflow)
        overflows = int(passed[-1])
        events = np.empty(len(bytes_ek), EVENT_DTYPE)
        events["t"] = ((low[:, 0] & 0x7F) << 16) | (low[:, 1] << 8) | low[:, 2]
        events["t"] += passed * _NMNIST_OVERFLOW_TIME
        events["x"] = bytes_ek[:, 0]
        events["y"] = bytes_ek[:, 1]
        events["p"] = bytes_ek[:, 2] >> 7
        yield events[~is_overflow]


def _read_npy(source: _Source) -> Iterator[Events]:
    # numpy.load would allocate whatever size the header states
    try:
        version = np.lib.format.read_magic(source.file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(source.file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(source.file)
        else:
            raise ValueError(f"version {version} of the format is not read")
    except (
        Exception
    ) as error:  # the header is parsed as a literal of Python, which fails as it likes
        raise source.error(f"no .npy file: {error}") from None
    if dtype.hasobject or not set("txyp") <= set(dtype.names or ()):
        raise source.error(
            f"holds {dtype}, but events are a structured array with the fields t, x, y and p"
        )
    if len(shape) != 1 or shape[0] < 0:
        raise source.error(f"has the shape {shape}, but events have one axis")
    count = int(shape[0])
    if count * dtype.itemsize > source.left:
        if not source.loose:
            raise source.truncated(f"an array of {count} events", count * dtype.itemsize)
        count = source.left // dtype.itemsize
    for block in source.records(count, dtype.itemsize):
        try:
            yield as_events(np.frombuffer(block, dtype))
        except (TypeError, ValueError) as error:
            raise source.error(str(error)) from None


def _read_aedat_4(path: str | os.PathLike[str]) -> Iterator[Events]:
    try:
        package = importlib.import_module("aedat")
    except ImportError as error:
        raise ImportError(
            f"{os.fspath(path)!r} is AEDAT 4.0, which the package 'aedat' reads: pip install aedat",
            name="aedat",
        ) from error
    return _aedat_4_parts(package.Decoder(os.fspath(path)))


def _aedat_4_parts(decoder: Any) -> Iterator[Events]:
    for packet in decoder:
        if "events" not in packet:
            continue
        records = packet["events"]
        yield make_events(records["t"], records["x"], records["y"], records["on"])
