"""From a placed graph to the configuration of a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kerasnsoc.artifact.description import layers_to_json
from kerasnsoc.nsoc.config import (
    XY,
    CoreConfig,
    DestinationConfig,
    DeviceReference,
    Dimensions,
    DvsConfig,
    GradedCoreConfig,
    InputConfig,
    KillBits,
    MapShape,
    NSoCConfig,
    NumericConfig,
    XYFlags,
)
from kerasnsoc.nsoc.core_graph import (
    CoreGraph,
    CoreLayer,
    Destination,
    DvsLayer,
    GradedLayer,
    SpikeFunction,
)
from kerasnsoc.nsoc.devices import DeviceSpec
from kerasnsoc.nsoc.errors import InvalidGraphError, NotDiscretizedError, UnsupportedLayerError
from kerasnsoc.nsoc.mapping import Placement


def build_config(
    graph: CoreGraph,
    device: DeviceSpec,
    index: int,
    placement: Placement,
    *,
    slow_clock_hz: float | None = None,
) -> NSoCConfig:
    """The configuration of a placed network, without monitors and not validated.

    Parameters
    ----------
    graph : CoreGraph
        Of integers.
    device : DeviceSpec
    index : int
        Which device of its kind.
    placement : Placement
    slow_clock_hz : float, optional

    Returns
    -------
    NSoCConfig

    Raises
    ------
    NotDiscretizedError
        If the graph still holds floats.
    UnsupportedLayerError
        If the device takes no graded events and the graph sends them.
    InvalidGraphError
        If neurons differ in what a device does for all of them at once.
    """
    check_kind(graph, device)
    cores: list[CoreConfig | GradedCoreConfig] = []
    for layer in graph.layers:
        if isinstance(layer, CoreLayer):
            cores.append(_core(layer, graph, device, placement))
        else:
            cores.append(_graded_core(layer, placement))
    return NSoCConfig(
        device=DeviceReference(device.name, index, device.sha256()),
        numeric=_numeric(graph, device),
        cores=cores,
        slow_clock_hz=slow_clock_hz,
        dvs=None if graph.dvs is None else _dvs(graph.dvs, graph.input_shape[0], placement),
        input=_input(graph, placement) if graph.dvs is None else None,
    )


def check_kind(graph: CoreGraph, device: DeviceSpec) -> None:
    """Refuse floats, and graded events on a device whose events are all alike."""
    for layer in graph.layers:
        if isinstance(layer, CoreLayer) and not layer.is_discretized:
            raise NotDiscretizedError(
                f"{layer.name}: its weights are floats, but a chip computes with integers. Build "
                "the network with discretize=True."
            )
        if isinstance(layer, GradedLayer) and not (device.graded and device.mode == "packet"):
            raise UnsupportedLayerError(
                f"{layer.name}: it sends graded events ({layer.spec.layer_type.name} of an "
                f"artifact), but neurons of {device.name!r} send spikes of value 1. Use a device "
                "with graded events ('akd1000'), or train the network with IAF neurons."
            )


def _numeric(graph: CoreGraph, device: DeviceSpec) -> NumericConfig:
    if graph.is_graded:
        return NumericConfig(
            "packet",
            persistent=device.persistent,
            graded=device.graded,
            layer_delay=device.layer_delay,
        )
    functions: set[SpikeFunction] = {layer.spike_fn for layer in graph.core_layers}
    if device.mode == "packet" and len(functions) > 1:
        raise InvalidGraphError(
            f"the neurons have {len(functions)} different spike_fn ({sorted(map(str, functions))}),"
            f" but {device.name!r} has one for all. Use the same in every layer."
        )
    function = next(iter(functions)) if len(functions) == 1 else "multi"
    return NumericConfig(
        mode=device.mode,
        spike_fn="max" if isinstance(function, tuple) else function,
        max_spikes=function[1] if isinstance(function, tuple) else None,
        persistent=device.persistent,
        graded=device.graded,
        layer_delay=device.layer_delay,
    )


def _core(
    layer: CoreLayer, graph: CoreGraph, device: DeviceSpec, placement: Placement
) -> CoreConfig:
    features = len(layer.weights)
    biases = np.zeros(features, np.int16) if layer.bias is None else layer.bias
    state = layer.initial_state
    if state is None:
        state = np.zeros(layer.neuron_shape, np.int16)
    assert layer.quant_scale is not None
    assert layer.min_v is not None
    weights = layer.weights
    kill = None
    if device.kill_bits:
        kill = KillBits(weights == 0, biases == 0, np.zeros(layer.neuron_shape, bool))
    return CoreConfig(
        core=placement.core_of[layer.index],
        layer_index=layer.index,
        name=layer.name,
        dimensions=Dimensions(
            input_shape=MapShape.of(layer.in_shape),
            output_shape=MapShape.of(layer.neuron_shape),
            kernel_size=XY(layer.kernel[1], layer.kernel[0]),
            stride=XY(layer.stride[1], layer.stride[0]),
            padding=XY(layer.padding[1], layer.padding[0]),
        ),
        weights=weights.copy(),
        biases=biases.copy(),
        has_biases=layer.bias is not None,
        leak_enable=bool(np.any(biases)),
        return_to_zero=layer.reset == "zero",
        threshold_high=int(layer.threshold),
        threshold_low=int(layer.min_v),
        neurons_initial_value=state.copy(),
        quant_scale=layer.quant_scale,
        destinations=_destinations(layer.destinations, placement),
        kill_bits=kill,
        neural_processors=_processors(layer.index, placement),
        pass_index=placement.pass_of(layer.index),
    )


def _graded_core(layer: GradedLayer, placement: Placement, wired: bool = True) -> GradedCoreConfig:
    record: dict[str, Any] = layers_to_json([layer.spec])[0]
    return GradedCoreConfig(
        core=placement.core_of[layer.index],
        layer_index=layer.index,
        name=layer.name,
        graded={"type": record["type"], "parameters": record["parameters"]},
        input_shape=MapShape.of(layer.in_shape),
        neuron_shape=MapShape.of(layer.neuron_shape),
        output_shape=MapShape.of(layer.out_shape),
        variables={name: np.array(array) for name, array in layer.spec.variables.items()},
        destinations=_destinations(layer.destinations, placement) if wired else [],
        neural_processors=_processors(layer.index, placement),
        pass_index=placement.pass_of(layer.index),
    )


def graded_record(layer: GradedLayer, like: GradedCoreConfig) -> GradedCoreConfig:
    """The record of a layer, with the place, monitor and destinations of another record."""
    built = _graded_core(layer, Placement((like.core,) * (layer.index + 1)), wired=False)
    return replace(
        built,
        destinations=like.destinations,
        monitor_enable=like.monitor_enable,
        neural_processors=like.neural_processors,
        pass_index=like.pass_index,
    )


def _processors(layer: int, placement: Placement) -> list[int]:
    return list(placement.processors_of[layer]) if placement.processors_of else []


def _destinations(
    destinations: Sequence[Destination], placement: Placement
) -> list[DestinationConfig]:
    return [
        DestinationConfig(
            layer=None if d.target is None else placement.core_of[d.target],
            pooling=XY(d.pooling[1], d.pooling[0]),
            feature_shift=d.feature_shift,
        )
        for d in destinations
    ]


def _dvs(dvs: DvsLayer, features: int, placement: Placement) -> DvsConfig:
    height, width = dvs.input_shape
    (top, bottom), (left, right) = dvs.window
    return DvsConfig(
        input_shape=MapShape(XY(width, height), features),
        merge=dvs.merge,
        pooling=XY(dvs.pool[1], dvs.pool[0]),
        origin=XY(left, top),
        cut=XY(right - 1, bottom - 1),
        mirror=XYFlags(dvs.flip_x, dvs.flip_y),
        mirror_diagonal=dvs.swap_xy,
        pass_sensor_events=dvs.pixel_array,
        destinations=_destinations(dvs.destinations, placement),
    )


def _input(graph: CoreGraph, placement: Placement) -> InputConfig:
    return InputConfig(
        MapShape.of(graph.input_shape), _destinations(graph.input_destinations, placement)
    )
