"""Which dtype policies a quantized layer takes."""

from __future__ import annotations

import keras


def check_dtype_policy(layer: keras.layers.Layer) -> None:
    """Refuse layers that compute or store in anything but float32 or float64.

    Raises
    ------
    ValueError
        Naming the layer and its policy.
    """
    policy = layer.dtype_policy
    dtypes = {layer.compute_dtype, layer.variable_dtype}
    if dtypes not in ({"float32"}, {"float64"}) or policy.quantization_mode is not None:
        raise ValueError(
            f"Layer {layer.name!r} has the dtype policy {policy.name!r}, but quantized layers "
            "compute in float32 or float64, whose integers are exact. Pass dtype='float32', and "
            "build the model outside of a mixed policy."
        )
