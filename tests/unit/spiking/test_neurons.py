"""Integrate-and-fire neurons against plain loops, and their surrogate gradients."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.spiking import surrogates  # noqa: E402
from kerasnsoc.spiking.layers import IAF, LIF, IAFCell, LIFCell  # noqa: E402
from tests.unit.spiking.helpers import (  # noqa: E402
    gradient,
    model_of,
    numbers,
    run,
    uniform,
)

pytestmark = pytest.mark.keras


def integers(x, theta, low, most, is_subtract):
    """An integrate-and-fire loop on int64."""
    v, outputs = np.zeros(x.shape[0::2], "i8"), []
    for step in x.swapaxes(0, 1).astype("i8"):
        v = v + step
        n = np.maximum(v // theta, 0)
        n = n if most is None else np.minimum(n, most)
        v = v - n * theta if is_subtract else np.where(n > 0, 0, v)
        v = v if low is None else np.maximum(v, low)
        outputs.append(n)
    return np.stack(outputs, 1), v


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize(
    ("spike_fn", "most", "mode"),
    [
        ("multi", None, "eager"),
        ("multi", None, "graph"),
        ("multi", None, "xla"),
        ("single", 1, "eager"),
        ("single", 1, "xla"),
        (("max", 3), 3, "eager"),
        (["max", 1], 1, "eager"),
    ],
)
def test_whole_numbers_are_exact(spike_fn, most, reset, mode):
    rng = np.random.default_rng(0)
    cases = ((41, -7), (1, None), (1000, -4000))
    for theta, low in cases if mode == "eager" else cases[:1]:
        x = rng.integers(-3 * theta, 5 * theta, (3, 12, 7))
        x[0] = theta * rng.integers(-2, 4, x[0].shape)  # on the threshold
        layer = IAF(theta, min_v=low, reset=reset, spike_fn=spike_fn, return_state=True)
        layer(x)
        y, state = run(layer, mode, x.astype("float32"))
        expected, rest = integers(x, theta, low, most, reset == "subtract")
        assert_array_equal(y, expected)
        assert_array_equal(state, rest)


def test_leak_against_a_plain_loop():
    x = uniform(4, 60, 5, low=-1, high=3)
    for scale_input in (True, False):
        layer = LIF(0.01, 0.8, min_v=-0.5, scale_input=scale_input, dt=0.002)
        beta = np.exp(-0.002 / 0.01)
        v, expected = np.zeros((4, 5)), []
        for step in x.swapaxes(0, 1):
            v = beta * v + (1 - beta if scale_input else 1) * step
            n = np.maximum(np.floor(v / 0.8), 0)
            v = np.maximum(v - 0.8 * n, -0.5)
            expected.append(n)
        assert_array_equal(numbers(layer(x)), np.stack(expected, 1))
        assert np.max(expected) >= (1 if scale_input else 3)


def test_a_constant_input_is_what_the_potential_tends_to():
    x = np.full((1, 400, 1), 0.9, "float32")
    _, state = run(model_of(LIF(0.02, return_state=True), None, 1), "graph", x)
    assert_allclose(state, 0.9, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 10.0])
@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("fast_sigmoid", lambda u, k: 1 / (1 + k * abs(u)) ** 2),
        ("arctan", lambda u, k: k / 2 / (1 + (np.pi / 2 * k * u) ** 2)),
        ("sigmoid", lambda u, k: k / (2 + np.exp(k * u) + np.exp(-k * u))),
        ("triangle", lambda u, k: k * np.maximum(0, 1 - k * abs(u))),
        ("boxcar", lambda u, k: k / 2 * (abs(k * u) < 1)),
        ("straight_through", lambda u, k: np.ones_like(u)),
    ],
)
def test_surrogates(name, slope, scale):
    u = np.linspace(-2.97, 2.97, 100).astype("float32")
    expected = slope(u.astype("f8"), scale)
    (found,) = gradient(lambda u: surrogates.get(name)(u, scale), u)
    assert_allclose(found, expected, atol=1e-5)
    # The same derivative reaches a neuron, at the distance from its threshold.
    layer = IAF(0.5, surrogate=name, surrogate_scale=scale, spike_fn="single")
    (found,) = gradient(layer, (u + 0.5)[None, None])
    assert_allclose(found.ravel(), expected, atol=1e-5)


def test_the_nearest_threshold_counts_for_several_spikes():
    v = np.array([-0.7, 0.2, 0.99, 1.4, 1.6, 3.1], "float32")
    near = np.array([1, 1, 1, 1, 2, 3])
    for spike_fn, most in (("multi", 99), (("max", 2), 2)):
        (found,) = gradient(IAF(spike_fn=spike_fn), v[None, None])
        expected = 1 / (1 + 10 * np.abs(v - np.minimum(near, most))) ** 2
        assert_allclose(found.ravel(), expected, rtol=1e-4)


def test_gradients_flow_through_time_and_not_through_resets():
    layer = IAF(surrogate_scale=1.0)
    x = np.array([[[0.4], [0.3], [0.8], [0.1]]], "float32")
    (found,) = gradient(lambda x: layer(x)[:, -1], x)
    # The last potential is 0.6, one threshold below the sum of all inputs: slope 1 / 1.4**2 to all.
    assert_allclose(found.ravel(), 1 / 1.4**2, rtol=1e-5)
    (found,) = gradient(lambda x: IAF(surrogate_scale=1.0, reset="zero")(x)[:, -1], x)
    assert_allclose(found.ravel(), [0, 0, 0, 1 / 1.9**2], rtol=1e-5)
    (found,) = gradient(lambda x: IAF(surrogate_scale=1.0, min_v=0.0)(x)[:, -1], -x)
    assert_allclose(found.ravel(), [0, 0, 0, 1 / 2.1**2], rtol=1e-5)


def test_training_learns():
    keras.utils.set_random_seed(1)
    x = uniform(64, 10, 8, low=0)
    y = (x[:, :, 0].mean(1) > x[:, :, 1].mean(1)).astype("int32")
    model = keras.Sequential(
        [
            keras.Input((None, 8)),
            keras.layers.Dense(16),
            LIF(0.01, 0.1),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.03),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
    )
    losses = model.fit(x, y, batch_size=64, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_frames_make_one_step():
    frames = uniform(3, 4, 4, 2, low=-2, high=6)
    layer = IAF(1.5, time_axis=False, return_state=True)
    y, state = layer(frames)
    sequence, end = IAF(1.5, return_state=True)(frames[:, None])
    assert_array_equal(numbers(y), numbers(sequence)[:, 0])
    assert_array_equal(numbers(state), numbers(end))
    assert layer.compute_output_shape((None, 4, 4, 2)) == ((None, 4, 4, 2), (None, 4, 4, 2))
    assert IAF(time_axis=False, return_sequences=False)(frames).shape == (3, 4, 4, 2)
    vector = keras.Sequential([keras.Input((5,)), IAF(time_axis=False)])
    assert vector.output_shape == (None, 5)
    with pytest.raises(ValueError, match=r"shape \(None,\).*two axes"):
        IAF(time_axis=False).compute_output_shape((None,))
    with pytest.raises(ValueError, match="contradict"):
        IAF(time_axis=False, time_major=True)


def test_frames_under_a_wrapper_do_not_remember():
    model = keras.Sequential(
        [keras.Input((3, 4, 4, 1)), keras.layers.TimeDistributed(IAF(time_axis=False))]
    )
    x = uniform(2, 3, 4, 4, 1, high=3)
    expected = [numbers(IAF()(x[:, t : t + 1]))[:, 0] for t in range(3)]
    assert_array_equal(model.predict(x, verbose=0), np.stack(expected, 1))


def test_frames_of_a_stateful_layer_go_on():
    layer = IAF(time_axis=False, stateful=True)
    x = uniform(2, 6, 3, high=2)
    steps = [numbers(layer(x[:, t])) for t in range(6)]
    assert_array_equal(np.stack(steps, 1), numbers(IAF()(x)))


@pytest.mark.parametrize("cls", [IAFCell, lambda *a, **k: LIFCell(a[0], 0.1, *a[1:], **k)])
def test_starts(cls):
    assert not numbers(cls((2, 3)).get_initial_state(batch_size=4)[0]).any()
    start = numbers(cls((2, 3), 5.0, seed=1).get_initial_state(batch_size=40)[0])
    assert start.shape == (40, 2, 3)
    assert start.min() >= 0
    assert 4 < start.max() < 5
    cell = cls((2, 3), 5.0, seed=1, spike_fn=("max", 4))
    assert type(cell).from_config(cell.get_config()).get_config() == cell.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0}, "threshold.*greater than 0"),
        ({"threshold": -1.0}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": None}, "threshold"),
        ({"min_v": 0.1}, "min_v.*at most 0"),
        ({"min_v": -float("inf")}, "min_v"),
        ({"reset": "none"}, "reset.*'none'.*subtract.*zero"),
        ({"spike_fn": "many"}, r"spike_fn.*'multi', 'single' or \('max', n\)"),
        ({"spike_fn": ("max", 0)}, "spike_fn"),
        ({"spike_fn": ("max", 1.5)}, "spike_fn"),
        ({"spike_fn": ("max",)}, "spike_fn"),
        ({"surrogate": "nonsense"}, "surrogate is 'nonsense'.*fast_sigmoid"),
        ({"surrogate_scale": 0}, "surrogate_scale"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        IAF(**arguments)
    with pytest.raises(ValueError, match=message):
        LIF(0.1, **arguments)


@pytest.mark.parametrize("tau", [0, -1, float("inf"), "0.1"])
def test_the_leak_is_checked(tau):
    with pytest.raises(ValueError, match="tau"):
        LIF(tau)


def test_files_of_either_format_keep_text_arguments(tmp_path):
    # The HDF5 loader of Keras takes text like "subtract" or "sigmoid" for its functions.
    model = keras.Sequential(
        [
            keras.Input((4, 3)),
            IAF(0.5, reset="subtract", surrogate="sigmoid", spike_fn=("max", 2)),
            LIF(0.1, reset="zero", surrogate="arctan", scale_input=False),
        ]
    )
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        loaded = keras.models.load_model(tmp_path / name)
        for ours, theirs in zip(loaded.layers, model.layers, strict=True):
            assert ours.get_config() == theirs.get_config()
