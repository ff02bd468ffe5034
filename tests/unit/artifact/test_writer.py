"""What is written: bytes, their HDF5 view, the content digest, and what is refused."""

import dataclasses
import hashlib
import io
import json
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from kerasnsoc import artifact
from kerasnsoc.artifact import (
    ArtifactError,
    LayerSpec,
    Reason,
    _hdf5_view,
    content_digest,
    hdf5_check,
    load,
    save,
    to_bytes,
    verify,
    writer,
)
from kerasnsoc.artifact.layout import seal
from tests.networks import events_network, every_kind

KINDS = every_kind()


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
def test_bytes_are_deterministic_and_come_back(spec):
    data = to_bytes(spec)
    assert to_bytes(spec) == data
    assert to_bytes(load(data)) == data


def test_no_clock_in_the_bytes():
    spec = events_network()
    data = to_bytes(spec)
    time.sleep(1.1)  # HDF5 stamps in seconds
    assert to_bytes(spec) == data


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
def test_any_hdf5_tool_sees_every_array(spec):
    data = to_bytes(spec)
    with h5py.File(io.BytesIO(data), "r") as file:
        assert not file.attrs
        described = json.loads(file["description"][()].tobytes())
        for index, (layer, record) in enumerate(zip(spec.layers, described["layers"], strict=True)):
            assert record["name"] == layer.name
            assert record["type"] == layer.layer_type.value
            for variable in record["variables"]:
                dataset = file[f"l{index}_{variable}"]
                assert dataset.chunks is None
                assert dataset.id.get_offset() % 64 == 0
                np.testing.assert_array_equal(dataset[()], layer.variables[variable])
        assert described["metadata"] == dict(spec.metadata)
        count = sum(len(layer.variables) for layer in spec.layers)
        assert len(file) == 1 + count


def test_strided_and_foreign_order_arrays_are_stored_plainly():
    spec = events_network()
    conv = spec.layers[1]
    fortran = {k: np.asfortranarray(v) for k, v in conv.variables.items()}
    strided = {k: np.repeat(v, 2, axis=0)[::2] for k, v in conv.variables.items()}
    for variables in (fortran, strided):
        layers = (spec.layers[0], dataclasses.replace(conv, variables=variables), spec.layers[2])
        assert to_bytes(dataclasses.replace(spec, layers=layers)) == to_bytes(spec)


def test_order_of_variables_and_metadata_does_not_matter():
    spec = events_network()
    layers = tuple(
        dataclasses.replace(layer, variables=dict(reversed(layer.variables.items())))
        for layer in spec.layers
    )
    other = dataclasses.replace(spec, layers=layers, metadata=dict(reversed(spec.metadata.items())))
    assert to_bytes(other) == to_bytes(spec)


def test_numbers_that_are_equal_are_written_alike():
    spec = events_network()
    assert to_bytes(dataclasses.replace(spec, input_scale=1)) == to_bytes(spec)
    conv = spec.layers[1]
    whole = dataclasses.replace(
        conv, parameters=dataclasses.replace(conv.parameters, threshold_fire_step=1)
    )
    layers = (spec.layers[0], whole, spec.layers[2])
    assert to_bytes(dataclasses.replace(spec, layers=layers)) == to_bytes(spec)


def test_nothing_is_added_to_the_metadata():
    spec = dataclasses.replace(events_network(), metadata={})
    assert load(to_bytes(spec)).metadata == {}


def test_an_invalid_network_is_not_written(tmp_path):
    spec = events_network()
    broken = dataclasses.replace(spec, layers=spec.layers[:1] + spec.layers[2:])
    target = tmp_path / "net.h5"
    target.write_bytes(b"old")
    for action in (to_bytes, lambda s: save(s, target), content_digest):
        with pytest.raises(ArtifactError) as caught:
            action(broken)
        assert caught.value.reason is Reason.GRAPH
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.h5"]
    assert target.read_bytes() == b"old"


def test_an_index_beyond_its_limits_is_not_written():
    spec = events_network()
    inbound, layers = "x" * 128, list(spec.layers)
    layers[0] = dataclasses.replace(layers[0], name=inbound)
    # twelve bytes a character, twice: as the name and as the next layer's inbound
    name = "😀" * 124
    for number in range(1500):
        previous = layers[-1].name if number else inbound
        parameters = artifact.FullyConnectedParameters(num_neurons=1)
        shape = (1, 1, 1 if number else 40, 1)
        layers[1 + number :] = [
            LayerSpec(
                f"{name}{number:04d}",
                parameters,
                (previous,),
                {
                    "weights": np.zeros(shape, np.int8),
                    "threshold_fire": np.zeros(1, np.int32),
                    "threshold_fire_step": np.zeros(1, np.float32),
                },
            )
        ]
    deep = dataclasses.replace(spec, layers=tuple(layers))
    artifact.validate(deep)
    with pytest.raises(ArtifactError, match=r"the index has .* bytes, allowed are") as caught:
        to_bytes(deep)
    assert caught.value.reason is Reason.INDEX


def test_a_file_beyond_its_limit_is_not_written(monkeypatch):
    monkeypatch.setattr(writer, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ArtifactError, match="allowed are 1000"):
        to_bytes(events_network())


def test_content_digest_ignores_the_producer_only():
    spec = events_network()
    digest = content_digest(spec)
    assert len(digest) == 64
    other = {**spec.metadata, "producer": {"kerasnsoc": "9.9", "h5py": "5"}}
    assert content_digest(dataclasses.replace(spec, metadata=other)) == digest
    none = {"classes": spec.metadata["classes"]}
    assert content_digest(dataclasses.replace(spec, metadata=none)) == digest
    assert spec.metadata["producer"]  # untouched
    for change in (
        {"input_scale": 2.0},
        {"input_shift": 1},
        {"metadata": {**other, "classes": ["x"]}},
        {"metadata": {**other, "nested": {"producer": 1}}},
    ):
        assert content_digest(dataclasses.replace(spec, **change)) != digest


def test_content_digest_covers_every_array():
    spec = events_network()
    digests = {content_digest(spec)}
    count = 1
    for index, layer in enumerate(spec.layers):
        for name, values in layer.variables.items():
            changed = values.copy()
            changed.flat[0] += 1 if changed.flat[0] < 1 else -1
            variables = {
                **layer.variables,
                name: np.sort(changed) if changed.ndim == 2 else changed,
            }
            layers = list(spec.layers)
            layers[index] = dataclasses.replace(layer, variables=variables)
            digests.add(content_digest(dataclasses.replace(spec, layers=tuple(layers))))
            count += 1
    assert len(digests) == count


def test_content_digest_is_not_changed_by_a_round_trip():
    for spec in KINDS.values():
        assert content_digest(load(to_bytes(spec))) == content_digest(spec)


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
def test_verify_accepts_what_is_written(spec, tmp_path):
    data = to_bytes(spec)
    verify(data)
    target = tmp_path / "net.h5"
    save(spec, target)
    assert target.read_bytes() == data
    verify(target)


def rebuilt(change):
    """A file whose index is right and whose HDF5 part was changed by hand."""
    data = to_bytes(events_network())
    length = int.from_bytes(data[16:20], "little")
    start = int.from_bytes(data[12:16], "little")
    body = io.BytesIO(data[start:])
    with h5py.File(body, "r+") as file:
        change(file)
    return seal(data[64 : 64 + length], body.getvalue())


def refuses(data, message):
    load(data)  # the index view alone is fine
    with pytest.raises(ArtifactError, match=message) as caught:
        verify(data)
    assert caught.value.reason is Reason.LAYOUT


def test_verify_notices_a_missing_dataset():
    def drop(file):
        del file["l1_weights"]

    refuses(rebuilt(drop), "has no dataset 'l1_weights'")


def test_verify_notices_a_stowaway():
    def add(file):
        file["extra"] = np.zeros(3)

    refuses(rebuilt(add), "has the dataset 'extra', which the index does not list")


def test_verify_notices_an_attribute():
    def add(file):
        file["l1_weights"].attrs["unit"] = 1

    refuses(rebuilt(add), "has attributes")

    def root(file):
        file.attrs["unit"] = 1

    refuses(rebuilt(root), "the root group has attributes")


def test_verify_notices_a_copy_elsewhere():
    def move(file):
        values = file["l1_threshold_fire"][()]
        file["other"] = values
        del file["l1_threshold_fire"]
        file.move("other", "l1_threshold_fire")

    refuses(rebuilt(move), "'l1_threshold_fire' whose offset is")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(7, np.int32), "whose shape is"),
        (np.zeros(6, np.int64), "whose dtype is <i8"),
        (np.array([b"a"]), "holds no numbers"),
    ],
)
def test_verify_notices_another_shape_or_dtype(values, message):
    def swap(file):
        del file["l1_threshold_fire"]
        file["l1_threshold_fire"] = values

    refuses(rebuilt(swap), message)


def test_verify_follows_no_link():
    def soft(file):
        del file["l1_threshold_fire"]
        file["l1_threshold_fire"] = h5py.SoftLink("/l2_threshold_fire")

    def external(file):
        del file["l1_threshold_fire"]
        file["l1_threshold_fire"] = h5py.ExternalLink("/etc/hostname", "/x")

    def elsewhere(file):
        del file["l1_threshold_fire"]
        file.create_dataset("l1_threshold_fire", (6,), "i4", external=[("/etc/hostname", 0, 24)])

    refuses(rebuilt(soft), "is a link to elsewhere")
    refuses(rebuilt(external), "is a link to elsewhere")
    refuses(rebuilt(elsewhere), "keeps its values in another file")


def test_verify_wants_plain_storage_and_datasets_only():
    def chunked(file):
        values = file["l1_threshold_fire"][()]
        del file["l1_threshold_fire"]
        file.create_dataset("l1_threshold_fire", data=values, chunks=(3,), compression="gzip")

    def group(file):
        del file["l1_threshold_fire"]
        file.create_group("l1_threshold_fire")

    refuses(rebuilt(chunked), "is not stored contiguously")
    refuses(rebuilt(group), "is no dataset")


def test_verify_reads_the_description():
    def other(file):
        file["description"][0] = 0

    def none(file):
        del file["description"]

    refuses(rebuilt(other), "does not describe this network")
    refuses(rebuilt(none), "has no dataset 'description'")


def test_verify_survives_a_broken_hdf5_part():
    data = to_bytes(events_network())
    length = int.from_bytes(data[16:20], "little")
    start = int.from_bytes(data[12:16], "little")
    body = bytearray(data[start:])
    body[:400] = bytes(400)
    refuses(seal(data[64 : 64 + length], bytes(body)), "the HDF5 view cannot be read")


def child(monkeypatch, capsys, data):
    """What the child would print, without its limits, in this process."""
    monkeypatch.setattr(_hdf5_view, "limit_resources", lambda memory, seconds: None)
    monkeypatch.setattr(sys, "argv", ["child", "1", "1"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    _hdf5_view.main()
    return json.loads(capsys.readouterr().out)


def test_the_child_lists_what_it_sees(monkeypatch, capsys):
    spec = events_network()
    datasets = child(monkeypatch, capsys, to_bytes(spec))["datasets"]
    assert len(datasets) == 10
    weights = spec.layers[1].variables["weights"]
    dtype, shape, offset, digest = datasets["l1_weights"]
    assert (dtype, shape, offset % 64) == ("|i1", list(weights.shape), 0)
    assert digest == hashlib.sha256(weights.tobytes()).hexdigest()


def test_the_child_says_what_it_refuses(monkeypatch, capsys):
    def soft(file):
        del file["l1_weights"]
        file["l1_weights"] = h5py.SoftLink("/description")

    answer = child(monkeypatch, capsys, rebuilt(soft))
    assert answer == {"refused": "ValueError: b'l1_weights' is a link to elsewhere"}


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (subprocess.CompletedProcess([], -11, b"", b"Segmentation fault\n"), "exit status -11"),
        (subprocess.CompletedProcess([], 0, b"[]", b""), "gave no sensible answer"),
        (subprocess.CompletedProcess([], 0, b'{"datasets": {"a": 1}}', b""), "no sensible"),
        (subprocess.TimeoutExpired([], 60), "still reading after 20 s"),
    ],
)
def test_verify_when_libhdf5_dies_hangs_or_lies(monkeypatch, outcome, message):
    def run(*_, **__):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    data = to_bytes(events_network())
    monkeypatch.setattr(hdf5_check.subprocess, "run", run)
    with pytest.raises(ArtifactError, match=message) as caught:
        verify(data)
    assert caught.value.reason is Reason.UNREADABLE


def test_verify_needs_an_interpreter(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    data = to_bytes(events_network())
    with pytest.raises(RuntimeError, match=r"sys\.executable is empty"):
        verify(data)


def test_save_keeps_the_old_file_when_the_check_fails(tmp_path, monkeypatch):
    target = tmp_path / "net.h5"
    target.write_bytes(b"old")

    def fail(path):
        assert path != str(target)
        raise ArtifactError(Reason.LAYOUT, "the views differ")

    monkeypatch.setattr(writer, "_verify_file", fail)
    with pytest.raises(ArtifactError, match="the views differ"):
        save(events_network(), target)
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.h5"]
    save(events_network(), target, verify=False)
    load(target)


def test_a_missing_h5py_is_named(monkeypatch):
    data = to_bytes(events_network())
    monkeypatch.setattr(hdf5_check.importlib.util, "find_spec", lambda name: None)
    for action in (lambda: to_bytes(events_network()), lambda: verify(data)):
        with pytest.raises(ImportError, match="pip install h5py"):
            action()
    load(data)


def test_the_path_is_text(tmp_path):
    with pytest.raises(TypeError, match="must be one of str"):
        save(events_network(), str(tmp_path / "net.h5").encode())


def test_the_seal_covers_what_it_says():
    data = to_bytes(events_network())
    length = int.from_bytes(data[16:20], "little")
    start = int.from_bytes(data[12:16], "little")
    covered = data[:32] + data[64 : 64 + length] + data[start:]
    assert data[32:64] == hashlib.sha256(covered).digest()
