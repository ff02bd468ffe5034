"""Each example runs in a fresh interpreter and prints what its docstring promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))
PROMISES = {
    "01_quantize_convert_run.py": "\n0 of ",  # runs in test_ten_minutes.py
    "13_train_on_two_devices.py": "\n0 of ",
    "02_energy_of_a_run.py": "J",
    "03_learn_a_new_class.py": "\n0 of 35840 old weights changed",
    "04_without_retraining.py": "\n0 of ",
    "05_learn_a_new_digit.py": "\n0 of 184320 old weights changed",
    "06_event_camera.py": "direction told in 160 of 160 packets",
    "07_spiking_digits.py": "\n0 of ",
    "08_firing_rates.py": "\n5-10 Hz: ",
    "10_spiking_activation.py": "accuracy of rates",
    "09_on_a_chip.py": "\n0 of 70 values differ",
    "11_annealed_time_step.py": "\nannealed: accuracy ",
    "12_spoken_words_over_time.py": "\n0 of ",
}


def test_every_example_is_listed():
    assert {path.name for path in EXAMPLES} == set(PROMISES)


@pytest.mark.keras
@pytest.mark.parametrize("path", EXAMPLES[1:], ids=lambda path: path.stem)
def test_example(path, tmp_path):
    program = path.read_text()
    if "KERAS_BACKEND" in program:
        pytest.importorskip("jax", reason="needs the extra kerasnsoc[jax]")
    elif "keras" in program:
        pytest.importorskip("tensorflow")
    run = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert PROMISES[path.name] in run.stdout
