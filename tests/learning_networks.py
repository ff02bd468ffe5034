"""Small models that learn, drawn or given."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from kerasnsoc.artifact import ConvolutionalParameters, LearningSpec
from kerasnsoc.runtime import (
    Convolutional,
    ConvolutionMode,
    FullyConnected,
    InputData,
    Model,
    PoolingType,
)
from tests import learning_reference

# exact in binary, on a border, or neither
shares = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1)


@st.composite
def learning_layers(draw, convolutional: bool | None = None) -> tuple[InputData, object]:
    """An input and a layer that can learn from it."""
    if convolutional is None:
        convolutional = draw(st.booleans())
    activations = {
        "activations_enabled": draw(st.booleans()),
        "threshold_fire": draw(st.integers(-2, 6)),
        "threshold_fire_step": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "threshold_fire_bits": draw(st.sampled_from([1, 2, 4])),
    }
    neurons = draw(st.sampled_from([1, 2, 4, 6]))
    if not convolutional:
        channels = draw(st.sampled_from([1, 2, 7, 64, 65]))
        sides = draw(st.sampled_from([(1, 1), (2, 3), (3, 1)]))
        return InputData(*sides, channels, 1), FullyConnected(neurons, **activations)
    width, height = draw(st.integers(2, 5)), draw(st.integers(2, 5))
    mode = draw(st.sampled_from(ConvolutionMode))
    pooling = draw(st.sampled_from(PoolingType))
    pooled = {} if pooling is PoolingType.NoPooling else {"pooling_type": pooling}
    if pooled and draw(st.booleans()):
        pooled |= {"pooling_width": 1, "pooling_height": 1, "pooling_stride_x": 2}
    layer = Convolutional(
        draw(st.integers(1, 2)),
        draw(st.integers(1, 2)),
        neurons,
        convolution_mode=mode,
        stride_x=draw(st.integers(1, 2)),
        stride_y=draw(st.integers(1, 2)),
        **activations,
        **pooled,
    )
    return InputData(width, height, draw(st.integers(1, 3)), 1), layer


@st.composite
def learning_arguments(draw, connections: int, neurons: int) -> dict[str, object]:
    """Arguments of `Model.compile`."""
    denominator = draw(st.integers(1, 5))
    return {
        "num_weights": draw(st.integers(1, connections)),
        "num_classes": draw(st.sampled_from([n for n in (1, 2, 3) if neurons % n == 0])),
        "initial_plasticity": draw(shares),
        "learning_competition": draw(shares),
        "min_plasticity": draw(shares),
        "plasticity_decay": draw(shares),
        "learning_ratio": (draw(st.integers(0, denominator)), denominator),
        "rule": draw(st.sampled_from(["majority", "swap"])),
        "seed": draw(st.integers(0, 2**64 - 1)),
    }


def binary_samples(rng: np.random.Generator, model: Model, count: int) -> np.ndarray:
    """Samples around a few prototypes, so that neurons respond again; now and then an empty one."""
    shape = model.input_dims
    prototypes = rng.random((3, *shape)) < 0.4
    samples = prototypes[rng.integers(0, 3, count)] ^ (rng.random((count, *shape)) < 0.1)
    samples[rng.random(count) < 0.1] = False
    return samples.astype(np.uint8)


def connections_of(model: Model) -> int:
    kernel = model.layers[-1].get_variable("weights").shape
    return int(np.prod(kernel[:3]))


def reference_of(model: Model) -> learning_reference.Layer:
    """The judge, with the same arguments as a model that was just compiled."""
    layer = model.layers[-1]
    arguments = {name: getattr(layer.learning, name) for name in LearningSpec.__annotations__}
    return learning_reference.Layer(
        connections=connections_of(model), neurons=layer.output_dims[2], **arguments
    )


def assert_same(model: Model, judge: learning_reference.Layer) -> None:
    """Every variable that learning changes, bit for bit."""
    layer = model.layers[-1]
    channels = layer.input_dims[2]
    as_weights = learning_reference.as_weights
    np.testing.assert_array_equal(
        layer.get_variable("weights"), as_weights(layer.parameters, judge.weights, channels)
    )
    assert layer.get_variable("threshold_learning").tolist() == judge.thresholds
    assert (layer.get_variable("plasticity") * 65536).tolist() == judge.plasticities
    assert layer.get_variable("learning_steps").tolist() == judge.steps
    if layer.learning.rule == "majority":
        np.testing.assert_array_equal(
            layer.get_variable("learning_counters"),
            as_weights(layer.parameters, judge.counters, channels),
        )
    else:
        assert "learning_counters" not in layer.get_variable_names()


def is_convolutional(model: Model) -> bool:
    return isinstance(model.layers[-1].parameters, ConvolutionalParameters)
