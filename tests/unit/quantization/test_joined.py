"""Activations in front of a Concatenate: how their steps drift apart, and become equal again."""

from functools import cache

import keras
import numpy as np
import pytest

from kerasnsoc import (
    ActivationDiscreteRelu,
    QuantizedReLU,
    calibrate,
    check_model_compatibility,
    compare,
    convert,
    create_trainable_quantizer_model,
    equalize_steps,
    load_quantized_model,
    quantize,
    quantize_layer,
)
from kerasnsoc.quantization.ranges import ActivationHistogram
from tests.unit.quantization.helpers import assert_unchanged, numbers, snapshot

layers = keras.layers
pytestmark = pytest.mark.keras


JOINED = ("left_relu", "right_relu", "third_relu")


def branched():
    """Two joins share an activation, so that three steps must be equal; one is pooled after."""
    inputs = keras.Input((8, 8, 1))
    stem = layers.ReLU(name="stem_relu")(layers.Conv2D(4, 3, padding="same", name="stem")(inputs))
    left = layers.ReLU(name="left_relu")(layers.Conv2D(3, 3, padding="same", name="left")(stem))
    left = layers.MaxPooling2D(2, padding="same")(left)
    right = layers.Conv2D(2, 3, strides=2, padding="same", name="right")(stem)
    right = layers.ReLU(name="right_relu")(right)
    third = layers.Conv2D(2, 1, strides=2, padding="same", name="third")(stem)
    third = layers.ReLU(name="third_relu")(third)
    upper = layers.Concatenate(name="upper")([left, right])
    lower = layers.Concatenate(name="lower")([right, third])
    upper = layers.ReLU(name="upper_relu")(layers.Conv2D(3, 3, name="up")(upper))
    lower = layers.ReLU(name="lower_relu")(layers.Conv2D(3, 3, name="low")(lower))
    both = layers.Concatenate(name="both")([upper, lower])
    last = layers.ReLU(name="last_relu")(layers.Conv2D(4, 1, name="last")(both))
    model = keras.Model(inputs, layers.Dense(3, name="out")(layers.Flatten()(last)), name="fork")
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0.05, 0.4, w.shape) for w in model.get_weights()])
    return model


def pixels(n=16):
    return np.random.default_rng(1).integers(0, 256, (n, 8, 8, 1), np.uint8)


def fine_tuned(model):
    """As a user would; every trainable step is another one afterwards."""
    model.compile(keras.optimizers.Adam(0.02), "mse", run_eagerly=True)  # no graph for few steps
    x = pixels().astype("f4") / 255
    model.fit(x, np.random.default_rng(2).normal(size=(16, 3)), epochs=2, batch_size=8, verbose=0)
    return model


def steps(model):
    return {model.get_layer(name).step_height for name in JOINED}


@cache
def drifted():
    """Trained once for all tests; nobody may modify it."""
    keras.utils.set_random_seed(0)
    return fine_tuned(create_trainable_quantizer_model(quantize(branched(), 4, 4, 8)))


def assert_converts(model):
    assert check_model_compatibility(model, report=True) == []
    network = convert(model, input_scaling=(255.0, 0))
    assert compare(model, network, pixels()).differing == 0


@pytest.mark.parametrize("start", ["trainable", "calibrated"])
def test_learned_steps_drift_apart_and_the_remedy_of_the_refusal_helps(start):
    x = pixels().astype("f4") / 255
    if start == "calibrated":
        model = calibrate(branched(), x, 4, 4, 8).model
        assert len(steps(model)) == 1
        fine_tuned(model)
    else:
        model = drifted()
    assert len(steps(model)) == 3
    message = r"upper: .*different steps: \{'left_relu': .*equalize_steps\(model\)"
    with pytest.raises(RuntimeError, match=message):
        convert(model, input_scaling=(255.0, 0))
    before = snapshot(model)
    assert_converts(equalize_steps(model))
    assert_converts(equalize_steps(model, x))
    assert_unchanged(model, before)


def test_without_data_the_largest_step_counts_and_thresholds_keep_their_shift():
    model = drifted()
    widest = max(JOINED, key=lambda name: model.get_layer(name).step_width)
    equal = equalize_steps(model)
    assert steps(equal) == {model.get_layer(widest).step_height}
    for old, new in zip(model.layers, equal.layers, strict=True):
        assert (old.name, type(old)) == (new.name, type(new))
        if old.name in ("upper_relu", "lower_relu"):
            continue  # a group of their own
        if old.name not in JOINED or old.name == widest:
            for a, b in zip(old.get_weights(), new.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)
        else:
            # float32: one rounding of a number below 2
            shift = old.threshold - old.step_width / 2
            assert new.threshold - new.step_width / 2 == pytest.approx(shift, abs=2e-7)


def test_with_data_the_step_is_the_one_with_the_least_error():
    model, x = drifted(), pixels().astype("f4") / 255
    equal = equalize_steps(model, x, batch_size=5)
    values = []
    for name in JOINED:
        layer = model.get_layer(name)
        feed = keras.Model(model.inputs[0], layer.input)
        shift = layer.threshold - layer.step_width / 2
        values.append(np.maximum(numbers(feed(x)) - shift, 0).ravel())
    together = np.concatenate(values)
    histogram = ActivationHistogram(float(together.max()))
    histogram.add(together)
    (step,) = steps(equal)
    # batches of another size may add up a little differently
    assert step == pytest.approx(histogram.best_step(4), rel=1e-5)
    assert histogram.error(step, 15) <= histogram.error(max(steps(model)), 15)


def test_called_before_fine_tuning_the_steps_stay_equal():
    start = equalize_steps(create_trainable_quantizer_model(quantize(branched(), 4, 4, 8)))
    other = start.get_layer("last_relu").step_height
    tuned = fine_tuned(start)
    assert len(steps(tuned)) == 1
    assert tuned.get_layer("last_relu").step_height != other  # what is not joined goes on learning
    assert_converts(tuned)
    free = equalize_steps(tuned, trainable=True)
    assert all(len(free.get_layer(name).trainable_variables) == 2 for name in JOINED)


def test_fixed_and_learned_activations_get_one_step():
    fixed = quantize(branched(), 4, 4, 8)
    assert all(type(equalize_steps(fixed).get_layer(n)) is ActivationDiscreteRelu for n in JOINED)
    inputs = keras.Input((8, 8, 1))
    one = ActivationDiscreteRelu(4, name="one")(layers.Conv2D(2, 3, name="a")(inputs))
    two = QuantizedReLU(4, name="two")(layers.Conv2D(2, 3, name="b")(inputs))
    mixed = keras.Model(inputs, layers.Concatenate()([one, two]))
    mixed.get_layer("two").set_weights([np.float32(1.0), np.float32(0.75)])
    equal = equalize_steps(mixed)
    assert type(equal.get_layer("one")) is QuantizedReLU
    assert equal.get_layer("one").step_height == equal.get_layer("two").step_height == 0.75
    assert equal.get_layer("one").threshold == 0.375


def test_equal_steps_survive_saving(tmp_path):
    equal = equalize_steps(drifted())
    equal.save(tmp_path / "equal.keras")
    loaded = load_quantized_model(tmp_path / "equal.keras")
    assert steps(loaded) == steps(equal)
    assert not loaded.get_layer("left_relu").trainable


def test_different_bits_are_refused_with_their_remedy():
    model = quantize_layer(quantize(branched(), 4, 4, 8), "right_relu", 2)
    for call in (equalize_steps, convert):
        with pytest.raises((ValueError, RuntimeError), match=r"'right_relu': 2.*quantize_layer\("):
            call(model)


def test_a_model_without_joins_is_copied():
    chain = [keras.Input((4,)), layers.Dense(2, name="d"), layers.ReLU(name="r")]
    model = quantize(keras.Sequential(chain), 4, 4)
    copy = equalize_steps(model)
    assert copy is not model
    assert copy.get_layer("r").trainable
    with pytest.raises(ValueError, match="batch_size"):
        equalize_steps(model, batch_size=0)
    with pytest.raises(TypeError, match="Keras model"):
        equalize_steps(3)
    with pytest.raises(ValueError, match="shape"):
        equalize_steps(drifted(), np.zeros((2, 3, 3, 1)))
