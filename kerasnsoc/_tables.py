"""Tables as text: the same string on every terminal, in a pipe and in a log file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_NUMBER = re.compile(r"[<>~]?\s?[-+]?(\d[\d,_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?( ?%| [^\s\d]\S*)?")
_BLANK = frozenset({"", "-", "n/a", "unknown", "none", "None"})


def render(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """Lay out rows of text under their headings.

    A column is right-aligned when every cell in it is a number (with or without a unit behind it)
    or a placeholder such as ``-``.

    Parameters
    ----------
    columns : sequence of str
        The headings.
    rows : sequence of sequences of str
        Each as long as `columns`.
    title : str
        A line above the table.

    Returns
    -------
    str
        Plain text without colours and without a trailing newline; never wrapped or cut.

    Raises
    ------
    ValueError
        If there are no columns or a row has another length than `columns`.

    Examples
    --------
    >>> print(render(["layer", "events"], [["conv", "120"], ["dense", "7"]]))
    layer | events
    ------+-------
    conv  |    120
    dense |      7
    """
    if not columns:
        raise ValueError("a table needs at least one column, got none")
    for index, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(
                f"row {index} has {len(row)} cells, but the table has {len(columns)} columns "
                f"({', '.join(columns)}). Give every row one cell per column."
            )
    # Names can come from a stranger's file: no cell may break a line or steer a terminal.
    heads = [printable(head) for head in columns]
    cells = [[printable(cell) for cell in row] for row in rows]
    right = [_is_numeric([row[i] for row in cells]) for i in range(len(heads))]
    try:
        text = _render_rich(heads, cells, right)
    except ImportError:
        text = _render_plain(heads, cells, right)
    return f"{printable(title)}\n{text}" if title else text


def printable(text: str) -> str:
    """The text with every control character replaced, line breaks included."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell not in _BLANK]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def _render_rich(
    heads: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]
) -> str:
    from io import StringIO

    from rich.box import ASCII
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=ASCII, show_edge=False, pad_edge=False)
    for head, is_right in zip(heads, right, strict=True):
        table.add_column(Text(head), justify="right" if is_right else "left", no_wrap=True)
    for row in cells:
        # Text, not str: square brackets in a name are no markup.
        table.add_row(*map(Text, row))
    # Wide enough for every cell, since rich would otherwise take the terminal's width and cut.
    columns = zip(heads, *cells, strict=True)
    width = sum(3 + max(map(cell_len, column)) for column in columns)
    stream = StringIO()
    console = Console(
        file=stream,
        width=width,
        height=len(cells) + 8,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
        _environ={},
    )
    console.print(table)
    return _trim(stream.getvalue())


def _render_plain(
    heads: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]
) -> str:
    widths = [max(map(_width, column)) for column in zip(heads, *cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        padded = []
        for cell, width, is_right in zip(row, widths, right, strict=True):
            space = " " * (width - _width(cell))
            padded.append(space + cell if is_right else cell + space)
        return " | ".join(padded)

    return _trim("\n".join([line(heads), "-+-".join("-" * w for w in widths), *map(line, cells)]))


def _width(text: str) -> int:
    """Columns that a terminal gives to the text."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _trim(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.rstrip("\n").split("\n"))
