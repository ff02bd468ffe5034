"""Energies and rates of whole models."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

import kerasnsoc.energy  # noqa: E402
from kerasnsoc.spiking import config  # noqa: E402
from kerasnsoc.spiking.layers import IAF, Lowpass, SpikingActivation  # noqa: E402
from kerasnsoc.spiking.model_energy import ModelEnergy  # noqa: E402
from tests.unit.spiking.helpers import numbers, uniform  # noqa: E402

pytestmark = pytest.mark.keras


def digits_model():
    return keras.Sequential([keras.Input((784,)), layers.Dense(128, "relu")])


def approx(value):
    return pytest.approx(value, rel=1e-6)


@pytest.mark.usefixtures("device_table")
def test_golden_energies():
    energy = ModelEnergy(digits_model(), np.ones((3, 784), "float32"))
    assert energy.total_energy("cpu") == approx(8.641280e-04)
    assert energy.total_energy("gpu") == approx(3.014400e-05)
    assert energy.total_energy("arm") == approx(9.043200e-05)
    (dense,) = energy.model.layers
    for device, synop, neuron in (
        ("loihi", 2.7195392e-08, 1.0368e-07),
        ("spinnaker", 1.3346816e-05, 3.328e-05),
        ("spinnaker2", 4.51584e-07, 2.8032e-06),
    ):
        found = energy.layer_energy(dense, device, timesteps_per_inference=10, dt=0.001)
        assert found == (approx(synop), approx(neuron))
        assert energy.total_energy(device, 10, 0.001) == approx(synop + neuron)
    ModelEnergy.register_device("my-cpu", 1e-10, 2e-9, False)
    assert energy.total_energy("my-cpu") == approx(1.02912e-05)


@pytest.mark.parametrize("in_time", [False, True])
def test_golden_image_model(in_time):
    wrap = layers.TimeDistributed if in_time else lambda layer: layer
    model = keras.Sequential(
        [
            keras.Input((None, 28, 28, 1) if in_time else (28, 28, 1)),
            wrap(layers.Conv2D(2, 7)),
            layers.ReLU(),
            wrap(layers.Flatten()),
            layers.Dense(128),
            layers.ReLU(),
            layers.Dense(10),
        ]
    )
    energy = ModelEnergy(model)
    assert list(energy.layer_stats) == model.layers
    found = [energy.layer_stats[layer] for layer in model.layers]
    assert [s["connections"] for s in found] == [47432, 0, 0, 123904, 0, 1280]
    assert [s["neurons"] for s in found] == [0, 968, 0, 0, 128, 0]
    assert [s["spiking"] for s in found] == [True, False, True, True, False, True]
    assert energy.total_energy("cpu") == approx(1.4939232e-03)
    assert energy.layer_rates == {}


def test_rates_are_means_of_absolute_inputs():
    a, b = keras.Input((4,), name="a"), keras.Input((2, 3), name="b")
    dense = layers.Dense(6, name="dense")
    joined = layers.Concatenate()([dense(a), layers.Flatten()(b)])
    model = keras.Model([a, b], layers.ReLU()(joined))
    x, y = uniform(70, 4), uniform(70, 2, 3, low=-9, high=0)
    for data in ([x, y], {"a": x, "b": y}):
        rates = ModelEnergy(model, data).layer_rates
        by_name = {layer.name: rate for layer, rate in rates.items()}
        hidden = numbers(dense(x))
        assert by_name["a"] == by_name["dense"] == approx(np.abs(x).mean())
        assert by_name["b"] == by_name["flatten" + _suffix(by_name, "flatten")]
        # Weighted by their sizes: six units and six.
        pooled = np.concatenate([hidden.ravel(), y.ravel()])
        assert by_name["concatenate" + _suffix(by_name, "concatenate")] == approx(
            np.abs(pooled).mean()
        )


def _suffix(names, start):
    return next(n for n in names if n.startswith(start)).removeprefix(start)


def test_rates_of_unequal_inputs_are_weighted_by_elements():
    a, b = keras.Input((1,)), keras.Input((9,))
    join = layers.Concatenate()
    energy = ModelEnergy(keras.Model([a, b], join([a, b])), [np.ones((5, 1)), np.zeros((5, 9))])
    assert energy.layer_rates[join] == approx(0.1)


def test_rates_of_every_kind_of_data():
    tf = pytest.importorskip("tensorflow")

    model = digits_model()
    x = uniform(10, 784)
    expected = np.abs(x).mean()
    for data in (x, x.tolist(), tf.constant(x), tf.data.Dataset.from_tensor_slices(x).batch(3)):
        if isinstance(data, list):
            data = np.array(data)
        assert ModelEnergy(model, data).layer_rates[model.layers[0]] == approx(expected)


def test_rates_accumulate_in_double_precision():
    model = keras.Sequential([keras.Input((1000,)), layers.Flatten()])
    x = np.full((5000, 1000), 0.1, "float32")
    rate = ModelEnergy(model, x).layer_rates[model.layers[0]]
    assert rate == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_layers_of_half_precision_and_whole_numbers():
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            layers.Embedding(5, 3, embeddings_initializer="ones"),
            layers.Flatten(),
            layers.Dense(2, dtype="mixed_float16"),
        ]
    )
    with pytest.warns(UserWarning, match="Embedding"):
        energy = ModelEnergy(model, np.full((6, 4), 3))
    assert [energy.layer_rates[layer] for layer in model.layers] == [3, 1, 1]


def test_the_inference_phase_is_measured():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dropout(0.9),
            layers.Flatten(name="after"),
            layers.Reshape((1, 4)),
            SpikingActivation("relu", dt=0.1, seed=1, spiking_aware_training=False),
            layers.Flatten(name="spikes"),
        ]
    )
    x = uniform(20, 4, low=0, high=30)
    rates = ModelEnergy(model, x).layer_rates
    assert rates[model.get_layer("after")] == approx(x.mean())
    spikes = numbers(model(x))
    assert rates[model.get_layer("spikes")] == approx(spikes.mean())


def test_reuse_multiplies_rates_and_connections_per_use():
    x = keras.Input((3,))
    shared = layers.Dense(3, kernel_initializer=lambda shape, dtype: 4 * np.eye(3, dtype=dtype))
    model = keras.Model(x, shared(shared(x)))
    energy = ModelEnergy(model, np.ones((2, 3)))
    assert energy.layer_stats[shared] == {"connections": 18, "neurons": 0, "spiking": True}
    assert energy.layer_rates[shared] == approx(5)
    synop, _ = energy.layer_energy(shared, "loihi", dt=1.0)
    # Not 18 * 5: each use has a rate of its own.
    assert synop == approx(27.1e-12 * (9 * 1 + 9 * 4))
    assert sorted(s["connections"] for n, s in energy.node_stats.items() if n.layer is shared) == [
        9,
        9,
    ]


def test_uses_in_other_models_do_not_count():
    shared = layers.Dense(3)
    x, y = keras.Input((3,)), keras.Input((7, 3))
    keras.Model(y, shared(y))
    energy = ModelEnergy(keras.Model(x, shared(x)))
    assert energy.layer_stats[shared]["connections"] == 9


def test_models_inside_models():
    inner = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, "relu", kernel_initializer="identity"),
            layers.Dense(2),
        ],
        name="inner",
    )
    x = keras.Input((4,))
    both = layers.Concatenate()([inner(x), inner(layers.Rescaling(3.0)(x))])
    model = keras.Model(x, layers.Dense(1)(both))
    data = uniform(8, 4)
    energy = ModelEnergy(model, data)
    assert energy.layer_stats[inner] == {"connections": 48, "neurons": 8, "spiking": False}
    first = inner.layers[0]
    assert energy.layer_stats[first]["connections"] == 32
    mean, positive = np.abs(data).mean(), np.maximum(data, 0).mean()
    assert energy.layer_rates[first] == approx(4 * mean)
    assert energy.layer_rates[inner] == approx(4 * mean)
    synop, neuron = energy.layer_energy(inner, "loihi", 2, dt=1.0)
    assert synop == approx(27.1e-12 * 2 * (16 * 4 * mean + 8 * 4 * positive))
    assert neuron == approx(81e-12 * 8 * 2)
    total = sum(sum(energy.layer_energy(layer, "loihi", 2, 1.0)) for layer in model.layers)
    assert energy.total_energy("loihi", 2, 1.0) == approx(total)


def test_a_model_inside_has_the_shapes_of_its_use():
    conv = layers.Conv2D(2, 3, activation="relu")
    block = keras.Sequential([keras.Input((None, None, 1)), conv])
    inner = keras.Sequential([keras.Input((None, None, 1)), block, layers.Dropout(0.5)])
    x = keras.Input((8, 6, 1))
    model = keras.Model(x, inner(x))
    energy = ModelEnergy(model, np.ones((2, 8, 6, 1)))
    expected = {"connections": 6 * 4 * 2 * 9, "neurons": 48, "spiking": False}
    assert energy.layer_stats[inner] == energy.layer_stats[conv] == expected
    assert energy.layer_energy(inner, "loihi", dt=1.0)[0] == approx(27.1e-12 * 432)
    frames = layers.TimeDistributed(inner)
    frames(keras.Input((5, 8, 6, 1)))
    assert ModelEnergy.compute_layer_stats(frames) == expected
    with pytest.raises(ValueError, match="contains undefined elements"):
        ModelEnergy(inner)


@pytest.mark.usefixtures("layer_table")
def test_a_model_with_a_rule_of_its_own_is_not_looked_into():
    class Special(keras.Model):
        pass

    a = keras.Input((4,))
    special = Special(a, layers.Dense(2)(a))
    ModelEnergy.register_layer(Special)(lambda node: {"connections": 5})
    x = keras.Input((4,))
    model = keras.Model(x, layers.ReLU()(special(x)))
    energy = ModelEnergy(model, np.ones((2, 4)))
    assert energy.layer_stats[special]["connections"] == 5
    assert energy.layer_rates[special] == approx(1)
    assert special.layers[1] not in energy.layer_stats


def test_counts_become_rates():
    x = keras.Input((20, 6))
    iaf = IAF(1.0, dt=0.01, name="counts")
    flat = layers.Flatten(name="flat")
    dense = layers.Dense(5, name="dense")
    model = keras.Model(x, dense(flat(layers.Dropout(0.5)(iaf(x)))))
    data = uniform(8, 20, 6, low=0, high=2)
    energy = ModelEnergy(model, data)
    counts = numbers(iaf(data))
    assert energy.layer_rates[iaf] == approx(data.mean())
    assert energy.layer_rates[flat] == approx(counts.mean() / 0.01)
    assert energy.layer_rates[dense] == approx(counts.mean() / 0.01)
    # So that the events of one inference are counted as they are: 20 steps are in the input.
    synop, _ = energy.layer_energy(dense, "loihi", dt=0.01)
    assert synop == approx(27.1e-12 * counts.mean() * 600)
    after = keras.Model(x, layers.Dense(2)(layers.ReLU(name="relu")(dense(flat(iaf(x))))))
    rates = ModelEnergy(after, data).layer_rates
    assert rates[after.get_layer("relu")] == approx(np.abs(numbers(model(data))).mean())


def test_counts_of_models_inside_and_wrapped_frames():
    inner = keras.Sequential(
        [
            keras.Input((4, 3)),
            layers.TimeDistributed(IAF(0.5, time_axis=False, dt=0.1)),
        ]
    )
    model = keras.Sequential([keras.Input((4, 3)), inner, layers.Flatten(), layers.Dense(2)])
    data = uniform(8, 4, 3, low=0, high=2)
    rates = ModelEnergy(model, data).layer_rates
    counts = numbers(inner(data))
    assert rates[model.layers[-1]] == approx(counts.mean() / 0.1)


def test_recurrent_connections_are_fed_by_the_output():
    lstm = layers.SimpleRNN(2, return_sequences=True)
    model = keras.Sequential([keras.Input((5, 3)), lstm])
    x = uniform(4, 5, 3)
    energy = ModelEnergy(model, x)
    forward, back = np.abs(x).mean(), np.abs(numbers(model(x))).mean()
    assert energy.layer_stats[lstm]["recurrent_connections"] == 4
    synop, _ = energy.layer_energy(lstm, "loihi", dt=1.0)
    assert synop == approx(27.1e-12 * (6 * forward + 4 * back))


def test_bare_operations_are_told_of_once():
    x = keras.Input((3,))
    y = layers.Dense(3)(x)
    model = keras.Model(x, layers.ReLU()(y + x + y))
    with pytest.warns(UserWarning, match="Operation 'Add'") as seen:
        energy = ModelEnergy(model, np.ones((2, 3)))
    assert len(seen) == 1
    assert len(energy.layer_stats) == 3
    assert energy.layer_rates[model.layers[-1]] > 0


def test_unknown_layers_are_told_of_once():
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.MaxPooling2D(2), layers.MaxPooling2D(2), layers.Flatten()]
    )
    with pytest.warns(UserWarning, match="MaxPooling2D") as seen:
        ModelEnergy(model)
    assert len(seen) == 1


def test_state_and_random_numbers_are_left_as_they_were():
    layer = SpikingActivation("relu", dt=0.1, stateful=True)
    loose = SpikingActivation("relu", dt=0.1)
    x = keras.Input(batch_shape=(2, 5, 3))
    model = keras.Model(x, loose(layer(x)))
    state = numbers(layer.layer.states[0].value).copy()
    seed = numbers(loose.layer.cell.seed_generator.state.value).copy()
    energy = ModelEnergy(model, uniform(6, 5, 3, low=0, high=9))
    assert energy.layer_rates[loose] > 0
    assert_array_equal(numbers(layer.layer.states[0].value), state)
    assert_array_equal(numbers(loose.layer.cell.seed_generator.state.value), seed)


def test_the_model_gets_no_new_nodes():
    model = keras.Sequential(
        [keras.Input((5, 4)), layers.TimeDistributed(layers.Dense(3)), Lowpass(0.1)]
    )
    nodes = [
        (len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model._flatten_layers()
    ]
    ModelEnergy(model, uniform(4, 5, 4)).total_energy("cpu")
    assert nodes == [
        (len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model._flatten_layers()
    ]


def test_models_without_a_graph():
    class Subclassed(keras.Model):
        pass

    with pytest.raises(ValueError, match="is a Sequential that is not built"):
        ModelEnergy(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(ValueError, match=r"\(Subclassed\) is no functional model"):
        ModelEnergy(Subclassed())
    with pytest.raises(ValueError, match=r"must be a keras\.Sequential or a functional"):
        ModelEnergy(layers.Dense(3))
    built = keras.Sequential([layers.Dense(3)])
    built.build((None, 4))
    assert ModelEnergy(built).layer_stats[built.layers[0]]["connections"] == 12


@pytest.mark.usefixtures("device_table")
def test_devices_are_the_shared_table():
    assert ModelEnergy.register_device is kerasnsoc.energy.register_device
    assert set(ModelEnergy.devices) == set(kerasnsoc.energy.list_devices())
    assert len(ModelEnergy.devices) == len(kerasnsoc.energy.list_devices())
    assert ModelEnergy.devices["LOIHI"]["energy_per_synop"] == approx(27.1e-12)
    assert ModelEnergy.devices["loihi"]["spiking"] is True
    assert "Davies" in ModelEnergy.devices["loihi"]["source"]
    with pytest.raises(KeyError):
        ModelEnergy.devices["nonsense"]
    ModelEnergy.register_device("My-Dev", 1.0, 2.0, True, source="here", note="mine")
    assert ModelEnergy.devices["my-dev"]["note"] == "mine"
    energy = ModelEnergy(digits_model(), np.ones((2, 784)))
    assert energy.total_energy("mY-dEV", dt=1.0) == approx(100352 + 2 * 128)
    with pytest.warns(UserWarning, match="'my-dev' already registered"):
        ModelEnergy.register_device("my-dev", 1.0, 2.0, True)


def test_unknown_and_contained_costs():
    energy = ModelEnergy(digits_model(), np.ones((2, 784)))
    assert np.isnan(energy.total_energy("loihi2"))
    synop, neuron = energy.layer_energy(energy.model.layers[0], "odin")
    assert synop > 0
    assert np.isnan(neuron)
    assert energy.layer_energy(energy.model.layers[0], "truenorth")[1] == 0
    linear = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    assert ModelEnergy(linear, np.ones((2, 4))).total_energy("odin") > 0


def test_the_default_step_is_that_of_the_query():
    energy = ModelEnergy(digits_model(), np.ones((2, 784)))
    before = config.default.dt
    try:
        config.default.dt = 0.5
        (layer,) = energy.model.layers
        assert energy.layer_energy(layer, "loihi") == energy.layer_energy(layer, "loihi", dt=0.5)
        assert energy.layer_energy(layer, "loihi")[0] == approx(27.1e-12 * 100352 * 0.5)
    finally:
        config.default.dt = before


def test_bad_queries():
    energy = ModelEnergy(digits_model())
    (layer,) = energy.model.layers
    for query in (lambda d, *a: energy.layer_energy(layer, d, *a), energy.total_energy):
        with pytest.raises(ValueError, match="Energy specs unknown for device 'nonsense'"):
            query("nonsense")
        with pytest.raises(ValueError, match="example_data must be given"):
            query("loihi")
        for timesteps in (0, -1, float("nan")):
            with pytest.raises(ValueError, match="timesteps_per_inference"):
                query("cpu", timesteps)
        for dt in (0, -1.0, float("nan"), keras.Variable(0.0)):
            with pytest.raises(ValueError, match="greater than 0"):
                query("cpu", 1, dt)
    with pytest.raises(ValueError, match=r"'other' is no layer of model"):
        energy.layer_energy(layers.Dense(3, name="other"), "cpu")


def test_no_warnings_for_a_spiking_model():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = keras.Sequential(
            [
                keras.Input((5, 4)),
                layers.Dense(3),
                SpikingActivation("relu"),
                Lowpass(0.1),
                layers.Dense(2),
            ]
        )
        energy = ModelEnergy(model, uniform(4, 5, 4))
        assert energy.total_energy("loihi", 5) > 0


def test_the_report_has_the_totals_of_the_query_with_intervals():
    model = keras.Sequential(
        [keras.Input((None, 6)), keras.layers.Dense(4), IAF(0.5, dt=0.01), keras.layers.Dense(2)]
    )
    spikes = np.random.default_rng(0).integers(0, 2, (3, 10, 6)).astype("float32")
    energy = ModelEnergy(model, spikes)
    for device in ("loihi", "cpu", "spinnaker2"):
        report = energy.report(device, 10, 0.01)
        # the same products, summed in another order
        total = energy.total_energy(device, 10, 0.01)
        assert report.total.value == pytest.approx(total, rel=1e-12)
        assert report.samples == 1
        assert report.worst_grade in "SDA"
    report = energy.report("speck2f", 10, 0.01, duration_s=0.1)
    counts = {c.layer: c for c in report.counts}
    dense, neurons, last = (counts[layer.name] for layer in model.layers)
    counted = np.asarray(keras.Model(model.inputs[0], model.layers[1].output)(spikes))
    mean_spikes = counted.sum() / 3
    # rates are means in float32
    assert neurons.spikes == pytest.approx(mean_spikes, rel=1e-5)
    assert last.more["events"] == pytest.approx(mean_spikes, rel=1e-5)
    assert dense.synaptic_ops == pytest.approx(dense.more["events"] * 4, rel=1e-12)
    assert set(report.static) == {"io", "ram", "logic"}
    with pytest.raises(ValueError, match=r"'speck2f' is spiking.*example_data"):
        ModelEnergy(model).report("speck2f")
