"""Arguments and variables of one layer: each rule, with its message."""

import dataclasses
import math

import numpy as np
import pytest

from kerasnsoc.artifact import (
    ConcatParameters,
    ConvolutionalParameters,
    ConvolutionMode,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerParameters,
    LayerType,
    PoolingType,
    SeparableConvolutionalParameters,
)
from kerasnsoc.artifact.checks import (
    OPTIONAL,
    REQUIRED,
    check_parameters,
    check_variable,
    neurons_of,
    variable_shapes,
)
from tests.networks import every_kind, random_variables

DATA = InputDataParameters(input_width=4, input_height=3, input_channels=2)
DENSE = FullyConnectedParameters(num_neurons=5)
CONV = ConvolutionalParameters(kernel_width=3, kernel_height=2, num_neurons=5)
SEPARABLE = SeparableConvolutionalParameters(kernel_width=3, kernel_height=2, num_neurons=5)
IMAGE = InputConvolutionalParameters(
    input_width=8, input_height=6, input_channels=3, kernel_width=3, kernel_height=2, num_neurons=5
)
POOLED = dataclasses.replace(CONV, pooling_type=PoolingType.Max)


@pytest.mark.parametrize("spec", every_kind().values(), ids=every_kind())
def test_valid_arguments_and_variables_pass(spec):
    for layer in spec.layers:
        check_parameters(layer.parameters)


@pytest.mark.parametrize(
    ("base", "name", "bad"),
    [
        *[(DATA, "input_width", bad) for bad in (0, -1, True, 1.0, "4", None, 65537, 10**100)],
        (DATA, "input_height", 0),
        (DATA, "input_channels", 0),
        (DATA, "input_channels", 2**20 + 1),
        (DATA, "input_bits", 0),
        (DATA, "input_bits", 9),
        (DENSE, "num_neurons", 0),
        (DENSE, "num_neurons", np.int64(3)),
        (DENSE, "weights_bits", 0),
        (DENSE, "weights_bits", 9),
        (DENSE, "threshold_fire", 2**31),
        (DENSE, "threshold_fire", -(2**31) - 1),
        (DENSE, "threshold_fire", 1.5),
        *[(DENSE, "threshold_fire_bits", bad) for bad in (0, 5, 6, 7, 9, True, 4.0)],
        *[
            (DENSE, "threshold_fire_step", bad)
            for bad in (-1, -0.5, math.nan, math.inf, 1e39, 10**400, True, "1")
        ],
        (DENSE, "activations_enabled", 1),
        (CONV, "kernel_width", 0),
        (CONV, "kernel_height", -3),
        (CONV, "stride_x", 0),
        (CONV, "stride_y", 0),
        (CONV, "convolution_mode", "same"),
        (CONV, "pooling_type", None),
        (CONV, "pooling_type", ConvolutionMode.Same),
        (POOLED, "pooling_width", 0),
        (POOLED, "pooling_height", -2),
        (POOLED, "pooling_width", True),
        (SEPARABLE, "weights_bits", 1),
        (IMAGE, "input_channels", 2),
        (IMAGE, "input_channels", True),
        (IMAGE, "padding_value", 256),
        (IMAGE, "padding_value", -1),
    ],
)
def test_bad_argument_is_refused_by_name(base, name, bad):
    with pytest.raises(ValueError, match=f"^{name} is .*, but {base.layer_type.name} takes"):
        check_parameters(dataclasses.replace(base, **{name: bad}))


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (DATA, {"input_bits": 8}),
        (DENSE, {"threshold_fire_step": 0}),
        (DENSE, {"threshold_fire_step": 3}),
        (DENSE, {"threshold_fire_step": np.float64(0.5)}),
        (DENSE, {"threshold_fire": -(2**31), "threshold_fire_bits": 8, "weights_bits": 8}),
        (POOLED, {"pooling_width": 2, "pooling_stride_x": 3}),
        (POOLED, {"pooling_width": 2}),
        (CONV, {"stride_x": 2, "stride_y": 3}),
    ],
)
def test_good_arguments_at_the_border(base, changes):
    check_parameters(dataclasses.replace(base, **changes))


@pytest.mark.parametrize(
    "name", ["pooling_width", "pooling_height", "pooling_stride_x", "pooling_stride_y"]
)
def test_pooling_arguments_need_pooling(name):
    with pytest.raises(ValueError, match=rf"{name} is 2, but without pooling it must be -1"):
        check_parameters(dataclasses.replace(CONV, **{name: 2}))


def test_a_global_axis_has_no_stride():
    with pytest.raises(ValueError, match="pooling_stride_y is 2, but pooling_height is -1"):
        check_parameters(dataclasses.replace(POOLED, pooling_width=2, pooling_stride_y=2))


@pytest.mark.parametrize("other", [LayerParameters(), None, "FullyConnected", DENSE.__class__])
def test_only_the_known_records_are_layers(other):
    with pytest.raises(TypeError, match="describe a layer"):
        check_parameters(other)


def test_a_subclass_is_not_a_known_record():
    class Sneaky(FullyConnectedParameters):
        pass

    with pytest.raises(TypeError, match="Sneaky"):
        check_parameters(Sneaky(num_neurons=1))


@pytest.mark.parametrize(
    ("parameters", "dims", "expected"),
    [
        (DATA, None, {}),
        (
            DENSE,
            (4, 3, 2),
            {
                "weights": (1, 1, 24, 5),
                "threshold_fire": (5,),
                "threshold_fire_step": (5,),
                "thresholds": (5, 1),
            },
        ),
        (
            dataclasses.replace(CONV, threshold_fire_bits=4),
            (9, 9, 7),
            {
                "weights": (3, 2, 7, 5),
                "threshold_fire": (5,),
                "threshold_fire_step": (5,),
                "thresholds": (5, 15),
            },
        ),
        (
            dataclasses.replace(SEPARABLE, activations_enabled=False),
            (9, 9, 7),
            {
                "weights": (3, 2, 7, 1),
                "weights_pw": (1, 1, 7, 5),
                "threshold_fire": (5,),
                "threshold_fire_step": (5,),
                "output_scale": (5,),
                "output_shift": (5,),
            },
        ),
        (
            IMAGE,
            None,
            {
                "weights": (3, 2, 3, 5),
                "threshold_fire": (5,),
                "threshold_fire_step": (5,),
                "thresholds": (5, 1),
            },
        ),
        (
            ConcatParameters(),
            (2, 2, 6),
            {"threshold_fire": (6,), "threshold_fire_step": (6,), "thresholds": (6, 1)},
        ),
    ],
)
def test_shapes_of_variables(parameters, dims, expected):
    assert variable_shapes(parameters, dims) == expected
    kind = parameters.layer_type
    assert set(REQUIRED[kind]) <= set(expected)
    assert set(expected) <= set(REQUIRED[kind]) | set(OPTIONAL[kind])


@pytest.mark.parametrize("size", [-1, 1, 2**16])
def test_pooling_of_any_size_up_to_the_limit_passes(size):
    pooling = {"pooling_type": PoolingType.Max, "pooling_width": size, "pooling_height": size}
    check_parameters(dataclasses.replace(CONV, **pooling))


def test_required_and_optional_cover_every_kind():
    assert set(REQUIRED) == set(OPTIONAL) == set(LayerType) - {LayerType.Unknown}


def test_shapes_need_the_dims_that_arrive():
    for parameters in (DENSE, CONV, SEPARABLE, ConcatParameters()):
        with pytest.raises(TypeError, match="input_dims is needed"):
            variable_shapes(parameters)


def test_a_variable_larger_than_a_file_has_no_shape():
    wide = dataclasses.replace(DENSE, num_neurons=2**20)
    with pytest.raises(ValueError, match=r"weights of a FullyConnected layer .* whole file"):
        variable_shapes(wide, (64, 64, 1))


def test_neurons_of_each_kind():
    assert neurons_of(DATA, None) == 2
    assert neurons_of(IMAGE, None) == 5
    assert neurons_of(ConcatParameters(), (1, 1, 9)) == 9


DIMS = (4, 3, 2)
WIDE = dataclasses.replace(DENSE, weights_bits=4, threshold_fire_bits=2)
HEAD = dataclasses.replace(DENSE, weights_bits=8, activations_enabled=False)


def variables(parameters=WIDE):
    rng = np.random.default_rng(0)
    return random_variables(parameters, DIMS, rng, table=True, scaled=True)


@pytest.mark.parametrize("parameters", [WIDE, HEAD, CONV, SEPARABLE, ConcatParameters()])
def test_valid_variables_pass(parameters):
    for name, values in variables(parameters).items():
        check_variable(parameters, DIMS, name, values)


@pytest.mark.parametrize(
    ("parameters", "name", "index", "bad", "message"),
    [
        (DENSE, "weights", (0, 0, 7, 2), 2, r"weights\[0, 0, 7, 2\] is 2, but must be 0 or 1"),
        (DENSE, "weights", (0, 0, 0, 0), -1, r"is -1, but must be 0 or 1 with 1 bits"),
        (WIDE, "weights", (0, 0, 3, 1), 8, r"\[0, 0, 3, 1\] is 8, but must be -7 to 7 with 4 bits"),
        (WIDE, "weights", (0, 0, 3, 1), -8, "is -8, but must be -7 to 7"),
        (HEAD, "weights", (0, 0, 3, 1), -128, "is -128, but must be -127 to 127"),
        (SEPARABLE, "weights_pw", (0, 0, 1, 4), 2, r"weights_pw\[0, 0, 1, 4\] is 2"),
        (SEPARABLE, "weights", (2, 1, 1, 0), -2, r"weights\[2, 1, 1, 0\] is -2"),
        (WIDE, "threshold_fire_step", (3,), -0.5, r"step\[3\] is -0.5, but must be at least 0"),
        (WIDE, "threshold_fire_step", (3,), np.nan, r"step\[3\] is nan, but must be finite"),
        (WIDE, "threshold_fire_step", (0,), np.inf, "must be finite"),
        (HEAD, "output_scale", (1,), np.inf, r"output_scale\[1\] is inf, but must be finite"),
        (HEAD, "output_shift", (4,), np.nan, r"output_shift\[4\] is nan"),
    ],
)
def test_first_value_out_of_range_is_named(parameters, name, index, bad, message):
    values = variables(parameters)[name]
    values[index] = bad
    with pytest.raises(ValueError, match=message):
        check_variable(parameters, DIMS, name, values)


def test_thresholds_must_not_decrease_along_a_row():
    table = np.array([[1, 2, 3], [4, 4, 4], [1, 5, 4], [9, 8, 7], [0, 0, 0]], np.int32)
    with pytest.raises(ValueError, match=r"thresholds\[2, 2\] is 4, below its left neighbour 5"):
        check_variable(WIDE, DIMS, "thresholds", table)
    # from one row to the next they may
    check_variable(WIDE, DIMS, "thresholds", np.sort(table, axis=1)[::-1])


def test_a_foreign_name_lists_the_known_ones():
    with pytest.raises(KeyError, match="no 'bias'; it has: weights, threshold_fire"):
        check_variable(WIDE, DIMS, "bias", np.zeros(5, np.int32))


@pytest.mark.parametrize(
    ("parameters", "name"),
    [(WIDE, "output_scale"), (HEAD, "thresholds"), (DENSE, "weights_pw"), (DATA, "weights")],
)
def test_variables_that_do_not_fit_the_arguments(parameters, name):
    with pytest.raises(KeyError, match=name):
        check_variable(parameters, DIMS, name, np.zeros((5, 3), np.int32))


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, ">i4", bool])
def test_the_dtype_is_exactly_the_one_of_the_role(dtype):
    with pytest.raises(TypeError, match=r"threshold_fire has the dtype .* must be int32"):
        check_variable(WIDE, DIMS, "threshold_fire", np.zeros(5, dtype))


def test_a_list_is_no_array():
    with pytest.raises(TypeError, match="must be an ndarray of int32, got a list"):
        check_variable(WIDE, DIMS, "threshold_fire", [0] * 5)


@pytest.mark.parametrize("shape", [(4,), (5, 1), (), (0,)])
def test_the_shape_is_exact(shape):
    with pytest.raises(ValueError, match=r"has the shape .* must be \(5,\)"):
        check_variable(WIDE, DIMS, "threshold_fire", np.zeros(shape, np.int32))


def test_a_number_too_long_to_print_is_refused_all_the_same():
    with pytest.raises(ValueError, match="num_neurons is an integer of 16610 bits"):
        check_parameters(FullyConnectedParameters(num_neurons=10**5000))
