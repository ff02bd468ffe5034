"""How large potentials can become, from the real weights: what sizes the accumulators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.errors import ArtifactError, Reason
from kerasnsoc.artifact.geometry import (
    Dims,
    Window,
    output_dims,
    pooling_windows,
    spatial_geometry,
)
from kerasnsoc.artifact.limits import INT32_MAX, MAX_PARTIAL
from kerasnsoc.artifact.neurons import spikes_range
from kerasnsoc.artifact.schema import (
    ActivationParameters,
    ConcatParameters,
    FilterParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerParameters,
    NetworkSpec,
    NeuronSpec,
    PoolingParameters,
    PoolingType,
    SeparableConvolutionalParameters,
    SpatialParameters,
)

IMAGE_RANGE = (0, 255)
"""What an InputConvolutional layer takes, padding included."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerBounds:
    """Intervals that hold for every input.

    A tap that the border cuts off counts as 0, which every interval contains, so that windows at
    the border never leave them.

    Attributes
    ----------
    depthwise_low, depthwise_high : int
        Smallest and largest depthwise sum; 0 if the layer is not separable.
    partial : int
        Largest absolute value of any partial sum, in any order of adding: of depthwise sums, of
        potentials, and of the sum that average pooling makes of them.
    low, high : ndarray of int64, shape (neurons,)
        Smallest and largest potential after pooling. For an input layer and a concatenation: of
        the values that pass through.
    output_range : tuple of int
        Smallest and largest value that is sent on: an activation, a number of spikes or a
        potential.
    """

    depthwise_low: int
    depthwise_high: int
    partial: int
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    output_range: tuple[int, int]


def layer_bounds(
    parameters: LayerParameters,
    variables: Mapping[str, npt.NDArray[Any]],
    input_dims: Dims,
    input_range: tuple[int, int],
    neuron: NeuronSpec | None = None,
) -> LayerBounds:
    """Bounds of one layer.

    Parameters
    ----------
    parameters : LayerParameters
    variables : mapping of str to ndarray
        Only the weights are looked at; of neurons that integrate also their thresholds and
        biases.
    input_dims : tuple of int, (width, height, features)
        For a Concat the joined map; an input layer knows it itself.
    input_range : tuple of int
        Smallest and largest value that arrives; extended to contain 0. An input layer knows it
        itself.
    neuron : NeuronSpec, optional

    Raises
    ------
    ArtifactError
        With `Reason.OVERFLOW` if a sum could exceed `limits.MAX_PARTIAL`, or the carried potential
        of a neuron 32 bits.
    ValueError
        If a separable layer is to take more than activations of 8 bits.
    """
    lo, hi = min(input_range[0], 0), max(input_range[1], 0)
    if isinstance(parameters, InputDataParameters):
        top = 2**parameters.input_bits - 1
        return _passing(parameters.input_channels, 0, top, (0, top))
    if isinstance(parameters, PoolingParameters):
        cells = 1
        if parameters.pooling_type is PoolingType.Average:
            windows = pooling_windows(parameters, input_dims[:2])
            cells = _most_cells(windows[0]) * _most_cells(windows[1])
        _check_partial(max(-lo, hi) * cells)
        return _passing(input_dims[2], lo * cells, hi * cells, (lo * cells, hi * cells))
    if isinstance(parameters, FilterParameters):
        return _passing(input_dims[2], lo, hi, (lo, hi))
    assert isinstance(parameters, ActivationParameters)
    if isinstance(parameters, ConcatParameters):
        return _passing(input_dims[2], lo, hi, _sent_on(parameters, lo, hi))
    depthwise = (0, 0)
    if isinstance(parameters, SeparableConvolutionalParameters):
        if max(-lo, hi) > 255:  # what the proof in _dot rests on
            raise ValueError(f"input_range is {input_range}, but activations have at most 8 bits")
        low, high, depthwise = _separable(variables["weights"], variables["weights_pw"], lo, hi)
    elif isinstance(parameters, SpatialParameters | FullyConnectedParameters):
        if isinstance(parameters, InputConvolutionalParameters):
            lo, hi = IMAGE_RANGE
        low, high = _weighted(variables["weights"], lo, hi)
    else:
        raise TypeError(f"unknown layer parameters {type(parameters).__name__}")
    if isinstance(parameters, SpatialParameters):
        cells = _summed_cells(parameters, input_dims)
        low, high = _times(low, cells), _times(high, cells)
    # every term's interval contains 0, so a partial sum lies between low and high as the whole does
    least, most = int(low.min()), int(high.max())
    partial = max(-least, most, -depthwise[0], depthwise[1])
    _check_partial(partial)
    for array in (low, high):
        array.flags.writeable = False
    if neuron is not None:
        sent_on = spikes_range(neuron, variables, low, high)
    else:
        sent_on = _sent_on(parameters, least, most)
    return LayerBounds(*depthwise, partial, low, high, sent_on)


def network_bounds(spec: NetworkSpec) -> dict[str, LayerBounds]:
    """Bounds of every layer of a network, by name.

    Parameters
    ----------
    spec : NetworkSpec
        A valid one (`kerasnsoc.artifact.validate`).

    Raises
    ------
    ArtifactError
        With `Reason.OVERFLOW`, naming the layer.
    """
    bounds: dict[str, LayerBounds] = {}
    dims: dict[str, Dims] = {}
    for layer in spec.layers:
        feeding = [dims[name] for name in layer.inbounds]
        dims[layer.name] = output_dims(layer.parameters, feeding)
        ranges = [bounds[name].output_range for name in layer.inbounds] or [(0, 0)]
        arriving = min(low for low, _ in ranges), max(high for _, high in ranges)
        joined = dims[layer.name]
        if isinstance(layer.parameters, InputConvolutionalParameters):
            p = layer.parameters
            joined = p.input_width, p.input_height, p.input_channels
        elif len(feeding) == 1:
            joined = feeding[0]
        try:
            found = layer_bounds(layer.parameters, layer.variables, joined, arriving, layer.neuron)
            if spec.time_step is not None:
                _check_narrow(found)
        except ArtifactError as error:
            raise ArtifactError(error.reason, f"layer {layer.name!r}: {error}") from None
        except ValueError as error:  # many spikes per step into a separable layer
            raise ArtifactError(Reason.OVERFLOW, f"layer {layer.name!r}: {error}") from None
        bounds[layer.name] = found
    return bounds


def _check_narrow(bounds: LayerBounds) -> None:
    """Over time everything is held in 32 bits."""
    largest = max(bounds.partial, *(abs(end) for end in bounds.output_range))
    if largest > INT32_MAX:
        raise ArtifactError(
            Reason.OVERFLOW,
            f"a sum of one time step could reach {largest}, beyond the 32-bit {INT32_MAX}. Use "
            f"fewer inputs, fewer bits, or neurons in front that spike less often per step.",
        )


def _passing(neurons: int, low: int, high: int, sent_on: tuple[int, int]) -> LayerBounds:
    lows, highs = np.full(neurons, low, np.int64), np.full(neurons, high, np.int64)
    for array in (lows, highs):
        array.flags.writeable = False
    return LayerBounds(0, 0, max(-low, high), lows, highs, sent_on)


def _sent_on(parameters: ActivationParameters, low: int, high: int) -> tuple[int, int]:
    if parameters.activations_enabled:
        return 0, 2**parameters.threshold_fire_bits - 1
    return low, high


_Sums = npt.NDArray[np.int64]

_BLOCK = 1 << 17
"""Weights that are widened at a time, so that bounds need next to no memory."""


def _blocks(weights_tn: npt.NDArray[Any]) -> Iterator[slice]:
    rows = max(1, _BLOCK // weights_tn.shape[1])
    for start in range(0, weights_tn.shape[0], rows):
        yield slice(start, start + rows)


def _check_partial(partial: int) -> None:
    if partial > MAX_PARTIAL:
        raise ArtifactError(
            Reason.OVERFLOW,
            f"a sum could reach {partial}, more than the {MAX_PARTIAL} that 64-bit accumulators "
            f"are trusted with. Use fewer inputs, fewer bits or smaller weights.",
        )


def _times(values: _Sums, factor: int) -> _Sums:
    """Product that is refused before int64 could wrap around."""
    _check_partial(max(abs(int(values.min())), abs(int(values.max()))) * abs(factor))
    return values * factor


def _signed_sums(weights_tn: npt.NDArray[Any]) -> tuple[_Sums, _Sums]:
    """Sums of the negative and of the positive weights of each column."""
    negative = np.zeros(weights_tn.shape[1], np.int64)
    positive = np.zeros(weights_tn.shape[1], np.int64)
    for rows in _blocks(weights_tn):
        # at most 2**17 rows of at most 127 each: int32 cannot overflow; 2**31 weights: nor int64
        block = weights_tn[rows].astype(np.int32)
        total = block.sum(axis=0, dtype=np.int32)
        above = np.maximum(block, 0, out=block).sum(axis=0, dtype=np.int32)
        positive += above
        negative += total - above
    return negative, positive


def _weighted(weights: npt.NDArray[Any], lo: int, hi: int) -> tuple[_Sums, _Sums]:
    negative, positive = _signed_sums(weights.reshape(-1, weights.shape[-1]))
    # lo <= 0 <= hi: either sum adds two terms of one sign, each at most 2**62
    low = _times(positive, lo) + _times(negative, hi)
    return low, _times(positive, hi) + _times(negative, lo)


def _separable(
    weights: npt.NDArray[Any], weights_pw: npt.NDArray[Any], lo: int, hi: int
) -> tuple[_Sums, _Sums, tuple[int, int]]:
    # one column per channel: a depthwise sum has a kernel of its own, shape (w, h, c, 1)
    low_c, high_c = _weighted(weights[:, :, :, 0], lo, hi)
    low, high = _dot(low_c, high_c, weights_pw.reshape(-1, weights_pw.shape[-1]))
    return low, high, (int(low_c.min()), int(high_c.max()))


def _dot(low_c: _Sums, high_c: _Sums, weights_cn: npt.NDArray[Any]) -> tuple[_Sums, _Sums]:
    """Smallest and largest ``x @ weights_cn`` for ``low_c <= x <= high_c``, exactly.

    Both limits have the sign of their name. Floats hold integers up to a bound exactly, in any
    order of adding; their products run through BLAS, those of integers do not.
    """
    # float64 may round this sum a little, which the factor above the largest weight covers
    reach = 128.0 * float((high_c - low_c).sum(dtype=np.float64))
    for dtype, exact_up_to in ((np.float32, 2.0**24), (np.float64, 2.0**53)):
        if reach <= exact_up_to:
            return _dot_in_floats(low_c, high_c, weights_cn, dtype)
    return _dot_in_limbs(low_c, high_c, weights_cn)


def _dot_in_floats(
    low_c: _Sums, high_c: _Sums, weights_cn: npt.NDArray[Any], dtype: type[np.floating[Any]]
) -> tuple[_Sums, _Sums]:
    """Twice the limits are ``(low + high) @ w - (high - low) @ |w|``, and the same with a plus."""
    middle_c, width_c = (low_c + high_c).astype(dtype), (high_c - low_c).astype(dtype)
    middle_n = np.zeros(weights_cn.shape[1], np.int64)
    width_n = np.zeros(weights_cn.shape[1], np.int64)
    for rows in _blocks(weights_cn):
        block = weights_cn[rows].astype(dtype)
        middle_n += (middle_c[rows] @ block).astype(np.int64)
        width_n += (width_c[rows] @ np.abs(block, out=block)).astype(np.int64)
    return (middle_n - width_n) // 2, (middle_n + width_n) // 2


_LIMB = 1 << 24


def _dot_in_limbs(low_c: _Sums, high_c: _Sums, weights_cn: npt.NDArray[Any]) -> tuple[_Sums, _Sums]:
    """For sums that no float holds.

    The factors are cut into two limbs. A depthwise sum stays below 2**7 * 2**31 * 2**8 = 2**46, so
    that either limb is below 2**24; times 2**7, summed over at most 2**20 channels, that is 2**51.
    float64 holds such integers exactly in any order of adding, and its products run through BLAS.
    """
    # rows: coarse low, coarse high, fine low, fine high
    limbs_rc = np.stack([part for x in (low_c, high_c) for part in divmod(x, _LIMB)])[[0, 2, 1, 3]]
    limbs_rc = limbs_rc.astype(np.float64)
    with_positive_rn = np.zeros((4, weights_cn.shape[1]))
    with_negative_rn = np.zeros((4, weights_cn.shape[1]))
    for rows in _blocks(weights_cn):
        block = weights_cn[rows].astype(np.float64)
        with_positive_rn += limbs_rc[:, rows] @ np.maximum(block, 0)
        with_negative_rn += limbs_rc[:, rows] @ np.minimum(block, 0)
    low = _joined(with_positive_rn[[0, 2]] + with_negative_rn[[1, 3]])
    high = _joined(with_positive_rn[[1, 3]] + with_negative_rn[[0, 2]])
    return low, high


def _joined(limbs: npt.NDArray[np.float64]) -> _Sums:
    coarse, fine = limbs.astype(np.int64)
    largest = max(abs(int(coarse.min())), abs(int(coarse.max())))
    if largest > (1 << 38) + (1 << 27):  # then not even a fine limb of -2**51 brings it to 2**62
        _check_partial(largest * _LIMB)
    joined: _Sums = coarse * _LIMB + fine
    return joined


def _summed_cells(p: SpatialParameters, input_dims: Dims) -> int:
    """Largest number of potentials that average pooling adds up; 1 for any other pooling."""
    if p.pooling_type is not PoolingType.Average:
        return 1
    geometry = spatial_geometry(p, input_dims[:2])
    assert geometry.pool_x is not None
    assert geometry.pool_y is not None
    return _most_cells(geometry.pool_x) * _most_cells(geometry.pool_y)


def _most_cells(w: Window) -> int:
    starts = np.arange(w.output, dtype=np.int64) * w.stride - w.lead
    return int((np.minimum(starts + w.size, w.length) - np.maximum(starts, 0)).max())
