"""Weights of a model as those of a core: convolutions, dense layers, folded normalization."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.errors import (
    AsymmetricPaddingError,
    InvalidGraphError,
    UnsupportedLayerError,
)
from kerasnsoc.nsoc.operations import Operation
from kerasnsoc.nsoc.transform_options import TransformOptions
from kerasnsoc.nsoc.transform_streams import Draft, Stream


def convolution(options: TransformOptions, operation: Operation, stream: Stream) -> Draft:
    """A convolution as the weights of a core."""
    a = operation.arguments
    weights = np.asarray(a["weights"], np.float32)
    kernel, stride = weights.shape[2:], a["stride"]
    if stream.averaged:
        if kernel != (1, 1):
            raise InvalidGraphError(
                f"{operation}: a kernel of {kernel} on the 1 x 1 map behind a global average"
            )
        return _over_the_map(options, operation, stream, weights[:, :, 0, 0].T, a["bias"])
    if stream.parts is not None:
        raise InvalidGraphError(f"{operation}: a convolution needs a map, but it was flattened")
    groups = a.get("groups", 1)
    if groups > 1:
        weights = _expanded(options, operation, weights, groups)
    if weights.shape[1] != stream.shape[0]:
        raise InvalidGraphError(
            f"{operation}: its weights take {weights.shape[1]} channels, but "
            f"{stream.shape[0]} arrive"
        )
    padding = _padding(operation, stream, kernel)
    return _weighted(operation, stream, weights, a["bias"], stride, padding)


def _expanded(
    options: TransformOptions, operation: Operation, weights: npt.NDArray[np.float32], groups: int
) -> npt.NDArray[np.float32]:
    if not options.expand_groups:
        raise UnsupportedLayerError(
            f"{operation}: {groups} groups, but each feature of a core sees all channels. Pass "
            "expand_groups=True to fill up with zeros (it costs "
            f"{groups} times the kernel memory)."
        )
    features, channels = weights.shape[:2]
    full = np.zeros((features, channels * groups, *weights.shape[2:]), np.float32)
    per_group = features // groups
    for g in range(groups):
        rows = slice(g * per_group, (g + 1) * per_group)
        full[rows, g * channels : (g + 1) * channels] = weights[rows]
    return full


def _padding(operation: Operation, stream: Stream, kernel: tuple[int, ...]) -> tuple[int, int]:
    padding, stride = operation.arguments["padding"], operation.arguments["stride"]
    if stream.padding is not None and padding != "valid":
        raise UnsupportedLayerError(
            f"{operation}: padding {padding!r} after zero padding; use padding='valid'"
        )
    if stream.padding is not None:
        return stream.padding
    if padding == "valid":
        return 0, 0
    if padding != "same":
        return int(padding[0]), int(padding[1])
    result = []
    for axis, n, k, s in zip("yx", stream.shape[1:], kernel, stride, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        if total % 2:
            side = "above and below" if axis == "y" else "left and right"
            raise AsymmetricPaddingError(
                f"{operation}: padding='same' with a kernel of {k}, stride {s} and {n} "
                f"positions along {axis} needs {total // 2} and {total - total // 2} zeros "
                f"{side}, but a chip pads both sides alike. Put ZeroPadding2D with equal "
                "numbers before it and use padding='valid'."
            )
        result.append(total // 2)
    return result[0], result[1]


def dense(options: TransformOptions, operation: Operation, stream: Stream) -> Draft:
    """A dense layer as a convolution: over the whole map, or at each position."""
    weights = np.asarray(operation.arguments["weights"], np.float32)
    bias = operation.arguments["bias"]
    channels, height, width = stream.shape
    if stream.averaged:
        return _over_the_map(options, operation, stream, weights, bias)
    parts = stream.parts or (stream.shape,)
    is_pointwise = stream.parts is None and (height, width) != (1, 1)
    inputs = channels if is_pointwise else sum(c * h * w for c, h, w in parts)
    if len(weights) != inputs:
        raise InvalidGraphError(
            f"{operation}: its weights take {len(weights)} inputs, but {inputs} arrive, from "
            f"maps of {list(parts)} (features, height, width)"
        )
    if is_pointwise:  # Keras multiplies along the last axis, at each position
        kernel = np.ascontiguousarray(weights.T[:, :, None, None])
        return _weighted(operation, stream, kernel, bias, (1, 1), (0, 0))
    blocks, start = [], 0
    for c, h, w in parts:
        rows = weights[start : start + c * h * w]
        blocks.append(rows.reshape(h, w, c, -1).transpose(3, 2, 0, 1))
        start += c * h * w
    return _full_map(options, operation, stream, np.concatenate(blocks, axis=1), bias)


def _over_the_map(
    options: TransformOptions,
    operation: Operation,
    stream: Stream,
    weights: npt.NDArray[np.float32],
    bias: Any,
) -> Draft:
    """Weights behind a global average, spread over the map: weight / positions everywhere."""
    channels, height, width = stream.shape
    if len(weights) != channels:
        raise InvalidGraphError(
            f"{operation}: its weights take {len(weights)} inputs, but {channels} arrive"
        )
    share = (weights.T / np.float32(height * width)).astype(np.float32)
    kernel = np.broadcast_to(share[:, :, None, None], (*share.shape, height, width)).copy()
    return _full_map(options, operation, stream, kernel, bias)


def _full_map(
    options: TransformOptions,
    operation: Operation,
    stream: Stream,
    kernel: npt.NDArray[np.float32],
    bias: Any,
) -> Draft:
    height, width = kernel.shape[2:]
    padding = (0, 0)
    if height != width and options.square_dense == "pad":
        side = max(height, width)
        y, x = (side - height) // 2, (side - width) // 2
        if (height - width) % 2:
            raise UnsupportedLayerError(
                f"{operation}: the map before it is {height} x {width} (height x width); their "
                "difference is odd, so that no square kernel can be centred on it. Crop or pad "
                "the map, or pass square_dense='keep' for a chip that takes other kernels."
            )
        square = np.zeros((*kernel.shape[:2], side, side), np.float32)
        square[:, :, y : y + height, x : x + width] = kernel
        kernel, padding = square, (y, x)
    return _weighted(operation, stream, kernel, bias, (1, 1), padding)


def _weighted(
    operation: Operation,
    stream: Stream,
    weights: npt.NDArray[np.float32],
    bias: Any,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Draft:
    draft = Draft(
        operation,
        np.array(weights, np.float32),
        None if bias is None else np.array(bias, np.float32),
        stride,
        padding,
        stream.shape,
        stream.taps,
        stream.dvs,
    )
    if min(draft.neuron_shape) < 1:
        raise InvalidGraphError(
            f"{operation}: a kernel of {tuple(weights.shape[2:])} (height, width) does not fit "
            f"into the map of {stream.shape[1:]} with padding {padding}"
        )
    for array, what in ((draft.weights, "weights"), (draft.bias, "bias")):
        if array is not None and not np.isfinite(array).all():
            raise InvalidGraphError(f"{operation}: its {what} hold a number that is not finite")
    return draft


def fold_batchnorm(options: TransformOptions, operation: Operation, draft: Draft) -> Draft:
    """Batch normalization into the weights and the bias before it, in float64."""
    a = operation.arguments
    epsilon = a["epsilon"] if options.bn_epsilon == "layer" else options.bn_epsilon
    gamma, beta, mean, variance = (
        np.asarray(a[name], np.float64) for name in ("gamma", "beta", "mean", "variance")
    )
    scale = gamma / np.sqrt(variance + float(epsilon))
    if len(scale) != len(draft.weights) or not np.isfinite(scale).all():
        raise InvalidGraphError(
            f"{operation} has {len(scale)} features and {draft.operation} has "
            f"{len(draft.weights)}; they must be equal, and the variance above 0"
        )
    bias = 0.0 if draft.bias is None else draft.bias.astype(np.float64)
    draft.weights = (draft.weights * scale[:, None, None, None]).astype(np.float32)
    draft.bias = (beta + (bias - mean) * scale).astype(np.float32)
    return draft
