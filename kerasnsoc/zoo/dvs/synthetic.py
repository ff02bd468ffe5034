"""Generated recordings of an event camera: moving digits and moving shapes.

They are no substitute for a camera: a simulated pixel sends an event each time the logarithm of its
brightness has changed by a threshold, plus noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.runtime.events import EVENT_DTYPE, Events
from kerasnsoc.zoo.dvs.preprocessing import Trial

DARK = 0.1
"""Brightness under which a pixel sees nothing; the largest is 1."""

SHAPE_CLASSES = (
    *(f"to {45 * k} degrees" for k in range(8)),
    "clockwise",
    "counterclockwise",
)
"""Names of the classes of `moving_shapes`; 0 degrees is to the right, 90 down."""

_STEP_US = 1000


def events_of_frames(
    frames_thw: npt.ArrayLike,
    step_us: int = _STEP_US,
    threshold: float = 0.6,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Events:
    """Events that a camera would send while it sees the frames one after another.

    A pixel compares the logarithm of its brightness with the value at its last event [1]_ and sends
    one event per threshold in between; the events of a step are spread over its duration.

    Parameters
    ----------
    frames_thw : array of float, shape (frames, height, width)
        Brightness of 0 to 1.
    step_us : int
        Microseconds from frame to frame, at least 1.
    threshold : float
        In logarithms of brightness, above 0.
    noise : float
        Mean number of events that happen without a reason, per pixel and second.
    rng : numpy.random.Generator, optional
        Of noise and of times within a step.

    Returns
    -------
    events : ndarray of `kerasnsoc.runtime.events.EVENT_DTYPE`
        Ordered by time; the first frame gives none.

    References
    ----------
    .. [1] G. Gallego et al., "Event-based Vision: A Survey", IEEE TPAMI 44(1), 2022, section 3.

    Examples
    --------
    >>> frames = np.zeros((2, 1, 2)); frames[1, 0, 1] = 1
    >>> events = events_of_frames(frames, threshold=1.0)
    >>> events["x"].tolist(), events["p"].tolist()
    ([1, 1], [1, 1])
    """
    frames = np.asarray(frames_thw, np.float64)
    if frames.ndim != 3 or not len(frames):
        raise ValueError(f"frames have shape {frames.shape}, but (frames, height, width) is needed")
    if step_us < 1 or not threshold > 0 or noise < 0:
        raise ValueError(
            f"step_us is {step_us}, threshold {threshold} and noise {noise}, but needed are at "
            "least 1, above 0, and not below 0"
        )
    rng = np.random.default_rng(0) if rng is None else rng
    height, width = frames.shape[1:]
    seen = np.log(DARK + np.clip(frames, 0, 1))
    reference = seen[0].copy()
    parts = []
    for index, frame in enumerate(seen[1:]):
        change = np.trunc((frame - reference) / threshold).astype(np.int64)
        reference += change * threshold
        rows, columns = np.nonzero(change)
        count = np.abs(change[rows, columns])
        spurious = rng.poisson(noise * height * width * step_us / 1e6)
        total = int(count.sum()) + spurious
        part = np.empty(total, EVENT_DTYPE)
        part["x"] = np.concatenate([np.repeat(columns, count), rng.integers(width, size=spurious)])
        part["y"] = np.concatenate([np.repeat(rows, count), rng.integers(height, size=spurious)])
        polarity = change[rows, columns] > 0
        part["p"] = np.concatenate([np.repeat(polarity, count), rng.integers(2, size=spurious)])
        part["t"] = index * step_us + rng.integers(step_us, size=total)
        parts.append(part[np.argsort(part["t"], kind="stable")])
    return np.concatenate([np.empty(0, EVENT_DTYPE), *parts])


def moving_digits(
    images: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer],
    side: int = 32,
    duration_ms: int = 120,
    noise: float = 1.0,
    seed: int = 0,
) -> list[Trial]:
    """A trial for each image, which moves on a random closed path in front of the camera.

    Parameters
    ----------
    images : ndarray of integers, shape (images, height, width) or (images, height, width, 1)
        Grey values from 0 on, such as those of `kerasnsoc.demo.load_digits`.
    labels : ndarray of integers, shape (images,)
    side : int
        Of the camera, in pixels; the image fills about two thirds of it.
    duration_ms : int
    noise : float
        Events without a reason, per pixel and second.
    seed : int
        The same arguments give the same events.

    Returns
    -------
    list of Trial
    """
    images = np.asarray(images)
    pixels = images[..., 0] if images.ndim == 4 else images
    if pixels.ndim != 3 or len(pixels) != len(labels):
        raise ValueError(
            f"images have shape {images.shape} and labels {np.shape(labels)}, but (n, height, "
            "width) and (n,) are needed"
        )
    rng = np.random.default_rng(seed)
    brightest = max(1, int(pixels.max())) if pixels.size else 1
    trials = []
    for image, label in zip(pixels / brightest, labels, strict=True):
        size = side * rng.uniform(0.58, 0.75)
        # a closed loop with a second harmonic: no two directions of motion are alike
        phase = 2 * np.pi * (np.arange(duration_ms + 1) / duration_ms + rng.random())
        reach = side * 0.12
        turn = rng.choice([-1, 1])
        path_x = reach * (np.cos(phase) + 0.3 * np.cos(2 * phase + rng.uniform(0, 6)))
        path_y = turn * reach * (np.sin(phase) + 0.3 * np.sin(2 * phase + rng.uniform(0, 6)))
        frames = _seen(image, size, side, path_x, path_y)
        trials.append(_trial(events_of_frames(frames, noise=noise, rng=rng), int(label)))
    return trials


def moving_shapes(
    trials_per_class: int,
    side: int = 64,
    duration_ms: int = 220,
    noise: float = 1.0,
    seed: int = 0,
) -> list[Trial]:
    """Trials of ten classes: a bar or disc that moves in one of 8 directions, a bar that turns.

    Parameters
    ----------
    trials_per_class : int
    side : int
        Of the camera, in pixels.
    duration_ms : int
    noise : float
        Events without a reason, per pixel and second.
    seed : int
        The same arguments give the same events.

    Returns
    -------
    list of Trial
        Labels are positions in `SHAPE_CLASSES`; ordered by class.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    share = np.linspace(-0.5, 0.5, duration_ms + 1)[:, None, None]
    trials = []
    for label in range(len(SHAPE_CLASSES)):
        for _ in range(trials_per_class):
            off_x, off_y = rng.uniform(-0.1, 0.1, 2) * side
            x, y = columns[None] - off_x, rows[None] - off_y
            length, breadth = side * rng.uniform(0.2, 0.35), side * rng.uniform(0.05, 0.09)
            travel = side * rng.uniform(0.4, 0.7)
            if label < 8:
                angle: Any = label * np.pi / 4 + rng.uniform(-0.2, 0.2)
                x, y = x - share * travel * np.cos(angle), y - share * travel * np.sin(angle)
            else:
                sign = 1 if SHAPE_CLASSES[label] == "clockwise" else -1
                angle = rng.uniform(0, np.pi) + sign * share * rng.uniform(1.5, 3.0)
            is_disc = label < 8 and rng.random() < 0.5
            if is_disc:
                distance = np.hypot(x, y) - length / 2
            else:
                along = x * np.cos(angle) + y * np.sin(angle)
                across = -x * np.sin(angle) + y * np.cos(angle)
                if label < 8:  # a bar moves across its length
                    along, across = across, along
                distance = np.maximum(np.abs(along) - length, np.abs(across) - breadth)
            frames = np.clip(0.5 - distance, 0, 1)
            trials.append(_trial(events_of_frames(frames, noise=noise, rng=rng), label))
    return trials


def _seen(
    image: npt.NDArray[np.float64],
    size: float,
    side: int,
    path_x: npt.NDArray[np.float64],
    path_y: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """The image, `size` pixels high, drawn bilinearly around each point of the path."""
    centre = (side - 1) / 2

    def weights(path: npt.NDArray[np.float64], pixels: int) -> npt.NDArray[np.float64]:
        place = (np.arange(side)[None] - centre - path[:, None]) * pixels / size + (pixels - 1) / 2
        return np.maximum(0, 1 - np.abs(place[..., None] - np.arange(pixels)))

    height, width = image.shape
    frames = weights(path_y, height) @ image @ weights(path_x, width).transpose(0, 2, 1)
    result: npt.NDArray[np.float64] = frames
    return result


def _trial(events: Events, label: int) -> Trial:
    return {
        "label": label,
        "subject": 0,
        "lighting": "synthetic",
        "events": np.stack([events["x"], events["y"], events["p"]], axis=1).astype(np.uint16),
        "ev_times": events["t"].astype(np.int64),
    }
