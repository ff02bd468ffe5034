"""A schedule for the time step, and rates in the log."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

keras = pytest.importorskip("keras")

from kerasnsoc.spiking.callbacks import DtScheduler, SpikeRateMonitor  # noqa: E402
from kerasnsoc.spiking.layers import IAF, LIF, Lowpass, SpikingActivation  # noqa: E402
from tests.unit.spiking.helpers import numbers, uniform  # noqa: E402

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:The model does not have any trainable weights"),
]

# functions that JAX compiles keep the first value
EAGERLY = {"run_eagerly": True} if keras.backend.backend() == "jax" else {}
needs_counting = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="compiled steps of JAX do not count on the side"
)


class Recorder(keras.callbacks.Callback):
    """Keeps the value of a Variable after each batch, and before each evaluation."""

    def __init__(self, variable):
        super().__init__()
        self.variable = variable
        self.train, self.test = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.train.append(round(float(numbers(self.variable)), 6))

    def on_test_batch_end(self, batch, logs=None):
        self.test.append(round(float(numbers(self.variable)), 6))


def fit(dt, scheduler, batches=4, compile_options=None, generator=False, **options):
    layer = SpikingActivation("relu", dt=dt, seed=1)
    model = keras.Sequential([keras.Input((2, 3)), keras.layers.Dense(3), layer])
    model.compile("sgd", "mse", **EAGERLY, **(compile_options or {}))
    x = uniform(2 * batches, 2, 3)
    callback, recorder = DtScheduler(dt, scheduler), Recorder(dt)
    data = {"x": x, "y": x, "batch_size": 2}
    if generator:
        tf = pytest.importorskip("tensorflow")

        def batched():
            for i in range(batches):
                yield x[2 * i : 2 * i + 2], x[2 * i : 2 * i + 2]

        spec = tf.TensorSpec((None, 2, 3))
        data = {
            "x": tf.data.Dataset.from_generator(batched, output_signature=(spec, spec)),
            "shuffle": False,
        }
    model.fit(**data, **options, callbacks=[callback, recorder], verbose=0)
    return recorder


def variable(kind):
    if kind == "keras":
        return keras.Variable(0.0)
    tf = pytest.importorskip("tensorflow")

    return tf.Variable(0.0)


@pytest.mark.parametrize("kind", ["keras", "tensorflow"])
def test_golden_schedule(kind):
    dt = variable(kind)
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0, 16, 32], [1.0, 0.5, 0.25, 0.1])
    recorder = fit(dt, schedule, batches=16, epochs=3)
    assert recorder.train == [1] + [0.5] * 16 + [0.25] * 16 + [0.1] * 15
    assert float(numbers(dt)) == pytest.approx(0.1)


def test_steps_are_python_integers():
    seen = []
    fit(keras.Variable(1.0), lambda step: seen.append(step) or 0.5, epochs=2)
    assert seen == list(range(8))
    assert {type(step) for step in seen} == {int}


def test_training_that_is_taken_up_again():
    recorder = fit(keras.Variable(1.0), lambda step: step + 1.0, epochs=3, initial_epoch=2)
    assert recorder.train == [9, 10, 11, 12]


def test_several_steps_per_execution():
    recorder = fit(
        keras.Variable(1.0),
        lambda step: step + 1.0,
        batches=6,
        compile_options={"steps_per_execution": 2},
    )
    assert recorder.train == [1, 3, 5]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_of_unknown_length():
    dt = keras.Variable(1.0)
    x = uniform(2, 2, 3)
    recorder = fit(
        dt,
        lambda step: step + 1.0,
        generator=True,
        epochs=3,
        validation_data=(x, x),
        validation_batch_size=2,
    )
    assert recorder.train == list(range(1, 13))
    # Evaluation uses the value in force, and not that of a batch which never came.
    assert recorder.test == [4, 8, 12]
    assert float(numbers(dt)) == 12


def test_verbose_output(capsys):
    dt = keras.Variable(0.0625)
    callback = DtScheduler(dt, lambda step: 0.5, verbose=True)
    model = keras.Sequential([keras.Input((2, 3)), SpikingActivation("relu", dt=dt)])
    model.compile(loss="mse", **EAGERLY)
    x = uniform(2, 2, 3)
    model.fit(x, x, epochs=2, callbacks=[callback], verbose=0)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["DtScheduler epoch=0 dt=0.0625", "DtScheduler epoch=1 dt=0.5000"]


@pytest.mark.parametrize("dt", [0.1, np.array(0.1), None])
def test_only_a_variable_can_be_scheduled(dt):
    with pytest.raises(TypeError, match=r"stored as a `tf\.Variable`"):
        DtScheduler(dt, lambda step: 0.1)
    with pytest.raises(TypeError, match="function of the step"):
        DtScheduler(keras.Variable(0.1), 0.5)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_schedule_stays_above_zero(value):
    dt = keras.Variable(0.5)
    with pytest.raises(ValueError, match=r"scheduler returned .* at step 0"):
        fit(dt, lambda step: value)
    assert float(numbers(dt)) == 0.5


def monitored(model, x, y=None, callback=None, **options):
    model.compile(keras.optimizers.SGD(0.0), "mse", **options)
    y = model.predict(x, verbose=0) if y is None else y
    callback = callback or SpikeRateMonitor()
    history = model.fit(
        x, y, epochs=2, batch_size=4, callbacks=[callback], verbose=0, shuffle=False
    )
    return history.history


@needs_counting
def test_rates_and_step_are_logged():
    inputs = keras.Input((None, 3))
    y = SpikingActivation("linear", dt=0.01, seed=1, name="hidden")(inputs)
    outputs = IAF(0.5, dt=0.01, name="counts")(y)
    model = keras.Model(inputs, outputs)
    x = uniform(10, 20, 3, low=-80, high=200)  # the last batch is smaller
    history = monitored(model, x, jit_compile=True)
    # Seeded potentials belong to the place in the batch.
    batches = [x[i : i + 4] for i in range(0, 10, 4)]
    spikes = np.concatenate([numbers(model.layers[1](part)) for part in batches])
    assert_allclose(history["rate/hidden"], [np.abs(spikes).mean()] * 2, rtol=1e-6)
    counts = np.concatenate([numbers(model(part)) for part in batches])
    assert_allclose(history["rate/counts"], [counts.mean() / 0.01] * 2, rtol=1e-4)
    assert history["dt"] == [0.01, 0.01]
    assert {key for key in history if key.startswith("rate/")} == {"rate/hidden", "rate/counts"}


@needs_counting
def test_monitoring_leaves_no_trace():
    layer = SpikingActivation("relu", name="spikes")
    model = keras.Sequential([keras.Input((2, 3)), keras.layers.Dense(3), IAF(), layer])
    x = uniform(4, 2, 3)
    first = monitored(model, x, x, SpikeRateMonitor(["spikes"]))
    assert {key for key in first if "rate" in key} == {"rate/spikes"}
    assert layer.observer is None
    assert len(model.variables) == len(layer.variables) + 2
    history = model.fit(x, x, verbose=0).history
    assert set(history) == {"loss"}
    assert first["rate/spikes"][0] >= 0


@needs_counting
def test_evaluation_is_not_counted():
    layer = SpikingActivation("relu", name="spikes", seed=0, dt=0.1)
    model = keras.Sequential([keras.Input((2, 3)), layer])
    model.compile(loss="mse")
    x = np.zeros((4, 2, 3))
    history = model.fit(
        x,
        x,
        validation_data=(x + 50, x),
        epochs=2,
        callbacks=[SpikeRateMonitor()],
        verbose=0,
    ).history
    assert history["rate/spikes"] == [0, 0]


@needs_counting
def test_rates_of_training_without_spikes():
    layer = SpikingActivation("relu", name="r", spiking_aware_training=False)
    model = keras.Sequential([keras.Input((2, 3)), layer])
    x = uniform(4, 2, 3, low=0)
    assert_allclose(monitored(model, x, x)["rate/r"], [x.mean()] * 2, rtol=1e-6)


@needs_counting
def test_a_scheduled_step_is_the_one_of_each_batch():
    dt = keras.Variable(0.5)
    layer = IAF(1.0, dt=dt, name="counts")
    model = keras.Sequential([keras.Input((2, 3)), layer])
    model.compile(loss="mse")
    x = np.ones((4, 2, 3))
    history = model.fit(
        x,
        x,
        batch_size=2,
        callbacks=[DtScheduler(dt, lambda step: [0.5, 0.25][step]), SpikeRateMonitor()],
        verbose=0,
    ).history
    assert history["rate/counts"] == [3.0]  # one spike per step: 2 Hz, then 4 Hz
    assert history["dt"] == [0.25]


@needs_counting
def test_layers_with_steps_of_their_own_and_inside_others():
    inner = keras.Sequential([keras.Input((4, 3)), LIF(0.1, dt=0.5, name="inner")])
    frames = keras.layers.TimeDistributed(IAF(time_axis=False, dt=0.25, name="frames"))
    model = keras.Sequential(
        [keras.Input((4, 3)), inner, frames, SpikingActivation("relu", dt=0.5, name="last")]
    )
    x = uniform(4, 4, 3, low=0, high=4)
    history = monitored(model, x)
    rates = {key for key in history if key.startswith("rate/")}
    assert rates == {"rate/inner", "rate/frames", "rate/last"}
    steps = {key: values[0] for key, values in history.items() if key.startswith("dt")}
    assert sorted(steps.values()) in ([0.25, 0.5], [0.25, 0.25, 0.5], [0.25, 0.5, 0.5])


@needs_counting
def test_layers_that_are_not_there():
    model = keras.Sequential([keras.Input((2, 3)), IAF(name="here")])
    x = uniform(2, 2, 3)
    with pytest.raises(ValueError, match=r"no spiking layer 'there'.*spiking layers are: here"):
        monitored(model, x, x, SpikeRateMonitor(["there"]))
    with pytest.raises(ValueError, match=r"spiking layers are: none"):
        monitored(keras.Sequential([keras.Input((2, 3)), Lowpass(0.1)]), x, x)
