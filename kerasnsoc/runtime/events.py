"""Events of a camera: records (t, x, y, p), cut into packets and spread over maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.geometry import Dims

EVENT_DTYPE = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
"""One event: time in microseconds, column, row, polarity (1: brighter, 0: darker)."""

Events: TypeAlias = npt.NDArray[np.void]
Duplicates: TypeAlias = Literal["merge", "count"]

MAX_TIME = 1 << 62
"""Times and durations stay below, so that the end of a window fits 64 bits."""

MAX_BATCH_BYTES = 1 << 31
"""Largest batch that `bin_events` makes."""

BLOCK_EVENTS = 1 << 16
"""Events that are looked at in one go; it bounds temporary memory whatever comes in."""


@dataclass(frozen=True, slots=True)
class CountWindow:
    """Packets of a fixed number of events; the last one may have fewer.

    Parameters
    ----------
    events : int, at least 1

    Raises
    ------
    TypeError, ValueError
        If it is no positive integer.
    """

    events: int

    def __post_init__(self) -> None:
        _check_integer("events", self.events, 1, MAX_TIME)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Packets of a fixed duration, one behind the other; times may not decrease.

    Parameters
    ----------
    microseconds : int, at least 1
    origin : int, optional
        Where the first window starts, by default at the first event. Earlier events are refused.
    skip_empty : bool
        Whether windows without events are left out; their numbers are not used otherwise.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer or out of its range.
    """

    microseconds: int
    origin: int | None = None
    skip_empty: bool = False

    def __post_init__(self) -> None:
        _check_integer("microseconds", self.microseconds, 1, MAX_TIME)
        if self.origin is not None:
            _check_integer("origin", self.origin, 1 - MAX_TIME, MAX_TIME - 1)


Window: TypeAlias = CountWindow | TimeWindow


@dataclass(frozen=True, slots=True)
class Packet:
    """Where a packet lies.

    Attributes
    ----------
    index : int
        Its number, from 0; windows that `TimeWindow.skip_empty` leaves out are counted.
    start, stop : int or None
        Microseconds. The limits of a time window, `stop` exclusive; otherwise the times of the
        first and of the last event, None if there are none.
    events : int
    """

    index: int
    start: int | None
    stop: int | None
    events: int


def make_events(t: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike, p: npt.ArrayLike) -> Events:
    """An array of events from its columns.

    Parameters
    ----------
    t, x, y, p : arrays of integers, shape (events,)
        Microseconds, column, row, polarity 0 or 1 (or bool).

    Returns
    -------
    events : ndarray of `EVENT_DTYPE`, shape (events,)

    Raises
    ------
    TypeError
        If a column does not hold integers.
    ValueError
        If the lengths differ or a value is out of range; the first one is named.

    Examples
    --------
    >>> make_events([10, 20], [3, 4], [0, 1], [1, 0])["x"]
    array([3, 4], dtype=uint16)
    """
    columns = {name: np.asarray(c) for name, c in (("t", t), ("x", x), ("y", y), ("p", p))}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or columns["t"].ndim != 1:
        raise ValueError(f"columns have the shapes {shapes}, but must have one and the same length")
    events = np.empty(len(columns["t"]), EVENT_DTYPE)
    for name, column in columns.items():
        if column.size == 0 and column.dtype.kind == "f":
            continue  # an empty list has no dtype of its own
        events[name] = _checked_column(name, column)
    return events


def as_events(events: npt.NDArray[Any]) -> Events:
    """An event array of any integer fields as `EVENT_DTYPE`; not copied if it is one already.

    Parameters
    ----------
    events : structured ndarray, shape (events,)
        With the fields t, x, y and p; others are ignored.

    Raises
    ------
    TypeError
        If it is no structured array with these fields, or a field does not hold integers.
    ValueError
        If it has more than one axis or a value is out of range; the first one is named.
    """
    if not isinstance(events, np.ndarray) or not set("txyp") <= set(events.dtype.names or ()):
        found = f"dtype {events.dtype}" if isinstance(events, np.ndarray) else type(events).__name__
        raise TypeError(
            f"events is of {found}, but must be a structured array with the fields t, x, y and p. "
            f"Build one with make_events(t, x, y, p)."
        )
    if events.ndim != 1:
        raise ValueError(f"events has the shape {events.shape}, but must have one axis")
    if events.dtype != EVENT_DTYPE:
        return make_events(events["t"], events["x"], events["y"], events["p"])
    for name in "tp":
        _checked_column(name, events[name])
    return events


def cut(
    chunks: Iterable[npt.NDArray[Any]], window: Window
) -> Iterator[tuple[Events, Packet | None]]:
    """Pieces of packets, as events come in.

    Parameters
    ----------
    chunks : iterable of structured ndarray
        Consecutive parts of one recording, of any sizes.
    window : CountWindow or TimeWindow

    Yields
    ------
    piece : ndarray of `EVENT_DTYPE`
        At most `BLOCK_EVENTS` events.
    packet : Packet or None
        Set if the piece, maybe an empty one, is the last of its packet.

    Raises
    ------
    ValueError
        If times decrease, or begin before the origin, and the windows are of time.
    """
    blocks = _blocks(chunks)
    if isinstance(window, CountWindow):
        return _cut_by_count(blocks, int(window.events))
    return _cut_by_time(blocks, window)


class EventMap:
    """The map that a network takes, filled with one packet's events.

    Parameters
    ----------
    dims : tuple of int, (width, height, features)
        With two features the polarity chooses the one; with one it is ignored.
    bits : int, 1 to 8
        Values saturate at ``2**bits - 1``.
    duplicates : {"merge", "count"}
        Whether several events at one place count as one, or add up.
    value : int
        What an event is worth.
    downscale : int
        Divides coordinates, rounding down.

    Attributes
    ----------
    values_whc : ndarray of uint8, shape (width, height, features)

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.
    """

    def __init__(
        self,
        dims: Dims,
        bits: int = 1,
        *,
        duplicates: Duplicates = "merge",
        value: int = 1,
        downscale: int = 1,
    ) -> None:
        if duplicates not in get_args(Duplicates):
            raise ValueError(f"duplicates is {duplicates!r}, but must be 'merge' or 'count'")
        _check_integer("bits", bits, 1, 8)
        self._top = 2**bits - 1
        _check_integer("value", value, 1, self._top)
        _check_integer("downscale", downscale, 1, 1 << 16)
        if len(dims) != 3 or dims[2] not in (1, 2):
            raise ValueError(
                f"dims is {dims!r}, but events of a camera fill (width, height, features) with "
                f"two features, one per polarity, or with one. For other networks spread "
                f"coordinates (x, y, feature) with events_to_dense."
            )
        for side in dims[:2]:
            _check_integer("dims", side, 1, 1 << 16)
        self._counts = duplicates == "count"
        self._value = value
        self._downscale = downscale
        self.values_whc: npt.NDArray[np.uint8] = np.zeros(dims, np.uint8)

    def clear(self) -> None:
        """Begin a new packet."""
        self.values_whc[...] = 0

    def add(self, events: Events) -> None:
        """Add events; on an error the map is unchanged.

        Raises
        ------
        ValueError
            If a coordinate lies outside; the first one is named.
        """
        width, height, features = self.values_whc.shape
        x = events["x"].astype(np.int64) // self._downscale
        y = events["y"].astype(np.int64) // self._downscale
        for name, values, length in (("x", x, width), ("y", y, height)):
            outside = values >= length
            if outside.any():
                first = int(outside.argmax())
                scaled = f" // {self._downscale}" if self._downscale > 1 else ""
                raise ValueError(
                    f"event at t = {events['t'][first]} has {name}{scaled} = {values[first]}, "
                    f"allowed are 0 to {length - 1}. Crop the events, or choose another downscale."
                )
        index = (x * height + y) * features
        if features == 2:
            index += events["p"]
        flat = self.values_whc.reshape(-1)
        if not self._counts:
            flat[index] = self._value
            return
        places, counts = np.unique(index, return_counts=True)
        sums = flat[places] + counts * self._value
        flat[places] = np.minimum(sums, self._top)


def bin_events(
    events: npt.NDArray[Any],
    dims: Dims,
    window: Window | None = None,
    *,
    bits: int = 1,
    duplicates: Duplicates = "merge",
    value: int = 1,
    downscale: int = 1,
) -> npt.NDArray[np.uint8]:
    """A recording as a batch, one sample per packet.

    Parameters
    ----------
    events : structured ndarray with the fields t, x, y, p
    dims : tuple of int, (width, height, features)
        Of a sample; one or two features.
    window : CountWindow or TimeWindow, optional
        By default the whole recording is one packet.
    bits, duplicates, value, downscale
        As for `EventMap`.

    Returns
    -------
    batch_nwhc : ndarray of uint8, shape (packets, width, height, features)

    Raises
    ------
    TypeError
        If the events are no event array.
    ValueError
        If an argument or an event is out of range, times decrease within windows of time, or the
        batch would be larger than `MAX_BATCH_BYTES`.

    See Also
    --------
    kerasnsoc.runtime.Model.stream : runs packets one by one, in bounded memory.

    Examples
    --------
    >>> events = make_events([0, 5, 12], [0, 1, 0], [0, 0, 0], [1, 0, 1])
    >>> bin_events(events, (2, 1, 2), TimeWindow(10)).shape
    (2, 2, 1, 2)
    """
    events = as_events(events)
    target = EventMap(dims, bits, duplicates=duplicates, value=value, downscale=downscale)
    if window is None:
        for block in _blocks([events]):
            target.add(block)
        return target.values_whc[None]
    packets = _packet_count(events, window)
    needed = packets * target.values_whc.nbytes
    if needed > MAX_BATCH_BYTES:
        raise ValueError(
            f"{packets} packets of {target.values_whc.nbytes} bytes would take {needed} bytes, "
            f"allowed are {MAX_BATCH_BYTES}. Use longer windows, skip_empty=True, or Model.stream, "
            f"which holds one packet at a time."
        )
    batch_nwhc = np.zeros((packets, *target.values_whc.shape), np.uint8)
    row = 0
    for piece, packet in cut([events], window):
        target.add(piece)
        if packet is not None:
            batch_nwhc[row] = target.values_whc
            target.clear()
            row += 1
    assert row == packets
    return batch_nwhc


def _packet_count(events: Events, window: Window) -> int:
    if not len(events):
        return 0
    if isinstance(window, CountWindow):
        return -(-len(events) // int(window.events))
    start = int(events["t"][0]) if window.origin is None else int(window.origin)
    _check_order(events["t"], start)
    if not window.skip_empty:
        return (int(events["t"][-1]) - start) // int(window.microseconds) + 1
    numbers = (events["t"] - start) // int(window.microseconds)
    return 1 + int(np.count_nonzero(numbers[1:] != numbers[:-1]))


def _blocks(chunks: Iterable[npt.NDArray[Any]]) -> Iterator[Events]:
    for chunk in chunks:
        for start in range(0, len(chunk), BLOCK_EVENTS):
            yield as_events(chunk[start : start + BLOCK_EVENTS])


def _cut_by_count(blocks: Iterable[Events], size: int) -> Iterator[tuple[Events, Packet | None]]:
    index, filled, first, last = 0, 0, 0, 0
    for block in blocks:
        position = 0
        while position < len(block):
            piece = block[position : position + size - filled]
            position += len(piece)
            if not filled:
                first = int(piece["t"][0])
            last = int(piece["t"][-1])
            filled += len(piece)
            if filled < size:
                yield piece, None
                continue
            yield piece, Packet(index, first, last, filled)
            index, filled = index + 1, 0
    if filled:
        yield np.empty(0, EVENT_DTYPE), Packet(index, first, last, filled)


def _cut_by_time(
    blocks: Iterable[Events], window: TimeWindow
) -> Iterator[tuple[Events, Packet | None]]:
    duration = int(window.microseconds)
    index, count = 0, 0
    start = None if window.origin is None else int(window.origin)
    earliest = start
    for block in blocks:
        times = block["t"]
        _check_order(times, earliest)
        earliest = int(times[-1])
        if start is None:
            start = int(times[0])
        position = 0
        while position < len(block):
            if window.skip_empty and not count:
                skipped = (int(times[position]) - start) // duration
                index, start = index + skipped, start + skipped * duration
            stop = start + duration
            end = position + int(np.searchsorted(times[position:], stop))
            piece = block[position:end]
            position = end
            count += len(piece)
            if end == len(block):
                yield piece, None
                continue
            yield piece, Packet(index, start, stop, count)
            index, start, count = index + 1, stop, 0
    if count:
        assert start is not None
        yield np.empty(0, EVENT_DTYPE), Packet(index, start, start + duration, count)


def _check_order(times: npt.NDArray[np.int64], earliest: int | None) -> None:
    if earliest is not None and len(times) and times[0] < earliest:
        raise ValueError(
            f"an event has t = {times[0]}, but windows of time go on from {earliest}. Sort the "
            f"events by t, set an earlier origin, or use a CountWindow."
        )
    falls = times[1:] < times[:-1]
    if falls.any():
        first = int(falls.argmax())
        raise ValueError(
            f"an event with t = {times[first + 1]} follows one with t = {times[first]}, but "
            f"windows of time need times that do not decrease. Sort the events by t, or use a "
            f"CountWindow."
        )


_RANGES = {"t": (1 - MAX_TIME, MAX_TIME - 1), "x": (0, 65535), "y": (0, 65535), "p": (0, 1)}


def _checked_column(name: str, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if column.dtype.kind not in ("iub" if name == "p" else "iu"):
        raise TypeError(f"field {name!r} has the dtype {column.dtype}, but must hold integers")
    if column.dtype.kind == "b" or not len(column):
        return column
    low, high = _RANGES[name]
    if int(column.min()) < low or int(column.max()) > high:
        first = next(i for i, entry in enumerate(column.tolist()) if not low <= entry <= high)
        raise ValueError(f"event {first} has {name} = {column[first]}, allowed are {low} to {high}")
    return column


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}, but must be an integer")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, but must be {low} to {high}")
