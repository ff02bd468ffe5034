"""The readers: what each is fed with, and which errors its documentation promises."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import wave
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

JSON_TOKENS = [
    *(b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"null", b"true", b"[]", b"{}", b'""', b"1.5"),
    *(b"2147483648", b"9223372036854775807", b"9" * 40, b"9" * 5000, b"[" * 2000, b"\\ud800"),
    *b'0123456789-+.eE{}[]",:\\',
]
BINARY_TOKENS = [b"\x00", b"\xff", b"\x7f" + b"\xff" * 3, b"\xff" * 4, b"\x00" * 8, b"\xff" * 8]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes
    ----------
    name : str
    read : callable
        Takes the content of a file; whatever it raises other than `refusals` is a fault.
    refusals : tuple of type
        Errors that the reader documents.
    seeds : sequence of bytes
        Good content, all of which must be accepted.
    tokens : sequence of bytes
        What mutations write.
    """

    name: str
    read: Callable[[bytes], object]
    refusals: tuple[type[BaseException], ...]
    seeds: Sequence[bytes]
    tokens: Sequence[bytes]


def _tokens(tokens: Sequence[bytes | int]) -> list[bytes]:
    return [bytes([token]) if isinstance(token, int) else token for token in tokens]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kerasnsoc-fuzz-")


def _as_file(name: str, data: bytes) -> Path:
    path = Path(_folder().name) / name
    path.write_bytes(data)
    return path


# --- artifacts ------------------------------------------------------------------------------------


@cache
def _artifacts() -> tuple[bytes, ...]:
    from kerasnsoc.artifact import to_bytes
    from tests.networks import events_network, every_kind, learning_networks, time_networks

    networks = [events_network(), every_kind()["image"]]
    networks += [*learning_networks().values(), *time_networks().values()]
    return tuple(to_bytes(network) for network in networks)


def artifact() -> Target:
    """Whole files; most changes meet the digest."""
    from kerasnsoc.artifact import ArtifactError, load

    return Target("artifact", load, (ArtifactError,), _artifacts(), BINARY_TOKENS)


def artifact_index() -> Target:
    """The index behind a repaired digest; the first byte says whose arrays follow."""
    from kerasnsoc.artifact import ArtifactError, load
    from kerasnsoc.artifact.layout import frame, seal

    parts = [(data, frame(data[:64], len(data))) for data in _artifacts()]
    seeds = [bytes([k]) + data[part.index] for k, (data, part) in enumerate(parts)]

    def read(content: bytes) -> None:
        if len(content) > 1:
            data, part = parts[content[0] % len(parts)]
            load(seal(content[1:], data[part.body]))

    return Target("artifact-index", read, (ArtifactError,), seeds, _tokens(JSON_TOKENS))


# --- recordings -----------------------------------------------------------------------------------


def _aedat_2() -> bytes:
    events = np.zeros(40, [("address", ">u4"), ("time", ">u4")])
    events["address"], events["time"] = np.arange(40) * 331 % 32768, np.arange(40) * 1000
    return b"#!AER-DAT2.0\r\n# a recording\r\n" + events.tobytes()


def _aedat_31() -> bytes:
    header = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    events = np.zeros(20, [("data", "<u4"), ("time", "<u4")])
    events["data"], events["time"] = np.arange(20) << 17 | np.arange(20) << 2 | 3, np.arange(20)
    polarity = struct.pack("<HHIIIIII", 1, 0, 8, 4, 0, 20, 20, 20) + events.tobytes()
    special = struct.pack("<HHIIIIII", 0, 0, 8, 4, 0, 1, 1, 1) + bytes(8)
    return header + special + polarity + polarity


def _npy() -> bytes:
    from kerasnsoc.runtime import make_events

    stream = io.BytesIO()
    steps = np.arange(30)
    np.save(stream, make_events(steps, steps % 7, steps % 5, steps % 2))
    return stream.getvalue()


def events() -> Target:
    """AEDAT 2.0 and 3.1 and structured .npy; AEDAT 4.0 is another package's to read."""
    from kerasnsoc.runtime.event_files import read_events

    def read(content: bytes) -> None:
        if content.startswith(b"#!AER-DAT4.0"):
            return
        path = _as_file("recording.aedat", content)
        with suppress(ValueError):
            read_events(path, allow_truncated=True)
        read_events(path)

    tokens = [*BINARY_TOKENS, b"#", b"\r\n", b"#!END-HEADER\r\n", b"'shape': (1e9,)", b"|O", b"(("]
    return Target("events", read, (ValueError,), [_aedat_2(), _aedat_31(), _npy()], tokens)


def nmnist() -> Target:
    """Records of N-MNIST, in which all but the length is allowed."""
    from kerasnsoc.runtime.event_files import read_events

    def read(content: bytes) -> None:
        read_events(_as_file("recording.bin", content))

    seed = np.random.default_rng(0).integers(0, 256, 200, np.uint8).tobytes()
    # content that begins like another format is read as such
    return Target("nmnist", read, (ValueError,), [seed], [*BINARY_TOKENS, b"\x01\xf0\x00\x00\x00"])


def wav() -> Target:
    """Sounds of the keyword spotting examples."""
    from kerasnsoc.zoo.kws.wav import read_wav

    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(np.arange(300, dtype="<i2").tobytes())
    tokens = [*BINARY_TOKENS, b"RIFF", b"WAVE", b"fmt ", b"data", b"LIST", b"\xfe\xff", b"\x01\x00"]
    return Target("wav", read_wav, (ValueError,), [stream.getvalue()], tokens)


# --- texts ----------------------------------------------------------------------------------------

_VOC = b"""<annotation><filename>a.jpg</filename>
<size><width>50</width><height>40</height><depth>3</depth></size>
<object><name>car</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object>
<object><name>tree</name><bndbox><xmin>1</xmin></bndbox></object></annotation>
"""


def annotations() -> Target:
    """XML in the format of PASCAL VOC."""
    from kerasnsoc.zoo.detection.data import parse_voc_annotations

    names = _as_file("names.txt", b"a\n")

    def read(content: bytes) -> None:
        _as_file("a.xml", content)
        parse_voc_annotations(_folder().name, _folder().name, names, ["car"])

    tokens = [
        *(b"<", b">", b"&", b"&amp;", b"&#0;", b"</object>", b"<object>", b"inf", b"nan", b"1e400"),
        *(b"<!DOCTYPE a>", b'<?xml version="1.0" encoding="utf-16"?>', b"\xff\xfe", b"<a>" * 60),
        *(b'<?xml version="1.0" encoding="rot13"?>', b"9" * 5000, b"<difficult>x</difficult>"),
        b'<?xml version="1.0" encoding="big5"?>',
    ]
    return Target("annotations", read, (ValueError,), [_VOC], tokens)


@cache
def saved_networks() -> tuple[bytes, ...]:
    """A graph of cores and an artifact, each placed on a chip and saved."""
    from kerasnsoc.nsoc import NSoCNetwork
    from tests.networks import events_network
    from tests.nsoc_graphs import random_graph

    found = []
    for source, device, clock in (
        (random_graph(0), "speck2f", 1.0),
        (events_network(), "akd1000", None),
    ):
        network = NSoCNetwork(source)
        network.make_config(device=device, slow_clk_frequency=clock)
        path = network.save(Path(_folder().name) / "network.json")
        found.append(path.read_bytes())
    return tuple(found)


def config() -> Target:
    """Configurations of chips, read and checked against their devices."""
    from kerasnsoc.nsoc.config import NSoCConfig
    from kerasnsoc.nsoc.errors import NSoCError

    def read(content: bytes) -> None:
        found = NSoCConfig.from_json(content)
        if NSoCConfig.from_json(found.to_json()) != found:
            raise AssertionError("a configuration changed on its way through JSON")
        found.validate()

    seeds = [json.dumps(json.loads(data)["config"]).encode() for data in saved_networks()]
    return Target("config", read, (NSoCError,), seeds, _tokens(JSON_TOKENS))


def device() -> Target:
    """Descriptions of chips."""
    from kerasnsoc.nsoc.device_file import device_to_json, load_device
    from kerasnsoc.nsoc.devices import get_device
    from kerasnsoc.nsoc.errors import DeviceFileError

    def read(content: bytes) -> None:
        load_device(_as_file("device.json", content))

    seeds = [device_to_json(get_device(name), None).encode() for name in ("speck2f", "akd1000")]
    return Target("device", read, (DeviceFileError,), seeds, _tokens(JSON_TOKENS))


def network() -> Target:
    """Saved networks of chips, as JSON and as archive."""
    import zipfile

    from kerasnsoc.nsoc import NSoCNetwork
    from kerasnsoc.nsoc.network_file import NetworkFileError

    def read(content: bytes) -> None:
        NSoCNetwork.load(_as_file("network.json", content))

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("network.json"), saved_networks()[0], zipfile.ZIP_DEFLATED)
    seeds = [*saved_networks(), stream.getvalue()]
    return Target("network", read, (NetworkFileError,), seeds, _tokens(JSON_TOKENS))


_TEMPLATE = b"""layers:
  - {type: InputData, name: input, input_width: 8, input_height: 6, input_channels: 1}
  - type: Convolutional
    name: conv
    kernel_width: 3
    kernel_height: 3
    num_neurons: 4
    convolution_mode: Same
  - {type: FullyConnected, name: fc, num_neurons: 5, threshold_fire: 40, inbound: [conv]}
"""


def template() -> Target:
    """Architectures in YAML."""
    from kerasnsoc.runtime.template import read_template

    def read(content: bytes) -> None:
        read_template(_as_file("template.yaml", content))

    tokens = [
        *(b"!!int ''", b"!!float ''", b"!!bool x", b"!!timestamp x", b"!!binary x", b"!!null x"),
        *(
            b"!!set {a}",
            b"!!omap [a]",
            b"!!pairs [a: b]",
            b"!!python/name:os.system",
            b"2001-99-99",
        ),
        *(b"2001-01-01 00:00:00 +99:99", b"&a ", b"*a", b"<<: ", b"? ", b"- ", b": ", b"|\n", b"%"),
        *(
            b".inf",
            b".nan",
            b"1e400",
            b"9" * 5000,
            b"0x",
            b"0b",
            b"1:1",
            b"[" * 2000,
            b"\t",
            b"\x00",
        ),
        *(b"-1", b"0", b"1.5", b"true", b"~", b"{}", b"[]", b"'", b'"\\ud800"', b"9" * 40, b"0b_"),
        *(b"9" * 400, b"9999-12-31T23:59:59-23:00", b"!!map ", b"!!seq ", b"\xff\xfe"),
    ]
    return Target("template", read, (ValueError,), [_TEMPLATE], tokens)


TARGETS: dict[str, Callable[[], Target]] = {
    "artifact": artifact,
    "artifact-index": artifact_index,
    "events": events,
    "nmnist": nmnist,
    "wav": wav,
    "annotations": annotations,
    "config": config,
    "device": device,
    "network": network,
    "template": template,
}
