"""Low-pass filters against their closed forms and a textbook discretization."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.spiking.constraints import Mean  # noqa: E402
from kerasnsoc.spiking.layers import Alpha, Lowpass  # noqa: E402
from tests.unit.spiking.helpers import (  # noqa: E402
    MODES,
    gradient,
    model_of,
    numbers,
    run,
    uniform,
    weight_gradients,
)

pytestmark = pytest.mark.keras

both = pytest.mark.parametrize("cls", [Lowpass, Alpha])


def step_response(cls, tau, dt, steps):
    k = np.arange(1, steps + 1, dtype="float64")
    q = dt / tau
    return 1 - np.exp(-k * q) * (1 if cls is Lowpass else 1 + k * q)


def zero_order_hold(cls, x, tau, dt):
    """The state space form, discretized by the exponential series of the augmented matrix."""
    if cls is Lowpass:
        a, b = np.array([[-1 / tau]]), np.array([[1 / tau]])
    else:
        a, b = np.array([[-2 / tau, -1 / tau**2], [1, 0]]), np.array([[1 / tau**2], [0]])
    order = len(a)
    block = np.zeros((order + 1, order + 1))
    block[:order, :order], block[:order, order:] = a * dt, b * dt
    term = total = np.eye(order + 1)
    for k in range(1, 60):
        term = term @ block / k
        total = total + term
    state, outputs = np.zeros((order, x.shape[0])), []
    for value in x.T:
        state = total[:order, :order] @ state + total[:order, order:] * value
        outputs.append(state[-1])
    return np.stack(outputs, 1)


@pytest.mark.parametrize("mode", MODES)
def test_golden_steps(mode):
    ones = np.ones((1, 3, 1), "float32")
    lowpass, alpha = Lowpass(0.1, dt=0.001), Alpha(0.1, dt=0.01, return_state=True)
    lowpass(ones), alpha(ones)
    assert_allclose(
        run(lowpass, mode, ones).ravel(), [0.009950166, 0.019801327, 0.029554466], atol=1e-6
    )
    y, _ = run(alpha, mode, ones)
    assert_allclose(y.ravel(), [0.004678840, 0.017523096, 0.036936313], atol=1e-6)
    _, state = run(alpha, mode, ones[:, :1])
    assert_allclose(state, [[[0.904837418], [0.004678840]]], atol=1e-6)


@both
@pytest.mark.parametrize("dt", [0.001, 0.03])
def test_agrees_with_a_textbook_discretization(cls, dt):
    x = uniform(3, 200, 1)
    y = run(model_of(cls(0.1, dt=dt), None, 1), "graph", x)
    assert_allclose(y[..., 0], zero_order_hold(cls, x[..., 0].astype("f8"), 0.1, dt), atol=1e-6)


@both
@pytest.mark.parametrize("tau", [1e-4, 0.003, 0.1, 20.0])
def test_a_constant_settles_in_single_precision(cls, tau):
    x = np.full((1, 3000, 1), 0.7, "float32")
    y = run(model_of(cls(tau), None, 1), "graph", x).ravel()
    # A filter stalls where a step is below half a unit in the last place: 100 * 3e-8 for 0.1 s.
    assert_allclose(y, 0.7 * step_response(cls, tau, 0.001, 3000), atol=4e-6)


@both
@pytest.mark.parametrize("tau", [1e-8, 0.0, -1.0])
@pytest.mark.parametrize("dt", [1e-6, 1e8])
def test_tiny_time_constants_let_the_input_pass(cls, tau, dt):
    x = uniform(2, 5, 3, low=-1e4, high=1e4)
    x[0] /= 1e6  # small after large: not one bit may come from the step before
    layer = cls(tau, dt=dt)
    assert_array_equal(numbers(layer(x)), x)
    assert_array_equal(gradient(layer, x)[0], np.ones_like(x))
    assert not _weight_gradients(layer, x)[1].any()


def _weight_gradients(layer, x):
    return weight_gradients(lambda: layer(x, training=True) ** 2, layer.weights)


@both
@pytest.mark.parametrize("tau", [1e-3, 0.05])
def test_gradients_agree_with_differences(cls, tau):
    x = uniform(2, 6, 1).astype("float64")
    layer = cls(tau, dt=0.002, level_initializer=0.3, dtype="float64")
    layer(x)
    for index, found in enumerate(_weight_gradients(layer, x)):
        weight = layer.weights[index]
        start, losses = numbers(weight.value).copy(), []
        for sign in (1, -1):
            weight.assign(start * (1 + sign * 1e-6))
            losses.append(float(np.sum(numbers(layer(x)) ** 2)))
        weight.assign(start)
        expected = (losses[0] - losses[1]) / (2e-6 * start.item())
        # A central difference in double precision.
        assert_allclose(found.item(), expected, rtol=1e-5)


@both
@pytest.mark.parametrize("tau", [1e-4, 0.003, 5.0])
def test_a_constant_that_is_there_already_stays(cls, tau):
    x = np.full((1, 20, 1), 7.3, "float32")
    assert_array_equal(numbers(cls(tau, level_initializer=7.3)(x)), x)


@both
def test_weights_and_first_state(cls):
    level = np.arange(6, dtype="float32").reshape(2, 3) / 10
    shape = (1, 2, 3) if cls is Lowpass else (6,)
    layer = cls(0.1, return_state=True)
    layer(uniform(2, 4, 2, 3))
    assert [w.path.split("/")[-1] for w in layer.weights] == ["initial_level", "tau"]
    assert [w.shape for w in layer.weights] == [shape, shape]
    assert layer.layer.cell.initial_level is layer.weights[0]
    assert layer.layer.cell.tau is layer.weights[1]
    layer.layer.cell.initial_level.assign(level.reshape(shape))
    # A decay from the level, row by row.
    y, _ = layer(np.zeros((2, 1, 2, 3), "float32"))
    decay = 1 - step_response(cls, 0.1, 0.001, 1)
    assert_allclose(numbers(y)[:, 0], np.stack([level * decay] * 2), rtol=1e-5)


@both
def test_time_constants_are_one_per_unit(cls):
    layer = cls(0.1)
    x = np.ones((1, 5, 2, 2), "float32")
    layer(x)
    taus = np.array([[0.001, 0.01], [0.1, 1.0]], "float32")
    layer.layer.cell.tau.assign(taus.reshape(layer.layer.cell.tau.shape))
    y = numbers(layer(x))
    for i, j in np.ndindex(2, 2):
        expected = step_response(cls, float(taus[i, j]), 0.001, 5)
        assert_allclose(y[0, :, i, j], expected, atol=1e-6)


@both
def test_not_applied_during_training(cls):
    layer = cls(0.1, apply_during_training=False, level_initializer=0.5, return_state=True)
    x = uniform(2, 4, 3)
    start = uniform(2, *((2, 3) if cls is Alpha else (3,)), seed=3)
    y, state = layer(x, initial_state=start, training=True)
    assert_array_equal(numbers(y), x)
    assert_array_equal(numbers(state), start)
    y, state = layer(x, initial_state=start, training=False)
    assert not np.array_equal(numbers(y), x)
    assert len(layer.weights) == 2
    assert layer.trainable_weights == []
    layer.trainable = True
    assert layer.trainable_weights == []
    applied = cls(0.1, return_state=True)
    trained, _ = applied(x, initial_state=start, training=True)
    assert_array_equal(numbers(trained), numbers(y))
    assert len(applied.trainable_weights) == 2


def test_training_moves_tau_within_its_constraint():
    filters = [
        cls(0.05, dt=0.01, tau_constraint=Mean(), initial_level_constraint="non_neg")
        for cls in (Lowpass, Alpha)
    ]
    model = keras.Sequential([keras.Input((6, 4)), *filters])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    x = uniform(8, 6, 4)
    model.fit(x, x, epochs=2, verbose=0)
    for layer in filters:
        tau = numbers(layer.layer.cell.tau.value)
        assert (tau < 0.05).all()
        assert np.ptp(tau) == 0
        assert (numbers(layer.layer.cell.initial_level.value) >= 0).all()


@both
def test_initializers_of_every_form(cls):
    for tau in (1, 0.1, np.float32(0.1), "ones", keras.initializers.Constant(0.1)):
        layer = cls(tau, level_initializer="ones")
        layer(uniform(1, 2, 3))
        config = layer.get_config()
        assert isinstance(config["tau_initializer"], dict)
        again = cls(**config)
        again(uniform(1, 2, 3))
        assert_array_equal(numbers(again.layer.cell.tau.value), numbers(layer.layer.cell.tau.value))
    assert config["initial_level_constraint"] is None
    with pytest.raises(ValueError, match="nonsense"):
        cls("nonsense")
