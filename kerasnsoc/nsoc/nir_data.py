"""Spikes of an emulation in the data format of NIR."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasnsoc._extras import require
from kerasnsoc.nsoc.emulator_result import EmulationResult
from kerasnsoc.nsoc.nir_export import neuron_node_names

_PICOSECOND = 1e-12


def to_nir_data(result: EmulationResult) -> Any:
    """The spikes of all monitored layers, to be written with ``nir.write_data``.

    Parameters
    ----------
    result : EmulationResult

    Returns
    -------
    nir.NIRGraphData
        A node for each monitored layer, named as its neurons in the graph of `to_nir`, with the
        observable ``"spikes"``: one sample; indices of neurons count columns first, then rows, then
        features; times are in seconds. Spikes with a payload are ``ValuedEventData``.

    Raises
    ------
    ImportError
        If the library ``nir`` (extra ``nir``) is not installed.
    """
    nir = require("nir", "nir")
    nodes = {}
    t_max = float(result.duration_ps * _PICOSECOND)
    names = neuron_node_names([core.name for core in result.config.cores])
    for core, name in zip(result.config.cores, names, strict=True):
        if not core.monitor_enable:
            continue
        features, height, width = core.out_shape
        spikes = result.spikes_of(core.layer_index)
        index = (spikes["c"].astype(np.int64) * height + spikes["y"]) * width + spikes["x"]
        # one sample: a leading axis of length 1
        arguments: dict[str, Any] = {
            "idx": index[None],
            "time": (spikes["t_ps"] * _PICOSECOND)[None],
            "n_neurons": features * height * width,
            "t_max": t_max,
        }
        if (spikes["n"] == 1).all():
            events = nir.EventData(**arguments)
        else:
            events = nir.ValuedEventData(**arguments, value=spikes["n"].astype(np.int64)[None])
        nodes[name] = nir.NIRNodeData(observables={"spikes": events})
    return nir.NIRGraphData(nodes=nodes)
