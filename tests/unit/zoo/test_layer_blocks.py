import keras
import pytest

from kerasnsoc.zoo.layer_blocks import conv_block, dense_block, separable_conv_block

pytestmark = pytest.mark.keras


def chain(block, *args, shape=(8, 8, 3), **kwargs):
    """Layers that the block appends, without the input."""
    image = keras.Input(shape)
    model = keras.Model(image, block(image, *args, **kwargs))
    return model.layers[1:]


@pytest.mark.parametrize("block", [conv_block, separable_conv_block])
@pytest.mark.parametrize(
    ("pooling", "suffix", "shape"),
    [
        ("max", "_maxpool", (None, 4, 4, 5)),
        ("avg", "_avgpool", (None, 4, 4, 5)),
        ("global_avg", "_global_avg", (None, 5)),
        ("global_max", "_global_max", (None, 5)),
    ],
)
def test_order_and_names(block, pooling, suffix, shape):
    layers = chain(block, 5, 3, pooling=pooling, add_batchnorm=True, padding="same", name="c")
    assert [layer.name for layer in layers] == ["c", f"c{suffix}", "c_BN", "c_relu"]
    assert layers[-1].output.shape == shape
    assert layers[-1].max_value == 6.0


def test_companions_are_optional():
    assert [type(x).__name__ for x in chain(conv_block, 5, 3)] == ["Conv2D", "ReLU"]
    only = chain(separable_conv_block, 5, 3, add_activation=False)
    assert [type(x).__name__ for x in only] == ["SeparableConv2D"]


def test_names_follow_a_generated_one():
    first, _, norm, relu = chain(conv_block, 5, 3, pooling="max", add_batchnorm=True)
    assert norm.name == f"{first.name}_BN"
    assert relu.name == f"{first.name}_relu"


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_pooling_pads_as_the_convolution_and_steps_by_its_size(padding):
    pool = chain(conv_block, 5, 3, pooling="max", pool_size=3, padding=padding)[1]
    assert (pool.padding, tuple(pool.pool_size), tuple(pool.strides)) == (padding, (3, 3), (3, 3))


def test_dense():
    layers = chain(dense_block, 4, shape=(6,), add_batchnorm=True, name="d", use_bias=False)
    assert [layer.name for layer in layers] == ["d", "d_BN", "d_relu"]
    assert not layers[0].use_bias


@pytest.mark.parametrize(
    ("block", "name"),
    [
        (conv_block, "kernel_regularizer"),
        (separable_conv_block, "pointwise_regularizer"),
        (dense_block, "kernel_regularizer"),
    ],
)
def test_the_regularizer_has_a_second_name(block, name):
    args = (4,) if block is dense_block else (4, 3)
    layer = chain(block, *args, weight_regularizer="l2")[0]
    assert isinstance(getattr(layer, name), keras.regularizers.L2)
    with pytest.raises(ValueError, match=f"weight_regularizer and {name}"):
        chain(block, *args, weight_regularizer="l2", **{name: "l2"})


@pytest.mark.parametrize("block", [conv_block, separable_conv_block, dense_block])
@pytest.mark.parametrize("activation", ["relu", "linear", keras.activations.tanh])
def test_activations_are_refused(block, activation):
    args = (4,) if block is dense_block else (4, 3)
    with pytest.raises(ValueError, match=rf"{block.__name__} takes no activation"):
        chain(block, *args, activation=activation)
    assert chain(block, *args, activation=None)


@pytest.mark.parametrize("block", [conv_block, separable_conv_block])
def test_dilation_and_unknown_poolings_are_refused(block):
    for rate in (2, (1, 2)):
        with pytest.raises(ValueError, match=rf"{block.__name__} takes no dilation_rate"):
            chain(block, 4, 3, dilation_rate=rate)
    for rate in (1, (1, 1), [1, 1]):
        assert chain(block, 4, 3, dilation_rate=rate)
    with pytest.raises(ValueError, match=r"pooling='sum'.*'global_avg'"):
        chain(block, 4, 3, pooling="sum")


def test_depth_multipliers_are_refused_and_strides_are_not():
    with pytest.raises(ValueError, match="depth_multiplier"):
        chain(separable_conv_block, 4, 3, depth_multiplier=2)
    assert chain(separable_conv_block, 4, 3, strides=2)[0].strides == (2, 2)
