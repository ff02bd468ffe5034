"""Which layer goes where: cores that hold one layer each, and meshes of processors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from kerasnsoc._extras import require
from kerasnsoc.nsoc.core_graph import CoreGraph, CoreLayer
from kerasnsoc.nsoc.devices import DeviceSpec
from kerasnsoc.nsoc.errors import (
    ConfigValidationError,
    EnergyOnlyDeviceError,
    MappingError,
    Problem,
    TooManyDestinationsError,
)
from kerasnsoc.nsoc.memory import processors_needed, validate_layer, words_of

Objective = Literal["lex", "min_waste", "fast_first"]
OBJECTIVES = ("lex", "min_waste", "fast_first")

MAX_SWEEPS = 1000
_FORBIDDEN = 1e15
"""Cost of a core that cannot hold the layer; every possible sum of real costs is far below."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where each layer goes.

    Attributes
    ----------
    core_of : tuple of int
        Core of each layer, in model order. On a mesh the number of the group, the layer's index.
    processors_of : tuple of tuple of int
        On a mesh the ids of the neural processors of each layer; empty tuples elsewhere.
    passes : tuple of range
        Layers that are on the chip at the same time; one range unless the chip is too small.
    """

    core_of: tuple[int, ...]
    processors_of: tuple[tuple[int, ...], ...] = ()
    passes: tuple[range, ...] = field(default=())

    @property
    def layer2core_map(self) -> dict[int, int]:
        """Layer -> core."""
        return dict(enumerate(self.core_of))

    def pass_of(self, layer: int) -> int:
        """In which pass a layer is on the chip."""
        return next((i for i, layers in enumerate(self.passes) if layer in layers), 0)


def feasible_cores(layer: CoreLayer, device: DeviceSpec) -> list[int]:
    """Ids of the cores whose three memories hold a layer, ascending."""
    words = words_of(layer)
    return sorted(core.id for core in device.cores if words.fits(core))


def place(
    graph: CoreGraph,
    device: DeviceSpec,
    *,
    objective: Objective = "lex",
    allow_multipass: bool = False,
    traffic: Mapping[int, float] | None = None,
) -> Placement:
    """Give every layer its core, or its processors.

    Parameters
    ----------
    graph : CoreGraph
    device : DeviceSpec
    objective : {"lex", "min_waste", "fast_first"}
        The smallest vector of cores in layer order; the least unused memory; the busiest layers on
        cores with several lanes. Ties are broken by the first. The other two need scipy.
    allow_multipass : bool
        Whether a mesh that is too small takes the layers in several passes.
    traffic : mapping of int to float, optional
        Events per packet, or per second, that a layer sends; by default each neuron sends one.

    Returns
    -------
    Placement

    Raises
    ------
    MappingError
        If there is no valid placement; it explains why.
    EnergyOnlyDeviceError
        If nothing can be placed on the device.
    ImportError
        If an objective needs scipy and it is missing, naming the extra.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective is {objective!r}, but it must be one of {OBJECTIVES}")
    check_placeable(device)
    if device.is_mesh:
        return _place_on_mesh(graph, device, allow_multipass, traffic or {})
    return _place_on_cores(graph.core_layers, device, objective, traffic or {})


def check_placeable(device: DeviceSpec) -> None:
    """Refuse a device without a description of its cores."""
    if not device.cores:
        raise EnergyOnlyDeviceError(
            f"device {device.name!r} is listed for its energy figures; its cores are not described "
            "and nothing can be placed on it"
        )


def check_fan_out(graph: CoreGraph, device: DeviceSpec) -> None:
    """Refuse a layer that feeds more layers than a core of the device addresses."""
    limit = device.limits.fan_out if device.limits is not None else 0
    for layer in graph.layers:
        if layer.fan_out > limit:
            targets = [d.target for d in layer.destinations if d.target is not None]
            raise TooManyDestinationsError(
                f"{layer.name}: it feeds the {layer.fan_out} layers {targets}, but a core of "
                f"{device.name!r} addresses {limit}. Put a layer in between that passes its spikes "
                "on."
            )


# --- one layer, one core --------------------------------------------------------------------------


class Matching:
    """A largest set of pairs of rows and columns, by augmenting paths."""

    def __init__(self, columns_of: Sequence[Iterable[int]]) -> None:
        self.columns_of = [sorted(columns) for columns in columns_of]
        self.row_of: dict[int, int] = {}
        for row in range(len(self.columns_of)):
            self._augment(row, set())

    def _augment(self, row: int, seen: set[int]) -> bool:
        for column in self.columns_of[row]:
            if column in seen:
                continue
            seen.add(column)
            if column not in self.row_of or self._augment(self.row_of[column], seen):
                self.row_of[column] = row
                return True
        return False

    @property
    def is_complete(self) -> bool:
        """Whether every row has a column."""
        return len(self.row_of) == len(self.columns_of)

    def violator(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Rows that share fewer columns than they are (Hall), and these columns."""
        unmatched = set(range(len(self.columns_of))) - set(self.row_of.values())
        if not unmatched:
            return None
        rows, columns, waiting = set(), set(), [min(unmatched)]
        while waiting:
            row = waiting.pop()
            if row in rows:
                continue
            rows.add(row)
            for column in self.columns_of[row]:
                columns.add(column)
                waiting.append(self.row_of[column])
        return tuple(sorted(rows)), tuple(sorted(columns))


def _place_on_cores(
    layers: Sequence[CoreLayer],
    device: DeviceSpec,
    objective: Objective,
    traffic: Mapping[int, float],
) -> Placement:
    feasible = [feasible_cores(layer, device) for layer in layers]
    matching = Matching(feasible)
    if not matching.is_complete:
        raise _explain(layers, feasible, matching, device)
    if objective == "lex":
        return Placement(_smallest(feasible))
    costs = _costs(layers, feasible, device, objective, traffic)
    return Placement(_cheapest(feasible, costs, [core.id for core in device.cores]))


def _smallest(feasible: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The lexicographically smallest complete matching."""
    chosen: list[int] = []
    for row, columns in enumerate(feasible):
        for column in sorted(set(columns) - set(chosen)):
            rest = [set(other) - {*chosen, column} for other in feasible[row + 1 :]]
            if Matching(rest).is_complete:
                chosen.append(column)
                break
    return tuple(chosen)


def _costs(
    layers: Sequence[CoreLayer],
    feasible: Sequence[Sequence[int]],
    device: DeviceSpec,
    objective: Objective,
    traffic: Mapping[int, float],
) -> list[dict[int, float]]:
    cores = {core.id: core for core in device.cores}
    if objective == "min_waste":
        return [
            {
                i: float(cores[i].kernel_words + cores[i].neuron_words)
                - words_of(layer).kernel
                - words_of(layer).neuron
                for i in columns
            }
            for layer, columns in zip(layers, feasible, strict=True)
        ]
    load = estimated_updates(layers, traffic)
    return [
        {i: load[row] / cores[i].lanes for i in columns} for row, columns in enumerate(feasible)
    ]


def estimated_updates(layers: Sequence[CoreLayer], traffic: Mapping[int, float]) -> list[float]:
    """Synaptic updates per layer: events that arrive times ``F * Ky * Kx / (sy * sx)``.

    Parameters
    ----------
    layers : sequence of CoreLayer
    traffic : mapping of int to float
        Events that a layer sends; a missing one sends one per neuron.
    """
    updates = []
    for layer in layers:
        arriving = 0.0
        for source in layer.sources:
            if isinstance(source, int):
                shape = layers[source].neuron_shape
                arriving += traffic.get(source, float(math.prod(shape)))
            else:
                arriving += float(math.prod(layer.in_shape))
        features, _, ky, kx = layer.weights.shape
        updates.append(arriving * features * ky * kx / (layer.stride[0] * layer.stride[1]))
    return updates


def _cheapest(
    feasible: Sequence[Sequence[int]], costs: Sequence[Mapping[int, float]], cores: Sequence[int]
) -> tuple[int, ...]:
    """The smallest vector among those of least cost."""
    best = _least_cost(feasible, costs, cores)
    chosen: list[int] = []
    for row, columns in enumerate(feasible):
        for column in sorted(set(columns) - set(chosen)):
            fixed = [[c] for c in chosen] + [[column]]
            rest = [sorted(set(other) - {*chosen, column}) for other in feasible[row + 1 :]]
            if not Matching(rest).is_complete:
                continue
            # sums of the same numbers in another order may differ in the last place
            if _least_cost([*fixed, *rest], costs, cores) <= best * (1 + 1e-12):
                chosen.append(column)
                break
    return tuple(chosen)


def _least_cost(
    feasible: Sequence[Sequence[int]], costs: Sequence[Mapping[int, float]], cores: Sequence[int]
) -> float:
    optimize: Any = require("scipy.optimize", "nsoc")
    table = [
        [costs[row][core] if core in columns else _FORBIDDEN for core in cores]
        for row, columns in enumerate(feasible)
    ]
    rows, columns = optimize.linear_sum_assignment(table)
    return math.fsum(table[r][c] for r, c in zip(rows, columns, strict=True))


def _explain(
    layers: Sequence[CoreLayer],
    feasible: Sequence[Sequence[int]],
    matching: Matching,
    device: DeviceSpec,
) -> MappingError:
    unplaceable = {
        layer.index: validate_layer(device, layer)
        for layer, columns in zip(layers, feasible, strict=True)
        if not columns
    }
    lines = [f"No valid mapping found of {len(layers)} layers on {device.name!r}."]
    for index, reasons in unplaceable.items():
        lines.append(f"Layer {index} ({layers[index].name}) {'; '.join(reasons)}.")
    conflict = None
    if not unplaceable:
        conflict = matching.violator()
        assert conflict is not None
        rows, columns = conflict
        names = ", ".join(f"{i} ({layers[i].name})" for i in rows)
        lines.append(
            f"The {len(rows)} layers {names} fit only the {len(columns)} cores "
            f"{list(columns)}. Make one of them smaller, or merge layers."
        )
    return MappingError(" ".join(lines), unplaceable, conflict)


def manual_placement(
    ordering: Sequence[int] | Mapping[int, int], graph: CoreGraph, device: DeviceSpec
) -> Placement:
    """The placement that a user asks for.

    Parameters
    ----------
    ordering : sequence of int, or mapping of int to int
        Core of each layer in model order; or layer -> core.
    graph : CoreGraph
    device : DeviceSpec

    Returns
    -------
    Placement

    Warns
    -----
    UserWarning
        If a sequence is longer than the model; the rest is ignored.

    Raises
    ------
    ValueError
        If a layer has no core.
    ConfigValidationError
        If a core is used twice, does not exist, or is too small; all of it at once.
    """
    check_placeable(device)
    layers = graph.core_layers
    if device.is_mesh:
        raise ConfigValidationError(
            f"{device.name!r} is a mesh, whose processors are given out automatically; leave the "
            "ordering at 'auto'"
        )
    if isinstance(ordering, Mapping):
        unknown = sorted(set(ordering) - set(range(len(layers))))
        missing = sorted(set(range(len(layers))) - set(ordering))
        if unknown or missing:
            raise ValueError(
                f"layer2core_map must name each of the layers 0 to {len(layers) - 1} once; missing "
                f"{missing}, unknown {unknown}"
            )
        cores = [int(ordering[i]) for i in range(len(layers))]
    else:
        cores = [int(core) for core in ordering]
        if len(cores) < len(layers):
            raise ValueError(
                f"the ordering names {len(cores)} cores, but the model has {len(layers)} layers"
            )
        if len(cores) > len(layers):
            warnings.warn(
                f"the ordering names {len(cores)} cores for {len(layers)} layers; the rest is "
                "ignored",
                UserWarning,
                stacklevel=4,
            )
            cores = cores[: len(layers)]
    problems = []
    by_id = {core.id: core for core in device.cores}
    for layer, core in zip(layers, cores, strict=True):
        if core not in by_id:
            message = f"core {core} does not exist; {device.name!r} has {sorted(by_id)}"
            problems.append(Problem("R17", layer.name, message))
        elif cores.index(core) < layer.index:
            other = layers[cores.index(core)].name
            problems.append(Problem("R17", layer.name, f"core {core} already holds {other}"))
        if core in by_id and not words_of(layer).fits(by_id[core]):
            need, has = words_of(layer), by_id[core]
            problems.append(
                Problem(
                    "R16",
                    layer.name,
                    f"needs {need.kernel} kernel, {need.neuron} neuron and {need.bias} bias words, "
                    f"but core {core} has {has.kernel_words}, {has.neuron_words} and "
                    f"{has.bias_words}; cores that fit: {feasible_cores(layer, device)}",
                )
            )
    if problems:
        raise ConfigValidationError(
            "the ordering is not possible: " + "; ".join(map(str, problems)), problems
        )
    return Placement(tuple(cores))


# --- meshes ---------------------------------------------------------------------------------------


def _place_on_mesh(
    graph: CoreGraph, device: DeviceSpec, allow_multipass: bool, traffic: Mapping[int, float]
) -> Placement:
    needs = [processors_needed(layer, device) for layer in graph.layers]
    available = len(device.cores)
    too_large = {
        i: [f"needs {n} neural processors, but {device.name!r} has {available}"]
        for i, n in enumerate(needs)
        if n > available
    }
    if too_large:
        first = min(too_large)
        raise MappingError(
            f"No valid mapping found. Layer {first} ({graph.layers[first].name}) "
            f"{too_large[first][0]}. Use fewer features, a stride, or fewer bits.",
            too_large,
        )
    if sum(needs) > available and not allow_multipass:
        raise MappingError(
            f"No valid mapping found. The layers need at least {sum(needs)} neural processors, but "
            f"{device.name!r} has {available}. Make layers smaller, or pass allow_multipass=True "
            "to run the network in several passes.",
            conflict=(tuple(range(len(needs))), tuple(core.id for core in device.cores)),
        )
    passes = _split(needs, available)
    processors: dict[int, tuple[int, ...]] = {}
    for layers in passes:
        order = _improved_order(list(layers), needs, graph, device, traffic)
        processors |= _filled(order, needs, device)
    return Placement(
        core_of=tuple(range(len(needs))),
        processors_of=tuple(processors[i] for i in range(len(needs))),
        passes=tuple(passes),
    )


def _split(needs: Sequence[int], available: int) -> list[range]:
    passes, start, used = [], 0, 0
    for i, need in enumerate(needs):
        if used + need > available:
            passes.append(range(start, i))
            start, used = i, 0
        used += need
    passes.append(range(start, len(needs)))
    return passes


def _filled(
    order: Sequence[int], needs: Sequence[int], device: DeviceSpec
) -> dict[int, tuple[int, ...]]:
    """Processors along the path through the mesh, layer after layer."""
    ids = [core.id for core in device.cores]
    result, start = {}, 0
    for i in order:
        result[i] = tuple(ids[start : start + needs[i]])
        start += needs[i]
    return result


def _improved_order(
    order: list[int],
    needs: Sequence[int],
    graph: CoreGraph,
    device: DeviceSpec,
    traffic: Mapping[int, float],
) -> list[int]:
    """Swap layers along the path while that shortens the ways of their events."""
    edges = _edges(order, graph, traffic)
    cost = _cost(order, needs, edges, device)
    for _ in range(MAX_SWEEPS):
        improved = False
        for i in range(len(order)):
            for j in range(i + 1, len(order)):
                swapped = order.copy()
                swapped[i], swapped[j] = swapped[j], swapped[i]
                other = _cost(swapped, needs, edges, device)
                if other < cost:
                    order, cost, improved = swapped, other, True
        if not improved:
            break
    return order


def _edges(
    members: Sequence[int], graph: CoreGraph, traffic: Mapping[int, float]
) -> list[tuple[int | None, int, Fraction]]:
    """(from, to, events); None is the port, where the events of other passes enter too."""
    edges: list[tuple[int | None, int, Fraction]] = []
    for source, _, destination in graph.connections():
        target = destination.target
        if target not in members or target is None:
            continue
        if isinstance(source, int):
            events = Fraction(
                traffic.get(source, math.prod(graph.layers[source].neuron_shape))
            ) / math.prod(destination.pooling)
            edges.append((source if source in members else None, target, events))
        else:
            edges.append((None, target, Fraction(math.prod(graph.input_shape))))
    return edges


def _cost(
    order: Sequence[int],
    needs: Sequence[int],
    edges: Sequence[tuple[int | None, int, Fraction]],
    device: DeviceSpec,
) -> Fraction:
    """Events times hops between the centers of the groups, exact."""
    centers = {i: _center(ids, device) for i, ids in _filled(order, needs, device).items()}
    port = (Fraction(device.noc.port[0]), Fraction(device.noc.port[1]))
    total = Fraction(0)
    for source, target, events in edges:
        ax, ay = port if source is None else centers[source] or port
        bx, by = centers[target] or port
        total += events * (abs(ax - bx) + abs(ay - by))
    return total


def _center(ids: Sequence[int], device: DeviceSpec) -> tuple[Fraction, Fraction] | None:
    if not ids:
        return None
    places = [device.cores[i].xy for i in ids]
    n = len(places)
    return Fraction(sum(x for x, _ in places), n), Fraction(sum(y for _, y in places), n)
