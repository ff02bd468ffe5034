"""The stress scripts, as short as they say something; nightly runs use larger numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stress.hdf5_checksums import lookup3, regions, repaired

ROOT = Path(__file__).parents[2]


def run(script, *options):
    """Run a script as its own process, since it forks, kills and changes `os`."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"tests.stress.{script}", *options],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


def test_every_damaged_file_is_refused():
    report = run("mutate", "--cases", "20000", "--seed", "7")
    assert report["refused"] + report["unchanged"] == 20000
    assert report["refused"] > 15000


def test_malice_behind_the_digest_is_refused_or_valid():
    report = run("mutate", "--behind", "--cases", "5000", "--seed", "7")
    assert report["refused"] + report["valid"] == 5000
    assert report["valid"] > 100


def test_what_is_accepted_behind_the_digest_runs():
    pytest.importorskip("kerasnsoc.runtime", exc_type=ImportError)
    report = run("mutate", "--behind", "--forward", "--cases", "2000", "--seed", "8")
    assert report["valid"] > 40


def test_networks_over_time_meet_the_same_bar():
    pytest.importorskip("kerasnsoc.runtime", exc_type=ImportError)
    report = run("mutate", "--over-time", "--behind", "--forward", "--cases", "400", "--seed", "9")
    assert report["refused"] + report["valid"] == 400
    assert report["valid"] > 20


def test_libhdf5_on_repaired_metadata_kills_nobody():
    report = run("mutate", "--hdf5-view", "--repair", "--cases", "15", "--seed", "7")
    assert sum(report.get(name, 0) for name in ("agrees", "refused", "child died")) == 15


def test_a_killed_save_leaves_a_whole_file():
    report = run("kill_save", "--kills", "100")
    assert report["unreadable"] == 0
    assert report["strays_after_next_save"] <= 1


def test_every_system_call_of_a_save_may_fail():
    report = run("faults", "--op", "all", "--rlimit")
    assert report["missed"] == []
    assert report["faults"] > 50


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xDEADBEEF),
        (b"Four score and seven years ago", 0x17770551),
    ],
)
def test_the_checksum_is_the_published_one(data, expected):
    assert lookup3(data) == expected


def test_repair_restores_what_hdf5_wrote():
    from kerasnsoc.artifact import to_bytes
    from kerasnsoc.artifact.layout import frame
    from tests.networks import events_network

    good = to_bytes(events_network())
    body = good[frame(good[:64], len(good)).body]
    blocks = regions(body)
    # the superblock, the root group, and each of nine datasets
    assert len(blocks) >= 11
    _, end = blocks[-1]
    damaged = body[:end] + bytes(4) + body[end + 4 :]
    assert repaired(damaged, blocks) == body


def test_soak():
    found = run("soak", "--minutes", "0.05")
    assert found["rounds"] > 0
    assert found["problems"] == []
