"""Activations with a few equal levels: a fixed one and one whose steps are learned."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from kerasnsoc.quantization.constraints import MinValueConstraint
from kerasnsoc.quantization.policy import check_dtype_policy
from kerasnsoc.quantization.quantizers import check_integer


def _staircase(x: Any, threshold: Any, step: Any, levels: int) -> Any:
    """``step * clip(ceil((x - threshold) / step), 0, levels)``; backwards, ceil is the identity."""

    @ops.custom_gradient
    def apply(x: Any, threshold: Any, step: Any) -> Any:
        # Graph compilers turn a division by a constant into a multiplication by its rounded
        # reciprocal, which moves edges; a divisor that depends on x keeps the division.
        z = (x - threshold) / ops.where(ops.isnan(x), x, step)
        level = ops.ceil(z)

        def grad(*args: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
            if upstream is None:
                (upstream,) = args
            zero = ops.zeros_like(upstream)
            inside = ops.logical_and(level >= 0, level <= levels)
            to_x = ops.where(inside, upstream, zero)
            slope = ops.where(inside, level - z, ops.where(level > levels, float(levels), zero))
            return to_x, -ops.sum(to_x), ops.sum(upstream * slope)

        return step * ops.clip(level, 0, levels), grad

    return apply(x, threshold, step)


class QuantizedActivation(keras.layers.Layer):
    """Base of the discrete activations.

    With threshold ``t``, step ``h`` and ``N = 2**bitwidth - 1`` the output is
    ``h * clip(ceil((x - t) / h), 0, N)``: up to and including ``t`` it is 0, and each interval of
    width ``h``, closed at its upper end, adds one step. The gradient passes where the level
    before clipping is from 0 to N, which reaches one step below the threshold. Outputs are
    multiples of the step width, so that step height and step width are one number.

    Parameters
    ----------
    bitwidth : int
        At least 1.
    **kwargs
        As of `keras.layers.Layer`; ``activation`` is refused.

    Raises
    ------
    ValueError
        If the bit width is not positive or the dtype policy neither float32 nor float64.
    TypeError
        If ``activation`` is passed.

    Notes
    -----
    *Input shape*: any. *Output shape*: that of the input.
    """

    def __init__(self, bitwidth: int = 1, **kwargs: Any) -> None:
        if "activation" in kwargs:
            error = TypeError("Unsupported argument in quantized activations", "activation")
            error.add_note("A quantized activation is the activation; leave the argument out.")
            raise error
        bitwidth = check_integer("bitwidth", bitwidth, 1)
        super().__init__(**kwargs)
        check_dtype_policy(self)
        self._bitwidth = bitwidth
        self.supports_masking = True

    @property
    def bitwidth(self) -> int:
        """Bits of a level."""
        return self._bitwidth

    @property
    def levels(self) -> int:
        """Number of levels above zero, ``2**bitwidth - 1``."""
        return int(2**self._bitwidth - 1)

    @property
    def threshold(self) -> float:
        """Lower edge: inputs up to here give 0. Exactly the stored number."""
        raise NotImplementedError(f"{type(self).__name__} does not define threshold")

    @property
    def step_width(self) -> float:
        """Width of an input interval. Exactly the stored number."""
        raise NotImplementedError(f"{type(self).__name__} does not define step_width")

    @property
    def step_height(self) -> float:
        """Distance between two output values."""
        return self.step_width

    @property
    def t0_k(self) -> float:
        """Older name of `threshold`."""
        return self.threshold

    @property
    def gamma_k(self) -> float:
        """Older name of `step_height`."""
        return self.step_height

    @property
    def step(self) -> float:
        """Step width in sixteenths of ``2**bitwidth`` steps: ``2**bitwidth * step_width / 16``."""
        return self.step_width * float(2**self._bitwidth) / 16

    def _edges(self) -> tuple[Any, Any]:
        """Threshold and step width as numbers or tensors, for `call`."""
        return self.threshold, self.step_width

    def call(self, inputs: Any) -> Any:
        # A copy reads a variable's value: functions with custom gradients take no variables.
        threshold, step = (ops.cast(ops.copy(v), self.compute_dtype) for v in self._edges())
        return _staircase(inputs, threshold, step, self.levels)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bitwidth": self._bitwidth}


def _number(variable: Any) -> float:
    # NumPy 2 deprecates the way in which TensorFlow variables, but not tensors, become arrays.
    return float(ops.convert_to_numpy(ops.copy(variable)))


def initial_step(bitwidth: int) -> float:
    """Step that spreads the levels over 0 … 6, or over 0 … N for fewer than six levels."""
    levels = 2**bitwidth - 1
    return float(np.float32(min(levels, 6) / levels))


@keras.saving.register_keras_serializable(package="kerasnsoc")
class ActivationDiscreteRelu(QuantizedActivation):
    """A ReLU with ``2**bitwidth`` values from 0 to 6 (1 bit: 0 and 1; 2 bits: 0 to 3).

    The threshold is half a step, so that each value lies in the middle of its interval.
    It has no variables.

    Parameters
    ----------
    bitwidth : int
        At least 1.
    **kwargs
        As of `keras.layers.Layer`.

    Notes
    -----
    *Input shape*: any. *Output shape*: that of the input.

    Examples
    --------
    >>> y = ActivationDiscreteRelu(bitwidth=2)(np.array([0.5, 0.75, 1.5, 9.0], "f4"))
    >>> ops.convert_to_numpy(y)
    array([0., 1., 1., 3.], dtype=float32)
    """

    @property
    def threshold(self) -> float:
        return 0.5 * self.step_width

    @property
    def step_width(self) -> float:
        return initial_step(self._bitwidth)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class QuantizedReLU(QuantizedActivation):
    """A discrete ReLU whose threshold and step are learned.

    Variables, in this order: ``t0``, the threshold, and ``step``, the step width times
    ``2**bitwidth / 16``, which training keeps at or above 1e-6. At first it equals
    `ActivationDiscreteRelu`.

    Parameters
    ----------
    bitwidth : int
        At least 1.
    **kwargs
        As of `keras.layers.Layer`.

    Notes
    -----
    *Input shape*: any. *Output shape*: that of the input.
    """

    def __init__(self, bitwidth: int = 1, **kwargs: Any) -> None:
        super().__init__(bitwidth, **kwargs)
        self._t0: Any = None
        self._step: Any = None

    @property
    def _width_of_step(self) -> float:
        return float(16 / 2**self._bitwidth)

    def build(self, input_shape: Any) -> None:
        check_dtype_policy(self)
        width = initial_step(self._bitwidth)
        self._t0 = self.add_weight(
            name="t0", shape=(), initializer=keras.initializers.Constant(0.5 * width)
        )
        self._step = self.add_weight(
            name="step",
            shape=(),
            initializer=keras.initializers.Constant(width / self._width_of_step),
            # At or below zero the levels would not rise with the input any more.
            constraint=MinValueConstraint(1e-6),
        )

    @property
    def threshold(self) -> float:
        if self._t0 is None:
            return 0.5 * initial_step(self._bitwidth)
        return _number(self._t0)

    @property
    def step_width(self) -> float:
        if self._step is None:
            return initial_step(self._bitwidth)
        # The factor is a power of two: the product is exact.
        return _number(self._step) * self._width_of_step

    def _edges(self) -> tuple[Any, Any]:
        return self._t0, self._step * self._width_of_step
