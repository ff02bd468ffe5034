"""What a layer has done so far: events, synaptic operations, sparsity."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence

import numpy as np

from kerasnsoc.artifact.schema import FullyConnectedParameters, SpatialParameters
from kerasnsoc.runtime.counts import connections, neuron_updates
from kerasnsoc.runtime.layers import Layer

_lock = threading.Lock()


def _renew_lock() -> None:
    # another thread may have held the lock at the fork, and that thread is not in the child
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


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
    nb_samples : int
        Samples that the layer has seen.
    nb_steps : int
        Passes through the layer: a sample of a network over time takes one per time step.
    nb_activations : int
        Non-zero outputs, activations or potentials.
    nb_spikes : int
        Spikes of a network over time, without their sign; an output may hold several in a step.
    events_in : int
        Non-zero inputs.
    synaptic_ops : int
        Weights that were added to a potential because an event arrived. A separable layer adds one
        per event and tap that reaches an output, and one per neuron for each depthwise sum that is
        not zero.
    """

    def __init__(self, layer: Layer, nb_samples: int = 0, nb_activations: int = 0) -> None:
        self._layer = layer
        self.restart(nb_samples, nb_activations)

    def restart(self, nb_samples: int = 0, nb_activations: int = 0) -> None:
        """Forget what was counted, such as when the layer gets more neurons."""
        self.nb_samples = nb_samples
        self.nb_steps = nb_samples
        self.nb_spikes = 0
        self.nb_activations = nb_activations
        self.events_in = 0
        self.synaptic_ops = 0
        # geometry, which a layer in a model keeps otherwise
        layer = self._layer
        self._connections = connections(layer.parameters, layer.input_dims)
        self._neuron_updates = neuron_updates(layer.parameters, layer.input_dims)

    @property
    def layer_name(self) -> str:
        return self._layer.name

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
    """Statistics of all layers of a model, and its totals."""

    def __init__(self) -> None:
        self.layers: dict[str, LayerStatistics] = {}
        self._frames = 0
        self._seconds = 0.0
        self._events_in = 0
        self._events_out = 0
        self._synaptic_ops = 0

    def record(
        self,
        names: Sequence[str],
        samples: int,
        totals_lk: list[list[int]],
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
        totals_lk : list of [events in, synaptic operations, events out], one per layer
        seconds : float
        steps : int
            Of each sample.
        spikes_l : sequence of int, optional
            Over time: spikes that each layer sent on.
        """
        with _lock:
            spikes_l = [0] * len(names) if spikes_l is None else spikes_l
            for name, totals_k, spikes in zip(names, totals_lk, spikes_l, strict=True):
                events_in, synaptic_ops, events_out = totals_k
                row = self.layers[name]
                row.nb_samples += samples
                row.nb_steps += samples * steps
                row.nb_spikes += spikes
                row.nb_activations += events_out
                row.events_in += events_in
                row.synaptic_ops += synaptic_ops
                self._synaptic_ops += synaptic_ops
            self._frames += samples
            self._seconds += seconds
            self._events_in += totals_lk[0][0]
            self._events_out += totals_lk[-1][2]

    def metrics(self) -> dict[str, float]:
        """Totals of the model, see `Model.metrics`."""
        with _lock:
            return {
                "inference_frames": self._frames,
                "inference_time_s": self._seconds,
                "events_in": self._events_in,
                "events_out": self._events_out,
                "synaptic_ops": self._synaptic_ops,
            }


def _sparsity(events: int, possible: int) -> float:
    return 1 - events / possible if possible else 0.0
