"""Exchange of networks and spikes through NIR, the Neuromorphic Intermediate Representation."""

from __future__ import annotations

from kerasnsoc.nsoc.nir_data import to_nir_data
from kerasnsoc.nsoc.nir_export import to_nir, write_nir
from kerasnsoc.nsoc.nir_import import from_nir

__all__ = ["from_nir", "to_nir", "to_nir_data", "write_nir"]
