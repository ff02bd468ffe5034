"""Loads every bad file under limits and reports: ``python -m tests.hostile.judge``.

Prints one line of JSON and exits with 1 if a file was accepted, refused for another reason, took a
second of processor time, or 64 MiB beyond the file itself.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kerasnsoc.artifact import ArtifactError, load
from tests.hostile.make import CONTENTS, PLACES

MAX_SECONDS = 1.0
MAX_MIB = 64.0
ADDRESS_SPACE = 2 << 30
PROCESSOR_SECONDS = 120


@contextmanager
def sources() -> Iterator[Iterator[tuple[str, str, str | bytes]]]:
    """Every case once per door that takes it: name, expected reason, what to load."""
    with tempfile.TemporaryDirectory() as folder:

        def cases() -> Iterator[tuple[str, str, str | bytes]]:
            for number, (name, case) in enumerate(CONTENTS.items()):
                content = case.make()
                path = Path(folder, f"{number}.h5")
                path.write_bytes(content)
                yield f"{name} (path)", case.reason.value, str(path)
                yield f"{name} (bytes)", case.reason.value, content
                path.unlink()
            for number, (name, place) in enumerate(PLACES.items()):
                room = Path(folder, f"place{number}")
                room.mkdir()
                yield name, place.reason.value, place.make(room)

        yield cases()


def verdict(source: str | bytes) -> str:
    """The reason of the refusal, or what else happened."""
    try:
        load(source)
    except ArtifactError as error:
        return error.reason.value
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    missed, count, slowest, largest = [], 0, 0.0, 0.0
    with sources() as cases:
        for name, expected, source in cases:
            start = time.process_time()
            found = verdict(source)
            seconds = time.process_time() - start
            tracemalloc.start()
            again = verdict(source)
            mib = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            count += 1
            slowest, largest = max(slowest, seconds), max(largest, mib)
            if found != expected or again != found or seconds > MAX_SECONDS or mib > MAX_MIB:
                missed.append(f"{name}: {found[:80]}, {seconds:.2f} s, {mib:.0f} MiB")
    report = {
        "cases": count,
        "kinds": len(CONTENTS) + len(PLACES),
        "slowest_ms": round(slowest * 1e3, 1),
        "largest_mib": round(largest, 1),
        "missed": missed,
    }
    print(json.dumps(report))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
