"""The stress scripts, as short as they say something; nightly runs use larger numbers."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.stress.hdf5_checksums import lookup3, regions, repaired
from tests.stress.journal import Journal

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
    options = ("--behind", "--forward", "--every-network", "--cases", "2000", "--seed", "8")
    report = run("mutate", *options)
    assert report["valid"] > 40


def test_networks_over_time_meet_the_same_bar():
    pytest.importorskip("kerasnsoc.runtime", exc_type=ImportError)
    report = run("mutate", "--over-time", "--behind", "--forward", "--cases", "400", "--seed", "9")
    assert report["refused"] + report["valid"] == 400
    assert report["valid"] > 20


def test_a_journal_goes_on_behind_its_last_block_and_counts_the_case_that_died(tmp_path):
    journal = tmp_path / "journal.jsonl"
    case = tmp_path / "journal.jsonl.case"
    options = [journal, ["behind", 7]]
    counts, examples = Counter(), []
    numbers = Journal(*options).cases(12_000, counts, examples)
    for _ in range(5001):  # the first block, and one case of the second, in which the process dies
        counts["refused"] += next(numbers) >= 0
    left_behind = case.read_bytes()
    del numbers  # which would leave the file open
    case.write_bytes(left_behind)
    counts, examples = Counter(), []
    seen = []
    for number in Journal(*options).cases(12_000, counts, examples):
        seen.append(number)
        counts["refused"] += 1
    assert seen == [*range(5001, 12_000)]
    assert counts == {"refused": 11_999, "DIED": 1}
    assert examples == ["case 5000: DIED"]
    assert [*Journal(*options).cases(12_000, Counter(), [])] == []
    with pytest.raises(ValueError, match="name another file"):
        next(Journal(journal, ["behind", 8]).cases(1, Counter(), []))


@pytest.mark.parametrize(("cases", "how"), [("5", ()), ("100", ("--forked",))])
def test_libhdf5_on_repaired_metadata_kills_nobody(cases, how):
    report = run("mutate", "--hdf5-view", "--repair", "--cases", cases, "--seed", "7", *how)
    outcomes = ("agrees", "refused", "child died", "stopped by the clock")
    assert sum(report.get(name, 0) for name in outcomes) == int(cases)
    assert not how or (report["agrees"] > 20 and report["refused"] > 20)


def test_a_killed_save_leaves_a_whole_file():
    report = run("kill_save", "--kills", "100")
    assert report["unreadable"] == 0
    assert report["strays_after_next_save"] <= 1


def test_every_system_call_of_a_save_may_fail():
    report = run("faults", "--op", "all", "--rlimit")
    assert report["missed"] == []
    assert report["faults"] > 50


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_every_allocation_of_the_compiled_modules_may_fail():
    pytest.importorskip("scipy", reason="chips need scipy")
    report = run("nomem", "--quick")
    assert report["wrong"] == []
    assert report["scenarios"] == 7
    assert report["failures"] > 40


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
