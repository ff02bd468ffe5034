"""The built-in devices. What is assumed bears the name ASSUMED_, so that nobody quotes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kerasnsoc._quantities import Grade, Quantity
from kerasnsoc.nsoc.devices import (
    CoreLimits,
    CoreSpec,
    DeviceSpec,
    DvsSpec,
    EnergySpec,
    NocSpec,
    ReadoutSpec,
    TimingSpec,
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A published statement that the models of devices are checked against."""

    statement: str
    grade: str
    source: str


_RICHTER = "Richter et al., Neuromorphic Computing and Engineering 2024 (10.1088/2634-4386/ad2ce3)"
_YAO = "Yao et al., Nature Communications 15:4464, 2024 (10.1038/s41467-024-47811-6)"
_BONAZZI = "Bonazzi et al., arXiv 2312.00425"
_DAVIES = "Davies et al., IEEE Micro 38(1), 2018, table 2 (pre-silicon simulation at 0.75 V)"
_SANA_FE = "SANA-FE, IEEE TCAD 2025 (10.1109/TCAD.2025.3537971), Loihi architecture file"
_LOIHI2 = "Intel Loihi 2 technology brief, 2021"
_MEROLLA = "Merolla et al., Science 345, 2014 (10.1126/science.1254642)"
_HOEPPNER = "Höppner et al., arXiv 1903.08941"
_GONZALEZ = "Gonzalez et al., arXiv 2401.04491"
_SURVEY = "Tang et al., Frontiers in Neuroscience 17:1187252, 2023 (PMC10326429)"
_SINABS = "sinabs 2.0.0 (Apache-2.0), builders of the devices, and its Speck documentation"
_AKIDA = "vendor's constraint pages and user guide of the AKD1000"
_AKIDA_BOARD = "published board measurement of AkidaNet 0.5 at 224x224"

ANCHORS: Mapping[str, Anchor] = {
    "SPK-L9": Anchor("one event through nine layers: 3.36 us", "P", _YAO),
    "SPK-L1": Anchor("one event through one 3x3 layer, pad to pad: 1.58 us", "S", _RICHTER),
    "SPK-LK": Anchor("latency of a layer: 120 ns to 7 us, by kernel size", "S", _RICHTER),
    "SPK-BW": Anchor(
        "30 M synaptic operations/s per core, 100 M on core 0, about 30 M events/s per neuron "
        "unit; sources disagree on which cores are parallel (the vendor lists layers 0 and 1)",
        "S",
        _RICHTER,
    ),
    "SPK-P0": Anchor(
        "resting power of the processor 0.42 mW; lowest power in real time 0.70 mW", "P", _YAO
    ),
    "SPK-RAIL": Anchor(
        "idle rails of one development kit: IO 61.7 uW, RAM 51.7 uW, logic 367.0 uW, pixel digital "
        "78.9 uW, pixel analog 610.9 uW; RAM + logic = 418.7 uW agrees with SPK-P0",
        "P",
        _SINABS,
    ),
    "SPK-NM": Anchor("N-MNIST: 0.47-0.6 mW, 141-180 uJ per sample of 300 ms", "S", _RICHTER),
    "SPK-RT": Anchor("eye tracking: 2.89-4.8 mW end to end, latency 5.57-8.01 ms", "P", _BONAZZI),
    "AKD-FLOOR": Anchor(
        "board floor 912-914 mW; AkidaNet 0.5 at 224x224: 1021 mW average, 43.48 frames/s, 23.48 "
        "mJ/frame, 68 neural processors, 4.300 M clocks/frame; DS-CNN keyword spotting: 93,965 "
        "clocks/frame, 65 neural processors",
        "P",
        _AKIDA_BOARD,
    ),
    "LOI-T2": Anchor("times and energies per operation at 0.75 V", "S", _DAVIES),
    "LOI-CAL": Anchor(
        "an architecture-level model reproduces silicon within 12 % of the energy and 25 % of the "
        "latency over three applications",
        "P",
        _SANA_FE,
    ),
    "TN": Anchor(
        "26 pJ per synaptic event, everything included, at 20 Hz, 128 active synapses, 0.775 V, 72 "
        "mW; 63 mW for a video workload",
        "S",
        _MEROLLA,
    ),
    "SOP-TAB": Anchor(
        "pJ per synaptic operation: ODIN 12.7, ReckOn 5.3, uBrain 26, TrueNorth 2.5, Tianjic 1.54, "
        "NeuronFlow 20, Loihi 23.6, SpiNNaker 45, SpiNNaker2 10, SENECA 2.8",
        "P",
        _SURVEY,
    ),
}
"""Published statements that models of devices are compared with."""


def _ns(value: float, grade: Grade, source: str) -> Quantity:
    return Quantity.exact(value * 1e-9, "s", grade, source)


def _pj(
    value: float, grade: Grade, source: str, low: float | None = None, high: float | None = None
) -> Quantity:
    return Quantity(
        value * 1e-12,
        (value if low is None else low) * 1e-12,
        (value if high is None else high) * 1e-12,
        "J",
        grade,
        source,
    )


def _uw(value: float, source: str) -> Quantity:
    return Quantity.exact(value * 1e-6, "W", "P", source)


# --- Speck family ---------------------------------------------------------------------------------

SPECK_LIMITS = CoreLimits(
    max_kernel=16,
    strides=(1, 2, 4, 8),
    paddings=tuple(range(8)),
    poolings=(1, 2, 4),
    max_in_xy=128,
    max_out_xy=64,
    max_features_in=1024,
    max_features_out=1024,
)

ASSUMED_SPECK_LANES = (3, 1, 1, 1, 1, 1, 1, 1, 1)
"""Parallel updates per core. 100 M against 30 M operations/s [SPK-BW] on core 0; sources disagree
on core 1."""

_KI = 1024
_NINE_KERNELS = (16, 16, 16, 32, 32, 64, 64, 16, 16)
_NINE_NEURONS = (64, 64, 64, 32, 32, 16, 16, 16, 16)
_NINE = tuple(
    CoreSpec(i, kernels * _KI, neurons * _KI, 1024, lanes=lanes)
    for i, (kernels, neurons, lanes) in enumerate(
        zip(_NINE_KERNELS, _NINE_NEURONS, ASSUMED_SPECK_LANES, strict=True)
    )
)
_FIVE = tuple(
    CoreSpec(i, kernels * _KI, neurons * _KI, biases, lanes=ASSUMED_SPECK_LANES[i])
    for i, (kernels, neurons, biases) in enumerate(
        ((16, 64, 0), (32, 32, 0), (32, 32, 0), (64, 16, 1024), (16, 16, 1024))
    )
)

_SPECK_SYN = "SPK-LK: (7000 - 120) ns / 255 further positions = 27 ns"
_SPECK_IO = "SPK-L1: (1580 - 2 * 102.5 - 120) ns / 2 = 627.5 ns"
_SPECK_HOP = "SPK-L9 and SPK-L1: (3360 - 1580) ns / 8 - 120 ns = 102.5 ns"

ASSUMED_SPECK_T_ROUTER = _ns(0, "A", "assumed: contained in the hop, which is derived end to end")
ASSUMED_SPECK_T_LINK = _ns(0, "A", "assumed: no contention in the star")
ASSUMED_SPECK_T_EMIT = _ns(0, "A", "assumed: contained in the update that fires")
ASSUMED_SPECK_T_LEAK = _ns(27, "A", "assumed: as long as a synaptic update")
ASSUMED_SPECK_T_DVS = _ns(0, "A", "assumed: no figure for the preprocessing is public")
ASSUMED_SPECK_T_SYN_THROUGHPUT = _ns(
    33.3, "A", "assumed: SPK-BW read as the rate of one lane, 1 / 30 M operations/s"
)

SPECK_TIMING = TimingSpec(
    t_io_in=_ns(627.5, "D", _SPECK_IO),
    t_io_out=_ns(627.5, "D", _SPECK_IO),
    t_router=ASSUMED_SPECK_T_ROUTER,
    t_hop_x=_ns(102.5, "D", _SPECK_HOP),
    t_hop_y=_ns(102.5, "D", _SPECK_HOP),
    t_link=ASSUMED_SPECK_T_LINK,
    t_decode=_ns(93, "D", "SPK-LK: 120 ns for one position - 27 ns = 93 ns"),
    t_syn=_ns(27, "D", _SPECK_SYN),
    t_emit=ASSUMED_SPECK_T_EMIT,
    t_leak=ASSUMED_SPECK_T_LEAK,
    t_dvs=ASSUMED_SPECK_T_DVS,
)

_SPECK_E = (
    "assumed: SPK-NM minus SPK-P0, (0.47-0.6 - 0.42) mW * 300 ms = 15-54 uJ for about 3 M "
    "operations, 5-18 pJ each"
)
ASSUMED_SPECK_E_SYN = _pj(10, "A", _SPECK_E, 5, 20)
ASSUMED_SPECK_E_EVENT = _pj(20, "A", "assumed: decoding, queue and hop, two updates' worth", 5, 50)
ASSUMED_SPECK_E_SPIKE = _pj(5, "A", "assumed: half an update", 1, 20)
ASSUMED_SPECK_E_LEAK = _pj(10, "A", "assumed: as much as a synaptic update", 5, 20)

SPECK_ENERGY = EnergySpec(
    e_syn=ASSUMED_SPECK_E_SYN,
    e_event=ASSUMED_SPECK_E_EVENT,
    e_leak=ASSUMED_SPECK_E_LEAK,
    e_spike=ASSUMED_SPECK_E_SPIKE,
    static_w={
        "io": _uw(61.7, f"SPK-RAIL ({_SINABS})"),
        "ram": _uw(51.7, f"SPK-RAIL ({_SINABS})"),
        "logic": _uw(367.0, f"SPK-RAIL ({_SINABS})"),
    },
    dvs_static_w={
        "pixel digital": _uw(78.9, f"SPK-RAIL ({_SINABS})"),
        "pixel analog": _uw(610.9, f"SPK-RAIL ({_SINABS})"),
    },
    note="Dynamic figures are assumptions fitted to one published workload.",
)

SPECK_FACTS = {
    "classes": Quantity.exact(15, "1", "P", "samna feature list: classes of the readout"),
    "sensor_pixels": Quantity.exact(128 * 128, "1", "P", _RICHTER),
}

_DECIMATOR = (2, 4, 8, 16, 32, 128, 256, 512)


def _speck(
    name: str, cores: tuple[CoreSpec, ...] = _NINE, *, note: str = "", grade: Grade = "P"
) -> DeviceSpec:
    is_newest = name.startswith(("speck2e", "speck2f"))
    return DeviceSpec(
        name=name,
        family="speck",
        cores=cores,
        limits=SPECK_LIMITS,
        mode="event",
        energy=SPECK_ENERGY,
        grade=grade,
        source=_SINABS,
        timing=SPECK_TIMING,
        dvs=DvsSpec(),
        readout=ReadoutSpec() if is_newest else None,
        decimator=_DECIMATOR if is_newest else (),
        congestion_balancer=is_newest,
        kill_bits=name.startswith(("dynapcnn", "speck2b")),
        errata=("readout_x4",) if is_newest else (),
        facts=SPECK_FACTS,
        timings={"throughput": replace(SPECK_TIMING, t_syn=ASSUMED_SPECK_T_SYN_THROUGHPUT)},
        note=note,
    )


# --- AKD1000-like mesh ----------------------------------------------------------------------------

AKD1000_LIMITS = CoreLimits(
    max_kernel=65535,
    strides=(1, 2, 3),
    paddings=tuple(range(8)),
    poolings=(1,),
    max_in_xy=65535,
    max_out_xy=65535,
    max_features_in=65535,
    max_features_out=65535,
    square_kernel=False,
    fan_out=65535,
    weight_bits=8,
    state_bits=20,
    bias_bits=20,
    address_bits=48,
)
"""Sides and features are bounded by the event format alone; the published rules are those of
`kerasnsoc.nsoc.model_hardware_incompatibilities`."""

_CLOCK = "AKD-FLOOR: 4.300 M clocks/frame * 43.48 frames/s = 187 MHz"
_CLOCK_NS = 1e3 / 187

ASSUMED_AKD1000_GRID = (5, 4)
"""Columns and rows of nodes with four neural processors each."""

ASSUMED_AKD1000_T_IO = _ns(1000, "A", "assumed: 1 us through the host interface")
ASSUMED_AKD1000_T_ROUTER = _ns(2 * _CLOCK_NS, "A", "assumed: 2 clocks")
ASSUMED_AKD1000_T_HOP = _ns(2 * _CLOCK_NS, "A", "assumed: 2 clocks")
ASSUMED_AKD1000_T_LINK = _ns(_CLOCK_NS, "A", "assumed: 1 clock")
ASSUMED_AKD1000_T_DECODE = _ns(8 * _CLOCK_NS, "A", "assumed: 8 clocks")
ASSUMED_AKD1000_T_EMIT = _ns(_CLOCK_NS, "A", "assumed: 1 clock")
ASSUMED_AKD1000_T_UPD = _ns(_CLOCK_NS, "A", "assumed: 1 clock")
ASSUMED_AKD1000_T_SYNC = _ns(0, "A", "assumed: no barrier, packets overlap")
ASSUMED_AKD1000_MAX_CLOCK = Quantity.exact(300e6, "Hz", "A", "assumed: highest clock of 28 nm part")

ASSUMED_CONFIGURATION_TIME = _ns(10, "A", "assumed: 100 MB/s through the host interface")
"""Per byte; no figure is public for writing a network into a mesh."""

_CONFIGURATION_ENERGY = Quantity.unknown("J", "P", "no figure is public for writing a network")

AKD1000_TIMING = TimingSpec(
    t_io_in=ASSUMED_AKD1000_T_IO,
    t_io_out=ASSUMED_AKD1000_T_IO,
    t_router=ASSUMED_AKD1000_T_ROUTER,
    t_hop_x=ASSUMED_AKD1000_T_HOP,
    t_hop_y=ASSUMED_AKD1000_T_HOP,
    t_link=ASSUMED_AKD1000_T_LINK,
    t_decode=ASSUMED_AKD1000_T_DECODE,
    t_syn=_ns(
        _CLOCK_NS / 1.2,
        "D",
        "AKD-FLOOR: 350.5 M operations / 4.300 M clocks / 68 processors = 1.2 per clock",
    ),
    t_emit=ASSUMED_AKD1000_T_EMIT,
    t_upd=ASSUMED_AKD1000_T_UPD,
    t_upd_active=ASSUMED_AKD1000_T_UPD,
    t_sync=ASSUMED_AKD1000_T_SYNC,
    t_config=ASSUMED_CONFIGURATION_TIME,
)

_AKD_E = (
    "AKD-FLOOR: (1021 - 912.23) mW / 43.48 frames/s = 2.50 mJ per 350.5 M dense-equivalent "
    "operations = 7.1 pJ"
)

AKD1000_ENERGY = EnergySpec(
    e_syn=_pj(7.1, "D", _AKD_E, 3, 20),
    e_event=_pj(0, "D", f"contained: {_AKD_E}"),
    e_upd=_pj(0, "D", f"contained: {_AKD_E}"),
    e_upd_active=_pj(0, "D", f"contained: {_AKD_E}"),
    e_spike=_pj(0, "D", f"contained: {_AKD_E}"),
    e_hop_x=_pj(0, "D", f"contained: {_AKD_E}"),
    e_hop_y=_pj(0, "D", f"contained: {_AKD_E}"),
    e_config=_CONFIGURATION_ENERGY,
    separate_static_w={
        "board floor": Quantity(
            0.91223, 0.912, 0.914, "W", "P", f"AKD-FLOOR ({_AKIDA_BOARD}): of the board"
        )
    },
    note="Not a vendor's figure: dynamic power of network and host logic together, divided by "
    "dense-equivalent operations, whatever the sparsity.",
    is_dense=True,
)


def _mesh_cores(
    grid: tuple[int, int], per_node: int, memory_bytes: int, max_neurons: int = 0
) -> tuple[CoreSpec, ...]:
    """Cores along the boustrophedon path: even rows left to right, odd rows right to left."""
    width, height = grid
    path = [(x if y % 2 == 0 else width - 1 - x, y) for y in range(height) for x in range(width)]
    return tuple(
        CoreSpec(node * per_node + i, memory_bytes=memory_bytes, max_neurons=max_neurons, xy=xy)
        for node, xy in enumerate(path)
        for i in range(per_node)
    )


_AKD1000 = DeviceSpec(
    name="akd1000",
    family="akida",
    cores=_mesh_cores(ASSUMED_AKD1000_GRID, 4, memory_bytes=102_400),
    limits=AKD1000_LIMITS,
    mode="packet",
    energy=AKD1000_ENERGY,
    grade="D",
    source=f"{_AKIDA}: 80 processors; memory of each: 8 MB / 80 = 100 KB; the grid is assumed",
    timing=AKD1000_TIMING,
    noc=NocSpec("mesh", *ASSUMED_AKD1000_GRID),
    persistent=False,
    graded=True,
    facts={
        "neural_processors": Quantity.exact(80, "1", "P", _AKIDA),
        "sram_bytes": Quantity.exact(8e6, "B", "P", _AKIDA),
        "clock": Quantity.exact(187e6, "Hz", "D", _CLOCK),
        "clock_observed": Quantity(
            179e6, 35e6, 179e6, "Hz", "S", "observed adaptive clock of a development board"
        ),
        "clock_max": ASSUMED_AKD1000_MAX_CLOCK,
    },
    note="Times other than the synaptic throughput, and the grid of nodes, are assumptions.",
)


# --- Loihi and devices with energy figures only ---------------------------------------------------

ASSUMED_LOIHI_GRID = (8, 4)
"""Columns and rows of tiles with four cores each."""

ASSUMED_LOIHI_T_IO = _ns(0, "A", "assumed: events are injected inside the chip")

LOIHI_LIMITS = CoreLimits(
    max_kernel=4096,
    strides=tuple(range(1, 4097)),
    paddings=tuple(range(4097)),
    poolings=tuple(range(1, 4097)),
    max_in_xy=4096,
    max_out_xy=4096,
    max_features_in=4096,
    max_features_out=4096,
    square_kernel=False,
    square_pool=False,
    fan_out=4096,
    weight_bits=9,
    state_bits=24,
    bias_bits=13,
    address_bits=36,
)

LOIHI_TIMING = TimingSpec(
    t_io_in=ASSUMED_LOIHI_T_IO,
    t_io_out=ASSUMED_LOIHI_T_IO,
    t_router=_ns(2.1, "S", f"{_DAVIES}: within the tile"),
    t_hop_x=_ns(4.1, "S", _DAVIES),
    t_hop_y=_ns(6.5, "S", _DAVIES),
    t_link=_ns(1 / 3.44, "D", f"{_DAVIES}: 1 / 3.44 G spikes/s = 0.29 ns"),
    t_decode=_ns(16.0, "P", _SANA_FE),
    t_syn=_ns(3.5, "S", f"{_DAVIES}, a maximum"),
    t_emit=_ns(5.1, "P", _SANA_FE),
    t_upd=_ns(5.3, "S", _DAVIES),
    t_upd_active=_ns(8.4, "S", _DAVIES),
    t_sync=Quantity(
        465e-9, 113e-9, 465e-9, "s", "S", f"{_DAVIES}: 113 ns for one tile, 465 ns for 32"
    ),
    t_config=ASSUMED_CONFIGURATION_TIME,
)

_LOIHI_STATIC = Quantity.exact(
    0.104, "W", "S", f"{_DAVIES.partition(',')[0]} and follow-ups: per chip, at another voltage"
)

LOIHI_ENERGY = EnergySpec(
    e_syn=_pj(23.6, "S", f"{_DAVIES}, a minimum", 23.6, 40),
    e_event=_pj(0, "S", f"contained in the synaptic operation ({_DAVIES})"),
    e_upd=_pj(52, "S", _DAVIES),
    e_upd_active=_pj(81, "S", _DAVIES),
    e_spike=_pj(1.7, "S", f"{_DAVIES}: within the tile"),
    e_hop_x=_pj(3.0, "S", _DAVIES),
    e_hop_y=_pj(4.0, "S", _DAVIES),
    e_config=_CONFIGURATION_ENERGY,
    separate_static_w={"chip": _LOIHI_STATIC},
    note="Simulated at 0.75 V. Static power was measured at another voltage and is not added.",
)

LOIHI_ENERGY_CALIBRATED = EnergySpec(
    e_syn=_pj(24.0, "P", f"{_SANA_FE}: convolutional; sparse 33.6, dense 35.5", 24.0, 35.5),
    e_event=_pj(0, "P", f"contained in the synaptic operation ({_SANA_FE})"),
    e_upd=_pj(72.8, "D", f"{_SANA_FE}: access 51.2 pJ + update 21.6 pJ = 72.8 pJ"),
    e_upd_active=_pj(72.8, "D", f"{_SANA_FE}: access 51.2 pJ + update 21.6 pJ = 72.8 pJ"),
    e_spike=_pj(69.3, "P", _SANA_FE),
    e_route=_pj(111.0, "P", f"{_SANA_FE}: per message"),
    e_hop_x=_pj(3.0, "P", _SANA_FE),
    e_hop_y=_pj(4.2, "P", _SANA_FE),
    e_config=_CONFIGURATION_ENERGY,
    note="Fitted to silicon by an architecture-level model; static power is not modelled.",
)

_LOIHI = DeviceSpec(
    name="loihi",
    family="loihi",
    cores=_mesh_cores(ASSUMED_LOIHI_GRID, 4, memory_bytes=131_072, max_neurons=1024),
    limits=LOIHI_LIMITS,
    mode="packet",
    energy=LOIHI_ENERGY,
    grade="S",
    source=f"{_DAVIES}; the grid of tiles is assumed",
    timing=LOIHI_TIMING,
    noc=NocSpec("mesh", *ASSUMED_LOIHI_GRID),
    layer_delay=1,
    facts={
        "cores": Quantity.exact(128, "1", "S", _DAVIES),
        "compartments_per_core": Quantity.exact(1024, "1", "S", _DAVIES),
        "synaptic_bytes_per_core": Quantity.exact(131_072, "B", "S", _DAVIES),
        "axons_per_core": Quantity.exact(4096, "1", "S", f"{_DAVIES}: in, and as many out"),
    },
    timings={
        "calibrated": replace(
            LOIHI_TIMING,
            t_syn=_ns(3.1, "P", f"{_SANA_FE}: convolutional"),
            t_sync=Quantity(1.2e-6, 0.6e-6, 1.8e-6, "s", "P", f"{_SANA_FE}: 0.6 to 1.8 us"),
        )
    },
    energies={"calibrated": LOIHI_ENERGY_CALIBRATED},
)

_AS_LOIHI = "assumed: as Loihi; no figure for Loihi 2 is public"
ASSUMED_LOIHI2_E_SYN = _pj(23.6, "A", _AS_LOIHI, 23.6, 40)
ASSUMED_LOIHI2_E_EVENT = _pj(0, "A", _AS_LOIHI)
ASSUMED_LOIHI2_E_UPD = _pj(52, "A", _AS_LOIHI)
ASSUMED_LOIHI2_E_UPD_ACTIVE = _pj(81, "A", _AS_LOIHI)
ASSUMED_LOIHI2_E_SPIKE = _pj(1.7, "A", _AS_LOIHI)
ASSUMED_LOIHI2_E_HOP_X = _pj(3.0, "A", _AS_LOIHI)
ASSUMED_LOIHI2_E_HOP_Y = _pj(4.0, "A", _AS_LOIHI)


def _energy_only(**fields: Any) -> DeviceSpec:
    """A device whose figures are known but not its cores: nothing can be placed there."""
    return DeviceSpec(cores=(), limits=None, mode="packet", **fields)


_LOIHI2_DEVICE = _energy_only(
    name="loihi2",
    family="loihi",
    energy=EnergySpec(
        e_syn=ASSUMED_LOIHI2_E_SYN,
        e_event=ASSUMED_LOIHI2_E_EVENT,
        e_upd=ASSUMED_LOIHI2_E_UPD,
        e_upd_active=ASSUMED_LOIHI2_E_UPD_ACTIVE,
        e_spike=ASSUMED_LOIHI2_E_SPIKE,
        e_hop_x=ASSUMED_LOIHI2_E_HOP_X,
        e_hop_y=ASSUMED_LOIHI2_E_HOP_Y,
    ),
    grade="S",
    source=_LOIHI2,
    graded=True,
    layer_delay=1,
    facts={
        "cores": Quantity.exact(128, "1", "S", _LOIHI2),
        "neurons_per_core": Quantity.exact(8192, "1", "S", f"{_LOIHI2}, at most"),
        "bytes_per_core": Quantity.exact(196_608, "B", "S", _LOIHI2),
        "spike_bits": Quantity.exact(32, "1", "S", f"{_LOIHI2}, at most"),
    },
    note="Its brief says synapses 5, neurons 2 and spikes 10 times as fast as on Loihi.",
)

_TRUENORTH = _energy_only(
    name="truenorth",
    family="truenorth",
    energy=EnergySpec(
        e_syn=_pj(
            26,
            "S",
            f"{_MEROLLA}: at 20 Hz, 128 active synapses, 0.775 V, all power divided by events; "
            f"lower bound 2.5 pJ: {_SURVEY}",
            2.5,
            26,
        ),
        scope="all_in",
        note="Active parts alone: 2.3 pJ per hop, 47 fJ per bit of SRAM, 72 fJ per bit from core "
        "to core.",
    ),
    grade="P",
    source=_MEROLLA,
    facts={
        "cores": Quantity.exact(4096, "1", "P", _MEROLLA),
        "neurons_per_core": Quantity.exact(256, "1", "P", _MEROLLA),
        "synapses_per_core": Quantity.exact(65_536, "1", "P", f"{_MEROLLA}: binary crossbar"),
        "mesh_side": Quantity.exact(64, "1", "P", _MEROLLA),
        "tick": Quantity.exact(1e-3, "s", "P", _MEROLLA),
    },
)

_SPINNAKER = _energy_only(
    name="spinnaker",
    family="spinnaker",
    energy=EnergySpec(
        e_syn=_pj(13_300, "P", f"{_HOEPPNER}; lower bound 45 pJ: {_SURVEY}", 45, 13_300),
        e_upd=_pj(26_000, "P", _HOEPPNER),
        e_upd_active=_pj(26_000, "P", _HOEPPNER),
    ),
    grade="P",
    source=_HOEPPNER,
    facts={"cores_per_chip": Quantity.exact(18, "1", "P", f"{_HOEPPNER}: ARM968")},
)

_SPINNAKER2 = _energy_only(
    name="spinnaker2",
    family="spinnaker",
    energy=EnergySpec(
        e_syn=_pj(450, "P", f"{_HOEPPNER}; lower bound 10 pJ: {_SURVEY}", 10, 450),
        e_upd=_pj(2_190, "P", _HOEPPNER),
        e_upd_active=_pj(2_190, "P", _HOEPPNER),
    ),
    grade="P",
    source=_GONZALEZ,
    facts={
        "processing_elements": Quantity.exact(152, "1", "P", f"{_GONZALEZ}: Cortex-M4F"),
        "sram_bytes": Quantity.exact(19e6, "B", "P", _GONZALEZ),
    },
    note="Figures of the 28 nm prototype; the chip is made in 22 nm.",
)

BUILT_IN: tuple[DeviceSpec, ...] = (
    _speck("dynapcnndevkit"),
    _speck("speck2b"),
    _speck("speck2btiny"),
    _speck("speck2cmini", _FIVE),
    _speck("speck2dmini", _FIVE),
    _speck(
        "speck2devkit",
        grade="A",
        note="Named by the vendor's documents without a description; assumed: as the other "
        "nine-core chips.",
    ),
    _speck("speck2e"),
    _speck("speck2edevkit"),
    _speck("speck2f", note="The chip on speck2fmodule and speck2fdevkit."),
    _speck("speck2fmodule"),
    _speck("speck2fdevkit"),
    _AKD1000,
    _LOIHI,
    _LOIHI2_DEVICE,
    _TRUENORTH,
    _SPINNAKER,
    _SPINNAKER2,
)
