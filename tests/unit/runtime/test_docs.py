"""The programs in docs/threads.md and docs/events.md run, and what they name exists."""

import re
from pathlib import Path

import numpy as np
import pytest

import kerasnsoc
from kerasnsoc.runtime import FullyConnected, InputData, Model, make_events
from kerasnsoc.runtime.event_files import EventFormat
from tests.unit.runtime.small import fill, model_of

DOCS = Path(__file__).parents[3] / "docs"
PROGRAMS = [
    (name, program)
    for name in ("threads.md", "events.md")
    for program in re.findall(
        r"```python\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL
    )
]


@pytest.mark.parametrize(("name", "program"), PROGRAMS)
def test_programs_run(name, program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("rec.npy", make_events([0, 20_000], [0, 1], [0, 1], [0, 1]))
    Path("rec.npy").rename("recording.aedat")  # found by its first bytes
    network = fill(model_of(InputData(2, 2, 2), FullyConnected(3, activations_enabled=False)))
    space = {
        "network": network,
        "batch": np.ones((5, 2, 2, 2), np.uint8),
        "TimeWindow": kerasnsoc.TimeWindow,
    }
    exec(compile(program, name, "exec"), space)
    if "stream" in program:
        assert len(capsys.readouterr().out.splitlines()) == 3


def test_names_in_the_text_exist():
    text = (DOCS / "events.md").read_text(encoding="utf-8")
    for member in EventFormat:
        assert member.value.removeprefix("structured ").split(" .")[0].strip(".") in text
    for name in re.findall(r"`(\w+)\(", text):
        assert hasattr(kerasnsoc, name), name
    for name in re.findall(r"`(forward|evaluate|predict|trace|stream|summary|fit|add)`", text):
        assert hasattr(Model, name)
