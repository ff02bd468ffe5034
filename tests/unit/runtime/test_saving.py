"""Models as artifacts: files, bytes, pickles, copies."""

import copy
import pickle

import numpy as np
import pytest

from kerasnsoc.artifact import ArtifactError, NetworkSpec, Reason
from kerasnsoc.runtime import FullyConnected, InputData, Model
from tests.networks import events_network, every_kind
from tests.unit.runtime.small import adder, batch, model_of


def _inputs(spec, samples=4):
    height, width, channels = spec.input.shape_hwc
    shape = (height, width) if spec.input.kind == "image" else (width, height)
    rng = np.random.default_rng(5)
    return rng.integers(0, 2**spec.input.bits, (samples, *shape, channels), dtype=np.uint8)


@pytest.fixture(params=["events", *every_kind()])
def spec(request):
    return events_network() if request.param == "events" else every_kind()[request.param]


def test_every_way_to_the_same_network(spec, tmp_path):
    model = Model.from_spec(spec)
    inputs = _inputs(spec)
    expected = model.trace(inputs)
    model.save(tmp_path / "net.h5")
    model.save(str(tmp_path / "net.anything"))
    buffer = model.to_buffer()
    others = [
        Model(tmp_path / "net.h5"),
        Model(str(tmp_path / "net.anything")),
        Model(serialized_buffer=buffer),
        Model(serialized_buffer=memoryview(buffer)),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        Model(layers=model.layers),
    ]
    for other in others:
        traced = other.trace(inputs)
        assert list(traced) == list(expected)
        for name, output in expected.items():
            np.testing.assert_array_equal(traced[name], output)
            assert traced[name].dtype == output.dtype


def test_bytes_are_the_same_again(spec):
    buffer = Model.from_spec(spec).to_buffer()
    assert Model(serialized_buffer=buffer).to_buffer() == buffer


def test_scaling_and_metadata_are_kept():
    layers = events_network().layers
    spec = NetworkSpec(layers, 15.0, -3, {"classes": ["a", "b", "c"]})
    model = Model(serialized_buffer=Model.from_spec(spec).to_buffer())
    for again in (model.to_spec(), Model(serialized_buffer=model.to_buffer()).to_spec()):
        assert (again.input_scale, again.input_shift) == (15.0, -3)
        assert dict(again.metadata) == {"classes": ["a", "b", "c"]}


def test_all_variables_are_kept():
    model = adder()
    layer = model.get_layer("sum")
    layer.variables["output_scale"] = 0.25
    layer.variables["output_shift"] = 1.5
    inputs = batch([1, 2, 3, 4])
    loaded = Model(serialized_buffer=model.to_buffer())
    assert loaded.evaluate(inputs).item() == model.evaluate(inputs).item() == 4.0
    names = loaded.get_layer("sum").get_variable_names()
    assert names == layer.get_variable_names()
    table = model_of(InputData(1, 1, 1), FullyConnected(1, "t", threshold_fire_bits=2))
    table.get_layer("t").variables["thresholds"] = [[1, 5, 5]]
    loaded = Model(serialized_buffer=table.to_buffer())
    assert loaded.get_layer("t").variables["thresholds"].tolist() == [[1, 5, 5]]


def test_a_loaded_model_can_be_changed():
    model = Model(serialized_buffer=adder().to_buffer())
    model.get_layer("sum").variables["weights"] = np.zeros((1, 1, 4, 1), int)
    assert model.forward(batch([1, 2, 3, 4])).item() == 0
    model.pop_layer()
    model.add(FullyConnected(2))
    assert model.forward(batch([1, 2, 3, 4])).shape == (1, 1, 1, 2)


def test_a_description_is_not_changed_through_the_model():
    weights = np.ones((1, 1, 4, 1), np.int8)
    spec = adder().to_spec()
    writable = dict(spec.layers[1].variables, weights=weights)
    layers = (
        spec.layers[0],
        type(spec.layers[1])("sum", spec.layers[1].parameters, ("in",), writable),
    )
    model = Model.from_spec(NetworkSpec(layers))
    weights[...] = 0
    assert model.forward(batch([1, 2, 3, 4])).item() == 10
    with pytest.raises(ValueError, match="read-only"):
        model.to_spec().layers[1].variables["weights"][...] = 0


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="empty"):
        Model().save(tmp_path / "net.h5")
    with pytest.raises(OSError):
        adder().save(tmp_path / "missing" / "net.h5")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(FileNotFoundError):
        Model(tmp_path / "none.h5")
    buffer = bytearray(adder().to_buffer())
    buffer[-1] ^= 1
    (tmp_path / "bad.h5").write_bytes(buffer)
    for source in ({"filename": tmp_path / "bad.h5"}, {"serialized_buffer": bytes(buffer)}):
        with pytest.raises(ArtifactError) as caught:
            Model(**source)
        assert caught.value.reason is Reason.DIGEST
        assert isinstance(caught.value, ValueError)


def test_a_pickle_passes_through_the_door():
    data = pickle.dumps(adder())
    damaged = data.replace(b'"sum"', b'"mus"')
    assert damaged != data
    with pytest.raises(ArtifactError) as caught:
        pickle.loads(damaged)
    assert caught.value.reason is Reason.DIGEST


def test_from_spec_checks():
    spec = adder().to_spec()
    with pytest.raises(ArtifactError) as caught:
        Model.from_spec(NetworkSpec(spec.layers[1:]))
    assert caught.value.reason is Reason.GRAPH


def test_statistics_are_not_saved():
    model = adder()
    model.forward(batch([1, 2, 3, 4]))
    assert pickle.loads(pickle.dumps(model)).metrics["inference_frames"] == 0
