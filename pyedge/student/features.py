"""The features of a student: what its classifier reads, and which arrays compute it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile
    from pyedge.student.graph import Node


def classifier_of(student: StudentFile) -> Node:
    """Return the classifier's node."""
    return next(node for node in student.nodes if node["name"] == student.classifier)


def feature_count(student: StudentFile) -> int:
    """Return how many features the classifier reads."""
    return int(student.arrays[classifier_of(student)["weight"]].shape[1])


def upstream(student: StudentFile) -> list[int]:
    """Return the numbers of the nodes that the features are computed from, in order."""
    end = classifier_of(student)["inputs"][0]
    needed = {end}
    for i in range(end, -1, -1):
        if i in needed:
            needed.update(student.nodes[i]["inputs"])
    return sorted(needed)


def features_digest(student: StudentFile) -> str:
    """Return a SHA-256 that tells features apart: over the weights and preprocessing they need.

    The classifier and what comes after it do not count. Statistics with one digest are of the same
    features, up to the rounding of different machines.
    """
    digest = hashlib.sha256()
    there = upstream(student)
    place = {number: i for i, number in enumerate(there)}
    arrays: list[str] = []
    nodes = []
    for number in there:
        node = student.nodes[number]
        known = {k: v for k, v in node.items() if k not in ("name", "inputs")}
        for field, value in known.items():
            if isinstance(value, str) and value in student.arrays and field != "op":
                arrays.append(value)
                known[field] = list(student.arrays[value].shape)
        nodes.append({**known, "inputs": [place[i] for i in node["inputs"]]})
    described = {
        "input_shape": list(student.input_shape),
        "preprocessing": dict(student.preprocessing),
        "nodes": nodes,
    }
    digest.update(json.dumps(described, sort_keys=True, separators=(",", ":")).encode())
    for name in arrays:
        array = student.arrays[name]
        digest.update(np.asarray(array, array.dtype.newbyteorder("<"), order="C").tobytes())
    return digest.hexdigest()
