"""Recordings in folders become features and labels."""

import hashlib
import io
import tarfile

import numpy as np
import pytest

from kerasnsoc.zoo.kws import preprocessing as kws
from kerasnsoc.zoo.kws.mfcc import mfcc
from kerasnsoc.zoo.kws.wav import read_wav
from tests.unit.zoo.kws.sounds import RATE, tone, write_wav

SIZES = (RATE, 1000, 40, 20, 10)


def folder_of_words(root, words=("yes", "no", "cat", "dog"), speakers=20, noise=True):
    for index, word in enumerate(words):
        for speaker in range(speakers):
            sound = tone(300 + 100 * index + speaker)
            write_wav(root / word / f"{speaker:08x}_nohash_0.wav", sound)
    if noise:
        hiss = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE)
        write_wav(root / kws.BACKGROUND_NOISE_DIR_NAME / "hiss.wav", hiss)
    return root


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return folder_of_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(autouse=True)
def without_tensorflow(monkeypatch):
    """Features by NumPy: building TensorFlow's function for every object costs seconds."""

    def prepare(self):
        self._features = lambda samples: mfcc(samples, self.model_settings)

    monkeypatch.setattr(kws.AudioProcessor, "prepare_processing_graph", prepare)


def processor(folder, **options):
    given = {
        "wanted_words": ["yes", "no"],
        "silence_percentage": 10,
        "unknown_percentage": 30,
        "validation_percentage": 20,
        "testing_percentage": 20,
        "seed": 1,
    }
    return kws.AudioProcessor(*SIZES, data_dir=folder, **{**given, **options})


@pytest.mark.parametrize(
    ("rate", "expected"), [(16000, (16000, 640, 320)), (8000, (8000, 320, 160))]
)
def test_sizes(rate, expected):
    settings = kws.prepare_model_settings(rate, 1000, 40, 20, 10)
    assert expected == tuple(
        settings[name]
        for name in ("desired_samples", "window_size_samples", "window_stride_samples")
    )
    assert settings["spectrogram_length"] == 49
    assert settings["fingerprint_width"] == 10
    assert settings["fingerprint_size"] == 490
    assert settings["sample_rate"] == rate


def test_a_clip_shorter_than_a_window_has_no_frames():
    assert kws.prepare_model_settings(16000, 30, 40, 20, 10)["spectrogram_length"] == 0


@pytest.mark.parametrize("place", range(5))
def test_sizes_must_be_positive(place):
    arguments = [16000, 1000, 40, 20, 10]
    arguments[place] = 0
    with pytest.raises(ValueError, match="must be positive"):
        kws.prepare_model_settings(*arguments)


def test_a_window_of_less_than_a_sample_is_refused():
    with pytest.raises(ValueError, match="shorter than a sample"):
        kws.prepare_model_settings(16000, 1000, 40, 0.01, 10)


def test_words_list_leaves_its_argument_alone():
    words = ["a"]
    assert kws.prepare_words_list(words) == ["_silence_", "_unknown_", "a"]
    assert words == ["a"]


@pytest.mark.parametrize(
    ("name", "percent"),
    [
        ("yes/bobby_nohash_0.wav", 94.174787),
        ("no/bobby_nohash_1.wav", 94.174787),
        ("0a7c2a8d_nohash_0.wav", 56.836387),
        ("004ae714_nohash_0.wav", 79.574893),
        ("00b01445_nohash_1.wav", 93.060232),
        ("george_nohash_3.wav", 74.180551),
        ("hello.wav", 11.655343),
    ],
)
def test_the_split_depends_on_the_speaker(name, percent):
    near = 1e-6
    assert kws.which_set(name, percent + near, 0) == "validation"
    assert kws.which_set(name, percent - near, 2 * near) == "testing"
    assert kws.which_set(name, percent - 1, 1 - near) == "training"


def test_hello_is_for_testing():
    assert kws.which_set("hello.wav", 10, 10) == "testing"


def test_the_index_holds_every_wanted_recording_once(words):
    found = processor(words)
    assert found.words_list == ["_silence_", "_unknown_", "yes", "no"]
    assert found.word_to_index == {"_silence_": 0, "yes": 2, "no": 3, "cat": 1, "dog": 1}
    wanted = 0
    for part, entries in found.data_index.items():
        labels = [entry["label"] for entry in entries]
        count = labels.count("yes") + labels.count("no")
        wanted += count
        assert labels.count("_silence_") == np.ceil(count * 0.1)
        assert labels.count("cat") + labels.count("dog") == np.ceil(count * 0.3)
        for entry in entries:
            if entry["label"] != "_silence_":
                assert kws.which_set(entry["file"], 20, 20) == part
    assert wanted == 40


def test_the_index_is_the_same_every_time_and_leaves_global_random_alone(words):
    import random

    random.seed(5)
    expected = random.random()
    random.seed(5)
    assert processor(words, seed=1).data_index == processor(words, seed=2).data_index
    assert random.random() == expected


def test_missing_words_and_recordings_are_named(words, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'maybe'.*cat, dog, no, yes"):
        processor(words, wanted_words=["yes", "maybe"])
    with pytest.raises(FileNotFoundError, match="no recordings"):
        processor(tmp_path)
    with pytest.raises(ValueError, match=r"silence_percentage is 10.*wanted_words"):
        processor(words, wanted_words=[])
    (tmp_path / kws.BACKGROUND_NOISE_DIR_NAME).mkdir()
    write_wav(tmp_path / "yes" / "a.wav", tone(300))
    with pytest.raises(FileNotFoundError, match="of noise"):
        processor(tmp_path, wanted_words=["yes"], validation_percentage=0, testing_percentage=0)


def test_samples_in_order_have_the_features_of_their_files(words):
    found = processor(words)
    features, labels = found.get_data(-1, 3, 0, 0, 0, "validation")
    entries = found.data_index["validation"][3:]
    assert features.shape == (len(entries), 490)
    assert features.dtype == np.float32
    assert labels.dtype == np.int64
    for row, label, entry in zip(features, labels, entries, strict=True):
        assert label == found.word_to_index[entry["label"]]
        if label:
            expected = found.get_features_for_wav(entry["file"])
            assert expected.shape == (49, 10, 1)
            np.testing.assert_array_equal(row, expected.ravel())
    assert 0 in labels


def test_how_many_and_offset_are_cut_at_the_end(words):
    found = processor(words)
    count = len(found.data_index["testing"])
    for how_many, offset, expected in [
        (5, 0, 5),
        (99, 2, count - 2),
        (5, 99, 0),
        (-1, 99, 0),
        (-3, 0, 0),
    ]:
        features, labels = found.get_data(how_many, offset, 0, 0, 0, "testing")
        assert len(features) == len(labels) == expected


def test_training_samples_are_drawn_and_varied_by_the_seed(words):
    first = processor(words, seed=3).get_data(20, 0, 0.8, 0.1, 800, "training")
    again = processor(words, seed=3).get_data(20, 0, 0.8, 0.1, 800, "training")
    other = processor(words, seed=4).get_data(20, 0, 0.8, 0.1, 800, "training")
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_silence_without_noise_is_all_zeros(tmp_path):
    folder = folder_of_words(tmp_path, words=("yes",), speakers=10, noise=False)
    found = processor(folder, wanted_words=["yes"], unknown_percentage=0)
    features, labels = found.get_data(-1, 0, 1, 1, 0, "training")
    silent = features[labels == 0].reshape(-1, 49, 10)
    assert len(silent)
    np.testing.assert_array_equal(
        silent, np.broadcast_to(mfcc(np.zeros(8000), found.model_settings), silent.shape)
    )


def test_shifts_are_whole_samples_and_may_exceed_the_clip(words):
    found = processor(words)
    found.background_data = []
    file = found.data_index["training"][0]["file"]
    assert found.get_augmented_data_for_wav(file, 0, 0, 20000, 30).shape == (30, 490)
    clip = found._clip(file)
    shifted = {found._varied(clip, 0, 0, 2).tobytes() for _ in range(50)}
    expected = [np.roll(np.pad(clip, 2), k)[2:-2] for k in (-2, -1, 0, 1)]
    assert shifted == {x.astype(np.float32).tobytes() for x in expected}


def test_a_processor_without_data_still_reads_files(tmp_path):
    write_wav(tmp_path / "a.wav", tone(440))
    found = kws.AudioProcessor(*SIZES, seed=0)
    clip = np.pad(read_wav(tmp_path / "a.wav")[0], (0, 4000))
    expected = mfcc(clip, found.model_settings)
    np.testing.assert_array_equal(found.get_features_for_wav(tmp_path / "a.wav")[..., 0], expected)
    varied = found.get_augmented_data_for_wav(tmp_path / "a.wav", 1, 1, 0, 2)
    np.testing.assert_array_equal(varied, np.tile(expected.ravel(), (2, 1)))
    with pytest.raises(RuntimeError, match="no data_dir"):
        found.get_data(1, 0, 0, 0, 0, "training")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0, 0, 0, 0, "holdout"), "mode is 'holdout'"),
        ((1, -1, 0, 0, 0, "training"), "offset is -1"),
        ((1, 0, 2, 0, 0, "training"), "background_frequency is 2"),
        ((1, 0, 0, -1, 0, "training"), "background_volume_range is -1"),
        ((1, 0, 0, 0, -5, "training"), "time_shift is -5"),
    ],
)
def test_bad_requests_are_refused(words, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(words).get_data(*arguments)


def test_noise_must_be_longer_than_a_clip(tmp_path):
    folder = folder_of_words(tmp_path, words=("yes",), speakers=10, noise=False)
    write_wav(folder / kws.BACKGROUND_NOISE_DIR_NAME / "short.wav", tone(100, 0.9))
    found = processor(folder, wanted_words=["yes"], unknown_percentage=0)
    with pytest.raises(ValueError, match=r"7200 samples.*longer than a clip of 8000"):
        found.get_data(10, 0, 1, 1, 0, "training")


def test_bad_recordings_are_refused(tmp_path):
    write_wav(tmp_path / "fast.wav", tone(300), rate=16000)
    with pytest.raises(ValueError, match=r"16000 samples per second, but 8000.*Resample"):
        read_wav(tmp_path / "fast.wav", 8000)
    write_wav(tmp_path / "wide.wav", tone(300), channels=2)
    with pytest.raises(ValueError, match="2 channels of 16 bits"):
        read_wav(tmp_path / "wide.wav")
    (tmp_path / "no.wav").write_bytes(b"RIFF\0\0")
    with pytest.raises(ValueError, match=r"no .wav file"):
        read_wav(tmp_path / "no.wav")
    with pytest.raises(ValueError, match=r"no \.wav file"):
        read_wav(b"")
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "absent.wav")


def test_a_recording_that_ends_early_gives_what_it_has(tmp_path):
    write_wav(tmp_path / "a.wav", tone(300))
    whole = (tmp_path / "a.wav").read_bytes()
    samples, rate = read_wav(whole[:-1001])
    assert (len(samples), rate) == (3499, RATE)
    assert len(read_wav(whole, max_samples=10)[0]) == 10


def archive_with(path, name, content=b"x"):
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return path


def test_an_archive_is_unpacked_once(tmp_path):
    source = archive_with(tmp_path / "words.tar.gz", "yes/a.wav")
    folder = tmp_path / "data"
    fetch = kws.AudioProcessor.maybe_download_and_extract_dataset
    fetch(source.as_uri(), folder)
    assert (folder / "yes" / "a.wav").read_bytes() == b"x"
    source.unlink()
    (folder / "yes" / "a.wav").unlink()
    fetch(source.as_uri(), folder)
    assert not (folder / "yes" / "a.wav").exists()
    fetch("", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_archives_that_do_harm_or_cannot_be_had_are_refused(tmp_path, monkeypatch):
    fetch = kws.AudioProcessor.maybe_download_and_extract_dataset
    evil = archive_with(tmp_path / "evil.tar.gz", "../outside.txt")
    with pytest.raises(RuntimeError, match="could not be unpacked"):
        fetch(evil.as_uri(), tmp_path / "data")
    assert not (tmp_path / "outside.txt").exists()
    good = archive_with(tmp_path / "good.tar.gz", "a/b.wav")
    with pytest.raises(RuntimeError, match=r"SHA-256.*by hand"):
        fetch(good.as_uri(), tmp_path / "data2", sha256="0" * 64)
    assert not list((tmp_path / "data2").iterdir())
    with pytest.raises(RuntimeError, match="scheme 'http'"):
        fetch("http://example.org/x.tar.gz", tmp_path / "data3")
    (tmp_path / "data4").mkdir()
    (tmp_path / "data4" / "bad.tar.gz").write_bytes(b"no archive")
    with pytest.raises(RuntimeError, match="Delete it"):
        fetch("https://example.org/bad.tar.gz", tmp_path / "data4")
    (tmp_path / "data4" / "good.tar.gz").write_bytes(good.read_bytes())
    with pytest.raises(RuntimeError, match=r"good\.tar\.gz has the SHA-256 .* Delete it"):
        fetch(good.as_uri(), tmp_path / "data4", sha256="0" * 64)
    assert not (tmp_path / "data4" / "a").exists()
    fetch(good.as_uri(), tmp_path / "data4", hashlib.sha256(good.read_bytes()).hexdigest())
    assert (tmp_path / "data4" / "a" / "b.wav").exists()
    monkeypatch.setenv("KERASNSOC_OFFLINE", "1")
    with pytest.raises(RuntimeError, match=r"KERASNSOC_OFFLINE.*data5/good\.tar\.gz"):
        fetch(good.as_uri(), tmp_path / "data5")


@pytest.mark.parametrize("count", [0, 41])
def test_a_window_has_so_many_coefficients(count):
    with pytest.raises(ValueError, match=f"feature_bin_count is {count}, .* 1 to 40"):
        kws.AudioProcessor(RATE, 1000, 40, 20, count)
