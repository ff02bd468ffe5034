"""Ops in a row: maps that are written with the border of the next op, and that share memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc_ext import Network, Plan, available_kernels

KERNELS = [name for name in available_kernels() if name != "scalar"]

pytestmark = pytest.mark.skipif(not KERNELS, reason="this CPU has no vector kernels")


@st.composite
def windows(draw, length):
    """A window over inputs of this length, with any border."""
    size, stride = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    lead = draw(st.integers(0, size - 1))
    behind = draw(st.integers(0, size - 1))
    output = max(1, (length + lead + behind - size) // stride + 1)
    return length, size, stride, lead, output


@st.composite
def chains(draw):
    """Ops as arguments; now and then one reads an op further back, or two read the same."""
    dims = [(draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.sampled_from([1, 3, 16])))]
    ops = []
    for index in range(draw(st.integers(2, 5))):
        source = draw(st.integers(0, index)) if draw(st.integers(0, 3)) == 0 else index
        width, height, channels = dims[source]
        neurons = draw(st.sampled_from([1, 5, 16, 33, 64, 70]))
        x, y = draw(windows(width)), draw(windows(height))
        separable, pooled = draw(st.booleans()), draw(st.integers(0, 3)) == 0
        ops.append((source, x, y, channels, neurons, separable, pooled))
        dims.append((x[4], y[4], neurons))
    return dims[0], ops, draw(st.integers(0, 2**32 - 1))


def _whole(length):
    """A pooling window over the whole axis, then the axis that is left."""
    return length, 1, 1, 0, length


def _network(kernel, dims, ops, seed):
    rng = np.random.default_rng(seed)
    network = Network(kernel)
    network.add_input("in", *dims, largest=15)
    for index, (source, x, y, channels, neurons, separable, pooled) in enumerate(ops):
        table = np.sort(rng.integers(-300, 900, (15, neurons)), axis=0).astype(np.int32)
        options = {"thresholds_mn": table}
        if pooled:
            options["pooling"] = ("max", _whole(x[4]), _whole(y[4]))
        depthwise = rng.integers(-7, 8, (x[1], y[1], channels), np.int8)
        pointwise = rng.integers(-7, 8, (channels, neurons), np.int8)
        taps = rng.integers(-7, 8, (x[1], y[1], channels, neurons), np.int8)
        if separable:
            network.add_separable(str(index), source, x, y, depthwise, pointwise, **options)
        else:
            network.add_convolution(str(index), source, x, y, taps, **options)
    return network


def _run(network, inputs, wanted, form):
    sizes = [int(np.prod(network.output_dims(op))) for op in range(len(network))]
    outputs = [
        np.empty((len(inputs), size), np.uint8) if op in wanted else None
        for op, size in enumerate(sizes)
    ]
    counters = np.empty((len(inputs), len(network), 3), np.int64)
    plan = Plan(network)
    plan.run(inputs, outputs, counters, form=form)
    assert plan.broken_guards() == []
    return outputs, counters


@pytest.mark.parametrize("kernel", KERNELS)
@given(chains(), st.sampled_from(["auto", "dense", "events"]), st.sampled_from([0.0, 0.1, 0.9]))
def test_every_row_gives_the_integers_of_plain_c(kernel, chain, form, density):
    dims, ops, seed = chain
    rng = np.random.default_rng(seed)
    inputs = rng.integers(1, 16, (3, int(np.prod(dims))))
    inputs = np.where(rng.random(inputs.shape) < density, inputs, 0).astype(np.uint8)
    everything = range(len(ops) + 1)
    expected, counted = _run(_network("scalar", dims, ops, seed), inputs, everything, "dense")
    network = _network(kernel, dims, ops, seed)
    for wanted in (everything, [len(ops)]):
        found, counters = _run(network, inputs, wanted, form)
        for op in wanted:
            np.testing.assert_array_equal(found[op], expected[op])
        np.testing.assert_array_equal(counters, counted)
