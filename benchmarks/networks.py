"""The benchmark networks: as lists of layers, as integer networks, as Keras models.

Weights are random, which times do not depend on; thresholds are set such that a wanted share of
activations is not zero, which times do depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kerasnsoc.artifact import (
    ConvolutionalParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    PoolingType,
    SeparableConvolutionalParameters,
)
from kerasnsoc.artifact.geometry import output_dims
from kerasnsoc.runtime.plan import CompiledNetwork


@dataclass(frozen=True)
class Conv:
    filters: int
    kernel: tuple[int, int]
    stride: int = 1
    pool: int = 0  # maxima over pool x pool


@dataclass(frozen=True)
class Separable:
    filters: int
    stride: int = 1
    average: bool = False  # over the whole map


@dataclass(frozen=True)
class Dense:
    neurons: int
    last: bool = False


Layer = Conv | Separable | Dense


@dataclass(frozen=True)
class Architecture:
    """One network; the density is the wanted share of activations that are not zero."""

    shape_hwc: tuple[int, int, int]
    layers: tuple[Layer, ...]
    weight_bits: int = 4
    activation_bits: int = 4
    density: float = 0.3


def mobilenet(alpha: float) -> Architecture:
    rows = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    rows += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    separable = [Separable(int(alpha * f), s) for f, s in rows]
    separable[-1] = replace(separable[-1], average=True)
    first = Conv(int(alpha * 32), (3, 3), 2)
    return Architecture((224, 224, 3), (first, *separable, Dense(1000, last=True)), density=0.5)


def ds_cnn() -> Architecture:
    blocks = [Separable(64)] * 3 + [Separable(64, average=True)]
    first = Conv(64, (10, 4), 2)
    return Architecture((49, 10, 1), (first, *blocks, Dense(12, last=True)), density=0.5)


def vgg() -> Architecture:
    convolutions: list[Layer] = []
    for filters in (128, 256, 512):
        convolutions += [Conv(filters, (3, 3)), Conv(filters, (3, 3), pool=2)]
    return Architecture((32, 32, 3), (*convolutions, Dense(1024), Dense(10, last=True)))


def gxnor() -> Architecture:
    layers = (Conv(32, (5, 5), pool=2), Conv(64, (5, 5), pool=2), Dense(512), Dense(10, last=True))
    return Architecture((28, 28, 1), layers, weight_bits=2, activation_bits=1)


def mlp() -> Architecture:
    return Architecture((28, 28, 1), (Dense(512), Dense(512), Dense(10, last=True)))


ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    "mobilenet_0.25": lambda: mobilenet(0.25),
    "mobilenet_0.5": lambda: mobilenet(0.5),
    "mobilenet_1.0": lambda: mobilenet(1.0),
    "ds_cnn": ds_cnn,
    "vgg": vgg,
    "gxnor": gxnor,
    "mlp": mlp,
}


def _parameters(architecture: Architecture) -> Iterator[Any]:
    """Runtime layers without the input layer that a dense first layer needs."""
    height, width, channels = architecture.shape_hwc
    bits = {"weights_bits": architecture.weight_bits}
    for index, layer in enumerate(architecture.layers):
        fires = {"activations_enabled": True, "threshold_fire_bits": architecture.activation_bits}
        if isinstance(layer, Dense):
            if layer.last:
                fires = {"activations_enabled": False}
            yield FullyConnectedParameters(num_neurons=layer.neurons, **bits, **fires)
            continue
        common: dict[str, Any] = {
            "num_neurons": layer.filters,
            "stride_x": layer.stride,
            "stride_y": layer.stride,
            **bits,
            **fires,
        }
        if isinstance(layer, Separable):
            if layer.average:
                common["pooling_type"] = PoolingType.Average
            yield SeparableConvolutionalParameters(kernel_width=3, kernel_height=3, **common)
            continue
        common |= {"kernel_height": layer.kernel[0], "kernel_width": layer.kernel[1]}
        if layer.pool:
            pool = {"pooling_width": layer.pool, "pooling_height": layer.pool}
            common |= {"pooling_type": PoolingType.Max, **pool}
        if index == 0:
            common |= {"input_width": width, "input_height": height, "input_channels": channels}
            yield InputConvolutionalParameters(**common | {"weights_bits": 8})
        else:
            yield ConvolutionalParameters(**common)


def _weights(shape: tuple[int, ...], bits: int, rng: np.random.Generator) -> np.ndarray:
    top = max(1, 2 ** (bits - 1) - 1)
    return rng.integers(-top, top + 1, shape, dtype=np.int8)


def integer_network(
    architecture: Architecture, density: float | None = None, seed: int = 0
) -> NetworkSpec:
    """The network on integers; thresholds are found layer by layer on random inputs."""
    density = architecture.density if density is None else density
    rng = np.random.default_rng(seed)
    height, width, channels = architecture.shape_hwc
    layers: list[LayerSpec] = []
    dims = (width, height, channels)
    if isinstance(architecture.layers[0], Dense):
        p = InputDataParameters(
            input_width=width, input_height=height, input_channels=channels, input_bits=8
        )
        layers.append(LayerSpec("input", p))
    inputs = random_inputs(architecture, 1, rng).reshape(1, -1)
    for index, p in enumerate(_parameters(architecture)):
        if isinstance(p, FullyConnectedParameters):
            shape: tuple[int, ...] = (1, 1, dims[0] * dims[1] * dims[2], p.num_neurons)
        elif isinstance(p, SeparableConvolutionalParameters):
            shape = (p.kernel_width, p.kernel_height, dims[2], 1)
        else:
            shape = (p.kernel_width, p.kernel_height, dims[2], p.num_neurons)
        variables = {"weights": _weights(shape, p.weights_bits, rng)}
        if isinstance(p, SeparableConvolutionalParameters):
            variables["weights_pw"] = _weights((1, 1, dims[2], p.num_neurons), p.weights_bits, rng)
        name, inbounds = f"layer_{index}", (layers[-1].name,) if layers else ()
        if p.activations_enabled:
            silent = LayerSpec(name, replace(p, activations_enabled=False), inbounds, variables)
            probe = CompiledNetwork(NetworkSpec((*layers, silent)))
            potentials = probe.run(inputs)[0][-1]
            variables |= _thresholds(potentials, density, p.threshold_fire_bits)
        else:  # present in every layer, though they do not count here
            variables["threshold_fire"] = np.zeros(p.num_neurons, np.int32)
            variables["threshold_fire_step"] = np.ones(p.num_neurons, np.float32)
        layers.append(LayerSpec(name, p, inbounds, variables))
        dims = output_dims(p, [dims])
    return NetworkSpec(tuple(layers))


def _thresholds(potentials: Any, density: float, bits: int) -> dict[str, np.ndarray]:
    neurons = potentials.shape[-1]
    per_neuron = potentials.reshape(-1, neurons)
    if len(per_neuron) < 64:  # too few for a share of its own
        per_neuron = np.broadcast_to(per_neuron.reshape(-1, 1), (per_neuron.size, neurons))
    threshold, top = np.quantile(per_neuron, [1 - density, 1 - density * 0.02], axis=0)
    step = np.maximum(1, (top - threshold) / 2**bits) * 2**bits / 16
    return {
        "threshold_fire": threshold.astype(np.int32),
        "threshold_fire_step": step.astype(np.float32),
    }


def random_inputs(architecture: Architecture, count: int, rng: np.random.Generator) -> np.ndarray:
    """Inputs in the runtime's layout: images, or for a dense first layer events (x, y, channel)."""
    return rng.integers(0, 256, (count, *architecture.shape_hwc), dtype=np.uint8)


def keras_model(architecture: Architecture) -> Any:
    """The same network with float weights, as the other engines get it."""
    import keras

    layers = keras.layers
    x = inputs = keras.Input(architecture.shape_hwc)
    relu = {"use_bias": False}

    def fire(x: Any) -> Any:
        return layers.ReLU(6.0)(layers.BatchNormalization()(x))

    flat = False
    for layer in architecture.layers:
        if isinstance(layer, Conv):
            x = layers.Conv2D(
                layer.filters, layer.kernel, strides=layer.stride, padding="same", **relu
            )(x)
            x = fire(x)
            if layer.pool:
                x = layers.MaxPooling2D(layer.pool)(x)
        elif isinstance(layer, Separable):
            x = layers.DepthwiseConv2D(3, strides=layer.stride, padding="same", **relu)(x)
            x = fire(x)
            x = fire(layers.Conv2D(layer.filters, 1, **relu)(x))
            if layer.average:
                x = layers.GlobalAveragePooling2D()(x)
                flat = True
        else:
            x = x if flat else layers.Flatten()(x)
            flat = True
            x = layers.Dense(layer.neurons, activation=None if layer.last else "relu")(x)
    return keras.Model(inputs, x)
