"""The figures of a report, as plain records."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """One layer; what only a run tells is None without inputs.

    Attributes
    ----------
    name, kind : str
    inbounds : tuple of str
    output_whf : tuple of int
        Width, height, features.
    weight_bits, activation_bits : int or None
        None: no weights, or potentials instead of activations.
    parameters, array_bytes : int
        Weights; bytes of all arrays in the file.
    lowest, highest : int
        Smallest and largest potential that any input could cause.
    spare_bits : float
        Bits of a 32-bit accumulator that even the worst case leaves unused; negative if the layer
        needs 64 bits.
    observed_low, observed_high : int or None
        Of the potentials of the sampled inputs.
    events_in, events_out, synaptic_ops : float or None
        Mean per sample.
    dense_ops : int or None
        What a dense computation of one sample takes.
    sparsity : float or None
        Share of outputs that are zero.
    dead, saturated : int or None
        Neurons that never fired, and neurons that were always at their highest level.
    """

    name: str
    kind: str
    inbounds: tuple[str, ...]
    output_whf: tuple[int, int, int]
    weight_bits: int | None
    activation_bits: int | None
    parameters: int
    array_bytes: int
    lowest: int
    highest: int
    spare_bits: float
    observed_low: int | None = None
    observed_high: int | None = None
    events_in: float | None = None
    events_out: float | None = None
    synaptic_ops: float | None = None
    dense_ops: int | None = None
    sparsity: float | None = None
    dead: int | None = None
    saturated: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """Everything that the page shows; see `kerasnsoc.reports.report`.

    Attributes
    ----------
    title : str
        Name of the file, or "network".
    facts : dict of str to str
        Lines of the head: size, digest, input, bits.
    layers : tuple of LayerFacts
    samples : int
        Inputs that were run; 0 without inputs.
    accuracy : float or None
    energy : tuple of dict
        One row per device, cheapest first: name, interval in J, grade, sources.
    chips : tuple of dict
        One row per chip family: which layers its published limits refuse.
    placements : tuple of dict
        One row per kind of chip, as of `kerasnsoc.reports.placement.placements`.
    parity : dict or None
        Values compared with and differing from the exact Keras forward.
    metadata : str
        The file's free metadata as JSON text.
    """

    title: str
    facts: dict[str, str]
    layers: tuple[LayerFacts, ...]
    samples: int
    accuracy: float | None
    energy: tuple[dict[str, Any], ...]
    chips: tuple[dict[str, Any], ...]
    placements: tuple[dict[str, Any], ...]
    parity: dict[str, Any] | None
    metadata: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_html(self) -> str:
        """One page that needs nothing else: no network, no script, no other file.

        Raises
        ------
        ImportError
            If jinja2 is missing; it comes with the extra ``report``.
        """
        from kerasnsoc.reports.page import render_page

        return render_page(self)

    def save(self, path: str | Path) -> None:
        """Write the page.

        Raises
        ------
        OSError
            If it cannot be written; a former file is whole then.
        """
        from kerasnsoc.artifact.atomic import write_atomically

        write_atomically(str(path), self.to_html().encode())
