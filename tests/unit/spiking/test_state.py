"""Layers that remember: chunks, resets, batch sizes."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.spiking.layers import IAF, LIF, Alpha, Lowpass, SpikingActivation  # noqa: E402
from tests.unit.spiking.helpers import not_on_jax, numbers, uniform  # noqa: E402

pytestmark = pytest.mark.keras

LAYERS = {
    "spiking": lambda **kw: SpikingActivation("relu", seed=1, dt=0.1, **kw),
    "lowpass": lambda **kw: Lowpass(0.01, level_initializer=0.5, **kw),
    "alpha": lambda **kw: Alpha(0.01, level_initializer=0.5, **kw),
    "iaf": lambda **kw: IAF(0.7, seed=2, **kw),
    "lif": lambda **kw: LIF(0.01, 0.7, seed=3, **kw),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def stateful(make, *size, jit=False, **kwargs):
    layer = make(stateful=True, **kwargs)
    inputs = keras.Input(batch_shape=(3, None, *size))
    model = keras.Model(inputs, layer(inputs))
    model.compile(jit_compile=jit)
    return layer, model


@not_on_jax
@every_layer
def test_chunks_give_the_whole(make):
    size = (2, 2)
    x = uniform(3, 9, *size, high=5)
    expected = numbers(make()(x))
    layer, model = stateful(make, *size)
    for _ in range(2):
        chunks = [model.predict_on_batch(part) for part in (x[:, :2], x[:, 2:])]
        assert_array_equal(np.concatenate(chunks, 1), expected)
        layer.reset_states()


@every_layer
def test_reset_returns_to_the_start_and_not_to_zero(make):
    x = uniform(3, 5, 4, high=5)
    layer, model = stateful(make, 4)
    first = numbers(model(x))
    assert not np.array_equal(numbers(model(x)), first)
    layer.reset_states()
    assert_array_equal(numbers(model(x)), first)
    layer.reset_state()
    start = layer.layer.cell.get_initial_state(batch_size=3)[0]
    assert_array_equal(numbers(layer.layer.states[0].value), numbers(start))
    assert numbers(start).any()


@every_layer
def test_states_can_be_set(make):
    x = uniform(3, 5, 4, high=5)
    middle, end = make(return_state=True)(x)[1], make(return_state=True)
    expected = numbers(end(x, initial_state=middle)[0])
    layer, model = stateful(make, 4)
    for given in (middle, [middle], numbers(middle)):
        layer.reset_states(given)
        assert_array_equal(numbers(model(x)), expected)


@every_layer
def test_wrong_states_leave_the_state_alone(make):
    layer, _ = stateful(make, 4)
    before = numbers(layer.layer.states[0].value).copy()
    for wrong in (uniform(3, 7), uniform(2, 4), [uniform(3, 4)] * 2):
        with pytest.raises(ValueError, match="state"):
            layer.reset_states(wrong)
    assert_array_equal(numbers(layer.layer.states[0].value), before)


@every_layer
def test_the_kept_state_is_no_weight_and_not_saved(make, tmp_path):
    layer, model = stateful(make, 4)
    assert len(layer.weights) == len(make().weights) + 2 * isinstance(layer, Lowpass | Alpha)
    x = uniform(3, 5, 4, high=5)
    first = numbers(model(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert_array_equal(numbers(loaded(x)), first)


def test_another_batch_size_is_refused():
    layer = LAYERS["spiking"](stateful=True)
    layer(uniform(3, 5, 4))
    before = numbers(layer.layer.states[0].value).copy()
    with pytest.raises(ValueError, match="batch size"):
        layer(uniform(2, 5, 4))
    assert_array_equal(numbers(layer.layer.states[0].value), before)


def test_without_a_state_to_reset():
    layer = LAYERS["spiking"]()
    layer.reset_states()
    layer(uniform(3, 5, 4))
    layer.reset_states()
    with pytest.raises(ValueError, match="not stateful"):
        layer.reset_states(uniform(3, 4))
    with pytest.raises(ValueError, match="not built yet"):
        LAYERS["spiking"](stateful=True).reset_states(uniform(3, 4))


def test_an_unseeded_reset_draws_anew():
    layer, _ = stateful(lambda **kw: SpikingActivation("relu", **kw), 40)
    first = numbers(layer.layer.states[0].value).copy()
    layer.reset_states()
    assert not np.array_equal(numbers(layer.layer.states[0].value), first)


@not_on_jax
@pytest.mark.parametrize("name", ["spiking", "alpha"])
def test_kept_states_in_compiled_prediction(name):
    x = uniform(3, 8, 4, high=5)
    expected = numbers(LAYERS[name]()(x))
    _, model = stateful(LAYERS[name], 4, jit=True)
    chunks = [model.predict(part, batch_size=3, verbose=0) for part in (x[:, :4], x[:, 4:])]
    if name == "spiking":
        assert_array_equal(np.concatenate(chunks, 1), expected)
    else:
        np.testing.assert_allclose(np.concatenate(chunks, 1), expected, rtol=1e-5)


@not_on_jax
def test_training_goes_on_from_the_state_too():
    layer = LAYERS["iaf"](stateful=True)
    model = keras.Sequential(
        [keras.Input(batch_shape=(3, 5, 4)), keras.layers.Dense(4, "relu"), layer]
    )
    model.compile("sgd", "mse")
    before = numbers(layer.layer.states[0].value).copy()
    x = uniform(3, 5, 4, low=0)
    model.fit(x, x, batch_size=3, verbose=0)
    assert not np.array_equal(numbers(layer.layer.states[0].value), before)


def test_time_major_states_are_batch_first():
    layer = LAYERS["alpha"](stateful=True, time_major=True, return_sequences=False)
    x = uniform(3, 6, 4)
    whole = numbers(LAYERS["alpha"]()(x))
    assert_array_equal(numbers(layer(x[:, :2].swapaxes(0, 1))), whole[:, 1])
    assert_array_equal(numbers(layer(x[:, 2:].swapaxes(0, 1))), whole[:, 5])
    layer.reset_states(np.zeros((3, 2, 4)))
    assert not numbers(layer(np.zeros((2, 3, 4)))).any()
