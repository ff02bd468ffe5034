"""Neurons over time on integers: thresholds, biases, shifts and initial potentials.

A neuron adds ``dt * f(P / (a * s) + bias)`` in each step and fires at 1 (`SpikingActivation`), or
adds ``P / (a * s) + bias`` and fires at its threshold (`IAF`). ``P`` is the integer potential,
``a`` the integers per unit of the input and ``s`` the weight integers per unit of a weight. Both
become ``V += f((P + b) << g)``, fired at an integer threshold: multiplied by ``2**g * a * s`` (and
divided by ``dt``), only the threshold and the bias have to be rounded.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc._tables import render
from kerasnsoc.artifact import (
    ActivationParameters,
    ArtifactError,
    ConvolutionMode,
    FilterParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerBounds,
    LayerSpec,
    NetworkSpec,
    NeuronSpec,
    PoolingParameters,
    PoolingType,
    Reason,
    layer_bounds,
    validate,
)
from kerasnsoc.artifact.neurons import MAX_SHIFT, POTENTIAL_LIMIT
from kerasnsoc.conversion.integer import IntegerBlock, integer_block, layer_spec
from kerasnsoc.conversion.thresholds import output_mapping
from kerasnsoc.conversion.time_blocks import (
    GLOBAL,
    Step,
    TimeModel,
    layers,
    rate_function,
)
from kerasnsoc.quantization import QuantizedConv2D
from kerasnsoc.spiking import IAF, Lowpass, SumPooling2D
from kerasnsoc.spiking._numerics import hashed_uniform

Start = Literal["half", "zero"]

MOST_SPIKES = 2**20
"""Spikes per step that survive as float32 rates: a rate and back is exact to 2**-22."""

CAP = 255
"""Spikes per step that neurons are held to where nothing else bounds them: a byte."""

LARGEST_WEIGHT = 127
"""What the shifted weights and biases may reach where `state_bits` asks for a chip's widths."""

ERROR_TO_WARN = Fraction(1, 100)
"""Relative rounding error of a threshold above which `convert` warns."""


@dataclass(frozen=True)
class LayerRounding:
    """What rounding to integers changes in one layer.

    Attributes
    ----------
    name : str
    shift : int
        Binary digits behind the point.
    threshold_error : float
        Largest relative error of a neuron's threshold, hence of its rate.
    bias_error : float
        Largest absolute error of a bias, in units of the Keras layer.
    """

    name: str
    shift: int
    threshold_error: float
    bias_error: float


@dataclass(frozen=True)
class RoundingReport:
    """Rounding of all layers with neurons, in order."""

    layers: tuple[LayerRounding, ...]

    def __str__(self) -> str:
        rows = [
            [r.name, str(r.shift), f"{r.threshold_error:.2e}", f"{r.bias_error:.2e}"]
            for r in self.layers
        ]
        return render(["layer", "shift", "threshold error", "bias error"], rows, title="Rounding")


@dataclass(frozen=True, eq=False)
class TimeIntegers:
    """A model over time on integers, before it takes the form of either side.

    Attributes
    ----------
    parsed : TimeModel
    alpha, beta : Fraction, int
        The network's integers are ``alpha * x + beta`` of its real input.
    blocks : dict
        Layers with weights, by name.
    bounds : dict of str to LayerBounds
    spec : NetworkSpec
    rounding : RoundingReport
    """

    parsed: TimeModel
    alpha: Fraction
    beta: int
    blocks: dict[str, IntegerBlock]
    bounds: dict[str, LayerBounds]
    spec: NetworkSpec
    rounding: RoundingReport


def time_integers(
    parsed: TimeModel,
    alpha: Fraction,
    beta: int,
    *,
    input_is_sparse: bool,
    input_bits: int,
    start: Start,
    max_spikes: int | None,
    state_bits: int | None,
    metadata: dict[str, Any],
) -> TimeIntegers:
    """Move every step of a parsed model to integers.

    Raises
    ------
    ValueError
        If a layer cannot be converted.
    OverflowError
        If a potential could leave 32 bits, a threshold does not fit `state_bits`, or a layer takes
        fewer spikes of a neuron in one step than could arrive.
    """
    work = _Work(parsed, start, max_spikes, state_bits)
    first = parsed.steps[0]
    image = (
        not input_is_sparse
        and first.block is not None
        and isinstance(first.block.neural, QuantizedConv2D)
        and parsed.input_shape[2] in (1, 3)
    )
    height, width, channels = parsed.input_shape
    arriving = (0, 255)
    if not image:
        if beta:
            raise ValueError(
                f"the input shift is {beta}, but only images that a Conv2D takes first can have "
                f"one. Use input_scaling=(scale, 0)."
            )
        bits = input_bits if input_is_sparse else 8
        arriving = (0, 2**bits - 1)
        taken = {step.name for step in parsed.steps}
        name = f"{first.name}_input"
        while name in taken:
            name += "_"
        source = InputDataParameters(
            input_width=width, input_height=height, input_channels=channels, input_bits=bits
        )
        work.specs.append(LayerSpec(name, source))
    scale = alpha
    for index, step in enumerate(parsed.steps):
        inbounds = (work.specs[-1].name,) if work.specs else ()
        if step.kind == "weights":
            assert step.block is not None
            integers = integer_block(step.block, scale, 0 if inbounds else beta)
            feeds_filter = parsed.steps[index + 1 :] and parsed.steps[index + 1].kind == "filter"
            spec = work.weights(step, integers, inbounds, arriving, bool(feeds_filter))
            scale = work.scale_behind(step, integers)
        elif step.kind == "pooling":
            spec, scale = work.pooling(step, inbounds, scale)
        else:
            spec = work.filter(step, inbounds, scale)
        work.specs.append(spec)
        arriving = work.bound(step, spec, arriving)
    metadata = {
        **metadata,
        "over_time": {"start": start, "max_spikes": max_spikes, "state_bits": state_bits},
        "rounding": {
            row.name: {
                "shift": row.shift,
                "threshold_error": row.threshold_error,
                "bias_error": row.bias_error,
            }
            for row in work.rounding
        },
    }
    network = NetworkSpec(tuple(work.specs), float(alpha), beta, metadata, parsed.dt)
    try:
        validate(network)
    except ArtifactError as error:
        if error.reason is not Reason.OVERFLOW:
            raise
        raise OverflowError(str(error)) from None
    rounding = RoundingReport(tuple(work.rounding))
    return TimeIntegers(parsed, alpha, beta, work.blocks, work.bounds, network, rounding)


def warn_about_rounding(report: RoundingReport) -> None:
    """Say which layers will fire at rates that are visibly off."""
    wide = [r for r in report.layers if r.threshold_error > ERROR_TO_WARN]
    if wide:
        warnings.warn(
            "rounded thresholds change rates of these layers: "
            + ", ".join(f"{r.name} by up to {r.threshold_error:.1%}" for r in wide)
            + ". Large inputs leave few digits: use fewer inputs, or neurons in front that spike "
            "less often per step.",
            UserWarning,
            stacklevel=4,
        )


class _Work:
    def __init__(
        self, parsed: TimeModel, start: Start, max_spikes: int | None, state_bits: int | None
    ) -> None:
        self.parsed = parsed
        self.max_spikes = max_spikes
        self.start = start
        self.state_bits = state_bits
        # signed numbers reach one further down than up
        self.lowest = -POTENTIAL_LIMIT if state_bits is None else -(2 ** (state_bits - 1))
        self.highest = POTENTIAL_LIMIT if state_bits is None else -self.lowest - 1
        self.dt = Fraction(parsed.dt)
        self.specs: list[LayerSpec] = []
        self.blocks: dict[str, IntegerBlock] = {}
        self.bounds: dict[str, LayerBounds] = {}
        self.rounding: list[LayerRounding] = []
        self.output: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None

    def bound(self, step: Step, spec: LayerSpec, arriving: tuple[int, int]) -> tuple[int, int]:
        height, width, channels = step.input_shape
        try:
            found = layer_bounds(
                spec.parameters, spec.variables, (width, height, channels), arriving, spec.neuron
            )
        except ArtifactError as error:
            raise OverflowError(f"layer {step.name!r}: {error}") from None
        except ValueError as error:
            raise OverflowError(f"layer {step.name!r}: {error}") from None
        most = max(map(abs, found.output_range))
        if spec.neuron is not None and most > MOST_SPIKES:
            raise OverflowError(
                f"layer {step.name!r}: a neuron could spike {most} times in one step, beyond the "
                f"{MOST_SPIKES} that a float32 rate tells apart. Use max_spikes, a larger "
                f"threshold, or SpikingActivation('relu')."
            )
        self.bounds[step.name] = found
        return found.output_range

    def scale_behind(self, step: Step, integers: IntegerBlock) -> Fraction:
        """Integers per unit of what a layer sends on."""
        if integers.stairs is not None:
            return 1 / integers.stairs.step_height
        if step.neuron is None or isinstance(step.neuron, IAF):
            return Fraction(1)
        return self.dt

    def weights(
        self,
        step: Step,
        integers: IntegerBlock,
        inbounds: tuple[str, ...],
        arriving: tuple[int, int],
        feeds_filter: bool,
    ) -> LayerSpec:
        self.blocks[step.name] = integers
        spec = layer_spec(integers, inbounds, tables=True)
        if step.neuron is None:
            if feeds_filter and integers.stairs is None:
                self.output = output_mapping(integers.affine)
                rest = {k: v for k, v in spec.variables.items() if not k.startswith("output")}
                spec = replace(spec, variables=rest)
            return spec
        # the parameters of a layer that does not fire say the defaults, as neurons want them
        assert isinstance(spec.parameters, ActivationParameters)
        parameters = replace(spec.parameters, activations_enabled=True)
        height, width, channels = step.input_shape
        plain = replace(parameters, activations_enabled=False)
        dims = (width, height, channels)
        try:
            potentials = layer_bounds(plain, spec.variables, dims, arriving)
        except ArtifactError as error:
            raise OverflowError(f"layer {step.name!r}: {error}") from None
        except ValueError as error:
            raise OverflowError(
                f"layer {step.name!r}: {error}, but up to {max(map(abs, arriving))} spikes of one "
                f"neuron could arrive in one step. Use max_spikes=255, or a QuantizedConv2D here."
            ) from None
        neuron, variables = self.neurons(step, integers, potentials)
        weights = {k: v for k, v in spec.variables.items() if k.startswith("weights")}
        return replace(
            spec, parameters=parameters, variables={**weights, **variables}, neuron=neuron
        )

    def neurons(
        self, step: Step, integers: IntegerBlock, potentials: LayerBounds
    ) -> tuple[NeuronSpec, dict[str, npt.NDArray[Any]]]:
        """The neuron model of a step, and its variables."""
        layer, affine = step.neuron, integers.affine
        is_rate = not isinstance(layer, IAF)
        gains = [affine.positions * affine.alpha * s for s in affine.scales]
        exact_biases = [
            bias * gain - offset
            for bias, gain, offset in zip(affine.biases, gains, affine.offsets(), strict=True)
        ]
        biases = [round(b) for b in exact_biases]  # ties to even
        bias_gains, gains = gains, [gain / step.sum_factor for gain in gains]
        fires_at = 1 / self.dt if is_rate else Fraction(layer.threshold)
        most = max(
            max(abs(int(low) + b), abs(int(high) + b))
            for low, high, b in zip(potentials.low, potentials.high, biases, strict=True)
        )
        shift = self.shift(step, most, max(gains) * fires_at, _widest(integers, biases))
        exact = [2**shift * gain * fires_at for gain in gains]
        thresholds = [max(1, round(t)) for t in exact]
        self.rounding.append(
            LayerRounding(
                step.name,
                shift,
                float(max(abs(t / e - 1) for t, e in zip(thresholds, exact, strict=True))),
                float(
                    max(
                        abs((b - e) / g)
                        for b, e, g in zip(biases, exact_biases, bias_gains, strict=True)
                    )
                ),
            )
        )
        if is_rate:
            rectify = rate_function(layer) == "relu"
            neuron = NeuronSpec(
                rule="multi" if rectify else "signed", rectify=rectify, shift=shift, unit="hz"
            )
            lowest = [0] * len(gains)
        else:
            rule, most_spikes = layer.spike_fn, 0
            if isinstance(rule, tuple):
                rule, most_spikes = rule
            neuron = NeuronSpec(
                rule=rule, max_spikes=most_spikes, reset=layer.reset, shift=shift, unit="count"
            )
            lowest = [self.lowest] * len(gains)
            if layer.min_v is not None:
                floor = Fraction(layer.min_v) * 2**shift
                lowest = [max(self.lowest, round(floor * gain)) for gain in gains]
        if neuron.rule == "multi" and self.max_spikes is not None:
            neuron = replace(neuron, rule="max", max_spikes=self.max_spikes)
        threshold_n = np.array(thresholds, np.int64)
        return neuron, {
            "spike_threshold": threshold_n.astype(np.int32),
            "bias": np.array(biases, np.int32),
            "lowest_potential": np.array(lowest, np.int32),
            "initial_potential": self.initial(step, threshold_n),
        }

    def shift(self, step: Step, most: int, threshold: Fraction, widest: int) -> int:
        """Binary digits behind the point: as many as the potentials leave room for.

        Parameters
        ----------
        step : Step
        most : int
            What one step may add to a potential.
        threshold : Fraction
            The largest one.
        widest : int
            Largest weight or bias.
        """
        shift = MAX_SHIFT
        if self.state_bits is not None:
            while shift and widest << shift > LARGEST_WEIGHT:
                shift -= 1
        while shift >= 0 and (
            most << shift >= POTENTIAL_LIMIT or 2**shift * threshold > self.highest
        ):
            shift -= 1
        if shift >= 0:
            return shift
        if self.state_bits is not None and threshold > self.highest:
            raise OverflowError(
                f"layer {step.name!r}: a threshold of {float(threshold):.6g} leaves the "
                f"{self.highest} of state_bits={self.state_bits}. Use more bits, a smaller "
                f"threshold in Keras, weights of fewer bits, or a smaller input scale."
            )
        raise OverflowError(
            f"layer {step.name!r}: a potential of {most} in one step, or a threshold of "
            f"{float(threshold):.3g}, leaves the {POTENTIAL_LIMIT} that 32 bits "
            f"leave room for. Use a larger dt, fewer inputs, or fewer bits."
        )

    def initial(self, step: Step, threshold_n: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        height, width, neurons = step.output_shape
        thresholds = np.broadcast_to(threshold_n, (height, width, neurons))
        seed = step.neuron.seed
        if seed is not None:
            # what a batch of one draws: multiples of 2**-24 of a threshold
            drawn = hashed_uniform(seed, (1, height * width * neurons), "float32")
            units = np.asarray(keras.ops.convert_to_numpy(drawn)).astype(np.float64) * 2**24
            units_hwn = units.astype(np.int64).reshape(height, width, neurons)
            start_hwn = (units_hwn * thresholds) >> 24
        elif self.start == "zero":
            start_hwn = np.zeros_like(thresholds)
        else:
            start_hwn = thresholds // 2
        return np.ascontiguousarray(start_hwn.transpose(1, 0, 2)).astype(np.int32)

    def pooling(
        self, step: Step, inbounds: tuple[str, ...], scale: Fraction
    ) -> tuple[LayerSpec, Fraction]:
        layer = step.layer
        sums = isinstance(
            layer, SumPooling2D | layers.AveragePooling2D | layers.GlobalAveragePooling2D
        )
        kind = PoolingType.Average if sums else PoolingType.Max
        if isinstance(layer, GLOBAL):
            parameters = PoolingParameters(pooling_type=kind)
            cells = step.input_shape[0] * step.input_shape[1]
        else:
            parameters = PoolingParameters(
                pooling_type=kind,
                convolution_mode=ConvolutionMode(layer.padding),
                pooling_width=layer.pool_size[1],
                pooling_height=layer.pool_size[0],
                pooling_stride_x=layer.strides[1],
                pooling_stride_y=layer.strides[0],
            )
            cells = layer.pool_size[0] * layer.pool_size[1]
        if sums and not isinstance(layer, SumPooling2D):
            scale = scale * cells  # the sum is so many times the mean
        return LayerSpec(step.name, parameters, inbounds), scale

    def filter(self, step: Step, inbounds: tuple[str, ...], scale: Fraction) -> LayerSpec:
        layer = step.layer
        height, width, features = step.input_shape
        order = 1 if isinstance(layer, Lowpass) else 2
        variables = {}
        for name in ("tau", "initial_level"):
            weight = keras.ops.convert_to_numpy(keras.ops.copy(getattr(layer.layer.cell, name)))
            values = np.asarray(weight, np.float64).reshape(height, width, features)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"layer {step.name!r}: {name} holds a value that is not finite. Train again "
                    f"from an earlier checkpoint."
                )
            variables[name] = np.ascontiguousarray(values.transpose(1, 0, 2))
        output_scale, output_shift = self.output or (
            np.full(features, float(1 / scale)),
            np.zeros(features),
        )
        variables |= {"output_scale": output_scale, "output_shift": output_shift}
        return LayerSpec(step.name, FilterParameters(order=order), inbounds, variables)


def _widest(integers: IntegerBlock, biases: list[int]) -> int:
    """Largest weight or bias, depthwise and pointwise weights as one."""
    weight = int(np.abs(integers.weights.astype(np.int64)).max())
    if integers.weights_pw is not None:
        weight *= int(np.abs(integers.weights_pw.astype(np.int64)).max())
    return max(weight, *map(abs, biases))


def is_image(spec: NetworkSpec) -> bool:
    """Whether the network takes 8-bit images in its first convolution."""
    return isinstance(spec.layers[0].parameters, InputConvolutionalParameters)
