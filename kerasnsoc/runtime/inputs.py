"""What a network takes: the checks in front of its first layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.schema import LayerType
from kerasnsoc.runtime.layers import Layer


def as_rows(inputs: npt.NDArray[Any], first: Layer) -> npt.NDArray[np.uint8]:
    """A batch as one contiguous row of uint8 per sample, or the error that says what is wrong.

    Parameters
    ----------
    inputs : ndarray of integers or bool
        Images (n, height, width, channels) for an InputConvolutional, otherwise events
        (n, width, height, channels), or (n, channels) if width and height are 1.
    first : Layer
        The model's input layer.

    Raises
    ------
    TypeError
        If the inputs are no array of integers.
    ValueError
        If the shape or a value does not fit; the first such value is named.
    """
    _check_integers(inputs)
    width, height, channels = first.input_dims
    is_image = first.parameters.layer_type is LayerType.InputConvolutional
    shape = (height, width, channels) if is_image else (width, height, channels)
    is_short = (width, height) == (1, 1) and inputs.ndim == 2 and inputs.shape[1] == channels
    if not is_short and (inputs.ndim != 4 or inputs.shape[1:] != shape):
        axes = "(n, height, width, channels)" if is_image else "(n, width, height, channels)"
        raise ValueError(
            f"inputs has the shape {inputs.shape}{_likely_cause(inputs.shape, shape)}, but layer "
            f"{first.name!r} takes {axes} = "
            f"(n, {', '.join(map(str, shape))})"
        )
    _check_range(inputs, first)
    return np.ascontiguousarray(inputs, np.uint8).reshape(len(inputs), math.prod(shape))


def as_sequences(inputs: npt.NDArray[Any], first: Layer) -> npt.NDArray[np.uint8]:
    """Sequences as one contiguous row of uint8 per sample and step, or the error that says why not.

    Parameters
    ----------
    inputs : ndarray of integers or bool
        (n, steps, height, width, channels), or (n, steps, channels) if width and height are 1: the
        layout of the Keras model.
    first : Layer
        The model's input layer.

    Returns
    -------
    rows : ndarray of uint8, shape (n, steps, inputs)

    Raises
    ------
    TypeError
        If the inputs are no array of integers.
    ValueError
        If the shape or a value does not fit; the first such value is named.
    """
    _check_integers(inputs)
    width, height, channels = first.input_dims
    is_vector = (width, height) == (1, 1) and inputs.ndim == 3 and inputs.shape[2] == channels
    if not is_vector and (inputs.ndim != 5 or inputs.shape[2:] != (height, width, channels)):
        raise ValueError(
            f"inputs has the shape {inputs.shape}, but layer {first.name!r} takes sequences "
            f"(n, steps, height, width, channels) = (n, steps, {height}, {width}, {channels}). Add "
            f"an axis of one step for a single frame."
        )
    _check_range(inputs, first)
    if not is_vector and first.parameters.layer_type is not LayerType.InputConvolutional:
        inputs = inputs.transpose(0, 1, 3, 2, 4)
    size = width * height * channels
    return np.ascontiguousarray(inputs, np.uint8).reshape(*inputs.shape[:2], size)


def _check_integers(inputs: object) -> None:
    if not isinstance(inputs, np.ndarray):
        raise TypeError(f"inputs is a {type(inputs).__name__}, but must be an ndarray")
    if inputs.dtype.kind not in "iub":
        raise TypeError(
            f"inputs has the dtype {inputs.dtype}, but must hold integers. Scale and round real "
            f"values first."
        )


def _check_range(inputs: npt.NDArray[Any], first: Layer) -> None:
    top = 2**first.input_bits - 1
    cannot_exceed = inputs.dtype == np.bool_ or (inputs.dtype == np.uint8 and top == 255)
    if not cannot_exceed and inputs.size and (inputs.min() < 0 or inputs.max() > top):
        outside = (inputs < 0) | (inputs > top)
        index = tuple(int(i) for i in np.unravel_index(int(outside.argmax()), inputs.shape))
        raise ValueError(
            f"inputs{list(index)} is {inputs[index]}, but layer {first.name!r} takes 0 to {top}"
        )


def _likely_cause(found: tuple[int, ...], sample: tuple[int, int, int]) -> str:
    """Words for the two mistakes that shapes give away."""
    if found == sample:
        return ", a sample without the axis of the batch (inputs[None] has it)"
    if len(found) == 4 and found[1:] == (sample[1], sample[0], sample[2]):
        return ", width and height exchanged (inputs.transpose(0, 2, 1, 3) mends that)"
    return ""
