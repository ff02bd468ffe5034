"""The `kerasnsoc` command: what it prints, how it fails, what it never imports."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import kerasnsoc
from kerasnsoc import cli
from kerasnsoc.artifact import (
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    content_digest,
)
from kerasnsoc.artifact import save as save_artifact
from kerasnsoc.energy import list_devices
from kerasnsoc.runtime import Model
from tests.networks import time_networks


def network(weights_en, input_bits=4):
    """A fully connected network on 2x2 maps that gives potentials."""
    inputs, neurons = weights_en.shape
    return NetworkSpec(
        (
            LayerSpec(
                "input",
                InputDataParameters(
                    input_width=2,
                    input_height=2,
                    input_channels=inputs // 4,
                    input_bits=input_bits,
                ),
            ),
            LayerSpec(
                "classes",
                FullyConnectedParameters(
                    num_neurons=neurons, weights_bits=4, activations_enabled=False
                ),
                ("input",),
                {
                    "weights": weights_en.astype(np.int8)[None, None],
                    "threshold_fire": np.zeros(neurons, np.int32),
                    "threshold_fire_step": np.ones(neurons, np.float32),
                },
            ),
        ),
        input_scale=15.0,
        input_shift=0,
        metadata={"producer": {"kerasnsoc": "test"}, "labels": ["a\x1b[2J", "b", "c"]},
    )


PROJECT = Path(__file__).parents[2] / "pyproject.toml"

WEIGHTS_EN = np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3], [1, 1, 1]])
# One hot pixel each: class 0, 1, 2, and an input without events, whose lowest class wins.
IMAGES = np.zeros((4, 2, 2, 1), np.uint8)
for sample, (x, y) in enumerate([(0, 0), (1, 0), (0, 1)]):
    IMAGES[sample, x, y, 0] = 5
CLASSES = [0, 1, 2, 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli")
    save_artifact(network(WEIGHTS_EN), path / "net.h5")
    np.save(path / "x.npy", IMAGES)
    np.save(path / "labels.npy", np.array([0, 1, 2, 2]))
    return path


@pytest.fixture
def call(folder, monkeypatch, invoke):
    monkeypatch.chdir(folder)
    return invoke


def assert_one_line(result, *words):
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("kerasnsoc: ")
    for word in words:
        assert word in lines[0]


def test_help_names_every_command(call):
    text = call("--help").stdout
    for name in ("info", "run", "energy", "verify", "doctor", "demo"):
        assert f"  {name} " in text
    assert "Exit codes: 0 success" in text


def test_version(call):
    assert call("--version").stdout == f"kerasnsoc {kerasnsoc.__version__}\n"


def test_info_shows_layers_scaling_metadata_and_digest(call, folder):
    text = call("info", "net.h5").stdout
    assert f"net.h5 ({(folder / 'net.h5').stat().st_size:,} bytes)" in text
    assert content_digest(network(WEIGHTS_EN)) in text
    assert "events, 2 x 2 x 1 (height, width, channels), 4 bits" in text
    assert "integer = 15 * Keras value + 0" in text
    assert "FullyConnected | input | 1 x 1 x 3" in text
    assert max(map(len, text.splitlines()[3:-1])) <= 80  # but for the digest and the metadata
    assert "kernel" not in text
    assert "potentials" in text
    # a stranger's metadata cannot steer the terminal
    assert "\x1b" not in text
    assert "\\u001b[2J" in text


def test_info_shows_the_kernel_and_the_form_of_each_layer(call):
    kernels = Model("net.h5").kernels
    assert [layer for layer, _, _ in kernels] == ["classes"]
    found = json.loads(call("info", "net.h5", "--kernels", "--json").stdout)["kernels"]
    assert [tuple(entry.values()) for entry in found] == kernels
    assert found[0]["form"] in call("info", "net.h5", "--kernels").stdout


def test_info_as_json(call):
    content = json.loads(call("info", "net.h5", "--json").stdout)
    assert content["content_digest"] == content_digest(network(WEIGHTS_EN))
    assert content["input"] == {
        "kind": "events",
        "shape_hwc": [2, 2, 1],
        "bits": 4,
        "scale": 15.0,
        "shift": 0,
    }
    first, second = content["layers"]
    assert (first["type"], first["activation_bits"], first["bytes"]) == ("InputData", 4, 0)
    assert second["inbounds"] == ["input"]
    assert second["output_dims_whc"] == [1, 1, 3]
    assert (second["weights_bits"], second["activation_bits"]) == (4, None)
    assert second["bytes"] == content["array_bytes"] == 12 + 3 * 4 + 3 * 4
    assert second["variables"]["weights"] == {"dtype": "int8", "shape": [1, 1, 4, 3]}
    assert content["metadata"]["labels"][1] == "b"


def test_info_of_an_image_network(call, tmp_path):
    layer = LayerSpec(
        "conv",
        InputConvolutionalParameters(
            input_width=4,
            input_height=3,
            input_channels=1,
            kernel_width=3,
            kernel_height=3,
            num_neurons=2,
            weights_bits=8,
            threshold_fire_bits=2,
        ),
        (),
        {
            "weights": np.ones((3, 3, 1, 2), np.int8),
            "threshold_fire": np.zeros(2, np.int32),
            "threshold_fire_step": np.ones(2, np.float32),
        },
    )
    save_artifact(NetworkSpec((layer,)), tmp_path / "image.h5")
    content = json.loads(call("info", tmp_path / "image.h5", "--json").stdout)
    assert (content["input"]["kind"], content["input"]["bits"]) == ("image", 8)
    assert content["layers"][0]["output_dims_whc"] == [4, 3, 2]
    assert (content["layers"][0]["weights_bits"], content["layers"][0]["activation_bits"]) == (8, 2)


def test_run_prints_classes_accuracy_and_activity(call):
    text = call("run", "net.h5", "x.npy", "--labels", "labels.npy").stdout
    assert "classes: 0 1 2 0" in text
    assert "accuracy: 75.00% (3 of 4)" in text
    assert "Per sample, mean over 4 samples" in text
    # three events in four samples, three weights each; potentials: one non-zero of three each
    line = next(line for line in text.splitlines() if line.startswith("classes "))
    assert [cell.strip() for cell in line.split("|")][1:] == ["0.8", "0.8", "75.0%", "2.2", "12"]


def test_run_as_json_counts_once_even_with_potentials(call):
    content = json.loads(call("run", "net.h5", "x.npy", "--json", "--potentials").stdout)
    assert content["classes"] == CLASSES
    assert content["samples"] == 4
    assert np.array(content["potentials"]).shape == (4, 1, 1, 3)
    assert np.array(content["potentials"]).reshape(4, 3).tolist() == [
        [15, 0, 0],
        [0, 15, 0],
        [0, 0, 15],
        [0, 0, 0],
    ]
    layer = content["layers"][1]
    assert layer["name"] == "classes"
    assert (layer["events_in"], layer["events_out"], layer["synaptic_ops"]) == (3, 3, 9)
    assert (layer["neuron_updates"], layer["connections"]) == (12, 12)
    assert layer["output_sparsity"] == 0.75
    assert "accuracy" not in content


def test_run_writes_classes_to_the_very_path(call, tmp_path):
    target = tmp_path / "classes.out"
    assert f"written: {target}" in call("run", "net.h5", "x.npy", "--output", target).stdout
    assert np.load(target, allow_pickle=False).tolist() == CLASSES
    assert [path.name for path in tmp_path.iterdir()] == ["classes.out"]


def test_run_writes_potentials(call, tmp_path):
    target = tmp_path / "p.npy"
    result = call("run", "net.h5", "x.npy", "--output", target, "--potentials", "--json")
    content = json.loads(result.stdout)
    assert content["output"] == str(target)
    assert content["potentials"] is None
    values = np.load(target, allow_pickle=False)
    assert (values.dtype, values.shape) == (np.int32, (4, 1, 1, 3))


def test_long_results_are_cut_in_text_only(call, tmp_path):
    np.save(tmp_path / "many.npy", np.repeat(IMAGES, 10, axis=0))
    assert "... (20 more)" in call("run", "net.h5", tmp_path / "many.npy").stdout
    content = json.loads(call("run", "net.h5", tmp_path / "many.npy", "--json").stdout)
    assert len(content["classes"]) == 40


def test_energy_on_one_device(call):
    text = call("energy", "net.h5", "x.npy", "--device", "loihi").stdout
    assert "Energy on 'loihi' (only events cost), 4 samples" in text
    assert "grade D" in text
    content = json.loads(call("energy", "net.h5", "x.npy", "--device", "LOIHI", "--json").stdout)
    assert content["total"]["value"] == pytest.approx(9 * 27.1e-12 + 12 * 81e-12)


def test_energy_on_a_dense_device_counts_every_connection(call):
    content = json.loads(call("energy", "net.h5", "x.npy", "--device", "cpu", "--json").stdout)
    assert content["total"]["value"] == pytest.approx((4 * 12 + 12) * 8.6e-9)


def test_energy_on_all_devices_is_the_default(call):
    text = call("energy", "net.h5", "x.npy").stdout
    assert all(f"{name} " in text for name in list_devices())
    assert text == call("energy", "net.h5", "x.npy", "--device", "all").stdout
    devices = json.loads(call("energy", "net.h5", "x.npy", "--json").stdout)["devices"]
    assert {row["device"] for row in devices} == set(list_devices())


def test_energy_without_inputs_runs_random_ones_and_says_so(call):
    result = call("energy", "net.h5", "--json")
    assert json.loads(result.stdout)["devices"][0]["samples"] == 10
    assert "random samples" in result.stderr
    assert_one_line(call("energy", "net.h5", "--steps", "3", status=1), "one pass")


def test_verify_accepts_a_good_file(call):
    text = call("verify", "net.h5").stdout
    assert text == f"ok: net.h5, content sha256 {content_digest(network(WEIGHTS_EN))}\n"


def test_a_damaged_file_is_refused_by_every_command(call, folder, tmp_path):
    data = bytearray((folder / "net.h5").read_bytes())
    data[-1] ^= 1
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(data)
    for command in (
        ("info", damaged),
        ("verify", damaged),
        ("run", damaged, "x.npy"),
        ("energy", damaged, "x.npy"),
    ):
        assert_one_line(call(*command, status=1), "damaged.h5", "SHA-256")


def test_a_missing_file_is_named(call):
    for command in (("info", "no.h5"), ("verify", "no.h5"), ("run", "no.h5", "x.npy")):
        assert_one_line(call(*command, status=1), "no.h5", "No such file")
    assert_one_line(call("run", "net.h5", "no.npy", status=1), "no.npy", "No such file")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((4, 2, 2, 1), np.float32), ["float32", "integers of 0 to 15", "15 * x + 0"]),
        (np.zeros((0, 2, 2, 1), np.uint8), ["no samples"]),
        (np.uint8(3), ["single number"]),
        (np.zeros((4, 3, 2, 1), np.uint8), ["(4, 3, 2, 1)"]),
        (np.full((1, 2, 2, 1), 16, np.uint8), ["16"]),
        (np.array([{"a": 1}], dtype=object), ["no .npy file of numbers"]),
    ],
)
def test_unusable_inputs_give_one_line(call, tmp_path, content, words):
    np.save(tmp_path / "x.npy", content)
    assert_one_line(call("run", "net.h5", tmp_path / "x.npy", status=1), *words)


def test_other_files_are_no_inputs(call, tmp_path):
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npy").write_text("1 2 3\n")
    np.savez(tmp_path / "two.npz", a=IMAGES)
    for name in ("empty.npy", "text.npy"):
        result = call("run", "net.h5", tmp_path / name, status=1)
        assert_one_line(result, "is no .npy file of numbers")
    assert_one_line(call("run", "net.h5", tmp_path / "two.npz", status=1), "archive of arrays")


@pytest.mark.parametrize(
    "labels", [np.zeros(3, np.int64), np.zeros(4, np.float32), np.zeros((4, 1), np.int64)]
)
def test_labels_must_be_one_integer_per_sample(call, tmp_path, labels):
    np.save(tmp_path / "l.npy", labels)
    result = call("run", "net.h5", "x.npy", "--labels", tmp_path / "l.npy", status=1)
    assert_one_line(result, "labels are integers of shape (4,)")


def test_an_unknown_device_lists_the_known_ones_before_anything_runs(call):
    result = call("energy", "missing.h5", "missing.npy", "--device", "lohi", status=1)
    assert_one_line(result, "'lohi'", "spinnaker2")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "net.h5"),
        ("run", "net.h5", "x.npy", "--potentials"),
        ("info", "net.h5", "--nonsense"),
        ("nonsense",),
        ("demo", "--epochs", "0"),
        ("demo", "--seed", "-1"),
    ],
)
def test_wrong_usage_ends_with_2(call, arguments):
    assert "Error" in call(*arguments, status=2).stderr


def test_output_into_a_missing_folder_gives_one_line(call, tmp_path):
    target = tmp_path / "missing" / "out.npy"
    result = call("run", "net.h5", "x.npy", "--output", target, status=1)
    assert_one_line(result, str(target))


def test_doctor_reports_versions_and_kernel(call):
    content = json.loads(call("doctor", "--json").stdout)
    assert content["kerasnsoc"] == kerasnsoc.__version__
    assert content["packages"]["numpy"] == np.__version__
    assert content["kernels"]["chosen"] in content["kernels"]["available"]
    assert set(content["extras"]["train"]) == {"keras", "tensorflow"}
    assert content["problems"] == []
    text = call("doctor").stdout
    assert np.__version__ in text
    for name, reason in content["kernels"]["missing"].items():
        assert f"no kernel {name}" in text
        assert reason in text
    assert call("doctor", "--kernels").stdout.split() == content["kernels"]["available"]


def test_doctor_names_the_extra_that_is_missing(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    text = call("doctor").stdout
    line = next(line for line in text.splitlines() if line.startswith("keras "))
    assert 'pip install "kerasnsoc[train]"' in line
    assert json.loads(call("doctor", "--json").stdout)["extras"]["train"]["keras"] is None


@pytest.mark.skipif(not PROJECT.exists(), reason="pyproject.toml is not beside the tests")
def test_doctor_knows_the_extras_and_what_they_bring():
    import re
    import tomllib

    with PROJECT.open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for_developers = {"bench", "docs", "lint", "release", "test"}
    assert set(cli._EXTRAS) == set(extras) - for_developers
    for extra, modules in cli._EXTRAS.items():
        brought = {re.match(r"[\w-]+", line).group() for line in extras[extra]} - {"keras"}
        names = {cli._DISTRIBUTIONS.get(module, (module,))[0] for module in modules} - {"keras"}
        assert names == brought


def test_doctor_ends_with_1_if_something_is_wrong(call, monkeypatch):
    monkeypatch.setenv("KERASNSOC_KERNEL", "abacus")
    result = call("doctor", status=1)
    assert "abacus" in result.stderr
    assert np.__version__ in result.stdout
    assert "scalar" in call("doctor", "--kernels", status=1).stdout


def test_demo_passes_its_options_on(call, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr("kerasnsoc.cli._installed", lambda package: "1.0")
    monkeypatch.setattr(
        "kerasnsoc.demo.run_demo",
        lambda output, seed, epochs=30, *, echo: calls.append((output, seed, epochs)),
    )
    call("demo", "--output", tmp_path, "--seed", "7", "--epochs", "3")
    call("demo")
    assert calls[0] == (tmp_path, 7, 3)
    assert calls[1][1:] == (0, 30)


def test_memory_errors_and_control_characters_become_one_clean_line(call, monkeypatch):
    def fail(path):
        raise MemoryError

    monkeypatch.setattr("kerasnsoc.artifact.load", fail)
    assert_one_line(call("info", "net.h5", status=1), "not enough memory")

    def refuse(path):
        raise ValueError("a\nb\x1b[2J")

    monkeypatch.setattr("kerasnsoc.artifact.load", refuse)
    assert call("info", "net.h5", status=1).stderr == "kerasnsoc: a b\N{REPLACEMENT CHARACTER}[2J\n"


def test_programming_errors_are_not_swallowed(call, monkeypatch):
    def fail(path):
        raise AttributeError("a bug")

    monkeypatch.setattr("kerasnsoc.artifact.load", fail)
    with pytest.raises(AttributeError, match="a bug"):
        call("info", "net.h5")


def test_verify_speaks_json(call):
    content = json.loads(call("verify", "net.h5", "--json").stdout)
    digest = content_digest(network(WEIGHTS_EN))
    assert content == {"file": "net.h5", "ok": True, "content_digest": digest}


@pytest.mark.parametrize("target", ["net.h5", "x.npy"])
def test_what_is_read_is_not_overwritten(call, folder, target):
    before = (folder / target).read_bytes()
    result = call("run", "net.h5", "x.npy", "--output", target, status=2)
    assert "which this command reads" in result.stderr.replace("\n", " ")
    assert (folder / target).read_bytes() == before


def test_a_network_over_time(call, tmp_path):
    file, inputs = tmp_path / "time.h5", tmp_path / "x.npy"
    save_artifact(time_networks()["time_events"], file)
    np.save(inputs, np.ones((2, 4, 5, 2), np.uint8))
    text = call("info", str(file)).stdout
    assert "time: steps of 0.002 s" in text
    assert "spikes (signed)" in text
    content = json.loads(call("run", str(file), str(inputs), "--steps", "6", "--json").stdout)
    assert content["samples"] == len(content["classes"]) == 2
    assert "loihi" in call("energy", str(file), str(inputs), "--steps", "6").stdout
    assert "takes sequences" in call("run", str(file), str(inputs), status=1).stderr


def test_nothing_that_is_read_is_overwritten(call, folder):
    before = (folder / "net.h5").read_bytes()
    for arguments in (
        ("report", "net.h5", "-o", "net.h5"),
        ("run", "net.h5", "x.npy", "-o", "x.npy"),
        ("map", "net.h5", "--device", "akd1000", "-o", "net.h5"),
        ("upgrade", "net.h5", "-o", "net.h5"),
    ):
        assert "which this command reads" in call(*arguments, status=2).stderr
    assert (folder / "net.h5").read_bytes() == before


def test_files_of_another_kind_are_named_in_one_line(call, folder):
    np.save(folder / "float.npy", IMAGES / 2)
    (folder / "text.keras").write_text("hello")
    assert_one_line(
        call("export-c", "net.h5", "c", "--inputs", "float.npy", status=1), "float64", "15 * x"
    )
    assert_one_line(call("map", "text.keras", "--device", "akd1000", status=1), "no .keras archive")
