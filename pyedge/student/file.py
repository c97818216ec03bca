"""A student: its graph, its weights, and what a device needs to know of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyedge.files.npy_archive import ArraySpec
from pyedge.statistics.sums import Statistics, constant
from pyedge.student.graph import Layer, Node, infer_layers
from pyedge.student.projection import ADDED_BIAS, without_projection

if TYPE_CHECKING:
    from pyedge.kernels import Engine

Arrays = Mapping[str, NDArray[Any]]


def _structural(node: Node, of_tail: bool) -> dict[str, Any]:
    """Return the parts of a node that are structure: new classes or a bias do not change them."""
    found = {k: v for k, v in node.items() if k != "channels" or not of_tail}
    bias = found.get("bias")
    if bias is not None and bias.rstrip("_") == f"{node['name']}{ADDED_BIAS}":
        found["bias"] = None
    return found


@dataclass(frozen=True, eq=False)
class StudentFile:
    """A student as a file holds it; `dataclasses.replace` makes another.

    nodes: the graph, in the order of execution (docs/format.md). arrays: float32 weights by name;
    positions of channel_pad are int32. input_shape: c h w. output: index of the node with the
    logits: the classifier, or a node that scales, shifts, masks or reorders its outputs.
    taps: for each group, the index of its block's output. kept: for each group, int64 positions
    of the block's channels among the teacher's, of which there are teacher_channels. last_convs,
    classifier, trainable: names of nodes. classes: names, in the order of the logits.
    preprocessing: kind ("none", "image" or "channel"), mean and deviation (one number a channel
    for "channel", else empty), and perhaps resize and colour (`pyedge.data.Preprocessing`).
    optimizer: the optimizer's settings, plain values; state: its
    slots; both may be empty. record: what was done to the student so far, plain values.
    statistics: of the features that the classifier reads, or None. head: how a classifier is made
    from them (`pyedge.statistics`), plain values. made: arrays that a file need not hold, by name,
    with the seed that makes them (`pyedge.student.made_weights`). input_scales: of layers that can
    be computed in 8 bits, by node, the scale and the zero point of what they read. weight_scales:
    of arrays that a file holds in 8 bits, by name, a scale for each output
    (`pyedge.student.int8_weights`).
    """

    nodes: tuple[Node, ...]
    arrays: Arrays
    input_shape: tuple[int, int, int]
    output: int
    taps: tuple[int, ...]
    kept: tuple[NDArray[np.int64], ...]
    teacher_channels: tuple[int, ...]
    last_convs: tuple[str, ...]
    classifier: str
    trainable: tuple[str, ...]
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any] = field(
        default_factory=lambda: {"kind": "image", "mean": [], "deviation": []}
    )
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    state: Arrays = field(default_factory=dict)
    record: tuple[Mapping[str, Any], ...] = ()
    statistics: Statistics | None = None
    head: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, int] = field(default_factory=dict)
    input_scales: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    weight_scales: Arrays = field(default_factory=dict)

    def layers(self) -> list[Layer]:
        """Return shape, parameters and multiply-accumulates of every node, in order."""
        specs = {name: ArraySpec.of(array) for name, array in self.arrays.items()}
        return infer_layers(self.nodes, specs, self.input_shape)

    def tail(self) -> tuple[Node, ...]:
        """Return the nodes between the classifier and the logits, in order; most students: none.

        Raises ValueError if they are not affines and channel pads after the classifier.
        """
        found: list[Node] = []
        node = self.nodes[self.output]
        while node["op"] in ("affine", "channel_pad"):
            found.append(node)
            node = self.nodes[node["inputs"][0]]
        if node["op"] != "linear" or node["name"] != self.classifier:
            raise ValueError(
                f"output: wanted the classifier, the linear node {self.classifier!r}, or affines "
                f"and channel pads after it, got {node['name']!r} ({node['op']})"
            )
        return tuple(reversed(found))

    def apart(self) -> StudentFile:
        """Return the same student in new containers, with arrays that nobody can write to.

        Read-only arrays are shared, others are copied.
        """
        return replace(
            self,
            nodes=deepcopy(self.nodes),
            arrays={name: constant(array) for name, array in self.arrays.items()},
            kept=tuple(constant(positions) for positions in self.kept),
            preprocessing=deepcopy(dict(self.preprocessing)),
            optimizer=deepcopy(dict(self.optimizer)),
            state={name: constant(array) for name, array in self.state.items()},
            record=deepcopy(self.record),
            statistics=None if self.statistics is None else self.statistics.apart(),
            head=deepcopy(dict(self.head)),
            made=dict(self.made),
            input_scales=dict(self.input_scales),
            weight_scales={name: constant(each) for name, each in self.weight_scales.items()},
        )

    @property
    def params(self) -> int:
        """Number of weights and biases."""
        return sum(layer.params for layer in self.layers())

    @property
    def structure_digest(self) -> str:
        """Return a SHA-256 of how the student is built, in 64 hexadecimal digits.

        Weights do not count, since they change as the student learns. Neither do the classes, the
        rows of the classifier and of what comes after it, since classes are added, or the random
        features that the classifier reads. The other positions of channel_pad are structure.
        """
        if self.made:
            plain = without_projection(self.nodes, self.arrays, self.output, self.taps, self.made)
            return replace(self, **plain._asdict(), made={}, statistics=None).structure_digest
        digest = hashlib.sha256()
        shapes = {name: list(array.shape) for name, array in self.arrays.items()}
        tail = self.tail()
        rows = ("weight", "bias", "position")
        for name in (node[key] for node in tail for key in rows if key in node):
            shapes.pop(name, None)
        for node in self.nodes:
            if node["op"] == "linear" and node["name"] == self.classifier:
                shapes[node["weight"]] = shapes[node["weight"]][1:]
                shapes.pop(node["bias"], None)
        structure = {
            "input_shape": list(self.input_shape),
            "nodes": [_structural(node, node in tail) for node in self.nodes],
            "shapes": shapes,
            "output": self.output,
            "taps": list(self.taps),
            "kept": [positions.tolist() for positions in self.kept],
            "teacher_channels": list(self.teacher_channels),
        }
        digest.update(json.dumps(structure, sort_keys=True, separators=(",", ":")).encode())
        for name in sorted(self.arrays):
            if self.arrays[name].dtype == np.int32 and name in shapes:
                digest.update(np.asarray(self.arrays[name], "<i4", order="C").tobytes())
        return digest.hexdigest()

    def engine(self, precision: str = "float32") -> Engine:
        """Make an engine with these weights, ready to predict and to train what is trainable.

        The optimizer is the engine's default; the learner sets its settings and state.
        """
        from pyedge.kernels import Engine

        engine = Engine(
            [dict(node) for node in self.nodes],
            dict(self.arrays),
            list(self.input_shape),
            self.output,
            list(self.taps),
        )
        engine.set_trainable(list(self.trainable))
        engine.set_input_scales(dict(self.input_scales))
        engine.set_precision(precision)
        numbers = {name: self.preprocessing[name] for name in ("kind", "mean", "deviation")}
        engine.set_preprocessing(**numbers)  # pictures were resized while they were read
        return engine
