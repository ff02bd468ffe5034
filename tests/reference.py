"""The judge: every layer in plain NumPy int64, one tap at a time, no cleverness.

Events and synaptic operations are counted on the way, by asking each tap which inputs it sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np

from kerasnsoc.artifact import (
    ConcatParameters,
    ConvolutionMode,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    PoolingType,
    SeparableConvolutionalParameters,
)

LOWEST = np.iinfo(np.int64).min


@dataclass
class LayerResult:
    """What one layer made of a batch, in the layout (samples, x, y, feature)."""

    potentials: np.ndarray  # int64, after pooling; for an input or joined values: the values
    outputs: np.ndarray  # int64, what is sent on
    events_in: np.ndarray  # per sample
    synaptic_ops: np.ndarray
    events_out: np.ndarray
    connections: int  # per sample
    neuron_updates: int


def run(spec: NetworkSpec, inputs: np.ndarray) -> dict[str, LayerResult]:
    """Every layer's result for a batch in the network's own input layout."""
    results: dict[str, LayerResult] = {}
    for layer in spec.layers:
        feeding = [results[name].outputs for name in layer.inbounds]
        results[layer.name] = _run_layer(layer, feeding, inputs.astype(np.int64))
    return results


def levels(parameters, variables, potentials: np.ndarray) -> np.ndarray:
    """Activations: the number of thresholds of a neuron that its potential exceeds."""
    count = 2**parameters.threshold_fire_bits - 1
    activations = np.zeros(potentials.shape, np.int64)
    for n in range(potentials.shape[-1]):
        for m in range(count):
            if "thresholds" in variables:
                threshold = int(variables["thresholds"][n, m])
            else:
                step = Fraction(float(variables["threshold_fire_step"][n]))
                interval = step * Fraction(16, 2**parameters.threshold_fire_bits)
                threshold = int(variables["threshold_fire"][n]) + floor(m * interval)
                threshold = max(-(2**31), min(threshold, 2**31 - 1))
            activations[..., n] += potentials[..., n] > threshold
    return activations


def _run_layer(layer: LayerSpec, feeding: list[np.ndarray], inputs: np.ndarray) -> LayerResult:
    p, v = layer.parameters, layer.variables
    if isinstance(p, InputDataParameters):
        events = _events(inputs)
        return LayerResult(inputs, inputs, events, events * 0, events, 0, 0)
    if isinstance(p, InputConvolutionalParameters):
        inputs = inputs.transpose(0, 2, 1, 3)  # images come as (y, x)
        kernel, padding = v["weights"], p.padding_value
    elif isinstance(p, ConcatParameters):
        inputs = np.concatenate(feeding, axis=3)
    else:
        inputs, padding = feeding[0], 0
        kernel = v["weights"][::-1, ::-1]  # stored as an event scatters it

    connections = neuron_updates = 0
    synaptic_ops = np.zeros(len(inputs), np.int64)
    if isinstance(p, ConcatParameters):
        potentials = inputs
        neuron_updates = inputs[0].size if p.activations_enabled else 0
    elif isinstance(p, FullyConnectedParameters):
        n, w, h, c = inputs.shape
        flat = np.zeros((n, c * h * w), np.int64)
        for x in range(w):
            for y in range(h):
                for f in range(c):
                    flat[:, (f * h + y) * w + x] = inputs[:, x, y, f]
        potentials = (flat @ v["weights"][0, 0].astype(np.int64)).reshape(n, 1, 1, -1)
        synaptic_ops = _events(inputs) * p.num_neurons
        connections = w * h * c * p.num_neurons
        neuron_updates = p.num_neurons
    else:
        depthwise = isinstance(p, SeparableConvolutionalParameters)
        potentials, synaptic_ops, connections = _correlate(p, inputs, kernel, padding, depthwise)
        if depthwise:
            sums = potentials
            potentials = sums @ v["weights_pw"][0, 0].astype(np.int64)
            synaptic_ops = synaptic_ops + _events(sums) * p.num_neurons
            connections += sums[0].size * p.num_neurons
        neuron_updates = potentials[0].size
        potentials = _pool(p, potentials)

    outputs = levels(p, v, potentials) if p.activations_enabled else potentials
    return LayerResult(
        potentials,
        outputs,
        _events(inputs),
        synaptic_ops,
        _events(outputs),
        int(connections),
        int(neuron_updates),
    )


def _events(values: np.ndarray) -> np.ndarray:
    return (values != 0).reshape(len(values), -1).sum(axis=1)


def _padding(length: int, size: int, stride: int, mode: ConvolutionMode) -> tuple[int, int, int]:
    """Cells in front, cells behind and number of windows along one axis."""
    if mode is ConvolutionMode.Same:
        count = (length + stride - 1) // stride
        total = max((count - 1) * stride + size - length, 0)
        return total // 2, total - total // 2, count
    edge = size - 1 if mode is ConvolutionMode.Full else 0
    count = 0
    while count * stride + size <= length + 2 * edge:
        count += 1
    return edge, edge, count


def _correlate(p, inputs, kernel, padding, depthwise):
    """Sums of a convolution, with the synaptic operations per sample and the connections."""
    front_x, back_x, count_x = _padding(
        inputs.shape[1], p.kernel_width, p.stride_x, p.convolution_mode
    )
    front_y, back_y, count_y = _padding(
        inputs.shape[2], p.kernel_height, p.stride_y, p.convolution_mode
    )
    around = ((0, 0), (front_x, back_x), (front_y, back_y), (0, 0))
    padded = np.pad(inputs, around, constant_values=padding)
    real = np.pad(np.ones_like(inputs), around)  # 0 where there is padding
    features = inputs.shape[3] if depthwise else p.num_neurons
    sums = np.zeros((len(inputs), count_x, count_y, features), np.int64)
    synaptic_ops = np.zeros(len(inputs), np.int64)
    connections = 0
    for dx in range(p.kernel_width):
        for dy in range(p.kernel_height):
            xs = slice(dx, dx + (count_x - 1) * p.stride_x + 1, p.stride_x)
            ys = slice(dy, dy + (count_y - 1) * p.stride_y + 1, p.stride_y)
            seen = padded[:, xs, ys]
            is_real = real[:, xs, ys]
            weights = kernel[dx, dy].astype(np.int64)
            if depthwise:
                sums += seen * weights[:, 0]
                fan_out = 1
            else:
                sums += seen @ weights
                fan_out = p.num_neurons
            synaptic_ops += _events(seen * is_real) * fan_out
            connections += is_real[:1].sum() * fan_out
    return sums, synaptic_ops, connections


def _pool(p, potentials: np.ndarray) -> np.ndarray:
    if p.pooling_type is PoolingType.NoPooling:
        return potentials
    is_max = p.pooling_type is PoolingType.Max
    same = p.convolution_mode is ConvolutionMode.Same
    mode = ConvolutionMode.Same if same else ConvolutionMode.Valid
    sizes, strides, around, counts = [], [], [(0, 0)], []
    for axis, size, stride in (
        (1, p.pooling_width, p.pooling_stride_x),
        (2, p.pooling_height, p.pooling_stride_y),
    ):
        size = potentials.shape[axis] if size == -1 else size
        stride = size if stride == -1 else stride
        front, back, count = _padding(potentials.shape[axis], size, stride, mode)
        sizes.append(size)
        strides.append(stride)
        counts.append(count)
        around.append((front, back))
    padded = np.pad(potentials, (*around, (0, 0)), constant_values=LOWEST if is_max else 0)
    shape = (len(potentials), *counts, potentials.shape[3])
    pooled = np.full(shape, LOWEST if is_max else 0, np.int64)
    for ox in range(counts[0]):
        for oy in range(counts[1]):
            for dx in range(sizes[0]):
                for dy in range(sizes[1]):
                    cell = padded[:, ox * strides[0] + dx, oy * strides[1] + dy]
                    if is_max:
                        pooled[:, ox, oy] = np.maximum(pooled[:, ox, oy], cell)
                    else:
                        pooled[:, ox, oy] += cell
    return pooled
