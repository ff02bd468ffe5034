"""Kills a process while it saves: ``python -m tests.stress.kill_save --kills 100``.

After every kill the file must be whole, the old or the new one. The strays that kills leave are
made two hours old; the next save must sweep them. Prints one line of JSON and exits with 1 if the
bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

# forked children must not inherit a thread pool
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from kerasnsoc.artifact import (
    ArtifactError,
    FullyConnectedParameters,
    InputDataParameters,
    NetworkSpec,
    load,
    save,
    to_bytes,
    writer,
)
from tests.networks import Builder

WINDOW_SECONDS = 0.02


def network(seed: int, inputs: int = 1 << 16) -> NetworkSpec:
    """About half a megabyte, so that writing takes a while."""
    return (
        Builder(seed)
        .add("in", InputDataParameters(input_width=1, input_height=1, input_channels=inputs))
        .add("out", FullyConnectedParameters(num_neurons=8))
        .build(metadata={"seed": seed})
    )


def save_for_ever(specs: list[NetworkSpec], images: list[bytes], target: Path) -> NoReturn:
    """Child: alternate between the networks until killed."""
    known = {id(spec): image for spec, image in zip(specs, images, strict=True)}
    # laying the file out takes most of the time and touches nothing; kills should hit the writing
    writer.to_bytes = lambda spec: known[id(spec)]
    while True:
        for spec in specs:
            save(spec, target, verify=False)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    specs = [network(seed) for seed in (1, 2)]
    images = [to_bytes(spec) for spec in specs]
    seen, unreadable, start = set(), 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "net.h5")
        save(specs[0], target, verify=False)
        for _ in range(options.kills):
            child = os.fork()
            if not child:
                save_for_ever(specs, images, target)
            time.sleep(rng.random() * WINDOW_SECONDS)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            content = target.read_bytes()
            try:
                load(target)
            except ArtifactError:
                unreadable += 1
            if content in images:
                seen.add(images.index(content))
            else:
                unreadable += 1
        strays = [entry for entry in Path(folder).iterdir() if entry != target]
        past = time.time() - 7200
        for stray in strays:
            os.utime(stray, (past, past))
        save(specs[1], target, verify=False)
        left = len(list(Path(folder).iterdir())) - 1
    report = {
        "kills": options.kills,
        "unreadable": unreadable,
        "versions_seen": len(seen),
        "strays": len(strays),
        "strays_after_next_save": left,
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(report))
    return 1 if unreadable or left > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
