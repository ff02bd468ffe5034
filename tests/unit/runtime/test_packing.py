"""What is proved about a layer before vector kernels may run it."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc_ext import Network, Plan, available_kernels, packing
from kerasnsoc_ext.firing import fit_line
from kerasnsoc_ext.packing import Layout, pack

VECTOR_KERNELS = [name for name in available_kernels() if name != "scalar"]
POINT = (1, 1, 1, 0, 1)
LAYOUT = Layout(vector_bytes=32, dense_block=16)

needs_vectors = pytest.mark.skipif(not VECTOR_KERNELS, reason="this CPU has no vector kernels")


def _levels(line, potentials, levels):
    """The kernels' arithmetic, with the rounding of separate float32 operations."""
    y = potentials.astype(np.float32) * line.slope_n[0] + line.offset_n[0]
    return np.clip(np.trunc(y), 0, levels).astype(np.int64)


@given(
    st.lists(st.integers(-400, 400), min_size=1, max_size=15),
    st.integers(-500, 0),
    st.integers(0, 500),
)
def test_a_line_equals_its_table_everywhere(thresholds, low, high):
    table = np.sort(np.array(thresholds, np.int32))[:, None]
    line = fit_line(table, np.array([low]), np.array([high]), 1)
    if line is not None:
        potentials = np.arange(low, high + 1)
        expected = (potentials > table).sum(axis=0)
        np.testing.assert_array_equal(_levels(line, potentials, len(table)), expected)


@given(st.integers(-1000, 1000), st.floats(1, 60), st.sampled_from([1, 3, 15]))
def test_regular_steps_become_a_line(threshold, step, levels):
    table = (threshold + np.floor(np.arange(levels) * step)).astype(np.int32)[:, None]
    reach = 2000
    line = fit_line(table, np.array([-reach]), np.array([reach]), 64)
    assert line is not None
    assert line.slope_n.shape == line.offset_n.shape == (64,)
    potentials = np.arange(-reach, reach + 1)
    np.testing.assert_array_equal(
        _levels(line, potentials, levels), (potentials > table).sum(axis=0)
    )


@pytest.mark.parametrize(
    ("thresholds", "low", "high"),
    [
        ([0, 1, 100], -200, 200),  # bends
        ([0, 10], -(2**24), 5),  # potentials that float32 does not hold
    ],
)
def test_other_tables_stay_tables(thresholds, low, high):
    table = np.array(thresholds, np.int32)[:, None]
    assert fit_line(table, np.array([low]), np.array([high]), 1) is None


@pytest.mark.parametrize(("threshold", "level"), [(2**31 - 1, 0), (-(2**31), 1)])
def test_a_neuron_that_never_or_always_fires(threshold, level):
    line = fit_line(np.array([[threshold]], np.int32), np.array([-50]), np.array([70]), 1)
    potentials = np.arange(-50, 71)
    assert (_levels(line, potentials, 1) == level).all()


def _one(weights, largest):
    weights = np.asarray(weights, np.int8)[None, None]
    return pack(LAYOUT, POINT, POINT, weights, largest, None)


def test_bounds_at_the_edge():
    """Sixteen bits up to 32767 exactly, one more is too many."""
    exact = np.array([[127], [127], [4]])  # 127 * 127 * 2 + 4 * 127 = 32766
    assert _one(exact, 127).narrow
    assert not _one(np.array([[127], [127], [5]]), 127).narrow
    assert not _one(-np.array([[127], [127], [5]]), 127).narrow
    wide = _one([[127], [-127]], 255)
    assert (wide.flush, wide.single_dots, wide.dots_in_s16) == (1, False, 0)
    assert _one([[64]], 255).single_dots  # 2 * 64 * 255 = 32640
    assert not _one([[65]], 255).single_dots
    assert _one([[7]], 15).dots_in_s16 == 32767 // 210


def test_a_depthwise_sum_beyond_16_bits_is_not_packed():
    pointwise = np.ones((1, 1, 1, 1), np.int8)
    window = (3, 3, 1, 1, 3)

    def packed(weight):
        depthwise = np.full((3, 3, 1), weight, np.int8)
        return pack(LAYOUT, window, window, pointwise, 255, None, depthwise_xyc=depthwise)

    assert packed(14) is not None  # 9 * 14 * 255 = 32130
    assert packed(15) is None


@pytest.mark.parametrize(("inputs", "neurons"), [(1, 1), (70_000, 1), (9_000, 10), (2_000, 64)])
@pytest.mark.parametrize("block", [16, 64])
def test_padding_is_bounded(inputs, neurons, block):
    """A layer of few neurons and many inputs is not packed, or not for events."""
    weights = np.ones((1, 1, inputs, neurons), np.int8)
    packed = pack(Layout(64, block), POINT, POINT, weights, 15, None, fully=True)
    bound = 2 * (8 * weights.size + 2**16) + 4096
    assert packed is None or packed.nbytes <= bound
    assert (packed is None) == ((inputs, neurons) == (70_000, 1))


@given(st.integers(-(10**6), 10**6), st.floats(20, 9000), st.integers(10**6, 2**24 - 1))
def test_a_line_far_below_the_largest_potential(threshold, step, reach):
    """Rounding grows with the potential; only around thresholds it has to stay small."""
    table = (threshold + np.floor(np.arange(15) * step)).astype(np.int32)[:, None]
    line = fit_line(table, np.array([-reach]), np.array([reach]), 1)
    if line is None:
        return
    around = table + np.arange(-3, 4)
    spread = np.linspace(-reach, reach, 2001).astype(np.int64)
    potentials = np.clip(np.concatenate([around.ravel(), spread]), -reach, reach)
    expected = (potentials > table).sum(axis=0)
    np.testing.assert_array_equal(_levels(line, potentials, 15), expected)
    # as a fused multiply-add rounds: once
    fused = potentials * line.slope_n[0].astype(np.float64) + line.offset_n[0]
    fused = np.clip(np.trunc(fused.astype(np.float32)), 0, 15)
    np.testing.assert_array_equal(fused, expected)


def test_bent_tables_do_not_hide_those_that_are_lines():
    """One neuron at regular steps, one whose line has to be searched."""
    table = np.array([[0, 0], [10, 11], [20, 13]], np.int32)
    low, high = np.array([-30, 2]), np.array([40, 12])
    line = fit_line(table, low, high, 2)
    assert line is not None
    for n in range(2):
        potentials = np.arange(low[n], high[n] + 1)
        y = potentials.astype(np.float32) * line.slope_n[n] + line.offset_n[n]
        expected = (potentials > table[:, n : n + 1]).sum(axis=0)
        np.testing.assert_array_equal(np.clip(np.trunc(y), 0, 3), expected)


@needs_vectors
@pytest.mark.parametrize("kernel", VECTOR_KERNELS)
def test_which_layers_are_packed(kernel):
    network = Network(kernel)
    network.add_input("in", 1, 1, 4)
    weights = np.ones((4, 3), np.int8)
    narrow = network.add_fully_connected("narrow", 0, weights)
    wide = network.add_fully_connected("wide", 0, weights, None, True)
    assert [network.is_packed(op) for op in (0, narrow, wide)] == [False, True, False]
    assert [network.kernel_of(op) for op in (narrow, wide)] == [kernel, "scalar"]
    assert network.form_of(0) == ""
    assert network.form_of(narrow).startswith("dense, events up to ")
    assert network.form_of(wide) == "dense, events up to 81%"
    assert network.packed_nbytes(narrow) >= weights.nbytes
    assert network.packed_nbytes(wide) == network.packed_nbytes(0) == 0
    plain = Network("scalar")
    plain.add_input("in", 1, 1, 4)
    assert not plain.is_packed(plain.add_fully_connected("f", 0, weights))


@pytest.mark.parametrize("kernel", available_kernels())
def test_inputs_beyond_what_was_told_are_refused(kernel):
    network = Network(kernel)
    network.add_input("in", 1, 1, 40, largest=15)
    network.add_fully_connected("f", 0, np.full((40, 2), 127, np.int8))
    assert network.largest_input == 15
    output = np.empty((1, 2), np.int32)
    arguments = [None, output], np.empty((1, 2, 3), np.int64)
    inputs = np.full((1, 40), 15, np.uint8)
    Plan(network).run(inputs, *arguments)
    assert output.tolist() == [[15 * 40 * 127] * 2]
    inputs[0, 39] = 16
    with pytest.raises(ValueError, match=r"value 16.*takes 0 to 15"):
        Plan(network).run(inputs, *arguments)
    with pytest.raises(ValueError, match=r"largest is 256"):
        Network(kernel).add_input("in", 1, 1, 1, 256)


@pytest.mark.parametrize("form", ["dense", "events"])
@pytest.mark.parametrize("kernel", available_kernels())
def test_a_convolution_of_extremes_does_not_saturate(kernel, form):
    """255 * -128 and 255 * 127, alike in sign and mixed, over every remainder of a tile."""
    rng = np.random.default_rng(0)
    for cells in range(1, 16):
        network = Network(kernel)
        network.add_input("in", cells, 1, 9)
        weights = rng.choice(np.array([-128, 127], np.int8), (1, 1, 9, 70))
        weights[..., 0], weights[..., 1] = 127, -128
        network.add_convolution("c", 0, (cells, 1, 1, 0, cells), POINT, weights)
        inputs = np.full((1, cells * 9), 255, np.uint8)
        output = np.empty((1, cells * 70), np.int32)
        Plan(network).run(inputs, [None, output], np.empty((1, 2, 3), np.int64), form)
        expected = 255 * weights[0, 0].astype(np.int64).sum(axis=0)
        np.testing.assert_array_equal(output.reshape(cells, 70), np.tile(expected, (cells, 1)))


@needs_vectors
@pytest.mark.parametrize("kernel", VECTOR_KERNELS)
def test_the_automatic_form_does_not_change_results(kernel):
    """Always events, always dense, and each side of the crossover."""
    rng = np.random.default_rng(1)
    weights = rng.integers(-7, 8, (30, 20), dtype=np.int8)
    inputs = (rng.random((6, 30)) < np.linspace(0, 1, 6)[:, None]).astype(np.uint8)
    for crossover in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0)):
        network = Network(kernel, crossover)
        network.add_input("in", 1, 1, 30)
        network.add_fully_connected("f", 0, weights)
        output = np.empty((6, 20), np.int32)
        Plan(network).run(inputs, [None, output], np.empty((6, 2, 3), np.int64))
        np.testing.assert_array_equal(output, inputs.astype(int) @ weights.astype(int))


def test_many_neurons_get_the_lines_that_each_gets_alone():
    """However few or many are tried together, the first line that fits is taken."""
    rng = np.random.default_rng(5)
    first_n, step_n = rng.integers(-900, 900, 200), rng.uniform(0.3, 90, 200)
    exact = first_n + np.floor(np.arange(15)[:, None] * step_n)
    table = exact.astype(np.int32)
    low, high = -rng.integers(0, 2000, 200), rng.integers(0, 2000, 200)
    together = fit_line(table, low, high, 256)
    alone = [fit_line(table[:, [n]], low[[n]], high[[n]], 1) for n in range(200)]
    for index, name in enumerate(("slope_n", "offset_n")):
        found = getattr(together, name)
        np.testing.assert_array_equal(found[:200], [float(line[index][0]) for line in alone])
        assert not found[200:].any()


@pytest.mark.parametrize("largest", [1, 15, 127, 255])
@pytest.mark.parametrize(("rows", "neurons"), [(1, 1), (7, 300), (3000, 90)])
def test_sums_are_bounded_exactly(monkeypatch, largest, rows, neurons):
    """By what no float decides: sums of the negative and of the positive terms."""
    monkeypatch.setattr(packing, "WIDENED_WEIGHTS", 9000)  # several blocks, the last one short
    rng = np.random.default_rng(rows)
    weights = rng.integers(-128, 128, (rows, neurons), dtype=np.int8)
    wide = weights.astype(np.int64)
    low, high = packing._extremes(weights, largest)
    np.testing.assert_array_equal(low, np.minimum(wide, 0).sum(axis=0) * largest)
    np.testing.assert_array_equal(high, np.maximum(wide, 0).sum(axis=0) * largest)
    low_k = -rng.integers(0, 129 * largest, rows)
    high_k = rng.integers(0, 129 * largest, rows)
    low, high = packing._reach(low_k, high_k, weights)
    above, under = np.maximum(wide, 0), np.minimum(wide, 0)
    np.testing.assert_array_equal(low, low_k @ above + high_k @ under)
    np.testing.assert_array_equal(high, high_k @ above + low_k @ under)


@pytest.mark.parametrize("kind", ["convolution", "fully connected", "separable"])
def test_packing_needs_little_more_memory_than_its_result(kind):
    weights = np.random.default_rng(0).integers(-7, 8, (1, 1, 1024, 1024), dtype=np.int8)
    depthwise = np.ones((1, 1, 1024), np.int8) if kind == "separable" else None
    arguments = (LAYOUT, POINT, POINT, weights, 15, None)
    tracemalloc.start()
    try:
        packed = pack(*arguments, fully=kind == "fully connected", depthwise_xyc=depthwise)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # a block of weights as floats, its products and a few numbers per neuron
    assert peak <= packed.nbytes + 9 * packing.WIDENED_WEIGHTS
