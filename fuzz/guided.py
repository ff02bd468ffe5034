"""Coverage guides the changes: ``python -m fuzz.guided template corpus/ -max_total_time=60``.

Needs the package atheris. Options behind the name of a target are those of libFuzzer. It starts
from the good files of the target and what is in the folder, which keeps what was found for the next
run. The first fault ends the run and is written to ``crash-*``.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kerasnsoc", "yaml", "wave", "chunk", "json"]):
    from fuzz.run import HANG_SECONDS, STUCK_SECONDS, check_seeds, raise_hang
    from fuzz.targets import TARGETS, Target


def _write(target: Target, folder: Path) -> None:
    corpus = folder / "corpus"
    corpus.mkdir()
    for k, seed in enumerate(target.seeds):
        (corpus / f"seed-{k}").write_bytes(seed)
    lines = []
    for token in target.tokens:
        if len(token) <= 64:  # libFuzzer takes no longer words
            lines.append('"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n')
    (folder / "tokens.dict").write_text("".join(lines), encoding="ascii")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m fuzz.guided {{{','.join(TARGETS)}}} [corpus] [options]")
    with atheris.instrument_imports(include=["kerasnsoc", "yaml", "wave", "chunk", "json"]):
        target = TARGETS[sys.argv[1]]()
        check_seeds(target)  # also imports what is imported late

    signal.signal(signal.SIGPROF, raise_hang)

    def read(content: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
        with suppress(*target.refusals):
            target.read(content)
        signal.setitimer(signal.ITIMER_PROF, 0)

    with tempfile.TemporaryDirectory(prefix="kerasnsoc-fuzz-") as name:
        folder = Path(name)
        _write(target, folder)
        options = sys.argv[2:]
        if all(option.startswith("-") or Path(option).is_dir() for option in options):
            options.append(str(folder / "corpus"))  # behind one's own folder, which is written to
        own = [f"-dict={folder / 'tokens.dict'}", f"-timeout={STUCK_SECONDS}"]
        arguments = [sys.argv[0], *own, *options]
        atheris.Setup(arguments, read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
