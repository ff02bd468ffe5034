"""Weights of a few bits: what adds up in a byte, and sums that can be looked up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int8s = npt.NDArray[np.int8]

INT8_MAX = 2**7 - 1
LARGEST_WEIGHT = 7
"""Larger weights fill a byte too soon."""

TABLE = 17
"""Sums of four inputs that are 0 or 1, and a gap, without which tables share lines of a cache."""

PIECE = 96
"""Tables that are used together: 32 kilobytes of a first cache."""


@dataclass(frozen=True, slots=True)
class Bits:
    """A convolution of 1-bit inputs; fields as in ``kernels/packed.h``."""

    rows_fit: int
    tables: Int8s | None
    piece: int
    chunk: int

    @property
    def nbytes(self) -> int:
        """Memory of the tables."""
        return 0 if self.tables is None else self.tables.nbytes


INT16_MAX = 2**15 - 1
NIBBLE_MAX = 2**4 - 1
UINT8_MAX = 2**8 - 1


@dataclass(frozen=True, slots=True)
class Nibbles:
    """Rows of a fully connected layer, two weights in a byte; fields as in ``kernels/packed.h``."""

    rows: npt.NDArray[np.uint8]
    bias: int
    group: int
    groups: int
    flush: int

    @property
    def pitch(self) -> int:
        """Bytes of a row."""
        return self.rows.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory of the rows."""
        return self.rows.nbytes


def nibbles_fit(weights_en: Int8s, largest: int, largest_weight: int) -> bool:
    """Whether events of up to `largest` can be added from rows of two weights in a byte."""
    if largest_weight > LARGEST_WEIGHT or largest > INT8_MAX:
        return False
    # 1-bit inputs add biased weights up in 16 bits
    return largest > 1 or 2 * largest_weight * len(weights_en) <= INT16_MAX


def nibbles_of(
    weights_en: Int8s,
    largest: int,
    largest_weight: int,
    rows: npt.NDArray[np.uint8],
    order: npt.NDArray[np.intp],
) -> Nibbles:
    """Pack the rows of a layer that fits.

    Parameters
    ----------
    weights_en : ndarray of int8, shape (inputs, neurons)
    largest, largest_weight : int
    rows : ndarray of uint8, shape (inputs, bytes)
        Is written to; bytes are a whole number of vectors.
    order : ndarray of int, shape (bytes of a vector,)
        Neuron at each byte; the first half of a vector's neurons has the lower four bits.
    """
    bias = max(1, largest_weight)
    size = len(order)
    for start in range(0, rows.shape[1], size):
        packed = np.zeros((len(rows), size), np.uint8)
        for half in range(2):
            part = weights_en[:, 2 * start + half * size :][:, :size]
            present = order < part.shape[1]
            packed[:, present] |= (part[:, order[present]] + np.int8(bias)).view(
                np.uint8
            ) << 4 * half
        rows[:, start : start + size] = packed
    group = NIBBLE_MAX // (2 * bias)
    return Nibbles(
        rows,
        bias,
        group=group if largest == 1 else 0,
        groups=UINT8_MAX // (2 * bias * group),
        flush=INT16_MAX // (2 * bias * largest),
    )


def rows_fit(largest_weight: int) -> int:
    """Rows of weights whose sum fits a byte; 0 if they are too few to pay."""
    return INT8_MAX // max(1, largest_weight) if largest_weight <= LARGEST_WEIGHT else 0


def cut(weights_wkcn: Int8s) -> tuple[int, int]:
    """Tables of a piece, and of a chunk of a piece, whose sums fit a byte.

    Parameters
    ----------
    weights_wkcn : ndarray of int8, shape (window columns, window cells, channels, neurons)
        Between -`LARGEST_WEIGHT` and `LARGEST_WEIGHT`.

    Returns
    -------
    piece, chunk : int
        Every window's column of tables is cut into pieces of that size, the last one maybe
        smaller, and each piece into chunks.
    """
    fours_wgn4 = in_fours(weights_wkcn)
    length = fours_wgn4.shape[1]
    pieces = -(-length // PIECE)
    piece = -(-length // pieces)
    high_wgn = np.maximum(fours_wgn4, 0).sum(axis=3, dtype=np.int16)
    low_wgn = np.minimum(fours_wgn4, 0).sum(axis=3, dtype=np.int16)
    for chunks in range(1, piece + 1):
        chunk = -(-piece // chunks)
        starts = [
            i
            for start in range(0, length, piece)
            for i in range(start, min(start + piece, length), chunk)
        ]
        if (
            np.add.reduceat(high_wgn, starts, axis=1).max() <= INT8_MAX
            and np.add.reduceat(low_wgn, starts, axis=1).min() >= -INT8_MAX - 1
        ):
            return piece, chunk
    raise AssertionError("four weights do not fit a byte")


def in_fours(weights_wkcn: Int8s) -> Int8s:
    """Channels by fours: (window columns, cells and fours of channels, neurons, 4)."""
    columns, cells, channels, neurons = weights_wkcn.shape
    fours = -(-channels // 4)
    padded = np.zeros((columns, cells, fours * 4, neurons), np.int8)
    padded[:, :, :channels] = weights_wkcn
    return padded.reshape(columns, cells * fours, 4, neurons).transpose(0, 1, 3, 2)


def fill_tables(weights_wkcn: Int8s, order: npt.NDArray[np.intp], tables: Int8s) -> None:
    """Write the sums of four weights each.

    Parameters
    ----------
    weights_wkcn : ndarray of int8, shape (window columns, window cells, channels, neurons)
    order : ndarray of int, shape (neurons of a block,)
        Neuron at each byte of a block.
    tables : ndarray of int8, shape (blocks, window columns, cells and fours, `TABLE`, len(order))
        Zeros. Sum i of a table adds the weights whose bit in i is set.
    """
    fours_wgn4 = in_fours(weights_wkcn)
    for index, table_wgib in enumerate(tables):
        part = fours_wgn4[:, :, index * len(order) : (index + 1) * len(order)]
        present = order < part.shape[2]
        part = part[:, :, order[present]]
        for bit in range(4):
            table_wgib[:, :, 1 << bit : 2 << bit, present] = (
                table_wgib[:, :, : 1 << bit, present] + part[:, :, None, :, bit]
            )
