"""The commands devices, check and map."""

import json

import pytest
from typer.testing import CliRunner

from kerasnsoc import cli
from kerasnsoc.nsoc import NSoCConfig, NSoCNetwork, devices, get_device, list_devices
from kerasnsoc.nsoc.device_file import device_from_json, device_to_json
from tests.nsoc_graphs import chain


@pytest.fixture(autouse=True)
def table(monkeypatch):
    """Devices that a command adds are gone afterwards."""
    list_devices()
    monkeypatch.setattr(devices, "_devices", dict(devices._devices))


@pytest.fixture
def saved(tmp_path):
    return str(NSoCNetwork(chain(2, pooling=2)).save(tmp_path / "net.json"))


def command(*arguments, expect=0):
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    assert result.exit_code == expect, result.output
    return result.output


def test_the_table_of_devices():
    text = command("devices")
    assert "akd1000" in text
    assert "energy only" in text
    rows = json.loads(command("devices", "--json"))
    assert [row["name"] for row in rows] == list(list_devices())
    assert all(row["source"] for row in rows)


@pytest.mark.parametrize("name", ["speck2f", "akd1000", "truenorth"])
def test_one_device_with_all_its_figures(name):
    text = command("devices", name)
    assert "assumed" in text or name == "truenorth"
    assert "grade" in text
    content = json.loads(command("devices", name, "--json"))
    assert content["name"] == name
    assert device_from_json(content) == get_device(name)


def test_a_device_that_was_shown_can_be_changed_and_used(saved, tmp_path):
    content = json.loads(command("devices", "speck2f", "--json"))
    content |= {"name": "stalling", "queue_policy": "stall"}
    path = tmp_path / "chip.json"
    path.write_text(json.dumps(content))
    assert "stalling: fits" in command("check", saved, "--device-file", path)
    assert get_device("stalling").queue_policy == "stall"
    path.write_text(json.dumps(content | {"name": "never", "queue_policy": "wait"}))
    assert "queue_policy" in command("check", saved, "--device-file", path, expect=1)


def test_an_unknown_device_lists_the_known_ones():
    assert "Known devices: akd1000" in command("devices", "nonsense", expect=1)


def test_check_says_where_a_network_fits(saved):
    text = command("check", saved)
    assert "speck2f: fits" in text
    assert "truenorth: energy figures only, nothing can be placed there" in text
    assert "akd1000: does not fit\n  R12: layer0: pooling 2x2" in text
    content = json.loads(command("check", saved, "--device", "speck2f", "--json"))
    assert content == [{"device": "speck2f", "has_cores": True, "compatible": True, "problems": []}]
    assert "does not fit" in command("check", saved, "--device", "akd1000", expect=1)


def test_check_of_an_artifact(request):
    path = request.config.rootpath / "tests/golden/v1_events.h5"
    text = command("check", path, "--device", "akd1000")
    assert text.startswith("akd1000: fits\n  warning, silicon: conv: kernel of 3x2")
    assert "sends graded events" in command("check", path, "--device", "speck2f", expect=1)


def test_map_places_and_writes(saved, tmp_path):
    target = tmp_path / "config.json"
    text = command("map", saved, "--device", "speck2f", "--output", target)
    assert "written:" in text
    config = NSoCConfig.from_json(target.read_text())
    content = json.loads(command("map", saved, "--device", "speck2f", "--json"))
    assert content["config_sha256"] == config.sha256()
    assert [layer["core"] for layer in content["layers"]] == [0, 1]
    ordered = json.loads(
        command("map", saved, "--device", "speck2f", "--ordering", "8,7", "--json")
    )
    assert [layer["core"] for layer in ordered["layers"]] == [8, 7]
    assert "100.0%" not in text


def test_map_of_an_artifact_on_the_mesh(request):
    path = request.config.rootpath / "tests/golden/v1_image.h5"
    text = command("map", path, "--device", "akd1000", "--multipass")
    assert "neural processors" in text
    assert "none" in text  # the image input layer needs no processor


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "name a chip with --device"),
        (["--device", "speck2f", "--ordering", "a,b"], 2, "numbers of cores"),
        (["--device", "speck2f", "--ordering", "0"], 1, "names 1 cores"),
        (["--device", "speck2f", "--objective", "x"], 1, "must be one of"),
        (["--device", "akd1000"], 1, "R12 layer0"),
    ],
)
def test_map_says_what_is_wrong(saved, options, code, message):
    assert message in " ".join(command("map", saved, *options, expect=code).split())


def test_map_does_not_overwrite_its_input(saved):
    text = command("map", saved, "--device", "speck2f", "--output", saved, expect=2)
    assert "which this command reads" in " ".join(text.split())


@pytest.mark.filterwarnings("ignore:device .mychip. is already registered")
def test_a_chip_of_ones_own(saved, tmp_path):
    file = tmp_path / "chip.json"
    content = json.loads(device_to_json(get_device("speck2f"))) | {"name": "mychip"}
    file.write_text(json.dumps(content))
    assert command("devices", "--device-file", file).startswith("mychip: grade P")
    assert command("check", saved, "--device-file", file) == "mychip: fits\n"
    assert "on mychip:0" in command("map", saved, "--device-file", file)


@pytest.mark.keras
def test_a_keras_model_is_checked_too(tmp_path):
    keras = pytest.importorskip("keras")
    from kerasnsoc.layers import IAF

    model = keras.Sequential(
        [keras.Input((8, 8, 2)), keras.layers.Conv2D(2, 3), IAF(time_axis=False)]
    )
    path = tmp_path / "model.keras"
    model.save(path)
    assert command("check", path, "--device", "speck2f").startswith("speck2f: fits")
