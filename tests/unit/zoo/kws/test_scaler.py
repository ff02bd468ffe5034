"""Features of any range become 8-bit integers."""

import numpy as np
import pytest

from kerasnsoc.zoo.kws.scaler import FeatureScaler

FEATURES = np.array([[-10.0, 0, 3], [10, 255, 3], [0, 1, 3]])


def test_each_coefficient_has_its_range():
    scaler = FeatureScaler.fit(FEATURES)
    # 127.5 becomes 128: half to even
    expected = [[0, 0, 0], [255, 255, 0], [128, 1, 0]]
    np.testing.assert_array_equal(scaler.transform(FEATURES), expected)
    assert scaler.transform(FEATURES).dtype == np.uint8
    np.testing.assert_array_equal(scaler.transform([[-1e9, 1e9, 1e9]]), [[0, 255, 0]])
    np.testing.assert_array_equal(scaler.transform([[-np.inf, np.inf, 0]]), [[0, 255, 0]])


def test_a_channel_axis_behind_the_coefficients_is_fine():
    scaler = FeatureScaler.fit(FEATURES[:, :, None])
    images = np.stack([FEATURES, FEATURES])[..., None]
    found = scaler.transform(images)
    assert found.shape == (2, 3, 3, 1)
    np.testing.assert_array_equal(found[1, ..., 0], scaler.transform(FEATURES))


def test_json_gives_the_same_scaler():
    scaler = FeatureScaler.fit(np.random.default_rng(0).normal(size=(50, 10)).astype("f4"))
    again = FeatureScaler.from_json(scaler.to_json())
    assert again == scaler
    assert again != FeatureScaler.fit(FEATURES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no scaler"),
        ('{"minimum": [0]}', "no scaler"),
        ('{"minimum": [0], "maximum": [1, 2]}', "one number per coefficient"),
        ('{"minimum": [1], "maximum": [0]}', "no minimum above"),
        ('{"minimum": [NaN], "maximum": [0]}', "finite"),
        ('{"minimum": {"a": 1}, "maximum": [0]}', "lists of numbers"),
        ("{", "Expecting"),
    ],
)
def test_text_that_is_no_scaler_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        FeatureScaler.from_json(text)


def test_features_that_do_not_fit_are_refused():
    scaler = FeatureScaler.fit(FEATURES)
    with pytest.raises(ValueError, match=r"\(2, 490\).*3 coefficients.*Reshape"):
        scaler.transform(np.zeros((2, 490)))
    with pytest.raises(ValueError, match="NaN"):
        scaler.transform([[np.nan, 0, 0]])
    with pytest.raises(ValueError, match="at least one row"):
        FeatureScaler.fit(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="finite"):
        FeatureScaler.fit([[np.inf, 0], [0, 0]])
