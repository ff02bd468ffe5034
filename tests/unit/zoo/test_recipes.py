"""Runs that go on after an interruption, single trainings, data, and the commands around them."""

import json
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from kerasnsoc import cli, zoo
from kerasnsoc.runtime import Model
from kerasnsoc.training.distiller import Distiller
from kerasnsoc.zoo import registry
from kerasnsoc.zoo.counts import multiplications
from kerasnsoc.zoo.detection import synthetic_shapes
from kerasnsoc.zoo.layer_blocks import conv_block, dense_block
from kerasnsoc.zoo.recipes import catalog, fitting, images, runs, singles
from kerasnsoc.zoo.recipes.catalog import TASKS, get_task
from kerasnsoc.zoo.recipes.fitting import Batches, logits_of, mean_logits, measure
from kerasnsoc.zoo.recipes.identity import described
from kerasnsoc.zoo.recipes.runs import run_recipe
from kerasnsoc.zoo.recipes.singles import evaluate_file, train_file
from kerasnsoc.zoo.recipes.task import Data, Schedule, Step, Task
from kerasnsoc.zoo.recipes.variations import (
    between_voices,
    flip_shift_cut,
    mirror,
    other_channels,
    random_squares,
    shift,
)
from tests.unit.zoo.kws.sounds import write_wav

pytestmark = pytest.mark.keras


def bright_corner(path, seed):
    """Images whose class is the corner that is bright."""
    del path
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 96)
    x = rng.integers(0, 100, (96, 6, 6, 1)).astype(np.uint8)
    for image, label in zip(x, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[3 * row : 3 * row + 3, 3 * column : 3 * column + 3] += 120
    return Data(
        *(x[:64], labels[:64], x[64:], labels[64:]),
        ("a", "b", "c"),
        "corners",
        "the last 32",
        extra={"side": 6},
    )


def small_network():
    image = keras.Input((6, 6, 1), name="input")
    x = conv_block(image, 4, 3, pooling="max", add_batchnorm=True, padding="same", name="conv")
    x = keras.layers.Flatten(name="flatten")(x)
    x = dense_block(x, 3, add_activation=False, name="classes")
    return keras.Model(image, x, name="small")


TASK = Task(
    name="corners",
    key="small",
    helper="gxnor_mnist_pretrained",
    load=bright_corner,
    build=small_network,
    steps=(Step(12, 2e-2), Step(4, 1e-2, (8, 4, 4)), Step(4, 1e-2, (8, 4, 4), ("conv_relu", 1))),
    batch=16,
    scaling=(255.0, 0),
    train=Schedule("cyclic", 1e-2, 1e-3, 1),
    tune=Schedule("exponential", 1e-2, 1e-3, 1),
    data_license="generated",
)


@pytest.fixture
def task(monkeypatch):
    """The small task in place of a real one, for the commands."""
    monkeypatch.setattr(catalog, "_PLACES", {"mnist": ("images", "MNIST")})
    monkeypatch.setattr(catalog, "TASKS", ("mnist",))
    monkeypatch.setattr(images, "MNIST", TASK)
    return TASK


class Stop(Exception):
    pass


def test_a_run_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    data = bright_corner(None, 1)
    folder = tmp_path / "run"
    lines = []

    def echo(line):
        lines.append(line)
        if line.startswith("8-4-4:"):
            raise Stop

    arguments = {"command": "kerasnsoc train corners run -o run", "seed": 3}
    with pytest.raises(Stop):
        run_recipe(TASK, data, folder, echo=echo, **arguments)
    trained = []
    real_fit = runs.fit
    monkeypatch.setattr(
        runs, "fit", lambda *args, **kwargs: (trained.append(args[3]), real_fit(*args, **kwargs))
    )
    lines.clear()
    result = run_recipe(TASK, data, folder, echo=lines.append, **arguments)
    assert trained == [4]  # only the last step
    assert lines[0].startswith("float: done before")
    assert result["integer"] == result["frozen"] >= 0.9
    assert result["activations_that_differ"] == 0
    assert result == json.loads((folder / "result.json").read_text())
    assert [step["step"] for step in result["steps"]] == ["float", "8-4-4", "8-4-4-1"]
    # the record is what the registry stores
    record = json.loads((folder / "record.json").read_text())
    assert registry._record(record).metrics["integer_accuracy"] == result["integer"]
    assert record["quantization"] == {"input": 8, "weight": 4, "activation": 4, "last": 1}
    assert record["extra"] == {"side": 6}
    predicted = Model(folder / record["file"]).predict(data.test_x)
    assert np.mean(predicted == data.test_y) == result["integer"]
    with pytest.raises(ValueError, match="holds another run"):
        run_recipe(TASK, data, folder, command="", seed=4, echo=lines.append)
    other = replace(data, train_x=data.train_x ^ 1)
    with pytest.raises(ValueError, match="holds another run"):
        run_recipe(TASK, other, folder, echo=lines.append, **arguments)


def small_network_with_softmax():
    model = small_network()
    return keras.Model(
        model.input, keras.layers.Activation("softmax", name="act_softmax")(model.output)
    )


def test_float_networks_teach_the_quantized_one(tmp_path, monkeypatch):
    steps = (Step(12, 2e-2), Step(4, 1e-2, (8, 4, 4), teachers=3, temperature=4.0))
    task = replace(TASK, build=small_network_with_softmax, steps=steps)
    data = bright_corner(None, 1)
    folder = tmp_path / "run"
    teachers = []
    real_fit = runs.fit

    def fit(model, *args, **kwargs):
        teachers.append((kwargs["seed"], kwargs["teacher"], kwargs["temperature"]))
        real_fit(model, *args, **kwargs)

    def echo(line):
        if line.startswith("teacher 1"):
            raise Stop

    monkeypatch.setattr(runs, "fit", fit)
    with pytest.raises(Stop):
        run_recipe(task, data, folder, command="", seed=5, echo=echo)
    result = run_recipe(task, data, folder, command="", seed=5, echo=lambda line: None)
    assert result["integer"] == result["frozen"] >= 0.9
    # the float network, two more like it, of which the first was not trained again, and the learner
    assert [seed for seed, _, _ in teachers] == [5, 6, 7, 6]
    assert [teacher is None for _, teacher, _ in teachers] == [True, True, True, False]
    *_, (_, teacher, temperature) = teachers
    assert temperature == 4
    names = ("0_float", "teacher_1", "teacher_2")
    networks = [keras.saving.load_model(folder / f"{name}.keras") for name in names]
    x = fitting.reals(data.test_x, task.scaling)
    answers = [keras.Model(n.input, n.get_layer("classes").output)(x) for n in networks]
    assert not np.allclose(answers[0], answers[1])
    np.testing.assert_allclose(teacher(x), np.mean(answers, axis=0), rtol=1e-5, atol=1e-5)


def test_invented_classes_help_training_only(tmp_path):
    data = bright_corner(None, 1)
    chosen = data.test_y < 2
    some = {"test_x": data.test_x[chosen], "test_y": data.test_y[chosen], "invented": 1}
    data = replace(data, **some)
    task = replace(TASK, build=small_network_with_softmax, steps=TASK.steps[:2])
    result = run_recipe(task, data, tmp_path, command="", echo=lambda line: None)
    assert result["integer"] == result["frozen"] == result["quantized"] >= 0.9
    assert result["activations_that_differ"] == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["classes"] == ["a", "b"]
    assert Model(tmp_path / record["file"]).output_dims == (1, 1, 2)
    # while it is trained, the network knows them
    whole = keras.saving.load_model(tmp_path / "1_8-4-4.keras")
    assert whole.output_shape == (None, 3)
    outputs = np.array([[0.1, 0.2, 0.9], [0.3, 0.1, 0.4]])
    two = replace(data, test_y=np.array([1, 0]))
    assert fitting.score(outputs, task, two) == 1
    assert fitting.score(outputs, task, replace(two, invented=0)) == 0


def test_teachers_are_asked_in_front_of_their_softmax():
    plain, with_softmax = small_network(), small_network_with_softmax()
    assert logits_of(plain) is plain
    x = np.random.default_rng(0).random((5, 6, 6, 1), np.float32)
    logits = np.asarray(logits_of(with_softmax)(x))
    assert logits.min() < 0
    np.testing.assert_allclose(keras.ops.softmax(logits), with_softmax(x), rtol=1e-5)
    image = keras.Input((3,))
    layer = keras.Model(image, keras.layers.Softmax()(image))
    np.testing.assert_array_equal(logits_of(layer)(logits), logits)
    flat = keras.layers.Reshape((1, 3))(with_softmax.output)
    reshaped = keras.Model(with_softmax.input, keras.layers.Flatten(name="flat")(flat))
    np.testing.assert_array_equal(logits_of(reshaped)(x), logits)
    assert reshaped.get_layer("flat").output.shape == (None, 3)
    mean = mean_logits([plain, with_softmax])(x)
    np.testing.assert_allclose(mean, (np.asarray(plain(x)) + logits) / 2, rtol=1e-5, atol=1e-6)


def test_distillation_compares_what_is_in_front_of_a_softmax():
    teacher = small_network_with_softmax()
    student = keras.models.clone_model(teacher)
    student.set_weights(teacher.get_weights())
    data = bright_corner(None, 1)
    trained = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "Distiller", lambda *pair: trained.append(pair) or Distiller(*pair))
        options = {"batch": 16, "seed": 1, "teacher": teacher, "echo": lambda line: None}
        fitting.fit(student, TASK, data, 1, Schedule("constant", 1e-2), **options)
    assert [model.layers[-1].name for model in trained[0]] == ["classes", "classes"]


def test_an_interrupted_training_goes_on_at_its_epoch(tmp_path):
    data = bright_corner(None, 1)
    epochs = []

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            epochs.append(epoch)
            if len(epochs) == 3:
                raise Stop

    def fit(model):
        fitting.fit(
            *(model, TASK, data, 4, Schedule("cosine", 1e-2)),
            batch=16,
            seed=1,
            backup=tmp_path / "backup",
            echo=lambda line: None,
        )

    real = fitting._optimizer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            fitting,
            "_optimizer",
            lambda *args: (real(*args)[0], [*real(*args)[1], Interrupt()]),
        )
        with pytest.raises(Stop):
            fit(small_network())
        model = small_network()
        fit(model)
    assert epochs == [0, 1, 2, 2, 3]
    assert measure(model, TASK, data) > 0.3


def test_a_recipe_and_its_data_fit(tmp_path):
    data = bright_corner(None, 1)
    wrong = replace(data, test_x=data.test_x[:, :5])
    with pytest.raises(ValueError, match=r"shape \(6, 6, 1\), but the data have \(5, 6, 1\)"):
        run_recipe(TASK, wrong, tmp_path, command="", echo=lambda line: None)


def test_single_trainings(tmp_path):
    data = bright_corner(None, 1)
    first, second = tmp_path / "net.keras", tmp_path / "tuned.keras"
    small_network().save(first)
    quiet = {"echo": lambda line: None}
    result = train_file(TASK, data, first, first, action="train", epochs=4, **quiet)
    assert result["metric"] == "accuracy"
    assert json.loads((tmp_path / "net.keras.json").read_text()) == result
    tuned = train_file(
        *(TASK, data, first, second),
        action="tune",
        epochs=2,
        batch=8,
        rate=1e-3,
        freeze_before="classes",
        teacher=first,
        **quiet,
    )
    assert tuned["batch_size"] == 8
    before, after = (keras.saving.load_model(path) for path in (first, second))
    np.testing.assert_array_equal(
        before.get_layer("conv").get_weights()[0], after.get_layer("conv").get_weights()[0]
    )
    assert after.get_layer("conv").trainable
    assert evaluate_file(TASK, data, second)["value"] == tuned["value"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("net.keras", "net.keras.json", "tuned.keras", "tuned.keras.json")
    ]


def test_a_training_goes_on_with_the_same_data_alone(tmp_path, monkeypatch):
    data = bright_corner(None, 1)
    path = tmp_path / "net.keras"
    small_network().save(path)

    def stop(*args, **kwargs):
        raise Stop

    monkeypatch.setattr(singles, "fit", stop)
    lines = []

    def train(data):
        with pytest.raises(Stop):
            train_file(TASK, data, path, path, action="train", epochs=1, echo=lines.append)

    train(data)
    assert lines == []
    train(bright_corner(None, 1))
    assert "going on from" in lines.pop()
    train(replace(data, test_y=data.test_y[::-1]))
    assert "belongs to another training and is removed" in lines.pop()


def test_plans_tell_data_apart():
    shapes = synthetic_shapes(2, 32)
    detection = {"train": shapes[:1], "test": shapes[1:], "anchors": [[1.0, 2.0]]}
    data = replace(bright_corner(None, 1), detection=detection)
    plan = described(data)
    assert json.loads(json.dumps(plan)) == plan == described(data)
    moved = [{**shapes[0], "boxes": shapes[0]["boxes"][:0]}]
    repainted = [{**shapes[0], "image": shapes[0]["image"] ^ 1}]
    for other in (
        replace(data, train_y=data.train_y + 1),
        replace(data, train_x=data.train_x.astype(np.float32)),
        replace(data, classes=("a", "c", "b")),
        replace(data, detection={**detection, "anchors": [[2.0, 1.0]]}),
        replace(data, detection={**detection, "thresholds": (0.5, 0.4)}),
        replace(data, detection={**detection, "train": moved}),
        replace(data, detection={**detection, "train": repainted}),
    ):
        assert described(other) != plan


def test_batches_are_the_same_again():
    x = np.arange(40, dtype=np.uint8).reshape(10, 2, 2, 1)
    y = np.arange(10)

    def epochs():
        batches = Batches(x, y, 4, (2.0, 10), lambda b, rng: b + rng.integers(0, 2, b.shape), 5)
        for _ in range(2):
            yield [batches[i] for i in range(len(batches))]
            batches.on_epoch_end()

    first, second = list(epochs()), list(epochs())
    for one, other in zip(first, second, strict=True):
        for (a, b), (c, d) in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, c)
            np.testing.assert_array_equal(b, d)
    assert [len(b) for _, b in first[0]] == [4, 4, 2]
    orders = [np.concatenate([b for _, b in epoch]).tolist() for epoch in first]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == list(range(10))
    plain, labels = Batches(x, y, 4, (2.0, 10))[0]
    np.testing.assert_array_equal(plain, (x[:4].astype("f4") - 10) / 2)
    assert labels.tolist() == [0, 1, 2, 3]


def test_augmentation_keeps_what_pixels_are():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)
    moved = flip_shift_cut(x, np.random.default_rng(1))
    assert moved.shape == x.shape
    assert moved.dtype == np.uint8
    blank = (moved == x.mean(axis=(0, 1, 2)).astype(np.uint8)).all(-1).sum(axis=(1, 2))
    assert blank.max() == 64
    np.testing.assert_array_equal(moved, flip_shift_cut(x, np.random.default_rng(1)))


def test_other_channels_add_a_constant_to_each_coefficient_of_a_clip():
    rng = np.random.default_rng(0)
    x = rng.normal(128, (4, 12), (600, 49, 2)).astype(np.uint8)[..., np.newaxis]
    moved = other_channels(x, np.random.default_rng(1))
    assert moved.shape == x.shape
    assert moved.dtype == np.uint8
    added = moved.astype(int) - x
    # rounding of the constant aside, the same at all times, as nothing is clipped here
    assert np.ptp(added, axis=1).max() <= 1
    constants = added.mean(axis=1)[..., 0]
    np.testing.assert_allclose(constants.std(axis=0) / x.std(axis=(0, 1))[:, 0], 0.6, rtol=0.1)
    assert abs(np.corrcoef(constants.T)[0, 1]) < 0.15
    np.testing.assert_array_equal(moved, other_channels(x, np.random.default_rng(1)))
    assert not np.array_equal(moved, other_channels(x, np.random.default_rng(2)))


def test_other_channels_clip_at_eight_bits():
    x = np.repeat(np.array([[0], [255]], np.uint8), 49, axis=0).reshape(2, 49, 1, 1)
    moved = other_channels(np.tile(x, (50, 1, 1, 1)), np.random.default_rng(0))
    assert {0, 255} <= set(moved.reshape(-1).tolist())
    assert moved.min() == 0
    assert moved.max() == 255
    still = np.full((5, 49, 10, 1), 7, np.uint8)
    np.testing.assert_array_equal(other_channels(still, np.random.default_rng(0)), still)


def test_half_of_the_clips_move_up_to_half_of_the_way_to_another():
    x = np.zeros((2000, 3, 2, 1), np.uint8)
    mixed = between_voices(x, np.full_like(x, 200), np.random.default_rng(0))
    assert mixed.shape == x.shape
    assert mixed.dtype == np.uint8
    way = mixed.reshape(len(x), -1)
    assert np.ptp(way, axis=1).max() == 0
    moved = way[way[:, 0] > 0, 0]
    assert 900 < len(moved) < 1100
    assert 95 < moved.max() <= 100
    assert 45 < moved.mean() < 55
    again = between_voices(x, np.full_like(x, 200), np.random.default_rng(0))
    np.testing.assert_array_equal(mixed, again)


def test_clips_are_mixed_with_those_of_their_word_only():
    y = np.repeat(np.arange(3), 20)
    x = (10 * y + np.tile(np.arange(20) % 10, 3)).astype(np.uint8).reshape(-1, 1, 1, 1)
    seen = []

    def mix(batch, others, rng):
        seen.append((batch.reshape(-1), others.reshape(-1)))
        return others

    batches = Batches(x, y, 16, (1.0, 0.0), seed=1, mix=mix)
    features, labels = zip(*(batches[i] for i in range(len(batches))), strict=True)
    words = np.concatenate(features).reshape(-1) // 10
    np.testing.assert_array_equal(words, np.concatenate(labels))
    own, others = (np.concatenate(part) for part in zip(*seen, strict=True))
    assert (own != others).mean() > 0.7


def test_a_training_may_end_with_a_mean_of_its_weights():
    def weights_after(average, epochs):
        keras.utils.set_random_seed(0)
        image = keras.Input((6, 6, 1), name="input")
        model = keras.Model(image, conv_block(image, 3, 3, pooling="global_avg", name="conv"))
        schedule = Schedule("constant", 1e-2, average=average)
        options = {"batch": 16, "seed": 1, "echo": lambda line: None}
        fitting.fit(model, TASK, bright_corner(None, 1), epochs, schedule, **options)
        return np.concatenate([w.numpy().reshape(-1) for w in model.trainable_weights])

    start, last, mean = weights_after(0.0, 0), weights_after(0.0, 1), weights_after(0.9, 1)
    assert not np.array_equal(last, mean)
    assert np.linalg.norm(mean - start) < np.linalg.norm(last - start)


def test_voices_are_trained_on_other_channels(tmp_path):
    sound = np.sin(np.arange(4000) * 0.3)
    for word, speaker, take in ((0, "ann", 0), (0, "ann", 7), (1, "ben", 7)):
        write_wav(tmp_path / f"{word}_{speaker}_{take}.wav", sound * (word + 1) / 3, 8000)
    task = get_task("kws-voices")
    data = task.load(tmp_path, 1)
    assert data.augment is other_channels
    assert data.mix is between_voices
    plain = get_task("kws").load(tmp_path, 1)
    assert plain.augment is plain.mix is None
    assert (len(data.train_x), len(data.test_x)) == (20, 1)


def test_shifts_and_squares_are_parts_of_the_image():
    x = np.arange(2 * 5 * 6, dtype=np.uint8).reshape(2, 5, 6, 1) + 1
    squares = random_squares(x, 4, np.random.default_rng(3))
    for square, image in zip(squares, x, strict=True):
        top, left = divmod(int(square[0, 0, 0] - image[0, 0, 0]), 6)
        np.testing.assert_array_equal(square, image[top : top + 4, left : left + 4])
    moved = shift(x, 2, np.random.default_rng(0), mode="constant")
    assert moved.shape == x.shape
    # what is left of an image stands somewhere in it, and the rest is blank
    for image, before in zip(moved, x, strict=True):
        kept = image[image > 0]
        assert set(kept.tolist()) <= set(before.reshape(-1).tolist())
        assert np.all(np.diff(kept.astype(int)) > 0)
    mirrored = mirror(np.tile(x[:1], (50, 1, 1, 1)), np.random.default_rng(0))
    turned = (mirrored == x[0, :, ::-1]).all(axis=(1, 2, 3))
    assert 10 < turned.sum() < 40
    np.testing.assert_array_equal(mirrored[~turned], np.tile(x[:1], (50 - turned.sum(), 1, 1, 1)))


def test_training_on_squares_leaves_the_input_as_it_is(tmp_path):
    data = bright_corner(None, 1)
    image = keras.Input((6, 6, 1), name="input")
    x = conv_block(image, 3, 3, pooling="global_avg", padding="same", name="conv")
    model = keras.Model(image, x)
    before = model.get_weights()
    quiet = {"batch": 16, "seed": 1, "crop": 4, "echo": lambda line: None}
    fitting.fit(model, TASK, data, 1, Schedule("constant", 1e-2), teacher=model, **quiet)
    assert model.input_shape == (None, 6, 6, 1)
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_mnist_is_read(tmp_path):
    arrays = {
        "x_train": np.zeros((3, 28, 28), np.uint8),
        "y_train": np.zeros(3, np.uint8),
        "x_test": np.ones((2, 28, 28), np.uint8),
        "y_test": np.ones(2, np.uint8),
    }
    np.savez(tmp_path / "mnist.npz", **arrays)
    data = images.load_mnist(tmp_path / "mnist.npz", 0)
    assert data.test_x.shape == (2, 28, 28, 1)
    del arrays["y_test"]
    np.savez(tmp_path / "less.npz", **arrays)
    with pytest.raises(ValueError, match=r"has no arrays \['y_test'\]"):
        images.load_mnist(tmp_path / "less.npz", 0)
    with pytest.raises(FileNotFoundError, match="give its path with --data"):
        images.load_mnist(tmp_path / "nothing.npz", 0)


def test_cifar10_is_read_from_folders_and_archives(tmp_path):
    import tarfile

    Image = pytest.importorskip("PIL.Image")
    for part, count in (("train", 2), ("test", 1)):
        for name in ("cat", "ship"):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (32, 32), (index, 2, 3)).save(folder / f"{index}.png")
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        archive.add(tmp_path / "data", arcname="cifar")
    for path in (tmp_path / "data", tmp_path / "data.tar"):
        data = images.load_cifar10(path, 0)
        assert data.train_x.shape == (4, 32, 32, 3)
        assert sorted(data.train_y.tolist()) == [3, 3, 8, 8]
        assert data.test_x[0, 0, 0].tolist() == [0, 2, 3]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        images.load_cifar10(tmp_path / "empty", 0)


def test_bearing_data_are_scaled_by_segment(tmp_path):
    segments = np.random.default_rng(0).normal(size=(3700, 1024))
    np.savez(tmp_path / "cwru.npz", data=segments, labels=np.arange(3700) % 10)
    data = images.load_cwru(tmp_path / "cwru.npz", 0)
    assert (data.train_x.shape, data.test_x.shape) == ((3600, 32, 32, 1), (100, 32, 32, 1))
    largest = np.abs(data.test_x.astype(int) - 127).reshape(100, -1).max(axis=1)
    assert set(largest.tolist()) == {127}


@pytest.mark.parametrize("name", TASKS)
def test_every_recipe_builds_what_it_names(name):
    found = get_task(name)
    model = found.build()
    assert isinstance(model, keras.Model)
    if not found.steps:
        assert name == "imagenet"
        return
    names = {layer.name for layer in model.layers}
    assert all(step.last is None or step.last[0] in names for step in found.steps)
    assert found.steps[0].bits is None
    keys = {record.key for record in zoo.list_pretrained()}
    assert f"{found.key}/{found.steps[-1].name}" in keys


def test_unknown_recipes_are_refused():
    with pytest.raises(ValueError, match="'nothing' is no recipe"):
        get_task("nothing")


def command(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


def test_creating_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("create", "mobilenet_imagenet", "-i", 32, "-a", 0.1, "-c", 3, "-wq", 4)
    assert done.exit_code == 0, done.output
    base = tmp_path / "mobilenet_0.10_32_3.keras"
    assert base.exists()
    done = command("create", "-s", "edge", "mobilenet_imagenet_edge", "-bm", base, "-c", 4)
    assert done.exit_code == 0, done.output
    assert keras.saving.load_model(tmp_path / "edge.keras").output_shape == (None, 4)
    done = command("create", "gxnor_mnist", "-wq", 2, "-aq", 1, "-iq", 8)
    assert done.exit_code == 0, done.output
    model = keras.saving.load_model(tmp_path / "gxnor_mnist.keras")
    assert model.get_layer("block1_conv1").quantizer.bitwidth == 8
    counted = command("macs", "gxnor_mnist.keras", "--json")
    assert json.loads(counted.output)["total"] == sum(multiplications(model).values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "is no model"),
        (("gxnor_mnist", "-c", 3), "takes no --classes"),
        (("mobilenet_imagenet", "-i", 33), "must be one of"),
        (("convtiny_cwru", "-wq", 4), "takes no bits"),
        (("mobilenet_edge_imagenet",), "needs --base_model"),
        (("convtiny_dvs_gesture", "-wq", 4, "-iq", 8), "takes no --input_bits"),
    ],
)
def test_wrong_usage_of_create(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("create", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing", "run"), "is no recipe"),
        (("mnist", "run"), "needs --output"),
        (("mnist", "eval"), "needs --model"),
        (("mnist", "train", "-m", "net.keras"), "needs --epochs"),
        (("mnist", "fly"), "fly"),
    ],
)
def test_wrong_usage_of_train(arguments, message):
    done = command("train", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


def test_training_by_command(task, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kerasnsoc", "train", "mnist", "run", "-o", "my run"])
    run = tmp_path / "run"
    done = command("train", "mnist", "run", "-o", run, "-e", 1)
    assert done.exit_code == 0, done.output
    assert "on integers" in done.output
    record = json.loads((run / "record.json").read_text())
    assert record["recipe"] == "kerasnsoc train mnist run -o 'my run'"
    small_network().save(tmp_path / "net.keras")
    done = command("train", "mnist", "train", "-m", tmp_path / "net.keras", "-e", 1)
    assert done.exit_code == 0, done.output
    for path, where in ((run / "1_8-4-4.keras", "integers"), (run / record["file"], "integers")):
        done = CliRunner().invoke(
            cli.app, ["train", "mnist", "eval", "-m", str(path), "-rt", "--json"]
        )
        assert json.loads(done.stdout)["runs_on"] == where
    done = command("train", "mnist", "eval", "-m", tmp_path / "missing.keras")
    assert done.exit_code == 1
    assert "does not exist" in done.output


def test_commands_of_trained_networks():
    listed = command("zoo", "list")
    assert listed.exit_code == 0
    assert "gxnor_mnist/2-2-1" in listed.output
    records = json.loads(command("zoo", "list", "--json").output)
    assert len(records) == len(zoo.list_pretrained())
    assert command("zoo", "verify").exit_code == 0
    missing = command("zoo", "fetch", "mobilenet_imagenet/1.0/8-4-4")
    assert missing.exit_code == 1
    assert "Train it with" in missing.output
