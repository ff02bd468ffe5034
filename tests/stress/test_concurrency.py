"""The thread and determinism scripts, as short as they say something; nightly runs are longer."""

import json
import os
import subprocess
import sys

import pytest

from tests.stress.determinism import FORMS, HASH_SEEDS, SPLITS, THREADS


def run(script, *options):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"tests.stress.{script}", *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


def test_threads_share_a_model():
    report = run("threads", "--threads", "8", "--calls", "100")
    assert report["calls"] == 800
    assert report["wrong"] == []


def test_threads_load_save_and_run():
    report = run("threads", "--threads", "8", "--calls", "8", "--mixed")
    assert report["calls"] == 64
    assert report["wrong"] == []


def test_a_few_of_everything_give_one_hash():
    report = run("determinism", "--processes", "1", "--quick")
    assert report["runs"] == 2 * len(report["kernels"]) * 8
    assert report["hashes"] == 1


@pytest.mark.slow
def test_everything_gives_one_hash():
    report = run("determinism", "--processes", "1")
    processes = len(HASH_SEEDS) * len(report["kernels"])
    assert report["runs"] == processes * len(THREADS) * len(FORMS) * len(SPLITS)
    assert report["hashes"] == 1
