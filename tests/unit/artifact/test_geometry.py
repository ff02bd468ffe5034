"""Windows against a plain enumeration of positions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.artifact import (
    ConcatParameters,
    ConvolutionalParameters,
    ConvolutionMode,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerParameters,
    PoolingParameters,
    PoolingType,
)
from kerasnsoc.artifact.geometry import (
    Window,
    output_dims,
    pooling_windows,
    spatial_geometry,
    window,
)

sides = st.integers(1, 30)


@given(sides, st.integers(1, 9), st.integers(1, 5))
def test_valid_counts_the_windows_that_lie_inside(length, size, stride):
    if length < size:
        with pytest.raises(ValueError, match=f"window of {size} does not fit into {length}"):
            window(length, size, stride, ConvolutionMode.Valid)
        return
    starts = [start for start in range(0, length, stride) if start + size <= length]
    w = window(length, size, stride, ConvolutionMode.Valid)
    assert w == Window(length, size, stride, 0, len(starts))


@given(sides, st.integers(1, 9), st.integers(1, 5))
def test_same_has_one_output_per_stride_and_the_odd_cell_behind(length, size, stride):
    w = window(length, size, stride, ConvolutionMode.Same)
    assert w.output == len(range(0, length, stride))
    trailing = max((w.output - 1) * stride + size - w.lead - length, 0)
    assert trailing - w.lead in (0, 1)
    # every window sees at least one real cell
    for o in range(w.output):
        assert any(0 <= o * stride - w.lead + d < length for d in range(size))


@given(sides, st.integers(1, 9), st.integers(1, 5))
def test_full_takes_every_window_that_touches_the_input(length, size, stride):
    w = window(length, size, stride, ConvolutionMode.Full)
    first = -(size - 1)
    starts = list(range(first, length, stride))
    assert (w.lead, w.output) == (size - 1, len(starts))


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_nothing_below_one(arguments):
    with pytest.raises(ValueError, match="must be at least 1"):
        window(*arguments, ConvolutionMode.Same)


def conv(**arguments):
    base = {"kernel_width": 3, "kernel_height": 3, "num_neurons": 4}
    return ConvolutionalParameters(**{**base, **arguments})


def test_global_pooling_leaves_one_position():
    p = conv(pooling_type=PoolingType.Average)
    assert spatial_geometry(p, (9, 5)).output_wh == (1, 1)


def test_one_sided_global_pooling_leaves_a_line():
    p = conv(pooling_type=PoolingType.Max, pooling_height=2)
    assert spatial_geometry(p, (9, 6)).output_wh == (1, 3)


def test_pooling_strides_by_its_size_unless_told():
    p = conv(pooling_type=PoolingType.Max, pooling_width=2, pooling_height=2, pooling_stride_x=1)
    assert spatial_geometry(p, (8, 8)).output_wh == (8, 4)


def test_pooling_pads_only_in_same_mode():
    pooled = {"pooling_type": PoolingType.Max, "pooling_width": 2, "pooling_height": 2}
    full = conv(convolution_mode=ConvolutionMode.Full, **pooled)
    assert spatial_geometry(full, (5, 5)).output_wh == (3, 3)  # 7 positions
    same = conv(**pooled)
    assert spatial_geometry(same, (7, 7)).output_wh == (4, 4)
    valid = conv(convolution_mode=ConvolutionMode.Valid, **pooled)
    assert spatial_geometry(valid, (9, 9)).output_wh == (3, 3)


def test_a_window_that_does_not_fit_names_its_axis():
    with pytest.raises(ValueError, match="axis y: a window of 3"):
        spatial_geometry(conv(convolution_mode=ConvolutionMode.Valid), (5, 2))


def test_dims_of_each_kind():
    data = InputDataParameters(input_width=5, input_height=4, input_channels=3)
    image = InputConvolutionalParameters(
        input_width=8,
        input_height=6,
        input_channels=1,
        kernel_width=3,
        kernel_height=3,
        num_neurons=7,
        stride_x=2,
    )
    dense = FullyConnectedParameters(num_neurons=11)
    assert output_dims(data, []) == (5, 4, 3)
    assert output_dims(image, []) == (4, 6, 7)
    assert output_dims(conv(), [(5, 4, 3)]) == (5, 4, 4)
    assert output_dims(dense, [(5, 4, 3)]) == (1, 1, 11)
    assert output_dims(ConcatParameters(), [(5, 4, 3), (5, 4, 2)]) == (5, 4, 5)


def test_concat_refuses_unequal_maps():
    with pytest.raises(ValueError, match="agree in width and height"):
        output_dims(ConcatParameters(), [(5, 4, 3), (4, 5, 3)])


def test_the_base_record_is_no_layer():
    with pytest.raises(TypeError, match="LayerParameters"):
        output_dims(LayerParameters(), [])


def test_windows_of_a_pooling_layer():
    whole = PoolingParameters()
    assert pooling_windows(whole, (7, 5)) == (Window(7, 7, 7, 0, 1), Window(5, 5, 5, 0, 1))
    assert output_dims(whole, [(7, 5, 3)]) == (1, 1, 3)
    wide = PoolingParameters(pooling_width=3, pooling_stride_x=2, pooling_height=2)
    assert pooling_windows(wide, (8, 5)) == (Window(8, 3, 2, 0, 3), Window(5, 2, 2, 0, 2))
    assert output_dims(wide, [(8, 5, 3)]) == (3, 2, 3)
    padded = PoolingParameters(
        pooling_width=3, pooling_height=4, pooling_stride_y=1, convolution_mode=ConvolutionMode.Same
    )
    assert pooling_windows(padded, (7, 5)) == (Window(7, 3, 3, 1, 3), Window(5, 4, 1, 1, 5))
    with pytest.raises(ValueError, match="axis x: a window of 3 does not fit into 2"):
        pooling_windows(wide, (2, 5))
