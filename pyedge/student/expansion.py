"""More features for a classifier: random projections of its features, and a ReLU.

A linear classifier of many random features draws curved borders between classes (Rahimi and Recht
2007; RanPAC, McDonnell et al. 2023). The engine runs them as a frozen affine, which brings the
features to one scale, a frozen linear layer and a ReLU. The projection is made from a seed. It also
passes on the features themselves, so that a trained classifier answers as before.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import whole
from pyedge.student.features import classifier_of, feature_count
from pyedge.student.made_weights import MOST, made_weight
from pyedge.student.projection import ADDED_BIAS

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile
    from pyedge.student.graph import Node

_MOST_WIDTH = 1 << 13  # of which the second moments take half a gigabyte, or twice that
_LEAST_IMAGES = 50
# "auto": chosen on validation images of digits and CIFAR-10 (docs/learning.md)
_AUTO_WIDTH = 500
_AUTO_FEATURES = 200  # with so many the second moments take 3 MB

Expand = int | Literal["auto"] | None


def random_features(student: StudentFile, expand: Expand, images: int, where: str) -> int | None:
    """Return how many random features a classifier is to get, or None.

    "auto": some, if the classifier reads few features, the student has no statistics yet, and there
    are enough images to scale the features by. Raises ValueError and TypeError for anything but a
    number from 1, "auto" or None.
    """
    if expand is None:
        return None
    if isinstance(expand, str) and expand != "auto":
        raise ValueError(f'{where}: expand: wanted a whole number, "auto" or None, got {expand!r}')
    if expand != "auto":
        return whole(expand, f"{where}: expand", 1, _MOST_WIDTH)
    begun = student.statistics is not None or bool(student.made)
    few = feature_count(student) < _AUTO_FEATURES and _by_channels(student)
    return _AUTO_WIDTH if few and not begun and images >= _LEAST_IMAGES else None


def _by_channels(student: StudentFile) -> bool:
    """Tell whether each feature is a channel: not so for a flattened map of several pixels."""
    layers = student.layers()
    at = classifier_of(student)["inputs"][0]
    while student.nodes[at]["op"] in ("relu", "relu6"):
        at = student.nodes[at]["inputs"][0]
    if student.nodes[at]["op"] != "flatten":
        return True
    source = layers[student.nodes[at]["inputs"][0]]
    return math.prod(source.shape[1:]) == 1


def with_expansion(
    student: StudentFile, features: NDArray[np.float32], width: int, seed: int, where: str
) -> StudentFile:
    """Return a student whose classifier also reads `width` random features.

    features float32 [n, f]: those of many images, by which all are scaled to mean 0 and deviation
    1. No answer changes, except for rounding: the classifier's weights of the random features are
    zeros. Raises ValueError and TypeError for an invalid seed, and for a student that has random
    features already.
    """
    seed = whole(seed, f"{where}: seed", 0, (1 << 63) - 1)
    if student.made:
        raise ValueError(
            f"{where}: expand={width}: the student's classifier reads random features already"
        )
    if not _by_channels(student):
        raise ValueError(
            f"{where}: expand={width}: the classifier reads a flattened map of several pixels, and "
            "a device scales features channel by channel"
        )
    count = feature_count(student)
    outputs = 2 * count + width
    if outputs * count > MOST:
        raise ValueError(f"{where}: expand={width} of {count} features is more than {MOST} weights")
    mean = features.mean(axis=0, dtype=np.float64)
    if len(features) < _LEAST_IMAGES:
        raise ValueError(
            f"{where}: expand={width}: wanted at least {_LEAST_IMAGES} images, to scale the "
            f"features by, got {len(features)}"
        )
    deviation = features.std(axis=0, dtype=np.float64)
    # a feature that hardly ever differs would be noise, blown up
    spread = float(deviation.max())
    if spread == 0:
        raise ValueError(f"{where}: expand={width}: all images have the same features")
    deviation = np.maximum(deviation, 1e-2 * spread)
    node = classifier_of(student)
    at = student.nodes.index(node)
    name = "expand"
    while any(each["name"].startswith(name) for each in student.nodes):
        name += "_"
    arrays = dict(student.arrays)
    arrays[f"{name}.scale.weight"] = (1 / deviation).astype(np.float32)
    arrays[f"{name}.scale.bias"] = (-mean / deviation).astype(np.float32)
    arrays[f"{name}.weight"] = made_weight(seed, outputs, count)
    student, node = with_bias(student)
    arrays = {**student.arrays, **arrays}
    trained = student.arrays[node["weight"]].astype(np.float64)
    arrays[node["weight"]] = _spread(trained * deviation, width)
    arrays[node["bias"]] = (student.arrays[node["bias"]] + trained @ mean).astype(np.float32)
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


def own_features(student: StudentFile) -> NDArray[np.float64] | None:
    """Return rows [f, F] that give the features themselves from the F that the classifier reads.

    They are scaled to mean 0 and deviation 1, as in `with_expansion`. None without an expansion,
    and for one whose projection has learned.
    """
    for name in student.made:
        weight = student.arrays[name]
        outputs, count = weight.shape
        own = np.eye(count)
        if not np.array_equal(weight[: 2 * count], np.concatenate([own, -own])):
            return None  # it has learned
        return np.concatenate([own, -own, np.zeros((count, outputs - 2 * count))], axis=1)
    return None


def with_bias(student: StudentFile) -> tuple[StudentFile, Node]:
    """Return a student whose classifier has a bias (zeros if it had none), and its node."""
    node = classifier_of(student)
    if node["bias"] is not None:
        return student, node
    name = node["name"] + ADDED_BIAS
    while name in student.arrays:
        name += "_"
    zeros = np.zeros(len(student.arrays[node["weight"]]), dtype=np.float32)
    node = {**node, "bias": name}
    nodes = tuple(node if each["name"] == node["name"] else each for each in student.nodes)
    return dataclasses.replace(student, nodes=nodes, arrays={**student.arrays, name: zeros}), node


def _spread(weights: NDArray[np.float64], width: int) -> NDArray[np.float32]:
    """Spread weights of features over their positive and negative parts; other weights are 0."""
    none = np.zeros((len(weights), width))
    return np.concatenate([weights, -weights, none], axis=1).astype(np.float32)
