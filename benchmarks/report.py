"""What was measured, as a table and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def markdown(rows: list[dict[str, Any]], header: bool = True) -> str:
    """One line per network, batch and threads.

    A cell is the median time of a batch, half the spread between the quartiles, and the least time.
    A cell of another engine adds how many times as long as the first column it takes, by the
    medians and by the least times.
    """
    lines = []
    if header:
        engines = list(rows[0]["times"])
        lines.append("| network | batch | threads | " + " | ".join(engines) + " |")
        lines.append("|---" * (3 + len(engines)) + "|")
    for row in rows:
        first = next(iter(row["times"].values()))
        cells = [row["network"], str(row["batch"]), str(row["threads"])]
        for engine, times in row["times"].items():
            cell = f"{times['median'] * 1e3:.3f} ms ±{times['spread'] * 50:.0f} %"
            cell += f", least {times['least'] * 1e3:.3f}"
            if not engine.startswith("kerasnsoc"):
                ratios = [times[kind] / first[kind] for kind in ("median", "least")]
                cell += f" ({ratios[0]:.2f}x, {ratios[1]:.2f}x)"
            if times["preempted"]:
                cell += f" [{times['preempted']} rounds disturbed]"
            cells.append(cell)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(density: dict[str, Any], path: Path) -> None:
    """Time against the share of activations that are events."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'the picture needs matplotlib: pip install "kerasnsoc[plot]"', name="matplotlib"
        ) from error

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    shares = [float(share) for share in density]
    axes.plot(shares, [t["median"] * 1e3 for t in density.values()], marker="o")
    axes.set_xlabel("share of activations that are events")
    axes.set_ylabel("time per image (ms)")
    axes.set_ylim(bottom=0)
    figure.savefig(path)
