"""Gesture recordings of event cameras, as lists of labelled trials."""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt

from kerasnsoc.runtime.event_files import read_events
from kerasnsoc.runtime.events import Events

DatasetName = Literal["dvs_gesture", "samsung_handy"]


class Trial(TypedDict):
    """One labelled piece of a recording.

    `events` has shape (events, 3) with the columns x, y, polarity as uint16; `ev_times` has shape
    (events,), int64, in microseconds since the first event.
    """

    label: int
    subject: int
    lighting: str
    events: npt.NDArray[np.uint16]
    ev_times: npt.NDArray[np.int64]


def get_gesture_data(
    dataset_name: DatasetName,
    datafile: str | os.PathLike[str],
    labelfile: str | os.PathLike[str] | None = None,
) -> list[Trial]:
    """Trials of a recording.

    Parameters
    ----------
    dataset_name : {"dvs_gesture", "samsung_handy"}
        `DVS Gesture` files are ``user<NN>_<lighting>.aedat`` with a file of labels beside them;
        `handy` files are ``GestS<NN>_<LL>...aedat`` with one trial, its label in the name.
    datafile : path
        AEDAT 2.0 or 3.1; AEDAT 4.0 needs the package ``aedat``.
    labelfile : path, optional
        For "dvs_gesture" and required there: CSV with a header and the columns class, start and
        end in microseconds (end excluded), ordered by time.

    Returns
    -------
    list of Trial
        A trial that the end of the file cuts short is kept as far as it goes.

    Warns
    -----
    UserWarning
        If the file ends within an event or a packet of events; the whole ones are kept.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If the name of the data set or of the file is unknown, or a file's content is not valid.
    ImportError
        For AEDAT 4.0, if the package that reads it is not installed.
    """
    _check_name(dataset_name)
    name = Path(datafile).name
    if dataset_name == "samsung_handy":
        found = re.match(r"GestS(\d+)_(\d+)", name)
        if found is None:
            raise ValueError(f"{name!r} is no recording of this data set: GestS<NN>_<LL>...aedat")
        subject, label = int(found[1]), int(found[2])
        return [_trial(_events(datafile), label, subject, "fluorescent")]
    found = re.match(r"user(\d+)_(.+)\.aedat4?$", name)
    if found is None:
        raise ValueError(f"{name!r} is no recording of this data set: user<NN>_<lighting>.aedat")
    if labelfile is None:
        raise ValueError(f"{name!r} needs its labelfile, a CSV with the columns class, start, end")
    rows = _label_rows(Path(labelfile))
    events = _events(datafile)
    events = events[np.argsort(events["t"], kind="stable")]
    subject, lighting = int(found[1]), found[2]
    trials = []
    for label, start, end in rows:
        first, last = np.searchsorted(events["t"], [start, end])
        trials.append(_trial(events[first:last], label, subject, lighting))
    return trials


def generate_dataset(
    dataset_name: DatasetName, datadir: str | os.PathLike[str], subject_list: Iterable[int]
) -> list[Trial]:
    """Trials of several subjects.

    Parameters
    ----------
    dataset_name : {"dvs_gesture", "samsung_handy"}
    datadir : path
        Folder with the recordings, ``.aedat`` or ``.aedat4``; those of "dvs_gesture" have their
        labels beside them, as ``<recording>_labels.csv``. Of a recording in both formats the first
        is read.
    subject_list : iterable of int

    Raises
    ------
    FileNotFoundError
        If there is no recording of a subject.
    ValueError, ImportError
        See `get_gesture_data`.
    """
    _check_name(dataset_name)
    folder = Path(datadir)
    trials = []
    for subject in subject_list:
        form = "user{:02d}_*.aedat" if dataset_name == "dvs_gesture" else "GestS{:02d}_*.aedat"
        files: dict[str, Path] = {}
        for suffix in ("", "4"):
            for file in sorted(folder.glob(form.format(subject) + suffix)):
                files.setdefault(file.stem, file)
        if not files:
            raise FileNotFoundError(
                f"no recording of subject {subject} ({form.format(subject)} or .aedat4) in "
                f"{str(folder)!r}"
            )
        for _, file in sorted(files.items()):
            is_labelled = dataset_name == "dvs_gesture"
            labels = file.with_name(f"{file.stem}_labels.csv") if is_labelled else None
            trials += get_gesture_data(dataset_name, file, labels)
    return trials


def _check_name(dataset_name: str) -> None:
    if dataset_name not in get_args(DatasetName):
        raise ValueError(
            f"dataset_name is {dataset_name!r}, known are "
            f"{', '.join(map(repr, get_args(DatasetName)))}"
        )


def _label_rows(path: Path) -> list[tuple[int, int, int]]:
    rows: list[tuple[int, int, int]] = []
    with path.open(newline="") as file:
        reader = csv.reader(file)
        next(reader, None)
        for row in reader:
            if not row:
                continue
            try:
                label, start, end = map(int, row[:3])
            except ValueError:
                raise ValueError(
                    f"{str(path)!r}, line {reader.line_num}: {row!r} is not class, start, end in "
                    "microseconds"
                ) from None
            if end < start or (rows and start < rows[-1][1]):
                raise ValueError(
                    f"{str(path)!r}, line {reader.line_num}: the trial from {start} to {end} is "
                    "out of order; rows must be ordered by their start"
                )
            rows.append((label, start, end))
    return rows


def _events(path: str | os.PathLike[str]) -> Events:
    try:
        return read_events(path)
    except ValueError as error:
        events = read_events(path, allow_truncated=True)  # refuses all other damage again
        warnings.warn(
            f"{os.fspath(path)!r} is cut short; its {len(events)} whole events are kept ({error})",
            stacklevel=3,
        )
        return events


def _trial(events: Events, label: int, subject: int, lighting: str) -> Trial:
    coordinates: npt.NDArray[Any] = np.stack([events["x"], events["y"], events["p"]], axis=1)
    if coordinates.size and int(coordinates.max()) > 65535:
        raise ValueError(f"an event has the coordinate {coordinates.max()}, at most 65535 fits")
    times = events["t"].astype(np.int64)
    return {
        "label": label,
        "subject": subject,
        "lighting": lighting,
        "events": coordinates.astype(np.uint16),
        "ev_times": times - times[0] if len(times) else times,
    }
