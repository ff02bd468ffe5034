"""Chips as data: structure, limits, timing and energy, each figure with grade and source."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal, TypeAlias

from kerasnsoc._quantities import Grade, Quantity
from kerasnsoc.nsoc.errors import UnknownDeviceError

Mode: TypeAlias = Literal["event", "packet"]
"""``event``: a neuron may fire at each event. ``packet``: it fires at the end of each packet."""

QueuePolicy: TypeAlias = Literal["block", "stall", "drop"]
"""What happens at a full queue. ``block``: it grows, and the time is counted. ``stall``: the sender
waits. ``drop``: the event is lost."""


@dataclass(frozen=True, slots=True)
class CoreLimits:
    """What one core can compute, whatever its memory.

    Attributes
    ----------
    max_kernel : int
        Largest side of a kernel.
    strides, paddings, poolings : tuple of int
        Allowed along each axis; pooling is that of a destination.
    max_in_xy, max_out_xy : int
        Largest side of the input map and of the map of neurons.
    max_features_in, max_features_out : int
    square_kernel, square_pool : bool
        Whether both sides must be equal.
    fan_out : int
        Destinations per core on the chip.
    weight_bits, bias_bits, state_bits : int
        Signed integers; thresholds have `state_bits`.
    address_bits : int
        Of the fields x, y and feature of a neuron together.
    """

    max_kernel: int
    strides: tuple[int, ...]
    paddings: tuple[int, ...]
    poolings: tuple[int, ...]
    max_in_xy: int
    max_out_xy: int
    max_features_in: int
    max_features_out: int
    square_kernel: bool = True
    square_pool: bool = True
    fan_out: int = 2
    weight_bits: int = 8
    state_bits: int = 16
    bias_bits: int = 8
    address_bits: int = 18


@dataclass(frozen=True, slots=True)
class CoreSpec:
    """One core, or one neural processor of a mesh.

    Attributes
    ----------
    id : int
    kernel_words, neuron_words, bias_words : int
        Memories of a core that holds one layer; 0 where `memory_bytes` rules.
    memory_bytes : int
        One memory for everything; 0 where words rule.
    max_neurons : int
        0 where only memory limits them.
    lanes : int
        Synaptic updates at a time.
    xy : tuple of int
        Column and row of its router.
    limits : CoreLimits, optional
        In place of those of the device.
    """

    id: int
    kernel_words: int = 0
    neuron_words: int = 0
    bias_words: int = 0
    memory_bytes: int = 0
    max_neurons: int = 0
    lanes: int = 1
    xy: tuple[int, int] = (0, 0)
    limits: CoreLimits | None = None


@dataclass(frozen=True, slots=True)
class DvsSpec:
    """The sensor on the chip, and its block of preprocessing."""

    width: int = 128
    height: int = 128
    polarities: int = 2
    poolings: tuple[int, ...] = (1, 2, 4)
    fan_out: int = 2


@dataclass(frozen=True, slots=True)
class ReadoutSpec:
    """The block that turns the spikes of the last core into a class.

    Attributes
    ----------
    classes : int
        Without the idle class.
    windows : tuple of int
        Slow-clock cycles that a moving average may span.
    feature_stride : int
        Feature ``feature_stride * k`` of the last core reaches class ``k + 1``, the others none.
    """

    classes: int = 15
    windows: tuple[int, ...] = (1, 16, 32)
    feature_stride: int = 4


@dataclass(frozen=True, slots=True)
class NocSpec:
    """How packets travel: one hop through a star, or x before y through a mesh of routers."""

    topology: Literal["star", "mesh"] = "star"
    width: int = 1
    height: int = 1
    port: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class TimingSpec:
    """Seconds per operation; None where the chip has no such step.

    Attributes
    ----------
    t_io_in, t_io_out : Quantity
        Through the pads, each way.
    t_router : Quantity
        Once per packet.
    t_hop_x, t_hop_y : Quantity
        Per hop; a star has one, of `t_hop_x`.
    t_link : Quantity
        How long a packet occupies a link.
    t_decode : Quantity
        Fixed cost per event at a core.
    t_syn : Quantity
        Per synaptic update and lane.
    t_emit : Quantity
        Per spike.
    t_leak : Quantity, optional
        Per neuron in the sweep of a tick.
    t_upd, t_upd_active : Quantity, optional
        Per neuron at the end of a packet, silent or firing.
    t_sync : Quantity, optional
        Barrier per packet.
    t_dvs : Quantity, optional
        Preprocessing of a sensor event.
    t_config : Quantity, optional
        Per byte of a configuration that is written between two passes.
    """

    t_io_in: Quantity
    t_io_out: Quantity
    t_router: Quantity
    t_hop_x: Quantity
    t_hop_y: Quantity
    t_link: Quantity
    t_decode: Quantity
    t_syn: Quantity
    t_emit: Quantity
    t_leak: Quantity | None = None
    t_upd: Quantity | None = None
    t_upd_active: Quantity | None = None
    t_sync: Quantity | None = None
    t_dvs: Quantity | None = None
    t_config: Quantity | None = None

    def picoseconds(self) -> dict[str, int]:
        """Every time as a whole number of picoseconds, ties to even; 0 where there is no step."""
        times = {}
        for entry in fields(self):
            quantity = getattr(self, entry.name)
            seconds = 0.0 if quantity is None or quantity.value is None else quantity.value
            # Decimal of the shortest text: the product with 1e12 in floats could miss a tie.
            exact = Decimal(repr(seconds)).scaleb(12)
            times[entry.name] = int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
        return times


@dataclass(frozen=True, slots=True)
class EnergySpec:
    """Joules per operation, and watts at rest.

    None means that the device has no term of its own for it (another figure contains it); an
    unknown `Quantity` means that there is one, but nobody published it.

    Attributes
    ----------
    e_syn : Quantity
        Per synaptic update.
    e_event : Quantity, optional
        Decoding and queue, per event at a core.
    e_leak : Quantity, optional
        Per neuron in the sweep of a tick.
    e_upd, e_upd_active : Quantity, optional
        Per neuron at the end of a packet, and what a firing neuron costs in its place.
    e_spike : Quantity, optional
        Per spike sent.
    e_route, e_hop_x, e_hop_y : Quantity, optional
        Per packet, and per hop.
    e_io : Quantity, optional
        Per event through the pads.
    e_dvs : Quantity, optional
        Per sensor event.
    e_sync : Quantity, optional
        Per barrier.
    e_config : Quantity, optional
        Per byte of a configuration that is written between two passes.
    static_w : mapping of str to Quantity
        Supply rail -> W at rest, charged over the duration.
    dvs_static_w : mapping of str to Quantity
        Rails that are charged only while the sensor is used.
    separate_static_w : mapping of str to Quantity
        Shown beside a total, never in it: of a board, or at another voltage.
    scope : {"per_term", "all_in"}
        ``all_in``: `e_syn` already contains everything; only it is charged.
    note : str
    is_dense : bool
        Whether `e_syn` is per operation of a dense computation, zeros included, whatever the
        number of events.
    """

    e_syn: Quantity
    e_event: Quantity | None = None
    e_leak: Quantity | None = None
    e_upd: Quantity | None = None
    e_upd_active: Quantity | None = None
    e_spike: Quantity | None = None
    e_route: Quantity | None = None
    e_hop_x: Quantity | None = None
    e_hop_y: Quantity | None = None
    e_io: Quantity | None = None
    e_dvs: Quantity | None = None
    e_sync: Quantity | None = None
    e_config: Quantity | None = None
    static_w: Mapping[str, Quantity] = field(default_factory=dict)
    dvs_static_w: Mapping[str, Quantity] = field(default_factory=dict)
    separate_static_w: Mapping[str, Quantity] = field(default_factory=dict)
    scope: Literal["per_term", "all_in"] = "per_term"
    note: str = ""
    is_dense: bool = False


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One chip.

    Attributes
    ----------
    name, family : str
        Lower case; devices of a family share their rules.
    cores : tuple of CoreSpec
        Empty: only energy figures are known, nothing can be placed.
    limits : CoreLimits, optional
    mode : {"event", "packet"}
    energy : EnergySpec
    grade, source
        Evidence for the structure.
    timing : TimingSpec, optional
    dvs, readout : optional
        None where the chip has no such block.
    noc : NocSpec
    persistent : bool
        Whether potentials outlive a packet.
    graded : bool
        Whether an event carries a number.
    layer_delay : int
        Packets between a layer and the next.
    decimator : tuple of int
        N of "one of N spikes passes"; empty without such a block.
    congestion_balancer, kill_bits : bool
    queue_policy : {"block", "stall", "drop"}
        What happens at a full queue, unless the emulator is told otherwise.
    errata : tuple of str
        ``"readout_x4"``: see `ReadoutSpec.feature_stride`.
    facts : mapping of str to Quantity
        Published figures about the structure.
    timings, energies : mapping
        More profiles by name; the ones above are ``"default"``.
    note : str
        What one should know before trusting a result.
    """

    name: str
    family: str
    cores: tuple[CoreSpec, ...]
    limits: CoreLimits | None
    mode: Mode
    energy: EnergySpec
    grade: Grade
    source: str
    timing: TimingSpec | None = None
    dvs: DvsSpec | None = None
    readout: ReadoutSpec | None = None
    noc: NocSpec = NocSpec()
    persistent: bool = True
    graded: bool = False
    layer_delay: int = 0
    decimator: tuple[int, ...] = ()
    congestion_balancer: bool = False
    kill_bits: bool = False
    queue_policy: QueuePolicy = "block"
    errata: tuple[str, ...] = ()
    facts: Mapping[str, Quantity] = field(default_factory=dict)
    timings: Mapping[str, TimingSpec] = field(default_factory=dict)
    energies: Mapping[str, EnergySpec] = field(default_factory=dict)
    note: str = ""

    @property
    def is_mesh(self) -> bool:
        """Whether a layer takes as many neural processors as it needs."""
        return self.noc.topology == "mesh"

    def limits_of(self, core: CoreSpec) -> CoreLimits | None:
        """Limits of one core."""
        return core.limits if core.limits is not None else self.limits

    def quantities(self) -> Iterator[tuple[str, Quantity]]:
        """Every figure with its path, such as ``"energy.e_syn"``."""
        yield from _walk("", self)

    def sha256(self) -> str:
        """Digest of everything above; a configuration names it."""
        from kerasnsoc.nsoc.records import canonical, encode

        return hashlib.sha256(canonical(encode(self))).hexdigest()


def _walk(path: str, value: object) -> Iterator[tuple[str, Quantity]]:
    if isinstance(value, Quantity):
        yield path, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _walk(f"{path}.{name}".lstrip("."), item)
    elif isinstance(value, DeviceSpec | TimingSpec | EnergySpec):
        for entry in fields(value):
            yield from _walk(f"{path}.{entry.name}".lstrip("."), getattr(value, entry.name))


_devices: dict[str, DeviceSpec] = {}


def get_device(name: str | DeviceSpec) -> DeviceSpec:
    """The description of a device.

    Parameters
    ----------
    name : str or DeviceSpec
        ``"name"`` or ``"name:index"``; the index tells boards of one kind apart.

    Raises
    ------
    UnknownDeviceError
        If no device has that name, the index is no whole number, or there is more than one colon.
        The message lists all known names.
    TypeError
        If the argument is of another type.
    """
    if isinstance(name, DeviceSpec):
        return name
    return _table()[split_device_id(name)[0]]


def split_device_id(name: str) -> tuple[str, int]:
    """Name and index of a device id; errors as of `get_device`."""
    if not isinstance(name, str):
        raise TypeError(f"a device is named by a str or a DeviceSpec, got {name!r}")
    device, *rest = name.strip().lower().split(":")
    known = f"Known devices: {', '.join(list_devices())}."
    if len(rest) > 1 or (rest and not (rest[0].isascii() and rest[0].isdigit())):
        raise UnknownDeviceError(
            f"device {name!r} must be 'name' or 'name:index' with a whole index, such as "
            f"'speck2fdevkit:0'. {known}"
        )
    if device not in _table():
        raise UnknownDeviceError(
            f"device {name!r} is not known. {known} Add one with kerasnsoc.nsoc.register_device."
        )
    return device, int(rest[0]) if rest else 0


def standardize_device_id(name: str) -> str:
    """``"name:index"``, with index 0 where there is none; errors as of `get_device`."""
    device, index = split_device_id(name)
    return f"{device}:{index}"


def is_device(name: object) -> bool:
    """Whether a string names a chip, so that ``"cpu"`` and ``"gpu:0"`` are told apart."""
    return isinstance(name, str) and name.strip().lower().partition(":")[0] in _table()


def list_devices() -> tuple[str, ...]:
    """Names of all known devices, in alphabetical order."""
    return tuple(sorted(_table()))


def register_device(device: DeviceSpec | str | os.PathLike[str]) -> DeviceSpec:
    """Add a device to the table, or replace one.

    Parameters
    ----------
    device : DeviceSpec, str or path
        A description, or a JSON file that holds one; `kerasnsoc.nsoc.device_file` says how.

    Returns
    -------
    DeviceSpec

    Warns
    -----
    UserWarning
        If a device of that name was there before.

    Raises
    ------
    DeviceFileError
        If the description contradicts itself, or the file is none; the table stays as it was.
    OSError
        If the file cannot be read.
    """
    from kerasnsoc.nsoc.device_file import check_device, load_device

    spec = check_device(device) if isinstance(device, DeviceSpec) else load_device(device)
    if spec.name in _table():
        warnings.warn(
            f"device {spec.name!r} is already registered; the new description replaces the old one",
            UserWarning,
            stacklevel=2,
        )
    _devices[spec.name] = spec
    return spec


def _table() -> dict[str, DeviceSpec]:
    if not _devices:
        from kerasnsoc.nsoc.device_table import BUILT_IN

        _devices.update({device.name: device for device in BUILT_IN})
    return _devices
