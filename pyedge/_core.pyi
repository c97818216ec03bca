# The compiled kernels. pyedge/kernels.py is the only module that may import this one.
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

class NotFiniteError(ValueError):
    quantity: str

def cpus() -> tuple[list[tuple[int, float]], list[int], str]: ...
def isa() -> str: ...
def half_type() -> str | None: ...
def available_isas() -> list[str]: ...
def set_isa(name: str) -> None: ...
def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def plain_sum(x: NDArray[np.float32]) -> float: ...
def zero_count(x: NDArray[np.float32]) -> NDArray[np.int32]: ...
def zero_count_affine(
    x: NDArray[np.float32], scale: NDArray[np.float32], shift: NDArray[np.float32]
) -> NDArray[np.int32]: ...
def cosine_match(
    student: NDArray[np.float32],
    teachers: Sequence[NDArray[np.float32]],
    kept: NDArray[np.int64] | None,
    by_image: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
def empty_like(like: NDArray[np.float32]) -> NDArray[np.float32]: ...
def cosine_match_gradient(
    student: NDArray[np.float32],
    teacher: NDArray[np.float32],
    kept: NDArray[np.int64] | None,
    cosine: NDArray[np.float64],
    teacher_norm: NDArray[np.float64],
    student_norm: NDArray[np.float64],
    scale: float,
    gradient: NDArray[np.float32],
) -> None: ...

largest_moment_value: int

def add_second_moments(values: NDArray[np.int32], moments: NDArray[np.int64]) -> None: ...
def fma_rate(seconds: float) -> float: ...

_Floats = NDArray[np.float32]
_Indices = NDArray[np.int64]
_Images = NDArray[np.uint8] | NDArray[np.float32]
# of one block of the teacher: maps [rows, h, w, c], and a scale for each row
_Maps = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.int8]
_Block = tuple[_Maps, _Floats | None]

class Engine:
    def __init__(
        self,
        nodes: list[dict[str, Any]],
        arrays: dict[str, NDArray[Any]],
        input_shape: Sequence[int],
        output: int,
        taps: Sequence[int],
    ) -> None: ...
    @property
    def classes(self) -> int: ...
    @property
    def array_names(self) -> list[str]: ...
    @property
    def weight_bytes(self) -> int: ...
    def set_threads(self, count: int) -> None: ...
    def set_trainable(self, nodes: Sequence[str]) -> None: ...
    def set_batch_norm(self, mode: str) -> None: ...
    def set_micro_batch(self, images: int) -> None: ...
    # "float32" or "half"; ValueError where the path that it was made with has no half precision
    def set_precision(self, precision: str) -> None: ...
    @property
    def precision(self) -> str: ...
    def set_optimizer(
        self,
        kind: str = "sgd",
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 5e-4,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        clip: float = 5.0,
    ) -> None: ...
    def set_preprocessing(
        self,
        kind: str,
        mean: Sequence[float] = ...,
        deviation: Sequence[float] = ...,
    ) -> None: ...
    def memory(self, batch: int, training: bool) -> int: ...
    def predict(
        self, images: _Images, rows: _Indices | None = None, channels_last: bool = False
    ) -> _Floats: ...
    # Features [n, f] that the linear node reads, in the order of its weight's columns, and
    # predict's logits. Without `node` it is the one that gives the output, be it through affines
    # and channel pads.
    def features(
        self,
        images: _Images,
        rows: _Indices | None = None,
        channels_last: bool = False,
        node: str | None = None,
    ) -> tuple[_Floats, _Floats]: ...
    def step(
        self,
        images: _Images,
        rows: _Indices,
        channels_last: bool = False,
        shift: NDArray[np.int32] | None = None,
        flip: NDArray[np.bool_] | None = None,
        labels: _Indices | None = None,
        logits: _Floats | None = None,
        maps: list[list[_Block]] | None = None,
        map_rows: _Indices | None = None,
        norms: Sequence[NDArray[np.float64]] | None = None,
        lambdas: tuple[float, float, float] = (1.0, 10.0, 1.0),
        norms_by_image: bool = False,
        mapped: NDArray[np.bool_] | None = None,
    ) -> dict[str, Any]: ...
    def update(self, lr: float) -> None: ...
    def gradient(self, name: str) -> _Floats: ...
    def array(self, name: str) -> _Floats: ...
    def set_array(self, name: str, values: _Floats) -> None: ...
    def state(self) -> dict[str, NDArray[Any]]: ...
    def set_state(self, state: dict[str, NDArray[Any]]) -> None: ...
    def set_profiling(self, on: bool) -> None: ...
    def profile(self) -> list[tuple[str, str, float]]: ...
