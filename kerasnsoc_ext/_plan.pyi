from collections import deque
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

_Window = tuple[int, int, int, int, int]
_Pooling = tuple[Literal["max", "sum"], _Window, _Window]
_Thresholds = npt.NDArray[np.int32] | None

COUNTERS: tuple[str, str, str]
FORMS: tuple[str, str, str]
CALL_SAMPLES: int

def kernel_names() -> tuple[str, ...]: ...
def available_kernels() -> tuple[str, ...]: ...
def missing_kernels() -> dict[str, str]: ...

@disjoint_base
class Network:
    def __new__(
        cls, kernel: str | None = None, crossover: tuple[float, float] | None = None
    ) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def kernel(self) -> str: ...
    def output_dims(self, op: int) -> tuple[int, int, int]: ...
    def emits_potentials(self, op: int) -> bool: ...
    def is_packed(self, op: int) -> bool: ...
    def kernel_of(self, op: int) -> str: ...
    def packed_nbytes(self, op: int) -> int: ...
    def held(self) -> list[list[Any]]: ...
    @property
    def largest_input(self) -> int: ...
    def add_input(
        self, name: str, width: int, height: int, channels: int, largest: int = 255
    ) -> int: ...
    def add_convolution(
        self,
        name: str,
        source: int | None,
        window_x: _Window,
        window_y: _Window,
        weights_xycn: npt.NDArray[np.int8],
        padding_xyn: npt.NDArray[np.int32] | None = None,
        pooling: _Pooling | None = None,
        thresholds_mn: _Thresholds = None,
        wide: bool = False,
        padding_value: int = 0,
    ) -> int: ...
    def add_separable(
        self,
        name: str,
        source: int,
        window_x: _Window,
        window_y: _Window,
        depthwise_xyc: npt.NDArray[np.int8],
        pointwise_cn: npt.NDArray[np.int8],
        pooling: _Pooling | None = None,
        thresholds_mn: _Thresholds = None,
        wide: bool = False,
    ) -> int: ...
    def add_fully_connected(
        self,
        name: str,
        source: int,
        weights_en: npt.NDArray[np.int8],
        thresholds_mn: _Thresholds = None,
        wide: bool = False,
    ) -> int: ...
    def add_concat(
        self, name: str, sources: Sequence[int], thresholds_mn: _Thresholds = None
    ) -> int: ...

@disjoint_base
class Plan:
    def __new__(cls, network: Network) -> Self: ...
    @property
    def nbytes(self) -> int: ...
    def broken_guards(self) -> list[int]: ...
    def run(
        self,
        inputs_si: npt.NDArray[np.uint8],
        outputs: list[npt.NDArray[Any] | None],
        counters_sok: npt.NDArray[np.int64],
        form: str = "auto",
    ) -> None: ...

@disjoint_base
class Tally:
    def __new__(
        cls,
        layers: Sequence[npt.NDArray[np.int64]],
        model: npt.NDArray[np.int64],
        seconds: npt.NDArray[np.float64],
    ) -> Self: ...
    def add(self, samples: int, totals_lk: npt.NDArray[np.int64], seconds: float) -> None: ...

@disjoint_base
class Caller:
    def __new__(cls, network: Network, plans: deque[Plan], limit: int) -> Self: ...
    def __call__(
        self,
        inputs: object,
        tally: Tally,
        form: str | None = None,
        threads: int | None = None,
    ) -> npt.NDArray[Any] | None: ...
