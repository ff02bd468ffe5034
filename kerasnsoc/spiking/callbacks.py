"""Callbacks: a schedule for the time step, and firing rates in the training log."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import keras

from kerasnsoc.spiking._graph import flat_layers
from kerasnsoc.spiking._observer import RateObserver
from kerasnsoc.spiking._time_step import as_float, is_variable
from kerasnsoc.spiking.base import KerasSpikingLayer


class DtScheduler(keras.callbacks.Callback):
    """Changes the time step from batch to batch, for instance to anneal rates into spikes.

    Parameters
    ----------
    dt : keras.Variable or tf.Variable
        The Variable that was given to the layers as their `dt`. It keeps the last value after
        training; evaluation and validation use the value in force.
    scheduler : callable
        ``step -> dt`` in seconds, such as a Keras learning rate schedule; `step` is a Python int
        that counts the batches since epoch 0.
    verbose : bool
        Whether to print `dt` at the beginning of each epoch.

    Raises
    ------
    TypeError
        If `dt` is no Variable or `scheduler` is not callable.
    ValueError
        During training, if the scheduler returns no finite number above 0.
    NotImplementedError
        When training begins with the JAX backend, unless the model is compiled with
        ``run_eagerly=True``: functions compiled by JAX keep the first value.

    Notes
    -----
    For data of unknown length, batches are counted during the first epoch. With
    ``steps_per_execution=k``, the value changes once per k batches.

    Examples
    --------
    >>> from kerasnsoc.spiking import SpikingActivation
    >>> dt = keras.Variable(1.0, trainable=False)
    >>> layer = SpikingActivation("relu", dt=dt)
    >>> callback = DtScheduler(dt, keras.optimizers.schedules.ExponentialDecay(1.0, 100, 0.5))
    """

    def __init__(
        self, dt: Any, scheduler: Callable[[int], Any], verbose: bool | int = False
    ) -> None:
        super().__init__()
        if not is_variable(dt):
            raise TypeError(
                f"dt is {dt!r}, but only a Variable can be changed: it must be stored as a "
                "`tf.Variable` or a `keras.Variable`, and given to the layers as such"
            )
        if not callable(scheduler):
            raise TypeError(f"scheduler is {scheduler!r}, but it must be a function of the step")
        self.dt = dt
        self.scheduler = scheduler
        self.verbose = verbose
        self._epoch = 0
        self._counted: int | None = None
        self._batches = 0
        self._before_open_batch: float | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        if keras.backend.backend() == "jax" and not self.model.run_eagerly:
            raise NotImplementedError(
                "DtScheduler cannot change dt in functions compiled by JAX, which keep its first "
                "value. Compile the model with run_eagerly=True, or use the TensorFlow backend."
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        self._batches = 0
        if self.verbose:
            print(f"DtScheduler epoch={epoch} dt={as_float(self.dt):.4f}")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        steps = (self.params or {}).get("steps") or self._counted or 0
        step = self._epoch * steps + batch
        value = as_float(self.scheduler(step))
        if not 0 < value < math.inf:
            raise ValueError(
                f"the scheduler returned {value} at step {step}, but dt must be finite and "
                "greater than 0 seconds"
            )
        self._before_open_batch = as_float(self.dt)
        self.dt.assign(value)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._batches = batch + 1
        self._before_open_batch = None

    def on_test_begin(self, logs: Any = None) -> None:
        self._close()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._close()
        self._counted = self._batches or self._counted

    def _close(self) -> None:
        # Keras learns that a generator is exhausted after it has begun one batch too many.
        if self._before_open_batch is not None:
            self.dt.assign(self._before_open_batch)
            self._before_open_batch = None


class SpikeRateMonitor(keras.callbacks.Callback):
    """Adds the firing rates of spiking layers, and the time step, to the log of each epoch.

    The log gets ``rate/<layer name>``, the mean of all spikes of the epoch's training batches over
    units, batch and time, in Hz (negative spikes count as spikes), and ``dt``, the time step of the
    first layer at the end of the epoch; layers with another one have their own
    ``dt/<layer name>``. They also appear in the History that `fit` returns.

    Parameters
    ----------
    layers : iterable of str, optional
        Names of the layers to watch. Default: all `SpikingActivation`, `IAF` and `LIF` layers of
        the model, those inside other models and wrappers included.

    Raises
    ------
    ValueError
        When training begins, if a layer is not found or there is none.
    NotImplementedError
        With the JAX backend, whose compiled steps cannot count on the side.

    Notes
    -----
    The training function is traced once more at the beginning and after the end of training. With
    ``spiking_aware_training=False``, training has rates instead of spikes, and their mean is
    reported.
    """

    def __init__(self, layers: Iterable[str] | None = None) -> None:
        super().__init__()
        self.layers = None if layers is None else tuple(layers)
        self._watched: list[KerasSpikingLayer] = []

    def on_train_begin(self, logs: Any = None) -> None:
        if keras.backend.backend() == "jax":
            raise NotImplementedError("SpikeRateMonitor does not work with the JAX backend")
        self._watched = self._find_layers()
        for layer in self._watched:
            layer.observer = RateObserver()
        # A function traced before would not count.
        self.model.make_train_function(force=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        for layer in self._watched:
            layer.observer.reset()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is None:
            return
        steps = [layer.seconds_per_step for layer in self._watched]
        for layer, dt in zip(self._watched, steps, strict=True):
            logs[f"rate/{layer.name}"] = layer.observer.mean()
            if dt != steps[0]:
                logs[f"dt/{layer.name}"] = dt
        logs["dt"] = steps[0]

    def on_train_end(self, logs: Any = None) -> None:
        for layer in self._watched:
            layer.observer = None
        self._watched = []
        self.model.make_train_function(force=True)

    def _find_layers(self) -> list[KerasSpikingLayer]:
        spiking = {
            layer.name: layer
            for layer in flat_layers(self.model)
            if isinstance(layer, KerasSpikingLayer) and layer.SPIKE_UNIT is not None
        }
        wanted = tuple(spiking) if self.layers is None else self.layers
        unknown = [name for name in wanted if name not in spiking]
        if unknown or not wanted:
            raise ValueError(
                f"SpikeRateMonitor found no spiking layer {', '.join(map(repr, unknown))} in model "
                f"{self.model.name!r}; spiking layers are: {', '.join(spiking) or 'none'}"
            )
        return [spiking[name] for name in wanted]
