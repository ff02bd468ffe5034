"""What Python may hand over, but no network can have: neurons, learning, filters."""

import dataclasses

import pytest

from kerasnsoc.artifact import (
    ArtifactError,
    FilterParameters,
    InputDataParameters,
    LearningSpec,
    NeuronSpec,
    Reason,
    SeparableConvolutionalParameters,
    load,
    network_bounds,
    save,
    validate,
)
from kerasnsoc.artifact.learning import check_learning
from kerasnsoc.artifact.upgrading import upgrade
from kerasnsoc.artifact.writer import content_digest
from tests.networks import Builder, events_network, learning_networks, time_networks

TIME = time_networks()["time_image"]
LEARNING = learning_networks()["learning_majority"]


def changed(spec, index, **changes):
    layers = list(spec.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return dataclasses.replace(spec, layers=tuple(layers))


def with_neuron(**changes):
    return changed(TIME, 0, neuron=dataclasses.replace(TIME.layers[0].neuron, **changes))


def with_learning(**changes):
    return changed(
        LEARNING, -1, learning=dataclasses.replace(LEARNING.layers[-1].learning, **changes)
    )


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (changed(TIME, 0, neuron="if"), Reason.MEMBER, "neuron is a str, but must be a NeuronSpec"),
        (with_neuron(rule=1), Reason.VALUE, "rule of its neurons is 1, but must be one of"),
        (with_neuron(reset="none"), Reason.VALUE, "reset of its neurons is 'none'"),
        (with_neuron(unit=("hz",)), Reason.VALUE, r"unit of its neurons is \('hz',\)"),
        (with_neuron(rectify=1), Reason.VALUE, "rectify of its neurons is 1, but must be True or"),
        (changed(LEARNING, -1, learning=7), Reason.MEMBER, "learning is a int, but must be a Lear"),
        (with_learning(rule="hebb"), Reason.VALUE, "rule is 'hebb', but must be one of majority"),
        (with_learning(rule=None), Reason.VALUE, "rule is None, but must be one of"),
        (with_learning(seed=2**64), Reason.VALUE, "seed is 18446744073709551616, but must be an"),
        (with_learning(seed=True), Reason.VALUE, "seed is True"),
        (with_learning(learning_ratio=(3, 2)), Reason.VALUE, r"learning_ratio is \(3, 2\)"),
    ],
)
def test_records_are_refused_by_member(spec, reason, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        validate(spec)
    assert caught.value.reason is reason


def test_only_two_kinds_of_layer_learn():
    separable = SeparableConvolutionalParameters(kernel_width=1, kernel_height=1, num_neurons=2)
    with pytest.raises(ValueError, match="is a SeparableConvolutional, but only a FullyConnected"):
        check_learning(LearningSpec(num_weights=1), separable, (2, 2, 3))


def test_a_filter_ends_a_network():
    spec = (
        Builder()
        .add("in", InputDataParameters(input_width=2, input_height=2, input_channels=3))
        .add("middle", FilterParameters())
        .add("end", FilterParameters())
        .build(time_step=0.5)
    )
    with pytest.raises(ArtifactError, match="'middle' is a Filter, which can only be the last"):
        validate(spec)


def test_too_many_spikes_for_a_separable_layer_overflow():
    separable = SeparableConvolutionalParameters(
        kernel_width=1, kernel_height=1, num_neurons=2, weights_bits=4
    )
    data = InputDataParameters(input_width=2, input_height=2, input_channels=3, input_bits=8)
    for most, fits in ((255, True), (256, False)):
        builder = Builder().add("in", data)
        builder.add("many", separable, neuron=NeuronSpec(rule="max", max_spikes=most, shift=0))
        builder.layers[-1].variables["spike_threshold"][...] = 1
        builder.layers[-1].variables["weights"][...] = 7
        builder.layers[-1].variables["weights_pw"][...] = 7
        spec = builder.add("next", separable, neuron=NeuronSpec()).build(time_step=0.5)
        if fits:
            assert network_bounds(spec)["many"].output_range == (0, 255)
            continue
        with pytest.raises(ArtifactError, match=r"'next': input_range is \(0, 256\)") as caught:
            network_bounds(spec)
        assert caught.value.reason is Reason.OVERFLOW


def test_a_network_without_input_layer_has_no_input():
    with pytest.raises(TypeError, match="'conv' is no input layer"):
        _ = dataclasses.replace(events_network(), layers=events_network().layers[1:]).input


def test_an_upgrade_keeps_the_content(tmp_path):
    spec = events_network()
    old, new = tmp_path / "old.h5", tmp_path / "new.h5"
    save(spec, old)
    assert upgrade(old, new) == content_digest(spec) == content_digest(load(new))
    old.write_bytes(old.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        upgrade(old, new)
    assert content_digest(load(new)) == content_digest(spec)
