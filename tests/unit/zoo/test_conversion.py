"""Every model of the zoo, at a reduced size and with calibrated activations, on integers.

The frozen Keras model and the runtime agree bit for bit in every activation.
"""

import keras
import numpy as np
import pytest

from kerasnsoc import zoo
from kerasnsoc.conversion import check_model_compatibility, compare, convert, freeze
from kerasnsoc.quantization import calibrate

pytestmark = [
    pytest.mark.keras,
    # random weights give large steps; a softmax behind the last layer is left out
    pytest.mark.filterwarnings("ignore:these layers run in software"),
    pytest.mark.filterwarnings("ignore:layer .* behind the last neural layer"),
]

CENTRED = {"input_scaling": (128.0, 128)}
UNIT = {"input_scaling": (255.0, 0)}
EVENTS = {"input_is_sparse": True}

MODELS = [
    ("mobilenet_imagenet", {"input_shape": (32, 32, 3), "alpha": 0.1, "classes": 5}, CENTRED),
    (
        "mobilenet_imagenet",
        {"input_shape": (64, 32, 1), "alpha": 0.1, "classes": 1, "use_stride2": True},
        CENTRED,
    ),
    ("ds_cnn_cifar10", {"input_shape": (16, 16, 3), "alpha": 0.1}, UNIT),
    ("ds_cnn_kws", {"classes": 4}, UNIT),
    ("ds_cnn_kws", {"include_top": False}, UNIT),
    ("vgg_cifar10", {"input_shape": (8, 8, 3)}, UNIT),
    pytest.param(
        "vgg_imagenet",
        {"input_shape": (32, 32, 3), "classes": 3, "pooling": "avg"},
        CENTRED,
        marks=pytest.mark.slow,  # 17 million weights
    ),
    ("vgg_imagenet", {"input_shape": (32, 48, 3), "include_top": False}, CENTRED),
    ("vgg_utk_face", {}, {"input_scaling": (127.0, 127)}),
    ("yolo_base", {"input_shape": (64, 32, 3), "alpha": 0.1, "classes": 2}, CENTRED),
    ("convtiny_dvs_gesture", {"input_shape": (32, 32, 10)}, EVENTS),
    ("convtiny_dvs_handy", {"input_shape": (30, 40, 2)}, EVENTS),
    ("convtiny_cwru", {}, {}),
    ("pointnet_plus_modelnet40", {"selected_points": 8, "alpha": 0.25, "classes": 4}, {}),
    ("gxnor_mnist", {}, UNIT),
    ("gxnor_mnist", {"input_scaling": (255, 0)}, {}),
]


def integers(model, conversion, n):
    rng = np.random.default_rng(0)
    limit = 16 if conversion.get("input_is_sparse") else 256
    return rng.integers(0, limit, (n, *model.input_shape[1:])).astype(np.uint8)


def reals(x, conversion):
    scale, shift = conversion.get("input_scaling", (1.0, 0))
    return ((x.astype(np.float32) - shift) / scale).astype(np.float32)


def randomize(model):
    """Statistics as after training: the networks pass something on, and nothing is symmetric."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, shape),
                    rng.uniform(0, 0.5, shape),
                    rng.normal(0, 0.1, shape),
                    rng.uniform(0.5, 1, shape),
                ]
            )


def quantized_model(model, x, conversion):
    # the cheap ranges: exactness does not depend on them
    return calibrate(
        *(model, reals(x, conversion), 4, 4, 8),
        weight_ranges="max",
        bias_correction=False,
        progress=False,
    ).model


def as_input(x, conversion):
    """Events come as (n, width, height, channels)."""
    return x.swapaxes(1, 2) if conversion.get("input_is_sparse") else x


@pytest.mark.parametrize(
    ("function", "arguments", "conversion"),
    MODELS,
)
def test_every_model_runs_on_integers(function, arguments, conversion):
    if function == "pointnet_plus_modelnet40":
        conversion = {"input_scaling": (127.0, 127)}
    model = getattr(zoo, function)(**arguments)
    randomize(model)
    x = integers(model, conversion, 2)
    quantized = quantized_model(model, x, conversion)
    input_is_sparse = conversion.get("input_is_sparse", False)
    assert check_model_compatibility(quantized, input_is_sparse, report=True) == []
    network = convert(quantized, **conversion)
    report = compare(freeze(quantized, **conversion), network, as_input(x, conversion))
    assert report.differing == 0, str(report)
    assert report.compared > 0
    assert network.forward(as_input(x, conversion)).any()  # the last layer still sees something


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("gxnor_mnist", {"weight_quantization": 2, "activ_quantization": 1}),
        (
            "ds_cnn_kws",
            {
                "classes": 3,
                "weight_quantization": 4,
                "activ_quantization": 4,
                "input_weight_quantization": 8,
                "last_layer_activ_quantization": 1,
            },
        ),
    ],
)
def test_models_that_are_quantized_when_built_convert(function, arguments):
    model = getattr(zoo, function)(**arguments)
    x = integers(model, UNIT, 2)
    report = compare(freeze(model, **UNIT), convert(model, **UNIT), x)
    assert report.differing == 0, str(report)


def test_the_edge_form_of_mobilenet_converts():
    float_model = zoo.mobilenet_imagenet((32, 32, 3), alpha=0.1, classes=3)
    randomize(float_model)
    x = integers(float_model, CENTRED, 2)
    base = quantized_model(float_model, x, CENTRED)
    edge = zoo.mobilenet_edge_imagenet(base, 4)
    network = convert(edge, **CENTRED)
    report = compare(freeze(edge, **CENTRED), network, x)
    assert report.differing == 0, str(report)
    assert [layer.name for layer in network.layers][-2:] == [
        "spike_generator",
        "classification_layer",
    ]
