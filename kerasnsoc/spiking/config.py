"""The time step that everything uses unless told otherwise."""

from __future__ import annotations

from typing import Any


class DefaultManager:
    """Values used where an argument is left at None.

    They are read when a layer, a cell or an energy query is made, never later: a layer made before
    a default changes keeps the value it found.

    Parameters
    ----------
    dt : float or Variable
        Length of one time step in seconds.

    Examples
    --------
    >>> DefaultManager(dt=0.01).dt
    0.01
    """

    def __init__(self, dt: Any = 0.001) -> None:
        self.dt = dt

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dt={self.dt!r})"


default = DefaultManager()
"""The only instance that the package reads."""
