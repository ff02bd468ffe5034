"""What a layer has done so far: events, synaptic operations, sparsity."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.schema import FullyConnectedParameters, SpatialParameters
from kerasnsoc.runtime.counts import connections, neuron_updates
from kerasnsoc.runtime.layers import Layer
from kerasnsoc_ext import Tally

_lock = threading.Lock()
"""Guards what is counted over time; the other totals are added to without it."""


class LayerStatistics:
    """Running totals of one layer over all samples since its model was made.

    Parameters
    ----------
    layer : Layer
        One that belongs to a model.
    nb_samples, nb_activations : int
        Where to start from.

    Attributes
    ----------
    totals : ndarray of int64, shape (4,)
        Samples, events in, synaptic operations, events out.
    over_time : ndarray of int64, shape (2,)
        Passes beyond one per sample, and spikes: what only a network over time has.
    """

    def __init__(self, layer: Layer, nb_samples: int = 0, nb_activations: int = 0) -> None:
        self._layer = layer
        # samples, events in, synaptic operations, events out; a running model adds in place
        self.totals = np.zeros(4, np.int64)
        self.over_time = np.zeros(2, np.int64)
        self.restart(nb_samples, nb_activations)

    def restart(self, nb_samples: int = 0, nb_activations: int = 0) -> None:
        """Forget what was counted, such as when the layer gets more neurons."""
        self.totals[:] = nb_samples, 0, 0, nb_activations
        self.over_time[:] = 0
        # geometry, which a layer in a model keeps otherwise
        layer = self._layer
        self._connections = connections(layer.parameters, layer.input_dims)
        self._neuron_updates = neuron_updates(layer.parameters, layer.input_dims)

    @property
    def layer_name(self) -> str:
        return self._layer.name

    @property
    def nb_samples(self) -> int:
        """Samples that the layer has seen."""
        return int(self.totals[0])

    @property
    def nb_steps(self) -> int:
        """Passes through the layer: a sample of a network over time takes one per time step."""
        return int(self.totals[0] + self.over_time[0])

    @property
    def nb_spikes(self) -> int:
        """Spikes of a network over time, signs dropped; an output may hold several in a step."""
        return int(self.over_time[1])

    @property
    def nb_activations(self) -> int:
        """Non-zero outputs, activations or potentials."""
        return int(self.totals[3])

    @property
    def events_in(self) -> int:
        """Non-zero inputs."""
        return int(self.totals[1])

    @property
    def synaptic_ops(self) -> int:
        """Weights that were added to a potential because an event arrived.

        A separable layer adds one per event and tap that reaches an output, and one per neuron for
        each depthwise sum that is not zero.
        """
        return int(self.totals[2])

    @property
    def possible_spikes(self) -> int:
        """Outputs per sample; over time, per time step."""
        return math.prod(self._layer.output_dims)

    @property
    def connections(self) -> int:
        """Synaptic operations of a sample in which every input is an event.

        Over time that is every input in every step, of the mean number of steps so far.
        """
        if self.nb_steps == self.nb_samples:
            return self._connections
        return round(self._connections * self.nb_steps / self.nb_samples)

    @property
    def neuron_updates(self) -> int:
        """Potentials computed so far, counted before pooling."""
        return self.nb_steps * self._neuron_updates

    @property
    def output_sparsity(self) -> float:
        """Fraction of outputs that were zero; 0 before the first sample."""
        return _sparsity(self.nb_activations, self.nb_steps * self.possible_spikes)

    @property
    def input_sparsity(self) -> float:
        """Fraction of inputs that were zero; 0 before the first sample."""
        return _sparsity(self.events_in, self.nb_steps * math.prod(self._layer.input_dims))

    @property
    def row_sparsity(self) -> float:
        """Fraction of kernel rows that are all zero.

        A row is the weights along x of one (y, channel, neuron); of a separable layer's depthwise
        kernel; of a fully connected layer the single weight. 0 for layers without weights.
        """
        if "weights" not in self._layer.get_variable_names():
            return 0.0
        weights_xycn = self._layer.get_variable("weights")
        return float(np.mean(~weights_xycn.any(axis=0)))

    @property
    def ops(self) -> float:
        """Mean events per sample, times the weights that an event meets far from any border."""
        parameters = self._layer.parameters
        if isinstance(parameters, SpatialParameters):
            fan_out = parameters.kernel_width * parameters.kernel_height * parameters.num_neurons
        elif isinstance(parameters, FullyConnectedParameters):
            fan_out = parameters.num_neurons
        else:
            fan_out = 0
        return self.events_in * fan_out / self.nb_samples if self.nb_samples else 0.0

    def __str__(self) -> str:
        kind = self._layer.parameters.layer_type.name
        return (
            f"{kind} {self.layer_name}: {self.nb_samples} samples, "
            f"output sparsity {self.output_sparsity:.4f}, input sparsity "
            f"{self.input_sparsity:.4f}, row sparsity {self.row_sparsity:.4f}, "
            f"{self.possible_spikes} possible spikes, {self.ops:.0f} ops, "
            f"{self.events_in} events in, {self.nb_activations} events out, "
            f"{self.synaptic_ops} synaptic operations"
        )

    def __repr__(self) -> str:
        return f"<LayerStatistics {self}>"


class ModelStatistics:
    """Statistics of all layers of a model, and its totals.

    Attributes
    ----------
    layers : dict of str to LayerStatistics
        Changed with `add` and `remove` only.
    tally : kerasnsoc_ext.Tally
        What a call on all layers adds to.
    """

    def __init__(self) -> None:
        self.layers: dict[str, LayerStatistics] = {}
        self._totals = np.zeros(4, np.int64)
        self._seconds = np.zeros(1)
        self._retally()

    def add(self, name: str, row: LayerStatistics) -> None:
        """One more layer, the last in order."""
        self.layers[name] = row
        self._retally()

    def remove(self, name: str) -> None:
        """Forget a layer; what it did stays in the totals of the model."""
        del self.layers[name]
        self._retally()

    def record(
        self,
        names: Sequence[str],
        samples: int,
        totals_lk: npt.NDArray[np.int64],
        seconds: float,
        *,
        steps: int = 1,
        spikes_l: Sequence[int] | None = None,
    ) -> None:
        """Add a batch; several threads may do so at a time.

        Parameters
        ----------
        names : sequence of str
            Layers in order.
        samples : int
        totals_lk : ndarray of int64, shape (layers, 3)
            Events in, synaptic operations, events out.
        seconds : float
        steps : int
            Of each sample.
        spikes_l : sequence of int, optional
            Over time: spikes that each layer sent on.
        """
        tally = self.tally
        if list(names) != list(self.layers):  # another thread has added or removed a layer
            rows = [self.layers[name].totals for name in names]
            tally = Tally(rows, self._totals, self._seconds)
        # a call that has already learned must not fail here: nothing is allocated for it
        tally.add(samples, totals_lk, seconds)
        if spikes_l is not None:
            with _lock:
                for name, spikes in zip(names, spikes_l, strict=True):
                    self.layers[name].over_time += samples * (steps - 1), spikes

    def metrics(self) -> dict[str, float]:
        """Totals of the model, see `Model.metrics`."""
        frames, events_in, synaptic_ops, events_out = self._totals.tolist()
        return {
            "inference_frames": frames,
            "inference_time_s": float(self._seconds[0]),
            "events_in": events_in,
            "events_out": events_out,
            "synaptic_ops": synaptic_ops,
        }

    def _retally(self) -> None:
        rows = [row.totals for row in self.layers.values()]
        self.tally = Tally(rows, self._totals, self._seconds)


def _sparsity(events: int, possible: int) -> float:
    return 1 - events / possible if possible else 0.0
