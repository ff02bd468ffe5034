"""A network that went out to NIR and came back computes and holds the same integers."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from kerasnsoc.nsoc.network import NSoCNetwork
from kerasnsoc.nsoc.nir_io import from_nir, to_nir, write_nir
from tests.spiking_cores import core_graphs, run_steps

pytestmark = pytest.mark.keras
nir = pytest.importorskip("nir")


@settings(max_examples=12)  # each builds a Keras model
@given(
    graph=core_graphs(),
    dense_as=st.sampled_from(["affine", "conv"]),
    time_axis=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_model_of_a_file_computes_what_the_cores_do(
    tmp_path_factory, graph, dense_as, time_axis, seed
):
    path = tmp_path_factory.mktemp("nir") / "net.nir"
    write_nir(path, to_nir(graph, dense_as=dense_as))
    model = from_nir(path, time_axis=time_axis)
    steps = 3 if time_axis else 1
    spikes = np.random.default_rng(seed).integers(0, 3, (steps, *graph.input_shape))
    frames = spikes.transpose(0, 2, 3, 1).astype("float32")
    outputs = model(frames[None] if time_axis else frames)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    expected = run_steps(graph, spikes)
    assert len(outputs) == len(expected)
    for output, counts in zip(outputs, expected.values(), strict=True):
        got = np.asarray(output).reshape(steps, -1)
        assert_array_equal(got, counts.transpose(0, 2, 3, 1).reshape(steps, -1))


@settings(max_examples=20)
@given(graph=core_graphs(max_layers=4, square=False))
def test_integers_survive_the_file(tmp_path_factory, graph):
    path = tmp_path_factory.mktemp("nir") / "net.nir"
    write_nir(path, to_nir(graph, dense_as="conv"))
    nodes = nir.read(path, type_check=False).nodes
    for layer in graph.layers:
        names = [k for k in nodes if k.split("_")[0] == layer.name and not k.endswith("neurons")]
        slices = [nodes[name] for name in names if not name.endswith("pool")]
        weights = np.concatenate([node.weight for node in slices], axis=1)
        assert weights.dtype == np.int8
        assert_array_equal(weights, layer.weights)
        bias = sum(node.bias for node in slices)
        assert_array_equal(bias, 0 if layer.bias is None else layer.bias)
        neurons = nodes[f"{layer.name}_neurons"]
        assert neurons.v_threshold.dtype == np.float64
        assert_array_equal(neurons.v_threshold, np.full(layer.neuron_shape, layer.threshold))


@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])  # each builds a Keras model
@given(graph=core_graphs(), dense_as=st.sampled_from(["affine", "conv"]), time_axis=st.booleans())
def test_a_network_comes_back_from_nir_with_the_same_integers(graph, dense_as, time_axis):
    model = from_nir(to_nir(graph, dense_as=dense_as), time_axis=time_axis)
    back = {layer.name: layer for layer in NSoCNetwork(model, assume_integer=True).layers}
    assert set(back) == {layer.name for layer in graph.layers}
    for layer in graph.layers:
        other = back[layer.name]
        assert other.weights.dtype == np.int8
        assert_array_equal(other.weights, layer.weights)
        assert (other.bias is None) == (layer.bias is None)
        if layer.bias is not None:
            assert_array_equal(other.bias, layer.bias)
        for name in ("threshold", "min_v", "reset", "spike_fn", "stride", "padding"):
            assert getattr(other, name) == getattr(layer, name), name
        assert other.neuron_shape == layer.neuron_shape
        assert sorted(d.pooling for d in other.destinations) == sorted(
            d.pooling for d in layer.destinations
        )
