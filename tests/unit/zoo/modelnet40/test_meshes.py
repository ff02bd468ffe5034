"""Meshes become points, batches and files."""

import zipfile

import numpy as np
import pytest

from kerasnsoc.zoo.modelnet40 import (
    get_modelnet,
    get_modelnet_from_file,
    group_points,
    read_off,
    sample_surface,
)

SQUARE = "OFF\n# a square\n4 1 0\n0 0 0\n2 0 0\n2 1 0\n0 1 0\n4 0 1 2 3\n"


@pytest.mark.parametrize(
    "text",
    [
        SQUARE,
        SQUARE.replace("OFF\n# a square\n", "OFF"),
        SQUARE.replace("4 0 1 2 3", "4 0 1 2 3 255 0 0"),
        SQUARE.replace("\n", "\r\n\r\n"),
    ],
)
def test_polygons_become_triangles(tmp_path, text):
    (tmp_path / "a.off").write_bytes(text.encode())
    vertices, triangles = read_off(tmp_path / "a.off")
    assert vertices.tolist() == [[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]]
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PLY\n", "no OFF file"),
        ("", "no OFF file"),
        ("OFF", "no valid OFF file"),
        ("OFF\n4\n", "no valid OFF file"),
        ("OFF\n999999999999 1 0\n", "do not fit"),
        ("OFF\n-1 5 0\n", "do not fit"),
        (SQUARE.replace("0 1 2 3", "0 1 2"), "fewer than 4"),
        (SQUARE.replace("0 1 2 3", "0 1 2 4"), "outside of 0 to 3"),
        (SQUARE.replace("2 1 0", "2 x 0"), "no valid OFF file"),
        (SQUARE.replace("2 1 0", "2 1"), "no valid OFF file"),
        (SQUARE.replace("2 1 0", "2 nan 0"), "not finite"),
    ],
)
def test_damaged_meshes_are_refused(tmp_path, text, message):
    (tmp_path / "bad.off").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_off(tmp_path / "bad.off")
    assert "bad.off" in str(error.value)


def test_points_spread_evenly_over_the_area():
    # two triangles, the second three times as large
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [8, 0, 0], [5, 1, 0]], float)
    points = sample_surface(
        vertices, np.array([[0, 1, 2], [3, 4, 5]]), 40_000, np.random.default_rng(0)
    )
    right = points[:, 0] >= 5
    assert right.mean() == pytest.approx(0.75, abs=0.01)
    assert not points[:, 2].any()
    left = points[~right]
    assert (left.sum(axis=1) <= 1 + 1e-12).all()
    # the centroid of a triangle
    np.testing.assert_allclose(left.mean(axis=0)[:2], 1 / 3, rtol=0, atol=0.01)
    with pytest.raises(ValueError, match="area of 0"):
        sample_surface(vertices, np.array([[0, 0, 1]]), 3, np.random.default_rng(0))


@pytest.fixture
def meshes(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNSOC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("table", "chair"):
        for part, count in (("train", 2), ("test", 1)):
            folder = tmp_path / "ModelNet40" / name / part
            folder.mkdir(parents=True)
            for k in range(count):
                (folder / f"{name}_{k}.off").write_text(SQUARE)
    (tmp_path / "ModelNet40" / "README.txt").write_text("no class")
    return tmp_path


@pytest.mark.parametrize("is_zip", [False, True])
def test_meshes_are_sampled_once(meshes, is_zip):
    name = "ModelNet40"
    if is_zip:
        name = "ModelNet40.zip"
        with zipfile.ZipFile(name, "w") as archive:
            for path in sorted((meshes / "ModelNet40").rglob("*.*")):
                archive.write(path, path.relative_to(meshes))
    found = get_modelnet_from_file(20, name)
    train, train_labels, test, test_labels, classes = found
    assert classes == {0: "chair", 1: "table"}
    assert train.shape == (4, 20, 3)
    assert test.shape == (2, 20, 3)
    assert train_labels.tolist() == [0, 0, 1, 1]
    assert test_labels.tolist() == [0, 1]
    np.testing.assert_allclose(np.abs(train).max(axis=(1, 2)), 1)
    kept = meshes / "home" / "datasets" / "ModelNet40_20pts.npz"
    (meshes / "ModelNet40" / "chair" / "train" / "chair_0.off").write_text("damaged")
    again = get_modelnet_from_file(20, name)
    for a, b in zip(found[:4], again[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    assert again[4] == classes
    kept.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"delete it to make it again"):
        get_modelnet_from_file(20, name)


def test_seed_and_source_belong_to_what_is_kept(meshes):
    first = get_modelnet_from_file(20, "ModelNet40")[0]
    other = get_modelnet_from_file(20, "ModelNet40", seed=1)[0]
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(get_modelnet_from_file(20, "ModelNet40")[0], first)
    moved = meshes / "elsewhere"
    (meshes / "ModelNet40").rename(moved)
    np.testing.assert_array_equal(get_modelnet_from_file(20, "ModelNet40")[0], first)
    with pytest.raises(FileNotFoundError, match="with the seed 1"):
        get_modelnet_from_file(20, "ModelNet40", seed=1)
    another = meshes / "another" / "ModelNet40" / "chair" / "train"
    another.mkdir(parents=True)
    (another / "a.off").write_text(SQUARE)
    assert len(get_modelnet_from_file(20, another.parents[1])[0]) == 1


def test_an_interrupted_unpacking_is_done_again(meshes, monkeypatch):
    with zipfile.ZipFile("ModelNet40.zip", "w") as archive:
        for path in sorted((meshes / "ModelNet40").rglob("*.*")):
            archive.write(path, path.relative_to(meshes))

    def interrupted(archive, folder):
        archive.extract("ModelNet40/chair/train/chair_0.off", folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get_modelnet_from_file(20, "ModelNet40.zip")
    assert list((meshes / "home" / "datasets").iterdir()) == []
    assert len(get_modelnet_from_file(20, "ModelNet40.zip")[0]) == 4


def test_absent_and_damaged_data_say_so(meshes):
    with pytest.raises(FileNotFoundError, match=r"not downloaded.*zip or its folder"):
        get_modelnet_from_file(20, "Other.zip")
    (meshes / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no classes"):
        get_modelnet_from_file(20, "empty")
    flat = SQUARE.replace("2 1 0", "2 0 0").replace("0 1 0\n", "0 0 0\n")
    (meshes / "ModelNet40" / "table" / "test" / "table_0.off").write_text(flat)
    with pytest.raises(ValueError, match=r"table_0\.off.*area of 0"):
        get_modelnet_from_file(20, "ModelNet40")
    with pytest.raises(ValueError, match="num_points is 0"):
        get_modelnet_from_file(0)


@pytest.mark.keras
def test_batches_for_training_vary_and_for_testing_do_not():
    pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    points, labels = rng.uniform(-1, 1, (5, 30, 3)), np.arange(5)
    train, test = get_modelnet(points, labels, points, labels, 2, 16, 8)
    batches = list(test.as_numpy_iterator())
    assert [x.shape for x, _ in batches] == [(2, 32, 4, 3), (2, 32, 4, 3), (1, 32, 4, 3)]
    chosen = np.random.default_rng(0).permutation(30)[:16]
    expected = group_points(points.astype(np.float32), chosen, 8)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), expected)
    again = np.concatenate([x for x, _ in test.as_numpy_iterator()])
    np.testing.assert_array_equal(again, expected)
    seen = np.concatenate([y for _, y in train.as_numpy_iterator()])
    assert sorted(seen) == list(range(5))
    first, second = (np.concatenate([x for x, _ in train.as_numpy_iterator()]) for _ in range(2))
    assert not np.array_equal(first, second)
    for none in ([], np.empty((0, 0, 3))):
        empty, _ = get_modelnet(none, [], points, labels, 2, 16, 8)
        assert not list(empty)
        assert empty.element_spec[0].shape[1:] == test.element_spec[0].shape[1:]
    empty, _ = get_modelnet(points[:0], labels[:0], points, labels, 2, 16, 8)
    assert list(empty.as_numpy_iterator()) == []
    for arguments, message in [
        ((31, 8), "selected_points is 31"),
        ((4, 8), "knn_points is 8"),
        ((16, 9), "allowed are"),
    ]:
        with pytest.raises(ValueError, match=message):
            get_modelnet(points, labels, points, labels, 2, *arguments)
    with pytest.raises(ValueError, match="labels"):
        get_modelnet(points, labels[:2], points, labels, 2, 16, 8)
