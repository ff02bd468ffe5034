"""Weights as the loader packs them, for the layouts of all rows, also those of other CPUs.

`compare_rows.c` packs by itself; here is the same by formula, against the loader.
"""

from __future__ import annotations

import numpy as np
import pytest

from kerasnsoc_ext.packing import EVENT_BLOCK, Layout, pack

LAYOUTS = {"neon": Layout(16, 16), "avx2": Layout(32, 16), "avx512vnni": Layout(64, 64)}
NEURONS, CHANNELS, COLUMNS, CELLS = 97, 5, 3, 2


def _event_place(neuron: int, vector_bytes: int) -> int:
    """Place of a neuron's weight in its block: halves of 8 take turns within a vector."""
    vector, within = divmod(neuron, vector_bytes)
    half, rest = divmod(within, vector_bytes // 2)
    return vector * vector_bytes + rest // 8 * 16 + half * 8 + rest % 8


@pytest.fixture
def weights():
    shape = (COLUMNS, CELLS, CHANNELS, NEURONS)
    return np.random.default_rng(5).integers(-127, 128, shape).astype(np.int8)


def _packed(layout, weights, **options):
    columns = (9, weights.shape[0], 1, 0, 9 - weights.shape[0] + 1)
    cells = (7, weights.shape[1], 1, 0, 7 - weights.shape[1] + 1)
    packed = pack(layout, columns, cells, weights, 15, None, **options)
    assert packed is not None
    return packed


@pytest.mark.parametrize("row", LAYOUTS)
def test_a_convolution_is_packed_as_documented(row, weights):
    layout = LAYOUTS[row]
    packed = _packed(layout, weights)
    dense = packed.dense.reshape(-1, COLUMNS, packed.quads, layout.dense_block, 4)
    rows = packed.rows.reshape(-1, COLUMNS, CELLS, CHANNELS, EVENT_BLOCK)
    for neuron in range(NEURONS):
        run = weights[..., neuron].reshape(COLUMNS, -1)
        block, place = divmod(neuron, layout.dense_block)
        quads = dense[block, :, :, place].reshape(COLUMNS, -1)
        np.testing.assert_array_equal(quads[:, : run.shape[1]], run)
        assert not quads[:, run.shape[1] :].any()
        block, place = divmod(neuron, EVENT_BLOCK)
        place = _event_place(place, layout.vector_bytes)
        np.testing.assert_array_equal(rows[block, ..., place], weights[..., neuron])


@pytest.mark.parametrize("row", LAYOUTS)
def test_a_fully_connected_layer_has_a_row_of_all_neurons_per_input(row, weights):
    layout = LAYOUTS[row]
    inputs = weights.reshape(1, 1, -1, NEURONS)
    whole = (1, 1, 1, 0, 1)
    packed = pack(layout, whole, whole, inputs, 15, None, fully=True)
    rows = packed.rows.reshape(inputs.shape[2], -1, EVENT_BLOCK)
    for neuron in range(NEURONS):
        block, place = divmod(neuron, EVENT_BLOCK)
        place = _event_place(place, layout.vector_bytes)
        np.testing.assert_array_equal(rows[:, block, place], inputs[0, 0, :, neuron])


@pytest.mark.parametrize("channels", [1, 3, 16, 40, 300])
@pytest.mark.parametrize("row", LAYOUTS)
def test_depthwise_weights_repeat_until_vectors_come_out_even(row, channels):
    layout = LAYOUTS[row]
    lanes = layout.vector_bytes // 2
    depthwise = np.random.default_rng(6).integers(-7, 8, (3, 3, channels)).astype(np.int8)
    packed = _packed(layout, np.ones((1, 1, channels, 4), np.int8), depthwise_xyc=depthwise)
    assert packed.period % lanes == 0
    taps = packed.depthwise.reshape(9, packed.period)
    np.testing.assert_array_equal(taps[:, :channels], depthwise.reshape(9, channels))
    if packed.flat:
        assert packed.period % channels == 0
        np.testing.assert_array_equal(taps, np.tile(taps[:, :channels], packed.period // channels))
    else:
        assert not taps[:, channels:].any()
