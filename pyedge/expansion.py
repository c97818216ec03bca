"""More features for a classifier: random projections of those that there are, and a ReLU.

A linear classifier of many random features draws curved borders between classes (Rahimi and Recht
2007; RanPAC, McDonnell et al. 2023). The engine runs them as a frozen affine, which makes the
features alike in size, a frozen linear layer and a ReLU. The projection is made from a seed.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import whole
from pyedge.made_weights import MOST, made_weight
from pyedge.student_features import classifier_of, feature_count

if TYPE_CHECKING:
    from pyedge.student import StudentFile

_MOST_WIDTH = 1 << 13  # of which the second moments take half a gigabyte


def with_expansion(
    student: StudentFile, features: NDArray[np.float32], width: int, seed: int, where: str
) -> StudentFile:
    """Return a student whose classifier reads `width` random features of its features.

    features float32 [n, f]: those of many images, to bring to mean 0 and deviation 1. The
    classifier's weights are zeros: statistics of the new features are to be made, and solved.
    Raises ValueError and TypeError for a width or a seed that cannot be.
    """
    width = whole(width, f"{where}: expand", 1, _MOST_WIDTH)
    seed = whole(seed, f"{where}: seed", 0, (1 << 63) - 1)
    count = feature_count(student)
    if width * count > MOST:
        raise ValueError(f"{where}: expand={width} of {count} features is more than {MOST} weights")
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    # a feature that hardly ever differs would be noise, blown up
    deviation = np.maximum(deviation, 1e-2 * max(float(deviation.max()), 1e-12))
    node = classifier_of(student)
    at = student.nodes.index(node)
    name = "expand"
    while any(each["name"].startswith(name) for each in student.nodes):
        name += "_"
    arrays = dict(student.arrays)
    arrays[f"{name}.scale.weight"] = (1 / deviation).astype(np.float32)
    arrays[f"{name}.scale.bias"] = (-mean / deviation).astype(np.float32)
    arrays[f"{name}.weight"] = made_weight(seed, width, count)
    classes = len(arrays[node["weight"]])
    arrays[node["weight"]] = np.zeros((classes, width), dtype=np.float32)
    affine = {
        "op": "affine",
        "name": f"{name}.scale",
        "inputs": list(node["inputs"]),
        "weight": f"{name}.scale.weight",
        "bias": f"{name}.scale.bias",
    }
    linear = {
        "op": "linear",
        "name": name,
        "inputs": [at],
        "weight": f"{name}.weight",
        "bias": None,
    }
    relu = {"op": "relu", "name": f"{name}.relu", "inputs": [at + 1]}
    moved = [
        {**each, "inputs": [i + 3 if i >= at else i for i in each["inputs"]]}
        for each in student.nodes[at:]
    ]
    moved[0]["inputs"] = [at + 2]
    return dataclasses.replace(
        student,
        nodes=(*student.nodes[:at], affine, linear, relu, *moved),
        arrays=arrays,
        output=student.output + 3,
        taps=tuple(tap + 3 if tap >= at else tap for tap in student.taps),
        statistics=None,
        head={},
        state={},
        made={**student.made, f"{name}.weight": seed},
    )


def without_expansion(student: StudentFile) -> StudentFile:
    """Return a student whose classifier reads the features themselves, with weights of 0."""
    nodes, arrays = list(student.nodes), dict(student.arrays)
    output, taps = student.output, student.taps
    for name in student.made:
        at = next(i for i, node in enumerate(nodes) if node.get("weight") == name) - 1
        scale, classifier = nodes[at], nodes[at + 3]
        for array in (scale["weight"], scale["bias"], name):
            del arrays[array]
        rows = len(student.arrays[classifier["weight"]])
        count = len(student.arrays[scale["weight"]])
        arrays[classifier["weight"]] = np.zeros((rows, count), dtype=np.float32)
        moved = [
            {**node, "inputs": [i - 3 if i > at else i for i in node["inputs"]]}
            for node in nodes[at + 3 :]
        ]
        moved[0]["inputs"] = list(scale["inputs"])
        nodes[at:] = moved
        output, taps = output - 3, tuple(tap - 3 if tap >= at else tap for tap in taps)
    return dataclasses.replace(
        student,
        nodes=tuple(nodes),
        arrays=arrays,
        output=output,
        taps=taps,
        statistics=None,
        head={},
        state={},
        made={},
    )
