"""Putting models together: what may follow what, and what happens when it may not."""

import numpy as np
import pytest

from kerasnsoc.artifact import ArtifactError, Reason
from kerasnsoc.runtime import (
    BackendType,
    Concat,
    Convolutional,
    ConvolutionMode,
    FullyConnected,
    InputConvolutional,
    InputData,
    Model,
    SeparableConvolutional,
)
from tests.networks import every_kind, time_networks
from tests.unit.runtime.small import adder, batch, fill, model_of


def test_an_empty_model():
    model = Model()
    assert (model.layers, model.get_layer_count()) == ([], 0)
    assert model.backend is BackendType.Software
    for access in (lambda: model.input_dims, lambda: model.output_dims, model.pop_layer):
        with pytest.raises(RuntimeError, match="empty"):
            access()
    inputs = np.zeros((1, 1, 1, 1), np.uint8)
    for call in (model.forward, model.evaluate, model.predict, model.trace):
        with pytest.raises(ValueError, match="empty"):
            call(inputs)
    with pytest.raises(ValueError, match="empty"):
        model.to_spec()
    with pytest.raises(IndexError, match="0 layers"):
        model.get_layer(0)


def test_dims_names_and_lookup():
    model = model_of(InputData(4, 3, 2), Convolutional(3, 3, 5, "c"), FullyConnected(7))
    assert model.input_dims == (4, 3, 2)
    assert model.output_dims == (1, 1, 7)
    assert [layer.name for layer in model.layers] == ["input_data_0", "c", "fully_connected_2"]
    assert model.get_layer("c") is model.get_layer(1) is model.get_layer(-2)
    assert model.get_layer(np.int64(2)) is model.layers[-1]
    assert model.get_layer_count() == 3
    assert "3 layers: input_data_0, c" in repr(model)
    model.layers.clear()
    assert model.get_layer_count() == 3
    with pytest.raises(KeyError, match=r"'d'.*'c'"):
        model.get_layer("d")
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"is {index}.*3 layers"):
            model.get_layer(index)
    for key in (1.0, None, True):
        with pytest.raises(TypeError, match="name or index"):
            model.get_layer(key)


def test_an_automatic_name_avoids_the_given_ones():
    model = model_of(InputData(1, 1, 1), FullyConnected(1, "fully_connected_2"), FullyConnected(1))
    assert model.get_layer(2).name == "fully_connected_3"


def _two_potentials():
    model = model_of(InputData(1, 1, 2, name="in"))
    for name in "ab":
        model.add(FullyConnected(1, name, activations_enabled=False), [model.get_layer("in")])
    return model


def test_a_concat_joins_in_the_order_of_its_inbounds():
    model = _two_potentials()
    model.get_layer("a").variables["weights"] = np.array([1, 0]).reshape(1, 1, 2, 1)
    model.get_layer("b").variables["weights"] = np.array([0, 1]).reshape(1, 1, 2, 1)
    model.add(Concat("j", activations_enabled=False), [model.get_layer("b"), model.get_layer("a")])
    assert model.output_dims == (1, 1, 2)
    outputs = model.forward(batch([5, 9]))
    assert outputs.dtype == np.int32
    assert outputs.ravel().tolist() == [9, 5]


@pytest.mark.parametrize("place", ["empty", "behind"])
def test_what_cannot_be_first_or_later(place):
    model = Model() if place == "empty" else model_of(InputData(1, 1, 1))
    layer = FullyConnected(1, "x") if place == "empty" else InputData(1, 1, 1, name="x")
    with pytest.raises(ValueError, match=r"'x'.*first layer"):
        model.add(layer)
    with pytest.raises(ValueError, match=r"first layer"):
        Model(layers=[InputData(1, 1, 1), InputConvolutional(3, 3, 1, 3, 3, 1)])


def test_refused_layers_leave_the_model_as_it_was():
    model = _two_potentials()
    other = adder()
    a, b, source = (model.get_layer(name) for name in ("a", "b", "in"))
    sparse = Convolutional(2, 2, 1, "big", ConvolutionMode.Valid)
    cases = [
        (lambda: model.add("layer"), TypeError, "layer is a str"),
        (lambda: model.add(Concat("j"), [a, "b"]), TypeError, "holds a str"),
        (lambda: model.add(a), ValueError, "'a' is in a model already"),
        (lambda: model.add(other.get_layer(1)), ValueError, "'sum' is in a model already"),
        (lambda: model.add(FullyConnected(1, "a"), [source]), ValueError, "named 'a'"),
        (lambda: model.add(FullyConnected(1, "x" * 129), [source]), ValueError, "at most 128"),
        (lambda: model.add(FullyConnected(1, "x\n"), [source]), ValueError, "printable"),
        (lambda: model.add(FullyConnected(1, "f")), ValueError, "potentials of 'b'"),
        (lambda: model.add(FullyConnected(1, "f"), [source, a]), ValueError, "only a Concat"),
        (
            lambda: model.add(FullyConnected(1, "f"), [other.get_layer(0)]),
            ValueError,
            r"'in', output .*does not belong.*get_layer",
        ),
        (lambda: model.add(Concat("j")), ValueError, "single layer"),
        (lambda: model.add(Concat("j"), [a, source]), ValueError, r"'a': 32, 'in': 4"),
        (lambda: model.add(sparse, [source]), ValueError, r"'big'.*does not fit"),
        (lambda: model.add(InputData(1, 1, 1), [source]), ValueError, "first layer"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
        assert [layer.name for layer in model.layers] == ["in", "a", "b"]
        assert list(model.statistics) == ["in", "a", "b"]
    model.add(Concat("j", activations_enabled=False), [a, b])
    assert model.forward(batch([1, 1])).shape == (1, 1, 1, 2)


def test_a_concat_needs_equal_maps_and_bits():
    model = model_of(InputData(4, 4, 1, name="in"))
    source = model.get_layer("in")
    same = Convolutional(3, 3, 1, "same", threshold_fire_bits=2)
    valid = Convolutional(3, 3, 1, "valid", ConvolutionMode.Valid, threshold_fire_bits=2)
    model.add(same, [source])
    model.add(valid, [source])
    with pytest.raises(ValueError, match=r"width and height.*\(4, 4, 1\).*\(2, 2, 1\)"):
        model.add(Concat("j"), [same, valid])
    with pytest.raises(ValueError, match=r"'same': 2, 'in': 4"):
        model.add(Concat("j"), [same, source])


def test_an_inbound_layer_may_be_given_alone():
    model = model_of(InputData(1, 1, 1, name="in"), FullyConnected(1, "a"))
    model.add(FullyConnected(1, "b"), model.get_layer("in"))
    assert model.get_layer("b").inbounds == [model.get_layer("in")]


def test_a_branch_that_does_not_reach_the_output_is_refused_when_it_runs():
    model = model_of(InputData(1, 1, 1, name="in"), FullyConnected(1, "dead"))
    model.add(FullyConnected(1, "out"), [model.get_layer("in")])
    for call in (
        lambda: model.forward(batch([1])),
        lambda: model.trace(batch([1])),
        model.to_buffer,
    ):
        with pytest.raises(ArtifactError, match="'dead' does not reach") as caught:
            call()
        assert caught.value.reason is Reason.GRAPH
    assert model.statistics["in"].nb_samples == 0


def test_popping_layers():
    model = fill(model_of(InputData(1, 1, 3), FullyConnected(2, "a", 3), FullyConnected(4, "b", 3)))
    inputs = batch([1, 2, 3])
    before = model.forward(inputs)
    b = model.get_layer("b")
    weights = b.get_variable("weights")
    model.pop_layer()
    assert model.output_dims == (1, 1, 2)
    assert list(model.statistics) == ["input_data_0", "a"]
    assert model.forward(inputs).shape == (1, 1, 1, 2)
    np.testing.assert_array_equal(b.get_variable("weights"), weights)
    model.add(b)
    np.testing.assert_array_equal(model.forward(inputs), before)
    model.pop_layer()
    model.pop_layer()
    with pytest.raises(ValueError, match=r"'b' brings 'weights' of the shape \(1, 1, 2, 4\)"):
        model.add(b)
    model.pop_layer()
    assert model.get_layer_count() == 0
    with pytest.raises(RuntimeError, match="empty"):
        model.pop_layer()


def test_a_new_last_layer_after_popping():
    model = fill(model_of(InputData(1, 1, 3), FullyConnected(2, "a", 3), FullyConnected(4, "b", 3)))
    model.pop_layer()
    model.add(FullyConnected(6, "b"))
    assert model.forward(batch([1, 2, 3])).shape == (1, 1, 1, 6)


def test_layers_are_copied():
    source = fill(
        model_of(InputData(4, 3, 2), Convolutional(3, 3, 5, "c", weights_bits=4), FullyConnected(7))
    )
    copy = Model(layers=source.layers)
    inputs = np.random.default_rng(1).integers(0, 16, (3, 4, 3, 2), dtype=np.uint8)
    np.testing.assert_array_equal(copy.forward(inputs), source.forward(inputs))
    assert copy.get_layer("c") is not source.get_layer("c")
    copy.get_layer("c").variables["threshold_fire"] = 10**6
    assert not source.get_layer("c").variables["threshold_fire"].any()


def test_layers_from_the_middle_get_an_input():
    source = fill(
        model_of(
            InputData(4, 3, 2),
            Convolutional(3, 3, 5, "c", weights_bits=4, threshold_fire_bits=2),
            FullyConnected(7, "f", 4, activations_enabled=False),
        )
    )
    tail = Model(layers=source.layers[2:])
    assert tail.input_dims == (4, 3, 5)
    assert tail.get_layer(0).input_bits == 2
    inputs = np.random.default_rng(1).integers(0, 16, (3, 4, 3, 2), dtype=np.uint8)
    traced = source.trace(inputs)
    np.testing.assert_array_equal(tail.forward(traced["c"]), traced["f"])


def test_a_first_layer_of_unknown_input_is_refused_with_its_position():
    message = r"layers\[0\] is a FullyConnected.*layers=\[InputData\("
    with pytest.raises(ValueError, match=message):
        Model(layers=[FullyConnected(3)])
    with pytest.raises(TypeError, match="single layer, but must be a list"):
        Model(layers=FullyConnected(3))
    with pytest.raises(TypeError, match=r"filename is a list.*Model\(layers=\[…\]\)"):
        Model([InputData(1, 1, 3)])


def test_what_is_wrong_with_a_layer_without_a_name_tells_where_it_is():
    valid = Convolutional(3, 3, 2, convolution_mode=ConvolutionMode.Valid)
    with pytest.raises(ValueError, match=r"layers\[1\]: .*window of 3 does not fit into 1"):
        Model(layers=[InputData(1, 1, 3), valid])
    tail = model_of(InputData(4, 4, 1), Convolutional(3, 3, 2)).layers[1:]
    with pytest.raises(ValueError, match=r"layers\[1\]: layer 'concat_2' joins a single layer"):
        Model(layers=[*tail, Concat()])  # the input that is put in front shifts the names
    unnamed = FullyConnected(3)
    for access in (lambda: unnamed.variables, lambda: unnamed.input_dims):
        with pytest.raises(RuntimeError, match="a FullyConnected without a name has no"):
            access()
    with pytest.raises(ValueError, match=r"^num_neurons is 0, but FullyConnected takes"):
        FullyConnected(0)


def test_copied_layers_keep_their_inbounds():
    model = _two_potentials()
    fill(model).add(
        Concat("j", activations_enabled=False), [model.get_layer("b"), model.get_layer("a")]
    )
    copy = Model(layers=model.layers)
    assert [layer.name for layer in copy.get_layer("j").inbounds] == ["b", "a"]
    assert [layer.name for layer in copy.get_layer("b").inbounds] == ["in"]
    np.testing.assert_array_equal(copy.forward(batch([3, 4])), model.forward(batch([3, 4])))


def test_a_separable_chain_from_unused_layers():
    model = Model(layers=[InputData(5, 5, 1), SeparableConvolutional(3, 3, 2), FullyConnected(2)])
    assert model.output_dims == (1, 1, 2)
    with pytest.raises(TypeError, match="holds a str"):
        Model(layers=["dense"])


def test_one_source_only(tmp_path):
    with pytest.raises(ValueError, match="filename and layers"):
        Model(tmp_path / "net.h5", layers=[])
    with pytest.raises(ValueError, match="serialized_buffer and layers"):
        Model(serialized_buffer=b"", layers=[])
    with pytest.raises(TypeError, match="pass a path as filename"):
        Model(serialized_buffer="net.h5")


def test_backends_that_do_not_exist():
    with pytest.raises(RuntimeError, match=r"BackendType\.Hardware is not available"):
        Model(backend=BackendType.Hardware)
    with pytest.raises(RuntimeError, match=r"BackendType\.Hybrid"):
        Model(backend=BackendType.Hybrid)
    with pytest.raises(TypeError, match="backend is 'cpu'"):
        Model(backend="cpu")


def test_summary(capsys):
    model = model_of(
        InputData(4, 3, 2, name="in"),
        SeparableConvolutional(3, 3, 5, "sep"),
        FullyConnected(7, "fc"),
    )
    text = model.summary()
    assert capsys.readouterr().out == text + "\n"
    for part in (
        "in (InputData)",
        "[4, 3, 2]",
        "sep (SeparableConvolutional)",
        "[3, 3, 2, 1]",
        "[1, 1, 2, 5]",
        "fc (FullyConnected)",
        "[1, 1, 60, 7]",
        "[1, 1, 7]",
        "Input shape: [4, 3, 2]",
        "Backend: Software",
    ):
        assert part in text
    assert "N/A" in Model().summary()


def test_kernels_are_told_in_one_pass_and_over_time():
    for spec in (*every_kind().values(), *time_networks().values()):
        model = Model.from_spec(spec)
        told = [layer for layer, _, _ in model.kernels]
        assert told == [layer.name for layer in spec.layers if "weights" in layer.variables]
        text = model.summary()
        assert all(f"{kernel} | {form}" in text for _, kernel, form in model.kernels)
