"""Where models and data sets live on this machine, and the only door to the network."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

_BLOCK = 1 << 20
_TIMEOUT_S = 60


def home() -> Path:
    """``KERASNSOC_HOME``, or the folder ``kerasnsoc`` in the user's cache; it may not exist."""
    chosen = os.environ.get("KERASNSOC_HOME")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "kerasnsoc"


def models_folder() -> Path:
    """Where downloaded models lie; it may not exist."""
    return home() / "models"


def datasets_folder() -> Path:
    """Where data sets lie; it may not exist."""
    return home() / "datasets"


def is_offline() -> bool:
    """Whether ``KERASNSOC_OFFLINE`` forbids downloads."""
    return os.environ.get("KERASNSOC_OFFLINE", "").strip().lower() not in (
        "",
        "0",
        "false",
        "no",
        "off",
    )


def download(url: str, path: Path, sha256: str | None = None) -> None:
    """Fetch a file, check it, and give it its name only then.

    Parameters
    ----------
    url : str
        Of scheme ``https`` or ``file``.
    path : Path
        Its folder is made if missing; a file of this name is replaced.
    sha256 : str, optional
        Hexadecimal digest that the content must have.

    Raises
    ------
    RuntimeError
        If downloads are forbidden (``KERASNSOC_OFFLINE``).
    ValueError
        If the scheme is another one or the digest differs; nothing is kept.
    OSError
        If the transfer fails; nothing is kept.
    """
    if is_offline():
        raise RuntimeError(
            f"KERASNSOC_OFFLINE forbids to download {url}. Put the file by hand to {path}."
        )
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in ("https", "file"):
        raise ValueError(f"{url!r} has the scheme {scheme!r}, allowed are https and file")
    path.parent.mkdir(parents=True, exist_ok=True)
    # in the same folder: renaming is atomic only there
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    digest = hashlib.sha256()
    try:
        with (
            os.fdopen(descriptor, "wb") as target,
            urllib.request.urlopen(url, timeout=_TIMEOUT_S) as source,
        ):
            while block := source.read(_BLOCK):
                digest.update(block)
                target.write(block)
        if sha256 is not None and digest.hexdigest() != sha256.lower():
            raise ValueError(
                f"{url} has the SHA-256 {digest.hexdigest()}, but {sha256} is expected; the file "
                "was not kept"
            )
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
