"""Events that come in bit by bit, and results packet by packet."""

import tracemalloc

import numpy as np
import pytest

from kerasnsoc.runtime import (
    Convolutional,
    CountWindow,
    FullyConnected,
    InputConvolutional,
    InputData,
    Model,
    TimeWindow,
    bin_events,
    event_batch,
    events_to_dense,
    make_events,
)
from tests.unit.runtime.small import fill, model_of

WINDOWS = [CountWindow(50), TimeWindow(1000), TimeWindow(700, origin=-100, skip_empty=True)]


@pytest.fixture
def events():
    rng = np.random.default_rng(0)
    return make_events(
        np.sort(rng.integers(0, 10_000, 333)),
        rng.integers(0, 8, 333),
        rng.integers(0, 6, 333),
        rng.integers(0, 2, 333),
    )


@pytest.fixture
def model():
    layers = (
        InputData(8, 6, 2, 4),
        Convolutional(3, 3, 4, weights_bits=4, threshold_fire=3, threshold_fire_bits=4),
        FullyConnected(5, weights_bits=4, activations_enabled=False),
    )
    return fill(model_of(*layers))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("duplicates", ["merge", "count"])
def test_the_stream_gives_what_the_batch_gives(model, events, window, duplicates):
    batch = bin_events(events, (8, 6, 2), window, bits=4, duplicates=duplicates)
    np.testing.assert_array_equal(event_batch(model, events, window, duplicates=duplicates), batch)
    results = list(model.stream(iter(np.array_split(events, 7)), window, duplicates=duplicates))
    outputs = model.forward(batch)
    assert len(results) == len(batch) > 5
    for result, expected in zip(results, outputs, strict=True):
        np.testing.assert_array_equal(result.outputs, expected)
    assert sum(result.packet.events for result in results) == len(events)


@pytest.mark.parametrize("method", ["forward", "evaluate", "predict"])
def test_each_method(model, events, method):
    batch = event_batch(model, events, CountWindow(100))
    expected = getattr(model, method)(batch)
    found = [r.outputs for r in model.stream(events, CountWindow(100), method=method)]
    np.testing.assert_array_equal(np.array(found), expected)
    if method == "predict":
        assert all(type(output) is int for output in found)


def test_a_result_comes_as_soon_as_its_packet_is_complete(model):
    handed = []

    def camera():
        for t in (0, 5, 12, 40):
            handed.append(t)
            yield make_events([t], [0], [0], [0])

    results = model.stream(camera(), TimeWindow(10))
    assert handed == []
    first = next(results)
    assert (handed, first.packet.events) == ([0, 5, 12], 2)
    assert [r.packet.start for r in results] == [10, 20, 30, 40]
    counted = model.stream(camera(), CountWindow(2))
    handed.clear()
    next(counted)
    assert handed == [0, 5]


def test_a_file_is_read_part_by_part(model, events, tmp_path):
    np.save(tmp_path / "rec.npy", events)
    expected = [r.outputs.tolist() for r in model.stream(events, CountWindow(64))]
    for path in (tmp_path / "rec.npy", str(tmp_path / "rec.npy")):
        assert [r.outputs.tolist() for r in model.stream(path, CountWindow(64))] == expected
    with pytest.raises(ValueError, match="a file is a single recording: give a CountWindow"):
        model.stream(tmp_path / "rec.npy")
    with pytest.raises(FileNotFoundError):
        model.stream(tmp_path / "none.npy", CountWindow(64))


def test_images_take_events_of_either_polarity(events):
    model = fill(model_of(InputConvolutional(8, 6, 1, 3, 3, 2, weights_bits=4, threshold_fire=9)))
    batch = event_batch(model, events, CountWindow(40), duplicates="count", value=20)
    assert batch.shape == (9, 6, 8, 1)
    outputs = model.forward(batch)
    assert outputs.any()
    results = model.stream(events, CountWindow(40), duplicates="count", value=20)
    for result, expected in zip(results, outputs, strict=True):
        np.testing.assert_array_equal(result.outputs, expected)


def test_downscaled_recordings(model):
    events = make_events([0, 1], [0, 31], [23, 0], [0, 1])
    (result,) = model.stream(events, CountWindow(2), downscale=4)
    inputs = events_to_dense([(0, 5, 0), (7, 0, 1)], (8, 6, 2))
    np.testing.assert_array_equal(result.outputs, model.forward(inputs)[0])


def test_packets_that_are_ready_made(model, events):
    coordinates = [(0, 1, 0), (7, 5, 1), (0, 1, 0)]
    packets = [events[:10], coordinates, np.array(coordinates), [], events[:0]]
    results = list(model.stream(packets))
    assert [r.packet.index for r in results] == [0, 1, 2, 3, 4]
    assert [r.packet.events for r in results] == [10, 3, 3, 0, 0]
    start, stop = int(events["t"][0]), int(events["t"][9])
    assert (results[0].packet.start, results[0].packet.stop) == (start, stop)
    assert [r.packet.start for r in results[1:]] == [None] * 4
    expected = model.forward(events_to_dense(coordinates, (8, 6, 2)))[0]
    for result in results[1:3]:
        np.testing.assert_array_equal(result.outputs, expected)
    silent = model.forward(np.zeros((1, 8, 6, 2), np.uint8))[0]
    for result in results[3:]:
        np.testing.assert_array_equal(result.outputs, silent)
    np.testing.assert_array_equal(
        results[0].outputs, model.forward(event_batch(model, events[:10]))[0]
    )
    (whole,) = model.stream(events)
    np.testing.assert_array_equal(whole.outputs, model.forward(event_batch(model, events))[0])


def test_coordinates_feed_networks_of_any_features():
    model = fill(model_of(InputData(1, 1, 12), FullyConnected(3, activations_enabled=False)))
    (result,) = model.stream([[(0, 0, 11)]], value=15)
    inputs = events_to_dense([(0, 0, 11)], (1, 1, 12), [15])
    np.testing.assert_array_equal(result.outputs, model.forward(inputs)[0])
    camera = make_events([0], [0], [0], [0])
    with pytest.raises(ValueError, match="takes 12 features, but events of a camera fill one or"):
        list(model.stream([camera]))
    with pytest.raises(ValueError, match="dims is"):
        model.stream(camera, CountWindow(1))


def test_wrong_arguments_are_refused_at_once(model, events):
    for arguments, error, words in (
        ({"method": "fit"}, ValueError, "method is 'fit', but must be one of forward, evaluate"),
        (
            {"method": "predict", "stateful": True},
            ValueError,
            "stateful goes with method='forward'",
        ),
        ({"window": 10}, TypeError, "window is 10, but must be a CountWindow or a TimeWindow"),
        ({"window": CountWindow(1), "value": 16}, ValueError, "value is 16, but must be 1 to 15"),
        ({"window": CountWindow(1), "downscale": 0}, ValueError, "downscale is 0"),
        ({"window": CountWindow(1), "duplicates": "add"}, ValueError, "duplicates is 'add'"),
    ):
        with pytest.raises(error, match=words):
            model.stream(events, **arguments)
    with pytest.raises(TypeError, match="must be a structured array"):
        model.stream(np.zeros((3, 4)), CountWindow(1))
    with pytest.raises(ValueError, match="the model is empty"):
        Model().stream(events, CountWindow(1))
    with pytest.raises(ValueError, match="the model is empty"):
        event_batch(Model(), events)


def test_a_wrong_event_ends_the_stream_behind_the_good_packets(model):
    good = make_events([0, 1], [0, 1], [0, 1], [0, 1])
    bad = make_events([2, 3], [0, 8], [0, 0], [0, 0])
    results = model.stream([good, bad], CountWindow(2))
    assert next(results).packet.events == 2
    with pytest.raises(ValueError, match=r"event at t = 3 has x = 8"):
        next(results)
    assert model.metrics["inference_frames"] == 1
    with pytest.raises(ValueError, match="event 0 has x 9, allowed are 0 to 7"):
        list(model.stream([[(9, 0, 0)]]))


def test_every_packet_is_counted_once(model, events):
    list(model.stream(events, CountWindow(100)))
    assert model.metrics["inference_frames"] == 4


def test_memory_does_not_grow_with_the_recording(model):
    block = make_events(np.zeros(1000, int), [1] * 1000, [1] * 1000, [0] * 1000)

    def endless(blocks):
        for number in range(blocks):
            part = block.copy()
            part["t"] += number * 1000
            yield part

    def peak(blocks):
        tracemalloc.start()
        for _ in model.stream(endless(blocks), TimeWindow(500)):
            pass
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    peak(5)
    assert peak(500) < peak(5) + 20_000
