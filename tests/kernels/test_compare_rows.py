"""The rows of vector kernels against plain C, by the program that also runs on emulated CPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kerasnsoc_ext import available_kernels

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "kerasnsoc_ext" / "kernels"
COMPILER = os.environ.get("CC", "cc").split()[0]


def _compile(folder: Path, *flags: str) -> Path:
    program = folder / "compare_rows"
    command = [COMPILER, "-std=c11", "-O1", "-DKNSOC_CHECKED", *flags, f"-I{KERNELS}"]
    sources = [*sorted(KERNELS.glob("*.c")), Path(__file__).with_name("compare_rows.c")]
    subprocess.run([*command, *map(str, sources), "-o", str(program)], check=True)
    return program


@pytest.mark.skipif(sys.platform == "win32", reason="needs a compiler that takes gcc's options")
@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"there is no C compiler {COMPILER!r}")
def test_every_row_gives_the_integers_of_plain_c(tmp_path):
    """The compiled modules and the program see the same rows on this CPU; tiles are emulated."""
    program = _compile(tmp_path, "-DKNSOC_EMULATED_TILES")
    rows = [name for name in available_kernels() if name not in ("scalar", "amx")]
    if "avx512vnni" in rows and sys.platform == "linux":
        rows.insert(0, "amx")
    result = subprocess.run(
        [program, "300", "1", *rows], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "gave the integers of plain C" in result.stdout
