"""`run` and `map_dataset`: one network on the workers of a Ray cluster."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from kerasnsoc._extras import require
from kerasnsoc.distributed.worker import LayerTotals, Method, Runner, add_counts
from kerasnsoc.runtime import Model
from kerasnsoc.runtime.inputs import as_rows, as_sequences

if TYPE_CHECKING:
    from ray.data import Dataset

Network = Model | str | os.PathLike[str]


@dataclass(frozen=True)
class DistributedRun:
    """What the workers computed and counted.

    Attributes
    ----------
    outputs : ndarray
        As the method of `kerasnsoc.Model` returns them, in the order of the inputs.
    statistics : dict of str to LayerTotals
        By layer, over all samples; `kerasnsoc.energy_of_run` and `kerasnsoc.compare_devices` take
        it.
    workers : dict of str to int
        Samples of each worker, by ``host:process``.
    """

    outputs: npt.NDArray[Any]
    statistics: dict[str, LayerTotals]
    workers: dict[str, int]


def run(
    model: Network,
    inputs: npt.NDArray[Any],
    *,
    method: Method = "predict",
    num_classes: int | None = None,
    batch_size: int = 256,
    workers: int = 2,
    threads: int = 1,
) -> DistributedRun:
    """Run an array on the workers of a Ray cluster.

    Each worker loads the network once. A batch whose worker is lost is run again by another;
    outputs and counts are those of `kerasnsoc.Model` in one process, whatever happens.

    Parameters
    ----------
    model : Model or path
        Travels to the workers as the bytes of an artifact; they need no shared disk.
    inputs : ndarray of integers
        As for the method. For more than fits into memory see `map_dataset`.
    method : {"predict", "forward", "evaluate"}
        Of `kerasnsoc.Model`.
    num_classes : int, optional
        For ``predict``.
    batch_size : int
        Samples that a worker takes at a time.
    workers : int
        Processes; Ray places them where processors are free.
    threads : int
        Of each worker, and the processors that it asks Ray for.

    Returns
    -------
    DistributedRun

    Raises
    ------
    ImportError
        If Ray is missing; the message names the extra.
    TypeError, ValueError
        As the method raises them; also if an option is out of its range.
    ray.exceptions.RayError
        If something fails in a worker, such as a potential that leaves 32 bits.

    Notes
    -----
    Without a call of ``ray.init`` before, Ray connects to the cluster that the environment
    variable ``RAY_ADDRESS`` names, or starts one on this machine.
    """
    data = require_ray_data()
    options = checked_options(method, num_classes, batch_size, workers, threads)
    artifact = artifact_bytes(model)
    array = np.asarray(inputs)
    network = check_inputs(artifact, array)
    getattr(network, method)(array[:1], **options)  # a wrong option is refused before workers start
    dataset = mapped(
        as_dataset(data, array, batch_size),
        Runner,
        (artifact, method, options, ("inputs", "outputs"), threads, True),
        batch_size,
        min(workers, -(-len(array) // batch_size)),  # Ray warns of workers without work
        threads,
    )
    places, parts, counts = [], [], []
    names: Counter[str] = Counter()
    for batch in dataset.iter_batches(batch_size=None, batch_format="numpy"):
        places.append(batch["index"])
        parts.append(batch["outputs"])
        counts += [text for text in batch["counts"].tolist() if text]
        names.update(batch["worker"].tolist())
    order = np.concatenate(places)
    joined = np.concatenate(parts)
    outputs = np.empty_like(joined)
    outputs[order] = joined
    return DistributedRun(outputs, add_counts(counts), dict(names))


def map_dataset(
    dataset: Dataset,
    model: Network,
    *,
    inputs: str = "inputs",
    outputs: str = "outputs",
    method: Method = "predict",
    num_classes: int | None = None,
    batch_size: int = 256,
    workers: int = 2,
    threads: int = 1,
) -> Dataset:
    """Add a network's outputs to a dataset of Ray, for instance one that is read from files.

    Nothing runs before the dataset is read or written; it may be larger than memory.

    Parameters
    ----------
    dataset : ray.data.Dataset
    model : Model or path
    inputs : str
        Column of samples: arrays of integers of one shape, without the batch axis.
    outputs : str
        Column that is added.
    method, num_classes, batch_size, workers, threads
        As for `run`.

    Returns
    -------
    ray.data.Dataset

    Raises
    ------
    ImportError
        If Ray is missing.
    ValueError
        If an option is out of its range.

    Examples
    --------
    A folder of Parquet files in, a folder of Parquet files out:

    >>> import ray.data  # doctest: +SKIP
    >>> images = ray.data.read_parquet("images")  # doctest: +SKIP
    >>> named = map_dataset(images, "net.h5", inputs="pixels")  # doctest: +SKIP
    >>> named.drop_columns(["pixels"]).write_parquet("classes")  # doctest: +SKIP
    """
    require_ray_data()
    options = checked_options(method, num_classes, batch_size, workers, threads)
    if inputs == outputs:
        raise ValueError(f"inputs and outputs are both {inputs!r}, but must be two columns")
    arguments = (artifact_bytes(model), method, options, (inputs, outputs), threads, False)
    return mapped(dataset, Runner, arguments, batch_size, workers, threads)


def mapped(
    dataset: Any, actor: type, arguments: tuple[Any, ...], batch_size: int, workers: int, cpus: int
) -> Any:
    """The dataset behind a pool of actors, which Ray restarts as often as they die."""
    data = require_ray_data()
    return dataset.map_batches(
        actor,
        fn_constructor_args=arguments,
        batch_size=batch_size,
        batch_format="numpy",
        compute=data.ActorPoolStrategy(size=workers),
        num_cpus=cpus,
    )


def as_dataset(data: Any, inputs: npt.NDArray[Any], batch_size: int) -> Any:
    """An array as a dataset of the columns ``index`` and ``inputs``, one block for each batch."""
    from ray.data.extensions import ArrowTensorArray

    arrow = require("pyarrow", "distributed")
    tables = [
        arrow.table(
            {
                "index": np.arange(start, min(start + batch_size, len(inputs))),
                "inputs": ArrowTensorArray.from_numpy(
                    np.ascontiguousarray(inputs[start : start + batch_size])
                ),
            }
        )
        for start in range(0, len(inputs), batch_size)
    ]
    return data.from_arrow(tables)


def check_inputs(artifact: bytes, inputs: npt.NDArray[Any]) -> Model:
    """The network, once all samples are known to be what it takes.

    Here, since an error that a worker raises arrives as one of Ray.
    """
    network = Model(serialized_buffer=artifact)
    if inputs.ndim and not len(inputs):
        raise ValueError(f"inputs has shape {inputs.shape}, but must hold at least one sample")
    check = as_rows if network.time_step is None else as_sequences
    check(inputs, network.layers[0])
    return network


def checked_options(
    method: Method, num_classes: int | None, batch_size: int, workers: int, threads: int
) -> dict[str, Any]:
    """Further arguments of the method, once all options are in their range."""
    for name, value in {"batch_size": batch_size, "workers": workers, "threads": threads}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}, but must be an integer of at least 1")
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}, but must be one of {get_args(Method)}")
    if num_classes is not None and method != "predict":
        raise ValueError(f"num_classes is for the method 'predict', not for {method!r}")
    return {} if num_classes is None else {"num_classes": num_classes}


def artifact_bytes(model: Network) -> bytes:
    """What the workers load; checked here, where an error is read first."""
    return (model if isinstance(model, Model) else Model(os.fspath(model))).to_buffer()


def require_ray_data() -> Any:
    """The module `ray.data`; a missing part of it names the extra."""
    require("ray", "distributed")
    require("pyarrow", "distributed")
    return require("ray.data", "distributed")
