"""Replacing a file: what it may be, what it keeps, what is left behind."""

import errno
import os
import stat
import time

import pytest

from kerasnsoc.artifact import atomic
from kerasnsoc.artifact.atomic import write_atomically


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "net.h5"
    path.write_bytes(b"old")
    return path


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_new_and_existing(tmp_path):
    path = tmp_path / "net.h5"
    for data in (b"first", b"", b"third" * 1000):
        write_atomically(str(path), data)
        assert path.read_bytes() == data
    assert names(tmp_path) == ["net.h5"]


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically("net.h5", b"new")
    assert names(tmp_path) == ["net.h5"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_gets_what_the_umask_leaves(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_atomically(str(tmp_path / "net.h5"), b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "net.h5").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_an_existing_file_keeps_its_mode(target, mode):
    target.chmod(mode)
    write_atomically(str(target), b"new")
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert target.read_bytes() == b"new"


def test_a_link_is_followed_not_replaced(target, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = folder / "link.h5"
    link.symlink_to("../net.h5")
    write_atomically(str(link), b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(folder) == ["link.h5"]


def test_a_dangling_link_creates_what_it_points_to(tmp_path):
    link = tmp_path / "link.h5"
    link.symlink_to("net.h5")
    write_atomically(str(link), b"new")
    assert link.is_symlink()
    assert (tmp_path / "net.h5").read_bytes() == b"new"


def test_a_reader_keeps_the_old_file(target):
    with target.open("rb") as file:
        write_atomically(str(target), b"new")
        assert file.read() == b"old"


def test_a_hard_link_keeps_the_old_content(target, tmp_path):
    os.link(target, tmp_path / "copy.h5")
    write_atomically(str(target), b"new")
    assert (tmp_path / "copy.h5").read_bytes() == b"old"


def test_a_name_of_any_length(tmp_path):
    for name in ("n" * 255, "ä" * 127):
        write_atomically(str(tmp_path / name), b"new")
        assert (tmp_path / name).read_bytes() == b"new"


def refused(path, error, number):
    with pytest.raises(error) as caught:
        write_atomically(str(path), b"new")
    assert caught.value.errno == number
    assert caught.value.filename == str(path)


def test_a_missing_folder_names_the_path(tmp_path):
    refused(tmp_path / "none" / "net.h5", FileNotFoundError, errno.ENOENT)
    assert names(tmp_path) == []


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "net.h5").mkdir()
    refused(tmp_path / "net.h5", IsADirectoryError, errno.EISDIR)
    assert names(tmp_path) == ["net.h5"]


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "net.h5")
    refused(tmp_path / "net.h5", OSError, errno.EINVAL)
    assert names(tmp_path) == ["net.h5"]


def test_a_device_is_not_replaced():
    refused("/dev/null", OSError, errno.EINVAL)


def test_a_loop_of_links_is_not_replaced(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    refused(tmp_path / "a", OSError, errno.ELOOP)
    assert names(tmp_path) == ["a", "b"]


def test_a_file_in_the_way_of_a_folder(target):
    refused(target / "net.h5", NotADirectoryError, errno.ENOTDIR)


def test_the_check_sees_the_whole_new_file_and_may_refuse_it(target, tmp_path):
    seen = []

    def check(path):
        with open(path, "rb") as file:
            seen.append(file.read())
        raise ValueError("not good enough")

    with pytest.raises(ValueError, match="not good enough"):
        write_atomically(str(target), b"new", check)
    assert seen == [b"new"]
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["net.h5"]


def test_an_interrupt_leaves_nothing_behind(target, tmp_path):
    def check(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(str(target), b"new", check)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["net.h5"]


def test_an_error_of_the_system_names_the_path(target, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    refused(target, OSError, errno.ENOSPC)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["net.h5"]


def test_short_writes_are_continued(target, monkeypatch):
    write = os.write
    monkeypatch.setattr(atomic.os, "write", lambda fd, data: write(fd, data[:7]))
    data = bytes(range(256)) * 3
    write_atomically(str(target), data)
    assert target.read_bytes() == data


def test_the_order_is_write_sync_check_replace_sync(target, tmp_path, monkeypatch):
    order = []

    def traced(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            order.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(atomic.os, name, call)

    for name in ("write", "fchmod", "fsync", "close", "replace"):
        traced(name)
    write_atomically(str(target), b"new", lambda path: order.append("check"))
    assert order == [
        "write",
        "fchmod",
        "fsync",
        "close",
        "check",
        "replace",
        "fsync",
        "close",
    ]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_at_all_is_no_error(target, monkeypatch, number):
    fsync = os.fsync

    def fail_on_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", fail_on_folders)
    write_atomically(str(target), b"new")
    assert target.read_bytes() == b"new"


def test_a_folder_sync_that_fails_says_that_the_file_is_there(target, monkeypatch):
    fsync = os.fsync

    def fail_on_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", fail_on_folders)
    with pytest.raises(OSError, match="new file is in place") as caught:
        write_atomically(str(target), b"new")
    assert caught.value.filename == str(target)
    assert target.read_bytes() == b"new"


def test_strays_of_killed_saves_are_swept_and_nothing_else(target, tmp_path):
    hour_old = time.time() - 2 * atomic.STRAY_SECONDS
    stale = ".net.h5.0123456789abcdef.part"
    keep = [
        ".net.h5.fedcba9876543210.part",  # may belong to a save that still runs
        ".net.h5.0123456789abcdef",
        ".net.h5.0123456789ABCDEF.part",
        ".net.h5.0123456789abcde.part",
        ".other.h5.0123456789abcdef.part",
        "net.h5.0123456789abcdef.part",
    ]
    for name in (stale, *keep):
        (tmp_path / name).write_bytes(b"")
        if name != keep[0]:
            os.utime(tmp_path / name, (hour_old, hour_old))
    (tmp_path / ".net.h5.aaaaaaaaaaaaaaaa.part").mkdir()
    os.utime(tmp_path / ".net.h5.aaaaaaaaaaaaaaaa.part", (hour_old, hour_old))
    write_atomically(str(target), b"new")
    assert names(tmp_path) == sorted([*keep, "net.h5", ".net.h5.aaaaaaaaaaaaaaaa.part"])
