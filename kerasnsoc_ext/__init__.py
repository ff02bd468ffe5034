"""Compiled kernels: arrays in, arrays out, no policy, no files, no Keras."""

from kerasnsoc_ext._plan import Network, Plan, available_kernels, kernel_names

__all__ = ["Network", "Plan", "available_kernels", "kernel_names"]
