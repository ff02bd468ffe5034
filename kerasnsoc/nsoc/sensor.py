"""Preprocessing of sensor events: merge, pool, crop, mirror, swap, always in this order.

A model may crop and mirror in any order; each step is translated to the block's own order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.core_graph import DvsLayer, Shape
from kerasnsoc.nsoc.errors import InputConfigurationError, InvalidGraphError

Crop = tuple[tuple[int, int], tuple[int, int]]


def sensor_layer(input_shape: Shape, who: str) -> DvsLayer:
    """A sensor layer that changes nothing.

    Raises
    ------
    InputConfigurationError
        If there are not one or two features, the polarities.
    """
    features, height, width = input_shape
    if features not in (1, 2):
        raise InputConfigurationError(
            f"{who}: a sensor layer takes 1 or 2 features (polarities), but the input has "
            f"{features}"
        )
    return DvsLayer((height, width), merge=features == 1)


def pooled(dvs: DvsLayer, size: tuple[int, int], who: str) -> DvsLayer:
    """With one more pooling, which must come before any crop and flip.

    Raises
    ------
    InvalidGraphError
        If the events were cropped or mirrored already, or nothing would be left.
    """
    if size == (1, 1):
        return dvs
    if dvs.crop is not None or dvs.flip_x or dvs.flip_y or dvs.swap_xy:
        raise InvalidGraphError(
            f"{who}: a sensor layer pools before it crops and mirrors. Move the pooling first."
        )
    result = replace(dvs, pool=(dvs.pool[0] * size[0], dvs.pool[1] * size[1]))
    if min(result.pooled_shape) < 1:
        raise InvalidGraphError(
            f"{who}: a pooling of {size} (height, width) leaves nothing of {dvs.pooled_shape}"
        )
    return result


def cropped(dvs: DvsLayer, keep: Crop, who: str) -> DvsLayer:
    """With one more crop, given on the map as it is now.

    Raises
    ------
    InvalidGraphError
        If the window is empty or outside the map.
    """
    _, height, width = dvs.output_shape
    (top, bottom), (left, right) = keep
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise InvalidGraphError(
            f"{who}: a crop to rows {top}..{bottom} and columns {left}..{right} (ends excluded) is "
            f"no window of a map of {(height, width)}"
        )
    rows, columns = (top, bottom), (left, right)
    if dvs.swap_xy:
        rows, columns, height, width = columns, rows, width, height
    if dvs.flip_y:
        rows = (height - rows[1], height - rows[0])
    if dvs.flip_x:
        columns = (width - columns[1], width - columns[0])
    (first_row, _), (first_column, _) = dvs.window
    return replace(
        dvs,
        crop=(
            (first_row + rows[0], first_row + rows[1]),
            (first_column + columns[0], first_column + columns[1]),
        ),
    )


def flipped(dvs: DvsLayer, flip_x: bool, flip_y: bool, swap_xy: bool) -> DvsLayer:
    """With one more mirroring of the map as it is now, and then one more swap."""
    if dvs.swap_xy:  # columns of the map as it is now are rows before the swap
        flip_x, flip_y = flip_y, flip_x
    return replace(
        dvs,
        flip_x=dvs.flip_x != flip_x,
        flip_y=dvs.flip_y != flip_y,
        swap_xy=dvs.swap_xy != swap_xy,
    )


def preprocess(dvs: DvsLayer, raster: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Counts per pixel as the first cores get them.

    Parameters
    ----------
    dvs : DvsLayer
    raster : ndarray, shape (n, C, H, W)

    Returns
    -------
    ndarray, shape (n, *dvs.output_shape)
    """
    if dvs.merge:
        raster = raster.sum(axis=1, keepdims=True)
    raster = sum_pool(raster, dvs.pool)
    (top, bottom), (left, right) = dvs.window
    raster = raster[:, :, top:bottom, left:right]
    if dvs.flip_y:
        raster = raster[:, :, ::-1]
    if dvs.flip_x:
        raster = raster[:, :, :, ::-1]
    return np.ascontiguousarray(raster.swapaxes(2, 3) if dvs.swap_xy else raster)


def sum_pool(x: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Sum over windows of the last two axes; rows and columns that fill no window are left out."""
    py, px = size
    if (py, px) == (1, 1):
        return x
    *lead, height, width = x.shape
    h, w = height // py, width // px
    windows = x[..., : h * py, : w * px].reshape(*lead, h, py, w, px)
    result: npt.NDArray[Any] = windows.sum(axis=(-3, -1))
    return result
