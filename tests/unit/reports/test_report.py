"""The report's figures are those of the network, and a stranger's names stay text."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kerasnsoc.artifact import network_bounds
from kerasnsoc.cli import app
from kerasnsoc.reports import report
from kerasnsoc.runtime import FullyConnected, InputData, Model
from tests.networks import every_kind

EVIL = '<script>alert("x")</script>\'"&'


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def image_model():
    model = Model.from_spec(every_kind()["image"])
    shape = model.to_spec().input.shape_hwc
    return model, np.random.default_rng(0).integers(0, 256, (6, *shape), np.uint8)


def dead_and_saturated():
    model = Model(layers=[InputData(2, 1, 1, name="eye"), FullyConnected(3, name="dense")])
    model.layers[1].set_variable("weights", np.ones((1, 1, 2, 3), np.int8))
    model.layers[1].set_variable("threshold_fire", np.array([100, -1, 3], np.int32))
    return model, np.array([1, 2, 3, 4, 2, 2], np.uint8).reshape(3, 2, 1, 1)


def test_figures_of_a_run():
    model, x = dead_and_saturated()
    found = report(model, x, np.zeros(3, np.int64))
    dense = found.layers[1]
    assert (dense.dead, dense.saturated) == (1, 1)
    assert (dense.lowest, dense.highest) == (0, 30)
    assert (dense.observed_low, dense.observed_high) == (3, 7)
    assert dense.events_in == 2
    assert dense.synaptic_ops == dense.dense_ops == 6
    assert dense.spare_bits == pytest.approx(31 - np.log2(30), abs=0.05)
    assert found.accuracy == 0
    assert [row["device"] for row in found.energy]
    assert model.get_statistics()["dense"].nb_samples == 0  # the caller's model did not run


def test_observed_potentials_lie_within_the_worst_case():
    for spec in every_kind().values():
        model = Model.from_spec(spec)
        height, width, channels = spec.input.shape_hwc
        shape = (height, width) if spec.input.kind == "image" else (width, height)
        x = np.random.default_rng(1).integers(
            0, 2**spec.input.bits, (5, *shape, channels), np.uint8
        )
        bounds = network_bounds(spec)
        for layer in report(model, x).layers:
            assert layer.lowest == bounds[layer.name].low.min()
            if layer.observed_low is not None:
                assert layer.lowest <= layer.observed_low <= layer.observed_high <= layer.highest


def test_the_page_needs_nothing_else_and_says_the_figures():
    model, x = image_model()
    found = report(model, x)
    tags = Tags(found.to_html())
    for tag, attributes in tags.found:
        assert tag not in ("script", "iframe", "link", "img", "object")
        assert not {"src", "href", "onload", "onclick"} & set(attributes)
    text = " ".join(tags.text)
    for layer in found.layers:
        assert layer.name in text
        if layer.events_out is not None:
            assert f"{layer.events_out:,.1f}" in text
    assert len(found.to_html()) < 200_000


def test_hostile_names_are_text():
    model = Model(layers=[InputData(2, 1, 1, name="eye"), FullyConnected(2, name=EVIL)])
    page = report(model, np.ones((1, 2, 1, 1), np.uint8)).to_html()
    assert "<script" not in page
    assert EVIL in " ".join(Tags(page).text)


def test_without_inputs_nothing_of_a_run_is_shown():
    model, _ = image_model()
    found = report(model)
    assert found.samples == 0
    assert found.energy == ()
    page = found.to_html()
    assert "Activity" not in page
    assert re.search("Headroom", page)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (None, [1], "pass inputs, too"),
        ("inputs", [1, 2], r"labels have the shape \(2,\), but there are 6 inputs"),
    ],
)
def test_wrong_arguments(x, labels, message):
    model, inputs = image_model()
    with pytest.raises(ValueError, match=message):
        report(model, inputs if x else None, np.array(labels))


def test_command(tmp_path):
    model, x = image_model()
    model.save(tmp_path / "net.h5")
    np.save(tmp_path / "x.npy", x)
    arguments = ["report", str(tmp_path / "net.h5"), "--inputs", str(tmp_path / "x.npy")]
    shown = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "r.html")])
    assert shown.exit_code == 0, shown.output
    assert "<h1>net.h5</h1>" in (tmp_path / "r.html").read_text()
    content = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert content["samples"] == 6


def test_a_network_over_time():
    golden = Path(__file__).parents[2] / "golden" / "v1_time_spikes.h5"
    model = Model(golden)
    height, width, channels = model.to_spec().input.shape_hwc
    x = np.random.default_rng(2).integers(0, 2, (2, 5, height, width, channels), np.uint8)
    found = report(model, x)
    spiking = next(layer for layer in found.layers if layer.name == "out")
    assert spiking.observed_low is None
    assert spiking.saturated is None
    assert spiking.dead is not None
    assert "a sample is a whole sequence" in found.to_html()
    names = [name for row in found.placements for name in row["devices"]]
    assert {"akd1000", "loihi", "speck2f"} <= set(names)
    assert all(row["problems"] and row["latency_us"] is None for row in found.placements)


def test_placement_on_every_chip_and_latency_where_it_fits():
    model, x = dead_and_saturated()
    found = report(model, x)
    mesh, *others = found.placements
    assert mesh["devices"] == ["akd1000"]
    assert (mesh["fits"], mesh["used"], mesh["available"]) == (True, 1, 80)
    assert "dense" in mesh["layers"]
    assert 0 < mesh["latency_us"]["min"] <= mesh["latency_us"]["max"]
    assert not any(row["fits"] for row in others)
    assert {"speck2cmini", "speck2dmini"} in [set(row["devices"]) for row in others]
    assert all("graded events" in row["problems"][0] for row in others)
    page = " ".join(Tags(found.to_html()).text)
    assert "1 of 80" in page
    assert "speck2f" in page
    assert report(model).placements[0]["latency_us"] is None
