# The compiled kernels. pyedge/kernels.py is the only module that may import this one.
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def isa() -> str: ...
def available_isas() -> list[str]: ...
def set_isa(name: str) -> None: ...
def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def zero_count(x: NDArray[np.float32]) -> NDArray[np.int32]: ...
def zero_count_affine(
    x: NDArray[np.float32], scale: NDArray[np.float32], shift: NDArray[np.float32]
) -> NDArray[np.int32]: ...
def cosine_match(
    student: NDArray[np.float32],
    teachers: Sequence[NDArray[np.float32]],
    kept: NDArray[np.int64] | None,
    by_image: bool,
) -> tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]
]: ...
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
