"""Random quantized Keras models for parity tests.

`random_model(pick)` asks ``pick(options)`` for every choice, so that hypothesis can drive and
shrink it and a seeded generator can repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import kerasnsoc as ns

Pick = Callable[[Sequence[Any]], Any]

IMAGE_SCALINGS = [(255.0, 0), (1.0, 0), (128.0, 128), (64.0, 17), (100.0, 255)]
RESCALINGS = [(1 / 255, 0.0), (1 / 128, -1.0), (1 / 64, -0.25)]
EVENT_SCALINGS = [(1.0, 0), (2.5, 0), (15.0, 0)]

kl = keras.layers


@dataclass(frozen=True)
class Case:
    """A model, how to convert it, and integer inputs in the runtime's layout.

    ``input_scaling`` is None if the model scales its input itself.
    """

    model: Any
    input_scaling: tuple[float, int] | None
    input_is_sparse: bool
    input_bits: int
    inputs: Any

    @property
    def conversion(self) -> dict[str, Any]:
        return {
            "input_scaling": self.input_scaling,
            "input_is_sparse": self.input_is_sparse,
            "input_bits": self.input_bits,
        }

    def keras_inputs(self) -> Any:
        """What the Keras model takes, in float64."""
        x = self.inputs.astype(np.float64)
        x = x.transpose(0, 2, 1, 3) if self.input_is_sparse else x
        scale, shift = self.input_scaling or (1.0, 0)
        return ((x - shift) / scale).reshape(len(x), *self.model.input_shape[1:])


def picker(seed: int) -> Pick:
    """A repeatable source of choices."""
    rng = np.random.default_rng(seed)
    return lambda options: options[int(rng.integers(len(options)))]


class _Trunk:
    """The tensor that the next layer is put on."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def put(self, *layers: Any) -> None:
        for layer in layers:
            self.tensor = layer(self.tensor)

    @property
    def is_flat(self) -> bool:
        return len(self.tensor.shape) == 2

    @property
    def size(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape[1:])


def random_model(pick: Pick, *, max_blocks: int = 3, samples: int = 3) -> Case:
    """1 to ``max_blocks`` blocks, now and then with two branches that join again."""
    rng = np.random.default_rng(pick(range(2**16)))
    is_sparse = pick([False, True])
    height, width = pick(range(1, 12)), pick(range(1, 12))
    channels = pick([1, 3]) if not is_sparse else pick([1, 2, 3, 5])
    is_vector = is_sparse and pick([False, False, False, True])
    if is_vector:
        height = width = 1
    source = keras.Input((channels,) if is_vector else (height, width, channels))
    trunk = _Trunk(source)
    rescaling = None if is_sparse else pick([None, None, None, *RESCALINGS])
    if rescaling is not None:
        trunk.put(kl.Rescaling(*rescaling))
    blocks = pick(range(1, max_blocks + 1))
    for index in range(blocks):
        is_first, is_last = index == 0, index == blocks - 1
        kinds = ["conv", "separable", "pair", "conv", "separable"] + ["dense"] * is_last
        if is_first and not is_sparse:
            kinds = ["conv"]
        if trunk.is_flat:
            kinds = ["dense"]
        if not is_first and not trunk.is_flat and pick([False] * 5 + [True]):
            _add_branches(trunk, pick)
        _add_block(trunk, pick, pick(kinds), is_last)
    model = keras.Model(source, trunk.tensor)
    _randomize(model, pick, rng)
    bits = pick([1, 2, 4]) if is_sparse else 8
    density = pick([0.0, 0.1, 0.5, 1.0])
    inputs = rng.integers(0, 2**bits, (samples, height, width, channels), dtype=np.uint8)
    inputs *= rng.random(inputs.shape) < density
    scaling = pick(EVENT_SCALINGS if is_sparse else IMAGE_SCALINGS)
    return Case(
        model,
        None if rescaling is not None else scaling,
        is_sparse,
        bits,
        np.ascontiguousarray(inputs.transpose(0, 2, 1, 3)) if is_sparse else inputs,
    )


def _quantizer(pick: Pick, bits: int) -> Any:
    return pick([ns.MaxPerAxisQuantizer(bits), ns.MaxQuantizer(bits), ns.WeightQuantizer(3, bits)])


def _add_branches(trunk: _Trunk, pick: Pick) -> None:
    """Two convolutions on the same tensor, joined: their activations have one kind and width."""
    bits, ends = pick([1, 2, 4]), []
    for _ in range(2):
        weight_bits = pick([2, 4, 8])
        branch = _Trunk(trunk.tensor)
        branch.put(
            ns.QuantizedConv2D(
                pick([1, 3]),
                pick([1, 3]),
                padding="same",
                quantizer=_quantizer(pick, weight_bits),
            ),
            ns.ActivationDiscreteRelu(bits),
        )
        ends.append(branch.tensor)
    trunk.tensor = kl.Concatenate()(ends)


def _add_block(trunk: _Trunk, pick: Pick, kind: str, is_last: bool) -> None:
    bits = pick(range(2, 9))
    pooling = None
    if kind == "dense":
        if not trunk.is_flat:
            trunk.put(kl.Flatten())
        trunk.put(
            ns.QuantizedDense(
                pick([1, 3, 10]), use_bias=pick([True, False]), quantizer=_quantizer(pick, bits)
            )
        )
    else:
        pooling = _add_convolution(trunk, pick, kind, bits)
    activation = None
    if not is_last or pick([True, False]):
        activation = pick([ns.ActivationDiscreteRelu, ns.QuantizedReLU])(pick([1, 2, 3, 4, 8]))
    if pick([False, False, True]):
        trunk.put(kl.BatchNormalization())
    before = pick([True, False]) or isinstance(pooling, kl.GlobalAveragePooling2D)
    order = [pooling, activation] if before else [activation, pooling]
    trunk.put(*(layer for layer in order if layer is not None))
    if pick([False, False, True]):
        trunk.put(kl.Dropout(0.5))


def _add_convolution(trunk: _Trunk, pick: Pick, kind: str, bits: int) -> Any:
    """Put a convolution on the trunk; returns its pooling, which comes later, or None."""
    height, width, _ = trunk.size
    filters, use_bias = pick([1, 2, 5]), pick([True, False])
    padding = pick(["same", "valid"])
    limit = (7, 7) if padding == "same" else (min(7, height), min(7, width))
    size = pick(range(1, limit[0] + 1)), pick(range(1, limit[1] + 1))
    strides = pick([1, 2, 3]), pick([1, 2, 3])
    if kind != "conv":
        strides = (strides[0], strides[0])  # TensorFlow's depthwise kernel knows one stride
    common = {"strides": strides, "padding": padding}
    quantizer = _quantizer(pick, bits)
    depthwise = pick([ns.MaxQuantizer(bits), ns.WeightQuantizer(2, bits)])
    if kind == "separable":
        trunk.put(
            ns.QuantizedSeparableConv2D(
                filters,
                size,
                use_bias=use_bias,
                quantizer=quantizer,
                quantizer_dw=depthwise,
                **common,
            )
        )
    elif kind == "pair":
        trunk.put(
            ns.QuantizedDepthwiseConv2D(size, use_bias=False, quantizer=depthwise, **common),
            ns.QuantizedConv2D(filters, 1, padding=padding, use_bias=use_bias, quantizer=quantizer),
        )
    else:
        trunk.put(
            ns.QuantizedConv2D(filters, size, use_bias=use_bias, quantizer=quantizer, **common)
        )
    choice = pick(["none", "none", "max", "average"])
    if choice == "average":
        return kl.GlobalAveragePooling2D(keepdims=pick([False, True]))
    if choice == "none":
        return None
    pool = pick([1, 2, 3]), pick([1, 2, 3])
    if padding == "valid":
        pool = min(pool[0], trunk.size[0]), min(pool[1], trunk.size[1])
    return kl.MaxPooling2D(pool, strides=pick([None, 1, 2, 3]), padding=padding)


def _randomize(model: Any, pick: Pick, rng: np.random.Generator) -> None:
    """Weights of any scale, or such that thresholds fall on integers."""
    ties = pick([False, True])
    for layer in model.layers:
        if isinstance(layer, kl.BatchNormalization):
            _randomize_norm(layer, rng)
            continue
        if isinstance(layer, ns.QuantizedReLU):
            layer.set_weights([w * rng.uniform(0.5, 2) for w in layer.get_weights()])
            continue
        for variable in layer.trainable_variables:
            fan_in = max(1, int(np.prod(variable.shape[:-1])))
            if variable.path.endswith("bias"):
                value = np.zeros(variable.shape) if ties else rng.normal(0, 1, variable.shape)
            elif ties:
                top = 2 ** (layer.quantizer.bitwidth - 1) - 1
                value = rng.integers(-top, top + 1, variable.shape) / 16
                value.reshape(-1, value.shape[-1])[0] = top / 16  # the scale factor becomes 16
            else:
                value = rng.normal(0, 3 / np.sqrt(fan_in), variable.shape)
            variable.assign(value)


def _randomize_norm(layer: Any, rng: np.random.Generator) -> None:
    gamma, beta, mean, variance = (w.shape for w in layer.get_weights())
    signs = rng.choice([-1.0, 1.0], gamma)  # folding flips the filters of negative gammas
    layer.set_weights(
        [
            signs * rng.uniform(0.2, 2, gamma),
            rng.normal(0, 1, beta),
            rng.normal(0, 1, mean),
            rng.uniform(0.1, 3, variance),
        ]
    )
