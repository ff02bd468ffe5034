"""Energy: one table of devices with sources, and reports that never show a bare number."""

from typing import Any

from kerasnsoc.energy.devices import (
    EnergyDevice,
    chip_energy,
    get_device,
    list_devices,
    register_device,
)
from kerasnsoc.energy.quantities import Interval, Quantity
from kerasnsoc.energy.report import (
    CoreEnergy,
    EnergyReport,
    EnergyTerm,
    LayerCounts,
    Percentiles,
    price_counts,
)
from kerasnsoc.energy.run import DeviceComparison, compare_devices, energy_of_run, price, what_if

__all__ = [
    "CoreEnergy",
    "DeviceComparison",
    "EnergyDevice",
    "EnergyReport",
    "EnergyTerm",
    "Interval",
    "LayerCounts",
    "Percentiles",
    "Quantity",
    "chip_energy",
    "compare_devices",
    "energy_of_emulation",
    "energy_of_run",
    "get_device",
    "list_devices",
    "plot_energy",
    "price",
    "price_counts",
    "register_device",
    "what_if",
]

# Only who has emulated a chip, or wants a picture, needs what these modules import.
_LATER = {
    "energy_of_emulation": "kerasnsoc.energy.emulation",
    "plot_energy": "kerasnsoc.energy.plots",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
