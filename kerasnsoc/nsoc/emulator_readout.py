"""The read-out block: spikes of the last core, counted over a moving window, make a class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.config import ReadoutConfig
from kerasnsoc.nsoc.devices import DeviceSpec

IDLE = 0


def classes_over_time(
    readout: ReadoutConfig,
    device: DeviceSpec,
    features: npt.NDArray[Any],
    t_ps: npt.NDArray[np.int64],
    slow_clock_hz: float,
    end_ps: int,
) -> npt.NDArray[np.int64]:
    """Class at the end of every cycle of the slow clock.

    Parameters
    ----------
    readout : ReadoutConfig
        ``"max"`` gives the class with most spikes in the window, if they reach the threshold;
        ``"threshold"`` the lowest class that reaches it.
    device : DeviceSpec
        Its `ReadoutSpec` says which features reach which class.
    features, t_ps : ndarray
        Feature and time of each spike of the source core.
    slow_clock_hz : float
    end_ps : int
        Only whole cycles up to here are judged.

    Returns
    -------
    classes : ndarray of int64, shape (cycles,)
        1 to the device's number of classes, 0 for idle. Ties go to the lower class.
    """
    spec = device.readout
    assert spec is not None
    stride = spec.feature_stride if "readout_x4" in device.errata else 1
    period = round(1e12 / slow_clock_hz)
    cycles = end_ps // period
    reaches = (features % stride == 0) & (features // stride < spec.classes)
    # cycle k covers the times above k periods up to and with k + 1
    cycle = np.maximum(t_ps - 1, 0) // period
    counted = reaches & (cycle < cycles)
    counts = np.zeros((cycles, spec.classes), np.int64)
    np.add.at(counts, (cycle[counted], features[counted] // stride), 1)
    total = np.concatenate([np.zeros((1, spec.classes), np.int64), np.cumsum(counts, axis=0)])
    start = np.maximum(np.arange(1, cycles + 1) - readout.window, 0)
    window = total[1:] - total[start]
    enough = window >= readout.threshold
    chosen = enough.argmax(axis=1) if readout.mode == "threshold" else window.argmax(axis=1)
    return np.where(enough[np.arange(cycles), chosen], chosen + 1, IDLE).astype(np.int64)
