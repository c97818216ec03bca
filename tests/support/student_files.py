"""Small student files for tests and for the fuzzer: numpy alone, no torch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pyedge.student.file import StudentFile

Node = dict[str, Any]


def every_operator() -> StudentFile:
    """A student of two groups with every operator in it, an optimizer's state and a record."""
    random = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    window = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]}
    plain = {"stride": [1, 1], "dilation": [1, 1]}
    nodes: list[Node] = [
        {"op": "input", "name": "input", "inputs": []},
        {"op": "affine", "name": "scale", "inputs": [0], "weight": "s.w", "bias": "s.b"},
        {"op": "conv2d", "name": "stem", "inputs": [1], "weight": "stem.weight", "bias": None,
         "padding": [1, 1], "groups": 1, **plain},
        {"op": "batch_norm", "name": "bn", "inputs": [2], "weight": "bn.weight", "bias": "bn.bias",
         "mean": "bn.running_mean", "variance": "bn.running_var", "eps": 1e-5},
        {"op": "relu", "name": "relu", "inputs": [3]},
        {"op": "conv2d", "name": "a.conv", "inputs": [4], "weight": "a.conv.weight",
         "bias": "a.conv.bias", "padding": [1, 1], "groups": 2, **plain},
        {"op": "add", "name": "a", "inputs": [4, 5]},
        {"op": "avg_pool", "name": "half", "inputs": [6], **window},
        {"op": "channel_pad", "name": "wide", "inputs": [7], "position": "wide.position",
         "channels": 6},
        {"op": "max_pool", "name": "half2", "inputs": [6], **window},
        {"op": "conv2d", "name": "b.conv", "inputs": [9], "weight": "b.conv.weight", "bias": None,
         "padding": [0, 0], "groups": 1, **plain},
        {"op": "relu6", "name": "relu6", "inputs": [10]},
        {"op": "add", "name": "b", "inputs": [8, 11]},
        {"op": "global_avg_pool", "name": "pool", "inputs": [12]},
        {"op": "flatten", "name": "flat", "inputs": [13]},
        {"op": "linear", "name": "classifier", "inputs": [14], "weight": "classifier.weight",
         "bias": "classifier.bias"},
    ]  # fmt: skip
    arrays = {
        "s.w": array(1),
        "s.b": array(1),
        "stem.weight": array(4, 1, 3, 3),
        "bn.weight": array(4),
        "bn.bias": array(4),
        "bn.running_mean": array(4),
        "bn.running_var": array(4) ** 2,
        "a.conv.weight": array(4, 2, 3, 3),
        "a.conv.bias": array(4),
        "wide.position": np.array([5, -1, 0, 2], np.int32),
        "b.conv.weight": array(6, 4, 1, 1),
        "classifier.weight": array(3, 6),
        "classifier.bias": array(3),
    }
    return StudentFile(
        nodes=tuple(nodes),
        arrays=arrays,
        input_shape=(1, 8, 6),
        output=15,
        taps=(6, 12),
        kept=(np.array([0, 2, 3, 7]), np.array([1, 2, 4, 5, 7, 11])),
        teacher_channels=(8, 12),
        last_convs=("a.conv", "b.conv"),
        classifier="classifier",
        trainable=("b.conv", "classifier"),
        classes=("cat", "dög", "a mug / cup"),
        preprocessing={"kind": "channel", "mean": [0.5], "deviation": [0.25]},
        optimizer={"kind": "sgd", "momentum": 0.9, "nesterov": True, "clip": None},
        state={"momentum/classifier.weight": array(3, 6), "steps": np.array(7, np.int64)},
        record=({"command": "train", "test_accuracy": 0.5, "parts": [1, {"a": None}]},),
    )


def same(one: StudentFile, other: StudentFile) -> bool:
    """Are two students equal to the bit?"""
    for each in dataclasses.fields(StudentFile):
        a, b = getattr(one, each.name), getattr(other, each.name)
        if each.name in ("arrays", "state", "weight_scales"):
            if list(a) != list(b) or not all(_same_array(a[name], b[name]) for name in a):
                return False
        elif each.name == "kept":
            if len(a) != len(b) or not all(map(_same_array, a, b)):
                return False
        elif a != b:
            return False
    return True


def _same_array(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
