import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from kerasnsoc.quantization import (  # noqa: E402
    MaxPerAxisQuantizer,
    MaxQuantizer,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedReLU,
    QuantizedSeparableConv2D,
    ScaleFactorQuantizer,
    TrainableWeightQuantizer,
    WeightFloat,
    WeightQuantizer,
)
from tests.layer_test import check_layer, randomize  # noqa: E402
from tests.unit.quantization.helpers import numbers  # noqa: E402

pytestmark = pytest.mark.keras

CONV = (QuantizedConv2D, keras.layers.Conv2D, {"filters": 4, "kernel_size": 3}, (7, 6, 3))
DEPTHWISE = (QuantizedDepthwiseConv2D, keras.layers.DepthwiseConv2D, {"kernel_size": 3}, (7, 6, 3))
SEPARABLE = (
    QuantizedSeparableConv2D,
    keras.layers.SeparableConv2D,
    {"filters": 4, "kernel_size": (3, 2)},
    (7, 6, 3),
)
DENSE = (QuantizedDense, keras.layers.Dense, {"units": 4}, (5,))
LAYERS = pytest.mark.parametrize(
    ("cls", "base", "kwargs", "shape"),
    [CONV, DEPTHWISE, SEPARABLE, DENSE],
    ids=["conv", "depthwise", "separable", "dense"],
)
CLASSES = pytest.mark.parametrize(
    ("cls", "kwargs"),
    [(layer[0], layer[2]) for layer in (CONV, DEPTHWISE, SEPARABLE, DENSE)],
    ids=["conv", "depthwise", "separable", "dense"],
)


def kernel_names(cls):
    return (
        ["depthwise_kernel", "pointwise_kernel"] if cls is QuantizedSeparableConv2D else ["kernel"]
    )


# From all sides


@LAYERS
@pytest.mark.parametrize(
    "quantizer",
    [None, WeightQuantizer(2, 4), MaxPerAxisQuantizer(4), ScaleFactorQuantizer(4, 9.5)],
    ids=["float", "std", "axis", "fixed"],
)
def test_as_a_layer(cls, base, kwargs, shape, quantizer, tmp_path):
    variables = [*kernel_names(cls), "bias"]
    kwargs = {**kwargs, "quantizer": quantizer}
    check_layer(cls, kwargs, shape, variables=variables, tmp_path=tmp_path)


@LAYERS
@pytest.mark.parametrize("use_bias", [True, False])
def test_as_a_layer_that_learns_its_scale(cls, base, kwargs, shape, use_bias, tmp_path):
    variables = kernel_names(cls) + ["bias"] * use_bias
    if cls is QuantizedSeparableConv2D:
        variables.append("quantizer_dw/threshold")
    variables.append("quantizer/threshold")
    kwargs = {**kwargs, "quantizer": TrainableWeightQuantizer(1.5, 4), "use_bias": use_bias}
    check_layer(cls, kwargs, shape, variables=variables, tmp_path=tmp_path)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("padding", ["valid", "same"])
@LAYERS
def test_forward_is_the_float_layer_with_quantized_kernels(
    cls, base, kwargs, shape, strides, padding
):
    if cls is not QuantizedDense:
        kwargs = {**kwargs, "strides": strides, "padding": padding}
    layer = cls(**kwargs, quantizer=MaxPerAxisQuantizer(3))
    model = keras.Sequential([keras.Input(shape), layer])
    randomize(model)
    plain = base(**kwargs)
    keras.Sequential([keras.Input(shape), plain])
    kernels = [getattr(layer, name) for name in kernel_names(cls)]
    quantized = [numbers(layer.quantizer.quantize(kernel)) for kernel in kernels]
    assert all(len(np.unique(k)) < k.size for k in quantized if k.size > 30)
    plain.set_weights([*quantized, numbers(layer.bias)])
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("f4")
    assert_array_equal(numbers(layer(x)), numbers(plain(x)))


@LAYERS
def test_jit_compiled_training(cls, base, kwargs, shape):
    model = keras.Sequential(
        [
            keras.Input(shape),
            cls(**kwargs, quantizer=TrainableWeightQuantizer(2, 4)),
            QuantizedReLU(4),
            keras.layers.Flatten(),
            QuantizedDense(2, quantizer=MaxPerAxisQuantizer(4)),
        ]
    )
    model.compile(keras.optimizers.SGD(1e-2), "mse", jit_compile=True)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, *shape)), rng.normal(size=(16, 2))
    losses = model.fit(x, y, epochs=8, batch_size=8, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_dense_contracts_the_last_axis_of_higher_ranks():
    layer = QuantizedDense(4, quantizer=MaxQuantizer(4))
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6)).astype("f4")
    y = numbers(layer(x))
    assert y.shape == (2, 3, 5, 4)
    assert_allclose(y, x @ numbers(layer.quantizer.quantize(layer.kernel)), rtol=1e-5, atol=1e-6)


def test_the_bias_is_not_quantized_and_also_counts_in_a_depthwise_layer():
    for cls, _, kwargs, shape in (CONV, DEPTHWISE, SEPARABLE, DENSE):
        layer = cls(**kwargs, quantizer=MaxQuantizer(2), bias_initializer="ones")
        x = np.zeros((1, *shape), "f4")
        layer.build(x.shape)
        layer.bias.assign(layer.bias * 0.123)
        assert (numbers(layer(x)) == np.float32(0.123)).all()


def test_regularizers_and_constraints_act_on_the_float_kernel():
    layer = QuantizedDense(
        1,
        use_bias=False,
        quantizer=MaxQuantizer(2),
        kernel_regularizer=keras.regularizers.L1(1.0),
        kernel_constraint=keras.constraints.MaxNorm(0.5),
        activity_regularizer=keras.regularizers.L2(1.0),
        kernel_initializer=keras.initializers.Constant(0.25),
    )
    layer(np.ones((1, 2), "f4"))
    assert_allclose(sorted(float(v) for v in layer.losses), [0.25, 0.5])
    layer.kernel.assign(np.float32([[1.0], [0.4]]))
    # Quantized with one level, the kernel would be (1, 0).
    assert_allclose(float(layer.losses[-1]), 1.4, rtol=1e-6)
    kept = numbers(layer.kernel.constraint(layer.kernel))
    assert_allclose(kept, 0.5 * np.float32([[1.0], [0.4]]) / np.hypot(1, 0.4), rtol=1e-5)


# Arguments


@CLASSES
def test_unsupported_arguments_are_refused(cls, kwargs):
    names = {"activation": "relu"}
    if cls is not QuantizedDense:
        names |= {"data_format": "channels_last", "dilation_rate": (1, 1)}
        names |= {"groups": 1} if cls is QuantizedConv2D else {"depth_multiplier": 1}
    for name, value in names.items():
        with pytest.raises(TypeError) as error:
            cls(**kwargs, **{name: value})
        assert error.value.args == ("Unsupported argument in quantized layers", name)
        assert cls.__name__ in error.value.__notes__[0]
        assert name not in cls(**kwargs).get_config()


@CLASSES
@pytest.mark.parametrize("name", ["lora_rank", "quantization_config"])
def test_other_ways_to_change_a_kernel_are_refused(cls, kwargs, name):
    with pytest.raises(TypeError, match=f"Unsupported argument in quantized layers.*{name}"):
        cls(**kwargs, **{name: 4})


@CLASSES
def test_unknown_arguments_and_paddings_are_refused_by_keras(cls, kwargs):
    with pytest.raises(ValueError, match="no_such_argument"):
        cls(**kwargs, no_such_argument=1)
    if cls is not QuantizedDense:
        with pytest.raises(ValueError, match="padding"):
            cls(**kwargs, padding="causal")


def test_positional_order_of_the_arguments():
    quantizer = MaxQuantizer(4)
    regular = [None] * 4
    conv = QuantizedConv2D(2, 3, (2, 2), "same", False, "ones", "zeros", *regular, quantizer)
    assert conv.quantizer is quantizer
    assert (conv.strides, conv.padding, conv.use_bias) == ((2, 2), "same", False)
    assert QuantizedDense(2, False, "ones", "zeros", *regular, quantizer).quantizer is quantizer
    depthwise = QuantizedDepthwiseConv2D(3, 1, "same", True, "ones", "zeros", *regular, quantizer)
    assert depthwise.quantizer is quantizer
    more = ["ones", "ones", "zeros", *[None] * 6]
    other = MaxQuantizer(2)
    separable = QuantizedSeparableConv2D(2, 3, 1, "same", True, *more, quantizer, other)
    assert separable.quantizer is quantizer
    assert separable.quantizer_dw is other


@CLASSES
def test_defaults(cls, kwargs):
    layer = cls(**kwargs)
    assert layer.use_bias
    assert type(layer.quantizer) is WeightFloat
    assert layer.quantizer is not cls(**kwargs).quantizer
    if cls is not QuantizedDense:
        assert (layer.strides, layer.padding) == ((1, 1), "valid")


def test_depthwise_quantizer_defaults_to_a_new_one_of_the_same_kind():
    layer = QuantizedSeparableConv2D(2, 3, quantizer=WeightQuantizer(1.5, 3))
    assert type(layer.quantizer_dw) is WeightQuantizer
    assert layer.quantizer_dw is not layer.quantizer
    assert layer.quantizer_dw.get_config() == layer.quantizer.get_config()
    learning = QuantizedSeparableConv2D(2, 3, quantizer=TrainableWeightQuantizer())
    learning.build((None, 5, 5, 3))
    assert learning.quantizer.threshold is not learning.quantizer_dw.threshold
    assert type(QuantizedSeparableConv2D(2, 3).quantizer_dw) is WeightFloat


@CLASSES
def test_a_wrong_quantizer_is_refused(cls, kwargs):
    for wrong in ("MaxQuantizer", 4, keras.layers.Dense(2)):
        with pytest.raises(ValueError, match="is no weight quantizer"):
            cls(**kwargs, quantizer=wrong)


@CLASSES
def test_the_quantizer_cannot_be_exchanged(cls, kwargs):
    with pytest.raises(AttributeError):
        cls(**kwargs).quantizer = MaxQuantizer()


def test_scale_factors_that_do_not_fit_are_refused_when_the_layer_is_built():
    layer = QuantizedDense(3, quantizer=ScaleFactorQuantizer(4, [1.0, 2.0]))
    with pytest.raises(ValueError, match=r"\(2,\) do not broadcast to weights of shape \(5, 3\)"):
        layer.build((None, 5))


@CLASSES
@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_short_floats_are_refused(cls, kwargs, policy):
    with pytest.raises(ValueError, match=rf"'short' has the dtype policy '{policy}'.*float32"):
        cls(**kwargs, dtype=policy, name="short")


@LAYERS
def test_float64_has_the_integers_of_float32(cls, base, kwargs, shape):
    if keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless told so")
    kwargs = {**kwargs, "quantizer": MaxPerAxisQuantizer(4)}
    layer, wide = cls(**kwargs), cls(**kwargs, dtype="float64")
    model = keras.Sequential([keras.Input(shape), layer])
    randomize(model)
    wide.build((None, *shape))
    wide.set_weights(layer.get_weights())
    for name in kernel_names(cls):
        sf = numbers(wide.quantizer.scale_factor(getattr(wide, name)))
        assert_array_equal(sf, numbers(layer.quantizer.scale_factor(getattr(layer, name))))
        y = numbers(wide.quantizer.quantize(getattr(wide, name)))
        assert y.dtype == np.float64
        q = np.rint(numbers(layer.quantizer.quantize(getattr(layer, name))) * sf)
        assert_array_equal(y, q / sf.astype(np.float64))
    x = np.random.default_rng(0).normal(size=(2, *shape))
    outputs = numbers(wide(x))
    assert outputs.dtype == np.float64
    assert_allclose(outputs, numbers(layer(x)), rtol=1e-4, atol=1e-5)


@CLASSES
def test_channels_are_last_whatever_the_global_setting(cls, kwargs):
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        layer = cls(**kwargs)
    finally:
        keras.config.set_image_data_format(before)
    assert getattr(layer, "data_format", "channels_last") == "channels_last"


# Sharing and saving


def test_layers_that_are_given_one_learning_quantizer_share_its_variable(tmp_path):
    quantizer = TrainableWeightQuantizer(2, 4)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            QuantizedDense(4, quantizer=quantizer),
            QuantizedDense(3, quantizer=quantizer),
        ]
    )
    assert len(model.weights) == 5
    quantizer.threshold.assign(1.25)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    first, second = loaded.layers
    assert first.quantizer is second.quantizer
    assert float(first.quantizer.threshold) == 1.25
    x = np.random.default_rng(0).normal(size=(3, 5)).astype("f4")
    assert_array_equal(numbers(loaded(x)), numbers(model(x)))


def test_layers_with_their_own_learning_quantizers_do_not_share():
    config = QuantizedDense(4, quantizer=TrainableWeightQuantizer()).get_config()
    first, second = (QuantizedDense.from_config({**config, "name": n}) for n in "ab")
    for layer in (first, second):
        layer.build((None, 5))
    first.quantizer.threshold.assign(1.0)
    assert float(second.quantizer.threshold) == 3.0


def test_a_frozen_layer_freezes_its_threshold():
    layer = QuantizedDense(4, quantizer=TrainableWeightQuantizer())
    layer.build((None, 5))
    names = [w.path for w in layer.weights]
    layer.trainable = False
    assert layer.trainable_weights == []
    assert [w.path for w in layer.weights] == names


def test_depthwise_kernel_is_the_kernel():
    layer = QuantizedDepthwiseConv2D(3)
    layer.build((None, 5, 5, 2))
    assert layer.depthwise_kernel is layer.kernel
    assert layer.depthwise_kernel.shape == (3, 3, 2, 1)
