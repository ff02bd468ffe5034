"""Import from and export to NIR: what maps to what, and what is refused with which words."""

import builtins
import itertools
import sys

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer, Destination, DvsLayer
from kerasnsoc.nsoc.errors import (
    InvalidGraphError,
    NotDiscretizedError,
    UnsupportedLayerError,
)
from kerasnsoc.nsoc.nir_io import from_nir, to_nir, write_nir

nir = pytest.importorskip("nir")
needs_keras = pytest.mark.keras
rng = np.random.default_rng(0)


def spiking(shape, threshold=1.0, r=1.0):
    return nir.IF(r=np.full(shape, r), v_threshold=np.full(shape, threshold))


def convolution(features=3, channels=2, kernel=(3, 3), shape=(6, 6), **options):
    arguments = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    return nir.Conv2d(
        input_shape=shape,
        weight=rng.normal(size=(features, channels, *kernel)),
        bias=rng.normal(size=features),
        **arguments | options,
    )


def chain(*nodes, input_shape=(2, 6, 6), output_shape=(1,)):
    """A graph of unnamed nodes, types unchecked as in files of other writers."""
    named = {"input": nir.Input(np.array(input_shape))}
    named |= {f"{type(node).__name__.lower()}_{i}": node for i, node in enumerate(nodes)}
    named["output"] = nir.Output(np.array(output_shape))
    edges = list(itertools.pairwise(named))
    return nir.NIRGraph(nodes=named, edges=edges, type_check=False)


def core(**changes):
    arguments = {
        "index": 0,
        "name": "conv",
        "weights": rng.integers(-9, 10, (3, 2, 3, 3)).astype("i1"),
        "bias": None,
        "stride": (1, 1),
        "padding": (1, 1),
        "in_shape": (2, 6, 6),
        "neuron_shape": (3, 6, 6),
        "threshold": 20,
        "min_v": -20,
        "destinations": (Destination(None),),
        "sources": ("input",),
        "quant_scale": 4.0,
    }
    return CoreLayer(**arguments | changes)


def graph_of(*layers, **options):
    arguments = {"input_shape": (2, 6, 6), "input_destinations": (Destination(0),)}
    return CoreGraph(layers, **arguments | options)


def outputs_of(model, x):
    return model.predict(x.astype("float32"), verbose=0)


def correlate(node, x_chw):
    """What a Conv2d node computes, on one image, in float64."""
    weight, groups = node.weight, node.groups
    (sy, sx), (dy, dx) = node.stride, node.dilation
    ky, kx = weight.shape[2:]
    if node.padding == "same":
        before = [(d * (k - 1)) // 2 for d, k in ((dy, ky), (dx, kx))]
        after = [d * (k - 1) - b for d, k, b in zip((dy, dx), (ky, kx), before, strict=True)]
        pads = list(zip(before, after, strict=True))
    else:
        padding = 0 if node.padding == "valid" else node.padding
        pads = [(p, p) for p in np.broadcast_to(padding, 2)]
    x = np.pad(x_chw, ((0, 0), *pads))
    height = (x.shape[1] - dy * (ky - 1) - 1) // sy + 1
    width = (x.shape[2] - dx * (kx - 1) - 1) // sx + 1
    y = np.zeros((weight.shape[0], height, width))
    per_group = weight.shape[0] // groups
    for f in range(weight.shape[0]):
        group = f // per_group
        for c in range(weight.shape[1]):
            for i in range(ky):
                for j in range(kx):
                    taps = x[group * weight.shape[1] + c, i * dy :: sy, j * dx :: sx]
                    y[f] += weight[f, c, i, j] * taps[:height, :width]
    return y + node.bias[:, None, None]


@needs_keras
@pytest.mark.parametrize(
    "options",
    [
        {"kernel": (2, 3), "padding": (1, 2), "stride": (2, 1)},
        {"kernel": (2, 4), "padding": "same"},
        {"kernel": (3, 3), "padding": "valid", "dilation": (2, 1)},
        {"kernel": (2, 2), "padding": 1, "stride": np.array([2, 2])},
        {"channels": 1, "groups": 2, "features": 4},
    ],
)
def test_convolutions(options):
    node = convolution(**options)
    model = from_nir(chain(node, output_shape=(3, 6, 6)), time_axis=False)
    x = rng.normal(size=(2, 6, 6))
    expected = correlate(node, x).transpose(1, 2, 0)
    # float32 sums against float64 ones
    assert_allclose(outputs_of(model, x.transpose(1, 2, 0)[None])[0], expected, atol=1e-5)


@needs_keras
def test_flatten_keeps_the_order_of_weights_and_of_outputs():
    weight = rng.normal(size=(4, 24))
    x = rng.normal(size=(2, 3, 4))
    flatten = nir.Flatten({"input": np.array((2, 3, 4))}, start_dim=0, end_dim=-1)
    dense = chain(flatten, nir.Linear(weight=weight), input_shape=(2, 3, 4))
    frame = x.transpose(1, 2, 0)[None]
    got = outputs_of(from_nir(dense, time_axis=False), frame)[0]
    # float32 sums against float64 ones
    assert_allclose(got, weight @ x.ravel(), atol=1e-5)
    bare = from_nir(chain(flatten, input_shape=(2, 3, 4)), time_axis=False)
    assert_array_equal(outputs_of(bare, frame)[0], x.astype("f4").ravel())


@needs_keras
def test_scale_and_resistance_are_folded_into_weights():
    weight, bias = rng.integers(-8, 8, (3, 4)) / 4, np.array([1.0, 2.0, 3.0])
    x = np.array([[1.0, -2.0, 3.0, 4.0]])
    scale = nir.Scale(scale=np.full(4, 0.5))
    before = from_nir(
        chain(scale, nir.Affine(weight=weight, bias=bias), input_shape=(4,)), time_axis=False
    )
    assert_array_equal(outputs_of(before, x)[0], weight @ (x[0] / 2) + bias)
    behind = chain(nir.Affine(weight=weight, bias=bias), spiking((3,), 1.0, 4.0), input_shape=(4,))
    kernel, biases = from_nir(behind, time_axis=False).layers[1].get_weights()
    assert_array_equal(kernel, 4 * weight.T)
    assert_array_equal(biases, 4 * bias)


@needs_keras
def test_sum_and_average_pooling():
    window = {"kernel_size": np.array([2, 3]), "stride": np.array([2, 3])}
    for node in (nir.SumPool2d, nir.AvgPool2d):
        pool = node(**window, padding=np.array([0, 0]))
        model = from_nir(chain(pool, input_shape=(1, 5, 6)), time_axis=False)
        x = rng.integers(0, 9, (5, 6))
        sums = x[:4].reshape(2, 2, 2, 3).sum((1, 3))
        expected = sums if node is nir.SumPool2d else sums / 6
        # a mean of six may round in float32
        assert_allclose(outputs_of(model, x[None, :, :, None])[0, ..., 0], expected, rtol=1e-6)


@needs_keras
def test_neurons_take_reset_and_lower_bound_from_the_arguments():
    graph = chain(nir.Linear(weight=np.eye(2)), spiking((2,), 3.0), input_shape=(2,))
    neuron = from_nir(graph).layers[-1]
    assert (neuron.threshold, neuron.min_v, neuron.reset) == (3.0, -3.0, "subtract")
    assert neuron.spike_fn == "multi"
    assert neuron.time_axis
    neuron = from_nir(graph, reset="zero", min_v=None, dt=0.01, batch=4, time_axis=False).layers[-1]
    assert (neuron.min_v, neuron.reset, neuron.dt) == (None, "zero", 0.01)
    assert neuron.output.shape == (4, 2)


@needs_keras
def test_thresholds_that_differ_are_refused_or_averaged():
    node = nir.IF(r=np.ones(2), v_threshold=np.array([1.0, 2.0]))
    graph = chain(nir.Linear(weight=np.eye(2)), node, input_shape=(2,))
    with pytest.raises(UnsupportedLayerError, match=r"'if_1'.*between 1 and 2.*collapse_threshold"):
        from_nir(graph)
    assert from_nir(graph, collapse_threshold="mean").layers[-1].threshold == 1.5


@needs_keras
def test_leaky_neurons_only_on_request():
    node = nir.LIF(
        tau=np.full(2, 0.02), r=np.ones(2), v_leak=np.zeros(2), v_threshold=np.full(2, 0.5)
    )
    graph = chain(nir.Linear(weight=np.eye(2)), node, input_shape=(2,))
    with pytest.raises(UnsupportedLayerError, match=r"of type LIF has no counterpart.*allow_lif"):
        from_nir(graph)
    layer = from_nir(graph, allow_lif=True, dt=0.001).layers[-1]
    assert (type(layer).__name__, layer.tau, layer.threshold) == ("LIF", 0.02, 0.5)


@needs_keras
def test_nested_graphs_are_dissolved_and_branches_added():
    inner = chain(nir.Linear(weight=np.eye(3) * 2), input_shape=(3,), output_shape=(3,))
    graph = nir.NIRGraph(
        nodes={
            "input": nir.Input(np.array([3])),
            "block": inner,
            "neurons": spiking((3,), 2.0),
            "last": nir.Linear(weight=np.ones((1, 3))),
            "output": nir.Output(np.array([1])),
        },
        edges=[
            ("input", "block"),
            ("block", "neurons"),
            ("input", "last"),
            ("neurons", "last"),
            ("last", "output"),
        ],
        type_check=False,
    )
    model = from_nir(graph, time_axis=False)
    assert "block_linear_0" in [layer.name for layer in model.layers]
    assert outputs_of(model, np.array([[1, 2, 3]])) == [[6 + 1 + 2 + 3]]


@needs_keras
@pytest.mark.parametrize(
    ("node", "message"),
    [
        (nir.Conv1d(6, np.ones((1, 2, 3)), 1, 0, 1, 1, np.zeros(1)), "Conv1d.*Conv2d of height 1"),
        (nir.Delay(np.ones(1)), "Delay.*no delays"),
        (nir.I(np.ones(1)), "type I .*IF neurons"),
        (nir.LI(np.ones(1), np.ones(1), np.zeros(1)), "type LI .*IF neurons"),
        (nir.Threshold(np.ones(1)), "Threshold.*IF neurons"),
        (
            nir.CubaLIF(*(np.ones(1) for _ in range(5))),
            "CubaLIF.*no synaptic filters",
        ),
        (nir.Scale(np.array([1.0, 2.0])), r"scale of NIR node 'scale_0' \(Scale\) has 2 values"),
        (
            nir.SumPool2d(np.array([3, 3]), np.array([2, 2]), np.array([0, 0])),
            r"kernel \(3, 3\), stride \(2, 2\).*neither overlap",
        ),
        (convolution(padding="same", stride=(2, 2)), "padding .* is 'same' with stride"),
        (
            nir.Flatten({"input": np.array((2, 6, 6))}, start_dim=1, end_dim=-1),
            "start_dim=0, end_dim=-1",
        ),
        (
            nir.IF(np.ones(1), np.ones(1), np.full(1, 0.5)),
            "v_reset .* is not 0.*Shift the potentials",
        ),
        (spiking((2, 6, 6), threshold=-1.0), "v_threshold .* is -1.*above 0"),
        (spiking((2, 6, 6), r=2.0), "its input times 2.*next to a Conv2d, Affine or Linear"),
    ],
)
def test_nodes_without_a_counterpart(node, message):
    with pytest.raises(UnsupportedLayerError, match=message):
        from_nir(chain(node))


@needs_keras
@pytest.mark.parametrize(
    ("node", "message"),
    [
        (convolution(channels=3), r"weights of shape \(3, 3, 3, 3\).*2 channels"),
        (convolution(kernel=(7, 7)), r"kernel \(7, 7\).*does not fit"),
        (nir.Linear(weight=np.ones((1, 72))), r"gets an image \(2, 6, 6\). Put a Flatten"),
        (
            nir.AvgPool2d(np.array([7, 1]), np.array([7, 1]), np.array([0, 0])),
            r"window \(7, 1\).*does not fit",
        ),
    ],
)
def test_shapes_that_do_not_fit(node, message):
    with pytest.raises(InvalidGraphError, match=message):
        from_nir(chain(node))


@needs_keras
@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")], "has a cycle: "),
        ([("input", "a"), ("a", "nowhere"), ("b", "output")], "edge at 'nowhere'"),
        ([("input", "a"), ("a", "output"), ("b", "output")], r"'b' \(Linear\) has no source"),
        ([("input", "a"), ("a", "b"), ("a", "output")], r"nothing takes what NIR node 'b'"),
        ([("input", "a"), ("input", "a"), ("a", "b"), ("b", "output")], "'input' -> 'a' twice"),
    ],
)
def test_graphs_that_are_not_wired(edges, message):
    nodes = {
        "input": nir.Input(np.array([2])),
        "a": nir.Linear(weight=np.eye(2)),
        "b": nir.Linear(weight=np.eye(2)),
        "output": nir.Output(np.array([2])),
    }
    with pytest.raises(InvalidGraphError, match=message):
        from_nir(nir.NIRGraph(nodes=nodes, edges=edges, type_check=False))


@needs_keras
def test_arguments_are_checked():
    graph = chain(nir.Linear(weight=np.eye(2)), input_shape=(2,))
    for arguments in ({"reset": "none"}, {"min_v": "threshold"}, {"collapse_threshold": "max"}):
        (name,) = arguments
        with pytest.raises(ValueError, match=f"{name} is .* must be one of"):
            from_nir(graph, **arguments)
    with pytest.raises(TypeError, match=r"nir.NIRGraph or the path"):
        from_nir(3)
    with pytest.raises(UnsupportedLayerError, match=r"the shape \(3, 4\), but inputs are images"):
        from_nir(chain(nir.Linear(weight=np.eye(2)), input_shape=(3, 4)))


def test_integers_or_floats():
    layer = core(bias=np.array([1, 2, 3], "i2"))
    nodes = to_nir(graph_of(layer)).nodes
    assert (nodes["conv"].weight.dtype, nodes["conv"].bias.dtype) == (np.int8, np.int16)
    assert_array_equal(nodes["conv_neurons"].v_threshold, np.full((3, 6, 6), 20.0))
    nodes = to_nir(graph_of(layer), quantized=False).nodes
    assert_array_equal(nodes["conv"].weight, (layer.weights / 4).astype("f4"))
    assert_array_equal(nodes["conv"].bias, np.array([0.25, 0.5, 0.75], "f4"))
    assert_array_equal(nodes["conv_neurons"].v_threshold, np.full((3, 6, 6), 5.0))


def test_floats_cannot_be_exported_as_integers():
    layer = core(weights=np.ones((3, 2, 3, 3), "f4"), threshold=1.0, min_v=None, quant_scale=None)
    assert to_nir(graph_of(layer)).nodes["conv"].weight.dtype == np.float32
    with pytest.raises(NotDiscretizedError, match="conv: the network holds floats"):
        to_nir(graph_of(layer), quantized=True)
    with pytest.raises(ValueError, match="strict_threshold=True moves"):
        to_nir(graph_of(core()), quantized=False, strict_threshold=True)


@needs_keras
def test_strict_threshold_is_undone_by_the_notes():
    graph = to_nir(graph_of(core(reset="zero", min_v=-7)), strict_threshold=True)
    assert (graph.nodes["conv_neurons"].v_threshold == 19.5).all()
    neuron = from_nir(graph).layers[-1]
    assert (neuron.threshold, neuron.min_v, neuron.reset) == (20.0, -7.0, "zero")
    neuron = from_nir(graph, use_metadata=False).layers[-1]
    assert (neuron.threshold, neuron.min_v, neuron.reset) == (19.5, -19.5, "subtract")


def test_the_sensor_layer_is_refused_unless_it_only_pools():
    def graph(**options):
        block = DvsLayer((12, 12), pool=(2, 2), destinations=(Destination(0),), **options)
        return graph_of(core(), dvs=block, input_shape=(2, 12, 12), input_destinations=())

    nodes = to_nir(graph()).nodes
    assert type(nodes["input_pool"]).__name__ == "SumPool2d"
    assert_array_equal(nodes["input"].output_type["output"], [2, 12, 12])
    with pytest.raises(UnsupportedLayerError, match=r"does flip_x, swap_xy.*dvs='drop'"):
        to_nir(graph(flip_x=True, swap_xy=True))
    dropped = to_nir(graph(flip_x=True), dvs="drop")
    assert "input_pool" not in dropped.nodes
    assert_array_equal(dropped.nodes["input"].output_type["output"], [2, 6, 6])
    with pytest.raises(ValueError, match="dvs is 'keep'"):
        to_nir(graph(), dvs="keep")


def test_an_initial_state_goes_to_the_notes_with_a_warning():
    state = np.full((3, 6, 6), 5, "i2")
    with pytest.warns(UserWarning, match="conv: its potentials do not start at 0"):
        graph = to_nir(graph_of(core(initial_state=state)))
    assert_array_equal(graph.metadata["kerasnsoc"]["nodes"]["conv_neurons"]["initial_state"], state)


def test_files_hold_nothing_that_the_oldest_reader_does_not_know(tmp_path):
    path = tmp_path / "net.nir"
    write_nir(path, to_nir(graph_of(core())))
    with h5py.File(path) as file:
        neurons = file["node/nodes/conv_neurons"]
        # nir 1.0.4: no reset potential, no metadata except of the graph
        assert set(neurons) == {"r", "v_threshold", "type"}
        assert "metadata" not in file["node/nodes/conv"]
        assert file["node/metadata/kerasnsoc/nodes/conv_neurons/min_v"][()] == -20
    assert (nir.read(path).nodes["conv_neurons"].v_reset == 0).all()


def test_a_reset_potential_other_than_zero_stays_in_the_file(tmp_path):
    path = tmp_path / "net.nir"
    write_nir(path, chain(nir.IF(np.ones(2), np.ones(2), np.full(2, 0.5)), input_shape=(2,)))
    assert (nir.read(path, type_check=False).nodes["if_0"].v_reset == 0.5).all()


def test_names_with_a_slash_do_not_become_folders(tmp_path):
    write_nir(tmp_path / "net.nir", to_nir(graph_of(core(name="a/b"))))
    assert {"a_b", "a_b_neurons"} <= set(nir.read(tmp_path / "net.nir").nodes)


def test_a_missing_library_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without_nir(name, *args, **kwargs):
        if name == "nir":
            raise ImportError("No module named 'nir'", name="nir")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "nir")
    monkeypatch.setattr(builtins, "__import__", without_nir)
    monkeypatch.setattr("importlib.import_module", without_nir)
    with pytest.raises(ImportError, match=r'pip install "kerasnsoc\[nir\]"'):
        to_nir(graph_of(core()))
