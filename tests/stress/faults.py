"""Lets the k-th system call of a save fail, for every k.

``python -m tests.stress.faults --op all``. After each failure: an OSError that names the path, the
old file byte for byte (or none, if there was none), no stray file, no open descriptor. A failure to
sync the folder comes after the rename; then the new file must be whole. ``--rlimit`` adds a real
limit on the size of files, ``--full FOLDER`` a file system that really is full: the folder must lie
on a small one of its own, such as ``mount -t tmpfs -o size=1m tmpfs FOLDER``, and is filled up to a
few bytes around what the file needs. Prints one line of JSON and exits with 1 if the bar is missed.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # --rlimit forks

from kerasnsoc.artifact import NetworkSpec, atomic, load, save, to_bytes
from tests.networks import events_network, every_kind

OPERATIONS = ("open", "write", "fsync", "fchmod", "close", "replace", "lstat")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EINTR, errno.EACCES)
SHORT = "short write"
MOST_FULL_BYTES = 64 << 20


class FaultyOS:
    """The module `os`, in which one call of one function fails."""

    def __init__(self, operation: str, count: int, fault: int | str) -> None:
        self.operation = operation
        self.left = count
        self.fault = fault
        self.fired = False
        self.on_folder = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name != self.operation:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left:
                return real(*args, **kwargs)
            self.fired = True
            if self.fault == SHORT:
                descriptor, data = args
                return real(descriptor, data[: max(1, len(data) // 3)])
            self.on_folder = _concerns_folder(name, args)
            if name == "close":  # it fails after the descriptor is gone, as on a full disk
                real(*args, **kwargs)
            raise OSError(self.fault, os.strerror(self.fault))

        return call


def _concerns_folder(name: str, args: tuple[Any, ...]) -> bool:
    if name in ("fsync", "close"):
        return os.path.isdir(f"/proc/self/fd/{args[0]}")
    return name == "open" and os.path.isdir(args[0])


def attempts(operations: tuple[str, ...]) -> Iterator[tuple[str, int | str, int, FaultyOS]]:
    """Every operation with every fault, k = 1, 2, … until no call is left to fail."""
    for operation in operations:
        faults: tuple[int | str, ...] = ERRORS
        if operation == "write":
            faults = (*ERRORS, SHORT)
        for fault in faults:
            for k in range(1, 1000):
                faulty = FaultyOS(operation, k, fault)
                yield operation, fault, k, faulty
                if not faulty.fired:
                    break


def judge(
    spec: NetworkSpec, old: bytes | None, new: bytes, faulty: FaultyOS | None, folder: Path
) -> list[str]:
    """Save once under a fault and list what is wrong afterwards."""
    target = folder / "net.h5"
    target.unlink(missing_ok=True)
    if old is not None:
        target.write_bytes(old)
    before = len(os.listdir("/proc/self/fd"))
    wrong, raised = [], None
    atomic.os = faulty or os
    try:
        save(spec, target, verify=False)
    except OSError as error:
        raised = error
    except BaseException as error:
        wrong.append(f"raised {error!r}")
    finally:
        atomic.os = os
    content = target.read_bytes() if target.exists() else None
    if raised is None:
        if content != new:
            wrong.append("returned without the new file")
    else:
        if raised.filename != str(target):
            wrong.append(f"the error names {raised.filename!r}")
        expected = new if faulty is not None and faulty.on_folder else old
        if content != expected:
            wrong.append("the file is not what it should be")
    if [entry.name for entry in folder.iterdir()] not in ([], ["net.h5"]):
        wrong.append("a stray file is left")
    if len(os.listdir("/proc/self/fd")) != before:
        wrong.append("a descriptor is left open")
    if content is not None:
        load(content)
    return wrong


def limited(spec: NetworkSpec, old: bytes | None, new: bytes, folder: Path) -> Iterator[list[str]]:
    """Save in children that may not write files beyond a size."""
    for limit in (0, 1, 511, 512, len(new) // 2, len(new) - 1, len(new)):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            if old is not None:
                (folder / "net.h5").write_bytes(old)
            content = judge_limited(spec, limit, old, new, folder)
            os.write(writer, json.dumps(content).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        yield [f"limit {limit}: {text}" for text in json.loads(answer or '["died"]')]


def judge_limited(
    spec: NetworkSpec, limit: int, old: bytes | None, new: bytes, folder: Path
) -> list[str]:
    target = folder / "net.h5"
    image = to_bytes(spec)
    wrong, raised = [], None
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        atomic.write_atomically(str(target), image)
    except OSError as error:
        raised = error
    content = target.read_bytes() if target.exists() else None
    if limit < len(new):
        if raised is None or raised.errno != errno.EFBIG or raised.filename != str(target):
            wrong.append(f"raised {raised!r}")
        if content != old:
            wrong.append("the old file is not what it was")
    elif raised is not None or content != new:
        wrong.append(f"raised {raised!r} though there was room")
    if [entry.name for entry in folder.iterdir()] not in ([], ["net.h5"]):
        wrong.append("a stray file is left")
    return wrong


def full(spec: NetworkSpec, old: bytes | None, new: bytes, folder: Path) -> Iterator[list[str]]:
    """Save into a file system with little room, until it is enough."""
    if any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; give an empty folder on a small file system")
    system = os.statvfs(folder)
    if system.f_bavail * system.f_frsize > MOST_FULL_BYTES:
        raise ValueError(
            f"{folder} has {system.f_bavail * system.f_frsize} bytes free, which are not worth "
            f"filling; give a folder on a file system of at most {MOST_FULL_BYTES} bytes"
        )
    block = system.f_frsize
    target, ballast = folder / "net.h5", folder / "ballast"
    needed = -(-len(new) // block)
    was_short = was_enough = False
    for room in range(needed + 2):
        target.unlink(missing_ok=True)
        ballast.unlink(missing_ok=True)
        if old is not None:
            target.write_bytes(old)
        left = os.statvfs(folder)
        with open(ballast, "wb") as file:
            file.write(bytes(max(0, left.f_bavail - room) * block))
        wrong, raised = [], None
        try:
            save(spec, target, verify=False)
        except OSError as error:
            raised = error
        content = target.read_bytes() if target.exists() else None
        if raised is None:
            was_enough = True
            if content != new:
                wrong.append("returned without the new file")
        else:
            was_short = True
            if raised.errno != errno.ENOSPC or raised.filename != str(target):
                wrong.append(f"raised {raised!r}")
            if content != old:
                wrong.append("the old file is not what it was")
        if {entry.name for entry in folder.iterdir()} - {"net.h5", "ballast"}:
            wrong.append("a stray file is left")
        yield [f"{room} blocks free: {text}" for text in wrong]
    target.unlink(missing_ok=True)
    ballast.unlink()
    if not (was_short and was_enough):
        yield ["the file system was never full, or never had room"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--op", choices=(*OPERATIONS, "all"), default="all")
    parser.add_argument("--rlimit", action="store_true")
    parser.add_argument("--full", type=Path, help="an empty folder on a small file system")
    options = parser.parse_args(arguments)
    operations = OPERATIONS if options.op == "all" else (options.op,)
    spec = events_network()
    old, new = to_bytes(every_kind()["potentials"]), to_bytes(spec)
    cases, fired, missed = 0, 0, []
    for present in (old, None):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            for operation, fault, k, faulty in attempts(operations):
                wrong = judge(spec, present, new, faulty, folder)
                cases += 1
                fired += faulty.fired
                missed += [f"{operation} {k} {fault}: {text}" for text in wrong]
    if options.rlimit:
        for present in (old, None):
            with tempfile.TemporaryDirectory() as name:
                for wrong in limited(spec, present, new, Path(name).resolve()):
                    cases += 1
                    missed += wrong
                    Path(name, "net.h5").unlink(missing_ok=True)
    if options.full is not None:
        for present in (old, None):
            for wrong in full(spec, present, new, options.full.resolve()):
                cases += 1
                missed += wrong
    print(json.dumps({"cases": cases, "faults": fired, "missed": missed}))
    return 1 if missed or not fired else 0


if __name__ == "__main__":
    sys.exit(main())
