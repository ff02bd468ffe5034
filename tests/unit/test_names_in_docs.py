"""Names that the documentation mentions exist."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
# python names in backticks: kerasnsoc.room.Name, perhaps with a call behind
NAME = re.compile(r"`(kerasnsoc(?:_ext)?(?:\.[A-Za-z_]\w*)+)")
FILES = (".h5", ".html", ".cli", ".sh", ".keras")

pytestmark = [
    pytest.mark.keras,
    pytest.mark.skipif(len(PAGES) < 5, reason="the documentation is not beside the tests"),
]


def resolve(name):
    """The object of a dotted name; modules are imported on the way."""
    words = name.split(".")
    found = importlib.import_module(words[0])
    for place, word in enumerate(words[1:], 2):
        if not hasattr(found, word):
            importlib.import_module(".".join(words[:place]))
        found = getattr(found, word)
    return found


def test_every_name_in_the_pages_exists():
    pytest.importorskip("tensorflow")
    missing = []
    for page in PAGES:
        for name in sorted(set(NAME.findall(page.read_text("utf-8")))):
            if name.endswith(FILES):
                continue
            try:
                resolve(name)
            except (ImportError, AttributeError):
                missing.append(f"{page.name}: {name}")
    assert missing == []
