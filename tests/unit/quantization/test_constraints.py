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
    for name in "ab":
        assert constrained.get_layer(name).gamma_constraint.min_value == 0.01
        assert model.get_layer(name).gamma_constraint is None
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
