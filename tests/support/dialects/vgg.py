"""VGGs: a block is one conv, a group is what lies between two poolings."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dialect import Dialect, family

WIDTHS = (8, 16, 24, 32, 32)


def features(
    blocks: tuple[int, ...],
    norm: bool = False,
    pool: Callable[[], nn.Module] = lambda: nn.MaxPool2d(kernel_size=2, stride=2),
    c_in: int = 3,
    order: str = "conv norm relu",
) -> list[nn.Module]:
    """Lay out the convolutions of `blocks` per group in torchvision's order."""
    layers: list[nn.Module] = []
    for width, n in zip(WIDTHS, blocks, strict=False):
        for _ in range(n):
            made = {
                "conv": lambda a=c_in, b=width: nn.Conv2d(a, b, kernel_size=3, padding=1),
                "norm": lambda b=width: nn.BatchNorm2d(b),
                "relu": lambda: nn.ReLU(inplace=True),
                "drop": lambda: nn.Dropout(0.3),
                "drop2d": lambda: nn.Dropout2d(0.2),
            }
            layers += [made[kind]() for kind in order.split() if norm or kind != "norm"]
            c_in = width
        layers.append(pool())
    return layers


class TorchvisionVGG(nn.Module):
    def __init__(self, blocks, norm: bool = False, grid: int = 7, dropout: float = 0.5):
        super().__init__()
        self.features = nn.Sequential(*features(blocks, norm))
        self.avgpool = nn.AdaptiveAvgPool2d((grid, grid))
        self.classifier = nn.Sequential(
            nn.Linear(WIDTHS[len(blocks) - 1] * grid * grid, 48),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(48, 40),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(40, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


class TimmVGG(nn.Module):
    """The fully connected layers are convolutions of 7x7 and 1x1 (`pre_logits`)."""

    class ConvMlp(nn.Module):
        def __init__(self, c_in: int, c_out: int, kernel: int):
            super().__init__()
            self.fc1 = nn.Conv2d(c_in, c_out, kernel, bias=True)
            self.act1 = nn.ReLU(inplace=True)
            self.drop = nn.Dropout(0.0)
            self.fc2 = nn.Conv2d(c_out, c_out, 1, bias=True)
            self.act2 = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.act2(self.fc2(self.drop(self.act1(self.fc1(x)))))

    class Head(nn.Module):
        def __init__(self, c_in: int):
            super().__init__()
            self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
            self.fc = nn.Linear(c_in, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.global_pool(x))

    def __init__(self, blocks, norm: bool = False):
        super().__init__()
        self.features = nn.Sequential(*features(blocks, norm))
        self.pre_logits = self.ConvMlp(WIDTHS[len(blocks) - 1], 40, 7)
        self.head = self.Head(40)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pre_logits(self.features(x)))


class CifarVGG(nn.Module):
    """One linear layer behind a pooling that does nothing."""

    def __init__(
        self, blocks, norm: bool = True, head: Callable[[], nn.Module] | None = None, **options
    ):
        super().__init__()
        layers = [*features(blocks, norm, **options), nn.AvgPool2d(kernel_size=1, stride=1)]
        self.features = nn.Sequential(*layers)
        self.classifier = head() if head else nn.Linear(WIDTHS[len(blocks) - 1], 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.features(x)
        out = out.view(out.size(0), -1)
        return self.classifier(out)


def two_linear() -> nn.Module:
    return nn.Sequential(nn.Dropout(), nn.Linear(24, 24), nn.ReLU(True), nn.Linear(24, 10))


def linear_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(24, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))


class WrittenVGG(nn.Module):
    """conv1_1 .. conv3_3 and functional everything."""

    def __init__(self):
        super().__init__()
        self.conv1_1, self.conv1_2 = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.conv2_1, self.conv2_2 = nn.Conv2d(8, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.conv3_1, self.conv3_2 = nn.Conv2d(16, 24, 3, 1, 1), nn.Conv2d(24, 24, 3, 1, 1)
        self.conv3_3 = nn.Conv2d(24, 24, 3, 1, 1)
        self.fc6, self.fc7 = nn.Linear(24 * 2 * 2, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1_2(F.relu(self.conv1_1(x)))), 2)
        x = F.max_pool2d(F.relu(self.conv2_2(F.relu(self.conv2_1(x)))), 2, 2)
        x = F.relu(self.conv3_2(F.relu(self.conv3_1(x))))
        x = F.max_pool2d(F.relu(self.conv3_3(x)), kernel_size=2)
        x = x.view(x.shape[0], -1)
        x = F.dropout(F.relu(self.fc6(x)), 0.5, self.training)
        return self.fc7(x)


class BlocksVGG(nn.Module):
    """block1 .. block3, each a Sequential of ConvBNReLU units and a pooling."""

    class ConvBNReLU(nn.Sequential):
        def __init__(self, a: int, b: int, stride: int = 1):
            conv = nn.Conv2d(a, b, 3, stride, 1, bias=False)
            super().__init__(conv, nn.BatchNorm2d(b), nn.ReLU6(inplace=True))

    def __init__(self, blocks, strided: bool = False):
        super().__init__()
        a = 3
        self.count = len(blocks)
        for i, n in enumerate(blocks):
            units = []
            for j in range(n):
                units.append(self.ConvBNReLU(a, WIDTHS[i], 2 if strided and i and not j else 1))
                a = WIDTHS[i]
            pool = nn.Identity() if strided else nn.MaxPool2d(2)
            setattr(self, f"block{i + 1}", nn.Sequential(*units, pool))
        self.predictions = nn.Linear(a, 10)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.count):
            x = getattr(self, f"block{i + 1}")(x)
        return self.predictions(x.mean([2, 3]))


class ListVGG(nn.Module):
    """A ModuleList walked with isinstance."""

    def __init__(self, blocks):
        super().__init__()
        self.layers = nn.ModuleList(features(blocks, True))
        self.fc = nn.Linear(WIDTHS[len(blocks) - 1], 10)

    def forward(self, x: Tensor) -> Tensor:
        taps = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                taps.append(x)
        return self.fc(taps[-1].mean((2, 3)))


class PoolBeforeReLU(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.features = nn.Sequential()
        a, k = 3, 0
        for i, n in enumerate(blocks):
            for j in range(n):
                self.features.add_module(f"conv{k}", nn.Conv2d(a, WIDTHS[i], 3, padding=1))
                if j == n - 1:
                    self.features.add_module(f"pool{k}", nn.MaxPool2d(2))
                self.features.add_module(f"relu{k}", nn.ReLU())
                a, k = WIDTHS[i], k + 1
        self.fc = nn.Linear(a, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).amax((2, 3)))


class RaggedVGG(nn.Module):
    """Widths change inside a group, one conv is 1x1, one has no padding."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv2d(3, 8, 5, padding="same"), nn.ReLU()),
            *(nn.Conv2d(8, 12, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(12, 16, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 24, 1), nn.ReLU(), nn.AvgPool2d(2)),
        )
        self.out = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.net(x).mean((2, 3)))


class AllConv(nn.Module):
    """The classifier is a 1x1 convolution and an average."""

    def __init__(self, blocks):
        super().__init__()
        self.features = nn.Sequential(*features(blocks, True))
        self.classifier = nn.Conv2d(WIDTHS[len(blocks) - 1], 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).mean((2, 3))


def single_conv() -> nn.Module:
    """The smallest chain: one conv, one ReLU, one linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )


def _vgg(name: str, make: Callable[..., nn.Module], shape=(3, 16, 16), blocks=(2, 2, 3), **rest):
    rest = {"nested": False, **rest}
    return family(f"vgg_{name}", make, shape, blocks, **rest)


def _cifar(name: str, stochastic: bool = False, **options) -> Dialect:
    return _vgg(
        name,
        lambda b: CifarVGG(b, **options),
        (3, 8, 8),
        stochastic=stochastic,
    )


FIVE = (1, 1, 2, 2, 2)
SHAPE = (3, 64, 64)

DIALECTS: list[Dialect] = [
    _vgg("torchvision", TorchvisionVGG, SHAPE, FIVE, stochastic=True),
    _vgg("torchvision_bn", lambda b: TorchvisionVGG(b, True), SHAPE, FIVE, stochastic=True),
    _vgg("torchvision_16", lambda b: TorchvisionVGG(b, True, dropout=0), SHAPE, (2, 2, 3, 3, 3)),
    _vgg("torchvision_grid_one", lambda b: TorchvisionVGG(b, grid=1, dropout=0), SHAPE, FIVE),
    _vgg("torchvision_224", lambda b: TorchvisionVGG(b, True, dropout=0), (3, 224, 224), FIVE),
    _vgg("timm", TimmVGG, (3, 56, 56), (1, 2, 2)),
    _vgg("timm_bn", lambda b: TimmVGG(b, True), (3, 56, 56), (1, 2, 2)),
    _cifar("cifar"),
    _cifar("cifar_plain", norm=False),
    _cifar("cifar_two_linear", True, head=two_linear),
    _cifar("cifar_linear_norm", head=linear_norm),
    _cifar("cifar_log_softmax", head=lambda: nn.Sequential(nn.Linear(24, 10), nn.LogSoftmax(1))),
    _cifar("cifar_softmax", head=lambda: nn.Sequential(nn.Linear(24, 10), nn.Softmax(dim=1))),
    _cifar("average_pool", pool=lambda: nn.AvgPool2d(2)),
    _cifar("overlapping_pool", pool=lambda: nn.MaxPool2d(3, 2, 1)),
    _cifar("lp_pool", pool=lambda: nn.LPPool2d(2, 2)),
    _cifar("relu_then_norm", order="conv relu norm"),
    _cifar("dropout_between", True, order="conv norm relu drop"),
    _cifar("dropout2d_between", True, order="conv norm relu drop2d"),
    _vgg("blocks", BlocksVGG, nested=True),
    _vgg("strided", lambda b: BlocksVGG(b, strided=True), nested=True),
    _vgg("module_list", ListVGG),
    _vgg("pool_before_relu", PoolBeforeReLU),
    _vgg("grey", lambda b: CifarVGG(b, c_in=1, head=lambda: nn.Linear(24 * 9, 10)), (1, 28, 28)),
    _vgg("all_conv", AllConv, refuses="classifier: wanted an nn.Linear"),
    Dialect(
        "vgg_written_out", WrittenVGG, (3, 16, 16), 3, (2, 2, 3), convs_kept=3, stochastic=True
    ),
    Dialect("vgg_single_conv", single_conv, (3, 16, 16), 1, (1,), convs_kept=1),
    Dialect("vgg_ragged", RaggedVGG, (3, 16, 16), 4, (1, 1, 1, 1), convs_kept=4),
]
