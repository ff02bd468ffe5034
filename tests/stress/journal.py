"""A long run of numbered cases in pieces, with the case in which the process died."""

from __future__ import annotations

import json
import mmap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

BLOCK = 5000
DIED = "DIED"


class Journal:
    """Numbers the cases of a run and keeps the outcomes of each block.

    Parameters
    ----------
    path : Path or None
        Lines of JSON, one a block. Beside it ``PATH.case`` holds the number of the case that is
        running, which a dead process has left behind. Without a path nothing is kept.
    setting : list
        What else decides the cases; a journal with another setting is refused.
    """

    def __init__(self, path: Path | None, setting: list[object]) -> None:
        self._path = path
        self._setting = setting

    def cases(self, count: int, counts: Counter[str], examples: list[str]) -> Iterator[int]:
        """Numbers below `count` that no block has yet; adds up outcomes in `counts`, `examples`."""
        if self._path is None:
            yield from range(count)
            return
        first = self._read(counts, examples)
        dead = self._died(first)
        if dead is not None:
            counts[DIED] += 1
            examples.append(f"case {dead}: {DIED}")
            self._write(dead, dead + 1, Counter({DIED: 1}), [f"case {dead}: {DIED}"])
        skipped = {dead} | self._alone
        with open(self._case_file, "w+b") as file:
            file.write(bytes(8))
            file.flush()
            with mmap.mmap(file.fileno(), 8) as running:
                while first < count:
                    end = min(first + BLOCK, count)
                    before, known = counts.copy(), len(examples)
                    for case in range(first, end):
                        if case not in skipped:
                            running[:] = (case + 1).to_bytes(8, "little")
                            yield case
                    running[:] = bytes(8)
                    self._write(first, end, counts - before, examples[known:])
                    first = end

    @property
    def _case_file(self) -> Path:
        assert self._path is not None
        return self._path.with_name(self._path.name + ".case")

    def _read(self, counts: Counter[str], examples: list[str]) -> int:
        """First case behind the blocks of the file."""
        assert self._path is not None
        self._alone: set[int] = set()
        first = 0
        for line in self._path.read_text().splitlines() if self._path.exists() else ():
            block = json.loads(line)
            if block["setting"] != self._setting:
                raise ValueError(
                    f"{self._path} is the journal of {block['setting']}, not of {self._setting}: "
                    f"name another file"
                )
            counts.update(block["counts"])
            examples += block["bad"]
            if DIED in block["counts"]:
                self._alone.add(block["first"])
            else:
                first = block["end"]
        return first

    def _died(self, first: int) -> int | None:
        if not self._case_file.exists():
            return None
        case = int.from_bytes(self._case_file.read_bytes(), "little") - 1
        return case if case >= first and case not in self._alone else None

    def _write(self, first: int, end: int, counts: Counter[str], examples: list[str]) -> None:
        assert self._path is not None
        line = {"setting": self._setting, "first": first, "end": end, "counts": counts}
        with open(self._path, "a", encoding="ascii") as file:
            file.write(json.dumps({**line, "bad": examples}) + "\n")
