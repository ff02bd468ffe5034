"""What Keras does not offer on JAX is refused, so that it does not differ in silence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from kerasnsoc.spiking._time_step import is_variable


def refuse_lost_state(layer: Any) -> None:
    """A kept state that the trainer of Keras would throw away.

    Raises
    ------
    NotImplementedError
        If the layer is stateful and runs inside `fit`, `evaluate`, `predict` or ``jax.jit``.
    """
    if layer.stateful and keras.backend.backend() == "jax" and _is_running_for_a_function():
        raise NotImplementedError(
            f"layer {layer.name!r} is stateful, but Keras keeps no such state through fit, "
            "evaluate or predict on the JAX backend. Call the model itself, model(x), which does; "
            "or use return_state=True and initial_state=...; or the TensorFlow backend."
        )


def refuse_fixed_time_step(layer: Any) -> None:
    """A Variable whose value would become a constant of compiled code.

    Raises
    ------
    NotImplementedError
        If `dt` is a Variable and JAX compiles the layer.
    """
    if is_variable(layer.dt) and keras.backend.backend() == "jax" and _is_compiling():
        raise NotImplementedError(
            f"dt of layer {layer.name!r} is a Variable, but functions compiled by JAX would keep "
            "the value that it has now. Pass a number as dt; or compile the model with "
            "run_eagerly=True; or use the TensorFlow backend."
        )


def must_be_called(layers: Iterable[Any]) -> bool:
    """Whether one of the layers would be refused in `predict`, but not in a call."""
    return keras.backend.backend() == "jax" and any(
        getattr(layer, "stateful", False) or is_variable(getattr(layer, "dt", None))
        for layer in layers
    )


def _is_compiling() -> bool:
    import jax

    # Inside jax.jit even sums of constants are recorded; in plain calls and jax.grad they are not.
    return isinstance(ops.add(ops.zeros(()), 1), jax.core.Tracer) and not _is_building()


def _is_running_for_a_function() -> bool:
    # Keras has no public way to ask. In such a scope, what is assigned to a Variable is lost
    # unless it is a weight.
    from keras.src.backend.common.stateless_scope import in_stateless_scope

    return (in_stateless_scope() and not _is_building()) or _is_compiling()


def _is_building() -> bool:
    """Whether only shapes are worked out."""
    from keras.src.backend.common.symbolic_scope import in_symbolic_scope

    return bool(in_symbolic_scope())
