"""Trained networks: what there is, where it lies, and whether it is what was recorded.

Needs neither Keras nor a network connection; nothing is downloaded or written on import.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import lzma
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasnsoc.zoo import _home

if TYPE_CHECKING:
    from kerasnsoc.runtime import Model

SCHEMA = 1
_REGISTRY = Path(__file__).with_name("registry.json")
_BUNDLED = Path(__file__).with_name("weights")
_LARGEST = 1 << 30
_PACKED = ".xz"


class PretrainedNotAvailableError(FileNotFoundError):
    """No file of a trained network is here, and none may be or can be fetched.

    The message gives the key, where the file is looked for, its SHA-256, and the command that
    trains the network.
    """


@dataclass(frozen=True)
class Record:
    """One trained network.

    Attributes
    ----------
    key : str
        Architecture, data set and bits, such as ``ds_cnn_kws/fsdd10/8-4-4``.
    helper : str
        Function of `kerasnsoc.zoo` that loads it.
    file : str or None
        Name; ``.h5`` is an artifact, ``.h5.xz`` a compressed one, ``.keras`` a Keras model. None
        where no weights are published.
    sha256 : str or None
        Of this file.
    bytes : int
        Of this file.
    format : {"nsoc", "keras"}
    input_scaling : (float, float)
        ``(a, b)``: the integers that the artifact takes are ``a * x + b`` of the values that the
        Keras model takes.
    classes : tuple of str
        Names of the outputs.
    quantization : dict
        Bits of ``input``, ``weight``, ``activation`` and ``last``.
    metrics : dict
        ``dataset``, ``split``, ``float_accuracy``, ``quantized_accuracy``, ``integer_accuracy`` and
        others.
    license, data_license, origin : str
    recipe : str
        Command line that trains it.
    extra : dict
        What else is needed to use it, such as anchors, or the ranges of features.
    urls : tuple of str
        Where it can be fetched; may be empty.
    """

    key: str
    helper: str
    file: str | None
    sha256: str | None
    bytes: int
    format: str
    input_scaling: tuple[float, float]
    classes: tuple[str, ...]
    quantization: dict[str, int]
    metrics: dict[str, Any]
    license: str
    data_license: str
    origin: str
    recipe: str
    extra: dict[str, Any]
    urls: tuple[str, ...]

    @property
    def is_bundled(self) -> bool:
        """Whether the file is part of the installed package."""
        return self.file is not None and (_BUNDLED / self.file).is_file()

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and strings."""
        content = asdict(self)
        for name in ("input_scaling", "classes", "urls"):
            content[name] = list(content[name])
        return content


def list_pretrained() -> tuple[Record, ...]:
    """All records, also those without weights, in the order of their keys."""
    return tuple(_records().values())


def get_record(key: str) -> Record:
    """One record.

    Raises
    ------
    ValueError
        If there is no such key; the message lists the keys.
    """
    try:
        return _records()[key]
    except KeyError:
        raise ValueError(
            f"{key!r} is no trained network of the zoo; there are {', '.join(_records())}"
        ) from None


def read_pretrained(key: str) -> bytes:
    """The verified content of a network's file, unpacked.

    It is looked for in the package, then in the cache (``KERASNSOC_HOME``), then at the record's
    address, or below ``KERASNSOC_MODELS_URL`` if that is set.

    Parameters
    ----------
    key : str

    Returns
    -------
    bytes
        Of the artifact or of the Keras file.

    Raises
    ------
    PretrainedNotAvailableError
        If it is nowhere, may not be downloaded, or the transfer fails.
    ValueError
        If the key is unknown, or a downloaded or bundled file is not the recorded one.
    OSError
        If a file cannot be read or written.
    """
    record = get_record(key)
    content = _verified(record)
    if record.file is not None and record.file.endswith(_PACKED):
        return _unpacked(record, content)
    return content


def pretrained_path(key: str) -> Path:
    """Where a network's verified file lies, without loading it.

    A compressed artifact is unpacked into the cache.

    Parameters
    ----------
    key : str

    Returns
    -------
    Path
        Of an ``.h5`` artifact or a ``.keras`` model.

    Raises
    ------
    PretrainedNotAvailableError, ValueError, OSError
        As `read_pretrained`.
    """
    record = get_record(key)
    content = _verified(record)
    assert record.file is not None
    if not record.file.endswith(_PACKED):
        bundled = _BUNDLED / record.file
        return bundled if bundled.is_file() else _home.models_folder() / record.file
    path = _home.models_folder() / record.file.removesuffix(_PACKED)
    unpacked = _unpacked(record, content)
    if not path.is_file() or path.read_bytes() != unpacked:
        from kerasnsoc.artifact.atomic import write_atomically

        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(str(path), unpacked)
    return path


def load_pretrained(key: str) -> Model | Any:
    """Load a trained network.

    Parameters
    ----------
    key : str
        See `list_pretrained`.

    Returns
    -------
    kerasnsoc.Model or keras.Model
        By the format of the record: an artifact on integers, or a Keras model that is not compiled.

    Raises
    ------
    PretrainedNotAvailableError, ValueError, OSError
        As `read_pretrained`.
    ArtifactError
        If the file is no valid artifact.
    """
    record = get_record(key)
    if record.format == "nsoc":
        from kerasnsoc.runtime import Model

        return Model(serialized_buffer=read_pretrained(key))
    from kerasnsoc.quantization import load_quantized_model

    # never the stored training configuration: it can name any callable of Keras
    return load_quantized_model(pretrained_path(key), compile=False)


def verify_pretrained() -> list[Record]:
    """Check digest and content of every network that is here.

    That is in the package, downloaded, or unpacked into the cache. Nothing is fetched or changed.

    Returns
    -------
    list of Record
        Those that are here.

    Raises
    ------
    ValueError
        If a file is damaged; the message names all of them.
    """
    from kerasnsoc.artifact import ArtifactError, load

    present, damaged = [], []
    for record in list_pretrained():
        if record.file is None:
            continue
        files = [folder / record.file for folder in (_BUNDLED, _home.models_folder())]
        is_packed = record.file.endswith(_PACKED)
        if is_packed:
            files.append(_home.models_folder() / record.file.removesuffix(_PACKED))
        files = [path for path in files if path.is_file()]
        for path in files:
            content = path.read_bytes()
            try:
                if is_packed and path.suffix != _PACKED:
                    _check_unpacked(record, content)
                elif not _is_recorded(record, content):
                    raise ValueError(f"SHA-256 {record.sha256} is expected")
                elif is_packed:
                    content = _unpacked(record, content)
                if record.format == "nsoc":
                    load(content)
            except (ValueError, ArtifactError, lzma.LZMAError) as error:
                damaged.append(f"{path} ({record.key}): {error}")
        if files:
            present.append(record)
    if damaged:
        raise ValueError(
            f"{'; '.join(damaged)}. What lies in {_home.models_folder()} may be of another version "
            "of the package: `kerasnsoc zoo fetch KEY` writes it again. Install the package again "
            "for a file of its own."
        )
    return present


def publish(record: Mapping[str, Any], artifact: str | os.PathLike[str]) -> Record:
    """Add a trained network to the package's own registry; for maintainers.

    The artifact is compressed into ``zoo/weights`` and the record replaces the one with its key.

    Parameters
    ----------
    record : mapping
        As ``record.json`` of a run.
    artifact : path
        The file that the record describes.

    Returns
    -------
    Record
        As stored, with name, size and digest of the compressed file.

    Raises
    ------
    ValueError
        If the artifact is not what the record describes.
    """
    from kerasnsoc.artifact import load
    from kerasnsoc.artifact.atomic import write_atomically

    content = Path(artifact).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != record["sha256"]:
        raise ValueError(
            f"{os.fspath(artifact)!r} has the SHA-256 {found}, but the record says "
            f"{record['sha256']}"
        )
    load(content)
    packed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    name = Path(str(record["file"])).name + _PACKED
    extra = {
        **record["extra"],
        "artifact_sha256": record["sha256"],
        "artifact_bytes": len(content),
    }
    stored = _record(
        {
            **record,
            "file": name,
            "sha256": hashlib.sha256(packed).hexdigest(),
            "bytes": len(packed),
            "extra": extra,
        }
    )
    _BUNDLED.mkdir(exist_ok=True)
    write_atomically(str(_BUNDLED / name), packed)
    records = {**_read(_REGISTRY), stored.key: stored}
    models = [records[key].to_dict() for key in sorted(records)]
    text = json.dumps({"schema": SCHEMA, "models": models}, indent=1, ensure_ascii=False)
    write_atomically(str(_REGISTRY), (text + "\n").encode())
    _records.cache_clear()
    return stored


@functools.cache
def _records() -> dict[str, Record]:
    return _read(_REGISTRY)


def _read(path: Path) -> dict[str, Record]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} has the schema {content.get('schema')!r}, but this version reads {SCHEMA}"
        )
    records = [_record(entry) for entry in content["models"]]
    return {record.key: record for record in records}


def _record(entry: Mapping[str, Any]) -> Record:
    names = {field.name for field in fields(Record)}
    if set(entry) != names:
        raise ValueError(
            f"record {entry.get('key')!r} lacks {sorted(names - set(entry))} and has the unknown "
            f"{sorted(set(entry) - names)}"
        )
    record = Record(**entry)
    scale, shift = record.input_scaling
    values = {
        "input_scaling": (scale, shift),
        "classes": tuple(record.classes),
        "urls": tuple(record.urls),
    }
    if record.file is not None and Path(record.file).name != record.file:
        raise ValueError(f"record {record.key!r} has the file {record.file!r}, which is no name")
    return Record(**{**entry, **values})


def _verified(record: Record) -> bytes:
    """The recorded file's content, from wherever it is."""
    if record.file is None or record.sha256 is None:
        raise _not_available(record, "no weights are published for it")
    bundled = _BUNDLED / record.file
    if bundled.is_file():
        content = bundled.read_bytes()
        if not _is_recorded(record, content):
            raise ValueError(
                f"{bundled} is not the recorded file: SHA-256 {record.sha256} is expected. "
                f"Install the package again."
            )
        return content
    cached = _home.models_folder() / record.file
    if cached.is_file():
        content = cached.read_bytes()
        if _is_recorded(record, content):
            return content
        # kept for whoever wants to know what it was; another process may have moved it already
        with suppress(FileNotFoundError):
            os.replace(cached, cached.with_name(f"{cached.name}.bad"))
    base = os.environ.get("KERASNSOC_MODELS_URL")
    urls = (f"{base.rstrip('/')}/{record.file}",) if base else record.urls
    if not urls:
        raise _not_available(record, "it has no address")
    if _home.is_offline():
        raise _not_available(record, "KERASNSOC_OFFLINE forbids downloads")
    for index, url in enumerate(urls):
        try:
            _home.download(url, cached, record.sha256)
            break
        except OSError as error:
            if index == len(urls) - 1:
                raise _not_available(record, f"{url} could not be fetched ({error})") from error
    content = cached.read_bytes()
    if not _is_recorded(record, content):
        raise ValueError(f"{cached} changed while it was read; try again")
    return content


def _is_recorded(record: Record, content: bytes) -> bool:
    assert record.sha256 is not None
    return hmac.compare_digest(hashlib.sha256(content).hexdigest(), record.sha256)


def _unpacked(record: Record, content: bytes) -> bytes:
    size = int(record.extra["artifact_bytes"])
    if not 0 <= size <= _LARGEST:
        raise ValueError(f"record {record.key!r} states {size} bytes, at most {_LARGEST} are read")
    # one byte more than recorded tells a longer content
    unpacked = lzma.LZMADecompressor().decompress(content, size + 1)
    _check_unpacked(record, unpacked)
    return unpacked


def _check_unpacked(record: Record, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != record.extra["artifact_sha256"]:
        raise ValueError(f"the content of {record.file} is not the recorded artifact")


def _not_available(record: Record, reason: str) -> PretrainedNotAvailableError:
    name = record.file or f"{record.key.replace('/', '_')}.h5"
    digest = record.sha256 or "not recorded"
    return PretrainedNotAvailableError(
        f"the trained network {record.key!r} is not available: {reason}. Looked for "
        f"{_home.models_folder() / name} (SHA-256: {digest}). Train it with: {record.recipe}"
    )
