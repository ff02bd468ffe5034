"""Bars of energy with their intervals; they need the extra ``plot``."""

from __future__ import annotations

from typing import Any, Literal

from kerasnsoc._extras import require
from kerasnsoc.energy.quantities import Grade, Interval, format_interval
from kerasnsoc.energy.report import EnergyReport
from kerasnsoc.energy.run import DeviceComparison

_GRADE_COLORS: dict[Grade | None, str] = {
    "P": "#0072B2",
    "S": "#56B4E9",
    "D": "#E69F00",
    "A": "#999999",
    None: "#CCCCCC",
}
_GRADE_WORDS = {"P": "published", "S": "quoted", "D": "derived", "A": "assumed"}
_INK = "#222222"


def plot_energy(
    energy: EnergyReport | DeviceComparison,
    by: Literal["term", "core"] = "term",
    *,
    ax: Any = None,
) -> Any:
    """Horizontal bars, each with its interval; colors show the grade of evidence.

    Parameters
    ----------
    energy : EnergyReport or DeviceComparison
        A comparison has a bar per device on a logarithmic axis; devices without a known total are
        named below it.
    by : {"term", "core"}
        Of a report: a bar per kind of operation and supply rail, or per core.
    ax : matplotlib axes, optional
        A new figure if left out.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        If matplotlib is not installed; the message names the extra.
    ValueError
        If there is nothing to show.
    """
    if isinstance(energy, DeviceComparison):
        return _plot_comparison(energy, ax)
    if by == "term":
        rows = [(kind, value, _grade(energy, kind)) for kind, value in energy.by_term.items()]
    elif by == "core":
        rows = [
            (f"{row.layer} ({_place(row.core)})", row.energy, _layer_grade(energy, row.layer))
            for row in energy.per_core
        ]
    else:
        raise ValueError(f"by is {by!r}, but it must be 'term' or 'core'")
    if not rows:
        raise ValueError(
            f"the report has nothing to show by {by}: "
            + ("nothing was priced" if by == "term" else "a run in software has no cores")
        )
    ax = _bars(rows, ax)
    what = "Energy" if by == "term" else "Dynamic energy of the cores"
    total = f": {energy.summary()}" if by == "term" else ""
    ax.set_title(f"{what} on {energy.device.name}{total}", fontsize=10)
    return ax


def _plot_comparison(comparison: DeviceComparison, ax: Any) -> Any:
    rows = [
        (report.device.name, report.energy_per_inference, report.worst_grade)
        for report in comparison
        if report.energy_per_inference is not None and report.worst_grade is not None
    ]
    known: list[tuple[str, Interval, Grade | None]] = [
        (name, value, grade) for name, value, grade in rows if value is not None and value.high > 0
    ]
    if not known:
        raise ValueError("no device of the comparison has a known total")
    ax = _bars(known, ax, is_log=True)
    shown = {name for name, _, _ in known}
    missing = [r.device.name for r in comparison if r.device.name not in shown]
    label = "energy per inference [J]"
    if missing:
        label += f"\nnot shown, no complete figure published: {', '.join(missing)}"
    ax.set_xlabel(label)
    ax.set_title("What if: one run on several devices", fontsize=10)
    return ax


def _bars(rows: list[tuple[str, Interval, Grade | None]], ax: Any, *, is_log: bool = False) -> Any:
    patches = require("matplotlib.patches", "plot")
    if ax is None:
        pyplot = require("matplotlib.pyplot", "plot")
        _, ax = pyplot.subplots(figsize=(7.5, 1.3 + 0.34 * len(rows)), layout="constrained")
    for y, (_, energy, grade) in enumerate(rows):
        color = _GRADE_COLORS[grade]
        if is_log:
            # A bar on a logarithmic axis begins nowhere: a dot and its interval say it all.
            ax.plot(energy.value, y, marker="o", color=color, markersize=7)
        else:
            ax.barh(y, energy.value, height=0.62, color=color)
        ax.plot([energy.low, energy.high], [y, y], color=_INK, linewidth=1.2)
        for end in (energy.low, energy.high):
            ax.plot([end, end], [y - 0.14, y + 0.14], color=_INK, linewidth=1.2)
        ax.annotate(
            format_interval(energy),
            (energy.high, y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=_INK,
        )
    ax.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    largest = max(energy.high for _, energy, _ in rows)
    if is_log:
        ax.set_xscale("log")
        smallest = min(energy.low or energy.value for _, energy, _ in rows)
        # room for the text behind the last interval
        ax.set_xlim(smallest / 2, largest * (largest / smallest) ** 0.35 * 4)
        ax.grid(axis="x", color="#E0E0E0", linewidth=0.6)
        ax.set_axisbelow(True)
    else:
        ax.set_xlim(0, largest * 1.35 or 1)
        ax.ticklabel_format(axis="x", style="sci", scilimits=(0, 0), useMathText=True)
        ax.set_xlabel("energy [J]")
    grades = sorted({grade for _, _, grade in rows if grade}, key="PSDA".index)
    handles = [
        patches.Patch(color=_GRADE_COLORS[grade], label=f"{grade}: {_GRADE_WORDS[grade]}")
        for grade in grades
    ]
    ax.legend(
        handles=handles,
        title="evidence",
        frameon=False,
        fontsize=8,
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def _grade(report: EnergyReport, kind: str) -> Grade | None:
    rail = kind.removeprefix("static ")
    if kind.startswith("static ") and rail in report.device.static:
        return report.device.static[rail].grade
    return next(
        (t.coefficient.grade for t in report.terms if t.term == kind and t.energy is not None), None
    )


def _layer_grade(report: EnergyReport, layer: str) -> Grade | None:
    grades = [t.coefficient.grade for t in report.terms if t.layer == layer and t.energy]
    return max(grades, key="PSDA".index, default=None)


def _place(core: int | tuple[int, ...]) -> str:
    if isinstance(core, int):
        return f"core {core}"
    return f"{len(core)} processor{'' if len(core) == 1 else 's'}"
