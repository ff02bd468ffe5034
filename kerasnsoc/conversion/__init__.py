"""Keras model → integers: compatibility check, exact conversion, frozen forward, comparison."""

from kerasnsoc._extras import require

require("keras", "train")

from kerasnsoc.conversion.advice import Advice, advise  # noqa: E402
from kerasnsoc.conversion.check import check_model_compatibility  # noqa: E402
from kerasnsoc.conversion.converter import convert, freeze, rounding_of  # noqa: E402
from kerasnsoc.conversion.frozen import (  # noqa: E402
    FrozenBlock,
    FrozenConv2D,
    FrozenDense,
    FrozenSeparableConv2D,
)
from kerasnsoc.conversion.margins import (  # noqa: E402
    Certificate,
    LayerCertificate,
    centre_thresholds,
    certificate,
)
from kerasnsoc.conversion.mending import Change, FixedModel, fix  # noqa: E402
from kerasnsoc.conversion.parity import LayerParity, ParityReport, compare  # noqa: E402
from kerasnsoc.conversion.rules import Finding  # noqa: E402
from kerasnsoc.conversion.time_frozen import FrozenNeurons  # noqa: E402
from kerasnsoc.conversion.time_integers import LayerRounding, RoundingReport  # noqa: E402

__all__ = [
    "Advice",
    "Certificate",
    "Change",
    "Finding",
    "FixedModel",
    "FrozenBlock",
    "FrozenConv2D",
    "FrozenDense",
    "FrozenNeurons",
    "FrozenSeparableConv2D",
    "LayerCertificate",
    "LayerParity",
    "LayerRounding",
    "ParityReport",
    "RoundingReport",
    "advise",
    "centre_thresholds",
    "certificate",
    "check_model_compatibility",
    "compare",
    "convert",
    "fix",
    "freeze",
    "rounding_of",
]
