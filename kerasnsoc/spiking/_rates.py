"""Mean activity at every node of a model, measured on example data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasnsoc.spiking._graph import flat_layers, run
from kerasnsoc.spiking._jax import must_be_called

BATCH = 32  # as in `predict`


def measure_rates(
    graph: Any, scales: Sequence[Sequence[float]], data: Any
) -> tuple[list[float], list[float]]:
    """Mean absolute value of inputs and of the first output of every node.

    Runs the graph in the inference phase, batch by batch, and keeps sums only. What the run
    changes (kept states, random generators) is put back.

    Parameters
    ----------
    graph : functional model
    scales : sequence of sequences of float
        For each node in the order of `kerasnsoc.spiking._graph.run`, a factor for each input.
    data : whatever ``predict`` takes

    Returns
    -------
    inputs, outputs : lists of float
        One entry per node; nan where there was nothing to average, such as text.
    """
    variables = _changing_variables(graph)
    before = [np.array(np.asarray(v)) for v in variables]
    batch = graph.inputs[0].shape[0]
    # Data sets bring their own batch size, and predict refuses a second one.
    has_batches = not isinstance(data, np.ndarray | list | tuple | dict) and not ops.is_tensor(data)
    options = {} if batch is None or has_batches else {"batch_size": batch}
    probe = _Probe(graph, scales)
    try:
        if has_batches or not must_be_called(flat_layers(graph)):
            sums = probe.predict(data, verbose=0, **options)
        else:
            sums = _called(probe, data, batch or BATCH)
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
    total = np.sum(sums, axis=0, dtype="float64")
    with np.errstate(invalid="ignore", divide="ignore"):
        inputs, outputs = total[:, 0] / total[:, 1], total[:, 2] / total[:, 3]
    return inputs.tolist(), outputs.tolist()


def _called(probe: keras.Model, data: Any, batch: int) -> Any:
    """What `predict` returns, without its compiled function."""
    parts = keras.tree.map_structure(np.asarray, data)
    size = len(keras.tree.flatten(parts)[0])
    spans = [slice(first, first + batch) for first in range(0, size, batch)]
    tables = (probe(keras.tree.map_structure(lambda a, s=s: a[s], parts)) for s in spans)
    return np.concatenate([ops.convert_to_numpy(table) for table in tables])


class _Probe(keras.Model):
    """Runs a graph; the output is a row of sums and counts per node, one such table per batch."""

    def __init__(self, graph: Any, scales: Sequence[Sequence[float]]) -> None:
        # Inputs of the graph go in as they are.
        super().__init__(autocast=False, name="rates")
        self._graph = graph
        self._scales = scales

    def call(self, inputs: Any) -> Any:
        rows: list[Any] = []

        def visit(taken: list[Any], given: list[Any]) -> None:
            scales = self._scales[len(rows)]
            pairs = [_sum_and_count(x, s) for x, s in zip(taken, scales, strict=True)]
            rows.append(
                ops.stack(
                    [
                        sum(p[0] for p in pairs),
                        sum(p[1] for p in pairs),
                        *_sum_and_count(given[0] if given else None, 1.0),
                    ]
                )
            )

        run(self._graph, inputs, visit)
        return ops.stack(rows)[None]


def _sum_and_count(x: Any, scale: float) -> tuple[Any, Any]:
    if x is None or keras.backend.standardize_dtype(x.dtype) == "string":
        return ops.zeros((), "float64"), ops.zeros((), "float64")
    x = ops.absolute(ops.cast(x, "float64"))
    return ops.multiply(ops.sum(x), scale), ops.cast(ops.size(x), "float64")


def _changing_variables(graph: Any) -> list[Any]:
    kept = [
        state
        for layer in flat_layers(graph)
        if isinstance(layer, keras.layers.RNN)
        for state in keras.tree.flatten(layer.states)
    ]
    return [*graph.non_trainable_variables, *(state for state in kept if state is not None)]
