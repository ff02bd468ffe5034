"""The command `emulate`, and artifacts on the way through mapping to the emulated chip."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

from kerasnsoc.artifact import save
from kerasnsoc.cli import app
from kerasnsoc.nsoc import devices, get_device, list_devices
from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer, Destination
from kerasnsoc.nsoc.device_file import device_to_json
from kerasnsoc.nsoc.emulator import NSoCEmulator
from kerasnsoc.nsoc.emulator_files import frames_as_input, open_network
from kerasnsoc.nsoc.events import EVENT_DTYPE
from kerasnsoc.nsoc.network import NSoCNetwork
from kerasnsoc.runtime import Model
from tests.networks import every_kind
from tests.nsoc_graphs import chain


@pytest.fixture
def _own_devices(monkeypatch):
    """Devices that a command adds are gone afterwards."""
    list_devices()
    monkeypatch.setattr(devices, "_devices", dict(devices._devices))


def inputs_of(spec, count=4):
    height, width, channels = spec.input.shape_hwc
    shape = (height, width) if spec.input.kind == "image" else (width, height)
    rng = np.random.default_rng(0)
    return rng.integers(0, 2**spec.input.bits, (count, *shape, channels)).astype(np.uint8)


@pytest.mark.parametrize("name", ["events", "image", "potentials"])
def test_mapped_artifacts_give_what_the_runtime_gives(name, tmp_path):
    spec = every_kind()[name]
    save(spec, tmp_path / "net.h5")
    chip = open_network(tmp_path / "net.h5", None)
    assert chip.device.name == "akd1000"
    inputs = inputs_of(spec)
    result = NSoCEmulator(chip).run(frames_as_input(chip, inputs, 100.0))
    (outputs,) = result.outputs.values()
    assert_array_equal(outputs.transpose(0, 2, 1, 3), Model.from_spec(spec).forward(inputs))
    assert len(result.latency.packet_ps) == len(inputs)


def spiking_network():
    """Two layers of integers, as if discretized."""
    rng = np.random.default_rng(1)
    first = CoreLayer(
        index=0, name="a", weights=rng.integers(-20, 60, (3, 2, 3, 3)).astype(np.int8), bias=None,
        stride=(1, 1), padding=(1, 1), in_shape=(2, 6, 7), neuron_shape=(3, 6, 7), threshold=50,
        min_v=-50, destinations=(Destination(1, (2, 2)),), sources=("input",), quant_scale=1.0,
    )  # fmt: skip
    second = CoreLayer(
        index=1, name="b", weights=rng.integers(-20, 60, (4, 3, 3, 3)).astype(np.int8), bias=None,
        stride=(1, 1), padding=(0, 0), in_shape=(3, 3, 3), neuron_shape=(4, 1, 1), threshold=70,
        min_v=-70, destinations=(Destination(None),), sources=(0,), quant_scale=1.0,
    )  # fmt: skip
    graph = CoreGraph((first, second), (2, 6, 7), input_destinations=(Destination(0),))
    return NSoCNetwork(graph)


def test_a_saved_network_keeps_its_configuration(tmp_path):
    network = spiking_network()
    plain = network.save(tmp_path / "plain.json")
    assert open_network(plain, None).device.name == "speck2fmodule"
    network.make_config(device="speck2b")
    path = network.save(tmp_path / "net.json")
    assert open_network(path, None) == network.config
    assert open_network(path, "speck2b:0") == network.config
    assert open_network(path, "speck2e").device.name == "speck2e"
    assert open_network(path, None, 100.0).slow_clock_hz == 100.0


def run(*arguments):
    return CliRunner().invoke(app, ["emulate", *map(str, arguments)])


def test_the_command_shows_layers_latency_and_energy(tmp_path):
    spec = every_kind()["image"]
    save(spec, tmp_path / "net.h5")
    np.save(tmp_path / "in.npy", inputs_of(spec))
    result = run(tmp_path / "net.h5", tmp_path / "in.npy")
    assert result.exit_code == 0, result.output
    assert "latency of a packet: p50" in result.output
    assert "grade" in result.output
    content = json.loads(run(tmp_path / "net.h5", tmp_path / "in.npy", "--json").output)
    assert content["device"] == "akd1000"
    assert content["energy"]["total"].keys() == {"low", "value", "high"}
    assert content["energy"]["worst_grade"] == "D"
    assert [record["name"] for record in content["per_core"]][-1] == "head"
    refused = run(tmp_path / "net.h5", tmp_path / "in.npy", "--device", "speck2f")
    assert refused.exit_code == 1
    assert "graded" in refused.output
    refused = run(tmp_path / "net.h5", tmp_path / "in.npy", "--packet-us", "5")
    assert refused.exit_code == 1
    refused = run(tmp_path / "net.h5", tmp_path / "in.npy", "--engine", "slow")
    assert refused.exit_code == 1
    assert "engine is 'slow'" in refused.output


def test_the_command_takes_events_and_says_what_happens_at_full_queues(tmp_path):
    path = spiking_network().save(tmp_path / "net.json")
    events = np.zeros(60, EVENT_DTYPE)
    events["x"] = np.arange(60) % 7
    np.save(tmp_path / "in.npy", events)
    content = json.loads(run(path, tmp_path / "in.npy", "--json").output)
    assert content["input_events"] == 60
    assert content["noc"]["input_wait_ps"] == 0
    options = ("--queue-policy", "stall", "--queue-capacity", "1")
    result = run(path, tmp_path / "in.npy", *options)
    assert result.exit_code == 0, result.output
    assert "warning: the input waited" in result.output
    content = json.loads(run(path, tmp_path / "in.npy", *options, "--json").output)
    assert max(record["queue_max"] for record in content["per_core"]) == 1
    refused = run(path, tmp_path / "in.npy", "--queue-policy", "wait")
    assert refused.exit_code == 1
    assert "queue_policy is 'wait'" in refused.output


@pytest.mark.usefixtures("_own_devices")
def test_the_command_runs_several_passes_on_a_chip_of_ones_own(tmp_path):
    path = NSoCNetwork(chain(4, side=6)).save(tmp_path / "net.json")
    device = replace(get_device("akd1000"), name="small", cores=get_device("akd1000").cores[:3])
    (tmp_path / "chip.json").write_text(device_to_json(device))
    np.save(tmp_path / "in.npy", np.ones((2, 6, 6, 1), np.int64))
    options = ("--device-file", tmp_path / "chip.json")
    refused = run(path, tmp_path / "in.npy", *options)
    assert refused.exit_code == 1
    assert "at least 4 neural processors, but 'small' has 3" in refused.output
    result = run(path, tmp_path / "in.npy", "--device", "small", "--multipass")
    assert result.exit_code == 0, result.output
    assert "pass 2: layers 3 to 3" in result.output
    assert "warning: R27" in result.output
    assert "configuration bytes" in result.output


def test_the_command_takes_recordings(tmp_path):
    path = spiking_network().save(tmp_path / "net.json")
    rng = np.random.default_rng(2)
    events = np.zeros(200, [("t", "i8"), ("x", "i4"), ("y", "i4"), ("p", "i4")])
    events["t"] = 1000 + np.sort(rng.integers(0, 5000, 200))
    events["x"], events["y"] = rng.integers(0, 7, 200), rng.integers(0, 6, 200)
    events["p"] = rng.integers(0, 2, 200)
    np.save(tmp_path / "in.npy", events)
    result = run(path, tmp_path / "in.npy")
    assert result.exit_code == 0, result.output
    assert "200 events in" in result.output
    assert "latency of a spike" in result.output
    functional = run(path, tmp_path / "in.npy", "--engine", "functional", "--json")
    timed = json.loads(run(path, tmp_path / "in.npy", "--json").output)
    assert json.loads(functional.output)["final_state"] == timed["final_state"]
    assert "energy" not in json.loads(functional.output)  # nothing about time, so nothing at rest
    assert run(path, tmp_path / "in.npy", "--packet-us", "100").exit_code == 1


def test_artifacts_take_recordings_in_packets(tmp_path):
    spec = every_kind()["events"]
    save(spec, tmp_path / "net.h5")
    height, width, channels = spec.input.shape_hwc
    rng = np.random.default_rng(2)
    events = np.zeros(60, [("t", "i8"), ("x", "i4"), ("y", "i4"), ("p", "i4")])
    events["t"] = np.sort(rng.integers(0, 1000, 60))
    events["x"], events["y"] = rng.integers(0, width, 60), rng.integers(0, height, 60)
    events["p"] = rng.integers(0, min(channels, 2), 60)
    np.save(tmp_path / "in.npy", events)
    result = run(tmp_path / "net.h5", tmp_path / "in.npy", "--packet-us", "250", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["latency"]["packet_ps"]["count"] == 4
    assert run(tmp_path / "net.h5", tmp_path / "in.npy").exit_code == 1
