"""A canonical Keras model cut into blocks: one block becomes one layer of the runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras

from kerasnsoc.quantization import (
    QuantizedActivation,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedSeparableConv2D,
)
from kerasnsoc.quantization.graph import read

layers = keras.layers

PASSING = (layers.Flatten, layers.Reshape, layers.Dropout)
"""Layers that only rename positions, or do nothing at inference."""


@dataclass(eq=False)
class Block:
    """A neural layer with what follows it, or a concatenation.

    Attributes
    ----------
    name : str
        Of the neural layer or the concatenation; also the runtime layer's.
    neural : keras.Layer or None
        None for a concatenation.
    inbounds : tuple of str
        Names of the blocks that feed it; empty for the first one.
    input_shape, output_shape : tuple of int, (height, width, channels)
        A vector has height and width 1.
    pooling : {"none", "max", "average"}
    global_pooling : bool
        Whether the pooling takes the whole map; otherwise `pool_size` and `pool_strides` hold.
    pool_size, pool_strides : tuple of int, (height, width)
    activation : QuantizedActivation or None
        Of the block itself; a concatenation shares the one of its producers.
    summed_positions : int
        Positions that an average pooling adds up; 1 without it.
    dropped : list of str
        Trailing layers that the artifact leaves out, such as a softmax.
    """

    name: str
    neural: Any
    inbounds: tuple[str, ...]
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int] = (1, 1, 1)
    pooling: str = "none"
    pool_size: tuple[int, int] = (1, 1)
    pool_strides: tuple[int, int] = (1, 1)
    activation: QuantizedActivation | None = None
    summed_positions: int = 1
    global_pooling: bool = False
    dropped: list[str] = field(default_factory=list)

    @property
    def is_concat(self) -> bool:
        return self.neural is None


@dataclass(frozen=True)
class ParsedModel:
    """All blocks in topological order, and the input scaling that a Rescaling layer asks for.

    ``keras_shape`` is the Keras input without the batch, ``input_shape`` its (height, width,
    channels).
    """

    name: str
    keras_shape: tuple[int, ...]
    input_shape: tuple[int, int, int]
    blocks: list[Block]
    rescaling: Any


def parse_blocks(model: keras.Model) -> ParsedModel:
    """Cut a canonical model into blocks.

    Parameters
    ----------
    model : keras.Model
        As `kerasnsoc.quantization.transforms.canonicalize` returns it, and compatible.

    Raises
    ------
    ValueError
        If a layer is still a float one; the message names it and the remedy.
    """
    owner: dict[Any, Block | None] = {}
    blocks: list[Block] = []
    rescaling = None
    input_shape = (1, 1, 1)
    for node in read(model).nodes:
        layer = node.source
        producers = [owner[parent] for parent in node.inputs]
        block = producers[0] if producers else None
        if isinstance(layer, layers.InputLayer):
            input_shape = _hwc(layer.batch_shape)
        elif isinstance(layer, layers.Rescaling):
            rescaling = layer
        elif isinstance(layer, layers.Concatenate):
            block = Block(
                layer.name,
                None,
                tuple(b.name for b in producers if b is not None),
                _hwc(node.shape),
                activation=block.activation if block else None,
            )
            blocks.append(block)
        elif isinstance(layer, QuantizedConv2D | QuantizedSeparableConv2D | QuantizedDense):
            shape = block.output_shape if block else input_shape
            block = Block(layer.name, layer, (block.name,) if block else (), shape)
            blocks.append(block)
        elif isinstance(layer, QuantizedActivation):
            assert block is not None
            _require_open(block, blocks, layer)
            block.activation = layer
        elif isinstance(layer, layers.MaxPooling2D):
            assert block is not None
            _require_open(block, blocks, layer)
            block.pooling = "max"
            block.pool_size, block.pool_strides = tuple(layer.pool_size), tuple(layer.strides)
        elif isinstance(layer, layers.GlobalAveragePooling2D):
            assert block is not None
            _require_open(block, blocks, layer)
            height, width, _ = block.output_shape
            block.pooling, block.summed_positions = "average", height * width
            block.global_pooling = True
        elif isinstance(layer, layers.Activation | layers.Softmax):
            assert block is not None
            block.dropped.append(layer.name)
        elif not isinstance(layer, PASSING):
            raise ValueError(
                f"layer {layer.name!r} ({type(layer).__name__}) is not quantized, but the artifact "
                f"holds integers. Call quantize(model, weight_quantization=4, "
                f"activ_quantization=4), fine-tune, and convert the result."
            )
        if block is not None and not isinstance(layer, PASSING):
            block.output_shape = _hwc(node.shape)
        owner[node] = block
    return ParsedModel(model.name, tuple(model.input_shape[1:]), input_shape, blocks, rescaling)


def _require_open(block: Block, blocks: list[Block], layer: Any) -> None:
    """A block that others read already must not change any more."""
    readers = [b.name for b in blocks if block.name in b.inbounds]
    if readers or (block.activation is not None and isinstance(layer, QuantizedActivation)):
        raise RuntimeError(
            f"layer {layer.name!r} would change the block of {block.name!r} behind its end"
            + (f", where {readers[0]!r} reads it" if readers else "")
            + ". Give the branch a convolution of its own."
        )


def _hwc(shape: tuple[int | None, ...]) -> tuple[int, int, int]:
    """(height, width, channels) of a batch shape; vectors are 1×1 maps."""
    size = shape[1:]
    if any(n is None for n in size):
        raise ValueError(
            f"the shape {tuple(shape)} is not fixed, but an artifact has fixed dimensions. Build "
            f"the model with a keras.Input that names height and width."
        )
    if len(size) == 1:
        return 1, 1, int(size[0])  # type: ignore[arg-type]
    height, width, channels = size
    return int(height), int(width), int(channels)  # type: ignore[arg-type]
