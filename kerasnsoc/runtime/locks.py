"""The lock of a model: one thread at a time changes it, and a forked child is never locked out."""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType

_guards: weakref.WeakSet[ChangeGuard] = weakref.WeakSet()


class ChangeGuard:
    """A context for whoever changes a model: one thread at a time, which may enter it again.

    Running needs no lock: a call takes the packed network as it is when the call begins, and keeps
    it. A change therefore never writes into arrays that a network may have been packed from; it
    replaces them (`Layer.set_variable` does) and lets the next call pack anew.

    Notes
    -----
    A thread that holds the lock while another one forks is not in the child, so that the child gets
    a new lock.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _guards.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """A lock that nobody holds, in a process where nobody can."""
        self._lock = threading.RLock()


def _renew_all() -> None:
    for guard in _guards:
        guard.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
