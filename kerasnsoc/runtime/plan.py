"""From a network's description to packed weights, threshold tables and plans that run it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import astuple, fields, is_dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.bounds import network_bounds
from kerasnsoc.artifact.geometry import Dims, SpatialGeometry, output_dims, spatial_geometry
from kerasnsoc.artifact.limits import INT32_MAX, INT32_MIN
from kerasnsoc.artifact.schema import (
    ActivationParameters,
    ConcatParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    PoolingType,
    SeparableConvolutionalParameters,
    SpatialParameters,
)
from kerasnsoc.runtime.counts import connections
from kerasnsoc.runtime.tuning import crossover
from kerasnsoc_ext import Caller, Network, Plan, available_kernels

Form: TypeAlias = Literal["auto", "dense", "events"]

FORMS: tuple[Form, ...] = ("auto", "dense", "events")
KERNELS = ("scalar", "avx2", "avx512vnni", "amx", "neon", "neon_dotprod", "neon_i8mm")
"""All kernel rows that a build for some CPU may have."""


LARGEST_NARROW_SUM = INT32_MAX
"""Layers whose partial sums may be larger accumulate in 64 bits."""

WORK_PER_THREAD = 1 << 21
"""Synapses of a batch that are worth a thread: about a millisecond, against a tenth to start it."""

SHARE_SAMPLES = 64
"""Samples that `CompiledNetwork.run_share` takes at most; its counters are kept for so many."""


def chosen_kernel() -> str:
    """The kernel row that ``KERASNSOC_KERNEL`` asks for, by default the fastest one.

    Raises
    ------
    ValueError
        If there is no such row, or this CPU or build cannot run it.
    """
    available = available_kernels()
    asked = os.environ.get("KERASNSOC_KERNEL", "")
    if not asked:
        return available[0]
    if asked not in KERNELS:
        raise ValueError(
            f"KERASNSOC_KERNEL is {asked!r}, but must be one of {', '.join(KERNELS)}. "
            f"Unset it to take the fastest."
        )
    if asked not in available:
        raise ValueError(
            f"KERASNSOC_KERNEL is {asked!r}, which this CPU or this build does not run; "
            f"available are: {', '.join(available)}. Unset it to take the fastest."
        )
    return asked


def chosen_form(form: Form | None = None) -> Form:
    """The form of the kernels: the argument, else ``KERASNSOC_FORM``, else ``auto``.

    Raises
    ------
    ValueError
        If it is none of ``auto``, ``dense`` and ``events``.
    """
    source = "form" if form is not None else "KERASNSOC_FORM"
    asked = form if form is not None else os.environ.get("KERASNSOC_FORM") or "auto"
    for known in FORMS:
        if asked == known:
            return known
    raise ValueError(f"{source} is {asked!r}, but must be one of {', '.join(FORMS)}")


def threshold_table(
    parameters: ActivationParameters, variables: Mapping[str, npt.NDArray[Any]]
) -> npt.NDArray[np.int32]:
    """Potentials above which each activation level begins.

    An explicit table is returned as it is. Otherwise level m begins above
    ``threshold + floor((m - 1) * step * 16 / 2**bits)``: the step is the interval between two
    levels of a 4-bit activation.

    Parameters
    ----------
    parameters : ActivationParameters
    variables : mapping of str to ndarray

    Returns
    -------
    thresholds_nm : ndarray of int32, shape (neurons, 2**bits - 1)
        The level of a potential is the number of entries in its neuron's row that it exceeds.
    """
    if "thresholds" in variables:
        table: npt.NDArray[np.int32] = variables["thresholds"]
        return table
    bits = parameters.threshold_fire_bits
    # Exact in float64: a float32 has 24 bits, the power of two shifts them, m - 1 adds at most 8.
    interval_n = variables["threshold_fire_step"].astype(np.float64) * (16.0 / 2**bits)
    offset_nm = np.floor(interval_n[:, None] * np.arange(2**bits - 1))
    # Whatever lies 2**32 above any threshold saturates; clipping first keeps int64 exact.
    offset_nm = np.minimum(offset_nm, 2.0**32).astype(np.int64)
    exact_nm = variables["threshold_fire"].astype(np.int64)[:, None] + offset_nm
    return np.asarray(np.clip(exact_nm, INT32_MIN, INT32_MAX), np.int32)


class CompiledNetwork:
    """A network ready to run, from any number of threads.

    Weights are packed once and shared; each thread that runs takes a plan with buffers of its own
    and puts it back.

    Parameters
    ----------
    spec : NetworkSpec
        A valid one (`kerasnsoc.artifact.validate`).
    kernel : str, optional
        Kernel row; by default `chosen_kernel`.

    Attributes
    ----------
    names : tuple of str
        Of the layers.
    output_layer : LayerSpec
        The last layer as it was packed, whatever the model's layer becomes meanwhile.
    synapses : int
        Connections of one sample.
    call : kerasnsoc_ext.Caller
        The short way to run what needs neither conversion nor a second thread.
    """

    def __init__(self, spec: NetworkSpec, *, kernel: str | None = None) -> None:
        kernel = chosen_kernel() if kernel is None else kernel
        self._network = Network(kernel, crossover(kernel))
        self.names = tuple(layer.name for layer in spec.layers)
        self.output_layer = spec.layers[-1]
        bounds = network_bounds(spec)
        index = {name: op for op, name in enumerate(self.names)}
        dims: dict[str, Dims] = {}
        self.synapses = 0
        for layer in spec.layers:
            sources = [index[name] for name in layer.inbounds]
            inputs = [dims[name] for name in layer.inbounds]
            wide = bounds[layer.name].partial > LARGEST_NARROW_SUM
            _add(self._network, layer, sources, inputs, wide)
            dims[layer.name] = output_dims(layer.parameters, inputs)
            self.synapses += connections(layer.parameters, _incoming(layer, inputs, dims))
        self._own = {_place(values) for layer in spec.layers for values in layer.variables.values()}
        # Appending to and popping from a deque is atomic: no lock that a fork could leave locked.
        self._plans: deque[Plan] = deque()
        self._counters: deque[npt.NDArray[np.int64]] = deque()
        alone = (2 * WORK_PER_THREAD - 1) // max(1, self.synapses)
        self.call = Caller(self._network, self._plans, max(1, alone))

    @property
    def kernel(self) -> str:
        """Name of the kernel row."""
        return self._network.kernel

    @property
    def plan_nbytes(self) -> int:
        """Size of the buffers that each running thread needs."""
        plan = self._take_plan()
        self._plans.append(plan)
        return plan.nbytes

    @property
    def packed_nbytes(self) -> int:
        """Size of the weights and tables as the kernels want them, without the layers' own arrays.

        They are made once and shared by all threads.
        """
        # by place in memory, since several ops may share an array
        packed = {_place(a): a.nbytes for a in _arrays_of(self._network.held()) if a.nbytes}
        return sum(size for place, size in packed.items() if place not in self._own)

    def new_outputs(self, samples: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """An array for the last layer's outputs, and the same memory as one row per sample.

        Parameters
        ----------
        samples : int

        Returns
        -------
        outputs : ndarray, shape (samples, width, height, features)
        outputs_so : ndarray, shape (samples, outputs)
        """
        return self._new_outputs(samples, len(self._network) - 1)

    def run_share(
        self, inputs_si: npt.NDArray[np.uint8], outputs_so: npt.NDArray[Any], form: Form
    ) -> npt.NDArray[np.int64]:
        """Run a few samples into an array that exists, and sum up their counters.

        Parameters
        ----------
        inputs_si : ndarray of uint8, shape (samples, inputs), C-contiguous
            At most `SHARE_SAMPLES` samples.
        outputs_so : ndarray, shape (samples, outputs), C-contiguous
            Rows of `new_outputs`.
        form : {"auto", "dense", "events"}

        Returns
        -------
        totals_lk : ndarray of int64, shape (layers, 3)
            Events in, synaptic operations, events out, of all samples.

        Raises
        ------
        OverflowError
            If a potential leaves 32 bits; the sample is counted from the first of these.
        """
        count = len(self._network)
        try:
            kept_slk = self._counters.pop()
        except IndexError:
            kept_slk = np.empty((SHARE_SAMPLES, count, 3), np.int64)
        plan = self._take_plan()
        try:
            counters_slk = kept_slk[: len(inputs_si)]
            plan.run(inputs_si, [None] * (count - 1) + [outputs_so], counters_slk, form)
            totals_lk: npt.NDArray[np.int64] = counters_slk.sum(axis=0)
        finally:
            self._plans.append(plan)
            self._counters.append(kept_slk)
        return totals_lk

    def run(
        self,
        inputs_si: npt.NDArray[np.uint8],
        *,
        trace: bool = False,
        form: Form | None = None,
    ) -> tuple[list[npt.NDArray[Any] | None], npt.NDArray[np.int64]]:
        """Run a batch.

        Parameters
        ----------
        inputs_si : ndarray of uint8, shape (samples, inputs), C-contiguous
            In the layout that the first layer takes.
        trace : bool
            Whether to return the outputs of all layers rather than of the last one.
        form : {"auto", "dense", "events"}, optional
            See `chosen_form`. The results do not depend on it.

        Returns
        -------
        outputs : list, one entry per layer
            Arrays of shape (samples, width, height, features), or None for those not asked for.
        counters_slk : ndarray of int64, shape (samples, layers, 3)
            Events in, synaptic operations, events out.
        """
        form = chosen_form(form)
        samples, count = len(inputs_si), len(self._network)
        outputs: list[npt.NDArray[Any] | None] = [None] * count
        flat: list[npt.NDArray[Any] | None] = [None] * count
        for op in range(0 if trace else count - 1, count):
            outputs[op], flat[op] = self._new_outputs(samples, op)
        counters_slk = np.empty((samples, count, 3), np.int64)
        plan = self._take_plan()
        try:
            plan.run(inputs_si, flat, counters_slk, form)
        finally:
            self._plans.append(plan)
        return outputs, counters_slk

    def _take_plan(self) -> Plan:
        try:
            return self._plans.pop()
        except IndexError:
            return Plan(self._network)

    def _new_outputs(self, samples: int, op: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        dims = self._network.output_dims(op)
        dtype = np.int32 if self._network.emits_potentials(op) else np.uint8
        outputs = np.empty((samples, *dims), dtype)
        return outputs, outputs.reshape(samples, dims[0] * dims[1] * dims[2])


def _arrays_of(held: Any) -> Iterator[npt.NDArray[Any]]:
    """All arrays in lists and records of them."""
    if isinstance(held, list | tuple):
        for item in held:
            yield from _arrays_of(item)
    elif is_dataclass(held):
        for entry in fields(held):
            yield from _arrays_of(getattr(held, entry.name))
    elif hasattr(held, "nbytes"):  # an array, or a view that a kernel's module took of one
        yield np.asarray(held)


def _place(array: npt.NDArray[Any]) -> int:
    place: int = array.__array_interface__["data"][0]
    return place


def _incoming(layer: LayerSpec, inputs: list[Dims], dims: dict[str, Dims]) -> Dims:
    """Dims of what a layer takes; an input layer knows them itself, a Concat takes its own map."""
    if isinstance(layer.parameters, InputConvolutionalParameters):
        p = layer.parameters
        return p.input_width, p.input_height, p.input_channels
    return inputs[0] if len(inputs) == 1 else dims[layer.name]


def _add(
    network: Network, layer: LayerSpec, sources: list[int], inputs: list[Dims], wide: bool
) -> None:
    """Append one layer to the network of ops."""
    p, variables = layer.parameters, layer.variables
    if isinstance(p, InputDataParameters):
        largest = 2**p.input_bits - 1
        network.add_input(layer.name, p.input_width, p.input_height, p.input_channels, largest)
        return
    assert isinstance(p, ActivationParameters)
    thresholds_mn = None
    if p.activations_enabled:
        # one row per level, so that the kernels compare many neurons at a time
        thresholds_mn = np.ascontiguousarray(threshold_table(p, variables).T)
    if isinstance(p, ConcatParameters):
        network.add_concat(layer.name, sources, thresholds_mn)
    elif isinstance(p, FullyConnectedParameters):
        weights_en = _feature_last(variables["weights"], inputs[0])
        network.add_fully_connected(layer.name, sources[0], weights_en, thresholds_mn, wide)
    elif isinstance(p, SeparableConvolutionalParameters):
        geometry = spatial_geometry(p, inputs[0][:2])
        network.add_separable(
            layer.name,
            sources[0],
            astuple(geometry.conv_x),
            astuple(geometry.conv_y),
            _reversed(variables["weights"])[:, :, :, 0],
            np.ascontiguousarray(variables["weights_pw"][0, 0]),
            _pooling(p, geometry),
            thresholds_mn,
            wide,
        )
    elif isinstance(p, InputConvolutionalParameters):
        geometry = spatial_geometry(p, (p.input_width, p.input_height))
        padding_xyn = None
        if p.padding_value:
            # a padding cell has the same value in every channel
            per_tap_xyn = variables["weights"].sum(axis=2, dtype=np.int32)
            padding_xyn = per_tap_xyn * np.int32(p.padding_value)
        network.add_convolution(
            layer.name,
            None,
            astuple(geometry.conv_x),
            astuple(geometry.conv_y),
            np.ascontiguousarray(variables["weights"]),
            padding_xyn,
            _pooling(p, geometry),
            thresholds_mn,
            wide,
            p.padding_value,
        )
    else:
        assert isinstance(p, SpatialParameters)
        geometry = spatial_geometry(p, inputs[0][:2])
        network.add_convolution(
            layer.name,
            sources[0],
            astuple(geometry.conv_x),
            astuple(geometry.conv_y),
            _reversed(variables["weights"]),
            None,
            _pooling(p, geometry),
            thresholds_mn,
            wide,
        )


def _reversed(weights_xycn: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Kernels of inner layers are stored as an event scatters them; the ops correlate."""
    return np.ascontiguousarray(weights_xycn[::-1, ::-1])


def _feature_last(weights: npt.NDArray[np.int8], dims: Dims) -> npt.NDArray[np.int8]:
    """Rows in the order (feature, y, x), x fastest, become rows in the order (x, y, feature)."""
    width, height, features = dims
    neurons = weights.shape[3]
    weights_cyxn = weights.reshape(features, height, width, neurons)
    return np.ascontiguousarray(weights_cyxn.transpose(2, 1, 0, 3)).reshape(-1, neurons)


def _pooling(p: SpatialParameters, geometry: SpatialGeometry) -> Any:
    if geometry.pool_x is None or geometry.pool_y is None:
        return None
    kind = "max" if p.pooling_type is PoolingType.Max else "sum"
    return kind, astuple(geometry.pool_x), astuple(geometry.pool_y)
