"""One failing model per rule of the compatibility check, and models that pass."""

import re

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasnsoc as ns
from kerasnsoc.conversion import check_model_compatibility

pytestmark = pytest.mark.keras


def relu(bits=4, **kwargs):
    return ns.ActivationDiscreteRelu(bits, **kwargs)


def conv(filters=4, size=3, **kwargs):
    kwargs.setdefault("quantizer", ns.MaxPerAxisQuantizer(4))
    kwargs.setdefault("padding", "same")
    return ns.QuantizedConv2D(filters, size, **kwargs)


def dense(units=3):
    return ns.QuantizedDense(units, quantizer=ns.MaxPerAxisQuantizer(4))


def norm(gamma=1.0, **kwargs):
    return kl.BatchNormalization(gamma_initializer=keras.initializers.Constant(gamma), **kwargs)


def chain(*layers, shape=(8, 8, 1)):
    return keras.Sequential([keras.Input(shape), *layers])


class Wider(ns.ActivationDiscreteRelu):
    """Twice the steps."""

    @property
    def step_width(self):
        return 2 * super().step_width


def joined(left, right, axis=-1):
    source = keras.Input((8, 8, 1))
    trunk = relu()(conv()(source))
    both = kl.Concatenate(axis=axis)([left(conv()(trunk)), right(conv()(trunk))])
    return keras.Model(source, dense()(kl.Flatten()(both)))


def shared():
    source = keras.Input((8, 8, 1))
    layer = conv(1)
    return keras.Model(source, relu()(layer(relu()(layer(source)))))


def two_inputs():
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    return keras.Model([a, b], kl.Concatenate()([a, b]))


BROKEN = {
    "two inputs": (two_inputs, "graph", "inputs"),
    "shared layer": (shared, "graph", "shared"),
    "residual": (
        lambda: (lambda s: keras.Model(s, kl.Add()([relu()(conv(1)(s)), s])))(
            keras.Input((8, 8, 1))
        ),
        "graph",
        "Add",
    ),
    "unknown layer": (lambda: chain(conv(), relu(), kl.UpSampling2D()), "layer", "UpSampling2D"),
    "first layer dense": (lambda: chain(kl.Flatten(), dense()), "first layer", "Conv2D"),
    "two channels": (lambda: chain(conv(), shape=(8, 8, 2)), "first layer", "2 channels"),
    "rank 3 input": (lambda: chain(kl.Flatten(), dense(), shape=(8, 4)), "input", "(None, 8, 4)"),
    "open size": (lambda: chain(conv(), shape=(None, None, 1)), "input", "fixed sizes"),
    "no activation between": (lambda: chain(conv(), conv()), "block", "no activation lies"),
    "two activations": (lambda: chain(conv(), relu(), relu()), "block", "has an activation"),
    "activation first": (lambda: chain(relu(), conv()), "block", "follow a neural layer"),
    "plain relu": (lambda: chain(conv(), kl.ReLU()), "activation", "plain ReLU"),
    "inner softmax": (
        lambda: chain(conv(), kl.Softmax(), conv()),
        "activation",
        "Softmax",
    ),
    "two pools": (
        lambda: chain(
            conv(), kl.MaxPooling2D(padding="same"), kl.MaxPooling2D(padding="same"), relu()
        ),
        "pooling",
        "has a pooling",
    ),
    "pool of dense": (
        lambda: chain(
            conv(), relu(), kl.Flatten(), dense(), kl.Reshape((1, 1, 3)), kl.MaxPooling2D(1), relu()
        ),
        "pooling",
        "convolution in front",
    ),
    "pool padding": (
        lambda: chain(conv(), kl.MaxPooling2D(3, padding="valid"), relu()),
        "pooling",
        "padding",
    ),
    "average after activation": (
        lambda: chain(conv(), relu(), kl.GlobalAveragePooling2D()),
        "pooling",
        "before the activation",
    ),
    "two norms": (lambda: chain(conv(), norm(), norm(), relu()), "batch norm", "already"),
    "norm behind activation": (
        lambda: chain(conv(), relu(), norm()),
        "batch norm",
        "in front of the activation",
    ),
    "norm axis": (lambda: chain(conv(), norm(axis=1), relu()), "batch norm", "axis"),
    "zero gamma": (lambda: chain(conv(), norm(0.0), relu()), "batch norm", "4 of 4 gammas are 0"),
    "negative gamma behind pool": (
        lambda: chain(conv(), kl.MaxPooling2D(padding="same"), norm(-1.0), relu()),
        "batch norm",
        "4 of 4 gammas are negative",
    ),
    "dense on a map": (lambda: chain(conv(), relu(), dense()), "dense", "(8, 8, 4)"),
    "flatten before pool": (
        lambda: chain(conv(), kl.Flatten(), relu(), dense()),
        "flatten",
        "directly in front",
    ),
    "reshape": (
        lambda: chain(conv(), relu(), kl.Reshape((16, 4, 4)), conv()),
        "reshape",
        "(16, 4, 4)",
    ),
    "depthwise alone": (
        lambda: chain(
            conv(),
            relu(),
            ns.QuantizedDepthwiseConv2D(3, use_bias=False, quantizer=ns.MaxQuantizer(4)),
            relu(),
        ),
        "depthwise",
        "1x1 Conv2D",
    ),
    "depthwise bias": (
        lambda: chain(
            conv(),
            relu(),
            ns.QuantizedDepthwiseConv2D(3, quantizer=ns.MaxQuantizer(4)),
            conv(4, 1),
            relu(),
        ),
        "depthwise",
        "bias",
    ),
    "dilation": (
        lambda: chain(kl.Conv2D(4, 3, dilation_rate=2), kl.ReLU()),
        "argument",
        "dilation",
    ),
    "groups": (
        lambda: chain(kl.Conv2D(3, 3, groups=3), kl.ReLU(), shape=(8, 8, 3)),
        "argument",
        "groups",
    ),
    "fused relu": (lambda: chain(kl.Conv2D(4, 3, activation="relu")), "argument", "'relu'"),
    "rescaling inside": (
        lambda: chain(conv(), relu(), kl.Rescaling(2.0), conv()),
        "layer",
        "first layer",
    ),
    "rescaling per channel": (
        lambda: chain(kl.Rescaling([1.0, 2.0, 3.0]), conv(), shape=(8, 8, 3)),
        "layer",
        "per channel",
    ),
    "concatenate axis": (lambda: joined(relu(), relu(), axis=1), "concatenate", "axis"),
    "concatenate without activation": (
        lambda: joined(kl.MaxPooling2D(1, padding="same"), relu()),
        "concatenate",
        "end with an activation",
    ),
    "concatenate of different bits": (
        lambda: joined(relu(4), relu(3)),
        "concatenate",
        "have different bits",
    ),
    "concatenate of different steps": (
        lambda: joined(relu(4), Wider(4)),
        "concatenate",
        "have different steps",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_broken_rule_is_found_with_its_layer_and_a_remedy(case, capsys):
    build, rule, fragment = BROKEN[case]
    model = build()
    found = check_model_compatibility(model, report=True)
    matching = [f for f in found if f.rule == rule and fragment in f.message]
    assert matching, found
    assert matching[0].remedy
    assert capsys.readouterr().out == ""
    assert check_model_compatibility(model) is False
    assert len(capsys.readouterr().out.strip().splitlines()) == 1


@pytest.mark.parametrize("case", BROKEN)
def test_convert_refuses_what_the_check_refuses(case):
    with pytest.raises(RuntimeError, match="cannot be converted"):
        ns.convert(BROKEN[case][0]())


def test_all_findings_are_reported_at_once():
    model = chain(conv(), kl.MaxPooling2D(3, padding="valid"), relu(), relu(), kl.UpSampling2D())
    rules = [finding.rule for finding in check_model_compatibility(model, report=True)]
    assert rules == ["pooling", "block", "layer"]


COMPATIBLE = {
    "quantized chain": lambda: chain(
        conv(),
        norm(),
        relu(),
        kl.MaxPooling2D(padding="same"),
        kl.Dropout(0.1),
        kl.Flatten(),
        dense(),
    ),
    "float chain": lambda: chain(
        kl.Conv2D(4, 3), kl.ReLU(), kl.Flatten(), kl.Dense(3), kl.Softmax()
    ),
    "average pooling": lambda: chain(conv(), kl.GlobalAveragePooling2D(), relu(), dense()),
    "concatenate": lambda: joined(relu(), relu()),
    "rescaling": lambda: chain(kl.Rescaling(1 / 255), conv(), relu()),
    "depthwise pair": lambda: chain(
        conv(),
        relu(),
        ns.QuantizedDepthwiseConv2D(3, use_bias=False, quantizer=ns.MaxQuantizer(4)),
        conv(4, 1),
        relu(),
    ),
}


@pytest.mark.parametrize("case", COMPATIBLE)
def test_compatible_models_pass_silently(case, capsys):
    assert check_model_compatibility(COMPATIBLE[case]()) is True
    assert capsys.readouterr().out == ""


def test_inputs_that_are_no_images_need_input_is_sparse():
    model = chain(kl.Flatten(), dense(), shape=(4, 4, 2))
    assert check_model_compatibility(model, report=True)
    assert check_model_compatibility(model, input_is_sparse=True)
    assert check_model_compatibility(model, input_is_image=False)
    vector = chain(dense(), shape=(6,))
    assert ns.convert(vector, input_is_sparse=True).input_dims == (1, 1, 6)


def test_weights_do_not_decide_without_batch_normalization():
    model = chain(conv(), relu())
    model.layers[0].kernel.assign(np.zeros(model.layers[0].kernel.shape))
    assert check_model_compatibility(model)


@pytest.mark.parametrize(
    ("layer", "remedy"),
    [
        (kl.AveragePooling2D(2), "MaxPooling2D or GlobalAveragePooling2D"),
        (kl.ZeroPadding2D(), "padding='same'"),
        (kl.LeakyReLU(), "Use ReLU"),
        (kl.GaussianNoise(0.1), "in training only"),
        (kl.UpSampling2D(), r"Use \(Quantized\)Conv2D"),
    ],
)
def test_a_layer_that_cannot_be_converted_gives_one_finding_with_its_remedy(layer, remedy):
    model = chain(conv(), layer, relu(), kl.Flatten(), dense())
    (found,) = check_model_compatibility(model, report=True)
    assert (found.rule, found.layer) == ("layer", layer.name)
    assert re.search(remedy, found.remedy)
