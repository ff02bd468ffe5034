"""Floats to integers, against worked examples and the definition."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.nsoc.discretize import (
    dequantized,
    discretization_scale,
    discretize_array,
    discretize_core,
    discretize_scalar,
)
from kerasnsoc.nsoc.errors import DiscretizationError
from tests.nsoc_graphs import core_layer


def floats(weights, bias=None, threshold=1.0, min_v=-1.0, **fields):
    weights = np.asarray(weights, np.float32)
    while weights.ndim < 4:
        weights = weights[..., None]
    features, channels, kernel, _ = weights.shape
    bias = None if bias is None else np.asarray(bias, np.float32)
    return core_layer(
        features=features,
        in_shape=(channels, kernel, kernel),
        kernel=kernel,
        weights=weights,
        bias=bias,
        threshold=threshold,
        min_v=min_v,
        quant_scale=None,
        **fields,
    )


def test_weights_decide_the_scale():
    layer, record = discretize_core(floats([[[[0.5, -0.25], [0.125, 0.0625]]]]))
    assert layer.quant_scale == 254.0
    assert layer.weights.ravel().tolist() == [127, -64, 32, 16]
    assert (layer.threshold, layer.min_v) == (254, -254)
    assert layer.weights.dtype == np.int8
    assert record.decided_by == "weights"


def test_the_bias_decides_the_scale():
    layer, record = discretize_core(floats([0.02, -0.01], bias=[0.4, -0.1]))
    assert layer.quant_scale == np.float32(317.5)
    assert layer.weights.ravel().tolist() == [6, -3]
    assert layer.bias.tolist() == [127, -32]
    assert layer.bias.dtype == np.int16
    assert (layer.threshold, layer.min_v) == (318, -318)
    assert record.decided_by == "bias"


def test_the_leak_of_the_third_example():
    layer, _ = discretize_core(floats([1.0], bias=[-0.1]))
    assert layer.quant_scale == 127.0
    assert (layer.weights.item(), layer.bias.item(), layer.threshold) == (127, -13, 127)
    state = [127]
    for _ in range(4):
        state.append(state[-1] + layer.bias.item())
    assert state == [127, 114, 101, 88, 75]


def test_zero_weights_leave_the_scale_to_the_threshold():
    layer, record = discretize_core(floats([0.0], threshold=2.0, min_v=-2.0))
    assert layer.quant_scale == np.float32(32767 / 2)
    assert layer.threshold == 32767  # float32 of the scale times 2, to even
    assert record.decided_by == "threshold"
    assert record.sqnr_db is None


def test_an_absent_lowest_potential_is_unbounded_or_as_the_reference_has_it():
    layer = floats([0.5], min_v=None)
    unbounded, _ = discretize_core(layer)
    assert (unbounded.min_v, unbounded.quant_scale) == (-32768, 254.0)
    legacy, record = discretize_core(layer, min_v_none="legacy")
    assert (legacy.min_v, legacy.quant_scale, legacy.weights.item()) == (-32768, 1.0, 0)
    assert record.decided_by == "threshold"
    assert record.zeroed == 1.0


def test_an_initial_state_takes_part():
    state = np.full((1, 1, 1), 300.0, np.float32)
    layer, record = discretize_core(floats([0.5], initial_state=state))
    assert record.decided_by == "initial_state"
    assert layer.initial_state.item() in (32766, 32767)
    assert layer.initial_state.dtype == np.int16


def test_fewer_bits_of_weights():
    layer, _ = discretize_core(floats([0.5, -0.25]), weight_bits=4)
    assert layer.weights.ravel().tolist() == [7, -4]
    with pytest.raises(ValueError, match="weight_bits is 9, but it must be 2 to 8"):
        discretize_core(floats([0.5]), weight_bits=9)


def test_a_threshold_far_below_the_weights_is_refused():
    with pytest.raises(DiscretizationError, match=r"threshold 0.001 becomes 0 .* weights decided"):
        discretize_core(floats([100.0], threshold=0.001))


def test_integers_are_taken_as_they_are():
    layer, _ = discretize_core(
        floats([100.0, -128.0], bias=[3, 4], threshold=70.0, min_v=-70.0), assume_integer=True
    )
    assert layer.weights.ravel().tolist() == [100, -128]
    assert (layer.quant_scale, layer.threshold, layer.min_v) == (1.0, 70, -70)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": [0.5]}, "assume_integer=True, but its weights are no whole numbers"),
        ({"weights": [200.0]}, r"weights at \(0, 0, 0, 0\) become 200, but 8 bits hold"),
        ({"weights": [1.0], "bias": [-129.0]}, "biases at .* become -129"),
        ({"weights": [1.0], "min_v": -40000.0}, "lowest potential .* must be -32768 to 0"),
        ({"weights": [1.0], "threshold": 40000.0}, "becomes 40000"),
    ],
)
def test_integers_out_of_range_are_refused(fields, message):
    with pytest.raises(DiscretizationError, match=message):
        discretize_core(floats(**fields), assume_integer=True)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="min_v_none is 'no', but it must be"):
        discretize_core(floats([0.5]), min_v_none="no")


@pytest.mark.parametrize("numbers", [[], [np.nan], [np.inf]])
def test_a_scale_needs_numbers(numbers):
    with pytest.raises(ValueError, match="one or more finite numbers"):
        discretization_scale(numbers, 8)


@pytest.mark.parametrize(("value", "expected"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0)])
def test_ties_go_to_even(value, expected):
    assert discretize_scalar(value, 1.0) == expected
    assert discretize_array([value], 1.0).tolist() == [expected]
    assert discretize_array([value], 1.0, to_int=False).dtype == np.float32


float32s = st.floats(-100, 100, width=32, allow_subnormal=False)


@given(st.lists(float32s, min_size=1, max_size=6), st.integers(2, 16))
def test_the_scale_uses_up_the_bits_and_no_more(numbers, bits):
    scale = discretization_scale(numbers, bits)
    if not any(numbers):
        assert scale == np.inf
        return
    exact = [Fraction(float(n)) * Fraction(scale) for n in numbers]
    slack = 1 + Fraction(1, 2**20)  # the quotient and the comparison are rounded to float32
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    assert min(exact) >= low * slack
    assert max(exact) <= high * slack
    assert (
        any(abs(e - low) <= abs(low) / 2**20 for e in exact if e < 0)
        or any(abs(e - high) <= Fraction(high, 2**20) for e in exact if e > 0)
        or max(exact) < 0
    )


@given(
    weights=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=8),
    threshold=st.floats(0.25, 4, width=32),
    seed=st.integers(0, 2**16),
)
def test_integers_survive_the_way_to_floats_and_back(weights, threshold, seed):
    bias = np.random.default_rng(seed).normal(size=len(weights))
    first, record = discretize_core(floats(weights, bias, threshold, -threshold))
    again, _ = discretize_core(dequantized(first))
    exact = again.quant_scale == first.quant_scale
    # the largest number may have lost its last bits, which then moves the scale
    assert abs(again.quant_scale / first.quant_scale - 1) < 0.02 or exact
    if exact:
        assert (again.weights == first.weights).all()
        assert again.threshold == first.threshold
    step = 1 / first.quant_scale
    error = abs(np.asarray(weights, np.float32) - first.weights.ravel() * step).max()
    assert error <= 0.5 * step * (1 + 1e-5)  # the product is rounded to float32
    assert record.max_error == pytest.approx(error, rel=1e-6, abs=1e-9)


def test_a_layer_of_floats_needs_no_way_back():
    layer = floats([0.5])
    assert dequantized(layer) is layer
    unbounded = replace(core_layer(), min_v=-32768)
    assert dequantized(unbounded).min_v is None
