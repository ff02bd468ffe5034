"""Rates into spikes: the rule, its gradient, its start, and the switch of the training phase."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.spiking.layers import SpikingActivation, SpikingActivationCell  # noqa: E402
from tests.unit.spiking.helpers import (  # noqa: E402
    MODES,
    gradient,
    model_of,
    numbers,
    run,
    slope,
    spiking,
    uniform,
)

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("activation", "value", "expected"),
    [
        ("relu", 3, [4, 4, 0, 4, 4, 4, 0, 4]),
        ("linear", -1, [0, 0, -4, 0, 0, 0, -4, 0]),
        ("relu", 10, [12, 8, 12, 8]),
        ("relu", -10, [0, 0, 0, 0]),
    ],
)
def test_golden_trains(activation, value, expected, mode):
    layer = SpikingActivation(activation, dt=0.25)
    x = np.full((1, len(expected), 1), value, "float32")
    start = np.full((1, 1), 0.5, "float32")
    layer(x)
    assert run(lambda x, v: layer(x, initial_state=v), mode, x, start).ravel().tolist() == expected


def test_a_large_step_gives_rates():
    x = uniform(4, 5, 6, low=-3, high=3)
    assert_allclose(numbers(SpikingActivation("relu", dt=1e8)(x)), np.maximum(x, 0), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dt", [0.001, 0.0123, 0.1])
def test_trains_equal_those_of_plain_single_precision(mode, dt):
    # 0.0123: graph mode would divide by multiplying with an inverse that is off in the last place.
    # 3000 Hz: XLA would fuse the product with the sum.
    x = uniform(20, 100, 40, low=-500, high=3000)
    start = uniform(20, 40, low=0, high=1, seed=1)
    layer = SpikingActivation("relu", dt=dt, return_state=True)
    layer(x[:, :1])
    y, state = run(lambda x, v: layer(x, initial_state=v), mode, x, start)
    expected, rest = spiking(np.maximum(x, 0), start, dt)
    assert_array_equal(y, expected)
    assert_array_equal(state, rest)


@pytest.mark.parametrize("training", [False, True])
def test_heights_are_exact_in_both_phases(training):
    dt = 0.003
    y = numbers(SpikingActivation("relu", dt=dt)(uniform(4, 20, 5, high=2000), training=training))
    n = np.rint(y * np.float32(dt))
    assert n.max() > 3
    assert_array_equal(y, n.astype("float32") / np.float32(dt))


def test_a_tiny_negative_potential_does_not_fire_later():
    layer = SpikingActivation("linear", dt=1.0, return_state=True)
    x = np.array([[[-1e-9], [0.0], [0.0]]], "float32")
    y, state = layer(x, initial_state=np.zeros((1, 1), "float32"))
    assert numbers(y).ravel().tolist() == [-1, 0, 0]
    assert 0 <= float(state[0, 0]) < 1


def test_training_without_spikes_keeps_the_state():
    x = uniform(3, 4, 5, high=300)
    start = uniform(3, 5, low=0, high=1)
    layer = SpikingActivation("tanh", spiking_aware_training=False, return_state=True)
    y, state = layer(x, initial_state=start, training=True)
    assert_allclose(numbers(y), np.tanh(x), rtol=1e-6)
    assert_array_equal(numbers(state), start)
    for aware, training in ((False, False), (True, True), (True, False)):
        layer = SpikingActivation("tanh", spiking_aware_training=aware, return_state=True)
        y, state = layer(x, initial_state=start, training=training)
        assert set(np.unique(np.rint(numbers(y) * 0.001))) <= {-1, 0, 1}
        assert not np.array_equal(numbers(state), start)


@pytest.mark.parametrize(
    ("mode", "activation"),
    [("eager", name) for name in ("relu", "softplus", "softmax", "leaky_relu")]
    + [("graph", "softplus"), ("xla", "softmax")],
)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dt", [0.001, 1e3])
def test_gradient_is_that_of_the_activation(activation, dt, training, mode):
    x = uniform(3, 4, 5, low=-2, high=30)
    upstream = uniform(3, 4, 5, seed=7)
    layer = SpikingActivation(activation, dt=dt, seed=1)
    layer(x)
    function = keras.activations.get(activation)
    (expected,) = gradient(lambda x: function(x) * upstream, x)
    found = run(lambda x: slope(lambda x: layer(x, training=training) * upstream, x), mode, x)
    assert_allclose(found, expected, atol=1e-6)


def test_gradient_of_the_golden_example():
    x = uniform(2, 6, 3, high=100)
    layer = SpikingActivation("relu")
    assert_array_equal(gradient(layer, x)[0], (x > 0).astype("float32"))


def test_nothing_flows_through_the_potential_or_to_the_time_step():
    tf = pytest.importorskip("tensorflow")

    dt = tf.Variable(0.01)
    layer = SpikingActivation("relu", dt=dt, return_state=True)
    x, start = tf.constant(uniform(2, 4, 3, high=90)), tf.constant(uniform(2, 3, low=0))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, start])
        y, state = layer(x, initial_state=start)
        last = y[:, -1]
    zeros = tf.UnconnectedGradients.ZERO
    assert not numbers(tape.gradient(last, x, unconnected_gradients=zeros))[:, :-1].any()
    assert not numbers(tape.gradient(y, start, unconnected_gradients=zeros)).any()
    assert not numbers(tape.gradient(state, x, unconnected_gradients=zeros)).any()
    assert float(tape.gradient(y, dt, unconnected_gradients=zeros)) == 0


def test_weights_of_an_activation_layer_are_trained():
    prelu = keras.layers.PReLU(alpha_initializer=keras.initializers.Constant(0.1))
    layer = SpikingActivation(prelu, dt=0.1)
    model = model_of(layer, 4, 3)
    assert [w.shape for w in model.trainable_weights] == [(3,)]
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = uniform(2, 4, 3, low=-9, high=-3)
    model.fit(x, 0 * x + 5, verbose=0)
    assert (numbers(model.trainable_weights[0].value) != 0.1).all()


def test_a_unit_fires_at_its_rate():
    rates = np.array([0.0, 3.0, 37.3, 480.0, 1700.0], "float32")
    x = np.broadcast_to(rates, (2, 2000, 5))
    y = run(SpikingActivation("relu", seed=1), "graph", x)
    # The count is exact to less than one spike in two seconds.
    assert_allclose(y.mean(1), np.broadcast_to(rates, (2, 5)), atol=0.51)


@pytest.mark.parametrize("seed", [0, 7, -3, 2**70])
def test_seeded_starts(seed):
    def start(size, batch=4, seed=seed):
        cell = SpikingActivationCell(size, "relu", seed=seed)
        return numbers(cell.get_initial_state(batch_size=batch)[0])

    first = start(6)
    assert first.shape == (4, 6)
    assert ((first >= 0) & (first < 1)).all()
    assert len(np.unique(first)) == first.size
    assert_array_equal(start(6), first)
    assert_array_equal(start((1, 2, 3)).reshape(4, 6), first)
    assert not np.array_equal(start(6, seed=seed + 1), first)
    # A longer batch begins alike: numbers depend on the index alone.
    assert_array_equal(start(6, batch=9)[:4], first)


def test_seeded_starts_are_the_same_in_every_mode():
    layer = SpikingActivation("relu", seed=5)
    x = uniform(3, 7, 4, high=800)
    layer(x)
    eager = run(layer, "eager", x)
    assert_array_equal(run(layer, "graph", x), eager)
    assert_array_equal(run(layer, "xla", x), eager)
    model = model_of(SpikingActivation("relu", seed=5), None, 4)
    model.compile(jit_compile=True)
    assert_array_equal(model.predict(x, verbose=0), eager)


def test_starts_are_uniform():
    cell = SpikingActivationCell(1000, "relu", seed=3)
    values = numbers(cell.get_initial_state(batch_size=100)[0])
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    # Chi-square with 19 degrees of freedom: 43.8 is exceeded once in a thousand.
    assert ((counts - 5000.0) ** 2 / 5000).sum() < 43.8
    assert abs(np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1]) < 0.02


def test_unseeded_starts_change_from_call_to_call():
    x = np.full((2, 3, 50), 500.0, "float32")
    layer = SpikingActivation("relu")
    assert not np.array_equal(numbers(layer(x)), numbers(layer(x)))
    model = model_of(layer, 3, 50)
    assert not np.array_equal(model.predict(x, verbose=0), model.predict(x, verbose=0))
    assert layer.weights == []


@pytest.mark.parametrize("seed", [1.5, "1", True])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(TypeError, match="integer or None"):
        SpikingActivation("relu", seed=seed)


def test_an_unknown_activation():
    with pytest.raises(ValueError, match="nonsense"):
        SpikingActivation("nonsense")


def test_configuration_of_layer_and_cell():
    config = SpikingActivation("softplus", seed=3, spiking_aware_training=False).get_config()
    assert config["activation"] == "softplus"
    assert config["seed"] == 3
    assert config["spiking_aware_training"] is False
    cell = SpikingActivationCell((2, 3), "softplus", dt=0.1, seed=3)
    twin = SpikingActivationCell.from_config(cell.get_config())
    assert twin.get_config() == cell.get_config()
    assert cell.get_config()["size"] == [2, 3]
    assert cell.get_config()["dt"] == 0.1
