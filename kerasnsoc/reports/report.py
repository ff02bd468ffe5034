"""From an artifact and a few inputs to the figures of a report."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact import NetworkSpec, content_digest
from kerasnsoc.artifact.bounds import LayerBounds, network_bounds
from kerasnsoc.artifact.geometry import Dims, output_dims
from kerasnsoc.artifact.schema import (
    ActivationParameters,
    ConcatParameters,
    InputDataParameters,
    LayerSpec,
)
from kerasnsoc.energy import compare_devices
from kerasnsoc.nsoc import model_hardware_incompatibilities
from kerasnsoc.reports.facts import LayerFacts, ModelReport
from kerasnsoc.reports.placement import placements
from kerasnsoc.runtime import Model, NsocVersion

OBSERVED_SAMPLES = 256
"""Neurons are watched for so many samples at most."""

POTENTIAL_SAMPLES = 16
"""Potentials for so many: every layer is run once more for them."""


def report(
    artifact: Model | str | os.PathLike[str],
    inputs: npt.NDArray[Any] | None = None,
    labels: npt.NDArray[Any] | None = None,
    *,
    keras_model: Any = None,
) -> ModelReport:
    """Look at a network from all sides.

    Without inputs the report holds what the file alone says: shapes, bits, bytes, worst-case
    potentials, limits of chips. With inputs the network runs, and the report adds events,
    sparsity, observed potentials, dead and saturated neurons, and energy on every device.

    Parameters
    ----------
    artifact : str, path or Model
    inputs : ndarray of integers, optional
        As `kerasnsoc.runtime.Model.forward` takes them.
    labels : ndarray of int, shape (n,), optional
        True classes of the inputs.
    keras_model : keras.Model, optional
        What `kerasnsoc.freeze` gave for the model of this artifact: every activation is compared.

    Returns
    -------
    ModelReport
        ``to_html()``, ``save(path)``, ``to_dict()``.

    Raises
    ------
    ArtifactError
        If the file is no valid artifact.
    TypeError, ValueError
        If inputs or labels do not fit, or there are labels or a Keras model but no inputs.
    """
    path = None if isinstance(artifact, Model) else Path(artifact)
    model = _opened(artifact)
    spec = model.to_spec()
    if inputs is None and (labels is not None or keras_model is not None):
        raise ValueError("labels and keras_model are compared with a run: pass inputs, too")
    bounds = network_bounds(spec)
    layers = _described(spec, bounds)
    accuracy, samples, parity = None, 0, None
    energy: tuple[dict[str, Any], ...] = ()
    if inputs is not None:
        classes = model.predict(inputs)
        samples = len(classes)
        if labels is not None:
            if np.shape(labels) != (samples,):
                raise ValueError(
                    f"labels have the shape {np.shape(labels)}, but there are {samples} inputs: "
                    f"give one class per input, shape ({samples},)"
                )
            accuracy = float(np.mean(classes == labels))
        layers = _with_run(spec, layers, model, inputs)
        energy = _energy(model)
        if keras_model is not None:
            parity = _parity(keras_model, model, inputs)
    return ModelReport(
        title=path.name if path else "network",
        facts=_head(spec, layers, path),
        layers=tuple(layers),
        samples=samples,
        accuracy=accuracy,
        energy=energy,
        chips=_chips(model),
        placements=placements(spec, inputs),
        parity=parity,
        metadata=json.dumps(dict(spec.metadata), indent=2, sort_keys=True),
    )


def _opened(artifact: Model | str | os.PathLike[str]) -> Model:
    if isinstance(artifact, Model):
        # a model of its own: the caller's statistics stay as they are
        return Model(serialized_buffer=artifact.to_buffer())
    return Model(artifact)


def _described(spec: NetworkSpec, bounds: dict[str, LayerBounds]) -> list[LayerFacts]:
    dims: dict[str, Dims] = {}
    layers = []
    for layer in spec.layers:
        p, v = layer.parameters, layer.variables
        dims[layer.name] = output_dims(p, [dims[name] for name in layer.inbounds])
        bits = getattr(p, "threshold_fire_bits", None)
        if isinstance(p, InputDataParameters):
            bits = p.input_bits
        elif not getattr(p, "activations_enabled", True):
            bits = None
        bound = bounds[layer.name]
        layers.append(
            LayerFacts(
                name=layer.name,
                kind=layer.layer_type.name,
                inbounds=layer.inbounds,
                output_whf=dims[layer.name],
                weight_bits=getattr(p, "weights_bits", None),
                activation_bits=bits,
                parameters=sum(v[name].size for name in ("weights", "weights_pw") if name in v),
                array_bytes=sum(array.nbytes for array in v.values()),
                lowest=int(bound.low.min()),
                highest=int(bound.high.max()),
                spare_bits=round(31 - math.log2(max(bound.partial, 1)), 1),
            )
        )
    return layers


def _with_run(
    spec: NetworkSpec, layers: list[LayerFacts], model: Model, inputs: npt.NDArray[Any]
) -> list[LayerFacts]:
    statistics = model.get_statistics()
    few = inputs[:POTENTIAL_SAMPLES]
    outputs = model.trace(inputs[:OBSERVED_SAMPLES])
    result = []
    for index, (layer, facts) in enumerate(zip(spec.layers, layers, strict=True)):
        counted = statistics.get(layer.name)
        if counted is not None and counted.nb_samples:
            count = counted.nb_samples
            facts = replace(
                facts,
                events_in=counted.events_in / count,
                events_out=counted.nb_activations / count,
                synaptic_ops=counted.synaptic_ops / count,
                dense_ops=int(counted.connections),
                sparsity=float(counted.output_sparsity),
            )
        result.append(_observed(spec, index, facts, outputs[layer.name], few))
    return result


def _observed(
    spec: NetworkSpec,
    index: int,
    facts: LayerFacts,
    outputs: npt.NDArray[Any],
    inputs: npt.NDArray[Any],
) -> LayerFacts:
    layer = spec.layers[index]
    p = layer.parameters
    if not isinstance(p, ActivationParameters) or isinstance(p, ConcatParameters):
        return facts
    by_neuron = outputs.reshape(-1, facts.output_whf[2])
    if layer.neuron is not None:  # carries its potential on from step to step
        return replace(facts, dead=int((~by_neuron.any(axis=0)).sum()))
    potentials = outputs
    if p.activations_enabled:
        top = 2**p.threshold_fire_bits - 1
        facts = replace(
            facts,
            dead=int((by_neuron.max(axis=0) == 0).sum()),
            saturated=int((by_neuron.min(axis=0) == top).sum()),
        )
        if spec.time_step is not None:
            return facts
        potentials = _potentials(spec, index, inputs)
    return replace(facts, observed_low=int(potentials.min()), observed_high=int(potentials.max()))


def _potentials(spec: NetworkSpec, index: int, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What the layer's neurons summed up: the network up to there, without its last activation."""
    layer = spec.layers[index]
    needed = {layer.name}
    for earlier in reversed(spec.layers[: index + 1]):
        if earlier.name in needed:
            needed |= set(earlier.inbounds)
    kept = [earlier for earlier in spec.layers[:index] if earlier.name in needed]
    assert isinstance(layer.parameters, ActivationParameters)
    variables = {name: array for name, array in layer.variables.items() if name != "thresholds"}
    bare = LayerSpec(
        layer.name,
        replace(layer.parameters, activations_enabled=False),
        layer.inbounds,
        MappingProxyType(variables),
    )
    return Model.from_spec(replace(spec, layers=(*kept, bare))).forward(inputs)


def _energy(model: Model) -> tuple[dict[str, Any], ...]:
    rows = []
    for row in compare_devices(model).to_dict()["devices"]:
        interval = row["energy_per_inference"]
        rows.append({**row, "is_partial": interval is None})
    return tuple(rows)


def _chips(model: Model) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "chip": f"AKD1000-like, {version.name}",
            "problems": [str(p) for p in model_hardware_incompatibilities(model, version)],
        }
        for version in NsocVersion
        if version is not NsocVersion.Unknown
    )


def _parity(keras_model: Any, model: Model, inputs: npt.NDArray[Any]) -> dict[str, Any]:
    from kerasnsoc.conversion import compare

    found = compare(keras_model, model, inputs)
    return {"compared": found.compared, "differing": found.differing, "summary": found.summary()}


def _head(spec: NetworkSpec, layers: list[LayerFacts], path: Path | None) -> dict[str, str]:
    height, width, channels = spec.input.shape_hwc
    facts = {}
    if path is not None:
        facts["file"] = f"{path.stat().st_size:,} bytes"
    facts |= {
        "content": f"sha256 {content_digest(spec)}",
        "input": f"{spec.input.kind}, {height} x {width} x {channels} "
        f"(height, width, channels), {spec.input.bits} bits",
        "scaling": f"integer = {spec.input.scale:g} * Keras value + {spec.input.shift}",
        "weights": f"{sum(layer.parameters for layer in layers):,}",
        "layers": str(len(layers)),
    }
    if spec.time_step is not None:
        facts["time"] = f"steps of {spec.time_step:g} s; a sample is a whole sequence"
    return facts
