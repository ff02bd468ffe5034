"""What runs in a worker process: a network that is loaded once, and what it counted."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kerasnsoc.runtime import LayerStatistics, Model

Method: TypeAlias = Literal["predict", "forward", "evaluate"]
Columns: TypeAlias = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class LayerTotals:
    """What all workers together counted in one layer.

    The names are those of `kerasnsoc.runtime.LayerStatistics`, so that
    `kerasnsoc.energy.energy_of_run` prices a mapping of these.

    Attributes
    ----------
    nb_samples : int
    events_in, nb_activations : int
        Non-zero inputs and outputs.
    synaptic_ops, neuron_updates : int
    connections : int
        Synaptic operations of a sample in which every input is an event.
    outputs : int
        Outputs, zero or not.
    """

    nb_samples: int
    events_in: int
    nb_activations: int
    synaptic_ops: int
    neuron_updates: int
    connections: int
    outputs: int

    @classmethod
    def of(cls, layer: LayerStatistics) -> LayerTotals:
        """The totals of a layer that ran in this process."""
        return cls(
            layer.nb_samples,
            layer.events_in,
            layer.nb_activations,
            layer.synaptic_ops,
            layer.neuron_updates,
            layer.connections,
            layer.nb_steps * layer.possible_spikes,
        )

    @property
    def output_sparsity(self) -> float:
        """Fraction of outputs that were zero."""
        return 1 - self.nb_activations / self.outputs if self.outputs else 0.0

    def __add__(self, other: LayerTotals) -> LayerTotals:
        return LayerTotals(
            self.nb_samples + other.nb_samples,
            self.events_in + other.events_in,
            self.nb_activations + other.nb_activations,
            self.synaptic_ops + other.synaptic_ops,
            self.neuron_updates + other.neuron_updates,
            # of one sample; equal in all batches, since they are cut from one array
            max(self.connections, other.connections),
            self.outputs + other.outputs,
        )


def add_counts(texts: Iterable[str]) -> dict[str, LayerTotals]:
    """The sum of what batches counted, by layer, in the order of the network."""
    sums: dict[str, LayerTotals] = {}
    for text in texts:
        for name, values in json.loads(text).items():
            counted = LayerTotals(*values)
            sums[name] = sums[name] + counted if name in sums else counted
    return sums


class _Network:
    """A network of one worker; it counts batch by batch."""

    def __init__(self, artifact: bytes, threads: int) -> None:
        self._model = Model(serialized_buffer=artifact)
        self._threads = threads

    def __call__(
        self, method: Method, inputs: npt.NDArray[Any], options: Mapping[str, Any]
    ) -> tuple[npt.NDArray[Any], str]:
        statistics = self._model.get_statistics()
        for layer in statistics.values():
            layer.restart()
        outputs = getattr(self._model, method)(inputs, threads=self._threads, **options)
        counts = {name: astuple(LayerTotals.of(layer)) for name, layer in statistics.items()}
        return outputs, json.dumps(counts)


class Runner:
    """Actor of `run` and `map_dataset`: adds outputs to a batch.

    Parameters
    ----------
    artifact : bytes
    method : {"predict", "forward", "evaluate"}
    options : mapping
        Further arguments of the method.
    columns : tuple of str
        Where the inputs are, and where the outputs go.
    threads : int
    counts : bool
        Whether to replace the inputs by what was counted: JSON in the first row of a batch, which
        Ray repeats or hands on as a whole, so that a batch that is run twice counts once.
    """

    def __init__(
        self,
        artifact: bytes,
        method: Method,
        options: Mapping[str, Any],
        columns: tuple[str, str],
        threads: int,
        counts: bool,
    ) -> None:
        self._network = _Network(artifact, threads)
        self._method = method
        self._options = options
        self._inputs, self._outputs = columns
        self._counts = counts
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def __call__(self, batch: Columns) -> Columns:
        inputs = np.asarray(batch[self._inputs])
        outputs, counted = self._network(self._method, inputs, self._options)
        result = {**batch, self._outputs: outputs}
        if self._counts:
            del result[self._inputs]
            result["counts"] = np.array([counted] + [""] * (len(outputs) - 1))
            result["worker"] = np.full(len(outputs), self._name)
        return result


class Sweeper:
    """Actor of `energy_sweep`: runs every network on a batch and keeps the counts only.

    Parameters
    ----------
    artifacts : mapping of str to bytes
    threads : int
    """

    def __init__(self, artifacts: Mapping[str, bytes], threads: int) -> None:
        self._networks = {name: _Network(data, threads) for name, data in artifacts.items()}

    def __call__(self, batch: Columns) -> Columns:
        inputs = np.asarray(batch["inputs"])
        return {
            "network": np.array(list(self._networks)),
            "counts": np.array(
                [network("forward", inputs, {})[1] for network in self._networks.values()]
            ),
        }
