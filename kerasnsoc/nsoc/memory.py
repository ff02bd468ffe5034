"""How much of a core's memory a layer takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kerasnsoc.artifact.schema import (
    FullyConnectedParameters,
    InputConvolutionalParameters,
    LayerParameters,
    LayerType,
    SpatialParameters,
)
from kerasnsoc.nsoc.core_graph import CoreLayer, GradedLayer
from kerasnsoc.nsoc.devices import CoreSpec, DeviceSpec

ASSUMED_THRESHOLD_BYTES = 4
ASSUMED_POTENTIAL_BYTES = 4
"""Of a neural processor: thresholds per feature, potentials per neuron."""

ASSUMED_LOIHI_SYNAPSE_BYTES = 1
"""Each synapse is stored by itself, with a weight of one byte."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words of the three memories of a core."""

    kernel: int
    neuron: int
    bias: int

    def fits(self, core: CoreSpec) -> bool:
        """Whether a core has as many of each."""
        return (
            self.kernel <= core.kernel_words
            and self.neuron <= core.neuron_words
            and self.bias <= core.bias_words
        )


def clog2(n: int) -> int:
    """Address bits for n values: the smallest k with ``2**k >= n``; 0 for n = 1."""
    if n < 1:
        raise ValueError(f"n is {n}, but it must be at least 1")
    return (n - 1).bit_length()


def kernel_words(channels: int, features: int, kernel_y: int, kernel_x: int) -> int:
    """Kernel words: the address encoder rounds the kernel and the features up to powers of two."""
    return channels << (clog2(kernel_y * kernel_x) + clog2(features))


def neuron_words(features: int, height: int, width: int) -> int:
    """Neuron words of a map before pooling, each side rounded up to a power of two."""
    return features << (clog2(height) + clog2(width))


def bias_words(features: int, has_bias: bool) -> int:
    """One word per feature with a bias vector, even if all of it is 0."""
    return features if has_bias else 0


def words_of(layer: CoreLayer) -> Words:
    """What a layer takes on a core that holds one layer."""
    features, channels, kernel_y, kernel_x = layer.weights.shape
    return Words(
        kernel_words(channels, features, kernel_y, kernel_x),
        neuron_words(*layer.neuron_shape),
        bias_words(features, layer.bias is not None),
    )


def memory_summary(layers: Sequence[CoreLayer]) -> dict[str, list[int]]:
    """Words of each memory, one entry per layer in model order.

    Examples
    --------
    >>> memory_summary([])
    {'kernel': [], 'neuron': [], 'bias': []}
    """
    words = [words_of(layer) for layer in layers]
    return {
        "kernel": [w.kernel for w in words],
        "neuron": [w.neuron for w in words],
        "bias": [w.bias for w in words],
    }


def validate_layer(device: DeviceSpec, layer: CoreLayer) -> list[str]:
    """Why no core of a device that holds one layer per core can hold this one.

    Returns
    -------
    list of str
        First a memory that is too small on every core, then memories that no core has together;
        empty if a core fits.
    """
    words = words_of(layer)
    if any(words.fits(core) for core in device.cores):
        return []
    reasons = []
    needs = {"kernel": words.kernel, "neuron": words.neuron, "bias": words.bias}
    largest = {name: max(_words(core, name) for core in device.cores) for name in needs}
    remedies = {
        "kernel": "use fewer features, fewer channels or a smaller kernel",
        "neuron": "use fewer features, a stride, or pooling before this layer",
        "bias": "use fewer features, or use_bias=False",
    }
    for name, need in needs.items():
        if need > largest[name]:
            reasons.append(
                f"needs {need} {name} words, but the largest core of {device.name!r} has "
                f"{largest[name]}; {remedies[name]}"
            )
    if reasons:
        return reasons
    kernel_cores = [core for core in device.cores if core.kernel_words >= words.kernel]
    neuron_cores = [core for core in device.cores if core.neuron_words >= words.neuron]
    most_neurons = max(core.neuron_words for core in kernel_cores)
    most_kernels = max(core.kernel_words for core in neuron_cores)
    if words.neuron > most_neurons:
        reasons.append(
            f"needs {words.kernel} kernel words and {words.neuron} neuron words, but no core of "
            f"{device.name!r} offers both: with that many kernel words a core has at most "
            f"{most_neurons} neuron words, with that many neuron words at most {most_kernels} "
            "kernel words"
        )
    else:
        both = [core for core in kernel_cores if core.neuron_words >= words.neuron]
        reasons.append(
            f"needs {words.bias} bias words beside {words.kernel} kernel words and "
            f"{words.neuron} neuron words, but the cores with room for these two have at most "
            f"{max(core.bias_words for core in both)}; use_bias=False needs none"
        )
    return reasons


def _words(core: CoreSpec, name: str) -> int:
    words: int = getattr(core, f"{name}_words")
    return words


# --- meshes ---------------------------------------------------------------------------------------


def processor_bytes(layer: CoreLayer | GradedLayer) -> int:
    """Bytes that a layer takes on a mesh: weights, thresholds, potentials; 0 for image inputs.

    Returns
    -------
    int
        A lower bound: a vendor's compiler may copy weights to several processors for speed.
    """
    if isinstance(layer, GradedLayer):
        return graded_bytes(layer.spec.parameters, layer.in_shape, layer.neuron_shape)
    return spiking_bytes(layer.weights.size, layer.neuron_shape)


def spiking_bytes(weights: int, neuron_shape: tuple[int, int, int], bits: int = 8) -> int:
    """Bytes of so many weights, and of the thresholds and potentials of neurons (F, H, W)."""
    features, height, width = neuron_shape
    return (
        -(-weights * bits // 8)
        + ASSUMED_THRESHOLD_BYTES * features
        + ASSUMED_POTENTIAL_BYTES * features * height * width
    )


def graded_bytes(
    p: LayerParameters, in_shape: tuple[int, int, int], neuron_shape: tuple[int, int, int]
) -> int:
    """Bytes of a layer of an artifact; shapes are (features, height, width)."""
    if isinstance(p, InputConvolutionalParameters):
        return 0
    channels, features = in_shape[0], neuron_shape[0]
    weights = 0
    if isinstance(p, FullyConnectedParameters):
        weights = math.prod(in_shape) * features
    elif isinstance(p, SpatialParameters):
        kernel = p.kernel_width * p.kernel_height
        if p.layer_type is LayerType.SeparableConvolutional:
            weights = kernel * channels + channels * features
        else:
            weights = kernel * channels * features
    return spiking_bytes(weights, neuron_shape, getattr(p, "weights_bits", 0))


def processors_needed(layer: CoreLayer | GradedLayer, device: DeviceSpec) -> int:
    """Fewest processors of a mesh that hold a layer; 0 for image inputs.

    Where a processor has a limit of neurons and stores each synapse (Loihi), both count.
    """
    if isinstance(layer, GradedLayer) and isinstance(
        layer.spec.parameters, InputConvolutionalParameters
    ):
        return 0
    core = device.cores[0]
    if core.max_neurons:
        neurons = math.prod(layer.neuron_shape)
        synapses = neurons * _fan_in(layer) * ASSUMED_LOIHI_SYNAPSE_BYTES
        return max(1, -(-neurons // core.max_neurons), -(-synapses // core.memory_bytes))
    return max(1, -(-processor_bytes(layer) // core.memory_bytes))


def _fan_in(layer: CoreLayer | GradedLayer) -> int:
    if isinstance(layer, CoreLayer):
        return math.prod(layer.weights.shape[1:])
    p: Any = layer.spec.parameters
    if isinstance(p, SpatialParameters):
        return p.kernel_width * p.kernel_height * layer.in_shape[0]
    return math.prod(layer.in_shape)
