"""A chip network as a file: JSON, or a compressed archive of it where it is large."""

from __future__ import annotations

import io
import json
import lzma
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from kerasnsoc.artifact.atomic import write_atomically
from kerasnsoc.artifact.description import describe, layer_from_json
from kerasnsoc.artifact.schema import LayerSpec, NetworkSpec
from kerasnsoc.artifact.validation import validate as validate_artifact
from kerasnsoc.nsoc.config import CoreConfig, GradedCoreConfig, NSoCConfig
from kerasnsoc.nsoc.config_builder import graded_record
from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer, GradedLayer
from kerasnsoc.nsoc.discretize import DiscretizationRecord
from kerasnsoc.nsoc.errors import NSoCError
from kerasnsoc.nsoc.records import RecordError, canonical, decode, encode

SCHEMA = "kerasnsoc.nsoc-network"
VERSION = 1
JSON_LIMIT = 8 << 20
"""Bytes of JSON above which a network is written as an archive."""

READ_LIMIT = 1 << 30
"""Bytes of JSON that an archive may unpack to."""

_MEMBER = "network.json"
_DAMAGED_ARCHIVE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(KeyError, ValueError, EOFError, OSError, RuntimeError),  # encrypted: RuntimeError
)
"""What `zipfile` raises, depending on where the damage is."""


class NetworkFileError(NSoCError):
    """A file is no network as `NSoCNetwork.save` writes it."""


def write_network(
    path: str | os.PathLike[str],
    graph: CoreGraph,
    artifact: NetworkSpec | None,
    report: tuple[DiscretizationRecord, ...],
    config: NSoCConfig | None,
) -> Path:
    """Write a network; a text above 8 MiB becomes a compressed archive with the suffix ``.npz``.

    Returns
    -------
    Path
        What was written.
    """
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "version": VERSION,
        "graph": None if artifact is not None else encode(graph),
        "artifact": None if artifact is None else _encoded_artifact(artifact),
        "name": graph.name,
        "report": encode(report),
        "config": None if config is None else json.loads(config.to_json()),
    }
    text = canonical(content)
    target = Path(path)
    if len(text) > JSON_LIMIT:
        target = target.with_suffix(".npz")
    if target.suffix == ".npz":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(
                zipfile.ZipInfo(_MEMBER, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED
            )
        text = stream.getvalue()
    write_atomically(str(target), text)
    return target


def read_network(
    path: str | os.PathLike[str],
) -> tuple[
    CoreGraph | None, NetworkSpec | None, tuple[DiscretizationRecord, ...], NSoCConfig | None
]:
    """Read what `write_network` wrote.

    Raises
    ------
    NetworkFileError
        If the file is no network, or a member is missing, unknown or of another type.
    OSError
        If it cannot be read.
    """
    content = _content(Path(path))
    try:
        report = decode(tuple[DiscretizationRecord, ...], content["report"], "report")
        graph = decode(CoreGraph, content["graph"], "graph") if content["graph"] else None
        artifact = None
        if content["artifact"] is not None:
            artifact = _decoded_artifact(content["artifact"])
        config = None
        if content["config"] is not None:
            config = NSoCConfig.from_json(json.dumps(content["config"]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise NetworkFileError(f"{path} is no network: {error}") from None
    if (graph is None) == (artifact is None):
        raise NetworkFileError(f"{path} must hold either a graph or an artifact")
    return graph, artifact, report, config


def _content(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    if data[:2] == b"PK":
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                size = archive.getinfo(_MEMBER).file_size
                if size <= READ_LIMIT:
                    data = archive.read(_MEMBER)
        except _DAMAGED_ARCHIVE as error:
            raise NetworkFileError(f"{path} is no network: {error}") from None
        if size > READ_LIMIT:
            raise NetworkFileError(f"{path} unpacks to more than {READ_LIMIT} bytes")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NetworkFileError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise NetworkFileError(f"{path} is no network: its member 'schema' must be {SCHEMA!r}")
    if type(content.get("version")) is not int or content["version"] != VERSION:
        raise NetworkFileError(
            f"{path} has version {content.get('version')!r}, this release reads {VERSION}"
        )
    expected = {"schema", "version", "graph", "artifact", "name", "report", "config"}
    if set(content) != expected:
        odd = sorted(set(content) ^ expected)
        raise NetworkFileError(f"{path} lacks, or has in excess, the members {odd}")
    return content


def _encoded_artifact(spec: NetworkSpec) -> dict[str, Any]:
    return {
        "description": describe(spec),
        "variables": [encode(dict(layer.variables)) for layer in spec.layers],
    }


def _decoded_artifact(content: Any) -> NetworkSpec:
    description, variables = content["description"], content["variables"]
    layers = []
    for i, (record, arrays) in enumerate(zip(description["layers"], variables, strict=True)):
        name, parameters, inbounds, names, learning, neuron = layer_from_json(record, i)
        if sorted(arrays) != names:
            raise RecordError(f"layer {i} has the arrays {sorted(arrays)}, but must have {names}")
        decoded = {key: decode(np.ndarray, arrays[key], f"{name}.{key}") for key in names}
        layers.append(LayerSpec(name, parameters, inbounds, decoded, learning, neuron))
    spec = NetworkSpec(
        tuple(layers),
        description["input_scale"],
        description["input_shift"],
        description["metadata"],
        description.get("time_step"),
    )
    validate_artifact(spec)
    return spec


def check_configuration(graph: CoreGraph, config: NSoCConfig, path: str | os.PathLike[str]) -> None:
    """Refuse a configuration that breaks rules, or that is not one of this network."""
    errors = [str(p) for p in config.validate() if p.severity == "error"]
    if sorted(r.layer_index for r in config.cores) != list(range(len(graph.layers))):
        errors.append("its cores are not the layers of the network, each once")
    for record in config.cores if not errors else ():
        layer = graph.layers[record.layer_index]
        if isinstance(record, GradedCoreConfig) and isinstance(layer, GradedLayer):
            if record != graded_record(layer, record):
                errors.append(f"{record.name} differs from the layer of the artifact")
        elif isinstance(record, CoreConfig) != isinstance(layer, CoreLayer):
            errors.append(f"{record.name} is of another kind than its layer")
    if errors:
        raise NetworkFileError(
            f"{os.fspath(path)!r} holds a configuration that cannot be used: " + "; ".join(errors)
        )
