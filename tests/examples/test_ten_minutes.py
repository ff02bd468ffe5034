"""What a newcomer does in the first ten minutes, line by line; installing is `.ci/install`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kerasnsoc import cli

EXAMPLE = Path(__file__).parents[2] / "examples" / "01_quantize_convert_run.py"


def python(folder, *arguments):
    run = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def kerasnsoc(folder, *arguments):
    return python(folder, "-m", "kerasnsoc", *arguments)


@pytest.fixture(scope="module")
def seat(tmp_path_factory):
    """A folder in which the first example ran, and what it printed."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("seat")
    return folder, python(folder, EXAMPLE)


def test_the_version_is_told_without_tensorflow(tmp_path):
    program = "import sys, kerasnsoc; print(kerasnsoc.__version__, 'tensorflow' in sys.modules)"
    version, is_loaded = python(tmp_path, "-c", program).split()
    assert version.startswith("0.")
    assert is_loaded == "False"


def test_doctor_says_what_works_here(tmp_path):
    text = kerasnsoc(tmp_path, "doctor")
    for word in ("kerasnsoc", "numpy", "h5py", "kernel", "scalar"):
        assert word in text


@pytest.mark.keras
def test_the_first_example_prints_accuracy_energy_and_parity(seat):
    _, text = seat
    assert "integer accuracy 9" in text
    assert re.search(r"\nenergy per image on Loihi \d+ nJ, \d+ at least\n", text)
    assert "\n0 of 95,494 values differ" in text


@pytest.mark.keras
def test_its_artifact_is_shown_and_priced(seat):
    folder, _ = seat
    assert "InputConvolutional" in kerasnsoc(folder, "info", "net.h5")
    table = kerasnsoc(folder, "energy", "net.h5", "--device", "all")
    for device in ("loihi", "cpu", "cmos45-snn"):
        assert f"\n{device} " in table


@pytest.mark.keras
def test_a_model_of_their_own_is_judged_and_mended(tmp_path, monkeypatch):
    keras = pytest.importorskip("keras")
    monkeypatch.chdir(tmp_path)

    def call(*arguments, status=0):
        result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.stdout

    layers = [
        keras.Input((16, 16, 3)),
        keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10, activation="softmax"),
    ]
    keras.Sequential(layers).save("my_model.keras")
    text = call("check", "my_model.keras", status=1)
    assert "->" in text
    assert "now: kerasnsoc advise my_model.keras --fix fixed.keras" in text
    call("check", "my_model.keras", "--fix", "fixed.keras")
    assert "`kerasnsoc quantize` comes next" in call("check", "fixed.keras")
    call("quantize", "fixed.keras", "quantized.keras", "--input-weights", "8")
    assert "`kerasnsoc convert` comes next" in call("check", "quantized.keras")
    call("convert", "quantized.keras", "mine.h5", "--scaling", "255,0")
    assert "FullyConnected" in call("info", "mine.h5")
