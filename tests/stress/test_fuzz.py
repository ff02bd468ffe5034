"""Every harness of `fuzz/` for a moment, and what they found."""

import io
import json
import zipfile

import pytest

from fuzz.run import main
from fuzz.targets import TARGETS, saved_networks

OPTIONAL = {"template": "yaml", "config": "scipy", "network": "scipy"}


@pytest.mark.parametrize("name", TARGETS)
def test_damage_meets_documented_errors_only(name, capsys):
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    cases = 40 if name == "template" else 150
    assert main(["--target", name, "--cases", str(cases), "--seed", "3"]) == 0
    report = json.loads(capsys.readouterr().out)[name]
    assert report["accepted"] + report["refused"] == cases
    assert report["refused"] > 0


def test_a_number_beyond_all_floats_is_refused():
    from kerasnsoc.nsoc.records import RecordError, decode

    with pytest.raises(RecordError, match=r"x is 1000.*a finite number"):
        decode(float, 10**400, "x")


@pytest.mark.parametrize("shape", [[0, 2**62, 2**62], [1] * 65])
def test_shapes_that_no_array_has_are_refused(shape):
    import numpy as np

    from kerasnsoc.nsoc.records import RecordError, decode

    text = "" if 0 in shape else "AA=="
    with pytest.raises(RecordError, match=r"x\.shape is no shape of an array"):
        decode(np.ndarray, {"dtype": "int8", "shape": shape, "b64": text}, "x")


@pytest.mark.parametrize("value", ['!!int ""', "!!bool x", "!!timestamp x", "!!float ''"])
def test_tags_of_yaml_whose_text_does_not_fit_are_refused(value, tmp_path):
    pytest.importorskip("yaml")
    from kerasnsoc.runtime.template import read_template

    path = tmp_path / "template.yaml"
    path.write_text(f"layers: [{{type: InputData, input_width: {value}}}]\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"template\.yaml"):
        read_template(path)


def test_a_damaged_archive_or_configuration_is_no_network(tmp_path):
    pytest.importorskip("scipy")
    from kerasnsoc.nsoc import NSoCNetwork
    from kerasnsoc.nsoc.network_file import NetworkFileError

    content = saved_networks()[0]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("network.json", content)
    data = bytearray(stream.getvalue())
    data[60:64] = b"\xff" * 4  # in the compressed bytes
    path = tmp_path / "network.npz"
    path.write_bytes(data)
    with pytest.raises(NetworkFileError, match="is no network"):
        NSoCNetwork.load(path)
    value = json.loads(content)
    value["config"]["cores"][0]["core"] = "x"
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(NetworkFileError, match="an integer"):
        NSoCNetwork.load(path)


def test_a_sound_whose_chunk_ends_too_early_is_refused():
    from fuzz.targets import wav
    from kerasnsoc.zoo.kws.wav import read_wav

    data = bytearray(wav().seeds[0])
    data[16:20] = (2**31 - 1).to_bytes(4, "little")  # length of the format
    with pytest.raises(ValueError, match=r"is no \.wav file"):
        read_wav(bytes(data))


def test_a_filter_beyond_the_range_of_floats_is_an_error():
    from dataclasses import replace

    import numpy as np

    from kerasnsoc.runtime import Model
    from tests.networks import time_networks

    spec = time_networks()["time_events"]
    last = spec.layers[-1]
    level = np.full_like(last.variables["initial_level"], 1e300)
    layer = replace(last, variables={**last.variables, "initial_level": level})
    height, width, channels = spec.input.shape_hwc
    inputs = np.ones((1, 3, height, width, channels), np.uint8)
    with pytest.raises(OverflowError, match="'alpha': the filter leaves the range of floats"):
        Model.from_spec(replace(spec, layers=(*spec.layers[:-1], layer))).forward(inputs)
