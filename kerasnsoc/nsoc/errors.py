"""What can go wrong between a model and a chip; every class is a `ValueError` too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Problem:
    """One rule that a network or a configuration breaks.

    Attributes
    ----------
    code : str
        ``"R01"`` to ``"R27"`` for rules of a configuration, or the kind of obstacle before there
        is one: ``"graph"``, ``"mapping"``, ``"discretization"``, ``"device"``.
    layer : str
        Name of the layer, ``"dvs"``, or empty where it is the whole network.
    message : str
        Which value breaks the rule, what is allowed, how to mend it.
    severity : {"error", "warning"}
    """

    code: str
    layer: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = f"{self.layer}: " if self.layer else ""
        return f"{self.code} {where}{self.message}"


class NSoCError(ValueError):
    """Base of everything that this room raises about models, devices and configurations."""


class UnknownDeviceError(NSoCError):
    """No device has that name, or the name is malformed."""


class EnergyOnlyDeviceError(NSoCError):
    """The device is listed for its energy figures; nothing can be placed on it."""


class DeviceFileError(NSoCError):
    """The description of a device has a member that is missing, unknown or out of range."""


class InputConfigurationError(NSoCError):
    """The input shape is missing, malformed, or two of them disagree."""


class InvalidGraphError(NSoCError):
    """Layers are wired in a way that no chip of this kind can have."""


class UnsupportedLayerError(NSoCError):
    """A layer has no counterpart on the chip."""


class AsymmetricPaddingError(NSoCError):
    """A convolution would need more padding on one side than on the other."""


class ConflictingScaleError(NSoCError):
    """Sources of one core were averaged differently, so that no single scale fits."""


class TooManyDestinationsError(NSoCError):
    """A layer feeds more layers than a core can address."""


class DiscretizationError(NSoCError):
    """Integers left the range that the chip holds."""


class NotDiscretizedError(NSoCError):
    """A network of floats was to be put on a chip."""


class NotMappedError(NSoCError):
    """The question needs a placement, and there is none."""


class UnexpectedLayerError(NSoCError, TypeError):
    """A layer stands where another kind of layer is needed.

    Parameters
    ----------
    expected, found : str
        Kinds of layers.
    detail : str
        Where, and how to mend it.
    """

    def __init__(self, expected: str, found: str, detail: str = "") -> None:
        self.expected, self.found, self.detail = expected, found, detail
        super().__init__(f"expected {expected}, found {found}. {detail}".rstrip())

    def __reduce__(self) -> tuple[type[UnexpectedLayerError], tuple[str, str, str]]:
        return type(self), (self.expected, self.found, self.detail)


class MissingSpikingLayerError(NSoCError):
    """The model ends with weights, without neurons behind them.

    Parameters
    ----------
    index : int
        Index of the core layer.
    detail : str
    """

    def __init__(self, index: int, detail: str = "") -> None:
        self.index, self.detail = index, detail
        super().__init__(f"core layer {index} has no spiking layer behind it. {detail}".rstrip())

    def __reduce__(self) -> tuple[type[MissingSpikingLayerError], tuple[int, str]]:
        return type(self), (self.index, self.detail)


class MappingError(NSoCError):
    """The layers cannot all be given cores.

    Attributes
    ----------
    unplaceable : mapping of int to sequence of str
        Layers that no core can hold, with the reasons.
    conflict : tuple (layers, cores), or None
        A set of layers that share fewer cores than they are.
    """

    def __init__(
        self,
        message: str,
        unplaceable: Mapping[int, Sequence[str]] | None = None,
        conflict: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    ) -> None:
        super().__init__(message)
        self.unplaceable = dict(unplaceable or {})
        self.conflict = conflict

    def __reduce__(self) -> tuple[type[MappingError], tuple[object, ...]]:
        return type(self), (str(self), self.unplaceable, self.conflict)


class ConfigValidationError(NSoCError):
    """A configuration breaks rules of its device.

    Attributes
    ----------
    problems : tuple of Problem
        All of them, errors and warnings.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type[ConfigValidationError], tuple[object, ...]]:
        return type(self), (str(self), self.problems)
