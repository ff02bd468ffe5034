"""Ranged penalties and the constraint that ties weights."""

import json
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

keras = pytest.importorskip("keras")

from kerasnsoc.spiking.constraints import Mean  # noqa: E402
from kerasnsoc.spiking.regularizers import (  # noqa: E402
    L1,
    L1L2,
    L2,
    Percentile,
    RangedRegularizer,
)
from tests.unit.spiking.helpers import MODES, gradient, numbers, run, uniform  # noqa: E402

pytestmark = pytest.mark.keras


@pytest.mark.parametrize(
    ("regularizer", "values", "expected"),
    [
        (L1(l1=0.1, target=5), [4, 5, 7], 0.3),
        (L2(l2=0.1, target=(3, 5)), [1, 4, 7], 0.8),
        (Percentile(target=(3, 4), l1=0.3), [[1, 5], [2, 3]], 0.6),
        (Percentile(percentile=75, l1=1.0), [1, 2, 4, 8], 5.0),
        (L1L2(l1=0.1, l2=0.01, target=[2, 3]), [0, 2.5, 7], 0.1 * 6 + 0.01 * 20),
        (RangedRegularizer(target=1), [0, 3], 0.01 * 5),
        (RangedRegularizer(target=(1, 1), regularizer="l1"), [0, 3], 0.01 * 3),
    ],
)
def test_golden_values(regularizer, values, expected):
    for dtype in ("float32", "float16", "int32"):
        x = np.array(values)
        if (x == x.astype(dtype)).all():
            result = regularizer(keras.ops.convert_to_tensor(x.astype(dtype)))
            assert tuple(result.shape) == ()
            # 0.1 and 0.01 are rounded to single precision.
            assert float(result) == pytest.approx(expected, rel=1e-6)


def test_the_distance_has_a_sign_only_for_a_single_target():
    class Record(keras.regularizers.Regularizer):
        def __call__(self, x):
            self.seen = numbers(x)
            return 0.0

    x = np.array([1.0, 4.0, 9.0], "float32")
    for target, expected in ((4, [-3, 0, 5]), ((4, 4), [-3, 0, 5]), ((3, 5), [2, 0, 4])):
        record = Record()
        RangedRegularizer(target, record)(x)
        assert record.seen.tolist() == expected


def test_halves_do_not_overflow():
    # Spikes of 1000 Hz: the sum of squares is beyond 65504.
    x = np.full((100,), 1000, "float16")
    assert float(L2(l2=0.01)(x)) == pytest.approx(1e6)


def test_default_regularizers_are_not_shared():
    assert RangedRegularizer().regularizer is not RangedRegularizer().regularizer


def test_attributes():
    regularizer = L2(0.1, target=(3, 5))
    assert regularizer.target == (3, 5)
    assert (regularizer.minimum, regularizer.maximum) == (3, 5)
    assert (L1(target=4).minimum, L1(target=4).maximum) == (4, 4)


@pytest.mark.parametrize("cls", [RangedRegularizer, L1, L2])
def test_bad_targets(cls):
    with pytest.raises(ValueError, match="tuple with two elements"):
        cls(target=(1, 2, 3))
    with pytest.raises(ValueError, match="`minimum` cannot exceed `maximum`"):
        cls(target=(2, 1))


def test_weights_of_zero_are_told_of_once():
    for make in (L1L2, lambda: L1(0), lambda: L2(0), Percentile):
        with pytest.warns(UserWarning, match="weight is zero") as record:
            make()
        assert len(record) == 1
        assert record[0].filename == __file__


@pytest.mark.parametrize("percentile", [-0.1, 100.1, float("nan"), "50"])
def test_bad_percentiles(percentile):
    with pytest.raises(ValueError, match="`percentile` must be in the range"):
        Percentile(percentile, l1=1)


@pytest.mark.parametrize(
    "regularizer",
    [
        RangedRegularizer(target=(1, 2), regularizer=keras.regularizers.L2(0.3)),
        L1L2(0.1, 0.2, target=(3, 4)),
        L1(0.3, target=2),
        L2(0.3, target=(1, 2)),
        Percentile(30, axis=(0, 1), target=(3, 4), l1=0.1),
    ],
)
def test_configurations(regularizer):
    config = json.loads(json.dumps(regularizer.get_config()))
    before = json.dumps(config)
    cls = type(regularizer)
    for copy in (cls.from_config(config), cls(**config)):
        assert copy.get_config() == regularizer.get_config()
    assert json.dumps(config) == before
    serialized = keras.regularizers.serialize(regularizer)
    copy = keras.regularizers.get(serialized)
    x = uniform(4, 5, 6, high=5)
    assert float(copy(x)) == float(regularizer(x))
    if isinstance(regularizer, Percentile):
        assert copy.axis == (0, 1)


def test_configurations_of_one_weight_name_the_other():
    assert L1(0.3).get_config() == {"l1": pytest.approx(0.3), "l2": 0.0, "target": 0}
    assert L2(0.3).get_config() == {"l1": 0.0, "l2": pytest.approx(0.3), "target": 0}
    with pytest.raises(ValueError, match="Use L1L2"):
        L1(l2=0.1)
    with pytest.raises(ValueError, match="Use L1L2"):
        L2(l1=0.1)


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 1), (0, 2), [0]])
@pytest.mark.parametrize("percentile", [0, 12.5, 50, 75, 99.9, 100])
def test_percentiles_are_those_of_numpy(percentile, axis):
    x = uniform(7, 5, 3)
    regularizer = Percentile(percentile, axis=axis, l1=1.0, target=(-9, -8))
    numpy_axis = tuple(axis) if isinstance(axis, list) else axis
    expected = (np.percentile(x.astype("f8"), percentile, axis=numpy_axis) + 8).sum()
    assert float(regularizer(x)) == pytest.approx(expected, rel=1e-6)


def test_the_largest_is_exact():
    x = uniform(1000, 3)
    assert float(Percentile(l1=1.0, axis=(0, 1))(np.abs(x))) == np.abs(x).max()


def test_gradient_of_a_percentile_goes_to_its_neighbours():
    x = np.array([8.0, 1.0, 4.0, 2.0], "float32")
    (found,) = gradient(Percentile(75, l1=1.0), x)
    assert_allclose(found, [0.25, 0, 0.75, 0])
    (found,) = gradient(Percentile(100, l1=1.0), np.array([3.0, 1.0, 3.0], "float32"))
    assert_allclose(found, [0.5, 0, 0.5])


@pytest.mark.parametrize("mode", MODES)
def test_percentiles_compile(mode):
    x = uniform(7, 5, 3)
    expected = np.abs(np.percentile(x, 30, axis=0)).sum()
    assert float(run(Percentile(30, l1=1.0), mode, x)) == pytest.approx(expected, rel=1e-5)


def test_training_brings_activity_into_the_range():
    dense = keras.layers.Dense(
        5, activity_regularizer=Percentile(target=(3, 4), l2=0.1, percentile=90)
    )
    model = keras.Sequential([keras.Input((2, 4)), dense])
    model.compile(keras.optimizers.Adam(0.3))
    x = uniform(20, 2, 4, low=0)
    model.fit(x, epochs=30, batch_size=20, verbose=0)
    reached = np.percentile(model.predict(x, verbose=0), 90, axis=0)
    assert ((reached > 2.8) & (reached < 4.2)).all()


def test_mean():
    w = np.array([[1.0, 2.0, 3.0], [5.0, 6.0, 10.0]], "float32")
    assert numbers(Mean()(w)).tolist() == [[2, 2, 2], [7, 7, 7]]
    assert numbers(Mean(axis=0)(w)).tolist() == [[3, 4, 6.5]] * 2
    assert numbers(Mean(axis=(0, 1))(w)).tolist() == [[4.5] * 3] * 2
    assert Mean(axis=0).get_config() == {"axis": 0}
    for constraint in (Mean(), Mean(axis=(0, 1))):
        copy = keras.constraints.get(keras.constraints.serialize(constraint))
        assert copy.axis == constraint.axis


def test_no_warning_without_a_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        L1L2(l1=0.1), L1(), L2(), RangedRegularizer(), Percentile(l2=0.1)
