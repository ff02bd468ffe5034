"""Whether a network and the data of a recipe belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerasnsoc.zoo.recipes.task import Data, Task

if TYPE_CHECKING:
    import keras


def check_input(model: keras.Model, task: Task, data: Data) -> None:
    """Refuse a network for inputs of another shape; records and boxes are scaled to the network.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if data.records is not None or task.kind == "boxes":
        return
    wanted, given = tuple(model.input_shape[1:]), data.train_x.shape[1:]
    if len(wanted) != len(given) or any(
        a not in (None, b) for a, b in zip(wanted, given, strict=True)
    ):
        raise ValueError(
            f"model {model.name!r} takes inputs of shape {wanted}, but the data of {task.name!r} "
            f"({data.name}) have {given}. Build a network for these, see `kerasnsoc create`."
        )


def check_outputs(count: int, task: Task, data: Data, *, is_training: bool) -> None:
    """Refuse a network with another number of outputs than the data have classes.

    Behind a training, the outputs of invented classes may be gone.

    Raises
    ------
    ValueError
        If the numbers differ.
    """
    if task.kind != "classes" or data.records is not None:
        return
    classes = len(data.classes)
    if count != classes and (is_training or count != len(data.real_classes)):
        raise ValueError(
            f"the network has {count} outputs, but the data of {task.name!r} ({data.name}) have "
            f"{classes} classes. Build one with as many outputs (`kerasnsoc create`, option -c) "
            f"and train it with `kerasnsoc train {task.name} train -m FILE`."
        )
