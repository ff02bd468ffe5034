"""The judge of networks over time: plain NumPy int64, one step after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kerasnsoc.artifact import (
    FilterParameters,
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    NeuronSpec,
    PoolingParameters,
)
from tests import reference

LIMIT = 2**30


def run(spec: NetworkSpec, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of every layer, (n, steps, height, width, features), for inputs of that layout."""
    results: dict[str, np.ndarray] = {}
    n, steps = inputs.shape[:2]
    for layer in spec.layers:
        if isinstance(layer.parameters, InputDataParameters):
            rows = inputs.astype(np.int64)
        elif layer.inbounds:
            rows = results[layer.inbounds[0]]
        else:
            rows = inputs.astype(np.int64)
        flat = rows.reshape(n * steps, *rows.shape[2:])
        results[layer.name] = _layer(spec, layer, flat, n, steps)
    return results


def _layer(spec: NetworkSpec, layer: LayerSpec, flat: np.ndarray, n: int, steps: int) -> np.ndarray:
    p = layer.parameters
    events_layout = flat.transpose(0, 2, 1, 3)
    if isinstance(p, InputDataParameters):
        return flat.reshape(n, steps, *flat.shape[1:])
    if isinstance(p, PoolingParameters):
        outputs = reference._pool(p, events_layout).transpose(0, 2, 1, 3)
        return outputs.reshape(n, steps, *outputs.shape[1:])
    if isinstance(p, FilterParameters):
        return _filtered(spec, layer, flat.reshape(n, steps, *flat.shape[1:]))
    plain = layer
    if layer.neuron:
        plain = replace(layer, parameters=replace(p, activations_enabled=False), neuron=None)
    # images of an input layer stay (y, x)
    outputs = reference._run_layer(plain, [events_layout], flat).outputs
    outputs = outputs.transpose(0, 2, 1, 3)
    outputs = outputs.reshape(n, steps, *outputs.shape[1:])
    return fire(layer.neuron, layer.variables, outputs) if layer.neuron else outputs


def fire(neuron: NeuronSpec, variables, potentials: np.ndarray) -> np.ndarray:
    """Spikes of every step, from potentials (n, steps, height, width, neurons)."""
    threshold = variables["spike_threshold"].astype(np.int64)
    lowest = variables["lowest_potential"].astype(np.int64)
    start = variables["initial_potential"].astype(np.int64).transpose(1, 0, 2)
    v = np.broadcast_to(start, (len(potentials), *start.shape)).copy()
    spikes = np.zeros_like(potentials)
    for t in range(potentials.shape[1]):
        added = (potentials[:, t] + variables["bias"]) * 2**neuron.shift
        if neuron.rectify:
            added = np.maximum(added, 0)
        v = v + added
        assert np.abs(v).max(initial=0) < 2**31
        count = v // threshold
        if neuron.rule != "signed":
            count = np.maximum(count, 0)
        if neuron.rule == "single":
            count = np.minimum(count, 1)
        elif neuron.rule == "max":
            count = np.minimum(count, neuron.max_spikes)
        v = v - count * threshold if neuron.reset == "subtract" else np.where(count > 0, 0, v)
        v = np.minimum(np.maximum(v, lowest), LIMIT - 1)
        spikes[:, t] = count
    return spikes


def _filtered(spec: NetworkSpec, layer: LayerSpec, values: np.ndarray) -> np.ndarray:
    """The filter as a convolution with its impulse response, which no recursion is needed for."""
    v = layer.variables
    tau = np.maximum(v["tau"].transpose(1, 0, 2), 1e-8)
    level = v["initial_level"].transpose(1, 0, 2)
    x = values * v["output_scale"] + v["output_shift"] - level
    steps = values.shape[1]
    q = spec.time_step / tau
    outputs = np.zeros(values.shape)
    for t in range(steps):
        for past in range(t + 1):
            # step response at both ends of the interval in which the input was held
            outputs[:, t] += x[:, past] * (
                _step_response(layer.parameters.order, q * (t + 1 - past))
                - _step_response(layer.parameters.order, q * (t - past))
            )
    return outputs + level


def _step_response(order: int, at: np.ndarray) -> np.ndarray:
    return 1 - np.exp(-at) * (1 if order == 1 else 1 + at)
