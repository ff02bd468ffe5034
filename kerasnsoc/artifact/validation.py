"""The rules for a network: the one judge of what is read, and of what is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from kerasnsoc.artifact.bounds import network_bounds
from kerasnsoc.artifact.checks import (
    check_parameters,
    is_finite,
    required_variables,
    shown,
    variable_fault,
    variable_shapes,
)
from kerasnsoc.artifact.errors import ArtifactError, Reason
from kerasnsoc.artifact.geometry import Dims, output_dims, spatial_geometry
from kerasnsoc.artifact.jsontext import canonical, check_plain
from kerasnsoc.artifact.learning import check_learning, learning_variables
from kerasnsoc.artifact.limits import (
    INT32_MAX,
    INT32_MIN,
    MAX_INBOUNDS,
    MAX_LAYERS,
    MAX_MAP_VALUES,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_METADATA_VALUES,
    MAX_NAME_LENGTH,
    MAX_SIDE,
    MAX_TIME_STEP,
    MAX_TOTAL_VALUES,
    MIN_TIME_STEP,
)
from kerasnsoc.artifact.neurons import check_neuron, check_potentials
from kerasnsoc.artifact.schema import (
    INPUT_LAYER_TYPES,
    ActivationParameters,
    ConcatParameters,
    FilterParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerSpec,
    LayerType,
    LearningSpec,
    NetworkSpec,
    NeuronSpec,
    PoolingParameters,
    SpatialParameters,
)


def validate(spec: NetworkSpec) -> None:
    """Refuse a description that is no network, or one that a runtime could not run unchecked.

    Parameters
    ----------
    spec : NetworkSpec

    Raises
    ------
    ArtifactError
        With the reason, and a message that names the layer, what was found and what is allowed.

    See Also
    --------
    kerasnsoc.artifact.checks : the rules for one layer.
    kerasnsoc.artifact.bounds : how large the sums can become.
    """
    if not isinstance(spec, NetworkSpec):
        _refuse(Reason.MEMBER, f"expected a NetworkSpec, got a {type(spec).__name__}")
    _check_records(spec)
    _check_time(spec)
    _check_wiring(spec)
    _check_layers(spec)
    _check_input(spec)
    _check_metadata(spec.metadata)
    network_bounds(spec)


def _refuse(reason: Reason, message: str) -> NoReturn:
    raise ArtifactError(reason, message)


def _check_records(spec: NetworkSpec) -> None:
    """Types and names, so that everything behind can rely on them."""
    if not isinstance(spec.layers, tuple):
        _refuse(Reason.MEMBER, f"layers is a {type(spec.layers).__name__}, but must be a tuple")
    if not 1 <= len(spec.layers) <= MAX_LAYERS:
        _refuse(
            Reason.GRAPH, f"a network has 1 to {MAX_LAYERS} layers, this one has {len(spec.layers)}"
        )
    seen: set[str] = set()
    for index, layer in enumerate(spec.layers):
        if not isinstance(layer, LayerSpec):
            _refuse(Reason.MEMBER, f"layer {index} is a {type(layer).__name__}, not a LayerSpec")
        _check_name(index, layer.name)
        if layer.name in seen:
            _refuse(Reason.NAME, f"two layers are named {layer.name!r}; names must be unique")
        seen.add(layer.name)
        if not isinstance(layer.inbounds, tuple) or not all(
            isinstance(name, str) for name in layer.inbounds
        ):
            _refuse(Reason.MEMBER, f"layer {layer.name!r}: inbounds must be a tuple of layer names")
        if not isinstance(layer.variables, Mapping):
            _refuse(Reason.MEMBER, f"layer {layer.name!r}: variables must map names to arrays")
        try:
            check_parameters(layer.parameters)
        except TypeError as error:
            _refuse(Reason.MEMBER, f"layer {layer.name!r}: {error}")
        except ValueError as error:
            _refuse(Reason.VALUE, f"layer {layer.name!r}: {error}")
        if layer.learning is not None and not isinstance(layer.learning, LearningSpec):
            _refuse(
                Reason.MEMBER,
                f"layer {layer.name!r}: learning is a {type(layer.learning).__name__}, but must be "
                f"a LearningSpec or None",
            )
        if layer.neuron is not None:
            if not isinstance(layer.neuron, NeuronSpec):
                _refuse(
                    Reason.MEMBER,
                    f"layer {layer.name!r}: neuron is a {type(layer.neuron).__name__}, but must be "
                    f"a NeuronSpec or None",
                )
            try:
                check_neuron(layer.neuron, layer.parameters)
            except ValueError as error:
                _refuse(Reason.VALUE, f"layer {layer.name!r}: {error}")


def _check_time(spec: NetworkSpec) -> None:
    """What only a network over time has, and what it has not."""
    step = spec.time_step
    if step is not None and not (type(step) is float and MIN_TIME_STEP <= step <= MAX_TIME_STEP):
        _refuse(
            Reason.VALUE,
            f"time_step is {shown(step)}, but must be a float from {MIN_TIME_STEP:g} to "
            f"{MAX_TIME_STEP:g} seconds, or None",
        )
    for layer in spec.layers:
        needs_time = layer.neuron is not None or isinstance(
            layer.parameters, PoolingParameters | FilterParameters
        )
        if step is None and needs_time:
            what = "has neurons that integrate" if layer.neuron else f"is a {layer.layer_type.name}"
            _refuse(
                Reason.GRAPH,
                f"layer {layer.name!r} {what}, which only a network over time can: it needs a "
                f"time_step",
            )
        if step is not None and (
            layer.learning is not None or isinstance(layer.parameters, ConcatParameters)
        ):
            what = "learns" if layer.learning else "is a Concat"
            _refuse(
                Reason.GRAPH,
                f"layer {layer.name!r} {what}, which is not possible in a network over time",
            )


def _check_name(index: int, name: object) -> None:
    if not isinstance(name, str):
        _refuse(Reason.NAME, f"the name of layer {index} is a {type(name).__name__}, not a string")
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        _refuse(
            Reason.NAME,
            f"the name of layer {index} has {len(name)} characters, allowed are 1 to "
            f"{MAX_NAME_LENGTH}",
        )
    if not name.isprintable():
        _refuse(Reason.NAME, f"the name of layer {index}, {name!r}, is not printable")


def _check_wiring(spec: NetworkSpec) -> None:
    """Who feeds whom: a chain or a join, in topological order, towards one output."""
    if spec.layers[0].layer_type not in INPUT_LAYER_TYPES:
        _refuse(
            Reason.GRAPH,
            f"the first layer, {spec.layers[0].name!r}, is a {spec.layers[0].layer_type.name}; a "
            f"network starts with InputData or InputConvolutional",
        )
    earlier: set[str] = set()
    for layer in spec.layers:
        _check_inbounds(layer, earlier)
        earlier.add(layer.name)
    needed = {spec.layers[-1].name}
    for layer in reversed(spec.layers):
        if layer.name not in needed:
            _refuse(
                Reason.GRAPH,
                f"layer {layer.name!r} does not reach the output {spec.layers[-1].name!r}; feed it "
                f"to a later layer, or leave it out",
            )
        needed.update(layer.inbounds)


def _check_inbounds(layer: LayerSpec, earlier: set[str]) -> None:
    kind, found = layer.layer_type.name, len(layer.inbounds)
    if layer.layer_type in INPUT_LAYER_TYPES:
        if earlier:
            _refuse(
                Reason.GRAPH,
                f"layer {layer.name!r} is a {kind}; only the first layer takes the network's input",
            )
        if found:
            _refuse(
                Reason.GRAPH, f"layer {layer.name!r} takes the network's input and has no inbounds"
            )
        return
    if isinstance(layer.parameters, ConcatParameters):
        if not 2 <= found <= MAX_INBOUNDS:
            _refuse(
                Reason.GRAPH,
                f"layer {layer.name!r} joins {found} layers; a Concat joins 2 to {MAX_INBOUNDS}",
            )
    elif found != 1:
        _refuse(
            Reason.GRAPH,
            f"layer {layer.name!r} is a {kind} with {found} inbound layers; it takes exactly one, "
            f"only Concat takes several",
        )
    for name in layer.inbounds:
        if name not in earlier:
            _refuse(
                Reason.GRAPH,
                f"layer {layer.name!r} is fed by {_quoted(name)}, which is no earlier layer",
            )


def _quoted(text: str) -> str:
    return repr(text) if len(text) <= MAX_NAME_LENGTH else repr(text[:MAX_NAME_LENGTH]) + "..."


def _check_layers(spec: NetworkSpec) -> None:
    """Shapes chain, signals agree, and every variable is there and in range."""
    dims: dict[str, Dims] = {}
    bits: dict[str, int | None] = {}
    total = 0
    for layer in spec.layers:
        sources = [dims[name] for name in layer.inbounds]
        signals = {name: bits[name] for name in layer.inbounds}
        try:
            dims[layer.name] = output_dims(layer.parameters, sources)
            total += _checked_size(layer, sources, dims[layer.name])
        except ValueError as error:
            _refuse(Reason.SHAPE, f"layer {layer.name!r}: {error}")
        if total > MAX_TOTAL_VALUES:
            _refuse(
                Reason.SHAPE,
                f"layer {layer.name!r}: the maps of the network up to here have {total} values, "
                f"allowed are {MAX_TOTAL_VALUES}",
            )
        bits[layer.name] = _signal(layer, signals)
        if isinstance(layer.parameters, FilterParameters) and layer is not spec.layers[-1]:
            _refuse(
                Reason.GRAPH,
                f"layer {layer.name!r} is a Filter, which can only be the last layer of a network",
            )
        incoming = dims[layer.name] if len(sources) != 1 else sources[0]
        if layer.learning is not None:
            _check_learning(spec, layer, incoming, bits)
        _check_variables(layer, incoming, layer is spec.layers[-1])


def _checked_size(layer: LayerSpec, sources: list[Dims], output: Dims) -> int:
    """Values that the layer has to hold; the map before pooling is the largest."""
    width, height, features = output
    p = layer.parameters
    if isinstance(p, SpatialParameters):
        if isinstance(p, InputConvolutionalParameters):
            source = p.input_width, p.input_height
        else:
            source = sources[0][:2]
        geometry = spatial_geometry(p, source)
        width, height = geometry.conv_x.output, geometry.conv_y.output
    size = width * height * features
    if max(width, height) > MAX_SIDE or size > MAX_MAP_VALUES:
        raise ValueError(
            f"a map of {width} x {height} x {features} is too large; allowed are {MAX_SIDE} "
            f"positions per side and {MAX_MAP_VALUES} values"
        )
    return size


def _signal(layer: LayerSpec, signals: Mapping[str, int | None]) -> int | None:
    """Bits of the activations that a layer sends on; None for potentials."""
    p = layer.parameters
    if isinstance(p, InputDataParameters):
        return p.input_bits
    if isinstance(p, FilterParameters):
        return None
    if isinstance(p, PoolingParameters):
        (source,) = signals.items()
        if source[1] is None:
            _refuse(
                Reason.GRAPH,
                f"layer {layer.name!r} pools {source[0]!r}, which sends on potentials or filtered "
                f"values; it pools spikes and activations",
            )
        return source[1]
    assert isinstance(p, ActivationParameters)
    if isinstance(p, ConcatParameters):
        if len(set(signals.values())) > 1:
            found = ", ".join(
                f"{name!r}: {'potentials' if bits is None else f'{bits}-bit activations'}"
                for name, bits in list(signals.items())[:8]
            )
            _refuse(
                Reason.GRAPH,
                f"layer {layer.name!r} joins unlike signals ({found}); a Concat takes activations "
                f"of equal bits, or potentials only",
            )
        joined = next(iter(signals.values()))
        return p.threshold_fire_bits if p.activations_enabled else joined
    for name, bits in signals.items():
        if bits is None:
            _refuse(
                Reason.GRAPH,
                f"layer {layer.name!r} is fed by the potentials of {name!r}; potentials may only "
                f"go to a Concat or be the output. Enable the activations of {name!r}.",
            )
    return p.threshold_fire_bits if p.activations_enabled else None


def _check_learning(
    spec: NetworkSpec, layer: LayerSpec, incoming: Dims, bits: Mapping[str, int | None]
) -> None:
    """Only a last layer with binary weights and binary inputs learns."""
    assert layer.learning is not None
    if layer is not spec.layers[-1]:
        _refuse(
            Reason.GRAPH, f"layer {layer.name!r} learns, but only the last layer of a network can"
        )
    try:
        check_learning(layer.learning, layer.parameters, incoming)
    except ValueError as error:
        _refuse(Reason.VALUE, f"layer {layer.name!r}: {error}")
    (source,) = layer.inbounds
    kinds = {other.name: other.layer_type for other in spec.layers}
    # what an InputData lets through is checked when it arrives
    if bits[source] != 1 and kinds[source] is not LayerType.InputData:
        _refuse(
            Reason.GRAPH,
            f"layer {layer.name!r} learns from {source!r}, which sends on {bits[source]}-bit "
            f"values; a layer that learns takes activations of 1 bit, or an InputData",
        )


def _check_variables(layer: LayerSpec, incoming: Dims, is_last: bool) -> None:
    def refuse(reason: Reason, message: str) -> NoReturn:
        _refuse(reason, f"layer {layer.name!r}: {message}")

    try:
        shapes = variable_shapes(layer.parameters, incoming, layer.learning, layer.neuron)
    except ValueError as error:
        refuse(Reason.SHAPE, str(error))
    needed = required_variables(layer.layer_type, layer.neuron)
    for name in (*needed, *learning_variables(layer.learning)):
        if name not in layer.variables:
            refuse(Reason.MEMBER, f"the variable {name!r} is missing")
    for name, values in layer.variables.items():
        fault = variable_fault(layer.parameters, shapes, name, values, layer.learning)
        if fault is not None:
            refuse(fault.reason, fault.message)
    if layer.neuron is not None:
        try:
            check_potentials(layer.neuron, layer.variables)
        except ArtifactError as error:
            refuse(error.reason, str(error))
    scaled = [name for name in ("output_scale", "output_shift") if name in layer.variables]
    if len(scaled) == 1:
        refuse(Reason.MEMBER, f"{scaled[0]} is alone; output_scale and output_shift go together")
    if scaled and not is_last:
        refuse(Reason.MEMBER, "output_scale and output_shift belong to the last layer only")


def _check_input(spec: NetworkSpec) -> None:
    scale, shift = spec.input_scale, spec.input_shift
    if not is_finite(scale) or not scale > 0:
        _refuse(Reason.VALUE, f"input_scale is {shown(scale)}, but must be a finite number above 0")
    low, high = INT32_MIN, INT32_MAX
    if isinstance(spec.layers[0].parameters, InputConvolutionalParameters):
        # the code of a real zero, hence a pixel
        low, high = 0, 255
    if type(shift) is not int or not low <= shift <= high:
        _refuse(
            Reason.VALUE,
            f"input_shift is {shown(shift)}, but must be an integer from {low} to {high}",
        )


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, Mapping):
        _refuse(Reason.MEMBER, f"metadata is a {type(metadata).__name__}, but must be a mapping")
    plain = dict(metadata)
    check_plain(plain, "metadata", MAX_METADATA_DEPTH, MAX_METADATA_VALUES)
    if (size := len(canonical(plain))) > MAX_METADATA_BYTES:
        _refuse(
            Reason.VALUE, f"metadata takes {size} bytes as JSON, allowed are {MAX_METADATA_BYTES}"
        )
