"""The demo of spoken digits: the shipped network, the shipped sound, without Keras."""

import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from kerasnsoc.cli import app
from kerasnsoc.demo.kws import run_kws_demo
from tests.unit.zoo.kws.sounds import tone, write_wav

SAID = ["three", "one", "four", "one", "five", "nine"]


def test_the_shipped_sound_is_understood():
    lines = []
    result = run_kws_demo(echo=lines.append)
    assert [word.label for word in result.words] == SAID
    assert all(word.probability > 0.5 for word in result.words)
    text = "\n".join(lines)
    for promised in ("three", "synaptic ops", "Latency", "Energy", "loihi"):
        assert promised in text
    first = result.layers[0]
    assert first["name"] == "conv_0"
    assert first["events_in"] == 490
    # per word, not in total: a dense first layer does what it always does
    assert first["synaptic_ops"] == first["dense_ops"]
    assert all(0 < layer["synaptic_ops"] <= layer["dense_ops"] for layer in result.layers)
    assert set(result.energy) == {"cpu", "arm", "loihi", "spinnaker2", "cmos45-snn"}
    content = result.to_dict()
    assert [word["label"] for word in content["words"]] == SAID


def test_the_command_needs_neither_keras_nor_tensorflow():
    code = """
import sys
for name in ("keras", "tensorflow", "h5py"):
    sys.modules[name] = None
sys.argv = ["kerasnsoc", "demo", "kws"]
from kerasnsoc.cli import main
main()
"""
    run = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=os.environ.copy(),
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    heard = [line.split()[4] for line in run.stdout.splitlines() if " s  " in line]
    assert heard == SAID


def test_silence_has_no_words(tmp_path):
    write_wav(tmp_path / "silence.wav", np.zeros(8000))
    lines = []
    result = run_kws_demo(tmp_path / "silence.wav", echo=lines.append)
    assert result.words == []
    assert lines == ["no word in 1.0 s of sound"]


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("absent.wav", 1, "No such file"),
        ("fast.wav", 1, "16000 samples per second"),
        ("text.wav", 1, "16-bit PCM: it ends too early"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path, name, status, message):
    write_wav(tmp_path / "fast.wav", tone(300), rate=16000)
    (tmp_path / "text.wav").write_text("hello")
    result = CliRunner().invoke(app, ["demo", "kws", str(tmp_path / name)])
    assert result.exit_code == status
    assert message in result.output
    assert name in result.output
    assert len(result.output.splitlines()) == 1


def test_the_other_demo_takes_no_file():
    result = CliRunner().invoke(app, ["demo", "digits", "a.wav"])
    assert result.exit_code == 2
    assert "takes no file" in result.output
