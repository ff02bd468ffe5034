"""The table as text, as a frame, as bars."""

import builtins

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

from kerasnsoc.spiking.layers import SpikingActivation  # noqa: E402
from kerasnsoc.spiking.model_energy import ModelEnergy  # noqa: E402

pytestmark = pytest.mark.keras

GOLDEN = """\
Layer (type)        |Output shape|Param #|Conn #|Neuron #|J/inf (cpu)
--------------------|------------|-------|------|--------|-----------
input_3 (InputLayer)| (None, 784)|      0|     0|       0|          0
dense_2 (Dense)     | (None, 128)| 100480|100352|     128|    0.00086
=====================================================================
Total energy per inference [Joules/inf] (cpu): 8.64e-04"""

NARROW = """\
Layer (t|Output |Param #|Conn #|Neuron |J/inf (
--------|-------|-------|------|-------|-------
input_3 |(None, |      0|     0|      0|      0
dense_2 |(None, | 100480|100352|    128|0.00086
===============================================
Total energy per inference [Joules/inf] (cpu): 8.64e-04"""


@pytest.fixture(scope="module")
def energy():
    x = keras.Input((784,), name="input_3")
    model = keras.Model(x, layers.Dense(128, "relu", name="dense_2")(x))
    return ModelEnergy(model, np.ones((3, 784), "float32"))


def test_golden_text(energy):
    assert energy.summary_string(line_length=80, print_warnings=False) == GOLDEN
    assert energy.summary_string(line_length=69, print_warnings=False) == GOLDEN


def test_text_is_cut_where_it_is_too_long(energy):
    assert energy.summary_string(line_length=47, print_warnings=False) == NARROW


def test_the_shortest_line(energy):
    lines = energy.summary_string(line_length=11, print_warnings=False).splitlines()
    assert lines[:4] == ["L|O|P|C|N|J", "-|-|-|-|-|-", "i|(|0|0|0|0", "d|(|1|1|1|0"]
    with pytest.raises(ValueError, match="line_length is 10, but 6 columns need at least 11"):
        energy.summary_string(line_length=10)


def test_room_goes_to_the_column_that_lacks_most(energy):
    lines = energy.summary_string(("name", "params"), line_length=24).splitlines()
    # 23 characters: 11 and 7 at first, the rest to the name.
    assert lines == [
        "Layer (type)    |Param #",
        "----------------|-------",
        "input_3 (InputLa|      0",
        "dense_2 (Dense) | 100480",
    ]


def test_every_column(energy):
    columns = (
        "rate",
        "synop_energy  loihi ",
        "neuron_energy loihi",
        "energy Loihi",
        "neurons",
    )
    text = energy.summary_string(columns, 10, 0.001, print_warnings=False)
    assert text.splitlines() == [
        "Rate [Hz]|Synop J/inf (loihi)|Neuron J/inf (loihi)|J/inf (Loihi)|Neuron #",
        "---------|-------------------|--------------------|-------------|--------",
        "        1|                  0|                   0|            0|       0",
        "        1|            2.7e-08|               1e-07|      1.3e-07|     128",
        "=========================================================================",
        "Total energy per inference [Joules/inf] (Loihi): 1.31e-07",
    ]


def test_parts_of_energies_have_no_total_and_no_notes(energy):
    text = energy.summary_string(("name", "synop_energy cpu", "neuron_energy cpu"))
    assert "Total" not in text
    assert "=" not in text
    assert "*" not in text


def test_rates_without_data():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    lines = ModelEnergy(model).summary_string(("rate",)).splitlines()
    assert lines == ["Rate [Hz]", "---------", "      nan"]


def test_notes(energy):
    text = energy.summary_string(("name", "energy cpu"), line_length=60)
    assert text.count("\n* ") == 1
    assert "\n* These are estimates only" in text
    notes = text.split("\n* ")[1].splitlines()
    assert all(line.startswith("  ") for line in notes[1:])
    assert max(map(len, notes)) <= 60
    text = energy.summary_string(("energy cpu", "energy loihi"))
    assert text.count("\n* ") == 2
    assert "\n* This model contains non-spiking activations" in text
    assert "SpikingActivation" in text
    for columns in (("name",), ("synop_energy loihi",)):
        assert "*" not in energy.summary_string(columns)


def test_no_note_for_a_model_that_spikes():
    model = keras.Sequential([keras.Input((5, 4)), layers.Dense(3), SpikingActivation("relu")])
    energy = ModelEnergy(model, np.ones((2, 5, 4)))
    assert "non-spiking" not in energy.summary_string(("energy loihi",))


@pytest.mark.usefixtures("device_table")
def test_what_the_estimate_does_not_charge_is_said(energy):
    ModelEnergy.register_device("watts", 1e-12, 1e-12, True, static_power=0.1)
    assert "static power are known for watts" in energy.summary_string(("energy watts",))


@pytest.mark.usefixtures("device_table")
def test_a_registered_device(energy):
    ModelEnergy.register_device("my-cpu", 1e-10, 2e-9, False)
    text = energy.summary_string(("energy my-cpu",), print_warnings=False)
    assert text.endswith("(my-cpu): 1.03e-05")


def test_sources_on_request(energy):
    assert "Degnan" not in energy.summary_string()
    text = energy.summary_string(
        ("energy cpu", "synop_energy loihi"), print_warnings=False, print_sources=True
    )
    for part in ("cpu, synop: 8.6 nJ", "Degnan", "cpu, neuron", "loihi, synop", "Davies", "81 pJ"):
        assert part in " ".join(text.split())
    assert text.count("cpu, synop") == 1


def test_printing(energy, capsys):
    energy.summary(line_length=80, print_warnings=False)
    assert capsys.readouterr().out == GOLDEN + "\n"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("nonsense",), "Unknown column type 'nonsense'"),
        (("",), "Unknown column type ''"),
        (("name", "params more"), "Unknown column type 'params more'"),
        (("energy",), "names no device"),
        (("energy nonsense",), "Energy specs unknown for device 'nonsense'"),
        ((), "columns is empty"),
    ],
)
def test_bad_columns(energy, columns, message):
    with pytest.raises(ValueError, match=message):
        energy.summary_string(columns)


def test_rows_of_a_sequential_and_of_several_outputs():
    model = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3, return_state=True, name="lstm")])
    energy = ModelEnergy(model)
    assert energy.summary_string(("name", "output_shape")).splitlines()[2:] == [
        "lstm (LSTM) |[(None, 3), (None, 3), (None, 3)]"
    ]


def test_frame(energy):
    pytest.importorskip("pandas")
    frame = energy.to_frame(("cpu", "loihi"), 10, 0.001)
    assert list(frame["layer"]) == ["input_3", "dense_2"]
    row = frame.iloc[1]
    assert row["type"] == "Dense"
    assert row["output_shape"] == (None, 128)
    assert (row["params"], row["connections"], row["neurons"]) == (100480, 100352, 128)
    assert not row["spiking"]
    assert row["rate"] == pytest.approx(1)
    assert row["energy cpu"] == pytest.approx(8.64128e-4)
    assert row["synop_energy loihi"] == pytest.approx(2.7195392e-08)
    assert row["neuron_energy loihi"] == pytest.approx(1.0368e-07)
    assert "energy gpu" in energy.to_frame("gpu")


def test_bars(energy):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    axes = energy.plot("loihi", 10, 0.001)
    widths = [[bar.get_width() for bar in container] for container in axes.containers]
    assert widths == [[0, pytest.approx(2.7195392e-08)], [0, pytest.approx(1.0368e-07)]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["input_3", "dense_2"]
    figure, given = pyplot.subplots()
    assert energy.plot(ax=given) is given
    pyplot.close(figure)
    pyplot.close(axes.figure)


def test_bars_without_matplotlib(energy, monkeypatch):
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")
        return original(name, *args, **kwargs)

    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r'pip install "kerasnsoc\[plot\]"'):
        energy.plot()
