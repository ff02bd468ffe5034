"""Energy of an emulated chip: counts times figures, core by core, and power at rest."""

import numpy as np
import pytest

from kerasnsoc.energy import (
    Interval,
    chip_energy,
    compare_devices,
    energy_of_emulation,
    energy_of_run,
    get_device,
    price,
    what_if,
)
from kerasnsoc.energy.emulation import CHIP, core_connections
from kerasnsoc.energy.quantities import sum_intervals
from kerasnsoc.nsoc.config import DecimatorConfig
from kerasnsoc.nsoc.emulator import emulate
from tests.chips import MESH, config, core

EVENTS = [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("c", "<u2")]
rng = np.random.default_rng(0)
WEIGHTS = rng.integers(-3, 9, (4, 2, 3, 3)), rng.integers(-3, 9, (3, 4, 4, 4))


def events(count=60, last=2000):
    rows = np.zeros(count, EVENTS)
    rows["t"] = np.linspace(0, last, count).astype(int)
    for name, limit in (("x", 8), ("y", 8), ("c", 2)):
        rows[name] = rng.integers(0, limit, count)
    return rows


def chain(**options):
    first = core(0, WEIGHTS[0], (2, 8, 8), padding=(1, 1), threshold=12, low=-12, to=((1, 2, 0),))
    second = core(1, WEIGHTS[1], (4, 4, 4), threshold=30, low=-30, bias=[1, 2, 0])
    return config([first, second], (2, 8, 8), **options)


@pytest.fixture(scope="module")
def star():
    return emulate(chain(clock=1000.0), events(), t_end=5500.0)


@pytest.fixture(scope="module")
def mesh():
    return emulate(chain(device=MESH, mode="packet"), events(), packet_ends=[1000, 2001])


def counted(result, name):
    return sum(record[name] for record in result.per_core)


def test_speck_pays_for_events_updates_spikes_and_leak(star):
    report = star.energy
    figures = chip_energy("speck2fmodule")
    expected = {
        "synaptic operations": (counted(star, "synops"), figures.energy_per_synop),
        "events": (counted(star, "processed"), figures.operations["events"]),
        "spikes": (counted(star, "spikes_out"), figures.energy_per_spike),
        "leak updates": (counted(star, "leak_updates"), figures.operations["leak updates"]),
    }
    static = {f"static {rail}": energy for rail, energy in report.static.items()}
    assert set(report.by_term) == {*expected, *static}
    for kind, (count, quantity) in expected.items():
        assert count > 0
        # a sum over cores of products against a product of a sum
        assert report.by_term[kind] == pytest.approx(quantity.interval.times(count), rel=1e-12)
    assert set(report.included) == {"packets", "hops in x", "events through pads"}
    assert report.worst_grade == "A"
    assert report.unpriced == ()


def test_static_power_is_charged_for_the_window_that_was_asked_for(star):
    assert star.duration_ps == 5_500_000_000
    report = star.energy
    assert report.duration_s == pytest.approx(5.5e-3, rel=1e-15)
    watts = 61.7e-6 + 51.7e-6 + 367.0e-6
    assert sum_intervals(report.static.values()).value == pytest.approx(watts * 5.5e-3, rel=1e-12)
    assert report.average_power_w.value > watts
    longer = energy_of_emulation(star, duration_s=0.3)
    assert longer.duration_s == 0.3
    assert energy_of_emulation(star, duration_s=1e-6).duration_s == report.duration_s


def test_cores_add_up_to_the_dynamic_energy(star):
    report = star.energy
    assert [(row.core, row.layer) for row in report.per_core] == [(0, "layer0"), (1, "layer1")]
    dynamic = [e for k, e in report.by_term.items() if not k.startswith("static")]
    total = sum_intervals(row.energy for row in report.per_core)
    # the same numbers summed in another order
    assert total == pytest.approx(sum_intervals(dynamic), rel=1e-12)


def test_loihi_pays_for_hops_and_firing_neurons_in_place_of_updates(mesh):
    report = mesh.energy
    figures = chip_energy("loihi")
    fired, updates = counted(mesh, "neurons_fired"), counted(mesh, "neuron_updates")
    assert 0 < fired < updates
    silent = figures.energy_per_neuron.interval.times(updates - fired)
    assert report.by_term["neuron updates"] == pytest.approx(silent, rel=1e-12)
    firing = figures.operations["firing neurons"].interval.times(fired)
    assert report.by_term["firing neurons"] == pytest.approx(firing, rel=1e-12)
    assert mesh.noc["hops_x"] + mesh.noc["hops_y"] > 0
    hops = figures.operations["hops in x"].interval.times(mesh.noc["hops_x"])
    assert report.by_term.get("hops in x", Interval(0, 0, 0)) == pytest.approx(hops, rel=1e-12)
    assert report.samples == 2
    assert report.separate.keys() == {"chip"}
    assert "not in the total: chip, 104 mW" in str(report)


def test_folded_hops_are_those_of_the_table(mesh):
    folded = price(mesh, "loihi", fold_hops=True)
    assert folded.device is get_device("loihi")
    synops = counted(mesh, "synops")
    assert folded.by_term["synaptic operations"].value == pytest.approx(27.1e-12 * synops)
    assert "hops in x" not in folded.by_term
    assert price(mesh.energy, "loihi").total == pytest.approx(mesh.energy.total, rel=1e-12)


def test_a_profile_and_figures_of_the_configuration(mesh):
    calibrated = energy_of_emulation(mesh, profile="calibrated")
    assert calibrated.by_term["packets"].value == pytest.approx(111e-12 * mesh.noc["packets"])
    with pytest.raises(ValueError, match=r"profile is 'tuned'.*'default', 'calibrated'"):
        energy_of_emulation(mesh, profile="tuned")
    changed = chain(device=MESH, mode="packet")
    changed.energy["e_syn"] = 1e-12
    report = emulate(changed, events(), packet_ends=[1000, 2001]).energy
    (row,) = [t for t in report.terms if (t.layer, t.term) == ("layer0", "synaptic operations")]
    assert (row.coefficient.value, row.coefficient.grade) == (1e-12, "A")
    assert row.coefficient.source == "e_syn of the configuration"
    changed.energy["e_sin"] = 1e-12
    with pytest.raises(ValueError, match=r"figure 'e_sin', but a chip has e_syn"):
        _ = emulate(changed, events(), packet_ends=[1000, 2001]).energy


def test_spikes_that_a_decimator_swallows_cost_no_emission():
    decimated = chain()
    decimated.cores[1].output_decimator = DecimatorConfig(True, 4)
    result = emulate(decimated, events())
    assert result.per_core[1]["decimated"] > 0
    rows = {(t.layer, t.term): t.count for t in result.energy.terms}
    assert rows.get(("layer1", "spikes"), 0) == result.per_core[1]["spikes_out"]


def test_what_if_lists_every_device_once(star):
    comparison = what_if(star.energy)
    names = [report.device.name for report in comparison]
    assert len(names) == len(set(names))
    assert {"speck2f", "loihi", "akd1000", "truenorth", "cpu"} <= set(names)
    assert [r.device.name for r in compare_devices(star)] == names
    # the family shares its figures, so the table's row is the report again
    assert comparison["speck2f"].total == pytest.approx(star.energy.total, rel=1e-12)
    assert "Power at rest over 0.0055 s is in the figures of speck2f only." in str(comparison)
    dense = comparison["akd1000"].by_term["connections"]
    connections = sum(core_connections(core) for core in star.config.cores)
    assert dense.value == pytest.approx(7.1e-12 * connections, rel=1e-12)


def test_connections_leave_out_the_padding():
    first, second = chain().cores
    inside = sum(1 for y in range(8) for x in range(8) for dy in (-1, 0, 1) for dx in (-1, 0, 1)
                 if 0 <= y + dy < 8 and 0 <= x + dx < 8)  # fmt: skip
    assert core_connections(first) == inside * 2 * 4
    assert core_connections(second) == 4 * 4 * 4 * 3


def test_text_never_shows_a_bare_number(star, mesh):
    for report in (star.energy, mesh.energy):
        for line in str(report).splitlines():
            if " J" in line or "µJ" in line or "nJ" in line or " pJ" in line:
                assert "[" in line or line.startswith(("source:", "note:")), line
    content = star.energy.to_dict()
    assert [row["core"] for row in content["per_core"]] == [0, 1]
    assert content["per_core"][0]["energy"].keys() == {"low", "value", "high"}


def test_monte_carlo_lies_inside_the_bounds(star):
    total = star.energy.total
    spread = star.energy.monte_carlo(2000)
    assert total.low < spread.p5 < spread.p50 < spread.p95 < total.high
    assert spread == star.energy.monte_carlo(2000)


def test_all_in_figures_include_everything_else(star):
    report = energy_of_run(star, "truenorth")
    assert set(report.by_term) == {"synaptic operations"}
    assert report.static == {}
    with pytest.raises(ValueError, match="samples is 0"):
        energy_of_emulation(star, samples=0)


def test_the_row_of_the_chip_counts_pads_and_packets(star):
    (chip,) = [c for c in energy_of_emulation(star, samples=3).counts if c.layer == CHIP]
    out = int((star.t_out_ps >= 0).sum())
    assert chip.samples == 3
    assert chip.more["events through pads"] == 60 + out
    assert chip.more["packets"] == star.noc["packets"]
