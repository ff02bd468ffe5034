"""Reports: sums, intervals, what is missing, and how it reads."""

# ruff: noqa: RUF001
import json
import math
import sys

import pytest

from kerasnsoc.energy import (
    EnergyDevice,
    LayerCounts,
    Quantity,
    energy_of_run,
    price_counts,
    register_device,
)


def figure(low, value, high, grade="P"):
    return Quantity(value, low, high, "J", grade, f"paper {grade}")


@pytest.fixture
def device():
    return EnergyDevice("toy", True, figure(1.0, 2.0, 4.0), figure(10.0, 10.0, 30.0, "D"))


def test_spiking_devices_pay_for_events(run, device):
    report = energy_of_run(run, device)
    # 4000 synaptic operations and 150 neuron updates
    assert report.total == (4000 * 1 + 150 * 10, 4000 * 2 + 150 * 10, 4000 * 4 + 150 * 30)
    assert report.energy_per_inference == pytest.approx((550, 950, 2050))
    assert report.samples == 10


def test_other_devices_pay_for_every_connection_of_every_sample(run, device):
    dense = EnergyDevice("dense", False, device.energy_per_synop, device.energy_per_neuron)
    # 10 samples of 500 + 700 connections, whatever the events were
    assert energy_of_run(run, dense).total.value == 12_000 * 2 + 150 * 10


def test_terms_say_layer_kind_count_and_grade(run, device):
    rows = [(t.layer, t.term, t.count, t.energy.value) for t in energy_of_run(run, device).terms]
    assert rows == [
        ("conv", "synaptic operations", 1000, 2000.0),
        ("conv", "neuron updates", 100, 1000.0),
        ("dense", "synaptic operations", 3000, 6000.0),
        ("dense", "neuron updates", 50, 500.0),
    ]


def test_the_worst_grade_of_what_was_charged_rules(run, device):
    assert energy_of_run(run, device).worst_grade == "D"
    silent = {"conv": type(run["conv"])(**{**vars(run["conv"]), "neuron_updates": 0})}
    assert energy_of_run(silent, device).worst_grade == "P"


def test_an_unknown_cost_leaves_the_total_open(run):
    report = energy_of_run(run, "odin")
    assert report.unpriced == ("neuron updates",)
    assert report.total is None
    assert report.energy_per_inference is None
    assert report.partial_total.value == pytest.approx(4000 * 12.7e-12)
    text = str(report)
    assert "total: unknown, no published cost of neuron updates" in text
    assert "the rest is 51 nJ [51–51], grade P" in text


def test_an_unknown_cost_of_something_that_did_not_happen_is_no_gap(run):
    for layer in run.values():
        layer.neuron_updates = 0
    report = energy_of_run(run, "odin")
    assert report.unpriced == ()
    assert report.total == report.partial_total


def test_nothing_known_gives_no_number_at_all(run):
    report = energy_of_run(run, "loihi2")
    assert report.total is None
    assert report.worst_grade is None
    assert report.summary() == "unknown, no published cost of synaptic operations, neuron updates"
    with pytest.raises(ValueError, match="no published cost"):
        report.monte_carlo()


def test_all_in_figures_are_never_added_to(run):
    spike = Quantity.exact(5.0, "J", "P", "x")
    device = EnergyDevice(
        "whole",
        True,
        figure(1.0, 2.0, 4.0),
        figure(9.0, 9.0, 9.0),
        spike,
        {"core": Quantity.exact(1.0, "W", "P", "x")},
        scope="all_in",
    )
    report = energy_of_run(run, device, duration_s=3.0)
    assert report.total == (4000, 8000, 16000)
    assert sorted(report.included) == ["neuron updates", "spikes"]
    assert report.static == {}
    assert report.unpriced == ()
    assert "already in the figure per operation: spikes, neuron updates" in str(report)


def test_spikes_and_static_power_are_charged_where_given(run):
    register_device("mine", 1.0, 0.0, True, energy_per_spike=2.0, static_power=5.0)
    report = energy_of_run(run, "mine", duration_s=4.0)
    assert report.static == {"supply": (20.0, 20.0, 20.0)}
    assert report.total.value == 4000 * 1.0 + 60 * 2.0 + 20.0
    assert report.average_power_w.value == (4000 + 120 + 20) / 4.0
    assert report.energy_per_synop.value == pytest.approx(4140 / 4000)
    assert report.energy_per_spike.value == pytest.approx(4140 / 60)
    assert "static supply" in str(report)


def test_without_duration_static_power_is_left_out_and_the_text_says_so(run):
    register_device("mine", 1.0, 0.0, True, static_power=5.0)
    report = energy_of_run(run, "mine")
    assert report.static == {}
    assert report.average_power_w is None
    assert "static power is not in it: no duration was given" in str(report)


def test_unknown_static_power_leaves_the_total_open(run):
    register_device("mine", 1.0, 0.0, True, static_power=None)
    report = energy_of_run(run, "mine", duration_s=1.0)
    assert report.unpriced == ("static supply",)
    assert report.total is None


@pytest.mark.parametrize("duration_s", [0, -1.0, math.inf, math.nan])
def test_a_duration_must_be_a_time(run, duration_s):
    with pytest.raises(ValueError, match="finite and above 0 seconds"):
        energy_of_run(run, "loihi", duration_s=duration_s)


def test_text_always_has_interval_and_grade(run):
    text = str(energy_of_run(run, "loihi", duration_s=1.0))
    assert "total: 121 nJ [114–188], grade D" in text
    assert "per inference: 12 nJ [11–19], grade D" in text
    assert "average power: 121 nW [114–188], grade D" in text
    assert "Davies et al." in text
    assert repr(energy_of_run(run, "loihi")) == (
        "<EnergyReport 'loihi', 10 samples: 121 nJ [114–188], grade D>"
    )


def test_json_holds_everything(run):
    report = energy_of_run(run, "loihi")
    content = json.loads(report.to_json())
    assert content == report.to_dict()
    assert content["total"] == report.total._asdict()
    assert content["worst_grade"] == "D"
    assert content["terms"][0]["count"] == 1000
    assert content["terms"][0]["source"].startswith("Davies")
    assert content["per_core"] == []
    assert json.loads(energy_of_run(run, "odin").to_json())["total"] is None


def test_frame_has_a_row_per_term(run):
    pytest.importorskip("pandas")
    frame = energy_of_run(run, "loihi").to_frame()
    assert list(frame["layer"]) == ["conv", "conv", "dense", "dense"]
    assert frame["energy"].sum() == pytest.approx(energy_of_run(run, "loihi").total.value)


def test_frame_without_pandas_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        energy_of_run(run, "loihi").to_frame()


def test_monte_carlo_stays_inside_the_interval_and_repeats(run):
    report = energy_of_run(run, "loihi")
    spread = report.monte_carlo(seed=3)
    assert report.total.low <= spread.p5 < spread.p50 < spread.p95 <= report.total.high
    assert report.monte_carlo(seed=3) == spread
    assert report.monte_carlo(seed=4) != spread


def test_monte_carlo_follows_the_declared_distributions():
    counts = [LayerCounts("a", 1, 1, 0, 0, 1), LayerCounts("b", 1, 1, 0, 0, 1)]

    def percentiles(low, value, high):
        device = EnergyDevice("x", True, figure(low, value, high), figure(0.0, 0.0, 0.0))
        return price_counts(counts, device).monte_carlo(200_000)

    # Tolerances: ten times the standard error of a percentile of 200,000 draws or more.
    # The value on a bound: uniform in the logarithm. Both layers share one draw.
    p5, p50, p95 = percentiles(1.0, 1.0, 100.0)
    assert [p5, p50, p95] == pytest.approx([2 * 100**q for q in (0.05, 0.5, 0.95)], rel=0.05)
    # The value inside: a triangle over the logarithm, here a symmetric one.
    p5, p50, p95 = percentiles(1.0, 10.0, 100.0)
    tail = math.sqrt(0.05 / 2)
    assert [p5, p50, p95] == pytest.approx([2 * 100**q for q in (tail, 0.5, 1 - tail)], rel=0.05)
    # No logarithm of 0.
    assert percentiles(0.0, 0.0, 1.0).p50 == pytest.approx(1.0, rel=0.02)
    # No interval, no spread.
    assert percentiles(3.0, 3.0, 3.0) == (6.0, 6.0, 6.0)


def test_monte_carlo_needs_a_draw(run):
    with pytest.raises(ValueError, match="n is 0"):
        energy_of_run(run, "loihi").monte_carlo(0)


def test_two_runs_on_one_device_add_up(run, device):
    one = energy_of_run(run, device)
    both = one + energy_of_run({"conv": run["conv"]}, device)
    assert both.total.value == one.total.value + 1000 * 2 + 100 * 10
    assert [c.samples for c in both.counts] == [10, 20, 10]


def test_reports_of_different_devices_do_not_add_up(run):
    with pytest.raises(ValueError, match=r"'loihi' cannot be added to one for 'loihi-survey'"):
        energy_of_run(run, "loihi") + energy_of_run(run, "loihi-survey")


def test_reports_with_and_without_duration_do_not_add_up(run):
    with pytest.raises(ValueError, match="with a duration"):
        energy_of_run(run, "loihi", duration_s=1.0) + energy_of_run(run, "loihi")
