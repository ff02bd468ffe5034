"""Can this model become an artifact? Every reason why not, with the change that mends it."""

from __future__ import annotations

from typing import Literal, overload

import keras

from kerasnsoc.conversion.rules import Checker, Finding
from kerasnsoc.conversion.time_blocks import Refusal, is_over_time, parse_over_time
from kerasnsoc.quantization.graph import read


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
        graph = read(model)
    except (RuntimeError, ValueError) as error:
        return [
            Finding(
                "graph",
                model.name,
                str(error),
                "Chains of layers and Concatenate of branches are supported.",
            )
        ]
    return Checker(graph, input_is_sparse).run()
