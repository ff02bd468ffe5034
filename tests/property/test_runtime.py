"""Random networks: both forms, the reference, and what must not change a result."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.artifact import NetworkSpec
from kerasnsoc.runtime import Model, events_to_dense
from kerasnsoc.runtime.counts import connections, neuron_updates
from kerasnsoc_ext import Plan
from tests import reference
from tests.strategies import network_specs

FORMS = ("auto", "dense", "events")

seeds = st.integers(0, 2**32 - 1)
densities = st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.6, 0.9, 1.0])


def inputs_for(spec: NetworkSpec, seed: int, density: float, samples: int = 3) -> np.ndarray:
    """Random inputs in the network's own layout; with density 0 and 1 exactly none and all."""
    height, width, channels = spec.input.shape_hwc
    shape = (height, width) if spec.input.kind == "image" else (width, height)
    shape = (samples, *shape, channels)
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 2**spec.input.bits, shape)
    return np.where(rng.random(shape) < density, values, 0).astype(np.uint8)


@given(network_specs(), seeds, densities)
def test_both_forms_give_the_reference(spec, seed, density):
    inputs = inputs_for(spec, seed, density)
    expected = reference.run(spec, inputs)
    totals = None
    for form in FORMS:
        model = Model.from_spec(spec)
        for name, output in model.trace(inputs, form=form).items():
            np.testing.assert_array_equal(output, expected[name].outputs, err_msg=f"{name} {form}")
        last = spec.layers[-1].name
        np.testing.assert_array_equal(model.forward(inputs, form=form), expected[last].outputs)
        for name, row in model.statistics.items():
            result = expected[name]
            assert row.nb_samples == len(inputs)
            assert row.events_in == result.events_in.sum()
            assert row.synaptic_ops == result.synaptic_ops.sum()
            assert row.nb_activations == result.events_out.sum()
            assert row.connections == result.connections
            assert row.neuron_updates == result.neuron_updates * len(inputs)
        counted = {k: v for k, v in model.metrics.items() if k != "inference_time_s"}
        assert totals in (None, counted)
        totals = counted


@given(network_specs(), seeds)
def test_a_full_input_uses_every_connection(spec, seed):
    """With all inputs non-zero a layer's operations are its connections."""
    inputs = inputs_for(spec, seed, 1.0)
    model = Model.from_spec(spec)
    model.forward(inputs)
    first = next(iter(model.statistics.values()))
    assert first.synaptic_ops == first.connections * len(inputs)
    for row in model.statistics.values():
        assert row.synaptic_ops <= row.connections * len(inputs)


@given(network_specs(), seeds, densities, st.data())
def test_how_a_batch_is_cut_and_ordered_does_not_matter(spec, seed, density, data):
    inputs = inputs_for(spec, seed, density, samples=6)
    model = Model.from_spec(spec)
    whole = model.forward(inputs)
    order = data.draw(st.permutations(range(6)))
    np.testing.assert_array_equal(model.forward(inputs[list(order)]), whole[list(order)])
    cut = data.draw(st.integers(0, 6))
    parts = [model.forward(part) for part in (inputs[:cut], inputs[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    with_silence = np.insert(inputs, cut, 0, axis=0)
    np.testing.assert_array_equal(np.delete(model.forward(with_silence), cut, axis=0), whole)
    np.testing.assert_array_equal(model.forward(np.asfortranarray(inputs)), whole)
    np.testing.assert_array_equal(model.forward(inputs.astype(np.int32)), whole)


@given(network_specs(), seeds, densities)
def test_where_a_model_comes_from_does_not_matter(spec, seed, density):
    inputs = inputs_for(spec, seed, density)
    model = Model.from_spec(spec)
    whole = model.forward(inputs)
    buffer = model.to_buffer()
    for other in (
        Model(serialized_buffer=buffer),
        pickle.loads(pickle.dumps(model)),
        Model(layers=model.layers),
        Model.from_spec(model.to_spec()),
    ):
        np.testing.assert_array_equal(other.forward(inputs), whole)
        assert [layer.name for layer in other.layers] == [layer.name for layer in model.layers]
    assert Model(serialized_buffer=buffer).to_buffer() == buffer


@given(network_specs(), seeds, densities)
def test_nothing_is_left_of_the_sample_before(spec, seed, density):
    """Buffers are reused: a second sample in the same plan must not see the first."""
    inputs = inputs_for(spec, seed, density)
    compiled = Model.from_spec(spec)._prepared()
    rows = inputs.reshape(len(inputs), -1)
    for form in FORMS:
        together, _ = compiled.run(rows, form=form)
        for sample, row in enumerate(rows):
            plan = Plan(compiled._network)
            alone = np.empty_like(together[-1][sample : sample + 1])
            outputs = [None] * (len(spec.layers) - 1) + [alone.reshape(1, -1)]
            plan.run(row[None], outputs, np.empty((1, len(spec.layers), 3), np.int64), form)
            np.testing.assert_array_equal(alone[0], together[-1][sample])
            assert plan.broken_guards() == []


@given(network_specs())
def test_counts_from_geometry(spec):
    """The closed formulas against the reference, which asks every tap."""
    inputs = inputs_for(spec, 0, 0.5, samples=1)
    expected = reference.run(spec, inputs)
    for layer in Model.from_spec(spec).layers:
        found = connections(layer.parameters, layer.input_dims)
        assert found == expected[layer.name].connections
        updates = neuron_updates(layer.parameters, layer.input_dims)
        assert updates == expected[layer.name].neuron_updates


@given(seeds, st.integers(0, 60), st.data())
def test_the_order_of_events_does_not_matter(seed, count, data):
    """Equal coordinates included, of which the largest value stays."""
    rng = np.random.default_rng(seed)
    dims, samples = (4, 3, 2), 2
    coords = rng.integers(0, (samples, *dims), (count, 4))
    values = rng.integers(0, 16, count)
    order = np.array(data.draw(st.permutations(range(count))), int)
    packets = events_to_dense(coords, dims, values, samples)
    shuffled = events_to_dense(coords[order], dims, values[order], samples)
    np.testing.assert_array_equal(shuffled, packets)
    for n in range(samples):
        for x, y, c in np.ndindex(*dims):
            here = values[(coords == (n, x, y, c)).all(axis=1)]
            assert packets[n, x, y, c] == here.max(initial=0)
