"""Properties of weight quantizers, discrete activations and folding, on arbitrary float32."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.quantization import (  # noqa: E402
    ActivationDiscreteRelu,
    MaxPerAxisQuantizer,
    MaxQuantizer,
    QuantizedDense,
    QuantizedReLU,
    ScaleFactorQuantizer,
    WeightQuantizer,
    fold_batchnorms,
    integer_weights,
)
from tests.unit.quantization.helpers import compiled, gradients, numbers  # noqa: E402

pytestmark = pytest.mark.keras

bits = st.integers(2, 8)
shapes = hnp.array_shapes(min_dims=2, max_dims=4, max_side=4)


def magnitudes(low, high):
    return st.floats(low, high, width=32)


def kernels(limit=2.0**20):
    elements = st.floats(-limit, limit, width=32, allow_subnormal=False)
    return hnp.arrays(np.float32, shapes, elements=elements)


quantizers = st.one_of(
    st.builds(WeightQuantizer, magnitudes(0.5, 4), bits),
    st.builds(MaxQuantizer, bits),
    st.builds(MaxPerAxisQuantizer, bits),
    st.builds(ScaleFactorQuantizer, bits, magnitudes(2.0**-20, 2.0**20)),
)


@given(quantizer=quantizers, w=kernels())
def test_integers_follow_the_formula(quantizer, w):
    q, sf = integer_weights(quantizer, w)
    y = numbers(quantizer.quantize(w))
    kmax = quantizer.kmax
    assert q.dtype == np.int8
    assert sf.dtype == y.dtype == np.float32
    assert (sf > 0).all()
    assert np.abs(q).max() <= kmax
    assert_array_equal(q, np.clip(np.rint(w * sf), -kmax, kmax))
    assert_array_equal(y, q.astype(np.float32) / sf)
    # Symmetric: no quantizer here depends on the sign.
    assert_array_equal(integer_weights(quantizer, -w)[0], -q)


@given(quantizer=quantizers, w=kernels())
def test_quantized_weights_survive_a_second_rounding(quantizer, w):
    q, sf = integer_weights(quantizer, w)
    again, _ = integer_weights(
        ScaleFactorQuantizer(quantizer.bitwidth, sf), numbers(quantizer.quantize(w))
    )
    assert_array_equal(again, q)


@given(sf=magnitudes(2.0**-100, 2.0**100))
def test_every_integer_is_recovered_from_its_quantized_value(sf):
    q = np.arange(-127, 128)
    sf = np.float32(sf)
    assert_array_equal(np.rint((q.astype(np.float32) / sf) * sf), q)


@given(w=kernels(), bitwidth=bits)
def test_the_largest_weight_of_each_filter_gets_the_largest_integer(w, bitwidth):
    quantizer = MaxPerAxisQuantizer(bitwidth)
    q, sf = integer_weights(quantizer, w)
    axes = tuple(range(w.ndim - 1))
    largest = np.abs(w).max(axis=axes)
    assume((largest > 1e-30).any())
    top = np.abs(q).max(axis=axes)
    assert_array_equal(top, np.where(largest > 1e-30, quantizer.kmax, top))
    assert (sf[largest == 0] == 1).all()
    assert not q[..., largest == 0].any()


@given(w=kernels(2.0**10), bitwidth=bits, data=st.data())
def test_powers_of_two_and_signs_do_not_change_per_axis_integers(w, bitwidth, data):
    n = w.shape[-1]
    w = np.where(np.abs(w) < 1e-20, np.float32(0), w)
    exponents = data.draw(st.lists(st.integers(-20, 20), min_size=n, max_size=n))
    signs = data.draw(st.lists(st.sampled_from([-1, 1]), min_size=n, max_size=n))
    s = (np.array(signs) * 2.0 ** np.array(exponents)).astype(np.float32)
    q, _ = integer_weights(MaxPerAxisQuantizer(bitwidth), w)
    assert_array_equal(
        integer_weights(MaxPerAxisQuantizer(bitwidth), w * s)[0], np.array(signs) * q
    )


@given(quantizer=quantizers, w=kernels(2.0**10))
def test_gradients_are_finite(quantizer, w):
    _, (g,) = gradients(quantizer.quantize, np.ones(w.shape), w)
    assert g.shape == w.shape
    assert np.isfinite(g).all()


@given(
    w=hnp.arrays(np.float32, (6, 3), elements=st.floats(-4, 4, width=32, allow_subnormal=False)),
    gammas=hnp.arrays(np.float32, 3, elements=st.floats(2.0**-20, 2.0**20, width=32)),
    signs=hnp.arrays(np.float32, 3, elements=st.sampled_from([-1.0, 1.0])),
    quantizer=quantizers,
)
def test_folding_keeps_the_integers_of_quantized_layers(w, gammas, signs, quantizer):
    assume(np.abs(w).max() > 1e-6)
    gammas = gammas * signs
    dense = QuantizedDense(3, quantizer=quantizer)
    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((6,)), dense, norm])
    dense.kernel.assign(w)
    norm.gamma.assign(gammas)
    folded = fold_batchnorms(model).layers[0]
    q, sf = integer_weights(quantizer, w)
    new_q, new_sf = integer_weights(folded.quantizer, numbers(folded.kernel))
    assert_array_equal(new_q, np.sign(gammas) * q)
    variance = np.float64(1) + 1e-3
    assert_array_equal(new_sf, (sf / np.abs(gammas / np.sqrt(variance))).astype(np.float32))


@given(
    layer=st.sampled_from([ActivationDiscreteRelu, QuantizedReLU]),
    bitwidth=st.integers(1, 8),
    x=hnp.arrays(np.float32, 30, elements=st.floats(-2, 8, width=32)),
    m=st.integers(-1, 257),
)
def test_levels_follow_the_formula_in_every_way_to_run(layer, bitwidth, x, m):
    layer = layer(bitwidth)
    layer.build((None,))
    t, h, n = np.float32(layer.threshold), np.float32(layer.step_width), layer.levels
    edge = t + np.float32(m) * h
    x = np.concatenate(
        [x, [edge, np.nextafter(edge, np.float32(9)), np.nextafter(edge, np.float32(-9))]]
    )
    expected = h * np.clip(np.ceil((x - t) / h), 0, n)
    for how in ("eager", "graph"):
        assert_array_equal(compiled(layer, how)(x), expected)


@given(bitwidth=st.integers(1, 8), x=st.floats(-2, 8, width=32))
def test_levels_equal_exact_arithmetic_away_from_the_edges(bitwidth, x):
    layer = ActivationDiscreteRelu(bitwidth)
    z = (Fraction(x) - Fraction(layer.threshold)) / Fraction(layer.step_width)
    # Two float32 roundings move z by less than this.
    assume(abs(z - round(z)) > Fraction(1, 2**13))
    level = min(max(-(-z.numerator // z.denominator), 0), layer.levels)
    y = float(numbers(layer(np.float32([x])))[0])
    assert round(y / layer.step_height) == level


@given(
    x=hnp.arrays(np.float32, 20, elements=st.floats(-3, 9, width=32)), bitwidth=st.integers(1, 8)
)
def test_activations_do_not_decrease(x, bitwidth):
    y = numbers(ActivationDiscreteRelu(bitwidth)(np.sort(x)))
    assert (np.diff(y) >= 0).all()
    assert y.min() >= 0
