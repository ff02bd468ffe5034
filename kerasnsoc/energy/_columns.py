"""Columns of the summary of a model's energy: which there are, and how wide they get."""

from __future__ import annotations

from kerasnsoc.energy.devices import list_devices

_HEADS = {
    "name": "Layer (type)",
    "output_shape": "Output shape",
    "params": "Param #",
    "connections": "Conn #",
    "neurons": "Neuron #",
    "rate": "Rate [Hz]",
    "energy": "J/inf ({})",
    "synop_energy": "Synop J/inf ({})",
    "neuron_energy": "Neuron J/inf ({})",
}


def head(kind: str, device: str) -> str:
    """The heading of a column."""
    return _HEADS[kind].format(device)


def parse_column(column: str) -> tuple[str, str]:
    """Kind and device; the device is empty for kinds that have none.

    Raises
    ------
    ValueError
        If the kind is unknown or an energy has no device.
    """
    kind, *rest = column.split() or [""]
    takes_device = kind.endswith("energy")
    if kind not in _HEADS or (rest and not takes_device):
        raise ValueError(
            f"Unknown column type '{column}'; known are {', '.join(_HEADS)}, of which the energies "
            "are followed by a device"
        )
    if takes_device and not rest:
        raise ValueError(
            f"column {column!r} names no device; write for instance '{kind} cpu'. Devices: "
            f"{', '.join(list_devices())}"
        )
    return kind, " ".join(rest)


def layout(
    heads: list[str], rows: list[list[str]], is_left: list[bool], line_length: int
) -> list[str]:
    """Lines of the table; text that is too long is cut.

    All columns get an equal share of the line first. What is left goes, character by character, to
    the column whose text is cut most in relation to its width.

    Parameters
    ----------
    heads : list of str
    rows : list of lists of str
    is_left : list of bool
        Which columns are aligned to the left below their heading.
    line_length : int
        At least one character per column and separator.
    """
    longest = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    usable = line_length - (len(heads) - 1)
    widths = [min(usable // len(heads), m) for m in longest]
    usable = min(usable, sum(longest))
    while sum(widths) < usable:
        needs = [(m - w) / w for m, w in zip(longest, widths, strict=True)]
        widths[needs.index(max(needs))] += 1

    def line(cells: list[str], left: list[bool]) -> str:
        return "|".join(
            cell[:width].ljust(width) if is_left_cell else cell[:width].rjust(width)
            for cell, width, is_left_cell in zip(cells, widths, left, strict=True)
        )

    return [
        line(heads, [True] * len(heads)),
        "|".join("-" * width for width in widths),
        *(line(row, is_left) for row in rows),
    ]
