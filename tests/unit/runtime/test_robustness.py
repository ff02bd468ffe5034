"""Odd sizes, odd moments and every kind of error: nothing is half done."""

import itertools
import re

import numpy as np
import pytest

from kerasnsoc.artifact import ArtifactError
from kerasnsoc.runtime import (
    BackendType,
    Concat,
    Convolutional,
    ConvolutionMode,
    FullyConnected,
    InputConvolutional,
    InputData,
    Model,
    PoolingType,
    SeparableConvolutional,
    has_backend,
)
from tests import reference
from tests.networks import every_kind
from tests.unit.runtime.small import adder, batch, fill, model_of


def assert_exact(model, inputs):
    """Both forms, one and three threads, against plain NumPy."""
    expected = reference.run(model.to_spec(), inputs)[model.layers[-1].name].outputs
    for form, threads in itertools.product(("dense", "events"), (1, 3)):
        outputs = model.forward(inputs, form=form, threads=threads)
        np.testing.assert_array_equal(outputs, expected)


def random_inputs(model, samples, density=0.3):
    first = model.get_layer(0)
    width, height, channels = model.input_dims
    shape = (height, width) if isinstance(first, InputConvolutional) else (width, height)
    rng = np.random.default_rng(7)
    values = rng.integers(0, 2**first.input_bits, (samples, *shape, channels), dtype=np.uint8)
    return values * (rng.random(values.shape) < density).astype(np.uint8)


# odd sizes


@pytest.mark.parametrize("name", ["events", "image", "potentials", "input_only"])
def test_zero_samples(name):
    model = Model.from_spec(every_kind()[name])
    inputs = random_inputs(model, 0)
    for threads in (None, 1, 4):
        outputs = model.forward(inputs, threads=threads)
        assert outputs.shape == (0, *model.output_dims)
    assert outputs.dtype == model.forward(random_inputs(model, 1)).dtype
    assert model.predict(inputs).shape == (0,)
    assert model.metrics["inference_frames"] == 1
    assert all(output.shape[0] == 0 for output in model.trace(inputs).values())


@pytest.mark.parametrize("mode", [ConvolutionMode.Same, ConvolutionMode.Full])
@pytest.mark.parametrize("cls", [Convolutional, SeparableConvolutional])
def test_one_pixel(cls, mode):
    layer = cls(
        3,
        5,
        4,
        convolution_mode=mode,
        weights_bits=4,
        threshold_fire=-3,
        threshold_fire_bits=4,
        pooling_type=PoolingType.Max,
    )
    model = fill(model_of(InputData(1, 1, 1, 8), layer, FullyConnected(2, weights_bits=3)))
    assert_exact(model, random_inputs(model, 5, density=1))
    assert_exact(model, np.zeros((2, 1, 1, 1), np.uint8))


def test_one_pixel_of_an_image():
    layer = InputConvolutional(1, 1, 3, 3, 3, 2, weights_bits=4, padding_value=7)
    assert_exact(fill(model_of(layer)), np.array([[[[1, 2, 255]]]], np.uint8))


def test_maps_of_1x1_all_the_way():
    model = fill(
        model_of(
            InputData(1, 1, 7, 4),
            Convolutional(1, 1, 5, weights_bits=4, threshold_fire_bits=4),
            SeparableConvolutional(1, 1, 3, weights_bits=4, threshold_fire_bits=2),
            FullyConnected(3, weights_bits=2, activations_enabled=False),
        )
    )
    inputs = random_inputs(model, 9)
    assert_exact(model, inputs)
    np.testing.assert_array_equal(model.forward(inputs[:, 0, 0]), model.forward(inputs))


@pytest.mark.parametrize(("width", "height"), [(4096, 3), (2, 4096)])
def test_maps_that_are_4096_wide_or_high(width, height):
    model = fill(
        model_of(
            InputData(width, height, 2, 4),
            Convolutional(
                3,
                3,
                3,
                weights_bits=4,
                stride_x=2,
                threshold_fire=20,
                threshold_fire_bits=4,
                pooling_type=PoolingType.Max,
                pooling_width=2,
                pooling_height=1,
            ),
            FullyConnected(2, weights_bits=4, activations_enabled=False),
        )
    )
    assert_exact(model, random_inputs(model, 2, density=0.02))


def test_a_4096_wide_image_with_global_pooling():
    layer = InputConvolutional(
        4096,
        2,
        1,
        3,
        1,
        2,
        weights_bits=8,
        pooling_type=PoolingType.Average,
        activations_enabled=False,
    )
    model = fill(model_of(layer))
    assert_exact(model, np.full((1, 2, 4096, 1), 255, np.uint8))


def test_a_silent_and_a_full_input():
    for spec in every_kind().values():
        model = Model.from_spec(spec)
        inputs = random_inputs(model, 2)
        inputs[0], inputs[1] = 0, 2 ** model.get_layer(0).input_bits - 1
        assert_exact(model, inputs)


# what the error table promises, and that nothing has happened then


def state(model):
    statistics = [
        (row.nb_samples, row.nb_activations, row.events_in, row.synaptic_ops)
        for row in model.statistics.values()
    ]
    metrics = {k: v for k, v in model.metrics.items() if k != "inference_time_s"}
    return model.to_buffer(), statistics, metrics


@pytest.fixture
def model():
    model = adder(3)
    model.forward(batch([1, 2, 3]))
    return model


GOOD = batch([1, 2, 3])
REFUSED = [
    (lambda m: m.forward([[1, 2, 3]]), TypeError, "inputs is a list"),
    (lambda m: m.forward(GOOD.astype(float)), TypeError, "dtype float64"),
    (lambda m: m.forward(GOOD[0]), ValueError, "inputs has the shape"),
    (lambda m: m.forward(batch([1, 2])), ValueError, "inputs has the shape"),
    (lambda m: m.forward(batch([1, 2, 3], [1, 16, 1])), ValueError, r"inputs\[1, 0, 0, 1\] is 16"),
    (lambda m: m.forward(GOOD.astype(int) - 3), ValueError, r"inputs\[0, 0, 0, 0\] is -2"),
    (lambda m: m.forward(GOOD, form="sparse"), ValueError, "form is 'sparse'"),
    (lambda m: m.forward(GOOD, threads=0), ValueError, "threads is 0, but must be 1 to 1024"),
    (lambda m: m.forward(GOOD, threads=1025), ValueError, "threads is 1025"),
    (lambda m: m.forward(GOOD, threads=2.0), TypeError, "threads is 2.0, but must be an integer"),
    (lambda m: m.forward(GOOD, threads=True), TypeError, "threads is True"),
    (lambda m: m.predict(GOOD, num_classes=2), ValueError, "num_classes is 2"),
    (lambda m: m.predict(GOOD, num_classes="1"), TypeError, "num_classes is '1'"),
    (lambda m: m.add(FullyConnected(2, "sum")), ValueError, "'sum' is in the model already"),
    (lambda m: m.add(InputData(1, 1, 1)), ValueError, "can only be the first layer"),
    (lambda m: m.add(FullyConnected(2)), ValueError, "would be fed by the potentials"),
    (lambda m: m.add(Concat("j"), [m.get_layer(0)]), ValueError, "joins a single layer"),
    (lambda m: m.add("dense"), TypeError, "layer is a str"),
    (lambda m: m.get_layer("none"), KeyError, "no layer is named 'none'"),
    (lambda m: m.get_layer(2), IndexError, "layer index is 2"),
    (lambda m: m.get_layer(1).get_variable("bias"), KeyError, "no variable 'bias'"),
    (lambda m: m.get_layer(1).set_variable("bias", 1), KeyError, "no variable 'bias'"),
    (lambda m: m.get_layer(1).set_variable("weights", [1]), ValueError, "layer 'sum': .*shape"),
    (
        lambda m: m.get_layer(1).set_variable("weights", np.full((1, 1, 3, 1), 2)),
        ValueError,
        "layer 'sum': weights",
    ),
    (
        lambda m: m.get_layer(1).set_variable("threshold_fire", 0.5),
        TypeError,
        "layer 'sum': threshold_fire has the dtype float64",
    ),
    (lambda m: m.save("no/such/folder/net.h5"), OSError, "No such file"),
    (lambda m: m.fit(GOOD), RuntimeError, "compile"),
    (lambda m: m.add_classes(1), RuntimeError, "compile"),
]


@pytest.mark.parametrize(("call", "error", "words"), REFUSED)
def test_a_refused_call_changes_nothing(model, call, error, words):
    before = state(model)
    with pytest.raises(error, match=words):
        call(model)
    assert state(model) == before
    assert model.forward(GOOD).ravel().tolist() == [6]


def test_two_mistakes_that_shapes_give_away_are_named():
    model = model_of(InputData(4, 3, 2))
    batch_nwhc = np.zeros((5, 4, 3, 2), np.uint8)
    with pytest.raises(
        ValueError, match=r"a sample without the axis of the batch \(inputs\[None\]"
    ):
        model.forward(batch_nwhc[0])
    with pytest.raises(ValueError, match=r"exchanged \(inputs\.transpose\(0, 2, 1, 3\) mends"):
        model.forward(batch_nwhc.transpose(0, 2, 1, 3))
    with pytest.raises(
        ValueError, match=r"shape \(5, 24\), but layer 'input_data_0' takes \(n, wid"
    ):
        model.forward(batch_nwhc.reshape(5, 24))


def test_wrong_states():
    with pytest.raises(ValueError, match="model is empty"):
        Model().forward(GOOD)
    with pytest.raises(RuntimeError, match="model is empty and has no input_dims"):
        _ = Model().input_dims
    with pytest.raises(
        RuntimeError, match="a FullyConnected without a name has no output_dims yet"
    ):
        _ = FullyConnected(2).output_dims
    with pytest.raises(RuntimeError, match="has an activation"):
        adder(3, activations_enabled=True).evaluate(GOOD)
    with pytest.raises(ValueError, match="InputData only"):
        model_of(InputData(1, 1, 3)).evaluate(GOOD)
    with pytest.raises(RuntimeError, match="Hardware is not available"):
        Model(backend=BackendType.Hardware)
    with pytest.raises(TypeError, match="backend is 'Software'"):
        has_backend("Software")
    with pytest.raises(ValueError, match="num_neurons is 0"):
        FullyConnected(0)
    with pytest.raises(ArtifactError):
        Model(serialized_buffer=b"nothing")


def overflowing():
    """Two neurons; the second one leaves 32 bits if all inputs are high."""
    # 66,400 inputs of 255 with weights of 127 are more than 2**31
    inputs = 66_400
    model = model_of(
        InputData(1, 1, inputs, 8),
        FullyConnected(2, "out", weights_bits=8, activations_enabled=False),
    )
    weights = np.zeros((1, 1, inputs, 2), np.int8)
    weights[..., 1] = 127
    model.get_layer("out").set_variable("weights", weights)
    return model


def test_an_overflow_names_the_first_sample_whatever_the_threads():
    model = overflowing()
    inputs = np.zeros((150, 1, 1, 66_400), np.uint8)
    inputs[[97, 98, 140]] = 255
    messages = set()
    for threads in (None, 1, 2, 3, 8, 150):
        with pytest.raises(OverflowError, match=r"layer 'out'.* neuron 1 in sample 97 ") as info:
            model.forward(inputs, threads=threads)
        messages.add(str(info.value))
    assert len(messages) == 1
    assert model.metrics["inference_frames"] == 0
    inputs[inputs == 255] = 1
    expected = np.zeros((150, 1, 1, 2), np.int32)
    expected[[97, 98, 140], 0, 0, 1] = 66_400 * 127
    np.testing.assert_array_equal(model.forward(inputs, threads=3), expected)


def test_summary_tells_the_memory(capsys):
    model = adder(3)
    text = model.summary()
    assert capsys.readouterr().out == text + "\n"
    found = re.search(
        r"\nMemory: (\S+) bytes of weights and thresholds, (\S+) of packed weights, "
        r"(\S+) of buffers per thread",
        text,
    )
    weights, packed, buffers = (int(number.replace(",", "")) for number in found.groups())
    assert weights == 3 + 4 + 4  # weights, threshold and step
    compiled = model._prepared()
    assert (packed, buffers) == (compiled.packed_nbytes, compiled.plan_nbytes)
    assert packed > 0
    assert buffers > 0
    assert "Memory: N/A" in Model().summary()


def test_summary_of_a_network_in_the_making():
    model = model_of(InputData(4, 4, 1), Convolutional(1, 1, 2, "a"))
    model.add(Convolutional(1, 1, 2, "b"), [model.get_layer(0)])
    assert "Memory: not known before the layers make a network" in model.summary()


def test_buffers_grow_with_the_maps_and_not_with_the_batch():
    def buffers(side):
        model = model_of(InputData(side, side, 2), Convolutional(3, 3, 4))
        model.forward(np.zeros((100, side, side, 2), np.uint8))
        return model._prepared().plan_nbytes

    # maps of the input and of the layer, potentials, events
    assert 32**2 * (2 + 4 + 16) < buffers(32) < 32**2 * 120 + 8192
    assert 12 < buffers(256) / buffers(64) < 17
