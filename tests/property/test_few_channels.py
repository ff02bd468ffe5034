"""Convolutions over one to four channels, whose windows the kernels join to rows of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc_ext import Network, Plan, available_kernels, packing
from kerasnsoc_ext.packing import Packed

KERNELS = [name for name in available_kernels() if name != "scalar"]

pytestmark = pytest.mark.skipif(not KERNELS, reason="this CPU has no vector kernels")


@st.composite
def windows(draw):
    size, stride = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    output, lead = draw(st.integers(1, 40)), draw(st.integers(0, size - 1))
    shortest = max(1, (output - 1) * stride - lead + 1)
    return shortest + draw(st.integers(0, size)), size, stride, lead, output


def _run(kernel, x, y, weights, table, inputs, image, padding):
    network = Network(kernel)
    source = None
    if not image:
        network.add_input("in", *inputs.shape[1:])
        source = 0
    options = {"thresholds_mn": table}
    if padding:
        options["padding_value"] = padding
        options["padding_xyn"] = weights.astype(np.int32).sum(axis=2, dtype=np.int32) * padding
    network.add_convolution("conv", source, x, y, weights, **options)
    size = x[4] * y[4] * weights.shape[3]
    outputs = [None] * (len(network) - 1)
    outputs.append(np.empty((len(inputs), size), np.int32 if table is None else np.uint8))
    counters = np.empty((len(inputs), len(network), 3), np.int64)
    plan = Plan(network)
    plan.run(inputs.reshape(len(inputs), -1), outputs, counters, form="dense")
    assert plan.broken_guards() == []
    packed = [held for held in network.held()[-1] if isinstance(held, Packed)]
    return outputs[-1], counters, packed and packed[0].joined


@pytest.mark.parametrize("kernel", KERNELS)
@given(
    windows(),
    windows(),
    st.integers(1, 4),
    st.sampled_from([1, 8, 16, 17, 33, 48, 64, 70, 130]),
    st.sampled_from([3, 15, 255]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 0, 1, 3]),
    st.integers(0, 2**32 - 1),
)
def test_every_row_gives_the_integers_of_plain_c(
    kernel, x, y, channels, neurons, largest, image, fires, padding, seed
):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (x[1], y[1], channels, neurons), np.int8)
    shape = (2, y[0], x[0], channels) if image else (2, x[0], y[0], channels)
    inputs = rng.integers(0, largest + 1, shape).astype(np.uint8)
    table = None
    if fires:
        steps = rng.integers(-(2**14), 2**15, (7, neurons))
        table = np.sort(steps, axis=0).astype(np.int32)
    arguments = x, y, weights, table, inputs, image, padding if image else 0
    expected, counted, _ = _run("scalar", *arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "COPY_IN_PRODUCTS", 0)  # wherever it saves something
        found, counters, _ = _run(kernel, *arguments)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(counters, counted)


@pytest.mark.parametrize(
    ("size", "channels", "neurons", "joined"),
    [
        (3, 3, 128, True),
        (3, 3, 64, False),  # the copies take longer than what they save
        (5, 1, 128, True),
        (4, 1, 128, False),  # columns of whole quads
        (3, 4, 128, False),
        (33, 3, 128, False),  # more than the kernel has room for
    ],
)
def test_windows_are_joined_where_that_pays(size, channels, neurons, joined):
    window = (40, size, 1, 0, 40 - size + 1)
    inputs = np.zeros((1, 40, 40, channels), np.uint8)
    weights = np.ones((size, size, channels, neurons), np.int8)
    assert _run(KERNELS[0], window, window, weights, None, inputs, True, 0)[2] == joined
