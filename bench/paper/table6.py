"""Table 6: seconds, memory and parameters of learning a class, on one machine in one run.

ResNet 5 to 8 on the engine (labels; the paper's transfer from a knowledge pack; statistics), beside
RILOD on the whole ResNet-18 in torch. Every row takes the same number of steps with the same batch,
after which a cosine schedule has come to rest, and inference is of one batch. Images of 224 pixels
are those of the data set, enlarged: time does not depend on what is seen. The engine's memory is
what it plans; torch's is its weights, gradients, momentum, the frozen copy, and what a step keeps
for its backward pass.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import pyedge
from bench.learning.torch_net import train_steps
from bench.paper.baselines.rilod import WholeNetwork, rilod_loss
from bench.paper.cutting import Cutting
from bench.paper.rows import Figures, Row, Workshops
from bench.paper.workshop import Workshop
from pyedge.cloud.network_file import load_network
from pyedge.data import standardise
from pyedge.models import create

BATCH = 64
LARGE = 224  # the paper's pixels
_ROUNDS = 5
_NEW = "a new class"
Pixels = NDArray[np.uint8]


def rows(shops: Workshops) -> list[Row]:
    """Return ImageNet's students, at the data's size and, but for smoke, the paper's."""
    shop = shops.of("imagenet")
    own = shop.world.pixels
    found = []
    for size in (own,) if shops.scale == "smoke" else (own, LARGE):
        ends = f", {size} pixels"
        name = f"whole network: RILOD, all layers{ends}"
        found.append(Row("imagenet", name, partial(_rilod, shop, size)))
        for P in shop.world.thresholds:
            for way in ("labels", "transfer", "statistics"):
                name = f"{shop.world.student_name(P)}: {way}{ends}"
                run = partial(_engine, shop, P, size, way)
                found.append(Row("imagenet", name, run, ours=way != "transfer"))
    return found


def _pixels(shop: Workshop, size: int, seed: int) -> Pixels:
    """One class's images, as many as a device has of it, enlarged by repeating pixels."""
    train = shop.parts.train.only_classes([0])
    own = train.images.shape[2]
    images = train.images[: shop.world.device_images].numpy()
    random = np.random.default_rng(seed)
    images = images[random.permutation(len(images))]
    places = np.arange(size) * own // size
    return np.ascontiguousarray(images[:, :, places[:, None], places[None, :]])


def _engine(shop: Workshop, P: float, size: int, way: str, seed: int) -> Figures:
    student, _ = load_network(shop.student(Cutting(P), seed))
    pixels = _pixels(shop, size, seed)
    shape = (pixels.shape[1], size, size)
    names = [f"class {i}" for i in range(len(shop.parts.train.classes))]
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="bench-paper-") as folder:
        path = Path(folder) / "student.pyedge"
        file = pyedge.export(student, path, classes=names, input_shape=shape)
        if way == "statistics":
            known = [names[i % len(names)] for i in range(len(pixels))]
            file = pyedge.add_statistics(file, pixels, known, seed=seed)
        learner = pyedge.EdgeLearner(file, threads=threads)
        options: dict[str, Any] = {"steps": shop.world.learn_steps, "batch_size": BATCH,
                                   "seed": seed, "progress": False}  # fmt: skip
        if way == "transfer":
            teacher = shop.teacher.network
            pack = pyedge.make_knowledge(
                path, teacher, pixels, Path(folder) / "pack", classes=names, progress=False
            )
            learn = partial(learner.learn, pixels, knowledge=pack, **options)
        else:
            learner.add_classes([_NEW])
            told = [_NEW] * len(pixels)
            learn = partial(learner.learn, pixels, told, method=way)
            if way == "labels":
                learn = partial(learn, **options)
        memory = learner.memory_bytes(BATCH, training=way != "statistics")
        began = time.perf_counter()
        learn()
        seconds = time.perf_counter() - began
        return {
            "trainable": _trainable(learner, way),
            "seconds": round(seconds, 4),
            "inference_seconds": _inference(lambda: learner.predict(pixels[:BATCH])),
            "memory_bytes": memory,
            "images": len(pixels),
        }


def _trainable(learner: pyedge.EdgeLearner, way: str) -> int:
    """Count the numbers that learning changes."""
    student = learner.student
    layers = (student.classifier,) if way == "statistics" else learner.trainable
    nodes = [node for node in student.nodes if node["name"] in layers]
    names = {node[key] for node in nodes for key in ("weight", "bias") if node.get(key)}
    return sum(student.arrays[name].size for name in names)


def _rilod(shop: Workshop, size: int, seed: int) -> Figures:
    builder, options = shop.world.whole
    torch.manual_seed(seed)
    classes = len(shop.parts.train.classes) - 1
    plain = create(builder, num_classes=classes, in_channels=shop.world.channels, **options)
    net = WholeNetwork(plain)
    before = net.frozen_copy()
    net.grow(classes + 1)
    pixels = _pixels(shop, size, seed)
    random = np.random.default_rng(seed)
    labels = torch.full((BATCH,), classes)

    def loss() -> torch.Tensor:
        rows = random.integers(0, len(pixels), BATCH)
        x = standardise(torch.from_numpy(pixels[rows]))
        with torch.no_grad():
            features_then = before.body(x)
            then = before.head(features_then)
        features = net.body(x)
        return rilod_loss(net.head(features), labels, then, features, features_then)

    kept = _kept_bytes(loss)
    began = time.perf_counter()
    train_steps(net, shop.world.learn_steps, 0.01, loss)
    seconds = time.perf_counter() - began
    x = torch.from_numpy(pixels[:BATCH])
    trainable = sum(each.numel() for each in net.learning().values())
    return {
        "trainable": trainable,
        "seconds": round(seconds, 4),
        "inference_seconds": _inference(lambda: net.logits(x)),
        "memory_bytes": 4 * 4 * trainable + kept,
        "images": len(pixels),
    }


def _kept_bytes(loss: Callable[[], torch.Tensor]) -> int:
    """Return the bytes of maps that a step keeps for its backward pass, each counted once."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = loss()
    del found
    return sum(kept.values())


def _inference(call: Callable[[], Any]) -> float:
    call()
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times), 5)
