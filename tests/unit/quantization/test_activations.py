import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.quantization import (  # noqa: E402
    ActivationDiscreteRelu,
    QuantizedActivation,
    QuantizedReLU,
)
from tests.layer_test import check_layer  # noqa: E402
from tests.unit.quantization.helpers import (  # noqa: E402
    compiled,
    gradients,
    numbers,
    numeric_gradient,
    variable_gradients,
)

pytestmark = pytest.mark.keras

BOTH = pytest.mark.parametrize("cls", [ActivationDiscreteRelu, QuantizedReLU])
BITS = pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])


def levels_in_numpy(x, t, h, n):
    t, h = np.asarray(t, x.dtype), np.asarray(h, x.dtype)
    return np.clip(np.ceil((x - t) / h), 0, n)


def probes(layer):
    """Every edge, its float32 neighbours, and points all over the range."""
    edges = layer.threshold + layer.step_width * np.arange(-2, layer.levels + 3)
    edges = edges.astype(np.float32)
    around = [np.nextafter(edges, np.float32(s)) for s in (-np.inf, np.inf)]
    rest = np.random.default_rng(0).uniform(-1, 8, 20000).astype(np.float32)
    return np.concatenate([edges, *around, rest, np.float32([0, -0.0, 1e30, -1e30])])


@BOTH
@pytest.mark.parametrize(
    ("bits", "levels", "step", "top"),
    [(1, 1, 1, 1), (2, 3, 1, 3), (3, 7, 6 / 7, 6), (4, 15, 0.4, 6), (8, 255, 6 / 255, 6)],
)
def test_parameters_for_each_bit_width(cls, bits, levels, step, top):
    layer = cls(bits)
    for built in (False, True):
        assert (layer.bitwidth, layer.levels) == (bits, levels)
        assert layer.step_width == layer.step_height == layer.gamma_k == float(np.float32(step))
        assert layer.threshold == layer.t0_k == float(np.float32(0.5 * np.float32(step)))
        assert layer.step == 2**bits * layer.step_width / 16
        # Then again, with variables instead of initial values.
        if not built:
            layer.build((None, 3))
    assert float(numbers(layer(np.float32([100.0])))[0]) == pytest.approx(top, rel=1e-6)


def test_four_bits_have_the_float32_neighbour_of_two_fifths():
    assert ActivationDiscreteRelu(4).step_width == 0.4000000059604645


@pytest.mark.parametrize(
    "name",
    ["bitwidth", "levels", "threshold", "step_width", "step_height", "t0_k", "gamma_k", "step"],
)
@BOTH
def test_attributes_are_read_only(cls, name):
    with pytest.raises(AttributeError):
        setattr(cls(2), name, 1)


@BOTH
@BITS
def test_levels_are_half_open_intervals_closed_above(cls, bits):
    layer = cls(bits)
    x = probes(layer)
    k = levels_in_numpy(x, layer.threshold, layer.step_width, layer.levels)
    assert set(k) == set(range(layer.levels + 1))
    assert_array_equal(numbers(layer(x)), np.float32(layer.step_width) * k.astype(np.float32))


def test_an_input_on_an_edge_takes_the_lower_level():
    above = np.nextafter(np.float32([0.5, 1.5, 2.5]), np.float32(9))
    y = ActivationDiscreteRelu(2)(np.concatenate([np.float32([0.5, 1.5, 2.5]), above]))
    assert_array_equal(numbers(y), [0, 1, 2, 1, 2, 3])


@BOTH
@BITS
@pytest.mark.parametrize("how", ["graph", "xla"])
def test_compiled_functions_give_the_same_bits(cls, bits, how):
    # A division by a constant must not become a multiplication by its reciprocal.
    layer = cls(bits)
    layer.build((None,))
    x = probes(layer)
    assert_array_equal(compiled(layer, how)(x), numbers(layer(x)))


def test_not_a_number_stays_alone():
    y = numbers(ActivationDiscreteRelu(2)(np.float32([np.nan, 1.0])))
    assert np.isnan(y[0])
    assert y[1] == 1


@BOTH
def test_gradient_passes_from_one_step_below_the_threshold_to_the_top(cls):
    layer = cls(4)
    layer.build((None,))
    x = np.float32([-0.3, -0.21, -0.19, 0.0, 0.2, 0.3, 3, 6.1, 6.25, 9])
    upstream = np.arange(1, 11)
    _, (g,) = gradients(layer, upstream, x)
    assert_array_equal(g, upstream * np.array([0, 0, 1, 1, 1, 1, 1, 1, 0, 0]))


def test_gradient_window_is_closed_above():
    _, (g,) = gradients(
        ActivationDiscreteRelu(1), np.ones(4), np.float32([-0.5, -0.499, 1.5, 1.501])
    )
    assert_array_equal(g, [0, 1, 1, 0])


@BITS
def test_gradients_of_threshold_and_step(bits):
    layer = QuantizedReLU(bits)
    layer.build((None,))
    layer.set_weights([np.float32(0.3), np.float32(layer.step * 0.9)])
    x = np.random.default_rng(3).uniform(-1, 7, 200).astype(np.float32)
    t, h, n = layer.threshold, layer.step_width, layer.levels
    z = (x.astype(np.float64) - t) / h
    k = np.ceil(z)
    inside, above = (k >= 0) & (k <= n), k > n
    found = variable_gradients(lambda: layer(x), layer.trainable_weights)
    by_step = np.where(inside, k - z, np.where(above, n, 0)).sum() * 16 / 2**bits
    assert_allclose(found[0], -inside.sum(), rtol=1e-6)
    assert_allclose(found[1], by_step, rtol=1e-4)

    def surrogate(parameters):
        t1, h1 = parameters[0], parameters[1] * 16 / 2**bits
        z1 = (x - t1) / h1
        return float((h1 * np.where(inside, z1 + (k - z), np.clip(k, 0, n))).sum())

    expected = numeric_gradient(surrogate, np.array([t, layer.step]))
    assert_allclose(found, expected, rtol=1e-4)


@BITS
def test_the_learned_activation_starts_as_the_fixed_one(bits):
    fixed, learned = ActivationDiscreteRelu(bits), QuantizedReLU(bits)
    x = probes(fixed)
    assert_array_equal(numbers(learned(x)), numbers(fixed(x)))
    assert [w.name for w in learned.trainable_weights] == ["t0", "step"]
    t0, step = learned.get_weights()
    assert t0.dtype == step.dtype == np.float32
    assert_allclose(t0, min(2**bits - 1, 6) / (2 * (2**bits - 1)), rtol=1e-7)
    assert_allclose(step, 2**bits * min(2**bits - 1, 6) / (16 * (2**bits - 1)), rtol=1e-7)


def test_training_keeps_the_step_positive():
    model = keras.Sequential([keras.Input((4,)), QuantizedReLU(2)])
    model.compile(keras.optimizers.SGD(100.0), "mse")
    x = np.ones((2, 4), "f4")
    model.fit(x, -10 * x, verbose=0)
    step = model.layers[0].get_weights()[1]
    assert step == np.float32(1e-6)
    assert np.isfinite(numbers(model(x))).all()


@BOTH
@pytest.mark.parametrize("bits", [0, -1, 1.5, True, "2"])
def test_bit_widths_below_one_are_refused(cls, bits):
    with pytest.raises(ValueError, match=r"bitwidth is .* integer from 1 on"):
        cls(bits)


@BOTH
def test_an_activation_argument_is_refused(cls):
    with pytest.raises(TypeError) as error:
        cls(2, activation="relu")
    assert error.value.args == ("Unsupported argument in quantized activations", "activation")


@BOTH
@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_short_floats_are_refused(cls, policy):
    with pytest.raises(ValueError, match=rf"'short' has the dtype policy '{policy}'.*float32"):
        cls(2, dtype=policy, name="short")


def test_a_policy_that_is_changed_later_is_refused_too():
    layer = QuantizedReLU(2)
    layer.dtype_policy = "mixed_float16"
    with pytest.raises(ValueError, match="mixed_float16"):
        layer.build((None, 3))


@BOTH
def test_float64_uses_the_same_edges(cls):
    if keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless told so")
    layer, short = cls(4, dtype="float64"), cls(4)
    x = probes(short).astype(np.float64)
    y = numbers(layer(x))
    assert y.dtype == np.float64
    assert (layer.threshold, layer.step_width) == (short.threshold, short.step_width)
    assert_array_equal(
        y, layer.step_width * levels_in_numpy(x, layer.threshold, layer.step_width, 15)
    )


def test_configuration_holds_the_bit_width_and_what_every_layer_has():
    for cls in (ActivationDiscreteRelu, QuantizedReLU):
        config = cls(3, name="a").get_config()
        assert set(config) == {"name", "trainable", "dtype", "bitwidth"}
        assert config["bitwidth"] == 3
    assert ActivationDiscreteRelu().bitwidth == QuantizedReLU().bitwidth == 1
    assert ActivationDiscreteRelu().supports_masking


def test_an_abstract_activation_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="does not define threshold"):
        QuantizedActivation(2)(np.ones(2, "f4"))


@pytest.mark.parametrize("shape", [(3,), (4, 5, 2)])
def test_discrete_relu_as_a_layer(shape, tmp_path):
    check_layer(
        ActivationDiscreteRelu, {"bitwidth": 4}, shape, output_shape=shape, tmp_path=tmp_path
    )


@pytest.mark.parametrize("shape", [(3,), (4, 5, 2)])
def test_quantized_relu_as_a_layer(shape, tmp_path):
    check_layer(
        QuantizedReLU,
        {"bitwidth": 2},
        shape,
        output_shape=shape,
        variables=["t0", "step"],
        tmp_path=tmp_path,
    )
