"""A Keras model on an emulated Speck, and the same integers on the host."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from kerasnsoc.layers import IAF, SumPooling2D  # noqa: E402
from kerasnsoc.nsoc import NSoCNetwork  # noqa: E402
from kerasnsoc.nsoc.emulator_input import TICK  # noqa: E402
from tests.nsoc_reference import Reference  # noqa: E402

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:layer . .* is pooled behind its neurons"),
]


def random_model(rng, layers=keras.layers):
    side = int(rng.integers(5, 9))
    model = keras.Sequential([keras.Input((side, side, int(rng.integers(1, 3))))])
    for _ in range(int(rng.integers(1, 3))):
        padding = ["same", "valid"][rng.integers(2)]
        model.add(layers.Conv2D(int(rng.integers(1, 5)), 3, padding=padding, use_bias=False))
        model.add(neurons(rng))
        if rng.integers(2) and model.output_shape[1] >= 4:
            model.add(SumPooling2D(2))
        if model.output_shape[1] < 3:
            break
    if rng.integers(2):
        model.add(layers.Flatten())
        model.add(layers.Dense(3, use_bias=False))
        model.add(neurons(rng))
    return model


def neurons(rng):
    return IAF(
        threshold=float(rng.uniform(0.3, 1.0)),
        min_v=-1.0,
        reset=["subtract", "zero"][rng.integers(2)],
        spike_fn="single",
        time_axis=False,
    )


def events_of(frames_thwc):
    """One spike per event, a frame every 10 ms, events 1 us apart."""
    t, y, x, c = np.nonzero(frames_thwc)
    events = np.zeros(len(t), [("t", "i8"), ("x", "i4"), ("y", "i4"), ("c", "i4")])
    order = np.arange(len(t))
    events["t"], events["x"], events["y"], events["c"] = 10_000 * t + order, x, y, c
    return events


@pytest.mark.parametrize("seed", range(8))
def test_a_keras_model_on_a_speck(seed):
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    network = NSoCNetwork(random_model(rng))
    channels, height, width = network.input_shape
    frames = (rng.random((6, height, width, channels)) < 0.3).astype(int)
    events = events_of(frames)

    # one event per step: the host then adds the weights that the chip adds, in the same order
    steps = np.zeros((len(events), height, width, channels), int)
    steps[np.arange(len(events)), events["y"], events["x"], events["c"]] = 1
    single_step = len(network) == 1
    on_host = network.forward(steps)
    host_state = network.state_dict()
    network.reset_states()

    network.to("speck2fmodule", monitor_layers=list(range(len(network))))
    result = network.forward(events, return_result=True)
    oracle = Reference(network.config)
    assert not (result.root_kind == TICK).any()
    for root, event in enumerate(events):
        oracle.enter(root, int(event["x"]), int(event["y"]), int(event["c"]))
    for record in network.config.cores:
        rows = result.spikes_of(record.layer_index)
        found = list(zip(*(rows[n].tolist() for n in ("root", "x", "y", "c", "n")), strict=True))
        assert found == oracle.spikes[record.core]
        np.testing.assert_array_equal(
            result.final_state[record.layer_index], oracle.state[record.core]
        )
    if single_step:
        np.testing.assert_array_equal(result.final_state[0], host_state[0])
        layer = network.layers[0]
        counts = np.zeros((len(events), *layer.neuron_shape), int)
        rows = result.spikes_of(0)
        np.add.at(counts, (rows["root"], rows["c"], rows["y"], rows["x"]), rows["n"])
        pool = layer.destinations[0].pooling[0]
        f, h, w = layer.neuron_shape
        kept = counts[:, :, : h // pool * pool, : w // pool * pool]
        pooled = kept.reshape(-1, f, h // pool, pool, w // pool, pool).sum((3, 5))
        np.testing.assert_array_equal(np.moveaxis(pooled, 1, -1), on_host)
