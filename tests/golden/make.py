"""Made the files in this folder: ``python -m tests.golden.make``.

Files of a released schema are never made again, only added: that old files stay readable is proved
by the old files themselves. The script writes what is missing and leaves the rest alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from kerasnsoc.artifact import LayerType, NetworkSpec, content_digest, save
from kerasnsoc.artifact.layout import VERSION
from tests import reference, time_reference
from tests.networks import every_kind, learning_networks, time_networks

FOLDER = Path(__file__).parent
EXPECTED = FOLDER / "expected.json"
SAMPLES = 4
STEPS = 9


def inputs(spec: NetworkSpec) -> np.ndarray:
    """A batch from a formula, so that no library's random numbers have to stay as they are."""
    height, width, channels = spec.input.shape_hwc
    sides = (height, width) if spec.input.kind == "image" else (width, height)
    shape = (SAMPLES, *sides, channels)
    if spec.time_step is not None:
        shape = (SAMPLES, STEPS, height, width, channels)
    counter = np.arange(np.prod(shape), dtype=np.int64)
    mixed = (counter * 2654435761 % 2**32) >> 9
    return (mixed % 2**spec.input.bits).astype(np.uint8).reshape(shape)


def outputs(spec: NetworkSpec) -> list[int]:
    """What the reference makes of this batch, sample after sample.

    Of a network that ends with a filter, what the filter gets: integers on every machine.
    """
    if spec.time_step is not None:
        integers = [layer.name for layer in spec.layers if layer.layer_type is not LayerType.Filter]
        return time_reference.run(spec, inputs(spec))[integers[-1]].ravel().tolist()
    results = reference.run(spec, inputs(spec))
    return results[spec.layers[-1].name].outputs.ravel().tolist()


def main() -> None:
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    for name, spec in (every_kind() | learning_networks() | time_networks()).items():
        file = f"v{VERSION}_{name}.h5"
        if (FOLDER / file).exists():
            print(f"{file} is there")
            continue
        save(spec, FOLDER / file)
        expected[file] = {"content_digest": content_digest(spec), "outputs": outputs(spec)}
        print(f"{file} written")
    lines = (
        f"{json.dumps(file)}: {json.dumps(entry, sort_keys=True)}"
        for file, entry in sorted(expected.items())
    )
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
