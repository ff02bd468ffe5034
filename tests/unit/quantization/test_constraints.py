import numpy as np
import pytest
from numpy.testing import assert_array_equal

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

from kerasnsoc.quantization import MinValueConstraint, add_gamma_constraint  # noqa: E402
from tests.unit.quantization.helpers import assert_unchanged, chain, numbers, snapshot  # noqa: E402

pytestmark = pytest.mark.keras


def test_values_are_clipped_from_below_and_to_finite_numbers():
    w = np.float32([-1, 0, 0.01, 0.5, 3e38, np.inf])
    expected = np.float32([0.01, 0.01, 0.01, 0.5, 3e38, np.finfo(np.float32).max])
    assert_array_equal(numbers(MinValueConstraint()(w)), expected)
    assert_array_equal(numbers(MinValueConstraint(-0.5)(w)[:2]), [-0.5, 0])


def test_constraint_serialization():
    serialized = keras.saving.serialize_keras_object(MinValueConstraint(0.25))
    assert serialized["registered_name"] == "kerasnsoc>MinValueConstraint"
    assert keras.constraints.get(serialized).min_value == 0.25


@pytest.mark.parametrize("bound", [np.nan, np.inf])
def test_a_bound_must_be_finite(bound):
    with pytest.raises(ValueError, match="min_value is"):
        MinValueConstraint(bound)


def small_model():
    inputs = keras.Input((4,))
    x = layers.BatchNormalization(name="a")(layers.Dense(3)(inputs))
    y = layers.BatchNormalization(name="b", scale=False)(layers.Dense(3)(x))
    return keras.Model(inputs, layers.Add()([x, y]), name="adds")


def test_every_gamma_gets_the_constraint_and_keeps_its_value():
    model = small_model()
    model.get_layer("a").gamma.assign([-1.0, 0.001, 2.0])
    before = snapshot(model)
    constrained = add_gamma_constraint(model)
    assert_unchanged(model, before)
    assert constrained.name == "adds"
    assert constrained.get_layer("a").gamma_constraint.min_value == 0.01
    assert constrained.get_layer("b").gamma_constraint is None  # it has no gamma
    assert model.get_layer("a").gamma_constraint is None
    for a, b in zip(constrained.get_weights(), before[1], strict=True):
        assert_array_equal(a, b)


def test_it_takes_effect_with_training():
    model = small_model()
    model.get_layer("a").gamma.assign([-1.0, 0.001, 2.0])
    constrained = add_gamma_constraint(model, min_value=0.1)
    constrained.compile(keras.optimizers.SGD(1e-9), "mse")
    rng = np.random.default_rng(0)
    constrained.fit(rng.normal(size=(8, 4)), rng.normal(size=(8, 3)), verbose=0)
    gamma = numbers(constrained.get_layer("a").gamma)
    assert (gamma[:2] == np.float32(0.1)).all()
    assert gamma[2] == pytest.approx(2, rel=1e-5)


# pytest.warns raises Keras's own deprecations again, here instead of in Keras.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_another_constraint_is_replaced_with_a_warning():
    model = chain(
        layers.Dense(3),
        layers.BatchNormalization(name="norm", gamma_constraint="non_neg"),
        shape=(4,),
    )
    with pytest.warns(UserWarning, match="'norm' already has a constraint on gamma") as caught:
        constrained = add_gamma_constraint(model)
    assert [w.filename for w in caught if w.category is UserWarning] == [__file__]
    assert isinstance(constrained.get_layer("norm").gamma_constraint, MinValueConstraint)


def normalizations(model):
    return [x for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]


def nested_model():
    """Two inputs, a sequential model that is called twice, a functional one, a wrapper."""
    rng = np.random.default_rng(0)
    tower = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), layers.BatchNormalization(name="n")], name="tower"
    )
    inner_feed = keras.Input((3,), name="inner_feed")
    inner_norm = layers.BatchNormalization(name="m")(tower.layers[0](layers.Dense(4)(inner_feed)))
    inner = keras.Model(inner_feed, inner_norm, name="inner")
    inner.compile("sgd", lambda y, p: (y - p) ** 2)  # a loss that Keras cannot make anew
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    x = layers.Concatenate(name="join")([inner(tower(left)), tower(right)])
    x = layers.TimeDistributed(layers.BatchNormalization(name="w"), name="each")(
        layers.Reshape((2, 3), name="rows")(x)
    )
    model = keras.Model([left, right], [x, x + 1], name="nested")
    model.set_weights([rng.uniform(0.5, 2, w.shape) for w in model.get_weights()])
    return model


def test_nested_models_shared_layers_and_several_inputs():
    model = nested_model()
    model.get_layer("inner").trainable = False
    samples = [np.random.default_rng(i).normal(size=(5, 4)).astype("f4") for i in range(2)]
    expected = [numbers(x) for x in model(samples)]
    constrained = add_gamma_constraint(model)
    for new, old in zip(constrained(samples), expected, strict=True):
        assert_array_equal(numbers(new), old)
    names = [layer.name for layer in model._flatten_layers()]
    assert [layer.name for layer in constrained._flatten_layers()] == names
    assert [x.name for x in constrained.inputs] == ["left", "right"]
    found = normalizations(constrained)
    assert {x.name for x in found} == {"n", "m", "w"}
    assert all(isinstance(x.gamma_constraint, MinValueConstraint) for x in found)
    assert all(x.gamma_constraint is None for x in normalizations(model))
    assert not {id(x) for x in constrained.variables} & {id(x) for x in model.variables}
    assert [(x.name, x.shape) for x in constrained.trainable_variables] == [
        (x.name, x.shape) for x in model.trainable_variables
    ]


@pytest.mark.filterwarnings("error")
def test_the_same_constraint_is_no_reason_to_warn():
    once = add_gamma_constraint(small_model(), 0.5)
    assert add_gamma_constraint(once, 0.5).get_layer("a").gamma_constraint.min_value == 0.5


def test_another_bound_is_another_constraint():
    once = add_gamma_constraint(small_model(), 0.5)
    with pytest.warns(UserWarning, match="'a' already has"):
        assert add_gamma_constraint(once).get_layer("a").gamma_constraint.min_value == 0.01


class Hiding(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization(name="hidden")

    def call(self, x):
        return self.norm(x)


def test_what_cannot_be_constrained_is_refused():
    with pytest.raises(TypeError, match="Keras model was expected"):
        add_gamma_constraint(layers.Dense(3))
    with pytest.raises(RuntimeError, match="no input shape"):
        add_gamma_constraint(keras.Sequential([layers.BatchNormalization()]))
    hiding = chain(Hiding(name="outer"), shape=(4,))
    with pytest.raises(RuntimeError, match=r"'outer' \(Hiding\) holds .* 'hidden'"):
        add_gamma_constraint(hiding)
