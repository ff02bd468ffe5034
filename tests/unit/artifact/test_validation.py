"""Each rule for a network: which reason, and a message that names the layer."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given

from kerasnsoc.artifact import (
    ArtifactError,
    ConcatParameters,
    ConvolutionalParameters,
    ConvolutionMode,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    PoolingParameters,
    Reason,
    validate,
)
from kerasnsoc.artifact.limits import MAX_LAYERS
from tests.networks import Builder, events_network, every_kind, learning_networks, time_networks
from tests.strategies import network_specs

DATA = InputDataParameters(input_width=3, input_height=2, input_channels=2)
DENSE = FullyConnectedParameters(num_neurons=4)
POTENTIALS = FullyConnectedParameters(num_neurons=4, activations_enabled=False)
FOUR_BITS = FullyConnectedParameters(num_neurons=4, threshold_fire_bits=4)


def refused(spec, reason, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        validate(spec)
    assert caught.value.reason is reason


def chain(*layers):
    builder = Builder().add("in", DATA)
    for number, parameters in enumerate(layers):
        builder.add(f"l{number}", parameters)
    return builder


def changed(spec, index, **changes):
    layers = list(spec.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return dataclasses.replace(spec, layers=tuple(layers))


VALID = {**every_kind(), **time_networks(), **learning_networks()}


@pytest.mark.parametrize("spec", VALID.values(), ids=VALID)
def test_valid_networks_pass(spec):
    validate(spec)


def test_pooling_takes_no_potentials():
    spec = time_networks()["time_image"]
    last = LayerSpec("last", PoolingParameters(), ("head",))
    refused(
        dataclasses.replace(spec, layers=(*spec.layers[:-1], last)),
        Reason.GRAPH,
        "layer 'last' pools 'head', which sends on potentials",
    )


def test_all_maps_together_have_a_limit():
    wide = InputDataParameters(input_width=4096, input_height=4096, input_channels=16)
    same = ConvolutionalParameters(kernel_width=1, kernel_height=1, num_neurons=16)
    builder = Builder().add("in", wide)
    for name in "abc":
        builder.add(name, same)
    largest = builder.build()
    validate(largest)
    last = dataclasses.replace(largest.layers[-1], name="d", inbounds=("c",))
    spec = dataclasses.replace(largest, layers=(*largest.layers, last))
    refused(spec, Reason.SHAPE, r"layer 'd': the maps of the network up to here have 1342177280")


def test_a_long_inbound_is_cut_in_the_message():
    spec = chain(DENSE).build()
    refused(changed(spec, 1, inbounds=("x" * 5000,)), Reason.GRAPH, r"fed by 'x{10,300}'\.\.\., ")


def test_unlike_signals_are_named_up_to_the_eighth():
    builder = Builder().add("in", DATA)
    for number in range(10):
        bits = 4 if number else 2
        builder.add(f"b{number}", dataclasses.replace(DENSE, threshold_fire_bits=bits), ["in"])
    builder.add("join", ConcatParameters(), [f"b{number}" for number in range(10)])
    message = r"joins unlike signals \('b0': 2-bit activations, .*, 'b7': 4-bit activations\)"
    refused(builder.build(), Reason.GRAPH, message)


@given(network_specs())
def test_whatever_the_strategy_draws_is_valid(spec):
    validate(spec)


SPEC = events_network()


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        ("net.h5", Reason.MEMBER, "expected a NetworkSpec, got a str"),
        (NetworkSpec(()), Reason.GRAPH, "1 to 2048 layers, this one has 0"),
        (NetworkSpec(list(SPEC.layers)), Reason.MEMBER, "layers is a list"),
        (NetworkSpec((*SPEC.layers, "head")), Reason.MEMBER, "layer 3 is a str, not a LayerSpec"),
        (changed(SPEC, 1, name=""), Reason.NAME, "layer 1 has 0 characters"),
        (changed(SPEC, 1, name="x" * 129), Reason.NAME, "129 characters, allowed are 1 to 128"),
        (changed(SPEC, 1, name="a\nb"), Reason.NAME, r"'a\\nb', is not printable"),
        (changed(SPEC, 1, name="a\u202eb"), Reason.NAME, "not printable"),
        (changed(SPEC, 1, name=b"conv"), Reason.NAME, "is a bytes, not a string"),
        (changed(SPEC, 1, name="input"), Reason.NAME, "two layers are named 'input'"),
        (changed(SPEC, 1, inbounds=["input"]), Reason.MEMBER, "tuple of layer names"),
        (changed(SPEC, 1, inbounds="input"), Reason.MEMBER, "tuple of layer names"),
        (changed(SPEC, 1, variables=[]), Reason.MEMBER, "map names to arrays"),
        (changed(SPEC, 1, parameters=None), Reason.MEMBER, "layer 'conv': .*describe a layer"),
        (
            changed(SPEC, 2, parameters=FullyConnectedParameters(num_neurons=0)),
            Reason.VALUE,
            "layer 'head': num_neurons is 0",
        ),
    ],
)
def test_records_and_names(spec, reason, message):
    refused(spec, reason, message)


def test_too_many_layers():
    many = (SPEC.layers[0],) * (MAX_LAYERS + 1)
    refused(NetworkSpec(many), Reason.GRAPH, f"1 to {MAX_LAYERS} layers")


@pytest.mark.parametrize("name", ["x" * 128, "Schicht ä", "层", "a b"])
def test_names_that_are_fine(name):
    validate(changed(SPEC, 2, name=name))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (NetworkSpec(SPEC.layers[1:]), "the first layer, 'conv', is a Convolutional"),
        (changed(SPEC, 1, parameters=DATA), "only the first layer takes the network's input"),
        (
            changed(SPEC, 0, inbounds=("head",)),
            "'input' takes the network's input and has no inbounds",
        ),
        (changed(SPEC, 1, inbounds=()), "with 0 inbound layers; it takes exactly one"),
        (changed(SPEC, 2, inbounds=("input", "conv")), "'head' .* 2 inbound layers"),
        (changed(SPEC, 1, inbounds=("head",)), "'conv' is fed by 'head', which is no earlier"),
        (changed(SPEC, 1, inbounds=("conv",)), "'conv' is fed by 'conv'"),
        (changed(SPEC, 1, inbounds=("nobody",)), "fed by 'nobody'"),
        (changed(SPEC, 2, inbounds=("input",)), "'conv' does not reach the output 'head'"),
    ],
)
def test_wiring(spec, message):
    refused(spec, Reason.GRAPH, message)


def test_concat_takes_at_least_two():
    refused(
        chain(DENSE, ConcatParameters()).build(), Reason.GRAPH, "'l1' joins 1 layers; .* 2 to 256"
    )


def test_concat_may_take_the_same_layer_twice():
    validate(chain(DENSE).add("join", ConcatParameters(), ["l0", "l0"]).build())


def test_concat_takes_like_signals_only():
    base = chain(DENSE).add("four", FOUR_BITS, ["in"]).add("raw", POTENTIALS, ["in"])
    for one, other, message in (
        ("l0", "four", "'l0': 1-bit activations, 'four': 4-bit activations"),
        ("four", "raw", "'four': 4-bit activations, 'raw': potentials"),
    ):
        builder = Builder()
        builder.layers = [layer for layer in base.layers if layer.name in ("in", one, other)]
        builder.dims = dict(base.dims)
        spec = builder.add("join", ConcatParameters(), [one, other]).build()
        refused(spec, Reason.GRAPH, message)


def test_a_concat_without_activation_passes_its_kind_of_signal_on():
    through = ConcatParameters(activations_enabled=False)
    raw = chain(POTENTIALS).add("join", through, ["l0", "l0"])
    validate(raw.build())
    refused(raw.add("next", DENSE).build(), Reason.GRAPH, "fed by the potentials of 'join'")
    bits = chain(FOUR_BITS).add("join", through, ["l0", "l0"])
    bits.add("again", ConcatParameters(), ["join", "l0"])
    validate(bits.add("next", DENSE).build())


def test_potentials_go_to_a_concat_or_are_the_output():
    refused(
        chain(POTENTIALS, DENSE).build(),
        Reason.GRAPH,
        "'l1' is fed by the potentials of 'l0'.*Enable the activations of 'l0'",
    )


def test_shapes_chain():
    kernel = ConvolutionalParameters(
        kernel_width=4, kernel_height=1, num_neurons=1, convolution_mode=ConvolutionMode.Valid
    )
    builder = Builder().add("in", DATA)
    layer = LayerSpec("wide", kernel, ("in",))
    refused(
        NetworkSpec((*builder.layers, layer)),
        Reason.SHAPE,
        "layer 'wide': axis x: a window of 4 does not fit into 3",
    )


def test_concat_inputs_have_equal_maps():
    builder = chain(DENSE)
    layer = LayerSpec("join", ConcatParameters(), ("in", "l0"))
    signal = dataclasses.replace(DATA, input_bits=1)
    layers = (LayerSpec("in", signal), *builder.layers[1:], layer)
    refused(NetworkSpec(layers), Reason.SHAPE, "'join': inputs of a Concat must agree in width")


@pytest.mark.parametrize(
    ("width", "height", "channels", "neurons", "message"),
    [
        (65536, 65536, 1, 1, "65536 x 65536 x 1 is too large"),
        (16384, 16384, 2, 1, "16384 x 16384 x 2 is too large"),
        (16384, 16384, 1, 2, "16384 x 16384 x 2 is too large"),
    ],
)
def test_maps_have_a_largest_size(width, height, channels, neurons, message):
    data = InputDataParameters(input_width=width, input_height=height, input_channels=channels)
    conv = ConvolutionalParameters(kernel_width=1, kernel_height=1, num_neurons=neurons)
    refused(Builder().add("in", data).add("c", conv).build(), Reason.SHAPE, message)


def test_the_map_before_pooling_counts_and_sides_are_limited_too():
    image = InputConvolutionalParameters(
        input_width=65536,
        input_height=1,
        input_channels=1,
        kernel_width=2,
        kernel_height=1,
        num_neurons=1,
        convolution_mode=ConvolutionMode.Full,
    )
    refused(Builder().add("in", image).build(), Reason.SHAPE, "65537 x 1 x 1 is too large")


def test_all_maps_together_have_a_largest_size():
    data = InputDataParameters(input_width=16384, input_height=16384, input_channels=1)
    conv = ConvolutionalParameters(kernel_width=1, kernel_height=1, num_neurons=1)
    builder = Builder().add("in", data).add("a", conv).add("b", conv).add("c", conv)
    validate(builder.build())
    refused(builder.add("d", conv).build(), Reason.SHAPE, "layer 'd': the maps of the network")


def variables(**changes):
    """The network with the head's variables changed; None removes one."""
    merged = {**SPEC.layers[2].variables, **changes}
    return changed(SPEC, 2, variables={k: v for k, v in merged.items() if v is not None})


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (variables(weights=None), Reason.MEMBER, "layer 'head': the variable 'weights' is missing"),
        (variables(threshold_fire_step=None), Reason.MEMBER, "'threshold_fire_step' is missing"),
        (variables(bias=np.zeros(3, np.int32)), Reason.MEMBER, "has no 'bias'"),
        (variables(thresholds=np.zeros((3, 1), np.int32)), Reason.MEMBER, "has no 'thresholds'"),
        (variables(output_shift=None), Reason.MEMBER, "output_scale is alone"),
        (variables(output_scale=None), Reason.MEMBER, "output_shift is alone"),
        (variables(threshold_fire=np.zeros(3)), Reason.DTYPE, "dtype float64, but must be int32"),
        (variables(threshold_fire=[0, 0, 0]), Reason.DTYPE, "got a list"),
        (variables(threshold_fire=np.zeros(4, np.int32)), Reason.SHAPE, r"must be \(3,\)"),
        (
            variables(weights=np.full((1, 1, 120, 3), 2, np.int8)),
            Reason.VALUE,
            r"layer 'head': weights\[0, 0, 0, 0\] is 2, but must be -1 to 1",
        ),
        (
            variables(output_scale=np.array([1, np.nan, 1])),
            Reason.VALUE,
            r"output_scale\[1\] is nan",
        ),
    ],
)
def test_variables(spec, reason, message):
    refused(spec, reason, message)


def test_output_scale_belongs_to_the_last_layer():
    builder = Builder().add("in", DATA).add("raw", POTENTIALS, scaled=True)
    validate(builder.build())
    spec = builder.add("join", ConcatParameters(), ["raw", "raw"]).build()
    refused(spec, Reason.MEMBER, "layer 'raw': .* belong to the last layer only")


@pytest.mark.parametrize("scale", [0, -1, 0.0, np.nan, np.inf, 10**400, True, "1", None, 1j])
def test_input_scale_is_a_finite_number_above_zero(scale):
    refused(dataclasses.replace(SPEC, input_scale=scale), Reason.VALUE, "input_scale is .* above 0")


@pytest.mark.parametrize("shift", [2**31, -(2**31) - 1, 0.5, True, "0", None, 10**100])
def test_input_shift_is_an_int32(shift):
    refused(dataclasses.replace(SPEC, input_shift=shift), Reason.VALUE, "input_shift is ")


@pytest.mark.parametrize("scale", [1, 255, 1e-300, np.float64(0.1)])
def test_input_scales_that_are_fine(scale):
    validate(dataclasses.replace(SPEC, input_scale=scale, input_shift=-(2**31)))


@pytest.mark.parametrize("shift", [-1, 256])
def test_the_shift_of_images_is_a_pixel(shift):
    image = every_kind()["image"]
    refused(dataclasses.replace(image, input_shift=shift), Reason.VALUE, "from 0 to 255")


@pytest.mark.parametrize(
    ("metadata", "reason", "message"),
    [
        (None, Reason.MEMBER, "metadata is a NoneType"),
        ([1], Reason.MEMBER, "metadata is a list"),
        ({"classes": ("a", "b")}, Reason.MEMBER, r"metadata\['classes'\] is a tuple"),
        ({"accuracy": np.float64(1)}, Reason.MEMBER, "is a float64, which is no plain JSON"),
        ({"x": float("nan")}, Reason.VALUE, "must be finite"),
        ({"x": [[[[[[[[[[[[1]]]]]]]]]]]]}, Reason.VALUE, "nested too deep"),
        ({"x": "a" * 2**20}, Reason.VALUE, "bytes as JSON, allowed are 1048576"),
        ({"x": [0] * 2**16}, Reason.VALUE, "too many values"),
    ],
)
def test_metadata_is_plain_json_of_limited_size(metadata, reason, message):
    refused(dataclasses.replace(SPEC, metadata=metadata), reason, message)


def test_bounds_are_part_of_it():
    deep = dataclasses.replace(every_kind()["image"].layers[2].parameters)
    assert deep.weights_bits == 5
    data = InputDataParameters(input_width=2048, input_height=2048, input_channels=64, input_bits=8)
    huge = dataclasses.replace(
        deep,
        kernel_width=128,
        kernel_height=128,
        num_neurons=1,
        weights_bits=8,
        convolution_mode=ConvolutionMode.Same,
        pooling_type=type(deep.pooling_type).Average,
        pooling_height=-1,
    )
    spec = Builder().add("in", data).add("huge", huge).build()
    spec.layers[1].variables["weights"][:] = 127
    spec.layers[1].variables["weights_pw"][:] = 127
    refused(spec, Reason.OVERFLOW, "layer 'huge': a sum could reach")


def test_the_error_survives_pickling():
    error = ArtifactError(Reason.GRAPH, "no way through")
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, str(again)) == (Reason.GRAPH, "no way through")
    assert isinstance(again, ValueError)
