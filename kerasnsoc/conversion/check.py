"""Can this model become an artifact? Every reason why not, with the change that mends it."""

from __future__ import annotations

from typing import Literal, overload

import keras

from kerasnsoc.conversion.rules import INSTEAD, Checker, Finding
from kerasnsoc.conversion.time_blocks import Refusal, is_over_time, parse_over_time
from kerasnsoc.quantization import graph as graphs


@overload
def check_model_compatibility(
    model: keras.Model,
    input_is_sparse: bool = ...,
    *,
    input_is_image: bool | None = ...,
    report: Literal[False] = ...,
) -> bool: ...


@overload
def check_model_compatibility(
    model: keras.Model,
    input_is_sparse: bool = ...,
    *,
    input_is_image: bool | None = ...,
    report: Literal[True],
) -> list[Finding]: ...


def check_model_compatibility(
    model: keras.Model,
    input_is_sparse: bool = False,
    *,
    input_is_image: bool | None = None,
    report: bool = False,
) -> bool | list[Finding]:
    """Whether the structure of a model, float or quantized, allows its conversion.

    Parameters
    ----------
    model : keras.Model
    input_is_sparse : bool
        True for networks fed by events, False for images.
    input_is_image : bool, optional
        The same the other way round, for code that uses the later name.
    report : bool
        Return all findings instead of printing the first one.

    Returns
    -------
    bool, or list of Finding with ``report=True``
        An empty list means compatible. Bit widths are not looked at; `convert` checks them.
    """
    if input_is_image is not None:
        input_is_sparse = not input_is_image
    found = findings(model, input_is_sparse)
    if report:
        return found
    if found:
        print(found[0])
    return not found


def require_compatible(model: keras.Model, input_is_sparse: bool) -> None:
    """Raise one RuntimeError that lists all findings."""
    found = findings(model, input_is_sparse)
    if found:
        lines = "\n".join(f"- {finding}" for finding in found)
        raise RuntimeError(f"the model {model.name!r} cannot be converted:\n{lines}")


def findings(model: keras.Model, input_is_sparse: bool) -> list[Finding]:
    """All broken rules, in the order of the layers."""
    if is_over_time(model):
        try:
            parse_over_time(model)
        except Refusal as error:
            return error.findings
        return []
    try:
        graph = graphs.read(model)
    except (RuntimeError, ValueError):
        return survey(model, input_is_sparse)[1]
    return Checker(graph, input_is_sparse).run()


def survey(model: keras.Model, input_is_sparse: bool) -> tuple[graphs.Graph, list[Finding]]:
    """A model read as far as it goes, and all that is wrong with its graph and with its layers.

    The graph has one node for each call of a shared layer, and the layers of nested models.
    """
    refusals: list[graphs.Refusal] = []
    graph = graphs.read(model, refuse=refusals.append)
    found = []
    for refusal in refusals:
        kind = type(_named(model, refusal.name)).__name__
        remedy = INSTEAD.get(kind) or refusal.remedy
        remedy = remedy or "Chains of layers and Concatenate of branches are supported."
        found.append(Finding("graph", refusal.name, refusal.message, remedy))
    if graph.nodes:
        # what is said of a layer's place in the graph need not be said of its class too
        known = {refusal.name for refusal in refusals}
        checked = Checker(graph, input_is_sparse).run()
        found += [f for f in checked if f.rule != "layer" or f.layer not in known]
    return graph, found


def _named(model: keras.Model, name: str) -> object:
    operations = getattr(model, "operations", ())
    return next((operation for operation in operations if operation.name == name), None)
