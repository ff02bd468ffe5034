"""The table in docs/energy.md is the table in the code."""

import re
from pathlib import Path

import pytest

from kerasnsoc.energy import get_device, list_devices

PAGE = Path(__file__).parents[3] / "docs" / "energy.md"
PREFIXES = {"nJ": 1e-9, "pJ": 1e-12}
FIGURE = re.compile(r"([\d.]+) (nJ|pJ)(?: \[([\d.]+)–([\d.]+)\])?, ([PSDA])")  # noqa: RUF001


def rows():
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[1] in ("events", "connections"):
            yield cells[0].split("`")[1], cells[1], cells[2:4]


def test_every_device_is_documented():
    assert sorted(name for name, _, _ in rows()) == list(list_devices())


def test_the_documented_figures_are_those_that_are_charged():
    for name, pays_for, cells in rows():
        device = get_device(name)
        assert device.spiking == (pays_for == "events"), name
        for cell, quantity in zip(
            cells, (device.energy_per_synop, device.energy_per_neuron), strict=True
        ):
            if cell == "not published":
                assert quantity.interval is None, name
            elif cell == "contained":
                assert device.scope == "all_in" or quantity.value == 0, name
            else:
                value, unit, low, high, grade = FIGURE.fullmatch(cell).groups()
                documented = [
                    float(x) * PREFIXES[unit] for x in (low or value, value, high or value)
                ]
                assert documented == pytest.approx(quantity.interval), name
                assert grade == quantity.grade, name
