"""Event arrays, packets by count and by time, and the maps that they fill."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.runtime import (
    EVENT_DTYPE,
    CountWindow,
    Packet,
    TimeWindow,
    bin_events,
    make_events,
)
from kerasnsoc.runtime.events import BLOCK_EVENTS, MAX_TIME, EventMap, as_events, cut


def at(*times):
    """Events at these times, anywhere."""
    count = len(times)
    return make_events(times, [0] * count, [0] * count, [0] * count)


def packets_of(chunks, window):
    """(index, start, stop, times) of every packet."""
    found, times = [], []
    for piece, packet in cut(chunks, window):
        times += piece["t"].tolist()
        if packet is not None:
            assert packet.events == len(times)
            found.append((packet.index, packet.start, packet.stop, times))
            times = []
    assert not times
    return found


# event arrays


def test_columns_become_events():
    events = make_events([5, -1], np.array([3, 65535], np.uint16), [0, 2], np.array([True, False]))
    assert events.dtype == EVENT_DTYPE
    assert events.tolist() == [(5, 3, 0, 1), (-1, 65535, 2, 0)]
    assert make_events([], [], [], []).shape == (0,)


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        (([1], [2], [3], [2]), ValueError, "event 0 has p = 2, allowed are 0 to 1"),
        (([1, 2], [2, -1], [3, 3], [0, 0]), ValueError, "event 1 has x = -1, allowed are 0 to 655"),
        (([1], [2], [70000], [0]), ValueError, "event 0 has y = 70000"),
        (([MAX_TIME], [2], [3], [0]), ValueError, "event 0 has t = 4611686018427387904"),
        (
            (np.array([2**64 - 1], np.uint64), [2], [3], [0]),
            ValueError,
            "has t = 184467440737095516",
        ),
        (([1.5], [2], [3], [0]), TypeError, "'t' has the dtype float64"),
        (([1], [True], [3], [0]), TypeError, "'x' has the dtype bool"),
        (([1, 2], [2], [3], [0]), ValueError, "one and the same length"),
        (([[1]], [[2]], [[3]], [[0]]), ValueError, "one and the same length"),
    ],
)
def test_columns_out_of_range_are_refused(columns, error, words):
    with pytest.raises(error, match=words):
        make_events(*columns)


def test_any_structured_array_with_the_four_fields_is_taken():
    theirs = np.zeros(2, [("x", "i4"), ("extra", "f8"), ("y", ">u2"), ("p", "?"), ("t", "u8")])
    theirs["t"] = [7, 9]
    theirs["p"] = [True, False]
    events = as_events(theirs)
    assert events.tolist() == [(7, 0, 0, 1), (9, 0, 0, 0)]
    assert as_events(events) is events


@pytest.mark.parametrize(
    ("events", "error", "words"),
    [
        (np.zeros((2, 4), np.int64), TypeError, "dtype int64, but must be a structured array"),
        ([(1, 2, 3, 0)], TypeError, "of list"),
        (np.zeros(2, [("t", "i8"), ("x", "u2"), ("y", "u2")]), TypeError, "t, x, y and p"),
        (np.zeros((2, 2), EVENT_DTYPE), ValueError, r"shape \(2, 2\), but must have one axis"),
        (np.array([(0, 0, 0, 3)], EVENT_DTYPE), ValueError, "event 0 has p = 3"),
        (np.array([(-(2**62), 0, 0, 0)], EVENT_DTYPE), ValueError, "event 0 has t = -46116"),
    ],
)
def test_other_arrays_are_refused(events, error, words):
    with pytest.raises(error, match=words):
        as_events(events)


# packets


def test_packets_by_count():
    found = packets_of([at(5, 3, 8), at(9, 9)], CountWindow(2))
    # order does not matter, and the last one is what is left
    assert found == [(0, 5, 3, [5, 3]), (1, 8, 9, [8, 9]), (2, 9, 9, [9])]


def test_packets_by_time():
    found = packets_of([at(3, 7, 12), at(13, 34)], TimeWindow(10))
    assert found == [
        (0, 3, 13, [3, 7, 12]),
        (1, 13, 23, [13]),
        (2, 23, 33, []),
        (3, 33, 43, [34]),
    ]


def test_windows_of_time_start_at_an_origin():
    found = packets_of([at(12, 19)], TimeWindow(5, origin=0))
    assert found == [(0, 0, 5, []), (1, 5, 10, []), (2, 10, 15, [12]), (3, 15, 20, [19])]


def test_empty_windows_may_be_skipped_and_keep_their_place():
    window = TimeWindow(10, origin=0, skip_empty=True)
    found = packets_of([at(25), at(26, 10**15)], window)
    assert found == [(2, 20, 30, [25, 26]), (10**14, 10**15, 10**15 + 10, [10**15])]


@pytest.mark.parametrize("window", [CountWindow(3), TimeWindow(5), TimeWindow(5, 0)])
def test_no_events_are_no_packets(window):
    assert packets_of([], window) == []
    assert packets_of([at(), at()], window) == []


def test_time_that_runs_back_is_refused_within_and_between_parts():
    with pytest.raises(ValueError, match=r"t = 3 follows one with t = 4.*Sort the events"):
        packets_of([at(1, 4, 3)], TimeWindow(10))
    with pytest.raises(ValueError, match="has t = 3, but windows of time go on from 4"):
        packets_of([at(1, 4), at(3)], TimeWindow(10))
    with pytest.raises(ValueError, match="has t = 3, but windows of time go on from 4"):
        packets_of([at(3)], TimeWindow(10, origin=4))


def test_pieces_are_small_whatever_comes_in():
    many = np.zeros(3 * BLOCK_EVENTS, EVENT_DTYPE)
    sizes = [len(piece) for piece, _ in cut([many], CountWindow(len(many)))]
    assert max(sizes) <= BLOCK_EVENTS
    assert sum(sizes) == len(many)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: CountWindow(0), ValueError, "events is 0, but must be 1 to"),
        (lambda: CountWindow(2.0), TypeError, "events is 2.0, but must be an integer"),
        (lambda: TimeWindow(-5), ValueError, "microseconds is -5"),
        (lambda: TimeWindow(True), TypeError, "microseconds is True"),
        (lambda: TimeWindow(5, origin=2**62), ValueError, "origin is 4611686018427387904"),
    ],
)
def test_windows_check_their_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()


windows = st.builds(CountWindow, st.integers(1, 9)) | st.builds(
    TimeWindow, st.integers(1, 30), st.none() | st.integers(-40, 0), st.booleans()
)


@given(
    times=st.lists(st.integers(0, 100), max_size=30).map(sorted),
    cuts=st.lists(st.integers(0, 30), max_size=4).map(sorted),
    window=windows,
)
def test_packets_do_not_depend_on_how_events_come_in(times, cuts, window):
    events = at(*times)
    whole = packets_of([events], window)
    assert packets_of(np.split(events, cuts), window) == whole
    assert [t for *_, inside in whole for t in inside] == times
    if isinstance(window, TimeWindow):
        for index, start, stop, inside in whole:
            assert stop - start == window.microseconds
            assert start == whole[0][1] + (index - whole[0][0]) * window.microseconds
            assert all(start <= t < stop for t in inside)
            assert inside or not window.skip_empty


# maps


def test_polarity_chooses_the_feature():
    events = make_events([0, 1, 2], [0, 1, 1], [2, 0, 0], [1, 0, 1])
    batch = bin_events(events, (2, 3, 2))
    assert batch.shape == (1, 2, 3, 2)
    assert {tuple(map(int, place)) for place in np.argwhere(batch[0])} == {
        (0, 2, 1),
        (1, 0, 0),
        (1, 0, 1),
    }


def test_one_feature_takes_both_polarities():
    batch = bin_events(make_events([0, 1], [0, 1], [0, 0], [1, 0]), (2, 1, 1))
    assert batch[0, :, 0, 0].tolist() == [1, 1]


def test_duplicates_merge_or_add_up_to_the_top():
    events = make_events(range(40), [0] * 40, [0] * 20 + [1] * 20, [0] * 37 + [1] * 3)
    merged = bin_events(events, (1, 2, 2), bits=4, value=3)
    assert merged[0, 0].tolist() == [[3, 0], [3, 3]]
    counted = bin_events(events, (1, 2, 2), bits=4, duplicates="count")
    assert counted[0, 0].tolist() == [[15, 0], [15, 3]]
    eight = bin_events(events, (1, 2, 2), bits=8, duplicates="count", value=100)
    assert eight[0, 0].tolist() == [[255, 0], [255, 255]]


def test_coordinates_are_divided():
    events = make_events([0, 1], [639, 0], [479, 3], [0, 0])
    batch = bin_events(events, (160, 120, 1), downscale=4)
    assert np.argwhere(batch[0]).tolist() == [[0, 0, 0], [159, 119, 0]]


def test_an_event_outside_is_named_and_changes_nothing():
    target = EventMap((4, 3, 1))
    with pytest.raises(ValueError, match=r"event at t = 8 has y = 3, allowed are 0 to 2\. Crop"):
        target.add(make_events([7, 8], [0, 1], [0, 3], [0, 0]))
    assert not target.values_whc.any()
    with pytest.raises(ValueError, match=r"x // 2 = 4, allowed are 0 to 3"):
        bin_events(make_events([7], [8], [0], [0]), (4, 3, 1), downscale=2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"dims": (2, 2, 3)}, ValueError, r"dims is \(2, 2, 3\).*events_to_dense"),
        ({"dims": (2, 2)}, ValueError, "dims is"),
        ({"dims": (0, 2, 1)}, ValueError, "dims is 0, but must be 1 to 65536"),
        ({"bits": 9}, ValueError, "bits is 9, but must be 1 to 8"),
        ({"value": 2}, ValueError, "value is 2, but must be 1 to 1"),
        ({"downscale": 0}, ValueError, "downscale is 0"),
        ({"duplicates": "sum"}, ValueError, "duplicates is 'sum', but must be 'merge' or 'count'"),
    ],
)
def test_maps_check_their_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        bin_events(at(1), **{"dims": (2, 2, 1), **arguments})


def test_a_batch_has_one_sample_per_packet():
    events = make_events([0, 5, 31, 32], [0, 1, 2, 3], [0] * 4, [0] * 4)
    by_time = bin_events(events, (4, 1, 1), TimeWindow(10))
    assert by_time[:, :, 0, 0].tolist() == [[1, 1, 0, 0], [0] * 4, [0] * 4, [0, 0, 1, 1]]
    skipping = bin_events(events, (4, 1, 1), TimeWindow(10, skip_empty=True))
    np.testing.assert_array_equal(skipping, by_time[[0, 3]])
    by_count = bin_events(events, (4, 1, 1), CountWindow(3))
    assert by_count[:, :, 0, 0].tolist() == [[1, 1, 1, 0], [0, 0, 0, 1]]
    assert bin_events(at(), (4, 1, 1), CountWindow(3)).shape == (0, 4, 1, 1)
    assert bin_events(at(), (4, 1, 1)).shape == (1, 4, 1, 1)


@given(times=st.lists(st.integers(0, 100), max_size=30).map(sorted), window=windows)
def test_a_batch_has_the_packets_of_the_stream(times, window):
    batch = bin_events(at(*times), (1, 1, 1), window, bits=8, duplicates="count")
    found = [len(inside) for *_, inside in packets_of([at(*times)], window)]
    assert batch.ravel().tolist() == found


def test_a_batch_beyond_all_memory_is_refused_before_it_is_made():
    with pytest.raises(ValueError, match=r"1000000000000000001 packets of 4 bytes.*Model\.stream"):
        bin_events(at(0, 10**18), (2, 2, 1), TimeWindow(1))


def test_packet_is_a_plain_record():
    assert Packet(1, 2, 3, 4) == Packet(index=1, start=2, stop=3, events=4)
