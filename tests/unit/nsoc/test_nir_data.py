"""Spikes of an emulation as data of NIR."""

import numpy as np
import pytest

nir = pytest.importorskip("nir", reason="needs the extra kerasnsoc[nir]")

from kerasnsoc.nsoc.emulator import NSoCEmulator  # noqa: E402
from tests.chips import config, core, random_events  # noqa: E402


def test_every_spike_is_there_at_its_time(tmp_path):
    first = core(0, np.ones((2, 1, 1, 1)), (1, 3, 4), to=((1, 1, 0),))
    second = core(1, np.ones((1, 2, 1, 1)), (2, 3, 4))
    chip = config([first, second], (1, 3, 4))
    result = NSoCEmulator(chip).run(random_events(chip, 0, 40, 400))
    data = result.to_nir_data()
    assert len(data.nodes) == 2
    for index, events in enumerate(node.observables["spikes"] for node in data.nodes.values()):
        layer = chip.cores[index]
        spikes = result.spikes_of(layer.layer_index)
        assert len(spikes) > 0
        features, height, width = layer.out_shape
        assert events.n_neurons == features * height * width
        expected = (spikes["c"].astype(int) * height + spikes["y"]) * width + spikes["x"]
        np.testing.assert_array_equal(events.idx, expected[None])
        np.testing.assert_array_equal(events.time, spikes["t_ps"][None] * 1e-12)
        assert events.time.max() <= events.t_max
    nir.write_data(tmp_path / "spikes.nir", data)
    again = nir.read_data(tmp_path / "spikes.nir")
    assert again.nodes.keys() == data.nodes.keys()
    chip.cores[0].monitor_enable = False
    quiet = NSoCEmulator(chip).run(random_events(chip, 0, 40, 400)).to_nir_data()
    assert list(quiet.nodes) == list(data.nodes)[1:]
