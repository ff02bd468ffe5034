"""Learning rates that follow a plan, and which layers learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops


class CyclicLR(keras.callbacks.Callback):
    """A learning rate that rises and falls in triangles, batch by batch [1]_.

    Parameters
    ----------
    base_lr, max_lr : float
        Ends of the triangle, above 0.
    step_size : int
        Batches of half a cycle.
    mode : {"triangular", "triangular2", "exp_range"}
        Whether the height of the triangles stays, halves with each cycle, or shrinks by `gamma`
        with each batch.
    gamma : float
        For ``"exp_range"``.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Batches are counted by the optimizer, so that a resumed training goes on where it was. The rate
    of the last batch is `lr` in the logs.

    References
    ----------
    .. [1] L. Smith, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186, 2017.
    """

    def __init__(
        self,
        base_lr: float = 1e-3,
        max_lr: float = 6e-3,
        step_size: int = 2000,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < base_lr <= max_lr:
            raise ValueError(
                f"base_lr is {base_lr!r} and max_lr is {max_lr!r}, but 0 < base_lr <= max_lr"
            )
        if step_size < 1:
            raise ValueError(f"step_size is {step_size!r}, but half a cycle takes at least 1 batch")
        if mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError(
                f"mode is {mode!r}, but it must be 'triangular', 'triangular2' or 'exp_range'"
            )
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma is {gamma!r}, but it must lie above 0 and not above 1")
        self.base_lr = base_lr
        self.max_lr = max_lr
        self.step_size = step_size
        self.mode = mode
        self.gamma = gamma
        self._rate = base_lr

    def rate(self, iteration: int) -> float:
        """The learning rate of a batch, counted from 0."""
        cycle = math.floor(1 + iteration / (2 * self.step_size))
        height = max(0.0, 1 - abs(iteration / self.step_size - 2 * cycle + 1))
        if self.mode == "triangular2":
            height /= 2.0 ** (cycle - 1)
        elif self.mode == "exp_range":
            height *= self.gamma**iteration
        return self.base_lr + (self.max_lr - self.base_lr) * height

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        optimizer = self.model.optimizer
        self._rate = self.rate(int(ops.convert_to_numpy(optimizer.iterations)))
        optimizer.learning_rate = self._rate

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["lr"] = self._rate

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["lr"] = self._rate


def constant_then_exponential(
    epochs: int, start: float, end: float, constant_epochs: int
) -> Callable[[int], float]:
    """A rate that stays for some epochs and then falls exponentially.

    Parameters
    ----------
    epochs : int
        Of the whole training, at least 1; the last one has the rate `end`.
    start, end : float
        Above 0.
    constant_epochs : int
        Epochs at `start`; with as many as `epochs`, or more, the rate never falls.

    Returns
    -------
    callable
        ``epoch -> rate``, for `keras.callbacks.LearningRateScheduler`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    if epochs < 1 or constant_epochs < 0:
        raise ValueError(
            f"epochs is {epochs!r} and constant_epochs is {constant_epochs!r}, but they must be at "
            f"least 1 and 0"
        )
    if not (start > 0 and end > 0):
        raise ValueError(f"start is {start!r} and end is {end!r}, but rates are above 0")
    falling = epochs - constant_epochs

    def rate(epoch: int) -> float:
        done = epoch - constant_epochs + 1
        if done <= 0 or falling <= 0:
            return float(start)
        if done >= falling:
            return float(end)
        return start * (end / start) ** (done / falling)

    return rate


def freeze_model_before(model: keras.Model, layer_name: str) -> None:
    """Stop training of all layers before one, which itself keeps learning.

    Parameters
    ----------
    model : keras.Model
        Modified: layers before the named one in ``model.layers`` get ``trainable = False``. Compile
        it afterwards.
    layer_name : str

    Raises
    ------
    ValueError
        If there is no such layer; nothing is frozen then.
    """
    names = [layer.name for layer in model.layers]
    if layer_name not in names:
        raise ValueError(
            f"model {model.name!r} has no layer {layer_name!r}; it has {', '.join(names)}"
        )
    for layer in model.layers[: names.index(layer_name)]:
        layer.trainable = False
