"""Recipes on recordings that users have: folders of words, and gestures before a camera."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from kerasnsoc import cli, zoo
from kerasnsoc.zoo.kws import preprocessing as kws
from kerasnsoc.zoo.kws.mfcc import mfcc
from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.settings import which_set
from kerasnsoc.zoo.recipes.catalog import get_task
from kerasnsoc.zoo.recipes.gestures import turn
from kerasnsoc.zoo.recipes.words import KEPT_WORDS, LEFT_OUT, RATE, words_of
from tests.unit.zoo.dvs.test_recordings import write_aedat_31
from tests.unit.zoo.kws.sounds import tone, write_wav

pytestmark = pytest.mark.keras

WORDS = ("go", "no", "yes")
SPEAKERS = [f"{speaker:08x}_nohash_0.wav" for speaker in range(30)]
HELD_OUT = [name for name in SPEAKERS if which_set(name, 0, 10) == "testing"]


@pytest.fixture(autouse=True)
def without_tensorflow(monkeypatch):
    """Features by NumPy: building TensorFlow's function for every object costs seconds."""

    def prepare(self):
        self._features = lambda samples: mfcc(samples, self.model_settings)

    monkeypatch.setattr(kws.AudioProcessor, "prepare_processing_graph", prepare)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    root = tmp_path_factory.mktemp("words")
    for index, word in enumerate(WORDS):
        for pitch, name in enumerate(SPEAKERS):
            write_wav(root / word / name, tone(300 * 2**index + pitch, rate=RATE), RATE)
    hiss = np.random.default_rng(0).uniform(-0.5, 0.5, 20000)
    write_wav(root / "_background_noise_" / "hiss.wav", hiss, RATE)
    return root


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    """Two subjects; the first shows only the classes 2 and 11, the other 1, 2 and 11."""
    root = tmp_path_factory.mktemp("gestures")
    rng = np.random.default_rng(0)
    for subject, classes in ((3, (2, 11)), (24, (1, 2, 11))):
        rows, lines = [], ["class,startTime_usec,endTime_usec"]
        for number, label in enumerate(classes):
            start = number * 1_000_000
            times = np.sort(rng.integers(0, 700_000, 300)) + start
            times[-1] = start + 699_999
            # the class is the half of the picture
            x = rng.integers(0, 64, 300) + 64 * (label % 2)
            rows += zip(
                *(times.tolist(), x.tolist()),
                *(rng.integers(0, 128, 300).tolist(), rng.integers(0, 2, 300).tolist()),
                strict=True,
            )
            lines.append(f"{label},{start},{start + 700_000}")
        write_aedat_31(root / f"user{subject:02d}_led.aedat", rows)
        (root / f"user{subject:02d}_led_labels.csv").write_text("\n".join(lines) + "\n")
    return root


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(x) for x in arguments])


def test_a_folder_of_words_is_read_as_the_toolkit_reads_it(words):
    data = get_task("kws").load(words, 1)
    assert HELD_OUT
    per_word = len(SPEAKERS) - len(HELD_OUT)
    assert data.classes == ("_silence_", *WORDS)
    assert np.bincount(data.train_y).tolist() == [per_word] * 4  # silence as often as a word
    assert np.bincount(data.test_y).tolist() == [len(HELD_OUT)] * 4
    assert data.train_x.shape[1:] == data.test_x.shape[1:] == (49, 10, 1)
    assert data.train_x.dtype == data.test_x.dtype == np.uint8
    # the ranges are those of the training part, and a plain clip passes through unchanged
    assert (data.train_x.min((0, 1, 3)).max(), data.train_x.max((0, 1, 3)).min()) == (0, 255)
    scaler = FeatureScaler.from_json(data.extra["feature_scaler"])
    assert data.extra["feature_settings"]["sample_rate"] == 16000
    processor = kws.AudioProcessor(16000, 1000, 40, 20, 10)
    plain = processor.get_features_for_wav(words / "no" / HELD_OUT[0])
    of_the_word = data.test_x[data.test_y == 2]
    assert (of_the_word == scaler.transform(plain)).all(axis=(1, 2, 3)).any()
    # the held-out part is the same for every training, its variation is not
    other = get_task("kws").load(words, 2)
    assert not np.array_equal(other.train_x, data.train_x)
    np.testing.assert_array_equal(other.test_y, data.test_y)


def test_of_speech_commands_three_words_are_left_out(tmp_path):
    for word in KEPT_WORDS | LEFT_OUT:
        (tmp_path / word).mkdir()
        (tmp_path / word / "a_nohash_0.wav").touch()
    assert words_of(tmp_path) == tuple(sorted(KEPT_WORDS))
    assert len(words_of(tmp_path)) + 1 == 33
    (tmp_path / "zero" / "a_nohash_0.wav").unlink()
    assert set(words_of(tmp_path)) > LEFT_OUT


def test_words_are_trained_on_and_measured_by_the_commands(words, tmp_path):
    model = tmp_path / "words.keras"
    zoo.ds_cnn_kws(classes=4).save(model)
    result = invoke("train", "kws", "train", "-m", model, "-e", 2, "-b", 20, "-d", words)
    assert result.exit_code == 0, result.output
    result = invoke("train", "kws", "eval", "-m", model, "-d", words, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["split"] == f"which_set, 10 % for testing, {4 * len(HELD_OUT)} clips"
    assert 0 <= found["value"] <= 1
    result = invoke("train", "kws", "run", "-o", tmp_path / "run", "-d", words)
    assert result.exit_code == 1
    assert "(49, 10, 1), 4 classes). Make one with `kerasnsoc create`" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("action", ["train", "eval"])
def test_a_network_for_other_data_is_refused(words, tmp_path, action):
    model = tmp_path / "other.keras"
    zoo.ds_cnn_kws(classes=3).save(model)
    epochs = ["-e", 1] if action == "train" else []
    result = invoke("train", "kws", action, "-m", model, *epochs, "-d", words)
    assert result.exit_code == 1
    assert "the network has 3 outputs, but the data" in result.output
    assert "have 4 classes" in result.output
    if action == "train":
        zoo.ds_cnn_kws((30, 10, 1), 4).save(model)
        result = invoke("train", "kws", action, "-m", model, *epochs, "-d", words)
        assert result.exit_code == 1
        assert "takes inputs of shape (30, 10, 1), but" in result.output


def test_unsuitable_sounds_are_refused(tmp_path):
    load = get_task("kws").load
    archive = tmp_path / "speech.tar.gz"
    archive.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"speech\.tar\.gz is no zip\..*Unpack"):
        load(archive, 1)
    words = tmp_path / "words"
    trained = next(name for name in SPEAKERS if name not in HELD_OUT)
    write_wav(words / "yes" / trained, tone(300, rate=RATE), RATE)
    with pytest.raises(ValueError, match=r"none of the recordings .* is for testing"):
        load(words, 1)
    write_wav(words / "yes" / HELD_OUT[0], tone(300), 8000)
    with pytest.raises(ValueError, match="8000 samples per second, but 16000"):
        load(words, 1)


def test_gestures_are_split_by_subject(gestures):
    data = get_task("dvs").load(gestures, 1)
    assert data.train_x.shape == (5, 64, 64, 10)
    assert data.test_x.shape == (10, 64, 64, 10)
    assert data.train_x.dtype == np.uint8
    assert data.train_y.tolist() == [1] * 5  # class 2 of the file, although the smallest
    assert data.test_y.tolist() == [0] * 5 + [1] * 5
    assert len(data.classes) == 10
    # 500 of 700 ms, and each class in its half of the picture
    assert (data.test_x.sum(axis=(1, 2, 3)) > 150).all()
    assert not data.test_x[:5, :, :32].any()
    assert not data.test_x[5:, :, 32:].any()
    np.testing.assert_array_equal(get_task("dvs").load(gestures, 2).test_x, data.test_x)


@pytest.mark.filterwarnings("ignore:layer .* behind the last neural layer")
def test_gestures_are_trained_on_and_measured_by_the_commands(gestures, tmp_path):
    model = tmp_path / "gestures.keras"
    zoo.convtiny_dvs_gesture(weight_quantization=4, activ_quantization=4).save(model)
    result = invoke("train", "dvs", "train", "-m", model, "-e", 1, "-d", gestures)
    assert result.exit_code == 0, result.output
    result = invoke("train", "dvs", "eval", "-m", model, "-rt", "-d", gestures, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["dataset"] == "DVS Gesture"
    result = invoke("train", "dvs", "run", "-o", tmp_path / "run", "-d", gestures)
    assert result.exit_code == 1
    assert "builds a network for other data than DVS Gesture" in result.output


def test_unsuitable_gestures_are_refused(tmp_path):
    load = get_task("dvs").load
    rows = [(0, 1, 1, 0), (600_000, 1, 1, 1)]
    write_aedat_31(tmp_path / "user01_led.aedat", rows)
    labels = tmp_path / "user01_led_labels.csv"
    labels.write_text("class,start,end\n12,0,700000\n")
    with pytest.raises(ValueError, match=r"1 subjects to train on .* and 0 to test"):
        load(tmp_path, 1)
    write_aedat_31(tmp_path / "user29_led.aedat", rows)
    (tmp_path / "user29_led_labels.csv").write_text("class,start,end\n1,0,700000\n")
    with pytest.raises(ValueError, match="class 12, but gestures have 1 to 11"):
        load(tmp_path, 1)
    labels.write_text("class,start,end\n11,0,700000\n")
    with pytest.raises(ValueError, match="no trial of the subjects for training"):
        load(tmp_path, 1)


def test_turning_moves_pixels_about_the_centre():
    image = np.zeros((200, 9, 9, 2), np.uint8)
    image[:, 4, 4, 0] = 7
    image[:, 4, 8, 1] = 3
    turned = turn(image, np.random.default_rng(0))
    assert (turned[:, 4, 4, 0] == 7).all()
    rows = np.nonzero(turned[..., 1].any(axis=2))[1]
    assert (rows.min(), rows.max()) == (3, 5)  # 4 pixels away, 18 degrees
    assert set(np.unique(turned)) == {0, 3, 7}
    assert turned.dtype == np.uint8
