"""The commands on Keras models and artifacts: what they print, write and refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kerasnsoc import FullyConnected, InputData, Model, cli
from kerasnsoc.artifact import content_digest, load

PATTERNS = np.array([[1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]], np.uint8)


@pytest.fixture
def call(tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    return invoke


@pytest.fixture
def learner(call):
    """A network that can learn, and its samples, in the current folder."""
    model = Model(layers=[InputData(1, 1, 8, 1), FullyConnected(2, activations_enabled=False)])
    model.save("net.h5")
    np.save("x.npy", PATTERNS)
    np.save("labels.npy", np.array([0, 1]))


def one_line(result, *words):
    lines = result.stderr.splitlines()
    assert result.stdout == ""
    assert len(lines) == 1
    assert lines[0].startswith("kerasnsoc: ")
    for word in words:
        assert word in lines[0]


# Artifacts; no Keras.


def test_learn_writes_a_network_that_knows_its_samples(call, learner):
    text = call(
        "learn", "net.h5", "x.npy", "labels.npy", "-o", "out.h5", "--weights", 3, "--classes", 2
    ).stdout
    assert "accuracy on these samples: 100.00% (2 of 2)" in text
    assert Model("out.h5").predict(PATTERNS).tolist() == [0, 1]
    expected = Model("net.h5")
    expected.compile(3, 2)
    expected.fit(PATTERNS, [0, 1])
    assert content_digest(load("out.h5")) == content_digest(expected.to_spec())


def test_learning_goes_on_with_more_classes(call, learner):
    call("learn", "net.h5", "x.npy", "labels.npy", "-o", "two.h5", "--weights", 3, "--classes", 2)
    np.save("third.npy", np.array([[0, 0, 0, 1, 1, 1, 0, 0]], np.uint8))
    np.save("two.npy", np.array([2]))
    options = ("--add-classes", 1, "--json")
    found = call("learn", "two.h5", "third.npy", "two.npy", "-o", "three.h5", *options).stdout
    content = json.loads(found)
    assert (content["classes"], content["accuracy"], content["notes"]) == (3, 1.0, [])
    assert Model("three.h5").predict(PATTERNS).tolist() == [0, 1]


def test_learning_refusals(call, learner):
    base = ("learn", "net.h5", "x.npy", "labels.npy", "-o")
    one_line(call(*base, "out.h5", status=1), "compile")
    assert "--weights" in call(*base, "out.h5", "--classes", 2, status=2).stderr
    assert "reads" in call(*base, "net.h5", "--weights", 3, status=2).stderr
    both = ("--weights", 3, "--add-classes", 1)
    assert "--classes" in call(*base, "out.h5", *both, status=2).stderr
    one_line(call(*base, "out.h5", "--weights", 3, "--rule", "x", status=1), "majority")


def test_upgrade_keeps_the_content(call, learner):
    digest = json.loads(call("upgrade", "net.h5", "-o", "new.h5", "--json").stdout)
    assert digest["content_digest"] == content_digest(load("net.h5"))
    assert content_digest(load("new.h5")) == digest["content_digest"]
    assert digest["content_digest"] in call("upgrade", "net.h5", "-o", "new.h5").stdout
    assert "reads" in call("upgrade", "net.h5", "-o", "net.h5", status=2).stderr
    one_line(call("upgrade", "x.npy", "-o", "new.h5", status=1))


def test_diff_of_equal_and_of_other_networks(call, learner):
    call("learn", "net.h5", "x.npy", "labels.npy", "-o", "out.h5", "--weights", 3, "--classes", 2)
    assert "are equal" in call("diff", "net.h5", "net.h5", "--exit-code").stdout
    assert "differ" in call("diff", "net.h5", "out.h5").stdout
    found = call("diff", "net.h5", "out.h5", "--inputs", "x.npy", "--exit-code", "--json", status=1)
    assert json.loads(found.stdout)["classes"]["samples"] == 2
    one_line(call("diff", "net.h5", "missing.h5", status=1), "missing.h5")


def test_bench_measures_each_batch_size(call, learner):
    text = call("bench", "net.h5", "--rounds", 1).stdout
    assert "random inputs" in text
    assert "frames/s" in text
    options = ("--inputs", "x.npy", "--batch", 2, "--batch", 3, "--rounds", 1, "--json")
    content = json.loads(call("bench", "net.h5", *options).stdout)
    assert [row["batch_size"] for row in content["rows"]] == [2, 3]
    assert all(row["slowest"] <= row["frames_per_second"] for row in content["rows"])
    assert content["kernel"]


def test_these_commands_need_no_keras(call, learner):
    code = (
        "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None\n"
        "from kerasnsoc.cli import app\n"
        "app(sys.argv[1:])"
    )
    for arguments in (["upgrade", "net.h5", "-o", "u.h5"], ["diff", "net.h5", "net.h5"]):
        subprocess.run([sys.executable, "-P", "-c", code, *arguments], check=True, timeout=60)
    Path("m.keras").touch()
    refused = subprocess.run(
        [sys.executable, "-P", "-c", code, "advise", "m.keras"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert "kerasnsoc[train]" in refused.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(call, shell):
    name = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"
    code = "from kerasnsoc.cli import main; import sys; sys.argv[0] = 'kerasnsoc'; main()"
    environment = {**os.environ, name: "1"}

    def run(*arguments, **more):
        return subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout

    assert "_KERASNSOC_COMPLETE" in run("--show-completion", shell)
    asked = {
        "bash": {"COMP_WORDS": "kerasnsoc conv", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "kerasnsoc conv"},
        "fish": {
            "_TYPER_COMPLETE_ARGS": "kerasnsoc conv",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        },
    }[shell]
    assert "convert" in run(_KERASNSOC_COMPLETE=f"complete_{shell}", **asked)


# Keras models.


def user_model(**last):
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.Dense(3, name="head", **last),
        ]
    )


@pytest.mark.keras
def test_from_a_float_model_to_a_compared_artifact(call):
    user_model(activation="softmax").save("mine.keras")
    found = call("advise", "mine.keras", status=1).stdout
    assert "conv (argument, mended by --fix)" in found
    assert "now: kerasnsoc advise mine.keras --fix fixed.keras" in found
    refused = call("quantize", "mine.keras", "q.keras", status=1)
    one_line(refused, "kerasnsoc advise mine.keras")

    content = json.loads(call("advise", "mine.keras", "--fix", "fixed.keras", "--json").stdout)
    assert content["fixed"]["remaining"] == 0
    assert "written: again.keras" in call("advise", "mine.keras", "--fix", "again.keras").stdout
    assert "nothing keeps" in call("advise", "fixed.keras").stdout

    assert "8/4/4" in call("quantize", "fixed.keras", "q.keras", "--input-weights", 8).stdout
    converted = call("convert", "q.keras", "net.h5", "--scaling", "255,0", "--json")
    content = json.loads(converted.stdout)
    assert content["input"] == {"scale": 255.0, "shift": 0}
    assert "note: layer 'head_softmax'" in converted.stderr
    assert content["content_digest"] == content_digest(load("net.h5"))

    np.save("x.npy", np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8))
    assert "0 of " in call("compare", "q.keras", "net.h5", "x.npy").stdout
    assert (
        json.loads(call("compare", "q.keras", "net.h5", "x.npy", "--json").stdout)["first"] is None
    )

    call("quantize", "fixed.keras", "other.keras", "--weights", 2, "--json")
    differs = call("compare", "other.keras", "net.h5", "x.npy", status=1).stdout
    assert "the first in layer" in differs


@pytest.mark.keras
def test_what_cannot_be_mended_ends_with_1(call, tmp_path):
    user_model(activation="tanh").save("good.keras")
    call("advise", "good.keras", "--fix", "fixed.keras")
    import keras

    source = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, activation="tanh", name="conv")(source)
    model = keras.Model(source, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    model.save("tanh.keras")
    text = call("advise", "tanh.keras", "--fix", "fixed.keras", status=1).stdout
    assert "conv (argument, to do)" in text
    assert "train again" in text
    (tmp_path / "saved").mkdir()
    assert "model.save" in call("advise", "saved", status=1).stdout


@pytest.mark.keras
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["quantize", "m.keras", "out.h5"], 2, ".keras"),
        (["quantize", "m.keras", "m.keras"], 2, "reads"),
        (["quantize", "m.keras", "out.keras", "--weights", 9], 1, "2 to 8"),
        (["quantize", "x.npy", "out.keras"], 1, "neither a .keras"),
        (["quantize", "absent.keras", "out.keras"], 1, "absent.keras"),
        (["convert", "m.keras", "out.h5", "--scaling", "1;2"], 2, "255,0"),
        (["convert", "m.keras", "out.keras"], 2, ".h5"),
        (["convert", "m.keras", "out.h5"], 1, "kerasnsoc advise"),
        (["advise", "broken.keras"], 1, "broken.keras"),
    ],
)
def test_wrong_use_is_said_in_one_line(call, arguments, status, words):
    user_model().save("m.keras")
    np.save("x.npy", PATTERNS)
    with open("broken.keras", "wb") as file:
        file.write(b"PK\x03\x04 and no archive")
    result = call(*arguments, status=status)
    assert words in result.stderr
    if status == 1:
        one_line(result)


DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.mark.skipif(not DOCUMENT.exists(), reason="the documentation is not beside the tests")
def test_the_page_shows_every_command_and_only_options_that_exist():
    import re

    from typer.main import get_command

    commands = get_command(cli.app).commands
    sections = re.split(r"^### ", DOCUMENT.read_text("utf-8"), flags=re.M)[1:]
    shown = {re.match(r"`([\w-]+)", section).group(1): section for section in sections}
    assert set(shown) >= set(commands)
    for name, section in shown.items():
        known = {option for p in getattr(commands[name], "params", []) for option in p.opts}
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", section)) <= known, name
        assert f"$ kerasnsoc {name}" in section


def leaves(command, name=()):
    """All commands that do something, by their words."""
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(name), command
    else:
        for word, child in children.items():
            yield from leaves(child, (*name, word))


def test_every_command_speaks_json_and_has_a_line_of_help():
    from typer.main import get_command

    found = dict(leaves(get_command(cli.app)))
    assert len(found) > 25
    silent = [
        name
        for name, command in found.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    ]
    assert silent == []
    assert [name for name, command in found.items() if not command.help] == []


def test_the_zoo_speaks_json(call):
    verified = json.loads(call("zoo", "verify", "--json").stdout)
    assert len(verified) >= 5
    assert all(record["ok"] and len(record["sha256"]) == 64 for record in verified)
    key = verified[0]["key"]
    found = json.loads(call("zoo", "fetch", key, "--json").stdout)
    assert found["key"] == key
    assert found["path"] == call("zoo", "fetch", key).stdout.strip()


def test_the_spoken_demo_speaks_json_alone(call):
    result = call("demo", "kws", "--json")
    content = json.loads(result.stdout)
    assert [word["label"] for word in content["words"]][:2] == ["three", "one"]
    assert content["energy"]["loihi"]["samples"] == len(content["words"])
    assert "three" in result.stderr


@pytest.mark.keras
def test_create_speaks_json_alone(call, tmp_path):
    pytest.importorskip("tensorflow")
    result = call("create", "gxnor_mnist", "--json", "--summary", "--save", "net.keras")
    content = json.loads(result.stdout)
    assert content["output"] == "net.keras"
    assert content["parameters"] > 1000
    assert (tmp_path / "net.keras").exists()
    assert "Total params" in result.stderr


@pytest.mark.keras
def test_check_of_a_keras_model_advises(call):
    user_model().save("mine.keras")
    assert (
        call("check", "mine.keras", status=1).stdout
        == call("advise", "mine.keras", status=1).stdout
    )
    call("check", "mine.keras", "--fix", "fixed.keras")
    user_model().save("mine.h5")  # Keras's former format, which has the suffix of artifacts
    assert "conv (argument, mended by --fix)" in call("check", "mine.h5", status=1).stdout
    assert "--fix" in call("check", "net.h5", "--fix", "out.keras", status=2).stderr
