"""From Keras models to core layers: each rule, and each refusal."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

keras = pytest.importorskip("keras")

from keras import layers as L  # noqa: E402

from kerasnsoc.layers import (  # noqa: E402
    IAF,
    LIF,
    Crop2D,
    DVSInput,
    FlipDims,
    Merge,
    QuantizedConv2D,
    SumPooling2D,
)
from kerasnsoc.nsoc.core_graph import Destination  # noqa: E402
from kerasnsoc.nsoc.errors import (  # noqa: E402
    AsymmetricPaddingError,
    ConflictingScaleError,
    InputConfigurationError,
    InvalidGraphError,
    MissingSpikingLayerError,
    UnexpectedLayerError,
    UnsupportedLayerError,
)
from kerasnsoc.nsoc.memory import memory_summary  # noqa: E402
from kerasnsoc.nsoc.network import NSoCNetwork, build_core_graph  # noqa: E402
from kerasnsoc.nsoc.transform_options import TransformOptions  # noqa: E402

pytestmark = pytest.mark.keras


def iaf(**kwargs):
    return IAF(time_axis=False, **kwargs)


def sequential(*layers, shape=(8, 8, 2)):
    return keras.Sequential([keras.Input(shape), *layers])


def graph_of(*layers, shape=(8, 8, 2), dvs_input=False, **options):
    return build_core_graph(
        sequential(*layers, shape=shape), None, dvs_input, TransformOptions(**options)
    )


def random_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    for w in model.weights:
        value = rng.normal(size=w.shape)
        w.assign(abs(value) + 0.1 if "variance" in w.path else value)
    return model


def outputs_of(model, x):
    return keras.ops.convert_to_numpy(model(x.astype("float32")))


def floats_agree(model, shape, seed=0, **options):
    """The float network fires what the Keras model fires."""
    x = np.random.default_rng(seed).poisson(1.0, (6, 1, *shape))
    network = NSoCNetwork(model, discretize=False, **options)
    counts = np.concatenate([_fresh(network, frame) for frame in x])
    expected = outputs_of(model, x[:, 0])
    assert expected.sum() > 0
    assert_array_equal(counts.reshape(expected.shape) * network.output_scale, expected)
    return network.graph


def _fresh(network, frame):
    network.reset_states()
    return network(frame)


def test_the_example_of_the_memory_summary():
    graph = graph_of(
        *(L.Conv2D(3, 5, use_bias=False), iaf(), L.AveragePooling2D(2)),
        *(L.Conv2D(1, 5, use_bias=False), iaf(), L.AveragePooling2D(2)),
        *(L.Flatten(), L.Dense(2, use_bias=False), iaf()),
        shape=(28, 28, 1),
    )
    assert memory_summary(graph.layers) == {
        "kernel": [128, 96, 32],
        "neuron": [3072, 64, 2],
        "bias": [0, 0, 0],
    }
    assert [layer.rescale for layer in graph.layers] == [1.0, 0.25, 0.25]
    assert [layer.sources for layer in graph.layers] == [("input",), (0,), (1,)]


def test_the_example_with_unequal_strides():
    graph = graph_of(
        L.ZeroPadding2D((1, 0)), L.Conv2D(2, 2, strides=(1, 2)), iaf(), shape=(5, 6, 1)
    )
    (layer,) = graph.layers
    assert (layer.padding, layer.stride, layer.neuron_shape) == ((1, 0), (1, 2), (2, 6, 3))
    assert memory_summary(graph.layers) == {"kernel": [8], "neuron": [64], "bias": [2]}


# --- T1 to T8, against Keras ----------------------------------------------------------------------


def test_a_chain_computes_what_keras_computes():
    model = sequential(
        *(L.Conv2D(3, 3, padding="same"), L.Dropout(0.5), iaf(), SumPooling2D(2), L.Identity()),
        *(L.Conv2D(4, 3, strides=1, padding="same"), iaf(min_v=-1.0), L.AveragePooling2D(2)),
        *(L.Flatten(), L.Dense(5), iaf(threshold=2.0, reset="zero", spike_fn="single")),
    )
    graph = floats_agree(random_weights(model), (8, 8, 2))
    last = graph.layers[2]
    assert (last.threshold, last.reset, last.spike_fn) == (2.0, "zero", "single")
    assert last.neuron_name == model.layers[-1].name


def test_batch_normalization_is_folded_with_its_epsilon():
    model = random_weights(
        sequential(L.Conv2D(3, 3, use_bias=False), L.BatchNormalization(), iaf())
    )
    conv, norm = model.layers[:2]
    layer = build_core_graph(model).layers[0]
    kernel = keras.ops.convert_to_numpy(conv.kernel)
    gamma, beta, mean, variance = (keras.ops.convert_to_numpy(w) for w in norm.weights)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    assert_allclose(layer.weights, (kernel * scale).transpose(3, 2, 0, 1), rtol=1e-6)
    assert_allclose(layer.bias, beta - mean * scale, rtol=1e-5)
    without = build_core_graph(model, options=TransformOptions(bn_epsilon=0.0)).layers[0]
    scale = gamma / np.sqrt(variance)
    assert_allclose(without.weights, (kernel * scale).transpose(3, 2, 0, 1), rtol=1e-6)


def test_a_dense_layer_becomes_a_convolution_over_the_map():
    model = random_weights(sequential(L.Conv2D(2, 1), iaf(), L.Flatten(), L.Dense(3), iaf()))
    graph = floats_agree(model, (8, 8, 2))
    kernel = keras.ops.convert_to_numpy(model.layers[3].kernel)
    weights = graph.layers[1].weights
    assert weights.shape == (3, 2, 8, 8)
    assert weights[1, 0, 2, 5] == kernel[(2 * 8 + 5) * 2 + 0, 1]


@pytest.mark.parametrize("shape", [(2, 4, 2), (5, 3, 1)])
def test_a_map_that_is_not_square_is_padded_around(shape):
    model = random_weights(sequential(L.Flatten(), L.Dense(3), iaf(), shape=shape))
    layer = floats_agree(model, shape).layers[0]
    side = max(shape[:2])
    assert layer.kernel == (side, side)
    assert layer.padding == ((side - shape[0]) // 2, (side - shape[1]) // 2)
    assert floats_agree(model, shape, square_dense="keep").layers[0].kernel == shape[:2]


def test_dense_without_flatten():
    assert graph_of(L.Dense(3), iaf(), shape=(7,)).layers[0].in_shape == (7, 1, 1)
    pointwise = random_weights(sequential(L.Dense(3), iaf()))
    assert floats_agree(pointwise, (8, 8, 2)).layers[0].neuron_shape == (3, 8, 8)


def test_consecutive_poolings_become_one():
    graph = graph_of(
        *(L.Conv2D(2, 1), iaf(), L.AveragePooling2D(2), SumPooling2D(2)),
        *(L.Conv2D(2, 1), iaf(), L.AveragePooling2D(2)),
    )
    assert graph.layers[0].destinations == (Destination(1, (4, 4), 0, 0.25),)
    assert graph.layers[1].rescale == 0.25
    assert graph.layers[1].destinations == (Destination(None, (2, 2), 0, 0.25),)
    assert graph.output_scale == {1: 0.25}


def test_a_global_average_is_pooling_where_a_chip_pools_and_weights_elsewhere():
    small = graph_of(L.Conv2D(2, 5), iaf(), L.GlobalAveragePooling2D(), L.Dense(3), iaf())
    assert small.layers[0].destinations[0] == Destination(1, (4, 4), 0, 1 / 16)
    assert small.layers[1].weights.shape == (3, 2, 1, 1)
    model = random_weights(
        sequential(L.Conv2D(2, 1), iaf(), L.GlobalAveragePooling2D(), L.Dense(3), iaf())
    )
    graph = build_core_graph(model)
    dense = keras.ops.convert_to_numpy(model.layers[3].kernel)
    assert graph.layers[1].weights.shape == (3, 2, 8, 8)
    assert (graph.layers[1].weights[1, 0] == dense[0, 1] / np.float32(64)).all()


def test_grouped_convolutions_are_filled_with_zeros():
    model = random_weights(
        sequential(
            *(L.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), iaf()),
            *(L.Conv2D(6, 1, groups=2), iaf()),
            shape=(6, 6, 2),
        )
    )
    graph = floats_agree(model, (6, 6, 2), expand_groups=True)
    assert [layer.weights.shape[1] for layer in graph.layers] == [2, 4]
    with pytest.raises(UnsupportedLayerError, match="2 groups, but each feature"):
        build_core_graph(model)


def test_relu_becomes_neurons_on_request():
    graph = graph_of(L.Conv2D(2, 3, activation="relu"), L.Conv2D(2, 1), L.ReLU(), spikify=True)
    assert [(w.threshold, w.min_v, w.reset) for w in graph.layers] == [(1.0, -1.0, "subtract")] * 2
    with pytest.raises(UnexpectedLayerError, match=r"Use kerasnsoc.layers.IAF .* spikify=True"):
        graph_of(L.Conv2D(2, 3, activation="relu"))


def diamond(shape=(8, 8, 2), pool=None, join=None):
    inputs = keras.Input(shape)
    x = iaf()(L.Conv2D(3, 1)(inputs))
    left = iaf()(L.Conv2D(2, 3, padding="same")(SumPooling2D(2)(x)))
    right = iaf()(L.Conv2D(2, 1)((pool or SumPooling2D(2))(x)))
    y = iaf()(L.Conv2D(2, 1)((join or L.Concatenate())([left, right])))
    return random_weights(keras.Model(inputs, y))


def test_concatenation_is_a_feature_shift():
    graph = floats_agree(diamond(), (8, 8, 2))
    assert graph.layers[0].destinations == (Destination(1, (2, 2)), Destination(2, (2, 2)))
    assert graph.layers[1].destinations == (Destination(3, feature_shift=0),)
    assert graph.layers[2].destinations == (Destination(3, feature_shift=2),)
    assert graph.layers[3].in_shape == (4, 4, 4)
    assert graph.layers[3].sources == (1, 2)


@pytest.mark.parametrize("join", [L.Add(), Merge(), lambda pair: pair[0] + pair[1]])
def test_addition_is_several_sources(join):
    graph = floats_agree(diamond(join=join), (8, 8, 2))
    assert [d.feature_shift for w in graph.layers for d in w.destinations] == [0] * 5
    assert graph.layers[3].in_shape == (2, 4, 4)


def test_flattened_maps_can_be_concatenated():
    inputs = keras.Input((4, 4, 1))
    left = iaf()(L.Conv2D(2, 1)(inputs))
    right = iaf()(L.Conv2D(3, 1)(inputs))
    joined = L.Concatenate()([L.Flatten()(left), L.Flatten()(right)])
    model = random_weights(keras.Model(inputs, iaf()(L.Dense(2)(joined))))
    assert floats_agree(model, (4, 4, 1)).layers[2].in_shape == (5, 4, 4)


def test_layers_are_numbered_in_the_order_of_the_model():
    graph = build_core_graph(diamond())
    assert [layer.index for layer in graph.layers] == [0, 1, 2, 3]
    assert (graph.entry, graph.exits) == ((0,), (3,))


def test_different_averages_into_one_core_need_a_decision():
    inputs = keras.Input((8, 8, 1))
    left = SumPooling2D(2)(iaf()(L.Conv2D(2, 1)(inputs)))
    right = L.AveragePooling2D(2)(iaf()(L.Conv2D(2, 1)(inputs)))
    model = keras.Model(inputs, iaf()(L.Conv2D(2, 1)(L.Add()([left, right]))))
    with pytest.raises(ConflictingScaleError, match=r"averaged by \[0.25, 1.0\]"):
        build_core_graph(model)
    for function, expected in (
        ("mean_half", round(0.625 / 2, 2)),
        ("harmonic_half", 0.2),
        (max, 1.0),
    ):
        options = TransformOptions(weight_rescaling_fn=function)
        assert build_core_graph(model, options=options).layers[2].rescale == pytest.approx(expected)


def test_nested_models_and_time_wrappers_are_opened():
    inner = keras.Sequential([keras.Input((8, 8, 2)), L.Conv2D(3, 3, name="inner"), iaf()])
    inputs = keras.Input((8, 8, 2))
    outer = keras.Model(inputs, iaf()(L.Conv2D(1, 1, name="outer")(inner(inputs))))
    assert [layer.name for layer in build_core_graph(outer).layers] == ["inner", "outer"]
    over_time = sequential(L.TimeDistributed(L.Conv2D(2, 3)), IAF(), shape=(None, 8, 8, 2))
    assert build_core_graph(over_time).input_shape == (2, 8, 8)


def test_initial_potentials_of_a_seed_are_kept():
    model = sequential(L.Conv2D(2, 3), iaf(seed=3))
    state = build_core_graph(model).layers[0].initial_state
    assert state.shape == (2, 6, 6)
    assert 0 <= state.min() < state.max() < 1


def test_an_object_with_a_spiking_model_stands_for_it():
    class Holder:
        spiking_model = sequential(L.Conv2D(2, 3), iaf())

    assert len(build_core_graph(Holder()).layers) == 1


# --- T5, the sensor layer -------------------------------------------------------------------------


def test_a_leading_run_becomes_the_sensor_layer():
    model = random_weights(
        sequential(
            *(L.AveragePooling2D(2), L.Cropping2D(((1, 2), (0, 3))), FlipDims(True, False, True)),
            *(L.Conv2D(2, 1), iaf()),
            shape=(16, 16, 2),
        )
    )
    graph = floats_agree(model, (16, 16, 2))
    dvs = graph.dvs
    assert (dvs.input_shape, dvs.pool, dvs.merge) == ((16, 16), (2, 2), False)
    assert dvs.crop == ((1, 6), (0, 5))
    assert (dvs.flip_x, dvs.flip_y, dvs.swap_xy, dvs.pixel_array) == (True, False, True, False)
    assert dvs.output_shape == (2, 5, 5)
    assert (graph.input_scale, graph.layers[0].rescale) == (0.25, 0.25)
    assert graph.layers[0].sources == ("dvs",)
    assert graph.entry == (0,)


def test_any_order_of_cropping_and_mirroring_is_brought_into_the_chips():
    rng = np.random.default_rng(1)
    for _ in range(8):
        layers = []
        for _ in range(3):
            if rng.random() < 0.5:
                layers.append(FlipDims(*(bool(b) for b in rng.integers(0, 2, 3))))
            else:
                top, left = (int(n) for n in rng.integers(0, 2, 2))
                layers.append(L.Cropping2D(((top, 1), (left, 0))))
        model = random_weights(sequential(*layers, L.Conv2D(3, 1), iaf(), shape=(7, 9, 2)))
        floats_agree(model, (7, 9, 2))


def test_an_explicit_sensor_layer():
    dvs_layer = DVSInput(merge_polarities=True, pool_size=2, disable_pixel_array=False)
    graph = graph_of(dvs_layer, SumPooling2D(2), L.Conv2D(2, 1), iaf(), shape=(16, 16, 2))
    assert (graph.dvs.merge, graph.dvs.pool, graph.dvs.pixel_array) == (True, (4, 4), False)
    on = graph_of(dvs_layer, L.Conv2D(2, 1), iaf(), shape=(16, 16, 2), dvs_input=True)
    assert on.dvs.pixel_array
    made = graph_of(L.Conv2D(2, 1), iaf(), shape=(16, 16, 1), dvs_input=True)
    assert (made.dvs.merge, made.dvs.pixel_array, made.dvs.output_shape) == (
        True,
        True,
        (1, 16, 16),
    )
    assert graph_of(L.Conv2D(2, 1), iaf()).dvs is None


@pytest.mark.parametrize(
    ("layers", "shape", "error", "message"),
    [
        ([Crop2D(((0, 4), (0, 4))), SumPooling2D(2)], (8, 8, 2), InvalidGraphError, "pools before"),
        ([DVSInput(flip_x=True), SumPooling2D(2)], (8, 8, 2), InvalidGraphError, "pools before"),
        ([SumPooling2D(2), DVSInput()], (8, 8, 2), InvalidGraphError, "must be the first"),
        ([SumPooling2D(2)], (8, 8, 3), InputConfigurationError, "1 or 2 features"),
        ([L.Conv2D(2, 1), iaf(), FlipDims(True)], (8, 8, 2), InvalidGraphError, "at the start"),
    ],
)
def test_what_the_sensor_layer_cannot_do(layers, shape, error, message):
    with pytest.raises(error, match=message):
        graph_of(*layers, L.Conv2D(2, 1), iaf(), shape=shape)


def test_two_branches_with_different_preprocessing():
    inputs = keras.Input((8, 8, 2))
    left = SumPooling2D(2)(iaf()(L.Conv2D(2, 1)(inputs)))
    right = iaf()(L.Conv2D(2, 1)(SumPooling2D(2)(inputs)))
    model = keras.Model(inputs, iaf()(L.Conv2D(2, 1)(L.Add()([left, right]))))
    with pytest.raises(InvalidGraphError, match="one sensor layer"):
        build_core_graph(model)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([iaf()], UnexpectedLayerError, "expected a weight layer .*, found layer 1 .IAF"),
        ([L.Identity()], UnexpectedLayerError, "expected a weight layer"),
        ([L.Conv2D(2, 3)], MissingSpikingLayerError, "core layer 0 has no spiking layer"),
        ([L.Conv2D(2, 3), L.Conv2D(2, 3), iaf()], UnexpectedLayerError, "expected a spiking layer"),
        ([L.Conv2D(2, 3), SumPooling2D(2), iaf()], UnexpectedLayerError, "between weights and"),
        ([L.Conv2D(2, 3), iaf(), iaf()], UnexpectedLayerError, "stand directly behind weights"),
        ([L.Conv2D(2, 3), iaf(), L.BatchNormalization()], InvalidGraphError, "does not follow"),
        ([L.Conv2D(2, 3), LIF(0.01, time_axis=False)], UnsupportedLayerError, "negative bias"),
        ([L.Conv2D(2, 3), iaf(), L.MaxPooling2D()], UnsupportedLayerError, "Use SumPooling2D"),
        ([L.GlobalMaxPooling2D()], UnsupportedLayerError, "Use SumPooling2D"),
        ([L.SeparableConv2D(2, 3), iaf()], UnsupportedLayerError, "without spikes in between"),
        ([QuantizedConv2D(2, 3), iaf()], UnsupportedLayerError, "become an artifact"),
        ([L.Conv2DTranspose(2, 3), iaf()], UnsupportedLayerError, "layer 1 .Conv2DTranspose"),
        ([L.Conv2D(2, 3, activation="tanh")], UnsupportedLayerError, "activation 'tanh'"),
        ([L.Conv2D(2, 3, dilation_rate=2), iaf()], UnsupportedLayerError, r"dilation of \(2, 2\)"),
        ([L.Conv2D(2, 3), L.ReLU(6.0)], UnsupportedLayerError, "max_value"),
        ([L.Reshape((4, 32)), L.Dense(2), iaf()], UnsupportedLayerError, r"reshape to \(4, 32\)"),
        ([L.Conv2D(2, 2, padding="same"), iaf()], AsymmetricPaddingError, "Put ZeroPadding2D"),
        (
            [L.ZeroPadding2D(((1, 0), (0, 0))), L.Conv2D(2, 2), iaf()],
            AsymmetricPaddingError,
            "pads opposite sides alike",
        ),
        (
            [L.ZeroPadding2D(1), L.Conv2D(2, 3, padding="same"), iaf()],
            UnsupportedLayerError,
            "use padding='valid'",
        ),
        ([L.ZeroPadding2D(1), L.Flatten()], UnsupportedLayerError, "follows zero padding"),
        (
            [L.Conv2D(2, 1), iaf(), L.AveragePooling2D(2, strides=1)],
            UnsupportedLayerError,
            r"strides \(1, 1\) and padding 'valid'",
        ),
        ([L.Conv2D(2, 1), iaf(), SumPooling2D(8), SumPooling2D(2)], ValueError, "does not fit"),
        ([L.Conv2D(2, 1), iaf(), L.GlobalAveragePooling2D()], InvalidGraphError, "average over"),
    ],
)
def test_every_refusal_names_layer_and_remedy(layers, error, message):
    with pytest.raises(error, match=message):
        graph_of(*layers)


def test_a_refused_order_also_is_a_type_error():
    with pytest.raises(TypeError):
        graph_of(L.Conv2D(2, 3), L.Conv2D(2, 3), iaf())


def test_an_odd_difference_cannot_be_centred():
    with pytest.raises(UnsupportedLayerError, match=r"2 x 3 .* difference is odd"):
        graph_of(L.Flatten(), L.Dense(3), iaf(), shape=(2, 3, 1))


def two_inputs():
    a, b = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
    return keras.Model([a, b], iaf()(L.Conv2D(1, 1)(L.Add()([a, b]))))


def branching_weights():
    inputs = keras.Input((4, 4, 1))
    x = L.Conv2D(1, 1)(inputs)
    return keras.Model(inputs, L.Add()([iaf()(x), iaf()(x)]))


def joined_exits():
    inputs = keras.Input((4, 4, 1))
    pair = [iaf()(L.Conv2D(1, 1)(inputs)) for _ in range(2)]
    return keras.Model(inputs, L.Add()(pair))


def several_inputs_elsewhere():
    inputs = keras.Input((4, 4, 1))
    x = iaf()(L.Conv2D(1, 1)(inputs))
    return keras.Model(inputs, iaf()(L.Conv2D(1, 1)(L.Multiply()([x, x]))))


def unequal_sums():
    inputs = keras.Input((4, 4, 1))
    pair = [iaf()(L.Conv2D(n, 1)(inputs)) for n in (1, 2)]
    return keras.Model(inputs, iaf()(L.Conv2D(1, 1)(L.Add()(pair))))


def wrong_axis():
    inputs = keras.Input((4, 4, 1))
    pair = [iaf()(L.Conv2D(1, 1)(inputs)) for _ in range(2)]
    return keras.Model(inputs, iaf()(L.Conv2D(1, 1)(L.Concatenate(axis=1)(pair))))


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (two_inputs, InvalidGraphError, "2 inputs, but a chip has one"),
        (branching_weights, InvalidGraphError, "only spikes can branch"),
        (joined_exits, InvalidGraphError, "events leave a chip core by core"),
        (several_inputs_elsewhere, UnsupportedLayerError, "Multiply have no counterpart"),
        (unequal_sums, InvalidGraphError, r"adds maps of \[\(1, 4, 4\), \(2, 4, 4\)\]"),
        (wrong_axis, UnsupportedLayerError, "axis 1; only features"),
    ],
)
def test_graphs_that_no_chip_can_have(model, error, message):
    with pytest.raises(error, match=message):
        build_core_graph(model())


def test_a_model_that_is_no_model():
    with pytest.raises(InvalidGraphError, match=r"must be a keras.Sequential or a functional"):
        build_core_graph(3)


def test_input_shapes_must_be_known_and_agree():
    layers = [L.Conv2D(2, 3), iaf()]
    with pytest.raises(InputConfigurationError, match="is not built"):
        build_core_graph(keras.Sequential(layers))
    unbuilt = keras.Sequential(layers)
    assert build_core_graph(unbuilt, (1, 8, 9)).input_shape == (1, 8, 9)
    assert not unbuilt.built
    open_shape = sequential(L.Conv2D(2, 3), L.ReLU(), shape=(None, None, 1))
    options = TransformOptions(spikify=True)
    with pytest.raises(InputConfigurationError, match="input shape is not known"):
        build_core_graph(open_shape, options=options)
    (layer,) = build_core_graph(open_shape, (1, 8, 9), options=options).layers
    assert layer.neuron_shape == (2, 6, 7)
    with pytest.raises(InputConfigurationError, match=r"but the model takes \(2, 8, 8\)"):
        build_core_graph(sequential(L.Conv2D(2, 3), iaf()), (1, 8, 8))
    with pytest.raises(InputConfigurationError, match="three positive integers"):
        build_core_graph(open_shape, (8, 9))
    with pytest.raises(InputConfigurationError, match=r"shape \(None, 2, 3, 4, 5, 6\)"):
        build_core_graph(sequential(L.Dense(1), iaf(), shape=(2, 3, 4, 5, 6)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bn_epsilon": -1.0}, "bn_epsilon is -1.0"),
        ({"square_dense": "no"}, "square_dense is 'no'"),
        ({"weight_rescaling_fn": "no"}, "weight_rescaling_fn is 'no'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        TransformOptions(**options)
