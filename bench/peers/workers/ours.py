"""pyedge's engine, in float32 and in half precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.peers.workers.task import Task, UnableError
from bench.shared.named_students import STUDENTS
from pyedge import kernels
from pyedge.kernels import Engine

_NO_CLIP = 1e9


def inference(task: Task, variant: str) -> Callable[[], np.ndarray]:
    """Return images -> logits."""
    engine, images = _engine(task, variant)
    return lambda: engine.predict(images)


def step(task: Task, variant: str) -> Callable[[], float]:
    """Return one step, which gives the loss before it."""
    engine, images = _engine(task, variant)
    rows = np.arange(len(images), dtype=np.int64)

    def call() -> float:
        loss = engine.step(images, rows, labels=task.labels, lambdas=[0.0, 0.0, 1.0])["loss"]
        engine.update(task.lr)
        return float(loss)

    return call


def _engine(task: Task, variant: str) -> tuple[Engine, np.ndarray]:
    if variant == "half" and kernels.half_type() is None:
        raise UnableError(f"the {kernels.isa()} path of this CPU has no half precision")
    kernels.set_num_threads(task.threads)
    name = (task.folder / "student").read_text()
    student = STUDENTS[name]()
    engine = Engine(student.nodes, student.arrays, list(student.input_shape), student.output, [])
    engine.set_trainable(student.last_conv if task.kind == "step" else [])
    engine.set_batch_norm("frozen")
    engine.set_optimizer(kind="sgd", momentum=0.0, nesterov=False, weight_decay=0.0, clip=_NO_CLIP)
    engine.set_preprocessing(kind="image", mean=[], deviation=[])
    engine.set_precision(variant)
    return engine, np.load(task.folder / "pixels.npy")
