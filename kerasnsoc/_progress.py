"""A progress bar where somebody looks at it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from kerasnsoc._extras import require

T = TypeVar("T")


def with_progress(items: Iterable[T], description: str, show: bool | None) -> Iterator[T]:
    """Go through items behind a bar.

    Parameters
    ----------
    items : iterable
    description : str
        Stands before the bar.
    show : bool or None
        None: if standard error is a terminal and tqdm is installed.

    Raises
    ------
    ImportError
        If a bar is asked for and tqdm is not installed; the message names the extra.
    """
    if show is None:
        show = sys.stderr is not None and sys.stderr.isatty() and _has_tqdm()
    if not show:
        return iter(items)
    bar: Iterator[T] = iter(require("tqdm", "report").tqdm(items, desc=description, leave=False))
    return bar


def _has_tqdm() -> bool:
    return "tqdm" in sys.modules or importlib.util.find_spec("tqdm") is not None
