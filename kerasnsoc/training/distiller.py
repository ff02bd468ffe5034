"""Knowledge distillation [1]_: a small student learns the outputs of a large teacher.

.. [1] G. Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, 2015.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasnsoc")
class KLDistillationLoss(keras.losses.Loss):
    """Kullback-Leibler divergence between the softened outputs of teacher and student.

    With ``p = softmax(teacher / T)`` and ``q = softmax(student / T)`` over the last axis, a sample
    costs ``sum(p * (log p - log q))``; the loss of a batch is the mean. There is no factor T².

    Parameters
    ----------
    temperature : float
        T, above 0; larger values soften the distributions.

    Raises
    ------
    ValueError
        If the temperature is not above 0.

    Notes
    -----
    Called as ``loss(teacher_logits, student_logits)``. Both models must return logits: behind a
    softmax the loss is a valid number, but the student learns little from it.

    `keras.distillation` has a similar loss with a factor T², a teacher that comes first and a
    default weight of 0.5: weights of recipes do not carry over.
    """

    def __init__(
        self,
        temperature: float = 3,
        reduction: str = "sum_over_batch_size",
        name: str = "kl_distillation",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not temperature > 0:
            raise ValueError(
                f"temperature is {temperature!r}, but it must be a number above 0, such as 3"
            )
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        teacher = ops.log_softmax(ops.convert_to_tensor(y_true) / self.temperature, axis=-1)
        student = ops.log_softmax(ops.convert_to_tensor(y_pred) / self.temperature, axis=-1)
        return ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


class Distiller(keras.Model):
    """Trains a student on labels and on the outputs of a teacher.

    Parameters
    ----------
    student : keras.Model
        What is trained, saved, loaded and summarized.
    teacher : keras.Model
        Called for inference only. It is frozen (``trainable = False``) and stays so.

    Notes
    -----
    Training minimizes ``alpha * student_loss + (1 - alpha) * distillation_loss`` plus the student's
    own regularization, and logs `student_loss`, `distillation_loss` and `loss`. Evaluation does not
    call the teacher: its `loss` is the student's.

    Examples
    --------
    ``distiller = Distiller(student, teacher)``, then
    ``distiller.compile("adam", ["accuracy"], loss, KLDistillationLoss(10), alpha=0.1)`` and
    ``distiller.fit(x, y)``; the trained model is ``distiller.student``.
    """

    def __init__(self, student: keras.Model, teacher: keras.Model) -> None:
        super().__init__(name=f"{student.name}_distiller")
        self.student = student
        self.teacher = teacher
        teacher.trainable = False
        self.alpha = 0.1
        self._student_loss: Any = None
        self._distillation_loss: Any = None
        self._student_tracker = keras.metrics.Mean(name="student_loss")
        self._distillation_tracker = keras.metrics.Mean(name="distillation_loss")
        self._is_training = True
        self.built = student.built and teacher.built  # has no variables of its own

    def compile(
        self,
        optimizer: Any,
        metrics: Any,
        student_loss_fn: Any,
        distillation_loss_fn: Any,
        alpha: float = 0.1,
        **kwargs: Any,
    ) -> None:
        """Set what training needs.

        Parameters
        ----------
        optimizer, metrics
            As for `keras.Model.compile`; metrics compare labels and the student's outputs.
        student_loss_fn : keras.losses.Loss, str or callable
            ``(labels, student outputs)``.
        distillation_loss_fn : keras.losses.Loss, str or callable
            ``(teacher outputs, student outputs)``, usually `KLDistillationLoss`.
        alpha : float
            Weight of the student loss, 0 to 1.
        **kwargs
            Go to `keras.Model.compile`, such as ``jit_compile``.

        Raises
        ------
        ValueError
            If alpha is out of range.
        """
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha!r}, but the weight of a loss must be 0 to 1")
        super().compile(optimizer=optimizer, metrics=metrics, **kwargs)
        self.alpha = alpha
        self._student_loss = _as_loss(student_loss_fn)
        self._distillation_loss = _as_loss(distillation_loss_fn)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.student(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        # Which metrics are shown; the trainers ask for them right after the loss.
        self._is_training = bool(training)
        # Before the teacher is called: it is frozen and has not run, so these losses are all of the
        # student. `student.losses` would miss its activity regularization under JAX.
        regularization = list(self.losses)
        loss = self._student_loss(y, y_pred, sample_weight=sample_weight)
        self._student_tracker.update_state(loss)
        if training:
            target = ops.stop_gradient(self.teacher(x, training=False))
            if target.shape[1:] != y_pred.shape[1:]:
                raise ValueError(
                    f"the teacher {self.teacher.name!r} returns the shape "
                    f"{tuple(target.shape[1:])}, but the student {self.student.name!r} "
                    f"{tuple(y_pred.shape[1:])}. Give both the same outputs."
                )
            distillation = self._distillation_loss(target, y_pred, sample_weight=sample_weight)
            self._distillation_tracker.update_state(distillation)
            loss = self.alpha * loss + (1 - self.alpha) * distillation
        for term in regularization:
            loss = loss + ops.sum(term)
        return loss

    def get_metrics_result(self) -> dict[str, Any]:
        results = dict(super().get_metrics_result())
        if not self._is_training:
            results.pop(self._distillation_tracker.name, None)
        return results

    def save(self, filepath: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Save the student."""
        self.student.save(filepath, *args, **kwargs)

    def save_weights(self, filepath: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Save the student's weights."""
        self.student.save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Load the student's weights."""
        self.student.load_weights(filepath, *args, **kwargs)

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Print the layers of the student."""
        self.student.summary(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """A pair of models has no configuration.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(
            "a Distiller is not serialized: save the student with distiller.save(path), and make "
            "a new Distiller of student and teacher"
        )


class _FunctionLoss(keras.losses.Loss):
    """A plain function as a loss that knows weights and the mean."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(name="function_loss")
        self._function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self._function(y_true, y_pred)


def _as_loss(loss: Any) -> keras.losses.Loss:
    found = keras.losses.get(loss)
    return found if isinstance(found, keras.losses.Loss) else _FunctionLoss(found)
