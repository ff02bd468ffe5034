"""Sparsity, pruning, rescaling, and the choices of single trainings."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from kerasnsoc import cli, convert, quantize
from kerasnsoc.quantization import fold_batchnorms, load_quantized_model
from kerasnsoc.runtime import Model
from kerasnsoc.zoo import ds_cnn_kws, mobilenet_imagenet, yolo_base
from kerasnsoc.zoo.commands import Action
from kerasnsoc.zoo.detection import MapEvaluation, synthetic_shapes
from kerasnsoc.zoo.detection.synthetic import SHAPES
from kerasnsoc.zoo.imagenet.rescaling import rescale_model
from kerasnsoc.zoo.recipes import fitting
from kerasnsoc.zoo.recipes.bodies import body_of, copy_body
from kerasnsoc.zoo.recipes.boxes import YOLO, with_choices
from kerasnsoc.zoo.recipes.options import TAKEN_BY, checked_save_path
from kerasnsoc.zoo.recipes.singles import prune_file, train_file
from kerasnsoc.zoo.recipes.sounds import KWS
from kerasnsoc.zoo.recipes.task import Data
from kerasnsoc.zoo.sparsity import activation_sparsity, read_samples
from tests.networks import time_networks
from tests.unit.zoo.test_recipes import TASK, bright_corner, command, small_network

pytestmark = pytest.mark.keras


@pytest.fixture
def corners():
    return bright_corner(None, 1)


def test_sparsity_is_the_share_of_zeros(corners):
    model = small_network()
    samples = corners.test_x / np.float32(255)
    relu = keras.Model(model.input, model.get_layer("conv_relu").output)
    expected = np.mean(relu.predict(samples, verbose=0) == 0)
    assert activation_sparsity(model, samples)["conv_relu"] == expected
    assert activation_sparsity(model).keys() == {"conv_relu"} | (
        activation_sparsity(model, samples).keys()
    )


def test_sparsity_on_integers_is_that_of_keras(corners):
    model = quantize(small_network(), 4, 4, 8)
    network = convert(model, input_scaling=(255, 0))
    network.forward(corners.train_x)  # what was counted before does not matter
    found = activation_sparsity(network, corners.test_x)
    expected = activation_sparsity(model, corners.test_x / np.float32(255))
    assert next(iter(found.values())) == expected["conv_relu"]
    assert activation_sparsity(network).keys() == found.keys()
    over_time = Model.from_spec(time_networks()["time_image"])
    assert activation_sparsity(over_time)
    with pytest.raises(ValueError, match=r"float32, but the network takes integers of 0 to 255"):
        activation_sparsity(network, corners.test_x.astype(np.float32))


def test_samples_that_do_not_fit(tmp_path):
    model = small_network()
    with pytest.raises(ValueError, match=r"shape \(2, 5, 6, 1\), but the model takes \(n, 6, 6, 1"):
        activation_sparsity(model, np.zeros((2, 5, 6, 1), np.float32))
    with pytest.raises(ValueError, match="no layer with activations"):
        activation_sparsity(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    (tmp_path / "x.npy").write_text("hello")
    with pytest.raises(ValueError, match=r"neither \.npy nor \.npz"):
        read_samples(tmp_path / "x.npy")
    np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.zeros(2))
    with pytest.raises(ValueError, match=r"arrays \['a', 'b'\]"):
        read_samples(tmp_path / "two.npz")
    np.savez(tmp_path / "one.npz", a=np.ones(2))
    np.save(tmp_path / "plain.npy", np.ones(2))
    for name in ("one.npz", "plain.npy"):
        assert read_samples(tmp_path / name).sum() == 2


def test_commands_on_model_files(tmp_path, corners, monkeypatch):
    monkeypatch.setattr("kerasnsoc.zoo.recipes.images.MNIST", TASK)
    path, artifact = tmp_path / "net.keras", tmp_path / "net.h5"
    model = quantize(small_network(), 4, 4, 8)
    model.save(path)
    convert(model, artifact, input_scaling=(255, 0))
    np.savez(tmp_path / "x.npz", samples=corners.test_x)
    for file in (path, artifact):
        done = CliRunner().invoke(
            cli.app, ["sparsity", "-m", str(file), "-d", str(tmp_path / "x.npz"), "--json"]
        )
        assert done.exit_code == 0, done.output
        content = json.loads(done.stdout)
        assert not content["random_samples"]
        assert all(0 <= value <= 1 for value in content["layers"].values())
    done = command("sparsity", "-m", artifact)
    assert "random inputs" in done.output
    done = command("prune", "mnist", "-m", path, "-s", tmp_path / "less.keras", "--loss", 1)
    assert done.exit_code == 0, done.output
    assert "conv" in done.output
    done = command("prune", "mnist", "-m", path, "--loss", 0, "--json")
    assert json.loads(done.stdout)["task"] == "corners"
    done = command("prune", "nothing", "-m", path)
    assert done.exit_code == 2


def test_pruning_a_file(tmp_path, corners):
    path = tmp_path / "net.keras"
    small_network().save(path)
    everything = prune_file(TASK, corners, path, tmp_path / "less.keras", loss=1, echo=print)
    # 4 filters: three go at most
    assert everything["deleted"]["conv"] > 0.5
    less = load_quantized_model(tmp_path / "less.keras", compile=False)
    assert less.count_params() == everything["parameters_after"] < everything["parameters_before"]
    nothing = prune_file(TASK, corners, path, path, loss=0, echo=print)
    assert set(nothing["deleted"]) == {"conv"}
    with pytest.raises(ValueError, match="loss is -1"):
        prune_file(TASK, corners, path, path, loss=-1)


def test_the_last_activation_gets_its_bits(tmp_path, corners):
    path = tmp_path / "net.keras"
    quantize(small_network(), 4, 4, 8).save(path)
    arguments = {"action": "tune", "epochs": 1, "last_bits": 1, "echo": lambda line: None}
    task = replace(TASK, last_activation="conv_relu")
    result = train_file(task, corners, path, path, **arguments)
    assert result["last_activ_quantization"] == 1
    model = load_quantized_model(path, compile=False)
    assert model.get_layer("conv_relu").bitwidth == 1
    with pytest.raises(ValueError, match="'corners' has no last activation"):
        train_file(TASK, corners, path, path, **arguments)
    # what the recipe for keywords names exists
    assert ds_cnn_kws(classes=2).get_layer(KWS.last_activation)


def test_choices_of_detectors(tmp_path):
    data = Data(*[np.zeros(0)] * 4, ("a",), "shapes", "none", detection={"anchors": [[1.0, 1.0]]})
    path = tmp_path / "anchors.json"
    path.write_text("[[1, 2], [3, 4.5]]")
    chosen = with_choices(data, path, 0.3)
    assert chosen.detection == {"anchors": [[1, 2], [3, 4.5]], "thresholds": (0.3, 0.5)}
    assert data.detection == {"anchors": [[1.0, 1.0]]}
    for content, message in (
        ("[1, 2]", r"shape \(2,\)"),
        ("{", "no JSON"),
        ("[[0, 1]]", "positive"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            with_choices(data, path)
    with pytest.raises(ValueError, match="a threshold is 2"):
        with_choices(data, overlaps=2)
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, keras.layers.Conv2D(7, 32, 32)(image))
    shapes = synthetic_shapes(1, 64)
    with pytest.raises(ValueError, match=r"7 outputs in each cell, but 2 anchors .* need 12"):
        MapEvaluation(model, shapes, ["disc"], [[1, 1], [2, 2]]).evaluate_map()


def test_a_detector_sees_the_same_pixels_everywhere():
    image = keras.Input((32, 32, 3))
    plain = keras.Model(image, keras.layers.Conv2D(8, 32, 32)(image))
    scaled = keras.layers.Rescaling(1 / 128, -1)(image)
    raw = keras.Model(image, keras.layers.Conv2D(8, 32, 32)(scaled))
    white = synthetic_shapes(1, 32)
    white[0]["image"] = np.full((32, 32, 3), 255, np.uint8)
    detection = {"train": white, "test": white, "anchors": [[1.0, 1.0]]}
    data = Data(*[np.zeros(0)] * 4, SHAPES, "shapes", "one", detection=detection)
    scale, shift = fitting.conversion_of(plain, YOLO)["input_scaling"]
    for model, expected in ((plain, (255 - shift) / scale), (raw, 255)):
        batch, _ = fitting._boxes(model, YOLO, data, "test", 1)[0]
        assert np.unique(batch).tolist() == [expected]
        seen = []
        model.predict = lambda x, seen=seen, **_: seen.append(x) or np.zeros((1, 1, 1, 8))
        fitting.measure(model, YOLO, data)
        np.testing.assert_array_equal(seen[0], batch)


def test_a_detector_that_learns_nothing_more_stops(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fitting, "_PATIENCE", 1)
    shapes = synthetic_shapes(3, 64)
    data = Data(
        *[np.zeros(0)] * 4,
        SHAPES,
        "shapes",
        "one of them",
        detection={"train": shapes[:2], "test": shapes[2:], "anchors": [[1.0, 1.0]]},
    )
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, keras.layers.Conv2D(8, 32, 32)(image))
    model.save(tmp_path / "net.keras")
    lines = []
    result = train_file(
        *(YOLO, data, tmp_path / "net.keras", tmp_path / "net.keras"),
        action="train",
        epochs=4,
        rate=1e-9,
        echo=lines.append,
    )
    assert (result["metric"], result["batch_size"]) == ("mAP", 128)
    printed = capsys.readouterr().out
    assert printed.count("mAP: ") == 1  # of four epochs, the first is measured
    assert "Epoch 3/4" not in printed


def test_rescaled_networks_keep_their_weights(tmp_path):
    model = mobilenet_imagenet((32, 32, 3), 0.1, classes=3, weight_quantization=4)
    model.save(tmp_path / "net.keras")
    done = command(
        *("train", "imagenet", "rescale", "-m", tmp_path / "net.keras"),
        *("-i", 64, "-s", tmp_path / "large.keras"),
    )
    assert done.exit_code == 0, done.output
    large = load_quantized_model(tmp_path / "large.keras", compile=False)
    assert large.input_shape == (None, 64, 64, 3)
    assert large.name == "mobilenet_0.10_64_3"
    for old, new in zip(model.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    x = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(rescale_model(large, 32)(x)),
        keras.ops.convert_to_numpy(model(x)),
    )
    with pytest.raises(ValueError, match=r"kernel' has the shape .* Train a new model"):
        rescale_model(small_network(), 12)
    with pytest.raises(ValueError, match="image_size is 0"):
        rescale_model(model, 0)
    with pytest.raises(ValueError, match="only a model with one image"):
        rescale_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mnist", "rescale"), "rescale is for imagenet"),
        (("mnist", "extract", "-m", "net.keras"), "extract is for imagenet and yolo"),
        (("imagenet", "extract"), "needs --output DIR"),
        (("yolo", "extract", "-m", "net.keras"), "needs --savemodel FILE"),
        (("imagenet", "run", "-o", "x"), "imagenet has no run"),
        (
            ("mnist", "train", "-m", "net.keras", "-e", 3, "-ie", 1),
            "is for imagenet train, imagenet",
        ),
        (("mnist", "run", "-o", "x", "-ns", 3), "--num_samples is for imagenet extract"),
        (("imagenet", "rescale", "-m", "net.keras", "-i", 16), "--image_size N of at least 32"),
        (("imagenet", "rescale", "-m", "net.keras"), "rescale needs --image_size N of at least 32"),
        (
            ("mnist", "run", "-o", "x", "-i", 3),
            "--image_size is for rescale, imagenet extract; mnist",
        ),
        (("mnist", "eval", "-m", "x", "-obj", 0.3), "is for yolo train, yolo tune, yolo eval"),
        (("yolo", "run", "-o", "x", "-nms", 0.3), "yolo run takes none"),
        (("kws", "run", "-o", "x", "-laq", 1), "is for train, tune; kws run takes none"),
        (("mnist", "run", "-o", "x", "-b", 8), "--batch_size is for train, tune, imagenet"),
        (("mnist", "run", "-o", "x", "-lr", 1), "--learning_rate is for train, tune"),
        (("mnist", "run", "-o", "x", "-fb", "a"), "--freeze_before is for train, tune"),
        (("mnist", "run", "-o", "x", "-rt"), "--runtime is for eval"),
        (("yolo", "run", "-o", "x", "--labels", "a"), "--labels is for yolo train"),
        (("yolo", "eval", "-m", "a", "--labels", "a"), "--data FOLDER, which is missing"),
        (("mnist", "run", "-o", "x", "-m", "a"), "--model is for train, tune, eval, rescale"),
        (("mnist", "run", "-o", "x", "-s", "a"), "--savemodel is for train, tune, rescale"),
        (("mnist", "run", "-o", "x", "-t", "a"), "--teacher is for train, tune"),
        (("mnist", "eval", "-m", "a", "-e", 1), "--epochs is for run, train, tune"),
        (("mnist", "eval", "-m", "a", "-o", "b"), "--output is for run, imagenet extract"),
        (("yolo", "extract", "-m", "a", "-s", "b", "-d", "c"), "--data is for run, train, tune"),
        (("mnist", "train", "-m", "a", "-e", 1, "-lr", 0), "must be a finite number above 0"),
        (("mnist", "train", "-m", "a", "-e", 1, "-lr", "nan"), "must be a finite number above 0"),
    ],
)
def test_choices_that_do_not_fit(arguments, message):
    done = command("train", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize("bits", [(), ("-wq", 4, "-aq", 4, "-iq", 8)])
def test_a_body_goes_from_network_to_network(tmp_path, bits):
    classifier, body = tmp_path / "classifier.keras", tmp_path / "body.keras"
    detector, copy = tmp_path / "detector.keras", tmp_path / "copy.keras"
    given = ("-i", 32, "-a", 0.1, "-c", 3, *bits)
    done = command("create", "mobilenet_imagenet", "-s", classifier, *given)
    assert done.exit_code == 0, done.output
    done = command("train", "yolo", "extract", "-m", classifier, "-s", body)
    assert done.exit_code == 0, done.output
    # a detector from the classifier itself, another one from its body
    for source, target in ((classifier, detector), (body, copy)):
        words = ("create", "yolo_base", "-s", target, "-a", 0.1, "-bw", source)
        done = command(*words, *bits)
        assert done.exit_code == 0, done.output
    networks = [load_quantized_model(path, compile=False) for path in (classifier, detector, copy)]
    # quantizing folds the batch normalizations
    for name in ("conv_0", "separable_13", *(() if bits else ("separable_13_BN",))):
        arrays = [network.get_layer(name).get_weights() for network in networks]
        for some in zip(*arrays, strict=True):
            np.testing.assert_array_equal(some[0], some[1])
            np.testing.assert_array_equal(some[0], some[2])


def test_bodies_that_do_not_fit():
    detector = yolo_base((32, 32, 3), 1, 2, 0.1, head_filters=8)
    before = detector.get_weights()
    wider = mobilenet_imagenet((32, 32, 3), 0.2, include_top=False)
    message = r"'conv_0' have the shapes \[\(3, 3, 3, 3\)\], but in .* \[\(3, 3, 3, 6\)\]"
    with pytest.raises(ValueError, match=message):
        copy_body(detector, wider)
    folded = mobilenet_imagenet((32, 32, 3), 0.1, include_top=False, use_stride2=True)
    with pytest.raises(ValueError, match="not folded"):
        copy_body(detector, fold_batchnorms(folded))
    with pytest.raises(ValueError, match="no layer with weights that is named like"):
        copy_body(detector, small_network())
    for old, new in zip(before, detector.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match="no layer 'separable_13'"):
        body_of(small_network())


def test_only_given_options_are_refused():
    found = {name for row in TAKEN_BY.values() for name in row}
    assert {words.split()[-1] for words in found} == {action.value for action in Action}
    done = command("train", "mnist", "run", "-o", "x", "--seed", 1, "--json", "-d", "missing")
    assert done.exit_code == 1
    assert "missing does not exist" in done.output


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("gt.txt", "ends in '.txt', but models are saved as .keras or .h5"),
        ("nowhere/net.keras", "there is no folder"),
        (".", "is a folder"),
    ],
)
def test_a_model_that_could_not_be_saved_is_not_trained(tmp_path, monkeypatch, target, message):
    monkeypatch.chdir(tmp_path)
    small_network().save("net.keras")
    given = ("-m", "net.keras", "-s", target)
    # the data are missing as well, which is found later
    for words in (
        ("train", "mnist", "train", *given, "-e", 1, "-d", "missing"),
        ("prune", "mnist", *given, "-d", "missing"),
        ("train", "imagenet", "rescale", *given, "-i", 32),
        ("train", "yolo", "extract", *given),
        ("create", "gxnor_mnist", "-s", target),
    ):
        done = command(*words)
        assert done.exit_code == 2, done.output
        assert message in " ".join(done.output.replace("│", " ").split())
    with pytest.raises(ValueError, match=message):
        prune_file(TASK, bright_corner(None, 1), Path("net.keras"), Path(target))
    for words in (("train", "mnist", "run"), ("train", "imagenet", "extract")):
        done = command(*words, "-o", "net.keras/deep", "-d", "missing")
        assert done.exit_code == 2
        assert "cannot be a folder" in done.output


def test_names_without_an_ending_get_one(tmp_path):
    for name in ("net", "mobilenet_0.50_96_10"):
        assert checked_save_path(tmp_path / name) == tmp_path / f"{name}.keras"
    assert checked_save_path(tmp_path / "net.h5") == tmp_path / "net.h5"


def test_only_classes_have_a_teacher(tmp_path, corners):
    path = tmp_path / "net.keras"
    small_network().save(path)
    for name, finds in (("yolo", "boxes"), ("utk_face", "a number")):
        done = command("train", name, "train", "-m", path, "-e", 1, "-t", path)
        assert done.exit_code == 2
        assert f"{name} finds {finds}" in " ".join(done.output.replace("│", " ").split())
    arguments = {"action": "train", "epochs": 1, "teacher": path}
    with pytest.raises(ValueError, match="'corners' finds a number"):
        train_file(replace(TASK, kind="number"), corners, path, path, **arguments)
    model = small_network()
    single = keras.layers.Dense(1, activation="sigmoid", name="act_sigmoid")(model.output)
    keras.Model(model.input, single).save(path)
    with pytest.raises(ValueError, match="has one output, but a teacher"):
        train_file(TASK, corners, path, path, **arguments)
    with pytest.raises(ValueError, match="rate is -1"):
        train_file(TASK, corners, path, path, action="train", epochs=1, rate=-1)


def test_debug_shows_the_error(tmp_path):
    missing = tmp_path / "missing.h5"
    assert command("info", missing).exit_code == 1
    done = command("--debug", "info", missing)
    assert isinstance(done.exception, FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        Model(missing)
