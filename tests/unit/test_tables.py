"""Tables as text."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc._tables import render

COLUMNS = ["layer", "events", "share"]
ROWS = [["conv[0]", "1,234", "5.0%"], ["dense", "7", "-"]]
EXPECTED = """\
What happened
layer   | events | share
--------+--------+------
conv[0] |  1,234 |  5.0%
dense   |      7 |     -"""


def test_numbers_are_right_aligned_and_names_are_not():
    assert render(COLUMNS, ROWS, title="What happened") == EXPECTED


def test_without_rich_the_table_is_the_same(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert render(COLUMNS, ROWS, title="What happened") == EXPECTED


def test_terminal_settings_change_nothing(monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert render(COLUMNS, ROWS, title="What happened") == EXPECTED


def test_nothing_is_cut_or_wrapped():
    long = "x" * 5000
    assert long in render(["name"], [[long]])


def test_markup_and_control_characters_of_a_name_are_shown_as_text():
    table = render(["name", "n"], [["[red]a[/red]\x1b[2J\n", "1"]])
    assert "[red]a[/red]" in table
    assert "\x1b" not in table
    assert len(table.splitlines()) == 3


def test_wide_characters_keep_the_columns_straight():
    lines = render(["name", "n"], [["漢字", "1"], ["abcd", "2"]]).splitlines()
    assert lines[2] == "漢字 | 1"
    assert lines[3] == "abcd | 2"


@pytest.mark.parametrize(
    ("cells", "is_right"),
    [
        (["1", "-2.5", "3e-7", "+.5"], True),
        (["12 pJ", "3.5 µJ"], True),
        (["", "-"], False),
        (["8x8x1"], False),
        (["1 2"], False),
        (["12", "a"], False),
    ],
)
def test_a_column_counts_as_numeric_only_if_all_its_cells_are(cells, is_right):
    lines = render(["a heading wider than the cells"], [[cell] for cell in cells]).splitlines()
    assert any(line.startswith(" ") for line in lines[2:]) == is_right


def test_no_rows_gives_the_heading():
    assert render(["a", "b"], []).splitlines()[0] == "a | b"


def test_a_row_of_another_length_is_refused_with_its_index():
    with pytest.raises(ValueError, match=r"row 1 has 1 cells.*2 columns \(a, b\)"):
        render(["a", "b"], [["1", "2"], ["3"]])


def test_a_table_without_columns_is_refused():
    with pytest.raises(ValueError, match="at least one column"):
        render([], [])


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.tuples(
            st.lists(st.text(max_size=8), min_size=n, max_size=n),
            st.lists(st.lists(st.text(max_size=8), min_size=n, max_size=n), max_size=4),
        )
    )
)
def test_any_text_gives_one_line_per_row(table):
    columns, rows = table
    text = render(columns, rows)
    # A lone empty column leaves empty lines, which are trimmed at the end.
    assert len(text.split("\n")) <= len(rows) + 2
    assert text == render(columns, rows)
    assert all(c.isprintable() or c == "\n" for c in text)
