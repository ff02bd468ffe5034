"""From events as they come in to results, packet by packet, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.schema import LayerType
from kerasnsoc.runtime.event_files import iter_events
from kerasnsoc.runtime.events import (
    CountWindow,
    Duplicates,
    EventMap,
    Packet,
    TimeWindow,
    Window,
    as_events,
    bin_events,
    cut,
)
from kerasnsoc.runtime.tensors import events_to_dense

if TYPE_CHECKING:
    from kerasnsoc.runtime.model import Model

Method: TypeAlias = Literal["forward", "evaluate", "predict"]

EventSource: TypeAlias = str | os.PathLike[str] | npt.NDArray[Any] | Iterable[npt.ArrayLike]
"""A file, an array of events, or an iterable of such arrays."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamResult:
    """What the network made of one packet.

    Attributes
    ----------
    packet : Packet
        Its number, its time and how many events it had.
    outputs : ndarray or int
        What the method returned for it: (width, height, features) of `Model.forward` or
        `Model.evaluate`, or the class of `Model.predict`. A network over time takes each packet as
        one time step and gives that step's outputs, in the layout of the Keras model.
    """

    packet: Packet
    outputs: Any


def stream(
    model: Model,
    events: EventSource,
    window: Window | None,
    *,
    method: Method,
    stateful: bool,
    duplicates: Duplicates,
    value: int,
    downscale: int,
) -> Iterator[StreamResult]:
    """See `kerasnsoc.runtime.Model.stream`."""
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}, but must be one of {', '.join(get_args(Method))}")
    if stateful and method != "forward":
        raise ValueError(f"stateful goes with method='forward' only, but method is {method!r}")
    run = _Runner(model, method, stateful)
    if window is not None and not isinstance(window, CountWindow | TimeWindow):
        raise TypeError(f"window is {window!r}, but must be a CountWindow or a TimeWindow")
    if isinstance(events, str | os.PathLike):
        if window is None:
            raise ValueError("a file is a single recording: give a CountWindow or a TimeWindow")
        events = iter_events(events)
    elif isinstance(events, np.ndarray):
        as_events(events[:0])
        events = [events]
    options: dict[str, Any] = {"duplicates": duplicates, "value": value, "downscale": downscale}
    if window is not None or run.dims[2] <= 2:
        target: EventMap | None = EventMap(run.dims, run.bits, **options)
    else:
        target = None  # packets of coordinates name their feature
    if window is None:
        return _whole_packets(run, events, target, value)
    assert target is not None
    return _windows(run, events, window, target)


def event_batch(
    model: Model,
    events: npt.NDArray[Any],
    window: Window | None = None,
    *,
    duplicates: Duplicates = "merge",
    value: int = 1,
    downscale: int = 1,
) -> npt.NDArray[np.uint8]:
    """A recording as a batch that a model takes: `bin_events` in its layout, dims and bits.

    Parameters
    ----------
    model : Model
    events, window, duplicates, value, downscale
        As for `kerasnsoc.runtime.bin_events`.

    Returns
    -------
    batch : ndarray of uint8
        (packets, width, height, features), or (packets, height, width, features) for a model that
        begins with an `InputConvolutional`. For a network over time one sequence of as many steps,
        (1, packets, height, width, features).

    Raises
    ------
    TypeError, ValueError
        As for `kerasnsoc.runtime.bin_events`; also if the model is empty.
    """
    run = _Runner(model, "forward", False)
    batch_nwhc = bin_events(
        events,
        run.dims,
        window,
        bits=run.bits,
        duplicates=duplicates,
        value=value,
        downscale=downscale,
    )
    return run.in_layout(batch_nwhc)


class _Runner:
    """One packet's map through a model."""

    def __init__(self, model: Model, method: Method, stateful: bool) -> None:
        if not model.get_layer_count():
            raise ValueError("the model is empty; add layers, or load an artifact")
        first = model.get_layer(0)
        self.dims = first.input_dims
        self.bits = first.input_bits
        self._is_over_time = model.time_step is not None
        self._is_image = first.parameters.layer_type is LayerType.InputConvolutional
        self._method = getattr(model, method)
        # one sample is one thread's work
        self._options: dict[str, Any] = {"threads": 1}
        if method == "forward":
            self._options["stateful"] = stateful

    def in_layout(self, batch_nwhc: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if self._is_over_time:
            return batch_nwhc.transpose(0, 2, 1, 3)[np.newaxis]
        return batch_nwhc.transpose(0, 2, 1, 3) if self._is_image else batch_nwhc

    def __call__(self, values_whc: npt.NDArray[np.uint8]) -> Any:
        result = self._method(self.in_layout(values_whc[None]), **self._options)[0]
        if self._is_over_time and not isinstance(result, np.integer):
            result = result[0]
        return int(result) if isinstance(result, np.integer) else result


def _windows(
    run: _Runner, chunks: Iterable[Any], window: Window, target: EventMap
) -> Iterator[StreamResult]:
    for piece, packet in cut(chunks, window):
        target.add(piece)
        if packet is not None:
            outputs = run(target.values_whc)
            target.clear()
            yield StreamResult(packet, outputs)


def _whole_packets(
    run: _Runner, packets: Iterable[Any], target: EventMap | None, value: int
) -> Iterator[StreamResult]:
    for index, item in enumerate(packets):
        if getattr(item, "dtype", np.dtype(object)).names is None:
            coordinates = np.asarray(item)
            count = len(coordinates)
            values = np.full(count, value)
            values_whc = events_to_dense(item, run.dims, values, num_samples=1)[0]
            yield StreamResult(Packet(index, None, None, count), run(values_whc))
            continue
        events = as_events(item)
        if target is None:
            raise ValueError(
                f"the network takes {run.dims[2]} features, but events of a camera fill one or two"
            )
        for piece, packet in cut([events], CountWindow(max(1, len(events)))):
            target.add(piece)
            found = packet
        if not len(events):
            found = Packet(0, None, None, 0)
        assert found is not None
        outputs = run(target.values_whc)
        target.clear()
        yield StreamResult(Packet(index, found.start, found.stop, found.events), outputs)
