"""Files on the command line: a network and its input, ready for the emulator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.schema import LayerType
from kerasnsoc.nsoc.config import GradedCoreConfig, NSoCConfig
from kerasnsoc.nsoc.devices import standardize_device_id
from kerasnsoc.nsoc.emulator_input import PACKED_DTYPE, packed, packets_from_frames
from kerasnsoc.nsoc.reports import open_chip_network

MESH, STAR = "akd1000", "speck2fmodule"
"""Devices where nobody names one: for an artifact's graded layers, and for spiking layers."""


def open_network(
    path: str | os.PathLike[str],
    device: str | None,
    slow_clock_hz: float | None = None,
    allow_multipass: bool = False,
) -> NSoCConfig:
    """A configuration from a file as of `kerasnsoc.nsoc.reports.open_chip_network`.

    A saved network that was configured keeps its configuration, unless another device or a clock
    is asked for.

    Raises
    ------
    NSoCError
        If the network does not fit the device; the message says why.
    ArtifactError, OSError
        If the file is neither, or cannot be read.
    """
    network = open_chip_network(path)
    kept = network.config
    is_same = device is None or (
        kept is not None and standardize_device_id(device).startswith(f"{kept.device.name}:")
    )
    if kept is not None and is_same and slow_clock_hz is None:
        return kept
    if device is None:
        device = MESH if network.graph.is_graded else STAR
    return network.make_config(
        device=device, slow_clk_frequency=slow_clock_hz, allow_multipass=allow_multipass
    )


def read_chip_events(path: Path) -> npt.NDArray[Any] | None:
    """Events in an .npy with the fields t, x, y, c of this package; None for any other file.

    Raises
    ------
    ValueError
        If a value is out of range.
    """
    if path.suffix.lower() != ".npy":
        return None
    try:
        array = np.load(path, allow_pickle=False)
    except (EOFError, ValueError):
        return None  # whoever reads it as a batch says what is wrong
    names = set(array.dtype.names or ())
    return packed(array) if {"x", "y", "c"} <= names and names & {"t", "t_ps"} else None


def frames_as_input(
    config: NSoCConfig, frames: npt.NDArray[Any], period_us: float
) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
    """Frames as packets, or in event mode as one recording in which frame k begins at k periods.

    Parameters
    ----------
    config : NSoCConfig
    frames : ndarray of int, shape (n, height, width, channels)
        For an artifact that takes events (n, width, height, channels), as
        ``kerasnsoc.runtime.Model.forward`` has it.
    period_us : float

    Raises
    ------
    ValueError
        If the frames are no integers of four dimensions.
    """
    first = config.cores[0]
    is_image = not isinstance(first, GradedCoreConfig) or (
        first.graded.get("type") == LayerType.InputConvolutional.value
    )
    if frames.ndim == 4 and not is_image:
        frames = frames.transpose(0, 2, 1, 3)
    packets = packets_from_frames(frames, period_us)
    if config.numeric.mode == "packet":
        return packets
    return np.concatenate([np.zeros(0, PACKED_DTYPE), *packets])


def recording_as_input(
    config: NSoCConfig, events: npt.NDArray[Any], packet_us: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None]:
    """Events of a camera with fields t, x, y, p, or of `read_chip_events`; and where packets end.

    Raises
    ------
    ValueError
        If packets are needed and no length is given, or there are packets in event mode.
    """
    if events.dtype == PACKED_DTYPE:
        result = events[np.argsort(events["t_ps"], kind="stable")]
    else:
        result = np.zeros(len(events), PACKED_DTYPE)
        result["t_ps"] = (events["t"] - (events["t"][0] if len(events) else 0)) * 1_000_000
        for name, source in (("x", "x"), ("y", "y"), ("c", "p")):
            result[name] = events[source]
        result["n"] = 1
    if config.numeric.mode == "event":
        if packet_us is not None:
            raise ValueError("the network takes single events; leave out the length of packets")
        return result, None
    if packet_us is None:
        raise ValueError("the network takes packets; say how many microseconds one spans")
    last = int(result["t_ps"][-1]) if len(result) else 0
    length = packet_us * 1_000_000
    return result, np.arange(1, last // length + 2, dtype=np.int64) * length
