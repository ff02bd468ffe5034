"""Random layers, samples and parameters: every kernel against the plain reference."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.artifact import content_digest
from kerasnsoc.runtime import Model, learning
from kerasnsoc_ext import _learning
from tests import learning_reference, reference
from tests.learning_networks import (
    assert_same,
    binary_samples,
    connections_of,
    learning_arguments,
    learning_layers,
    reference_of,
)

seeds = st.integers(0, 2**32 - 1)


@st.composite
def cases(draw, samples: int = 12):
    """A compiled model, samples, and labels of which some are no class; or None."""
    model = Model(layers=[])
    for layer in draw(learning_layers()):
        model.add(layer)
    arguments = draw(learning_arguments(connections_of(model), model.output_dims[2]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.compile(**arguments)
    rng = np.random.default_rng(draw(seeds))
    inputs = binary_samples(rng, model, samples)
    labels = None
    if draw(st.booleans()):
        labels = rng.integers(-1, arguments["num_classes"] + 1, samples)
    return model, inputs, labels


def label(labels, index):
    return None if labels is None else int(labels[index])


@pytest.mark.parametrize("kernel", _learning.available_kernels())
@given(case=cases())
def test_every_kernel_learns_what_the_reference_learns(kernel, case):
    model, inputs, labels = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "chosen_kernel", lambda: kernel)
        judge = reference_of(model)
        assert_same(model, judge)
        parameters = model.layers[-1].parameters
        for index, sample in enumerate(inputs):
            expected = reference.run(model.to_spec(), sample[None])
            outputs = model.fit(sample[None], label(labels, index))
            last = expected[model.layers[-1].name]
            np.testing.assert_array_equal(outputs, last.outputs)
            judge.learn(learning_reference.patches(parameters, sample), label(labels, index))
        assert model.layers[-1].session()._learner.kernel == kernel
        assert_same(model, judge)


@given(case=cases(), data=st.data())
def test_how_a_batch_is_cut_does_not_matter(case, data):
    model, inputs, labels = case
    whole = Model(serialized_buffer=model.to_buffer())
    cut = data.draw(st.integers(0, len(inputs)))
    parts = []
    for part in (slice(0, cut), slice(cut, None)):
        parts.append(model.fit(inputs[part], None if labels is None else labels[part]))
    np.testing.assert_array_equal(whole.fit(inputs, labels), np.concatenate(parts))
    assert whole.to_buffer() == model.to_buffer()


@given(case=cases(), data=st.data())
def test_saving_in_the_middle_changes_nothing(case, data):
    model, inputs, labels = case
    cut = data.draw(st.integers(0, len(inputs)))
    first, second = slice(0, cut), slice(cut, None)
    model.fit(inputs[first], None if labels is None else labels[first])
    buffer = model.to_buffer()
    again = Model(serialized_buffer=buffer)
    assert again.to_buffer() == buffer
    for one in (model, again):
        one.fit(inputs[second], None if labels is None else labels[second])
    assert again.to_buffer() == model.to_buffer()


@given(case=cases(samples=8), added=st.integers(1, 2))
def test_more_classes_follow_the_reference(case, added):
    model, inputs, labels = case
    judge = reference_of(model)
    parameters = model.layers[-1].parameters
    old_neurons = parameters.num_neurons
    for index, sample in enumerate(inputs):
        judge.learn(learning_reference.patches(parameters, sample), label(labels, index))
    model.fit(inputs, labels)
    before = model.forward(inputs)
    model.add_classes(added)
    judge.add_classes(added)
    assert_same(model, judge)
    np.testing.assert_array_equal(model.forward(inputs)[..., :old_neurons], before)
    new_class = judge.num_classes - 1
    parameters = model.layers[-1].parameters
    for sample in inputs:
        judge.learn(learning_reference.patches(parameters, sample), new_class)
    model.fit(inputs, new_class)
    assert_same(model, judge)


@given(case=cases(samples=8))
def test_counts_are_those_of_inference(case):
    model, inputs, labels = case
    frozen = Model(serialized_buffer=model.to_buffer())
    outputs = model.fit(inputs, labels)
    frozen.forward(inputs)
    last = model.layers[-1].name
    assert model.statistics[last].nb_activations == np.count_nonzero(outputs)
    for name, row in frozen.statistics.items():
        found = model.statistics[name]
        assert (found.nb_samples, found.events_in) == (row.nb_samples, row.events_in)
        assert found.synaptic_ops == row.synaptic_ops


@given(case=cases(samples=6))
def test_a_round_trip_keeps_the_content(case):
    model, inputs, labels = case
    model.fit(inputs, labels)
    spec = model.to_spec()
    again = Model.from_spec(spec)
    assert content_digest(again.to_spec()) == content_digest(spec)
    assert again.layers[-1].learning == model.layers[-1].learning


@given(seeds, st.integers(1, 700), st.data())
def test_first_weights_follow_the_stream(seed, inputs, data):
    num_weights = data.draw(st.integers(1, inputs))
    neuron = data.draw(st.integers(0, 2**31))
    (row,) = _learning.fresh_rows(inputs, num_weights, seed, neuron, neuron + 1)
    bits = np.unpackbits(row.astype("<u8").view(np.uint8), bitorder="little")
    stream = learning_reference.Stream(seed, neuron, 0)
    assert sorted(stream.pick(range(inputs), num_weights)) == np.nonzero(bits)[0].tolist()
