"""Numbers that carry their interval, their grade of evidence and their source."""

from kerasnsoc._quantities import (
    GRADES,
    Grade,
    Interval,
    Quantity,
    Unit,
    format_interval,
    sum_intervals,
    worst_grade,
)

__all__ = [
    "GRADES",
    "Grade",
    "Interval",
    "Quantity",
    "Unit",
    "format_interval",
    "sum_intervals",
    "worst_grade",
]
