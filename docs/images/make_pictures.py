"""Draws the pictures of the page on concepts from the network that ships: no data to fetch.

``python docs/images/make_pictures.py`` with the extra ``plot``; they lie beside this file.
"""

from importlib.resources import files
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from kerasnsoc import compare_devices
from kerasnsoc.demo.kws import KEY
from kerasnsoc.zoo.kws.scaler import FeatureScaler
from kerasnsoc.zoo.kws.spoken_digits import RATE
from kerasnsoc.zoo.kws.stream import WordSpotter
from kerasnsoc.zoo.kws.wav import read_wav
from kerasnsoc.zoo.registry import get_record, load_pretrained

FOLDER = Path(__file__).parent
plt.switch_backend("svg")
plt.rcParams["svg.hashsalt"] = "kerasnsoc"  # the same file each time
DEVICES = ("cmos45-snn", "loihi", "spinnaker2", "arm", "cpu")


def save(figure, name):
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")


def words():
    """The network that ships, and the features of the words in the sound that ships."""
    record, model = get_record(KEY), load_pretrained(KEY)
    seen = []

    class Recorder:
        def __getattr__(self, name):
            return getattr(model, name)

        def evaluate(self, inputs):
            seen.append(inputs)
            return model.evaluate(inputs)

    scaler = FeatureScaler.from_json(record.extra["feature_scaler"])
    spotter = WordSpotter(Recorder(), scaler, record.classes)
    samples, _ = read_wav((files("kerasnsoc.demo") / "spoken_digits.wav").read_bytes(), RATE)
    spotter.push(samples)
    spotter.finish()
    return model, np.concatenate(seen)


def staircase(model):
    """Potential in, activation out, of one neuron."""
    layer = model.layers[1]
    table = np.sort(layer.get_variable("thresholds")[3])
    figure, axes = plt.subplots(figsize=(6, 3))
    low, high = int(table[0]), int(table[-1])
    margin = (high - low) // 6 + 1
    potentials = np.arange(low - margin, high + margin)
    axes.step(potentials, np.searchsorted(table, potentials), where="post")
    axes.plot(table, np.zeros(len(table)), "|", color="tab:red", ms=12, label="thresholds")
    axes.set(xlabel="potential (sum of integer weights)", ylabel="activation (events' value)")
    axes.legend(frameon=False)
    save(figure, "concept_staircase")


def events(model, word):
    """What each layer hands on for one word."""
    traced = model.trace(word[np.newaxis])
    names = list(traced)[:5]  # those that are maps
    figure, panels = plt.subplots(1, len(names) + 1, figsize=(11, 2.6))
    maps = {"input": word.max(axis=-1)} | {n: traced[n][0].max(axis=-1).T for n in names}
    for axes, (name, values) in zip(panels, maps.items(), strict=True):
        axes.imshow(values, aspect="auto", cmap="magma")
        source = word if name == "input" else traced[name]
        axes.set_title(f"{name}\n{np.mean(source == 0):.0%} silent", fontsize=9)
        axes.set(xticks=[], yticks=[])
    save(figure, "concept_events")


def work(model):
    """Synaptic operations that happened, beside those of a dense computation."""
    rows = [s for s in model.get_statistics().values() if s.connections]
    figure, axes = plt.subplots(figsize=(7, 3))
    places = np.arange(len(rows))
    axes.bar(places - 0.2, [s.connections for s in rows], 0.4, label="dense", color="lightgray")
    done = [s.synaptic_ops / s.nb_samples for s in rows]
    axes.bar(places + 0.2, done, 0.4, label="event by event")
    axes.set_xticks(places, [s.layer_name for s in rows], rotation=30, ha="right")
    axes.set(ylabel="operations per word")
    axes.legend(frameon=False)
    save(figure, "concept_work")


def energy(model):
    """Energy of a word with its interval."""
    found = list(compare_devices(model, DEVICES))
    figure, axes = plt.subplots(figsize=(7, 2.6))
    for place, report in enumerate(found):
        joules = report.energy_per_inference
        axes.plot([joules.low, joules.high], [place, place], lw=8, color="tab:blue", alpha=0.4)
        axes.plot(joules.value, place, "o", color="tab:blue")
    axes.set_yticks(range(len(found)), [r.device.name for r in found])
    axes.set(xscale="log", xlabel="energy of one word, J", ylim=(-0.6, len(found) - 0.4))
    axes.grid(axis="x", alpha=0.3)
    save(figure, "concept_energy")


if __name__ == "__main__":
    network, inputs = words()
    staircase(network)
    events(network, inputs[0])
    work(network)
    energy(network)
