"""What a step without events costs, against a dense one: ``python -m benchmarks.time_steps``.

A VGG-like network over time (six convolutions, two fully connected layers) with random weights of
4 bits. A dense step has an event at every input. Silent steps are measured in a long sequence and
alone, as a stream brings them, and with and without biases, which move potentials when nothing
arrives. The biases are negative, so that no step without events makes some.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from benchmarks.timing import measure
from kerasnsoc.artifact import (
    ConvolutionalParameters,
    FullyConnectedParameters,
    InputDataParameters,
    LayerSpec,
    NetworkSpec,
    NeuronSpec,
    PoolingType,
)
from kerasnsoc.artifact.checks import variable_shapes
from kerasnsoc.artifact.geometry import output_dims
from kerasnsoc.runtime import Model

SIDE = 32
FILTERS = (64, 64, 128, 128, 256, 256)
UNITS = (256, 10)
STEPS = 50


def vgg(*, biases: bool, seed: int = 0) -> NetworkSpec:
    """The network, random but for thresholds that let about a third of the neurons spike."""
    rng = np.random.default_rng(seed)
    layers = [
        LayerSpec(
            "input",
            InputDataParameters(
                input_width=SIDE, input_height=SIDE, input_channels=3, input_bits=8
            ),
        )
    ]
    dims = (SIDE, SIDE, 3)
    neuron = NeuronSpec(rule="max", max_spikes=255, rectify=not biases, shift=4, unit="hz")
    for index, neurons in enumerate((*FILTERS, *UNITS)):
        if index < len(FILTERS):
            pools = index % 2 == 1
            p = ConvolutionalParameters(
                kernel_width=3,
                kernel_height=3,
                num_neurons=neurons,
                weights_bits=4,
                pooling_type=PoolingType.Max if pools else PoolingType.NoPooling,
                pooling_width=2 if pools else -1,
                pooling_height=2 if pools else -1,
            )
        else:
            p = FullyConnectedParameters(num_neurons=neurons, weights_bits=4)
        variables = {}
        for name, shape in variable_shapes(p, dims, None, neuron).items():
            if name == "weights":
                fan_in = int(np.prod(shape[:3]))
                variables[name] = rng.integers(-7, 8, shape, dtype=np.int8)
                top = 128 if index == 0 else 1
                threshold = int(16 * 4 * top * np.sqrt(fan_in))
            elif name == "spike_threshold":
                variables[name] = np.full(shape, threshold, np.int32)
            else:
                value = -1 if name == "bias" and biases else 0
                variables[name] = np.full(shape, value, np.int32)
        layers.append(LayerSpec(f"layer{index}", p, (layers[-1].name,), variables, None, neuron))
        dims = output_dims(p, [dims])
    return NetworkSpec(tuple(layers), time_step=0.001)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    dense = rng.integers(1, 256, (1, STEPS, SIDE, SIDE, 3)).astype(np.uint8)
    silent = np.zeros_like(dense)
    rows = []
    for biases in (False, True):
        model = Model.from_spec(vgg(biases=biases))
        statistics = model.get_statistics()
        model.forward(dense, threads=1)
        events = {
            n: s.nb_activations / s.nb_steps / s.possible_spikes for n, s in statistics.items()
        }
        times = measure(
            {
                "dense": lambda m=model: m.forward(dense[:, :5], threads=1),
                "silent": lambda m=model: m.forward(silent, threads=1),
                "dense alone": lambda m=model: m.forward(dense[:, :1], stateful=True, threads=1),
                "silent alone": lambda m=model: m.forward(silent[:, :1], stateful=True, threads=1),
            },
            rounds=options.rounds,
        )
        step = times["dense"].median / 5
        rows.append(
            {
                "biases": biases,
                "dense_step_ms": step * 1e3,
                "silent_step_us": times["silent"].median / STEPS * 1e6,
                "silent_share": times["silent"].median / STEPS / step,
                "alone_dense_ms": times["dense alone"].median * 1e3,
                "alone_silent_us": times["silent alone"].median * 1e6,
                "alone_share": times["silent alone"].median / times["dense alone"].median,
                "density": {name: round(share, 3) for name, share in events.items()},
            }
        )
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{'with' if row['biases'] else 'without'} biases")
        print(
            f"  in a sequence: dense step {row['dense_step_ms']:.2f} ms, silent step "
            f"{row['silent_step_us']:.1f} us, {row['silent_share']:.2%} of it"
        )
        print(
            f"  step by step:  dense step {row['alone_dense_ms']:.2f} ms, silent step "
            f"{row['alone_silent_us']:.1f} us, {row['alone_share']:.2%} of it"
        )
        print(f"  share of neurons that spiked: {row['density']}")


if __name__ == "__main__":
    main()
