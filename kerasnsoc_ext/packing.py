"""Layers prepared for vector kernels: packed weights, and what is proved about their sums."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc_ext import small_weights
from kerasnsoc_ext.firing import Line, fit_line
from kerasnsoc_ext.separable import WORDS, Strips, pack_strips, sums_form
from kerasnsoc_ext.small_weights import Bits, Nibbles

Window = tuple[int, int, int, int, int]
"""(length, size, stride, lead, output) along one axis."""

Int8s = npt.NDArray[np.int8]

EVENT_BLOCK = 64
"""Neurons whose weights for one event lie side by side."""

CACHE_LINE = 64
INT16_MAX = 2**15 - 1
INT32_MAX = 2**31 - 1
MAX_COLUMN_BYTES = 2**25  # times EVENT_BLOCK it still is an event's 32-bit index
MAX_ROWS_BYTES = 2**28
MOST_PADDING = 8
"""Packed weights of either form may take this many times the weights themselves …"""

SMALL_BYTES = 2**16
"""… and this much, so that padding a few neurons to whole vectors cannot exhaust the memory."""
MAX_DEPTHWISE_TAPS = 64
FLAT_CHANNELS = 256
JOINED_CHANNELS = 3
"""Windows over more channels have columns of which little more than whole quads is read."""

JOINED_BYTES = 2**10
"""Longest window that is joined."""

COPIED_BYTES = 16
COPY_IN_PRODUCTS = 64
"""A copy takes about as long as four inputs for so many neurons."""

WIDENED_WEIGHTS = 2**16
"""Weights that are held as floats at a time while sums are bounded."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a kernel row wants: bytes of a vector, neurons of a dense block, strips or not."""

    vector_bytes: int
    dense_block: int
    strips: bool = False
    """Whether there are kernels for separable layers by strips."""
    small: bool = True
    """Whether there are kernels for sums that fit bytes."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One layer for vector kernels; fields as in ``kernels/packed.h``."""

    columns: Window
    cells: Window
    channels: int
    neurons: int
    padded_neurons: int
    framed: bool
    framed_columns: int
    framed_cells: int
    fan_out_columns: npt.NDArray[np.int32]
    fan_out_bytes: npt.NDArray[np.uint8] | None
    segments: int
    joined: bool
    quads: int
    dense: Int8s | None
    rows: Int8s | None
    narrow: bool
    flush: int
    single_dots: bool
    dots_in_s16: int
    bits: Bits | None
    nibbles: Nibbles | None
    depthwise: npt.NDArray[np.int16] | None
    period: int
    flat: bool
    strips: Strips | None
    line: Line | None
    thresholds: npt.NDArray[np.int32] | None

    @property
    def nbytes(self) -> int:
        """Memory of all arrays."""
        arrays = (self.fan_out_columns, self.fan_out_bytes, self.dense, self.rows, self.depthwise)
        held = (*arrays, self.strips, self.thresholds, self.bits, self.nibbles, *(self.line or ()))
        return sum(a.nbytes for a in held if a is not None)


def pack(
    layout: Layout,
    columns: Window,
    cells: Window,
    weights_xycn: Int8s,
    largest: int,
    thresholds_mn: npt.NDArray[np.int32] | None,
    summed: int = 1,
    fully: bool = False,
    depthwise_xyc: Int8s | None = None,
) -> Packed | None:
    """Pack one layer, or say with None that only the plain kernels can run it.

    Parameters
    ----------
    layout : Layout
    columns, cells : Window
        Along the axis of the input's columns, and along the cells of a column.
    weights_xycn : ndarray of int8, shape (window columns, window cells, channels, neurons)
        For a separable layer the pointwise weights, shape (1, 1, channels, neurons).
    largest : int
        Largest input, border included.
    thresholds_mn : ndarray of int32, shape (levels, neurons), or None
    summed : int
        Most potentials that pooling adds up.
    fully : bool
        Whether it is a fully connected layer, whose events are rows of all neurons.
    depthwise_xyc : ndarray of int8, shape (window columns, window cells, channels), optional
        Of a separable layer.
    """
    channels, neurons = weights_xycn.shape[2:]
    fan_out_columns, fan_out_cells = _fan_out(columns), _fan_out(cells)
    if fan_out_cells.max() > 255 or cells[0] * channels > MAX_COLUMN_BYTES:
        return None
    padded = -(-neurons // EVENT_BLOCK) * EVENT_BLOCK
    bytes_each = 1 if depthwise_xyc is None else 2
    allowed = MOST_PADDING * weights_xycn.size + SMALL_BYTES
    inputs = prod(weights_xycn.shape[:3])
    if inputs * -(-neurons // layout.dense_block) * layout.dense_block * bytes_each > allowed:
        return None
    kernel_wk_n = weights_xycn.reshape(weights_xycn.shape[0], -1, neurons)
    rows = depthwise = strips = bits = nibbles = dense = None
    period, flat, joined = 0, False, False
    if depthwise_xyc is None:
        low_n, high_n = _extremes(kernel_wk_n.reshape(-1, neurons), largest)
        largest_weight = max(-int(weights_xycn.min()), int(weights_xycn.max()))
        if inputs * padded > min(allowed, MAX_ROWS_BYTES):
            pass
        elif (
            layout.small
            and fully
            and small_weights.nibbles_fit(weights_xycn[0, 0], largest, largest_weight)
        ):
            nibbles = _nibbles(weights_xycn[0, 0], largest, largest_weight, layout.vector_bytes)
        else:
            rows = _rows(weights_xycn, padded, layout.vector_bytes, not fully)
        narrow = bool(max(-low_n.min(), high_n.max()) <= INT16_MAX)
        if layout.small and largest == 1 and narrow and not fully:
            bits = _bits(weights_xycn, largest_weight, padded, layout.vector_bytes, allowed)
        joined = _is_joined(kernel_wk_n, channels)
        if joined:
            kernel_wk_n = kernel_wk_n.reshape(1, -1, neurons)
        quads = -(-kernel_wk_n.shape[1] // 4)
        if bits is None or bits.tables is None:
            dense = _quads(kernel_wk_n, layout.dense_block)
        # what kernels read behind an input is there if they read a copy
        framed = joined or quads * 4 != kernel_wk_n.shape[1]
    else:
        taps = depthwise_xyc.reshape(-1, channels)
        low_c, high_c = _extremes(taps, largest)
        if max(-low_c.min(), high_c.max()) > INT16_MAX or len(taps) > MAX_DEPTHWISE_TAPS:
            return None
        low_n, high_n = _reach(low_c, high_c, weights_xycn[0, 0])
        form, base_c = sums_form(taps, low_c, high_c, largest)
        if form == WORDS or not layout.strips:
            dense, quads = _pairs(weights_xycn[0, 0], layout.dense_block)
        else:
            dense, quads = _quads(weights_xycn[0], layout.dense_block), -(-channels // 4)
        largest_weight = 0
        if layout.strips:
            strips = pack_strips(
                form,
                base_c,
                depthwise_xyc,
                weights_xycn[0, 0],
                cells[2],
                largest,
                layout.vector_bytes,
                padded,
            )
        else:
            depthwise, period, flat = _depthwise(depthwise_xyc, cells[2], layout.vector_bytes // 2)
        framed = True
    framed_columns, framed_cells = _framed(columns), _framed(cells)
    product = max(1, largest * largest_weight)
    line = None
    if thresholds_mn is not None:
        line = fit_line(thresholds_mn, low_n * summed, high_n * summed, padded)
    return Packed(
        columns=columns,
        cells=cells,
        channels=channels,
        neurons=neurons,
        padded_neurons=padded,
        framed=framed or (framed_columns, framed_cells) != (columns[0], cells[0]),
        framed_columns=framed_columns,
        framed_cells=framed_cells,
        fan_out_columns=fan_out_columns,
        fan_out_bytes=None
        if (fan_out_cells == 1).all()
        else np.repeat(fan_out_cells, channels).astype(np.uint8),
        segments=1 if depthwise is not None or joined else columns[1],
        joined=joined,
        quads=quads,
        dense=dense,
        rows=rows,
        # every term's interval contains 0: no partial sum leaves the interval of the whole
        narrow=bool(max(-low_n.min(), high_n.max()) <= INT16_MAX),
        flush=INT16_MAX // product,
        single_dots=2 * product <= INT16_MAX,
        dots_in_s16=INT16_MAX // (2 * product),
        bits=bits,
        nibbles=nibbles,
        depthwise=depthwise,
        period=period,
        flat=flat,
        strips=strips,
        line=line,
        thresholds=None
        if thresholds_mn is None or line is not None
        else _padded(thresholds_mn, padded, INT32_MAX),
    )


def _fan_out(window: Window) -> npt.NDArray[np.int32]:
    """Number of windows that look at each input."""
    length, size, stride, lead, output = window
    starts = np.arange(output, dtype=np.int64) * stride - lead
    # +1 where a window begins and -1 behind its end, added up
    steps = np.zeros(length + 1, np.int32)
    np.add.at(steps, np.clip(starts, 0, length), 1)
    np.add.at(steps, np.clip(starts + size, 0, length), -1)
    return np.cumsum(steps, dtype=np.int32)[:length]


def _framed(window: Window) -> int:
    """Inputs along one axis with all padding that a window reaches."""
    length, size, stride, lead, output = window
    return max(lead + length, (output - 1) * stride + size)


def _extremes(
    weights_kn: Int8s, largest: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Smallest and largest sum per column, for inputs of 0 to `largest`."""
    nothing_k = np.zeros(len(weights_kn), np.int64)
    negative, positive = _reach(nothing_k, nothing_k + 1, weights_kn)
    return negative * largest, positive * largest


def _reach(
    low_k: npt.NDArray[np.int64], high_k: npt.NDArray[np.int64], weights_kn: Int8s
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Smallest and largest ``x @ weights_kn`` for ``low_k <= x <= high_k``, limits of 16 bits.

    Twice these are ``(low + high) @ w - (high - low) @ |w|``, and the same with a plus. Products of
    floats run through BLAS, and blocks of rows spare a wide copy of all weights.
    """
    middle_k, width_k = low_k + high_k, high_k - low_k
    most = 128 * int(np.maximum(np.abs(middle_k), width_k).sum())
    # Integers up to 2**24 are exact in float32, in any order of adding; up to 2**53 in float64,
    # and a block of 2**16 rows of at most 2**7 * 2**16 each stays below 2**39.
    dtype: type[np.floating[Any]] = np.float32 if most <= 2**24 else np.float64
    middle_n = np.zeros(weights_kn.shape[1], np.int64)
    width_n = np.zeros(weights_kn.shape[1], np.int64)
    step = max(1, WIDENED_WEIGHTS // weights_kn.shape[1])
    for start in range(0, len(weights_kn), step):
        rows = slice(start, start + step)
        block = weights_kn[rows].astype(dtype)
        middle_n += (middle_k[rows].astype(dtype) @ block).astype(np.int64)
        width_n += (width_k[rows].astype(dtype) @ np.abs(block, out=block)).astype(np.int64)
    return (middle_n - width_n) // 2, (middle_n + width_n) // 2


def _padded(array: npt.NDArray[np.int32], size: int, fill: int) -> npt.NDArray[np.int32]:
    """The last axis extended to `size`."""
    result = np.full((*array.shape[:-1], size), fill, array.dtype)
    result[..., : array.shape[-1]] = array
    return result


def _aligned(shape: tuple[int, ...], dtype: type[Any]) -> npt.NDArray[Any]:
    """Zeros that begin at a cache line: a vector that crosses two of them takes twice as long."""
    size = prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)


def _nibbles(weights_en: Int8s, largest: int, largest_weight: int, vector_bytes: int) -> Nibbles:
    """Rows of two weights in a byte."""
    vectors = -(-weights_en.shape[1] // (2 * vector_bytes))
    rows = _aligned((len(weights_en), vectors * vector_bytes), np.uint8)
    order = _event_order(vector_bytes)[:vector_bytes]
    return small_weights.nibbles_of(weights_en, largest, largest_weight, rows, order)


def _bits(
    weights_xycn: Int8s, largest_weight: int, padded: int, vector_bytes: int, allowed: int
) -> Bits | None:
    """What 1-bit inputs allow; None if the weights are too large for it."""
    fit = small_weights.rows_fit(largest_weight)
    if not fit:
        return None
    columns, cells, channels, _ = weights_xycn.shape
    lookups = cells * -(-channels // 4)
    shape = (padded // EVENT_BLOCK, columns, lookups, small_weights.TABLE, EVENT_BLOCK)
    if prod(shape) > min(allowed, MAX_ROWS_BYTES):
        return Bits(fit, None, 0, 0)
    tables = _aligned(shape, np.int8)
    small_weights.fill_tables(weights_xycn, _event_order(vector_bytes), tables)
    return Bits(fit, tables, *small_weights.cut(weights_xycn))


def _is_joined(weights_skn: Int8s, channels: int) -> bool:
    """Whether joining windows pays: it saves products, but copies of 16 bytes have to be made."""
    segments, size, neurons = weights_skn.shape
    joined = -(-segments * size // 4)
    saved = segments * -(-size // 4) - joined
    copies = segments * -(-size // COPIED_BYTES)
    pays = saved * neurons > COPY_IN_PRODUCTS * copies
    return channels <= JOINED_CHANNELS and 4 * joined <= JOINED_BYTES and pays


def _quads(weights_skn: Int8s, block: int) -> Int8s:
    """[block][segment][quad][neuron in block][4]; what is added are zeros."""
    segments, size, neurons = weights_skn.shape
    quads, blocks = -(-size // 4), -(-neurons // block)
    packed = _aligned((blocks, segments, quads, block, 4), np.int8)
    for index in range(blocks):
        part = weights_skn[:, :, index * block : (index + 1) * block]
        for place in range(min(4, size)):
            values = part[:, place::4]
            packed[index, :, : values.shape[1], : values.shape[2], place] = values
    return packed


def _pairs(weights_cn: Int8s, block: int) -> tuple[Int8s, int]:
    """[block][pair][neuron in block][2] of int16, seen as bytes."""
    channels, neurons = weights_cn.shape
    pairs, blocks = -(-channels // 2), -(-neurons // block)
    packed = _aligned((blocks, pairs, block, 2), np.int16)
    for index in range(blocks):
        part = weights_cn[:, index * block : (index + 1) * block]
        for place in range(min(2, channels)):
            values = part[place::2]
            packed[index, : len(values), : values.shape[1], place] = values
    return packed.view(np.int8), pairs


def _event_order(vector_bytes: int) -> npt.NDArray[np.intp]:
    """Neuron at each byte of an event block.

    Interleaving the bytes of two vectors takes the lower eight of each 16-byte lane for one result
    and the upper eight for the other; in this order the results hold neurons one after another.
    """
    byte = np.arange(vector_bytes)
    lane, place = divmod(byte, 16)
    order = np.where(place < 8, 8 * lane + place, vector_bytes // 2 + 8 * lane + place - 8)
    return np.concatenate([order + v for v in range(0, EVENT_BLOCK, vector_bytes)])


def _rows(weights_xycn: Int8s, padded: int, vector_bytes: int, by_block: bool) -> Int8s:
    """Weights as an event adds them, neurons in blocks.

    [block][column][cell][channel][64] with `by_block`, else [input][neuron].
    """
    neurons = weights_xycn.shape[3]
    inputs_in = weights_xycn.reshape(-1, neurons)
    blocks, order = padded // EVENT_BLOCK, _event_order(vector_bytes)
    shape = (blocks, len(inputs_in)) if by_block else (len(inputs_in), blocks)
    rows = _aligned((*shape, EVENT_BLOCK), np.int8)
    rows_bik = rows if by_block else rows.transpose(1, 0, 2)
    for index in range(blocks):
        part = inputs_in[:, index * EVENT_BLOCK : (index + 1) * EVENT_BLOCK]
        present = order < part.shape[1]
        if present.all():
            np.take(part, order, axis=1, out=rows_bik[index], mode="clip")
        else:
            rows_bik[index][:, present] = part[:, order[present]]
    return rows


def _depthwise(
    weights_xyc: Int8s, stride_cells: int, lanes: int
) -> tuple[npt.NDArray[np.int16], int, bool]:
    """16-bit weights [tap][period], the period, and whether columns of outputs are single runs.

    A vector runs over the channels of several cells; the weights repeat until channels and lanes
    come out even.
    """
    taps = weights_xyc.reshape(-1, weights_xyc.shape[2]).astype(np.int16)
    channels = taps.shape[1]
    flat = stride_cells == 1 and (channels % lanes == 0 or channels < FLAT_CHANNELS)
    if flat:
        period = lcm(channels, lanes)
        return np.ascontiguousarray(np.tile(taps, (1, period // channels))), period, True
    period = -(-channels // lanes) * lanes
    padded = np.zeros((len(taps), period), np.int16)
    padded[:, :channels] = taps
    return padded, period, False
