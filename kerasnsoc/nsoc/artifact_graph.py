"""From an artifact to the layers of a chip."""

from __future__ import annotations

from kerasnsoc.artifact.geometry import Dims, output_dims, spatial_geometry
from kerasnsoc.artifact.schema import (
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    SpatialParameters,
)
from kerasnsoc.nsoc.artifact_spikes import spiking_graph
from kerasnsoc.nsoc.core_graph import CoreGraph, Destination, GradedLayer, Shape, Source
from kerasnsoc.nsoc.errors import InvalidGraphError


def artifact_graph(spec: NetworkSpec, name: str = "") -> CoreGraph:
    """The layers of an artifact, wired as a chip would be.

    Layers of graded neurons stay what they are: the integers are those of the runtime, and a chip
    that takes graded events computes exactly them. Layers of a network over time become the cores
    of a spiking chip; see `kerasnsoc.nsoc.artifact_spikes.spiking_graph`.

    Parameters
    ----------
    spec : NetworkSpec
    name : str

    Returns
    -------
    CoreGraph
        Of `GradedLayer`, or of `CoreLayer` where the artifact has a time step. An ``InputData``
        layer becomes the input port; an image input layer is a layer of its own.

    Raises
    ------
    UnsupportedLayerError, AsymmetricPaddingError, DiscretizationError
        If a layer of a network over time has no exact counterpart on a core.
    InvalidGraphError
        If there is nothing to place.
    """
    return _graded_graph(spec, name) if spec.time_step is None else spiking_graph(spec, name)


def _graded_graph(spec: NetworkSpec, name: str) -> CoreGraph:
    placed = [
        layer for layer in spec.layers if not isinstance(layer.parameters, InputDataParameters)
    ]
    if not placed:
        raise InvalidGraphError("the network is an input layer alone; there is nothing to place")
    index = {layer.name: i for i, layer in enumerate(placed)}
    dims: dict[str, Dims] = {}
    for layer in spec.layers:
        dims[layer.name] = output_dims(layer.parameters, [dims[n] for n in layer.inbounds])
    destinations: dict[str, list[Destination]] = {layer.name: [] for layer in spec.layers}
    for layer in placed:
        shift = 0
        for inbound in layer.inbounds:
            destinations[inbound].append(Destination(index[layer.name], feature_shift=shift))
            shift += dims[inbound][2]
    destinations[spec.layers[-1].name].append(Destination(None))

    height, width, channels = spec.input.shape_hwc
    first = spec.layers[0]
    layers = []
    for layer in placed:
        in_dims = [dims[n] for n in layer.inbounds] or [(width, height, channels)]
        sources: tuple[Source, ...] = tuple(index.get(n, "input") for n in layer.inbounds)
        layers.append(
            GradedLayer(
                index=index[layer.name],
                name=layer.name,
                spec=layer,
                in_shape=(sum(d[2] for d in in_dims), in_dims[0][1], in_dims[0][0]),
                neuron_shape=_neuron_shape(layer, in_dims[0], dims[layer.name]),
                out_shape=_chw(dims[layer.name]),
                destinations=tuple(sorted(destinations[layer.name], key=_visited)),
                sources=sources or ("input",),
            )
        )
    entries = (
        tuple(destinations[first.name])
        if isinstance(first.parameters, InputDataParameters)
        else (Destination(0),)
    )
    return CoreGraph(
        layers=tuple(layers),
        input_shape=(channels, height, width),
        input_destinations=entries,
        name=name,
    )


def _visited(destination: Destination) -> tuple[bool, int]:
    """Cores in their order, then the way out."""
    return destination.target is None, destination.target or 0


def _chw(dims: Dims) -> Shape:
    width, height, features = dims
    return features, height, width


def _neuron_shape(layer: LayerSpec, input_dims: Dims, dims: Dims) -> Shape:
    """(F, H, W) of the potentials, before pooling."""
    p = layer.parameters
    if isinstance(p, SpatialParameters):
        geometry = spatial_geometry(p, input_dims[:2])
        return p.num_neurons, geometry.conv_y.output, geometry.conv_x.output
    return _chw(dims)
