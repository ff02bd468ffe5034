"""Who may feed whom, and what a new layer is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kerasnsoc.artifact.limits import MAX_NAME_LENGTH
from kerasnsoc.artifact.schema import INPUT_LAYER_TYPES, LayerType
from kerasnsoc.runtime.layers import POTENTIAL_BITS, Layer


def new_name(layer: Layer, existing: Mapping[str, Layer]) -> str:
    """Name of a layer that joins a model; an empty one becomes ``<type>_<index>``.

    Raises
    ------
    ValueError
        If the name is taken, too long or not printable.
    """
    if not layer.name:
        index = len(existing)
        stem = layer.parameters.layer_type.value
        while f"{stem}_{index}" in existing:
            index += 1
        return f"{stem}_{index}"
    if layer.name in existing:
        raise ValueError(f"a layer named {layer.name!r} is in the model already")
    if len(layer.name) > MAX_NAME_LENGTH or not layer.name.isprintable():
        raise ValueError(
            f"layer name {layer.name[:MAX_NAME_LENGTH]!r} must be at most {MAX_NAME_LENGTH} "
            f"printable characters"
        )
    return layer.name


def wire(
    layer: Layer, name: str, inbound_layers: Sequence[Layer], existing: Mapping[str, Layer]
) -> tuple[Layer, ...]:
    """Layers that feed a new one: those asked for, or the last one.

    Parameters
    ----------
    layer : Layer
    name : str
        What the layer will be called, for messages.
    inbound_layers : sequence of Layer
    existing : mapping of str to Layer
        The model's layers in order.

    Raises
    ------
    TypeError
        If `inbound_layers` holds something else than layers.
    ValueError
        If the wiring is not allowed; the message says why.
    """
    inbounds = (inbound_layers,) if isinstance(inbound_layers, Layer) else tuple(inbound_layers)
    for source in inbounds:
        if not isinstance(source, Layer):
            raise TypeError(
                f"layer {name!r}: inbound_layers holds a {type(source).__name__}, but must hold "
                f"layers"
            )
        if existing.get(source.name) is not source:
            raise ValueError(
                f"layer {name!r}: inbound layer {source!r} does not belong to this model. Take it "
                f"from there with get_layer."
            )
    kind = layer.parameters.layer_type
    if kind in INPUT_LAYER_TYPES:
        if existing or inbounds:
            raise ValueError(f"layer {name!r} is an {kind.name}, which can only be the first layer")
        return ()
    if not existing:
        raise ValueError(
            f"layer {name!r} is a {kind.name}, but the first layer of a model must be an InputData "
            f"or an InputConvolutional"
        )
    inbounds = inbounds or (list(existing.values())[-1],)
    if kind is LayerType.Concat:
        _check_joined(name, inbounds)
    elif len(inbounds) > 1:
        raise ValueError(
            f"layer {name!r} is a {kind.name} with {len(inbounds)} inbound layers; only a Concat "
            f"takes several"
        )
    elif inbounds[0].output_bits == POTENTIAL_BITS and kind is not LayerType.Filter:
        raise ValueError(
            f"layer {name!r} would be fed by the potentials of {inbounds[0].name!r}, which only a "
            f"Concat takes. Build {inbounds[0].name!r} with activations_enabled=True."
        )
    return inbounds


def _check_joined(name: str, inbounds: Sequence[Layer]) -> None:
    if len(inbounds) < 2:
        raise ValueError(
            f"layer {name!r} joins a single layer; a Concat takes at least two inbound_layers"
        )
    bits = {source.name: source.output_bits for source in inbounds}
    if len(set(bits.values())) > 1:
        raise ValueError(
            f"layer {name!r}: the inbound layers send on values of {bits} bits; they must be "
            f"equal, or {POTENTIAL_BITS} for all, which stands for potentials"
        )
