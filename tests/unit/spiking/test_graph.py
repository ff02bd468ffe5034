"""The private parts of Keras that one module reads are still there, and mean what they meant."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

from kerasnsoc.spiking import _graph  # noqa: E402
from kerasnsoc.spiking.layers import Lowpass  # noqa: E402
from tests.unit.spiking.helpers import numbers, uniform  # noqa: E402

pytestmark = pytest.mark.keras


def branched():
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3), layers.ReLU()], name="inner")
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    left, right = inner(a), inner(layers.Dropout(0.9)(b))
    return keras.Model([a, b], layers.Add()([left, right, left]))


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        ("functional", ["_nodes_by_depth", "_standardize_inputs", "_flatten_layers"]),
        ("sequential", ["_functional"]),
        ("layer", ["_inbound_nodes", "_call_has_training_arg"]),
        ("node", ["operation", "arguments", "outputs", "input_tensors", "is_input"]),
    ],
)
def test_private_names(owner, names):
    model = branched()
    inner = model.get_layer("inner")
    owners = {
        "functional": model,
        "sequential": inner,
        "layer": inner,
        "node": inner._inbound_nodes[0],
    }
    missing = [name for name in names if not hasattr(owners[owner], name)]
    assert not missing, (
        f"Keras {keras.__version__} has no {', '.join(missing)} any more: "
        "kerasnsoc/spiking/_graph.py must find another way"
    )


def test_a_graph_runs_as_the_model_does():
    model = branched()
    x = [uniform(4, 3), uniform(4, 3, seed=1)]
    visited = []
    (y,) = _graph.run(model, x, lambda taken, given: visited.append((taken, given)))
    assert_allclose(numbers(y), numbers(model(x)), rtol=1e-6)
    nodes = [node.operation.name for node in _graph.nodes_of(model)]
    assert nodes.count("inner") == 2
    # Own nodes, and those of the model inside at each of its uses.
    assert len(visited) == len(nodes) + 2 * 3
    assert sum(not given for _, given in visited) == 2


def test_every_layer_is_in_the_inference_phase_as_in_predict():
    x = keras.Input((50,))
    inner = keras.Sequential([keras.Input((50,)), layers.Dropout(0.5)])
    model = keras.Model(
        x, [inner(x), layers.Dropout(0.5)(x), layers.Dropout(0.5)(x, training=True)]
    )
    ones = np.ones((2, 50), "float32")
    found = _graph.run(model, ones, lambda taken, given: None)
    for ours, theirs in zip(found, model.predict(ones, verbose=0), strict=True):
        assert_array_equal(numbers(ours), ones)
        assert_array_equal(theirs, ones)


def test_layers_at_any_depth():
    filters = [Lowpass(0.1, name=f"filter{i}") for i in range(3)]
    inner = keras.Sequential([keras.Input((4, 3)), filters[0]])
    model = keras.Sequential(
        [keras.Input((2, 4, 3)), layers.TimeDistributed(inner), layers.TimeDistributed(filters[1])]
    )
    found = _graph.flat_layers(model)
    assert filters[0] in found
    assert filters[1] in found
    assert filters[2] not in found
    assert len({id(layer) for layer in found}) == len(found)
