"""Check an exported student against torch: the same logits, the same gradients.

The engine computes in float32, torch here in float64. An activation that is nearer to a kink (a
ReLU at 0, two equal maxima of a pool) than float32 can resolve may fall on the other side; then the
gradients of two correct programs differ, by some 0.001 of their norm for one activation. Among a
few million activations there always is such a one. So if no batch is free of it, the check has two
steps: the file's graph must equal torch's network, both in float64; and the engine must be right on
the graph without its kinks.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from pyedge.cloud.exporting.interpret import interpret, tensors_of
from pyedge.cloud.exporting.lower import Lowered
from pyedge.cloud.exporting.noise import Batch, Forward, gradients
from pyedge.cloud.exporting.operators import computed, has_kinks
from pyedge.cloud.graph.rewrite import InDouble
from pyedge.errors import ExportError
from pyedge.student.file import StudentFile
from pyedge.student.tail import terms

if TYPE_CHECKING:
    from pyedge.kernels import Engine

TOLERANCE = 1e-4  # relative to the norm; what the engine promises of its gradients
LOWERING_TOLERANCE = 1e-5  # of the graph, in float64; constants in it are float32
KINKS = 0.05  # more than a few activations on the other side of a kink can do
_IMAGES = 2
_ATTEMPTS = 3  # on new images each
_HOPELESS = 1 << 21  # activations an image, of which some are at a kink whatever the image
# An array whose gradient is small beside the whole is mostly cancellation: errors in it are
# measured against this share of the whole gradient's norm.
_SHARE = 1e-3

Gradients = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Agreement:
    """The largest relative differences between the engine and torch.

    worst: the array whose gradient differs most. smooth: the difference on the graph without its
    kinks, if that was needed.
    """

    logits: float
    gradients: float
    worst: str
    smooth: float | None = None


def check_against_torch(student: StudentFile, lowered: Lowered, seed: int = 0) -> Agreement:
    """Compare logits, and gradients for the file's trainable layers and for all that can learn.

    Batch norm is frozen. Raises ExportError if they differ by more than `TOLERANCE`, or if the
    engine refuses the graph.
    """
    engine = engine_of(student)
    net = copy.deepcopy(lowered.net).double().eval().requires_grad_(True)
    weights = _weights(student, lowered, net)
    every = tuple(lowered.modules)
    sets = [every] if student.trainable in ((), every) else [student.trainable, every]
    best: Agreement | None = None
    for attempt in range(_ATTEMPTS if _kinks(student) < _HOPELESS else 1):
        batch = Batch.of(student, _IMAGES, seed + attempt)
        expected = gradients(_forward_of_net(net, student), weights, batch)
        found = _worst([_compared(student, engine, names, batch, *expected) for names in sets])
        if best is None or found.gradients < best.gradients:
            best = found
        if best.logits > TOLERANCE or best.gradients <= TOLERANCE:
            break  # the logits are continuous: no kink excuses them
    assert best is not None
    if best.logits <= TOLERANCE and TOLERANCE < best.gradients <= KINKS:
        best = dataclasses.replace(best, smooth=_without_kinks(student, net, weights, sets, seed))
    gradient = best.gradients if best.smooth is None else best.smooth
    if best.logits > TOLERANCE or gradient > TOLERANCE:
        raise ExportError(
            "export: the engine does not compute what torch does: logits differ by "
            f"{best.logits:.1e}, the gradient of {best.worst} by {gradient:.1e} of its norm, at "
            f"most {TOLERANCE:.0e} is expected; please report this network"
        )
    return best


def _without_kinks(
    student: StudentFile,
    net: fx.GraphModule,
    weights: Mapping[str, Tensor],
    sets: Sequence[tuple[str, ...]],
    seed: int,
) -> float:
    """Compare the file's graph with torch in float64, then the engine on the smooth graph."""
    batch = Batch.of(student, _IMAGES, seed)
    logits, wanted = gradients(_forward_of_net(net, student), weights, batch)
    arrays = tensors_of(student.arrays)
    mine = {name: arrays[name] for name in wanted}
    same, got = gradients(_forward_of_file(student, arrays), mine, batch)
    error, _ = _largest({name: got[name] for name in wanted}, wanted)
    if max(error, logits_error(student, same, logits)) > LOWERING_TOLERANCE:
        return math.inf
    smooth = without_kinks(student)
    expected = gradients(_forward_of_file(smooth, arrays), mine, batch)
    engine = engine_of(smooth)
    found = _worst([_compared(smooth, engine, names, batch, *expected) for names in sets])
    return max(found.logits, found.gradients)


def without_kinks(student: StudentFile) -> StudentFile:
    """Return the student without ReLUs and the like, and with averages instead of maxima."""
    place: list[int] = []
    nodes: list[dict[str, Any]] = []
    for node in student.nodes:
        inputs = [place[i] for i in node["inputs"]]
        op = node["op"]
        if has_kinks(op):
            smooth = computed(op).smooth
            if smooth is None:
                place.append(inputs[0])
                continue
            op = smooth
        place.append(len(nodes))
        nodes.append({**node, "op": op, "inputs": inputs})
    taps = tuple(place[tap] for tap in student.taps)
    return dataclasses.replace(student, nodes=tuple(nodes), taps=taps, output=place[student.output])


def _kinks(student: StudentFile) -> int:
    """Count the numbers of one image that go through a ReLU or the like, or into a maximum."""
    layers = student.layers()
    return sum(
        math.prod(layers[i].shape)
        for node in student.nodes
        for i in node["inputs"]
        if has_kinks(node["op"])
    )


def engine_of(student: StudentFile) -> Engine:
    """Make an engine with frozen batch norm; ExportError if it does not take the graph."""
    try:
        engine = student.engine()
    except ValueError as error:
        raise ExportError(f"export: the engine does not take the graph: {error}") from error
    engine.set_batch_norm("frozen")
    return engine


def _weights(student: StudentFile, lowered: Lowered, net: fx.GraphModule) -> dict[str, Tensor]:
    """Return the parameters of torch's network, by the names of the file's arrays."""
    nodes = {node["name"]: node for node in student.nodes}
    return {
        nodes[name][field]: parameter
        for name, path in lowered.modules.items()
        for field, parameter in net.get_submodule(path).named_parameters()
    }


def _forward_of_net(net: fx.GraphModule, student: StudentFile) -> Forward:
    found = terms(student)
    masked, numbers = torch.from_numpy(found.masked), torch.from_numpy(found.shift)

    def forward(images: Tensor) -> tuple[Tensor, list[Tensor]]:
        with InDouble():
            _, logits, *taps = net(images)
        # -1e9 is another number in float32, and J_1 would be made of nothing but the difference;
        # `answers` compares masks with torch's own
        return torch.where(masked, numbers, logits), taps

    return forward


def _forward_of_file(student: StudentFile, arrays: Mapping[str, Tensor]) -> Forward:
    def forward(images: Tensor) -> tuple[Tensor, list[Tensor]]:
        values = interpret(student.nodes, arrays, images)
        return values[student.output], [values[tap] for tap in student.taps]

    return forward


def _compared(
    student: StudentFile,
    engine: Engine,
    names: tuple[str, ...],
    batch: Batch,
    logits: NDArray[np.float64],
    wanted: Gradients,
) -> Agreement:
    engine.set_trainable(list(names))
    error = logits_error(student, engine.predict(batch.images), logits)
    engine.step(batch.images, batch.rows, **batch.knowledge())
    nodes = {node["name"]: node for node in student.nodes}
    arrays = [nodes[n][f] for n in names for f in ("weight", "bias") if nodes[n][f] is not None]
    got = {array: engine.gradient(array) for array in arrays}
    return Agreement(error, *_largest(got, wanted))


def logits_error(student: StudentFile, got: NDArray[Any], wanted: NDArray[np.float64]) -> float:
    """Return the relative difference of logits; masked ones must be the same number."""
    masked = terms(student).masked
    if (np.asarray(got, np.float32) != wanted.astype(np.float32))[:, masked].any():
        return math.inf
    return _relative(got[:, ~masked], wanted[:, ~masked])


def _largest(got: Mapping[str, NDArray[Any]], wanted: Gradients) -> tuple[float, str]:
    """Return the largest relative difference between gradients, and its array."""
    whole = math.sqrt(sum(_norm(wanted[name]) ** 2 for name in got))
    differences = {
        # reshaped: a linear layer may have become a convolution, with the same weights
        name: _relative(gradient.reshape(wanted[name].shape), wanted[name], _SHARE * whole)
        for name, gradient in got.items()
    }
    worst = max(differences, key=lambda name: differences[name])
    return differences[worst], worst


def _worst(found: Sequence[Agreement]) -> Agreement:
    return max(found, key=lambda each: max(each.logits, each.gradients))


def _relative(got: NDArray[Any], wanted: NDArray[Any], least: float = 0.0) -> float:
    error = _norm(np.asarray(got, np.float64) - wanted) / max(_norm(wanted), least, 1e-30)
    return math.inf if math.isnan(error) else error


def _norm(array: NDArray[Any]) -> float:
    return float(np.linalg.norm(array.ravel()))
