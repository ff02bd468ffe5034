"""Memory formulas against the worked examples."""

import numpy as np
import pytest

from kerasnsoc.nsoc.devices import get_device
from kerasnsoc.nsoc.memory import (
    bias_words,
    clog2,
    kernel_words,
    neuron_words,
    processor_bytes,
    processors_needed,
    validate_layer,
    words_of,
)
from tests.nsoc_graphs import core_layer

SPECK = get_device("speck2f")


def sized(features=1, channels=1, kernel=1, side=1, bias=None):
    """A layer of which only the sizes count."""
    return core_layer(
        features=features,
        in_shape=(channels, side, side),
        kernel=1,
        weights=np.broadcast_to(np.int8(1), (features, channels, kernel, kernel)),
        neuron_shape=(features, side, side),
        bias=bias,
    )


@pytest.mark.parametrize(("n", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10)])
def test_address_bits(n, bits):
    assert clog2(n) == bits


def test_no_address_bits_of_nothing():
    with pytest.raises(ValueError, match="n is 0"):
        clog2(0)


@pytest.mark.parametrize(
    ("channels", "features", "kernel", "map_hw", "bias", "expected"),
    [
        (16, 32, (3, 3), (64, 64), False, (8192, 131072, 0)),
        (1, 3, (5, 5), (24, 24), False, (128, 3072, 0)),
        (3, 1, (5, 5), (8, 8), False, (96, 64, 0)),
        (1, 2, (4, 4), (1, 1), False, (32, 2, 0)),
        (1, 2, (2, 2), (6, 3), True, (8, 64, 2)),
    ],
)
def test_the_worked_examples(channels, features, kernel, map_hw, bias, expected):
    assert (
        kernel_words(channels, features, *kernel),
        neuron_words(features, *map_hw),
        bias_words(features, bias),
    ) == expected


def test_a_layer_that_fits_has_no_reasons():
    assert validate_layer(SPECK, core_layer()) == []


def test_reasons_come_in_order():
    layer = sized(features=64, channels=256, kernel=3, side=64)
    kernel, neuron = validate_layer(SPECK, layer)
    assert kernel.startswith("needs 262144 kernel words, but the largest core")
    assert "has 65536" in kernel
    assert neuron.startswith("needs 262144 neuron words")


@pytest.mark.parametrize(
    ("kernel_ki", "neuron_ki", "partner"), [(17, 33, 32), (33, 17, 16), (33, 64, 16)]
)
def test_memories_that_no_core_has_together(kernel_ki, neuron_ki, partner):
    kernels = 32 if kernel_ki <= 32 else 64
    neurons = 32 if neuron_ki <= 32 else 64
    layer = sized(features=16, channels=kernels * 1024 // 16, side=int((neurons * 64) ** 0.5))
    words = words_of(layer)
    if (words.kernel, words.neuron) == (32768, 32768):
        assert validate_layer(SPECK, layer) == []
        return
    (reason,) = validate_layer(SPECK, layer)
    assert "no core of 'speck2f' offers both" in reason
    assert f"at most {partner * 1024} neuron words" in reason


def test_biases_are_what_a_mini_lacks():
    layer = sized(features=16, channels=1, side=64, bias=np.zeros(16, np.int16))
    (reason,) = validate_layer(get_device("speck2dmini"), layer)
    assert "needs 16 bias words beside 16 kernel words and 65536 neuron words" in reason
    assert "at most 0; use_bias=False needs none" in reason


def test_bytes_and_processors_on_the_meshes():
    layer = sized(features=64, channels=64, kernel=3, side=32)
    assert processor_bytes(layer) == 9 * 64 * 64 + 4 * 64 + 4 * 64 * 32 * 32
    assert processors_needed(layer, get_device("akd1000")) == 3
    # 65536 neurons / 1024 = 64 cores; 65536 * 576 synapses / 128 KiB = 288
    assert processors_needed(layer, get_device("loihi")) == 288
