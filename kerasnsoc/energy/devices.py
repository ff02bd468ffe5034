"""One table of devices: joules per operation, each figure with its interval, grade and source."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Literal, TypeAlias, get_args

from kerasnsoc.energy.quantities import Quantity
from kerasnsoc.nsoc import devices as chips
from kerasnsoc.nsoc.devices import DeviceSpec

Scope: TypeAlias = Literal["per_term", "all_in"]


@dataclass(frozen=True)
class EnergyDevice:
    """What one device pays per counted operation.

    Parameters
    ----------
    name : str
        Lower case, unique in the table.
    spiking : bool
        True if only events cost: synaptic operations are priced. False if every connection is
        computed on every sample, whatever its input.
    energy_per_synop : Quantity
        J per synaptic operation, or per connection if not `spiking`.
    energy_per_neuron : Quantity
        J per neuron update; an unknown one leaves the total of a report open.
    energy_per_spike : Quantity, optional
        J per emitted event (its way to the next neurons), where it is a figure of its own.
    static : mapping of str to Quantity
        Power of each supply rail in W, charged over a duration.
    scope : {"per_term", "all_in"}
        ``all_in``: the figure per synaptic operation already contains memory, routing, neuron
        updates and leakage at one operating point; nothing else is charged on top.
    note : str
        What one should know before quoting the result.
    operations : mapping of str to Quantity or None
        J per operation of further kinds, see `FURTHER_OPERATIONS`. None: the device does such
        things, and another figure contains their cost.
    separate : mapping of str to Quantity
        W that are shown beside a total and never in it: of a board, or at another voltage.
    """

    name: str
    spiking: bool
    energy_per_synop: Quantity
    energy_per_neuron: Quantity
    energy_per_spike: Quantity | None = None
    static: Mapping[str, Quantity] = field(default_factory=dict)
    scope: Scope = "per_term"
    note: str = ""
    operations: Mapping[str, Quantity | None] = field(default_factory=dict)
    separate: Mapping[str, Quantity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scope not in get_args(Scope):
            raise ValueError(f"scope is {self.scope!r}, but it must be one of {get_args(Scope)}")
        for name, quantity in self.quantities.items():
            unit = "W" if name.startswith(("static ", "separate ")) else "J"
            if quantity.unit != unit:
                raise ValueError(
                    f"figure {name!r} of device {self.name!r} is in {quantity.unit}, but it must "
                    f"be in {unit}"
                )

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        """Every figure of the device by name."""
        named = {"synop": self.energy_per_synop, "neuron": self.energy_per_neuron}
        if self.energy_per_spike is not None:
            named["spike"] = self.energy_per_spike
        named |= {kind: each for kind, each in self.operations.items() if each is not None}
        named |= {f"static {rail}": watts for rail, watts in self.static.items()}
        return named | {f"separate {rail}": watts for rail, watts in self.separate.items()}


_SURVEY = "Tang et al., Frontiers in Neuroscience 17:1187252, 2023, table 3"
_DEGNAN = "Degnan, Marr, Hasler, IEEE Trans. VLSI Systems 24(1), 2016, pp. 58-66"
_DAVIES = "Davies et al., IEEE Micro 38(1), 2018, table 2 (pre-silicon simulation at 0.75 V)"
_HOEPPNER = "Höppner et al., IEEE Trans. Circuits and Systems I 66(8), 2019 (arXiv 1903.08941)"
_HOROWITZ = "Horowitz, ISSCC 2014, 45 nm at 0.9 V"
_TRUENORTH = "Merolla et al., Science 345, 2014 (doi 10.1126/science.1254642)"

_AKD1000 = (
    "published board measurement of AkidaNet 0.5 at 224x224: (1021 - 912.23) mW / 43.48 frames/s = "
    "2.50 mJ per 350.5 million dense-equivalent operations = 7.1 pJ"
)

_CPU = Quantity.exact(8.6e-9, "J", "S", f"{_DEGNAN}: one multiply-accumulate, Intel i7-4960X")
_GPU = Quantity.exact(0.3e-9, "J", "S", f"{_DEGNAN}: one multiply-accumulate, GTX Titan Black")
_ARM = Quantity.exact(0.9e-9, "J", "S", f"{_DEGNAN}: one multiply-accumulate, ARM Cortex-A")
_MAC45 = Quantity.exact(
    4.6e-12, "J", "D", f"{_HOROWITZ}: 32-bit float multiply 3.7 pJ + add 0.9 pJ = 4.6 pJ"
)
_ADD45 = Quantity.exact(0.9e-12, "J", "S", f"{_HOROWITZ}: 32-bit float add 0.9 pJ")

# Assumptions bear the name ASSUMED_, so that nobody takes one for a measurement. To replace one,
# register a device of your own with a better figure.
_ONE_MAC = "assumed: a neuron update costs one multiply-accumulate of the same device"
ASSUMED_CPU_NEURON = Quantity.exact(8.6e-9, "J", "A", _ONE_MAC)
ASSUMED_GPU_NEURON = Quantity.exact(0.3e-9, "J", "A", _ONE_MAC)
ASSUMED_ARM_NEURON = Quantity.exact(0.9e-9, "J", "A", _ONE_MAC)
ASSUMED_CMOS45_ANN_NEURON = Quantity.exact(4.6e-12, "J", "A", _ONE_MAC)
ASSUMED_CMOS45_SNN_NEURON = Quantity(
    0.9e-12,
    0.9e-12,
    4.6e-12,
    "J",
    "A",
    "assumed: integrate-and-fire costs one 45 nm add, a leaky neuron one multiply-accumulate",
)

_NOT_IN_SURVEY = Quantity.unknown("J", "P", f"not given in {_SURVEY}")
_NO_LOIHI2_FIGURE = Quantity.unknown(
    "J", "P", f"no measured figure is public ({_SURVEY} lists it as not available)"
)
_SURVEY_NOTE = (
    "As tabulated by a survey, whose accounting differs from that of the vendors' own papers; "
    "neuron updates are not given."
)


def _surveyed(name: str, joules: float) -> EnergyDevice:
    figure = Quantity.exact(joules, "J", "P", _SURVEY)
    return EnergyDevice(name, True, figure, _NOT_IN_SURVEY, note=_SURVEY_NOTE)


_TABLE = (
    EnergyDevice("cpu", False, _CPU, ASSUMED_CPU_NEURON, note="Desktop processor, floating point."),
    EnergyDevice(
        "gpu",
        False,
        _GPU,
        ASSUMED_GPU_NEURON,
        note="Floating point; holds for large batches that keep the whole card busy.",
    ),
    EnergyDevice(
        "arm", False, _ARM, ASSUMED_ARM_NEURON, note="Mobile application core, floating point."
    ),
    EnergyDevice(
        "loihi",
        True,
        Quantity(
            27.1e-12,
            26.6e-12,
            44.0e-12,
            "J",
            "D",
            f"{_DAVIES}: synaptic operation 23.6 pJ, a minimum [23.6-40], + one mean hop 3.5 pJ "
            "[3.0-4.0] = 27.1 pJ [26.6-44.0]",
        ),
        Quantity(
            81e-12, 52e-12, 81e-12, "J", "S", f"{_DAVIES}: update of an active neuron; inactive 52"
        ),
        note="Spike transport is folded into the synaptic operation. Static power is left out: "
        "it was measured at another voltage.",
    ),
    EnergyDevice(
        "spinnaker",
        True,
        Quantity(13.3e-9, 45e-12, 13.3e-9, "J", "S", f"{_HOEPPNER}; lower bound 45 pJ: {_SURVEY}"),
        Quantity.exact(26e-9, "J", "S", _HOEPPNER),
        note="Whole-system accounting; the survey's 45 pJ per operation is 'spinnaker-survey'.",
    ),
    EnergyDevice(
        "spinnaker2",
        True,
        Quantity(450e-12, 10e-12, 450e-12, "J", "S", f"{_HOEPPNER}; lower bound 10 pJ: {_SURVEY}"),
        Quantity.exact(2.19e-9, "J", "S", _HOEPPNER),
        note="28 nm prototype; the survey's 10 pJ per operation is 'spinnaker2-survey'.",
    ),
    EnergyDevice(
        "cmos45-ann",
        False,
        _MAC45,
        ASSUMED_CMOS45_ANN_NEURON,
        note="Arithmetic alone, without memory; the usual convention of papers for dense networks.",
    ),
    EnergyDevice(
        "cmos45-snn",
        True,
        _ADD45,
        ASSUMED_CMOS45_SNN_NEURON,
        note="Arithmetic alone, without memory; the usual convention of papers for spiking ones.",
    ),
    EnergyDevice(
        "truenorth",
        True,
        Quantity(
            26e-12,
            2.5e-12,
            26e-12,
            "J",
            "S",
            f"{_TRUENORTH}: 26 pJ per synaptic event at 20 Hz, 128 active synapses per neuron, "
            f"0.775 V, all power divided by events; lower bound 2.5 pJ: {_SURVEY}",
        ),
        Quantity.unknown("J", "S", f"contained in the figure per synaptic event ({_TRUENORTH})"),
        scope="all_in",
        note="Whole chip at one operating point; other firing rates give other figures.",
    ),
    EnergyDevice(
        "akd1000",
        False,
        Quantity(7.1e-12, 3e-12, 20e-12, "J", "D", _AKD1000),
        Quantity.exact(0.0, "J", "D", _AKD1000),
        note="Not a vendor's figure: dynamic power of a board, network and host logic together, "
        "divided by dense operations. Neuron updates are in it, the floor of 0.91 W is not.",
    ),
    EnergyDevice(
        "loihi2",
        True,
        _NO_LOIHI2_FIGURE,
        _NO_LOIHI2_FIGURE,
        note="Listed so that its energy is not guessed; register a measured figure of your own.",
    ),
    _surveyed("odin", 12.7e-12),
    _surveyed("reckon", 5.3e-12),
    _surveyed("ubrain", 26e-12),
    _surveyed("tianjic", 1.54e-12),
    _surveyed("neuronflow", 20e-12),
    _surveyed("seneca", 2.8e-12),
    _surveyed("truenorth-survey", 2.5e-12),
    _surveyed("loihi-survey", 23.6e-12),
    _surveyed("spinnaker-survey", 45e-12),
    _surveyed("spinnaker2-survey", 10e-12),
)

_devices: dict[str, EnergyDevice] = {device.name: device for device in _TABLE}


def get_device(name: str | EnergyDevice) -> EnergyDevice:
    """The device of that name; upper and lower case are the same, ``µ`` may be written ``u``.

    Chips that `kerasnsoc.nsoc` describes, and of which this table has no entry, are found too.

    Raises
    ------
    ValueError
        If no device has that name; the message lists all known ones.
    """
    if isinstance(name, EnergyDevice):
        return name
    key = _key(name)
    device = _devices.get(key)
    if device is None and chips.is_device(key):
        device = chip_energy(chips.get_device(key))
    if device is None:
        raise ValueError(
            f"Energy specs unknown for device {name!r}. Known devices: "
            f"{', '.join(list_devices())}. Add one with kerasnsoc.energy.register_device."
        )
    return device


def list_devices() -> tuple[str, ...]:
    """Names of all known devices, in alphabetical order; of the Speck chips, which share their
    figures, only ``speck2f``."""
    further = (
        name
        for name in chips.list_devices()
        if name not in _devices and (name == "speck2f" or chips.get_device(name).family != "speck")
    )
    return tuple(sorted((*_devices, *further)))


FURTHER_OPERATIONS: Mapping[str, str] = {
    "e_event": "events",
    "e_leak": "leak updates",
    "e_upd_active": "firing neurons",
    "e_route": "packets",
    "e_hop_x": "hops in x",
    "e_hop_y": "hops in y",
    "e_io": "events through pads",
    "e_dvs": "sensor events",
    "e_sync": "barriers",
    "e_config": "configuration bytes",
}
"""Figure of a chip -> the kind of operation that it prices, beyond those of any device."""


def chip_energy(
    chip: str | DeviceSpec, *, profile: str = "default", uses_sensor: bool = False
) -> EnergyDevice:
    """What a chip pays per operation, in the form of this table.

    Parameters
    ----------
    chip : str or DeviceSpec
        One of `kerasnsoc.nsoc.list_devices`.
    profile : str
        ``"default"``, or one of the chip's further sets of figures, such as ``"calibrated"``.
    uses_sensor : bool
        Whether the sensor on the chip is switched on, whose rails are charged then.

    Raises
    ------
    ValueError
        If the chip or the profile is unknown.
    """
    chip = chips.get_device(chip)
    profiles = {"default": chip.energy, **chip.energies}
    if profile not in profiles:
        raise ValueError(
            f"profile is {profile!r}, but the energy of {chip.name!r} is known as "
            f"{', '.join(map(repr, profiles))}"
        )
    spec = profiles[profile]
    contained = f"contained in the figure per synaptic operation ({spec.e_syn.source})"
    neuron = spec.e_upd
    if neuron is None:
        is_all_in = spec.scope == "all_in"
        unknown = Quantity.unknown("J", spec.e_syn.grade, contained)
        neuron = unknown if is_all_in else Quantity.exact(0.0, "J", spec.e_syn.grade, contained)
    return EnergyDevice(
        chip.name,
        not spec.is_dense,
        spec.e_syn,
        neuron,
        spec.e_spike,
        dict(spec.static_w) | (dict(spec.dvs_static_w) if uses_sensor else {}),
        spec.scope,
        " ".join(filter(None, (spec.note, chip.note))),
        {kind: getattr(spec, name) for name, kind in FURTHER_OPERATIONS.items()},
        dict(spec.separate_static_w),
    )


def register_device(
    device_name: str,
    energy_per_synop: float | Quantity | None,
    energy_per_neuron: float | Quantity | None,
    spiking: bool,
    *,
    source: str | None = None,
    note: str | None = None,
    energy_per_spike: float | Quantity | None = 0.0,
    static_power: float | Quantity | None = 0.0,
) -> EnergyDevice:
    """Add a device to the table, or replace one.

    Parameters
    ----------
    device_name : str
        Upper and lower case are the same.
    energy_per_synop : float, Quantity or None
        J per synaptic operation (`spiking`) or per connection; None if nobody knows.
    energy_per_neuron : float, Quantity or None
        J per neuron update; None if nobody knows.
    spiking : bool
        Whether only events cost.
    source : str, optional
        Where plain numbers come from. With it they count as quoted (grade S), without it as
        assumed (grade A). A `Quantity` brings its own source and grade.
    note : str, optional
        What one should know before quoting a result.
    energy_per_spike : float, Quantity or None
        J per emitted event, on top of synaptic operations; None if nobody knows.
    static_power : float, Quantity or None
        W, charged when a report is given a duration; None if nobody knows.

    Returns
    -------
    EnergyDevice
        The new entry.

    Warns
    -----
    UserWarning
        If a device of that name was there before.

    Raises
    ------
    TypeError, ValueError
        If an argument is unusable; the table stays as it was.
    """
    key = _key(device_name)
    if not key or not key.isprintable():
        raise ValueError(f"device_name is {device_name!r}, but it must be a printable name")
    if not isinstance(spiking, bool):
        raise TypeError(f"spiking is {spiking!r}, but it must be True or False")

    def quantity(
        argument: str, figure: float | Quantity | None, unit: Literal["J", "W"]
    ) -> Quantity:
        if isinstance(figure, Quantity):
            if figure.unit != unit:
                raise ValueError(f"{argument} is given in {figure.unit}, but it must be in {unit}")
            return figure
        grade: Literal["S", "A"] = "S" if source else "A"
        origin = source or f"registered as {key!r} without a source"
        if figure is None:
            return Quantity.unknown(unit, grade, origin)
        if isinstance(figure, bool) or not isinstance(figure, Real):
            raise TypeError(
                f"{argument} is {figure!r}, but it must be a number in {unit}, a Quantity or None"
            )
        number = float(figure)
        if not 0 <= number < math.inf:
            raise ValueError(
                f"{argument} is {figure!r}, but it must be finite and at least 0 {unit}"
            )
        return Quantity.exact(number, unit, grade, origin)

    def is_given(figure: float | Quantity | None) -> bool:
        return isinstance(figure, Quantity) or figure is None or figure != 0

    device = EnergyDevice(
        key,
        spiking,
        quantity("energy_per_synop", energy_per_synop, "J"),
        quantity("energy_per_neuron", energy_per_neuron, "J"),
        quantity("energy_per_spike", energy_per_spike, "J") if is_given(energy_per_spike) else None,
        {"supply": quantity("static_power", static_power, "W")} if is_given(static_power) else {},
        note=note or "",
    )
    if key in _devices:
        warnings.warn(
            f"Device {device_name!r} already registered; the new figures replace the old ones",
            UserWarning,
            stacklevel=2,
        )
    _devices[key] = device
    return device


def _key(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a device is named by a str or an EnergyDevice, got {name!r}")
    # Both code points that print as the Greek letter: micro sign and small mu.
    return (
        name.strip()
        .lower()
        .replace("\N{MICRO SIGN}", "u")
        .replace("\N{GREEK SMALL LETTER MU}", "u")
    )
