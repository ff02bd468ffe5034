"""Figures with interval, grade and source."""
# ruff: noqa: RUF001

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.energy.quantities import (
    Interval,
    Quantity,
    format_interval,
    sum_intervals,
    worst_grade,
)


def test_an_unknown_figure_has_no_interval():
    figure = Quantity.unknown("J", "P", "not in the table")
    assert figure.interval is None
    assert str(figure) == "unknown, grade P"


def test_a_single_figure_is_its_own_interval():
    assert Quantity.exact(2e-12, "J", "S", "x").interval == (2e-12, 2e-12, 2e-12)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (1.0, 2.0, 3.0),
        (1.0, 0.5, 0.7),
        (-1.0, -1.0, -1.0),
        (1.0, 1.0, math.inf),
        (math.nan, 1.0, 1.0),
    ],
)
def test_bounds_must_enclose_the_value(value, low, high):
    with pytest.raises(ValueError, match="finite and 0 <= low <= value <= high"):
        Quantity(value, low, high, "J", "P", "x")


def test_half_unknown_bounds_are_refused():
    with pytest.raises(ValueError, match="three numbers, or None three times"):
        Quantity(1.0, None, 1.0, "J", "P", "x")


def test_a_figure_needs_a_source():
    with pytest.raises(ValueError, match="must say where it comes from"):
        Quantity.exact(1.0, "J", "P", " ")


@pytest.mark.parametrize(("unit", "grade"), [("pJ", "P"), ("J", "B")])
def test_unit_and_grade_are_closed_choices(unit, grade):
    with pytest.raises(ValueError, match="must be one of"):
        Quantity.exact(1.0, unit, grade, "x")


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((2.7e-6, 3e-6, 3.5e-6), "3.0 µJ [2.7–3.5]"),
        ((45e-12, 13.3e-9, 13.3e-9), "13 nJ [0.045–13]"),
        ((999.6e-9, 999.6e-9, 999.6e-9), "1.0 µJ [1.0–1.0]"),
        ((0.0, 0.0, 0.0), "0 J [0–0]"),
        ((0.0, 0.0, 2e-9), "0 nJ [0–2.0]"),
        ((1e-30, 1e-30, 1e-30), "1e-12 aJ [1e-12–1e-12]"),
        ((1.0, 12.0, 1e13), "12 J [1.0–1e+13]"),
    ],
)
def test_text_has_one_prefix_for_all_three(interval, text):
    assert format_interval(Interval(*interval)) == text


def test_watts_are_written_as_watts():
    assert format_interval(Interval(1e-3, 1e-3, 1e-3), "W") == "1.0 mW [1.0–1.0]"


@given(st.lists(st.floats(0, 1e30), min_size=3, max_size=3).map(sorted))
def test_any_interval_can_be_written(bounds):
    assert "[" in format_interval(Interval(*bounds))


def test_lows_and_highs_add_up_separately():
    assert sum_intervals([Interval(1, 2, 3), Interval(10, 20, 30)]) == (11, 22, 33)


def test_an_assumption_is_the_worst_grade():
    assert worst_grade(["P", "A", "D", "S"]) == "A"
    assert worst_grade(["S", "P"]) == "S"
    assert worst_grade([]) is None
