"""Wide residual networks (Zagoruyko & Komodakis 2016), the paper's teacher on CIFAR-10."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pyedge.models.layers import PadShortcut, check_positive, conv3x3, global_pool, initialise


class PreActBlock(nn.Module):
    """BN, ReLU, conv, BN, ReLU, conv, added to the block's input.

    Every ReLU is its own module, and none is in place: taps and profiles hook them, and must see
    the maps before and after.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, dropout: float, shortcut: str) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.relu1 = nn.ReLU()
        self.conv1 = conv3x3(c_in, c_out, stride)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout) if dropout > 0 else None
        self.conv2 = conv3x3(c_out, c_out)
        self.projected = shortcut == "projection"
        self.shortcut: nn.Module | None = None
        if c_in != c_out or stride != 1:
            self.shortcut = (
                nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False)
                if self.projected
                else PadShortcut(c_in, c_out, stride)
            )

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu1(self.bn1(x))
        # A projection reads the activated input, as in the original code; a padded shortcut
        # carries the raw input, so that the residual path stays an identity.
        if self.shortcut is not None:
            x = self.shortcut(a if self.projected else x)
        y = self.relu2(self.bn2(self.conv1(a)))
        if self.dropout is not None:
            y = self.dropout(y)
        return x + self.conv2(y)


class WideResNet(nn.Module):
    """Stem, three groups of pre-activation blocks, BN, ReLU, average, linear. See `wrn`."""

    def __init__(
        self,
        blocks: int,
        widths: Sequence[int],
        stem: int,
        num_classes: int,
        in_channels: int,
        dropout: float,
        shortcut: str,
    ) -> None:
        super().__init__()
        self.stem = conv3x3(in_channels, stem)
        groups, c_in = [], stem
        for g, width in enumerate(widths):
            group = [PreActBlock(c_in, width, 1 if g == 0 else 2, dropout, shortcut)]
            group += [PreActBlock(width, width, 1, dropout, shortcut) for _ in range(blocks - 1)]
            groups.append(nn.Sequential(*group))
            c_in = width
        self.groups = nn.Sequential(*groups)
        self.bn = nn.BatchNorm2d(c_in)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(c_in, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(self.stem(x))
        return self.classifier(global_pool(self.relu(self.bn(x))))


def wrn(
    depth: int = 28,
    width: int = 10,
    num_classes: int = 10,
    in_channels: int = 3,
    widths: Sequence[int] | None = None,
    stem: int = 16,
    dropout: float = 0.0,
    shortcut: str = "pad",
) -> WideResNet:
    """Build WRN-depth-width: [n, in_channels, h, w] -> logits [n, num_classes].

    `widths` (one for each group; the second and later groups halve the resolution) replaces
    (16, 32, 64) * width. `shortcut="pad"` is the paper's: without parameters, an average pool where
    the resolution falls and zeros for the added channels; `"projection"` is Zagoruyko's 1x1
    convolution. Batch norm comes before each conv of a block, and once before the classifier.

    Raises ValueError unless depth = 6 n + 4 (n blocks of two convs in each of three groups; with
    G `widths`, depth = 2 G n + 4) and every size is positive.
    """
    check_positive("wrn", width=width, num_classes=num_classes, in_channels=in_channels, stem=stem)
    sizes = tuple(widths) if widths is not None else (16 * width, 32 * width, 64 * width)
    check_positive("wrn", widths=sizes)
    if shortcut not in ("pad", "projection"):
        raise ValueError(f"wrn: shortcut: wanted 'pad' or 'projection', got {shortcut!r}")
    if not 0 <= dropout < 1:
        raise ValueError(f"wrn: dropout: wanted a number in [0, 1), got {dropout!r}")
    convs = 2 * len(sizes)
    if not sizes or depth <= 4 or (depth - 4) % convs:
        raise ValueError(
            f"wrn: depth: wanted {convs} n + 4 for n >= 1 with {len(sizes)} groups, got {depth!r}"
        )
    if shortcut == "pad" and any(b < a for a, b in zip((stem, *sizes), sizes, strict=False)):
        raise ValueError(
            f"wrn: shortcut='pad' needs widths that never shrink, got stem={stem}, "
            f"widths={sizes}; use shortcut='projection'"
        )
    blocks = (depth - 4) // convs
    return WideResNet(blocks, sizes, stem, num_classes, in_channels, dropout, shortcut)


def wrn_28_10(num_classes: int = 10, **options: object) -> WideResNet:
    """Build the paper's teacher on CIFAR-10: 36,220,634 parameters with 10 classes (Table 1)."""
    return wrn(28, 10, num_classes, **options)  # type: ignore[arg-type]


def wrn_small(num_classes: int = 10, **options: object) -> WideResNet:
    """Build WRN-16 with groups of 16, 48, 128 channels: a teacher that two CPU cores can train.

    579,290 parameters with 10 classes; 586,202 with `shortcut="projection"`.
    """
    return wrn(16, 1, num_classes, **{"widths": (16, 48, 128), **options})  # type: ignore[arg-type]
