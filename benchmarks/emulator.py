"""Speed of the emulated chip, and the checks of its model that print numbers.

    python -m benchmarks.emulator                  # nine layers on a Speck, both engines
    python -m benchmarks.emulator --validate       # Loihi sweep and the power of a small workload
    python -m benchmarks.emulator --artifact net.h5 --inputs images.npy --labels labels.npy

The last form runs an artifact on the emulated ``akd1000`` and compares with the runtime.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from typing import Any

import numpy as np

from kerasnsoc.nsoc.config import (
    XY,
    CoreConfig,
    DestinationConfig,
    DeviceReference,
    Dimensions,
    InputConfig,
    MapShape,
    NSoCConfig,
    NumericConfig,
)
from kerasnsoc.nsoc.devices import get_device
from kerasnsoc.nsoc.emulator import NSoCEmulator
from kerasnsoc.nsoc.emulator_input import PACKED_DTYPE, packets_from_frames
from kerasnsoc.nsoc.emulator_warnings import BandwidthWarning

THRESHOLD = 100

# features, kernel, stride, padding, pooling behind; the cores whose memories they need
NINE_LAYERS = (
    (8, 3, 1, 1, 1, 0), (8, 3, 1, 1, 2, 1), (16, 3, 1, 1, 1, 2), (16, 3, 1, 1, 2, 7),
    (32, 3, 1, 1, 1, 3), (32, 3, 1, 1, 2, 4), (64, 3, 1, 1, 2, 5), (64, 4, 1, 0, 1, 6),
    (11, 1, 1, 0, 1, 8),
)  # fmt: skip


def spiking_core(
    number: int,
    layer: int,
    weights: np.ndarray,
    in_shape: tuple[int, int, int],
    *,
    stride: int = 1,
    padding: int = 0,
    pooling: int = 1,
    target: int | None = None,
    threshold: int = 100,
    processors: tuple[int, ...] = (),
) -> CoreConfig:
    """A core with square windows and one destination."""
    features, _, size, _ = weights.shape
    sides = [(side + 2 * padding - size) // stride + 1 for side in in_shape[1:]]
    shape = (features, *sides)
    return CoreConfig(
        core=number,
        layer_index=layer,
        name=f"layer {layer}",
        dimensions=Dimensions(
            MapShape.of(in_shape),
            MapShape.of(shape),
            XY(size, size),
            XY(stride, stride),
            XY(padding, padding),
        ),
        weights=weights.astype(np.int8),
        biases=np.zeros(features, np.int16),
        has_biases=False,
        leak_enable=False,
        return_to_zero=False,
        threshold_high=threshold,
        threshold_low=-threshold,
        neurons_initial_value=np.zeros(shape, np.int16),
        quant_scale=1.0,
        destinations=[DestinationConfig(target, True, XY(pooling, pooling))],
        monitor_enable=target is None,
        neural_processors=list(processors),
    )


def random_weights(
    rng: np.random.Generator, shape: tuple[int, int, int, int], gain: float
) -> np.ndarray:
    """Weights with which an event adds `gain` thresholds, shared by all neurons that it reaches.

    Chance adds spikes to that, so that a gain somewhat below 1 keeps activity alive in a deep
    network.
    """
    mean = gain * THRESHOLD / (shape[0] * shape[2] * shape[3])
    return rng.normal(mean, 10, shape).clip(-128, 127).round()


def configuration(
    cores: list[CoreConfig], in_shape: tuple[int, int, int], device: str, mode: str, **numeric: Any
) -> NSoCConfig:
    """Cores in a row behind the input port."""
    return NSoCConfig(
        device=DeviceReference(device, 0, get_device(device).sha256()),
        numeric=NumericConfig(mode, **numeric),  # type: ignore[arg-type]
        cores=list(cores),
        input=InputConfig(MapShape.of(in_shape), [DestinationConfig(cores[0].core)]),
    )


def nine_layers(seed: int = 0) -> NSoCConfig:
    """A network that fills a Speck: nine convolutions on 64 x 64 events of two polarities."""
    rng = np.random.default_rng(seed)
    shape = in_shape = (2, 64, 64)
    cores = []
    for layer, (features, size, stride, padding, pooling, number) in enumerate(NINE_LAYERS):
        weights = random_weights(rng, (features, shape[0], size, size), 0.8)
        target = NINE_LAYERS[layer + 1][5] if layer + 1 < len(NINE_LAYERS) else None
        core = spiking_core(
            number, layer, weights, shape, stride=stride, padding=padding, pooling=pooling,
            target=target, threshold=THRESHOLD,
        )  # fmt: skip
        cores.append(core)
        _, height, width = core.out_shape
        shape = (features, height // pooling, width // pooling)
    return configuration(cores, in_shape, "speck2fmodule", "event")


def moving_edge(count: int, duration_us: int, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Events of a bar that crosses the map, in time order."""
    rng = np.random.default_rng(seed)
    features, height, width = shape
    events = np.zeros(count, PACKED_DTYPE)
    t_us = np.sort(rng.uniform(0, duration_us, count))
    events["t_ps"] = (t_us * 1e6).astype(np.int64)
    middle = t_us / duration_us * width
    events["x"] = np.clip(rng.normal(middle, 3), 0, width - 1).astype(int)
    events["y"] = rng.integers(height // 4, 3 * height // 4, count)
    events["c"] = rng.integers(0, features, count)
    events["n"] = 1
    return events


def speed(count: int, repetitions: int) -> list[dict[str, Any]]:
    """Updates and events per second of both engines, best of some repetitions."""
    chip = nine_layers()
    shape = chip.input.input_shape.chw if chip.input is not None else (0, 0, 0)
    events = moving_edge(count, 1_000_000, shape, 1)
    rows = []
    for engine in ("timing", "functional"):
        best, result = float("inf"), None
        for _ in range(repetitions):
            emulator = NSoCEmulator(chip, engine=engine)  # type: ignore[arg-type]
            start = time.process_time()
            result = emulator.run(events)
            best = min(best, time.process_time() - start)
        assert result is not None
        handled = sum(record["processed"] for record in result.per_core)
        rows.append(
            {
                "engine": engine,
                "input_events": count,
                "events_handled": handled,
                "synops": result.synops,
                "synops_per_layer": [record["synops"] for record in result.per_core],
                "cpu_s": best,
                "synops_per_s": result.synops / best,
                "events_per_s": handled / best,
            }
        )
    return rows


def loihi_sweep() -> dict[str, Any]:
    """Two dense layers, more and more input spikes: growth of energy and time per spike."""
    from kerasnsoc.energy.emulation import energy_of_emulation

    fan_out = 256
    cores = [
        spiking_core(0, 0, np.full((fan_out, 1024, 1, 1), 3), (1024, 1, 1), target=1,
                     threshold=30000, processors=(0,)),
        spiking_core(1, 1, np.full((64, fan_out, 1, 1), 3), (fan_out, 1, 1), threshold=30000,
                     processors=(4,)),
    ]  # fmt: skip
    chip = configuration(cores, (1024, 1, 1), "loihi", "packet", layer_delay=1)
    device = get_device("loihi")
    spikes = np.arange(100, 1001, 100)
    energies, times = [], []
    for count in spikes:
        frame = np.zeros((1, 1, 1, 1024), int)
        frame[..., :count] = 1
        emulator = NSoCEmulator(chip, timing="calibrated", sync="barrier")
        result = emulator.run(packets_from_frames(frame))
        energy = energy_of_emulation(result, profile="calibrated").total
        energies.append(energy.value)
        times.append(result.makespan_ps)
    per_spike_j, _ = np.polyfit(spikes, energies, 1)
    per_spike_ps, _ = np.polyfit(spikes, times, 1)
    fitted = np.polyval(np.polyfit(spikes, energies, 1), spikes)
    fitted_time = np.polyval(np.polyfit(spikes, times, 1), spikes)
    # the model charges per spike: synaptic operations, and a message; time: decoding, operations
    modelled_pj = fan_out * 24.0 + 111.0
    timing = device.timings["calibrated"].picoseconds()
    modelled_ps = timing["t_decode"] + fan_out * timing["t_syn"]
    return {
        "fan_out": fan_out,
        "energy_per_spike_pj": per_spike_j * 1e12,
        "modelled_energy_per_spike_pj": modelled_pj,
        "energy_off_by": per_spike_j * 1e12 / modelled_pj - 1,
        "energy_departs_from_line_by": float(np.max(np.abs(fitted / energies - 1))),
        "time_per_spike_ns": per_spike_ps / 1e3,
        "modelled_time_per_spike_ns": modelled_ps / 1e3,
        "time_off_by": per_spike_ps / modelled_ps - 1,
        "time_departs_from_line_by": float(np.max(np.abs(fitted_time / times - 1))),
    }


def small_workload() -> dict[str, Any]:
    """4,200 events in 300 ms that make about three million updates, as N-MNIST does."""
    rng = np.random.default_rng(2)
    shape = in_shape = (2, 34, 34)
    layers = ((32, 5, 2, 1, 2, 0), (32, 3, 1, 1, 1, 3), (8, 3, 1, 1, 2, 2), (10, 4, 1, 0, 1, 5))
    cores = []
    for layer, (features, size, stride, padding, pooling, number) in enumerate(layers):
        weights = random_weights(rng, (features, shape[0], size, size), 1.9)
        target = layers[layer + 1][5] if layer + 1 < len(layers) else None
        core = spiking_core(
            number, layer, weights, shape, stride=stride, padding=padding, pooling=pooling,
            target=target, threshold=THRESHOLD,
        )  # fmt: skip
        cores.append(core)
        _, height, width = core.out_shape
        shape = (features, height // pooling, width // pooling)
    chip = configuration(cores, in_shape, "speck2fmodule", "event")
    result = NSoCEmulator(chip).run(moving_edge(4200, 300_000, in_shape, 3), t_end=300_000)
    report = result.energy
    return {
        "synops": result.synops,
        "duration_s": result.duration_ps * 1e-12,
        "average_power_mw": [watts * 1e3 for watts in report.average_power_w],
        "report": report.summary(),
        "median_latency_us": result.latency.percentile(50) / 1e6,
    }


def compare_artifact(artifact: str, inputs: str, labels: str | None) -> dict[str, Any]:
    """Outputs of the emulated ``akd1000`` beside those of the runtime."""
    from kerasnsoc.nsoc.emulator_files import frames_as_input, open_network
    from kerasnsoc.runtime import Model

    model = Model(artifact)
    frames = np.load(inputs)
    chip = open_network(artifact, "akd1000")
    result = NSoCEmulator(chip).run(frames_as_input(chip, frames, 1000.0))
    (outputs,) = result.outputs.values()
    expected = model.forward(frames)
    found = outputs.transpose(0, 2, 1, 3)
    row = {
        "samples": len(frames),
        "equal_outputs": int((found == expected).all(axis=(1, 2, 3)).sum()),
        "median_packet_latency_us": result.latency.percentile(50, "packet_ps") / 1e6,
        "energy": result.energy.summary(),
    }
    if labels is not None:
        truth = np.load(labels)
        row["runtime_accuracy"] = float((model.predict(frames) == truth).mean())
        classes = model_classes(model, found)
        row["emulated_accuracy"] = float((classes == truth).mean())
    return row


def model_classes(model: Any, outputs_nwhf: np.ndarray) -> np.ndarray:
    """Classes from outputs, with the scales that the artifact gives to its last layer."""
    variables = model.to_spec().layers[-1].variables
    values = outputs_nwhf.reshape(len(outputs_nwhf), -1).astype(np.float64)
    if "output_scale" in variables:
        values = values * variables["output_scale"] + variables["output_shift"]
    return values.argmax(axis=1)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--artifact")
    parser.add_argument("--inputs")
    parser.add_argument("--labels")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", BandwidthWarning)
    if arguments.artifact:
        content: Any = compare_artifact(arguments.artifact, arguments.inputs, arguments.labels)
    elif arguments.validate:
        content = {"loihi": loihi_sweep(), "speck": small_workload()}
    else:
        content = speed(arguments.events, arguments.repetitions)
    print(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
