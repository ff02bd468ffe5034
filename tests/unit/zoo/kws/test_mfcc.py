"""The features of sound, their vectors, and their equality with TensorFlow's operations."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnsoc.zoo.kws.mfcc import mfcc
from kerasnsoc.zoo.kws.settings import prepare_model_settings

SETTINGS = prepare_model_settings(16000, 1000, 40, 20, 10)


def test_a_tone_has_the_published_coefficients():
    t = np.arange(16000) / 16000
    coefficients = mfcc(0.5 * np.sin(2 * np.pi * 440 * t), SETTINGS)
    expected = [
        -43.9681,
        19.6742,
        -2.0446,
        -6.2678,
        -7.8949,
        -4.8383,
        -1.3724,
        2.0448,
        3.2243,
        2.7782,
    ]
    assert coefficients.shape == (49, 10)
    assert coefficients.dtype == np.float32
    # the vector is stated with four decimals for a tone of unknown rounding
    np.testing.assert_allclose(coefficients[0], expected, rtol=0, atol=2e-3)


def test_an_impulse_has_the_published_coefficients():
    samples = np.zeros(16000)
    samples[8000] = 1
    expected = [
        15.0623,
        -3.3178,
        -0.0014,
        -0.3689,
        -0.0015,
        -0.1329,
        -0.0014,
        -0.0682,
        -0.0015,
        -0.0417,
    ]
    np.testing.assert_allclose(mfcc(samples, SETTINGS)[24], expected, rtol=0, atol=1e-3)


def test_silence_is_the_floor():
    coefficients = mfcc(np.zeros(16000), SETTINGS)
    np.testing.assert_allclose(coefficients[:, 0], -247.1394, rtol=0, atol=1e-3)
    np.testing.assert_allclose(coefficients[:, 1:], 0, atol=1e-9)  # cancellation of 40 equal terms


@pytest.mark.keras
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.sampled_from([8000, 11025, 16000, 44100]),
    window_ms=st.sampled_from([25, 32, 40]),
    count=st.integers(1, 40),
    decibels=st.integers(-80, 0),
)
def test_tensorflow_computes_the_same(seed, rate, window_ms, count, decibels):
    tf = pytest.importorskip("tensorflow")
    settings = prepare_model_settings(rate, 200, window_ms, 20, count)
    rng = np.random.default_rng(seed)
    t = np.arange(settings["desired_samples"]) / rate
    samples = rng.normal(size=len(t)) * 0.1 + np.sin(t * rng.uniform(200, 12000))
    samples = np.clip(samples * 10 ** (decibels / 20), -1, 1).astype(np.float32)
    spectrogram = tf.raw_ops.AudioSpectrogram(
        input=samples[:, None],
        window_size=settings["window_size_samples"],
        stride=settings["window_stride_samples"],
        magnitude_squared=True,
    )
    expected = tf.raw_ops.Mfcc(
        spectrogram=spectrogram, sample_rate=rate, dct_coefficient_count=count
    )[0].numpy()
    found = mfcc(samples, settings)
    assert found.shape == expected.shape
    # two Fourier transforms of double precision, each rounded to float32 twice
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_sounds_of_a_batch_do_not_touch_each_other():
    sounds = np.random.default_rng(0).uniform(-1, 1, (2, 3, 3000))
    found = mfcc(sounds, SETTINGS)
    assert found.shape == (2, 3, 8, 10)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(found[place], mfcc(sounds[place], SETTINGS))


def test_a_short_sound_has_no_frames():
    assert mfcc(np.zeros(639), SETTINGS).shape == (0, 10)
    assert mfcc(np.zeros(640), SETTINGS).shape == (1, 10)


def test_bad_sounds_are_refused():
    with pytest.raises(TypeError, match=r"int16.*Divide.*32768"):
        mfcc(np.zeros(16000, np.int16), SETTINGS)
    with pytest.raises(ValueError, match="not finite"):
        mfcc(np.full(16000, np.nan), SETTINGS)
    with pytest.raises(ValueError, match="single number"):
        mfcc(np.float32(1), SETTINGS)
    with pytest.raises(ValueError, match=r"41 coefficients.*1 to 40"):
        mfcc(np.zeros(16000), {**SETTINGS, "fingerprint_width": 41})
    with pytest.raises(ValueError, match="sample rate of at least 8000 Hz"):
        mfcc(np.zeros(4000), prepare_model_settings(4000, 1000, 40, 20, 10))


def test_the_features_need_neither_keras_nor_tensorflow():
    code = """
import sys
import kerasnsoc.zoo.kws as kws
from kerasnsoc.zoo.kws.mfcc import mfcc
kws.FeatureScaler, kws.prepare_model_settings, kws.read_wav
assert not {"keras", "tensorflow"} & set(sys.modules)
"""
    subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, env=os.environ.copy(), timeout=60
    )
