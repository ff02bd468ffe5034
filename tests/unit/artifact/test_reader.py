"""What `load` gives: sources, arrays, the digest that one trusts."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kerasnsoc import artifact
from kerasnsoc.artifact import ArtifactError, Reason, load, reader, to_bytes
from kerasnsoc.artifact.jsontext import canonical
from kerasnsoc.artifact.layout import frame, seal, user_block_size
from tests.networks import events_network, every_kind


@pytest.fixture(scope="module")
def content():
    return to_bytes(events_network())


@pytest.fixture
def path(content, tmp_path):
    target = tmp_path / "net.h5"
    target.write_bytes(content)
    return target


def same(one, other):
    assert to_bytes(one) == to_bytes(other)


def test_every_source_gives_the_same_network(content, path):
    spec = events_network()
    for source in (
        path,
        str(path),
        content,
        bytearray(content),
        memoryview(content),
        memoryview(bytes(3) + content)[3:],
        memoryview(content[::-1])[::-1],
    ):
        same(load(source), spec)


@pytest.mark.parametrize("source", [None, 3, np.zeros(3, np.uint8), ["net.h5"], b"x".decode])
def test_other_sources_are_a_type_error(source):
    with pytest.raises(TypeError, match="must be a path or a bytes-like object"):
        load(source)


def test_a_path_of_bytes_is_a_type_error(path):
    class Odd(os.PathLike):
        def __fspath__(self):
            return os.fsencode(path)

    with pytest.raises(TypeError, match="path of bytes"):
        load(Odd())


@pytest.mark.parametrize("source", ["content", "path"])
def test_arrays_are_read_only_views_of_one_buffer(content, path, source):
    spec = load({"content": content, "path": path}[source])
    for layer in spec.layers:
        for array in layer.variables.values():
            assert not array.flags.owndata
            assert array.flags.aligned
            assert array.flags.c_contiguous
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.flags.writeable = True


def test_arrays_of_a_file_start_on_a_cache_line(path):
    for layer in load(path).layers:
        for array in layer.variables.values():
            assert array.ctypes.data % 64 == 0


def test_arrays_of_bytes_are_not_copied(content):
    base = np.frombuffer(content, np.uint8).ctypes.data
    weights = load(content).layers[1].variables["weights"]
    assert base < weights.ctypes.data < base + len(content)


def test_a_buffer_that_changes_later_changes_nothing(content):
    buffer = bytearray(content)
    spec = load(buffer)
    buffer[:] = bytes(len(buffer))
    same(spec, events_network())


def test_the_spec_comes_back_whole():
    for spec in every_kind().values():
        again = load(to_bytes(spec))
        assert again.input_scale == spec.input_scale
        assert again.input_shift == spec.input_shift
        assert again.metadata == spec.metadata
        assert again.input == spec.input
        for one, other in zip(again.layers, spec.layers, strict=True):
            assert (one.name, one.parameters, one.inbounds) == (
                other.name,
                other.parameters,
                other.inbounds,
            )
            assert one.variables.keys() == other.variables.keys()
            for name, values in one.variables.items():
                assert values.dtype == other.variables[name].dtype
                np.testing.assert_array_equal(values, other.variables[name])


def test_expected_sha256_is_the_digest_of_the_file(content, path):
    right = hashlib.sha256(content).hexdigest()
    for source in (content, path):
        load(source, expected_sha256=right)
        load(source, expected_sha256=right.upper())
        with pytest.raises(ArtifactError, match="expected was 0000") as caught:
            load(source, expected_sha256="0" * 64)
        assert caught.value.reason is Reason.DIGEST


@pytest.mark.parametrize("text", ["", "0" * 63, "g" * 64, "0" * 64 + "\n", 5, b"0" * 64])
def test_expected_sha256_must_be_one(content, text):
    with pytest.raises(ValueError, match="must be 64 hexadecimal digits"):
        load(content, expected_sha256=text)


def test_messages_name_the_path(content, path):
    path.write_bytes(content[:-1])
    with pytest.raises(ArtifactError, match=r"net\.h5': .*announces") as caught:
        load(path)
    assert caught.value.reason is Reason.TRUNCATED
    damaged = bytearray(content)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ArtifactError, match=r"net\.h5': .*was sealed with"):
        load(path)


def test_a_missing_file_is_what_python_calls_it(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.h5")


def test_a_forbidden_file_is_what_python_calls_it(path, monkeypatch):
    def forbidden(*_):  # root, who may run this, may read every file
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(reader, "os", SimpleNamespace(**{**vars(os), "open": forbidden}))
    with pytest.raises(PermissionError):
        load(path)


def test_what_is_no_file_is_called_by_its_name(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, kind in (
        (tmp_path, "folder"),
        (tmp_path / "fifo", "pipe"),
        ("/dev/zero", "device"),
    ):
        with pytest.raises(ArtifactError, match=f"is a {kind}, no regular file") as caught:
            load(path)
        assert caught.value.reason is Reason.UNREADABLE


def test_a_file_that_shrinks_while_it_is_read_is_truncated(path, monkeypatch):
    status = os.stat(path)

    def outdated(descriptor):
        os.truncate(path, 600)
        return status

    monkeypatch.setattr(reader, "os", SimpleNamespace(**{**vars(os), "fstat": outdated}))
    with pytest.raises(ArtifactError, match="ended after 600 of") as caught:
        load(path)
    assert caught.value.reason is Reason.TRUNCATED


def test_a_disk_that_fails_is_unreadable(path, monkeypatch):
    def broken(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    # only the reader's view of the module: pytest itself opens files
    monkeypatch.setattr(reader, "os", SimpleNamespace(**{**vars(os), "fstat": broken}))
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        load(path)
    assert caught.value.reason is Reason.UNREADABLE


def test_content_beyond_the_limit_is_unreadable(content, path, monkeypatch):
    monkeypatch.setattr("kerasnsoc.artifact.reader.MAX_FILE_BYTES", 1000)
    for source in (content, path):
        with pytest.raises(ArtifactError, match="at most 1000") as caught:
            load(source)
        assert caught.value.reason is Reason.UNREADABLE


def test_no_descriptor_is_left_open(content, path, tmp_path):
    bad = tmp_path / "bad.h5"
    bad.write_bytes(content[:-1])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        load(path)
        for source in (bad, tmp_path):
            with pytest.raises(ArtifactError):
                load(source)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("length", "size"), [(2, 512), (448, 512), (449, 1024), (4 << 20, 8 << 20)]
)
def test_the_user_block_is_the_least_power_of_two(length, size):
    assert user_block_size(length) == size
    data = seal(bytes(length), b"body")
    assert frame(data[:64], len(data)).body_start == size


def test_loading_needs_neither_h5py_nor_keras(path):
    code = (
        "import sys\n"
        "for name in ('h5py', 'keras', 'tensorflow'): sys.modules[name] = None\n"
        "from kerasnsoc import artifact\n"
        f"spec = artifact.load({str(path)!r})\n"
        "print(artifact.content_digest(spec))\n"
    )
    root = Path(artifact.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert result.stdout.strip() == artifact.content_digest(events_network())


def test_importing_the_room_imports_no_h5py():
    code = "import sys, kerasnsoc.artifact; sys.exit('h5py' in sys.modules)"
    root = Path(artifact.__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}, check=True
    )


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (5, Reason.SHAPE),
        ({"0": 3, "1": 2}, Reason.SHAPE),
        ([reader.MAX_FILE_BYTES], Reason.LAYOUT),
        ([reader.MAX_FILE_BYTES + 1], Reason.SHAPE),
        ([1, 1, 1, 1], Reason.SHAPE),
    ],
)
def test_shapes_of_arrays_have_limits(content, shape, reason):
    parts = frame(content[:64], len(content))
    index = json.loads(content[parts.index])
    index["arrays"]["l1_weights"][1] = shape
    with pytest.raises(ArtifactError) as caught:
        load(seal(canonical(index), content[parts.body]))
    assert caught.value.reason is reason
