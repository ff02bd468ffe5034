import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

from kerasnsoc.quantization import (  # noqa: E402
    ActivationDiscreteRelu,
    MaxPerAxisQuantizer,
    MaxQuantizer,
    QuantizedActivation,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedReLU,
    QuantizedSeparableConv2D,
    ScaleFactorQuantizer,
    TrainableWeightQuantizer,
    WeightFloat,
    WeightQuantizer,
    create_trainable_quantizer_model,
    integer_weights,
    quantize,
    quantize_layer,
)
from tests.unit.quantization.helpers import (  # noqa: E402
    assert_unchanged,
    chain,
    images,
    numbers,
    snapshot,
)

pytestmark = pytest.mark.keras


def float_model(**options):
    return chain(
        layers.Rescaling(1 / 127.0, name="scale"),
        layers.Conv2D(4, 3, name="conv", strides=1, padding="same", kernel_regularizer="l2"),
        layers.MaxPool2D(name="pool"),
        layers.BatchNormalization(name="norm1"),
        layers.ReLU(6.0, name="relu1"),
        layers.SeparableConv2D(5, 3, name="sep", use_bias=False),
        layers.BatchNormalization(name="norm2"),
        layers.ReLU(name="relu2"),
        layers.GlobalAveragePooling2D(name="gap"),
        layers.Dropout(0.2, name="drop"),
        layers.Flatten(name="flat"),
        layers.Dense(3, name="dense"),
        layers.Softmax(name="soft"),
        shape=(12, 12, 3),
        name="net",
        **options,
    )


def quantized(model, *args, **kwargs):
    """The result, after checking that the source is as before."""
    before = snapshot(model)
    result = quantize(model, *args, **kwargs)
    assert_unchanged(model, before)
    assert result is not model
    assert result.name == model.name
    return result


def summary(model):
    """Class and bits of each layer."""
    found = {}
    for layer in model.layers:
        bits = getattr(layer, "bitwidth", None)
        if hasattr(layer, "quantizer"):
            bits = (type(layer.quantizer), layer.quantizer.bitwidth)
            if hasattr(layer, "quantizer_dw"):
                bits = (type(layer.quantizer_dw), layer.quantizer_dw.bitwidth, *bits)
        found[layer.name] = (type(layer), bits)
    return found


# quantize


def test_a_float_model_is_quantized():
    model = float_model()
    result = quantized(model, 4, 3, 8)
    assert summary(result) == {
        "scale": (layers.Rescaling, None),
        "conv": (QuantizedConv2D, (MaxPerAxisQuantizer, 8)),
        "pool": (layers.MaxPooling2D, None),
        "relu1": (ActivationDiscreteRelu, 3),
        "sep": (QuantizedSeparableConv2D, (MaxQuantizer, 4, MaxPerAxisQuantizer, 4)),
        "relu2": (ActivationDiscreteRelu, 3),
        "gap": (layers.GlobalAveragePooling2D, None),
        "drop": (layers.Dropout, None),
        "flat": (layers.Flatten, None),
        "dense": (QuantizedDense, (MaxPerAxisQuantizer, 4)),
        "soft": (layers.Softmax, None),
    }
    assert isinstance(result, keras.Sequential)
    conv = result.get_layer("conv")
    assert conv.padding == "same"
    assert isinstance(conv.kernel_regularizer, keras.regularizers.L2)
    for name in ("dense",):
        for a, b in zip(
            result.get_layer(name).get_weights(), model.get_layer(name).get_weights(), strict=True
        ):
            assert_array_equal(a, b)


def test_zero_bits_give_the_same_function_in_quantized_layers():
    model = float_model()
    result = quantized(model)
    assert summary(result)["conv"] == (QuantizedConv2D, (WeightFloat, 0))
    assert summary(result)["sep"] == (QuantizedSeparableConv2D, (WeightFloat, 0, WeightFloat, 0))
    assert summary(result)["relu1"] == (layers.ReLU, None)
    assert result.get_layer("relu1").max_value == 6
    x = 100 * images(4, (12, 12, 3))
    # Folded weights are rounded once more, and sums run over other numbers.
    assert_allclose(numbers(result(x)), numbers(model(x)), rtol=1e-4, atol=1e-5)


def test_many_bits_come_close_to_the_float_model():
    model = chain(layers.Conv2D(8, 3), layers.ReLU(6.0), layers.Flatten(), layers.Dense(4))
    x = images(8)
    a, b = numbers(quantize(model, 8, 8)(x)), numbers(model(x))
    assert np.abs(a - b).max() < 0.05 * np.abs(b).max()


def test_input_weight_quantization_is_for_the_first_neural_layer_only():
    model = chain(
        layers.ReLU(),
        layers.Dense(4, name="a"),
        layers.ReLU(),
        layers.Dense(4, name="b"),
        shape=(3,),
    )
    for given, expected in ((None, (4, 4)), (2, (2, 4)), (0, (0, 4))):
        result = quantize(model, 4, 0, given)
        assert tuple(result.get_layer(n).quantizer.bitwidth for n in "ab") == expected


def test_a_functional_model_stays_functional_and_keeps_names():
    inputs = keras.Input((8, 8, 1), batch_size=2, name="picture")
    x = layers.ReLU(name="r")(layers.Conv2D(2, 3, name="c")(inputs))
    model = keras.Model(inputs, layers.Flatten(name="f")(x), name="functional")
    result = quantized(model, 4, 4)
    assert not isinstance(result, keras.Sequential)
    assert [layer.name for layer in result.layers] == ["picture", "c", "r", "f"]
    assert result.input_shape == (2, 8, 8, 1)


def test_branches_that_are_concatenated_are_quantized():
    inputs = keras.Input((8, 8, 3), name="in")
    stem = layers.ReLU(name="r")(layers.Conv2D(4, 3, name="stem")(inputs))
    left = layers.ReLU(name="lr")(layers.BatchNormalization()(layers.Conv2D(2, 1, name="l")(stem)))
    right = layers.ReLU(name="rr")(layers.Conv2D(2, 1, name="rc")(stem))
    model = keras.Model(inputs, layers.Concatenate(name="join")([left, right]))
    found = summary(quantized(model, 4, 2, 8))
    assert found["stem"] == (QuantizedConv2D, (MaxPerAxisQuantizer, 8))
    assert found["l"] == found["rc"] == (QuantizedConv2D, (MaxPerAxisQuantizer, 4))
    assert found["lr"] == found["rr"] == (ActivationDiscreteRelu, 2)
    assert found["join"] == (layers.Concatenate, None)
    zero = quantize(model)
    x = images()
    assert_allclose(numbers(zero(x)), numbers(model(x)), rtol=1e-4, atol=1e-4)


def test_a_depthwise_convolution_is_quantized_per_tensor():
    model = chain(
        layers.DepthwiseConv2D(3, name="dw", use_bias=False), layers.Conv2D(4, 1, name="pw")
    )
    found = summary(quantize(model, 4, 0))
    assert found["dw"] == (QuantizedDepthwiseConv2D, (MaxQuantizer, 4))
    assert found["pw"] == (QuantizedConv2D, (MaxPerAxisQuantizer, 4))


def test_the_maximum_of_a_relu_does_not_matter():
    for relu in (layers.ReLU(), layers.ReLU(6.0), layers.ReLU(1.0)):
        result = quantize(chain(layers.Dense(3), relu, shape=(3,)), 0, 4)
        assert result.layers[1].step_width == ActivationDiscreteRelu(4).step_width


def test_custom_subclasses_are_copied():
    @keras.saving.register_keras_serializable(package="tests")
    class Doubling(layers.Dense):
        def call(self, x):
            return 2 * super().call(x)

    model = chain(Doubling(3, name="own"), layers.Activation("tanh", name="act"), shape=(4,))
    found = summary(quantize(model, 4, 4))
    assert found == {"own": (Doubling, None), "act": (layers.Activation, None)}


@pytest.mark.parametrize("name", ["relu", "relu6"])
def test_a_relu_by_name_is_a_relu(name):
    result = quantize(chain(layers.Dense(3), layers.Activation(name), shape=(3,)), 0, 4)
    assert isinstance(result.layers[1], ActivationDiscreteRelu)


def test_bits_that_cannot_be_converted_are_warned_about():
    with pytest.warns(UserWarning, match="convert takes activations of 1, 2, 3, 4 or 8 bits"):
        quantize(chain(layers.Dense(3), layers.ReLU(), shape=(3,)), 4, 6)


# Already quantized models


def mixed_model():
    return chain(
        QuantizedConv2D(4, 3, quantizer=WeightQuantizer(2, 4, max_scale_factor=500), name="std"),
        QuantizedReLU(4, name="learned"),
        QuantizedSeparableConv2D(5, 1, quantizer=TrainableWeightQuantizer(3, 4), name="learning"),
        ActivationDiscreteRelu(2, name="fixed"),
        layers.Flatten(),
        QuantizedDense(6, quantizer=ScaleFactorQuantizer(4, 3.5), name="frozen"),
        layers.ReLU(name="relu"),
        QuantizedDense(6, name="float"),
        layers.ReLU(name="relu2"),
        layers.Dense(2, name="dense"),
    )


def test_quantized_layers_keep_their_class_and_change_their_bits():
    model = mixed_model()
    result = quantized(model, 8, 3)
    found = summary(result)
    assert found["std"] == (QuantizedConv2D, (WeightQuantizer, 8))
    kept = result.get_layer("std").quantizer
    assert (kept.threshold, kept.max_scale_factor) == (2, 500)
    trainable = TrainableWeightQuantizer
    assert found["learning"] == (QuantizedSeparableConv2D, (trainable, 8, trainable, 8))
    assert found["learned"] == (QuantizedReLU, 3)
    assert found["fixed"] == (ActivationDiscreteRelu, 3)
    assert found["frozen"] == (QuantizedDense, (ScaleFactorQuantizer, 8))
    assert result.get_layer("frozen").quantizer.scale_factors == np.float32(3.5 * 127 / 7)
    assert found["float"] == found["dense"] == (QuantizedDense, (MaxPerAxisQuantizer, 8))
    assert found["relu"] == (ActivationDiscreteRelu, 3)
    # Variables are copied by position: learned thresholds and steps stay.
    assert len(result.weights) == len(model.weights)
    for a, b in zip(result.get_weights(), model.get_weights(), strict=True):
        assert_array_equal(a, b)


def test_the_same_bits_give_the_same_model():
    model = quantize(float_model(), 4, 4, 8)
    again = quantized(model, 4, 4, 8)
    assert again.get_config() == model.get_config()
    x = 100 * images(4, (12, 12, 3))
    assert_array_equal(numbers(again(x)), numbers(model(x)))


def test_zero_bits_make_a_quantized_model_float():
    model = mixed_model()
    result = quantized(model, 0, 0)
    found = summary(result)
    for name in ("std", "frozen", "float", "dense"):
        assert found[name][1] == (WeightFloat, 0)
    assert found["learning"][1] == (WeightFloat, 0, WeightFloat, 0)
    assert found["learned"][0] is found["fixed"][0] is layers.ReLU
    assert result.get_layer("learned").max_value == 6
    assert result.get_layer("fixed").max_value == 3
    assert len(result.get_layer("learning").weights) == 3
    assert_array_equal(
        result.get_layer("std").get_weights()[0], model.get_layer("std").get_weights()[0]
    )


def test_own_activations_keep_their_class():
    @keras.saving.register_keras_serializable(package="tests")
    class Wide(QuantizedActivation):
        threshold = property(lambda self: 0.0)
        step_width = property(lambda self: 2.0)

    result = quantize(chain(layers.Dense(3), Wide(2), shape=(4,)), 4, 4)
    assert (type(result.layers[1]), result.layers[1].bitwidth) == (Wide, 4)


# Batch normalization


# pytest.warns raises Keras's own deprecations again, here instead of in Keras.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_folding_into_a_quantized_layer_warns_and_keeps_the_integers():
    model = chain(
        QuantizedConv2D(4, 3, quantizer=WeightQuantizer(2, 4), name="conv"),
        layers.BatchNormalization(),
    )
    with pytest.warns(
        UserWarning, match="folded into layer 'conv', which was already quantized"
    ) as caught:
        result = quantize(model, 4, 4)
    assert [w.filename for w in caught if w.category is UserWarning] == [__file__]
    conv, new = model.layers[0], result.layers[0]
    assert type(new.quantizer) is ScaleFactorQuantizer
    assert_array_equal(
        integer_weights(new.quantizer, numbers(new.kernel))[0],
        integer_weights(conv.quantizer, numbers(conv.kernel))[0],
    )


# pytest.warns raises Keras's own deprecations again, here instead of in Keras.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_batch_normalizations_can_stay():
    model = float_model()
    with pytest.warns(UserWarning, match="stays behind a float layer") as caught:
        result = quantized(model, 4, 4, fold_BN=False)
    # norm1 follows a pooling, so only norm2 is directly behind a float layer.
    (warning,) = (w for w in caught if w.category is UserWarning)
    assert "'norm2'" in str(warning.message)
    assert warning.filename == __file__
    assert [layer.name for layer in result.layers] == [layer.name for layer in model.layers]
    quantize(
        chain(
            QuantizedDense(3, quantizer=MaxQuantizer(4)), layers.BatchNormalization(), shape=(4,)
        ),
        4,
        4,
        fold_BN=False,
    )


def test_negative_gammas_behind_a_convolution_are_legal():
    model = chain(layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(), layers.ReLU())
    model.layers[1].gamma.assign([-1.0, 0.5, -2.0, 1.0])
    result = quantize(model)
    x = images()
    assert_allclose(numbers(result(x)), numbers(model(x)), rtol=1e-4, atol=1e-5)


# quantizer_function


def test_a_quantizer_function_chooses():
    asked = []

    def choose(layer, default):
        asked.append((layer.name, type(default), default.bitwidth))
        return WeightQuantizer(1, default.bitwidth) if layer.name == "dense" else default

    model = float_model()
    result = quantized(model, 2, 2, 4, quantizer_function=choose)
    assert asked == [
        ("conv", MaxPerAxisQuantizer, 4),
        ("sep", MaxQuantizer, 2),
        ("sep", MaxPerAxisQuantizer, 2),
        ("dense", MaxPerAxisQuantizer, 2),
    ]
    assert summary(result)["dense"] == (QuantizedDense, (WeightQuantizer, 2))
    assert summary(result)["conv"] == (QuantizedConv2D, (MaxPerAxisQuantizer, 4))


def test_a_quantizer_function_may_return_one_learning_instance_for_all_layers():
    one = TrainableWeightQuantizer(2, 4)
    result = quantize(
        chain(layers.Dense(3), layers.Dense(3), shape=(3,)), 4, quantizer_function=lambda *_: one
    )
    first, second = (layer.quantizer.threshold for layer in result.layers)
    assert first is not second
    assert float(first) == float(second) == 2
    assert len(result.weights) == 6


def test_what_a_quantizer_function_returns_is_checked():
    with pytest.raises(ValueError, match="is no weight quantizer"):
        quantize(chain(layers.Dense(3), shape=(3,)), 4, quantizer_function=lambda *_: "max")


# Refusals


@pytest.mark.parametrize("bits", [1, 9, -1, 2.5, True, "4", None])
def test_weight_bits_out_of_range_are_refused(bits):
    model = chain(layers.Dense(3), shape=(3,))
    with pytest.raises(ValueError, match=r"weight_quantization is .*: 0 or 2 to 8"):
        quantize(model, bits)
    if bits is not None:
        with pytest.raises(ValueError, match=r"input_weight_quantization is .*: 0 or 2 to 8"):
            quantize(model, 4, 4, bits)


@pytest.mark.parametrize("bits", [9, -1, 2.5, True, "4", None])
def test_activation_bits_out_of_range_are_refused(bits):
    with pytest.raises(ValueError, match=r"activ_quantization is .*: 0 to 8"):
        quantize(chain(layers.Dense(3), shape=(3,)), 4, bits)


@pytest.mark.parametrize("bits", [0, *range(2, 9), np.int64(4)])
def test_all_weight_bits_in_range_are_taken(bits):
    assert quantize(chain(layers.Dense(3), shape=(3,)), bits).layers[0].quantizer.bitwidth == bits


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda **k: layers.Conv2D(2, 2, **k), {"activation": "relu"}),
        (lambda **k: layers.Conv2D(2, 2, **k), {"dilation_rate": 2}),
        (lambda **k: layers.Conv2D(4, 2, **k), {"groups": 2}),
        (lambda **k: layers.Conv2D(2, 2, **k), {"data_format": "channels_first"}),
        (lambda **k: layers.SeparableConv2D(2, 2, **k), {"depth_multiplier": 2}),
        (lambda **k: layers.SeparableConv2D(2, 2, **k), {"activation": "relu"}),
        (lambda **k: layers.SeparableConv2D(2, 2, **k), {"dilation_rate": 2}),
        (lambda **k: layers.DepthwiseConv2D(2, **k), {"depth_multiplier": 2}),
        (lambda **k: layers.Dense(2, **k), {"activation": "tanh"}),
        (lambda **k: layers.Dense(2, **k), {"lora_rank": 1}),
    ],
)
def test_arguments_that_would_be_lost_are_refused(make, argument):
    inputs = keras.Input((4, 4, 2))
    layer = make(name="odd", **argument)
    model = keras.Model(inputs, layer(inputs))
    name = next(iter(argument))
    before = snapshot(model)
    for call in (lambda: quantize(model, 4, 4), lambda: quantize_layer(model, "odd", 4)):
        with pytest.raises(RuntimeError, match=rf"'odd' \({type(layer).__name__}\) has {name}="):
            call()
    assert_unchanged(model, before)


@pytest.mark.parametrize("argument", [{"negative_slope": 0.1}, {"threshold": 1.0}])
def test_relus_with_another_shape_are_refused(argument):
    model = chain(layers.Dense(3), layers.ReLU(name="odd", **argument), shape=(3,))
    name = next(iter(argument))
    with pytest.raises(RuntimeError, match=rf"'odd' has {name}="):
        quantize(model, 4, 4)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_short_floats_are_refused(policy):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3, dtype=policy, name="short")])
    with pytest.raises(ValueError, match=rf"'short' has the dtype policy '{policy}'"):
        quantize(model, 4, 4)
    model = keras.Sequential([keras.Input((3,)), layers.ReLU(dtype=policy, name="short")])
    with pytest.raises(ValueError, match=rf"'short' has the dtype policy '{policy}'"):
        quantize(model, 4, 4)


def test_float64_models_stay_float64():
    if keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless told so")
    model = chain(layers.Dense(3, dtype="float64"), layers.ReLU(dtype="float64"), shape=(3,))
    result = quantize(model, 4, 4)
    assert [layer.compute_dtype for layer in result.layers] == ["float64", "float64"]


@pytest.mark.parametrize(
    ("stack", "gammas", "match"),
    [
        (
            [layers.MaxPool2D(name="pool"), layers.BatchNormalization(name="norm")],
            [1, -1, 0, 1],
            r"'norm' .* 'pool': negative gammas are not supported.* 2 of 4",
        ),
        (
            [layers.BatchNormalization(name="norm")],
            [1, -1, 0, 1],
            r"'norm' has 1 gammas equal to 0",
        ),
        ([layers.BatchNormalization(axis=1, name="norm")], None, r"'norm' has axis=1"),
        (
            [layers.ReLU(name="relu"), layers.BatchNormalization(name="norm")],
            None,
            r"'norm' follows 'relu' .* can only be folded",
        ),
        (
            [layers.AveragePooling2D(2, name="pool"), layers.BatchNormalization(name="norm")],
            None,
            r"'norm' follows 'pool' .* can only be folded",
        ),
    ],
    ids=["negative", "zero", "axis", "activation", "average pooling"],
)
def test_batch_normalizations_that_cannot_be_folded_are_refused(stack, gammas, match):
    fresh = [type(layer).from_config(layer.get_config()) for layer in stack]
    model = chain(layers.Conv2D(4, 3), *fresh)
    if gammas is not None:
        model.get_layer("norm").gamma.assign(np.float32(gammas))
    before = snapshot(model)
    with pytest.raises(RuntimeError, match=match):
        quantize(model, 4, 4)
    assert_unchanged(model, before)


def test_a_global_average_pooling_may_precede_negative_gammas():
    model = chain(layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.BatchNormalization())
    model.layers[2].gamma.assign([-1.0, 2.0, -0.5, 1.0])
    result = quantize(model)
    assert [type(layer) for layer in result.layers] == [
        QuantizedConv2D,
        layers.GlobalAveragePooling2D,
    ]
    x = images()
    assert_allclose(numbers(result(x)), numbers(model(x)), rtol=1e-4, atol=1e-5)


def test_models_that_cannot_be_read_are_refused():
    inputs = keras.Input((3,))
    dense = layers.Dense(3, name="again")
    with pytest.raises(RuntimeError, match="'again' is shared"):
        quantize(keras.Model(inputs, dense(dense(inputs))), 4, 4)
    with pytest.raises(RuntimeError, match="only chains and Concatenate"):
        quantize(keras.Model(inputs, layers.Add()([layers.Dense(3)(inputs), inputs])), 4, 4)


# quantize_layer


def test_one_layer_is_quantized():
    model = float_model()
    before = snapshot(model)
    for target in (5, "sep", model.get_layer("sep"), 5 - len(model.layers)):
        result = quantize_layer(model, target, 2)
        assert_unchanged(model, before)
        assert summary(result)["sep"] == (
            QuantizedSeparableConv2D,
            (MaxQuantizer, 2, MaxPerAxisQuantizer, 2),
        )
        assert [layer.name for layer in result.layers] == [layer.name for layer in model.layers]
        changed = [n for n, found in summary(result).items() if found != summary(model)[n]]
        assert changed == ["sep"]
        for a, b in zip(result.get_weights(), before[1], strict=True):
            assert_array_equal(a, b)
    assert summary(quantize_layer(model, "relu1", 1))["relu1"] == (ActivationDiscreteRelu, 1)


def test_an_index_counts_the_layers_of_the_model():
    inputs = keras.Input((3,), name="in")
    model = keras.Model(inputs, layers.Dense(2, name="dense")(inputs))
    assert summary(quantize_layer(model, 1, 4))["dense"][0] is QuantizedDense
    with pytest.raises(ValueError, match=r"'in' \(InputLayer\) cannot be quantized"):
        quantize_layer(model, 0, 4)


def test_zero_bits_for_one_layer():
    model = mixed_model()
    assert summary(quantize_layer(model, "std", 0))["std"] == (QuantizedConv2D, (WeightFloat, 0))
    assert summary(quantize_layer(model, "dense", 0))["dense"] == (QuantizedDense, (WeightFloat, 0))
    relu = quantize_layer(model, "fixed", 0).get_layer("fixed")
    assert (type(relu), relu.max_value) == (layers.ReLU, 3)
    assert type(quantize_layer(model, "relu", 0).get_layer("relu")) is layers.ReLU


@pytest.mark.parametrize("target", ["nothing", 99, -99, True, None, 1.0, layers.Dense(2)])
def test_a_layer_that_is_not_there_is_refused(target):
    with pytest.raises(ValueError, match=r"has no such layer.*'conv'"):
        quantize_layer(float_model(), target, 4)


@pytest.mark.parametrize("name", ["pool", "flat", "soft", "norm1", "drop"])
def test_a_layer_that_cannot_be_quantized_is_refused(name):
    with pytest.raises(ValueError, match=f"'{name}' .* cannot be quantized"):
        quantize_layer(float_model(), name, 4)


@pytest.mark.parametrize("bits", [-1, 9, 2.0, True])
def test_bits_of_one_layer_out_of_range_are_refused(bits):
    for name in ("conv", "relu1"):
        with pytest.raises(ValueError, match="bitwidth is"):
            quantize_layer(float_model(), name, bits)
    with pytest.raises(ValueError, match="0 or 2 to 8"):
        quantize_layer(float_model(), "conv", 1)


# create_trainable_quantizer_model


def test_the_learning_model_is_numerically_identical():
    model = chain(
        QuantizedConv2D(4, 3, quantizer=WeightQuantizer(2.3, 4, max_scale_factor=40), name="conv"),
        ActivationDiscreteRelu(4, name="act"),
        QuantizedSeparableConv2D(
            5, 3, quantizer=MaxPerAxisQuantizer(4), quantizer_dw=WeightQuantizer(2, 3), name="sep"
        ),
        ActivationDiscreteRelu(1, name="WeightQuantizer"),
        layers.Flatten(),
        QuantizedDense(6, quantizer=TrainableWeightQuantizer(3, 4), name="learning"),
        QuantizedReLU(2, name="learned"),
        QuantizedDense(2, name="ActivationDiscreteRelu"),
    )
    model.get_layer("learning").quantizer.threshold.assign(1.5)
    before = snapshot(model)
    result = create_trainable_quantizer_model(model)
    assert_unchanged(model, before)
    trainable = TrainableWeightQuantizer
    assert summary(result) == {
        **summary(model),
        "conv": (QuantizedConv2D, (trainable, 4)),
        "act": (QuantizedReLU, 4),
        "sep": (QuantizedSeparableConv2D, (trainable, 3, MaxPerAxisQuantizer, 4)),
        "WeightQuantizer": (QuantizedReLU, 1),
    }
    assert result.get_layer("conv").quantizer.max_scale_factor == 40
    assert float(result.get_layer("learning").quantizer.threshold) == 1.5
    x = images(32)
    assert_array_equal(numbers(result(x)), numbers(model(x)))
    assert len(result.trainable_weights) == len(model.trainable_weights) + 1 + 2 + 1 + 2


def test_the_learning_model_learns():
    model = chain(
        QuantizedDense(6, quantizer=WeightQuantizer(2, 2)), ActivationDiscreteRelu(2), shape=(4,)
    )
    result = create_trainable_quantizer_model(model)
    result.compile(keras.optimizers.SGD(0.05), "mse")
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("f4")
    before = result.get_weights()
    result.fit(x, np.ones((16, 6)), verbose=0)
    assert all((a != b).any() for a, b in zip(before, result.get_weights(), strict=True))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_learning_model_from_a_file(suffix, tmp_path):
    model = chain(
        QuantizedDense(6, quantizer=WeightQuantizer(2, 4)), ActivationDiscreteRelu(2), shape=(4,)
    )
    path = tmp_path / f"model{suffix}"
    model.save(path)
    for given in (path, str(path)):
        result = create_trainable_quantizer_model(given)
        x = np.random.default_rng(0).normal(size=(16, 4)).astype("f4")
        assert_array_equal(numbers(result(x)), numbers(model(x)))


def test_any_joins_may_learn():
    inputs = keras.Input((4,))
    x = QuantizedDense(4, quantizer=WeightQuantizer())(inputs)
    model = keras.Model(inputs, layers.Add()([ActivationDiscreteRelu(4)(x), inputs]))
    result = create_trainable_quantizer_model(model)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("f4")
    assert_array_equal(numbers(result(x)), numbers(model(x)))


@pytest.mark.parametrize(
    ("activation", "remedy"),
    [("relu", r"keras\.layers\.ReLU\(\)"), ("softmax", r"keras\.layers\.Activation\('softmax'\)")],
)
def test_a_fused_activation_is_refused_with_the_layer_that_replaces_it(activation, remedy):
    stack = [keras.Input((3,)), keras.layers.Dense(2, activation=activation, name="d")]
    with pytest.raises(RuntimeError, match=rf"'d' .*activation='{activation}'.*{remedy}"):
        quantize(keras.Sequential(stack), 4, 4)
