"""What ships: every file that is no program text has a licence, and foreign ones are named."""

import hashlib
import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIST = ROOT / ".ci" / "shipped.toml"
PROGRAM = {".py", ".pyi", ".pyx", ".c", ".h", ".md", ".typed"}
BUILT = {".so", ".pyd", ".html"}
ALLOWED = {"Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0", "WordNet"}

pytestmark = pytest.mark.skipif(not LIST.exists(), reason="the sources are not beside the tests")


@pytest.fixture(scope="module")
def components():
    return tomllib.loads(LIST.read_text("utf-8"))["component"]


@pytest.fixture(scope="module")
def networks():
    registry = json.loads((ROOT / "kerasnsoc/zoo/registry.json").read_text("utf-8"))
    return [record for record in registry["models"] if record["file"] is not None]


def test_every_file_that_is_no_program_text_is_listed(components, networks):
    found = {
        str(path.relative_to(ROOT))
        for package in ("kerasnsoc", "kerasnsoc_ext")
        for path in (ROOT / package).rglob("*")
        if path.is_file()
        and path.suffix not in PROGRAM
        and "__pycache__" not in path.parts
        and not (package == "kerasnsoc_ext" and path.suffix in BUILT)
    }
    listed = [path for component in components for path in component["files"]]
    listed += [f"kerasnsoc/zoo/weights/{record['file']}" for record in networks]
    assert sorted(found) == sorted(listed)


def test_licences_are_known_and_stated_where_the_files_lie(components):
    for component in components:
        assert component["license"] in ALLOWED
        statement = (ROOT / component["statement"]).read_text("utf-8")
        if component["license"] != "Apache-2.0":
            for path in component["files"]:
                assert Path(path).name in statement
            words = component["license"].replace("-", " ").replace("CC BY SA", "CC BY-SA")
            assert words in statement
            assert component["statement"] in (ROOT / "NOTICE").read_text("utf-8")


def test_networks_say_what_they_learnt_from_and_are_what_the_registry_says(networks):
    readme = (ROOT / "kerasnsoc/zoo/weights/README.md").read_text("utf-8")
    for record in networks:
        assert record["license"] == "Apache-2.0"
        assert "research" not in record["data_license"]
        assert record["data_license"] not in ("", "by request")
        content = (ROOT / "kerasnsoc/zoo/weights" / record["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record["sha256"]
        patterns = re.findall(r"`([\w*-]+)`", readme)
        assert any(Path(record["file"]).match(pattern) for pattern in patterns), record["file"]


def test_program_text_is_of_this_project():
    foreign = re.compile(rb"copyright (\(c\)|[12]\d{3})|spdx-license|licensed under", re.I)
    for package in ("kerasnsoc", "kerasnsoc_ext"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in {".py", ".pyi", ".pyx", ".h"}:
                assert not foreign.search(path.read_bytes()), path


def test_the_bill_of_materials_lists_all_of_it(components, networks):
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci" / "sbom.py")
    sbom = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sbom)
    own = list(sbom.shipped())
    files = sum(len(component["files"]) for component in components)
    assert len(own) == files + len(networks)
    assert all(len(component["hashes"][0]["content"]) == 64 for component in own)
