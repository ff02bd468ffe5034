"""`kerasnsoc demo kws`: spoken digits in a sound file, named by the shipped network on integers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from kerasnsoc._tables import render
from kerasnsoc.energy import EnergyReport, compare_devices, energy_of_run
from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.spoken_digits import RATE
from kerasnsoc.zoo.kws.stream import Word, WordSpotter
from kerasnsoc.zoo.kws.wav import read_wav
from kerasnsoc.zoo.registry import get_record, load_pretrained

KEY = "ds_cnn_kws/fsdd10/8-4-4"
DEVICES = ("cpu", "arm", "loihi", "spinnaker2", "cmos45-snn")
LONGEST_S = 3600
_CHUNK = RATE // 10  # the stream comes in tenths of a second, as from a microphone


@dataclass(frozen=True)
class SpokenWords:
    """What was heard, and what it took.

    Attributes
    ----------
    words : list of Word
    seconds : float
        Length of the sound.
    layers : list of dict
        Per layer and mean over the words: ``name``, ``events_in``, ``events_out``,
        ``synaptic_ops``, ``dense_ops``.
    energy : dict of str to EnergyReport
        Of each device, for one word.
    """

    words: list[Word]
    seconds: float
    layers: list[dict[str, Any]]
    energy: dict[str, EnergyReport]

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, numbers and strings."""
        return {
            "seconds": self.seconds,
            "words": [
                {
                    "start_s": word.start_s,
                    "end_s": word.end_s,
                    "label": word.label,
                    "probability": word.probability,
                    "features_ms": word.features_ms,
                    "network_ms": word.network_ms,
                }
                for word in self.words
            ],
            "layers": self.layers,
            "energy": {device: report.to_dict() for device, report in self.energy.items()},
        }


def run_kws_demo(
    wav: str | os.PathLike[str] | None = None, *, echo: Callable[[str], None] = print
) -> SpokenWords:
    """Name the spoken digits of a file as if it came from a microphone.

    Parameters
    ----------
    wav : path, optional
        16-bit PCM of one channel at 8 kHz, at most an hour; by default a recording that ships, its
        origin and licence in SPOKEN_DIGITS.md.
    echo : callable
        Receives each word as it is heard, then the tables.

    Returns
    -------
    SpokenWords

    Raises
    ------
    OSError, ValueError
        If the file cannot be read or is of another kind.
    PretrainedNotAvailableError
        If the network is not installed with the package.
    """
    record = get_record(KEY)
    model = load_pretrained(KEY)
    scaler = FeatureScaler.from_json(record.extra["feature_scaler"])
    source: Any = wav
    if wav is None:
        source = (files("kerasnsoc.demo") / "spoken_digits.wav").read_bytes()
    samples, _ = read_wav(source, RATE, LONGEST_S * RATE)
    spotter = WordSpotter(model, scaler, record.classes)
    words: list[Word] = []
    for start in range(0, len(samples), _CHUNK):
        for word in spotter.push(samples[start : start + _CHUNK]):
            words.append(word)
            echo(_line(word))
    for word in spotter.finish():
        words.append(word)
        echo(_line(word))
    seconds = len(samples) / RATE
    if not words:
        echo(f"no word in {seconds:.1f} s of sound")
        return SpokenWords([], seconds, [], {})
    layers = _layers(model)
    columns = ["layer", "events in", "events out", "synaptic ops", "dense ops"]
    rows = [
        [
            layer["name"],
            f"{layer['events_in']:,.1f}",
            f"{layer['events_out']:,.1f}",
            f"{layer['synaptic_ops']:,.0f}",
            f"{layer['dense_ops']:,}",
        ]
        for layer in layers
    ]
    echo("")
    echo(render(columns, rows, title=f"Per word, mean over {len(words)} words"))
    features, network = (
        float(np.median([getattr(word, name) for word in words]))
        for name in ("features_ms", "network_ms")
    )
    echo(
        f"\nLatency on this processor, median: {features:.2f} ms for the features, {network:.2f} "
        "ms for the network, 240 ms to be sure that a word has ended"
    )
    energy = {device: energy_of_run(model, device) for device in DEVICES}
    echo(f"\nEnergy\n{compare_devices(model, DEVICES)}")
    return SpokenWords(words, seconds, layers, energy)


def _line(word: Word) -> str:
    return f"{word.start_s:6.2f} to {word.end_s:5.2f} s  {word.label:6}  {word.probability:4.0%}"


def _layers(model: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "events_in": s.events_in / s.nb_samples,
            "events_out": s.nb_activations / s.nb_samples,
            "synaptic_ops": s.synaptic_ops / s.nb_samples,
            "dense_ops": int(s.connections),
        }
        for name, s in model.get_statistics().items()
    ]
