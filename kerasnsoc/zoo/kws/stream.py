"""Words in a stream of sound, named while it arrives; needs neither Keras nor TensorFlow."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.spoken_digits import RATE, features_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kerasnsoc.runtime import Model

_HOP = RATE // 50
_LEAD_HOPS = 3
_START_HOPS = 2
_END_HOPS = 12
_MOST_HOPS = 50
_LEAST_HOPS = 5


@dataclass(frozen=True)
class Word:
    """A word that was heard.

    Attributes
    ----------
    start_s, end_s : float
        Place in the stream, in seconds.
    label : str
    probability : float
        Of the label, by the softmax of the network's outputs; no promise, but low where the network
        hesitates.
    features_ms, network_ms : float
        What the processor took for the features and for the network, in milliseconds.
    image : ndarray of uint8, shape (49, 10, 1)
        What the network saw.
    """

    start_s: float
    end_s: float
    label: str
    probability: float
    features_ms: float
    network_ms: float
    image: npt.NDArray[np.uint8]


class WordSpotter:
    """Cuts a stream of sound into words by its loudness and names each one.

    A word begins where two successive 20 ms are louder than the noise by `threshold_db` and ends
    after 240 ms that are not, or after a second. The level of the noise is followed in between.

    Parameters
    ----------
    model : kerasnsoc.Model
        Takes images of (49, 10, 1), ends with potentials.
    scaler : FeatureScaler
        Belongs to the model, see the record in the registry.
    labels : sequence of str
        Names of the model's classes.
    threshold_db : float
        In decibels, above 0.
    """

    def __init__(
        self,
        model: Model,
        scaler: FeatureScaler,
        labels: Sequence[str],
        threshold_db: float = 12.0,
    ) -> None:
        if not threshold_db > 0:
            raise ValueError(f"threshold_db is {threshold_db}, but must be above 0")
        if model.output_dims[2] != len(labels):
            raise ValueError(
                f"the model has {model.output_dims[2]} classes, but {len(labels)} labels are given"
            )
        self._model = model
        self._scaler = scaler
        self._labels = list(labels)
        self._factor = 10 ** (threshold_db / 10)
        self._rest = np.empty(0, np.float32)
        self._hops: list[npt.NDArray[np.float32]] = []
        self._loud = 0
        self._quiet = 0
        self._is_word = False
        self._place = 0  # of the next hop
        self._noise = 1e-6  # mean square; -60 dB of full scale before anything was heard

    def push(self, samples: npt.ArrayLike) -> list[Word]:
        """Take the next part of the stream, of any length.

        Parameters
        ----------
        samples : array of float, shape (samples,)
            Of -1 to 1, at 8 kHz.

        Returns
        -------
        list of Word
            Those that ended in this part.
        """
        part = np.asarray(samples)
        if part.ndim != 1 or part.dtype.kind != "f":
            raise ValueError(
                f"samples are {part.dtype} of shape {part.shape}, but floats of shape (n,) are "
                "needed"
            )
        if not np.isfinite(part).all():
            raise ValueError("samples hold values that are not finite (NaN or infinity)")
        whole = np.concatenate([self._rest, part.astype(np.float32)])
        count = len(whole) // _HOP
        self._rest = whole[count * _HOP :]
        words = [self._hop(whole[k * _HOP : (k + 1) * _HOP]) for k in range(count)]
        return [word for word in words if word is not None]

    def finish(self) -> list[Word]:
        """End the stream; a word that has not ended yet does so."""
        words = self.push(np.zeros(_HOP - len(self._rest), np.float32)) if len(self._rest) else []
        if self._is_word:
            word = self._end()
            words += [] if word is None else [word]
        return words

    def _hop(self, samples: npt.NDArray[np.float32]) -> Word | None:
        power = float(np.mean(samples.astype(np.float64) ** 2))
        is_loud = power > self._noise * self._factor
        self._hops.append(samples)
        self._place += 1
        if not self._is_word:
            self._loud = self._loud + 1 if is_loud else 0
            if self._loud < _START_HOPS:
                if not is_loud:
                    # down at once, up slowly: a word's soft beginning is no noise
                    share = 0.5 if power < self._noise else 0.05
                    self._noise += share * (max(power, 1e-10) - self._noise)
                del self._hops[: -_LEAD_HOPS - _START_HOPS]
                return None
            self._is_word, self._quiet = True, 0
            return None
        self._quiet = 0 if is_loud else self._quiet + 1
        if self._quiet < _END_HOPS and len(self._hops) < _MOST_HOPS + _END_HOPS:
            return None
        return self._end()

    def _end(self) -> Word | None:
        hops = len(self._hops) - self._quiet
        kept = self._hops[:hops]
        start = self._place - len(self._hops)
        self._hops = self._hops[hops:]
        self._is_word, self._loud, self._quiet = False, 0, 0
        if hops - _LEAD_HOPS < _LEAST_HOPS:  # a click
            return None
        started = time.perf_counter()
        image = self._scaler.transform(features_of([np.concatenate(kept)]))[..., np.newaxis]
        between = time.perf_counter()
        outputs = self._model.evaluate(image).reshape(-1).astype(np.float64)
        ended = time.perf_counter()
        shares = np.exp(outputs - outputs.max())
        best = int(outputs.argmax())
        return Word(
            start * _HOP / RATE,
            (start + hops) * _HOP / RATE,
            self._labels[best],
            float(shares[best] / shares.sum()),
            1e3 * (between - started),
            1e3 * (ended - between),
            image[0],
        )
