"""A model as plain operations: what the transformation to cores starts from, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "input",
    "identity",
    "flatten",
    "conv",
    "dense",
    "batchnorm",
    "spike",
    "relu",
    "pool",
    "global_pool",
    "pad",
    "crop",
    "flip",
    "dvs",
    "concat",
    "add",
    "unsupported",
]


@dataclass(frozen=True, eq=False)
class Operation:
    """One use of one layer.

    Attributes
    ----------
    name : str
        Of the layer.
    kind : str
        Closed list; it says which `arguments` there are:

        ==============  ============================================================================
        ``input``       ``shape`` (C, H, W)
        ``conv``        ``weights`` (F, C, Ky, Kx), ``bias`` (F,) or None, ``stride`` (y, x),
                        ``padding`` "valid" or "same" or a pair (y, x)
        ``dense``       ``weights`` (inputs, units), rows in the order height, width, channel;
                        ``bias``
        ``batchnorm``   ``gamma``, ``beta``, ``mean``, ``variance`` (F,), ``epsilon``
        ``spike``       ``threshold``, ``min_v``, ``reset``, ``spike_fn``, ``initial_state``
                        (F, H, W) or None, ``is_last`` whether only the last step is returned
        ``pool``        ``size`` (y, x), ``is_average``
        ``pad``         ``padding`` ((top, bottom), (left, right))
        ``crop``        ``remove`` or ``keep`` ((top, bottom), (left, right))
        ``flip``        ``flip_x``, ``flip_y``, ``swap_xy``
        ``dvs``         ``merge``, ``pool``, ``crop``, ``flip_x``, ``flip_y``, ``swap_xy``,
                        ``pixel_array``
        ``unsupported`` ``reason``
        ==============  ============================================================================
    layer_type : str
        Class of the layer, for messages.
    inputs : tuple of int
        Positions of the operations that it takes.
    order : int
        Position of the layer in the model, depth first; breaks ties.
    """

    name: str
    kind: Kind
    layer_type: str
    inputs: tuple[int, ...]
    order: int
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"layer {self.order} ({self.layer_type} {self.name!r})"


@dataclass(frozen=True, eq=False)
class OperationGraph:
    """A whole model.

    Attributes
    ----------
    operations : tuple of Operation
        Each after those that it takes.
    outputs : tuple of int
        Positions of what the model returns.
    name : str
    """

    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]
    name: str = ""
