"""Numbers that carry their interval, their grade of evidence and their source."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

Grade: TypeAlias = Literal["P", "S", "D", "A"]
"""Evidence behind a figure, best first.

``P`` read in the publication that is named; ``S`` quoted from it by another one that was
read; ``D`` arithmetic on such figures; ``A`` assumption.
"""

Unit: TypeAlias = Literal["J", "W", "s", "Hz", "B", "1", "1/s"]

GRADES: tuple[Grade, ...] = get_args(Grade)
_UNITS: tuple[Unit, ...] = get_args(Unit)
_PREFIXES = {0: "", -3: "m", -6: "µ", -9: "n", -12: "p", -15: "f", -18: "a", 3: "k", 6: "M"}


class Interval(NamedTuple):
    """A value with its lower and upper bound."""

    low: float
    value: float
    high: float

    def times(self, factor: float) -> Interval:
        """All three numbers multiplied."""
        return Interval(self.low * factor, self.value * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A published or assumed coefficient.

    Parameters
    ----------
    value, low, high : float or None
        ``0 <= low <= value <= high``, or None in all three where nobody published the figure.
    unit : {"J", "W", "s", "Hz", "B", "1", "1/s"}
        Joules per counted operation, watts, seconds per operation, hertz, bytes, a count, or
        operations per second.
    grade : {"P", "S", "D", "A"}
        See `Grade`.
    source : str
        Where the figure comes from; never empty.
    """

    value: float | None
    low: float | None
    high: float | None
    unit: Unit
    grade: Grade
    source: str

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise ValueError(f"unit is {self.unit!r}, but it must be one of {_UNITS}")
        if self.grade not in GRADES:
            raise ValueError(f"grade is {self.grade!r}, but it must be one of {GRADES}")
        if not isinstance(self.source, str) or not self.source.strip():
            raise ValueError(
                f"source is {self.source!r}, but a figure must say where it comes from"
            )
        bounds = (self.low, self.value, self.high)
        if bounds == (None, None, None):
            return
        if None in bounds:
            raise ValueError(
                f"low, value, high are {bounds}; give three numbers, or None three times for an "
                "unknown figure"
            )
        low, value, high = bounds
        if not (0 <= low <= value <= high < math.inf):  # type: ignore[operator]
            raise ValueError(
                f"low, value, high are {bounds}, but they must be finite and 0 <= low <= value "
                "<= high"
            )
        # a whole number reads back from a file as an integer, and must stay equal
        for name, number in zip(("low", "value", "high"), bounds, strict=True):
            object.__setattr__(self, name, float(number))  # type: ignore[arg-type]

    @classmethod
    def exact(cls, value: float, unit: Unit, grade: Grade, source: str) -> Quantity:
        """A single figure without a published spread."""
        return cls(value, value, value, unit, grade, source)

    @classmethod
    def unknown(cls, unit: Unit, grade: Grade, source: str) -> Quantity:
        """A figure that nobody published; `source` says who left it out."""
        return cls(None, None, None, unit, grade, source)

    @property
    def interval(self) -> Interval | None:
        """The three numbers, or None if the figure is unknown."""
        if self.low is None or self.value is None or self.high is None:
            return None
        return Interval(self.low, self.value, self.high)

    def __str__(self) -> str:
        return f"{format_interval(self.interval, self.unit)}, grade {self.grade}"


def sum_intervals(intervals: Iterable[Interval]) -> Interval:
    """Sum of the lows, of the values and of the highs: every term at its worst at once."""
    low = value = high = 0.0
    for interval in intervals:
        low += interval.low
        value += interval.value
        high += interval.high
    return Interval(low, value, high)


def worst_grade(grades: Iterable[Grade]) -> Grade | None:
    """The weakest evidence among the grades, None if there are none."""
    return max(grades, key=GRADES.index, default=None)


def format_interval(interval: Interval | None, unit: Unit = "J") -> str:
    """Two digits and one SI prefix for all three numbers.

    Examples
    --------
    >>> print(format_interval(Interval(2.7e-6, 3e-6, 3.5e-6)))
    3.0 µJ [2.7–3.5]
    >>> format_interval(None)
    'unknown'
    """
    if interval is None:
        return "unknown"
    # Rounded first: 999.6 nJ is 1.0 µJ, not 1000 nJ.
    rounded = float(f"{interval.value or interval.high:.2g}")
    exponent = math.floor(math.log10(rounded) / 3) * 3 if rounded else 0
    exponent = min(max(exponent, min(_PREFIXES)), max(_PREFIXES))
    low, value, high = (_two_digits(x / 10.0**exponent) for x in interval)
    return f"{value} {_PREFIXES[exponent]}{unit} [{low}\N{EN DASH}{high}]"


def _two_digits(x: float) -> str:
    if x == 0:
        return "0"
    if x >= 9.95:
        return f"{x:.0f}" if x < 1e6 else f"{x:.2g}"
    return f"{x:.1f}" if x >= 0.995 else f"{x:.2g}"
