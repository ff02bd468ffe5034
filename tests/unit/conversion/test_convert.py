"""`convert` and `freeze`: options, errors, files, and what the pieces look like."""

import os

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasnsoc as ns
from kerasnsoc.artifact import ConvolutionMode, PoolingType
from kerasnsoc.conversion import FrozenBlock, centre_thresholds, certificate, compare
from tests.keras_models import picker, random_model

pytestmark = pytest.mark.keras

RNG = np.random.default_rng(8)


def model(*layers, shape=(6, 5, 1), scale=0.5):
    built = keras.Sequential([keras.Input(shape), *layers], name="net")
    for variable in built.trainable_variables:
        variable.assign(RNG.normal(0, scale, variable.shape))
    return built


def conv(filters=3, size=3, bits=4, **kwargs):
    kwargs.setdefault("padding", "same")
    return ns.QuantizedConv2D(filters, size, quantizer=ns.MaxPerAxisQuantizer(bits), **kwargs)


def dense(units=2, bits=4, **kwargs):
    return ns.QuantizedDense(units, quantizer=ns.MaxPerAxisQuantizer(bits), **kwargs)


def small(**kwargs):
    return model(
        conv(name="first"), ns.ActivationDiscreteRelu(2), kl.Flatten(), dense(name="last"), **kwargs
    )


def images(n=4, shape=(6, 5, 1)):
    return RNG.integers(0, 256, (n, *shape), dtype=np.uint8)


class TestOptions:
    def test_layers_keep_their_names_and_geometry(self):
        network = ns.convert(
            model(
                conv(4, (3, 2), strides=(2, 1), name="a", padding="valid"),
                kl.MaxPooling2D((2, 1), strides=1, padding="valid"),
                ns.ActivationDiscreteRelu(2),
                kl.Flatten(),
                dense(name="b"),
                shape=(9, 6, 3),
            ),
            input_scaling=(128, 127),
        )
        first = network.get_layer("a").parameters
        assert (first.input_width, first.input_height, first.input_channels) == (6, 9, 3)
        assert (first.kernel_width, first.kernel_height) == (2, 3)
        assert (first.stride_x, first.stride_y) == (1, 2)
        assert (first.pooling_width, first.pooling_height) == (1, 2)
        assert first.convolution_mode is ConvolutionMode.Valid
        assert first.pooling_type is PoolingType.Max
        assert first.padding_value == 127
        assert network.get_layer("b").parameters.activations_enabled is False
        spec = network.to_spec()
        assert (spec.input_scale, spec.input_shift) == (128.0, 127)
        assert spec.metadata["name"] == "net"

    def test_input_is_sparse_puts_an_input_layer_in_front(self):
        network = ns.convert(small(shape=(6, 5, 2)), input_is_sparse=True, input_bits=2)
        assert [layer.name for layer in network.layers] == ["first_input", "first", "last"]
        assert network.layers[0].parameters.input_bits == 2
        assert network.input_dims == (5, 6, 2)

    def test_a_leading_rescaling_defines_the_input_scaling(self):
        source = model(kl.Rescaling(1 / 128, offset=-1.0), *small().layers)
        network = ns.convert(source)
        spec = network.to_spec()
        assert (spec.input_scale, spec.input_shift) == (128.0, 128)
        assert compare(source, network, images()).differing == 0
        with pytest.raises(ValueError, match="scales its input itself"):
            ns.convert(source, input_scaling=(255, 0))

    def test_linear_thresholds_leave_the_tables_out(self):
        exact, linear = ns.convert(small()), ns.convert(small(), thresholds="linear")
        assert "thresholds" in exact.get_layer("first").get_variable_names()
        assert "thresholds" not in linear.get_layer("first").get_variable_names()
        assert "output_scale" not in linear.get_layer("last").get_variable_names()

    def test_linear_thresholds_are_near_but_not_equal(self):
        differing = compared = 0
        for seed in range(12):
            source = model(
                conv(8), ns.ActivationDiscreteRelu(4), conv(8), ns.ActivationDiscreteRelu(4)
            )
            x = images(8)
            exact = ns.convert(source, input_scaling=(255, 0)).trace(x)
            linear = ns.convert(source, input_scaling=(255, 0), thresholds="linear").trace(x)
            first = next(iter(exact))
            gap = np.abs(exact[first].astype(int) - linear[first].astype(int))
            assert gap.max() <= 1, seed
            differing += np.count_nonzero(gap)
            compared += gap.size
        assert differing < compared * 0.02

    def test_the_source_is_not_modified(self):
        source = model(conv(), kl.BatchNormalization(), ns.ActivationDiscreteRelu(2))
        before = [w.copy() for w in source.get_weights()]
        names = [layer.name for layer in source.layers]
        ns.convert(source)
        assert [layer.name for layer in source.layers] == names
        for old, new in zip(before, source.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)

    def test_the_same_weights_give_the_same_file(self, tmp_path):
        source = small()
        ns.convert(source, tmp_path / "a.h5")
        ns.convert(source, tmp_path / "b.h5")
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


class TestFiles:
    def test_folders_are_made_and_an_extension_is_added(self, tmp_path):
        ns.convert(small(), tmp_path / "new" / "folder" / "net")
        assert ns.Model(tmp_path / "new" / "folder" / "net.h5").output_dims == (1, 1, 2)

    def test_an_empty_base_name_becomes_the_models(self, tmp_path):
        ns.convert(small(), f"{tmp_path}{os.sep}")
        assert (tmp_path / "net.h5").exists()

    def test_an_extension_alone_is_no_name(self, tmp_path):
        ns.convert(small(), tmp_path / ".h5")
        assert (tmp_path / "net.h5").exists()

    def test_the_extension_of_keras_models_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"Name it 'net\.h5'"):
            ns.convert(small(), tmp_path / "net.keras")

    @pytest.mark.parametrize("path", [b"net.h5", "a\0b"])
    def test_a_path_is_text(self, path):
        with pytest.raises(ValueError, match="must be a path as text"):
            ns.convert(small(), path)

    def test_a_refused_model_leaves_the_old_file_alone(self, tmp_path):
        target = tmp_path / "net.h5"
        ns.convert(small(), target)
        before = target.read_bytes()
        with pytest.raises(ValueError, match="float weights"):
            ns.convert(model(ns.QuantizedConv2D(2, 3)), target)
        assert target.read_bytes() == before
        assert sorted(os.listdir(tmp_path)) == ["net.h5"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("scaling", "match"),
        [
            ((0.0, 0), "scale is 0.0"),
            ((-1.0, 0), "greater than 0"),
            ((1.0, 0.5), "shift is 0.5"),
            ((1.0, 256), "shift is 256"),
            ((1.0, -1), "shift is -1"),
            ((float("nan"), 0), "finite"),
            (3, "pair .*of finite"),
            ((1, 2, 3), "pair .*of finite"),
        ],
    )
    def test_input_scaling(self, scaling, match):
        with pytest.raises(ValueError, match=match):
            ns.convert(small(), input_scaling=scaling)

    @pytest.mark.parametrize("scale", [1e300, 1e-300, 2.0**64])
    def test_scales_that_no_threshold_can_hold(self, scale):
        with pytest.raises(ValueError, match=r"between 2\*\*-64 and 2\*\*64"):
            ns.convert(small(), input_scaling=(scale, 0))

    def test_input_is_sparse_must_be_bool(self):
        with pytest.raises(TypeError, match="input_is_sparse is 'no'"):
            ns.convert(small(), None, (1, 0), "no")

    def test_a_shift_of_events(self):
        with pytest.raises(ValueError, match="events have no value"):
            ns.convert(small(), input_scaling=(1, 3), input_is_sparse=True)

    def test_unknown_kind_of_thresholds(self):
        with pytest.raises(ValueError, match=r"'rounded'.*'exact' or 'linear'"):
            ns.convert(small(), thresholds="rounded")

    def test_a_float_layer(self):
        source = model(kl.Conv2D(2, 3, name="plain"), ns.ActivationDiscreteRelu(2))
        with pytest.raises(ValueError, match=r"'plain'.*not quantized"):
            ns.convert(source)

    @pytest.mark.parametrize("bits", [5, 6, 7])
    def test_activation_bits(self, bits):
        source = model(conv(), ns.ActivationDiscreteRelu(bits))
        with pytest.raises(ValueError, match=f"{bits} bits cannot be converted"):
            ns.convert(source)

    def test_different_bits_in_one_separable_layer(self):
        layer = ns.QuantizedSeparableConv2D(
            2, 3, quantizer=ns.MaxQuantizer(4), quantizer_dw=ns.MaxQuantizer(8), name="sep"
        )
        with pytest.raises(ValueError, match=r"'sep'.*8 bits.*4"):
            ns.convert(model(layer, shape=(6, 5, 2)), input_is_sparse=True)

    def test_weights_that_are_not_finite(self):
        source = small()
        kernel = source.get_layer("first").kernel
        values = np.ones(kernel.shape)
        values[0, 0, 0, 1] = np.nan
        kernel.assign(values)
        with pytest.raises(ValueError, match="'first': kernel holds nan at flat index 1"):
            ns.convert(source)

    def test_potentials_beyond_32_bits(self):
        source = model(kl.Flatten(), dense(1, bits=8), shape=(300, 300, 1))
        source.layers[-1].kernel.assign(np.ones(source.layers[-1].kernel.shape))
        with pytest.raises(OverflowError, match=r"could reach 29\d+"):
            ns.convert(source, input_is_sparse=True, input_bits=8)

    def test_inside_a_compiled_function(self):
        tf = pytest.importorskip("tensorflow")
        if keras.backend.backend() != "tensorflow":
            pytest.skip("only TensorFlow traces Python functions")
        source = small()

        @tf.function(autograph=False)
        def traced():
            ns.convert(source)

        with pytest.raises(SystemError, match=r"tf\.function"):
            traced()


class TestWarnings:
    def test_a_trailing_softmax_is_named(self):
        with pytest.warns(UserWarning, match=r"'probabilities'.*left out"):
            ns.convert(model(conv(), kl.Flatten(), kl.Softmax(name="probabilities")))

    def test_wide_registers_are_named(self):
        source = small()
        source.get_layer("last").kernel.assign(np.full((90, 2), 1e-7))
        source.get_layer("last").bias.assign([0.0, 1.0])
        with pytest.warns(UserWarning, match=r"exceed the registers.*last"):
            ns.convert(source)


class TestFrozen:
    def test_it_is_a_keras_model_that_saves_and_reloads(self, tmp_path):
        source = small()
        frozen = ns.freeze(source, input_scaling=(255, 0))
        x = images().astype("float32") / 255
        frozen.save(tmp_path / "frozen.keras")
        again = keras.models.load_model(tmp_path / "frozen.keras")
        np.testing.assert_array_equal(frozen(x), again(x))
        assert frozen.trainable_variables == []

    def test_graph_mode_gives_the_same_activations(self):
        source = model(conv(), ns.ActivationDiscreteRelu(4))
        frozen = ns.freeze(source, input_scaling=(255, 0))
        x = images(20).astype("float32") / 255
        np.testing.assert_array_equal(np.asarray(frozen(x)), frozen.predict(x, verbose=0))

    def test_large_sums_run_in_float64(self):
        wide = model(
            conv(2, name="first"),
            ns.ActivationDiscreteRelu(8),
            kl.Flatten(),
            dense(2, bits=8, name="wide"),
            shape=(40, 40, 1),
        )
        wide.get_layer("wide").kernel.assign(np.ones((3200, 2)))
        frozen = ns.freeze(wide)
        assert frozen.get_layer("first").accumulator == "float32"
        assert frozen.get_layer("wide").accumulator == "float64"
        assert compare(wide, ns.convert(wide), images(2, (40, 40, 1))).differing == 0

    def test_wide_depthwise_sums_run_in_float64(self):
        # a pointwise product of a sum beyond 2**11 would be rounded by TF32 multipliers
        source = model(
            ns.QuantizedSeparableConv2D(
                2, 5, quantizer=ns.MaxQuantizer(8), quantizer_dw=ns.MaxQuantizer(8), name="sep"
            ),
            shape=(9, 9, 1),
        )
        frozen = ns.freeze(source, input_is_sparse=True, input_bits=4)
        assert frozen.get_layer("sep").accumulator == "float64"

    def test_layers_are_named_like_the_runtimes(self):
        frozen = ns.freeze(small())
        blocks = [layer.name for layer in frozen.layers if isinstance(layer, FrozenBlock)]
        assert blocks == ["first", "last"]


class TestCompare:
    def test_a_changed_artifact_is_located(self):
        source = small()
        network = ns.convert(source, input_scaling=(255, 0))
        layer = network.get_layer("first")
        weights = layer.get_variable("weights")
        weights[..., 1] = -weights[..., 1]
        layer.set_variable("weights", weights)
        report = compare(ns.freeze(source, input_scaling=(255, 0)), network, images())
        assert report.differing > 0
        assert report.first.name == "first"
        assert report.first.first[3] == 1
        assert "the first in layer 'first'" in str(report)

    def test_comparing_counts_no_events(self):
        source = small()
        network = ns.convert(source)
        compare(source, network, images())
        assert all(s.nb_samples == 0 for s in network.get_statistics().values())

    def test_accepts_paths_and_bytes(self, tmp_path):
        source = small()
        network = ns.convert(source, tmp_path / "net.h5", input_scaling=(255, 0))
        for artifact in (tmp_path / "net.h5", str(tmp_path / "net.h5"), network.to_buffer()):
            assert compare(source, artifact, images()).differing == 0

    def test_nothing_to_compare_is_refused(self):
        source = small()
        with pytest.raises(ValueError, match="no inputs to compare"):
            compare(source, ns.convert(source), images(0))

    def test_another_input_scaling_is_refused(self):
        source = small()
        network = ns.convert(source, input_scaling=(255, 0))
        with pytest.raises(ValueError, match=r"frozen with input_scaling=\(100\.0, 3\)"):
            compare(ns.freeze(source, input_scaling=(100, 3)), network, images())

    def test_another_model_is_refused(self):
        other = model(conv(name="other"), ns.ActivationDiscreteRelu(2))
        with pytest.raises(ValueError, match="no layer 'first'"):
            compare(other, ns.convert(small()), images())


class TestNamedRelu:
    def test_activation_relu_is_quantized_and_converted_like_a_relu_layer(self):
        def build(layer):
            keras.utils.set_random_seed(4)
            return keras.Sequential(
                [
                    keras.Input((6, 5, 1)),
                    kl.Conv2D(3, 3, name="c"),
                    layer,
                    kl.Flatten(),
                    kl.Dense(2),
                ]
            )

        x = images(2)
        outputs = [
            ns.convert(ns.quantize(build(layer), 4, 4, 8)).forward(x)
            for layer in (kl.ReLU(), kl.Activation("relu"))
        ]
        np.testing.assert_array_equal(*outputs)

    def test_other_functions_give_one_finding(self):
        source = keras.Sequential(
            [keras.Input((6, 5, 1)), kl.Conv2D(3, 3), kl.LeakyReLU(), kl.Flatten(), kl.Dense(2)]
        )
        found = ns.check_model_compatibility(source, report=True)
        assert [(f.rule, f.layer) for f in found] == [("layer", source.layers[1].name)]


class TestConcatenate:
    def build(self):
        source = keras.Input((6, 5, 1))
        trunk = ns.ActivationDiscreteRelu(2)(conv(name="trunk")(source))
        left = ns.ActivationDiscreteRelu(4)(conv(2, name="left")(trunk))
        right = ns.ActivationDiscreteRelu(4)(conv(3, 1, name="right")(trunk))
        both = kl.Concatenate(name="both")([left, right])
        built = keras.Model(source, dense(name="out")(kl.Flatten()(both)))
        for variable in built.trainable_variables:
            variable.assign(RNG.normal(0, 0.5, variable.shape))
        return built

    def test_branches_join_exactly(self):
        source = self.build()
        network = ns.convert(source, input_scaling=(255, 0))
        assert [layer.name for layer in network.layers[-2].inbounds] == ["left", "right"]
        report = compare(source, network, images())
        assert report.differing == 0
        assert [layer.name for layer in report.layers] == ["trunk", "left", "right", "both", "out"]


@pytest.mark.filterwarnings("ignore:these layers run in software")
class TestCertificate:
    def test_ties_are_found_and_centring_removes_them(self):
        source = model(conv(4, use_bias=False), ns.ActivationDiscreteRelu(2), shape=(6, 6, 1))
        kernel = np.zeros((3, 3, 1, 4))
        kernel[0, 0, 0] = 7 / 16  # scale factors of 16: every edge is a whole number
        source.layers[0].kernel.assign(kernel)
        # two bits have steps of 1, and the edges are (m - 1/2) * 16
        scaling = (1.0, 0)
        tied = certificate(source, scaling)
        assert tied.uncertified == {source.layers[0].name: [0, 1, 2, 3]}
        assert (tied.layers[0].margins == 0).all()
        centred = centre_thresholds(source, scaling)
        assert certificate(centred, scaling).is_complete
        before = ns.convert(source, input_scaling=scaling).layers[0].get_variable("thresholds")
        after = ns.convert(centred, input_scaling=scaling).layers[0].get_variable("thresholds")
        np.testing.assert_array_equal(before, after)
        assert "with ties" in str(tied)

    def test_centring_keeps_every_threshold_of_random_models(self):
        for seed in range(25):
            case = random_model(picker(100 + seed))
            centred = centre_thresholds(case.model, case.input_scaling, case.input_is_sparse)
            before = ns.convert(case.model, **case.conversion).to_spec()
            after = ns.convert(centred, **case.conversion).to_spec()
            for old, new in zip(before.layers, after.layers, strict=True):
                if "thresholds" in old.variables:
                    np.testing.assert_array_equal(
                        old.variables["thresholds"], new.variables["thresholds"]
                    )


def test_vectors_are_compared_as_forward_takes_them():
    model = keras.Sequential([keras.Input((10,)), kl.Dense(4), kl.ReLU(), kl.Dense(2)])
    source = ns.quantize(model, 4, 4)
    network = ns.convert(source, input_scaling=(15, 0), input_is_sparse=True)
    vectors = np.random.default_rng(0).integers(0, 16, (6, 10), dtype=np.uint8)
    assert compare(source, network, vectors).differing == 0
    assert compare(source, network, vectors[:, None, None]).differing == 0
    with pytest.raises(TypeError, match="model is a Model, but must be a Keras model"):
        compare(network, source, vectors)
    with pytest.raises(TypeError, match="artifact is a Sequential, but must be a Model"):
        compare(source, source, vectors)
