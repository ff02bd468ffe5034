"""Learning by exchange: weights without an input change places with inputs without a weight.

A winning neuron draws as many of either kind as its plasticity says, at least one if there are
both. The draw depends on the seed, the neuron and the number of its step alone.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

NAME = "swap"


def fresh_variables(weights_shape: tuple[int, ...]) -> dict[str, npt.NDArray[Any]]:
    """What the rule keeps for neurons that have never learned: nothing beside their weights."""
    return {}
