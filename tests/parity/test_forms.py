"""Forms for inputs and weights of few bits, each forced, against sums in 64 bits."""

from __future__ import annotations

import numpy as np
import pytest

from kerasnsoc_ext import Network, Plan, available_kernels, small_weights
from kerasnsoc_ext.packing import Packed

FORMS = ("auto", "dense", "events")
DENSITIES = (0.0, 0.01, 0.2, 0.5, 1.0)
LARGEST_INPUTS = (1, 3, 7, 15, 127, 255)
LARGEST_WEIGHTS = (1, 2, 3, 7, 8, 127)

VECTOR_KERNELS = [name for name in available_kernels() if name != "scalar"]
needs_vectors = pytest.mark.skipif(not VECTOR_KERNELS, reason="this CPU has no vector kernels")


def _packed(network):
    return next(held for held in network.held()[-1] if isinstance(held, Packed))


def _weights(rng, shape, largest):
    """Random ones, and neurons that only have the extremes."""
    weights = rng.integers(-largest, largest + 1, shape, dtype=np.int8)
    weights[..., 0], weights[..., -1] = largest, -largest
    return weights


def _inputs(rng, shape, largest, density):
    values = rng.integers(1, largest + 1, shape)
    values[0] = largest
    return np.where(rng.random(shape) < density, values, 0).astype(np.uint8)


def _check(network, inputs, expected, thresholds=None):
    expected = expected.reshape(len(inputs), -1)
    kind = np.int32
    if thresholds is not None:
        neurons = thresholds.shape[1]
        potentials = expected.reshape(len(inputs), -1, neurons)
        expected = (potentials[:, None] > thresholds[:, None]).sum(axis=1).reshape(expected.shape)
        kind = np.uint8
    plan = Plan(network)
    for form in FORMS:
        found = np.full(expected.shape, 77, kind)
        plan.run(
            inputs.reshape(len(inputs), -1),
            [None, found],
            np.empty((len(inputs), 2, 3), np.int64),
            form,
        )
        np.testing.assert_array_equal(found, expected, err_msg=form)
        assert plan.broken_guards() == []


def _thresholds(rng, levels, neurons, total):
    if not levels:
        return None
    table = np.sort(rng.integers(-total, total + 1, (levels, neurons)), axis=0)
    return np.ascontiguousarray(table, np.int32)


@pytest.mark.parametrize("kernel", available_kernels())
@pytest.mark.parametrize("largest", LARGEST_INPUTS)
@pytest.mark.parametrize("largest_weight", LARGEST_WEIGHTS)
def test_fully_connected(kernel, largest, largest_weight):
    rng = np.random.default_rng(largest * 1000 + largest_weight)
    for size, neurons in ((1, 1), (37, 65), (300, 129), (130, 515), (2500, 3)):
        weights = _weights(rng, (size, neurons), largest_weight)
        thresholds = _thresholds(rng, int(rng.integers(0, 4)), neurons, 1 + size * largest // 4)
        network = Network(kernel)
        network.add_input("in", 1, 1, size, largest)
        network.add_fully_connected("f", 0, weights, thresholds)
        inputs = np.concatenate([_inputs(rng, (2, size), largest, d) for d in DENSITIES])
        _check(network, inputs, inputs.astype(np.int64) @ weights.astype(np.int64), thresholds)


def _convolved(inputs_sxyc, weights_xycn, stride, lead, output):
    columns, cells = weights_xycn.shape[:2]
    reach = (output - 1) * stride + max(columns, cells)
    samples, width, height, channels = inputs_sxyc.shape
    padded = np.zeros((samples, lead + reach + width, lead + reach + height, channels), np.int64)
    padded[:, lead : lead + width, lead : lead + height] = inputs_sxyc
    result = np.zeros((samples, output, output, weights_xycn.shape[3]), np.int64)
    end = (output - 1) * stride + 1
    for dx in range(columns):
        for dy in range(cells):
            window = padded[:, dx : dx + end : stride, dy : dy + end : stride]
            result += window @ weights_xycn[dx, dy].astype(np.int64)
    return result


CONVOLUTIONS = (  # side, window, stride, lead, output, channels, neurons
    (5, 3, 1, 1, 5, 1, 1),
    (9, 3, 1, 1, 9, 5, 70),
    (10, 3, 2, 1, 5, 32, 64),
    (6, 5, 1, 2, 6, 33, 3),
    (4, 1, 1, 0, 4, 130, 65),
    (7, 2, 3, 0, 2, 6, 17),
)


@pytest.mark.parametrize("kernel", available_kernels())
@pytest.mark.parametrize("largest", LARGEST_INPUTS)
@pytest.mark.parametrize("largest_weight", LARGEST_WEIGHTS)
def test_convolution(kernel, largest, largest_weight):
    rng = np.random.default_rng(largest * 1000 + largest_weight)
    for side, size, stride, lead, output, channels, neurons in CONVOLUTIONS:
        weights = _weights(rng, (size, size, channels, neurons), largest_weight)
        thresholds = _thresholds(rng, int(rng.integers(0, 4)), neurons, 9 * channels)
        network = Network(kernel)
        network.add_input("in", side, side, channels, largest)
        window = (side, size, stride, lead, output)
        network.add_convolution("c", 0, window, window, weights, None, None, thresholds)
        shape = (1, side, side, channels)
        inputs = np.concatenate([_inputs(rng, shape, largest, d) for d in DENSITIES])
        _check(network, inputs, _convolved(inputs, weights, stride, lead, output), thresholds)


@needs_vectors
@pytest.mark.parametrize("kernel", VECTOR_KERNELS)
def test_which_layers_get_which_form(kernel):
    """Up to the last weight and input for which bytes suffice, and not beyond."""

    def convolution(largest, weight):
        network = Network(kernel)
        network.add_input("in", 4, 4, 8, largest)
        weights = np.full((3, 3, 8, 64), weight, np.int8)
        network.add_convolution("c", 0, (4, 3, 1, 1, 4), (4, 3, 1, 1, 4), weights)
        expected = "lookup" if _packed(network).bits is not None else "dense"
        assert network.form_of(1).split(",")[0] == expected
        return _packed(network).bits

    assert convolution(1, 7).tables is not None
    assert convolution(1, -7).rows_fit == 18
    assert convolution(1, 8) is None
    assert convolution(2, 7) is None

    def fully_connected(largest, weight, inputs=40):
        network = Network(kernel)
        network.add_input("in", 1, 1, inputs, largest)
        network.add_fully_connected("f", 0, np.full((inputs, 200), weight, np.int8))
        return _packed(network).nibbles

    assert (fully_connected(1, 1).group, fully_connected(1, 1).groups) == (7, 18)
    assert (fully_connected(1, -7).group, fully_connected(1, -7).groups) == (1, 18)
    assert fully_connected(127, 7).flush == 32767 // (14 * 127)
    assert fully_connected(15, 7).group == 0
    assert fully_connected(128, 7) is None
    assert fully_connected(15, 8) is None
    # potentials of biased weights stay within 16 bits
    assert fully_connected(1, 7, 2340) is not None
    assert fully_connected(1, 7, 2341) is None
    assert fully_connected(3, 7, 2341) is not None


def test_chunks_of_tables_fit_a_byte():
    """No sum of a chunk's positive weights, or of its negative ones, leaves a byte."""
    rng = np.random.default_rng(0)
    for channels in (1, 7, 64, 250):
        weights = rng.integers(-7, 8, (2, 3, channels, 30), dtype=np.int8)
        weights[..., 0], weights[..., 1] = 7, -7
        piece, chunk = small_weights.cut(weights)
        fours = small_weights.in_fours(weights).astype(np.int64)
        assert fours.shape == (2, 3 * -(-channels // 4), 30, 4)
        for start in range(0, fours.shape[1], piece):
            end = min(start + piece, fours.shape[1])
            for at in range(start, end, chunk):
                some = fours[:, at : min(at + chunk, end)]
                assert np.maximum(some, 0).sum(axis=(1, 3)).max() <= 127
                assert np.minimum(some, 0).sum(axis=(1, 3)).min() >= -128
