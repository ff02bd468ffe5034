"""What happens where Keras is not installed; needs no Keras itself."""

import subprocess
import sys

WITHOUT_KERAS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "keras":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
try:
    import kerasnsoc.quantization
except ImportError as error:
    print(error)
"""


def test_a_missing_keras_names_the_extra():
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS], capture_output=True, text=True, check=True
    )
    assert "'keras' is not installed" in run.stdout
    assert 'pip install "kerasnsoc[train]"' in run.stdout
