"""Recordings of cameras become labelled trials."""

import struct

import numpy as np
import pytest

from kerasnsoc.zoo.dvs import generate_dataset, get_gesture_data, preprocessing


def write_aedat_2(path, rows):
    """Rows of time, x, y, polarity."""
    records = [struct.pack(">II", x << 1 | y << 8 | p, t) for t, x, y, p in rows]
    path.write_bytes(b"#!AER-DAT2.0\r\n# made for a test\r\n" + b"".join(records))


def write_aedat_31(path, rows):
    events = [struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in rows]
    header = struct.pack("<HHIIIIII", 1, 0, 8, 4, 0, *[len(rows)] * 3)
    path.write_bytes(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + header + b"".join(events))


def test_an_address_and_an_event_have_the_published_bytes(tmp_path):
    write_aedat_2(tmp_path / "a.aedat", [(1000, 5, 7, 1)])
    assert (tmp_path / "a.aedat").read_bytes().endswith(bytes.fromhex("0000070b000003e8"))
    write_aedat_31(tmp_path / "b.aedat", [(1000, 5, 7, 1)])
    assert (tmp_path / "b.aedat").read_bytes().endswith(bytes.fromhex("1f000a00e8030000"))


ROWS = [(100, 1, 2, 0), (200, 3, 4, 1), (300, 5, 6, 0), (400, 7, 8, 1)]


@pytest.mark.parametrize("write", [write_aedat_2, write_aedat_31])
def test_a_gesture_recording_is_cut_by_its_labels(tmp_path, write):
    write(tmp_path / "user07_led.aedat", ROWS)
    labels = tmp_path / "user07_led_labels.csv"
    # the end is excluded; the last trial is longer than the file
    labels.write_text("class,startTime_usec,endTime_usec\n3,100,300\n\n5,300,9999\n")
    first, second = get_gesture_data("dvs_gesture", tmp_path / "user07_led.aedat", labels)
    assert (first["label"], first["subject"], first["lighting"]) == (3, 7, "led")
    np.testing.assert_array_equal(first["events"], [[1, 2, 0], [3, 4, 1]])
    np.testing.assert_array_equal(first["ev_times"], [0, 100])
    np.testing.assert_array_equal(second["events"], [[5, 6, 0], [7, 8, 1]])
    assert first["events"].dtype == np.uint16
    assert first["ev_times"].dtype == np.int64
    again = generate_dataset("dvs_gesture", tmp_path, [7])
    assert [trial["label"] for trial in again] == [3, 5]


def test_a_handy_recording_has_its_label_in_the_name(tmp_path):
    write_aedat_31(tmp_path / "GestS03_11_extra.aedat", [(t, 600, y, p) for t, _, y, p in ROWS])
    (trial,) = generate_dataset("samsung_handy", tmp_path, [3])
    assert (trial["label"], trial["subject"], trial["lighting"]) == (11, 3, "fluorescent")
    assert trial["events"][:, 0].tolist() == [600] * 4


def test_an_empty_trial_has_no_events(tmp_path):
    write_aedat_2(tmp_path / "user01_lab.aedat", ROWS)
    (tmp_path / "user01_lab_labels.csv").write_text("class,start,end\n1,10,50\n")
    (trial,) = generate_dataset("dvs_gesture", tmp_path, [1])
    assert trial["events"].shape == (0, 3)


def test_what_is_unknown_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'nmnist'.*'dvs_gesture', 'samsung_handy'"):
        get_gesture_data("nmnist", tmp_path / "a")
    with pytest.raises(ValueError, match="'nmnist'"):
        generate_dataset("nmnist", tmp_path, [])
    with pytest.raises(FileNotFoundError, match="subject 4"):
        generate_dataset("dvs_gesture", tmp_path, [4])
    with pytest.raises(ValueError, match=r"user<NN>_<lighting>"):
        get_gesture_data("dvs_gesture", tmp_path / "other.aedat", "x.csv")
    with pytest.raises(ValueError, match="GestS"):
        get_gesture_data("samsung_handy", tmp_path / "other.aedat")
    with pytest.raises(ValueError, match="needs its labelfile"):
        get_gesture_data("dvs_gesture", tmp_path / "user01_a.aedat")
    (tmp_path / "user01_a.aedat").write_bytes(b"#!XYZ\r\n")
    labels = tmp_path / "user01_a_labels.csv"
    labels.write_text("class,start,end\n1,0,50\n")
    with pytest.raises(ValueError, match="no known format"):
        generate_dataset("dvs_gesture", tmp_path, [1])
    labels.write_text("class,start,end\n1,100,200\n2,50,80\n")
    with pytest.raises(ValueError, match=r"line 3.*out of order"):
        generate_dataset("dvs_gesture", tmp_path, [1])
    labels.write_text("class,start,end\n1,a,200\n")
    with pytest.raises(ValueError, match=r"line 2.*microseconds"):
        generate_dataset("dvs_gesture", tmp_path, [1])


@pytest.mark.parametrize("write", [write_aedat_2, write_aedat_31])
def test_what_a_recording_lost_at_its_end_is_all_that_is_lost(tmp_path, write):
    file, labels = tmp_path / "user03_led.aedat", tmp_path / "user03_led_labels.csv"
    write(file, [(100 * k, k, 7, 1) for k in range(10)])
    labels.write_text("class,start,end\n1,0,400\n2,400,1000\n")
    whole = get_gesture_data("dvs_gesture", file, labels)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.warns(UserWarning, match=r"cut short; its 9 whole events"):
        kept = get_gesture_data("dvs_gesture", file, labels)
    assert [len(trial["events"]) for trial in whole] == [4, 6]
    assert [len(trial["events"]) for trial in kept] == [4, 5]


def test_recordings_of_both_formats_are_found(tmp_path, monkeypatch):
    names = ("user01_a.aedat4", "user01_b.aedat", "user01_b.aedat4", "user01_c.dat")
    for name in names:
        (tmp_path / name).touch()
    found = []
    monkeypatch.setattr(
        preprocessing, "get_gesture_data", lambda _, *files: found.append(files) or []
    )
    generate_dataset("dvs_gesture", tmp_path, [1])
    assert [(file.name, labels.name) for file, labels in found] == [
        ("user01_a.aedat4", "user01_a_labels.csv"),
        ("user01_b.aedat", "user01_b_labels.csv"),
    ]
