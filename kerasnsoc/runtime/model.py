"""A network that runs: load or build it, push samples through, read what it did."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc._tables import render
from kerasnsoc.artifact import reader
from kerasnsoc.artifact.geometry import Dims, output_dims
from kerasnsoc.artifact.learning import connections_per_neuron
from kerasnsoc.artifact.schema import (
    INPUT_LAYER_TYPES,
    ActivationParameters,
    FilterParameters,
    InputDataParameters,
    LayerSpec,
    LayerType,
    NetworkSpec,
    PoolingParameters,
)
from kerasnsoc.artifact.validation import validate
from kerasnsoc.runtime.backends import BackendType, backends
from kerasnsoc.runtime.batches import run_batch
from kerasnsoc.runtime.events import Duplicates, Window
from kerasnsoc.runtime.inputs import as_rows, as_sequences
from kerasnsoc.runtime.layers import InputConvolutional, InputData, Layer, check_binary_inputs
from kerasnsoc.runtime.learning import (
    as_labels,
    check_last_layer,
    learning_spec,
    prepared_layer,
    with_classes,
)
from kerasnsoc.runtime.locks import ChangeGuard
from kerasnsoc.runtime.over_time import States, TimeNetwork
from kerasnsoc.runtime.plan import CompiledNetwork, Form
from kerasnsoc.runtime.scores import classes, group_size, mean_over_time, over_time, scaled
from kerasnsoc.runtime.statistics import LayerStatistics, ModelStatistics
from kerasnsoc.runtime.stream import EventSource, Method, StreamResult, stream
from kerasnsoc.runtime.template import read_template
from kerasnsoc.runtime.wiring import new_name, wire


class Model:
    """A network of integer layers, run event by event.

    Parameters
    ----------
    filename : str or path-like, optional
        An artifact, or a template if it ends in ``.yml`` or ``.yaml``.
    serialized_buffer : bytes-like, optional
        An artifact in memory, as `to_buffer` returns it.
    layers : sequence of Layer, optional
        Copied, with their variables, and added in order. An `InputData` is put in front if the
        first one is no input layer. Layers keep their inbound layers where those are among the
        copies; otherwise each is fed by the one before.
    backend : BackendType
        Only ``Software`` exists.

    Raises
    ------
    ValueError
        If more than one source is given, or the layers make no network.
    kerasnsoc.artifact.ArtifactError
        If the artifact is not valid; it is a `ValueError`.
    OSError
        If the file cannot be read.
    RuntimeError
        If the backend is not available.

    Notes
    -----
    One model may be used from several threads at once: each call takes buffers of its own, the
    weights are shared. Layers are added and removed while no other thread uses the model.

    Examples
    --------
    >>> from kerasnsoc.runtime import FullyConnected
    >>> model = Model(layers=[InputData(2, 1, 1), FullyConnected(1, activations_enabled=False)])
    >>> model.get_layer(1).set_variable("weights", np.ones((1, 1, 2, 1), np.int8))
    >>> model.forward(np.array([[[[3]], [[4]]]], np.uint8)).ravel()
    array([7], dtype=int32)
    """

    def __init__(
        self,
        filename: str | os.PathLike[str] | None = None,
        serialized_buffer: bytes | bytearray | memoryview | None = None,
        layers: Sequence[Layer] | None = None,
        backend: BackendType = BackendType.Software,
    ) -> None:
        if not isinstance(backend, BackendType):
            raise TypeError(f"backend is {backend!r}, but must be a BackendType")
        if backend not in backends():
            raise RuntimeError(f"backend {backend} is not available; use BackendType.Software")
        sources = {
            "filename": filename,
            "serialized_buffer": serialized_buffer,
            "layers": layers,
        }
        given = [name for name, source in sources.items() if source is not None]
        if len(given) > 1:
            raise ValueError(f"a model has one source, but got {' and '.join(given)}")
        if isinstance(filename, bytes | bytearray | memoryview):
            raise TypeError("filename is bytes, but must be a path; pass them as serialized_buffer")
        if filename is not None and not isinstance(filename, str | os.PathLike):
            raise TypeError(
                f"filename is a {type(filename).__name__}, but must be a path; pass layers with "
                f"Model(layers=[…])"
            )
        self._layers: list[Layer] = []
        self._by_name: dict[str, Layer] = {}
        self._statistics = ModelStatistics()
        self._input_scale = 1.0
        self._input_shift = 0
        self._metadata: Mapping[str, Any] = {}
        self._guard = ChangeGuard()
        self._compiled: CompiledNetwork | None = None
        self._time_step: float | None = None
        self._over_time: TimeNetwork | None = None
        self._states: States | None = None  # of the last stateful call
        self._features: CompiledNetwork | None = None  # all layers but the one that learns
        self._is_valid = False
        if filename is not None:
            if os.fspath(filename).lower().endswith((".yml", ".yaml")):
                self._add_template(filename)
            else:
                self._add_spec(reader.load(filename))
        elif serialized_buffer is not None:
            if isinstance(serialized_buffer, str | os.PathLike):
                raise TypeError(
                    f"serialized_buffer is {serialized_buffer!r}, but must be bytes; "
                    f"pass a path as filename"
                )
            self._add_spec(reader.load(serialized_buffer))
        elif layers is not None:
            self._add_copies(layers)

    @classmethod
    def from_spec(cls, spec: NetworkSpec) -> Model:
        """A model of a described network.

        Raises
        ------
        kerasnsoc.artifact.ArtifactError
            If the description is not valid.
        """
        validate(spec)
        model = cls()
        model._add_spec(spec)
        return model

    def to_spec(self) -> NetworkSpec:
        """The network's description, with input scaling and metadata of the artifact it came from.

        Raises
        ------
        ValueError
            If the model is empty.
        """
        self._require_layers()
        with self._guard:  # not in the middle of what another thread learns
            layers = tuple(layer.to_spec() for layer in self._layers)
        return NetworkSpec(
            layers, self._input_scale, self._input_shift, self._metadata, self._time_step
        )

    # Building.

    def add(self, layer: Layer, inbound_layers: Sequence[Layer] = ()) -> None:
        """Append a layer; on an error the model stays as it was.

        The output of the model is that of the last layer. Statistics of the other layers go on.

        Parameters
        ----------
        layer : Layer
            In no model yet. The first one is an input layer, the others are not.
        inbound_layers : sequence of Layer
            Layers of this model that feed it, by default the last one. Only `Concat` takes several.

        Raises
        ------
        TypeError
            If something is no layer.
        ValueError
            If the layer does not fit here; the message says why.
        """
        if not isinstance(layer, Layer):
            raise TypeError(f"layer is a {type(layer).__name__}, but must be a Layer")
        if layer.is_attached:
            raise ValueError(
                f"layer {layer.name!r} is in a model already. Add a new layer, or build the model "
                f"with Model(layers=[…]), which copies them."
            )
        if self._layers and self._layers[-1].learning.num_weights is not None:
            raise ValueError(
                f"the last layer {self._layers[-1].name!r} learns, and only the last layer of a "
                f"model can. Remove it with pop_layer, add the new layer, and compile again."
            )
        name = new_name(layer, self._by_name)
        inbounds = wire(layer, name, inbound_layers, self._by_name)
        try:
            output = output_dims(layer.parameters, [source.output_dims for source in inbounds])
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
        if len(inbounds) == 1:
            incoming = inbounds[0].output_dims
        elif isinstance(layer, InputConvolutional):
            p: Any = layer.parameters
            incoming = (p.input_width, p.input_height, p.input_channels)
        else:
            incoming = output  # an InputData passes its input, a Concat the joined one
        layer.attach(self, name, inbounds, incoming, output)
        self._layers.append(layer)
        self._by_name[name] = layer
        self._statistics.add(name, LayerStatistics(layer))
        self.variables_changed()

    def pop_layer(self) -> None:
        """Remove the last layer, which stays readable and may be added again.

        Raises
        ------
        RuntimeError
            If the model is empty.
        """
        if not self._layers:
            raise RuntimeError("the model is empty, there is no layer to remove")
        # nothing is fed by the last layer, since layers are fed by earlier ones only
        layer = self._layers.pop()
        del self._by_name[layer.name]
        self._statistics.remove(layer.name)
        layer.detach()
        self.variables_changed()

    def get_layer(self, key: str | int) -> Layer:
        """A layer by name or by index; negative ones count from the end.

        Raises
        ------
        KeyError, IndexError
            If there is no such layer.
        """
        if isinstance(key, str):
            if key not in self._by_name:
                raise KeyError(f"no layer is named {key!r}; there are {list(self._by_name)}")
            return self._by_name[key]
        if isinstance(key, bool) or not isinstance(key, int | np.integer):
            raise TypeError(f"a layer is found by name or index, not by a {type(key).__name__}")
        count = len(self._layers)
        if not -count <= key < count:
            raise IndexError(f"layer index is {key}, but the model has {count} layers")
        return self._layers[key]

    @property
    def layers(self) -> list[Layer]:
        """All layers in order."""
        return list(self._layers)

    def get_layer_count(self) -> int:
        return len(self._layers)

    @property
    def input_dims(self) -> Dims:
        """(width, height, features) of a sample."""
        if not self._layers:
            raise RuntimeError("the model is empty and has no input_dims; add a layer")
        return self._layers[0].input_dims

    @property
    def output_dims(self) -> Dims:
        """(width, height, features) of the last layer."""
        if not self._layers:
            raise RuntimeError("the model is empty and has no output_dims; add a layer")
        return self._layers[-1].output_dims

    @property
    def time_step(self) -> float | None:
        """Seconds per step of a network over time; None for a network of one pass."""
        return self._time_step

    @property
    def backend(self) -> BackendType:
        """What runs the model."""
        return BackendType.Software

    # Running.

    def forward(
        self,
        inputs: npt.NDArray[Any],
        stateful: bool = False,
        *,
        form: Form | None = None,
        threads: int | None = None,
    ) -> npt.NDArray[Any]:
        """Run a batch and return the last layer's output.

        Parameters
        ----------
        inputs : ndarray of integers
            Images (n, height, width, channels) for an `InputConvolutional`, otherwise events
            (n, width, height, channels), or (n, channels) if width and height are 1. For a network
            over time sequences as the Keras model takes them, (n, steps, height, width, channels)
            or (n, steps, channels).
        stateful : bool
            Whether a network over time goes on from the potentials that the last such call left
            behind, which must have had as many samples; otherwise it begins with the artifact's
            initial potentials. A network of one pass keeps none, so that this changes nothing for
            it.
        form : {"auto", "dense", "events"}, optional
            Forces one form of all kernels; the environment variable ``KERASNSOC_FORM`` does the
            same. Results and statistics do not depend on it.
        threads : int, optional
            Over how many threads the batch is split, by default over all cores if it is worth
            that. Results, statistics and errors do not depend on it.

        Returns
        -------
        outputs : ndarray, shape (n, width, height, features)
            uint8 activations, or int32 potentials if the last layer has no activation. A `Concat`
            without activation passes what it is fed with. Over time (n, steps, height, width,
            features), or (n, steps, features) behind a `FullyConnected` or a global pooling: int32
            numbers of spikes per step, int32 potentials, uint8 activations, or float32 values of a
            `Filter`.

        Raises
        ------
        TypeError
            If the inputs are no array of integers.
        ValueError
            If their shape or a value does not fit, the model is empty or a layer does not reach
            the output; nothing has been counted then.
        OverflowError
            If a potential leaves 32 bits, or a filter the range of floats. Potentials that are kept
            stay as they were, as with any error.
        """
        if self._time_step is not None:
            return self._run_over_time(inputs, stateful, form, threads)[0]
        compiled = self._compiled
        if compiled is not None:
            outputs = compiled.call(inputs, self._statistics.tally, form, threads)
            if outputs is not None:
                return outputs
        return self._run(inputs, form, threads)[0]

    def evaluate(
        self,
        inputs: npt.NDArray[Any],
        *,
        form: Form | None = None,
        threads: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Run a batch and return the last layer's potentials in the units of the trained model.

        That is ``potential * output_scale + output_shift`` for a converted layer, otherwise
        ``(potential - threshold_fire) / threshold_fire_step``, where a step of 0 counts as 1.

        Parameters
        ----------
        inputs : ndarray of integers
        form, threads : optional
            All as for `forward`.

        Returns
        -------
        outputs : ndarray of float32, shape (n, width, height, features)
            Over time as the Keras model returns them, for each step: spikes in its unit (1, or
            1 / time step), potentials or filtered values in real units.

        Raises
        ------
        RuntimeError
            If the last layer has an activation.
        TypeError, ValueError, OverflowError
            As `forward`; also if the model has an `InputData` only.
        """
        self._require_layers()
        if isinstance(self._layers[-1], InputData):
            raise ValueError("the model has an InputData only and no potentials; add a layer")
        if self._time_step is not None:
            outputs, last = self._run_over_time(inputs, False, form, threads)
            return over_time(outputs, last, self._time_step)
        if self._has_activation():
            raise RuntimeError(
                f"the last layer {self._layers[-1].name!r} has an activation, its potentials do "
                f"not leave it. Use forward or predict, or build it with activations_enabled=False."
            )
        outputs, last = self._run(inputs, form, threads)
        return scaled(outputs, last.variables).astype(np.float32)

    def rates(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Run sequences and return how often the neurons of the last layer spiked, in Hz.

        Parameters
        ----------
        inputs : ndarray of integers
            As for `forward`.

        Returns
        -------
        rates : ndarray of float64, shape (n, height, width, features) or (n, features)
            Spikes per second, mean over all steps; signed spikes count with their sign.

        Raises
        ------
        RuntimeError
            If the network does not run over time, or does not end with neurons that spike.
        TypeError, ValueError
            As `forward`; also for sequences without a step.
        """
        self._require_layers()
        last = self._layers[-1]
        if self._time_step is None or last.neuron is None:
            raise RuntimeError(
                f"the last layer {last.name!r} does not spike over time and has no rates; use "
                f"forward or evaluate"
            )
        outputs, _ = self._run_over_time(inputs)
        return np.asarray(mean_over_time(outputs) / self._time_step)

    def predict(
        self,
        inputs: npt.NDArray[Any],
        num_classes: int | None = None,
        *,
        form: Form | None = None,
        threads: int | None = None,
    ) -> npt.NDArray[np.int64]:
        """Class of each sample.

        The neurons of the last layer form equal, contiguous groups, one per class. The class is
        the group of the neuron with the largest activation, or the largest value of `evaluate`
        without activation; over several positions its maximum counts, of equal neurons the first.
        Over time the mean over all steps decides, behind a `Filter` the last step.

        Parameters
        ----------
        inputs : ndarray of integers
            As for `forward`.
        num_classes : int, optional
            A divisor of the number of neurons, by default that number.
        form, threads : optional
            As for `forward`.

        Returns
        -------
        classes : ndarray of int64, shape (n,)
            -1 where there is an activation and no neuron fires.

        Raises
        ------
        TypeError, ValueError, OverflowError
            As `forward`; also for a wrong `num_classes`.
        """
        self._require_layers()
        group_size(self._layers[-1].name, self.output_dims[2], num_classes)  # before it runs
        if self._time_step is not None:
            outputs, last = self._run_over_time(inputs, False, form, threads)
            group = group_size(last.name, outputs.shape[-1], num_classes)
            values = mean_over_time(outputs, only_last=last.layer_type is LayerType.Filter)
            if "output_scale" in last.variables and last.layer_type is not LayerType.Filter:
                values = scaled(values, last.variables)
            values = values.reshape(len(values), -1, 1, values.shape[-1])
            silent = -1 if self._has_activation() else None
            return classes(values, group, silent=silent)
        outputs, last = self._run(inputs, form, threads)
        # another thread may have added classes since: what ran decides
        group = group_size(last.name, outputs.shape[-1], num_classes)
        if self._has_activation():
            return classes(outputs, group, silent=-1)
        return classes(scaled(outputs, last.variables), group)

    def trace(
        self, inputs: npt.NDArray[Any], *, form: Form | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Outputs of all layers for a batch, by name, in the layout (n, width, height, features).

        A look inside: it is not counted in the statistics. Parameters and errors are those of
        `forward`.
        """
        if self._time_step is not None:
            inputs_sti = self._sequences(inputs)
            network = self._prepared_over_time()
            return network.run(inputs_sti, network.start(len(inputs_sti)), trace=True, form=form)[0]
        inputs_si = self._rows(inputs)
        compiled = self._prepared()
        outputs, _ = compiled.run(inputs_si, trace=True, form=form)
        return {
            name: output
            for name, output in zip(compiled.names, outputs, strict=True)
            if output is not None
        }

    def stream(
        self,
        events: EventSource,
        window: Window | None = None,
        *,
        method: Method = "forward",
        stateful: bool = False,
        duplicates: Duplicates = "merge",
        value: int = 1,
        downscale: int = 1,
    ) -> Iterator[StreamResult]:
        """Run events as they come in, and give a result after each packet.

        Whatever the length of the recording, it takes the memory of one packet's map, of the plan
        and of the part of the recording that is handed in at a time.

        Parameters
        ----------
        events : ndarray, iterable of ndarray, or path
            Events (t, x, y, p) in one structured array, in consecutive parts, or in a file that
            `kerasnsoc.runtime.iter_events` reads. Without window each item of the iterable is a
            packet, of events or of integer coordinates (events, 3), rows (x, y, feature).
        window : CountWindow or TimeWindow, optional
            How events are cut into packets. A window of time ends with the first event behind it.
        method : {"forward", "evaluate", "predict"}
            What is called for each packet.
        stateful : bool
            Passed to `forward`: potentials of a network over time stay from packet to packet.
        duplicates : {"merge", "count"}
            Whether several events of a packet at one place count as one, or add up to at most
            ``2**input_bits - 1``. Coordinates always merge.
        value : int
            What an event is worth, by default 1.
        downscale : int
            Divides the coordinates of events (t, x, y, p), rounding down.

        Returns
        -------
        results : iterator of StreamResult

        Raises
        ------
        TypeError, ValueError
            At once if an argument does not fit, later if an event does not.
        OverflowError
            If a potential leaves 32 bits.

        Examples
        --------
        >>> from kerasnsoc.runtime import TimeWindow, make_events
        >>> events = make_events([0, 4, 13], [0, 1, 0], [0, 0, 0], [1, 0, 1])
        >>> model = Model(layers=[InputData(2, 1, 2)])
        >>> [(r.packet.start, r.packet.events) for r in model.stream(events, TimeWindow(10))]
        [(0, 2), (10, 1)]
        """
        return stream(
            self,
            events,
            window,
            method=method,
            stateful=stateful,
            duplicates=duplicates,
            value=value,
            downscale=downscale,
        )

    # Learning.

    def compile(
        self,
        num_weights: int,
        num_classes: int = 1,
        initial_plasticity: float = 1.0,
        learning_competition: float = 0.0,
        min_plasticity: float = 0.1,
        plasticity_decay: float = 0.25,
        *,
        rule: str = "majority",
        seed: int = 0,
        learning_ratio: tuple[int, int] = (3, 4),
    ) -> None:
        """Prepare the last layer for learning: draw its weights anew, forget what it learned.

        The last layer is a `FullyConnected` or a `Convolutional` with weights of 1 bit, behind
        activations of 1 bit or behind an `InputData`.

        Parameters
        ----------
        num_weights : int
            Ones among the weights of every neuron, now and after every step; at most half of its
            connections make sense. About 1.2 times the median number of events per sample is a
            good start; more generalises better, less is more specific.
        num_classes : int
            Neurons form equal groups, one per class; a sample with a label is learned by a neuron
            of its class only.
        initial_plasticity : float, 0 to 1
            Share of a neuron's weights that its first step may move; with 0 nothing is learned.
        learning_competition : float, 0 to 1
            How near the threshold of a neuron that has learned a sample may come before it is left
            to that neuron, and no new one learns it. Up to 0.5 makes sense.
        min_plasticity : float, 0 to 1
            Where the decay ends.
        plasticity_decay : float, 0 to 1
            What each step takes from a neuron's plasticity, as a share of the initial one.
        rule : {"majority", "swap"}
            Whether a neuron takes the inputs that were active most often in what it learned, or
            exchanges connections at random.
        seed : int, 0 to 2**64 - 1
            Of the first weights, and of the exchanges.
        learning_ratio : tuple of int, (a, b)
            A neuron's learning threshold lies a / b of the way from the potential that chance
            gives to the one it reached in its first step.

        Raises
        ------
        RuntimeError
            If the model has less than two layers, the last one is of another kind, or the network
            runs over time.
        ValueError
            If the layer or its inputs are not binary, or an argument is out of its range; the
            model is unchanged.
        TypeError
            If an argument is no number.

        Warns
        -----
        UserWarning
            If `num_weights` is more than half of a neuron's connections.

        Examples
        --------
        >>> from kerasnsoc.runtime import FullyConnected
        >>> layers = [InputData(1, 1, 8, 1), FullyConnected(2, activations_enabled=False)]
        >>> model = Model(layers=layers)
        >>> model.compile(num_weights=3, num_classes=2)
        >>> patterns = np.array([[1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]], np.uint8)
        >>> _ = model.fit(patterns, [0, 1])
        >>> model.forward(patterns).reshape(2, 2)
        array([[3, 0],
               [0, 3]], dtype=int32)
        """
        with self._guard:
            if self._time_step is not None:
                raise RuntimeError(
                    "a network over time does not learn while it runs; train it in Keras, or learn "
                    "behind a network of one pass"
                )
            layer = check_last_layer(self._layers)
            learning = learning_spec(
                layer.name,
                layer.parameters,
                layer.input_dims,
                num_weights=num_weights,
                num_classes=num_classes,
                initial_plasticity=initial_plasticity,
                learning_competition=learning_competition,
                min_plasticity=min_plasticity,
                plasticity_decay=plasticity_decay,
                rule=rule,
                seed=seed,
                learning_ratio=learning_ratio,
            )
            check_binary_inputs(layer.name, layer.inbounds)
            spec = prepared_layer(layer.to_spec(), layer.input_dims, learning)
            layer.become(spec, layer.output_dims)
            self.variables_changed()

    def fit(
        self, inputs: npt.NDArray[Any], input_labels: npt.ArrayLike | None = None
    ) -> npt.NDArray[Any]:
        """Let the last layer learn from samples, one after the other.

        Parameters
        ----------
        inputs : ndarray of integers
            As for `forward`. What arrives at the last layer must be 0 or 1.
        input_labels : int or sequence of int, optional
            Class of each sample, or one for all. Without, all neurons may learn all samples. From
            a sample whose label is no class nothing is learned.

        Returns
        -------
        outputs : ndarray, shape (n, width, height, features)
            What `forward` would have returned just before the model learned from each sample.

        Raises
        ------
        RuntimeError
            If the last layer was not compiled.
        TypeError, ValueError
            As `forward`; also if a value at the last layer is above 1, or the labels do not fit.
            Nothing has been learned then.
        OverflowError
            If a potential leaves 32 bits; nothing has been learned then.
        """
        with self._guard:
            self._require_layers()
            layer = self._layers[-1]
            session = layer.session()
            inputs_si = self._rows(inputs)
            labels_s = as_labels(input_labels, len(inputs_si))
            self._check_valid()
            start = time.perf_counter()
            features_sf, totals_lk = self._feature_maps(inputs_si)
            try:
                outputs, totals_k = session.fit(features_sf, labels_s, layer.to_spec().variables)
            finally:
                if session.is_ahead:
                    self._compiled = None  # its weights are out of date, but not invalid
            seconds = time.perf_counter() - start
            names = [source.name for source in self._layers]
            counted_lk = np.array([*totals_lk, totals_k], np.int64)
            self._statistics.record(names, len(inputs_si), counted_lk, seconds)
            return outputs

    def add_classes(self, num_add_classes: int) -> None:
        """Append neurons for more classes to the layer that learns; the others stay as they are.

        A class gets as many neurons as each had before, with fresh weights. The statistics of the
        layer begin anew.

        Raises
        ------
        RuntimeError
            If the last layer was not compiled.
        TypeError
            If the number is no integer.
        ValueError
            If it is below 1, or the layer would become too large.
        """
        with self._guard:
            self._require_layers()
            layer = self._layers[-1]
            layer.session()
            spec, output = with_classes(layer.to_spec(), layer.input_dims, num_add_classes)
            layer.become(spec, output)
            self._statistics.layers[layer.name].restart()
            self.variables_changed()

    def reset_states(self) -> None:
        """Forget potentials that are kept over calls; a network of one pass keeps none.

        The next call with ``stateful=True`` begins with the artifact's initial potentials.
        """
        with self._guard:
            self._states = None

    # Saving.

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as an artifact; a former file is replaced at once or not at all.

        Raises
        ------
        kerasnsoc.artifact.ArtifactError
            If the layers make no network, such as when one does not reach the output.
        OSError
            If the file cannot be written, for instance because its folder does not exist.
        """
        from kerasnsoc.artifact import writer  # needs h5py

        writer.save(self.to_spec(), path)

    def to_buffer(self) -> bytes:
        """The artifact as bytes, which ``Model(serialized_buffer=…)`` takes."""
        from kerasnsoc.artifact import writer  # needs h5py

        return writer.to_bytes(self.to_spec())

    def __reduce__(self) -> tuple[Any, ...]:
        # the bytes pass through the same checks as a file
        return _from_buffer, (type(self), self.to_buffer())

    # Looking at it.

    def get_statistics(self) -> dict[str, LayerStatistics]:
        """Statistics by layer name, in order; the objects go on counting in later calls."""
        return dict(self._statistics.layers)

    @property
    def statistics(self) -> dict[str, LayerStatistics]:
        """The same as `get_statistics`."""
        return self.get_statistics()

    @property
    def metrics(self) -> dict[str, float]:
        """Totals of the whole model since it was made.

        ``inference_frames`` samples, ``inference_time_s`` seconds in the kernels, ``events_in``
        into the first layer, ``events_out`` of the last one, ``synaptic_ops`` of all layers.
        """
        return self._statistics.metrics()

    @property
    def kernels(self) -> list[tuple[str, str, str]]:
        """What runs each layer with weights on this processor.

        Tuples of layer, kernel row, and form: ``"dense"``, ``"events"``, or where one ends and the
        other begins, such as ``"dense, events up to 74%"`` of the inputs. Packs the weights, as
        the first inference does. Results do not depend on it.

        Raises
        ------
        ValueError
            If the layers make no network.
        """
        return self._ready().kernels

    def summary(self) -> str:
        """Print tables of the layers and of the kernels that run them, and return the text."""
        rows = []
        spec = self.to_spec() if self._layers else None
        for layer, described in zip(self._layers, spec.layers if spec else (), strict=True):
            kernels = [
                str(list(described.variables[name].shape))
                for name in ("weights", "weights_pw")
                if name in described.variables
            ] or ["N/A"]
            kind = f"{layer.name} ({layer.parameters.layer_type.name})"
            rows.append([kind, str(list(layer.output_dims)), kernels[0]])
            rows += [["", "", kernel] for kernel in kernels[1:]]
        text = render(["Layer (type)", "Output shape", "Kernel shape"], rows)
        learning = [
            [
                layer.name,
                str(connections_per_neuron(layer.parameters, layer.input_dims)),
                str(count),
            ]
            for layer in self._layers
            if (count := layer.learning.num_weights) is not None
        ]
        if learning:
            header = ["Learning layer", "Input connections", "Weights per neuron"]
            text += f"\n\n{render(header, learning)}"
        memory = self._memory()
        compiled = self._compiled if self._time_step is None else self._over_time
        if compiled is not None:
            entries = [list(entry) for entry in compiled.kernels]
            text += f"\n\n{render(['Layer', 'Kernel', 'Form'], entries)}\n"
        shape = str(list(self.input_dims)) if self._layers else "N/A"
        backend = backends()[self.backend]
        text += f"\nInput shape: {shape}\nBackend: {backend.type.name} {backend.version}"
        text += f"\nMemory: {memory}"
        print(text)
        return text

    def __repr__(self) -> str:
        return f"<Model of {len(self._layers)} layers: {', '.join(self._by_name)}>"

    # Inside.

    @property
    def change_guard(self) -> ChangeGuard:
        """Held by whoever changes the model or takes over what it has learned."""
        return self._guard

    def variables_changed(self) -> None:
        """A layer tells that the packed weights are out of date."""
        with self._guard:  # or another thread, packing the former weights, would keep them
            self._compiled = None
            self._over_time = None
            self._states = None
            self._features = None
            self._is_valid = False

    def _add_spec(self, spec: NetworkSpec) -> None:
        """Layers of a description that is known to be valid."""
        for layer in spec.layers:
            self.add(Layer.from_spec(layer), [self._by_name[name] for name in layer.inbounds])
        self._input_scale = spec.input_scale
        self._input_shift = spec.input_shift
        self._metadata = spec.metadata
        self._time_step = spec.time_step
        self._is_valid = True

    def _add_copies(self, layers: Sequence[Layer]) -> None:
        if isinstance(layers, Layer):
            raise TypeError("layers is a single layer, but must be a list of layers")
        layers = list(layers)
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"layers holds a {type(layer).__name__}, but must hold layers")
        copies: dict[int, Layer] = {}
        if layers and layers[0].parameters.layer_type not in INPUT_LAYER_TYPES:
            self._add_input_for(layers[0])
        for position, layer in enumerate(layers):
            copy = layer.detached_copy()
            inbounds = [copies[id(s)] for s in layer.inbounds if id(s) in copies]
            if len(inbounds) < len(layer.inbounds):
                inbounds = []
            try:
                self.add(copy, inbounds)
            except ValueError as error:
                raise ValueError(f"layers[{position}]: {error}") from None
            copies[id(layer)] = copy

    def _add_input_for(self, layer: Layer) -> None:
        """Put an `InputData` in front of a layer that is to be the first one."""
        if not layer.has_dims:
            raise ValueError(
                f"layers[0] is a {type(layer).__name__}, whose input is not known: it was in no "
                f"model before. Begin with an InputData or an InputConvolutional, such as "
                f"layers=[InputData(input_width, input_height, input_channels), …]."
            )
        width, height, channels = layer.input_dims
        self.add(InputData(width, height, channels, layer.input_bits))

    def _add_template(self, path: str | os.PathLike[str]) -> None:
        for position, entry in enumerate(read_template(path)):
            try:
                inbounds = [self._earlier(name) for name in entry.inbound or ()]
                self.add(entry.layer, inbounds)
            except ValueError as error:
                kind = type(entry.layer).__name__
                raise ValueError(
                    f"template {os.fspath(path)!r}: layer {position} ({kind}): {error}"
                ) from None

    def _earlier(self, name: str) -> Layer:
        if name not in self._by_name:
            known = list(self._by_name)
            raise ValueError(f"inbound {name!r} is no earlier layer; there are {known}")
        return self._by_name[name]

    def _require_layers(self) -> None:
        if not self._layers:
            raise ValueError("the model is empty; add layers, or load an artifact")

    def _has_activation(self) -> bool:
        p = self._layers[-1].parameters
        if isinstance(p, InputDataParameters):
            return True
        if isinstance(p, PoolingParameters | FilterParameters):
            return isinstance(p, PoolingParameters)
        assert isinstance(p, ActivationParameters)
        return p.activations_enabled

    def _prepared(self) -> CompiledNetwork:
        compiled = self._compiled
        if compiled is not None:
            return compiled
        with self._guard:
            if self._compiled is None:
                self._check_valid()
                self._compiled = CompiledNetwork(self.to_spec())
            return self._compiled

    def _prepared_over_time(self) -> TimeNetwork:
        network = self._over_time
        if network is not None:
            return network
        with self._guard:
            if self._over_time is None:
                self._check_valid()
                self._over_time = TimeNetwork(self.to_spec())
            return self._over_time

    def _ready(self) -> CompiledNetwork | TimeNetwork:
        """Whichever runs this model."""
        return self._prepared() if self._time_step is None else self._prepared_over_time()

    def _check_valid(self) -> None:
        if not self._is_valid:
            validate(self.to_spec())
            self._is_valid = True

    def _feature_maps(
        self, inputs_si: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.uint8], list[list[int]]]:
        """What arrives at the last layer, as rows, and the counts of the layers before it."""
        if len(self._layers) == 2 and isinstance(self._layers[0], InputData):
            events = int(np.count_nonzero(inputs_si))
            return inputs_si, [[events, 0, events]]
        if self._features is None:
            self._features = CompiledNetwork(NetworkSpec(self.to_spec().layers[:-1]))
        features, totals_lk = run_batch(self._features, inputs_si)
        size = math.prod(self._layers[-1].input_dims)
        return features.reshape(len(inputs_si), size), totals_lk.tolist()

    def _memory(self) -> str:
        """What running takes, in words."""
        if not self._layers:
            return "N/A"
        try:
            compiled = self._ready()
        except ValueError:  # such as a branch that does not reach the output yet
            return "not known before the layers make a network"
        variables = sum(
            values.nbytes for layer in self.to_spec().layers for values in layer.variables.values()
        )
        return (
            f"{variables:,} bytes of weights and thresholds, {compiled.packed_nbytes:,} of packed "
            f"weights, {compiled.plan_nbytes:,} of buffers per thread"
        )

    def _rows(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        self._require_layers()
        return as_rows(inputs, self._layers[0])

    def _sequences(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        self._require_layers()
        return as_sequences(inputs, self._layers[0])

    def _run_over_time(
        self,
        inputs: npt.NDArray[Any],
        stateful: bool = False,
        form: Form | None = None,
        threads: int | None = None,
    ) -> tuple[npt.NDArray[Any], LayerSpec]:
        """The outputs of sequences, and the last layer as it was when they were computed."""
        inputs_sti = self._sequences(inputs)
        network = self._prepared_over_time()
        samples, steps = inputs_sti.shape[:2]
        start = time.perf_counter()
        if stateful:
            with self._guard:  # what is carried belongs to one call at a time
                if self._states is None:
                    states = network.start(samples)
                elif self._states.samples != samples:
                    raise ValueError(
                        f"inputs has {samples} samples, but the potentials that are kept belong to "
                        f"{self._states.samples}. Go on with as many, or call reset_states()."
                    )
                else:
                    states = self._states.copy()  # a call that fails leaves those that are kept
                found, totals = network.run(inputs_sti, states, form=form, threads=threads)
                self._states = states
        else:
            states = network.start(samples)
            found, totals = network.run(inputs_sti, states, form=form, threads=threads)
        self._statistics.record(
            network.names,
            samples,
            totals.layers,
            time.perf_counter() - start,
            steps=steps,
            spikes_l=totals.spikes.tolist(),
        )
        return found[network.names[-1]], network.output_layer

    def _run(
        self, inputs: npt.NDArray[Any], form: Form | None = None, threads: int | None = None
    ) -> tuple[npt.NDArray[Any], LayerSpec]:
        """The outputs, and the last layer as it was when they were computed."""
        inputs_si = self._rows(inputs)
        compiled = self._prepared()
        start = time.perf_counter()
        outputs, totals_lk = run_batch(compiled, inputs_si, form=form, threads=threads)
        seconds = time.perf_counter() - start
        self._statistics.record(compiled.names, len(inputs_si), totals_lk, seconds)
        return outputs, compiled.output_layer


def _from_buffer(cls: type[Model], buffer: bytes) -> Model:
    return cls(serialized_buffer=buffer)
