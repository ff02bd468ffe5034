"""Adds what kerasnsoc itself ships to a bill of materials: data and trained networks.

``python .ci/sbom.py PACKAGES.json OUT.json``, where the first is what `cyclonedx-py environment`
wrote. Each component gets its licence and SHA-256; the result is held against the schema.
"""

import hashlib
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SPDX = ("Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0")  # of the names in shipped.toml


def component(kind: str, path: str, licence: str, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
    return {
        "type": kind,
        "bom-ref": path,
        "name": path,
        "licenses": [{"license": {"id" if licence in SPDX else "name": licence}}],
        "hashes": [{"alg": "SHA-256", "content": digest}],
        **more,
    }


def shipped() -> Iterator[dict[str, Any]]:
    """Components of the package's own files."""
    for entry in tomllib.loads((ROOT / ".ci/shipped.toml").read_text("utf-8"))["component"]:
        more = {"description": entry["name"], "authors": [{"name": entry["authors"]}]}
        if entry["url"]:
            more["externalReferences"] = [{"type": "website", "url": entry["url"]}]
        for path in entry["files"]:
            yield component("data", path, entry["license"], **more)
    registry = json.loads((ROOT / "kerasnsoc/zoo/registry.json").read_text("utf-8"))
    for record in registry["models"]:
        if record["file"] is not None:
            yield component(
                "machine-learning-model",
                f"kerasnsoc/zoo/weights/{record['file']}",
                record["license"],
                description=f"{record['key']}, trained on: {record['data_license']}",
            )


def main(packages: str, output: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    bill = json.loads(Path(packages).read_text("utf-8"))
    own = list(shipped())
    bill.setdefault("components", []).extend(own)
    text = json.dumps(bill, indent=2) + "\n"
    problem = JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"])).validate_str(
        text
    )
    if problem is not None:
        sys.exit(f"{output} would not be valid CycloneDX: {problem}")
    Path(output).write_text(text, "utf-8")
    print(f"{output}: {len(bill['components'])} components, {len(own)} of them in the package")


if __name__ == "__main__":
    main(*sys.argv[1:])
