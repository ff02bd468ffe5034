"""One model, several threads and processes."""

import itertools
import os
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kerasnsoc.runtime import FullyConnected, InputData, Model
from kerasnsoc.runtime.batches import WORK_PER_THREAD, chosen_threads, cores, run_batch
from kerasnsoc.runtime.locks import ChangeGuard
from kerasnsoc.runtime.plan import CompiledNetwork
from kerasnsoc_ext import Network, Plan, available_kernels, run_together
from tests.networks import every_kind
from tests.unit.runtime.small import batch, model_of


@pytest.fixture
def spec():
    return every_kind()["image"]


@pytest.fixture
def images(spec):
    height, width, channels = spec.input.shape_hwc
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (40, height, width, channels), dtype=np.uint8)


def test_threads_share_a_model(spec, images):
    model = Model.from_spec(spec)
    expected = Model.from_spec(spec).forward(images)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            parts = np.array_split(images, 20)
            for _ in range(5):
                outputs = np.concatenate(list(pool.map(model.forward, parts)))
                np.testing.assert_array_equal(outputs, expected)
    finally:
        sys.setswitchinterval(interval)
    alone = Model.from_spec(spec)
    for _ in range(5):
        alone.forward(images)
    for name, row in alone.statistics.items():
        shared = model.statistics[name]
        for total in ("nb_samples", "nb_activations", "events_in", "synaptic_ops"):
            assert getattr(shared, total) == getattr(row, total)
    assert model.metrics["inference_frames"] == 200


def test_a_plan_belongs_to_one_thread_at_a_time(spec, images):
    compiled = CompiledNetwork(spec)
    plan = Plan(compiled._network)
    many = np.tile(images.reshape(len(images), -1), (500, 1))
    counters = np.empty((len(many), len(spec.layers), 3), np.int64)
    outputs = [None] * len(spec.layers)
    started, refused = threading.Event(), []

    def run() -> None:
        started.set()
        plan.run(many, outputs, counters)

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    while thread.is_alive():
        try:
            plan.run(many[:1], outputs, counters[:1])
        except RuntimeError as error:
            refused.append(str(error))
            break
    thread.join()
    # the second call came in time, or the first one had ended; it never ran beside it
    assert all("in use by another thread" in message for message in refused)
    plan.run(many[:1], outputs, counters[:1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_runs_while_the_parents_threads_do(spec, images):
    model = Model.from_spec(spec)
    expected = model.forward(images)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            model.forward(images)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                same = (model.forward(images) == expected).all()
                os._exit(0 if same else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_running_allocates_nothing_that_grows_with_the_batch(spec, images):
    compiled = CompiledNetwork(spec)
    plan = Plan(compiled._network)
    rows = np.tile(images.reshape(len(images), -1), (25, 1))
    counters = np.empty((len(rows), len(spec.layers), 3), np.int64)
    outputs = [None] * len(spec.layers)

    def peak(samples: int) -> int:
        tracemalloc.start()
        plan.run(rows[:samples], outputs, counters[:samples])
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    peak(1)
    assert peak(1000) <= peak(1) + 1024
    assert peak(1000) < 16_384


def totals(model):
    return [
        (row.nb_samples, row.nb_activations, row.events_in, row.synaptic_ops)
        for row in model.statistics.values()
    ]


@pytest.mark.parametrize("name", ["events", "image", "potentials", "input_only"])
def test_threads_and_splits_change_nothing(name):
    spec = every_kind()[name]
    width, height, channels = Model.from_spec(spec).input_dims
    shape = (height, width) if spec.input.kind == "image" else (width, height)
    rng = np.random.default_rng(4)
    inputs = rng.integers(0, 2**spec.input.bits, (201, *shape, channels), dtype=np.uint8)
    whole = Model.from_spec(spec)
    expected = whole.forward(inputs, threads=1)
    for threads, split in itertools.product((1, 2, 5, 300), (1, 7, 201)):
        model = Model.from_spec(spec)
        parts = [
            model.forward(inputs[start : start + split], threads=threads)
            for start in range(0, 201, split)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), expected)
        assert parts[0].dtype == expected.dtype
        assert totals(model) == totals(whole)
        assert model.metrics["synaptic_ops"] == whole.metrics["synaptic_ops"]


@pytest.mark.parametrize("method", ["forward", "evaluate", "predict"])
def test_all_that_run_a_batch_take_form_and_threads(method, monkeypatch):
    spec = every_kind()["potentials"]
    model = Model.from_spec(spec)
    # of a type that has to be converted: uint8 may take a shorter way, see test_call.py
    inputs = np.random.default_rng(5).integers(0, 2, (9, *model.input_dims), dtype=np.int16)
    expected = getattr(model, method)(inputs)
    asked = []

    def run(compiled, inputs_si, *, form, threads):
        asked.append((form, threads))
        return run_batch(compiled, inputs_si, form=form, threads=threads)

    monkeypatch.setattr("kerasnsoc.runtime.model.run_batch", run)
    combinations = list(itertools.product((None, "dense", "events"), (None, 1, 3)))
    for form, threads in combinations:
        outputs = getattr(model, method)(inputs, form=form, threads=threads)
        np.testing.assert_array_equal(outputs, expected)
    assert asked == combinations
    for wrong, kind in (({"threads": 0}, ValueError), ({"threads": "2"}, TypeError)):
        with pytest.raises(kind, match="threads is"):
            getattr(model, method)(inputs, **wrong)
    with pytest.raises(ValueError, match="form is 'sparse'"):
        getattr(model, method)(inputs, form="sparse")


def test_small_batches_are_not_worth_a_thread():
    assert chosen_threads(None, 10, 100) == 1
    assert chosen_threads(None, 10**6, WORK_PER_THREAD) == cores()
    assert chosen_threads(None, 0, 10**9) == 1
    assert chosen_threads(8, 3, 1) == 3
    assert chosen_threads(np.int64(2), 3, 1) == 2


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are not listed here")
def test_as_many_threads_as_were_asked_for():
    """Helpers are started by the first call that wants them, and kept."""
    program = """
import os
import numpy as np
from kerasnsoc.runtime import Model
from tests.networks import every_kind
model = Model.from_spec(every_kind()["events"])
events = np.ones((80, 5, 4, 2), np.uint8)
before = len(os.listdir("/proc/self/task"))
for threads in (1, 3, 2, 4):
    model.forward(events, threads=threads)
    print(len(os.listdir("/proc/self/task")) - before)
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True
    )
    assert (result.stderr, result.stdout.split()) == ("", ["0", "2", "2", "3"])


def test_helpers_that_another_call_has_are_not_waited_for(spec, images):
    expected = Model.from_spec(spec).forward(images)
    model = Model.from_spec(spec)

    def work(_: int) -> bool:
        return bool((model.forward(images, threads=4) == expected).all())

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(60)))


def test_an_error_before_a_call_reaches_the_caller(spec, images, monkeypatch):
    compiled = CompiledNetwork(spec)
    take_plan, left = compiled._take_plan, [1, 1]

    def broken():
        if not left:
            raise MemoryError("no memory for the plan's buffers")
        left.pop()
        return take_plan()

    rows = images.reshape(len(images), -1)
    monkeypatch.setattr(compiled, "_take_plan", broken)
    with pytest.raises(MemoryError, match="no memory for the plan"):
        run_batch(compiled, rows, threads=4)
    monkeypatch.undo()
    assert len(compiled._plans) == 2
    run_batch(compiled, rows, threads=4)


@pytest.mark.parametrize("kernel", available_kernels())
@pytest.mark.parametrize("form", ["dense", "events"])
def test_threads_inside_a_sample_change_nothing(kernel, form):
    """Parts of a layer: columns of outputs, or neurons, however many there are."""
    rng = np.random.default_rng(0)
    network = Network(kernel)
    network.add_input("in", 21, 19, 40, 1)
    window_x, window_y = (21, 5, 1, 2, 21), (19, 5, 1, 2, 19)
    weights = rng.integers(-2, 3, (5, 5, 40, 70), dtype=np.int8)
    table = np.sort(rng.integers(-40, 40, (3, 70)), axis=0).astype(np.int32)
    pooling = ("max", (21, 2, 2, 0, 10), (19, 2, 2, 0, 9))
    network.add_convolution("bits", 0, window_x, window_y, weights, None, pooling, table)
    window_x, window_y = (10, 3, 1, 1, 10), (9, 3, 1, 1, 9)
    weights = rng.integers(-100, 100, (3, 3, 70, 400), dtype=np.int8)
    table = np.sort(rng.integers(-9000, 9000, (7, 400)), axis=0).astype(np.int32)
    network.add_convolution("conv", 1, window_x, window_y, weights, None, None, table)
    depthwise = rng.integers(-7, 8, (3, 3, 400), dtype=np.int8)
    pointwise = rng.integers(-7, 8, (400, 600), dtype=np.int8)
    table = np.sort(rng.integers(-900, 900, (5, 600)), axis=0).astype(np.int32)
    network.add_separable("separable", 2, window_x, window_y, depthwise, pointwise, None, table)
    weights = rng.integers(-7, 8, (54000, 1100), dtype=np.int8)
    network.add_fully_connected("fully", 3, weights)
    inputs = (rng.random((1, 21 * 19 * 40)) < 0.4).astype(np.uint8)
    expected = np.empty((1, 1100), np.int32)
    counters = np.empty((1, 5, 3), np.int64)
    Plan(network).run(inputs, [None] * 4 + [expected], counters, form)
    for threads in (1, 2, 3, 4):
        plans = [Plan(network) for _ in range(threads)]
        outputs, totals = np.full((1, 1100), 77, np.int32), np.zeros((5, 3), np.int64)
        for _ in range(2):
            assert run_together(plans, inputs, outputs, totals, form) == 0
            np.testing.assert_array_equal(outputs, expected)
        np.testing.assert_array_equal(totals, 2 * counters[0])
        assert all(plan.broken_guards() == [] for plan in plans)


@pytest.mark.parametrize("kernel", available_kernels())
@pytest.mark.parametrize("form", ["auto", "dense", "events"])
def test_fully_connected_layers_of_several_samples(kernel, form):
    """Together as each for itself, with every remainder of a group, and all maps asked for."""
    rng = np.random.default_rng(1)
    for largest, inputs in ((1, 61), (15, 64), (255, 33)):
        network = Network(kernel)
        network.add_input("in", 1, 1, inputs, largest)
        sizes = (inputs, 75, 130, 3)
        for op, (size, neurons) in enumerate(itertools.pairwise(sizes)):
            weights = rng.integers(-7, 8, (size, neurons), dtype=np.int8)
            table = np.sort(rng.integers(-50, 99, (1 + 2 * op, neurons)), axis=0).astype(np.int32)
            network.add_fully_connected(f"f{op}", op, weights, table if op < 2 else None)
        samples = 37
        values = rng.integers(0, largest + 1, (samples, inputs)).astype(np.uint8)
        values[::5] = 0
        plan, alone = Plan(network), Plan(network)
        types = (np.uint8, np.uint8, np.uint8, np.int32)
        outputs = [np.empty((samples, n), t) for n, t in zip(sizes, types, strict=True)]
        counters = np.empty((samples, 4, 3), np.int64)
        plan.run(values, outputs, counters, form)
        assert plan.broken_guards() == []
        for sample in range(samples):
            single = [np.empty((1, n), t) for n, t in zip(sizes, types, strict=True)]
            found = np.empty((1, 4, 3), np.int64)
            alone.run(values[sample : sample + 1], single, found, form)
            for one, many in zip(single, outputs, strict=True):
                np.testing.assert_array_equal(one[0], many[sample])
            np.testing.assert_array_equal(found[0], counters[sample])


def test_what_running_together_refuses():
    network = Network()
    network.add_input("in", 1, 1, 3, 15)
    network.add_fully_connected("f", 0, np.ones((3, 2), np.int8))
    other = Network()
    other.add_input("in", 1, 1, 3)
    inputs, outputs = np.ones((2, 3), np.uint8), np.empty((2, 2), np.int32)
    totals = np.zeros((2, 3), np.int64)
    plan = Plan(network)
    with pytest.raises(ValueError, match=r"0 plans.*1 to 256"):
        run_together([], inputs, outputs, totals)
    with pytest.raises(ValueError, match="several networks"):
        run_together([plan, Plan(other)], inputs, outputs, totals)
    with pytest.raises(TypeError):
        run_together([plan, None], inputs, outputs, totals)
    with pytest.raises(RuntimeError, match="in use"):
        run_together([plan, plan], inputs, outputs, totals)
    with pytest.raises(ValueError, match="form is 'x'"):
        run_together([plan], inputs, outputs, totals, "x")
    with pytest.raises(ValueError, match="has 2 inputs, but takes 3"):
        run_together([plan], inputs[:, :2].copy(), outputs, totals)
    with pytest.raises(ValueError, match=r"outputs_so has the shape \(1, 2\)"):
        run_together([plan], inputs, outputs[:1], totals)
    with pytest.raises(ValueError, match=r"totals_ok has the shape \(1, 3\)"):
        run_together([plan], inputs, outputs, totals[:1])
    with pytest.raises(ValueError, match=r"value 16.*takes 0 to 15"):
        run_together([plan], inputs * 16, outputs, totals)
    assert run_together([plan], inputs[:0], outputs[:0], totals) == 0
    assert run_together([plan], inputs, outputs, totals) == 0
    assert outputs.tolist() == [[3, 3]] * 2
    assert totals.tolist() == [[6, 0, 6], [6, 12, 4]]


def test_plans_are_kept_and_no_more_than_threads_ran(spec, images):
    model = Model.from_spec(spec)
    for _ in range(3):
        model.forward(images, threads=3)
    assert 1 <= len(model._prepared()._plans) <= 3


def test_running_works_while_the_interpreter_ends():
    program = """
import atexit
import numpy as np
from kerasnsoc.runtime import Model
from tests.networks import every_kind
model = Model.from_spec(every_kind()["events"])
events = np.ones((8, 5, 4, 2), np.uint8)
atexit.register(lambda: print(model.forward(events, threads=4).shape))
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (result.stdout, result.stderr) == ("(8, 1, 1, 3)\n", "")


def test_a_change_from_another_thread_is_seen_wholly_or_not_at_all():
    """Weights are all 1 or all 2; a mixture would give another sum."""
    model = model_of(InputData(1, 1, 50), FullyConnected(1, "sum", 3, activations_enabled=False))
    layer = model.get_layer("sum")
    ones = np.ones((1, 1, 50, 1), np.int8)
    layer.set_variable("weights", ones)
    stop, wrong = threading.Event(), []

    def read():
        while not stop.is_set():
            found = model.forward(batch([1] * 50)).item()
            if found not in (50, 100):
                wrong.append(found)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=read) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        for step in range(300):
            layer.set_variable("weights", ones * (1 + step % 2))
            # no call that begins after the change has the former weights
            found = model.forward(batch([1] * 50)).item()
            if found != 50 * (1 + step % 2):
                wrong.append((step, found))
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    assert wrong == []


def test_learning_beside_inference_is_the_learning_that_one_thread_does():
    def learner():
        model = model_of(InputData(1, 1, 40, 1), FullyConnected(4, "out"))
        model.compile(num_weights=8, num_classes=2, seed=3)
        return model

    rng = np.random.default_rng(9)
    samples = (rng.random((60, 1, 1, 40)) < 0.3).astype(np.uint8)
    labels = rng.integers(0, 2, 60).tolist()
    alone = learner()
    for _ in range(10):
        alone.fit(samples, labels)
    model, stop, failures = learner(), threading.Event(), []

    def watch() -> None:
        try:
            while not stop.is_set():
                model.forward(samples, threads=2)
                model.predict(samples)
                weights = model.to_spec().layers[-1].variables["weights"]
                if set(weights.sum(axis=2).ravel().tolist()) != {8}:
                    failures.append("a neuron without its 8 weights")
                model.get_statistics(), model.metrics
        except Exception as error:
            failures.append(repr(error))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=watch) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(10):
            model.fit(samples, labels)
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    assert failures == []
    assert model.to_buffer() == alone.to_buffer()


def test_weights_are_packed_once_however_many_threads_come_first(spec, images):
    model = Model.from_spec(spec)
    with ThreadPoolExecutor(8) as pool:
        found = {id(compiled) for compiled in pool.map(lambda _: model._prepared(), range(50))}
    assert len(found) == 1


def test_the_guard_lets_one_thread_in_and_that_one_again():
    guard, inside, entered = ChangeGuard(), [], threading.Event()

    def enter():
        entered.set()
        with guard:
            inside.append("other")

    with guard, guard:
        thread = threading.Thread(target=enter)
        thread.start()
        entered.wait()
        inside.append("first")
    thread.join()
    assert inside == ["first", "other"]
    with pytest.raises(ValueError, match="inside"), guard:
        raise ValueError("inside")
    with guard:  # free again
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_is_not_locked_out_by_a_thread_it_does_not_have(spec, images):
    model = Model.from_spec(spec)
    expected = model.forward(images)
    held, release = threading.Event(), threading.Event()

    def change():
        with model._guard:
            held.set()
            release.wait(30)

    thread = threading.Thread(target=change)
    thread.start()
    held.wait()
    try:
        child = os.fork()
        if child == 0:
            model.variables_changed()
            same = (model.forward(images, threads=3) == expected).all()
            os._exit(0 if same else 1)
        for _ in range(200):
            finished, status = os.waitpid(child, os.WNOHANG)
            if finished:
                break
            release.wait(0.05)
        else:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child waits for a lock that nobody holds")
        assert status == 0
    finally:
        release.set()
        thread.join()
