"""`calibrate`: a quantized model that works without retraining."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc._extras import require
from kerasnsoc._progress import with_progress
from kerasnsoc._tables import render
from kerasnsoc.quantization import graph, neural
from kerasnsoc.quantization.activations import QuantizedActivation, QuantizedReLU
from kerasnsoc.quantization.analysis import layer_bits, probe, weight_errors
from kerasnsoc.quantization.graph import Graph, Node
from kerasnsoc.quantization.joined import Groups, joined_activations
from kerasnsoc.quantization.quantizers import Quantizer
from kerasnsoc.quantization.ranges import (
    ActivationHistogram,
    WeightRanges,
    check_weight_ranges,
    kernel_quantizer,
)
from kerasnsoc.quantization.rewriter import QuantizerFunction, quantize
from kerasnsoc.quantization.samples import Samples, check_batch_size, read_samples
from kerasnsoc.quantization.scoring import decibels, share

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class CalibratedLayer:
    """What calibration chose for one layer.

    Attributes
    ----------
    layer : str
    kind : {"weights", "activation"}
    bits : int
        0 where the layer stays float.
    sqnr_db : float
        Signal-to-quantization-noise ratio of the kernel (the worse one of two), or of the
        activation over the calibration data, if its inputs were those of the float model.
    range_max : float or None
        Output of the activation's highest level; None for weights, like the next two.
    observed_max : float or None
        Largest value of the activation in the float model.
    clipped : float or None
        Share of values more than half a step above the range.
    bias_shift : float or None
        Largest magnitude that was added to a bias; None for an activation, and where there was
        no correction.
    shares_range_with : tuple of str
        Activations that had to get the same range, since a Concatenate joins them.
    """

    layer: str
    kind: str
    bits: int
    sqnr_db: float
    range_max: float | None = None
    observed_max: float | None = None
    clipped: float | None = None
    bias_shift: float | None = None
    shares_range_with: tuple[str, ...] = ()


@dataclass(frozen=True)
class CalibrationReport:
    """The choices of `calibrate`.

    Attributes
    ----------
    rows : tuple of CalibratedLayer
        In the order of the model.
    samples : int
    """

    rows: tuple[CalibratedLayer, ...]
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and strings."""
        rows = [{**asdict(r), "shares_range_with": list(r.shares_range_with)} for r in self.rows]
        return {"samples": self.samples, "rows": rows}

    def to_frame(self) -> pd.DataFrame:
        """The rows as a table of pandas.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        frame: pd.DataFrame = require("pandas", "report").DataFrame(self.to_dict()["rows"])
        return frame

    def __str__(self) -> str:
        rows = [
            [
                row.layer,
                row.kind,
                str(row.bits) if row.bits else "float",
                decibels(row.sqnr_db),
                *("-" if v is None else f"{v:.4g}" for v in (row.range_max, row.observed_max)),
                share(row.clipped),
                "-" if row.bias_shift is None else f"{row.bias_shift:.3g}",
            ]
            for row in self.rows
        ]
        heads = ["layer", "what", "bits", "SQNR", "range", "largest", "clipped", "bias shift"]
        return render(heads, rows, title=f"Calibration on {self.samples:,} samples")


class Calibration(NamedTuple):
    """A calibrated model and how it came about: ``model, report = calibrate(…)``."""

    model: keras.Model
    report: CalibrationReport


def calibrate(
    model: keras.Model,
    data: Any,
    weight_quantization: int = 4,
    activ_quantization: int = 4,
    input_weight_quantization: int | None = None,
    *,
    weight_ranges: WeightRanges = "mse",
    bias_correction: bool = True,
    quantizer_function: QuantizerFunction | None = None,
    batch_size: int = 256,
    progress: bool | None = None,
) -> Calibration:
    """Get a quantized copy of a model that needs no retraining.

    As `quantize`, and then: each kernel and each activation gets the range with the least squared
    error, and biases take up the mean error that quantization leaves in each channel. ReLUs become
    `QuantizedReLU` with the calibrated step and a threshold of half a step. The result can be
    fine-tuned and converted like any other quantized model.

    Parameters
    ----------
    model : keras.Model
        Float. Of a model that is already quantized the float weights count, and its quantized
        activations count as ReLUs. Never modified.
    data : array, tuple (inputs, labels), or iterable of batches
        Some hundred typical inputs, as for `analyze`; labels are not used.
    weight_quantization, activ_quantization, input_weight_quantization : int
        Bits, as for `quantize`; 0 keeps floats.
    weight_ranges : {"mse", "max"}
        ``"mse"`` fixes the scale factors with the least squared error (`ScaleFactorQuantizer`),
        one per filter. ``"max"`` takes `MaxPerAxisQuantizer` like `quantize`.
    bias_correction : bool
        Correct biases, layer by layer from the input on. A layer without bias gets one, except
        depthwise convolutions, whose mean error the pointwise convolution behind them takes up.
    quantizer_function : callable, optional
        ``(source layer, default quantizer) -> quantizer``, asked for each kernel. The layer holds
        its folded weights and the default is the one that `weight_ranges` chose.
    batch_size : int
        Samples that are held at once in each layer.
    progress : bool, optional
        Show a bar. Default: on a terminal, if tqdm is installed.

    Returns
    -------
    Calibration
        ``(model, report)``: the model, not compiled, and the choices per layer.

    Raises
    ------
    TypeError
        If the data are of no usable type.
    ValueError
        If an argument is out of range, the data do not fit the model, or a layer of the float
        model gives values that are not finite.
    RuntimeError
        As `quantize`.
    ImportError
        If ``progress=True`` and tqdm is not installed.

    Notes
    -----
    An activation of ``N`` levels gets the step ``h`` that minimizes the mean of ``(y - h *
    clip(ceil(y / h - 1/2), 0, N))**2`` over the float model's activations ``y``. Activations that
    a `Concatenate` joins get one step, since conversion needs it. The correction adds to
    each bias the mean over samples and positions of (float output - quantized output), measured
    with all layers before it quantized and corrected [1]_.

    References
    ----------
    .. [1] M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through
       Weight Equalization and Bias Correction", ICCV 2019, section 4.2 and appendix.
    """
    batch_size = check_batch_size(batch_size)
    check_weight_ranges(weight_ranges)

    def choose(layer: keras.layers.Layer, default: Quantizer) -> Quantizer:
        found = kernel_quantizer(layer, default, weight_ranges)
        return found if quantizer_function is None else quantizer_function(layer, found)

    # Folded, but float: the same layers as the quantized model has, by name.
    reference = quantize(model)
    samples = read_samples(data, reference)
    network = graph.read(
        quantize(
            reference,
            weight_quantization,
            activ_quantization,
            input_weight_quantization,
            quantizer_function=choose,
        )
    )
    groups = joined_activations(network)
    observed = _observe(reference, network, groups, samples, batch_size)
    rows = _set_activations(network, groups, observed.histograms)
    if bias_correction:
        _add_biases(network)
    calibrated = network.build()
    for node in network.nodes:
        if neural.is_neural(node):
            rows[node.name] = _weights_row(node)
    if bias_correction:
        correctable = [n.name for n in network.nodes if n.name in rows and _is_correctable(n)]
        for name in with_progress(correctable, "calibrate", progress):
            shift = _correct(calibrated, name, observed.means[name], samples, batch_size)
            rows[name] = replace(rows[name], bias_shift=shift)
    ordered = tuple(rows[node.name] for node in network.nodes if node.name in rows)
    return Calibration(calibrated, CalibrationReport(ordered, len(samples)))


class _Observations(NamedTuple):
    """Of the float model: mean output per channel of neural layers, values of activations."""

    means: dict[str, npt.NDArray[np.float64]]
    histograms: dict[str, ActivationHistogram]


def _observe(
    reference: keras.Model, network: Graph, groups: Groups, samples: Samples, batch_size: int
) -> _Observations:
    layers = [node.name for node in network.nodes if neural.is_neural(node)]
    relus = [node.name for node in network.nodes if node.is_a(QuantizedActivation)]
    look = probe(reference, layers + relus)
    sums: dict[str, npt.NDArray[np.float64]] = {}
    counts = dict.fromkeys(layers, 0)
    tops = dict.fromkeys(relus, 0.0)
    for batch in samples.batches(batch_size):
        values = dict(zip(layers + relus, look(batch), strict=True))
        for name in layers:
            total, count = _channel_sums(values[name])
            sums[name] = sums.get(name, 0.0) + total
            counts[name] += count
        for name in relus:
            tops[name] = max(tops[name], float(values[name].max()))
    wrong = [name for name in layers if not np.isfinite(sums[name]).all()]
    if wrong:
        raise ValueError(
            f"layer {wrong[0]!r} gives values that are not finite, so that there is no range to "
            "choose. Train again from an earlier checkpoint."
        )
    joint = {n: max(tops[member] for member in groups.get(n, (n,))) for n in relus}
    histograms = {name: ActivationHistogram(joint[name]) for name in relus}
    # A second pass, since bins need the largest value first; to keep all values takes too much.
    look = probe(reference, relus)
    for batch in samples.batches(batch_size) if relus else ():
        for name, found in zip(relus, look(batch), strict=True):
            histograms[name].add(found)
    return _Observations({name: sums[name] / counts[name] for name in layers}, histograms)


def _channel_sums(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], int]:
    flat = values.reshape(-1, values.shape[-1])
    return flat.sum(axis=0, dtype=np.float64), len(flat)


def _set_activations(
    network: Graph, groups: Groups, histograms: dict[str, ActivationHistogram]
) -> dict[str, CalibratedLayer]:
    """Put calibrated activations into the graph; returns their rows."""
    rows: dict[str, CalibratedLayer] = {}
    steps: dict[str, float] = {}
    for node in network.nodes:
        if not node.is_a(QuantizedActivation):
            continue
        name, own, bits = node.name, histograms[node.name], node.config["bitwidth"]
        group = groups.get(name, (name,))
        if name not in steps:
            merged = ActivationHistogram.merged([histograms[member] for member in group])
            steps |= dict.fromkeys(group, merged.best_step(bits))
        step, levels = steps[name], 2**bits - 1
        node.cls = QuantizedReLU
        # The variable is the step in sixteenths of 2**bits steps; powers of two are exact.
        node.weights = [np.asarray(v, np.float32) for v in (step / 2, step * 2**bits / 16)]
        rows[name] = CalibratedLayer(
            name,
            "activation",
            bits,
            own.sqnr_db(step, levels),
            range_max=step * levels,
            observed_max=own.largest,
            clipped=own.clipped(step, levels),
            shares_range_with=tuple(member for member in group if member != name),
        )
    return rows


def _is_correctable(node: Node) -> bool:
    return neural.is_neural(node) and bool(node.config["use_bias"])


def _add_biases(network: Graph) -> None:
    for node in network.nodes:
        if not neural.is_neural(node) or node.config["use_bias"]:
            continue
        if node.is_a(keras.layers.DepthwiseConv2D):
            continue  # a bias would keep it from being merged with the pointwise convolution
        arrays = neural.parameters(node)
        kernel = arrays.kernels[neural.quantizer_names(node)[-1]]
        arrays.bias = np.zeros(kernel.shape[-1], kernel.dtype)
        node.config["use_bias"] = True
        node.weights = arrays.arrays()


def _weights_row(node: Node) -> CalibratedLayer:
    return CalibratedLayer(node.name, "weights", layer_bits(node), weight_errors(node).sqnr_db)


def _correct(
    model: keras.Model,
    name: str,
    expected_n: npt.NDArray[np.float64],
    samples: Samples,
    batch_size: int,
) -> float:
    """Move one layer's bias by the mean error of its output; returns the largest shift."""
    look = probe(model, [name])
    total, count = np.zeros_like(expected_n), 0
    for batch in samples.batches(batch_size):
        sums, found = _channel_sums(look(batch)[0])
        total, count = total + sums, count + found
    shift_n = expected_n - total / count
    bias = model.get_layer(name).bias
    bias.assign(keras.ops.convert_to_numpy(keras.ops.copy(bias)) + shift_n)
    return float(np.abs(shift_n).max())
