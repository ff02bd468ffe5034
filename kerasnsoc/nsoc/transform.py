"""From a model to core layers: one operation after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kerasnsoc.nsoc.core_graph import (
    CoreGraph,
    DvsLayer,
    Shape,
)
from kerasnsoc.nsoc.errors import (
    AsymmetricPaddingError,
    InputConfigurationError,
    InvalidGraphError,
    MissingSpikingLayerError,
    UnexpectedLayerError,
    UnsupportedLayerError,
)
from kerasnsoc.nsoc.operations import Operation, OperationGraph
from kerasnsoc.nsoc.sensor import cropped, flipped, pooled, sensor_layer
from kerasnsoc.nsoc.transform_assembly import assemble
from kerasnsoc.nsoc.transform_options import TransformOptions
from kerasnsoc.nsoc.transform_streams import Draft, Stream, Tap, misplaced
from kerasnsoc.nsoc.transform_weights import convolution, dense, fold_batchnorm


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
        self.drafts: list[Draft] = []
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
        streams: list[Stream | Draft] = []
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
        return assemble(
            self.drafts, self.input_shape, self.dvs_input, self.options, self.model.name
        )

    # --- one operation at a time ------------------------------------------------------------------

    def _apply(
        self, operation: Operation, inputs: list[Stream | Draft], position: int
    ) -> Stream | Draft:
        if operation.kind == "input":
            return Stream((Tap("input"),), self.input_shape)
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
        if isinstance(before, Draft):
            after: Stream | Draft = self._after_weights(operation, before, position)
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
            raise misplaced(operation)
        result: Stream | Draft = handler(operation, before)
        return result

    def _after_weights(self, operation: Operation, draft: Draft, position: int) -> Any:
        source = operation.inputs[0]
        if self.consumers[source] > 1:
            raise InvalidGraphError(
                f"{draft.operation}: its output feeds {self.consumers[source]} layers before it "
                "spikes, but only spikes can branch. Let both take the output of the spiking layer."
            )
        if operation.kind == "identity":
            return draft
        if operation.kind == "batchnorm":
            return fold_batchnorm(self.options, operation, draft)
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
        return Stream((Tap(self.drafts.index(draft)),), draft.neuron_shape)

    def _batchnorm(self, operation: Operation, stream: Stream) -> Stream:
        raise InvalidGraphError(
            f"{operation} does not follow a convolution or a dense layer directly, so that it "
            "cannot be folded into weights. Move it there."
        )

    def _spike(self, operation: Operation, stream: Stream) -> Stream:
        raise UnexpectedLayerError(
            "a weight layer (Conv2D or Dense)",
            str(operation),
            "Neurons of a chip stand directly behind weights.",
        )

    _relu = _spike

    def _flatten(self, operation: Operation, stream: Stream) -> Stream:
        if stream.parts is not None:
            return stream
        return replace(stream, parts=(stream.shape,))

    def _pad(self, operation: Operation, stream: Stream) -> Stream:
        (top, bottom), (left, right) = operation.arguments["padding"]
        if top != bottom or left != right:
            raise AsymmetricPaddingError(
                f"{operation}: padding is {((top, bottom), (left, right))}, but a chip pads "
                "opposite sides alike. Use equal numbers."
            )
        if stream.parts is not None or stream.averaged:
            raise misplaced(operation)
        return replace(stream, padding=(top, left))

    def _conv(self, operation: Operation, stream: Stream) -> Draft:
        self.drafts.append(convolution(self.options, operation, stream))
        return self.drafts[-1]

    def _dense(self, operation: Operation, stream: Stream) -> Draft:
        self.drafts.append(dense(self.options, operation, stream))
        return self.drafts[-1]

    def _pool(self, operation: Operation, stream: Stream) -> Stream:
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

    def _global_pool(self, operation: Operation, stream: Stream) -> Stream:
        if stream.parts is not None or stream.averaged:
            raise misplaced(operation)
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

    def _sensor(self, operation: Operation, stream: Stream) -> DvsLayer:
        """What happened to the input so far; only the input can be preprocessed."""
        if not stream.is_input or stream.parts is not None or stream.averaged:
            raise InvalidGraphError(
                f"{operation}: cropping and mirroring are only possible at the start of a model, "
                "where they become the chip's sensor layer"
            )
        return stream.dvs or sensor_layer(self.input_shape, str(operation))

    def _crop(self, operation: Operation, stream: Stream) -> Stream:
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

    def _flip(self, operation: Operation, stream: Stream) -> Stream:
        a = operation.arguments
        dvs = flipped(self._sensor(operation, stream), a["flip_x"], a["flip_y"], a["swap_xy"])
        return replace(stream, shape=dvs.output_shape, dvs=dvs)

    def _dvs(self, operation: Operation, stream: Stream) -> Stream:
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

    def _join(self, operation: Operation, inputs: list[Stream | Draft]) -> Stream:
        streams: list[Stream] = []
        for stream in inputs:
            if isinstance(stream, Draft):
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
            return Stream(taps, shapes[0], streams[0].parts, dvs=dvs)
        if len({shape[1:] for shape in shapes}) > 1:
            raise InvalidGraphError(
                f"{operation} concatenates maps of {shapes} (features, height, width), but height "
                "and width must be equal"
            )
        joined: list[Tap] = []
        parts: tuple[Shape, ...] = ()
        shift = 0
        for stream in streams:
            joined += [replace(tap, shift=tap.shift + shift) for tap in stream.taps]
            parts += stream.parts or ()
            shift += stream.shape[0]
        shape = (shift, *shapes[0][1:])
        return Stream(tuple(joined), shape, parts or None, dvs=dvs)

    # --- the graph --------------------------------------------------------------------------------

    def _leave(self, operation: Operation, stream: Stream | Draft) -> None:
        if isinstance(stream, Draft):
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
