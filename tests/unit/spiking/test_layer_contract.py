"""What every layer over time must do, checked on all of them."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.spiking.layers import (  # noqa: E402
    IAF,
    LIF,
    Alpha,
    KerasSpikingCell,
    KerasSpikingLayer,
    Lowpass,
    SpikingActivation,
)
from tests.layer_test import check_layer  # noqa: E402
from tests.unit.spiking.helpers import MODES, model_of, numbers, run, uniform  # noqa: E402

pytestmark = pytest.mark.keras

LAYERS = {
    "spiking": lambda **kw: SpikingActivation("relu", seed=1, dt=0.1, **kw),
    "lowpass": lambda **kw: Lowpass(0.01, level_initializer=0.5, **kw),
    "alpha": lambda **kw: Alpha(0.01, level_initializer=0.5, **kw),
    "iaf": lambda **kw: IAF(0.7, seed=2, min_v=-1.0, **kw),
    "lif": lambda **kw: LIF(0.01, 0.7, **kw),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@pytest.mark.parametrize(
    ("cls", "kwargs", "variables"),
    [
        (SpikingActivation, {"activation": "softplus", "dt": 0.1, "seed": 3}, []),
        (
            Lowpass,
            {"tau_initializer": 0.01, "level_initializer": "ones", "tau_constraint": "non_neg"},
            ["loop/cell/initial_level", "loop/cell/tau"],
        ),
        (
            Alpha,
            {"tau_initializer": 0.01, "level_initializer": "ones"},
            ["loop/cell/initial_level", "loop/cell/tau"],
        ),
        (IAF, {"threshold": 0.5, "spike_fn": ("max", 2), "surrogate": "arctan"}, []),
        (LIF, {"tau": 0.01, "threshold": 0.5, "reset": "zero", "seed": 4}, []),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_layer(cls, kwargs, variables, tmp_path):
    shape = (4, 2, 2, 3)
    check_layer(cls, kwargs, shape, output_shape=shape, variables=variables, tmp_path=tmp_path)


@every_layer
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("return_state", [False, True])
def test_shapes_are_the_same_unbuilt_symbolic_and_eager(
    make, time_major, return_sequences, return_state
):
    size = (2, 3)
    layer = make(
        time_major=time_major, return_sequences=return_sequences, return_state=return_state
    )
    shape = (5, 4, *size) if time_major else (4, 5, *size)
    y_shape = shape if return_sequences else (4, *size)
    state_shape = (4, 2, np.prod(size)) if isinstance(layer, Alpha) else (4, *size)
    expected = (y_shape, state_shape) if return_state else y_shape
    assert layer.compute_output_shape(shape) == expected
    assert not layer.built
    symbolic = layer(keras.Input(batch_shape=shape))
    values = layer(uniform(*shape))
    if not return_state:
        symbolic, values, expected = [symbolic], [values], [expected]
    assert [tuple(t.shape) for t in symbolic] == list(expected)
    assert [tuple(t.shape) for t in values] == list(expected)


@every_layer
def test_undefined_batch_and_time_stay_undefined(make):
    layer = make(return_state=True)
    y, state = layer(keras.Input((None, 3)))
    assert y.shape == (None, None, 3)
    assert state.shape[0] is None
    assert layer(keras.Input((None, 3)), initial_state=state)[0].shape == (None, None, 3)


@every_layer
def test_time_major_is_the_transpose(make):
    x = uniform(4, 6, 2, 3)
    y, state = make(return_state=True)(x)
    other, other_state = make(return_state=True, time_major=True)(x.swapaxes(0, 1))
    assert_array_equal(numbers(y), numbers(other).swapaxes(0, 1))
    assert_array_equal(numbers(state), numbers(other_state))


@every_layer
def test_last_step_and_unrolled_loop(make):
    x = uniform(4, 6, 3)
    y = numbers(make()(x))
    assert_array_equal(numbers(make(return_sequences=False)(x)), y[:, -1])
    unrolled = numbers(model_of(make(unroll=True), 6, 3)(x))
    if keras.backend.backend() == "jax":
        # XLA may fuse products and sums of one program and not of the other.
        assert_allclose(unrolled, y, rtol=1e-6)
    else:
        assert_array_equal(unrolled, y)


@every_layer
def test_eager_graph_and_xla_agree(make):
    x = uniform(4, 50, 3, low=-30, high=60)
    layer = make(return_state=True)
    layer(x[:, :1])
    eager = run(layer, "eager", x)
    for mode in MODES[1:]:
        for ours, theirs in zip(run(layer, mode, x), eager, strict=True):
            if "spik" in layer.name or isinstance(layer, IAF | LIF):
                assert_array_equal(ours, theirs)
            else:
                # Products and sums may be fused: some units in the last place of the largest.
                assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max())


@every_layer
def test_state_goes_in_and_out(make):
    x = uniform(4, 6, 3)
    layer = make(return_state=True)
    whole, end = layer(x)
    first, middle = layer(x[:, :2])
    for given in (middle, [middle], numbers(middle)):
        second, last = layer(x[:, 2:], initial_state=given)
        assert_array_equal(np.concatenate([numbers(first), numbers(second)], 1), numbers(whole))
        assert_array_equal(numbers(last), numbers(end))


@every_layer
def test_symbolic_initial_state(make):
    layer = make(return_state=True)
    inputs = keras.Input((None, 3))
    _, state = layer(inputs)
    model = keras.Model(inputs, layer(inputs, initial_state=state))
    x = uniform(2, 4, 3)
    again = layer(x, initial_state=layer(x)[1])
    for ours, theirs in zip(model(x), again, strict=True):
        assert_array_equal(numbers(ours), numbers(theirs))


@pytest.mark.parametrize(("name", "jit"), [("spiking", True), ("alpha", False)])
def test_fit_on_sequences_of_different_lengths(name, jit):
    make = LAYERS[name]
    model = keras.Sequential([keras.Input((None, 2, 3)), keras.layers.Dense(3), make()])
    model.compile("sgd", "mse", jit_compile=jit)
    for length in (3, 7):
        x = uniform(4, length, 2, 3)
        history = model.fit(x, x, verbose=0)
        assert np.isfinite(history.history["loss"]).all()
    assert model.predict(uniform(4, 5, 2, 3), verbose=0).shape == (4, 5, 2, 3)


@every_layer
def test_mask_freezes_the_state_and_repeats_the_output(make):
    x = uniform(2, 6, 3, low=0.2)
    mask = np.array([[1, 1, 0, 0, 1, 1], [1, 0, 1, 1, 1, 0]], bool)
    layer = make(return_state=True)
    y, state = (numbers(t) for t in layer(x, mask=mask))
    for sample in range(2):
        kept = x[sample][mask[sample]]
        start = layer.layer.cell.get_initial_state(batch_size=2)[0][sample : sample + 1]
        if isinstance(layer, Alpha):
            start = keras.ops.reshape(start, (1, 2, 3))
        short, end = layer(kept[None], initial_state=start)
        steps = np.cumsum(mask[sample]) - 1
        assert_array_equal(y[sample], numbers(short)[0][steps])
        assert_array_equal(state[sample], numbers(end)[0])
    major = make(return_state=True, time_major=True)
    assert_array_equal(numbers(major(x.swapaxes(0, 1), mask=mask.T)[0]).swapaxes(0, 1), y)


@every_layer
@pytest.mark.parametrize("return_sequences", [False, True])
def test_mask_holds_whatever_the_rank(make, return_sequences):
    x = uniform(2, 5, 2, 2, 3, low=0.2)
    mask = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]], bool)
    y = numbers(make(return_sequences=return_sequences)(x, mask=mask))
    flat = numbers(make(return_sequences=return_sequences)(x.reshape(2, 5, 12), mask=mask))
    assert_array_equal(y.reshape(flat.shape), flat)


@every_layer
@pytest.mark.parametrize("return_sequences", [False, True])
def test_mask_of_a_masking_layer_arrives_and_goes_on(make, return_sequences):
    layer = make(return_sequences=return_sequences)
    x = uniform(2, 4, 3, low=0.2)
    x[:, 2:] = 0
    masked = keras.layers.Masking()(x)
    y = layer(masked)
    assert_array_equal(numbers(y), numbers(layer(x, mask=(x != 0).any(-1))))
    if return_sequences:
        assert_array_equal(numbers(y._keras_mask), [[True, True, False, False]] * 2)
    else:
        assert getattr(y, "_keras_mask", None) is None
    # Also beside a second tensor argument, where Keras does not look for it.
    state = layer.layer.cell.get_initial_state(batch_size=2)[0]
    if isinstance(layer, Alpha):
        state = keras.ops.reshape(state, (2, 2, 3))
    assert_array_equal(numbers(layer(masked, initial_state=state)), numbers(y))


@every_layer
def test_half_precision_policies_compute_in_single_precision(make):
    # Halves hold these inputs exactly, so that only the output is rounded.
    x = np.round(uniform(2, 40, 3, low=0, high=4) * 8) / 8
    expected, state = (numbers(t) for t in make(return_state=True)(x))
    for policy in ("mixed_bfloat16", "float16"):
        half, half_state = make(return_state=True, dtype=policy)(x)
        assert half.dtype.name == policy.removeprefix("mixed_")
        assert_array_equal(numbers(half), numbers(keras.ops.cast(expected, half.dtype)))
        assert half_state.dtype.name == "float32"
        assert_array_equal(numbers(half_state), state)
    symbolic = make(return_state=True, dtype="mixed_float16")(keras.Input((3, 3)))
    assert [t.dtype for t in symbolic] == ["float16", "float32"]


@every_layer
def test_double_precision(make):
    x = uniform(2, 40, 3, low=0, high=4)
    single = numbers(make()(x))
    double = numbers(make(dtype="float64")(x.astype("float64")))
    assert double.dtype == np.float64
    assert np.mean(np.abs(double - single) < 1e-4) > 0.98  # a spike may move by a step


@every_layer
def test_trainable_reaches_the_weights(make):
    layer = make(trainable=False)
    model = model_of(layer, 4, 3)
    assert model.trainable_weights == []
    assert layer.layer.cell.trainable is False
    layer.trainable = True
    assert len(model.trainable_weights) == len(layer.weights)
    layer.trainable = False
    assert model.trainable_weights == []


@every_layer
def test_configuration_is_json_and_takes_the_constructor(make):
    layer = make(return_state=True, time_major=True, unroll=True, stateful=True, name="mine")
    config = json.loads(json.dumps(layer.get_config()))
    twin = type(layer)(**{**config, "dt": 0.5})
    assert twin.dt == 0.5
    assert twin.get_config() == {**config, "dt": 0.5}
    assert type(layer).from_config(config).get_config() == config


@every_layer
def test_an_activity_regularizer_sees_every_output(make):
    plain = make(activity_regularizer="l1", return_state=True)
    y, state = plain(uniform(4, 5, 3))
    expected = 0.01 * (np.abs(numbers(y)).sum() + np.abs(numbers(state)).sum()) / 4
    assert_allclose(sum(float(loss) for loss in plain.losses), expected, rtol=1e-5)
    config = plain.get_config()
    assert type(plain)(**config).get_config() == config


@every_layer
def test_wrong_inputs_are_refused_by_name(make):
    with pytest.raises(ValueError, match=r"'mine' got an input of shape \(None, 4\).*three"):
        make(name="mine")(keras.Input((4,)))
    with pytest.raises(ValueError, match=r"'mine'.*\(None, 4, None\).*Define the feature axes"):
        make(name="mine")(keras.Input((4, None)))
    with pytest.raises(ValueError, match=r"'mine'.*\(2, 4\)"):
        make(name="mine").compute_output_shape((2, 4))
    with pytest.raises(ValueError, match="constants"):
        make()(uniform(2, 3, 4), constants=uniform(2, 4))
    with pytest.raises(ValueError, match="constants"):
        make()(keras.Input((3, 4)), constants=keras.Input((4,)))
    with pytest.raises(ValueError, match="nonsense"):
        make(nonsense=1)


@every_layer
def test_wrong_states_are_refused(make):
    layer = make()
    x = uniform(2, 3, 4)
    layer(x)
    with pytest.raises(ValueError, match=r"state of shape \(2, 7\), but it must be \(2, "):
        layer(x, initial_state=uniform(2, 7))
    with pytest.raises(ValueError, match="has one state, but got a list of 2"):
        layer(x, initial_state=[uniform(2, 4), uniform(2, 4)])


@every_layer
def test_loops_that_need_a_fixed_shape(make):
    with pytest.raises(ValueError, match="cannot unroll"):
        make(unroll=True)(keras.Input((None, 3)))
    with pytest.raises(ValueError, match="stateful and needs a fixed batch size"):
        make(stateful=True)(keras.Input((4, 3)))
    # Not the time axis, if time comes first.
    make(unroll=True, time_major=True)(keras.Input(batch_shape=(4, None, 3)))


def test_base_classes_leave_the_work_to_others():
    cell = KerasSpikingCell(3, always_use_inference=False)
    x, states = uniform(2, 3), [uniform(2, 3)]
    with pytest.raises(NotImplementedError, match="call_inference"):
        cell(x, states, training=False)
    with pytest.raises(NotImplementedError, match="call_training"):
        cell(x, states, training=True)
    with pytest.raises(NotImplementedError, match="build_cell"):
        KerasSpikingLayer()(uniform(2, 3, 4))


class Shape:
    def as_list(self):
        return [2, 3]


@pytest.mark.parametrize(
    ("size", "expected", "output_size"),
    [(4, (4,), 4), ((4,), (4,), 4), ([2, 3], (2, 3), (2, 3)), (Shape(), (2, 3), (2, 3))],
)
def test_cell_sizes(size, expected, output_size):
    cell = KerasSpikingCell(size)
    assert cell.size == expected
    assert cell.output_size == output_size
    assert cell.state_size == np.prod(expected)
    assert isinstance(cell.state_size, int)
    assert KerasSpikingCell(size, state_size=7).state_size == 7
    assert numbers(cell.get_initial_state(batch_size=2)[0]).shape == (2, *expected)
    assert numbers(cell.get_initial_state(uniform(5, 1))[0]).shape == (5, *expected)
    config = cell.get_config()
    assert config["size"] == list(expected)
    assert config["dt"] == 0.001


@pytest.mark.parametrize("size", [0, -1, (2, 0), (), 2.0, (2, None), "3", True, None])
def test_bad_cell_sizes(size):
    with pytest.raises(ValueError, match="positive integer"):
        KerasSpikingCell(size)


def test_a_state_needs_a_batch_size():
    with pytest.raises(ValueError, match="needs batch_size or inputs"):
        KerasSpikingCell(3).get_initial_state()


@keras.saving.register_keras_serializable(package="tests")
class Doubling(KerasSpikingCell):
    """A cell as users write them: counts its steps, doubles in training."""

    def call_training(self, inputs, states):
        return 2 * inputs, [states[0]]

    def call_inference(self, inputs, states):
        return inputs, [states[0] + 1]


class DoublingLayer(KerasSpikingLayer):
    def build_cell(self, input_shape):
        return Doubling(input_shape[2:], always_use_inference=False, dt=self.dt)


def test_phase_switch_of_a_users_cell():
    tf = pytest.importorskip("tensorflow")

    x = uniform(2, 4, 3)
    layer = DoublingLayer(return_state=True)
    for training in (False, None, 0, np.False_):
        y, steps = layer(x, training=training)
        assert_array_equal(numbers(y), x)
        assert_array_equal(numbers(steps), np.full((2, 3), 4.0))
    for training in (True, 1, np.True_):
        y, steps = layer(x, training=training)
        assert_array_equal(numbers(y), 2 * x)
        assert not numbers(steps).any()
    for mode in MODES:
        for phase in (False, True):
            y, _ = run(lambda x, p: layer(x, training=p), mode, x, phase)
            assert_array_equal(y, (1 + phase) * x)
    gradients = tf.function(lambda x, phase: tf.gradients(layer(x, training=phase)[0], x)[0])
    assert_array_equal(numbers(gradients(tf.constant(x), tf.constant(True))), 2)


def test_a_users_cell_is_frozen_with_its_layer():
    class Plain(KerasSpikingLayer):
        def build_cell(self, input_shape):
            return Lowpass(0.1).build_cell(input_shape)

    layer = Plain(trainable=False)
    model = model_of(layer, 4, 3)
    assert model.trainable_weights == []
    layer.trainable = True
    assert len(model.trainable_weights) == 2


def test_cells_work_in_a_plain_recurrent_layer():
    x = uniform(2, 5, 3)
    for cell, layer in (
        (Lowpass(0.01).build_cell((None, None, 3)), Lowpass(0.01)),
        (Alpha(0.01).build_cell((None, None, 3)), Alpha(0.01)),
        (IAF().build_cell((None, None, 3)), IAF()),
        (
            SpikingActivation("relu", seed=1).build_cell((None, None, 3)),
            SpikingActivation("relu", seed=1),
        ),
    ):
        plain = keras.layers.RNN(cell, return_sequences=True, return_state=True)
        model = model_of(plain, 5, 3)
        y, state = model(x)
        assert_array_equal(numbers(y), numbers(layer(x)))
        assert model.outputs[1].shape == (None, cell.state_size)
        assert state.shape == (2, cell.state_size)


def test_models_that_are_built_by_their_data():
    x = uniform(4, 5, 3)
    model = keras.Sequential([keras.layers.Dense(3), SpikingActivation("relu"), Lowpass(0.1)])
    model.compile("sgd", "mse")
    model.fit(x, x, verbose=0)
    assert model.predict(x, verbose=0).shape == x.shape
    assert len(model.weights) == 4


def test_time_distributed_frames():
    frames = uniform(2, 3, 4, 5)
    wrapped = keras.layers.TimeDistributed(Lowpass(0.01))
    assert_array_equal(numbers(wrapped(frames))[:, 1], numbers(Lowpass(0.01)(frames[:, 1])))
