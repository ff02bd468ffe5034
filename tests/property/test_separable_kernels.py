"""Separable layers by strips: every form of the sums, forced, against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kerasnsoc_ext import Network, Plan, available_kernels, separable
from kerasnsoc_ext.packing import Packed

KERNELS = [name for name in available_kernels() if name != "scalar"]

# What makes a form the choice for any layer that it is proved for.
FORMS = {
    "as chosen": {},
    "words": {"MOST_BEYOND": -1.0},
    "split": {"MOST_BEYOND": 2.0, "SPLIT_CHANNELS": 1},
}

pytestmark = pytest.mark.skipif(not KERNELS, reason="this CPU has no vector kernels")


@st.composite
def windows(draw):
    """One axis with any stride and padding."""
    size, stride, output = draw(st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 7)))
    lead = draw(st.integers(0, size - 1))
    shortest = (output - 1) * stride - lead + 1
    length = max(1, shortest) + draw(st.integers(0, size + 1))
    return length, size, stride, lead, output


def _windows(inputs, window_x, window_y):
    """Inputs under every window, shape (outputs x, outputs y, size x, size y, channels)."""
    (_, size_x, stride_x, lead_x, out_x), (_, size_y, stride_y, lead_y, out_y) = window_x, window_y
    behind = [
        max(0, (w[4] - 1) * w[2] + w[1] - w[3] - length)
        for w, length in zip((window_x, window_y), inputs.shape[:2], strict=True)
    ]
    framed = np.pad(inputs, ((lead_x, behind[0]), (lead_y, behind[1]), (0, 0))).astype(np.int64)
    x = np.arange(out_x)[:, None] * stride_x + np.arange(size_x)
    y = np.arange(out_y)[:, None] * stride_y + np.arange(size_y)
    return framed[x[:, None, :, None], y[None, :, None, :]]


def _check(kernel, window_x, window_y, depthwise, pointwise, inputs, largest, levels=True):
    """Potentials, activations and counters of one layer; returns the form that ran."""
    seen = _windows(inputs, window_x, window_y)
    sums = (seen * depthwise).sum(axis=(2, 3))
    potentials = sums @ pointwise.astype(np.int64)
    # irregular thresholds stay a table, regular ones become a line
    low, high = int(potentials.min()), int(potentials.max())
    steps = np.linspace(low, high, 5) if levels else np.array([low, low + 1, (low + high) // 2])
    table = np.repeat(steps.astype(np.int32)[:, None], pointwise.shape[1], axis=1)
    network = Network(kernel)
    network.add_input("in", *inputs.shape, largest=largest)
    arguments = (0, window_x, window_y, depthwise, pointwise)
    network.add_separable("potentials", *arguments)
    network.add_separable("levels", *arguments, thresholds_mn=table)
    size = potentials.size
    outputs = [None, np.empty((1, size), np.int32), np.empty((1, size), np.uint8)]
    counters = np.empty((1, 3, 3), np.int64)
    plan = Plan(network)
    plan.run(inputs.reshape(1, -1), outputs, counters)
    assert plan.broken_guards() == []
    np.testing.assert_array_equal(outputs[1][0], potentials.ravel())
    expected = (potentials[..., None, :] > table).sum(axis=2)
    np.testing.assert_array_equal(outputs[2][0], expected.ravel())
    reached = np.count_nonzero(sums) * pointwise.shape[1]
    np.testing.assert_array_equal(counters[0, 1:, 1], np.count_nonzero(seen) + reached)
    packed = [held for held in network.held()[1] if isinstance(held, Packed)]
    return packed[0].strips.form if packed and packed[0].strips is not None else None


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("form", FORMS)
@given(
    windows(),
    windows(),
    st.integers(1, 9) | st.sampled_from([15, 16, 17, 32, 48, 63, 64, 65, 100, 128, 130, 192]),
    st.integers(1, 5) | st.sampled_from([15, 16, 17, 33, 48, 64, 65, 100, 130]),
    st.integers(1, 8),
    st.integers(2, 8),
    st.sampled_from([0.02, 0.5, 1.0]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_every_form_gives_the_same(
    kernel, form, window_x, window_y, channels, neurons, input_bits, bits, density, edge, seed
):
    rng = np.random.default_rng(seed)
    top, largest = 2 ** (bits - 1) - 1, 2**input_bits - 1
    shape = (window_x[0], window_y[0], channels)
    inputs = rng.integers(1, largest + 1, shape)
    if edge:  # the largest sums that there can be
        inputs[:] = largest
        depthwise = rng.choice([-top, top], (1, 1, channels)) * np.ones(
            (window_x[1], window_y[1], 1), int
        )
        pointwise = rng.choice([-top - 1, top], (1, neurons)) * np.sign(depthwise[0, 0])[:, None]
    else:
        depthwise = rng.integers(-top, top + 1, (window_x[1], window_y[1], channels))
        pointwise = rng.integers(-top - 1, top + 1, (channels, neurons))
    inputs = np.where(rng.random(shape) < density, inputs, 0).astype(np.uint8)
    most_n = largest * np.abs(depthwise).sum(axis=(0, 1)) @ np.abs(pointwise)
    assume(most_n.max() < 2**31)  # others are for `wide` ops, which run elsewhere
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FORMS[form].items():
            patch.setattr(separable, name, value)
        _check(
            kernel,
            window_x,
            window_y,
            depthwise.astype(np.int8),
            pointwise.clip(-127, 127).astype(np.int8),
            inputs,
            largest,
            levels=seed % 2 == 0,
        )


STRIPS = [name for name in KERNELS if name == "avx512vnni"]


@pytest.mark.skipif(not STRIPS, reason="this CPU has no kernels that run strips")
@pytest.mark.parametrize(
    ("channels", "bits", "largest", "form"),
    [
        (64, 4, 15, separable.SPLIT),
        (200, 4, 15, separable.SPLIT),
        (16, 4, 15, separable.WORDS),  # too few to list
        (64, 2, 15, separable.BYTES),
        (64, 4, 3, separable.BYTES),
        (64, 8, 15, separable.WORDS),  # most sums are beyond a byte
    ],
)
def test_which_form_is_chosen(channels, bits, largest, form):
    """Maps of several strips, so that their seams are seen as well."""
    rng = np.random.default_rng(channels)
    top = 2 ** (bits - 1) - 1
    for stride in (1, 2):
        window = (25, 3, stride, 1, (25 + stride - 1) // stride)
        depthwise = rng.integers(-top, top + 1, (3, 3, channels), np.int8)
        pointwise = rng.integers(-top, top + 1, (channels, 70), np.int8)
        inputs = rng.integers(0, largest + 1, (25, 25, channels), np.uint8)
        ran = _check(STRIPS[0], window, window, depthwise, pointwise, inputs, largest)
        assert ran == form


def test_a_base_moves_sums_into_a_byte():
    """All sums fit a byte once the least of them is 0."""
    taps = np.array([[17, -17, 5]], np.int8)
    low = np.array([0, -255, 0])
    high = np.array([255, 0, 75])
    form, base = separable.sums_form(taps, low, high, 15)
    assert (form, base.tolist()) == (separable.BYTES, [0, -255, 0])


@pytest.mark.parametrize(
    ("channels", "highest", "form"),
    [
        (64, 32767, separable.SPLIT),
        (64, 32768, separable.WORDS),
        (2**16, 32767, separable.SPLIT),
        (2**16 + 1, 32767, separable.WORDS),
    ],
)
def test_high_bytes_and_their_sums_are_bounded(channels, highest, form, monkeypatch):
    monkeypatch.setattr(separable, "MOST_BEYOND", 2.0)
    taps = np.zeros((9, channels), np.int8)  # a mean of 0 puts the base at -128, or at the lowest
    low, high = np.zeros(channels, np.int64), np.full(channels, highest, np.int64)
    found, base = separable.sums_form(taps, low, high, 255)
    assert found == form
    if form == separable.SPLIT:
        assert ((high - base) // 256 <= 127).all()
        assert 128 * channels * 128 < 2**31
