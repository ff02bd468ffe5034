from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

FOREVER: int
RULES: tuple[str, ...]

@disjoint_base
class Neurons:
    def __new__(
        cls,
        threshold_n: npt.NDArray[np.int32],
        bias_n: npt.NDArray[np.int32],
        lowest_n: npt.NDArray[np.int32],
        *,
        rule: Literal["single", "multi", "max", "signed"] | str,
        max_spikes: int = 0,
        zero_reset: bool = False,
        rectify: bool = False,
        shift: int = 0,
    ) -> Self: ...
    @property
    def acts_alone(self) -> bool: ...
    def quiet(self, state_o: npt.NDArray[np.int32]) -> int: ...
    def integrate(
        self,
        potentials_ro: npt.NDArray[np.int32],
        rows_st: npt.NDArray[np.int64],
        state_so: npt.NDArray[np.int32],
        spikes_sto: npt.NDArray[Any],
        counts_stk: npt.NDArray[np.int64],
        owed_s: npt.NDArray[np.int64],
        quiet_s: npt.NDArray[np.int64],
    ) -> None: ...

def has_events(values_ri: npt.NDArray[Any]) -> npt.NDArray[np.bool_]: ...
