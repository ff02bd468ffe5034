"""Weight quantizers: the integer that a weight becomes, and the gradient that training sees."""

from __future__ import annotations

import math
import operator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from kerasnsoc.quantization.constraints import MinValueConstraint

_SMALLEST_NORMAL = 2.0**-126


def check_integer(name: str, value: Any, least: int) -> int:
    """The value as int, or ValueError if it is no integer or below `least`."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}, but must be an integer from {least} on.") from None
    if number < least:
        raise ValueError(f"{name} is {number}, but must be an integer from {least} on.")
    return number


def _positive(name: str, value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {value!r}, but must be a finite number above 0.")
    return number


def _as_weights(w: Any) -> Any:
    """A float32 tensor; float64 stays float64."""
    # A copy reads a variable's value: functions with custom gradients take no variables.
    w = ops.copy(w)
    dtype = keras.backend.standardize_dtype(w.dtype)
    return w if dtype in ("float32", "float64") else ops.cast(w, "float32")


def _sum_to_shape(x: Any, shape: tuple[int, ...]) -> Any:
    """Sum over the axes along which `shape` was broadcast."""
    lead = len(x.shape) - len(shape)
    axes = [*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1)]
    return ops.reshape(ops.sum(x, axis=axes) if axes else x, shape)


def _round_to_levels(w: Any, scale_factor: Any, kmax: int) -> Any:
    """``clip(round(w * scale_factor), -kmax, kmax) / scale_factor``, straight through backwards.

    Backwards, rounding counts as the identity: the weight's gradient passes where the rounded
    value needs no clipping, and the scale factor has the gradient of the surrogate that remains.
    """

    @ops.custom_gradient
    def apply(w: Any, scale_factor: Any) -> Any:
        # Integers are decided in float32 under every dtype policy, so that a float64 evaluation
        # of a model has the same integers.
        scaled = ops.cast(w, "float32") * scale_factor
        rounded = ops.round(scaled)
        levels = ops.cast(ops.clip(rounded, -kmax, kmax), w.dtype)
        # Graph compilers turn a division by a constant into a multiplication by its rounded
        # reciprocal; a divisor that depends on the weights keeps the division, and its rounding.
        divisor = ops.where(ops.isnan(w), w, ops.cast(scale_factor, w.dtype))

        def grad(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
            if upstream is None:
                (upstream,) = args
            inside = ops.abs(rounded) <= kmax
            to_w = ops.where(inside, upstream, ops.zeros_like(upstream))
            excess = ops.where(inside, scaled - rounded, -kmax * ops.sign(rounded))
            slope = excess / scale_factor / scale_factor
            to_scale = _sum_to_shape(
                ops.cast(upstream, "float32") * slope, tuple(scale_factor.shape)
            )
            return to_w, to_scale

        return levels / divisor, grad

    return apply(w, scale_factor)


class Quantizer:
    """Common part of all weight quantizers.

    A quantizer has ``bitwidth`` (0: the weights stay as they are), ``quantize(w)`` and
    ``scale_factor(w)``, the reciprocal of the quantization step: ``quantize(w) *
    scale_factor(w)`` is an integer up to one rounding. Both take tensors, variables and arrays
    and compute in float32; for float64 weights the integers and the scale factor are those of
    float32, and the quantized weights are float64.

    It is no Keras layer, since a layer's ``quantize`` method is Keras's own. One that
    learns keeps its variables in a small layer that `build` returns and that the owning layer
    tracks.

    Parameters
    ----------
    name : str, optional
        Name of the layer that holds the variables, where there are any.
    trainable : bool
        Whether the variables, if there are any, are trained.
    """

    bitwidth: int = 0
    is_shared: bool = False
    """Whether several layers use the variables of this instance."""

    def __init__(self, *, name: str | None = None, trainable: bool = True) -> None:
        self.name = name
        self.trainable = bool(trainable)

    def quantize(self, w: Any) -> Any:
        """Quantized weights, of the shape of `w`."""
        raise NotImplementedError(f"{type(self).__name__} does not define quantize(w)")

    def scale_factor(self, w: Any) -> Any:
        """Integers per unit of weight: a float32 scalar, or a vector along the last axis."""
        raise NotImplementedError(f"{type(self).__name__} does not define scale_factor(w)")

    def build(self, shape: tuple[int, ...], name: str = "quantizer") -> keras.layers.Layer | None:
        """Create the variables, once.

        Parameters
        ----------
        shape : tuple of int
            Shape of the weights to be quantized.
        name : str
            Name of the layer with the variables, unless the quantizer has its own.

        Returns
        -------
        keras.layers.Layer or None
            The layer that holds the variables; None if there are none.
        """
        del shape, name
        return None

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Quantizer:
        # Quantizers of other toolkits are layers and carry a dtype; ours are float32 throughout.
        return cls(**{key: value for key, value in config.items() if key != "dtype"})

    def with_bitwidth(self, bitwidth: int) -> Quantizer:
        """A new quantizer of the same class and arguments, but another bit width."""
        return type(self).from_config({**self.get_config(), "bitwidth": bitwidth})

    def __repr__(self) -> str:
        arguments = {k: v for k, v in self.get_config().items() if k not in ("name", "trainable")}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"


class LinearWeightQuantizer(Quantizer):
    """Equal steps, symmetric around zero: integers from ``-kmax`` to ``kmax``.

    ``kmax`` is ``2**(bitwidth - 1) - 1``: the lowest two's complement value is never used. A
    subclass defines ``scale_factor(w)``; `scale_factor_of_range` turns the largest weight that
    is to be kept into one. A constructor of its own takes ``name`` and ``trainable`` as well, for
    instance as ``**kwargs``, and is registered with
    `keras.saving.register_keras_serializable`.

    Parameters
    ----------
    bitwidth : int
        At least 2.
    max_scale_factor : float, optional
        Upper bound of the scale factor. It keeps thresholds small at the price of
        weights below half a step becoming zero.
    name, trainable
        See `Quantizer`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Forward: ``clip(round(w * sf), -kmax, kmax) / sf``, halves rounded to even. Backward: rounding
    counts as the identity, with ``z = w * sf`` and ``r = round(z)``::

        d/dw  = 1 where |r| <= kmax, else 0
        d/dsf = (z - r) / sf**2 where |r| <= kmax, else -sign(r) * kmax / sf**2

    and the gradient of ``sf`` reaches the weights as well: the scale factor is not detached.
    """

    def __init__(
        self,
        bitwidth: int = 4,
        max_scale_factor: float | None = None,
        *,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(name=name, trainable=trainable)
        self.bitwidth = check_integer("bitwidth", bitwidth, 2)
        if max_scale_factor is not None:
            max_scale_factor = _positive("max_scale_factor", max_scale_factor)
        self.max_scale_factor = max_scale_factor

    @property
    def kmax(self) -> int:
        """Largest integer."""
        return int(2 ** (self.bitwidth - 1) - 1)

    def quantize(self, w: Any) -> Any:
        w = _as_weights(w)
        return _round_to_levels(w, ops.cast(self.scale_factor(w), "float32"), self.kmax)

    def scale_factor_of_range(self, limit: Any) -> Any:
        """``kmax / limit``; 1 where the range is empty, so that an all-zero filter stays zero.

        Ranges whose scale factor would leave the normal float32 numbers count as empty.
        """
        limit = ops.convert_to_tensor(limit)
        usable = limit >= self.kmax * _SMALLEST_NORMAL
        # The inner `where` keeps the gradient of the unused branch finite.
        scale = ops.where(usable, self.kmax / ops.where(usable, limit, 1.0), 1.0)
        if self.max_scale_factor is not None:
            scale = ops.minimum(scale, self.max_scale_factor)
        return scale

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "bitwidth": self.bitwidth,
            "max_scale_factor": self.max_scale_factor,
        }


def _float32(w: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(w), "float32")


def _population_std(w: Any) -> Any:
    """Standard deviation over all elements, with a zero gradient where it is zero."""
    # Sums in float64 round to the same float32 in whatever order a compiler adds, so that eager
    # and compiled models have the same integers. JAX has no float64 unless told so.
    w = ops.cast(w, "float32" if keras.backend.backend() == "jax" else "float64")
    variance = ops.mean(ops.square(w - ops.mean(w)))
    varies = variance > 0
    deviation = ops.where(varies, ops.sqrt(ops.where(varies, variance, 1.0)), 0.0)
    return ops.cast(deviation, "float32")


@keras.saving.register_keras_serializable(package="kerasnsoc")
class WeightQuantizer(LinearWeightQuantizer):
    """Range in standard deviations: weights up to ``threshold * std(w)`` are told apart.

    The standard deviation is that of all elements of the kernel, mean removed and divided by
    their number. One scale factor for the whole kernel.

    Parameters
    ----------
    threshold : float
        In standard deviations, above 0. Common values are 1 for two bits and 3 for more.
    bitwidth, max_scale_factor, name, trainable
        See `LinearWeightQuantizer`.

    Examples
    --------
    >>> q, scale_factor = integer_weights(WeightQuantizer(1, bitwidth=2), [-0.9, 0.1, 0.8])
    >>> q
    array([-1,  0,  1], dtype=int8)
    """

    def __init__(
        self,
        threshold: float = 3,
        bitwidth: int = 4,
        max_scale_factor: float | None = None,
        *,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(bitwidth, max_scale_factor, name=name, trainable=trainable)
        self.threshold = _positive("threshold", threshold)

    def scale_factor(self, w: Any) -> Any:
        return self.scale_factor_of_range(self.threshold * _population_std(_float32(w)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


class _Threshold(keras.layers.Layer):
    """Holder of one trainable scalar; Keras tracks and saves layers, not quantizers."""

    def __init__(self, initial: float, trainable: bool, name: str) -> None:
        super().__init__(name=name, trainable=trainable, dtype="float32")
        self._initial = initial

    def build(self, input_shape: Any = None) -> None:
        self.threshold = self.add_weight(
            name="threshold",
            shape=(),
            initializer=keras.initializers.Constant(self._initial),
            # At or below zero the scale factor, and every firing threshold with it, loses its sign.
            constraint=MinValueConstraint(1e-6),
        )


@keras.saving.register_keras_serializable(package="kerasnsoc")
class TrainableWeightQuantizer(LinearWeightQuantizer):
    """As `WeightQuantizer`, with a threshold that is learned.

    The threshold is a scalar variable of the owning layer, the last of its weights. Its value
    travels with the weights; the configuration holds the initial one. Training keeps it at or
    above 1e-6. Layers that are given one and the same instance share the variable.

    Parameters
    ----------
    threshold : float
        Initial value, in standard deviations, above 0.
    bitwidth, max_scale_factor, name, trainable
        See `LinearWeightQuantizer`.
    """

    def __init__(
        self,
        threshold: float = 3,
        bitwidth: int = 4,
        max_scale_factor: float | None = None,
        *,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(bitwidth, max_scale_factor, name=name, trainable=trainable)
        self.initial_threshold = _positive("threshold", threshold)
        self._holder: _Threshold | None = None

    @property
    def threshold(self) -> Any:
        """The variable; before `build`, the initial value."""
        return self.initial_threshold if self._holder is None else self._holder.threshold

    def build(self, shape: tuple[int, ...], name: str = "quantizer") -> keras.layers.Layer:
        self.is_shared = self._holder is not None
        if self._holder is None:
            holder = _Threshold(self.initial_threshold, self.trainable, self.name or name)
            holder.build()
            self._holder = holder
        return self._holder

    def scale_factor(self, w: Any) -> Any:
        threshold = ops.cast(ops.convert_to_tensor(self.threshold), "float32")
        return self.scale_factor_of_range(threshold * _population_std(_float32(w)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.initial_threshold}


@keras.saving.register_keras_serializable(package="kerasnsoc")
class MaxQuantizer(LinearWeightQuantizer):
    """Range up to the largest magnitude of the kernel; one scale factor for the whole kernel.

    Parameters
    ----------
    bitwidth, max_scale_factor, name, trainable
        See `LinearWeightQuantizer`.

    Examples
    --------
    >>> q, scale_factor = integer_weights(MaxQuantizer(4), [-1.0, 0.5, 0.1])
    >>> q
    array([-7,  4,  1], dtype=int8)
    >>> scale_factor
    array(7., dtype=float32)
    """

    def scale_factor(self, w: Any) -> Any:
        return self.scale_factor_of_range(ops.max(ops.abs(_float32(w))))


@keras.saving.register_keras_serializable(package="kerasnsoc")
class MaxPerAxisQuantizer(LinearWeightQuantizer):
    """Range up to the largest magnitude along the last axis: one scale factor per filter or unit.

    Parameters
    ----------
    bitwidth, max_scale_factor, name, trainable
        See `LinearWeightQuantizer`.

    Examples
    --------
    >>> q, scale_factor = integer_weights(MaxPerAxisQuantizer(4), [[-1.0, 0.5], [0.5, 0.25]])
    >>> q
    array([[-7,  7],
           [ 4,  4]], dtype=int8)
    >>> scale_factor
    array([ 7., 14.], dtype=float32)
    """

    def scale_factor(self, w: Any) -> Any:
        w = _float32(w)
        axes = list(range(len(w.shape) - 1))
        magnitudes = ops.abs(w)
        return self.scale_factor_of_range(ops.max(magnitudes, axis=axes) if axes else magnitudes)


@keras.saving.register_keras_serializable(package="kerasnsoc")
class ScaleFactorQuantizer(LinearWeightQuantizer):
    """Scale factors that are given and stay, whatever becomes of the weights.

    Parameters
    ----------
    bitwidth : int
        At least 2.
    scale_factors : float or array_like
        Positive float32 numbers that broadcast to the shape of the weights: a scalar, or one
        per element of the last axis.
    max_scale_factor, name, trainable
        See `LinearWeightQuantizer`.

    Raises
    ------
    ValueError
        If a scale factor is not a normal positive float32 number, or the shapes do not fit.
    """

    def __init__(
        self,
        bitwidth: int = 4,
        scale_factors: npt.ArrayLike = 1.0,
        max_scale_factor: float | None = None,
        *,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(bitwidth, max_scale_factor, name=name, trainable=trainable)
        given = np.asarray(scale_factors, dtype=np.float64)
        # The step is the reciprocal: both must be normal float32 numbers.
        bad = ~((given >= _SMALLEST_NORMAL) & (given <= 1 / _SMALLEST_NORMAL))
        if bad.any():
            raise ValueError(
                f"scale factor {given[bad].flat[0]!r} is not between 2**-126 and 2**126, the "
                "normal positive float32 numbers whose reciprocals are normal too."
            )
        self.scale_factors = given.astype(np.float32)
        self.scale_factors.flags.writeable = False

    def scale_factor(self, w: Any) -> Any:
        self._check_shape(tuple(ops.shape(w)))
        scale = ops.convert_to_tensor(self.scale_factors)
        if self.max_scale_factor is not None:
            scale = ops.minimum(scale, self.max_scale_factor)
        return scale

    def build(self, shape: tuple[int, ...], name: str = "quantizer") -> None:
        self._check_shape(tuple(shape))

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        own = self.scale_factors.shape
        try:
            fits = np.broadcast_shapes(own, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"scale factors of shape {own} do not broadcast to weights of shape {shape}. "
                f"Pass one number, or {shape[-1:]} of them."
            )

    def with_bitwidth(self, bitwidth: int) -> ScaleFactorQuantizer:
        """A new quantizer that keeps the range: the scale factors grow with the largest integer."""
        config = {**self.get_config(), "bitwidth": bitwidth}
        new = type(self).from_config({**config, "scale_factors": 1.0})
        assert isinstance(new, ScaleFactorQuantizer)
        scaled = self.scale_factors.astype(np.float64) * (new.kmax / self.kmax)
        return type(self).from_config({**config, "scale_factors": scaled.tolist()})  # type: ignore[return-value]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale_factors": self.scale_factors.tolist()}


@keras.saving.register_keras_serializable(package="kerasnsoc")
class WeightFloat(Quantizer):
    """No quantization: weights pass unchanged, with scale factor 1 and bit width 0.

    Parameters
    ----------
    name, trainable
        See `Quantizer`.
    """

    def quantize(self, w: Any) -> Any:
        return ops.convert_to_tensor(w)

    def scale_factor(self, w: Any) -> Any:
        del w
        return ops.convert_to_tensor(1.0, dtype="float32")


StdWeightQuantizer = WeightQuantizer
TrainableStdWeightQuantizer = TrainableWeightQuantizer

QUANTIZERS: dict[str, type[Quantizer]] = {
    "WeightQuantizer": WeightQuantizer,
    "StdWeightQuantizer": WeightQuantizer,
    "TrainableWeightQuantizer": TrainableWeightQuantizer,
    "TrainableStdWeightQuantizer": TrainableWeightQuantizer,
    "MaxQuantizer": MaxQuantizer,
    "MaxPerAxisQuantizer": MaxPerAxisQuantizer,
    "ScaleFactorQuantizer": ScaleFactorQuantizer,
    "WeightFloat": WeightFloat,
}
"""Classes by every name that a saved configuration may use."""


def get(identifier: Any) -> Quantizer:
    """Get a weight quantizer.

    Parameters
    ----------
    identifier : Quantizer or dict
        An instance, which is returned as it is, or what `serialize` made of one.

    Raises
    ------
    ValueError
        If it is neither, or names an unknown class.
    """
    if isinstance(identifier, Quantizer):
        return identifier
    if isinstance(identifier, dict):
        name = identifier.get("class_name")
        # Look names up, never import them: a saved model may come from anywhere.
        cls = keras.saving.get_registered_object(str(identifier.get("registered_name")))
        cls = cls or QUANTIZERS.get(str(name)) or keras.saving.get_registered_object(str(name))
        if isinstance(cls, type) and issubclass(cls, Quantizer):
            found = keras.saving.deserialize_keras_object(
                {
                    **identifier,
                    "module": cls.__module__,
                    "class_name": cls.__name__,
                    "registered_name": keras.saving.get_registered_name(cls),
                },
                custom_objects={cls.__name__: cls},
            )
            assert isinstance(found, Quantizer)
            return found
    raise ValueError(
        f"{identifier!r} is no weight quantizer. Pass an instance such as "
        "MaxPerAxisQuantizer(bitwidth=4), or a serialized one of these classes: "
        f"{', '.join(QUANTIZERS)}; own classes derive from LinearWeightQuantizer and are "
        "registered with keras.saving.register_keras_serializable."
    )


def serialize(quantizer: Quantizer) -> dict[str, Any]:
    """The dict that `get` takes back."""
    serialized = dict(keras.saving.serialize_keras_object(quantizer))
    if quantizer.is_shared:
        # Keras marks shared objects too, but forgets the mark inside a layer's configuration.
        serialized["shared_object_id"] = id(quantizer)
    return serialized


def integers_as_float(
    quantizer: Quantizer, w: Any
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Integers of any bit width as float64, and the scale factor; see `integer_weights`."""
    if quantizer.bitwidth == 0:
        raise ValueError(
            f"{type(quantizer).__name__} leaves weights as floats, so they have no integers. "
            "Quantize the layer first, for example with quantize(model, weight_quantization=4)."
        )
    scale = np.asarray(ops.convert_to_numpy(quantizer.scale_factor(w)), dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        product = np.asarray(ops.convert_to_numpy(quantizer.quantize(w))) * scale
        q = np.rint(product).astype(np.float64)
        # Two float32 roundings move the product by far less; a quantizer that breaks the
        # contract, or a weight that is not finite, by more.
        bad = ~(np.abs(product - q) <= 1e-3 + 1e-6 * np.abs(q))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{quantizer!r} gives no integer for weight {index}: quantized value times scale "
            f"factor is {product[index]!r}. Check that the weights are finite."
        )
    return q, scale


def integer_weights(
    quantizer: Quantizer, w: Any
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Integers of a kernel, ``round(quantize(w) * scale_factor(w))``, and their scale factor.

    Parameters
    ----------
    quantizer : Quantizer
        With 2 to 8 bits.
    w : array_like, tensor or variable
        The float weights.

    Returns
    -------
    q : ndarray of int8
        Of the shape of `w`.
    scale_factor : ndarray of float32
        Scalar, or one per element of the last axis; ``w`` is close to ``q / scale_factor``.

    Raises
    ------
    ValueError
        If the quantizer keeps floats, has more than 8 bits, or a weight is not finite.
    """
    if quantizer.bitwidth > 8:
        raise ValueError(
            f"{quantizer!r} has {quantizer.bitwidth} bits, but integer weights have 2 to 8. "
            "Quantize the layer with 8 bits or fewer."
        )
    q, scale = integers_as_float(quantizer, w)
    return q.astype(np.int8), scale
