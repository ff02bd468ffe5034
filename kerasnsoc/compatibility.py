"""Whether a model fits on a generation of the chip, and a version of it that rather does."""

from kerasnsoc.nsoc.compatibility import (
    NsocVersion,
    create_from_model,
    model_hardware_incompatibilities,
)

__all__ = ["NsocVersion", "create_from_model", "model_hardware_incompatibilities"]
