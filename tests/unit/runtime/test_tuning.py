"""The remembered crossover: found once, never trusted, never needed."""

import json
import os

import pytest

from kerasnsoc.runtime import tuning
from kerasnsoc_ext import available_kernels

KERNEL = available_kernels()[0]

needs_vectors = pytest.mark.skipif(KERNEL == "scalar", reason="this CPU has no vector kernels")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder, in a process that knows nothing yet."""
    monkeypatch.setattr(tuning, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(tuning, "_known", {})
    monkeypatch.delenv("KERASNSOC_TUNING", raising=False)
    return tmp_path / "cache"


def _forget():
    tuning._known.clear()


@needs_vectors
def test_timed_once_and_remembered(folder, monkeypatch):
    found = tuning.crossover(KERNEL)
    assert all(tuning.LEAST <= share <= tuning.MOST for share in found)
    (file,) = folder.iterdir()
    assert list(json.loads(file.read_text()).values()) == [list(found)]

    def refuse(kernel):
        raise AssertionError("timed again")

    monkeypatch.setattr(tuning, "_time", refuse)
    assert tuning.crossover(KERNEL) == found
    _forget()
    assert tuning.crossover(KERNEL) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "\x00\xff",
        '{"KEY": [2.0, 0.5]}',
        '{"KEY": [NaN, 0.5]}',
        '{"KEY": ["0.5", 0.5]}',
        '{"KEY": 0.5}',
        "[" * 5000,
        " " * (tuning.MAX_FILE_BYTES + 1),
    ],
)
def test_a_wrong_file_is_timed_anew(folder, monkeypatch, text):
    folder.mkdir()
    key = f"any {tuning._processor()}"
    file = folder / f"tuning-{tuning.VERSION}.json"
    file.write_bytes(text.replace("KEY", key).encode("latin-1"))
    monkeypatch.setattr(tuning, "_time", lambda kernel: (0.25, 0.5))
    assert tuning.crossover("any") == (0.25, 0.5)
    assert json.loads(file.read_text())[key] == [0.25, 0.5]


def test_others_entries_are_kept(folder, monkeypatch):
    monkeypatch.setattr(tuning, "_time", lambda kernel: (0.25, 0.5))
    tuning.crossover("one")
    tuning.crossover("two")
    (file,) = folder.iterdir()
    assert len(json.loads(file.read_text())) == 2


def test_a_folder_that_cannot_be_made(folder, monkeypatch):
    folder.write_text("a file is in the way")
    monkeypatch.setattr(tuning, "_time", lambda kernel: pytest.fail("timed for nobody"))
    assert tuning.crossover("any") is None


def test_a_folder_that_cannot_be_written(folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(tuning, "_time", lambda kernel: pytest.fail("timed for nobody"))
    assert tuning.crossover("any") is None


@needs_vectors
def test_a_disk_that_is_full_leaves_nothing_behind(folder, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tuning, "_time", lambda kernel: (0.25, 0.5))
    monkeypatch.setattr(tuning.os, "replace", full)
    without = tuning.crossover(KERNEL)
    assert without != (0.25, 0.5)
    assert list(folder.iterdir()) == []


def test_off_and_scalar_touch_nothing(folder, monkeypatch):
    assert tuning.crossover("scalar") is None
    monkeypatch.setenv("KERASNSOC_TUNING", "off")
    assert tuning.crossover("any") is None
    assert not folder.exists()


@pytest.mark.skipif(os.name != "posix", reason="XDG folders are a matter of Unix")
def test_where_the_file_lies(monkeypatch):
    monkeypatch.setattr(tuning.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(tuning.cache_folder()) == "/somewhere/kerasnsoc"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(tuning.cache_folder()) == "/home/someone/.cache/kerasnsoc"
