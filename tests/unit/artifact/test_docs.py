"""The documentation's programs run, and its numbers are those of the code."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from kerasnsoc.artifact import PARAMETERS, VARIABLE_DTYPES, limits
from kerasnsoc.artifact.layout import MAGIC
from kerasnsoc.artifact.schema import ConvolutionMode, PoolingType

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "artifact.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def beside_an_artifact(tmp_path, monkeypatch):
    shutil.copy(ROOT / "tests" / "golden" / "v1_image.h5", tmp_path / "net.h5")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("program", PROGRAMS[1:], ids=["h5py", "numpy"])
def test_programs_run_and_list_every_layer(program, beside_an_artifact, capsys):
    exec(compile(program, "artifact.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == [
        "image",
        "left",
        "right",
        "join",
        "hidden",
        "head",
    ]


def test_every_name_of_the_schema_is_explained():
    for kind, cls in PARAMETERS.items():
        assert f"`{kind.value}`" in TEXT
        for entry in dataclasses.fields(cls):
            assert f"`{entry.name}`" in TEXT
    for name in VARIABLE_DTYPES:
        assert f"`{name}`" in TEXT
    for member in (*ConvolutionMode, *PoolingType):
        assert f"`{member.value}`" in TEXT


def test_the_numbers_are_those_of_the_code():
    assert MAGIC.hex(" ") in TEXT
    for row in (
        f"| layers | {limits.MAX_LAYERS} |",
        f"16 levels, {limits.MAX_JSON_VALUES} values",
        f"12 levels, {limits.MAX_METADATA_VALUES} values",
        f"any map, kernel, stride, window | {limits.MAX_SIDE} |",
        f"| features of a layer | {limits.MAX_FEATURES} |",
        f"2 to {limits.MAX_INBOUNDS} for `concat`",
        f"1 to {limits.MAX_NAME_LENGTH} printable",
    ):
        assert row in TEXT
    assert (limits.MAX_JSON_DEPTH, limits.MAX_METADATA_DEPTH) == (16, 12)
    assert limits.MAX_FILE_BYTES == 2 << 30
    assert (limits.MAX_INDEX_BYTES, limits.MAX_METADATA_BYTES) == (4 << 20, 1 << 20)
    assert (limits.MAX_MAP_VALUES, limits.MAX_TOTAL_VALUES) == (2**28, 2**30)
    assert limits.MAX_PARTIAL == 2**62
