"""Which layers of a student learn, and which of its arrays change by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyedge.student.graph import LEARNS

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile

Node = Mapping[str, Any]


def trainable_layers(
    student: StudentFile, trainable: str | Sequence[str] | None
) -> tuple[str, ...]:
    """Return the names of the nodes that learn, in the graph's order.

    "last_conv": the last convolution of each group and the classifier (Sec. 4.1); "classifier";
    "all": everything that has weights; None: what the student's file says, or "last_conv" if it
    says nothing. A name stands for its node, or for all nodes of the module of that name. Raises
    ValueError for an unknown name, and if nothing is left to learn.
    """
    can = [node["name"] for node in student.nodes if node["op"] in LEARNS]
    if trainable is None:
        trainable = tuple(student.trainable) or "last_conv"
    if trainable == "all":
        wanted = set(can)
    elif trainable == "last_conv":
        wanted = {*student.last_convs, student.classifier}
    elif trainable == "classifier":
        wanted = {student.classifier}
    elif isinstance(trainable, str):
        raise ValueError(
            'learn: trainable: wanted "last_conv", "classifier", "all" or names of layers, '
            f"got {trainable!r}"
        )
    else:
        wanted = set()
        for name in trainable:
            below = {each for each in can if each == name or each.startswith(f"{name}.")}
            if not below:
                raise ValueError(f"learn: trainable: the student has no layer {name!r} to train")
            wanted |= below
    if not wanted:
        raise ValueError(f"learn: trainable: wanted at least one layer, got {trainable!r}")
    return tuple(name for name in can if name in wanted)


def reached_from(nodes: Sequence[Node], ends: Sequence[int]) -> set[str]:
    """Return the names of all nodes that the nodes at `ends` are computed from, with these.

    A loss on inner maps alone has no gradient for the layers after them; these must not be
    trained, or weight decay alone would move them.
    """
    needed = set(ends)
    for i in range(len(nodes) - 1, -1, -1):
        if i in needed:
            needed.update(nodes[i]["inputs"])
    return {nodes[i]["name"] for i in needed}


def arrays_that_change(
    nodes: Sequence[Node], trainable: Sequence[str], batch_norm: str
) -> tuple[str, ...]:
    """Return the names of the arrays that learning changes: weights, and running statistics."""
    names: list[str] = []
    for node in nodes:
        if node["name"] in trainable:
            names += [node[field] for field in ("weight", "bias") if node[field] is not None]
        if node["op"] == "batch_norm" and batch_norm == "batch":
            names += [node["mean"], node["variance"]]
    return tuple(names)
