"""Gradients and compilation on whichever backend Keras runs, and the plain NumPy quantizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


def gradients(f: Callable[..., Any], upstream: Any, *arrays: Any) -> tuple[Any, list[np.ndarray]]:
    """Value of ``f(*arrays)`` and the gradients of ``sum(upstream * value)``."""
    tensors = [keras.ops.convert_to_tensor(a) for a in arrays]
    if keras.backend.backend() == "jax":
        import jax

        value, pull = jax.vjp(f, *tensors)
        found = pull(keras.ops.convert_to_tensor(upstream, dtype=value.dtype))
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = f(*tensors)
        found = tape.gradient(value, tensors, output_gradients=tf.constant(upstream, value.dtype))
    return np.asarray(value), [np.asarray(g) for g in found]


def variable_gradients(f: Callable[[], Any], variables: Sequence[Any]) -> list[np.ndarray]:
    """Gradients of the sum of ``f()`` for Keras variables."""
    if keras.backend.backend() == "jax":
        import jax

        def total(values: Any) -> Any:
            mapping = list(zip(variables, values, strict=True))
            with keras.StatelessScope(state_mapping=mapping):
                return keras.ops.sum(f())

        found = jax.grad(total)([v.value for v in variables])
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            total_value = tf.reduce_sum(f())
        found = tape.gradient(total_value, [v.value for v in variables])
    return [np.asarray(g) for g in found]


def compiled(f: Callable[..., Any], how: str) -> Callable[..., np.ndarray]:
    """The function as the backend runs it: ``"eager"``, ``"graph"`` or ``"xla"``."""
    if keras.backend.backend() == "jax":
        import jax

        g = f if how == "eager" else jax.jit(f)
    else:
        import tensorflow as tf

        g = f if how == "eager" else tf.function(f, jit_compile=how == "xla")
    return lambda *a: np.asarray(g(*(keras.ops.convert_to_tensor(x) for x in a)))


def numeric_gradient(
    f: Callable[[np.ndarray], float], w: np.ndarray, h: float = 1e-6
) -> np.ndarray:
    """Central differences in float64."""
    w = w.astype(np.float64)
    gradient = np.zeros_like(w)
    for index in np.ndindex(*w.shape):
        step = np.zeros_like(w)
        step[index] = h
        gradient[index] = (f(w + step) - f(w - step)) / (2 * h)
    return gradient


def numbers(x: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.copy(x)))


def chain(*layers: Any, shape: tuple[int, ...] = (8, 8, 3), name: str = "chain") -> keras.Model:
    """A Sequential model with random weights; gammas and variances are positive."""
    from tests.layer_test import randomize

    model = keras.Sequential([keras.Input(shape), *layers], name=name)
    randomize(model)
    return model


def images(n: int = 4, shape: tuple[int, ...] = (8, 8, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def snapshot(model: keras.Model) -> tuple[Any, list[np.ndarray]]:
    """What must not change when a model is only read."""
    return model.get_config(), [w.copy() for w in model.get_weights()]


def assert_unchanged(model: keras.Model, before: tuple[Any, list[np.ndarray]]) -> None:
    config, weights = snapshot(model)
    assert config == before[0]
    for a, b in zip(weights, before[1], strict=True):
        np.testing.assert_array_equal(a, b)
