"""From core layers in the making to a graph: numbers, ways, scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer, Destination, DvsLayer, Shape, Source
from kerasnsoc.nsoc.errors import InvalidGraphError, MissingSpikingLayerError
from kerasnsoc.nsoc.sensor import sensor_layer
from kerasnsoc.nsoc.transform_options import TransformOptions
from kerasnsoc.nsoc.transform_streams import Draft, Tap


def assemble(
    drafts: list[Draft],
    input_shape: Shape,
    dvs_input: bool,
    options: TransformOptions,
    name: str,
) -> CoreGraph:
    """Number the layers, and wire them, the input port and the sensor layer."""
    for draft in drafts:
        if draft.neuron is None:
            raise MissingSpikingLayerError(
                drafts.index(draft), f"Nothing takes the output of {draft.operation}."
            )
    sensors = [d.dvs for d in drafts if any(t.source == "input" for t in d.taps)]
    dvs = sensors[0] if sensors else None
    if any(sensor != dvs for sensor in sensors):
        raise InvalidGraphError(
            "the input is cropped, mirrored or pooled differently on its ways to "
            f"{len(sensors)} layers, but a chip has one sensor layer"
        )
    if dvs_input:
        dvs = replace(dvs or sensor_layer(input_shape, "dvs_input=True"), pixel_array=True)
    elif dvs is not None:
        dvs = replace(dvs, pixel_array=False)

    order = _numbering(drafts)
    number = {old: new for new, old in enumerate(order)}
    incoming: list[tuple[int, int, Tap]] = []
    for old, draft in enumerate(drafts):
        for position, tap in enumerate(draft.taps):
            if tap.source == "input":
                incoming.append((number[old], position, tap))
            else:
                drafts[tap.source].targets.append((number[old], position, tap))
    entries = tuple(
        Destination(target, feature_shift=tap.shift, scale=tap.scale)
        for target, _, tap in sorted(incoming, key=lambda item: item[:2])
    )
    if dvs is not None:
        if any(destination.feature_shift for destination in entries):
            raise InvalidGraphError(
                "the sensor's events are concatenated behind those of another layer, but the "
                "sensor layer has no feature shift. Put the input first."
            )
        dvs = replace(dvs, destinations=entries)
    layers = tuple(_layer(drafts[old], new, number, dvs, options) for new, old in enumerate(order))
    scales = {
        layer.index: d.scale for layer in layers for d in layer.destinations if d.target is None
    }
    return CoreGraph(
        layers=layers,
        input_shape=input_shape,
        dvs=dvs,
        input_destinations=entries if dvs is None else (),
        output_scale=scales,
        input_scale=entries[0].scale if entries else 1.0,
        name=name,
    )


def _numbering(drafts: list[Draft]) -> list[int]:
    """Kahn's topological order; ties by the order of the layers in the model."""
    waiting = {
        i: {tap.source for tap in draft.taps if tap.source != "input"}
        for i, draft in enumerate(drafts)
    }
    order: list[int] = []
    while waiting:
        ready = [i for i, sources in waiting.items() if sources <= set(order)]
        if not ready:
            raise InvalidGraphError("the layers form a cycle, but events flow one way")
        first = min(ready, key=lambda i: (drafts[i].operation.order, i))
        order.append(first)
        del waiting[first]
    return order


def _layer(
    draft: Draft,
    index: int,
    number: Mapping[int, int],
    dvs: DvsLayer | None,
    options: TransformOptions,
) -> CoreLayer:
    assert draft.neuron is not None
    a = draft.neuron.arguments
    scale = options.rescale([tap.scale for tap in draft.taps], str(draft.operation))
    port: Source = "input" if dvs is None else "dvs"
    # an exit comes last: a spike visits the cores first
    targets = sorted(draft.targets, key=lambda item: (item[0] is None, item[0] or 0, item[1]))
    return CoreLayer(
        index=index,
        name=draft.operation.name,
        weights=(draft.weights * np.float32(scale)).astype(np.float32),
        bias=draft.bias,
        stride=draft.stride,
        padding=draft.padding,
        in_shape=draft.in_shape,
        neuron_shape=draft.neuron_shape,
        threshold=float(a["threshold"]),
        min_v=None if a["min_v"] is None else float(a["min_v"]),
        reset=a["reset"],
        spike_fn=a["spike_fn"],
        initial_state=_initial_state(draft),
        destinations=tuple(
            Destination(target, tap.pooling, tap.shift, tap.scale) for target, _, tap in targets
        ),
        sources=tuple(port if tap.source == "input" else number[tap.source] for tap in draft.taps),
        rescale=scale,
        neuron_name=draft.neuron.name,
    )


def _initial_state(draft: Draft) -> npt.NDArray[np.float32] | None:
    assert draft.neuron is not None
    state = draft.neuron.arguments["initial_state"]
    if state is None:
        return None
    array = np.asarray(state, np.float32).reshape(draft.neuron_shape)
    return array if array.any() else None
