"""Compiled kernels: arrays in, arrays out, no policy, no files, no Keras."""

from kerasnsoc_ext._neurons import Neurons, has_events
from kerasnsoc_ext._plan import Network, Plan, available_kernels, kernel_names

__all__ = ["Network", "Neurons", "Plan", "available_kernels", "has_events", "kernel_names"]
