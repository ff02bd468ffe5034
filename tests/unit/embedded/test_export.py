"""The exported C is compiled strictly and gives the runtime's integers."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from typer.testing import CliRunner

from kerasnsoc.artifact import LayerType, NetworkSpec
from kerasnsoc.cli import app
from kerasnsoc.embedded import export_c
from kerasnsoc.embedded.layout import arena
from kerasnsoc.runtime import Concat, FullyConnected, InputData, Model
from kerasnsoc.zoo import ds_cnn_kws_pretrained
from tests.networks import every_kind
from tests.strategies import network_specs

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("make") is None, reason="needs cc and make"
)


def run(folder) -> str:
    # -O0 compiles fastest, and the networks are small
    made = subprocess.run(
        ["make", "-s", "-C", str(folder), "CFLAGS=-O0", "test"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@needs_compiler
@pytest.mark.parametrize("name", ["events", "image", "potentials"])
def test_every_kind_of_layer(tmp_path, name):
    model = Model.from_spec(every_kind()[name])
    report = export_c(model, tmp_path / "c")
    assert run(tmp_path / "c").startswith("0 of ")
    assert report.output_bytes == np.prod(model.output_dims) * report.sum_bits // 8


@needs_compiler
@settings(max_examples=12, suppress_health_check=[*HealthCheck])
@given(spec=network_specs())
def test_random_networks(tmp_path_factory, spec: NetworkSpec):
    model = Model.from_spec(spec)
    folder = tmp_path_factory.mktemp("c")
    assume(len(spec.layers) > 1 or spec.layers[0].layer_type is not LayerType.InputData)
    export_c(model, folder)
    assert run(folder).startswith("0 of ")


@needs_compiler
def test_a_wrong_constant_is_found(tmp_path):
    model = Model.from_spec(every_kind()["potentials"])
    export_c(model, tmp_path)
    data = tmp_path / "selftest_data.h"
    text = data.read_text()
    start = text.index("{\n", text.index("selftest_outputs")) + 4
    data.write_text(text[:start] + "1+" + text[start:])
    made = subprocess.run(
        ["make", "-s", "-C", str(tmp_path), "test"], capture_output=True, text=True, check=False
    )
    assert made.returncode != 0
    assert made.stdout.startswith("1 of ")


def test_an_input_alone_is_refused(tmp_path):
    model = Model(layers=[InputData(4, 4, 1, name="eye")])
    with pytest.raises(ValueError, match="only the input layer 'eye'"):
        export_c(model, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_outputs_that_are_needed_together_do_not_overlap():
    sizes = {"a": 10, "b": 4, "c": 8, "d": 3}
    readers = [("a", []), ("b", ["a"]), ("c", ["a"]), ("d", ["b", "c"]), ("e", ["d"])]
    places = arena(sizes, readers)
    alive = [("a", "b"), ("a", "c"), ("b", "c"), ("b", "d"), ("c", "d")]
    for one, other in alive:
        first, second = sorted([one, other], key=places.__getitem__)
        assert places[first] + sizes[first] <= places[second], (one, other, places)
    assert places["d"] == 0  # what nobody needs any more is used again


@needs_compiler
def test_command(tmp_path):
    model = Model.from_spec(every_kind()["image"])
    model.save(tmp_path / "net.h5")
    samples = np.random.default_rng(1).integers(0, 256, (2, *shape_of(model)), np.uint8)
    np.save(tmp_path / "x.npy", samples)
    arguments = [str(tmp_path / "net.h5"), str(tmp_path / "c"), "--inputs", str(tmp_path / "x.npy")]
    result = CliRunner().invoke(app, ["export-c", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.output)
    assert content["samples"] == 2
    assert content["constant_bytes"] > 0
    assert f"of {2 * (content['output_bytes'] * 8 // content['sum_bits'] + 1)} " in run(
        tmp_path / "c"
    )


def shape_of(model: Model) -> tuple[int, int, int]:
    return model.to_spec().input.shape_hwc


@needs_compiler
def test_a_shipped_network(tmp_path):
    model = ds_cnn_kws_pretrained(dataset="fsdd")
    report = export_c(model, tmp_path)
    assert run(tmp_path) == "0 of 44 values differ\n"
    assert report.ram_bytes < 32_768


@needs_compiler
def test_joined_activations_at_the_end_have_real_values(tmp_path):
    """As in the runtime, such a concatenation is no activation: its scores decide, not silence."""
    model = Model(layers=[InputData(1, 1, 1, name="eye")])
    for name in ("a", "b"):
        model.add(FullyConnected(1, name), [model.get_layer("eye")])
    sources = [model.get_layer(name) for name in ("a", "b")]
    model.add(Concat("joined", activations_enabled=False), sources)
    model.get_layer("joined").set_variable("threshold_fire", np.array([111, 90], np.int32))
    export_c(model, tmp_path)
    assert run(tmp_path) == "0 of 12 values differ\n"
