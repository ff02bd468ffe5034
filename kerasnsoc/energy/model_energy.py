"""Energy per inference of a Keras model, estimated from its layers and firing rates."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from kerasnsoc._extras import require
from kerasnsoc.energy._columns import head, layout, parse_column
from kerasnsoc.energy.devices import EnergyDevice, get_device, list_devices, register_device
from kerasnsoc.energy.quantities import Quantity
from kerasnsoc.energy.report import EnergyReport, LayerCounts, make_frame, price_counts
from kerasnsoc.spiking import layer_statistics as statistics
from kerasnsoc.spiking._graph import Node, first_node, graph_of, is_layer, unwrapped, wrapped
from kerasnsoc.spiking._rates import measure_rates
from kerasnsoc.spiking._time_step import TimeStep
from kerasnsoc.spiking._uses import Use, all_uses

if TYPE_CHECKING:
    import pandas as pd

Stats = dict[str, Any]
Computer = Callable[[Any], Stats]

DEFAULT_COLUMNS = ("name", "output_shape", "params", "connections", "neurons", "energy cpu")

_ESTIMATE_NOTE = (
    "* These are estimates only. They count synaptic operations and neuron updates, and leave out "
    "memory traffic, data transfer and idle power unless a device's figures contain them. Compare "
    "numbers of one kind of device, and read what its figures stand for before quoting them."
)
_NON_SPIKING_NOTE = (
    "* This model contains non-spiking activations, which a spiking device cannot run as they are. "
    "The estimate pretends that their values are firing rates. Replace them by explicit "
    "SpikingActivation layers to see what the device would do."
)


class _Devices(Mapping[str, Mapping[str, Any]]):
    """The table of devices as plain values; always up to date, read-only."""

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        try:
            device = get_device(name)
        except ValueError as error:
            raise KeyError(name) from error
        return {
            "spiking": device.spiking,
            "energy_per_synop": device.energy_per_synop.value,
            "energy_per_neuron": device.energy_per_neuron.value,
            "source": device.energy_per_synop.source,
            "note": device.note,
        }

    def __iter__(self) -> Iterator[str]:
        return iter(list_devices())

    def __len__(self) -> int:
        return len(list_devices())


class ModelEnergy:
    """Energy per inference of a Keras model on one device or another.

    Connections and neurons are counted from shapes, in one time step: an undefined first axis is
    taken for time, a defined one for space. With example data, firing rates are measured too: the
    mean of the absolute values that a layer takes in, in Hz, since a spike has height ``1 / dt``
    (counts of `IAF` and `LIF` layers are divided by their `dt`). Values that are not spikes are
    read as rates.

    A non-spiking device computes every connection once per inference::

        energy = e_synop * connections + e_neuron * neurons

    a spiking device works for events, time step by time step::

        energy = e_synop * connections * rate * dt * timesteps + e_neuron * neurons * timesteps

    Parameters
    ----------
    model : keras.Sequential or functional keras.Model
        Built. Models inside it are looked into.
    example_data : array, list, dict, or whatever ``predict`` takes, optional
        Typical inputs; needed for spiking devices.

    Attributes
    ----------
    layer_stats : dict
        Layer to ``{"connections", "neurons", "spiking"}``, summed over its uses in this model.
        Layers with feedback have ``recurrent_connections`` too, those of the connections whose
        events come at the layer's output rate.
    layer_rates : dict
        Layer to Hz, summed over its uses; empty without data.
    node_stats : dict
        Use of a layer to what its rule returned.
    devices : mapping
        Class attribute: device to its figures, without their intervals; None where unknown.

    Raises
    ------
    ValueError
        If the model has no graph or a shape in it is not defined.

    Warns
    -----
    UserWarning
        Once for each class of layers without a rule, and each operation outside of layers; they
        count nothing.

    See Also
    --------
    kerasnsoc.energy.energy_of_run : from counted events, with intervals.

    Examples
    --------
    >>> import keras
    >>> model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(128, "relu")])
    >>> energy = ModelEnergy(model)
    >>> print(f"{energy.total_energy('cpu'):.2e} J")
    8.64e-04 J
    """

    devices: ClassVar[Mapping[str, Mapping[str, Any]]] = _Devices()
    layer_stats_computers: ClassVar[dict[type, Computer]] = statistics.COMPUTERS
    register_device = staticmethod(register_device)

    def __init__(self, model: Any, example_data: Any = None) -> None:
        graph = graph_of(model)
        self.model = model
        self.example_data = example_data
        self._unknown: set[str] = set()
        self._uses = all_uses(graph, self._stats)
        if example_data is not None:
            rates = measure_rates(graph, [use.scales for use in self._uses], example_data)
            for use, rate, output_rate in zip(self._uses, *rates, strict=True):
                use.rate, use.output_rate = rate, output_rate
        shown = [use for use in self._uses if not use.is_hidden]
        self.node_stats: dict[Node, Stats] = {
            use.node: use.stats for use in shown if not use.is_model
        }
        # The input layer of a Sequential is in its graph, but not among its layers.
        layers = dict.fromkeys(
            use.node.layer
            for use in shown
            if use.node.layer in (use.owners[-1] if use.owners else model).layers
        )
        self.layer_stats: dict[Any, Stats] = {
            layer: statistics.add_stats([use.stats for use in self._uses_of(layer)])
            for layer in layers
        }
        self.layer_rates: dict[Any, float] = {}
        if example_data is not None:
            self.layer_rates = {
                layer: math.fsum(use.rate for use in shown if use.node.layer is layer)
                for layer in layers
            }

    @classmethod
    def compute_layer_stats(cls, layer: Any, node: Any = None) -> Stats:
        """What the rule for a layer returns.

        Parameters
        ----------
        layer : keras.layers.Layer
        node : node, optional
            Which use of the layer; the first one if left out.

        Returns
        -------
        dict
            Empty, with a warning, if there is no rule.

        Raises
        ------
        ValueError
            If `layer` is no layer or was never called, or a rule returns an unknown key.
        """
        if not is_layer(layer):
            raise ValueError(
                f"Cannot compute stats for layer of type {type(layer).__name__!r}; pass a "
                "keras.layers.Layer"
            )
        found = first_node(layer) if node is None else wrapped(node)
        if found is None:
            raise ValueError(
                f"layer {layer.name!r} has never been applied to any inputs, so that its shapes "
                "are not known; call it on a keras.Input"
            )
        try:
            return statistics.find_stats(found)
        except statistics.UnknownLayerError as error:
            _warn_unknown(error.layer_class)
            return {}

    @classmethod
    def register_layer(cls, layer_class: type) -> Callable[[Computer], Computer]:
        """Decorator: a rule for a class of layers and its subclasses.

        The function takes a node with ``layer``, ``operation``, ``input_shapes``,
        ``output_shapes`` (batch included; a tuple, or a list of tuples for several tensors),
        ``input_tensors`` and ``output_tensors``. It returns a dict with any of ``connections``
        (default 0), ``neurons`` (0), ``spiking`` (True) and ``recurrent_connections`` (0).

        Warns
        -----
        UserWarning
            If the class had a rule of its own before.

        Examples
        --------
        >>> import keras
        >>> class Scale(keras.layers.Layer):
        ...     def call(self, inputs):
        ...         return 2 * inputs
        >>> @ModelEnergy.register_layer(Scale)
        ... def scale_stats(node):
        ...     return {"connections": math.prod(node.output_shapes[1:])}
        """

        def register(computer: Computer) -> Computer:
            if layer_class in cls.layer_stats_computers:
                warnings.warn(
                    f"Layer '{layer_class.__name__}' already registered; the new rule replaces the "
                    "old one",
                    UserWarning,
                    stacklevel=2,
                )
            cls.layer_stats_computers[layer_class] = computer
            return computer

        return register

    def layer_energy(
        self, layer: Any, device: str, timesteps_per_inference: float = 1, dt: Any = None
    ) -> tuple[float, float]:
        """Joules per inference of all uses of a layer.

        Parameters
        ----------
        layer : keras.layers.Layer
        device : str
            One of `devices`; upper and lower case are the same.
        timesteps_per_inference : float
            Above 0; without effect on non-spiking devices, as is `dt`.
        dt : float, optional
            Seconds per time step; None is ``config.default.dt`` at this moment.

        Returns
        -------
        synop, neuron : float
            nan where the device's figure is not known.

        Raises
        ------
        ValueError
            If the device or the layer is unknown, a number is not above 0, or the device is
            spiking and there was no example data.
        """
        seconds = self._seconds(timesteps_per_inference, dt)
        table = get_device(device)
        if layer not in self.layer_stats:
            raise ValueError(
                f"{getattr(layer, 'name', layer)!r} is no layer of model {self.model.name!r}"
            )
        uses = self._uses_of(layer)
        neurons = sum(use.stats.get("neurons", 0) for use in uses)
        if not table.spiking:
            synops = float(sum(use.stats.get("connections", 0) for use in uses))
            return _price(synops, table.energy_per_synop), _neuron_price(neurons, table)
        if self.example_data is None:
            raise ValueError(
                f"device {device!r} is spiking, so that its energy depends on firing rates: "
                "example_data must be given to ModelEnergy"
            )
        synops = math.fsum(use.synops_per_second for use in uses) * seconds
        return (
            _price(synops, table.energy_per_synop),
            _neuron_price(neurons * timesteps_per_inference, table),
        )

    def total_energy(
        self, device: str, timesteps_per_inference: float = 1, dt: Any = None
    ) -> float:
        """Joules per inference of the whole model; arguments as of `layer_energy`."""
        self._seconds(timesteps_per_inference, dt)
        get_device(device)
        return math.fsum(
            joules
            for layer in self.model.layers
            for joules in self.layer_energy(layer, device, timesteps_per_inference, dt)
        )

    def report(
        self,
        device: str | EnergyDevice,
        timesteps_per_inference: float = 1,
        dt: Any = None,
        *,
        duration_s: float | None = None,
    ) -> EnergyReport:
        """The same report as that of a counted run, from mean rates, for one inference.

        Where `total_energy` gives one number, this gives its interval, grade and sources, and
        charges spikes, events and static power too, where the device has figures for them.

        Parameters
        ----------
        device : str or EnergyDevice
            A chip of `kerasnsoc.nsoc` is known too.
        timesteps_per_inference, dt
            As of `layer_energy`.
        duration_s : float, optional
            Time for which static power is charged.

        Returns
        -------
        EnergyReport
            Counts are expectations, and need not be whole.

        Raises
        ------
        ValueError
            As of `layer_energy`.
        """
        seconds = self._seconds(timesteps_per_inference, dt)
        table = get_device(device)
        if table.spiking and self.example_data is None:
            raise ValueError(
                f"device {table.name!r} is spiking, so that its energy depends on firing rates: "
                "example_data must be given to ModelEnergy"
            )
        counts = []
        for layer in self.model.layers:
            uses = self._uses_of(layer)
            neurons = sum(use.stats.get("neurons", 0) for use in uses)
            events = spikes = synops = 0.0
            if self.example_data is not None:
                synops = math.fsum(use.synops_per_second for use in uses) * seconds
                for use in uses:
                    if neurons_of_use := use.stats.get("neurons", 0):
                        spikes += neurons_of_use * _output_hz(use) * seconds
                    if use.stats.get("connections", 0):
                        events += _inputs(use) * use.rate * seconds
            counts.append(
                LayerCounts(
                    layer.name,
                    samples=1,
                    synaptic_ops=_whole(synops),
                    neuron_updates=_whole(neurons * timesteps_per_inference),
                    spikes=_whole(spikes),
                    connections=sum(use.stats.get("connections", 0) for use in uses),
                    more={"events": _whole(events)},
                    steps=timesteps_per_inference,
                )
            )
        return price_counts(counts, table, duration_s)

    def summary(
        self,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        timesteps_per_inference: float = 1,
        dt: Any = None,
        line_length: int = 98,
        print_warnings: bool = True,
        print_sources: bool = False,
    ) -> None:
        """Print what `summary_string` returns."""
        print(
            self.summary_string(
                columns, timesteps_per_inference, dt, line_length, print_warnings, print_sources
            )
        )

    def summary_string(
        self,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        timesteps_per_inference: float = 1,
        dt: Any = None,
        line_length: int = 98,
        print_warnings: bool = True,
        print_sources: bool = False,
    ) -> str:
        """The layers of the model as a table.

        Parameters
        ----------
        columns : sequence of str
            ``name``, ``output_shape``, ``params``, ``connections``, ``neurons``, ``rate``, or one
            of ``energy``, ``synop_energy``, ``neuron_energy`` followed by a device.
        timesteps_per_inference, dt
            As of `layer_energy`.
        line_length : int
            Widest line of the table.
        print_warnings : bool
            Whether to say what the estimate leaves out.
        print_sources : bool
            Whether to list the figures of the devices in the table, with interval, grade and
            source.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            If there are no columns, one is unknown or `line_length` is too small for them; and as
            of `layer_energy`.
        """
        kinds = [parse_column(column) for column in columns]
        if not kinds:
            raise ValueError("columns is empty, but the table needs at least one")
        if line_length < 2 * len(kinds) - 1:
            raise ValueError(
                f"line_length is {line_length}, but {len(kinds)} columns need at least "
                f"{2 * len(kinds) - 1} characters"
            )
        arguments = (timesteps_per_inference, dt)
        heads = [head(kind, device) for kind, device in kinds]
        rows = [
            [self._cell(layer, kind, device, *arguments) for kind, device in kinds]
            for layer in self.model.layers
        ]
        lines = layout(heads, rows, [kind == "name" for kind, _ in kinds], line_length)
        totals = [device for kind, device in kinds if kind == "energy"]
        if totals:
            lines.append("=" * len(lines[0]))
        for device in totals:
            total = self.total_energy(device, *arguments)
            lines.append(f"Total energy per inference [Joules/inf] ({device}): {total:.2e}")
        notes = self._notes(totals) if print_warnings and totals else []
        if print_sources:
            notes += _sources([device for _, device in kinds if device])
        for note in notes:
            lines += textwrap.wrap(note, line_length, subsequent_indent="  ")
        return "\n".join(lines)

    def to_frame(
        self,
        devices: Sequence[str] = ("cpu",),
        timesteps_per_inference: float = 1,
        dt: Any = None,
    ) -> pd.DataFrame:
        """One row per layer as a table of pandas; energies in J.

        Parameters
        ----------
        devices : sequence of str
        timesteps_per_inference, dt
            As of `layer_energy`.
        """
        rows = []
        for layer in self.model.layers:
            stats = self.layer_stats[layer]
            row = {
                "layer": layer.name,
                "type": type(layer).__name__,
                "output_shape": self._output_shapes(layer),
                "params": layer.count_params(),
                "connections": stats["connections"],
                "neurons": stats["neurons"],
                "spiking": stats["spiking"],
                "rate": self.layer_rates.get(layer, math.nan),
            }
            for device in [devices] if isinstance(devices, str) else devices:
                synop, neuron = self.layer_energy(layer, device, timesteps_per_inference, dt)
                row |= {
                    f"synop_energy {device}": synop,
                    f"neuron_energy {device}": neuron,
                    f"energy {device}": synop + neuron,
                }
            rows.append(row)
        return make_frame(rows)

    def plot(
        self,
        device: str = "cpu",
        timesteps_per_inference: float = 1,
        dt: Any = None,
        ax: Any = None,
    ) -> Any:
        """Bars of the energy of each layer, synaptic operations and neurons stacked.

        Parameters
        ----------
        device, timesteps_per_inference, dt
            As of `layer_energy`.
        ax : matplotlib axes, optional
            A new figure if left out.

        Returns
        -------
        matplotlib axes

        Raises
        ------
        ImportError
            If matplotlib is not installed; the message names the extra.
        """
        pyplot = require("matplotlib.pyplot", "plot")
        layers = self.model.layers
        energies = [
            self.layer_energy(layer, device, timesteps_per_inference, dt) for layer in layers
        ]
        if ax is None:
            _, ax = pyplot.subplots(figsize=(7, 1 + 0.3 * len(layers)), layout="constrained")
        names = [layer.name for layer in layers]
        synops, neurons = ([pair[i] for pair in energies] for i in (0, 1))
        ax.barh(names, synops, label="synaptic operations")
        ax.barh(names, neurons, left=synops, label="neuron updates")
        ax.invert_yaxis()
        ax.set_xlabel("J per inference")
        ax.set_title(f"{self.model.name} on {device}")
        ax.legend()
        return ax

    def _stats(self, node: Node) -> Stats:
        """Statistics of a node; unknown ones count nothing, and are told of once."""
        if is_layer(node.operation):
            try:
                return statistics.find_stats(node)
            except statistics.UnknownLayerError as error:
                if error.layer_class not in self._unknown:
                    self._unknown.add(error.layer_class)
                    _warn_unknown(error.layer_class)
                return {}
        name = type(node.operation).__name__
        if f"operation {name}" not in self._unknown:
            self._unknown.add(f"operation {name}")
            warnings.warn(
                f"Operation '{name}' in model {self.model.name!r} is no layer and counts nothing; "
                "use a layer for it if it costs energy",
                UserWarning,
                stacklevel=2,
            )
        return {}

    def _uses_of(self, layer: Any) -> list[Use]:
        return [
            use
            for use in self._uses
            if not use.is_hidden and (use.node.layer is layer or layer in use.owners)
        ]

    def _seconds(self, timesteps: float, dt: Any) -> float:
        """Duration of an inference, from checked arguments."""
        step = float(TimeStep(dt, "the energy query"))
        if not step > 0:
            raise ValueError(f"dt is {step}, but it must be greater than 0 seconds")
        if not 0 < timesteps < math.inf:
            raise ValueError(
                f"timesteps_per_inference is {timesteps}, but it must be finite and greater than 0"
            )
        return step * timesteps

    def _output_shapes(self, layer: Any) -> Any:
        return next(u.node.output_shapes for u in self._uses if u.node.layer is layer)

    def _cell(self, layer: Any, kind: str, device: str, timesteps: float, dt: Any) -> str:
        if kind == "name":
            return f"{layer.name} ({type(layer).__name__})"
        if kind == "output_shape":
            return str(self._output_shapes(layer))
        if kind == "params":
            return str(layer.count_params())
        if kind in ("connections", "neurons"):
            return str(self.layer_stats[layer][kind])
        if kind == "rate":
            return f"{self.layer_rates.get(layer, math.nan):.2g}"
        synop, neuron = self.layer_energy(layer, device, timesteps, dt)
        joules = {"energy": synop + neuron, "synop_energy": synop, "neuron_energy": neuron}
        return f"{joules[kind]:.2g}"

    def _notes(self, devices: Sequence[str]) -> list[str]:
        notes = [_ESTIMATE_NOTE]
        tables = [get_device(device) for device in devices]
        missing = [t.name for t in tables if t.energy_per_spike is not None or t.static]
        if missing:
            notes.append(
                f"* Energy per spike and static power are known for {', '.join(missing)}, but not "
                "included here; kerasnsoc.energy.energy_of_run charges them."
            )
        is_spiking = all(self.layer_stats[layer]["spiking"] for layer in self.model.layers)
        if any(table.spiking for table in tables) and not is_spiking:
            notes.append(_NON_SPIKING_NOTE)
        return notes


def _warn_unknown(layer_class: str) -> None:
    warnings.warn(
        f"Cannot compute stats for layer of type '{layer_class}', which counts nothing; say what "
        "it costs with ModelEnergy.register_layer",
        UserWarning,
        stacklevel=3,
    )


def _inputs(use: Use) -> int:
    """Values that a use takes in per sample and time step."""
    shapes = use.node.input_shapes
    shapes = shapes if isinstance(shapes, list) else [shapes]
    # an undefined axis is the batch or time
    return sum(math.prod(n for n in shape[1:] if n is not None) for shape in shapes)


def _output_hz(use: Use) -> float:
    layer = unwrapped(use.node.layer)
    is_count = getattr(layer, "SPIKE_UNIT", None) == "count"
    return use.output_rate / layer.seconds_per_step if is_count else use.output_rate


def _whole(count: float) -> float:
    """A count that is whole but for rounding as an int."""
    return round(count) if math.isclose(count, round(count), rel_tol=1e-12) else count


def _price(count: float, quantity: Quantity) -> float:
    if not count:
        return 0.0
    return math.nan if quantity.value is None else count * quantity.value


def _neuron_price(count: float, device: EnergyDevice) -> float:
    return 0.0 if device.scope == "all_in" else _price(count, device.energy_per_neuron)


def _sources(devices: Sequence[str]) -> list[str]:
    lines = []
    for device in {get_device(name).name: get_device(name) for name in devices}.values():
        for name, quantity in device.quantities.items():
            lines.append(f"{device.name}, {name}: {quantity}. {quantity.source}")
        if device.note:
            lines.append(f"{device.name}: {device.note}")
    return lines
