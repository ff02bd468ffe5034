"""Train in Keras 3, freeze to one HDF5 artifact, run it event by event on integers.

Every public name is found here and loaded on first use, so that ``import kerasnsoc`` costs
milliseconds and the deployment side works without Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

from kerasnsoc._version import __version__

_ROOMS = (
    "artifact",
    "compatibility",
    "conversion",
    "distributed",
    "embedded",
    "energy",
    "layers",
    "nsoc",
    "quantization",
    "reports",
    "runtime",
    "spiking",
    "training",
    "zoo",
)

_PUBLIC = {
    name: room
    for room, names in {
        "kerasnsoc.quantization": (
            "ActivationDiscreteRelu",
            "BitwidthSuggestion",
            "CalibrationReport",
            "LinearWeightQuantizer",
            "MaxPerAxisQuantizer",
            "MaxQuantizer",
            "MinValueConstraint",
            "QuantizationReport",
            "QuantizedActivation",
            "QuantizedConv2D",
            "QuantizedDense",
            "QuantizedDepthwiseConv2D",
            "QuantizedReLU",
            "QuantizedSeparableConv2D",
            "ScaleFactorQuantizer",
            "StdWeightQuantizer",
            "TrainableStdWeightQuantizer",
            "TrainableWeightQuantizer",
            "WeightFloat",
            "WeightQuantizer",
            "add_gamma_constraint",
            "analyze",
            "calibrate",
            "create_trainable_quantizer_model",
            "equalize_steps",
            "load_partial_weights",
            "load_quantized_model",
            "merge_separable_conv",
            "quantize",
            "quantize_layer",
            "suggest_bitwidths",
        ),
        "kerasnsoc.conversion": (
            "advise",
            "centre_thresholds",
            "certificate",
            "check_model_compatibility",
            "compare",
            "convert",
            "fix",
            "freeze",
        ),
        "kerasnsoc.embedded": ("export_c",),
        "kerasnsoc.spiking": (
            "IAF",
            "LIF",
            "Alpha",
            "AlphaCell",
            "Crop2D",
            "DVSInput",
            "FlipDims",
            "Lowpass",
            "LowpassCell",
            "Merge",
            "ModelEnergy",
            "SpikingActivation",
            "SpikingActivationCell",
            "SumPooling2D",
        ),
        "kerasnsoc.artifact": ("ArtifactError", "NetworkSpec"),
        "kerasnsoc.runtime": (
            "EVENT_DTYPE",
            "BackendType",
            "Concat",
            "ConvolutionMode",
            "Convolutional",
            "CountWindow",
            "Dense",
            "EventFormat",
            "FullyConnected",
            "InputConvolutional",
            "InputData",
            "LayerStatistics",
            "LayerType",
            "LearningType",
            "Model",
            "NsocVersion",
            "Packet",
            "PoolingType",
            "SeparableConvolutional",
            "StreamResult",
            "TimeWindow",
            "backends",
            "bin_events",
            "event_batch",
            "events_to_dense",
            "has_backend",
            "iter_events",
            "make_events",
            "read_events",
            "sniff_event_format",
        ),
        "kerasnsoc.nsoc": (
            "DynapcnnCompatibleNetwork",
            "DynapcnnNetwork",
            "EmulationResult",
            "NSoCConfig",
            "NSoCEmulator",
            "NSoCNetwork",
            "create_from_model",
            "model_hardware_incompatibilities",
        ),
        "kerasnsoc.energy": ("EnergyReport", "compare_devices", "energy_of_run"),
    }.items()
    for name in names
}

__all__ = ["__version__", *_ROOMS, *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"kerasnsoc.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
