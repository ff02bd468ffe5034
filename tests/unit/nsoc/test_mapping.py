"""Placement: canonical, objectives, explanations, manual orderings, meshes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.nsoc.core_graph import CoreGraph, Destination
from kerasnsoc.nsoc.devices import get_device
from kerasnsoc.nsoc.errors import ConfigValidationError, EnergyOnlyDeviceError, MappingError
from kerasnsoc.nsoc.mapping import (
    Matching,
    _cheapest,
    _smallest,
    estimated_updates,
    feasible_cores,
    manual_placement,
    place,
)
from tests.nsoc_graphs import chain, core_layer

SPECK = get_device("speck2f")
MINI = get_device("speck2dmini")
AKIDA = get_device("akd1000")


def sized(index, kernel_ki=1, neuron_ki=1, bias=None):
    """A layer of about so many Ki words, which is never run."""
    channels, features = max(kernel_ki * 1024 // 16, 1), 16
    side = int((neuron_ki * 1024 // 16) ** 0.5)
    return core_layer(
        index,
        weights=np.broadcast_to(np.int8(1), (features, channels, 1, 1)),
        neuron_shape=(features, side, side),
        bias=bias,
    )


def graph(*layers):
    return CoreGraph(tuple(layers), (1, 4, 4), None, (Destination(0),))


tables = st.lists(st.sets(st.integers(0, 5), max_size=4), min_size=1, max_size=5)


def complete_matchings(table):
    columns = sorted(set().union(*table))
    for chosen in itertools.permutations(columns, len(table)):
        if all(c in row for c, row in zip(chosen, table, strict=True)):
            yield chosen


@given(tables)
def test_the_canonical_placement_is_the_smallest_of_all(table):
    every = list(complete_matchings(table))
    matching = Matching(table)
    assert matching.is_complete == bool(every)
    if every:
        assert _smallest([sorted(row) for row in table]) == min(every)
        assert matching.violator() is None
    else:
        rows, columns = matching.violator()
        assert len(rows) > len(columns)
        assert set().union(*(table[row] for row in rows)) == set(columns)


@given(tables, st.integers(0, 2**16))
def test_the_cheapest_placement_is_the_smallest_of_the_cheapest(table, seed):
    pytest.importorskip("scipy")
    every = list(complete_matchings(table))
    if not every:
        return
    rng = np.random.default_rng(seed)
    costs = [{c: float(rng.integers(0, 4)) for c in range(6)} for _ in table]
    best = min(sum(costs[r][c] for r, c in enumerate(m)) for m in every)
    cheapest = min(m for m in every if sum(costs[r][c] for r, c in enumerate(m)) == best)
    assert _cheapest([sorted(row) for row in table], costs, list(range(6))) == cheapest


def test_layers_go_to_the_first_cores_that_hold_them():
    big_neurons, big_kernels = sized(0, 1, 64), sized(1, 64, 1)
    assert feasible_cores(big_neurons, SPECK) == [0, 1, 2]
    assert feasible_cores(big_kernels, SPECK) == [5, 6]
    placement = place(graph(big_neurons, big_kernels, sized(2)), SPECK)
    assert placement.core_of == (0, 5, 1)
    assert placement.layer2core_map == {0: 0, 1: 5, 2: 1}


def test_the_first_layer_gives_way_where_it_must():
    placement = place(graph(sized(0), *(sized(i, 1, 64) for i in (1, 2, 3))), SPECK)
    assert placement.core_of == (3, 0, 1, 2)


def test_least_waste_takes_the_smallest_core_that_fits():
    pytest.importorskip("scipy")
    assert place(graph(sized(0)), SPECK, objective="min_waste").core_of == (7,)


def test_the_busiest_layer_gets_the_parallel_core():
    pytest.importorskip("scipy")
    network = chain(3)
    assert place(network, SPECK).core_of == (0, 1, 2)
    busy_last = place(network, SPECK, objective="fast_first", traffic={0: 1.0, 1: 1e6})
    assert busy_last.core_of == (1, 2, 0)
    updates = estimated_updates(network.core_layers, {0: 1.0, 1: 1e6})
    assert updates[2] == 1e6 * 2 * 9


def test_objectives_are_a_closed_list():
    with pytest.raises(ValueError, match="objective is 'best', but it must be one of"):
        place(chain(), SPECK, objective="best")


def test_layers_that_compete_for_too_few_cores_are_named():
    with pytest.raises(MappingError, match="No valid mapping found") as caught:
        place(graph(*(sized(i, 1, 64) for i in range(4))), SPECK)
    assert caught.value.conflict == ((0, 1, 2, 3), (0, 1, 2))
    assert caught.value.unplaceable == {}
    assert "fit only the 3 cores [0, 1, 2]" in str(caught.value)


def test_a_layer_that_fits_nowhere_is_explained():
    with pytest.raises(MappingError, match=r"Layer 1 .layer1. needs 131072 kernel words") as caught:
        place(graph(sized(0), sized(1, 128)), SPECK)
    assert list(caught.value.unplaceable) == [1]
    assert caught.value.conflict is None


def test_ten_layers_are_too_many():
    with pytest.raises(MappingError, match=r"10 layers .* fit only the 9 cores"):
        place(chain(10), SPECK)


def test_biases_need_the_last_cores_of_a_mini():
    assert feasible_cores(sized(0, bias=np.zeros(16, np.int16)), MINI) == [3, 4]
    assert feasible_cores(sized(0), MINI) == [0, 1, 2, 3, 4]


def test_nothing_goes_to_an_energy_only_device():
    with pytest.raises(EnergyOnlyDeviceError, match="'truenorth' is listed for its energy"):
        place(chain(), get_device("truenorth"))


# --- manual ---------------------------------------------------------------------------------------


def test_a_user_decides():
    assert manual_placement([8, 3], chain(), SPECK).core_of == (8, 3)
    assert manual_placement({1: 0, 0: 4}, chain(), SPECK).core_of == (4, 0)


def test_a_longer_ordering_is_cut():
    with pytest.warns(UserWarning, match="4 cores for 2 layers"):
        assert manual_placement([8, 3, 1, 0], chain(), SPECK).core_of == (8, 3)


def test_a_shorter_ordering_is_refused():
    with pytest.raises(ValueError, match="names 1 cores, but the model has 2 layers"):
        manual_placement([0], chain(), SPECK)
    with pytest.raises(ValueError, match=r"missing \[1\], unknown \[7\]"):
        manual_placement({0: 0, 7: 1}, chain(), SPECK)


def test_everything_wrong_with_an_ordering_is_listed():
    network = graph(sized(0, 64), sized(1), sized(2), sized(3))
    with pytest.raises(ConfigValidationError) as caught:
        manual_placement([0, 1, 1, 9], network, SPECK)
    assert [(p.code, p.layer) for p in caught.value.problems] == [
        ("R16", "layer0"),
        ("R17", "layer2"),
        ("R17", "layer3"),
    ]
    assert "cores that fit: [5, 6]" in str(caught.value)
    assert "core 9 does not exist" in str(caught.value)


def test_a_mesh_takes_no_ordering():
    with pytest.raises(ConfigValidationError, match="is a mesh"):
        manual_placement([0, 1], chain(), AKIDA)


# --- meshes ---------------------------------------------------------------------------------------


def large(index, processors, **fields):
    """A layer that needs so many processors of the AKD1000."""
    features = 100
    positions = (processors - 1) * 102_400 // 400 + 1
    return core_layer(
        index,
        weights=np.ones((features, 1, 1, 1), np.int8),
        neuron_shape=(features, 1, positions),
        **fields,
    )


def linked(*layers):
    count = len(layers)
    wired = [
        replace(layer, destinations=(Destination(i + 1 if i + 1 < count else None),))
        for i, layer in enumerate(layers)
    ]
    return graph(*wired)


def test_a_mesh_is_filled_along_its_path():
    placement = place(linked(large(0, 3), large(1, 2), large(2, 20)), AKIDA)
    assert placement.core_of == (0, 1, 2)
    assert placement.processors_of == ((0, 1, 2), (3, 4), tuple(range(5, 25)))
    assert placement.passes == (range(3),)
    assert place(linked(large(0, 3), large(1, 2), large(2, 20)), AKIDA) == placement


def test_layers_are_swapped_where_that_shortens_the_way():
    # Layer 2 takes the port's events and much of them; the long first layer would push it away.
    first, second = large(0, 40), large(1, 2)
    network = replace(
        graph(first, second),
        input_destinations=(Destination(0), Destination(1), Destination(1), Destination(1)),
    )
    placement = place(network, AKIDA)
    assert placement.processors_of[1] == (0, 1)
    assert placement.processors_of[0] == tuple(range(2, 42))


def test_a_mesh_that_is_too_small_needs_several_passes():
    network = linked(large(0, 50), large(1, 40), large(2, 10))
    with pytest.raises(MappingError, match="at least 100 neural processors, but 'akd1000' has 80"):
        place(network, AKIDA)
    placement = place(network, AKIDA, allow_multipass=True)
    assert placement.passes == (range(1), range(1, 3))
    assert [placement.pass_of(i) for i in range(3)] == [0, 1, 1]
    assert placement.processors_of[1][0] == 0


def test_a_layer_larger_than_the_mesh_fits_no_pass():
    with pytest.raises(MappingError, match=r"Layer 0 .layer0. needs 81 neural processors"):
        place(linked(large(0, 81)), AKIDA, allow_multipass=True)
