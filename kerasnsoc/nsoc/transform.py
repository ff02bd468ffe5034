"""From a model to core layers: fold, consolidate, wire, number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.core_graph import (
    CoreGraph,
    CoreLayer,
    Destination,
    DvsLayer,
    Shape,
    Source,
    neuron_map,
)
from kerasnsoc.nsoc.errors import (
    AsymmetricPaddingError,
    ConflictingScaleError,
    InputConfigurationError,
    InvalidGraphError,
    MissingSpikingLayerError,
    UnexpectedLayerError,
    UnsupportedLayerError,
)
from kerasnsoc.nsoc.operations import Operation, OperationGraph
from kerasnsoc.nsoc.sensor import cropped, flipped, pooled, sensor_layer

RescalingFunction: TypeAlias = Callable[[Sequence[float]], float]


def mean_half(scales: Sequence[float]) -> float:
    """Half the mean, to two digits."""
    return round(float(np.mean(scales)) * 0.5, 2)


def harmonic_half(scales: Sequence[float]) -> float:
    """Half the harmonic mean."""
    return len(scales) / sum(1 / scale for scale in scales) * 0.5


RESCALING: Mapping[str, RescalingFunction] = {
    "mean_half": mean_half,
    "harmonic_half": harmonic_half,
}


@dataclass(frozen=True, slots=True)
class TransformOptions:
    """How a model becomes core layers.

    Attributes
    ----------
    spikify : bool
        Whether each ReLU becomes integrate-and-fire neurons of threshold 1.
    bn_epsilon : "layer" or float
        The epsilon of batch normalization; ``"layer"`` takes the layer's own.
    weight_rescaling_fn : callable, "mean_half", "harmonic_half" or None
        The one scale for a core whose sources are averaged differently; None refuses them.
    expand_groups : bool
        Whether grouped and depthwise convolutions become full ones, padded with zeros.
    square_dense : {"pad", "keep"}
        What becomes of a dense layer on a map that is not square: a square kernel with zeros at its
        border, or a kernel with the sides of the map, which not every chip takes.
    poolings : tuple of int
        Sizes that a global average may become as pooling; others go into the next weights.
    """

    spikify: bool = False
    bn_epsilon: Literal["layer"] | float = "layer"
    weight_rescaling_fn: RescalingFunction | str | None = None
    expand_groups: bool = False
    square_dense: Literal["pad", "keep"] = "pad"
    poolings: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        epsilon = self.bn_epsilon
        is_number = isinstance(epsilon, int | float) and not isinstance(epsilon, bool)
        if epsilon != "layer" and not (is_number and 0 <= epsilon < np.inf):
            raise ValueError(
                f"bn_epsilon is {epsilon!r}, but it must be 'layer' or a number of at least 0"
            )
        if self.square_dense not in ("pad", "keep"):
            raise ValueError(
                f"square_dense is {self.square_dense!r}, but it must be 'pad' or 'keep'"
            )
        function = self.weight_rescaling_fn
        if isinstance(function, str) and function not in RESCALING:
            raise ValueError(
                f"weight_rescaling_fn is {function!r}, but it must be callable or one of "
                f"{tuple(RESCALING)}"
            )

    def rescale(self, scales: Sequence[float], name: str) -> float:
        """The one scale of a core's sources."""
        if len(set(scales)) <= 1:
            return scales[0] if scales else 1.0
        function = self.weight_rescaling_fn
        if function is None:
            raise ConflictingScaleError(
                f"{name}: its sources are averaged by {sorted(set(scales))}, but one core has one "
                "scale. Pool them alike, use SumPooling2D, or pass weight_rescaling_fn='mean_half' "
                "(or a function of the scales), which is an approximation."
            )
        return float((RESCALING[function] if isinstance(function, str) else function)(scales))


@dataclass(frozen=True, slots=True)
class _Tap:
    """One source of a stream of events."""

    source: int | Literal["input"]
    pooling: tuple[int, int] = (1, 1)
    scale: float = 1.0
    shift: int = 0


@dataclass(frozen=True, slots=True)
class _Stream:
    """Events between two layers.

    `parts` are the shapes that were flattened, in their order; `averaged` says that the mean over
    the whole map is still due; `padding` waits for its convolution; `dvs` is what happened to the
    input so far.
    """

    taps: tuple[_Tap, ...]
    shape: Shape
    parts: tuple[Shape, ...] | None = None
    averaged: bool = False
    padding: tuple[int, int] | None = None
    dvs: DvsLayer | None = None

    @property
    def is_input(self) -> bool:
        return len(self.taps) == 1 and self.taps[0].source == "input"


@dataclass(slots=True, eq=False)
class _Draft:
    """A core layer in the making."""

    operation: Operation
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32] | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    in_shape: Shape
    taps: tuple[_Tap, ...]
    dvs: DvsLayer | None
    rescale: float = 1.0
    neuron: Operation | None = None
    targets: list[tuple[int | None, int, _Tap]] = field(default_factory=list)

    @property
    def neuron_shape(self) -> Shape:
        features, _, *kernel = self.weights.shape
        height, width = (
            neuron_map(n, k, s, p)
            for n, k, s, p in zip(self.in_shape[1:], kernel, self.stride, self.padding, strict=True)
        )
        return features, height, width


def transform(
    model: OperationGraph,
    input_shape: Shape | None = None,
    dvs_input: bool = False,
    options: TransformOptions | None = None,
) -> CoreGraph:
    """Turn a model's operations into core layers.

    Batch normalization is folded into the weights before it, average pooling into those behind it;
    dense layers become convolutions; pooling, cropping and mirroring before the first weights
    become the sensor layer.

    Parameters
    ----------
    model : OperationGraph
    input_shape : tuple of int, (C, H, W), optional
        Must agree with the model's own where it has one.
    dvs_input : bool
        Whether the sensor itself sends events; makes a sensor layer where there is none.
    options : TransformOptions, optional

    Returns
    -------
    CoreGraph
        With float weights.

    Raises
    ------
    NSoCError
        Of the class that `kerasnsoc.nsoc.errors` lists for the obstacle; the message names the
        layer, what was found, what is allowed and how to mend it.
    """
    return _Transformation(model, input_shape, dvs_input, options or TransformOptions()).run()


class _Transformation:
    def __init__(
        self,
        model: OperationGraph,
        input_shape: Shape | None,
        dvs_input: bool,
        options: TransformOptions,
    ) -> None:
        self.model = model
        self.options = options
        self.dvs_input = dvs_input
        self.input_shape = self._resolve_input(input_shape)
        self.drafts: list[_Draft] = []
        self.consumers = [0] * len(model.operations)
        for operation in model.operations:
            for i in operation.inputs:
                self.consumers[i] += 1
        for i in model.outputs:
            self.consumers[i] += 1

    def _resolve_input(self, given: Shape | None) -> Shape:
        inputs = [op for op in self.model.operations if op.kind == "input"]
        if len(inputs) != 1:
            raise InvalidGraphError(
                f"the model has {len(inputs)} inputs, but a chip has one input port. Send "
                "everything through one input, such as polarities as channels."
            )
        own: Shape | None = inputs[0].arguments["shape"]
        if given is not None:
            shape = tuple(given) if isinstance(given, Sequence) else ()
            if len(shape) != 3 or not all(
                isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1
                for n in shape
            ):
                raise InputConfigurationError(
                    f"input_shape is {given!r}, but it must be three positive integers: "
                    "(features, height, width)"
                )
            given = (int(shape[0]), int(shape[1]), int(shape[2]))
        if own is None and given is None:
            raise InputConfigurationError(
                "the input shape is not known: the model has none. Pass "
                "input_shape=(features, height, width), or begin the model with "
                "keras.Input((height, width, channels))."
            )
        if own is not None and given is not None and own != given:
            raise InputConfigurationError(
                f"input_shape is {given} (features, height, width), but the model takes {own}. "
                "Leave out input_shape, or give the same."
            )
        shape_chw = own if own is not None else given
        assert shape_chw is not None
        return shape_chw

    def run(self) -> CoreGraph:
        streams: list[_Stream | _Draft] = []
        for i, operation in enumerate(self.model.operations):
            inputs = [streams[k] for k in operation.inputs]
            streams.append(self._apply(operation, inputs, i))
        outputs = [(self.model.operations[i], streams[i]) for i in self.model.outputs]
        for operation, stream in outputs:
            self._leave(operation, stream)
        if not self.drafts:
            raise UnexpectedLayerError(
                "a weight layer (Conv2D or Dense)", "the end of the model", "It has no weights."
            )
        return self._assemble()

    # --- one operation at a time ------------------------------------------------------------------

    def _apply(
        self, operation: Operation, inputs: list[_Stream | _Draft], position: int
    ) -> _Stream | _Draft:
        if operation.kind == "input":
            return _Stream((_Tap("input"),), self.input_shape)
        if operation.kind == "unsupported":
            raise UnsupportedLayerError(f"{operation}: {operation.arguments['reason']}")
        if len(inputs) != 1 and operation.kind not in ("concat", "add"):
            raise InvalidGraphError(
                f"{operation} has {len(inputs)} inputs, but only Add, Merge and Concatenate may "
                "join streams"
            )
        if operation.kind in ("concat", "add"):
            return self._join(operation, inputs)
        before = inputs[0]
        if isinstance(before, _Draft):
            after: _Stream | _Draft = self._after_weights(operation, before, position)
            return after
        if operation.kind == "identity":
            return before
        if before.padding is not None and operation.kind != "conv":
            raise UnsupportedLayerError(
                f"{operation}: it follows zero padding, which is only possible directly before a "
                "convolution with padding='valid'"
            )
        handler = getattr(self, f"_{operation.kind}", None)
        if handler is None:
            raise _misplaced(operation)
        result: _Stream | _Draft = handler(operation, before)
        return result

    def _after_weights(self, operation: Operation, draft: _Draft, position: int) -> Any:
        source = operation.inputs[0]
        if self.consumers[source] > 1:
            raise InvalidGraphError(
                f"{draft.operation}: its output feeds {self.consumers[source]} layers before it "
                "spikes, but only spikes can branch. Let both take the output of the spiking layer."
            )
        if operation.kind == "identity":
            return draft
        if operation.kind == "batchnorm":
            return self._fold(operation, draft)
        if operation.kind == "relu":
            if not self.options.spikify:
                is_own = str(operation) == str(draft.operation)  # Conv2D(activation="relu")
                raise UnexpectedLayerError(
                    "a spiking layer (IAF)",
                    f"the activation 'relu' of {operation}" if is_own else str(operation),
                    ("" if is_own else f"It follows {draft.operation}. ")
                    + "Use kerasnsoc.layers.IAF in place of ReLU, or pass spikify=True.",
                )
            arguments = {
                "threshold": 1.0,
                "min_v": -1.0,
                "reset": "subtract",
                "spike_fn": "multi",
                "initial_state": None,
            }
            operation = replace(operation, kind="spike", arguments=arguments)
        if operation.kind != "spike":
            raise UnexpectedLayerError(
                "a spiking layer (IAF)",
                str(operation),
                f"It follows {draft.operation}; between weights and anything else there must be "
                "spikes.",
            )
        if operation.arguments.get("is_last") and self.consumers[position] > (
            position in self.model.outputs
        ):
            raise UnsupportedLayerError(
                f"{operation}: return_sequences=False keeps only the last step, but a chip sends "
                "on every spike. Pass return_sequences=True."
            )
        draft.neuron = operation
        return _Stream((_Tap(self.drafts.index(draft)),), draft.neuron_shape)

    def _fold(self, operation: Operation, draft: _Draft) -> _Draft:
        """Batch normalization into the weights and the bias before it, in float64."""
        a = operation.arguments
        epsilon = a["epsilon"] if self.options.bn_epsilon == "layer" else self.options.bn_epsilon
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

    def _batchnorm(self, operation: Operation, stream: _Stream) -> _Stream:
        raise InvalidGraphError(
            f"{operation} does not follow a convolution or a dense layer directly, so that it "
            "cannot be folded into weights. Move it there."
        )

    def _spike(self, operation: Operation, stream: _Stream) -> _Stream:
        raise UnexpectedLayerError(
            "a weight layer (Conv2D or Dense)",
            str(operation),
            "Neurons of a chip stand directly behind weights.",
        )

    _relu = _spike

    def _flatten(self, operation: Operation, stream: _Stream) -> _Stream:
        if stream.parts is not None:
            return stream
        return replace(stream, parts=(stream.shape,))

    def _pad(self, operation: Operation, stream: _Stream) -> _Stream:
        (top, bottom), (left, right) = operation.arguments["padding"]
        if top != bottom or left != right:
            raise AsymmetricPaddingError(
                f"{operation}: padding is {((top, bottom), (left, right))}, but a chip pads "
                "opposite sides alike. Use equal numbers."
            )
        if stream.parts is not None or stream.averaged:
            raise _misplaced(operation)
        return replace(stream, padding=(top, left))

    def _conv(self, operation: Operation, stream: _Stream) -> _Draft:
        a = operation.arguments
        weights = np.asarray(a["weights"], np.float32)
        kernel, stride = weights.shape[2:], a["stride"]
        if stream.averaged:
            if kernel != (1, 1):
                raise InvalidGraphError(
                    f"{operation}: a kernel of {kernel} on the 1 x 1 map behind a global average"
                )
            return self._over_the_map(operation, stream, weights[:, :, 0, 0].T, a["bias"])
        if stream.parts is not None:
            raise InvalidGraphError(f"{operation}: a convolution needs a map, but it was flattened")
        groups = a.get("groups", 1)
        if groups > 1:
            weights = self._expanded(operation, weights, groups)
        if weights.shape[1] != stream.shape[0]:
            raise InvalidGraphError(
                f"{operation}: its weights take {weights.shape[1]} channels, but "
                f"{stream.shape[0]} arrive"
            )
        padding = self._padding(operation, stream, kernel)
        return self._weighted(operation, stream, weights, a["bias"], stride, padding)

    def _expanded(
        self, operation: Operation, weights: npt.NDArray[np.float32], groups: int
    ) -> npt.NDArray[np.float32]:
        if not self.options.expand_groups:
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

    def _padding(
        self, operation: Operation, stream: _Stream, kernel: tuple[int, ...]
    ) -> tuple[int, int]:
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

    def _dense(self, operation: Operation, stream: _Stream) -> _Draft:
        weights = np.asarray(operation.arguments["weights"], np.float32)
        bias = operation.arguments["bias"]
        channels, height, width = stream.shape
        if stream.averaged:
            return self._over_the_map(operation, stream, weights, bias)
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
            return self._weighted(operation, stream, kernel, bias, (1, 1), (0, 0))
        blocks, start = [], 0
        for c, h, w in parts:
            rows = weights[start : start + c * h * w]
            blocks.append(rows.reshape(h, w, c, -1).transpose(3, 2, 0, 1))
            start += c * h * w
        return self._full_map(operation, stream, np.concatenate(blocks, axis=1), bias)

    def _over_the_map(
        self, operation: Operation, stream: _Stream, weights: npt.NDArray[np.float32], bias: Any
    ) -> _Draft:
        """Weights behind a global average, spread over the map: weight / positions everywhere."""
        channels, height, width = stream.shape
        if len(weights) != channels:
            raise InvalidGraphError(
                f"{operation}: its weights take {len(weights)} inputs, but {channels} arrive"
            )
        share = (weights.T / np.float32(height * width)).astype(np.float32)
        kernel = np.broadcast_to(share[:, :, None, None], (*share.shape, height, width)).copy()
        return self._full_map(operation, stream, kernel, bias)

    def _full_map(
        self, operation: Operation, stream: _Stream, kernel: npt.NDArray[np.float32], bias: Any
    ) -> _Draft:
        height, width = kernel.shape[2:]
        padding = (0, 0)
        if height != width and self.options.square_dense == "pad":
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
        return self._weighted(operation, stream, kernel, bias, (1, 1), padding)

    def _weighted(
        self,
        operation: Operation,
        stream: _Stream,
        weights: npt.NDArray[np.float32],
        bias: Any,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> _Draft:
        draft = _Draft(
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
        self.drafts.append(draft)
        return draft

    def _pool(self, operation: Operation, stream: _Stream) -> _Stream:
        py, px = operation.arguments["size"]
        scale = 1 / (py * px) if operation.arguments["is_average"] else 1.0
        features, height, width = stream.shape
        shape = (features, height // py, width // px)
        if stream.parts is not None or stream.averaged or min(shape) < 1:
            raise InvalidGraphError(
                f"{operation}: a pooling of {(py, px)} (height, width) does not fit a map of "
                f"{stream.shape[1:]}" + (", which was flattened" if stream.parts else "")
            )
        if stream.is_input:
            dvs = pooled(self._sensor(operation, stream), (py, px), str(operation))
            tap = replace(stream.taps[0], scale=stream.taps[0].scale * scale)
            return replace(stream, taps=(tap,), shape=dvs.output_shape, dvs=dvs)
        taps = tuple(
            replace(
                tap,
                pooling=(tap.pooling[0] * py, tap.pooling[1] * px),
                scale=tap.scale * scale,
            )
            for tap in stream.taps
        )
        return replace(stream, taps=taps, shape=shape)

    def _global_pool(self, operation: Operation, stream: _Stream) -> _Stream:
        if stream.parts is not None or stream.averaged:
            raise _misplaced(operation)
        features, height, width = stream.shape
        fits = not stream.is_input and all(
            py * height == px * width and py * height in self.options.poolings
            for py, px in (tap.pooling for tap in stream.taps)
        )
        if not fits:
            return replace(stream, averaged=True)
        pool = replace(operation, arguments={"size": (height, width), "is_average": True})
        return replace(self._pool(pool, stream), parts=((features, 1, 1),))

    # --- the sensor -------------------------------------------------------------------------------

    def _sensor(self, operation: Operation, stream: _Stream) -> DvsLayer:
        """What happened to the input so far; only the input can be preprocessed."""
        if not stream.is_input or stream.parts is not None or stream.averaged:
            raise InvalidGraphError(
                f"{operation}: cropping and mirroring are only possible at the start of a model, "
                "where they become the chip's sensor layer"
            )
        return stream.dvs or sensor_layer(self.input_shape, str(operation))

    def _crop(self, operation: Operation, stream: _Stream) -> _Stream:
        _, height, width = stream.shape
        if "keep" in operation.arguments:
            (top, bottom), (left, right) = operation.arguments["keep"]
        else:
            (top, bottom), (left, right) = operation.arguments["remove"]
            bottom, right = height - bottom, width - right
        dvs = cropped(
            self._sensor(operation, stream), ((top, bottom), (left, right)), str(operation)
        )
        return replace(stream, shape=dvs.output_shape, dvs=dvs)

    def _flip(self, operation: Operation, stream: _Stream) -> _Stream:
        a = operation.arguments
        dvs = flipped(self._sensor(operation, stream), a["flip_x"], a["flip_y"], a["swap_xy"])
        return replace(stream, shape=dvs.output_shape, dvs=dvs)

    def _dvs(self, operation: Operation, stream: _Stream) -> _Stream:
        if stream.dvs is not None or not stream.is_input:
            raise InvalidGraphError(f"{operation}: a sensor layer must be the first of the model")
        a = operation.arguments
        dvs = self._sensor(operation, stream)
        if a["merge"]:
            dvs = replace(dvs, merge=True)
        dvs = pooled(dvs, a["pool"], str(operation))
        if a["crop"] is not None:
            dvs = cropped(dvs, a["crop"], str(operation))
        dvs = flipped(dvs, a["flip_x"], a["flip_y"], a["swap_xy"])
        dvs = replace(dvs, pixel_array=a["pixel_array"])
        return replace(stream, shape=dvs.output_shape, dvs=dvs)

    # --- joins ------------------------------------------------------------------------------------

    def _join(self, operation: Operation, inputs: list[_Stream | _Draft]) -> _Stream:
        streams: list[_Stream] = []
        for stream in inputs:
            if isinstance(stream, _Draft):
                raise UnexpectedLayerError(
                    "a spiking layer (IAF)",
                    str(operation),
                    f"It follows {stream.operation}; only spikes can be joined.",
                )
            if stream.averaged or stream.padding is not None:
                raise InvalidGraphError(
                    f"{operation}: a global average or zero padding cannot be joined; put them "
                    "behind the join"
                )
            streams.append(stream)
        if len({stream.parts is None for stream in streams}) > 1:
            raise InvalidGraphError(f"{operation} joins maps and flattened maps")
        shapes = [stream.shape for stream in streams]
        sensors = [
            stream.dvs for stream in streams if any(t.source == "input" for t in stream.taps)
        ]
        dvs = sensors[0] if sensors else None
        if operation.kind == "add":
            if len(set(shapes)) > 1 or len({stream.parts for stream in streams}) > 1:
                raise InvalidGraphError(
                    f"{operation} adds maps of {shapes} (features, height, width), but they must "
                    "be equal"
                )
            taps = tuple(tap for stream in streams for tap in stream.taps)
            return _Stream(taps, shapes[0], streams[0].parts, dvs=dvs)
        if len({shape[1:] for shape in shapes}) > 1:
            raise InvalidGraphError(
                f"{operation} concatenates maps of {shapes} (features, height, width), but height "
                "and width must be equal"
            )
        joined: list[_Tap] = []
        parts: tuple[Shape, ...] = ()
        shift = 0
        for stream in streams:
            joined += [replace(tap, shift=tap.shift + shift) for tap in stream.taps]
            parts += stream.parts or ()
            shift += stream.shape[0]
        shape = (shift, *shapes[0][1:])
        return _Stream(tuple(joined), shape, parts or None, dvs=dvs)

    # --- the graph --------------------------------------------------------------------------------

    def _leave(self, operation: Operation, stream: _Stream | _Draft) -> None:
        if isinstance(stream, _Draft):
            index = self.drafts.index(stream)
            if self.consumers[self.model.operations.index(operation)] > 1:
                raise InvalidGraphError(
                    f"{stream.operation}: its output feeds a layer and leaves the model before it "
                    "spikes, but only spikes can branch"
                )
            raise MissingSpikingLayerError(
                index,
                f"{stream.operation} ends the model; put kerasnsoc.layers.IAF behind it.",
            )
        if any(tap.source == "input" for tap in stream.taps):
            found = "the end of the model" if operation.kind == "input" else str(operation)
            raise UnexpectedLayerError(
                "a weight layer (Conv2D or Dense)", found, "The input reaches the output unchanged."
            )
        if len(stream.taps) > 1:
            raise InvalidGraphError(
                f"{operation} joins {len(stream.taps)} layers at the end of the model, but events "
                "leave a chip core by core. Return the joined layers as outputs of their own, or "
                "let a layer follow."
            )
        if stream.averaged or stream.padding is not None:
            raise InvalidGraphError(
                f"{operation}: nothing follows that could hold this "
                f"{'average over ' + str(stream.shape[1:]) if stream.averaged else 'padding'}; a "
                f"chip pools square maps of {self.options.poolings} at its output"
            )
        (tap,) = stream.taps
        assert isinstance(tap.source, int)
        self.drafts[tap.source].targets.append((None, 0, tap))

    def _assemble(self) -> CoreGraph:
        for draft in self.drafts:
            if draft.neuron is None:
                raise MissingSpikingLayerError(
                    self.drafts.index(draft), f"Nothing takes the output of {draft.operation}."
                )
        sensors = [d.dvs for d in self.drafts if any(t.source == "input" for t in d.taps)]
        dvs = sensors[0] if sensors else None
        if any(sensor != dvs for sensor in sensors):
            raise InvalidGraphError(
                "the input is cropped, mirrored or pooled differently on its ways to "
                f"{len(sensors)} layers, but a chip has one sensor layer"
            )
        if self.dvs_input:
            dvs = replace(dvs or sensor_layer(self.input_shape, "dvs_input=True"), pixel_array=True)
        elif dvs is not None:
            dvs = replace(dvs, pixel_array=False)

        order = self._numbering()
        number = {old: new for new, old in enumerate(order)}
        incoming: list[tuple[int, int, _Tap]] = []
        for old, draft in enumerate(self.drafts):
            for position, tap in enumerate(draft.taps):
                if tap.source == "input":
                    incoming.append((number[old], position, tap))
                else:
                    self.drafts[tap.source].targets.append((number[old], position, tap))
        entries = tuple(
            Destination(target, feature_shift=tap.shift, scale=tap.scale)
            for target, _, tap in sorted(incoming, key=lambda item: item[:2])
        )
        if dvs is not None:
            if any(destination.feature_shift for destination in entries):
                raise InvalidGraphError(
                    "the sensor's events are concatenated behind those of another layer, but the "
                    "sensor layer has no feature shift. Put the input first."
                )
            dvs = replace(dvs, destinations=entries)
        layers = tuple(
            self._layer(self.drafts[old], new, number, dvs) for new, old in enumerate(order)
        )
        scales = {
            layer.index: d.scale for layer in layers for d in layer.destinations if d.target is None
        }
        return CoreGraph(
            layers=layers,
            input_shape=self.input_shape,
            dvs=dvs,
            input_destinations=entries if dvs is None else (),
            output_scale=scales,
            input_scale=entries[0].scale if entries else 1.0,
            name=self.model.name,
        )

    def _numbering(self) -> list[int]:
        """Kahn's topological order; ties by the order of the layers in the model."""
        waiting = {
            i: {tap.source for tap in draft.taps if tap.source != "input"}
            for i, draft in enumerate(self.drafts)
        }
        order: list[int] = []
        while waiting:
            ready = [i for i, sources in waiting.items() if sources <= set(order)]
            if not ready:
                raise InvalidGraphError("the layers form a cycle, but events flow one way")
            first = min(ready, key=lambda i: (self.drafts[i].operation.order, i))
            order.append(first)
            del waiting[first]
        return order

    def _layer(
        self, draft: _Draft, index: int, number: Mapping[int, int], dvs: DvsLayer | None
    ) -> CoreLayer:
        assert draft.neuron is not None
        a = draft.neuron.arguments
        scale = self.options.rescale([tap.scale for tap in draft.taps], str(draft.operation))
        port: Source = "input" if dvs is None else "dvs"
        # an exit comes last: a spike visits the cores first
        targets = sorted(draft.targets, key=lambda item: (item[0] is None, item[0] or 0, item[1]))
        return CoreLayer(
            index=index,
            name=draft.operation.name,
            weights=(draft.weights * np.float32(scale)).astype(np.float32),
            bias=draft.bias,
            stride=draft.stride,
            padding=draft.padding,
            in_shape=draft.in_shape,
            neuron_shape=draft.neuron_shape,
            threshold=float(a["threshold"]),
            min_v=None if a["min_v"] is None else float(a["min_v"]),
            reset=a["reset"],
            spike_fn=a["spike_fn"],
            initial_state=self._initial_state(draft),
            destinations=tuple(
                Destination(target, tap.pooling, tap.shift, tap.scale) for target, _, tap in targets
            ),
            sources=tuple(
                port if tap.source == "input" else number[tap.source] for tap in draft.taps
            ),
            rescale=scale,
            neuron_name=draft.neuron.name,
        )

    def _initial_state(self, draft: _Draft) -> npt.NDArray[np.float32] | None:
        assert draft.neuron is not None
        state = draft.neuron.arguments["initial_state"]
        if state is None:
            return None
        array = np.asarray(state, np.float32).reshape(draft.neuron_shape)
        return array if array.any() else None


def _misplaced(operation: Operation) -> InvalidGraphError:
    return InvalidGraphError(f"{operation} has no counterpart on a chip at this place")
