"""First- and second-order low-pass filters with a trainable time constant per unit."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import keras
from keras import ops

from kerasnsoc.spiking.base import KerasSpikingCell, KerasSpikingLayer, Shape

_SMALLEST_TAU = 1e-8
"""Seconds; at and below it a filter lets everything pass."""


def _initializer(identifier: Any) -> Any:
    if isinstance(identifier, Real) and not isinstance(identifier, bool):
        return keras.initializers.Constant(float(identifier))
    return keras.initializers.get(identifier)


def _blend(old: Any, new: Any, gain: Any, kept: Any) -> Any:
    """``old + gain * (new - old)`` for ``gain = 1 - kept``, exact at either end.

    ``gain * new + kept * old`` would miss the value that a constant input settles at, since a small
    gain and its complement do not add up to 1 after rounding. Written as a step towards the new
    value the error vanishes with the distance; of the two ways the one with the smaller factor.
    """
    step = ops.subtract(new, old)
    return ops.where(
        ops.less(gain, 0.5),
        ops.add(old, ops.multiply(gain, step)),
        ops.subtract(new, ops.multiply(kept, step)),
    )


class _FilterCell(KerasSpikingCell):
    """Arguments and weights of both filters; subclasses give the step and the weights' shape."""

    def __init__(
        self,
        size: Any,
        tau_initializer: Any,
        *,
        state_size: int | None = None,
        dt: Any = None,
        apply_during_training: bool = True,
        level_initializer: Any = "zeros",
        initial_level_constraint: Any = None,
        tau_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            size,
            state_size=state_size,
            dt=dt,
            always_use_inference=apply_during_training,
            **kwargs,
        )
        self.apply_during_training = apply_during_training
        self.tau_initializer = _initializer(tau_initializer)
        self.level_initializer = _initializer(level_initializer)
        self.initial_level_constraint = keras.constraints.get(initial_level_constraint)
        self.tau_constraint = keras.constraints.get(tau_constraint)

    @property
    def _weights_shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def build(self, input_shape: Any) -> None:
        self.initial_level = self.add_weight(
            name="initial_level",
            shape=self._weights_shape,
            initializer=self.level_initializer,
            constraint=self.initial_level_constraint,
            trainable=self.apply_during_training,
        )
        self.tau = self.add_weight(
            name="tau",
            shape=self._weights_shape,
            initializer=self.tau_initializer,
            constraint=self.tau_constraint,
            trainable=self.apply_during_training,
        )
        self.built = True

    def call_training(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        return inputs, [states[0]]

    def _dt_and_tau(self) -> tuple[Any, Any]:
        return self._time_step.tensor(self.compute_dtype), ops.maximum(self.tau, _SMALLEST_TAU)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **_filter_config(self)}


class _FilterLayer(KerasSpikingLayer):
    """Arguments of both filters; subclasses name their cell."""

    CELL: type[_FilterCell]

    def __init__(
        self,
        tau_initializer: Any,
        *,
        dt: Any = None,
        apply_during_training: bool = True,
        level_initializer: Any = "zeros",
        initial_level_constraint: Any = None,
        tau_constraint: Any = None,
        return_sequences: bool = True,
        return_state: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        time_major: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            dt=dt,
            return_sequences=return_sequences,
            return_state=return_state,
            stateful=stateful,
            unroll=unroll,
            time_major=time_major,
            **kwargs,
        )
        self.apply_during_training = apply_during_training
        self.tau_initializer = _initializer(tau_initializer)
        self.level_initializer = _initializer(level_initializer)
        self.initial_level_constraint = keras.constraints.get(initial_level_constraint)
        self.tau_constraint = keras.constraints.get(tau_constraint)

    def build_cell(self, input_shape: Shape) -> KerasSpikingCell:
        return self.CELL(
            input_shape[2:],
            self.tau_initializer,
            apply_during_training=self.apply_during_training,
            level_initializer=self.level_initializer,
            initial_level_constraint=self.initial_level_constraint,
            tau_constraint=self.tau_constraint,
            **self.cell_options,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **_filter_config(self)}


def _filter_config(owner: Any) -> dict[str, Any]:
    def constraint(value: Any) -> Any:
        return None if value is None else keras.constraints.serialize(value)

    return {
        "tau_initializer": keras.initializers.serialize(owner.tau_initializer),
        "level_initializer": keras.initializers.serialize(owner.level_initializer),
        "apply_during_training": owner.apply_during_training,
        "initial_level_constraint": constraint(owner.initial_level_constraint),
        "tau_constraint": constraint(owner.tau_constraint),
    }


@keras.saving.register_keras_serializable(package="kerasnsoc")
class LowpassCell(_FilterCell):
    """One time step of `Lowpass`.

    Parameters
    ----------
    size : int or tuple of int
        Shape of one sample.
    tau_initializer : float or initializer
        Time constants in seconds.
    dt, apply_during_training, level_initializer, initial_level_constraint, tau_constraint
        As of `Lowpass`.
    **kwargs
        As of `keras.layers.Layer`.

    Notes
    -----
    *Input shape*: (batch, \\*size). *Output shape*: the same; the state is the output. Weights, in
    this order: ``initial_level`` and ``tau``, both of shape (1, \\*size).
    """

    @property
    def _weights_shape(self) -> tuple[int, ...]:
        return (1, *self.size)

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: str | None = None
    ) -> list[Any]:
        """``initial_level``, repeated over the batch."""
        batch, dtype = self._batch_and_dtype(inputs, batch_size, dtype)
        level = ops.cast(self.initial_level, dtype)
        return [ops.broadcast_to(level, (batch, *self.size))]

    def call_inference(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        dt, tau = self._dt_and_tau()
        q = ops.divide(dt, tau)
        y = _blend(states[0], inputs, gain=ops.negative(ops.expm1(-q)), kept=ops.exp(-q))
        return y, [y]


@keras.saving.register_keras_serializable(package="kerasnsoc")
class Lowpass(_FilterLayer):
    """First-order low-pass filter, one trainable time constant per unit.

    The impulse response ``exp(-t / tau) / tau`` and the transfer function ``1 / (tau * s + 1)``,
    discretized with a zero-order hold and without any further delay::

        a = exp(-dt / tau)
        y[t] = (1 - a) * x[t] + a * y[t - 1]

    Parameters
    ----------
    tau_initializer : float or initializer
        Time constants in seconds. A unit with ``tau <= 1e-8`` lets its input pass.
    dt : float or Variable, optional
        Seconds per step; None is ``config.default.dt`` at this moment.
    apply_during_training : bool
        If False, training lets the input pass, and the weights are not trainable.
    level_initializer : float or initializer
        Output before the first step.
    initial_level_constraint, tau_constraint : constraint, optional
    return_sequences, return_state, stateful, unroll, time_major
        As of `KerasSpikingLayer`.
    **kwargs
        As of `keras.layers.Layer`.

    Notes
    -----
    *Input shape*: (batch, time, \\*size), or (time, batch, \\*size) if `time_major`.
    *Output shape*: the same, or (batch, \\*size) without `return_sequences`.

    Weights, in this order: ``initial_level`` and ``tau``, both of shape (1, \\*size).

    Examples
    --------
    >>> layer = Lowpass(0.1, dt=0.001)
    >>> y = keras.ops.convert_to_numpy(layer(keras.ops.ones((1, 3, 1))))
    >>> [round(float(value), 4) for value in y.ravel()]
    [0.01, 0.0198, 0.0296]
    """

    CELL = LowpassCell


@keras.saving.register_keras_serializable(package="kerasnsoc")
class AlphaCell(_FilterCell):
    """One time step of `Alpha`.

    Parameters
    ----------
    size : int or tuple of int
        Shape of one sample.
    tau_initializer : float or initializer
        Time constants in seconds.
    dt, apply_during_training, level_initializer, initial_level_constraint, tau_constraint
        As of `Alpha`.
    **kwargs
        As of `keras.layers.Layer`.

    Notes
    -----
    *Input shape*: (batch, \\*size). *Output shape*: the same. The state has shape
    (batch, 2 * prod(size)): first the slopes of all units in row-major order, then their outputs.
    Weights, in this order: ``initial_level`` and ``tau``, both of shape (prod(size),).
    """

    def __init__(self, size: Any, tau_initializer: Any, **kwargs: Any) -> None:
        super().__init__(size, tau_initializer, **kwargs)
        self._units = math.prod(self.size)
        # Flat, since keras.layers.RNN reports (batch, state_size) whatever the cell keeps.
        self.state_size = 2 * self._units

    @property
    def _weights_shape(self) -> tuple[int, ...]:
        return (self._units,)

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: str | None = None
    ) -> list[Any]:
        """Slope 0 and ``initial_level``, repeated over the batch."""
        batch, dtype = self._batch_and_dtype(inputs, batch_size, dtype)
        level = ops.cast(self.initial_level, dtype)
        state = ops.concatenate([ops.zeros_like(level), level], axis=0)
        return [ops.broadcast_to(state[None], (batch, self.state_size))]

    def call_inference(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        dt, tau = self._dt_and_tau()
        q = ops.divide(dt, tau)
        e = ops.exp(-q)
        x = ops.reshape(inputs, (-1, self._units))
        slope, level = states[0][:, : self._units], states[0][:, self._units :]
        # q / tau, not dt / tau**2: the square of the smallest tau leaves single precision.
        pull = ops.multiply(e, ops.divide(q, tau))
        new_slope = ops.add(
            ops.multiply(ops.multiply(e, 1 - q), slope),
            ops.multiply(pull, ops.subtract(x, level)),
        )
        kept = ops.multiply(e, 1 + q)
        # 1 - kept, without subtracting nearly equal numbers.
        gain = ops.negative(ops.add(ops.expm1(-q), ops.multiply(q, e)))
        drift = ops.multiply(ops.multiply(e, dt), slope)
        new_level = ops.add(_blend(level, x, gain, kept), drift)
        state = ops.concatenate([new_slope, new_level], axis=-1)
        return ops.reshape(new_level, (-1, *self.size)), [state]


@keras.saving.register_keras_serializable(package="kerasnsoc")
class Alpha(_FilterLayer):
    """Second-order low-pass filter, one trainable time constant per unit.

    The impulse response ``t / tau**2 * exp(-t / tau)`` and the transfer function
    ``1 / (tau * s + 1)**2``, discretized with a zero-order hold and without any further delay. With
    ``q = dt / tau``, ``e = exp(-q)``, the output ``y`` and its slope ``d``::

        d[t] = e * (1 - q) * d[t-1] - e * q / tau * y[t-1] + e * q / tau * x[t]
        y[t] = e * dt * d[t-1] + e * (1 + q) * y[t-1] + (1 - e * (1 + q)) * x[t]

    Parameters
    ----------
    tau_initializer : float or initializer
        Time constants in seconds. A unit with ``tau <= 1e-8`` lets its input pass.
    dt : float or Variable, optional
        Seconds per step; None is ``config.default.dt`` at this moment.
    apply_during_training : bool
        If False, training lets the input pass, and the weights are not trainable.
    level_initializer : float or initializer
        Output before the first step; the slope starts at 0.
    initial_level_constraint, tau_constraint : constraint, optional
    return_sequences, return_state, stateful, unroll, time_major
        As of `KerasSpikingLayer`.
    **kwargs
        As of `keras.layers.Layer`.

    Notes
    -----
    *Input shape*: (batch, time, \\*size), or (time, batch, \\*size) if `time_major`.
    *Output shape*: the same, or (batch, \\*size) without `return_sequences`.

    The state that is taken and returned has shape (batch, 2, prod(size)): slopes, then outputs, of
    the units in row-major order. Weights, in this order: ``initial_level`` and ``tau``, both of
    shape (prod(size),).

    Examples
    --------
    >>> layer = Alpha(0.1, dt=0.01)
    >>> y = keras.ops.convert_to_numpy(layer(keras.ops.ones((1, 3, 1))))
    >>> [round(float(value), 4) for value in y.ravel()]
    [0.0047, 0.0175, 0.0369]
    """

    CELL = AlphaCell

    def state_shape(self, batch: int | None, size: tuple[int, ...]) -> Shape:
        return (batch, 2, math.prod(size))

    def _to_cell(self, state: Any) -> Any:
        return ops.reshape(state, (-1, self.layer.cell.state_size))

    def _given_state(self, state: Any) -> Any:
        return ops.reshape(state, (-1, 2, self.layer.cell.state_size // 2))
