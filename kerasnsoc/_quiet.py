"""Keep what native libraries print out of the way of the command's own words."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from kerasnsoc._extras import require


class _Stream:
    """A stream that can be exchanged under those who keep it, as handlers of loggers do."""

    def __init__(self, target: TextIO) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)


@contextmanager
def native_messages_to(path: Path) -> Iterator[None]:
    """Send what C and C++ code writes to standard error into a file.

    TensorFlow logs its start-up through a channel that no setting quietens. Python's own
    ``sys.stderr`` stays where it was.
    """
    try:
        sys.stderr.flush()
        original = os.dup(2)
    except (OSError, ValueError, AttributeError):  # no standard error: nothing to redirect
        yield
        return
    python_stderr = sys.stderr
    with path.open("ab") as log, os.fdopen(os.dup(original), "w", buffering=1) as visible:
        os.dup2(log.fileno(), 2)
        stream = _Stream(visible)
        if python_stderr is sys.__stderr__:
            sys.stderr = cast(TextIO, stream)
        try:
            yield
        finally:
            sys.stderr = stream.target = python_stderr
            os.dup2(original, 2)
            os.close(original)


def import_keras() -> None:
    """Import Keras and its backend without their start-up messages.

    TensorFlow then reports errors only: its warnings are for those who write programs with it.

    Raises
    ------
    ImportError
        If Keras is not installed, naming the extra.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with native_messages_to(Path(os.devnull)):
        require("keras", "train")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
