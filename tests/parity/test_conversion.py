"""Exact Keras forward = NumPy reference = runtime, event by event and dense, on random models.

The ordinary Keras forward, which shares no code with the conversion, is the second witness: in
float64, and with thresholds moved away from the integers, its activations are provably the same.
"""

import json

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import kerasnsoc as ns
from kerasnsoc.conversion import centre_thresholds, certificate, compare, convert, freeze
from kerasnsoc.quantization import QuantizedActivation
from tests import reference
from tests.keras_models import random_model

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:these layers run in software"),
]


def drawn_model(data, **kwargs):
    return random_model(lambda options: data.draw(st.sampled_from(options)), **kwargs)


@given(st.data())
@settings(max_examples=200)
def test_every_activation_is_the_same_in_keras_reference_and_runtime(data):
    case = drawn_model(data, max_blocks=6)
    network = convert(case.model, **case.conversion)
    report = compare(freeze(case.model, **case.conversion), network, case.inputs)
    assert report.differing == 0, str(report)
    assert report.compared > 0
    expected = reference.run(network.to_spec(), case.inputs)
    for form in ("events", "dense"):
        traced = network.trace(case.inputs, form=form)
        for name, values in traced.items():
            np.testing.assert_array_equal(values, expected[name].outputs, err_msg=f"{name} {form}")


def in_float64(model):
    config = json.loads(json.dumps(model.get_config()))
    for layer in config["layers"]:
        layer["config"]["dtype"] = "float64"
    double = keras.Model.from_config(config)
    double.set_weights(model.get_weights())
    return double


@given(st.data())
@settings(max_examples=100)
def test_the_ordinary_forward_gives_the_same_activations_where_that_is_certain(data):
    case = drawn_model(data, max_blocks=4)
    centred = centre_thresholds(case.model, **case.conversion)
    assume(certificate(centred, **case.conversion).is_complete)
    network = convert(centred, **case.conversion)
    traced = list(network.trace(case.inputs).values())
    double = in_float64(centred)
    activations = [layer for layer in double.layers if isinstance(layer, QuantizedActivation)]
    x = case.keras_inputs()
    if activations:
        probes = keras.Model(double.input, [layer.output for layer in activations])
        outputs = probes(x)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        found = {}
        for layer, output in zip(activations, outputs, strict=True):
            levels = np.rint(np.asarray(output) / layer.step_height).astype(np.int64)
            levels = (
                levels.reshape(len(x), -1) if levels.ndim == 2 else levels.transpose(0, 2, 1, 3)
            )
            found[layer.name] = levels.reshape(len(x), -1)
        counts = sorted(map(tuple, (v.ravel().tolist() for v in found.values())))
        expected = [
            tuple(values.astype(np.int64).ravel().tolist())
            for layer, values in zip(network.layers, traced, strict=True)
            if layer.parameters.layer_type.name not in ("InputData", "Concat")
            and layer.parameters.activations_enabled
        ]
        assert counts == sorted(expected)
    if not network.layers[-1].parameters.activations_enabled:
        logits = np.asarray(double(x))
        logits = logits[:, None, None] if logits.ndim == 2 else logits.transpose(0, 2, 1, 3)
        # the artifact's values are exact up to the float32 they are given in
        np.testing.assert_allclose(network.evaluate(case.inputs), logits, rtol=1e-6, atol=1e-6)


def conv(filters=4, **kwargs):
    kwargs.setdefault("padding", "same")
    return ns.QuantizedConv2D(filters, 3, quantizer=ns.MaxPerAxisQuantizer(4), **kwargs)


def relu(bits=4):
    return ns.ActivationDiscreteRelu(bits)


def pool(size=3, strides=1):
    return keras.layers.MaxPooling2D(size, strides, padding="same")


def fork_of_activation(x):
    a = relu()(conv()(x))
    return keras.layers.Concatenate()([a, pool()(a)])


def fork_of_pooled_branch(x):
    a = relu()(conv()(x))
    return keras.layers.Concatenate()([pool()(a), relu()(conv()(a))])


def two_activations(x):
    c = conv()(x)
    left, right = relu(4)(c), relu(2)(c)
    return keras.layers.Concatenate()([relu()(conv()(left)), relu()(conv()(right))])


def fork_before_activation(x):
    c = conv()(x)
    return keras.layers.Concatenate()([relu()(pool()(c)), relu()(c)])


def fork_at_strides(x):
    a = relu()(conv()(x))
    left = relu()(conv()(pool(2, 2)(a)))
    return keras.layers.Concatenate()([left, relu()(conv(5, strides=2)(a))])


def fork_at_global_pooling(x):
    a = relu()(conv()(x))
    c = conv()(a)
    left = relu()(keras.layers.GlobalAveragePooling2D(keepdims=True)(c))
    return keras.layers.Concatenate()(
        [left, relu()(keras.layers.MaxPooling2D(8, padding="same")(c))]
    )


@pytest.mark.parametrize(
    "build",
    [
        fork_of_activation,
        fork_of_pooled_branch,
        two_activations,
        fork_before_activation,
        fork_at_strides,
        fork_at_global_pooling,
    ],
)
def test_a_branch_inside_a_block_is_refused_by_name(build):
    source = keras.Input((8, 8, 1))
    end = conv(2)(build(source))
    model = keras.Model(source, end)
    found = ns.check_model_compatibility(model, report=True)
    assert any(finding.rule == "fork" for finding in found), found
    with pytest.raises(RuntimeError, match="branches may only leave the end of a block"):
        convert(model)
