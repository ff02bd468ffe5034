"""A pooling may have another padding than its convolution where that makes no difference."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers as kl

from kerasnsoc import check_model_compatibility, compare, convert, quantize

pytestmark = pytest.mark.keras


def network(*block, side=8, height=None):
    """An image through one block, then a convolution and a global pooling that hide its size."""
    model = keras.Sequential(
        [
            keras.Input((height or side, side, 1)),
            kl.Conv2D(3, 3, padding="same", name="first"),
            kl.ReLU(),
            *block,
            kl.Conv2D(2, 1, name="after"),
            kl.GlobalAveragePooling2D(),
            kl.ReLU(),
            kl.Dense(2),
        ]
    )
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0.1, 0.4, w.shape) for w in model.get_weights()])
    return quantize(model, 4, 4, 8)


def plain(padding, pooling):
    return [kl.Conv2D(4, 3, padding=padding, name="conv"), pooling, kl.ReLU()]


def pair(depthwise, pointwise, pooling):
    first = kl.DepthwiseConv2D(3, padding=depthwise, use_bias=False, name="wide")
    return [first, kl.Conv2D(3, 1, padding=pointwise, name="point"), pooling, kl.ReLU()]


def assert_exact(model):
    assert check_model_compatibility(model, report=True) == []
    images = np.random.default_rng(1).integers(0, 256, (4, *model.input_shape[1:]), np.uint8)
    assert compare(model, convert(model, input_scaling=(255, 0)), images).differing == 0


@pytest.mark.parametrize(
    ("conv", "pool", "size", "stride", "side"),
    [
        ("same", "valid", 2, 2, 8),
        ("same", "valid", 4, 4, 8),
        ("same", "valid", 3, 1, None),  # never the same
        ("same", "valid", 2, 2, 9),
        ("same", "valid", 3, 2, 9),
        ("valid", "same", 2, 2, 8),  # the map has 6 rows
        ("valid", "same", 3, 3, 8),
        ("valid", "same", 4, 4, 8),
        ("same", "valid", 1, 2, 9),
    ],
)
def test_another_padding_is_taken_where_the_windows_fill_the_map(conv, pool, size, stride, side):
    side = side or 8
    length = side if conv == "same" else side - 2
    pooling = kl.MaxPooling2D(size, stride, padding=pool, name="pool")
    model = network(*plain(conv, pooling), side=side)
    # all outputs look at the same cells: there are as many, and the last window ends in the map
    fills = -(-length // stride) == (length - size) // stride + 1
    if fills:
        assert_exact(model)
    else:
        words = rf"pool: its padding is '{pool}'.*'conv' is '{conv}'.*map of \({length}, {length}\)"
        with pytest.raises(RuntimeError, match=words):
            convert(model, input_scaling=(255, 0))


def test_both_axes_must_fill_the_map():
    pooling = kl.MaxPooling2D((4, 2), padding="valid", name="pool")
    assert_exact(network(*plain("same", pooling), side=6, height=8))
    pooling = kl.MaxPooling2D((4, 2), padding="valid", name="pool")
    with pytest.raises(RuntimeError, match=r"map of \(6, 6\)"):
        convert(network(*plain("same", pooling), side=6))


@pytest.mark.parametrize("after", [False, True], ids=["in front of", "behind"])
def test_the_place_of_the_activation_does_not_matter(after):
    conv, pooling, relu = plain("same", kl.MaxPooling2D(2, name="pool"))
    assert_exact(network(conv, *((relu, pooling) if after else (pooling, relu))))


@pytest.mark.parametrize(
    ("depthwise", "pointwise", "pool"), list(itertools.product(("same", "valid"), repeat=3))
)
def test_in_a_pair_the_depthwise_convolution_decides(depthwise, pointwise, pool):
    """Its windows are those of the layer that both become; a 1x1 kernel pads nothing."""
    pooling = kl.MaxPooling2D(2, padding=pool, name="pool")
    model = network(*pair(depthwise, pointwise, pooling), side=9)
    if depthwise == pool:
        assert_exact(model)
    else:
        with pytest.raises(RuntimeError, match=f"pool: .*'wide' is '{depthwise}'"):
            convert(model, input_scaling=(255, 0))
