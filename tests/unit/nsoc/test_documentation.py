"""The page docs/nsoc.md: its code runs, its devices are those that exist."""

import re
from pathlib import Path

import pytest

from kerasnsoc.nsoc import list_devices

PAGE = (Path(__file__).parents[3] / "docs" / "nsoc.md").read_text()


@pytest.mark.keras
def test_the_first_example_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("keras")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", PAGE, re.S).group(1)
    names = {}
    exec(compile(code, "docs/nsoc.md", "exec"), names)
    network = names["network"]
    assert network.is_compatible_with("speck2f")
    assert network.incompatibilities("akd1000")
    assert names["counts"].shape == (20, 1, 1, 10)
    assert "speck2f" in (tmp_path / "speck.json").read_text()
    assert "kernel/neuron/bias words" in capsys.readouterr().out
    assert names["spikes"].dtype.names


def test_the_page_names_every_device():
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9]+)`", row.split("|")[1])}
    assert set(list_devices()) <= named
