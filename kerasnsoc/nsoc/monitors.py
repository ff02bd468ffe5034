"""Which layers of a chip record their spikes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np

from kerasnsoc.nsoc.config import CoreConfig, NSoCConfig
from kerasnsoc.nsoc.core_graph import CoreGraph
from kerasnsoc.nsoc.errors import InputConfigurationError

Monitors = Sequence[int | str] | Literal["all"] | None


def set_monitors(graph: CoreGraph, config: NSoCConfig, monitor_layers: Monitors) -> None:
    """Switch on the monitors of a configuration; arguments and errors as of `make_config`."""
    layers, has_dvs = _monitored(graph, monitor_layers)
    for record in config.cores:
        record.monitor_enable = record.layer_index in layers
        pooled = isinstance(record, CoreConfig) and any(
            d.enable and (d.pooling.x, d.pooling.y) != (1, 1) for d in record.destinations
        )
        if record.monitor_enable and pooled and monitor_layers is not None:
            warnings.warn(
                f"layer {record.layer_index} ({record.name}) is pooled behind its neurons, but "
                "monitored spikes are those before pooling",
                UserWarning,
                stacklevel=4,
            )
    if not has_dvs:
        return
    if config.dvs is None:
        raise InputConfigurationError(
            "monitor_layers names 'dvs', but the network has no sensor layer. Pass "
            "dvs_input=True, or leave it out."
        )
    config.dvs.monitor_enable = True
    if (config.dvs.pooling.x, config.dvs.pooling.y) != (1, 1):
        warnings.warn(
            "the sensor layer pools, but its monitored events are those before pooling",
            UserWarning,
            stacklevel=4,
        )


def _monitored(graph: CoreGraph, monitor_layers: Monitors) -> tuple[set[int], bool]:
    count = len(graph.layers)
    if monitor_layers is None:
        return set(graph.exits), False
    if isinstance(monitor_layers, str):
        if monitor_layers != "all":
            raise ValueError(
                f"monitor_layers is {monitor_layers!r}, but it must be None, 'all', or a list "
                "of layers and 'dvs'"
            )
        return set(range(count)), False
    layers: set[int] = set()
    has_dvs = False
    for item in monitor_layers:
        if item == "dvs":
            has_dvs = True
        elif isinstance(item, bool) or not isinstance(item, int | np.integer):
            raise ValueError(
                f"monitor_layers holds {item!r}, but it must hold numbers of layers and 'dvs'"
            )
        elif not -count <= item < count:
            raise IndexError(f"layer {item} does not exist; there are {count} layers")
        elif item == -1:
            layers |= set(graph.exits)
        else:
            layers.add(int(item) % count)
    return layers, has_dvs
