"""Models with spiking layers survive every way that Keras has to store or copy them."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.spiking.constraints import Mean  # noqa: E402
from kerasnsoc.spiking.layers import (  # noqa: E402
    IAF,
    LIF,
    Alpha,
    Lowpass,
    SpikingActivation,
    SumPooling2D,
)
from kerasnsoc.spiking.regularizers import Percentile  # noqa: E402
from tests.unit.spiking.helpers import numbers, uniform  # noqa: E402

pytestmark = pytest.mark.keras


@keras.saving.register_keras_serializable(package="tests")
def registered(x):
    return 2 * keras.ops.relu(x)


def unregistered(x):
    return 3 * keras.ops.relu(x)


def activations():
    tf = pytest.importorskip("tensorflow")

    return {
        "string": "relu",
        "tf.nn.relu": tf.nn.relu,
        "tf.nn.leaky_relu": tf.nn.leaky_relu,
        "keras function": keras.activations.softplus,
        "registered": registered,
        "unregistered": unregistered,
        "layer": keras.layers.LeakyReLU(negative_slope=0.4),
    }


def model_with(*layers):
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.Dense(3), *layers])
    model.set_weights(
        [
            w + uniform(*w.shape, low=0.01, high=0.3, seed=i)
            for i, w in enumerate(model.get_weights())
        ]
    )
    return model


@pytest.mark.parametrize("file", ["model.keras", "model.h5"])
@pytest.mark.parametrize("name", activations())
def test_activations(name, file, tmp_path):
    model = model_with(SpikingActivation(activations()[name], seed=1, dt=0.1))
    model.save(tmp_path / file)
    loaded = keras.models.load_model(tmp_path / file, custom_objects={"unregistered": unregistered})
    x = uniform(2, 4, 3, low=-50, high=50)
    assert_array_equal(numbers(loaded(x)), numbers(model(x)))
    assert numbers(model(x)).any()


@pytest.mark.parametrize("file", ["model.keras", "model.h5"])
def test_everything_else(file, tmp_path):
    variable = keras.Variable(0.05, trainable=False)
    model = model_with(
        SpikingActivation("relu", seed=1, dt=variable, activity_regularizer=Percentile(l1=0.1)),
        Lowpass(0.1, dt=variable, tau_constraint=Mean(), level_initializer="ones"),
        Alpha(0.1, dt=variable, tau_constraint=Mean(axis=0), apply_during_training=False),
    )
    assert len(model.weights) == 6
    variable.assign(0.07)
    x = uniform(2, 4, 3, high=30)
    expected = numbers(model(x))
    model.save(tmp_path / file)
    loaded = keras.models.load_model(tmp_path / file)
    assert_array_equal(numbers(loaded(x)), expected)
    spiking, lowpass, alpha = loaded.layers[1:]
    # The value is kept, the link to the Variable is not.
    assert spiking.dt == pytest.approx(0.07)
    variable.assign(0.3)
    assert_array_equal(numbers(loaded(x)), expected)
    assert isinstance(spiking.activity_regularizer, Percentile)
    assert isinstance(lowpass.tau_constraint, Mean)
    assert alpha.trainable_weights == []


@pytest.mark.parametrize("file", ["model.keras", "model.h5"])
def test_weights_of_an_activation(file, tmp_path):
    model = model_with(SpikingActivation(keras.layers.PReLU(), seed=1, dt=0.1))
    assert len(model.weights) == 3
    model.save(tmp_path / file)
    loaded = keras.models.load_model(tmp_path / file)
    x = uniform(2, 4, 3, low=-90, high=9)
    assert_array_equal(numbers(loaded(x)), numbers(model(x)))
    assert (numbers(model(x)) < 0).any()


def all_layers():
    return [
        SpikingActivation("relu", seed=1, dt=0.1),
        Lowpass(0.1, level_initializer=0.3),
        IAF(0.5, seed=1),
        Alpha(0.1, level_initializer=0.3),
        LIF(0.1, 0.1, seed=2),
    ]


def test_weights_alone(tmp_path):
    model, other = model_with(*all_layers()), model_with(*all_layers())
    other.set_weights([0.1 * w for w in other.get_weights()])
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    x = uniform(2, 4, 3, high=90)
    assert_array_equal(numbers(other(x)), numbers(model(x)))


def test_clones_and_text():
    model = model_with(*all_layers())
    x = uniform(2, 4, 3, high=90)
    text = model.to_json()
    for copy in (keras.models.clone_model(model), keras.models.model_from_json(text)):
        copy.set_weights(model.get_weights())
        assert_array_equal(numbers(copy(x)), numbers(model(x)))
    assert json.loads(text)["class_name"] == "Sequential"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorFlow while it exports
def test_export(tmp_path):
    tf = pytest.importorskip("tensorflow")

    variable = tf.Variable(0.1)
    layers = all_layers()
    layers[0] = SpikingActivation("relu", seed=1, dt=variable)
    model = model_with(*layers)
    x = uniform(2, 4, 3, high=90)
    model.export(tmp_path / "model", verbose=False)
    archive = tf.saved_model.load(str(tmp_path / "model"))
    # Graphs may sum in another order.
    assert_allclose(numbers(archive.serve(x)), numbers(model(x)), atol=1e-6)


def test_a_class_of_the_users_own():
    class Mine(Lowpass):
        pass

    layer = Mine(0.1)
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config, custom_objects={"Mine": Mine})
    assert again.get_config() == layer.get_config()


def test_short_names_as_custom_objects():
    config = SumPooling2D((2, 3)).get_config()
    layer = keras.saving.deserialize_keras_object(
        {"class_name": "SumPooling2D", "config": config, "registered_name": "SumPooling2D"},
        custom_objects={"SumPooling2D": SumPooling2D},
    )
    assert layer.pool_size == (2, 3)


def test_a_lambda_needs_the_users_consent(tmp_path):
    model = keras.Sequential(
        [keras.Input((4, 3)), SpikingActivation(lambda x: x * 2, seed=1, dt=0.1)]
    )
    with pytest.warns(UserWarning, match="lambda"):
        model.save(tmp_path / "model.keras")
    with pytest.raises((TypeError, ValueError), match="lambda"):
        keras.models.load_model(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
    x = uniform(2, 4, 3, high=9)
    assert_array_equal(numbers(loaded(x)), numbers(model(x)))


def test_paths_of_variables_do_not_depend_on_what_was_made_before():
    first, second = Lowpass(0.1, name="same"), Lowpass(0.1, name="same")
    for layer in (first, second):
        layer(np.zeros((1, 2, 3), "float32"))
    assert [w.path for w in first.weights] == [w.path for w in second.weights]
