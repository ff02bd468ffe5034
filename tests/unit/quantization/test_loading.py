import numpy as np
import pytest
from numpy.testing import assert_array_equal

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402

from kerasnsoc.quantization import (  # noqa: E402
    ActivationDiscreteRelu,
    LinearWeightQuantizer,
    MaxPerAxisQuantizer,
    MaxQuantizer,
    MinValueConstraint,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedReLU,
    QuantizedSeparableConv2D,
    ScaleFactorQuantizer,
    TrainableWeightQuantizer,
    WeightFloat,
    WeightQuantizer,
    load_partial_weights,
    load_quantized_model,
)
from kerasnsoc.quantization.loading import CUSTOM_OBJECTS  # noqa: E402
from tests.unit.quantization.helpers import chain, images, numbers  # noqa: E402

pytestmark = pytest.mark.keras


def everything():
    return chain(
        QuantizedConv2D(4, 3, quantizer=WeightQuantizer(2, 4)),
        QuantizedReLU(4),
        QuantizedDepthwiseConv2D(3, quantizer=MaxQuantizer(4)),
        layers.BatchNormalization(gamma_constraint=MinValueConstraint(0.1)),
        ActivationDiscreteRelu(2),
        QuantizedSeparableConv2D(
            5,
            3,
            quantizer=ScaleFactorQuantizer(4, [1, 2, 3, 4, 5.5]),
            quantizer_dw=TrainableWeightQuantizer(),
        ),
        layers.Flatten(),
        QuantizedDense(6, quantizer=MaxPerAxisQuantizer(2)),
        QuantizedDense(3, quantizer=WeightFloat()),
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_every_class_is_loaded(suffix, tmp_path):
    model = everything()
    path = tmp_path / f"model{suffix}"
    model.save(path)
    loaded = load_quantized_model(path)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    configurations = [[layer.get_config() for layer in m.layers] for m in (loaded, model)]
    assert configurations[0] == configurations[1]
    x = images()
    assert_array_equal(numbers(loaded(x)), numbers(model(x)))


def test_the_table_of_classes_is_complete():
    import kerasnsoc.quantization as room

    concrete = {
        name
        for name in room.__all__
        if hasattr(getattr(room, name), "get_config")
        and name not in ("LinearWeightQuantizer", "Quantizer", "QuantizedActivation")
    }
    assert set(CUSTOM_OBJECTS) == concrete
    assert all(CUSTOM_OBJECTS[name] is getattr(room, name) for name in concrete)


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_compilation_is_optional(compile, suffix, tmp_path):
    model = everything()
    model.compile("sgd", keras.losses.MeanSquaredError())
    model.fit(images(), np.zeros((4, 3)), verbose=0)
    model.save(tmp_path / f"model{suffix}")
    loaded = load_quantized_model(tmp_path / f"model{suffix}", compile=compile)
    assert loaded.compiled == compile


def test_further_custom_objects(tmp_path):
    class Eighths(LinearWeightQuantizer):
        def scale_factor(self, w):
            return keras.ops.convert_to_tensor(8.0)

    class Own(layers.Layer):
        def call(self, x):
            return x

    with keras.saving.custom_object_scope({"Eighths": Eighths}):
        model = chain(QuantizedDense(2, quantizer=Eighths(4)), Own(), shape=(3,))
        model.save(tmp_path / "model.keras")
    with pytest.raises(TypeError, match=r"Own|Eighths"):
        load_quantized_model(tmp_path / "model.keras")
    loaded = load_quantized_model(
        tmp_path / "model.keras", custom_objects={"Own": Own, "Eighths": Eighths}
    )
    assert type(loaded.layers[0].quantizer) is Eighths
    assert type(loaded.layers[1]) is Own


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"is a folder\. Keras 3 cannot reload a TensorFlow SavedModel"
    ):
        load_quantized_model(tmp_path)


# load_partial_weights


def fixed_and_learning():
    def make(quantizer, activation):
        return chain(
            QuantizedDense(4, quantizer=quantizer, name="a"),
            activation(2, name="b"),
            QuantizedDense(3, name="c"),
            shape=(5,),
        )

    return make(WeightQuantizer(2), ActivationDiscreteRelu), make(
        TrainableWeightQuantizer(2), QuantizedReLU
    )


def test_extra_weights_of_the_destination_stay():
    fixed, learning = fixed_and_learning()
    fixed.set_weights([w + 1 for w in fixed.get_weights()])
    kept = float(learning.get_layer("a").quantizer.threshold), learning.get_layer("b").get_weights()
    load_partial_weights(learning, fixed)
    for name in "ac":
        for a, b in zip(
            learning.get_layer(name).get_weights()[:2],
            fixed.get_layer(name).get_weights(),
            strict=True,
        ):
            assert_array_equal(a, b)
    assert float(learning.get_layer("a").quantizer.threshold) == kept[0]
    assert learning.get_layer("b").get_weights() == kept[1]


def test_extra_weights_of_the_source_are_left_out():
    fixed, learning = fixed_and_learning()
    learning.set_weights([w + 1 for w in learning.get_weights()])
    load_partial_weights(fixed, learning)
    assert_array_equal(fixed.get_weights()[0], learning.get_weights()[0])


def test_the_destination_may_have_more_layers():
    fixed, _ = fixed_and_learning()
    source = chain(QuantizedDense(4, name="a"), shape=(5,))
    load_partial_weights(fixed, source)
    assert_array_equal(fixed.get_layer("a").get_weights()[0], source.get_weights()[0])


def test_a_missing_layer_is_refused_and_nothing_copied():
    fixed, _ = fixed_and_learning()
    source = chain(
        QuantizedDense(4, name="a"), QuantizedDense(4, name="other"), shape=(5,), name="source"
    )
    source.set_weights([w + 1 for w in source.get_weights()])
    before = fixed.get_weights()
    with pytest.raises(ValueError, match="'other' of model 'source' is missing in model 'chain'"):
        load_partial_weights(fixed, source)
    for a, b in zip(fixed.get_weights(), before, strict=True):
        assert_array_equal(a, b)


def test_another_shape_is_refused_and_nothing_copied():
    fixed, _ = fixed_and_learning()
    source = chain(
        QuantizedDense(4, name="a"), QuantizedDense(7, name="c"), shape=(5,), name="source"
    )
    source.set_weights([w + 1 for w in source.get_weights()])
    before = fixed.get_weights()
    with pytest.raises(
        ValueError, match=r"Weight 0 of layer 'c' has shape \(4, 7\) .* but \(4, 3\)"
    ):
        load_partial_weights(fixed, source)
    for a, b in zip(fixed.get_weights(), before, strict=True):
        assert_array_equal(a, b)


def test_an_artifact_is_told_from_a_keras_model(tmp_path):
    path = tmp_path / "net.h5"
    path.write_bytes(b"KNSOC\r\n\x1a" + bytes(600))
    with pytest.raises(ValueError, match=r"is an artifact.*kerasnsoc\.Model"):
        load_quantized_model(path)


def test_other_files_are_told_by_their_first_bytes(tmp_path):
    path = tmp_path / "text.h5"
    path.write_text("hello, world")
    with pytest.raises(ValueError, match=r"neither a \.keras archive nor an HDF5 file.*hello"):
        load_quantized_model(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_quantized_model(tmp_path / "none.keras")
