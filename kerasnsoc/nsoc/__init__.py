"""Chips: what a network must look like to fit on one. Needs no Keras."""

from kerasnsoc.nsoc.compatibility import create_from_model, model_hardware_incompatibilities
from kerasnsoc.runtime.backends import NsocVersion

__all__ = ["NsocVersion", "create_from_model", "model_hardware_incompatibilities"]
