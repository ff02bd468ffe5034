"""Learning by majority: a neuron connects to the inputs most often active in what it learned.

Each connection has a counter, an exponential average of its input over the samples that the neuron
won, with the neuron's plasticity as its rate. The connections with the largest counters have the
weights; of equal counters those that have one already, then those of the lowest inputs. Nothing is
random once the first weights are drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NAME = "majority"


def fresh_variables(weights_shape: tuple[int, ...]) -> dict[str, npt.NDArray[Any]]:
    """What the rule keeps for neurons that have never learned."""
    return {"learning_counters": np.zeros(weights_shape, np.int16)}
