"""Without Ray the room can be looked at, and its functions name the extra."""

import subprocess
import sys

import numpy as np
import pytest

from kerasnsoc import distributed

EXTRA = r'pip install "kerasnsoc\[distributed\]"'


@pytest.mark.parametrize(
    "call",
    [
        lambda: distributed.run("net.h5", np.zeros((1, 1, 1, 1), np.uint8)),
        lambda: distributed.energy_sweep({}, np.zeros((1, 1, 1, 1), np.uint8)),
        lambda: distributed.map_dataset(None, "net.h5"),
    ],
    ids=["run", "energy_sweep", "map_dataset"],
)
def test_a_missing_ray_names_the_extra(monkeypatch, call):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=EXTRA):
        call()


def test_the_room_imports_neither_ray_nor_keras():
    code = (
        "import sys, kerasnsoc.distributed; "
        "print([m for m in ('ray', 'pyarrow', 'keras', 'tensorflow') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"
