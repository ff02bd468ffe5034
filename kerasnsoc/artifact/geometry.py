"""Shapes: what a convolution or a pooling makes of a (width, height) map, and who feeds whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kerasnsoc.artifact.schema import (
    ConcatParameters,
    ConvolutionMode,
    FilterParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerParameters,
    PoolingParameters,
    PoolingType,
    SpatialParameters,
)

Dims = tuple[int, int, int]
"""(width, height, features)"""


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window along one axis.

    Output position ``o`` looks at input positions ``o * stride - lead + d``, ``d = 0 .. size - 1``;
    positions outside ``0 .. length - 1`` are padding.
    """

    length: int
    size: int
    stride: int
    lead: int
    output: int


def window(length: int, size: int, stride: int, mode: ConvolutionMode) -> Window:
    """Geometry along one axis.

    ``Same`` follows TensorFlow: the output has ``ceil(length / stride)`` positions and the odd cell
    of padding goes behind.

    Raises
    ------
    ValueError
        If the window does not fit (``Valid``) or an argument is below 1.
    """
    if min(length, size, stride) < 1:
        raise ValueError(f"length {length}, window {size} and stride {stride} must be at least 1")
    if mode is ConvolutionMode.Valid:
        if length < size:
            raise ValueError(
                f"a window of {size} does not fit into {length} positions (Valid mode)"
            )
        return Window(length, size, stride, 0, (length - size) // stride + 1)
    if mode is ConvolutionMode.Same:
        output = -(-length // stride)
        padding = max((output - 1) * stride + size - length, 0)
        return Window(length, size, stride, padding // 2, output)
    return Window(length, size, stride, size - 1, (length + size - 2) // stride + 1)


@dataclass(frozen=True, slots=True)
class SpatialGeometry:
    """All windows of a convolutional layer; ``pool_*`` is None without pooling."""

    conv_x: Window
    conv_y: Window
    pool_x: Window | None
    pool_y: Window | None

    @property
    def output_wh(self) -> tuple[int, int]:
        x, y = self.pool_x or self.conv_x, self.pool_y or self.conv_y
        return x.output, y.output


def spatial_geometry(p: SpatialParameters, input_wh: tuple[int, int]) -> SpatialGeometry:
    """Windows of a convolution with its pooling.

    A pooling size of -1 is global along its axis; a stride of -1 is the window's size. Pooling pads
    like the convolution in ``Same`` mode and not at all otherwise.

    Raises
    ------
    ValueError
        If a window does not fit, naming the axis.
    """
    windows = []
    for axis, length, size, stride, pool, pool_stride in (
        ("x", input_wh[0], p.kernel_width, p.stride_x, p.pooling_width, p.pooling_stride_x),
        ("y", input_wh[1], p.kernel_height, p.stride_y, p.pooling_height, p.pooling_stride_y),
    ):
        try:
            conv = window(length, size, stride, p.convolution_mode)
            pooled = None
            if p.pooling_type is not PoolingType.NoPooling:
                pool = conv.output if pool == -1 else pool
                pool_stride = pool if pool_stride == -1 else pool_stride
                mode = p.convolution_mode
                if mode is not ConvolutionMode.Same:
                    mode = ConvolutionMode.Valid
                pooled = window(conv.output, pool, pool_stride, mode)
        except ValueError as error:
            raise ValueError(f"axis {axis}: {error}") from None
        windows += [conv, pooled]
    return SpatialGeometry(windows[0], windows[2], windows[1], windows[3])  # type: ignore[arg-type]


def pooling_windows(p: PoolingParameters, input_wh: tuple[int, int]) -> tuple[Window, Window]:
    """Windows along x and y of a layer that pools spikes.

    Raises
    ------
    ValueError
        If a window does not fit, naming the axis.
    """
    windows = []
    for axis, length, size, stride in (
        ("x", input_wh[0], p.pooling_width, p.pooling_stride_x),
        ("y", input_wh[1], p.pooling_height, p.pooling_stride_y),
    ):
        size = length if size == -1 else size
        try:
            windows.append(
                window(length, size, size if stride == -1 else stride, p.convolution_mode)
            )
        except ValueError as error:
            raise ValueError(f"axis {axis}: {error}") from None
    return windows[0], windows[1]


def output_dims(p: LayerParameters, inputs: Sequence[Dims]) -> Dims:
    """(width, height, features) that a layer makes of its inbound layers' dims.

    Raises
    ------
    ValueError
        If a window does not fit or the inputs of a concatenation differ in width or height.
    """
    if isinstance(p, InputDataParameters):
        return p.input_width, p.input_height, p.input_channels
    if isinstance(p, InputConvolutionalParameters):
        return *spatial_geometry(p, (p.input_width, p.input_height)).output_wh, p.num_neurons
    if isinstance(p, SpatialParameters):
        return *spatial_geometry(p, inputs[0][:2]).output_wh, p.num_neurons
    if isinstance(p, FullyConnectedParameters):
        return 1, 1, p.num_neurons
    if isinstance(p, PoolingParameters):
        windows = pooling_windows(p, inputs[0][:2])
        return windows[0].output, windows[1].output, inputs[0][2]
    if isinstance(p, FilterParameters):
        return inputs[0]
    if isinstance(p, ConcatParameters):
        if len({dims[:2] for dims in inputs}) != 1:
            raise ValueError(
                f"inputs of a Concat must agree in width and height, got {list(inputs)}"
            )
        return *inputs[0][:2], sum(dims[2] for dims in inputs)
    raise TypeError(f"unknown layer parameters {type(p).__name__}")
