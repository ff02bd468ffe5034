"""Times, traffic, queues, merging and results of the emulator, on networks one can follow."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import subprocess
import sys
import threading
from contextlib import nullcontext

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kerasnsoc.nsoc.config import XY, DestinationConfig, DvsConfig, MapShape, ReadoutConfig, XYFlags
from kerasnsoc.nsoc.config_builder import build_config
from kerasnsoc.nsoc.devices import get_device
from kerasnsoc.nsoc.emulator import EmulationLimitError, NSoCEmulator, emulate
from kerasnsoc.nsoc.emulator_input import PACKED_DTYPE, packets_from_frames
from kerasnsoc.nsoc.emulator_load import synops_map
from kerasnsoc.nsoc.emulator_result import nearest_rank
from kerasnsoc.nsoc.emulator_warnings import BandwidthWarning, SaturationWarning
from kerasnsoc.nsoc.errors import ConfigValidationError, NSoCError
from kerasnsoc.nsoc.mapping import place
from tests.chips import config, core, mesh_of, random_events
from tests.nsoc_graphs import chain

EVENTS = [("t", "i8"), ("x", "u2"), ("y", "u2"), ("c", "u2")]


def pixel(index, to=((None, 1, 0),), **options):
    """A core whose single weight makes every event a spike."""
    return core(index, np.ones((1, 1, 1, 1)), (1, 1, 1), to=to, **options)


def at(times_ps):
    """Events at the only pixel."""
    events = np.zeros(len(times_ps), PACKED_DTYPE)
    events["t_ps"], events["n"] = times_ps, 1
    return events


# --- published times (V6) -------------------------------------------------------------------------


def test_one_event_through_one_layer_takes_the_published_time():
    chip = config([core(1, np.ones((1, 1, 3, 3)), (1, 8, 8), padding=(1, 1))], (1, 8, 8),
                  entries=[1])  # fmt: skip
    result = NSoCEmulator(chip).run(np.array([(5, 4, 4, 0)], EVENTS))
    assert result.latency.first_output_ps.tolist() == [1_580_000]
    assert result.spikes["t_ps"][0] == 5_000_000 + 627_500 + 102_500 + 93_000 + 27_000


def test_one_event_through_nine_layers_takes_the_published_time():
    cores = [pixel(i, ((i + 1, 1, 0),)) for i in range(8)] + [pixel(8)]
    result = NSoCEmulator(config(cores, (1, 1, 1))).run(np.array([(0, 0, 0, 0)], EVENTS))
    assert result.latency.first_output_ps.tolist() == [3_360_000]
    assert result.noc["packets"] == result.noc["hops_star"] == 10


def test_layer_times_reach_from_one_to_256_positions():
    for size, expected in ((1, 120_000), (16, 93_000 + 256 * 27_000)):
        weights = np.ones((1, 1, size, size))
        shape = (1, 31, 31)
        chip = config([core(1, weights, shape, threshold=2)], shape, entries=[1])
        with pytest.warns(BandwidthWarning) if size == 16 else nullcontext():
            result = NSoCEmulator(chip).run(np.array([(0, 15, 15, 0)], EVENTS))
        assert result.per_core[0]["busy_ps"] == expected


def test_core_0_updates_three_synapses_at_a_time():
    for number, busy in ((0, 93_000 + 3 * 27_000), (1, 93_000 + 9 * 27_000)):
        chip = config([core(number, np.ones((9, 1, 1, 1)), (1, 1, 1), threshold=9)], (1, 1, 1),
                      entries=[number])  # fmt: skip
        result = NSoCEmulator(chip).run(at([0]))
        assert result.per_core[0]["busy_ps"] == busy
    wide = NSoCEmulator(chip, parallel_cores=(0, 1)).run(at([0]))
    assert wide.per_core[0]["busy_ps"] == 93_000 + 3 * 27_000


def test_times_can_be_overridden_and_profiles_chosen():
    chip = config([pixel(0)], (1, 1, 1))
    assert NSoCEmulator(chip, timing="throughput").times_ps["t_syn"] == 33_300
    chip.timing = {"t_syn": 1000.5}
    assert NSoCEmulator(chip).times_ps["t_syn"] == 1000  # ties to even
    assert NSoCEmulator(chip, timing={"t_syn": 7}).times_ps["t_syn"] == 7
    for timing, message in (
        ("fast", "profiles default, throughput"),
        ({"t_sin": 1}, "known times are"),
        ({"t_syn": -1}, "number from 0"),
        ({"t_syn": float("nan")}, "number from 0"),
        ({"t_syn": float("inf")}, "number from 0"),
    ):
        with pytest.raises(ValueError, match=message):
            NSoCEmulator(chip, timing=timing)


# --- queues (V7, V8) ------------------------------------------------------------------------------

SERVER = {"t_decode": 70, "t_syn": 30, "t_io_in": 0, "t_hop_x": 0}


def test_waiting_agrees_with_queueing_theory():
    # an M/D/1 queue at half load waits rho * s / (2 * (1 - rho)) = s / 2 on average; the error of a
    # mean over a million correlated waits is about 0.3 %, so 3 % is ten times that
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(200_000, 1_000_000)).astype(np.int64)
    timing = {"t_decode": 70_000, "t_syn": 30_000, "t_io_in": 0, "t_hop_x": 0}
    chip = config([pixel(1, threshold=1000)], (1, 1, 1), entries=[1])
    result = NSoCEmulator(chip, timing=timing).run(at(times))
    (record,) = result.per_core
    assert record["processed"] == len(times)
    assert abs(record["wait_ps"] / len(times) / 50_000 - 1) < 0.03
    assert abs(result.utilization[0] - 0.5) < 0.01


def reference_queue(times, service, capacity):
    """Which arrivals are lost at a server with so many places to wait."""
    lost, ends = [], []
    for i, time in enumerate(times):
        ends = [end for end in ends if end > time]
        if ends and len(ends) - 1 >= capacity:
            lost.append(i)
        else:
            ends.append(max([time, *ends]) + service)
    return lost


@pytest.mark.parametrize("capacity", [0, 1, 2, 5])
def test_drops_are_those_of_a_queue_with_few_places(capacity):
    times = np.cumsum(np.random.default_rng(capacity).integers(0, 150, 800))
    chip = config([pixel(1)], (1, 1, 1), entries=[1])
    emulator = NSoCEmulator(chip, queue_policy="drop", queue_capacity=capacity, timing=SERVER)
    with pytest.warns(BandwidthWarning, match="dropped"):
        result = emulator.run(at(times))
    lost = reference_queue(times.tolist(), 100, capacity)
    assert result.drops["root"].tolist() == lost
    assert result.drops["core"].tolist() == [1] * len(lost)
    assert result.per_core[0]["queue_max"] == capacity


def test_an_overloaded_core_works_without_a_break():
    chip = config([pixel(1)], (1, 1, 1), entries=[1])
    with pytest.warns(BandwidthWarning, match="without time to spare"):
        result = NSoCEmulator(chip, timing=SERVER, queue_capacity=3).run(at(np.arange(1000) * 10))
    assert result.makespan_ps == 1000 * 100
    assert result.utilization == [1.0]
    # the server takes one of ten arrivals, so the fifth arrival is the fourth that waits, and the
    # last of these stops waiting when four are left
    assert result.per_core[0]["stall_ps"] == 1000 * 100 - 300 - 40 - 100
    assert result.per_core[0]["wait_ps"] == sum(i * 100 - i * 10 for i in range(1000))


def test_a_congestion_balancer_drops_with_its_own_capacity():
    chip = config([pixel(1)], (1, 1, 1), entries=[1])
    chip.cores[0].congestion_balancer.enable = True
    chip.cores[0].congestion_balancer.capacity = 1
    with pytest.warns(BandwidthWarning):
        result = NSoCEmulator(chip, timing=SERVER).run(at([0, 1, 2, 3]))
    assert result.drops["root"].tolist() == [2, 3]


def slow(index, **options):
    """A core with four synapses for each event and no spikes: 70 + 4 * 30 = 190 ps."""
    return core(index, np.ones((4, 1, 1, 1)), (1, 1, 1), threshold=1000, **options)


def test_a_full_queue_stalls_its_sender_and_the_input():
    chip = config([pixel(1, ((2, 1, 0),)), slow(2)], (1, 1, 1), entries=[1])
    emulator = NSoCEmulator(chip, queue_policy="stall", queue_capacity=1, timing=SERVER,
                            record=("spikes", "load"))  # fmt: skip
    with pytest.warns(BandwidthWarning, match="the input waited"):
        result = emulator.run(at([0, 0, 0, 0]))
    first, second = result.per_core
    # core 1 works 100 ps on an event; core 2 works 190 ps, from 100 on, and one may wait there: the
    # fourth spike is ready at 400, but the third waits until 480
    assert result.spikes_of(1)["t_ps"].tolist() == [100, 200, 300, 480]
    starts = [result.services["start_ps"][result.services["core"] == i].tolist() for i in (1, 2)]
    assert starts == [[0, 100, 200, 300], [100, 290, 480, 670]]
    assert (first["blocked_ps"], first["busy_ps"], first["queue_max"]) == (80, 480, 1)
    # the second waits in the queue at once; the third enters at 100, the fourth at 200
    assert result.noc["input_wait_ps"] == 100 + 100
    assert first["wait_ps"] == 3 * 100
    assert (second["wait_ps"], second["queue_max"]) == (90 + 180 + 190, 1)
    assert (second["blocked_ps"], second["stall_ps"], result.makespan_ps) == (0, 0, 860)


def test_without_waiting_room_a_sender_waits_for_an_idle_core():
    chip = config([pixel(1, ((2, 1, 0),)), slow(2)], (1, 1, 1), entries=[1])
    emulator = NSoCEmulator(chip, queue_policy="stall", queue_capacity=0, timing=SERVER)
    with pytest.warns(BandwidthWarning):
        result = emulator.run(at([0, 0]))
    assert result.spikes_of(1)["t_ps"].tolist() == [100, 290]
    assert result.per_core[0]["blocked_ps"] == 290 - 200
    assert result.noc["input_wait_ps"] == 100
    assert result.makespan_ps == 290 + 190


def test_a_sender_that_waits_for_one_core_does_not_feed_the_other():
    both = pixel(1, ((2, 1, 0), (3, 1, 0)))
    chip = config([both, slow(2), pixel(3, threshold=99)], (1, 1, 1), entries=[1])
    emulator = NSoCEmulator(chip, queue_policy="stall", queue_capacity=1, timing=SERVER,
                            record=("spikes", "load"))  # fmt: skip
    with pytest.warns(BandwidthWarning):
        result = emulator.run(at([0, 0, 0, 0]))
    starts = result.services[result.services["core"] == 3]["start_ps"]
    assert starts.tolist() == [100, 200, 300, 480]


def test_an_event_on_its_way_holds_its_place():
    chip = config([pixel(1, ((2, 1, 0),)), slow(2)], (1, 1, 1), entries=[1])
    timing = SERVER | {"t_hop_x": 1000}
    emulator = NSoCEmulator(chip, queue_policy="stall", queue_capacity=1, timing=timing)
    with pytest.warns(BandwidthWarning):
        result = emulator.run(at([0, 0]))
    # the second event leaves the port when the first, under way until 1000, starts
    assert result.spikes_of(1)["t_ps"].tolist() == [1100, 2100]
    assert result.noc["input_wait_ps"] == 1000


def test_the_device_says_what_happens_at_a_full_queue():
    chip = config([pixel(1)], (1, 1, 1), entries=[1])
    device = dataclasses.replace(get_device("speck2fmodule"), queue_policy="drop")
    with pytest.warns(BandwidthWarning, match="dropped"):
        result = NSoCEmulator(chip, device=device, queue_capacity=0, timing=SERVER).run(at([0, 0]))
    assert len(result.drops) == 1
    device = dataclasses.replace(device, queue_policy="stall")
    with pytest.warns(BandwidthWarning, match="the input waited 0.000 us"):
        result = NSoCEmulator(chip, device=device, queue_capacity=0, timing=SERVER).run(at([0, 0]))
    assert len(result.drops) == 0


def test_a_balancer_drops_although_senders_wait_elsewhere():
    chip = config([pixel(1, ((2, 1, 0),)), slow(2)], (1, 1, 1), entries=[1])
    chip.cores[1].congestion_balancer.enable = True
    chip.cores[1].congestion_balancer.capacity = 0
    emulator = NSoCEmulator(chip, queue_policy="stall", queue_capacity=9, timing=SERVER)
    with pytest.warns(BandwidthWarning, match="dropped"):
        result = emulator.run(at([0, 0, 0]))
    assert result.drops["t_ps"].tolist() == [200]
    assert result.per_core[0]["blocked_ps"] == 0


# --- potentials of 16 bits ------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["functional", "timing"])
def test_potentials_that_leave_16_bits_are_counted(engine):
    # 300 * -128 = -38,400: the 257th update is the first that does not fit
    falling = core(1, [[[[-128]]]], (1, 1, 1), threshold=9, low=-(2**15))
    chip = config([falling], (1, 1, 1), entries=[1])
    with pytest.warns(SaturationWarning, match="'layer1' 44 times"):
        result = NSoCEmulator(chip, engine=engine).run(at(np.arange(300) * 10**9))
    assert result.per_core[0]["saturated"] == 300 - 256
    assert result.final_state[1].tolist() == [[[-(2**15)]]]
    assert "16 bits" in result.warnings[-1]
    assert result.to_dict()["warnings"] == result.warnings
    rising = core(0, [[[[100]]]], (1, 1, 1), threshold=30_000)
    chip = config([rising], (1, 1, 1), mode="packet", spike_fn="single")
    with pytest.warns(SaturationWarning):
        result = NSoCEmulator(chip, engine=engine).run(packets_from_frames([[[[400]]], [[[1]]]]))
    assert result.final_state[0].tolist() == [[[32_767 - 30_000 + 100]]]
    assert result.per_core[0]["saturated"] == 1


def test_a_lower_bound_within_16_bits_is_no_saturation():
    chip = config([core(1, [[[[-128]]]], (1, 1, 1), threshold=9, low=-300)], (1, 1, 1), entries=[1])
    result = NSoCEmulator(chip).run(at(np.arange(9) * 10**9))
    assert result.per_core[0]["saturated"] == 0
    assert result.warnings == []


# --- several passes -------------------------------------------------------------------------------

INSTANT = dict.fromkeys(
    ("t_io_in", "t_router", "t_hop_x", "t_hop_y", "t_link", "t_emit", "t_sync"), 0
)
PASSES = INSTANT | {"t_decode": 100, "t_syn": 30, "t_upd": 7, "t_upd_active": 9, "t_io_out": 5,
                    "t_config": 10}  # fmt: skip


def two_passes(**numeric):
    cells = [pixel(0, ((1, 1, 0),)), pixel(1)]
    cells[1].pass_index = 1
    return config(cells, (1, 1, 1), device="loihi", mode="packet", **numeric)


def test_a_second_pass_begins_when_it_is_configured():
    result = NSoCEmulator(two_passes(), timing=PASSES).run([at([0])])
    # an event: 100 + 30; the end of the packet: 100 + 9. Then the spike leaves the chip (5), and
    # one weight, a threshold and a potential are written: 1 + 4 + 4 bytes of 10 ps
    assert result.spikes_of(0)["t_ps"].tolist() == [239]
    first, second = result.passes
    assert (first["layers"], first["begin_ps"], first["end_ps"]) == ([0], 0, 239)
    assert (second["begin_ps"], second["end_ps"]) == (239 + 5 + 90, 334 + 239)
    assert (second["configuration_bytes"], second["configuration_ps"]) == (9, 90)
    assert (first["events_stored"], second["events_in"], second["events_stored"]) == (1, 1, 0)
    assert result.spikes_of(1)["t_ps"].tolist() == [573]
    assert result.latency.spike_ps.tolist() == [573 + 5]
    assert result.latency.packet_ps.tolist() == [573 + 5]
    assert result.makespan_ps == 573
    assert result.duration_ps == 573 + 5 + 90  # the first pass is put back
    assert result.outputs[1].tolist() == [[[[1]]]]
    assert sorted(result.outputs) == [1]
    # what goes out and in again passes the pads too; nobody says what writing a network costs
    (chip,) = [c for c in result.energy.counts if c.layer == "(chip)"]
    assert chip.more["events through pads"] == 4
    assert chip.more["configuration bytes"] == 18
    assert "configuration bytes" in result.energy.unpriced
    assert result.energy.total is None


def test_a_delay_between_layers_lasts_across_passes_and_runs():
    emulator = NSoCEmulator(two_passes(layer_delay=1), timing=PASSES)
    assert emulator.run([at([0]), at([])]).outputs[1].ravel().tolist() == [0, 1]
    assert emulator.run([at([0])]).outputs[1].ravel().tolist() == [0]
    assert emulator.run([at([])]).outputs[1].ravel().tolist() == [1]
    emulator.run([at([0])])
    emulator.reset()
    assert emulator.run([at([])]).outputs[1].ravel().tolist() == [0]


def test_a_network_larger_than_the_chip_gives_the_same_as_on_a_larger_chip():
    rng = np.random.default_rng(7)
    graph = chain(4, side=6, features=3, threshold=20, min_v=-20)
    layers = tuple(
        dataclasses.replace(layer, weights=rng.integers(-9, 19, layer.weights.shape).astype("i1"))
        for layer in graph.layers
    )
    graph = dataclasses.replace(graph, layers=layers)
    whole = dataclasses.replace(get_device("loihi"), layer_delay=0)
    small = dataclasses.replace(whole, cores=whole.cores[:2])
    packets = packets_from_frames(rng.poisson(0.5, (6, 6, 6, 1)), 100)
    results = []
    for device in (whole, small):
        placement = place(graph, device, allow_multipass=True)
        chip = build_config(graph, device, 0, placement)
        for record in chip.cores:
            record.monitor_enable = True
        results.append(NSoCEmulator(chip, device=device).run(packets))
    single, several = results
    assert [len(result.passes) for result in results] == [1, 2]
    assert_array_equal(single.outputs[3], several.outputs[3])
    assert single.outputs[3].any()
    assert several.noc["packets"] == single.noc["packets"] + several.passes[1]["events_in"]
    for layer in range(4):
        assert_array_equal(single.final_state[layer], several.final_state[layer])
        for name in ("root", "x", "y", "c", "n"):
            left, right = single.spikes_of(layer)[name], several.spikes_of(layer)[name]
            assert_array_equal(left, right)


# --- the network on the chip (V9) -----------------------------------------------------------------


def test_packets_on_a_mesh_take_manhattan_paths_one_at_a_time():
    device = mesh_of(get_device("loihi"), 5, 4)
    cores = [pixel(i, ((i + 1, 1, 0),)) for i in range(4)] + [pixel(4)]
    chip = config(cores, (1, 1, 1))
    timing = dict.fromkeys(("t_io_in", "t_io_out", "t_decode", "t_syn", "t_emit", "t_router"), 0)
    timing |= {"t_hop_x": 3, "t_hop_y": 5, "t_link": 40}
    emulator = NSoCEmulator(chip, device=device, timing=timing, record=("spikes", "links"))
    result = emulator.run(at([0, 0, 1, 2, 50]))
    places = [device.cores[record.neural_processors[0]].xy for record in cores]
    stops = [(0, 0), *places, (0, 0)]
    hops_x = sum(abs(a[0] - b[0]) for a, b in itertools.pairwise(stops))
    hops_y = sum(abs(a[1] - b[1]) for a, b in itertools.pairwise(stops))
    assert hops_x
    assert hops_y
    assert result.noc["hops_x"] == 5 * hops_x
    assert result.noc["hops_y"] == 5 * hops_y
    assert result.noc["packets"] == 5 * 6
    assert sum(result.noc["link_busy_ps"].values()) == 40 * 5 * (hops_x + hops_y)
    for link in np.unique(result.links[["from_node", "to_node"]]):
        rows = result.links[["from_node", "to_node"]] == link
        assert (np.diff(np.sort(result.links["depart_ps"][rows])) >= 40).all()
    first = result.links[result.links["root"] == 4]
    assert first["from_node"][0] == 0


def test_a_lone_packet_pays_router_and_hops():
    device = get_device("loihi")
    chip = config([pixel(0)], (1, 1, 1))
    chip.cores[0].neural_processors = [next(c.id for c in device.cores if c.xy == (3, 2))]
    timing = {"t_router": 7, "t_hop_x": 100, "t_hop_y": 1000, "t_decode": 0, "t_syn": 0}
    timing |= {"t_emit": 0, "t_io_in": 5, "t_io_out": 6, "t_link": 50}
    result = NSoCEmulator(chip, device=device, timing=timing).run(at([0]))
    assert result.spikes["t_ps"].tolist() == [5 + 7 + 300 + 2000]
    assert result.t_out_ps.tolist() == [2 * (7 + 300 + 2000) + 5 + 6]


# --- merging (V2) ---------------------------------------------------------------------------------


def diamond():
    """Two ways to one core, where the other way is the slower one and the order decides."""
    ones = np.ones((1, 1, 1, 1))
    slow = np.zeros((40, 1, 1, 1))
    slow[:, 0] = 1
    weights = np.full((1, 41, 1, 1), 5)
    weights[0, 40] = -20
    return config(
        [
            core(0, slow, (1, 1, 1), to=((2, 1, 0),), threshold=1),
            core(1, ones, (1, 1, 1), to=((2, 1, 40),)),
            core(2, weights, (41, 1, 1), threshold=7, low=-30),
        ],
        (1, 1, 1),
        entries=(0, 1),
    )


def test_the_causal_policy_keeps_the_order_that_arrival_does_not():
    chip, events = diamond(), at(np.arange(6) * 10_000_000)
    expected = NSoCEmulator(chip, engine="functional").run(events)
    causal = NSoCEmulator(chip).run(events)
    arrival = NSoCEmulator(chip, merge_policy="arrival").run(events)

    def roots(result):
        return result.spikes_of(2)["root"].tolist(), result.final_state[2].tolist()

    assert roots(causal) == roots(expected)
    assert roots(arrival) != roots(expected)
    assert causal.per_core[2]["hold_ps"] > 0
    assert len(causal.merge_trace) == 0
    replayed = NSoCEmulator(chip, engine="functional", merge_trace=arrival.merge_trace).run(events)
    assert roots(replayed) == roots(arrival)
    assert len(arrival.merge_trace) == arrival.per_core[2]["events_in"]
    with pytest.raises(ValueError, match="does not belong"):
        NSoCEmulator(chip, engine="functional", merge_trace=arrival.merge_trace[:-1]).run(events)
    with pytest.raises(ValueError, match="needs engine='functional'"):
        NSoCEmulator(chip, merge_trace=arrival.merge_trace)


# --- determinism (V5) -----------------------------------------------------------------------------


def busy_chip():
    rng = np.random.default_rng(5)
    first = core(0, rng.integers(-30, 60, (4, 2, 3, 3)), (2, 9, 9), threshold=50, low=-40,
                 bias=[3, -2, 5, 1], to=((1, 1, 0), (2, 2, 4)))  # fmt: skip
    second = core(1, rng.integers(-30, 60, (4, 4, 2, 2)), (4, 7, 7), stride=(2, 2), threshold=60,
                  low=-50, to=((2, 1, 0),))  # fmt: skip
    third = core(2, rng.integers(-30, 60, (5, 8, 3, 3)), (8, 3, 3), threshold=80, low=-70)
    return config([first, second, third], (2, 9, 9), clock=20_000.0)


def digest():
    chip = busy_chip()
    result = NSoCEmulator(chip, jitter={"t_syn": 0.3, "t_decode": 0.1}, seed=9).run(
        random_events(chip, 0, 400, 4000)
    )
    return hashlib.sha256(result.spikes.tobytes() + result.t_out_ps.tobytes()).hexdigest()


def test_equal_runs_give_equal_bytes_in_threads_and_processes():
    expected = digest()
    found = [None] * 4

    def work(i):
        found[i] = digest()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    program = "from tests.unit.nsoc.test_emulator import digest; print(digest())"
    child = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "77"},
    )
    assert child.stdout.strip() == expected


def test_the_seed_decides_about_jitter_alone():
    chip = busy_chip()
    events = random_events(chip, 0, 100, 4000)
    runs = [NSoCEmulator(chip, jitter={"t_syn": 0.3}, seed=s).run(events) for s in (1, 1, 2)]
    plain = NSoCEmulator(chip).run(events)
    assert_array_equal(runs[0].spikes, runs[1].spikes)
    assert runs[0].spikes["t_ps"].tolist() != runs[2].spikes["t_ps"].tolist()
    for run in runs:
        for layer in range(3):
            names = ["root", "x", "y", "c"]
            assert_array_equal(run.spikes_of(layer)[names], plain.spikes_of(layer)[names])


# --- counts (V4) ----------------------------------------------------------------------------------


def test_synaptic_updates_are_those_of_the_connection_map():
    chip = busy_chip()
    chip.numeric.skip_zero = False
    events = random_events(chip, 3, 200, 1000)
    result = NSoCEmulator(chip, engine="functional").run(events)
    counted = synops_map(chip.cores[0])
    assert counted.shape == (2, 9, 9)
    assert result.per_core[0]["synops"] == counted[events["c"], events["y"], events["x"]].sum()
    assert counted[0, 4, 4] == 4 * 9
    assert counted[0, 0, 0] == 4
    chip.cores[0].weights[:, 1] = 0
    assert synops_map(chip.cores[0], skip_zero=True)[1].sum() == 0


def test_the_decimator_lets_one_of_n_pass():
    chip = config([pixel(0)], (1, 1, 1))
    chip.cores[0].output_decimator.enable = True
    chip.cores[0].output_decimator.interval = 4
    emulator = NSoCEmulator(chip)
    result = emulator.run(at(np.arange(10) * 1_000_000))
    assert result.spikes["root"].tolist() == [3, 7]
    assert result.per_core[0]["decimated"] == 8
    again = emulator.run(at(np.arange(4) * 1_000_000))
    assert again.spikes["root"].tolist() == [1]  # two were counted before
    emulator.reset()
    assert emulator.run(at([0])).per_core[0]["decimated"] == 1


def test_ticks_leak_as_the_specification_computes():
    cell = core(0, [[[[127]]]], (1, 1, 1), threshold=200, low=-127, bias=[-13])
    chip = config([cell], (1, 1, 1), clock=1.0)
    emulator = NSoCEmulator(chip)
    states = [int(emulator.run(at([0]), t_end=0).final_state[0][0, 0, 0])]
    for _ in range(4):
        states.append(int(emulator.run(at([]), t_end=1e6).final_state[0][0, 0, 0]))
    assert states == [127, 114, 101, 88, 75]
    assert emulator.run(at([]), t_end=3e6).per_core[0]["leak_updates"] == 3


# --- sensor, read-out, packets --------------------------------------------------------------------


def with_sensor(chip, **options):
    settings = {"merge": False, "pooling": XY(), "origin": XY(0, 0), "cut": XY(7, 5),
                "mirror": XYFlags(), "mirror_diagonal": False}  # fmt: skip
    settings |= options
    chip.input = None
    chip.dvs = DvsConfig(
        MapShape.of((2, 6, 8)), pass_sensor_events=True, monitor_enable=True,
        destinations=[DestinationConfig(0)], **settings,
    )  # fmt: skip
    return chip


def test_the_sensor_block_pools_crops_mirrors_and_swaps():
    cell = core(0, np.ones((1, 1, 1, 1)), (1, 2, 2))
    chip = with_sensor(
        config([cell], (1, 2, 2)), merge=True, pooling=XY(2, 2), origin=XY(1, 0), cut=XY(2, 1),
        mirror=XYFlags(True, False), mirror_diagonal=True,
    )  # fmt: skip
    events = np.array([(1, 2, 1, 1), (2, 5, 3, 0), (3, 0, 0, 0), (4, 7, 0, 0)], EVENTS)
    result = NSoCEmulator(chip).run(events)
    # (2, 1) -> pooled (1, 0) -> cropped (0, 0) -> mirrored (1, 0) -> swapped (0, 1)
    found = result.spikes_of(0)[["root", "x", "y", "c"]].tolist()
    assert found == [(0, 0, 1, 0), (1, 1, 0, 0)]
    assert result.spikes_of(-1)[["x", "y", "c"]].tolist() == [
        (2, 1, 1),
        (5, 3, 0),
        (0, 0, 0),
        (7, 0, 0),
    ]
    assert result.sensor_events == result.input_events == 4
    assert result.per_core[0]["events_in"] == 2


def test_pixels_send_noise_by_themselves():
    cell = core(0, np.ones((1, 2, 1, 1)), (2, 6, 8))
    chip = with_sensor(config([cell], (2, 6, 8)))
    runs = [NSoCEmulator(chip, dvs_noise_hz=50.0, seed=s).run(at([]), t_end=1e5) for s in (3, 3, 4)]
    assert_array_equal(runs[0].spikes, runs[1].spikes)
    assert len(runs[0].spikes) != len(runs[2].spikes)
    assert 350 < runs[0].input_events < 610  # 480 expected, six standard deviations
    with pytest.raises(ValueError, match="only for a configuration with a sensor"):
        NSoCEmulator(config([cell], (2, 6, 8)), dvs_noise_hz=1.0)


def test_the_readout_judges_every_cycle_of_the_slow_clock():
    cell = core(0, np.ones((9, 9, 1, 1)) * np.eye(9)[:, :, None, None], (9, 1, 1))
    chip = config([cell], (9, 1, 1), clock=1000.0)
    chip.readout = ReadoutConfig(True, 0, window=1, threshold=2)
    events = np.array([(100, 0, 0, 4), (200, 0, 0, 4), (300, 0, 0, 8), (1500, 0, 0, 8),
                       (2100, 0, 0, 3), (2200, 0, 0, 3), (3100, 0, 0, 8), (3200, 0, 0, 8)],
                      EVENTS)  # fmt: skip
    result = NSoCEmulator(chip).run(events, t_end=4000)
    assert result.readout.tolist() == [2, 0, 0, 3]  # features 4 and 8; 3 reaches no class
    chip.readout = ReadoutConfig(True, 0, window=16, threshold=2)
    assert NSoCEmulator(chip).run(events, t_end=4000).readout.tolist() == [2, 2, 2, 3]
    chip.readout = ReadoutConfig(True, 0, window=16, threshold=2, mode="threshold")
    assert NSoCEmulator(chip).run(events, t_end=4000).readout.tolist() == [2, 2, 2, 2]


def packet_chip(**numeric):
    cells = [core(0, np.full((1, 1, 1, 1), 10), (1, 1, 2), threshold=8, to=((1, 1, 0),)),
             core(1, np.full((1, 1, 1, 1), 8), (1, 1, 2), threshold=8)]  # fmt: skip
    return config(cells, (1, 1, 2), mode="packet", **numeric)


def test_packets_fire_once_and_report_their_latency():
    frames = np.array([[[[2], [0]]], [[[0], [3]]], [[[0], [0]]]])
    result = NSoCEmulator(packet_chip()).run(packets_from_frames(frames, period_us=10))
    # 20 = 2 * 8 + 4, then 30 and 4 left elsewhere; state is kept
    assert result.outputs[1][:, 0, :, 0].tolist() == [[2, 0], [0, 3], [0, 0]]
    assert result.final_state[0][0, 0].tolist() == [4, 6]
    assert len(result.latency.packet_ps) == 3
    assert (result.latency.packet_ps > 0).all()
    assert result.per_core[0]["neuron_updates"] == 6
    single = NSoCEmulator(packet_chip(graded=True)).run(packets_from_frames(frames))
    assert single.spikes_of(1)["n"].tolist() == [2, 3]
    assert single.per_core[1]["events_in"] == 2


def test_packet_ends_cut_a_recording():
    events = np.array([(5, 0, 0, 0), (9, 0, 0, 0), (10, 1, 0, 0), (31, 1, 0, 0)], EVENTS)
    emulator = NSoCEmulator(packet_chip())
    cut = emulator.run(events, packet_ends=[10, 20, 40])
    frames = np.array([[[[2], [0]]], [[[0], [1]]], [[[0], [1]]]])
    emulator.reset()
    assert_array_equal(cut.outputs[1], emulator.run(packets_from_frames(frames)).outputs[1])
    for ends, message in (([10], "lie behind"), ([20, 10], "ascend"), ([[1]], "one-dimensional")):
        with pytest.raises(ValueError, match=message):
            emulator.run(events, packet_ends=ends)
    with pytest.raises(ValueError, match="needs packets"):
        emulator.run(events)
    with pytest.raises(ValueError, match="before packet 0 has ended"):
        emulator.run([events, events])


def test_a_barrier_makes_cores_fire_together():
    chip = packet_chip(layer_delay=1)
    timing = {"t_sync": 1_000_000}
    result = NSoCEmulator(chip, sync="barrier", timing=timing, record=("spikes", "load")).run(
        packets_from_frames(np.array([[[[2], [0]]], [[[0], [3]]], [[[0], [0]]]]))
    )
    assert result.outputs[1][:, 0, :, 0].tolist() == [[0, 0], [2, 0], [0, 3]]
    assert result.barriers == 3
    sweeps = result.services[result.services["kind"] == 2]
    starts = [sweeps["start_ps"][sweeps["core"] == i].tolist() for i in (0, 1)]
    assert starts[0] == starts[1]
    with pytest.raises(ValueError, match="layer_delay=1"):
        NSoCEmulator(packet_chip(), sync="barrier")


# --- states, results, errors ----------------------------------------------------------------------


def test_runs_continue_from_the_state_and_reset_restores_it():
    chip = config([core(0, [[[[5]]]], (1, 1, 1), threshold=12, low=-1)], (1, 1, 1))
    emulator = NSoCEmulator(chip)
    assert len(emulator.step((0, 0, 0, 0))) == 0
    assert len(emulator.step(at([0])[0])) == 0
    assert emulator.state(0).tolist() == [[[10]]]
    assert emulator.step((0.5, 0, 0, 0))["t_ps"].tolist() == [500_000 + 850_000]
    assert emulator.state(0).tolist() == [[[3]]]
    emulator.reset()
    assert emulator.state(0).tolist() == [[[0]]]
    with pytest.raises(KeyError, match="layers that do"):
        emulator.state(3)


def test_a_run_that_outgrows_its_memory_leaves_the_state_alone():
    chip = busy_chip()
    emulator = NSoCEmulator(chip, memory_limit=20_000)
    before = emulator.state(0)
    with pytest.raises(EmulationLimitError, match="memory_limit"):
        emulator.run(random_events(chip, 0, 2000, 10))
    assert_array_equal(emulator.state(0), before)
    with pytest.raises(EmulationLimitError):
        NSoCEmulator(chip, engine="functional", memory_limit=5000).run(
            random_events(chip, 0, 2000, 10)
        )


def test_load_over_time_adds_up_to_the_busy_time():
    chip = busy_chip()
    result = NSoCEmulator(chip, record=("spikes", "load")).run(random_events(chip, 1, 300, 900))
    edges, load = result.load_over_time(7_000_000)
    assert load.shape == (3, len(edges) - 1)
    busy = [record["busy_ps"] for record in result.per_core]
    # a sum of exact quotients, each rounded once
    np.testing.assert_allclose(load.sum(axis=1) * 7_000_000, busy, rtol=1e-12)
    assert (load >= 0).all()
    assert (load <= 1).all()
    with pytest.raises(ValueError, match="record"):
        NSoCEmulator(chip).run(random_events(chip, 1, 30, 900)).load_over_time(1000)


def test_results_are_json():
    chip = busy_chip()
    result = emulate(chip, random_events(chip, 1, 300, 900))
    content = json.loads(result.to_json())
    assert content["per_core"] == result.per_core
    assert content["spikes"]["t_ps"] == result.spikes["t_ps"].tolist()
    assert content["latency"]["spike_ps"]["count"] == len(result.spikes_of(2))
    assert content["config_sha256"] == chip.sha256()
    assert "synaptic updates" in str(result)
    counts, below, above = result.latency.histogram()
    assert counts.sum() + below + above == len(result.latency.spike_ps)
    assert (np.diff(result.spikes["t_ps"]) >= 0).all()


def test_percentiles_are_nearest_ranks():
    assert [nearest_rank([5, 1, 3, 2, 4], p) for p in (0, 20, 21, 50, 100)] == [1, 1, 2, 3, 5]
    with pytest.raises(ValueError, match="no percentile"):
        nearest_rank([], 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "fast"}, "engine is 'fast'"),
        ({"merge_policy": "random"}, "merge_policy"),
        ({"queue_policy": "wait"}, "queue_policy"),
        ({"queue_capacity": -1}, "queue_capacity is -1"),
        ({"record": "spikes"}, "collection"),
        ({"record": ("spikes", "energy")}, "record"),
        ({"jitter": {"t_io": 0.1}}, "may vary"),
        ({"jitter": {"t_syn": 3.0}}, "0 to 2"),
        ({"decay": 3}, "event mode has no packets"),
        ({"sync": "barrier"}, "event mode has no packets"),
        ({"parallel_cores": (99,)}, "has no core"),
        ({"memory_limit": 0}, "memory_limit"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        NSoCEmulator(busy_chip(), **options)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (np.array([(0, 9, 0, 0)], EVENTS), "x 0 to 8"),
        (np.array([(0, 0, 9, 0)], EVENTS), "y 0 to 8"),
        (np.array([(0, 0, 0, 2)], EVENTS), "c 0 to 1"),
        (np.array([(-1, 0, 0, 0)], EVENTS), "event 0 has t -1"),
        (np.array([(2**62, 0, 0, 0)], EVENTS), "event 0 has t"),
        (np.array([(0, 0)], [("t", "i8"), ("x", "u2")]), "need one dimension"),
    ],
)
def test_events_out_of_range_are_named(events, message):
    with pytest.raises(ValueError, match=message):
        NSoCEmulator(busy_chip()).run(events)


def test_inputs_of_the_wrong_kind_are_refused():
    chip = busy_chip()
    with pytest.raises(TypeError, match="structured array"):
        NSoCEmulator(chip).run(np.zeros((4, 9, 9, 2)))
    with pytest.raises(TypeError, match="no configuration"):
        NSoCEmulator("speck2f")
    with pytest.raises(ValueError, match="event mode"):
        NSoCEmulator(chip).run(random_events(chip, 0, 3, 3), packet_ends=[4])
    with pytest.raises(ValueError, match="the last event comes at"):
        NSoCEmulator(chip).run(random_events(chip, 0, 3, 300), t_end=1)
    with pytest.raises(NSoCError, match="whole packets"):
        NSoCEmulator(packet_chip()).step((0, 0, 0, 0))
    with pytest.raises(ValueError, match="frames are"):
        packets_from_frames(np.zeros((3, 3)))


def test_configurations_that_cannot_run_are_refused():
    circle = config([pixel(0, ((1, 1, 0),)), pixel(1, ((0, 1, 0),))], (1, 1, 1))
    with pytest.raises(ConfigValidationError, match="circle"):
        NSoCEmulator(circle)
    lost = config([pixel(0, ((5, 1, 0),))], (1, 1, 1))
    with pytest.raises(ConfigValidationError, match="core 5, which is not configured"):
        NSoCEmulator(lost)
    two = config([pixel(0), pixel(0)], (1, 1, 1))
    with pytest.raises(ConfigValidationError, match="twice"):
        NSoCEmulator(two)
    passes = config([pixel(0, ((1, 1, 0),)), pixel(1)], (1, 1, 1))
    passes.cores[1].pass_index = 1
    with pytest.raises(NSoCError, match="2 passes over the chip, but in event mode"):
        NSoCEmulator(passes)
    back = two_passes()
    back.cores[0].pass_index, back.cores[1].pass_index = 1, 0
    with pytest.raises(ConfigValidationError, match="in pass 1, but sends to core 1 in pass 0"):
        NSoCEmulator(back)
    back.cores[0].pass_index = back.cores[1].pass_index = 2
    with pytest.raises(ConfigValidationError, match="no layer is in pass 0 of 3"):
        NSoCEmulator(back)
    wide = config([pixel(0)], (1, 1, 1))
    wide.cores[0].weights = np.zeros((2, 1, 1, 1), np.int8)
    with pytest.raises(ConfigValidationError, match="weights of shape"):
        NSoCEmulator(wide)
    timeless = dataclasses.replace(get_device("speck2fmodule"), timing=None)
    with pytest.raises(NSoCError, match="no service times"):
        NSoCEmulator(config([pixel(0)], (1, 1, 1)), device=timeless)
    run = NSoCEmulator(config([pixel(0)], (1, 1, 1)), device=timeless, engine="functional").run
    assert len(run(at([0])).spikes) == 1
