"""An artifact as C99 source: constant arrays, a table of layers, the engine and a self-test."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from kerasnsoc._tables import render
from kerasnsoc.artifact import NetworkSpec
from kerasnsoc.artifact.atomic import write_atomically
from kerasnsoc.artifact.bounds import network_bounds
from kerasnsoc.artifact.geometry import Dims, Window, output_dims, spatial_geometry
from kerasnsoc.artifact.limits import INT32_MAX
from kerasnsoc.artifact.schema import (
    ActivationParameters,
    ConcatParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerSpec,
    PoolingType,
    SeparableConvolutionalParameters,
    SpatialParameters,
)
from kerasnsoc.embedded.layout import arena
from kerasnsoc.runtime import Model
from kerasnsoc.runtime.plan import threshold_table

Artifact: TypeAlias = "Model | str | os.PathLike[str]"

ENGINE = ("knet.c", "knet.h", "selftest.c", "Makefile")
_SINGLE = Window(1, 1, 1, 0, 1)
_POOLINGS = {
    PoolingType.NoPooling: "KNET_NO_POOLING",
    PoolingType.Max: "KNET_MAX",
    PoolingType.Average: "KNET_SUM",
}
_INT16 = np.iinfo(np.int16)
_PER_LINE = 24


@dataclass(frozen=True)
class CExport:
    """What `export_c` wrote.

    Attributes
    ----------
    folder : Path
    files : tuple of str
        Names in the folder.
    constant_bytes : int
        Weights, thresholds and scales: what the program memory holds beside the code.
    ram_bytes : int
        The static arenas; the caller adds the input and the output of one sample.
    input_bytes, output_bytes : int
        Of one sample.
    sum_bits : int
        32, or 64 if a sum could leave 32 bits.
    samples : int
        In the self-test.
    """

    folder: Path
    files: tuple[str, ...]
    constant_bytes: int
    ram_bytes: int
    input_bytes: int
    output_bytes: int
    sum_bits: int
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """The attributes, for JSON."""
        return {**vars(self), "folder": str(self.folder), "files": list(self.files)}

    def __str__(self) -> str:
        rows = [
            ["constants (weights, thresholds)", f"{self.constant_bytes:,}"],
            ["static memory of the engine", f"{self.ram_bytes:,}"],
            ["one input", f"{self.input_bytes:,}"],
            ["one output", f"{self.output_bytes:,}"],
        ]
        title = f"{self.folder}: C99, {self.sum_bits}-bit sums, {self.samples} samples to test"
        return render(["memory", "bytes"], rows, title=title)


def export_c(
    artifact: Artifact,
    folder: str | os.PathLike[str],
    *,
    samples: npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> CExport:
    """Write a network as portable C99 with static memory.

    The folder gets the weights and thresholds as constant arrays (``network.c``), a small engine
    (``knet.c``) that needs of the C library only ``string.h``, a Makefile, and a self-test that
    compares every output of some samples with the runtime's: ``make test``.

    Parameters
    ----------
    artifact : str, path or Model
    folder : str or path
        Made if it is missing; files of the same names are replaced.
    samples : ndarray of integers, optional
        Inputs of the self-test, as `kerasnsoc.runtime.Model.forward` takes them; by default four
        random ones.
    seed : int
        Of the random samples.

    Returns
    -------
    CExport
        Names and sizes; prints as a table.

    Raises
    ------
    ArtifactError
        If the file is no valid artifact.
    TypeError, ValueError
        If `samples` does not fit the network, or the network has nothing to compute.
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> export_c("net.h5", "net_c")  # doctest: +SKIP
    """
    model = artifact if isinstance(artifact, Model) else Model(artifact)
    spec = model.to_spec()
    if spec.time_step is not None:
        raise ValueError(
            "the network runs over time, but exported C runs in one pass. Run it with "
            "kerasnsoc.runtime, or export a network of graded activations."
        )
    if len(spec.layers) == 1 and isinstance(spec.layers[0].parameters, InputDataParameters):
        raise ValueError(
            f"the network has only the input layer {spec.layers[0].name!r}; there is nothing to "
            "compute. Add the layers that follow."
        )
    if samples is None:
        high = 2**spec.input.bits
        shape = (4, *_sample_shape(spec))
        samples = np.random.default_rng(seed).integers(0, high, shape, dtype=np.uint8)
    network = _Network(spec)
    contents = {
        "knet_config.h": _config(network),
        "network.h": network.header(),
        "network.c": network.source(),
        "selftest_data.h": _selftest(model, samples),
    }
    engine = files("kerasnsoc.embedded") / "engine"
    contents |= {name: (engine / name).read_text(encoding="utf-8") for name in ENGINE}
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        write_atomically(str(target / name), text.encode())
    return CExport(
        folder=target,
        files=tuple(sorted(contents)),
        constant_bytes=network.constant_bytes,
        ram_bytes=network.ram_bytes,
        input_bytes=int(np.prod(spec.input.shape_hwc)),
        output_bytes=network.outputs * network.sum_bits // 8,
        sum_bits=network.sum_bits,
        samples=len(samples),
    )


class _Network:
    """The text of ``network.c``, gathered layer by layer."""

    def __init__(self, spec: NetworkSpec) -> None:
        bounds = network_bounds(spec)
        self.sum_bits = 64 if max(b.partial for b in bounds.values()) > INT32_MAX else 32
        self.dims: dict[str, Dims] = {}
        for layer in spec.layers:
            feeding = [self.dims[name] for name in layer.inbounds]
            self.dims[layer.name] = output_dims(layer.parameters, feeding)
        first = spec.layers[0].parameters
        self.passes_input = isinstance(first, InputDataParameters)
        self.input_name = spec.layers[0].name if self.passes_input else ""
        # positions of an image lie as (y, x), of events as (x, y)
        self.image = not self.passes_input
        self.input_dims = spec.input.shape_hwc
        self.layers = spec.layers[1:] if self.passes_input else spec.layers
        self.sums = {layer.name for layer in self.layers if self._sends_sums(layer)}
        self.constant_bytes = 0
        self.arrays: list[str] = []
        self._place()
        width, height, self.neurons = self.dims[spec.layers[-1].name]
        self.outputs = width * height * self.neurons
        self.table = [self._layer(index, layer) for index, layer in enumerate(self.layers)]
        self._scores(self.layers[-1])

    def _sends_sums(self, layer: LayerSpec) -> bool:
        p = layer.parameters
        assert isinstance(p, ActivationParameters)
        if isinstance(p, ConcatParameters) and not p.activations_enabled:
            # either all of its sources send sums or none does
            return self._sends_sums_by_name(layer.inbounds[0])
        return not p.activations_enabled

    def _sends_sums_by_name(self, name: str) -> bool:
        return name != self.input_name and self._sends_sums(
            next(layer for layer in self.layers if layer.name == name)
        )

    def _place(self) -> None:
        readers = [(layer.name, layer.inbounds) for layer in self.layers]
        sizes = {name: int(np.prod(self.dims[name])) for name, _ in readers[:-1]}
        kept = [
            {name: size for name, size in sizes.items() if (name in self.sums) == wide}
            for wide in (False, True)
        ]
        offsets = [arena(part, readers) for part in kept]
        self.offsets = {**offsets[0], **offsets[1], self.layers[-1].name: 0}
        ends = [
            max((place[name] + part[name] for name in part), default=0)
            for part, place in zip(kept, offsets, strict=True)
        ]
        self.activations, self.kept_sums = (max(1, end) for end in ends)
        self.scratch = 1
        for layer in self.layers:
            channels = 0
            if isinstance(layer.parameters, SeparableConvolutionalParameters):
                channels = self.dims[layer.inbounds[0]][2]
            self.scratch = max(self.scratch, 2 * self.dims[layer.name][2] + channels)
        self.ram_bytes = self.activations + (self.kept_sums + self.scratch) * self.sum_bits // 8

    def _source(self, name: str) -> str:
        if name == self.input_name or not name:
            height, width, channels = self.input_dims
            strides = (channels, width * channels) if self.image else (height * channels, channels)
            return f"{{KNET_INPUT, {strides[0]}, {strides[1]}, {channels}}}"
        _, height, channels = self.dims[name]
        return f"{{{self.offsets[name]}, {height * channels}, {channels}, {channels}}}"

    def _layer(self, index: int, layer: LayerSpec) -> str:
        p, v = layer.parameters, layer.variables
        assert isinstance(p, ActivationParameters)
        width, height, neurons = self.dims[layer.name]
        inbounds = layer.inbounds or ("",)
        self.arrays.append(
            f"static const knet_source sources_{index}[] = {{"
            + ", ".join(self._source(name) for name in inbounds)
            + "};"
        )
        windows = [_SINGLE, _SINGLE, _positions(width), _positions(height)]
        kind, pooling, padding = "KNET_CONCAT", PoolingType.NoPooling, 0
        weights = pointwise = "0"
        if isinstance(p, SpatialParameters):
            image = isinstance(p, InputConvolutionalParameters)
            source = self.input_dims[1::-1] if image else self.dims[inbounds[0]][:2]
            geometry = spatial_geometry(p, (source[0], source[1]))
            windows = [geometry.conv_x, geometry.conv_y]
            windows += [geometry.pool_x or _positions(width), geometry.pool_y or _positions(height)]
            kind, pooling = "KNET_CONVOLUTION", p.pooling_type
            kernel = v["weights"]
            if isinstance(p, InputConvolutionalParameters):
                padding = p.padding_value
            else:
                kernel = kernel[::-1, ::-1]  # stored as an event scatters it
            if isinstance(p, SeparableConvolutionalParameters):
                kind = "KNET_SEPARABLE"
                pointwise = self._array(f"pointwise_{index}", v["weights_pw"])
            weights = self._array(f"weights_{index}", kernel)
        elif isinstance(p, FullyConnectedParameters):
            # one window over the whole map
            x, y, channels = self.dims[inbounds[0]]
            kind = "KNET_CONVOLUTION"
            windows[:2] = [Window(x, x, 1, 0, 1), Window(y, y, 1, 0, 1)]
            kernel = v["weights"].reshape(channels, y, x, neurons).transpose(2, 1, 0, 3)
            weights = self._array(f"weights_{index}", kernel)
        levels, tables = 0, ("0", "0")
        if p.activations_enabled:
            table = threshold_table(p, v)
            levels = table.shape[1]
            tables = self._thresholds(index, table)
        reads_sums = inbounds[0] in self.sums
        fields = [
            kind,
            _POOLINGS[pooling],
            f"{reads_sums:d}, {layer.name in self.sums:d}, {levels}",
            f"{len(inbounds)}, {neurons}, {padding}, {self.offsets[layer.name]}",
            f"sources_{index}",
            *(f"{{{w.length}, {w.size}, {w.stride}, {w.lead}, {w.output}}}" for w in windows),
            weights,
            pointwise,
            *tables,
        ]
        return "    {" + ", ".join(fields) + "},"

    def _thresholds(self, index: int, table: npt.NDArray[np.int32]) -> tuple[str, str]:
        if _INT16.min <= table.min() and table.max() <= _INT16.max:
            return "0", self._array(f"thresholds_{index}", table.astype(np.int16))
        return self._array(f"thresholds_{index}", table), "0"

    def _scores(self, layer: LayerSpec) -> None:
        p, v = layer.parameters, layer.variables
        self.scores = "0, 0, 0"
        assert isinstance(p, ActivationParameters)
        if p.activations_enabled:
            return
        if "output_scale" in v:
            scale, shift, divides = v["output_scale"], v["output_shift"], 0
        else:
            scale = v["threshold_fire_step"].astype(np.float64)
            scale[scale == 0] = 1
            shift, divides = v["threshold_fire"].astype(np.float64), 1
        names = [self._array(n, a) for n, a in (("scale", scale), ("shift", shift))]
        self.scores = f"{names[0]}, {names[1]}, {divides}"

    def _array(self, name: str, values: npt.NDArray[Any]) -> str:
        if values.size > INT32_MAX:
            raise ValueError(f"{name} has {values.size} elements; C indices here have 31 bits")
        kind = "double" if values.dtype.kind == "f" else f"{values.dtype.name}_t"
        self.constant_bytes += values.nbytes
        self.arrays.append(f"static const {kind} {name}[{values.size}] = {{\n{_rows(values)}\n}};")
        return name

    def header(self) -> str:
        layout = "[y][x][channel]" if self.image else "[x][y][channel]"
        height, width, channels = self.input_dims
        return _HEADER.format(
            layout=layout,
            width=width,
            height=height,
            channels=channels,
            inputs=width * height * channels,
            outputs=self.outputs,
        )

    def source(self) -> str:
        arrays = "\n\n".join(self.arrays)
        table = "\n".join(self.table)
        return (
            f'{_NOTICE}#include "network.h"\n\n{arrays}\n\n'
            f"static uint8_t activations[{self.activations}];\n"
            f"static knet_sum sums[{self.kept_sums}];\n"
            f"static knet_sum scratch[{self.scratch}];\n\n"
            f"static const knet_layer layers[] = {{\n{table}\n}};\n\n"
            "const knet_network network = {\n"
            f"    {len(self.layers)}, {self.outputs}, {self.neurons}, layers, activations, sums, "
            f"scratch, {self.scores},\n}};\n"
        )


_NOTICE = "/* Made by kerasnsoc; change the network, not this file. */\n"

_HEADER = (
    _NOTICE
    + """#ifndef NETWORK_H
#define NETWORK_H

#include "knet.h"

/* Input: {layout}, {width} wide, {height} high, {channels} channels, unsigned 8 bits. */
#define KNET_INPUTS {inputs}
#define KNET_OUTPUTS {outputs}

extern const knet_network network;

#endif
"""
)


def _config(network: _Network) -> str:
    return (
        f"{_NOTICE}#ifndef KNET_CONFIG_H\n#define KNET_CONFIG_H\n\n"
        f"#define KNET_SUM_BITS {network.sum_bits}\n\n#endif\n"
    )


def _selftest(model: Model, samples: npt.NDArray[Any]) -> str:
    outputs = model.forward(samples)
    classes = model.predict(samples)
    count = len(samples)
    if not count:
        raise ValueError("samples is empty; the self-test needs at least one")
    rows = [
        f"static const {kind} {name}[SELFTEST_SAMPLES]{size} = {{\n{text}\n}};"
        for name, kind, size, text in (
            ("selftest_inputs", "uint8_t", "[KNET_INPUTS]", _nested(samples.astype(np.uint8))),
            ("selftest_outputs", "knet_sum", "[KNET_OUTPUTS]", _nested(outputs.astype(np.int64))),
            ("selftest_classes", "int32_t", "", _rows(classes)),
        )
    ]
    return f"{_NOTICE}#define SELFTEST_SAMPLES {count}\n\n" + "\n\n".join(rows) + "\n"


def _sample_shape(spec: NetworkSpec) -> tuple[int, int, int]:
    """Images come as (height, width, channels), events as (width, height, channels)."""
    height, width, channels = spec.input.shape_hwc
    if spec.input.kind == "image":
        return height, width, channels
    return width, height, channels


def _positions(count: int) -> Window:
    """A window of one cell that visits every position."""
    return Window(count, 1, 1, 0, count)


def _nested(samples: npt.NDArray[Any]) -> str:
    return ",\n".join(f"{{\n{_rows(sample)}\n}}" for sample in samples)


def _rows(values: npt.NDArray[Any]) -> str:
    flat: Iterable[Any] = values.reshape(-1).tolist()
    return ",\n".join(_lines(flat))


def _lines(values: Iterable[Any]) -> Iterator[str]:
    line: list[str] = []
    for value in values:
        line.append(_literal(value))
        if len(line) == _PER_LINE:
            yield ",".join(line)
            line = []
    if line:
        yield ",".join(line)


def _literal(value: int | float) -> str:
    if isinstance(value, int) and value <= -(2**31):
        return f"({value + 1} - 1)"  # C has no negative literals: the lowest one needs a sum
    return repr(value)
