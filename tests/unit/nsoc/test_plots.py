"""Pictures draw what the run counted; how they look was judged by eye."""

import numpy as np
import pytest

from kerasnsoc.energy import compare_devices, energy_of_run, plot_energy
from kerasnsoc.nsoc import plot_core_map, plot_latency, plot_load, plot_raster
from kerasnsoc.nsoc.emulator import emulate
from tests.chips import MESH, config, core
from tests.unit.energy.conftest import statistics

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")


def chain(**options):
    weights = np.random.default_rng(0).integers(-3, 9, (4, 2, 3, 3))
    first = core(0, weights, (2, 8, 8), padding=(1, 1), threshold=12, low=-12, to=((1, 2, 0),))
    second = core(1, np.ones((3, 4, 4, 4)), (4, 4, 4), threshold=30, low=-30, monitor=True)
    return config([first, second], (2, 8, 8), **options)


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(1)
    rows = np.zeros(100, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("c", "<u2")])
    rows["t"] = np.sort(rng.integers(0, 3000, 100))
    rows["x"], rows["y"], rows["c"] = (rng.integers(0, n, 100) for n in (8, 8, 2))
    return emulate(chain(), rows, record=("spikes", "latency", "load"))


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def texts(ax):
    ax.figure.canvas.draw()
    found = [t.get_text() for t in ax.texts] + [t.get_text() for t in ax.get_yticklabels()]
    legend = ax.get_legend()
    return found + ([t.get_text() for t in legend.get_texts()] if legend else [])


def test_a_star_shows_every_core_and_its_fill():
    ax = plot_core_map(chain())
    assert ax.get_title() == "speck2fmodule: 2 of 9 cores"
    shown = texts(ax)
    assert [f"core {i}" for i in range(9)] == [t for t in shown if t.startswith("core ")]
    assert shown.count("free") == 7
    assert {"layer0", "layer1", "kernel", "neurons", "bias"} <= set(shown)
    # 4 * 2**(4 + 2) of 16,384 words
    assert "2 %" in shown


def test_a_mesh_shows_the_processors_of_each_layer():
    placed = chain(device=MESH, mode="packet")
    placed.cores[1].neural_processors = [4, 5, 6]
    ax = plot_core_map(placed)
    assert ax.get_title() == "loihi: 4 of 128 processors"
    shown = texts(ax)
    assert shown.count("1") == 3
    assert {"0  layer0: 1 processor", "1  layer1: 3 processors"} <= set(shown)


def test_a_raster_has_a_dot_per_spike(result):
    ax = plot_raster(result)
    dots = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in dots] == [
        len(result.spikes_of(0)),
        len(result.spikes_of(1)),
    ]
    for band, line in enumerate(dots):
        assert ((line.get_ydata() > band) & (line.get_ydata() < band + 1)).all()
    assert plot_raster(result, [1]).get_title() == "Spikes on speck2fmodule"
    with pytest.raises(ValueError, match=r"layer 5 was not monitored; monitored were \[0, 1\]"):
        plot_raster(result, [5])


def test_a_latency_histogram_counts_every_output(result):
    _, own = pyplot.subplots()
    ax = plot_latency(result, ax=own)
    assert ax is own
    assert sum(bar.get_height() for bar in ax.patches) == len(result.latency.spike_ps)
    assert any(text.startswith("median: ") for text in texts(ax))
    with pytest.raises(ValueError, match="no latencies 'packet_ps'"):
        plot_latency(result, "packet_ps")
    with pytest.raises(ValueError, match="of is 'median', but it must be one of spike_ps"):
        plot_latency(result, "median")


def test_load_has_a_row_per_core(result):
    ax = plot_load(result, bins=10)
    (image,) = ax.images
    data = np.asarray(image.get_array())
    assert data.shape == (2, 10)
    # means of bins against the share of the whole run; the last bin may reach past its end
    bin_ps = -(-result.makespan_ps // 10)
    busy = [record["busy_ps"] for record in result.per_core]
    np.testing.assert_allclose(data.sum(1) * bin_ps, busy, rtol=1e-9)
    assert {"layer0 (core 0)", "layer1 (core 1)"} <= set(texts(ax))
    with pytest.raises(ValueError, match="bins is 0"):
        plot_load(result, bins=0)


def test_bars_of_energy_show_interval_and_grade(result):
    report = result.energy
    ax = plot_energy(report)
    assert len(ax.patches) == len(report.by_term)
    assert report.summary() in ax.get_title()
    shown = texts(ax)
    assert "A: assumed" in shown
    assert sum("[" in text for text in shown) == len(report.by_term)
    assert len(plot_energy(report, "core").patches) == 2
    with pytest.raises(ValueError, match="by is 'layer'"):
        plot_energy(report, "layer")


def test_a_comparison_names_devices_without_a_total(result):
    ax = plot_energy(compare_devices(result))
    assert "loihi2" in ax.get_xlabel()
    assert "speck2f" in texts(ax)
    with pytest.raises(ValueError, match="no device of the comparison"):
        plot_energy(compare_devices(result, "loihi2"))


def test_what_cannot_be_drawn_says_why():
    with pytest.raises(TypeError, match="holds no configuration; call make_config"):
        plot_core_map(object())
    report = energy_of_run({"dense": statistics()}, "loihi")
    with pytest.raises(ValueError, match="a run in software has no cores"):
        plot_energy(report, "core")
