"""Models over time that cannot be converted: each is refused with its layer and a remedy."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

from kerasnsoc.conversion import check_model_compatibility, convert, rounding_of  # noqa: E402
from kerasnsoc.quantization import (  # noqa: E402
    ActivationDiscreteRelu,
    MaxPerAxisQuantizer,
    MaxQuantizer,
    QuantizedConv2D,
    QuantizedDense,
)
from kerasnsoc.spiking import IAF, LIF, Lowpass, SpikingActivation  # noqa: E402

pytestmark = pytest.mark.keras
SPARSE = {"input_is_sparse": True}


def dense(units=3, bits=4, **options):
    return QuantizedDense(units, quantizer=MaxQuantizer(bits), **options)


def graded():
    return ActivationDiscreteRelu(2)


def chain(*parts, shape=(None, 5)):
    return keras.Sequential([keras.Input(shape), *parts])


REFUSED = {
    "LIF": (lambda: chain(dense(), LIF(0.1)), r"LIF neurons leak.*Use IAF"),
    "two steps": (
        lambda: chain(dense(), SpikingActivation("relu", dt=0.1), dense(), IAF(dt=0.2)),
        r"dt is 0\.2, but 0\.1",
    ),
    "no neurons": (lambda: chain(dense(), dense(), IAF()), r"no neurons lie between"),
    "a softplus of rates": (
        lambda: chain(dense(), SpikingActivation("softplus")),
        r"'softplus', but only 'relu' and 'linear'",
    ),
    "neurons alone": (lambda: chain(IAF()), r"neurons must follow a layer with weights"),
    "a filter inside": (
        lambda: chain(dense(), IAF(), Lowpass(0.1), dense()),
        r"can only end a network",
    ),
    "time first": (lambda: chain(dense(), IAF(time_major=True)), r"time_major is True"),
    "a state": (
        lambda: keras.Model(*_with_state()),
        r"outputs; layers with multiple|return_state",
    ),
    "last step inside": (
        lambda: chain(dense(), IAF(return_sequences=False), dense()),
        r"return_sequences is False in front",
    ),
    "a flat sequence": (
        lambda: chain(layers.Flatten(), dense(), IAF(time_axis=False), shape=(4, 5)),
        r"its output has the shape|mixes time steps",
    ),
    "a recurrent layer": (
        lambda: chain(dense(), IAF(), layers.SimpleRNN(3, return_sequences=True), dense()),
        r"SimpleRNN layers cannot run over time",
    ),
    "neurons behind a mean": (
        lambda: chain(dense(), IAF(), layers.GlobalAveragePooling1D(), dense(), graded()),
        r"behind which there are no steps",
    ),
}


def _with_state():
    source = keras.Input((None, 5))
    spikes, _ = IAF(return_state=True)(dense()(source))
    return source, spikes


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(name):
    make, message = REFUSED[name]
    model = make()
    with pytest.raises(RuntimeError, match=message):
        convert(model, **SPARSE)
    assert check_model_compatibility(model, report=True)


def test_all_findings_come_at_once():
    model = chain(dense(), LIF(0.1, time_major=True), dense(), IAF(return_sequences=False), dense())
    assert len(check_model_compatibility(model, report=True)) >= 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"start": "full"}, ValueError, r"start is 'full'"),
        ({"max_spikes": 0}, ValueError, r"max_spikes is 0"),
        ({"input_bits": 9}, ValueError, r"input_bits is 9"),
        ({"input_scaling": (1.0, 3)}, ValueError, r"no value for 'nothing happened'"),
    ],
)
def test_arguments(options, error, message):
    with pytest.raises(error, match=message):
        convert(chain(dense(), IAF()), **{**SPARSE, **options})


def test_float_weights_are_refused():
    with pytest.raises(RuntimeError, match=r"Dense layers cannot run over time.*quantized"):
        convert(chain(layers.Dense(3), IAF()), **SPARSE)


def test_a_time_step_too_short_for_32_bits():
    model = chain(dense(bits=8), SpikingActivation("relu", dt=1e-9))
    with pytest.raises(OverflowError, match=r"Use a larger dt"):
        convert(model, **SPARSE)


def test_unseeded_neurons_start_at_half_a_threshold_or_at_zero():
    model = chain(dense(), IAF())
    for start, expected in (("half", 2), ("zero", None)):
        layer = convert(model, start=start, **SPARSE).get_layer(1)
        threshold, initial = (layer.variables[n] for n in ("spike_threshold", "initial_potential"))
        half = threshold // expected if expected else threshold * 0
        np.testing.assert_array_equal(initial[0, 0], half)


def test_seeded_neurons_start_as_keras_does():
    model = chain(dense(4), SpikingActivation("relu", dt=0.1, seed=5))
    layer = convert(model, **SPARSE).get_layer(1)
    drawn = np.asarray(model.layers[1].layer.cell.get_initial_state(batch_size=1)[0])[0]
    threshold = layer.variables["spike_threshold"].astype(np.float64)
    found = layer.variables["initial_potential"][0, 0]
    np.testing.assert_array_equal(found, np.floor(drawn.astype(np.float64) * threshold))


def test_rounding_is_reported():
    model = chain(dense(), SpikingActivation("relu", dt=0.1))
    network = convert(model, **SPARSE)
    (row,) = rounding_of(model, **SPARSE).layers
    assert row.threshold_error < 1e-6
    assert network.to_spec().metadata["rounding"][row.name]["shift"] == row.shift
    assert network.get_layer(1).neuron.shift == row.shift


def test_deep_networks_are_limited_to_a_byte_of_spikes():
    quantizer = MaxPerAxisQuantizer(8)
    parts = []
    for _ in range(5):
        conv = QuantizedConv2D(6, 3, padding="same", quantizer=quantizer)
        parts += [layers.TimeDistributed(conv), SpikingActivation("relu", dt=1.0, seed=0)]
    model = chain(*parts, shape=(None, 6, 6, 6))
    for part in model.layers[::2]:
        part.layer.kernel.assign(part.layer.kernel * 30)
    with pytest.warns(UserWarning, match=r"at most 255 times per step"):
        network = convert(model, **SPARSE)
    assert {layer.neuron.max_spikes for layer in network.layers[1:]} == {255}


def test_rates_of_the_unfrozen_model_are_near():
    keras.utils.set_random_seed(0)
    hidden, last = (SpikingActivation("relu", dt=0.01, seed=seed) for seed in (1, 2))
    model = chain(dense(20, bits=8), hidden, dense(6, bits=8), last)
    model.layers[0].kernel.assign(model.layers[0].kernel * 20)
    network = convert(model, input_scaling=(15.0, 0), **SPARSE)
    rng = np.random.default_rng(0)
    x = np.repeat(rng.integers(0, 16, (3, 1, 5)), 400, axis=1)
    expected = np.asarray(model(x.astype("float32") / 15)).mean(axis=1)
    # over 4 seconds a spike more or less is 0.25 Hz; the start of each layer may shift a few
    np.testing.assert_allclose(network.rates(x), expected, atol=1.5)
