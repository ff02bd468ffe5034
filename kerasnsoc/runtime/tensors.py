"""Arrays of events and what wraps them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Dense:
    """A thin wrapper around an array.

    Parameters
    ----------
    values : ndarray
        Kept as it is, not copied.

    Raises
    ------
    TypeError
        If `values` is no array.
    """

    def __init__(self, values: npt.NDArray[Any]) -> None:
        if not isinstance(values, np.ndarray):
            raise TypeError(f"values is a {type(values).__name__}, but must be an ndarray")
        self._values = values

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._values.size

    @property
    def type(self) -> np.dtype[Any]:
        """dtype of the elements."""
        return self._values.dtype

    def to_numpy(self) -> npt.NDArray[Any]:
        return self._values

    def __repr__(self) -> str:
        return f"Dense(shape={self.shape}, type={self.type})"


def events_to_dense(
    coords: npt.ArrayLike,
    dims: tuple[int, int, int],
    values: npt.ArrayLike | None = None,
    num_samples: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Spread a list of events over a batch of maps.

    Parameters
    ----------
    coords : array of integers, shape (events, 3) or (events, 4)
        Rows (x, y, feature), all in one sample, or (sample, x, y, feature).
    dims : tuple of int, (width, height, features)
    values : array of integers, shape (events,), optional
        0 to 255 each; 1 by default. Of events with the same coordinates the largest value stays.
    num_samples : int, optional
        By default 1 for rows of three, and one more than the largest sample for rows of four.

    Returns
    -------
    batch_nwhc : ndarray of uint8, shape (samples, width, height, features)

    Raises
    ------
    TypeError
        If coordinates or values are no integers.
    ValueError
        If a shape is wrong, or a coordinate or value is out of range; the first one is named.

    Examples
    --------
    >>> events_to_dense([(0, 1, 0), (1, 0, 0)], (2, 2, 1), values=[3, 7])[0, :, :, 0]
    array([[0, 3],
           [7, 0]], dtype=uint8)
    """
    if len(dims) != 3 or any(not isinstance(d, int | np.integer) or d < 1 for d in dims):
        raise ValueError(
            f"dims is {dims!r}, but must be three positive integers (width, height, features)"
        )
    rows = _integers("coords", coords)
    if rows.size == 0 and rows.ndim < 2:
        rows = rows.reshape(0, 3)
    if rows.ndim != 2 or rows.shape[1] not in (3, 4):
        raise ValueError(
            f"coords has the shape {rows.shape}, but must have (events, 3) or (events, 4)"
        )
    has_sample = rows.shape[1] == 4
    if num_samples is None:
        num_samples = 1
        if has_sample:
            num_samples = int(rows[:, 0].max(initial=-1)) + 1
    elif isinstance(num_samples, bool) or not isinstance(num_samples, int | np.integer):
        raise TypeError(f"num_samples is {num_samples!r}, but must be an integer")
    if num_samples < 0:
        raise ValueError(f"num_samples is {num_samples}, but must be at least 0")
    if not has_sample:
        if len(rows) and num_samples == 0:
            raise ValueError(f"num_samples is 0, but there are {len(rows)} events")
        rows = np.column_stack([np.zeros(len(rows), rows.dtype), rows])
    shape = (int(num_samples), *(int(d) for d in dims))
    for axis, (name, length) in enumerate(zip(("sample", "x", "y", "feature"), shape, strict=True)):
        wrong = (rows[:, axis] < 0) | (rows[:, axis] >= length)
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(
                f"event {first} has {name} {rows[first, axis]}, allowed are 0 to {length - 1}"
            )
    if values is None:
        levels = np.ones(len(rows), np.uint8)
    else:
        given = _integers("values", values)
        if given.shape != (len(rows),):
            raise ValueError(f"values has the shape {given.shape}, but must have {(len(rows),)}")
        wrong = (given < 0) | (given > 255)
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(f"values[{first}] is {given[first]}, allowed are 0 to 255")
        levels = given.astype(np.uint8)
    batch = np.zeros(shape, np.uint8)
    np.maximum.at(batch, tuple(rows.T), levels)
    return batch


def _integers(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.size == 0 and array.dtype.kind == "f" and not isinstance(values, np.ndarray):
        return array.astype(np.int64)  # an empty list has no dtype of its own
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has the dtype {array.dtype}, but must hold integers")
    return array
