"""What `run` and `energy` do with ``--workers``: the same, on a Ray cluster."""

from __future__ import annotations

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
    model: Model, batch: npt.NDArray[Any], workers: int, method: Method
) -> DistributedRun:
    """`kerasnsoc.distributed.run` with Ray's messages on standard error, few of them."""
    ray = require("ray", "distributed")
    from kerasnsoc.distributed import run

    if not ray.is_initialized():
        # what workers print would go to standard output, which belongs to the result
        ray.init(log_to_driver=False, logging_level="ERROR")
    return run(model, batch, method=method, workers=workers)
