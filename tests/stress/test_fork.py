"""A forked or spawned child of a process with running threads works at once."""

import multiprocessing
import os
import threading
import time

import numpy as np
import pytest

from kerasnsoc.runtime import Model
from tests.networks import every_kind
from tests.stress.threads import inputs_for

CALLS = 100
SECONDS = 20
"""Each child's time; a child that waits for a lost lock never ends."""


@pytest.fixture
def model():
    return Model.from_spec(every_kind()["image"])


@pytest.fixture
def busy(model):
    """Threads that run the model, split batches, change it and read its statistics."""
    images = inputs_for(model, 30, 1)
    stop = threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            if number == 0:
                model.variables_changed()
            model.forward(images, threads=1 + number)
            _ = model.metrics

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


def wait_for(child: int) -> int | None:
    """Exit status, or None if the child had to be ended."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.usefixtures("busy")
def test_a_forked_child_runs(model):
    images = inputs_for(model, 30, 2)
    expected = model.forward(images, threads=1)
    for _ in range(5):
        child = os.fork()
        if child == 0:
            status = 2
            try:
                same = [
                    np.array_equal(model.forward(images, threads=1 + call % 4), expected)
                    for call in range(CALLS)
                ]
                status = 0 if all(same) else 1
            finally:
                os._exit(status)
        assert wait_for(child) == 0


def spawned(model, images, expected, results):
    same = all(np.array_equal(model.forward(images, threads=2), expected) for _ in range(CALLS))
    results.put(same)


@pytest.mark.usefixtures("busy")
def test_a_spawned_child_gets_the_model_by_its_artifact(model):
    images = inputs_for(model, 5, 3)
    expected = model.forward(images, threads=1)
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    child = context.Process(target=spawned, args=(model, images, expected, results))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert results.get() is True
