"""Pictures of faces and ages."""

import numpy as np
import pytest

from kerasnsoc.zoo.utk_face.preprocessing import load_data

image = pytest.importorskip("PIL.Image")


def write(path, colour, size=(32, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.new("RGB", size, colour).save(path, quality=100)


def test_pictures_and_ages_in_the_order_of_names(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNSOC_HOME", str(tmp_path))
    folder = tmp_path / "datasets" / "utk_face"
    write(folder / "train" / "7_0_0_a.jpg", (200, 200, 200))
    write(folder / "train" / "116_1.jpg", (10, 10, 10), size=(64, 48))
    write(folder / "train" / "old_1.jpg", (0, 0, 0))
    write(folder / "train" / "1234_1.jpg", (0, 0, 0))
    (folder / "train" / "readme.txt").write_text("no picture")
    (folder / "test").mkdir()
    with pytest.warns(UserWarning, match=r"2 names.*'1234_1\.jpg'"):
        x_train, y_train, x_test, y_test = load_data()
    assert x_train.shape == (2, 32, 32, 3)
    assert x_train.dtype == np.float32
    assert y_train.tolist() == [[116], [7]]
    assert y_train.dtype == np.int16
    # JPEG rounds
    np.testing.assert_allclose(x_train.mean(axis=(1, 2, 3)), [10, 200], rtol=0, atol=2)
    assert (x_test.shape, y_test.shape) == ((0, 32, 32, 3), (0, 1))


def test_absent_data_says_what_to_put_where(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"non-commercial.*<age>_<anything>"):
        load_data(tmp_path)
