"""What an emulated chip warns of."""

from __future__ import annotations

from collections.abc import Mapping


class BandwidthWarning(UserWarning):
    """Events were dropped or had to wait outside, or a core was busy nearly all the time."""


class SaturationWarning(UserWarning):
    """A potential left the 16 bits of its memory and was cut off."""


def saturation_text(times: Mapping[str, int]) -> str:
    """What to say of layers whose potentials were cut off so many times; empty if none was."""
    cut = ", ".join(f"{name!r} {count:,} times" for name, count in times.items() if count)
    if not cut:
        return ""
    return (
        f"potentials left the 16 bits of their memory and were cut off: {cut}. Spikes differ from "
        f"those of neurons without that limit; scale thresholds and weights down, or set min_v "
        f"nearer to 0"
    )
