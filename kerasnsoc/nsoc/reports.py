"""What the commands ``devices``, ``check`` and ``map`` show, as plain JSON and as tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerasnsoc._quantities import Quantity
from kerasnsoc._tables import render
from kerasnsoc.nsoc.config import NSoCConfig
from kerasnsoc.nsoc.devices import DeviceSpec, get_device, list_devices
from kerasnsoc.nsoc.network import NSoCNetwork
from kerasnsoc.nsoc.records import encode


def open_chip_network(path: str | os.PathLike[str]) -> NSoCNetwork:
    """A network from an artifact, a saved chip network, or a Keras model.

    Parameters
    ----------
    path : path
        ``.json`` and ``.npz`` are what `NSoCNetwork.save` wrote, ``.keras`` is a Keras model,
        anything else an artifact.

    Raises
    ------
    ValueError
        If the file is none of them.
    ImportError
        If a Keras model is given and Keras is not installed, naming the extra.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (".json", ".npz"):
        return NSoCNetwork.load(path)
    if suffix == ".keras":
        from kerasnsoc.nsoc.keras_graph import load_keras

        return NSoCNetwork(load_keras(path))
    return NSoCNetwork(path)


def device_rows() -> list[dict[str, Any]]:
    """One record per known device."""
    rows = []
    for name in list_devices():
        device = get_device(name)
        rows.append(
            {
                "name": name,
                "family": device.family,
                "mode": device.mode,
                "topology": device.noc.topology,
                "cores": len(device.cores),
                "kernel_words": sum(core.kernel_words for core in device.cores),
                "neuron_words": sum(core.neuron_words for core in device.cores),
                "memory_bytes": sum(core.memory_bytes for core in device.cores),
                "grade": device.grade,
                "source": device.source,
                "note": device.note,
            }
        )
    return rows


def devices_text(rows: Sequence[dict[str, Any]]) -> str:
    """The table of all devices."""
    cells = []
    for row in rows:
        words = f"{row['kernel_words']:,} / {row['neuron_words']:,} words"
        memory = f"{row['memory_bytes']:,} B" if row["memory_bytes"] else words
        is_placeable = row["cores"] > 0
        cells.append(
            [
                row["name"],
                row["mode"] if is_placeable else "energy only",
                row["topology"] if is_placeable else "-",
                str(row["cores"]) if is_placeable else "-",
                memory if is_placeable else "-",
                row["grade"],
            ]
        )
    columns = ["device", "mode", "network", "cores", "memory (kernel / neuron)", "grade"]
    return render(columns, cells)


def device_text(device: DeviceSpec) -> str:
    """Everything that is known about one device."""
    lines = [f"{device.name}: grade {device.grade}, {device.source}"]
    if device.note:
        lines.append(device.note)
    if device.cores and not device.is_mesh:
        rows = [
            [
                str(core.id),
                f"{core.kernel_words:,}",
                f"{core.neuron_words:,}",
                f"{core.bias_words:,}",
                str(core.lanes),
            ]
            for core in device.cores
        ]
        lines.append(render(["core", "kernel words", "neuron words", "bias words", "lanes"], rows))
    elif device.cores:
        lines.append(
            f"{len(device.cores)} processors of {device.cores[0].memory_bytes:,} bytes on a mesh "
            f"of {device.noc.width} x {device.noc.height} nodes"
        )
    if device.limits is not None:
        limits = encode(device.limits)
        lines.append(render(["limit", "value"], [[name, str(limits[name])] for name in limits]))
    figures = [
        [path, _figure(quantity), quantity.grade, quantity.source]
        for path, quantity in device.quantities()
    ]
    lines.append(render(["figure", "value [low-high]", "grade", "source"], figures))
    return "\n".join(lines)


def _figure(quantity: Quantity) -> str:
    if quantity.value is None:
        return "unknown"
    text = f"{quantity.value:.6g}"
    if quantity.low != quantity.high:
        text += f" [{quantity.low:.6g}-{quantity.high:.6g}]"
    return f"{text} {quantity.unit}" if quantity.unit != "1" else text


def check_content(network: NSoCNetwork, devices: Sequence[str]) -> list[dict[str, Any]]:
    """Whether a network fits, and what is in the way, for each device."""
    content = []
    for name in devices:
        problems = network.incompatibilities(name)
        content.append(
            {
                "device": name,
                "has_cores": bool(get_device(name).cores),
                "compatible": not any(p.severity == "error" for p in problems),
                "problems": encode(problems),
            }
        )
    return content


def check_text(content: Sequence[dict[str, Any]]) -> str:
    """One line per device, and one per problem; devices that refuse the same share a line."""
    lines: list[str] = []
    alike: dict[str, list[str]] = {}
    blocks: list[tuple[list[str], list[str]]] = []
    for entry in content:
        name = entry["device"]
        if not entry["has_cores"]:
            blocks.append(([f"{name}: energy figures only, nothing can be placed there"], []))
            continue
        problems = _problem_lines(entry)
        # messages name the device, which is all that differs between relatives
        key = "\n".join(problems).replace(repr(name), "")
        if problems and key in alike:
            alike[key].append(name)
            continue
        verdict = "fits" if entry["compatible"] else "does not fit"
        others = alike.setdefault(key, []) if problems else []
        blocks.append(([f"{name}: {verdict}", *problems], others))
    for block, others in blocks:
        lines += block
        if others:
            lines.append(f"  the same holds for {', '.join(others)}")
    return "\n".join(lines)


def _problem_lines(entry: dict[str, Any]) -> list[str]:
    lines = []
    for problem in entry["problems"]:
        where = f"{problem['layer']}: " if problem["layer"] else ""
        mark = "warning, " if problem["severity"] == "warning" else ""
        lines.append(f"  {mark}{problem['code']}: {where}{problem['message']}")
    return lines


def map_content(network: NSoCNetwork, config: NSoCConfig) -> dict[str, Any]:
    """Where each layer went, and how full its core is."""
    memory = network.memory_summary(per_core=True)
    layers = [
        {
            "layer": record.layer_index,
            "name": record.name,
            **{key: values[record.layer_index] for key, values in memory.items()},
            "pass": record.pass_index,
        }
        for record in config.cores
    ]
    return {
        "device": f"{config.device.name}:{config.device.index}",
        "config_sha256": config.sha256(),
        "layers": layers,
    }


def map_text(content: dict[str, Any]) -> str:
    """The placement as a table."""
    keys = [key for key in content["layers"][0] if key != "pass"]
    passes = {layer["pass"] for layer in content["layers"]}
    if len(passes) > 1:
        keys.append("pass")
    rows = [[_cell(key, layer[key]) for key in keys] for layer in content["layers"]]
    title = f"on {content['device']}, configuration sha256 {content['config_sha256']}"
    return render([key.replace("_", " ") for key in keys], rows, title=title)


def _cell(key: str, value: Any) -> str:
    if isinstance(value, list):
        if len(value) < 2:
            return str(value[0]) if value else "none"
        return f"{value[0]}-{value[-1]} ({len(value)})"
    if isinstance(value, float):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) and key != "layer" else str(value)
