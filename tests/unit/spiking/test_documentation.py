"""The programs in docs/spiking.md run."""

import re
from pathlib import Path

import pytest

keras = pytest.importorskip("keras")

pytestmark = pytest.mark.keras

PAGE = Path(__file__).parents[3] / "docs" / "spiking.md"


@pytest.mark.usefixtures("layer_table")
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="a program uses a SpikeRateMonitor")
def test_programs(capsys):
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(programs) == 5
    names = {}
    for program in programs:
        exec(compile(program, PAGE.name, "exec"), names)
    assert "Total energy per inference [Joules/inf] (loihi)" in capsys.readouterr().out
    assert names["energy"].total_energy("loihi", 20, 0.01) > 0
