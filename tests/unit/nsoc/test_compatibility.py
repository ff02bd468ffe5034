"""Published constraints of the chips: one failing example per rule, and the way around."""

import re

import numpy as np
import pytest

import kerasnsoc.compatibility
from kerasnsoc.compatibility import create_from_model, model_hardware_incompatibilities
from kerasnsoc.runtime import (
    Concat,
    Convolutional,
    ConvolutionMode,
    FullyConnected,
    InputConvolutional,
    InputData,
    LearningParameters,
    LearningType,
    Model,
    NsocVersion,
    PoolingType,
    SeparableConvolutional,
)
from tests.networks import every_kind
from tests.unit.runtime.small import fill, model_of

V1, V2 = NsocVersion.v1, NsocVersion.v2
BOTH = (V1, V2)


def image(channels=1, kernel=3, width=32, height=32, kernel_height=None, neurons=4, **arguments):
    kernel_height = kernel if kernel_height is None else kernel_height
    return InputConvolutional(
        width, height, channels, kernel, kernel_height, neurons, "c", **arguments
    )


def convolution(kernel=3, kernel_height=None, cls=Convolutional, neurons=4, **arguments):
    return cls(
        kernel, kernel if kernel_height is None else kernel_height, neurons, "c", **arguments
    )


def separable(*args, **arguments):
    return convolution(*args, cls=SeparableConvolutional, **arguments)


def pooled(size=2, stride=-1, height=None, kind=PoolingType.Max, stride_y=None):
    return {
        "pooling_type": kind,
        "pooling_width": size,
        "pooling_height": size if height is None else height,
        "pooling_stride_x": stride,
        "pooling_stride_y": stride if stride_y is None else stride_y,
    }


def behind(layer, side=16, bits=4, follower=True, height=None, channels=2):
    """A layer between an input and a convolution, which pooling must be followed by."""
    first = InputData(side, side if height is None else height, channels, bits, name="in")
    last = [Convolutional(1, 1, 2, "last")] if follower else []
    return model_of(first, layer, *last)


GLOBAL = pooled(-1, kind=PoolingType.Average)

# model, version, the one thing that is said about layer "c"
VIOLATIONS = [
    (lambda: model_of(image()), V1, "InputConvolutional is not supported by v1"),
    (lambda: model_of(image(width=4)), V2, "input width of 4, allowed are 5 to 256"),
    (lambda: model_of(image(width=257)), V2, "input width of 257"),
    (lambda: model_of(image(height=4)), V2, "input height of 4, allowed are 5 and more"),
    (lambda: model_of(image(kernel=9)), V2, "kernel of 9x9, allowed are 3x3, 5x5 and 7x7"),
    (lambda: model_of(image(kernel_height=5)), V2, "kernel of 3x5"),
    (lambda: model_of(image(kernel=1)), V2, "kernel of 1x1"),
    (
        lambda: model_of(image(stride_x=4, stride_y=4)),
        V2,
        "stride of 4x4, allowed are 1x1, 2x2 and",
    ),
    (lambda: model_of(image(stride_x=2)), V2, "stride of 2x1"),
    (
        lambda: model_of(image(convolution_mode=ConvolutionMode.Full)),
        V2,
        "Full, allowed are Same a",
    ),
    (lambda: model_of(image(neurons=513)), V2, "513 filters, allowed are 512 for 1 input channels"),
    (lambda: model_of(image(kernel=5, neurons=193)), V2, "193 filters, allowed are 192"),
    (lambda: model_of(image(kernel=7, neurons=97)), V2, "97 filters, allowed are 96"),
    (lambda: model_of(image(3, neurons=193)), V2, "193 filters, allowed are 192 for 3"),
    (lambda: model_of(image(3, 5, neurons=65)), V2, "65 filters, allowed are 64"),
    (lambda: model_of(image(3, 7, neurons=33)), V2, "33 filters, allowed are 32"),
    (lambda: model_of(image(**pooled(3))), V2, "max pooling of 3x3, allowed are 1x1, 1x2, 2x1"),
    (lambda: model_of(image(**pooled(2, 1))), V2, "stride of 1x1 for a window of 2x2.*page: 2"),
    (lambda: model_of(image(**GLOBAL)), V2, "average pooling, allowed is max pooling"),
    (lambda: model_of(image(weights_bits=3)), V2, "3 bits, allowed are 1, 2, 4 and 8.*1 to 8"),
    (lambda: model_of(image(threshold_fire_bits=8)), V2, "activations of 8 bits, allowed are 1, 2"),
    (lambda: model_of(image(threshold_fire=2**23)), V2, "is 8388608, allowed are -8388607 to 8388"),
    (
        lambda: model_of(image(threshold_fire_step=2**20)),
        V2,
        "is 1.04858e.06, allowed are 0 to 104",
    ),
    *(
        (make, version, words)
        for version in BOTH
        for make, words in [
            (lambda: behind(convolution(2)), "kernel of 2x2, allowed are 1x1, 3x3, 5x5 and 7x7"),
            (lambda: behind(convolution(3, 1)), "kernel of 3x1"),
            (lambda: behind(convolution(9)), "kernel of 9x9"),
            (lambda: behind(convolution(stride_x=3, stride_y=3)), "stride of 3x3"),
            (lambda: behind(convolution(stride_y=2)), "stride of 1x2"),
            (lambda: behind(convolution(convolution_mode=ConvolutionMode.Valid)), "mode Valid, al"),
            (lambda: behind(convolution(convolution_mode=ConvolutionMode.Full)), "mode Full, al"),
            (lambda: behind(convolution(**pooled(4, 2))), "max pooling of 4x4"),
            (lambda: behind(convolution(**pooled(2, 1, 1))), "pooling of 2x1"),
            (lambda: behind(convolution(**pooled(1, 2))), "stride of 2x2, allowed are strides up"),
            (lambda: behind(convolution(**pooled()), follower=False), "in the last layer"),
            (lambda: behind(separable(**pooled()), follower=False), "in the last layer"),
            (
                lambda: behind(convolution(**pooled(2, kind=PoolingType.Average))),
                "over 16x16, allow",
            ),
            (lambda: behind(convolution(), bits=3), "inputs of 3 bits, allowed are 1, 2 and 4"),
            (lambda: behind(convolution(weights_bits=3)), "weights of 3 bits"),
            (
                lambda: behind(convolution(threshold_fire_bits=3), follower=False),
                "activations of 3",
            ),
            (
                lambda: behind(convolution(threshold_fire=-(2**19))),
                "is -524288, allowed are -524287",
            ),
            (
                lambda: behind(convolution(threshold_fire_step=2**16)),
                "is 65536, allowed are 0 to 65",
            ),
            (lambda: behind(separable(1)), "kernel of 1x1, allowed are 3x3, 5x5 and 7x7"),
            (lambda: behind(separable(stride_x=3, stride_y=3)), "stride of 3x3"),
            (lambda: behind(separable(convolution_mode=ConvolutionMode.Valid)), "mode Valid"),
            (lambda: behind(separable(weights_bits=3)), "weights of 3 bits, allowed are 2 and 4"),
            (lambda: behind(separable(), bits=8), "inputs of 8 bits"),
            (lambda: behind(separable(threshold_fire_bits=8), follower=False), "activations of 8"),
            (lambda: behind(FullyConnected(2, "c", 3), 1, 2, False), "weights of 3 bits"),
            (lambda: behind(FullyConnected(2, "c"), 1, 3, False), "inputs of 3 bits"),
            (
                lambda: behind(FullyConnected(2, "c", threshold_fire_bits=8), 1, 2, False),
                "activations of 8 bits",
            ),
        ]
    ),
    (lambda: behind(convolution(stride_x=2, stride_y=2)), V1, "stride of 2x2, allowed are 1x1"),
    (
        lambda: behind(convolution(5, stride_x=2, stride_y=2)),
        V2,
        "with a kernel of 5x5, allowed is",
    ),
    (lambda: behind(separable(5, stride_x=2, stride_y=2)), V2, "with a kernel of 5x5, allowed is"),
    (lambda: behind(convolution(**pooled(3, 2))), V2, "max pooling of 3x3, .*older page: 3x3 too"),
    (
        lambda: behind(convolution(1, **pooled(3, 3)), 2),
        V1,
        "max pooling of 3x3 on an input of 2x2",
    ),
    (
        lambda: behind(convolution(3, **pooled()), 2),
        V1,
        "kernel, with max pooling, of 3x3 on an in",
    ),
    (lambda: behind(convolution(weights_bits=4)), V1, "weights of 4 bits, allowed are 1 and 2"),
    (lambda: behind(convolution(**GLOBAL), 9, height=8), V1, "over 9x8 .*widths of 8, 16, 24 and"),
    (lambda: behind(convolution(**GLOBAL), 8, height=9), V1, "over 8x9 .*multiples of 8"),
    (lambda: behind(convolution(**GLOBAL), 33), V2, "over 33x33 .*widths of 1 to 32"),
    (lambda: behind(convolution(**GLOBAL), 8, height=2), V2, "over 8x2 .*at least 3 rows"),
    (lambda: behind(separable(**GLOBAL), 1), V2, "global average pooling of a 1x1 map"),
    (lambda: behind(FullyConnected(2, "c"), 2, 2, False), V1, "input of 2x2 .*allowed is 1x1"),
    (
        lambda: behind(FullyConnected(2, "c"), 1, 2, False, channels=81921),
        V1,
        "81921 inputs, allowed are 81920$",
    ),
    (
        lambda: behind(FullyConnected(2, "c"), 1, 2, False, channels=57335),
        V2,
        "57335 inputs, allowed are 57334 .an older page: 81920",
    ),
    (
        lambda: behind(FullyConnected(2, "c"), 1, 4, False),
        V1,
        "inputs of 4 bits, allowed are 1 and",
    ),
    (lambda: behind(FullyConnected(2, "c", 4), 1, 2, False), V1, "weights of 4 bits"),
]


@pytest.mark.parametrize(("make", "version", "words"), VIOLATIONS)
def test_each_rule_is_reported_once(make, version, words):
    found = model_hardware_incompatibilities(make(), version)
    own = [line for line in found if line.startswith("c: ")]
    assert len(own) == 1, found
    assert re.search(words, own[0]), own[0]
    # a follower may not take these activations either, and says so itself
    assert all(line.startswith(("c: ", "last: inputs of ")) for line in found)


COMPATIBLE = [
    (lambda: model_of(image(neurons=512)), V2),
    (lambda: model_of(image(3, 7, 256, 5, neurons=32, stride_x=3, stride_y=3)), V2),
    (lambda: model_of(image(**pooled(1, 1, 2, stride_y=2))), V2),
    (lambda: model_of(image(threshold_fire=2**23 - 1, threshold_fire_step=2**20 - 1)), V2),
    (lambda: behind(convolution(stride_x=2, stride_y=2, weights_bits=4)), V2),
    (lambda: behind(convolution(**pooled(3, 3))), V1),
    (lambda: behind(convolution(**pooled(2, 1))), V2),
    (lambda: behind(convolution(**GLOBAL), 24, height=16), V1),
    (lambda: behind(convolution(**GLOBAL), 32, height=3), V2),
    (lambda: behind(separable(**GLOBAL), 5, follower=False), V2),
    (lambda: behind(convolution(threshold_fire=1 - 2**19, threshold_fire_step=2**16 - 1)), V1),
    (lambda: behind(FullyConnected(2, "c"), 1, 2, False, channels=81920), V1),
    (lambda: behind(FullyConnected(2, "c", 4), 5, 4, False), V2),
    (lambda: behind(FullyConnected(2, "c", 4, False, threshold_fire_step=1e6), 5, 4, False), V2),
]


@pytest.mark.parametrize(("make", "version"), COMPATIBLE)
def test_the_border_itself_is_compatible(make, version):
    assert model_hardware_incompatibilities(make(), version) == []


@pytest.mark.parametrize("version", BOTH)
def test_a_concat_is_not_supported(version):
    model = behind(convolution(1, weights_bits=2), follower=False)
    model.add(Convolutional(1, 1, 2, "d"), [model.get_layer("in")])
    model.add(Concat("join"), [model.get_layer("c"), model.get_layer("d")])
    assert model_hardware_incompatibilities(model, version) == [
        f"join: Concat is not supported by {version.name}"
    ]


def learns(monkeypatch, model, name):
    """As if the layer had been compiled."""
    for cls in {type(layer) for layer in model.layers}:
        monkeypatch.setattr(
            cls,
            "learning",
            property(
                lambda layer: LearningParameters(
                    LearningType.AkidaUnsupervised
                    if layer.name == name
                    else LearningType.NoLearning
                )
            ),
        )


@pytest.mark.parametrize("version", BOTH)
@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (lambda: behind(FullyConnected(2, "c"), 1, 1, False), "c", []),
        (
            lambda: behind(FullyConnected(2, "c", 2), 1, 2, False),
            "c",
            [
                "c: learns with weights of 2 bits, allowed is 1",
                "c: learns from inputs of 2 bits, allowed is 1",
            ],
        ),
        (
            lambda: behind(convolution(1), bits=1),
            "last",
            [
                "last: learns as a Convolutional, allowed is FullyConnected (some guides: "
                "Convolutional too)"
            ],
        ),
        (
            lambda: model_of(
                InputData(1, 1, 4, 1), FullyConnected(2, "c"), FullyConnected(2, "last")
            ),
            "c",
            ["c: learns, but only the last layer can"],
        ),
    ],
)
def test_a_learning_layer_is_the_last_fully_connected_and_binary(
    version, make, name, expected, monkeypatch
):
    model = make()
    learns(monkeypatch, model, name)
    assert model_hardware_incompatibilities(model, version) == expected


def test_nothing_is_put_behind_a_layer_that_learns(monkeypatch):
    model = behind(convolution(**pooled()), follower=False)
    learns(monkeypatch, model, "c")
    assert create_from_model(model).get_layer_count() == 2


def test_every_violation_is_listed_in_the_order_of_the_layers():
    model = behind(convolution(2, weights_bits=3), bits=3)
    found = model_hardware_incompatibilities(model)
    assert [line.partition(" of ")[0] for line in found] == [
        "c: kernel",
        "c: inputs",
        "c: weights",
    ]


PLAIN = (ConvolutionMode.Valid, ConvolutionMode.Full)


@pytest.mark.parametrize("mode", PLAIN)
@pytest.mark.parametrize("version", BOTH)
def test_a_1x1_convolution_has_the_same_windows_in_every_mode(mode, version):
    same = fill(behind(convolution(1, weights_bits=2, threshold_fire_bits=2)))
    other = behind(convolution(1, weights_bits=2, threshold_fire_bits=2, convolution_mode=mode))
    for layer in same.layers[1:]:
        other.get_layer(layer.name).variables["weights"] = layer.variables["weights"]
    assert model_hardware_incompatibilities(other, version) == []
    before = other.to_buffer()
    made = create_from_model(other, version)
    assert made.get_layer("c").parameters.convolution_mode is ConvolutionMode.Same
    assert other.to_buffer() == before
    inputs = events_for(other)
    np.testing.assert_array_equal(made.forward(inputs), other.forward(inputs))
    np.testing.assert_array_equal(made.forward(inputs), same.forward(inputs))
    assert made.to_buffer() == create_from_model(same, version).to_buffer()


@pytest.mark.parametrize("mode", PLAIN)
@pytest.mark.parametrize(
    ("kernel", "arguments", "dims", "is_same"),
    [
        (1, {"stride_x": 2, "stride_y": 2}, (16, 15), True),
        (1, pooled(2), (16, 16), True),
        (1, pooled(2), (16, 15), False),  # Same pools the odd row, too
        (1, pooled(3), (15, 15), True),
        (1, pooled(3, 2), (15, 15), False),
        (1, GLOBAL, (9, 7), True),
        (3, {}, (16, 16), False),
    ],
)
def test_other_modes_count_as_same_where_the_windows_agree(kernel, arguments, dims, is_same, mode):
    layer = convolution(kernel, convolution_mode=mode, **arguments)
    model = fill(behind(layer, dims[0], height=dims[1]))
    reported = any("convolution mode" in line for line in model_hardware_incompatibilities(model))
    assert reported is not is_same
    made = create_from_model(model)
    new = made.get_layer("c").parameters.convolution_mode
    assert new is (ConvolutionMode.Same if is_same else mode)
    inputs = events_for(model)
    np.testing.assert_array_equal(made.forward(inputs), model.forward(inputs))


def test_the_newest_version_is_the_default_and_the_model_stays_as_it_was():
    model = fill(behind(convolution(weights_bits=4)))
    before = model.to_buffer()
    assert model_hardware_incompatibilities(model) == []
    assert model_hardware_incompatibilities(model, V1) != []
    create_from_model(model)
    assert model.to_buffer() == before


@pytest.mark.parametrize("function", [model_hardware_incompatibilities, create_from_model])
def test_wrong_arguments_are_refused(function):
    model = behind(convolution())
    with pytest.raises(ValueError, match=r"NsocVersion.Unknown, but must be v1, v2"):
        function(model, NsocVersion.Unknown)
    with pytest.raises(TypeError, match=r"nsoc_version is 'v2'"):
        function(model, "v2")
    with pytest.raises(TypeError, match="model is a str"):
        function("net.h5")
    with pytest.raises(ValueError, match="model is empty"):
        function(Model())


def test_the_facade_has_the_public_names():
    assert kerasnsoc.compatibility.NsocVersion is NsocVersion
    assert kerasnsoc.compatibility.__all__ == [
        "NsocVersion",
        "create_from_model",
        "model_hardware_incompatibilities",
    ]


def events_for(model, samples=6):
    width, height, channels = model.input_dims
    top = 2 ** model.get_layer(0).input_bits
    rng = np.random.default_rng(5)
    events = rng.integers(0, top, (samples, width, height, channels), dtype=np.uint8)
    return events * (rng.random(events.shape) < 0.5).astype(np.uint8)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("version", BOTH)
@pytest.mark.parametrize("ends", [True, False])
def test_a_pooled_layer_in_front_of_no_convolution_gets_an_identity(bits, version, ends):
    kwargs = {"threshold_fire_bits": bits, "weights_bits": 2, "threshold_fire_step": 3}
    model = behind(convolution(**kwargs, **pooled()), 8, 4, follower=False)
    if not ends:
        model.add(FullyConnected(3, "head", 2, activations_enabled=False))
    model = fill(model)
    before = model_hardware_incompatibilities(model, version)
    assert any("max pooling" in line for line in before)
    better = create_from_model(model, version)
    after = model_hardware_incompatibilities(better, version)
    assert not any("max pooling" in line for line in after)
    added = better.get_layer("c_identity")
    assert added.input_bits == added.output_bits == bits
    assert better.get_layer_count() == model.get_layer_count() + 1
    events = events_for(model)
    outputs = model.forward(events)
    assert len(np.unique(outputs)) > 1
    np.testing.assert_array_equal(better.forward(events), outputs)


def test_only_followers_that_need_it_are_fed_by_the_identity():
    model = behind(convolution(**pooled()), 8, follower=False)
    pooled_layer = model.get_layer("c")
    model.add(Convolutional(1, 1, 2, "d", activations_enabled=False, **GLOBAL), [pooled_layer])
    model.add(FullyConnected(3, "e", activations_enabled=False), [pooled_layer])
    branches = [model.get_layer("d"), model.get_layer("e")]
    model.add(Concat("join", activations_enabled=False), branches)
    better = create_from_model(model)
    assert [layer.name for layer in better.get_layer("d").inbounds] == ["c"]
    assert [layer.name for layer in better.get_layer("e").inbounds] == ["c_identity"]


def test_what_cannot_be_helped_is_left():
    for layer in (
        convolution(**pooled(2, 2, 1, stride_y=1)),
        convolution(stride_x=3, stride_y=3),
    ):
        model = fill(behind(layer))
        better = create_from_model(model)
        assert model_hardware_incompatibilities(better) == model_hardware_incompatibilities(model)
        assert better.to_buffer() == model.to_buffer()
    potentials = behind(convolution(activations_enabled=False, **pooled()), follower=False)
    assert create_from_model(potentials).get_layer_count() == 2


def test_names_of_new_layers_are_free():
    model = model_of(
        InputData(4, 4, 1, name="c_identity"), convolution(**pooled()), FullyConnected(2, "head")
    )
    assert [layer.name for layer in create_from_model(model).layers] == [
        "c_identity",
        "c",
        "c_identity_2",
        "head",
    ]


@pytest.mark.parametrize("name", ["events", "image", "potentials", "input_only"])
@pytest.mark.parametrize("version", BOTH)
def test_outputs_scaling_and_metadata_are_kept(name, version):
    spec = every_kind()[name]
    model = Model.from_spec(spec)
    better = create_from_model(model, version)
    width, height, channels = model.input_dims
    shape = (height, width) if spec.input.kind == "image" else (width, height)
    rng = np.random.default_rng(1)
    inputs = rng.integers(0, 2**spec.input.bits, (5, *shape, channels), dtype=np.uint8)
    np.testing.assert_array_equal(better.forward(inputs), model.forward(inputs))
    new = better.to_spec()
    assert (new.input_scale, new.input_shift) == (spec.input_scale, spec.input_shift)
    assert dict(new.metadata) == dict(spec.metadata)


@pytest.mark.parametrize(("bits", "becomes"), [(1, 1), (2, 2), (3, 4), (4, 4)])
def test_images_of_few_bits_become_events_for_v1(bits, becomes):
    layer = image(3, kernel_height=5, width=9, height=7, weights_bits=2, threshold_fire_bits=4)
    model = fill(model_of(layer))
    better = create_from_model(model, V1, input_bits=bits)
    assert better.get_layer(0).input_bits == becomes
    assert [type(layer) for layer in better.layers] == [InputData, Convolutional]
    rng = np.random.default_rng(2)
    images = rng.integers(0, 2**bits, (4, 7, 9, 3), dtype=np.uint8)
    outputs = model.forward(images)
    assert outputs.any()
    np.testing.assert_array_equal(better.forward(images.transpose(0, 2, 1, 3)), outputs)


def test_images_stay_images_where_events_would_differ():
    plain = model_of(image())
    padded = model_of(image(padding_value=1))
    for model, version, bits in ((plain, V1, 8), (plain, V1, 5), (plain, V2, 4), (padded, V1, 4)):
        same = create_from_model(model, version, input_bits=bits)
        assert isinstance(same.get_layer(0), InputConvolutional)
    with pytest.raises(ValueError, match="input_bits is 9, but must be 1 to 8"):
        create_from_model(plain, V1, input_bits=9)
    with pytest.raises(TypeError, match=r"input_bits is 4\.0"):
        create_from_model(plain, V1, input_bits=4.0)
