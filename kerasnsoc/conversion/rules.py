"""The rules that a Keras model must keep to become an artifact, checked layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasnsoc.artifact.geometry import window
from kerasnsoc.artifact.schema import ConvolutionMode
from kerasnsoc.quantization import (
    QuantizedActivation,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedSeparableConv2D,
)
from kerasnsoc.quantization.graph import Graph, Node

layers = keras.layers

QUANTIZED = (
    QuantizedActivation,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedSeparableConv2D,
)
# the quantized layers derive from the float ones, so that either is found by the base class
CONVOLUTIONS = (layers.Conv2D, layers.SeparableConv2D)
NEURAL = (*CONVOLUTIONS, layers.DepthwiseConv2D, layers.Dense)
ACTIVATIONS = (QuantizedActivation, layers.ReLU)
RELU_NAMES = ("relu", "relu6")
FINAL = (layers.Activation, layers.Softmax)
POOLING = (layers.MaxPooling2D, layers.GlobalAveragePooling2D)
NEUTRAL = (layers.Dropout, layers.Flatten, layers.Reshape)


_KNOWN_LAYERS = (
    "Use (Quantized)Conv2D, SeparableConv2D, Dense, MaxPooling2D, GlobalAveragePooling2D, "
    "BatchNormalization, ReLU, Dropout, Flatten, Reshape or Concatenate."
)
_TRAINING_ONLY = "It acts in training only: build the model without it, and load the weights."
INSTEAD = {
    "AveragePooling2D": "Use a convolution with strides, MaxPooling2D or GlobalAveragePooling2D.",
    "ZeroPadding2D": "Use padding='same' in the convolution behind it.",
    **dict.fromkeys(("LeakyReLU", "PReLU", "ELU"), "Use ReLU, and train again."),
    **dict.fromkeys(
        ("GaussianNoise", "GaussianDropout", "AlphaDropout", "SpatialDropout2D"), _TRAINING_ONLY
    ),
    **dict.fromkeys(
        ("RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation"),
        _TRAINING_ONLY,
    ),
    **dict.fromkeys(
        ("Add", "Average", "Multiply", "Subtract", "Maximum", "Minimum", "Dot"),
        "Join the branches by Concatenate, or leave one of them out, and train again.",
    ),
    **dict.fromkeys(
        ("LSTM", "GRU", "SimpleRNN", "Bidirectional", "TimeDistributed", "ConvLSTM2D"),
        "A network of one pass keeps no state: lay time out as one axis of a map, use Conv2D over "
        "it, and train again.",
    ),
    **dict.fromkeys(
        ("Conv1D", "SeparableConv1D", "MaxPooling1D", "GlobalAveragePooling1D"),
        "Use the two-dimensional layer on maps of height 1.",
    ),
    **dict.fromkeys(
        ("TrueDivide", "Divide"), "For pixels, begin with keras.layers.Rescaling(1 / 255)."
    ),
    **dict.fromkeys(
        ("LayerNormalization", "GroupNormalization"),
        "Use BatchNormalization behind a convolution, and train again.",
    ),
    "GlobalMaxPooling2D": "Use MaxPooling2D of the size of the map, and Flatten behind it.",
    "Normalization": "Use Rescaling with one scale and offset for all channels.",
    "Resizing": "Resize the images before they enter the network.",
}
"""What to do about layers that are often met, by class name."""


@dataclass(frozen=True)
class Finding:
    """One reason why a model cannot be converted.

    Attributes
    ----------
    rule : str
        Short name of the broken rule.
    layer : str
        Name of the layer, or of the model.
    message : str
        What was found and what is allowed.
    remedy : str
        The smallest change that mends it.
    """

    rule: str
    layer: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.message} {self.remedy}"


@dataclass(eq=False)
class _Block:
    """What a path through the model has passed since the last activation."""

    neural: Any = None
    norms: int = 0
    pool: Any = None
    activation: Any = None
    finished: bool = False  # a trailing function or flatten was passed: nothing may follow


class Checker:
    """Walks through a model once and collects every broken rule.

    A block is a neural layer with at most one batch normalization, one pooling and one activation
    behind it.
    """

    def __init__(self, graph: Graph, input_is_sparse: bool) -> None:
        self.nodes = graph.nodes
        self.input_is_sparse = input_is_sparse
        self.found: list[Finding] = []
        self.padded_by: dict[str, tuple[str, str]] = {}  # by neural layer: padding, and whose
        self.followers: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for parent in node.inputs:
                self.followers[parent].append(node)
        self.is_quantized = any(isinstance(node.source, QUANTIZED) for node in self.nodes)
        self.first_neural = next((n for n in self.nodes if isinstance(n.source, NEURAL)), None)

    def run(self) -> list[Finding]:
        if self.first_neural is None:
            self.add(
                "structure",
                self.nodes[0],
                "the model has no convolution and no Dense layer.",
                "Add one.",
            )
        state: dict[Node, _Block] = {}
        for node in self.nodes:
            before = [state[parent] for parent in node.inputs]
            state[node] = self.step(node, before)
        for node in self.nodes:
            if not self.followers[node]:
                self.check_end(node, state[node])
            elif len(self.followers[node]) > 1:
                self.check_fork(node, state[node])
        return self.found

    def add(self, rule: str, node: Node, message: str, remedy: str) -> None:
        self.found.append(Finding(rule, node.source.name, message, remedy))

    def step(self, node: Node, before: list[_Block]) -> _Block:
        """Check one layer against what precedes it; returns what holds behind it."""
        layer = node.source
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            self.add(
                "data_format",
                node,
                f"data_format is {layer.data_format!r}, but only 'channels_last' is supported.",
                "Rebuild the model with channels last.",
            )
        if before and before[0].finished and not isinstance(layer, NEUTRAL):
            self.add(
                "end",
                node,
                f"it follows a function that may only end a model ({type(layer).__name__} comes "
                "after it).",
                "Move Softmax and other functions to the end, and use ReLU or a quantized "
                "activation inside.",
            )
        handlers: tuple[tuple[Any, Callable[[Node, list[_Block]], _Block]], ...] = (
            (layers.InputLayer, self.input),
            (layers.Rescaling, self.rescaling),
            (layers.Concatenate, self.concatenate),
            (ACTIVATIONS, self.activation),
            (layers.Activation, self.named_activation),
            (NEURAL, self.neural),
            (layers.BatchNormalization, self.norm),
            (POOLING, self.pooling),
            (layers.Flatten, self.flatten),
            (layers.Reshape, self.reshape),
            (FINAL, self.final),
            (layers.Dropout, lambda node, before: before[0]),
        )
        for kinds, handler in handlers:
            if isinstance(layer, kinds):
                return handler(node, before)
        self.add(
            "layer",
            node,
            f"{type(layer).__name__} layers cannot run on integers.",
            INSTEAD.get(type(layer).__name__, _KNOWN_LAYERS),
        )
        block = before[0] if before else _Block()
        # it may stand in for an activation: one finding for one cause
        return _Block(block.neural, block.norms, block.pool, block.activation or layer)

    def input(self, node: Node, before: list[_Block]) -> _Block:
        rank = len(node.shape)
        if rank not in (2, 4) or None in node.shape[1:]:
            self.add(
                "input",
                node,
                f"the input has shape {tuple(node.shape)}, but it must be (batch, height, "
                "width, "
                "channels) or (batch, features) of fixed sizes.",
                "Give keras.Input all sizes; flatten or drop other axes."
                if rank != 3 or None in node.shape[1:]
                else f"Give it a channel axis, keras.Input({(*node.shape[1:], 1)}), or flatten it.",
            )
        return _Block(activation=layers.InputLayer)

    def rescaling(self, node: Node, before: list[_Block]) -> _Block:
        if not isinstance(node.inputs[0].source, layers.InputLayer):
            self.add(
                "layer",
                node,
                "Rescaling is only possible as the first layer.",
                "Move it to the front.",
            )
        elif np.ndim(node.source.scale) or np.ndim(node.source.offset):
            self.add(
                "layer",
                node,
                "Rescaling has a scale or offset per channel, but all channels share one.",
                "Use one number for all channels.",
            )
        return before[0]

    def neural(self, node: Node, before: list[_Block]) -> _Block:
        layer, block = node.source, before[0]
        if block.activation is None and not self.ends_pair(node):
            self.add(
                "block",
                node,
                f"no activation lies between it and {block.neural.name!r}, the neural layer in "
                "front.",
                "Put a ReLU (float model) or a quantized activation between them.",
            )
        if isinstance(layer, layers.DepthwiseConv2D):
            self.depthwise(node)
        if node is self.first_neural and not self.input_is_sparse:
            channels = node.inputs[0].shape[-1]
            if not isinstance(layer, layers.Conv2D):
                self.add(
                    "first layer",
                    node,
                    f"the first neural layer is a {type(layer).__name__}, but images need a "
                    "Conv2D there.",
                    "Begin with a Conv2D, or convert with input_is_sparse=True if the input "
                    "consists "
                    "of events or small integers.",
                )
            elif channels not in (1, 3):
                self.add(
                    "first layer",
                    node,
                    f"the image has {channels} channels, but images have 1 or 3.",
                    "Convert with input_is_sparse=True for inputs that are no images.",
                )
        if isinstance(layer, layers.Dense):
            self.dense(node)
        self.arguments(node)
        # A pair becomes one layer, whose windows are those of the depthwise convolution.
        windows = node.inputs[0].source if self.ends_pair(node) else layer
        self.padded_by[layer.name] = getattr(windows, "padding", "valid"), windows.name
        # A fused activation is one finding; what follows is judged as if it were a layer.
        return _Block(neural=layer, activation=layer if _is_fused(layer) else None)

    def arguments(self, node: Node) -> None:
        layer = node.source
        for name, default in (("dilation_rate", 1), ("groups", 1), ("depth_multiplier", 1)):
            value = getattr(layer, name, None)
            if value is not None and any(v != default for v in np.ravel(value)):
                self.add(
                    "argument",
                    node,
                    f"{name} is {value}, but only {default} is possible.",
                    f"Use {name}={default}.",
                )
        if _is_fused(layer):
            name = getattr(layer.activation, "__name__", "")
            remedy = "Use activation=None and a layer of its own, such as ReLU."
            if name not in RELU_NAMES:
                remedy = (
                    "Use activation=None and a ReLU layer of its own, and train again: no other "
                    "function runs inside a model."
                    if self.leads_on(node)
                    else "Use activation=None, or a layer of its own at the end, which conversion "
                    "drops."
                )
            if name in ("softmax", "sigmoid") and not self.leads_on(node):
                remedy += " Without it, the loss takes from_logits=True."
            self.add(
                "argument",
                node,
                f"the activation {name or layer.activation!r} is fused into the layer.",
                remedy,
            )

    def leads_on(self, node: Node) -> bool:
        """Whether a neural layer comes later."""
        later, seen = list(self.followers[node]), set()
        while later:
            follower = later.pop()
            if isinstance(follower.source, NEURAL):
                return True
            if follower not in seen:
                seen.add(follower)
                later += self.followers[follower]
        return False

    def depthwise(self, node: Node) -> None:
        after = [n.source for n in self.followers[node]]
        pointwise = after[0] if len(after) == 1 else None
        if not (
            isinstance(pointwise, layers.Conv2D)
            and tuple(pointwise.kernel_size) == (1, 1)
            and tuple(pointwise.strides) == (1, 1)
        ):
            self.add(
                "depthwise",
                node,
                "a depthwise convolution must be followed directly by a 1x1 Conv2D of stride 1.",
                "Use SeparableConv2D, or put the 1x1 Conv2D directly behind.",
            )
        if node.source.use_bias:
            self.add(
                "depthwise",
                node,
                "a depthwise convolution that is merged with its pointwise one cannot have a bias.",
                "Use use_bias=False.",
            )

    def ends_pair(self, node: Node) -> bool:
        return isinstance(node.source, layers.Conv2D) and isinstance(
            node.inputs[0].source, layers.DepthwiseConv2D
        )

    def dense(self, node: Node) -> None:
        shape = tuple(node.inputs[0].shape[1:])
        if len(shape) > 1 and shape[:-1] != (1,) * (len(shape) - 1):
            self.add(
                "dense",
                node,
                f"its input has shape {shape}, but a Dense layer takes (N,) or (1, 1, N).",
                "Put a Flatten in front, or use a 1x1 Conv2D.",
            )

    def norm(self, node: Node, before: list[_Block]) -> _Block:
        layer, block = node.source, before[0]
        if block.neural is None or block.activation is not None:
            self.add(
                "batch norm",
                node,
                "batch normalization must follow a neural layer or its pooling, in front of the "
                "activation.",
                "Move it directly behind the convolution or Dense layer.",
            )
            return block
        if block.norms:
            self.add(
                "batch norm", node, "its block has a batch normalization already.", "Remove one."
            )
        axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
        rank = len(node.shape)
        if axis % rank != rank - 1:
            self.add(
                "batch norm",
                node,
                f"its axis is {axis}, but it must be the last one.",
                "Use axis=-1.",
            )
        elif layer.scale:
            gamma = node.weights[0]
            if (gamma == 0).any():
                self.add(
                    "batch norm",
                    node,
                    f"{int((gamma == 0).sum())} of {gamma.size} gammas are 0, so these filters "
                    "carry nothing.",
                    "Prune the filters, or train with add_gamma_constraint.",
                )
            elif isinstance(block.pool, layers.MaxPooling2D) and (gamma < 0).any():
                self.add(
                    "batch norm",
                    node,
                    f"{int((gamma < 0).sum())} of {gamma.size} gammas are negative behind a "
                    "MaxPooling2D, "
                    "which does not commute with a falling function.",
                    "Put the batch normalization in front of the pooling, or train with "
                    "add_gamma_constraint.",
                )
        return _Block(block.neural, block.norms + 1, block.pool)

    def pooling(self, node: Node, before: list[_Block]) -> _Block:
        layer, block = node.source, before[0]
        if not isinstance(block.neural, (*CONVOLUTIONS, layers.DepthwiseConv2D)):
            self.add(
                "pooling",
                node,
                "pooling must belong to a convolution in front of it.",
                "Move it behind a convolution.",
            )
            return block
        if block.pool is not None:
            self.add(
                "pooling",
                node,
                "its block has a pooling already.",
                "Remove one, or put a convolution between.",
            )
        if isinstance(layer, layers.MaxPooling2D):
            padding, name = self.padded_by[block.neural.name]
            if layer.padding != padding and not _pads_nothing(node):
                self.add(
                    "pooling",
                    node,
                    f"its padding is {layer.padding!r}, but that of its convolution {name!r} is "
                    f"{padding!r}, and over a map of {tuple(node.inputs[0].shape[1:3])} the two "
                    f"differ.",
                    f"Use padding={padding!r} for both.",
                )
        elif block.activation is not None:
            self.add(
                "pooling",
                node,
                "global average pooling must come before the activation.",
                "Swap the two: convolution, GlobalAveragePooling2D, activation.",
            )
        return _Block(block.neural, block.norms, layer, block.activation)

    def activation(self, node: Node, before: list[_Block]) -> _Block:
        layer, block = node.source, before[0]
        if self.is_quantized and not isinstance(layer, QuantizedActivation):
            self.add(
                "activation",
                node,
                "a plain ReLU stands in a quantized model.",
                "Quantize it: quantize_layer(model, name, bitwidth), or ActivationDiscreteRelu.",
            )
        if block.neural is None:
            self.add("block", node, "an activation must follow a neural layer.", "Remove it.")
        elif _is_activation(block.activation):
            self.add(
                "block",
                node,
                f"its block has an activation already, {block.activation.name!r}.",
                "Remove one of the two.",
            )
        return _Block(block.neural, block.norms, block.pool, layer)

    def named_activation(self, node: Node, before: list[_Block]) -> _Block:
        if node.config["activation"] in RELU_NAMES:
            return self.activation(node, before)
        return self.final(node, before)

    def concatenate(self, node: Node, before: list[_Block]) -> _Block:
        layer = node.source
        rank = len(node.shape)
        if layer.axis % rank != rank - 1:
            self.add(
                "concatenate",
                node,
                f"its axis is {layer.axis}, but it must be the last one.",
                "Use axis=-1.",
            )
        ends = [block.activation for block in before]
        if not all(_is_activation(end) or isinstance(end, NEURAL) for end in ends):
            self.add(
                "concatenate",
                node,
                "each of its inputs must end with an activation.",
                "Put the activations in front of the Concatenate.",
            )
        elif self.is_quantized:
            quantized = [e for e in ends if isinstance(e, QuantizedActivation)]
            bits = {e.name: e.bitwidth for e in quantized}
            steps = {e.name: float(e.step_height) for e in quantized}
            if len(set(bits.values())) > 1:
                self.add(
                    "concatenate",
                    node,
                    f"the activations in front of it have different bits: {bits}.",
                    "Give them the same bits with quantize_layer(model, name, bitwidth).",
                )
            elif len(set(steps.values())) > 1:
                self.add(
                    "concatenate",
                    node,
                    f"the activations in front of it have different steps: {steps}.",
                    "Call model = equalize_steps(model), before fine-tuning or after it; learned "
                    "steps drift apart.",
                )
        return _Block(activation=layer)

    def flatten(self, node: Node, before: list[_Block]) -> _Block:
        after = list(self.followers[node])
        while len(after) == 1 and isinstance(after[0].source, layers.Dropout):
            after = self.followers[after[0]]
        if not all(isinstance(n.source, (layers.Dense, *FINAL)) for n in after):
            self.add(
                "flatten",
                node,
                "Flatten is only possible directly in front of a Dense layer, or at the very end.",
                "Move it there.",
            )
        return before[0]

    def reshape(self, node: Node, before: list[_Block]) -> _Block:
        source, target = (tuple(s[1:]) for s in (node.inputs[0].shape, node.shape))
        renames = source[-1:] == target[-1:] and all(n == 1 for n in (*source[:-1], *target[:-1]))
        if not renames and source != target:
            self.add(
                "reshape",
                node,
                f"it turns {source} into {target}, but only (N,) and (1, 1, N) may be exchanged.",
                "Remove it, or use Flatten in front of a Dense layer.",
            )
        return before[0]

    def final(self, node: Node, before: list[_Block]) -> _Block:
        block = before[0]
        inside = self.leads_on(node)
        if inside:
            name = getattr(
                getattr(node.source, "activation", None), "__name__", type(node.source).__name__
            )
            self.add(
                "activation",
                node,
                f"the function {name!r} stands inside the model, but only ReLU and quantized "
                "activations can run there.",
                "Use a ReLU layer.",
            )
        return _Block(
            block.neural,
            block.norms,
            block.pool,
            block.activation or node.source,
            finished=not inside,
        )

    def check_end(self, node: Node, block: _Block) -> None:
        if (
            block.neural is None
            and self.first_neural is not None
            and not isinstance(block.activation, layers.Concatenate)
        ):
            self.add(
                "structure",
                node,
                "the model does not end with a neural block.",
                "Remove what follows.",
            )

    def check_fork(self, node: Node, block: _Block) -> None:
        """Several layers may read the end of a block, but nothing inside it."""
        readers = []
        for follower in self.followers[node]:
            while isinstance(follower.source, layers.Dropout) and self.followers[follower]:
                follower = self.followers[follower][0]
            readers.append(follower)
        inside = [r for r in readers if isinstance(r.source, (*POOLING, layers.BatchNormalization))]
        inside += [r for r in readers if _is_activation(r.source)]
        if block.neural is None or not (inside or block.activation is None):
            return
        names = " and ".join(repr(reader.name) for reader in readers)
        self.add(
            "fork",
            node,
            f"it feeds {names}, but branches may only leave the end of a block, behind its "
            f"pooling and activation.",
            f"Give each branch a convolution of its own in place of {node.name!r}.",
        )


def _pads_nothing(node: Node) -> bool:
    """Whether a pooling has the same windows with both paddings, since they just fill the map."""
    layer, map_hw = node.source, node.inputs[0].shape[1:3]
    for length, size, stride in zip(map_hw, layer.pool_size, layer.strides, strict=True):
        if length is None or length < size:
            return False
        valid, same = (window(length, size, stride, ConvolutionMode(p)) for p in ("valid", "same"))
        if valid != same:
            return False
    return True


def _is_fused(layer: Any) -> bool:
    """Whether a neural layer has an activation in it."""
    return getattr(layer, "activation", None) not in (None, keras.activations.linear)


def _is_activation(layer: Any) -> bool:
    return isinstance(layer, ACTIVATIONS) or (
        isinstance(layer, layers.Activation)
        and getattr(layer.activation, "__name__", "") in RELU_NAMES
    )
