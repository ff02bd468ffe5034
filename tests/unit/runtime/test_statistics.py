"""What a model counts."""

import numpy as np
import pytest

from kerasnsoc.runtime import (
    Concat,
    Convolutional,
    ConvolutionMode,
    FullyConnected,
    InputConvolutional,
    InputData,
    LayerStatistics,
    PoolingType,
    SeparableConvolutional,
)
from tests.unit.runtime.small import adder, batch, fill, model_of


def test_statistics_are_live():
    model = adder()
    rows = model.get_statistics()
    assert list(rows) == ["in", "sum"]
    assert all(isinstance(row, LayerStatistics) for row in rows.values())
    row = rows["sum"]
    assert (row.nb_samples, row.nb_activations, row.output_sparsity) == (0, 0, 0.0)
    assert (row.input_sparsity, row.ops, row.neuron_updates, row.connections) == (0.0, 0.0, 0, 4)
    for call in (model.forward, model.evaluate, model.predict):
        call(batch([1, 0, 2, 0], [0, 0, 0, 0]))
    assert row is model.statistics["sum"]
    assert (row.layer_name, row.possible_spikes) == ("sum", 1)
    assert (row.nb_samples, row.nb_activations) == (6, 3)
    assert row.output_sparsity == 0.5
    assert row.input_sparsity == 0.75
    assert (row.events_in, row.synaptic_ops, row.neuron_updates) == (6, 6, 6)
    rows.clear()
    assert len(model.statistics) == 2
    assert rows is not model.statistics


def test_input_statistics():
    model = adder()
    model.forward(batch([1, 0, 2, 0]))
    row = model.statistics["in"]
    assert (row.events_in, row.nb_activations, row.possible_spikes) == (2, 2, 4)
    assert (row.synaptic_ops, row.connections, row.neuron_updates, row.ops) == (0, 0, 0, 0.0)
    assert row.row_sparsity == 0.0
    assert row.input_sparsity == row.output_sparsity == 0.5


def test_a_failed_batch_is_not_counted():
    model = adder()
    with pytest.raises(ValueError, match="is 16"):
        model.forward(batch([1, 0, 2, 0], [16, 0, 0, 0]))
    assert model.statistics["sum"].nb_samples == 0
    assert model.metrics["events_in"] == 0


@pytest.mark.parametrize("form", ["auto", "dense", "events"])
def test_borders_cut_synapses_off(form):
    """With a 3x3 kernel an event in a corner reaches 4 positions, at an edge 6, inside 9."""
    model = model_of(InputData(4, 3, 2), Convolutional(3, 3, 5, "c"))
    row = model.statistics["c"]
    for (x, y), reached in {(0, 0): 4, (1, 0): 6, (0, 1): 6, (1, 1): 9, (3, 2): 4}.items():
        inputs = np.zeros((1, 4, 3, 2), np.uint8)
        inputs[0, x, y] = [1, 0]
        before = row.synaptic_ops
        model.forward(inputs, form=form)
        assert row.synaptic_ops - before == reached * 5
    assert row.connections == (4 * 4 + 6 * (2 + 2 + 1 + 1) + 9 * 2) * 2 * 5
    assert row.neuron_updates == 5 * 4 * 3 * 5
    before = row.synaptic_ops
    model.forward(np.full((1, 4, 3, 2), 15, np.uint8), form=form)
    assert row.synaptic_ops - before == row.connections


@pytest.mark.parametrize("form", ["auto", "dense", "events"])
def test_padding_cells_are_no_events(form):
    model = model_of(InputConvolutional(3, 3, 1, 3, 3, 2, "c", padding_value=9))
    row = model.statistics["c"]
    model.forward(np.zeros((1, 3, 3, 1), np.uint8), form=form)
    assert (row.events_in, row.synaptic_ops) == (0, 0)
    image = np.zeros((1, 3, 3, 1), np.uint8)
    image[0, 0, 2, 0] = 1
    model.forward(image, form=form)
    assert (row.events_in, row.synaptic_ops) == (1, 4 * 2)
    assert row.connections == (4 * 4 + 4 * 6 + 9) * 2


@pytest.mark.parametrize("form", ["auto", "dense", "events"])
def test_strides_and_full_mode(form):
    model = model_of(
        InputData(5, 1, 1), Convolutional(3, 1, 2, "c", ConvolutionMode.Full, stride_x=2)
    )
    # positions 0, 2, 4 lie under two windows, 1 and 3 under one
    for x, reached in enumerate([2, 1, 2, 1, 2]):
        inputs = np.zeros((1, 5, 1, 1), np.uint8)
        inputs[0, x] = 1
        row = model.statistics["c"]
        before = row.synaptic_ops
        model.forward(inputs, form=form)
        assert row.synaptic_ops - before == reached * 2
    assert row.connections == 8 * 2


@pytest.mark.parametrize("form", ["auto", "dense", "events"])
def test_separable_counts_both_stages(form):
    model = model_of(InputData(3, 1, 2), SeparableConvolutional(3, 1, 4, "s"))
    layer = model.get_layer("s")
    layer.variables["weights"] = np.array([[1, 1], [0, 1], [-1, 1]]).reshape(3, 1, 2, 1)
    inputs = np.zeros((1, 3, 1, 2), np.uint8)
    inputs[0, 1, 0, 0] = 3  # three taps, depthwise sums 3, 0, -3: two of them not zero
    model.forward(inputs, form=form)
    row = model.statistics["s"]
    assert row.synaptic_ops == 3 + 2 * 4
    inputs[0, 0, 0, 1] = 1  # two taps, two sums
    model.forward(inputs, form=form)
    assert row.synaptic_ops == 2 * (3 + 2 * 4) + 2 + 2 * 4
    assert row.connections == 7 * 2 + 3 * 2 * 4
    assert row.neuron_updates == 2 * 3 * 4


def test_neurons_are_counted_before_pooling():
    model = model_of(InputData(4, 4, 1), Convolutional(3, 3, 2, "c", pooling_type=PoolingType.Max))
    model.forward(np.zeros((3, 4, 4, 1), np.uint8))
    row = model.statistics["c"]
    assert row.neuron_updates == 3 * 4 * 4 * 2
    assert row.possible_spikes == 2


def test_concat_counts_what_it_joins():
    model = model_of(InputData(1, 1, 2, name="in"))
    source = model.get_layer("in")
    for name, silent in (("a", False), ("b", True)):
        model.add(FullyConnected(3, name, activations_enabled=silent), [source])
        model.pop_layer()
        model.add(FullyConnected(3, name, weights_bits=2, activations_enabled=False), [source])
        weights = np.zeros((1, 1, 2, 3), int)
        weights[0, 0, 0] = [1, 0, -1]
        model.get_layer(name).variables["weights"] = weights
    model.add(Concat("j"), [model.get_layer("a"), model.get_layer("b")])
    model.forward(batch([5, 0]))
    row = model.statistics["j"]
    assert (row.events_in, row.nb_activations, row.synaptic_ops) == (4, 2, 0)
    assert (row.connections, row.neuron_updates, row.possible_spikes) == (0, 6, 6)
    assert (row.ops, row.row_sparsity) == (0.0, 0.0)
    assert model.statistics["a"].nb_activations == 2
    passing = model.layers[:-1]
    model.pop_layer()
    model.add(Concat("j", activations_enabled=False), passing[1:])
    model.forward(batch([5, 0]))
    assert model.statistics["j"].neuron_updates == 0


def test_published_operation_counts():
    """512 inputs of sparsity 0.68 into 10 neurons, 6272 of 0.85 into 5x5x32: 1650 and 752000."""
    full = model_of(InputData(1, 1, 512, 1), FullyConnected(10, "f"))
    inputs = np.zeros((100, 1, 1, 512), np.uint8)
    inputs.reshape(-1)[: round(0.322266 * inputs.size)] = 1
    full.forward(inputs)
    assert round(full.statistics["f"].input_sparsity, 2) == 0.68
    assert round(full.statistics["f"].ops) == 1650
    conv = model_of(InputData(14, 14, 32, 1), Convolutional(5, 5, 32, "c"))
    inputs = np.zeros((10, 14, 14, 32), np.uint8)
    inputs.reshape(-1)[:9400] = 1
    conv.forward(inputs)
    assert round(conv.statistics["c"].input_sparsity, 2) == 0.85
    assert conv.statistics["c"].ops == 752_000


def test_row_sparsity():
    model = model_of(
        InputData(4, 4, 2),
        Convolutional(3, 2, 2, "c", weights_bits=2),
        SeparableConvolutional(2, 2, 3, "s", weights_bits=2),
        FullyConnected(2, "f"),
    )
    conv, separable, full = (model.get_layer(name) for name in "csf")
    rows = model.statistics
    assert [rows[name].row_sparsity for name in "csf"] == [1.0, 1.0, 1.0]
    weights = np.zeros((3, 2, 2, 2), int)
    weights[1, 0, 0, 0] = 1  # one of eight rows has a weight
    weights[:, 1, 1, 1] = 1
    conv.variables["weights"] = weights
    assert rows["c"].row_sparsity == 6 / 8
    weights = np.zeros((2, 2, 2, 1), int)
    weights[0, 0, 1] = -1
    separable.variables["weights"] = weights
    separable.variables["weights_pw"] = np.ones((1, 1, 2, 3), int)
    assert rows["s"].row_sparsity == 3 / 4
    weights = np.zeros((1, 1, 48, 2), int)
    weights[0, 0, :12] = 1
    full.variables["weights"] = weights
    assert rows["f"].row_sparsity == 3 / 4


def test_statistics_may_start_from_given_totals():
    layer = adder().get_layer("sum")
    row = LayerStatistics(layer, 10, 5)
    assert (row.output_sparsity, row.nb_samples, row.neuron_updates) == (0.5, 10, 10)
    with pytest.raises(RuntimeError, match="not in a model"):
        LayerStatistics(FullyConnected(1))


def test_text():
    model = fill(model_of(InputData(4, 4, 1), Convolutional(3, 3, 2, "c", weights_bits=4)))
    model.forward(np.full((2, 4, 4, 1), 3, np.uint8))
    text = str(model.statistics["c"])
    assert text.startswith("Convolutional c: 2 samples, output sparsity ")
    for part in ("row sparsity", "32 possible spikes", "288 ops", "32 events in", "400 synaptic"):
        assert part in text
    assert text in repr(model.statistics["c"])


def test_metrics():
    model = adder(2)
    assert model.metrics == {
        "inference_frames": 0,
        "inference_time_s": 0.0,
        "events_in": 0,
        "events_out": 0,
        "synaptic_ops": 0,
    }
    model.forward(batch([1, 1], [0, 3], [0, 0]))
    metrics = model.metrics
    assert metrics.pop("inference_time_s") > 0
    assert metrics == {"inference_frames": 3, "events_in": 3, "events_out": 2, "synaptic_ops": 3}
    # totals of the model outlive its layers
    model.pop_layer()
    model.add(FullyConnected(1, "new"))
    assert model.metrics["inference_frames"] == 3
    assert model.statistics["new"].nb_samples == 0
