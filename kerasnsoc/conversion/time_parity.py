"""Count what differs between a frozen Keras model and the runtime, spike by spike."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact import NetworkSpec
from kerasnsoc.conversion.converter import freeze
from kerasnsoc.conversion.parity import ParityReport, Tally
from kerasnsoc.conversion.time_frozen import FrozenNeurons
from kerasnsoc.runtime import Model


def compare_over_time(
    model: keras.Model, runtime: Model, inputs: npt.NDArray[Any], batch_size: int
) -> ParityReport:
    """The spikes of every layer with neurons, in every step; see `kerasnsoc.conversion.compare`."""
    spec = runtime.to_spec()
    if not any(isinstance(layer, FrozenNeurons) for layer in model.layers):
        is_image = spec.input.kind == "image"
        scaling = spec.input_scale, spec.input_shift
        # absent from artifacts of older versions
        chosen = spec.metadata.get("over_time", {})
        options = {k: chosen[k] for k in ("start", "max_spikes", "state_bits") if k in chosen}
        model = freeze(model, scaling, not is_image, input_bits=spec.input.bits, **options)
    names = [layer.name for layer in spec.layers if layer.neuron is not None]
    layers = {layer.name: layer for layer in model.layers if isinstance(layer, FrozenNeurons)}
    missing = [name for name in names if name not in layers]
    if missing:
        raise ValueError(
            f"the Keras model has no neurons {missing[0]!r}, which the artifact has. Compare an "
            f"artifact with the model that it was converted from."
        )
    probes = keras.Model(model.input, [layers[name].output for name in names])
    tallies = {name: Tally(name) for name in names}
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        traced = runtime.trace(batch)
        outputs = probes(_real_values(model, spec, batch), training=False)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        for name, output in zip(names, outputs, strict=True):
            neurons = layers[name].model_of_neurons
            unit = spec.time_step if neurons.unit == "hz" and spec.time_step else 1.0
            expected = np.asarray(keras.ops.convert_to_numpy(output), np.float64)
            expected = expected.reshape(*batch.shape[:2], *expected.shape[-len(output.shape[2:]) :])
            found = traced[name]
            if found.size == expected.size:
                found = found.reshape(expected.shape)
            tallies[name].add("spikes", start, np.rint(expected * unit), found)
    return ParityReport(tuple(tally.result() for tally in tallies.values()))


def _real_values(
    model: keras.Model, spec: NetworkSpec, batch: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Integers (n, steps, …) as the Keras model takes them; frame models take a single step."""
    if batch.ndim < 3:
        raise ValueError(
            f"inputs has the shape {batch.shape}, but a network over time takes sequences: "
            "(n, steps, height, width, channels) or (n, steps, features)"
        )
    values = ((batch.astype(np.float64) - spec.input_shift) / spec.input_scale).astype(np.float32)
    sizes = tuple(model.input_shape[1:])
    is_frame = None not in sizes and int(np.prod(sizes)) == int(np.prod(spec.input.shape_hwc))
    if is_frame and batch.shape[1] == 1:
        return values.reshape(len(batch), *sizes)
    if is_frame and int(np.prod(batch.shape[2:])) == int(np.prod(sizes)):
        raise ValueError(
            f"the Keras model takes single frames, but inputs has {batch.shape[1]} steps; pass one "
            "step, (n, 1, …), or a model with a time axis"
        )
    return values.reshape(*batch.shape[:2], *sizes[1:])
