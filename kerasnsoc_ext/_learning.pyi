from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

_Window = tuple[int, int, int, int, int]

MAX_INPUTS: int
RULES: tuple[str, str]

def words_for(inputs: int) -> int: ...
def kernel_names() -> tuple[str, ...]: ...
def available_kernels() -> tuple[str, ...]: ...
def first_not_binary(samples_si: npt.NDArray[np.uint8]) -> int: ...
def fresh_rows(
    inputs: int, num_weights: int, seed: int, first: int, stop: int
) -> npt.NDArray[np.uint64]: ...

@disjoint_base
class Learner:
    def __new__(
        cls,
        *,
        rule: Literal["majority", "swap"] | str,
        window_x: _Window,
        window_y: _Window,
        channels: int,
        classes: int,
        num_weights: int,
        initial_plasticity: int,
        min_plasticity: int,
        decay: int,
        competition: int,
        ratio: tuple[int, int],
        seed: int,
        weights_jw: npt.NDArray[np.uint64],
        thresholds_j: npt.NDArray[np.int32],
        plasticities_j: npt.NDArray[np.int32],
        steps_j: npt.NDArray[np.uint32],
        counters_ji: npt.NDArray[np.int16] | None = None,
        kernel: str | None = None,
    ) -> Self: ...
    @property
    def kernel(self) -> str: ...
    def fit(
        self,
        samples_si: npt.NDArray[np.uint8],
        labels_s: npt.NDArray[np.int64] | None,
        potentials_spj: npt.NDArray[np.int32],
        learners_s: npt.NDArray[np.int32],
    ) -> None: ...
