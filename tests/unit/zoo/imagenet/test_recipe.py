"""Training, evaluation and extraction of ImageNet's recipe, on tiny records."""

import json

import numpy as np
import pytest

from kerasnsoc import convert, freeze
from kerasnsoc.quantization import load_quantized_model
from kerasnsoc.zoo import mobilenet_imagenet, yolo_base
from kerasnsoc.zoo.recipes import records
from kerasnsoc.zoo.recipes.fitting import measure_records
from kerasnsoc.zoo.recipes.records import (
    IMAGENET,
    KeepBest,
    Records,
    extract_samples,
    load_records,
    ranks,
)
from kerasnsoc.zoo.recipes.singles import evaluate_file, train_file
from kerasnsoc.zoo.sparsity import read_samples
from tests.unit.zoo.imagenet.test_preprocessing import write_records
from tests.unit.zoo.test_recipes import command

pytestmark = pytest.mark.keras

TRAIN, VALIDATION = "train-00003-of-01024", "validation-00000-of-00128"


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture
def folder(tf, tmp_path):
    """Two files of the 1152."""
    place = tmp_path / "records"
    place.mkdir()
    write_records(tf, place, [1, 2, 3, 4, 5], TRAIN)
    write_records(tf, place, [1, 6, 3], VALIDATION)
    return place


def test_ranks_count_what_comes_before():
    outputs = np.array([[0, 3, 3, 9], [5, 5, 5, 5], [-1, -3, -2, -9]])
    assert ranks(outputs, np.array([2, 3, 0])).tolist() == [2, 3, 0]


def test_some_files_are_enough(folder, tmp_path):
    found = Records(folder)
    assert (found.count(True), found.count(False)) == (5, 3)
    (folder / TRAIN).unlink()
    with pytest.raises(FileNotFoundError, match="no file like 'train-00000-of-01024'"):
        Records(folder).count(True)
    with pytest.raises(FileNotFoundError, match="make the records from your copy"):
        Records(tmp_path)
    model = mobilenet_imagenet((32, 64, 3), 0.1, classes=6)
    with pytest.raises(ValueError, match="takes images of 32 x 64"):
        found.batches(model, False, 2, is_raw=False)


def test_a_complete_set_is_not_read_to_be_counted(folder, monkeypatch):
    monkeypatch.setattr(
        records, "get_filenames", lambda is_training, data_dir: [str(folder / VALIDATION)]
    )
    assert Records(folder).count(False) == 50_000


def test_pixels_are_those_of_the_network(folder):
    found = Records(folder)
    model = mobilenet_imagenet((32, 32, 3), 0.1, classes=6)
    (raw, labels), (plain, _) = (
        next(iter(found.batches(model, False, 3, is_raw=is_raw))) for is_raw in (True, False)
    )
    np.testing.assert_array_equal(np.asarray(raw), np.asarray(plain) * 128 + 128)
    pixels, integers = next(found.integers(32, False, 3))
    np.testing.assert_array_equal(pixels, np.rint(np.asarray(raw)))
    assert integers.tolist() == np.asarray(labels).reshape(-1).tolist() == [0, 5, 2]


def test_training_evaluation_and_tuning_by_command(folder, tmp_path):
    path = tmp_path / "net.keras"
    mobilenet_imagenet((32, 32, 3), 0.1, classes=6, input_scaling=(128, -1)).save(path)
    data = ("--data_dir", folder, "-b", 3)
    done = command("train", "imagenet", "train", "-m", path, "-e", 12, "-ie", 11, *data)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "net.keras.json").read_text())
    assert (result["initial_epoch"], result["learning_rate"]) == (11, 0.1)
    assert 0 <= result["value"] <= result["top_5"] <= 1
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith("backup")] == []
    done = command("train", "imagenet", "eval", "-m", path, "-d", folder)
    assert f"{result['value']:.4f}, top 5 {result['top_5']:.4f} on Keras" in done.output
    done = command("train", "imagenet", "train", "-m", path, "-e", 3, "-ie", 3, *data)
    assert done.exit_code == 1
    assert "must be 0 to 2" in done.output


@pytest.mark.filterwarnings("ignore:layer 'act_softmax' behind the last neural layer")
def test_integers_see_rounded_pixels(folder, tmp_path):
    path = tmp_path / "net.keras"
    mobilenet_imagenet(
        *((32, 32, 3), 0.1),
        classes=6,
        weight_quantization=4,
        activ_quantization=4,
        input_weight_quantization=8,
    ).save(path)
    data = load_records(folder, 0)
    quiet = {"echo": lambda line: None}
    result = train_file(IMAGENET, data, path, path, action="tune", epochs=1, batch=5, **quiet)
    assert result["dataset"].startswith("ImageNet")
    model = load_quantized_model(path, compile=False)
    network = convert(model, input_scaling=IMAGENET.scaling)
    frozen = freeze(model, input_scaling=IMAGENET.scaling)
    pixels, labels = next(data.records.integers(32, False, 3))
    outputs = np.asarray(frozen((pixels.astype(np.float32) - 128) / 128))
    places = ranks(outputs.reshape(3, 6), labels)
    assert measure_records(network, data) == {
        "accuracy": np.mean(places == 0),
        "top_5": np.mean(places < 5),
    }
    assert evaluate_file(IMAGENET, data, path, on_runtime=True)["top_5"] == np.mean(places < 5)


def test_the_best_epoch_survives_an_interruption(tmp_path):
    model = mobilenet_imagenet((32, 32, 3), 0.1, classes=2, include_top=False, pooling="avg")
    first = model.get_weights()
    keeper = KeepBest(tmp_path)
    keeper.set_model(model)
    keeper.on_epoch_end(0, {"val_accuracy": 0.5})
    model.set_weights([w + 1 for w in first])
    again = KeepBest(tmp_path)
    again.set_model(model)
    assert again.best == 0.5
    again.on_epoch_end(1, {"val_accuracy": 0.5})  # not better
    again.on_train_end()
    for old, new in zip(first, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_samples_are_extracted(folder, tmp_path):
    out = tmp_path / "deep" / "samples"
    done = command("train", "imagenet", "extract", "-d", folder, "-o", out, "-i", 16, "-ns", 4)
    assert done.exit_code == 0, done.output
    samples = read_samples(out / "imagenet_16.npz")
    assert (samples.shape, samples.dtype) == ((4, 16, 16, 3), np.uint8)
    with np.load(out / "imagenet_16.npz") as file:
        assert file["labels"].tolist() == [0, 1, 2, 3]
    done = command("train", "imagenet", "extract", "-d", folder, "-o", out, "-i", 16, "--json")
    assert json.loads(done.stdout)["samples"] == 5
    assert extract_samples(Records(folder), tmp_path / "all.npz", 16, 9, 2) == 5


def test_the_body_of_a_detector_is_extracted(tmp_path):
    model = yolo_base((32, 32, 3), 1, 2, 0.1, head_filters=8)
    path, body = tmp_path / "net.keras", tmp_path / "body.keras"
    model.save(path)
    done = command("train", "yolo", "extract", "-m", path, "-s", body)
    assert done.exit_code == 0, done.output
    loaded = load_quantized_model(body, compile=False)
    assert loaded.layers[-1].name == "separable_13_relu"
    kernel = loaded.get_layer("conv_0").get_weights()[0]
    np.testing.assert_array_equal(kernel, model.get_layer("conv_0").get_weights()[0])
    again = tmp_path / "again.keras"
    done = command("train", "yolo", "extract", "-m", body, "-s", again, "--json")
    assert json.loads(done.stdout) == {"last_layer": "separable_13_relu", "output": str(again)}
