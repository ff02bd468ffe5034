"""Bits per layer within a budget: what is measured, chosen and applied."""

import itertools
import json
from fractions import Fraction
from functools import cache

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.conversion import compare, convert
from kerasnsoc.quantization import (
    ActivationDiscreteRelu,
    MaxPerAxisQuantizer,
    QuantizedReLU,
    quantize,
    quantize_layer,
    suggest_bitwidths,
)
from kerasnsoc.quantization.scoring import sqnr_db
from kerasnsoc.quantization.sensitivity import Sensitivity, pareto_front
from tests.unit.quantization.helpers import assert_unchanged, chain, images, numbers, snapshot
from tests.unit.quantization.trained import accuracy, trained_digits

pytestmark = pytest.mark.keras
layers = keras.layers

WEIGHTS = {"conv": 144, "separable": 144 + 512, "features": 9216, "classes": 5120}


@cache
def suggest(budget=3.5, weight_ranges="mse"):
    trained = trained_digits()
    data = trained.images, trained.labels
    return suggest_bitwidths(trained.model, data, budget, weight_ranges=weight_ranges)


def bits_of(model):
    return {
        layer.name: layer.quantizer.bitwidth
        for layer in model.layers
        if hasattr(layer, "quantizer")
    }


# Choosing

options_of_layers = st.lists(
    st.tuples(
        st.integers(1, 50),
        st.lists(
            st.tuples(st.sampled_from([0, 0, 1, 5]), st.integers(0, 9)), min_size=3, max_size=3
        ),
    ),
    min_size=1,
    max_size=4,
)


@given(costs=options_of_layers, share=st.integers(0, 100))
def test_no_choice_within_the_budget_costs_less(costs, share):
    options = [
        [
            Sensitivity((str(i),), bits, weights, 0.0, float(drop), float(noise))
            for bits, (drop, noise) in zip((2, 4, 8), entries, strict=True)
        ]
        for i, (weights, entries) in enumerate(costs)
    ]
    every = [
        (
            sum(m.weights * m.bits for m in choice),
            sum(m.drop for m in choice),
            sum(m.noise for m in choice),
        )
        for choice in itertools.product(*options)
    ]
    front = pareto_front(options)
    smallest = min(bits for bits, _, _ in every)
    assert front[0].bits == smallest
    assert [c.bits for c in front] == sorted({c.bits for c in front})
    budget = smallest + share * (max(bits for bits, _, _ in every) - smallest) // 100
    chosen = [c for c in front if c.bits <= budget][-1]
    assert chosen.bits == sum(m.weights * m.bits for m in chosen.members)
    best = min((drop, noise) for bits, drop, noise in every if bits <= budget)
    assert (chosen.drop, chosen.noise) == best


def test_long_models_stay_tractable_and_keep_the_ends():
    rng = np.random.default_rng(0)
    options = [
        [
            Sensitivity((str(i),), bits, int(weights), 0.0, 0.0, float(noise))
            for bits, noise in zip((2, 4, 8), sorted(rng.random(3))[::-1], strict=True)
        ]
        for i, weights in enumerate(rng.integers(1, 10**6, 40))
    ]
    front = pareto_front(options)
    total = sum(layer[0].weights for layer in options)
    assert 200 < len(front) <= 2000
    assert (front[0].bits, front[-1].bits) == (2 * total, 8 * total)


@cache
def small_model():
    """Of 42 + 30 + 10 weights."""
    return chain(
        layers.Dense(6, name="a"),
        layers.ReLU(),
        layers.Dense(5, name="b"),
        layers.ReLU(),
        layers.Dense(2, name="c"),
        shape=(7,),
    )


SMALL = {"a": 42, "b": 30, "c": 10}


def suggest_small(budget, *args, **options):
    return suggest_bitwidths(small_model(), images(16, (7,)), budget, *args, **options)


@pytest.mark.parametrize("budget", [2, 2.01, 3, 3.5, Fraction(306, 82), 7.9, 8, 100])
def test_the_budget_is_never_exceeded(budget):
    found = suggest_small(budget)
    size = sum(SMALL[name] * bits for name, bits in found.bits.items())
    assert size <= Fraction(budget) * 82
    assert list(found.bits) == list(SMALL)
    assert found.bits_per_weight == size / 82
    assert found.weight_bytes == size / 8
    if budget == 2:
        assert set(found.bits.values()) == {2}


def test_budgets_in_bytes_and_bits_agree():
    for size in (20.5, 40, 82):
        in_bytes, in_bits = suggest_small(size, "bytes"), suggest_small(Fraction(8 * size) / 82)
        assert in_bytes.bits == in_bits.bits
        assert in_bytes.weight_bytes <= size


def test_a_budget_out_of_reach_names_the_smallest_one():
    with pytest.raises(ValueError, match=r"budget of 1.9 bits per weight .* reachable one is 2 "):
        suggest_small(1.9)
    with pytest.raises(ValueError, match=r"20 bytes .* reachable one is 20.5 \(82 weights of 2"):
        suggest_small(20, "bytes")
    assert suggest_small(20.5, "bytes").weight_bytes == 20.5
    with pytest.raises(ValueError, match=r"with 4, 8 bits: the smallest reachable one is 4 "):
        suggest_small(3, bitwidths=(8, 4))


# Measuring


def test_sensitivities_are_those_of_one_layer_alone():
    trained = trained_digits()
    before = snapshot(trained.model)
    found = suggest(4, weight_ranges="max")
    assert_unchanged(trained.model, before)
    assert found.metric == "accuracy"
    assert found.float_metric == accuracy(trained.model)
    assert len(found.sensitivities) == 4 * 3
    reference = numbers(trained.model(trained.images)).astype("f8")
    for entry in found.sensitivities:
        alone = quantize_layer(trained.model, entry.layers[0], entry.bits)
        assert entry.metric == accuracy(alone)
        assert entry.drop == max(0.0, found.float_metric - entry.metric)
        assert entry.weights == WEIGHTS[entry.layers[0]]
        outputs = numbers(alone(trained.images))
        ratio = 10 ** (-sqnr_db(reference, outputs) / 10)
        assert entry.noise == pytest.approx(ratio, rel=1e-2)


def test_without_labels_powers_of_errors_add_up():
    trained = trained_digits()
    found = suggest_bitwidths(trained.model, trained.calibration, 4)
    assert found.metric == "output SQNR"
    assert all(entry.drop == 0 for entry in found.sensitivities)
    members = [e for e in found.sensitivities if found.bits[e.layers[0]] == e.bits]
    total = sum(e.noise for e in members)
    assert found.predicted_metric == pytest.approx(-10 * np.log10(total))
    weights_only = found.apply(trained.model, activ_quantization=0)
    true = sqnr_db(
        numbers(trained.model(trained.calibration)), numbers(weights_only(trained.calibration))
    )
    assert true == pytest.approx(found.predicted_metric, abs=3)
    assert "dB" in str(found)


def test_more_budget_never_predicts_worse():
    found = suggest_small(8)
    points = found.pareto
    assert [p.weight_bytes for p in points] == sorted(p.weight_bytes for p in points)
    metrics = [p.predicted_metric for p in points]
    assert metrics == sorted(metrics)
    assert found.chosen == points[-1]
    assert suggest_small(8) == found


def test_depthwise_and_pointwise_convolutions_get_the_same_bits():
    model = chain(
        layers.Conv2D(4, 3, name="first"),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, use_bias=False, name="dw"),
        layers.Conv2D(5, 1, name="pw"),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(3, name="out"),
    )
    pixels = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3), np.uint8)
    found = suggest_bitwidths(model, pixels / 255, 4)
    assert ("dw", "pw") in {entry.layers for entry in found.sensitivities}
    assert found.bits["dw"] == found.bits["pw"]
    ready = found.apply(model, pixels / 255)
    network = convert(ready, input_scaling=(255.0, 0))
    assert compare(ready, network, pixels).differing == 0


def test_other_bit_widths():
    found = suggest_small(5, bitwidths=[6, 3, np.int64(5), 3])
    assert {e.bits for e in found.sensitivities} == {3, 5, 6}


# Applying


def test_the_applied_model_has_the_bits_and_works():
    trained = trained_digits()
    found = suggest(4.5)
    assert len(set(found.bits.values())) > 1
    before = snapshot(trained.model)
    ready = found.apply(trained.model, trained.calibration)
    assert_unchanged(trained.model, before)
    assert bits_of(ready) == found.bits
    assert type(ready.get_layer("conv_relu")) is QuantizedReLU
    separable = ready.get_layer("separable")
    assert separable.quantizer_dw.bitwidth == separable.quantizer.bitwidth
    assert accuracy(ready) > accuracy(trained.model) - 0.08
    network = convert(ready, input_scaling=(1.0, 0))
    assert compare(ready, network, trained.pixels[:32]).differing == 0


def test_the_applied_model_for_training():
    trained = trained_digits()
    found = suggest(4, weight_ranges="max")
    model = found.apply(trained.model, activ_quantization=2)
    assert bits_of(model) == found.bits
    assert found.weight_ranges == "max"
    assert type(model.get_layer("conv").quantizer) is MaxPerAxisQuantizer
    relu = model.get_layer("conv_relu")
    assert (type(relu), relu.bitwidth) == (ActivationDiscreteRelu, 2)


def test_batch_normalizations_are_folded():
    model = chain(
        layers.Conv2D(4, 3, name="conv"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(3, name="out"),
    )
    found = suggest_bitwidths(model, images(16), 4)
    assert list(found.bits) == ["conv", "out"]
    assert bits_of(found.apply(model, images(16))) == found.bits
    assert bits_of(found.apply(quantize(model, 8, 8), images(16))) == found.bits


def test_another_model_is_refused():
    found = suggest()
    with pytest.raises(ValueError, match="layer 'other' of model 'chain' was not measured"):
        found.apply(chain(layers.Dense(2, name="other"), shape=(3,)))


# Arguments and reports


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), None, "four", "4"])
def test_budgets_that_are_no_numbers_are_refused(budget):
    with pytest.raises(ValueError, match=r"budget is .*, but must be a finite number above 0"):
        suggest_small(budget)


@pytest.mark.parametrize("bitwidths", [(), (1, 4), (4, 9), (True,), ("4",), (2.5,)])
def test_bit_widths_out_of_range_are_refused(bitwidths):
    with pytest.raises(ValueError, match="bitwidths is"):
        suggest_small(4, bitwidths=bitwidths)


def test_other_arguments_are_checked():
    with pytest.raises(ValueError, match="unit is 'MB'"):
        suggest_small(4, "MB")
    with pytest.raises(ValueError, match="weight_ranges is 'std'"):
        suggest_small(4, weight_ranges="std")
    with pytest.raises(ValueError, match="no layer with weights"):
        suggest_bitwidths(chain(layers.ReLU(), shape=(3,)), images(2, (3,)), 4)


def test_the_suggestion_as_text_dict_frame_and_plot(monkeypatch):
    found = suggest()
    text = str(found)
    assert "budget of 3.5 bits per weight" in text
    assert "8 bits alone" in text
    assert f"float {found.float_metric:.2%}" in text
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["chosen"]["bits"] == found.bits
    pytest.importorskip("pandas")
    frame = found.to_frame()
    assert frame["chosen"].sum() == 4
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert found.plot(ax) is ax
    assert list(ax.lines[0].get_xdata()) == [p.bits_per_weight for p in found.pareto]
    assert list(ax.lines[1].get_ydata()) == [found.predicted_metric]
