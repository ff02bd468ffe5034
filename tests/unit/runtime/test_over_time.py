"""Networks over time at the edges: arguments, units, statistics, streams, and who refuses them."""

from dataclasses import replace

import numpy as np
import pytest

from kerasnsoc.artifact import FilterParameters, PoolingParameters, PoolingType
from kerasnsoc.energy import energy_of_run
from kerasnsoc.nsoc.compatibility import create_from_model, model_hardware_incompatibilities
from kerasnsoc.runtime import Filter, Model, Pooling, TimeWindow, make_events
from kerasnsoc.runtime.over_time import TimeNetwork
from tests.networks import events_network, time_networks


@pytest.fixture(params=time_networks())
def model(request):
    return Model.from_spec(time_networks()[request.param])


def sequences(model, samples, steps, seed=0):
    height, width, channels = model.to_spec().input.shape_hwc
    top = 2 ** model.to_spec().input.bits
    return np.random.default_rng(seed).integers(0, top, (samples, steps, height, width, channels))


def test_sequences_are_needed(model):
    frames = sequences(model, 2, 1)[:, 0]
    with pytest.raises(ValueError, match=r"takes sequences.*Add an axis of one step"):
        model.forward(frames)
    with pytest.raises(TypeError, match="must hold integers"):
        model.forward(frames[:, None].astype(float))


def test_empty_batches_and_sequences(model):
    whole = model.forward(sequences(model, 2, 3))
    assert model.forward(sequences(model, 0, 3)).shape == (0, 3, *whole.shape[2:])
    assert model.forward(sequences(model, 2, 0)).shape == (2, 0, *whole.shape[2:])
    with pytest.raises(ValueError, match="no steps"):
        model.predict(sequences(model, 2, 0))


def test_potentials_are_kept_for_as_many_samples(model):
    x = sequences(model, 2, 4)
    first = model.forward(x, stateful=True)
    with pytest.raises(ValueError, match=r"has 3 samples.*reset_states"):
        model.forward(sequences(model, 3, 4), stateful=True)
    model.reset_states()
    np.testing.assert_array_equal(model.forward(x, stateful=True), first)


def test_a_sample_is_a_sequence():
    model = Model.from_spec(time_networks()["time_spikes"])
    model.forward(sequences(model, 3, 7))
    hidden = model.get_statistics()["out"]
    assert (hidden.nb_samples, hidden.nb_steps) == (3, 21)
    assert hidden.neuron_updates == 21 * 4
    assert hidden.connections == 7 * 28
    assert hidden.nb_spikes >= hidden.nb_activations
    assert energy_of_run(model, "loihi").samples == 3


def test_rates_are_spikes_per_second():
    model = Model.from_spec(time_networks()["time_spikes"])
    x = sequences(model, 2, 9)
    np.testing.assert_allclose(model.rates(x), model.forward(x).mean(axis=1) / model.time_step)
    with pytest.raises(RuntimeError, match="has no rates"):
        Model.from_spec(events_network()).rates(x)


def test_a_stream_goes_on_where_it_was():
    model = Model.from_spec(time_networks()["time_events"])
    times = np.arange(40) * 3
    rng = np.random.default_rng(1)
    events = make_events(times, rng.integers(0, 5, 40), rng.integers(0, 4, 40), times % 2)
    streamed = [r.outputs for r in model.stream(events, TimeWindow(20), stateful=True)]
    assert len(streamed) == 6
    model.reset_states()
    again = [r.outputs for r in model.stream(events, TimeWindow(20), stateful=True)]
    np.testing.assert_array_equal(streamed, again)
    assert not np.array_equal(
        streamed, [r.outputs for r in model.stream(events, TimeWindow(20), stateful=False)]
    )


def test_nothing_learns_over_time():
    with pytest.raises(RuntimeError, match="does not learn"):
        Model.from_spec(time_networks()["time_spikes"]).compile(num_weights=2)


def test_chips_of_one_pass_refuse_neurons_over_time(model):
    found = model_hardware_incompatibilities(model)
    assert any("integrate and fire over time" in reason for reason in found)
    assert create_from_model(model).time_step == model.time_step


def test_exported_c_is_of_one_pass(model, tmp_path):
    from kerasnsoc.embedded import export_c

    with pytest.raises(ValueError, match="runs over time"):
        export_c(model, tmp_path)


def test_a_call_that_fails_leaves_the_potentials_that_are_kept():
    spec = time_networks()["time_events"]
    last = spec.layers[-1]
    changed = {
        "initial_level": np.zeros_like(last.variables["initial_level"]),
        # levels of more than 34 leave the range of float32
        "output_scale": np.full_like(last.variables["output_scale"], 1e37),
    }
    layer = replace(last, variables={**last.variables, **changed})
    spec = replace(spec, layers=(*spec.layers[:-1], layer))
    quiet = sequences(Model.from_spec(spec), 2, 1)
    height, width, channels = spec.input.shape_hwc
    loud = np.full((2, 60, height, width, channels), 2**spec.input.bits - 1)
    calm, hurt = Model.from_spec(spec), Model.from_spec(spec)
    for _ in range(3):
        with pytest.raises(OverflowError, match="leaves the range of floats"):
            hurt.forward(loud, stateful=True)
        np.testing.assert_array_equal(
            hurt.forward(quiet, stateful=True), calm.forward(quiet, stateful=True)
        )


def cut(name, layers):
    """The first layers of a network over time."""
    spec = time_networks()[name]
    return Model.from_spec(replace(spec, layers=spec.layers[:layers]))


def test_evaluate_gives_the_units_of_the_trained_model():
    for name, layers, unit in (
        ("time_spikes", 3, lambda y: y),
        ("time_events", 3, lambda y: y / np.float32(0.002)),
        ("time_events", 4, lambda y: y),
        ("time_image", 6, None),
    ):
        model = cut(name, layers)
        x = sequences(model, 2, 60)
        outputs = model.forward(x)
        found = model.evaluate(x)
        assert found.dtype == np.float32
        if unit is None:
            last = model.to_spec().layers[-1].variables
            steps = np.where(last["threshold_fire_step"] == 0, 1, last["threshold_fire_step"])
            expected = (outputs - last["threshold_fire"].astype(float)) / steps
        else:
            expected = unit(outputs.astype(np.float32))
        np.testing.assert_array_equal(found, expected.astype(np.float32))
        assert outputs.any()


def test_what_has_no_unit_is_not_evaluated():
    pooled, graded = cut("time_image", 2), cut("time_spikes", 2)
    with pytest.raises(RuntimeError, match="'sum' pools what it gets; use forward"):
        pooled.evaluate(sequences(pooled, 1, 2))
    with pytest.raises(RuntimeError, match="'graded' has an activation"):
        graded.evaluate(sequences(graded, 1, 2))
    for model in (pooled, graded):
        assert model.predict(sequences(model, 3, 2)).shape == (3,)


def test_silence_in_between_changes_nothing(model):
    x = sequences(model, 2, 12)
    x[:, 3:10] = 0
    x[1, 10:] = 0
    whole = model.forward(x)
    again = [model.forward(x[:, t : t + 1], stateful=True) for t in range(12)]
    np.testing.assert_array_equal(np.concatenate(again, axis=1), whole)


def test_layers_over_time_say_what_they_send_on(model):
    spec = model.to_spec()
    for layer, given in zip(model.layers, spec.layers, strict=True):
        last = isinstance(given.parameters, FilterParameters)
        assert (layer.output_bits == 32) == (last or layer.name == "head")
    network = TimeNetwork(spec)
    assert network.packed_nbytes > 0
    assert network.plan_nbytes > 0
    with pytest.raises(ValueError, match="no time_step; it runs in one pass"):
        TimeNetwork(events_network())


def test_layers_of_a_network_over_time_are_built_by_hand():
    pooling = Pooling(PoolingType.Average, 2, 3, pooling_stride_x=1, name="p")
    assert pooling.name == "p"
    assert pooling.parameters == PoolingParameters(
        pooling_type=PoolingType.Average, pooling_width=2, pooling_height=3, pooling_stride_x=1
    )
    assert Filter(2, "f").parameters == FilterParameters(order=2)
    with pytest.raises(ValueError, match="order"):
        Filter(3)
