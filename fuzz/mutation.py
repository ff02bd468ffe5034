"""Random changes of bytes and of JSON, from a seeded generator; needs no package."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from tests.stress.mutate import change, damaged, places


def mutated(rng: random.Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """A seed with bytes, tokens or members of its JSON changed, or spliced with another seed."""
    data = rng.choice(seeds)
    kind = rng.random()
    if kind < 0.05:
        return data
    if kind < 0.35:
        return damaged(rng, data)
    if kind < 0.45:
        other = rng.choice(seeds)
        return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    if kind < 0.7:
        changed = _with_members_changed(rng, data)
        if changed is not None:
            return changed
    return _with_tokens(rng, data, tokens)


def _with_tokens(rng: random.Random, data: bytes, tokens: Sequence[bytes]) -> bytes:
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(content) + 1)
        content[at : at + rng.choice((0, 0, 1, 2, 8))] = rng.choice(tokens)
    return bytes(content)


def _with_members_changed(rng: random.Random, data: bytes) -> bytes | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    for _ in range(rng.choice((1, 1, 2))):
        change(rng, value, rng.choice(places(value)))
    if rng.random() < 0.1:  # a number too large for a float, which JSON allows
        *parents, last = rng.choice(places(value))
        holder = value
        for key in parents:
            holder = holder[key]
        holder[last] = 10**400
    return json.dumps(value).encode()
