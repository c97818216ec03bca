"""MNN: its wheel converts an ONNX file and answers."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from bench.peers.workers.task import Task, UnableError

# MNN.tools runs "pip install" with whatever pip is found, at import: it shall find nothing
os.environ["PIP_NO_INDEX"] = "1"
os.environ["PIP_REQUIRE_VIRTUALENV"] = "1"


def convert(task: Task) -> None:
    """Convert the ONNX file, where it is there to answer."""
    if task.kind == "step":
        return
    import _tools

    files = ["--modelFile", str(task.file("onnx")), "--MNNModel", str(task.file("mnn"))]
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode", "pyedge"])


def inference(task: Task, variant: str) -> Callable[[], np.ndarray]:
    """Return images -> logits."""
    import MNN

    network = MNN.Interpreter(str(task.file("mnn")))
    session = network.createSession({"numThread": task.threads, "precision": "high"})
    x = network.getSessionInput(session)
    network.resizeTensor(x, task.images.shape)
    network.resizeSession(session)
    shape, of = task.images.shape, MNN.Tensor_DimensionType_Caffe
    came = MNN.Tensor(shape, MNN.Halide_Type_Float, task.images, of)
    output = network.getSessionOutput(session)

    def call() -> np.ndarray:
        x.copyFrom(came)
        network.runSession(session)
        shape = output.getShape()
        there = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), of)
        output.copyToHostTensor(there)
        return np.array(there.getNumpyData()).reshape(shape)

    return call


def step(task: Task, variant: str) -> Callable[[], float]:
    """Tell whether anything learns: mean(w * w) must fall."""
    import MNN

    w = MNN.expr.const([1.0, 2.0], [2], MNN.expr.NCHW)
    w = MNN.nn.create_parameter(w) if hasattr(MNN.nn, "create_parameter") else w
    w.fix_as_trainable()
    module = MNN.nn.load_module([w], [w], True)
    optimizer = MNN.optim.SGD(module, 0.1, 0.0, 0.0)
    done = optimizer.step(MNN.expr.reduce_mean(w * w))
    if not done or np.allclose(w.read(), [1.0, 2.0]):
        raise UnableError(
            "does not learn: SGD.step(reduce_mean(w * w)) gives "
            f"{done} and leaves w as it was, as the wheel is built without training"
        )
    raise UnableError("learns in this version, which no row has been written for")
