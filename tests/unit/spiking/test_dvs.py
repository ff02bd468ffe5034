"""Cropping, mirroring and the sensor layer against NumPy; merging."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.layers import Crop2D, DVSInput, FlipDims, Merge  # noqa: E402
from kerasnsoc.nsoc.core_graph import DvsLayer  # noqa: E402
from kerasnsoc.nsoc.sensor import preprocess  # noqa: E402
from tests.layer_test import check_layer  # noqa: E402

pytestmark = pytest.mark.keras


def run(layer, x):
    return keras.ops.convert_to_numpy(layer(x))


@pytest.mark.parametrize(
    ("cls", "kwargs", "output"),
    [
        (Crop2D, {"crop": ((1, 4), (0, 5))}, (3, 5, 2)),
        (FlipDims, {"flip_x": True, "swap_xy": True}, (6, 4, 2)),
        (
            DVSInput,
            {"merge_polarities": True, "pool_size": (2, 3), "crop": ((0, 2), (1, 2))},
            (2, 1, 1),
        ),
    ],
)
def test_layers_keep_the_rules_of_all_layers(cls, kwargs, output, tmp_path):
    check_layer(cls, kwargs, (4, 6, 2), output_shape=output, tmp_path=tmp_path)


def test_the_sensor_layer_computes_what_the_chip_does():
    x = np.random.default_rng(0).poisson(2.0, (3, 9, 11, 2))
    for flags in range(8):
        flips = {"flip_x": bool(flags & 1), "flip_y": bool(flags & 2), "swap_xy": bool(flags & 4)}
        crop = ((1, 4), (0, 3))
        layer = DVSInput(True, (2, 3), crop, **flips)
        chip = DvsLayer((9, 11), merge=True, pool=(2, 3), crop=crop, **flips)
        expected = preprocess(chip, x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
        assert_array_equal(run(layer, x.astype("float32")), expected)
        assert layer.compute_output_shape(x.shape) == expected.shape


def test_layers_take_a_time_axis():
    x = np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(1, 2, 3, 4, 5)
    assert_array_equal(run(Crop2D(((1, 3), (2, 4))), x), x[:, :, 1:3, 2:4])
    assert_array_equal(run(FlipDims(flip_y=True), x), x[:, :, ::-1])


def test_merge_adds_and_survives_its_configuration():
    layer = Merge.from_config(Merge().get_config())
    x = np.ones((2, 3), "float32")
    assert_array_equal(run(layer, [x, 2 * x, 3 * x]), 6 * x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Crop2D(((2, 2), (0, 1))), r"crop of layer .* is \(\(2, 2\), \(0, 1\)\), but"),
        (lambda: Crop2D(3), "crop of layer .* is 3"),
        (lambda: Crop2D(((0, True), (0, 1))), "the rows and columns to keep"),
        (lambda: FlipDims(flip_x=1), "flip_x of layer .* is 1, but it must be True or False"),
        (lambda: DVSInput(pool_size=0), "pool_size of layer .* is 0"),
        (lambda: DVSInput()(np.ones((1, 2, 2, 3), "f4")), "takes 1 or 2 channels"),
        (lambda: DVSInput(pool_size=3)(np.ones((1, 2, 4, 1), "f4")), "into the 2 rows"),
        (lambda: DVSInput(crop=((0, 3), (0, 1)))(np.ones((1, 2, 4, 1), "f4")), "only 2 rows"),
        (lambda: Crop2D(((0, 3), (0, 1)))(np.ones((1, 2, 4, 1), "f4")), "has only 2 rows"),
        (lambda: Crop2D(((0, 1), (0, 1)))(np.ones((1, 2, 4), "f4")), "needs a batch and"),
        (lambda: Merge()([np.ones((1, 2), "f4")]), "adds two or more"),
        (lambda: Merge()([np.ones((1, 2), "f4"), np.ones((1, 3), "f4")]), "of equal shape"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
