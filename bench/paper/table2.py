"""Table 2: the compressed students beside other ways of making a network small, on CIFAR-10.

Accuracy against parameters and against bytes: quantization is about bytes. Filters pruned by their
L1 norm stand with the network that they come from, which is trained again as its paper says.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from bench.paper.baselines.l1_pruning import prune_blocks
from bench.paper.baselines.quantization import quantize_post_mortem, quantized_bytes
from bench.paper.cutting import Cutting
from bench.paper.rows import Figures, Row, Workshops, accuracies, percent
from bench.paper.systems import AS_WRITTEN, LONGER, TRANSFER, System, quantized_distillation
from bench.paper.workshop import Trained, Workshop
from pyedge import kernels
from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.export import export
from pyedge.edge.learner import EdgeLearner
from pyedge.models import count_parameters

L1_SHARES = (0.1, 0.5)  # Li et al. take out few filters of ResNet-110; half shows what is left then
LOW_BITS = (2, 4)
OUR_BITS = 8


def rows(shops: Workshops) -> list[Row]:
    """Return the rows; the world is CIFAR-10's."""
    shop = shops.of("cifar")
    world = shop.world
    first, smallest = world.largest, world.smallest
    found = [Row("cifar", "teacher", lambda seed: _sized(shop.teacher), once=True)]
    for P in world.thresholds:
        cutting = Cutting(P, keep="last")
        run = partial(_student, shop, cutting, AS_WRITTEN)
        found.append(Row("cifar", world.student_name(P), run))
    for share in L1_SHARES:
        name = f"L1 norm, {share:.0%} of the filters"
        found.append(Row("cifar", name, partial(_pruned, shop, share)))
    for bits in LOW_BITS:
        name = f"teacher, post mortem, {bits} bits"
        found.append(Row("cifar", name, partial(_post_mortem_teacher, shop, bits), once=True))
    for bits in LOW_BITS:
        name = f"{world.student_name(first)}, quantized distillation, {bits} bits"
        found.append(Row("cifar", name, partial(_distilled, shop, Cutting(first), bits)))
    for P, system, end in ((first, TRANSFER, ""), (smallest, TRANSFER, ""),
                           (smallest, LONGER, ", twice as long")):  # fmt: skip
        label = f"{world.student_name(P)}, our recipe{end}"
        found.append(Row("cifar", label, partial(_student, shop, Cutting(P), system), ours=True))
        run = partial(_post_mortem, shop, Cutting(P), system, OUR_BITS)
        found.append(Row("cifar", f"{label}, {OUR_BITS} bits", run, ours=True))
        run = partial(_on_engine, shop, Cutting(P), system)
        found.append(Row("cifar", f"{label}, computed in {OUR_BITS} bits", run, ours=True))
    return found


def _sized(trained: Trained) -> Figures:
    return {**accuracies(trained.figures), "bytes": trained.figures["bytes"]}


def _student(shop: Workshop, cutting: Cutting, system: System, seed: int) -> Figures:
    return _sized(shop.taught(cutting, system, seed))


def _pruned(shop: Workshop, share: float, seed: int) -> Figures:
    other = shop.world.other
    assert other is not None
    whole = _whole(shop, *other)
    thin = prune_blocks(whole, share)
    # a fifth of the rate and a third of the way: Li et al. train on at a constant low rate
    training = {**_shortened(shop.world.student), "lr": shop.world.student["lr"] / 5}
    name = f"L1 norm {share}"
    return _sized(shop.labelled(other[0], other[1], seed, training=training, start=thin, name=name))


def _whole(shop: Workshop, builder: str, options: Mapping[str, Any]) -> nn.Module:
    """The network to prune: the teacher, where it is of that kind, or one that is trained."""
    if (builder, options) == (shop.world.builder, shop.world.options):
        return shop.teacher.network
    return shop.labelled(builder, options, 0).network


def _shortened(training: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: max(1, value // 3) if name in ("steps", "epochs") else value
        for name, value in training.items()
    }


def _post_mortem_teacher(shop: Workshop, bits: int, seed: int) -> Figures:
    return _quantized(shop, shop.teacher.network, bits)


def _post_mortem(shop: Workshop, cutting: Cutting, system: System, bits: int, seed: int) -> Figures:
    return _quantized(shop, shop.taught(cutting, system, seed).network, bits)


def _on_engine(shop: Workshop, cutting: Cutting, system: System, seed: int) -> Figures:
    """A student's file in 8 bits, whose answers the engine computes in 8 bits where it can.

    Bytes are the file's, with all that is in it.
    """
    network = shop.taught(cutting, system, seed).network
    assert isinstance(network, Student)
    precision: Literal["int8", "float32"] = "int8" if kernels.int8_type() else "float32"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.pyedge"
        train = shop.parts.train
        export(
            network,
            path,
            classes=train.classes,
            preprocessing="image",
            input_shape=train.images.shape[1:],
            int8=shop.parts.val,
        )
        learner = EdgeLearner(path, precision=precision)
        found = {
            part: percent(learner.evaluate(getattr(shop.parts, part)).accuracy)
            for part in ("test", "val")
        }
        size = path.stat().st_size
    return {
        "accuracy": found["test"],
        "last": found["test"],
        "val": found["val"],
        "parameters": count_parameters(network),
        "bytes": size,
    }


def _quantized(shop: Workshop, network: nn.Module, bits: int) -> Figures:
    rounded = quantize_post_mortem(copy.deepcopy(network), bits)
    accuracy = percent(shop.accuracy(rounded, "test"))
    return {
        "accuracy": accuracy,
        "last": accuracy,
        "val": percent(shop.accuracy(rounded, "val")),
        "parameters": count_parameters(network),
        "bytes": quantized_bytes(rounded, bits),
    }


def _distilled(shop: Workshop, cutting: Cutting, bits: int, seed: int) -> Figures:
    found = shop.taught(cutting, quantized_distillation(bits), seed)
    return {**accuracies(found.figures), "bytes": quantized_bytes(found.network, bits)}
