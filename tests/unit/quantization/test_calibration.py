"""What `calibrate` chooses, and that the result works without retraining."""

import json
import math

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kerasnsoc.conversion import compare, convert
from kerasnsoc.quantization import (
    ActivationDiscreteRelu,
    MaxPerAxisQuantizer,
    MaxQuantizer,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedReLU,
    ScaleFactorQuantizer,
    WeightFloat,
    WeightQuantizer,
    calibrate,
    load_quantized_model,
    quantize,
)
from kerasnsoc.quantization.ranges import ActivationHistogram, kernel_quantizer
from tests.unit.quantization.helpers import assert_unchanged, chain, images, numbers, snapshot
from tests.unit.quantization.trained import accuracy, trained_digits

pytestmark = pytest.mark.keras
layers = keras.layers


def output_of(model, name, x):
    inner = keras.Model(model.inputs[0], model.get_layer(name).output)
    return numbers(inner(x, training=False))


def rows_by_name(report):
    return {row.layer: row for row in report.rows}


# The promise


def test_few_bits_work_without_retraining():
    trained = trained_digits()
    before = snapshot(trained.model)
    plain = quantize(trained.model, 4, 4, 8)
    calibrated, _ = calibrate(trained.model, trained.calibration, 4, 4, 8)
    assert_unchanged(trained.model, before)
    assert accuracy(trained.model) > 0.93
    assert accuracy(calibrated) > accuracy(trained.model) - 0.04
    assert accuracy(plain) < accuracy(trained.model) - 0.10


def test_the_calibrated_model_converts_exactly(tmp_path):
    trained = trained_digits()
    calibrated, _ = calibrate(trained.model, trained.calibration, 4, 4, 8)
    artifact = tmp_path / "digits.h5"
    network = convert(calibrated, artifact, input_scaling=(1.0, 0))
    parity = compare(calibrated, artifact, trained.pixels[:64])
    assert parity.compared > 64 * 1000
    assert parity.differing == 0
    integer = np.mean(network.predict(trained.pixels) == trained.labels)
    assert abs(integer - accuracy(calibrated)) < 0.01


def test_the_calibrated_model_survives_a_file_and_learns(tmp_path):
    model = chain(layers.Dense(4), layers.ReLU(), layers.Dense(2), shape=(3,))
    x = images(32, (3,))
    calibrated, _ = calibrate(model, x)
    calibrated.save(tmp_path / "model.keras")
    loaded = load_quantized_model(tmp_path / "model.keras")
    assert_array_equal(numbers(loaded(x)), numbers(calibrated(x)))
    calibrated.compile(keras.optimizers.SGD(0.01), "mse")
    calibrated.fit(x, np.ones((32, 2)), verbose=0)
    assert (numbers(loaded(x)) != numbers(calibrated(x))).any()


# Ranges of activations


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_no_other_step_has_a_smaller_error(bits):
    rng = np.random.default_rng(bits)
    values = np.maximum(rng.normal(0, 3, 20_000), 0) + (rng.random(20_000) < 1e-3) * 20
    histogram = ActivationHistogram(float(values.max()))
    for part in np.split(values, 4):
        histogram.add(part)
    levels = 2**bits - 1

    def error(step):
        return np.square(values - step * np.clip(np.ceil(values / step - 0.5), 0, levels)).mean()

    step = histogram.best_step(bits)
    least = min(error(values.max() / levels * part) for part in np.linspace(0.02, 1, 500))
    assert error(step) <= least * 1.005  # the grids differ
    expected = 10 * np.log10(np.square(values).mean() / error(step))
    assert histogram.sqnr_db(step, levels) == pytest.approx(expected, abs=0.05)
    assert histogram.clipped(step, levels) == pytest.approx(
        np.mean(values > (levels + 0.5) * step), abs=1e-3
    )
    assert histogram.largest == values.max()


def test_activations_get_the_calibrated_step_and_half_of_it_as_threshold():
    trained = trained_digits()
    calibrated, report = calibrate(trained.model, trained.calibration, 4, 4, 8)
    rows = rows_by_name(report)
    for name in ("conv_relu", "separable_relu", "features_relu"):
        layer = calibrated.get_layer(name)
        assert type(layer) is QuantizedReLU
        assert layer.bitwidth == rows[name].bits == 4
        assert layer.threshold == layer.step_width / 2
        assert rows[name].range_max == 15 * layer.step_width
        values = output_of(trained.model, name, trained.calibration)
        assert rows[name].observed_max == values.max()
        error = np.square(values - numbers(layer(values))).mean(dtype="f8")
        sqnr = 10 * np.log10(np.square(values).mean(dtype="f8") / error)
        assert rows[name].sqnr_db == pytest.approx(sqnr, abs=0.05)
        assert rows[name].range_max <= rows[name].observed_max


def test_the_maximum_of_a_relu_bounds_the_range():
    model = chain(layers.Dense(4), layers.ReLU(1.5, name="relu"), layers.Dense(2), shape=(3,))
    _, report = calibrate(model, images(64, (3,)) * 10, 4, 4)
    row = rows_by_name(report)["relu"]
    assert row.observed_max == 1.5
    assert 1.2 < row.range_max < 1.500001  # the step is a float32


def test_an_activation_that_never_fires_keeps_the_initial_step():
    model = chain(layers.Dense(4, name="d"), layers.ReLU(name="relu"), layers.Dense(2), shape=(3,))
    model.get_layer("d").bias.assign(np.full(4, -100.0))
    calibrated, report = calibrate(model, images(16, (3,)), 4, 4)
    assert calibrated.get_layer("relu").step_width == ActivationDiscreteRelu(4).step_width
    assert rows_by_name(report)["relu"].sqnr_db == math.inf


def test_relus_by_name_are_calibrated():
    relu = chain(layers.Dense(4), layers.ReLU(name="act"), layers.Dense(2), shape=(3,))
    named = chain(
        layers.Dense(4), layers.Activation("relu", name="act"), layers.Dense(2), shape=(3,)
    )
    named.set_weights(relu.get_weights())
    x = images(16, (3,))
    rows = [rows_by_name(calibrate(model, x)[1])["act"] for model in (relu, named)]
    assert rows[0] == rows[1]


def test_activations_may_stay_float():
    model = chain(layers.Dense(4), layers.ReLU(name="relu"), layers.Dense(2), shape=(3,))
    calibrated, report = calibrate(model, images(16, (3,)), 4, 0)
    assert type(calibrated.get_layer("relu")) is layers.ReLU
    assert [row.kind for row in report.rows] == ["weights", "weights"]


def branched():
    inputs = keras.Input((8, 8, 3))
    stem = layers.ReLU(name="stem_relu")(layers.Conv2D(4, 3, padding="same", name="stem")(inputs))
    left = layers.Conv2D(4, 3, padding="same", name="left")(stem)
    left = layers.MaxPooling2D(2, padding="same")(layers.ReLU(name="left_relu")(left))
    right = layers.Conv2D(4, 3, strides=2, padding="same", name="right")(stem)
    right = layers.Dropout(0.1)(layers.ReLU(name="right_relu")(right))
    both = layers.Concatenate(name="both")([left, right])
    last = layers.ReLU(name="last_relu")(layers.Conv2D(4, 3, name="last")(both))
    model = keras.Model(inputs, layers.Dense(3, name="out")(layers.Flatten()(last)))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    right = model.get_layer("right")
    right.set_weights([4 * w for w in right.get_weights()])
    return model


def test_joined_activations_share_a_range_and_convert():
    model = branched()
    pixels = np.random.default_rng(1).integers(0, 256, (24, 8, 8, 3), np.uint8)
    calibrated, report = calibrate(model, pixels / 255, 4, 4, 8)
    left, right, last = (
        calibrated.get_layer(name) for name in ("left_relu", "right_relu", "last_relu")
    )
    assert left.step_height == right.step_height
    assert left.step_height != last.step_height
    rows = rows_by_name(report)
    assert rows["left_relu"].shares_range_with == ("right_relu",)
    assert rows["right_relu"].shares_range_with == ("left_relu",)
    assert rows["last_relu"].shares_range_with == ()
    # the common step is the best for all values of both
    together = np.concatenate(
        [output_of(model, n, pixels / 255).ravel() for n in ("left_relu", "right_relu")]
    )
    histogram = ActivationHistogram(float(together.max()))
    histogram.add(together)
    assert left.step_height == pytest.approx(histogram.best_step(4), rel=1e-6)
    network = convert(calibrated, input_scaling=(255.0, 0))
    assert compare(calibrated, network, pixels).differing == 0


# Ranges of weights


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_ranges_of_least_error_are_at_least_as_good_as_the_largest_weight(bits):
    layer = layers.Dense(5)
    layer.build((None, 200))
    kernel = np.random.default_rng(0).normal(size=(200, 5)).astype("f4")
    kernel[:, 4] = 0
    layer.kernel.assign(kernel)
    default = MaxPerAxisQuantizer(bits)
    found = kernel_quantizer(layer, default, "mse")
    assert type(found) is ScaleFactorQuantizer

    def errors(quantizer):
        return np.square(numbers(quantizer.quantize(kernel)) - kernel).sum(axis=0)

    assert (errors(found) <= errors(default) * (1 + 1e-6)).all()
    if bits < 8:
        assert errors(found).sum() < 0.9 * errors(default).sum()
    assert errors(found)[4] == 0
    assert kernel_quantizer(layer, default, "max") is default


def test_depthwise_kernels_keep_one_scale_factor():
    model = chain(layers.SeparableConv2D(5, 3, name="sep"), layers.ReLU())
    calibrated, _ = calibrate(model, images(8))
    layer = calibrated.get_layer("sep")
    assert layer.quantizer_dw.scale_factors.shape == ()
    assert layer.quantizer.scale_factors.shape == (5,)
    assert (layer.quantizer_dw.bitwidth, layer.quantizer.bitwidth) == (4, 4)


def test_the_first_layer_has_its_own_bits():
    model = chain(layers.Dense(4), layers.ReLU(), layers.Dense(2), shape=(3,))
    _, report = calibrate(model, images(8, (3,)), 2, 1, 8)
    assert [row.bits for row in report.rows] == [8, 1, 2]


def test_quantizers_can_be_chosen():
    model = chain(layers.Dense(4, name="a"), layers.ReLU(), layers.Dense(2, name="b"), shape=(3,))
    x = images(8, (3,))
    asked = []

    def choose(layer, default):
        asked.append((layer.name, type(default)))
        return WeightQuantizer(3, 2) if layer.name == "a" else default

    calibrated, report = calibrate(model, x, 4, 4, quantizer_function=choose)
    assert asked == [("a", ScaleFactorQuantizer), ("b", ScaleFactorQuantizer)]
    assert type(calibrated.get_layer("a").quantizer) is WeightQuantizer
    assert rows_by_name(report)["a"].bits == 2
    calibrated, _ = calibrate(model, x, 4, 4, weight_ranges="max")
    assert type(calibrated.get_layer("a").quantizer) is MaxPerAxisQuantizer


# Biases


def test_every_channel_keeps_its_mean():
    trained = trained_digits()
    calibrated, report = calibrate(trained.model, trained.calibration, 4, 4, 8)
    rows = rows_by_name(report)
    for name in ("conv", "separable", "features", "classes"):
        expected = output_of(trained.model, name, trained.calibration)
        found = output_of(calibrated, name, trained.calibration)
        axes = tuple(range(expected.ndim - 1))
        deviation = found.mean(axis=axes, dtype="f8") - expected.mean(axis=axes, dtype="f8")
        assert_allclose(deviation, 0, atol=1e-3)  # float32 sums of values around 100
        assert rows[name].bias_shift > 0.01
    plain, report = calibrate(trained.model, trained.calibration, 4, 4, 8, bias_correction=False)
    assert rows_by_name(report)["conv"].bias_shift is None
    assert_array_equal(numbers(plain.get_layer("conv").bias), trained.model.layers[0].bias)
    assert not plain.get_layer("separable").use_bias
    assert calibrated.get_layer("separable").use_bias


def test_depthwise_convolutions_get_no_bias_and_convert():
    model = chain(
        layers.Conv2D(4, 3, name="first"),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, use_bias=False, name="dw"),
        layers.Conv2D(5, 1, use_bias=False, name="pw"),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(3),
    )
    pixels = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3), np.uint8)
    calibrated, report = calibrate(model, pixels / 255, 4, 4, 8)
    assert type(calibrated.get_layer("dw")) is QuantizedDepthwiseConv2D
    assert not calibrated.get_layer("dw").use_bias
    assert calibrated.get_layer("pw").use_bias
    assert rows_by_name(report)["dw"].bias_shift is None
    assert rows_by_name(report)["pw"].bias_shift > 0
    network = convert(calibrated, input_scaling=(255.0, 0))
    assert compare(calibrated, network, pixels).differing == 0


def test_batch_normalizations_are_folded():
    model = chain(
        layers.Conv2D(4, 3, use_bias=False, name="conv"),
        layers.BatchNormalization(),
        layers.ReLU(name="relu"),
    )
    x = images(64)
    calibrated, _ = calibrate(model, x, 8, 8)
    assert [type(layer) for layer in calibrated.layers] == [QuantizedConv2D, QuantizedReLU]
    expected = numbers(model(x, training=False))
    error = np.square(numbers(calibrated(x)) - expected).mean() / np.square(expected).mean()
    assert error < 1e-3


# Sources


# pytest.warns raises Keras's own deprecations again, here instead of in Keras.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_a_quantized_model_is_calibrated_by_its_float_weights():
    model = chain(layers.Dense(4), layers.ReLU(6.0), layers.Dense(2), shape=(3,))
    x = images(32, (3,))
    expected, report = calibrate(model, x, 4, 4)
    again, same = calibrate(quantize(model, 2, 8), x, 4, 4)
    assert report == same
    assert_array_equal(numbers(again(x)), numbers(expected(x)))


def test_floats_may_stay():
    model = chain(layers.Dense(4), layers.ReLU(), layers.Dense(2), shape=(3,))
    x = images(32, (3,))
    same, report = calibrate(model, x, 0, 0)
    assert type(same.layers[0].quantizer) is WeightFloat
    assert_allclose(numbers(same(x)), numbers(model(x)), rtol=1e-5, atol=1e-6)
    assert [(row.bits, row.sqnr_db) for row in report.rows] == [(0, math.inf)] * 2


def test_labels_batches_and_repetition_make_no_difference():
    model = chain(layers.Dense(4), layers.ReLU(), layers.Dense(2), shape=(3,))
    x = images(32, (3,))
    first, report = calibrate(model, x)
    for data in ((x, np.zeros(32)), [x[:20], x[20:]]):
        other, same = calibrate(model, data)
        assert same == report
        assert_array_equal(numbers(other(x)), numbers(first(x)))


def test_arguments_out_of_range_are_refused():
    model = chain(layers.Dense(4), layers.ReLU(), layers.Dense(2), shape=(3,))
    x = images(4, (3,))
    with pytest.raises(ValueError, match="weight_quantization is 1"):
        calibrate(model, x, 1)
    with pytest.raises(ValueError, match="activ_quantization is 9"):
        calibrate(model, x, 4, 9)
    with pytest.raises(ValueError, match="weight_ranges is 'best', but must be 'mse' or 'max'"):
        calibrate(model, x, weight_ranges="best")
    with pytest.raises(ValueError, match=r"shape \(4, 2\)"):
        calibrate(model, x[:, :2])
    with pytest.raises(RuntimeError, match="has no input shape yet"):
        calibrate(keras.Sequential([layers.Dense(2)]), x)


def test_a_model_that_gives_no_numbers_is_refused():
    model = chain(layers.Dense(4, name="broken"), layers.ReLU(), layers.Dense(2), shape=(3,))
    model.get_layer("broken").bias.assign(np.full(4, np.inf))
    with pytest.raises(ValueError, match="'broken' gives values that are not finite"):
        calibrate(model, images(4, (3,)))


def test_the_report_as_text_dict_and_frame():
    trained = trained_digits()
    _, report = calibrate(trained.model, trained.calibration, 4, 4, 8)
    assert "Calibration on 400 samples" in str(report)
    assert "separable_relu" in str(report)
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["rows"][1]["range_max"] == report.rows[1].range_max
    pytest.importorskip("pandas")
    assert list(report.to_frame()["layer"]) == [row.layer for row in report.rows]


def test_a_dense_chain_has_a_quantizer_per_layer():
    model = chain(layers.Dense(4), layers.ReLU(), layers.Dense(2), shape=(3,))
    calibrated, _ = calibrate(model, images(8, (3,)))
    assert [type(layer) for layer in calibrated.layers] == [
        QuantizedDense,
        QuantizedReLU,
        QuantizedDense,
    ]
    assert not isinstance(calibrated.layers[0].quantizer, MaxQuantizer)
