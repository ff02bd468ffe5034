"""Files that are either old or new, never half."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

STRAY_SECONDS = 3600.0
"""Age from which a temporary file counts as left behind by a process that was killed."""

_CHUNK = 1 << 24


def write_atomically(path: str, data: bytes, check: Callable[[str], None] | None = None) -> None:
    """Replace a file as a whole.

    Parameters
    ----------
    path : str
        Links are followed. An existing file keeps its mode; a new one gets what the umask leaves.
    data : bytes
    check : callable, optional
        Called with the path of the synced temporary file; if it raises, nothing is replaced.

    Raises
    ------
    OSError
        Naming `path`. The old file is untouched, unless the message says that only the folder could
        not be synced.
    """
    target = os.path.realpath(path)
    mode = _replaceable_mode(path, target)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f"{_prefix(name)}{secrets.token_hex(8)}.part")
    # created with 0666, so that the kernel applies the umask; asking for the umask would change it
    # for all threads
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for extra in ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY"):
        flags |= getattr(os, extra, 0)
    try:
        descriptor = os.open(temporary, flags, 0o666)
    except OSError as error:
        _fail(error, path)
    try:
        try:
            try:
                _write_all(descriptor, data)
                if mode is not None and hasattr(os, "fchmod"):
                    os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)  # a full disk may only show here
            if check is not None:
                check(temporary)
            os.replace(temporary, target)
        except OSError as error:
            _fail(error, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder, path)
    _sweep(folder, name)


def _fail(error: OSError, path: str) -> NoReturn:
    # errno picks the subclass again: PermissionError stays PermissionError
    raise OSError(error.errno, error.strerror or str(error), path) from error


def _replaceable_mode(path: str, target: str) -> int | None:
    """Permission bits of the file to be replaced; None if there is none."""
    try:
        status = os.lstat(target)
    except FileNotFoundError:
        return None
    except OSError as error:
        _fail(error, path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if stat.S_ISLNK(status.st_mode):  # what is left unresolved is a loop
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file, so it is not replaced", path)
    return stat.S_IMODE(status.st_mode) & 0o777


def _prefix(name: str) -> str:
    # a long name must leave room for the random part; 255 bytes are what file systems allow
    if len(os.fsencode(name)) > 200:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}."


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view[:_CHUNK]) :]


def _sync_folder(folder: str, path: str) -> None:
    """Make the rename itself durable."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            return  # a file system, or a folder, that cannot be synced by us
        raise OSError(
            error.errno,
            f"the new file is in place, but its folder could not be synced ({error.strerror}), so "
            f"that a power failure might bring back the old one",
            path,
        ) from error


def _sweep(folder: str, name: str) -> None:
    """Remove what earlier saves of the same file left when they were killed."""
    pattern = re.compile(re.escape(_prefix(name)) + r"[0-9a-f]{16}\.part")
    oldest = time.time() - STRAY_SECONDS
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if pattern.fullmatch(entry.name):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and status.st_mtime < oldest:
                        os.unlink(entry.path)
