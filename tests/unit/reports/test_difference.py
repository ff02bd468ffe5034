"""Differences are found where they are, and nowhere else."""

import json

import numpy as np

from kerasnsoc.reports import diff
from kerasnsoc.runtime import FullyConnected, InputData, Model
from tests.networks import every_kind


def small(names=("dense",), threshold=3):
    layers = [InputData(2, 1, 1, name="eye")]
    layers += [FullyConnected(3, name=name, threshold_fire=threshold) for name in names]
    model = Model(layers=layers)
    for layer in model.layers[1:]:
        shape = layer.get_variable("weights").shape
        layer.set_variable("weights", np.ones(shape, np.int8))
    return model


def test_the_same_network_differs_in_nothing():
    for spec in every_kind().values():
        model = Model.from_spec(spec)
        found = diff(model, Model(serialized_buffer=model.to_buffer()))
        assert found.equal
        assert {layer.change for layer in found.layers} == {"same"}
        assert str(found).startswith("the networks are equal")


def test_changed_weights_and_thresholds_are_counted():
    a, b = small(), small()
    weights = b.layers[1].get_variable("weights").copy()
    weights[0, 0, 1, 2] = 0
    b.layers[1].set_variable("weights", weights)
    b.layers[1].set_variable("threshold_fire", np.array([3, 4, 4], np.int32))
    found = diff(a, b)
    assert not found.equal
    dense = found.layers[1]
    assert dense.change == "changed"
    assert dense.arrays == {"weights": (1, 6), "threshold_fire": (2, 3)}
    assert "weights: 1 of 6; " in str(found) or "; weights: 1 of 6" in str(found)


def test_layers_of_one_network_only():
    found = diff(small(("dense", "more")), small(("dense", "other")))
    assert [layer.change for layer in found.layers] == ["same", "same", "only in a", "only in b"]
    assert found.layers[2].bytes_b == 0


def test_inputs_give_classes_and_energy():
    a, b = small(threshold=3), small(threshold=100)
    x = np.full((4, 2, 1, 1), 5, np.uint8)
    found = diff(a, b, x)
    assert found.classes == {"samples": 4, "differing": 4}  # none of b's neurons fires
    assert found.energy
    assert json.loads(found.to_json())["classes"]["differing"] == 4
    assert a.get_statistics()["dense"].nb_samples == 0
