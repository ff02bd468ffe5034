"""Connections and neurons of every kind of layer."""

import math
import warnings

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

from kerasnsoc.spiking.layers import (  # noqa: E402
    IAF,
    LIF,
    Alpha,
    IAFCell,
    LIFCell,
    Lowpass,
    LowpassCell,
    SpikingActivation,
    SpikingActivationCell,
    SumPooling2D,
)
from kerasnsoc.spiking.model_energy import ModelEnergy  # noqa: E402

pytestmark = pytest.mark.keras


def applied(layer, *shape):
    layer(keras.Input(shape))
    return layer


def stats(layer, *shape):
    found = ModelEnergy.compute_layer_stats(applied(layer, *shape))
    for value in found.values():
        assert type(value) in (int, bool)
    return found


def numbers_of(layer, *shape):
    found = stats(layer, *shape)
    return found.get("connections", 0), found.get("neurons", 0), found.get("spiking", True)


DENSE = layers.Dense
PARITY = {
    "dense": (DENSE(128, "relu"), (784,), (100352, 128, False)),
    "dense on space": (DENSE(20), (5, 10), (1000, 0, True)),
    "dense on time": (DENSE(20), (None, 10), (200, 0, True)),
    "dense linear": (DENSE(5, "linear"), (10,), (50, 0, True)),
    "dense softmax": (DENSE(5, "softmax"), (10,), (50, 5, False)),
    "dense in time": (
        layers.TimeDistributed(DENSE(20, "relu")),
        (5, 10),
        (200, 20, False),
    ),
    "conv1d": (layers.Conv1D(4, 3, activation="relu"), (10, 2), (8 * 4 * 6, 32, False)),
    "conv1d on time": (
        layers.Conv1D(4, 3, padding="same", activation="relu"),
        (None, 2),
        (4 * 6, 4, False),
    ),
    "conv2d": (layers.Conv2D(2, 7), (28, 28, 1), (968 * 49, 0, True)),
    "conv2d same": (
        layers.Conv2D(3, (3, 2), strides=(2, 1), padding="same"),
        (5, 6, 4),
        (3 * 6 * 3 * 24, 0, True),
    ),
    "conv2d groups": (layers.Conv2D(4, 3, groups=2), (5, 5, 6), (9 * 4 * 9 * 3, 0, True)),
    "conv2d dilated": (layers.Conv2D(1, 3, dilation_rate=2), (7, 7, 1), (9 * 9, 0, True)),
    "conv3d": (layers.Conv3D(2, 2), (3, 3, 3, 5), (8 * 2 * 40, 0, True)),
    "activation": (layers.Activation("tanh"), (3, 4), (0, 12, False)),
    "activation linear": (layers.Activation("linear"), (3, 4), (0, 0, True)),
    "relu": (layers.ReLU(), (28, 28), (0, 784, False)),
    "relu on time": (layers.ReLU(), (None, 28), (0, 28, False)),
    "relu in time": (layers.TimeDistributed(layers.ReLU()), (28, 28), (0, 28, False)),
    "leaky relu": (layers.LeakyReLU(), (28,), (0, 28, False)),
    "spiking": (SpikingActivation("relu"), (5, 2, 3), (0, 6, True)),
    "spiking last": (SpikingActivation("linear", return_sequences=False), (5, 7), (0, 7, True)),
    "scalar output": (layers.Reshape(()), (1,), (0, 0, True)),
}
EXTENDED = {
    "conv1d transpose": (
        layers.Conv1DTranspose(4, 3, strides=2, activation="relu"),
        (5, 2),
        (5 * 2 * 3 * 4, 44, False),
    ),
    "conv2d transpose": (
        layers.Conv2DTranspose(4, (3, 2), padding="same"),
        (5, 6, 2),
        (30 * 2 * 6 * 4, 0, True),
    ),
    "conv3d transpose": (layers.Conv3DTranspose(2, 2), (2, 2, 2, 3), (8 * 3 * 8 * 2, 0, True)),
    "depthwise1d": (layers.DepthwiseConv1D(3), (6, 2), (8 * 3, 0, True)),
    "depthwise2d": (
        layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
        (5, 5, 4),
        (9 * 8 * 9, 72, False),
    ),
    "separable1d": (layers.SeparableConv1D(6, 3), (5, 2), (3 * 2 * 3 + 3 * 2 * 6, 0, True)),
    "separable2d": (
        layers.SeparableConv2D(6, 3, depth_multiplier=2, activation="relu"),
        (5, 5, 4),
        (9 * 8 * 9 + 9 * 8 * 6, 54, False),
    ),
    "einsum": (
        layers.EinsumDense("btc,cd->btd", (4, 7), activation="relu"),
        (4, 5),
        (4 * 5 * 7, 28, False),
    ),
    "einsum heads": (
        layers.EinsumDense("abc,cde->abde", (4, 2, 3)),
        (4, 5),
        (4 * 5 * 6, 0, True),
    ),
    "einsum dots": (layers.EinsumDense("...x,xy->...y", (7,)), (4, 5), (4 * 5 * 7, 0, True)),
    "einsum kept": (layers.EinsumDense("ab,b->ab", (5,)), (5,), (5, 0, True)),
    "simple rnn": (layers.SimpleRNN(4), (10, 3), (3 * 4 + 16, 4, False)),
    "lstm": (layers.LSTM(4, return_sequences=True), (None, 3), (4 * 28, 20, False)),
    "gru": (layers.GRU(4), (10, 3), (3 * 28, 12, False)),
    "bidirectional": (layers.Bidirectional(layers.LSTM(4)), (10, 3), (8 * 28, 40, False)),
    "bidirectional state": (
        layers.Bidirectional(layers.GRU(4, return_state=True, return_sequences=True)),
        (10, 3),
        (6 * 28, 24, False),
    ),
    "rnn spiking": (layers.RNN(SpikingActivationCell(6, "relu")), (5, 6), (0, 6, True)),
    "rnn iaf": (layers.RNN(IAFCell(6)), (5, 6), (0, 6, True)),
    "rnn lif": (layers.RNN(LIFCell(6, 0.1)), (5, 6), (0, 6, True)),
    "rnn filter": (layers.RNN(LowpassCell(6, 0.1)), (5, 6), (0, 0, True)),
    "elu": (layers.ELU(), (3, 4), (0, 12, False)),
    "prelu": (layers.PReLU(), (3, 4), (0, 12, False)),
    "softmax": (layers.Softmax(), (3, 4), (0, 12, False)),
    "lowpass": (Lowpass(0.1), (5, 4), (0, 0, True)),
    "alpha": (Alpha(0.1), (5, 4), (0, 0, True)),
    "iaf": (IAF(), (5, 2, 3), (0, 6, True)),
    "iaf frame": (IAF(time_axis=False), (5, 2, 3), (0, 30, True)),
    "lif": (LIF(0.1, return_sequences=False), (None, 4), (0, 4, True)),
    "time in time": (
        layers.TimeDistributed(layers.TimeDistributed(DENSE(2))),
        (3, 4, 5),
        (10, 0, True),
    ),
    "model in time": (
        layers.TimeDistributed(keras.Sequential([keras.Input((5,)), DENSE(3, "relu"), DENSE(2)])),
        (4, 5),
        (21, 3, False),
    ),
}
SILENT = {
    "dropout": (layers.Dropout(0.5), (4,)),
    "flatten": (layers.Flatten(), (2, 3)),
    "pool1": (layers.GlobalAveragePooling1D(), (2, 3)),
    "pool2": (layers.GlobalAveragePooling2D(), (2, 3, 4)),
    "pool3": (layers.GlobalAveragePooling3D(), (2, 3, 4, 5)),
    "reshape": (layers.Reshape((6,)), (2, 3)),
    "identity": (layers.Identity(), (4,)),
    "permute": (layers.Permute((2, 1)), (2, 3)),
    "repeat": (layers.RepeatVector(3), (4,)),
    "crop": (layers.Cropping2D(1), (4, 4, 1)),
    "pad": (layers.ZeroPadding2D(1), (4, 4, 1)),
    "average pool": (layers.AveragePooling2D(2), (4, 4, 1)),
    "sum pool": (SumPooling2D(), (4, 4, 1)),
    "spatial dropout": (layers.SpatialDropout1D(0.5), (4, 3)),
    "noise": (layers.GaussianNoise(0.1), (4,)),
    "noisy dropout": (layers.GaussianDropout(0.1), (4,)),
    "alpha dropout": (layers.AlphaDropout(0.1), (4,)),
    "activity": (layers.ActivityRegularization(), (4,)),
    "masking": (layers.Masking(), (4, 3)),
    "batch norm": (layers.BatchNormalization(), (4,)),
    "rescaling": (layers.Rescaling(2.0), (4,)),
}


@pytest.mark.parametrize(("layer", "shape", "expected"), PARITY.values(), ids=PARITY)
def test_rules(layer, shape, expected):
    assert numbers_of(layer, *shape) == expected


@pytest.mark.parametrize(("layer", "shape", "expected"), EXTENDED.values(), ids=EXTENDED)
def test_rules_of_more_layers(layer, shape, expected):
    assert numbers_of(layer, *shape) == expected


@pytest.mark.parametrize(("layer", "shape"), SILENT.values(), ids=SILENT)
def test_silent_layers(layer, shape):
    assert stats(layer, *shape) == {}


@pytest.mark.parametrize("cls", [layers.Add, layers.Concatenate, layers.Average, layers.Subtract])
def test_silent_merges(cls):
    layer = cls()
    layer([keras.Input((3,)), keras.Input((3,))])
    assert ModelEnergy.compute_layer_stats(layer) == {}


def test_input_layers_are_silent():
    assert ModelEnergy.compute_layer_stats(keras.Input((3,))._keras_history.operation) == {}


def test_exact_dictionaries():
    time_distributed = layers.TimeDistributed(DENSE(5, "relu"))
    assert stats(time_distributed, None, 10) == {
        "connections": 50,
        "neurons": 5,
        "spiking": False,
    }
    assert stats(layers.LSTM(4), 10, 3)["recurrent_connections"] == 4 * 16


def test_activations_in_other_forms():
    for activation in (None, "linear", keras.activations.linear):
        assert numbers_of(DENSE(5, activation), 10) == (50, 0, True)
    for activation in (layers.LeakyReLU(), abs, keras.ops.relu):
        assert numbers_of(DENSE(5, activation), 10) == (50, 5, False)


@pytest.mark.parametrize(
    "layer",
    [
        layers.MaxPooling2D(2),
        layers.UpSampling2D(),
        layers.TimeDistributed(layers.GlobalMaxPooling1D()),
        layers.RNN(layers.LSTMCell(3)),
        layers.Lambda(lambda x: x),
    ],
    ids=lambda layer: layer.name,
)
def test_other_layers_warn(layer):
    inner = getattr(layer, "layer", layer)
    shape = (4, 4, 3) if not isinstance(layer, layers.RNN) else (4, 3)
    applied(layer, *shape)
    name = type(inner).__name__
    with pytest.warns(
        UserWarning, match=f"Cannot compute stats for layer of type '{name}'"
    ) as seen:
        assert ModelEnergy.compute_layer_stats(layer) == {}
    assert "ModelEnergy.register_layer" in str(seen[0].message)
    assert seen[0].filename == __file__


def test_a_subclassed_model_inside_warns():
    class Inner(keras.Model):
        def call(self, x):
            return x

    inputs = keras.Input((3,))
    model = keras.Model(inputs, Inner()(inputs))
    with pytest.warns(UserWarning, match="type 'Inner'"):
        ModelEnergy(model)


def test_things_that_are_no_used_layer():
    with pytest.raises(ValueError, match="Cannot compute stats for layer of type 'str'"):
        ModelEnergy.compute_layer_stats("dense")
    with pytest.raises(ValueError, match=r"'fresh' has never been applied to any inputs"):
        ModelEnergy.compute_layer_stats(DENSE(3, name="fresh"))


def test_undefined_shapes():
    layer = applied(DENSE(20, name="mine"), None, None, 10)
    with pytest.raises(
        ValueError, match=r"'mine': output shape \(None, 20\) contains undefined elements"
    ):
        ModelEnergy.compute_layer_stats(layer)
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 1)])
    with pytest.raises(ValueError, match=r"output shape \(None, 2\) contains undefined"):
        ModelEnergy(model)


def test_a_node_can_be_chosen():
    layer = DENSE(4)
    layer(keras.Input((3, 2)))
    layer(keras.Input((5, 2)))
    nodes = layer._inbound_nodes
    found = [ModelEnergy.compute_layer_stats(layer, node)["connections"] for node in nodes]
    assert found == [24, 40]
    assert ModelEnergy.compute_layer_stats(layer)["connections"] == 24


@pytest.mark.usefixtures("layer_table")
def test_registered_rules():
    @ModelEnergy.register_layer(layers.UpSampling2D)
    def up_sampling(node):
        return {"connections": math.prod(node.output_shapes[1:])}

    assert stats(layers.UpSampling2D(2), 4, 4, 3) == {"connections": 192}
    with pytest.warns(UserWarning, match="Layer 'UpSampling2D' already registered") as seen:
        ModelEnergy.register_layer(layers.UpSampling2D)(lambda node: {"neurons": 7})
    assert seen[0].filename == __file__
    assert stats(layers.UpSampling2D(2), 4, 4, 3) == {"neurons": 7}
    assert callable(up_sampling)


@pytest.mark.usefixtures("layer_table")
def test_subclasses_inherit_and_override():
    class Mine(DENSE):
        pass

    assert numbers_of(Mine(5, "relu"), 10) == (50, 5, False)
    ModelEnergy.register_layer(Mine)(lambda node: {"connections": 1})
    assert numbers_of(Mine(5, "relu"), 10) == (1, 0, True)
    assert numbers_of(DENSE(5, "relu"), 10) == (50, 5, False)
    in_time = layers.TimeDistributed(Mine(5))
    assert numbers_of(in_time, 3, 10) == (1, 0, True)


@pytest.mark.usefixtures("layer_table")
def test_unknown_keys():
    ModelEnergy.register_layer(layers.UpSampling1D)(lambda node: {"synapses": 1})
    layer = applied(layers.UpSampling1D(2), 4, 4)
    with pytest.raises(ValueError, match="invalid stat 'synapses'"):
        ModelEnergy.compute_layer_stats(layer)


@pytest.mark.usefixtures("layer_table")
def test_what_a_rule_sees():
    seen = []
    ModelEnergy.register_layer(layers.Lambda)(lambda node: seen.append(node) or {})
    a, b = keras.Input((3,), name="a"), keras.Input((4,), name="b")
    layer = layers.Lambda(lambda x: x[0], output_shape=(3,))
    y = layer([a, b])
    ModelEnergy.compute_layer_stats(layer)
    (node,) = seen
    assert node.layer is node.operation is layer
    assert node.input_shapes == [(None, 3), (None, 4)]
    assert node.output_shapes == (None, 3)
    assert node.input_tensors[0] is a
    assert node.input_tensors[1] is b
    assert node.output_tensors is y
    assert "lambda" in repr(node)
    # Inside TimeDistributed: a slice of time, and the layer is not called again.
    inner = layers.Lambda(lambda x: 2 * x)
    wrapped = applied(layers.TimeDistributed(inner), 5, 3)
    before = len(inner._inbound_nodes)
    ModelEnergy.compute_layer_stats(wrapped)
    assert len(inner._inbound_nodes) == before
    assert seen[-1].layer is inner
    assert seen[-1].input_shapes == seen[-1].output_shapes == (None, 3)
    assert tuple(seen[-1].input_tensors.shape) == (None, 3)


@pytest.mark.usefixtures("layer_table")
def test_an_input_layer_is_its_own_input():
    seen = []
    with pytest.warns(UserWarning, match="already registered"):
        ModelEnergy.register_layer(layers.InputLayer)(lambda node: seen.append(node) or {})
    x = keras.Input((3,))
    ModelEnergy(keras.Model(x, DENSE(2)(x)))
    assert seen[0].input_tensors is seen[0].output_tensors is x
    assert seen[0].input_shapes == (None, 3)


def test_silent_layers_do_not_warn_in_a_model():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for layer, shape in [*SILENT.values(), *((x[0], x[1]) for x in PARITY.values())]:
            ModelEnergy(
                keras.Sequential([keras.Input(shape), type(layer).from_config(layer.get_config())])
            )


def test_statistics_are_plain_numbers_for_odd_kernels():
    layer = DENSE(5)
    applied(layer, 10)
    layer.enable_lora(2)
    found = ModelEnergy.compute_layer_stats(layer)
    assert type(found["connections"]) is int
    assert found["connections"] == np.prod([10, 5])
