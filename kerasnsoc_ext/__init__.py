"""Compiled kernels: arrays in, arrays out, no policy, no files, no Keras."""

from kerasnsoc_ext._neurons import Neurons, has_events
from kerasnsoc_ext._plan import (
    Caller,
    Network,
    Plan,
    Tally,
    available_kernels,
    kernel_names,
    run_together,
)

__all__ = [
    "Caller",
    "Network",
    "Neurons",
    "Plan",
    "Tally",
    "available_kernels",
    "has_events",
    "kernel_names",
    "run_together",
]
