"""Chips: whether a network fits, where its layers go, what runs there. Needs no Keras.

Names are loaded on first use; only what starts from a Keras model imports Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    name: module
    for module, names in {
        "kerasnsoc.runtime.backends": ("NsocVersion",),
        "kerasnsoc.nsoc.compatibility": ("create_from_model", "model_hardware_incompatibilities"),
        "kerasnsoc.nsoc.core_graph": (
            "CoreGraph",
            "CoreLayer",
            "Destination",
            "DvsLayer",
            "GradedLayer",
        ),
        "kerasnsoc.nsoc.devices": (
            "CoreLimits",
            "CoreSpec",
            "DeviceSpec",
            "EnergySpec",
            "TimingSpec",
            "get_device",
            "list_devices",
            "register_device",
            "standardize_device_id",
        ),
        "kerasnsoc.nsoc.device_table": ("ANCHORS",),
        "kerasnsoc.nsoc.config": ("NSoCConfig", "to_chip_order"),
        "kerasnsoc.nsoc.events": (
            "EVENT_DTYPE",
            "events_to_raster",
            "neuron_address",
            "neuron_from_address",
            "raster_to_events",
            "xytp_to_events",
        ),
        "kerasnsoc.nsoc.network": (
            "DynapcnnCompatibleNetwork",
            "DynapcnnNetwork",
            "NSoCNetwork",
        ),
        "kerasnsoc.nsoc.network_source": ("build_core_graph",),
        "kerasnsoc.nsoc.emulator": (
            "EmulationLimitError",
            "NSoCEmulator",
            "emulate",
        ),
        "kerasnsoc.nsoc.emulator_input": ("packets_from_frames",),
        "kerasnsoc.nsoc.emulator_warnings": ("BandwidthWarning", "SaturationWarning"),
        "kerasnsoc.nsoc.emulator_result": ("SPIKE_DTYPE", "EmulationResult"),
        "kerasnsoc.nsoc.readout": ("extend_readout_layer",),
        "kerasnsoc.nsoc.transform_options": ("TransformOptions",),
        "kerasnsoc.nsoc.nir_io": ("from_nir", "to_nir", "to_nir_data", "write_nir"),
        "kerasnsoc.nsoc.plots": ("plot_core_map", "plot_latency", "plot_load", "plot_raster"),
        "kerasnsoc.nsoc.errors": (
            "AsymmetricPaddingError",
            "ConfigValidationError",
            "ConflictingScaleError",
            "DeviceFileError",
            "DiscretizationError",
            "EnergyOnlyDeviceError",
            "InputConfigurationError",
            "InvalidGraphError",
            "MappingError",
            "MissingSpikingLayerError",
            "NSoCError",
            "NotDiscretizedError",
            "NotMappedError",
            "Problem",
            "TooManyDestinationsError",
            "UnexpectedLayerError",
            "UnknownDeviceError",
            "UnsupportedLayerError",
        ),
    }.items()
    for name in names
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
