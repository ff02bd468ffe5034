"""The frozen Keras forward over time: the artifact's integers, step by step."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasnsoc.artifact import LayerBounds, NeuronSpec
from kerasnsoc.artifact.neurons import POTENTIAL_LIMIT
from kerasnsoc.conversion.converter import fill, frozen_layer, require_dtypes
from kerasnsoc.conversion.frozen import FrozenBlock
from kerasnsoc.conversion.integer import IntegerBlock
from kerasnsoc.conversion.time_blocks import Step
from kerasnsoc.conversion.time_integers import TimeIntegers
from kerasnsoc.spiking import SumPooling2D
from kerasnsoc.spiking._numerics import quotient


@keras.saving.register_keras_serializable(package="kerasnsoc")
class FrozenNeurons(keras.layers.Layer):
    """A frozen block, and the neurons behind it, on 32-bit integers.

    Parameters
    ----------
    block : FrozenBlock
        With ``bits=None``: it gives potentials.
    rule, max_spikes, reset, rectify, shift, unit
        As of `kerasnsoc.artifact.NeuronSpec`.
    dt : float
        Seconds per step.
    sums : SumPooling2D, optional
        Adds up windows of the potentials.

    Notes
    -----
    *Input shape*: (batch, time, \\*size), real values of the Keras model. *Output shape*: (batch,
    time, \\*size), spikes in the unit of the layer that was frozen. The potentials before the first
    step are the artifact's.
    """

    def __init__(
        self,
        block: Any,
        *,
        rule: str,
        max_spikes: int,
        reset: str,
        rectify: bool,
        shift: int,
        unit: str,
        dt: float,
        sums: Any = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("trainable", False)
        super().__init__(**kwargs)
        self.block = _layer(block)
        self.sums = None if sums is None else _layer(sums)
        self.model_of_neurons = NeuronSpec(
            rule=rule,
            max_spikes=max_spikes,
            reset=reset,
            rectify=rectify,
            shift=shift,
            unit=unit,
        )
        self.dt = dt

    def build(self, input_shape: Any) -> None:
        step = (input_shape[0], *input_shape[2:])
        if not self.block.built:
            self.block.build(step)
        size = self._potential_shape(input_shape)[2:]
        for name, shape in (
            ("spike_threshold", size[-1:]),
            ("bias", size[-1:]),
            ("lowest_potential", size[-1:]),
            ("initial_potential", size),
        ):
            weight = self.add_weight(
                name=name, shape=shape, dtype="int32", initializer="zeros", trainable=False
            )
            setattr(self, name, weight)
        self.built = True

    def _potential_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        step = self.block.compute_output_shape((input_shape[0], *input_shape[2:]))
        if self.sums is not None:
            step = self.sums.compute_output_shape(step)
        return (*input_shape[:2], *step[1:])

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return self._potential_shape(tuple(input_shape))

    def call(self, inputs: Any) -> Any:
        batch, steps = ops.shape(inputs)[:2]
        potentials = self.block(ops.reshape(inputs, (-1, *inputs.shape[2:])))
        if self.sums is not None:
            potentials = self.sums(potentials)
        size = potentials.shape[1:]
        p = ops.reshape(ops.cast(potentials, "int32"), (batch, steps, *size))
        # time first, as scan wants it
        axes = (1, 0, *range(2, 2 + len(size)))
        start = ops.broadcast_to(ops.convert_to_tensor(self.initial_potential), (batch, *size))
        _, spikes = ops.scan(self._step, start, ops.transpose(p, axes))
        spikes = ops.cast(ops.transpose(spikes, axes), "float32")
        if self.model_of_neurons.unit == "hz":
            spikes = quotient(spikes, ops.convert_to_tensor(self.dt, dtype="float32"))
        return ops.cast(spikes, self.compute_dtype)

    def _step(self, v: Any, potential: Any) -> tuple[Any, Any]:
        neuron = self.model_of_neurons
        threshold = ops.convert_to_tensor(self.spike_threshold)
        added = (potential + ops.convert_to_tensor(self.bias)) * 2**neuron.shift
        if neuron.rectify:
            added = ops.maximum(added, 0)
        v = v + added
        spikes = ops.floor_divide(v, threshold)
        if neuron.rule != "signed":
            spikes = ops.maximum(spikes, 0)
        if neuron.rule == "single":
            spikes = ops.minimum(spikes, 1)
        elif neuron.rule == "max":
            spikes = ops.minimum(spikes, neuron.max_spikes)
        if neuron.reset == "subtract":
            v = v - spikes * threshold
        else:
            v = ops.where(ops.greater(spikes, 0), ops.zeros_like(v), v)
        v = ops.maximum(v, ops.convert_to_tensor(self.lowest_potential))
        return ops.minimum(v, POTENTIAL_LIMIT - 1), spikes

    def get_config(self) -> dict[str, Any]:
        neuron = self.model_of_neurons
        return {
            **super().get_config(),
            "block": keras.saving.serialize_keras_object(self.block),
            "sums": None if self.sums is None else keras.saving.serialize_keras_object(self.sums),
            "rule": neuron.rule,
            "max_spikes": neuron.max_spikes,
            "reset": neuron.reset,
            "rectify": neuron.rectify,
            "shift": neuron.shift,
            "unit": neuron.unit,
            "dt": self.dt,
        }


def _layer(value: Any) -> Any:
    return keras.saving.deserialize_keras_object(value) if isinstance(value, dict) else value


def frozen_over_time(integers: TimeIntegers) -> keras.Model:
    """The Keras model of these integers; see `kerasnsoc.conversion.freeze`."""
    parsed = integers.parsed
    shape = (None, *parsed.keras_shape) if parsed.has_time_axis else parsed.keras_shape
    source = keras.Input(shape, name=f"{parsed.name}_values", dtype="float32")
    values = source
    if parsed.rescaling is not None:
        values = keras.layers.Rescaling.from_config(parsed.rescaling.get_config())(values)
    if not parsed.has_time_axis:
        values = keras.layers.Reshape((1, *parsed.keras_shape))(values)
    arriving = 255
    by_name = {layer.name: layer for layer in integers.spec.layers}
    for step in parsed.steps:
        if step.kind == "weights":
            block = integers.blocks[step.name]
            if len(values.shape) == 3 and _is_spatial(block):
                values = keras.layers.TimeDistributed(keras.layers.Reshape(step.input_shape))(
                    values
                )
            values = _weights(step, block, by_name[step.name], integers, arriving)(values)
            if step.is_flat and len(values.shape) == 5:
                flat = keras.layers.Reshape(step.output_shape[2:])
                values = keras.layers.TimeDistributed(flat)(values)
        elif step.kind == "pooling":
            pooling = type(step.layer).from_config({**step.layer.get_config(), "name": step.name})
            values = keras.layers.TimeDistributed(pooling, name=step.name)(values)
        else:
            config = {**step.layer.get_config(), "return_sequences": True}
            layer = type(step.layer).from_config(config)
            values = layer(values)
            layer.set_weights(step.layer.get_weights())
        arriving = max(map(abs, integers.bounds[step.name].output_range))
    if not parsed.has_time_axis:
        values = keras.layers.Reshape(tuple(values.shape[2:]))(values)
    model = keras.Model(source, values, name=f"{parsed.name}_frozen")
    for step in parsed.steps:
        if step.kind == "weights":
            _fill(model.get_layer(step.name), by_name[step.name], integers.blocks[step.name])
    return model


def _is_spatial(block: IntegerBlock) -> bool:
    return block.weights.ndim == 4


def _weights(
    step: Step, block: IntegerBlock, spec: Any, integers: TimeIntegers, arriving: int
) -> keras.layers.Layer:
    bound: LayerBounds = integers.bounds[step.name]
    frozen = frozen_layer(
        block, bound, only_potentials=step.neuron is not None, codes=max(arriving, 255)
    )
    sums = None
    if block.block.pooling == "average" and not block.block.global_pooling:
        frozen.pooling = "none"
        assert step.block is not None
        sums = SumPooling2D(
            step.block.pool_size, step.block.pool_strides, padding=block.block.neural.padding
        )
    elif block.block.pooling == "max" and block.block.global_pooling:
        frozen.pool_size = frozen.pool_strides = frozen.map_size((1, *step.input_shape))
    if step.neuron is None:
        if sums is not None:
            raise ValueError(
                f"layer {step.name!r} sums windows without neurons behind it. Pool globally, or "
                f"put neurons between."
            )
        return keras.layers.TimeDistributed(frozen, name=step.name)
    neuron = spec.neuron
    return FrozenNeurons(
        frozen,
        rule=neuron.rule,
        max_spikes=neuron.max_spikes,
        reset=neuron.reset,
        rectify=neuron.rectify,
        shift=neuron.shift,
        unit=neuron.unit,
        dt=integers.parsed.dt,
        sums=sums,
        name=step.name,
        dtype="float32",
    )


def _fill(layer: Any, spec: Any, integers: IntegerBlock) -> None:
    block: FrozenBlock = layer.block if isinstance(layer, FrozenNeurons) else layer.layer
    require_dtypes(block)
    fill(block, integers)
    if not isinstance(layer, FrozenNeurons):
        return
    for name in ("spike_threshold", "bias", "lowest_potential"):
        getattr(layer, name).assign(spec.variables[name])
    start_xyn = spec.variables["initial_potential"]
    size = layer.initial_potential.shape
    start = np.ascontiguousarray(start_xyn.transpose(1, 0, 2)).reshape(size)
    assert math.prod(size) == start_xyn.size
    layer.initial_potential.assign(start)
