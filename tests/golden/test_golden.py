"""Files of every released schema still load, and mean what they meant."""

import json

import pytest

from kerasnsoc.artifact import (
    LEARNING_RULES,
    PARAMETERS,
    SPIKE_RULES,
    LayerType,
    content_digest,
    load,
    to_bytes,
    verify,
)
from kerasnsoc.artifact.layout import VERSION
from tests import learning_reference, reference
from tests.golden.make import EXPECTED, FOLDER, inputs, outputs
from tests.learning_networks import assert_same

GOLDEN = json.loads(EXPECTED.read_text())


def test_every_file_is_listed_and_there():
    assert {path.name for path in FOLDER.glob("*.h5")} == set(GOLDEN)


def test_the_newest_schema_has_every_kind_of_layer():
    kinds = {
        type(layer.parameters)
        for name in GOLDEN
        if name.startswith(f"v{VERSION}_")
        for layer in load(FOLDER / name).layers
    }
    assert kinds == set(PARAMETERS.values())


def test_the_newest_schema_has_every_rule_of_learning():
    rules = {load(FOLDER / name).layers[-1].learning for name in GOLDEN} - {None}
    assert {learning.rule for learning in rules} == set(LEARNING_RULES)


def test_the_newest_schema_has_every_rule_of_neurons():
    neurons = {layer.neuron for name in GOLDEN for layer in load(FOLDER / name).layers} - {None}
    assert {neuron.rule for neuron in neurons} == set(SPIKE_RULES)


@pytest.mark.parametrize("name", GOLDEN)
def test_it_loads_with_the_same_content(name):
    spec = load(FOLDER / name)
    assert content_digest(spec) == GOLDEN[name]["content_digest"]
    assert content_digest(load(to_bytes(spec))) == GOLDEN[name]["content_digest"]


@pytest.mark.parametrize("name", GOLDEN)
def test_its_hdf5_view_agrees(name):
    verify(FOLDER / name)


@pytest.mark.parametrize("name", GOLDEN)
def test_its_outputs_are_what_they_were(name):
    assert outputs(load(FOLDER / name)) == GOLDEN[name]["outputs"]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_runtime_gives_these_outputs(name):
    runtime = pytest.importorskip("kerasnsoc.runtime", exc_type=ImportError)
    spec = load(FOLDER / name)
    traced = runtime.Model(str(FOLDER / name)).trace(inputs(spec))
    kinds = {layer.name: layer.layer_type for layer in spec.layers}
    *_, found = [v for n, v in traced.items() if kinds[n] is not LayerType.Filter]
    assert found.ravel().tolist() == GOLDEN[name]["outputs"]


LEARNING = [name for name in GOLDEN if "learning" in name]


@pytest.mark.parametrize("name", LEARNING)
def test_it_goes_on_learning_as_the_reference_does(name):
    runtime = pytest.importorskip("kerasnsoc.runtime", exc_type=ImportError)
    model = runtime.Model(str(FOLDER / name))
    spec = load(FOLDER / name)
    judge = learning_reference.restored(spec)
    last, batch = spec.layers[-1], inputs(spec)
    feature_maps = reference.run(spec, batch)[last.inbounds[0]].outputs
    for sample in feature_maps:
        judge.learn(learning_reference.patches(last.parameters, sample), 0)
    model.fit(batch, 0)
    assert_same(model, judge)
