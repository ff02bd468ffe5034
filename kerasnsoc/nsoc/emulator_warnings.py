"""What an emulated chip warns of."""

from __future__ import annotations


class BandwidthWarning(UserWarning):
    """Events were dropped or had to wait outside, or a core was busy nearly all the time."""


class SaturationWarning(UserWarning):
    """A potential left the 16 bits of its memory and was cut off."""
