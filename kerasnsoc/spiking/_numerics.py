"""Arithmetic that gives the same bits in eager, graph and XLA execution."""

from __future__ import annotations

import hashlib
from typing import Any

import keras
import numpy as np
from keras import ops

_LARGEST = {
    "float16": 65504.0,
    "bfloat16": (2 - 2.0**-7) * 2.0**127,
    "float32": float(np.finfo("float32").max),
    "float64": float(np.finfo("float64").max),
}


def product(a: Any, b: Any) -> Any:
    """``a * b``, rounded before anything is added to it.

    XLA fuses a product with the sum that takes it, skipping one rounding; a neuron close to its
    threshold then spikes a step earlier or later than in graph mode. A minimum in between, which
    changes no finite number, keeps the two apart.
    """
    result = ops.multiply(a, b)
    largest = _LARGEST[keras.backend.standardize_dtype(result.dtype)]
    return ops.minimum(result, ops.convert_to_tensor(largest, dtype=result.dtype))


def quotient(a: Any, b: Any) -> Any:
    """``a / b``, correctly rounded in single precision.

    Graph optimizers turn a division by a constant into a product with its rounded inverse, which
    is off by one unit in the last place in a third of all cases. In double precision that error
    vanishes with the final rounding, as quotients of two 24-bit numbers keep a distance of 2**-49
    from every midpoint. JAX has double precision only if it is asked for (``JAX_ENABLE_X64=1``);
    without, a quotient may be off by that unit.
    """
    dtype = keras.backend.standardize_dtype(a.dtype)
    if dtype != "float32" or not _has_float64():
        return ops.divide(a, b)
    wide = ops.divide(ops.cast(a, "float64"), ops.cast(b, "float64"))
    return ops.cast(wide, dtype)


def _has_float64() -> bool:
    if keras.backend.backend() != "jax":
        return True
    import jax

    return bool(jax.config.jax_enable_x64)


def straight_through(value: Any, gradient_of: Any) -> Any:
    """`value` forward, the gradient of `gradient_of` backward.

    The difference is exactly 0, so that not one bit of the value changes.
    """
    return ops.add(
        ops.stop_gradient(value), ops.subtract(gradient_of, ops.stop_gradient(gradient_of))
    )


def hashed_uniform(seed: int, shape: tuple[Any, int], dtype: str) -> Any:
    """Numbers in [0, 1) that depend on the seed and on the flat index of the element alone.

    Backends draw other numbers with the same seed when they compile, and other numbers on other
    devices; integers are the same everywhere.

    Parameters
    ----------
    seed : int
    shape : tuple
        (batch, elements); the batch may be a tensor.
    dtype : str
        A float type of at least 24 bits of precision; all give the same numbers.

    Returns
    -------
    tensor of `shape`
        Multiples of 2**-24.

    References
    ----------
    .. [1] C. Wellons, "Prospecting for Hash Functions", 2018: the 32-bit finalizer ``lowbias32``.
    """
    digest = hashlib.sha256(str(seed).encode()).digest()
    keys = [int.from_bytes(digest[i : i + 4], "little") for i in (0, 4)]
    index = ops.cast(ops.arange(shape[0] * shape[1], dtype="int32"), "uint32")
    mixed = _mix(ops.bitwise_xor(_mix(ops.add(index, _u32(keys[0]))), _u32(keys[1])))
    top = ops.cast(ops.right_shift(mixed, _u32(8)), dtype)
    return ops.reshape(ops.multiply(top, 2.0**-24), shape)


def _mix(x: Any) -> Any:
    x = ops.bitwise_xor(x, ops.right_shift(x, _u32(16)))
    x = ops.multiply(x, _u32(0x7FEB352D))
    x = ops.bitwise_xor(x, ops.right_shift(x, _u32(15)))
    x = ops.multiply(x, _u32(0x846CA68B))
    return ops.bitwise_xor(x, ops.right_shift(x, _u32(16)))


def _u32(number: int) -> Any:
    return ops.convert_to_tensor(np.uint32(number))
