"""Small networks with chosen arguments and random, valid arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasnsoc.artifact import (
    ConcatParameters,
    ConvolutionalParameters,
    ConvolutionMode,
    FilterParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerParameters,
    LayerSpec,
    LearningSpec,
    NetworkSpec,
    NeuronSpec,
    PoolingParameters,
    PoolingType,
    SeparableConvolutionalParameters,
)
from kerasnsoc.artifact.checks import variable_shapes, weights_range
from kerasnsoc.artifact.geometry import Dims, output_dims


def random_variables(
    parameters: LayerParameters,
    input_dims: Dims | None,
    rng: np.random.Generator,
    *,
    table: bool = False,
    scaled: bool = False,
    learning: LearningSpec | None = None,
    neuron: NeuronSpec | None = None,
) -> dict[str, np.ndarray]:
    """Valid arrays for one layer; `table` adds thresholds, `scaled` output_scale and _shift."""
    variables = {}
    for name, shape in variable_shapes(parameters, input_dims, learning, neuron).items():
        if name == "weights" and learning is not None:
            ranks = rng.random((int(np.prod(shape[:3])), shape[3])).argsort(axis=0)
            variables[name] = (ranks < learning.num_weights).astype(np.int8).reshape(shape)
        elif name == "threshold_learning":
            variables[name] = rng.integers(0, 2**31, shape, dtype=np.int32)
        elif name == "plasticity":
            variables[name] = (rng.integers(0, 65537, shape) / 65536).astype(np.float32)
        elif name == "learning_steps":
            variables[name] = rng.integers(0, 2**32, shape, dtype=np.uint32)
        elif name == "learning_counters":
            variables[name] = rng.integers(0, 32768, shape, dtype=np.int16)
        elif name.startswith("weights"):
            low, high = weights_range(parameters.weights_bits)
            variables[name] = rng.integers(low, high + 1, shape, dtype=np.int8)
        elif name == "threshold_fire":
            variables[name] = rng.integers(-40, 200, shape, dtype=np.int32)
        elif name == "threshold_fire_step":
            variables[name] = rng.choice(np.array([0, 0.25, 1, 3.7, 40], np.float32), shape)
        elif name == "thresholds" and table:
            variables[name] = np.sort(rng.integers(-300, 600, shape, dtype=np.int32), axis=1)
        elif name == "spike_threshold":
            variables[name] = rng.integers(1, 40 << neuron.shift, shape, dtype=np.int32)
        elif name == "bias":
            variables[name] = rng.integers(-3, 6, shape, dtype=np.int32)
        elif name == "lowest_potential":
            depth = 0 if neuron.rule == "signed" else 60 << neuron.shift
            variables[name] = -rng.integers(0, depth + 1, shape, dtype=np.int32)
        elif name == "initial_potential":
            low = np.broadcast_to(variables["lowest_potential"], shape)
            start = rng.integers(low, np.broadcast_to(variables["spike_threshold"], shape))
            variables[name] = start.astype(np.int32)
        elif name == "tau":
            variables[name] = rng.choice([0.0, 0.004, 0.05], shape)
        elif isinstance(parameters, FilterParameters) or (name.startswith("output") and scaled):
            variables[name] = rng.normal(size=shape)
    return variables


class Builder:
    """Adds layers one by one and keeps track of the shapes."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers: list[LayerSpec] = []
        self.dims: dict[str, Dims] = {}

    def add(
        self,
        name: str,
        parameters: LayerParameters,
        inbounds: Sequence[str] | None = None,
        *,
        table: bool = False,
        scaled: bool = False,
        learning: LearningSpec | None = None,
        neuron: NeuronSpec | None = None,
    ) -> Builder:
        """Append a layer, by default behind the last one."""
        if inbounds is None:
            inbounds = [self.layers[-1].name] if self.layers else []
        feeding = [self.dims[inbound] for inbound in inbounds]
        self.dims[name] = output_dims(parameters, feeding)
        incoming = feeding[0] if len(feeding) == 1 else self.dims[name]
        variables = random_variables(
            parameters,
            incoming,
            self.rng,
            table=table,
            scaled=scaled,
            learning=learning,
            neuron=neuron,
        )
        self.layers.append(
            LayerSpec(name, parameters, tuple(inbounds), variables, learning, neuron)
        )
        return self

    def build(self, **arguments: object) -> NetworkSpec:
        return NetworkSpec(tuple(self.layers), **arguments)


def events_network(seed: int = 0) -> NetworkSpec:
    """Three layers behind 4-bit events; small enough for thousands of copies."""
    return (
        Builder(seed)
        .add("input", InputDataParameters(input_width=5, input_height=4, input_channels=2))
        .add(
            "conv",
            ConvolutionalParameters(
                kernel_width=3,
                kernel_height=2,
                num_neurons=6,
                weights_bits=4,
                threshold_fire_bits=2,
            ),
            table=True,
        )
        .add(
            "head",
            FullyConnectedParameters(num_neurons=3, weights_bits=2, activations_enabled=False),
            scaled=True,
        )
        .build(metadata={"classes": ["a", "b", "c"], "producer": {"kerasnsoc": "test"}})
    )


def every_kind(seed: int = 0) -> dict[str, NetworkSpec]:
    """Networks that together have every kind of layer, mode, pooling and optional variable."""
    image = (
        Builder(seed)
        .add(
            "image",
            InputConvolutionalParameters(
                input_width=9,
                input_height=7,
                input_channels=3,
                kernel_width=3,
                kernel_height=3,
                num_neurons=4,
                convolution_mode=ConvolutionMode.Same,
                stride_x=2,
                weights_bits=8,
                pooling_type=PoolingType.Max,
                pooling_width=2,
                pooling_height=2,
                pooling_stride_x=1,
                pooling_stride_y=2,
                threshold_fire=-5,
                threshold_fire_step=0.5,
                threshold_fire_bits=4,
                padding_value=128,
            ),
            table=True,
        )
        .add(
            "left",
            ConvolutionalParameters(
                kernel_width=2,
                kernel_height=2,
                num_neurons=5,
                convolution_mode=ConvolutionMode.Full,
                weights_bits=3,
                pooling_type=PoolingType.Average,
                threshold_fire_bits=2,
            ),
            table=True,
        )
        .add(
            "right",
            SeparableConvolutionalParameters(
                kernel_width=3,
                kernel_height=2,
                num_neurons=3,
                convolution_mode=ConvolutionMode.Valid,
                weights_bits=5,
                pooling_type=PoolingType.Max,
                pooling_width=-1,
                pooling_height=3,
                threshold_fire_bits=2,
            ),
            ["image"],
        )
        .add("join", ConcatParameters(threshold_fire_bits=8), ["left", "right"], table=True)
        .add("hidden", FullyConnectedParameters(num_neurons=6, weights_bits=1), table=True)
        .add(
            "head",
            FullyConnectedParameters(num_neurons=10, weights_bits=7, activations_enabled=False),
            scaled=True,
        )
        .build(
            input_scale=255.0,
            input_shift=128,
            metadata={
                "classes": [str(digit) for digit in range(10)],
                "producer": {"kerasnsoc": "test"},
                "training": {"epochs": 3, "accuracy": 0.984375, "notes": None, "final": True},
            },
        )
    )
    potentials = (
        Builder(seed + 1)
        .add("Eingabe ä", InputDataParameters(input_width=4, input_height=3, input_channels=1))
        .add(
            "a",
            ConvolutionalParameters(
                kernel_width=1, kernel_height=3, num_neurons=2, activations_enabled=False
            ),
        )
        .add(
            "b",
            SeparableConvolutionalParameters(
                kernel_width=3, kernel_height=3, num_neurons=4, activations_enabled=False
            ),
            ["Eingabe ä"],
        )
        .add("joined", ConcatParameters(activations_enabled=False), ["a", "b"])
        .build(input_scale=15.0)
    )
    alone = Builder(seed + 2).add(
        "events", InputDataParameters(input_width=2, input_height=2, input_channels=1, input_bits=1)
    )
    return {
        "events": events_network(seed),
        "image": image,
        "potentials": potentials,
        "input_only": alone.build(),
    }


def learning_networks(seed: int = 0) -> dict[str, NetworkSpec]:
    """Networks whose last layer learns: either kind of layer, either rule."""
    features = ConvolutionalParameters(kernel_width=2, kernel_height=2, num_neurons=5)
    majority = (
        Builder(seed + 3)
        .add("input", InputDataParameters(input_width=4, input_height=3, input_channels=2))
        .add("features", features)
        .add(
            "words",
            FullyConnectedParameters(num_neurons=6, activations_enabled=False),
            learning=LearningSpec(
                num_weights=9,
                num_classes=3,
                initial_plasticity=0.75,
                learning_competition=0.1,
                seed=2**64 - 1,
            ),
        )
        .build(metadata={"classes": ["a", "b", "c"]})
    )
    swap = (
        Builder(seed + 4)
        .add(
            "input",
            InputDataParameters(input_width=5, input_height=4, input_channels=3, input_bits=1),
        )
        .add(
            "kernels",
            ConvolutionalParameters(
                kernel_width=3, kernel_height=2, num_neurons=4, pooling_type=PoolingType.Max
            ),
            learning=LearningSpec(
                num_weights=7, rule="swap", min_plasticity=0.0, learning_ratio=(1, 2)
            ),
        )
        .build()
    )
    return {"learning_majority": majority, "learning_swap": swap}


def time_networks(seed: int = 0) -> dict[str, NetworkSpec]:
    """Networks over time with every rule, reset, pooling of spikes and read-out."""
    image = (
        Builder(seed + 5)
        .add(
            "image",
            InputConvolutionalParameters(
                input_width=7,
                input_height=6,
                input_channels=1,
                kernel_width=3,
                kernel_height=2,
                num_neurons=4,
                convolution_mode=ConvolutionMode.Same,
                weights_bits=5,
                padding_value=3,
            ),
            neuron=NeuronSpec(rule="max", max_spikes=3, rectify=True, shift=2, unit="hz"),
        )
        .add(
            "sum",
            PoolingParameters(pooling_type=PoolingType.Average, pooling_width=2, pooling_height=2),
        )
        .add(
            "wide",
            SeparableConvolutionalParameters(
                kernel_width=2, kernel_height=3, num_neurons=5, weights_bits=3
            ),
            neuron=NeuronSpec(rule="multi", reset="zero", shift=1),
        )
        .add("maximum", PoolingParameters(pooling_width=2, pooling_height=-1))
        .add(
            "hidden",
            FullyConnectedParameters(num_neurons=6, weights_bits=4),
            neuron=NeuronSpec(rule="single", reset="zero"),
        )
        .add(
            "head",
            FullyConnectedParameters(num_neurons=3, weights_bits=4, activations_enabled=False),
        )
        .add("lowpass", FilterParameters())
        .build(input_scale=255.0, input_shift=3, time_step=0.001)
    )
    events = (
        Builder(seed + 6)
        .add("input", InputDataParameters(input_width=5, input_height=4, input_channels=2))
        .add(
            "conv",
            ConvolutionalParameters(
                kernel_width=3,
                kernel_height=3,
                num_neurons=4,
                weights_bits=4,
                pooling_type=PoolingType.Max,
                pooling_width=2,
                pooling_height=2,
            ),
            neuron=NeuronSpec(rule="signed", unit="hz"),
        )
        .add(
            "deep",
            ConvolutionalParameters(
                kernel_width=2,
                kernel_height=2,
                num_neurons=3,
                weights_bits=3,
                pooling_type=PoolingType.Max,
            ),
            neuron=NeuronSpec(rule="signed", shift=1, unit="hz"),
        )
        .add("alpha", FilterParameters(order=2))
        .build(time_step=0.002)
    )
    spikes = (
        Builder(seed + 7)
        .add("input", InputDataParameters(input_width=1, input_height=1, input_channels=9))
        .add(
            "graded",
            FullyConnectedParameters(num_neurons=7, weights_bits=3, threshold_fire_bits=2),
        )
        .add(
            "out",
            FullyConnectedParameters(num_neurons=4, weights_bits=4),
            neuron=NeuronSpec(rule="max", max_spikes=2, rectify=True),
        )
        .build(time_step=1.0)
    )
    return {"time_image": image, "time_events": events, "time_spikes": spikes}
