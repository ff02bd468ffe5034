"""`analyze`: what quantization costs, layer by layer."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc._extras import require
from kerasnsoc._progress import with_progress
from kerasnsoc._tables import render
from kerasnsoc.quantization import graph, neural
from kerasnsoc.quantization.activations import QuantizedActivation
from kerasnsoc.quantization.graph import Graph, Node
from kerasnsoc.quantization.quantizers import LinearWeightQuantizer, Quantizer
from kerasnsoc.quantization.samples import Samples, check_batch_size, read_samples
from kerasnsoc.quantization.scoring import (
    Metric,
    MetricFunction,
    choose_metric,
    decibels,
    outputs_of,
    ratio_db,
    share,
)
from kerasnsoc.quantization.transforms import fold_batchnorm, invert_pooling_batchnorm

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class LayerAnalysis:
    """What quantization does to one layer.

    Attributes
    ----------
    layer : str
    kind : str
        Class of the quantized layer.
    bits : int
        Of weights, or of activations.
    weight_sqnr_db : float or None
        Signal-to-quantization-noise ratio of the kernel against its own float weights, infinite
        without any error; the worse one of the two kernels of a separable convolution. None for
        an activation, like the next two.
    weight_zeros : float or None
        Share of integer weights that are 0.
    weight_clipped : float or None
        Share of weights beyond the range: they would round to an integer that does not exist.
    output_sqnr_db : float or None
        Ratio of the layer's output in the quantized model to the same layer of the float model:
        the errors of all layers before it are in it. None if the float model has no such layer.
    output_zeros, output_saturated : float or None
        Share of activations at 0, and at the highest level. None for a neural layer.
    metric_alone : float or None
        The metric of the float model with this layer quantized and nothing else. None if the
        float model has no such layer.
    metric_change : float or None
        `metric_alone` minus the metric of the float model; None where that is infinite.
    """

    layer: str
    kind: str
    bits: int
    weight_sqnr_db: float | None = None
    weight_zeros: float | None = None
    weight_clipped: float | None = None
    output_sqnr_db: float | None = None
    output_zeros: float | None = None
    output_saturated: float | None = None
    metric_alone: float | None = None
    metric_change: float | None = None


@dataclass(frozen=True)
class QuantizationReport:
    """What quantization does to a model, made by `analyze`.

    Attributes
    ----------
    rows : tuple of LayerAnalysis
        In the order of the model.
    metric : str
        ``"accuracy"``, ``"output SQNR"`` in dB, or the name of the given function.
    float_metric, quantized_metric : float
        Of the two models. The SQNR of the float model is infinite.
    output_sqnr_db : float
        Of the quantized model's output.
    samples : int
    """

    rows: tuple[LayerAnalysis, ...]
    metric: str
    float_metric: float
    quantized_metric: float
    output_sqnr_db: float
    samples: int

    @property
    def most_sensitive(self) -> LayerAnalysis | None:
        """The layer that costs most when it alone is quantized."""
        asked = [row for row in self.rows if row.metric_alone is not None]
        return min(asked, key=lambda row: row.metric_alone or 0.0, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and strings."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}

    def to_frame(self) -> pd.DataFrame:
        """The rows as a table of pandas.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        frame: pd.DataFrame = require("pandas", "report").DataFrame(self.to_dict()["rows"])
        return frame

    def plot(self, ax: Axes | None = None, what: Literal["error", "metric"] = "error") -> Axes:
        """Draw one bar per layer.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.
        what : {"error", "metric"}
            The SQNR of weights and outputs in dB, or the metric with one layer quantized.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `what` is neither.
        """
        if what not in ("error", "metric"):
            raise ValueError(f"what is {what!r}, but must be 'error' or 'metric'.")
        if ax is None:
            height = 1.2 + 0.35 * len(self.rows)
            figure = require("matplotlib.pyplot", "plot").figure(figsize=(7, height))
            ax = figure.add_subplot()
        places = np.arange(len(self.rows))
        if what == "error":
            for offset, label, values in (
                (-0.2, "weights", [row.weight_sqnr_db for row in self.rows]),
                (0.2, "output", [row.output_sqnr_db for row in self.rows]),
            ):
                ax.barh(places + offset, _drawable(values), 0.4, label=label)
            ax.set_xlabel("SQNR [dB]")
            ax.legend()
        else:
            ax.barh(places, _drawable([row.metric_alone for row in self.rows]), 0.6)
            if math.isfinite(self.float_metric):
                ax.axvline(self.float_metric, color="black", linewidth=1, label="float")
            ax.axvline(
                self.quantized_metric, color="black", linewidth=1, linestyle=":", label="quantized"
            )
            ax.set_xlabel(f"{self.metric} with this layer alone quantized")
            ax.legend()
        ax.set_yticks(places, [row.layer for row in self.rows])
        ax.invert_yaxis()
        return ax

    def summary(self) -> str:
        """The two models in one line."""
        text = _metric_text(self.metric)
        found = f"{self.metric}: quantized {text(self.quantized_metric)}"
        if math.isfinite(self.float_metric):
            found += f", float {text(self.float_metric)}"
        if self.metric != "output SQNR":
            found += f"; output SQNR {decibels(self.output_sqnr_db)}"
        return f"{found}; {self.samples:,} samples"

    def __str__(self) -> str:
        text = _metric_text(self.metric)
        rows = [
            [
                row.layer,
                row.kind,
                str(row.bits),
                decibels(row.weight_sqnr_db),
                share(row.weight_zeros),
                share(row.weight_clipped),
                decibels(row.output_sqnr_db),
                share(row.output_zeros),
                share(row.output_saturated),
                "-" if row.metric_alone is None else text(row.metric_alone),
            ]
            for row in self.rows
        ]
        table = render(
            [
                "layer",
                "class",
                "bits",
                "weights",
                "zeros",
                "clipped",
                "output",
                "zeros",
                "saturated",
                f"{self.metric} alone",
            ],
            rows,
            title="Quantization",
        )
        return f"{table}\n{self.summary()}"


def _metric_text(name: str) -> Any:
    return Metric(name, lambda outputs: 0.0).text


def _drawable(values: list[float | None]) -> list[float]:
    """Bars of no length where there is no finite number."""
    return [0.0 if v is None or not math.isfinite(v) else v for v in values]


def analyze(
    float_model: keras.Model,
    quantized_model: keras.Model,
    data: Any,
    *,
    metric: MetricFunction | None = None,
    batch_size: int = 256,
    progress: bool | None = None,
) -> QuantizationReport:
    """Get the errors that quantization makes in each layer, and what each layer alone costs.

    Layers are compared by name. Batch normalizations that only the float model has are folded
    in a copy first, as `quantize` does it.

    Parameters
    ----------
    float_model, quantized_model : keras.Model
        Before and after `quantize`, `calibrate` or fine-tuning. Never modified.
    data : array, tuple (inputs, labels), or iterable of batches
        A batch is an array of inputs or a tuple ``(inputs, labels)``; a `keras.utils.PyDataset`
        or a finite ``tf.data.Dataset`` will do. Read once and kept in memory.
    metric : callable, optional
        ``(labels, outputs) -> float``, higher is better. Default: accuracy if the labels are
        classes (numbers or one-hot rows), else the SQNR of the output in dB.
    batch_size : int
        Samples that are held at once in each layer.
    progress : bool, optional
        Show a bar. Default: on a terminal, if tqdm is installed.

    Returns
    -------
    QuantizationReport

    Raises
    ------
    TypeError
        If the data or the metric are of no usable type.
    ValueError
        If the data do not fit the models, or the models have no quantized layer in common.
    RuntimeError
        If a model is no chain of layers with concatenations, or a batch normalization cannot be
        folded.
    ImportError
        If ``progress=True`` and tqdm is not installed.

    Notes
    -----
    The ratio is ``10 * log10(sum(x**2) / sum((x - x_quantized)**2))``. For the effect of one layer
    alone, that layer of the float model gets the quantizer, or the activation, of the quantized
    model, and keeps its float weights and bias.

    See Also
    --------
    calibrate : ranges and biases that make the errors smaller.
    suggest_bitwidths : which layers deserve more bits.
    """
    batch_size = check_batch_size(batch_size)
    network = graph.read(quantized_model)
    reference = _aligned(float_model, network)
    samples = read_samples(data, float_model)
    read_samples(samples.inputs[:1], quantized_model)
    found = [node for node in network.nodes if layer_bits(node)]
    known = {node.name: node for node in graph.read(reference).nodes}
    if not any(node.name in known for node in found):
        raise ValueError(
            f"model {quantized_model.name!r} has no quantized layer whose name is in model "
            f"{float_model.name!r}. Pass the float model that it was made of."
        )
    outputs = outputs_of(reference, samples, batch_size)
    score = choose_metric(metric, samples, outputs)
    float_metric = score.score(outputs)
    quantized_outputs = outputs_of(quantized_model, samples, batch_size)
    tallies = _compare_outputs(reference, quantized_model, samples, batch_size, found)
    rows = []
    for node in with_progress(found, "analyze", progress):
        alone = None
        if node.name in known:
            alone = score.score(outputs_of(_only(reference, node), samples, batch_size))
        errors = weight_errors(node) if neural.is_neural(node) else None
        finite = alone is not None and math.isfinite(float_metric)
        rows.append(
            LayerAnalysis(
                layer=node.name,
                kind=node.cls.__name__,
                bits=layer_bits(node),
                weight_sqnr_db=errors and errors.sqnr_db,
                weight_zeros=errors and errors.zeros,
                weight_clipped=errors and errors.clipped,
                **tallies[node.name].result(),
                metric_alone=alone,
                metric_change=alone - float_metric if alone is not None and finite else None,
            )
        )
    return QuantizationReport(
        tuple(rows),
        score.name,
        float_metric,
        score.score(quantized_outputs),
        ratio_db(
            float(np.square(outputs).sum()), float(np.square(outputs - quantized_outputs).sum())
        ),
        len(samples),
    )


def layer_bits(node: Node) -> int:
    """Bits of a quantized layer; 0 for any other one."""
    if node.is_a(QuantizedActivation):
        return int(node.config["bitwidth"])
    if not neural.is_quantized(node):
        return 0
    return max(neural.quantizer_of(node, name).bitwidth for name in neural.quantizer_names(node))


def _aligned(float_model: keras.Model, quantized: Graph) -> keras.Model:
    """The float model with the layers of the quantized one."""
    network = graph.read(float_model)
    norms = {n.name for n in network.nodes if n.is_a(keras.layers.BatchNormalization)}
    if norms <= {node.name for node in quantized.nodes}:
        return float_model
    invert_pooling_batchnorm(network)
    fold_batchnorm(network)
    return network.build()


def _only(reference: keras.Model, node: Node) -> keras.Model:
    """The float model with one layer quantized."""
    network = graph.read(reference)
    target = next(n for n in network.nodes if n.name == node.name)
    if neural.is_neural(target) != neural.is_neural(node):
        raise ValueError(
            f"layer {node.name!r} is a {node.cls.__name__} in the quantized model, but a "
            f"{target.cls.__name__} in the float model. Pass the float model that it was made of."
        )
    if neural.is_neural(node):
        arrays, own = neural.parameters(target), neural.parameters(node)
        shapes = [[k.shape for k in a.kernels.values()] for a in (arrays, own)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"layer {node.name!r} has kernels of shape {shapes[1]} in the quantized model, but "
                f"{shapes[0]} in the float model. Pass the float model that it was made of."
            )
        arrays.learned = own.learned
        target.config = {**node.config, "use_bias": target.config["use_bias"]}
        target.weights = arrays.arrays()
    else:
        target.config, target.weights = dict(node.config), list(node.weights)
    target.cls = node.cls
    return network.build()


class WeightErrors(NamedTuple):
    """Of the kernels of one layer; the attributes are those of `LayerAnalysis`."""

    sqnr_db: float
    zeros: float
    clipped: float


def weight_errors(node: Node) -> WeightErrors:
    """What its quantizers do to the kernels of a neural layer."""
    worst, zeros, clipped, size = math.inf, 0, 0, 0
    for name, kernel in neural.parameters(node).kernels.items():
        quantizer = neural.quantizer_of(node, name)
        quantized = np.asarray(keras.ops.convert_to_numpy(quantizer.quantize(kernel)), np.float64)
        errors = np.square(kernel - quantized)
        worst = min(worst, ratio_db(float(np.square(kernel).sum()), float(errors.sum())))
        zeros += int((quantized == 0).sum())
        clipped += _beyond(quantizer, kernel)
        size += kernel.size
    return WeightErrors(worst, zeros / size, clipped / size)


def _beyond(quantizer: Quantizer, kernel: npt.NDArray[Any]) -> int:
    """Weights that would round to more than the largest integer."""
    if not isinstance(quantizer, LinearWeightQuantizer):
        return 0
    factor = np.asarray(keras.ops.convert_to_numpy(quantizer.scale_factor(kernel)), np.float64)
    return int((np.rint(np.abs(kernel) * factor) > quantizer.kmax).sum())


class _Tally:
    """Sums over the outputs of one layer in both models."""

    def __init__(self, top: float | None) -> None:
        self.top = top  # output of the highest level, of an activation
        self.signal = self.noise = 0.0
        self.compared = self.count = self.zeros = self.saturated = 0

    def add(self, expected: npt.NDArray[Any] | None, found: npt.NDArray[Any]) -> None:
        if expected is not None:
            real = expected.astype(np.float64)
            self.signal += float(np.square(real).sum())
            self.noise += float(np.square(real - found).sum())
            self.compared += real.size
        if self.top is not None:
            self.count += found.size
            self.zeros += int((found == 0).sum())
            self.saturated += int((found >= self.top).sum())

    def result(self) -> dict[str, float | None]:
        is_activation = self.top is not None
        return {
            "output_sqnr_db": ratio_db(self.signal, self.noise) if self.compared else None,
            "output_zeros": self.zeros / self.count if is_activation else None,
            "output_saturated": self.saturated / self.count if is_activation else None,
        }


def _compare_outputs(
    reference: keras.Model,
    quantized: keras.Model,
    samples: Samples,
    batch_size: int,
    nodes: list[Node],
) -> dict[str, _Tally]:
    tallies = {}
    for node in nodes:
        layer = node.source
        top = None
        if isinstance(layer, QuantizedActivation):
            # Half a step lower: the product of step and levels is rounded.
            top = (layer.levels - 0.5) * layer.step_height
        tallies[node.name] = _Tally(top)
    names = list(tallies)
    present = {layer.name for layer in reference.layers}
    common = [name for name in names if name in present]
    expect, find = probe(reference, common), probe(quantized, names)
    for batch in samples.batches(batch_size):
        expected = dict(zip(common, expect(batch), strict=True))
        for name, values in zip(names, find(batch), strict=True):
            other = expected.get(name)
            if other is not None and other.shape != values.shape:
                raise ValueError(
                    f"layer {name!r} gives shape {values.shape[1:]} in the quantized model, but "
                    f"{other.shape[1:]} in the float model. Pass the float model that it was made "
                    "of."
                )
            tallies[name].add(other, values)
    return tallies


def probe(model: keras.Model, names: list[str]) -> Any:
    """A function from a batch to the outputs of the named layers, as arrays."""
    if not names:
        return lambda batch: []
    tensors = _outputs_of_layers(model)
    inner = keras.Model(model.inputs[0], [tensors[name] for name in names])

    def outputs(batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        found = inner(batch, training=False)
        found = found if isinstance(found, list | tuple) else [found]
        return [np.asarray(keras.ops.convert_to_numpy(tensor)) for tensor in found]

    return outputs


def _outputs_of_layers(model: keras.Model) -> dict[str, Any]:
    """Symbolic outputs by layer name, in this model; a layer may be in other models, too."""
    found: dict[str, Any] = {}
    pending = [model.outputs[0]]
    while pending:
        tensor = pending.pop()
        layer, index, _ = tensor._keras_history
        if layer.name not in found:
            found[layer.name] = tensor
            pending.extend(layer._inbound_nodes[index].input_tensors)
    return found
