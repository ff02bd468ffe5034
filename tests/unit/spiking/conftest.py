"""Tables that tests may write to."""

import pytest


@pytest.fixture
def device_table(monkeypatch):
    from kerasnsoc.energy import devices

    monkeypatch.setattr(devices, "_devices", dict(devices._devices))


@pytest.fixture
def layer_table():
    from kerasnsoc.spiking import layer_statistics

    before = dict(layer_statistics.COMPUTERS)
    yield
    layer_statistics.COMPUTERS.clear()
    layer_statistics.COMPUTERS.update(before)
