"""Architecture templates: layers without weights, described in YAML."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerasnsoc.artifact.schema import ConvolutionMode, PoolingType
from kerasnsoc.runtime.layers import LAYER_CLASSES, Layer

MAX_BYTES = 1 << 20

_CLASSES = {cls.__name__: cls for cls in LAYER_CLASSES.values()}
_ENUMS = {"convolution_mode": ConvolutionMode, "pooling_type": PoolingType}


@dataclass(frozen=True, slots=True)
class TemplateLayer:
    """One entry of a template; `inbound` is None for the previous layer."""

    layer: Layer
    inbound: tuple[str, ...] | None


def read_template(path: str | os.PathLike[str]) -> list[TemplateLayer]:
    """Layers of a YAML template, in its order.

    Parameters
    ----------
    path : str or path-like

    Raises
    ------
    ImportError
        If PyYAML is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If the file is too large, no plain YAML, or describes something else than layers. What is
        wrong with a layer is told with its position, counted from 0, and its type.

    Notes
    -----
    ::

        layers:
          - {type: InputData, name: input, input_width: 32, input_height: 32, input_channels: 1}
          - {type: FullyConnected, name: fc, num_neurons: 32, threshold_fire: 40}

    Keys are the constructors' argument names, enumerations are given by the names of their
    members, ``inbound: [name, …]`` names the layers that feed one.
    """
    with open(path, "rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(f"template {os.fspath(path)!r} is larger than {MAX_BYTES} bytes")
    try:
        document = _parse(text)
        return [_read_layer(index, entry) for index, entry in enumerate(_entries(document))]
    except (TypeError, ValueError) as error:
        raise ValueError(f"template {os.fspath(path)!r}: {error}") from error


def _parse(text: bytes) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            'reading a YAML template needs PyYAML: pip install "kerasnsoc[yaml]"', name="yaml"
        ) from error

    class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
        """Safe, and without what lets a small file grow or hide a value."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ValueError("aliases (*name) are not allowed; write the values out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    raise ValueError(f"the key {key.value!r} appears twice in one mapping")
                seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, PlainLoader)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None
    except (
        yaml.YAMLError,
        # the constructors of PyYAML fail with these at a tag whose text does not fit: `!!int ""`
        AttributeError,
        KeyError,
        IndexError,
        OverflowError,
        TypeError,
    ) as error:
        raise ValueError(f"no valid YAML: {error}") from None


def _entries(document: Any) -> list[Any]:
    if not isinstance(document, dict) or list(document) != ["layers"]:
        raise ValueError("the document must be a mapping with the single key 'layers'")
    if not isinstance(document["layers"], list):
        raise ValueError("'layers' must be a list")
    if not document["layers"]:
        raise ValueError(
            "'layers' is empty; a network begins with an input layer, such as {type: InputData, "
            "input_width: 32, input_height: 32, input_channels: 1}"
        )
    return document["layers"]


def _read_layer(index: int, entry: Any) -> TemplateLayer:
    if not isinstance(entry, dict):
        raise ValueError(f"layer {index} is a {type(entry).__name__}, but must be a mapping")
    arguments = dict(entry)
    kind = arguments.pop("type", None)
    if not isinstance(kind, str) or kind not in _CLASSES:
        raise ValueError(
            f"layer {index} has the type {kind!r}, but must be one of {list(_CLASSES)}"
        )
    where = f"layer {index} ({kind})"
    inbound = arguments.pop("inbound", None)
    if inbound is not None and not (
        isinstance(inbound, list) and all(isinstance(name, str) for name in inbound)
    ):
        raise ValueError(f"{where}: inbound is {inbound!r}, but must be a list of names")
    make: Callable[..., Layer] = _CLASSES[kind]
    known = inspect.signature(make).parameters
    for key in arguments:
        if key not in known:
            raise ValueError(f"{where} takes no {key!r}; it takes {list(known)}")
    needed = [name for name, argument in known.items() if argument.default is argument.empty]
    missing = [name for name in needed if name not in arguments]
    if missing:
        raise ValueError(f"{where} lacks {' and '.join(map(repr, missing))}; it needs {needed}")
    for key, enumeration in _ENUMS.items():
        if key in arguments:
            members = enumeration.__members__
            if not isinstance(arguments[key], str) or arguments[key] not in members:
                raise ValueError(
                    f"{where}: {key} is {arguments[key]!r}, but must be one of {list(members)}"
                )
            arguments[key] = members[arguments[key]]
    try:
        layer = make(**arguments)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from None
    return TemplateLayer(layer, None if inbound is None else tuple(inbound))
