"""How a layer learns: from the first weights over samples to more classes.

A neuron owns a fixed number of binary weights. Of each sample one neuron learns at most: the one
that responds most above its threshold, else one that has never learned. It moves its weights
towards the sample, by a rule that has a module of its own, and less with every step.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.checks import check_parameters, variable_shapes
from kerasnsoc.artifact.geometry import Dims, output_dims, spatial_geometry
from kerasnsoc.artifact.learning import (
    LEARNING_SHARES,
    ONE,
    check_learning,
    connections_per_neuron,
)
from kerasnsoc.artifact.limits import INT32_MAX
from kerasnsoc.artifact.schema import (
    LEARNING_LAYER_TYPES,
    VARIABLE_DTYPES,
    ActivationParameters,
    ConvolutionalParameters,
    FullyConnectedParameters,
    LayerParameters,
    LayerSpec,
    LearningSpec,
    PoolingType,
)
from kerasnsoc.runtime import learning_majority, learning_swap
from kerasnsoc.runtime.emission import emitted, synaptic_operations
from kerasnsoc.runtime.plan import threshold_table
from kerasnsoc_ext import _learning

Arrays = dict[str, npt.NDArray[Any]]

RULES = {module.NAME: module for module in (learning_majority, learning_swap)}


class _Layer(Protocol):
    """What is asked of a model's layers here."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> LayerParameters: ...


_LayerT = TypeVar("_LayerT", bound=_Layer)

CHUNK_BYTES = 1 << 25
"""Raw potentials that are held at a time where they are not the outputs themselves."""


def in_units(share: float) -> int:
    """A share between 0 and 1 in multiples of 1/65536; halves go to the even one."""
    return round(share * ONE)  # the product is exact: a power of two only moves the exponent


def chosen_kernel() -> str | None:
    """``KERASNSOC_KERNEL=scalar`` asks for the plain loops here too; otherwise the fastest."""
    return "scalar" if os.environ.get("KERASNSOC_KERNEL") == "scalar" else None


def check_last_layer(layers: Sequence[_LayerT]) -> _LayerT:
    """The layer that may learn.

    Raises
    ------
    RuntimeError
        If the model has less than two layers, or the last one is of another kind.
    """
    kinds = " or ".join(sorted(kind.name for kind in LEARNING_LAYER_TYPES))
    if len(layers) < 2:
        raise RuntimeError(
            f"the model has {len(layers)} layers, but learning needs an input layer and a {kinds} "
            f"behind it"
        )
    last = layers[-1]
    if last.parameters.layer_type not in LEARNING_LAYER_TYPES:
        raise RuntimeError(
            f"the last layer {last.name!r} is a {last.parameters.layer_type.name}, but only a "
            f"{kinds} layer learns"
        )
    return last


def learning_spec(
    name: str, parameters: LayerParameters, input_dims: Dims, **arguments: Any
) -> LearningSpec:
    """Arguments of `Model.compile` as a record, with plain numbers.

    Raises
    ------
    TypeError
        If an argument is no number.
    ValueError
        If one is out of its range.
    """
    for key, value in arguments.items():
        if key == "rule":
            continue
        if key == "learning_ratio":
            if not isinstance(value, tuple | list):
                raise TypeError(f"{key} is {value!r}, but must be two integers (a, b)")
            arguments[key] = tuple(_integer(key, item) for item in value)
        elif key in LEARNING_SHARES:
            if isinstance(value, bool) or not isinstance(value, int | float | np.number):
                raise TypeError(f"{key} is {value!r}, but must be a number from 0 to 1")
            arguments[key] = float(value)
        else:
            arguments[key] = _integer(key, value)
    learning = LearningSpec(**arguments)
    try:
        check_learning(learning, parameters, input_dims)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None
    available = connections_per_neuron(parameters, input_dims)
    if learning.num_weights > available / 2:
        warnings.warn(
            f"num_weights is {learning.num_weights}, more than half of the {available} connections "
            f"of a neuron; neurons can hardly tell samples apart then",
            UserWarning,
            stacklevel=3,
        )
    return learning


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}, but must be an integer")
    return int(value)


def prepared_layer(layer: LayerSpec, input_dims: Dims, learning: LearningSpec) -> LayerSpec:
    """A layer that is ready to learn, with new weights.

    Arguments are known to fit (`kerasnsoc.artifact.learning.check_learning`).
    """
    p = _learning_parameters(layer.parameters)
    fresh = _fresh_variables(p, input_dims, learning, 0, p.num_neurons)
    kept = {name: v for name, v in layer.variables.items() if name not in _LEARNED}
    return replace(layer, variables=_ordered({**kept, **fresh}), learning=learning)


def with_classes(layer: LayerSpec, input_dims: Dims, added: int) -> tuple[LayerSpec, Dims]:
    """A layer with neurons for more classes, and its output's dims; old neurons stay as they are.

    The new ones start as those of a new layer that has just been compiled.

    Raises
    ------
    TypeError
        If `added` is no integer.
    ValueError
        If it is below 1, or the layer would become too large.
    """
    learning, p = layer.learning, _learning_parameters(layer.parameters)
    assert learning is not None
    added = _integer("num_add_classes", added)
    if added < 1:
        raise ValueError(f"num_add_classes is {added}, but must be at least 1")
    old = p.num_neurons
    neurons = old + added * (old // learning.num_classes)
    grown = replace(p, num_neurons=neurons)
    try:
        check_parameters(grown)
        variable_shapes(grown, input_dims, learning)
    except ValueError as error:
        raise ValueError(
            f"layer {layer.name!r} cannot have {added} more classes: {error}"
        ) from None
    learning = replace(learning, num_classes=learning.num_classes + added)
    fresh = {
        **_fresh_variables(grown, input_dims, learning, old, neurons),
        **_fresh_thresholds(grown, neurons - old),
    }
    variables = {}
    for name, values in layer.variables.items():
        axis = 0 if name == "thresholds" else -1
        variables[name] = _read_only(np.concatenate([values, fresh[name]], axis=axis))
    larger = replace(layer, parameters=grown, variables=variables, learning=learning)
    return larger, output_dims(grown, [input_dims])


_LEARNED = (
    "weights",
    "threshold_learning",
    "plasticity",
    "learning_steps",
    "learning_counters",
)


def _learning_parameters(
    parameters: LayerParameters,
) -> FullyConnectedParameters | ConvolutionalParameters:
    assert isinstance(parameters, FullyConnectedParameters | ConvolutionalParameters)
    return parameters


def _fresh_variables(
    p: FullyConnectedParameters | ConvolutionalParameters,
    input_dims: Dims,
    learning: LearningSpec,
    first: int,
    stop: int,
) -> Arrays:
    """What learning changes, for neurons that have never learned."""
    inputs = connections_per_neuron(p, input_dims)
    rows_jw = _learning.fresh_rows(inputs, learning.num_weights, learning.seed, first, stop)
    weights = _as_weights(p, input_dims, _bits(rows_jw, inputs))
    neurons = stop - first
    start = in_units(learning.initial_plasticity) / ONE
    return {
        "weights": weights,
        "threshold_learning": np.zeros(neurons, np.int32),
        "plasticity": np.full(neurons, start, np.float32),
        "learning_steps": np.zeros(neurons, np.uint32),
        **RULES[learning.rule].fresh_variables(weights.shape),
    }


def _fresh_thresholds(p: ActivationParameters, neurons: int) -> Arrays:
    """What a new layer has, and what `Model.evaluate` would make of it."""
    threshold = np.full(neurons, p.threshold_fire, np.int32)
    step = np.full(neurons, p.threshold_fire_step, np.float32)
    variables: Arrays = {"threshold_fire": threshold, "threshold_fire_step": step}
    divisor = np.where(step == 0, 1, step).astype(np.float64)
    return {
        **variables,
        "thresholds": threshold_table(p, variables),
        "output_scale": 1 / divisor,
        "output_shift": -threshold / divisor,
    }


def _ordered(variables: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    return {name: _read_only(variables[name]) for name in VARIABLE_DTYPES if name in variables}


def _read_only(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    values.flags.writeable = False
    return values


def _bits(rows_jw: npt.NDArray[np.uint64], inputs: int) -> npt.NDArray[np.int8]:
    """(neurons, inputs) of 0 and 1 from rows of bits."""
    octets = np.ascontiguousarray(rows_jw, "<u8").view(np.uint8)
    return np.unpackbits(octets, axis=1, count=inputs, bitorder="little").view(np.int8)


def _rows(bits_ji: npt.NDArray[Any], inputs: int) -> npt.NDArray[np.uint64]:
    """Rows of bits from (neurons, inputs)."""
    octets = np.packbits(bits_ji, axis=1, bitorder="little")
    padded = np.zeros((len(bits_ji), _learning.words_for(inputs) * 8), np.uint8)
    padded[:, : octets.shape[1]] = octets
    return padded.view("<u8").astype(np.uint64, copy=False)


def _kernel_shape(
    p: FullyConnectedParameters | ConvolutionalParameters, input_dims: Dims
) -> tuple[int, int, int]:
    if isinstance(p, ConvolutionalParameters):
        return p.kernel_width, p.kernel_height, input_dims[2]
    return 1, 1, connections_per_neuron(p, input_dims)


def _as_weights(
    p: FullyConnectedParameters | ConvolutionalParameters,
    input_dims: Dims,
    values_ji: npt.NDArray[Any],
) -> npt.NDArray[Any]:
    """Rows of connections in the shape of a layer's weights.

    Connections follow the taps as they look at the input; a convolution stores its kernels as an
    event scatters them, with both spatial axes reversed.
    """
    values_jxyc = values_ji.reshape(-1, *_kernel_shape(p, input_dims))
    return np.ascontiguousarray(values_jxyc.transpose(1, 2, 3, 0)[::-1, ::-1])


def _as_connections(weights_xycj: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(neurons, connections) of an array in the shape of a layer's weights."""
    neurons = weights_xycj.shape[3]
    turned = weights_xycj[::-1, ::-1].transpose(3, 0, 1, 2)
    return np.ascontiguousarray(turned).reshape(neurons, -1)


class Session:
    """A layer while it learns: its state, packed, until somebody asks for the variables.

    Parameters
    ----------
    layer : LayerSpec
        A layer that `prepared_layer` made, or an artifact with its learning.
    input_dims : tuple of int, (width, height, features)
    """

    def __init__(self, layer: LayerSpec, input_dims: Dims) -> None:
        assert layer.learning is not None
        self._parameters = p = _learning_parameters(layer.parameters)
        self._learning = learning = layer.learning
        self._input_dims = input_dims
        self._inputs = connections_per_neuron(p, input_dims)
        variables = layer.variables
        self._weights_jw = _rows(_as_connections(variables["weights"]), self._inputs)
        self._thresholds_j = variables["threshold_learning"].astype(np.int32)
        self._plasticities_j = np.rint(variables["plasticity"] * np.float32(ONE)).astype(np.int32)
        self._steps_j = variables["learning_steps"].astype(np.uint32)
        self._counters_ji = None
        if "learning_counters" in variables:
            self._counters_ji = _as_connections(variables["learning_counters"])
            if not self._counters_ji.flags.writeable:
                self._counters_ji = self._counters_ji.copy()
        self._changed_j = np.zeros(p.num_neurons, np.bool_)
        if isinstance(p, ConvolutionalParameters):
            geometry = spatial_geometry(p, input_dims[:2])
            windows = astuple(geometry.conv_x), astuple(geometry.conv_y)
            channels = input_dims[2]
        else:
            windows, channels = ((1, 1, 1, 0, 1), (1, 1, 1, 0, 1)), self._inputs
        self._positions = windows[0][4], windows[1][4]
        start = in_units(learning.initial_plasticity)
        self._learner = _learning.Learner(
            rule=learning.rule,
            window_x=windows[0],
            window_y=windows[1],
            channels=channels,
            classes=learning.num_classes,
            num_weights=learning.num_weights,
            initial_plasticity=start,
            min_plasticity=min(start, in_units(learning.min_plasticity)),
            decay=in_units(learning.plasticity_decay * learning.initial_plasticity),
            competition=in_units(learning.learning_competition),
            ratio=learning.learning_ratio,
            seed=learning.seed,
            weights_jw=self._weights_jw,
            thresholds_j=self._thresholds_j,
            plasticities_j=self._plasticities_j,
            steps_j=self._steps_j,
            counters_ji=self._counters_ji,
            kernel=chosen_kernel(),
        )

    @property
    def is_ahead(self) -> bool:
        """Whether something was learned that `exported` has not handed out yet."""
        return bool(self._changed_j.any())

    def fit(
        self,
        inputs_si: npt.NDArray[np.uint8],
        labels_s: npt.NDArray[np.int64] | None,
        variables: Mapping[str, npt.NDArray[Any]],
    ) -> tuple[npt.NDArray[Any], list[int]]:
        """Learn from samples in order.

        Parameters
        ----------
        inputs_si : ndarray of uint8, shape (samples, inputs of the layer)
            0 or 1, in the order (x, y, feature).
        labels_s : ndarray of int64, shape (samples,), or None
        variables : mapping of str to ndarray
            Of the layer; its thresholds make the outputs.

        Returns
        -------
        outputs : ndarray, shape (samples, width, height, neurons)
            As inference would give them before each sample's own step.
        totals : [events in, synaptic operations, events out]

        Raises
        ------
        ValueError
            If a value is above 1; nothing has been learned then.
        OverflowError
            If a potential may leave 32 bits.
        """
        p, dims, samples = self._parameters, self._input_dims, len(inputs_si)
        # before anything is learned: the learner itself only sees a part of the batch at a time
        wrong = _learning.first_not_binary(inputs_si)
        if wrong >= 0:
            sample, index = divmod(wrong, inputs_si.shape[1])
            x, y, feature = (int(i) for i in np.unravel_index(index, dims))
            raise ValueError(
                f"sample {sample} brings the value {inputs_si[sample, index]} at x {x}, y {y}, "
                f"feature {feature} to the layer that learns, which takes 0 and 1 only"
            )
        self._check_sums()
        inputs_bxyc = inputs_si.reshape(samples, *dims)
        if isinstance(p, FullyConnectedParameters) and dims[:2] != (1, 1):
            # connections count x fastest, then y, then features
            inputs_si = inputs_bxyc.transpose(0, 3, 2, 1).reshape(inputs_si.shape)
        outputs = self._learn(inputs_si, labels_s, variables)
        operations = synaptic_operations(p, dims, inputs_bxyc)
        events_in = int(np.count_nonzero(inputs_bxyc))
        return outputs, [events_in, operations, int(np.count_nonzero(outputs))]

    def _check_sums(self) -> None:
        """A sum over a pooling window must not leave 32 bits once something has been learned."""
        p = self._parameters
        if not isinstance(p, ConvolutionalParameters) or p.pooling_type is not PoolingType.Average:
            return
        geometry = spatial_geometry(p, self._input_dims[:2])
        windows = (geometry.pool_x, geometry.pool_y)
        largest = self._learning.num_weights * math.prod(w.size for w in windows if w is not None)
        if largest > INT32_MAX:
            raise OverflowError(
                f"a sum over a pooling window can reach {largest}, outside the 32 bits of a "
                f"potential. Use a smaller window or fewer weights."
            )

    def _learn(
        self,
        inputs_si: npt.NDArray[np.uint8],
        labels_s: npt.NDArray[np.int64] | None,
        variables: Mapping[str, npt.NDArray[Any]],
    ) -> npt.NDArray[Any]:
        p, samples = self._parameters, len(inputs_si)
        width, height, neurons = self._positions[0], self._positions[1], p.num_neurons
        learners_s = np.empty(samples, np.int32)
        is_output = not p.activations_enabled and output_dims(p, [self._input_dims]) == (
            width,
            height,
            neurons,
        )
        chunk = max(1, samples)
        if not is_output:
            chunk = max(1, CHUNK_BYTES // (4 * width * height * neurons))
        outputs = []
        for start in range(0, max(samples, 1), chunk):
            part = slice(start, start + chunk)
            labels = None if labels_s is None else labels_s[part]
            count = len(inputs_si[part])
            potentials = np.empty((count, width, height, neurons), np.int32)
            flat = potentials.reshape(count, width * height, neurons)
            self._learner.fit(inputs_si[part], labels, flat, learners_s[part])
            learned = learners_s[part]
            self._changed_j[learned[learned >= 0]] = True
            outputs.append(emitted(p, variables, self._input_dims, potentials))
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def exported(self, variables: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """The layer's variables as they are now, from those that were exported last.

        Only neurons that have learned since are written; the arrays are new all the same, since
        the former ones may be in use.
        """
        (changed,) = np.nonzero(self._changed_j)
        p, dims = self._parameters, self._input_dims
        weights = variables["weights"].copy()
        weights[..., changed] = _as_weights(p, dims, _bits(self._weights_jw[changed], self._inputs))
        learned: Arrays = {
            "weights": weights,
            "threshold_learning": self._thresholds_j.copy(),
            "plasticity": (self._plasticities_j / ONE).astype(np.float32),
            "learning_steps": self._steps_j.copy(),
        }
        if self._counters_ji is not None:
            counters = variables["learning_counters"].copy()
            counters[..., changed] = _as_weights(p, dims, self._counters_ji[changed])
            learned["learning_counters"] = counters
        return {
            name: _read_only(learned[name]) if name in learned else values
            for name, values in variables.items()
        }

    def settled(self) -> None:
        """What was exported is known to be kept."""
        self._changed_j[:] = False


def as_labels(labels: Any, samples: int) -> npt.NDArray[np.int64] | None:
    """One label per sample, or None.

    Raises
    ------
    TypeError
        If the labels are no integers.
    ValueError
        If there are neither one nor as many as samples.
    """
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"input_labels has the dtype {array.dtype}, but must hold integers")
    if array.ndim > 1 or (array.ndim == 1 and len(array) not in (1, samples)):
        remedy = ""
        if array.ndim == 2 and len(array) == samples:
            remedy = "ravel()" if array.shape[1] == 1 else "argmax(axis=1), if they are one-hot"
            remedy = f"; pass labels.{remedy}"
        raise ValueError(
            f"input_labels has the shape {array.shape}, but must be one label for all or one for "
            f"each of the {samples} samples{remedy}"
        )
    if array.dtype == np.uint64:  # a label that no int64 holds is beyond any number of classes
        array = np.minimum(array, np.uint64(np.iinfo(np.int64).max))
    return np.array(np.broadcast_to(array.astype(np.int64), (samples,)))


def histogram(thresholds_j: npt.NDArray[np.int32], num_weights: int) -> npt.NDArray[np.int64]:
    """Rows (percentage, neurons): how much of its weights a neuron's learning threshold demands."""
    percentages = 100 * thresholds_j.astype(np.int64) // num_weights
    values, counts = np.unique(percentages, return_counts=True)
    return np.stack([values, counts], axis=1).astype(np.int64)
