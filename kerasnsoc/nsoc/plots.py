"""Pictures of a placed network and of what an emulation did there; they need the extra ``plot``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from kerasnsoc._extras import require
from kerasnsoc.nsoc.config import CoreConfig, NSoCConfig
from kerasnsoc.nsoc.devices import CoreSpec, DeviceSpec
from kerasnsoc.nsoc.emulator_result import HISTOGRAM_EDGES_PS, EmulationResult, nearest_rank
from kerasnsoc.nsoc.memory import bias_words, kernel_words, neuron_words, processor_bytes

# Told apart by people who see colors differently [Okabe and Ito 2008]; identity never rests on
# color alone, each is labelled too.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999933", "#882255")
_EMPTY, _INK, _FAINT = "#ECECEC", "#222222", "#9A9A9A"

_LATENCIES = {"spike_ps": "output spikes", "first_output_ps": "inputs", "packet_ps": "packets"}
_UNITS = ((1e12, "s"), (1e9, "ms"), (1e6, "µs"), (1e3, "ns"), (1.0, "ps"))


def plot_core_map(network: Any, *, ax: Any = None) -> Any:
    """Which layer is on which core, and how full the cores are.

    Parameters
    ----------
    network : NSoCNetwork or NSoCConfig
        Configured for a device. A configuration alone does not know the fill of a mesh.
    ax : matplotlib axes, optional
        A new figure if left out.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        If matplotlib is not installed; the message names the extra.
    TypeError
        If there is no configuration.
    """
    config = network if isinstance(network, NSoCConfig) else getattr(network, "config", None)
    if not isinstance(config, NSoCConfig):
        raise TypeError(
            f"a map shows a placed network, but {type(network).__name__} holds no configuration; "
            "call make_config or to(device) first"
        )
    device = config.get_device()
    if device.is_mesh:
        return _plot_mesh(config, device, getattr(network, "graph", None), ax)
    return _plot_star(config, device, ax)


def plot_raster(
    result: EmulationResult, layers: Sequence[int] | None = None, *, ax: Any = None
) -> Any:
    """A dot for each spike of the monitored layers, time against neuron.

    Parameters
    ----------
    result : EmulationResult
    layers : sequence of int, optional
        Which monitored layers; all of them if left out.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes
    """
    cores = _monitored(result, layers)
    ax = _axes(ax, (8, 1.2 + min(9.0, 1.3 * len(cores))))
    last = max(result.duration_ps, 1)
    scale, unit = _time_unit(last)
    labels = []
    for band, core in enumerate(cores):
        spikes = result.spikes_of(core.layer_index)
        features, height, width = core.out_shape
        size = features * height * width
        index = (spikes["c"].astype(np.int64) * height + spikes["y"]) * width + spikes["x"]
        # Bands of one height: the few neurons of a last layer are those that one looks for.
        ax.plot(
            spikes["t_ps"] / scale,
            band + 0.06 + 0.88 * (index + 0.5) / size,
            linestyle="none",
            marker="|" if size <= 32 else ".",
            markersize=min(9.0, 60 / size) if size <= 32 else 1.5,
            color=_color(band),
            rasterized=len(spikes) > 20_000,
        )
        labels.append(f"{_short(core.name, 24)}\n{size:,} neurons, {len(spikes):,} spikes")
        if band:
            ax.axhline(band, color=_FAINT, linewidth=0.6)
    ax.set_ylim(len(cores), 0)
    ax.set_xlim(0, last / scale)
    ax.set_yticks(np.arange(len(cores)) + 0.5, labels, fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"time [{unit}]")
    ax.set_title(f"Spikes on {result.device}")
    _tidy(ax)
    return ax


def plot_latency(
    result: EmulationResult,
    of: Literal["spike_ps", "first_output_ps", "packet_ps"] = "spike_ps",
    *,
    ax: Any = None,
) -> Any:
    """How long outputs took, on a logarithmic axis, with median, 95 % and 99 %.

    Parameters
    ----------
    result : EmulationResult
    of : {"spike_ps", "first_output_ps", "packet_ps"}
        Every output spike, the first one per input, or whole packets.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If `of` is none of them, or the run has no such latencies.
    """
    if of not in _LATENCIES:
        raise ValueError(f"of is {of!r}, but it must be one of {', '.join(_LATENCIES)}")
    values = getattr(result.latency, of)
    if not len(values):
        raise ValueError(
            f"the run has no latencies {of!r}: nothing that was monitored left the chip, or there "
            f"were no packets. Monitor the exit layers, or choose another of "
            f"{', '.join(_LATENCIES)}."
        )
    counts, below, above = result.latency.histogram(of)
    ax = _axes(ax, (6.5, 3.4))
    used = np.flatnonzero(counts)
    scale, unit = _time_unit(float(np.median(values)))
    if len(used):
        bins = slice(used[0], used[-1] + 1)
        edges = HISTOGRAM_EDGES_PS[used[0] : used[-1] + 2] / scale
        ax.bar(
            edges[:-1], counts[bins], np.diff(edges), align="edge", color=COLORS[0],
            edgecolor="white", linewidth=0.6,
        )  # fmt: skip
    ax.set_xscale("log")
    styles = (("-", 50, "median"), ("--", 95, "95 %"), (":", 99, "99 %"))
    for style, percent, name in styles:
        at = nearest_rank(values, percent) / scale
        ax.axvline(at, color=_INK, linestyle=style, linewidth=1.2, label=f"{name}: {at:.4g} {unit}")
    outside = [f"{n:,} {word} the axis" for n, word in ((below, "below"), (above, "above")) if n]
    ax.legend(title=", ".join(outside) or None, frameon=False)
    kind = _LATENCIES[of]
    ax.set_xlabel(f"latency [{unit}]")
    ax.set_ylabel(kind)
    ax.set_title(f"Latency on {result.device}, {len(values):,} {kind}")
    left, right = ax.get_xlim()
    # Within a decade every digit has its tick, over several only 1, 2 and 5: labels never touch.
    ticker = require("matplotlib.ticker", "plot")
    ax.xaxis.set_major_locator(
        ticker.LogLocator(subs=range(1, 10) if right < 9 * left else (1, 2, 5))
    )
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(ticker.NullFormatter())
    _tidy(ax)
    return ax


def plot_load(result: EmulationResult, bins: int = 80, *, ax: Any = None) -> Any:
    """How busy each core was over time.

    Parameters
    ----------
    result : EmulationResult
        Of an emulator with ``record=("load",)`` among its records.
    bins : int
        Columns of the picture, at least 1.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If services were not recorded.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}, but at least 1 is needed")
    bin_ps = max(1, -(-result.makespan_ps // bins))
    edges, load = result.load_over_time(bin_ps)
    scale, unit = _time_unit(float(edges[-1]))
    ax = _axes(ax, (8, 1.5 + 0.38 * len(load)))
    # The end of the scale is the busiest bin: a chip that idles for most of the time would
    # otherwise show nothing.
    top = float(load.max(initial=0.0)) or 1.0
    image = ax.imshow(
        load,
        aspect="auto",
        interpolation="nearest",
        cmap="Blues",
        vmin=0,
        vmax=top,
        extent=(0, edges[-1] / scale, len(load) - 0.5, -0.5),
    )
    names = [f"{r['name']} (core {r['core']})" for r in result.per_core]
    ax.set_yticks(range(len(names)), names)
    means = result.utilization
    for row, mean in enumerate(means):
        ax.annotate(
            f"{mean:.1%}", (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    ax.annotate(
        "mean", (1.01, -0.5), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", va="bottom", fontsize=8, color=_FAINT,
    )  # fmt: skip
    bar = ax.figure.colorbar(image, ax=ax, pad=0.09, format=_percent())
    bar.set_label("busy")
    ax.set_xlabel(f"time [{unit}], bins of {bin_ps / scale:.3g} {unit}")
    ax.set_title(f"Load of the cores on {result.device}")
    return ax


# --- the map --------------------------------------------------------------------------------------


def _plot_star(config: NSoCConfig, device: DeviceSpec, ax: Any) -> Any:
    patches = require("matplotlib.patches", "plot")
    columns = min(3, len(device.cores))
    rows = -(-len(device.cores) // columns)
    ax = _axes(ax, (2.6 * columns, 1.6 * rows + 0.4))
    used = {core.core: core for core in config.cores}
    for place, spec in enumerate(device.cores):
        x, y = place % columns, place // columns
        record = used.get(spec.id)
        ax.add_patch(
            patches.FancyBboxPatch(
                (x + 0.05, y + 0.06), 0.9, 0.88, boxstyle="round,pad=0,rounding_size=0.04",
                facecolor="white", edgecolor=_FAINT if record is None else _INK,
                linestyle=":" if record is None else "-", linewidth=1,
            )
        )  # fmt: skip
        head = f"core {spec.id}"
        ax.text(x + 0.11, y + 0.20, head, fontsize=8, color=_FAINT, va="center")
        if not isinstance(record, CoreConfig):
            ax.text(x + 0.5, y + 0.55, "free", fontsize=9, color=_FAINT, ha="center", va="center")
            continue
        ax.text(
            x + 0.89, y + 0.20, _short(record.name), fontsize=9, ha="right", va="center",
            color=_INK, weight="bold",
        )  # fmt: skip
        fills = _word_fills(record, spec)
        for line, (name, words, room) in enumerate(fills):
            top = y + 0.36 + 0.18 * line
            share = words / room if room else 0.0
            ax.text(x + 0.11, top + 0.06, name, fontsize=7, va="center", color=_INK)
            ax.add_patch(patches.Rectangle((x + 0.37, top), 0.36, 0.12, facecolor=_EMPTY))
            width = 0.36 * min(share, 1)
            ax.add_patch(patches.Rectangle((x + 0.37, top), width, 0.12, facecolor=COLORS[0]))
            ax.text(
                x + 0.89, top + 0.06, _share_text(share), fontsize=7, va="center", ha="right",
                color=_INK,
            )  # fmt: skip
    _frame(ax, columns, rows, f"{device.name}: {len(used)} of {len(device.cores)} cores")
    return ax


def _word_fills(record: CoreConfig, spec: CoreSpec) -> list[tuple[str, int, int]]:
    """Memory, words that the layer takes, words that the core has."""
    features, height, width = record.out_shape
    kernel = record.dimensions.kernel_size
    return [
        (
            "kernel",
            kernel_words(record.in_shape[0], features, kernel.y, kernel.x),
            spec.kernel_words,
        ),
        ("neurons", neuron_words(features, height, width), spec.neuron_words),
        ("bias", bias_words(features, record.has_biases), spec.bias_words),
    ]


def _plot_mesh(config: NSoCConfig, device: DeviceSpec, graph: Any, ax: Any) -> Any:
    patches = require("matplotlib.patches", "plot")
    columns, rows = device.noc.width, device.noc.height
    ax = _axes(ax, (min(1.15 * columns, 10) + 3.2, min(1.15 * rows, 7) + 0.6))
    owner: dict[int, list[int]] = {}
    for core in config.cores:
        for processor in core.neural_processors:
            owner.setdefault(processor, []).append(core.layer_index)
    order = {core.layer_index: number for number, core in enumerate(config.cores)}
    per_node: dict[tuple[int, int], list[CoreSpec]] = {}
    for spec in device.cores:
        per_node.setdefault(spec.xy, []).append(spec)
    side = math.ceil(math.sqrt(max(map(len, per_node.values()))))
    cell = 0.84 / side
    for (x, y), specs in per_node.items():
        for number, spec in enumerate(specs):
            left, top = x + 0.08 + number % side * cell, y + 0.08 + number // side * cell
            layers = owner.get(spec.id, [])
            ax.add_patch(
                patches.Rectangle(
                    (left, top), cell * 0.92, cell * 0.92,
                    facecolor=_color(order[layers[0]]) if layers else _EMPTY,
                )
            )  # fmt: skip
            ax.text(
                left + cell * 0.46, top + cell * 0.46, ",".join(map(str, layers)), fontsize=7,
                color="white", weight="bold", ha="center", va="center",
            )  # fmt: skip
    ax.plot(
        device.noc.port[0] - 0.12, device.noc.port[1] + 0.5, marker=">", color=_INK, markersize=7,
        clip_on=False,
    )  # fmt: skip
    fills = _mesh_fills(graph, device)
    handles = []
    for core in config.cores:
        label = f"{core.layer_index}  {_short(core.name, 22)}: "
        label += _processors(len(core.neural_processors)) or "at the input port"
        if core.layer_index in fills:
            label += f", {_share_text(fills[core.layer_index])} full"
        if _passes(config) > 1:
            label += f", pass {core.pass_index + 1}"
        handles.append(patches.Patch(color=_color(order[core.layer_index]), label=label))
    ax.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=8
    )
    used = len(owner)
    passes = f", {_passes(config)} passes" if _passes(config) > 1 else ""
    title = f"{device.name}: {used} of {len(device.cores)} processors{passes}"
    _frame(ax, columns, rows, title)
    return ax


def _mesh_fills(graph: Any, device: DeviceSpec) -> dict[int, float]:
    if graph is None:
        return {}
    fills = {}
    for layer in graph.layers:
        size = processor_bytes(layer)
        room = device.cores[0].memory_bytes
        if size and room:
            fills[layer.index] = size / (room * -(-size // room))
    return fills


def _processors(count: int) -> str:
    """Empty for image inputs, which a block at the port computes."""
    return f"{count} processor{'' if count == 1 else 's'}" if count else ""


def _passes(config: NSoCConfig) -> int:
    return len({core.pass_index for core in config.cores})


def _frame(ax: Any, columns: int, rows: int, title: str) -> None:
    ax.set_xlim(-0.02, columns + 0.02)
    ax.set_ylim(rows + 0.02, -0.02)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(title)


# --- small things ---------------------------------------------------------------------------------


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    if ax is None:
        pyplot = require("matplotlib.pyplot", "plot")
        _, ax = pyplot.subplots(figsize=size, layout="constrained")
    return ax


def _monitored(result: EmulationResult, layers: Sequence[int] | None) -> list[Any]:
    cores = {core.layer_index: core for core in result.config.cores if core.monitor_enable}
    for layer in layers or ():
        if layer not in cores:
            raise ValueError(
                f"layer {layer} was not monitored; monitored were {sorted(cores)}. Name it in "
                "monitor_layers when the network is configured."
            )
    chosen = [cores[layer] for layer in (sorted(cores) if layers is None else layers)]
    if not chosen:
        raise ValueError("no layer was monitored; configure the network with monitor_layers='all'")
    return chosen


def _time_unit(picoseconds: float) -> tuple[float, str]:
    return next((unit for unit in _UNITS if picoseconds >= unit[0]), _UNITS[-1])


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _short(name: str, limit: int = 16) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"


def _share_text(share: float) -> str:
    return "<1 %" if 0 < share < 0.01 else f"{share:.0%}".replace("%", " %")


def _percent() -> Any:
    ticker = require("matplotlib.ticker", "plot")
    return ticker.PercentFormatter(1, decimals=None)


def _tidy(ax: Any) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
