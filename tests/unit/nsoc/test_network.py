"""Networks: numbers on the host, configurations, monitors, states, twins, files."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from kerasnsoc.nsoc import NSoCNetwork, devices, get_device, raster_to_events, register_device
from kerasnsoc.nsoc.config import CoreConfig, GradedCoreConfig, NSoCConfig
from kerasnsoc.nsoc.core_graph import CoreGraph, Destination, DvsLayer
from kerasnsoc.nsoc.emulator_input import packets_from_frames
from kerasnsoc.nsoc.emulator_warnings import SaturationWarning
from kerasnsoc.nsoc.errors import (
    ConfigValidationError,
    EnergyOnlyDeviceError,
    InputConfigurationError,
    MappingError,
    NotDiscretizedError,
    NotMappedError,
    TooManyDestinationsError,
    UnknownDeviceError,
    UnsupportedLayerError,
)
from kerasnsoc.nsoc.events import EVENT_DTYPE
from kerasnsoc.nsoc.network import DynapcnnCompatibleNetwork, DynapcnnNetwork, neural_processors
from kerasnsoc.nsoc.network_file import NetworkFileError
from kerasnsoc.nsoc.readout import extend_readout_layer
from kerasnsoc.runtime import Model
from tests.nsoc_graphs import chain, core_layer, random_graph


def reference(graph, frames):
    """One sample, position by position, in Python integers: section 3.5, packet mode."""
    states = {w.index: _start(w) for w in graph.layers}
    results = []
    for frame in frames:
        sent = {w.index: np.zeros(w.in_shape, object) for w in graph.layers}
        port = graph.input_destinations
        if graph.dvs is not None:
            frame, port = _sensor(graph.dvs, frame), graph.dvs.destinations
        _send(frame, port, sent)
        for w in graph.layers:
            counts = np.zeros(w.neuron_shape, object)
            v = states[w.index]
            for f, y, x in np.ndindex(*w.neuron_shape):
                total = int(v[f, y, x]) + (0 if w.bias is None else int(w.bias[f]))
                for c, ky, kx in np.ndindex(*w.weights.shape[1:]):
                    iy, ix = (
                        y * w.stride[0] + ky - w.padding[0],
                        x * w.stride[1] + kx - w.padding[1],
                    )
                    if 0 <= iy < w.in_shape[1] and 0 <= ix < w.in_shape[2]:
                        total += int(w.weights[f, c, ky, kx]) * int(sent[w.index][c, iy, ix])
                total = min(max(total, -(2**15)), 2**15 - 1)
                n = max(total // w.threshold, 0)
                total = total - n * w.threshold if w.reset == "subtract" else 0 if n else total
                v[f, y, x], counts[f, y, x] = max(total, w.min_v), n
            _send(counts, w.destinations, sent)
            if w.index in graph.exits:
                py, px = next(d.pooling for d in w.destinations if d.target is None)
                features, height, width = counts.shape
                pooled = np.zeros((features, height // py, width // px), object)
                for f, y, x in np.ndindex(features, height // py * py, width // px * px):
                    pooled[f, y // py, x // px] += counts[f, y, x]
                results.append(pooled)
    return np.array(results, np.int64)


def _start(w):
    zero = np.zeros(w.neuron_shape, np.int64)
    return zero if w.initial_state is None else w.initial_state.astype(np.int64)


def _send(counts, destinations, sent):
    for d in destinations:
        if d.target is None:
            continue
        py, px = d.pooling
        features, height, width = counts.shape
        for f, y, x in np.ndindex(features, height // py * py, width // px * px):
            sent[d.target][f + d.feature_shift, y // py, x // px] += counts[f, y, x]


def _sensor(dvs, frame):
    out = np.zeros(dvs.output_shape, object)
    (top, bottom), (left, right) = dvs.window
    for c, y, x in np.ndindex(*frame.shape):
        c1, y1, x1 = 0 if dvs.merge else c, y // dvs.pool[0], x // dvs.pool[1]
        if not (top <= y1 < bottom and left <= x1 < right):
            continue
        y2, x2 = y1 - top, x1 - left
        y2 = bottom - top - 1 - y2 if dvs.flip_y else y2
        x2 = right - left - 1 - x2 if dvs.flip_x else x2
        out[(c1, x2, y2) if dvs.swap_xy else (c1, y2, x2)] += frame[c, y, x]
    return out


@pytest.mark.filterwarnings("ignore::kerasnsoc.nsoc.SaturationWarning")
@given(st.integers(0, 2**16))
def test_the_host_computes_the_definition(seed):
    graph = random_graph(seed)
    if np.prod(graph.input_shape) > 160:
        graph = random_graph(seed % 7)
    frames = np.random.default_rng(seed).poisson(0.8, (2, *graph.input_shape))
    if np.prod(graph.input_shape) > 300:
        return
    counts = NSoCNetwork(graph)(frames, data_format="channels_first")
    assert_array_equal(counts, reference(graph, frames))


@pytest.mark.filterwarnings("ignore::kerasnsoc.nsoc.SaturationWarning")
@given(st.integers(0, 2**16))
def test_the_emulated_mesh_fires_what_the_host_fires(seed):
    graph = random_graph(seed)
    if graph.dvs is not None:
        graph = replace(graph, dvs=replace(graph.dvs, destinations=(Destination(0),)))
    layers = list(graph.layers)
    layers[-1] = replace(layers[-1], destinations=(Destination(None),))
    graph = replace(graph, layers=tuple(layers))

    def keep_potentials(config):
        config.numeric.persistent = True
        return config

    frames = np.random.default_rng(seed).poisson(0.8, (3, *graph.input_shape))
    host = NSoCNetwork(graph)
    counts = host(frames, data_format="channels_first")
    if graph.dvs is not None:
        return  # a mesh has no sensor layer
    chip = NSoCNetwork(graph)
    chip.to("akd1000", config_modifier=keep_potentials)
    packets = packets_from_frames(frames.transpose(0, 2, 3, 1), 1000.0)
    spikes = chip(packets)
    total = np.zeros(counts.shape[1:], np.int64)
    np.add.at(total, (spikes["c"], spikes["y"], spikes["x"]), spikes["n"])
    assert_array_equal(total, counts.sum(axis=0))
    for index, state in host.state_dict().items():
        assert_array_equal(chip.state_dict()[index], state)


def test_the_host_says_where_potentials_are_cut_off():
    layer = core_layer(in_shape=(1, 1, 1), kernel=1, features=1, threshold=30_000)
    graph = CoreGraph((layer,), (1, 1, 1), None, (Destination(0),))
    network = NSoCNetwork(replace(graph, layers=(replace(layer, spike_fn="single"),)))
    with pytest.warns(SaturationWarning, match="'layer0' 1 times"):
        network(np.full((1, 1, 1, 1), 40_000))
    assert network.state_dict()[0].tolist() == [[[32_767 - 30_000]]]
    network(np.full((1, 1, 1, 1), 40))  # no further warning


def test_a_host_that_is_given_events_says_what_to_do():
    network = NSoCNetwork(chain(1))
    with pytest.raises(ValueError, match="events_to_raster makes them"):
        network(np.zeros(3, EVENT_DTYPE))


def test_a_network_in_several_passes_runs_where_to_puts_it():
    frames = np.random.default_rng(0).poisson(0.5, (4, 6, 6, 1))
    graph = chain(3, side=6, features=3, threshold=20, min_v=-20)
    spec = get_device("loihi")
    small = replace(spec, name="two-cores", cores=spec.cores[:2], layer_delay=0)
    before = dict(devices._devices)
    register_device(small)
    try:
        network = NSoCNetwork(graph)
        with pytest.raises(MappingError, match="allow_multipass"):
            network.to("two-cores")
        network.to("two-cores", allow_multipass=True)
        result = network.forward(packets_from_frames(frames, 10), return_result=True)
        host = NSoCNetwork(graph)
        assert_array_equal(result.outputs[2], host(frames))
        assert [entry["layers"] for entry in result.passes] == [[0, 1], [2]]
        for index, state in host.state_dict().items():
            assert_array_equal(network.state_dict()[index], state)
    finally:
        devices._devices.clear()
        devices._devices.update(before)


def test_long_sequences_are_cut_without_a_trace(monkeypatch):
    graph = random_graph(5)
    frames = np.random.default_rng(0).poisson(0.5, (2, 9, *graph.input_shape))
    whole = NSoCNetwork(graph)(frames, data_format="channels_first")
    monkeypatch.setattr("kerasnsoc.nsoc.host._CHUNK_VALUES", 1)
    assert_array_equal(NSoCNetwork(graph)(frames, data_format="channels_first"), whole)


def test_leading_axes_and_layout_are_those_of_the_input():
    network = NSoCNetwork(chain(features=3))
    frames = np.random.default_rng(0).poisson(1.0, (2, 5, 8, 8, 1))
    out = network(frames)
    assert out.shape == (2, 5, 8, 8, 3)
    network.reset_states()
    first = network.forward(frames.transpose(0, 1, 4, 2, 3), "channels_first")
    assert_array_equal(first.transpose(0, 1, 3, 4, 2), out)
    network.reset_states()
    assert_array_equal(network(frames[0]), out[0])
    network.reset_states()
    assert network(frames[:, :0]).shape == (2, 0, 8, 8, 3)


def test_potentials_persist_between_calls():
    network, other = NSoCNetwork(chain()), NSoCNetwork(chain())
    frames = np.random.default_rng(0).poisson(0.5, (6, 8, 8, 1))
    halves = np.concatenate([network(frames[:3]), network(frames[3:])])
    assert_array_equal(halves, other(frames))
    with pytest.raises(ValueError, match=r"those of 1 samples, but 2 arrive. Call reset_states"):
        network(np.stack([frames, frames]))


def test_several_exits_answer_by_layer():
    graph = chain()
    first = replace(graph.layers[0], destinations=(Destination(1), Destination(None)))
    network = NSoCNetwork(replace(graph, layers=(first, graph.layers[1]), output_scale={1: 0.5}))
    outputs = network(np.ones((3, 8, 8, 1), int))
    assert sorted(outputs) == network.exit_layers == [0, 1]
    assert network.output_scale == {0: 1.0, 1: 0.5}


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.zeros((8, 8, 1)), {}, r"must be \(T, \*\(8, 8, 1\)\) or \(batch"),
        (np.zeros((1, 8, 8, 2)), {}, r"shape \(1, 8, 8, 2\)"),
        (np.full((1, 8, 8, 1), 0.5), {}, "no whole spike counts"),
        (np.zeros((1, 8, 8, 1), "c8"), {}, "complex64"),
        (np.zeros((1, 8, 8, 1)), {"data_format": "x"}, "data_format is 'x'"),
        (np.zeros((1, 8, 8, 1)), {"return_result": True}, "need an emulated chip"),
        (np.zeros((1, 8, 8, 1)), {"t_end": 3}, "need an emulated chip"),
    ],
)
def test_what_the_host_does_not_take(x, options, message):
    with pytest.raises(ValueError, match=message):
        NSoCNetwork(chain())(x, **options)


def test_sums_that_floats_cannot_hold_are_refused():
    network = NSoCNetwork(chain())
    with pytest.raises(OverflowError, match="layer0: counts of up to"):
        network(np.full((1, 8, 8, 1), 2**50))


# --- devices and configurations -------------------------------------------------------------------


def test_before_a_placement_there_is_no_core():
    network = NSoCNetwork(chain())
    assert (network.chip_layers_ordering, network.layer2core_map, network.config) == ([], {}, None)
    for question in (
        lambda: network.find_chip_layer(0),
        lambda: network.memory_summary(per_core=True),
    ):
        with pytest.raises(NotMappedError, match="call make_config"):
            question()


def test_a_configuration_is_made_stored_and_asked():
    network = NSoCNetwork(chain(3))
    config = network.make_config(device="speck2fdevkit:1")
    assert network.config is config
    assert (config.device.name, config.device.index) == ("speck2fdevkit", 1)
    assert network.chip_layers_ordering == [0, 1, 2]
    assert network.layer2core_map == {0: 0, 1: 1, 2: 2}
    assert [network.find_chip_layer(i) for i in (0, -1, -3)] == [0, 2, 0]
    with pytest.raises(IndexError, match="layer 3 does not exist; there are 3"):
        network.find_chip_layer(3)
    fill = network.memory_summary(per_core=True)
    assert fill["core"] == [0, 1, 2]
    assert fill["kernel_fill"][0] == network.memory_summary()["kernel"][0] / 16384
    assert network.memory_summary(as_dict=True)["neuron"] == {0: 128, 1: 128, 2: 128}
    assert network.device == "cpu"
    network.make_config([8, 7, 3], "speck2fdevkit")
    assert network.chip_layers_ordering == [8, 7, 3]
    network.make_config(device="speck2fdevkit", layer2core_map={0: 2, 1: 1, 2: 0})
    assert network.chip_layers_ordering == [2, 1, 0]


@pytest.mark.parametrize(
    ("ordering", "options", "message"),
    [
        ("best", {}, "chip_layers_ordering is 'best', but it must be 'auto'"),
        ([0, 1], {"layer2core_map": {0: 0, 1: 1}}, "not both"),
    ],
)
def test_an_ordering_must_be_one(ordering, options, message):
    with pytest.raises(ValueError, match=message):
        NSoCNetwork(chain()).make_config(ordering, "speck2f", **options)


def test_the_slow_clock_and_its_warning():
    network = NSoCNetwork(chain(bias=np.array([-1, 0], np.int16)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network.make_config(device="speck2f")
    assert [str(w.message)[:27] for w in caught] == [
        "R23 layer0: it has biases, ",
        "R23 layer1: it has biases, ",
    ]
    assert network.make_config(device="speck2f", slow_clk_frequency=5.0).slow_clock_hz == 5.0


def test_the_modifier_runs_before_validation():
    network = NSoCNetwork(chain())

    def change(config):
        config.cores[0].threshold_high = 99
        return config

    assert (
        network.make_config(device="speck2f", config_modifier=change).cores[0].threshold_high == 99
    )
    with pytest.raises(TypeError, match="config_modifier returned NoneType"):
        network.make_config(device="speck2f", config_modifier=lambda config: None)

    def spoil(config):
        config.cores[0].threshold_high = 0
        return config

    with pytest.raises(ConfigValidationError, match="1 problem on 'speck2f': R10 layer0") as caught:
        network.make_config(device="speck2f", config_modifier=spoil)
    assert caught.value.problems[0].code == "R10"


def test_compatibility_changes_nothing_and_explains_itself():
    network = NSoCNetwork(chain())
    assert network.is_compatible_with("speck2f")
    assert network.chip_layers_ordering == []
    assert network.incompatibilities("speck2f") == []
    with pytest.raises(UnknownDeviceError):
        network.is_compatible_with("nonsense")
    (problem,) = network.incompatibilities("truenorth")
    assert problem.code == "device"
    with pytest.raises(EnergyOnlyDeviceError):
        network.make_config(device="truenorth")


def test_a_network_that_does_not_fit_says_all_of_it():
    graph = chain(2, pooling=3, side=9)
    network = NSoCNetwork(graph)
    assert [p.code for p in network.incompatibilities("speck2f")] == ["R12", "R12"]
    assert not network.is_compatible_with("speck2f")
    with pytest.raises(ConfigValidationError, match="R12 layer0: pooling 3x3"):
        network.make_config(device="speck2f")
    wide = NSoCNetwork(
        CoreGraph(
            (core_layer(features=4, in_shape=(1, 70, 70)),), (1, 70, 70), None, (Destination(0),)
        )
    )
    assert [p.code for p in wide.incompatibilities("speck2f")] == ["R06"]
    many = NSoCNetwork(chain(10))
    (problem,) = many.incompatibilities("speck2f")
    assert problem.code == "mapping"
    with pytest.raises(MappingError, match="No valid mapping found"):
        many.make_config(device="speck2f")
    both = NSoCNetwork(chain(10, stride=1, threshold=2**15))
    with pytest.raises(MappingError, match=r"^No valid mapping found.* broken too: R10 layer0"):
        both.make_config(device="speck2f")


def test_three_destinations_are_too_many_for_a_speck():
    graph = chain(2)
    first = replace(graph.layers[0], destinations=(Destination(1),) * 3)
    network = NSoCNetwork(replace(graph, layers=(first, graph.layers[1])))
    with pytest.raises(TooManyDestinationsError, match="layer0: it feeds the 3 layers"):
        network.make_config(device="speck2f")
    assert "R13" in [p.code for p in network.incompatibilities("speck2f")]
    assert network.is_compatible_with("loihi")


def test_multipass_reaches_the_configuration():
    layers = [
        core_layer(
            i,
            features=100,
            in_shape=(100 if i else 1, 1, 12000),
            kernel=1,
            destinations=(Destination(None if i else 1),),
            sources=("input",) if not i else (0,),
        )
        for i in range(2)
    ]
    network = NSoCNetwork(CoreGraph(tuple(layers), (1, 1, 12000), None, (Destination(0),)))
    assert neural_processors(network, "akd1000") == [47, 47]
    with pytest.raises(MappingError, match="at least 94 neural processors"):
        network.make_config(device="akd1000")
    with pytest.warns(UserWarning, match="R27 .* forget their potentials"):
        config = network.make_config(device="akd1000", allow_multipass=True)
    assert [record.pass_index for record in config.cores] == [0, 1]
    assert network.memory_summary(per_core=True)["neural_processors"][1][0] == 0


# --- monitors -------------------------------------------------------------------------------------


def monitored(network, layers, device="speck2f"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = network.make_config(device=device, monitor_layers=layers)
    return [record.layer_index for record in config.cores if record.monitor_enable]


def test_monitors():
    network = NSoCNetwork(chain(4))
    wanted = [0, -2]
    assert monitored(network, wanted) == [0, 2]
    assert wanted == [0, -2]
    assert monitored(network, None) == [3]
    assert monitored(network, [-1]) == [3]
    assert monitored(network, "all") == [0, 1, 2, 3]
    assert monitored(network, []) == []
    for bad, error in (
        (["x"], ValueError),
        ([True], ValueError),
        ([4], IndexError),
        ("x", ValueError),
    ):
        with pytest.raises(error):
            monitored(network, bad)
    with pytest.raises(InputConfigurationError, match="no sensor layer"):
        monitored(network, ["dvs"])


def test_the_last_layer_means_every_exit():
    graph = chain()
    first = replace(graph.layers[0], destinations=(Destination(1), Destination(None)))
    network = NSoCNetwork(replace(graph, layers=(first, graph.layers[1])))
    assert monitored(network, [-1]) == [0, 1]
    assert monitored(network, [1]) == [1]


def test_pooling_behind_a_monitored_layer_is_a_warning():
    network = NSoCNetwork(chain(2, pooling=2))
    with pytest.warns(UserWarning, match=r"layer 0 .layer0. is pooled"):
        network.make_config(device="speck2f", monitor_layers=[0])
    dvs = DvsLayer((16, 16), pool=(2, 2))
    sensor = NSoCNetwork(chain(dvs=dvs))
    with pytest.warns(UserWarning, match="the sensor layer pools"):
        config = sensor.make_config(device="speck2f", monitor_layers=["dvs", 1])
    assert config.dvs.monitor_enable


# --- hosts, chips, states -------------------------------------------------------------------------


def test_hosts_are_remembered():
    network = NSoCNetwork(chain())
    for device in ("cpu", "gpu", "cuda:0"):
        assert network.to(device) is network
        assert network.device == device
    with pytest.raises(TypeError, match="device is 3"):
        network.to(3)
    with pytest.raises(UnknownDeviceError, match="'abacus' is not known"):
        network.to("abacus")


def test_an_emulated_chip_answers_with_spikes():
    network = NSoCNetwork(chain())
    assert network.to("speck2f") is network
    assert network.device == "speck2f:0"
    events = raster_to_events(np.ones((4, 8, 8, 1), int))
    spikes = network(events)
    assert len(spikes) > 0
    assert set(spikes["layer"]) == {1}
    network.reset_states()
    result = network(events, return_result=True)
    assert_array_equal(result.spikes, spikes)
    assert result.config_sha256 == network.config.sha256()
    network.to("cpu")
    assert network(np.ones((4, 8, 8, 1), int)).shape == (4, 8, 8, 2)


def test_weights_are_copied_when_the_network_moves():
    network = NSoCNetwork(chain()).to("speck2f")
    events = raster_to_events(np.ones((4, 8, 8, 1), int))
    before = network(events)
    network.parameters()[0][:] = 0
    network.reset_states()
    assert_array_equal(network(events), before)
    network.to("speck2f")
    assert len(network(events)) == 0


def test_states_are_reset_or_drawn():
    network = NSoCNetwork(chain(threshold=50, min_v=-7))
    network.make_config(device="speck2f")
    network.reset_states(randomize=True, seed=3)
    generator = np.random.Generator(np.random.PCG64(3))
    for layer, state in network.state_dict().items():
        assert_array_equal(state, generator.integers(-7, 50, (2, 8, 8)))
        assert_array_equal(network.config.cores[layer].neurons_initial_value, state)
    network.state_dict()[0][:] = 99  # a copy
    assert network.state_dict()[0].max() < 50
    assert network.reset_states() is None
    assert not any(state.any() for state in network.state_dict().values())
    assert not network.config.cores[0].neurons_initial_value.any()


def test_a_chip_starts_from_drawn_states():
    network = NSoCNetwork(chain(threshold=50, min_v=-7)).to("speck2f")
    network.reset_states(randomize=True, seed=1)
    expected = network.config.cores[1].neurons_initial_value
    assert_array_equal(network.state_dict()[1], expected)


def test_a_float_network_is_for_checks_only():
    floats = replace(core_layer(), quant_scale=None, weights=np.full((2, 1, 3, 3), 0.5, np.float32))
    graph = CoreGraph((floats,), (1, 4, 4), None, (Destination(0),))
    network = NSoCNetwork(graph, discretize=False)
    assert network(np.ones((1, 4, 4, 1))).dtype == np.float32
    network.reset_states(randomize=True, seed=0)
    assert network.state_dict()[0].min() >= -4
    with pytest.raises(NotDiscretizedError, match="Build the network with discretize=True"):
        network.make_config(device="speck2f")
    assert network.incompatibilities("speck2f")[0].code == "discretization"
    integers = NSoCNetwork(graph)
    assert integers.layers[0].quant_scale == 254.0
    assert integers.quantization_report[0].decided_by == "weights"


def test_names():
    assert DynapcnnNetwork is NSoCNetwork
    with pytest.warns(DeprecationWarning, match="former name"):
        assert isinstance(DynapcnnCompatibleNetwork(chain()), NSoCNetwork)
    network = NSoCNetwork(chain(), name="mine")
    assert repr(network) == "<NSoCNetwork 'mine': 2 core layers, input (1, 8, 8), on cpu>"
    assert len(network.weights) == 2
    assert network.dvs_layer is None
    network.zero_grad(set_to_none=True)


def test_the_summary_is_one_table():
    lines = []
    network = NSoCNetwork(chain(pooling=2), name="mine")
    network.summary(lines.append)
    (text,) = lines
    assert "mine on cpu" in text
    assert "32/128/0" in text
    assert "1 /2" in text


# --- artifacts ------------------------------------------------------------------------------------


ARTIFACT = "tests/golden/v1_events.h5"


@pytest.fixture
def artifact(request):
    return request.config.rootpath / ARTIFACT


def test_an_artifact_runs_on_the_mesh_as_in_the_runtime(artifact):
    model = Model(artifact)
    network = NSoCNetwork(artifact)
    assert network.graph.is_graded
    spec = model.to_spec().input
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 2**spec.bits, (3, *spec.shape_hwc)).astype(np.uint8)
    x = frames.transpose(0, 2, 1, 3)  # events are (n, width, height, channels)
    expected = model.forward(x)
    assert_array_equal(network(x), expected)
    network.to("akd1000")
    assert all(isinstance(record, GradedCoreConfig) for record in network.config.cores)
    result = network(packets_from_frames(frames, 1000.0), return_result=True)
    assert result.config_sha256 == network.config.sha256()
    if network.exit_layers[0] in result.outputs:
        events = result.outputs[network.exit_layers[0]]
        assert_array_equal(events.transpose(0, 2, 1, 3).reshape(expected.shape), expected)
    again = NSoCConfig.from_json(network.config.to_json())
    assert again == network.config
    assert network.memory_summary()["bytes"]
    network.summary(lambda text: None)
    assert network.parameters()


@pytest.mark.parametrize("name", ["v1_events", "v1_image", "v1_potentials"])
def test_every_kind_of_artifact_is_placed_on_the_mesh(name, request):
    path = request.config.rootpath / f"tests/golden/{name}.h5"
    for source in (path, Model(path), Model(path).to_spec()):
        network = NSoCNetwork(source)
        assert network.input_shape == NSoCNetwork(str(path)).input_shape
    assert all(p.severity == "warning" for p in network.incompatibilities("akd1000"))
    config = network.make_config(device="akd1000")
    needed = neural_processors(network, "akd1000")
    assert [len(record.neural_processors) for record in config.cores] == needed


def test_an_artifact_does_not_run_on_spiking_cores(artifact):
    network = NSoCNetwork(artifact)
    (problem,) = network.incompatibilities("speck2f")
    assert "sends graded events" in problem.message
    with pytest.raises(UnsupportedLayerError, match="Use a device with graded events"):
        network.make_config(device="speck2f")
    with pytest.raises(UnsupportedLayerError, match="no float twin"):
        network.to_keras()
    with pytest.raises(UnsupportedLayerError, match="reads spikes"):
        extend_readout_layer(network)
    with pytest.raises(InputConfigurationError, match="but the artifact takes"):
        NSoCNetwork(artifact, (9, 9, 9))


# --- the readout ----------------------------------------------------------------------------------


def test_the_readout_layer_is_spread_out():
    bias = np.array([1, 2, 3], np.int16)
    network = NSoCNetwork(chain(2, features=3, bias=bias))
    wide = extend_readout_layer(network)
    assert wide.layers[1].neuron_shape == (9, 8, 8)
    assert_array_equal(wide.layers[1].weights[::4], network.layers[1].weights)
    assert_array_equal(wide.layers[1].bias[::4], bias)
    assert not np.delete(wide.layers[1].weights, [0, 4, 8], axis=0).any()
    assert network.layers[1].neuron_shape == (3, 8, 8)
    frames = np.random.default_rng(0).poisson(1.0, (5, 8, 8, 1))
    assert_array_equal(wide(frames)[..., ::4], network(frames))
    first = replace(network.layers[0], destinations=(Destination(1), Destination(None)))
    with pytest.raises(UnsupportedLayerError, match="feeds another layer"):
        extend_readout_layer(NSoCNetwork(replace(network.graph, layers=(first, network.layers[1]))))


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_network_survives_its_file(tmp_path, seed):
    network = NSoCNetwork(random_graph(seed), name="mine")
    network.make_config(device="speck2f", slow_clk_frequency=1.0)
    path = network.save(tmp_path / "net.json")
    again = NSoCNetwork.load(path)
    assert again.config == network.config
    assert again.chip_layers_ordering == network.chip_layers_ordering
    assert again.name == "mine"
    frames = np.random.default_rng(0).poisson(1.0, (3, *network.input_shape))
    assert_array_equal(
        again(frames, data_format="channels_first"), network(frames, data_format="channels_first")
    )


def test_a_large_network_becomes_an_archive(tmp_path, monkeypatch):
    monkeypatch.setattr("kerasnsoc.nsoc.network_file.JSON_LIMIT", 100)
    network = NSoCNetwork(chain())
    path = network.save(tmp_path / "net.json")
    assert path == tmp_path / "net.npz"
    assert NSoCNetwork.load(path).memory_summary() == network.memory_summary()
    monkeypatch.setattr("kerasnsoc.nsoc.network_file.READ_LIMIT", 10)
    with pytest.raises(NetworkFileError, match="unpacks to more than 10 bytes"):
        NSoCNetwork.load(path)


def test_an_artifact_survives_its_file(tmp_path, artifact):
    network = NSoCNetwork(artifact)
    network.make_config(device="akd1000")
    again = NSoCNetwork.load(network.save(tmp_path / "net.json"))
    assert again.config == network.config
    height, width, channels = Model(artifact).to_spec().input.shape_hwc
    x = np.ones((1, width, height, channels), np.uint8)
    assert_array_equal(again(x), network(x))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(schema="x"), "is no network"),
        (lambda c: c.update(version=2), "has version 2"),
        (lambda c: c.update(more=2), r"members \['more'\]"),
        (lambda c: c.update(graph=None), "either a graph or an artifact"),
        (lambda c: c["graph"].pop("layers"), "has no member 'layers'"),
        (lambda c: c.update(report=3), "report is 3"),
        (lambda c: c.update(artifact={}), "is no network"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path, edit, message):
    path = NSoCNetwork(chain()).save(tmp_path / "net.json")
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(NetworkFileError, match=message):
        NSoCNetwork.load(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["cores"][0].update(threshold_high=0), "R10 layer0"),
        (lambda c: c["cores"][0]["destinations"][0].update(feature_shift=9), "R15 layer0"),
        (lambda c: c["cores"][1].update(layer_index=0), "not the layers of the network"),
        (lambda c: c["cores"][0]["biases"].update(shape=[2, 1]), r"R09 .*must have \(F,\)"),
    ],
)
def test_a_file_with_an_unusable_configuration(tmp_path, edit, message):
    network = NSoCNetwork(chain())
    network.make_config(device="speck2f")
    path = network.save(tmp_path / "net.json")
    content = json.loads(path.read_text())
    edit(content["config"])
    path.write_text(json.dumps(content))
    with pytest.raises(NetworkFileError, match=message):
        NSoCNetwork.load(path)


def test_a_file_whose_configuration_is_not_that_of_its_artifact(tmp_path, artifact):
    network = NSoCNetwork(artifact)
    network.make_config(device="akd1000")
    path = network.save(tmp_path / "net.json")
    content = json.loads(path.read_text())
    variables = content["config"]["cores"][0]["variables"]["weights"]
    variables["shape"] = variables["shape"][::-1]
    path.write_text(json.dumps(content))
    with pytest.raises(NetworkFileError, match="differs from the layer of the artifact"):
        NSoCNetwork.load(path)


@pytest.mark.parametrize("data", [b"", b"[", b"PK", b"3"])
def test_bytes_that_are_no_network(tmp_path, data):
    path = tmp_path / "net.json"
    path.write_bytes(data)
    with pytest.raises(NetworkFileError, match=r"is no (network|JSON)"):
        NSoCNetwork.load(path)


# --- Keras ----------------------------------------------------------------------------------------


@pytest.mark.keras
def test_the_twin_has_the_weights_and_gives_them_back():
    keras = pytest.importorskip("keras")
    graph = random_graph(2)
    for layer in graph.layers:
        layer.weights[0, 0, 0, 0] = 127  # which uses up the bits, so that the scale is the same
    network = NSoCNetwork(graph)
    twin = network.to_keras(time_steps=3)
    channels, height, width = network.input_shape
    x = np.random.default_rng(0).poisson(0.5, (1, 3, height, width, channels))
    counts = keras.ops.convert_to_numpy(twin(x.astype("float32")))
    assert counts.shape == network(x).shape
    other = NSoCNetwork(graph)
    other.parameters()[0][:] = 0
    other.update_from_keras(twin)
    for mine, theirs in zip(other.parameters(), network.parameters(), strict=True):
        assert_array_equal(mine, theirs)
    twin.compile(keras.optimizers.SGD(gradient_accumulation_steps=2), loss="mse")
    twin.optimizer.build(twin.trainable_variables)
    accumulated = twin.optimizer._accumulated_gradients
    for variable in accumulated:
        variable.assign(variable + 1.0)
    network.zero_grad()
    assert not any(keras.ops.convert_to_numpy(v).any() for v in accumulated)


@pytest.mark.keras
def test_integers_of_a_keras_model_are_exact():
    keras = pytest.importorskip("keras")
    from kerasnsoc.layers import IAF

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((5, 6, 6, 2)),
            layers.TimeDistributed(layers.Conv2D(3, 3, padding="same")),
            IAF(threshold=40.0, min_v=-60.0),
            layers.TimeDistributed(layers.Conv2D(2, 3, use_bias=False)),
            IAF(threshold=90.0, min_v=-20.0, reset="zero"),
        ]
    )
    rng = np.random.default_rng(0)
    for w in model.weights:
        w.assign(rng.integers(-20, 21, w.shape))
    network = NSoCNetwork(model, assume_integer=True)
    assert all(isinstance(c, CoreConfig) for c in network.make_config(device="loihi").cores)
    x = rng.poisson(1.0, (4, 5, 6, 6, 2))
    expected = keras.ops.convert_to_numpy(model(x.astype("float32")))
    assert expected.sum() > 0
    assert_array_equal(network(x), expected)
    with pytest.raises(ValueError, match="the network has"):
        network.update_from_keras(
            keras.Sequential([keras.Input((6, 6, 2)), layers.Dense(1), IAF(time_axis=False)])
        )
