"""Inputs for a network of which no real ones are at hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kerasnsoc.runtime.model import Model


def random_inputs(
    model: Model, samples: int, *, steps: int = 10, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """Random integers as a network takes them.

    Event-driven networks work as much as their inputs hold events, so that only real inputs tell
    what a network costs or how fast it is.

    Parameters
    ----------
    model : Model
    samples : int
    steps : int
        Length of the sequences of a network over time.
    seed : int

    Returns
    -------
    inputs : ndarray of uint8
        As for `Model.forward`: images have all values, of other inputs 90 % are 0.

    Raises
    ------
    ValueError
        If `samples` or `steps` is below 1.
    """
    for name, value in {"samples": samples, "steps": steps}.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, but must be at least 1")
    spec = model.to_spec().input
    height, width, channels = spec.shape_hwc
    is_image = spec.kind == "image"
    # sequences have the layout of Keras, whatever they hold
    plane = (height, width) if is_image or model.time_step is not None else (width, height)
    shape = (samples, *(() if model.time_step is None else (steps,)), *plane, channels)
    rng = np.random.default_rng(seed)
    if is_image:
        return rng.integers(0, 1 << spec.bits, shape, dtype=np.uint8)
    values = rng.integers(1, 1 << spec.bits, shape, dtype=np.uint8)
    values[rng.random(shape) < 0.9] = 0
    return values
