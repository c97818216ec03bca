"""Write a task's folder: the network as nodes, ONNX and an exported program; what is right."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.peers.workers.served import STEPS
from bench.peers.workers.task import KINDS, Arrays, Node
from bench.shared.inputs import make_inputs
from bench.shared.named_students import STUDENTS
from bench.shared.students import BenchStudent
from bench.step.torch_best import BestStudent
from bench.step.torch_student import TorchStudent

LR = 0.01
_OPSET, _IR = 17, 8  # what onnxruntime-training 1.19 reads


@dataclass(frozen=True)
class Right:
    """In float64: logits of the batch, and the losses before each of some steps."""

    logits: np.ndarray
    losses: list[float]


class _Plain(BestStudent):
    """Batch norms folded or affine, and otherwise operators that every runtime has."""

    def _join_shortcuts(self) -> None:
        pass

    def op_channel_pad(self, node: Node, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        padded = torch.cat([x, x.new_zeros(n, 1, h, w)], 1)
        return padded.index_select(1, self._array(node, "forth"))


class _PlainGradients(_Plain):
    """And such as have a gradient in every runtime that has any: pools have not."""

    def op_global_avg_pool(self, node: Node, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def op_avg_pool(self, node: Node, x: Tensor) -> Tensor:
        (kh, kw), (n, c, h, w) = node["kernel"], x.shape
        if list(node["stride"]) != [kh, kw] or any(node["padding"]) or h % kh or w % kw:
            return super().op_avg_pool(node, x)
        return x.reshape(n, c, h // kh, kh, w // kw, kw).mean((3, 5))


class _Exported(nn.Module):
    """What is exported: images to logits; images and labels to a loss."""

    def __init__(self, net: _Plain, kind: str) -> None:
        super().__init__()
        self.net, self.kind = net, kind

    def forward(self, x: Tensor, *labels: Tensor) -> Tensor:
        logits = self.net(x)[0]
        return F.cross_entropy(logits, *labels) if labels else logits


def write(folder: Path, name: str, batch: int) -> Right:
    """Write the task of a student by name into a folder."""
    student = STUDENTS[name]()
    inputs = make_inputs(student, batch)
    images = inputs.standardised()
    (folder / "student").write_text(name)
    np.save(folder / "pixels.npy", inputs.images)
    np.savez(folder / "batch.npz", images=images, labels=inputs.labels)
    for kind in KINDS:
        trainable = student.last_conv if kind == "step" else []
        made = _PlainGradients if kind == "step" else _Plain
        net = made(student, trainable, torch.contiguous_format, compiled=True).eval()
        learned = student.parameters(trainable)
        nodes, arrays = _graph(net, learned)
        facts = {"nodes": nodes, "learned": learned, "lr": LR}
        (folder / f"{kind}.json").write_text(json.dumps(facts))
        np.savez(folder / f"{kind}.npz", **arrays)
        _write_onnx(folder / f"{kind}.onnx", nodes, arrays, images.shape, student.classes)
        given = [torch.from_numpy(images)]
        given += [torch.from_numpy(inputs.labels)] if kind == "step" else []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(_Exported(net, kind).eval(), tuple(given), strict=False)
            torch.export.save(program, folder / f"{kind}.pt2")
    return _right(student, images, inputs.labels)


def _graph(net: _Plain, learned: Collection[str]) -> tuple[list[Node], Arrays]:
    """The nodes without what only torch needs, and the arrays that they name."""
    nodes, arrays = [], {}
    for node in net.nodes:
        kept = {key: value for key, value in node.items() if not isinstance(value, Tensor)}
        if node["op"] == "channel_pad":
            kept["index"] = node["forth"]
        for key in ("weight", "bias", "scale", "shift", "index"):
            if kept.get(key):
                arrays[kept[key]] = net._array(kept, key).detach().numpy()
        names = ("op", "inputs", "weight", "bias", "scale", "shift", "index", "stride", "padding",
                 "dilation", "groups", "kernel", "channels")  # fmt: skip
        nodes.append({key: kept[key] for key in names if key in kept})
    return nodes, arrays


def _write_onnx(
    path: Path, nodes: list[Node], arrays: Arrays, shape: tuple[int, ...], classes: int
) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    made: list[Any] = []
    names: list[str] = []
    extra: Arrays = {}
    for i, node in enumerate(nodes):
        x = [names[j] for j in node["inputs"]]
        y = "logits" if i == len(nodes) - 1 else f"y{i}"
        if node["op"] == "input":
            names.append(x[0] if x else "x")
            continue
        names.append(y)
        made += _onnx_nodes(node, x, y, shape[0], extra, names)
    initial = [numpy_helper.from_array(np.ascontiguousarray(v), n) for n, v in
               {**arrays, **extra}.items()]  # fmt: skip
    graph = helper.make_graph(
        made,
        "student",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (shape[0], classes))],
        initial,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR
    onnx.checker.check_model(model)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)


def _onnx_nodes(
    node: Node, x: list[str], y: str, n: int, extra: Arrays, names: list[str]
) -> list[Any]:
    from onnx import helper

    op = node["op"]
    if op == "conv2d":
        top, left = node["padding"]
        biased = [node["bias"]] if node["bias"] else []
        return [helper.make_node(
            "Conv", [*x, node["weight"], *biased], [y], strides=list(node["stride"]),
            pads=[top, left, top, left], dilations=list(node["dilation"]), group=node["groups"],
        )]  # fmt: skip
    if op == "affine":
        return [
            helper.make_node("Mul", [*x, node["scale"]], [f"{y}_scaled"]),
            helper.make_node("Add", [f"{y}_scaled", node["shift"]], [y]),
        ]
    if op == "channel_pad":
        # one channel of zeros behind the others, for whatever has come from nowhere
        extra[f"{y}_pads"] = np.array([0, 0, 0, 0, 0, 1, 0, 0], np.int64)
        return [
            helper.make_node("Pad", [*x, f"{y}_pads"], [f"{y}_padded"]),
            helper.make_node("Gather", [f"{y}_padded", node["index"]], [y], axis=1),
        ]
    if op == "relu6":
        extra["zero"], extra["six"] = np.array(0, np.float32), np.array(6, np.float32)
        return [helper.make_node("Clip", [*x, "zero", "six"], [y])]
    if op in ("max_pool", "avg_pool"):
        kind = {"max_pool": "MaxPool", "avg_pool": "AveragePool"}[op]
        window = {"kernel_shape": list(node["kernel"]), "strides": list(node["stride"])}
        return [helper.make_node(kind, x, [y], **window)]
    if op == "linear":
        return [helper.make_node("Gemm", [*x, node["weight"], node["bias"]], [y], transB=1)]
    plain = {"relu": "Relu", "add": "Add", "global_avg_pool": "GlobalAveragePool",
             "flatten": "Flatten"}  # fmt: skip
    return [helper.make_node(plain[op], x, [y])]


def _right(student: BenchStudent, images: np.ndarray, labels: np.ndarray) -> Right:
    x, wanted = torch.from_numpy(images).double(), torch.from_numpy(labels)
    with torch.inference_mode():
        logits = TorchStudent(student, ()).double()(x)[0].numpy()
    net = TorchStudent(student, student.last_conv).double()
    optimizer = torch.optim.SGD(net.parameters(), LR)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x)[0], wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return Right(logits, losses)
