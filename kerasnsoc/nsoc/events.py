"""Events and rasters, and the address of a neuron."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.memory import clog2

EVENT_DTYPE = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("c", "<u2")])
"""An event at the chip's input: microseconds, column, row, feature."""

ADDRESS_BITS = 18

_ORDERS = ("yxc", "cyx")


def raster_to_events(
    raster: npt.ArrayLike,
    dt: float = 1e-3,
    truncate: bool = False,
    delay_factor: float = 0.0,
    data_format: str = "channels_last",
    order: Literal["yxc", "cyx"] = "yxc",
) -> npt.NDArray[Any]:
    """Events of a raster: a count of n becomes n equal events.

    Parameters
    ----------
    raster : ndarray of integers, shape (T, H, W, C), or (T, C, H, W) with ``channels_first``
    dt : float
        Seconds per step.
    truncate : bool
        Whether any count becomes one event.
    delay_factor : float
        Seconds added to each time, at least 0.
    data_format : {"channels_last", "channels_first"}
    order : {"yxc", "cyx"}
        How events of one step are sorted.

    Returns
    -------
    ndarray of `EVENT_DTYPE`
        By time; ``t = round((step * dt + delay_factor) * 1e6)``.

    Raises
    ------
    ValueError
        If the raster has other axes, negative or broken counts, or the delay is negative.

    Examples
    --------
    >>> raster = np.zeros((2, 1, 2, 1), int)
    >>> raster[1, 0, 1, 0] = 2
    >>> raster_to_events(raster)["t"].tolist()
    [1000, 1000]
    """
    counts = np.asarray(raster)
    if counts.ndim != 4 or counts.dtype.kind not in "buif":
        raise ValueError(
            f"raster holds {counts.dtype} of shape {counts.shape}, but it must hold counts of "
            "shape (T, H, W, C)"
        )
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            f"data_format is {data_format!r}, but it must be 'channels_last' or 'channels_first'"
        )
    if order not in _ORDERS:
        raise ValueError(f"order is {order!r}, but it must be one of {_ORDERS}")
    if not 0 < dt < np.inf:
        raise ValueError(f"dt is {dt!r}, but it must be a number of seconds above 0")
    if not 0 <= delay_factor < np.inf:
        raise ValueError(f"delay_factor is {delay_factor!r}, but it must be at least 0 seconds")
    if data_format == "channels_first":
        counts = counts.transpose(0, 2, 3, 1)
    if counts.dtype.kind == "f" and (counts != np.rint(counts)).any():
        raise ValueError("raster holds numbers that are no whole counts")
    if counts.size and counts.min() < 0:
        raise ValueError(f"raster holds {counts.min()}, but counts are at least 0")
    if max(counts.shape[1:], default=0) > 2**16:
        raise ValueError(f"raster has the shape {counts.shape}, but an address has 16 bits an axis")
    axes = (0, 1, 2, 3) if order == "yxc" else (0, 3, 1, 2)
    steps, *places = np.nonzero(counts.transpose(axes))
    y, x, c = places if order == "yxc" else (places[1], places[2], places[0])
    repeats = np.ones(len(steps), int) if truncate else counts[steps, y, x, c].astype(np.int64)
    events = np.empty(int(repeats.sum()), EVENT_DTYPE)
    times = np.rint((steps * dt + delay_factor) * 1e6).astype(np.int64)
    for name, values in (("t", times), ("x", x), ("y", y), ("c", c)):
        events[name] = np.repeat(values, repeats)
    return events


def xytp_to_events(
    xytp: npt.NDArray[Any], reset_timestamps: bool, delay_factor: float = 0.0
) -> npt.NDArray[Any]:
    """Events of a camera as events of a chip.

    Parameters
    ----------
    xytp : structured ndarray with the fields x, y, t, p
        Microseconds; the polarity becomes the feature.
    reset_timestamps : bool
        Whether the first event gets time 0.
    delay_factor : float
        Seconds added to each time.

    Returns
    -------
    ndarray of `EVENT_DTYPE`

    Raises
    ------
    ValueError
        If a field is missing, a time would be negative, or an address does not fit 16 bits.
    """
    array = np.asarray(xytp)
    names = array.dtype.names or ()
    missing = [name for name in "xytp" if name not in names]
    if missing or array.ndim != 1:
        raise ValueError(
            f"events have the fields {names} and the shape {array.shape}, but they must be a "
            f"one-dimensional array with the fields x, y, t, p; missing: {missing}"
        )
    t = array["t"].astype(np.int64)
    if reset_timestamps and len(t):
        t = t - t[0]
    t = t + round(delay_factor * 1e6)
    if len(t) and t.min() < 0:
        raise ValueError(
            f"event {int(t.argmin())} gets the time {t.min()} us, but times are at least 0. Pass a "
            "larger delay_factor, or sort the events by time."
        )
    events = np.empty(len(array), EVENT_DTYPE)
    events["t"] = t
    for name, field in (("x", "x"), ("y", "y"), ("c", "p")):
        values = array[field].astype(np.int64)
        if len(values) and not 0 <= values.min() <= values.max() < 2**16:
            raise ValueError(
                f"field {field!r} holds {values.min()} to {values.max()}, not 0..65535"
            )
        events[name] = values
    return events


def events_to_raster(
    events: npt.NDArray[Any], dt: float, shape: tuple[int, int, int] | None = None
) -> npt.NDArray[np.int32]:
    """Counts per step and neuron.

    Parameters
    ----------
    events : structured ndarray with x, y, c and t (microseconds) or t_ps (picoseconds)
    dt : float
        Seconds per step; the first event is at time 0.
    shape : tuple of int, (C, H, W), optional
        By default the largest address plus 1.

    Returns
    -------
    ndarray of int32, shape (T, H, W, C)

    Raises
    ------
    ValueError
        If an event lies outside `shape`, or `dt` is no time.
    """
    if not 0 < dt < np.inf:
        raise ValueError(f"dt is {dt!r}, but it must be a number of seconds above 0")
    names = events.dtype.names or ()
    time_field = "t_ps" if "t_ps" in names else "t"
    x, y, c = (events[name].astype(np.int64) for name in "xyc")
    if shape is None:
        shape = tuple(int(v.max()) + 1 if len(v) else 0 for v in (c, y, x))  # type: ignore[assignment]
    assert shape is not None
    for name, values, length in (("c", c, shape[0]), ("y", y, shape[1]), ("x", x, shape[2])):
        if len(values) and values.max() >= length:
            raise ValueError(
                f"event {int(values.argmax())} has {name} = {values.max()}, but the shape is "
                f"{shape} (features, height, width)"
            )
    if not len(events):
        return np.zeros((0, shape[1], shape[2], shape[0]), np.int32)
    t = events[time_field].astype(np.int64)
    elapsed = t - t.min()
    # The exact quotient of the decimal numbers: 0.001 s are 1000 us, which floats may just miss.
    width = Fraction(repr(float(dt))) * (10**12 if time_field == "t_ps" else 10**6)
    n, d = width.numerator, width.denominator
    if max(int(elapsed.max()), 1) * d < 2**62 and n < 2**62:
        steps = elapsed * d // n
    else:
        steps = np.floor(elapsed / float(width)).astype(np.int64)
    raster = np.zeros((int(steps.max()) + 1, shape[1], shape[2], shape[0]), np.int32)
    counts = events["n"].astype(np.int32) if "n" in names else 1
    np.add.at(raster, (steps, y, x, c), counts)
    return raster


def _bits(shape_chw: tuple[int, int, int]) -> tuple[int, int]:
    features, height, width = shape_chw
    bits = [clog2(n) for n in (features, width, height)]
    if sum(bits) > ADDRESS_BITS:
        raise ValueError(
            f"neurons of shape {shape_chw} (features, height, width) need {sum(bits)} address "
            f"bits, but there are {ADDRESS_BITS}"
        )
    return bits[0], bits[1]


def neuron_address(x: int, y: int, c: int, shape_chw: tuple[int, int, int]) -> int:
    """The address of a neuron: the feature in the lowest bits, then x, then y.

    Raises
    ------
    ValueError
        If the neuron lies outside, or its map needs more than 18 bits.

    Examples
    --------
    >>> neuron_address(1, 0, 0, (16, 32, 32)), neuron_address(0, 1, 0, (16, 32, 32))
    (16, 512)
    """
    feature_bits, x_bits = _bits(shape_chw)
    features, height, width = shape_chw
    if not (0 <= x < width and 0 <= y < height and 0 <= c < features):
        raise ValueError(
            f"no neuron (x, y, c) = {(x, y, c)} in a map of {shape_chw} (features, height, width)"
        )
    return (int(y) << (feature_bits + x_bits)) | (int(x) << feature_bits) | int(c)


def neuron_from_address(address: int, shape_chw: tuple[int, int, int]) -> tuple[int, int, int]:
    """(x, y, c) of an address; errors as of `neuron_address`.

    Examples
    --------
    >>> neuron_from_address(512, (16, 32, 32))
    (0, 1, 0)
    """
    feature_bits, x_bits = _bits(shape_chw)
    c = address & ((1 << feature_bits) - 1)
    x = (address >> feature_bits) & ((1 << x_bits) - 1)
    y = address >> (feature_bits + x_bits)
    if not (address >= 0 and c < shape_chw[0] and y < shape_chw[1] and x < shape_chw[2]):
        raise ValueError(f"{address} is no address in a map of {shape_chw}")
    return x, y, c
