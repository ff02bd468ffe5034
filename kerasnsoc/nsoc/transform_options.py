"""Choices on the way from a model to core layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from kerasnsoc.nsoc.errors import ConflictingScaleError

RescalingFunction: TypeAlias = Callable[[Sequence[float]], float]


def mean_half(scales: Sequence[float]) -> float:
    """Half the mean, to two digits."""
    return round(float(np.mean(scales)) * 0.5, 2)


def harmonic_half(scales: Sequence[float]) -> float:
    """Half the harmonic mean."""
    return len(scales) / sum(1 / scale for scale in scales) * 0.5


RESCALING: Mapping[str, RescalingFunction] = {
    "mean_half": mean_half,
    "harmonic_half": harmonic_half,
}


@dataclass(frozen=True, slots=True)
class TransformOptions:
    """How a model becomes core layers.

    Attributes
    ----------
    spikify : bool
        Whether each ReLU becomes integrate-and-fire neurons of threshold 1.
    bn_epsilon : "layer" or float
        The epsilon of batch normalization; ``"layer"`` takes the layer's own.
    weight_rescaling_fn : callable, "mean_half", "harmonic_half" or None
        The one scale for a core whose sources are averaged differently; None refuses them.
    expand_groups : bool
        Whether grouped and depthwise convolutions become full ones, padded with zeros.
    square_dense : {"pad", "keep"}
        What becomes of a dense layer on a map that is not square: a square kernel with zeros at its
        border, or a kernel with the sides of the map, which not every chip takes.
    poolings : tuple of int
        Sizes that a global average may become as pooling; others go into the next weights.
    """

    spikify: bool = False
    bn_epsilon: Literal["layer"] | float = "layer"
    weight_rescaling_fn: RescalingFunction | str | None = None
    expand_groups: bool = False
    square_dense: Literal["pad", "keep"] = "pad"
    poolings: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        epsilon = self.bn_epsilon
        is_number = isinstance(epsilon, int | float) and not isinstance(epsilon, bool)
        if epsilon != "layer" and not (is_number and 0 <= epsilon < np.inf):
            raise ValueError(
                f"bn_epsilon is {epsilon!r}, but it must be 'layer' or a number of at least 0"
            )
        if self.square_dense not in ("pad", "keep"):
            raise ValueError(
                f"square_dense is {self.square_dense!r}, but it must be 'pad' or 'keep'"
            )
        function = self.weight_rescaling_fn
        if isinstance(function, str) and function not in RESCALING:
            raise ValueError(
                f"weight_rescaling_fn is {function!r}, but it must be callable or one of "
                f"{tuple(RESCALING)}"
            )

    def rescale(self, scales: Sequence[float], name: str) -> float:
        """The one scale of a core's sources."""
        if len(set(scales)) <= 1:
            return scales[0] if scales else 1.0
        function = self.weight_rescaling_fn
        if function is None:
            raise ConflictingScaleError(
                f"{name}: its sources are averaged by {sorted(set(scales))}, but one core has one "
                "scale. Pool them alike, use SumPooling2D, or pass weight_rescaling_fn='mean_half' "
                "(or a function of the scales), which is an approximation."
            )
        return float((RESCALING[function] if isinstance(function, str) else function)(scales))
