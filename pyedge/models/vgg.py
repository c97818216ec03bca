"""VGG-11 and VGG-16 (Simonyan & Zisserman 2015), the paper's teacher on Caltech 101."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyedge.models.layers import check_positive, initialise


class VGG(nn.Module):
    """Five groups of 3x3 convs, each closed by a max pool, then linear layers. See `vgg16`."""

    def __init__(
        self,
        depths: Sequence[int],
        num_classes: int,
        batch_norm: bool,
        input_size: int,
        hidden: int | None,
        in_channels: int,
        width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c_in = in_channels
        for g, depth in enumerate(depths):
            c_out = width * min(2**g, 8)
            for _ in range(depth):
                layers.append(nn.Conv2d(c_in, c_out, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(c_out))
                layers.append(nn.ReLU())
                c_in = c_out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = c_in * (input_size // 32) ** 2
        if hidden is None:
            self.classifier: nn.Module = nn.Linear(flat, num_classes)
        else:
            self.classifier = nn.Sequential(
                nn.Linear(flat, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, num_classes),
            )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


def _vgg(
    name: str,
    depths: Sequence[int],
    num_classes: int,
    batch_norm: bool,
    input_size: int,
    hidden: int | None,
    in_channels: int,
    width: int,
    dropout: float,
) -> VGG:
    check_positive(name, num_classes=num_classes, in_channels=in_channels, width=width)
    if hidden is not None:
        check_positive(name, hidden=hidden)
    if not isinstance(input_size, int) or input_size < 32:
        raise ValueError(
            f"{name}: input_size: wanted at least 32 (five max pools halve it), got {input_size!r}"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"{name}: dropout: wanted a number in [0, 1), got {dropout!r}")
    return VGG(depths, num_classes, batch_norm, input_size, hidden, in_channels, width, dropout)


def vgg11(
    num_classes: int = 1000,
    batch_norm: bool = True,
    input_size: int = 224,
    hidden: int | None = 4096,
    in_channels: int = 3,
    width: int = 64,
    dropout: float = 0.5,
) -> VGG:
    """Build VGG-11 (8 convs), arguments as `vgg16`."""
    return _vgg(
        "vgg11", (1, 1, 2, 2, 2), num_classes, batch_norm, input_size, hidden, in_channels, width,
        dropout,
    )  # fmt: skip


def vgg16(
    num_classes: int = 1000,
    batch_norm: bool = True,
    input_size: int = 224,
    hidden: int | None = 4096,
    in_channels: int = 3,
    width: int = 64,
    dropout: float = 0.5,
) -> VGG:
    """Build VGG-16 (13 convs): [n, in_channels, input_size, input_size] -> [n, num_classes].

    Each conv is followed by (batch norm and) ReLU. `hidden=4096` gives the original three linear
    layers, `hidden=None` a single one, as the paper's students have. Groups have
    `width` * (1, 2, 4, 8, 8) channels. 138,357,544 parameters with 1000 classes and no batch norm.

    Raises ValueError for input_size below 32 and for sizes below 1.
    """
    return _vgg(
        "vgg16", (2, 2, 3, 3, 3), num_classes, batch_norm, input_size, hidden, in_channels, width,
        dropout,
    )  # fmt: skip
