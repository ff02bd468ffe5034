"""The HDF5 view of a file against its index, with libhdf5 in a child process."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from kerasnsoc.artifact.errors import ArtifactError, Reason

BASE_SECONDS = 20.0
"""Time for the child to start and to answer about a small file, on a busy machine."""

_BYTES_PER_SECOND = 20e6

_SPARE_BYTES = 256 << 20
"""What libhdf5 and numpy may take beyond two copies of the file."""

Dataset = tuple[str, list[int], int, str]
"""dtype, shape, offset inside the HDF5 part, SHA-256 of the values"""


def require_h5py() -> None:
    """Raise an ImportError that says what to install."""
    if importlib.util.find_spec("h5py") is None:
        raise ImportError(
            "writing or verifying an artifact needs h5py, which is not installed: pip install h5py"
        )


def compare(data: memoryview, expected: Mapping[str, Dataset], text_name: str, text: bytes) -> None:
    """Compare what libhdf5 sees with what the index says.

    Parameters
    ----------
    data : memoryview
        The whole file.
    expected : mapping of str to tuple
        Arrays as the index lists them.
    text_name : str
        Name of the one further dataset.
    text : bytes
        Its content.

    Raises
    ------
    ArtifactError
        With `Reason.LAYOUT` if the views differ, `Reason.UNREADABLE` if libhdf5 gave no answer.
    ImportError
        If h5py is missing.
    """
    require_h5py()
    found = _ask(data)
    described = found.pop(text_name, None)
    if described is None:
        _refuse(f"has no dataset {text_name!r}")
    dtype, shape, _, digest = described
    if (dtype, shape, digest) != ("|u1", [len(text)], hashlib.sha256(text).hexdigest()):
        _refuse(f"has a dataset {text_name!r} that does not describe this network")
    for name, wanted in expected.items():
        seen = found.pop(name, None)
        if seen is None:
            _refuse(f"has no dataset {name!r}")
        for what, is_, should in zip(
            ("dtype", "shape", "offset", "SHA-256"), seen, wanted, strict=True
        ):
            if is_ != should:
                _refuse(f"has a dataset {name!r} whose {what} is {is_}; the index says {should}")
    if found:
        _refuse(f"has the dataset {min(found)[:80]!r}, which the index does not list")


def _refuse(what: str) -> NoReturn:
    raise ArtifactError(Reason.LAYOUT, f"the HDF5 view {what}")


def _ask(data: memoryview) -> dict[str, list[Any]]:
    """Datasets as the child reports them, with offsets counted from the HDF5 part."""
    if not sys.executable:
        raise RuntimeError("verifying needs a Python interpreter to start, sys.executable is empty")
    program = Path(__file__).with_name("_hdf5_view.py")
    memory = 2 * data.nbytes + _SPARE_BYTES
    seconds = BASE_SECONDS + data.nbytes / _BYTES_PER_SECOND
    command = [sys.executable, "-P", str(program), str(memory), str(math.ceil(seconds))]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "HDF5_PLUGIN_PRELOAD": "::",  # no filter plugins
        "OPENBLAS_NUM_THREADS": "1",  # threads would only cost start time
    }
    try:
        result = subprocess.run(
            command,
            input=data,
            capture_output=True,
            timeout=seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ArtifactError(
            Reason.UNREADABLE, f"libhdf5 was still reading after {seconds:.0f} s"
        ) from None
    try:
        answer = json.loads(result.stdout)
    except (ValueError, RecursionError):
        last = "".join(result.stderr.decode(errors="replace").strip().splitlines()[-1:])
        raise ArtifactError(
            Reason.UNREADABLE,
            f"libhdf5 died on this file with exit status {result.returncode}: {last[:200]}",
        ) from None
    if isinstance(answer, dict):
        if "refused" in answer:
            _refuse(f"cannot be read: {answer['refused']}")
        datasets = answer.get("datasets")
        if isinstance(datasets, dict) and all(
            isinstance(entry, list) and len(entry) == 4 for entry in datasets.values()
        ):
            return datasets
    raise ArtifactError(
        Reason.UNREADABLE, "the process that ran libhdf5 on this file gave no sensible answer"
    )
