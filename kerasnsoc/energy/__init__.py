"""Energy: one table of devices with sources, and reports that never show a bare number."""

from kerasnsoc.energy.devices import EnergyDevice, get_device, list_devices, register_device
from kerasnsoc.energy.quantities import Interval, Quantity
from kerasnsoc.energy.report import EnergyReport, EnergyTerm, LayerCounts, Percentiles, price_counts
from kerasnsoc.energy.run import DeviceComparison, compare_devices, energy_of_run, what_if

__all__ = [
    "DeviceComparison",
    "EnergyDevice",
    "EnergyReport",
    "EnergyTerm",
    "Interval",
    "LayerCounts",
    "Percentiles",
    "Quantity",
    "compare_devices",
    "energy_of_run",
    "get_device",
    "list_devices",
    "price_counts",
    "register_device",
    "what_if",
]
