"""Compiled kernels: arrays in, arrays out, no policy, no files, no Keras."""

from kerasnsoc_ext._neurons import FOREVER, Neurons, has_events
from kerasnsoc_ext._plan import (
    Caller,
    Network,
    Plan,
    Tally,
    available_kernels,
    kernel_names,
    missing_kernels,
)

__all__ = [
    "FOREVER",
    "Caller",
    "Network",
    "Neurons",
    "Plan",
    "Tally",
    "available_kernels",
    "has_events",
    "kernel_names",
    "missing_kernels",
]
