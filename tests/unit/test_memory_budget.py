"""Running allocates what it returns; the buffers of a plan are as large as they were."""

import ctypes
import sys
import tracemalloc

import numpy as np
import pytest

from kerasnsoc.artifact import (
    ConvolutionalParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    PoolingType,
    SeparableConvolutionalParameters,
)
from kerasnsoc.runtime import Model
from kerasnsoc.runtime.plan import CompiledNetwork
from tests.networks import Builder

SMALL_OBJECTS = 8192
"""Bytes of views, lists and numbers that a call makes and forgets."""


def separable_stack():
    """Like a small keyword or object network: an image, four separable layers, a pooled end."""
    common = {"weights_bits": 4, "threshold_fire_bits": 4}
    builder = Builder(1).add(
        "stem",
        InputConvolutionalParameters(
            input_width=64,
            input_height=64,
            input_channels=3,
            kernel_width=3,
            kernel_height=3,
            num_neurons=16,
            stride_x=2,
            stride_y=2,
            weights_bits=8,
            threshold_fire_bits=4,
        ),
    )
    for number, neurons in enumerate((32, 32, 64)):
        builder.add(
            f"separable_{number}",
            SeparableConvolutionalParameters(
                kernel_width=3, kernel_height=3, num_neurons=neurons, **common
            ),
        )
    builder.add(
        "pooled",
        SeparableConvolutionalParameters(
            kernel_width=3,
            kernel_height=3,
            num_neurons=64,
            pooling_type=PoolingType.Average,
            **common,
        ),
    )
    return builder.add(
        "head", FullyConnectedParameters(num_neurons=10, weights_bits=4, activations_enabled=False)
    ).build()


def event_convolutions():
    """Like a gesture network: events, convolutions with pooling, a dense end."""
    common = {"kernel_width": 3, "kernel_height": 3, "weights_bits": 4, "threshold_fire_bits": 4}
    builder = Builder(2).add(
        "in", InputDataParameters(input_width=64, input_height=64, input_channels=10)
    )
    for number, neurons in enumerate((16, 32, 64)):
        builder.add(
            f"conv_{number}",
            ConvolutionalParameters(
                num_neurons=neurons,
                pooling_type=PoolingType.Max,
                pooling_width=2,
                pooling_height=2,
                **common,
            ),
        )
    return builder.add(
        "head", FullyConnectedParameters(num_neurons=10, weights_bits=4, activations_enabled=False)
    ).build()


def dense_layers():
    """Like a network on handwritten digits."""
    return (
        Builder(3)
        .add("in", InputDataParameters(input_width=28, input_height=28, input_channels=1))
        .add(
            "hidden",
            FullyConnectedParameters(num_neurons=512, weights_bits=4, threshold_fire_bits=4),
        )
        .add(
            "head",
            FullyConnectedParameters(num_neurons=10, weights_bits=4, activations_enabled=False),
        )
        .build()
    )


NETWORKS = {
    "separable_stack": separable_stack,
    "event_convolutions": event_convolutions,
    "dense_layers": dense_layers,
}

PLAN_BYTES = {
    "separable_stack": 980_096,
    "event_convolutions": 607_104,
    "dense_layers": 8_192,
}
"""Measured. Who makes a plan larger for a reason writes the new number down here."""


@pytest.fixture(params=list(NETWORKS))
def name(request):
    return request.param


def batch_for(spec, samples):
    first = spec.input
    rng = np.random.default_rng(0)
    return rng.integers(0, 2**first.bits, (samples, *first.shape_hwc), dtype=np.uint8)


def test_plans_stay_within_3_percent_of_what_they_were(name):
    size = CompiledNetwork(NETWORKS[name](), kernel="scalar").plan_nbytes
    assert abs(size - PLAN_BYTES[name]) <= 0.03 * PLAN_BYTES[name], size


@pytest.mark.parametrize("form", ["dense", "events"])
@pytest.mark.parametrize("samples", [1, 100])
def test_forward_allocates_its_outputs_only(name, form, samples):
    spec = NETWORKS[name]()
    model = Model.from_spec(spec)
    batch = batch_for(spec, samples)
    outputs = model.forward(batch, form=form, threads=1)  # the warm-up makes the plan
    tracemalloc.start()
    try:
        kept = model.forward(batch, form=form, threads=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(kept, outputs)
    assert peak <= outputs.nbytes + SMALL_OBJECTS


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallinfo2 is glibc's")
def test_the_c_side_keeps_nothing(name):
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        pytest.skip("this C library has no mallinfo2")

    class MallInfo(ctypes.Structure):
        _fields_ = [
            (field, ctypes.c_size_t)
            for field in (
                *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
                *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
            )
        ]

    library.mallinfo2.restype = MallInfo

    def used():
        info = library.mallinfo2()
        return info.uordblks + info.hblkhd

    spec = NETWORKS[name]()
    model = Model.from_spec(spec)
    batch = batch_for(spec, 3)
    for _ in range(5):
        model.forward(batch, threads=1)
    before = used()
    for _ in range(50):
        model.forward(batch, threads=1)
    assert used() - before < 16_384
