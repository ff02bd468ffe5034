"""The report as HTML, through a template that escapes every value."""

from __future__ import annotations

import math
from importlib.resources import files
from typing import Any

from kerasnsoc._extras import require
from kerasnsoc.energy.quantities import Interval, format_interval
from kerasnsoc.reports.facts import ModelReport
from kerasnsoc.reports.graph import HEIGHT, WIDTH, draw


def render_page(report: ModelReport) -> str:
    """The page as text; see `ModelReport.to_html`."""
    jinja2 = require("jinja2", "report")
    template = (files("kerasnsoc.reports") / "page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text: str = environment.from_string(template).render(
        report=report,
        drawing=draw(report.layers),
        box={"width": WIDTH, "height": HEIGHT},
        devices=_devices(report.energy),
    )
    return text


def _devices(rows: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """Bars on one logarithmic scale, in percent of its width."""
    intervals = [row["energy_per_inference"] or row["partial_total"] for row in rows]
    known = [i for i in intervals if i and i["high"] > 0]
    if not known:
        return []
    ends = [math.log10(max(i["low"], i["high"] * 1e-3)) for i in known]
    low = math.floor(min(ends))
    high = math.ceil(max(math.log10(i["high"]) for i in known))

    def place(joules: float) -> float:
        return round(100 * (math.log10(joules) - low) / max(high - low, 1), 2)

    devices = []
    for row, interval in zip(rows, intervals, strict=True):
        if not interval or interval["high"] <= 0:
            continue
        shown = Interval(interval["low"], interval["value"], interval["high"])
        left = place(max(interval["low"], interval["high"] * 1e-3))
        devices.append(
            {
                "name": row["device"],
                "text": format_interval(shown),
                "grade": row["grade"] or "-",
                "unpriced": ", ".join(row["unpriced"]),
                "note": row["note"],
                "sources": row["sources"],
                "left": left,
                "width": max(0.6, place(interval["high"]) - left),
                "value": place(max(interval["value"], interval["high"] * 1e-3)),
            }
        )
    return devices
