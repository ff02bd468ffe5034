"""From the events that a runtime model counted to joules, on one device or on all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard

from kerasnsoc._tables import render
from kerasnsoc.energy.devices import EnergyDevice, chip_energy, get_device, list_devices
from kerasnsoc.energy.quantities import format_interval
from kerasnsoc.energy.report import (
    EnergyReport,
    LayerCounts,
    interval_dict,
    make_frame,
    price_counts,
)
from kerasnsoc.nsoc.devices import is_device as is_chip

if TYPE_CHECKING:
    import pandas as pd

    from kerasnsoc.nsoc.emulator_result import EmulationResult


class CountedLayer(Protocol):
    """What is read of one layer's statistics; totals over all samples."""

    @property
    def nb_samples(self) -> int: ...
    @property
    def nb_activations(self) -> int: ...
    @property
    def synaptic_ops(self) -> int: ...
    @property
    def neuron_updates(self) -> int: ...
    @property
    def connections(self) -> int: ...


class CountingModel(Protocol):
    """A model that has counted its events, such as `kerasnsoc.runtime.Model`."""

    def get_statistics(self) -> Mapping[str, Any]: ...


Run: TypeAlias = "CountingModel | Mapping[str, Any] | EmulationResult"


def energy_of_run(
    run: Run, device: str | EnergyDevice, *, duration_s: float | None = None
) -> EnergyReport:
    """Energy of everything that a model has run so far, on a device.

    Parameters
    ----------
    run : Model, mapping or EmulationResult
        A `kerasnsoc.runtime.Model` after inference, or what its ``get_statistics()`` returned; or
        a run of an emulated chip, see `energy_of_emulation`.
    device : str or EnergyDevice
        One of `list_devices`.
    duration_s : float, optional
        Time that the device would be switched on; static power is charged for it, and the average
        power is known then.

    Returns
    -------
    EnergyReport

    Raises
    ------
    ValueError
        If the model has not run yet, or the device is unknown.
    TypeError
        If `run` has no statistics.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> layer = SimpleNamespace(nb_samples=2, nb_activations=30, synaptic_ops=1000,
    ...                         neuron_updates=100, connections=5000)
    >>> print(energy_of_run({"dense": layer}, "loihi").summary())
    35 nJ [32–52], grade D
    """
    if _is_emulation(run):
        from kerasnsoc.energy.emulation import energy_of_emulation

        return energy_of_emulation(run, device, duration_s=duration_s)
    return price_counts(_counts(run), get_device(device), duration_s)


def price(
    run: Run | EnergyReport,
    device: str | EnergyDevice,
    *,
    fold_hops: bool = False,
    duration_s: float | None = None,
) -> EnergyReport:
    """Energy of a run, or of the run of a report, on another device.

    Parameters
    ----------
    run : EnergyReport, Model, mapping or EmulationResult
    device : str or EnergyDevice
    fold_hops : bool
        For devices that `kerasnsoc.nsoc` describes too: whether to charge the figures of
        `list_devices`, which fold a mean way through the chip into the synaptic operation, in
        place of the chip's own, which charge every hop.
    duration_s : float, optional
        Time for which static power is charged. Default: that of the run, where it is known.

    Returns
    -------
    EnergyReport
    """
    if isinstance(device, str) and not fold_hops and is_chip(device):
        device = chip_energy(device)
    if isinstance(run, EnergyReport):
        duration_s = run.duration_s if duration_s is None else duration_s
        return price_counts(run.counts, get_device(device), duration_s)
    return energy_of_run(run, device, duration_s=duration_s)


def compare_devices(
    run: Run, devices: Iterable[str | EnergyDevice] | None = None
) -> DeviceComparison:
    """Energy of everything that a model has run so far, on several devices.

    Parameters
    ----------
    run : Model, mapping or EmulationResult
        As for `energy_of_run`.
    devices : iterable of str or EnergyDevice, optional
        All known devices if left out.

    Returns
    -------
    DeviceComparison
        Cheapest first; devices with an unknown total come last.
    """
    if _is_emulation(run):
        from kerasnsoc.energy.emulation import energy_of_emulation

        return what_if(energy_of_emulation(run), devices)
    return _compare(_counts(run), devices, None)


def what_if(
    report: EnergyReport, devices: Iterable[str | EnergyDevice] | None = None
) -> DeviceComparison:
    """The run of a report on other devices; nothing is run again.

    Parameters
    ----------
    report : EnergyReport
    devices : iterable of str or EnergyDevice, optional
        All known devices if left out.

    Returns
    -------
    DeviceComparison
    """
    return _compare(report.counts, devices, report.duration_s)


@dataclass(frozen=True)
class DeviceComparison:
    """One run on several devices, cheapest first.

    Attributes
    ----------
    reports : tuple of EnergyReport
    """

    reports: tuple[EnergyReport, ...]

    def __iter__(self) -> Iterator[EnergyReport]:
        return iter(self.reports)

    def __len__(self) -> int:
        return len(self.reports)

    def __getitem__(self, device: str) -> EnergyReport:
        """The report for one device."""
        name = get_device(device).name
        for report in self.reports:
            if report.device.name == name:
                return report
        raise KeyError(
            f"{device!r} was not compared; compared were "
            f"{', '.join(report.device.name for report in self.reports)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """One row per device as plain values; energies in J."""
        return {"devices": self._rows()}

    def to_json(self) -> str:
        """The same as `to_dict`, as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_frame(self) -> pd.DataFrame:
        """One row per device as a table of pandas."""
        rows = []
        for row in self._rows():
            energy = row.pop("energy_per_inference") or {}
            bounds = {
                f"energy_per_inference{suffix}": energy.get(key)
                for suffix, key in (("_low", "low"), ("", "value"), ("_high", "high"))
            }
            rows.append({"device": row.pop("device"), **bounds, **row})
        return make_frame(rows)

    def __str__(self) -> str:
        sources: dict[str, int] = {}
        rows = []
        for report in self.reports:
            marks = [str(sources.setdefault(s, len(sources) + 1)) for s in report.sources]
            energy, share = report.energy_per_inference, ""
            if energy is None and report.worst_grade is not None:
                energy, share = report.partial_total.times(1 / report.samples), "> "
            rows.append(
                [
                    report.device.name,
                    share + format_interval(energy),
                    report.worst_grade or "-",
                    ", ".join(report.unpriced) or "-",
                    " ".join(marks),
                ]
            )
        samples = self.reports[0].samples if self.reports else 0
        lines = [
            render(
                ["device", "energy per inference", "grade", "not priced", "sources"],
                rows,
                title=f"What if, mean over {samples:,} sample{'' if samples == 1 else 's'}",
            ),
            "Figures of different sources count different things: compare within a source.",
            *self._static_lines(),
            *(f"  {mark:>2}  {source}" for source, mark in sources.items()),
        ]
        return "\n".join(lines)

    def _static_lines(self) -> list[str]:
        charged = [report.device.name for report in self.reports if report.static]
        if not charged:
            return []
        duration = next(report.duration_s for report in self.reports if report.static)
        return [
            f"Power at rest over {duration:g} s is in the figures of {', '.join(charged)} only."
        ]

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "device": report.device.name,
                "energy_per_inference": interval_dict(report.energy_per_inference),
                "partial_total": interval_dict(report.partial_total),
                "grade": report.worst_grade,
                "unpriced": list(report.unpriced),
                "samples": report.samples,
                "sources": list(report.sources),
                "note": report.device.note,
            }
            for report in self.reports
        ]


def _compare(
    counts: tuple[LayerCounts, ...],
    devices: Iterable[str | EnergyDevice] | None,
    duration_s: float | None,
) -> DeviceComparison:
    if isinstance(devices, str | EnergyDevice):
        devices = (devices,)
    chosen = [get_device(device) for device in (list_devices() if devices is None else devices)]
    reports = [price_counts(counts, device, duration_s) for device in chosen]

    def order(report: EnergyReport) -> tuple[bool, bool, float, str]:
        is_empty = report.worst_grade is None
        return bool(report.unpriced), is_empty, report.partial_total.value, report.device.name

    return DeviceComparison(tuple(sorted(reports, key=order)))


def _is_emulation(run: object) -> TypeGuard[EmulationResult]:
    return hasattr(run, "per_core") and hasattr(run, "noc")


def _counts(run: Run) -> tuple[LayerCounts, ...]:
    statistics = run if isinstance(run, Mapping) else _statistics_of(run)
    counts = []
    for name, layer in statistics.items():
        try:
            counts.append(
                LayerCounts(
                    str(name),
                    samples=int(layer.nb_samples),
                    synaptic_ops=int(layer.synaptic_ops),
                    neuron_updates=int(layer.neuron_updates),
                    spikes=int(layer.nb_activations),
                    connections=int(layer.connections),
                    # an input layer passes events on; only a layer with synapses decodes them
                    more={"events": int(getattr(layer, "events_in", 0))}
                    if layer.connections
                    else {},
                )
            )
        except AttributeError as error:
            raise TypeError(
                f"statistics of layer {name!r} lack {error.name!r}; pass a kerasnsoc.runtime.Model "
                "or what its get_statistics() returned"
            ) from error
    if not any(c.samples for c in counts):
        raise ValueError(
            "nothing has been counted yet: run the network first, for instance with "
            "model.forward(inputs), then ask for its energy"
        )
    return tuple(counts)


def _statistics_of(run: Any) -> Mapping[str, CountedLayer]:
    try:
        statistics: Mapping[str, CountedLayer] = run.get_statistics()
    except AttributeError:
        if hasattr(run, "get_statistics"):
            raise
        raise TypeError(
            f"energy is priced from counted events, but {type(run).__name__} has no "
            "get_statistics(); pass a kerasnsoc.runtime.Model that has run"
        ) from None
    return statistics
