"""The layers of a model: their arguments and their variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, fields, replace
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.checks import (
    OPTIONAL,
    check_parameters,
    check_variable,
    required_variables,
    variable_shapes,
)
from kerasnsoc.artifact.geometry import Dims
from kerasnsoc.artifact.schema import (
    VARIABLE_DTYPES,
    ActivationParameters,
    ConcatParameters,
    ConvolutionalParameters,
    ConvolutionMode,
    FilterParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerParameters,
    LayerSpec,
    LayerType,
    LearningSpec,
    NeuronSpec,
    PoolingParameters,
    PoolingType,
    SeparableConvolutionalParameters,
)
from kerasnsoc.runtime.backends import LearningParameters, LearningType
from kerasnsoc.runtime.learning import Session, histogram
from kerasnsoc.runtime.locks import ChangeGuard

POTENTIAL_BITS = 32
"""`Layer.input_bits` of a layer that is fed by potentials."""

_LayerT = TypeVar("_LayerT", bound="Layer")


class Owner(Protocol):
    """What a layer needs of the model that it belongs to."""

    @property
    def change_guard(self) -> ChangeGuard: ...

    def variables_changed(self) -> None: ...


class Variables(Mapping[str, npt.NDArray[Any]]):
    """A layer's variables by name: reading copies, assigning is `Layer.set_variable`."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._layer.get_variable(name)

    def __setitem__(self, name: str, values: npt.ArrayLike) -> None:
        self._layer.set_variable(name, values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layer.get_variable_names())

    def __len__(self) -> int:
        return len(self._layer.get_variable_names())

    def __repr__(self) -> str:
        shapes = {name: values.shape for name, values in self.items()}
        return f"Variables({shapes})"


class Layer:
    """What all layers share. Use one of the layer classes.

    A layer gets its dims and its variables when `Model.add` puts it into a model: weights are zero
    then, thresholds and steps as the arguments say.

    Parameters
    ----------
    parameters : LayerParameters
        Arguments of the layer.
    name : str
        Unique in a model; an empty one becomes ``<type>_<index>`` there.

    Raises
    ------
    TypeError
        If `name` is no string.
    ValueError
        If an argument is out of its range.
    """

    def __init__(self, parameters: LayerParameters, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name is {name!r}, but must be a string")
        try:
            check_parameters(parameters)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}" if name else str(error)) from None
        self._parameters = parameters
        self._name = name
        self._owner: Owner | None = None
        self._inbounds: tuple[Layer, ...] = ()
        self._input_dims: Dims | None = None
        self._output_dims: Dims | None = None
        self._stored: dict[str, npt.NDArray[Any]] = {}
        self._learning: LearningSpec | None = None
        self._neuron: NeuronSpec | None = None
        self._session: Session | None = None

    @property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All variables, with what has been learned since somebody asked for them last."""
        with self._guarded():  # what a fit in another thread learns meanwhile would be lost
            session = self._session
            if session is not None and session.is_ahead:
                self._stored = session.exported(self._stored)
                session.settled()
            return self._stored

    @_arrays.setter
    def _arrays(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        self._stored, self._session = arrays, None

    def _guarded(self) -> AbstractContextManager[None]:
        """Only one thread at a time changes the layers of a model."""
        return nullcontext() if self._owner is None else self._owner.change_guard

    @property
    def name(self) -> str:
        return self._name

    @property
    def parameters(self) -> LayerParameters:
        """The constructor's arguments, and ``layer_type``; read only."""
        return self._parameters

    @property
    def inbounds(self) -> list[Layer]:
        """Layers whose outputs this one takes."""
        return list(self._inbounds)

    @property
    def has_dims(self) -> bool:
        """Whether the layer is, or was, in a model: only then has it dims and variables."""
        return self._output_dims is not None

    @property
    def input_dims(self) -> Dims:
        """(width, height, features) of the input; of the joined one for a concatenation."""
        if self._input_dims is None:
            raise self._not_added("input_dims")
        return self._input_dims

    @property
    def output_dims(self) -> Dims:
        """(width, height, features) of the output."""
        if self._output_dims is None:
            raise self._not_added("output_dims")
        return self._output_dims

    @property
    def input_bits(self) -> int:
        """Bits of the values that arrive; 32 for potentials."""
        if isinstance(self._parameters, InputDataParameters):
            return self._parameters.input_bits
        if isinstance(self._parameters, InputConvolutionalParameters):
            return 8
        if self._output_dims is None:
            raise self._not_added("input_bits")
        return self._inbounds[0].output_bits

    @property
    def output_bits(self) -> int:
        """Bits of the values that are sent on; 32 for potentials, 1 for spikes over time."""
        if isinstance(self._parameters, InputDataParameters):
            return self._parameters.input_bits
        if isinstance(self._parameters, PoolingParameters):
            return self.input_bits
        if isinstance(self._parameters, FilterParameters):
            return POTENTIAL_BITS
        assert isinstance(self._parameters, ActivationParameters)
        if self._parameters.activations_enabled:
            return self._parameters.threshold_fire_bits
        return self.input_bits if isinstance(self, Concat) else POTENTIAL_BITS

    @property
    def neuron(self) -> NeuronSpec | None:
        """How the layer integrates and fires over time; None for a layer of one pass."""
        return self._neuron

    @property
    def learning(self) -> LearningParameters:
        """How the layer learns: the arguments of `Model.compile`."""
        if self._learning is None:
            return LearningParameters()
        arguments = {**asdict(self._learning), "learning_ratio": self._learning.learning_ratio}
        return LearningParameters(LearningType.AkidaUnsupervised, **arguments)

    def get_learning_histogram(self) -> npt.NDArray[np.int64]:
        """How far the neurons have learned.

        Returns
        -------
        histogram : ndarray of int64, shape (n, 2)
            Rows of a percentage and the number of neurons that have it, ascending. The percentage
            is a neuron's learning threshold as a share of its weights, rounded down; 0 for neurons
            that have never learned.

        Raises
        ------
        RuntimeError
            If the layer does not learn.
        """
        if self._learning is None:
            raise RuntimeError(
                f"layer {self._name!r} does not learn and has no histogram; call Model.compile"
            )
        return histogram(self._arrays["threshold_learning"], self._learning.num_weights)

    @property
    def variables(self) -> Variables:
        """Mapping of names to copies of the arrays; assigning calls `set_variable`."""
        if self._output_dims is None:
            raise self._not_added("variables")
        return Variables(self)

    def get_variable_names(self) -> list[str]:
        """Names of the variables that the layer has now.

        Raises
        ------
        RuntimeError
            If the layer is not in a model.
        """
        if self._output_dims is None:
            raise self._not_added("variables")
        return list(self._arrays)

    def get_variable(self, name: str) -> npt.NDArray[Any]:
        """A copy of a variable.

        Raises
        ------
        KeyError
            If the layer has no variable of that name.
        RuntimeError
            If the layer is not in a model.
        """
        if self._output_dims is None:
            raise self._not_added("variables")
        arrays = self._arrays  # of one moment
        if name not in arrays:
            raise KeyError(self._no_variable(name))
        return arrays[name].copy()

    def set_variable(self, name: str, values: npt.ArrayLike) -> None:
        """Replace a variable; on an error nothing changes.

        Setting ``threshold_fire`` or ``threshold_fire_step`` drops ``thresholds``,
        ``output_scale`` and ``output_shift``, which described the former values. Of the last two,
        setting one adds the other with its neutral value.

        Parameters
        ----------
        name : str
        values : array
            Weights as (width, height, channels, neurons), or the array that has the same memory
            seen with all axes reversed, (neurons, channels, height, width) in Fortran order. If
            both shapes are the same, the order in memory decides. A scalar or an array of length 1
            is repeated for variables with one value per neuron.

        Raises
        ------
        KeyError
            If a layer with these arguments has no variable of that name.
        TypeError
            If the array is not of integers although the variable is, or not of numbers.
        ValueError
            If the shape is wrong or a value is out of range; the first one is named.
        RuntimeError
            If the layer is not in a model.
        """
        if self._output_dims is None:
            raise self._not_added("variables")
        shapes = variable_shapes(self._parameters, self._incoming(), self._learning, self._neuron)
        if name not in shapes:
            raise KeyError(self._no_variable(name))
        try:
            array = _as_variable(name, values, shapes[name])
            check_variable(
                self._parameters, self._incoming(), name, array, self._learning, self._neuron
            )
        except (TypeError, ValueError) as error:
            raise type(error)(f"layer {self._name!r}: {error}") from None
        with self._guarded():  # or one of two threads that set different variables would undo
            arrays = {**self._arrays, name: array}
            if name in ("threshold_fire", "threshold_fire_step"):
                for derived in ("thresholds", "output_scale", "output_shift"):
                    arrays.pop(derived, None)
            elif name == "output_scale":
                arrays.setdefault("output_shift", _filled("output_shift", shapes[name], 0))
            elif name == "output_shift":
                arrays.setdefault("output_scale", _filled("output_scale", shapes[name], 1))
            self._arrays = {key: arrays[key] for key in shapes if key in arrays}
            if self._owner is not None:
                self._owner.variables_changed()

    def __getstate__(self) -> dict[str, Any]:
        # what was learned travels as variables; the packed session is made anew when needed
        return {**self.__dict__, "_stored": self._arrays, "_session": None}

    def __repr__(self) -> str:
        dims = "not in a model" if self._output_dims is None else f"output {self._output_dims}"
        name = repr(self._name) if self._name else "without a name"
        return f"<{type(self).__name__} {name}, {dims}>"

    # What a model does with its layers.

    @classmethod
    def from_spec(cls, spec: LayerSpec) -> Layer:
        """A layer as an artifact describes it, ready to be added; read-only arrays are shared."""
        kind = LAYER_CLASSES[spec.layer_type]
        layer = kind.__new__(kind)
        Layer.__init__(layer, spec.parameters, spec.name)
        layer._learning = spec.learning
        layer._neuron = spec.neuron
        layer._arrays = {
            name: _read_only(spec.variables[name])
            for name in VARIABLE_DTYPES  # a file lists them by the alphabet
            if name in spec.variables
        }
        return layer

    def to_spec(self) -> LayerSpec:
        """The layer as an artifact describes it."""
        inbounds = tuple(layer.name for layer in self._inbounds)
        variables = MappingProxyType(dict(self._arrays))
        return LayerSpec(
            self._name, self._parameters, inbounds, variables, self._learning, self._neuron
        )

    def detached_copy(self: _LayerT) -> _LayerT:
        """A layer with the same arguments, name and variables that is in no model."""
        layer = type(self).__new__(type(self))
        Layer.__init__(layer, self._parameters, self._name)
        layer._arrays = dict(self._arrays)
        layer._learning = self._learning
        layer._neuron = self._neuron
        return layer

    def become(self, spec: LayerSpec, output_dims: Dims) -> None:
        """Take over arguments, variables and learning of a description that fits in this place."""
        self._parameters = spec.parameters
        self._arrays = dict(spec.variables)
        self._learning = spec.learning
        self._output_dims = output_dims

    def session(self) -> Session:
        """The layer as it learns.

        Raises
        ------
        RuntimeError
            If nobody has compiled it.
        """
        if self._learning is None:
            raise RuntimeError(
                f"the last layer {self._name!r} does not learn yet; call Model.compile first"
            )
        if self._session is None:
            self._session = Session(self.to_spec(), self._incoming())
        return self._session

    def attach(
        self, owner: Owner, name: str, inbounds: tuple[Layer, ...], incoming: Dims, output: Dims
    ) -> None:
        """Become part of a model: variables come into being, or must fit if there are some.

        Raises
        ------
        ValueError
            If variables that the layer brings along do not fit; it is unchanged then.
        """
        shapes = variable_shapes(self._parameters, incoming, self._learning, self._neuron)
        if self._learning is not None:
            check_binary_inputs(name, inbounds)
        for variable, values in self._arrays.items():
            if shapes.get(variable) != values.shape:
                raise ValueError(
                    f"layer {name!r} brings {variable!r} of the shape {values.shape}, but here it "
                    f"would have {shapes.get(variable)}. Add a new layer instead."
                )
        p = self._parameters
        if not self._arrays and isinstance(p, ActivationParameters | FilterParameters):
            start = {
                "threshold_fire": getattr(p, "threshold_fire", 0),
                "threshold_fire_step": getattr(p, "threshold_fire_step", 0),
                "output_scale": 1,
            }
            self._arrays = {
                variable: _filled(variable, shapes[variable], start.get(variable, 0))
                for variable in required_variables(p.layer_type, self._neuron)
            }
        self._owner, self._name, self._inbounds = owner, name, inbounds
        self._input_dims, self._output_dims = incoming, output

    def detach(self) -> None:
        """Leave the model; dims and variables stay as they are."""
        self._owner = None

    @property
    def is_attached(self) -> bool:
        return self._owner is not None

    def _incoming(self) -> Dims:
        assert self._input_dims is not None
        return self._input_dims

    def _not_added(self, what: str) -> RuntimeError:
        which = f"layer {self._name!r}" if self._name else f"a {type(self).__name__} without a name"
        return RuntimeError(
            f"{which} has no {what} yet: it is not in a model. Add it with Model.add."
        )

    def _no_variable(self, name: str) -> str:
        kind = self._parameters.layer_type
        possible = [n for n in OPTIONAL[kind] if n not in self._arrays]
        return (
            f"layer {self._name!r} has no variable {name!r}; it has "
            f"{list(self._arrays)}, and a {kind.name} layer may have {possible}"
        )


def check_binary_inputs(name: str, inbounds: tuple[Layer, ...] | list[Layer]) -> None:
    """Refuse a layer that learns where something else than events of value 1 may arrive."""
    for source in inbounds:
        # what an InputData lets through is checked when it arrives
        if source.output_bits != 1 and not isinstance(source, InputData):
            raise ValueError(
                f"layer {name!r} learns from binary inputs, but {source.name!r} sends on values of "
                f"{source.output_bits} bits. Build it with activations of threshold_fire_bits=1."
            )


def _plain(parameters: LayerParameters) -> LayerParameters:
    """Numbers of NumPy types become Python's; the rules know only those."""
    changes: dict[str, Any] = {}
    for entry in fields(parameters):
        value = getattr(parameters, entry.name)
        if isinstance(value, np.generic):
            value = changes[entry.name] = value.item()
        if entry.name == "threshold_fire_step" and type(value) is int:
            changes[entry.name] = float(value)
    return replace(parameters, **changes) if changes else parameters


def _as_variable(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Values in the dtype and the layout in which a layer keeps them, read-only."""
    dtype = np.dtype(VARIABLE_DTYPES[name])
    array = np.asarray(values)
    if dtype.kind in "iu":
        if array.dtype.kind not in "iu":
            raise TypeError(f"{name} has the dtype {array.dtype}, but must hold integers")
        limits = np.iinfo(dtype)
        outside = (array < limits.min) | (array > limits.max)
        if outside.any():
            index = tuple(int(i) for i in np.unravel_index(int(outside.argmax()), array.shape))
            raise ValueError(
                f"{name}{list(index)} is {array[index]}, but must be {limits.min} to {limits.max}"
            )
    elif array.dtype.kind not in "iuf":
        raise TypeError(f"{name} has the dtype {array.dtype}, but must hold numbers")
    if len(shape) == 4 and array.ndim == 4:
        reversed_axes = shape[::-1]
        if array.shape == reversed_axes and (
            shape != reversed_axes or (array.flags.f_contiguous and not array.flags.c_contiguous)
        ):
            array = array.transpose()
    elif len(shape) == 1 and array.shape in ((), (1,)):
        array = np.broadcast_to(array, shape)
    with np.errstate(over="ignore"):  # an infinite step is refused with its index
        converted = np.array(array, dtype, order="C")
    converted.flags.writeable = False
    return converted


def _filled(name: str, shape: tuple[int, ...], value: float) -> npt.NDArray[Any]:
    array = np.full(shape, value, VARIABLE_DTYPES[name])
    array.flags.writeable = False
    return array


def _read_only(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not values.flags.writeable:
        return values
    values = values.copy()
    values.flags.writeable = False
    return values


class InputData(Layer):
    """The network's input, events or small integers, as they are.

    Parameters
    ----------
    input_width, input_height, input_channels : int
        Dims of a sample.
    input_bits : int, 1 to 8
        Values are 0 to ``2**input_bits - 1``.
    name : str
    """

    def __init__(
        self,
        input_width: int,
        input_height: int,
        input_channels: int,
        input_bits: int = 4,
        name: str = "",
    ) -> None:
        parameters = InputDataParameters(
            input_width=input_width,
            input_height=input_height,
            input_channels=input_channels,
            input_bits=input_bits,
        )
        super().__init__(_plain(parameters), name)


class InputConvolutional(Layer):
    """A convolution over 8-bit images, and the network's input.

    Parameters
    ----------
    input_width, input_height : int
    input_channels : {1, 3}
    kernel_width, kernel_height, num_neurons : int
    name : str
    convolution_mode : ConvolutionMode
    stride_x, stride_y : int
    weights_bits : int, 1 to 8
        Weights are 0 and 1 with one bit, and symmetric around zero with more.
    pooling_width, pooling_height : int
        -1: global along the axis.
    pooling_type : PoolingType
        ``Average`` makes sums: thresholds are those of the sum.
    pooling_stride_x, pooling_stride_y : int
        -1: the size of the window.
    activations_enabled : bool
        Without activations the layer sends on its potentials.
    threshold_fire : int
    threshold_fire_step : float
        Interval between two levels of a 4-bit activation; of fewer bits in proportion more.
    threshold_fire_bits : {1, 2, 3, 4, 8}
    padding_value : int, 0 to 255
        What lies around the image.
    """

    def __init__(
        self,
        input_width: int,
        input_height: int,
        input_channels: int,
        kernel_width: int,
        kernel_height: int,
        num_neurons: int,
        name: str = "",
        convolution_mode: ConvolutionMode = ConvolutionMode.Same,
        stride_x: int = 1,
        stride_y: int = 1,
        weights_bits: int = 1,
        pooling_width: int = -1,
        pooling_height: int = -1,
        pooling_type: PoolingType = PoolingType.NoPooling,
        pooling_stride_x: int = -1,
        pooling_stride_y: int = -1,
        activations_enabled: bool = True,
        threshold_fire: int = 0,
        threshold_fire_step: float = 1,
        threshold_fire_bits: int = 1,
        padding_value: int = 0,
    ) -> None:
        parameters = InputConvolutionalParameters(
            input_width=input_width,
            input_height=input_height,
            input_channels=input_channels,
            kernel_width=kernel_width,
            kernel_height=kernel_height,
            num_neurons=num_neurons,
            convolution_mode=convolution_mode,
            stride_x=stride_x,
            stride_y=stride_y,
            weights_bits=weights_bits,
            pooling_width=pooling_width,
            pooling_height=pooling_height,
            pooling_type=pooling_type,
            pooling_stride_x=pooling_stride_x,
            pooling_stride_y=pooling_stride_y,
            activations_enabled=activations_enabled,
            threshold_fire=threshold_fire,
            threshold_fire_step=threshold_fire_step,
            threshold_fire_bits=threshold_fire_bits,
            padding_value=padding_value,
        )
        super().__init__(_plain(parameters), name)


class FullyConnected(Layer):
    """Every input to every neuron.

    The weights' rows follow the input's features, then y, then x, x fastest.

    Parameters
    ----------
    num_neurons : int
    name : str
    weights_bits : int, 1 to 8
    activations_enabled, threshold_fire, threshold_fire_step, threshold_fire_bits
        As in `InputConvolutional`.
    """

    def __init__(
        self,
        num_neurons: int,
        name: str = "",
        weights_bits: int = 1,
        activations_enabled: bool = True,
        threshold_fire: int = 0,
        threshold_fire_step: float = 1,
        threshold_fire_bits: int = 1,
    ) -> None:
        parameters = FullyConnectedParameters(
            num_neurons=num_neurons,
            weights_bits=weights_bits,
            activations_enabled=activations_enabled,
            threshold_fire=threshold_fire,
            threshold_fire_step=threshold_fire_step,
            threshold_fire_bits=threshold_fire_bits,
        )
        super().__init__(_plain(parameters), name)


class Convolutional(Layer):
    """A convolution over events.

    The weights are those that an event scatters: both spatial axes are reversed against a
    cross-correlation kernel.

    Parameters
    ----------
    kernel_width, kernel_height, num_neurons : int
    name : str
    convolution_mode, stride_x, stride_y, weights_bits, pooling_width, pooling_height, \
pooling_type, pooling_stride_x, pooling_stride_y, activations_enabled, threshold_fire, \
threshold_fire_step, threshold_fire_bits
        As in `InputConvolutional`.
    """

    def __init__(
        self,
        kernel_width: int,
        kernel_height: int,
        num_neurons: int,
        name: str = "",
        convolution_mode: ConvolutionMode = ConvolutionMode.Same,
        stride_x: int = 1,
        stride_y: int = 1,
        weights_bits: int = 1,
        pooling_width: int = -1,
        pooling_height: int = -1,
        pooling_type: PoolingType = PoolingType.NoPooling,
        pooling_stride_x: int = -1,
        pooling_stride_y: int = -1,
        activations_enabled: bool = True,
        threshold_fire: int = 0,
        threshold_fire_step: float = 1,
        threshold_fire_bits: int = 1,
    ) -> None:
        parameters = ConvolutionalParameters(
            kernel_width=kernel_width,
            kernel_height=kernel_height,
            num_neurons=num_neurons,
            convolution_mode=convolution_mode,
            stride_x=stride_x,
            stride_y=stride_y,
            weights_bits=weights_bits,
            pooling_width=pooling_width,
            pooling_height=pooling_height,
            pooling_type=pooling_type,
            pooling_stride_x=pooling_stride_x,
            pooling_stride_y=pooling_stride_y,
            activations_enabled=activations_enabled,
            threshold_fire=threshold_fire,
            threshold_fire_step=threshold_fire_step,
            threshold_fire_bits=threshold_fire_bits,
        )
        super().__init__(_plain(parameters), name)


class SeparableConvolutional(Layer):
    """A depthwise convolution over events, then a pointwise one over its exact sums.

    Parameters
    ----------
    kernel_width, kernel_height, num_neurons : int
    name : str
    weights_bits : int, 2 to 8
        Of both kernels.
    convolution_mode, stride_x, stride_y, pooling_width, pooling_height, pooling_type, \
pooling_stride_x, pooling_stride_y, activations_enabled, threshold_fire, threshold_fire_step, \
threshold_fire_bits
        As in `InputConvolutional`.
    """

    def __init__(
        self,
        kernel_width: int,
        kernel_height: int,
        num_neurons: int,
        name: str = "",
        convolution_mode: ConvolutionMode = ConvolutionMode.Same,
        stride_x: int = 1,
        stride_y: int = 1,
        weights_bits: int = 2,
        pooling_width: int = -1,
        pooling_height: int = -1,
        pooling_type: PoolingType = PoolingType.NoPooling,
        pooling_stride_x: int = -1,
        pooling_stride_y: int = -1,
        activations_enabled: bool = True,
        threshold_fire: int = 0,
        threshold_fire_step: float = 1,
        threshold_fire_bits: int = 1,
    ) -> None:
        parameters = SeparableConvolutionalParameters(
            kernel_width=kernel_width,
            kernel_height=kernel_height,
            num_neurons=num_neurons,
            convolution_mode=convolution_mode,
            stride_x=stride_x,
            stride_y=stride_y,
            weights_bits=weights_bits,
            pooling_width=pooling_width,
            pooling_height=pooling_height,
            pooling_type=pooling_type,
            pooling_stride_x=pooling_stride_x,
            pooling_stride_y=pooling_stride_y,
            activations_enabled=activations_enabled,
            threshold_fire=threshold_fire,
            threshold_fire_step=threshold_fire_step,
            threshold_fire_bits=threshold_fire_bits,
        )
        super().__init__(_plain(parameters), name)


class Concat(Layer):
    """Joins the features of two or more layers, all activations or all potentials.

    With activations its own thresholds apply to the joined values. For activations of b bits they
    pass unchanged with ``threshold_fire=0`` and ``threshold_fire_step=2**b / 16``.

    Parameters
    ----------
    name : str
    activations_enabled : bool
        Without, the joined values pass as they are.
    threshold_fire, threshold_fire_step, threshold_fire_bits
        As in `InputConvolutional`.
    """

    def __init__(
        self,
        name: str = "",
        activations_enabled: bool = True,
        threshold_fire: int = 0,
        threshold_fire_step: float = 1,
        threshold_fire_bits: int = 1,
    ) -> None:
        parameters = ConcatParameters(
            activations_enabled=activations_enabled,
            threshold_fire=threshold_fire,
            threshold_fire_step=threshold_fire_step,
            threshold_fire_bits=threshold_fire_bits,
        )
        super().__init__(_plain(parameters), name)


class Pooling(Layer):
    """Pools spikes, in a network over time.

    Parameters
    ----------
    pooling_type : PoolingType
        ``Max``, or ``Average``, which makes sums: every spike of a window is passed on.
    pooling_width, pooling_height : int
        -1: global along the axis.
    pooling_stride_x, pooling_stride_y : int
        -1: the size of the window.
    convolution_mode : ConvolutionMode
        ``Valid``, or ``Same``, which puts zeros around the map.
    name : str
    """

    def __init__(
        self,
        pooling_type: PoolingType = PoolingType.Max,
        pooling_width: int = -1,
        pooling_height: int = -1,
        pooling_stride_x: int = -1,
        pooling_stride_y: int = -1,
        convolution_mode: ConvolutionMode = ConvolutionMode.Valid,
        name: str = "",
    ) -> None:
        parameters = PoolingParameters(
            pooling_type=pooling_type,
            convolution_mode=convolution_mode,
            pooling_width=pooling_width,
            pooling_height=pooling_height,
            pooling_stride_x=pooling_stride_x,
            pooling_stride_y=pooling_stride_y,
        )
        super().__init__(_plain(parameters), name)


class Filter(Layer):
    """A linear filter that reads out a network over time, with one time constant per unit.

    Parameters
    ----------
    order : {1, 2}
        That of `kerasnsoc.spiking.Lowpass` or of `kerasnsoc.spiking.Alpha`.
    name : str
    """

    def __init__(self, order: int = 1, name: str = "") -> None:
        super().__init__(_plain(FilterParameters(order=order)), name)


LAYER_CLASSES: Mapping[LayerType, type[Layer]] = MappingProxyType(
    {
        LayerType.InputData: InputData,
        LayerType.InputConvolutional: InputConvolutional,
        LayerType.FullyConnected: FullyConnected,
        LayerType.Convolutional: Convolutional,
        LayerType.SeparableConvolutional: SeparableConvolutional,
        LayerType.Concat: Concat,
        LayerType.Pooling: Pooling,
        LayerType.Filter: Filter,
    }
)
