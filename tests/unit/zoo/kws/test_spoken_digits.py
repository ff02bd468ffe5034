"""The data set of spoken digits, its varied copies, and words in a stream."""

import zipfile

import numpy as np
import pytest

from kerasnsoc.runtime import FullyConnected, InputData, Model
from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.spoken_digits import (
    SpokenDigits,
    features_of,
    invented_words,
    load_spoken_digits,
    prepared,
    varied_features,
)
from kerasnsoc.zoo.kws.stream import WordSpotter
from tests.unit.zoo.kws.sounds import RATE, tone, write_wav


@pytest.fixture
def folder(tmp_path):
    for digit, speaker, take in [(3, "ann", 0), (3, "ann", 4), (3, "bob", 5), (7, "bob", 11)]:
        write_wav(tmp_path / "recordings" / f"{digit}_{speaker}_{take}.wav", tone(200 + take, 0.3))
    write_wav(tmp_path / "recordings" / "hello.wav", tone(100))
    return tmp_path


@pytest.mark.parametrize("is_zip", [False, True])
def test_recordings_carry_their_names(folder, is_zip):
    path = folder
    if is_zip:
        path = folder / "digits.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in (folder / "recordings").iterdir():
                archive.write(file, f"repository/recordings/{file.name}")
    digits = load_spoken_digits(path)
    assert digits.labels.tolist() == [3, 3, 3, 7]
    assert digits.speakers.tolist() == ["ann", "ann", "bob", "bob"]
    assert digits.is_test.tolist() == [True, True, False, False]
    assert [len(sound) for sound in digits.sounds] == [2400] * 4


def test_absent_and_damaged_recordings_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"<digit>_<speaker>_<take>"):
        load_spoken_digits(tmp_path)
    (tmp_path / "3_ann_0.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"3_ann_0\.wav.*no \.wav file"):
        load_spoken_digits(tmp_path)


def test_clips_are_equally_loud_and_their_noise_is_always_the_same():
    sound = tone(440, 0.3).astype(np.float32)
    loud, soft = prepared(sound), prepared(0.01 * sound)
    assert loud.shape == (RATE,)
    # two roundings of the same ratio
    np.testing.assert_allclose(loud, soft, rtol=0, atol=1e-6)
    silence = prepared(np.zeros(0))
    np.testing.assert_array_equal(loud[2400:], silence[2400:])
    assert silence.std() == pytest.approx(0.01, rel=0.03)
    assert np.abs(silence).max() <= 0.01 * 3**0.5 + 1e-9
    # the first value of SplitMix64 from 0, as published with it
    expected = (0xE220A8397B1DCDAF / 2**63 - 1) * 3**0.5
    assert silence[0] / 0.01 == pytest.approx(expected, abs=1e-5)


def test_copies_differ_and_repeat():
    sounds = [tone(300, 0.4).astype(np.float32), tone(500, 1.2).astype(np.float32)]
    found = varied_features(sounds, 3, seed=4)
    assert found.shape == (6, 49, 10)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[:2], features_of(sounds))
    np.testing.assert_array_equal(found, varied_features(sounds, 3, seed=4))
    assert len({copy.tobytes() for copy in found}) == 6
    assert np.isfinite(varied_features([np.zeros(1, np.float32)], 2)).all()


def spotter(**options):
    model = Model()
    model.add(InputData(49, 10, 1, input_bits=8))  # the width of a layer is our first axis
    model.add(FullyConnected(2, "words", activations_enabled=False))
    scaler = FeatureScaler(np.full(10, -50.0), np.full(10, 50.0))
    return WordSpotter(model, scaler, ["off", "on"], **options)


def stream(words, pause=0.5):
    rng = np.random.default_rng(0)
    parts = [np.zeros(int(pause * RATE))]
    for seconds in words:
        parts += [tone(300, seconds), np.zeros(int(pause * RATE))]
    whole = np.concatenate(parts)
    return (whole + rng.normal(0, 1e-3, len(whole))).astype(np.float32)


@pytest.mark.parametrize("chunk", [37, 800, 100_000])
def test_words_are_found_where_they_are_whatever_the_chunks(chunk):
    samples, one = stream([0.3, 0.5]), spotter()
    words = []
    for start in range(0, len(samples), chunk):
        words += one.push(samples[start : start + chunk])
    words += one.finish()
    assert len(words) == 2
    # windows of 20 ms, and 60 ms in front
    for word, start, end in zip(words, (0.5, 1.3), (0.8, 1.8), strict=True):
        assert start - 0.09 < word.start_s < start
        assert end - 0.03 < word.end_s < end + 0.05
        assert word.label in ("off", "on")
        assert 0 < word.probability <= 1
        assert word.image.shape == (49, 10, 1)


def test_silence_and_clicks_are_no_words_and_a_long_sound_is_cut():
    assert spotter().push(stream([])) == []
    click = stream([0.02])
    assert spotter().push(click) == []
    one = spotter()
    words = one.push(stream([2.5])) + one.finish()
    assert len(words) >= 2
    assert all(word.end_s - word.start_s < 1.5 for word in words)


def test_a_word_at_the_end_is_told_when_the_stream_ends():
    samples, one = stream([0.3], pause=0.4), spotter()
    assert one.push(samples[: int(0.69 * RATE)]) == []
    (word,) = one.finish()
    assert word.end_s <= 0.71
    assert spotter().finish() == []


def test_bad_streams_are_refused():
    with pytest.raises(ValueError, match="int16"):
        spotter().push(np.zeros(5, np.int16))
    with pytest.raises(ValueError, match="not finite"):
        spotter().push(np.full(5, np.nan))
    with pytest.raises(ValueError, match="threshold_db is 0"):
        spotter(threshold_db=0)
    with pytest.raises(ValueError, match="2 classes, but 1 labels"):
        WordSpotter(spotter()._model, spotter()._scaler, ["on"])


def test_invented_words_are_backwards_or_of_two_halves():
    rng = np.random.default_rng(0)
    sounds = tuple(rng.uniform(-1, 1, 100 + 10 * k).astype(np.float32) for k in range(12))
    digits = SpokenDigits(
        sounds,
        np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
        np.array(["ann", "bob"] * 6),
        np.zeros(12, bool),
    )
    chosen = np.arange(10)  # five words
    found, labels, names = invented_words(digits, chosen, seed=1)
    assert names[:5] == ("zero", "one", "two", "three", "four")
    assert names[5] == "zero backwards"
    assert names[10:12] == ("zero-one", "zero-three")
    assert len(names) == 20
    assert np.bincount(labels).tolist() == [2] * 20
    assert len(found) == 40
    np.testing.assert_array_equal(found[10], sounds[0][::-1])
    spliced = found[20]  # by ann, from zero to one
    np.testing.assert_array_equal(spliced, np.concatenate([sounds[0][:50], sounds[2][60:]]))
    again, _, _ = invented_words(digits, chosen, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
