"""Integrate-and-fire neurons that train through a surrogate gradient."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasnsoc.spiking import surrogates
from kerasnsoc.spiking._numerics import product, straight_through
from kerasnsoc.spiking.activation import UniformStart, checked_seed
from kerasnsoc.spiking.base import KerasSpikingCell, KerasSpikingLayer, Shape

_RESETS = ("subtract", "zero")


class _NeuronArguments:
    """The checked arguments of a neuron, the same for its cell and its layer."""

    NAMES = ("threshold", "min_v", "reset", "spike_fn", "surrogate", "surrogate_scale", "seed")

    def _set_arguments(
        self,
        threshold: Any,
        min_v: Any,
        reset: str,
        spike_fn: Any,
        surrogate: str,
        surrogate_scale: Any,
        seed: Any,
    ) -> None:
        owner = f"{type(self).__name__} {self.name!r}"  # type: ignore[attr-defined]
        self.threshold = _positive("threshold", threshold, owner)
        if min_v is not None and not (_is_number(min_v) and -math.inf < min_v <= 0):
            raise ValueError(
                f"min_v of {owner} is {min_v!r}, but it must be None or a finite number of at most "
                "0, where potentials start"
            )
        self.min_v = None if min_v is None else float(min_v)
        if reset not in _RESETS:
            raise ValueError(f"reset of {owner} is {reset!r}, but it must be one of {_RESETS}")
        self.reset = reset
        self.spike_fn, self._most_spikes = _checked_spike_fn(spike_fn, owner)
        surrogates.get(surrogate)
        self.surrogate = surrogate
        self.surrogate_scale = _positive("surrogate_scale", surrogate_scale, owner)
        self.seed = checked_seed(seed, owner)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        # Keras's loader of HDF5 files takes any text that names one of its functions for it.
        names = {
            key: value.__name__
            for key, value in config.items()
            if key in ("reset", "surrogate") and callable(value)
        }
        return super().from_config({**config, **names})  # type: ignore[misc]

    def _arguments(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.NAMES}
        if isinstance(self.spike_fn, tuple):
            values["spike_fn"] = list(self.spike_fn)  # what JSON makes of it
        return values


class _NeuronCell(_NeuronArguments, KerasSpikingCell):
    """Fire and reset; subclasses integrate."""

    def __init__(
        self,
        size: Any,
        threshold: float = 1.0,
        *,
        min_v: float | None = None,
        reset: str = "subtract",
        spike_fn: Any = "multi",
        surrogate: str = "fast_sigmoid",
        surrogate_scale: float = 10.0,
        seed: int | None = None,
        dt: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(size, dt=dt, **kwargs)
        self._set_arguments(threshold, min_v, reset, spike_fn, surrogate, surrogate_scale, seed)

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: str | None = None
    ) -> list[Any]:
        """Potentials before the first step: 0, or with a seed uniform on [0, threshold)."""
        batch, dtype = self._batch_and_dtype(inputs, batch_size, dtype)
        if self.seed is None:
            return [ops.zeros((batch, *self.size), dtype=dtype)]
        start = UniformStart(self.seed, self.size).draw(batch, dtype)
        return [ops.multiply(start, self.threshold)]

    def call_inference(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        potential = self._integrate(states[0], inputs)
        spikes, distance = self._fire(potential)
        slope = surrogates.get(self.surrogate)(distance, self.surrogate_scale)
        outputs = straight_through(spikes, slope)
        # The reset passes no gradient on: it would undo that of the spike which caused it.
        spikes = ops.stop_gradient(spikes)
        if self.reset == "subtract":
            potential = ops.subtract(potential, product(spikes, self.threshold))
        else:
            potential = ops.where(ops.greater(spikes, 0), ops.zeros_like(potential), potential)
        if self.min_v is not None:
            potential = ops.maximum(potential, self.min_v)
        return outputs, [potential]

    def _integrate(self, potential: Any, inputs: Any) -> Any:
        raise NotImplementedError

    def _fire(self, potential: Any) -> tuple[Any, Any]:
        """Number of spikes, and how far the potential is above the nearest threshold."""
        v = ops.stop_gradient(potential)
        if self._most_spikes == 1:
            spikes = ops.cast(ops.greater_equal(v, self.threshold), v.dtype)
            return spikes, ops.subtract(potential, self.threshold)
        ratio = ops.divide(v, self.threshold)
        spikes = ops.floor(ratio)
        # The quotient may round up to, or just miss, a whole number; the remainder tells.
        rest = ops.subtract(v, product(spikes, self.threshold))
        spikes = ops.add(spikes, ops.cast(ops.greater_equal(rest, self.threshold), v.dtype))
        spikes = ops.subtract(spikes, ops.cast(ops.less(rest, 0), v.dtype))
        nearest = ops.maximum(ops.round(ratio), 1)
        spikes = ops.maximum(spikes, 0)
        if self._most_spikes is not None:
            nearest = ops.minimum(nearest, self._most_spikes)
            spikes = ops.minimum(spikes, self._most_spikes)
        return spikes, ops.subtract(potential, ops.multiply(nearest, self.threshold))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._arguments()}


@keras.saving.register_keras_serializable(package="kerasnsoc")
class IAFCell(_NeuronCell):
    """One time step of `IAF`.

    Parameters
    ----------
    size : int or tuple of int
        Shape of one sample.
    threshold, min_v, reset, spike_fn, surrogate, surrogate_scale, seed, dt
        As of `IAF`.
    **kwargs
        As of `keras.layers.Layer`.

    Notes
    -----
    *Input shape*: (batch, \\*size). *Output shape*: the same; the state is the potential.
    """

    def _integrate(self, potential: Any, inputs: Any) -> Any:
        return ops.add(potential, inputs)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class LIFCell(_NeuronCell):
    """One time step of `LIF`.

    Parameters
    ----------
    size : int or tuple of int
        Shape of one sample.
    tau : float
        Time constant of the leak in seconds.
    threshold, min_v, reset, spike_fn, surrogate, surrogate_scale, scale_input, seed, dt
        As of `LIF`.
    **kwargs
        As of `keras.layers.Layer`.

    Notes
    -----
    *Input shape*: (batch, \\*size). *Output shape*: the same; the state is the potential.
    """

    def __init__(
        self,
        size: Any,
        tau: float,
        threshold: float = 1.0,
        *,
        scale_input: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(size, threshold, **kwargs)
        self.tau = _positive("tau", tau, f"cell {self.name!r}")
        self.scale_input = scale_input

    def _integrate(self, potential: Any, inputs: Any) -> Any:
        kept, gain = self._leak()
        if self.scale_input:
            inputs = product(inputs, gain)
        return ops.add(product(potential, kept), inputs)

    def _leak(self) -> tuple[Any, Any]:
        """What is left of a potential after one step, and the complement."""
        dt = self.dt
        if isinstance(dt, float):
            # Compilers have exponentials of their own, which differ in the last place.
            return math.exp(-dt / self.tau), -math.expm1(-dt / self.tau)
        q = ops.divide(self._time_step.tensor(self.compute_dtype), self.tau)
        return ops.exp(-q), ops.negative(ops.expm1(-q))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tau": self.tau, "scale_input": self.scale_input}


class _NeuronLayer(_NeuronArguments, KerasSpikingLayer):
    """The layer of either neuron, with or without a time axis."""

    SPIKE_UNIT = "count"

    def __init__(
        self,
        threshold: float,
        min_v: float | None,
        reset: str,
        spike_fn: Any,
        surrogate: str,
        surrogate_scale: float,
        time_axis: bool,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_arguments(threshold, min_v, reset, spike_fn, surrogate, surrogate_scale, seed)
        if not time_axis and self.time_major:
            raise ValueError(
                f"layer {self.name!r} got time_major=True and time_axis=False, which contradict "
                "each other. Leave out one of them."
            )
        self.time_axis = time_axis

    def build(self, input_shape: Any) -> None:
        super().build(self._sequence_shape(input_shape))

    def call(
        self,
        inputs: Any,
        training: Any = None,
        initial_state: Any = None,
        constants: Any = None,
        mask: Any = None,
    ) -> Any:
        if self.time_axis:
            return super().call(inputs, training, initial_state, constants, mask)
        outputs = super().call(ops.expand_dims(inputs, 1), training, initial_state, constants)
        y, *states = outputs if self.return_state else (outputs,)
        if self.return_sequences:
            y = ops.squeeze(y, 1)
        return (y, *states) if self.return_state else y

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.time_axis:
            return super().compute_output_shape(input_shape)
        batch, _, size = self._checked_shape(self._sequence_shape(input_shape))
        output = (batch, *size)
        return (output, self.state_shape(batch, size)) if self.return_state else output

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        if self.time_axis:
            return super().compute_mask(inputs, previous_mask)
        return [None, None] if self.return_state else None

    def _sequence_shape(self, input_shape: Any) -> Shape:
        shape = tuple(input_shape)
        if self.time_axis:
            return shape
        if len(shape) < 2:
            raise ValueError(
                f"layer {self.name!r} got an input of shape {shape}, but without a time axis it "
                "needs at least two axes (batch, ...)"
            )
        return (shape[0], 1, *shape[1:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._arguments(), "time_axis": self.time_axis}


@keras.saving.register_keras_serializable(package="kerasnsoc")
class IAF(_NeuronLayer):
    """Integrate-and-fire neurons without leak, as neuromorphic chips have them.

    Each unit sums its inputs and answers with a number of spikes per step::

        v = v + x
        n = how often the threshold fits into v, bounded by spike_fn
        v = v - n * threshold      (reset="subtract"), or 0 where n > 0 (reset="zero")
        v = max(v, min_v)

    Training goes through a surrogate of the derivative of ``n`` around the nearest threshold; the
    reset passes no gradient on.

    Parameters
    ----------
    threshold : float
        Above 0.
    min_v : float, optional
        Lowest potential, at most 0; applied after the reset.
    reset : {"subtract", "zero"}
    spike_fn : {"multi", "single", ("max", n)}
        How many spikes a step may hold: any number, one, or `n`.
    surrogate : {"fast_sigmoid", "arctan", "sigmoid", "triangle", "boxcar", "straight_through"}
    surrogate_scale : float
        The greater, the narrower is the surrogate; see `kerasnsoc.spiking.surrogates`.
    time_axis : bool
        If False, inputs are frames (batch, \\*size), and the layer makes one step from its initial
        state; this is how a model for a single frame describes a chip.
    dt : float or Variable, optional
        Seconds per step; None is ``config.default.dt`` at this moment. It has no effect on the
        spikes and says what rate in Hz they are.
    seed : int, optional
        With a seed, potentials start uniform on [0, threshold); without they start at 0.
    return_sequences, return_state, stateful, unroll, time_major
        As of `KerasSpikingLayer`.
    **kwargs
        As of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    *Input shape*: (batch, time, \\*size), or (time, batch, \\*size) if `time_major`, or
    (batch, \\*size) without `time_axis`. *Output shape*: the same, or (batch, \\*size) without
    `return_sequences`; spikes per step. (`SpikingActivation` gives spikes per second.)

    Integers stay exact up to 2**24.

    Examples
    --------
    >>> layer = IAF(threshold=2.0)
    >>> spikes = layer(np.array([[[1.0], [1.0], [5.0], [0.0]]], "float32"))
    >>> [int(n) for n in keras.ops.convert_to_numpy(spikes).ravel()]
    [0, 1, 2, 0]
    """

    def __init__(
        self,
        threshold: float = 1.0,
        min_v: float | None = None,
        reset: str = "subtract",
        spike_fn: Any = "multi",
        surrogate: str = "fast_sigmoid",
        surrogate_scale: float = 10.0,
        time_axis: bool = True,
        *,
        dt: Any = None,
        seed: int | None = None,
        return_sequences: bool = True,
        return_state: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        time_major: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            threshold,
            min_v,
            reset,
            spike_fn,
            surrogate,
            surrogate_scale,
            time_axis,
            seed,
            dt=dt,
            return_sequences=return_sequences,
            return_state=return_state,
            stateful=stateful,
            unroll=unroll,
            time_major=time_major,
            **kwargs,
        )

    def build_cell(self, input_shape: Shape) -> IAFCell:
        return IAFCell(input_shape[2:], **self._arguments(), **self.cell_options)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class LIF(_NeuronLayer):
    """Leaky integrate-and-fire neurons.

    With ``beta = exp(-dt / tau)``, each step begins with the leak and goes on as in `IAF`::

        v = beta * v + (1 - beta) * x      or beta * v + x without scale_input

    Parameters
    ----------
    tau : float
        Time constant of the leak in seconds, above 0.
    threshold, min_v, reset, spike_fn, surrogate, surrogate_scale, time_axis, dt, seed
        As of `IAF`; here `dt` sets the leak per step.
    scale_input : bool
        Whether inputs are weighed so that a constant one is what the potential tends to.
    return_sequences, return_state, stateful, unroll, time_major
        As of `KerasSpikingLayer`.
    **kwargs
        As of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    *Input shape*, *output shape*: as of `IAF`.

    Examples
    --------
    >>> layer = LIF(tau=0.002, dt=0.001, scale_input=False)
    >>> spikes = layer(np.full((1, 5, 1), 0.5, "float32"))
    >>> [int(n) for n in keras.ops.convert_to_numpy(spikes).ravel()]
    [0, 0, 0, 1, 0]
    """

    def __init__(
        self,
        tau: float,
        threshold: float = 1.0,
        min_v: float | None = None,
        reset: str = "subtract",
        spike_fn: Any = "multi",
        surrogate: str = "fast_sigmoid",
        surrogate_scale: float = 10.0,
        time_axis: bool = True,
        *,
        scale_input: bool = True,
        dt: Any = None,
        seed: int | None = None,
        return_sequences: bool = True,
        return_state: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        time_major: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            threshold,
            min_v,
            reset,
            spike_fn,
            surrogate,
            surrogate_scale,
            time_axis,
            seed,
            dt=dt,
            return_sequences=return_sequences,
            return_state=return_state,
            stateful=stateful,
            unroll=unroll,
            time_major=time_major,
            **kwargs,
        )
        self.tau = _positive("tau", tau, f"layer {self.name!r}")
        self.scale_input = scale_input

    def build_cell(self, input_shape: Shape) -> LIFCell:
        return LIFCell(
            input_shape[2:],
            self.tau,
            scale_input=self.scale_input,
            **self._arguments(),
            **self.cell_options,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tau": self.tau, "scale_input": self.scale_input}


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _positive(name: str, value: Any, owner: str) -> float:
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(
            f"{name} of {owner} is {value!r}, but it must be a finite number greater than 0"
        )
    return float(value)


def _checked_spike_fn(spike_fn: Any, owner: str) -> tuple[Any, int | None]:
    """The argument in its normal form, and the most spikes that it allows in a step."""
    if spike_fn == "multi":
        return "multi", None
    if spike_fn == "single":
        return "single", 1
    if isinstance(spike_fn, list | tuple) and len(spike_fn) == 2 and spike_fn[0] == "max":
        most = spike_fn[1]
        if isinstance(most, int | np.integer) and not isinstance(most, bool) and most >= 1:
            return ("max", int(most)), int(most)
    raise ValueError(
        f"spike_fn of {owner} is {spike_fn!r}, but it must be 'multi', 'single' or ('max', n) with "
        "n of at least 1"
    )
