"""The configuration of a chip: plain records that mirror its JSON form, one per network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from kerasnsoc.nsoc.devices import DeviceSpec, get_device
from kerasnsoc.nsoc.errors import ConfigValidationError, Problem
from kerasnsoc.nsoc.records import RecordError, canonical, decode, encode

SCHEMA = "kerasnsoc.nsoc-config"
VERSION = 1

Array = npt.NDArray[Any]


@dataclass(slots=True)
class XY:
    """A pair along columns and rows."""

    x: int = 1
    y: int = 1


@dataclass(slots=True)
class MapShape:
    """Size of a map and its number of features."""

    size: XY
    feature_count: int

    @classmethod
    def of(cls, shape_chw: tuple[int, int, int]) -> MapShape:
        """From (features, height, width)."""
        features, height, width = (int(n) for n in shape_chw)
        return cls(XY(width, height), features)

    @property
    def chw(self) -> tuple[int, int, int]:
        """(features, height, width)"""
        return self.feature_count, self.size.y, self.size.x


@dataclass(slots=True)
class DeviceReference:
    """Which device, which of them, and the digest of its description."""

    name: str
    index: int
    spec_sha256: str


@dataclass(slots=True)
class NumericConfig:
    """How neurons compute.

    Attributes
    ----------
    mode : {"event", "packet"}
    skip_zero : bool
        Whether weights of 0 make no update (event mode).
    spike_fn : {"multi", "single", "max"}
        Spikes per neuron and packet; with ``"max"`` at most `max_spikes`.
    max_spikes : int, optional
    persistent : bool
        Whether potentials outlive a packet.
    graded : bool
        Whether n spikes are one event of value n.
    layer_delay : int
        Packets between a core and the next.
    """

    mode: Literal["event", "packet"]
    skip_zero: bool = True
    spike_fn: Literal["multi", "single", "max"] = "multi"
    max_spikes: int | None = None
    persistent: bool = True
    graded: bool = False
    layer_delay: int = 0


@dataclass(slots=True)
class DestinationConfig:
    """Where spikes go.

    Attributes
    ----------
    layer : int or None
        Id of the core; None leaves the chip (and does not count as a destination on it).
    enable : bool
    pooling : XY
    feature_shift : int
    """

    layer: int | None
    enable: bool = True
    pooling: XY = field(default_factory=XY)
    feature_shift: int = 0


@dataclass(slots=True)
class InputConfig:
    """The input port, where events enter that do not pass the sensor layer."""

    input_shape: MapShape
    destinations: list[DestinationConfig]


@dataclass(slots=True)
class DvsConfig:
    """The sensor layer; `origin` and `cut` are the first and the last kept position."""

    input_shape: MapShape
    merge: bool
    pooling: XY
    origin: XY
    cut: XY
    mirror: XYFlags
    mirror_diagonal: bool
    pass_sensor_events: bool
    destinations: list[DestinationConfig]
    monitor_enable: bool = False

    @property
    def output_chw(self) -> tuple[int, int, int]:
        """(features, height, width) that leave the block."""
        height, width = self.cut.y - self.origin.y + 1, self.cut.x - self.origin.x + 1
        if self.mirror_diagonal:
            height, width = width, height
        return (1 if self.merge else self.input_shape.feature_count, height, width)


@dataclass(slots=True)
class XYFlags:
    """A switch for columns and one for rows."""

    x: bool = False
    y: bool = False


@dataclass(slots=True)
class Dimensions:
    """Shapes of a core's convolution; `output_shape` is the map of neurons, before pooling."""

    input_shape: MapShape
    output_shape: MapShape
    kernel_size: XY
    stride: XY
    padding: XY


@dataclass(slots=True)
class DecimatorConfig:
    """One of `interval` spikes passes."""

    enable: bool = False
    interval: int = 2


@dataclass(slots=True)
class BalancerConfig:
    """Drops events at the input of an overloaded core that has `capacity` waiting."""

    enable: bool = False
    capacity: int = 16


@dataclass(slots=True, eq=False)
class KillBits:
    """Synapses, biases and neurons that the chip leaves out."""

    weights: Array
    biases: Array
    neurons_value: Array

    def __eq__(self, other: object) -> bool:
        return _same_record(self, other)


@dataclass(slots=True, eq=False)
class CoreConfig:
    """One core with integrate-and-fire neurons.

    Attributes
    ----------
    core : int
        Id of the core; on a mesh the number of the group of processors, which is `layer_index`.
    layer_index : int
        Position in the model.
    name : str
    weights : ndarray of int8, shape (F, C, Ky, Kx)
    biases : ndarray of int16, shape (F,)
        All 0 where there is no bias vector; `has_biases` tells.
    neurons_initial_value : ndarray of int16, shape (F, H, W)
    quant_scale : float
        ``integer = round(quant_scale * float)``
    neural_processors : list of int
        On a mesh: who holds the layer.
    pass_index : int
        On a mesh that is too small for the whole network: in which of the sequential passes.
    """

    MARK: ClassVar[str] = "weights"

    core: int
    layer_index: int
    name: str
    dimensions: Dimensions
    weights: Array
    biases: Array
    has_biases: bool
    leak_enable: bool
    return_to_zero: bool
    threshold_high: int
    threshold_low: int
    neurons_initial_value: Array
    quant_scale: float
    destinations: list[DestinationConfig]
    monitor_enable: bool = False
    output_decimator: DecimatorConfig = field(default_factory=DecimatorConfig)
    congestion_balancer: BalancerConfig = field(default_factory=BalancerConfig)
    kill_bits: KillBits | None = None
    neural_processors: list[int] = field(default_factory=list)
    pass_index: int = 0

    def __eq__(self, other: object) -> bool:
        return _same_record(self, other)

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return self.dimensions.input_shape.chw

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(F, H, W) before the pooling of destinations."""
        return self.dimensions.output_shape.chw


@dataclass(slots=True, eq=False)
class GradedCoreConfig:
    """One layer of an artifact on a mesh: neurons answer once per packet with a graded event.

    Attributes
    ----------
    core, layer_index, name, neural_processors, pass_index
        As of `CoreConfig`; an image input layer needs no processors.
    graded : dict
        Kind and parameters of the layer, as the artifact writes them.
    input_shape, neuron_shape, output_shape : MapShape
        Of the events that arrive, the potentials, the events that leave.
    variables : dict of str to ndarray
        Integer arrays of the artifact.
    """

    MARK: ClassVar[str] = "graded"

    core: int
    layer_index: int
    name: str
    graded: dict[str, Any]
    input_shape: MapShape
    neuron_shape: MapShape
    output_shape: MapShape
    variables: dict[str, Array]
    destinations: list[DestinationConfig]
    monitor_enable: bool = False
    neural_processors: list[int] = field(default_factory=list)
    pass_index: int = 0

    def __eq__(self, other: object) -> bool:
        return _same_record(self, other)

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return self.input_shape.chw

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(F, H, W)"""
        return self.output_shape.chw


@dataclass(slots=True)
class ReadoutConfig:
    """The block that turns spikes of the last core into a class."""

    enable: bool
    source_core: int
    window: int = 1
    threshold: int = 1
    mode: Literal["max", "threshold"] = "max"


@dataclass(slots=True, eq=False)
class NSoCConfig:
    """All that a chip must be told to run one network.

    A function given as `config_modifier` may change any of it before it is validated.

    Attributes
    ----------
    device : DeviceReference
    numeric : NumericConfig
    slow_clock_hz : float or None
        Frequency of the leak ticks; None is no ticks.
    dvs : DvsConfig or None
        With it, events enter through the sensor layer.
    input : InputConfig or None
        Without a sensor layer: where events enter.
    cores : list of CoreConfig, or list of GradedCoreConfig
        In the order of the model's layers; unused cores are left out.
    readout : ReadoutConfig or None
    timing : dict of str to float
        Times that replace those of the device, in picoseconds.
    energy : dict of str to float
        Figures that replace those of the device, in joules.
    """

    device: DeviceReference
    numeric: NumericConfig
    cores: list[CoreConfig | GradedCoreConfig]
    slow_clock_hz: float | None = None
    dvs: DvsConfig | None = None
    input: InputConfig | None = None
    readout: ReadoutConfig | None = None
    timing: dict[str, float] = field(default_factory=dict)
    energy: dict[str, float] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return _same_record(self, other)

    def to_json(self, indent: int | None = None) -> str:
        """Canonical JSON: sorted keys, no NaN, arrays as dtype, shape and base64.

        Raises
        ------
        ConfigValidationError
            If a member holds what JSON cannot say, such as NaN.
        """
        try:
            content = {"schema": SCHEMA, "version": VERSION, **encode(self)}
        except RecordError as error:
            raise ConfigValidationError(f"the configuration is no JSON: {error}") from None
        if indent is None:
            return canonical(content).decode("ascii")
        return json.dumps(content, sort_keys=True, indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> NSoCConfig:
        """Read what `to_json` wrote; ranges are checked by `validate`.

        Raises
        ------
        ConfigValidationError
            If the text is no JSON, or a member is missing, unknown or of another type.
        """
        try:
            content = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ConfigValidationError(f"the configuration is no JSON: {error}") from None
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ConfigValidationError(
                f"the text is no configuration of a chip: its member 'schema' must be {SCHEMA!r}"
            )
        if type(content.get("version")) is not int or content["version"] != VERSION:
            raise ConfigValidationError(
                f"the configuration has version {content.get('version')!r}, this release reads "
                f"version {VERSION}"
            )
        body = {name: item for name, item in content.items() if name not in ("schema", "version")}
        try:
            config: NSoCConfig = decode(cls, body, "config")
        except RecordError as error:
            raise ConfigValidationError(str(error)) from None
        return config

    def sha256(self) -> str:
        """Digest of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode("ascii")).hexdigest()

    def get_device(self) -> DeviceSpec:
        """The description of the device that this configuration names."""
        return get_device(self.device.name)

    def core_of(self, core: int) -> CoreConfig | GradedCoreConfig | None:
        """The record of a core, None where it is not used."""
        return next((record for record in self.cores if record.core == core), None)

    def entries(self) -> list[int]:
        """Ids of the cores that take events from outside, ascending."""
        return sorted({d.layer for d in self._incoming() if d.layer is not None})

    def exits(self) -> list[int]:
        """Ids of the cores whose events leave the chip, in model order."""
        return [
            record.core
            for record in self.cores
            if any(d.enable and d.layer is None for d in record.destinations)
        ]

    def _incoming(self) -> Iterator[DestinationConfig]:
        for port in (self.dvs, self.input):
            if port is not None:
                yield from (d for d in port.destinations if d.enable)

    def validate(self, device: DeviceSpec | str | None = None) -> list[Problem]:
        """Every rule of the device that this configuration breaks.

        Parameters
        ----------
        device : DeviceSpec or str, optional
            Default: the one that the configuration names.

        Returns
        -------
        list of Problem
            By rule; only those of severity ``"error"`` make the configuration invalid.
        """
        from kerasnsoc.nsoc.validation import validate

        return validate(self, self.get_device() if device is None else get_device(device))


def to_chip_order(core: CoreConfig) -> tuple[Array, Array]:
    """Weights as (F, C, Kx, Ky) and initial values as (F, W, H), as vendors' formats have them."""
    return (
        np.ascontiguousarray(core.weights.transpose(0, 1, 3, 2)),
        np.ascontiguousarray(core.neurons_initial_value.transpose(0, 2, 1)),
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _same_record(one: Any, other: Any) -> bool:
    """Equality of records that hold arrays: dtype, shape and every number."""
    return type(one) is type(other) and canonical(encode(one)) == canonical(encode(other))
