"""One training that can be resumed, and the metric of a network in float or on integers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt

from kerasnsoc.training.distiller import Distiller, KLDistillationLoss
from kerasnsoc.training.schedules import CyclicLR, constant_then_exponential
from kerasnsoc.zoo.imagenet.rescaling import rescale_model
from kerasnsoc.zoo.recipes.suitability import check_input, check_outputs
from kerasnsoc.zoo.recipes.task import Data, Schedule, Task
from kerasnsoc.zoo.recipes.variations import random_squares

if TYPE_CHECKING:
    from kerasnsoc.runtime import Model

Echo = Callable[[str], None]

_SHORT_STEPS = 5000
_SHORT_MOMENTUM = 0.9
_LABELS, _TEMPERATURE = 0.1, 10.0
"""Weight of the labels beside a teacher, and its temperature, as published for `gxnor_mnist`."""

_MEASURED = 64
_MAP_PERIOD, _LEAST_GAIN, _PATIENCE = 4, 1e-3, 10
"""Of single trainings of detectors: epochs between measurements, and when to stop early."""


class Batches(keras.utils.PyDataset):
    """Batches of real inputs made from integers, shuffled and varied anew in each epoch.

    Works with every backend; only one batch is held as floats.
    """

    def __init__(
        self,
        x: npt.NDArray[Any],
        y: npt.NDArray[Any],
        batch: int,
        scaling: tuple[float, float],
        augment: Any = None,
        seed: int | None = None,
        crop: int | None = None,
        mix: Any = None,
    ) -> None:
        super().__init__()
        self._x, self._y, self._batch = x, y, batch
        self._mix = mix
        self._same = (
            [] if mix is None else [np.flatnonzero(y == c) for c in range(int(y.max()) + 1)]
        )
        self._scaling = scaling
        self._augment = augment
        self._seed = seed
        self._crop = crop
        self._epoch = 0
        self._order = np.arange(len(x))
        self._shuffle()

    def _shuffle(self) -> None:
        if self._seed is not None:
            rng = np.random.default_rng([self._seed, self._epoch])
            self._order = rng.permutation(len(self._x))

    def __len__(self) -> int:
        return -(-len(self._x) // self._batch)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        x = self._x[chosen]
        rng = np.random.default_rng([self._seed or 0, self._epoch, index])
        if self._mix is not None:
            same = [self._same[label] for label in self._y[chosen]]
            others = [clips[rng.integers(len(clips))] for clips in same]
            x = self._mix(x, self._x[others], rng)
        if self._augment is not None:
            x = self._augment(x, rng)
        if self._crop is not None:
            x = random_squares(x, self._crop, rng)
        return reals(x, self._scaling), self._y[chosen]

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._shuffle()


def reals(x: npt.NDArray[Any], scaling: tuple[float, float]) -> npt.NDArray[np.float32]:
    """The network's real input of integers: ``(x - b) / a``."""
    scale, shift = scaling
    return (x.astype(np.float32) - np.float32(shift)) / np.float32(scale)


def has_rescaling(model: keras.Model) -> bool:
    """Whether the network scales raw integers itself."""
    return any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)


def scaling_of(model: keras.Model, task: Task) -> tuple[float, int]:
    """From the network's input to integers; ``(1, 0)`` if it takes integers."""
    return (1.0, 0) if has_rescaling(model) else task.scaling


def conversion_of(model: keras.Model, task: Task) -> dict[str, Any]:
    """Arguments of `convert` and `freeze`."""
    scaling = None if has_rescaling(model) else task.scaling
    return {"input_scaling": scaling, "input_is_sparse": task.is_events}


def fit(
    model: keras.Model,
    task: Task,
    data: Data,
    epochs: int,
    schedule: Schedule,
    *,
    batch: int,
    seed: int,
    backup: Path | None = None,
    teacher: keras.Model | None = None,
    temperature: float = _TEMPERATURE,
    crop: int | None = None,
    first_epoch: int = 0,
    best: Path | None = None,
    echo: Echo = print,
) -> None:
    """Train a network in place.

    Parameters
    ----------
    backup : Path, optional
        Folder that keeps the state after each epoch, so that the same call goes on after an
        interruption; removed at the end.
    teacher : keras.Model, optional
        For distillation, with outputs like those of the network. A softmax at the end of either
        is left out, as distillation compares what is in front of it.
    temperature : float
        Of the distillation.
    crop : int, optional
        Side of the random squares to train on, see `Step`.
    first_epoch : int
        Where to begin in the schedule.
    best : Path, optional
        The held-out part is looked at as well: a detector stops when it learns nothing more; of
        records the best epoch is kept, in this folder.
    """
    check_input(model, task, data)
    check_outputs(model.output_shape[-1], task, data, is_training=True)
    if crop is not None:
        whole, model = model, rescale_model(model, crop)
        teacher = None if teacher is None else rescale_model(teacher, crop)
    keras.utils.set_random_seed(seed)
    batches, steps = _batches(model, task, data, batch, seed, crop)
    if epochs * steps < _SHORT_STEPS:
        norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
        for layer in norms:
            layer.momentum = _SHORT_MOMENTUM
        if norms:
            echo(
                f"{epochs * steps} training steps are few: momentum of the batch normalizations "
                f"is {_SHORT_MOMENTUM}"
            )
    optimizer, callbacks = _optimizer(schedule, epochs, steps)
    if backup is not None:
        backup.mkdir(parents=True, exist_ok=True)
        callbacks.append(keras.callbacks.BackupAndRestore(str(backup)))
    learner = model if teacher is None else logits_of(model)
    trained, loss, metrics = _with_loss(learner, task, data)
    held_out = None
    if best is not None and (task.kind == "boxes" or data.records is not None):
        held_out, watching = _watched(model, task, data, batch, best)
        callbacks += watching
    if teacher is None:
        trained.compile(optimizer, loss, metrics=metrics)
    else:
        trained = Distiller(learner, logits_of(teacher))
        softened = KLDistillationLoss(temperature)
        trained.compile(optimizer, metrics, loss, softened, alpha=_LABELS)
    # a bar on a terminal, a line for each epoch in a log
    verbose = 1 if sys.stdout.isatty() else 2
    trained.fit(
        batches,
        epochs=epochs,
        initial_epoch=first_epoch,
        steps_per_epoch=None if data.records is None else steps,
        shuffle=data.records is None,  # records are shuffled where they are read
        validation_data=held_out,
        validation_steps=None if data.records is None else -(-data.records.count(False) // batch),
        callbacks=callbacks,
        verbose=verbose,
    )
    if crop is not None:
        whole.set_weights(model.get_weights())


def logits_of(model: keras.Model) -> keras.Model:
    """The network, without the softmax at its end if it has one. Layers with weights are shared."""
    layers = list(model.layers)
    shapes = []
    while isinstance(layers[-1], keras.layers.Reshape | keras.layers.Flatten):
        shapes.append(layers.pop())
    last = layers[-1]
    function = getattr(last, "activation", None)
    if not isinstance(last, keras.layers.Softmax) and function is not keras.activations.softmax:
        return model
    output = last.input
    for layer in reversed(shapes):  # made anew: a layer that is called twice has no one output
        output = layer.__class__.from_config(layer.get_config())(output)
    return keras.Model(model.input, output)


def mean_logits(models: Sequence[keras.Model]) -> keras.Model:
    """One network that answers with the mean of several of the same shapes. Layers are shared."""
    if len(models) == 1:
        return logits_of(models[0])
    image = keras.Input(models[0].input_shape[1:])
    # wrapped anew, as networks of the same name cannot stand in one
    parts = [keras.Model(model.input, logits_of(model).output)(image) for model in models]
    return keras.Model(image, keras.layers.Average()(parts))


def measure(model: keras.Model, task: Task, data: Data) -> float:
    """The task's metric on the held-out part."""
    if task.kind == "boxes":
        return _mean_average_precision(model, task, data, is_keras_model=True)
    if data.records is not None:
        return measure_records(model, data)["accuracy"]
    outputs = model.predict(
        Batches(data.test_x, data.test_y, 256, scaling_of(model, task)), verbose=0
    )
    return score(np.asarray(outputs), task, data)


def measure_integer(network: Model, task: Task, data: Data) -> float:
    """The same of a converted network."""
    if task.kind == "boxes":
        return _mean_average_precision(network, task, data, is_keras_model=False)
    if data.records is not None:
        return measure_records(network, data)["accuracy"]
    outputs = network.evaluate(as_input(data.test_x, task))
    return score(outputs.reshape(len(outputs), -1), task, data)


def measure_records(model: keras.Model | Model, data: Data) -> dict[str, float]:
    """Accuracy on the validation images: of the first class, and whether the first five hold it.

    A Keras model takes the pixels as training does, an integer network rounded ones.
    """
    from kerasnsoc.zoo.recipes.records import BEST_OF, ranks

    assert data.records is not None
    found: list[npt.NDArray[np.int64]] = []
    if isinstance(model, keras.Model):
        batches = data.records.batches(model, False, _MEASURED, is_raw=has_rescaling(model))
        for images, labels in batches:
            outputs = np.asarray(model.predict_on_batch(images))
            found.append(ranks(outputs, np.asarray(labels).reshape(-1).astype(np.int64)))
    else:
        for pixels, integers in data.records.integers(model.input_dims[0], False, _MEASURED):
            outputs = model.evaluate(pixels)
            found.append(ranks(outputs.reshape(len(pixels), -1), integers))
    places = np.concatenate(found)
    return {"accuracy": float(np.mean(places == 0)), "top_5": float(np.mean(places < BEST_OF))}


def as_input(x: npt.NDArray[Any], task: Task) -> npt.NDArray[Any]:
    """Maps of events come as (n, width, height, channels)."""
    return x.swapaxes(1, 2) if task.is_events else x


def score(outputs: npt.NDArray[Any], task: Task, data: Data) -> float:
    """The metric of outputs for the held-out part."""
    if task.kind == "number":
        return float(np.mean(np.abs(outputs.reshape(-1) - data.test_y.reshape(-1))))
    scores = outputs.reshape(len(outputs), -1)
    check_outputs(scores.shape[1], task, data, is_training=False)
    if data.invented:
        scores = scores[:, : len(data.real_classes)]
    return float(np.mean(scores.argmax(-1) == data.test_y))


def _mean_average_precision(model: Any, task: Task, data: Data, *, is_keras_model: bool) -> float:
    evaluation = _evaluation(model, task, data, is_keras_model=is_keras_model)
    return float(evaluation.evaluate_map()[0])


def _evaluation(model: Any, task: Task, data: Data, *, is_keras_model: bool = True) -> Any:
    from kerasnsoc.zoo.detection.map_evaluation import MapEvaluation

    parts = data.detection
    objects, overlaps = parts.get("thresholds", (0.5, 0.5))
    return MapEvaluation(
        model,
        parts["test"],
        data.classes,
        parts["anchors"],
        period=_MAP_PERIOD,
        obj_threshold=objects,
        nms_threshold=overlaps,
        is_keras_model=is_keras_model,
        scaling=scaling_of(model, task) if is_keras_model else None,
    )


def _batches(
    model: keras.Model, task: Task, data: Data, batch: int, seed: int, crop: int | None
) -> tuple[Any, int]:
    """What is trained on, and how many batches an epoch has."""
    batches: Any
    if data.records is not None:
        batches = data.records.batches(model, True, batch, is_raw=has_rescaling(model))
        return batches, -(-data.records.count(True) // batch)
    if task.kind == "boxes":
        batches = _boxes(model, task, data, "train", batch, seed)
    else:
        scaling = scaling_of(model, task)
        batches = Batches(
            *(data.train_x, data.train_y, batch, scaling),
            *(data.augment, seed, crop, data.mix),
        )
    return batches, len(batches)


def _boxes(model: keras.Model, task: Task, data: Data, part: str, batch: int, seed: int = 0) -> Any:
    from kerasnsoc.zoo.detection.dataset import DetectionData

    _, rows, columns, _ = model.output_shape
    return DetectionData(
        data.detection[part],
        data.classes,
        data.detection["anchors"],
        model.input_shape[1:3],
        (columns, rows),
        batch,
        is_training=part == "train",
        scaling=scaling_of(model, task),
        seed=seed,
    )


def _watched(
    model: keras.Model, task: Task, data: Data, batch: int, folder: Path
) -> tuple[Any, list[Any]]:
    """The held-out part as batches, and what looks at it after an epoch."""
    if data.records is not None:
        from kerasnsoc.zoo.recipes.records import KeepBest

        batches = data.records.batches(model, False, batch, is_raw=has_rescaling(model))
        return batches, [KeepBest(folder)]
    stop = keras.callbacks.EarlyStopping("val_loss", min_delta=_LEAST_GAIN, patience=_PATIENCE)
    return _boxes(model, task, data, "test", batch), [_evaluation(model, task, data), stop]


def _with_loss(model: keras.Model, task: Task, data: Data) -> tuple[keras.Model, Any, list[Any]]:
    """What is compiled: the network, or a detector with its outputs sorted by box."""
    if task.kind == "boxes":
        from kerasnsoc.zoo.detection.yolo_loss import YoloLoss
        from kerasnsoc.zoo.recipes.annotated import check_anchors

        check_anchors(model.output_shape[-1], data)
        anchors = data.detection["anchors"]
        _, rows, columns, _ = model.output_shape
        shape = (rows, columns, len(anchors), 5 + len(data.classes))
        output = keras.layers.Reshape(shape, name="boxes")(model.output)
        loss = YoloLoss(anchors, (columns, rows))
        return keras.Model(model.input, output, name=f"{model.name}_boxes"), loss, []
    if task.kind == "number":
        return model, keras.losses.MeanAbsoluteError(), []
    names = {layer.name for layer in model.layers}
    if "act_sigmoid" in names:
        return model, keras.losses.BinaryCrossentropy(), ["accuracy"]
    logits = "act_softmax" not in names
    return model, keras.losses.SparseCategoricalCrossentropy(from_logits=logits), ["accuracy"]


def _optimizer(schedule: Schedule, epochs: int, steps: int) -> tuple[Any, list[Any]]:
    callbacks: list[Any] = []
    rate: Any = schedule.rate
    if schedule.kind == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(schedule.rate, epochs * steps)
    elif schedule.kind == "cyclic":
        half = max(1, schedule.epochs * steps)
        callbacks.append(CyclicLR(schedule.low, schedule.rate, half, schedule.mode))  # type: ignore[arg-type]
    elif schedule.kind == "exponential":
        plan = constant_then_exponential(epochs, schedule.rate, schedule.low, schedule.epochs)
        callbacks.append(keras.callbacks.LearningRateScheduler(plan))
    if schedule.momentum:
        return keras.optimizers.SGD(rate, momentum=schedule.momentum), callbacks
    if schedule.average:
        adam = keras.optimizers.Adam(rate, use_ema=True, ema_momentum=schedule.average)
        return adam, callbacks
    return keras.optimizers.Adam(rate), callbacks
