"""Every way into the package refuses every bad content for the same reason."""

import pytest

from kerasnsoc.artifact import ArtifactError, load, verify
from tests.hostile.make import CONTENTS, GOOD


def through_path(content, folder):
    path = folder / "net.h5"
    path.write_bytes(content)
    load(path)


def model(**arguments):
    runtime = pytest.importorskip("kerasnsoc.runtime", exc_type=ImportError)
    return runtime.Model(**arguments)


def through_model_path(content, folder):
    path = folder / "net.h5"
    path.write_bytes(content)
    model(filename=str(path))


def through_pickle(content, folder):
    """What unpickling calls, with another content."""
    rebuild, arguments = model(serialized_buffer=GOOD).__reduce_ex__(4)[:2]
    assert sum(isinstance(argument, bytes) for argument in arguments) == 1
    rebuild(*(content if isinstance(argument, bytes) else argument for argument in arguments))


DOORS = {
    "path": through_path,
    "bytes": lambda content, folder: load(content),
    "bytearray": lambda content, folder: load(bytearray(content)),
    "memoryview": lambda content, folder: load(memoryview(b"x" + content)[1:]),
    "verify": lambda content, folder: verify(content),
    "model path": through_model_path,
    "model bytes": lambda content, folder: model(serialized_buffer=content),
    "model pickle": through_pickle,
}
"""Each takes a file's content and a folder; a new way into the package is added here."""


@pytest.mark.parametrize("door", DOORS)
def test_every_door_gives_the_same_reason(door, tmp_path):
    DOORS[door](GOOD, tmp_path)
    wrong = {}
    for name, case in CONTENTS.items():
        try:
            DOORS[door](case.make(), tmp_path)
        except ArtifactError as error:
            if error.reason is not case.reason:
                wrong[name] = error.reason
        else:
            wrong[name] = "accepted"
    assert not wrong
