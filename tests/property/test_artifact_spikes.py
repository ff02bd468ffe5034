"""Artifacts over time as cores of a spiking chip: the spikes are those of the runtime."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from kerasnsoc.artifact import (
    ArtifactError,
    ConvolutionalParameters,
    ConvolutionMode,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    NeuronSpec,
    PoolingParameters,
    PoolingType,
    Reason,
    SeparableConvolutionalParameters,
)
from kerasnsoc.artifact.neurons import POTENTIAL_LIMIT
from kerasnsoc.nsoc import NSoCEmulator, NSoCNetwork, packets_from_frames
from kerasnsoc.nsoc.discretize import STATE_MAX
from kerasnsoc.nsoc.host import exit_pooling
from kerasnsoc.nsoc.sensor import sum_pool
from kerasnsoc.runtime import Model
from tests.networks import Builder


@st.composite
def rules(draw) -> NeuronSpec:
    rule = draw(st.sampled_from(("single", "multi", "max")))
    return NeuronSpec(
        rule=rule,
        max_spikes=draw(st.integers(1, 3)) if rule == "max" else 0,
        reset=draw(st.sampled_from(("subtract", "zero"))),
        shift=draw(st.integers(0, 12)),
    )


def fitting(layer, rng, neuron, *, scaled: bool):
    """Variables that a core holds exactly: thresholds that differ, of which one core makes one."""
    variables = dict(layer.variables)
    neurons = len(variables["bias"])
    threshold = int(rng.integers(4, 30))
    # weights twice as large with a threshold twice as large are the same neuron
    factor = rng.integers(1, 3, neurons) if scaled else np.ones(neurons, np.int64)
    last = "weights_pw" if "weights_pw" in variables else "weights"
    high = 1 if last == "weights_pw" else 3
    weights = rng.integers(-high, high + 1, variables[last].shape)
    variables[last] = (weights * factor).astype(np.int8)
    variables["bias"] = (rng.integers(-2, 3, neurons) * factor).astype(np.int32)
    full = (threshold * factor) << neuron.shift
    if neuron.rule == "single" and neuron.reset == "zero":
        full = full - rng.integers(0, 1 << neuron.shift)  # as good as the next multiple
    variables["spike_threshold"] = full.astype(np.int32)
    lowest = -POTENTIAL_LIMIT
    if rng.integers(2):
        lowest = -((int(rng.integers(0, 20)) * factor) << neuron.shift)
    variables["lowest_potential"] = np.broadcast_to(lowest, neurons).astype(np.int32)
    shape = variables["initial_potential"].shape
    start = np.zeros(shape, np.int64)
    if neuron.reset == "subtract":  # anything will do, only whole multiples count
        start = rng.integers(0, np.broadcast_to(full, shape))
    variables["initial_potential"] = start.astype(np.int32)
    return dataclasses.replace(layer, variables=variables)


@st.composite
def networks(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    rng, builder = np.random.default_rng(seed), Builder(seed)
    side, is_image = draw(st.integers(4, 6)), draw(st.booleans())
    width = side if is_image else side + 2 * draw(st.integers(0, 1))
    rule = draw(rules())  # a packet-based chip has one for all cores
    modes = st.sampled_from(ConvolutionMode)

    def convolution(cls, w, h, **more):
        kernel = draw(st.sampled_from((1, 3))) if min(w, h) >= 3 else 1
        return cls(
            kernel_width=kernel,
            kernel_height=kernel,
            num_neurons=draw(st.integers(1, 3)),
            convolution_mode=draw(modes),
            weights_bits=4,
            **more,
        )

    def add(name, p):
        shift, reset = draw(st.integers(0, 12)), draw(st.sampled_from(("subtract", "zero")))
        neuron = dataclasses.replace(rule, shift=shift, reset=reset)
        builder.add(name, p, neuron=neuron)
        builder.layers[-1] = fitting(builder.layers[-1], rng, neuron, scaled=draw(st.booleans()))

    if is_image:
        channels = draw(st.sampled_from((1, 3)))
        size = {"input_width": width, "input_height": side, "input_channels": channels}
        add("image", convolution(InputConvolutionalParameters, width, side, **size))
    else:
        p = InputDataParameters(input_width=width, input_height=side, input_channels=2)
        builder.add("input", p)
    for index in range(draw(st.integers(1, 3))):
        w, h, _ = builder.dims[builder.layers[-1].name]
        if min(w, h) >= 2 and draw(st.booleans()):
            average = PoolingType.Average
            p = PoolingParameters(pooling_type=average, pooling_width=2, pooling_height=2)
            builder.add(f"sum{index}", p)
            w, h = w // 2, h // 2
        kind = draw(st.sampled_from(("dense", "conv", "separable")))
        if kind == "dense":
            p = FullyConnectedParameters(num_neurons=draw(st.integers(1, 4)), weights_bits=4)
        elif kind == "conv":
            p = convolution(ConvolutionalParameters, w, h)
        else:
            p = convolution(SeparableConvolutionalParameters, w, h)
        add(f"{kind}{index}", p)
    if draw(st.booleans()):
        size = {"pooling_width": -1, "pooling_height": -1}
        builder.add("total", PoolingParameters(pooling_type=PoolingType.Average, **size))
    return builder.build(time_step=0.001)


def packet_chip(config):
    """A chip whose layers hand on spikes within a packet."""
    config.numeric.layer_delay = 0
    return config


@given(spec=networks(), seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 6))
@settings(max_examples=120, phases=[Phase.explicit, Phase.generate])
def test_a_chip_spikes_like_the_runtime(spec, seed, steps):
    rng = np.random.default_rng(seed)
    height, width, channels = spec.input.shape_hwc
    x = (
        rng.integers(0, 3, (2, steps, height, width, channels))
        * (rng.random(steps) < 0.8)[:, None, None, None]
    )
    try:
        model = Model.from_spec(spec)
    except ArtifactError as error:  # more spikes per step than a separable layer takes
        assume(error.reason is not Reason.OVERFLOW)
        raise
    expected = model.forward(x)
    network = NSoCNetwork(spec)
    found = network.forward(x)
    assume(fits(network, x[0]))
    assume(fits(network, x[1]))
    assert_array_equal(found.reshape(expected.shape), expected)

    again = NSoCNetwork(spec)
    config = again.make_config(device="loihi", config_modifier=packet_chip)
    for engine in ("functional", "timing"):
        emulator = NSoCEmulator(config, engine=engine)
        result = emulator.run(packets_from_frames(x[0], 100.0))
        (outputs,) = result.outputs.values()
        # outputs of cores are those before an exit's pooling
        pooled = sum_pool(np.moveaxis(outputs, -1, 1), exit_pooling(again.layers[-1]))
        assert_array_equal(np.moveaxis(pooled, 1, -1).reshape(expected[0].shape), expected[0])


def fits(network, x_thwc) -> bool:
    """Whether no potential can leave 16 bits, by the sums of all that arrives."""
    graph = network.graph
    counts = [int(x_thwc.sum())]
    for layer in graph.core_layers:
        part = dataclasses.replace(
            graph, layers=tuple(layers_up_to(graph.core_layers, layer.index))
        )
        outputs = NSoCNetwork(part).forward(x_thwc)
        largest = int(abs(layer.weights.astype(int)).max())
        bias = 0 if layer.bias is None else int(abs(layer.bias).max()) * len(x_thwc)
        if counts[-1] * largest + bias + layer.threshold > STATE_MAX:
            return False
        counts.append(int(outputs.sum()))
    return True


def layers_up_to(layers, last):
    from kerasnsoc.nsoc.core_graph import Destination

    for layer in layers[: last + 1]:
        if layer.index == last:
            layer = dataclasses.replace(layer, destinations=(Destination(None),))
        yield layer
