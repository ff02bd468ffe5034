"""What a run costs on a device: every number with its interval, its grade and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from kerasnsoc._tables import render
from kerasnsoc.energy.devices import EnergyDevice
from kerasnsoc.energy.quantities import (
    Grade,
    Interval,
    Quantity,
    format_interval,
    sum_intervals,
    worst_grade,
)

if TYPE_CHECKING:
    import pandas as pd

Status: TypeAlias = Literal["priced", "unpriced", "included"]


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """What a run counted in one layer.

    Attributes
    ----------
    layer : str
    samples : int
    synaptic_ops, neuron_updates, spikes : int
        Totals over all samples: weights added because an event arrived, neurons evaluated,
        non-zero outputs.
    connections : int
        Synapses applied by a dense computation of one sample.
    more : mapping of str to int
        Further kinds of operations, named as in `kerasnsoc.energy.devices.FURTHER_OPERATIONS`.
        Those "firing neurons" are among the neuron updates.
    core : int, tuple of int or None
        Where on a chip the layer is; None in software.
    steps : float
        Time steps per sample. A device that computes zeros too computes a sample once.

    Counts estimated from mean rates need not be whole.
    """

    layer: str
    samples: int
    synaptic_ops: float
    neuron_updates: float
    spikes: float
    connections: int
    more: Mapping[str, float] = field(default_factory=dict)
    core: int | tuple[int, ...] | None = None
    steps: float = 1

    def __add__(self, other: LayerCounts) -> LayerCounts:
        own, theirs = ((c.layer, c.connections, c.steps) for c in (self, other))
        if own != theirs:
            raise ValueError(
                f"counts of layer {self.layer!r} with {self.connections} connections and "
                f"{self.steps:g} steps cannot be added to those of {other.layer!r} with "
                f"{other.connections} and {other.steps:g}"
            )
        return replace(
            self,
            samples=self.samples + other.samples,
            synaptic_ops=self.synaptic_ops + other.synaptic_ops,
            neuron_updates=self.neuron_updates + other.neuron_updates,
            spikes=self.spikes + other.spikes,
            more={
                kind: self.more.get(kind, 0) + other.more.get(kind, 0)
                for kind in {**self.more, **other.more}
            },
            core=self.core if self.core == other.core else None,
        )


@dataclass(frozen=True, slots=True)
class EnergyTerm:
    """One row of a report: so many operations of one kind in one layer.

    Attributes
    ----------
    layer, term : str
        Where, and which kind of operation.
    count : int or float
    coefficient : Quantity
        J per operation.
    status : {"priced", "unpriced", "included"}
        ``unpriced``: something was counted, but nobody published its cost. ``included``: the
        device's figure per synaptic operation already contains it.
    """

    layer: str
    term: str
    count: float
    coefficient: Quantity
    status: Status

    @property
    def energy(self) -> Interval | None:
        """J, None unless priced."""
        interval = self.coefficient.interval
        if self.status != "priced":
            return None
        return Interval(0.0, 0.0, 0.0) if interval is None else interval.times(self.count)


class CoreEnergy(NamedTuple):
    """What one core takes, without static power and the network between cores.

    Attributes
    ----------
    layer : str
    core : int or tuple of int
    energy : Interval
        J of the priced terms.
    unpriced : tuple of str
        Kinds of operations that were counted there but have no published cost.
    """

    layer: str
    core: int | tuple[int, ...]
    energy: Interval
    unpriced: tuple[str, ...]


class Percentiles(NamedTuple):
    """J at the 5th, 50th and 95th percentile."""

    p5: float
    p50: float
    p95: float


@dataclass(frozen=True)
class EnergyReport:
    """Energy of a counted run on one device.

    Made by `kerasnsoc.energy.energy_of_run`. The lows of all terms are added, and so are the
    highs: the interval holds even if all figures err in the same direction.

    Attributes
    ----------
    device : EnergyDevice
    counts : tuple of LayerCounts
        What was counted; enough to price the run on any other device.
    terms : tuple of EnergyTerm
    duration_s : float or None
        Time over which static power is charged.
    """

    device: EnergyDevice
    counts: tuple[LayerCounts, ...]
    terms: tuple[EnergyTerm, ...]
    duration_s: float | None = None

    @property
    def per_core(self) -> tuple[CoreEnergy, ...]:
        """The cores of a chip in the order of the layers; empty for a run in software."""
        cores = []
        for counts in self.counts:
            if counts.core is None:
                continue
            terms = [term for term in self.terms if term.layer == counts.layer]
            energy = sum_intervals(term.energy for term in terms if term.energy is not None)
            unpriced = tuple(term.term for term in terms if term.status == "unpriced")
            cores.append(CoreEnergy(counts.layer, counts.core, energy, unpriced))
        return tuple(cores)

    @property
    def by_term(self) -> dict[str, Interval]:
        """J of each kind of operation and of each supply rail; those that are priced."""
        energies: dict[str, list[Interval]] = {}
        for term in self.terms:
            if term.energy is not None:
                energies.setdefault(term.term, []).append(term.energy)
        for rail, energy in self.static.items():
            if energy is not None:
                energies.setdefault(f"static {rail}", []).append(energy)
        return {kind: sum_intervals(found) for kind, found in energies.items()}

    @property
    def samples(self) -> int:
        """Inferences that were counted."""
        return max((counts.samples for counts in self.counts), default=0)

    @property
    def static(self) -> dict[str, Interval | None]:
        """J of each supply rail over the duration; None where its power is unknown.

        Empty without a duration.
        """
        if self.duration_s is None or self.device.scope == "all_in":
            return {}
        return {
            rail: None if watts.interval is None else watts.interval.times(self.duration_s)
            for rail, watts in self.device.static.items()
        }

    @property
    def separate(self) -> dict[str, Interval | None]:
        """J that are beside the total, not in it: of the board, or at another voltage.

        Empty without a duration.
        """
        if self.duration_s is None:
            return {}
        return {
            rail: None if watts.interval is None else watts.interval.times(self.duration_s)
            for rail, watts in self.device.separate.items()
        }

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Kinds of operations that were counted but have no published cost."""
        rails = tuple(f"static {rail}" for rail, energy in self.static.items() if energy is None)
        return self._kinds("unpriced") + rails

    @property
    def included(self) -> tuple[str, ...]:
        """Kinds of operations that the figure per synaptic operation already contains."""
        return self._kinds("included")

    @property
    def total(self) -> Interval | None:
        """J as (low, value, high); None while something is unpriced."""
        return None if self.unpriced else self.partial_total

    @property
    def partial_total(self) -> Interval:
        """J of the priced terms alone; read `unpriced` with it."""
        energies = [*(term.energy for term in self.terms), *self.static.values()]
        return sum_intervals(energy for energy in energies if energy is not None)

    @property
    def energy_per_inference(self) -> Interval | None:
        """J per sample; None while something is unpriced."""
        return self._per(self.samples)

    @property
    def energy_per_synop(self) -> Interval | None:
        """J per synaptic operation, everything included; None if there was none."""
        return self._per(sum(counts.synaptic_ops for counts in self.counts))

    @property
    def energy_per_spike(self) -> Interval | None:
        """J per emitted event, everything included; None if there was none."""
        return self._per(sum(counts.spikes for counts in self.counts))

    @property
    def average_power_w(self) -> Interval | None:
        """W over the duration; None without a duration or while something is unpriced."""
        return None if self.duration_s is None else self._per(self.duration_s)

    @property
    def worst_grade(self) -> Grade | None:
        """The weakest evidence behind the priced part; None if nothing could be priced."""
        grades = [term.coefficient.grade for term in self.terms if term.energy and term.count]
        if self.static:
            grades += [watts.grade for watts in self.device.static.values() if watts.interval]
        return worst_grade(grades)

    @property
    def sources(self) -> tuple[str, ...]:
        """The distinct sources of the figures that were charged."""
        used = [term.coefficient.source for term in self.terms if term.energy and term.count]
        if self.static:
            used += [watts.source for watts in self.device.static.values() if watts.interval]
        return tuple(dict.fromkeys(used))

    def monte_carlo(self, n: int = 10_000, seed: int = 0) -> Percentiles:
        """Spread of the total if the figures err independently of each other.

        Each draw takes every coefficient once, log-uniformly between its bounds, or from a
        triangle over the logarithm if the value lies inside them (without the logarithm where the
        lower bound is 0).

        Parameters
        ----------
        n : int
            Draws, at least 1.
        seed : int
            The same seed gives the same percentiles.

        Returns
        -------
        Percentiles
            The 5th, 50th and 95th of the total in J.

        Raises
        ------
        ValueError
            If something is unpriced, or `n` is below 1.
        """
        import numpy as np

        if n < 1:
            raise ValueError(f"n is {n}, but at least 1 draw is needed")
        if self.unpriced:
            raise ValueError(
                f"no spread of a total that is not known: {_join(self.unpriced)} on "
                f"{self.device.name!r} have no published cost"
            )
        # Keyed by figure, not by layer: one figure errs alike wherever it is used.
        factors: dict[tuple[str, Quantity], float] = {}
        for term in self.terms:
            if term.status == "priced" and term.count:
                key = (term.term, term.coefficient)
                factors[key] = factors.get(key, 0.0) + term.count
        for rail in self.static:
            factors[rail, self.device.static[rail]] = self.duration_s or 0.0
        generator = np.random.default_rng(seed)
        total = np.zeros(n)
        for (_, quantity), factor in factors.items():
            interval = quantity.interval
            assert interval is not None
            low, value, high = interval
            if low == high:
                total += value * factor
                continue
            is_log = low > 0
            left, mode, right = np.log(interval) if is_log else interval
            if low < value < high:
                drawn = generator.triangular(left, mode, right, n)
            else:
                drawn = generator.uniform(left, right, n)
            total += (np.exp(drawn) if is_log else drawn) * factor
        return Percentiles(*map(float, np.percentile(total, [5, 50, 95])))

    def __add__(self, other: EnergyReport) -> EnergyReport:
        """Both runs together; layers of the same name are added up.

        Raises
        ------
        ValueError
            If the reports are for different devices: figures of different accounting, voltage or
            scope have no common sum.
        """
        if not isinstance(other, EnergyReport):
            return NotImplemented
        if self.device != other.device:
            raise ValueError(
                f"a report for {self.device.name!r} cannot be added to one for "
                f"{other.device.name!r}: their figures count different things. Price both runs on "
                "one device first, with what_if."
            )
        counts = {c.layer: c for c in self.counts}
        for c in other.counts:
            counts[c.layer] = counts[c.layer] + c if c.layer in counts else c
        durations = (self.duration_s, other.duration_s)
        if (durations[0] is None) != (durations[1] is None):
            raise ValueError(
                "a report with a duration cannot be added to one without: static power would be "
                "charged for a part of the run only"
            )
        duration = None if durations[0] is None or durations[1] is None else sum(durations)  # type: ignore[arg-type]
        return price_counts(counts.values(), self.device, duration)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and strings."""
        return {
            "device": self.device.name,
            "spiking": self.device.spiking,
            "scope": self.device.scope,
            "note": self.device.note,
            "samples": self.samples,
            "duration_s": self.duration_s,
            "terms": self._rows(),
            "per_core": [
                {
                    "layer": row.layer,
                    "core": list(row.core) if isinstance(row.core, tuple) else row.core,
                    "energy": interval_dict(row.energy),
                    "unpriced": list(row.unpriced),
                }
                for row in self.per_core
            ],
            "static": {rail: interval_dict(energy) for rail, energy in self.static.items()},
            "separate": {rail: interval_dict(energy) for rail, energy in self.separate.items()},
            "total": interval_dict(self.total),
            "partial_total": interval_dict(self.partial_total),
            "energy_per_inference": interval_dict(self.energy_per_inference),
            "average_power_w": interval_dict(self.average_power_w),
            "worst_grade": self.worst_grade,
            "unpriced": list(self.unpriced),
            "included": list(self.included),
            "sources": list(self.sources),
        }

    def to_json(self) -> str:
        """The same as `to_dict`, as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_frame(self) -> pd.DataFrame:
        """The terms as a table of pandas, one row each; energies in J."""
        return make_frame(self._rows())

    def __str__(self) -> str:
        rows = []
        for term in self.terms:
            cost = term.status if term.energy is None else format_interval(term.energy)
            grade = term.coefficient.grade if term.energy else "-"
            is_included = term.status == "included"
            each = "-" if is_included else format_interval(term.coefficient.interval)
            rows.append([term.layer, term.term, _count_text(term.count), each, cost, grade])
        for rail, energy in self.static.items():
            watts = self.device.static[rail]
            each = format_interval(watts.interval, "W")
            cost = "unpriced" if energy is None else format_interval(energy)
            rows.append(
                ["(chip)", f"static {rail}", f"{self.duration_s:g} s", each, cost, watts.grade]
            )
        kind = "only events cost" if self.device.spiking else "every connection costs"
        plural = "" if self.samples == 1 else "s"
        lines = [
            render(
                ["layer", "operation", "count", "each", "energy", "grade"],
                rows,
                title=f"Energy on {self.device.name!r} ({kind}), {self.samples:,} sample{plural}",
            ),
            *self._core_lines(),
            f"total: {self.summary()}",
        ]
        if self.energy_per_inference is not None:
            per_inference = format_interval(self.energy_per_inference)
            lines.append(f"per inference: {per_inference}, grade {self.worst_grade or '-'}")
        if self.average_power_w is not None:
            power = format_interval(self.average_power_w, "W")
            lines.append(f"average power: {power}, grade {self.worst_grade or '-'}")
        if self.included:
            lines.append(f"already in the figure per operation: {_join(self.included)}")
        if self.device.static and not self.static and self.device.scope != "all_in":
            lines.append("static power is not in it: no duration was given")
        for rail, watts in self.device.separate.items():
            lines.append(
                f"not in the total: {rail}, {format_interval(watts.interval, 'W')}, grade "
                f"{watts.grade} ({watts.source})"
            )
        if self.device.note:
            lines.append(f"note: {self.device.note}")
        lines += [f"source: {source}" for source in self.sources]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<EnergyReport {self.device.name!r}, {self.samples} samples: {self.summary()}>"

    def summary(self) -> str:
        """The total in one line, with interval, grade and what is missing."""
        grade = self.worst_grade
        if self.total is not None:
            return f"{format_interval(self.total)}, grade {grade or '-'}"
        missing = f"unknown, no published cost of {_join(self.unpriced)}"
        if grade is None:
            return missing
        return f"{missing}; the rest is {format_interval(self.partial_total)}, grade {grade}"

    def _core_lines(self) -> list[str]:
        if not self.per_core:
            return []
        rows = []
        for row in self.per_core:
            core = row.core if isinstance(row.core, int) else ", ".join(map(str, row.core))
            energy = format_interval(row.energy)
            rows.append([str(core), row.layer, energy, ", ".join(row.unpriced) or "-"])
        return [render(["core", "layer", "dynamic energy", "not priced"], rows, title="Per core")]

    def _kinds(self, status: Status) -> tuple[str, ...]:
        return tuple(dict.fromkeys(term.term for term in self.terms if term.status == status))

    def _per(self, divisor: float) -> Interval | None:
        return None if self.total is None or not divisor else self.total.times(1 / divisor)

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for term in self.terms:
            each, energy = term.coefficient.interval, term.energy
            rows.append(
                {
                    "layer": term.layer,
                    "term": term.term,
                    "count": term.count,
                    "each_low": each and each.low,
                    "each": each and each.value,
                    "each_high": each and each.high,
                    "energy_low": energy and energy.low,
                    "energy": energy and energy.value,
                    "energy_high": energy and energy.high,
                    "grade": term.coefficient.grade,
                    "status": term.status,
                    "source": term.coefficient.source,
                }
            )
        return rows


def price_counts(
    counts: Iterable[LayerCounts], device: EnergyDevice, duration_s: float | None = None
) -> EnergyReport:
    """Price counted operations on a device.

    A spiking device pays ``synaptic_ops * e_synop + neuron_updates * e_neuron + spikes * e_spike``
    per layer; any other pays ``connections * samples * e_synop + neuron_updates * e_neuron``,
    because it computes zeros too. Chips pay for further kinds of operations, where they were
    counted; a device without figures for these kinds has them in its other figures.

    Raises
    ------
    ValueError
        If the duration is not finite and above 0.
    """
    if duration_s is not None and not 0 < duration_s < float("inf"):
        raise ValueError(f"duration_s is {duration_s}, but it must be finite and above 0 seconds")
    counts = tuple(counts)
    terms: list[EnergyTerm] = []
    for c in counts:
        if device.spiking:
            synapses = ("synaptic operations", c.synaptic_ops)
        else:
            synapses = ("connections", c.connections * c.samples)
        terms.append(_term(c.layer, *synapses, device.energy_per_synop))
        # A figure for neurons that fire replaces that of an update.
        firing = c.more.get("firing neurons", 0) if device.operations.get("firing neurons") else 0
        updates = c.neuron_updates - firing if device.spiking else c.neuron_updates / c.steps
        further: list[tuple[str, float, Quantity | None]] = [
            ("neuron updates", updates, device.energy_per_neuron)
        ]
        if device.energy_per_spike is not None:
            further.append(("spikes", c.spikes, device.energy_per_spike))
        for kind, each in device.operations.items():
            if each is not None or kind != "firing neurons":
                further.append((kind, c.more.get(kind, 0), each))
        for kind, count, quantity in further:
            figure = device.energy_per_synop if quantity is None else quantity
            term = _term(c.layer, kind, count, figure)
            is_included = device.scope == "all_in" or quantity is None
            terms.append(replace(term, status="included") if is_included else term)
    # Layers in which nothing of a kind happened, such as the input, would only be noise.
    shown = tuple(term for term in terms if term.count)
    return EnergyReport(device, counts, shown, duration_s)


def _term(layer: str, term: str, count: float, coefficient: Quantity) -> EnergyTerm:
    is_known = coefficient.interval is not None
    return EnergyTerm(layer, term, count, coefficient, "priced" if is_known else "unpriced")


def interval_dict(interval: Interval | None) -> dict[str, float] | None:
    """An interval for JSON."""
    return None if interval is None else interval._asdict()


def make_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a pandas DataFrame.

    Raises
    ------
    ImportError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "to_frame() needs pandas, which is not installed: pip install pandas. "
            "to_dict() and to_json() give the same rows without it.",
            name="pandas",
        ) from error
    return pd.DataFrame(list(rows))


def _count_text(count: float) -> str:
    return f"{count:,.0f}" if float(count).is_integer() else f"{count:,.1f}"


def _join(words: Sequence[str]) -> str:
    return ", ".join(words)
