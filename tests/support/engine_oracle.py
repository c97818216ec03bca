"""What the edge engine must answer, in torch and float64: logits, losses, gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pyedge.kernels import Engine
from tests.support.engine_graphs import Graph
from tests.support.engine_lessons import Lesson, Maps

Node = Mapping[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """The answers for one batch.

    kink: how near an activation comes to where a ReLU bends, or to another maximum. Nearer than
    float32 can tell, gradients may differ.
    """

    logits: Floats
    losses: dict[str, float]
    pairs: list[int]
    gradients: dict[str, Floats]
    kink: float


class TorchGraph:
    """A graph whose arrays are float64 tensors; those in `learned` ask for gradients.

    With batch statistics, `arrays` has the running ones after the last batch.
    """

    def __init__(
        self, graph: Graph, learned: Sequence[str] = (), batch_statistics: bool = False
    ) -> None:
        self.nodes, self.taps, self.learned = graph.nodes, graph.taps, list(learned)
        self.batch_statistics = batch_statistics
        self.arrays = {name: torch.from_numpy(array.copy()) for name, array in graph.arrays.items()}
        for name, tensor in self.arrays.items():
            if tensor.is_floating_point():
                self.arrays[name] = tensor.double().requires_grad_(name in learned)
        self.kink = math.inf

    def __call__(self, images: NDArray[Any]) -> tuple[Tensor, list[Tensor]]:
        """Return the logits of the last node, n classes, and the taps."""
        self.kink = math.inf
        values = [torch.from_numpy(images).double()]
        for node in self.nodes[1:]:
            compute = getattr(self, f"_{node['op']}")
            values.append(compute(node, *(values[i] for i in node["inputs"])))
        return values[-1].flatten(1), [values[tap] for tap in self.taps]

    def solve(self, images: NDArray[Any], lesson: Lesson) -> Solution:
        """Return losses, and gradients by autograd; they are in `arrays` too."""
        logits, taps = self(images)
        total, losses, pairs = total_loss(logits, taps, lesson)
        leaves = [self.arrays[name] for name in self.learned]
        for leaf in leaves:
            leaf.grad = torch.zeros_like(leaf)  # stays so where the loss does not depend on it
        if total.requires_grad:
            total.backward(inputs=leaves)
        return Solution(
            logits.detach().numpy(),
            {**losses, "loss": float(total.detach())},
            pairs,
            {name: self.arrays[name].grad.numpy() for name in self.learned},
            self.kink,
        )

    def _array(self, node: Node, key: str) -> Any:
        return None if node[key] is None else self.arrays[node[key]]

    def _by_channel(self, node: Node, key: str, x: Tensor) -> Tensor:
        values = self._array(node, key)
        return values if x.dim() == 2 else values[:, None, None]

    def _comes_near(self, distance: Tensor) -> None:
        # exactly 0 are zeros that a ReLU or a padding left: float32 has them too
        away = distance.detach().abs()[distance != 0]
        if away.numel():
            self.kink = min(self.kink, float(away.min()))

    def _conv2d(self, node: Node, x: Tensor) -> Tensor:
        window = node["stride"], node["padding"], node["dilation"], node["groups"]
        return F.conv2d(x, self._array(node, "weight"), self._array(node, "bias"), *window)

    def _batch_norm(self, node: Node, x: Tensor) -> Tensor:
        mean, variance = self._array(node, "mean"), self._array(node, "variance")
        if self.batch_statistics:
            mean, variance = mean.clone(), variance.clone()
            # torch's own way with the running ones
            F.batch_norm(x.detach(), mean, variance, training=True, momentum=0.1)
            self.arrays |= {node["mean"]: mean, node["variance"]: variance}
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        inverse = (variance + node["eps"]).rsqrt()
        x = (x - mean[:, None, None]) * inverse[:, None, None]
        return x * self._by_channel(node, "weight", x) + self._by_channel(node, "bias", x)

    def _affine(self, node: Node, x: Tensor) -> Tensor:
        return x * self._by_channel(node, "weight", x) + self._by_channel(node, "bias", x)

    def _relu(self, node: Node, x: Tensor) -> Tensor:
        self._comes_near(x)
        return F.relu(x)

    def _relu6(self, node: Node, x: Tensor) -> Tensor:
        self._comes_near(x)
        self._comes_near(x - 6)
        return F.relu6(x)

    def _leaky_relu(self, node: Node, x: Tensor) -> Tensor:
        self._comes_near(x)
        return torch.where(x > 0, x, node["slope"] * x)

    def _prelu(self, node: Node, x: Tensor) -> Tensor:
        self._comes_near(x)
        return torch.where(x > 0, x, self._by_channel(node, "weight", x) * x)

    def _sigmoid(self, node: Node, x: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-x))

    def _hard_sigmoid(self, node: Node, x: Tensor) -> Tensor:
        self._comes_near(x + 3)
        self._comes_near(x - 3)
        return (x / 6 + 0.5).clamp(0, 1)

    def _silu(self, node: Node, x: Tensor) -> Tensor:
        return x * self._sigmoid(node, x)

    def _hard_swish(self, node: Node, x: Tensor) -> Tensor:
        return x * self._hard_sigmoid(node, x)

    def _gelu(self, node: Node, x: Tensor) -> Tensor:
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2

    def _gelu_tanh(self, node: Node, x: Tensor) -> Tensor:
        return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2

    def _mish(self, node: Node, x: Tensor) -> Tensor:
        return x * torch.tanh(torch.log1p(torch.exp(x)))

    def _elu(self, node: Node, x: Tensor) -> Tensor:
        self._comes_near(x)
        below = node["alpha"] * (torch.exp(node["input_scale"] * x) - 1)
        return node["scale"] * torch.where(x > 0, x, below)

    def _multiply(self, node: Node, a: Tensor, b: Tensor) -> Tensor:
        return a * (b[:, :, None, None] if b.dim() < a.dim() else b)

    def _add(self, node: Node, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def _channel_pad(self, node: Node, x: Tensor) -> Tensor:
        position = self._array(node, "position").long()
        stays = position >= 0
        out = x.new_zeros(len(x), node["channels"], *x.shape[2:])
        return out.index_copy(1, position[stays], x[:, stays])

    def _avg_pool(self, node: Node, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, node["kernel"], node["stride"], node["padding"])

    def _max_pool(self, node: Node, x: Tensor) -> Tensor:
        kernel, (down, across) = node["kernel"], node["padding"]
        if math.prod(kernel) > 1:
            around = F.pad(x.detach(), (across, across, down, down), value=-1e30)
            windows = F.unfold(around, kernel, stride=node["stride"])
            best = windows.unflatten(1, (x.shape[1], -1)).topk(2, dim=2).values
            self._comes_near(best[:, :, 0] - best[:, :, 1])
        return F.max_pool2d(x, kernel, node["stride"], node["padding"])

    def _global_avg_pool(self, node: Node, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def _flatten(self, node: Node, x: Tensor) -> Tensor:
        return x.flatten(1)

    def _linear(self, node: Node, x: Tensor) -> Tensor:
        return F.linear(x, self._array(node, "weight"), self._array(node, "bias"))


def relative(came: NDArray[Any], wanted: Floats, least: float = 0.0) -> float:
    """How far `came` is off, in norms of `wanted`, or of `least` where that is larger."""
    difference = float(np.linalg.norm((came - wanted).ravel()))
    return difference / max(float(np.linalg.norm(wanted.ravel())), least, 1e-30)


def gradient_errors(
    engine: Engine, solution: Solution, learned: Iterable[str], share: float = 1e-3
) -> dict[str, float]:
    """How far each gradient is off, in its own norm.

    One that is small beside the others is mostly cancellation: it is measured against this share
    of the norm of all of them together, those that the engine does not learn included.
    """
    whole = math.sqrt(sum(float((g**2).sum()) for g in solution.gradients.values()))
    return {
        name: relative(engine.gradient(name), solution.gradients[name], share * whole)
        for name in learned
    }


def total_loss(
    logits: Tensor, taps: Sequence[Tensor], lesson: Lesson
) -> tuple[Tensor, dict[str, float], list[int]]:
    """J_1, J_b and J_3 of Sec. 4.1 (its J_3 lacks a minus sign), each 0 where it is not asked for.

    The chosen pair of a group is that of the largest cosine, or mean cosine over the images.
    """
    parts = {name: logits.new_zeros(()) for name in ("J_1", "J_b", "J_3")}
    pairs = []
    if lesson.logits is not None:
        parts["J_1"] = (logits - torch.from_numpy(lesson.logits)).square().mean().sqrt()
    if lesson.labels is not None:
        parts["J_3"] = F.cross_entropy(logits, torch.from_numpy(lesson.labels))
    if lesson.maps is not None:
        assert lesson.norms is not None
        for tap, blocks, norms in zip(taps, lesson.maps, lesson.norms, strict=True):
            cosines = [
                _cosine(tap, _teacher(block, lesson), torch.from_numpy(squares), lesson)
                for block, squares in zip(blocks, norms, strict=True)
            ]
            best = int(torch.stack([c.detach().sum() for c in cosines]).argmax())
            pairs.append(best)
            parts["J_b"] = parts["J_b"] + (2 - 2 * cosines[best]).sqrt().mean()
    total = sum(
        (weight * part for weight, part in zip(lesson.lambdas, parts.values(), strict=True)),
        logits.new_zeros(()),
    )
    return total, {name: float(part.detach()) for name, part in parts.items()}, pairs


def _teacher(block: Maps, lesson: Lesson) -> Tensor:
    """A block's maps of the batch's images, n c h w."""
    maps, scales = block
    found = torch.from_numpy(maps[lesson.map_rows].astype(np.float64))
    if scales is not None:
        found = found * torch.from_numpy(scales[lesson.map_rows])[:, None, None, None]
    return found.permute(0, 3, 1, 2)


def _cosine(student: Tensor, teacher: Tensor, squares: Tensor, lesson: Lesson) -> Tensor:
    """Between whole batches, [1], or image by image, [n]."""
    axes = (1, 2, 3) if lesson.norms_by_image else (0, 1, 2, 3)
    dot, square = (student * teacher).sum(axes), student.square().sum(axes)
    there = (square > 0).double()  # a map of zeros has no direction: cosine 0, gradient 0
    of_teacher = squares if lesson.norms_by_image else squares.sum()
    return there * dot / ((square + 1 - there) * of_teacher).sqrt()


def torch_optimizer(weights: list[Tensor], way: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Make torch's optimizer for what Engine.set_optimizer was told; clipping is the caller's."""
    if way["kind"] == "adam":
        return torch.optim.Adam(weights, weight_decay=way["weight_decay"])
    settings = {key: way[key] for key in ("momentum", "nesterov", "weight_decay")}
    return torch.optim.SGD(weights, lr=1.0, **settings)
