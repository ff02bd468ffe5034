"""Other threads may look on, predict and set variables while a model learns."""

import threading

import numpy as np
import pytest

from kerasnsoc.runtime import FullyConnected, InputData, Model


def learner(classes=4):
    model = Model(
        layers=[
            InputData(1, 1, 300, input_bits=1),
            FullyConnected(40, name="last", weights_bits=1, activations_enabled=False),
        ]
    )
    model.compile(num_weights=30, num_classes=classes)
    return model


@pytest.fixture
def samples():
    rng = np.random.default_rng(3)
    x = (rng.random((2000, 1, 1, 300)) < 0.12).astype(np.uint8)
    return x, rng.integers(0, 4, len(x))


def beside(work, look):
    """Run ``work`` while another thread repeats ``look``; returns how often it did."""
    done, looks, errors = threading.Event(), [0], []

    def repeat():
        while not done.is_set():
            try:
                look()
            except Exception as error:
                errors.append(error)
                return
            looks[0] += 1

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    assert not errors, errors[0]
    return looks[0]


def test_looking_on_loses_nothing_that_was_learned(samples):
    x, labels = samples
    alone, watched = learner(), learner()

    def fit(model):
        for start in range(0, len(x), 50):
            model.fit(x[start : start + 50], labels[start : start + 50])

    fit(alone)
    statistics = watched.get_statistics()["last"]
    looks = beside(lambda: fit(watched), lambda: (statistics.row_sparsity, str(statistics)))
    assert looks > 0
    layer = watched.get_layer("last")
    for name in ("weights", "threshold_learning", "plasticity"):
        np.testing.assert_array_equal(
            layer.get_variable(name), alone.get_layer("last").get_variable(name), err_msg=name
        )
    np.testing.assert_array_equal(watched.forward(x[:50]), alone.forward(x[:50]))
    assert watched.to_buffer() == alone.to_buffer()


def test_variables_are_read_between_two_calls_of_fit_never_within_one(samples):
    x, labels = samples
    alone, watched = learner(), learner()
    starts = range(0, len(x), 100)

    def state(model):
        return model.get_layer("last").get_variable("weights").tobytes()

    states = [state(alone)]
    for start in starts:
        alone.fit(x[start : start + 100], labels[start : start + 100])
        states.append(state(alone))
    seen = []

    def look():
        seen.append(state(watched))
        watched.get_layer("last").get_learning_histogram()

    beside(
        lambda: [watched.fit(x[s : s + 100], labels[s : s + 100]) for s in starts],
        look,
    )
    positions = [states.index(found) for found in seen]
    assert positions == sorted(positions)
    assert state(watched) == states[-1]


def test_predicting_while_classes_are_added_sees_one_model_or_the_other(samples):
    x, labels = samples
    model = learner()
    model.fit(x, labels)
    wrong = []

    def predict():
        classes = model.predict(x[:4])
        values = model.evaluate(x[:4])
        if classes.max() >= 40 + 20 * 10 or values.shape[-1] % 10:
            wrong.append(classes)

    beside(lambda: [model.add_classes(1) for _ in range(20)], predict)
    assert not wrong


def test_two_threads_that_set_different_variables_keep_both():
    model = Model(layers=[InputData(1, 1, 8), FullyConnected(3, name="fc", weights_bits=4)])
    layer = model.get_layer("fc")
    for value in range(1, 120):
        thresholds = np.full(3, value, np.int32)
        weights = np.full((1, 1, 8, 3), value % 8, np.int8)
        threads = [
            threading.Thread(target=layer.set_variable, args=("weights", weights)),
            threading.Thread(target=layer.set_variable, args=("threshold_fire", thresholds)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (layer.get_variable("weights") == value % 8).all()
        assert (layer.get_variable("threshold_fire") == value).all()
