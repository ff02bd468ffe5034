"""Devices: structure, evidence, names, files."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

import kerasnsoc.nsoc
from kerasnsoc._quantities import Quantity
from kerasnsoc.nsoc import device_table, devices
from kerasnsoc.nsoc.device_file import device_from_json, device_to_json
from kerasnsoc.nsoc.devices import (
    get_device,
    list_devices,
    register_device,
    standardize_device_id,
)
from kerasnsoc.nsoc.errors import DeviceFileError, UnknownDeviceError

SCHEMAS = Path(kerasnsoc.nsoc.__file__).parent
NINE = [n for n in list_devices() if n.startswith(("speck", "dynapcnn")) and "mini" not in n]


@pytest.fixture
def table(monkeypatch):
    """Devices that a test adds are gone afterwards."""
    list_devices()
    monkeypatch.setattr(devices, "_devices", dict(devices._devices))


def test_every_name_of_the_specification_is_known():
    assert set(list_devices()) >= {
        *("dynapcnndevkit", "speck2b", "speck2btiny", "speck2cmini", "speck2dmini", "speck2devkit"),
        *("speck2e", "speck2edevkit", "speck2f", "speck2fmodule", "speck2fdevkit"),
        *("akd1000", "loihi", "loihi2", "truenorth", "spinnaker", "spinnaker2"),
    }


@pytest.mark.parametrize("name", NINE)
def test_the_nine_core_chips_have_the_published_totals(name):
    device = get_device(name)
    assert len(device.cores) == 9
    assert sum(core.neuron_words for core in device.cores) == 327_680
    assert sum(core.kernel_words for core in device.cores) == 272 * 1024
    assert {core.bias_words for core in device.cores} == {1024}


def test_a_mini_has_biases_on_its_last_two_cores_only():
    cores = get_device("speck2dmini").cores
    assert [core.bias_words for core in cores] == [0, 0, 0, 1024, 1024]
    assert [core.kernel_words // 1024 for core in cores] == [16, 32, 32, 64, 16]


def test_kill_bits_readout_and_decimator_belong_to_their_generations():
    older, newer = get_device("speck2b"), get_device("speck2f")
    assert (older.kill_bits, older.readout, older.decimator) == (True, None, ())
    assert not newer.kill_bits
    assert newer.errata == ("readout_x4",)
    assert newer.decimator == (2, 4, 8, 16, 32, 128, 256, 512)


def test_the_meshes_follow_the_path_from_the_port():
    akida, loihi = get_device("akd1000"), get_device("loihi")
    assert (len(akida.cores), len(loihi.cores)) == (80, 128)
    assert [core.xy for core in akida.cores[16:24:4]] == [(4, 0), (4, 1)]  # the row turns
    assert akida.cores[0].memory_bytes == 102_400
    assert {core.xy for core in loihi.cores} == {(x, y) for x in range(8) for y in range(4)}


@pytest.mark.parametrize("name", ["loihi2", "truenorth", "spinnaker", "spinnaker2"])
def test_energy_only_devices_have_no_cores(name):
    assert get_device(name).cores == ()


@pytest.mark.parametrize("name", list_devices())
def test_every_figure_has_a_source_and_assumptions_bear_their_name(name):
    assumed = {id(value) for key, value in vars(device_table).items() if key.startswith("ASSUMED_")}
    figures = list(get_device(name).quantities())
    assert figures
    for path, quantity in figures:
        assert quantity.source.strip(), path
        if quantity.grade == "A":
            assert id(quantity) in assumed, path
        if quantity.grade == "D":
            assert re.search(r"\d", quantity.source) or "contained" in quantity.source, path


def test_derived_times_reproduce_the_published_latencies():
    ps = get_device("speck2f").timing.picoseconds()
    one_update = ps["t_decode"] + ps["t_syn"]
    ends = ps["t_io_in"] + ps["t_io_out"] + 2 * ps["t_hop_x"]
    assert ends + one_update == 1_580_000  # SPK-L1
    assert ends + 9 * one_update + 8 * ps["t_hop_x"] == 3_360_000  # SPK-L9
    assert ps["t_decode"] + 256 * ps["t_syn"] == 7_005_000  # SPK-LK


def test_the_clock_of_the_mesh_is_187_mhz():
    ps = get_device("akd1000").timing.picoseconds()
    assert ps["t_emit"] == round(1e12 / 187e6)
    assert ps["t_syn"] == round(1e12 / 187e6 / 1.2)


def test_anchors_name_their_grade_and_source():
    assert {
        "SPK-L9",
        "SPK-L1",
        "SPK-LK",
        "SPK-BW",
        "SPK-P0",
        "SPK-RAIL",
        "SPK-NM",
        "SPK-RT",
    } <= set(device_table.ANCHORS)
    assert all(a.grade in "PSDA" and a.source for a in device_table.ANCHORS.values())


@pytest.mark.parametrize(
    ("name", "full"),
    [("speck2f", "speck2f:0"), ("Speck2F:3", "speck2f:3"), (" akd1000 ", "akd1000:0")],
)
def test_an_id_is_a_name_and_an_index(name, full):
    assert standardize_device_id(name) == full
    assert get_device(name).name == full.partition(":")[0]


@pytest.mark.parametrize("name", ["nonsense", "speck2f:1:2", "speck2f:x", "speck2f:-1", "", ":"])
def test_an_unknown_id_lists_all_names(name):
    with pytest.raises(UnknownDeviceError, match="akd1000, dynapcnndevkit, loihi"):
        get_device(name)


def test_an_id_of_another_type_is_a_type_error():
    with pytest.raises(TypeError, match="named by a str"):
        get_device(3)


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_devices())
def test_a_device_survives_its_file(name):
    device = get_device(name)
    again = device_from_json(json.loads(device_to_json(device)))
    assert again == device
    assert again.sha256() == device.sha256()


@pytest.mark.parametrize("name", list_devices())
def test_the_schema_accepts_every_built_in_device(name):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((SCHEMAS / "device.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(device_to_json(get_device(name))), schema)


def test_a_device_of_ones_own_is_registered_from_a_file(tmp_path, table):
    content = json.loads(device_to_json(get_device("speck2f")))
    content |= {"name": "mychip", "cores": content["cores"][:2]}
    file = tmp_path / "mychip.json"
    file.write_text(json.dumps(content))
    assert register_device(file).name == "mychip"
    assert len(get_device("mychip:1").cores) == 2
    with pytest.warns(UserWarning, match="'mychip' is already registered"):
        register_device(get_device("mychip"))


def changed(**members):
    content = json.loads(device_to_json(get_device("speck2f")))
    for path, value in members.items():
        *parents, last = path.split("__")
        place = content
        for parent in parents:
            place = place[int(parent) if parent.isdigit() else parent]
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"schema": "other"}, "describes no device"),
        ({"version": 2}, "has version 2, this release reads 1"),
        ({"nonsense": 1}, "unknown member 'nonsense'; known are name, family"),
        ({"limits__max_kernel": "3"}, r"limits.max_kernel is '3', but must be an integer"),
        ({"limits__max_kernel": 0}, "limits.max_kernel is 0, but must be at least 1"),
        ({"limits__strides": []}, r"limits.strides is \(\), but must be one or more numbers"),
        ({"limits__weight_bits": 65}, "limits.weight_bits is 65, but must be 1 to 64"),
        ({"mode": "both"}, r"mode is 'both', but must be one of \('event', 'packet'\)"),
        ({"name": "My Chip"}, "name is 'My Chip', but must be lower-case"),
        ({"source": " "}, "source is ' ', but must be where"),
        ({"limits": None}, "limits is None, but must be given where there are cores"),
        ({"cores__1__id": 0}, r"cores\[\].id is .* but must be different numbers"),
        ({"cores__1__lanes": 0}, r"cores\[1\].lanes is 0, but must be at least 1"),
        ({"cores__1__neuron_words": 0}, r"kernel_words and neuron_words above 0 on a star"),
        ({"cores__1__neuron_words": -1}, r"memories of at least 0"),
        ({"cores__1__xy": [0, 3]}, r"cores\[1\].xy is \(0, 3\), but must be inside 1 x 1"),
        ({"noc__width": 0}, "noc is"),
        ({"noc__port": [1, 0]}, "noc.port is"),
        ({"noc__topology": "mesh"}, "memory_bytes is 0, but must be above 0 on a mesh"),
        ({"layer_delay": 2}, "layer_delay is 2, but must be 0 or 1"),
        ({"graded": True}, "graded is True, but must be false with mode 'event'"),
        ({"timing__t_syn__unit": "J"}, "timing.t_syn.unit is 'J', but must be 's'"),
        ({"energy__e_syn__unit": "W"}, "energy.e_syn.unit is 'W', but must be 'J'"),
        ({"energy__static_w__io__unit": "J"}, "energy.static_w.io.unit is 'J', but must be 'W'"),
        ({"energy__e_syn__source": ""}, "a figure must say where it comes from"),
        ({"energy__e_syn__low": 1.0}, "0 <= low <= value"),
    ],
)
def test_a_bad_file_says_what_is_wrong(members, message):
    with pytest.raises(DeviceFileError, match=message):
        device_from_json(changed(**members))


def test_an_unknown_time_cannot_be_emulated():
    figure = {"value": None, "low": None, "high": None, "unit": "s", "grade": "P", "source": "x"}
    with pytest.raises(DeviceFileError, match=r"timing.t_syn.value is None"):
        device_from_json(changed(timing__t_syn=figure))


def test_a_missing_member_is_named():
    content = changed()
    del content["energy"]
    with pytest.raises(DeviceFileError, match="has no member 'energy'"):
        device_from_json(content)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000])
def test_text_that_is_no_json_object(text, tmp_path, table):
    file = tmp_path / "device.json"
    file.write_text(text)
    with pytest.raises(DeviceFileError, match=r"is no JSON|describes no device"):
        register_device(file)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("kerasnsoc.nsoc.device_file.MAX_BYTES", 10)
    file = tmp_path / "device.json"
    file.write_text(" " * 11)
    with pytest.raises(DeviceFileError, match="larger than 10 bytes"):
        register_device(file)


def test_a_replaced_figure_changes_the_digest():
    device = get_device("speck2f")
    better = Quantity.exact(9e-12, "J", "P", "measured")
    other = dataclasses.replace(device, energy=dataclasses.replace(device.energy, e_syn=better))
    assert other.sha256() != device.sha256()


def test_limits_of_a_core_come_before_those_of_the_device():
    device = get_device("speck2f")
    own = dataclasses.replace(device.limits, max_kernel=3)
    core = dataclasses.replace(device.cores[0], limits=own)
    assert device.limits_of(core) is own
    assert device.limits_of(device.cores[1]) is device.limits
