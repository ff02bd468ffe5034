"""Bounds against sums over every input that matters."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.artifact import (
    ActivationParameters,
    ArtifactError,
    ConcatParameters,
    ConvolutionalParameters,
    ConvolutionMode,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    PoolingParameters,
    PoolingType,
    Reason,
    SeparableConvolutionalParameters,
    layer_bounds,
    network_bounds,
)
from kerasnsoc.artifact import (
    bounds as bounds_module,
)
from kerasnsoc.artifact.geometry import spatial_geometry
from tests.networks import Builder, random_variables
from tests.strategies import network_specs


def one_patch(cls, **arguments):
    """A convolution whose kernel covers its whole input: one position, all taps real."""
    return cls(
        kernel_width=3,
        kernel_height=2,
        num_neurons=4,
        convolution_mode=ConvolutionMode.Valid,
        weights_bits=4,
        **arguments,
    )


def extremes(kernel_tn, top):
    """Smallest and largest sum that inputs of 0 .. top can make, by trying them tap by tap."""
    low = [sum(min(0, int(w) * top) for w in column) for column in kernel_tn.T]
    high = [sum(max(0, int(w) * top) for w in column) for column in kernel_tn.T]
    return low, high


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 15, 255]))
def test_convolution_and_fully_connected_are_exact(seed, top):
    rng = np.random.default_rng(seed)
    for parameters, dims in (
        (one_patch(ConvolutionalParameters), (3, 2, 2)),
        (FullyConnectedParameters(num_neurons=4, weights_bits=4), (3, 2, 2)),
    ):
        variables = random_variables(parameters, dims, rng)
        bounds = layer_bounds(parameters, variables, dims, (0, top))
        low, high = extremes(variables["weights"].reshape(-1, 4), top)
        assert bounds.low.tolist() == low
        assert bounds.high.tolist() == high
        assert bounds.partial == max(-min(low), max(high))
        assert (bounds.depthwise_low, bounds.depthwise_high) == (0, 0)
        assert bounds.output_range == (0, 1)


@given(st.integers(0, 2**32 - 1))
def test_separable_chains_through_the_depthwise_sums(seed):
    rng = np.random.default_rng(seed)
    parameters = one_patch(SeparableConvolutionalParameters, activations_enabled=False)
    variables = random_variables(parameters, (3, 2, 5), rng)
    bounds = layer_bounds(parameters, variables, (3, 2, 5), (0, 15))
    low_c, high_c = extremes(variables["weights"].reshape(-1, 5), 15)
    pointwise = variables["weights_pw"].reshape(5, 4).tolist()
    products = [
        [(low_c[c] * pointwise[c][n], high_c[c] * pointwise[c][n]) for c in range(5)]
        for n in range(4)
    ]
    assert (bounds.depthwise_low, bounds.depthwise_high) == (min(low_c), max(high_c))
    assert bounds.low.tolist() == [sum(min(0, *pair) for pair in row) for row in products]
    assert bounds.high.tolist() == [sum(max(0, *pair) for pair in row) for row in products]
    assert bounds.output_range == (bounds.low.min(), bounds.high.max())
    assert bounds.partial >= max(-min(low_c), max(high_c))


def test_the_depthwise_sum_can_be_the_largest_one():
    parameters = one_patch(SeparableConvolutionalParameters)
    variables = random_variables(parameters, (3, 2, 1), np.random.default_rng(0))
    variables["weights"][:] = -7
    variables["weights_pw"][:] = 0
    bounds = layer_bounds(parameters, variables, (3, 2, 1), (0, 255))
    assert bounds.partial == 7 * 6 * 255
    assert bounds.low.tolist() == bounds.high.tolist() == [0] * 4


def test_images_have_eight_bits_whatever_is_said_and_padding_is_one_of_them():
    parameters = one_patch(
        InputConvolutionalParameters, input_width=3, input_height=2, input_channels=1
    )
    variables = random_variables(parameters, None, np.random.default_rng(0))
    bounds = layer_bounds(parameters, variables, (3, 2, 1), (0, 0))
    assert bounds.high.tolist() == extremes(variables["weights"].reshape(-1, 4), 255)[1]


@given(
    st.integers(1, 12),
    st.sampled_from(ConvolutionMode),
    st.integers(-1, 4).filter(bool),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_average_pooling_multiplies_by_the_fullest_window(length, mode, size, stride, kernel):
    parameters = ConvolutionalParameters(
        kernel_width=1 if length < kernel else kernel,
        kernel_height=1,
        num_neurons=2,
        convolution_mode=mode,
        pooling_type=PoolingType.Average,
        pooling_width=size,
        pooling_stride_x=stride if size != -1 else -1,
        pooling_height=1,
    )
    try:
        pool = spatial_geometry(parameters, (length, 1)).pool_x
    except ValueError:
        return  # the window does not fit
    cells = max(
        sum(0 <= o * pool.stride - pool.lead + d < pool.length for d in range(pool.size))
        for o in range(pool.output)
    )
    variables = random_variables(parameters, (length, 1, 3), np.random.default_rng(length))
    pooled = layer_bounds(parameters, variables, (length, 1, 3), (0, 15))
    plain = layer_bounds(
        dataclasses.replace(
            parameters,
            pooling_type=PoolingType.NoPooling,
            pooling_width=-1,
            pooling_height=-1,
            pooling_stride_x=-1,
        ),
        variables,
        (length, 1, 3),
        (0, 15),
    )
    assert pooled.high.tolist() == (plain.high * cells).tolist()
    assert pooled.partial == plain.partial * cells


def test_max_pooling_changes_nothing():
    parameters = one_patch(ConvolutionalParameters)
    variables = random_variables(parameters, (6, 4, 2), np.random.default_rng(3))
    plain = layer_bounds(parameters, variables, (6, 4, 2), (0, 15))
    pooled = dataclasses.replace(parameters, pooling_type=PoolingType.Max)
    bounds = layer_bounds(pooled, variables, (6, 4, 2), (0, 15))
    assert bounds.low.tolist() == plain.low.tolist()
    assert bounds.high.tolist() == plain.high.tolist()


def test_input_and_concat_pass_values_on():
    data = InputDataParameters(input_width=2, input_height=2, input_channels=3, input_bits=3)
    bounds = layer_bounds(data, {}, (2, 2, 3), (0, 0))
    assert (bounds.low.tolist(), bounds.high.tolist()) == ([0] * 3, [7] * 3)
    assert (bounds.partial, bounds.output_range) == (7, (0, 7))
    through = ConcatParameters(activations_enabled=False)
    bounds = layer_bounds(through, {}, (2, 2, 4), (-90, 70))
    assert (bounds.partial, bounds.output_range) == (90, (-90, 70))
    firing = dataclasses.replace(through, activations_enabled=True, threshold_fire_bits=2)
    assert layer_bounds(firing, {}, (2, 2, 4), (-90, 70)).output_range == (0, 3)


def test_bounds_are_read_only():
    data = InputDataParameters(input_width=2, input_height=2, input_channels=3)
    with pytest.raises(ValueError, match="read-only"):
        layer_bounds(data, {}, (2, 2, 3), (0, 0)).low[0] = 1


def test_potentials_reach_the_concat_and_its_consumers():
    spec = (
        Builder()
        .add("in", InputDataParameters(input_width=1, input_height=1, input_channels=2))
        .add("a", FullyConnectedParameters(num_neurons=2, activations_enabled=False))
        .add("b", FullyConnectedParameters(num_neurons=3, activations_enabled=False), ["in"])
        .add("join", ConcatParameters(threshold_fire_bits=2), ["a", "b"])
        .add("head", FullyConnectedParameters(num_neurons=1, weights_bits=2))
        .build()
    )
    for name, value in (("a", 1), ("b", 1), ("head", -1)):
        layer = next(layer for layer in spec.layers if layer.name == name)
        layer.variables["weights"][:] = value
    bounds = network_bounds(spec)
    assert bounds["a"].output_range == (0, 30)
    assert bounds["join"].high.tolist() == [30] * 5
    assert (bounds["head"].low.tolist(), bounds["head"].high.tolist()) == ([-15], [0])


def test_a_separable_layer_takes_no_potentials():
    parameters = one_patch(SeparableConvolutionalParameters)
    variables = random_variables(parameters, (3, 2, 1), np.random.default_rng(0))
    with pytest.raises(ValueError, match="at most 8 bits"):
        layer_bounds(parameters, variables, (3, 2, 1), (-5, 300))


def test_the_limbs_are_exact_where_float64_is_not():
    parameters = SeparableConvolutionalParameters(
        kernel_width=256, kernel_height=256, num_neurons=2, weights_bits=8
    )
    dims = (256, 256, 64)
    rng = np.random.default_rng(1)
    variables = {
        "weights": rng.integers(-127, 128, (256, 256, 64, 1), dtype=np.int8),
        "weights_pw": rng.integers(-127, 128, (1, 1, 64, 2), dtype=np.int8),
    }
    bounds = layer_bounds(parameters, variables, dims, (0, 255))
    flat = variables["weights"].reshape(-1, 64).astype(np.int64)
    low_c = (np.minimum(flat, 0).sum(axis=0) * 255).tolist()
    high_c = (np.maximum(flat, 0).sum(axis=0) * 255).tolist()
    for n in range(2):
        weights = variables["weights_pw"][0, 0, :, n].tolist()
        pairs = [(lo * w, hi * w) for lo, hi, w in zip(low_c, high_c, weights, strict=True)]
        assert bounds.low[n] == sum(min(pair) for pair in pairs)
        assert bounds.high[n] == sum(max(pair) for pair in pairs)


def huge(neurons=1, pooled=True):
    return SeparableConvolutionalParameters(
        kernel_width=128,
        kernel_height=128,
        num_neurons=neurons,
        weights_bits=8,
        pooling_type=PoolingType.Average if pooled else PoolingType.NoPooling,
    )


@pytest.mark.parametrize("channels", [1, 7, 1500])
@pytest.mark.parametrize("bits", [4, 12, 17, 24, 38, 44])
def test_every_way_to_add_up_is_exact(bits, channels):
    """Sums that float32 holds, that float64 holds, and beyond; all weights at their largest."""
    rng = np.random.default_rng(bits)
    high = rng.integers(2**bits - 2 ** (bits - 2), 2**bits, channels)
    low = -rng.integers(2**bits - 2 ** (bits - 2), 2**bits, channels)
    weights = rng.choice([-127, 126, 127, 0], (channels, 5)).astype(np.int8)
    smallest, largest = bounds_module._dot(low, high, weights)
    for n in range(5):
        pairs = [
            (int(w) * int(a), int(w) * int(b))
            for w, a, b in zip(weights[:, n], low, high, strict=True)
        ]
        assert int(smallest[n]) == sum(min(pair) for pair in pairs)
        assert int(largest[n]) == sum(max(pair) for pair in pairs)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_beyond_64_bits_is_refused_not_wrapped(sign):
    dims = (2048, 2048, 64)
    variables = {
        "weights": np.full((128, 128, 64, 1), 127, np.int8),
        "weights_pw": np.full((1, 1, 64, 1), sign * 127, np.int8),
    }
    expected = 128 * 128 * 127 * 255 * 127 * 64 * 2048 * 2048
    assert expected > 2**63
    with pytest.raises(ArtifactError, match=f"could reach {expected}") as caught:
        layer_bounds(huge(), variables, dims, (0, 255))
    assert caught.value.reason is Reason.OVERFLOW
    fitting = layer_bounds(huge(pooled=False), variables, dims, (0, 255))
    assert fitting.partial == expected // 2048**2


@pytest.mark.parametrize("sign", [1, -1])
def test_a_pointwise_sum_is_refused_before_its_limbs_are_joined(sign):
    sums = np.full(4096, sign * (2**46 - 1), np.int64)
    weights = np.full((4096, 1), 127, np.int8)
    with pytest.raises(ArtifactError, match="could reach") as caught:
        bounds_module._dot(np.minimum(sums, 0), np.maximum(sums, 0), weights)
    assert caught.value.reason is Reason.OVERFLOW


def test_other_records_have_no_bounds():
    with pytest.raises(TypeError, match="ActivationParameters"):
        layer_bounds(ActivationParameters(), {}, (1, 1, 1), (0, 1))


def test_the_refusal_names_the_layer():
    spec = (
        Builder()
        .add(
            "events",
            InputDataParameters(
                input_width=2048, input_height=2048, input_channels=64, input_bits=8
            ),
        )
        .add("deep", huge())
        .build()
    )
    spec.layers[1].variables["weights"][:] = 127
    spec.layers[1].variables["weights_pw"][:] = 127
    with pytest.raises(ArtifactError, match="layer 'deep': a sum could reach"):
        network_bounds(spec)


@given(network_specs())
def test_every_network_has_bounds_that_contain_zero(spec):
    bounds = network_bounds(spec)
    assert list(bounds) == [layer.name for layer in spec.layers]
    for bound in bounds.values():
        assert (bound.low <= 0).all()
        assert (bound.high >= 0).all()
        largest = max(-int(bound.low.min()), int(bound.high.max()))
        assert bound.partial >= largest


def test_pooling_of_spikes_sums_the_fullest_window_only_if_it_averages():
    wide = {"pooling_width": 3, "pooling_height": 2}
    for kind, cells in ((PoolingType.Max, 1), (PoolingType.Average, 6)):
        p = PoolingParameters(pooling_type=kind, **wide)
        bounds = layer_bounds(p, {}, (7, 5, 4), (-1, 3))
        assert bounds.output_range == (-cells, 3 * cells)
        assert (bounds.partial, bounds.low.tolist()) == (3 * cells, [-cells] * 4)
    with pytest.raises(ArtifactError, match="a sum could reach") as caught:
        layer_bounds(p, {}, (7, 5, 4), (0, 2**61))
    assert caught.value.reason is Reason.OVERFLOW


def test_over_time_a_sum_stays_within_32_bits():
    inputs = InputDataParameters(input_width=1, input_height=1, input_channels=20_000, input_bits=8)
    head = FullyConnectedParameters(num_neurons=1, weights_bits=8, activations_enabled=False)
    spec = Builder().add("in", inputs).add("head", head).build(time_step=0.001)
    spec.layers[1].variables["weights"][...] = 127
    assert network_bounds(spec)["head"].partial == 20_000 * 255 * 127
    wider = dataclasses.replace(inputs, input_channels=70_000)
    spec = Builder().add("in", wider).add("head", head).build(time_step=0.001)
    spec.layers[1].variables["weights"][...] = 127
    with pytest.raises(ArtifactError, match="'head': a sum of one time step could reach") as caught:
        network_bounds(spec)
    assert caught.value.reason is Reason.OVERFLOW
    assert network_bounds(dataclasses.replace(spec, time_step=None))["head"].partial > 2**31
