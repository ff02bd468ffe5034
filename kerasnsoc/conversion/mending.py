"""`fix`: rewrites that keep a float model's function and make it fit for conversion."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.geometry import window
from kerasnsoc.artifact.schema import ConvolutionMode
from kerasnsoc.conversion.check import survey
from kerasnsoc.conversion.rules import (
    ACTIVATIONS,
    NEUTRAL,
    QUANTIZED,
    RELU_NAMES,
    Finding,
)
from kerasnsoc.conversion.time_blocks import is_over_time
from kerasnsoc.quantization.graph import Graph, Node, Refusal, read
from kerasnsoc.quantization.policy import check_dtype_policy
from kerasnsoc.quantization.transforms import affine

layers = keras.layers

_IDENTITIES = (
    *("ActivityRegularization", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Identity"),
    *("RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation"),
    *("RandomZoom", "SpatialDropout2D"),
)
"""Layers of Keras that pass their input on unless they train."""

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Relu": layers.ReLU,
    "ReLU": layers.ReLU,
    "Relu6": lambda **options: layers.ReLU(max_value=6.0, **options),
    "Softmax": layers.Softmax,
    "Sigmoid": lambda **options: layers.Activation("sigmoid", **options),
}
"""Operations of keras.ops and keras.activations, and the layer that does the same."""

_DEFAULTS = {"ReLU": {"negative_slope": 0.0, "max_value": None, "threshold": 0.0}}
_DEFAULTS["Softmax"] = {"axis": -1}


_AFFINE = (
    *(layers.AveragePooling2D, layers.Dropout, layers.Flatten),
    *(layers.GlobalAveragePooling2D, layers.MaxPooling2D),
)
"""Layers that commute with an increasing affine function of each feature."""


@dataclass(frozen=True)
class Change:
    """One rewrite.

    Attributes
    ----------
    layer : str
        The layer as the source model calls it.
    what : str
        What was done, and what else it means.
    """

    layer: str
    what: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.what}"


@dataclass(frozen=True)
class FixedModel:
    """Result of `fix`.

    Attributes
    ----------
    model : keras.Model
        A new model, not compiled.
    changes : tuple of Change
    remaining : tuple of Finding
        What is left and needs another architecture or training; empty if the model is ready to be
        quantized.
    """

    model: keras.Model
    changes: tuple[Change, ...]
    remaining: tuple[Finding, ...]


def fix(model: keras.Model, *, input_is_sparse: bool = False) -> FixedModel:
    """Rewrite what keeps a model from being converted, as far as its function allows.

    The new model computes the same function in inference, up to the rounding of float sums that
    are added in another order. What needs training, such as another activation, stays as it is.

    - Fused activations become layers of their own; operations such as ``keras.ops.relu`` layers.
    - Layers that act in training only are removed, and layers with another policy compute in
      float32.
    - The layers of nested models become layers of the model, and each call of a shared layer a
      layer of its own.
    - ``ZeroPadding2D`` is merged into the convolution behind it if that makes ``padding="same"``,
      and a ``Dense`` on a map becomes a 1x1 convolution.
    - A ``BatchNormalization`` behind an activation is folded into the convolution or ``Dense`` that
      follows; not if that pads its maps.
    - An ``AveragePooling2D`` over the whole map becomes a ``GlobalAveragePooling2D``. An average
      pooling behind an activation becomes a ``SeparableConv2D`` of equal weights with a ``ReLU``.
    - A ``DepthwiseConv2D`` gives its bias to the 1x1 convolution behind it; without one behind it,
      it becomes a ``SeparableConv2D`` that leaves the features apart.

    Parameters
    ----------
    model : keras.Model
        Never modified.
    input_is_sparse : bool
        As for `convert`.

    Returns
    -------
    FixedModel

    Raises
    ------
    TypeError
        If it is no Keras model.
    RuntimeError
        If the model cannot be built anew: it is subclassed, has several inputs or outputs, or
        contains operations that no layer stands for; or it runs over time.

    See Also
    --------
    advise : what is wrong, without changing it.
    """
    if is_over_time(model):
        raise RuntimeError(
            f"the model {model.name!r} runs over time; only models of one pass are rewritten. "
            "What advise says of it has to be changed by hand."
        )
    new, changes, blocking = _rewritten(model)
    if new is None:
        lines = "\n".join(f"- {r.message} {r.remedy}".rstrip() for r in blocking)
        raise RuntimeError(f"the model {model.name!r} cannot be rewritten:\n{lines}")
    if any(isinstance(layer, keras.Model) for layer in model.layers):
        # nested models have sizes of their own; once unpacked, all are known
        again, more, _ = _rewritten(new)
        if again is not None and more:
            new, changes = again, changes + more
    return FixedModel(new, tuple(changes), tuple(survey(new, input_is_sparse)[1]))


def _rewritten(model: keras.Model) -> tuple[keras.Model | None, list[Change], list[Refusal]]:
    """The new model, if it can be built; what was done; what keeps it from being built."""
    refusals: list[Refusal] = []
    graph = read(model, refuse=refusals.append)
    blocking = [r for r in refusals if r.kind == "structure"]
    if not graph.nodes:
        return None, [], blocking
    work = _Mender(graph)
    for refusal in refusals:
        if refusal.kind == "shared":
            work.note(refusal.name, "each call has a layer of its own, with the same weights")
        elif refusal.kind == "nested":
            work.note(refusal.name, "its layers became layers of the model")
    work.run()
    left = {n.source.name for n in graph.nodes if not n.is_a(layers.Layer)}
    blocking += [r for r in refusals if r.kind == "operation" and r.name in left]
    blocking += [r for node in graph.nodes if (r := _unmakeable(node)) is not None]
    return None if blocking else graph.build(), work.changes, blocking


def _unmakeable(node: Node) -> Refusal | None:
    """Why a layer of the user's own cannot be made anew, if so."""
    if _is_of_keras(node.cls) or not node.is_a(layers.Layer):
        return None
    try:
        node.cls.from_config(node.config)
    except (NotImplementedError, TypeError, ValueError) as error:
        return Refusal(
            "structure",
            node.name,
            f"Layer {node.name!r} ({node.cls.__name__}) cannot be made anew from what its "
            f"get_config() returns ({str(error).splitlines()[0]}).",
            "List all arguments of its class there.",
        )
    return None


class _Mender:
    """Applies one rewrite after the other to a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.changes: list[Change] = []

    def run(self) -> None:
        for rewrite in (
            self.operations,
            self.identities,
            self.policies,
            self.fused_activations,
            self.zero_paddings,
            self.dense_on_maps,
        ):
            for node in list(self.graph.nodes):
                rewrite(node)
        if any(node.is_a(*QUANTIZED) for node in self.graph.nodes):
            return  # a new float layer among quantized ones would not be quantized
        for rewrite in (self.norms, self.depthwise, self.average_poolings):
            for node in list(self.graph.nodes):
                rewrite(node)

    def note(self, layer: str, what: str) -> None:
        self.changes.append(Change(layer, what))

    # Rewrites; each looks at one node.

    def operations(self, node: Node) -> None:
        make = _OPERATIONS.get(node.cls.__name__)
        if node.is_a(layers.Layer) or make is None:
            return
        for argument, default in _DEFAULTS.get(node.cls.__name__, {}).items():
            if getattr(node.source, argument, default) != default:
                return
        layer = make(name=node.name)
        self.note(node.name, f"the operation became a {type(layer).__name__} layer")
        node.cls, node.config = type(layer), layer.get_config()

    def identities(self, node: Node) -> None:
        is_linear = node.cls is layers.Activation and node.config["activation"] == "linear"
        is_identity = node.cls.__name__ in _IDENTITIES and _is_of_keras(node.cls)
        if not is_linear and not (is_identity and not _acts_always(node)):
            return
        self.graph.remove(node)
        self.note(node.name, "removed: it passes its input on in inference")

    def policies(self, node: Node) -> None:
        if not isinstance(node.source, layers.Layer):
            return
        try:
            check_dtype_policy(node.source)
        except ValueError:
            policy = node.source.dtype_policy
            if policy.quantization_mode is not None or isinstance(node.source, layers.InputLayer):
                return
            node.config = {**node.config, "dtype": "float32"}
            node.weights = [
                array if array.dtype.kind in "iub" else array.astype(np.float32)
                for array in node.weights
            ]
            self.note(node.source.name, f"computes in float32 instead of {policy.name!r}")

    def fused_activations(self, node: Node) -> None:
        function = node.config.get("activation", "linear")
        if node.cls not in (
            layers.Conv2D,
            layers.SeparableConv2D,
            layers.DepthwiseConv2D,
            layers.Dense,
        ) or (function == "linear" or not isinstance(function, str)):
            return
        what = f"the fused activation {function!r} became a layer of its own"
        if function in RELU_NAMES:
            limit = 6.0 if function == "relu6" else None
            new = self.behind(node, layers.ReLU, f"{node.name}_{function}", max_value=limit)
        elif not self.leads_on(node):
            new = self.behind(
                node, layers.Activation, f"{node.name}_{function}", activation=function
            )
            what += " at the end, which conversion drops"
            if function == "softmax":
                what += ": the class with the largest output stays the same"
            elif function == "sigmoid":
                what += ": outputs above 0.5 are potentials above 0"
        else:
            return
        node.config = {**node.config, "activation": "linear"}
        self.note(node.name, f"{what}, {new.name!r}")

    def zero_paddings(self, node: Node) -> None:
        follower = self.graph.follower(node)
        if (
            node.cls is not layers.ZeroPadding2D
            or follower is None
            or follower.cls not in (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
            or follower.config["padding"] != "valid"
            or follower.config["dilation_rate"] not in (1, (1, 1), [1, 1])
        ):
            return
        map_hw = _map_hw(node.inputs[0])
        if map_hw is None:
            return
        sides = zip(
            map_hw,
            follower.config["kernel_size"],
            follower.config["strides"],
            node.config["padding"],
            strict=True,
        )
        for length, size, stride, (before, after) in sides:
            same = window(length, size, stride, ConvolutionMode.Same)
            padded = window(length + before + after, size, stride, ConvolutionMode.Valid)
            # the cells behind the last window are never looked at
            if (same.lead, same.output) != (before, padded.output):
                return
        follower.config = {**follower.config, "padding": "same"}
        self.graph.remove(node)
        self.note(node.name, f"merged into {follower.name!r}, which has padding='same' now")

    def dense_on_maps(self, node: Node) -> None:
        shape = node.inputs[0].shape if node.inputs else ()
        if node.cls is not layers.Dense or len(shape) != 4 or shape[1:3] == (1, 1):
            return
        if node.config.get("lora_rank") or node.config.get("quantization_config"):
            return
        config = node.config
        kept = ("name", "trainable", "dtype", "activation", "use_bias")
        convolution = layers.Conv2D(
            config["units"],
            1,
            **{key: config[key] for key in kept},
            **{key: value for key, value in config.items() if key.startswith(("kernel_", "bias_"))},
        )
        node.cls, node.config = layers.Conv2D, convolution.get_config()
        node.weights = [node.weights[0][np.newaxis, np.newaxis], *node.weights[1:]]
        self.note(node.name, "the Dense layer on a map became a 1x1 Conv2D")

    def norms(self, node: Node) -> None:
        """Fold a batch normalization behind an activation into the neural layer that follows."""
        if (
            node.cls is not layers.BatchNormalization
            or node.training
            or node.config["axis"] not in (-1, node.rank - 1)
            or not self.is_positive(node.inputs[0])
        ):
            return
        try:
            scale_c, shift_c = affine(node)
        except RuntimeError:
            return
        target = self.graph.follower(node)
        while target is not None and target.is_a(*_AFFINE):
            is_maximum = target.is_a(layers.MaxPooling2D)
            if is_maximum and (scale_c < 0).any():
                return  # a falling function does not commute with the maximum
            if target.is_a(layers.AveragePooling2D) and target.config["padding"] != "valid":
                return
            target = self.graph.follower(target)
        if target is None or target.cls not in (layers.Dense, layers.Conv2D):
            return
        if target.cls is layers.Conv2D and (
            # padding is 0, which the shift would have made another number
            (target.config["padding"] != "valid" and shift_c.any()) or target.config["groups"] != 1
        ):
            return
        kernel = target.weights[0].astype(np.float64)
        repeats = kernel.shape[-2] // len(scale_c)  # a Flatten lies between
        axes = tuple(range(kernel.ndim - 1))
        shift = (kernel * np.tile(shift_c, repeats)[:, np.newaxis]).sum(axes)
        own = target.weights[1] if target.config["use_bias"] else 0.0
        scaled = kernel * np.tile(scale_c, repeats)[:, np.newaxis]
        target.weights = [scaled.astype(np.float32), (own + shift).astype(np.float32)]
        target.config = {**target.config, "use_bias": True}
        self.graph.remove(node)
        self.note(node.name, f"folded into {target.name!r} behind it")

    def depthwise(self, node: Node) -> None:
        if (
            node.cls is not layers.DepthwiseConv2D
            or node.config["depth_multiplier"] != 1
            or node.config["activation"] != "linear"
        ):
            return
        follower = self.graph.follower(node)
        if (
            follower is not None
            and follower.cls is layers.Conv2D
            and tuple(follower.config["kernel_size"]) == (1, 1)
            and tuple(follower.config["strides"]) == (1, 1)
            and follower.config["groups"] == 1
        ):
            if node.config["use_bias"]:
                self.pass_bias(node, follower)
            return
        kernel_hwc1 = node.weights[0]
        bias = node.weights[1:]
        geometry = {
            k: node.config[k] for k in ("strides", "padding", "data_format", "dilation_rate")
        }
        self.become_separable(node, kernel_hwc1, bias, **geometry)
        self.note(node.name, "became a SeparableConv2D that leaves the features apart")

    def pass_bias(self, node: Node, pointwise: Node) -> None:
        kernel, bias = node.weights
        shift = pointwise.weights[0][0, 0].T.astype(np.float64) @ bias.astype(np.float64)
        own = pointwise.weights[1] if pointwise.config["use_bias"] else 0.0
        total = (own + shift).astype(np.float32)
        pointwise.weights = [pointwise.weights[0], total]
        node.weights = [kernel]
        for changed, has_bias in ((node, False), (pointwise, True)):
            changed.config = {**changed.config, "use_bias": has_bias}
        self.note(node.name, f"its bias went into {pointwise.name!r}")

    def average_poolings(self, node: Node) -> None:
        is_global = node.cls is layers.GlobalAveragePooling2D
        if not is_global and node.cls is not layers.AveragePooling2D:
            return
        map_hw = _map_hw(node.inputs[0])
        if map_hw is None or node.config["data_format"] != "channels_last":
            return
        size = map_hw if is_global else tuple(node.config["pool_size"])
        follows_activation, channels = self.is_positive(node.inputs[0]), node.shape[-1]
        if not follows_activation:
            if not is_global and size == map_hw and self.covers(node):
                config = {k: node.config[k] for k in ("name", "trainable", "dtype", "data_format")}
                new = layers.GlobalAveragePooling2D(keepdims=True, **config)
                node.cls, node.config = layers.GlobalAveragePooling2D, new.get_config()
                self.note(node.name, "covers the whole map: it became a GlobalAveragePooling2D")
            return
        if not is_global and not self.covers(node) and node.config["padding"] != "valid":
            return  # at the border an average over padding counts fewer values
        keeps_rank = not is_global or node.config["keepdims"]
        strides = (1, 1) if size == map_hw else tuple(node.config["strides"])
        if strides[0] != strides[1] and size != map_hw:
            return
        share = np.full((*size, channels, 1), 1.0 / (size[0] * size[1]), np.float32)
        name = node.name
        self.become_separable(node, share, [], strides=strides, padding="valid")
        end = node
        follower = self.graph.follower(node)
        if follower is None or not _is_relu(follower):
            end = self.behind(node, layers.ReLU, f"{name}_relu")
        if not keeps_rank:
            flat = self.behind(end, layers.Flatten, f"{name}_flatten")
            flat.rank = 2
        self.note(
            name,
            "the average behind an activation became a SeparableConv2D of equal weights with a "
            "ReLU: calibrate it, since its activation is quantized once more",
        )

    # Helpers.

    def behind(self, node: Node, cls: Any, name: str, **arguments: Any) -> Node:
        """Put a new layer between a node and all that read it."""
        taken = {n.name for n in self.graph.nodes}
        unique, count = name, 0
        while unique in taken:
            count += 1
            unique = f"{name}_{count}"
        layer = cls(name=unique, dtype=node.config["dtype"], **arguments)
        new = Node(cls, layer.get_config(), [], [], node.rank, layer, shape=node.shape)
        for reader in self.graph.nodes:
            reader.inputs = [new if i is node else i for i in reader.inputs]
        new.inputs = [node]
        if self.graph.output is node:
            self.graph.output = new
        self.graph.nodes.insert(self.graph.nodes.index(node) + 1, new)
        return new

    def become_separable(
        self,
        node: Node,
        kernel_hwc1: npt.NDArray[Any],
        bias: list[npt.NDArray[Any]],
        **geometry: Any,
    ) -> None:
        channels = kernel_hwc1.shape[2]
        layer = layers.SeparableConv2D(
            channels,
            kernel_hwc1.shape[:2],
            name=node.name,
            trainable=node.config["trainable"],
            dtype=node.config["dtype"],
            use_bias=bool(bias),
            **geometry,
        )
        apart = np.eye(channels, dtype=np.float32)[np.newaxis, np.newaxis]
        node.cls, node.config = layers.SeparableConv2D, layer.get_config()
        node.weights = [kernel_hwc1, apart, *bias]
        node.rank = 4

    def covers(self, node: Node) -> bool:
        """Whether a pooling has one window, which is the map."""
        map_hw = node.inputs[0].shape[1:3]
        return tuple(node.config["pool_size"]) == map_hw and node.shape[1:3] == (1, 1)

    def is_positive(self, node: Node) -> bool:
        """Whether only poolings and neutral layers lie between a node and a ReLU in front."""
        while node.is_a(layers.MaxPooling2D, layers.Dropout):
            node = node.inputs[0]
        return _is_relu(node)

    def leads_on(self, node: Node) -> bool:
        """Whether anything but neutral layers comes later."""
        while (follower := self.graph.follower(node)) is not None:
            if not follower.is_a(*NEUTRAL):
                return True
            node = follower
        return node is not self.graph.output


def _map_hw(node: Node) -> tuple[int, int] | None:
    """Height and width of what a node gives, if they are known."""
    _, height, width, _ = node.shape
    return None if height is None or width is None else (height, width)


def _is_relu(node: Node) -> bool:
    if node.cls is layers.ReLU:
        return not node.config["negative_slope"] and not node.config["threshold"]
    named = node.cls is layers.Activation and node.config["activation"] in RELU_NAMES
    return named or node.is_a(*ACTIVATIONS)


def _acts_always(node: Node) -> bool:
    """Whether a layer was called with training=True, other than by its own default."""
    training = inspect.signature(node.cls.call).parameters.get("training")
    return bool(node.training) and (training is None or training.default is not True)


def _is_of_keras(cls: type) -> bool:
    return cls.__module__.startswith("keras.")
