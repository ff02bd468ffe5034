"""What `run` and `energy` do with ``--workers``: the same, on a Ray cluster."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasnsoc._extras import require

if TYPE_CHECKING:
    import numpy.typing as npt

    from kerasnsoc.distributed import DistributedRun
    from kerasnsoc.distributed.worker import Method
    from kerasnsoc.runtime import Model

Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Split the batch over N processes of a Ray cluster: that of RAY_ADDRESS, or one on "
        "this machine. Needs the extra 'distributed'.",
    ),
]


def run_on_cluster(
    model: Model, batch: npt.NDArray[Any], workers: int, *methods: Method
) -> list[DistributedRun]:
    """`kerasnsoc.distributed.run` for each method, with few messages of Ray."""
    ray = require("ray", "distributed")
    from kerasnsoc.distributed import run

    with redirect_stdout(sys.stderr):  # standard output belongs to the result
        is_mine = not ray.is_initialized()
        if is_mine:
            ray.init(log_to_driver=False, logging_level="ERROR")
        try:
            return [run(model, batch, method=method, workers=workers) for method in methods]
        finally:
            if is_mine:
                ray.shutdown()
