"""A whole recipe in one folder: float training, steps of quantization, conversion, measurements."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasnsoc._version import __version__
from kerasnsoc.artifact.atomic import write_atomically
from kerasnsoc.conversion import compare, convert, freeze
from kerasnsoc.quantization import load_quantized_model, quantize, quantize_layer
from kerasnsoc.quantization.constraints import add_gamma_constraint
from kerasnsoc.runtime import Model
from kerasnsoc.training.filter_pruning import delete_filters
from kerasnsoc.zoo.recipes.fitting import (
    Echo,
    as_input,
    conversion_of,
    fit,
    mean_logits,
    measure,
    measure_integer,
)
from kerasnsoc.zoo.recipes.identity import described
from kerasnsoc.zoo.recipes.task import Data, Schedule, Step, Task

_COMPARED = 200


def run_recipe(
    task: Task,
    data: Data,
    folder: Path,
    *,
    command: str,
    seed: int = 1,
    most_epochs: int | None = None,
    echo: Echo = print,
) -> dict[str, Any]:
    """Train a network step by step, convert it and measure everything.

    Called again with the same arguments, an interrupted run goes on where it was.

    Parameters
    ----------
    task : Task
    data : Data
    folder : Path
        Gets a Keras model for each step and each further teacher, ``<name>.h5`` (the artifact),
        ``result.json`` and ``record.json`` (for the registry); made if missing.
    command : str
        The command line, which the record keeps.
    seed : int
    most_epochs : int, optional
        Upper limit of the epochs of each step, for a quick try.
    echo : callable
        Receives a line for each finished step.

    Returns
    -------
    dict
        The content of ``result.json``.

    Raises
    ------
    ValueError
        If the folder holds another run, or the same with other data.
    """
    if not data.is_for_run:
        raise ValueError(
            f"a run of {task.name!r} builds a network for other data than {data.name} (input "
            f"{data.test_x.shape[1:]}, {len(data.classes)} classes). Make one with `kerasnsoc "
            f"create`, and train it with `kerasnsoc train {task.name} train -m FILE`."
        )
    folder.mkdir(parents=True, exist_ok=True)
    plan = {
        "task": task.name,
        "key": task.key,
        "seed": seed,
        "most_epochs": most_epochs,
        "steps": [step.name for step in task.steps],
        "train_samples": len(data.train_x) or len(data.detection.get("train", ())),
        **described(data),
    }
    state = _state(folder, plan)
    model: keras.Model | None = None
    for index, step in enumerate(task.steps):
        path = folder / f"{index}_{step.name}.keras"
        if index < len(state["done"]):
            model = load_quantized_model(path, compile=False)
            echo(f"{step.name}: done before, {task.metric} {state['done'][index]['metric']:.4f}")
            continue
        started = time.monotonic()
        epochs = _epochs(step, most_epochs)
        teacher = None
        if step.teachers:
            teacher = _teacher(task, data, folder, step.teachers, seed, most_epochs, echo)
        backup = folder / f"backup_{index}"
        model = _trained(model, task, data, step, epochs, seed + index, backup, teacher, echo)
        value = measure(model, task, data)
        model.save(path)
        state["done"].append(
            {
                "step": step.name,
                "epochs": epochs,
                "metric": value,
                "seconds": round(time.monotonic() - started, 1),
            }
        )
        _write_json(folder / "state.json", state)
        echo(f"{step.name}: {task.metric} {value:.4f}")
    assert model is not None
    return _finish(model, task, data, folder, state, command, echo)


def _epochs(step: Step, most: int | None) -> int:
    return step.epochs if most is None else min(step.epochs, most)


def _trained(
    model: keras.Model | None,
    task: Task,
    data: Data,
    step: Step,
    epochs: int,
    seed: int,
    backup: Path,
    teacher: keras.Model | None,
    echo: Echo,
) -> keras.Model:
    """The network after a step."""
    keras.utils.set_random_seed(seed)
    model = _prepared(model, task, step)
    if model.input_shape[1:] != data.test_x.shape[1:]:
        raise ValueError(
            f"the recipe {task.name!r} builds a network for inputs of shape "
            f"{model.input_shape[1:]}, but the data have {data.test_x.shape[1:]}"
        )
    fit(
        model,
        task,
        data,
        epochs,
        Schedule("cosine", step.rate, average=step.average),
        batch=task.batch,
        seed=seed,
        backup=backup,
        teacher=teacher,
        temperature=step.temperature,
        crop=step.crop,
        echo=echo,
    )
    return model


def _teacher(
    task: Task,
    data: Data,
    folder: Path,
    count: int,
    seed: int,
    most_epochs: int | None,
    echo: Echo,
) -> keras.Model:
    """The mean of the run's float network and of others like it, which are trained if missing."""
    first = task.steps[0]
    paths = [folder / f"0_{first.name}.keras"]
    for k in range(1, count):
        path = folder / f"teacher_{k}.keras"
        if not path.exists():
            backup, new = folder / f"backup_teacher_{k}", folder / f"new_teacher_{k}.keras"
            epochs = _epochs(first, most_epochs)
            other = _trained(None, task, data, first, epochs, seed + k, backup, None, echo)
            other.save(new)
            new.replace(path)  # whole, or not there
            echo(f"teacher {k}: {task.metric} {measure(other, task, data):.4f}")
        paths.append(path)
    return mean_logits([load_quantized_model(path, compile=False) for path in paths])


def _state(folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    path = folder / "state.json"
    if not path.exists():
        return {"plan": plan, "done": []}
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if state.get("plan") != plan:
        raise ValueError(
            f"{folder} holds another run: {state.get('plan')}, but asked for is {plan}. Give "
            f"another folder, or remove that one."
        )
    return state


def _prepared(model: keras.Model | None, task: Task, step: Step) -> keras.Model:
    """The network of a step: built, or the one before with other bits."""
    if model is None:
        # small or negative gammas would not survive folding behind a max pooling
        model = add_gamma_constraint(task.build())
    if step.bits is not None:
        inputs, weights, activations = step.bits
        model = quantize(model, weights, activations, inputs)
        if step.last is not None:
            model = quantize_layer(model, *step.last)
    return model


def _finish(
    model: keras.Model,
    task: Task,
    data: Data,
    folder: Path,
    state: dict[str, Any],
    command: str,
    echo: Echo,
) -> dict[str, Any]:
    if data.invented:
        last = [layer for layer in model.layers if layer.weights][-1]
        count = len(data.classes)
        model = delete_filters(model, last.name, range(count - data.invented, count))
    key = f"{task.key}/{task.steps[-1].name}"
    artifact = folder / f"{key.replace('/', '_')}.h5"
    conversion = conversion_of(model, task)
    with warnings.catch_warnings():
        # a softmax does not change which class wins
        warnings.filterwarnings("ignore", "layer .* behind the last neural layer")
        convert(model, artifact, **conversion)
    network = Model(artifact)
    frozen = freeze(model, **conversion)
    value = measure_integer(network, task, data)
    frozen_value = measure(frozen, task, data)
    parity = compare(frozen, network, as_input(data.test_x[:_COMPARED], task))
    statistics = network.get_statistics()
    samples = max(s.nb_samples for s in statistics.values())
    content = artifact.read_bytes()
    done = state["done"]
    result = {
        "key": key,
        "metric": task.metric,
        "dataset": data.name,
        "split": data.split,
        "steps": done,
        "float": done[0]["metric"],
        "quantized": measure(model, task, data) if data.invented else done[-1]["metric"],
        "frozen": frozen_value,
        "integer": value,
        "activations_compared": parity.compared,
        "activations_that_differ": parity.differing,
        "sparsity": {name: round(s.output_sparsity, 4) for name, s in statistics.items()},
        "synaptic_ops": round(sum(s.synaptic_ops for s in statistics.values()) / samples, 1),
        "dense_ops": sum(s.connections for s in statistics.values()),
        "artifact": artifact.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "seconds": round(sum(step["seconds"] for step in done), 1),
        "versions": {
            "kerasnsoc": __version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "numpy": np.__version__,
        },
    }
    _write_json(folder / "result.json", result)
    _write_json(folder / "record.json", _record(task, data, result, command))
    echo(
        f"{key}: {task.metric} on integers {value:.4f}, frozen Keras {frozen_value:.4f}; "
        f"{parity.differing} of {parity.compared:,} activations differ; {len(content):,} bytes"
    )
    return result


def _record(task: Task, data: Data, result: dict[str, Any], command: str) -> dict[str, Any]:
    step = task.steps[-1]
    inputs, weights, activations = step.bits or (0, 0, 0)
    metric = task.metric.replace(" ", "_")
    return {
        "key": result["key"],
        "helper": task.helper,
        "file": result["artifact"],
        "sha256": result["sha256"],
        "bytes": result["bytes"],
        "format": "nsoc",
        "input_scaling": list(task.scaling),
        "classes": list(data.real_classes),
        "quantization": {
            "input": inputs,
            "weight": weights,
            "activation": activations,
            "last": activations if step.last is None else step.last[1],
        },
        "metrics": {
            "dataset": data.name,
            "split": data.split,
            **{f"{kind}_{metric}": result[kind] for kind in ("float", "quantized", "integer")},
            "synaptic_ops": result["synaptic_ops"],
            "dense_ops": result["dense_ops"],
        },
        "license": "Apache-2.0",
        "data_license": task.data_license,
        "origin": "trained by the kerasnsoc project",
        "recipe": command,
        "extra": data.extra,
        "urls": [],
    }


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(str(path), text.encode())
