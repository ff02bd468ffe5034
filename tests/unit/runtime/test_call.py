"""The short way of a call: what takes it, and that it cannot be told from the long way."""

from __future__ import annotations

import numpy as np
import pytest

from kerasnsoc.runtime import Model
from kerasnsoc.runtime.plan import CompiledNetwork
from kerasnsoc_ext import Caller, Network, Tally
from tests.networks import every_kind

NETWORKS = every_kind()


def _inputs(spec, samples=3, seed=0):
    height, width, channels = spec.input.shape_hwc
    shape = (height, width) if spec.input.kind == "image" else (width, height)
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**spec.input.bits, (samples, *shape, channels), dtype=np.uint8)


def _tally(spec):
    return Tally([np.zeros(4, np.int64) for _ in spec.layers], np.zeros(4, np.int64), np.zeros(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_both_ways_agree(name, monkeypatch):
    spec = NETWORKS[name]
    short, long = Model.from_spec(spec), Model.from_spec(spec)
    inputs = _inputs(spec)
    for form in (None, "auto", "dense", "events"):
        outputs = short.forward(inputs, form=form)
        # another dtype takes the long way
        np.testing.assert_array_equal(long.forward(inputs.astype(np.int64), form=form), outputs)
    for row, other in zip(
        short.get_statistics().values(), long.get_statistics().values(), strict=True
    ):
        assert row.totals.tolist() == other.totals.tolist()
    found, expected = short.metrics, long.metrics
    assert found.pop("inference_time_s") > 0
    expected.pop("inference_time_s")
    assert found == expected


def test_what_is_left_to_the_long_way():
    spec = NETWORKS["events"]
    compiled, tally = CompiledNetwork(spec), _tally(spec)
    inputs = _inputs(spec)
    assert compiled.call(inputs, tally) is not None
    assert compiled.call(inputs, tally, None, 1) is not None
    left = [
        inputs.astype(np.int32),
        inputs.tolist(),
        inputs[:0],
        inputs[0],
        inputs[:, ::-1],
        inputs.view(np.recarray),
        np.ascontiguousarray(inputs[:, 1:]),
        np.zeros((1000, *inputs.shape[1:]), np.uint8),
    ]
    assert all(compiled.call(other, tally) is None for other in left)
    assert compiled.call(inputs, tally, "sideways") is None
    assert compiled.call(inputs, tally, None, 0) is None
    assert compiled.call(inputs, tally, None, 2.0) is None
    assert compiled.call(inputs, tally, None, True) is None
    assert compiled.call(inputs, Tally([], np.zeros(4, np.int64), np.zeros(1))) is None


def test_the_environment_chooses_the_form(monkeypatch):
    spec = NETWORKS["events"]
    model, inputs = Model.from_spec(spec), _inputs(spec)
    expected = model.forward(inputs)
    for form in ("auto", "dense", "events", ""):
        monkeypatch.setenv("KERASNSOC_FORM", form)
        np.testing.assert_array_equal(model.forward(inputs), expected)
    monkeypatch.setenv("KERASNSOC_FORM", "sideways")
    with pytest.raises(ValueError, match="KERASNSOC_FORM is 'sideways'"):
        model.forward(inputs)


def test_a_value_that_is_too_large_is_named_and_not_counted():
    spec = next(spec for spec in NETWORKS.values() if spec.input.bits < 8)
    model, inputs = Model.from_spec(spec), _inputs(spec)
    model.forward(inputs)
    inputs.flat[-1] = 255
    with pytest.raises(ValueError, match="is 255, but layer"):
        model.forward(inputs)
    assert model.metrics["inference_frames"] == 3


def test_wrong_totals_are_refused():
    with pytest.raises(ValueError, match=r"array 0 has 3 totals, but must have 4"):
        Tally([np.zeros(3, np.int64)], np.zeros(4, np.int64), np.zeros(1))
    with pytest.raises(ValueError, match=r"seconds has 2 values"):
        Tally([], np.zeros(4, np.int64), np.zeros(2))
    tally = Tally([np.zeros(4, np.int64)], np.zeros(4, np.int64), np.zeros(1))
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but must have \(1, 3\)"):
        tally.add(1, np.zeros((2, 3), np.int64), 0.0)


def test_wrong_arguments_of_a_caller():
    network = Network()
    with pytest.raises(ValueError, match="empty"):
        Caller(network, [], 1)
    network.add_input("in", 1, 1, 1)
    with pytest.raises(ValueError, match="limit is 0"):
        Caller(network, [], 0)
