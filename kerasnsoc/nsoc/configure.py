"""From a network to a configuration that is placed, monitored, modified and checked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from kerasnsoc.nsoc.config import NSoCConfig
from kerasnsoc.nsoc.config_builder import build_config, check_kind
from kerasnsoc.nsoc.core_graph import CoreGraph
from kerasnsoc.nsoc.devices import get_device, split_device_id
from kerasnsoc.nsoc.errors import MappingError
from kerasnsoc.nsoc.mapping import (
    Objective,
    Placement,
    check_fan_out,
    check_placeable,
    manual_placement,
    place,
)
from kerasnsoc.nsoc.monitors import Monitors, set_monitors
from kerasnsoc.nsoc.obstacles import explained, refuse_errors

Ordering = Literal["auto"] | Sequence[int] | Mapping[int, int]
ConfigModifier = Callable[[NSoCConfig], NSoCConfig]


def configure(
    graph: CoreGraph,
    device: str,
    ordering: Ordering,
    monitor_layers: Monitors,
    config_modifier: ConfigModifier | None,
    *,
    slow_clock_hz: float | None,
    objective: Objective,
    allow_multipass: bool,
) -> tuple[Placement, NSoCConfig]:
    """Arguments, errors and warnings as of `kerasnsoc.nsoc.NSoCNetwork.make_config`."""
    name, index = split_device_id(device)
    spec = get_device(name)
    check_placeable(spec)
    check_kind(graph, spec)
    check_fan_out(graph, spec)
    if isinstance(ordering, str):
        if ordering != "auto":
            raise ValueError(
                f"chip_layers_ordering is {ordering!r}, but it must be 'auto', a sequence of "
                "cores or a mapping from layers to cores"
            )
        try:
            placement = place(graph, spec, objective=objective, allow_multipass=allow_multipass)
        except MappingError as error:
            raise explained(graph, spec, error) from None
    else:
        placement = manual_placement(ordering, graph, spec)
    config = build_config(graph, spec, index, placement, slow_clock_hz=slow_clock_hz)
    set_monitors(graph, config, monitor_layers)
    if config_modifier is not None:
        config = config_modifier(config)
        if not isinstance(config, NSoCConfig):
            raise TypeError(
                f"config_modifier returned {type(config).__name__}, but it must return the "
                "NSoCConfig"
            )
    problems = config.validate(spec)
    refuse_errors(problems, spec)
    for problem in problems:
        warnings.warn(str(problem), UserWarning, stacklevel=3)
    return placement, config
