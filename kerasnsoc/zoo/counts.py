"""Work of a network if nothing were sparse."""

from __future__ import annotations

import math

import keras

from kerasnsoc.quantization.layers import QuantizedLayer

_NEURAL = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
    QuantizedLayer,
)


def multiplications(model: keras.Model) -> dict[str, int]:
    """Multiplications of each layer with weights, for one input.

    Parameters
    ----------
    model : keras.Model
        With all dimensions of its input.

    Returns
    -------
    dict of str to int
        By layer name, in the order of the model.

    Raises
    ------
    ValueError
        If a dimension is open.
    """
    counts = {}
    for layer in model.layers:
        if not isinstance(layer, _NEURAL):
            continue
        positions = layer.output.shape[1:-1]
        if None in positions:
            raise ValueError(
                f"layer {layer.name!r} has the open shape {layer.output.shape}; give the model's "
                f"input all its dimensions"
            )
        kernels = [w for w in layer.weights if w.path.rsplit("/", 1)[-1].endswith("kernel")]
        counts[layer.name] = math.prod(positions) * sum(math.prod(w.shape) for w in kernels)
    return counts
