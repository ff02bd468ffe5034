"""Event lists, the tensor wrapper and the enumerations."""

import numpy as np
import pytest

import kerasnsoc
from kerasnsoc.runtime import (
    BackendType,
    Dense,
    LearningType,
    NsocVersion,
    __version__,
    backends,
    events_to_dense,
    has_backend,
)


def test_rows_of_three():
    dense = events_to_dense([(0, 1, 0), (2, 0, 1)], (3, 2, 2))
    assert dense.dtype == np.uint8
    assert dense.shape == (1, 3, 2, 2)
    assert np.argwhere(dense).tolist() == [[0, 0, 1, 0], [0, 2, 0, 1]]
    assert dense.sum() == 2


def test_rows_of_four():
    coords = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.int16)
    dense = events_to_dense(coords, (2, 1, 1), values=[3, 255])
    assert dense.reshape(2, 2).tolist() == [[0, 255], [3, 0]]
    assert events_to_dense(coords, (2, 1, 1), num_samples=4).shape == (4, 2, 1, 1)


def test_of_equal_coordinates_the_largest_value_stays():
    coords = [(0, 0, 0)] * 3 + [(1, 0, 0)]
    dense = events_to_dense(coords, (2, 1, 1), values=np.array([3, 7, 5, 0], np.uint64))
    assert dense.ravel().tolist() == [7, 0]


@pytest.mark.parametrize("coords", [[], np.zeros((0, 3), int), np.zeros((0, 3), np.uint8)])
def test_no_events(coords):
    assert events_to_dense(coords, (2, 1, 1)).tolist() == [[[[0]], [[0]]]]
    assert events_to_dense(coords, (2, 1, 1), values=[], num_samples=0).shape == (0, 2, 1, 1)
    assert events_to_dense(np.zeros((0, 4), int), (2, 1, 1)).shape == (0, 2, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([(2, 0, 0)], (2, 1, 1)), ValueError, "event 0 has x 2.*0 to 1"),
        (([(0, 0, 0), (0, -1, 0)], (2, 1, 1)), ValueError, "event 1 has y -1"),
        (([(0, 0, 1)], (2, 1, 1)), ValueError, "feature 1.*0 to 0"),
        (([(3, 0, 0, 0)], (2, 1, 1), None, 2), ValueError, "sample 3.*0 to 1"),
        (([(-1, 0, 0, 0)], (2, 1, 1)), ValueError, "sample -1"),
        (([(0, 0, 0)], (2, 1, 1), None, 0), ValueError, "num_samples is 0.*1 events"),
        (([(0, 0, 0)], (2, 1, 1), None, -1), ValueError, "num_samples is -1"),
        (([(0, 0, 0)], (2, 1, 1), None, 1.0), TypeError, "num_samples is 1.0"),
        (([(0, 0, 0)], (2, 1, 1), [256]), ValueError, r"values\[0\] is 256"),
        (([(0, 0, 0)], (2, 1, 1), [-1]), ValueError, r"values\[0\] is -1"),
        (([(0, 0, 0)], (2, 1, 1), [1, 2]), ValueError, r"values has the shape \(2,\)"),
        (([(0, 0, 0)], (2, 1, 1), [1.0]), TypeError, "values has the dtype float64"),
        (([(0.0, 0, 0)], (2, 1, 1)), TypeError, "coords has the dtype float64"),
        ((np.zeros((0, 3)), (2, 1, 1)), TypeError, "coords has the dtype float64"),
        (([(0, 0)], (2, 1, 1)), ValueError, r"coords has the shape \(1, 2\)"),
        (([0, 0, 0], (2, 1, 1)), ValueError, r"coords has the shape \(3,\)"),
        (([(0, 0, 0)], (2, 1)), ValueError, r"dims is \(2, 1\)"),
        (([(0, 0, 0)], (2, 0, 1)), ValueError, r"dims is \(2, 0, 1\)"),
    ],
)
def test_wrong_events_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        events_to_dense(*arguments)


def test_dense():
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    dense = Dense(values)
    assert (dense.shape, dense.size, dense.type) == ((2, 3), 6, np.dtype("int16"))
    assert dense.to_numpy() is values
    assert repr(dense) == "Dense(shape=(2, 3), type=int16)"
    with pytest.raises(TypeError, match="values is a list"):
        Dense([1, 2])


def test_backends():
    assert [has_backend(backend) for backend in BackendType] == [True, False, False]
    assert list(backends()) == [BackendType.Software]
    assert backends()[BackendType.Software].version == __version__ == kerasnsoc.__version__
    backends().clear()
    assert has_backend(BackendType.Software)
    with pytest.raises(TypeError, match="backend is 'Software'"):
        has_backend("Software")


def test_members_of_the_enumerations():
    assert [member.name for member in BackendType] == ["Software", "Hardware", "Hybrid"]
    assert [member.name for member in NsocVersion] == ["Unknown", "v1", "v2"]
    assert [member.name for member in LearningType] == ["NoLearning", "AkidaUnsupervised"]
