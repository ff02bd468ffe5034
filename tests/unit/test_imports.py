"""Fresh interpreters: who imports whom, and what a missing extra says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kerasnsoc

PACKAGE_FOLDER = Path(kerasnsoc.__file__).parents[1]


def python(code, *, expect=0, cwd=None, warnings="error"):
    """Run code in a fresh interpreter that sees the same package as this one."""
    path = os.pathsep.join([str(PACKAGE_FOLDER), os.environ.get("PYTHONPATH", "")]).rstrip(
        os.pathsep
    )
    result = subprocess.run(
        [sys.executable, "-P", "-W", warnings, "-c", code],  # -P: not the sources in this folder
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        timeout=120,
    )
    assert result.returncode == expect, result.stderr
    return result.stdout + result.stderr


def loaded_after(code):
    """Top-level names in sys.modules after the code has run."""
    text = python(f"import sys\n{code}\nprint(*sorted(m.partition('.')[0] for m in sys.modules))")
    return set(text.split())


BLOCK = """
import sys
for name in ({names}):
    sys.modules[name] = None
"""


def blocking(*names):
    return BLOCK.format(names=", ".join(map(repr, names)) + ",")


def test_the_package_alone_imports_nothing_heavy():
    heavy = {"keras", "tensorflow", "numpy", "h5py", "typer", "rich", "kerasnsoc_ext"}
    assert not loaded_after("import kerasnsoc; dir(kerasnsoc); kerasnsoc.__version__") & heavy


@pytest.mark.parametrize("room", ["artifact", "energy", "runtime"])
def test_the_deployment_side_knows_no_keras_and_no_hdf5(room):
    loaded = loaded_after(f"import kerasnsoc.{room}")
    assert not loaded & {"keras", "tensorflow", "h5py", "jax", "torch", "pandas", "rich"}


def test_energy_needs_no_numpy_before_the_first_draw():
    assert "numpy" not in loaded_after("import kerasnsoc.energy; kerasnsoc.energy.list_devices()")


def test_the_compiled_modules_alone_need_neither():
    assert not loaded_after("import kerasnsoc_ext") & {"keras", "tensorflow", "h5py", "kerasnsoc"}


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_the_command_answers_without_numpy(argument):
    code = f"""
sys.argv = ["kerasnsoc", {argument!r}]
from kerasnsoc.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""
    assert not loaded_after(code) & {"numpy", "keras", "tensorflow", "h5py", "kerasnsoc_ext"}


def test_commands_on_an_artifact_work_without_keras_tensorflow_and_hdf5(tmp_path):
    python(
        """
import numpy as np
from kerasnsoc.artifact import *
from kerasnsoc.artifact import save
parameters = InputDataParameters(input_width=2, input_height=2, input_channels=1)
dense = FullyConnectedParameters(num_neurons=2, activations_enabled=False, weights_bits=2)
variables = {
    "weights": np.ones((1, 1, 4, 2), np.int8),
    "threshold_fire": np.zeros(2, np.int32),
    "threshold_fire_step": np.ones(2, np.float32),
}
layers = (LayerSpec("in", parameters), LayerSpec("out", dense, ("in",), variables))
save(NetworkSpec(layers), "net.h5")
np.save("x.npy", np.ones((3, 2, 2, 1), np.uint8))
""",
        cwd=tmp_path,
    )
    for command in (
        ["info", "net.h5"],
        ["run", "net.h5", "x.npy", "--json"],
        ["energy", "net.h5", "x.npy", "--device", "all"],
    ):
        code = f"sys.argv = ['kerasnsoc', *{command}]\nfrom kerasnsoc.cli import main\nmain()"
        assert python(blocking("keras", "tensorflow", "h5py") + code, cwd=tmp_path)


@pytest.mark.parametrize("missing", ["keras", "tensorflow"])
def test_the_demo_without_keras_names_the_extra(tmp_path, missing):
    code = "sys.argv = ['kerasnsoc', 'demo']\nfrom kerasnsoc.cli import main\nmain()"
    text = python(blocking(missing) + code, expect=1, cwd=tmp_path)
    assert len(text.splitlines()) == 1
    assert missing in text
    assert 'pip install "kerasnsoc[train]"' in text
    assert not list(tmp_path.iterdir())


def test_training_in_python_without_tensorflow_names_the_extra(tmp_path):
    code = "import kerasnsoc.demo; kerasnsoc.demo.run_demo('out')"
    text = python(blocking("tensorflow") + code, expect=1, cwd=tmp_path)
    assert 'pip install "kerasnsoc[train]"' in text.splitlines()[-1]


@pytest.mark.parametrize(
    "code",
    [
        "import kerasnsoc.quantization",
        "from kerasnsoc import quantize",
        "import kerasnsoc.conversion; kerasnsoc.conversion.convert",
        "from kerasnsoc import convert",
    ],
)
def test_the_keras_side_without_keras_names_the_extra(code):
    text = python(blocking("keras") + code, expect=1)
    assert text.splitlines()[-1].startswith("ImportError")
    assert 'pip install "kerasnsoc[train]"' in text.splitlines()[-1]


def test_saving_without_hdf5_says_so_and_loading_does_not_need_it(tmp_path):
    pytest.importorskip("h5py")
    code = """
import numpy as np
from kerasnsoc.artifact import InputDataParameters, LayerSpec, NetworkSpec, save
spec = NetworkSpec((LayerSpec("in", InputDataParameters(input_width=1, input_height=1,
                                                        input_channels=1)),))
save(spec, "net.h5")
"""
    text = python(blocking("h5py") + code, expect=1, cwd=tmp_path)
    assert "pip install h5py" in text.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.keras
def test_every_public_name_resolves():
    pytest.importorskip("keras")
    code = "import kerasnsoc\nfor name in kerasnsoc.__all__: getattr(kerasnsoc, name)"
    python(code, warnings="ignore")  # TensorFlow warns while it is imported


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        kerasnsoc.nonsense  # noqa: B018
