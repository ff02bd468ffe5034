"""The `run` command on recordings of an event camera."""

import json
import struct

import numpy as np
import pytest

from kerasnsoc.runtime import (
    CountWindow,
    FullyConnected,
    InputData,
    Model,
    TimeWindow,
    event_batch,
    make_events,
)
from tests.unit.runtime.small import fill, model_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("events")
    layers = (InputData(4, 3, 2), FullyConnected(3, weights_bits=4, activations_enabled=False))
    fill(model_of(*layers)).save(path / "net.h5")
    t, x, y, p = np.arange(0, 600, 50), np.arange(12) % 4, np.arange(12) % 3, np.arange(12) % 2
    np.save(path / "rec.npy", make_events(t, x, y, p))
    rows = zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True)
    (path / "rec.aedat").write_bytes(
        b"#!AER-DAT2.0\r\n"
        + b"".join(struct.pack(">II", y << 8 | x << 1 | p, t) for t, x, y, p in rows)
    )
    rows = zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True)
    (path / "rec.bin").write_bytes(
        b"".join(struct.pack(">BBBH", x, y, p << 7, t) for t, x, y, p in rows)
    )
    return path


@pytest.fixture
def call(folder, monkeypatch, invoke):
    monkeypatch.chdir(folder)
    return invoke


@pytest.mark.parametrize("name", ["rec.npy", "rec.aedat", "rec.bin"])
@pytest.mark.parametrize(
    ("options", "window", "samples"),
    [
        ((), None, 1),
        (("--packet-us", 200), TimeWindow(200), 3),
        (("--packet-events", 5), CountWindow(5), 3),
    ],
)
def test_recordings_are_cut_into_samples(call, folder, name, options, window, samples):
    found = json.loads(call("run", "net.h5", name, *options, "--json").stdout)
    model = Model(folder / "net.h5")
    batch = event_batch(model, np.load(folder / "rec.npy"), window)
    assert found["samples"] == samples == len(batch)
    assert found["classes"] == model.predict(batch).tolist()


def test_energy_of_a_recording(call):
    assert "J" in call("energy", "net.h5", "rec.aedat", "--device", "loihi").stdout


def test_what_does_not_fit_is_said(call, folder):
    call("run", "net.h5", "rec.bin", "--packet-us", 5, "--packet-events", 5, status=2)
    np.save(folder / "batch.npy", np.zeros((2, 4, 3, 2), np.uint8))
    result = call("run", "net.h5", "batch.npy", "--packet-us", 5, status=1)
    assert "batch.npy is a batch; --packet-us and --packet-events cut recordings" in result.stderr
    (folder / "broken.aedat").write_bytes(b"#!AER-DAT2.0\r\n123")
    result = call("run", "net.h5", "broken.aedat", status=1)
    assert len(result.stderr.splitlines()) == 1
    assert "broken.aedat" in result.stderr
    (folder / "empty.bin").touch()
    result = call("run", "net.h5", "empty.bin", "--packet-us", 5, status=1)
    assert "holds no samples" in result.stderr
