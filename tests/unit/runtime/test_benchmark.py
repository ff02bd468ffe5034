"""`benchmark`: what it reports and refuses; how fast anything is, is no matter of a test."""

import numpy as np
import pytest

from kerasnsoc import FullyConnected, InputConvolutional, InputData, Model
from kerasnsoc.runtime import benchmark, random_inputs
from tests.networks import every_kind, time_networks


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
    assert report.rows[0].samples == 9
    assert report.to_dict()["threads"] == 1


def test_inputs_that_take_too_long_are_cut_and_the_table_says_so():
    samples = np.zeros((50, 2, 2, 3), np.uint8)
    report = benchmark(events(), samples, batch_sizes=(2,), round_seconds=1e-6, most_seconds=1e-9)
    assert (report.rows[0].samples, report.rows[0].calls) == (2, 1)
    assert "samples" in str(report)


def test_a_bar_goes_to_standard_error(capsys):
    pytest.importorskip("tqdm")
    benchmark(events(), batch_sizes=(4,), rounds=2, round_seconds=1e-6, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "batches of 4" in captured.err


@pytest.mark.parametrize("kind", ["time_image", "time_events", "time_spikes"])
def test_networks_over_time_are_measured_on_random_sequences(kind):
    network = Model.from_spec(time_networks()[kind])
    report = benchmark(network, batch_sizes=(2,), rounds=1, round_seconds=1e-6)
    assert report.rows[0].samples == 2


@pytest.mark.parametrize("kind", ["events", "image", "potentials"])
def test_random_inputs_fit_and_repeat(kind):
    network = Model.from_spec(every_kind()[kind])
    inputs = random_inputs(network, 3)
    network.forward(inputs)
    np.testing.assert_array_equal(inputs, random_inputs(network, 3))
    with pytest.raises(ValueError, match="samples is 0"):
        random_inputs(network, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"rounds": 0},
        {"round_seconds": 0},
        {"most_seconds": 0},
        {"batch_sizes": ()},
        {"batch_sizes": (0,)},
    ],
)
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="all must be positive"):
        benchmark(events(), **arguments)


def test_inputs_must_hold_samples():
    with pytest.raises(ValueError, match="no samples"):
        benchmark(events(), np.zeros((0, 2, 2, 3), np.uint8))
