"""A Keras model that computes what a chip network computes, for fine-tuning."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasnsoc._extras import require
from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer, Destination
from kerasnsoc.nsoc.discretize import dequantized


def build_twin(graph: CoreGraph, name: str, time_steps: int | None = None) -> Any:
    """A functional model over time with the weights of a graph.

    Parameters
    ----------
    graph : CoreGraph
        Of integrate-and-fire layers; integers become floats that discretize to them again.
    name : str
    time_steps : int, optional
        None leaves the length of the sequence open.

    Returns
    -------
    keras.Model
        Input (batch, time, height, width, channels), output spike counts behind the pooling of each
        exit, in the order of the exits.
    """
    keras: Any = require("keras", "train")
    from kerasnsoc.spiking.dvs import DVSInput

    layers = keras.layers
    channels, height, width = graph.input_shape
    inputs = keras.Input((time_steps, height, width, channels), name="input")
    names = _Names()
    port = inputs
    if graph.dvs is not None:
        dvs = graph.dvs
        port = DVSInput(
            dvs.merge and channels == 2,
            dvs.pool,
            dvs.crop,
            dvs.flip_x,
            dvs.flip_y,
            dvs.swap_xy,
            disable_pixel_array=not dvs.pixel_array,
            name=names.unique("dvs"),
        )(inputs)
    arriving: dict[int, list[tuple[int, Any]]] = {}

    def send(tensor: Any, destinations: tuple[Destination, ...]) -> None:
        for d in destinations:
            if d.target is not None:
                pooled = _pooled(tensor, d.pooling, names)
                arriving.setdefault(d.target, []).append((d.feature_shift, pooled))

    send(port, graph.input_destinations if graph.dvs is None else graph.dvs.destinations)
    outputs, weighted = [], []
    for layer in map(dequantized, graph.core_layers):
        x = _joined(arriving.pop(layer.index), names)
        if layer.padding != (0, 0):
            pad = layers.ZeroPadding2D(layer.padding)
            x = layers.TimeDistributed(pad, name=names.unique(f"{layer.name}_pad"))(x)
        conv = layers.Conv2D(
            layer.neuron_shape[0], layer.kernel, layer.stride, use_bias=layer.bias is not None
        )
        x = layers.TimeDistributed(conv, name=names.unique(layer.name))(x)
        weighted.append((conv, layer))
        x = _neurons(layer, names)(x)
        send(x, layer.destinations)
        outputs += [_pooled(x, d.pooling, names) for d in layer.destinations if d.target is None]
    model = keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=name)
    for conv, layer in weighted:
        conv.kernel.assign(np.ascontiguousarray(layer.weights.transpose(2, 3, 1, 0)))
        if layer.bias is not None:
            conv.bias.assign(layer.bias)
    return model


def clear_accumulated_gradients(model: Any) -> None:
    """Zero what an optimizer has gathered over several batches; nothing where it gathers none."""
    optimizer = getattr(model, "optimizer", None)
    if not getattr(optimizer, "gradient_accumulation_steps", None):
        return
    # Keras has no public name for them.
    for variable in getattr(optimizer, "_accumulated_gradients", None) or []:
        if variable is not None:
            variable.assign(np.zeros(variable.shape, np.float32))


class _Names:
    """Names that a model may hold, each once."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def unique(self, name: str) -> str:
        candidate, n = name, 0
        while candidate in self.used:
            n += 1
            candidate = f"{name}_{n}"
        self.used.add(candidate)
        return candidate


def _neurons(layer: CoreLayer, names: _Names) -> Any:
    from kerasnsoc.spiking import IAF

    return IAF(
        float(layer.threshold),
        None if layer.min_v is None else float(layer.min_v),
        layer.reset,
        layer.spike_fn,
        name=names.unique(layer.neuron_name or f"{layer.name}_neurons"),
    )


def _pooled(tensor: Any, pooling: tuple[int, int], names: _Names) -> Any:
    if pooling == (1, 1):
        return tensor
    import keras

    from kerasnsoc.spiking import SumPooling2D

    pool = SumPooling2D(pooling)
    return keras.layers.TimeDistributed(pool, name=names.unique("pool"))(tensor)


def _joined(arriving: list[tuple[int, Any]], names: _Names) -> Any:
    """Sources with the same feature shift are added, others concatenated."""
    import keras

    from kerasnsoc.spiking.dvs import Merge

    groups: dict[int, list[Any]] = {}
    for shift, tensor in arriving:
        groups.setdefault(shift, []).append(tensor)
    tensors = [
        items[0] if len(items) == 1 else Merge(name=names.unique("merge"))(items)
        for _, items in sorted(groups.items())
    ]
    if len(tensors) == 1:
        return tensors[0]
    return keras.layers.Concatenate(name=names.unique("concatenate"))(tensors)
