"""What Keras does not offer on the JAX backend is refused with an error."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.spiking.callbacks import DtScheduler, SpikeRateMonitor  # noqa: E402
from kerasnsoc.spiking.cells import LowpassCell, SpikingActivationCell  # noqa: E402
from kerasnsoc.spiking.layers import IAF, Alpha, SpikingActivation  # noqa: E402
from tests.unit.spiking.helpers import compiled, model_of, numbers, uniform  # noqa: E402

pytestmark = [
    pytest.mark.keras,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs KERAS_BACKEND=jax"),
]


@pytest.mark.parametrize("cls", [SpikingActivation, Alpha])
def test_a_variable_step_in_compiled_functions(cls):
    dt = keras.Variable(0.5)
    x = uniform(2, 5, 3, low=0, high=9)

    def model():
        # Anew each time: Keras leaves a model of JAX without values when a call fails.
        made = model_of(layer(), None, 3)
        made.compile("sgd", "mse")
        return made

    def layer():
        return cls(0.1 if cls is Alpha else "relu", dt=dt, name="mine")

    message = r"dt of layer 'mine' is a Variable.*run_eagerly=True"
    for call in (
        lambda: model().predict(x, verbose=0),
        lambda: model().evaluate(x, x, verbose=0),
        lambda: compiled(layer(), "graph")(x),
    ):
        with pytest.raises(NotImplementedError, match=message):
            call()


@pytest.mark.parametrize("cls", [SpikingActivationCell, LowpassCell])
def test_a_variable_step_in_a_plain_loop(cls):
    dt = keras.Variable(0.5)
    inputs = keras.Input((None, 3))
    cell = cls(3, 0.1 if cls is LowpassCell else "relu", dt=dt, name="mine")
    loop = keras.layers.RNN(cell, return_sequences=True)
    model = keras.Model(inputs, loop(inputs))
    x = uniform(2, 5, 3, low=1, high=9)
    first = numbers(model(x))
    dt.assign(0.25)
    assert not np.array_equal(numbers(model(x)), first)
    with pytest.raises(NotImplementedError, match="dt of layer 'mine' is a Variable"):
        model.predict(x, verbose=0)


def test_a_variable_step_without_compilation():
    dt = keras.Variable(0.5)
    model = model_of(SpikingActivation("relu", dt=dt, seed=1), None, 3)
    model.compile("sgd", "mse", run_eagerly=True)
    x = uniform(2, 5, 3, low=0, high=9)
    for value in (0.5, 0.25):
        dt.assign(value)
        fixed = numbers(SpikingActivation("relu", dt=value, seed=1)(x))
        assert_array_equal(model.predict(x, verbose=0), fixed)
        assert_array_equal(numbers(model(x)), fixed)


def test_the_scheduler():
    dt = keras.Variable(1.0)
    model = keras.Sequential(
        [keras.Input((2, 3)), keras.layers.Dense(3), SpikingActivation("relu", dt=dt)]
    )
    x = uniform(8, 2, 3)
    callback = DtScheduler(dt, lambda step: 1 / (step + 1))
    model.compile("sgd", "mse")
    with pytest.raises(NotImplementedError, match=r"DtScheduler.*run_eagerly=True"):
        model.fit(x, x, callbacks=[callback], verbose=0)
    assert float(numbers(dt)) == 1
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(x, x, batch_size=2, callbacks=[callback], verbose=0)
    assert float(numbers(dt)) == 0.25


@pytest.mark.parametrize("is_eager", [False, True])
def test_kept_states(is_eager):
    x = uniform(3, 8, 4, high=5)
    layer = IAF(0.7, seed=2, stateful=True, name="mine")
    inputs = keras.Input(batch_shape=(3, None, 4))
    model = keras.Model(inputs, layer(inputs))
    model.compile("sgd", "mse", run_eagerly=is_eager)
    message = r"layer 'mine' is stateful.*model\(x\)"
    for call in (
        lambda: model.predict(x, batch_size=3, verbose=0),
        lambda: model.predict_on_batch(x),
        lambda: model.fit(x, x, batch_size=3, verbose=0),
        lambda: compiled(layer, "graph")(x),
    ):
        with pytest.raises(NotImplementedError, match=message):
            call()
    chunks = [numbers(model(part)) for part in (x[:, :3], x[:, 3:])]
    assert_array_equal(np.concatenate(chunks, 1), numbers(IAF(0.7, seed=2)(x)))


def test_the_monitor():
    model = keras.Sequential([keras.Input((2, 3)), keras.layers.Dense(3), IAF()])
    model.compile("sgd", "mse")
    x = uniform(4, 2, 3)
    with pytest.raises(NotImplementedError, match="JAX"):
        model.fit(x, x, callbacks=[SpikeRateMonitor()], verbose=0)
