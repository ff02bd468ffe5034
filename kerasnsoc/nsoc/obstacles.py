"""What stands between a network and a chip."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kerasnsoc.nsoc.config_builder import build_config, check_kind
from kerasnsoc.nsoc.core_graph import CoreGraph
from kerasnsoc.nsoc.devices import DeviceSpec
from kerasnsoc.nsoc.errors import (
    ConfigValidationError,
    EnergyOnlyDeviceError,
    InvalidGraphError,
    MappingError,
    NSoCError,
    Problem,
    UnsupportedLayerError,
)
from kerasnsoc.nsoc.mapping import Placement, check_placeable, place


def obstacles(
    graph: CoreGraph, device: DeviceSpec, opened: Callable[[], Any] | None = None
) -> list[Problem]:
    """Rules of a device that a network breaks, and why it cannot be placed there.

    Parameters
    ----------
    graph : CoreGraph
    device : DeviceSpec
    opened : callable, optional
        Gives the `kerasnsoc.runtime.Model` of a network that is an artifact.
    """
    try:
        check_placeable(device)
        check_kind(graph, device)
    except EnergyOnlyDeviceError as error:
        return [Problem("device", "", str(error))]
    except NSoCError as error:
        code = "device" if isinstance(error, UnsupportedLayerError) else "discretization"
        return [Problem(code, "", str(error))]
    problems = _silicon(device, opened)
    try:
        placement = place(graph, device)
    except MappingError as error:
        problems.append(Problem("mapping", "", str(error)))
        placement = Placement(tuple(range(len(graph.layers))), ((),) * len(graph.layers))
    try:
        config = build_config(graph, device, 0, placement)
    except InvalidGraphError as error:
        return [*problems, Problem("graph", "", str(error))]
    is_placed = not any(p.code == "mapping" for p in problems)
    for record in config.cores:
        record.monitor_enable = record.layer_index in graph.exits
    found = config.validate(device)
    return problems + [p for p in found if is_placed or p.code not in ("R16", "R17")]


def _silicon(device: DeviceSpec, opened: Callable[[], Any] | None) -> list[Problem]:
    """What the published constraints of the AKD1000 say about an artifact."""
    if device.family != "akida" or opened is None:
        return []
    from kerasnsoc.nsoc.compatibility import model_hardware_incompatibilities

    problems = []
    for text in model_hardware_incompatibilities(opened()):
        layer, _, message = text.partition(": ")
        problems.append(Problem("silicon", layer, f"{message} (published constraint)", "warning"))
    return problems


def explained(graph: CoreGraph, device: DeviceSpec, error: MappingError) -> MappingError:
    """With the broken rules: a kernel too large says more than the memory it does not fit."""
    rules = [str(p) for p in obstacles(graph, device) if p.code.startswith("R")]
    if not rules:
        return error
    message = f"{error} Rules of {device.name!r} that are broken too: {'; '.join(rules)}"
    return MappingError(message, error.unplaceable, error.conflict)


def refuse_errors(problems: Iterable[Problem], device: DeviceSpec) -> None:
    """Raise one error that lists all that is wrong; warnings are none."""
    everything = list(problems)
    errors = [problem for problem in everything if problem.severity == "error"]
    if errors:
        plural = "" if len(errors) == 1 else "s"
        raise ConfigValidationError(
            f"{len(errors)} problem{plural} on {device.name!r}: " + "; ".join(map(str, errors)),
            everything,
        )
