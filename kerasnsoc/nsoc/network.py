"""A network for a chip: core layers, placement, configuration, and what runs it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact.schema import NetworkSpec
from kerasnsoc.nsoc.config import CoreConfig, NSoCConfig
from kerasnsoc.nsoc.configure import ConfigModifier, Ordering, configure
from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer, DvsLayer, GradedLayer, copied
from kerasnsoc.nsoc.devices import DeviceSpec, get_device, is_device, split_device_id
from kerasnsoc.nsoc.discretize import (
    DiscretizationRecord,
    MinVNone,
    discretize_graph,
)
from kerasnsoc.nsoc.emulator_warnings import SaturationWarning, saturation_text
from kerasnsoc.nsoc.errors import (
    InvalidGraphError,
    NotMappedError,
    Problem,
    UnsupportedLayerError,
)
from kerasnsoc.nsoc.host import HostState
from kerasnsoc.nsoc.host_arrays import forward_counts, new_potentials
from kerasnsoc.nsoc.mapping import Objective, Placement
from kerasnsoc.nsoc.memory import memory_summary, processor_bytes, processors_needed
from kerasnsoc.nsoc.monitors import Monitors
from kerasnsoc.nsoc.network_file import check_configuration, read_network, write_network
from kerasnsoc.nsoc.network_source import artifact_of, build_core_graph
from kerasnsoc.nsoc.network_table import network_table
from kerasnsoc.nsoc.obstacles import obstacles
from kerasnsoc.nsoc.placed import memory_fill, placement_of
from kerasnsoc.nsoc.transform_options import RescalingFunction, TransformOptions

Array = npt.NDArray[Any]

_HOSTS = ("cpu", "gpu", "cuda", "tpu", "mps", "xla")


class NSoCNetwork:
    """A model as a chip computes it: core layers of integers, ready to be placed and run.

    Parameters
    ----------
    snn : keras.Model, path, NetworkSpec, kerasnsoc.runtime.Model or CoreGraph
        A Keras model of convolutions or dense layers, each followed by `kerasnsoc.layers.IAF`; or
        an artifact, whose graded layers run on meshes such as ``akd1000``. It is copied. An object
        with an attribute ``spiking_model`` stands for that model.
    input_shape : tuple of int, (features, height, width), optional
        Needed only where the model has none.
    dvs_input : bool
        Whether the sensor of the chip sends the events; makes a sensor layer where there is none.
    discretize : bool
        False keeps floats, to check a model; such a network cannot be configured.
    spikify : bool
        Whether each ReLU becomes integrate-and-fire neurons.
    bn_epsilon : "layer" or float
        Epsilon with which batch normalization is folded.
    min_v_none : {"unbounded", "legacy"}
        What an absent lowest potential means; see `kerasnsoc.nsoc.discretize.discretize_core`.
    weight_rescaling_fn : callable, "mean_half", "harmonic_half" or None
        The one scale of a core whose sources are averaged differently.
    expand_groups : bool
        Whether grouped and depthwise convolutions become full ones.
    square_dense : {"pad", "keep"}
        What becomes of a dense layer on a map that is not square.
    weight_bits : int, 2 to 8
    assume_integer : bool
        Whether the floats of the model already are the integers, so that nothing is scaled.
    name : str, optional

    Attributes
    ----------
    graph : CoreGraph
    layers : tuple of CoreLayer or GradedLayer
    dvs_layer : DvsLayer or None
    input_shape : tuple of int, (features, height, width)
    exit_layers : list of int
    output_scale : float or dict of int to float
        What an average pooling behind the exit multiplies its counts by; a dict with several exits.
    quantization_report : tuple of DiscretizationRecord
    chip_layers_ordering : list of int
        Core of each layer; empty before `make_config` or `to`.
    layer2core_map : dict of int to int
    device : str
        Where `forward` runs.
    config : NSoCConfig or None
        The last one made.

    Raises
    ------
    NSoCError
        If the model has no counterpart on a chip, naming layer, value, rule and remedy.

    Notes
    -----
    It is no Keras model: its state is integer memory and it has no gradients. `to_keras` gives a
    twin to train, `update_from_keras` takes its weights back.

    Examples
    --------
    >>> import keras
    >>> from kerasnsoc.layers import IAF
    >>> model = keras.Sequential(
    ...     [keras.Input((8, 8, 2)), keras.layers.Conv2D(4, 3), IAF(time_axis=False)]
    ... )
    >>> network = NSoCNetwork(model)
    >>> network.memory_summary()
    {'kernel': [128], 'neuron': [256], 'bias': [4]}
    >>> network.is_compatible_with("speck2f")
    True
    """

    def __init__(
        self,
        snn: Any,
        input_shape: tuple[int, int, int] | None = None,
        dvs_input: bool = False,
        discretize: bool = True,
        *,
        spikify: bool = False,
        bn_epsilon: Literal["layer"] | float = "layer",
        min_v_none: MinVNone = "unbounded",
        weight_rescaling_fn: RescalingFunction | str | None = None,
        expand_groups: bool = False,
        square_dense: Literal["pad", "keep"] = "pad",
        weight_bits: int = 8,
        assume_integer: bool = False,
        name: str | None = None,
    ) -> None:
        self._options = TransformOptions(
            spikify=spikify,
            bn_epsilon=bn_epsilon,
            weight_rescaling_fn=weight_rescaling_fn,
            expand_groups=expand_groups,
            square_dense=square_dense,
        )
        self._discretization: dict[str, Any] | None = None
        if discretize:
            self._discretization = {
                "weight_bits": weight_bits,
                "min_v_none": min_v_none,
                "assume_integer": assume_integer,
            }
        self._dvs_input = bool(dvs_input)
        graph = build_core_graph(snn, input_shape, self._dvs_input, self._options)
        self._start(self._finished(graph), artifact_of(snn) if graph.is_graded else None)
        self.name = name if name is not None else graph.name

    def _start(
        self,
        finished: tuple[CoreGraph, tuple[DiscretizationRecord, ...]],
        artifact: NetworkSpec | None,
    ) -> None:
        self.graph, self.quantization_report = finished
        self._artifact = artifact
        self._model: Any = None
        self._state = HostState.initial(self.graph)
        self._placement: Placement | None = None
        self.config: NSoCConfig | None = None
        self.device = "cpu"
        self._emulator: Any = None
        self._twin: Any = None

    def _finished(self, graph: CoreGraph) -> tuple[CoreGraph, tuple[DiscretizationRecord, ...]]:
        """Integers, unless they are already, or floats are wanted; in arrays of its own."""
        if graph.is_graded:
            return graph, ()
        is_done = all(layer.is_discretized for layer in graph.core_layers)
        if is_done or self._discretization is None:
            return replace(graph, layers=tuple(map(copied, graph.core_layers))), ()
        return discretize_graph(graph, **self._discretization)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def layers(self) -> tuple[CoreLayer, ...] | tuple[GradedLayer, ...]:
        """Core layers in topological order."""
        return self.graph.layers

    @property
    def dvs_layer(self) -> DvsLayer | None:
        """The sensor layer."""
        return self.graph.dvs

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(features, height, width)"""
        return self.graph.input_shape

    @property
    def exit_layers(self) -> list[int]:
        """Layers whose events leave the chip."""
        return list(self.graph.exits)

    @property
    def output_scale(self) -> float | dict[int, float]:
        """What average pooling behind an exit multiplies its counts by."""
        scales = {index: self.graph.output_scale.get(index, 1.0) for index in self.graph.exits}
        return next(iter(scales.values())) if len(scales) == 1 else scales

    @property
    def chip_layers_ordering(self) -> list[int]:
        """Core of each layer, in model order; empty before there is a placement."""
        return [] if self._placement is None else list(self._placement.core_of)

    @property
    def layer2core_map(self) -> dict[int, int]:
        """Layer -> core; empty before there is a placement."""
        return {} if self._placement is None else self._placement.layer2core_map

    @property
    def placement(self) -> Placement | None:
        """Cores, or processors, of the layers; None before there is a placement."""
        return self._placement

    @property
    def emulator(self) -> Any:
        """The emulated chip after `to`, otherwise None."""
        return self._emulator

    def __len__(self) -> int:
        return len(self.graph.layers)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name!r}: {len(self)} core layers, input "
            f"{self.input_shape}, on {self.device}>"
        )

    def memory_summary(self, per_core: bool = False, as_dict: bool = False) -> dict[str, Any]:
        """Memory of each layer, in model order.

        Parameters
        ----------
        per_core : bool
            Adds ``core``, ``kernel_fill`` and ``neuron_fill`` (fractions) once placed; on a mesh
            ``neural_processors``.
        as_dict : bool
            Whether each entry is a dict by layer in place of a list.

        Returns
        -------
        dict
            ``kernel``, ``neuron`` and ``bias`` words; for an artifact ``bytes`` on a mesh.

        Raises
        ------
        NotMappedError
            If `per_core` is asked for before there is a placement.
        """
        if self.graph.is_graded:
            summary: dict[str, Any] = {
                "bytes": [processor_bytes(layer) for layer in self.graph.layers]
            }
        else:
            summary = dict(memory_summary(self.graph.core_layers))
        if per_core:
            self._mapped()
            assert self.config is not None
            summary |= memory_fill(self.graph, self.config)
        if as_dict:
            return {key: dict(enumerate(values)) for key, values in summary.items()}
        return summary

    def parameters(self) -> list[Array]:
        """Weights, then biases where there are any, layer by layer; the arrays themselves."""
        if self.graph.is_graded:
            return [
                array
                for layer in self.graph.graded_layers
                for array in layer.spec.variables.values()
            ]
        arrays: list[Array] = []
        for layer in self.graph.core_layers:
            arrays += [layer.weights] if layer.bias is None else [layer.weights, layer.bias]
        return arrays

    @property
    def weights(self) -> list[Array]:
        """As `parameters`."""
        return self.parameters()

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print a table of the layers: place, shapes, memory, thresholds, destinations."""
        print_fn(network_table(self))

    # --- placing it -------------------------------------------------------------------------------

    def find_chip_layer(self, layer_idx: int) -> int:
        """The core of a layer.

        Parameters
        ----------
        layer_idx : int
            Negative numbers count from the end; the sensor layer does not count.

        Raises
        ------
        NotMappedError
            If there is no placement yet.
        IndexError
            If there is no such layer.
        """
        cores = self._mapped().core_of
        if not -len(cores) <= layer_idx < len(cores):
            raise IndexError(f"layer {layer_idx} does not exist; there are {len(cores)} layers")
        return cores[layer_idx]

    def _mapped(self) -> Placement:
        if self._placement is None or len(self._placement.core_of) != len(self):
            raise NotMappedError(
                "the network has no placement yet; call make_config(device=...) or to(device) first"
            )
        return self._placement

    def is_compatible_with(self, device_type: str | DeviceSpec) -> bool:
        """Whether `make_config` with automatic ordering would succeed; changes nothing.

        Raises
        ------
        UnknownDeviceError
            If there is no such device.
        """
        return not any(p.severity == "error" for p in self.incompatibilities(device_type))

    def incompatibilities(self, device_type: str | DeviceSpec) -> list[Problem]:
        """Every obstacle between the network and a device.

        Returns
        -------
        list of Problem
            Rules R01 to R27, the placement, and for artifacts on the AKD1000 its published
            constraints; empty if nothing is wrong.

        Raises
        ------
        UnknownDeviceError
            If there is no such device.
        """
        opened = None if self._artifact is None else self._runtime_model
        return obstacles(self.graph, get_device(device_type), opened)

    def make_config(
        self,
        chip_layers_ordering: Ordering = "auto",
        device: str = "dynapcnndevkit:0",
        monitor_layers: Monitors = None,
        config_modifier: ConfigModifier | None = None,
        *,
        layer2core_map: Literal["auto"] | Mapping[int, int] | None = None,
        slow_clk_frequency: float | None = None,
        objective: Objective = "lex",
        allow_multipass: bool = False,
    ) -> NSoCConfig:
        """Place the network and say what the chip must be told.

        Parameters
        ----------
        chip_layers_ordering : "auto", sequence of int or mapping of int to int
            Core of each layer.
        device : str
            ``"name"`` or ``"name:index"``.
        monitor_layers : None, sequence of int or "dvs", or "all"
            Layers whose spikes are recorded, before any pooling; negative numbers count from the
            end. None records the exits, ``[]`` nothing, ``"all"`` every core layer.
        config_modifier : callable, optional
            Gets the configuration and returns it, changed, before it is validated.
        layer2core_map : mapping of int to int, optional
            In place of `chip_layers_ordering`.
        slow_clk_frequency : float, optional
            Hz of the leak ticks, which add the biases.
        objective : {"lex", "min_waste", "fast_first"}
            As of `kerasnsoc.nsoc.mapping.place`.
        allow_multipass : bool
            Whether a mesh that is too small takes the layers in several passes.

        Returns
        -------
        NSoCConfig
            Also stored in `config`.

        Raises
        ------
        UnknownDeviceError, EnergyOnlyDeviceError, NotDiscretizedError, UnsupportedLayerError
            If network and device do not go together at all.
        TooManyDestinationsError
            If a layer feeds more layers than a core of the device addresses.
        MappingError
            If the layers cannot all be given cores; it says why.
        ConfigValidationError
            If a rule is broken, listing all of them, or the ordering is not possible.
        TypeError
            If `config_modifier` returns anything but a configuration.

        Warns
        -----
        UserWarning
            If a monitored layer is pooled, or the configuration has warnings.
        """
        is_auto = isinstance(chip_layers_ordering, str) and chip_layers_ordering == "auto"
        if layer2core_map is not None and not is_auto:
            raise ValueError("give chip_layers_ordering or layer2core_map, not both")
        self._placement, self.config = configure(
            self.graph,
            device,
            chip_layers_ordering if layer2core_map is None else layer2core_map,
            monitor_layers,
            config_modifier,
            slow_clock_hz=slow_clk_frequency,
            objective=objective,
            allow_multipass=allow_multipass,
        )
        return self.config

    # --- running it -------------------------------------------------------------------------------

    def to(
        self,
        device: str = "cpu",
        chip_layers_ordering: Ordering = "auto",
        monitor_layers: Monitors = None,
        config_modifier: ConfigModifier | None = None,
        slow_clk_frequency: float | None = None,
        *,
        allow_multipass: bool = False,
        **emulator_options: Any,
    ) -> NSoCNetwork:
        """Choose where `forward` runs: on the host, or on an emulated chip.

        Parameters
        ----------
        device : str
            ``"cpu"``, ``"gpu"``, ``"cuda:0"``, … (all run on the host's processor), or a chip.
        chip_layers_ordering, monitor_layers, config_modifier, slow_clk_frequency, allow_multipass
            As of `make_config`; ignored on a host.
        **emulator_options
            As of `kerasnsoc.nsoc.NSoCEmulator`.

        Returns
        -------
        NSoCNetwork
            Itself.

        Raises
        ------
        TypeError
            If `device` is no string.
        UnknownDeviceError
            If it names neither a host nor a chip.
        """
        if not isinstance(device, str):
            raise TypeError(f"device is {device!r}, but it must be a string such as 'cpu'")
        if device.partition(":")[0].lower() in _HOSTS and not is_device(device):
            self.device, self._emulator = device, None
            return self
        self.make_config(
            chip_layers_ordering,
            device,
            monitor_layers,
            config_modifier,
            slow_clk_frequency=slow_clk_frequency,
            allow_multipass=allow_multipass,
        )
        self._emulator_options = dict(emulator_options)
        self._new_emulator()
        name, index = split_device_id(device)
        self.device = f"{name}:{index}"
        return self

    def _new_emulator(self) -> None:
        from kerasnsoc.nsoc.emulator import NSoCEmulator

        self._emulator = NSoCEmulator(self.config, **self._emulator_options)

    def forward(
        self,
        x: Any,
        data_format: str = "channels_last",
        *,
        return_result: bool = False,
        **run_options: Any,
    ) -> Any:
        """Run the network where `to` has put it.

        Parameters
        ----------
        x : ndarray
            On a host: spike counts (T, H, W, C), or (batch, T, H, W, C); for an artifact its
            integers (n, H, W, C). On an emulated chip: events as of `NSoCEmulator.run`.
        data_format : {"channels_last", "channels_first"}
            Of counts, in and out.
        return_result : bool
            On a chip: whether the whole `EmulationResult` is returned in place of the spikes.
        **run_options
            On a chip: ``t_end``, ``packet_ends``.

        Returns
        -------
        ndarray, dict or EmulationResult
            On a host: counts of the exit behind its pooling, with the same leading axes; with
            several exits a dict by layer. On a chip: the spikes of the monitored layers.

        Raises
        ------
        ValueError
            If the input has other axes, or is no array of counts.

        Notes
        -----
        Potentials persist between calls; `reset_states` clears them. A chip in event mode fires at
        most once per update and a host counts per step, so that they agree in the long run, not
        spike by spike; a chip in packet mode that keeps its potentials agrees exactly.
        """
        if self._emulator is not None:
            result = self._emulator.run(x, **run_options)
            return result if return_result else result.spikes
        if return_result or run_options:
            raise ValueError(
                "return_result and run options need an emulated chip; call to('speck2f') or "
                "another device first"
            )
        if self.graph.is_graded:
            return self._runtime_model().forward(x)
        before = dict(self._state.cut_off)
        counts = forward_counts(self.graph, np.asarray(x), data_format, self._state)
        self._warn_of_saturation(before)
        return counts

    __call__ = forward

    def _warn_of_saturation(self, before: Mapping[int, int]) -> None:
        now = self._state.cut_off
        text = saturation_text(
            {
                layer.name: now.get(layer.index, 0) - before.get(layer.index, 0)
                for layer in self.graph.core_layers
            }
        )
        if text:
            warnings.warn(text, SaturationWarning, stacklevel=3)

    def _runtime_model(self) -> Any:
        if self._model is None:
            from kerasnsoc.runtime.model import Model

            assert self._artifact is not None
            self._model = Model.from_spec(self._artifact)
        return self._model

    def reset_states(self, randomize: bool = False, seed: int | None = None) -> None:
        """Set all potentials to 0, or to random integers of ``[low, threshold)``.

        On a chip the initial values of the configuration follow, and decimators start anew.

        Parameters
        ----------
        randomize : bool
        seed : int, optional
            Of PCG64; layers draw one after the other.
        """
        values = new_potentials(self.graph, randomize, seed)
        self._state = HostState({index: value[None] for index, value in values.items()})
        if self.config is not None:
            for record in self.config.cores:
                if isinstance(record, CoreConfig):
                    start = values[record.layer_index]
                    record.neurons_initial_value = start.astype(np.int16)
        if self._emulator is not None:
            self._new_emulator()

    def state_dict(self) -> dict[int, Array]:
        """Copies of the potentials: layer -> (F, H, W), or (batch, F, H, W) after a batch."""
        if self._emulator is not None:
            return {
                layer.index: self._emulator.state(layer.index).copy()
                for layer in self.graph.core_layers
            }
        return {
            index: (v[0] if len(v) == 1 else v).copy()
            for index, v in self._state.potentials.items()
        }

    # --- training it ------------------------------------------------------------------------------

    def to_keras(self, time_steps: int | None = None) -> Any:
        """A Keras model over time with the same layers and float copies of the weights.

        Parameters
        ----------
        time_steps : int, optional
            None leaves the length of sequences open.

        Returns
        -------
        keras.Model
            Input (batch, time, height, width, channels); neurons train through a surrogate.

        Raises
        ------
        UnsupportedLayerError
            If the network is an artifact, whose Keras model is the one that was frozen.
        """
        if self.graph.is_graded:
            raise UnsupportedLayerError(
                "an artifact has no float twin; train the Keras model that it was frozen from"
            )
        from kerasnsoc.nsoc.keras_twin import build_twin

        self._twin = build_twin(self.graph, f"{self.name or 'network'}_twin", time_steps)
        return self._twin

    def update_from_keras(self, model: Any) -> None:
        """Take the weights of a model with the same layers, such as the twin after training.

        The configuration and the emulated chip stay as they are until the next `to`.

        Raises
        ------
        InvalidGraphError
            If its layers have other shapes or are wired differently.
        """
        options = replace(self._options, spikify=False)
        graph = build_core_graph(model, None, self._dvs_input, options)
        old = [(w.index, w.weights.shape, w.neuron_shape) for w in self.graph.core_layers]
        new = [(w.index, w.weights.shape, w.neuron_shape) for w in graph.core_layers]
        if old != new or list(self.graph.connections()) != _same_scale(graph, self.graph):
            raise InvalidGraphError(
                f"the model becomes core layers of {[shape for _, shape, _ in new]} (weights), but "
                f"the network has {[shape for _, shape, _ in old]}, or they are wired differently"
            )
        scales = self.graph.output_scale
        graph = replace(graph, output_scale=scales, name=self.graph.name)
        self.graph, self.quantization_report = self._finished(graph)
        self._state = HostState.initial(self.graph)

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Forget gradients that the twin's optimizer has gathered over several batches.

        Keras keeps no gradients on variables, so that there is nothing else to clear.

        Parameters
        ----------
        set_to_none : bool
            Accepted for the sake of the signature; it changes nothing.
        """
        if self._twin is not None:
            from kerasnsoc.nsoc.keras_twin import clear_accumulated_gradients

            clear_accumulated_gradients(self._twin)

    # --- keeping it -------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write layers, scales and the last configuration.

        Parameters
        ----------
        path : path
            A text above 8 MiB is written as a compressed archive, with the suffix ``.npz``.

        Returns
        -------
        Path
            What was written.
        """
        graph = replace(self.graph, name=self.name)
        return write_network(path, graph, self._artifact, self.quantization_report, self.config)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NSoCNetwork:
        """A network as it was saved; potentials are the initial ones.

        Raises
        ------
        NetworkFileError
            If the file is no saved network.
        OSError
            If it cannot be read.
        """
        graph, artifact, report, config = read_network(path)
        network = cls.__new__(cls)
        network._options = TransformOptions()
        network._discretization = None
        if graph is None or any(layer.is_discretized for layer in graph.core_layers):
            network._discretization = {}
        network._dvs_input = bool(graph and graph.dvs and graph.dvs.pixel_array)
        network._start((graph or build_core_graph(artifact), report), artifact)
        network.name = network.graph.name
        network.config = config
        if config is not None:
            check_configuration(network.graph, config, path)
            network._placement = placement_of(config)
        return network


class DynapcnnCompatibleNetwork(NSoCNetwork):
    """The former name of `NSoCNetwork`; use that."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            "DynapcnnCompatibleNetwork is the former name of DynapcnnNetwork",
            DeprecationWarning,
            stacklevel=2,
        )
        super().__init__(*args, **kwargs)


DynapcnnNetwork = NSoCNetwork


def _same_scale(graph: CoreGraph, other: CoreGraph) -> list[Any]:
    """Connections of a graph with the scales of another: a twin has sums in place of averages."""
    scales = [d.scale for _, _, d in other.connections()]
    mine = list(graph.connections())
    if len(mine) != len(scales):
        return mine
    return [
        (source, slot, replace(d, scale=scale))
        for (source, slot, d), scale in zip(mine, scales, strict=True)
    ]


def neural_processors(network: NSoCNetwork, device: str | DeviceSpec) -> list[int]:
    """Fewest processors of a mesh per layer, a lower bound; 0 for an image input layer."""
    spec = get_device(device)
    return [processors_needed(layer, spec) for layer in network.graph.layers]
