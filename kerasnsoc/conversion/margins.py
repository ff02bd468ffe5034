"""How far every threshold lies from the integers: which neurons no rounding can move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc._tables import render
from kerasnsoc.artifact import LayerBounds, network_bounds
from kerasnsoc.conversion.converter import IntegerModel, integers_of
from kerasnsoc.conversion.integer import IntegerBlock
from kerasnsoc.conversion.thresholds import Staircase, nearest_float32, real_thresholds
from kerasnsoc.quantization import graph
from kerasnsoc.quantization.transforms import canonicalize

FLOAT64_ROUNDOFF = Fraction(1, 2**53)


@dataclass(frozen=True)
class LayerCertificate:
    """Margins of one layer.

    Attributes
    ----------
    name : str
    margins : ndarray of float64, shape (neurons,)
        Smallest distance, in units of the potential, from an edge of the neuron's staircase to a
        potential that it can reach. 0 is a tie: there the float forward may round either way.
    errors : ndarray of float64, shape (neurons,)
        Bound on the error of a float64 forward, in the same unit.
    """

    name: str
    margins: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]

    @property
    def is_certified(self) -> npt.NDArray[np.bool_]:
        """One per neuron: the float64 forward gives the artifact's activation for every input."""
        return self.margins > self.errors


@dataclass(frozen=True)
class Certificate:
    """Which neurons of a model provably agree with the artifact under float64 evaluation."""

    layers: tuple[LayerCertificate, ...]

    @property
    def uncertified(self) -> dict[str, list[int]]:
        """Neurons without a certificate, by layer; layers without any are left out."""
        found = {c.name: np.flatnonzero(~c.is_certified).tolist() for c in self.layers}
        return {name: neurons for name, neurons in found.items() if neurons}

    @property
    def is_complete(self) -> bool:
        return not self.uncertified

    def __str__(self) -> str:
        rows = [
            [
                c.name,
                f"{len(c.margins)}",
                f"{int(c.is_certified.sum())}",
                f"{int((c.margins == 0).sum())}",
                f"{c.margins.min():.3g}",
            ]
            for c in self.layers
        ]
        return render(
            ["layer", "neurons", "certified", "with ties", "smallest margin"], rows, "Certificate"
        )


def certificate(
    model: keras.Model,
    input_scaling: tuple[float, int] | None = None,
    input_is_sparse: bool = False,
    *,
    input_bits: int = 4,
) -> Certificate:
    """Neurons whose ordinary Keras forward, in float64, provably equals the artifact.

    The potential is an integer and every edge of the staircase an exact fraction; if the distance
    between the two is larger than the accumulated rounding error of the float forward, no rounding
    can change an activation.

    Parameters
    ----------
    model, input_scaling, input_is_sparse, input_bits
        As for `kerasnsoc.convert`.

    Returns
    -------
    Certificate

    Notes
    -----
    The certified forward is that of the same model under the dtype policy float64, fed with
    ``(integer - shift) / scale`` in float64; float32 images carry a rounding of their own.

    The error bound for a sum of ``K`` products is ``K * u / (1 - K * u)`` times the sum of their
    magnitudes, with ``u = 2**-53`` [1]_; ``K`` is the number of taps plus 4 for bias and scaling.

    References
    ----------
    .. [1] N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, SIAM, 2002,
       section 3.1.
    """
    integers = integers_of(model, input_scaling, input_is_sparse, input_bits=input_bits)
    bounds = network_bounds(integers.spec)
    layers = []
    for name, block in integers.blocks.items():
        if block.stairs is None:
            continue
        bound = bounds[name]
        low, high = bound.low.tolist(), bound.high.tolist()
        sizes = _magnitudes(block, _largest_input(block, integers, bounds))
        margins, errors = [], []
        for n, edges in enumerate(real_thresholds(block.affine, block.stairs)):
            margins.append(min(_distance(edge, low[n], high[n]) for edge in edges))
            errors.append(_float_error(block, edges, sizes[n]))
        layers.append(
            LayerCertificate(
                name,
                np.array([float(margin) for margin in margins]),
                np.array([float(error) for error in errors]),
            )
        )
    return Certificate(tuple(layers))


def centre_thresholds(
    model: keras.Model,
    input_scaling: tuple[float, int] | None = None,
    input_is_sparse: bool = False,
    *,
    input_bits: int = 4,
) -> keras.Model:
    """Move every edge as far from the integers as its neuron allows, without changing the artifact.

    Per neuron all edges are shifted by the same fraction of a potential, through the bias, so that
    the largest and the smallest fractional part lie at equal distances from an integer. Ties
    vanish, and with them the differences between the training forward and the artifact.

    Parameters
    ----------
    model, input_scaling, input_is_sparse, input_bits
        As for `kerasnsoc.convert`.

    Returns
    -------
    keras.Model
        A new model in canonical form (batch normalization folded, every block with a bias) that
        converts to the same thresholds. A neuron whose bias cannot be moved in float32 without
        changing a threshold keeps it.
    """
    canonical = canonicalize(model, input_is_sparse=input_is_sparse)
    integers = integers_of(canonical, input_scaling, input_is_sparse, input_bits=input_bits)
    records = graph.read(canonical)
    for node in records.nodes:
        block = integers.blocks.get(node.name)
        if block is None or block.stairs is None:
            continue
        biases = _centred_biases(block, block.stairs)
        if node.config["use_bias"]:
            position = _bias_position(node.source)
            node.weights[position] = biases
        else:
            node.config = {**node.config, "use_bias": True}
            node.weights.insert(1 if block.weights_pw is None else 2, biases)
    return records.build()


def _distance(edge: Fraction, low: int, high: int) -> Fraction:
    """From an edge to the nearest integer that a potential can be."""
    below = edge.numerator // edge.denominator
    return min(abs(edge - min(max(p, low), high)) for p in (below, below + 1))


def _largest_input(
    block: IntegerBlock, integers: IntegerModel, bounds: Mapping[str, LayerBounds]
) -> int:
    """Largest magnitude of a code, shifted ones included."""
    if block.block.inbounds:
        return bounds[block.block.inbounds[0]].output_range[1]
    return int(2**integers.spec.input.bits - 1)


def _magnitudes(block: IntegerBlock, largest: int) -> list[int]:
    """Per neuron, the sum of the magnitudes of all products that make a potential."""
    weights = np.abs(block.weights.astype(np.int64))
    if block.weights_pw is None:
        sums = weights.reshape(-1, weights.shape[-1]).sum(axis=0)
    else:
        sums = weights.sum(axis=(0, 1, 3)) @ np.abs(block.weights_pw.astype(np.int64))
    return [largest * block.affine.positions * n for n in sums.tolist()]


def _float_error(block: IntegerBlock, edges: list[Fraction], potential: int) -> Fraction:
    taps = int(np.prod(block.weights.shape[:-1]))
    if block.weights_pw is not None:
        taps += block.weights_pw.shape[0]
    terms = taps * block.affine.positions + 4
    gamma = terms * FLOAT64_ROUNDOFF / (1 - terms * FLOAT64_ROUNDOFF)
    return gamma * (potential + max(abs(edge) for edge in edges))


def _centred_biases(block: IntegerBlock, stairs: Staircase) -> npt.NDArray[Any]:
    affine = block.affine
    biases = np.array([float(b) for b in affine.biases], np.float32)
    for n, edges in enumerate(real_thresholds(affine, stairs)):
        floors = [edge.numerator // edge.denominator for edge in edges]
        fractions = [edge - floor for edge, floor in zip(edges, floors, strict=True)]
        shift = (1 - max(fractions) - min(fractions)) / 2
        gain = affine.positions * affine.alpha * affine.scales[n]
        moved = nearest_float32(affine.biases[n] - shift / gain)
        # the bias is stored in float32: accept it only if all edges keep their floor
        change = gain * (affine.biases[n] - Fraction(float(moved)))
        if all((edge + change) // 1 == floor for edge, floor in zip(edges, floors, strict=True)):
            biases[n] = moved
    return biases


def _bias_position(layer: Any) -> int:
    return next(i for i, w in enumerate(layer.weights) if w is layer.bias)
