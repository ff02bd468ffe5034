"""Outputs worked out by hand, and inputs that are refused."""

import numpy as np
import pytest

from kerasnsoc.runtime import (
    Concat,
    Convolutional,
    ConvolutionMode,
    FullyConnected,
    InputConvolutional,
    InputData,
    Model,
    PoolingType,
    SeparableConvolutional,
)
from tests.unit.runtime.small import adder, batch, model_of

FORMS = ["auto", "dense", "events"]


def test_input_data_passes_its_input():
    model = model_of(InputData(2, 3, 2, 8))
    inputs = np.arange(24, dtype=np.uint8).reshape(2, 2, 3, 2) + 200
    outputs = model.forward(inputs)
    assert outputs.dtype == np.uint8
    np.testing.assert_array_equal(outputs, inputs)
    assert not np.shares_memory(outputs, inputs)


@pytest.mark.parametrize("form", FORMS)
def test_an_event_scatters_the_stored_kernel(form):
    """The weight at (i, j) goes to (x + i - 1, y + j - 1): the stored kernel is not mirrored."""
    model = model_of(
        InputData(5, 5, 1), Convolutional(3, 3, 1, weights_bits=5, activations_enabled=False)
    )
    kernel = np.arange(1, 10).reshape(3, 3, 1, 1)
    model.get_layer(1).variables["weights"] = kernel
    inputs = np.zeros((1, 5, 5, 1), np.uint8)
    inputs[0, 2, 3, 0] = 1
    expected = np.zeros((5, 5), int)
    expected[1:4, 2:5] = kernel[:, :, 0, 0]
    np.testing.assert_array_equal(model.forward(inputs, form=form)[0, :, :, 0], expected)


def test_an_image_layer_correlates_and_takes_rows_first():
    model = model_of(
        InputConvolutional(4, 3, 1, 2, 1, 1, weights_bits=8, activations_enabled=False)
    )
    # x + 1 weighs 10, x weighs 1; Same puts the missing column behind
    model.get_layer(0).variables["weights"] = np.array([1, 10]).reshape(2, 1, 1, 1)
    image = np.zeros((1, 3, 4, 1), np.uint8)
    image[0, 2] = [[1], [2], [3], [4]]
    outputs = model.forward(image)
    assert outputs.shape == (1, 4, 3, 1)
    assert outputs[0, :, 2, 0].tolist() == [21, 32, 43, 4]
    assert not outputs[0, :, :2].any()


@pytest.mark.parametrize("form", FORMS)
def test_the_padding_value_surrounds_the_image(form):
    model = model_of(
        InputConvolutional(3, 3, 3, 3, 3, 2, padding_value=100, activations_enabled=False)
    )
    weights = np.zeros((3, 3, 3, 2), int)
    weights[0, 1] = 1  # the left neighbour, all channels
    weights[2, 2, 1, 1] = 1
    model.get_layer(0).variables["weights"] = weights
    image = np.ones((1, 3, 3, 3), np.uint8)
    outputs = model.forward(image, form=form)
    assert outputs[0, :, 1, 0].tolist() == [300, 3, 3]
    assert outputs[0, :, 2, 1].tolist() == [400, 103, 103]


def test_fully_connected_flattens_feature_by_feature():
    width, height, channels = 2, 3, 2
    model = model_of(
        InputData(width, height, channels),
        FullyConnected(1, weights_bits=8, activations_enabled=False),
    )
    row = np.arange(1, 13)
    model.get_layer(1).variables["weights"] = row.reshape(1, 1, 12, 1)
    for x in range(width):
        for y in range(height):
            for c in range(channels):
                inputs = np.zeros((1, width, height, channels), np.uint8)
                inputs[0, x, y, c] = 1
                assert model.forward(inputs).item() == row[(c * height + y) * width + x]


@pytest.mark.parametrize("form", FORMS)
def test_separable_keeps_the_depthwise_sums_exact(form):
    model = model_of(
        InputData(3, 1, 2),
        SeparableConvolutional(3, 1, 1, weights_bits=8, activations_enabled=False),
    )
    layer = model.get_layer(1)
    layer.variables["weights"] = np.array([[1, 100], [0, 100], [0, 100]]).reshape(3, 1, 2, 1)
    layer.variables["weights_pw"] = np.array([[3], [-100]]).reshape(1, 1, 2, 1)
    inputs = np.zeros((1, 3, 1, 2), np.uint8)
    inputs[0, :, 0, 0] = [5, 6, 7]
    inputs[0, :, 0, 1] = [15, 15, 15]
    # the first depthwise kernel moves an event one to the left
    expected = [3 * 6 - 100 * 3000, 3 * 7 - 100 * 4500, -100 * 3000]
    assert model.forward(inputs, form=form).ravel().tolist() == expected


@pytest.mark.parametrize(
    ("mode", "length", "kernel", "stride", "expected"),
    [
        (ConvolutionMode.Valid, 7, 3, 2, [3, 3, 3]),
        (ConvolutionMode.Same, 7, 3, 2, [2, 3, 3, 2]),
        (ConvolutionMode.Same, 6, 3, 2, [3, 3, 2]),  # the odd cell of padding is behind
        (ConvolutionMode.Same, 5, 4, 1, [3, 4, 4, 3, 2]),
        (ConvolutionMode.Full, 3, 3, 1, [1, 2, 3, 2, 1]),
        (ConvolutionMode.Full, 3, 3, 2, [1, 3, 1]),
        (ConvolutionMode.Same, 2, 1, 3, [1]),
    ],
)
def test_windows(mode, length, kernel, stride, expected):
    model = model_of(
        InputData(length, 1, 1),
        Convolutional(kernel, 1, 1, "", mode, stride, activations_enabled=False),
    )
    model.get_layer(1).variables["weights"] = np.ones((kernel, 1, 1, 1), int)
    ones = np.ones((1, length, 1, 1), np.uint8)
    assert model.forward(ones).ravel().tolist() == expected
    turned = model_of(
        InputData(1, length, 1),
        Convolutional(1, kernel, 1, "", mode, 1, stride, activations_enabled=False),
    )
    turned.get_layer(1).variables["weights"] = np.ones((1, kernel, 1, 1), int)
    assert turned.forward(ones.reshape(1, 1, length, 1)).ravel().tolist() == expected


def _pooled(values, **pooling):
    """Pooling of potentials along x; a 1x1 kernel of weight -1 makes them negative."""
    model = model_of(
        InputData(len(values), 1, 1, 8),
        Convolutional(1, 1, 1, weights_bits=2, activations_enabled=False, **pooling),
    )
    model.get_layer(1).variables["weights"] = np.full((1, 1, 1, 1), -1)
    inputs = np.array(values, np.uint8).reshape(1, -1, 1, 1)
    return (-model.forward(inputs)).ravel().tolist()


def test_pooling():
    values = [1, 2, 3, 4, 5]
    top, mean = PoolingType.Max, PoolingType.Average
    two = {"pooling_width": 2, "pooling_height": 1}
    # of negative potentials the maximum is the one nearest to zero; missing cells are skipped
    assert _pooled(values, pooling_type=top, **two) == [1, 3, 5]
    assert _pooled(values, pooling_type=mean, **two) == [3, 7, 5]
    assert _pooled(values, pooling_type=top) == [1]
    assert _pooled(values, pooling_type=mean) == [15]
    assert _pooled(values, pooling_type=mean, pooling_width=-1, pooling_height=1) == [15]
    assert _pooled(values, pooling_type=mean, pooling_width=2, pooling_height=-1) == [3, 7, 5]
    assert _pooled(values, pooling_type=mean, pooling_stride_x=1, **two) == [3, 5, 7, 9, 5]
    assert _pooled(values, pooling_type=mean, pooling_stride_x=3, **two) == [3, 9]
    for mode in (ConvolutionMode.Valid, ConvolutionMode.Full):
        assert _pooled(values, pooling_type=mean, convolution_mode=mode, **two) == [3, 7]


def _levels(potentials, **activation):
    model = adder(2, activations_enabled=True, weights_bits=8, **activation)
    model.get_layer(1).variables["weights"] = np.array([1, -16]).reshape(1, 1, 2, 1)
    # p = a - 16 b with 4-bit inputs reaches -240 to 15
    inputs = batch(*[[p % 16, -(p // 16)] for p in potentials])
    return model.forward(inputs).ravel().tolist()


def test_levels_of_a_step():
    four = {"threshold_fire": -100, "threshold_fire_step": 2.5, "threshold_fire_bits": 4}
    # edges at -100 + floor(2.5 m): -100, -98, -95, -93, …, 35 - 100
    assert _levels([-101, -100, -99, -98, -97, -95, -94, -93, -92], **four) == [
        *(0, 0, 1, 1, 2, 2, 3, 3, 4)
    ]
    assert _levels([-66, -65, -64, 15], **four) == [14, 14, 15, 15]
    # with 2 bits an interval is four times as long: -100, -90, -80
    two = {**four, "threshold_fire_bits": 2}
    assert _levels([-100, -99, -90, -89, -80, -79, 15], **two) == [0, 1, 1, 2, 2, 3, 3]
    # with one bit the step does not matter
    for step in (0, 2.5, 1e30):
        one = {**four, "threshold_fire_bits": 1, "threshold_fire_step": step}
        assert _levels([-101, -100, -99, 15], **one) == [0, 0, 1, 1]
    # with 8 bits it is a sixteenth: -100, -100, -100, -100, -100, -100, -100, -99, …
    eight = {**four, "threshold_fire_bits": 8}
    assert _levels([-100, -99, -98], **eight) == [0, 7, 13]
    # a step of zero goes to the top at once
    assert _levels([-100, -99], **{**four, "threshold_fire_step": 0}) == [0, 15]
    # saturated edges are never passed
    assert _levels([15], **{**four, "threshold_fire_step": 3e38}) == [1]


def test_a_table_overrules_the_pair():
    model = adder(1, activations_enabled=True, threshold_fire_bits=2)
    model.get_layer(1).variables["thresholds"] = [[2, 2, 9]]
    assert model.forward(batch([0], [2], [3], [9], [10])).ravel().tolist() == [0, 0, 2, 2, 3]
    lowest = np.array([[-(2**31), -(2**31), 2**31 - 1]])
    model.get_layer(1).variables["thresholds"] = lowest
    assert model.forward(batch([0], [15])).ravel().tolist() == [2, 2]


def test_without_activation_the_threshold_is_not_subtracted():
    model = adder(2, threshold_fire=100)
    outputs = model.forward(batch([3, 4]))
    assert outputs.dtype == np.int32
    assert outputs.ravel().tolist() == [7]


def test_binary_potentials_count_ones():
    model = model_of(InputData(1, 1, 4, 1), FullyConnected(1, activations_enabled=False))
    model.get_layer(1).variables["weights"] = np.array([1, 0, 1, 1]).reshape(1, 1, 4, 1)
    assert model.forward(batch([1, 1, 1, 1], [1, 1, 0, 0])).ravel().tolist() == [3, 1]


def _join(**arguments):
    model = model_of(InputData(1, 1, 2, name="in"))
    source = model.get_layer("in")
    for index, name in enumerate("ab"):
        layer = FullyConnected(1, name, threshold_fire_bits=2, threshold_fire_step=0.25)
        model.add(layer, [source])
        layer.variables["weights"] = np.eye(2, dtype=int)[index].reshape(1, 1, 2, 1)
    model.add(Concat("j", **arguments), [model.get_layer("a"), model.get_layer("b")])
    return model


@pytest.mark.parametrize("form", FORMS)
def test_a_concat_of_activations(form):
    inputs = batch([1, 2], [3, 15], [0, 1])
    levels = [[1, 2], [3, 3], [0, 1]]
    passing = _join(activations_enabled=False).forward(inputs, form=form)
    assert passing.dtype == np.uint8
    assert passing.reshape(3, 2).tolist() == levels
    identity = _join(threshold_fire_bits=2, threshold_fire_step=4 / 16).forward(inputs, form=form)
    assert identity.reshape(3, 2).tolist() == levels
    binary = _join(threshold_fire=1).forward(inputs, form=form)
    assert binary.reshape(3, 2).tolist() == [[0, 1], [1, 1], [0, 0]]
    # a negative threshold makes silent inputs fire
    always = _join(threshold_fire=-1).forward(inputs, form=form)
    assert always.reshape(3, 2).tolist() == [[1, 1]] * 3


def test_layers_behind_a_passing_concat():
    model = _join(activations_enabled=False)
    model.add(FullyConnected(1, "f", activations_enabled=False))
    assert model.get_layer("f").input_bits == 2
    model.get_layer("f").variables["weights"] = np.ones((1, 1, 2, 1), int)
    assert model.forward(batch([1, 2], [3, 15])).ravel().tolist() == [3, 6]


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "uint16", "int64", "uint64", ">i4"]
)
def test_any_integer_dtype_is_taken(dtype):
    inputs = batch([1, 0, 1, 1]).astype(dtype)
    assert adder().forward(inputs).item() == 3
    assert adder().forward(np.asfortranarray(inputs)).item() == 3


def test_views_of_any_strides_are_taken():
    model = model_of(InputData(2, 3, 2, 8))
    whole = np.arange(2 * 4 * 6 * 4, dtype=np.uint8).reshape(2, 4, 6, 4)
    part = whole[:, ::2, ::-2, 1:3]
    np.testing.assert_array_equal(model.forward(part), part)
    frozen = np.ascontiguousarray(part)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(model.forward(frozen), part)


def test_flat_samples():
    assert adder().forward(np.array([[1, 2, 3, 4]], np.uint8)).item() == 10
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        adder().forward(np.zeros((1, 3), np.uint8))


@pytest.mark.parametrize("call", ["forward", "evaluate", "predict", "trace"])
@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ([[1, 2, 3, 4]], TypeError, "inputs is a list"),
        (np.zeros((1, 1, 1, 4)), TypeError, "dtype float64.*integers"),
        (np.zeros((1, 1, 1, 4), complex), TypeError, "complex128"),
        (np.zeros((1, 1, 1, 4), object), TypeError, "object"),
        (np.zeros((1, 1, 4), np.uint8), ValueError, r"\(1, 1, 4\).*'in'.*\(n, 1, 1, 4\)"),
        (np.zeros((1, 4, 1, 1), np.uint8), ValueError, r"\(1, 4, 1, 1\)"),
        (np.zeros(4, np.uint8), ValueError, r"\(4,\)"),
        (batch([1, 2, 3, 4], [1, 2, 16, 4]), ValueError, r"inputs\[1, 0, 0, 2\] is 16.*0 to 15"),
        (batch([1, 2, 3, 4]).astype(int) - 2, ValueError, r"inputs\[0, 0, 0, 0\] is -1"),
        (batch([1, 2, 3, 4]).astype(int) * 256, ValueError, r"is 256"),
    ],
)
def test_wrong_inputs_are_refused_and_not_counted(call, inputs, error, message):
    model = adder()
    with pytest.raises(error, match=message):
        getattr(model, call)(inputs)
    assert all(row.nb_samples == 0 for row in model.get_statistics().values())
    assert model.metrics["inference_frames"] == 0


def test_images_are_refused_in_event_layout():
    model = model_of(InputConvolutional(4, 6, 1, 3, 3, 1))
    with pytest.raises(ValueError, match=r"\(n, height, width, channels\) = \(n, 6, 4, 1\)"):
        model.forward(np.zeros((1, 4, 6, 1), np.uint8))
    with pytest.raises(ValueError, match="0 to 255"):
        model.forward(np.full((1, 6, 4, 1), 256))


def test_no_samples():
    model = adder()
    assert model.forward(batch([1, 1, 1, 1])[:0]).shape == (0, 1, 1, 1)
    assert model.forward(np.zeros((0, 4), np.int64)).dtype == np.int32
    assert model.evaluate(batch([1, 1, 1, 1])[:0]).shape == (0, 1, 1, 1)
    assert model.evaluate(batch([1, 1, 1, 1])[:0]).dtype == np.float32
    assert model.predict(batch([1, 1, 1, 1])[:0]).shape == (0,)
    assert {name: a.shape for name, a in model.trace(batch([1, 1, 1, 1])[:0]).items()} == {
        "in": (0, 1, 1, 4),
        "sum": (0, 1, 1, 1),
    }
    assert model.statistics["sum"].nb_samples == 0


def test_state_is_not_kept_between_calls_or_samples():
    model = adder()
    once = model.forward(batch([1, 2, 3, 4]), stateful=True)
    twice = model.forward(batch([1, 2, 3, 4], [1, 2, 3, 4]), stateful=True)
    assert once.ravel().tolist() == [10]
    assert twice.ravel().tolist() == [10, 10]
    model.reset_states()
    assert model.forward(batch([1, 2, 3, 4])).item() == 10


def test_trace_returns_every_layer_and_counts_nothing():
    model = _join(threshold_fire=1)
    traced = model.trace(batch([1, 2], [3, 15]))
    assert list(traced) == ["in", "a", "b", "j"]
    assert traced["in"].tolist() == batch([1, 2], [3, 15]).tolist()
    assert traced["a"].ravel().tolist() == [1, 3]
    assert traced["b"].ravel().tolist() == [2, 3]
    np.testing.assert_array_equal(traced["j"], model.forward(batch([1, 2], [3, 15])))
    assert model.statistics["a"].nb_samples == 2


def test_results_do_not_alias_each_other():
    model = adder()
    first = model.forward(batch([1, 2, 3, 4]))
    model.forward(batch([0, 0, 0, 0]))
    assert first.item() == 10


def _giant():
    """Potentials up to 127 * 255 * 70000 > 2**31 in absolute value."""
    model = model_of(
        InputData(1, 1, 70_000, 8),
        FullyConnected(2, "wide", weights_bits=8, activations_enabled=False),
    )
    weights = np.full((1, 1, 70_000, 2), 127)
    weights[..., 1] = -127
    model.get_layer(1).variables["weights"] = weights
    return model


@pytest.mark.parametrize("form", FORMS)
def test_sums_near_the_end_of_32_bits_are_exact(form):
    model = _giant()
    inputs = np.full((1, 1, 1, 70_000), 240, np.uint8)
    total = 127 * 240 * 70_000
    assert 2**31 - 2**24 < total < 2**31
    assert model.forward(inputs, form=form).ravel().tolist() == [total, -total]
    # odd and beyond float32's precision
    inputs[..., 0] = 241
    assert model.forward(inputs, form=form).ravel().tolist() == [total + 127, -total - 127]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("activations", [False, True])
def test_potentials_beyond_32_bits_are_an_overflow(form, activations):
    model = _giant()
    if activations:
        layer = FullyConnected(2, "wide", weights_bits=8)
        weights = model.get_layer(1).get_variable("weights")
        model.pop_layer()
        model.add(layer)
        layer.variables["weights"] = weights
    inputs = np.full((3, 1, 1, 70_000), 255, np.uint8)
    inputs[0] = 1
    message = r"'wide': the potential of neuron 0 in sample 1 is 2266950000, outside"
    with pytest.raises(OverflowError, match=message):
        model.forward(inputs, form=form)
    assert model.statistics["wide"].nb_samples == 0
    assert len(model.forward(inputs[:1], form=form)) == 1


def test_wide_separable_and_pooled_sums():
    model = model_of(
        InputData(1, 1, 600, 8),
        SeparableConvolutional(1, 1, 1, "sep", weights_bits=8, activations_enabled=False),
    )
    layer = model.get_layer(1)
    layer.variables["weights"] = np.full((1, 1, 600, 1), 127)
    layer.variables["weights_pw"] = np.full((1, 1, 600, 1), 127)
    inputs = np.zeros((1, 1, 1, 600), np.uint8)
    inputs[..., :500] = 255
    assert model.forward(inputs).item() == 127 * 127 * 255 * 500
    with pytest.raises(OverflowError, match=r"'sep'"):
        model.forward(inputs * 0 + 255)
    pooled = model_of(
        InputData(300, 300, 1, 8),
        Convolutional(
            1,
            1,
            1,
            "pool",
            weights_bits=8,
            activations_enabled=False,
            pooling_type=PoolingType.Average,
        ),
    )
    pooled.get_layer(1).variables["weights"] = np.full((1, 1, 1, 1), -127)
    full = np.full((1, 300, 300, 1), 180, np.uint8)
    assert pooled.forward(full).item() == -127 * 180 * 90_000
    with pytest.raises(OverflowError, match=r"neuron 0 in sample 0 is -2914650000"):
        pooled.forward(full * 0 + 255)


def test_forms_and_kernels_by_name(monkeypatch):
    model = adder()
    inputs = batch([1, 2, 3, 4])
    with pytest.raises(ValueError, match=r"form is 'sparse'.*auto, dense, events"):
        model.forward(inputs, form="sparse")
    monkeypatch.setenv("KERASNSOC_FORM", "fast")
    with pytest.raises(ValueError, match=r"KERASNSOC_FORM is 'fast'.*auto, dense, events"):
        model.forward(inputs)
    assert model.forward(inputs, form="dense").item() == 10
    for form in FORMS:
        monkeypatch.setenv("KERASNSOC_FORM", form)
        assert model.forward(inputs).item() == 10
    monkeypatch.setenv("KERASNSOC_FORM", "")
    assert model.forward(inputs).item() == 10


def test_the_kernel_row_is_chosen_by_the_environment(monkeypatch):
    monkeypatch.setenv("KERASNSOC_KERNEL", "scalar")
    assert adder().forward(batch([1, 2, 3, 4])).item() == 10
    monkeypatch.setenv("KERASNSOC_KERNEL", "sse9")
    with pytest.raises(ValueError, match=r"KERASNSOC_KERNEL is 'sse9'.*scalar, avx2, avx512vnni"):
        adder().forward(batch([1, 2, 3, 4]))
    monkeypatch.setattr("kerasnsoc.runtime.plan.available_kernels", lambda: ("scalar",))
    monkeypatch.setenv("KERASNSOC_KERNEL", "amx")
    with pytest.raises(ValueError, match="'amx', which this CPU or this build does not run"):
        adder().forward(batch([1, 2, 3, 4]))
    monkeypatch.setenv("KERASNSOC_KERNEL", "")
    assert adder().forward(batch([1, 2, 3, 4])).item() == 10


def test_an_empty_list_of_layers_is_an_empty_model():
    assert Model(layers=[]).get_layer_count() == 0
