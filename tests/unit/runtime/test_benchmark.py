"""`benchmark`: what it reports and refuses; how fast anything is, is no matter of a test."""

import numpy as np
import pytest

from kerasnsoc import FullyConnected, InputConvolutional, InputData, Model
from kerasnsoc.runtime import benchmark


def events():
    return Model(layers=[InputData(2, 2, 3, 4), FullyConnected(5, activations_enabled=False)])


def images():
    return Model(layers=[InputConvolutional(8, 8, 3, 3, 3, 4)])


@pytest.mark.parametrize("make", [events, images])
def test_random_inputs_run_and_leave_the_model_alone(make):
    model = make()
    report = benchmark(model, rounds=2, round_seconds=1e-3)
    assert [row.batch_size for row in report.rows] == [1, 32]
    assert all(row.slowest <= row.frames_per_second <= row.fastest for row in report.rows)
    assert report.inputs == "random inputs"
    assert "frames/s" in str(report)
    assert all(s.synaptic_ops == 0 for s in model.get_statistics().values())


def test_every_round_sees_all_given_inputs(tmp_path):
    events().save(tmp_path / "net.h5")
    samples = np.zeros((10, 2, 2, 3), np.uint8)
    report = benchmark(
        tmp_path / "net.h5", samples, batch_sizes=(3,), rounds=1, round_seconds=1e-6, threads=1
    )
    assert report.rows[0].calls % 3 == 0
    assert report.to_dict()["threads"] == 1


@pytest.mark.parametrize(
    "arguments", [{"rounds": 0}, {"round_seconds": 0}, {"batch_sizes": ()}, {"batch_sizes": (0,)}]
)
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="all must be positive"):
        benchmark(events(), **arguments)


def test_inputs_must_hold_samples():
    with pytest.raises(ValueError, match="no samples"):
        benchmark(events(), np.zeros((0, 2, 2, 3), np.uint8))
