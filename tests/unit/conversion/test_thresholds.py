"""Integer thresholds against the inequality that defines them, in exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("keras")

from kerasnsoc.conversion import thresholds as exact
from kerasnsoc.conversion.thresholds import Affine, Staircase

pytestmark = pytest.mark.keras

floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-64, max_value=64)
positive = st.floats(width=32, min_value=2.0**-10, max_value=2.0**12)


@st.composite
def affines(draw):
    filters = draw(st.integers(1, 3))
    return Affine(
        alpha=1 / Fraction(draw(positive)),
        beta=draw(st.sampled_from([0, 0, 1, 128, 255])),
        scales=[Fraction(draw(positive)) for _ in range(filters)],
        biases=[Fraction(draw(floats)) for _ in range(filters)],
        weight_sums=[draw(st.integers(-2000, 2000)) for _ in range(filters)],
        positions=draw(st.sampled_from([1, 1, 4, 49])),
    )


@st.composite
def staircases(draw):
    width = Fraction(draw(positive))
    return Staircase(Fraction(draw(floats)), width, width, draw(st.sampled_from([1, 2, 3, 4, 8])))


def real_value(affine, n, potential):
    """Pre-activation of filter ``n``, from its potential, as an exact fraction."""
    unshifted = Fraction(potential, affine.positions) - affine.beta * affine.weight_sums[n]
    return unshifted / (affine.alpha * affine.scales[n]) + affine.biases[n]


def level(stairs, value):
    edges = (stairs.threshold + m * stairs.step_width for m in range(2**stairs.bits - 1))
    return sum(value > edge for edge in edges)


@given(affine=affines(), stairs=staircases(), data=st.data())
def test_levels_equal_the_real_staircase_around_every_threshold(affine, stairs, data):
    table = exact.exact_thresholds(affine, stairs)
    for n in range(len(affine.scales)):
        edge = int(table[n, data.draw(st.integers(0, table.shape[1] - 1))])
        if edge in (exact.INT32_MIN, exact.INT32_MAX):
            continue
        for potential in (edge - 1, edge, edge + 1):
            expected = level(stairs, real_value(affine, n, potential))
            assert np.count_nonzero(potential > table[n].astype(np.int64)) == expected


@given(affine=affines(), stairs=staircases())
def test_edges_are_the_floors_of_the_real_ones(affine, stairs):
    real = exact.real_thresholds(affine, stairs)
    for n, row in enumerate(real):
        for m in {0, 2**stairs.bits - 2}:
            # the pre-activation on the edge is the staircase's own edge
            assert real_value(affine, n, row[m]) == stairs.threshold + m * stairs.step_width
    floors = np.array([[exact.saturate(math.floor(edge)) for edge in row] for row in real], "i4")
    assert exact.exact_thresholds(affine, stairs).tolist() == floors.tolist()
    assert exact.base_thresholds(affine, stairs.threshold).tolist() == floors[:, 0].tolist()


@pytest.mark.parametrize(
    "function",
    [
        lambda affine, stairs: exact.exact_thresholds(affine, stairs),
        lambda affine, stairs: exact.real_thresholds(affine, stairs),
        lambda affine, stairs: exact.base_thresholds(affine, stairs.threshold),
        lambda affine, stairs: exact.output_mapping(affine),
    ],
)
def test_no_filter_goes_without_its_bias(function):
    stairs = Staircase(Fraction(1, 2), Fraction(1), Fraction(1), 2)
    affine = Affine(Fraction(1), 0, [Fraction(3)] * 2, [Fraction(0)], [5, 6], 1)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        function(affine, stairs)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_steps_are_those_of_four_bits(bits):
    affine = Affine(Fraction(255), 0, [Fraction(3), Fraction(1, 3)], [Fraction(0)] * 2, [0, 0], 9)
    found = exact.threshold_steps(affine, Fraction(2, 5), bits)
    expected = [Fraction(9 * 255 * 2, 5) * scale * 2**bits / 16 for scale in affine.scales]
    assert found.dtype == np.float32
    assert found.tolist() == [float(exact.nearest_float32(value)) for value in expected]


def test_a_tie_takes_the_lower_level():
    # with alpha = 1 / h and an even scale every edge is an integer potential
    affine = Affine(Fraction(1), 0, [Fraction(16)], [Fraction(0)], [0], 1)
    stairs = Staircase(Fraction(1, 2), Fraction(1), Fraction(1), 2)
    table = exact.exact_thresholds(affine, stairs)
    assert table.tolist() == [[8, 24, 40]]
    assert [np.count_nonzero(p > table[0]) for p in (8, 9, 24, 25, 40, 41)] == [0, 1, 1, 2, 2, 3]


def test_the_public_pair_follows_its_formula():
    h = Fraction(float(np.float32(0.4)))
    affine = Affine(1 / h, 3, [Fraction(17)], [Fraction(1, 8)], [-5], 6)
    base = exact.base_thresholds(affine, h / 2)
    step = exact.threshold_steps(affine, h, 4)
    theta = 6 * (17 / h * (h / 2 - Fraction(1, 8)) + 3 * -5)
    assert base[0] == theta.__floor__()
    assert step[0] == np.float32(6 * 17)  # alpha * h is 1, four bits keep the step


def test_values_beyond_int32_saturate():
    affine = Affine(Fraction(2**30), 0, [Fraction(2**12)], [Fraction(-1)], [0], 1)
    stairs = Staircase(Fraction(1, 2), Fraction(1), Fraction(1), 1)
    assert exact.exact_thresholds(affine, stairs)[0, 0] == 2**31 - 1
    opposite = Affine(Fraction(2**30), 0, [Fraction(2**12)], [Fraction(1)], [0], 1)
    assert exact.exact_thresholds(opposite, stairs)[0, 0] == -(2**31)


@given(st.fractions(min_value=-(10**6), max_value=10**6))
def test_nearest_float32_has_no_nearer_neighbour(value):
    found = exact.nearest_float32(value)
    error = abs(Fraction(float(found)) - value)
    for neighbour in (
        np.nextafter(found, np.float32(-np.inf)),
        np.nextafter(found, np.float32(np.inf)),
    ):
        assert error <= abs(Fraction(float(neighbour)) - value)


def test_nearest_float32_takes_the_even_one_of_two():
    for middle, even in ((1, 0), (3, 4), (5, 4), (7, 8)):
        for sign in (1, -1):
            value = sign * (1 + Fraction(middle, 2**24))
            assert exact.nearest_float32(value) == sign * np.float32(1 + even / 2**24)


def test_nearest_float32_does_not_round_twice():
    # just above the middle of 1 and the next float32; float64 rounds it onto the middle
    value = 1 + Fraction(1, 2**24) + Fraction(1, 2**80)
    assert exact.nearest_float32(value) == np.nextafter(np.float32(1), np.float32(2))


def test_output_mapping_gives_the_real_value():
    affine = Affine(
        Fraction(255), 7, [Fraction(3), Fraction(5, 8)], [Fraction(1, 4)] * 2, [9, -2], 4
    )
    scale, shift = exact.output_mapping(affine)
    for n in range(2):
        for potential in (-1000, 0, 12345):
            expected = float(real_value(affine, n, potential))
            # two roundings of the map and two of its use, each of half a unit in the last place
            assert potential * scale[n] + shift[n] == pytest.approx(expected, rel=1e-14, abs=1e-13)
