"""The typed description of a network: what both sides of the artifact know. No I/O here."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt


class ConvolutionMode(enum.Enum):
    """How a convolution treats the border (runtime geometry: `kerasnsoc.artifact.geometry`)."""

    Valid = "valid"
    Same = "same"
    Full = "full"


class PoolingType(enum.Enum):
    """Pooling of potentials, applied before the activation. ``Average`` sums its window."""

    NoPooling = "none"
    Max = "max"
    Average = "average"


class LayerType(enum.Enum):
    """One member per kind of layer."""

    Unknown = "unknown"
    InputData = "input_data"
    InputConvolutional = "input_convolutional"
    FullyConnected = "fully_connected"
    Convolutional = "convolutional"
    SeparableConvolutional = "separable_convolutional"
    Concat = "concat"
    Pooling = "pooling"
    Filter = "filter"


@dataclass(frozen=True, kw_only=True)
class LayerParameters:
    """Constructor arguments common to no layer; the base of the dataclasses below."""

    layer_type: ClassVar[LayerType] = LayerType.Unknown


@dataclass(frozen=True, kw_only=True)
class InputDataParameters(LayerParameters):
    """Events or small integers, as they are."""

    layer_type: ClassVar[LayerType] = LayerType.InputData
    input_width: int
    input_height: int
    input_channels: int
    input_bits: int = 4


@dataclass(frozen=True, kw_only=True)
class ActivationParameters(LayerParameters):
    """Arguments of every layer that fires.

    ``threshold_fire`` and ``threshold_fire_step`` only fill the variables of the same names in a
    new layer; afterwards the variables rule.
    """

    activations_enabled: bool = True
    threshold_fire: int = 0
    threshold_fire_step: float = 1.0
    threshold_fire_bits: int = 1


@dataclass(frozen=True, kw_only=True)
class ConcatParameters(ActivationParameters):
    """Joins the features of its inbound layers."""

    layer_type: ClassVar[LayerType] = LayerType.Concat


@dataclass(frozen=True, kw_only=True)
class FullyConnectedParameters(ActivationParameters):
    """Every input to every neuron."""

    layer_type: ClassVar[LayerType] = LayerType.FullyConnected
    num_neurons: int
    weights_bits: int = 1


@dataclass(frozen=True, kw_only=True)
class SpatialParameters(ActivationParameters):
    """Arguments that all convolutions share."""

    kernel_width: int
    kernel_height: int
    num_neurons: int
    convolution_mode: ConvolutionMode = ConvolutionMode.Same
    stride_x: int = 1
    stride_y: int = 1
    weights_bits: int = 1
    pooling_width: int = -1
    pooling_height: int = -1
    pooling_type: PoolingType = PoolingType.NoPooling
    pooling_stride_x: int = -1
    pooling_stride_y: int = -1


@dataclass(frozen=True, kw_only=True)
class ConvolutionalParameters(SpatialParameters):
    """A convolution over events."""

    layer_type: ClassVar[LayerType] = LayerType.Convolutional


@dataclass(frozen=True, kw_only=True)
class SeparableConvolutionalParameters(SpatialParameters):
    """A depthwise, then a pointwise convolution over events; no activation in between."""

    layer_type: ClassVar[LayerType] = LayerType.SeparableConvolutional
    weights_bits: int = 2


@dataclass(frozen=True, kw_only=True)
class InputConvolutionalParameters(SpatialParameters):
    """A convolution over 8-bit images with one or three channels; also the network's input."""

    layer_type: ClassVar[LayerType] = LayerType.InputConvolutional
    input_width: int
    input_height: int
    input_channels: int
    padding_value: int = 0


@dataclass(frozen=True, kw_only=True)
class PoolingParameters(LayerParameters):
    """Pooling of spikes, in a network over time; ``Average`` sums its window.

    Sizes and strides of -1 are those of `SpatialParameters`. ``Same`` puts zeros around the map.
    """

    layer_type: ClassVar[LayerType] = LayerType.Pooling
    pooling_type: PoolingType = PoolingType.Max
    convolution_mode: ConvolutionMode = ConvolutionMode.Valid
    pooling_width: int = -1
    pooling_height: int = -1
    pooling_stride_x: int = -1
    pooling_stride_y: int = -1


@dataclass(frozen=True, kw_only=True)
class FilterParameters(LayerParameters):
    """A linear filter that reads out a network over time: a chain of equal low-pass stages.

    ``order`` 1 is the filter of `kerasnsoc.spiking.Lowpass`, 2 that of `kerasnsoc.spiking.Alpha`.
    """

    layer_type: ClassVar[LayerType] = LayerType.Filter
    order: int = 1


PARAMETERS: Mapping[LayerType, type[LayerParameters]] = MappingProxyType(
    {
        cls.layer_type: cls
        for cls in (
            InputDataParameters,
            InputConvolutionalParameters,
            FullyConnectedParameters,
            ConvolutionalParameters,
            SeparableConvolutionalParameters,
            ConcatParameters,
            PoolingParameters,
            FilterParameters,
        )
    }
)
"""The closed list of layer kinds; a file can name nothing else."""

INPUT_LAYER_TYPES = frozenset({LayerType.InputData, LayerType.InputConvolutional})

LEARNING_LAYER_TYPES = frozenset({LayerType.FullyConnected, LayerType.Convolutional})
"""Kinds of layers that can learn while they run."""

LEARNING_RULES = ("majority", "swap")
"""How a neuron that won a sample moves its weights."""


@dataclass(frozen=True, kw_only=True)
class LearningSpec:
    """How the last layer learns while the network runs.

    Attributes
    ----------
    num_weights : int
        Ones among the binary weights of every neuron.
    num_classes : int
        Neurons form equal, contiguous groups, one per class.
    initial_plasticity, learning_competition, min_plasticity, plasticity_decay : float, 0 to 1
    learning_ratio : tuple of int, (a, b)
        The learning threshold of a neuron lies a/b of the way from the potential expected by chance
        to the one it reached.
    rule : {"majority", "swap"}
    seed : int, 0 to 2**64 - 1
    """

    num_weights: int
    num_classes: int = 1
    initial_plasticity: float = 1.0
    learning_competition: float = 0.0
    min_plasticity: float = 0.1
    plasticity_decay: float = 0.25
    learning_ratio: tuple[int, int] = (3, 4)
    rule: str = "majority"
    seed: int = 0


SPIKE_RULES = ("single", "multi", "max", "signed")
"""How many spikes a step may hold: one, any number, up to a maximum, or any number of either sign.
"""

RESETS = ("subtract", "zero")
"""What a spike does to the potential."""

SPIKE_UNITS = ("count", "hz")
"""What a spike stands for in the trained model: 1, or 1 / time step."""

NEURON_LAYER_TYPES = frozenset(
    {
        LayerType.InputConvolutional,
        LayerType.FullyConnected,
        LayerType.Convolutional,
        LayerType.SeparableConvolutional,
    }
)
"""Kinds of layers that can hold integrate-and-fire neurons."""


@dataclass(frozen=True, kw_only=True)
class NeuronSpec:
    """Integrate-and-fire neurons: what a layer does with its potentials over time.

    With ``P`` the potential that arrives in a step (after pooling), a neuron does::

        v = v + f((P + bias) << shift)             f: max(., 0) if rectify, else itself
        n = number of thresholds in v              as the rule allows
        v = v - n * threshold                      or 0 where n > 0 and reset is "zero"
        v = min(max(v, lowest_potential), 2**30 - 1)

    Attributes
    ----------
    rule : {"single", "multi", "max", "signed"}
        ``n`` is 1 if ``v >= threshold``; ``floor(v / threshold)``, at least 0; the same but at
        most ``max_spikes``; ``floor(v / threshold)`` of either sign.
    max_spikes : int
        At least 1 with the rule ``max``, otherwise 0.
    reset : {"subtract", "zero"}
        ``signed`` subtracts.
    rectify : bool
    shift : int, 0 to 30
        Binary digits that potentials have behind the point.
    unit : {"count", "hz"}
        Whether a spike is worth 1, or 1 / time step, to those who read the output in real units.
    """

    rule: str = "multi"
    max_spikes: int = 0
    reset: str = "subtract"
    rectify: bool = False
    shift: int = 0
    unit: str = "count"


VARIABLE_DTYPES: Mapping[str, npt.DTypeLike] = MappingProxyType(
    {
        "weights": np.dtype("int8"),
        "weights_pw": np.dtype("int8"),
        "threshold_fire": np.dtype("int32"),
        "threshold_fire_step": np.dtype("float32"),
        "thresholds": np.dtype("int32"),
        "output_scale": np.dtype("float64"),
        "output_shift": np.dtype("float64"),
        "threshold_learning": np.dtype("int32"),
        "plasticity": np.dtype("float32"),
        "learning_steps": np.dtype("uint32"),
        "learning_counters": np.dtype("int16"),
        "spike_threshold": np.dtype("int32"),
        "bias": np.dtype("int32"),
        "lowest_potential": np.dtype("int32"),
        "initial_potential": np.dtype("int32"),
        "tau": np.dtype("float64"),
        "initial_level": np.dtype("float64"),
    }
)
"""dtype of every variable a layer may hold, by name.

===================  ==============================================  =========================
``weights``          (kernel_w, kernel_h, channels, neurons)         separable: neurons is 1;
                                                                     fully connected:
                                                                     (1, 1, w*h*c, neurons)
``weights_pw``       (1, 1, channels, neurons)                       separable only
``threshold_fire``   (neurons,)                                      all that fire
``threshold_fire_step``  (neurons,)                                  all that fire
``thresholds``       (neurons, 2**bits - 1), rows non-decreasing     optional
``output_scale``     (neurons,)                                      optional, with shift
``output_shift``     (neurons,)                                      optional, with scale
``threshold_learning``  (neurons,), 0: never learned                 layers that learn
``plasticity``       (neurons,), multiples of 2**-16                 layers that learn
``learning_steps``   (neurons,)                                      layers that learn
``learning_counters``  as ``weights``                                rule ``majority`` only
``spike_threshold``  (neurons,), 1 to 2**30                          integrate and fire
``bias``             (neurons,)                                      integrate and fire
``lowest_potential``  (neurons,), -2**30 to 0                        integrate and fire
``initial_potential``  (width, height, neurons) of the output        integrate and fire
``tau``              (width, height, features), seconds              filters
``initial_level``    (width, height, features)                       filters
===================  ==============================================  =========================

A concatenation has as many neurons as output features and no weights. Layers that integrate and
fire have no ``threshold_fire`` and no ``threshold_fire_step``; filters have ``output_scale`` and
``output_shift``, which turn the integers that arrive into what they filter.
"""


@dataclass(frozen=True, eq=False)
class LayerSpec:
    """One layer: its name, what feeds it, its arguments and its arrays.

    Attributes
    ----------
    name : str
        Unique in the network.
    parameters : LayerParameters
        The kind of layer is the class of this record.
    inbounds : tuple of str
        Names of earlier layers; empty for the input layer only.
    variables : mapping of str to ndarray
        Read-only arrays, named and shaped as in `VARIABLE_DTYPES`.
    learning : LearningSpec, optional
        Only of the last layer.
    neuron : NeuronSpec, optional
        Of layers that integrate and fire, in a network over time.
    """

    name: str
    parameters: LayerParameters
    inbounds: tuple[str, ...] = ()
    variables: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    learning: LearningSpec | None = None
    neuron: NeuronSpec | None = None

    @property
    def layer_type(self) -> LayerType:
        return self.parameters.layer_type


@dataclass(frozen=True)
class InputSpec:
    """What a network takes: ``integer = scale * keras_value + shift``."""

    shape_hwc: tuple[int, int, int]
    bits: int
    kind: Literal["image", "events"]
    scale: float
    shift: int


@dataclass(frozen=True, eq=False)
class NetworkSpec:
    """A whole network, in topological order; the last layer is the output.

    Attributes
    ----------
    layers : tuple of LayerSpec
        The first one, and only it, is an input layer; every other names earlier layers.
    input_scale : float
        Greater than 0. Integers that the network takes are ``input_scale * x + input_shift`` of
        the values that the Keras model took.
    input_shift : int
    metadata : mapping
        Free JSON: producer versions, training provenance, class labels.
    time_step : float, optional
        Seconds per step of a network that runs over time; None for a network of one pass.
    """

    layers: tuple[LayerSpec, ...]
    input_scale: float = 1.0
    input_shift: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    time_step: float | None = None

    @property
    def input(self) -> InputSpec:
        p = self.layers[0].parameters
        if isinstance(p, InputDataParameters):
            bits, kind = p.input_bits, "events"
        elif isinstance(p, InputConvolutionalParameters):
            bits, kind = 8, "image"
        else:
            raise TypeError(f"layer {self.layers[0].name!r} is no input layer")
        shape = (p.input_height, p.input_width, p.input_channels)
        return InputSpec(shape, bits, kind, self.input_scale, self.input_shift)  # type: ignore[arg-type]
