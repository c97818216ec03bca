"""Networks that cannot be taken, each with what the one sentence must say."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cifar_resnet import CifarResNet, projection
from .dialect import Dialect, refused
from .idioms import IdiomNet
from .layouts import Frame, stages

BLOCKS = (2, 2, 2)


def base() -> nn.Module:
    return CifarResNet(BLOCKS, projection)


def smooth(relu: object) -> Callable[[], nn.Module]:
    return lambda: IdiomNet(BLOCKS, relu=relu)


class Patches(nn.Module):
    """A small vision transformer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="relu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        return self.head(self.encoder(x).mean(1))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 32), nn.ReLU(), nn.Linear(32, 10))


class OneDimensional(nn.Module):
    """Convolutions over sequences."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(48, 16, 3, padding=1), nn.Conv1d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x.flatten(1, 2)))
        return self.fc(F.relu(self.b(x)).mean(2))


class DependsOnData(Frame):
    """Leaves early when it is sure."""

    def __init__(self):
        super().__init__()
        self.groups = nn.ModuleList(nn.Sequential(*stage) for stage in stages(BLOCKS))

    def body(self, x: Tensor) -> Tensor:
        for group in self.groups:
            x = group(x)
            if x.abs().mean() < -1:
                break
        return x


class LoopsOverData(DependsOnData):
    def body(self, x: Tensor) -> Tensor:
        for group in self.groups:
            x = group(x)
        while x.max().item() > 1e4:
            x = x / 2
        return x


class Outputs(nn.Module):
    """The base network, with its logits wrapped by `wrap`."""

    def __init__(self, wrap: Callable[[Tensor, Tensor], object]):
        super().__init__()
        self.net, self.wrap = base(), wrap

    def forward(self, x: Tensor):
        logits = self.net(x)
        return self.wrap(logits, x)


class Output(NamedTuple):
    logits: Tensor
    features: Tensor


class Dense(nn.Module):
    """DenseNet: every layer's output is concatenated, so nothing can be dropped."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(8 + 4 * i, 4, 3, padding=1) for i in range(4))
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], 1)
        return self.fc(x.mean((2, 3)))


class Segmenter(nn.Module):
    """Fully convolutional: a map comes out, not a vector of logits."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()),
            *(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 5, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = base()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.net(x * mask)


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(base().eval(), torch.zeros(2, 3, 16, 16))


def exported() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(base().eval(), (torch.zeros(2, 3, 16, 16),)).module()


class Lazy(nn.Module):
    """Not initialised: no shapes until the first batch."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.LazyConv2d(8, 3), nn.ReLU())
        self.fc = nn.LazyLinear(10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


ZEROS = r"(?i)zero|relu"
GROUPS = r"(?i)group|block|conv"
OUTPUT = r"(?i)tuple|dict|list|logits|output|tensor|return"
TRACE = r"(?i)trac|control flow|depend|data"

DIALECTS: list[Dialect] = [
    refused("refused_elu", smooth(nn.ELU), r"followed by ELU, .*no exact zeros"),
    refused("refused_tanh", smooth(torch.tanh), ZEROS),
    refused("refused_linear_network", smooth(lambda x: x), ZEROS),
    refused("refused_transformer", Patches, "attention layers"),
    refused("refused_perceptron", perceptron, GROUPS),
    refused("refused_one_dimensional", OneDimensional, GROUPS),
    refused("refused_dense_connections", Dense, r"(?i)concat"),
    refused("refused_segmenter", Segmenter, r"(?i)logits|linear|classifier|map|shape"),
    refused("refused_early_exit", DependsOnData, TRACE),
    refused("refused_loop_over_data", LoopsOverData, TRACE),
    refused("refused_tuple", lambda: Outputs(lambda y, x: (y, x)), OUTPUT),
    refused("refused_list", lambda: Outputs(lambda y, x: [y]), OUTPUT),
    refused("refused_dict", lambda: Outputs(lambda y, x: {"logits": y}), OUTPUT),
    refused("refused_named_tuple", lambda: Outputs(Output), OUTPUT),
    refused("refused_two_inputs", TwoInputs, r"(?i)input|argument|mask", settle=False),
    refused("refused_scripted", scripted, r"(?i)script|jit", settle=False),
    refused("refused_exported", exported, r"(?i)export|trac|group|graph", settle=False),
    refused("refused_lazy", Lazy, r"(?i)lazy|initiali|uninit", settle=False),
]
