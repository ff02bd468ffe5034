import keras
import numpy as np
import pytest

from kerasnsoc import zoo
from kerasnsoc.quantization import ScaleFactorQuantizer, calibrate, quantize
from kerasnsoc.training import delete_filters, neural_layers, prune_model, smallest_filters
from kerasnsoc.zoo.layer_blocks import conv_block, dense_block, separable_conv_block

pytestmark = pytest.mark.keras

kl = keras.layers


def small_model(pooling="max", seed=3):
    """A convolution, separable ones, and dense layers behind a flatten; random statistics."""
    options = {"add_batchnorm": True, "padding": "same"}
    image = x = keras.Input((8, 6, 3), name="input")
    x = conv_block(x, 5, 3, pooling=pooling, name="conv", **options)
    x = separable_conv_block(x, 6, 3, name="separable", use_bias=False, **options)
    x = kl.Dropout(0.3, name="dropout")(x)
    x = separable_conv_block(x, 4, 3, name="separable_2", **options)
    x = kl.Flatten(name="flatten")(x)
    x = dense_block(x, 7, add_batchnorm=True, name="dense")
    x = dense_block(x, 3, add_activation=False, name="classes")
    model = keras.Model(image, kl.Softmax(name="softmax")(x), name="small")
    randomize(model, seed)
    return model


def randomize(model, seed):
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, kl.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, shape),
                    rng.normal(0, 0.5, shape),
                    rng.normal(0, 0.5, shape),
                    rng.uniform(0.5, 2, shape),
                ]
            )


def images(model, n=4):
    rng = np.random.default_rng(5)
    return rng.normal(size=(n, *model.input_shape[1:])).astype("f4")


def masked(model, layer, filters, x):
    """The model's output with some channels multiplied by 0 behind a layer's activation."""
    names = [found.name for found in model.layers]
    relu = names.index(f"{layer}_relu")
    for index, found in enumerate(model.layers[1:], 1):
        x = found(x)
        if index == relu:
            keep = np.ones(x.shape[-1], "f4")
            keep[list(filters)] = 0
            x = x * keep
    return np.asarray(x)


def close(found, expected):
    # float32 sums over fewer terms are taken in another order
    np.testing.assert_allclose(found, expected, atol=4e-6 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("layer", ["conv", "separable", "separable_2", "dense"])
@pytest.mark.parametrize(
    ("pooling", "filters"), [("max", (0,)), ("avg", (1, 3, 3)), (None, (3, 0, 2))]
)
def test_deleting_equals_masking_behind_the_activation(layer, filters, pooling):
    model = small_model(pooling)
    x = images(model)
    before = [w.copy() for w in model.get_weights()]
    pruned = delete_filters(model, layer, filters)
    close(np.asarray(pruned(x)), masked(model, layer, filters, x))
    assert isinstance(pruned, keras.Sequential)
    assert [found.name for found in pruned.layers] == [found.name for found in model.layers[1:]]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("function", "arguments", "layers"),
    [
        ("ds_cnn_kws", {"classes": 4}, ("conv_0", "separable_5", "separable_6")),
        (
            "mobilenet_imagenet",
            {"input_shape": (32, 32, 3), "alpha": 0.1, "classes": 3},
            ("separable_2", "separable_13"),
        ),
        ("gxnor_mnist", {}, ("block2_conv1", "fc1")),
    ],
)
def test_deleting_equals_masking_in_the_zoo(function, arguments, layers):
    model = getattr(zoo, function)(**arguments)
    randomize(model, 4)
    x = images(model, 2)
    for layer in layers:
        pruned = delete_filters(model, layer, (0, 2))
        close(np.asarray(pruned(x)), masked(model, layer, (0, 2), x))


def test_shapes_of_what_is_left():
    pruned = delete_filters(small_model(), "separable", [0, 5])
    depthwise, pointwise = pruned.get_layer("separable").get_weights()
    assert (depthwise.shape, pointwise.shape) == ((3, 3, 5, 1), (1, 1, 5, 4))
    assert pruned.get_layer("separable_2").get_weights()[0].shape == (3, 3, 4, 1)
    assert pruned.get_layer("separable_BN").gamma.shape == (4,)
    flat = delete_filters(small_model(), "separable_2", [1]).get_layer("dense")
    assert flat.kernel.shape == (4 * 3 * 3, 7)


def test_an_empty_list_returns_a_copy():
    model = small_model()
    x = images(model)
    np.testing.assert_array_equal(delete_filters(model, "conv", [])(x), model(x))


def test_quantized_models_and_their_fixed_scales():
    model = small_model()
    x = images(model, 16)
    quantized = quantize(model, 4, 4, 8)
    cut = delete_filters(quantized, "separable", (1, 2)).get_layer("separable_2")
    kernels = quantized.get_layer("separable_2").get_weights()
    np.testing.assert_array_equal(cut.get_weights()[0], kernels[0][:, :, [0, 3, 4, 5]])
    assert cut.quantizer.bitwidth == 4
    calibrated = calibrate(model, x, 4, 4).model
    pruned = delete_filters(calibrated, "separable", (1, 2))
    close(np.asarray(pruned(x)), masked(calibrated, "separable", (1, 2), x))
    quantizer = pruned.get_layer("separable").quantizer
    assert isinstance(quantizer, ScaleFactorQuantizer)
    assert quantizer.scale_factors.shape == (4,)


def test_a_pruned_model_is_saved(tmp_path):
    pruned = delete_filters(small_model(), "conv", [1])
    pruned.save(tmp_path / "p.keras")
    x = images(pruned)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "p.keras")(x), pruned(x))


@pytest.mark.parametrize(
    ("layer", "filters", "error", "message"),
    [
        ("nothing", [0], ValueError, "no layer 'nothing'.*conv, separable, separable_2"),
        ("conv_relu", [0], ValueError, "'conv_relu' .*has no filters"),
        ("conv", [5], ValueError, "filter 5 does not exist.*0 to 4"),
        ("conv", [-1], ValueError, "filter -1 does not exist"),
        ("conv", ["a"], ValueError, "filter 'a' does not exist"),
        ("conv", range(5), RuntimeError, "all 5 filters"),
    ],
)
def test_refused_filters(layer, filters, error, message):
    with pytest.raises(error, match=message):
        delete_filters(small_model(), layer, filters)


def test_branches_are_refused():
    image = keras.Input((4,))
    a, b = kl.Dense(3, name="a")(image), kl.Dense(3, name="b")(image)
    joined = keras.Model(image, kl.Concatenate()([a, b]))
    with pytest.raises(RuntimeError, match="only linear models"):
        delete_filters(joined, "a", [0])


def test_unknown_layers_are_refused():
    model = keras.Sequential(
        [keras.Input((4, 4, 2)), kl.Conv2D(3, 1, name="c"), kl.UpSampling2D(name="up")]
    )
    with pytest.raises(RuntimeError, match=r"'up' \(UpSampling2D\) is not supported"):
        delete_filters(model, "c", [0])
    model = keras.Sequential(
        [keras.Input((4, 4, 2)), kl.Conv2D(3, 1, name="c"), kl.Reshape((8, 6), name="mix")]
    )
    with pytest.raises(RuntimeError, match=r"'mix' \(Reshape\)"):
        delete_filters(model, "c", [0])


def test_policies():
    model = small_model()
    assert neural_layers(model) == ["dense", "separable_2", "separable", "conv"]
    layer = kl.Dense(6)
    layer.build((None, 2))
    layer.set_weights([np.array([[3, 1, 2, 1, 5, 4.0], [3, -1, 2, 1, 5, -4]]), np.zeros(6)])
    assert smallest_filters(layer, 0.5).tolist() == [1, 3, 2]
    assert smallest_filters(layer, 0.99).tolist() == [1, 3, 2, 0, 5]
    assert smallest_filters(layer, 0).tolist() == []
    for rate in (-0.1, 1):
        with pytest.raises(ValueError, match="pruning_rate is"):
            smallest_filters(layer, rate)
    with pytest.raises(ValueError, match="has no filters"):
        smallest_filters(model.get_layer("flatten"), 0.5)


def test_separable_filters_are_ranked_by_their_pointwise_kernel():
    layer = kl.SeparableConv2D(3, 3, use_bias=False)
    layer.build((None, 4, 4, 2))
    pointwise = np.zeros((1, 1, 2, 3), "f4")
    pointwise[0, 0] = [[1, -3, 2], [1, 3, 2]]
    layer.set_weights([np.ones((3, 3, 2, 1)), pointwise])
    assert smallest_filters(layer, 0.7).tolist() == [0, 2]


def test_pruning_keeps_the_last_accepted_rate(capsys):
    model = small_model()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    seen = []

    def accept(base, candidate):
        assert base is model
        assert candidate.compiled
        counts = {x.name: x.get_weights()[-1].shape[-1] for x in candidate.layers if x.weights}
        seen.append(counts)
        return counts["dense"] >= 5 and counts["separable_2"] >= 1 and counts["conv"] == 5

    pruned, rates = prune_model(model, accept)
    # 7 units: 0.1 and 0.2 delete one (the second is not tried again), 0.3 two, 0.4 three
    assert rates == {"dense": 0.3, "separable_2": 0.7, "separable": 0.8, "conv": 0.0}
    assert [counts["dense"] for counts in seen[:3]] == [6, 5, 4]
    assert pruned.get_layer("dense").units == 5
    assert pruned.get_layer("separable_2").filters == 1
    assert pruned.get_layer("conv").filters == 5
    assert pruned.compiled
    assert not any(isinstance(layer, kl.BatchNormalization) for layer in pruned.layers)
    assert capsys.readouterr().out.startswith("dense: 30% of the filters deleted, parameters ")


def test_nothing_accepted_gives_the_folded_model():
    model = small_model()
    x = images(model)
    pruned, rates = prune_model(model, lambda base, candidate: False, [0.5], verbose=False)
    assert set(rates.values()) == {0.0}
    np.testing.assert_allclose(pruned(x), model(x), atol=1e-5)  # folding rounds once


def test_the_users_policies_count():
    model = small_model()
    pruned, rates = prune_model(
        model,
        lambda base, candidate: True,
        [0.2, 0.4],
        prunable_layers_policy=lambda model: ["conv"],
        prunable_filters_policy=lambda layer, rate: list(range(round(rate * layer.filters))),
        verbose=False,
    )
    assert rates == {"conv": 0.4}
    assert pruned.get_layer("conv").filters == 3
    with pytest.raises(ValueError, match="names 'other'"):
        prune_model(model, lambda a, b: True, prunable_layers_policy=lambda model: ["other"])


def test_the_separable_models_of_the_zoo_are_pruned():
    model = zoo.ds_cnn_kws(classes=3)
    randomize(model, 2)
    pruned, rates = prune_model(model, lambda base, candidate: True, [0.5], verbose=False)
    assert pruned.get_layer("separable_3").filters == 32
    assert set(rates.values()) == {0.5}
    x = images(model, 2)
    assert pruned(x).shape == (2, 3)
