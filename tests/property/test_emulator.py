"""The emulator against a plain reference, with and without time, over random networks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from kerasnsoc.artifact import InputConvolutionalParameters, InputDataParameters
from kerasnsoc.nsoc.devices import get_device
from kerasnsoc.nsoc.emulator import NSoCEmulator
from kerasnsoc.nsoc.emulator_input import EVENT, TICK, packets_from_frames
from kerasnsoc.runtime import Model
from tests import reference
from tests.chips import (
    artifact_config,
    config,
    core,
    mesh_of,
    random_events,
    spiking_configs,
    star_of,
)
from tests.nsoc_reference import Reference
from tests.strategies import network_specs

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::kerasnsoc.nsoc.emulator_warnings.{name}")
    for name in ("BandwidthWarning", "SaturationWarning")
]

TIMES = ("t_decode", "t_syn", "t_emit", "t_leak", "t_upd", "t_upd_active", "t_router", "t_hop_x",
         "t_hop_y", "t_link", "t_io_in", "t_sync")  # fmt: skip

timings = st.fixed_dictionaries(
    {name: st.integers(0, 3) | st.integers(0, 300_000) for name in TIMES}
)
seeds = st.integers(0, 2**32 - 1)
queues = st.sampled_from([{}] + [{"queue_policy": "stall", "queue_capacity": n} for n in (0, 1, 3)])


def check(result, expected):
    """Spikes of every layer in order, potentials and counts."""
    for record in expected.config.cores:
        rows = result.spikes_of(record.layer_index)
        columns = [rows[name].tolist() for name in ("root", "x", "y", "c", "n")]
        assert list(zip(*columns, strict=True)) == expected.spikes[record.core]
        assert_array_equal(result.final_state[record.layer_index], expected.state[record.core])
    for counts in result.per_core:
        assert counts["synops"] == expected.synops[counts["core"]]
        assert counts["events_in"] == counts["processed"]
        assert counts["drops"] == 0


def run_reference(chip, root_kind, events):
    """The reference over the items of a run in event mode; `events` in time order."""
    oracle = Reference(chip)
    rows = iter(events)
    for root, kind in enumerate(root_kind.tolist()):
        if kind == TICK:
            oracle.tick(root)
        else:
            assert kind == EVENT
            event = next(rows)
            oracle.enter(root, int(event["x"]), int(event["y"]), int(event["c"]))
    return oracle


def device_of(mesh):
    return mesh_of(get_device("loihi")) if mesh else get_device("speck2fmodule")


def in_passes(chip, seed):
    """The configuration in up to three passes; a core never stands before its sources."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(chip.cores) + 1, 2))
    numbers = np.searchsorted(cuts, np.arange(len(chip.cores)), "right")
    for record, number in zip(chip.cores, np.unique(numbers, return_inverse=True)[1], strict=True):
        record.pass_index = int(number)


def check_event_mode(chip, seed, timing, mesh, emission, jitter, keep_zeros, queue):
    chip.numeric.skip_zero = not keep_zeros
    for record in chip.cores[: seed % 2]:
        record.output_decimator.enable = True
        record.output_decimator.interval = 2 + seed % 3
    events = random_events(chip, seed, 25, 60)
    options = {"device": device_of(mesh), "timing": timing}
    plain = NSoCEmulator(chip, engine="functional", **options).run(events, 60)
    oracle = run_reference(chip, plain.root_kind, events)
    check(plain, oracle)
    sigmas = {"t_syn": 0.5, "t_decode": 0.2} if jitter else None
    emulator = NSoCEmulator(chip, **options, **queue, emission=emission, seed=seed, jitter=sigmas)
    timed = emulator.run(events, 60)
    check(timed, oracle)
    assert_array_equal(timed.root_t_ps, plain.root_t_ps)
    for record in timed.per_core if queue else ():
        assert record["blocked_ps"] <= record["busy_ps"]
    return timed


any_engine = {
    "seed": seeds,
    "timing": timings,
    "mesh": st.booleans(),
    "emission": st.sampled_from(["streaming", "end"]),
    "jitter": st.booleans(),
    "keep_zeros": st.booleans(),
    "queue": queues,
}


@given(chip=spiking_configs(chain=True), **any_engine)
@settings(max_examples=1000)
def test_time_changes_nothing_in_chains(chip, **options):
    timed = check_event_mode(chip, **options)
    if options["queue"]:
        # without waiting room an event may still find a sweep that began while it was on its way
        longest = max(record["queue_max"] for record in timed.per_core)
        assert longest <= max(options["queue"]["queue_capacity"], 1)


@given(chip=spiking_configs(max_cores=6), **any_engine)
@settings(max_examples=250)
def test_time_changes_nothing_where_paths_merge(chip, **options):
    check_event_mode(chip, **options)


@given(
    chip=spiking_configs(mode="packet", chain=True) | spiking_configs(mode="packet"),
    seed=seeds,
    timing=timings,
    mesh=st.booleans(),
    period=st.sampled_from([0.0, 0.1, 1.0, 1000.0]),
    graded=st.booleans(),
    spikes=st.sampled_from([("multi", None), ("single", None), ("max", 3)]),
    delay=st.sampled_from([(0, None), (1, None), (1, "barrier")]),
    extra=st.sampled_from([{}, {"touched_only": True}, {"decay": 700}, {"refractory_packets": 2}]),
    persistent=st.booleans(),
    queue=queues,
    passes=st.booleans(),
)
@settings(max_examples=200)
def test_time_changes_nothing_in_packet_mode(
    chip, seed, timing, mesh, period, graded, spikes, delay, extra, persistent, queue, passes
):
    numeric = chip.numeric
    numeric.graded, numeric.persistent = graded, persistent
    numeric.spike_fn, numeric.max_spikes = spikes
    numeric.layer_delay, sync = delay
    if passes:
        in_passes(chip, seed)
    features, height, width = chip.input.input_shape.chw
    frames = np.random.default_rng(seed).poisson(0.3, (5, height, width, features))
    packets = packets_from_frames(frames, period)
    names = {"refractory_packets": "refractory"}
    oracle = Reference(chip, **{names.get(key, key): value for key, value in extra.items()})
    root = 0
    for packet in packets:
        for event in packet:
            value = int(event["n"])
            for _ in range(1 if graded else value):
                place = int(event["x"]), int(event["y"]), int(event["c"])
                oracle.enter(root, *place, value if graded else 1)
                root += 1
        oracle.end_packet(root)
        root += 1
    for engine in ("functional", "timing"):
        emulator = NSoCEmulator(
            chip, engine=engine, device=device_of(mesh), timing=timing, sync=sync, **extra, **queue
        )
        check(emulator.run(packets), oracle)


@given(
    spec=network_specs(),
    seed=seeds,
    timing=timings,
    mesh=st.booleans(),
    period=st.sampled_from([0, 0.1, 1000.0]),
    queue=queues,
    passes=st.booleans(),
)
@settings(max_examples=100)
def test_graded_networks_give_what_the_runtime_gives(
    spec, seed, timing, mesh, period, queue, passes
):
    rng = np.random.default_rng(seed)
    first = spec.layers[0].parameters
    if isinstance(first, InputDataParameters) and len(spec.layers) == 1:
        return  # no layer to put on a core
    shape = (first.input_height, first.input_width, first.input_channels)
    frames = rng.integers(0, 2**spec.input.bits, (3, *shape)).astype(np.uint8)
    frames[rng.random(frames.shape) < 0.5] = 0
    is_image = isinstance(first, InputConvolutionalParameters)
    inputs = frames if is_image else np.ascontiguousarray(frames.transpose(0, 2, 1, 3))
    expected = Model.from_spec(spec).forward(inputs)
    chip = artifact_config(spec)
    chip.numeric.skip_zero = False
    if passes:
        in_passes(chip, seed)
    device = get_device("akd1000")
    options = {"device": device if mesh else star_of(device), "timing": timing, **queue}
    judged = reference.run(spec, inputs)
    for engine in ("functional", "timing"):
        result = NSoCEmulator(chip, engine=engine, **options).run(
            packets_from_frames(frames, period)
        )
        (outputs,) = result.outputs.values()
        assert_array_equal(outputs.transpose(0, 2, 1, 3), expected)
        for counts in result.per_core:
            layer = judged[counts["name"]]
            assert counts["synops"] == layer.synaptic_ops.sum()
            assert counts["neuron_updates"] == layer.neuron_updates * len(frames)


def test_the_comparison_sees_a_changed_weight():
    weights = np.random.default_rng(3).integers(-20, 60, (3, 1, 3, 3))
    chip = config([core(0, weights, (1, 6, 6), threshold=40, low=-40)], (1, 6, 6))
    events = random_events(chip, 1, 60, 50)
    plain = NSoCEmulator(chip, engine="functional").run(events)
    oracle = run_reference(chip, plain.root_kind, events)
    check(plain, oracle)
    chip.cores[0].weights = -chip.cores[0].weights
    changed = NSoCEmulator(chip, engine="functional").run(events)
    with pytest.raises(AssertionError):
        check(changed, oracle)


@given(chip=spiking_configs(max_cores=5), seed=seeds, timing=timings, mesh=st.booleans())
@settings(max_examples=100)
def test_a_recorded_order_of_arrival_can_be_replayed(chip, seed, timing, mesh):
    events = random_events(chip, seed, 40, 40)
    options = {"device": device_of(mesh), "timing": timing}
    timed = NSoCEmulator(chip, merge_policy="arrival", **options).run(events, 45)
    replayed = NSoCEmulator(
        chip, engine="functional", merge_trace=timed.merge_trace, **options
    ).run(events, 45)
    for record in chip.cores:
        layer = record.layer_index
        for name in ("root", "x", "y", "c", "n"):
            assert_array_equal(replayed.spikes_of(layer)[name], timed.spikes_of(layer)[name])
        assert_array_equal(replayed.final_state[layer], timed.final_state[layer])


@given(
    chip=spiking_configs(),
    seed=seeds,
    timing=timings,
    capacity=st.integers(0, 3),
    keep_zeros=st.booleans(),
)
@settings(max_examples=60)
def test_every_event_is_processed_or_dropped(chip, seed, timing, capacity, keep_zeros):
    chip.numeric.skip_zero = not keep_zeros
    events = random_events(chip, seed, 60, 20)
    result = NSoCEmulator(chip, queue_policy="drop", queue_capacity=capacity, timing=timing).run(
        events
    )
    counts = {record["core"]: record for record in result.per_core}
    received = dict.fromkeys(counts, 0)
    for destination in chip.input.destinations:
        received[destination.layer] += len(events)
    for record in chip.cores:
        assert counts[record.core]["spikes_out"] == len(result.spikes_of(record.layer_index))
        sent = sent_per_slot(record, result.spikes_of(record.layer_index))
        for destination, number in zip(record.destinations, sent, strict=True):
            if destination.layer is not None:
                received[destination.layer] += number
    for number, record in counts.items():
        assert record["events_in"] == received[number]
        assert record["events_in"] == record["processed"] + record["drops"]
        assert record["drops"] == (result.drops["core"] == number).sum()
        assert record["queue_max"] <= capacity


def sent_per_slot(record, spikes):
    _, height, width = record.out_shape
    for destination in record.destinations:
        pool = destination.pooling
        inside = (spikes["x"] // pool.x < width // pool.x) & (
            spikes["y"] // pool.y < height // pool.y
        )
        yield int(inside.sum())
