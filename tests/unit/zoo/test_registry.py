"""Trained networks: records, verification, cache, offline behaviour."""

import email.message
import hashlib
import io
import lzma
import os
import re
import shlex
import subprocess
import sys
import urllib.request
import urllib.response
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kerasnsoc import zoo
from kerasnsoc.artifact import (
    FullyConnectedParameters,
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    save,
)
from kerasnsoc.runtime import Model
from kerasnsoc.zoo import registry
from kerasnsoc.zoo.recipes.catalog import TASKS

RECORDS = zoo.list_pretrained()
BUNDLED = [record for record in RECORDS if record.is_bundled]
MEGABYTE = 1 << 20

HELPERS = {
    "ds_cnn_cifar10_pretrained": (),
    "ds_cnn_kws_pretrained": (),
    "gxnor_mnist_pretrained": (),
    "mobilenet_imagenet_pretrained": (0.5,),
    "mobilenet_imagenette_pretrained": (1.0,),
    "mobilenet_edge_imagenet_pretrained": (),
    "mobilenet_cats_vs_dogs_pretrained": (),
    "mobilenet_faceidentification_pretrained": (),
    "mobilenet_faceverification_pretrained": (),
    "vgg_cifar10_pretrained": (),
    "vgg_imagenet_pretrained": (),
    "vgg_melanoma_pretrained": (),
    "vgg_odir5k_pretrained": (),
    "vgg_utk_face_pretrained": (),
    "convtiny_gesture_pretrained": (),
    "convtiny_handy_samsung_pretrained": (),
    "convtiny_cwru_pretrained": (),
    "pointnet_plus_modelnet40_pretrained": (),
    "yolo_widerface_pretrained": (),
    "yolo_voc_pretrained": (),
    "yolo_synthetic_pretrained": (),
}


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """No test sees the user's cache, or the network."""
    monkeypatch.setenv("KERASNSOC_HOME", str(tmp_path / "home"))
    for name in ("KERASNSOC_OFFLINE", "KERASNSOC_MODELS_URL"):
        monkeypatch.delenv(name, raising=False)


def test_records_are_complete():
    assert [record.key for record in RECORDS] == sorted({record.key for record in RECORDS})
    for record in RECORDS:
        assert record.recipe.startswith(("kerasnsoc ", "python -c ")), record.key
        assert record.license
        assert record.data_license
        assert record.helper in HELPERS
        assert " /" not in record.recipe  # nothing of the machine that trained it
    assert {record.helper for record in RECORDS} == set(HELPERS)


def command_lines(recipe):
    return [shlex.split(line)[1:] for line in re.findall(r"\bkerasnsoc [^;,(]*", recipe)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.key)
def test_recipes_are_commands_that_exist(record):
    typer = pytest.importorskip("typer")
    from kerasnsoc.cli import app

    program = typer.main.get_command(app)
    for words in command_lines(record.recipe):
        command = program.commands[words[0]]
        given = command.make_context(words[0], words[1:]).params  # parses, and runs nothing
        if words[0] == "train":
            assert given["name"] in TASKS
            assert given["model"] or given["action"].value == "run"
            assert given["epochs"] or given["action"].value in ("run", "eval")


def recipe_of(key):
    (recipe,) = (record.recipe for record in RECORDS if record.key == key)
    return recipe


@pytest.mark.keras
@pytest.mark.parametrize(
    ("key", "shapes"),
    [
        ("mobilenet_faceidentification/8-4-4", ((112, 96, 3), (10,))),
        ("mobilenet_faceverification/8-4-4", ((112, 96, 3), (512,))),
        ("vgg_odir5k/8-4-4", ((224, 224, 3), (4,))),
    ],
)
def test_recipes_in_python_make_the_named_network(key, shapes, tmp_path, monkeypatch):
    keras = pytest.importorskip("keras")
    monkeypatch.chdir(tmp_path)
    saved = []
    monkeypatch.setattr(keras.Model, "save", lambda model, path: saved.append((model, path)))
    code = shlex.split(recipe_of(key))[2]
    exec(compile(code, key, "exec"), {"PEOPLE": 10})
    ((model, path),) = saved
    assert path == "net.keras"
    assert (model.input_shape[1:], model.output_shape[1:]) == shapes


def test_recipes_in_commands_make_the_named_network():
    edge = recipe_of("mobilenet_edge_imagenet/0.5/8-4-4-1")
    assert "mobilenet_edge_imagenet -bm" in edge
    for key, command in (
        ("mobilenet_imagenet/0.25/8-4-4", "kerasnsoc train imagenet train"),
        ("pointnet_plus/modelnet40/8-4-4", "kerasnsoc train modelnet40 train"),
        ("yolo_base/voc/8-4-4", "kerasnsoc train yolo train"),
        ("yolo_base/widerface/8-4-4", "kerasnsoc train yolo train"),
    ):
        assert command in recipe_of(key)


@pytest.mark.parametrize("record", BUNDLED, ids=lambda record: record.key)
def test_shipped_networks_are_what_was_recorded(record):
    path = registry._BUNDLED / record.file
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == record.sha256
    assert len(content) == record.bytes <= MEGABYTE
    network = zoo.load_pretrained(record.key)
    assert isinstance(network, Model)
    if record.classes and "anchors" not in record.extra:
        assert network.output_dims == (1, 1, len(record.classes))
    assert record.metrics["dataset"]
    assert record.metrics["split"]
    assert any(name.startswith("integer_") for name in record.metrics)
    shape = network.input_dims[1::-1] + network.input_dims[2:]
    zeros = np.zeros((1, *shape), np.uint8)
    sparse = network.layers[0].parameters.layer_type.name == "InputData"
    assert network.forward(zeros.swapaxes(1, 2) if sparse else zeros).shape[0] == 1


def test_shipped_networks_are_small_together():
    assert sum(record.bytes for record in BUNDLED) <= 5 * MEGABYTE
    known = {record.file for record in RECORDS}
    files = {path.name for path in registry._BUNDLED.glob("*") if path.suffix != ".md"}
    assert files <= known


@pytest.mark.parametrize("helper", sorted(HELPERS))
def test_helpers_load_the_network_or_give_the_recipe(helper):
    assert issubclass(zoo.PretrainedNotAvailableError, FileNotFoundError)
    try:
        getattr(zoo, helper)(*HELPERS[helper])
    except zoo.PretrainedNotAvailableError as error:
        message = str(error)
    else:
        assert any(record.helper == helper for record in BUNDLED)
        return
    assert re.search("Train it with: (kerasnsoc|python -c) ", message)
    assert "SHA-256" in message
    assert str(Path("home") / "models") in message


def test_networks_that_nobody_has_are_refused():
    with pytest.raises(ValueError, match=r"alpha is 0.75: the model is not available"):
        zoo.mobilenet_imagenet_pretrained(0.75)
    with pytest.raises(ValueError, match="dataset is 'mine'"):
        zoo.ds_cnn_kws_pretrained("mine")
    with pytest.raises(ValueError, match="dataset is 'mine'"):
        zoo.convtiny_gesture_pretrained("mine")
    with pytest.raises(ValueError, match="'nothing' is no trained network"):
        zoo.load_pretrained("nothing")


def artifact(path):
    layers = (
        LayerSpec("in", InputDataParameters(input_width=1, input_height=1, input_channels=4)),
        LayerSpec(
            "out",
            FullyConnectedParameters(num_neurons=2, activations_enabled=False, weights_bits=2),
            ("in",),
            {
                "weights": np.ones((1, 1, 4, 2), np.int8),
                "threshold_fire": np.zeros(2, np.int32),
                "threshold_fire_step": np.ones(2, np.float32),
            },
        ),
    )
    save(NetworkSpec(layers), path)
    return path.read_bytes()


@pytest.fixture
def record(tmp_path, monkeypatch):
    """A network that lies on a server, here a folder."""
    server = tmp_path / "server"
    server.mkdir()
    content = artifact(server / "net.h5")
    made = replace(
        RECORDS[0],
        key="net",
        file="net.h5",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        urls=((server / "net.h5").as_uri(),),
    )
    use(monkeypatch, made)
    return made


def use(monkeypatch, *records):
    found = {record.key: record for record in records}
    monkeypatch.setattr(registry, "_records", lambda: found)


def models():
    return registry._home.models_folder()


def test_a_network_is_downloaded_once(record, tmp_path):
    network = zoo.load_pretrained("net")
    assert network.predict(np.ones((1, 1, 1, 4), np.uint8)).tolist() == [0]
    (tmp_path / "server" / "net.h5").unlink()
    assert zoo.pretrained_path("net") == models() / "net.h5"
    assert zoo.load_pretrained("net").layers[0].name == "in"
    assert [path.name for path in models().iterdir()] == ["net.h5"]


def test_downloads_can_be_forbidden(record, monkeypatch):
    monkeypatch.setenv("KERASNSOC_OFFLINE", "1")
    with pytest.raises(zoo.PretrainedNotAvailableError, match="KERASNSOC_OFFLINE"):
        zoo.load_pretrained("net")
    assert not models().exists()


def test_a_mirror_replaces_the_address(record, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    (tmp_path / "server").rename(mirror)
    monkeypatch.setenv("KERASNSOC_MODELS_URL", mirror.as_uri() + "/")
    assert zoo.load_pretrained("net").layers[0].name == "in"


def test_other_schemes_are_refused(record, monkeypatch):
    use(monkeypatch, replace(record, urls=("http://localhost/net.h5",)))
    with pytest.raises(ValueError, match="scheme 'http'"):
        zoo.load_pretrained("net")


@pytest.mark.parametrize("target", ["http://localhost/net.h5", "ftp://localhost/net.h5"])
def test_redirections_to_other_schemes_are_refused(record, monkeypatch, target):
    def answer(handler, request):
        headers = email.message.Message()
        headers["Location"] = target
        response = urllib.response.addinfourl(io.BytesIO(), headers, request.full_url, 302)
        response.msg = "Found"
        return response

    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", answer)
    use(monkeypatch, replace(record, urls=("https://localhost/net.h5",)))
    with pytest.raises(ValueError, match=r"redirects to .* allowed is https"):
        zoo.load_pretrained("net")
    assert list(models().iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no modes of this kind")
def test_a_download_has_the_mode_of_other_files(record):
    zoo.read_pretrained("net")
    other = models() / "other"
    other.write_bytes(b"")
    assert (models() / "net.h5").stat().st_mode == other.stat().st_mode


def test_a_failed_transfer_gives_the_recipe(record, tmp_path):
    os.unlink(tmp_path / "server" / "net.h5")
    with pytest.raises(zoo.PretrainedNotAvailableError, match="could not be fetched") as caught:
        zoo.load_pretrained("net")
    assert record.recipe in str(caught.value)
    assert str(models() / "net.h5") in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert list(models().iterdir()) == []


def test_all_files_that_are_here_are_verified(record, tmp_path, monkeypatch):
    assert registry.verify_pretrained() == []
    zoo.read_pretrained("net")
    assert registry.verify_pretrained() == [record]
    (models() / "net.h5").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"models.net\.h5 \(net\): SHA-256"):
        registry.verify_pretrained()
    assert (models() / "net.h5").read_bytes() == b"damaged"


def test_unpacked_files_are_verified(record, tmp_path, monkeypatch):
    packed(record, tmp_path, monkeypatch)
    zoo.pretrained_path("net")
    assert [found.key for found in registry.verify_pretrained()] == ["net"]
    (models() / "net.h5").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"models.net\.h5 \(net\): .* recorded artifact"):
        registry.verify_pretrained()


def test_a_wrong_download_is_not_kept(record, tmp_path):
    (tmp_path / "server" / "net.h5").write_bytes(b"another")
    with pytest.raises(ValueError, match="SHA-256"):
        zoo.load_pretrained("net")
    assert list(models().iterdir()) == []


def test_a_damaged_cache_is_moved_aside(record, tmp_path):
    models().mkdir(parents=True)
    (models() / "net.h5").write_bytes(b"damaged")
    assert zoo.load_pretrained("net").layers[0].name == "in"
    assert (models() / "net.h5.bad").read_bytes() == b"damaged"


def test_a_damaged_cache_without_an_address_is_absent(record, monkeypatch):
    use(monkeypatch, replace(record, urls=()))
    models().mkdir(parents=True)
    (models() / "net.h5").write_bytes(b"damaged")
    with pytest.raises(zoo.PretrainedNotAvailableError, match="it has no address"):
        zoo.load_pretrained("net")


def test_a_damaged_package_says_so(record, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_BUNDLED", tmp_path)
    (tmp_path / "net.h5").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="Install the package again"):
        zoo.load_pretrained("net")


def test_what_is_in_the_package_comes_first(record, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_BUNDLED", tmp_path / "server")
    assert zoo.pretrained_path("net") == tmp_path / "server" / "net.h5"
    assert not models().exists()


def packed(record, tmp_path, monkeypatch, **extra):
    content = (tmp_path / "server" / "net.h5").read_bytes()
    small = lzma.compress(content)
    (tmp_path / "server" / "net.h5.xz").write_bytes(small)
    made = replace(
        record,
        file="net.h5.xz",
        sha256=hashlib.sha256(small).hexdigest(),
        bytes=len(small),
        extra={
            "artifact_sha256": hashlib.sha256(content).hexdigest(),
            "artifact_bytes": len(content),
            **extra,
        },
    )
    use(monkeypatch, made)
    monkeypatch.setattr(registry, "_BUNDLED", tmp_path / "server")
    return content


def test_compressed_networks(record, tmp_path, monkeypatch):
    content = packed(record, tmp_path, monkeypatch)
    assert zoo.load_pretrained("net").layers[0].name == "in"
    assert not models().exists()
    for _ in range(2):
        path = zoo.pretrained_path("net")
        assert path == models() / "net.h5"
        assert path.read_bytes() == content
        path.write_bytes(b"damaged")  # is written again


@pytest.mark.parametrize(
    "extra", [{"artifact_bytes": 10}, {"artifact_bytes": -1}, {"artifact_sha256": "0" * 64}]
)
def test_compressed_content_is_verified(record, tmp_path, monkeypatch, extra):
    packed(record, tmp_path, monkeypatch, **extra)
    with pytest.raises(ValueError, match=r"recorded artifact|at most"):
        zoo.load_pretrained("net")


def test_publishing(record, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_BUNDLED", tmp_path / "weights")
    monkeypatch.setattr(registry, "_REGISTRY", tmp_path / "registry.json")
    (tmp_path / "registry.json").write_text('{"schema": 1, "models": []}')
    monkeypatch.setattr(registry, "_records", registry.functools.cache(registered))
    source = tmp_path / "server" / "net.h5"
    entry = {**record.to_dict(), "extra": {}}
    stored = registry.publish(entry, source)
    assert stored.file == "net.h5.xz"
    assert stored.is_bundled
    assert zoo.read_pretrained("net") == source.read_bytes()
    with pytest.raises(ValueError, match="but the record says 00"):
        registry.publish({**entry, "sha256": "00"}, source)


def registered():
    return registry._read(registry._REGISTRY)


def test_bad_registries_are_refused(tmp_path):
    path = tmp_path / "registry.json"
    path.write_text('{"schema": 2, "models": []}')
    with pytest.raises(ValueError, match="has the schema 2"):
        registry._read(path)
    with pytest.raises(ValueError, match=r"lacks .*'bytes'.* unknown \['wrong'\]"):
        registry._record({"key": "a", "wrong": 1})
    with pytest.raises(ValueError, match=r"which is no name"):
        registry._record({**RECORDS[0].to_dict(), "file": "../net.h5"})


@pytest.mark.keras
def test_keras_models_are_loaded_without_their_training_configuration(
    record, tmp_path, monkeypatch
):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "server" / "net.keras")
    content = (tmp_path / "server" / "net.keras").read_bytes()
    made = replace(
        record, file="net.keras", sha256=hashlib.sha256(content).hexdigest(), format="keras"
    )
    use(monkeypatch, made)
    monkeypatch.setattr(registry, "_BUNDLED", tmp_path / "server")
    assert not zoo.load_pretrained("net").compiled


def test_the_registry_needs_neither_keras_nor_a_folder(tmp_path):
    code = (
        "import sys, pathlib\n"
        "from kerasnsoc import zoo\n"
        "zoo.list_pretrained()\n"
        "print(sorted({'keras', 'tensorflow', 'h5py', 'numpy'} & set(sys.modules)))\n"
        "print(pathlib.Path('home').exists())\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.split() == ["[]", "False"]
