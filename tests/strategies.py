"""Hypothesis strategies that several tests share."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

from kerasnsoc.artifact import (
    LEARNING_RULES,
    ConcatParameters,
    ConvolutionalParameters,
    ConvolutionMode,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerParameters,
    LearningSpec,
    NetworkSpec,
    PoolingType,
    SeparableConvolutionalParameters,
)
from kerasnsoc.artifact.checks import ACTIVATION_BITS
from kerasnsoc.artifact.geometry import Dims, window
from kerasnsoc.artifact.learning import connections_per_neuron
from tests.networks import Builder

layer_names = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1, max_size=12
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcä\n", max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def activations(draw, enabled: bool | None = None) -> dict[str, object]:
    """Arguments that every firing layer has."""
    return {
        "activations_enabled": draw(st.booleans()) if enabled is None else enabled,
        "threshold_fire": draw(st.integers(-(2**31), 2**31 - 1)),
        "threshold_fire_step": draw(st.floats(0, 1e6, width=32)),
        "threshold_fire_bits": draw(st.sampled_from(ACTIVATION_BITS)),
    }


@st.composite
def _spatial(draw, input_wh: tuple[int, int], max_neurons: int) -> dict[str, object]:
    """Arguments of a convolution that fits into a map of this size."""
    mode = draw(st.sampled_from(ConvolutionMode))
    pooling = draw(st.sampled_from(PoolingType))
    result = {
        "convolution_mode": mode,
        "num_neurons": draw(st.integers(1, max_neurons)),
        "pooling_type": pooling,
    }
    axes = (("width", "x", input_wh[0]), ("height", "y", input_wh[1]))
    for side, axis, length in axes:
        kernel = draw(st.integers(1, min(7, length) if mode is ConvolutionMode.Valid else 7))
        stride = draw(st.integers(1, 3))
        result[f"kernel_{side}"] = kernel
        result[f"stride_{axis}"] = stride
        if pooling is PoolingType.NoPooling:
            continue
        positions = window(length, kernel, stride, mode).output
        largest = 4 if mode is ConvolutionMode.Same else min(4, positions)
        size = draw(st.just(-1) | st.integers(1, largest))
        result[f"pooling_{side}"] = size
        if size != -1:
            result[f"pooling_stride_{axis}"] = draw(st.just(-1) | st.integers(1, 4))
    return result


@st.composite
def input_parameters(draw, max_side: int = 9, enabled: bool | None = True) -> LayerParameters:
    """An input layer of either kind."""
    sides = {
        "input_width": draw(st.integers(1, max_side)),
        "input_height": draw(st.integers(1, max_side)),
    }
    if draw(st.booleans()):
        return InputDataParameters(
            **sides, input_channels=draw(st.integers(1, 4)), input_bits=draw(st.integers(1, 8))
        )
    return InputConvolutionalParameters(
        **sides,
        **draw(_spatial((sides["input_width"], sides["input_height"]), 6)),
        **draw(activations(enabled)),
        input_channels=draw(st.sampled_from((1, 3))),
        weights_bits=draw(st.integers(1, 8)),
        padding_value=draw(st.integers(0, 255)),
    )


@st.composite
def processing_parameters(draw, input_dims: Dims, enabled: bool | None = True) -> LayerParameters:
    """A layer other than Concat that fits behind a map of these dims."""
    cls = draw(
        st.sampled_from(
            (FullyConnectedParameters, ConvolutionalParameters, SeparableConvolutionalParameters)
        )
    )
    common = draw(activations(enabled))
    if cls is FullyConnectedParameters:
        return cls(
            **common,
            num_neurons=draw(st.integers(1, 8)),
            weights_bits=draw(st.integers(1, 8)),
        )
    lowest = 2 if cls is SeparableConvolutionalParameters else 1
    return cls(
        **common, **draw(_spatial(input_dims[:2], 6)), weights_bits=draw(st.integers(lowest, 8))
    )


@st.composite
def network_specs(draw, max_segments: int = 3) -> NetworkSpec:
    """A valid network: a chain of layers and of forks that a Concat joins.

    Structure and arguments are drawn, and shrink; arrays come from a seed.
    """
    segments = draw(st.integers(0, max_segments))
    names = iter(
        draw(
            st.lists(layer_names, min_size=3 * segments + 1, max_size=3 * segments + 1, unique=True)
        )
    )
    builder = Builder(draw(st.integers(0, 2**32 - 1)))
    first = draw(input_parameters(enabled=True if segments else None))
    _add(draw, builder, next(names), first, None, not segments)
    for segment in range(segments):
        last = segment == segments - 1
        if draw(st.booleans()):
            _add_fork(draw, builder, names, last)
        else:
            dims = builder.dims[builder.layers[-1].name]
            if last and _is_binary(builder) and draw(st.booleans()):
                _add_learning(draw, builder, next(names), dims)
                continue
            parameters = draw(processing_parameters(dims, enabled=None if last else True))
            _add(draw, builder, next(names), parameters, None, last)
    image = isinstance(builder.layers[0].parameters, InputConvolutionalParameters)
    return builder.build(
        input_scale=draw(st.floats(1e-30, 1e30)),
        input_shift=draw(st.integers(0, 255) if image else st.integers(-(2**31), 2**31 - 1)),
        metadata=draw(
            st.dictionaries(st.text(max_size=5).filter(_encodable), json_values, max_size=3)
        ),
    )


def _encodable(text: str) -> bool:
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def _is_binary(builder: Builder) -> bool:
    """Whether a layer may learn from what the last one sends on."""
    p = builder.layers[-1].parameters
    return isinstance(p, InputDataParameters) or p.threshold_fire_bits == 1


def _add_learning(draw, builder: Builder, name: str, dims: Dims) -> None:
    """A layer that has learned something, at random."""
    p = draw(
        processing_parameters(dims, enabled=None).filter(
            lambda p: not isinstance(p, SeparableConvolutionalParameters)
        )
    )
    p = dataclasses.replace(p, weights_bits=1)
    shares = st.floats(0, 1)
    denominator = draw(st.integers(1, 2**16))
    learning = LearningSpec(
        num_weights=draw(st.integers(1, connections_per_neuron(p, dims))),
        num_classes=draw(st.sampled_from([n for n in (1, 2, 3) if p.num_neurons % n == 0])),
        initial_plasticity=draw(shares),
        learning_competition=draw(shares),
        min_plasticity=draw(shares),
        plasticity_decay=draw(shares),
        learning_ratio=(draw(st.integers(0, denominator)), denominator),
        rule=draw(st.sampled_from(LEARNING_RULES)),
        seed=draw(st.integers(0, 2**64 - 1)),
    )
    scaled = not p.activations_enabled and draw(st.booleans())
    builder.add(name, p, table=draw(st.booleans()), scaled=scaled, learning=learning)


def _add(draw, builder, name, parameters, inbounds, last) -> None:
    scaled = last and not getattr(parameters, "activations_enabled", True) and draw(st.booleans())
    builder.add(name, parameters, inbounds, table=draw(st.booleans()), scaled=scaled)


def _add_fork(draw, builder, names, last) -> None:
    """Two layers behind the same one, of equal size and like signals, and their Concat."""
    source = builder.layers[-1].name
    joined = draw(activations(None if last else True))
    potentials = draw(st.booleans())
    common = {
        "activations_enabled": not potentials,
        "threshold_fire_bits": draw(st.sampled_from(ACTIVATION_BITS)),
    }
    branches = []
    flat = draw(st.booleans())
    for _ in range(2):
        neurons = draw(st.integers(1, 5))
        bits = draw(st.integers(2, 8))
        if flat:
            parameters = FullyConnectedParameters(num_neurons=neurons, weights_bits=bits, **common)
        else:
            cls = draw(st.sampled_from((ConvolutionalParameters, SeparableConvolutionalParameters)))
            parameters = cls(
                kernel_width=draw(st.integers(1, 3)),
                kernel_height=draw(st.integers(1, 3)),
                num_neurons=neurons,
                weights_bits=bits,
                **common,
            )
        branches.append(next(names))
        builder.add(branches[-1], parameters, [source], table=draw(st.booleans()))
    if potentials and not last:
        joined["activations_enabled"] = True
    _add(draw, builder, next(names), ConcatParameters(**joined), branches, last)
