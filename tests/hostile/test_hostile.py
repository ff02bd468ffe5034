"""Every bad file gets its one refusal, in time and within limits of memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kerasnsoc.artifact import ArtifactError, load
from kerasnsoc.artifact.errors import Reason
from tests.hostile.make import CONTENTS, GOOD, IMAGE, PLACES
from tests.hostile.make import main as write_all

ROOT = Path(__file__).parents[2]


def test_there_are_enough_kinds_and_every_reason_occurs():
    assert len(CONTENTS) + len(PLACES) >= 60
    reasons = {case.reason for case in (*CONTENTS.values(), *PLACES.values())}
    assert reasons == set(Reason)


def test_what_they_are_made_from_is_good():
    for data in (GOOD, IMAGE):
        load(data)


@pytest.mark.parametrize("name", CONTENTS)
def test_bad_content(name):
    case = CONTENTS[name]
    with pytest.raises(ArtifactError) as caught:
        load(case.make())
    assert caught.value.reason is case.reason
    message = str(caught.value)
    assert len(message) < 1000
    assert message.isprintable()


@pytest.mark.parametrize("name", PLACES)
def test_bad_place(name, tmp_path):
    case = PLACES[name]
    path = case.make(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        load(path)
    assert caught.value.reason is case.reason
    assert repr(path)[1:20] in str(caught.value)


def test_time_memory_and_survival_under_limits():
    """In a child with limits, since a reader that hangs or crashes would take pytest with it."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.hostile.judge"],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout)["missed"] == []


def test_the_script_writes_them_all(tmp_path, capsys):
    write_all(str(tmp_path / "bad"))
    assert json.loads(capsys.readouterr().out)["files"] == len(CONTENTS)
    reasons = json.loads((tmp_path / "bad" / "reasons.json").read_text())
    for file, reason in reasons.items():
        with pytest.raises(ArtifactError) as caught:
            load(tmp_path / "bad" / file)
        assert caught.value.reason.value == reason
