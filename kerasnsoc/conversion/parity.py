"""`compare`: do the Keras model and the artifact give the same integers on this data?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc._tables import render
from kerasnsoc.artifact import ActivationParameters, NetworkSpec
from kerasnsoc.conversion.converter import freeze
from kerasnsoc.conversion.frozen import FrozenBlock
from kerasnsoc.runtime import Model


@dataclass(frozen=True)
class LayerParity:
    """One layer's comparison.

    Attributes
    ----------
    name : str
    what : {"activations", "outputs", "spikes"}
        Integer activations, the float32 values of an output layer without activation, or the spikes
        of neurons over time.
    compared, differing : int
    first : tuple of int, or None
        (sample, x, y, feature) of the first value that differs; of spikes (sample, step, …).
    keras_value, artifact_value : float, or None
        The values there.
    """

    name: str
    what: str
    compared: int
    differing: int
    first: tuple[int, ...] | None = None
    keras_value: float | None = None
    artifact_value: float | None = None


@dataclass(frozen=True)
class ParityReport:
    """Layer by layer, in the order of the network."""

    layers: tuple[LayerParity, ...]

    @property
    def compared(self) -> int:
        return sum(layer.compared for layer in self.layers)

    @property
    def differing(self) -> int:
        return sum(layer.differing for layer in self.layers)

    @property
    def first(self) -> LayerParity | None:
        """The first layer that differs, where a deviation begins."""
        return next((layer for layer in self.layers if layer.differing), None)

    def summary(self) -> str:
        """One sentence."""
        text = (
            f"{self.differing:,} of {self.compared:,} values differ between the exact Keras "
            "forward "
            f"and the artifact"
        )
        first = self.first
        if first is None or first.first is None:
            return text
        sample, second, *rest = first.first
        if first.what == "spikes":
            place = f"step {second}, neuron {tuple(rest)}"
        else:
            place = f"x {second}, y {rest[0]}, feature {rest[1]}"
        return (
            f"{text}; the first in layer {first.name!r}, sample {sample}, {place}: "
            f"Keras {first.keras_value:.9g}, artifact {first.artifact_value:.9g}"
        )

    def __str__(self) -> str:
        rows = [
            [layer.name, layer.what, f"{layer.compared:,}", f"{layer.differing:,}"]
            for layer in self.layers
        ]
        table = render(["layer", "what", "compared", "differing"], rows, title="Parity")
        return f"{table.rstrip()}\n{self.summary()}"


def compare(
    model: keras.Model,
    artifact: Model | str | os.PathLike[str] | bytes,
    inputs: npt.NDArray[Any],
    *,
    batch_size: int = 64,
) -> ParityReport:
    """Count the values that differ between the exact Keras forward and the runtime.

    Parameters
    ----------
    model : keras.Model
        A frozen model (`freeze`), or the quantized model, which is frozen with the artifact's input
        scaling first. A network over time that was converted with ``start`` or ``max_spikes`` needs
        the model that was frozen with them.
    artifact : Model, path or bytes
        The runtime model, or the artifact to load.
    inputs : ndarray of integers
        As the runtime takes them: images ``(n, height, width, channels)``, events ``(n, width,
        height, channels)`` or ``(n, channels)``; over time ``(n, steps, height, width, channels)``
        or ``(n, steps, features)``.
    batch_size : int
        Samples that are held at once.

    Returns
    -------
    ParityReport

    Raises
    ------
    TypeError
        If the model or the artifact is something else.
    ValueError
        If the two networks do not have the same layers, or the inputs do not fit.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model is a {type(model).__name__}, but must be a Keras model")
    if len(inputs) == 0:
        raise ValueError("there are no inputs to compare on: pass at least one sample")
    runtime = _opened(artifact)
    spec = runtime.to_spec()
    if spec.time_step is not None:
        from kerasnsoc.conversion.time_parity import compare_over_time  # which needs this module

        return compare_over_time(model, runtime, np.asarray(inputs), batch_size)
    is_image = spec.input.kind == "image"
    if not any(isinstance(layer, FrozenBlock) for layer in model.layers):
        rescaled = any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
        model = freeze(
            model,
            None if rescaled else (spec.input_scale, spec.input_shift),
            input_is_sparse=not is_image,
            input_bits=spec.input.bits,
        )
    rescaled = any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
    _require_same_scaling(model, spec)
    names = [
        layer.name for layer in spec.layers if isinstance(layer.parameters, ActivationParameters)
    ]
    missing = sorted(set(names) - {layer.name for layer in model.layers})
    if missing:
        raise ValueError(
            f"the Keras model has no layer {missing[0]!r}, which the artifact has. Compare an "
            f"artifact with the model that it was converted from."
        )
    probes = keras.Model(model.input, [model.get_layer(name).output for name in names])
    totals = {name: Tally(name) for name in names}
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        traced = runtime.trace(batch)
        values: npt.NDArray[Any] = batch.astype(np.float64)
        if not rescaled:
            values = (values - spec.input_shift) / spec.input_scale
        if not is_image and values.ndim == 4:  # vectors may come as (n, features)
            values = values.transpose(0, 2, 1, 3)
        values = values.astype(np.float32).reshape(len(batch), *model.input_shape[1:])
        # plain calls run operation by operation: no compiler reorders the last layer's float64
        outputs = probes(values, training=False)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        for name, output in zip(names, outputs, strict=True):
            frozen_layer = model.get_layer(name)
            real = _event_layout(keras.ops.convert_to_numpy(output))
            if isinstance(frozen_layer, FrozenBlock) and not frozen_layer.bits:
                totals[name].add("outputs", start, real, runtime.evaluate(batch))
            else:
                step = _step_height(model, frozen_layer)
                totals[name].add("activations", start, np.rint(real / step), traced[name])
    return ParityReport(tuple(tally.result() for tally in totals.values()))


class Tally:
    """Running comparison of one layer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.what = "activations"
        self.compared = self.differing = 0
        self.first: tuple[tuple[int, ...], float, float] | None = None

    def add(
        self, what: str, start: int, expected: npt.NDArray[Any], found: npt.NDArray[Any]
    ) -> None:
        self.what = what
        if expected.shape != found.shape:
            raise ValueError(
                f"layer {self.name!r}: Keras gives shape {expected.shape}, the artifact "
                f"{found.shape} (samples, width, height, features)"
            )
        wrong = expected != found
        self.compared += wrong.size
        self.differing += int(np.count_nonzero(wrong))
        if self.first is None and wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            place = (index[0] + start, *index[1:])
            self.first = place, float(expected[index]), float(found[index])

    def result(self) -> LayerParity:
        where, expected, found = self.first or (None, None, None)
        return LayerParity(
            self.name, self.what, self.compared, self.differing, where, expected, found
        )


def _require_same_scaling(model: keras.Model, spec: NetworkSpec) -> None:
    """The first frozen blocks know which integers they expect."""
    for layer in model.layers:
        if not isinstance(layer, FrozenBlock):
            continue
        source = layer.input._keras_history.operation
        while isinstance(source, keras.layers.Reshape):
            source = source.input._keras_history.operation
        if isinstance(source, FrozenBlock | keras.layers.Concatenate):
            continue
        if (layer.alpha, layer.beta) != (spec.input_scale, spec.input_shift):
            raise ValueError(
                f"the Keras model was frozen with input_scaling=({layer.alpha}, {layer.beta}), but "
                f"the artifact takes ({spec.input_scale}, {spec.input_shift}). Freeze it with the "
                f"artifact's."
            )


def _opened(artifact: Model | str | os.PathLike[str] | bytes) -> Model:
    if isinstance(artifact, Model):
        return Model.from_spec(artifact.to_spec())  # a copy: comparing counts no events
    if isinstance(artifact, bytes):
        return Model(serialized_buffer=artifact)
    if not isinstance(artifact, str | os.PathLike):
        raise TypeError(
            f"artifact is a {type(artifact).__name__}, but must be a Model of the runtime, or an "
            f"artifact as path or bytes"
        )
    return Model(os.fspath(artifact))


def _event_layout(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(n, height, width, c) or (n, c) to (n, width, height, c)."""
    if values.ndim == 2:
        return values[:, np.newaxis, np.newaxis]
    return values.transpose(0, 2, 1, 3)


def _step_height(model: keras.Model, layer: Any) -> float:
    """Output step of a frozen block; a concatenation has that of its producers."""
    while not isinstance(layer, FrozenBlock):
        layer = layer.input[0]._keras_history.operation
    return float(layer.step_height)
