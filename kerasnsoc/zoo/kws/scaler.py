"""From features of any range to the 8-bit integers that a converted network takes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MAXIMUM = 255


@dataclass
class FeatureScaler:
    """Maps each coefficient's range in the training set to 0 to 255.

    ``round((x - minimum) / (maximum - minimum) * 255)``, halves to even, clipped. A coefficient
    that never varied becomes 0. The Keras model takes the result divided by 255, so the input
    scaling of its conversion is ``(255, 0)``.

    Parameters
    ----------
    minimum, maximum : sequence of float, length coefficients
        Usually what `fit` finds.
    """

    minimum: npt.ArrayLike = field()
    maximum: npt.ArrayLike = field()

    def __post_init__(self) -> None:
        low, high = (np.atleast_1d(np.asarray(x, np.float64)) for x in (self.minimum, self.maximum))
        if low.shape != high.shape or low.ndim != 1 or not len(low):
            raise ValueError(
                f"minimum has shape {low.shape} and maximum {high.shape}, but both hold one number "
                "per coefficient"
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise ValueError(
                "minimum and maximum must be finite, and no minimum above its maximum, but they "
                f"are {low.tolist()} and {high.tolist()}"
            )
        self.minimum, self.maximum = low, high

    @classmethod
    def fit(cls, features: npt.ArrayLike) -> FeatureScaler:
        """Find the ranges.

        Parameters
        ----------
        features : array of float, shape (..., coefficients) or (..., coefficients, 1)
            Of the training set.

        Raises
        ------
        ValueError
            If there are no features or one is not finite.
        """
        values = np.asarray(features, np.float64)
        if values.ndim > 2 and values.shape[-1] == 1:
            values = values[..., 0]
        if values.ndim < 2 or not values.size:
            raise ValueError(
                f"features have shape {values.shape}, but (..., coefficients) with at least one "
                "row is needed"
            )
        rows = values.reshape(-1, values.shape[-1])
        return cls(rows.min(axis=0), rows.max(axis=0))

    def transform(self, features: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Integers for the features.

        Parameters
        ----------
        features : array of float, shape (..., coefficients) or (..., coefficients, 1)

        Returns
        -------
        ndarray of uint8
            Of the same shape.

        Raises
        ------
        ValueError
            If the number of coefficients is another one or a feature is not a number.
        """
        values = np.asarray(features, np.float64)
        low, high = np.asarray(self.minimum), np.asarray(self.maximum)
        if values.ndim and values.shape[-1] == len(low):
            pass
        elif values.ndim > 1 and values.shape[-2:] == (len(low), 1):
            low, high = low[:, np.newaxis], high[:, np.newaxis]
        else:
            raise ValueError(
                f"features have shape {values.shape}, but the last axis (or the one before a last "
                f"axis of 1) must have {len(low)} coefficients. Reshape flattened features first."
            )
        if np.isnan(values).any():
            raise ValueError("features hold values that are not numbers (NaN)")
        span = high - low
        # any divisor does where nothing varied: the next line sets those to 0
        shares = (values - low) / np.where(span > 0, span, 1)
        integers = np.clip(np.rint(shares * MAXIMUM), 0, MAXIMUM) * (span > 0)
        result: npt.NDArray[np.uint8] = integers.astype(np.uint8)
        return result

    def to_json(self) -> str:
        """The ranges as JSON text; `from_json` gives the same scaler again, bit by bit."""
        return json.dumps(
            {
                "minimum": np.asarray(self.minimum).tolist(),
                "maximum": np.asarray(self.maximum).tolist(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> FeatureScaler:
        """A scaler from the text that `to_json` gave.

        Raises
        ------
        ValueError
            If the text is no such JSON.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or set(content) != {"minimum", "maximum"}:
            raise ValueError(
                "the text is no scaler: an object with the members 'minimum' and 'maximum' is "
                f"needed, but it begins {text[:40]!r}"
            )
        try:
            return cls(content["minimum"], content["maximum"])
        except TypeError as error:
            raise ValueError(f"the scaler's ranges must be lists of numbers: {error}") from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeatureScaler):
            return NotImplemented
        return np.array_equal(np.asarray(self.minimum), np.asarray(other.minimum)) and (
            np.array_equal(np.asarray(self.maximum), np.asarray(other.maximum))
        )

    __hash__ = None  # type: ignore[assignment]
