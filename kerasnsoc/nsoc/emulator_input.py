"""From events to what enters the chip: sensor block, order, leak ticks, ends of packets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.config import DvsConfig, NSoCConfig

Array = npt.NDArray[Any]

EVENT, TICK, TOKEN, NOWHERE = range(4)

PS_PER_US = 1_000_000
LARGEST_US = 2**61 // PS_PER_US
MAX_TICKS = 20_000_000
"""More ticks than this are a mistake in the frequency or in the end of the recording."""

PACKED_DTYPE = np.dtype([("t_ps", "i8"), ("x", "u2"), ("y", "u2"), ("c", "u2"), ("n", "i4")])
"""Events in the emulator's own resolution, with a payload."""


@dataclass(slots=True)
class Items:
    """What enters the chip, in order; the index of an item is the ``root`` of all that it causes.

    Attributes
    ----------
    t_ps : ndarray of int64
    x, y, c, payload : ndarray of int32
        As the cores see them, behind the sensor block.
    kind : ndarray of uint8
        `EVENT`, `TICK`, `TOKEN` (end of a packet) or `NOWHERE` (cropped by the sensor block).
    port : ndarray of int32
        Where an event enters; 0 is from outside.
    raw : ndarray of `PACKED_DTYPE`
        The events as they came, one per item of kind `EVENT` or `NOWHERE`, in order.
    """

    t_ps: npt.NDArray[np.int64]
    x: npt.NDArray[np.int32]
    y: npt.NDArray[np.int32]
    c: npt.NDArray[np.int32]
    payload: npt.NDArray[np.int32]
    kind: npt.NDArray[np.uint8]
    port: npt.NDArray[np.int32]
    raw: Array

    def __len__(self) -> int:
        return len(self.t_ps)


def packets_from_frames(frames_nhwc: npt.ArrayLike, period_us: float = 0.0) -> list[Array]:
    """One packet of graded events per frame.

    Parameters
    ----------
    frames_nhwc : array_like of int, shape (n, height, width, channels)
        Zeros send nothing.
    period_us : float
        Between the starts of two packets; 0 offers them all at once.

    Returns
    -------
    list of ndarray of `PACKED_DTYPE`
        In the order y, x, channel.

    Raises
    ------
    ValueError
        If the frames are no integers of four dimensions, or the period is negative.
    """
    frames = np.asarray(frames_nhwc)
    if frames.ndim != 4 or frames.dtype.kind not in "iub":
        raise ValueError(
            f"frames are {frames.dtype} of shape {frames.shape}, but must be integers of shape "
            f"(frames, height, width, channels)"
        )
    if not 0 <= period_us <= LARGEST_US / max(len(frames), 1):
        raise ValueError(f"period_us is {period_us!r}, but must be a number of at least 0")
    packets = []
    for k, frame in enumerate(frames):
        y, x, c = np.nonzero(frame)
        packet = np.empty(len(y), PACKED_DTYPE)
        packet["t_ps"] = round(k * period_us * PS_PER_US)
        packet["x"], packet["y"], packet["c"] = x, y, c
        packet["n"] = frame[y, x, c]
        packets.append(packet)
    return packets


def packed(events: npt.ArrayLike) -> Array:
    """Events of any accepted form in `PACKED_DTYPE`, unsorted.

    Raises
    ------
    TypeError
        If they are no structured array.
    ValueError
        If a field is missing or a value is out of range.
    """
    array = np.asarray(events)
    names = array.dtype.names
    if names is None:
        raise TypeError(
            f"events are {array.dtype} of shape {array.shape}, but must be a structured array with "
            f"the fields t (microseconds) or t_ps, x, y, c; kerasnsoc.nsoc.raster_to_events and "
            f"packets_from_frames make one"
        )
    time = "t_ps" if "t_ps" in names else "t"
    missing = [name for name in (time, "x", "y", "c") if name not in names]
    if missing or array.ndim != 1:
        raise ValueError(
            f"events of shape {array.shape} have the fields {', '.join(names)}, but need one "
            f"dimension and t or t_ps, x, y, c"
        )
    result = np.empty(len(array), PACKED_DTYPE)
    result["n"] = array["n"] if "n" in names else 1
    limit = LARGEST_US * PS_PER_US if time == "t_ps" else LARGEST_US
    for name, low, high in ((time, 0, limit), ("x", 0, 65535), ("y", 0, 65535), ("c", 0, 65535)):
        bad = ~((array[name] >= low) & (array[name] <= high))
        if bad.any():
            first = int(np.argmax(bad))
            raise ValueError(
                f"event {first} has {name} {array[name][first]}, but must have {low} to {high:,}"
            )
        if name != time:
            result[name] = array[name]
    if array[time].dtype.kind == "f":
        scale = 1 if time == "t_ps" else PS_PER_US
        result["t_ps"] = np.rint(array[time] * scale).astype(np.int64)
    else:
        result["t_ps"] = array[time].astype(np.int64) * (1 if time == "t_ps" else PS_PER_US)
    return result


def event_items(config: NSoCConfig, events: npt.ArrayLike, t_end: float | None) -> Items:
    """Events and ticks of the slow clock, as event mode takes them.

    Tick k enters at k times the period, before events of the same time, up to `t_end` (default: the
    last event), inclusive.
    """
    packet = _ordered(packed(events))
    t_ps = packet["t_ps"]
    last = int(t_ps[-1]) if len(t_ps) else 0
    end = last if t_end is None else _end_ps(t_end, last)
    ticks = _ticks(config.slow_clock_hz, end)
    raw = np.repeat(packet, np.maximum(packet["n"], 0))
    raw["n"] = 1
    order = np.argsort(np.concatenate([ticks, raw["t_ps"]]), kind="stable")
    kind = np.concatenate([np.full(len(ticks), TICK), np.full(len(raw), EVENT)])[order]
    blank = np.zeros(len(ticks), PACKED_DTYPE)
    blank["t_ps"] = ticks
    merged = np.concatenate([blank, raw])[order]
    return _items(config, merged, kind, raw)


def packet_items(
    config: NSoCConfig,
    events: npt.ArrayLike | Sequence[npt.ArrayLike],
    packet_ends: npt.ArrayLike | None,
) -> Items:
    """Events, with a token behind each packet.

    With `packet_ends`, packet k holds the events before ``packet_ends[k]`` (in the unit of the
    events' own times) that no earlier packet holds, and its token enters at that time. Without,
    `events` is a sequence of packets, and a token enters right behind the last event of its packet.
    """
    if packet_ends is not None:
        array = np.asarray(events)
        unit = 1 if array.dtype.names and "t_ps" in array.dtype.names else PS_PER_US
        whole = _ordered(packed(array))
        ends = np.asarray(packet_ends)
        if ends.ndim != 1 or ends.dtype.kind not in "iuf":
            raise ValueError(
                f"packet_ends has shape {ends.shape} and {ends.dtype}, but must be "
                f"one-dimensional numbers"
            )
        ends_ps = np.rint(ends * unit).astype(np.int64)
        if len(ends) and (ends_ps[0] < 0 or (np.diff(ends_ps) < 0).any()):
            raise ValueError("packet_ends must ascend from 0")
        cuts = np.searchsorted(whole["t_ps"], ends_ps, "left")
        if len(whole) > (cuts[-1] if len(cuts) else 0):
            raise ValueError(
                f"{len(whole) - (cuts[-1] if len(cuts) else 0)} events lie behind the last end of "
                f"a packet; append an end behind {whole['t_ps'][-1]} ps"
            )
        packets = np.split(whole, cuts[:-1]) if len(cuts) else []
        tokens = ends_ps.tolist()
    else:
        if isinstance(events, np.ndarray) and events.dtype.names is not None:
            raise ValueError(
                "packet mode needs packets: give a sequence of event arrays, one per packet, or "
                "packet_ends"
            )
        packets = [_ordered(packed(packet)) for packet in _sequence(events)]
        tokens, last = [], 0
        for k, packet in enumerate(packets):
            if len(packet) and packet["t_ps"][0] < last:
                raise ValueError(
                    f"packet {k} begins at {packet['t_ps'][0]} ps, before packet {k - 1} has ended "
                    f"at {last} ps"
                )
            last = int(packet["t_ps"][-1]) if len(packet) else last
            tokens.append(last)
    is_graded = config.numeric.graded
    parts: list[Array] = []
    kinds: list[Array] = []
    raws: list[Array] = []
    for packet, token in zip(packets, tokens, strict=True):
        if is_graded:
            packet = packet[packet["n"] != 0]
        else:
            packet = np.repeat(packet, np.maximum(packet["n"], 0))
            packet["n"] = 1
        end = np.zeros(1, PACKED_DTYPE)
        end["t_ps"] = token
        parts += [packet, end]
        kinds += [np.full(len(packet), EVENT), np.array([TOKEN])]
        raws.append(packet)
    if not parts:
        empty = np.zeros(0, PACKED_DTYPE)
        return _items(config, empty, np.zeros(0, np.uint8), empty)
    return _items(config, np.concatenate(parts), np.concatenate(kinds), np.concatenate(raws))


def noise_events(config: DvsConfig, rate_hz: float, end_ps: int, rng: np.random.Generator) -> Array:
    """Events that pixels send by themselves, at random, until `end_ps`."""
    features, height, width = config.input_shape.chw
    expected = rate_hz * features * height * width * end_ps * 1e-12
    if not expected < 2**31:
        raise ValueError(f"dvs_noise_hz {rate_hz!r} makes {expected:.3g} events; lower it")
    count = int(rng.poisson(expected))
    events = np.empty(count, PACKED_DTYPE)
    events["t_ps"] = np.sort(rng.integers(0, end_ps, count, endpoint=True))
    events["x"] = rng.integers(0, width, count)
    events["y"] = rng.integers(0, height, count)
    events["c"] = rng.integers(0, features, count)
    events["n"] = 1
    return events


def through_sensor(
    dvs: DvsConfig, x: Array, y: Array, c: Array
) -> tuple[Array, Array, Array, npt.NDArray[np.bool_]]:
    """Merge, pool, crop, mirror, swap: where events go, and which are kept."""
    c = np.zeros_like(c) if dvs.merge else c
    x, y = x // dvs.pooling.x, y // dvs.pooling.y
    kept = (x >= dvs.origin.x) & (x <= dvs.cut.x) & (y >= dvs.origin.y) & (y <= dvs.cut.y)
    x, y = x - dvs.origin.x, y - dvs.origin.y
    if dvs.mirror.x:
        x = dvs.cut.x - dvs.origin.x - x
    if dvs.mirror.y:
        y = dvs.cut.y - dvs.origin.y - y
    return (y, x, c, kept) if dvs.mirror_diagonal else (x, y, c, kept)


def _sequence(packets: object) -> Sequence[npt.ArrayLike]:
    if not isinstance(packets, Iterable):
        raise TypeError(f"packets are {type(packets).__name__}, but must be a sequence of arrays")
    return list(packets)


def _ordered(events: Array) -> Array:
    return events[np.argsort(events["t_ps"], kind="stable")]


def _end_ps(t_end: float, last: int) -> int:
    if not 0 <= t_end <= LARGEST_US:
        raise ValueError(f"t_end is {t_end!r} us, but must be 0 to {LARGEST_US:,}")
    end = round(t_end * PS_PER_US)
    if end < last:
        raise ValueError(f"t_end is {t_end!r} us, but the last event comes at {last / PS_PER_US}")
    return end


def _ticks(frequency: float | None, end: int) -> npt.NDArray[np.int64]:
    if frequency is None:
        return np.zeros(0, np.int64)
    if not 0 < frequency <= 1e12:
        raise ValueError(f"slow_clock_hz is {frequency!r}, but must be above 0 and at most 1e12")
    period = round(1e12 / frequency)
    count = end // period
    if count > MAX_TICKS:
        raise ValueError(
            f"a slow clock of {frequency!r} Hz makes {count:,} ticks until {end} ps, allowed are "
            f"{MAX_TICKS:,}; lower the frequency or cut the recording"
        )
    return np.arange(1, count + 1, dtype=np.int64) * period


def _items(config: NSoCConfig, merged: Array, kind: Array, raw: Array) -> Items:
    kind = kind.astype(np.uint8)
    x, y, c = (merged[name].astype(np.int32) for name in ("x", "y", "c"))
    is_event = kind == EVENT
    _check_range(config, merged, is_event)
    if config.dvs is not None:
        x, y, c, kept = through_sensor(config.dvs, x, y, c)
        kind[is_event & ~kept] = NOWHERE
        outside = kind != EVENT
        x, y, c = (np.where(outside, 0, values).astype(np.int32) for values in (x, y, c))
    return Items(  # copies: a field of a packed record is not aligned
        t_ps=merged["t_ps"].astype(np.int64),
        x=np.ascontiguousarray(x),
        y=np.ascontiguousarray(y),
        c=np.ascontiguousarray(c),
        payload=merged["n"].astype(np.int32),
        kind=kind,
        port=np.zeros(len(merged), np.int32),
        raw=raw,
    )


def _check_range(config: NSoCConfig, merged: Array, is_event: Array) -> None:
    port = config.dvs if config.dvs is not None else config.input
    assert port is not None
    features, height, width = port.input_shape.chw
    for name, size in (("x", width), ("y", height), ("c", features)):
        bad = is_event & (merged[name] >= size)
        if bad.any():
            first = int(np.argmax(bad))
            at = merged[first]
            raise ValueError(
                f"the event at {at['t_ps']} ps has x {at['x']}, y {at['y']}, c {at['c']}, but the "
                f"input takes {name} 0 to {size - 1} (width {width}, height {height}, features "
                f"{features})"
            )
