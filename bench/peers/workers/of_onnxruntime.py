"""onnxruntime: inference; its training build (onnxruntime-training 1.19.2) learns too."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np

from bench.peers.workers.task import Task, UnableError


def convert(task: Task) -> None:
    """Make the files of a training, where the package can."""
    if task.kind == "inference" or not _learns():
        return
    import onnx
    from onnxruntime.training import artifacts

    model = onnx.load(str(task.file("onnx")))
    frozen = [each.name for each in model.graph.initializer if each.name not in task.learned]
    folder = task.file("artifacts")
    folder.mkdir(exist_ok=True)
    artifacts.generate_artifacts(
        model,
        requires_grad=task.learned,
        frozen_params=frozen,
        loss=artifacts.LossType.CrossEntropyLoss,
        optimizer=artifacts.OptimType.SGD,
        artifact_directory=str(folder),
    )


def inference(task: Task, variant: str) -> Callable[[], np.ndarray]:
    """Return images -> logits."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(task.file("onnx")), _options(task), providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": task.images})[0]


def step(task: Task, variant: str) -> Callable[[], float]:
    """Return one step, which gives the loss before it."""
    if not _learns():
        raise UnableError("does not learn: the package has no onnxruntime.training")
    from onnxruntime.training import api

    folder = task.file("artifacts")
    state = api.CheckpointState.load_checkpoint(str(folder / "checkpoint"))
    session = api.Module(
        str(folder / "training_model.onnx"), state, str(folder / "eval_model.onnx"),
        session_options=_options(task),
    )  # fmt: skip
    optimizer = api.Optimizer(str(folder / "optimizer_model.onnx"), session)
    optimizer.set_learning_rate(task.lr)
    session.train()

    def call() -> float:
        loss = session(task.images, task.labels)
        optimizer.step()
        session.lazy_reset_grad()
        return float(loss)

    return call


def _learns() -> bool:
    try:
        return importlib.util.find_spec("onnxruntime.training.api") is not None
    except ModuleNotFoundError:  # not even the module above it
        return False


def _options(task: Task):  # type: ignore[no-untyped-def]
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    return options
