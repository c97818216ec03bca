"""Weights as a file holds them in 8 bits: whole numbers from -127 to 127, a scale for each output.

In memory they are float32 all the same: the whole number times the scale, rounded once. An array is
stored so as long as it still is that, bit for bit; one that has learned since is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import shown

if TYPE_CHECKING:
    from pyedge.files.npy_archive import ArraySpec
    from pyedge.student.file import StudentFile
    from pyedge.student.graph import Node

_LARGEST = 127
_MULTIPLIES = ("conv2d", "linear")


def can_be_int8(student: StudentFile) -> list[Node]:
    """Return the convolutions and linear nodes that are multiplied in 8 bits.

    All but the classifier, which is solved from float32 features and costs little, and projections
    made from a seed.
    """
    return [
        node
        for node in student.nodes
        if node["op"] in _MULTIPLIES
        and node["name"] != student.classifier
        and node["weight"] not in student.made
    ]


def scales_of(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a scale for each output, float32 [o]: the largest of its weights becomes 127."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1, initial=0)
    return (largest / np.float32(_LARGEST)).astype(np.float32)


def whole_numbers(weight: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round weights [o, ...] to whole numbers of their scales, halves to even."""
    by = scales.reshape(-1, *[1] * (weight.ndim - 1))
    with np.errstate(over="ignore"):  # of weights that are no longer of these scales
        steps = np.divide(weight, by, out=np.zeros_like(weight), where=by > 0)
    return np.clip(np.rint(steps), -_LARGEST, _LARGEST).astype(np.int8)


def weight_of(numbers: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weights that whole numbers and scales stand for."""
    by = scales.reshape(-1, *[1] * (numbers.ndim - 1))
    with np.errstate(over="ignore"):  # checked for infinity like any array
        return np.multiply(numbers, by, dtype=np.float32)


def still_int8(student: StudentFile) -> dict[str, NDArray[np.int8]]:
    """Return the arrays that are still whole numbers of their scales, as such."""
    found = {}
    for name, scales in student.weight_scales.items():
        numbers = whole_numbers(student.arrays[name], scales)
        if np.array_equal(weight_of(numbers, scales), student.arrays[name]):
            found[name] = numbers
    return found


def check_scales(student: StudentFile, arrays: Mapping[str, ArraySpec]) -> None:
    """Check what the fields of 8 bits hold but for the values of arrays; raises ValueError."""
    nodes = {node["name"]: node for node in can_be_int8(student)}
    inputs: Any = student.input_scales
    if not isinstance(inputs, Mapping):
        raise ValueError(f"input_scales: wanted scales by names of nodes, got {shown(inputs)}")
    for name, given in inputs.items():
        if name not in nodes:
            raise ValueError(
                f"input_scales: {name!r:.80} is no conv2d or linear node whose "
                "products are in 8 bits"
            )
        fits = isinstance(given, (tuple, list)) and len(given) == 2
        if not fits or not _is_scale(given[0]) or not _is_zero_point(given[1]):
            raise ValueError(
                f"input_scales: {name!r:.80}: wanted a scale from 1e-30 to 1e30 and a zero point "
                f"from 0 to 255, got {shown(given)}"
            )
    weights = {node["weight"] for node in nodes.values()}
    if not isinstance(student.weight_scales, Mapping):
        raise ValueError(
            f"weight_scales: wanted scales by names of arrays, got {shown(student.weight_scales)}"
        )
    for name in student.weight_scales:
        if name not in weights or arrays[name].dtype != "float32":
            raise ValueError(
                f"weight_scales: {name!r:.80} is no weight of a conv2d or linear node "
                "whose products are in 8 bits"
            )


def check_scale_values(student: StudentFile) -> None:
    """Check the scales of weights; raises ValueError."""
    for name, scales in student.weight_scales.items():
        outputs = student.arrays[name].shape[:1]
        if scales.dtype != np.float32 or scales.shape != outputs:
            raise ValueError(
                f"weight_scales: {name!r}: wanted float32 {list(outputs)}, got {scales.dtype} "
                f"{list(scales.shape)}"
            )
        if not np.isfinite(scales).all() or (scales < 0).any():
            raise ValueError(f"weight_scales: {name!r}: wanted finite numbers from 0")


def _is_scale(value: Any) -> bool:
    return type(value) in (int, float) and 1e-30 <= value <= 1e30


def _is_zero_point(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255
