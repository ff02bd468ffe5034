"""Laws of spiking layers that hold for any input."""

import json

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.energy._columns import layout  # noqa: E402
from kerasnsoc.spiking.layers import (  # noqa: E402
    IAF,
    LIF,
    Alpha,
    Lowpass,
    SpikingActivation,
    SumPooling2D,
)
from kerasnsoc.spiking.regularizers import L1L2, Percentile  # noqa: E402
from tests.unit.spiking.helpers import numbers, spiking  # noqa: E402
from tests.unit.spiking.test_neurons import integers  # noqa: E402
from tests.unit.spiking.test_pooling import reference  # noqa: E402

pytestmark = pytest.mark.keras


def arrays(low, high, min_time=1):
    """(batch, time, units) in single precision."""
    shapes = st.tuples(st.integers(1, 2), st.integers(min_time, 6), st.integers(1, 3))
    numbers = st.floats(low, high, width=32, allow_subnormal=False)
    return shapes.flatmap(lambda shape: npst.arrays("float32", shape, elements=numbers))


def whole(low, high):
    shapes = st.tuples(st.integers(1, 2), st.integers(1, 8), st.integers(1, 3))
    return shapes.flatmap(lambda s: npst.arrays("int64", s, elements=st.integers(low, high)))


@given(
    rates=whole(-(2**12), 2**12),
    start=st.integers(0, 2**6 - 1),
    exponent=st.integers(-6, 0),
)
def test_the_number_of_spikes_is_the_whole_part_of_the_sum(rates, start, exponent):
    # Sixty-fourths times powers of two: no rounding anywhere.
    dt = 2.0**exponent
    layer = SpikingActivation("linear", dt=dt, return_state=True)
    v0 = np.full(rates.shape[0::2], start / 64, "float32")
    y, state = layer(rates.astype("float32"), initial_state=v0)
    counts = np.cumsum(numbers(y) * dt, axis=1)
    sums = start / 64 + np.cumsum(rates, axis=1) * dt
    assert_array_equal(counts, np.floor(sums))
    assert_array_equal(numbers(state), (sums - np.floor(sums))[:, -1])


@given(x=arrays(-50, 3000), dt=st.sampled_from([1e-3, 3e-3, 0.0123, 0.1, 1.0]))
def test_spikes_are_those_of_a_plain_loop(x, dt):
    start = np.linspace(0, 0.99, x[:, 0].size, dtype="float32").reshape(x[:, 0].shape)
    layer = SpikingActivation("relu", dt=dt, return_state=True)
    y, state = layer(x, initial_state=start)
    expected, rest = spiking(np.maximum(x, 0), start, dt)
    assert_array_equal(numbers(y), expected)
    assert_array_equal(numbers(state), rest)


@given(x=arrays(-3000, 3000), dt=st.floats(1e-5, 10))
@example(x=np.array([[[-1e-9], [0.0]]], "float32"), dt=1.0)
def test_potentials_stay_in_the_unit_interval(x, dt):
    layer = SpikingActivation("linear", dt=dt, seed=1, return_state=True)
    state = numbers(layer(x)[1])
    assert ((state >= 0) & (state < 1)).all()


MAKERS = {
    "spiking": lambda: SpikingActivation("relu", dt=0.1, return_state=True, seed=1),
    "lowpass": lambda: Lowpass(0.01, return_state=True, level_initializer=0.3),
    "alpha": lambda: Alpha(0.01, return_state=True, level_initializer=0.3),
    "iaf": lambda: IAF(1.5, return_state=True, min_v=-1.0),
    "lif": lambda: LIF(0.01, 0.3, return_state=True, reset="zero"),
}


@given(name=st.sampled_from(list(MAKERS)), x=arrays(-5, 20, min_time=2), data=st.data())
def test_any_split_gives_the_whole(name, x, data):
    cut = data.draw(st.integers(1, x.shape[1] - 1))
    layer = MAKERS[name]()
    y, end = layer(x)
    first, middle = layer(x[:, :cut])
    second, last = layer(x[:, cut:], initial_state=middle)
    assert_array_equal(np.concatenate([numbers(first), numbers(second)], 1), numbers(y))
    assert_array_equal(numbers(last), numbers(end))


@given(
    x=whole(-5000, 5000),
    theta=st.integers(1, 2000),
    low=st.none() | st.integers(-3000, 0),
    most=st.none() | st.integers(1, 4),
    is_subtract=st.booleans(),
)
def test_integrate_and_fire_is_exact_on_whole_numbers(x, theta, low, most, is_subtract):
    layer = IAF(
        theta,
        min_v=low,
        spike_fn="multi" if most is None else ("max", most),
        reset="subtract" if is_subtract else "zero",
        return_state=True,
    )
    y, state = layer(x.astype("float32"))
    expected, rest = integers(x, theta, low, most, is_subtract)
    assert_array_equal(numbers(y), expected)
    assert_array_equal(numbers(state), rest)
    if low is None and is_subtract:
        assert_array_equal(x.sum(1), expected.sum(1) * theta + rest)


@given(
    x=arrays(-100, 100),
    cls=st.sampled_from([Lowpass, Alpha]),
    tau=st.floats(1e-4, 10),
    dt=st.floats(1e-4, 1),
    factor=st.floats(-4, 4, width=32),
)
def test_filters_are_linear(x, cls, tau, dt, factor):
    layer = cls(tau, dt=dt)
    y, scaled = numbers(layer(x)), numbers(layer(factor * x))
    # Single precision, relative to the largest input.
    tolerance = 1e-5 * (1 + abs(factor)) * max(np.abs(x).max(), 1e-3)
    assert_allclose(scaled, factor * y, atol=tolerance)
    # Between the smallest and the largest of what came in: first-order filters only average.
    if cls is Lowpass:
        bound = np.maximum.accumulate(np.abs(x), axis=1)
        assert (np.abs(y) <= bound * (1 + 1e-6)).all()


@given(
    x=arrays(-20, 20),
    ends=st.tuples(st.floats(-5, 5), st.floats(-5, 5)).map(sorted),
    l1=st.floats(0.01, 2),
    l2=st.floats(0, 2),
)
def test_penalties_are_sums_of_distances(x, ends, l1, l2):
    low, high = ends
    wide = x.astype("float64")
    distance = np.maximum(low - wide, 0) + np.maximum(wide - high, 0)
    expected = l1 * distance.sum() + l2 * (distance**2).sum()
    found = float(L1L2(l1, l2, target=(low, high))(x))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(x=arrays(-20, 20), percentile=st.floats(0, 100), axis=st.sampled_from([0, 1, 2, (0, 1)]))
def test_percentiles_are_those_of_numpy(x, percentile, axis):
    expected = np.abs(np.percentile(x.astype("float64"), percentile, axis=axis)).sum()
    found = float(Percentile(percentile, axis=axis, l1=1.0)(x))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    pool=pairs,
    strides=pairs,
    padding=st.sampled_from(["valid", "same"]),
    seed=st.integers(0, 2**16),
)
def test_sum_pooling_adds_every_window(size, pool, strides, padding, seed):
    assume(padding == "same" or (pool[0] <= size[0] and pool[1] <= size[1]))
    x = np.random.default_rng(seed).integers(0, 1000, (2, *size, 2))
    layer = SumPooling2D(pool, strides, padding)
    expected = reference(x, pool, strides, padding)
    assert_array_equal(numbers(layer(x)), expected)
    assert layer.compute_output_shape(x.shape) == expected.shape


texts = st.text("abc ()", max_size=30)


@given(data=st.data(), columns=st.integers(1, 6), rows=st.integers(0, 3), room=st.integers(0, 80))
def test_tables_use_the_room_they_have(data, columns, rows, room):
    heads = data.draw(st.lists(texts.filter(bool), min_size=columns, max_size=columns))
    row = st.lists(texts, min_size=columns, max_size=columns)
    body = data.draw(st.lists(row, min_size=rows, max_size=rows))
    line_length = 2 * columns - 1 + room
    lines = layout(heads, body, [False] * columns, line_length)
    (width,) = {len(line) for line in lines}
    longest = sum(max(map(len, column)) for column in zip(heads, *body, strict=True))
    assert width == min(line_length, longest + columns - 1)
    assert {len(line.split("|")) for line in lines if set(line) <= {"-", "|"}} <= {columns}


@given(
    cls=st.sampled_from([IAF, LIF]),
    threshold=st.floats(1e-3, 1e3),
    min_v=st.none() | st.floats(-1e3, 0),
    reset=st.sampled_from(["subtract", "zero"]),
    spike_fn=st.sampled_from(["multi", "single"]) | st.tuples(st.just("max"), st.integers(1, 9)),
    surrogate=st.sampled_from(["fast_sigmoid", "arctan", "sigmoid", "triangle", "boxcar"]),
    seed=st.none() | st.integers(-(2**40), 2**40),
    flags=st.fixed_dictionaries(
        {
            name: st.booleans()
            for name in ("return_sequences", "return_state", "stateful", "unroll", "time_axis")
        }
    ),
)
def test_configurations_survive_json(
    cls, threshold, min_v, reset, spike_fn, surrogate, seed, flags
):
    arguments = {"tau": 0.1} if cls is LIF else {}
    layer = cls(
        threshold=threshold,
        min_v=min_v,
        reset=reset,
        spike_fn=spike_fn,
        surrogate=surrogate,
        seed=seed,
        **arguments,
        **flags,
    )
    config = json.loads(json.dumps(layer.get_config()))
    assert cls.from_config(config).get_config() == layer.get_config()
    assert cls(**config).get_config() == layer.get_config()
