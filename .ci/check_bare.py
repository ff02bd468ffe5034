"""The installed wheel alone, without extras, inspects and runs the stored artifacts.

``python .ci/check_bare.py FOLDER`` with the folder of the golden artifacts.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from kerasnsoc.artifact import load

COMMAND = Path(sys.executable).parent / "kerasnsoc"


def kerasnsoc(*arguments: object, status: int = 0) -> str:
    result = subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if result.returncode != status:
        sys.exit(
            f"kerasnsoc {' '.join(map(str, arguments))} ended with {result.returncode} instead of "
            f"{status}\n{result.stdout}{result.stderr}"
        )
    return result.stdout + result.stderr


def main(folder: str) -> None:
    for name in ("keras", "tensorflow"):
        if importlib.util.find_spec(name) is not None:
            sys.exit(f"{name} is installed here, but this check is about life without it")
    artifacts = sorted(Path(folder).glob("*.h5"))
    if not artifacts:
        sys.exit(f"{folder} holds no artifact (*.h5)")
    kerasnsoc("doctor")
    for artifact in artifacts:
        network = load(artifact)
        spec = network.input
        height, width, channels = spec.shape_hwc
        shape: tuple[int, ...] = (height, width) if spec.kind == "image" else (width, height)
        if network.time_step is not None:
            shape = (4, height, width)  # sequences keep the layout of Keras
        batch = np.random.default_rng(0).integers(
            0, 2**spec.bits, (5, *shape, channels), dtype=np.uint8
        )
        np.save("input.npy", batch)
        layers = json.loads(kerasnsoc("info", artifact, "--json"))["layers"]
        kerasnsoc("info", artifact)
        kerasnsoc("verify", artifact)
        result = json.loads(kerasnsoc("run", artifact, "input.npy", "--json"))
        if len(result["classes"]) != 5 or len(result["layers"]) != len(layers):
            sys.exit(f"{artifact.name}: unexpected result {result}")
        kerasnsoc("energy", artifact, "input.npy", "--device", "loihi")
        print(f"{artifact.name}: {len(layers)} layers inspected, verified, run and priced")
    if "three" not in kerasnsoc("demo", "kws"):
        sys.exit("the demo of spoken digits did not hear the first word of the sound that ships")
    message = kerasnsoc("demo", status=1)
    if 'pip install "kerasnsoc[train]"' not in message or len(message.splitlines()) != 1:
        sys.exit(f"the demo without Keras should name the extra in one line, but said: {message}")
    print("no Keras, no TensorFlow, and the demo names the extra that it needs")


if __name__ == "__main__":
    main(*sys.argv[1:])
