"""The time step: forms that are accepted, and Variables that change while a model runs."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.spiking import config  # noqa: E402
from kerasnsoc.spiking.layers import (  # noqa: E402
    IAF,
    LIF,
    Alpha,
    KerasSpikingCell,
    Lowpass,
    SpikingActivation,
)
from tests.unit.spiking.helpers import MODES, model_of, numbers, uniform  # noqa: E402

pytestmark = pytest.mark.keras


@pytest.fixture
def restore_default():
    before = config.default.dt
    yield
    config.default.dt = before


def variable(kind, value):
    if kind == "keras":
        return keras.Variable(value)
    tf = pytest.importorskip("tensorflow")

    return tf.Variable(value)


kinds = pytest.mark.parametrize("kind", ["keras", "tensorflow"])


@pytest.mark.usefixtures("restore_default")
def test_the_default_is_read_when_a_layer_is_made():
    assert config.default.dt == 0.001
    layer = SpikingActivation("relu")
    config.default.dt = 0.5
    assert layer.dt == 0.001
    layer(uniform(1, 2, 3))
    assert layer.layer.cell.dt == 0.001
    assert Lowpass(0.1).dt == 0.5
    assert KerasSpikingCell(3).dt == 0.5
    assert config.DefaultManager().dt == 0.001
    assert config.DefaultManager(dt=0.2).dt == 0.2


@pytest.mark.parametrize(
    "make",
    [
        lambda: 0.25,
        lambda: np.float32(0.25),
        lambda: np.array(0.25),
        lambda: keras.ops.convert_to_tensor(0.25),
    ],
)
def test_numbers_of_all_kinds(make):
    layer = SpikingActivation("relu", dt=make())
    assert layer.dt == 0.25
    assert type(layer.dt) is float
    assert LIF(0.1, dt=1).dt == 1.0


@pytest.mark.parametrize("dt", [0, -0.1, float("nan"), float("inf"), np.array(0.0)])
def test_numbers_out_of_range(dt):
    with pytest.raises(ValueError, match=r"dt of layer 'mine'.*greater than 0"):
        SpikingActivation("relu", dt=dt, name="mine")
    with pytest.raises(ValueError, match="dt of cell"):
        KerasSpikingCell(3, dt=dt)


def test_things_that_are_no_number():
    for dt in ("0.1", True, object(), [None]):
        with pytest.raises(TypeError, match=r"dt of layer.*number"):
            SpikingActivation("relu", dt=dt)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        SpikingActivation("relu", dt=[0.1, 0.2])
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        SpikingActivation("relu", dt=keras.Variable([0.1, 0.2]))


def test_a_symbolic_tensor_is_refused():
    tf = pytest.importorskip("tensorflow")

    @tf.function
    def make(dt):
        SpikingActivation("relu", dt=dt)

    with pytest.raises(TypeError, match=r"not known now.*keras\.Variable"):
        make(tf.constant(0.1))


@kinds
@pytest.mark.parametrize("mode", MODES)
def test_a_variable_is_read_at_every_call(kind, mode):
    dt = variable(kind, 0.0)
    for layer in (SpikingActivation("relu", dt=dt, seed=1), Alpha(0.1, dt=dt)):
        assert layer.dt is dt
        x = uniform(2, 5, 3, high=9)
        dt.assign(0.5)
        layer(x)
        tf = pytest.importorskip("tensorflow")

        call = layer if mode == "eager" else tf.function(layer, jit_compile=mode == "xla")
        for value in (0.25, 0.125):
            dt.assign(value)
            fixed = type(layer)(**{**layer.get_config(), "dt": value})
            assert_allclose(numbers(call(x)), numbers(fixed(x)), atol=1e-6)


@kinds
def test_a_variable_is_not_a_weight(kind):
    dt = variable(kind, 0.1)
    layer = Lowpass(0.1, dt=dt)
    model = model_of(layer, 4, 3)
    assert len(layer.weights) == len(layer.variables) == len(model.weights) == 2
    assert layer.get_config()["dt"] == pytest.approx(0.1)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    x = uniform(2, 4, 3)
    model.fit(x, x, verbose=0)
    assert float(numbers(dt)) == pytest.approx(0.1)


@kinds
@pytest.mark.parametrize("jit", [False, True])
def test_compiled_functions_follow_a_variable(kind, jit):
    dt = variable(kind, 0.5)
    model = model_of(SpikingActivation("relu", dt=dt, seed=1), None, 3)
    model.compile("sgd", "mse", jit_compile=jit)
    x = uniform(2, 5, 3, low=0, high=9)
    for value in (0.5, 0.25):
        dt.assign(value)
        y = model.predict(x, verbose=0)
        assert_array_equal(np.rint(y * value), y * value)
        fixed = SpikingActivation("relu", dt=value, seed=1)
        assert_array_equal(y, numbers(fixed(x)))


def test_counts_do_not_depend_on_the_step():
    x = uniform(2, 5, 3, high=3)
    assert_array_equal(numbers(IAF(dt=0.1)(x)), numbers(IAF(dt=7.0)(x)))
