"""What two artifacts have in common, layer by layer."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc._tables import render
from kerasnsoc.artifact import LayerSpec, NetworkSpec, content_digest
from kerasnsoc.energy import compare_devices
from kerasnsoc.runtime import Model


@dataclass(frozen=True, kw_only=True)
class LayerDifference:
    """One layer of either network.

    Attributes
    ----------
    name : str
    change : {"same", "changed", "only in a", "only in b"}
    parameters : dict
        Arguments that differ: name to (value in a, value in b).
    arrays : dict
        Arrays that differ: name to (values that differ, values), or (None, None) where the shapes
        differ or one network lacks the array.
    bytes_a, bytes_b : int
    """

    name: str
    change: str
    parameters: dict[str, tuple[Any, Any]]
    arrays: dict[str, tuple[int | None, int | None]]
    bytes_a: int
    bytes_b: int


@dataclass(frozen=True, kw_only=True)
class ArtifactDifference:
    """Two networks side by side; see `diff`.

    Attributes
    ----------
    digest_a, digest_b : str
        Of the content; equal if and only if nothing differs.
    input : dict
        Differences of the input and its scaling.
    metadata : tuple of str
        Keys of the metadata that differ.
    layers : tuple of LayerDifference
    energy : tuple of dict
        Per device the joules of an inference of a and of b; empty without inputs.
    classes : dict or None
        With inputs: samples and how many of them the networks classify differently.
    """

    digest_a: str
    digest_b: str
    input: dict[str, tuple[Any, Any]]
    metadata: tuple[str, ...]
    layers: tuple[LayerDifference, ...]
    energy: tuple[dict[str, Any], ...]
    classes: dict[str, int] | None

    @property
    def equal(self) -> bool:
        """Whether the networks are the same, metadata included."""
        return self.digest_a == self.digest_b

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"equal": self.equal, **asdict(self)}

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        rows = [
            [
                layer.name,
                layer.change,
                _shown(layer),
                f"{layer.bytes_a:,}",
                f"{layer.bytes_b:,}",
            ]
            for layer in self.layers
        ]
        lines = ["the networks are equal" if self.equal else "the networks differ"]
        lines += [f"input {name}: {a} -> {b}" for name, (a, b) in self.input.items()]
        if self.metadata:
            lines.append(f"metadata that differ: {', '.join(self.metadata)}")
        lines.append(render(["layer", "change", "what", "bytes a", "bytes b"], rows))
        if self.classes is not None:
            samples, differing = self.classes["samples"], self.classes["differing"]
            lines.append(f"classes: {differing:,} of {samples:,} samples differ")
        if self.energy:
            devices = [
                [row["device"], _joules(row["a"]), _joules(row["b"]), _ratio(row)]
                for row in self.energy
            ]
            lines.append(
                render(["device", "J per inference of a", "of b", "b / a"], devices, "Energy")
            )
        return "\n".join(lines)


def diff(
    a: Model | str | os.PathLike[str],
    b: Model | str | os.PathLike[str],
    inputs: npt.NDArray[Any] | None = None,
) -> ArtifactDifference:
    """Compare two networks: layers, arguments, weights, thresholds, bytes.

    Parameters
    ----------
    a, b : str, path or Model
    inputs : ndarray of integers, optional
        Both networks run on them: classes and energy are compared, too.

    Returns
    -------
    ArtifactDifference
        Prints as tables.

    Raises
    ------
    ArtifactError
        If a file is no valid artifact.
    TypeError, ValueError
        If the inputs do not fit both networks.
    """
    models = [_own(source) for source in (a, b)]
    specs = [model.to_spec() for model in models]
    energy: tuple[dict[str, Any], ...] = ()
    classes = None
    if inputs is not None:
        found = [model.predict(inputs) for model in models]
        classes = {"samples": len(found[0]), "differing": int((found[0] != found[1]).sum())}
        priced = [
            {report.device.name: report.energy_per_inference for report in compare_devices(model)}
            for model in models
        ]
        energy = tuple(
            {"device": name, "a": one.value, "b": other.value}
            for name, one in priced[0].items()
            if one is not None and (other := priced[1].get(name)) is not None
        )
    meta = [dict(spec.metadata) for spec in specs]
    return ArtifactDifference(
        digest_a=content_digest(specs[0]),
        digest_b=content_digest(specs[1]),
        input=_records_differ(specs[0].input, specs[1].input),
        metadata=tuple(
            sorted(key for key in {*meta[0], *meta[1]} if meta[0].get(key) != meta[1].get(key))
        ),
        layers=_layers(*specs),
        energy=energy,
        classes=classes,
    )


def _own(source: Model | str | os.PathLike[str]) -> Model:
    if isinstance(source, Model):
        return Model(serialized_buffer=source.to_buffer())  # the caller's counts stay as they are
    return Model(source)


def _layers(a: NetworkSpec, b: NetworkSpec) -> tuple[LayerDifference, ...]:
    in_a = {layer.name: layer for layer in a.layers}
    in_b = {layer.name: layer for layer in b.layers}
    names = [*in_a, *(name for name in in_b if name not in in_a)]
    return tuple(_layer(name, in_a.get(name), in_b.get(name)) for name in names)


def _layer(name: str, a: LayerSpec | None, b: LayerSpec | None) -> LayerDifference:
    sizes = [sum(v.nbytes for v in layer.variables.values()) if layer else 0 for layer in (a, b)]
    parameters: dict[str, tuple[Any, Any]] = {}
    arrays: dict[str, tuple[int | None, int | None]] = {}
    change = "only in a" if b is None else "only in b"
    if a is not None and b is not None:
        if a.layer_type is not b.layer_type:
            parameters["layer_type"] = (a.layer_type.name, b.layer_type.name)
        else:
            parameters |= _records_differ(a.parameters, b.parameters)
        if a.inbounds != b.inbounds:
            parameters["inbounds"] = (list(a.inbounds), list(b.inbounds))
        for record in ("learning", "neuron"):
            one_record, other_record = getattr(a, record), getattr(b, record)
            if one_record != other_record:
                parameters[record] = (_plain(one_record), _plain(other_record))
        for variable in sorted({*a.variables, *b.variables}):
            one, other = a.variables.get(variable), b.variables.get(variable)
            if one is None or other is None or one.shape != other.shape:
                arrays[variable] = (None, None)
            elif count := int(np.count_nonzero(one != other)):
                arrays[variable] = (count, one.size)
        change = "changed" if parameters or arrays else "same"
    return LayerDifference(
        name=name,
        change=change,
        parameters=parameters,
        arrays=arrays,
        bytes_a=sizes[0],
        bytes_b=sizes[1],
    )


def _records_differ(a: Any, b: Any) -> dict[str, tuple[Any, Any]]:
    return {
        field.name: (_plain(one), _plain(other))
        for field in fields(a)
        if (one := getattr(a, field.name)) != (other := getattr(b, field.name))
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _shown(layer: LayerDifference) -> str:
    parts = [f"{name}: {a} -> {b}" for name, (a, b) in layer.parameters.items()]
    for name, (count, size) in layer.arrays.items():
        parts.append(f"{name}: other shape" if count is None else f"{name}: {count:,} of {size:,}")
    return "; ".join(parts) or "-"


def _joules(value: float) -> str:
    return f"{value:.3g}"


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['b'] / row['a']:.3f}" if row["a"] else "-"
