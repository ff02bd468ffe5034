"""What a device needs to run an artifact: NumPy, and nothing else of size."""

import os
import subprocess
import sys
from pathlib import Path

import kerasnsoc
from kerasnsoc.runtime import Model
from tests.networks import events_network

PROGRAM = """
import sys
import numpy as np
from kerasnsoc.runtime import Model
model = Model(sys.argv[1])
events = np.ones((2, 5, 4, 2), np.uint8)
model.forward(events), model.predict(events), model.evaluate(events), model.trace(events)
str(model.statistics), model.metrics
unwanted = {"keras", "tensorflow", "jax", "torch", "h5py", "yaml", "rich", "scipy"}
print(sorted(unwanted & set(sys.modules)))
"""


def test_running_an_artifact_needs_neither_keras_nor_h5py(tmp_path):
    Model.from_spec(events_network()).save(tmp_path / "net.h5")
    # -P and the folder of this very package: not whatever lies in the working directory
    folder = str(Path(kerasnsoc.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", PROGRAM, str(tmp_path / "net.h5")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": folder},
    )
    assert result.stderr == ""
    assert result.stdout == "[]\n"
