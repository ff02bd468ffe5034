"""Files of events: bytes written here by hand, and files that lie."""

import io
import os
import struct
import sys
import tracemalloc
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.runtime import (
    EVENT_DTYPE,
    EventFormat,
    iter_events,
    make_events,
    read_events,
    sniff_event_format,
)
from kerasnsoc.runtime.event_files import MAX_HEADER_BYTES
from kerasnsoc.runtime.events import BLOCK_EVENTS

HEADER_2 = b"#!AER-DAT2.0\r\n# any text\r\n"
HEADER_3 = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
# x = 5, y = 7, polarity 1, t = 1000
EVENT_2 = bytes.fromhex("0000070b 000003e8")
EVENT_3 = bytes.fromhex("1f000a00 e8030000")
EVENT_BIN = bytes([5, 7, 0x80, 0x03, 0xE8])


def packet_3(*events, kind=1, size=8, offset=4, overflow=0, capacity=None, number=None):
    number = len(events) if number is None else number
    capacity = number if capacity is None else capacity
    head = struct.pack("<HHIIIIII", kind, 0, size, offset, overflow, capacity, number, number)
    return head + b"".join(events)


@pytest.fixture
def write(tmp_path):
    def write(content, name="rec.aedat"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def npy(array, version=None):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


# what the formats say


@pytest.mark.parametrize(
    ("content", "name", "found"),
    [
        (HEADER_2 + EVENT_2, "rec.aedat", EventFormat.AEDAT2),
        (HEADER_3 + packet_3(EVENT_3), "rec.aedat", EventFormat.AEDAT31),
        (EVENT_BIN, "00002.bin", EventFormat.NMNIST),
        (npy(make_events([1000], [5], [7], [1])), "rec.npy", EventFormat.NPY),
    ],
)
def test_the_published_event_of_every_format(write, content, name, found):
    path = write(content, name)
    assert sniff_event_format(path) is found
    events = read_events(path)
    assert events.dtype == EVENT_DTYPE
    assert events.tolist() == [(1000, 5, 7, 1)]
    assert read_events(str(path), format=found).tolist() == events.tolist()


def test_aedat_2_addresses(write):
    records = [(0x7FFE, 1), (0x0001, 2), (0x8000 | 0x070B, 3), (0x0000, 4)]
    content = HEADER_2 + b"".join(struct.pack(">II", *record) for record in records)
    # the third is a synchronization
    assert read_events(write(content)).tolist() == [(1, 127, 127, 0), (2, 0, 0, 1), (4, 0, 0, 0)]


def test_aedat_2_times_wrap(write):
    times = [2**32 - 5, 2, 1, 2**32 - 1, 0]
    content = HEADER_2 + b"".join(struct.pack(">II", 0, t) for t in times)
    found = read_events(write(content))["t"].tolist()
    # one step back is disorder, not a wrap
    assert found == [2**32 - 5, 2**32 + 2, 2**32 + 1, 2**33 - 1, 2**33]


def test_aedat_2_wraps_over_blocks(write):
    time = np.arange(BLOCK_EVENTS + 10, dtype=np.uint64) + (2**32 - BLOCK_EVENTS - 2)
    records = np.zeros(len(time), [("a", ">u4"), ("t", ">u4")])
    records["t"] = time % 2**32
    parts = list(iter_events(write(HEADER_2 + records.tobytes())))
    assert [len(part) for part in parts] == [BLOCK_EVENTS, 10]
    np.testing.assert_array_equal(np.concatenate(parts)["t"], time)


def test_aedat_31_leaves_out_invalid_events_and_other_packets(write):
    invalid = bytes.fromhex("1e000a00 e9030000")
    content = (
        HEADER_3
        + packet_3(bytes(48), kind=3, size=48, offset=4)
        + packet_3(EVENT_3, invalid, EVENT_3)
        + packet_3()
        + packet_3(EVENT_3, overflow=2, capacity=7)
    )
    t = 1000 + 2 * 2**31
    assert read_events(write(content)).tolist() == [(1000, 5, 7, 1)] * 2 + [(t, 5, 7, 1)]


def test_aedat_31_widest_values(write):
    data = (0x7FFF << 17) | (0x7FFF << 2) | 1
    content = HEADER_3 + packet_3(struct.pack("<II", data, 2**31 - 1))
    assert read_events(write(content)).tolist() == [(2**31 - 1, 0x7FFF, 0x7FFF, 0)]


def test_nmnist_times_and_overflows(write):
    late = bytes([33, 0, 0x7F, 0xFF, 0xFF])
    overflow = bytes([0, 240, 0, 0, 0])
    content = EVENT_BIN + late + overflow + EVENT_BIN + overflow + overflow + EVENT_BIN
    assert read_events(write(content, "a.BIN")).tolist() == [
        (1000, 5, 7, 1),
        (2**23 - 1, 33, 0, 0),
        (1000 + 8192, 5, 7, 1),
        (1000 + 3 * 8192, 5, 7, 1),
    ]


def test_structured_arrays_of_other_fields_order_and_versions(write):
    array = np.zeros(3, [("x", ">i2"), ("y", "i4"), ("t", "u8"), ("p", "?"), ("more", "f4")])
    array["t"] = [4, 5, 6]
    for version in ((1, 0), (2, 0)):
        events = read_events(write(npy(array, version), "rec.npy"))
        assert events.tolist() == [(4, 0, 0, 0), (5, 0, 0, 0), (6, 0, 0, 0)]


def test_empty_files(write):
    assert len(read_events(write(b"", "a.bin"))) == 0
    assert len(read_events(write(HEADER_2))) == 0
    assert len(read_events(write(HEADER_3))) == 0
    assert len(read_events(write(npy(np.empty(0, EVENT_DTYPE)), "a.npy"))) == 0


def test_aedat_4_goes_through_its_package(write, monkeypatch):
    class Decoder:
        def __init__(self, path):
            assert isinstance(path, str)

        def __iter__(self):
            records = np.array(
                [(9, 1, 2, True)], [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")]
            )
            yield {"stream_id": 1, "frame": None}
            yield {"stream_id": 0, "events": records}

    path = write(b"#!AER-DAT4.0\r\nrest")
    assert sniff_event_format(path) is EventFormat.AEDAT4
    monkeypatch.setitem(sys.modules, "aedat", types.SimpleNamespace(Decoder=Decoder))
    assert read_events(path).tolist() == [(9, 1, 2, 1)]
    monkeypatch.setitem(sys.modules, "aedat", None)
    with pytest.raises(ImportError, match=r"AEDAT 4\.0, which the package 'aedat' reads: pip"):
        iter_events(path)


# files that lie


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"#!AER-DAT1.0\r\n", "a.aedat", r"AEDAT of version '1\.0', but those .* 2\.0, 3\.1, 4\.0"),
        (b"#!AER-DAT3.0\r\n", "a.aedat", r"version '3\.0'"),
        (b"#!AER-DAT", "a.aedat", "version ''"),
        (b"hello world", "a.aedat", "begins with b'hello world', which is no known format"),
        (b"", "a.aedat", "begins with b''"),
        (HEADER_2 + EVENT_2[:5], "a.aedat", "an event at byte 26 needs 8 bytes, .* has 5 left"),
        (HEADER_2[:-2], "a.aedat", "header line at byte 14 has no end"),
        (HEADER_2 + b"#" * (MAX_HEADER_BYTES + 9), "a.aedat", "longer than 1048576 bytes"),
        (b"#!AER-DAT3.1\r\nno", "a.aedat", r"ends at byte 14 without the line b'#!END-HEADER"),
        (b"#!AER-DAT3.1\r\n", "a.aedat", r"ends at byte 14 without the line"),
        (HEADER_3[:14] + b"#\n" * MAX_HEADER_BYTES, "a.aedat", "longer than 1048576 bytes"),
        (HEADER_3 + bytes(27), "a.aedat", "packet's header at byte 42 needs 28 bytes.* 27 left"),
        (
            HEADER_3 + packet_3(EVENT_3, number=2**32 - 1),
            "a.aedat",
            "4294967295 events of 8 bytes at byte 70 needs 34359738360 bytes, but the file has 8 ",
        ),
        (HEADER_3 + packet_3(EVENT_3, capacity=0), "a.aedat", "states 1 events, but a capacity of"),
        (HEADER_3 + packet_3(EVENT_3, size=16), "a.aedat", "states events of 16 bytes"),
        (HEADER_3 + packet_3(EVENT_3, size=0), "a.aedat", "states events of 0 bytes"),
        (HEADER_3 + packet_3(EVENT_3, offset=0), "a.aedat", "with the time at byte 0"),
        (HEADER_3 + packet_3(EVENT_3, overflow=2**31), "a.aedat", "states 2147483648 overflows"),
        (HEADER_3 + packet_3(bytes(8), kind=9, number=2), "a.aedat", "needs 16 bytes"),
        (EVENT_BIN + b"\0", "a.bin", "event at byte 5 needs 5 bytes, but the file has 1 left"),
        (b"\x93NUMPY", "a.npy", "no .npy file"),
        (b"\x93NUMPY\x03\x00" + bytes(90), "a.npy", "version"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "a.npy", "no .npy file"),
        (npy(np.zeros(3)), "a.npy", "holds float64, but events are a structured array"),
        (npy(np.zeros((2, 2), EVENT_DTYPE)), "a.npy", r"shape \(2, 2\), but events have one axis"),
        (npy(np.zeros(9, EVENT_DTYPE))[:-1], "a.npy", "array of 9 events at byte 192 needs 117"),
        (npy(np.array([(0, 0, 0, 9)], EVENT_DTYPE)), "a.npy", "event 0 has p = 9"),
    ],
)
def test_what_is_wrong_is_said(write, content, name, words):
    path = write(content, name)
    with pytest.raises(ValueError, match=words) as info:
        read_events(path)
    assert name in str(info.value)


def lying_npy(shape, descr="[('t','<i8'),('x','<u2'),('y','<u2'),('p','u1')]"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lying_npy("(99999999999999999999,)"), "array of 99999999999999999999 events"),
        (lying_npy("(4000000000,)"), "needs 52000000000 bytes"),
        (lying_npy("(-1,)"), "one axis"),
        (lying_npy("()"), "one axis"),
        (lying_npy("(1,)", "[('t','O'),('x','O'),('y','O'),('p','O')]") + bytes(99), "holds"),
        (lying_npy("(1,)", "[('t','V0'),('x','V0'),('y','V0'),('p','V0')]"), "t|itemsize|events"),
        (lying_npy("(" * 200), "no .npy file"),
    ],
)
def test_stated_sizes_are_not_believed(write, content, words):
    path = write(content, "a.npy")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words):
            read_events(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (HEADER_2 + EVENT_2 + EVENT_2[:5], "a.aedat"),
        (HEADER_3 + packet_3(EVENT_3) + bytes(27), "a.aedat"),
        (HEADER_3 + packet_3(EVENT_3, bytes(7), number=2), "a.aedat"),
        (EVENT_BIN + b"\0", "a.bin"),
        (npy(make_events([1000, 2], [5, 0], [7, 0], [1, 0]))[:-1], "a.npy"),
    ],
)
def test_whole_events_of_a_cut_file_are_there_on_demand(write, content, name):
    path = write(content, name)
    with pytest.raises(ValueError, match="allow_truncated=True"):
        read_events(path)
    assert read_events(path, allow_truncated=True).tolist() == [(1000, 5, 7, 1)]


@given(st.binary(max_size=200), st.sampled_from([b"", HEADER_2, HEADER_3, HEADER_3 + packet_3()]))
def test_any_bytes_give_events_or_one_kind_of_error(tmp_path_factory, tail, head):
    path = tmp_path_factory.getbasetemp() / "fuzz.aedat"
    path.write_bytes(head + tail)
    for kind in (None, *(set(EventFormat) - {EventFormat.AEDAT4})):
        for loose in (False, True):
            try:
                events = read_events(path, format=kind, allow_truncated=loose)
            except ValueError:
                continue
            except ImportError:
                assert tail.startswith(b"#!AER-DAT4.0")
                continue
            assert events.dtype == EVENT_DTYPE
            assert events["p"].max(initial=0) <= 1


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        iter_events(tmp_path / "none.aedat")
    with pytest.raises((ValueError, PermissionError)):
        iter_events(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.bin")
        with pytest.raises(ValueError, match="is no regular file"):
            iter_events(tmp_path / "pipe.bin")


def test_the_format_is_an_event_format(write):
    with pytest.raises(TypeError, match="format is 'aedat', but must be an EventFormat"):
        iter_events(write(HEADER_2), format="aedat")


def test_a_long_file_takes_little_memory(write):
    path = write(EVENT_BIN * 2_000_000, "a.bin")  # 10 MB, 26 MB of events
    tracemalloc.start()
    try:
        assert sum(len(part) for part in iter_events(path)) == 2_000_000
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("head", "event"), [(HEADER_2, EVENT_2), (b"", EVENT_BIN)])
def test_a_file_that_shrinks_while_it_is_read_is_an_error(write, head, event):
    name = "shrinks.aedat" if head else "shrinks.bin"
    path = write(head + event * (3 * BLOCK_EVENTS), name)
    blocks = iter_events(path)
    assert len(next(blocks)) == BLOCK_EVENTS
    os.truncate(path, len(head) + len(event) * BLOCK_EVENTS)
    with pytest.raises(ValueError, match="ended after"):
        list(blocks)
