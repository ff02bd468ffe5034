"""`suggest_bitwidths`: few bits for the layers that bear it, more for those that do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from kerasnsoc._extras import require
from kerasnsoc._progress import with_progress
from kerasnsoc._tables import render
from kerasnsoc.quantization import graph, neural, quantizers
from kerasnsoc.quantization.calibration import calibrate
from kerasnsoc.quantization.graph import Graph, Node
from kerasnsoc.quantization.quantizers import Quantizer
from kerasnsoc.quantization.ranges import WeightRanges, check_weight_ranges, kernel_quantizer
from kerasnsoc.quantization.rewriter import quantize
from kerasnsoc.quantization.samples import check_batch_size, read_samples
from kerasnsoc.quantization.scoring import (
    Metric,
    MetricFunction,
    choose_metric,
    decibels,
    outputs_of,
    ratio_db,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

BudgetUnit = Literal["bits", "bytes"]

_MOST_POINTS = 2000
"""Longest front that is kept while layers are added; beyond, it is thinned evenly."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What one bit width costs in one layer, everything else being float.

    Attributes
    ----------
    layers : tuple of str
        The layer; with its pointwise convolution, if it is a depthwise one, since conversion joins
        the two and needs one bit width.
    bits : int
    weights : int
        Number of weights.
    metric : float
        Of the model with these layers quantized alone.
    drop : float
        Metric of the float model minus that, at least 0; 0 where the metric is the SQNR.
    noise : float
        Squared error of the model's output relative to its squared values.
    """

    layers: tuple[str, ...]
    bits: int
    weights: int
    metric: float
    drop: float
    noise: float


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A choice that no other one beats in both size and predicted cost.

    Attributes
    ----------
    bits : dict of str to int
        By layer.
    bits_per_weight, weight_bytes : float
        Mean, and total without biases.
    predicted_metric : float
    drop, noise : float
        Sums of those of the layers.
    """

    bits: dict[str, int]
    bits_per_weight: float
    weight_bytes: float
    predicted_metric: float
    drop: float
    noise: float


@dataclass(frozen=True)
class BitwidthSuggestion:
    """Bits for each layer, made by `suggest_bitwidths`.

    Attributes
    ----------
    chosen : ParetoPoint
        The choice with the least predicted cost within the budget.
    budget : float
    unit : {"bits", "bytes"}
    pareto : tuple of ParetoPoint
        From the smallest model to the largest one that pays.
    sensitivities : tuple of Sensitivity
        In the order of the model, fewest bits first.
    metric : str
        ``"accuracy"``, ``"output SQNR"`` in dB, or the name of the given function.
    float_metric : float
    weight_ranges : {"mse", "max"}
        How ranges of kernels were chosen while measuring, and will be in `apply`.
    """

    chosen: ParetoPoint
    budget: float
    unit: BudgetUnit
    pareto: tuple[ParetoPoint, ...]
    sensitivities: tuple[Sensitivity, ...]
    metric: str
    float_metric: float
    weight_ranges: WeightRanges

    @property
    def bits(self) -> dict[str, int]:
        """Bits by layer."""
        return dict(self.chosen.bits)

    @property
    def bits_per_weight(self) -> float:
        """Mean over all weights."""
        return self.chosen.bits_per_weight

    @property
    def weight_bytes(self) -> float:
        """Size of all weights, without biases."""
        return self.chosen.weight_bytes

    @property
    def predicted_metric(self) -> float:
        """Metric if the costs of the layers add up."""
        return self.chosen.predicted_metric

    def apply(
        self,
        model: keras.Model,
        data: Any = None,
        activ_quantization: int = 4,
        *,
        batch_size: int = 256,
        progress: bool | None = None,
    ) -> keras.Model:
        """Get the quantized model.

        Parameters
        ----------
        model : keras.Model
            The model that was measured, or one with layers of the same names. Never modified.
        data : optional
            Calibration data. With them the model is made by `calibrate`, ready to be used;
            without, by `quantize`, to be fine-tuned.
        activ_quantization : int
            Bits of activations; 0 keeps ReLUs.
        batch_size, progress
            As for `calibrate`.

        Returns
        -------
        keras.Model
            Not compiled.

        Raises
        ------
        ValueError
            If a layer with weights has no suggestion, or as `calibrate`.
        RuntimeError
            As `quantize`.
        """
        folded = quantize(model)
        nodes = [node for node in graph.read(folded).nodes if neural.is_neural(node)]
        missing = [node.name for node in nodes if node.name not in self.chosen.bits]
        if missing:
            raise ValueError(
                f"layer {missing[0]!r} of model {model.name!r} was not measured; there are "
                f"suggestions for {', '.join(map(repr, self.chosen.bits))}. Apply them to the "
                "model that was measured."
            )

        def at_bits(layer: keras.layers.Layer, default: Quantizer) -> Quantizer:
            wanted = default.with_bitwidth(self.chosen.bits[layer.name])
            return kernel_quantizer(layer, wanted, self.weight_ranges)

        if data is None:
            return quantize(folded, 8, activ_quantization, quantizer_function=at_bits)
        return calibrate(
            model,
            data,
            8,
            activ_quantization,
            weight_ranges="max",
            quantizer_function=at_bits,
            batch_size=batch_size,
            progress=progress,
        ).model

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and strings."""
        return {
            "budget": self.budget,
            "unit": self.unit,
            "metric": self.metric,
            "float_metric": self.float_metric,
            "weight_ranges": self.weight_ranges,
            "chosen": asdict(self.chosen),
            "pareto": [asdict(point) for point in self.pareto],
            "sensitivities": [
                {**asdict(entry), "layers": list(entry.layers)} for entry in self.sensitivities
            ],
        }

    def to_frame(self) -> pd.DataFrame:
        """The sensitivities as a table of pandas, with a column that says which were chosen.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        rows = [
            {**row, "chosen": self.chosen.bits[row["layers"][0]] == row["bits"]}
            for row in self.to_dict()["sensitivities"]
        ]
        frame: pd.DataFrame = require("pandas", "report").DataFrame(rows)
        return frame

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the predicted metric over the bits per weight, with the choice marked.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        if ax is None:
            ax = require("matplotlib.pyplot", "plot").figure(figsize=(6, 4)).add_subplot()
        drawn = [point for point in self.pareto if math.isfinite(point.predicted_metric)]
        ax.plot(
            [point.bits_per_weight for point in drawn],
            [point.predicted_metric for point in drawn],
            marker=".",
            label="best for each size",
        )
        if math.isfinite(self.predicted_metric):
            ax.plot([self.bits_per_weight], [self.predicted_metric], "o", label="chosen")
        ax.set_xlabel("bits per weight")
        ax.set_ylabel(f"predicted {self.metric}")
        ax.legend()
        return ax

    def summary(self) -> str:
        """The choice in one line."""
        text = Metric(self.metric, lambda outputs: 0.0).text
        found = (
            f"{self.bits_per_weight:.4g} bits per weight, {self.weight_bytes:,.0f} bytes; "
            f"predicted {self.metric} {text(self.predicted_metric)}"
        )
        if math.isfinite(self.float_metric):
            found += f", float {text(self.float_metric)}"
        return found

    def __str__(self) -> str:
        text = Metric(self.metric, lambda outputs: 0.0).text
        choices = sorted({entry.bits for entry in self.sensitivities})
        by_layer: dict[tuple[str, ...], dict[int, Sensitivity]] = {}
        for entry in self.sensitivities:
            by_layer.setdefault(entry.layers, {})[entry.bits] = entry
        rows = []
        for layers, entries in by_layer.items():
            chosen = self.chosen.bits[layers[0]]
            weights = next(iter(entries.values())).weights
            costs = [
                decibels(ratio_db(1.0, entries[b].noise))
                if self.metric == "output SQNR"
                else f"{text(entries[b].metric)} ({decibels(ratio_db(1.0, entries[b].noise))})"
                for b in choices
            ]
            rows.append([" + ".join(layers), f"{weights:,}", str(chosen), *costs])
        heads = ["layer", "weights", "chosen bits", *(f"{b} bits alone" for b in choices)]
        unit = "bits per weight" if self.unit == "bits" else "bytes of weights"
        table = render(heads, rows, title=f"Bit widths for a budget of {self.budget:g} {unit}")
        return f"{table}\n{self.summary()}"


def suggest_bitwidths(
    model: keras.Model,
    data: Any,
    budget: float,
    unit: BudgetUnit = "bits",
    *,
    bitwidths: Sequence[int] = (2, 4, 8),
    weight_ranges: WeightRanges = "mse",
    metric: MetricFunction | None = None,
    batch_size: int = 256,
    progress: bool | None = None,
) -> BitwidthSuggestion:
    """Get bits for the weights of each layer, within a budget.

    Each layer is quantized alone with each bit width, and what that costs is measured; then
    the choice with the least total cost that fits the budget is taken. Activations stay float
    while measuring.

    Parameters
    ----------
    model : keras.Model
        Float. Never modified.
    data : array, tuple (inputs, labels), or iterable of batches
        As for `analyze`.
    budget : float
        Upper bound, met exactly or undercut: never exceeded.
    unit : {"bits", "bytes"}
        Whether the budget is the mean number of bits per weight, or the bytes of all weights
        packed bit by bit. Biases and thresholds are not counted.
    bitwidths : sequence of int
        To choose from, 2 to 8. 2, 4 and 8 fit every runtime.
    weight_ranges : {"mse", "max"}
        As for `calibrate`.
    metric : callable, optional
        ``(labels, outputs) -> float``, higher is better. Default: accuracy if the labels are
        classes, else the SQNR of the output.
    batch_size : int
        Samples that are held at once in each layer.
    progress : bool, optional
        Show a bar. Default: on a terminal, if tqdm is installed.

    Returns
    -------
    BitwidthSuggestion
        With the bits per layer, the predicted metric, the Pareto curve, and `apply`.

    Raises
    ------
    TypeError
        If the data or the metric are of no usable type.
    ValueError
        If no choice fits the budget (the message names the smallest one that does), or an
        argument is out of range.
    RuntimeError
        As `quantize`.
    ImportError
        If ``progress=True`` and tqdm is not installed.

    Notes
    -----
    The cost of a choice is the sum of the layers' drops of the metric, and among equal ones the
    sum of the relative squared errors of the output: small errors of different layers are nearly
    independent, so that their powers add up. The Pareto curve is found layer by layer, keeping the
    choices that no other one beats; it is exact up to 2,000 of them, and thinned beyond. The
    predicted metric is the float one minus the sum of drops, or ``-10 * log10`` of the sum of
    errors if the metric is the SQNR.
    """
    if unit not in ("bits", "bytes"):
        raise ValueError(f"unit is {unit!r}, but must be 'bits' (per weight) or 'bytes' (in all).")
    allowed_bits = _check_bitwidths(bitwidths)
    batch_size = check_batch_size(batch_size)
    check_weight_ranges(weight_ranges)
    limit = _check_budget(budget)
    reference = quantize(model)
    samples = read_samples(data, reference)
    network = graph.read(reference)
    units = _units(network)
    if not units:
        raise ValueError(f"model {model.name!r} has no layer with weights to quantize.")
    total = sum(_weights(network, names) for names in units)
    most = limit * (total if unit == "bits" else 8)
    least = total * allowed_bits[0]
    if least > most:
        raise ValueError(
            f"a budget of {budget} {'bits per weight' if unit == 'bits' else 'bytes'} cannot be "
            f"met with {', '.join(map(str, allowed_bits))} bits: the smallest reachable one is "
            f"{allowed_bits[0] if unit == 'bits' else _exact(Fraction(least, 8))} "
            f"({total:,} weights of {allowed_bits[0]} bits). Raise the budget, allow fewer bits, "
            "or use a smaller model."
        )

    outputs = outputs_of(reference, samples, batch_size)
    score = choose_metric(metric, samples, outputs)
    float_metric = score.score(outputs)
    power = float(np.square(outputs).sum())
    questions = [(names, bits) for names in units for bits in allowed_bits]
    measured = []
    for names, bits in with_progress(questions, "sensitivity", progress):
        alone = outputs_of(_quantized(reference, names, bits, weight_ranges), samples, batch_size)
        noise = float(np.square(outputs - alone).sum())
        value = score.score(alone)
        measured.append(
            Sensitivity(
                names,
                bits,
                _weights(network, names),
                value,
                0.0 if score.is_sqnr else max(0.0, float_metric - value),
                noise / power if power > 0 else noise,
            )
        )
    front = pareto_front([[m for m in measured if m.layers == names] for names in units])

    def point(choice: _Choice) -> ParetoPoint:
        bits = {name: m.bits for m in choice.members for name in m.layers}
        predicted = float_metric - choice.drop
        return ParetoPoint(
            {node.name: bits[node.name] for node in network.nodes if node.name in bits},
            choice.bits / total,
            choice.bits / 8,
            ratio_db(1.0, choice.noise) if score.is_sqnr else predicted,
            choice.drop,
            choice.noise,
        )

    chosen = [choice for choice in front if choice.bits <= most][-1]
    return BitwidthSuggestion(
        point(chosen),
        float(budget),
        unit,
        tuple(point(choice) for choice in front),
        tuple(measured),
        score.name,
        float_metric,
        weight_ranges,
    )


def _check_bitwidths(bitwidths: Sequence[int]) -> list[int]:
    found = list(bitwidths)
    wrong = [b for b in found if isinstance(b, bool) or b not in range(2, 9)]
    if wrong or not found:
        raise ValueError(
            f"bitwidths is {bitwidths!r}, but must hold integers of 2 to 8, such as (2, 4, 8)."
        )
    return sorted({int(b) for b in found})


def _check_budget(budget: float) -> Fraction:
    try:
        exact = Fraction(0 if isinstance(budget, str) else budget)  # it would read digits
    except (TypeError, ValueError, OverflowError):
        exact = Fraction(0)
    if exact <= 0:
        raise ValueError(f"budget is {budget!r}, but must be a finite number above 0.")
    return exact


def _exact(value: Fraction) -> str:
    """A number of bytes, which may end in eighths, without rounding."""
    return str(value.numerator) if value.denominator == 1 else repr(float(value))


def _units(network: Graph) -> list[tuple[str, ...]]:
    """Layers that get their bits together: one, or a depthwise with its pointwise convolution."""
    units: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for node in network.nodes:
        if not neural.is_neural(node) or node.name in seen:
            continue
        names = [node.name]
        follower = network.follower(node)
        if node.is_a(keras.layers.DepthwiseConv2D) and follower is not None:
            is_pointwise = follower.is_a(keras.layers.Conv2D) and neural.is_neural(follower)
            names += [follower.name] if is_pointwise else []
        units.append(tuple(names))
        seen |= set(names)
    return units


def _weights(network: Graph, names: tuple[str, ...]) -> int:
    return sum(
        kernel.size
        for node in network.nodes
        if node.name in names
        for kernel in neural.parameters(node).kernels.values()
    )


def _quantized(
    reference: keras.Model, names: tuple[str, ...], bits: int, weight_ranges: WeightRanges
) -> keras.Model:
    """The folded float model with some layers quantized."""
    network = graph.read(reference)
    for node in network.nodes:
        if node.name not in names:
            continue
        for name in neural.quantizer_names(node):
            quantizer = kernel_quantizer(node.source, _default(node, name, bits), weight_ranges)
            node.config[name] = quantizers.serialize(quantizer)
    return network.build()


def _default(node: Node, name: str, bits: int) -> Quantizer:
    """What `quantize` takes for a kernel."""
    is_depthwise = name == "quantizer_dw" or node.is_a(keras.layers.DepthwiseConv2D)
    cls = quantizers.MaxQuantizer if is_depthwise else quantizers.MaxPerAxisQuantizer
    return cls(bits)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Bits for the first layers of the model."""

    bits: int
    drop: float
    noise: float
    members: tuple[Sensitivity, ...]

    def with_member(self, member: Sensitivity) -> _Choice:
        return _Choice(
            self.bits + member.weights * member.bits,
            # Sums that differ only by their rounding must compare as equal.
            round(self.drop + member.drop, 12),
            self.noise + member.noise,
            (*self.members, member),
        )


def pareto_front(options: Sequence[Sequence[Sensitivity]]) -> list[_Choice]:
    """Choices of one option per layer that no other choice beats, by size.

    A choice beats another one if it is no larger and costs less: less drop, or the same drop and
    less noise. The smallest choice is always kept.
    """
    front = [_Choice(0, 0.0, 0.0, ())]
    for layer in options:
        grown = [choice.with_member(member) for choice in front for member in layer]
        grown.sort(key=lambda c: (c.bits, c.drop, c.noise))
        front = []
        for choice in grown:
            if not front or (choice.drop, choice.noise) < (front[-1].drop, front[-1].noise):
                front.append(choice)
        if len(front) > _MOST_POINTS:
            kept = np.linspace(0, len(front) - 1, _MOST_POINTS).round().astype(int)
            front = [front[i] for i in np.unique(kept)]
    return front
