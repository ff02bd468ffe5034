"""What a device needs to check a model: NumPy, and nothing else of size."""

import os
import subprocess
import sys

import pytest

UNWANTED = {"keras", "tensorflow", "jax", "torch", "h5py", "yaml", "scipy"}


EVERY_NAME = "import kerasnsoc.nsoc as n; [getattr(n, name) for name in n.__all__]"


@pytest.mark.parametrize(
    "code", ["import kerasnsoc.nsoc", "import kerasnsoc.compatibility", EVERY_NAME]
)
def test_the_room_needs_neither_keras_nor_h5py(code):
    program = f"import sys; {code}; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.stderr == ""
    loaded = set(result.stdout.split())
    assert "kerasnsoc" in loaded
    assert not loaded & UNWANTED


def test_names_are_found_lazily_in_the_package():
    import kerasnsoc
    from kerasnsoc.nsoc import compatibility

    for name in ("create_from_model", "model_hardware_incompatibilities"):
        assert getattr(kerasnsoc, name) is getattr(compatibility, name)
    assert kerasnsoc.compatibility.NsocVersion is kerasnsoc.NsocVersion
