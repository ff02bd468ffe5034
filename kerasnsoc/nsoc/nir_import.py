"""From a NIR graph to a Keras model of spiking layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from kerasnsoc._extras import require
from kerasnsoc.nsoc.errors import InvalidGraphError, UnsupportedLayerError
from kerasnsoc.nsoc.nir_graph import NirNode, read_graph, sorted_nodes
from kerasnsoc.nsoc.nir_nodes import (
    NeuronOptions,
    Tensor,
    Weights,
    concatenated,
    convolution,
    dense,
    flattened,
    neuron_arguments,
    nir_shape,
    unsupported,
)


def from_nir(
    graph_or_path: Any,
    *,
    reset: Literal["subtract", "zero"] = "subtract",
    min_v: float | Literal["-threshold"] | None = "-threshold",
    batch: int | None = None,
    time_axis: bool = True,
    dt: float | None = None,
    collapse_threshold: Literal["error", "mean"] = "error",
    allow_lif: bool = False,
    use_metadata: bool = True,
    name: str | None = None,
) -> Any:
    """Make a Keras model from a network in the Neuromorphic Intermediate Representation.

    NIR says when a neuron fires, but little about what happens then: it resets to a fixed
    potential and knows no lower bound. Chips subtract the threshold and clamp, which is what
    `reset` and `min_v` stand for. NIR fires above the threshold, the layers here at the threshold:
    for real weights the difference is a set of measure zero, for integers see `to_nir`.

    Parameters
    ----------
    graph_or_path : nir.NIRGraph, str or path
        Files are read by the library ``nir`` with h5py; read only files that you trust.
    reset : {"subtract", "zero"}
        What a spike does to the potential.
    min_v : float, "-threshold" or None
        The lowest potential; None for no bound.
    batch : int, optional
        A fixed batch size.
    time_axis : bool
        Whether inputs are sequences (batch, time, ...), or frames (batch, ...) that make one step
        each. A chip takes either model.
    dt : float, optional
        Seconds per step, of the neurons.
    collapse_threshold : {"error", "mean"}
        What to do if the neurons of a layer have different thresholds.
    allow_lif : bool
        Take leaky neurons too, for a model that runs in Keras but on no chip.
    use_metadata : bool
        Whether notes that `to_nir` left in the graph (threshold, lowest potential, reset, spikes
        per step, empty biases) win over the arguments above.
    name : str, optional
        Of the model.

    Returns
    -------
    keras.Model
        Images are (height, width, channels), while NIR has (channels, height, width).

    Raises
    ------
    ImportError
        If ``nir`` (extra ``nir``) or Keras (extra ``train``) is not installed.
    UnsupportedLayerError
        If a node has no counterpart; the message names node, type and remedy.
    InvalidGraphError
        If the graph has a cycle, loose ends or shapes that do not fit.
    TypeError, ValueError
        If an argument is none of the above.

    See Also
    --------
    to_nir : the other way.

    References
    ----------
    .. [1] Pedersen et al., "Neuromorphic intermediate representation: A unified instruction set
       for interoperable brain-inspired computing", Nature Communications 15:8122, 2024.
    """
    _check_choice("reset", reset, ("subtract", "zero"))
    _check_choice("collapse_threshold", collapse_threshold, ("error", "mean"))
    if isinstance(min_v, str):
        _check_choice("min_v", min_v, ("-threshold",))
    nodes = sorted_nodes(read_graph(graph_or_path))
    neuron = NeuronOptions(reset, min_v, dt, collapse_threshold, allow_lif, use_metadata)
    return _Builder(nodes, neuron, batch, time_axis).model(name or "from_nir")


class _Builder:
    def __init__(
        self,
        nodes: Sequence[NirNode],
        neuron: NeuronOptions,
        batch: int | None,
        time_axis: bool,
    ) -> None:
        self._keras = require("keras", "train")
        self._spiking = require("kerasnsoc.spiking", "train")
        self._nodes = nodes
        self._neuron = neuron
        self._batch = batch
        self._time_axis = time_axis
        self._names: set[str] = set()
        self._results: dict[str, Tensor | Weights] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def model(self, name: str) -> Any:
        for node in self._nodes:
            self._add(node)
        if not self._inputs or not self._outputs:
            raise InvalidGraphError(
                f"the NIR graph has {len(self._inputs)} inputs and {len(self._outputs)} outputs, "
                "but it needs at least one of each"
            )
        one_or_all = [v[0] if len(v) == 1 else v for v in (self._inputs, self._outputs)]
        return self._keras.Model(*one_or_all, name=_keras_name(name))

    def _add(self, node: NirNode) -> None:
        if node.kind == "Input":
            self._results[node.name] = self._input(node)
        elif node.kind == "Output":
            self._outputs.append(self._in_nir_order(node, self._joined(node)))
        elif node.kind == "Identity":
            self._results[node.name] = self._joined(node)
        elif node.kind == "Conv2d":
            self._results[node.name] = convolution(
                node, self._joined(node), self._neuron.use_metadata
            )
        elif node.kind in ("Affine", "Linear"):
            self._results[node.name] = dense(node, self._joined(node), self._neuron.use_metadata)
        elif node.kind in ("IF", "LIF"):
            self._results[node.name] = self._neurons(node)
        elif node.kind in ("SumPool2d", "AvgPool2d"):
            self._results[node.name] = self._pooling(node, self._joined(node))
        elif node.kind == "Flatten":
            self._results[node.name] = flattened(node, self._joined(node))
        elif node.kind == "Scale":
            self._results[node.name] = self._scaled(node)
        else:
            raise unsupported(node)

    def _input(self, node: NirNode) -> Tensor:
        shape = tuple(int(n) for n in np.asarray(node.node.input_type["input"]).ravel())
        if len(shape) not in (1, 3) or min(shape) < 1:
            raise UnsupportedLayerError(
                f"NIR node {node.name!r} (Input) has the shape {shape}, but inputs are images "
                "(channels, height, width) or vectors (size,)"
            )
        time = (None,) if self._time_axis else ()
        value = self._keras.Input(
            (*time, *_last(shape)), batch_size=self._batch, name=self._new_name(node.name)
        )
        self._inputs.append(value)
        return Tensor(value, shape)

    def _neurons(self, node: NirNode) -> Tensor:
        if node.kind == "LIF" and not self._neuron.allow_lif:
            raise unsupported(node)
        for field in ("v_reset", "v_leak") if node.kind == "LIF" else ("v_reset",):
            if getattr(node.node, field, None) is not None and np.any(getattr(node.node, field)):
                raise UnsupportedLayerError(
                    f"{field} of NIR node {node.name!r} ({node.kind}) is not 0, but potentials "
                    "start at 0 and return to 0 here. Shift the potentials, or retrain."
                )
        source = self._joined(node, factor=node.constant("r"))
        options: dict[str, Any] = {
            **neuron_arguments(node, self._neuron),
            "time_axis": self._time_axis,
            "name": self._new_name(node.name),
        }
        if self._neuron.dt is not None:
            options["dt"] = self._neuron.dt
        if node.kind == "LIF":
            layer = self._spiking.LIF(node.constant("tau"), **options)
        else:
            layer = self._spiking.IAF(**options)
        return replace(source, value=layer(source.value))

    def _pooling(self, node: NirNode, source: Tensor) -> Tensor:
        size, stride = node.pair("kernel_size"), node.pair("stride")
        if size != stride or node.pair("padding") != (0, 0):
            raise UnsupportedLayerError(
                f"NIR node {node.name!r} ({node.kind}) has kernel {size}, stride {stride} and "
                f"padding {node.pair('padding')}, but windows must neither overlap nor be padded. "
                "Use a stride as large as the kernel and no padding."
            )
        if len(source.shape) != 3 or source.is_flat:
            raise InvalidGraphError(
                f"NIR node {node.name!r} ({node.kind}) gets a signal of shape "
                f"{nir_shape(source)}, but it needs an image (channels, height, width)"
            )
        channels, *sides = source.shape
        pooled = tuple(n // p for n, p in zip(sides, size, strict=True))
        if min(pooled) < 1:
            raise InvalidGraphError(
                f"the window {size} of NIR node {node.name!r} ({node.kind}) does not fit into its "
                f"input {tuple(sides)}"
            )
        if node.kind == "SumPool2d":
            layer_class = self._spiking.SumPooling2D
        else:
            layer_class = self._keras.layers.AveragePooling2D
        layer = layer_class(size, data_format="channels_last", name=self._new_name(node.name))
        value = self._per_step(layer)(source.value)
        return replace(source, value=value, shape=(channels, *pooled))

    def _scaled(self, node: NirNode) -> Tensor | Weights:
        factor = node.constant("scale")
        if len(node.sources) == 1:
            source = self._results[node.sources[0]]
            if isinstance(source, Weights) and self._consumers(node.sources[0]) == 1:
                return source.times(factor)
        source = self._joined(node)
        return replace(source, gain=source.gain * factor)

    def _consumers(self, name: str) -> int:
        return next(len(node.targets) for node in self._nodes if node.name == name)

    def _joined(self, node: NirNode, factor: float = 1.0) -> Tensor:
        """The sum of what the node gets, times a factor that its sources take in."""
        results = [self._results[source] for source in node.sources]
        weights = [result for result in results if isinstance(result, Weights)]
        if (
            len(results) > 1
            and len(weights) == len(results)
            and len({w.geometry for w in weights}) == 1
            and weights[0].groups == 1
            and all(self._consumers(source) == 1 for source in node.sources)
        ):
            # one layer over all their channels: this is how a chip feeds a core from several
            return self._layer(concatenated(weights).times(factor), self._stacked(weights))
        tensors = []
        for source, result in zip(node.sources, results, strict=True):
            if isinstance(result, Tensor):
                tensors.append(self._with_gain(node, result, factor))
                continue
            if factor == 1:
                # once for all consumers
                tensor = self._layer(result, result.source.value)
                self._results[source] = tensor
            else:
                tensor = self._layer(result.times(factor), result.source.value)
            tensors.append(tensor)
        first = tensors[0]
        if len(tensors) == 1:
            return first
        for source, tensor in zip(node.sources[1:], tensors[1:], strict=True):
            if (tensor.shape, tensor.is_flat) != (first.shape, first.is_flat):
                raise InvalidGraphError(
                    f"NIR node {node.name!r} ({node.kind}) gets {nir_shape(first)} from "
                    f"{node.sources[0]!r}, but {nir_shape(tensor)} from {source!r}; signals that "
                    "are summed need one shape"
                )
        if len({tensor.gain for tensor in tensors}) != 1:
            raise UnsupportedLayerError(
                f"NIR node {node.name!r} ({node.kind}) sums signals with the scales "
                f"{[tensor.gain for tensor in tensors]}. Move the Scale nodes behind weights."
            )
        add = self._keras.layers.Add(name=self._new_name(f"{node.name}_sum"))
        return replace(first, value=add([tensor.value for tensor in tensors]))

    def _with_gain(self, node: NirNode, tensor: Tensor, factor: float) -> Tensor:
        """The tensor, if somebody behind this node can still multiply its scale in."""
        is_last_chance = node.kind in ("IF", "LIF", "Output")
        if factor != 1 or (tensor.gain != 1 and is_last_chance):
            raise UnsupportedLayerError(
                f"NIR node {node.name!r} ({node.kind}) needs its input times "
                f"{factor * tensor.gain:g}, but no weights come directly before it that could take "
                "the factor in. Put the scale next to a Conv2d, Affine or Linear node."
            )
        return tensor

    def _stacked(self, weights: Sequence[Weights]) -> Any:
        values = [self._flat(w.source) if w.kind == "dense" else w.source.value for w in weights]
        name = self._new_name(f"{weights[0].node.name}_sources")
        return self._keras.layers.Concatenate(axis=-1, name=name)(values)

    def _layer(self, weights: Weights, value: Any) -> Tensor:
        """Build the Keras layer of a weight node and give it its weights."""
        layers = self._keras.layers
        name = self._new_name(weights.node.name)
        kernel = weights.kernel * weights.source.gain
        options: dict[str, Any] = {"use_bias": weights.has_bias, "name": name}
        if weights.kind == "dense":
            if weights.source.is_flat and value is weights.source.value:
                value = self._flat(weights.source)
            layer = layers.Dense(weights.shape[0], **options)
        else:
            if weights.padding != "same" and any(weights.padding):
                pad = layers.ZeroPadding2D(
                    weights.padding,
                    data_format="channels_last",
                    name=self._new_name(f"{weights.node.name}_padding"),
                )
                value = self._per_step(pad)(value)
            layer = layers.Conv2D(
                weights.shape[0],
                weights.kernel.shape[:2],
                strides=weights.stride,
                dilation_rate=weights.dilation,
                groups=weights.groups,
                padding="same" if weights.padding == "same" else "valid",
                data_format="channels_last",
                **options,
            )
        value = self._per_step(layer)(value)
        layer.set_weights([kernel, weights.bias] if weights.has_bias else [kernel])
        return Tensor(value, weights.shape)

    def _flat(self, tensor: Tensor) -> Any:
        if not tensor.is_flat:
            return tensor.value
        flatten = self._keras.layers.Flatten(
            data_format="channels_last", name=self._new_name("flatten")
        )
        return self._per_step(flatten)(tensor.value)

    def _in_nir_order(self, node: NirNode, tensor: Tensor) -> Any:
        """The value of an output; a flattened image in the order that NIR gives it."""
        if not tensor.is_flat:
            return tensor.value
        permute = self._keras.layers.Permute(
            (3, 1, 2), name=self._new_name(f"{node.name}_channels_first")
        )
        return self._flat(replace(tensor, value=self._per_step(permute)(tensor.value)))

    def _per_step(self, layer: Any) -> Any:
        if not self._time_axis:
            return layer
        return self._keras.layers.TimeDistributed(layer, name=f"{layer.name}_per_step")

    def _new_name(self, name: str) -> str:
        base = unique = _keras_name(name)
        number = 1
        while unique in self._names:
            number += 1
            unique = f"{base}_{number}"
        self._names.add(unique)
        return unique


def _last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Channels from first to last."""
    return (*shape[1:], shape[0])


def _keras_name(name: str) -> str:
    # torch, as a backend, allows no dot in a name
    return re.sub(r"[^A-Za-z0-9_\-]", "_", name) or "node"


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, but it must be one of {choices}")
