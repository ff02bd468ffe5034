"""Arguments and variables of layers."""

import inspect

import numpy as np
import pytest

from kerasnsoc.runtime import (
    Concat,
    Convolutional,
    ConvolutionMode,
    FullyConnected,
    InputConvolutional,
    InputData,
    LayerType,
    LearningType,
    Model,
    PoolingType,
    SeparableConvolutional,
)
from tests.unit.runtime.small import model_of

POSITIONAL = {
    InputData: "input_width input_height input_channels input_bits name",
    InputConvolutional: (
        "input_width input_height input_channels kernel_width kernel_height num_neurons name "
        "convolution_mode stride_x stride_y weights_bits pooling_width pooling_height "
        "pooling_type pooling_stride_x pooling_stride_y activations_enabled threshold_fire "
        "threshold_fire_step threshold_fire_bits padding_value"
    ),
    FullyConnected: (
        "num_neurons name weights_bits activations_enabled threshold_fire threshold_fire_step "
        "threshold_fire_bits"
    ),
    Convolutional: (
        "kernel_width kernel_height num_neurons name convolution_mode stride_x stride_y "
        "weights_bits pooling_width pooling_height pooling_type pooling_stride_x "
        "pooling_stride_y activations_enabled threshold_fire threshold_fire_step "
        "threshold_fire_bits"
    ),
    SeparableConvolutional: (
        "kernel_width kernel_height num_neurons name convolution_mode stride_x stride_y "
        "weights_bits pooling_width pooling_height pooling_type pooling_stride_x "
        "pooling_stride_y activations_enabled threshold_fire threshold_fire_step "
        "threshold_fire_bits"
    ),
    Concat: ("name activations_enabled threshold_fire threshold_fire_step threshold_fire_bits"),
}
DEFAULTS = {
    "input_bits": 4,
    "name": "",
    "convolution_mode": ConvolutionMode.Same,
    "stride_x": 1,
    "stride_y": 1,
    "weights_bits": 1,
    "pooling_width": -1,
    "pooling_height": -1,
    "pooling_type": PoolingType.NoPooling,
    "pooling_stride_x": -1,
    "pooling_stride_y": -1,
    "activations_enabled": True,
    "threshold_fire": 0,
    "threshold_fire_step": 1,
    "threshold_fire_bits": 1,
    "padding_value": 0,
}


@pytest.mark.parametrize("cls", POSITIONAL)
def test_argument_order_and_defaults(cls):
    parameters = inspect.signature(cls).parameters
    assert " ".join(parameters) == POSITIONAL[cls]
    for name, parameter in parameters.items():
        default = DEFAULTS.get(name, inspect.Parameter.empty)
        if cls is SeparableConvolutional and name == "weights_bits":
            default = 2
        assert parameter.default == default, name


def test_parameters_hold_the_arguments():
    layer = Convolutional(3, 5, 7, "conv", ConvolutionMode.Full, 2, threshold_fire_bits=2)
    p = layer.parameters
    assert layer.name == "conv"
    assert (p.kernel_width, p.kernel_height, p.num_neurons, p.stride_x, p.stride_y) == (
        3,
        5,
        7,
        2,
        1,
    )
    assert (p.convolution_mode, p.threshold_fire_bits) == (ConvolutionMode.Full, 2)
    assert p.layer_type is LayerType.Convolutional
    assert layer.learning.learning_type is LearningType.NoLearning
    with pytest.raises(AttributeError):
        p.stride_x = 3


def test_numpy_numbers_are_taken_as_numbers():
    p = FullyConnected(np.int64(3), threshold_fire_step=np.float32(0.5)).parameters
    assert (p.num_neurons, type(p.num_neurons)) == (3, int)
    assert (p.threshold_fire_step, type(p.threshold_fire_step)) == (0.5, float)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputData(0, 1, 1), r"input_width is 0"),
        (lambda: InputData(1, 1, 1, 9), r"input_bits is 9.*1 to 8"),
        (lambda: InputConvolutional(5, 5, 2, 3, 3, 1), r"input_channels is 2.*1 .*3"),
        (lambda: InputConvolutional(5, 5, 1, 3, 3, 1, padding_value=256), r"padding_value is 256"),
        (lambda: FullyConnected(0), r"num_neurons is 0"),
        (lambda: FullyConnected(1, weights_bits=9), r"weights_bits is 9"),
        (lambda: FullyConnected(1, threshold_fire_bits=5), r"threshold_fire_bits is 5"),
        (lambda: FullyConnected(1, threshold_fire_step=-1), r"threshold_fire_step is -1"),
        (lambda: FullyConnected(1, threshold_fire=2**31), r"threshold_fire is 2147483648"),
        (lambda: FullyConnected(True), r"num_neurons is True"),
        (lambda: Convolutional(0, 1, 1), r"kernel_width is 0"),
        (lambda: Convolutional(1, 1, 1, stride_y=0), r"stride_y is 0"),
        (lambda: Convolutional(1, 1, 1, convolution_mode="same"), r"convolution_mode is 'same'"),
        (lambda: Convolutional(1, 1, 1, pooling_width=2), r"pooling_width is 2.*NoPooling|-1"),
        (
            lambda: Convolutional(1, 1, 1, pooling_type=PoolingType.Max, pooling_width=0),
            r"pooling_width is 0",
        ),
        (lambda: SeparableConvolutional(1, 1, 1, weights_bits=1), r"weights_bits is 1.*2 to 8"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_name_must_be_a_string():
    with pytest.raises(TypeError, match="name is 3"):
        FullyConnected(1, 3)


def test_outside_a_model_there_are_no_dims_and_variables():
    layer = FullyConnected(2, "fc")
    for access in (
        lambda: layer.input_dims,
        lambda: layer.output_dims,
        lambda: layer.variables,
        lambda: layer.input_bits,
        lambda: layer.get_variable_names(),
        lambda: layer.get_variable("weights"),
        lambda: layer.set_variable("weights", np.zeros((1, 1, 1, 2), np.int8)),
    ):
        with pytest.raises(RuntimeError, match=r"'fc'.*Model\.add"):
            access()
    assert layer.inbounds == []
    assert "not in a model" in repr(layer)


def test_new_variables():
    model = model_of(
        InputData(4, 3, 2),
        Convolutional(3, 2, 5, threshold_fire=7, threshold_fire_step=2.5),
        SeparableConvolutional(3, 3, 6),
        FullyConnected(4),
    )
    data, conv, separable, full = model.layers
    assert data.get_variable_names() == []
    shapes = {name: values.shape for name, values in conv.variables.items()}
    assert shapes == {
        "weights": (3, 2, 2, 5),
        "threshold_fire": (5,),
        "threshold_fire_step": (5,),
    }
    assert not conv.variables["weights"].any()
    assert conv.variables["weights"].dtype == np.int8
    assert conv.variables["threshold_fire"].tolist() == [7] * 5
    assert conv.variables["threshold_fire"].dtype == np.int32
    assert conv.variables["threshold_fire_step"].tolist() == [2.5] * 5
    assert conv.variables["threshold_fire_step"].dtype == np.float32
    assert separable.variables["weights"].shape == (3, 3, 5, 1)
    assert separable.variables["weights_pw"].shape == (1, 1, 5, 6)
    assert full.variables["weights"].shape == (1, 1, 4 * 3 * 6, 4)
    assert len(full.variables) == 3
    assert "weights" in repr(full.variables)


def test_bits_and_dims_along_a_network():
    model = model_of(
        InputData(4, 3, 2, 3), Convolutional(1, 1, 5, threshold_fire_bits=2), FullyConnected(4)
    )
    assert [layer.input_bits for layer in model.layers] == [3, 3, 2]
    assert model.get_layer(1).input_dims == (4, 3, 2)
    assert model.get_layer(1).output_dims == (4, 3, 5)
    assert model.get_layer(2).inbounds == [model.get_layer(1)]
    assert model_of(InputConvolutional(5, 5, 1, 3, 3, 1)).get_layer(0).input_bits == 8


def test_a_concat_of_potentials_has_32_bits():
    model = model_of(InputData(1, 1, 2))
    a, b = (FullyConnected(1, name, activations_enabled=False) for name in "ab")
    source = model.get_layer(0)
    model.add(a, [source])
    model.add(b, [source])
    join = Concat(activations_enabled=False)
    model.add(join, [a, b])
    assert join.input_bits == 32
    assert join.input_dims == join.output_dims == (1, 1, 2)
    assert join.get_variable_names() == ["threshold_fire", "threshold_fire_step"]


@pytest.fixture
def conv():
    """A 2-bit convolution with kernel 3 x 2 over one channel, 4 neurons."""
    return model_of(InputData(5, 5, 1), Convolutional(3, 2, 4, "conv", weights_bits=2)).get_layer(1)


def test_get_returns_a_copy(conv):
    conv.get_variable("weights")[...] = 1
    conv.variables["threshold_fire"][...] = 9
    assert not conv.get_variable("weights").any()
    assert not conv.get_variable("threshold_fire").any()


def test_set_takes_a_copy(conv):
    weights = np.ones((3, 2, 1, 4), np.int8)
    conv.set_variable("weights", weights)
    weights[...] = 0
    assert conv.get_variable("weights").all()


def test_any_integers_in_range_are_taken(conv):
    values = np.arange(24).reshape(3, 2, 1, 4) % 3 - 1
    conv.variables["weights"] = values
    assert conv.get_variable("weights").dtype == np.int8
    np.testing.assert_array_equal(conv.get_variable("weights"), values)


def test_the_reversed_layout_is_recognised_by_its_shape(conv):
    values = np.random.default_rng(0).integers(-1, 2, (3, 2, 1, 4))
    conv.set_variable("weights", np.asfortranarray(values.T))
    np.testing.assert_array_equal(conv.get_variable("weights"), values)
    conv.set_variable("weights", np.ascontiguousarray(values.T))
    np.testing.assert_array_equal(conv.get_variable("weights"), values)


def test_the_reversed_layout_is_recognised_by_its_memory_if_shapes_agree():
    layer = model_of(InputData(5, 5, 2), Convolutional(3, 2, 3, weights_bits=2)).get_layer(1)
    values = np.random.default_rng(0).integers(-1, 2, (3, 2, 2, 3))
    layer.set_variable("weights", values)
    np.testing.assert_array_equal(layer.get_variable("weights"), values)
    layer.set_variable("weights", np.asfortranarray(values))
    np.testing.assert_array_equal(layer.get_variable("weights"), values.T)


@pytest.mark.parametrize("value", [6, [6], np.array(6), np.array([6], np.int64)])
def test_scalars_are_repeated_for_thresholds(conv, value):
    conv.set_variable("threshold_fire", value)
    conv.set_variable("threshold_fire_step", value)
    assert conv.get_variable("threshold_fire").tolist() == [6] * 4
    assert conv.get_variable("threshold_fire_step").tolist() == [6.0] * 4


@pytest.mark.parametrize(
    ("name", "values", "error", "message"),
    [
        ("bias", 1, KeyError, r"no variable 'bias'"),
        ("weights", np.ones((3, 2, 1, 4)), TypeError, r"'conv': weights.*float64.*integers"),
        ("weights", np.ones((3, 2, 1, 4), bool), TypeError, r"weights.*bool.*integers"),
        ("weights", 1, ValueError, r"weights has the shape \(\)"),
        ("weights", np.ones((2, 3, 1, 4), int), ValueError, r"shape \(2, 3, 1, 4\)"),
        ("weights", np.full((3, 2, 1, 4), 2), ValueError, r"weights\[0, 0, 0, 0\] is 2.*-1 to 1"),
        ("weights", np.full((3, 2, 1, 4), -2), ValueError, r"is -2.*-1 to 1"),
        ("weights", np.full((3, 2, 1, 4), 257), ValueError, r"is 257.*-128 to 127"),
        ("threshold_fire", 0.5, TypeError, r"threshold_fire.*float64.*integers"),
        ("threshold_fire", 2**31, ValueError, r"threshold_fire.* is 2147483648"),
        ("threshold_fire", [1, 2], ValueError, r"shape \(2,\)"),
        ("threshold_fire_step", "1", TypeError, r"must hold numbers"),
        ("threshold_fire_step", -1, ValueError, r"threshold_fire_step\[0\] is -1"),
        ("threshold_fire_step", [1, 1, np.nan, 1], ValueError, r"threshold_fire_step\[2\] is nan"),
        ("threshold_fire_step", 1e300, ValueError, r"threshold_fire_step\[0\] is inf"),
        ("thresholds", np.array([[1]] * 3), ValueError, r"shape \(3, 1\)"),
        ("output_scale", 1.0, KeyError, r"no variable 'output_scale'"),
    ],
)
def test_wrong_values_are_refused_and_change_nothing(conv, name, values, error, message):
    conv.set_variable("weights", np.ones((3, 2, 1, 4), np.int8))
    conv.set_variable("thresholds", np.array([[1], [2], [3], [4]]))
    before = dict(conv.variables)
    with pytest.raises(error, match=message):
        conv.set_variable(name, values)
    after = dict(conv.variables)
    assert list(after) == list(before)
    for key, array in before.items():
        np.testing.assert_array_equal(after[key], array)


def test_one_bit_weights_are_unsigned():
    layer = model_of(InputData(1, 1, 1), FullyConnected(1)).get_layer(1)
    layer.set_variable("weights", np.ones((1, 1, 1, 1), int))
    with pytest.raises(ValueError, match=r"is -1.*0 or 1"):
        layer.set_variable("weights", np.full((1, 1, 1, 1), -1))


def test_a_table_must_not_decrease():
    layer = model_of(InputData(1, 1, 1), FullyConnected(1, threshold_fire_bits=2)).get_layer(1)
    layer.set_variable("thresholds", np.array([[1, 1, 5]]))
    with pytest.raises(ValueError, match=r"thresholds\[0, 2\] is 4"):
        layer.set_variable("thresholds", np.array([[1, 5, 4]]))


def test_unknown_names_are_key_errors(conv):
    with pytest.raises(KeyError, match="no variable 'thresholds'"):
        conv.get_variable("thresholds")
    with pytest.raises(KeyError, match="'conv' has no variable 'w'"):
        conv.variables["w"]


@pytest.mark.parametrize("name", ["threshold_fire", "threshold_fire_step"])
def test_setting_the_pair_drops_the_table(conv, name):
    conv.set_variable("thresholds", np.array([[1], [2], [3], [4]]))
    assert "thresholds" in conv.get_variable_names()
    conv.set_variable(name, 3)
    assert "thresholds" not in conv.get_variable_names()


@pytest.mark.parametrize("name", ["threshold_fire", "threshold_fire_step"])
def test_setting_the_pair_drops_scale_and_shift(name):
    model = model_of(InputData(1, 1, 1), FullyConnected(2, activations_enabled=False))
    layer = model.get_layer(1)
    layer.set_variable("output_scale", 0.5)
    assert layer.get_variable("output_shift").tolist() == [0, 0]
    assert layer.get_variable("output_scale").tolist() == [0.5, 0.5]
    layer.set_variable(name, 3)
    assert layer.get_variable_names() == ["weights", "threshold_fire", "threshold_fire_step"]
    layer.set_variable("output_shift", [1.0, 2.0])
    assert layer.get_variable("output_scale").tolist() == [1, 1]


def test_setting_a_variable_takes_effect_in_the_next_call():
    model = model_of(InputData(1, 1, 2), FullyConnected(1, activations_enabled=False))
    inputs = np.ones((1, 1, 1, 2), np.uint8)
    assert model.forward(inputs).ravel() == [0]
    model.get_layer(1).set_variable("weights", np.ones((1, 1, 2, 1), np.int8))
    assert model.forward(inputs).ravel() == [2]
    model.get_layer(1).variables["weights"] = np.array([1, 0]).reshape(1, 1, 2, 1)
    assert model.forward(inputs).ravel() == [1]


def test_repr_shows_the_output():
    assert repr(Model(layers=[InputData(2, 1, 1, name="i")]).get_layer(0)) == (
        "<InputData 'i', output (2, 1, 1)>"
    )
