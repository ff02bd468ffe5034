"""Sum pooling against a plain loop."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.spiking.layers import SumPooling2D  # noqa: E402
from tests.layer_test import check_layer  # noqa: E402
from tests.unit.spiking.helpers import gradient, numbers, run  # noqa: E402

pytestmark = pytest.mark.keras


def reference(x, pool, strides, padding):
    """Windows of a (batch, height, width, channels) array, summed one by one."""
    lengths, leads = [], []
    for length, size, stride in zip(x.shape[1:3], pool, strides, strict=True):
        if padding == "same":
            count = -(-length // stride)
            leads.append(max((count - 1) * stride + size - length, 0) // 2)
        else:
            count = (length - size) // stride + 1
            leads.append(0)
        lengths.append(count)
    y = np.zeros((x.shape[0], *lengths, x.shape[3]), x.dtype)
    for i, j in np.ndindex(*lengths):
        top, left = i * strides[0] - leads[0], j * strides[1] - leads[1]
        rows = slice(max(top, 0), top + pool[0])
        columns = slice(max(left, 0), left + pool[1])
        y[:, i, j] = x[:, rows, columns].sum((1, 2))
    return y


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [None, 1, (3, 2), (1, 4)])
@pytest.mark.parametrize("pool", [2, (3, 1), (2, 5)])
def test_sums(pool, strides, padding):
    x = np.random.default_rng(0).integers(-9, 2**20, (2, 7, 9, 3))
    pool_pair = (pool, pool) if isinstance(pool, int) else pool
    stride_pair = (strides, strides) if isinstance(strides, int) else strides or pool_pair
    expected = reference(x, pool_pair, stride_pair, padding)
    layer = SumPooling2D(pool, strides, padding)
    assert_array_equal(numbers(layer(x)), expected)
    assert layer.compute_output_shape(x.shape) == expected.shape
    # Whole numbers below 2**24 are exact in single precision too.
    assert_array_equal(numbers(layer(x.astype("float32"))), expected)
    first = SumPooling2D(pool, strides, padding, data_format="channels_first")
    moved = np.moveaxis(x, 3, 1)
    assert_array_equal(np.moveaxis(numbers(first(moved)), 1, 3), expected)
    assert first.compute_output_shape(moved.shape) == np.moveaxis(expected, 3, 1).shape


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_undefined_sizes(padding):
    layer = SumPooling2D((2, 3), (3, 2), padding)
    model = keras.Sequential([keras.Input((None, None, 2)), layer])
    assert model.output_shape == (None, None, None, 2)
    for shape in ((1, 5, 6, 2), (2, 8, 7, 2)):
        x = np.random.default_rng(0).integers(0, 99, shape).astype("float32")
        expected = reference(x, (2, 3), (3, 2), padding)
        assert_array_equal(model.predict(x, verbose=0), expected)
        assert_array_equal(run(layer, "xla", x), expected)


def test_gradient_is_one_per_window():
    (found,) = gradient(SumPooling2D(2, 1), np.zeros((1, 3, 3, 1), "float32"))
    assert found[0, :, :, 0].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]


def test_layer(tmp_path):
    check_layer(
        SumPooling2D,
        {"pool_size": 2, "strides": (1, 2), "padding": "same"},
        (5, 6, 3),
        output_shape=(5, 3, 3),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool_size": 0}, "pool_size.*positive integer"),
        ({"pool_size": (1, 2, 3)}, "pool_size"),
        ({"pool_size": 2.0}, "pool_size"),
        ({"strides": (1, -1)}, "strides"),
        ({"padding": "full"}, "padding.*'valid' or 'same'"),
        ({"data_format": "nchw"}, "data_format"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        SumPooling2D(**arguments)


def test_windows_that_do_not_fit():
    for shape in ((None, 4, 1, 3), (2, 4, 1, 3)):
        with pytest.raises(ValueError, match=r"\(2, 2\) does not fit.*smaller pool_size"):
            SumPooling2D(2, name="pool").compute_output_shape(shape)
    with pytest.raises(ValueError, match="does not fit"):
        SumPooling2D(2)(np.zeros((1, 4, 1, 3)))
    with pytest.raises(ValueError, match="ndim=4"):
        SumPooling2D(2)(np.zeros((1, 4, 4)))
