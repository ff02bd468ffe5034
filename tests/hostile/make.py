"""Makes bad files, each with the refusal that it must get.

``python -m tests.hostile.make FOLDER`` writes them all, for other readers to be tried on.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import socket
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasnsoc.artifact import (
    InputDataParameters,
    PoolingType,
    Reason,
    SeparableConvolutionalParameters,
    to_bytes,
)
from kerasnsoc.artifact.jsontext import canonical
from kerasnsoc.artifact.layout import frame, seal
from tests.networks import Builder, events_network, every_kind, learning_networks, time_networks

R = Reason


@dataclass(frozen=True)
class Content:
    """Bytes that must be refused for a reason."""

    reason: Reason
    make: Callable[[], bytes]


@dataclass(frozen=True)
class Place:
    """A path that must be refused for a reason; `make` creates it in a folder."""

    reason: Reason
    make: Callable[[Path], str]


GOOD = to_bytes(events_network())
_PARTS = frame(GOOD[:64], len(GOOD))
INDEX = json.loads(GOOD[_PARTS.index])
BODY = GOOD[_PARTS.body]
IMAGE = to_bytes(every_kind()["image"])
LEARNING = to_bytes(learning_networks()["learning_majority"])
SWAP = to_bytes(learning_networks()["learning_swap"])

TIME = {name: to_bytes(spec) for name, spec in time_networks().items()}
TIME_IMAGE, TIME_EVENTS = TIME["time_image"], TIME["time_events"]

Keys = tuple[Any, ...]


def sealed(index: Any, body: bytes = BODY) -> bytes:
    """A file with a right digest around any index, given as JSON value or as text."""
    return seal(index if isinstance(index, bytes) else canonical(index), body)


def put(*changes: tuple[Keys, Any], source: bytes = GOOD) -> Callable[[], bytes]:
    """The good file with members of its index replaced; `DROP` removes one."""

    def make() -> bytes:
        parts = frame(source[:64], len(source))
        index = json.loads(source[parts.index])
        for path, value in changes:
            *parents, last = path
            holder = index
            for key in parents:
                holder = holder[key]
            if value is DROP:
                del holder[last]
            else:
                holder[last] = value
        return sealed(index, source[parts.body])

    return make


DROP = object()


def text(raw: bytes) -> Callable[[], bytes]:
    """A sealed file whose index is this text."""
    return lambda: sealed(raw)


def bytes_at(position: int, raw: bytes) -> Callable[[], bytes]:
    """The good file with bytes replaced and the old digest."""

    def make() -> bytes:
        data = bytearray(GOOD)
        data[position : position + len(raw)] = raw
        return bytes(data)

    return make


def value(layer: int, variable: str, raw: bytes, source: bytes = GOOD) -> Callable[[], bytes]:
    """The good file with the first bytes of an array replaced, and a right digest."""

    def make() -> bytes:
        parts = frame(source[:64], len(source))
        index = json.loads(source[parts.index])
        body = bytearray(source[parts.body])
        offset = index["arrays"][f"l{layer}_{variable}"][2]
        body[offset : offset + len(raw)] = raw
        return sealed(index, bytes(body))

    return make


def header(**fields: int) -> Callable[[], bytes]:
    """The good file with header fields replaced."""
    places = {"version": 8, "user_block": 12, "index_length": 16, "zero": 20, "body_length": 24}

    def make() -> bytes:
        data = bytearray(GOOD)
        for name, number in fields.items():
            struct.pack_into("<Q" if name == "body_length" else "<I", data, places[name], number)
        return bytes(data)

    return make


def parameter(layer: int, name: str, changed: Any, source: bytes = GOOD) -> Callable[[], bytes]:
    return put((("layers", layer, "parameters", name), changed), source=source)


def learning(name: str, changed: Any, source: bytes = LEARNING) -> Callable[[], bytes]:
    """The last layer's learning with one member replaced, unless the name is empty."""
    layer = 2 if source is LEARNING else 1
    path = ("layers", layer, "learning", name) if name else ("layers", layer, "learning")
    return put((path, changed), source=source)


def neuron(
    name: str, changed: Any, layer: int = 0, source: bytes = TIME_IMAGE
) -> Callable[[], bytes]:
    """The neurons of a layer with one member replaced, or all of them if the name is empty."""
    path = ("layers", layer, "neuron", name) if name else ("layers", layer, "neuron")
    return put((path, changed), source=source)


def _turned(array: str, source: bytes) -> bytes:
    """A file that lists one array with its axes reversed."""
    parts = frame(source[:64], len(source))
    index = json.loads(source[parts.index])
    index["arrays"][array][1].reverse()
    return sealed(index, source[parts.body])


def _without(variable: str) -> Callable[[], bytes]:
    """The network that learns, without one of the variables that this needs."""
    parts = frame(LEARNING[:64], len(LEARNING))
    names = json.loads(LEARNING[parts.index])["layers"][2]["variables"]
    rest = [name for name in names if name != variable]
    return put(
        (("layers", 2, "variables"), rest), (("arrays", f"l2_{variable}"), DROP), source=LEARNING
    )


def _padding() -> bytes:
    data = bytearray(GOOD)
    data[_PARTS.padding.stop - 1] = 1
    return bytes(data)


def _zip() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Lambda"}')
        archive.writestr("model.weights.h5", b"\0" * 1000)
    return target.getvalue()


class _Runs:
    """What a pickle would do if it were loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os._exit, (66,)  # type: ignore[return-value]


def _pickle() -> bytes:
    return pickle.dumps(_Runs()) + b"\0" * 600


def _many_layers() -> bytes:
    index = json.loads(json.dumps(INDEX))
    index["layers"] = [{**INDEX["layers"][0], "name": f"n{i}"} for i in range(5000)]
    return sealed(index)


def _dead_branch() -> bytes:
    index = json.loads(json.dumps(INDEX))
    index["layers"][2]["inbounds"] = ["input"]
    return sealed(index)


def _renumbered(index: dict[str, Any], by: int) -> bytes:
    """Arrays follow their layers, so that only the layers themselves are wrong."""
    index["arrays"] = {
        f"l{int(name[1]) + by}{name[2:]}": entry for name, entry in index["arrays"].items()
    }
    return sealed(index)


def _second_input() -> bytes:
    index = json.loads(json.dumps(INDEX))
    index["layers"].insert(1, {**index["layers"][0], "name": "again"})
    return _renumbered(index, 1)


def _no_input() -> bytes:
    index = json.loads(json.dumps(INDEX))
    del index["layers"][0]
    return _renumbered(index, -1)


def _overflow() -> bytes:
    spec = (
        Builder()
        .add(
            "in",
            InputDataParameters(
                input_width=2048, input_height=2048, input_channels=64, input_bits=8
            ),
        )
        .add(
            "deep",
            SeparableConvolutionalParameters(
                kernel_width=128, kernel_height=128, num_neurons=1, weights_bits=8
            ),
        )
        .build()
    )
    spec.layers[1].variables["weights"][:] = 127
    spec.layers[1].variables["weights_pw"][:] = 127
    data = to_bytes(spec)  # without pooling it still fits
    return parameter(1, "pooling_type", PoolingType.Average.value, data)()


def _signals(first: dict[str, Any], second: dict[str, Any]) -> bytes:
    """The image network, whose Concat then joins two different signals."""
    index_changes = [
        (("layers", layer, "parameters", name), changed)
        for layer, changes in ((1, first), (2, second))
        for name, changed in changes.items()
    ]
    return put(*index_changes, source=IMAGE)()


def _wide_metadata(nested: Any) -> Callable[[], bytes]:
    return put((("metadata",), {"x": nested}))


def _nest(depth: int) -> Any:
    result: Any = 0
    for _ in range(depth):
        result = [result]
    return result


def _no_layers() -> bytes:
    return sealed({**INDEX, "layers": [], "arrays": {}})


def _array(name: str, *entry: Any) -> Callable[[], bytes]:
    return put((("arrays", name), list(entry)))


W = "l1_weights"
DTYPE, SHAPE, OFFSET = INDEX["arrays"][W]
NAN32 = np.array([np.nan], "<f4").tobytes()
INF32 = np.array([np.inf], "<f4").tobytes()
NAN64 = np.array([np.nan], "<f8").tobytes()
ZERO32 = bytes(4)

_NEURON_RECORD = json.loads(TIME_IMAGE[frame(TIME_IMAGE[:64], len(TIME_IMAGE)).index])["layers"][0][
    "neuron"
]

_LEARNING_PARTS = frame(LEARNING[:64], len(LEARNING))
_LEARNING_RECORD = json.loads(LEARNING[_LEARNING_PARTS.index])["layers"][2]["learning"]

CONTENTS: dict[str, Content] = {
    # frame
    "empty": Content(R.TRUNCATED, lambda: b""),
    "one byte": Content(R.MAGIC, lambda: b"x"),
    "text": Content(R.MAGIC, lambda: b"hello " * 200),
    "magic only": Content(R.TRUNCATED, lambda: GOOD[:8]),
    "header only": Content(R.TRUNCATED, lambda: GOOD[:64]),
    "half": Content(R.TRUNCATED, lambda: GOOD[: len(GOOD) // 2]),
    "last byte missing": Content(R.TRUNCATED, lambda: GOOD[:-1]),
    "one byte more": Content(R.HEADER, lambda: GOOD + b"\0"),
    "two files": Content(R.HEADER, lambda: GOOD + GOOD),
    "version 0": Content(R.VERSION, header(version=0)),
    "version 2": Content(R.VERSION, header(version=2)),
    "version of all ones": Content(R.VERSION, header(version=2**32 - 1)),
    "reserved bytes": Content(R.HEADER, header(zero=1)),
    "user block no power of two": Content(R.HEADER, header(user_block=2049)),
    "user block 0": Content(R.HEADER, header(user_block=0)),
    "user block 2 GiB": Content(R.HEADER, header(user_block=2**31)),
    "user block twice as large": Content(R.HEADER, header(user_block=2 * _PARTS.body_start)),
    "index 4 GiB": Content(R.HEADER, header(index_length=2**32 - 1)),
    "index beyond the user block": Content(R.HEADER, header(index_length=_PARTS.body_start)),
    "index a byte longer": Content(R.DIGEST, header(index_length=_PARTS.index_length + 1)),
    "body 2**63": Content(R.TRUNCATED, header(body_length=2**63)),
    "body 2**64 - 1": Content(R.TRUNCATED, header(body_length=2**64 - 1)),
    "body 0": Content(R.HEADER, header(body_length=0)),
    "digest bit": Content(R.DIGEST, bytes_at(40, bytes([GOOD[40] ^ 1]))),
    "index bit": Content(R.DIGEST, bytes_at(100, bytes([GOOD[100] ^ 1]))),
    "body bit": Content(R.DIGEST, bytes_at(len(GOOD) - 40, bytes([GOOD[-40] ^ 1]))),
    "padding not zero": Content(R.HEADER, _padding),
    "plain hdf5": Content(R.MAGIC, lambda: BODY),
    "zip": Content(R.MAGIC, _zip),
    "gzip": Content(R.MAGIC, lambda: gzip.compress(GOOD, mtime=0)),
    "gzip bomb": Content(R.MAGIC, lambda: gzip.compress(bytes(1 << 24), mtime=0)),
    "pickle": Content(R.MAGIC, _pickle),
    "noise": Content(R.MAGIC, lambda: random.Random(0).randbytes(5000)),
    "noise behind the magic": Content(
        R.VERSION, lambda: GOOD[:8] + random.Random(0).randbytes(5000)
    ),
    # index as text
    "index empty": Content(R.INDEX, text(b"")),
    "index no json": Content(R.INDEX, text(b"{")),
    "index noise": Content(R.INDEX, text(random.Random(1).randbytes(300))),
    "index python literal": Content(R.INDEX, text(b"{'a': 1}")),
    "index not utf-8": Content(R.INDEX, text(b'{"a":"\xff"}')),
    "index byte order mark": Content(R.INDEX, text(b"\xef\xbb\xbf{}")),
    "index key twice": Content(R.INDEX, text(b'{"arrays":{},"arrays":{}}')),
    "index NaN": Content(R.INDEX, text(b'{"input_scale":NaN}')),
    "index Infinity": Content(R.INDEX, text(b'{"input_scale":Infinity}')),
    "index 1e999": Content(R.INDEX, text(b'{"input_scale":1e999}')),
    "index huge integer": Content(R.INDEX, text(b'{"input_shift":' + b"9" * 9000 + b"}")),
    "index million digits": Content(R.INDEX, text(b"9" * 1_000_000)),
    "index deep lists": Content(R.INDEX, text(b"[" * 200_000 + b"]" * 200_000)),
    "index deep objects": Content(R.INDEX, text(b'{"":' * 100_000 + b"0" + b"}" * 100_000)),
    "index million lists": Content(R.INDEX, text(b"[" + b"[]," * 1_000_000 + b"0]")),
    "index many objects": Content(R.INDEX, text(b"[" + b'{"":0},' * 500_000 + b"0]")),
    "index many objects within limits": Content(
        R.MEMBER, text(b"[" + b'{"":0},' * 131_000 + b"0]")
    ),
    "index long string": Content(R.MEMBER, text(b'"' + b"a" * 4_000_000 + b'"')),
    "index open string of escapes": Content(R.INDEX, text(b'"' + b'\\"' * 2_000_000)),
    "index 5 MiB": Content(R.HEADER, text(b'"' + b"a" * (5 << 20) + b'"')),
    "index with blanks": Content(R.INDEX, lambda: sealed(json.dumps(INDEX).encode())),
    "index keys unsorted": Content(
        R.INDEX,
        lambda: sealed(json.dumps(dict(reversed(INDEX.items())), separators=(",", ":")).encode()),
    ),
    "index two values": Content(R.INDEX, lambda: sealed(canonical(INDEX) * 2)),
    # members
    "index is a list": Content(R.MEMBER, text(b"[1]")),
    "index is a number": Content(R.MEMBER, text(b"7")),
    "no arrays": Content(R.MEMBER, put((("arrays",), DROP))),
    "no layers member": Content(R.MEMBER, put((("layers",), DROP))),
    "unknown member": Content(R.MEMBER, put((("safe_mode",), False))),
    "arrays is a list": Content(R.MEMBER, put((("arrays",), []))),
    "layers is an object": Content(R.MEMBER, put((("layers",), {}))),
    "metadata is a list": Content(R.MEMBER, put((("metadata",), []))),
    "input_scale is an integer": Content(R.MEMBER, put((("input_scale",), 1))),
    "input_scale is text": Content(R.MEMBER, put((("input_scale",), "1.0"))),
    "input_scale 0": Content(R.VALUE, put((("input_scale",), 0.0))),
    "input_scale negative": Content(R.VALUE, put((("input_scale",), -1.5))),
    "input_shift is a boolean": Content(R.MEMBER, put((("input_shift",), True))),
    "input_shift is a float": Content(R.MEMBER, put((("input_shift",), 0.0))),
    "input_shift 2**40": Content(R.VALUE, put((("input_shift",), 2**40))),
    "image shift 256": Content(R.VALUE, put((("input_shift",), 256), source=IMAGE)),
    "metadata too deep": Content(R.VALUE, _wide_metadata(_nest(13))),
    "metadata too large": Content(R.VALUE, _wide_metadata("a" * (1 << 20))),
    "metadata too many": Content(R.VALUE, _wide_metadata([0] * 70_000)),
    # layers
    "no layers": Content(R.GRAPH, _no_layers),
    "5000 layers": Content(R.GRAPH, _many_layers),
    "layer is a list": Content(R.MEMBER, put((("layers", 0), []))),
    "layer without name": Content(R.MEMBER, put((("layers", 1, "name"), DROP))),
    "layer with a module": Content(R.MEMBER, put((("layers", 1, "module"), "os"))),
    "unknown type": Content(R.MEMBER, put((("layers", 1, "type"), "Lambda"))),
    "type is importable": Content(R.MEMBER, put((("layers", 1, "type"), "os.system"))),
    "type is a list": Content(R.MEMBER, put((("layers", 1, "type"), ["convolutional"]))),
    "type unknown": Content(R.MEMBER, put((("layers", 1, "type"), "unknown"))),
    "type in capitals": Content(R.MEMBER, put((("layers", 1, "type"), "CONVOLUTIONAL"))),
    "name empty": Content(R.NAME, put((("layers", 1, "name"), ""))),
    "name long": Content(R.NAME, put((("layers", 1, "name"), "n" * 129))),
    "name megabyte": Content(R.NAME, put((("layers", 1, "name"), "n" * 1_000_000))),
    "name with newline": Content(R.NAME, put((("layers", 1, "name"), "a\nb"))),
    "name with escape": Content(R.NAME, put((("layers", 1, "name"), "\x1b[2J"))),
    "name with nul": Content(R.NAME, put((("layers", 1, "name"), "a\0b"))),
    "name right to left": Content(R.NAME, put((("layers", 1, "name"), "a\u202eb"))),
    "name half surrogate": Content(R.NAME, put((("layers", 1, "name"), "\ud800"))),
    "name is a number": Content(R.NAME, put((("layers", 1, "name"), 5))),
    "name twice": Content(R.NAME, put((("layers", 1, "name"), "input"))),
    "inbounds is text": Content(R.MEMBER, put((("layers", 1, "inbounds"), "input"))),
    "inbounds holds an index": Content(R.MEMBER, put((("layers", 1, "inbounds"), [0]))),
    # arguments
    "parameters is a list": Content(R.MEMBER, put((("layers", 1, "parameters"), []))),
    "unknown parameter": Content(R.MEMBER, parameter(1, "trainable", True)),
    "dunder parameter": Content(R.MEMBER, parameter(1, "__class__", "x")),
    "parameter missing": Content(R.MEMBER, parameter(1, "stride_x", DROP)),
    "neurons true": Content(R.MEMBER, parameter(1, "num_neurons", True)),
    "neurons float": Content(R.MEMBER, parameter(1, "num_neurons", 6.0)),
    "neurons text": Content(R.MEMBER, parameter(1, "num_neurons", "6")),
    "neurons null": Content(R.MEMBER, parameter(1, "num_neurons", None)),
    "neurons 0": Content(R.VALUE, parameter(1, "num_neurons", 0)),
    "neurons negative": Content(R.VALUE, parameter(1, "num_neurons", -6)),
    "neurons 2**62": Content(R.VALUE, parameter(1, "num_neurons", 2**62)),
    "neurons 2**20": Content(R.SHAPE, parameter(1, "num_neurons", 2**20)),
    "kernel 0": Content(R.VALUE, parameter(1, "kernel_width", 0)),
    "kernel 2**31": Content(R.VALUE, parameter(1, "kernel_width", 2**31)),
    "kernel larger than the map": Content(
        R.SHAPE,
        put(
            (("layers", 1, "parameters", "kernel_width"), 6),
            (("layers", 1, "parameters", "convolution_mode"), "valid"),
        ),
    ),
    "stride 0": Content(R.VALUE, parameter(1, "stride_x", 0)),
    "weight bits 0": Content(R.VALUE, parameter(1, "weights_bits", 0)),
    "weight bits 9": Content(R.VALUE, parameter(1, "weights_bits", 9)),
    "separable with one bit": Content(R.VALUE, parameter(2, "weights_bits", 1, IMAGE)),
    "activation bits 5": Content(R.VALUE, parameter(1, "threshold_fire_bits", 5)),
    "activation bits 64": Content(R.VALUE, parameter(1, "threshold_fire_bits", 64)),
    "activation bits wider than the table": Content(
        R.SHAPE, parameter(1, "threshold_fire_bits", 4)
    ),
    "input bits 16": Content(R.VALUE, parameter(0, "input_bits", 16)),
    "threshold beyond int32": Content(R.VALUE, parameter(1, "threshold_fire", 2**31)),
    "step is an integer": Content(R.MEMBER, parameter(1, "threshold_fire_step", 1)),
    "step negative": Content(R.VALUE, parameter(1, "threshold_fire_step", -1.0)),
    "step beyond float32": Content(R.VALUE, parameter(1, "threshold_fire_step", 1e300)),
    "activations_enabled 1": Content(R.MEMBER, parameter(1, "activations_enabled", 1)),
    "mode unknown": Content(R.MEMBER, parameter(1, "convolution_mode", "causal")),
    "mode is a number": Content(R.MEMBER, parameter(1, "convolution_mode", 1)),
    "mode is an object": Content(R.MEMBER, parameter(1, "convolution_mode", {})),
    "pooling without type": Content(R.VALUE, parameter(1, "pooling_width", 2)),
    "pooling 0": Content(R.VALUE, parameter(0, "pooling_width", 0, IMAGE)),
    "padding 256": Content(R.VALUE, parameter(0, "padding_value", 256, IMAGE)),
    "image of two channels": Content(R.VALUE, parameter(0, "input_channels", 2, IMAGE)),
    # shapes and memory
    "input 2**40 wide": Content(R.VALUE, parameter(0, "input_width", 2**40)),
    "input map bomb": Content(
        R.SHAPE,
        put(
            (("layers", 0, "parameters", "input_width"), 65536),
            (("layers", 0, "parameters", "input_height"), 65536),
        ),
    ),
    "map bomb through padding": Content(
        R.SHAPE,
        put(
            (("layers", 1, "parameters", "convolution_mode"), "full"),
            (("layers", 1, "parameters", "kernel_width"), 65536),
            (("layers", 1, "parameters", "kernel_height"), 65536),
        ),
    ),
    "fan-in bomb": Content(
        R.SHAPE,
        put(
            (("layers", 0, "parameters", "input_width"), 8192),
            (("layers", 0, "parameters", "input_height"), 4096),
        ),
    ),
    "variable larger than a file": Content(
        R.SHAPE,
        put(
            (("layers", 0, "parameters", "input_width"), 8192),
            (("layers", 2, "parameters", "num_neurons"), 2**20),
        ),
    ),
    # graph
    "first layer is no input": Content(R.GRAPH, _no_input),
    "second input": Content(R.GRAPH, _second_input),
    "input with inbounds": Content(R.GRAPH, put((("layers", 0, "inbounds"), ["head"]))),
    "layer feeds itself": Content(R.GRAPH, put((("layers", 1, "inbounds"), ["conv"]))),
    "cycle": Content(R.GRAPH, put((("layers", 1, "inbounds"), ["head"]))),
    "unknown inbound": Content(R.GRAPH, put((("layers", 1, "inbounds"), ["nobody"]))),
    "no inbound": Content(R.GRAPH, put((("layers", 1, "inbounds"), []))),
    "two inbounds": Content(R.GRAPH, put((("layers", 2, "inbounds"), ["input", "conv"]))),
    "dead branch": Content(R.GRAPH, _dead_branch),
    "concat of one": Content(R.GRAPH, put((("layers", 3, "inbounds"), ["left"]), source=IMAGE)),
    "concat of thousands": Content(
        R.GRAPH, put((("layers", 3, "inbounds"), ["left"] * 100_000), source=IMAGE)
    ),
    "concat of unlike bits": Content(R.SHAPE, lambda: _signals({"threshold_fire_bits": 4}, {})),
    "concat of activations and potentials": Content(
        R.GRAPH, lambda: _signals({}, {"activations_enabled": False})
    ),
    "potentials into a layer": Content(
        R.GRAPH,
        put(
            (("layers", 1, "parameters", "activations_enabled"), False),
            (("layers", 1, "variables"), ["threshold_fire", "threshold_fire_step", "weights"]),
            (("arrays", "l1_thresholds"), DROP),
        ),
    ),
    # arrays
    "array shape bomb": Content(R.LAYOUT, _array(W, DTYPE, [2**31] * 4, OFFSET)),
    "array shape 2**62": Content(R.SHAPE, _array(W, DTYPE, [2**62], OFFSET)),
    "array shape zero": Content(R.SHAPE, _array(W, DTYPE, [0, 2, 2, 6], OFFSET)),
    "array shape negative": Content(R.SHAPE, _array(W, DTYPE, [-3, -2, 2, 6], OFFSET)),
    "array shape true": Content(R.SHAPE, _array(W, DTYPE, [True, 2, 2, 6], OFFSET)),
    "array shape float": Content(R.SHAPE, _array(W, DTYPE, [3.0, 2, 2, 6], OFFSET)),
    "array shape empty": Content(R.SHAPE, _array(W, DTYPE, [], OFFSET)),
    "array shape of five": Content(R.SHAPE, _array(W, DTYPE, [1, *SHAPE], OFFSET)),
    "array shape of thousands": Content(R.SHAPE, _array(W, DTYPE, [1] * 100_000, OFFSET)),
    "array shape is text": Content(R.SHAPE, _array(W, DTYPE, "3226", OFFSET)),
    "array shape turned": Content(R.SHAPE, _array(W, DTYPE, SHAPE[::-1], OFFSET)),
    "array shape flat": Content(R.SHAPE, _array(W, DTYPE, [72], OFFSET)),
    "array dtype uint8": Content(R.DTYPE, _array(W, "|u1", SHAPE, OFFSET)),
    "array dtype float64": Content(R.DTYPE, _array(W, "<f8", SHAPE, OFFSET)),
    "array dtype object": Content(R.DTYPE, _array(W, "|O", SHAPE, OFFSET)),
    "array dtype record": Content(R.DTYPE, _array(W, "i1,O", SHAPE, OFFSET)),
    "array dtype void": Content(R.DTYPE, _array(W, "|V1", SHAPE, OFFSET)),
    "array dtype alias": Content(R.DTYPE, _array(W, "int8", SHAPE, OFFSET)),
    "array dtype list": Content(R.DTYPE, _array(W, [["a", "|O"]], SHAPE, OFFSET)),
    "array dtype big-endian": Content(
        R.DTYPE, _array("l1_threshold_fire", ">i4", [6], INDEX["arrays"]["l1_threshold_fire"][2])
    ),
    "array offset negative": Content(R.LAYOUT, _array(W, DTYPE, SHAPE, -64)),
    "array offset before the part": Content(R.LAYOUT, _array(W, DTYPE, SHAPE, -(2**62))),
    "array offset misaligned": Content(R.LAYOUT, _array(W, DTYPE, SHAPE, OFFSET + 1)),
    "array offset beyond the end": Content(R.LAYOUT, _array(W, DTYPE, SHAPE, 2**40)),
    "array offset at the end": Content(R.LAYOUT, _array(W, DTYPE, SHAPE, len(BODY) // 64 * 64)),
    "array offset float": Content(R.MEMBER, _array(W, DTYPE, SHAPE, float(OFFSET))),
    "array offset true": Content(R.MEMBER, _array(W, DTYPE, SHAPE, True)),
    "arrays overlap": Content(
        R.LAYOUT, _array("l2_threshold_fire", "<i4", [3], INDEX["arrays"]["l1_threshold_fire"][2])
    ),
    "arrays overlap in part": Content(
        R.LAYOUT, _array("l1_threshold_fire", "<i4", [6], OFFSET + 64)
    ),
    "arrays overlap behind the first values": Content(
        R.LAYOUT, _array("l1_threshold_fire", "<i4", [112], INDEX["arrays"]["l1_threshold_fire"][2])
    ),
    "array entry short": Content(R.MEMBER, _array(W, DTYPE, SHAPE)),
    "array entry is an object": Content(
        R.MEMBER, put((("arrays", W), {"dtype": DTYPE, "shape": SHAPE, "offset": OFFSET}))
    ),
    "array of no layer": Content(R.LAYOUT, _array("l9_weights", "|i1", [1], 0)),
    "array name is a path": Content(R.LAYOUT, _array("../../etc/passwd", "|i1", [1], 0)),
    "array not listed": Content(R.MEMBER, put((("arrays", W), DROP))),
    # variables
    "variable unknown": Content(
        R.MEMBER, put((("layers", 0, "variables"), ["kernel"]), (("arrays", "l0_kernel"), []))
    ),
    "variable twice": Content(
        R.MEMBER,
        put((("layers", 1, "variables"), [*INDEX["layers"][1]["variables"], "weights"])),
    ),
    "variables unsorted": Content(
        R.MEMBER, put((("layers", 1, "variables"), INDEX["layers"][1]["variables"][::-1]))
    ),
    "variables is an object": Content(R.MEMBER, put((("layers", 1, "variables"), {}))),
    "variable missing": Content(
        R.MEMBER,
        put(
            (("layers", 1, "variables"), ["threshold_fire", "threshold_fire_step"]),
            (("arrays", W), DROP),
            (("arrays", "l1_thresholds"), DROP),
        ),
    ),
    "output_shift alone": Content(
        R.MEMBER,
        put(
            (
                ("layers", 2, "variables"),
                ["output_shift", "threshold_fire", "threshold_fire_step", "weights"],
            ),
            (("arrays", "l2_output_scale"), DROP),
        ),
    ),
    # values
    "weight beyond its bits": Content(R.VALUE, value(1, "weights", b"\x08")),
    "weight below its bits": Content(R.VALUE, value(1, "weights", b"\xf8")),
    "weight -128": Content(R.VALUE, value(0, "weights", b"\x80", IMAGE)),
    "binary weight -1": Content(R.VALUE, value(4, "weights", b"\xff", IMAGE)),
    "step NaN": Content(R.VALUE, value(1, "threshold_fire_step", NAN32)),
    "step infinite": Content(R.VALUE, value(1, "threshold_fire_step", INF32)),
    "step array negative": Content(
        R.VALUE, value(1, "threshold_fire_step", struct.pack("<f", -0.5))
    ),
    "thresholds fall": Content(
        R.VALUE, value(1, "thresholds", struct.pack("<3i", 2**31 - 1, 0, -(2**31)))
    ),
    "output_scale NaN": Content(R.VALUE, value(2, "output_scale", NAN64)),
    "output_shift NaN": Content(R.VALUE, value(2, "output_shift", NAN64)),
    "accumulator": Content(R.OVERFLOW, _overflow),
    # networks over time
    "time step without neurons": Content(R.MEMBER, put((("time_step",), None))),
    "time step is an integer": Content(R.MEMBER, put((("time_step",), 1))),
    "time step is text": Content(R.MEMBER, put((("time_step",), "0.001"))),
    "time step 0": Content(R.VALUE, put((("time_step",), 0.0), source=TIME_IMAGE)),
    "time step negative": Content(R.VALUE, put((("time_step",), -0.001), source=TIME_IMAGE)),
    "time step 1e300": Content(R.VALUE, put((("time_step",), 1e300), source=TIME_IMAGE)),
    "time step 1e-300": Content(R.VALUE, put((("time_step",), 1e-300), source=TIME_IMAGE)),
    "neurons without a time step": Content(R.GRAPH, put((("time_step",), DROP), source=TIME_IMAGE)),
    "time step on a concat": Content(R.GRAPH, put((("time_step",), 0.5), source=IMAGE)),
    "time step on a layer that learns": Content(
        R.GRAPH, put((("time_step",), 0.5), source=LEARNING)
    ),
    "neuron is null": Content(R.MEMBER, neuron("", None)),
    "neuron is a list": Content(R.MEMBER, neuron("", [])),
    "neuron is missing": Content(R.MEMBER, neuron("", DROP)),
    "neuron with a function": Content(R.MEMBER, neuron("surrogate", "os.system")),
    "neuron without rule": Content(R.MEMBER, neuron("rule", DROP)),
    "neuron rule unknown": Content(R.MEMBER, neuron("rule", "poisson")),
    "neuron rule is a list": Content(R.MEMBER, neuron("rule", ["max", 3])),
    "neuron reset unknown": Content(R.MEMBER, neuron("reset", "none")),
    "neuron reset is a number": Content(R.MEMBER, neuron("reset", 0)),
    "neuron unit unknown": Content(R.MEMBER, neuron("unit", "kHz")),
    "neuron rectify 1": Content(R.MEMBER, neuron("rectify", 1)),
    "neuron shift float": Content(R.MEMBER, neuron("shift", 2.0)),
    "neuron shift true": Content(R.MEMBER, neuron("shift", True)),
    "neuron shift negative": Content(R.VALUE, neuron("shift", -1)),
    "neuron shift 31": Content(R.VALUE, neuron("shift", 31)),
    "neuron shift 2**62": Content(R.VALUE, neuron("shift", 2**62)),
    "neuron shift beyond 32 bits": Content(R.OVERFLOW, neuron("shift", 25)),
    "neuron max_spikes 0": Content(R.VALUE, neuron("max_spikes", 0)),
    "neuron max_spikes 2**40": Content(R.VALUE, neuron("max_spikes", 2**40)),
    "neuron max_spikes without its rule": Content(R.VALUE, neuron("rule", "multi")),
    "neuron signed that resets": Content(
        R.VALUE,
        put(
            (("layers", 2, "neuron", "rule"), "signed"),
            source=TIME_IMAGE,
        ),
    ),
    "neuron in a pooling": Content(
        R.VALUE,
        put((("layers", 1, "neuron"), _NEURON_RECORD), source=TIME_IMAGE),
    ),
    "neuron and learning": Content(
        R.VALUE, put((("layers", 2, "neuron"), _NEURON_RECORD), source=LEARNING)
    ),
    "neuron without activations": Content(
        R.VALUE, parameter(4, "activations_enabled", False, TIME_IMAGE)
    ),
    "neuron with a step": Content(R.VALUE, parameter(4, "threshold_fire_step", 2.0, TIME_IMAGE)),
    "spike threshold 0": Content(R.VALUE, value(0, "spike_threshold", ZERO32, TIME_IMAGE)),
    "spike threshold negative": Content(
        R.VALUE, value(0, "spike_threshold", struct.pack("<i", -5), TIME_IMAGE)
    ),
    "spike threshold 2**31 - 1": Content(
        R.VALUE, value(0, "spike_threshold", struct.pack("<i", 2**31 - 1), TIME_IMAGE)
    ),
    "bias -2**31": Content(R.VALUE, value(0, "bias", struct.pack("<i", -(2**31)), TIME_IMAGE)),
    "bias beyond 32 bits": Content(
        R.OVERFLOW, value(0, "bias", struct.pack("<i", 2**30), TIME_IMAGE)
    ),
    "lowest potential positive": Content(
        R.VALUE, value(0, "lowest_potential", struct.pack("<i", 1), TIME_IMAGE)
    ),
    "lowest potential -2**31": Content(
        R.VALUE, value(0, "lowest_potential", struct.pack("<i", -(2**31)), TIME_IMAGE)
    ),
    "lowest potential of signed neurons": Content(
        R.VALUE, value(1, "lowest_potential", struct.pack("<i", -1), TIME_EVENTS)
    ),
    "initial potential above the threshold": Content(
        R.VALUE, value(0, "initial_potential", struct.pack("<i", 2**29), TIME_IMAGE)
    ),
    "initial potential below the lowest": Content(
        R.VALUE, value(0, "initial_potential", struct.pack("<i", -(2**29)), TIME_IMAGE)
    ),
    "initial potential turned": Content(
        R.SHAPE,
        lambda: _turned("l0_initial_potential", TIME_IMAGE),
    ),
    "pooling of nothing": Content(R.VALUE, parameter(1, "pooling_type", "none", TIME_IMAGE)),
    "pooling of a full mode": Content(
        R.VALUE, parameter(1, "convolution_mode", "full", TIME_IMAGE)
    ),
    "pooling beyond the map": Content(R.SHAPE, parameter(1, "pooling_width", 60, TIME_IMAGE)),
    "pooling without a time step": Content(
        R.GRAPH,
        put((("layers", 0, "neuron"), DROP), (("time_step",), DROP), source=TIME_IMAGE),
    ),
    "filter of order 3": Content(R.VALUE, parameter(6, "order", 3, TIME_IMAGE)),
    "filter of order true": Content(R.MEMBER, parameter(6, "order", True, TIME_IMAGE)),
    "filter with NaN": Content(R.VALUE, value(6, "tau", NAN64, TIME_IMAGE)),
    "filter level NaN": Content(R.VALUE, value(6, "initial_level", NAN64, TIME_IMAGE)),
    "filter scale NaN": Content(R.VALUE, value(6, "output_scale", NAN64, TIME_IMAGE)),
    # learning
    "learning is null": Content(R.MEMBER, learning("", None)),
    "learning is a list": Content(R.MEMBER, learning("", [])),
    "learning is true": Content(R.MEMBER, learning("", True)),
    "learning missing": Content(R.MEMBER, learning("", DROP)),
    "learning with a function": Content(R.MEMBER, learning("callback", "os.system")),
    "learning without seed": Content(R.MEMBER, learning("seed", DROP)),
    "learning without rule": Content(R.MEMBER, learning("rule", DROP)),
    "learning rule unknown": Content(R.MEMBER, learning("rule", "hebb")),
    "learning rule is a list": Content(R.MEMBER, learning("rule", ["swap"])),
    "learning rule of other variables": Content(R.MEMBER, learning("rule", "swap")),
    "learning rule without its counters": Content(R.MEMBER, learning("rule", "majority", SWAP)),
    "learning seed is a number": Content(R.MEMBER, learning("seed", 7)),
    "learning seed short": Content(R.MEMBER, learning("seed", "7")),
    "learning seed in capitals": Content(R.MEMBER, learning("seed", "F" * 16)),
    "learning seed of other digits": Content(R.MEMBER, learning("seed", "\u0660" * 16)),
    "learning seed with newline": Content(R.MEMBER, learning("seed", "0" * 16 + "\n")),
    "learning weights 0": Content(R.VALUE, learning("num_weights", 0)),
    "learning weights beyond the inputs": Content(R.VALUE, learning("num_weights", 2**20)),
    "learning weights true": Content(R.MEMBER, learning("num_weights", True)),
    "learning weights float": Content(R.MEMBER, learning("num_weights", 9.0)),
    "learning weights differ": Content(R.VALUE, learning("num_weights", 8)),
    "learning classes 0": Content(R.VALUE, learning("num_classes", 0)),
    "learning classes negative": Content(R.VALUE, learning("num_classes", -3)),
    "learning classes uneven": Content(R.VALUE, learning("num_classes", 4)),
    "learning classes 2**40": Content(R.VALUE, learning("num_classes", 2**40)),
    "learning plasticity above 1": Content(R.VALUE, learning("initial_plasticity", 1.5)),
    "learning plasticity negative": Content(R.VALUE, learning("min_plasticity", -0.5)),
    "learning plasticity is an integer": Content(R.MEMBER, learning("initial_plasticity", 1)),
    "learning competition 1e300": Content(R.VALUE, learning("learning_competition", 1e300)),
    "learning decay is text": Content(R.MEMBER, learning("plasticity_decay", "0.1")),
    "learning ratio above 1": Content(R.VALUE, learning("learning_ratio", [5, 4])),
    "learning ratio of 0": Content(R.VALUE, learning("learning_ratio", [0, 0])),
    "learning ratio negative": Content(R.VALUE, learning("learning_ratio", [-1, 4])),
    "learning ratio huge": Content(R.VALUE, learning("learning_ratio", [3, 2**62])),
    "learning ratio of three": Content(R.MEMBER, learning("learning_ratio", [1, 2, 3])),
    "learning ratio of floats": Content(R.MEMBER, learning("learning_ratio", [1.0, 2.0])),
    "learning ratio is a number": Content(R.MEMBER, learning("learning_ratio", 1)),
    "learning in an input": Content(
        R.GRAPH,
        put(
            (("layers", 0, "learning"), _LEARNING_RECORD),
            source=LEARNING,
        ),
    ),
    "learning in the middle": Content(
        R.GRAPH,
        put((("layers", 1, "learning"), _LEARNING_RECORD), source=LEARNING),
    ),
    "learning from 4-bit activations": Content(
        R.GRAPH, parameter(1, "threshold_fire_bits", 4, LEARNING)
    ),
    "learning with weights of 2 bits": Content(R.VALUE, parameter(2, "weights_bits", 2, LEARNING)),
    "learning without thresholds": Content(R.MEMBER, _without("threshold_learning")),
    "learning without plasticity": Content(R.MEMBER, _without("plasticity")),
    "learning without steps": Content(R.MEMBER, _without("learning_steps")),
    "learning without counters": Content(R.MEMBER, _without("learning_counters")),
    "learning weight moved": Content(R.VALUE, value(2, "weights", b"\1" * 12, LEARNING)),
    "learning weight 2": Content(R.VALUE, value(2, "weights", b"\2", LEARNING)),
    "learning threshold negative": Content(
        R.VALUE, value(2, "threshold_learning", b"\xff" * 4, LEARNING)
    ),
    "learning plasticity NaN": Content(R.VALUE, value(2, "plasticity", NAN32, LEARNING)),
    "learning plasticity infinite": Content(R.VALUE, value(2, "plasticity", INF32, LEARNING)),
    "learning plasticity 2": Content(
        R.VALUE, value(2, "plasticity", struct.pack("<f", 2.0), LEARNING)
    ),
    "learning plasticity between steps": Content(
        R.VALUE, value(2, "plasticity", struct.pack("<f", 0.3), LEARNING)
    ),
    "learning counter negative": Content(
        R.VALUE, value(2, "learning_counters", b"\0\x80", LEARNING)
    ),
}


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return str(folder / "pipe")


def _loop(folder: Path) -> str:
    (folder / "loop").symlink_to("loop")
    return str(folder / "loop")


def _sparse(size: int, head: bytes = b"") -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        path = folder / "sparse"
        path.write_bytes(head)
        os.truncate(path, size)
        return str(path)

    return make


def _socket(folder: Path) -> str:
    # the address of a socket is short, and temporary folders may not be
    before = os.getcwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
    finally:
        os.chdir(before)
    return str(folder / "socket")


def _link_to_device(folder: Path) -> str:
    (folder / "net.h5").symlink_to("/dev/zero")
    return str(folder / "net.h5")


PLACES: dict[str, Place] = {
    "folder": Place(R.UNREADABLE, str),
    "pipe": Place(R.UNREADABLE, _pipe),
    "socket": Place(R.UNREADABLE, _socket),
    "loop of links": Place(R.UNREADABLE, _loop),
    "/dev/zero": Place(R.UNREADABLE, lambda folder: "/dev/zero"),
    "/dev/full": Place(R.UNREADABLE, lambda folder: "/dev/full"),
    "link to /dev/zero": Place(R.UNREADABLE, _link_to_device),
    "sparse 2 TiB": Place(R.UNREADABLE, _sparse(2 << 40)),
    "sparse 2 TiB behind a good header": Place(R.UNREADABLE, _sparse(2 << 40, GOOD)),
    "sparse 1 GiB": Place(R.MAGIC, _sparse(1 << 30)),
    "sparse 1 GiB behind a good header": Place(R.HEADER, _sparse(1 << 30, GOOD)),
    "nul in the path": Place(R.UNREADABLE, lambda folder: str(folder / "a\0b")),
    "path too long": Place(R.UNREADABLE, lambda folder: str(folder / ("n" * 300))),
    "file as a folder": Place(R.UNREADABLE, lambda folder: str(_file(folder) / "net.h5")),
    "half a surrogate in the path": Place(R.UNREADABLE, lambda folder: str(folder / "\ud800")),
    "text in /proc": Place(R.MAGIC, lambda folder: "/proc/self/status"),
}


def _file(folder: Path) -> Path:
    (folder / "plain").write_bytes(GOOD)
    return folder / "plain"


def main(folder: str) -> None:
    """Write every bad content into a folder, and a list of the reasons."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    reasons = {}
    for number, (name, case) in enumerate(CONTENTS.items()):
        file = f"{number:03d}_{name.replace(' ', '_').replace('/', '_').replace('*', '')}.h5"
        (target / file).write_bytes(case.make())
        reasons[file] = case.reason.value
    (target / "reasons.json").write_text(json.dumps(reasons, indent=1))
    print(json.dumps({"folder": folder, "files": len(reasons)}))


if __name__ == "__main__":
    main(sys.argv[1])
