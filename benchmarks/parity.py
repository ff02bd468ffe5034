"""Random quantized Keras models against the runtime, as many as you like.

    python -m benchmarks.parity --models 20000 --state parity.json

Builds models of 1 to 6 blocks from consecutive seeds, converts each, and compares every activation
of the frozen Keras forward with the runtime's event kernels, its dense kernels and the NumPy
reference. Progress is kept in the state file: run the command again to go on. Ends with one line
of JSON, and with exit code 1 if anything differed; the seeds that did are listed.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
import warnings
from multiprocessing import get_context
from pathlib import Path

BATCH = 50


def check_model(seed: int, max_blocks: int) -> tuple[int, bool, int]:
    """(values compared, whether all are equal, blocks) for one seed."""
    import numpy as np

    from kerasnsoc.conversion import compare
    from kerasnsoc.conversion.converter import frozen_model, integers_of
    from kerasnsoc.runtime import Model
    from tests import reference
    from tests.keras_models import picker, random_model

    case = random_model(picker(seed), max_blocks=max_blocks)
    # what convert and freeze do, with the integers worked out once for both
    integers = integers_of(case.model, **case.conversion)
    network = Model.from_spec(integers.spec)
    report = compare(frozen_model(integers), network, case.inputs)
    expected = reference.run(network.to_spec(), case.inputs)
    equal = report.differing == 0
    for form in ("events", "dense"):
        for name, values in network.trace(case.inputs, form=form).items():
            equal &= bool(np.array_equal(values, expected[name].outputs))
    return report.compared, equal, len(report.layers)


def check_batch(seeds: range, max_blocks: int) -> dict[str, object]:
    import keras

    warnings.filterwarnings("ignore", "these layers run in software")
    result: dict[str, object] = {"models": 0, "values": 0, "blocks": 0, "mismatches": []}
    for seed in seeds:
        try:
            compared, equal, blocks = check_model(seed, max_blocks)
        except OverflowError:
            continue  # a potential beyond 32 bits is refused at conversion
        result["models"] += 1  # type: ignore[operator]
        result["values"] += compared  # type: ignore[operator]
        result["blocks"] += blocks  # type: ignore[operator]
        if not equal:
            result["mismatches"].append(seed)  # type: ignore[attr-defined]
    keras.backend.clear_session()
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=int, default=20_000, help="seeds to try, from 0 on")
    parser.add_argument("--max-blocks", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--state", type=Path, help="file that keeps the progress")
    options = parser.parse_args()
    state = {"next_seed": 0, "models": 0, "values": 0, "blocks": 0, "mismatches": []}
    if options.state and options.state.exists():
        state = json.loads(options.state.read_text())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    started = time.monotonic()
    tty = sys.stderr.isatty()
    starts = range(state["next_seed"], options.models, BATCH)
    batches = [range(s, min(s + BATCH, options.models)) for s in starts]
    check = functools.partial(check_batch, max_blocks=options.max_blocks)
    # fresh workers now and then, since TensorFlow keeps every traced function
    with get_context("spawn").Pool(options.jobs, maxtasksperchild=20) as pool:
        for seeds, result in zip(batches, pool.imap(check, batches), strict=True):
            for key in ("models", "values", "blocks", "mismatches"):
                state[key] += result[key]
            state["next_seed"] = seeds.stop
            if options.state:
                options.state.write_text(json.dumps(state))
            if tty:
                print(f"\r{seeds.stop} of {options.models}", end="", file=sys.stderr)
    state["seconds"] = round(time.monotonic() - started, 1)
    print(json.dumps(state))
    return 1 if state["mismatches"] else 0


if __name__ == "__main__":
    sys.exit(main())
