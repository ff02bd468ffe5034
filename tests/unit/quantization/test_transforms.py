import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

from kerasnsoc.quantization import (  # noqa: E402
    ActivationDiscreteRelu,
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
    canonicalize,
    fold_batchnorms,
    integer_weights,
    invert_batchnorm_pooling,
    merge_separable_conv,
    move_pooling_before_activation,
    remove_dropout,
)
from tests.unit.quantization.helpers import (  # noqa: E402
    assert_unchanged,
    chain,
    images,
    numbers,
    snapshot,
)

pytestmark = pytest.mark.keras


def names(model):
    return [type(layer).__name__ for layer in model.layers]


def assert_same_function(a, b, x=None, tolerance=1e-4):
    # Two float32 evaluations of the same function, summed in another order.
    x = images() if x is None else x
    assert_allclose(numbers(a(x)), numbers(b(x)), rtol=tolerance, atol=tolerance)


def set_gammas(layer, gammas):
    layer.gamma.assign(np.broadcast_to(np.float32(gammas), layer.gamma.shape))


def norm_of(model):
    return next(layer for layer in model.layers if isinstance(layer, layers.BatchNormalization))


def rewritten(transform, model):
    """The result, after checking that the source is as before."""
    before = snapshot(model)
    result = transform(model)
    assert_unchanged(model, before)
    assert result is not model
    assert result.name == model.name
    return result


# Pooling and batch normalization


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_batch_normalization_moves_before_a_max_pooling(padding):
    model = chain(
        layers.Conv2D(4, 3, name="conv"),
        layers.MaxPool2D(3, 2, padding, name="pool"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
    )
    moved = rewritten(invert_batchnorm_pooling, model)
    assert [layer.name for layer in moved.layers] == ["conv", "norm", "pool", "relu"]
    assert_same_function(moved, model)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [-1, "last"])
def test_a_batch_normalization_moves_before_a_global_average_pooling(keepdims, axis):
    axis = (3 if keepdims else 1) if axis == "last" else axis
    model = chain(
        layers.Conv2D(4, 3),
        layers.GlobalAveragePooling2D(keepdims=keepdims),
        layers.BatchNormalization(axis=axis),
    )
    # An affine map commutes with the mean, whatever its sign.
    set_gammas(model.layers[2], [0.5, -1, 2, -0.1])
    moved = rewritten(invert_batchnorm_pooling, model)
    assert names(moved) == ["Conv2D", "BatchNormalization", "GlobalAveragePooling2D"]
    assert moved.layers[1].axis == -1
    assert_same_function(moved, model)


def test_a_batch_normalization_moves_before_several_poolings():
    model = chain(
        layers.Conv2D(4, 3),
        layers.MaxPool2D(),
        layers.GlobalAveragePooling2D(),
        layers.BatchNormalization(),
    )
    moved = invert_batchnorm_pooling(model)
    assert names(moved)[1:] == ["BatchNormalization", "MaxPooling2D", "GlobalAveragePooling2D"]
    assert_same_function(moved, model)


@pytest.mark.parametrize("gammas", [[1, -1, 2, -0.5], [1, 0, 2, -1e-9]])
def test_gammas_that_do_not_commute_with_the_maximum_are_refused(gammas):
    model = chain(
        layers.Conv2D(4, 3), layers.MaxPool2D(name="pool"), layers.BatchNormalization(name="norm")
    )
    set_gammas(model.layers[2], gammas)
    before = snapshot(model)
    with pytest.raises(
        RuntimeError, match=r"'norm' .* 'pool': negative gammas are not supported.* 2 of 4"
    ):
        invert_batchnorm_pooling(model)
    assert_unchanged(model, before)


def test_a_batch_normalization_without_gamma_or_beta_commutes():
    for options in ({"scale": False}, {"center": False}, {"scale": False, "center": False}):
        model = chain(layers.Conv2D(4, 3), layers.MaxPool2D(), layers.BatchNormalization(**options))
        assert_same_function(invert_batchnorm_pooling(model), model)


def test_a_batch_normalization_on_another_axis_is_refused():
    model = chain(
        layers.Conv2D(4, 3), layers.MaxPool2D(), layers.BatchNormalization(axis=1, name="norm")
    )
    with pytest.raises(RuntimeError, match=r"'norm' has axis=1, but only the last"):
        invert_batchnorm_pooling(model)


def test_pooling_with_channels_first_is_refused():
    model = chain(
        layers.Conv2D(4, 3),
        layers.GlobalAveragePooling2D(data_format="channels_first", name="pool"),
        layers.BatchNormalization(),
    )
    with pytest.raises(RuntimeError, match=r"'pool' has data_format='channels_first'"):
        invert_batchnorm_pooling(model)


# Folding into float layers


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda b: layers.Conv2D(4, 3, use_bias=b),
        lambda b: layers.SeparableConv2D(4, 3, use_bias=b),
        lambda b: layers.DepthwiseConv2D(3, use_bias=b),
        lambda b: layers.Dense(4, use_bias=b),
        lambda b: QuantizedConv2D(4, 3, use_bias=b),
    ],
    ids=["conv", "separable", "depthwise", "dense", "quantized float"],
)
def test_folding_keeps_the_function(make, use_bias):
    model = chain(make(use_bias), layers.BatchNormalization(name="norm"), layers.ReLU())
    size = model.layers[1].gamma.shape[0]
    set_gammas(model.layers[1], [0.5, -1.5, 1e-6, 2][:size])
    folded = rewritten(fold_batchnorms, model)
    assert names(folded) == [type(model.layers[0]).__name__, "ReLU"]
    assert folded.layers[0].use_bias
    assert_same_function(folded, model)


def test_folded_weights_are_rounded_once_from_float64():
    model = chain(layers.Conv2D(5, 3), layers.BatchNormalization(epsilon=1e-2))
    kernel, bias, gamma, beta, mean, var = (w.astype(np.float64) for w in model.get_weights())
    s = gamma / np.sqrt(var + 1e-2)
    folded = fold_batchnorms(model)
    assert_array_equal(folded.get_weights()[0], (kernel * s).astype(np.float32))
    assert_array_equal(folded.get_weights()[1], (beta + (bias - mean) * s).astype(np.float32))


def test_a_variance_of_zero_folds():
    model = chain(layers.Dense(3, use_bias=False), layers.BatchNormalization())
    model.layers[1].moving_variance.assign(np.zeros(3))
    assert_same_function(fold_batchnorms(model), model)
    model = chain(layers.Dense(3), layers.BatchNormalization(epsilon=0.0, name="norm"))
    model.layers[1].moving_variance.assign([1.0, 0.0, 1.0])
    with pytest.raises(RuntimeError, match=r"'norm' has a variance that is not above -epsilon"):
        fold_batchnorms(model)


def test_batch_normalizations_in_a_row_fold_one_after_the_other():
    model = chain(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.BatchNormalization())
    folded = fold_batchnorms(model)
    assert names(folded) == ["Conv2D"]
    assert_same_function(folded, model)


def test_integers_of_a_per_axis_quantizer_do_not_depend_on_when_it_is_folded():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype("f4")
    s = np.array([1, -1, 0.25, -4, 1e-6, 1e4])
    q, sf = integer_weights(MaxPerAxisQuantizer(4), kernel)
    folded_q, folded_sf = integer_weights(MaxPerAxisQuantizer(4), (kernel * s).astype("f4"))
    assert_array_equal(folded_q, np.sign(s) * q)
    assert_allclose(folded_sf, sf / np.abs(s), rtol=1e-6)
    # The same scales change the integers of a range that all filters share.
    q, _ = integer_weights(MaxQuantizer(4), kernel)
    assert (integer_weights(MaxQuantizer(4), (kernel * s).astype("f4"))[0] != np.sign(s) * q).any()


# Folding into quantized layers


@pytest.mark.parametrize(
    "quantizer",
    [
        WeightQuantizer(2, 4),
        TrainableWeightQuantizer(2, 4),
        MaxQuantizer(4),
        MaxPerAxisQuantizer(8),
        MaxPerAxisQuantizer(2, max_scale_factor=3),
        ScaleFactorQuantizer(4, 9.0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["conv", "dense", "separable", "depthwise"])
def test_folding_into_a_quantized_layer_keeps_its_integers(kind, quantizer):
    quantizer = type(quantizer).from_config(quantizer.get_config())
    layer = {
        "conv": lambda: QuantizedConv2D(4, 3, quantizer=quantizer),
        "dense": lambda: QuantizedDense(4, quantizer=quantizer),
        "separable": lambda: QuantizedSeparableConv2D(4, 3, quantizer=quantizer),
        "depthwise": lambda: QuantizedDepthwiseConv2D(3, quantizer=quantizer),
    }[kind]()
    model = chain(layer, layers.BatchNormalization())
    size = model.layers[1].gamma.shape[0]
    gammas = np.float32([0.5, -1.5, 1e-6, 700][:size])
    set_gammas(model.layers[1], gammas)
    folded = rewritten(fold_batchnorms, model)
    new = folded.layers[0]
    name = "pointwise_kernel" if kind == "separable" else "kernel"
    q, sf = integer_weights(layer.quantizer, numbers(getattr(layer, name)))
    new_q, new_sf = integer_weights(new.quantizer, numbers(getattr(new, name)))
    assert type(new.quantizer) is ScaleFactorQuantizer
    assert new.quantizer.bitwidth == quantizer.bitwidth
    signs = np.sign(gammas)[:, None] if kind == "depthwise" else np.sign(gammas)
    assert_array_equal(new_q, signs * q)
    s = gammas / np.sqrt(numbers(model.layers[1].moving_variance).astype(np.float64) + 1e-3)
    s = s[:, None] if kind == "depthwise" else s
    assert_array_equal(new_sf, (sf / np.abs(s)).astype(np.float32))
    if kind == "separable":
        assert type(new.quantizer_dw) is type(quantizer)
        assert_array_equal(numbers(new.depthwise_kernel), numbers(layer.depthwise_kernel))
    assert_same_function(folded, model, tolerance=2e-4)


def test_weights_near_a_half_keep_their_integer_when_folded():
    # Thousands of weights within an ulp or two of a half: some cross it in float32.
    rng = np.random.default_rng(0)
    halves = np.float32((rng.integers(-7, 7, (4000, 8)) + 0.5) / 7.3)
    kernel = np.nextafter(halves, np.float32(np.inf))
    kernel[::2] = np.nextafter(halves[::2], np.float32(-np.inf))
    model = chain(
        QuantizedDense(8, quantizer=ScaleFactorQuantizer(4, 7.3)),
        layers.BatchNormalization(),
        shape=(4000,),
    )
    model.layers[0].kernel.assign(kernel)
    set_gammas(model.layers[1], rng.normal(size=8))
    old = model.layers[0]
    q, _ = integer_weights(old.quantizer, kernel)
    s = numbers(model.layers[1].gamma) / np.sqrt(numbers(model.layers[1].moving_variance) + 1e-3)
    new = fold_batchnorms(model).layers[0]
    new_q, new_sf = integer_weights(new.quantizer, numbers(new.kernel))
    assert_array_equal(new_q, np.sign(s) * q)
    plain = np.rint((kernel * s).astype(np.float32) * new_sf)
    assert (np.clip(plain, -7, 7) != new_q).any(), "the example is too tame"
    moved = np.abs(numbers(new.kernel) - kernel * s) * new_sf
    assert moved.max() < 0.01


def test_the_learned_threshold_is_what_is_frozen():
    layer = QuantizedDense(4, quantizer=TrainableWeightQuantizer(3, 4))
    model = chain(layer, layers.BatchNormalization(), shape=(6,))
    layer.quantizer.threshold.assign(1.0)
    expected, _ = integer_weights(layer.quantizer, numbers(layer.kernel))
    new = fold_batchnorms(model).layers[0]
    assert len(new.weights) == 2
    assert_array_equal(integer_weights(new.quantizer, numbers(new.kernel))[0], expected)


def test_gammas_beyond_float32_are_refused():
    model = chain(
        QuantizedDense(2, quantizer=MaxQuantizer(4), name="dense"),
        layers.BatchNormalization(),
        shape=(6,),
    )
    set_gammas(model.layers[1], [1.0, 1e-38])
    with pytest.raises(RuntimeError, match=r"'dense' cannot take the scales.*add_gamma_constraint"):
        fold_batchnorms(model)


# Folding refusals


def test_a_gamma_of_zero_is_refused():
    model = chain(layers.Conv2D(4, 3), layers.BatchNormalization(name="norm"))
    set_gammas(model.layers[1], [1, 0, 0, -1])
    with pytest.raises(RuntimeError, match=r"'norm' has 2 gammas equal to 0 of 4"):
        fold_batchnorms(model)


@pytest.mark.parametrize("axis", [1, 2])
def test_folding_on_another_axis_is_refused(axis):
    model = chain(layers.Conv2D(4, 3), layers.BatchNormalization(axis=axis, name="norm"))
    with pytest.raises(RuntimeError, match=rf"'norm' has axis={axis}"):
        fold_batchnorms(model)


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ([], "input"),
        ([layers.Conv2D, layers.ReLU], "relu"),
        ([layers.Conv2D, layers.Flatten], "flatten"),
        ([layers.Conv2D, layers.MaxPool2D], "pool"),
    ],
)
def test_a_batch_normalization_without_a_neural_layer_before_it_is_refused(before, name):
    stack = [cls(4, 3) if cls is layers.Conv2D else cls(name=name) for cls in before]
    inputs = x = keras.Input((8, 8, 3), name="input")
    for layer in [*stack, layers.BatchNormalization(name="norm")]:
        x = layer(x)
    with pytest.raises(
        RuntimeError, match=rf"'norm' follows '{name}' .* can only be folded into a neural"
    ):
        fold_batchnorms(keras.Model(inputs, x))


def test_a_neural_layer_that_others_read_too_is_refused():
    inputs = keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 3, name="conv")(inputs)
    joined = layers.Concatenate()([layers.BatchNormalization(name="norm")(conv), conv])
    with pytest.raises(
        RuntimeError, match=r"'norm' cannot be folded into 'conv', whose output is used"
    ):
        fold_batchnorms(keras.Model(inputs, joined))


def test_a_batch_normalization_that_always_trains_is_refused():
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3)(inputs), training=True)
    with pytest.raises(RuntimeError, match="'norm' is called with training=True"):
        fold_batchnorms(keras.Model(inputs, x))


def test_a_fused_activation_before_a_batch_normalization_is_refused():
    model = chain(layers.Conv2D(4, 3, activation="relu", name="conv"), layers.BatchNormalization())
    with pytest.raises(RuntimeError, match=r"'conv' \(Conv2D\) has activation='relu'"):
        fold_batchnorms(model)


# Dropout


def test_dropout_is_removed():
    model = chain(
        layers.Dropout(0.1),
        layers.Conv2D(4, 3),
        layers.SpatialDropout2D(0.5),
        layers.ReLU(),
        layers.Dropout(0.3),
        layers.Dropout(0.3),
    )
    result = rewritten(remove_dropout, model)
    assert names(result) == ["Conv2D", "ReLU"]
    x = images()
    assert_array_equal(numbers(result(x)), numbers(model(x)))


def test_dropout_that_acts_in_inference_is_refused():
    inputs = keras.Input((3,))
    model = keras.Model(
        inputs, layers.Dense(2)(layers.Dropout(0.5, name="drop")(inputs, training=True))
    )
    with pytest.raises(RuntimeError, match="'drop' is called with training=True"):
        remove_dropout(model)


# Pooling and activation


@pytest.mark.parametrize(
    "activation",
    [ActivationDiscreteRelu(4), QuantizedReLU(3), layers.ReLU(6.0)],
    ids=lambda a: a.name,
)
def test_max_pooling_moves_before_the_activation(activation):
    activation = type(activation).from_config({**activation.get_config(), "name": "activation"})
    model = chain(
        layers.Conv2D(4, 3), activation, layers.MaxPool2D(2), layers.MaxPool2D(2, padding="same")
    )
    moved = rewritten(move_pooling_before_activation, model)
    assert names(moved)[1:] == ["MaxPooling2D", "MaxPooling2D", type(activation).__name__]
    x = images()
    assert_array_equal(numbers(moved(x)), numbers(model(x)))


def test_other_pairs_stay():
    model = chain(
        layers.Conv2D(4, 3),
        layers.Activation("softmax"),
        layers.MaxPool2D(),
        layers.ReLU(),
        layers.AveragePooling2D(1),
    )
    assert names(move_pooling_before_activation(model)) == names(model)


def test_an_activation_that_others_read_too_stays():
    inputs = keras.Input((8, 8, 3))
    active = ActivationDiscreteRelu(4)(layers.Conv2D(4, 3)(inputs))
    left = layers.Flatten()(layers.MaxPool2D()(active))
    model = keras.Model(inputs, layers.Concatenate()([left, layers.Flatten()(active)]))
    assert_array_equal(
        numbers(move_pooling_before_activation(model)(images())), numbers(model(images()))
    )


# Separable convolutions


def pair(depthwise=None, pointwise=None):
    return (
        QuantizedDepthwiseConv2D(
            **{
                "kernel_size": (3, 2),
                "strides": 2,
                "padding": "same",
                "use_bias": False,
                "quantizer": WeightQuantizer(2, 4),
                "depthwise_regularizer": "l2",
                "name": "dw",
                **(depthwise or {}),
            }
        ),
        QuantizedConv2D(
            **{
                "filters": 5,
                "kernel_size": 1,
                "quantizer": MaxPerAxisQuantizer(3),
                "kernel_constraint": "non_neg",
                "name": "pw",
                **(pointwise or {}),
            }
        ),
    )


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_depthwise_and_a_pointwise_convolution_merge(use_bias):
    model = chain(*pair(pointwise={"use_bias": use_bias}), layers.ReLU(), name="two")
    merged = rewritten(merge_separable_conv, model)
    layer = merged.layers[0]
    assert type(layer) is QuantizedSeparableConv2D
    assert layer.name == "dw_pw"
    assert (layer.kernel_size, layer.strides, layer.padding) == ((3, 2), (2, 2), "same")
    assert (layer.filters, layer.use_bias) == (5, use_bias)
    assert layer.quantizer_dw.get_config() == WeightQuantizer(2, 4).get_config()
    assert layer.quantizer.get_config() == MaxPerAxisQuantizer(3).get_config()
    assert isinstance(layer.depthwise_regularizer, keras.regularizers.L2)
    assert isinstance(layer.pointwise_constraint, keras.constraints.NonNeg)
    for a, b in zip(merged.get_weights(), model.get_weights(), strict=True):
        assert_array_equal(a, b)
    assert_same_function(merged, model)


def test_learned_thresholds_go_to_the_right_kernel_when_merged():
    learning = {"quantizer": TrainableWeightQuantizer(3, 4)}
    model = chain(*pair(learning, {"quantizer": TrainableWeightQuantizer(3, 4)}))
    model.layers[0].quantizer.threshold.assign(1.0)
    model.layers[1].quantizer.threshold.assign(2.0)
    layer = merge_separable_conv(model).layers[0]
    assert float(layer.quantizer_dw.threshold) == 1
    assert float(layer.quantizer.threshold) == 2
    model = chain(*pair(pointwise={"quantizer": TrainableWeightQuantizer(3, 4)}))
    model.layers[1].quantizer.threshold.assign(2.0)
    assert float(merge_separable_conv(model).layers[0].quantizer.threshold) == 2


def test_a_model_without_depthwise_layers_is_returned_as_it_is():
    model = chain(layers.DepthwiseConv2D(3), QuantizedConv2D(2, 1))
    assert merge_separable_conv(model) is model


def refused_pair(match, *stack):
    model = chain(*stack)
    before = snapshot(model)
    for transform in (merge_separable_conv, canonicalize):
        with pytest.raises(AttributeError, match=match):
            transform(model)
    assert_unchanged(model, before)


def test_pairs_that_are_refused():
    dw, pw = pair()
    refused_pair("'dw' is followed by 'relu'", dw, layers.ReLU(name="relu"), pw)
    refused_pair("'dw' is followed by nothing", pair()[0])
    refused_pair("'dw' is followed by 'conv'", pair()[0], layers.Conv2D(2, 1, name="conv"))
    refused_pair("'dw' has a bias", *pair({"use_bias": True}))
    refused_pair(r"'pw' .* kernel_size=\(3, 3\)", *pair(pointwise={"kernel_size": 3}))
    refused_pair(r"'pw' .* strides=\(2, 2\)", *pair(pointwise={"strides": 2}))


def test_a_depthwise_layer_with_two_readers_is_refused():
    inputs = keras.Input((8, 8, 3))
    dw, pw = pair()
    x = dw(inputs)
    model = keras.Model(inputs, layers.Concatenate()([pw(x), layers.ReLU()(x)]))
    with pytest.raises(AttributeError, match="'dw' is followed by nothing, or several"):
        merge_separable_conv(model)


# Everything together


def quantized_blocks():
    return chain(
        layers.Rescaling(1 / 127.0, name="scale"),
        QuantizedConv2D(4, 3, quantizer=MaxPerAxisQuantizer(8), name="conv"),
        layers.Dropout(0.1),
        layers.MaxPool2D(name="pool"),
        layers.BatchNormalization(),
        ActivationDiscreteRelu(4, name="act1"),
        *pair({"strides": 1}, {"kernel_constraint": None}),
        layers.BatchNormalization(),
        QuantizedReLU(4, name="act2"),
        layers.MaxPool2D(2, padding="same", name="pool2"),
        QuantizedSeparableConv2D(6, 1, quantizer=WeightQuantizer(3, 4), name="sep"),
        layers.GlobalAveragePooling2D(name="gap"),
        layers.BatchNormalization(),
        QuantizedReLU(2, name="act3"),
        layers.Dropout(0.5),
        layers.Flatten(name="flat"),
        QuantizedDense(3, quantizer=MaxQuantizer(4), name="dense"),
        layers.Softmax(name="soft"),
        shape=(16, 16, 3),
        name="net",
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_canonical_form(sparse):
    model = quantized_blocks()
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            size = layer.gamma.shape[0]
            layer.gamma.assign(np.linspace(0.5, 1.5, size))
    canonical = rewritten(lambda m: canonicalize(m, input_is_sparse=sparse), model)
    assert [layer.name for layer in canonical.layers] == [
        *("scale", "conv", "pool", "act1", "dw_pw", "pool2", "act2"),
        *("sep", "gap", "act3", "flat", "dense", "soft"),
    ]
    # Levels at an edge may fall to either side, as float32 sums differ: compare before the ends.
    x = 100 * images(8, (16, 16, 3))
    a, b = numbers(canonical(x)), numbers(model(x))
    assert np.mean(np.abs(a - b) > 0.05) <= 0.1


def test_canonical_form_of_branches():
    inputs = keras.Input((8, 8, 3), name="in")
    x = QuantizedConv2D(4, 3, quantizer=MaxPerAxisQuantizer(4), name="stem")(inputs)
    x = ActivationDiscreteRelu(2, name="act")(x)
    left = QuantizedConv2D(2, 1, quantizer=MaxPerAxisQuantizer(4), name="left")(x)
    left = ActivationDiscreteRelu(2, name="left_act")(layers.BatchNormalization()(left))
    right = QuantizedConv2D(3, 1, quantizer=MaxPerAxisQuantizer(4), name="right")(
        layers.Dropout(0.1)(x)
    )
    right = ActivationDiscreteRelu(2, name="right_act")(right)
    model = keras.Model(inputs, layers.Concatenate(name="join")([left, right]), name="fork")
    canonical = canonicalize(model)
    assert {layer.name for layer in canonical.layers} == {
        *("in", "stem", "act", "left", "left_act", "right", "right_act", "join")
    }
    assert_array_equal(numbers(canonical(images())), numbers(model(images())))


def test_canonical_form_does_not_warn_and_is_its_own_canonical_form():
    canonical = canonicalize(quantized_blocks())
    again = canonicalize(canonical)
    assert [layer.name for layer in again.layers] == [layer.name for layer in canonical.layers]
    for a, b in zip(again.get_weights(), canonical.get_weights(), strict=True):
        assert_array_equal(a, b)


def test_float_layers_are_folded_without_freezing():
    model = chain(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU())
    canonical = canonicalize(model)
    assert names(canonical) == ["Conv2D", "ReLU"]
    model = chain(QuantizedConv2D(4, 3), layers.BatchNormalization())
    assert type(canonicalize(model).layers[0].quantizer) is WeightFloat
