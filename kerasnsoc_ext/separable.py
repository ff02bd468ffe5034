"""Separable layers prepared for kernels that run them by strips."""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, lcm, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Int8s = npt.NDArray[np.int8]
Int64s = npt.NDArray[np.int64]

WORDS, BYTES, SPLIT = 1, 2, 3
"""How the pointwise stage takes a sum, as in ``kernels/packed.h``: 16 bits; one byte; two bytes."""

SPLIT_CHANNELS = 64
"""With fewer channels, listing high bytes takes longer than they save."""

SPLIT_MOST_CHANNELS = 2**16
"""So that 128 times the sum of a position's high bytes fits 32 bits."""

MOST_HIGH = 127
"""Largest high byte: it has a sign."""

MOST_BEYOND = 0.1
"""Expected share of sums beyond a byte up to which two bytes are quicker than 16 bits."""

SPREAD = 0.3
"""Assumed standard deviation of an input, as a share of the largest; a guess only costs time."""

MEAN = 1 / 6
"""Assumed mean of an input, as a share of the largest."""

FLAT_CHANNELS = 256

INT16_MAX = 2**15 - 1

WIDENED_WEIGHTS = 2**16
"""Weights that are held in 64 bits at a time."""

PAIRS = (
    ((0, 0), (1, 0)),
    ((0, 1), (1, 1)),
    ((0, 2), (1, 2)),
    ((2, 0), (2, 1)),
    ((2, 2),),
)
"""Cells (column, cell) of a 3 by 3 window that are interleaved, in the order of the kernel."""


@dataclass(frozen=True, slots=True)
class Strips:
    """The depthwise stage; fields as in ``kernels/packed.h``."""

    form: int
    pairs: bool
    weights: Int8s
    base: npt.NDArray[np.int16]
    start_n: npt.NDArray[np.int32]
    period: int
    flat: bool

    @property
    def nbytes(self) -> int:
        """Memory of all arrays."""
        return self.weights.nbytes + self.base.nbytes + self.start_n.nbytes


def sums_form(taps_tc: Int8s, low_c: Int64s, high_c: Int64s, largest: int) -> tuple[int, Int64s]:
    """The form of the sums, and each channel's base.

    Parameters
    ----------
    taps_tc : ndarray of int8, shape (taps, channels)
    low_c, high_c : ndarray of int64, shape (channels,)
        Smallest and largest sum.
    largest : int
        Largest input.
    """
    channels = len(low_c)
    if (high_c - low_c <= 255).all():
        return BYTES, low_c
    # around the mean, but no further than a sum can be
    mean_c = np.round(taps_tc.sum(axis=0, dtype=np.int64) * largest * MEAN).astype(np.int64)
    base_c = np.clip(mean_c - 128, low_c, np.maximum(high_c - 255, low_c))
    most = max(int((high_c - base_c).max()) // 256, -(int((low_c - base_c).min()) // 256))
    squares_c = (taps_tc.astype(np.int64) ** 2).sum(axis=0)
    deviation_c = np.maximum(np.sqrt(squares_c) * SPREAD * largest, 1e-9)
    beyond = float(np.mean([erfc(128 / (d * sqrt(2))) for d in deviation_c]))
    fits = channels <= SPLIT_MOST_CHANNELS and most <= MOST_HIGH
    if fits and channels >= SPLIT_CHANNELS and beyond <= MOST_BEYOND:
        return SPLIT, base_c
    return WORDS, np.zeros(channels, np.int64)


def pack_strips(
    form: int,
    base_c: Int64s,
    depthwise_xyc: Int8s,
    pointwise_cn: Int8s,
    stride_cells: int,
    largest: int,
    vector_bytes: int,
    padded_neurons: int,
) -> Strips:
    """Weights in the order in which kernels interleave bytes, and what the bases contribute.

    `largest` is the largest input.
    """
    columns, cells, channels = depthwise_xyc.shape
    flat = stride_cells == 1 and (channels % vector_bytes == 0 or channels < FLAT_CHANNELS)
    period = lcm(channels, vector_bytes) if flat else -(-channels // vector_bytes) * vector_bytes

    def repeated(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        whole = np.zeros((*values.shape[:-1], period), values.dtype)
        count = period // channels if flat else 1
        whole[..., : count * channels] = np.tile(values, (1,) * (values.ndim - 1) + (count,))
        return whole

    lanes = vector_bytes // 16
    slides = channels % vector_bytes == 0 and stride_cells <= 2
    largest_weight = max(-int(depthwise_xyc.min()), int(depthwise_xyc.max()))
    pairs = columns == cells == 3 and not slides and 2 * largest * largest_weight <= INT16_MAX
    if pairs:
        two = np.zeros((len(PAIRS), 2, channels), np.int8)
        for index, cells_of_pair in enumerate(PAIRS):
            two[index, : len(cells_of_pair)] = [depthwise_xyc[cell] for cell in cells_of_pair]
        # [pair][cell of it][vector][lane][half][byte]
        weights = repeated(two).reshape(len(PAIRS), 2, -1, lanes, 2, 8).transpose(2, 0, 4, 3, 5, 1)
    else:
        groups = -(-columns // 4)
        fours = np.zeros((groups * 4, cells, channels), np.int8)
        fours[:columns] = depthwise_xyc
        # [group][column of it][cell][vector][lane][quarter][byte]
        weights = repeated(fours).reshape(groups, 4, cells, -1, lanes, 4, 4)
        weights = weights.transpose(0, 2, 3, 5, 4, 6, 1)
    base = repeated(base_c.astype(np.int16)).reshape(-1, lanes, 2, 8)
    start_n = np.zeros(padded_neurons, np.int64)
    neurons = pointwise_cn.shape[1]
    step = max(1, WIDENED_WEIGHTS // neurons)
    for start in range(0, channels if base_c.any() else 0, step):
        rows = slice(start, start + step)
        start_n[:neurons] += base_c[rows] @ pointwise_cn[rows].astype(np.int64)
    return Strips(
        form=form,
        pairs=pairs,
        weights=np.ascontiguousarray(weights),
        base=np.ascontiguousarray(base.transpose(0, 2, 1, 3)),
        # modulo 2**32, as the kernels add: what they end with fits 32 bits
        start_n=(start_n & 0xFFFFFFFF).astype(np.uint32).view(np.int32),
        period=period,
        flat=flat,
    )
