"""The rules for networks over time: neurons that integrate and fire, pooling of spikes, filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.errors import ArtifactError, Reason
from kerasnsoc.artifact.geometry import Dims
from kerasnsoc.artifact.limits import INT32_MAX
from kerasnsoc.artifact.schema import (
    NEURON_LAYER_TYPES,
    RESETS,
    SPIKE_RULES,
    SPIKE_UNITS,
    ActivationParameters,
    LayerParameters,
    NeuronSpec,
)

POTENTIAL_LIMIT: Final = 1 << 30
"""Potentials that a neuron carries from step to step lie in -2**30 .. 2**30 - 1.

What one step adds is proven to stay below 2**30 in absolute value, so that no sum leaves int32.
"""

MAX_SHIFT: Final = 30

NEURON_VARIABLES: Final = ("spike_threshold", "bias", "lowest_potential", "initial_potential")
"""What a layer that integrates and fires has in place of ``threshold_fire`` and its step."""

_RANGES: Mapping[str, tuple[int, int]] = {
    "spike_threshold": (1, POTENTIAL_LIMIT),
    "bias": (-INT32_MAX, INT32_MAX),
    "lowest_potential": (-POTENTIAL_LIMIT, 0),
    "initial_potential": (-POTENTIAL_LIMIT, POTENTIAL_LIMIT - 1),
}


def check_neuron(neuron: NeuronSpec, parameters: LayerParameters) -> None:
    """Refuse a neuron model that no layer of these arguments can have.

    Raises
    ------
    ValueError
        Naming the argument, its value and what is allowed.
    """
    for name, allowed in (("rule", SPIKE_RULES), ("reset", RESETS), ("unit", SPIKE_UNITS)):
        value = getattr(neuron, name)
        if type(value) is not str or value not in allowed:
            raise ValueError(f"{name} of its neurons is {value!r}, but must be one of {allowed}")
    if type(neuron.rectify) is not bool:
        raise ValueError(f"rectify of its neurons is {neuron.rectify!r}, but must be True or False")
    low, high = (1, INT32_MAX) if neuron.rule == "max" else (0, 0)
    for name, least, most in (("max_spikes", low, high), ("shift", 0, MAX_SHIFT)):
        value = getattr(neuron, name)
        if type(value) is not int or not least <= value <= most:
            allowed_text = f"an integer from {least} to {most}" if least < most else str(least)
            raise ValueError(
                f"{name} of its neurons is {value!r}, but with the rule {neuron.rule!r} it must be "
                f"{allowed_text}"
            )
    if neuron.rule == "signed" and neuron.reset != "subtract":
        raise ValueError(
            "its neurons have the rule 'signed' and the reset 'zero', but a signed rule subtracts"
        )
    if parameters.layer_type not in NEURON_LAYER_TYPES:
        raise ValueError(
            f"it has neurons, but a {parameters.layer_type.name} has no weights that feed them"
        )
    assert isinstance(parameters, ActivationParameters)
    plain = (True, 0, 1.0, 1)
    found = (
        parameters.activations_enabled,
        parameters.threshold_fire,
        parameters.threshold_fire_step,
        parameters.threshold_fire_bits,
    )
    if found != plain:
        raise ValueError(
            "it integrates and fires: activations_enabled, threshold_fire, threshold_fire_step and "
            f"threshold_fire_bits have no meaning there and must be {plain}, but are {found}"
        )


def neuron_shapes(neurons: int, output: Dims) -> dict[str, tuple[int, ...]]:
    """Shapes of the variables of a layer that integrates and fires."""
    return {
        name: output if name == "initial_potential" else (neurons,) for name in NEURON_VARIABLES
    }


def neuron_range(name: str) -> tuple[int, int]:
    """Smallest and largest value of a neuron's variable."""
    return _RANGES[name]


def check_potentials(neuron: NeuronSpec, variables: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse initial potentials that no step could leave behind.

    Raises
    ------
    ArtifactError
    """
    threshold_n, lowest_n = variables["spike_threshold"], variables["lowest_potential"]
    start_xyn = variables["initial_potential"]
    wrong = (start_xyn < lowest_n) | (start_xyn >= threshold_n)
    if neuron.rule == "signed":
        wrong |= start_xyn < 0
        if lowest_n.any():
            _refuse("lowest_potential must be 0 with the rule 'signed', which leaves none below it")
    if wrong.any():
        index = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
        n = index[-1]
        least = 0 if neuron.rule == "signed" else lowest_n[n]
        _refuse(
            f"initial_potential{list(index)} is {start_xyn[index]}, but must lie between "
            f"{least} and {threshold_n[n] - 1}, just below the threshold of neuron {n}"
        )


def _refuse(message: str) -> NoReturn:
    raise ArtifactError(Reason.VALUE, message)


def spikes_range(
    neuron: NeuronSpec,
    variables: Mapping[str, npt.NDArray[Any]],
    low_n: npt.NDArray[np.int64],
    high_n: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """Fewest and most spikes of one neuron in one step, whatever was carried over.

    Parameters
    ----------
    neuron : NeuronSpec
    variables : mapping of str to ndarray
    low_n, high_n : ndarray of int64, shape (neurons,)
        Smallest and largest potential that arrives.

    Raises
    ------
    ArtifactError
        With `Reason.OVERFLOW` if one step could add 2**30 or more.

    Notes
    -----
    The clamps keep what is carried within -2**30 .. 2**30 - 1. With less than 2**30 added, the sum
    lies within int32; this is the whole proof, for sequences of any length.
    """
    bias_n = variables["bias"].astype(np.int64)
    threshold_n = variables["spike_threshold"].astype(np.int64)
    added = [low_n + bias_n, high_n + bias_n]
    most = max(int(np.abs(a).max()) for a in added)
    if most << neuron.shift >= POTENTIAL_LIMIT:
        raise ArtifactError(
            Reason.OVERFLOW,
            f"one step could add {most << neuron.shift} to a neuron's potential, allowed is less "
            f"than {POTENTIAL_LIMIT}. Use a smaller shift, fewer inputs, or neurons in front that "
            f"spike less often per step.",
        )
    least_n, most_n = (np.maximum(a, 0) if neuron.rectify else a for a in added)
    least_n, most_n = least_n << neuron.shift, most_n << neuron.shift
    if neuron.rule == "single":
        return 0, 1
    if neuron.rule == "max" and neuron.reset == "subtract":
        # potentials may pile up above the threshold
        return 0, min(neuron.max_spikes, (2 * POTENTIAL_LIMIT - 1) // int(threshold_n.min()))
    top = max(0, int(((threshold_n - 1 + most_n) // threshold_n).max()))
    if neuron.rule == "max":
        top = min(top, neuron.max_spikes)
    if neuron.rule == "signed":
        return min(0, int((least_n // threshold_n).min())), top
    return 0, top
