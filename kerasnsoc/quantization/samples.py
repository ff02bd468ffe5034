"""Example data in every form that Keras users have it, as one array of inputs and one of labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs of a model, with labels where there are any.

    Attributes
    ----------
    inputs : ndarray, shape (samples, …)
    labels : ndarray, shape (samples, …), or None
    """

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int) -> Iterator[npt.NDArray[Any]]:
        """Inputs, `size` samples at a time."""
        for start in range(0, len(self.inputs), size):
            yield self.inputs[start : start + size]


def read_samples(data: Any, model: keras.Model) -> Samples:
    """Read data once, completely.

    Parameters
    ----------
    data : array, tuple (inputs, labels), or iterable of batches
        A batch is an array of inputs or a tuple ``(inputs, labels)``. A `keras.utils.PyDataset`,
        a finite ``tf.data.Dataset``, a list or a generator of batches are such iterables.
    model : keras.Model
        Says which shape the inputs have.

    Raises
    ------
    TypeError
        If the data have none of these forms.
    ValueError
        If there are no samples, they have another shape than the model's input, are not finite,
        have another number of labels, come with sample weights, or never end.
    """
    pieces = [_split(batch) for batch in _batches(data)]
    if not pieces:
        raise ValueError("data holds no batches. Pass at least one sample.")
    with_labels = [labels is not None for _, labels in pieces]
    if any(with_labels) and not all(with_labels):
        raise ValueError(
            f"batch {with_labels.index(not with_labels[0])} of data differs from the first one in "
            "having labels or not. Give every batch labels, or none."
        )
    for index, (inputs, _) in enumerate(pieces):
        _check_shape(index, inputs, model)
    inputs = np.concatenate([inputs for inputs, _ in pieces])
    inputs = inputs.astype(keras.backend.standardize_dtype(model.inputs[0].dtype), copy=False)
    if not len(inputs):
        raise ValueError("data holds no samples. Pass at least one.")
    if not np.isfinite(inputs).all():
        index = int(np.argwhere(~np.isfinite(inputs))[0][0])
        raise ValueError(f"sample {index} of data is not finite. Remove or mend it.")
    labels = np.concatenate([y for _, y in pieces if y is not None]) if all(with_labels) else None
    return Samples(inputs, labels)


def check_batch_size(batch_size: int) -> int:
    """The batch size, or ValueError."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}, but must be an integer from 1 on.")
    return batch_size


def _batches(data: Any) -> Iterable[Any]:
    if isinstance(data, tuple) or _is_array(data):
        return [data]
    if isinstance(data, keras.utils.PyDataset):
        count = data.num_batches
        if count is None:
            raise ValueError("data never ends: the PyDataset has no length. Define its __len__.")
        return (data[index] for index in range(count))
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise TypeError(
            f"data is of type {type(data).__name__}, but must be an array, a tuple (inputs, "
            "labels), or an iterable of such batches."
        )
    cardinality = getattr(data, "cardinality", None)
    if callable(cardinality) and int(cardinality()) == -1:  # what TensorFlow says for repeat()
        raise ValueError("data never ends: the data set repeats. Pass data.take(n).")
    return data


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _split(batch: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    if not isinstance(batch, tuple | list):
        return _array(batch), None
    if not 1 <= len(batch) <= 2:
        weights = " Sample weights are not supported." if len(batch) == 3 else ""
        raise ValueError(
            f"a batch of data has {len(batch)} parts, but must be an array of inputs or a tuple "
            f"(inputs, labels).{weights}"
        )
    inputs = _array(batch[0])
    if len(batch) == 1 or batch[1] is None:
        return inputs, None
    labels = _array(batch[1])
    if len(inputs) != len(labels):
        raise ValueError(
            f"data has {len(inputs)} inputs but {len(labels)} labels in one batch. Give one label "
            "per input."
        )
    return inputs, labels


def _array(value: Any) -> npt.NDArray[Any]:
    if not _is_array(value) and not np.isscalar(value) and not isinstance(value, list | tuple):
        raise TypeError(
            f"a batch of data is of type {type(value).__name__}, but must be an array of inputs or "
            "a tuple (inputs, labels)."
        )
    array = np.asarray(keras.ops.convert_to_numpy(value) if _is_array(value) else value)
    if array.ndim == 0 or array.dtype.kind not in "buif":
        raise ValueError(
            f"a batch of data has shape {array.shape} and dtype {array.dtype}, but must be an "
            "array of numbers with one row per sample. Single samples: batch the data."
        )
    return array


def _check_shape(index: int, inputs: npt.NDArray[Any], model: keras.Model) -> None:
    expected = tuple(model.inputs[0].shape[1:])
    found = inputs.shape[1:]
    fits = len(expected) == len(found) and all(
        e is None or e == f for e, f in zip(expected, found, strict=True)
    )
    if not fits:
        unbatched = " It is a single sample: batch the data." if inputs.shape == expected else ""
        raise ValueError(
            f"batch {index} of data has shape {inputs.shape}, but the input of model "
            f"{model.name!r} is (samples, {', '.join(map(str, expected))}).{unbatched}"
        )
