"""Activations that a Concatenate joins: which ones they are, and one step for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasnsoc.quantization import graph, neural
from kerasnsoc.quantization.activations import QuantizedActivation, QuantizedReLU
from kerasnsoc.quantization.analysis import probe
from kerasnsoc.quantization.graph import Graph, Node
from kerasnsoc.quantization.ranges import ActivationHistogram
from kerasnsoc.quantization.samples import Samples, check_batch_size, read_samples

Groups = Mapping[str, tuple[str, ...]]
"""Names of activations that must have one step, by each of them."""


def joined_activations(network: Graph) -> Groups:
    """Activations of a quantized model that must have one step, since a Concatenate joins them."""
    groups: dict[str, set[str]] = {}
    for node in network.nodes:
        if not node.is_a(keras.layers.Concatenate):
            continue
        together: set[str] = set()
        for name in _producers(node):
            together |= groups.get(name, {name})
        for name in together:
            groups[name] = together
    order = [node.name for node in network.nodes]
    return {name: tuple(sorted(group, key=order.index)) for name, group in groups.items()}


def _producers(node: Node) -> list[str]:
    """The activations whose values come out of a node unchanged, or as the maximum of some."""
    if node.is_a(QuantizedActivation):
        return [node.name]
    if neural.is_neural(node):
        return []
    return [name for feed in node.inputs for name in _producers(feed)]


def equalize_steps(
    model: keras.Model,
    data: Any = None,
    *,
    trainable: bool = False,
    batch_size: int = 256,
) -> keras.Model:
    """Give activations that a `Concatenate` joins one step, so that the model can be converted.

    The runtime joins integer levels, which therefore must mean the same on both sides. The steps
    of `QuantizedReLU` are variables of their own and drift apart in training. Call this before
    fine-tuning, to keep them equal, or after it, to make them equal.

    Parameters
    ----------
    model : keras.Model
        Quantized. Never modified.
    data : array, tuple (inputs, labels), or iterable of batches, optional
        Typical inputs, as for `calibrate`: joined activations get the step with the least squared
        error over what arrives at them. Without data they get the largest step among them, which
        cuts no values off.
    trainable : bool
        Whether the joined activations go on learning in a later `fit`. They drift apart again
        then.
    batch_size : int
        Samples of `data` that are run at once.

    Returns
    -------
    keras.Model
        A copy, not compiled. An activation whose step changes is a `QuantizedReLU`, whose threshold
        keeps its distance from half a step. Everything else is as it was.

    Raises
    ------
    ValueError
        If activations of different bits are joined, or the data do not fit the model.
    TypeError
        If the data are of no usable type.
    RuntimeError
        As `quantize`, if the model is of a kind that cannot be rewritten.

    See Also
    --------
    calibrate : chooses equal steps from the start.

    Examples
    --------
    >>> from kerasnsoc.quantization import QuantizedConv2D
    >>> inputs = keras.Input((4, 4, 1))
    >>> branches = [QuantizedReLU(4, name=n)(QuantizedConv2D(2, 1)(inputs)) for n in "ab"]
    >>> model = keras.Model(inputs, keras.layers.Concatenate()(branches))
    >>> model.get_layer("a").set_weights([np.float32(0.3), np.float32(0.6)])
    >>> model.get_layer("b").set_weights([np.float32(0.25), np.float32(0.5)])
    >>> equal = equalize_steps(model)
    >>> [equal.get_layer(n).step_height == equal.get_layer("a").step_height for n in "ab"]
    [True, True]
    """
    batch_size = check_batch_size(batch_size)
    network = graph.read(model)
    groups = joined_activations(network)
    _check_bits(model, groups)
    samples = None if data is None else read_samples(data, model)
    chosen: dict[tuple[str, ...], float] = {}
    for group in dict.fromkeys(groups.values()):
        layers = [model.get_layer(name) for name in group]
        widths = {layer.step_width for layer in layers}
        if len(widths) == 1 or samples is None:
            chosen[group] = max(widths)
        else:
            chosen[group] = _best_step(model, network, layers, samples, batch_size)
    for node in network.nodes:
        if node.name in groups:
            _set_step(node, chosen[groups[node.name]], trainable)
    return network.build()


def _check_bits(model: keras.Model, groups: Groups) -> None:
    for group in dict.fromkeys(groups.values()):
        bits = {name: model.get_layer(name).bitwidth for name in group}
        if len(set(bits.values())) > 1:
            raise ValueError(
                f"a Concatenate joins the activations {bits}, whose bits must be equal. Change "
                f"them with quantize_layer(model, name, bitwidth)."
            )


def _best_step(
    model: keras.Model,
    network: Graph,
    layers: list[QuantizedActivation],
    samples: Samples,
    batch_size: int,
) -> float:
    """The step with the least squared error over what arrives at the activations."""
    feeds = {node.name: node.inputs[0].name for node in network.nodes if node.inputs}
    # A threshold off half a step shifts the input: what remains is what the levels round.
    shifts = [layer.threshold - layer.step_width / 2 for layer in layers]
    look = probe(model, [feeds[layer.name] for layer in layers])

    def batches() -> Any:
        for batch in samples.batches(batch_size):
            for values, shift in zip(look(batch), shifts, strict=True):
                yield np.maximum(values - shift, 0.0)

    top = max(float(values.max(initial=0.0)) for values in batches())
    histogram = ActivationHistogram(top)
    for values in batches():  # again, since bins need the largest value first
        histogram.add(values)
    return histogram.best_step(layers[0].bitwidth)


def _set_step(node: Node, width: float, trainable: bool) -> None:
    layer = node.source
    node.config["trainable"] = trainable
    if layer.step_width == width:
        return
    threshold = layer.threshold + (width - layer.step_width) / 2
    # The variable is the step in sixteenths of 2**bits steps; powers of two are exact.
    step = width * 2**layer.bitwidth / 16
    node.cls = QuantizedReLU
    node.weights = [np.asarray(v, np.float32) for v in (threshold, step)]
