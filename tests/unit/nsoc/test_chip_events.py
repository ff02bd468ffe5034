"""Events, rasters, addresses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.nsoc.events import (
    EVENT_DTYPE,
    events_to_raster,
    neuron_address,
    neuron_from_address,
    raster_to_events,
    xytp_to_events,
)


def test_events_of_a_raster_are_ordered_and_repeated():
    raster = np.zeros((2, 2, 2, 2), int)
    raster[0, 1, 0, 1] = 1
    raster[0, 0, 1, 1] = 2
    raster[1, 0, 0, 0] = 1
    events = raster_to_events(raster, dt=0.5e-3, delay_factor=1e-6)
    assert events.dtype == EVENT_DTYPE
    assert events.tolist() == [(1, 1, 0, 1), (1, 1, 0, 1), (1, 0, 1, 1), (501, 0, 0, 0)]
    assert len(raster_to_events(raster, truncate=True)) == 3


def test_the_order_inside_a_step_can_be_by_feature():
    raster = np.ones((1, 1, 2, 2), int)
    by_place = raster_to_events(raster)[["x", "c"]].tolist()
    by_feature = raster_to_events(raster, order="cyx")[["x", "c"]].tolist()
    assert by_place == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert by_feature == [(0, 0), (1, 0), (0, 1), (1, 1)]


@given(
    st.tuples(*[st.integers(1, 4)] * 4),
    st.sampled_from(["yxc", "cyx"]),
    st.sampled_from(["channels_last", "channels_first"]),
    st.sampled_from([1e-3, 0.1, 1e-6]),
    st.integers(0, 2**16),
)
def test_a_raster_survives_the_way_to_events_and_back(shape, order, data_format, dt, seed):
    raster = np.random.default_rng(seed).poisson(0.7, shape)
    raster[0, 0, 0, 0] = 1  # the first event is at time 0
    given_raster = raster if data_format == "channels_last" else raster.transpose(0, 3, 1, 2)
    events = raster_to_events(given_raster, dt, data_format=data_format, order=order)
    assert (np.diff(events["t"]) >= 0).all()
    _, h, w, c = shape
    again = events_to_raster(events, dt, (c, h, w))
    assert (again == raster[: len(again)]).all()
    assert not raster[len(again) :].any()


@pytest.mark.parametrize(
    ("raster", "options", "message"),
    [
        (np.zeros((1, 1, 1)), {}, r"shape \(1, 1, 1\)"),
        (np.zeros((1, 1, 1, 1), "c8"), {}, "complex64"),
        (-np.ones((1, 1, 1, 1)), {}, "counts are at least 0"),
        (np.full((1, 1, 1, 1), 0.5), {}, "no whole counts"),
        (np.zeros((1, 1, 1, 1)), {"dt": 0}, "dt is 0"),
        (np.zeros((1, 1, 1, 1)), {"delay_factor": -1e-3}, "delay_factor is -0.001"),
        (np.zeros((1, 1, 1, 1)), {"data_format": "x"}, "data_format is 'x'"),
        (np.zeros((1, 1, 1, 1)), {"order": "x"}, "order is 'x'"),
    ],
)
def test_what_is_no_raster_is_refused(raster, options, message):
    with pytest.raises(ValueError, match=message):
        raster_to_events(raster, **options)


def camera(*rows):
    return np.array(list(rows), [("t", "i8"), ("x", "u2"), ("y", "u2"), ("p", "u1")])


def test_events_of_a_camera():
    events = camera((10, 1, 2, 1), (15, 3, 4, 0))
    assert xytp_to_events(events, True).tolist() == [(0, 1, 2, 1), (5, 3, 4, 0)]
    assert xytp_to_events(events, False, 1e-6)["t"].tolist() == [11, 16]
    assert len(xytp_to_events(events[:0], True)) == 0


@pytest.mark.parametrize(
    ("events", "options", "message"),
    [
        (np.zeros(2, [("t", "i8")]), {}, r"missing: \['x', 'y', 'p'\]"),
        (camera((10, 0, 0, 0)), {"delay_factor": -1e-3}, "event 0 gets the time -990 us"),
        (
            np.array([(0, 70000, 0, 0)], [(n, "i8") for n in "txyp"]),
            {},
            "field 'x' holds 70000 to 70000",
        ),
    ],
)
def test_what_is_no_camera_recording_is_refused(events, options, message):
    with pytest.raises(ValueError, match=message):
        xytp_to_events(events, False, **options)


def test_a_raster_of_spikes_counts_payloads_and_infers_its_shape():
    spikes = np.zeros(2, [("t_ps", "i8"), ("x", "u2"), ("y", "u2"), ("c", "u2"), ("n", "u2")])
    spikes["t_ps"] = [10**9, 2 * 10**9]
    spikes["n"] = [3, 1]
    spikes["x"] = [0, 2]
    raster = events_to_raster(spikes, 1e-3)
    assert raster.shape == (2, 1, 3, 1)
    assert raster.sum(axis=(1, 2, 3)).tolist() == [3, 1]
    assert events_to_raster(spikes[:0], 1e-3, (1, 2, 3)).shape == (0, 2, 3, 1)
    with pytest.raises(ValueError, match="has x = 2, but the shape is"):
        events_to_raster(spikes, 1e-3, (1, 1, 2))
    with pytest.raises(ValueError, match="dt is 0"):
        events_to_raster(spikes, 0)


def test_addresses_of_the_example():
    assert neuron_address(1, 0, 0, (16, 32, 32)) == 16
    assert neuron_address(0, 1, 0, (16, 32, 32)) == 512


@given(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)))
def test_addresses_are_different_and_invertible(shape):
    features, height, width = shape
    corners = {(0, 0, 0), (width - 1, height - 1, features - 1), (width // 2, 0, features // 2)}
    addresses = {neuron_address(*xyc, shape) for xyc in corners}
    assert {neuron_from_address(address, shape) for address in addresses} == corners
    assert max(addresses) < 2**18


def test_wide_maps_do_not_collide():
    seen = {neuron_address(x, y, 0, (1, 2, 64)) for x in range(64) for y in range(2)}
    assert len(seen) == 128


def test_addresses_outside_are_refused():
    with pytest.raises(ValueError, match="no neuron"):
        neuron_address(3, 0, 0, (1, 3, 3))
    with pytest.raises(ValueError, match="need 19 address bits"):
        neuron_address(0, 0, 0, (128, 64, 64))
    with pytest.raises(ValueError, match="is no address"):
        neuron_from_address(3, (3, 1, 1))
    with pytest.raises(ValueError, match="is no address"):
        neuron_from_address(-1, (3, 1, 1))
