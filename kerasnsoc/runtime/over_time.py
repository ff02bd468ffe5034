"""A network that runs over time: potentials of many steps at once, then neurons step by step.

No layer feeds an earlier one, so that a layer can run over all steps of a sequence before the next
one begins. The potentials of all steps that have an event go through the same kernels as frames;
steps without an event cost nothing there. What biases do meanwhile is a multiple of them, which is
added when the next event comes, or just before a neuron could spike.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.bounds import network_bounds
from kerasnsoc.artifact.geometry import Dims, output_dims, pooling_windows
from kerasnsoc.artifact.schema import (
    ActivationParameters,
    FilterParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    PoolingParameters,
    PoolingType,
    SpatialParameters,
)
from kerasnsoc.runtime.batches import run_batch
from kerasnsoc.runtime.emission import emitted, pooled_along
from kerasnsoc.runtime.plan import CompiledNetwork, Form
from kerasnsoc_ext import FOREVER, Neurons, has_events

VALUES_AT_ONCE = 1 << 23
"""Potentials that are held at a time; longer sequences and larger batches run in parts."""

LARGEST_BYTE = 255

SMALLEST_TAU = 1e-8
"""Filters with a shorter time constant pass what they get, as in `kerasnsoc.spiking`."""

Values: TypeAlias = npt.NDArray[Any]
Carried: TypeAlias = npt.NDArray[Any] | None


@dataclass(eq=False)
class States:
    """What the layers carry from step to step: potentials, or levels of a filter.

    Attributes
    ----------
    carried : list of ndarray or None, one per layer, rows are samples
    owed_ls : ndarray of int64, shape (layers, samples)
        Steps without an event that `carried` does not show yet.
    quiet_ls : ndarray of int64, shape (layers, samples)
        In how many more steps in which nothing arrives a layer surely sends nothing on; 0 where
        nothing is known.
    """

    samples: int
    carried: list[Carried]
    owed_ls: npt.NDArray[np.int64]
    quiet_ls: npt.NDArray[np.int64]

    def copy(self) -> States:
        """The same, in memory of its own."""
        carried = [None if c is None else c.copy() for c in self.carried]
        return States(self.samples, carried, self.owed_ls.copy(), self.quiet_ls.copy())

    def part(self, samples: slice) -> States:
        """Some of the samples, sharing memory."""
        rows = [None if c is None else c[samples] for c in self.carried]
        owed_ls, quiet_ls = self.owed_ls[:, samples], self.quiet_ls[:, samples]
        return States(samples.stop - samples.start, rows, owed_ls, quiet_ls)

    def let_pass(self, steps: int, layers: slice) -> bool:
        """Let steps pass in which nothing arrives, if surely no such layer sends anything on."""
        quiet_ls = self.quiet_ls[layers]
        if quiet_ls.min(initial=FOREVER) < steps:
            return False
        self.owed_ls[layers] += steps
        quiet_ls[quiet_ls < FOREVER] -= steps
        return True


@dataclass(eq=False)
class Totals:
    """What a run counted, per layer.

    Attributes
    ----------
    layers : ndarray of int64, shape (layers, 3)
        Events in, synaptic operations, events out.
    spikes : ndarray of int64, shape (layers,)
        Spikes without their sign, where an event may hold several.
    """

    layers: npt.NDArray[np.int64]
    spikes: npt.NDArray[np.int64]


@dataclass(eq=False)
class _Part:
    """Some samples over some steps, on their way through the layers."""

    samples: int
    steps: int
    form: Form | None
    threads: int | None
    totals: Totals
    states: States
    # rows in which the last layer sent something on; of others nothing has to be read
    active: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))


class TimeNetwork:
    """A network over time, ready to run, from any number of threads.

    Parameters
    ----------
    spec : NetworkSpec
        A valid one with a time step (`kerasnsoc.artifact.validate`).
    kernel : str, optional
        Kernel row; by default `kerasnsoc.runtime.plan.chosen_kernel`.

    Attributes
    ----------
    names : tuple of str
        Of the layers.
    output_layer : LayerSpec
        The last layer as it was packed.
    """

    def __init__(self, spec: NetworkSpec, *, kernel: str | None = None) -> None:
        if spec.time_step is None:
            raise ValueError("the network has no time_step; it runs in one pass")
        self.names = tuple(layer.name for layer in spec.layers)
        self.output_layer = spec.layers[-1]
        self.time_step = spec.time_step
        bounds = network_bounds(spec)
        self._dims: dict[str, Dims] = {}
        self._is_flat: dict[str, bool] = {}
        self._stages: list[_Stage] = []
        ranges: dict[str, tuple[int, int]] = {}
        for layer in spec.layers:
            source = layer.inbounds[0] if layer.inbounds else ""
            incoming = [self._dims[source]] if source else []
            outgoing = output_dims(layer.parameters, incoming)
            ranges[layer.name] = bounds[layer.name].output_range
            self._dims[layer.name] = outgoing
            self._is_flat[layer.name] = _is_flat(
                layer, outgoing, bool(source) and self._is_flat[source]
            )
            arriving = ranges.get(source, (0, LARGEST_BYTE))
            p = layer.parameters
            stage: _Stage
            if isinstance(p, InputDataParameters):
                stage = _Input(layer)
            elif isinstance(p, PoolingParameters):
                stage = _Pool(layer, p, incoming[0], ranges[layer.name])
            elif isinstance(p, FilterParameters):
                stage = _Filter(layer, p, spec.time_step)
            else:
                dims = incoming[0] if incoming else None
                stage = _Weights(layer, dims, outgoing, arriving, ranges[layer.name], kernel)
            stage.inputs = math.prod(incoming[0]) if incoming else _inputs(p)
            stage.outputs = math.prod(outgoing)
            self._stages.append(stage)
        self._largest = max(stage.values for stage in self._stages)

    @property
    def plan_nbytes(self) -> int:
        """Size of the buffers of the kernels that each running thread needs."""
        return sum(stage.nbytes for stage in self._stages)

    @property
    def packed_nbytes(self) -> int:
        """Size of the packed weights and tables, which all threads share."""
        return sum(stage.packed_nbytes for stage in self._stages)

    @property
    def kernels(self) -> list[tuple[str, str, str]]:
        """Layer, kernel row and form of each layer with weights."""
        return [entry for stage in self._stages for entry in stage.kernels]

    def start(self, samples: int) -> States:
        """The artifact's initial potentials, for a number of samples."""
        carried = [stage.start(samples) for stage in self._stages]
        quiet_ls = np.repeat(np.array([[stage.quiet] for stage in self._stages]), samples, axis=1)
        return States(samples, carried, np.zeros_like(quiet_ls), quiet_ls)

    def run(
        self,
        inputs_sti: npt.NDArray[np.uint8],
        states: States,
        *,
        trace: bool = False,
        form: Form | None = None,
        threads: int | None = None,
    ) -> tuple[dict[str, Values], Totals]:
        """Run a batch of sequences; `states` is brought forward.

        Parameters
        ----------
        inputs_sti : ndarray of uint8, shape (samples, steps, inputs)
            In the layout that the first layer takes.
        states : States
            Of as many samples.
        trace : bool
            Whether to return the outputs of all layers rather than of the last one.
        form, threads
            As of `kerasnsoc.runtime.Model.forward`.

        Returns
        -------
        outputs : dict of str to ndarray
            (samples, steps, height, width, features), or (samples, steps, features): int32 spikes
            or potentials, uint8 activations and inputs, float32 values of a filter.
        totals : Totals
        """
        samples, steps = inputs_sti.shape[:2]
        totals = Totals(
            np.zeros((len(self.names), 3), np.int64), np.zeros(len(self.names), np.int64)
        )
        wanted = self._stages if trace else self._stages[-1:]
        collected = {
            stage.name: np.zeros((samples, steps, stage.outputs), stage.returned)
            for stage in wanted
        }
        for some, spans in _parts(samples, steps, max(1, VALUES_AT_ONCE // self._largest)):
            states_part = states.part(some)
            for span in spans:
                part = _Part(
                    some.stop - some.start,
                    span.stop - span.start,
                    form,
                    threads,
                    totals,
                    states_part,
                )
                rows = np.ascontiguousarray(inputs_sti[some, span])
                for name, values in self._run_part(rows, part, collected):
                    collected[name][some, span] = values
        return {name: self._in_keras_layout(name, v) for name, v in collected.items()}, totals

    def _run_part(
        self, inputs_sti: npt.NDArray[np.uint8], part: _Part, wanted: Container[str]
    ) -> Iterator[tuple[str, Values]]:
        """Outputs of the wanted layers that sent something on, (samples, steps, outputs)."""
        rows = inputs_sti.reshape(part.samples * part.steps, -1)
        part.active = has_events(rows)
        values = rows if part.active.any() else None
        if values is None and part.states.let_pass(part.steps, slice(None)):
            return
        for index, stage in enumerate(self._stages):
            # a chain: each layer is fed by the one before
            if values is None and part.states.let_pass(part.steps, slice(index, index + 1)):
                continue
            if values is None:
                values = stage.nothing(part)
            values = stage.run(index, values, part)
            if not part.active.any():
                values = None
            elif stage.name in wanted:
                yield stage.name, values.reshape(part.samples, part.steps, -1)

    def _in_keras_layout(self, name: str, values_sto: Values) -> Values:
        if self._is_flat[name]:
            return values_sto
        shape = (*values_sto.shape[:2], *self._dims[name])
        return np.ascontiguousarray(values_sto.reshape(shape).transpose(0, 1, 3, 2, 4))


def _inputs(p: Any) -> int:
    """Values of one step that an input layer takes."""
    return int(p.input_width * p.input_height * p.input_channels)


def _is_flat(layer: LayerSpec, dims: Dims, source_is_flat: bool) -> bool:
    """Whether the Keras layer behind this one returns vectors rather than maps."""
    p = layer.parameters
    if isinstance(p, FullyConnectedParameters):
        return True
    if isinstance(p, InputDataParameters):
        return dims[:2] == (1, 1)
    if isinstance(p, FilterParameters):
        return source_is_flat
    assert isinstance(p, SpatialParameters | PoolingParameters)
    is_global = p.pooling_type is not PoolingType.NoPooling
    return is_global and p.pooling_width == p.pooling_height == -1


def _parts(samples: int, steps: int, rows: int) -> Iterator[tuple[slice, list[slice]]]:
    """Groups of samples with their spans of time, of at most so many rows."""
    if not samples or not steps:
        return
    group = max(1, min(samples, rows // steps))
    length = min(steps, max(1, rows // group))
    spans = [slice(begin, min(begin + length, steps)) for begin in range(0, steps, length)]
    for first in range(0, samples, group):
        yield slice(first, min(first + group, samples)), spans


class _Stage:
    """One layer; `run` takes and gives one row per sample and step, steps of a sample together."""

    returned: type[np.generic] = np.int32
    """Type of what a caller gets."""

    nbytes = packed_nbytes = 0

    kernels: Sequence[tuple[str, str, str]] = ()

    quiet = FOREVER
    """Before the first step, see `States.quiet_ls`."""

    def __init__(self, layer: LayerSpec) -> None:
        self.name = layer.name
        self.inputs = self.outputs = 0

    @property
    def values(self) -> int:
        """Values per row that are held while it runs."""
        return self.outputs

    def start(self, samples: int) -> Carried:
        """What is carried before the first step."""
        return None

    def nothing(self, part: _Part) -> Values:
        """Rows without an event."""
        return np.zeros((part.samples * part.steps, self.inputs), np.uint8)

    def run(self, index: int, values: Values, part: _Part) -> Values:
        raise NotImplementedError


class _Input(_Stage):
    """Passes its input."""

    returned = np.uint8

    def run(self, index: int, values: Values, part: _Part) -> Values:
        events = int(np.count_nonzero(values))
        part.totals.layers[index] += (events, 0, events)
        part.totals.spikes[index] += int(values.sum(dtype=np.int64))
        return values


class _Weights(_Stage):
    """Potentials of a layer with weights, and what its neurons make of them."""

    def __init__(
        self,
        layer: LayerSpec,
        incoming: Dims | None,
        outgoing: Dims,
        arriving: tuple[int, int],
        sent_on: tuple[int, int],
        kernel: str | None,
    ) -> None:
        super().__init__(layer)
        p = layer.parameters
        assert isinstance(p, ActivationParameters)
        # the kernels take bytes; what does not fit goes through in several passes, whose sums are
        # pooled and compared with thresholds afterwards
        self._is_byte = arriving[0] >= 0 and arriving[1] <= LARGEST_BYTE
        self._is_graded = layer.neuron is None and p.activations_enabled
        self._afterwards = replace(p, activations_enabled=self._is_graded)
        self._variables, self._input_dims = layer.variables, incoming
        changes: dict[str, Any] = {"activations_enabled": self._is_graded and self._is_byte}
        if not self._is_byte and isinstance(p, SpatialParameters):
            changes |= {
                "pooling_type": PoolingType.NoPooling,
                "pooling_width": -1,
                "pooling_height": -1,
                "pooling_stride_x": -1,
                "pooling_stride_y": -1,
            }
        plain = LayerSpec(
            layer.name, replace(p, **changes), ("input",) if incoming else (), layer.variables
        )
        specs: tuple[LayerSpec, ...] = (plain,)
        if incoming is not None:
            bits = max(1, arriving[1].bit_length()) if self._is_byte else 8
            width, height, channels = incoming
            name = "input" if layer.name != "input" else "input_"
            source = InputDataParameters(
                input_width=width, input_height=height, input_channels=channels, input_bits=bits
            )
            plain = replace(plain, inbounds=(name,))
            specs = (LayerSpec(name, source), plain)
        self._compiled = CompiledNetwork(NetworkSpec(specs), kernel=kernel)
        width, height = output_dims(plain.parameters, [incoming] if incoming else [])[:2]
        self._held = width * height * outgoing[2]
        # padding that is not 0 makes potentials without any event, thresholds may let 0 pass
        self._is_silent_at_rest = not self._is_graded and not (
            isinstance(p, InputConvolutionalParameters) and p.padding_value
        )
        self._sends_bytes = sent_on[0] >= 0 and sent_on[1] <= LARGEST_BYTE
        self.nbytes = self._compiled.plan_nbytes
        self.packed_nbytes = self._compiled.packed_nbytes
        self.kernels = self._compiled.kernels
        self._neurons: Neurons | None = None
        neuron = layer.neuron
        if neuron is not None:
            self._neurons = Neurons(
                layer.variables["spike_threshold"],
                layer.variables["bias"],
                layer.variables["lowest_potential"],
                rule=neuron.rule,
                max_spikes=neuron.max_spikes,
                zero_reset=neuron.reset == "zero",
                rectify=neuron.rectify,
                shift=neuron.shift,
            )
            self._initial = layer.variables["initial_potential"].reshape(-1)
            self.quiet = self._neurons.quiet(self._initial)
        if not self._is_silent_at_rest:
            self.quiet = 0
        if self._is_graded:
            self.returned = np.uint8

    @property
    def values(self) -> int:
        return max(self.outputs, self._held)

    def start(self, samples: int) -> Carried:
        if self._neurons is None:
            return None
        return np.repeat(self._initial[np.newaxis], samples, axis=0)

    def run(self, index: int, values: Values, part: _Part) -> Values:
        is_active = part.active
        if not self._is_silent_at_rest:
            is_active = np.ones_like(is_active)
        active = np.flatnonzero(is_active)
        rows = values if len(active) == len(values) else values[active]
        results, counts = self._results(rows, part)
        events_in, synaptic_ops, events_out = counts
        if self._neurons is None:
            spikes_out = int(results.sum(dtype=np.int64)) if self._is_graded else 0
            if len(active) < len(values):
                spread = np.zeros((len(values), self.outputs), results.dtype)
                spread[active] = results
                results = spread
            part.active = has_events(results) if self._is_graded else is_active
            part.totals.layers[index] += (events_in, synaptic_ops, events_out)
            part.totals.spikes[index] += spikes_out
            return results
        row_of_step = np.full(len(values), -1, np.int64)
        row_of_step[active] = np.arange(len(active))
        carried = part.states.carried[index]
        assert carried is not None
        spikes = np.zeros(
            (part.samples, part.steps, self.outputs), np.uint8 if self._sends_bytes else np.int32
        )
        fired = np.empty((part.samples, part.steps, 2), np.int64)
        self._neurons.integrate(
            results,
            row_of_step.reshape(part.samples, part.steps),
            carried,
            spikes,
            fired,
            part.states.owed_ls[index],
            part.states.quiet_ls[index],
        )
        if not self._is_silent_at_rest:
            part.states.quiet_ls[index] = 0
        part.active = fired[:, :, 0].reshape(-1) > 0
        events_out, spikes_out = (int(n) for n in fired.sum(axis=(0, 1)))
        part.totals.layers[index] += (events_in, synaptic_ops, events_out)
        part.totals.spikes[index] += spikes_out
        return spikes.reshape(len(values), self.outputs)

    def _results(self, rows: Values, part: _Part) -> tuple[Values, tuple[int, int, int]]:
        """Potentials or activations of some rows; events in, synaptic operations, events out."""
        if not len(rows):
            return np.zeros((0, self.outputs), self.returned), (0, 0, 0)
        if self._is_byte:
            outputs, totals_lk = run_batch(
                self._compiled, rows, form=part.form, threads=part.threads
            )
            events_in, synaptic_ops, events_out = (int(n) for n in totals_lk[-1])
            return outputs.reshape(len(rows), -1), (events_in, synaptic_ops, events_out)
        total: Values | None = None
        events_in = synaptic_ops = 0
        for sign in (1, -1):
            rest = np.maximum(rows if sign > 0 else -rows, 0)
            weight = sign
            while rest.any() or (total is None and sign > 0):
                # digits of base 255 from 1 to 255: the first pass meets every event once
                digits = np.where(rest > 0, (rest - 1) % LARGEST_BYTE + 1, 0).astype(np.uint8)
                outputs, totals_lk = run_batch(
                    self._compiled, digits, form=part.form, threads=part.threads
                )
                if abs(weight) == 1:
                    events_in += int(totals_lk[-1][0])
                    synaptic_ops += int(totals_lk[-1][1])
                # partial sums are proven to fit: each has fewer terms of one sign
                total = outputs * np.int32(weight) + (0 if total is None else total)
                rest = (rest - digits) // LARGEST_BYTE
                weight *= LARGEST_BYTE
        assert total is not None
        assert self._input_dims is not None
        total = emitted(self._afterwards, self._variables, self._input_dims, total)
        total = np.ascontiguousarray(total).reshape(len(rows), -1)
        return total, (events_in, synaptic_ops, int(np.count_nonzero(total)))


class _Pool(_Stage):
    """Pools spikes or activations."""

    def __init__(
        self, layer: LayerSpec, p: PoolingParameters, dims: Dims, sent_on: tuple[int, int]
    ) -> None:
        super().__init__(layer)
        self._dims = dims
        self._windows = pooling_windows(p, dims[:2])
        self._reduce = np.maximum if p.pooling_type is PoolingType.Max else np.add
        self._is_byte = sent_on[0] >= 0 and sent_on[1] <= LARGEST_BYTE

    @property
    def values(self) -> int:
        return math.prod(self._dims)

    def run(self, index: int, values: Values, part: _Part) -> Values:
        active = np.flatnonzero(part.active)
        result = np.zeros((len(values), self.outputs), np.uint8 if self._is_byte else np.int32)
        rows = values[active]
        events_out = 0
        if len(active):
            maps = rows.reshape(len(rows), *self._dims).astype(np.int32)
            for axis, window in zip((1, 2), self._windows, strict=True):
                maps = pooled_along(maps, axis, window, self._reduce)
            result[active] = maps.reshape(len(rows), -1)
            events_out = int(np.count_nonzero(maps))
            part.totals.spikes[index] += int(np.abs(maps).sum(dtype=np.int64))
        part.totals.layers[index] += (int(np.count_nonzero(rows)), 0, events_out)
        return result


@contextmanager
def _finite(name: str) -> Iterator[None]:
    """Turn results beyond the range of floats into errors: a file may state any finite number."""
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            yield
    except FloatingPointError as error:
        raise OverflowError(
            f"layer {name!r}: the filter leaves the range of floats ({error}). Check its tau, "
            "initial_level, output_scale and output_shift."
        ) from None


class _Filter(_Stage):
    """A linear filter on real values, in double precision."""

    returned = np.float32
    quiet = 0  # its levels decay

    def __init__(self, layer: LayerSpec, p: FilterParameters, time_step: float) -> None:
        super().__init__(layer)
        self._order = p.order
        tau = np.maximum(layer.variables["tau"].reshape(-1), SMALLEST_TAU)
        with _finite(layer.name):
            self._dt, self._q = time_step, time_step / tau
            self._kept = np.exp(-self._q)
            self._slope = self._kept * (self._q / tau)
        self._level = layer.variables["initial_level"].reshape(-1)
        positions = self._level.size // layer.variables["output_scale"].size
        self._scale = np.tile(layer.variables["output_scale"], positions)
        self._shift = np.tile(layer.variables["output_shift"], positions)

    def start(self, samples: int) -> Carried:
        carried = np.zeros((samples, 2, self._level.size))
        carried[:, 1] = self._level
        return carried

    def run(self, index: int, values: Values, part: _Part) -> Values:
        with _finite(self.name):
            return self._filtered(index, values, part)

    def _filtered(self, index: int, values: Values, part: _Part) -> Values:
        part.active = np.ones_like(part.active)
        x_sto = (values * self._scale + self._shift).reshape(part.samples, part.steps, -1)
        y_sto = np.empty(x_sto.shape, np.float32)
        carried = part.states.carried[index]
        assert carried is not None
        d, y = carried[:, 0], carried[:, 1]
        for step in range(part.steps):
            x = x_sto[:, step]
            if self._order == 1:
                y[:] = -np.expm1(-self._q) * x + self._kept * y
            else:
                gain = -np.expm1(-self._q) - self._kept * self._q
                changed = self._kept * (1 - self._q) * d + self._slope * (x - y)
                y[:] = self._kept * self._dt * d + self._kept * (1 + self._q) * y + gain * x
                d[:] = changed
            y_sto[:, step] = y
        events = int(np.count_nonzero(values))
        part.totals.layers[index] += (events, 0, int(np.count_nonzero(y_sto)))
        return y_sto.reshape(len(values), -1)
