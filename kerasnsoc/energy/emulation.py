"""Energy of an emulated chip: every counted operation, core by core, and power at rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kerasnsoc.artifact.description import layer_from_json
from kerasnsoc.energy.devices import (
    FURTHER_OPERATIONS,
    EnergyDevice,
    chip_energy,
    get_device,
)
from kerasnsoc.energy.quantities import Quantity
from kerasnsoc.energy.report import EnergyReport, LayerCounts, price_counts
from kerasnsoc.nsoc.config import CoreConfig, GradedCoreConfig, NSoCConfig
from kerasnsoc.nsoc.devices import DeviceSpec
from kerasnsoc.runtime.counts import connections

if TYPE_CHECKING:
    from kerasnsoc.nsoc.emulator_result import EmulationResult

CHIP = "(chip)"
"""The row of a report for what belongs to no single core."""

_PICOSECOND = 1e-12


def energy_of_emulation(
    result: EmulationResult,
    device: str | EnergyDevice | None = None,
    *,
    profile: str = "default",
    duration_s: float | None = None,
    samples: int | None = None,
) -> EnergyReport:
    """Energy of a run on an emulated chip.

    Parameters
    ----------
    result : EmulationResult
    device : str or EnergyDevice, optional
        Whose figures are charged. Default: those of the emulated chip, where the configuration
        does not replace them.
    profile : str
        A further set of figures of the emulated chip, such as ``"calibrated"``.
    duration_s : float, optional
        Time for which static power is charged, if it is longer than the run.
    samples : int, optional
        Inferences in the run. Default: its packets, or 1.

    Returns
    -------
    EnergyReport

    Raises
    ------
    ValueError
        If the device or the profile is unknown, or a number is out of range.

    Notes
    -----
    An event that a core drops costs it nothing, since no figure for it is public. A spike that a
    decimator swallows is not sent and costs no emission.
    """
    counts = counts_of_emulation(result, samples)
    if device is None:
        config: NSoCConfig = result.config
        chip = _with_overrides(config.get_device(), config.energy, profile)
        uses_sensor = config.dvs is not None and config.dvs.pass_sensor_events
        priced_on = chip_energy(chip, profile=profile, uses_sensor=uses_sensor)
    else:
        priced_on = get_device(device)
    run_s = result.duration_ps * _PICOSECOND
    return price_counts(counts, priced_on, max(run_s, duration_s or 0.0) or None)


def counts_of_emulation(
    result: EmulationResult, samples: int | None = None
) -> tuple[LayerCounts, ...]:
    """What a run counted, layer by layer, and in the last entry on the chip as a whole.

    Parameters
    ----------
    result : EmulationResult
    samples : int, optional
        As of `energy_of_emulation`.
    """
    if samples is None:
        samples = max(1, int((result.root_kind == _PACKET_END).sum()))
    if isinstance(samples, bool) or samples < 1:
        raise ValueError(f"samples is {samples!r}, but a run holds at least 1 inference")
    config: NSoCConfig = result.config
    configs = {core.layer_index: core for core in config.cores}
    is_mesh = config.get_device().is_mesh
    counts = []
    for record in result.per_core:
        core = configs[record["layer"]]
        counts.append(
            LayerCounts(
                record["name"],
                samples=samples,
                synaptic_ops=record["synops"],
                neuron_updates=record["neuron_updates"],
                spikes=record["spikes_out"],
                connections=core_connections(core),
                more={
                    "events": record["processed"],
                    "leak updates": record["leak_updates"],
                    "firing neurons": record["neurons_fired"] if record["neuron_updates"] else 0,
                },
                core=tuple(core.neural_processors) if is_mesh else core.core,
            )
        )
    noc = result.noc
    chip = {
        "packets": noc["packets"],
        "hops in x": noc["hops_x"] + noc["hops_star"],
        "hops in y": noc["hops_y"],
        "events through pads": result.input_events
        + int((result.t_out_ps >= 0).sum())
        + sum(entry["events_in"] for entry in result.passes[1:])
        + sum(entry["events_stored"] for entry in result.passes),
        "sensor events": result.sensor_events,
        "barriers": result.barriers,
        "configuration bytes": sum(entry["configuration_bytes"] for entry in result.passes),
    }
    return (*counts, LayerCounts(CHIP, samples, 0, 0, 0, 0, more=chip))


_PACKET_END = 2  # in EmulationResult.root_kind


def core_connections(core: CoreConfig | GradedCoreConfig) -> int:
    """Synapses of a layer that a sample passes if every input is an event; padding has none."""
    if isinstance(core, GradedCoreConfig):
        kind = {name: core.graded[name] for name in ("type", "parameters")}
        layer = {"name": core.name, "inbounds": [], "variables": sorted(core.variables), **kind}
        channels, height, width = core.in_shape
        return connections(layer_from_json(layer, core.layer_index)[1], (width, height, channels))
    dimensions = core.dimensions
    axes = (
        [
            getattr(pair, axis)
            for pair in (
                dimensions.kernel_size,
                dimensions.stride,
                dimensions.padding,
                dimensions.input_shape.size,
                dimensions.output_shape.size,
            )
        ]
        for axis in ("x", "y")
    )
    taps = 1
    for kernel, stride, padding, length, outputs in axes:
        origins = (i * stride - padding for i in range(outputs))
        taps *= sum(min(kernel, length - origin) - max(0, -origin) for origin in origins)
    return taps * dimensions.input_shape.feature_count * dimensions.output_shape.feature_count


def _with_overrides(chip: DeviceSpec, overrides: dict[str, float], profile: str) -> DeviceSpec:
    """The chip with the figures that a configuration replaces."""
    known = ("e_syn", "e_upd", "e_spike", *FURTHER_OPERATIONS)
    figures: dict[str, Any] = {}
    for name, joules in overrides.items():
        if name not in known:
            raise ValueError(
                f"the configuration replaces the figure {name!r}, but a chip has {', '.join(known)}"
            )
        figures[name] = Quantity.exact(joules, "J", "A", f"{name} of the configuration")
    if profile == "default":
        return replace(chip, energy=replace(chip.energy, **figures))
    energies = dict(chip.energies)
    if profile in energies:
        energies[profile] = replace(energies[profile], **figures)
    return replace(chip, energies=energies)
