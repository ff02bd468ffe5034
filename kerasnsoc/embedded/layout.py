"""Where each layer's output lies in an arena that all layers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def arena(sizes: Mapping[str, int], readers: Sequence[tuple[str, Sequence[str]]]) -> dict[str, int]:
    """Offset of every output, such that no two that are needed at the same time overlap.

    Parameters
    ----------
    sizes : mapping of str to int
        Elements of the outputs that the arena keeps, by layer.
    readers : sequence of (str, sequence of str)
        The layers in the order in which they run, each with the layers that it reads.

    Returns
    -------
    offsets : dict of str to int
        As many as `sizes`; the arena ends with the last element of the last output.
    """
    order = [name for name, _ in readers]
    last_use = {name: order.index(name) for name in sizes}
    for step, (_, sources) in enumerate(readers):
        for source in sources:
            if source in last_use:
                last_use[source] = step
    offsets: dict[str, int] = {}
    for step, name in enumerate(order):
        if name not in sizes:
            continue
        taken = sorted(
            (offset, offset + sizes[other])
            for other, offset in offsets.items()
            if last_use[other] >= step
        )
        place = 0
        for start, end in taken:
            if place + sizes[name] <= start:
                break
            place = max(place, end)
        offsets[name] = place
    return offsets
