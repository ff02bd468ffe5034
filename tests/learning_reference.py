"""The judge of learning: both rules in plain NumPy and Python integers, one sample at a time.

It keeps a layer as (neurons, connections) arrays, and takes what a neuron could see at each
position as rows of 0 and 1. No arithmetic is shared with the package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from kerasnsoc.artifact import (
    ConvolutionalParameters,
    LayerParameters,
    LearningSpec,
    NetworkSpec,
)
from tests import reference

ONE = 65536
MASK = 2**64 - 1


def finalise(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def mix(z: int) -> int:
    return finalise((z + 0x9E3779B97F4A7C15) & MASK)


class Stream:
    """Random numbers by counting, from three keys."""

    def __init__(self, *keys: int) -> None:
        self.state = 0x6A09E667F3BCC908
        for key in keys:
            self.state = mix(self.state ^ mix(key & MASK))

    def below(self, n: int) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        return finalise(self.state) * n >> 64

    def pick(self, items, count: int) -> list[int]:
        items = list(items)
        for i in range(count):
            other = i + self.below(len(items) - i)
            items[i], items[other] = items[other], items[i]
        return items[:count]


def share(value: float) -> int:
    """A share in 65536ths; halves go to the even one."""
    return round(Fraction(value) * ONE)


@dataclass
class Layer:
    """A layer that learns."""

    connections: int
    neurons: int
    num_weights: int
    num_classes: int = 1
    initial_plasticity: float = 1.0
    learning_competition: float = 0.0
    min_plasticity: float = 0.1
    plasticity_decay: float = 0.25
    learning_ratio: tuple[int, int] = (3, 4)
    rule: str = "majority"
    seed: int = 0
    weights: np.ndarray = field(init=False)
    counters: np.ndarray = field(init=False)
    thresholds: list[int] = field(init=False)
    plasticities: list[int] = field(init=False)
    steps: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = np.zeros((0, self.connections), np.int64)
        self.counters = np.zeros((0, self.connections), np.int64)
        self.thresholds, self.plasticities, self.steps = [], [], []
        self._grow(self.neurons)

    def _grow(self, neurons: int) -> None:
        fresh = np.zeros((neurons - len(self.weights), self.connections), np.int64)
        self.counters = np.vstack([self.counters, fresh])
        for row in range(len(fresh)):
            neuron = len(self.weights) + row
            stream = Stream(self.seed, neuron, 0)
            fresh[row, stream.pick(range(self.connections), self.num_weights)] = 1
            self.thresholds.append(0)
            self.plasticities.append(share(self.initial_plasticity))
            self.steps.append(0)
        self.weights = np.vstack([self.weights, fresh])
        self.neurons = neurons

    def add_classes(self, count: int) -> None:
        group = self.neurons // self.num_classes
        self.num_classes += count
        self._grow(self.neurons + count * group)

    def potentials(self, patches: np.ndarray) -> np.ndarray:
        """(positions, neurons) from (positions, connections)."""
        return patches.astype(np.int64) @ self.weights.T

    def learn(self, patches: np.ndarray, label: int | None = None) -> int | None:
        """The neuron that learned from a sample, or None.

        `patches` lists the positions row by row: y is the slow axis.
        """
        if label is None:
            candidates = range(self.neurons)
        elif 0 <= label < self.num_classes:
            group = self.neurons // self.num_classes
            candidates = range(label * group, (label + 1) * group)
        else:
            return None
        if share(self.initial_plasticity) == 0:
            return None
        found = self._winner(self.potentials(patches), candidates)
        if found is None:
            return None
        neuron, position = found
        sample = patches[position].astype(np.int64)
        if sample.sum() == 0:
            return None
        self._step(neuron, sample)
        return neuron

    def _winner(self, potentials, candidates) -> tuple[int, int] | None:
        pairs = [(n, p) for n in candidates for p in range(len(potentials))]

        def largest(some):
            return min(some, key=lambda pair: (-potentials[pair[1], pair[0]], *pair), default=None)

        learned = [pair for pair in pairs if self.thresholds[pair[0]] > 0]
        responding = [(n, p) for n, p in learned if potentials[p, n] >= self.thresholds[n]]
        if responding:
            return largest(responding)
        competition = share(self.learning_competition)
        for n, p in learned:
            bar = Fraction((ONE - competition) * self.thresholds[n], ONE)
            if competition > 0 and potentials[p, n] >= bar:
                return None
        fresh = [pair for pair in pairs if self.thresholds[pair[0]] == 0]
        return largest(fresh or pairs)

    def _step(self, neuron: int, sample: np.ndarray) -> None:
        plasticity = self.plasticities[neuron]
        weights = self.weights[neuron]
        if self.rule == "swap":
            unused_inputs = [i for i, x in enumerate(sample) if x and not weights[i]]
            unused_weights = [i for i, x in enumerate(sample) if not x and weights[i]]
            fewer = min(len(unused_inputs), len(unused_weights))
            moved = -(-plasticity * fewer // ONE)
            stream = Stream(self.seed, neuron, self.steps[neuron] + 1)
            gained = stream.pick(unused_inputs, moved)
            lost = stream.pick(unused_weights, moved)
            weights[gained] = 1
            weights[lost] = 0
        else:
            counters = self.counters[neuron]
            if self.thresholds[neuron] == 0:
                counters[:] = weights
            counters += (32767 * sample - counters) * plasticity >> 16
            order = sorted(
                range(self.connections), key=lambda i: (-(2 * counters[i] + weights[i]), i)
            )
            weights[:] = 0
            weights[order[: self.num_weights]] = 1
        if self.thresholds[neuron] == 0:
            a, b = self.learning_ratio
            chance = int(sample.sum()) * self.num_weights // self.connections
            reached = int(sample @ weights)
            self.thresholds[neuron] = max(1, (a * reached + (b - a) * chance) // b)
        self.steps[neuron] = (self.steps[neuron] + 1) % 2**32
        start = share(self.initial_plasticity)
        floor = min(share(self.min_plasticity), start)
        decay = share(self.plasticity_decay * self.initial_plasticity)
        self.plasticities[neuron] = min(plasticity, max(floor, plasticity - decay))


def patches(parameters: LayerParameters, sample_xyc: np.ndarray) -> np.ndarray:
    """What each position of a layer sees of a map, row by row: (positions, connections)."""
    if not isinstance(parameters, ConvolutionalParameters):
        return sample_xyc.transpose(2, 1, 0).reshape(1, -1)
    sides = []
    for axis, size, stride in (
        (0, parameters.kernel_width, parameters.stride_x),
        (1, parameters.kernel_height, parameters.stride_y),
    ):
        sides.append(
            reference._padding(sample_xyc.shape[axis], size, stride, parameters.convolution_mode)
        )
    padded = np.pad(sample_xyc, (*((front, back) for front, back, _ in sides), (0, 0)))
    rows = []
    for oy in range(sides[1][2]):
        for ox in range(sides[0][2]):
            x, y = ox * parameters.stride_x, oy * parameters.stride_y
            window = padded[x : x + parameters.kernel_width, y : y + parameters.kernel_height]
            rows.append(window.ravel())
    return np.stack(rows)


def as_weights(parameters: LayerParameters, values: np.ndarray, channels: int) -> np.ndarray:
    """(neurons, connections) as a layer stores it."""
    if not isinstance(parameters, ConvolutionalParameters):
        return values.T[None, None]
    shape = (parameters.kernel_width, parameters.kernel_height, channels)
    kernels = values.reshape(-1, *shape).transpose(1, 2, 3, 0)
    return kernels[::-1, ::-1]


def restored(spec: NetworkSpec) -> Layer:
    """The judge in the state that the last layer of a description is in."""
    last = spec.layers[-1]
    arguments = {name: getattr(last.learning, name) for name in LearningSpec.__annotations__}
    connections = int(np.prod(last.variables["weights"].shape[:3]))
    judge = Layer(connections, last.parameters.num_neurons, **arguments)
    judge.weights = _as_connections(last.parameters, last.variables["weights"])
    if "learning_counters" in last.variables:
        judge.counters = _as_connections(last.parameters, last.variables["learning_counters"])
    judge.thresholds = last.variables["threshold_learning"].tolist()
    judge.plasticities = (last.variables["plasticity"].astype(float) * ONE).astype(int).tolist()
    judge.steps = last.variables["learning_steps"].tolist()
    return judge


def _as_connections(parameters: LayerParameters, weights: np.ndarray) -> np.ndarray:
    if isinstance(parameters, ConvolutionalParameters):
        weights = weights[::-1, ::-1]
    return weights.reshape(-1, weights.shape[3]).T.astype(np.int64)
