import numpy as np
import pytest
from numpy.testing import assert_array_equal

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

from kerasnsoc.quantization import graph  # noqa: E402
from tests.layer_test import randomize  # noqa: E402
from tests.unit.quantization.helpers import chain, images, numbers, snapshot  # noqa: E402

pytestmark = pytest.mark.keras


def branched():
    inputs = keras.Input((8, 8, 3), batch_size=2, dtype="float32", name="picture")
    stem = layers.Conv2D(4, 3, name="stem")(inputs)
    left = layers.ReLU(name="left")(layers.Conv2D(2, 1, name="left_conv")(stem))
    right = layers.Conv2D(3, 1, name="right")(stem)
    joined = layers.Concatenate(name="join")([right, left])
    return keras.Model(inputs, layers.Dense(2, name="head")(joined), name="branched")


def test_a_chain_comes_back_the_same():
    model = chain(
        layers.Rescaling(1 / 127),
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
        layers.Dropout(0.5, seed=3),
        layers.Flatten(),
        layers.Dense(2, trainable=False),
        layers.Softmax(),
    )
    before = snapshot(model)
    copy = graph.read(model).build()
    assert copy is not model
    assert isinstance(copy, keras.Sequential)
    assert not set(copy.layers) & set(model.layers)
    config, weights = snapshot(copy)
    assert config == before[0]
    for a, b in zip(weights, before[1], strict=True):
        assert_array_equal(a, b)
    x = images()
    assert_array_equal(numbers(copy(x)), numbers(model(x)))


def test_branches_come_back_the_same():
    model = branched()
    randomize(model)
    network = graph.read(model)
    assert [node.name for node in network.nodes] == [layer.name for layer in model.layers]
    copy = network.build()
    assert copy.get_config() == model.get_config()
    assert copy.input_shape == (2, 8, 8, 3)
    x = images(2)
    assert_array_equal(numbers(copy(x)), numbers(model(x)))


def test_the_input_keeps_batch_size_dtype_and_name():
    inputs = keras.Input(batch_shape=(1, 4), dtype="uint8", name="pixels")
    model = keras.Model(inputs, layers.Rescaling(0.5)(inputs))
    copy = graph.read(model).build()
    assert (copy.inputs[0].shape, copy.inputs[0].dtype, copy.inputs[0].name) == (
        (1, 4),
        "uint8",
        "pixels",
    )
    model = keras.Sequential(
        [keras.Input(batch_shape=(1, 4), dtype="uint8"), layers.Rescaling(0.5)]
    )
    copy = graph.read(model).build()
    assert (copy.inputs[0].shape, copy.inputs[0].dtype) == ((1, 4), "uint8")


def test_only_layers_of_the_given_model_count():
    conv = layers.Conv2D(2, 3)
    inputs = keras.Input((5, 5, 1))
    inner = conv(inputs)
    model = keras.Model(inputs, layers.ReLU()(inner))
    # Another model on the same layer is no concern of this one.
    keras.Model(inputs, layers.Dense(3)(inner))
    conv(keras.Input((7, 7, 1)))
    assert len(graph.read(model).nodes) == 3


def test_a_fixed_training_argument_is_kept():
    inputs = keras.Input((4,))
    norm = layers.BatchNormalization()
    model = keras.Model(inputs, norm(inputs, training=False))
    network = graph.read(model)
    assert network.nodes[1].training is False
    assert network.build().get_config() == model.get_config()


def test_deep_chains_are_read():
    inputs = x = keras.Input((2,))
    for _ in range(700):
        x = layers.Activation("linear")(x)
    assert len(graph.read(keras.Model(inputs, x)).nodes) == 701


def test_removing_and_swapping():
    model = chain(layers.Conv2D(4, 3), layers.ReLU(), layers.MaxPool2D(), layers.Dropout(0.1))
    network = graph.read(model)
    conv, relu, pool, dropout = network.nodes[1:]
    network.remove(dropout)
    assert network.output is pool
    network.swap(relu)
    assert network.output is relu
    assert network.nodes[1:] == [conv, pool, relu]
    assert network.follower(conv) is pool
    assert network.follower(relu) is None
    assert numbers(network.build()(images())).shape == (4, 3, 3, 4)


# Refusals


def refused(model, match):
    with pytest.raises(RuntimeError, match=match):
        graph.read(model)


def test_a_model_without_input_shape_is_refused():
    refused(keras.Sequential([layers.Dense(3)], name="raw"), "'raw' has no input shape")


def test_a_subclassed_model_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    refused(Own(name="own"), r"'own' is of the subclassed kind \(Own\)")


@pytest.mark.parametrize("thing", ["model.keras", None, 3])
def test_something_else_is_refused(thing):
    with pytest.raises(TypeError, match="a Keras model was expected"):
        graph.read(thing)


def test_several_inputs_or_outputs_are_refused():
    a, b = keras.Input((3,)), keras.Input((3,))
    joined = layers.Concatenate()([a, b])
    refused(keras.Model([a, b], joined, name="two"), "'two' has 2 inputs and 1 outputs")
    refused(
        keras.Model(a, [layers.Dense(1)(a), layers.Dense(1)(a)], name="two"),
        "'two' has 1 inputs and 2 outputs",
    )


def test_a_shared_layer_is_refused():
    inputs = keras.Input((3,))
    dense = layers.Dense(3, name="again")
    refused(keras.Model(inputs, dense(dense(inputs))), "'again' is shared")
    relu = layers.ReLU(name="both")
    left, right = relu(layers.Dense(2)(inputs)), relu(layers.Dense(2)(inputs))
    refused(keras.Model(inputs, layers.Concatenate()([left, right])), "'both' is shared")


def test_a_nested_model_is_refused():
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3)], name="inner")
    inputs = keras.Input((3,))
    refused(keras.Model(inputs, inner(inputs), name="outer"), "'outer' contains the model 'inner'")
    refused(keras.Sequential([keras.Input((3,)), inner]), "contains the model 'inner'")


def test_an_operation_that_is_no_layer_is_refused():
    inputs = keras.Input((3,))
    refused(keras.Model(inputs, inputs + 1.0), "which is no layer")


@pytest.mark.parametrize("join", [layers.Add, layers.Multiply, layers.Maximum])
def test_other_joins_than_concatenation_are_refused(join):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, join(name="join")([layers.Dense(3)(inputs), inputs]))
    refused(model, r"'join' .* joins 2 branches; only chains and Concatenate")
    randomize(model)
    copy = graph.read(model, only_concatenate=False).build()
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("f4")
    assert_array_equal(numbers(copy(x)), numbers(model(x)))


def test_a_layer_with_several_outputs_is_refused():
    class Split(layers.Layer):
        def call(self, x):
            return x, x

        def compute_output_shape(self, shape):
            return shape, shape

    inputs = keras.Input((3,))
    refused(keras.Model(inputs, Split(name="split")(inputs)[0]), "'split' has 2 outputs")


def test_a_layer_that_is_called_with_more_than_its_input_is_refused():
    inputs = keras.Input((3, 3))
    attention = layers.MultiHeadAttention(1, 2, name="attention")
    model = keras.Model(inputs, attention(inputs, inputs))
    refused(model, "'attention' .* joins 2 branches")
    with pytest.raises(RuntimeError, match="'attention' is called with more than its input tensor"):
        graph.read(model, only_concatenate=False)
