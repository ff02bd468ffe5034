"""Single trainings of a model file: train, tune, evaluate."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import keras

from kerasnsoc._version import __version__
from kerasnsoc.artifact.atomic import write_atomically
from kerasnsoc.conversion import convert
from kerasnsoc.quantization import load_quantized_model, quantize_layer
from kerasnsoc.training.filter_pruning import prune_model
from kerasnsoc.training.schedules import freeze_model_before
from kerasnsoc.zoo.recipes.fitting import (
    Echo,
    conversion_of,
    fit,
    measure,
    measure_integer,
    measure_records,
)
from kerasnsoc.zoo.recipes.identity import described
from kerasnsoc.zoo.recipes.options import checked_save_path
from kerasnsoc.zoo.recipes.task import Data, Task

_JUDGED = 2000
"""Training samples that say whether a candidate is accepted; a tenth of it for detectors."""


def train_file(
    task: Task,
    data: Data,
    model_path: Path,
    save_path: Path,
    *,
    action: Literal["train", "tune"],
    epochs: int,
    batch: int | None = None,
    rate: float | None = None,
    first_epoch: int = 0,
    freeze_before: str | None = None,
    teacher: Path | None = None,
    last_bits: int | None = None,
    seed: int = 1,
    echo: Echo = print,
) -> dict[str, Any]:
    """Train the model of a file and save it, with the results as JSON beside.

    The state after each epoch lies in ``<save_path>.backup``: the same call goes on after an
    interruption. A backup of another call, or of the same with other data, is removed. A
    distillation goes on with the weights alone, its optimizer starts anew.

    Parameters
    ----------
    task : Task
    data : Data
    model_path, save_path : Path
        May be the same.
    action : {"train", "tune"}
        Which schedule of the task is taken.
    epochs, batch, rate : int, int, float
        Defaults of batch and rate are those of the task.
    first_epoch : int
        Where to begin in the schedule, for a model that has learned before; `epochs` is its end.
    freeze_before : str, optional
        Layers before this one do not learn.
    teacher : Path, optional
        A model with outputs like those of the trained one, for distillation of a network that
        tells two classes or more apart.
    last_bits : int, optional
        Bits that the task's last activation gets first, 1 to 8.
    seed : int
    echo : callable

    Returns
    -------
    dict
        The content of ``<save_path>.json``.

    Raises
    ------
    ValueError
        If the task has no last activation to quantize, or the model not the one it names, no
        epoch is left, the rate is not positive, or a teacher has nothing to teach.

    Notes
    -----
    Detectors are measured on the held-out part after every fourth epoch, and training ends when its
    loss has not fallen for ten. Of ImageNet, the epoch with the best validation accuracy is kept.
    """
    if not 0 <= first_epoch < epochs:
        raise ValueError(
            f"first_epoch is {first_epoch}, but of {epochs} epochs it must be 0 to {epochs - 1}"
        )
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise ValueError(f"rate is {rate}, but must be a finite number above 0")
    save_path = checked_save_path(save_path)
    model = load_quantized_model(model_path, compile=False)
    if teacher is not None:
        _check_learner(model, task)
    if last_bits is not None:
        if not task.last_activation:
            raise ValueError(
                f"the recipe {task.name!r} has no last activation with bits of its own. Leave out "
                "last_bits, or use quantize_layer."
            )
        model = quantize_layer(model, task.last_activation, last_bits)
    learned = [layer.trainable for layer in model.layers]
    if freeze_before is not None:
        freeze_model_before(model, freeze_before)
    schedule = task.train if action == "train" else task.tune
    if rate is not None:
        schedule = replace(schedule, rate=rate, low=min(schedule.low, rate))
    batch = batch or schedule.batch or task.batch
    plan = {
        "task": task.name,
        "action": action,
        "model": str(model_path),
        "epochs": epochs,
        "initial_epoch": first_epoch,
        "batch_size": batch,
        "learning_rate": schedule.rate,
        "freeze_before": freeze_before,
        "teacher": None if teacher is None else str(teacher),
        "last_activ_quantization": last_bits,
        "seed": seed,
        **described(data),
    }
    backup = save_path.with_name(f"{save_path.name}.backup")
    _keep_or_remove(backup, plan, echo)
    started = time.monotonic()
    fit(
        model,
        task,
        data,
        epochs,
        schedule,
        batch=batch,
        seed=seed,
        backup=backup / "epochs",
        teacher=None if teacher is None else load_quantized_model(teacher, compile=False),
        first_epoch=first_epoch,
        best=backup / "best",
        echo=echo,
    )
    for layer, trainable in zip(model.layers, learned, strict=True):
        layer.trainable = trainable
    values = _measured(model, task, data)
    model.save(save_path)
    result = {
        **plan,
        "saved": str(save_path),
        "metric": task.metric,
        **values,
        "dataset": data.name,
        "split": data.split,
        "seconds": round(time.monotonic() - started, 1),
        "versions": {
            "kerasnsoc": __version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }
    write_atomically(f"{save_path}.json", (json.dumps(result, indent=2) + "\n").encode())
    shutil.rmtree(backup, ignore_errors=True)
    echo(f"{task.metric} {values['value']:.4f}; saved as {save_path}")
    return result


def _check_learner(model: keras.Model, task: Task) -> None:
    if task.kind != "classes":
        raise ValueError(
            f"a teacher needs a network that tells classes apart, but {task.name!r} finds "
            f"{task.finds}. Leave the teacher out."
        )
    if model.output_shape[-1] == 1:
        raise ValueError(
            f"model {model.name!r} has one output, but a teacher compares the outputs of two "
            "classes or more. Leave the teacher out."
        )


def _measured(model: Any, task: Task, data: Data) -> dict[str, float]:
    """The task's metric of a Keras model or of an integer network, and what comes with it."""
    if data.records is not None:
        values = measure_records(model, data)
        return {"value": values["accuracy"], "top_5": values["top_5"]}
    measured = measure if isinstance(model, keras.Model) else measure_integer
    return {"value": measured(model, task, data)}


def prune_file(
    task: Task,
    data: Data,
    model_path: Path,
    save_path: Path,
    *,
    loss: float = 0.01,
    echo: Echo = print,
) -> dict[str, Any]:
    """Delete filters of the model in a file as long as its metric hardly suffers.

    A candidate is judged on a part of the training data, so that the held-out part stays unseen.

    Parameters
    ----------
    task : Task
    data : Data
    model_path, save_path : Path
        May be the same. Batch normalizations are folded in the saved model.
    loss : float
        What the metric may lose at most: a share for accuracy and mAP, the unit of the numbers for
        a mean absolute error.
    echo : callable

    Returns
    -------
    dict
        Metrics on the held-out part, parameters, and the deleted share of each layer.

    Raises
    ------
    ValueError
        If `loss` is negative.
    RuntimeError
        If the model is no chain of layers.
    """
    if data.records is not None:
        raise ValueError("pruning looks at samples in memory; use prune_model for ImageNet")
    if not loss >= 0:
        raise ValueError(f"loss is {loss}, but must not be negative")
    save_path = checked_save_path(save_path)
    model = load_quantized_model(model_path, compile=False)
    judged = replace(
        data,
        test_x=data.train_x[:_JUDGED],
        test_y=data.train_y[:_JUDGED],
        detection=data.detection
        and {**data.detection, "test": data.detection["train"][: _JUDGED // 10]},
    )
    sign = -1 if task.kind == "number" else 1
    start = measure(model, task, judged)

    def accept(_: keras.Model, candidate: keras.Model) -> bool:
        return sign * (start - measure(candidate, task, judged)) <= loss

    pruned, rates = prune_model(model, accept, verbose=False)
    pruned.save(save_path)
    result = {
        "task": task.name,
        "model": str(model_path),
        "saved": str(save_path),
        "metric": task.metric,
        "before": measure(model, task, data),
        "after": measure(pruned, task, data),
        "parameters_before": model.count_params(),
        "parameters_after": pruned.count_params(),
        "deleted": rates,
        "dataset": data.name,
        "split": data.split,
    }
    echo(
        f"{task.metric} {result['before']:.4f} → {result['after']:.4f}, parameters "
        f"{model.count_params():,} → {pruned.count_params():,}; saved as {save_path}"
    )
    return result


def evaluate_file(
    task: Task, data: Data, model_path: Path, *, on_runtime: bool = False
) -> dict[str, Any]:
    """The task's metric of a model file, in Keras or on integers.

    Parameters
    ----------
    task : Task
    data : Data
    model_path : Path
        A Keras model, or an artifact, which always runs on integers.
    on_runtime : bool
        Convert the Keras model first.
    """
    from kerasnsoc.runtime import Model

    with open(model_path, "rb") as file:
        is_artifact = file.read(5) == b"KNSOC"
    model: Any = (
        Model(model_path) if is_artifact else load_quantized_model(model_path, compile=False)
    )
    if on_runtime and not is_artifact:
        model = convert(model, **conversion_of(model, task))
    return {
        "task": task.name,
        "model": str(model_path),
        "runs_on": "integers" if is_artifact or on_runtime else "Keras",
        "metric": task.metric,
        **_measured(model, task, data),
        "dataset": data.name,
        "split": data.split,
    }


def _keep_or_remove(backup: Path, plan: dict[str, Any], echo: Echo) -> None:
    note = backup / "plan.json"
    if note.exists():
        if json.loads(note.read_text(encoding="utf-8")) == plan:
            echo(f"going on from {backup}")
            return
        echo(f"{backup} belongs to another training and is removed")
    shutil.rmtree(backup, ignore_errors=True)
    backup.mkdir(parents=True)
    write_atomically(str(note), json.dumps(plan).encode())
