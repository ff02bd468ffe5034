from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

RULES: dict[str, int]
ENGINES: dict[str, int]
COUNTERS: tuple[str, ...]
NOC_COUNTERS: tuple[str, ...]
TIMES: tuple[str, ...]
TABLES: dict[str, np.dtype[Any]]
SLOT_FIELDS: tuple[str, ...]
STEPS: int
LARGEST_TIME: int
LARGEST_COST: int

class OverBudgetError(MemoryError): ...

@disjoint_base
class Chip:
    decimators: list[int]
    packet: int
    def __new__(
        cls,
        cores: Sequence[Mapping[str, Any]],
        entries: npt.NDArray[np.int32],
        options: Mapping[str, int],
        ports: npt.NDArray[np.int32],
    ) -> Self: ...
    def run(
        self,
        engine: Literal["functional", "replay", "timing"] | str,
        time_r: npt.NDArray[np.int64],
        x_r: npt.NDArray[np.int32],
        y_r: npt.NDArray[np.int32],
        c_r: npt.NDArray[np.int32],
        payload_r: npt.NDArray[np.int32],
        kind_r: npt.NDArray[np.uint8],
        port_r: npt.NDArray[np.int32],
        *,
        budget: int,
        records: Collection[str] = (),
        trace: npt.NDArray[Any] | None = None,
        varied: Collection[str] = (),
        draw: Callable[[], npt.NDArray[np.float64]] | None = None,
    ) -> dict[str, Any]: ...
