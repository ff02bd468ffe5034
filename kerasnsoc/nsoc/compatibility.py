"""Published constraints of two generations of the chip, checked layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.geometry import Dims, SpatialGeometry, spatial_geometry
from kerasnsoc.artifact.limits import MAX_NAME_LENGTH
from kerasnsoc.artifact.schema import (
    ActivationParameters,
    ConvolutionalParameters,
    ConvolutionMode,
    FilterParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerSpec,
    LayerType,
    NetworkSpec,
    PoolingParameters,
    PoolingType,
    SeparableConvolutionalParameters,
    SpatialParameters,
)
from kerasnsoc.runtime.backends import LearningType, NsocVersion
from kerasnsoc.runtime.layers import Layer
from kerasnsoc.runtime.model import Model

__all__ = ["NsocVersion", "create_from_model", "model_hardware_incompatibilities"]

NEWEST = NsocVersion.v2

_EVENT_CONVOLUTIONS = (LayerType.Convolutional, LayerType.SeparableConvolutional)


@dataclass(frozen=True, slots=True)
class _Bits:
    """Allowed bits of inputs, weights and activations."""

    inputs: tuple[int, ...]
    weights: tuple[int, ...]
    activations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _ConvolutionLimits:
    """Of a Convolutional or SeparableConvolutional layer."""

    bits: _Bits
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    pool_sizes: tuple[int, ...]
    pool_strides: tuple[int, ...]
    pool_fits_input: bool
    global_average: Callable[[int, int], str | None]


@dataclass(frozen=True, slots=True)
class _FullyConnectedLimits:
    bits: _Bits
    flattens: bool
    inputs: int


def _global_average_v1(width: int, height: int) -> str | None:
    if width in (8, 16, 24, 32) and height % 8 == 0:
        return None
    return (
        f"global average pooling over {width}x{height} (width x height), allowed are widths of 8, "
        f"16, 24 and 32 and heights that are multiples of 8"
    )


def _global_average_v2(width: int, height: int) -> str | None:
    if width <= 32 and height >= 3:
        return None
    return (
        f"global average pooling over {width}x{height} (width x height), allowed are widths of 1 "
        f"to 32 and at least 3 rows"
    )


def _global_average_separable_v2(width: int, height: int) -> str | None:
    if (width, height) == (1, 1):
        return "global average pooling of a 1x1 map, which is not supported behind this layer"
    return _global_average_v2(width, height)


_CONVOLUTIONS: Mapping[tuple[LayerType, NsocVersion], _ConvolutionLimits] = MappingProxyType(
    {
        (LayerType.Convolutional, NsocVersion.v1): _ConvolutionLimits(
            bits=_Bits((1, 2, 4), (1, 2), (1, 2, 4)),
            kernels=(1, 3, 5, 7),
            strides=(1,),
            pool_sizes=(1, 2, 3),
            pool_strides=(1, 2, 3),
            pool_fits_input=True,
            global_average=_global_average_v1,
        ),
        (LayerType.Convolutional, NsocVersion.v2): _ConvolutionLimits(
            bits=_Bits((1, 2, 4), (1, 2, 4), (1, 2, 4)),
            kernels=(1, 3, 5, 7),
            strides=(1, 2),
            pool_sizes=(1, 2),
            pool_strides=(1, 2),
            pool_fits_input=False,
            global_average=_global_average_v2,
        ),
        (LayerType.SeparableConvolutional, NsocVersion.v1): _ConvolutionLimits(
            bits=_Bits((1, 2, 4), (2, 4), (1, 2, 4)),
            kernels=(3, 5, 7),
            strides=(1,),
            pool_sizes=(1, 2, 3),
            pool_strides=(1, 2, 3),
            pool_fits_input=True,
            global_average=_global_average_v1,
        ),
        (LayerType.SeparableConvolutional, NsocVersion.v2): _ConvolutionLimits(
            bits=_Bits((1, 2, 4), (2, 4), (1, 2, 4)),
            kernels=(3, 5, 7),
            strides=(1, 2),
            pool_sizes=(1, 2),
            pool_strides=(1, 2),
            pool_fits_input=False,
            global_average=_global_average_separable_v2,
        ),
    }
)

_FULLY_CONNECTED: Mapping[NsocVersion, _FullyConnectedLimits] = MappingProxyType(
    {
        NsocVersion.v1: _FullyConnectedLimits(
            bits=_Bits((1, 2), (1, 2), (1, 2, 4)), flattens=False, inputs=81920
        ),
        NsocVersion.v2: _FullyConnectedLimits(
            bits=_Bits((1, 2, 4), (1, 2, 4), (1, 2, 4)), flattens=True, inputs=57334
        ),
    }
)

_OLDER_INPUTS = 81920
"""An older page grants the second generation as many."""

_INPUT_BITS = _Bits((8,), (1, 2, 4, 8), (1, 2, 4))
_INPUT_FILTERS = MappingProxyType({1: {3: 512, 5: 192, 7: 96}, 3: {3: 192, 5: 64, 7: 32}})
"""Largest number of filters by input channels and kernel size."""

_INPUT_WIDTHS = (5, 256)
_INPUT_HEIGHT = 5
_INPUT_STRIDES = (1, 2, 3)
_INPUT_POOLS = ((1, 1), (1, 2), (2, 1), (2, 2))


def model_hardware_incompatibilities(
    model: Model, nsoc_version: NsocVersion | None = None
) -> list[str]:
    """What keeps a model from running on a chip.

    A convolution in another mode than Same is reported if its windows would be others in that mode.
    Where two published values exist, the stricter, newer one counts and the message mentions the
    other. The software runtime has none of these limits.

    Parameters
    ----------
    model : Model
        Not modified.
    nsoc_version : NsocVersion, optional
        ``v1`` (pre-production) or ``v2`` (production); by default the newest.

    Returns
    -------
    incompatibilities : list of str
        One ``"<layer>: <reason>"`` per violation, in the order of the layers; empty if it fits.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If the version is ``NsocVersion.Unknown`` or the model is empty.

    Examples
    --------
    >>> from kerasnsoc.runtime import FullyConnected, InputData
    >>> model = Model(layers=[InputData(1, 1, 8, name="in"), FullyConnected(2, "out", 3)])
    >>> model_hardware_incompatibilities(model)
    ['out: weights of 3 bits, allowed are 1, 2 and 4']
    """
    version = _checked_version(model, nsoc_version)
    return [
        f"{layer.name}: {reason}"
        for layer in model.layers
        for reason in _reasons(model, layer, version)
    ]


def create_from_model(
    model: Model, nsoc_version: NsocVersion | None = None, *, input_bits: int = 8
) -> Model:
    """A new model with the same outputs that fits a chip better, though maybe not wholly.

    A max-pooled layer that is last or feeds a fully connected one gets an identity 1x1 convolution
    behind it. A convolution whose windows are the same in mode Same, such as a 1x1 convolution in
    mode Valid, gets this mode; it is no incompatibility either. Unsupported pooling windows,
    kernels and strides are left as they are; `model_hardware_incompatibilities` reports them. For
    ``v1``, whose chips take no images, an `InputConvolutional` becomes an `InputData` and a
    `Convolutional` if `input_bits` says that images fit into 4 bits and the padding is zero: the
    new model then takes events (n, width, height, channels) instead of images (n, height, width,
    channels).

    Parameters
    ----------
    model : Model
        Not modified.
    nsoc_version : NsocVersion, optional
        By default the newest.
    input_bits : int, 1 to 8
        Bits of the images that an `InputConvolutional` will get; 8 claims nothing.

    Returns
    -------
    model : Model
        With the variables, the input scaling and the metadata of the original.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If the version is ``NsocVersion.Unknown``, `input_bits` is out of range or the model is
        empty.
    """
    version = _checked_version(model, nsoc_version)
    if isinstance(input_bits, bool) or not isinstance(input_bits, int | np.integer):
        raise TypeError(f"input_bits is {input_bits!r}, but must be an integer")
    if not 1 <= input_bits <= 8:
        raise ValueError(f"input_bits is {input_bits}, but must be 1 to 8")
    if model.time_step is not None:  # no workaround makes one pass of many steps
        return Model.from_spec(model.to_spec())
    spec = _with_same_modes(model.to_spec(), model)
    if version is NsocVersion.v1 and input_bits <= 4:
        spec = _with_split_input(spec, int(input_bits))
    # only the last layer of a chip learns: nothing is put behind one that does
    learning = {
        layer.name
        for layer in model.layers
        if layer.learning.learning_type is not LearningType.NoLearning
    }
    return Model.from_spec(_with_identities(spec, learning))


def _checked_version(model: Model, version: NsocVersion | None) -> NsocVersion:
    if not isinstance(model, Model):
        raise TypeError(f"model is a {type(model).__name__}, but must be a Model of the runtime")
    if version is None:
        version = NEWEST
    if not isinstance(version, NsocVersion):
        raise TypeError(f"nsoc_version is {version!r}, but must be an NsocVersion or None")
    if version is NsocVersion.Unknown:
        raise ValueError("nsoc_version is NsocVersion.Unknown, but must be v1, v2, or None for v2")
    if not model.get_layer_count():
        raise ValueError("the model is empty; add layers, or load an artifact")
    return version


def _reasons(model: Model, layer: Layer, version: NsocVersion) -> Iterator[str]:
    p = layer.parameters
    if layer.neuron is not None:
        yield "its neurons integrate and fire over time, but this chip has graded activations only"
        return
    if isinstance(p, PoolingParameters | FilterParameters):
        yield f"{p.layer_type.name} is not supported by {version.name}"
        return
    if isinstance(p, InputConvolutionalParameters):
        if version is NsocVersion.v1:
            yield "InputConvolutional is not supported by v1, whose input is an InputData"
        else:
            yield from _input_reasons(layer, p)
    elif isinstance(p, SpatialParameters):
        yield from _convolution_reasons(model, layer, p, version)
    elif isinstance(p, FullyConnectedParameters):
        yield from _fully_connected_reasons(layer, p, _FULLY_CONNECTED[version])
    elif not isinstance(p, InputDataParameters):
        yield f"{p.layer_type.name} is not supported by {version.name}"
    yield from _learning_reasons(model, layer)
    yield from _threshold_reasons(layer)


def _input_reasons(layer: Layer, p: InputConvolutionalParameters) -> Iterator[str]:
    low, high = _INPUT_WIDTHS
    if not low <= p.input_width <= high:
        yield f"input width of {p.input_width}, allowed are {low} to {high}"
    if p.input_height < _INPUT_HEIGHT:
        yield f"input height of {p.input_height}, allowed are {_INPUT_HEIGHT} and more"
    if p.input_channels not in _INPUT_FILTERS:
        yield f"{p.input_channels} input channels, allowed are 1 and 3"
    filters = _INPUT_FILTERS.get(p.input_channels, {})
    yield from _kernel_reasons(p, (3, 5, 7))
    most = filters.get(p.kernel_width)
    if p.kernel_width == p.kernel_height and most is not None and p.num_neurons > most:
        yield (
            f"{p.num_neurons} filters, allowed are {most} for {p.input_channels} input channels "
            f"and a kernel of {p.kernel_width}x{p.kernel_height}"
        )
    yield from _stride_reasons(p, _INPUT_STRIDES)
    if p.convolution_mode not in (ConvolutionMode.Same, ConvolutionMode.Valid):
        yield f"convolution mode {p.convolution_mode.name}, allowed are Same and Valid"
    if p.pooling_type is PoolingType.Average:
        yield "average pooling, allowed is max pooling"
    elif p.pooling_type is PoolingType.Max:
        size, stride = _pool(spatial_geometry(p, (p.input_width, p.input_height)))
        if size not in _INPUT_POOLS:
            yield f"max pooling of {_by(size)}, allowed are 1x1, 1x2, 2x1 and 2x2"
        if stride != size:
            yield (
                f"max pooling stride of {_by(stride)} for a window of {_by(size)}, allowed is a "
                f"stride equal to the window (an older page: 2)"
            )
    older = " (an older page: 1 to 8)"
    yield from _bits_reasons(layer, p, _INPUT_BITS, older)


def _convolution_reasons(
    model: Model, layer: Layer, p: SpatialParameters, version: NsocVersion
) -> Iterator[str]:
    limits = _CONVOLUTIONS[p.layer_type, version]
    yield from _kernel_reasons(p, limits.kernels)
    yield from _stride_reasons(p, limits.strides)
    if (p.stride_x, p.stride_y) == (2, 2) and 2 in limits.strides:
        kernel = (p.kernel_width, p.kernel_height)
        if kernel != (3, 3):
            yield f"stride of 2x2 with a kernel of {_by(kernel)}, allowed is 3x3"
    if p.convolution_mode is not ConvolutionMode.Same and not _is_same_as_same(p, layer.input_dims):
        yield f"convolution mode {p.convolution_mode.name}, allowed is Same"
    geometry = spatial_geometry(p, layer.input_dims[:2])
    if p.pooling_type is PoolingType.Average:
        yield from _average_reasons(geometry, limits)
    elif p.pooling_type is PoolingType.Max:
        yield from _max_reasons(p, layer.input_dims, geometry, limits, version)
        yield from _follower_reasons(model, layer)
    yield from _bits_reasons(layer, p, limits.bits)


def _average_reasons(geometry: SpatialGeometry, limits: _ConvolutionLimits) -> Iterator[str]:
    width, height = geometry.conv_x.output, geometry.conv_y.output
    size, _ = _pool(geometry)
    if size != (width, height):
        yield (
            f"average pooling of {_by(size)} over {width}x{height}, allowed is global average "
            f"pooling"
        )
    elif reason := limits.global_average(width, height):
        yield reason


def _max_reasons(
    p: SpatialParameters,
    input_dims: Dims,
    geometry: SpatialGeometry,
    limits: _ConvolutionLimits,
    version: NsocVersion,
) -> Iterator[str]:
    size, stride = _pool(geometry)
    if size[0] != size[1] or size[0] not in limits.pool_sizes:
        allowed = _either([f"{side}x{side}" for side in limits.pool_sizes])
        older = " (an older page: 3x3 too)" if version is NsocVersion.v2 else ""
        yield f"max pooling of {_by(size)}, allowed are {allowed}{older}"
    if stride[0] != stride[1] or stride[0] not in limits.pool_strides:
        allowed = _either([f"{side}x{side}" for side in limits.pool_strides])
        older = " (an older page: 3x3 too)" if version is NsocVersion.v2 else ""
        yield f"max pooling stride of {_by(stride)}, allowed are {allowed}{older}"
    if stride[0] > size[0] or stride[1] > size[1]:
        yield (
            f"max pooling stride of {_by(stride)}, allowed are strides up to the window, "
            f"{_by(size)}"
        )
    if not limits.pool_fits_input:
        return
    kernel = (p.kernel_width, p.kernel_height)
    for what, window in (("max pooling", size), ("kernel, with max pooling,", kernel)):
        if window[0] > input_dims[0] or window[1] > input_dims[1]:
            yield f"{what} of {_by(window)} on an input of {_by(input_dims[:2])}, which is smaller"


def _follower_reasons(model: Model, layer: Layer) -> Iterator[str]:
    followers = [other for other in model.layers if layer in other.inbounds]
    wrong = [f for f in followers if f.parameters.layer_type not in _EVENT_CONVOLUTIONS]
    for follower in wrong:
        kind = follower.parameters.layer_type.name
        yield (
            f"max pooling is followed by {follower.name!r} ({kind}), allowed are Convolutional and "
            f"SeparableConvolutional"
        )
    if not followers:
        yield (
            "max pooling in the last layer, it must be followed by a Convolutional or a "
            "SeparableConvolutional"
        )


def _fully_connected_reasons(
    layer: Layer, p: FullyConnectedParameters, limits: _FullyConnectedLimits
) -> Iterator[str]:
    width, height, channels = layer.input_dims
    if not limits.flattens and (width, height) != (1, 1):
        yield f"input of {width}x{height} (width x height), allowed is 1x1"
    inputs = width * height * channels
    if inputs > limits.inputs:
        older = ""
        if limits.inputs < _OLDER_INPUTS:
            older = f" (an older page: {_OLDER_INPUTS})"
        yield f"{inputs} inputs, allowed are {limits.inputs}{older}"
    yield from _bits_reasons(layer, p, limits.bits)


def _learning_reasons(model: Model, layer: Layer) -> Iterator[str]:
    if layer.learning.learning_type is LearningType.NoLearning:
        return
    p = layer.parameters
    if layer is not model.layers[-1]:
        yield "learns, but only the last layer can"
    if p.layer_type is not LayerType.FullyConnected:
        yield (
            f"learns as a {p.layer_type.name}, allowed is FullyConnected (some guides: "
            f"Convolutional too)"
        )
    weights_bits = getattr(p, "weights_bits", None)
    if weights_bits is not None and weights_bits != 1:
        yield f"learns with weights of {weights_bits} bits, allowed is 1"
    if layer.input_bits != 1:
        yield f"learns from inputs of {layer.input_bits} bits, allowed is 1"


def _threshold_reasons(layer: Layer) -> Iterator[str]:
    """Widths of the registers that hold a neuron's threshold and step."""
    p = layer.parameters
    if not isinstance(p, ActivationParameters):
        return
    is_input = isinstance(p, InputConvolutionalParameters)
    threshold_bits, step_bits = (24, 20) if is_input else (20, 16)
    most = 2 ** (threshold_bits - 1) - 1
    variables = layer.to_spec().variables
    thresholds_n = variables["threshold_fire"].astype(np.int64)
    outside = np.abs(thresholds_n) > most
    if outside.any():
        neuron = int(outside.argmax())
        yield (
            f"threshold_fire[{neuron}] is {thresholds_n[neuron]}, allowed are {-most} to {most} "
            f"({threshold_bits} bits)"
        )
    if not p.activations_enabled:
        return
    steps_n = variables["threshold_fire_step"]
    top = 2**step_bits - 1
    outside = steps_n > top
    if outside.any():
        neuron = int(outside.argmax())
        older = "" if is_input else "; an older message: 20 bits"
        yield (
            f"threshold_fire_step[{neuron}] is {steps_n[neuron]:g}, allowed are 0 to {top} "
            f"({step_bits} bits{older})"
        )


def _kernel_reasons(p: SpatialParameters, kernels: tuple[int, ...]) -> Iterator[str]:
    kernel = (p.kernel_width, p.kernel_height)
    if kernel[0] != kernel[1] or kernel[0] not in kernels:
        allowed = _either([f"{side}x{side}" for side in kernels])
        yield f"kernel of {_by(kernel)}, allowed are {allowed}"


def _stride_reasons(p: SpatialParameters, strides: tuple[int, ...]) -> Iterator[str]:
    stride = (p.stride_x, p.stride_y)
    if stride[0] != stride[1] or stride[0] not in strides:
        allowed = _either([f"{side}x{side}" for side in strides])
        yield f"stride of {_by(stride)}, allowed are {allowed}"


def _bits_reasons(layer: Layer, p: Any, bits: _Bits, older_weights: str = "") -> Iterator[str]:
    if layer.input_bits not in bits.inputs:
        yield f"inputs of {layer.input_bits} bits, allowed are {_either(bits.inputs)}"
    if p.weights_bits not in bits.weights:
        yield (
            f"weights of {p.weights_bits} bits, allowed are {_either(bits.weights)}{older_weights}"
        )
    if p.activations_enabled and p.threshold_fire_bits not in bits.activations:
        yield (
            f"activations of {p.threshold_fire_bits} bits, allowed are {_either(bits.activations)}"
        )


def _pool(geometry: SpatialGeometry) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size and stride of the pooling windows, -1 resolved."""
    assert geometry.pool_x is not None
    assert geometry.pool_y is not None
    size = (geometry.pool_x.size, geometry.pool_y.size)
    return size, (geometry.pool_x.stride, geometry.pool_y.stride)


def _by(pair: tuple[int, ...]) -> str:
    return f"{pair[0]}x{pair[1]}"


def _either(values: Any) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} and {last}" if most else last


def _is_same_as_same(p: SpatialParameters, input_dims: Dims) -> bool:
    """Whether a layer computes exactly what it would in mode Same.

    Its windows are compared one by one: where they begin, and how many there are. A 1x1 kernel of
    stride 1 has none that reaches beyond the map in any mode; its pooling may have.
    """
    same = replace(p, convolution_mode=ConvolutionMode.Same)
    return spatial_geometry(p, input_dims[:2]) == spatial_geometry(same, input_dims[:2])


def _with_same_modes(spec: NetworkSpec, model: Model) -> NetworkSpec:
    """Mode Same wherever it changes nothing; chips know no other behind the input."""
    layers = []
    for layer in spec.layers:
        p = layer.parameters
        if (
            isinstance(p, ConvolutionalParameters | SeparableConvolutionalParameters)
            and p.convolution_mode is not ConvolutionMode.Same
            and _is_same_as_same(p, model.get_layer(layer.name).input_dims)
        ):
            layer = replace(layer, parameters=replace(p, convolution_mode=ConvolutionMode.Same))
        layers.append(layer)
    return replace(spec, layers=tuple(layers))


def _with_split_input(spec: NetworkSpec, bits: int) -> NetworkSpec:
    """The image layer as events and a convolution over them, if that gives the same sums."""
    first = spec.layers[0]
    p = first.parameters
    if not isinstance(p, InputConvolutionalParameters) or p.padding_value:
        return spec
    allowed = _CONVOLUTIONS[LayerType.Convolutional, NsocVersion.v1].bits.inputs
    events = InputDataParameters(
        input_width=p.input_width,
        input_height=p.input_height,
        input_channels=p.input_channels,
        input_bits=min(width for width in allowed if width >= bits),
    )
    name = _free_name(f"{first.name}_input", {layer.name for layer in spec.layers})
    convolution = ConvolutionalParameters(
        **{
            field: getattr(p, field)
            for field in ConvolutionalParameters.__dataclass_fields__
            if field != "layer_type"
        }
    )
    # kernels of inner layers are stored as an event scatters them: reversed along x and y
    weights = np.ascontiguousarray(first.variables["weights"][::-1, ::-1])
    weights.flags.writeable = False
    moved = replace(
        first,
        parameters=convolution,
        inbounds=(name,),
        variables=MappingProxyType({**first.variables, "weights": weights}),
    )
    return replace(spec, layers=(LayerSpec(name, events), moved, *spec.layers[1:]))


def _with_identities(spec: NetworkSpec, learning: set[str]) -> NetworkSpec:
    """An identity behind each max-pooled layer that is last or feeds a fully connected one."""
    names = {layer.name for layer in spec.layers}
    layers: list[LayerSpec] = []
    renamed: dict[str, str] = {}
    for layer in spec.layers:
        if isinstance(layer.parameters, FullyConnectedParameters):
            inbounds = tuple(renamed.get(name, name) for name in layer.inbounds)
            layer = replace(layer, inbounds=inbounds)
        layers.append(layer)
        p = layer.parameters
        if (
            not isinstance(p, ConvolutionalParameters | SeparableConvolutionalParameters)
            or p.pooling_type is not PoolingType.Max
            or not p.activations_enabled
            or layer.name in learning
        ):
            continue
        followers = [other for other in spec.layers if layer.name in other.inbounds]
        if not followers or any(
            isinstance(other.parameters, FullyConnectedParameters) for other in followers
        ):
            name = _free_name(f"{layer.name}_identity", names)
            names.add(name)
            renamed[layer.name] = name
            layers.append(_identity(name, layer.name, p))
    return replace(spec, layers=tuple(layers))


def _identity(name: str, source: str, p: SpatialParameters) -> LayerSpec:
    """A 1x1 convolution that passes activations on: a level per unit, since the interval is 1."""
    bits, count = p.threshold_fire_bits, p.num_neurons
    step = 2**bits / 16
    parameters = ConvolutionalParameters(
        kernel_width=1,
        kernel_height=1,
        num_neurons=count,
        weights_bits=1,
        threshold_fire=0,
        threshold_fire_step=step,
        threshold_fire_bits=bits,
    )
    variables: dict[str, npt.NDArray[Any]] = {
        "weights": np.eye(count, dtype=np.int8)[None, None],
        "threshold_fire": np.zeros(count, np.int32),
        "threshold_fire_step": np.full(count, step, np.float32),
    }
    for values in variables.values():
        values.flags.writeable = False
    return LayerSpec(name, parameters, (source,), MappingProxyType(variables))


def _free_name(wanted: str, taken: set[str]) -> str:
    name = stem = wanted[: MAX_NAME_LENGTH - 8]
    number = 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    return name
