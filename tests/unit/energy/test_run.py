"""From counted events to reports and comparisons."""
# ruff: noqa: RUF001

import json
import sys

import pytest

from kerasnsoc.energy import (
    compare_devices,
    energy_of_run,
    get_device,
    list_devices,
    register_device,
    what_if,
)


class Counting:
    def __init__(self, statistics):
        self.statistics = statistics

    def get_statistics(self):
        return self.statistics


def test_a_model_and_its_statistics_give_the_same(run):
    assert energy_of_run(Counting(run), "loihi") == energy_of_run(run, "loihi")


def test_parity_formula_on_loihi(run):
    expected = 4000 * 27.1e-12 + 150 * 81e-12
    assert energy_of_run(run, "loihi").total.value == pytest.approx(expected, rel=1e-12)


def test_parity_formula_on_cpu(run):
    expected = 10 * (500 + 700) * 8.6e-9 + 150 * 8.6e-9
    assert energy_of_run(run, "cpu").total.value == pytest.approx(expected, rel=1e-12)


def test_a_report_keeps_its_numbers_while_the_statistics_move_on(run):
    report = energy_of_run(run, "loihi")
    before = report.total
    run["conv"].synaptic_ops += 1000
    assert report.total == before
    assert energy_of_run(run, "loihi").total.value > before.value


@pytest.mark.parametrize("empty", [{}, None])
def test_no_samples_asks_to_run_first(run, empty):
    for layer in run.values():
        layer.nb_samples = 0
    with pytest.raises(ValueError, match="run the network first"):
        energy_of_run(run if empty is None else empty, "loihi")


def test_something_without_statistics_is_refused():
    with pytest.raises(TypeError, match=r"object has no get_statistics\(\)"):
        energy_of_run(object(), "loihi")
    with pytest.raises(TypeError, match="layer 'conv' lack 'nb_samples'"):
        energy_of_run({"conv": object()}, "loihi")


def test_an_error_inside_a_model_is_not_hidden():
    class Broken:
        def get_statistics(self):
            raise AttributeError("inside")

    with pytest.raises(AttributeError, match="inside"):
        energy_of_run(Broken(), "loihi")


def test_comparison_is_sorted_and_puts_unknown_totals_last(run):
    comparison = compare_devices(run)
    assert sorted(report.device.name for report in comparison) == list(list_devices())
    totals = [report.total for report in comparison]
    known = [total.value for total in totals if total is not None]
    assert known == sorted(known)
    assert totals[len(known) :] == [None] * (len(totals) - len(known))
    assert comparison.reports[-1].device.name == "loihi2"


def test_comparison_of_chosen_devices(run):
    comparison = compare_devices(run, ("cpu", get_device("loihi")))
    assert [report.device.name for report in comparison] == ["loihi", "cpu"]
    assert len(compare_devices(run, "cpu")) == 1
    assert comparison["LOIHI"].total == energy_of_run(run, "loihi").total
    with pytest.raises(KeyError, match="'gpu' was not compared"):
        comparison["gpu"]
    with pytest.raises(ValueError, match="Energy specs unknown"):
        compare_devices(run, ["nothing"])


def test_comparison_reads_with_intervals_grades_and_sources(run):
    text = str(compare_devices(run, ("cpu", "loihi", "odin", "loihi2")))
    lines = text.splitlines()
    assert lines[0] == "What if, mean over 10 samples"
    assert [line.split()[0] for line in lines[3:7]] == ["loihi", "cpu", "odin", "loihi2"]
    assert "12 nJ [11–19]" in lines[3]
    assert "| D " in lines[3]
    assert "> 5.1 nJ [5.1–5.1]" in lines[5]
    assert "neuron updates" in lines[5]
    assert "unknown" in lines[6]
    assert "Davies et al." in text
    assert "Tang et al." in text


def test_comparison_as_json_and_frame(run):
    comparison = compare_devices(run, ("cpu", "odin"))
    content = json.loads(comparison.to_json())
    assert content == comparison.to_dict()
    assert [row["device"] for row in content["devices"]] == ["cpu", "odin"]
    assert content["devices"][1]["energy_per_inference"] is None
    assert content["devices"][1]["unpriced"] == ["neuron updates"]
    pytest.importorskip("pandas")
    frame = comparison.to_frame()
    assert list(frame["device"]) == ["cpu", "odin"]
    assert frame["energy_per_inference"][0] == pytest.approx(
        comparison["cpu"].energy_per_inference.value
    )


def test_comparison_frame_without_pandas(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        compare_devices(run).to_frame()


def test_a_report_can_be_priced_on_every_other_device(run):
    report = energy_of_run(run, "loihi", duration_s=2.0)
    register_device("mine", 1.0, 1.0, True, static_power=3.0)
    assert what_if(report)["cpu"].total == energy_of_run(run, "cpu").total
    assert what_if(report, ["mine"])["mine"].static["supply"].value == 6.0
    assert {report.device.name for report in what_if(report)} == set(list_devices())
