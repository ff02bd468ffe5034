"""The demo: what it prints, writes and promises."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from kerasnsoc.demo import load_digits, run_demo
from kerasnsoc.runtime import Model

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    printed = []
    result = run_demo(folder, echo=printed.append)
    return result, folder, "\n".join(printed)


def test_the_network_learns_and_the_integers_keep_what_it_learned(finished):
    result, _, _ = finished
    assert result.float_accuracy >= 0.97
    assert result.integer_accuracy >= result.float_accuracy - 0.01


def test_no_activation_differs_from_the_exact_keras_forward(finished):
    result, _, text = finished
    assert result.parity.compared > 900_000
    assert result.parity.differing == 0
    assert f"0 of {result.parity.compared:,} values differ" in text


def test_the_report_names_every_layer_and_at_least_three_devices_with_sources(finished):
    _, _, text = finished
    for name in ("conv", "separable", "features", "classes"):
        assert f"\n{name} " in text
    assert sum(f"\n{device} " in text for device in ("cpu", "arm", "loihi", "spinnaker2")) >= 3
    assert "Davies et al." in text
    assert "digits.h5" in text


def test_the_written_files_reproduce_the_integer_accuracy(finished):
    result, folder, _ = finished
    network = Model(folder / "digits.h5")
    images = np.load(folder / "digits_images.npy")
    labels = np.load(folder / "digits_labels.npy")
    accuracy = np.mean(network.predict(images, num_classes=10) == labels)
    assert accuracy == result.integer_accuracy


def test_the_same_seed_gives_the_same_artifact(tmp_path):
    for name in ("a", "b"):
        run_demo(tmp_path / name, seed=3, epochs=2, echo=lambda text: None)
    assert (tmp_path / "a/digits.h5").read_bytes() == (tmp_path / "b/digits.h5").read_bytes()


@pytest.mark.parametrize(
    ("argument", "match"), [({"epochs": 0}, "epochs is 0"), ({"seed": -1}, "seed is -1")]
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, argument, match):
    with pytest.raises(ValueError, match=match):
        run_demo(tmp_path / "new", **argument)
    assert not (tmp_path / "new").exists()


def test_the_split_is_complete_disjoint_and_repeatable():
    digits, again = load_digits(seed=5), load_digits(seed=5)
    assert len(digits.train_images) == 1438
    assert len(digits.test_images) == 359
    assert digits.train_images.max() == 240
    np.testing.assert_array_equal(digits.test_images, again.test_images)
    assert not np.array_equal(digits.test_images, load_digits(seed=6).test_images)


def test_a_split_without_rest_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        load_digits(test_share=1.0)
