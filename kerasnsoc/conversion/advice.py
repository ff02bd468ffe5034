"""`advise`: every reason why a user's own model does not convert, and what mends each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import keras

from kerasnsoc.conversion.check import findings, survey
from kerasnsoc.conversion.mending import FixedModel, fix
from kerasnsoc.conversion.rules import NEURAL, Finding
from kerasnsoc.conversion.time_blocks import is_over_time
from kerasnsoc.quantization.loading import load_quantized_model
from kerasnsoc.quantization.policy import check_dtype_policy
from kerasnsoc.quantization.rewriter import check_layer

LARGE_LAYER = 1 << 24
"""Weights of one layer from which on its memory is worth a remark: 16 MiB on 8 bits."""


@dataclass(frozen=True)
class Advice(Finding):
    """A finding, and whether it can be mended without training.

    Attributes
    ----------
    blocks : bool
        Whether it keeps the model from being converted; a remark does not.
    fix : str
        What `fix` does about it; empty if that takes another architecture or training.
    """

    blocks: bool = True
    fix: str = ""

    def __str__(self) -> str:
        text = super().__str__() if self.blocks else f"{super().__str__()} (a remark)"
        return f"{text} [--fix: {self.fix}]" if self.fix else text


def advise(
    model: keras.Model | str | os.PathLike[str], *, input_is_sparse: bool = False
) -> list[Advice]:
    """All reasons why a model, float or quantized, does not convert, and the remedy of each.

    Reasons that stand behind others are listed too: where `fix` would mend a layer, the layers
    are looked at as they are then.

    Parameters
    ----------
    model : keras.Model or path
        Or a ``.keras`` or ``.h5`` file of one. Never modified.
    input_is_sparse : bool
        True for networks fed by events or small integers, False for images.

    Returns
    -------
    list of Advice
        In the order of the layers, remarks last. Without one that blocks, the model can be
        quantized and converted, or is ready to be converted if it is quantized.

    Raises
    ------
    TypeError
        If it is neither a Keras model nor a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds no Keras model. The folder of a TensorFlow SavedModel is a finding.

    See Also
    --------
    fix : mend what needs no training.
    """
    if isinstance(model, str | os.PathLike):
        if os.path.isdir(model):
            return [_folder(model)]
        model = load_quantized_model(model, compile=False)
    if is_over_time(model):
        return [Advice(*_parts(f)) for f in findings(model, input_is_sparse)]
    graph, found = survey(model, input_is_sparse)
    for node in graph.nodes:
        found += _unquantizable(node, {f.layer for f in found if f.rule == "argument"})
    try:
        fixed = fix(model, input_is_sparse=input_is_sparse)
    except RuntimeError:
        return _in_order([Advice(*_parts(f)) for f in found], graph) + _remarks(graph)
    left = list(fixed.remaining)
    for node in survey(fixed.model, input_is_sparse)[0].nodes:
        left += _unquantizable(node, {f.layer for f in left if f.rule == "argument"})
    advice = [Advice(*_parts(f), fix="" if f in left else _change(fixed, f)) for f in found]
    # what only shows once others are mended
    advice += [Advice(*_parts(f)) for f in left if f not in found]
    return _in_order(advice, graph) + _remarks(graph)


def _in_order(advice: list[Advice], graph: Any) -> list[Advice]:
    """By the layers; what is no layer of the graph, such as a model, comes first."""
    places = {node.source.name: place for place, node in enumerate(graph.nodes)}
    return sorted(advice, key=lambda a: places.get(a.layer, -1))


def _parts(finding: Finding) -> tuple[str, str, str, str]:
    return finding.rule, finding.layer, finding.message, finding.remedy


def _change(fixed: FixedModel, finding: Finding) -> str:
    """What mended a finding: a change of its layer, or one of its neighbours."""
    own = [change.what for change in fixed.changes if change.layer == finding.layer]
    return "; ".join(own) or "mended by the changes of the layers around it"


def _unquantizable(node: Any, named: set[str]) -> list[Finding]:
    """What `quantize` refuses of a single layer, unless its arguments were named already."""
    layer = node.source
    if not isinstance(layer, keras.layers.Layer) or isinstance(layer, keras.layers.InputLayer):
        return []
    try:
        check_dtype_policy(layer)
    except ValueError as error:
        message, _, remedy = str(error).partition(". ")
        return [Finding("dtype", layer.name, f"{message}.", remedy)]
    try:
        check_layer(node)
    except RuntimeError as error:
        if layer.name not in named:
            message, _, remedy = str(error).partition(" support. ")
            return [Finding("argument", layer.name, f"{message} support.", remedy)]
    return []


def _folder(path: str | os.PathLike[str]) -> Advice:
    kind = "a folder"
    if os.path.exists(os.path.join(path, "saved_model.pb")):
        kind = "a TensorFlow SavedModel"
    return Advice(
        "file",
        os.fspath(path),
        f"it is {kind}, which holds no Keras layers.",
        "Where the model was made, save it with model.save('name.keras'). If only the folder is "
        "left, build the same layers anew and copy the arrays: "
        "{v.name: v.numpy() for v in tf.saved_model.load(folder).variables}.",
    )


def _remarks(graph: Any) -> list[Advice]:
    found = []
    for node in graph.nodes:
        if not isinstance(node.source, NEURAL):
            continue
        count = sum(array.size for array in node.weights)
        if count >= LARGE_LAYER:
            mib = count / 2**20
            found.append(
                Advice(
                    "memory",
                    node.source.name,
                    f"it has {count:,} weights: {4 * mib:,.0f} MiB in float32, {mib:,.0f} MiB in "
                    f"the artifact.",
                    "Make its input smaller, by strides, by poolings or by a "
                    "GlobalAveragePooling2D in front.",
                    blocks=False,
                )
            )
    return found
