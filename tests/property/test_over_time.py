"""Networks over time: every rule against the plain reference, whatever the split of the work."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.artifact import (
    RESETS,
    SPIKE_RULES,
    ArtifactError,
    ConvolutionalParameters,
    ConvolutionMode,
    FilterParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    NeuronSpec,
    PoolingParameters,
    PoolingType,
    Reason,
    SeparableConvolutionalParameters,
    network_bounds,
    validate,
)
from kerasnsoc.runtime import Model, over_time
from kerasnsoc_ext import FOREVER, Neurons
from tests import time_reference
from tests.networks import Builder, time_networks


@st.composite
def neurons(draw, bounded: bool = False) -> NeuronSpec:
    rule = draw(st.sampled_from(("single", "max") if bounded else SPIKE_RULES))
    return NeuronSpec(
        rule=rule,
        max_spikes=draw(st.integers(1, 4)) if rule == "max" else 0,
        reset="subtract" if rule == "signed" else draw(st.sampled_from(RESETS)),
        rectify=draw(st.booleans()),
        shift=draw(st.integers(0, 3)),
        unit=draw(st.sampled_from(("count", "hz"))),
    )


@st.composite
def networks(draw):
    """Chains of layers with weights, neurons, pooling and a read-out."""
    width, height = draw(st.integers(3, 6)), draw(st.integers(3, 6))
    builder = Builder(draw(st.integers(0, 2**32 - 1)))
    mode = st.sampled_from((ConvolutionMode.Same, ConvolutionMode.Valid))

    def kernel(side):
        return draw(st.integers(1, min(3, side)))

    if draw(st.booleans()):
        p = InputConvolutionalParameters(
            input_width=width,
            input_height=height,
            input_channels=draw(st.sampled_from((1, 3))),
            kernel_width=kernel(width),
            kernel_height=kernel(height),
            num_neurons=draw(st.integers(1, 4)),
            convolution_mode=draw(mode),
            weights_bits=draw(st.integers(1, 8)),
            padding_value=draw(st.sampled_from((0, 0, 7))),
        )
        builder.add("first", p, neuron=draw(neurons()))
    else:
        bits = draw(st.integers(1, 8))
        p = InputDataParameters(
            input_width=width, input_height=height, input_channels=2, input_bits=bits
        )
        builder.add("first", p)
    for index in range(draw(st.integers(1, 3))):
        source = builder.layers[-1].name
        w, h, _ = builder.dims[source]
        kind = draw(st.sampled_from(("pool", "conv", "separable", "dense", "graded")))
        name = f"{kind}{index}"
        bits = draw(st.integers(2, 5))
        pool = draw(st.sampled_from(PoolingType))
        if kind == "pool":
            p = PoolingParameters(
                pooling_type=draw(st.sampled_from((PoolingType.Max, PoolingType.Average))),
                pooling_width=draw(st.sampled_from((-1, 1, min(2, w)))),
                pooling_height=min(2, h),
                convolution_mode=draw(mode),
            )
            builder.add(name, p)
        elif kind == "dense":
            p = FullyConnectedParameters(num_neurons=draw(st.integers(1, 5)), weights_bits=bits)
            builder.add(name, p, neuron=draw(neurons()))
        else:
            separable = kind == "separable"
            cls = SeparableConvolutionalParameters if separable else ConvolutionalParameters
            p = cls(
                kernel_width=kernel(w),
                kernel_height=kernel(h),
                num_neurons=draw(st.integers(1, 4)),
                convolution_mode=draw(mode),
                weights_bits=bits,
                pooling_type=pool,
                threshold_fire_bits=2 if kind == "graded" else 1,
            )
            builder.add(name, p, neuron=None if kind == "graded" else draw(neurons()))
    if draw(st.booleans()):
        p = FullyConnectedParameters(num_neurons=3, weights_bits=3, activations_enabled=False)
        builder.add("head", p, scaled=True)
    return builder.build(time_step=draw(st.sampled_from((1.0, 0.001))))


def sequences(spec, seed, samples, steps):
    rng = np.random.default_rng(seed)
    height, width, channels = spec.input.shape_hwc
    x = rng.integers(0, 2**spec.input.bits, (samples, steps, height, width, channels))
    return x * (rng.random((samples, steps, 1, 1, 1)) < 0.7)


def same(found, expected):
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name].reshape(values.shape), values, err_msg=name)


@given(spec=networks(), seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 12))
def test_every_rule_is_that_of_the_reference(spec, seed, steps):
    try:
        validate(spec)
    except ArtifactError as error:
        reason = error.reason
    else:
        reason = None
    # many spikes per step into a separable layer, or a sum beyond 32 bits
    assert reason in (None, Reason.OVERFLOW)
    if reason:
        return
    x = sequences(spec, seed, 2, steps)
    expected = time_reference.run(spec, x)
    model = Model.from_spec(spec)
    same(model.trace(x), expected)
    for name, bounds in network_bounds(spec).items():
        low, high = bounds.output_range
        assert low <= expected[name].min()
        assert expected[name].max() <= high
    last = spec.layers[-1].name
    whole = model.forward(x)
    cut = steps // 2
    parts = [model.forward(part, stateful=True) for part in (x[:, :cut], x[:, cut:])]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    np.testing.assert_array_equal(model.forward(x[1:], threads=2), whole[1:])
    for form in ("dense", "events"):
        np.testing.assert_array_equal(model.forward(x, form=form), whole)
    again = Model(serialized_buffer=model.to_buffer())
    np.testing.assert_array_equal(again.forward(x), whole)
    statistics = model.get_statistics()[last]
    assert statistics.nb_steps == (2 + 2 + 1 + 2 + 2) * steps  # of all the calls above
    assert again.get_statistics()[last].nb_activations == np.count_nonzero(whole)


@pytest.mark.parametrize("name", time_networks())
@pytest.mark.parametrize("rows", [1, 7, 40])
def test_long_sequences_run_in_parts(name, rows, monkeypatch):
    spec = time_networks()[name]
    x = sequences(spec, 5, 3, 300)
    expected = Model.from_spec(spec).forward(x)
    model = Model.from_spec(spec)
    monkeypatch.setattr(over_time, "VALUES_AT_ONCE", rows * 200)
    np.testing.assert_array_equal(model.forward(x), expected)


def test_a_thousand_steps():
    spec = time_networks()["time_events"]
    x = sequences(spec, 9, 1, 1000)
    expected = time_reference.run(spec, x)
    del expected["alpha"]
    same(Model.from_spec(spec).trace(x), expected)


@pytest.mark.parametrize("order", [1, 2])
def test_filters_have_the_step_response_of_their_definition(order):
    spec = (
        Builder(3)
        .add("input", InputDataParameters(input_width=1, input_height=1, input_channels=6))
        .add("filter", FilterParameters(order=order))
        .build(time_step=0.002)
    )
    x = sequences(spec, 1, 2, 60)
    found = Model.from_spec(spec).forward(x)
    expected = time_reference.run(spec, x)["filter"].reshape(found.shape)
    # the reference sums responses instead of recurring; the output is float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


def test_potentials_pile_up_to_their_limit_and_stay_there():
    builder = Builder(0).add(
        "input", InputDataParameters(input_width=1, input_height=1, input_channels=1, input_bits=8)
    )
    builder.add(
        "out",
        FullyConnectedParameters(num_neurons=2, weights_bits=8),
        neuron=NeuronSpec(rule="single", shift=14),
    )
    variables = {
        **builder.layers[-1].variables,
        "weights": np.array([127, -127], np.int8).reshape(1, 1, 1, 2),
        "bias": np.zeros(2, np.int32),
        "spike_threshold": np.array([3, 3], np.int32),
        "lowest_potential": np.array([-(2**30)] * 2, np.int32),
        "initial_potential": np.zeros((1, 1, 2), np.int32),
    }
    layers = (builder.layers[0], dataclasses.replace(builder.layers[1], variables=variables))
    spec = dataclasses.replace(builder.build(time_step=1.0), layers=layers)
    x = np.zeros((1, 40, 1, 1, 1), np.uint8)
    x[:, :20] = 255
    expected = time_reference.run(spec, x)
    same(Model.from_spec(spec).trace(x), expected)
    assert expected["out"][0, :, 0, 0, 0].tolist() == [1] * 40
    assert not expected["out"][0, :, 0, 0, 1].any()


@st.composite
def rare_events(draw):
    """Neurons with biases of every kind, and potentials that arrive now and then."""
    neuron = draw(neurons())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    samples, steps, count = 2, draw(st.integers(1, 400)), draw(st.sampled_from((1, 5, 70)))
    top = draw(st.sampled_from((3, 200, 2**30)))
    sign = draw(st.sampled_from((-1, 0, 1)))
    bias = rng.integers(-4, 5, count)
    lowest = np.zeros(count, np.int64)
    if neuron.rule != "signed":
        lowest -= rng.integers(0, top + 1, count)
    threshold = rng.integers(max(1, top // 4), top + 1, count)
    start = rng.integers(lowest, threshold)
    if neuron.rule == "signed":
        start = np.abs(start)
    variables = {
        "spike_threshold": threshold,
        "bias": sign * np.abs(bias) if sign else bias,
        "lowest_potential": lowest,
        "initial_potential": start.reshape(1, 1, count),
    }
    variables = {name: values.astype(np.int32) for name, values in variables.items()}
    arriving = rng.integers(-90, 91, (samples, steps, 1, 1, count))
    arriving *= rng.random((samples, steps, 1, 1, 1)) < draw(st.sampled_from((0, 0.02, 0.3)))
    cuts = sorted(rng.integers(0, steps + 1, 3))
    return neuron, variables, arriving, cuts


@given(rare_events())
def test_steps_without_events_are_made_up_for(case):
    neuron, variables, arriving, cuts = case
    expected = time_reference.fire(neuron, variables, arriving)[:, :, 0, 0]
    kernel = Neurons(
        *(variables[name] for name in ("spike_threshold", "bias", "lowest_potential")),
        rule=neuron.rule,
        max_spikes=neuron.max_spikes,
        zero_reset=neuron.reset == "zero",
        rectify=neuron.rectify,
        shift=neuron.shift,
    )
    samples, steps, count = arriving.shape[0], arriving.shape[1], arriving.shape[-1]
    start = variables["initial_potential"].reshape(-1)
    state = np.repeat(start[None], samples, axis=0)
    owed, quiet = np.zeros(samples, np.int64), np.full(samples, kernel.quiet(start))
    found = np.zeros(expected.shape, np.int32)
    for first, last in pairwise((0, *cuts, steps)):
        part = np.ascontiguousarray(arriving[:, first:last].reshape(-1, count), np.int32)
        active = part.any(axis=1)
        rows = np.where(active, np.cumsum(active) - 1, -1).reshape(samples, last - first)
        counts = np.zeros((samples, last - first, 2), np.int64)
        spikes = np.zeros((samples, last - first, count), np.int32)
        kernel.integrate(part[active], rows, state, spikes, counts, owed, quiet)
        found[:, first:last] = spikes
        np.testing.assert_array_equal(counts[..., 0], np.count_nonzero(spikes, axis=-1))
        np.testing.assert_array_equal(counts[..., 1], np.abs(spikes).sum(axis=-1))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("rule", "threshold", "bias", "lowest", "start", "steps"),
    [
        ("multi", 1000, 0, -5, 999, FOREVER),
        ("multi", 1000, -3, -(2**30), 999, FOREVER),
        ("multi", 1000, 1, 0, 0, 999),
        ("multi", 1000, 3, 0, 0, 333),
        ("multi", 2**30, 1, -(2**30), -(2**30), 2**31 - 1),
        ("multi", 2**30, 1, -(2**30), 0, 2**30 - 1),
        ("signed", 1000, -1, 0, 500, 500),
        ("single", 10, 0, 0, 10, 0),
        ("single", 10, -1, 0, 12, 0),
    ],
)
def test_looking_ahead_is_never_too_far(rule, threshold, bias, lowest, start, steps):
    one = Neurons(*(np.array([v], np.int32) for v in (threshold, bias, lowest)), rule=rule)
    found = one.quiet(np.array([start], np.int32))
    if steps in (0, FOREVER):
        assert found == steps
    else:
        # a sum of 2**30 steps is as far as it looks
        least = min(steps, 2**30) * (1 - 1e-6) - 1
        assert least <= found <= steps


def test_steps_pass_by_the_billion():
    kernel = Neurons(
        *(np.array(v, np.int32) for v in ([2**30] * 3, [1, -1, 0], [-(2**30)] * 3)), rule="multi"
    )
    state = np.array([[-(2**30), 2**30 - 1, 7]], np.int32)
    owed, quiet = np.array([2**30]), np.zeros(1, np.int64)
    rows, counts = np.array([[0]]), np.zeros((1, 1, 2), np.int64)
    spikes = np.zeros((1, 1, 3), np.int32)
    kernel.integrate(np.zeros((1, 3), np.int32), rows, state, spikes, counts, owed, quiet)
    np.testing.assert_array_equal(state, [[1, -2, 7]])
    assert owed[0] == quiet[0] == 0
    assert not spikes.any()
    falling = Neurons(*(np.array([v], np.int32) for v in (9, -1, -(2**30))), rule="multi")
    state, owed[:] = np.array([[8]], np.int32), 2**40
    falling.integrate(
        np.zeros((1, 1), np.int32), rows, state, spikes[..., :1].copy(), counts, owed, quiet
    )
    assert state[0, 0] == -(2**30)
