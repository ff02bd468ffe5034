"""How much the unit tests notice: ``python -m tests.stress.mutants --count 150 --seed 7``.

Changes one place of a module at a time (a comparison, an operator, a number, a condition, a
refusal) and runs the tests of that module, which should fail. The places are drawn by a seeded
generator, the same number for each module of a group. A change that leaves the meaning alone
counts as survived, too. Prints a line for each survivor and one line of JSON, and exits with 1 if
less than the share of ``--bar`` was noticed. Needs fork.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # every mutant is a fork

OTHER_PROCESSES = (
    "tests/hostile/test_hostile.py::test_time_memory_and_survival_under_limits",
    "tests/hostile/test_hostile.py::test_the_script_writes_them_all",
    "tests/unit/artifact/test_reader.py::test_loading_needs_neither_h5py_nor_keras",
    "tests/unit/artifact/test_reader.py::test_importing_the_room_imports_no_h5py",
)
"""Tests whose interpreters do not have the change, and one that repeats others with files."""

# hypothesis is loaded before pytest could rewrite it
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
OPTIONS += tuple(f"--deselect={test}" for test in OTHER_PROCESSES)
OPTIONS += ("-k", "not xla")  # compilers take the most time and see the same Python
SECONDS = 120
"""Of the processor. A mutant that runs longer, such as in a loop without end, is noticed."""
WAITING_SECONDS = 1800
"""Of the clock, for one that waits for ever."""

_ARTIFACT = ("validation", "checks", "bounds", "geometry", "jsontext", "reader")


def _artifact(name: str) -> tuple[str, ...]:
    """The tests of a module, then those of the modules around it."""
    first = name if name in _ARTIFACT else "reader"
    order = (first, *(other for other in _ARTIFACT if other != first))
    near = tuple(f"tests/unit/artifact/test_{other}.py" for other in order)
    return (*near, "tests/hostile/test_hostile.py")


GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "artifact": {f"kerasnsoc.artifact.{name}": _artifact(name) for name in (*_ARTIFACT, "layout")},
    "quantization": {
        "kerasnsoc.quantization.quantizers": ("tests/unit/quantization/test_quantizers.py",),
        "kerasnsoc.quantization.activations": ("tests/unit/quantization/test_activations.py",),
        "kerasnsoc.conversion.thresholds": ("tests/unit/conversion/test_thresholds.py",),
    },
}
"""Modules, and the tests that should notice."""

_SWAPPED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def code_of(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that do something when a function runs: neither annotations nor messages."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        if isinstance(tree, ast.Raise | ast.JoinedStr):
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                yield item
                yield from code_of(item)


def change(node: ast.AST, kind: int) -> str | None:
    """Change a node in its `kind`-th way and say how; None if there is no such way."""
    if isinstance(node, ast.Compare) and kind < len(node.ops):
        old = node.ops[kind]
        node.ops[kind] = _SWAPPED[type(old)]()
        return f"{type(old).__name__} -> {type(node.ops[kind]).__name__}"
    if kind:
        return None
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in _SWAPPED:
        old = node.op
        node.op = _SWAPPED[type(old)]()
        return f"{type(old).__name__} -> {type(node.op).__name__}"
    if isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
        old = node.value
        node.value = not old if type(old) is bool else old + 1
        return f"{old} -> {node.value}"
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return "condition negated"
    if isinstance(node, ast.Return) and node.value is not None:
        node.value = ast.Constant(None)
        return "returns None"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        node.value = ast.Constant(None)
        return "call left out"
    return None


def places(source: str) -> list[tuple[int, int]]:
    """Every node that can be changed, as its number and the way."""
    tree = ast.parse(source)
    found = []
    for place, node in enumerate(list(code_of(tree))):
        for kind in range(len(node.ops) if isinstance(node, ast.Compare) else 1):
            if change(copy.copy(node), kind) is not None:
                found.append((place, kind))
    return found


def mutant(source: str, place: int, kind: int) -> tuple[str, ast.Module]:
    """A module with one change, and what it is."""
    tree = ast.parse(source)
    node = list(code_of(tree))[place]
    what = change(node, kind)
    return f"{getattr(node, 'lineno', 0)}: {what}", ast.fix_missing_locations(tree)


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports another tree in place of one module."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self._name, self._tree = name, tree

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        assert found is not None
        return importlib.util.spec_from_loader(name, self, origin=found.origin)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__file__ = module.__spec__.origin
        exec(compile(self._tree, str(module.__file__), "exec"), module.__dict__)


def path_of(name: str) -> Path:
    """File of a module."""
    return Path(*name.split(".")).with_suffix(".py")


def survives(name: str, tree: ast.Module, tests: tuple[str, ...]) -> bool:
    """Whether all tests pass with a tree in place of a module."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(WAITING_SECONDS)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        status = 1
        with contextlib.suppress(BaseException):
            import pytest

            sys.meta_path.insert(0, Instead(name, tree))
            status = int(pytest.main([*OPTIONS, *tests]))
        os._exit(status)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests have started
    return status == 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--group", choices=GROUPS, default="artifact")
    parser.add_argument("--count", type=int, default=150, help="mutants of all modules together")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, help="no further mutant after this time")
    parser.add_argument("--bar", type=float, default=0.8)
    options = parser.parse_args(arguments)
    import h5py
    import hypothesis
    import numpy
    import pytest

    del h5py, hypothesis, numpy, pytest  # loaded once for all forks
    if options.group != "artifact":
        import keras

        del keras
    start = time.perf_counter()
    modules = GROUPS[options.group]
    sources = {name: path_of(name).read_text(encoding="utf-8") for name in modules}
    drawn = {}
    passing: list[set[str]] = []
    for name, tests in modules.items():
        if set(tests) not in passing and not survives(name, ast.parse(sources[name]), tests):
            raise RuntimeError(f"the tests of {name} fail without a change")
        passing.append(set(tests))
        every = places(sources[name])
        count = min(len(every), -(-options.count // len(modules)))
        drawn[name] = random.Random(f"{options.seed} {name}").sample(every, count)
    tried: Counter[str] = Counter()
    noticed: Counter[str] = Counter()
    for one_of_each in itertools.zip_longest(*drawn.values()):  # --seconds is shared by all
        for name, change_at in zip(drawn, one_of_each, strict=True):
            late = options.seconds is not None and time.perf_counter() - start > options.seconds
            if change_at is None or late:
                continue
            what, tree = mutant(sources[name], *change_at)
            tried[name] += 1
            if survives(name, tree, modules[name]):
                print(f"{path_of(name)}:{what}", flush=True)
            else:
                noticed[name] += 1
    report = {
        "group": options.group,
        "seed": options.seed,
        **{name: f"{noticed[name]} of {tried[name]}" for name in modules},
        "mutants": tried.total(),
        "noticed": noticed.total(),
        "score": round(noticed.total() / max(1, tried.total()), 3),
        "seconds": round(time.perf_counter() - start),
    }
    print(json.dumps(report))
    return 0 if noticed.total() >= options.bar * tried.total() else 1


if __name__ == "__main__":
    sys.exit(main())
