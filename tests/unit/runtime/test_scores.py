"""Real values and classes."""

import numpy as np
import pytest

from kerasnsoc.runtime import Convolutional, FullyConnected, InputConvolutional, InputData, Model
from tests.unit.runtime.small import adder, batch, model_of


def _heads(neurons, **arguments):
    """Neuron j adds (j + 1) times the j-th input up."""
    model = model_of(InputData(1, 1, neurons), FullyConnected(neurons, "f", 8, **arguments))
    model.get_layer("f").variables["weights"] = np.diag(np.arange(neurons) + 1)[None, None]
    return model


def test_evaluate_takes_threshold_and_step():
    model = _heads(3, activations_enabled=False)
    layer = model.get_layer("f")
    layer.variables["threshold_fire"] = [1, -2, 4]
    layer.variables["threshold_fire_step"] = [2.0, 0.0, 0.5]
    outputs = model.evaluate(batch([5, 5, 5]))
    assert outputs.dtype == np.float32
    assert outputs.shape == (1, 1, 1, 3)
    assert outputs.ravel().tolist() == [2.0, 12.0, 22.0]


def test_evaluate_takes_scale_and_shift_if_there_are():
    model = _heads(2, activations_enabled=False)
    model.get_layer("f").variables["output_scale"] = [0.5, -1.0]
    model.get_layer("f").variables["output_shift"] = [1.0, 1 / 3]
    expected = np.array([5 * 0.5 + 1.0, -10.0 + 1 / 3]).astype(np.float32)
    assert model.evaluate(batch([5, 5])).ravel().tolist() == expected.tolist()


def test_evaluate_rounds_once():
    """float64 inside: a potential beyond 2**24 keeps its last digit up to the final rounding."""
    model = model_of(
        InputData(1, 1, 70_000, 8), FullyConnected(1, "f", 8, activations_enabled=False)
    )
    weights = np.full((1, 1, 70_000, 1), 1)
    weights[0, 0, 0] = 2
    model.get_layer("f").variables["weights"] = weights
    inputs = np.full((1, 1, 1, 70_000), 255, np.uint8)
    potential = 255 * 70_001
    assert potential > 2**24
    model.get_layer("f").variables["threshold_fire"] = potential - 1
    assert model.evaluate(inputs).item() == 1.0


def test_evaluate_needs_potentials():
    with pytest.raises(RuntimeError, match=r"'sum' has an activation.*activations_enabled=False"):
        adder(activations_enabled=True).evaluate(batch([1, 1, 1, 1]))
    with pytest.raises(ValueError, match="InputData only"):
        model_of(InputData(1, 1, 1)).evaluate(batch([1]))


def test_evaluate_of_an_image_layer_has_the_event_layout():
    model = model_of(InputConvolutional(4, 3, 1, 1, 1, 2, activations_enabled=False))
    model.get_layer(0).variables["weights"] = np.ones((1, 1, 1, 2), int)
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    outputs = model.evaluate(image)
    assert outputs.shape == (1, 4, 3, 2)
    assert outputs[0, :, :, 0].tolist() == image[0, :, :, 0].T.tolist()


def test_predict_by_potentials():
    model = _heads(4, activations_enabled=False)
    inputs = batch([9, 0, 0, 0], [0, 0, 0, 1], [4, 2, 0, 1], [0, 0, 0, 0])
    classes = model.predict(inputs)
    assert classes.dtype == np.int64
    # of equal potentials the first neuron wins
    assert classes.tolist() == [0, 3, 0, 0]
    assert model.predict(inputs, num_classes=2).tolist() == [0, 1, 0, 0]
    assert model.predict(inputs, num_classes=np.int64(1)).tolist() == [0, 0, 0, 0]
    assert model.predict(inputs, 4).tolist() == [0, 3, 0, 0]


def test_predict_compares_in_the_units_of_the_trained_model():
    model = _heads(2, activations_enabled=False)
    inputs = batch([15, 15])  # potentials 15 and 30
    assert model.predict(inputs).tolist() == [1]
    model.get_layer("f").variables["output_scale"] = [1.0, 0.25]
    assert model.predict(inputs).tolist() == [0]
    model.get_layer("f").variables["output_shift"] = [0.0, 8.0]
    assert model.predict(inputs).tolist() == [1]
    model.get_layer("f").variables["threshold_fire"] = [0, 16]
    assert model.predict(inputs).tolist() == [0]


def test_predict_keeps_the_order_of_large_potentials():
    model = model_of(
        InputData(1, 1, 70_000, 8), FullyConnected(2, "f", 8, activations_enabled=False)
    )
    weights = np.ones((1, 1, 70_000, 2), int)
    weights[0, 0, 0, 1] = 2
    model.get_layer("f").variables["weights"] = weights
    inputs = np.full((1, 1, 1, 70_000), 255, np.uint8)
    inputs[..., 0] = 1
    inputs[..., 1] = 253  # a multiple of 4, so that float32 rounds the next integer down to it
    potentials = model.forward(inputs).ravel()
    assert potentials[1] == potentials[0] + 1
    assert potentials.astype(np.float32)[0] == potentials.astype(np.float32)[1]
    assert model.predict(inputs).tolist() == [1]


def test_predict_by_activations():
    model = _heads(4, threshold_fire=3, threshold_fire_bits=2, threshold_fire_step=1)
    inputs = batch([9, 9, 9, 9], [4, 0, 0, 0], [1, 1, 1, 0], [15, 0, 0, 15])
    assert model.forward(inputs).reshape(4, 4).tolist() == [
        [2, 3, 3, 3],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [3, 0, 0, 3],
    ]
    assert model.predict(inputs).tolist() == [1, 0, -1, 0]
    assert model.predict(inputs, num_classes=2).tolist() == [0, 0, -1, 0]


def test_predict_takes_the_maximum_over_positions():
    model = model_of(InputData(2, 2, 2), Convolutional(1, 1, 2, activations_enabled=False))
    model.get_layer(1).variables["weights"] = np.eye(2, dtype=int)[None, None]
    inputs = np.zeros((1, 2, 2, 2), np.uint8)
    inputs[0, :, :, 0] = 7
    inputs[0, 1, 0, 1] = 8
    assert model.predict(inputs).tolist() == [1]


def test_predict_on_an_input_alone():
    assert model_of(InputData(1, 1, 3)).predict(batch([0, 2, 1], [0, 0, 0])).tolist() == [1, -1]


@pytest.mark.parametrize("num_classes", [0, -1, 3, 8])
def test_classes_must_divide_the_neurons(num_classes):
    model = _heads(4, activations_enabled=False)
    with pytest.raises(ValueError, match=rf"num_classes is {num_classes}.*4 neurons.*'f'"):
        model.predict(batch([1, 1, 1, 1]), num_classes)
    assert model.statistics["f"].nb_samples == 0


@pytest.mark.parametrize("num_classes", [2.0, "2", True])
def test_num_classes_must_be_an_integer(num_classes):
    with pytest.raises(TypeError, match="num_classes is"):
        _heads(4).predict(batch([1, 1, 1, 1]), num_classes)


def test_no_layers():
    with pytest.raises(ValueError, match="empty"):
        Model().predict(batch([1]), 1)
