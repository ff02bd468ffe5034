"""The erratum of the readout block: only every fourth feature of the last core is read."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.core_graph import CoreLayer
from kerasnsoc.nsoc.errors import UnsupportedLayerError
from kerasnsoc.nsoc.network import NSoCNetwork

STRIDE = 4


def extend_readout_layer(network: NSoCNetwork) -> NSoCNetwork:
    """A copy whose exits have their features four apart, as the readout of Speck 2e and 2f reads.

    Parameters
    ----------
    network : NSoCNetwork
        Not modified.

    Returns
    -------
    NSoCNetwork
        Its exit layers have ``(F - 1) * 4 + 1`` features; feature i of the original is feature 4 i,
        and all others have weights and biases of 0. It has no placement.

    Raises
    ------
    UnsupportedLayerError
        If the network is an artifact, or an exit also feeds another layer.
    """
    if network.graph.is_graded:
        raise UnsupportedLayerError(
            "the readout block reads spikes; an artifact sends graded events"
        )
    layers = []
    for layer in network.graph.core_layers:
        if layer.index in network.graph.exits:
            if layer.fan_out:
                raise UnsupportedLayerError(
                    f"{layer.name}: it leaves the chip and feeds another layer, whose weights "
                    "expect its features side by side"
                )
            layer = _extended(layer)
        layers.append(layer)
    result = copy.copy(network)
    result.graph = replace(network.graph, layers=tuple(layers))
    result._start((result.graph, network.quantization_report), None)
    return result


def _extended(layer: CoreLayer) -> CoreLayer:
    features, height, width = layer.neuron_shape
    many = (features - 1) * STRIDE + 1

    def spread(array: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
        if array is None:
            return None
        result = np.zeros((many, *array.shape[1:]), array.dtype)
        result[::STRIDE] = array
        return result

    weights = spread(layer.weights)
    assert weights is not None
    return replace(
        layer,
        weights=weights,
        bias=spread(layer.bias),
        neuron_shape=(many, height, width),
        initial_state=spread(layer.initial_state),
    )
