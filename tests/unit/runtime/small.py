"""Small models that several tests of the runtime share."""

from __future__ import annotations

import numpy as np

from kerasnsoc.runtime import FullyConnected, InputData, Layer, Model


def model_of(*layers: Layer) -> Model:
    """Layers one behind the other."""
    model = Model()
    for layer in layers:
        model.add(layer)
    return model


def adder(inputs: int = 4, **arguments: object) -> Model:
    """One neuron that adds 4-bit inputs up; potentials unless `arguments` say otherwise."""
    arguments = {"activations_enabled": False, **arguments}
    model = model_of(InputData(1, 1, inputs, name="in"), FullyConnected(1, "sum", **arguments))
    model.get_layer("sum").set_variable("weights", np.ones((1, 1, inputs, 1), np.int8))
    return model


def batch(*samples: list[int]) -> np.ndarray:
    """Samples of a network that takes (1, 1, channels)."""
    return np.array(samples, np.uint8)[:, None, None, :]


def fill(model: Model, seed: int = 0) -> Model:
    """Random weights for every layer."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for name in layer.get_variable_names():
            if name.startswith("weights"):
                bits = layer.parameters.weights_bits
                top = 1 if bits == 1 else 2 ** (bits - 1) - 1
                low = 0 if bits == 1 else -top
                shape = layer.get_variable(name).shape
                layer.set_variable(name, rng.integers(low, top + 1, shape, dtype=np.int8))
    return model
