"""Networks over time for chips whose potentials are narrow: `state_bits`."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

from kerasnsoc.conversion import compare, convert, freeze, rounding_of  # noqa: E402
from kerasnsoc.nsoc import DiscretizationError, NSoCNetwork  # noqa: E402
from kerasnsoc.quantization import (  # noqa: E402
    MaxQuantizer,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedSeparableConv2D,
)
from kerasnsoc.spiking import IAF, SpikingActivation, SumPooling2D  # noqa: E402

pytestmark = pytest.mark.keras
SPARSE = {"input_is_sparse": True, "input_scaling": (16.0, 0)}


def small_convolutional(bits=8, **neurons):
    over_time = layers.TimeDistributed
    return keras.Sequential(
        [
            keras.Input((None, 8, 8, 1)),
            over_time(
                QuantizedConv2D(4, 3, use_bias=False, quantizer=MaxQuantizer(bits)), name="edges"
            ),
            IAF(**neurons),
            over_time(SumPooling2D(2), name="sums"),
            over_time(layers.Flatten()),
            over_time(
                QuantizedDense(10, use_bias=False, quantizer=MaxQuantizer(bits)), name="classes"
            ),
            IAF(**neurons),
        ]
    )


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("neurons", [{}, {"min_v": -1.0}, {"min_v": -1e9}])
def test_a_network_fits_a_chip_and_spikes_alike_everywhere(bits, neurons):
    model = small_convolutional(bits, **neurons)
    with pytest.raises(DiscretizationError, match=r"one threshold of at most 32767"):
        NSoCNetwork(convert(model, **SPARSE).to_spec())
    network = convert(model, state_bits=16, **SPARSE)
    chip = NSoCNetwork(network.to_spec())
    assert not chip.incompatibilities("speck2f")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (3, 30, 8, 8, 1)) * (rng.random((3, 30, 1, 1, 1)) < 0.7)
    found = network.forward(x)
    assert found.any()
    assert_array_equal(chip.forward(x).reshape(found.shape), found)
    assert compare(model, network, x).differing == 0  # with the options it was converted with
    frozen = freeze(model, state_bits=16, **SPARSE)
    assert compare(frozen, network, x).differing == 0


@pytest.mark.parametrize("state_bits", [10, 12, 16, 31])
def test_potentials_stay_within_the_bits(state_bits):
    network = convert(small_convolutional(4), state_bits=state_bits, **SPARSE)
    for layer in network.to_spec().layers:
        if layer.neuron is None:
            continue
        assert layer.variables["spike_threshold"].max() < 2 ** (state_bits - 1)
        assert_array_equal(layer.variables["lowest_potential"], -(2 ** (state_bits - 1)))
        assert np.abs(layer.variables["weights"].astype(int)).max() << layer.neuron.shift <= 127


def test_fewer_bits_round_more_and_none_least():
    model = small_convolutional(4)
    errors = [
        max(r.threshold_error for r in rounding_of(model, state_bits=bits, **SPARSE).layers)
        for bits in (None, 16, 10)
    ]
    assert errors[0] < errors[1] <= errors[2]


def test_depthwise_and_pointwise_weights_count_as_one():
    model = keras.Sequential(
        [
            keras.Input((None, 6, 6, 2)),
            layers.TimeDistributed(
                QuantizedSeparableConv2D(
                    3,
                    3,
                    use_bias=False,
                    quantizer_dw=MaxQuantizer(3),
                    quantizer=MaxQuantizer(3),
                )
            ),
            IAF(),
        ]
    )
    (layer,) = convert(model, state_bits=16, **SPARSE).to_spec().layers[1:]
    assert layer.neuron.shift == 3  # 3 * 3 * 8 is 72
    NSoCNetwork(convert(model, state_bits=16, **SPARSE).to_spec())


def test_what_does_not_fit():
    model = small_convolutional(8, threshold=1000.0)
    with pytest.raises(OverflowError, match=r"layer 'edges': a threshold of .*state_bits=16.*Use"):
        convert(model, state_bits=16, **SPARSE)
    for wrong in (7, 32, True, 16.5, "16"):
        with pytest.raises(ValueError, match=r"state_bits is .*None or 8 to 31"):
            convert(model, state_bits=wrong, **SPARSE)
    frames = keras.Sequential(
        [keras.Input((4,)), QuantizedDense(3, quantizer=MaxQuantizer(4), name="out")]
    )
    for function in (convert, freeze, rounding_of):
        with pytest.raises(ValueError, match="state_bits is 16, but only neurons over time"):
            function(frames, input_is_sparse=True, state_bits=16)


def test_rates_of_spiking_activations_have_narrow_thresholds_too():
    model = keras.Sequential(
        [
            keras.Input((None, 5)),
            QuantizedDense(3, quantizer=MaxQuantizer(4)),
            SpikingActivation("relu", dt=0.1),
        ]
    )
    network = convert(model, state_bits=16, **SPARSE)
    layer = network.to_spec().layers[1]
    assert layer.variables["spike_threshold"].max() < 2**15
    x = np.random.default_rng(1).integers(0, 16, (2, 40, 5))
    assert compare(model, network, x).differing == 0
