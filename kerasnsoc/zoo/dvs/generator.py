"""Windows of events as inputs of a network: cut, varied, and drawn as images of counts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo.dvs.preprocessing import Trial

LARGEST_COUNT = 15
"""Inputs have 4 bits."""

EventArray = npt.NDArray[np.uint16]


class DVS_DataGenerator:
    """Cuts trials into packets of a fixed duration.

    A packet has `subpackets_per_packet` windows, one after another in time. Each window has its own
    channels: the one of an event is ``polarity + 2 * window``, or the window alone without
    polarity.

    Parameters
    ----------
    dataset : list of Trial
        What `generate_dataset` gives; not changed. Labels are renumbered such that the smallest
        becomes 0.
    subpacket_length : float
        Of a window, in milliseconds.
    subpackets_per_packet : int
    camera_dims : tuple of 3 ints
        Rows, columns and polarities (2) of the camera.
    include_polarity : bool
        Whether brighter and darker pixels have channels of their own.
    allow_duplicate_events : bool
        Whether images count events rather than tell whether there was one.
    downscale : int
        Coordinates are divided by this.
    seed : int, optional
        Of all random draws; by default each object draws differently.

    Attributes
    ----------
    sample_shape : tuple
        Rows, columns and channels of a sample.

    Raises
    ------
    ValueError
        If there are no trials or an argument is out of range.
    """

    def __init__(
        self,
        dataset: Sequence[Trial],
        subpacket_length: float = 1000,
        subpackets_per_packet: int = 1,
        camera_dims: tuple[int, int, int] = (128, 128, 2),
        include_polarity: bool = True,
        allow_duplicate_events: bool = False,
        downscale: int = 1,
        *,
        seed: int | None = None,
    ) -> None:
        if not dataset:
            raise ValueError("the data set holds no trials")
        numbers = {
            "subpacket_length": subpacket_length,
            "subpackets_per_packet": subpackets_per_packet,
            "downscale": downscale,
        }
        for name, value in numbers.items():
            if not value > 0:
                raise ValueError(f"{name} is {value!r}, but it must be positive")
            if name != "subpacket_length" and not isinstance(value, int | np.integer):
                raise ValueError(f"{name} is {value!r}, but it must be an integer")
        rows, columns = camera_dims[0] // downscale, camera_dims[1] // downscale
        if len(camera_dims) != 3 or camera_dims[2] != 2 or min(rows, columns) < 1:
            raise ValueError(
                f"camera_dims is {camera_dims} and downscale {downscale}, but needed are rows, "
                "columns and 2 polarities, the sides not below the downscale"
            )
        smallest = min(trial["label"] for trial in dataset)
        self.dataset: list[Trial] = [
            _in_order({**trial, "label": trial["label"] - smallest}) for trial in dataset
        ]
        self.subpacket_length = subpacket_length
        self.subpackets_per_packet = subpackets_per_packet
        self.camera_dims = camera_dims
        self.include_polarity = include_polarity
        self.allow_duplicate_events = allow_duplicate_events
        self.downscale = downscale
        self.sample_shape = (rows, columns, self._polarities * subpackets_per_packet)
        self._rng = np.random.default_rng(seed)

    @property
    def _polarities(self) -> int:
        return 2 if self.include_polarity else 1

    @property
    def _window_us(self) -> int:
        return round(self.subpacket_length * 1000)

    @property
    def _packet_us(self) -> int:
        return self._window_us * self.subpackets_per_packet

    def get_random_samples(
        self,
        class_list: Iterable[int | str],
        class_key: Mapping[str, int] | None = None,
        samples_per_trial: int = 5,
        stop_time: float | None = None,
    ) -> tuple[list[EventArray], npt.NDArray[np.int64]]:
        """Packets that begin at random times.

        Parameters
        ----------
        class_list : iterable of int or str
            Classes to draw from, as numbers from 0 on or as names.
        class_key : mapping, optional
            Numbers of the names.
        samples_per_trial : int
        stop_time : float, optional
            In milliseconds since a trial's first event; packets end before. By default the end of
            the trial, which also replaces a later one, with a warning.

        Returns
        -------
        samples : list of ndarray of uint16, shape (events, 3)
            Column, row and channel of each event, `downscale` applied.
        labels : ndarray of int64

        Warns
        -----
        UserWarning
            If a trial is shorter than a packet, and so skipped, or `stop_time` is too late.
        """
        samples: list[EventArray] = []
        labels: list[int] = []
        skipped = 0
        for label in self._labels(class_list, class_key):
            for trial in self._trials(label):
                stop = self._stop(trial, stop_time)
                if stop < self._packet_us:
                    skipped += 1
                    continue
                for start in self._rng.integers(
                    stop - self._packet_us, size=samples_per_trial, endpoint=True
                ):
                    samples.append(self._sample(*self._packet(trial, int(start))))
                    labels.append(label)
        if skipped:
            warnings.warn(
                f"{skipped} trials end before a packet of {self._packet_us / 1000:g} ms is full; "
                "they are skipped",
                stacklevel=2,
            )
        return samples, np.array(labels, np.int64)

    def get_continuous_sample(
        self,
        subj: int,
        class_label: int | str,
        class_key: Mapping[str, int] | None = None,
        start_time: float = 0,
        stop_time: float | None = None,
        overlapping_samples: bool = True,
    ) -> tuple[list[EventArray], npt.NDArray[np.int64], list[EventArray]]:
        """Successive packets of one subject and class.

        Parameters
        ----------
        subj : int
        class_label : int or str
            From 0 on, or a name.
        class_key : mapping, optional
            Numbers of the names.
        start_time, stop_time : float
            In milliseconds since the first event of each trial.
        overlapping_samples : bool
            Whether a packet begins one window after the one before, rather than at its end.

        Returns
        -------
        samples : list of ndarray of uint16, shape (events, 3)
            As of `get_random_samples`; an incomplete last packet is left out.
        labels : ndarray of int64
        full_events : list of ndarray of uint16, shape (events, 3)
            The same events as the camera gave them: x, y, polarity.

        Raises
        ------
        ValueError
            If there is no such trial.
        """
        (label,) = self._labels([class_label], class_key)
        trials = [trial for trial in self._trials(label) if trial["subject"] == subj]
        if not trials:
            raise ValueError(f"there is no trial of subject {subj} and class {class_label!r}")
        step = self._window_us if overlapping_samples else self._packet_us
        samples, full = [], []
        for trial in trials:
            stop = self._stop(trial, stop_time)
            for start in range(round(start_time * 1000), stop - self._packet_us + 1, step):
                packet = self._packet(trial, start)
                samples.append(self._sample(*packet))
                full.append(packet[0])
        return samples, np.full(len(samples), label, np.int64), full

    def events2matrix(self, event_packet: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """One sample as an image.

        Parameters
        ----------
        event_packet : array of int, shape (events, 3)
            Column, row and channel.

        Returns
        -------
        ndarray of int32, shape (rows, columns, channels)
            Numbers of events, or 1 for at least one.

        Raises
        ------
        ValueError
            If an event lies outside.
        """
        rows, columns, channels = self.sample_shape
        events = np.asarray(event_packet).reshape(-1, 3).astype(np.int64)
        outside = np.nonzero((events < 0) | (events >= (columns, rows, channels)))[0]
        if len(outside):
            raise ValueError(
                f"event {outside[0]} is {events[outside[0]].tolist()} (column, row, channel), but "
                f"a sample has {columns} columns, {rows} rows and {channels} channels"
            )
        place = (events[:, 1] * columns + events[:, 0]) * channels + events[:, 2]
        counts = np.bincount(place, minlength=rows * columns * channels).reshape(self.sample_shape)
        if not self.allow_duplicate_events:
            counts = np.minimum(counts, 1)
        return counts.astype(np.int32)

    def samples_evs2images(self, samples_events: Sequence[npt.ArrayLike]) -> npt.NDArray[np.uint8]:
        """Samples as images of 4 bits, (samples, rows, columns, channels); counts end at 15."""
        images = np.zeros((len(samples_events), *self.sample_shape), np.uint8)
        for image, events in zip(images, samples_events, strict=True):
            image[:] = np.minimum(self.events2matrix(events), LARGEST_COUNT)
        return images

    def augment_data(
        self,
        samples_events: Sequence[npt.ArrayLike],
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        polarity_flip: bool = False,
        rotation_range: float = 0,
        width_shift_range: float = 1.0,
        height_shift_range: float = 1.0,
    ) -> list[EventArray]:
        """Vary samples at random.

        Parameters
        ----------
        samples_events : list of arrays of int, shape (events, 3)
            Column, row and channel; not changed.
        horizontal_flip, vertical_flip, polarity_flip : bool
            Each happens with probability one half.
        rotation_range : float
            In degrees, to either side, about the centre.
        width_shift_range, height_shift_range : float
            Despite their names the largest factors of a stretch about the centre, at least 1; the
            image is as often made narrower.

        Returns
        -------
        list of ndarray of uint16
            Without the events that left the image.

        Raises
        ------
        ValueError
            If a stretch is below 1, or polarities are to be flipped and the samples have none.
        """
        stretches = {"width": width_shift_range, "height": height_shift_range}
        for name, value in stretches.items():
            if value < 1:
                raise ValueError(f"{name}_shift_range is {value}, but a largest factor is >= 1")
        if polarity_flip and not self.include_polarity:
            raise ValueError("polarity_flip needs samples with polarity (include_polarity=True)")
        rng = self._rng
        limits = np.array([self.sample_shape[1], self.sample_shape[0]])
        centre = (limits - 1) / 2
        varied = []
        for events in samples_events:
            values = np.asarray(events).reshape(-1, 3).astype(np.int64)
            places, channels = values[:, :2] - centre, values[:, 2]
            for axis, wanted in enumerate((horizontal_flip, vertical_flip)):
                if wanted and rng.random() < 0.5:
                    places[:, axis] *= -1
            if polarity_flip and rng.random() < 0.5:
                channels = channels ^ 1
            if rotation_range:
                angle = np.deg2rad(rng.uniform(-rotation_range, rotation_range))
                cosine, sine = np.cos(angle), np.sin(angle)
                places = places @ np.array([[cosine, sine], [-sine, cosine]])
            for axis, largest in enumerate(stretches.values()):
                if largest > 1:
                    factor = rng.uniform(1, largest)
                    places[:, axis] *= factor if rng.random() < 0.5 else 1 / factor
            moved = np.rint(places + centre).astype(np.int64)
            inside = ((moved >= 0) & (moved < limits)).all(axis=1)
            whole = np.column_stack([moved, channels])[inside]
            varied.append(whole.astype(np.uint16))
        return varied

    def _labels(
        self, classes: Iterable[int | str], class_key: Mapping[str, int] | None
    ) -> list[int]:
        labels = []
        for label in classes:
            if isinstance(label, str):
                if class_key is None or label not in class_key:
                    known = "none" if class_key is None else ", ".join(map(repr, class_key))
                    raise ValueError(f"class {label!r} is not in class_key; its names: {known}")
                label = class_key[label]
            labels.append(int(label))
        return labels

    def _trials(self, label: int) -> list[Trial]:
        return [trial for trial in self.dataset if trial["label"] == label]

    def _stop(self, trial: Trial, stop_time: float | None) -> int:
        """End of a trial in microseconds; its last event still belongs to it."""
        end = int(trial["ev_times"][-1]) + 1 if len(trial["ev_times"]) else 0
        if stop_time is None:
            return end
        wanted = round(stop_time * 1000)
        if wanted > end:
            warnings.warn(
                f"stop_time is {stop_time:g} ms, but a trial of class {trial['label']} ends after "
                f"{end / 1000:g} ms",
                stacklevel=3,
            )
        return min(wanted, end)

    def _packet(self, trial: Trial, start: int) -> tuple[EventArray, npt.NDArray[np.int64]]:
        """Events of a packet and the window that each lies in."""
        times = trial["ev_times"]
        first, last = np.searchsorted(times, [start, start + self._packet_us])
        windows = (times[first:last] - start) // self._window_us
        return trial["events"][first:last], windows

    def _sample(self, events: EventArray, windows: npt.NDArray[np.int64]) -> EventArray:
        places = events[:, :2].astype(np.int64) // self.downscale
        polarity: Any = events[:, 2] if self.include_polarity else 0
        channels = polarity + self._polarities * windows
        # a camera whose side is no multiple of the downscale has a strip that belongs to no pixel
        rows, columns, _ = self.sample_shape
        inside = (places[:, 0] < columns) & (places[:, 1] < rows)
        return np.column_stack([places, channels])[inside].astype(np.uint16)


def _in_order(trial: Trial) -> Trial:
    times = trial["ev_times"]
    if np.all(times[1:] >= times[:-1]):
        return trial
    order = np.argsort(times, kind="stable")
    return {**trial, "events": trial["events"][order], "ev_times": times[order]}
