"""Where models and data sets live on this machine, and the only door to the network."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

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
        Of scheme ``https`` or ``file``; a server may only redirect to ``https``.
    path : Path
        Its folder is made if missing; a file of this name is replaced.
    sha256 : str, optional
        Hexadecimal digest that the content must have.

    Raises
    ------
    RuntimeError
        If downloads are forbidden (``KERASNSOC_OFFLINE``).
    ValueError
        If the scheme is another one, also after a redirection, or the digest differs; nothing is
        kept.
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
    # in the same folder: renaming is atomic only there; opened plainly, for the mode of other files
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    digest = hashlib.sha256()
    try:
        opener = urllib.request.build_opener(_SecureRedirects)
        with temporary.open("xb") as target, opener.open(url, timeout=_TIMEOUT_S) as source:
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
        temporary.unlink(missing_ok=True)
        raise


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to nothing but https; by itself, urllib goes on to http and ftp."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != "https":
            raise ValueError(
                f"{req.full_url!r} redirects to {newurl!r} of scheme {scheme!r}, allowed is https"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)
