"""From a graph of cores to a NIR graph."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kerasnsoc._extras import require
from kerasnsoc.artifact.atomic import write_atomically
from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer, Destination, Shape
from kerasnsoc.nsoc.errors import NotDiscretizedError, UnsupportedLayerError
from kerasnsoc.nsoc.nir_graph import METADATA_KEY


def to_nir(
    network: Any,
    *,
    quantized: bool | None = None,
    strict_threshold: bool = False,
    dense_as: Literal["affine", "conv"] = "affine",
    dvs: Literal["refuse", "drop"] = "refuse",
) -> Any:
    """Describe a network in the Neuromorphic Intermediate Representation.

    Each core becomes a Conv2d (or Flatten and Affine) and an IF node; pooling between cores
    becomes SumPool2d nodes. `write_nir` writes the result to a file.

    Parameters
    ----------
    network : NSoCNetwork, CoreGraph or keras.Model
        A Keras model is turned into cores first, as `kerasnsoc.nsoc.NSoCNetwork` does it.
    quantized : bool, optional
        True: integers (weights int8, biases int16, thresholds whole numbers in float64). False:
        floats, divided by each core's scale. Default: integers where the network has them.
    strict_threshold : bool
        Write ``threshold - 0.5``, see below; for integers only.
    dense_as : {"affine", "conv"}
        What a dense layer becomes.
    dvs : {"refuse", "drop"}
        What to do with a crop, a mirror, a swap or a merge of the sensor's events, which NIR
        cannot say. ``"drop"`` leaves out the sensor's block, so that the graph begins behind it.

    Returns
    -------
    nir.NIRGraph
        Nodes bear the names of the layers that hold the weights, and those of their neurons end in
        ``_neurons``. What NIR has no word for is noted under
        ``metadata["kerasnsoc"]``, where `from_nir` finds it.

    Raises
    ------
    NotDiscretizedError
        If integers are wanted of a network of floats.
    UnsupportedLayerError
        If NIR cannot express the network: graded activations, or the sensor's block.
    ImportError
        If the library ``nir`` (extra ``nir``) is not installed.

    Warns
    -----
    UserWarning
        If potentials do not start at 0, which NIR cannot say.

    Notes
    -----
    What differs between NIR and a chip, and so between this network and what another tool makes
    of the graph:

    - NIR fires when the potential is *above* the threshold, chips when it *reaches* it. For
      integers, ``strict_threshold=True`` makes up for that, which is exact only for cores that
      reset to zero: a reset that subtracts takes half a step too little then. Most importers fire
      at the threshold and subtract it, so that the plain threshold is the better default.
    - NIR resets to a potential, chips subtract the threshold (or reset, if told so).
    - NIR has no lower bound of potentials, no leak per tick of a slow clock and no decimator.
    - NIR adds a bias all the time, an event-driven chip once per tick.
    - An average pooling behind the last core scales counts; here they stay counts, and the factor
      is in the metadata of the graph.

    See Also
    --------
    from_nir : the other way.
    """
    graph = _graph_of(network, quantized)
    layers = _exportable(graph, quantized, strict_threshold)
    is_integer = bool(layers) and layers[0].is_discretized and quantized is not False
    if strict_threshold and not is_integer:
        raise ValueError(
            "strict_threshold=True moves the threshold by half an integer, which makes no sense "
            "for a network of floats. Leave it out, or export with quantized=True."
        )
    writer = _Writer(is_integer, strict_threshold, dense_as, _notes_of_cores(network))
    return writer.write(graph, layers, dvs, _notes_of_network(network, graph, is_integer))


def write_nir(path: str | os.PathLike[str], graph: Any) -> None:
    """Write a NIR graph so that every release of the library since 1.0.4 reads it.

    ``nir.write`` stores a reset potential for each neuron, which releases before 1.0.5 do not know.
    Where it is 0, as newer ones assume if there is none, it is left out.

    Parameters
    ----------
    path : str or path
        Replaced if it is there.
    graph : nir.NIRGraph

    Raises
    ------
    ImportError
        If the library ``nir`` (extra ``nir``) is not installed.
    TypeError
        If `graph` is none.
    OSError
        If the file cannot be written.
    """
    import h5py

    nir = require("nir", "nir")
    if not isinstance(graph, nir.NIRGraph):
        raise TypeError(
            f"graph is {type(graph).__name__}, but must be a nir.NIRGraph, behind the path; "
            f"to_nir(network) makes one"
        )
    # Complete before it gets its name, and never half a file under it.
    stream = io.BytesIO()
    nir.write(stream, graph)
    stream.seek(0)
    with h5py.File(stream, "r+") as file:
        empty: list[str] = []

        def find(name: str, item: Any) -> None:
            is_reset = name.endswith("/v_reset") and isinstance(item, h5py.Dataset)
            if is_reset and not np.any(item[()]):
                empty.append(name)

        file.visititems(find)
        for name in empty:
            del file[name]
    write_atomically(os.fspath(path), stream.getvalue())


def node_name(name: str) -> str:
    """The name of a layer as NIR files can hold it: a slash would open a folder."""
    return name.replace("/", "_") or "node"


def neuron_node_names(names: Sequence[str]) -> list[str]:
    """The names of the nodes that hold the neurons of layers; none is a layer's own name."""
    taken = {"input", *map(node_name, names)}
    return [_unique(f"{node_name(name)}_neurons", taken) for name in names]


def _unique(name: str, taken: set[str]) -> str:
    """A name that is not yet taken; it is then."""
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    taken.add(unique)
    return unique


class _Writer:
    def __init__(
        self,
        is_integer: bool,
        strict_threshold: bool,
        dense_as: str,
        core_notes: Mapping[int, Mapping[str, Any]],
    ) -> None:
        if dense_as not in ("affine", "conv"):
            raise ValueError(f"dense_as is {dense_as!r}, but it must be 'affine' or 'conv'")
        self._nir = require("nir", "nir")
        self._is_integer = is_integer
        self._strict_threshold = strict_threshold
        self._dense_as = dense_as
        self._core_notes = core_notes
        self._nodes: dict[str, Any] = {}
        self._edges: list[tuple[str, str]] = []
        self._notes: dict[str, dict[str, Any]] = {}
        self._pools: dict[tuple[str, tuple[int, int]], tuple[str, Shape]] = {}
        self._affine: set[int | None] = set()
        self._taken: set[str] = set()

    def write(
        self,
        graph: CoreGraph,
        layers: tuple[CoreLayer, ...],
        dvs: str,
        notes: dict[str, Any],
    ) -> Any:
        # names first: a layer may be called as a helper of another one would be
        names = [layer.name for layer in layers]
        neuron_names = neuron_node_names(names)
        self._taken = {"input", *map(node_name, names), *neuron_names}
        neurons: dict[Any, tuple[str, Shape]] = {
            layer.index: (name, layer.neuron_shape)
            for layer, name in zip(layers, neuron_names, strict=True)
        }
        neurons["input"] = neurons["dvs"] = self._input(graph, dvs)
        for layer in reversed(layers):
            targets = {d.target for d in layer.destinations} - {None}
            # behind an Affine there are vectors, of which no Conv2d can make an image again
            if self._dense_as == "affine" and _is_dense(layer) and targets <= self._affine:
                self._affine.add(layer.index)
        incoming: dict[int, list[tuple[Any, Destination]]] = {layer.index: [] for layer in layers}
        for source, _, destination in graph.connections():
            if destination.target is not None:
                incoming[destination.target].append((source, destination))
        for layer in layers:
            self._core(layer, neurons[layer.index][0], incoming[layer.index], neurons)
        for layer in layers:
            for number, destination in enumerate(d for d in layer.destinations if d.target is None):
                suffix = "" if len(graph.exits) == 1 and not number else f"_{layer.index}"
                self._output(neurons[layer.index], destination, f"output{suffix}")
        return self._nir.NIRGraph(
            nodes=self._nodes,
            edges=self._edges,
            metadata={METADATA_KEY: notes | {"nodes": self._notes}},
            # The library infers types, but it takes every kernel for square.
            type_check=all(layer.kernel[0] == layer.kernel[1] for layer in layers),
        )

    def _input(self, graph: CoreGraph, dvs: str) -> tuple[str, Shape]:
        if dvs not in ("refuse", "drop"):
            raise ValueError(f"dvs is {dvs!r}, but it must be 'refuse' or 'drop'")
        shape = graph.input_shape
        block = graph.dvs
        lost: list[str] = []
        if block is not None:
            height, width = block.pooled_shape
            lost = [
                word
                for word, is_used in {
                    "merge": block.merge and shape[0] > 1,
                    "crop": block.window != ((0, height), (0, width)),
                    "flip_x": block.flip_x,
                    "flip_y": block.flip_y,
                    "swap_xy": block.swap_xy,
                }.items()
                if is_used
            ]
            if lost and dvs == "refuse":
                raise UnsupportedLayerError(
                    f"the sensor layer does {', '.join(lost)}, which NIR cannot express. Do it to "
                    "the data, and pass dvs='drop' for a graph that begins behind the sensor layer."
                )
            if lost or dvs == "drop":
                shape, block = block.output_shape, None
        self._nodes["input"] = self._nir.Input(np.array(shape))
        if block is None or block.pool == (1, 1):
            return "input", shape
        return self._pooled(("input", shape), block.pool)

    def _new_name(self, name: str) -> str:
        return _unique(name, self._taken)

    def _pooled(self, source: tuple[str, Shape], pool: tuple[int, int]) -> tuple[str, Shape]:
        """The node that gives what a source sends with this pooling, made on first use."""
        name, (features, height, width) = source
        if pool == (1, 1):
            return source
        if (name, pool) not in self._pools:
            pooled = self._new_name(f"{name}_pool")
            self._nodes[pooled] = self._nir.SumPool2d(
                kernel_size=np.array(pool), stride=np.array(pool), padding=np.array([0, 0])
            )
            self._edges.append((name, pooled))
            self._pools[name, pool] = pooled, (features, height // pool[0], width // pool[1])
        return self._pools[name, pool]

    def _is_vector(self, name: str) -> bool:
        node = self._nodes[name]
        return isinstance(node, self._nir.IF) and node.r.ndim == 1

    def _core(
        self,
        layer: CoreLayer,
        neuron: str,
        incoming: list[tuple[Any, Destination]],
        neurons: Mapping[Any, tuple[str, Shape]],
    ) -> None:
        # Sources that are added up share a slice of the weights, concatenated ones have their own.
        slices: dict[tuple[int, int], list[str]] = {}
        for source, destination in incoming:
            name, shape = self._pooled(neurons[source], destination.pooling)
            key = destination.feature_shift, shape[0]
            senders = slices.setdefault(key, [])
            if name in senders:
                raise UnsupportedLayerError(
                    f"{layer.name}: {name!r} sends each spike to it twice, but NIR has one edge "
                    "between two nodes. Merge the two connections, with weights twice as large."
                )
            senders.append(name)
        for number, ((shift, channels), senders) in enumerate(sorted(slices.items())):
            name = node_name(layer.name)
            name = name if number == 0 else self._new_name(f"{name}_{number}")
            weights = layer.weights[:, shift : shift + channels]
            self._weights(layer, name, weights, layer.bias if number == 0 else None)
            self._feed(layer, name, senders, channels)
            self._edges.append((name, neuron))
        self._neurons(layer, neuron)

    def _weights(
        self,
        layer: CoreLayer,
        name: str,
        weights: npt.NDArray[Any],
        bias: npt.NDArray[Any] | None,
    ) -> None:
        scale = 1.0 if layer.quant_scale is None or self._is_integer else layer.quant_scale
        features = layer.weights.shape[0]
        biases = np.zeros(features) if bias is None else np.asarray(bias)
        if self._is_integer:
            weights, biases = weights.astype(np.int8), biases.astype(np.int16)
        else:
            weights = (weights / scale).astype(np.float32)
            biases = (biases / scale).astype(np.float32)
        notes: dict[str, Any] = {"has_bias": int(bias is not None)}
        if layer.quant_scale is not None:
            notes["quant_scale"] = float(layer.quant_scale)
        self._notes[name] = notes
        if layer.index in self._affine:
            (py, px), (_, height, width) = layer.padding, layer.in_shape
            taps = weights[:, :, py : py + height, px : px + width]
            self._nodes[name] = self._nir.Affine(weight=taps.reshape(features, -1), bias=biases)
            return
        self._nodes[name] = self._nir.Conv2d(
            input_shape=tuple(layer.in_shape[1:]),
            weight=np.ascontiguousarray(weights),
            stride=tuple(layer.stride),
            padding=tuple(layer.padding),
            dilation=(1, 1),
            groups=1,
            bias=biases,
        )

    def _feed(self, layer: CoreLayer, name: str, senders: list[str], channels: int) -> None:
        """Lead the senders to a weight node; a dense one takes vectors."""
        images = [s for s in senders if layer.index in self._affine and not self._is_vector(s)]
        if images:
            flatten = self._new_name(f"{name}_flatten")
            shape = np.array((channels, *layer.in_shape[1:]))
            self._nodes[flatten] = self._nir.Flatten({"input": shape}, start_dim=0, end_dim=-1)
            self._edges.append((flatten, name))
            self._edges += ((sender, flatten) for sender in images)
        self._edges += ((sender, name) for sender in senders if sender not in images)

    def _neurons(self, layer: CoreLayer, name: str) -> None:
        scale = 1.0 if layer.quant_scale is None or self._is_integer else layer.quant_scale
        shape = layer.neuron_shape[: 1 if layer.index in self._affine else 3]
        threshold = layer.threshold / scale
        written = threshold - 0.5 if self._strict_threshold else threshold
        spike_fn = layer.spike_fn
        notes: dict[str, Any] = {
            "threshold": float(threshold),
            "min_v": -np.inf if layer.min_v is None else float(layer.min_v / scale),
            "reset": layer.reset,
            "spike_fn": spike_fn if isinstance(spike_fn, str) else f"max {spike_fn[1]}",
            **self._core_notes.get(layer.index, {}),
        }
        if layer.quant_scale is not None:
            notes["quant_scale"] = float(layer.quant_scale)
        if layer.initial_state is not None and np.any(layer.initial_state):
            _warn_initial_state(layer)
            notes["initial_state"] = np.asarray(layer.initial_state / scale)
        self._nodes[name] = self._nir.IF(
            r=np.ones(shape),
            v_threshold=np.full(shape, float(written)),
        )
        self._notes[name] = notes

    def _output(self, neurons: tuple[str, Shape], destination: Destination, base: str) -> None:
        source, shape = self._pooled(neurons, destination.pooling)
        name = self._new_name(base)
        self._nodes[name] = self._nir.Output(np.array(shape[: 1 if self._is_vector(source) else 3]))
        self._edges.append((source, name))


def _is_dense(layer: CoreLayer) -> bool:
    """Whether the core is what becomes of a dense layer, square or padded to be square."""
    (py, px), (_, height, width) = layer.padding, layer.in_shape
    side = max(height, width)
    is_whole = layer.kernel == (height + 2 * py, width + 2 * px) and min(py, px) == 0
    is_square = layer.kernel == (side, side) or (py, px) == (0, 0)
    seen = layer.weights[:, :, py : py + height, px : px + width]
    has_all = np.count_nonzero(seen) == np.count_nonzero(layer.weights)
    return is_whole and is_square and has_all and layer.stride == (1, 1)


def _graph_of(network: Any, quantized: bool | None) -> CoreGraph:
    graph = network if isinstance(network, CoreGraph) else getattr(network, "graph", None)
    if isinstance(graph, CoreGraph):
        return graph
    from kerasnsoc.nsoc.network import NSoCNetwork

    built: CoreGraph = NSoCNetwork(network, discretize=quantized is True).graph
    return built


def _exportable(
    graph: CoreGraph, quantized: bool | None, strict_threshold: bool
) -> tuple[CoreLayer, ...]:
    if graph.is_graded:
        raise UnsupportedLayerError(
            f"{graph.layers[0].name}: this network sends graded events, which NIR cannot express. "
            "Only networks of integrate-and-fire neurons can be exported."
        )
    for layer in graph.core_layers:
        if not layer.is_discretized and (quantized or strict_threshold):
            raise NotDiscretizedError(
                f"{layer.name}: the network holds floats, but integers were asked for. Build it "
                "with discretize=True, or export with quantized=False."
            )
    return graph.core_layers


def _notes_of_cores(network: Any) -> dict[int, dict[str, Any]]:
    """Core and decimator of each layer, if the network was configured for a device."""
    config = getattr(network, "config", None)
    notes = {}
    for core in getattr(config, "cores", None) or ():
        notes[core.layer_index] = {"core": int(core.core)}
        decimator = core.output_decimator
        if decimator.enable:
            notes[core.layer_index]["decimator"] = int(decimator.interval)
    return notes


def _notes_of_network(network: Any, graph: CoreGraph, is_integer: bool) -> dict[str, Any]:
    notes: dict[str, Any] = {"quantized": int(is_integer)}
    config = getattr(network, "config", None)
    if config is not None:
        notes |= {"config_sha256": config.sha256(), "device": str(network.device)}
    if graph.output_scale:
        notes["output_scale"] = {str(k): float(v) for k, v in graph.output_scale.items()}
    return notes


def _warn_initial_state(layer: CoreLayer) -> None:
    import warnings

    warnings.warn(
        f"{layer.name}: its potentials do not start at 0, which NIR cannot say; they are in the "
        "metadata only",
        UserWarning,
        stacklevel=5,
    )
