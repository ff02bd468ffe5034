"""Counts, names, shapes and refusals of every model function."""

import math

import keras
import numpy as np
import pytest

from kerasnsoc import zoo
from kerasnsoc.quantization import (
    ActivationDiscreteRelu,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedSeparableConv2D,
)
from kerasnsoc.zoo import _common

pytestmark = pytest.mark.keras

NEURAL = (keras.layers.Conv2D, keras.layers.SeparableConv2D, keras.layers.Dense)
QUANTIZED = (QuantizedConv2D, QuantizedSeparableConv2D, QuantizedDense)

# function, arguments, total, trainable, folded parameters, millions of multiplications; None is
# given where the specification has no number
COUNTS = [
    ("mobilenet_imagenet", {}, 4_242_240, 4_230_272, 4_224_288, 887.2),
    ("mobilenet_imagenet", {"use_stride2": True}, 4_242_240, 4_230_272, 4_224_288, 568.7),
    ("mobilenet_imagenet", {"alpha": 0.5}, 1_336_224, 1_330_240, 1_327_248, 231.7),
    ("mobilenet_imagenet", {"alpha": 0.25}, 471_888, 468_896, 467_400, 62.8),
    (
        "mobilenet_imagenet",
        {"input_shape": (160, 160, 3), "alpha": 0.25},
        471_888,
        468_896,
        467_400,
        32.2,
    ),
    (
        "mobilenet_imagenet",
        {"input_shape": (224, 224, 3), "include_top": False},
        3_209_024,
        3_197_056,
        3_191_072,
        886.2,
    ),
    ("mobilenet_imagenet", {"classes": 10}, 3_228_480, 3_216_512, 3_210_528, 886.2),
    ("mobilenet_imagenet", {"alpha": 0.5, "classes": 10}, 829_344, None, None, 231.1),
    ("mobilenet_imagenet", {"alpha": 0.25, "classes": 10}, 218_448, None, None, 62.6),
    ("ds_cnn_cifar10", {}, 2_681_984, 2_672_256, 2_667_392, 288.0),
    ("ds_cnn_kws", {}, 49_697, 48_481, 47_873, 2.75),
    ("ds_cnn_kws", {"include_top": False}, 41_216, 40_000, 39_392, 2.74),
    ("vgg_cifar10", {}, 21_901_696, 21_894_016, 21_890_176, 632.7),
    ("vgg_imagenet", {}, 47_185_160, 47_167_400, 47_149_640, 530.7),
    ("vgg_imagenet", {"include_top": False}, 579_872, 578_496, 577_120, 484.1),
    ("vgg_imagenet", {"pooling": "avg"}, 22_019_336, None, None, None),
    ("vgg_utk_face", {}, 459_249, 458_569, 458_229, 25.0),
    ("yolo_base", {}, 6_434_654, 6_416_542, 6_407_486, 1043.6),
    ("yolo_base", {"alpha": 0.5}, 3_516_350, None, 3_498_158, 362.7),
    ("yolo_base", {"alpha": 0.5, "classes": 2}, 3_521_475, None, 3_503_283, 362.9),
    ("yolo_base", {"classes": 20}, 6_532_029, None, None, 1048.4),
    ("convtiny_dvs_gesture", {}, 139_040, 138_016, 137_504, 11.8),
    ("convtiny_dvs_handy", {}, 1_714_656, 1_712_128, 1_710_864, 119.2),
    ("convtiny_cwru", {}, 80_256, 79_232, 78_720, 15.5),
    ("pointnet_plus_modelnet40", {}, 609_864, 605_896, 601_928, 62.0),
    ("pointnet_plus_modelnet40", {"alpha": 0.5}, 157_752, None, None, 17.3),
    ("pointnet_plus_modelnet40", {"knn_points": 16}, 609_864, None, None, 31.5),
    ("pointnet_plus_modelnet40", {"knn_points": 256}, 609_864, None, None, 196.5),
    ("pointnet_plus_modelnet40", {"features": 1}, 609_288, None, None, 57.3),
    ("gxnor_mnist", {}, 1_665_842, 1_664_606, 1_663_370, 12.3),
]


def neural_layers(model):
    return [layer for layer in model.layers if isinstance(layer, NEURAL + QUANTIZED)]


def kernels(layer):
    return [w for w in layer.weights if "kernel" in w.path.rsplit("/", 1)[-1]]


def folded_count(model):
    """Kernels, and a bias for each layer that has one or that a batch normalization follows."""
    names = {layer.name for layer in model.layers}
    count = 0
    for layer in neural_layers(model):
        count += sum(math.prod(w.shape) for w in kernels(layer))
        if layer.use_bias or f"{layer.name}_BN" in names:
            count += kernels(layer)[-1].shape[-1]
    return count


def multiplications(model):
    count = 0
    for layer in neural_layers(model):
        positions = math.prod(layer.output.shape[1:-1])
        count += positions * sum(math.prod(w.shape) for w in kernels(layer))
    return count


SEPARABLES = [f"separable_{i}" for i in range(1, 15)]

LAYERS = {
    "mobilenet_imagenet": ["conv_0", *SEPARABLES],
    "ds_cnn_cifar10": ["conv_0", *SEPARABLES[:10]],
    "ds_cnn_kws": ["conv_0", *SEPARABLES[:6], "dense_7"],
    "vgg_cifar10": [*(f"conv_{i}" for i in range(7)), "dense_7", "dense_8"],
    "vgg_imagenet": [
        *("block1_conv1", "block2_conv1", "block3_conv1", "block3_conv2", "block4_conv1"),
        *("block4_conv2", "block5_conv1", "block5_conv2", "fc1", "fc2", "predictions"),
    ],
    "vgg_utk_face": [*(f"conv_{i}" for i in range(5)), "dense_1", "dense_2"],
    "yolo_base": ["conv_0", *SEPARABLES[:13], "1conv", "2conv", "3conv", "detection_layer"],
    "convtiny_dvs_gesture": [*(f"conv_0{i}" for i in range(1, 6)), "spiking_layer", "dense"],
    "convtiny_dvs_handy": [*(f"conv_{i}" for i in range(6)), "spiking_layer", "dense"],
    "convtiny_cwru": ["conv_1", "conv_2", "separable_1", "predictions"],
    "pointnet_plus_modelnet40": [
        *("block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2", "block3_conv1"),
        *("block3_conv2", "block4_conv1", "block5_conv1", "fc1", "fc2", "dense"),
    ],
    "gxnor_mnist": ["block1_conv1", "block2_conv1", "fc1", "predictions"],
}


@pytest.mark.parametrize(
    ("function", "arguments", "total", "trainable", "folded", "millions"),
    COUNTS,
    ids=[f"{row[0]}-{'-'.join(map(str, row[1].values()))}" for row in COUNTS],
)
def test_counts(function, arguments, total, trainable, folded, millions):
    model = getattr(zoo, function)(**arguments)
    assert model.count_params() == total
    if trainable is not None:
        assert sum(math.prod(w.shape) for w in model.trainable_weights) == trainable
    if folded is not None:
        assert folded_count(model) == folded
    if millions is not None:
        # the published figures are rounded to one or two decimals
        assert multiplications(model) / 1e6 == pytest.approx(millions, abs=0.06)
    names = [layer.name for layer in neural_layers(model)]
    assert names == LAYERS[function][: len(names)]
    assert len(names) == len(LAYERS[function]) or not arguments.get("include_top", True)
    assert not any("/" in layer.name for layer in model.layers)
    assert not model.compiled


SHAPES = [
    ("mobilenet_imagenet", {}, (1000,), "mobilenet_1.00_224_1000"),
    (
        "mobilenet_imagenet",
        {"input_shape": (160, 160, 3), "alpha": 0.5, "classes": 1},
        (1,),
        "mobilenet_0.50_160_1",
    ),
    (
        "mobilenet_imagenet",
        {"input_shape": (96, 64, 1), "include_top": False, "alpha": 0.25},
        (3, 2, 256),
        "mobilenet_0.25_96_1000",
    ),
    (
        "mobilenet_imagenet",
        {"include_top": False, "pooling": "avg", "alpha": 0.25},
        (256,),
        "mobilenet_0.25_None_1000",
    ),
    ("ds_cnn_cifar10", {"classes": 7}, (7,), "ds_cnn_cifar10"),
    ("ds_cnn_cifar10", {"alpha": 0.5}, (10,), "ds_cnn_cifar10_0.5"),
    ("ds_cnn_kws", {}, (33,), "ds_cnn_kws"),
    ("ds_cnn_kws", {"include_top": False, "classes": None}, (1, 1, 256), "ds_cnn_kws"),
    ("vgg_cifar10", {"input_shape": (16, 16, 3)}, (10,), "vgg_cifar10"),
    (
        "vgg_imagenet",
        {"input_shape": (64, 32, 3), "include_top": False},
        (2, 1, 128),
        "vgg11_64_1000",
    ),
    (
        "vgg_imagenet",
        {"input_shape": (64, 64, 3), "include_top": False, "pooling": "avg"},
        (128,),
        "vgg11_64_1000",
    ),
    ("vgg_utk_face", {}, (1,), "vgg_utk_face"),
    ("yolo_base", {"input_shape": (100, 64, 3), "alpha": 0.25}, (4, 2, 30), "yolo_base"),
    ("convtiny_dvs_gesture", {}, (10,), "dvs_network"),
    ("convtiny_dvs_handy", {"input_shape": (30, 40, 2)}, (9,), "dvs_network"),
    ("convtiny_cwru", {}, (10,), "convtiny_cwru"),
    ("pointnet_plus_modelnet40", {"alpha": 0.25}, (40,), "pointnet_plus"),
    ("gxnor_mnist", {}, (10,), "gxnor_mnist"),
]


@pytest.mark.parametrize(("function", "arguments", "shape", "name"), SHAPES)
def test_shapes_and_model_names(function, arguments, shape, name):
    model = getattr(zoo, function)(**arguments)
    assert model.output_shape[1:] == shape
    assert model.name == name


def test_point_clouds_fold_into_images():
    shapes = {4: (256, 2), 8: (256, 4), 16: (512, 4), 32: (512, 8), 64: (1024, 8), 128: (1024, 16)}
    poolings = {4: 1, 8: 2, 16: 2, 32: 3, 64: 3, 128: 4}
    for points, shape in shapes.items():
        model = zoo.pointnet_plus_modelnet40(knn_points=points, alpha=0.1)
        assert model.input_shape[1:] == (*shape, 3)
        found = [x for x in model.layers if isinstance(x, keras.layers.MaxPooling2D)]
        assert len(found) == poolings[points]


def test_the_whole_chain_of_one_model():
    assert [layer.name for layer in zoo.ds_cnn_kws().layers] == [
        *("input", "conv_0", "conv_0_BN", "conv_0_relu"),
        *(f"separable_{i}{part}" for i in range(1, 5) for part in ("", "_BN", "_relu")),
        *("separable_5", "separable_5_global_avg", "separable_5_BN", "separable_5_relu"),
        *("reshape_1", "separable_6", "separable_6_BN", "separable_6_relu"),
        *("flatten", "dense_7", "act_softmax"),
    ]


def bits_of(model):
    weights = [layer.quantizer.bitwidth for layer in neural_layers(model)]
    activations = [x.bitwidth for x in model.layers if isinstance(x, ActivationDiscreteRelu)]
    return weights, activations


def test_bits_go_to_the_first_layer_the_others_and_the_activations():
    model = zoo.ds_cnn_kws(
        weight_quantization=4,
        activ_quantization=3,
        input_weight_quantization=8,
        last_layer_activ_quantization=1,
    )
    assert bits_of(model) == ([8] + [4] * 7, [3] * 6 + [1])
    assert model.get_layer("separable_6_relu").bitwidth == 1


def test_bits_of_the_first_layer_default_to_those_of_the_others():
    weights, activations = bits_of(zoo.gxnor_mnist(2, 1))
    assert (weights, activations) == ([2] * 4, [1] * 3)
    weights, _ = bits_of(zoo.convtiny_dvs_gesture(weight_quantization=4, activ_quantization=4))
    assert weights == [4] * 7


def test_point_clouds_have_8_bits_in_the_first_layer():
    weights, _ = bits_of(zoo.pointnet_plus_modelnet40(alpha=0.1, weight_quantization=4))
    assert weights == [8] + [4] * 10


def test_zero_bits_return_the_float_model():
    model = zoo.gxnor_mnist(0, 0, 0)
    assert not any(isinstance(layer, QUANTIZED) for layer in model.layers)
    only_input = zoo.gxnor_mnist(0, 0, 4)
    assert only_input.get_layer("block1_conv1").quantizer.bitwidth == 4
    assert isinstance(only_input.get_layer("fc1_relu"), keras.layers.ReLU)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_quantization": 1}, r"weight_quantization is 1, .*2 to 8"),
        ({"weight_quantization": 9}, r"weight_quantization is 9"),
        ({"weight_quantization": "4"}, r"weight_quantization is '4'"),
        ({"weight_quantization": True}, r"weight_quantization is True"),
        ({"activ_quantization": -1}, r"activ_quantization is -1, .*1 to 8"),
        ({"input_weight_quantization": 1}, r"input_weight_quantization is 1"),
        ({"input_scaling": (0, 1)}, r"input_scaling is \(0, 1\).*above 0"),
        ({"input_scaling": 255}, r"input_scaling is 255"),
    ],
)
@pytest.mark.parametrize("function", ["gxnor_mnist", "ds_cnn_kws", "mobilenet_imagenet"])
def test_refused_bits(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(zoo, function)(**arguments)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("mobilenet_imagenet", {"alpha": 0}, "alpha is 0"),
        ("mobilenet_imagenet", {"alpha": float("nan")}, "alpha is nan"),
        ("mobilenet_imagenet", {"alpha": 0.01}, "alpha too small: alpha=0.01"),
        ("mobilenet_imagenet", {"pooling": "max"}, "pooling is 'max'"),
        ("mobilenet_imagenet", {"classes": 0}, "classes is 0"),
        ("mobilenet_imagenet", {"classes": None}, "classes is None"),
        ("mobilenet_imagenet", {"input_shape": (224, 224)}, r"\(rows, columns, channels\)"),
        ("mobilenet_imagenet", {"input_shape": (31, 224, 3)}, "at least 32"),
        ("mobilenet_imagenet", {"input_shape": (None, None, 3)}, "all its dimensions"),
        ("mobilenet_imagenet", {"input_shape": (64.0, 64, 3)}, "dimension of input_shape is 64.0"),
        ("ds_cnn_kws", {"classes": None}, "classes is None"),
        ("ds_cnn_kws", {"last_layer_activ_quantization": 9}, "last_layer_activ_quantization is 9"),
        (
            "ds_cnn_kws",
            {"activ_quantization": 4, "last_layer_activ_quantization": 0},
            "last_layer_activ_quantization is 0.*cannot go back",
        ),
        ("ds_cnn_cifar10", {"alpha": -1}, "alpha is -1"),
        ("vgg_imagenet", {"pooling": "max"}, "pooling is 'max'"),
        ("vgg_imagenet", {"input_shape": (None, None, 3)}, "dense layers need all dimensions"),
        ("vgg_cifar10", {"input_shape": (None, None, 3)}, "dense layers need all dimensions"),
        ("vgg_utk_face", {"input_shape": (None, None, 3)}, "dense layers need all dimensions"),
        ("yolo_base", {"input_shape": (None, None, 3)}, "detector needs all its dimensions"),
        ("yolo_base", {"classes": 0}, "classes is 0"),
        ("yolo_base", {"nb_box": 0}, "nb_box is 0"),
        ("yolo_base", {"head_filters": 0}, "head_filters is 0"),
        ("pointnet_plus_modelnet40", {"knn_points": 10}, r"\[4, 8, 16, 32, 64, 128, 256, 512\]"),
        ("pointnet_plus_modelnet40", {"alpha": 0.01}, "alpha too small"),
        ("convtiny_dvs_gesture", {"classes": 0}, "classes is 0"),
    ],
)
def test_refused_arguments(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(zoo, function)(**arguments)


def test_unusual_channels_warn():
    with pytest.warns(UserWarning, match="4 channels"):
        zoo.mobilenet_imagenet((32, 32, 4), alpha=0.1, include_top=False)
    with pytest.warns(UserWarning, match="features is 4"):
        zoo.pointnet_plus_modelnet40(features=4, alpha=0.1)


def test_a_scaling_lets_the_model_take_raw_values():
    raw = zoo.gxnor_mnist(input_scaling=(255, 0))
    scaled = zoo.gxnor_mnist()
    scaled.set_weights(raw.get_weights())
    x = np.arange(784, dtype=np.float32).reshape(1, 28, 28, 1) % 256
    assert raw.get_layer("rescaling").offset == 0
    np.testing.assert_array_equal(raw(x), scaled(x * np.float32(1 / 255)))


def test_regularizers_of_the_imagenet_models():
    model = zoo.mobilenet_imagenet((32, 32, 3), alpha=0.1, classes=2)
    assert model.get_layer("conv_0").kernel_regularizer.l2 == pytest.approx(4e-5)
    layer = model.get_layer("separable_14")
    assert layer.pointwise_regularizer.l2 == pytest.approx(4e-5)
    assert layer.depthwise_regularizer is None
    regularized = [w for w in model.trainable_weights if w.regularizer is not None]
    assert len(regularized) == 15


def test_the_detection_layer_starts_near_zero():
    layer = zoo.yolo_base((64, 64, 3), alpha=0.25).get_layer("detection_layer")
    assert layer.use_bias
    for weight in layer.get_weights():
        # 0.1 / (2 * 2); 30 biases estimate it within a factor of 2
        assert 0.0125 < weight.std() < 0.05


def test_sparsity_of_point_clouds_is_trained():
    model = zoo.pointnet_plus_modelnet40(alpha=0.1)
    for name in ("block1_conv1_relu", "block4_conv1_relu"):
        assert model.get_layer(name).activity_regularizer.l1 == pytest.approx(1e-7)
    assert model.get_layer("block5_conv1_relu").activity_regularizer is None


@pytest.fixture(scope="module")
def base():
    return zoo.mobilenet_imagenet((32, 32, 3), alpha=0.25, classes=5, weight_quantization=4)


def test_the_edge_form_of_mobilenet(base, tmp_path):
    layers = list(base.layers)
    before = base.get_weights()
    path = tmp_path / "base.keras"
    base.save(path)
    for source in (base, path):
        edge = zoo.mobilenet_edge_imagenet(source, 7)
        assert edge.name == "mobilenet_0.25_32_5_edge"
        assert edge.output_shape == (None, 7)
        assert edge.get_layer("spike_generator").quantizer.bitwidth == 4
        assert edge.get_layer("spike_generator_relu").bitwidth == 1
        assert edge.get_layer("classification_layer").quantizer.bitwidth == 2
        np.testing.assert_array_equal(
            edge.get_layer("separable_13").get_weights()[1],
            base.get_layer("separable_13").get_weights()[1],
        )
        assert edge.get_layer("separable_13") is not base.get_layer("separable_13")
    assert base.layers == layers
    for old, new in zip(before, base.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_edge_form_has_the_published_count():
    base = zoo.mobilenet_imagenet(alpha=0.5, weight_quantization=4, activ_quantization=4)
    assert zoo.mobilenet_edge_imagenet(base, 1000).count_params() == 3_913_872


def test_the_edge_form_refuses_other_bases(base):
    with pytest.raises(ValueError, match="no quantized layer 'separable_14'"):
        zoo.mobilenet_edge_imagenet(zoo.gxnor_mnist(2, 2), 5)
    floats = zoo.mobilenet_imagenet((32, 32, 3), alpha=0.1, classes=2)
    with pytest.raises(ValueError, match="a SeparableConv2D with float weights"):
        zoo.mobilenet_edge_imagenet(floats, 5)
    with pytest.raises(ValueError, match="classes is 0"):
        zoo.mobilenet_edge_imagenet(base, 0)
    with pytest.raises(ValueError, match="base_model is None"):
        zoo.mobilenet_edge_imagenet(None, 2)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_widths_may_be_numbers_of_numpy(kind):
    _common.check_alpha(kind(0.25))
    assert _common.scaled(32, kind(0.25)) == 8
    for wrong in (np.bool_(True), kind(np.nan), kind(0)):
        with pytest.raises(ValueError, match="alpha is"):
            _common.check_alpha(wrong)
