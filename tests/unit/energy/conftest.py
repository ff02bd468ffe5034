"""A run with counts that are easy to multiply in the head, and a table that tests may write to."""

from types import SimpleNamespace

import pytest

from kerasnsoc.energy import devices


def statistics(samples=10, activations=20, ops=1000, updates=100, connections=500):
    return SimpleNamespace(
        nb_samples=samples,
        nb_activations=activations,
        events_in=activations,
        synaptic_ops=ops,
        neuron_updates=updates,
        connections=connections,
    )


@pytest.fixture
def run():
    return {
        "input": statistics(ops=0, updates=0, connections=0),
        "conv": statistics(),
        "dense": statistics(ops=3000, updates=50, connections=700),
    }


@pytest.fixture(autouse=True)
def table():
    """Devices registered by a test are gone after it."""
    before = dict(devices._devices)
    yield
    devices._devices.clear()
    devices._devices.update(before)
