"""What executes a network, and the enumerations that go with it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from kerasnsoc._version import __version__


class BackendType(enum.Enum):
    """Where a model runs. Only ``Software`` exists; the others name what may come."""

    Software = "software"
    Hardware = "hardware"
    Hybrid = "hybrid"


class NsocVersion(enum.Enum):
    """Generations of the chip whose constraints a model can be checked against."""

    Unknown = "unknown"
    v1 = "v1"
    v2 = "v2"


class LearningType(enum.Enum):
    """How a layer learns while it runs."""

    NoLearning = "no_learning"
    AkidaUnsupervised = "akida_unsupervised"


@dataclass(frozen=True, slots=True)
class LearningParameters:
    """How a layer learns; a layer that nobody has compiled does not, and has None throughout.

    The arguments are those of `Model.compile`.
    """

    learning_type: LearningType = LearningType.NoLearning
    num_weights: int | None = None
    num_classes: int | None = None
    initial_plasticity: float | None = None
    learning_competition: float | None = None
    min_plasticity: float | None = None
    plasticity_decay: float | None = None
    learning_ratio: tuple[int, int] | None = None
    rule: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """One thing that executes networks."""

    type: BackendType
    version: str


_BACKENDS = {BackendType.Software: Backend(BackendType.Software, __version__)}


def has_backend(backend: BackendType) -> bool:
    """Whether models can run on a backend.

    Raises
    ------
    TypeError
        If `backend` is no `BackendType`.

    Examples
    --------
    >>> has_backend(BackendType.Software), has_backend(BackendType.Hardware)
    (True, False)
    """
    if not isinstance(backend, BackendType):
        members = ", ".join(str(member) for member in BackendType)
        raise TypeError(f"backend is {backend!r}, but must be one of {members}")
    return backend in _BACKENDS


def backends() -> dict[BackendType, Backend]:
    """All backends of this installation, by type."""
    return dict(_BACKENDS)
