"""Which chips hold a network, where its layers go there, and how long a frame takes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact import NetworkSpec
from kerasnsoc.nsoc.config import NSoCConfig
from kerasnsoc.nsoc.devices import DeviceSpec, get_device, list_devices
from kerasnsoc.nsoc.errors import NSoCError
from kerasnsoc.nsoc.network import NSoCNetwork

EMULATED_SAMPLES = 4
FRAME_PERIOD_US = 1e5


def placements(spec: NetworkSpec, inputs: npt.NDArray[Any] | None) -> tuple[dict[str, Any], ...]:
    """One row per kind of chip, those that hold the network first.

    Parameters
    ----------
    spec : NetworkSpec
    inputs : ndarray, optional
        Frames of which the first few are emulated, for their latency.

    Returns
    -------
    tuple of dict
        ``devices`` (chips of equal structure), ``fits``, ``used`` and ``available`` cores or
        processors, ``problems`` (obstacles, or warnings if it fits), ``layers`` (a table) and
        ``latency_us`` (of a frame: min, p50, max) or None.
    """
    try:
        network = NSoCNetwork(spec)
    except NSoCError as error:
        return tuple(_row(names, False, [str(error)]) for names in _kinds())
    rows = [_placed(network, names, inputs) for names in _kinds()]
    return tuple(sorted(rows, key=lambda row: not row["fits"]))


def _kinds() -> list[list[str]]:
    """Names of the chips on which layers can be placed; equal ones together."""
    kinds: dict[tuple[Any, ...], list[str]] = {}
    for name in list_devices():
        device = get_device(name)
        if device.cores:
            key = (device.family, device.mode, device.cores, device.limits)
            kinds.setdefault(key, []).append(name)
    return list(kinds.values())


def _row(names: list[str], fits: bool, problems: list[str], **found: Any) -> dict[str, Any]:
    empty = {"used": None, "available": None, "layers": "", "latency_us": None}
    return {"devices": names, "fits": fits, "problems": problems, **empty, **found}


def _placed(
    network: NSoCNetwork, names: list[str], inputs: npt.NDArray[Any] | None
) -> dict[str, Any]:
    from kerasnsoc.nsoc.reports import map_content, map_text

    device = get_device(names[0])
    problems = [
        problem for problem in network.incompatibilities(device) if problem.code != "silicon"
    ]
    texts = [f"{p.layer}: {p.message}" if p.layer else p.message for p in problems]
    if any(problem.severity == "error" for problem in problems):
        return _row(names, False, texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said by `texts`
        config = network.make_config(device=names[0])
        return _row(
            names,
            True,
            texts,
            used=_used(config, device),
            available=len(device.cores),
            layers=map_text(map_content(network, config)),
            latency_us=_latency(network, config, inputs),
        )


def _used(config: NSoCConfig, device: DeviceSpec) -> int:
    if not device.is_mesh:
        return len(config.cores)
    return len({number for record in config.cores for number in record.neural_processors})


def _latency(
    network: NSoCNetwork, config: NSoCConfig, inputs: npt.NDArray[Any] | None
) -> dict[str, float] | None:
    from kerasnsoc.nsoc.emulator import NSoCEmulator
    from kerasnsoc.nsoc.emulator_files import frames_as_input

    if inputs is None or not network.graph.is_graded or np.ndim(inputs) != 4:
        return None
    frames = frames_as_input(config, inputs[:EMULATED_SAMPLES], FRAME_PERIOD_US)
    ranks = NSoCEmulator(config).run(frames).latency.summary()["packet_ps"]
    return {key: ranks[key] / 1e6 for key in ("min", "p50", "max")}
