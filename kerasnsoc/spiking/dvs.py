"""What the preprocessing block of an event camera's chip does, as Keras layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

_LAST_AXES = "(..., height, width, channels)"


class _MapLayer(keras.layers.Layer):
    """A layer without weights on maps of (..., height, width, channels)."""

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shape = tuple(input_shape)
        if len(shape) < 4:
            raise ValueError(
                f"layer {self.name!r} got an input of shape {shape}, but it needs a batch and "
                f"{_LAST_AXES}"
            )
        return (*shape[:-3], *self._map_shape(*shape[-3:]))

    def _map_shape(self, height: Any, width: Any, channels: Any) -> tuple[Any, Any, Any]:
        raise NotImplementedError


def _switch(name: str, value: Any, owner: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} of layer {owner!r} is {value!r}, but it must be True or False")
    return bool(value)


def _checked_crop(crop: Any, owner: str) -> tuple[tuple[int, int], tuple[int, int]]:
    try:
        (top, bottom), (left, right) = crop
        numbers = [top, bottom, left, right]
    except (TypeError, ValueError):
        numbers = []
    if (
        len(numbers) != 4
        or any(isinstance(n, bool) or not isinstance(n, int | np.integer) for n in numbers)
        or not (0 <= numbers[0] < numbers[1] and 0 <= numbers[2] < numbers[3])
    ):
        raise ValueError(
            f"crop of layer {owner!r} is {crop!r}, but it must be ((top, bottom), (left, right)): "
            "the rows and columns to keep, ends excluded"
        )
    top, bottom, left, right = map(int, numbers)
    return (top, bottom), (left, right)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class Crop2D(_MapLayer):
    """Keep a window of rows and columns.

    Unlike `keras.layers.Cropping2D`, which says what to remove, this says what to keep, and it
    takes any axes in front, so that it works over time without a wrapper.

    Parameters
    ----------
    crop : ((top, bottom), (left, right))
        First and one past the last row, first and one past the last column.
    **kwargs
        As of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If the window is empty or outside the map.

    Notes
    -----
    *Input shape*: (batch, ..., height, width, channels). *Output shape*: the same axes, cropped.

    Examples
    --------
    >>> image = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    >>> Crop2D(((1, 3), (0, 2)))(image).numpy()[0, :, :, 0]
    array([[4., 5.],
           [8., 9.]], dtype=float32)
    """

    def __init__(self, crop: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.crop = _checked_crop(crop, self.name)

    def call(self, inputs: Any) -> Any:
        (top, bottom), (left, right) = self.crop
        return inputs[..., top:bottom, left:right, :]

    def _map_shape(self, height: Any, width: Any, channels: Any) -> tuple[Any, Any, Any]:
        (top, bottom), (left, right) = self.crop
        for what, end, length in (("rows", bottom, height), ("columns", right, width)):
            if length is not None and end > length:
                raise ValueError(
                    f"crop of layer {self.name!r} is {self.crop}, but its input has only {length} "
                    f"{what}"
                )
        return bottom - top, right - left, channels

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "crop": [list(pair) for pair in self.crop]}


@keras.saving.register_keras_serializable(package="kerasnsoc")
class FlipDims(_MapLayer):
    """Mirror columns, mirror rows, then exchange the two axes.

    Parameters
    ----------
    flip_x, flip_y : bool
        Mirror columns (left and right), mirror rows.
    swap_xy : bool
        Exchange rows and columns, after mirroring.
    **kwargs
        As of `keras.layers.Layer`.

    Notes
    -----
    *Input shape*: (batch, ..., height, width, channels). *Output shape*: the same; with `swap_xy`
    height and width change places.

    Examples
    --------
    >>> image = np.array([[1.0, 2.0], [3.0, 4.0]], "float32").reshape(1, 2, 2, 1)
    >>> FlipDims(flip_x=True)(image).numpy()[0, :, :, 0]
    array([[2., 1.],
           [4., 3.]], dtype=float32)
    """

    def __init__(
        self, flip_x: bool = False, flip_y: bool = False, swap_xy: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.flip_x = _switch("flip_x", flip_x, self.name)
        self.flip_y = _switch("flip_y", flip_y, self.name)
        self.swap_xy = _switch("swap_xy", swap_xy, self.name)

    def call(self, inputs: Any) -> Any:
        return _flipped(inputs, self.flip_x, self.flip_y, self.swap_xy)

    def _map_shape(self, height: Any, width: Any, channels: Any) -> tuple[Any, Any, Any]:
        return (width, height, channels) if self.swap_xy else (height, width, channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "flip_x": self.flip_x,
            "flip_y": self.flip_y,
            "swap_xy": self.swap_xy,
        }


@keras.saving.register_keras_serializable(package="kerasnsoc")
class DVSInput(_MapLayer):
    """The sensor layer of a chip: merge polarities, sum-pool, crop, mirror, swap, in this order.

    Parameters
    ----------
    merge_polarities : bool
        Add both channels; one channel stays as it is.
    pool_size : int or tuple of two int, (height, width)
        A sum over windows; rows and columns that fill no window are left out.
    crop : ((top, bottom), (left, right)), optional
        Rows and columns of the pooled map to keep, ends excluded.
    flip_x, flip_y, swap_xy : bool
        As of `FlipDims`.
    disable_pixel_array : bool
        Whether events come from elsewhere than the sensor of the chip.
    **kwargs
        As of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If an argument is outside its range, or the input has other than one or two channels.

    Notes
    -----
    *Input shape*: (batch, ..., height, width, channels) with 1 or 2 channels. *Output shape*: the
    same axes after the steps above.

    Examples
    --------
    >>> events = np.ones((1, 4, 4, 2), "float32")
    >>> tuple(DVSInput(merge_polarities=True, pool_size=2)(events).shape)
    (1, 2, 2, 1)
    """

    def __init__(
        self,
        merge_polarities: bool = False,
        pool_size: Any = (1, 1),
        crop: Any = None,
        flip_x: bool = False,
        flip_y: bool = False,
        swap_xy: bool = False,
        disable_pixel_array: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.merge_polarities = _switch("merge_polarities", merge_polarities, self.name)
        pair = (pool_size, pool_size) if isinstance(pool_size, int | np.integer) else pool_size
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or any(isinstance(n, bool) or not isinstance(n, int | np.integer) for n in pair)
            or min(pair) < 1
        ):
            raise ValueError(
                f"pool_size of layer {self.name!r} is {pool_size!r}, but it must be a positive "
                "integer or two of them"
            )
        self.pool_size = (int(pair[0]), int(pair[1]))
        self.crop = None if crop is None else _checked_crop(crop, self.name)
        self.flip_x = _switch("flip_x", flip_x, self.name)
        self.flip_y = _switch("flip_y", flip_y, self.name)
        self.swap_xy = _switch("swap_xy", swap_xy, self.name)
        self.disable_pixel_array = _switch("disable_pixel_array", disable_pixel_array, self.name)

    def call(self, inputs: Any) -> Any:
        if self.merge_polarities:
            inputs = ops.sum(inputs, axis=-1, keepdims=True)
        for axis, size in zip((-3, -2), self.pool_size, strict=True):
            inputs = _sum_windows(inputs, axis, size)
        if self.crop is not None:
            (top, bottom), (left, right) = self.crop
            inputs = inputs[..., top:bottom, left:right, :]
        return _flipped(inputs, self.flip_x, self.flip_y, self.swap_xy)

    def _map_shape(self, height: Any, width: Any, channels: Any) -> tuple[Any, Any, Any]:
        if channels not in (None, 1, 2):
            raise ValueError(
                f"layer {self.name!r} takes 1 or 2 channels (polarities), but its input has "
                f"{channels}"
            )
        sides = []
        for what, length, size in zip(
            ("rows", "columns"), (height, width), self.pool_size, strict=True
        ):
            if length is not None and length < size:
                raise ValueError(
                    f"a window of {self.pool_size} does not fit into the {length} {what} of the "
                    f"input of layer {self.name!r}"
                )
            sides.append(None if length is None else length // size)
        if self.crop is not None:
            (top, bottom), (left, right) = self.crop
            for what, length, end in zip(("rows", "columns"), sides, (bottom, right), strict=True):
                if length is not None and end > length:
                    raise ValueError(
                        f"crop of layer {self.name!r} is {self.crop}, but after pooling its input "
                        f"has only {length} {what}"
                    )
            sides = [bottom - top, right - left]
        if self.swap_xy:
            sides.reverse()
        return (*sides, 1 if self.merge_polarities else channels)  # type: ignore[return-value]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "merge_polarities": self.merge_polarities,
            "pool_size": list(self.pool_size),
            "crop": None if self.crop is None else [list(pair) for pair in self.crop],
            "flip_x": self.flip_x,
            "flip_y": self.flip_y,
            "swap_xy": self.swap_xy,
            "disable_pixel_array": self.disable_pixel_array,
        }


@keras.saving.register_keras_serializable(package="kerasnsoc")
class Merge(keras.layers.Layer):
    """The sum of spike trains of equal shape: several cores that send to one.

    Parameters
    ----------
    **kwargs
        As of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If there are fewer than two inputs, or their shapes differ.

    Notes
    -----
    *Input shape*: a list of equal shapes. *Output shape*: that shape.

    Examples
    --------
    >>> spikes = np.ones((1, 2), "float32")
    >>> Merge()([spikes, spikes]).numpy()
    array([[2., 2.]], dtype=float32)
    """

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs: Any) -> Any:
        total = inputs[0]
        for spikes in inputs[1:]:
            total = ops.add(total, spikes)
        return total

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        several = isinstance(input_shape, list | tuple) and all(
            isinstance(shape, list | tuple) for shape in input_shape
        )
        shapes = [tuple(shape) for shape in input_shape] if several else []
        if len(shapes) < 2 or any(shape[1:] != shapes[0][1:] for shape in shapes):
            raise ValueError(
                f"layer {self.name!r} got inputs of shapes {input_shape}, but it adds two or more "
                "of equal shape"
            )
        return shapes[0]


def _flipped(x: Any, flip_x: bool, flip_y: bool, swap_xy: bool) -> Any:
    if flip_x:
        x = ops.flip(x, axis=-2)
    if flip_y:
        x = ops.flip(x, axis=-3)
    return ops.swapaxes(x, -3, -2) if swap_xy else x


def _sum_windows(x: Any, axis: int, size: int) -> Any:
    if size == 1:
        return x
    count = ops.shape(x)[axis] // size
    result = None
    for offset in range(size):
        part = slice(offset, offset + (count - 1) * size + 1, size)
        # axis -3 or -2 of (..., height, width, channels)
        taken = x[..., part, :, :] if axis == -3 else x[..., part, :]
        result = taken if result is None else ops.add(result, taken)
    return result
