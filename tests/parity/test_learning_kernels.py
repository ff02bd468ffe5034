"""Every learning kernel that this CPU runs, on rows of all lengths; and what the door refuses."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from kerasnsoc_ext import _learning

SCALAR = "scalar"


def arguments(inputs: int, neurons: int, rule: str = "majority", **changes) -> dict[str, object]:
    """What a `Learner` takes, of a fully connected layer that has not learned."""
    num_weights = max(1, inputs // 3)
    return {
        "rule": rule,
        "window_x": (1, 1, 1, 0, 1),
        "window_y": (1, 1, 1, 0, 1),
        "channels": inputs,
        "classes": 1,
        "num_weights": num_weights,
        "initial_plasticity": 65536,
        "min_plasticity": 6554,
        "decay": 16384,
        "competition": 0,
        "ratio": (3, 4),
        "seed": 5,
        "weights_jw": _learning.fresh_rows(inputs, num_weights, 5, 0, neurons),
        "thresholds_j": np.zeros(neurons, np.int32),
        "plasticities_j": np.full(neurons, 65536, np.int32),
        "steps_j": np.zeros(neurons, np.uint32),
        "counters_ji": np.zeros((neurons, inputs), np.int16) if rule == "majority" else None,
        **changes,
    }


def run(kernel: str, inputs: int, neurons: int, rule: str) -> list[np.ndarray]:
    state = arguments(inputs, neurons, rule)
    learner = _learning.Learner(**state, kernel=kernel)
    assert learner.kernel == kernel
    rng = np.random.default_rng([inputs, neurons])
    samples = (rng.random((40, inputs)) < 0.4).astype(np.uint8)
    potentials = np.empty((40, 1, neurons), np.int32)
    learners = np.empty(40, np.int32)
    learner.fit(samples, None, potentials, learners)
    changed = [values for name, values in state.items() if name.endswith(("_jw", "_j", "_ji"))]
    return [potentials, learners, *(values for values in changed if values is not None)]


@pytest.mark.parametrize("rule", _learning.RULES)
@pytest.mark.parametrize("neurons", [1, 7, 8, 9, 33])
@pytest.mark.parametrize("inputs", [1, 63, 64, 65, 511, 512, 513, 1568, 33000])
def test_every_kernel_gives_the_same_integers(inputs, neurons, rule):
    if inputs == 33000 and neurons > 7:
        neurons = 2  # longer than the counts that a kernel keeps in 16 bits, but not slow
    expected = run(SCALAR, inputs, neurons, rule)
    weights_jw = next(values for values in expected if values.dtype == np.uint64)
    ones_j = np.bitwise_count(weights_jw).sum(axis=1) if hasattr(np, "bitwise_count") else None
    assert ones_j is None or set(ones_j) == {max(1, inputs // 3)}
    for kernel in _learning.available_kernels():
        for found, wanted in zip(run(kernel, inputs, neurons, rule), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_potentials_are_overlaps():
    for kernel in _learning.available_kernels():
        state = arguments(777, 21)
        bits = np.unpackbits(
            state["weights_jw"].astype("<u8").view(np.uint8), axis=1, bitorder="little", count=777
        )
        learner = _learning.Learner(**{**state, "initial_plasticity": 0}, kernel=kernel)
        samples = np.random.default_rng(0).integers(0, 2, (9, 777), dtype=np.uint8)
        potentials, learners = np.empty((9, 1, 21), np.int32), np.empty(9, np.int32)
        learner.fit(samples, None, potentials, learners)
        np.testing.assert_array_equal(potentials[:, 0], samples.astype(int) @ bits.T.astype(int))
        assert set(learners) == {-1}


def test_the_plain_kernel_is_always_there():
    assert _learning.available_kernels()[-1] == SCALAR
    assert set(_learning.available_kernels()) <= set(_learning.kernel_names())
    assert _learning.Learner(**arguments(5, 2)).kernel == _learning.available_kernels()[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "hebb"}, "rule is 'hebb'"),
        ({"kernel": "abacus"}, "kernel is 'abacus'"),
        ({"channels": 0}, "channels is 0"),
        ({"channels": 2**31 - 1, "window_x": (9, 9, 1, 0, 1)}, "connections, allowed are"),
        ({"window_x": (1, 1, 1, 0, 2)}, "positions that see no input"),
        ({"window_y": (1, 1, 1, 1, 1)}, "positions that see no input"),
        ({"window_y": (1, 0, 1, 0, 1)}, "positions that see no input"),
        ({"num_weights": 0}, "num_weights is 0"),
        ({"num_weights": 65}, "num_weights is 65"),
        ({"classes": 3}, "classes is 3"),
        ({"initial_plasticity": 65537}, "initial_plasticity is 65537"),
        ({"min_plasticity": -1}, "min_plasticity is -1"),
        ({"decay": -1}, "decay is -1"),
        ({"competition": 65537}, "competition is 65537"),
        ({"ratio": (2, 1)}, r"ratio is \(2, 1\)"),
        ({"ratio": (0, 0)}, r"ratio is \(0, 0\)"),
        ({"weights_jw": np.zeros((4, 1), np.uint64)}, "weights_jw has the shape"),
        ({"weights_jw": np.zeros((0, 8), np.uint64)}, "weights_jw has no rows"),
        ({"thresholds_j": np.zeros(3, np.int32)}, "thresholds_j has the shape 3"),
        ({"thresholds_j": np.full(4, -1, np.int32)}, "thresholds_j holds a negative"),
        ({"plasticities_j": np.full(4, 65537, np.int32)}, "plasticities_j holds a value"),
        ({"plasticities_j": np.zeros(5, np.int32)}, "plasticities_j has the shape 5"),
        ({"steps_j": np.zeros(5, np.uint32)}, "steps_j has the shape 5"),
        ({"counters_ji": None}, "needs counters_ji"),
        ({"counters_ji": np.zeros((4, 63), np.int16)}, "counters_ji has the shape"),
        ({"counters_ji": np.full((4, 64), -1, np.int16)}, "counters_ji holds a negative"),
    ],
)
def test_what_a_learner_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        _learning.Learner(**{**arguments(64, 4), **changes})


def test_what_fit_refuses_and_then_learns_nothing():
    state = arguments(64, 4)
    learner = _learning.Learner(**state)
    samples, labels = np.ones((3, 64), np.uint8), np.zeros(3, np.int64)
    potentials, learners = np.empty((3, 1, 4), np.int32), np.empty(3, np.int32)
    for arrays, message in (
        ((samples[:, :63].copy(), labels, potentials, learners), "samples_si has the shape"),
        ((samples, labels[:2], potentials, learners), "labels_s has the shape"),
        ((samples, labels, potentials[:2], learners), "potentials_spj has the shape"),
        ((samples, labels, potentials, learners[:2]), "learners_s has the shape"),
        ((samples * np.uint8(3), labels, potentials, learners), "sample 0 holds 3 at 0"),
    ):
        with pytest.raises(ValueError, match=message):
            learner.fit(*arrays)
    assert not state["steps_j"].any()
    learner.fit(samples[:0], labels[:0], potentials[:0], learners[:0])
    learner.fit(samples, labels, potentials, learners)
    assert state["steps_j"].sum() == 3


def test_first_rows_are_checked():
    for wrong in ((0, 1, 0, 0, 1), (5, 6, 0, 0, 1), (5, 0, 0, 0, 1), (5, 2, 0, 3, 2)):
        with pytest.raises(ValueError, match=r"must be at least 1|is needed"):
            _learning.fresh_rows(*wrong)
    with pytest.raises(OverflowError):
        _learning.fresh_rows(5, 2, 2**64, 0, 1)
    assert _learning.fresh_rows(5, 2, 0, 3, 3).shape == (0, 8)


def test_a_second_thread_is_turned_away():
    learner = _learning.Learner(**arguments(4096, 512))
    samples = np.random.default_rng(0).integers(0, 2, (300, 4096), dtype=np.uint8)
    outcomes = []

    def work() -> None:
        potentials, learners = np.empty((300, 1, 512), np.int32), np.empty(300, np.int32)
        try:
            learner.fit(samples, None, potentials, learners)
            outcomes.append("learned")
        except RuntimeError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "learned" in outcomes
    assert {text for text in outcomes if text != "learned"} <= {
        "the layer is learning in another thread; fit one batch at a time"
    }
