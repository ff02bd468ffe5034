"""Counts spikes on the side while a model trains."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasnsoc.spiking._time_step import as_float


class RateObserver:
    """Sum and number of all outputs of a layer, kept in Variables that no layer owns.

    In double precision: an epoch has more outputs than single precision can count.
    """

    def __init__(self) -> None:
        self._sum = keras.Variable(0.0, trainable=False, dtype="float64", name="spike_sum")
        self._count = keras.Variable(0.0, trainable=False, dtype="float64", name="spike_count")

    def reset(self) -> None:
        self._sum.assign(0.0)
        self._count.assign(0.0)

    def add(self, rates: Any) -> None:
        """Take in a tensor of rates in Hz."""
        rates = ops.stop_gradient(rates)
        self._sum.assign_add(ops.sum(ops.cast(ops.absolute(rates), "float64")))
        self._count.assign_add(ops.cast(ops.size(rates), "float64"))

    def mean(self) -> float:
        """Mean rate in Hz since the last reset; nan if there was no output."""
        count = as_float(self._count)
        return as_float(self._sum) / count if count else float("nan")
