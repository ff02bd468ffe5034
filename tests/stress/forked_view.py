"""The program behind `verify` in a fork of this process instead of in a new interpreter.

A fork has loaded libhdf5 already, so that a case takes milliseconds instead of the quarter of a
second in which Python starts. Memory, time and what becomes of a crash are the same.
"""

from __future__ import annotations

import io
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import Any, NoReturn

from kerasnsoc.artifact import _hdf5_view, hdf5_check


def install() -> None:
    """Let `verify` fork from now on."""
    import h5py  # noqa: F401  loaded once for all forks

    hdf5_check.subprocess = _Forks()


class _Forks:
    """Stands in for the module `subprocess`."""

    TimeoutExpired = subprocess.TimeoutExpired

    def run(
        self, command: list[str], *, input: memoryview, timeout: float, **_: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """What `subprocess.run` does for a command ``python -P program memory seconds``."""
        texts = [os.pipe(), os.pipe()]
        child = os.fork()
        if not child:
            _be_the_child(command, input, [write for _, write in texts])
        end = time.monotonic() + timeout
        for _, write in texts:
            os.close(write)
        found = {read: bytearray() for read, _ in texts}
        try:
            with selectors.DefaultSelector() as waiting:
                for read in found:
                    waiting.register(read, selectors.EVENT_READ)
                while waiting.get_map():
                    ready = waiting.select(max(0.0, end - time.monotonic()))
                    if not ready:
                        raise subprocess.TimeoutExpired(command, timeout)
                    for key, _ in ready:
                        piece = os.read(key.fd, 1 << 16)
                        found[key.fd] += piece
                        if not piece:
                            waiting.unregister(key.fd)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            for read in found:
                os.close(read)
            _, status = os.waitpid(child, 0)
        texts_found = [bytes(text) for text in found.values()]
        return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(status), *texts_found)


def _be_the_child(command: list[str], data: memoryview, outputs: list[int]) -> NoReturn:
    status = 1
    try:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, output in enumerate(outputs, 1):
            os.dup2(output, number)
        sys.stdin = io.TextIOWrapper(io.BytesIO(data))
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.argv = command[2:]
        _hdf5_view.main()
        sys.stdout.flush()
        status = 0
    finally:
        os._exit(status)
