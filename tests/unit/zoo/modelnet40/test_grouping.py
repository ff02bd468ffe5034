"""Point clouds become images of groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnsoc.zoo.modelnet40 import folding, group_points, synthetic_clouds, to_integers

DIAGONAL = np.array([[[-1.0] * 3, [1] * 3, [0] * 3, [0.5] * 3]])


def test_the_published_groups():
    found = group_points(DIAGONAL, np.arange(4), 4)
    assert found.shape == (1, 8, 2, 3)
    integers = np.rint(found * 127).astype(int)
    np.testing.assert_array_equal(found, (integers / np.float32(127)).astype(np.float32))
    groups = integers.reshape(4, 4, 3)
    assert (groups == groups[..., :1]).all()
    assert groups[0, :, 0].tolist() == [0, 64, 95, 127]
    assert groups[2, :, 0].tolist() == [64, 31, 63, -64]
    assert integers[0, 1, :, 0].tolist() == [95, 127]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), knn=st.sampled_from([4, 8, 16]), features=st.integers(1, 5))
def test_any_cloud_has_the_groups_of_the_definition(seed, knn, features):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1.2, 1.2, (2, 30, features))
    chosen = rng.permutation(30)[:20]
    found = group_points(points, chosen, knn) * 127
    rows = folding(knn)
    assert found.shape == (2, 20 * rows, knn // rows, features)
    groups = np.rint(found).astype(int).reshape(2, 20, knn, features)
    for cloud in range(2):
        values = [
            [min(max(round((v + 1) * 63.5), 0), 127) for v in point]
            for point in points[cloud, chosen].tolist()
        ]
        for centre, group in zip(values, groups[cloud].tolist(), strict=True):
            distances = [
                sum((a - b) ** 2 for a, b in zip(p[:3], centre[:3], strict=True)) for p in values
            ]
            order = sorted(range(20), key=lambda k: (distances[k], k))[:knn]
            expected = [
                [
                    v - c if i < 3 else v
                    for i, (v, c) in enumerate(zip(values[k], centre, strict=True))
                ]
                for k in order
            ]
            expected[0] = values[order[0]]
            assert group == expected


def test_integers_for_the_network():
    assert to_integers([[-1.0, 0, 1, 64 / 127]]).tolist() == [[0, 127, 254, 191]]
    assert to_integers(np.float32(31) / np.float32(127)) == 158


@pytest.mark.parametrize(("knn", "rows"), [(4, 2), (8, 2), (32, 4), (64, 8), (512, 16)])
def test_foldings(knn, rows):
    assert folding(knn) == rows


@pytest.mark.parametrize(
    ("points", "selected", "knn", "message"),
    [
        (np.zeros((1, 9, 3)), np.arange(9), 5, "knn_points is 5, allowed are 4, 8"),
        (np.zeros((1, 9, 3)), np.arange(10), 4, "10 points are selected.*have 9"),
        (np.zeros((1, 9, 3)), np.arange(6), 8, "only 6 points"),
        (np.zeros((9, 3)), np.arange(6), 4, r"shape \(9, 3\)"),
        (np.zeros((1, 9, 3)), np.arange(6.0), 4, "selected is float64"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(points, selected, knn, message):
    with pytest.raises(ValueError, match=message):
        group_points(points, selected, knn)


def test_generated_clouds_repeat_and_fill_the_range():
    points, labels = synthetic_clouds(3, 64, seed=2)
    assert points.shape == (30, 64, 3)
    assert np.bincount(labels).tolist() == [3] * 10
    np.testing.assert_allclose(np.abs(points).max(axis=(1, 2)), 1, rtol=1e-6)
    again, _ = synthetic_clouds(3, 64, seed=2)
    np.testing.assert_array_equal(points, again)
    with pytest.raises(ValueError, match="noise -1"):
        synthetic_clouds(1, noise=-1)
