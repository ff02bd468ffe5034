"""What of an artifact over time a core can hold, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kerasnsoc.artifact import (
    ConvolutionalParameters,
    ConvolutionMode,
    FilterParameters,
    FullyConnectedParameters,
    InputDataParameters,
    NeuronSpec,
    PoolingParameters,
    PoolingType,
)
from kerasnsoc.nsoc import NSoCNetwork
from kerasnsoc.nsoc.errors import (
    AsymmetricPaddingError,
    DiscretizationError,
    UnsupportedLayerError,
)
from tests.networks import Builder

INPUT = InputDataParameters(input_width=4, input_height=4, input_channels=1)
CONV = ConvolutionalParameters(kernel_width=3, kernel_height=3, num_neurons=2, weights_bits=4)
NUMBERS = {
    "weights": 1,
    "bias": 0,
    "spike_threshold": 8,
    "lowest_potential": -(2**30),
    "initial_potential": 0,
}


def network(parameters=CONV, neuron=None, more=(), **numbers):
    """One layer of neurons behind the input; a number fills its variable."""
    neuron = neuron or NeuronSpec()
    builder = Builder().add("input", INPUT).add("conv", parameters, neuron=neuron)
    variables = {
        name: np.broadcast_to(value, builder.layers[-1].variables[name].shape).astype(
            builder.layers[-1].variables[name].dtype
        )
        for name, value in (NUMBERS | numbers).items()
    }
    builder.layers[-1] = dataclasses.replace(builder.layers[-1], variables=variables)
    for name, p in more:
        builder.add(name, p)
    return builder.build(time_step=1.0)


def test_a_common_divisor_is_taken_out():
    neuron = NeuronSpec(shift=4)
    spec = network(neuron=neuron, bias=3, spike_threshold=160, initial_potential=79)
    (layer,) = NSoCNetwork(spec).layers
    assert (layer.threshold, layer.min_v) == (10, -(2**15))
    assert layer.weights.tolist() == np.ones((2, 1, 3, 3)).tolist()
    assert layer.bias.tolist() == [3, 3]
    assert set(layer.initial_state.flat) == {4}


def test_thresholds_of_a_layer_become_one():
    (layer,) = NSoCNetwork(network(spike_threshold=[8, 12], lowest_potential=[-5, -7])).layers
    assert layer.threshold == 24
    assert [set(w.flat) for w in layer.weights] == [{3}, {2}]
    assert layer.min_v == -14  # -15 to -13, and -14 or -13


def test_neurons_that_only_ask_need_no_multiple():
    neuron = NeuronSpec(rule="single", reset="zero", shift=4)
    (layer,) = NSoCNetwork(network(neuron=neuron, spike_threshold=147)).layers
    assert (layer.threshold, set(layer.weights.flat)) == (10, {1})


def test_it_fits_a_speck():
    spec = network(more=[("sum", PoolingParameters(
        pooling_type=PoolingType.Average, pooling_width=2, pooling_height=2))])  # fmt: skip
    chip = NSoCNetwork(spec)
    assert chip.is_compatible_with("speck2fmodule")
    assert chip.layers[0].destinations[0].pooling == (2, 2)
    assert chip.forward(np.ones((5, 4, 4, 1), int)).shape == (5, 2, 2, 2)


HEAD = FullyConnectedParameters(num_neurons=2, weights_bits=2, activations_enabled=False)
GRADED = FullyConnectedParameters(num_neurons=2, weights_bits=2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"neuron": NeuronSpec(rule="signed"), "lowest_potential": 0}, UnsupportedLayerError,
         r"conv: .*'signed'.*IAF"),
        ({"neuron": NeuronSpec(rectify=True), "bias": -1}, UnsupportedLayerError,
         r"conv: .*rectify is True.*IAF"),
        ({"spike_threshold": 32_768}, DiscretizationError, r"conv: .*32768 with a shift of 0"),
        ({"spike_threshold": [8, 10007]}, DiscretizationError, r"conv: .*8, 10007.*80056"),
        ({"spike_threshold": [7, 233]}, DiscretizationError, r"weights at .* 233 .*8 bits hold"),
        ({"bias": 128}, DiscretizationError, r"conv: biases at .* 128 .*8 bits hold"),
        ({"lowest_potential": [-4, -5]}, DiscretizationError, r"lowest potentials .* -5, -4"),
        ({"lowest_potential": -32_769}, DiscretizationError, r"-32769 .*-32768 to 0"),
        ({"parameters": dataclasses.replace(CONV, pooling_type=PoolingType.Max, pooling_width=2,
                                            pooling_height=2)},
         UnsupportedLayerError, r"conv: it pools potentials.*SumPooling2D"),
        ({"parameters": dataclasses.replace(CONV, stride_x=2)}, AsymmetricPaddingError,
         r"conv: convolution_mode Same with a kernel of 3, stride 2 .* along x"),
        ({"more": [("pool", PoolingParameters(pooling_width=2, pooling_height=2))]},
         UnsupportedLayerError, r"pool: it takes the maximum.*SumPooling2D"),
        ({"more": [("pool", PoolingParameters(pooling_type=PoolingType.Average, pooling_width=2,
                                              pooling_height=2, pooling_stride_x=1))]},
         UnsupportedLayerError, r"pool: windows of 2 with stride 1"),
        ({"more": [("pool", PoolingParameters(
            pooling_type=PoolingType.Average, pooling_width=3, pooling_height=3,
            convolution_mode=ConvolutionMode.Same))]},
         UnsupportedLayerError, r"pool: windows of 3 .*Same"),
        ({"more": [("low", FilterParameters())]}, UnsupportedLayerError, r"low: a Filter .*filter"),
        ({"more": [("head", HEAD)]}, UnsupportedLayerError, r"head: .*no neurons.*IAF"),
        ({"more": [("step", GRADED)]}, UnsupportedLayerError, r"step: .*graded value"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        NSoCNetwork(network(**arguments))


def test_rectifying_what_is_never_negative_changes_nothing():
    spec = network(neuron=NeuronSpec(rectify=True), bias=1)
    assert NSoCNetwork(spec).layers[0].bias.tolist() == [1, 1]
