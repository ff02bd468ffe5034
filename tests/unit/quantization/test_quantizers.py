import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.quantization import (  # noqa: E402
    LinearWeightQuantizer,
    MaxPerAxisQuantizer,
    MaxQuantizer,
    ScaleFactorQuantizer,
    StdWeightQuantizer,
    TrainableStdWeightQuantizer,
    TrainableWeightQuantizer,
    WeightFloat,
    WeightQuantizer,
    integer_weights,
    quantizers,
)
from tests.unit.quantization.helpers import (  # noqa: E402
    compiled,
    gradients,
    numbers,
    numeric_gradient,
    variable_gradients,
)

pytestmark = pytest.mark.keras

RANGE_QUANTIZERS = [
    pytest.param(WeightQuantizer(2, 4), lambda w: 7 / (2 * np.std(w)), id="std"),
    pytest.param(TrainableWeightQuantizer(2, 4), lambda w: 7 / (2 * np.std(w)), id="trainable"),
    pytest.param(MaxQuantizer(4), lambda w: 7 / np.abs(w).max(), id="max"),
    pytest.param(
        MaxPerAxisQuantizer(4),
        lambda w: 7 / np.abs(w).max(axis=tuple(range(w.ndim - 1))),
        id="max per axis",
    ),
    pytest.param(
        ScaleFactorQuantizer(4, [3.0, 5.0, 9.0]), lambda w: np.array([3.0, 5, 9]), id="fixed"
    ),
]
ALL = [
    WeightQuantizer,
    TrainableWeightQuantizer,
    MaxQuantizer,
    MaxPerAxisQuantizer,
    ScaleFactorQuantizer,
]


def some_weights(*shape, seed=0, shift=0.1):
    return (np.random.default_rng(seed).normal(size=shape) * 0.3 + shift).astype(np.float32)


@keras.saving.register_keras_serializable(package="tests")
class HalfRange(LinearWeightQuantizer):
    """What a user writes: only the scale factor."""

    def scale_factor(self, w):
        return self.scale_factor_of_range(0.5 * keras.ops.max(keras.ops.abs(w)))


# Values


@pytest.mark.parametrize(("quantizer", "scale"), RANGE_QUANTIZERS)
def test_scale_factor_and_integers(quantizer, scale):
    w = some_weights(3, 3, 2, 3)
    sf = numbers(quantizer.scale_factor(w))
    assert sf.dtype == np.float32
    assert_allclose(sf, scale(w.astype(np.float64)), rtol=3e-7)
    assert sf.shape == np.shape(scale(w))
    y = numbers(quantizer.quantize(w))
    assert y.dtype == np.float32
    assert_array_equal(y, np.clip(np.rint(w * sf), -7, 7) / sf)
    q, same = integer_weights(quantizer, w)
    assert q.dtype == np.int8
    assert_array_equal(q, np.clip(np.rint(w * sf), -7, 7))
    assert_array_equal(same, sf)


@pytest.mark.parametrize(("bits", "kmax"), [(2, 1), (3, 3), (4, 7), (8, 127)])
def test_integers_are_symmetric_and_use_the_whole_range(bits, kmax):
    quantizer = MaxQuantizer(bits)
    assert quantizer.kmax == kmax
    q, sf = integer_weights(quantizer, np.linspace(-1, 1, 1001).astype("f4"))
    assert set(q) == set(range(-kmax, kmax + 1))
    assert sf == kmax


def test_halves_round_to_even():
    w = np.array([0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5], "f4") / 8
    q, _ = integer_weights(ScaleFactorQuantizer(4, 8.0), w)
    assert_array_equal(q, [0, 2, 2, 4, 0, -2, -2])


def test_values_beyond_the_range_are_clipped():
    w = np.array([7, 7.49, 7.5, 8, 100, -7.49, -7.5, -100], "f4") / 8
    q, _ = integer_weights(ScaleFactorQuantizer(4, 8.0), w)
    assert_array_equal(q, [7, 7, 7, 7, 7, -7, -7, -7])


def test_standard_deviation_is_that_of_the_population_without_the_mean():
    w = np.array([1.0, 2.0, 6.0], "f4")
    sf = numbers(WeightQuantizer(1, 2).scale_factor(w))
    assert_allclose(sf, 1 / np.sqrt(14 / 3), rtol=3e-7)
    assert abs(sf - 1 / np.std(w, ddof=1)) > 0.05
    assert abs(sf - 1 / np.sqrt(np.mean(w**2))) > 0.1


def test_per_axis_of_a_depthwise_kernel_is_per_tensor():
    w = some_weights(3, 3, 4, 1)
    axis = numbers(MaxPerAxisQuantizer(4).scale_factor(w))
    assert axis.shape == (1,)
    assert axis[0] == numbers(MaxQuantizer(4).scale_factor(w))


def test_per_axis_of_a_vector_has_one_scale_factor_per_element():
    q, sf = integer_weights(MaxPerAxisQuantizer(4), np.array([0.5, -2.0], "f4"))
    assert_array_equal(q, [7, -7])
    assert_array_equal(sf, [14, 3.5])


def test_float_weights_pass_unchanged():
    w = some_weights(2, 3)
    quantizer = WeightFloat()
    assert_array_equal(numbers(quantizer.quantize(w)), w)
    sf = numbers(quantizer.scale_factor(w))
    assert (quantizer.bitwidth, sf.shape, sf.dtype, float(sf)) == (0, (), np.float32, 1.0)


@pytest.mark.parametrize(
    "w", [[0.1, 0.7, -1.0], np.array([0.1, 0.7, -1.0], "f2"), np.array([1, 7, -10])], ids=str
)
def test_other_inputs_are_computed_in_float32(w):
    y = numbers(MaxQuantizer(4).quantize(w))
    assert y.dtype == np.float32
    assert_array_equal(y, numbers(MaxQuantizer(4).quantize(np.asarray(w, "f4"))))


def test_float64_weights_have_the_integers_of_float32():
    if keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless told so")
    # 1.5 - 2**-26 is below the half in float64 and on it in float32.
    w = np.array([7.0, 1.5 - 2.0**-26, 0.3])
    quantizer = MaxQuantizer(4)
    sf, y = numbers(quantizer.scale_factor(w)), numbers(quantizer.quantize(w))
    assert (sf.dtype, y.dtype) == (np.float32, np.float64)
    q, _ = integer_weights(quantizer, w)
    assert_array_equal(q, integer_weights(quantizer, w.astype("f4"))[0])
    assert_array_equal(q, [7, 2, 0])
    assert_array_equal(y, q / np.float64(sf))


@pytest.mark.parametrize("how", ["graph", "xla"])
@pytest.mark.parametrize(("quantizer", "scale"), RANGE_QUANTIZERS)
def test_compiled_functions_give_the_same_bits(quantizer, scale, how):
    if keras.backend.backend() == "jax" and hasattr(quantizer, "threshold"):
        pytest.skip("JAX adds up a standard deviation in float32, in an order of its own")
    for seed in range(5):
        w = some_weights(3, 3, 17, 3, seed=seed)
        for f in (quantizer.scale_factor, quantizer.quantize):
            assert_array_equal(compiled(f, how)(w), compiled(f, "eager")(w))


# Guards


@pytest.mark.parametrize(
    "quantizer",
    [WeightQuantizer(), TrainableWeightQuantizer(), MaxQuantizer(), MaxPerAxisQuantizer()],
)
def test_a_zero_kernel_stays_zero(quantizer):
    w = np.zeros((3, 3, 2, 4), "f4")
    q, sf = integer_weights(quantizer, w)
    assert not q.any()
    assert_array_equal(sf, np.ones_like(sf))
    _, (g,) = gradients(quantizer.quantize, np.ones_like(w), w)
    assert_array_equal(g, np.ones_like(w))


def test_a_zero_filter_does_not_touch_its_neighbours():
    w = some_weights(3, 3, 2, 4)
    w[..., 2] = 0
    q, sf = integer_weights(MaxPerAxisQuantizer(4), w)
    assert sf[2] == 1
    assert not q[..., 2].any()
    others = [0, 1, 3]
    assert_array_equal(q[..., others], integer_weights(MaxPerAxisQuantizer(4), w[..., others])[0])
    _, (g,) = gradients(MaxPerAxisQuantizer(4).quantize, np.ones_like(w), w)
    assert np.isfinite(g).all()


@pytest.mark.parametrize("value", [0.7, -3.0])
def test_a_kernel_of_one_element_has_no_deviation(value):
    w = np.full((1, 1), value, "f4")
    q, sf = integer_weights(WeightQuantizer(3, 4), w)
    assert (float(sf), int(q[0, 0])) == (1.0, round(value))
    assert int(integer_weights(MaxQuantizer(4), w)[0][0, 0]) == 7 * np.sign(value)


def test_ranges_too_small_for_a_scale_factor_count_as_empty():
    for magnitude in (1e-38, 1e-40):
        q, sf = integer_weights(MaxQuantizer(8), np.full((2, 2), magnitude, "f4"))
        assert sf == 1
        assert not q.any()
    q, sf = integer_weights(MaxQuantizer(8), np.full((2, 2), 1e-35, "f4"))
    assert (q == 127).all()
    assert np.isfinite(sf)


def test_max_scale_factor_is_an_upper_bound():
    w = np.array([[0.0001, 1.0], [0.00005, 0.1]], "f4")
    assert_allclose(numbers(MaxPerAxisQuantizer(4).scale_factor(w)), [70000, 7], rtol=1e-6)
    bounded = MaxPerAxisQuantizer(4, max_scale_factor=1000)
    assert_array_equal(numbers(bounded.scale_factor(w)), [1000, 7])
    assert_array_equal(integer_weights(bounded, w)[0], [[0, 7], [0, 1]])
    for cls in ALL:
        assert float(np.max(numbers(cls(max_scale_factor=0.5).scale_factor(w)))) == 0.5


# Arguments


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("bits", [1, 0, -1, 2.5, True, "4", None])
def test_bit_widths_below_two_are_refused(cls, bits):
    with pytest.raises(ValueError, match=r"bitwidth is .* integer from 2 on"):
        cls(bitwidth=bits)


@pytest.mark.parametrize("cls", [WeightQuantizer, TrainableWeightQuantizer])
@pytest.mark.parametrize("threshold", [0, -1.0, float("nan"), float("inf")])
def test_thresholds_must_be_positive(cls, threshold):
    with pytest.raises(ValueError, match=r"threshold is .* finite number above 0"):
        cls(threshold=threshold)


def test_max_scale_factor_must_be_positive():
    with pytest.raises(ValueError, match="max_scale_factor is 0"):
        MaxQuantizer(max_scale_factor=0)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf"), 1e-39, 1e39])
def test_scale_factors_must_be_normal_numbers(factor):
    with pytest.raises(ValueError, match=r"scale factor .* between 2\*\*-126 and 2\*\*126"):
        ScaleFactorQuantizer(4, [1.0, factor])


def test_scale_factors_must_fit_the_weights():
    quantizer = ScaleFactorQuantizer(4, [1.0, 2.0])
    with pytest.raises(
        ValueError, match=r"shape \(2,\) do not broadcast to weights of shape \(4, 3\)"
    ):
        quantizer.scale_factor(np.zeros((4, 3), "f4"))
    with pytest.raises(ValueError, match="do not broadcast"):
        quantizer.build((1,))


def test_scale_factors_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        ScaleFactorQuantizer(4, [1.0, 2.0]).scale_factors[0] = 3


def test_default_arguments():
    quantizer = WeightQuantizer()
    assert (quantizer.threshold, quantizer.bitwidth, quantizer.max_scale_factor) == (3, 4, None)
    assert TrainableWeightQuantizer().threshold == 3
    assert ScaleFactorQuantizer().scale_factors == 1
    assert WeightFloat().get_config() == {"name": None, "trainable": True}
    for cls in ALL:
        config = cls().get_config()
        assert (config["bitwidth"], config["max_scale_factor"]) == (4, None)
        assert (config["name"], config["trainable"]) == (None, True)
    assert WeightQuantizer(1, 2).get_config()["threshold"] == 1


def test_an_abstract_quantizer_says_what_is_missing():
    with pytest.raises(
        NotImplementedError, match="LinearWeightQuantizer does not define scale_factor"
    ):
        LinearWeightQuantizer(4).quantize([1.0])


def test_a_user_defines_only_the_scale_factor():
    q, sf = integer_weights(HalfRange(4), np.array([1.0, 0.25, -0.4], "f4"))
    assert sf == 14
    assert_array_equal(q, [7, 4, -6])


# Integers


def test_integer_weights_refuses_floats_and_wide_integers():
    with pytest.raises(ValueError, match="WeightFloat leaves weights as floats"):
        integer_weights(WeightFloat(), [1.0])
    with pytest.raises(ValueError, match="9 bits, but integer weights have 2 to 8"):
        integer_weights(MaxQuantizer(9), [1.0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_integer_weights_names_the_weight_that_is_not_finite(value):
    w = np.ones((2, 3), "f4")
    w[1, 2] = value
    with pytest.raises(
        ValueError, match=r"no integer for weight \(1, 2\)|no integer for weight \(0, 0\)"
    ):
        integer_weights(MaxQuantizer(4), w)
    with pytest.raises(ValueError, match=r"no integer for weight \(1, 2\)"):
        integer_weights(ScaleFactorQuantizer(4, 2.0), np.where(np.isinf(w), np.nan, w))


def test_integer_weights_refuses_a_quantizer_that_breaks_the_contract():
    class Liar(MaxQuantizer):
        def quantize(self, w):
            return keras.ops.convert_to_tensor(w)

    with pytest.raises(ValueError, match=r"no integer for weight \(1,\)"):
        integer_weights(Liar(4), np.array([1.0, 0.3], "f4"))


# Gradients


def surrogate(scale, kmax, w0):
    """Float64 function whose derivative the straight-through estimator takes."""
    z0 = w0.astype(np.float64) * scale(w0.astype(np.float64))
    r0 = np.rint(z0)

    def y(w):
        sf = scale(w)
        return np.where(np.abs(r0) <= kmax, w * sf + (r0 - z0), np.sign(r0) * kmax) / sf

    return y


@pytest.mark.parametrize(("quantizer", "scale"), RANGE_QUANTIZERS)
def test_gradient_is_that_of_the_surrogate(quantizer, scale):
    w = some_weights(2, 2, 3, 3, seed=4)
    if isinstance(quantizer, WeightQuantizer | TrainableWeightQuantizer):
        w[0, 0, 0] *= 8
    upstream = np.random.default_rng(5).normal(size=w.shape)
    _, (g,) = gradients(quantizer.quantize, upstream, w)
    y = surrogate(scale, 7, w)
    expected = numeric_gradient(lambda v: float((upstream * y(v)).sum()), w)
    # float32 gradients against float64 differences of a function with values around 1
    assert_allclose(g, expected, atol=2e-4)


def test_gradient_passes_where_the_rounded_value_is_in_range():
    w = np.array([7.4, 7.49, 7.5, 7.6, -7.4, -7.6, 0.2], "f4") / 8
    _, (g,) = gradients(ScaleFactorQuantizer(4, 8.0).quantize, np.ones(7), w)
    assert_array_equal(g, [1, 1, 0, 0, 1, 0, 1])


def test_gradient_of_the_scale_factor():
    class Given(LinearWeightQuantizer):
        def scale_factor(self, w):
            return self.factor

    quantizer = Given(4)

    def f(w, factor):
        quantizer.factor = factor
        return quantizer.quantize(w)

    w = np.array([[0.31, 2.0], [0.1, -2.0]], "f4")
    factor = np.array([8.0, 5.0], "f4")
    _, (_, g) = gradients(f, np.ones((2, 2)), w, factor)
    z = w.astype(np.float64) * factor
    r = np.rint(z)
    expected = np.where(np.abs(r) <= 7, (z - r) / factor**2, -np.sign(r) * 7 / factor**2)
    assert_allclose(g, expected.sum(axis=0), rtol=1e-5)
    _, (_, g) = gradients(f, np.ones((2, 2)), w, np.float32(8))
    z = w.astype(np.float64) * 8
    r = np.rint(z)
    assert_allclose(g, np.where(np.abs(r) <= 7, z - r, -np.sign(r) * 7).sum() / 64, rtol=1e-5)


def test_elements_that_tie_at_the_maximum_share_its_gradient():
    w = np.array([1.0, -1.0, 0.3], "f4")
    upstream = np.array([0.0, 0.0, 1.0])
    _, (g,) = gradients(MaxQuantizer(4).quantize, upstream, w)
    sf = 7.0
    z = np.float64(w[2]) * sf
    by_scale = (z - np.rint(z)) / sf**2
    share = -sf / 1.0 * np.sign(w[:2]) / 2
    assert_allclose(g, [by_scale * share[0], by_scale * share[1], 1.0], rtol=1e-5)


def test_gradient_of_the_trainable_threshold():
    quantizer = TrainableWeightQuantizer(2, 4)
    w = some_weights(4, 5)
    holder = quantizer.build(w.shape)
    (g,) = variable_gradients(lambda: quantizer.quantize(w), holder.trainable_weights)
    sf = 7 / (2 * np.std(w.astype(np.float64)))
    z = w.astype(np.float64) * sf
    r = np.rint(z)
    by_scale = np.where(np.abs(r) <= 7, z - r, -np.sign(r) * 7) / sf**2
    assert_allclose(g, by_scale.sum() * (-sf / 2), rtol=1e-3)


def test_float_weights_have_the_identity_as_gradient():
    upstream = np.array([1.0, -2.0])
    _, (g,) = gradients(WeightFloat().quantize, upstream, np.array([0.3, 9.0], "f4"))
    assert_array_equal(g, upstream)


# Learning


def test_a_trainable_quantizer_starts_as_the_fixed_one():
    w = some_weights(3, 3, 4, 5)
    fixed, learning = WeightQuantizer(2.7, 3), TrainableWeightQuantizer(2.7, 3)
    assert learning.threshold == 2.7
    unbuilt = numbers(learning.quantize(w))
    learning.build(w.shape)
    assert_array_equal(numbers(learning.quantize(w)), numbers(fixed.quantize(w)))
    assert_array_equal(unbuilt, numbers(fixed.quantize(w)))
    learning.threshold.assign(1.5)
    assert_array_equal(numbers(learning.quantize(w)), numbers(WeightQuantizer(1.5, 3).quantize(w)))


def test_a_trainable_quantizer_is_built_once():
    quantizer = TrainableWeightQuantizer(name="mine")
    holder = quantizer.build((3,), name="quantizer_dw")
    assert not quantizer.is_shared
    assert quantizer.build((5,)) is holder
    assert quantizer.is_shared
    assert [w.path for w in holder.weights] == ["mine/threshold"]
    assert not TrainableWeightQuantizer(trainable=False).build((3,)).trainable_weights


def test_configuration_of_a_trained_quantizer_holds_the_initial_threshold():
    quantizer = TrainableWeightQuantizer(3)
    quantizer.build((3,))
    quantizer.threshold.assign(1.25)
    assert quantizer.get_config()["threshold"] == 3
    assert TrainableWeightQuantizer.from_config(quantizer.get_config()).threshold == 3


def test_a_learned_threshold_stays_positive():
    holder = TrainableWeightQuantizer().build((3,))
    constraint = holder.weights[0].constraint
    assert float(numbers(constraint(-1.0))) == pytest.approx(1e-6)
    assert float(numbers(constraint(0.5))) == 0.5


# Serialization

EXAMPLES = [
    WeightQuantizer(2.5, 3, max_scale_factor=100),
    TrainableWeightQuantizer(2.5, 3, name="q", trainable=False),
    MaxQuantizer(8),
    MaxPerAxisQuantizer(2, max_scale_factor=1000),
    ScaleFactorQuantizer(4, [0.1, 7.3]),
    ScaleFactorQuantizer(4, 0.1),
    WeightFloat(),
    HalfRange(5),
]


@pytest.mark.parametrize("quantizer", EXAMPLES, ids=repr)
def test_serialization_round_trip(quantizer):
    w = some_weights(3, 2)
    serialized = json.loads(json.dumps(quantizers.serialize(quantizer)))
    again = quantizers.get(serialized)
    assert type(again) is type(quantizer)
    assert again.get_config() == quantizer.get_config()
    assert_array_equal(numbers(again.quantize(w)), numbers(quantizer.quantize(w)))
    assert serialized["registered_name"].split(">")[0] in ("kerasnsoc", "tests")


def test_get_returns_instances_as_they_are():
    quantizer = MaxQuantizer()
    assert quantizers.get(quantizer) is quantizer


def test_later_names_are_aliases():
    assert StdWeightQuantizer is WeightQuantizer
    assert TrainableStdWeightQuantizer is TrainableWeightQuantizer


@pytest.mark.parametrize("name", sorted(quantizers.QUANTIZERS))
def test_get_takes_configurations_of_other_toolkits(name):
    # A Keras 2 layer's configuration: no module, no registered name, a dtype.
    config = {"name": "q_1", "trainable": True, "dtype": "float32"}
    found = quantizers.get({"class_name": name, "config": config})
    assert type(found) is quantizers.QUANTIZERS[name]
    registered = {"module": "other.quantizers", "registered_name": f"Other>{name}"}
    found = quantizers.get({"class_name": name, "config": config, **registered})
    assert type(found) is quantizers.QUANTIZERS[name]


@pytest.mark.parametrize(
    "identifier",
    [
        "MaxQuantizer",
        None,
        4,
        MaxQuantizer,
        {},
        {"class_name": "NoSuchQuantizer", "config": {}},
        {"class_name": "Dense", "module": "keras.layers", "config": {"units": 3}},
        {"class_name": "Path", "module": "pathlib", "config": {}, "registered_name": "Path"},
    ],
    ids=str,
)
def test_get_refuses_anything_else(identifier):
    with pytest.raises(ValueError, match="is no weight quantizer"):
        quantizers.get(identifier)


def test_with_bitwidth_keeps_class_and_arguments():
    new = WeightQuantizer(1.5, 4, max_scale_factor=9).with_bitwidth(8)
    assert (type(new), new.threshold, new.bitwidth, new.max_scale_factor) == (
        WeightQuantizer,
        1.5,
        8,
        9,
    )


def test_with_bitwidth_keeps_the_range_of_frozen_scale_factors():
    new = ScaleFactorQuantizer(4, [7.0, 14.0]).with_bitwidth(8)
    assert_array_equal(new.scale_factors, [127, 254])
    assert_array_equal(new.with_bitwidth(4).scale_factors, [7, 14])
    same = ScaleFactorQuantizer(4, [0.1]).with_bitwidth(4)
    assert_array_equal(same.scale_factors, np.float32([0.1]))
