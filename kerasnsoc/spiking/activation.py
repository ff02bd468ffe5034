"""Any activation function as a neuron that spikes at that rate."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasnsoc.spiking._numerics import hashed_uniform, product, quotient, straight_through
from kerasnsoc.spiking.base import KerasSpikingCell, KerasSpikingLayer, Shape


def checked_seed(seed: Any, owner: str) -> int | None:
    """The seed as a Python int, or None; TypeError for anything else."""
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed of {owner} is {seed!r}, but it must be an integer or None")
    return int(seed)


def _serialized(activation: Any) -> Any:
    if getattr(activation, "__name__", None) == "<lambda>":
        # keras.activations.serialize leaves out what tells the loader that it is one.
        return keras.saving.serialize_keras_object(activation)
    return keras.activations.serialize(activation)


class UniformStart:
    """Initial potentials, uniform on [0, 1): repeatable with a seed, new at each call without.

    Parameters
    ----------
    seed : int or None
    size : tuple of int
        Shape of one sample.
    """

    def __init__(self, seed: int | None, size: tuple[int, ...]) -> None:
        self.seed = seed
        self.size = size
        self.generator = keras.random.SeedGenerator() if seed is None else None

    def draw(self, batch: Any, dtype: str) -> Any:
        """A tensor of shape (batch, \\*size)."""
        # Flat, so that the numbers depend on the element's index alone and not on the rank.
        flat = (batch, math.prod(self.size))
        if self.seed is None:
            start = keras.random.uniform(flat, dtype=dtype, seed=self.generator)
        else:
            start = hashed_uniform(self.seed, flat, dtype)
        return ops.reshape(start, (batch, *self.size))


@keras.saving.register_keras_serializable(package="kerasnsoc")
class SpikingActivationCell(KerasSpikingCell):
    """One time step of `SpikingActivation`.

    Parameters
    ----------
    size : int or tuple of int
        Shape of one sample.
    activation : str, callable or keras.layers.Layer
        Gives the firing rate in Hz.
    dt : float or Variable, optional
        Seconds per step.
    seed : int, optional
        Of the initial potentials.
    spiking_aware_training : bool
        Whether training sees spikes instead of rates.
    **kwargs
        As of `keras.layers.Layer`.

    See Also
    --------
    SpikingActivation : the layer, with the equations.

    Notes
    -----
    *Input shape*: (batch, \\*size). *Output shape*: the same; the state too.
    """

    def __init__(
        self,
        size: Any,
        activation: Any,
        *,
        dt: Any = None,
        seed: int | None = None,
        spiking_aware_training: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(size, dt=dt, always_use_inference=spiking_aware_training, **kwargs)
        self.activation = keras.activations.get(activation)
        self.spiking_aware_training = spiking_aware_training
        self.seed = checked_seed(seed, f"cell {self.name!r}")
        self._start = UniformStart(self.seed, self.size)
        # On an attribute of the layer, where Keras finds it and manages its state.
        self.seed_generator = self._start.generator

    def build(self, input_shape: Any) -> None:
        # Its variables could not be made inside the loop.
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:
            self.activation.build((None, *self.size))
        self.built = True

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: str | None = None
    ) -> list[Any]:
        """Potentials before the first step, uniform on [0, 1)."""
        return [self._start.draw(*self._batch_and_dtype(inputs, batch_size, dtype))]

    def call_training(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        return self._rates(inputs), [states[0]]

    def call_inference(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        rates = self._rates(inputs)
        dt = self._time_step.tensor(self.compute_dtype)
        potential = ops.add(states[0], product(ops.stop_gradient(rates), dt))
        spikes = ops.floor(potential)
        rest = ops.subtract(potential, spikes)
        # A tiny negative potential plus 1 rounds to 1.0, which would fire without any input.
        rest = ops.minimum(rest, _BELOW_ONE[self.compute_dtype])
        return straight_through(quotient(spikes, dt), rates), [ops.stop_gradient(rest)]

    def _rates(self, inputs: Any) -> Any:
        return ops.cast(self.activation(inputs), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": _serialized(self.activation),
            "seed": self.seed,
            "spiking_aware_training": self.spiking_aware_training,
        }


_BELOW_ONE = {
    "float16": 1 - 2.0**-11,
    "bfloat16": 1 - 2.0**-8,
    "float32": 1 - 2.0**-24,
    "float64": 1 - 2.0**-53,
}
"""The largest number below 1 of each type."""


@keras.saving.register_keras_serializable(package="kerasnsoc")
class SpikingActivation(KerasSpikingLayer):
    """Neurons that spike at the rate an activation function gives.

    Each unit integrates its rate and emits a spike for every whole unit reached. A spike has height
    ``1 / dt``, so that the output is in Hz and its mean over time tends to the rate::

        r = activation(x)             Hz, any sign
        v = v + r * dt
        n = floor(v)                  spikes: below 0 or above 1 if the rate is that low or high
        v = v - n                     always in [0, 1)
        y = n / dt

    The gradient is that of `activation` at the same step; none flows through the potential or to
    `dt`.

    Parameters
    ----------
    activation : str, callable or keras.layers.Layer
        Gives the firing rate in Hz; resolved by `keras.activations.get`.
    dt : float or Variable, optional
        Seconds per step; None is ``config.default.dt`` at this moment. The larger it is, the closer
        are spikes to rates.
    seed : int, optional
        Of the initial potentials, uniform on [0, 1). With a seed every call starts alike, without
        each call starts anew.
    spiking_aware_training : bool
        Whether the forward pass of training sees spikes. If not, training sees ``activation(x)``.
    return_sequences, return_state, stateful, unroll, time_major
        As of `KerasSpikingLayer`.
    **kwargs
        As of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If `activation` is unknown or `dt` is not a finite number above 0.

    Notes
    -----
    *Input shape*: (batch, time, \\*size), or (time, batch, \\*size) if `time_major`.
    *Output shape*: the same, or (batch, \\*size) without `return_sequences`.

    For the same rates, outputs are equal bit for bit in eager, graph and XLA execution in single
    precision.

    Examples
    --------
    >>> layer = SpikingActivation("relu", dt=0.25)
    >>> start = np.full((1, 1), 0.5, "float32")
    >>> spikes = layer(np.full((1, 8, 1), 3.0, "float32"), initial_state=start)
    >>> [int(y) for y in keras.ops.convert_to_numpy(spikes).ravel()]
    [4, 4, 0, 4, 4, 4, 0, 4]
    """

    SPIKE_UNIT = "hz"

    def __init__(
        self,
        activation: Any,
        *,
        dt: Any = None,
        seed: int | None = None,
        spiking_aware_training: bool = True,
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
        self.activation = keras.activations.get(activation)
        self.seed = checked_seed(seed, f"layer {self.name!r}")
        self.spiking_aware_training = spiking_aware_training

    def build_cell(self, input_shape: Shape) -> SpikingActivationCell:
        return SpikingActivationCell(
            input_shape[2:],
            self.activation,
            seed=self.seed,
            spiking_aware_training=self.spiking_aware_training,
            **self.cell_options,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": _serialized(self.activation),
            "seed": self.seed,
            "spiking_aware_training": self.spiking_aware_training,
        }
