"""Random Keras models that run over time, made from a seed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasnsoc.quantization import (
    ActivationDiscreteRelu,
    MaxPerAxisQuantizer,
    MaxQuantizer,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedSeparableConv2D,
)
from kerasnsoc.spiking import IAF, Alpha, Lowpass, SpikingActivation, SumPooling2D

layers = keras.layers


class RandomModel:
    """A chain of blocks, with what is needed to convert and to feed it.

    Parameters
    ----------
    seed : int
    blocks : int
        Layers with neurons.
    has_time_axis : bool
        False makes a frame model of IAF neurons.
    """

    def __init__(self, seed: int, blocks: int, *, has_time_axis: bool = True) -> None:
        self.rng = np.random.default_rng(seed)
        keras.utils.set_random_seed(seed)
        self.has_time_axis = has_time_axis
        self.dt = float(self.pick([1.0, 0.25, 0.01, 0.001]))
        self.is_map = bool(self.rng.integers(3)) if has_time_axis else True
        if self.is_map:
            side = self.rng.integers(4, 9, 2)
            self.shape = (int(side[0]), int(side[1]), int(self.pick([1, 2, 3])))
        else:
            self.shape = (int(self.rng.integers(2, 12)),)
        self.is_image = self.is_map and self.shape[2] in (1, 3) and bool(self.rng.integers(2))
        self.input_bits = 8 if self.is_image else int(self.pick([1, 4, 8]))
        shift = int(self.pick([0, 0, 100])) if self.is_image else 0
        self.scaling = (float(self.pick([1.0, 15.0, 255.0])), shift)
        self.counts = 2**self.input_bits - 1
        start = (None, *self.shape) if has_time_axis else self.shape
        self.model = self._chain(keras.Input(start), blocks)

    def pick(self, choices: list[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def sequences(self, samples: int, steps: int) -> np.ndarray:
        """Integers as the runtime takes them, with silent steps."""
        x = self.rng.integers(0, self.counts + 1, (samples, steps, *self.shape))
        x *= self.rng.random(x.shape) < self.pick([0.1, 0.6, 1.0])
        x[:, self.rng.random(steps) < 0.3] = 0
        return x

    def reals(self, x: np.ndarray) -> np.ndarray:
        """The same as the Keras model takes them."""
        values = ((x.astype(np.float64) - self.scaling[1]) / self.scaling[0]).astype(np.float32)
        return values if self.has_time_axis else values[:, 0]

    def arguments(self) -> dict[str, Any]:
        options = {"input_scaling": self.scaling, "input_is_sparse": not self.is_image}
        return options if self.is_image else {**options, "input_bits": self.input_bits}

    def _over_time(self, layer: Any) -> Any:
        return layers.TimeDistributed(layer) if self.has_time_axis else layer

    def _chain(self, source: Any, blocks: int) -> keras.Model:
        x, is_map, most = source, self.is_map, self.counts
        for index in range(blocks):
            if is_map and index and self.rng.random() < 0.4:
                x, most = self._pooled(x, most)
            is_last_map = index == blocks - 1 or self.rng.random() < 0.4
            if is_map and is_last_map and index:
                x, is_map = self._over_time(layers.Flatten())(x), False
            x = self._weights(x, is_map, most, index)
            if is_map and self.rng.random() < 0.4:
                x = self._over_time(layers.BatchNormalization())(x)
            if is_map and self.rng.random() < 0.3 and not any(n % 2 for n in self._size(x)):
                x = self._over_time(layers.AveragePooling2D(2))(x)
            x, most = self._neurons(x)
        if self.has_time_axis:
            x = self._readout(x)
        model = keras.Model(source, x)
        self._stir(model)
        return model

    def _size(self, x: Any) -> tuple[int, int]:
        return tuple(x.shape[-3:-1])

    def _weights(self, x: Any, is_map: bool, most: int, index: int) -> Any:
        neurons = int(self.rng.integers(1, 6))
        bits = int(self.pick([2, 4, 8]))
        bias = bool(self.rng.integers(2))
        if not is_map:
            return self._over_time(
                QuantizedDense(neurons, quantizer=MaxPerAxisQuantizer(bits), use_bias=bias)
            )(x)
        smallest = min(self._size(x))
        options = {
            "strides": int(self.rng.integers(1, 3)),
            "padding": self.pick(["same", "valid"]),
            "use_bias": bias,
        }
        kernel = int(self.rng.integers(1, min(3, smallest) + 1))
        if index and most <= 255 and self.rng.random() < 0.4:
            quantizers = {
                "quantizer": MaxPerAxisQuantizer(bits),
                "quantizer_dw": MaxQuantizer(bits),
            }
            layer = QuantizedSeparableConv2D(neurons, kernel, **quantizers, **options)
        else:
            layer = QuantizedConv2D(neurons, kernel, quantizer=MaxPerAxisQuantizer(bits), **options)
        return self._over_time(layer)(x)

    def _pooled(self, x: Any, most: int) -> tuple[Any, int]:
        if min(self._size(x)) < 2:
            return x, most
        kind = self.pick([layers.MaxPooling2D, layers.AveragePooling2D, SumPooling2D])
        padding = self.pick(["valid", "same"]) if kind is not layers.AveragePooling2D else "valid"
        return self._over_time(kind(2, padding=padding))(x), most * (
            1 if kind is layers.MaxPooling2D else 4
        )

    def _neurons(self, x: Any) -> tuple[Any, int]:
        """Neurons, and the most spikes per step where the rule bounds them."""
        seed = self.pick([None, int(self.rng.integers(1000))])
        choice = self.rng.random()
        if not self.has_time_axis or choice < 0.45:
            rule = self.pick(["multi", "single", ("max", 3)])
            most = {"single": 1, "multi": 10**9}.get(rule, 3) if isinstance(rule, str) else 3
            layer = IAF(
                threshold=float(self.pick([1.0, 0.3, 5.0])),
                min_v=self.pick([None, 0.0, -1.5]),
                reset=self.pick(["subtract", "zero"]),
                spike_fn=rule,
                time_axis=self.has_time_axis,
                dt=self.dt,
                seed=seed,
            )
            return layer(x), most
        if choice < 0.55:
            return self._over_time(ActivationDiscreteRelu(int(self.pick([1, 2, 4]))))(x), 15
        function = self.pick(["relu", "relu", "linear"])
        return SpikingActivation(function, dt=self.dt, seed=seed)(x), 10**9

    def _readout(self, x: Any) -> Any:
        kind = self.rng.integers(4)
        if kind == 1:
            return Lowpass(0.05, dt=self.dt)(x)
        if kind >= 2:
            if len(x.shape) == 5:
                x = layers.TimeDistributed(layers.Flatten())(x)
            x = QuantizedDense(3, quantizer=MaxQuantizer(4))(x)
        return Alpha(0.02, dt=self.dt)(x) if kind == 3 else x

    def _stir(self, model: keras.Model) -> None:
        """Weights that make neurons spike, and no trivial biases or statistics."""
        for layer in model.layers:
            inner = layer.layer if isinstance(layer, layers.TimeDistributed) else layer
            if isinstance(inner, layers.BatchNormalization):
                inner.set_weights([self.rng.uniform(0.5, 2, w.shape) for w in inner.get_weights()])
            elif getattr(inner, "use_bias", False) and hasattr(inner, "bias"):
                inner.bias.assign(self.rng.normal(0, 0.3, inner.bias.shape))
