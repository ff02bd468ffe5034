"""`energy_sweep`: many networks on the same samples, priced on many devices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kerasnsoc._tables import render
from kerasnsoc.distributed.batches import (
    Network,
    artifact_bytes,
    as_dataset,
    check_inputs,
    checked_options,
    mapped,
    require_ray_data,
)
from kerasnsoc.distributed.worker import LayerTotals, Sweeper, add_counts
from kerasnsoc.energy import DeviceComparison, EnergyDevice, compare_devices, get_device
from kerasnsoc.energy.quantities import format_interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EnergySweep:
    """Several networks on several devices; prints as a table.

    Attributes
    ----------
    statistics : dict of str to dict of str to LayerTotals
        What each network counted, by layer.
    comparisons : dict of str to DeviceComparison
        Energy of each network on all devices.
    """

    statistics: dict[str, dict[str, LayerTotals]]
    comparisons: dict[str, DeviceComparison]

    def to_dict(self) -> dict[str, Any]:
        """Rows of all networks and devices as plain values; energies in J."""
        return {
            "networks": {name: found.to_dict() for name, found in self.comparisons.items()},
        }

    def to_json(self) -> str:
        """The same as `to_dict`, as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_frame(self) -> pd.DataFrame:
        """One row per network and device as a table of pandas.

        Raises
        ------
        ImportError
            If pandas is missing; the message names the extra.
        """
        from kerasnsoc._extras import require

        frames = []
        for name, found in self.comparisons.items():
            frame = found.to_frame()
            frame.insert(0, "network", name)
            frames.append(frame)
        table: pd.DataFrame = require("pandas", "report").concat(frames, ignore_index=True)
        return table

    def __str__(self) -> str:
        found = self.comparisons
        first = next(iter(found.values()))
        devices = [report.device.name for report in first]
        rows = [
            [device, *(format_interval(found[name][device].energy_per_inference) for name in found)]
            for device in devices
        ]
        samples = first.reports[0].samples
        plural = "" if samples == 1 else "s"
        title = f"Energy per inference, mean over {samples:,} sample{plural}"
        return render(["device", *found], rows, title=title)


def energy_sweep(
    models: Mapping[str, Network],
    inputs: npt.NDArray[Any],
    devices: Iterable[str | EnergyDevice] | None = None,
    *,
    batch_size: int = 256,
    workers: int = 2,
    threads: int = 1,
) -> EnergySweep:
    """Run networks on the workers of a Ray cluster and price what they counted.

    Each worker loads every network once and runs all of them on each batch that it gets; what
    comes back is counts alone. The devices are priced from these, without another run.

    Parameters
    ----------
    models : mapping of str to Model or path
        By the name that the table shows.
    inputs : ndarray of integers
        Samples that all networks take.
    devices : iterable of str or EnergyDevice, optional
        All known devices if left out.
    batch_size, workers, threads : int
        As for `kerasnsoc.distributed.run`.

    Returns
    -------
    EnergySweep

    Raises
    ------
    ImportError
        If Ray is missing; the message names the extra.
    TypeError, ValueError
        If there is no network, a device is unknown, or the inputs do not fit a network.
    ray.exceptions.RayError
        If something fails in a worker.
    """
    data = require_ray_data()
    checked_options("forward", None, batch_size, workers, threads)
    if not models:
        raise ValueError("models is empty: pass at least one network, such as {'net': 'net.h5'}")
    if isinstance(devices, str | EnergyDevice):
        devices = (devices,)
    # before the run: a misspelt name should not cost an hour
    chosen = None if devices is None else [get_device(device) for device in devices]
    if chosen is not None and not chosen:
        raise ValueError("devices is empty: name at least one, or leave it out for all")
    artifacts = {str(name): artifact_bytes(model) for name, model in models.items()}
    array = np.asarray(inputs)
    for name, artifact in artifacts.items():
        try:
            check_inputs(artifact, array)
        except (TypeError, ValueError) as error:
            raise type(error)(f"network {name!r}: {error}") from error
    dataset = mapped(
        as_dataset(data, array, batch_size),
        Sweeper,
        (artifacts, threads),
        batch_size,
        min(workers, -(-len(array) // batch_size)),
        threads,
    )
    texts: dict[str, list[str]] = {name: [] for name in artifacts}
    for batch in dataset.iter_batches(batch_size=None, batch_format="numpy"):
        for name, text in zip(batch["network"].tolist(), batch["counts"].tolist(), strict=True):
            texts[name].append(text)
    statistics = {name: add_counts(found) for name, found in texts.items()}
    comparisons = {name: compare_devices(sums, chosen) for name, sums in statistics.items()}
    return EnergySweep(statistics, comparisons)
