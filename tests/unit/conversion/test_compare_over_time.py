"""Spikes are compared where they are, and a difference is named."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from kerasnsoc.conversion import compare, convert, freeze  # noqa: E402
from tests.time_models import RandomModel  # noqa: E402

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.parametrize("seed", [101, 201, 202])
def test_no_spike_differs(seed):
    made = RandomModel(seed, 2)
    network = convert(made.model, **made.arguments())
    x = made.sequences(3, 7)
    report = compare(freeze(made.model, **made.arguments()), network, x, batch_size=2)
    assert report.differing == 0
    assert report.compared > 0
    assert {layer.what for layer in report.layers} == {"spikes"}
    assert compare(made.model, network, x).compared == report.compared
    assert network.get_statistics()[report.layers[0].name].nb_samples == 0


def test_a_frame_model_takes_one_step():
    made = RandomModel(1, 2, has_time_axis=False)
    network = convert(made.model, **made.arguments())
    frozen = freeze(made.model, **made.arguments())
    assert compare(frozen, network, made.sequences(2, 1)).differing == 0
    with pytest.raises(ValueError, match="takes single frames, but inputs has 4 steps"):
        compare(frozen, network, made.sequences(2, 4))


def test_the_first_difference_is_named():
    made = RandomModel(101, 1)
    frozen = freeze(made.model, **made.arguments())
    network = convert(made.model, **made.arguments())
    layer = next(
        layer for layer in network.layers if "initial_potential" in layer.get_variable_names()
    )
    layer.set_variable("initial_potential", 0 * layer.get_variable("initial_potential"))
    report = compare(frozen, network, made.sequences(1, 40))
    assert report.differing > 0
    assert f"layer {layer.name!r}, sample 0, step " in report.summary()


def test_wrong_inputs():
    made = RandomModel(101, 1)
    network = convert(made.model, **made.arguments())
    with pytest.raises(ValueError, match="takes sequences"):
        compare(made.model, network, np.zeros((2, 3), np.uint8))
