"""Optional dependencies: a missing one names the extra that brings it."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or say which extra installs it.

    Raises
    ------
    ImportError
        If the module is not installed. The message names the command that mends it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the module is there, something that it needs is broken
        raise ImportError(
            f"{module!r} is not installed; it comes with the extra {extra!r}: "
            f'pip install "kerasnsoc[{extra}]"',
            name=error.name,
        ) from error
