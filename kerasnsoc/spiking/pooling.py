"""Sum pooling, as chips do it: every spike of a window is passed on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="kerasnsoc")
class SumPooling2D(keras.layers.Layer):
    """The sum of each window of an image.

    Unlike an average times the window's area, sums of whole numbers stay whole.

    Parameters
    ----------
    pool_size : int or tuple of two int
        Height and width of the window.
    strides : int or tuple of two int, optional
        Default: `pool_size`.
    padding : {"valid", "same"}
        ``"same"`` adds zeros.
    data_format : {"channels_last", "channels_first"}, optional
        Default: ``keras.config.image_data_format()``.
    **kwargs
        As of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If an argument is outside its range, or a window does not fit into the image.

    Notes
    -----
    *Input shape*: (batch, height, width, channels), or (batch, channels, height, width).
    *Output shape*: the same axes, with the new height and width.

    Examples
    --------
    >>> image = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    >>> SumPooling2D(2)(image).numpy()[0, :, :, 0]
    array([[10., 18.],
           [42., 50.]], dtype=float32)
    """

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = self._pair("pool_size", pool_size)
        self.strides = self.pool_size if strides is None else self._pair("strides", strides)
        if padding not in ("valid", "same"):
            raise ValueError(
                f"padding of layer {self.name!r} is {padding!r}, but it must be 'valid' or 'same'"
            )
        self.padding = padding
        data_format = data_format or keras.config.image_data_format()
        if data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                f"data_format of layer {self.name!r} is {data_format!r}, but it must be "
                "'channels_last' or 'channels_first'"
            )
        self.data_format = data_format
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def _pair(self, name: str, value: Any) -> tuple[int, int]:
        pair = (value, value) if isinstance(value, int | np.integer) else value
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or any(isinstance(n, bool) or not isinstance(n, int | np.integer) for n in pair)
            or min(pair) < 1
        ):
            raise ValueError(
                f"{name} of layer {self.name!r} is {value!r}, but it must be a positive integer or "
                "two of them"
            )
        return int(pair[0]), int(pair[1])

    @property
    def _first_spatial_axis(self) -> int:
        return 1 if self.data_format == "channels_last" else 2

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs: Any) -> Any:
        # One axis after the other: the sum of a window is the sum of the sums of its rows.
        for i in range(2):
            axis = self._first_spatial_axis + i
            inputs = self._sum_windows(inputs, axis, self.pool_size[i], self.strides[i])
        return inputs

    def _sum_windows(self, x: Any, axis: int, size: int, stride: int) -> Any:
        length = ops.shape(x)[axis]
        if self.padding == "same":
            count = (length + stride - 1) // stride
            total = (count - 1) * stride + size - length
            total = max(total, 0) if isinstance(total, int) else ops.maximum(total, 0)
            padding = [[0, 0]] * 4
            padding[axis] = [total // 2, total - total // 2]
            x = ops.pad(x, padding)
        else:
            count = (length - size) // stride + 1
        result = None
        for offset in range(size):
            index = [slice(None)] * 4
            index[axis] = slice(offset, offset + (count - 1) * stride + 1, stride)
            part = x[tuple(index)]
            result = part if result is None else ops.add(result, part)
        return result

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shape = list(input_shape)
        for i, axis in enumerate((self._first_spatial_axis, self._first_spatial_axis + 1)):
            length, size, stride = shape[axis], self.pool_size[i], self.strides[i]
            if length is None:
                continue
            if self.padding == "same":
                shape[axis] = -(-length // stride)
                continue
            if length < size:
                raise ValueError(
                    f"a window of {self.pool_size} does not fit into the input of layer "
                    f"{self.name!r}, whose shape is {tuple(input_shape)}. Use a smaller pool_size "
                    "or padding='same'."
                )
            shape[axis] = (length - size) // stride + 1
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
        }
