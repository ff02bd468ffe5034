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
    """

    layer: str
    samples: int
    synaptic_ops: int
    neuron_updates: int
    spikes: int
    connections: int

    def __add__(self, other: LayerCounts) -> LayerCounts:
        if (self.layer, self.connections) != (other.layer, other.connections):
            raise ValueError(
                f"counts of layer {self.layer!r} with {self.connections} connections cannot be "
                f"added to those of {other.layer!r} with {other.connections}"
            )
        return replace(
            self,
            samples=self.samples + other.samples,
            synaptic_ops=self.synaptic_ops + other.synaptic_ops,
            neuron_updates=self.neuron_updates + other.neuron_updates,
            spikes=self.spikes + other.spikes,
        )


@dataclass(frozen=True, slots=True)
class EnergyTerm:
    """One row of a report: so many operations of one kind in one layer.

    Attributes
    ----------
    layer, term : str
        Where, and which kind of operation.
    count : int
    coefficient : Quantity
        J per operation.
    status : {"priced", "unpriced", "included"}
        ``unpriced``: something was counted, but nobody published its cost. ``included``: the
        device's figure per synaptic operation already contains it.
    """

    layer: str
    term: str
    count: int
    coefficient: Quantity
    status: Status

    @property
    def energy(self) -> Interval | None:
        """J, None unless priced."""
        interval = self.coefficient.interval
        if self.status != "priced":
            return None
        return Interval(0.0, 0.0, 0.0) if interval is None else interval.times(self.count)


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
    per_core : tuple
        Empty: a software run has no cores.
    """

    device: EnergyDevice
    counts: tuple[LayerCounts, ...]
    terms: tuple[EnergyTerm, ...]
    duration_s: float | None = None
    per_core: tuple[Any, ...] = field(default=())

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
            "per_core": list(self.per_core),
            "static": {rail: interval_dict(energy) for rail, energy in self.static.items()},
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
            each = format_interval(term.coefficient.interval)
            rows.append([term.layer, term.term, f"{term.count:,}", each, cost, grade])
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
    because it computes zeros too.

    Raises
    ------
    ValueError
        If the duration is not finite and above 0.
    """
    if duration_s is not None and not 0 < duration_s < float("inf"):
        raise ValueError(f"duration_s is {duration_s}, but it must be finite and above 0 seconds")
    counts = tuple(counts)
    terms: list[EnergyTerm] = []
    is_all_in = device.scope == "all_in"
    for c in counts:
        if device.spiking:
            synapses = ("synaptic operations", c.synaptic_ops)
        else:
            synapses = ("connections", c.connections * c.samples)
        terms.append(_term(c.layer, *synapses, device.energy_per_synop))
        updates = _term(c.layer, "neuron updates", c.neuron_updates, device.energy_per_neuron)
        terms.append(replace(updates, status="included") if is_all_in else updates)
        if device.energy_per_spike is not None:
            spikes = _term(c.layer, "spikes", c.spikes, device.energy_per_spike)
            terms.append(replace(spikes, status="included") if is_all_in else spikes)
    # Layers in which nothing of a kind happened, such as the input, would only be noise.
    shown = tuple(term for term in terms if term.count)
    return EnergyReport(device, counts, shown, duration_s)


def _term(layer: str, term: str, count: int, coefficient: Quantity) -> EnergyTerm:
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


def _join(words: Sequence[str]) -> str:
    return ", ".join(words)
