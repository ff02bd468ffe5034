"""Every kernel row that this CPU runs, in both forms and both widths, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from kerasnsoc.artifact import (
    ConvolutionalParameters,
    ConvolutionMode,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    PoolingType,
    SeparableConvolutionalParameters,
)
from kerasnsoc.runtime import plan as runtime_plan
from kerasnsoc.runtime.plan import CompiledNetwork
from kerasnsoc_ext import Network, Plan, available_kernels
from tests import reference
from tests.networks import Builder, every_kind

FORMS = ("auto", "dense", "events")
DENSITIES = (0.0, 0.02, 0.3, 0.8, 1.0)

# Around the lengths of vector registers, and some that leave every kind of remainder.
NEURONS = (1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 67, 130)
CHANNELS = (1, 3, 8, 13, 16, 33, 64, 70)


def _random_inputs(spec, density, rng, samples=2):
    height, width, channels = spec.input.shape_hwc
    shape = (height, width) if spec.input.kind == "image" else (width, height)
    shape = (samples, *shape, channels)
    values = rng.integers(1, 2**spec.input.bits, shape)
    return np.where(rng.random(shape) < density, values, 0).astype(np.uint8)


def _single(parameters, bits, width=6, height=5, channels=1, seed=0):
    """One layer behind events, its thresholds within the potentials that occur."""
    builder = Builder(seed)
    builder.add(
        "in",
        InputDataParameters(
            input_width=width, input_height=height, input_channels=channels, input_bits=bits
        ),
    )
    builder.add("layer", parameters, table=seed % 2 == 0)
    return builder.build()


def _networks():
    """Names and networks that together visit every kernel with awkward sizes."""
    for seed, neurons in enumerate(NEURONS):
        channels = CHANNELS[seed % len(CHANNELS)]
        activation = {
            "threshold_fire_bits": (1, 2, 3, 4, 8)[seed % 5],
            "activations_enabled": seed % 4 != 3,
            "weights_bits": 2 + seed % 7,
        }
        spatial = {
            "kernel_width": 1 + seed % 4,
            "kernel_height": 1 + (seed + 2) % 4,
            "num_neurons": neurons,
            "convolution_mode": list(ConvolutionMode)[seed % 3],
            "stride_x": 1 + seed % 2,
            "stride_y": 1 + seed // 2 % 3,
            **activation,
        }
        pooled = {
            "pooling_type": (PoolingType.Max, PoolingType.Average)[seed % 2],
            "pooling_width": (1, 2, -1)[seed % 3],
            "pooling_height": (-1, 1)[seed % 2],
        }
        bits = 1 + seed % 8
        cases = {
            "fully": FullyConnectedParameters(num_neurons=neurons, **activation),
            "conv": ConvolutionalParameters(**spatial),
            "pooled": ConvolutionalParameters(**spatial, **pooled),
            "separable": SeparableConvolutionalParameters(**spatial),
            "separable_pooled": SeparableConvolutionalParameters(**spatial, **pooled),
        }
        for name, parameters in cases.items():
            spec = _single(parameters, bits, channels=channels, seed=seed)
            yield f"{name}-{channels}-{neurons}", spec
        image = InputConvolutionalParameters(
            input_width=7,
            input_height=6,
            input_channels=(1, 3)[seed % 2],
            padding_value=(0, 1, 255)[seed % 3],
            **spatial,
        )
        yield f"image-{neurons}", Builder(seed).add("layer", image).build()
    yield from every_kind(1).items()


NETWORKS = dict(_networks())


@pytest.fixture(params=available_kernels())
def kernel(request):
    return request.param


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("wide", [False, True])
def test_every_row_gives_the_reference(name, kernel, wide, monkeypatch):
    spec = NETWORKS[name]
    if wide:  # as if nothing were proved about the sums
        monkeypatch.setattr(runtime_plan, "LARGEST_NARROW_SUM", -1)
    compiled = CompiledNetwork(spec, kernel=kernel)
    rng = np.random.default_rng(2)
    for density in DENSITIES:
        inputs = _random_inputs(spec, density, rng)
        expected = reference.run(spec, inputs)
        for form in FORMS:
            rows = inputs.reshape(len(inputs), -1)
            outputs, counters = compiled.run(rows, trace=True, form=form)
            for op, layer in enumerate(spec.layers):
                result = expected[layer.name]
                np.testing.assert_array_equal(outputs[op], result.outputs)
                np.testing.assert_array_equal(counters[:, op, 0], result.events_in)
                np.testing.assert_array_equal(counters[:, op, 1], result.synaptic_ops)
                np.testing.assert_array_equal(counters[:, op, 2], result.events_out)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_written_outside(name, kernel):
    """Guard bytes around every buffer, and around the arrays that are handed in."""
    spec = NETWORKS[name]
    network = CompiledNetwork(spec, kernel=kernel)._network
    plan = Plan(network)
    inputs = _random_inputs(spec, 0.6, np.random.default_rng(3), samples=3)
    framed, outputs = [], []
    for op in range(len(network)):
        size = int(np.prod(network.output_dims(op)))
        dtype = np.int32 if network.emits_potentials(op) else np.uint8
        frame = np.full((5, size), 77, dtype)
        framed.append(frame)
        outputs.append(frame[1:4])
    counters = np.full((5, len(network), 3), -7, np.int64)
    for form in FORMS:
        plan.run(inputs.reshape(3, -1), outputs, counters[1:4], form)
        assert plan.broken_guards() == []
        for frame in framed:
            assert (frame[[0, 4]] == 77).all()
        assert (counters[[0, 4]] == -7).all()
        assert (counters[1:4] >= 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_extreme_weights_and_thresholds(kernel, form):
    """Values at the ends of their types, which an instruction that saturates would change."""
    events, neurons = 300, 19
    network = Network(kernel)
    network.add_input("in", 1, 1, events)
    weights = np.full((events, neurons), 127, np.int8)
    weights[:, 1::2] = -127
    weights[:, 2::3] *= np.where(np.arange(events) % 2, 1, -1).astype(np.int8)[:, None]
    total = 255 * weights.astype(np.int64).sum(axis=0)
    thresholds = np.stack([total - 1, total, total + 1]).astype(np.int32)
    thresholds[0, 0], thresholds[2, 3] = -(2**31), 2**31 - 1
    network.add_fully_connected("levels", 0, weights, thresholds)
    network.add_fully_connected("potentials", 0, weights)
    levels = np.empty((1, neurons), np.uint8)
    potentials = np.empty((1, neurons), np.int32)
    inputs = np.full((1, events), 255, np.uint8)
    counters = np.empty((1, 3, 3), np.int64)
    Plan(network).run(inputs, [None, levels, potentials], counters, form)
    assert potentials[0].tolist() == total.tolist()
    assert levels[0].tolist() == [1] * neurons
    assert counters[0, 2].tolist() == [events, events * neurons, np.count_nonzero(total)]
